"""The smallest server around `create_ws_receive` and `create_ws_send`: a plain queue, events, streams."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, List

from wsbridge.asgi.ws_bridge import build_ws_event, build_ws_scope, create_ws_receive, create_ws_send
from wsbridge.protocols.events import RequestReceived
from wsbridge.protocols.handshake import check_upgrade_request
from wsbridge.protocols.ws import WSProtocol
from wsbridge.server.connection.info import ConnectionInfo
from wsbridge.server.service import Service

__all__ = ["BridgeServer"]

CLOSE_SECONDS = 2.0


class BridgeServer:
    """One connection: `serve` is its task; `reap` is another's, for an application that ignores its end."""

    def __init__(self, service: Service, request: RequestReceived, reader: Any, writer: Any) -> None:
        config = service.config
        self._reader, self._writer = reader, writer
        self._protocol = WSProtocol(
            enable_compression=config.ws_per_message_deflate,
            peer_extensions=[value for name, value in request.headers if name == b"sec-websocket-extensions"],
            deflate=config.deflate,
            max_message_size=config.ws_max_size,
        )
        self._events: asyncio.Queue[Any] = asyncio.Queue()
        self._events.put_nowait({"type": "websocket.connect"})
        self._accepted, self._closed = asyncio.Event(), asyncio.Event()
        info = ConnectionInfo(self._protocol, self)
        scope = build_ws_scope(request, config, ("192.0.2.7", 50000), ("192.0.2.1", 80), connection=info)
        send = create_ws_send(
            writer,
            self._protocol,
            check_upgrade_request(request),
            accept_event=self._accepted,
            close_event=self._closed,
            offered_subprotocols=scope["subprotocols"],
        )
        self._app: Any = asyncio.ensure_future(service.app(scope, create_ws_receive(self._events), send))

    def ping(self) -> None:
        """Send one, unless the handshake is not over or the connection is."""
        if self._accepted.is_set() and not self._writer.is_closing():
            self._writer.write(self._protocol.ping())

    async def serve(self) -> None:
        reading = asyncio.ensure_future(self._read())
        closing = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait([reading, self._app, closing], return_when=asyncio.FIRST_COMPLETED)
            if self._app.done() and self._accepted.is_set() and not self._writer.is_closing():
                has_failed = self._app.cancelled() or self._app.exception() is not None
                self._writer.write(self._protocol.close(1011 if has_failed else 1000))
            if self._accepted.is_set():
                await asyncio.wait([reading], timeout=CLOSE_SECONDS)
            await asyncio.wait([self._app], timeout=CLOSE_SECONDS)
        finally:
            reading.cancel()
            closing.cancel()
            self._writer.close()

    async def _read(self) -> None:
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self._accepted.wait(), CLOSE_SECONDS)
            while self._protocol.is_receiving:
                data = await self._reader.read(64 * 1024)
                if not data:
                    break
                events, outbound = self._protocol.receive_data(data)
                if outbound and not self._writer.is_closing():
                    self._writer.write(outbound)
                self._tell(events)
        self._tell(self._protocol.receive_eof())

    def _tell(self, events: List[Any]) -> None:
        for event in events:
            self._events.put_nowait(build_ws_event(event))

    async def reap(self) -> None:
        """Tell the application of the end, cancel it until it ends too, and wait no longer for the peer."""
        self._tell(self._protocol.receive_eof())
        while not self._app.done():
            self._app.cancel()
            await asyncio.wait([self._app], timeout=1.0)
        if not self._app.cancelled():
            self._app.exception()
        await asyncio.sleep(CLOSE_SECONDS)
        self._writer.transport.abort()
