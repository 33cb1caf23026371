"""A worker, in this process: what it tells its supervisor, and what it takes from whom."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import mmap
import os
import signal
import socket
import unittest
from typing import Any, Callable, List, Optional
from unittest import mock

from wsbridge.config import ServerConfig
from wsbridge.protocols.errors import ConfigError, LifespanFailed
from wsbridge.server.logs.log import logger
from wsbridge.server.metrics.slot import MetricsSlot, get_slots_size
from wsbridge.server.workers.processes import Ends
from wsbridge.server.workers.worker import Failure, read_failure, run_worker

PACKAGE = __name__.rpartition(".")[0]


class WorkerCase(unittest.TestCase):
    host = "127.0.0.1"
    warns = True

    def setUp(self) -> None:
        self.addCleanup(setattr, logger, "handlers", list(logger.handlers))
        reports, report = os.pipe()
        lifeline, self.supervisor = os.pipe()
        os.set_blocking(reports, False)
        self.reports = reports
        self.ends = Ends(report, lifeline)
        for end in (report, lifeline):
            self.addCleanup(os.close, end)
        self.told: List[str] = []
        memory = mmap.mmap(-1, get_slots_size(1))
        self.addCleanup(memory.close)
        self.slot = MetricsSlot(memory, 1)

    def read(self) -> bytes:
        """What the worker has reported."""
        try:
            return os.read(self.reports, 65536)
        except BlockingIOError:
            return b""

    def read_failure(self) -> Failure:
        failure = read_failure(self.read())
        assert failure is not None
        return failure

    def work(self, after_start: Callable[[], Any], app: Optional[Any] = None, **options: Any) -> int:
        """The exit code; ``after_start`` is called when the worker listens."""

        def note_ready() -> None:
            # What it has reported stays in the pipe, for the test.
            asyncio.get_running_loop().remove_reader(self.reports)
            after_start()

        async def call_after_start(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                self.told.append("request")
                # The supervisor has started another.
                os.kill(os.getpid(), signal.SIGTERM)
                return
            self.told.append((await receive())["type"])
            await send({"type": "lifespan.startup.complete"})
            asyncio.get_running_loop().add_reader(self.reports, note_ready)
            self.told.append((await receive())["type"])
            self.assertEqual(self.listening.fileno(), -1, "clients can still connect")
            await send({"type": "lifespan.shutdown.complete"})

        with mock.patch.object(importlib, "import_module") as load:
            load.return_value.app = app or call_after_start
            with socket.create_server((self.host, 0)) as self.listening:
                listening = self.listening
                self.address = listening.getsockname()
                config = ServerConfig(**options)
                return run_worker(
                    "served:app",
                    config,
                    self.ends,
                    [listening],
                    metrics_slot=self.slot,
                    warns=self.warns,
                )


@unittest.skipUnless(hasattr(os, "fork"), "this system cannot fork")
class RunTests(WorkerCase):
    def tearDown(self) -> None:
        os.close(self.reports)
        os.close(self.supervisor)

    def test_worker_says_when_it_listens_and_stops_with_a_signal(self) -> None:
        self.assertEqual(self.work(lambda: os.kill(os.getpid(), signal.SIGTERM)), 0)
        self.assertEqual(self.read(), b"ready\nleaving\n")
        self.assertEqual(self.told, ["lifespan.startup", "lifespan.shutdown"])

    def test_worker_reports_again_and_again_that_its_event_loop_runs(self) -> None:
        reported = b""

        def stop_after_two() -> None:
            nonlocal reported
            reported += self.read()
            if reported.count(b"alive\n") == 2:
                asyncio.get_running_loop().remove_reader(self.reports)
                os.kill(os.getpid(), signal.SIGTERM)

        def listen() -> None:
            asyncio.get_running_loop().add_reader(self.reports, stop_after_two)

        self.assertEqual(self.work(listen, timeout_worker_healthcheck=1e-6), 0)
        self.assertEqual(reported, b"ready\nalive\nalive\n")

    def test_supervisor_that_does_not_read_blocks_nothing(self) -> None:
        os.set_blocking(self.ends.report, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.ends.report, b"alive\n")
        os.set_blocking(self.ends.report, True)
        self.assertEqual(self.work(lambda: os.kill(os.getpid(), signal.SIGTERM)), 0)

    def test_without_a_limit_nobody_asks_whether_it_runs(self) -> None:
        stop = functools.partial(os.kill, os.getpid(), signal.SIGTERM)
        self.assertEqual(self.work(stop, timeout_worker_healthcheck=None), 0)
        self.assertEqual(self.read(), b"ready\nleaving\n")

    def test_path_and_descriptor_are_those_that_the_supervisor_has_opened(self) -> None:
        for option in ({"uds": "/nowhere/s"}, {"fd": 12345}):
            self.assertEqual(self.work(lambda: os.kill(os.getpid(), signal.SIGTERM), **option), 0)
            self.assertEqual(self.read(), b"ready\nleaving\n")

    def test_worker_shares_its_metrics_once_it_listens(self) -> None:
        for options in ({}, {"metrics_path": "/metrics"}):
            self.assertEqual(self.slot.read_all(), {})
            self.assertEqual(self.work(lambda: os.kill(os.getpid(), signal.SIGTERM), **options), 0)
        self.assertEqual(self.slot.read_all()[1]["wsbridge_connections_total"], 0)

    def test_one_of_several_workers_warns(self) -> None:
        self.host = ""
        for self.warns, count in ((True, 1), (False, 0)):
            with self.assertLogs(logger, "DEBUG") as logs:
                self.work(lambda: os.kill(os.getpid(), signal.SIGTERM))
                logger.info("the end")
            self.assertEqual(sum("other hosts reach" in line for line in logs.output), count)

    def test_signals_of_a_terminal_are_the_supervisors(self) -> None:
        def send_all() -> None:
            for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)

        self.assertEqual(self.work(send_all), 0)
        self.assertEqual(self.told, ["lifespan.startup", "lifespan.shutdown"])

    def test_worker_that_has_reached_its_limit_asks_for_another_and_goes_on(self) -> None:
        def request_page() -> None:
            client = socket.create_connection(self.address)
            self.addCleanup(client.close)
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            # So that nobody waits for the client to close.
            client.shutdown(socket.SHUT_WR)

        with self.assertLogs(logger):
            self.assertEqual(self.work(request_page, limit_max_requests=1), 0)
        self.assertEqual(self.read(), b"ready\nreplace\nleaving\n")
        self.assertEqual(self.told, ["lifespan.startup", "request", "lifespan.shutdown"])

    def test_failure_is_reported_and_not_printed(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})

        self.assertEqual(self.work(lambda: None, app), 1)
        failure = self.read_failure()
        error = failure.build_error()
        self.assertIs(type(error), LifespanFailed)
        self.assertIn("no database", str(error))

    def test_application_that_cannot_be_imported_is_reported_with_its_traceback(self) -> None:
        code = run_worker(f"{PACKAGE}.no_such_module:app", ServerConfig(), self.ends, [], warns=True)
        self.assertEqual(code, 2)
        failure = self.read_failure()
        self.assertIs(type(failure.build_error()), ConfigError)
        self.assertEqual(failure.traceback, "")
        with mock.patch.object(importlib, "import_module", side_effect=SyntaxError("bad")):
            run_worker("served:app", ServerConfig(), self.ends, [], warns=True)
        self.assertTrue(self.read_failure().traceback.endswith("\nSyntaxError: bad\n"))

    def test_report_of_an_application_that_writes_to_every_descriptor_is_none(self) -> None:
        for line in (b"hello", b"5", b"{}", b'["a"]', b'["SystemExit", "", ""]', b'[{}, "", ""]', b"\xff"):
            self.assertIsNone(read_failure(line), line)

    def test_error_of_the_system_is_reported_as_one(self) -> None:
        failure = Failure("OSError", "address in use", "")
        self.assertEqual(
            (type(failure.build_error()), str(failure.build_error())), (OSError, "address in use")
        )


@unittest.skipUnless(hasattr(os, "fork"), "this system cannot fork")
class LostSupervisorTests(WorkerCase):
    def test_worker_stops_when_its_supervisor_has_ended(self) -> None:
        def end_supervisor() -> None:
            os.close(self.supervisor)
            os.close(self.reports)

        with self.assertLogs(logger, "DEBUG") as logs:
            self.assertEqual(self.work(end_supervisor), 0)
        self.assertEqual(self.told, ["lifespan.startup", "lifespan.shutdown"])
        messages = [record.getMessage() for record in logs.records]
        self.assertIn(f"the supervisor has ended: worker {os.getpid()} stops", messages)
        self.assertIn("the supervisor does not read b'leaving'", messages)


if __name__ == "__main__":
    unittest.main()
