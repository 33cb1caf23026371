"""`fast` where the folder is there; and what a server asks of asyncio alone without it."""

from __future__ import annotations

import asyncio
import importlib
import sys
import unittest
from typing import Any, List
from unittest import mock

from wsbridge.server import speed
from wsbridge.server.plain import Plain, ResumeTask

from .doubles import HAS_FAST

FAST = f"{Plain.__module__.rpartition('.')[0]}.fast"


class ChoiceTests(unittest.TestCase):
    def choose_without(self, *missing: str) -> Any:
        """What is chosen where these modules cannot be imported."""
        self.addCleanup(importlib.reload, speed)
        with mock.patch.dict(sys.modules):
            for name in [name for name in sys.modules if name.startswith(FAST)]:
                del sys.modules[name]
            for name in missing:
                sys.modules[name] = None  # type: ignore[assignment]
            return importlib.reload(speed).SPEED

    def test_folder_is_chosen_where_it_is_there(self) -> None:
        self.assertEqual(type(self.choose_without()).__name__, "Fast" if HAS_FAST else "Plain")

    def test_without_the_folder_asyncio_does_it(self) -> None:
        self.assertIs(type(self.choose_without(FAST)), Plain)

    @unittest.skipUnless(HAS_FAST, "wsbridge/server/fast is not there")
    def test_module_that_is_missing_inside_the_folder_is_an_error(self) -> None:
        for name in (f"{FAST}.waking", "contextvars"):
            with self.assertRaisesRegex(ModuleNotFoundError, name):
                self.choose_without(name)

    def test_loop_is_that_of_what_was_chosen(self) -> None:
        loops = [speed.new_event_loop(), speed.SPEED.new_event_loop()]
        for loop in loops:
            loop.close()
        self.assertIs(type(loops[0]), type(loops[1]))


class Waiting:
    """A connection that notes how it was resumed."""

    def __init__(self) -> None:
        self.resumed: List[str] = []

    def resume(self, resume_task: ResumeTask) -> None:
        self.resumed.append("now")

    def resume_later(self) -> None:
        self.resumed.append("later")


class PlainTests(unittest.TestCase):
    def setUp(self) -> None:
        self.loop = Plain().new_event_loop()
        self.addCleanup(self.loop.close)

    def test_loop_is_asyncios_own(self) -> None:
        other = asyncio.new_event_loop()
        other.close()
        self.assertIs(type(self.loop), type(other))

    def test_asyncio_accepts_by_itself(self) -> None:
        self.assertIsNone(Plain().find_listener(self.loop))

    def test_allocator_of_the_process_stays_as_it_is(self) -> None:
        self.assertIsNone(Plain().keep_freed_blocks())  # type: ignore[func-returns-value]

    def test_waiting_application_goes_on_in_the_loops_next_turn(self) -> None:
        waker, waiting = Plain().build_waker(self.loop), Waiting()
        for _ in range(2):
            waker.wake(waiting)
        waker.forget(waiting)
        self.assertEqual(waiting.resumed, ["later", "later"])


if __name__ == "__main__":
    unittest.main()
