"""The end of a process: what is waited for, what is run, and the exit code."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import signal
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from typing import Any, List, Tuple
from unittest import mock

from wsbridge.server.command import cli, ending
from wsbridge.server.logs.log import logger

from .loopback import TIMEOUT


class ExitTests(unittest.TestCase):
    """How `command` ends, with the end of the process caught."""

    def setUp(self) -> None:
        self.ends: List[Tuple[str, Any]] = []
        self.ended = threading.Event()
        self.are_over: Any = None
        self.freeze = mock.Mock()
        self.addCleanup(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT))
        for owner, name, do in (
            (os, "_exit", self.end),
            (atexit, "register", self.register),
            (atexit, "_run_exitfuncs", lambda: self.ends.append(("handlers", None))),
            (ending, "THREAD_TIMEOUT", 0.01),
            (gc, "freeze", self.freeze),
        ):
            # PyPy has no `gc.freeze`.
            patch = mock.patch.object(owner, name, do, create=owner is gc)
            patch.start()
            self.addCleanup(patch.stop)

    def register(self, handler: Any) -> None:
        self.are_over = handler

    def end(self, code: int) -> None:
        self.ends.append(("exit", code))
        self.ended.set()

    def command(self, result: Any) -> Any:
        """What the process would end with by itself."""
        with mock.patch.object(cli, "main", **result), self.assertRaises(BaseException) as caught:
            cli.command()
        return caught.exception

    def leave_thread(self) -> None:
        may_end = threading.Event()
        thread = threading.Thread(target=may_end.wait, name="forgotten")
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(may_end.set)

    def test_exit_code_is_that_of_main(self) -> None:
        for result, code in (
            ({"return_value": 0}, 0),
            ({"return_value": 2}, 2),
            ({"side_effect": SystemExit(143)}, 143),
            ({"side_effect": SystemExit()}, None),
            ({"side_effect": SystemExit("text")}, "text"),
        ):
            end = self.command(result)
            self.assertIsInstance(end, SystemExit)
            self.assertEqual(end.code, code)
            self.are_over()
        self.assertIs(type(self.command({"side_effect": KeyError("bug")})), KeyError)
        self.are_over()

    def test_interpreter_searches_no_garbage_at_the_end(self) -> None:
        for result in ({"return_value": 0}, {"side_effect": SystemExit(143)}, {"side_effect": KeyError()}):
            self.command(result)
            self.are_over()
            self.freeze.assert_called_once_with()
            self.freeze.reset_mock()

    def test_interpreter_that_cannot_freeze_its_objects_ends_as_well(self) -> None:
        self.freeze.side_effect = AttributeError
        self.assertEqual(self.command({"return_value": 2}).code, 2)
        self.are_over()

    def test_interrupt_at_the_end_shows_no_traceback(self) -> None:
        def handle(number: int, frame: object) -> None:
            """The program's own, which stays."""

        for handler, last in ((signal.default_int_handler, signal.SIG_DFL), (handle, handle)):
            signal.signal(signal.SIGINT, handler)
            self.command({"return_value": 0})
            self.are_over()
            self.assertIs(signal.getsignal(signal.SIGINT), last)

    def test_thread_that_does_not_end_is_left_behind(self) -> None:
        self.leave_thread()
        for result, code in (
            ({"return_value": 2}, 2),
            ({"side_effect": SystemExit()}, 0),
            ({"side_effect": SystemExit("text")}, 1),
            ({"side_effect": KeyError("bug")}, 1),
        ):
            with self.assertLogs(logger, "WARNING") as logs:
                self.command(result)
                self.assertTrue(self.ended.wait(TIMEOUT))
            self.assertEqual(
                logs.output, ["WARNING:wsbridge.error:ended without waiting for threads: forgotten"]
            )
            self.assertEqual(self.ends, [("handlers", None), ("exit", code)])
            self.ends.clear()
            self.ended.clear()

    def test_worker_of_a_pool_is_left_behind_whoever_has_started_it(self) -> None:
        may_end = threading.Event()
        pool = ThreadPoolExecutor(thread_name_prefix="worker")
        self.addCleanup(pool.shutdown)
        self.addCleanup(may_end.set)
        # A thread that a daemon starts is one.
        starting = threading.Thread(target=pool.submit, args=(may_end.wait,), daemon=True)
        starting.start()
        starting.join()
        with self.assertLogs(logger, "WARNING") as logs:
            self.command({"return_value": 0})
            self.assertTrue(self.ended.wait(TIMEOUT))
        self.assertEqual(logs.output, ["WARNING:wsbridge.error:ended without waiting for threads: worker_0"])

    def test_streams_that_cannot_be_flushed_are_no_error(self) -> None:
        self.leave_thread()
        closed = io.StringIO()
        closed.close()
        for stream in (None, closed):
            with contextlib.redirect_stdout(stream), self.assertLogs(logger, "WARNING"):
                self.command({"return_value": 0})
                self.assertTrue(self.ended.wait(TIMEOUT))
            self.ended.clear()

    def test_daemons_and_threads_that_end_are_not_left_behind(self) -> None:
        looked = threading.Event()

        def find_none() -> List[threading.Thread]:
            looked.set()
            return []

        with mock.patch.object(threading, "enumerate", find_none):
            self.command({"return_value": 0})
            self.assertTrue(looked.wait(TIMEOUT))
            self.are_over()
        self.assertFalse(self.ended.is_set())

    def test_process_that_was_forked_ends_as_the_interpreter_ends_one(self) -> None:
        printed = io.TextIOWrapper(io.BytesIO())
        with (
            mock.patch.object(threading, "_shutdown", lambda: self.ends.append(("threads", None))),
            contextlib.redirect_stdout(printed),
        ):
            print("last words", end="")
            ending.end_process(3)
        self.are_over()
        self.assertEqual(printed.buffer.getvalue(), b"last words")
        self.assertEqual(self.ends, [("threads", None), ("handlers", None), ("exit", 3)])

    def test_exit_code_of_a_forked_process_is_what_the_interpreter_makes_of_it(self) -> None:
        printed = io.StringIO()
        with contextlib.redirect_stderr(printed):
            codes = [ending.get_exit_code(SystemExit(code)) for code in (None, 0, 3, "text")]
        self.assertEqual((codes, printed.getvalue()), ([0, 0, 3, 1], "text\n"))


class ThreadTests(unittest.TestCase):
    def test_threads_have_a_second_to_end(self) -> None:
        self.assertEqual(ending.THREAD_TIMEOUT, 1.0)


if __name__ == "__main__":
    unittest.main()
