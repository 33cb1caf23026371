"""HTTP/1.1 responses (RFC 9112): their heads, and whole small ones."""

from __future__ import annotations

from http import HTTPStatus
from typing import Optional

from .errors import EventError, RequestRefused
from .fields import Headers, check_header

__all__ = [
    "build_refusal",
    "build_refusal_text",
    "build_response",
    "build_response_head",
    "build_status_line",
]

_FRAMING_HEADERS = frozenset((b"connection", b"content-length", b"transfer-encoding"))
_CONTROL_TO_SPACE = bytes(byte if 0x20 <= byte <= 0x7E else 0x20 for byte in range(256))
_MAX_REFUSAL_TEXT = 200
_REASONS = {int(status): status.phrase.encode("ascii") for status in HTTPStatus}
_STATUS_LINES = {status: b"HTTP/1.1 %d %b\r\n" % (status, reason) for status, reason in _REASONS.items()}


def build_status_line(status: int) -> bytes:
    """The first line of a response, with the registered phrase, or with none (RFC 9112 4)."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


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
    start = build_status_line(status)
    if reason is not None:
        check_header(b"reason", reason)
        start = b"HTTP/1.1 %d %b\r\n" % (status, reason)
    lines = []
    for name, value in headers:
        check_header(name, value)
        lines.append(b"%b: %b\r\n" % (name, value))
        if date is not None and name.lower() == b"date":
            date = None
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


def build_refusal_text(error: RequestRefused) -> bytes:
    """The body of the response to a refused request: one line of at most 200 printable ASCII bytes."""
    text = str(error).encode("ascii", "backslashreplace").translate(_CONTROL_TO_SPACE)
    return text[:_MAX_REFUSAL_TEXT] + b"\n"


def build_refusal(
    error: RequestRefused, *, head: bool = False, date: Optional[bytes] = None, headers: Headers = ()
) -> bytes:
    """The response to a refused request: the error's status, ``headers`` and its own, its text as the body.

    ``head``: the request's method is HEAD, so the body is left out (RFC 9110
    9.3.2). ``date`` is that of `build_response_head`. The body is that of `build_refusal_text`.
    """
    body = build_refusal_text(error)
    response = build_response(error.status, (*headers, *error.headers), body, date=date)
    return response[: -len(body)] if head else response
