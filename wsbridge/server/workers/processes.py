"""`Processes`: what a supervisor asks of the operating system. It decides nothing."""

from __future__ import annotations

import atexit
import logging
import os
import select
import signal
import sys
import time
import traceback
from math import ceil, inf
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, NoReturn, Optional, Set, Tuple

from ..command.ending import end_process, get_exit_code
from ..logs.output import print_traceback

__all__ = ["CAN_FORK", "SIGNALS_OF_TERMINAL", "Child", "Ends", "Processes", "name_signal"]

CAN_FORK = hasattr(os, "fork")

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGCHLD", "SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGTTIN", "SIGTTOU")
    if hasattr(signal, name)
)

# A terminal sends these to the supervisor and to its workers. The supervisor decides what they mean.
SIGNALS_OF_TERMINAL = tuple(getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name))

# Bytes that one read takes out of a pipe: as many as Linux keeps in it.
PIPE_SIZE = 65536


class Ends(NamedTuple):
    """A child's ends of two pipes: one for what it reports, one that shows the end of the supervisor."""

    report: int
    """to be written to"""
    lifeline: int
    """becomes readable when the supervisor has ended, however that came about"""


class Child(NamedTuple):
    """A process that was forked, and the pipe from which its reports are read."""

    pid: int
    reports: int


class Processes:
    """Forks children and waits for them. Inside ``with``, signals end `wait` and do nothing else."""

    clock = staticmethod(time.monotonic)

    def __enter__(self) -> Processes:
        self._previous: Dict[int, Any] = {}
        self._reports: Set[int] = set()
        self._signals = os.pipe()
        self._lifeline = os.pipe()
        for end in self._signals:
            os.set_blocking(end, False)
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, _ignore)
        # A byte for each signal, so that none gets lost between a look at the clock and the wait.
        self._previous_wakeup = signal.set_wakeup_fd(self._signals[1], warn_on_full_buffer=False)
        return self

    def __exit__(self, *exc_info: object) -> None:
        signal.set_wakeup_fd(self._previous_wakeup)
        for number, handler in self._previous.items():
            # None: a handler that Python has not set, and cannot restore.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for end in (*self._signals, *self._lifeline, *self._reports):
            os.close(end)

    # ----------------------------------------------------------------------- children

    def fork(self, work: Callable[[Ends], int]) -> Child:
        """Run ``work`` in a new process; it returns the exit code. Raises `OSError` if there can be none."""
        reports, report = os.pipe()
        # What is buffered would be written by both.
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        # The child must not take a signal with the supervisor's handlers, and tell the supervisor of it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if not pid:
                self._run_child(work, reports, Ends(report, self._lifeline[0]), mask)
        except OSError:
            os.close(reports)
            raise
        finally:
            os.close(report)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.set_blocking(reports, False)
        self._reports.add(reports)
        return Child(pid, reports)

    def _run_child(self, work: Callable[[Ends], int], reports: int, ends: Ends, mask: Any) -> NoReturn:
        code = 1
        try:
            self._leave_supervisor(reports)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            code = work(ends)
        except SystemExit as end:
            code = get_exit_code(end)
        except BaseException:
            print_traceback("uncaught exception", traceback.format_exc())
        finally:
            end_process(code)

    def _leave_supervisor(self, reports: int) -> None:
        """Reset and close in the child what is the supervisor's alone."""
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, _ignore if number in SIGNALS_OF_TERMINAL else signal.SIG_DFL)
        for end in (reports, *self._signals, self._lifeline[1], *self._reports):
            os.close(end)
        # The exit handlers of the program are the supervisor's to run.
        atexit._clear()
        atexit.register(logging.shutdown)

    def send(self, child: Child, number: int) -> None:
        """Send a signal to a child that was not reaped yet."""
        os.kill(child.pid, number)

    def read(self, child: Child) -> bytes:
        """What the child has reported since the last call."""
        try:
            return os.read(child.reports, PIPE_SIZE)
        except BlockingIOError:
            return b""

    def reap(self, child: Child) -> Optional[int]:
        """None while the child runs; then its exit code, or the number of the signal, negated."""
        try:
            pid, status = os.waitpid(child.pid, os.WNOHANG)
        except ChildProcessError:
            # Another part of the program has waited for it, and has the exit code.
            return 0
        return os.waitstatus_to_exitcode(status) if pid else None

    def close(self, child: Child) -> None:
        """Let the pipe of a child go."""
        self._reports.discard(child.reports)
        os.close(child.reports)

    # ------------------------------------------------------------------------ waiting

    def wait(self, readable: Iterable[int], timeout: float) -> Tuple[List[int], List[int]]:
        """Wait for a signal, or until one of these descriptors is readable, for ``timeout`` seconds at most.

        Returns the signals that have come, and the descriptors that are readable.
        """
        poll = select.poll()
        for descriptor in (self._signals[0], *readable):
            poll.register(descriptor, select.POLLIN)
        found = [descriptor for descriptor, _ in poll.poll(None if timeout == inf else ceil(timeout * 1000))]
        if self._signals[0] not in found:
            return [], found
        found.remove(self._signals[0])
        return list(os.read(self._signals[0], PIPE_SIZE)), found


def name_signal(number: int) -> str:
    """Such as SIGTERM; "signal 40" for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _ignore(number: int, frame: object) -> None:
    """A handler and not SIG_IGN, which the programs that a worker starts would inherit."""
