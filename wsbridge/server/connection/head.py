"""`Connection`: reads the requests of one accepted connection; an exchange answers each.

Another server can hand over a connection of its own: make this the transport's
protocol, then call `connection_made`, then `data_received` with the bytes read
so far, or `answer` with the request parsed from them. The order matters:
`connection_made` may refuse the connection, and give the transport to another
protocol. A server that keeps a protocol of its own takes an `EmbeddedConnection`.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Optional

from ...asgi.scope import check_ws_request
from ...protocols.bodies import Body, build_body
from ...protocols.errors import RequestRefused, RequestTimeout, ServiceUnavailable
from ...protocols.events import RequestReceived
from ...protocols.fields import has_token
from ...protocols.handshake import is_upgrade_request
from ...protocols.http11 import RequestParser
from ...protocols.responses import build_refusal
from ..log import log_refusal
from ..service import Service
from .addresses import format_client, get_client, get_server
from .hints import (
    START_SIZE,
    describe_ignored_host,
    describe_missing_upgrade,
    describe_start,
)
from .http import HttpExchange
from .linger import Linger
from .reading import limit_reads
from .relay import Relay
from .websocket import WebSocketExchange

__all__ = ["Connection"]


class Connection(asyncio.Protocol):
    """Reads the heads of requests, each under one deadline, and starts the exchange that answers each.

    Whatever answers makes itself the transport's protocol, or that of the
    ``relay`` if there is one; an `HttpExchange` gives the transport back.
    """

    __slots__ = (
        "_answered",
        "_at_eof",
        "_context",
        "_deadline",
        "_first_bytes",
        "_held_data",
        "_parser",
        "_relay",
        "_service",
        "_successor",
        "_transport",
    )

    def __init__(self, service: Service, relay: Optional[Relay] = None) -> None:
        self._service = service
        self._relay = relay
        self._context = contextvars.copy_context()
        # None before it is made, and while a request is answered.
        self._transport: Optional[asyncio.Transport] = None
        self._successor: Optional[Linger] = None
        # Requests that were answered; another may follow.
        self._answered = 0
        # What was read behind the last request, and whether the end of the peer's stream was.
        self._held_data = b""
        self._at_eof = False
        self._begin(service.config.timeout_handshake)

    def _begin(self, timeout: Optional[float]) -> None:
        """Prepare for a request, which must begin within ``timeout``."""
        config = self._service.config
        # The first bytes of the request: what a hint in the log is based on if the head is refused.
        self._first_bytes = b""
        self._deadline = self._service.get_deadline(timeout)
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
            self._refuse(ServiceUnavailable(f"{limit} connections are open, which is the limit"))

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        if self._held_data:
            data, self._held_data = self._held_data + data, b""
        if not self._first_bytes and self._answered:
            self._deadline = self._service.get_deadline(self._service.config.timeout_handshake)
        self._first_bytes = (self._first_bytes + data[:START_SIZE])[:START_SIZE]
        parser = self._parser
        try:
            request = parser.receive_data(data)
            if request is not None:
                if parser.ignored_host is not None:
                    self._log_hint(self._transport, describe_ignored_host(request, parser.ignored_host))
                self.answer(request, parser.trailing)
            elif self._at_eof:
                self._close()
        except RequestRefused as refusal:
            self._refuse(refusal, describe_start(self._first_bytes))

    def answer(self, request: RequestReceived, trailing: bytes = b"") -> None:
        """Run the application on ``request``, or refuse it.

        ``trailing`` are the bytes that were read behind its head: the first of
        its body, or of the WebSocket. Does nothing if the connection was refused
        or lost before.
        """
        if self._transport is None:
            return
        self._parser.method, self._parser.target = request.method, request.target
        try:
            # The last request's application may have resumed reading: the next must not have its context.
            self._context.run(self._start, self._transport, request, trailing)
        except RequestRefused as refusal:
            self._refuse(refusal)

    def _start(self, transport: asyncio.Transport, request: RequestReceived, trailing: bytes) -> None:
        service = self._service
        if is_upgrade_request(request):
            client, server = get_client(transport), get_server(transport)
            ws_key = check_ws_request(request, service.config, client, server)
            WebSocketExchange(service, transport, request, ws_key, trailing, self._relay)
        else:
            self._log_hint(transport, describe_missing_upgrade(request))
            HttpExchange(
                service,
                transport,
                request,
                self._build_body(request),
                trailing,
                reader=self if self._may_read_next(request) else None,
                at_eof=self._at_eof,
                relay=self._relay,
            )
        self._leave()

    def _build_body(self, request: RequestReceived) -> Optional[Body]:
        config = self._service.config
        return build_body(
            request.headers,
            request.http_version,
            max_trailers=config.limit_request_head,
            max_trailer_fields=config.limit_request_fields,
        )

    def _may_read_next(self, request: RequestReceived) -> bool:
        """Whether the connection persists (RFC 9112 9.3); in HTTP/1.0 it never does."""
        return (
            request.http_version == "1.1"
            and self._answered + 1 < self._service.config.limit_keep_alive_requests
            and not has_token(request.headers, b"connection", b"close")
        )

    def read_next(self, transport: asyncio.Transport, data: bytes, at_eof: bool) -> None:
        """Read the next request, behind one that was answered; see `http.Reader`."""
        service = self._service
        self._answered += 1
        self._transport, self._held_data, self._at_eof = transport, data, at_eof
        self._begin(service.config.timeout_keep_alive)
        (transport if self._relay is None else self._relay).set_protocol(self)
        service.add(self)
        if data:
            # Not now: requests that came together would be answered inside each other.
            service.loop.call_soon(self.data_received, b"")
        elif at_eof or service.is_stopping:
            self._close()

    def _log_hint(self, transport: asyncio.Transport, hint: Optional[str]) -> None:
        if hint is not None:
            self._service.logger.info("%s %s", format_client(get_client(transport)), hint)

    def _refuse(self, refusal: RequestRefused, hint: Optional[str] = None) -> None:
        transport, service, parser = self._transport, self._service, self._parser
        if transport is None:
            return
        log_refusal(service.logger, get_client(transport), parser.method, parser.target, refusal, hint)
        is_head = parser.method == b"HEAD"
        transport.write(
            build_refusal(refusal, head=is_head, date=service.date(), headers=service.get_headers())
        )
        self._linger(transport)

    def _close(self) -> None:
        """Close without an answer, as no request has begun."""
        if self._transport is not None:
            self._linger(self._transport, closed=True)

    def _linger(self, transport: asyncio.Transport, *, closed: bool = False) -> None:
        self._successor = Linger(
            self._service, transport, relay=self._relay, closed=closed, at_eof=self._at_eof
        )
        self._leave()

    def _leave(self) -> None:
        self._transport = None
        self._service.discard(self)

    def eof_received(self) -> None:
        """Return None, so that the transport closes: without a request there is nothing to answer."""

    def connection_lost(self, exc: Optional[Exception]) -> None:
        if self._successor is not None:
            # A TLS transport calls the protocol that it had when it noticed the loss.
            self._successor.connection_lost(exc)
        self._leave()

    @property
    def _is_idle(self) -> bool:
        """Whether a request was answered, and the next one has not begun."""
        return self._answered > 0 and not self._first_bytes and not self._held_data

    def check_deadlines(self, now: float) -> None:
        if now < self._deadline:
            return
        if self._is_idle:
            self._close()
        else:
            self._refuse(RequestTimeout("the request's head was not complete in time"))

    def shut_down(self) -> None:
        if self._is_idle:
            self._close()
        else:
            self._refuse(ServiceUnavailable("the server is stopping"))

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
