"""`World`: processes that exist only in a script, for a supervisor that takes them for real."""

from __future__ import annotations

import signal
import unittest
from math import inf
from socket import socket
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from wsbridge.config import ServerConfig
from wsbridge.server.workers.processes import Child, Ends, Processes
from wsbridge.server.workers.sockets import WorkerSockets
from wsbridge.server.workers.supervisor import Seat, Supervisor

from .doubles import Clock

__all__ = ["SupervisorCase", "World"]

Script = Iterator[Optional[int]]


class World(Processes):
    """Each step of ``script`` is what happens while the supervisor waits; it may yield a signal.

    Processes are numbered from 1 in the order in which they are forked.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.script: Script = iter(())
        self.running: Dict[int, bytes] = {}
        self.codes: Dict[int, int] = {}
        self.deaf: List[int] = []
        self.works: List[Callable[[Ends], int]] = []
        self.sent: List[Tuple[int, int]] = []
        self.timeout = inf
        self.fork_error: Optional[OSError] = None

    def __enter__(self) -> World:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """No signal is handled, and no pipe open."""

    def fork(self, work: Callable[[Ends], int]) -> Child:
        if self.fork_error is not None:
            raise self.fork_error
        self.works.append(work)
        pid = len(self.works)
        self.running[pid] = b""
        return Child(pid, pid)

    def send(self, child: Child, number: int) -> None:
        self.sent.append((child.pid, number))

    def read(self, child: Child) -> bytes:
        data, self.running[child.pid] = self.running[child.pid], b""
        return data

    def reap(self, child: Child) -> Optional[int]:
        return self.codes.pop(child.pid, None)

    def close(self, child: Child) -> None:
        del self.running[child.pid]

    def wait(self, readable: Iterable[int], timeout: float) -> Tuple[List[int], List[int]]:
        self.timeout = timeout
        number = next(self.script)
        found = [pid for pid in readable if self.running[pid] or pid in self.deaf or pid in self.codes]
        return ([] if number is None else [number]), found

    # ------------------------------------------------------------- what a script does

    def report(self, pid: int, line: bytes) -> None:
        self.running[pid] += line + b"\n"

    def end(self, pid: int, code: int = 0) -> None:
        self.codes[pid] = code

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)  # type: ignore[attr-defined]


class Sockets(WorkerSockets):
    """No sockets; ``opened`` and ``closed`` count."""

    opened = closed = 0
    are_closed = False
    error: Optional[OSError] = None

    def build_urls(self, scheme: str) -> List[str]:
        return [f"{scheme}://a", f"{scheme}://b"]

    def open_for_worker(self) -> Sequence[socket]:
        if self.error is not None:
            raise self.error
        self.opened += 1
        return []

    def close(self) -> None:
        self.are_closed = True

    def close_those_of_worker(self, sockets: Sequence[socket]) -> None:
        self.closed += 1


class SupervisorCase(unittest.TestCase):
    """A supervisor in a `World`."""

    def setUp(self) -> None:
        self.world = World()

    def build(self, work: Callable[[Seat, Ends], int], workers: int = 2, **options: Any) -> Supervisor:
        self.sockets = Sockets(ServerConfig())
        config = ServerConfig(workers=workers, **options)
        return Supervisor(config, self.sockets, work, self.world, "http")

    def supervise(self, script: Callable[[], Script], workers: int = 2, **options: Any) -> List[str]:
        """Run ``script`` to its end, at which all must have ended; returns the log lines."""
        self.world.script = script()
        self.worked: List[int] = []
        self.starts: List[int] = []

        def work(seat: Seat, ends: Ends) -> int:
            self.worked.append(seat.number)
            self.starts.append(seat.starts)
            return 0

        supervisor = self.build(work, workers, **options)
        with self.assertLogs("wsbridge", "DEBUG") as logs:
            try:
                supervisor.run()
            finally:
                self.logged = [record.getMessage() for record in logs.records]
        self.assertEqual(list(self.world.script), [])
        self.assertEqual(self.world.running, {})
        return self.logged

    def assert_sent(self, *expected: Tuple[int, int]) -> None:
        self.assertEqual(self.world.sent, list(expected))
        self.world.sent.clear()

    def report(self, pid: int, line: bytes) -> Script:
        """The worker tells this."""
        self.world.report(pid, line)
        yield None

    def serve(self, *pids: int) -> Script:
        """These workers listen."""
        for pid in pids:
            self.world.report(pid, b"ready")
        yield None

    def end(self, *pids: int, code: int = 0) -> Script:
        """These workers end."""
        for pid in pids:
            self.world.end(pid, code)
        yield None

    def stop(self, *pids: int, number: int = signal.SIGTERM) -> Script:
        """The supervisor is told to stop, tells these, and they do."""
        self.world.sent.clear()
        yield number
        self.assert_sent(*((pid, signal.SIGTERM) for pid in pids))
        yield from self.end(*pids)
