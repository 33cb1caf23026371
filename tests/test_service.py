"""`Service`: the members, their deadlines, the one timer, and how all of it comes to an end."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import unittest
import weakref
from typing import Any, Callable, Dict, List, Tuple
from unittest import mock

from wsbridge.config import ServerConfig
from wsbridge.protocols.errors import BadRequest
from wsbridge.protocols.ws import WSProtocol
from wsbridge.server.clocks import choose_clock
from wsbridge.server.connection.info import ConnectionInfo
from wsbridge.server.logs.log import logger
from wsbridge.server.service import Service
from wsbridge.server.signals import catch_signals

from .doubles import Clock, build_date, turn_loop
from .skipping import SkippingCase, pass_time, run_skipping


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Never called here."""


class Member:
    """Notes what it is told; ``then`` is what it does on it."""

    def __init__(self, service: Service, **then: Callable[[], None]) -> None:
        self.told: List[Any] = []
        self.then: Dict[str, Callable[[], None]] = then
        service.add(self)

    def note(self, what: str, value: Any) -> None:
        self.told.append(value)
        self.then.get(what, lambda: None)()

    def check_deadlines(self, now: float) -> None:
        self.note("check_deadlines", now)

    def shut_down(self) -> None:
        self.note("shut_down", "shut down")

    def abort(self) -> None:
        self.note("abort", "abort")


def fail() -> None:
    raise KeyError("trace")


class MaskingTests(unittest.IsolatedAsyncioTestCase):
    """Servers mask large payloads by libcrypto, unless the environment or `masking.use` says otherwise."""

    async def count_wishes(self, **environment: str) -> int:
        with (
            mock.patch.dict(os.environ, environment, clear=True),
            mock.patch("wsbridge.server.service.prefer_libcrypto") as prefer,
        ):
            Service(app, ServerConfig())
        return prefer.call_count

    async def test_libcrypto_is_wished_for(self) -> None:
        self.assertEqual(await self.count_wishes(), 1)
        self.assertEqual(await self.count_wishes(WSBRIDGE_MASKING="libcrypto"), 1)

    async def test_environment_can_forbid_it(self) -> None:
        self.assertEqual(await self.count_wishes(WSBRIDGE_MASKING="python"), 0)


class ArgumentTests(unittest.IsolatedAsyncioTestCase):
    async def test_another_type_is_an_error(self) -> None:
        wrong: Any = 5
        with self.assertRaisesRegex(TypeError, "^app must be an ASGI application, not 5$"):
            Service(wrong, ServerConfig())
        with self.assertRaisesRegex(TypeError, "^config must be a ServerConfig, not 5$"):
            Service(app, wrong)


class ServiceCase(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.clock = Clock(1000.0)
        self.service = Service(app, ServerConfig(), clock=self.clock)

    def add_leaver(self, *on: str) -> Member:
        """A member that is over when it is told one of ``on``."""
        member = Member(self.service)
        member.then = {what: lambda: self.service.discard(member) for what in on}
        return member


class CountTests(ServiceCase):
    """Who counts towards ``limit_concurrency``, who only waits for the peer, whose application goes on."""

    def limit(self, limit: Any) -> None:
        self.service = Service(app, ServerConfig(limit_concurrency=limit), clock=self.clock)

    def add_lingering(self) -> Member:
        member = self.add_leaver("abort")
        self.service.add_lingering(member)
        return member

    async def test_members_that_linger_do_not_count(self) -> None:
        members = [Member(self.service) for _ in range(4)]
        self.service.add_lingering(members[0])
        self.assertEqual(self.service.open_connections, 3)
        self.service.discard(members[0])
        self.assertEqual((self.service.open_connections, len(self.service.lingering)), (3, 0))

    async def test_applications_without_a_connection_do_not_count(self) -> None:
        members = [Member(self.service) for _ in range(4)]
        self.service.add_detached(members[0])
        self.assertEqual(self.service.open_connections, 3)

    async def test_as_many_linger_as_connections_are_allowed_and_the_oldest_is_aborted(self) -> None:
        self.limit(3)
        members = [self.add_lingering() for _ in range(5)]
        self.assertEqual([member.told for member in members], [["abort"], ["abort"], [], [], []])
        self.assertEqual(list(self.service.lingering), members[2:])

    async def test_without_a_limit_any_number_lingers(self) -> None:
        members = [self.add_lingering() for _ in range(100)]
        self.assertEqual([member.told for member in members], [[]] * 100)

    async def test_descriptors_that_run_out_are_warned_of_once_a_second(self) -> None:
        line = (
            "WARNING:wsbridge.error:cannot accept connections for now: "
            "the server is out of file descriptors; raise the limit of open files: ulimit -n, or "
            "LimitNOFILE= of systemd"
        )
        with self.assertLogs("wsbridge", "WARNING") as logs:
            for _ in range(3):
                self.service.free_descriptors()
        self.assertEqual(logs.output, [line])

    def count_warnings(self, count: int, seconds: float) -> List[object]:
        """What is warned of when so many applications have lost their connection, and this long after it."""
        for _ in range(count):
            self.service.add_detached(Member(self.service))
        self.clock.advance(seconds)
        with self.assertLogs(logger, "WARNING") as logs:
            logger.warning("the beginning")
            self.service.sweep()
        return [record.args for record in logs.records[1:]]

    async def test_applications_without_a_connection_are_a_warning_where_they_become_many(self) -> None:
        self.assertEqual(self.count_warnings(63, 1.0), [])
        self.assertEqual(self.count_warnings(1, 1.0), [(64,)])
        self.assertEqual(self.count_warnings(63, 1.0), [])
        self.assertEqual(self.count_warnings(1, 1.0), [(128,)])

    async def test_applications_that_may_still_end_at_once_are_no_warning(self) -> None:
        self.assertEqual(self.count_warnings(100, 0.9), [])
        self.assertEqual(self.count_warnings(0, 0.1), [(100,)])

    async def test_applications_without_a_connection_are_told_of_when_the_server_stops(self) -> None:
        self.service.add_detached(self.add_leaver("shut_down"))
        self.clock.advance(1.0)
        self.service.add_detached(self.add_leaver("shut_down"))
        with self.assertLogs(logger, "INFO") as logs:
            await self.service.shut_down(10)
        self.assertEqual(logs.output, ["INFO:wsbridge.error:1 applications go on after their disconnect"])
        self.assertEqual(len(self.service.detached), 0)

    async def test_service_around_another_counts_its_members_too(self) -> None:
        service = Service(app, ServerConfig(), parent=self.service)
        first, second = Member(service), Member(service)
        service.add_lingering(first)
        service.add_detached(second)
        self.assertEqual((list(self.service.lingering), list(self.service.detached)), ([first], [second]))
        service.discard(first)
        service.discard(second)
        self.assertEqual((list(self.service.lingering), list(self.service.detached)), ([], []))

    async def test_successor_takes_the_place_of_a_member_around_another_service_too(self) -> None:
        service = Service(app, ServerConfig(), parent=self.service)
        member, successor = Member(service), Member(service)
        service.discard(successor)
        service.replace(member, successor)
        self.assertEqual((list(service.members), list(self.service.members)), ([successor], [successor]))
        service.discard(successor)
        self.assertEqual((list(service.members), list(self.service.members)), ([], []))


class MemberTests(ServiceCase):
    async def test_defaults_are_the_loops_clock_and_no_state(self) -> None:
        service = Service(app, ServerConfig())
        self.assertEqual(service.clock, choose_clock(asyncio.get_running_loop()))
        self.assertIsNone(service.state)
        self.assertIs(service.app, app)

    async def test_listener_may_warn_at_once(self) -> None:
        self.assertLess(self.service.next_accept_warning, asyncio.get_running_loop().time())

    async def test_sweep_lets_every_member_look_at_the_clock(self) -> None:
        members = [Member(self.service) for _ in range(3)]
        self.clock.advance(5)
        self.service.sweep()
        self.assertEqual([member.told for member in members], [[1005.0]] * 3)

    async def test_sweep_without_a_budget(self) -> None:
        service = Service(app, ServerConfig(max_inbound_memory=None), clock=self.clock)
        member = Member(service)
        service.sweep()
        self.assertEqual(member.told, [1000.0])

    async def test_members_may_leave_and_come_during_a_sweep(self) -> None:
        leaving = self.add_leaver("check_deadlines")
        Member(self.service, check_deadlines=lambda: self.service.add(leaving))
        self.service.sweep()
        self.assertEqual(leaving.told, [1000.0])

    async def test_member_that_raises_is_aborted_and_the_others_keep_their_deadlines(self) -> None:
        members = [Member(self.service, check_deadlines=fail) for _ in range(5)]
        with self.assertLogs(logger, "ERROR") as logs:
            self.service.sweep()
        self.assertEqual([member.told for member in members], [[1000.0, "abort"]] * 5)
        self.assertIn("connection failed and is aborted", logs.output[0])

    async def test_discarding_twice_is_no_error(self) -> None:
        member = Member(self.service)
        for _ in range(2):
            self.service.discard(member)
        self.assertEqual(list(self.service.members), [])

    async def test_wait_until_empty_ends_with_the_last_member(self) -> None:
        await asyncio.wait_for(self.service.wait_until_empty(), 10)
        first, last = Member(self.service), Member(self.service)
        waiting = asyncio.ensure_future(self.service.wait_until_empty())
        for member, is_over in ((first, False), (last, True)):
            self.service.discard(member)
            await turn_loop()
            self.assertIs(waiting.done(), is_over)

    async def test_abort_reaches_every_member(self) -> None:
        members = [Member(self.service) for _ in range(3)]
        self.service.abort()
        self.assertEqual([member.told for member in members], [["abort"]] * 3)

    async def test_members_are_told_in_the_order_in_which_they_came(self) -> None:
        members = [Member(self.service) for _ in range(50)]
        order: List[Member] = []
        for member in members:
            member.then["abort"] = functools.partial(order.append, member)
        self.service.abort()
        self.assertEqual(order, members)

    async def test_deadlines_are_set_by_the_clock_that_sweeps_them(self) -> None:
        self.assertIs(Service(app, ServerConfig(), parent=self.service).clock, self.clock)
        clock = Clock()
        self.assertIs(Service(app, ServerConfig(), parent=self.service, clock=clock).clock, clock)

    async def test_dates_are_the_parents(self) -> None:
        self.service.date = build_date
        self.assertIs(Service(app, ServerConfig(), parent=self.service).date, build_date)
        self.assertEqual(
            Service(app, ServerConfig(), parent=self.service, date=lambda: b"now").date(), b"now"
        )

    async def test_deadline_is_so_many_seconds_from_now_and_none_is_never(self) -> None:
        self.assertEqual(self.service.get_deadline(2.5), 1002.5)
        self.assertEqual(self.service.get_deadline(None), float("inf"))

    async def test_service_of_a_parent_that_is_stopping_is_stopping(self) -> None:
        self.assertFalse(Service(app, ServerConfig(), parent=self.service).is_stopping)
        await self.service.shut_down(10)
        self.assertTrue(Service(app, ServerConfig(), parent=self.service).is_stopping)

    async def test_members_are_swept_by_their_service_and_its_parent(self) -> None:
        child = Service(app, ServerConfig(), parent=self.service)
        member = Member(child)
        for service in (self.service, child):
            service.sweep()
            self.assertEqual(list(service.members), [member])
        self.assertEqual(member.told, [1000.0, 1000.0])
        child.discard(member)
        self.assertEqual((list(self.service.members), list(child.members)), ([], []))

    async def test_applications_are_woken_with_those_of_the_parent(self) -> None:
        child = Service(app, ServerConfig(), parent=self.service)
        self.assertIs(child.waker, self.service.waker)


class TimerTests(SkippingCase, ServiceCase):
    """One timer for all connections, and none where there is no connection."""

    async def block(self, seconds: float) -> None:
        """The loop is held up so long, and does then what has come due."""
        self.loop.clock.advance(seconds)
        await turn_loop()

    async def test_members_are_swept_four_times_a_second(self) -> None:
        member = Member(self.service)
        await pass_time(1.1)
        self.assertEqual(len(member.told), 4)
        self.service.discard(member)

    async def test_after_a_blocked_loop_what_came_meanwhile_is_read_first(self) -> None:
        member = Member(self.service)
        await self.block(0.25 + 0.9)
        self.assertEqual(len(member.told), 1)
        with self.assertLogs("wsbridge", "WARNING") as logs:
            await self.block(0.25 + 1.1)
        line = "event loop was blocked for 1.1 s: an application must not wait in it"
        self.assertEqual(logs.output, [f"WARNING:wsbridge.error:{line}"])
        self.assertEqual(len(member.told), 1)
        await self.block(0.25)
        self.assertEqual(len(member.told), 2)
        self.service.discard(member)

    async def test_loop_that_is_always_late_is_swept_every_second_time(self) -> None:
        member = Member(self.service)
        for sweeps in (0, 1, 1, 2):
            with self.assertLogs("wsbridge", "WARNING"):
                await self.block(5)
            self.assertEqual(len(member.told), sweeps)
        self.service.discard(member)

    async def test_there_is_one_timer_however_many_members(self) -> None:
        members = [Member(self.service) for _ in range(3)]
        await pass_time(0.3)
        for member in members:
            self.assertEqual(len(member.told), 1)
            self.service.discard(member)

    async def test_timer_begins_with_the_first_member_and_ends_with_the_last(self) -> None:
        for _ in range(3):
            self.service.discard(Member(self.service))
            await pass_time(0.1)
        member = Member(self.service)
        await pass_time(0.2)
        self.assertEqual(len(member.told), 0)
        await pass_time(0.1)
        self.assertEqual(len(member.told), 1)
        self.service.discard(member)

    async def test_no_timer_keeps_a_service_that_nobody_uses(self) -> None:
        service = Service(app, ServerConfig())
        service.discard(Member(service))
        is_kept = weakref.ref(service)
        del service
        gc.collect()
        self.assertIsNone(is_kept())


class OwnServerTests(ServiceCase):
    """What a server of another kind does differently, as it is in our own."""

    async def test_no_header_stands_in_every_answer(self) -> None:
        self.assertEqual(self.service.get_headers(), [])

    async def test_configured_headers_stand_in_every_answer(self) -> None:
        service = Service(app, ServerConfig(headers=[("X-A", "b")]))
        self.assertEqual(service.get_headers(), [(b"X-A", b"b")])

    async def test_date_can_be_left_out(self) -> None:
        self.assertIsNone(Service(app, ServerConfig(date_header=False)).date())

    async def test_answer_is_logged_by_our_logger(self) -> None:
        scope = {"type": "websocket", "client": ("192.0.2.1", 5), "raw_path": b"/a%20b"}
        with self.assertLogs(logger, "INFO") as logs:
            self.service.log_answer(scope, 101)
        self.assertEqual(logs.output, ['INFO:wsbridge.access:192.0.2.1:5 "websocket /a%20b" 101'])

    async def test_end_is_logged_by_our_logger(self) -> None:
        protocol = WSProtocol()
        protocol.receive_eof()
        owner = mock.Mock(messages_received=3, bytes_received=30, messages_sent=2, bytes_sent=20)
        info = ConnectionInfo(protocol, owner)
        info.raw_path, info.seconds = b"/a%20b", 2.5
        with self.assertLogs(logger, "INFO") as logs:
            self.service.log_end(info)
        counts = "3 messages and 30 bytes received, 2 and 20 sent"
        self.assertEqual(
            logs.output, [f'INFO:wsbridge.access:unix socket "websocket /a%20b" 1006 lost, 2.500 s, {counts}']
        )

    async def test_application_runs_in_a_task_of_the_loop(self) -> None:
        async def work() -> int:
            return 5

        self.assertEqual(await self.service.create_task(work()), 5)

    async def test_interrupt_may_be_a_ctrl_c_unless_our_handler_catches_it(self) -> None:
        self.assertTrue(self.service.is_from_outside(KeyboardInterrupt()))
        with catch_signals(lambda number: None):
            self.assertFalse(self.service.is_from_outside(KeyboardInterrupt()))
        self.assertFalse(self.service.is_from_outside(SystemExit()))

    async def test_answer_is_logged_by_the_logger_that_was_set(self) -> None:
        self.service.access_logger = logging.getLogger("other")
        self.service.logger = logging.getLogger("errors")
        with self.assertLogs("other", "INFO") as logs:
            self.service.log_answer({"type": "http", "method": "PUT", "client": None, "raw_path": b"/"}, 200)
        self.assertEqual(logs.output, ['INFO:other:unix socket "PUT /" 200'])
        with self.assertLogs("errors", "INFO") as logs:
            self.service.logger.warning("%d connections", 5)
        self.assertEqual(logs.output, ["WARNING:errors:5 connections"])

    async def test_without_an_access_log_and_below_its_level_nothing_is_formatted(self) -> None:
        other = logging.getLogger("other")
        other.setLevel(logging.WARNING)
        info = ConnectionInfo(WSProtocol(), mock.Mock())
        for access_logger in (Service(app, ServerConfig(access_log=False)).access_logger, other):
            self.service.access_logger = access_logger
            self.service.log_answer({}, 200)
            self.service.log_end(info)
            self.service.log_refusal(None, b"", b"", BadRequest("no"))

    async def test_refusal_is_logged_by_our_logger(self) -> None:
        with self.assertLogs(logger, "INFO") as logs:
            self.service.log_refusal(("192.0.2.1", 5), b"GET", b"/a", BadRequest("no"), "a hint")
            child = Service(app, ServerConfig(), parent=self.service)
            child.log_refusal(None, b"GET", b"/a", BadRequest("no"), is_answered=True)
        self.assertEqual(
            logs.output,
            [
                'INFO:wsbridge.access:192.0.2.1:5 "GET /a" refused: 400 no; a hint',
                'INFO:wsbridge.access:unix socket "GET /a" ends its connection: no',
            ],
        )


class OtherServerTests(unittest.IsolatedAsyncioTestCase):
    """What a server of another kind overrides holds for the services of its connections, too."""

    class OtherService(Service):
        def get_headers(self) -> Any:
            return [(b"server", b"other")]

        def log_answer(self, scope: Any, status: int) -> None:
            self.answers = [status]

        def log_end(self, info: Any) -> None:
            self.ends = [info]

        def create_task(self, application: Any) -> Any:
            application.close()
            return "task"

        def is_from_outside(self, error: BaseException) -> bool:
            return isinstance(error, MemoryError)

    async def test_service_with_a_parent_asks_its_parent(self) -> None:
        async def work() -> None:
            pass

        parent = self.OtherService(app, ServerConfig())
        parent.logger = logging.getLogger("other")
        service = Service(app, ServerConfig(), parent=parent)
        service.log_answer({}, 403)
        info = ConnectionInfo(WSProtocol(), mock.Mock())
        service.log_end(info)
        self.assertEqual(parent.ends, [info])
        created: Any = service.create_task(work())
        self.assertEqual(service.get_headers(), [(b"server", b"other")])
        self.assertEqual((parent.answers, created), ([403], "task"))
        self.assertIs(service.logger, parent.logger)
        self.assertTrue(service.is_from_outside(MemoryError()))


class ShutDownTests(SkippingCase, ServiceCase):
    async def shut_down(self, timeout: float = 10.0) -> None:
        await asyncio.wait_for(self.service.shut_down(timeout), 20)
        self.assertTrue(self.service.is_stopping)

    async def test_nobody_there_is_the_end_at_once(self) -> None:
        self.assertFalse(self.service.is_stopping)
        await self.shut_down()

    async def test_members_close_in_an_orderly_way(self) -> None:
        members = [self.add_leaver("shut_down") for _ in range(3)]
        await self.shut_down()
        self.assertEqual([member.told for member in members], [["shut down"]] * 3)

    async def test_beginning_it_closes_them_without_waiting_and_once(self) -> None:
        member = Member(self.service)
        self.service.begin_shutdown()
        self.assertTrue(self.service.is_stopping)
        self.service.begin_shutdown()
        self.assertEqual(member.told, ["shut down"])
        self.service.discard(member)

    async def test_it_waits_for_the_last_of_them(self) -> None:
        members = [Member(self.service), Member(self.service)]
        stopping = asyncio.ensure_future(self.shut_down())
        for member in members:
            await turn_loop()
            self.assertFalse(stopping.done())
            self.service.discard(member)
        await asyncio.wait_for(stopping, 10)

    async def test_member_that_raises_is_aborted_and_the_others_are_told(self) -> None:
        def fail_and_leave() -> None:
            self.service.discard(members[0])
            fail()

        members = [Member(self.service, shut_down=fail_and_leave), self.add_leaver("shut_down")]
        with self.assertLogs(logger, "ERROR"):
            await self.shut_down()
        self.assertEqual([member.told for member in members], [["shut down", "abort"], ["shut down"]])

    async def test_who_is_left_after_the_timeout_is_aborted(self) -> None:
        member = self.add_leaver("abort")
        with self.assertLogs(logger, "WARNING") as logs:
            await self.shut_down(0.001)
        self.assertEqual(member.told, ["shut down", "abort"])
        text = "WARNING:wsbridge.error:connections that did not close in time and are aborted: 1"
        self.assertEqual(logs.output, [text])

    async def test_application_that_ignores_its_cancellation_is_left_behind(self) -> None:
        member = Member(self.service)
        with self.assertLogs(logger, "ERROR") as logs:
            await self.shut_down(10)
        self.assertEqual(logs.output, ["ERROR:wsbridge.error:1 applications ignore their cancellation"])
        self.assertEqual(self.service.abandoned, 1)
        self.service.discard(member)


class DrainTests(SkippingCase):
    """``drain_seconds``: members that close in turn."""

    def build(self, **options: Any) -> Service:
        self.closed: List[Tuple[int, float]] = []
        return Service(app, ServerConfig(**options))

    def add(self, service: Service, number: int) -> Member:
        def close() -> None:
            self.closed.append((number, round(service.clock() - self.begun, 3)))
            service.discard(member)

        member = Member(service, shut_down=lambda: service.close_in_turn(close))
        return member

    async def shut_down(self, service: Service) -> None:
        self.begun = service.clock()
        await service.shut_down(20)

    async def test_they_close_one_after_the_other_in_the_order_in_which_they_came(self) -> None:
        service = self.build(drain_seconds=10)
        for number in range(4):
            self.add(service, number)
        await self.shut_down(service)
        self.assertEqual(self.closed, [(0, 0.0), (1, 2.5), (2, 5.0), (3, 7.5)])

    async def test_they_close_at_once_by_default(self) -> None:
        service = self.build()
        for number in range(4):
            self.add(service, number)
        await self.shut_down(service)
        self.assertEqual(self.closed, [(number, 0.0) for number in range(4)])

    async def test_member_that_closes_alone_does_not_wait(self) -> None:
        service = self.build(drain_seconds=10)
        self.begun = service.clock()
        self.add(service, 0).shut_down()
        self.assertEqual(self.closed, [(0, 0.0)])


class ShutDownTimeTests(unittest.TestCase):
    """The time of `Service.shut_down`, in a loop that does not wait."""

    def shut_down(self, timeout: Any, **then: Callable[[Service, Any], None]) -> float:
        """Seconds that it takes with one member, that does ``then``."""

        async def stop() -> None:
            service = Service(app, ServerConfig())
            member = Member(service)
            member.then = {name: functools.partial(do, service, member) for name, do in then.items()}
            with self.assertLogs(logger, "WARNING"):
                await service.shut_down(timeout)

        return run_skipping(stop())[1]

    def test_cancellation_is_included(self) -> None:
        for timeout, taken in ((20, 20), (5.0, 5.0), (2, 2), (1, 1.5), (0.5, 1.25)):
            self.assertAlmostEqual(self.shut_down(timeout), taken)

    def test_the_last_second_is_for_applications_that_are_cancelled(self) -> None:
        for timeout, taken in ((20, 19), (2, 1), (1, 0.5), (0.001, 0.0005)):
            self.assertAlmostEqual(self.shut_down(timeout, abort=Service.discard), taken)

    def test_no_limit_waits_as_long_as_it_takes(self) -> None:
        def leave_later(service: Service, member: Any) -> None:
            service.loop.call_later(60, service.discard, member)
            logger.warning("leaves later")

        self.assertAlmostEqual(self.shut_down(None, shut_down=leave_later), 60)


if __name__ == "__main__":
    unittest.main()
