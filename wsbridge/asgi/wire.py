"""`Wire`: how a request is answered, by an accept or by a response; `Http11Wire` does so in HTTP/1.1.

A session knows statuses, headers and parts of a body; a wire adds
Upgrade, Connection, Sec-WebSocket-Accept and the framing of the body. `stream_wire`
has the wire of HTTP/2 and HTTP/3.
"""

from __future__ import annotations

from typing import Callable, Optional, Protocol

from ..protocols.errors import RequestRefused
from ..protocols.handshake import build_101_response
from ..protocols.responses import build_refusal
from .response import ResponseBuilder, build_date, never
from .types import HeaderPairs

__all__ = ["NOWHERE", "Http11Wire", "Output", "Wire"]

# RFC 9110 15.2.1.
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Output(Protocol):
    """Where a wire's bytes go."""

    def write(self, data: bytes) -> None:
        """Write ``data``, now or soon, in order."""

    def abort(self) -> None:
        """Abort the connection, because a response cannot be completed."""


class Wire(Protocol):
    """The answer to one request: an accept, a refusal, or a response of a start and a body."""

    def accept(self, subprotocol: Optional[str], extensions: Optional[str], headers: HeaderPairs) -> None:
        """Open the WebSocket. Raises `EventError`, before a byte is written, for bad headers."""

    def refuse(self, refusal: RequestRefused) -> None:
        """Answer with the refusal's status and text."""

    def send_continue(self) -> None:
        """Tell a client that waits for it to send the body (RFC 9110 10.1.1)."""

    def start(self, status: int, headers: HeaderPairs) -> None:
        """Begin a response, whose head may be written only with the first part of its body.

        Raises `EventError` for headers that cannot be sent.
        """

    def send_body(self, part: bytes, more: bool) -> None:
        """Write the next part of the body; ``more`` is False for the last part."""

    def abort(self) -> None:
        """Give up a response that is partly written, so that the client sees that it is incomplete."""

    def detach(self) -> None:
        """Drop all references to the output, which refers to the wire: only the collector frees a cycle."""

    @property
    def is_on_wire(self) -> bool:
        """Whether a part of a response is written."""

    @property
    def is_complete(self) -> bool:
        """Whether the last part of a response is written."""

    @property
    def keeps_alive(self) -> bool:
        """Whether the response that is written lets the connection go on."""

    @property
    def status(self) -> int:
        """The response's status; 0 before its start."""


class Nowhere:
    """The output of a connection or a stream that has ended."""

    __slots__ = ()

    def write_headers(self, status: int, headers: HeaderPairs) -> None:
        """Drop them."""

    def write(self, data: bytes) -> None:
        """Drop ``data``."""

    write_last = write

    def abort(self) -> None:
        """Do nothing."""


NOWHERE = Nowhere()


class Http11Wire(ResponseBuilder):
    """A `Wire` of HTTP/1.1 (RFC 9112), and of HTTP/1.0 for requests that open no WebSocket.

    ``ws_key`` is the Sec-WebSocket-Key of an upgrade request; ``headers`` returns
    what every answer begins with, before the application's headers. The other
    arguments are those of `ResponseBuilder`.
    """

    __slots__ = ("_get_headers", "_output", "_ws_key")

    def __init__(
        self,
        output: Output,
        is_head: bool = False,
        http_version: str = "1.1",
        may_keep_alive: Callable[[], bool] = never,
        date: Callable[[], Optional[bytes]] = build_date,
        headers: Callable[[], HeaderPairs] = list,
        ws_key: bytes = b"",
    ) -> None:
        # Not by `super()`, here and below: before Python 3.12 that takes as long as what it calls.
        ResponseBuilder.__init__(self, is_head, http_version, may_keep_alive, date)
        self._output: Output = output
        self._get_headers = headers
        self._ws_key = ws_key

    def accept(self, subprotocol: Optional[str], extensions: Optional[str], headers: HeaderPairs) -> None:
        response = build_101_response(
            self._ws_key,
            subprotocol=subprotocol,
            extensions=extensions,
            headers=[*self._get_headers(), *headers],
        )
        self._output.write(response)

    def refuse(self, refusal: RequestRefused) -> None:
        self._output.write(
            build_refusal(refusal, head=self._is_head, date=self._date(), headers=self._get_headers())
        )

    def send_continue(self) -> None:
        self._output.write(CONTINUE)

    def start(self, status: int, headers: HeaderPairs) -> None:
        own = self._get_headers()
        ResponseBuilder.start(self, status, [*own, *headers] if own else headers)

    def send_body(self, part: bytes, more: bool) -> None:
        self._output.write(self.build_part(part, more))

    def abort(self) -> None:
        self._output.abort()

    def detach(self) -> None:
        self._output = NOWHERE
        self.may_keep_alive = never
