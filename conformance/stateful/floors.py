"""The ways into wsbridge: its own server, `handle_websocket` for streams, and the bare bridge."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import Any, Dict, List, Type

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

# How long the servers on streams wait for the head, the bridge for the accept, and for either side's end.
HEAD_SECONDS, ACCEPT_SECONDS, BRIDGE_SECONDS = 2.0, 2.0, 1.0


class Floor:
    """One connection's server; made inside the loop."""

    #: Whether it is wsbridge's own, with all its deadlines and log lines.
    has_deadlines = True

    def __init__(self, app: Any, config: ServerConfig, wire: Wire) -> None:
        self.wire = wire
        self.service = Service(app, config)
        # The descriptors of `Wire` are none of this process's.
        self.service.reserved_descriptor = math.inf
        #: Those that shut down, or serve this connection.
        self.tasks: List[Any] = []

    def open(self) -> None:
        """Take the connection; its request comes in on the wire."""
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

    def open(self) -> None:
        connection = Connection(self.service)
        self.wire.set_protocol(connection)
        connection.connection_made(self.wire)


class StreamsFloor(Floor):
    """A server that somebody wrote with asyncio's streams."""

    def open(self) -> None:
        loop = self.wire.loop
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        self.wire.set_protocol(protocol)
        protocol.connection_made(self.wire)
        writer = asyncio.StreamWriter(self.wire, protocol, reader, loop)
        task = loop.create_task(self._run(reader, writer))
        # Even where it was cancelled before it began.
        task.add_done_callback(lambda task: self._end(writer))
        self.tasks.append(task)

    async def _run(self, reader: Any, writer: Any) -> None:
        request = None
        with contextlib.suppress(EOFError, OSError, asyncio.TimeoutError):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_SECONDS)
            request = RequestParser().receive_data(head)
        if request is not None:
            await self._serve(request, reader, writer)

    async def _serve(self, request: RequestReceived, reader: Any, writer: Any) -> None:
        service = self.service
        await handle_websocket(service.app, service.config, request, reader, writer, service=service)

    def _end(self, writer: Any) -> None:
        writer.close()


class BridgeFloor(StreamsFloor):
    """A small server around `create_ws_receive` and `create_ws_send`: a plain queue, events, streams."""

    has_deadlines = False

    async def _serve(self, request: RequestReceived, reader: Any, writer: Any) -> None:
        config = self.service.config
        self.wire.set_write_buffer_limits(high=config.ws_write_limit)
        self._protocol = WSProtocol(
            enable_compression=config.ws_per_message_deflate,
            peer_extensions=get_header_values(request.headers, b"sec-websocket-extensions"),
            deflate=config.deflate,
            max_message_size=config.ws_max_size,
        )
        events: asyncio.Queue[Any] = asyncio.Queue()
        events.put_nowait({"type": "websocket.connect"})
        self._accepted = asyncio.Event()
        info = ConnectionInfo(self._protocol, self)
        scope = build_ws_scope(request, config, ("192.0.2.7", 50000), ("192.0.2.1", 80), connection=info)
        send = create_ws_send(
            writer,
            self._protocol,
            check_upgrade_request(request),
            accept_event=self._accepted,
            close_event=asyncio.Event(),
            offered_subprotocols=scope["subprotocols"],
        )
        feeding = asyncio.ensure_future(self._feed(reader, writer, events))
        feeding.add_done_callback(lambda _: self._end_feeding(events))
        code = 1011
        try:
            with contextlib.suppress(Exception):
                await self.service.app(scope, create_ws_receive(events), send)
                code = 1000
            if self._accepted.is_set() and not writer.is_closing():
                writer.write(self._protocol.close(code))
                await asyncio.wait([feeding], timeout=BRIDGE_SECONDS)
        finally:
            feeding.cancel()

    async def _feed(self, reader: Any, writer: Any, events: asyncio.Queue[Any]) -> None:
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self._accepted.wait(), ACCEPT_SECONDS)
            while self._protocol.is_receiving and (data := await reader.read(64 * 1024)):
                received, outbound = self._protocol.receive_data(data)
                if outbound and not writer.is_closing():
                    writer.write(outbound)
                for event in received:
                    events.put_nowait(build_ws_event(event))

    def _end_feeding(self, events: asyncio.Queue[Any]) -> None:
        for event in self._protocol.receive_eof():
            events.put_nowait(build_ws_event(event))
        self.wire.loop.call_later(BRIDGE_SECONDS, self.cancel)

    def ping(self) -> None:
        """Send one, unless the handshake is not over or the connection is."""
        if self._accepted.is_set() and not self.wire.is_closing():
            self.wire.write(self._protocol.ping())

    def _end(self, writer: Any) -> None:
        super()._end(writer)
        self.wire.loop.call_later(BRIDGE_SECONDS, self._abort)

    def _abort(self) -> None:
        """A peer that does not read is not waited for."""
        if not self.wire.is_lost:
            self.wire.abort()

    def cancel(self) -> None:
        """Until the application ends, which may ignore it."""
        super().cancel()
        if not self.tasks[0].done():
            self.wire.loop.call_later(BRIDGE_SECONDS, self.cancel)

    def shut_down(self, timeout: float) -> None:
        self.cancel()

    def abort(self) -> None:
        self.cancel()


FLOORS: Dict[str, Type[Floor]] = {
    "server": ServerFloor,
    "pages": ServerFloor,
    "streams": StreamsFloor,
    "bridge": BridgeFloor,
}
