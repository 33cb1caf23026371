"""`PageExchange`: a GET or HEAD without a body, answered by the application; then the connection closes."""

from __future__ import annotations

import asyncio
from typing import Optional

from ..asgi.http_bridge import create_http_receive, create_http_send
from ..asgi.response import ResponseBuilder
from ..asgi.scope import build_http_scope
from ..protocols.errors import InternalServerError, RequestRefused, ServiceUnavailable
from ..protocols.events import RequestReceived
from ..protocols.http11 import build_refusal
from .addresses import get_client, get_server, is_secure
from .exchange import Exchange
from .service import Service, log_answer

__all__ = ["PageExchange"]


class PageExchange(Exchange):
    """An asyncio protocol that takes ``transport`` over once ``request`` was parsed."""

    __slots__ = ("_deadline", "_disconnected", "_is_gone", "_response", "_scope")

    def __init__(self, service: Service, transport: asyncio.Transport, request: RequestReceived) -> None:
        super().__init__(service, transport)
        self._scope = build_http_scope(
            request,
            service.config,
            get_client(transport),
            get_server(transport),
            scheme="https" if is_secure(transport) else "http",
            state=service.state,
        )
        # What receive waits for, and what makes send fail: a client may half close and still read.
        self._disconnected = asyncio.Event()
        self._is_gone = asyncio.Event()
        self._response = ResponseBuilder(is_head=request.method == b"HEAD")
        self._deadline = service.clock() + service.config.timeout_accept
        send = create_http_send(self, self._response, self._is_gone)
        self._run(self._scope, create_http_receive(self._disconnected), send)

    def data_received(self, data: bytes) -> None:
        """Nothing behind a request without a body is parsed."""

    def write(self, data: bytes) -> None:
        super().write(data)
        if self._response.is_complete or self._at_eof:
            # ASGI: http.disconnect also answers a receive() after the response was sent.
            self._disconnected.set()

    def eof_received(self) -> bool:
        # RFC 9112 9.6: a client that has sent its request may half close, and still wants the answer.
        # Most have left, though: an application that waits for that, behind the head of an endless
        # response, is told so.
        if self._response.is_on_wire:
            self._disconnected.set()
        return self._stay_open_at_eof()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._disconnected.set()
        self._is_gone.set()
        super().connection_lost(exc)

    def _end_after_app(self, has_failed: bool) -> None:
        if self._response.is_complete:
            log_answer(self._scope, self._response.status)
            self._hand_over()
        elif self._transport is not None:
            what = "raised" if has_failed else "returned"
            self._refuse(InternalServerError(f"the application {what} before its response was complete"))

    def _refuse(self, refusal: RequestRefused) -> None:
        log_answer(self._scope, refusal.status)
        if self._response.is_on_wire:
            self.cut()
            return
        self.write(build_refusal(refusal, head=self._scope["method"] == "HEAD"))
        self._disconnected.set()
        self._is_gone.set()
        self._hand_over()

    def check_deadlines(self, now: float) -> None:
        super().check_deadlines(now)
        is_waiting = self._transport is not None and not self._response.is_on_wire
        if is_waiting and now >= self._deadline and self._task is not None:
            self._refuse(ServiceUnavailable("the application did not answer in time"))
            self._cancel_app()

    def shut_down(self) -> None:
        """A response may end, but one that waits for its client to leave is told to."""
        self._disconnected.set()
