"""`PipelineCase`: one connection of an application that records what it sees, however the bytes are cut."""

from __future__ import annotations

import asyncio
import re
import selectors
import unittest
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from wsbridge.config import ServerConfig
from wsbridge.server.connection.head import Connection
from wsbridge.server.logs.log import logger
from wsbridge.server.service import Service

from .doubles import Clock, MemoryTransport, build_date
from .skipping import make_loops

__all__ = ["CONTINUE", "Event", "POST", "PROBE", "SMUGGLED", "Outcome", "PipelineCase"]

Event = Dict[str, Any]

# The beginning of a head. What a case adds ends it.
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
# Behind every case: the server must answer it, or must not, and never see anything else in it.
PROBE = b"GET /probe HTTP/1.1\r\nHost: a\r\n\r\n"
# 35 bytes (hexadecimal 23), for the body of another request.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}

# In front of a case.
FIRST = b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")

# A case longer than this is not cut everywhere.
SHORT = 400
# Where a short case is cut in two: at each of its last offsets.
CUTS = 64


class Outcome(NamedTuple):
    """What came of the bytes of one connection.

    ``seen``: the requests that reached the application whole, as
    ``b"METHOD path body"``. ``written``: all bytes but 100 (Continue), which
    depend on the pieces. ``is_closed``: whether our side is closed.
    """

    seen: Tuple[bytes, ...]
    written: bytes
    is_closed: bool


class SocketlessSelector(selectors.SelectSelector):
    """For a loop without sockets: nothing is polled, and ``idle`` is done when nothing is ready any more."""

    idle: Optional[asyncio.Future[None]] = None

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        # asyncio does not wait where a callback is ready.
        if timeout == 0:
            return []
        if self.idle is None:
            return super().select(timeout)
        self.idle.set_result(None)
        self.idle = None
        return []


class PipelineCase(unittest.IsolatedAsyncioTestCase):
    """Each assertion feeds its bytes whole, byte by byte and cut in two; the outcome must be the same."""

    def run(self, result: Optional[unittest.TestResult] = None) -> Any:
        self.selector = SocketlessSelector()
        with make_loops(lambda: asyncio.SelectorEventLoop(self.selector)):
            return super().run(result)

    async def asyncSetUp(self) -> None:
        # unittest's debug mode makes every turn of the loop several times as slow.
        asyncio.get_running_loop().set_debug(False)
        logger.setLevel("CRITICAL")
        self.addCleanup(logger.setLevel, "NOTSET")
        self.seen: List[bytes] = []
        #: How often the application was called, on how many connections.
        self.calls = self.connections = 0
        self.clock = Clock()
        self.configure()

    def configure(self, **options: Any) -> None:
        self.service = Service(self.app, ServerConfig(**options), clock=self.clock, date=build_date)

    # ------------------------------------------------------------- the application

    async def app(self, scope: Event, receive: Any, send: Any) -> None:
        """What it does besides reading and answering depends on the path.

        ``/early``: it begins the answer before it reads; ``/unread``: it does
        not read at all; what ends in ``/raise``: it raises instead of answering.
        """
        self.calls += 1
        if scope["type"] == "websocket":
            await self.echo(scope, receive, send)
            return
        if scope["path"] == "/early":
            await send({**START, "headers": []})
            await send({"type": "http.response.body", "body": b"o", "more_body": True})
        body, more_body = b"", not scope["path"].startswith("/unread")
        while more_body:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body, more_body = body + event["body"], event["more_body"]
        self.seen.append(f"{scope['method']} {scope['path']} ".encode() + body)
        if scope["path"].endswith("/raise"):
            raise RuntimeError("as asked")
        if scope["path"] != "/early":
            await send(START)
        await send({"type": "http.response.body", "body": b"ok"})

    async def echo(self, scope: Event, receive: Any, send: Any) -> None:
        self.seen.append(b"WEBSOCKET " + scope["path"].encode() + b" ")
        await receive()
        if scope["path"] == "/refused":
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})

    # ------------------------------------------------------------------ the client

    def cut(self, data: bytes) -> Iterator[List[bytes]]:
        yield [data]
        if len(data) > SHORT:
            yield [data[start : start + 1000] for start in range(0, len(data), 1000)]
            return
        yield [data[index : index + 1] for index in range(len(data))]
        end = len(data) - len(PROBE)
        for at in range(max(1, end - CUTS), end + 1):
            yield [data[:at], data[at:]]

    def connect(self) -> MemoryTransport:
        self.seen = []
        self.connections += 1
        transport = MemoryTransport()
        connection = Connection(self.service)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        return transport

    async def feed(self, pieces: List[bytes]) -> Outcome:
        """The outcome of ``pieces`` on a connection of their own."""
        transport = self.connect()
        for piece in pieces:
            await self.send(transport, piece)
        return await self.end(transport)

    async def send(self, transport: MemoryTransport, piece: bytes) -> None:
        """As the network does, wait while the server does not read; drop what comes when it is over."""
        for _ in range(100):
            if not transport.is_reading_paused or transport.is_closing():
                break
            await asyncio.sleep(0)
        if not transport.is_closing():
            transport.feed(piece)
        if len(piece) == 1:
            await asyncio.sleep(0)
        else:
            await self.settle()

    async def settle(self) -> None:
        """Wait until nothing more happens."""
        self.selector.idle = asyncio.get_running_loop().create_future()
        await self.selector.idle

    async def end(self, transport: MemoryTransport) -> Outcome:
        """The outcome of what was sent. Then the client closes, and nothing of the connection is left."""
        await self.settle()
        is_closed = not {"write_eof", "close", "abort"}.isdisjoint(transport.calls)
        outcome = Outcome(tuple(self.seen), transport.written.replace(CONTINUE, b""), is_closed)
        # The end of the stream is no end of a body.
        if not transport.is_closing():
            transport.feed_eof()
        await self.settle()
        transport.lose()
        await self.settle()
        self.assertEqual(list(self.service.members), [])
        self.assertEqual(tuple(self.seen), outcome.seen)
        return outcome

    # ------------------------------------------------------------------- vocabulary

    async def assert_outcome(
        self, data: bytes, seen: Tuple[bytes, ...], statuses: Tuple[int, ...], is_closed: bool
    ) -> None:
        whole = None
        for pieces in self.cut(data):
            outcome = await self.feed(pieces)
            whole = whole or outcome
            message = b"|".join(pieces)
            self.assertEqual(outcome.seen, seen, message)
            self.assertEqual(tuple(map(int, STATUS.findall(outcome.written))), statuses, message)
            self.assertIs(outcome.is_closed, is_closed, message)
            self.assertEqual(outcome, whole, message)

    async def assert_served(self, data: bytes, *seen: bytes) -> None:
        """Every request is answered with 200, and the next one on this connection as well."""
        seen = (*seen, b"GET /probe ")
        await self.assert_outcome(data + PROBE, seen, (200,) * len(seen), False)

    async def assert_closes(self, data: bytes, *seen: bytes) -> None:
        """Every request is answered with 200; then the connection closes, and nothing is parsed any more."""
        await self.assert_outcome(data + PROBE, seen, (200,) * len(seen), True)

    async def assert_waits(self, data: bytes, *seen: bytes) -> None:
        """The requests in front are answered with 200; what follows is a part of the last one's body."""
        await self.assert_outcome(data + PROBE, seen, (200,) * len(seen), False)

    async def assert_refused(self, data: bytes, status: int = 400, *seen: bytes) -> None:
        """Behind the requests that are ``seen`` comes one refusal; then nothing is parsed any more."""
        await self.assert_outcome(data + PROBE, seen, (200,) * len(seen) + (status,), True)

    async def assert_head_refused(self, data: bytes, status: int = 400, *seen: bytes) -> None:
        """As `assert_refused`; the application is not called for what is refused."""
        self.calls = self.connections = 0
        await self.assert_refused(data, status, *seen)
        self.assertEqual(self.calls, len(seen) * self.connections)

    async def assert_refused_behind_another(self, data: bytes, status: int = 400) -> None:
        """In one piece with a request in front, which is answered, and one behind, which is not."""
        outcome = await self.feed([FIRST + data + SMUGGLED])
        self.assertEqual(outcome.seen, (b"POST /first hello",))
        self.assertEqual(STATUS.findall(outcome.written), [b"200", b"%d" % status])
        self.assertTrue(outcome.is_closed)
