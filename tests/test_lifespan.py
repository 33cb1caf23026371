"""The lifespan scope: startup, shutdown, state, and applications that do otherwise."""

from __future__ import annotations

import asyncio
import sys
import unittest
from typing import Any, Dict, List

from wsbridge.asgi.lifespan import Lifespan
from wsbridge.protocols.errors import EventError, LifespanFailed

from .doubles import ManualApp, turn_loop

Event = Dict[str, Any]

STARTED: Event = {"type": "lifespan.startup.complete"}
STOPPED: Event = {"type": "lifespan.shutdown.complete"}


class LifespanCase(unittest.IsolatedAsyncioTestCase):
    async def begin(self, app: Any, mode: str = "auto") -> None:
        self.lifespan = Lifespan(app, mode)
        self.addCleanup(self.lifespan.cancel)

    async def assert_fails(self, phase: str, text: str) -> None:
        call = self.lifespan.startup if phase == "startup" else self.lifespan.shutdown
        with self.assertRaises(LifespanFailed) as caught:
            await asyncio.wait_for(call(), 10)
        self.assertEqual(str(caught.exception), f"application {phase} failed: {text}")


class OrderlyTests(LifespanCase):
    async def asyncSetUp(self) -> None:
        self.seen: List[Any] = []

    async def app(self, scope: Event, receive: Any, send: Any) -> None:
        self.seen.append(scope)
        self.seen.append(await receive())
        scope["state"]["database"] = self.seen
        await send(STARTED)
        self.seen.append(await receive())
        await send(STOPPED)

    async def test_scope_has_type_version_and_state(self) -> None:
        await self.begin(self.app)
        await self.lifespan.startup()
        self.assertEqual(set(self.seen[0]), {"type", "asgi", "state"})
        self.assertEqual(self.seen[0]["type"], "lifespan")
        self.assertEqual(self.seen[0]["asgi"], {"version": "3.0", "spec_version": "2.0"})

    async def test_events_come_in_order(self) -> None:
        for mode in ("auto", "on"):
            self.seen.clear()
            await self.begin(self.app, mode)
            await self.lifespan.startup()
            self.assertEqual(self.seen[1:], [{"type": "lifespan.startup"}])
            await self.lifespan.shutdown()
            self.assertEqual(self.seen[2:], [{"type": "lifespan.shutdown"}])
            await self.lifespan.wait_until_over(10)

    async def test_state_is_what_the_application_left_in_the_scope(self) -> None:
        await self.begin(self.app)
        await self.lifespan.startup()
        self.assertEqual(self.lifespan.state, {"database": self.seen})
        self.assertIsNone(self.lifespan.unsupported)

    async def test_startup_waits_for_the_application(self) -> None:
        may_start = asyncio.Event()

        async def slow(scope: Event, receive: Any, send: Any) -> None:
            await may_start.wait()
            await self.app(scope, receive, send)

        await self.begin(slow)
        startup = asyncio.ensure_future(self.lifespan.startup())
        await asyncio.sleep(0)
        self.assertFalse(startup.done())
        may_start.set()
        await startup

    async def test_shutdown_of_an_application_that_returned_is_no_error(self) -> None:
        await self.begin(self.app)
        await self.lifespan.startup()
        await self.lifespan.shutdown()
        await self.lifespan.wait_until_over(10)
        await self.lifespan.shutdown()

    async def test_application_that_only_returns_has_no_lifespan(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            """Does nothing."""

        await self.begin(app, "auto")
        await self.lifespan.startup()
        self.assertIsNone(self.lifespan.state)
        await self.lifespan.shutdown()
        await self.begin(app, "on")
        await self.assert_fails(
            "startup", "StateError: the application returned without lifespan.startup.complete"
        )


class UnsupportedTests(LifespanCase):
    async def app(self, scope: Event, receive: Any, send: Any) -> None:
        raise KeyError("lifespan")

    async def test_auto_takes_an_exception_for_no_lifespan(self) -> None:
        await self.begin(self.app, "auto")
        await self.lifespan.startup()
        self.assertIsInstance(self.lifespan.unsupported, KeyError)
        self.assertIsNone(self.lifespan.state)
        await self.lifespan.shutdown()

    async def test_on_takes_it_for_a_failure(self) -> None:
        await self.begin(self.app, "on")
        await self.assert_fails("startup", "KeyError: 'lifespan'")
        self.assertIsNone(self.lifespan.unsupported)


class FailureTests(LifespanCase):
    async def test_startup_failed_says_why(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})

        await self.begin(app)
        await self.assert_fails("startup", "no database")

    async def test_startup_failed_without_a_message(self) -> None:
        for extra in ({}, {"message": ""}):

            async def app(scope: Event, receive: Any, send: Any, extra: Event = extra) -> None:
                await send({"type": "lifespan.startup.failed", **extra})

            await self.begin(app)
            await self.assert_fails("startup", "no message")
            self.assertFalse(self.lifespan.has_started)

    async def test_shutdown_that_is_complete_is_no_start(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            await send(STOPPED)

        await self.begin(app)
        await self.lifespan.startup()
        self.assertFalse(self.lifespan.has_started)

    async def test_message_is_not_lost_when_the_application_raises_behind_it(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            raise SystemError("ended")

        for mode in ("auto", "on"):
            await self.begin(app, mode)
            await self.assert_fails("startup", "no database")

    async def test_shutdown_failed_says_why(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            await send(STARTED)
            await receive()
            await receive()
            await send({"type": "lifespan.shutdown.failed", "message": "disk full"})

        await self.begin(app)
        await self.lifespan.startup()
        await self.assert_fails("shutdown", "disk full")

    async def test_application_that_raises_at_shutdown(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send(STARTED)
            await receive()
            raise ValueError("disk full")

        for mode in ("auto", "on"):
            await self.begin(app, mode)
            await self.lifespan.startup()
            await self.assert_fails("shutdown", "ValueError: disk full")

    async def test_application_that_raises_between_is_told_at_shutdown(self) -> None:
        disk_is_full = asyncio.Event()

        async def app(scope: Event, receive: Any, send: Any) -> None:
            await send(STARTED)
            await disk_is_full.wait()
            raise ValueError("disk full")

        await self.begin(app)
        await self.lifespan.startup()
        disk_is_full.set()
        await self.lifespan.wait_until_over(10)
        self.assertEqual(self.lifespan.state, {})
        await self.assert_fails("shutdown", "ValueError: disk full")

    async def test_unknown_event_raises_in_the_application(self) -> None:
        errors: List[EventError] = []

        async def app(scope: Event, receive: Any, send: Any) -> None:
            for event in ({"type": "lifespan.started"}, {"type": None}, {}):
                try:
                    await send(event)
                except EventError as error:
                    errors.append(error)
            await send(STARTED)

        await self.begin(app)
        await self.lifespan.startup()
        self.assertEqual(len(errors), 3)
        self.assertIn("'lifespan.started'", str(errors[0]))

    async def test_cancellation_ends_every_wait(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            await asyncio.Event().wait()

        await self.begin(app)
        startup = asyncio.ensure_future(self.lifespan.startup())
        await turn_loop()
        self.lifespan.cancel()
        await asyncio.wait_for(startup, 10)
        await asyncio.wait_for(self.lifespan.shutdown(), 10)

    async def test_cancelling_what_has_not_begun_is_no_error(self) -> None:
        lifespan = Lifespan(ManualApp(), "on")
        lifespan.cancel()
        await lifespan.wait_until_over(10)

    async def test_cancellation_that_nobody_asked_for_is_a_failure(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            raise asyncio.CancelledError("database")

        for mode in ("auto", "on"):
            await self.begin(app, mode)
            await self.assert_fails("startup", "CancelledError: database")

    async def test_wish_to_end_the_process_is_a_failure_in_every_mode(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            sys.exit(3)

        for mode in ("auto", "on"):
            await self.begin(app, mode)
            await self.assert_fails("startup", "SystemExit: 3")

    async def test_what_startup_raised_is_the_cause(self) -> None:
        error = KeyError("database")

        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            raise error

        await self.begin(app, "on")
        with self.assertRaises(LifespanFailed) as caught:
            await self.lifespan.startup()
        self.assertIs(caught.exception.__cause__, error)

    async def test_traceback_as_a_message_is_told_by_its_error(self) -> None:
        """As Starlette does it."""

        async def app(scope: Event, receive: Any, send: Any) -> None:
            message = "Traceback (most recent call last):\n  File ...\nValueError: no\ndatabase\n"
            await send({"type": "lifespan.startup.failed", "message": message})
            raise ValueError("no\ndatabase")

        await self.begin(app)
        await self.assert_fails("startup", "ValueError: no")

    async def test_application_that_took_the_startup_event_seems_to_have_a_lifespan(self) -> None:
        async def fail_to_start(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            raise KeyError("database")

        async def echo(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})

        async def refuse(scope: Event, receive: Any, send: Any) -> None:
            raise KeyError("path")

        async def start(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send(STARTED)
            await receive()

        for app, expected in ((fail_to_start, True), (echo, False), (refuse, False), (start, False)):
            await self.begin(app)
            await self.lifespan.startup()
            self.assertIs(self.lifespan.seems_supported, expected)
            self.assertIs(self.lifespan.has_started, app is start)


class InterruptTests(unittest.TestCase):
    def test_keyboard_interrupt_is_a_failure_and_comes_out_of_the_loop_too(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            raise KeyboardInterrupt

        async def start() -> None:
            await Lifespan(app, "auto").startup()

        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        # Its task was not awaited by anybody.
        loop.set_exception_handler(lambda loop, context: None)
        task = loop.create_task(start())
        with self.assertRaises(KeyboardInterrupt):
            loop.run_until_complete(task)
        with self.assertRaisesRegex(LifespanFailed, "^application startup failed: KeyboardInterrupt$"):
            loop.run_until_complete(task)


if __name__ == "__main__":
    unittest.main()
