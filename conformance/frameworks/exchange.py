"""An HTTP/1.1 client on a plain socket: several requests on one connection, sent and answered in parts."""

from __future__ import annotations

import asyncio
from typing import AsyncIterator, Awaitable, Iterable, Optional, Union

from ..lib import wire
from ..lib.wire import Head
from .client import OPENING, PATIENCE, Ended, Headers, Peer

# Bytes go out with a Content-Length, pieces go out chunked.
Body = Union[bytes, Iterable[bytes]]

# RFC 9110 6.4.1: what no body follows, whatever the fields say.
_BODILESS = (204, 304)


class Answer:
    """A final response."""

    def __init__(self, head: Head, body: bytes) -> None:
        self.status = head.status
        self.find = head.find
        self.headers = head.headers
        self.body = body

    @property
    def text(self) -> str:
        return self.body.decode()


class Connection:
    """One TCP connection, which is used for as long as the server keeps it."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host = host
        self._reader = reader
        self._writer = writer

    async def exchange(
        self, method: str, path: str, headers: Headers = (), body: Optional[Body] = None
    ) -> Answer:
        await self.send_request(method, path, headers, body)
        return await self.receive_answer(method)

    async def send_request(
        self, method: str, path: str, headers: Headers = (), body: Optional[Body] = None
    ) -> None:
        if isinstance(body, bytes):
            length = ("Content-Length", str(len(body)))
            await self.send(self._build_head(method, path, [*headers, length]) + body)
        elif body is not None:
            await self.send_head(method, path, [*headers, ("Transfer-Encoding", "chunked")])
            for piece in body:
                await self.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await self.send(b"0\r\n\r\n")
        else:
            await self.send_head(method, path, headers)

    async def send_head(self, method: str, path: str, headers: Headers = ()) -> None:
        await self.send(self._build_head(method, path, headers))

    def _build_head(self, method: str, path: str, headers: Headers) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def send(self, data: bytes) -> None:
        """Send it; raises `Ended` when the server has gone, or takes nothing for 10 s."""
        try:
            self._writer.write(data)
            async with asyncio.timeout(10):
                await self._writer.drain()
        except OSError as error:
            raise Ended(f"sending fails: {_describe(error)}") from None

    async def receive_head(self) -> Head:
        data = await self._await(self._reader.readuntil(b"\r\n\r\n"))
        head, _ = wire.parse_head(data)
        assert head is not None
        return head

    async def receive_answer(self, method: str = "GET") -> Answer:
        head = await self.receive_head()
        return Answer(head, b"".join([piece async for piece in self.receive_body(head, method)]))

    async def receive_body(self, head: Head, method: str = "GET") -> AsyncIterator[bytes]:
        """The pieces of a body as they come (RFC 9112 6.3)."""
        if method == "HEAD" or head.status in _BODILESS:
            return
        length = head.find("content-length")
        if head.find("transfer-encoding") == "chunked":
            while size := int(await self._await(self._reader.readuntil(b"\r\n")), 16):
                yield (await self._await(self._reader.readexactly(size + 2)))[:-2]
            await self._await(self._reader.readexactly(2))
        elif length is not None:
            left = int(length)
            while left:
                piece = await self._await(self._reader.read(min(left, 65536)))
                if not piece:
                    raise Ended(f"EOF, {left} bytes before the end of the body")
                left -= len(piece)
                yield piece
        else:
            while piece := await self._await(self._reader.read(65536)):
                yield piece

    async def ask_whether_open(self) -> str:
        """Whether the server goes on with this connection: ask for one more page, and see."""
        try:
            answer = await self.exchange("GET", "/page/again")
        except Ended as ended:
            return "connection closed" if "EOF" in str(ended) or "sending" in str(ended) else str(ended)
        return f"connection open, {answer.status}"

    async def upgrade(self, path: str) -> Peer:
        """Ask for a WebSocket on this connection, which from then on is the peer's."""
        await self.send_head("GET", path, OPENING)
        peer = Peer(self._reader, self._writer, PATIENCE)
        await peer.read_head()
        return peer

    def drop(self) -> None:
        self._writer.transport.abort()

    async def _await(self, reading: Awaitable[bytes]) -> bytes:
        try:
            async with asyncio.timeout(PATIENCE):
                return await reading
        except asyncio.IncompleteReadError as error:
            raise Ended("EOF in the middle" if error.partial else "EOF") from None
        except OSError as error:
            raise Ended(_describe(error)) from None


def _describe(error: OSError) -> str:
    return "nothing within the time" if isinstance(error, TimeoutError) else "EOF"


async def connect(port: int) -> Connection:
    """Raises `Ended` where nobody listens."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        raise Ended("no connection") from None
    return Connection(f"127.0.0.1:{port}", reader, writer)
