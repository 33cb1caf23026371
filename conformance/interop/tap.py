"""A tap: passes one TCP connection on to the server under test and keeps every byte of both directions."""

from __future__ import annotations

import asyncio
import math
import struct
import time
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, List, Optional, Tuple

from conformance.lib import wire
from conformance.lib.servers import ServerProcess

END_SECONDS = 5.0


class Direction:
    """What went one way: the bytes, when each piece came, and how it ended (None, "fin" or "reset")."""

    def __init__(self) -> None:
        self.pieces: List[Tuple[float, bytes]] = []
        self.ended: Optional[str] = None
        self.ended_at = math.inf
        self.flows = asyncio.Event()
        self.flows.set()

    def end(self, how: str) -> None:
        self.ended = how
        self.ended_at = time.monotonic()

    def _parse(self) -> Tuple[Optional[wire.Head], bytes]:
        return wire.parse_head(b"".join(piece for _, piece in self.pieces))

    @property
    def head(self) -> Optional[wire.Head]:
        return self._parse()[0]

    @property
    def rest(self) -> bytes:
        """What came behind the head."""
        return self._parse()[1]

    @property
    def frames(self) -> List[wire.Frame]:
        return wire.parse_frames(self.rest)[0]


class Tap:
    """`async with Tap(process) as tap`: a client that connects to tap.address talks to that server.

    is_opaque: what passes is encrypted, so that only the ends of the connection can be judged.
    client, server: what came from each. After the block both have ended, each by its own doing, or the wait
    of 5 s has; `server.ended` says how the server ended its half.
    """

    def __init__(self, process: ServerProcess) -> None:
        self._process = process
        self._tasks: List[asyncio.Task[None]] = []
        self._writers: List[asyncio.StreamWriter] = []
        self.is_opaque = process.scheme == "wss"
        self.client = Direction()
        self.server = Direction()
        self.client_port = 0  # what the server sees as the client's port
        self.was_cut = False
        self.cuts_after_next = False  # set: what the client sends next passes, then both halves end

    async def __aenter__(self) -> Tap:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._listener.sockets[0].getsockname()[1]
        self.address = f"{self._process.scheme}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, kind: Any, *_: object) -> None:
        self._listener.close()
        self.client.flows.set()
        self.server.flows.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=0.2 if kind else END_SECONDS)
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, *, reset: bool = False) -> None:
        """End both halves at once, without a CLOSE: with FIN, or with a reset."""
        self.was_cut = True
        for writer in self._writers:
            if reset:
                socket = writer.get_extra_info("socket")
                socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            if isinstance(self._process.target, Path):
                to_reader, to_writer = await asyncio.open_unix_connection(self._process.target)
            else:
                to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._process.target)
                self.client_port = to_writer.get_extra_info("sockname")[1]
        except OSError:
            writer.transport.abort()
            return
        self._writers.append(to_writer)
        self._tasks += [
            asyncio.create_task(self._pump(reader, to_writer, self.client)),
            asyncio.create_task(self._pump(to_reader, writer, self.server)),
        ]

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        try:
            while data := await reader.read(65536):
                await direction.flows.wait()
                direction.pieces.append((time.monotonic(), data))
                await self._write(writer, data)
                if direction is self.client and self.cuts_after_next:
                    self.cut()
            await direction.flows.wait()
            direction.end("fin")
            if writer.can_write_eof() and not writer.transport.is_closing():
                writer.write_eof()
        except ConnectionError:
            direction.end("reset")
            writer.transport.abort()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Pass data on; a destination that is gone says nothing about the one who sent it."""
        try:
            if not writer.transport.is_closing():
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            writer.transport.abort()

    @property
    def client_left_first(self) -> bool:
        """Whether the client ended its half before the server did: nobody then owes it the rest."""
        return self.client.ended_at < self.server.ended_at

    @property
    def extensions(self) -> str:
        """What the server answered to the offered extensions; empty when it declined them all."""
        head = self.server.head
        return (head.find("sec-websocket-extensions") or "") if head else ""
