"""Reloading: the worker ends when a file has changed, and another starts."""

from __future__ import annotations

import contextlib
import io
import signal
import unittest
from math import inf
from typing import Any, Callable, List
from unittest import mock

from wsbridge.config import ServerConfig
from wsbridge.server.workers import reloading
from wsbridge.server.workers.processes import Ends
from wsbridge.server.workers.reloading import ReloadingSupervisor, build_hasty_config
from wsbridge.server.workers.supervisor import Seat, Supervisor
from wsbridge.server.workers.watching import WatchedFiles

from .world import Script, Sockets, SupervisorCase

TERM, KILL = signal.SIGTERM, signal.SIGKILL


class Watcher:
    """Tells what the test says."""

    name = "the test"
    descriptors = ()
    next_look = inf
    is_closed = False

    def __init__(self) -> None:
        self.changes: List[str] = []

    def look(self) -> List[str]:
        if self.changes == ["end"]:
            raise ChildProcessError("the watcher has ended")
        changes, self.changes = self.changes, []
        return changes

    def close(self) -> None:
        self.is_closed = True


class ReloadTests(SupervisorCase):
    def setUp(self) -> None:
        super().setUp()
        self.watcher = Watcher()

    def build(self, work: Callable[[Seat, Ends], int], workers: int = 1, **options: Any) -> Supervisor:
        config = ServerConfig(reload=True, reload_dirs=("tests",), reload_includes=("nothing",))
        self.sockets = Sockets(config)
        files = WatchedFiles(config)
        with mock.patch.object(reloading, "build_watcher", return_value=self.watcher):
            return ReloadingSupervisor(
                build_hasty_config(config), self.sockets, work, self.world, "http", files=files
            )

    def change(self, *names: str) -> Script:
        self.watcher.changes = list(names)
        yield None

    def reload(self, script: Callable[[], Script]) -> List[str]:
        with contextlib.redirect_stderr(io.StringIO()) as printed:
            logs = self.supervise(script, workers=1)
        self.printed = printed.getvalue()
        self.assertTrue(self.watcher.is_closed)
        return logs

    def test_worker_ends_before_the_next_starts(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield from self.change("app.py")
            self.assert_sent((1, TERM))
            self.assertEqual(len(self.world.works), 1)
            yield from self.end(1)
            self.assertEqual(len(self.world.works), 2)
            yield from self.serve(2)
            yield from self.stop(2)

        logs = self.reload(script)
        self.assertIn("app.py changed: reloading", logs)
        self.assertIn("worker 1 (pid 2) listens", logs)

    def test_there_is_one_worker_only(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield signal.SIGTTIN
            yield from self.stop(1)

        self.reload(script)
        self.assertEqual(len(self.world.works), 1)

    def test_names_are_few(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield from self.change("a.py", "b.py", "c.py", "d.py", "e.py", "f.py", "g.py", "h.py")
            yield from self.end(1)
            yield from self.stop(2)

        self.assertIn("a.py, b.py, c.py and 5 more changed: reloading", self.reload(script))

    def test_worker_that_does_not_end_is_killed_soon(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield from self.change("app.py")
            self.world.pass_time(6)
            yield None
            self.assertIn((1, KILL), self.world.sent)
            yield from self.end(1, code=-KILL)
            yield from self.stop(2)

        self.reload(script)

    def test_application_that_cannot_start_waits_for_the_next_change(self) -> None:
        def script() -> Script:
            self.world.report(1, b'["ConfigError", "bad syntax", "Traceback\\n"]')
            yield from self.end(1, code=2)
            self.assertEqual(self.world.timeout, inf)
            yield from self.change("app.py")
            yield from self.serve(2)
            yield from self.end(2, code=-KILL)
            yield signal.SIGHUP
            yield from self.serve(3)
            yield from self.stop(3)

        logs = self.reload(script)
        self.assertEqual(self.printed, "Traceback\n")
        self.assertIn("worker 1 (pid 1) could not start: bad syntax; waiting for a change", logs)
        self.assertIn("worker 1 (pid 2) has ended: killed by SIGKILL; waiting for a change", logs)

    def test_change_while_the_application_starts_starts_it_again(self) -> None:
        def script() -> Script:
            yield from self.change("app.py")
            yield from self.change("app.py")
            self.assert_sent((1, TERM))
            yield from self.end(1, code=-TERM)
            yield from self.serve(2)
            yield from self.stop(2)

        self.reload(script)

    def test_change_while_stopping_starts_nothing(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield TERM
            yield from self.change("app.py")
            yield signal.SIGHUP
            yield from self.end(1)

        self.reload(script)
        self.assertEqual(len(self.world.works), 1)

    def test_watcher_that_ends_is_replaced_by_looking(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            watcher = self.watcher
            yield from self.change("end")
            watcher.close()
            yield from self.stop(1)
            self.assertEqual(self.world.timeout, 0.25)

        self.assertIn("the watcher has ended: watching goes on by polling", self.reload(script))


class ConfigTests(unittest.TestCase):
    def test_nobody_waits_for_a_stop(self) -> None:
        config = build_hasty_config(
            ServerConfig(reload=True, timeout_graceful_shutdown=None, timeout_lifespan_shutdown=0.5)
        )
        self.assertEqual((config.timeout_graceful_shutdown, config.timeout_lifespan_shutdown), (1.0, 0.5))


if __name__ == "__main__":
    unittest.main()
