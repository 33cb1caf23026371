"""`Supervisor`: one process that serves nothing itself, and keeps workers alive that do.

It imports no application, and has no event loop and no thread, so that it can
fork at any time. What it needs of the operating system is in `processes`, what
a worker does in `worker`.
"""

from __future__ import annotations

import signal
from math import inf
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Sequence

from ...config import MAX_WORKERS, ServerConfig
from ..listening.notifying import READY as IS_READY
from ..listening.notifying import STOPPING, notify, notify_reloading
from ..logs.log import error_logger as logger
from ..logs.output import print_traceback
from ..service import ABORT_TIMEOUT
from .processes import Child, Ends, Processes, name_signal
from .sockets import WorkerSockets
from .worker import ALIVE, LEAVING, READY, WANTS_REPLACEMENT, Failure, read_failure

if TYPE_CHECKING:
    from socket import socket

__all__ = ["Seat", "Supervisor", "Worker"]

# Seconds. A worker that has served for this long has not failed at its start: another replaces it at once.
SETTLED = 1.0

# Seconds until a worker that failed at its start is replaced: the first of them, doubled with each failure in
# a row up to the last. Connections may wait in its socket meanwhile.
FIRST_DELAY = 0.5
MAX_DELAY = 10.0

# Seconds. A supervisor that is later than this has not run itself, and its workers perhaps not either: their
# container was paused.
LATE = 1.0

# Seconds that a worker needs besides its graceful stop: cancelled tasks, generators and threads have limits.
END_TIMEOUT = 4 * ABORT_TIMEOUT


class Worker:
    """A process as the supervisor sees it."""

    def __init__(self, seat: Seat, child: Child) -> None:
        self.seat = seat
        self.child = child
        self.name = f"worker {seat.number} (pid {child.pid})"
        # When it listened; None before.
        self.ready_at: Optional[float] = None
        # Whether it was told to stop, and when it is killed if it has not.
        self.is_leaving = False
        self.kill_at = inf
        # When its event loop is blocked for too long, unless it reports before.
        self.silent_at = inf
        self.wants_replacement = False
        self.failure: Optional[Failure] = None
        # What was read of a line that is not complete; None when its pipe has ended.
        self.unread: Optional[bytes] = b""


class Seat:
    """The place of a worker: its number and its sockets, which outlive the process."""

    def __init__(self, number: int, sockets: Sequence[socket]) -> None:
        self.number = number
        self.sockets = sockets
        # The worker that listens, and one that will take its place when it listens too.
        self.serving: Optional[Worker] = None
        self.starting: Optional[Worker] = None
        # Starts that have failed in a row, and when the next is due.
        self.failures = 0
        self.start_at = inf
        # How many workers have been started here.
        self.starts = 0


class Supervisor:
    """Keeps ``config.workers`` alive; `run` returns when it has been told to stop and all have ended.

    ``sockets`` are those of the workers, ``scheme`` that of the URLs in the log.
    ``work`` is what a worker does: it gets its seat and its ends of the pipes,
    and returns the exit code of its process.
    """

    def __init__(
        self,
        config: ServerConfig,
        sockets: WorkerSockets,
        work: Callable[[Seat, Ends], int],
        processes: Processes,
        scheme: str,
    ) -> None:
        self._config = config
        self._sockets = sockets
        self._seats = [Seat(number + 1, sockets.open_for_worker()) for number in range(config.workers)]
        self._work = work
        self._processes = processes
        self._scheme = scheme
        self._workers: List[Worker] = []
        # Seats whose worker is to be replaced because of SIGHUP, one after the other.
        self._outdated: List[Seat] = []
        # Whether systemd was told so.
        self._is_replacing = False
        # Whether any worker has ever listened.
        self._has_served = False
        self._is_stopping = False
        # After the second signal.
        self._stops_at_once = False
        # What `run` raises at the end.
        self._error: Optional[BaseException] = None
        self._handlers: Dict[int, Callable[[int], None]] = {
            signal.SIGINT: self._handle_stop,
            signal.SIGTERM: self._handle_stop,
            signal.SIGQUIT: self._handle_stop,
            signal.SIGHUP: self._handle_hangup,
            signal.SIGTTIN: self._handle_more,
            signal.SIGTTOU: self._handle_fewer,
        }

    def run(self) -> None:
        """Start a worker in every seat, and replace those that end, until a signal stops all.

        Raises the error of the first worker if none could ever serve, SystemExit
        (128 + its number) for a signal that came before one did, and SystemExit
        (1) if a worker did not end as it should.
        """
        for seat in self._seats:
            self._start(seat)
        while self._workers or not self._is_stopping:
            self._step()
        if self._error is not None:
            raise self._error

    def _step(self) -> None:
        timeout = max(0, self._find_next_time() - self._processes.clock())
        numbers, readable = self._processes.wait(self._list_descriptors(), timeout)
        for number in numbers:
            handle = self._handlers.get(number)
            if handle is not None:
                handle(number)
        for worker in tuple(self._workers):
            if worker.child.reports in readable:
                self._read(worker)
            code = self._processes.reap(worker.child)
            if code is not None:
                self._handle_end(worker, code)
        self._do_what_is_due()

    def _list_descriptors(self) -> List[int]:
        """What is readable when there is something to do."""
        return [worker.child.reports for worker in self._workers if worker.unread is not None]

    def _find_next_time(self) -> float:
        return min(
            min((seat.start_at for seat in self._seats), default=inf),
            min((min(worker.kill_at, worker.silent_at) for worker in self._workers), default=inf),
        )

    def _do_what_is_due(self) -> None:
        now = self._processes.clock()
        for worker in self._workers:
            if now >= worker.kill_at:
                worker.kill_at = inf
                logger.error("%s does not stop and is killed", worker.name)
                self._processes.send(worker.child, signal.SIGKILL)
            if now >= worker.silent_at:
                self._handle_silence(worker, now)
        for seat in self._seats:
            if now >= seat.start_at:
                self._start(seat)
        while self._outdated and not any(seat.starting for seat in self._seats):
            self._start(self._outdated.pop(0))
        if self._is_replacing and not any(seat.starting for seat in self._seats):
            self._is_replacing = False
            notify(IS_READY)

    # ----------------------------------------------------------------- one worker

    def _start(self, seat: Seat) -> None:
        """Start a worker in ``seat``: the first, or one that takes another's place when it listens."""
        seat.start_at = inf
        seat.starts += 1
        try:
            child = self._processes.fork(lambda ends: self._work(seat, ends))
        except OSError as error:
            if not self._workers:
                raise
            self._retry(seat, f"worker {seat.number} cannot be started: {error}")
            return
        seat.starting = worker = Worker(seat, child)
        self._workers.append(worker)

    def _retire(self, worker: Worker) -> None:
        """Tell a worker to stop; it is no longer that of its seat."""
        seat = worker.seat
        if seat.starting is worker:
            seat.starting = None
        if seat.serving is worker:
            seat.serving = None
        self._expect_end(worker)
        self._processes.send(worker.child, signal.SIGTERM)

    def _expect_end(self, worker: Worker) -> None:
        worker.is_leaving = True
        worker.kill_at = self._processes.clock() + self._get_longest_stop()
        worker.silent_at = inf

    def _get_longest_stop(self) -> float:
        connections, lifespan = self._config.timeout_graceful_shutdown, self._config.timeout_lifespan_shutdown
        return inf if connections is None or lifespan is None else connections + lifespan + END_TIMEOUT

    def _read(self, worker: Worker) -> None:
        """Do what the worker reports."""
        data = self._processes.read(worker.child)
        if not data:
            worker.unread = None
            return
        *lines, worker.unread = ((worker.unread or b"") + data).split(b"\n")
        for line in lines:
            if line == READY:
                self._handle_ready(worker)
            elif line == WANTS_REPLACEMENT:
                self._handle_limit(worker)
            elif line == LEAVING:
                self._handle_leaving(worker)
            elif line == ALIVE:
                self._handle_life(worker)
            else:
                worker.failure = read_failure(line) or worker.failure

    def _handle_ready(self, worker: Worker) -> None:
        worker.ready_at = self._processes.clock()
        if worker.is_leaving:
            return
        if not self._has_served:
            self._has_served = True
            urls = self._sockets.build_urls(self._scheme)
            logger.info("listening on %s, workers: %d", ", ".join(urls), len(self._seats))
            notify(IS_READY)
        seat = worker.seat
        predecessor, seat.serving, seat.starting = seat.serving, worker, None
        self._handle_life(worker)
        logger.info("%s listens", worker.name)
        if predecessor is not None:
            self._retire(predecessor)

    def _handle_limit(self, worker: Worker) -> None:
        worker.wants_replacement = True
        if worker.seat.serving is worker and worker.seat.starting is None:
            self._start(worker.seat)

    def _handle_leaving(self, worker: Worker) -> None:
        """Replace a worker that somebody else has told to stop."""
        seat = worker.seat
        if seat.serving is worker:
            logger.warning("%s was told to stop; another takes its place", worker.name)
            seat.serving = None
            self._expect_end(worker)
            if seat.starting is None:
                self._start(seat)

    def _handle_life(self, worker: Worker) -> None:
        timeout = self._config.timeout_worker_healthcheck
        if timeout is not None and worker.seat.serving is worker:
            worker.silent_at = self._processes.clock() + timeout

    def _handle_silence(self, worker: Worker, now: float) -> None:
        """Abort a worker whose event loop is blocked, where SIGTERM would wait as everything else does."""
        if now >= worker.silent_at + LATE:
            self._handle_life(worker)
            return
        worker.silent_at = inf
        worker.kill_at = now + END_TIMEOUT
        seconds = self._config.timeout_worker_healthcheck
        logger.error(
            "%s is killed: the application has blocked its event loop for %g s", worker.name, seconds
        )
        # With PYTHONFAULTHANDLER it prints where.
        self._processes.send(worker.child, signal.SIGABRT)

    # -------------------------------------------------------------------- its end

    def _handle_end(self, worker: Worker, code: int) -> None:
        while worker.unread is not None:
            # Its last lines, up to the end of the pipe.
            self._read(worker)
        self._processes.close(worker.child)
        self._workers.remove(worker)
        seat = worker.seat
        if worker is seat.starting:
            seat.starting = None
            self._handle_failed_start(worker, code)
        elif worker is seat.serving:
            seat.serving = None
            self._handle_death(worker, code)
        else:
            self._handle_stopped(worker, code)

    def _handle_failed_start(self, worker: Worker, code: int) -> None:
        if not self._has_served and code >= 0:
            # It would fail in the same way whenever it is tried.
            self._print_traceback(worker)
            failure = worker.failure
            self._error = SystemExit(code) if failure is None else failure.build_error()
            self._stop_all()
            return
        seat = worker.seat
        seat.failures += 1
        self._print_traceback(worker)
        reason = self._explain(worker, code)
        if seat.serving is None or seat.serving.wants_replacement:
            self._retry(seat, f"{worker.name} could not start: {reason}")
        else:
            # SIGHUP: what the next would be like is known.
            self._outdated.clear()
            logger.error("%s could not start: %s; the workers of before go on", worker.name, reason)

    def _explain(self, worker: Worker, code: int) -> str:
        if worker.failure is not None:
            return worker.failure.message
        return f"exit code {code}" if code >= 0 else f"killed by {name_signal(-code)}"

    def _print_traceback(self, worker: Worker) -> None:
        if worker.failure is not None:
            print_traceback("application raised", worker.failure.traceback)

    def _handle_death(self, worker: Worker, code: int) -> None:
        seat = worker.seat
        lived = self._processes.clock() - (worker.ready_at or 0)
        text = f"{worker.name} has ended after {lived:.1f} s: {self._explain(worker, code)}"
        if seat.starting is not None:
            logger.error("%s", text)
        elif lived >= SETTLED:
            seat.failures = 0
            logger.error("%s; another takes its place", text)
            self._start(seat)
        else:
            seat.failures += 1
            self._retry(seat, text)

    def _retry(self, seat: Seat, reason: str) -> None:
        delay = min(FIRST_DELAY * 2 ** max(0, seat.failures - 1), MAX_DELAY)
        seat.start_at = self._processes.clock() + delay
        logger.error("%s; the next starts in %g s", reason, delay)

    def _handle_stopped(self, worker: Worker, code: int) -> None:
        # One that was stopped before it listened ends with its signal. A second signal may meet the end of
        # the process, which has no handler any more.
        is_told_twice = self._stops_at_once and code == -signal.SIGTERM
        if code == 0 or worker.ready_at is None or is_told_twice:
            logger.info("%s has stopped", worker.name)
            return
        self._print_traceback(worker)
        logger.error("%s has stopped: %s", worker.name, self._explain(worker, code))
        if self._is_stopping and self._error is None:
            self._error = SystemExit(1)

    # -------------------------------------------------------------------- signals

    def _handle_stop(self, number: int) -> None:
        if not self._is_stopping:
            if not self._has_served:
                self._error = SystemExit(128 + number)
            logger.info("stopping; a second signal stops at once; workers: %d", len(self._workers))
            self._stop_all()
            return
        self._stops_at_once = True
        at_once = self._processes.clock() + END_TIMEOUT
        for worker in self._workers:
            worker.kill_at = min(worker.kill_at, at_once)
            self._processes.send(worker.child, signal.SIGTERM)

    def _stop_all(self) -> None:
        self._is_stopping = True
        self._is_replacing = False
        self._outdated.clear()
        self._sockets.close()
        notify(STOPPING)
        for seat in self._seats:
            seat.start_at = inf
        for worker in self._workers:
            # Those that leave already would take another SIGTERM for the second.
            if not worker.is_leaving:
                self._retire(worker)

    def _handle_hangup(self, number: int) -> None:
        if self._is_stopping:
            return
        self._is_replacing = True
        notify_reloading()
        logger.info("replacing the workers, one by one; workers: %d", len(self._seats))
        for seat in self._seats:
            if seat.starting is not None:
                # It may have imported what is outdated now, or hang.
                self._retire(seat.starting)
            seat.failures = 0
            seat.start_at = inf
        # Those that have none begin.
        self._outdated = sorted(self._seats, key=lambda seat: seat.serving is not None)

    def _handle_more(self, number: int) -> None:
        """Add a worker, as gunicorn and uvicorn do on SIGTTIN."""
        if self._is_stopping or len(self._seats) == MAX_WORKERS:
            return
        try:
            seat = Seat(len(self._seats) + 1, self._sockets.open_for_worker())
        except OSError as error:
            logger.error("no worker can be added: %s", error)
            return
        self._seats.append(seat)
        logger.info("workers from now on: %d", len(self._seats))
        self._start(seat)

    def _handle_fewer(self, number: int) -> None:
        """Stop the worker that was added last, but not the only one."""
        if self._is_stopping or len(self._seats) == 1:
            return
        seat = self._seats.pop()
        self._outdated = [other for other in self._outdated if other is not seat]
        logger.info("workers from now on: %d", len(self._seats))
        for worker in (seat.serving, seat.starting):
            if worker is not None:
                self._retire(worker)
        self._sockets.close_those_of_worker(seat.sockets)
