"""`handle_websocket`: one WebSocket connection in an asyncio streams server of your own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Dict, Optional

from ..asgi.scope import check_ws_request
from ..asgi.types import Application
from ..config import ServerConfig
from ..protocols.errors import RequestRefused
from ..protocols.events import RequestReceived
from ..protocols.proxy_protocol import ProxyHeader
from .connection.addresses import get_ends
from .connection.linger import Linger
from .connection.proxied import apply_header
from .connection.websocket import WebSocketExchange
from .refusals import build_stopping, record_refusal, write_refusal
from .service import Service

__all__ = ["handle_websocket"]

READ_SIZE = 65536


async def handle_websocket(
    app: Application,
    config: ServerConfig,
    request: RequestReceived,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    state: Optional[Dict[str, Any]] = None,
    service: Optional[Service] = None,
    trailing: bytes = b"",
    proxy_header: Optional[ProxyHeader] = None,
) -> None:
    """Answer an upgrade request that you have parsed, and run ``app`` until the connection ends.

    The head of the request has been read from ``reader``, and ``trailing`` are
    the bytes that were read with it and follow it. A request that is no
    valid opening handshake is refused. Returns when the application has
    returned and the connection is closed; cancelling ends both. ``state`` is
    the application's lifespan state, if you run its lifespan. A ``service``
    that many connections share has one timer for all of them, and its
    ``shut_down`` closes them with 1012. ``proxy_header`` is what a
    `ProxyHeaderParser` has read in front of the head, if a proxy that you trust
    has sent it.

    Raises `TypeError` for an argument of another type, before anything is written.
    """
    if not isinstance(request, RequestReceived):
        raise TypeError(f"request must be a RequestReceived, not {request!r:.80}")
    if not isinstance(trailing, bytes):
        raise TypeError(f"trailing must be bytes, not {trailing!r:.80}")
    if proxy_header is not None and not isinstance(proxy_header, ProxyHeader):
        raise TypeError(f"proxy_header must be a ProxyHeader, not {proxy_header!r:.80}")
    service = Service(app, config, state=state, parent=service)
    transport = StreamTransport(reader, writer)
    ends = apply_header(get_ends(transport), proxy_header or ProxyHeader())
    if service.metrics is not None:
        service.metrics.connections += 1
    try:
        if service.is_stopping:
            raise build_stopping()
        ws_key = check_ws_request(request, config, ends.client, ends.server)
        WebSocketExchange(service, transport, request, ws_key, trailing, ends=ends)
    except RequestRefused as refusal:
        record_refusal(service, ends.client, request, refusal)
        write_refusal(service, transport, request, refusal)
        Linger(service, transport)
    try:
        await transport.pump()
        await service.wait_until_empty()
    except BaseException:
        service.abort()
        raise


class StreamTransport(asyncio.Transport):
    """An `asyncio.Transport` on top of a `StreamReader` and a `StreamWriter`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self._reader = reader
        self._writer = writer
        self._protocol: Any = None
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._draining: Optional[asyncio.Task[None]] = None
        self._watching: Optional[asyncio.Future[Any]] = None
        self._is_lost = False
        self._high_water = READ_SIZE
        self._is_closing = False

    async def pump(self) -> None:
        """Pass bytes from the reader to the protocol until the connection is closed, and all is sent."""
        error: Optional[Exception] = None
        try:
            await self._read_on()
            self.close()
            await self._writer.wait_closed()
        except OSError as failure:
            error = failure
        finally:
            self.abort()
            if self._draining is not None:
                self._draining.cancel()
            self._protocol.connection_lost(error)

    async def _read_on(self) -> None:
        while True:
            data = await self._reader.read(READ_SIZE)
            # Reading may have been paused meanwhile: a paused protocol gets nothing.
            await self._may_read.wait()
            if self._is_closing:
                return
            if data:
                self._protocol.data_received(data)
            elif self._protocol.eof_received() and not self._is_lost:
                self._may_read.clear()
            else:
                return

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._writer.get_extra_info(name, default)

    def pause_reading(self) -> None:
        if self._is_lost:
            return
        self._may_read.clear()
        if self._watching is None:
            # While nothing is read, this task notices the loss. It is never cancelled: before Python 3.12
            # that would cancel the stream's own future.
            self._watching = asyncio.gather(self._writer.wait_closed(), return_exceptions=True)
            self._watching.add_done_callback(self._note_loss)

    def _note_loss(self, closed: object) -> None:
        """Let `pump` come to its end."""
        self._is_lost = True
        self._may_read.set()

    def resume_reading(self) -> None:
        self._may_read.set()

    def set_write_buffer_limits(self, high: Optional[int] = None, low: Optional[int] = None) -> None:
        self._writer.transport.set_write_buffer_limits(high=high, low=low)
        self._high_water = self._writer.transport.get_write_buffer_limits()[1]
        self._wait_for_room()

    def get_write_buffer_size(self) -> int:
        return self._writer.transport.get_write_buffer_size()

    def write(self, data: Any) -> None:
        self._writer.write(data)
        self._wait_for_room()

    def _wait_for_room(self) -> None:
        if self._draining is None and self.get_write_buffer_size() > self._high_water:
            self._protocol.pause_writing()
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError:
            # Abort: the protocol waits for room in the buffer, and `pump` waits for the protocol.
            self.abort()
            return
        self._draining = None
        self._protocol.resume_writing()

    def can_write_eof(self) -> bool:
        return self._writer.can_write_eof()

    def write_eof(self) -> None:
        self._writer.write_eof()

    def is_closing(self) -> bool:
        # The writer is the first to know when a write finds the connection lost.
        return self._is_closing or self._writer.is_closing()

    def close(self) -> None:
        """Close once everything written is sent; the reader then gets the end of the stream."""
        self._is_closing = True
        self._may_read.set()
        self._writer.close()

    def abort(self) -> None:
        self._is_closing = True
        self._may_read.set()
        # asyncio's transport raises AttributeError if it was closed, and lost with its last byte.
        with contextlib.suppress(AttributeError):
            self._writer.transport.abort()
