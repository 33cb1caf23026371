"""What both kinds of exchange share: the application's task, writing, and the end of both."""

from __future__ import annotations

import asyncio
import inspect
import logging
import unittest
from typing import Any, List
from unittest import mock

from tests.doubles import MemoryTransport, ServiceTestCase, turn_loop
from wsbridge.config import ServerConfig
from wsbridge.protocols.errors import ClientDisconnected
from wsbridge.server.connection.exchange import Exchange
from wsbridge.server.connection.linger import Linger
from wsbridge.server.service import Service
from wsbridge.server.signals import catch_signals

LIMIT = 100


class PlainExchange(Exchange):
    """The common part alone; `ended` is what it was told about its application's end."""

    __slots__ = ("ended",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.ended: List[bool] = []

    def _end_after_app(self, has_failed: bool) -> None:
        self.ended.append(has_failed)

    # What is for subclasses, as this one uses it.

    def run(self) -> None:
        self._run({"type": "test"}, None, None)  # type: ignore[arg-type]

    def write_parts(self, *parts: bytes) -> None:
        self._write_parts(*parts)

    def hand_over(self) -> None:
        self._hand_over()

    def stay_open_at_eof(self) -> bool:
        return self._stay_open_at_eof()


class Group(Exception):
    """What `asyncio.TaskGroup` raises, for Pythons without it (PEP 654)."""

    def __init__(self, *exceptions: BaseException) -> None:
        super().__init__(str(len(exceptions)))
        self.exceptions = exceptions


class Endless(Exception):
    """A group of itself."""

    @property
    def exceptions(self) -> List[Exception]:
        return [self]


class Broken(Exception):
    """An error that cannot be asked for its members."""

    @property
    def exceptions(self) -> List[Exception]:
        raise KeyError("exceptions")


class ControlCTests(unittest.TestCase):
    """A KeyboardInterrupt is the program's own affair where no server catches SIGINT."""

    def test_it_leaves_the_loop_and_the_peer_is_answered(self) -> None:
        async def interrupted(*arguments: Any) -> None:
            raise KeyboardInterrupt

        async def serve() -> None:
            service = Service(interrupted, ServerConfig())
            self.exchange = PlainExchange(service, MemoryTransport())
            self.exchange.run()
            await turn_loop()

        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        serving = loop.create_task(serve())
        with self.assertRaises(KeyboardInterrupt):
            loop.run_until_complete(serving)
        with self.assertLogs("wsbridge", "ERROR"):
            loop.run_until_complete(serving)
        self.assertEqual(self.exchange.ended, [True])


class ExchangeTestCase(ServiceTestCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.set_up(ws_write_limit=LIMIT, timeout_write=30, timeout_app=10, timeout_close=10)
        self.exchange = PlainExchange(self.service, self.transport)

    async def run_app(self) -> None:
        self.exchange.run()
        await turn_loop()

    async def fill(self) -> None:
        """More is written than the limit, and the peer takes nothing."""
        self.transport.is_peer_reading = False
        self.exchange.write(bytes(LIMIT + 1))

    def drain(self) -> Any:
        waiting = self.exchange.drain()
        self.assertIsNotNone(waiting)
        return waiting


class TakeoverTests(ExchangeTestCase):
    """A transport gets a new protocol, the service a new member."""

    async def test_exchange_is_the_transports_protocol(self) -> None:
        self.assertIs(self.transport.get_protocol(), self.exchange)

    async def test_exchange_is_a_member_of_the_service(self) -> None:
        self.assertEqual(list(self.service.members), [self.exchange])

    async def test_write_limit_is_the_configurations(self) -> None:
        self.assertEqual(self.transport.get_write_buffer_limits()[1], LIMIT)

    async def test_shut_down_is_left_to_each_kind(self) -> None:
        self.exchange.shut_down()
        self.assert_calls()


class ApplicationTests(ExchangeTestCase):
    """The application's task, and how it ends."""

    async def test_return_is_no_failure(self) -> None:
        await self.run_app()
        await self.app.return_()
        self.assertEqual(self.exchange.ended, [False])
        self.assert_logged()

    async def test_error_is_logged_once_with_its_traceback(self) -> None:
        await self.run_app()
        error = ValueError("no")
        await self.app.raise_(error)
        self.assertEqual(self.exchange.ended, [True])
        self.assert_logged(("ERROR", "application raised"))
        self.assertIs(self.records[-1].exc_info[1], error)  # type: ignore[index]

    async def test_error_that_cannot_be_logged_ends_the_connection_as_any_other(self) -> None:
        told: List[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: told.append(type(context["exception"])))
        for error, expected in ((Endless(), RecursionError), (Broken(), KeyError)):
            await self.run_app()
            await self.app.raise_(error)
            self.assertEqual((self.exchange.ended, told), ([True], [expected]))
            self.exchange.ended.clear()
            told.clear()

    async def test_client_disconnected_is_logged_at_debug_only(self) -> None:
        await self.run_app()
        self.transport.abort()
        await turn_loop()
        await self.app.raise_(ClientDisconnected("gone"))
        self.assertEqual(self.exchange.ended, [True])
        self.assert_logged()
        self.assertEqual(self.records[-1].getMessage(), "application ended by the disconnect: gone")

    async def test_group_of_client_disconnected_is_logged_at_debug_only(self) -> None:
        await self.run_app()
        self.transport.abort()
        await turn_loop()
        await self.app.raise_(Group(ClientDisconnected("gone"), Group(ClientDisconnected("gone"))))
        self.assert_logged()

    async def test_group_of_nothing_is_logged(self) -> None:
        await self.run_app()
        self.transport.abort()
        await turn_loop()
        await self.app.raise_(Group())
        self.assert_logged(("ERROR", "application raised"))

    async def test_client_disconnected_of_another_connection_is_logged(self) -> None:
        await self.run_app()
        await self.app.raise_(ClientDisconnected("somebody else"))
        self.assert_logged(("ERROR", "application raised"))

    async def test_group_with_another_error_is_logged(self) -> None:
        await self.run_app()
        await self.app.raise_(Group(ClientDisconnected("gone"), ValueError("no")))
        self.assert_logged(("ERROR", "application raised"))

    async def test_log_that_raises_leaves_no_peer_waiting(self) -> None:
        def refuse(record: logging.LogRecord) -> bool:
            raise OSError(28, "No space left on device")

        await self.run_app()
        logger = logging.getLogger("wsbridge.error")
        logger.addFilter(refuse)
        self.addCleanup(logger.removeFilter, refuse)
        self.addCleanup(setattr, logging, "lastResort", logging.lastResort)
        logging.lastResort = None
        await self.app.raise_(ValueError("no"))
        self.assertEqual(self.exchange.ended, [True])

    async def test_what_a_task_of_the_application_has_raised_is_a_failure_too(self) -> None:
        await self.run_app()
        self.exchange.fail_application()
        self.assertEqual(self.exchange.ended, [True])

    async def test_cancellation_that_nobody_asked_for_is_a_failure(self) -> None:
        await self.run_app()
        await self.app.raise_(asyncio.CancelledError())
        self.assertEqual(self.exchange.ended, [True])
        self.assert_logged(("ERROR", "application raised"))

    async def test_application_that_goes_on_without_its_connection_is_counted(self) -> None:
        await self.run_app()
        self.assertEqual(len(self.service.detached), 0)
        self.transport.lose()
        self.assertEqual(list(self.service.detached), [self.exchange])
        await self.app.return_()
        self.assertEqual(len(self.service.detached), 0)

    async def test_response_that_cannot_be_completed_ends_the_connection_and_the_application(self) -> None:
        await self.run_app()
        self.exchange.abort()
        await turn_loop()
        self.assert_calls("abort")
        self.assertFalse(self.app.is_running)

    async def test_cancellation_of_ours_is_no_return_and_no_line_of_the_log(self) -> None:
        await self.run_app()
        self.exchange.abort()
        await turn_loop()
        self.assertEqual((self.app.cancellations, self.exchange.ended), (1, [True]))
        self.assert_logged()

    async def test_what_would_end_the_loop_is_a_failure_like_any_other(self) -> None:
        signals = catch_signals(lambda number: None)
        signals.__enter__()
        self.addCleanup(signals.__exit__, None, None, None)
        for error in (SystemExit(3), SystemExit(), KeyboardInterrupt(), GeneratorExit(), BaseException("no")):
            with self.subTest(error):
                await self.run_app()
                await self.app.raise_(error)
                self.assertEqual(self.exchange.ended.pop(), True)
                self.assertIs(self.records.pop().exc_info[1], error)  # type: ignore[index]
                self.assert_logged(("ERROR", "application raised"))

    async def test_what_would_end_the_loop_in_a_group_is_a_failure_as_well(self) -> None:
        await self.run_app()
        await self.app.raise_(Group(SystemExit(3)))
        self.assertEqual(self.exchange.ended, [True])
        self.assert_logged(("ERROR", "application raised"))

    async def test_application_may_return_any_awaitable(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self.service.app = lambda scope, receive, send: future
        await self.run_app()
        self.assertEqual(self.exchange.ended, [])
        future.set_result(None)
        await turn_loop()
        self.assertEqual(self.exchange.ended, [False])

    async def test_application_that_cannot_be_called_so_is_a_failure(self) -> None:
        async def app(scope: Any) -> None: ...

        for self.service.app in (lambda scope: None, app):  # type: ignore[assignment]
            await self.run_app()
            self.assertEqual(self.exchange.ended.pop(), True)
            self.assert_logged(("ERROR", "application raised"))

    async def test_application_that_pretends_to_be_a_coroutine_function_runs_in_its_task(self) -> None:
        async def wrapped() -> None: ...

        class Proxy:
            # Believed by whoever looks at nothing else.
            __code__ = wrapped.__code__

            def __call__(self, *arguments: Any) -> Any:
                raise KeyError

        # From Python 3.12 on anything can be marked as one, and inspect believes it.
        mark: Any = getattr(inspect, "markcoroutinefunction", lambda app: app)
        self.service.app = mark(Proxy())
        await self.run_app()
        self.assertEqual(self.exchange.ended, [True])
        self.assert_logged(("ERROR", "application raised"))

    async def test_exchange_stays_a_member_until_its_connection_is_lost(self) -> None:
        await self.run_app()
        await self.app.return_()
        self.assertEqual(list(self.service.members), [self.exchange])
        self.transport.lose()
        self.assertEqual(list(self.service.members), [])

    async def test_exchange_stays_a_member_until_its_application_ends(self) -> None:
        await self.run_app()
        self.transport.lose()
        self.assertEqual(list(self.service.members), [self.exchange])
        await self.app.return_()
        self.assertEqual(list(self.service.members), [])

    async def test_exchange_that_is_over_while_its_task_is_made_stays_a_member(self) -> None:
        """As with `asyncio.eager_task_factory` (Python 3.12), where the application has refused."""

        def make_task(loop: Any, coroutine: Any, **options: Any) -> Any:
            self.exchange.hand_over()
            return asyncio.Task(coroutine, loop=loop, **options)

        asyncio.get_running_loop().set_task_factory(make_task)
        self.exchange.run()
        asyncio.get_running_loop().set_task_factory(None)
        await turn_loop()
        self.assertIn(self.exchange, self.service.members)
        await self.advance(10.0)
        self.assertEqual(self.app.cancellations, 1)
        self.assertNotIn(self.exchange, self.service.members)
        self.assert_logged(
            ("WARNING", "application did not return within timeout_app of the disconnect: cancelled")
        )


class WritingTests(ExchangeTestCase):
    """`write` and `drain`."""

    async def test_parts_are_not_joined_and_empty_ones_are_left_out(self) -> None:
        self.exchange.write_parts(b"a", b"", b"b")
        self.exchange.write_parts(b"c", b"d")
        self.assert_written(b"a", b"b", b"c", b"d")

    async def test_parts_are_joined_up_to_the_write_limit_where_the_transport_would(self) -> None:
        """asyncio's own transports before Python 3.12 have the `writelines` of the base class."""
        at_limit, above = bytes(LIMIT), bytes(LIMIT + 1)
        with mock.patch.object(type(self.transport), "writelines", asyncio.WriteTransport.writelines):
            for parts in ((b"a", b"b", at_limit), (above, b"a"), (b"a", above, b"b")):
                self.exchange.write_parts(*parts)
                self.assert_written(b"".join(parts))
            self.exchange.write_parts(b"a", b"b", above)
            self.assert_written(b"a", b"b", above)

    async def test_bytes_are_handed_on(self) -> None:
        self.exchange.write(b"a")
        self.exchange.write(b"b")
        self.assert_written(b"a", b"b")

    async def test_bytes_for_a_lost_connection_go_with_it(self) -> None:
        self.transport.lose()
        self.exchange.write(b"a")
        self.assert_written()
        with self.assertRaises(ConnectionResetError):
            await self.drain()

    async def test_drain_has_nothing_to_wait_for_below_the_limit(self) -> None:
        self.transport.is_peer_reading = False
        self.exchange.write(bytes(LIMIT))
        self.assertIsNone(self.exchange.drain())

    async def test_application_that_only_sends_lets_the_loop_turn(self) -> None:
        for _ in range(2):
            for _ in range(63):
                self.assertIsNone(self.exchange.drain())
            turning = await self.start(self.drain())
            self.assertTrue(turning.done())

    async def test_nothing_more_is_written_to_a_connection_that_is_lost(self) -> None:
        # asyncio warns of the fifth write after the loss.
        self.transport.abort()
        self.transport.is_refusing = True
        for _ in range(9):
            self.exchange.write(b"a")

    async def test_loss_of_the_connection_has_its_turn_at_the_next_write(self) -> None:
        self.transport.abort()
        self.exchange.write(b"a")
        await self.drain()
        self.assertTrue(self.transport.is_lost)
        self.assertIsNone(self.exchange.drain())

    async def test_drain_waits_above_the_limit(self) -> None:
        await self.fill()
        draining = await self.start(self.drain())
        self.assertFalse(draining.done())
        self.transport.take()
        await turn_loop()
        self.assertIsNone(draining.result())
        self.assertIsNone(self.exchange.drain())

    async def test_drain_that_finds_the_buffer_full_again_waits_on(self) -> None:
        await self.fill()
        draining = await self.start(self.drain())
        self.transport.take()
        await self.fill()
        await turn_loop()
        self.assertFalse(draining.done())
        self.transport.take()
        await turn_loop()
        self.assertTrue(draining.done())

    async def test_lost_connection_wakes_every_waiter_with_an_error(self) -> None:
        await self.fill()
        draining = [await self.start(self.drain()) for _ in range(3)]
        self.transport.lose()
        await turn_loop()
        self.assertEqual([type(task.exception()) for task in draining], [ConnectionResetError] * 3)

    async def test_drain_of_a_lost_connection_raises(self) -> None:
        await self.fill()
        self.transport.lose()
        draining = await self.start(self.drain())
        self.assertIsInstance(draining.exception(), ConnectionResetError)

    async def test_cancelled_waiter_harms_no_other(self) -> None:
        await self.fill()
        first, second = await self.start(self.drain()), await self.start(self.drain())
        first.cancel()
        self.transport.take()
        await turn_loop()
        self.assertTrue(first.cancelled())
        self.assertIsNone(second.result())

    async def test_all_who_wait_go_on(self) -> None:
        # Where the application sends in a task for each message, the peer decides how many there are.
        await self.fill()
        waiting = [await self.start(self.drain()) for _ in range(100)]
        self.transport.take()
        await turn_loop()
        self.assertTrue(all(task.done() for task in waiting))


class StallTests(ExchangeTestCase):
    """A peer that takes nothing for ``timeout_write`` is aborted."""

    async def test_peer_that_takes_nothing_is_aborted(self) -> None:
        await self.fill()
        await self.advance(0)
        await self.advance(29.9)
        self.assert_calls()
        await self.advance(0.1)
        self.assert_calls("abort")

    async def test_peer_whose_time_is_over_between_two_sweeps_is_aborted_by_the_next(self) -> None:
        await self.fill()
        await self.advance(0)
        await self.advance(30.1)
        self.assert_calls("abort")
        self.logged.clear()

    async def test_peer_has_any_time_where_none_is_configured(self) -> None:
        self.set_up(ws_write_limit=LIMIT, timeout_write=None)
        self.exchange = PlainExchange(self.service, self.transport)
        await self.fill()
        for _ in range(3):
            await self.advance(1e6)
        self.assert_calls()

    async def test_peer_that_takes_a_little_is_not(self) -> None:
        self.transport.is_peer_reading = False
        self.exchange.write(bytes(1000))
        await self.advance(0)
        for _ in range(10):
            await self.advance(29.9)
            self.transport.take(1)
        self.assert_calls()

    async def test_what_is_written_meanwhile_is_no_sign_of_life(self) -> None:
        await self.fill()
        await self.advance(0)
        for _ in range(3):
            await self.advance(10)
            self.exchange.write(b"more")
        self.assert_calls("abort")
        self.logged.clear()

    async def test_peer_that_takes_less_than_is_written_is_alive(self) -> None:
        await self.fill()
        await self.advance(0)
        for _ in range(10):
            self.exchange.write(bytes(100))
            await self.advance(15)
            self.transport.take(50)
            await self.advance(0)
        self.assert_calls()

    async def test_peer_that_takes_a_little_before_more_is_written_is_alive(self) -> None:
        await self.fill()
        await self.advance(0)
        for _ in range(10):
            await self.advance(15)
            self.transport.take(50)
            self.exchange.write(bytes(100))
        self.assert_calls()

    async def test_time_begins_anew_with_every_pause(self) -> None:
        await self.fill()
        await self.advance(0)
        await self.advance(29)
        self.transport.take()
        await self.fill()
        await self.advance(29)
        await self.advance(29)
        self.assert_calls()

    async def test_connection_below_the_limit_has_no_such_deadline(self) -> None:
        self.transport.is_peer_reading = False
        self.exchange.write(bytes(LIMIT))
        await self.advance(1000)
        await self.advance(1000)
        self.assert_calls()

    async def test_lost_connection_has_no_such_deadline(self) -> None:
        await self.run_app()
        await self.fill()
        self.transport.lose()
        await self.advance(5)
        self.assert_logged()


class EndTests(ExchangeTestCase):
    """The end of the connection, and the time the application has after it."""

    async def test_application_that_does_not_return_is_cancelled(self) -> None:
        await self.run_app()
        self.transport.lose()
        await self.advance(9.9)
        self.assertEqual(self.app.cancellations, 0)
        await self.advance(0.1)
        self.assertEqual(self.app.cancellations, 1)
        self.assert_logged(
            ("WARNING", "application did not return within timeout_app of the disconnect: cancelled")
        )

    async def test_application_whose_time_is_over_between_two_sweeps_is_cancelled_by_the_next(self) -> None:
        await self.run_app()
        self.transport.lose()
        await self.advance(10.1)
        self.assertEqual(self.app.cancellations, 1)
        self.logged.clear()

    async def test_application_that_ignores_it_is_cancelled_again(self) -> None:
        self.app.ignores_cancellation = True
        await self.run_app()
        self.transport.lose()
        await self.advance(10)
        await self.advance(9.9)
        self.assertEqual(self.app.cancellations, 1)
        await self.advance(0.1)
        self.assertEqual(self.app.cancellations, 2)
        self.logged.clear()

    async def test_application_that_has_returned_is_left_alone(self) -> None:
        await self.run_app()
        await self.app.return_()
        await self.advance(1000)
        self.assert_logged()

    async def test_hand_over_leaves_the_connection_to_linger(self) -> None:
        await self.run_app()
        self.exchange.hand_over()
        self.assertIsInstance(self.transport.get_protocol(), Linger)
        self.assert_calls("resume_reading", "write_eof")
        self.exchange.write(b"late")
        self.assert_written()
        await self.advance(9.9)
        self.assert_calls()

    async def test_hand_over_starts_the_applications_time(self) -> None:
        await self.run_app()
        self.exchange.hand_over()
        self.transport.lose()
        await self.advance(10)
        self.assertEqual(self.app.cancellations, 1)
        self.logged.clear()

    async def test_hand_over_of_a_lost_connection_does_nothing(self) -> None:
        await self.run_app()
        self.transport.lose()
        self.exchange.hand_over()
        self.assertEqual(list(self.service.members), [self.exchange])

    async def test_hand_over_wakes_those_who_wait_for_room(self) -> None:
        await self.fill()
        draining = await self.start(self.drain())
        self.exchange.hand_over()
        await turn_loop()
        self.assertIsInstance(draining.exception(), ConnectionResetError)

    async def test_second_loss_does_not_prolong_the_applications_time(self) -> None:
        await self.run_app()
        self.exchange.hand_over()
        await self.advance(5)
        self.exchange.connection_lost(None)
        await self.advance(5)
        self.assertEqual(self.app.cancellations, 1)
        self.logged.clear()

    async def test_half_closed_peer_of_a_plain_connection_may_still_be_answered(self) -> None:
        self.assertTrue(self.exchange.stay_open_at_eof())
        self.exchange.hand_over()
        self.assert_calls("close")

    async def test_half_closed_peer_of_a_tls_connection_may_not(self) -> None:
        self.transport.lose()
        self.set_up(half_close=False)
        self.assertFalse(PlainExchange(self.service, self.transport).stay_open_at_eof())

    async def test_lost_connection_does_not_stay_open(self) -> None:
        self.transport.lose()
        self.assertFalse(self.exchange.stay_open_at_eof())

    async def test_abort_ends_the_connection_and_cancels_the_application(self) -> None:
        await self.run_app()
        self.exchange.abort()
        await turn_loop()
        self.assert_calls("abort")
        self.assertEqual((self.app.cancellations, list(self.service.members)), (1, []))

    async def test_abort_of_what_is_over_does_nothing(self) -> None:
        self.transport.lose()
        self.exchange.abort()
        self.assert_calls()
