"""`MetricsSlot`: what several processes write and read in one memory, in whatever order."""

from __future__ import annotations

import http
import mmap
import os
import unittest
from typing import Any, Set
from unittest import mock

from wsbridge.config import ServerConfig
from wsbridge.protocols.events import RequestReceived
from wsbridge.server.metrics.slot import BUFFER_SIZE, PREFIX, SLOT_SIZE, MetricsSlot, get_slots_size, is_alive
from wsbridge.server.service import Service


class SlotCase(unittest.TestCase):
    def setUp(self) -> None:
        self.memory = mmap.mmap(-1, get_slots_size(3))
        self.addCleanup(self.memory.close)
        # `os.kill(0, 0)` is no error: it is for all processes of a group.
        self.alive: Set[int] = {0, 100, 101, 102}

    def make(self, number: int, process: int) -> MetricsSlot:
        return MetricsSlot(self.memory, number, process, self.alive.__contains__)

    def assert_read(self, **expected: float) -> None:
        """What workers without a slot of their own read, as ``_1`` for worker 1."""
        for process in (1, 999):
            found = self.make(1, process).read_all()
            self.assertEqual(found, {int(number[1:]): {"a": value} for number, value in expected.items()})


class SlotTests(SlotCase):
    def test_nothing_was_written_yet(self) -> None:
        self.assert_read()
        self.make(1, 100).claim()
        self.assert_read()

    def test_latest_snapshot_of_each(self) -> None:
        first, third = self.make(1, 100), self.make(3, 102)
        for slot in (first, third):
            slot.claim()
        for value in range(5):
            first.write({"a": value})
            third.write({"a": value * 10})
            self.assert_read(_1=value, _3=value * 10)

    def test_own_snapshot_is_read_whatever_is_alive(self) -> None:
        slot = self.make(2, 101)
        slot.claim()
        slot.write({"a": 1})
        self.alive.clear()
        self.assertEqual(slot.read_all(), {2: {"a": 1}})

    def test_one_that_is_gone_is_left_out(self) -> None:
        slot = self.make(1, 100)
        slot.claim()
        slot.write({"a": 1})
        self.alive.remove(100)
        self.assert_read()

    def test_replacement_takes_the_slot(self) -> None:
        for before, after in ((100, 101), (101, 100)):
            first, second = self.make(1, before), self.make(1, after)
            first.claim()
            first.write({"a": 50})
            second.claim()
            second.write({"a": 0})
            first.write({"a": 51})
            self.assert_read(_1=0)

    def test_replacement_that_is_gone_leaves_it_to_the_one_before(self) -> None:
        first, second = self.make(1, 100), self.make(1, 101)
        first.claim()
        second.claim()
        second.write({"a": 0})
        self.alive.remove(101)
        self.assert_read()
        first.write({"a": 51})
        self.assert_read(_1=51)


class TornTests(SlotCase):
    """A snapshot is read whole, or the one before is, or none."""

    def setUp(self) -> None:
        super().setUp()
        self.slot = self.make(1, 100)
        self.slot.claim()
        self.slot.write({"a": 1})

    def test_writer_that_dies_at_any_byte_leaves_the_snapshot_before(self) -> None:
        whole = bytes(self.memory)
        self.slot.write({"a": 2})
        after = bytes(self.memory)
        changed = [at for at, byte in enumerate(whole) if after[at] != byte]
        # The byte that names the latest is written last.
        for at in (*changed[1:], changed[0]):
            self.memory[:] = whole
            for written in changed[1:]:
                if written < at or at == changed[0]:
                    self.memory[written] = after[written]
            self.assert_read(_1=1)
        self.memory[changed[0]] = after[changed[0]]
        self.assert_read(_1=2)

    def test_byte_that_comes_too_early_is_noticed(self) -> None:
        """As on a processor that does not keep the order of writes."""
        whole = bytes(self.memory)
        self.slot.write({"a": 2})
        after = bytes(self.memory)
        latest = next(at for at, byte in enumerate(whole) if after[at] != byte)
        self.memory[:] = whole
        self.memory[latest] = after[latest]
        self.assert_read(_1=1)

    def test_nothing_that_is_whole(self) -> None:
        self.slot.write({"a": 2})
        for start in range(0, SLOT_SIZE, 1024):
            self.memory[start + 64 + PREFIX.size] ^= 1
        self.assert_read()

    def test_checksum_that_is_garbage(self) -> None:
        for byte in (b"\0", b"\xff"):
            for start in (64, 64 + BUFFER_SIZE):
                self.memory[start + 4 : start + 8] = byte * 4
            self.assert_read()

    def test_size_that_is_garbage(self) -> None:
        self.memory[64:SLOT_SIZE] = b"\xff" * (SLOT_SIZE - 64)
        self.assert_read()


class ProcessTests(unittest.TestCase):
    def test_this_process_lives(self) -> None:
        self.assertTrue(is_alive(os.getpid()))

    def test_process_of_another_user_lives_and_one_that_is_gone_does_not(self) -> None:
        for error, expected in ((PermissionError, True), (ProcessLookupError, False)):
            with mock.patch("os.kill", side_effect=error) as kill:
                self.assertEqual(is_alive(7), expected)
            kill.assert_called_once_with(7, 0)


class SizeTests(unittest.IsolatedAsyncioTestCase):
    async def test_all_that_can_be_counted_fits(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            """Never called."""

        metrics = Service(app, ServerConfig(metrics_path="")).metrics
        assert metrics is not None
        statuses = {*map(int, http.HTTPStatus), *range(200, 600)}
        for status in statuses:
            for method in b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH A".split():
                metrics.count_refusal(RequestReceived(method, b"/", (), "1.1"), status)
            upgrade = RequestReceived(b"GET", b"/", ((b"upgrade", b"websocket"),), "1.1")
            metrics.count_refusal(upgrade, status)
        for code in (*range(1000, 1016), 3000, 3999, 4000, 4999):
            for closed_by in ("client", "application", "stop", "violation", "timeout", "lost"):
                metrics.count_end(mock.Mock(code=code, closed_by=closed_by, **dict.fromkeys(COUNTERS, 2**62)))
        memory = mmap.mmap(-1, get_slots_size(1))
        self.addCleanup(memory.close)
        slot = MetricsSlot(memory, 1)
        slot.claim()
        snapshot = dict.fromkeys(metrics.collect(), 2.0**62 + 0.5)
        slot.write(snapshot)
        self.assertEqual(slot.read_all(), {1: snapshot})
        size, _ = max(PREFIX.unpack_from(memory, 64), PREFIX.unpack_from(memory, 64 + BUFFER_SIZE))
        self.assertLess(size, 74 * 1024)


COUNTERS = (
    "messages_received",
    "messages_sent",
    "bytes_received",
    "bytes_sent",
    "bytes_inflated",
    "bytes_before_compression",
    "bytes_deflated",
    "bytes_after_compression",
)


if __name__ == "__main__":
    unittest.main()
