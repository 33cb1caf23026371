"""`PageExchange`: a request without a body, answered by the application; then the connection closes."""

from __future__ import annotations

import asyncio
import math
from typing import Optional

from ...asgi.http_bridge import create_http_receive, create_http_send
from ...asgi.scope import build_http_scope
from ...asgi.wire import Http11Wire
from ...protocols.errors import InternalServerError
from ...protocols.events import RequestReceived
from ..service import Service
from .addresses import get_client, get_server, is_secure
from .exchange import Exchange
from .relay import Relay

__all__ = ["PageExchange"]


class PageExchange(Exchange):
    """An asyncio protocol that takes ``transport`` over once ``request`` is parsed.

    A ``relay`` stays the transport's protocol in its place.
    """

    __slots__ = ("_deadline", "_disconnected", "_gone", "_scope", "_wire")

    def __init__(
        self,
        service: Service,
        transport: asyncio.Transport,
        request: RequestReceived,
        relay: Optional[Relay] = None,
    ) -> None:
        super().__init__(service, transport, relay)
        self._scope = build_http_scope(
            request,
            service.config,
            get_client(transport),
            get_server(transport),
            scheme="https" if is_secure(transport) else "http",
            state=service.state,
        )
        # `_disconnected` lets `receive` return http.disconnect, `_gone` makes `send` do nothing. They differ
        # for a client that has half closed and still reads.
        self._disconnected = asyncio.Event()
        self._gone = asyncio.Event()
        self._deadline = math.inf
        self._wire = Http11Wire(
            self,
            is_head=request.method == b"HEAD",
            http_version=request.http_version,
            date=service.date,
            headers=service.get_headers,
        )
        send = create_http_send(self._wire, self.drain, self._gone)
        self._run(self._scope, create_http_receive(self._disconnected), send)

    def data_received(self, data: bytes) -> None:
        """Ignore what follows the request: the connection closes after the response."""

    def write(self, data: bytes) -> None:
        super().write(data)
        if self._wire.is_complete or self._at_eof:
            # ASGI: http.disconnect also answers a receive() after the response was sent.
            self._disconnected.set()

    def eof_received(self) -> bool:
        # RFC 9112 9.6: a client may half close after its request, and still wants the answer. But most
        # clients have left, and an application with an endless response must learn of it.
        if self._wire.is_on_wire:
            self._disconnected.set()
        # An application may wait for the disconnect before it responds. Nothing is read any more and no write
        # can fail, so that only a deadline can end its wait: `timeout_close`.
        self._deadline = self._service.get_deadline(self._service.config.timeout_close)
        return self._stay_open_at_eof()

    def check_deadlines(self, now: float) -> None:
        super().check_deadlines(now)
        if now >= self._deadline:
            self._disconnected.set()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._disconnected.set()
        self._gone.set()
        super().connection_lost(exc)

    def _end_after_app(self, has_failed: bool) -> None:
        if self._wire.is_complete:
            self._service.log_answer(self._scope, self._wire.status)
            self._hand_over()
            return
        if not has_failed and not self._disconnected.is_set():
            self.logger.error("application returned before its response was complete")
        if self._wire.is_on_wire:
            # The client has the status already, and must see that the body is incomplete.
            self._service.log_answer(self._scope, self._wire.status)
            self._wire.abort()
        elif self._transport is not None:
            self._fail("raised" if has_failed else "returned")

    def _leave_if_over(self) -> None:
        super()._leave_if_over()
        if self._task is None and self._transport is None:
            self._wire.detach()

    def _fail(self, what: str) -> None:
        refusal = InternalServerError(f"the application {what} before its response was complete")
        self._service.log_answer(self._scope, refusal.status)
        self._wire.refuse(refusal)
        self._disconnected.set()
        self._gone.set()
        self._hand_over()

    def shut_down(self) -> None:
        """Let the response finish; an application that waits for http.disconnect gets it."""
        self._disconnected.set()
