"""The event loop, and all that `test_server` asks of a server once more in the loop that it makes."""

from __future__ import annotations

import asyncio
import gc
import selectors
import unittest
from typing import Any, Optional
from unittest import mock

from tests import test_hostile, test_server
from tests.freezing import setUpModule, tearDownModule  # noqa: F401
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
