"""`run` with several workers: what is checked before, and what a worker is given."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import tempfile
import unittest
from typing import Any, List
from unittest import mock

from wsbridge.protocols.errors import ConfigError
from wsbridge.server.logs.log import logger
from wsbridge.server.running import run
from wsbridge.server.workers import run as workers
from wsbridge.server.workers import worker
from wsbridge.server.workers.processes import Ends

from .world import Script, World

TERM = signal.SIGTERM


class RunTests(unittest.TestCase):
    def test_application_must_be_text(self) -> None:
        async def app(*_: Any) -> None:
            """Never called."""

        with self.assertRaisesRegex(ConfigError, "workers=2: .* 'module:attribute', not <function"):
            run(app, workers=2)

    def test_system_must_be_able_to_fork(self) -> None:
        rules: Any = (
            ({"workers": 2}, "^workers=2: this system cannot fork; start one process for each"),
            ({"reload": True}, "^reload: this system cannot fork; the command of watchfiles"),
        )
        for options, rule in rules:
            with mock.patch.object(workers, "CAN_FORK", False), self.assertRaisesRegex(ConfigError, rule):
                run("module:app", **options)

    def test_workers_share_the_port_and_stop_with_the_supervisor(self) -> None:
        world = World()
        pipe = os.pipe()

        def script() -> Script:
            # What the first worker would do.
            codes.append(world.works[0](Ends(pipe[1], pipe[0])))
            self.assertEqual(run_worker.call_args.kwargs, {"warns": True})
            world.works[1](Ends(pipe[1], pipe[0]))
            self.assertEqual(run_worker.call_args.kwargs, {"warns": False})
            yield TERM
            world.end(1)
            world.end(2)
            yield None

        codes: List[int] = []
        world.script = script()
        self.addCleanup(setattr, logger, "handlers", list(logger.handlers))
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.object(workers, "Processes", return_value=world))
            run_worker = stack.enter_context(
                mock.patch.object(workers, "run_worker", wraps=worker.run_worker)
            )
            stack.enter_context(self.assertLogs("wsbridge"))
            stack.enter_context(self.assertRaisesRegex(SystemExit, "^143$"))
            run("no.such:app", workers=2, port=0)
        self.assertEqual(codes, [2])
        self.assertIn(b"no.such", os.read(pipe[0], 65536))
        for end in pipe:
            os.close(end)

    def test_worker_that_takes_anothers_place_does_not_warn_again(self) -> None:
        world = World()

        def script() -> Script:
            for pid in (1, 2):
                world.report(pid, b"ready")
            yield None
            world.pass_time(1)
            world.end(1)
            yield None
            world.works[2](Ends(0, 0))
            self.assertEqual(run_worker.call_args.kwargs, {"warns": False})
            yield TERM
            world.end(2)
            world.end(3)
            yield None

        world.script = script()
        with (
            mock.patch.object(workers, "Processes", return_value=world),
            mock.patch.object(workers, "run_worker", return_value=0) as run_worker,
            mock.patch.object(workers, "set_up_logging"),
            self.assertLogs("wsbridge"),
        ):
            run("no.such:app", workers=2, port=0)

    def test_reload_is_one_worker(self) -> None:
        world = World()

        def script() -> Script:
            world.works[0](Ends(0, 0))
            config = run_worker.call_args.args[1]
            self.assertEqual((config.reload, config.timeout_graceful_shutdown), (False, 1.0))
            yield TERM
            world.end(1)
            yield None

        world.script = script()
        self.addCleanup(setattr, logger, "handlers", list(logger.handlers))
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.object(workers, "Processes", return_value=world))
            run_worker = stack.enter_context(mock.patch.object(workers, "run_worker", return_value=0))
            logs = stack.enter_context(self.assertLogs("wsbridge"))
            stack.enter_context(self.assertRaisesRegex(SystemExit, "^143$"))
            stack.enter_context(mock.patch.object(importlib.util, "find_spec", return_value=None))
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            run("no.such:app", reload=True, port=0, reload_dirs=(folder,))
        self.assertEqual(logs.records[0].getMessage(), f"watching {folder} for changes by polling")

    def test_urls_have_the_scheme_of_the_sockets(self) -> None:
        context = mock.Mock(check_hostname=False)
        options: Any
        for options, scheme in (
            ({}, "http"),
            ({"ssl_certfile": "cert.pem"}, "https"),
            ({"ssl_context": context}, "https"),
        ):
            with (
                mock.patch.object(workers, "Supervisor") as supervisor,
                mock.patch.object(workers, "Processes"),
                mock.patch.object(workers, "set_up_logging"),
            ):
                run("module:app", workers=2, port=0, **options)
            self.assertEqual(supervisor.call_args.args[-1], scheme)

    def test_other_arguments_are_checked_before_anything_is_started(self) -> None:
        with self.assertRaisesRegex(ConfigError, "at least one is needed"):
            run("module:app", workers=2, sockets=[])
        with self.assertRaisesRegex(TypeError, "must be an ssl.SSLContext"):
            run("module:app", workers=2, ssl_context=object())  # type: ignore[arg-type]


if __name__ == "__main__":
    unittest.main()
