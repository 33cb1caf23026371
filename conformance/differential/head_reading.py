"""A request head, read as RFC 9112 and RFC 6455 4.2.1 say, and as wsbridge's contract narrows them.

The contract: any method but CONNECT, HTTP/1.1 and 1.0, no body, 32768 bytes of request line, 256 header
lines; the authority of an absolute target takes Host's place. The switches of h11 and httptools may let more
pass than these two do: where they refuse as wsbridge does, there is nothing to explain.
"""

from __future__ import annotations

import re
from typing import FrozenSet, Iterable, Iterator, List, Optional, Tuple

from ..lib.hostile.heads import MAX_FIELDS, MAX_LINE
from .cases import Field, Head, HeadCase, Outcome
from .rulings import Reading

MAX_SUBPROTOCOLS = 64

# What llhttp knows.
LISTED_METHODS = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL"
    b" MOVE NOTIFY OPTIONS PATCH POST PRI PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE"
    b" SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)

TOKEN = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]*")  # RFC 9110 5.6.2
TARGET = re.compile(rb"[!\"$-~]*")  # visible ASCII without "#": RFC 9112 3.2 has no fragment
VISIBLE = re.compile(rb"[!-~]*")
VERSION = re.compile(rb"[HTP/.0-9]*")
ANY_VERSION = re.compile(rb"[A-Z/.0-9]*")
VALUE = re.compile(rb"[\t -~\x80-\xff]*")  # RFC 9110 5.5
ANY_VALUE = re.compile(rb"[^\x00\n\x0b\x0c\r]*")
BLANKS = re.compile(rb"[ \t]*")
SPACES = re.compile(rb" *")
LINE_ENDS = re.compile(rb"[\r\n]*")
HTTP_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
OTHER_VERSION = re.compile(rb"[A-Z]+/[0-9]\.[0-9]")
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
        self._case = case
        self._data = b"".join(case.pieces)
        self._position = 0
        self._start = 0
        self._is_first_line = True
        self._method = self._target = b""
        self._version = ""
        self._authority: Optional[bytes] = None
        self._fields: List[Field] = []
        self._last_value = b""  # with its blanks, to which folded lines are added
        try:
            self._read()
            fields = tuple(merge_lengths(self._fields) if peer == "h11" else self._fields)
            status = 0 if peer else judge_handshake(self._method, self._version, fields)
            self.outcome = Head("request", self._method, self._target, self._version, fields, status)
        except Refused as refused:
            self.outcome = Head("refused", status=0 if peer else refused.status)
        except Incomplete:
            self.outcome = Head("incomplete")

    def _lets(self, name: str) -> bool:
        """Whether the peer has this switch, and it is granted; asked only where it matters."""
        return self.deviates(f"{self.peer}-{name}")

    def explains(self, outcome: Outcome) -> bool:
        is_early = self.outcome.outcome == "incomplete" and outcome == Head("refused")
        return super().explains(outcome) or (is_early and self._lets("early"))

    def _read(self) -> None:
        self._begin()
        self._read_request_line()
        self._is_first_line = False
        while self._read_field():
            pass
        # RFC 9112 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request
        # message that lacks a Host header field".
        lacks_host = not find_values(self._fields, b"host") and self._version != "1.0"
        if lacks_host and ((self.peer == "h11" and self._version == "1.1") or not self._lets("hosts")):
            raise Refused(400)
        has_length = any(map(NOT_ZERO.search, find_values(self._fields, b"content-length")))
        if (has_length or find_values(self._fields, b"transfer-encoding")) and not self._lets("bodies"):
            raise Refused(400 if is_upgrade(self._fields) else 501)
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
        if self.peer == "h11":
            if data[:1] in (b"\r", b"\n") and self._lets("empty-line"):
                raise Refused(400)
            if H11_END.search(data) is None and self._lets("late"):
                raise Incomplete
        # RFC 9112 2.2: "SHOULD ignore at least one empty line (CRLF) received prior to the request-line".
        if data.startswith(b"\r\n"):
            self._position = 2
        run = LINE_ENDS.match(data)
        if run is not None and run.end() > self._position and self._lets("empty-lines"):
            self._position = run.end()
        if data == b"\r":
            raise Incomplete
        self._start = self._position

    # ---------------------------------------------------------------------------- request line

    def _read_request_line(self) -> None:
        self._method, stop = self._take(TOKEN)
        if stop != b" " or not self._method:
            raise Refused(400)
        if self._method == b"CONNECT" and not self._lets("methods"):
            raise Refused(405)
        if self._method not in LISTED_METHODS and self.peer == "httptools" and self._lets("methods"):
            raise Refused(400)
        self._position += 1
        self._skip_spaces()
        stop = self._read_target()
        if stop in (b"\r", b"\n") and self.peer == "httptools" and self._lets("versions"):
            self._version = "0.9"
        else:
            if stop != b" ":
                raise Refused(400)
            self._check_target()
            self._position += 1
            self._skip_spaces()
            self._read_version()
            # RFC 9113 3.4: "PRI * HTTP/2.0", and the rest of the preface behind it.
            if self._method == b"PRI" and self.peer == "httptools" and self._lets("preface"):
                raise Incomplete if self._version == "2.0" else Refused(400)
        self._end_line()

    def _skip_spaces(self) -> None:
        run = SPACES.match(self._data, self._position)
        if run is not None and run.end() > self._position and self._lets("spaces"):
            self._position = run.end()

    def _read_target(self) -> bytes:
        position = self._position
        self._target, stop = self._take(TARGET)
        if stop == b"#" and self._lets("targets"):
            self._position = position
            self._target, stop = self._take(VISIBLE)
        return stop

    def _check_target(self) -> None:
        absolute = ABSOLUTE.fullmatch(self._target)
        if self._method == b"OPTIONS" and self._target == b"*":
            return
        if absolute is not None:
            self._authority = absolute[1]
            if not is_host(absolute[1]) and not self._lets("authority"):
                raise Refused(400)
        elif not self._target or (not self._target.startswith(b"/") and not self._lets("targets")):
            raise Refused(400)

    def _read_version(self) -> None:
        version = self._take_rest(VERSION, "versions", ANY_VERSION if self.peer == "httptools" else VERSION)
        # RFC 9112 2.3: HTTP-name is "HTTP", and nothing else.
        if HTTP_VERSION.fullmatch(version) is None and not (
            OTHER_VERSION.fullmatch(version) is not None and self._lets("versions")
        ):
            raise Refused(400)
        if version not in (b"HTTP/1.1", b"HTTP/1.0") and not self._lets("versions"):
            raise Refused(505)
        self._version = version[-3:].decode()

    # ----------------------------------------------------------------------------- header lines

    def _read_field(self) -> bool:
        """One header line; False for the empty line that ends the head."""
        is_blank = self._data[self._position : self._position + 1] in (b" ", b"\t")
        if is_blank and self._fields and self._lets("folds"):
            self._read_fold()
            return True
        name, stop = self._take(TOKEN)
        if not name and (stop == b"\r" or (stop == b"\n" and self._lets("bare-lf"))):
            self._end_line()
            return False
        if stop != b":" or not name:
            raise Refused(400)
        if len(self._fields) >= MAX_FIELDS and not self._lets("limits"):
            raise Refused(431)
        self._position += 1
        raw = self._take_rest(VALUE, "control-bytes", ANY_VALUE)
        value = raw.strip(b" \t")
        if raw.rstrip(b" \t") != raw and value and self._lets("trailing-blanks"):
            value = raw.lstrip(b" \t")
        self._last_value = raw
        self._take_field(name.lower(), value)
        self._end_line()
        return True

    def _read_fold(self) -> None:
        """RFC 9112 5.2, the lenient way: the line goes on behind a single space."""
        self._take(BLANKS)
        self._last_value += b" " + self._take_rest(VALUE, "control-bytes", ANY_VALUE)
        self._fields[-1] = (self._fields[-1][0], self._last_value.strip(b" \t"))
        self._end_line()

    def _take_field(self, name: bytes, value: bytes) -> None:
        # RFC 9112 3.2: 400 for "more than one Host header field line or a Host header field with an invalid
        # field value".
        has_host = bool(find_values(self._fields, b"host"))
        is_wrong = name == b"host" and (has_host or not is_host(value))
        if is_wrong and ((has_host and self.peer == "h11") or not self._lets("hosts")):
            raise Refused(400)
        if name in (b"content-length", b"transfer-encoding"):
            self._check_framing(name, value)
        self._fields.append((name, value))

    def _check_framing(self, name: bytes, value: bytes) -> None:
        # RFC 9112 6.1 and 6.3: one length, and of two kinds.
        is_wrong = bool(find_values(self._fields, b"content-length", b"transfer-encoding"))
        if name == b"content-length":
            is_wrong = is_wrong or re.fullmatch(rb"[0-9]+", value) is None
        else:
            is_wrong = is_wrong or value.lower() != b"chunked" or self._version == "1.0"
        if is_wrong and not self._lets("bodies"):
            raise Refused(400)

    # -------------------------------------------------------------------------------- scanning

    def _take(self, pattern: re.Pattern[bytes]) -> Tuple[bytes, bytes]:
        """The run of bytes from here that `pattern` allows, and the byte that ends it."""
        run = pattern.match(self._data, self._position)
        end = run.end() if run is not None else self._position
        stop = self._data[end : end + 1]
        size = end - self._start
        is_over = size > MAX_LINE or (size == MAX_LINE and stop not in (b"\r", b""))
        if self._is_first_line and is_over and not self._lets("limits"):
            raise Refused(414)
        if not stop:
            raise Incomplete
        taken = self._data[self._position : end]
        self._position = end
        return taken, stop

    def _take_rest(self, pattern: re.Pattern[bytes], switch: str, wide: re.Pattern[bytes]) -> bytes:
        """The run up to the line's end; where the switch is granted, `wide` says what it may hold."""
        position = self._position
        rest, stop = self._take(pattern)
        if stop not in (b"\r", b"\n") and wide is not pattern and self._lets(switch):
            self._position = position
            rest, stop = self._take(wide)
        if stop != b"\r" and not (stop == b"\n" and self._lets("bare-lf")):
            raise Refused(400)
        return rest

    def _end_line(self) -> None:
        """CRLF, or LF where that was let pass."""
        end = self._data[self._position : self._position + 2]
        if end == b"\r":
            raise Incomplete
        if end != b"\r\n" and end[:1] != b"\n":
            raise Refused(400)
        self._position += end.index(b"\n") + 1


def merge_lengths(fields: Iterable[Field]) -> Iterator[Field]:
    """What h11 makes of the headers that frame a body: one Content-Length of equal ones (RFC 9110 8.6)."""
    has_length = False
    for name, value in fields:
        if name == b"content-length":
            if not has_length:
                yield name, value.split(b",")[0].strip()
            has_length = True
        else:
            yield name, value.lower() if name == b"transfer-encoding" else value


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
