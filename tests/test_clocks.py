"""The clocks of a server."""

from __future__ import annotations

import asyncio
import time
import unittest
from typing import Callable, Optional
from unittest import mock

from wsbridge.server.clocks import choose_clock, get_date, get_no_date


class ClockTests(unittest.TestCase):
    def test_loop_has_the_clock_unless_it_is_too_coarse_for_a_latency(self) -> None:
        loop = mock.Mock(spec=asyncio.AbstractEventLoop)
        for resolution, clock in ((1e-9, loop.time), (1e-3, loop.time), (0.015625, time.perf_counter)):
            with mock.patch.object(time, "get_clock_info", return_value=mock.Mock(resolution=resolution)):
                self.assertEqual(choose_clock(loop), clock)

    def test_clock_of_asyncios_loop_is_what_that_calls(self) -> None:
        class Other(asyncio.SelectorEventLoop):
            def time(self) -> float:
                return 1.0

        for loop_class, clock in ((asyncio.SelectorEventLoop, time.monotonic), (Other, None)):
            loop = loop_class()
            self.addCleanup(loop.close)
            with mock.patch.object(time, "get_clock_info", return_value=mock.Mock(resolution=1e-9)):
                self.assertEqual(choose_clock(loop), clock or loop.time)

    def test_date_is_that_of_the_second(self) -> None:
        # RFC 9110 5.6.7.
        with mock.patch.object(time, "time", return_value=784111777.9):
            self.assertEqual(get_date(), b"Sun, 06 Nov 1994 08:49:37 GMT")

    def test_server_without_dates_has_none(self) -> None:
        date: Callable[[], Optional[bytes]] = get_no_date
        self.assertIsNone(date())
