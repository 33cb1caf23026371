"""`StreamWire`: a `Wire` of HTTP/2 (RFC 9113) and HTTP/3 (RFC 9114), which have a stream for each request.

What carries headers and data marks their ends itself: a body has no chunks, and
a WebSocket is opened by a 200 without Sec-WebSocket-Accept (RFC 8441 5, RFC 9220 3).
"""

from __future__ import annotations

from typing import Callable, List, Optional, Protocol

from ..protocols.errors import RequestRefused
from ..protocols.fields import HOP_BY_HOP, check_header
from ..protocols.handshake import build_connect_answer
from ..protocols.responses import build_refusal_text
from .response import ResponseBuilder, build_date
from .types import HeaderPairs
from .wire import NOWHERE

__all__ = ["StreamOutput", "StreamWire"]


class StreamOutput(Protocol):
    """The sending side of one stream."""

    def write_headers(self, status: int, headers: HeaderPairs) -> None:
        """Send a header section; the names are in lower case. Data follows, or after a 1xx another one."""

    def write(self, data: bytes) -> None:
        """Send ``data``, now or soon, in order."""

    def write_last(self, data: bytes) -> None:
        """As `write`, and end this side of the stream behind ``data``, which may be empty."""

    def abort(self) -> None:
        """Reset the stream, because a response cannot be completed."""


class StreamWire:
    """The answer to the request of one stream.

    ``is_head``: the request was a HEAD. ``date`` returns the value of the Date
    header, or None for no such header; ``headers`` returns what every answer begins
    with, before the application's headers.
    """

    __slots__ = ("_date", "_get_headers", "_is_head", "_output", "_response")

    #: Whether the connection goes on behind the response: the stream does not.
    keeps_alive = False

    def __init__(
        self,
        output: StreamOutput,
        *,
        is_head: bool = False,
        date: Callable[[], Optional[bytes]] = build_date,
        headers: Callable[[], HeaderPairs] = list,
    ) -> None:
        self._output: StreamOutput = output
        self._get_headers = headers
        self._is_head = is_head
        self._date = date
        self._response = _StreamResponse(is_head)

    def accept(self, subprotocol: Optional[str], extensions: Optional[str], headers: HeaderPairs) -> None:
        headers = [*self._get_headers(), *headers]
        answer = build_connect_answer(subprotocol=subprotocol, extensions=extensions, headers=headers)
        self._write_headers(200, answer)

    def refuse(self, refusal: RequestRefused) -> None:
        text = build_refusal_text(refusal)
        content = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
        self._write_headers(refusal.status, [*self._get_headers(), *refusal.headers, *content])
        self._output.write_last(b"" if self._is_head else text)

    def send_continue(self) -> None:
        self._output.write_headers(100, [])

    def start(self, status: int, headers: HeaderPairs) -> None:
        self._response.start(status, [*self._get_headers(), *headers])

    def send_body(self, part: bytes, more: bool) -> None:
        response = self._response
        is_first = not response.is_on_wire
        content = response.build_part(part, more)
        if is_first:
            self._write_headers(response.status, response.head)
        if not more:
            self._output.write_last(content)
        elif content:
            self._output.write(content)

    def _write_headers(self, status: int, headers: HeaderPairs) -> None:
        # RFC 9113 8.2.1: names in lower case, and no blank at either end of a value.
        fields = [(name.lower(), value.strip(b" \t")) for name, value in headers]
        for name, value in fields:
            check_header(name, value)
        date = self._date()
        if date is not None and all(name != b"date" for name, _ in fields):
            fields.insert(0, (b"date", date))
        self._output.write_headers(status, fields)

    def abort(self) -> None:
        self._output.abort()

    def detach(self) -> None:
        self._output = NOWHERE

    @property
    def is_on_wire(self) -> bool:
        return self._response.is_on_wire

    @property
    def is_complete(self) -> bool:
        return self._response.is_complete

    @property
    def status(self) -> int:
        return self._response.status


class _StreamResponse(ResponseBuilder):
    """A response whose `build_part` returns content alone; ``head`` has the headers once a part was built."""

    __slots__ = ("head",)

    def __init__(self, is_head: bool) -> None:
        # The wire adds Date.
        super().__init__(is_head, date=lambda: None)
        self.head: HeaderPairs = []

    def start(self, status: int, headers: HeaderPairs) -> None:
        super().start(status, headers)
        left_out = (*HOP_BY_HOP, b"content-length") if status == 204 else HOP_BY_HOP
        self.head = [(name, value) for name, value in headers if name.lower() not in left_out]

    def _build_head(self, size: int, more: bool) -> List[bytes]:
        has_length = self._content_length is not None or self.status in (204, 304)
        # RFC 9110 8.6: for a HEAD this is the size of a GET's body, which an empty part does not show.
        if not has_length and not more and (size or not self._is_head):
            self.head.append((b"content-length", b"%d" % size))
        return []
