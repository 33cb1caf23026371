"""A request head, read as RFC 9112 and RFC 6455 4.2.1 say, and as wsbridge's contract narrows them.

The contract: any method but CONNECT, HTTP/1.1 and 1.0, no body, 32768 bytes of request line, 256 header
lines; the authority of an absolute target takes Host's place. Where a peer lets pass what is refused here,
it is not followed further. The switches of h11 and httptools may let more pass than these two do: where they
refuse as wsbridge does, there is nothing to explain.
"""

from __future__ import annotations

import re
from typing import FrozenSet, Iterable, List, Optional, Tuple

from ..lib.hostile.heads import MAX_FIELDS, MAX_LINE
from .cases import Field, Head, HeadCase, Outcome
from .rulings import LostItsWay, Reading

MAX_SUBPROTOCOLS = 64

# What llhttp knows.
LISTED_METHODS = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL"
    b" MOVE NOTIFY OPTIONS PATCH POST PRI PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE"
    b" SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)

TOKEN = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]*")  # RFC 9110 5.6.2
TARGET = re.compile(rb"[!\"$-~]*")  # visible ASCII without "#": RFC 9112 3.2 has no fragment
VERSION = re.compile(rb"[HTP/.0-9]*")
VALUE = re.compile(rb"[\t -~\x80-\xff]*")  # RFC 9110 5.5
HTTP_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
ABSOLUTE = re.compile(rb"(?i:(?:http|https|ws|wss)://([^/?]*).*)")  # RFC 9112 3.2.2
HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[-0-9A-Za-z._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)(?::(?P<port>[0-9]{0,5}))?"
)
KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")  # RFC 6455 4.1: 16 bytes in base64
NOT_ZERO = re.compile(rb"^$|[^0]")
H11_END = re.compile(rb"\n\r?\n")

# RFC 6455 9.1, with blanks wherever RFC 2616 2.1 implies them.
_T = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_PARAMETER = rb"[ \t]*;[ \t]*" + _T + rb"(?:[ \t]*=[ \t]*(?:" + _T + rb"|\"(?:\\?" + _T + rb")\"))?"
_OFFER = rb"[ \t]*(?:" + _T + rb"(?:" + _PARAMETER + rb")*)?[ \t]*"
OFFERS = re.compile(_OFFER + rb"(?:," + _OFFER + rb")*")


class Refused(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Incomplete(Exception):
    pass


class HeadReading(Reading):
    def __init__(self, case: HeadCase, peer: str = "", granted: FrozenSet[str] = frozenset()) -> None:
        super().__init__(peer, granted)
        self._data = b"".join(case.pieces)
        self._position = 0
        self._start = 0
        self._is_first_line = True
        self._method = self._target = b""
        self._version = ""
        self._authority: Optional[bytes] = None
        self._fields: List[Field] = []
        self._is_lost = False
        try:
            self._read()
            fields = tuple(self._fields)
            status = 0 if peer else judge_handshake(self._method, self._version, fields)
            self.outcome = Head("request", self._method, self._target, self._version, fields, status)
        except Refused as refused:
            self.outcome = Head("refused", status=0 if peer else refused.status)
        except Incomplete:
            self.outcome = Head("incomplete")
        except LostItsWay:
            self._is_lost = True

    def explains(self, outcome: Outcome) -> bool:
        if self._is_lost:
            return isinstance(outcome, Head) and outcome.outcome in ("request", "refused", "incomplete")
        is_early = self.outcome.outcome == "incomplete" and outcome == Head("refused")
        return super().explains(outcome) or (is_early and self._lets("early"))

    def _lets(self, name: str) -> bool:
        """Whether the peer has this switch, and it is granted; asked only where it matters."""
        return self.deviates(f"{self.peer}-{name}")

    def _refuse(self, status: int, name: str) -> None:
        """Raise `Refused`, unless it is known that the peer lets this pass."""
        raise LostItsWay if self._lets(name) else Refused(status)

    def _read(self) -> None:
        self._begin()
        self._read_request_line()
        self._is_first_line = False
        while self._read_field():
            pass
        # RFC 9112 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request
        # message that lacks a Host header field".
        if not find_values(self._fields, b"host") and self._version != "1.0":
            self._refuse(400, "hosts")
        has_length = any(map(NOT_ZERO.search, find_values(self._fields, b"content-length")))
        if has_length or find_values(self._fields, b"transfer-encoding"):
            self._refuse(400 if is_upgrade(self._fields) else 501, "bodies")
        self._replace_host()

    def _replace_host(self) -> None:
        """RFC 9112 3.2.2: "MUST ignore the received Host header field (if any)"."""
        if self._authority is None:
            return
        host = (b"host", self._authority)
        fields = [host if name == b"host" else (name, value) for name, value in self._fields]
        fields = fields if host in fields else [host, *fields]
        if fields != self._fields and not self._lets("absolute"):
            self._fields = fields

    def _begin(self) -> None:
        data = self._data
        if data[:1] in (b"\r", b"\n") and self._lets("empty-line"):
            raise Refused(400)
        if H11_END.search(data) is None and self._lets("late"):
            raise Incomplete
        # RFC 9112 2.2: "SHOULD ignore at least one empty line (CRLF) received prior to the request-line".
        if data.startswith(b"\r\n"):
            self._position = 2
        elif data == b"\r":
            raise Incomplete
        self._start = self._position
        if data[self._position : self._position + 1] in (b"\r", b"\n"):
            self._refuse(400, "empty-lines")

    # ---------------------------------------------------------------------------- request line

    def _read_request_line(self) -> None:
        self._method, stop = self._take(TOKEN)
        if stop != b" " or not self._method:
            raise Refused(400)
        if self._method == b"CONNECT":
            self._refuse(405, "methods")
        if self._method not in LISTED_METHODS and self.peer == "httptools" and self._lets("methods"):
            raise Refused(400)
        # RFC 9113 3.4: "PRI * HTTP/2.0", and the rest of the preface behind it.
        if self._method == b"PRI" and self._lets("preface"):
            raise LostItsWay
        self._skip_space()
        self._target, stop = self._take(TARGET)
        if stop != b" ":
            self._refuse(400, "targets" if stop == b"#" else "versions")
        self._check_target()
        self._skip_space()
        version = self._take_rest(VERSION, "versions")
        # RFC 9112 2.3: HTTP-name is "HTTP", and nothing else.
        if HTTP_VERSION.fullmatch(version) is None:
            self._refuse(400, "versions")
        if version not in (b"HTTP/1.1", b"HTTP/1.0"):
            self._refuse(505, "versions")
        self._version = version[-3:].decode()
        self._end_line()

    def _skip_space(self) -> None:
        """RFC 9112 3: a single SP."""
        self._position += 1
        if self._data[self._position : self._position + 1] == b" ":
            self._refuse(400, "spaces")

    def _check_target(self) -> None:
        absolute = ABSOLUTE.fullmatch(self._target)
        if self._method == b"OPTIONS" and self._target == b"*":
            return
        if absolute is not None:
            self._authority = absolute[1]
            if not is_host(absolute[1]):
                self._refuse(400, "authority")
        elif not self._target.startswith(b"/"):
            self._refuse(400, "targets")

    # ----------------------------------------------------------------------------- header lines

    def _read_field(self) -> bool:
        """One header line; False for the empty line that ends the head."""
        name, stop = self._take(TOKEN)
        if not name and stop == b"\r":
            self._end_line()
            return False
        if not name and stop in (b" ", b"\t", b"\n"):
            self._refuse(400, "bare-lf" if stop == b"\n" else "folds")
        if stop != b":" or not name:
            raise Refused(400)
        if len(self._fields) >= MAX_FIELDS:
            self._refuse(431, "limits")
        self._position += 1
        raw = self._take_rest(VALUE, "control-bytes")
        value = raw.strip(b" \t")
        if raw.rstrip(b" \t") != raw and value and self._lets("trailing-blanks"):
            value = raw.lstrip(b" \t")
        self._take_field(name.lower(), value)
        self._end_line()
        return True

    def _take_field(self, name: bytes, value: bytes) -> None:
        # RFC 9112 3.2: 400 for "more than one Host header field line or a Host header field with an invalid
        # field value".
        if name == b"host" and (find_values(self._fields, b"host") or not is_host(value)):
            self._refuse(400, "hosts")
        # RFC 9112 6.1 and 6.3: one length, and of two kinds.
        if name in (b"content-length", b"transfer-encoding"):
            is_second = bool(find_values(self._fields, b"content-length", b"transfer-encoding"))
            is_number = re.fullmatch(rb"[0-9]+", value) is not None
            is_chunked = value.lower() == b"chunked" and self._version != "1.0"
            if is_second or not (is_number if name == b"content-length" else is_chunked):
                self._refuse(400, "bodies")
        self._fields.append((name, value))

    # -------------------------------------------------------------------------------- scanning

    def _take(self, pattern: re.Pattern[bytes]) -> Tuple[bytes, bytes]:
        """The run of bytes from here that `pattern` allows, and the byte that ends it."""
        run = pattern.match(self._data, self._position)
        end = run.end() if run is not None else self._position
        stop = self._data[end : end + 1]
        size = end - self._start
        is_over = size > MAX_LINE or (size == MAX_LINE and stop not in (b"\r", b""))
        if self._is_first_line and is_over:
            self._refuse(414, "limits")
        if not stop:
            raise Incomplete
        taken = self._data[self._position : end]
        self._position = end
        return taken, stop

    def _take_rest(self, pattern: re.Pattern[bytes], name: str) -> bytes:
        """The run up to the line's end; name: what is broken where it ends otherwise."""
        rest, stop = self._take(pattern)
        if stop != b"\r":
            self._refuse(400, "bare-lf" if stop == b"\n" else name)
        return rest

    def _end_line(self) -> None:
        end = self._data[self._position : self._position + 2]
        if end == b"\r":
            raise Incomplete
        if end != b"\r\n":
            raise Refused(400)
        self._position += 2


def is_host(value: bytes) -> bool:
    """RFC 9110 7.2: uri-host [ ":" port ], not empty; no userinfo."""
    match = HOST.fullmatch(value)
    return match is not None and int(match["port"] or 0) <= 65535


def find_values(fields: Iterable[Field], *names: bytes) -> List[bytes]:
    return [value for name, value in fields if name in names]


def split_list(fields: Iterable[Field], name: bytes) -> List[bytes]:
    elements = b",".join(find_values(fields, name)).split(b",")
    return [element.strip(b" \t") for element in elements if element.strip(b" \t")]


def is_upgrade(fields: Iterable[Field]) -> bool:
    upgrades = [element.lower() for element in split_list(fields, b"upgrade")]
    connections = [element.lower() for element in split_list(fields, b"connection")]
    return b"websocket" in upgrades and b"upgrade" in connections


def judge_handshake(method: bytes, version: str, fields: Iterable[Field]) -> int:
    """RFC 6455 4.2.1 and 4.4: 101, 200 for a request that is no opening handshake, or the refusal."""
    if not is_upgrade(fields):
        return 200
    if method != b"GET":
        return 405
    if version == "1.0":
        return 426
    keys = find_values(fields, b"sec-websocket-key")
    versions = find_values(fields, b"sec-websocket-version")
    if len(keys) != 1 or not KEY.fullmatch(keys[0]) or not versions:
        return 400
    if versions != [b"13"]:
        return 426
    subprotocols = split_list(fields, b"sec-websocket-protocol")
    if len(subprotocols) > MAX_SUBPROTOCOLS or not all(map(TOKEN.fullmatch, subprotocols)):
        return 400
    offers = find_values(fields, b"sec-websocket-extensions")
    return 101 if all(map(OFFERS.fullmatch, offers)) else 400
