"""`RequestStream`: one request of HTTP/2 or HTTP/3, in a server that has the rest of the protocol.

Such a connection has a stream for each request, on which both sides can half
close and reset. To what answers the request, the stream is a transport: pages
and WebSockets have the deadlines, limits and ends that they have in HTTP/1.1.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Any, Callable, Iterable, Optional, Tuple, Union

from ...asgi.scope import check_ws_request
from ...asgi.stream_wire import StreamWire
from ...asgi.types import HeaderPairs
from ...protocols.bodies import StreamBody
from ...protocols.errors import RequestRefused
from ...protocols.events import RequestReceived
from ...protocols.handshake import is_upgrade_request
from ...protocols.pseudo_headers import request_from_pseudo_headers
from ..admission import find_refusal
from ..refusals import record_refusal
from ..service import Service
from .addresses import get_client, get_ends
from .http import HttpExchange
from .linger import Linger
from .scopes import build_request_scope
from .websocket import WebSocketExchange

__all__ = ["RequestStream"]

# Bytes; those of asyncio's transports, until an exchange sets its own.
HIGH_WATER = 64 * 1024


class RequestStream(asyncio.Transport, ABC):
    """The stream of one request, and the transport of what answers it.

    A subclass has the methods that send frames: `send_headers`, `send_data`,
    `send_reset`, `get_room` and `acknowledge`. Its owner calls `answer` with the
    request's header section, then `receive_data` and `receive_eof` for what
    follows, `flush` when a window has opened, and `lose` when the peer has reset the
    stream, or the connection is lost.

    ``service`` has the application. ``connection`` is the transport of the
    connection: it knows the addresses, and whether there is TLS. ``when_over`` is
    called once, when the stream has ended; the application may still run.
    """

    __slots__ = (
        "_connection",
        "_has_peer_ended",
        "_high",
        "_is_closing",
        "_is_ended",
        "_is_ending",
        "_is_protocol_paused",
        "_is_reading_paused",
        "_low",
        "_protocol",
        "_service",
        "_unacknowledged",
        "_unsent",
        "_when_over",
    )

    def __init__(
        self,
        service: Service,
        connection: asyncio.BaseTransport,
        when_over: Optional[Callable[[], None]] = None,
    ) -> None:
        super().__init__()
        self._service = service
        self._connection = connection
        # None once it was called.
        self._when_over = when_over
        # None before the request is answered, and once the stream is lost.
        self._protocol: Any = None
        self._unsent = bytearray()
        self._high = self._low = HIGH_WATER
        self._is_protocol_paused = False
        self._is_reading_paused = False
        self._unacknowledged = 0
        self._has_peer_ended = False
        # Our side: whether nothing can be added behind what is unsent, and whether all of it is sent.
        self._is_ending = False
        self._is_ended = False
        # Both sides: what still comes is dropped, and once our side has ended, the stream ends.
        self._is_closing = False

    # ------------------------------------------------------------------- the subclass's

    @abstractmethod
    def send_headers(self, fields: HeaderPairs) -> None:
        """Send a header section: ``:status`` first, then names in lower case."""

    @abstractmethod
    def send_data(self, data: bytes, is_last: bool) -> None:
        """Send ``data``, no more than `get_room` said. ``is_last``: our side ends behind it."""

    @abstractmethod
    def send_reset(self, is_complete: bool) -> None:
        """Reset the stream. ``is_complete``: our side has ended, and the client is only to stop sending.

        The error code is then NO_ERROR (RFC 9113 8.1), else CANCEL (RFC 8441 5).
        """

    @abstractmethod
    def get_room(self) -> int:
        """How many bytes `send_data` can send in one frame now, by all windows and limits."""

    @abstractmethod
    def acknowledge(self, size: int) -> None:
        """Open the windows again by ``size`` bytes of what was received."""

    # ------------------------------------------------------------------------ the owner's

    def answer(self, fields: Iterable[Tuple[bytes, bytes]], http_version: str = "2") -> None:
        """Run the application on the request with this header section, or refuse it.

        ``fields`` are names and values as they were sent, pseudo-headers first; ``http_version``
        is ``"2"`` or ``"3"``.
        """
        service, config = self._service, self._service.config
        fields = list(fields)
        is_head = (b":method", b"HEAD") in fields
        wire = StreamWire(self, is_head=is_head, date=service.date, headers=service.get_headers)
        request = None
        try:
            unavailable = find_refusal(service)
            if unavailable is not None and service.own_paths is None:
                raise unavailable
            request = request_from_pseudo_headers(
                fields,
                http_version,
                max_path=config.limit_request_line,
                max_size=config.limit_request_head,
                max_fields=config.limit_request_fields,
            )
            if unavailable is not None and not (
                service.own_paths and service.own_paths.include(request.target)
            ):
                raise unavailable
            self._start(request, wire)
        except RequestRefused as refusal:
            record_refusal(service, get_client(self), request, refusal)
            wire.refuse(refusal)
            Linger(service, self, at_eof=True)

    def _start(self, request: RequestReceived, wire: StreamWire) -> None:
        service, ends = self._service, get_ends(self)
        if is_upgrade_request(request):
            ws_key = check_ws_request(request, service.config, ends.client, ends.server)
            WebSocketExchange(service, self, request, ws_key, wire=wire)
        else:
            scope = build_request_scope(service, self, request, ends)
            _StreamExchange(service, self, request, scope, StreamBody(), wire=wire)

    def receive_data(self, data: bytes, size: Optional[int] = None) -> None:
        """Pass data on. ``size`` is what it takes of the windows: more than its length if it was padded."""
        self._unacknowledged += len(data) if size is None else size
        if data and not self._is_closing:
            self._protocol.data_received(data)
        self._acknowledge()

    def receive_eof(self) -> None:
        """Note that the peer has ended its side of the stream."""
        self._has_peer_ended = True
        if not self._is_closing and not self._protocol.eof_received():
            self.close()

    def flush(self) -> None:
        """Send what the windows let pass."""
        while not self._is_ended and (self._unsent or self._is_ending):
            room = self.get_room()
            if self._unsent and room <= 0:
                break
            data = bytes(self._unsent[:room])
            del self._unsent[:room]
            self._is_ended = self._is_ending and not self._unsent
            self.send_data(data, self._is_ended)
        if self._is_protocol_paused and len(self._unsent) <= self._low:
            self._is_protocol_paused = False
            self._protocol.resume_writing()
        if self._is_closing and self._is_ended:
            self._reset_soon(is_complete=True)

    def lose(self, exc: Optional[Exception]) -> None:
        """Note that the stream has ended; a second time it does nothing. `close` and `abort` call it too."""
        protocol, self._protocol = self._protocol, None
        self._is_closing = self._is_ending = self._is_ended = True
        self._is_protocol_paused = False
        self._unsent.clear()
        self.resume_reading()
        if protocol is not None:
            protocol.connection_lost(exc)
        when_over, self._when_over = self._when_over, None
        if when_over is not None:
            when_over()

    def _acknowledge(self) -> None:
        if self._unacknowledged and not self._is_reading_paused:
            size, self._unacknowledged = self._unacknowledged, 0
            self.acknowledge(size)

    def _reset_soon(self, *, is_complete: bool) -> None:
        # Not now: the peer may have ended its side in what is being read.
        self._service.loop.call_soon(self._reset, is_complete)

    def _reset(self, is_complete: bool) -> None:
        if self._protocol is not None:
            if not (is_complete and self._has_peer_ended):
                self.send_reset(is_complete)
            self.lose(None)

    # ------------------------------------------------------------------------ the wire's

    def write_headers(self, status: int, headers: HeaderPairs) -> None:
        """Send a header section, unless the stream is closed."""
        if not self._is_ending:
            self.send_headers([(b":status", b"%d" % status), *headers])

    def write_last(self, data: bytes) -> None:
        """As `write`, and end our side behind ``data``."""
        if not self._is_ending:
            self._is_ending = True
            self._write(data)

    # -------------------------------------------------------------------- the transport's

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._connection.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def write(self, data: Union[bytes, bytearray, memoryview]) -> None:
        if not self._is_ending:
            self._write(data)

    def _write(self, data: Union[bytes, bytearray, memoryview]) -> None:
        self._unsent += data
        self.flush()
        self._pause_protocol()

    def _pause_protocol(self) -> None:
        if len(self._unsent) > self._high and not self._is_protocol_paused:
            self._is_protocol_paused = True
            self._protocol.pause_writing()

    def set_write_buffer_limits(self, high: Optional[int] = None, low: Optional[int] = None) -> None:
        self._high = HIGH_WATER if high is None else high
        self._low = self._high // 4 if low is None else low
        self._pause_protocol()

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.write_last(b"")

    def pause_reading(self) -> None:
        self._is_reading_paused = True

    def resume_reading(self) -> None:
        self._is_reading_paused = False
        self._acknowledge()

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        """Close once everything is sent."""
        if not self._is_closing:
            self._is_closing = self._is_ending = True
            # What nobody takes any more must not hold back the other streams.
            self.resume_reading()
            self.flush()

    def abort(self) -> None:
        """Reset the stream, and drop what is unsent."""
        is_complete = self._is_ended
        self._is_closing = self._is_ending = self._is_ended = True
        self._unsent.clear()
        self._reset_soon(is_complete=is_complete)


class _StreamExchange(HttpExchange):
    """An `HttpExchange` to which the end of the peer's stream is that of the body, and no disconnect."""

    def eof_received(self) -> bool:
        body = self._body
        if isinstance(body, StreamBody):
            body.end()
            self.data_received(b"")
        return True

    def _hand_over(self, *, closed: bool = False) -> None:
        # RFC 9113 8.1: a complete response ends the stream, whether or not the request has ended.
        self._at_eof = True
        super()._hand_over(closed=closed)
