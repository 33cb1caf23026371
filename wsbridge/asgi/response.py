"""HTTP/1.1 responses from an application: a start and the parts of a body become bytes.

Used for a denied WebSocket and for every other request. The head is written with
the first part of the body, so that a body in one part gets a Content-Length; if
that part takes longer, the server writes the head before, with an empty part. A body in
several parts, for which the application gave no Content-Length, is chunked
(RFC 9112 7.1), so that the client can tell a whole response from a truncated
one. HTTP/1.0 has no chunks: there the end of the connection ends the body.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple

from ..protocols.errors import EventError
from ..protocols.fields import HOP_BY_HOP, check_header, check_headers, lists_token, match_field_value
from ..protocols.responses import build_status_line
from .types import ASGIEvent, HeaderPairs

__all__ = [
    "ResponseBuilder",
    "build_date",
    "check_header_pairs",
    "check_response_body",
    "check_response_start",
    "never",
]

# What the server does with a header of the application.
_SEND, _LENGTH, _DATE, _LEAVE_OUT = range(4)

# By the name in lower case. Those left out are about the connection, which the server manages.
_SPECIAL_NAMES = {
    b"content-length": _LENGTH,
    b"date": _DATE,
    **dict.fromkeys(HOP_BY_HOP, _LEAVE_OUT),
}

# The same for names that nearly every response has: looking one up takes less time than checking it.
_COMMON_NAMES = {
    spelling: _SPECIAL_NAMES.get(name.lower(), _SEND)
    for name in (
        b"Content-Type Content-Length Cache-Control Connection Date ETag Last-Modified Location Server"
        b" Set-Cookie Transfer-Encoding Vary"
    ).split()
    for spelling in (name, name.lower())
}


# Responses whose heads are remembered, and the bytes of headers up to which they are.
MAX_STARTS = 256
MAX_START_SIZE = 512


def check_header_pairs(headers: Any) -> HeaderPairs:
    """The ``headers`` of an ASGI event, or None. Raises `EventError` unless they are pairs of bytes."""
    try:
        pairs = [] if headers is None else [(name, value) for name, value in headers]
    except (TypeError, ValueError):
        raise EventError(f"headers must be pairs of name and value, not {headers!r:.80}") from None
    for name, value in pairs:
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            raise EventError(f"header names and values must be bytes, not {name!r:.40}: {value!r:.40}")
    return pairs


def check_response_start(event: ASGIEvent) -> Tuple[int, HeaderPairs]:
    """Status and headers of a ``start`` event. Raises `EventError` for a status that cannot be sent.

    `Wire.start` checks the headers.
    """
    status = event.get("status")
    # Frameworks pass on members of `http.HTTPStatus`, a subclass of int.
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise EventError(f"response status {status!r}: it must be a whole number from 200 to 599")
    headers = event.get("headers")
    if type(headers) is not list:
        headers = check_header_pairs(headers)
    return int(status), headers


def check_response_body(event: ASGIEvent) -> Tuple[bytes, bool]:
    """The bytes of a ``body`` event, and whether more follow. Raises `EventError` for another type."""
    part = event.get("body", b"")
    if type(part) is not bytes:
        if not isinstance(part, (bytes, bytearray, memoryview)):
            raise EventError(f"body must be bytes, not {type(part).__name__}")
        part = bytes(part)
    return part, bool(event.get("more_body"))


def build_date(now: Optional[int] = None) -> bytes:
    """``now``, in seconds since 1970, or the current time as the value of a Date header (RFC 9110 6.6.1)."""
    # Imported by the first response: `email` is slow to import.
    from email.utils import formatdate

    return formatdate(now, usegmt=True).encode("ascii")


# What of a head follows from the status and headers alone: the status line, the header lines that are sent,
# the Content-Length, whether there is no Date, and whether the application asks to close the connection.
_Start = Tuple[bytes, bytes, Optional[int], bool, bool]

# By status and headers: most applications answer with few that differ.
_starts: Dict[Tuple[Any, ...], _Start] = {}


def _remember(key: Tuple[Any, ...], start: _Start) -> _Start:
    lines = start[1]
    # A cookie is sent once, and may be a secret.
    if len(lines) <= MAX_START_SIZE and b"set-cookie" not in lines.lower():
        if len(_starts) >= MAX_STARTS:
            _starts.clear()
        _starts[key] = start
    return start


def _build_start(status: int, headers: HeaderPairs) -> _Start:
    lines: List[bytes] = []
    declared = None
    needs_date = True
    asks_to_close = False
    for name, value in headers:
        use = _COMMON_NAMES.get(name)
        if use is None:
            check_header(name, value)
            use = _SPECIAL_NAMES.get(name.lower(), _SEND)
        elif match_field_value(value) is None:
            raise EventError(f"control byte in the value of header {name!r}")
        if use == _LENGTH:
            if declared is not None or not value.isdigit():
                raise EventError(f"content-length {value!r}: it must be one line of digits")
            declared = int(value)
            # RFC 9110 8.6: a 204 must not have one.
            if status == 204:
                continue
        elif use == _DATE:
            needs_date = False
        elif use == _LEAVE_OUT:
            if name.lower() == b"connection" and lists_token([value], b"close"):
                asks_to_close = True
            continue
        lines += (name, b": ", value, b"\r\n")
    return build_status_line(status), b"".join(lines), declared, needs_date, asks_to_close


def never() -> bool:
    """The connection closes behind its response."""
    return False


class ResponseBuilder:
    """The bytes of one response.

    ``is_head``: the request was a HEAD, which is answered without a body.
    ``http_version``: the request's. ``may_keep_alive`` is called for the head:
    whether the connection can go on behind the response. ``date``: returns the
    value of the Date header, or None for no such header.
    """

    __slots__ = (
        "_can_chunk",
        "_content_length",
        "_date",
        "_is_chunked",
        "_is_head",
        "_lines",
        "_sent",
        "is_complete",
        "is_on_wire",
        "keeps_alive",
        "may_keep_alive",
        "status",
    )

    def __init__(
        self,
        is_head: bool = False,
        http_version: str = "1.1",
        may_keep_alive: Callable[[], bool] = never,
        date: Callable[[], Optional[bytes]] = build_date,
    ) -> None:
        self._is_head = is_head
        # RFC 9112 6.1: no Transfer-Encoding for a client of HTTP/1.0.
        self._can_chunk = http_version != "1.0"
        self.may_keep_alive = may_keep_alive
        self._date = date
        #: The status of the response; 0 before its start.
        self.status = 0
        #: Whether the head was built: another response can no longer take its place.
        self.is_on_wire = False
        #: Whether the last part of the body was built.
        self.is_complete = False
        #: Whether another request may follow on the connection: not if the application asks to close it.
        self.keeps_alive = True

    def start(self, status: int, headers: HeaderPairs) -> None:
        """Set status and headers.

        Headers about the connection (RFC 9110 7.6.1) are left out: frameworks set
        them, but the server manages the connection; ``Connection: close`` is obeyed.
        ASGI requires it for Transfer-Encoding. Raises `EventError` for headers that
        cannot be sent, and for a Content-Length that is no length.
        """
        try:
            key = (status, *headers)
            start = _starts.get(key) or _remember(key, _build_start(status, headers))
        except EventError:
            raise
        except (TypeError, ValueError):
            # Pairs that are lists cannot be remembered. Of what cannot be sent, the checks name the header.
            start = _build_start(status, check_headers(headers))
        status_line, lines, declared, needs_date, asks_to_close = start
        self._content_length: Optional[int] = declared
        self._is_chunked = False
        # Bytes of the body.
        self._sent = 0
        date = self._date() if needs_date else None
        # The head as far as it follows from the start, in parts.
        self._lines: List[bytes] = (
            [status_line, lines] if date is None else [status_line, b"Date: ", date, b"\r\n", lines]
        )
        self.status = status
        if asks_to_close:
            self.keeps_alive = False

    def build_part(self, part: bytes, more: bool) -> bytes:
        """The bytes to write for a part of the body. Raises `EventError` if it breaks Content-Length.

        ``more``: further parts follow.
        """
        # RFC 9110 6.4.1: these have no content, whatever their Content-Length says.
        without_content = self._is_head or self.status in (204, 304)
        sent = self._sent + len(part)
        length = self._content_length
        if length is not None and sent != length and not without_content and (sent > length or not more):
            raise EventError(f"body of {sent} bytes, content-length {length}")
        lines = [] if self.is_on_wire else self._build_head(len(part), more)
        self._sent = sent
        self.is_on_wire = True
        self.is_complete = not more
        if not without_content:
            if self._is_chunked:
                lines.append(self._build_chunk(part, more))
            else:
                lines.append(part)
        return b"".join(lines)

    def _build_head(self, size: int, more: bool) -> List[bytes]:
        lines = self._lines
        self.keeps_alive = self.keeps_alive and self.may_keep_alive()
        if not self.keeps_alive:
            lines.append(b"Connection: close\r\n")
        # RFC 9110 8.6, RFC 9112 6.1: a 204 has no Content-Length and no Transfer-Encoding; a 304 needs none.
        if self._content_length is None and self.status not in (204, 304):
            if more:
                if self._can_chunk:
                    self._is_chunked = True
                    lines.append(b"Transfer-Encoding: chunked\r\n")
            # RFC 9110 8.6: for a HEAD this is the size of a GET's body, which an empty part does not show.
            elif size or not self._is_head:
                lines.append(b"Content-Length: %d\r\n" % size)
        lines.append(b"\r\n")
        return lines

    def _build_chunk(self, part: bytes, more: bool) -> bytes:
        chunk = b"%x\r\n%b\r\n" % (len(part), part) if part else b""
        return chunk if more else chunk + b"0\r\n\r\n"
