"""The three ways into wsbridge: its own server, `handle_websocket` for streams, and the bare bridge."""

from __future__ import annotations

import asyncio
from typing import Any, Coroutine, Dict, List, Type

from wsbridge.config import ServerConfig
from wsbridge.protocols.events import RequestReceived
from wsbridge.protocols.http11 import RequestParser
from wsbridge.server.connection.head import Connection
from wsbridge.server.service import Service
from wsbridge.server.streams import handle_websocket

from .bridge_server import BridgeServer
from .loop import ManualLoop
from .wire import Wire

__all__ = ["FLOORS", "Floor"]


class Floor:
    """One connection's server; made inside the loop."""

    #: Whether it reads the request's head from the wire.
    reads_head = True
    #: Whether it is wsbridge's own, with all its deadlines and log lines.
    has_deadlines = True

    def __init__(self, loop: ManualLoop, app: Any, config: ServerConfig, wire: Wire) -> None:
        self.loop = loop
        self.wire = wire
        self.service = Service(app, config)
        self.tasks: List[Any] = []

    def open(self, head: bytes) -> None:
        """Take the connection; its request comes in on the wire, or is this one."""
        raise NotImplementedError

    def shut_down(self, timeout: float) -> None:
        self.tasks.append(self.loop.create_task(self.service.shut_down(timeout)))

    def cut(self) -> None:
        self.service.cut()

    def cancel(self) -> bool:
        """Cancel the tasks that shut down, or that serve this connection."""
        running = [task for task in self.tasks if not task.done()]
        for task in running:
            task.cancel()
        return bool(running)

    def check(self) -> str:
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
        reader = asyncio.StreamReader(loop=self.loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self.loop)
        self.wire.set_protocol(protocol)
        protocol.connection_made(self.wire)
        writer = asyncio.StreamWriter(self.wire, protocol, reader, self.loop)
        task = self.loop.create_task(self._handle(request, reader, writer))
        # Even where it was cancelled before it began.
        task.add_done_callback(lambda task: self._handled(writer))
        self.tasks.append(task)

    def _handle(self, request: RequestReceived, reader: Any, writer: Any) -> Coroutine[Any, Any, None]:
        service = self.service
        return handle_websocket(service.app, service.config, request, reader, writer, service=service)

    def _handled(self, writer: Any) -> None:
        writer.close()


class BridgeFloor(StreamsFloor):
    """A server that somebody wrote around the bridge."""

    has_deadlines = False

    def _handle(self, request: RequestReceived, reader: Any, writer: Any) -> Coroutine[Any, Any, None]:
        self.wire.set_write_buffer_limits(high=self.service.config.ws_write_limit)
        self._server = BridgeServer(self.service, request, reader, writer)
        return self._server.serve()

    def _handled(self, writer: Any) -> None:
        super()._handled(writer)
        self._reaping = self.loop.create_task(self._server.reap())

    def check(self) -> str:
        return super().check() or ("" if self._reaping.done() else "the application is not reaped")

    def shut_down(self, timeout: float) -> None:
        self.cancel()

    def cut(self) -> None:
        self.cancel()


FLOORS: Dict[str, Type[Floor]] = {"server": ServerFloor, "streams": StreamsFloor, "bridge": BridgeFloor}
