"""HTTP/1.1 heads (RFC 9112): parsing a request's or a response's, building a response's.

No body is ever parsed, and a request that announces one is refused.

A head is read part by part. The parser's state is the part that it is in. The
delimiter that ends a part decides the next one; any other byte is refused::

    part        its bytes                 ends with  next
    ----------  ------------------------  ---------  ------------------------------------
    METHOD      tchar                     SP         TARGET
                                          CR         EMPTY_LINE, once, if nothing is read
    EMPTY_LINE  -                         LF         METHOD
    TARGET      21-7e but "#"             SP         VERSION
    VERSION     "HTP/." and digits        CR         LINE_END
    STATUS      SP, HTAB, 21-7e, 80-ff    CR         LINE_END (a response begins here)
    LINE_END    -                         LF         NAME
    NAME        tchar                     ":"        VALUE
                                          CR         HEAD_END, if nothing is read
    VALUE       SP, HTAB, 21-7e, 80-ff    CR         LINE_END
    HEAD_END    -                         LF         DONE

Each byte is read once, in whatever pieces the head comes: the result does not
depend on the pieces, and the time is linear.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Tuple, Type

from .errors import (
    BadRequest,
    BodyNotImplemented,
    EventError,
    HandshakeFailed,
    HeadTooLarge,
    HTTPVersionNotSupported,
    MethodNotAllowed,
    RequestRefused,
    StateError,
    URITooLong,
    WSBridgeError,
)
from .events import RequestReceived
from .fields import (
    DEFAULT_PORTS,
    FIELD_VALUE,
    TCHAR,
    Headers,
    check_header,
    is_websocket_upgrade,
    parse_authority,
)
from .shared_headers import SHARED_HEADERS, SHARED_NAMES

__all__ = [
    "RequestParser",
    "ResponseParser",
    "ResponseReceived",
    "build_refusal",
    "build_response",
    "build_response_head",
    "check_header",
]

_LF, _CR = b"\n\r"


class _Part:
    """A part of a head: the bytes that cannot belong to it, and those of them that may end it."""

    __slots__ = ("name", "find_stop", "ends", "in_first_line")

    def __init__(self, name: str, stops: bytes, ends: bytes, in_first_line: bool = False) -> None:
        self.name = name
        self.find_stop = re.compile(stops, re.DOTALL).search
        self.ends = ends
        self.in_first_line = in_first_line


_METHOD = _Part("the method", rb"[^" + TCHAR + rb"]", b" \r", True)
_EMPTY_LINE = _Part("the empty line before the request", rb".", b"\n")
_TARGET = _Part("the target", rb"[^\x21\x22\x24-\x7e]", b" ", True)
_VERSION = _Part("the HTTP version", rb"[^HTP/.0-9]", b"\r", True)
_STATUS = _Part("the status line", rb"[^" + FIELD_VALUE + rb"]", b"\r", True)
_LINE_END = _Part("a line end", rb".", b"\n")
_NAME = _Part("a header name", rb"[^" + TCHAR + rb"]", b":\r")
_VALUE = _Part("a header value", rb"[^" + FIELD_VALUE + rb"]", b"\r")
_HEAD_END = _Part("the end of the head", rb".", b"\n")
_DONE = _Part("done", rb".", b"")

_End = Callable[[Any, bytes, int], _Part]

_HTTP_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-5][0-9]{2})(?: ([" + FIELD_VALUE + rb"]*))?")
_ABSOLUTE_FORM = re.compile(rb"(https?|wss?)://([^/?]*).*", re.IGNORECASE)

# The whole head of an ordinary request. It matches nothing that the parts above refuse.
_ORDINARY_HEAD = re.compile(
    rb"(GET|HEAD) (/[\x21\x22\x24-\x7e]*) (HTTP/1\.1)"
    rb"((?:\r\n[" + TCHAR + rb"]+:[" + FIELD_VALUE + rb"]*)+)\r\n\r\n"
)
_CHECKED_FIELD = re.compile(rb"\r\n([^:]+):[ \t]*([^\r]*)")

_BODY_HEADERS = frozenset((b"content-length", b"transfer-encoding"))

_FRAMING_HEADERS = frozenset((b"connection", b"content-length", b"transfer-encoding"))
_CONTROL_TO_SPACE = bytes(byte if 0x20 <= byte <= 0x7E else 0x20 for byte in range(256))
_MAX_REFUSAL_TEXT = 200
_REASONS = {int(status): status.phrase.encode("ascii") for status in HTTPStatus}


class ResponseReceived(NamedTuple):
    """A response head: what a server answers to a client's opening handshake.

    ``headers`` are pairs of lower-case name and value, order and duplicates
    kept; ``http_version`` is ``"1.1"`` or ``"1.0"``.
    """

    status: int
    headers: Tuple[Tuple[bytes, bytes], ...]
    reason: bytes = b""
    http_version: str = "1.1"


# ---------------------------------------------------------------------------- parsing


class _HeadParser:
    """The parts that the heads of requests and responses share."""

    _malformed: Type[WSBridgeError]
    _line_too_long: Type[WSBridgeError]
    _head_too_large: Type[WSBridgeError]

    def __init__(self, part: _Part, max_line: int, max_head: int, max_headers: int) -> None:
        self.trailing = b""
        self._part = part
        self._pieces = bytearray()  # the bytes of the current part that came in earlier data
        self._consumed = 0
        self._max_line = max_line
        self._max_head = max_head
        self._max_headers = max_headers
        self._headers: List[Tuple[bytes, bytes]] = []
        self._name = b""

    def _feed(self, data: bytes) -> bool:
        """Parse more of the head; True once it is complete and ``trailing`` is set."""
        if self._part is _DONE:
            raise StateError("the head is complete, or was refused")
        try:
            return self._read_parts(data)
        except WSBridgeError:
            self._part = _DONE
            raise

    def _read_parts(self, data: bytes) -> bool:
        position, size = 0, len(data)
        while position < size:
            part = self._part
            # `max`, because max_head may be shorter than the first line.
            room = max((self._max_line if part.in_first_line else self._max_head) - self._consumed, 0)
            last = min(size, position + room)
            stop = part.find_stop(data, position, last)
            end = last if stop is None else stop.start()
            if end == size:
                self._pieces += data[position:]
                self._consumed += size - position
                return False
            byte = data[end]
            if end == position + room:
                self._check_limit(byte)
            if byte not in part.ends:
                raise self._fail(byte)
            value = data[position:end]
            if self._pieces:
                value = bytes(self._pieces) + value
                self._pieces.clear()
            self._consumed += end + 1 - position
            position = end + 1
            self._part = self._ENDS[part](self, value, byte)
            if self._part is _DONE:
                self.trailing = data[position:]
                return True
        return False

    def _check_limit(self, byte: int) -> None:
        """Raise if ``byte``, the first past a limit, exceeds it; the CRLF does not count towards a line's."""
        if not self._part.in_first_line:
            raise self._head_too_large(f"head over {self._max_head} bytes")
        if byte != _CR:
            raise self._line_too_long(f"first line over {self._max_line} bytes")

    def _fail(self, byte: int) -> WSBridgeError:
        """The error for a byte that neither belongs to the current part nor ends it."""
        if byte == _LF:
            return self._malformed("line feed without carriage return")  # RFC 9112 2.2
        if self._part in (_LINE_END, _EMPTY_LINE, _HEAD_END):
            return self._malformed("carriage return without line feed")  # RFC 9112 2.2
        if self._part is _NAME and byte in b" \t":  # RFC 9112 5.1 and 5.2
            return self._malformed("folded header line, or a blank before its colon")
        return self._malformed(f"byte 0x{byte:02x} in {self._part.name}")

    def _end_line(self, value: bytes, byte: int) -> _Part:
        return _NAME

    def _end_name(self, value: bytes, byte: int) -> _Part:
        if byte == _CR and not value:
            return _HEAD_END
        if byte == _CR:
            raise self._malformed("header line without a colon")
        if not value:
            raise self._malformed("empty header name")
        if len(self._headers) == self._max_headers:
            raise self._head_too_large(f"more than {self._max_headers} headers")
        self._name = value.lower()
        return _VALUE

    def _end_value(self, value: bytes, byte: int) -> _Part:
        value = value.strip(b" \t")
        self._check_field(self._name, value)
        self._headers.append((self._name, value))
        return _LINE_END

    def _check_field(self, name: bytes, value: bytes) -> None:
        """Refuse a header line that breaks a rule; called before it is added."""

    def _end_head(self, value: bytes, byte: int) -> _Part:
        return _DONE

    _ENDS: Mapping[_Part, _End] = {
        _LINE_END: _end_line,
        _NAME: _end_name,
        _VALUE: _end_value,
        _HEAD_END: _end_head,
    }


class RequestParser(_HeadParser):
    """Parses one request head, in whatever pieces it comes (RFC 9112 2 and 3).

    ``max_request_line``: bytes before the first CRLF (default 32768: tokens
    in URLs pass the 8000 that RFC 9112 3 recommends); one more is refused
    with 414. ``max_head``: bytes of the whole head with its empty line
    (default 65536: several large cookies stay below); one more is 431.
    ``max_headers``: header lines (default 256); one more is 431.

    Any method but CONNECT is accepted, in HTTP/1.1 or 1.0. One empty line before
    the request line is skipped, and counts towards no limit (RFC 9112 2.2:
    "SHOULD ignore at least one empty line"); a second one is refused. If
    the target is an absolute URI, its authority replaces the Host header in the
    request that is returned (RFC 9112 3.2.2).

    ``method`` and ``target`` are empty until they were parsed; after a refusal
    they tell what was refused, and that the answer to HEAD has no body.
    ``ignored_host`` is the Host that was sent if it differs from the target's
    authority, else None.
    """

    _malformed = BadRequest
    _line_too_long = URITooLong
    _head_too_large = HeadTooLarge

    def __init__(
        self, *, max_request_line: int = 32768, max_head: int = 65536, max_headers: int = 256
    ) -> None:
        super().__init__(_METHOD, max_request_line, max_head, max_headers)
        self.method = b""
        self.ignored_host: Optional[bytes] = None
        self.target = b""
        self._scheme_and_authority: Optional[Tuple[bytes, bytes]] = None
        self._http_version = ""
        self._host: Optional[bytes] = None
        self._is_framed = False  # a Content-Length or Transfer-Encoding has come
        self._has_body = False
        self._empty_line_seen = False

    def receive_data(self, data: bytes) -> Optional[RequestReceived]:
        """Parse more of the head; return the request once it is complete, else None.

        Afterwards ``trailing`` holds the bytes of ``data`` that follow the
        head. Raises a subclass of `RequestRefused` at the first wrong byte, and
        `StateError` when called again after the head or a refusal.
        """
        if not self._consumed and self._part is _METHOD:
            request = self._receive_ordinary_head(data)
            if request is not None:
                return request
        if not self._feed(data):
            return None
        return RequestReceived.from_parser(self.method, self.target, tuple(self._headers), self._http_version)

    def _receive_ordinary_head(self, data: bytes) -> Optional[RequestReceived]:
        """Parse an ordinary head that came in one piece; None if it must be parsed part by part."""
        head = _ORDINARY_HEAD.match(data, 0, self._max_head)
        if head is None or head.end(3) > self._max_line:
            return None
        method, target, _, lines = head.groups()
        known = SHARED_NAMES.get
        fields = _CHECKED_FIELD.findall(lines)
        pairs = [(known(name) or name.lower(), value.rstrip(b" \t")) for name, value in fields]
        headers = (*map(SHARED_HEADERS.get, pairs, pairs),)
        names = [name for name, _ in headers]
        if len(names) > self._max_headers or names.count(b"host") != 1 or not _BODY_HEADERS.isdisjoint(names):
            return None
        if parse_authority(headers[names.index(b"host")][1]) is None:
            return None
        self._part = _DONE
        self.method, self.target = method, target
        self.trailing = data[head.end() :]
        return RequestReceived.from_parser(method, target, headers, "1.1")

    def _end_method(self, value: bytes, byte: int) -> _Part:
        if byte == _CR and not value and not self._empty_line_seen:
            return _EMPTY_LINE
        if byte == _CR or not value:
            raise BadRequest("malformed request line")
        if value == b"CONNECT":
            raise MethodNotAllowed("CONNECT is for proxies")
        self.method = value
        return _TARGET

    def _end_empty_line(self, value: bytes, byte: int) -> _Part:
        self._empty_line_seen = True
        self._consumed = 0
        return _METHOD

    def _end_target(self, value: bytes, byte: int) -> _Part:
        # RFC 9112 3.2.4: asterisk-form is for OPTIONS; 3.2.3: authority-form for CONNECT.
        if not value.startswith(b"/") and (value != b"*" or self.method != b"OPTIONS"):
            absolute = _ABSOLUTE_FORM.fullmatch(value)
            if absolute is None:
                raise BadRequest("target is neither a path nor an absolute URI")
            if parse_authority(absolute[2]) is None:
                # Userinfo too: RFC 9110 4.2.4 asks to "treat its presence as an error".
                raise BadRequest("the target's authority is invalid")
            self._scheme_and_authority = absolute[1].lower(), absolute[2]
        self.target = value
        return _VERSION

    def _end_version(self, value: bytes, byte: int) -> _Part:
        if _HTTP_VERSION.fullmatch(value) is None:
            raise BadRequest("malformed HTTP version")
        if value not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise HTTPVersionNotSupported("only HTTP/1.1 and HTTP/1.0 are supported")
        self._http_version = value[5:].decode("ascii")
        return _LINE_END

    def _check_field(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            # RFC 9112 3.2: 400 for no Host, more than one, or an invalid one.
            if self._host is not None:
                raise BadRequest("more than one Host header")
            if parse_authority(value) is None:
                raise BadRequest("invalid Host header")
            self._host = value
        elif name in _BODY_HEADERS:
            self._check_framing(name, value)

    def _check_framing(self, name: bytes, value: bytes) -> None:
        # RFC 9112 11.2: if a proxy finds another length, a part of the body becomes a request of its own.
        if self._is_framed:
            raise BadRequest("more than one Content-Length or Transfer-Encoding")
        self._is_framed = True
        if name == b"content-length":
            if not value.isdigit():
                raise BadRequest("malformed Content-Length")
            self._has_body = bool(value.strip(b"0"))
        elif value.lower() != b"chunked":
            raise BadRequest("Transfer-Encoding other than chunked")
        elif self._http_version == "1.0":
            # RFC 9112 6.1: "MUST treat the message as if the framing is faulty".
            raise BadRequest("Transfer-Encoding in HTTP/1.0")
        else:
            self._has_body = True

    def _end_head(self, value: bytes, byte: int) -> _Part:
        if self._host is None and self._http_version == "1.1":
            raise BadRequest("no Host header")  # RFC 9112 3.2
        if self._has_body:
            if is_websocket_upgrade(self._headers):
                raise BadRequest("an opening handshake with a body")
            raise BodyNotImplemented("requests with a body are not supported yet")
        if self._scheme_and_authority is not None:
            self._replace_host(*self._scheme_and_authority)
        return _DONE

    def _replace_host(self, scheme: bytes, authority: bytes) -> None:
        """RFC 9112 3.2.2: "MUST ignore the received Host header field (if any)", and use the target's."""
        if self._host is None:
            self._headers.insert(0, (b"host", authority))
            return
        port = DEFAULT_PORTS[scheme]
        if parse_authority(authority, port) != parse_authority(self._host, port):
            self.ignored_host = self._host
        self._headers[self._headers.index((b"host", self._host))] = (b"host", authority)

    _ENDS: Mapping[_Part, _End] = {
        **_HeadParser._ENDS,
        _METHOD: _end_method,
        _EMPTY_LINE: _end_empty_line,
        _TARGET: _end_target,
        _VERSION: _end_version,
        _HEAD_END: _end_head,
    }


class ResponseParser(_HeadParser):
    """Parses one response head, in whatever pieces it comes (RFC 9112 2 and 4).

    The limits are those of `RequestParser`; past them, and for a malformed
    head, `HandshakeFailed` is raised. ``trailing`` has what follows the head.
    """

    _malformed = HandshakeFailed
    _line_too_long = HandshakeFailed
    _head_too_large = HandshakeFailed

    def __init__(
        self, *, max_status_line: int = 32768, max_head: int = 65536, max_headers: int = 256
    ) -> None:
        super().__init__(_STATUS, max_status_line, max_head, max_headers)
        self._status = 0
        self._reason = b""
        self._http_version = ""

    def receive_data(self, data: bytes) -> Optional[ResponseReceived]:
        """Parse more of the head; return the response once it is complete, else None."""
        if not self._feed(data):
            return None
        return ResponseReceived(self._status, tuple(self._headers), self._reason, self._http_version)

    def _end_status(self, value: bytes, byte: int) -> _Part:
        line = _STATUS_LINE.fullmatch(value)
        if line is None:
            raise HandshakeFailed("malformed status line")
        self._http_version = line[1].decode("ascii")
        self._status = int(line[2])
        self._reason = line[3] or b""
        return _LINE_END

    _ENDS: Mapping[_Part, _End] = {**_HeadParser._ENDS, _STATUS: _end_status}


# --------------------------------------------------------------------------- building


def build_response_head(
    status: int,
    headers: Headers = (),
    *,
    reason: Optional[bytes] = None,
    date: Optional[bytes] = None,
) -> bytes:
    """The head of a final response (RFC 9112 4): status line, Date, headers as given, empty line.

    ``reason`` defaults to the registered phrase, or to none. ``date`` is the
    value of the Date header (RFC 9110 6.6.1); it is left out if
    ``headers`` have one. Raises `EventError` for a status outside 200-599
    (101 has its own builder) and for what `check_header` refuses.
    """
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise EventError(f"status {status!r} is not an integer from 200 to 599")
    if reason is None:
        reason = _REASONS.get(status, b"")
    check_header(b"reason", reason)
    lines = []
    for name, value in headers:
        check_header(name, value)
        lines.append(b"%b: %b\r\n" % (name, value))
        if date is not None and name.lower() == b"date":
            date = None
    start = b"HTTP/1.1 %d %b\r\n" % (status, reason)
    if date is not None:
        check_header(b"Date", date)
        start += b"Date: %b\r\n" % date
    return b"%b%b\r\n" % (start, b"".join(lines))


def build_response(
    status: int, headers: Headers = (), body: bytes = b"", *, date: Optional[bytes] = None
) -> bytes:
    """A whole small response, after which the connection is closed.

    Content-Length and Connection are added, and ``Content-Type: text/plain;
    charset=utf-8`` unless ``headers`` have one; ``date`` is that of
    `build_response_head`. Raises `EventError` as `build_response_head` does,
    for a header that is added here, and for the statuses without content (204,
    304).
    """
    fields = list(headers)
    names = {name.lower() for name, _ in fields}
    if status in (204, 304) or not names.isdisjoint(_FRAMING_HEADERS):
        raise EventError("a whole response has content, and sets its own Content-Length and Connection")
    if b"content-type" not in names:
        fields.append((b"Content-Type", b"text/plain; charset=utf-8"))
    fields.append((b"Content-Length", b"%d" % len(body)))
    # RFC 9110 7.8: a sender of Upgrade must name it in Connection.
    fields.append((b"Connection", b"Upgrade, close" if b"upgrade" in names else b"close"))
    return build_response_head(status, fields, date=date) + body


def build_refusal(
    error: RequestRefused, *, head: bool = False, date: Optional[bytes] = None, headers: Headers = ()
) -> bytes:
    """The response to a refused request: the error's status, ``headers`` and its own, its text as the body.

    ``head``: the request's method is HEAD, so the body is left out (RFC 9110
    9.3.2). ``date`` is that of `build_response_head`. The body is one line of
    at most 200 printable ASCII bytes.
    """
    text = str(error).encode("ascii", "backslashreplace").translate(_CONTROL_TO_SPACE)
    body = text[:_MAX_REFUSAL_TEXT] + b"\n"
    response = build_response(error.status, (*headers, *error.headers), body, date=date)
    return response[: -len(body)] if head else response
