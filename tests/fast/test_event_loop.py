"""The event loop, and all that `test_server` asks of a server once more in the loop that it makes."""

from __future__ import annotations

import asyncio
import gc
import selectors
import socket
import unittest
from typing import Any, Optional
from unittest import mock

import wsbridge
from tests import test_hostile, test_server
from tests.doubles import turn_loop
from tests.freezing import setUpModule, tearDownModule  # noqa: F401
from tests.loopback import CLOSE, HELLO, PEER_CLOSE, PEER_HELLO, REQUEST, SWITCHING
from tests.requests import GET, LAST
from tests.skipping import make_loops
from wsbridge.server.fast.event_loop import PollerEventLoop, new_event_loop

from .test_poller import HAS_EPOLL, NO_EPOLL

if HAS_EPOLL:
    from wsbridge.server.fast.poller import Poller
    from wsbridge.server.fast.transport import SocketTransport


class NewEventLoopTests(unittest.TestCase):
    def make(self) -> asyncio.AbstractEventLoop:
        loop = new_event_loop()
        self.addCleanup(loop.close)
        return loop

    @unittest.skipUnless(HAS_EPOLL, NO_EPOLL)
    def test_it_has_a_poller(self) -> None:
        loop = self.make()
        assert isinstance(loop, PollerEventLoop)
        self.assertIsInstance(loop.poller, Poller)

    @unittest.skipUnless(HAS_EPOLL, NO_EPOLL)
    def test_python_without_policies_is_no_error(self) -> None:
        with mock.patch.object(asyncio, "DefaultEventLoopPolicy", None):
            self.assertIsInstance(self.make(), PollerEventLoop)

    def test_without_epoll_it_is_asyncios_own(self) -> None:
        with mock.patch.object(selectors, "EpollSelector", create=True):
            del selectors.EpollSelector
            self.assertNotIsInstance(self.make(), PollerEventLoop)

    def test_where_epoll_may_not_be_used_it_is_asyncios_own(self) -> None:
        with mock.patch.object(selectors, "DefaultSelector", selectors.SelectSelector):
            self.assertNotIsInstance(self.make(), PollerEventLoop)

    def test_loop_of_another_policy_stays(self) -> None:
        class Policy(type(asyncio.get_event_loop_policy())):  # type: ignore[misc]
            """Changes nothing that could be seen from the loop's type."""

        with mock.patch.object(asyncio, "get_event_loop_policy", Policy):
            self.assertNotIsInstance(self.make(), PollerEventLoop)


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Echo the messages of a WebSocket, and answer a request with a page."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"hi"})
        return
    while (event := await receive())["type"] != "websocket.disconnect":
        is_message = event["type"] == "websocket.receive"
        await send({"type": "websocket.send", "text": event["text"]} if is_message else ACCEPT)


ACCEPT = {"type": "websocket.accept"}


@unittest.skipUnless(HAS_EPOLL, NO_EPOLL)
class OnPoller(unittest.IsolatedAsyncioTestCase):
    """Mixed into a case: it runs in the loop that `run` makes."""

    def run(self, result: Optional[unittest.TestResult] = None) -> Any:
        with make_loops(lambda: PollerEventLoop(Poller())):
            return super().run(result)

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        asyncio.get_running_loop().set_debug(False)


class ListeningTests(OnPoller, test_server.ListeningTests):
    async def count_our_transports(self) -> int:
        def count() -> int:
            gc.collect()
            return sum(isinstance(thing, SocketTransport) for thing in gc.get_objects())

        before = count()
        client = await self.open_websocket(await self.start())
        found = count() - before
        await self.assert_echo(client)
        return found

    async def test_connections_have_our_transports(self) -> None:
        self.assertEqual(await self.count_our_transports(), 1)

    async def test_debug_mode_has_asyncios_whose_log_tells_what_is_slow(self) -> None:
        asyncio.get_running_loop().set_debug(True)
        self.assertEqual(await self.count_our_transports(), 0)


class TogetherTests(OnPoller):
    """Several connections that are ready in one poll: their clients' sockets are not the loop's."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        server = wsbridge.Server(answer, port=0, lifespan="off")
        await server.__aenter__()
        self.addAsyncCleanup(server.__aexit__, None, None, None)
        self.clients = []
        for _ in range(8):
            client = socket.create_connection(server.sockets[0].getsockname())
            self.addCleanup(client.close)
            client.setblocking(False)
            self.clients.append(client)

    async def assert_answers(self, question: bytes, *answers: bytes) -> None:
        """All clients ask together, and each reads its answers without anything else happening meanwhile."""
        for client in self.clients:
            client.sendall(question)
        await turn_loop(20)
        for client in self.clients:
            for answer in answers:
                self.assertEqual(client.recv(len(answer) or 1), answer)

    async def test_messages_and_ends_of_websockets(self) -> None:
        await self.assert_answers(REQUEST, SWITCHING[:12])
        for client in self.clients:
            self.assertTrue(client.recv(1000).endswith(b"\r\n\r\n"))
        await self.assert_answers(PEER_HELLO, HELLO)
        await self.assert_answers(3 * PEER_HELLO, 3 * HELLO)
        await self.assert_answers(PEER_CLOSE, CLOSE, b"")

    async def test_pages(self) -> None:
        await self.assert_answers(GET, b"HTTP/1.1 200 OK\r\n")
        for client in self.clients:
            self.assertTrue(client.recv(1000).endswith(b"\r\n\r\nhi"))
        await self.assert_answers(LAST, b"HTTP/1.1 200 OK\r\n")
        for client in self.clients:
            self.assertTrue(client.recv(1000).endswith(b"\r\n\r\nhi"))
            self.assertEqual(client.recv(1), b"")


class SocketsTests(OnPoller, test_server.SocketsTests):
    """The same: our transports serve on sockets that somebody else has made."""


class AddressErrorTests(OnPoller, test_server.AddressErrorTests):
    """The same."""


class UnixSocketTests(OnPoller, test_server.UnixSocketTests):
    """The same."""


class TLSTests(OnPoller, test_server.TLSTests):
    """The same, over asyncio's transports."""


class StopTests(OnPoller, test_server.StopTests):
    """The same."""


class ServeTests(OnPoller, test_server.ServeTests):
    """The same."""


class NothingLeftTests(OnPoller, test_hostile.NothingLeftTests):
    """The same."""


if __name__ == "__main__":
    unittest.main()
