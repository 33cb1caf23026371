"""Busy polling: when a wait is begun by polling, and when not, by a clock that stands still on its own."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any, Callable, List, Tuple
from unittest import mock

from wsbridge.server.busy_polling import BusyPoll, BusyTurns

SECONDS = 50e-6
FEW, MANY = 8, 1024
SHORT, LONG = 20e-6, 1.0
READY = [(7, 1)]
MAX_EVENTS = 256


class Kernel:
    """Stands in for epoll: what is waited for comes ``delay`` after the wait began."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.comes_at = 0.0
        self.ready: List[Tuple[int, int]] = []
        self.asked: List[float] = []
        self.busy = BusyPoll(self.poll, SECONDS, lambda: self.now)

    def poll(self, timeout: float, max_events: int) -> List[Tuple[int, int]]:
        self.asked.append(timeout)
        if max_events != MAX_EVENTS:
            raise AssertionError(f"asked for {max_events} events")
        if timeout == 0:
            # What the question itself takes.
            self.now += 1e-6
            return READY if self.now >= self.comes_at else []
        if 0 < timeout < self.comes_at - self.now:
            self.now += timeout
            return []
        self.now = max(self.now, self.comes_at)
        return READY

    def wait(self, delay: float, timeout: float = -1) -> List[float]:
        """The timeouts with which the kernel was asked in one wait."""
        self.asked.clear()
        self.comes_at = self.now + delay
        self.ready = self.busy.poll(timeout, MAX_EVENTS)
        return self.asked[:]

    def learn(self, count: int) -> None:
        """See so many short waits, each of them asleep."""
        for _ in range(count):
            asked = self.wait(SHORT)
            if asked != [-1]:
                raise AssertionError(f"polled too soon: {asked}")


class BusyPollTests(unittest.TestCase):
    def setUp(self) -> None:
        self.kernel = Kernel()

    def test_after_a_few_short_waits_the_next_is_polled(self) -> None:
        self.kernel.learn(FEW)
        asked = self.kernel.wait(SHORT)
        self.assertEqual(set(asked), {0})
        self.assertEqual(self.kernel.ready, READY)
        # Once a microsecond.
        self.assertEqual(len(asked), 20)

    def test_a_long_wait_among_them_begins_the_count_anew(self) -> None:
        self.kernel.learn(FEW - 1)
        self.assertEqual(self.kernel.wait(LONG), [-1])
        self.kernel.learn(FEW)
        self.assertEqual(set(self.kernel.wait(SHORT)), {0})

    def test_who_sleeps_has_to_be_woken_too(self) -> None:
        for delay, asked in ((2.1 * SECONDS, {-1}), (1.9 * SECONDS, {0})):
            kernel = Kernel()
            for _ in range(FEW):
                self.assertEqual(kernel.wait(delay), [-1])
            self.assertEqual(set(kernel.wait(SHORT)), asked)

    def test_where_nothing_comes_it_sleeps_after_all(self) -> None:
        self.kernel.learn(FEW)
        asked = self.kernel.wait(LONG, 3.0)
        self.assertEqual((set(asked[:-1]), asked[-1]), ({0}, 3.0))
        self.assertAlmostEqual(len(asked), 51, delta=1)
        self.assertEqual(self.kernel.ready, READY)

    def test_each_time_that_it_was_wrong_it_wants_twice_as_many(self) -> None:
        wanted = FEW
        for _ in range(12):
            self.kernel.learn(wanted)
            self.kernel.wait(LONG)
            wanted = min(2 * wanted, MANY)
        self.assertEqual(wanted, MANY)
        self.kernel.learn(MANY)
        # One less each time that it is right.
        for _ in range(MANY - FEW + 5):
            self.assertEqual(set(self.kernel.wait(SHORT)), {0})
        self.kernel.wait(LONG)
        self.kernel.learn(2 * FEW)
        self.assertEqual(set(self.kernel.wait(SHORT)), {0})

    def test_silence_costs_nothing(self) -> None:
        for _ in range(100):
            self.assertEqual(self.kernel.wait(LONG, 0.25), [0.25])
            self.assertEqual(self.kernel.ready, [])

    def test_who_does_not_want_to_wait_is_not_held_up(self) -> None:
        self.kernel.learn(FEW)
        for timeout in (0, SECONDS / 2, SECONDS):
            self.assertEqual(self.kernel.wait(LONG, timeout), [timeout])

    def test_timeout_that_ends_a_wait_is_no_message(self) -> None:
        for _ in range(2 * FEW):
            self.assertEqual(self.kernel.wait(LONG, 1.5 * SECONDS), [1.5 * SECONDS])
            self.assertEqual(self.kernel.ready, [])


class BusyTurnsTests(unittest.TestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.callbacks: List[Callable[[], None]] = []
        loop: Any = mock.create_autospec(asyncio.AbstractEventLoop, instance=True)
        loop.call_soon.side_effect = self.callbacks.append
        self.turns = BusyTurns(loop, SECONDS, lambda: self.now)

    def read(self, *, after: float) -> None:
        self.now += after
        self.turns.note_read()

    def turn(self, *, after: float = 1e-6) -> None:
        self.now += after
        callbacks, self.callbacks[:] = self.callbacks[:], []
        for callback in callbacks:
            callback()

    def begin(self, count: int = FEW) -> None:
        """So many short waits, behind a long one."""
        self.read(after=LONG)
        for _ in range(count):
            self.assertEqual(self.callbacks, [])
            self.read(after=2 * SHORT)
        self.assertEqual(len(self.callbacks), 1)

    def count_turns(self) -> int:
        """Those until the loop may sleep."""
        count = 0
        while self.callbacks:
            self.turn()
            count += 1
        return count

    def test_after_a_few_quick_reads_it_keeps_the_loop_awake(self) -> None:
        self.begin()
        self.assertAlmostEqual(self.count_turns(), 55, delta=1)

    def test_each_read_begins_the_time_anew_behind_what_it_took(self) -> None:
        self.begin()
        for _ in range(5):
            for _ in range(30):
                self.turn()
            self.read(after=0)
            # It is answered: that is no waiting.
            for _ in range(4):
                self.turn(after=LONG)
        self.assertAlmostEqual(self.count_turns(), 51, delta=1)

    def test_slow_reads_cost_nothing(self) -> None:
        for _ in range(100):
            self.read(after=4.1 * SECONDS)
        self.assertEqual(self.callbacks, [])
        for _ in range(FEW):
            self.assertEqual(self.callbacks, [])
            self.read(after=3.9 * SECONDS)
        self.assertEqual(len(self.callbacks), 1)

    def test_two_reads_of_one_turn_are_one_callback(self) -> None:
        self.begin()
        self.read(after=0)
        self.read(after=0)
        self.turn()
        self.assertEqual(len(self.callbacks), 1)

    def test_each_time_that_it_was_wrong_it_wants_twice_as_many(self) -> None:
        self.begin()
        self.count_turns()
        self.begin(2 * FEW)
        self.count_turns()
        self.begin(4 * FEW)
        # One less each time that it is right.
        for _ in range(2):
            self.read(after=0)
        self.count_turns()
        self.begin(2 * (4 * FEW - 2))

    def test_slow_turn_is_one_that_others_wait_for(self) -> None:
        self.begin()
        for _ in range(4):
            self.turn()
        self.turn(after=19e-6)
        self.turn(after=19e-6)
        self.assertEqual(len(self.callbacks), 1)
        self.turn(after=21e-6)
        self.assertEqual(self.callbacks, [])
        self.begin(2 * FEW)


if __name__ == "__main__":
    unittest.main()
