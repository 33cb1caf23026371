"""What the tests of HTTP requests on one connection share: every request is answered by the test."""

from __future__ import annotations

from typing import Any, Dict, List

from tests.doubles import DATE, ManualApp, MemoryTransport, ServiceTestCase, turn_loop
from wsbridge.server.connection.head import Connection

__all__ = [
    "END",
    "GET",
    "LAST",
    "PART",
    "POST",
    "START",
    "WHOLE",
    "HttpCase",
    "ManyConnectionsCase",
    "build_page",
    "build_refusal",
]

GET = b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n"
LAST = b"GET /a HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"
# Its body is to follow.
POST = b"POST /a HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\n"

START: Dict[str, Any] = {"type": "http.response.start", "status": 200}
PART: Dict[str, Any] = {"type": "http.response.body", "body": b"hi", "more_body": True}
WHOLE: Dict[str, Any] = {**PART, "more_body": False}
END: Dict[str, Any] = {"type": "http.response.body"}


def build_page(body: bytes = b"hi", *, closes: bool = False) -> bytes:
    """The bytes of a response; ``closes``: the connection closes behind it."""
    connection = b"Connection: close\r\n" if closes else b""
    return b"HTTP/1.1 200 OK\r\n%b%bContent-Length: %d\r\n\r\n%b" % (DATE, connection, len(body), body)


def build_refusal(status: bytes, text: bytes) -> bytes:
    """The bytes of a refusal, behind which the connection closes."""
    head = b"HTTP/1.1 %b\r\n%bContent-Type: text/plain; charset=utf-8\r\n" % (status, DATE)
    return head + b"Content-Length: %d\r\nConnection: close\r\n\r\n%b\n" % (len(text) + 1, text)


class Requests(ManualApp):
    """Each request has a `ManualApp` of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.all: List[ManualApp] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        app = ManualApp()
        self.all.append(app)
        await app(scope, receive, send)

    async def return_(self) -> None:
        for app in self.all:
            await app.return_()


class HttpCase(ServiceTestCase):
    """One `Connection`, to which the test feeds bytes."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.app = self.requests = Requests()

    def connect(self, *, half_close: bool = True, **config: Any) -> None:
        """A new connection, of a new service; the last one is lost."""
        if hasattr(self, "transport"):
            self.transport.lose()
        self.set_up(half_close=half_close, **config)
        self.take_over()

    def take_over(self) -> None:
        """Make a new `Connection` the protocol of `transport`."""
        connection = Connection(self.service)
        self.transport.set_protocol(connection)
        connection.connection_made(self.transport)

    async def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.transport.feed(piece)
        await turn_loop()

    async def feed_eof(self) -> None:
        self.transport.feed_eof()
        await turn_loop()

    @property
    def last(self) -> ManualApp:
        """The application of the last request."""
        return self.requests.all[-1]

    @property
    def paths(self) -> List[str]:
        """The paths of all requests that the application was called for."""
        return [app.scope["path"] for app in self.requests.all]

    async def respond(self, body: bytes = b"hi", *headers: Any, status: int = 200) -> None:
        """Answer the last request; its application returns."""
        app = self.last
        await app.send({**START, "status": status, "headers": headers})
        await app.send({**WHOLE, "body": body})
        await app.return_()

    async def start_response(self, *headers: Any) -> None:
        """Write the head and a part of a response to the last request."""
        await self.last.send({**START, "headers": headers})
        await self.last.send(PART)

    async def receive_body(self) -> List[bytes]:
        """The parts of the body of the last request, which has come whole."""
        parts = []
        while True:
            event = await self.last.receive()
            self.assertEqual(event["type"], "http.request")
            parts.append(event["body"])
            if not event["more_body"]:
                return parts

    async def assert_disconnect(self) -> None:
        self.assertEqual(await self.last.receive(), {"type": "http.disconnect"})

    async def assert_goes_on(self) -> None:
        """The connection answers another request."""
        count = len(self.requests.all)
        await self.feed(GET)
        self.assertEqual(len(self.requests.all), count + 1)
        self.transport.read()
        await self.respond(b"next")
        self.assertEqual(self.transport.read(), build_page(b"next"))

    async def assert_closes(self) -> None:
        """Our side is closed, and what the peer still sends is never parsed."""
        count = len(self.requests.all)
        self.assertIn("write_eof", self.transport.calls)
        await self.feed(GET)
        self.assertEqual((self.transport.read(), len(self.requests.all)), (b"", count))
        await self.feed_eof()
        self.assertTrue(self.transport.is_lost)

    async def assert_cut(self) -> None:
        """The connection was aborted, and nothing more was written."""
        await turn_loop()
        self.assertEqual(self.transport.read(), b"")
        self.assertIn("abort", self.transport.calls)
        self.assertTrue(self.transport.is_lost)


class ManyConnectionsCase(HttpCase):
    """Several connections of one service; `transport` is the latest, ``others`` are those before."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.others: List[MemoryTransport] = []

    async def asyncTearDown(self) -> None:
        for transport in self.others:
            transport.lose()
        await super().asyncTearDown()

    def connect_another(self) -> None:
        """One more connection of the same service."""
        self.others.append(self.transport)
        self.transport = MemoryTransport()
        self.take_over()
