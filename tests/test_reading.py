"""What transports are asked for: how much at once, to pause, and to read on."""

from __future__ import annotations

import asyncio
import socket
import unittest
from typing import Any, List

from tests.doubles import MemoryTransport
from wsbridge.server.connection.reading import get_unsent_size, limit_reads, pause_reading, resume_reading


class Sizes(asyncio.Protocol):
    """Notes how much comes at once in a transport whose reads are limited."""

    def __init__(self) -> None:
        self.sizes: List[int] = []
        self.is_over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        limit_reads(transport)

    def data_received(self, data: bytes) -> None:
        self.sizes.append(len(data))

    def connection_lost(self, exc: Any) -> None:
        self.is_over.set_result(None)


class LimitTests(unittest.TestCase):
    def read(self, data: bytes) -> List[int]:
        """How asyncio's own transport reads this, which waits for it; as much as a socket holds, at least."""
        loop = asyncio.SelectorEventLoop()
        self.addCleanup(loop.close)
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        peer.setblocking(False)
        for one in (ours, peer):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        with peer:
            self.sent = peer.send(data)

        async def read() -> List[int]:
            protocol = Sizes()
            await loop.connect_accepted_socket(lambda: protocol, ours)
            await asyncio.wait_for(protocol.is_over, 10)
            return protocol.sizes

        return loop.run_until_complete(read())

    def test_asyncios_own_transports_read_less_than_malloc_maps(self) -> None:
        sizes = self.read(bytes(200_000))
        self.assertGreater(self.sent, 122_880)
        self.assertEqual(sizes, [122_880, self.sent - 122_880])

    def test_another_transport_is_left_alone(self) -> None:
        transport = MemoryTransport()
        limit_reads(transport)
        self.assertFalse(hasattr(transport, "max_size"))

    def test_transport_that_reads_less_keeps_its_size(self) -> None:
        transport: Any = MemoryTransport()
        transport.max_size = 4096
        limit_reads(transport)
        self.assertEqual(transport.max_size, 4096)


class PausingTests(unittest.TestCase):
    def setUp(self) -> None:
        self.transport = MemoryTransport()

    def test_reading_pauses_and_goes_on(self) -> None:
        pause_reading(self.transport)
        resume_reading(self.transport)
        self.assertEqual(self.transport.calls, ["pause_reading", "resume_reading"])

    def test_tls_transport_that_was_just_closed_has_nothing_to_read_from(self) -> None:
        self.transport.is_detached = True
        pause_reading(self.transport)
        resume_reading(self.transport)
        self.assertEqual(self.transport.calls, [])

    def test_tls_transport_that_was_just_closed_has_nothing_unsent(self) -> None:
        self.transport.is_peer_reading = False
        self.transport.write(b"Hello")
        self.assertEqual(get_unsent_size(self.transport), 5)
        self.transport.is_detached = True
        self.assertEqual(get_unsent_size(self.transport), 0)


if __name__ == "__main__":
    unittest.main()
