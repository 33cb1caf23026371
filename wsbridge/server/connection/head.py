"""`Connection`: one accepted connection until its request is read; then an exchange takes over.

Another server can hand over a connection of its own: make this the transport's
protocol, then call `connection_made`, then `data_received` with the bytes read
so far, or `answer` with the request parsed from them. The order matters:
`connection_made` may refuse the connection, and give the transport to another
protocol. A server that keeps a protocol of its own takes an `EmbeddedConnection`.
"""

from __future__ import annotations

import asyncio
from typing import Optional, Union

from ...asgi.scope import check_ws_request
from ...protocols.errors import RequestRefused, RequestTimeout, ServiceUnavailable
from ...protocols.events import RequestReceived
from ...protocols.handshake import is_upgrade_request
from ...protocols.http11 import RequestParser
from ...protocols.responses import build_refusal
from ..service import Service
from .addresses import format_client, get_client, get_server
from .hints import (
    START_SIZE,
    describe_ignored_host,
    describe_missing_upgrade,
    describe_request,
    describe_start,
)
from .linger import Linger
from .page import PageExchange
from .reading import limit_reads
from .relay import Relay
from .websocket import WebSocketExchange

__all__ = ["Connection"]


class Connection(asyncio.Protocol):
    """Reads one request's head, under one deadline, and starts the exchange that answers it.

    Whatever answers makes itself the transport's protocol, or that of the ``relay`` if there is one.
    """

    __slots__ = ("_deadline", "_first_bytes", "_linger", "_parser", "_relay", "_service", "_transport")

    def __init__(self, service: Service, relay: Optional[Relay] = None) -> None:
        config = service.config
        self._service = service
        self._relay = relay
        # None before it is made, and after the request was answered or refused.
        self._transport: Optional[asyncio.Transport] = None
        self._linger: Optional[Linger] = None
        # The first bytes of the connection: what a hint in the log is based on if the head is refused.
        self._first_bytes = b""
        self._deadline = service.get_deadline(config.timeout_handshake)
        self._parser = RequestParser(
            max_request_line=config.limit_request_line,
            max_head=config.limit_request_head,
            max_headers=config.limit_request_fields,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        limit_reads(transport)
        limit = self._service.config.limit_concurrency
        is_full = limit is not None and self._service.open_connections >= limit
        self._service.add(self)
        if self._service.is_stopping:
            self.shut_down()
        elif is_full:
            full = ServiceUnavailable(f"{limit} connections are open, which is the limit")
            self._refuse(full, self._parser)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        self._first_bytes = (self._first_bytes + data[:START_SIZE])[:START_SIZE]
        try:
            request = self._parser.receive_data(data)
        except RequestRefused as refusal:
            self._refuse(refusal, self._parser, describe_start(self._first_bytes))
            return
        if request is not None:
            ignored_host = self._parser.ignored_host
            if ignored_host is not None:
                self._log_hint(self._transport, describe_ignored_host(request, ignored_host))
            self.answer(request, self._parser.trailing)

    def answer(self, request: RequestReceived, trailing: bytes = b"") -> None:
        """Run the application on ``request``, or refuse it.

        ``trailing`` are the bytes that were read behind its head: the first of
        the WebSocket. Does nothing if the connection was refused or lost before.
        """
        if self._transport is None:
            return
        try:
            self._start(self._transport, request, trailing)
        except RequestRefused as refusal:
            self._refuse(refusal, request)

    def _start(self, transport: asyncio.Transport, request: RequestReceived, trailing: bytes) -> None:
        if is_upgrade_request(request):
            client, server = get_client(transport), get_server(transport)
            ws_key = check_ws_request(request, self._service.config, client, server)
            WebSocketExchange(self._service, transport, request, ws_key, trailing, self._relay)
        else:
            self._log_hint(transport, describe_missing_upgrade(request))
            PageExchange(self._service, transport, request, self._relay)
        self._leave()

    def _log_hint(self, transport: asyncio.Transport, hint: Optional[str]) -> None:
        if hint is not None:
            self._service.logger.info("%s %s", format_client(get_client(transport)), hint)

    def _refuse(
        self,
        refusal: RequestRefused,
        refused: Union[RequestParser, RequestReceived],
        hint: Optional[str] = None,
    ) -> None:
        transport, service = self._transport, self._service
        if transport is None:
            return
        peer = format_client(get_client(transport)) + describe_request(refused.method, refused.target)
        text = str(refusal) if hint is None else f"{refusal}; {hint}"
        service.logger.info("%s refused: %d %s", peer, refusal.status, text)
        is_head = refused.method == b"HEAD"
        transport.write(
            build_refusal(refusal, head=is_head, date=service.date(), headers=service.get_headers())
        )
        self._linger = Linger(service, transport, relay=self._relay)
        self._leave()

    def _leave(self) -> None:
        self._transport = None
        self._service.discard(self)

    def eof_received(self) -> None:
        """Return None, so that the transport closes: without a request there is nothing to answer."""

    def connection_lost(self, exc: Optional[Exception]) -> None:
        if self._linger is not None:
            # A TLS transport calls the protocol that it had when it noticed the loss.
            self._linger.connection_lost(exc)
        self._leave()

    def check_deadlines(self, now: float) -> None:
        if now >= self._deadline:
            self._refuse(RequestTimeout("the request's head was not complete in time"), self._parser)

    def shut_down(self) -> None:
        self._refuse(ServiceUnavailable("the server is stopping"), self._parser)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
