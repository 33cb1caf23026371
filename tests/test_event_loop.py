"""`new_event_loop`, and all that `test_server` asks of a server once more in the loop that it makes."""

from __future__ import annotations

import asyncio
import contextlib
import select
import unittest
from typing import Any, List, Optional
from unittest import mock

from wsbridge.server.event_loop import EventLoop, new_event_loop

from . import test_hostile, test_server
from .test_poller import HAS_EPOLL, NO_EPOLL

if HAS_EPOLL:
    from wsbridge.server.poller import Poller
    from wsbridge.server.transport import SocketTransport


class NewEventLoopTests(unittest.TestCase):
    def make(self, debug: bool = False) -> asyncio.AbstractEventLoop:
        theirs = asyncio.new_event_loop()
        self.addCleanup(theirs.close)
        theirs.set_debug(debug)
        with mock.patch.object(asyncio, "new_event_loop", return_value=theirs):
            loop = new_event_loop()
        self.addCleanup(loop.close)
        return loop

    @unittest.skipUnless(HAS_EPOLL, NO_EPOLL)
    def test_it_has_a_poller(self) -> None:
        loop = self.make()
        assert isinstance(loop, EventLoop)
        self.assertIsInstance(loop.poller, Poller)

    def test_without_epoll_it_is_asyncios_own(self) -> None:
        with mock.patch.object(select, "epoll", create=True):
            del select.epoll
            self.assertNotIsInstance(self.make(), EventLoop)

    def test_loop_of_another_policy_stays(self) -> None:
        class Policy(type(asyncio.get_event_loop_policy())):  # type: ignore[misc]
            """Changes nothing that could be seen from the loop's type."""

        with mock.patch.object(asyncio, "get_event_loop_policy", Policy):
            self.assertNotIsInstance(self.make(), EventLoop)

    def test_debug_mode_is_asyncios(self) -> None:
        self.assertNotIsInstance(self.make(debug=True), EventLoop)


@unittest.skipUnless(HAS_EPOLL, NO_EPOLL)
class OnPoller(unittest.IsolatedAsyncioTestCase):
    """Mixed into a case: it runs in the loop that `run` makes."""

    def run(self, result: Optional[unittest.TestResult] = None) -> Any:
        with contextlib.ExitStack() as stack:
            for module in (asyncio, asyncio.events):
                stack.enter_context(mock.patch.object(module, "new_event_loop", lambda: EventLoop(Poller())))
            return super().run(result)


class ListeningTests(OnPoller, test_server.ListeningTests):
    BACKLOGS = (77,)

    async def test_connections_have_our_transports(self) -> None:
        made: List[SocketTransport] = []
        begin = SocketTransport.__init__

        def note_and_begin(self: SocketTransport, *arguments: Any) -> None:
            made.append(self)
            begin(self, *arguments)

        with mock.patch.object(SocketTransport, "__init__", note_and_begin):
            await self.assert_echo(await self.open_websocket(await self.start()))
        self.assertEqual(len(made), 1)


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
