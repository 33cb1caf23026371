"""The three ways into wsbridge: its own server, `handle_websocket` for streams, and the bare bridge."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Coroutine, Dict, List, Type

from wsbridge.asgi.ws_bridge import build_ws_event, build_ws_scope, create_ws_receive, create_ws_send
from wsbridge.config import ServerConfig
from wsbridge.protocols.events import RequestReceived
from wsbridge.protocols.fields import get_header_values
from wsbridge.protocols.handshake import check_upgrade_request
from wsbridge.protocols.http11 import RequestParser
from wsbridge.protocols.ws import WSProtocol
from wsbridge.server.connection.head import Connection
from wsbridge.server.connection.info import ConnectionInfo
from wsbridge.server.service import Service
from wsbridge.server.streams import handle_websocket

from .wire import Wire

__all__ = ["FLOORS", "Floor"]

BRIDGE_SECONDS = 2.0


class Floor:
    """One connection's server; made inside the loop."""

    #: Whether it reads the request's head from the wire.
    reads_head = True
    #: Whether it is wsbridge's own, with all its deadlines and log lines.
    has_deadlines = True

    def __init__(self, app: Any, config: ServerConfig, wire: Wire) -> None:
        self.wire = wire
        self.service = Service(app, config)
        #: Those that shut down, or serve this connection.
        self.tasks: List[Any] = []

    def open(self, head: bytes) -> None:
        """Take the connection; its request comes in on the wire, or is this one."""
        raise NotImplementedError

    def shut_down(self, timeout: float) -> None:
        self.tasks.append(self.wire.loop.create_task(self.service.shut_down(timeout)))

    def abort(self) -> None:
        self.service.abort()

    def cancel(self) -> None:
        for task in self.tasks:
            task.cancel()

    def find_left(self) -> str:
        """What is left of the connection, in words; nothing may be."""
        service = self.service
        if service.members or service.lingering or service._timer is not None:
            return f"left in the service: {service.members}, {service.lingering}, {service._timer}"
        for task in self.tasks:
            if not task.done():
                return f"task still running: {task}"
            if not task.cancelled() and task.exception() is not None:
                return f"task failed: {task.exception()!r}"
        return ""


class ServerFloor(Floor):
    """`Connection` and `Service`, as `Server` uses them."""

    def open(self, head: bytes) -> None:
        connection = Connection(self.service)
        self.wire.set_protocol(connection)
        connection.connection_made(self.wire)


class StreamsFloor(Floor):
    """A server that somebody wrote with asyncio's streams."""

    reads_head = False

    def open(self, head: bytes) -> None:
        request = RequestParser().receive_data(head)
        if request is None:
            raise ValueError("not a whole head")
        loop = self.wire.loop
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        self.wire.set_protocol(protocol)
        protocol.connection_made(self.wire)
        writer = asyncio.StreamWriter(self.wire, protocol, reader, loop)
        task = loop.create_task(self._serve(request, reader, writer))
        # Even where it was cancelled before it began.
        task.add_done_callback(lambda task: self._end(writer))
        self.tasks.append(task)

    def _serve(self, request: RequestReceived, reader: Any, writer: Any) -> Coroutine[Any, Any, None]:
        service = self.service
        return handle_websocket(service.app, service.config, request, reader, writer, service=service)

    def _end(self, writer: Any) -> None:
        writer.close()


class BridgeFloor(StreamsFloor):
    """A small server around `create_ws_receive` and `create_ws_send`: a plain queue, events, streams."""

    has_deadlines = False

    def _serve(self, request: RequestReceived, reader: Any, writer: Any) -> Coroutine[Any, Any, None]:
        config = self.service.config
        self.wire.set_write_buffer_limits(high=config.ws_write_limit)
        self._protocol = WSProtocol(
            enable_compression=config.ws_per_message_deflate,
            peer_extensions=get_header_values(request.headers, b"sec-websocket-extensions"),
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
        self._app: Any = asyncio.ensure_future(self.service.app(scope, create_ws_receive(self._events), send))
        return self._run(reader, writer)

    def ping(self) -> None:
        """Send one, unless the handshake is not over or the connection is."""
        if self._accepted.is_set() and not self.wire.is_closing():
            self.wire.write(self._protocol.ping())

    async def _run(self, reader: Any, writer: Any) -> None:
        reading = asyncio.ensure_future(self._read(reader, writer))
        closing = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait([reading, self._app, closing], return_when=asyncio.FIRST_COMPLETED)
            if self._app.done() and self._accepted.is_set() and not writer.is_closing():
                has_failed = self._app.cancelled() or self._app.exception() is not None
                writer.write(self._protocol.close(1011 if has_failed else 1000))
            if self._accepted.is_set():
                await asyncio.wait([reading], timeout=BRIDGE_SECONDS)
            await asyncio.wait([self._app], timeout=BRIDGE_SECONDS)
        finally:
            reading.cancel()
            closing.cancel()
            writer.close()

    async def _read(self, reader: Any, writer: Any) -> None:
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self._accepted.wait(), BRIDGE_SECONDS)
            while self._protocol.is_receiving and (data := await reader.read(64 * 1024)):
                events, outbound = self._protocol.receive_data(data)
                if outbound and not writer.is_closing():
                    writer.write(outbound)
                self._tell(events)
        self._tell(self._protocol.receive_eof())

    def _tell(self, events: List[Any]) -> None:
        for event in events:
            self._events.put_nowait(build_ws_event(event))

    def _end(self, writer: Any) -> None:
        super()._end(writer)
        self._reaping = self.wire.loop.create_task(self._reap())

    async def _reap(self) -> None:
        """Tell the application of the end, cancel it until it ends too, and wait no longer for the peer."""
        self._tell(self._protocol.receive_eof())
        while not self._app.done():
            self._app.cancel()
            await asyncio.wait([self._app], timeout=1.0)
        if not self._app.cancelled():
            self._app.exception()
        await asyncio.sleep(BRIDGE_SECONDS)
        if not self.wire.is_lost:
            self.wire.abort()

    def find_left(self) -> str:
        return super().find_left() or ("" if self._reaping.done() else "the application is not reaped")

    def shut_down(self, timeout: float) -> None:
        self.cancel()

    def abort(self) -> None:
        self.cancel()


FLOORS: Dict[str, Type[Floor]] = {"server": ServerFloor, "streams": StreamsFloor, "bridge": BridgeFloor}
