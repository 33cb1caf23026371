"""Processes: forking, signals and pipes, in this process as far as that is possible."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import select
import signal
import sys
import unittest
from math import inf
from typing import Any, Callable, List
from unittest import mock

from wsbridge.server.workers import processes
from wsbridge.server.workers.processes import CAN_FORK, Ends, Processes, name_signal

fcntl: Any
try:
    import fcntl
except ImportError:
    # Windows.
    fcntl = None


class Ended(BaseException):
    """What `os._exit` is here."""


def list_descriptors() -> List[str]:
    """Those of this process; none where the system does not tell."""
    return os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []


@unittest.skipUnless(CAN_FORK, "this system cannot fork")
class ProcessesTests(unittest.TestCase):
    def setUp(self) -> None:
        self.processes = Processes()
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        stack.enter_context(self.processes)

    def test_child_reports_is_sent_signals_and_reaped(self) -> None:
        def work(ends: Ends) -> int:
            os.write(ends.report, b"ready")
            os.read(ends.lifeline, 1)
            return 1

        child = self.processes.fork(work)
        self.assertEqual(self.processes.reap(child), None)
        self.assertEqual(self.processes.wait([child.reports], inf), ([], [child.reports]))
        self.assertEqual(self.processes.read(child), b"ready")
        self.assertEqual(self.processes.read(child), b"")
        self.processes.send(child, signal.SIGTERM)
        self.assertEqual(self.processes.wait([], inf), ([signal.SIGCHLD], []))
        self.assertEqual(self.processes.reap(child), -signal.SIGTERM)
        self.processes.close(child)
        # Somebody else has waited for it.
        self.assertEqual(self.processes.reap(child), 0)

    def test_child_learns_of_the_end_of_its_supervisor(self) -> None:
        def work(ends: Ends) -> int:
            # If it does not, it is killed.
            signal.alarm(10)
            return 7 if os.read(ends.lifeline, 1) == b"" else 8

        with Processes() as supervisor:
            child = supervisor.fork(work)
        _, status = os.waitpid(child.pid, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), 7)

    def test_signals_end_the_wait_and_do_nothing_else(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.raise_signal(number)
        expected = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT]
        self.assertEqual(self.processes.wait([], inf), (expected, []))
        self.assertEqual(self.processes.wait([], 0), ([], []))

    def test_handlers_come_back(self) -> None:
        before = signal.getsignal(signal.SIGHUP)
        with mock.patch.object(signal, "signal", wraps=signal.signal) as install:
            install.side_effect = [None] * len(processes.SIGNALS) * 2
            with Processes():
                pass
        restored = install.call_args_list[len(processes.SIGNALS) :]
        # None stands for a handler that is not Python's.
        self.assertEqual({call.args[1] for call in restored}, {signal.SIG_DFL})
        self.assertEqual(signal.getsignal(signal.SIGHUP), before)

    def test_system_that_has_no_process_left_is_an_error_and_nothing_stays_open(self) -> None:
        before = list_descriptors()
        with mock.patch.object(os, "fork", side_effect=BlockingIOError), self.assertRaises(BlockingIOError):
            self.processes.fork(lambda ends: 0)
        self.assertEqual(list_descriptors(), before)

    def test_nothing_stays_open_at_the_end(self) -> None:
        before = list_descriptors()
        with Processes() as own, mock.patch.object(os, "fork", return_value=2**22):
            own.fork(lambda ends: 0)
        self.assertEqual(list_descriptors(), before)

    def test_what_is_printed_before_is_not_printed_by_the_child_as_well(self) -> None:
        done = mock.Mock()
        done.fork.return_value = 2**22
        with (
            mock.patch.object(sys, "stdout", done.stdout),
            mock.patch.object(sys, "stderr", done.stderr),
            mock.patch.object(os, "fork", done.fork),
        ):
            child = self.processes.fork(lambda ends: 0)
        self.processes.close(child)
        self.assertEqual(
            done.mock_calls, [mock.call.stdout.flush(), mock.call.stderr.flush(), mock.call.fork()]
        )

    def test_programs_without_streams_can_fork(self) -> None:
        with mock.patch.object(sys, "stdout", None), mock.patch.object(os, "fork", return_value=2**22):
            child = self.processes.fork(lambda ends: 0)
        self.processes.close(child)

    def fork_here(self, work: Callable[[Ends], int]) -> Any:
        """What the child does, in this process: the exit code that it would have."""
        handlers: List[Any] = []
        codes: List[int] = []

        def end(code: int) -> None:
            codes.append(code)
            raise Ended

        with contextlib.ExitStack() as stack:
            for owner, name, do in (
                (os, "fork", lambda: 0),
                (os, "close", lambda descriptor: None),
                (processes, "end_process", end),
                (signal, "signal", lambda *arguments: handlers.append(arguments)),
                (atexit, "_clear", lambda: None),
                (atexit, "register", lambda handler: None),
            ):
                stack.enter_context(mock.patch.object(owner, name, do))
            wakeup = signal.set_wakeup_fd(-1)
            signal.set_wakeup_fd(wakeup)
            try:
                with self.assertRaises(Ended):
                    self.processes.fork(work)
            finally:
                signal.set_wakeup_fd(wakeup)
        self.handlers = dict(handlers)
        return codes[0]

    def test_child_may_write_its_report_and_read_its_lifeline(self) -> None:
        def work(ends: Ends) -> int:
            mask = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
            modes = [fcntl.fcntl(end, fcntl.F_GETFL) & mask for end in ends]
            self.assertEqual(modes, [os.O_WRONLY, os.O_RDONLY])
            return 7

        self.assertEqual(self.fork_here(work), 7)

    def test_wait_is_rounded_up_to_milliseconds(self) -> None:
        for timeout, milliseconds in ((1.5, 1500), (0.0001, 1), (0, 0), (inf, None)):
            with mock.patch.object(select, "poll") as poll:
                poll.return_value.poll.return_value = []
                self.assertEqual(self.processes.wait([], timeout), ([], []))
            poll.return_value.poll.assert_called_once_with(milliseconds)

    def test_child_has_no_handler_of_the_supervisors(self) -> None:
        self.assertEqual(self.fork_here(lambda ends: 7), 7)
        self.assertEqual(self.handlers[signal.SIGTERM], signal.SIG_DFL)
        self.assertEqual(self.handlers[signal.SIGCHLD], signal.SIG_DFL)
        # The terminal sends these to all: the supervisor passes them on.
        for number in (signal.SIGINT, signal.SIGHUP):
            self.assertTrue(callable(self.handlers[number]))

    def test_child_that_raises_has_the_exit_code_of_a_program(self) -> None:
        def raise_it(error: BaseException) -> int:
            raise error

        with contextlib.redirect_stderr(io.StringIO()) as printed:
            self.assertEqual(self.fork_here(lambda ends: raise_it(SystemExit(143))), 143)
            self.assertEqual(self.fork_here(lambda ends: raise_it(KeyError("bug"))), 1)
        self.assertIn("KeyError: 'bug'", printed.getvalue())

    def test_signals_have_names(self) -> None:
        self.assertEqual((name_signal(9), name_signal(64 + 1)), ("SIGKILL", "signal 65"))


if __name__ == "__main__":
    unittest.main()
