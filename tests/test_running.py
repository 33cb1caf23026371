"""`run`: a server in an event loop of its own, which no application can end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import tempfile
import threading
import types
import unittest
import weakref
from pathlib import Path
from typing import Any, AsyncIterator, Dict, List, Optional, Tuple
from unittest import mock

from wsbridge.config import ServerConfig
from wsbridge.protocols.errors import ConfigError
from wsbridge.server.logs.log import logger
from wsbridge.server.running import run
from wsbridge.server.server import Server
from wsbridge.server.signals import are_signals_caught
from wsbridge.server.speed import new_event_loop

from .doubles import HAS_FAST, turn_loop
from .freezing import setUpModule, tearDownModule  # noqa: F401
from .loopback import (
    CERTIFICATE,
    CLOSE,
    HELLO,
    KEY,
    PEER_CLOSE,
    PEER_HELLO,
    REQUEST,
    SWITCHING,
    TIMEOUT,
    Client,
)
from .skipping import SkippingLoop, make_loops
from .test_deflate import measured_memory
from .test_server import Application, hanging_app

try:
    import ssl
except ImportError:
    ssl = None  # type: ignore[assignment]

Event = Dict[str, Any]


async def start_and_stop(receive: Any, send: Any) -> None:
    """A lifespan; the process is told to stop as soon as the application has started."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    signal.raise_signal(signal.SIGTERM)
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


class RunTests(unittest.TestCase):
    """Each test in a loop of its own."""

    def setUp(self) -> None:
        # `run` prints our log lines; the other tests' shall stay where they are.
        self.addCleanup(setattr, logger, "handlers", list(logger.handlers))
        self.addCleanup(logger.setLevel, logger.level)

    def run_and_stop(self, **options: Any) -> Tuple[type, List[str]]:
        """The loop's type, and what the application was told."""
        log: List[str] = []
        loops: List[type] = []

        async def app(scope: Event, receive: Any, send: Any) -> None:
            loops.append(type(asyncio.get_running_loop()))
            log.append((await receive())["type"])
            await send({"type": "lifespan.startup.complete"})
            signal.raise_signal(signal.SIGTERM)
            log.append((await receive())["type"])
            await send({"type": "lifespan.shutdown.complete"})

        run(app, ServerConfig(), port=0, **options)
        [loop] = loops
        return loop, log

    def test_run_serves_until_it_is_stopped(self) -> None:
        self.assertEqual(self.run_and_stop()[1], ["lifespan.startup", "lifespan.shutdown"])

    def test_application_that_ignores_its_cancellation_is_exit_code_1(self) -> None:
        async def ignore(scope: Event, receive: Any, send: Any) -> None:
            await send({"type": "websocket.accept"})
            while len(cancellations) < 2:
                try:
                    await asyncio.sleep(TIMEOUT)
                except asyncio.CancelledError:
                    cancellations.append("ignored")

        async def program(client: Client) -> None:
            client.send(REQUEST)
            self.assertEqual(await client.read(len(SWITCHING)), SWITCHING)
            signal.raise_signal(signal.SIGTERM)
            await client.read_to_end()
            await client.close()

        cancellations: List[str] = []
        name = "ProactorEventLoop" if hasattr(asyncio, "ProactorEventLoop") else "SelectorEventLoop"
        with mock.patch.object(asyncio, name, SkippingLoop), self.assertRaisesRegex(SystemExit, "^1$"):
            self.run_program(program, websocket=ignore, loop="asyncio")

    def test_several_workers_need_the_name_of_the_application(self) -> None:
        with self.assertRaisesRegex(ConfigError, "^workers=2: "):
            run(hanging_app, workers=2)

    def build_tls(self) -> Dict[str, Any]:
        """The options of a server with a certificate."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        certificate, key = Path(folder.name) / "cert.pem", Path(folder.name) / "key.pem"
        certificate.write_text(CERTIFICATE)
        key.write_text(KEY)
        return {"ssl_certfile": os.fspath(certificate), "ssl_keyfile": os.fspath(key)}

    @unittest.skipIf(ssl is None, "this Python was built without ssl")
    def test_loop_is_the_fastest_there_is_and_asyncios_own_under_tls(self) -> None:
        for make, options in ((new_event_loop, {}), (asyncio.new_event_loop, self.build_tls())):
            loop = make()
            loop.close()
            self.assertIs(self.run_and_stop(**options)[0], type(loop))

    def test_loop_of_asyncio_is_asyncios_own_whatever_policy_is_set(self) -> None:
        with mock.patch.object(asyncio, "new_event_loop", None):
            loop = self.run_and_stop(loop="asyncio")[0]
        self.assertIs(loop, getattr(asyncio, "ProactorEventLoop", asyncio.SelectorEventLoop))

    def test_uvloop_is_used_where_it_is_installed(self) -> None:
        class Loop(asyncio.SelectorEventLoop):
            __module__ = "uvloop"

        with mock.patch.dict(sys.modules, uvloop=types.SimpleNamespace(new_event_loop=Loop)):
            self.assertIs(self.run_and_stop(loop="uvloop")[0], Loop)

    def test_uvloop_that_is_not_installed_is_told_and_nothing_is_started(self) -> None:
        with (
            mock.patch.dict(sys.modules, uvloop=None),
            self.assertRaisesRegex(ConfigError, "^loop='uvloop': .*; install uvloop, or leave loop at auto$"),
        ):
            run(hanging_app, loop="uvloop", port=0)

    @unittest.skipUnless(hasattr(socket, "AF_UNIX"), "a system without systemd")
    def test_systemd_is_told_when_it_listens_and_when_it_stops(self) -> None:
        async def program(client: Client) -> None:
            while not told:
                await asyncio.sleep(0)
                with contextlib.suppress(BlockingIOError):
                    told.append(systemd.recv(100))

        told: List[bytes] = []
        with (
            tempfile.TemporaryDirectory() as folder,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
        ):
            path = os.path.join(folder, "notify")
            systemd.bind(path)
            systemd.setblocking(False)
            with mock.patch.dict(os.environ, {"NOTIFY_SOCKET": path}):
                self.run_program(program)
            told.append(systemd.recv(100))
        self.assertEqual(told, [b"READY=1", b"STOPPING=1"])

    def run_program(
        self, program: Any, told: Optional[List[str]] = None, websocket: Any = None, loop: str = "auto"
    ) -> List[str]:
        """Run ``program`` as a task of the application, with a client of the server; then stop the server.

        ``websocket`` is the application of WebSockets, if it is not to echo.
        Returns what the application was told, which is also appended to ``told``.
        """
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = free.getsockname()
        told = [] if told is None else told
        apps: List[Application] = []

        async def program_and_stop() -> None:
            try:
                while True:
                    try:
                        client = Client(*await asyncio.open_connection(*address))
                        break
                    except ConnectionRefusedError:
                        await asyncio.sleep(0)
                await asyncio.wait_for(program(client), TIMEOUT)
            finally:
                if are_signals_caught():
                    signal.raise_signal(signal.SIGTERM)

        async def app_with_program(scope: Event, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                scope["state"]["task"] = asyncio.ensure_future(program_and_stop())
                apps.append(Application(told))
            is_other = websocket is not None and scope["type"] == "websocket"
            await (websocket if is_other else apps[0])(scope, receive, send)

        run(app_with_program, port=address[1], loop=loop)
        return told

    async def assert_lives(self, client: Client) -> None:
        client.send(PEER_HELLO)
        self.assertEqual(await client.read(len(HELLO)), HELLO)

    def test_what_asyncio_lets_through_is_logged_once_and_everybody_lives_on(self) -> None:
        def raise_it(error: BaseException) -> None:
            raise error

        async def raise_later(error: BaseException) -> None:
            await asyncio.sleep(0)
            raise error

        async def raise_and_lose(error: BaseException) -> None:
            task = asyncio.ensure_future(raise_later(error))
            await turn_loop()
            del task
            gc.collect()

        async def raise_and_await(error: BaseException) -> None:
            with self.assertRaises(type(error)):
                await asyncio.gather(raise_later(error))

        async def raise_in_callback(error: BaseException) -> None:
            asyncio.get_running_loop().call_soon(raise_it, error)
            await turn_loop()

        async def raise_in_timer(error: BaseException) -> None:
            asyncio.get_running_loop().call_later(0, raise_it, error)
            await turn_loop()

        for do in (raise_and_lose, raise_and_await, raise_in_callback, raise_in_timer):
            for error in (SystemExit(3), SystemExit(), KeyboardInterrupt()):
                with self.subTest(do.__name__, error=error):

                    async def program(client: Client, do: Any = do, error: Any = error) -> None:
                        client.send(REQUEST)
                        self.assertEqual(await client.read(len(SWITCHING)), SWITCHING)
                        await self.assert_lives(client)
                        await do(error)
                        await self.assert_lives(client)
                        client.send(PEER_CLOSE)
                        self.assertEqual(await client.read_to_end(), CLOSE)
                        await client.close()

                    with self.assertLogs(level="ERROR") as logs:
                        log = self.run_program(program)
                    self.assertEqual(log, ["startup", "disconnect 1000", "shutdown"])
                    errors = [line for line in logs.output if type(error).__name__ in line]
                    self.assertEqual(len(errors), 1, errors)
                    text = f"(?s)^ERROR:wsbridge.error:application raised\nTraceback.*{type(error).__name__}"
                    self.assertRegex(errors[0], text)

    def assert_application_fails(self, fail: Any, path: bytes = b"/chat") -> None:
        """``fail`` is called in an accepted WebSocket's application, which goes on; its peer gets 1011."""

        class Trace:
            """A part of the connection, which must not be kept."""

            def __call__(self, *frame: object) -> None: ...

        traces: List[weakref.ref[Trace]] = []
        is_kept: List[bool] = []

        async def websocket(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            if scope["path"] == "/fail":
                scope["wsbridge.connection"].trace = trace = Trace()
                traces.append(weakref.ref(trace))
                del trace
                keep = fail(receive, send)
                if asyncio.isfuture(keep):
                    # The test keeps the task, and so its error.
                    traces.clear()
                if asyncio.isfuture(keep):
                    with contextlib.suppress(SystemExit, KeyboardInterrupt):
                        await keep
                while (event := await receive())["type"] == "websocket.receive":
                    pass
                self.assertEqual((event["code"], bool(keep)), (1011, True))
                return
            while (event := await receive())["type"] == "websocket.receive":
                await send({**event, "type": "websocket.send"})

        async def program(other: Client) -> None:
            other.send(REQUEST)
            self.assertEqual(await other.read(len(SWITCHING)), SWITCHING)
            address = other.writer.get_extra_info("peername")
            client = Client(*await asyncio.open_connection(*address))
            client.send(REQUEST.replace(b"/chat", b"/fail"), PEER_HELLO)
            # CLOSE 1011, whatever came before.
            self.assertTrue((await client.read(len(SWITCHING) + 4)).endswith(bytes.fromhex("88 02 03f3")))
            client.send(bytes.fromhex("88 82 00000000 03f3"))
            self.assertEqual(await client.read_to_end(), b"")
            await client.close()
            await self.assert_lives(other)
            for record in logs.records:
                # It refers to the error, and that to all frames.
                record.exc_info = None
            gc.collect()
            is_kept.extend(trace() is not None for trace in traces)
            other.send(PEER_CLOSE)
            self.assertEqual(await other.read_to_end(), CLOSE)
            await other.close()

        with self.assertLogs("wsbridge", level="ERROR") as logs:
            self.assertEqual(self.run_program(program, websocket=websocket), ["startup", "shutdown"])
        errors = [line for line in logs.output if line.startswith("ERROR")]
        self.assertEqual(len(errors), 1, errors)
        self.assertFalse(any(is_kept))

    def test_task_of_an_application_that_exits_is_1011_for_its_peer_alone(self) -> None:
        async def exit_later() -> None:
            await asyncio.sleep(0)
            sys.exit(3)

        self.assert_application_fails(lambda receive, send: asyncio.ensure_future(exit_later()))

    def test_task_that_exits_where_it_received_is_1011_for_its_peer_alone(self) -> None:
        """It goes on inside the read."""

        async def receive_and_exit(receive: Any) -> None:
            await receive()
            sys.exit(3)

        self.assert_application_fails(lambda receive, send: asyncio.ensure_future(receive_and_exit(receive)))

    def test_task_of_a_task_that_is_interrupted_is_1011_for_its_peer_alone(self) -> None:
        async def interrupt() -> None:
            raise KeyboardInterrupt

        async def start() -> None:
            self.inner = asyncio.ensure_future(interrupt())

        self.assert_application_fails(lambda receive, send: asyncio.ensure_future(start()))

    def test_callback_and_timer_of_an_application_that_exit_are_1011_for_its_peer_alone(self) -> None:
        loop = asyncio.get_running_loop
        self.assert_application_fails(lambda receive, send: loop().call_soon(sys.exit, 3))
        self.assert_application_fails(lambda receive, send: loop().call_later(0.001, sys.exit, 3))

    def test_callback_that_exits_before_the_accept_is_500(self) -> None:
        async def websocket(scope: Event, receive: Any, send: Any) -> None:
            asyncio.get_running_loop().call_soon(sys.exit, 3)
            await receive()
            self.assertEqual((await receive())["code"], 1006)

        async def program(client: Client) -> None:
            client.send(REQUEST)
            self.assertRegex(await client.read_to_end(), b"^HTTP/1.1 500 Internal Server Error\r\n")
            await client.close()

        with self.assertLogs("wsbridge", level="ERROR"):
            self.run_program(program, websocket=websocket)

    def test_application_that_passes_an_exit_of_its_task_on_is_logged_once(self) -> None:
        async def exit_later() -> None:
            await asyncio.sleep(0)
            sys.exit(3)

        async def websocket(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await asyncio.gather(exit_later())

        async def program(client: Client) -> None:
            client.send(REQUEST)
            self.assertEqual(await client.read(len(SWITCHING)), SWITCHING)
            # CLOSE 1011.
            self.assertEqual(await client.read(4), bytes.fromhex("88 02 03f3"))
            client.send(PEER_CLOSE)
            await client.close()

        with self.assertLogs(level="ERROR") as logs:
            self.assertEqual(self.run_program(program, websocket=websocket), ["startup", "shutdown"])
        self.assertEqual(sum("SystemExit: 3" in line for line in logs.output), 1)

    def test_other_connections_of_the_same_turn_lose_nothing(self) -> None:
        """Their bytes are in the kernel or the loop: neither forgets them."""

        async def program(first: Client) -> None:
            others = [
                Client(*await asyncio.open_connection(*first.writer.get_extra_info("peername"))) for _ in "12"
            ]
            clients = [others[0], first, others[1]]
            for client in clients:
                client.send(REQUEST)
                self.assertEqual(await client.read(len(SWITCHING)), SWITCHING)
            for _ in range(5):
                for client in clients:
                    client.send(PEER_HELLO)
                    asyncio.get_running_loop().call_soon(sys.exit, 3)
                for client in clients:
                    self.assertEqual(await client.read(len(HELLO)), HELLO)
            for client in clients:
                client.send(PEER_CLOSE)
                self.assertEqual(await client.read_to_end(), CLOSE)
                await client.close()

        with self.assertLogs(level="ERROR"):
            log = self.run_program(program)
        self.assertEqual(log, ["startup", *["disconnect 1000"] * 3, "shutdown"])

    def test_application_that_exits_when_it_is_cancelled_at_the_end_is_logged(self) -> None:
        async def exit_at_the_end() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                sys.exit(3)

        async def program(client: Client) -> None:
            await client.close()
            tasks.append(asyncio.ensure_future(exit_at_the_end()))

        tasks: List[Any] = []
        with self.assertLogs(level="ERROR") as logs:
            self.assertEqual(self.run_program(program), ["startup", "shutdown"])
        self.assertEqual(sum(line.startswith("ERROR") for line in logs.output), 1)

    def test_other_errors_of_tasks_are_still_told(self) -> None:
        async def fail() -> None:
            raise KeyError("database")

        async def program(client: Client) -> None:
            await client.close()
            failing = asyncio.ensure_future(fail())
            await turn_loop()
            del failing
            gc.collect()

        with self.assertLogs("asyncio", level="ERROR") as logs:
            self.run_program(program)
        self.assertRegex("\n".join(logs.output), "(?s)never retrieved.*KeyError: 'database'")

    def test_handler_of_the_program_may_end_it_behind_the_stop(self) -> None:
        def leave(number: int, frame: object) -> None:
            raise SystemExit(5)

        self.addCleanup(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, leave))
        with self.assertRaises(SystemExit) as end:
            self.run_and_stop()
        self.assertEqual(end.exception.code, 5)

    def test_signal_during_the_startup_is_the_exit_code(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):

            async def app(scope: Event, receive: Any, send: Any, number: int = number) -> None:
                await receive()
                signal.raise_signal(number)
                await asyncio.Event().wait()

            with self.assertRaises(SystemExit) as end:
                run(app, port=0)
            self.assertEqual(end.exception.code, 128 + number)

    def test_signal_that_has_ended_the_startup_is_the_exit_code(self) -> None:
        """Once more without a cancellation, behind which coverage is lost on Python 3.11."""

        async def serve(server: Server) -> None:
            server.startup_signal = signal.SIGTERM

        with mock.patch.object(Server, "serve", serve), self.assertRaises(SystemExit) as end:
            run(hanging_app)
        self.assertEqual(end.exception.code, 143)

    def test_abandoned_applications_are_exit_code_1(self) -> None:
        """Once more without a cancellation, as above."""

        async def serve(server: Server) -> None:
            server.abandoned = 1

        with mock.patch.object(Server, "serve", serve), self.assertRaises(SystemExit) as end:
            run(hanging_app)
        self.assertEqual(end.exception.code, 1)

    def test_keyboard_interrupt_comes_out_where_no_signal_is_caught(self) -> None:
        """Where C code has SIGINT it may be a Ctrl-C."""
        told: List[str] = []

        def interrupt() -> None:
            raise KeyboardInterrupt

        async def program(client: Client) -> None:
            await client.close()
            asyncio.get_running_loop().call_soon(interrupt)
            await turn_loop()

        with mock.patch("signal.getsignal", return_value=None), self.assertRaises(KeyboardInterrupt):
            self.run_program(program, told)
        self.assertEqual(told, ["startup", "shutdown"])

    def test_thread_that_never_ends_is_not_waited_for(self) -> None:
        may_end = threading.Event()
        self.addCleanup(may_end.set)

        async def program(client: Client) -> None:
            await client.close()
            waiting.append(asyncio.ensure_future(wait_in_thread()))
            await turn_loop()

        async def wait_in_thread() -> None:
            await asyncio.get_running_loop().run_in_executor(None, may_end.wait)

        waiting: List[Any] = []
        self.assertEqual(self.run_program(program), ["startup", "shutdown"])
        self.assertFalse(may_end.is_set())

    @unittest.skipUnless(HAS_FAST, "wsbridge/server/fast is not there")
    @unittest.skipUnless(sys.implementation.name == "cpython", "nothing is asked of this Python's malloc")
    def test_allocator_is_asked_to_keep_large_blocks(self) -> None:
        with measured_memory() as memory:
            self.run_and_stop()
        # By one block of 4 MiB.
        self.assertGreater(memory.peak, 4 << 20)

    @unittest.skipIf(ssl is None, "this Python was built without ssl")
    def test_task_that_ignores_its_cancellation_does_not_keep_the_process(self) -> None:
        stubborn: List[Any] = []

        async def ignore_cancellation() -> None:
            while len(stubborn) < 3:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    stubborn.append("cancelled")

        async def app(scope: Event, receive: Any, send: Any) -> None:
            stubborn.append(asyncio.ensure_future(ignore_cancellation()))
            await start_and_stop(receive, send)

        # Under TLS the loop is asyncio's.
        with make_loops(SkippingLoop):
            run(app, port=0, **self.build_tls())
        self.assertEqual(stubborn[1:], ["cancelled"])

    @unittest.skipIf(ssl is None, "this Python was built without ssl")
    def test_generator_that_does_not_close_does_not_keep_the_process(self) -> None:
        generators: List[Any] = []
        log: List[str] = []

        async def generate() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                log.append("closing")
                await asyncio.Event().wait()

        async def app(scope: Event, receive: Any, send: Any) -> None:
            generators.append(generate())
            await generators[0].__anext__()
            await start_and_stop(receive, send)

        # Under TLS the loop is asyncio's.
        with make_loops(SkippingLoop):
            run(app, port=0, **self.build_tls())
        self.assertEqual(log, ["closing"])


if __name__ == "__main__":
    unittest.main()
