"""A WebSocket and HTTP client on a plain socket, which shows what came as it came and adds nothing."""

from __future__ import annotations

import asyncio
import time
from typing import List, Optional, Sequence, Tuple, Union

from ..lib import wire
from ..lib.wire import BINARY, CLOSE, CONTINUATION, FIN, TEXT, Frame, Head

Message = Union[str, bytes]
Headers = Sequence[Tuple[str, str]]

# Longest wait for anything; what comes later counts as not coming at all.
PATIENCE = 3.0
AT_ONCE = 0.5

OPENING = (
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", wire.KEY.decode()),
    ("Sec-WebSocket-Version", "13"),
)


class Ended(Exception):
    """The connection came to its end; the text says how."""


def describe_time(seconds: float) -> str:
    return "at once" if seconds < AT_ONCE else f"after {seconds:.0f} s"


async def request(port: int, path: str, headers: Headers = (), patience: float = PATIENCE) -> Peer:
    """Send a GET; return the peer once the head of the answer is there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    peer = Peer(reader, writer, patience)
    try:
        await peer.read_head()
    except BaseException:
        peer.drop()
        raise
    return peer


async def open_websocket(port: int, path: str, headers: Headers = ()) -> Peer:
    return await request(port, path, [*OPENING, *headers])


class Peer:
    """The server, behind one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: float) -> None:
        self._patience = patience
        self._reader = reader
        self._writer = writer
        self._data = b""
        self._frames: List[Frame] = []
        self._closed_at: Optional[float] = None
        self.head = Head("", [])

    @property
    def is_open(self) -> bool:
        return self.head.status == 101

    async def read_head(self) -> None:
        while True:
            head, rest = wire.parse_head(self._data)
            if head is not None:
                self.head, self._data = head, rest
                return
            await self._read()

    async def read_body(self) -> bytes:
        while True:
            try:
                return wire.parse_body(self.head, self._data)
            except ValueError:
                await self._read()

    async def read_line(self) -> bytes:
        """Read until a line of the body is there; return all that is there."""
        while b"\n" not in self._data:
            await self._read()
        return self._data

    async def send(self, message: Message) -> None:
        if isinstance(message, str):
            await self._send_frame(TEXT, message.encode())
        else:
            await self._send_frame(BINARY, message)

    async def close(self, code: Optional[int] = None, reason: str = "") -> None:
        """Send CLOSE; the time to the server's begins here."""
        self._closed_at = time.monotonic()
        await self._send_frame(CLOSE, b"" if code is None else wire.build_close(code, reason.encode()))

    def drop(self) -> None:
        """End the connection without a word, by a reset."""
        self._writer.transport.abort()

    async def receive(self) -> Message:
        """The next message; raises `Ended`."""
        whole = b""
        opcode = CONTINUATION
        while True:
            frame = await self._next_frame()
            if frame.opcode == CLOSE:
                raise Ended(self._describe_close(frame))
            if frame.opcode > CLOSE:
                continue
            opcode = frame.opcode or opcode
            whole += frame.payload
            if frame.fin:
                return whole.decode() if opcode == TEXT else whole

    async def wait_end(self) -> str:
        """Read, and throw away, to the end; return how it ended, the end of the TCP connection included."""
        started = self._closed_at or time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    await self.receive()
        except Ended as ended:
            how = f"{ended} {describe_time(time.monotonic() - started)}"
        except TimeoutError:
            self.drop()
            return f"no CLOSE within {PATIENCE:.0f} s"
        if how.startswith("CLOSE"):
            how += ", " + await self._wait_eof()
        self.drop()
        return how

    async def _wait_eof(self) -> str:
        """How the server ends TCP after its CLOSE; answers that CLOSE where it came first."""
        started = time.monotonic()
        try:
            if self._closed_at is None:
                await self._send_frame(CLOSE, self._answer)
            async with asyncio.timeout(PATIENCE):
                while True:
                    await self._read()
        except Ended as ended:
            return f"{ended} {describe_time(time.monotonic() - started)}"
        except TimeoutError:
            return f"no EOF within {PATIENCE:.0f} s"

    def _describe_close(self, frame: Frame) -> str:
        self._answer = frame.payload[:2]
        code = int.from_bytes(self._answer, "big") if self._answer else "without a code"
        return f"CLOSE {code} {frame.payload[2:].decode()!r}"

    async def _next_frame(self) -> Frame:
        while not self._frames:
            self._frames, self._data = wire.parse_frames(self._data)
            if not self._frames:
                await self._read()
        return self._frames.pop(0)

    async def _send_frame(self, opcode: int, payload: bytes) -> None:
        try:
            # A mask of zeros changes nothing.
            self._writer.write(wire.build_frame(FIN | opcode, payload, bytes(4)))
            await self._writer.drain()
        except OSError:
            pass  # What the server said before it left can still be read.

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                data = await self._reader.read(65536)
        except OSError as error:
            raise Ended(
                "reset" if isinstance(error, ConnectionError) else f"nothing within {self._patience:.0f} s"
            ) from None
        if not data:
            raise Ended("EOF")
        self._data += data
