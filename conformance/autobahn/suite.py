"""Running cases: batches of them, one after the other or two at a time, each result exactly once."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Protocol, Sequence, Tuple

from ..lib.environment import ROOT
from .cases import get_section, split_batches
from .progress import Progress
from .results import Result
from .servers import START_SECONDS, ServerProcess, Target, clean_environment, find_free_port, wait_for_port
from .wstest import Batch, WSTest, stop_process

BATCH = 24

Records = Dict[str, Dict[str, Any]]


class Seat(Protocol):
    """The implementation under test, ready to be put before batches of cases."""

    def run_batch(
        self, cases: Sequence[str], folder: Path, on_case: Callable[[str], None], until: Until
    ) -> Tuple[Records, str]:
        """Return wstest's records of the cases, and what went wrong besides, or ""."""

    def close(self) -> None: ...


class Until(NamedTuple):
    """When to give up: a time on the monotonic clock, or a word from outside."""

    deadline: float
    is_cancelled: Callable[[], bool]

    @property
    def is_over(self) -> bool:
        return self.is_cancelled() or time.monotonic() > self.deadline


class Run(NamedTuple):
    """results: in the order of the cases that were picked. troubles: what went wrong besides cases."""

    results: Mapping[str, Result]
    troubles: Sequence[str]
    seconds: float


class ServerSeat:
    """A server process before the fuzzing client; started again when it has died."""

    def __init__(self, wstest: WSTest, target: Target, log: Path) -> None:
        self._wstest = wstest
        self._target = target
        self._log = log
        self._server: Optional[ServerProcess] = None
        self.peak_memory = 0
        self.exit_codes: List[Optional[int]] = []

    def run_batch(
        self, cases: Sequence[str], folder: Path, on_case: Callable[[str], None], until: Until
    ) -> Tuple[Records, str]:
        if self._server is None:
            self._server = ServerProcess(self._target.command, self._log).__enter__()
        url = f"ws://127.0.0.1:{self._server.port}"
        specification = {"servers": [{"agent": self._target.label, "url": url}]}
        with Batch(self._wstest, "fuzzingclient", specification, cases, folder, on_case) as batch:
            trouble = batch.wait(until.deadline, until.is_cancelled)
            records = batch.read_cases()
        if not self._server.is_running:
            trouble = f"the server ended by itself: {self._server.read_last_line()}"
            self.close()
        return records, trouble

    def close(self) -> None:
        if self._server is not None:
            self._server.stop()
            self.peak_memory = max(self.peak_memory, self._server.peak_memory)
            self.exit_codes.append(self._server.exit_code)
            self._server = None


class ClientSeat:
    """A fuzzing server for each batch, and a client process that goes through its cases."""

    def __init__(self, wstest: WSTest, target: Target, log: Path) -> None:
        self._wstest = wstest
        self._target = target
        self._log = log

    def run_batch(
        self, cases: Sequence[str], folder: Path, on_case: Callable[[str], None], until: Until
    ) -> Tuple[Records, str]:
        url = f"ws://127.0.0.1:{find_free_port()}"
        with Batch(self._wstest, "fuzzingserver", {"url": url}, cases, folder, on_case) as batch:
            wait_for_port(int(url.rpartition(":")[2]), lambda: batch.is_running, START_SECONDS)
            values = {"{url}": url, "{agent}": self._target.label}
            command = [values.get(argument, argument) for argument in self._target.command]
            with open(self._log, "ab") as output:
                client = subprocess.Popen(
                    command,
                    cwd=str(ROOT),
                    env=clean_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            try:
                # The client's last request makes the suite write its report and end.
                trouble = batch.wait(until.deadline, lambda: until.is_cancelled() or bool(client.poll()))
                if client.poll():
                    trouble = f"the client ended with {client.returncode}"
            finally:
                stop_process(client)
            return batch.read_cases(), trouble

    def close(self) -> None:
        """Nothing is left running between batches."""


class _Queue:
    """Batches still to run; what a broken batch did not answer comes back case by case."""

    def __init__(self, batches: Sequence[List[str]]) -> None:
        self._batches = list(batches)
        self._lock = threading.Lock()
        self._number = 0

    def take(self) -> Optional[Tuple[int, List[str]]]:
        with self._lock:
            if not self._batches:
                return None
            self._number += 1
            return self._number, self._batches.pop(0)

    def give_back(self, cases: Sequence[str]) -> None:
        with self._lock:
            self._batches[:0] = [[case] for case in cases]


def run_cases(
    name: str,
    role: str,
    cases: Sequence[str],
    folder: Path,
    build_seat: Callable[[int], Seat],
    *,
    jobs: int,
    seconds: float,
) -> Run:
    """Run the cases and return what became of every one of them.

    role: ours, "server" or "client". build_seat: makes the implementation under test for a worker.
    jobs: how many workers; section 9 measures time and always has the machine to itself.
    seconds: after so many everything that is not done counts as missing.
    """
    started = time.monotonic()
    cancelled = threading.Event()
    until = Until(started + seconds, cancelled.is_set)
    progress = Progress(name, cases)
    results: Dict[str, Result] = {}
    troubles: List[str] = []
    alone = [case for case in cases if get_section(case) == "9"]
    others = [case for case in cases if get_section(case) != "9"]
    try:
        for phase, (picked, workers) in enumerate(((others, jobs), (alone, 1))):
            if picked:
                work = _Work(role, folder / f"{phase}", progress, until, results, troubles)
                work.run(_Queue(split_batches(picked, BATCH)), build_seat, workers, cancelled)
    finally:
        progress.finish()
    if until.is_over:
        troubles.append(f"out of time after {seconds:.0f} s")
    whole = {case: results.get(case) or Result(case, None, role) for case in cases}
    return Run(whole, troubles, time.monotonic() - started)


class _Work:
    """Workers that empty a queue, and what they share."""

    def __init__(
        self,
        role: str,
        folder: Path,
        progress: Progress,
        until: Until,
        results: Dict[str, Result],
        troubles: List[str],
    ) -> None:
        self._role = role
        self._folder = folder
        self._progress = progress
        self._until = until
        self._results = results
        self._troubles = troubles
        self._error: Optional[BaseException] = None

    def run(
        self, queue: _Queue, build_seat: Callable[[int], Seat], workers: int, cancelled: threading.Event
    ) -> None:
        # Events and not Thread.join: CPython up to 3.12 takes a thread whose join is interrupted for ended.
        ends = [threading.Event() for _ in range(workers)]
        for number, end in enumerate(ends):
            threading.Thread(target=self._work, args=(queue, build_seat(number), end), daemon=True).start()
        try:
            for end in ends:
                while not end.wait(0.2):
                    self._progress.tick()
        except BaseException:
            # Interrupted: what the workers have started is stopped by them.
            cancelled.set()
            for end in ends:
                end.wait(30.0)
            raise
        if self._error is not None:
            raise self._error

    def _work(self, queue: _Queue, seat: Seat, end: threading.Event) -> None:
        try:
            while not self._until.is_over and self._error is None:
                taken = queue.take()
                if taken is None:
                    return
                self._run_batch(queue, seat, *taken)
        except BaseException as error:
            self._error = error
        finally:
            seat.close()
            end.set()

    def _run_batch(self, queue: _Queue, seat: Seat, number: int, cases: List[str]) -> None:
        folder = self._folder / f"{number:03d}"
        records, trouble = seat.run_batch(cases, folder, self._progress.begin, self._until)
        found = {case: Result(case, records[case], self._role) for case in cases if case in records}
        self._results.update(found)
        self._progress.add_results(result.is_good for result in found.values())
        missing = [case for case in cases if case not in found]
        if trouble or missing:
            told = f"{cases[0]} to {cases[-1]}" if len(cases) > 1 else cases[0]
            log = f"{folder.parent.name}/{folder.name}/wstest.log"
            self._troubles.append(f"{told}: {trouble or 'no result'}, see {log}")
        if missing and len(cases) > 1 and not self._until.is_over:
            # One case that breaks the suite or the server takes the rest of its batch along.
            queue.give_back(missing)
