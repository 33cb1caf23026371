"""A request head, read as RFC 9112 and RFC 6455 4.2.1 say, and as wsbridge's contract narrows them.

The contract: any method but CONNECT, HTTP/1.1 and 1.0, a body of one length or in chunks but none with an
opening handshake, 32768 bytes of request line, 256 header lines; the authority of an absolute target takes
Host's place.
"""

from __future__ import annotations

import re
from typing import FrozenSet, Iterable, Optional

from .cases import Field, Head, HTTPCase, Outcome
from .line_reading import H11_END, TOKEN, Incomplete, LineReading, Refused, find_values, split_list
from .rulings import LostItsWay

MAX_SUBPROTOCOLS = 64

# What llhttp knows.
LISTED_METHODS = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL"
    b" MOVE NOTIFY OPTIONS PATCH POST PRI PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE"
    b" SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)

TARGET = re.compile(rb"[!\"$-~]*")  # visible ASCII without "#": RFC 9112 3.2 has no fragment
VERSION = re.compile(rb"[HTP/.0-9]*")
HTTP_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
ABSOLUTE = re.compile(rb"(?i:(?:http|https|ws|wss)://([^/?]*).*)")  # RFC 9112 3.2.2
HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[-0-9A-Za-z._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)(?::(?P<port>[0-9]{0,5}))?"
)
KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")  # RFC 6455 4.1: 16 bytes in base64
LENGTH = re.compile(rb"[0-9]+")
# RFC 9110 8.6: "a recipient MUST anticipate potentially large decimal numerals"
MAX_LENGTH_DIGITS = 18
FRAMING = (b"content-length", b"transfer-encoding")

# RFC 6455 9.1, with blanks wherever RFC 2616 2.1 implies them.
_T = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_PARAMETER = rb"[ \t]*;[ \t]*" + _T + rb"(?:[ \t]*=[ \t]*(?:" + _T + rb"|\"(?:\\?" + _T + rb")\"))?"
_OFFER = rb"[ \t]*(?:" + _T + rb"(?:" + _PARAMETER + rb")*)?[ \t]*"
OFFERS = re.compile(_OFFER + rb"(?:," + _OFFER + rb")*")


class HeadReading(LineReading):
    def __init__(self, case: HTTPCase, peer: str = "", granted: FrozenSet[str] = frozenset()) -> None:
        super().__init__(b"".join(case.pieces), 0, peer, granted)
        self._is_first_line = True
        self._method = self._target = b""
        self._version = ""
        self._authority: Optional[bytes] = None
        self.is_lost = False
        try:
            self._read()
            fields = tuple(self.fields)
            status = 0 if peer else judge_handshake(self._method, self._version, fields)
            self.outcome = Head("request", self._method, self._target, self._version, fields, status)
        except Refused as refused:
            self.outcome = Head("refused", status=0 if peer else refused.status)
        except Incomplete:
            self.outcome = Head("incomplete")
        except LostItsWay:
            self.is_lost = True

    def explains(self, outcome: Outcome) -> bool:
        if self.is_lost:
            return isinstance(outcome, Head) and outcome.outcome in ("request", "refused", "incomplete")
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
        if not find_values(self.fields, b"host") and self._version != "1.0":
            self._refuse(400, "hosts")
        # RFC 9110 9.3.1: content in a GET "might lead some implementations to reject the request".
        lengths = [value.strip(b" \t0") for value in find_values(self.fields, *FRAMING)]
        if is_upgrade(self.fields) and any(lengths):
            self._refuse(400, "upgrade-body")
        self._replace_host()

    def _replace_host(self) -> None:
        """RFC 9112 3.2.2: "MUST ignore the received Host header field (if any)"."""
        if self._authority is None:
            return
        host = (b"host", self._authority)
        fields = [host if name == b"host" else (name, value) for name, value in self.fields]
        fields = fields if host in fields else [host, *fields]
        if fields != self.fields and not self._lets("absolute"):
            self.fields = fields

    def _begin(self) -> None:
        data = self._data
        if data[:1] in (b"\r", b"\n") and self._lets("empty-line"):
            raise Refused(400)
        # A first byte that is no visible one h11 judges at once.
        if H11_END.search(data) is None and data[:1] > b" " and self._lets("late"):
            raise Incomplete
        # RFC 9112 2.2: "SHOULD ignore at least one empty line (CRLF) received prior to the request-line".
        if data.startswith(b"\r\n"):
            self.position = 2
        elif data == b"\r":
            raise Incomplete
        self._start = self.position
        if data[self.position : self.position + 1] in (b"\r", b"\n"):
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
        if self._method == b"PRI":
            self._lose_way("preface")
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
        self.position += 1
        if self._data[self.position : self.position + 1] == b" ":
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

    def _check_field(self, name: bytes, value: bytes) -> None:
        # RFC 9112 3.2: 400 for "more than one Host header field line or a Host header field with an invalid
        # field value".
        if name == b"host" and (find_values(self.fields, b"host") or not is_host(value)):
            self._refuse(400, "hosts")
        if name in FRAMING:
            self._check_framing(name, value)

    def _check_framing(self, name: bytes, value: bytes) -> None:
        """RFC 9112 6.1 to 6.3: one length, told once, and in one way."""
        is_last = self._data[self.position :] in (b"\r", b"\r\n")
        if name == b"content-length" and not value and is_last and self._lets("late-length"):
            raise Incomplete
        if find_values(self.fields, *FRAMING):
            self._refuse(400, "repeated-framing")
        if name == b"transfer-encoding":
            if value.lower() != b"chunked":
                self._refuse(400, "codings")
            if self._version == "1.0":
                self._refuse(400, "coding-in-1_0")
            return
        if LENGTH.fullmatch(value) is None:
            self._refuse(400, "lengths")
        significant = value.lstrip(b"0")
        if value not in (b"0", significant) and self.deviates("wsbridge-leading-zeros"):
            raise Refused(400)
        if len(significant) > MAX_LENGTH_DIGITS:
            self._refuse(413, "large-lengths")


def is_host(value: bytes) -> bool:
    """RFC 9110 7.2: uri-host [ ":" port ], not empty; no userinfo."""
    match = HOST.fullmatch(value)
    return match is not None and int(match["port"] or 0) <= 65535


def is_upgrade(fields: Iterable[Field]) -> bool:
    return b"websocket" in split_list(fields, b"upgrade") and b"upgrade" in split_list(fields, b"connection")


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
