"""SIGINT and SIGTERM: who is told, and whose they are afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import unittest
from typing import Any, Callable, Iterator, List, Optional, Tuple
from unittest import mock

from wsbridge.server import signals
from wsbridge.server.signals import are_signals_caught, catch_signals, may_be_ctrl_c

from .doubles import Clock, turn_loop
from .skipping import SkippingLoop, SkippingSelector, pass_time

BOTH = (signal.SIGINT, signal.SIGTERM)


class SignalCase(unittest.TestCase):
    def setUp(self) -> None:
        for number in (*BOTH, *signals.ENDING_SIGNALS):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.told: List[Any] = []

    def note(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.told.append((name, *arguments[:1]))

    def assert_told(self, *expected: Tuple[Any, ...]) -> None:
        self.assertEqual(self.told, list(expected))
        self.told.clear()

    @contextlib.contextmanager
    def handle(self, number: int, handler: Any) -> Iterator[None]:
        """A host that has its own handler, which comes back."""
        signal.signal(number, handler)
        yield
        self.assertIs(signal.getsignal(number), handler)

    async def serve(self, name: str = "server", *numbers: int) -> None:
        """A server that is sent ``numbers``, one after the other."""
        with catch_signals(self.note(name)):
            for number in numbers:
                signal.raise_signal(number)
                await turn_loop()


class CatchTests(SignalCase):
    def test_server_is_told_each_signal(self) -> None:
        asyncio.run(self.serve("server", *BOTH, *BOTH))
        self.assert_told(*[("server", number) for number in BOTH * 2])

    def test_each_of_several_servers_is_told(self) -> None:
        async def serve_both() -> None:
            with catch_signals(self.note("first")), catch_signals(self.note("second")):
                signal.raise_signal(signal.SIGTERM)
                await turn_loop()

        asyncio.run(serve_both())
        self.assert_told(("first", signal.SIGTERM), ("second", signal.SIGTERM))

    def test_who_ends_first_leaves_the_others_theirs(self) -> None:
        async def serve_both() -> None:
            with contextlib.ExitStack() as second:
                with catch_signals(self.note("first")):
                    second.enter_context(catch_signals(self.note("second")))
                self.assertTrue(are_signals_caught())
                signal.raise_signal(signal.SIGTERM)
                await turn_loop()

        with self.handle(signal.SIGTERM, signal.SIG_DFL):
            asyncio.run(serve_both())
        self.assert_told(("second", signal.SIGTERM))

    def test_they_are_caught_inside_only(self) -> None:
        async def serve() -> None:
            self.assertFalse(are_signals_caught())
            with catch_signals(self.note("server")):
                self.assertTrue(are_signals_caught())
            self.assertFalse(are_signals_caught())

        asyncio.run(serve())

    def test_keyboard_interrupt_may_be_a_ctrl_c_in_the_main_thread_where_none_are_caught(self) -> None:
        async def serve() -> None:
            self.assertTrue(may_be_ctrl_c(KeyboardInterrupt()))
            self.assertFalse(may_be_ctrl_c(SystemExit()))
            self.assertFalse(await asyncio.to_thread(may_be_ctrl_c, KeyboardInterrupt()))
            with catch_signals(self.note("server")):
                self.assertFalse(may_be_ctrl_c(KeyboardInterrupt()))

        with self.handle(signal.SIGINT, signal.default_int_handler):
            asyncio.run(serve())

    def test_nothing_is_done_where_the_signal_interrupts(self) -> None:
        async def serve() -> None:
            with catch_signals(self.note("server")):
                signal.raise_signal(signal.SIGTERM)
                self.assert_told()
                await turn_loop()

        asyncio.run(serve())
        self.assert_told(("server", signal.SIGTERM))

    def test_loop_that_is_closed_is_no_error(self) -> None:
        async def serve() -> None:
            server.enter_context(catch_signals(self.note("server")))

        with contextlib.ExitStack() as server:
            asyncio.run(serve())
            signal.raise_signal(signal.SIGTERM)
        self.assert_told()
        self.assertFalse(are_signals_caught())


class StoppingTests(SignalCase):
    """What an application is told that asks for its server as sse-starlette does."""

    def should_exit(self) -> Any:
        handler: Any = signal.getsignal(signal.SIGTERM)
        return handler.__self__.should_exit

    def test_server_that_stops_should_exit(self) -> None:
        async def serve() -> None:
            stop = threading.Event()
            with catch_signals(self.note("server"), is_stopping=stop.is_set):
                self.assertIs(self.should_exit(), False)
                stop.set()
                self.assertIs(self.should_exit(), True)

        asyncio.run(serve())

    def test_signal_that_stops_no_server_is_no_exit(self) -> None:
        async def serve() -> None:
            with catch_signals(self.note("server")):
                signal.raise_signal(signal.SIGTERM)
                await turn_loop()
                self.assertIs(self.should_exit(), False)

        asyncio.run(serve())

    def test_of_several_servers_all_have_to_stop(self) -> None:
        async def serve() -> None:
            stop = threading.Event()
            with catch_signals(self.note("stops"), is_stopping=lambda: True):
                self.assertIs(self.should_exit(), True)
                with catch_signals(self.note("goes on"), is_stopping=stop.is_set):
                    self.assertIs(self.should_exit(), False)
                    stop.set()
                    self.assertIs(self.should_exit(), True)

        asyncio.run(serve())


@unittest.skipUnless(hasattr(signal, "SIGHUP"), "this system has no SIGHUP")
class EndingSignalTests(SignalCase):
    """SIGHUP and SIGQUIT end a process that does not handle them."""

    def test_they_are_caught_and_reset(self) -> None:
        for number in (signal.SIGHUP, signal.SIGQUIT):
            with self.handle(number, signal.SIG_DFL):
                asyncio.run(self.serve("server", number))
            self.assert_told(("server", number))

    def test_they_are_left_to_a_program_that_ignores_or_handles_them(self) -> None:
        for number in (signal.SIGHUP, signal.SIGQUIT):
            with self.handle(number, signal.SIG_IGN):
                asyncio.run(self.serve("server", number))
            self.assert_told()
            with self.handle(number, self.note("host")):
                asyncio.run(self.serve("server", number))
            self.assert_told(("host", number))

    def test_one_that_the_program_handles_leaves_the_other_to_the_server(self) -> None:
        with self.handle(signal.SIGHUP, self.note("host")), self.handle(signal.SIGQUIT, signal.SIG_DFL):
            asyncio.run(self.serve("server", signal.SIGHUP, signal.SIGQUIT))
        self.assert_told(("host", signal.SIGHUP), ("server", signal.SIGQUIT))

    def test_hangup_that_is_ignored_is_caught_by_a_server_that_reads_files_again(self) -> None:
        """nohup has it ignored."""

        async def serve(number: int) -> None:
            with catch_signals(self.note("server"), reloads=True):
                signal.raise_signal(number)
                await turn_loop()

        host = self.note("host")
        expected: Any
        for number, handler, expected in (
            (signal.SIGHUP, signal.SIG_IGN, [("server", signal.SIGHUP)]),
            (signal.SIGHUP, host, [("host", signal.SIGHUP)]),
            (signal.SIGQUIT, signal.SIG_IGN, []),
        ):
            with self.handle(number, handler):
                asyncio.run(serve(number))
            self.assert_told(*expected)


class GiveBackTests(SignalCase):
    def test_default_handlers_come_back_and_nobody_is_killed(self) -> None:
        for number, handler in (
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGTERM, signal.SIG_DFL),
        ):
            with self.handle(number, handler):
                # Not `asyncio.run`, which has a handler of its own for SIGINT.
                loop = asyncio.new_event_loop()
                loop.run_until_complete(self.serve("server", number))
                loop.close()
            self.assert_told(("server", number))

    def test_ignored_signals_are_ignored_again(self) -> None:
        with self.handle(signal.SIGTERM, signal.SIG_IGN):
            asyncio.run(self.serve("server", signal.SIGTERM))
        self.assert_told(("server", signal.SIGTERM))

    def test_handler_of_the_host_comes_back_and_is_called_with_what_came(self) -> None:
        for number in BOTH:
            with self.handle(number, self.note("host")):
                asyncio.run(self.serve("server", number, number))
            self.assert_told(("server", number), ("server", number), ("host", number))
            signal.raise_signal(number)
            self.assert_told(("host", number))

    def test_handler_of_the_host_is_not_called_where_nothing_came(self) -> None:
        with self.handle(signal.SIGTERM, self.note("host")), self.handle(signal.SIGINT, self.note("host")):
            asyncio.run(self.serve("server", signal.SIGINT))
        self.assert_told(("server", signal.SIGINT), ("host", signal.SIGINT))

    def test_handler_of_the_host_may_end_the_process(self) -> None:
        def leave(number: int, frame: object) -> None:
            raise SystemExit(5)

        with self.handle(signal.SIGTERM, leave), self.assertRaisesRegex(SystemExit, "5"):
            asyncio.run(self.serve("server", signal.SIGTERM))

    def test_host_is_called_when_the_last_server_has_ended(self) -> None:
        async def serve_both() -> None:
            with catch_signals(self.note("second")):
                await self.serve("first", signal.SIGTERM)
            self.note("end")()

        with self.handle(signal.SIGTERM, self.note("host")):
            asyncio.run(serve_both())
        told = [name for name, *_ in self.told]
        self.assertEqual(sorted(told[:2]), ["first", "second"])
        self.assertEqual(told[2:], ["host", "end"])

    @unittest.skipUnless(hasattr(signal, "siginterrupt"), "loops of this system take no signal handlers")
    def test_handler_of_a_loop_is_called_meanwhile_and_afterwards_and_not_twice(self) -> None:
        async def host() -> None:
            loop = asyncio.get_running_loop()
            for number in BOTH:
                loop.add_signal_handler(number, self.note("host"), number)
                await self.serve("server", number)
                self.assertEqual(sorted(self.told), [("host", number), ("server", number)])
                self.told.clear()
                signal.raise_signal(number)
                await turn_loop()
                self.assert_told(("host", number))
                self.assertTrue(loop.remove_signal_handler(number))

        asyncio.run(host())

    def test_handler_that_was_set_meanwhile_stays(self) -> None:
        async def serve() -> None:
            with catch_signals(self.note("server")):
                signal.signal(signal.SIGTERM, newer)

        newer = self.note("newer")
        signal.signal(signal.SIGTERM, self.note("older"))
        asyncio.run(serve())
        self.assertIs(signal.getsignal(signal.SIGTERM), newer)

    def test_handler_that_was_set_between_two_servers_comes_back(self) -> None:
        async def serve_both() -> None:
            with catch_signals(self.note("first")):
                signal.signal(signal.SIGTERM, newer)
                await self.serve("second", signal.SIGTERM)

        newer = self.note("newer")
        asyncio.run(serve_both())
        self.assertIs(signal.getsignal(signal.SIGTERM), newer)
        self.assertIn(("newer", signal.SIGTERM), self.told)

    def test_handler_that_is_not_pythons_is_left_alone(self) -> None:
        async def serve() -> None:
            before = [signal.getsignal(number) for number in BOTH]
            # None is what Python says of a handler that C code has set.
            with mock.patch.object(signal, "getsignal", return_value=None):
                signals = catch_signals(self.note("server"))
                signals.__enter__()
            self.assertEqual([signal.getsignal(number) for number in BOTH], before)
            signals.__exit__(None, None, None)

        asyncio.run(serve())


class ThreadTests(SignalCase):
    def test_other_threads_catch_none(self) -> None:
        before = [signal.getsignal(number) for number in BOTH]
        found: List[Any] = []

        async def serve() -> None:
            with catch_signals(self.note("server")):
                found.extend(signal.getsignal(number) for number in BOTH)

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        thread.join(10)
        self.assertEqual(found, before)

    def test_other_threads_catch_none_where_the_main_thread_does(self) -> None:
        errors: List[Any] = []
        may_end = threading.Event()
        has_begun = threading.Event()

        async def serve_in_thread() -> None:
            with catch_signals(self.note("thread")):
                has_begun.set()
                await asyncio.get_running_loop().run_in_executor(None, may_end.wait, 10)

        def run() -> None:
            try:
                asyncio.run(serve_in_thread())
            except BaseException as error:
                errors.append(error)

        async def serve() -> threading.Thread:
            with catch_signals(self.note("main")):
                thread = threading.Thread(target=run)
                thread.start()
                self.assertTrue(has_begun.wait(10))
                signal.raise_signal(signal.SIGTERM)
                await turn_loop()
                return thread

        with self.handle(signal.SIGTERM, signal.SIG_DFL):
            thread = asyncio.run(serve())
            self.assertFalse(are_signals_caught())
            may_end.set()
            thread.join(10)
        self.assertEqual(errors, [])
        self.assert_told(("main", signal.SIGTERM))


class DeafSelector(SkippingSelector):
    """As that of Windows: a signal is noticed when it has returned for another reason."""

    rounds = 0
    is_deaf = True

    def select(self, timeout: Optional[float] = None) -> Any:
        if timeout is None and self.is_deaf:
            raise AssertionError("it would sleep for ever")
        self.rounds += 1
        ready = super().select(timeout)
        if self.rounds == 20:
            signal.raise_signal(signal.SIGINT)
        return ready


class DeafSelectTests(SignalCase):
    async def wait_for_signal(self) -> None:
        came = asyncio.Event()
        with catch_signals(lambda number: came.set()):
            await came.wait()
        # The last tick finds nobody.
        await pass_time(1)

    def test_signal_is_noticed_in_time(self) -> None:
        with mock.patch.object(signals, "SELECT_IGNORES_SIGNALS", True):
            loop = SkippingLoop(DeafSelector)
            begun = loop.time()
            loop.run_until_complete(self.wait_for_signal())
            self.assertLess(loop.time() - begun, 20 * 0.25 + 2)
            loop.close()

    @unittest.skipIf(sys.platform == "win32", "here it has one")
    def test_without_a_tick_it_would_not(self) -> None:
        selectors: List[DeafSelector] = []

        def make_selector(clock: Clock) -> DeafSelector:
            selectors.append(DeafSelector(clock))
            return selectors[-1]

        loop = SkippingLoop(make_selector)
        self.addCleanup(loop.close)
        task = loop.create_task(self.wait_for_signal())
        with self.assertRaisesRegex(AssertionError, "sleep for ever"):
            loop.run_until_complete(task)
        task.cancel()
        selectors[0].is_deaf = False
        with self.assertRaises(asyncio.CancelledError):
            loop.run_until_complete(task)


if __name__ == "__main__":
    unittest.main()
