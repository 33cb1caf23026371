"""`SecuredConnection`: the PROXY protocol header, then TLS, of which not a byte may be read with it."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any, List, Optional, Tuple
from unittest import mock

from tests.doubles import MemoryTransport, ServiceTestCase, turn_loop
from tests.loopback import (
    CERTIFICATE,
    HELLO,
    PEER_HELLO,
    REQUEST,
    SWITCHING,
    TIMEOUT,
    LoopbackCase,
    ignore_unclosed,
    write_certificate,
)
from tests.requests import GET
from wsbridge.server.connection.secured import SecuredConnection
from wsbridge.server.server import Server

try:
    import ssl
except ImportError:
    ssl = None  # type: ignore[assignment]

LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
BLOCK = bytes.fromhex("0d0a0d0a000d0a515549540a 21 11 000c c0000207 c6336401 dc04 01bb")
ENDS = (("192.0.2.7", 56324), ("198.51.100.1", 443))
# A record of TLS: what follows the header.
HANDSHAKE = b"\x16\x03\x01\x02\x00"


class SecuredCase(ServiceTestCase):
    """The handshake is the test's: `end_handshake` is its end."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.arguments: Any = None
        self.context = object()
        loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Optional[MemoryTransport]] = loop.create_future()
        patch = mock.patch.object(loop, "start_tls", self.start_tls)
        patch.start()
        self.addCleanup(patch.stop)

    async def start_tls(self, transport: Any, protocol: Any, *arguments: Any, **options: Any) -> Any:
        self.arguments = (transport, *arguments, options["server_side"])
        self.handshake = protocol
        return await self.done

    def connect(self, **config: Any) -> None:
        self.set_up(**{"forwarded_allow_ips": "127.0.0.1", "proxy_protocol": True, **config})
        connection: Any = SecuredConnection(self.service, self.context)  # type: ignore[arg-type]
        self.transport.set_protocol(connection)
        connection.connection_made(self.transport)

    def feed(self, data: bytes) -> bytes:
        """Fill the buffers that are asked for, as asyncio does; returns what is left when reading pauses."""
        while data and not self.transport.is_reading_paused and not self.transport.is_closing():
            buffer = self.transport.protocol.get_buffer(-1)
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            data = data[size:]
            self.transport.protocol.buffer_updated(size)
        return data

    async def end_handshake(self, secured: Optional[MemoryTransport]) -> None:
        self.done.set_result(secured)
        await turn_loop()

    async def begin(self) -> MemoryTransport:
        """A connection whose handshake is done."""
        self.connect()
        self.feed(LINE)
        await turn_loop()
        secured = MemoryTransport(half_close=False, sslcontext=self.context)
        secured.set_protocol(self.handshake)
        await self.end_handshake(secured)
        return secured


class LimitTests(SecuredCase):
    async def test_those_in_their_handshake_keep_nobody_out(self) -> None:
        self.connect(limit_concurrency=1)
        self.feed(LINE)
        await turn_loop()
        self.assertEqual(self.service.open_connections, 0)
        # As many may be in their handshake: the next one cuts the oldest.
        other: Any = SecuredConnection(self.service, self.context)  # type: ignore[arg-type]
        transport = MemoryTransport()
        other.connection_made(transport)
        await turn_loop()
        self.assertTrue(self.done.cancelled())
        self.assertEqual((self.transport.calls[-1], len(self.service.members)), ("abort", 1))
        transport.protocol.abort()
        self.assert_logged()


class HeaderTests(SecuredCase):
    async def test_not_a_byte_behind_the_header_is_read(self) -> None:
        for header in (LINE, BLOCK, b"PROXY UNKNOWN\r\n"):
            self.connect()
            self.assertEqual(self.feed(header + HANDSHAKE), HANDSHAKE)
            await turn_loop()
            self.assertEqual(self.arguments, (self.transport, self.context, True))
            self.transport.protocol.abort()
            self.done = asyncio.get_running_loop().create_future()

    async def test_what_has_no_header_is_refused(self) -> None:
        self.connect()
        self.feed(HANDSHAKE.ljust(20))
        self.assertEqual(self.transport.calls, ["abort"])
        self.assertIsNone(self.arguments)
        ((_, text),) = self.logged
        self.assertRegex(text, "^127.0.0.1:50000 refused: 400 no PROXY protocol header")
        self.logged.clear()

    async def test_peer_that_is_not_trusted_is_refused_at_once(self) -> None:
        self.connect(forwarded_allow_ips="192.0.2.1")
        self.assertEqual(self.transport.calls, ["abort"])
        self.logged.clear()

    async def test_header_that_does_not_come_in_time(self) -> None:
        self.connect(timeout_handshake=3)
        await self.advance(3.1)
        self.assertEqual(self.transport.calls, ["abort"])
        text = "127.0.0.1:50000 refused: 408 the PROXY protocol header was not complete in time"
        self.assert_logged(("INFO", text))


class HandshakeTests(SecuredCase):
    async def test_connection_begins_behind_the_handshake(self) -> None:
        secured = await self.begin()
        secured.feed(GET)
        await turn_loop()
        scope = self.app.scope
        self.assertEqual((scope["client"], scope["server"], scope["scheme"]), (*ENDS, "https"))
        secured.lose()

    async def test_what_comes_before_it_begins_is_not_lost(self) -> None:
        self.connect()
        self.feed(BLOCK)
        await turn_loop()
        self.handshake.data_received(GET[:5])
        self.handshake.data_received(GET[5:])
        secured = MemoryTransport(sslcontext=self.context)
        await self.end_handshake(secured)
        self.assertEqual(self.app.scope["client"], ENDS[0])
        secured.lose()

    async def assert_over(self) -> None:
        await turn_loop()
        self.assertEqual((list(self.service.members), self.app.scope), ([], None))
        self.assert_logged()

    async def test_handshake_that_fails(self) -> None:
        self.connect()
        self.feed(LINE)
        await turn_loop()
        self.done.set_exception(ConnectionResetError("reset"))
        await self.assert_over()
        self.assertEqual(self.records[-1].getMessage(), "TLS handshake failed: reset")

    async def test_peer_that_leaves_within_the_handshake(self) -> None:
        """asyncio then returns no transport."""
        self.connect()
        self.feed(LINE)
        await turn_loop()
        await self.end_handshake(None)
        await self.assert_over()

    async def test_peer_that_leaves_right_behind_the_handshake(self) -> None:
        self.connect()
        self.feed(LINE)
        await turn_loop()
        self.handshake.connection_lost(None)
        await self.end_handshake(MemoryTransport(sslcontext=self.context))
        await self.assert_over()

    async def test_loss_that_the_last_protocol_is_told(self) -> None:
        """As asyncio's TLS transports do, which remember the protocol at the time of the loss."""
        await self.begin()
        self.assertEqual(len(self.service.members), 1)
        self.handshake.connection_lost(None)
        await self.assert_over()

    async def test_handshake_that_takes_too_long(self) -> None:
        self.connect(timeout_handshake=3)
        await self.advance(2)
        self.feed(LINE)
        await self.advance(0.5)
        self.assertNotIn("abort", self.transport.calls)
        await self.advance(0.5)
        self.assertEqual(self.transport.calls, ["pause_reading", "abort"])
        await self.assert_over()

    async def test_server_that_stops_waits_for_it_for_a_second(self) -> None:
        self.connect()
        self.feed(LINE)
        await turn_loop()
        self.service.begin_shutdown()
        self.assertEqual(self.transport.calls, ["pause_reading"])
        await self.advance(1.1)
        self.assertEqual(self.transport.calls, ["pause_reading", "abort"])
        await self.assert_over()


class Peer(asyncio.Protocol):
    """A client, first without and then with TLS."""

    def __init__(self) -> None:
        self.received = b""
        self.has_received = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.has_received.set()

    async def read(self, size: int) -> bytes:
        while len(self.received) < size:
            self.has_received.clear()
            await asyncio.wait_for(self.has_received.wait(), TIMEOUT)
        data, self.received = self.received[:size], self.received[size:]
        return data


@unittest.skipIf(ssl is None, "this Python was built without ssl")
class TLSTests(LoopbackCase):
    """A real handshake, with asyncio's own transports."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        ignore_unclosed(self)
        self.scopes: List[Any] = []
        options = {"forwarded_allow_ips": "127.0.0.1", "proxy_protocol": True, "lifespan": "off"}
        self.server = Server(self.app, port=0, ssl_certfile=write_certificate(self), **options)  # type: ignore[arg-type]
        await self.server.start()
        self.addAsyncCleanup(self.server.stop)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": (await receive())["text"]})
        await receive()

    async def open(self, header: bytes) -> Tuple[Peer, asyncio.WriteTransport]:
        loop, peer = asyncio.get_running_loop(), Peer()
        address = self.server.sockets[0].getsockname()
        plain, _ = await loop.create_connection(lambda: peer, *address)
        plain.write(header)
        context = ssl.create_default_context(cadata=CERTIFICATE)
        opening = loop.start_tls(plain, peer, context, server_hostname="localhost")
        transport: Any = await asyncio.wait_for(opening, TIMEOUT)
        self.addCleanup(transport.abort)
        return peer, transport

    async def test_websocket_over_tls_behind_a_header(self) -> None:
        for header in (LINE, BLOCK):
            peer, transport = await self.open(header)
            transport.write(REQUEST + PEER_HELLO)
            self.assertEqual(await peer.read(len(SWITCHING + HELLO)), SWITCHING + HELLO)
            scope = self.scopes.pop()
            self.assertEqual((scope["client"], scope["server"], scope["scheme"]), (*ENDS, "wss"))


if __name__ == "__main__":
    unittest.main()
