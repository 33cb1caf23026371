"""HTTP/1.1 heads (RFC 9112): parsing a request's or a response's.

The parts of a head, which are read as `parts` describes; behind LINE_END come the
header lines::

    part        its bytes                 ends with  next
    ----------  ------------------------  ---------  ------------------------------------
    METHOD      tchar                     SP         TARGET
                                          CR         EMPTY_LINE, once, if nothing is read
    EMPTY_LINE  -                         LF         METHOD
    TARGET      21-7e but "#"             SP         VERSION
    VERSION     "HTP/." and digits        CR         LINE_END
    STATUS      SP, HTAB, 21-7e, 80-ff    CR         LINE_END (a response begins here)

`bodies` parses what follows the head of a request, `responses` builds the answer.
"""

from __future__ import annotations

import functools
import re
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .bodies import BODY_HEADERS, build_body, check_framing
from .errors import (
    BadRequest,
    HandshakeFailed,
    HeadTooLarge,
    HTTPVersionNotSupported,
    MethodNotAllowed,
    URITooLong,
)
from .events import RequestReceived
from .fields import (
    DEFAULT_PORTS,
    FIELD_VALUE,
    TCHAR,
    group_header_values,
    is_websocket_upgrade,
    parse_authority,
)
from .parts import DONE, HEAD_END, LINE_END, End, Part, PartParser
from .shared_headers import SHARED_LINES, SHARED_NAMES

__all__ = ["RequestParser", "ResponseParser", "ResponseReceived"]

(_CR,) = b"\r"

_METHOD = Part("the method", rb"[^" + TCHAR + rb"]", b" \r", in_first_line=True)
_EMPTY_LINE = Part("the empty line before the request", rb".", b"\n", is_line_break=True)
_TARGET = Part("the target", rb"[^\x21\x22\x24-\x7e]", b" ", in_first_line=True)
_VERSION = Part("the HTTP version", rb"[^HTP/.0-9]", b"\r", in_first_line=True)
_STATUS = Part("the status line", rb"[^" + FIELD_VALUE + rb"]", b"\r", in_first_line=True)

_HTTP_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-5][0-9]{2})(?: ([" + FIELD_VALUE + rb"]*))?")
_ABSOLUTE_FORM = re.compile(rb"(https?|wss?)://([^/?]*).*", re.IGNORECASE)

# The first line of an ordinary head that has come whole. It matches nothing that the parts above refuse.
_ORDINARY_LINE = re.compile(rb"([" + TCHAR + rb"]+) (/[\x21\x22\x24-\x7e]*) HTTP/1\.1\r\n")

# What names and values may hold. To delete it and look at what is left takes a third of the time of a match.
_NAME_BYTES = b"".join(re.findall(rb"[" + TCHAR + rb"]", bytes(range(256))))
_VALUE_BYTES = b"".join(re.findall(rb"[" + FIELD_VALUE + rb"]", bytes(range(256))))

# Most servers have few names. What is kept of those that a client makes up is eight heads at most.
_parse_host = functools.lru_cache(maxsize=8)(parse_authority)

# Bytes. A larger head is parsed part by part, which holds fewer copies of it at once.
MAX_ORDINARY = 16 * 1024

# Bytes of header lines that are kept from one request of a connection to the next.
MAX_REMEMBERED = 4096


class ResponseReceived(NamedTuple):
    """A response head: what a server answers to a client's opening handshake.

    ``headers`` are pairs of lower-case name and value, order and duplicates
    kept; ``http_version`` is ``"1.1"`` or ``"1.0"``.
    """

    status: int
    headers: Tuple[Tuple[bytes, bytes], ...]
    reason: bytes = b""
    http_version: str = "1.1"


class RequestParser(PartParser):
    """Parses a request head, in whatever pieces it comes (RFC 9112 2 and 3); after `begin_next`, another.

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
    authority, else None. The body is not parsed here: `build_body` makes its
    parser, which takes ``trailing`` first.
    """

    _malformed = BadRequest
    _line_too_long = URITooLong
    _head_too_large = HeadTooLarge

    def __init__(
        self, *, max_request_line: int = 32768, max_head: int = 65536, max_headers: int = 256
    ) -> None:
        PartParser.__init__(self, _METHOD, max_request_line, max_head, max_headers)
        # The header lines of the last ordinary head: a client often repeats them in its next request.
        self._last_lines = b""
        self._last_headers: Tuple[Tuple[bytes, bytes], ...] = ()
        self._last_values: Dict[bytes, List[bytes]] = {}
        self._reset()

    def _reset(self) -> None:
        self.method = b""
        self.target = b""
        self.ignored_host: Optional[bytes] = None
        self._scheme_and_authority: Optional[Tuple[bytes, bytes]] = None
        self._http_version = ""
        self._host: Optional[bytes] = None
        self._is_framed = False  # a Content-Length or Transfer-Encoding has come
        self._empty_line_seen = False

    def begin_next(self) -> None:
        """Prepare for the head of the next request, once one is complete."""
        self._part, self.trailing = _METHOD, b""
        if len(self._last_lines) > MAX_REMEMBERED:
            self._last_lines = b""
        if self._consumed or self._empty_line_seen:
            self._consumed, self._headers = 0, []
            self._reset()
        else:
            # `_receive_ordinary_head` has set no more than these.
            self.method = self.target = b""

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
        headers = tuple(self._headers)
        values = group_header_values(headers)
        return RequestReceived.from_parser(self.method, self.target, headers, self._http_version, values)

    def _receive_ordinary_head(self, data: bytes) -> Optional[RequestReceived]:
        """Parse an ordinary head that came in one piece; None if it must be parsed part by part."""
        line = _ORDINARY_LINE.match(data, 0, self._max_line + 2)
        if line is None:
            return None
        method, target = line.groups()
        if method == b"CONNECT":
            return None
        self.method, self.target = method, target
        start = line.end()
        if not self._last_lines or not data.startswith(self._last_lines, start):
            empty_line = data.find(b"\r\n\r\n", start, min(self._max_head, MAX_ORDINARY))
            if empty_line < 0 or not self._remember_fields(data[start : empty_line + 4]):
                return None
        end = start + len(self._last_lines)
        if end > self._max_head:
            return None
        self._part = DONE
        self.trailing = data[end:]
        return RequestReceived.from_parser(method, target, self._last_headers, "1.1", self._last_values)

    def _remember_fields(self, lines: bytes) -> bool:
        """Set the last headers to what ``lines`` hold; False if they must be parsed part by part."""
        fields = lines[:-4].split(b"\r\n")
        if lines.translate(None, _VALUE_BYTES) != b"\r\n" * (len(fields) + 1):
            return False
        known_pair, known_name = SHARED_LINES.get, SHARED_NAMES.get
        pairs = []
        values: Dict[bytes, List[bytes]] = {}
        # One loop, with `group_header_values` written out: this is the costliest part of a head.
        for field in fields:
            pair = known_pair(field)
            if pair is None:
                name, colon, value = field.partition(b":")
                name = known_name(name) or (b"" if name.translate(None, _NAME_BYTES) else name.lower())
                if not name or not colon:
                    return False
                pair = name, value.strip(b" \t")
            pairs.append(pair)
            name, value = pair
            if name in values:
                values[name].append(value)
            else:
                values[name] = [value]
        headers = tuple(pairs)
        hosts = values.get(b"host", ())
        if len(headers) > self._max_headers or len(hosts) != 1 or _parse_host(hosts[0]) is None:
            return False
        if b"content-length" in values or b"transfer-encoding" in values:
            self._part = DONE
            _check_body(headers, "1.1")
        self._last_lines, self._last_headers, self._last_values = lines, headers, values
        return True

    def _end_method(self, value: bytes, byte: int) -> Part:
        if byte == _CR and not value and not self._empty_line_seen:
            return _EMPTY_LINE
        if byte == _CR or not value:
            raise BadRequest("malformed request line")
        if value == b"CONNECT":
            raise MethodNotAllowed("CONNECT is for proxies")
        self.method = value
        return _TARGET

    def _end_empty_line(self, value: bytes, byte: int) -> Part:
        self._empty_line_seen = True
        self._consumed = 0
        return _METHOD

    def _end_target(self, value: bytes, byte: int) -> Part:
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

    def _end_version(self, value: bytes, byte: int) -> Part:
        if _HTTP_VERSION.fullmatch(value) is None:
            raise BadRequest("malformed HTTP version")
        if value not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise HTTPVersionNotSupported("only HTTP/1.1 and HTTP/1.0 are supported")
        self._http_version = value[5:].decode("ascii")
        return LINE_END

    def _check_field(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            # RFC 9112 3.2: 400 for no Host, more than one, or an invalid one.
            if self._host is not None:
                raise BadRequest("more than one Host header")
            if parse_authority(value) is None:
                raise BadRequest("invalid Host header")
            self._host = value
        elif name in BODY_HEADERS:
            if self._is_framed:
                raise BadRequest("more than one Content-Length or Transfer-Encoding")
            self._is_framed = True
            check_framing(name, value, self._http_version)

    def _end_head(self, value: bytes, byte: int) -> Part:
        if self._host is None and self._http_version == "1.1":
            raise BadRequest("no Host header")  # RFC 9112 3.2
        if self._is_framed:
            _check_body(self._headers, self._http_version)
        if self._scheme_and_authority is not None:
            self._replace_host(*self._scheme_and_authority)
        return DONE

    def _replace_host(self, scheme: bytes, authority: bytes) -> None:
        """RFC 9112 3.2.2: "MUST ignore the received Host header field (if any)", and use the target's."""
        if self._host is None:
            self._headers.insert(0, (b"host", authority))
            return
        port = DEFAULT_PORTS[scheme]
        if parse_authority(authority, port) != parse_authority(self._host, port):
            self.ignored_host = self._host
        self._headers[self._headers.index((b"host", self._host))] = (b"host", authority)

    _ENDS: Mapping[Part, End] = {
        **PartParser._ENDS,
        _METHOD: _end_method,
        _EMPTY_LINE: _end_empty_line,
        _TARGET: _end_target,
        _VERSION: _end_version,
        HEAD_END: _end_head,
    }


def _check_body(headers: Sequence[Tuple[bytes, bytes]], http_version: str) -> None:
    """Raise what `build_body` raises, and `BadRequest` for an opening handshake with a body."""
    if build_body(headers, http_version) is not None and is_websocket_upgrade(headers):
        raise BadRequest("an opening handshake with a body")


class ResponseParser(PartParser):
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

    def _end_status(self, value: bytes, byte: int) -> Part:
        line = _STATUS_LINE.fullmatch(value)
        if line is None:
            raise HandshakeFailed("malformed status line")
        self._http_version = line[1].decode("ascii")
        self._status = int(line[2])
        self._reason = line[3] or b""
        return LINE_END

    _ENDS: Mapping[Part, End] = {**PartParser._ENDS, _STATUS: _end_status}
