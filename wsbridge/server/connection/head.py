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
from typing import Callable, Optional

from ...asgi.scope import HttpScopes, check_ws_request
from ...protocols.bodies import Body, build_body
from ...protocols.errors import BadRequest, RequestRefused, RequestTimeout, ServiceUnavailable
from ...protocols.events import RequestReceived
from ...protocols.fields import lists_token
from ...protocols.handshake import is_upgrade_request
from ...protocols.http11 import RequestParser
from ..admission import admit_client, find_refusal
from ..budget import HINT, OUT_OF_MEMORY
from ..listening.descriptors import OUT_OF_DESCRIPTORS, get_descriptor
from ..logs.log import log_hint
from ..metrics.metrics import Load
from ..refusals import build_stopping, record_refusal, write_refusal
from ..service import Service
from .addresses import Ends, get_ends
from .hints import START_SIZE, describe_ignored_host, describe_missing_upgrade, describe_start
from .http import HttpExchange
from .linger import Linger
from .proxied import Preface
from .reading import get_unsent_size, limit_reads, resume_reading
from .relay import Relay, Stage
from .scopes import prepare_scopes
from .websocket import WebSocketExchange

__all__ = ["Connection"]

# Bytes. Most heads are shorter, or come in one piece: an incomplete one counts from this size on.
FREE_HEAD_SIZE = 4 * 1024

# The Connection header of most requests that have one: comparing takes less time than parsing the list.
_KEEP_ALIVE = [b"keep-alive"]


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
        "_ends",
        "_first_bytes",
        "_held_data",
        "_is_ending",
        "_is_reading_paused",
        "_last",
        "_parser",
        "_relay",
        "_scopes",
        "_service",
        "_successor",
        "_transport",
    )

    def __init__(self, service: Service, relay: Optional[Relay] = None) -> None:
        self._service = service
        self._relay = relay
        self._context = contextvars.copy_context()
        # Of the client, if a proxy has told them; else None, and they are the transport's.
        self._ends: Optional[Ends] = None
        # Made for the first request that opens no WebSocket.
        self._scopes: Optional[HttpScopes] = None
        # None before it is made, and while a request is answered.
        self._transport: Optional[asyncio.Transport] = None
        # The stage that has it then.
        self._successor: Optional[Stage] = None
        # Requests that were answered; another may follow.
        self._answered = 0
        # Whether the server stops, or `shut_down` was called: the next request is the last.
        self._is_ending = service.is_stopping
        # The exchange of the last request, while its application goes on and nothing else keeps it.
        self._last: Optional[HttpExchange] = None
        # What was read behind the last request, whether its exchange has paused reading, and whether the end
        # of the peer's stream was read.
        self._held_data = b""
        self._is_reading_paused = False
        self._at_eof = False
        # The first bytes of a head that has not come whole: if it is refused, a hint in the log needs them.
        self._first_bytes = b""
        config = service.config
        self._deadline = service.get_deadline(config.timeout_handshake)
        self._parser = RequestParser(
            max_request_line=config.limit_request_line,
            max_head=config.limit_request_head,
            max_headers=config.limit_request_fields,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made: asyncio.Transport = transport  # type: ignore[assignment]
        if self._service.config.proxy_protocol and self._ends is None:
            # Not kept: it refers to this connection, and only the collector frees a cycle.
            Preface(self._service, made, self, self._deadline, self._relay)
            return
        limit_reads(made)
        made.set_write_buffer_limits(high=self._service.config.ws_write_limit)
        self._transport = made
        service = self._service
        if service.metrics is not None and self._ends is None:
            service.metrics.connections += 1
        if get_descriptor(made) >= service.reserved_descriptor:
            service.free_descriptors()
            service.add(self)
            self._refuse_unlogged(made, ServiceUnavailable(OUT_OF_DESCRIPTORS))
            return
        # One that was accepted before the server began to stop, and whose PROXY protocol header or TLS
        # handshake has ended since, is served; not once the last member has left, when the application ends.
        was_accepted_before = self._ends is not None or not self._is_ending
        is_late = service.is_stopping and was_accepted_before and len(service.members) > 0
        refusal = None if is_late else find_refusal(service)
        if refusal is None and service.clients is not None:
            refusal = admit_client(service.clients, made, self._find_ends(made).client)
        service.add(self)
        if refusal is not None:
            self._turn_away(made, refusal)
        else:
            service.add_waiting(self)
            if is_late:
                self._is_ending = True
                self._deadline = min(self._deadline, service.get_deadline(service.stop_grace))

    def give_way(self, refusal: RequestRefused) -> None:
        if self._transport is not None and self._is_idle:
            self._turn_away(self._transport, refusal)
        else:
            self._refuse(refusal)

    def begin(self, transport: asyncio.Transport, ends: Ends, data: bytes) -> None:
        """`connection_made` for a connection whose ``ends`` a proxy has told; then `data_received`."""
        self._ends = ends
        self.connection_made(transport)
        (self._successor or self).data_received(data)

    def _turn_away(self, transport: asyncio.Transport, refusal: RequestRefused) -> None:
        """Refuse the connection: now, or, where there are `OwnPaths`, once its request's head is read."""
        if self._service.own_paths is None:
            self._refuse(refusal)
        else:
            self._successor = refused.RefusedConnection(
                self._service, transport, refusal, self._relay, self._ends
            )
            self._leave()

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        if self._held_data:
            data, self._held_data = self._held_data + data, b""
            if self._is_reading_paused:
                # The next exchange pauses again before anything is read, if it has to hold too much.
                resume_reading(self._transport)
        parser = self._parser
        try:
            request = parser.receive_data(data)
        except RequestRefused as refusal:
            self._refuse(refusal, hint=describe_start(self._first_bytes + data[:START_SIZE]))
            return
        if request is None:
            self._note_start(data)
            return
        if parser.ignored_host is not None:
            self._log_hint(self._transport, request, describe_ignored_host(request, parser.ignored_host))
        self.answer(request, parser.trailing)

    def _note_start(self, data: bytes) -> None:
        """Keep the first bytes of a head that is not complete.

        Behind another request, the first ends ``timeout_keep_alive``, and starts ``timeout_handshake``.
        """
        had_begun = self._has_begun
        self._first_bytes = (self._first_bytes + data[:START_SIZE])[:START_SIZE]
        if self._at_eof:
            self._close()
        elif self._has_begun and not had_begun and self._answered and not self._is_ending:
            self._deadline = self._service.get_deadline(self._service.config.timeout_handshake)
        budget, size = self._service.budget, self.held_size
        if size and budget is not None:
            budget.count(self, size)

    @property
    def held_size(self) -> int:
        """Bytes of an incomplete head, for the service's budget."""
        size = 0 if self._transport is None else self._parser.consumed
        return size if size > FREE_HEAD_SIZE else 0

    @property
    def give_up(self) -> Optional[Callable[[], None]]:
        return self._give_up_head if self.held_size else None

    def _give_up_head(self) -> None:
        self._refuse(ServiceUnavailable(OUT_OF_MEMORY), hint=HINT)

    def read_on(self) -> None:
        """Heads are short: no room is needed to read on."""

    def answer(self, request: RequestReceived, trailing: bytes = b"") -> None:
        """Run the application on ``request``, or refuse it.

        ``trailing`` are the bytes that were read behind its head: the first of
        its body, or of the WebSocket. Does nothing if the connection was refused
        or lost before.
        """
        if self._transport is None:
            return
        try:
            # The last request's application may have resumed reading: the next must not have its context.
            self._context.run(self._start, self._transport, request, trailing)
        except RequestRefused as refusal:
            self._refuse(refusal, request)

    def _start(self, transport: asyncio.Transport, request: RequestReceived, trailing: bytes) -> None:
        values = request.values
        body = None
        if b"content-length" in values or b"transfer-encoding" in values:
            config = self._service.config
            body = build_body(
                request.headers,
                request.http_version,
                max_trailers=config.limit_request_head,
                max_trailer_fields=config.limit_request_fields,
            )
        if b"upgrade" in values or b"sec-websocket-key" in values:
            if is_upgrade_request(request):
                if body is not None:
                    # A request that another server has parsed.
                    raise BadRequest("an opening handshake with a body")
                self._start_websocket(transport, request, trailing)
                return
            self._log_hint(transport, request, describe_missing_upgrade(request))
        self._start_http(transport, request, body, trailing)

    def _may_read_next(self, request: RequestReceived) -> bool:
        """Whether the connection persists (RFC 9112 9.3).

        Not in HTTP/1.0, even if its client asks for it.
        """
        connection = request.values.get(b"connection", _KEEP_ALIVE)
        return (
            request.http_version == "1.1"
            and not self._is_ending
            and self._answered + 1 < self._service.config.limit_keep_alive_requests
            and (connection == _KEEP_ALIVE or not lists_token(connection, b"close"))
        )

    def _start_websocket(
        self, transport: asyncio.Transport, request: RequestReceived, trailing: bytes
    ) -> None:
        service, ends = self._service, self._find_ends(transport)
        service.waiting.pop(self, None)
        ws_key = check_ws_request(request, service.config, ends.client, ends.server)
        websocket = WebSocketExchange(service, transport, request, ws_key, trailing, self._relay, self, ends)
        if self._at_eof:
            websocket.eof_received()
        self._transport, self._successor = None, websocket
        if self._last is not None:
            self._let_last_go()
        if self._is_ending or service.is_stopping:
            websocket.shut_down()

    def _find_ends(self, transport: asyncio.Transport) -> Ends:
        return self._ends or get_ends(transport)

    def _start_http(
        self, transport: asyncio.Transport, request: RequestReceived, body: Optional[Body], trailing: bytes
    ) -> None:
        if self._scopes is None:
            self._service.waiting.pop(self, None)
            self._scopes = prepare_scopes(self._service, transport, self._find_ends(transport))
        scope = self._scopes.build(request)
        self._transport = None
        self._let_last_go()
        exchange = HttpExchange(
            self._service,
            transport,
            request,
            scope,
            body,
            trailing,
            self._at_eof,
            self if self._may_read_next(request) else None,
            self._relay,
            self,
        )
        # An application that ran at once (Python 3.12: eager tasks) may have given the transport back.
        if self._transport is None:
            self._successor = exchange

    def read_next(
        self, exchange: HttpExchange, transport: asyncio.Transport, data: bytes, at_eof: bool
    ) -> None:
        """Read the next request, behind the one that ``exchange`` has answered; see `http.Reader`."""
        service = self._service
        # Most applications return at once: the exchange is a member again only if its application goes on.
        self._last = exchange
        self._is_reading_paused = exchange.is_reading_paused
        service.replace(exchange, self)
        self._answered += 1
        self._transport, self._held_data, self._at_eof = transport, data, at_eof
        self._successor = None
        self._first_bytes = b""
        self._deadline = service.get_deadline(service.config.timeout_keep_alive)
        self._parser.begin_next()
        (transport if self._relay is None else self._relay).set_protocol(self)
        if service.is_stopping:
            self.shut_down()
        if data:
            # Not now: requests that came together would be answered inside each other.
            service.loop.call_soon(self.data_received, b"")

    def forget(self, exchange: HttpExchange) -> None:
        """Drop the exchange of the last request: before the next one comes, which then takes less time."""
        if self._last is exchange:
            self._last = None

    def _log_hint(self, transport: asyncio.Transport, request: RequestReceived, hint: Optional[str]) -> None:
        if hint is not None:
            log_hint(self._find_ends(transport).client, request, hint, self._service.logger)

    def _refuse(
        self, refusal: RequestRefused, request: Optional[RequestReceived] = None, hint: Optional[str] = None
    ) -> None:
        """Refuse ``request``, or what the parser has read of one."""
        transport = self._transport
        if transport is not None:
            service, what = self._service, request or self._parser
            record_refusal(service, self._find_ends(transport).client, what, refusal, hint)
            write_refusal(service, transport, what, refusal)
            self._linger(transport)

    def _refuse_unlogged(self, transport: asyncio.Transport, refusal: RequestRefused) -> None:
        """Refuse without a line: the service has warned already, and there may be very many."""
        metrics = self._service.metrics
        if metrics is not None:
            metrics.count_refusal(None, refusal.status)
        write_refusal(self._service, transport, None, refusal)
        self._linger(transport)

    def _close(self) -> None:
        """Close without an answer: no request has begun, or the stream has ended within its head."""
        if self._transport is not None:
            self._linger(self._transport, closed=True)

    def _linger(self, transport: asyncio.Transport, *, closed: bool = False) -> None:
        self._successor = Linger(self._service, transport, self._relay, closed, self._at_eof)
        self._leave()

    def _leave(self) -> None:
        self._transport = None
        self._let_last_go()
        self._service.discard(self)

    def _let_last_go(self) -> None:
        """If the application of the last request goes on, its exchange becomes a member."""
        last, self._last = self._last, None
        if last is not None:
            last.outlive()

    def eof_received(self) -> bool:
        """Return False, so that the transport closes, unless requests are held, which will be answered."""
        transport = self._transport
        self._at_eof = bool(self._held_data) and transport is not None and transport.can_write_eof()
        return self._at_eof

    def connection_lost(self, exc: Optional[Exception]) -> None:
        if self._successor is not None:
            # A TLS transport calls the protocol that it had when it noticed the loss.
            self._successor.connection_lost(exc)
        if self._service.clients is not None:
            self._service.clients.discard(self._transport)
        self._leave()

    @property
    def _has_begun(self) -> bool:
        """Whether a part of the next head was read; an empty line before it is none (RFC 9112 2.2)."""
        return bool(self._first_bytes.lstrip(b"\r\n"))

    @property
    def _is_idle(self) -> bool:
        """Whether no request has begun. One that is on its way can be sent again if no answer comes."""
        return not self._has_begun and not self._held_data

    def check_deadlines(self, now: float) -> None:
        self._let_last_go()
        if self._answered and self._is_idle and self._service.has_refused:
            # Another connection needs the place.
            # RFC 9112 9.5: a server "MAY close the transport connection at any time".
            self._close()
        if now < self._deadline:
            return
        if self._is_ending or self._service.is_stopping:
            self._end_for_stop()
        elif self._is_idle:
            self._close()
        else:
            self._refuse(RequestTimeout("the request's head was not complete in time"))

    def measure(self) -> Load:
        # What is unsent is the end of the last response.
        unsent = 0 if self._transport is None else get_unsent_size(self._transport)
        return Load("waiting", queued=len(self._held_data), unsent=unsent)

    def shut_down(self) -> None:
        """Close, but first wait for a request that may be on its way: none shall fail because of a stop.

        Another worker may listen already, and a proxy may have sent the next request on a kept connection.
        """
        if self._is_ending:
            # A host may stop its service as well.
            return
        self._is_ending = True
        config, now = self._service.config, self._service.clock()
        is_kept = self._answered and not self._has_begun
        timeout = config.timeout_keep_alive if is_kept else config.timeout_handshake
        begun = now if timeout is None else self._deadline - timeout
        self._deadline = min(self._deadline, begun + self._service.stop_grace)
        if now >= self._deadline:
            self._end_for_stop()

    def _end_for_stop(self) -> None:
        own_paths, transport = self._service.own_paths, self._transport
        if own_paths is not None and transport is not None and self._is_idle and not self._answered:
            self._turn_away(transport, build_stopping())
        else:
            self._end()

    def _end(self) -> None:
        """Close because the server is stopping."""
        if self._is_idle:
            self._close()
        else:
            self._refuse(build_stopping())

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        if self._last is not None:
            self._last.abort()


# At the end: it imports `Connection`. Not where it is used: when connections are refused, there may be no
# file descriptor left to read the module with.
from . import refused  # noqa: E402
