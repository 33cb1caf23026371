"""`Fast`: which loop gets what."""

from __future__ import annotations

import asyncio
import unittest
from unittest import mock

from wsbridge.server.fast import Fast
from wsbridge.server.fast.waking import CollectingWaker
from wsbridge.server.plain import PlainWaker

from .test_poller import HAS_EPOLL, NO_EPOLL


class WakerTests(unittest.IsolatedAsyncioTestCase):
    async def test_loop_in_python_collects(self) -> None:
        self.assertIsInstance(Fast().build_waker(asyncio.get_running_loop()), CollectingWaker)

    async def test_loop_that_is_not_written_in_python_has_a_callback_for_each(self) -> None:
        """It may read one socket many times in a row: nothing runs inside the read."""
        loop = mock.create_autospec(asyncio.AbstractEventLoop, instance=True)
        self.assertIsInstance(Fast().build_waker(loop), PlainWaker)


class ListenerTests(unittest.TestCase):
    def find_listener(self, loop: asyncio.AbstractEventLoop, *, debug: bool = False) -> object:
        self.addCleanup(loop.close)
        loop.set_debug(debug)
        return Fast().find_listener(loop)

    def test_other_loops_accept_by_themselves(self) -> None:
        self.assertIsNone(self.find_listener(asyncio.new_event_loop()))

    @unittest.skipUnless(HAS_EPOLL, NO_EPOLL)
    def test_loop_with_a_poller_has_a_listener(self) -> None:
        self.assertIsNotNone(self.find_listener(Fast().new_event_loop()))

    def test_debug_mode_has_asyncios_transports_whose_log_tells_what_is_slow(self) -> None:
        self.assertIsNone(self.find_listener(Fast().new_event_loop(), debug=True))


if __name__ == "__main__":
    unittest.main()
