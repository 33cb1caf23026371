"""The supervisor: what it does when workers listen, fail, die, and when signals come."""

from __future__ import annotations

import contextlib
import io
import signal
import unittest
from math import inf
from typing import List, Optional
from unittest import mock

from wsbridge.protocols.errors import ConfigError, LifespanFailed
from wsbridge.server.workers import supervisor
from wsbridge.server.workers.processes import Ends

from .doubles import Clock
from .world import Script, SupervisorCase

TERM, KILL, HUP, ABRT = signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGABRT


class SlowClock(Clock):
    """A second passes with each look."""

    def __call__(self) -> float:
        self.advance(1)
        return super().__call__()


class LifeTests(SupervisorCase):
    def test_workers_start_listen_and_stop(self) -> None:
        def script() -> Script:
            yield from self.serve(1, 2)
            yield from self.stop(1, 2)

        self.assertEqual(
            self.supervise(script),
            [
                "listening on http://a, http://b, workers: 2",
                "worker 1 (pid 1) listens",
                "worker 2 (pid 2) listens",
                "stopping; a second signal stops at once; workers: 2",
                "worker 1 (pid 1) has stopped",
                "worker 2 (pid 2) has stopped",
            ],
        )

    def test_each_worker_works_in_its_seat(self) -> None:
        def script() -> Script:
            yield from self.serve(1, 2)
            yield from self.stop(1, 2)

        self.supervise(script)
        for work in self.world.works:
            self.assertEqual(work(Ends(0, 0)), 0)
        self.assertEqual((self.worked, self.starts), ([1, 2], [1, 1]))

    def test_report_may_come_in_pieces(self) -> None:
        def script() -> Script:
            self.world.running[1] = b"rea"
            yield None
            yield from self.serve(2)
            self.world.running[1] = b"dy\n"
            yield None
            yield from self.stop(1, 2)

        self.assertIn("worker 1 (pid 1) listens", self.supervise(script))

    def test_pipe_that_has_ended_is_read_no_more(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            self.world.deaf.append(1)
            yield None
            self.world.deaf.clear()
            yield from self.report(1, b"replace")
            self.assertEqual(len(self.world.works), 1)
            yield from self.stop(1)

        self.supervise(script, workers=1)

    def test_signal_that_means_nothing_is_ignored(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield signal.SIGCHLD
            yield 64
            yield from self.stop(1)

        self.supervise(script, workers=1)


class DeathTests(SupervisorCase):
    def test_worker_that_dies_is_replaced_at_once_and_no_other(self) -> None:
        def script() -> Script:
            yield from self.serve(1, 2)
            # For longer than the clock had gone before.
            self.world.pass_time(1500)
            yield from self.end(1, code=-KILL)
            self.assertEqual(len(self.world.works), 3)
            yield from self.serve(3)
            yield from self.stop(2, 3)

        logs = self.supervise(script)
        text = "worker 1 (pid 1) has ended after 1500.0 s: killed by SIGKILL; another takes its place"
        self.assertIn(text, logs)
        self.assertIn("worker 1 (pid 3) listens", logs)

    def test_worker_that_dies_at_once_is_replaced_later_and_later(self) -> None:
        delays = (0.5, 1, 2, 4, 8, 10, 10)

        def script() -> Script:
            yield from self.serve(1)
            for pid, delay in enumerate(delays, 1):
                yield from self.end(pid, code=3)
                self.assertEqual((len(self.world.works), self.world.timeout), (pid, delay))
                self.world.pass_time(delay)
                yield None
                self.assertEqual(len(self.world.works), pid + 1)
                yield from self.serve(pid + 1)
            self.world.pass_time(1)
            yield from self.end(8, code=64)
            yield from self.end(9, code=-signal.SIGUSR1)
            self.assertEqual((len(self.world.works), self.world.timeout), (9, 0.5))
            self.world.pass_time(0.5)
            yield None
            yield from self.end(10, code=3)
            self.assertEqual((len(self.world.works), self.world.timeout), (10, 1))
            yield TERM

        logs = self.supervise(script, workers=1)
        self.assertIn("worker 1 (pid 1) has ended after 0.0 s: exit code 3; the next starts in 0.5 s", logs)
        self.assertIn("worker 1 (pid 8) has ended after 1.0 s: exit code 64; another takes its place", logs)
        self.assertIn("worker 1 (pid 9) could not start: killed by SIGUSR1; the next starts in 0.5 s", logs)

    def test_worker_that_cannot_start_later_is_tried_again(self) -> None:
        def script() -> Script:
            yield from self.serve(1, 2)
            self.world.pass_time(1)
            yield from self.end(1)
            self.world.report(3, b'["ConfigError", "no such module", "Traceback\\n"]')
            yield from self.end(3, code=2)
            self.world.pass_time(0.6)
            yield None
            yield from self.serve(4)
            yield from self.stop(2, 4)

        with contextlib.redirect_stderr(io.StringIO()) as printed:
            logs = self.supervise(script)
        text = "worker 1 (pid 1) has ended after 1.0 s: exit code 0; another takes its place"
        self.assertIn(text, logs)
        self.assertIn("worker 1 (pid 3) could not start: no such module; the next starts in 0.5 s", logs)
        self.assertEqual(printed.getvalue(), "Traceback\n")

    def test_system_that_has_no_process_left_is_asked_again(self) -> None:
        def script() -> Script:
            yield from self.serve(1, 2)
            self.world.pass_time(1)
            self.world.fork_error = OSError(11, "try again")
            yield from self.end(1)
            self.world.fork_error = None
            self.world.pass_time(0.5)
            yield None
            yield from self.serve(3)
            yield from self.stop(2, 3)

        text = "worker 1 cannot be started: [Errno 11] try again; the next starts in 0.5 s"
        self.assertIn(text, self.supervise(script))

    def test_what_is_due_already_is_not_waited_for(self) -> None:
        def script() -> Script:
            yield from self.serve(1, 2)
            self.world.fork_error = OSError(11, "try again")
            self.world.clock = SlowClock()
            yield from self.end(1)
            self.assertEqual(self.world.timeout, 0)
            self.world.fork_error = None
            yield None
            yield from self.stop(2, 3)

        self.supervise(script)

    def test_first_worker_that_the_system_does_not_start_is_an_error(self) -> None:
        self.world.fork_error = OSError(11, "try again")
        with self.assertRaises(BlockingIOError):
            self.build(lambda *_: 0).run()


class SilenceTests(SupervisorCase):
    """A worker that reports no more, because its application blocks the event loop."""

    def test_worker_that_is_silent_is_killed_and_replaced_and_no_other(self) -> None:
        def script() -> Script:
            yield from self.serve(1, 2)
            self.assertEqual(self.world.timeout, 60)
            self.world.pass_time(40)
            yield from self.report(2, b"alive")
            self.assertEqual(self.world.timeout, 20)
            self.world.pass_time(20)
            yield None
            self.assert_sent((1, ABRT))
            yield from self.end(1, code=-ABRT)
            yield from self.serve(3)
            yield from self.stop(2, 3)

        logs = self.supervise(script)
        self.assertIn("worker 1 (pid 1) is killed: the application has blocked its event loop for 60 s", logs)
        text = "worker 1 (pid 1) has ended after 60.0 s: killed by SIGABRT; another takes its place"
        self.assertIn(text, logs)

    def test_one_that_does_not_end_is_killed_once_more(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            self.world.pass_time(5)
            yield None
            self.world.pass_time(4)
            yield None
            self.assert_sent((1, ABRT), (1, KILL))
            yield from self.end(1, code=-KILL)
            yield from self.serve(2)
            yield from self.stop(2)

        self.supervise(script, workers=1, timeout_worker_healthcheck=5)

    def test_supervisor_that_has_not_run_itself_waits_once_more(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            self.world.pass_time(61)
            yield None
            self.assert_sent()
            self.world.pass_time(60)
            yield None
            self.assert_sent((1, ABRT))
            yield from self.end(1, code=-ABRT)
            yield from self.serve(2)
            yield from self.stop(2)

        self.supervise(script, workers=1)

    def test_worker_that_starts_or_stops_may_take_its_time(self) -> None:
        def script() -> Script:
            self.world.pass_time(100)
            yield None
            yield from self.serve(1)
            yield HUP
            yield from self.report(1, b"leaving")
            self.world.pass_time(60)
            yield from self.report(1, b"alive")
            self.assert_sent()
            yield from self.end(1)
            yield from self.serve(2)
            yield from self.stop(2)

        times = {"timeout_graceful_shutdown": None, "timeout_worker_healthcheck": 60}
        self.supervise(script, workers=1, **times)

    def test_without_a_limit_it_may_be_silent_for_ever(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield from self.report(1, b"alive")
            self.assertEqual(self.world.timeout, inf)
            yield from self.stop(1)

        self.supervise(script, workers=1, timeout_worker_healthcheck=None)


class LeavingTests(SupervisorCase):
    """A worker that somebody else has sent SIGTERM."""

    def test_another_starts_before_it_has_ended_and_it_is_not_told_twice(self) -> None:
        def script() -> Script:
            yield from self.serve(1, 2)
            yield from self.report(1, b"leaving")
            self.assertEqual(len(self.world.works), 3)
            yield from self.serve(3)
            self.assert_sent()
            yield from self.end(1)
            yield from self.stop(2, 3)

        logs = self.supervise(script)
        self.assertIn("worker 1 (pid 1) was told to stop; another takes its place", logs)
        self.assertIn("worker 1 (pid 1) has stopped", logs)

    def test_it_has_the_time_of_a_stop_and_a_stop_does_not_tell_it_again(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield from self.report(1, b"leaving")
            yield None
            self.assertEqual(self.world.timeout, 29)
            yield from self.serve(2)
            self.world.sent.clear()
            yield TERM
            self.assert_sent((2, TERM))
            yield from self.end(1, 2)

        self.supervise(script, workers=1)

    def test_one_whose_replacement_starts_already_gets_no_other(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield HUP
            yield from self.report(1, b"leaving")
            yield from self.serve(2)
            yield from self.end(1)
            yield from self.stop(2)

        self.supervise(script, workers=1)
        self.assertEqual(len(self.world.works), 2)

    def test_one_that_the_supervisor_has_told_is_not_replaced(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield TERM
            yield from self.report(1, b"leaving")
            yield from self.end(1)

        self.supervise(script, workers=1)
        self.assertEqual(len(self.world.works), 1)


class FirstStartTests(SupervisorCase):
    def fail(self, line: Optional[bytes], code: int) -> None:  # type: ignore[override]
        def script() -> Script:
            if line is not None:
                self.world.report(1, line)
                self.world.report(2, line)
            yield from self.end(1, code=code)
            self.assert_sent((2, TERM))
            yield from self.end(2, code=code)

        self.printed = io.StringIO()
        with contextlib.redirect_stderr(self.printed):
            self.supervise(script)

    def test_error_is_raised_as_in_one_process_and_its_traceback_printed_once(self) -> None:
        for name, error in (("ConfigError", ConfigError), ("LifespanFailed", LifespanFailed)):
            with self.assertRaisesRegex(error, "^no database$"):
                self.fail(f'["{name}", "no database", "Traceback\\n"]'.encode(), 1)
            self.assertEqual(self.printed.getvalue(), "Traceback\n")
            self.setUp()

    def test_exit_code_is_kept(self) -> None:
        for code in (5, 0):
            with self.assertRaisesRegex(SystemExit, f"^{code}$"):
                self.fail(None, code)
            self.setUp()

    def test_worker_that_is_killed_is_replaced(self) -> None:
        def script() -> Script:
            yield from self.end(1, code=-HUP)
            self.world.pass_time(0.5)
            yield from self.serve(2)
            yield from self.serve(3)
            yield from self.stop(2, 3)

        logs = self.supervise(script)
        self.assertIn("worker 1 (pid 1) could not start: killed by SIGHUP; the next starts in 0.5 s", logs)

    def test_signal_before_the_first_worker_listens_is_the_exit_code(self) -> None:
        for number in (signal.SIGINT, TERM, signal.SIGQUIT):
            with self.assertRaisesRegex(SystemExit, f"^{128 + number}$"):
                self.supervise(lambda number=number: self.stop(1, 2, number=number))  # type: ignore[misc]
            self.setUp()


class StopTests(SupervisorCase):
    def test_second_signal_is_passed_on_and_has_a_limit(self) -> None:
        def script() -> Script:
            yield from self.serve(1, 2)
            yield signal.SIGINT
            yield signal.SIGINT
            self.assert_sent(*[(1, TERM), (2, TERM)] * 2)
            self.world.end(2, -signal.SIGXCPU)
            self.world.pass_time(4.5)
            yield None
            self.assert_sent((1, KILL))
            yield from self.end(1, code=-KILL)

        with self.assertRaisesRegex(SystemExit, "^1$"):
            self.supervise(script)
        self.assertIn("worker 1 (pid 1) does not stop and is killed", self.logged)
        self.assertIn("worker 1 (pid 1) has stopped: killed by SIGKILL", self.logged)
        self.assertIn("worker 2 (pid 2) has stopped: killed by SIGXCPU", self.logged)

    def test_second_signal_that_meets_the_end_of_a_worker_is_no_failure(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield TERM
            yield TERM
            yield from self.end(1, code=-TERM)

        self.assertIn("worker 1 (pid 1) has stopped", self.supervise(script, workers=1))

    def test_stop_has_the_limit_of_a_worker_and_the_ends_of_its_tasks(self) -> None:
        for options, limit in (
            ({}, 29),
            ({"timeout_graceful_shutdown": 2, "timeout_lifespan_shutdown": 3}, 9),
            ({"timeout_graceful_shutdown": None}, inf),
            ({"timeout_lifespan_shutdown": None}, inf),
        ):

            def script(limit: float = limit) -> Script:
                yield from self.serve(1)
                yield TERM
                yield None
                self.assertEqual(self.world.timeout, limit)
                yield from self.end(1)

            self.supervise(script, workers=1, **options)
            self.setUp()

    def test_worker_that_did_not_end_as_it_should_is_exit_code_1(self) -> None:
        def script() -> Script:
            yield from self.serve(1, 2)
            yield TERM
            self.world.report(1, b'["LifespanFailed", "application shutdown failed", ""]')
            yield from self.end(1, 2, code=1)

        with self.assertRaisesRegex(SystemExit, "^1$"):
            self.supervise(script)
        self.assertIn("worker 1 (pid 1) has stopped: application shutdown failed", self.logged)
        self.assertIn("worker 2 (pid 2) has stopped: exit code 1", self.logged)

    def test_worker_that_was_still_starting_ends_with_the_signal(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield TERM
            yield from self.serve(2)
            self.world.end(1)
            self.world.end(2, -TERM)
            yield None

        with self.assertRaisesRegex(SystemExit, "^1$"):
            self.supervise(script)
        self.setUp()

        def quick_script() -> Script:
            yield from self.serve(1)
            yield TERM
            self.world.end(1)
            self.world.end(2, -TERM)
            yield None

        self.assertIn("worker 2 (pid 2) has stopped", self.supervise(quick_script))

    def test_worker_that_leaves_already_is_not_told_again(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield HUP
            yield from self.serve(2)
            self.assert_sent((1, TERM))
            yield TERM
            self.assert_sent((2, TERM))
            yield from self.end(1, 2)

        self.supervise(script, workers=1)

    def test_sockets_are_closed_when_the_stop_begins(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            self.assertFalse(self.sockets.are_closed)
            yield TERM
            self.assertTrue(self.sockets.are_closed)
            yield from self.end(1)

        self.supervise(script, workers=1)

    def test_worker_that_was_to_start_later_does_not(self) -> None:
        def script() -> Script:
            yield from self.serve(1, 2)
            yield from self.end(1, code=3)
            yield TERM
            self.world.pass_time(1)
            yield None
            yield from self.end(2)

        self.supervise(script)
        self.assertEqual(len(self.world.works), 2)

    def test_hangup_while_stopping_is_ignored(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield TERM
            yield HUP
            yield from self.end(1)

        self.supervise(script, workers=1)
        self.assertEqual(len(self.world.works), 1)


class HangupTests(SupervisorCase):
    def test_workers_are_replaced_one_by_one_each_when_the_next_listens(self) -> None:
        def script() -> Script:
            yield from self.serve(1, 2)
            yield HUP
            self.assertEqual(len(self.world.works), 3)
            self.assert_sent()
            yield from self.serve(3)
            self.assert_sent((1, TERM))
            self.assertEqual(len(self.world.works), 4)
            yield from self.serve(4)
            self.assert_sent((2, TERM))
            self.world.end(1)
            self.world.end(2, 1)
            yield None
            yield from self.stop(3, 4)

        logs = self.supervise(script)
        self.assertIn("replacing the workers, one by one; workers: 2", logs)
        self.assertIn("worker 2 (pid 2) has stopped: exit code 1", logs)

    def test_replacement_that_cannot_start_leaves_the_workers_of_before(self) -> None:
        def script() -> Script:
            yield from self.serve(1, 2)
            yield HUP
            self.world.report(3, b'["ConfigError", "syntax error", ""]')
            yield from self.end(3, code=2)
            self.assert_sent()
            self.assertEqual(self.world.timeout, inf)
            yield from self.stop(1, 2)

        text = "worker 1 (pid 3) could not start: syntax error; the workers of before go on"
        self.assertIn(text, self.supervise(script, timeout_worker_healthcheck=None))
        self.assertEqual(len(self.world.works), 3)

    def test_second_hangup_begins_again(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield HUP
            yield HUP
            self.assert_sent((2, TERM))
            yield from self.serve(2)
            yield from self.end(2)
            yield from self.serve(3)
            self.assert_sent((1, TERM))
            yield from self.end(1)
            yield from self.stop(3)

        self.supervise(script, workers=1)

    def test_seat_that_waits_for_its_next_worker_gets_it_first(self) -> None:
        def script() -> Script:
            yield from self.serve(1, 2)
            yield from self.end(2, code=1)
            yield HUP
            self.world.works[2](Ends(0, 0))
            yield from self.serve(3)
            yield from self.serve(4)
            yield from self.end(1)
            yield from self.stop(3, 4)

        self.supervise(script)
        self.assertEqual((self.worked, self.starts), ([2], [2]))

    def test_failures_before_it_do_not_count(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield from self.end(1, code=3)
            yield HUP
            for pid, delay in ((2, 0.5), (3, 1)):
                yield from self.end(pid, code=3)
                self.assertEqual(self.world.timeout, delay)
                self.world.pass_time(delay)
                yield None
            yield from self.stop(4)

        self.supervise(script, workers=1)

    def test_worker_that_dies_while_the_next_starts_is_not_replaced_twice(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield HUP
            yield from self.end(1, code=-KILL)
            yield from self.serve(2)
            yield from self.stop(2)

        logs = self.supervise(script, workers=1)
        self.assertIn("worker 1 (pid 1) has ended after 0.0 s: killed by SIGKILL", logs)
        self.assertEqual(len(self.world.works), 2)


class SystemdTests(SupervisorCase):
    """What systemd is told in a unit of ``Type=notify``."""

    def test_systemd_is_told_of_the_start_each_replacement_and_the_stop(self) -> None:
        told: List[str] = []

        def script() -> Script:
            self.assertEqual(told, [])
            yield from self.serve(1, 2)
            yield HUP
            self.assertEqual(told, ["READY=1", "reloading"])
            yield from self.serve(3)
            yield from self.serve(4)
            self.assertEqual(told, ["READY=1", "reloading", "READY=1"])
            yield from self.end(1, 2)
            yield from self.stop(3, 4)

        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.object(supervisor, "notify", told.append))
            stack.enter_context(
                mock.patch.object(supervisor, "notify_reloading", lambda: told.append("reloading"))
            )
            self.supervise(script)
        self.assertEqual(told, ["READY=1", "reloading", "READY=1", "STOPPING=1"])


class LimitTests(SupervisorCase):
    def test_worker_that_wants_to_be_replaced_goes_on_until_the_next_listens(self) -> None:
        def script() -> Script:
            yield from self.serve(1, 2)
            yield from self.report(2, b"replace")
            self.assert_sent()
            yield from self.serve(3)
            self.assert_sent((2, TERM))
            yield from self.end(2)
            yield from self.stop(1, 3)

        self.supervise(script)

    def test_replacement_that_cannot_start_is_tried_again(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield from self.report(1, b"replace")
            yield from self.end(2, code=1)
            self.world.pass_time(0.5)
            yield None
            yield from self.serve(3)
            self.assert_sent((1, TERM))
            yield from self.end(1)
            yield from self.stop(3)

        self.supervise(script, workers=1)

    def test_worker_whose_replacement_starts_already_gets_no_other(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield HUP
            yield from self.report(1, b"replace")
            yield from self.serve(2)
            yield from self.end(1)
            yield from self.stop(2)

        self.supervise(script, workers=1)
        self.assertEqual(len(self.world.works), 2)


class NumberTests(SupervisorCase):
    """SIGTTIN and SIGTTOU: one worker more, and one fewer."""

    def test_worker_more(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            for pid in (2, 3):
                yield signal.SIGTTIN
                yield from self.serve(pid)
            yield from self.stop(1, 2, 3)

        self.assertIn("worker 3 (pid 3) listens", self.supervise(script, workers=1))
        self.assertEqual((self.sockets.opened, self.sockets.closed), (3, 0))

    def test_most_workers(self) -> None:
        def script() -> Script:
            yield from self.serve(*range(1, 257))
            yield signal.SIGTTIN
            yield from self.stop(*range(1, 257))

        self.supervise(script, workers=256)

    def test_worker_without_a_socket_is_not_added(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            self.sockets.error = OSError(98, "in use")
            yield signal.SIGTTIN
            yield from self.stop(1)

        self.assertIn("no worker can be added: [Errno 98] in use", self.supervise(script, workers=1))

    def test_worker_fewer(self) -> None:
        def script() -> Script:
            yield from self.serve(1, 2)
            yield HUP
            yield signal.SIGTTOU
            self.assert_sent((2, TERM))
            self.world.end(2)
            yield from self.serve(3)
            yield from self.end(1)
            yield from self.stop(3)

        self.assertIn("workers from now on: 1", self.supervise(script))
        self.assertEqual((self.sockets.opened, self.sockets.closed), (2, 1))

    def test_worker_that_starts_is_told_too(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield signal.SIGTTOU
            self.assert_sent((2, TERM))
            yield from self.end(2)
            yield from self.stop(1)

        self.supervise(script)

    def test_last_worker_stays_and_a_supervisor_that_stops_changes_nothing(self) -> None:
        def script() -> Script:
            yield from self.serve(1)
            yield signal.SIGTTOU
            self.assert_sent()
            yield TERM
            yield signal.SIGTTIN
            yield signal.SIGTTOU
            yield from self.end(1)

        self.supervise(script, workers=1)
        self.assertEqual((self.sockets.opened, self.sockets.closed), (1, 0))


if __name__ == "__main__":
    unittest.main()
