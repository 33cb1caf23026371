"""`TlsListener`: connections in their TLS handshake have limits, and give way to each other."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import tempfile
import unittest
from typing import Any, List
from unittest import mock

from tests.doubles import ServiceTestCase, turn_loop
from wsbridge.server.connection.head import Connection
from wsbridge.server.listening.tls_listener import ACCEPTS_IN_A_ROW, TlsListener

HOST = "127.0.0.1"
FULL = OSError(errno.EMFILE, "Too many open files")


class Handshake:
    """What the loop was asked for: `end` it, as the network does."""

    def __init__(
        self, build: Any, accepted: socket.socket, ssl: object, ssl_handshake_timeout: float
    ) -> None:
        self.build = build
        self.accepted = accepted
        self.context = ssl
        self.timeout = ssl_handshake_timeout
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class ListenerCase(ServiceTestCase):
    """The handshakes are the test's; the sockets are real."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.context: Any = object()
        self.handshakes: List[Handshake] = []
        patch = mock.patch.object(asyncio.get_running_loop(), "connect_accepted_socket", self.shake_hands)
        patch.start()
        self.addCleanup(patch.stop)

    async def shake_hands(self, *arguments: Any, **options: Any) -> None:
        handshake = Handshake(*arguments, **options)
        self.handshakes.append(handshake)
        try:
            await handshake.end
        finally:
            handshake.accepted.close()

    def listen(self, **config: Any) -> None:
        self.set_up(**config)
        self.listen_on(socket.create_server((HOST, 0)))

    def listen_on(self, listening: socket.socket) -> None:
        with listening:
            self.address = listening.getsockname()
            self.listener = TlsListener(self.context, self.service, listening)
        self.addCleanup(self.listener.close)

    def knock(self) -> socket.socket:
        """A client that connects, and stays silent."""
        client = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        self.addCleanup(client.close)
        client.connect(self.address)
        return client

    async def connect(self) -> socket.socket:
        client = self.knock()
        await turn_loop()
        return client

    async def end_all(self) -> None:
        for handshake in self.handshakes:
            if not handshake.end.done():
                handshake.end.set_result(None)
        await turn_loop()

    def assert_closed(self, client: socket.socket) -> None:
        client.setblocking(False)
        self.assertEqual(client.recv(1), b"")

    def assert_open(self, client: socket.socket) -> None:
        client.setblocking(False)
        with self.assertRaises(BlockingIOError):
            client.recv(1)


class AcceptingTests(ListenerCase):
    async def test_handshake_makes_a_connection_and_is_a_member_until_then(self) -> None:
        self.listen(timeout_handshake=3)
        await self.connect()
        [handshake] = self.handshakes
        self.assertIsInstance(handshake.build(), Connection)
        self.assertIs(handshake.context, self.context)
        self.assertEqual(handshake.timeout, 3)
        self.assertFalse(os.get_blocking(handshake.accepted.fileno()))
        [member] = self.service.members
        self.assertEqual(member.measure().state, "waiting")  # type: ignore[attr-defined]
        await self.end_all()
        self.assertEqual(list(self.service.members), [])

    async def test_handshake_may_have_no_limit(self) -> None:
        self.listen(timeout_handshake=None)
        await self.connect()
        self.assertEqual(self.handshakes[0].timeout, 1e9)
        await self.end_all()

    async def test_handshake_that_fails(self) -> None:
        self.listen()
        await self.connect()
        self.handshakes[0].end.set_exception(ConnectionResetError("gone"))
        await turn_loop()
        self.assertEqual(list(self.service.members), [])
        self.assert_logged()
        self.assertEqual(self.records[-1].getMessage(), "TLS handshake failed: gone")

    async def test_more_than_it_accepts_in_a_row(self) -> None:
        self.listen()
        for _ in range(ACCEPTS_IN_A_ROW + 1):
            self.knock()
        await turn_loop()
        self.assertEqual(len(self.handshakes), ACCEPTS_IN_A_ROW + 1)
        await self.end_all()

    async def test_closed_it_accepts_nobody(self) -> None:
        self.listen()
        self.knock()
        self.listener.close()
        self.listener.close()
        await turn_loop()
        self.assertEqual(self.handshakes, [])
        with self.assertRaises(ConnectionRefusedError):
            self.knock()

    async def test_system_without_descriptors_is_asked_again(self) -> None:
        self.listen()
        self.knock()
        loop = asyncio.get_running_loop()
        exhausted = mock.patch.object(socket.socket, "accept", side_effect=FULL)
        with mock.patch.object(loop, "call_later") as later, exhausted:
            await turn_loop()
        self.assertEqual(self.handshakes, [])
        self.assert_logged(("WARNING", f"cannot accept connections for now: {FULL}"))
        (delay, start), _ = later.call_args
        self.assertEqual(delay, 0.5)
        start()
        await turn_loop()
        self.assertEqual(len(self.handshakes), 1)
        await self.end_all()
        self.listener.close()
        # The time is over when it listens no more.
        start()


class LimitTests(ListenerCase):
    async def test_those_in_their_handshake_keep_nobody_out_and_the_oldest_gives_way(self) -> None:
        self.listen(limit_concurrency=1)
        first = await self.connect()
        self.assertEqual(self.service.open_connections, 0)
        self.assert_open(first)
        second = await self.connect()
        self.assert_closed(first)
        self.assert_open(second)
        self.assertEqual(len(self.service.members), 1)
        await self.end_all()

    async def test_one_may_give_way_before_it_has_begun(self) -> None:
        self.listen(limit_concurrency=1)
        clients = [self.knock() for _ in range(3)]
        await turn_loop()
        self.assertEqual(len(self.handshakes), 1)
        self.assert_closed(clients[0])
        self.assert_closed(clients[1])
        await self.end_all()

    async def test_client_has_as_many_handshakes_as_connections(self) -> None:
        self.listen(limit_connections_per_client=1)
        await self.connect()
        client = await self.connect()
        self.assert_closed(client)
        port = client.getsockname()[1]
        why = "429 1 connections of one client are open, which is the limit"
        self.assert_logged(("INFO", f"{HOST}:{port} refused: {why}"))
        await self.end_all()
        self.assert_open(await self.connect())
        await self.end_all()

    async def test_trusted_proxy_has_no_limit(self) -> None:
        self.listen(limit_connections_per_client=1, forwarded_allow_ips=HOST)
        for _ in range(2):
            self.assert_open(await self.connect())
        await self.end_all()

    @unittest.skipUnless(hasattr(socket, "AF_UNIX"), "this system has no unix sockets")
    async def test_unix_socket_has_no_clients_to_count(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.set_up(limit_connections_per_client=1)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(os.path.join(folder.name, "ws.sock"))
        listening.listen()
        self.listen_on(listening)
        for _ in range(2):
            self.assert_open(await self.connect())
        await self.end_all()

    async def test_last_descriptors_are_those_of_the_oldest(self) -> None:
        self.listen()
        first = await self.connect()
        self.service.reserved_descriptor = 0
        self.assert_open(await self.connect())
        self.assert_closed(first)
        self.assertIn("file descriptors", self.logged.pop()[1])
        await self.end_all()


class StopTests(ListenerCase):
    async def test_connection_that_was_accepted_in_the_last_moment_is_served(self) -> None:
        self.listen()
        self.knock()
        loop = asyncio.get_running_loop()
        with mock.patch.object(loop, "create_task", wraps=loop.create_task) as create_task:
            while not create_task.called:
                await asyncio.sleep(0)
            self.service.begin_shutdown()
        await turn_loop()
        [handshake] = self.handshakes
        self.transport.set_protocol(handshake.build())
        handshake.build().connection_made(self.transport)
        self.assert_written()
        await self.end_all()

    async def test_server_that_stops_waits_for_them_for_a_second(self) -> None:
        self.listen()
        client = await self.connect()
        await self.advance(5)
        self.assert_open(client)
        self.service.begin_shutdown()
        await self.advance(0.9)
        self.assert_open(client)
        await self.advance(0.1)
        self.assert_closed(client)


if __name__ == "__main__":
    unittest.main()
