"""`run_in_thread`: a server beside a program that does something else."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import unittest
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Dict, List
from unittest import mock

from wsbridge.config import ServerConfig
from wsbridge.protocols.errors import ConfigError, LifespanFailed, StateError
from wsbridge.server import thread as thread_module
from wsbridge.server.logs.log import logger
from wsbridge.server.thread import ThreadedServer, run_in_thread

from .loopback import (
    CERTIFICATE,
    CLOSE_1012,
    HELLO,
    KEY,
    PEER_HELLO,
    RENEWED_CERTIFICATE,
    REQUEST,
    SWITCHING,
    TIMEOUT,
)

try:
    import ssl
except ImportError:
    ssl = None  # type: ignore[assignment]

Event = Dict[str, Any]


async def echo(scope: Event, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


async def fail_shutdown(scope: Event, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "no"})


class ThreadCase(unittest.TestCase):
    """The test is the host, and a client that blocks; what is logged from WARNING on stands in `logged`."""

    def setUp(self) -> None:
        self.logged: List[str] = []
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: self.logged.append(record.getMessage())  # type: ignore[method-assign]
        self.addCleanup(setattr, logger, "propagate", logger.propagate)
        logger.propagate = False
        self.addCleanup(logger.removeHandler, handler)
        logger.addHandler(handler)

    def tearDown(self) -> None:
        self.assertEqual(self.logged, [])

    def run_server(self, app: Any = echo, **options: Any) -> ThreadedServer:
        server = run_in_thread(app, ServerConfig(port=0), **{"lifespan": "off", **options})
        self.addCleanup(server.close, 0)
        return server

    def connect(self, server: ThreadedServer) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", int(server.urls[0].rpartition(":")[2])), TIMEOUT)
        self.addCleanup(client.close)
        return client

    def open_websocket(self, server: ThreadedServer) -> socket.socket:
        client = self.connect(server)
        client.sendall(REQUEST)
        self.assert_answer(client, SWITCHING)
        return client

    def assert_answer(self, client: socket.socket, expected: bytes) -> None:
        answer = b""
        while len(answer) < len(expected) and (data := client.recv(len(expected) - len(answer))):
            answer += data
        self.assertEqual(answer, expected)

    def assert_echo(self, client: socket.socket) -> None:
        client.sendall(PEER_HELLO)
        self.assert_answer(client, HELLO)


@unittest.skipIf(ssl is None, "this Python was built without ssl")
class CertificateTests(ThreadCase):
    def test_certificates_are_read_again(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        file = Path(folder.name) / "all.pem"
        file.write_text(CERTIFICATE + KEY)
        server = self.run_server(ssl_certfile=os.fspath(file))
        file.write_text(RENEWED_CERTIFICATE + KEY)
        self.assertTrue(server.reload_certificates())
        context = ssl.create_default_context(cadata=CERTIFICATE)
        with context.wrap_socket(self.connect(server), server_hostname="localhost") as client:
            peer: Any = client.getpeercert()
        self.assertEqual(peer["serialNumber"], "02")


class RunTests(ThreadCase):
    def test_block_serves_inside_and_no_longer_behind(self) -> None:
        with run_in_thread(echo, port=0, lifespan="off", metrics_path="") as server:
            self.assertRegex(server.urls[0], r"^http://127\.0\.0\.1:\d+$")
            client = self.open_websocket(server)
            self.assert_echo(client)
            (connection,) = server.connections
            self.assertEqual((connection.path, connection.state), ("/chat", "open"))
            client.close()
        self.assertEqual(server.connections, [])
        self.assertEqual(server.metrics["wsbridge_connections_total"], 1)
        self.assertIn("\nwsbridge_connections_total 1\n", server.metrics_text)
        with self.assertRaises(ConnectionRefusedError):
            self.connect(server)

    def test_host_calls_the_application_through_the_loop(self) -> None:
        queues: List[asyncio.Queue[str]] = []

        async def push(scope: Event, receive: Any, send: Any) -> None:
            queues.append(asyncio.Queue())
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": await queues[0].get()})
            await receive()

        with self.run_server(push) as server:
            client = self.open_websocket(server)
            asyncio.run_coroutine_threadsafe(queues[0].put("Hello"), server.loop).result(TIMEOUT)
            self.assert_answer(client, HELLO)
            client.close()

    def test_sockets_of_the_caller_are_served(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as bound, self.run_server(sockets=[bound]) as server:
            self.assertEqual(server.urls, [f"http://127.0.0.1:{bound.getsockname()[1]}"])
            client = self.open_websocket(server)
            self.assert_echo(client)
            client.close()

    def test_what_an_application_raises_ends_its_own_connection_alone(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            if scope["query_string"]:
                await receive()
                await send({"type": "websocket.accept"})
                raise errors.pop()
            await echo(scope, receive, send)

        errors: List[BaseException] = [KeyboardInterrupt(), SystemExit()]
        with self.run_server(app) as server:
            other = self.open_websocket(server)
            for _ in range(2):
                client = self.connect(server)
                client.sendall(REQUEST.replace(b"/chat", b"/chat?exit"))
                # RFC 6455 5.5.1: CLOSE with 1011.
                self.assert_answer(client, SWITCHING + bytes.fromhex("88 02 03f3"))
                client.close()
            self.assert_echo(other)
            other.close()
        self.assertEqual(self.logged, ["application raised"] * 2)
        self.logged.clear()


class StartErrorTests(ThreadCase):
    """An error of the start is raised where `run_in_thread` was called, and nothing is left of it."""

    def assert_no_start(self, error: Any, text: str, app: Any = echo, **options: Any) -> None:
        before = threading.active_count()
        with self.assertRaisesRegex(error, text):
            run_in_thread(app, **{"port": 0, "lifespan": "off", **options})
        self.assertEqual(threading.active_count(), before)

    def test_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.assert_no_start(OSError, "in use", port=taken.getsockname()[1])

    def test_startup_that_fails(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            raise KeyError("database")

        self.assert_no_start(LifespanFailed, "KeyError: 'database'", app, lifespan="on")

    def test_wrong_arguments(self) -> None:
        self.assert_no_start(TypeError, "^there is no option 'prot': did you mean port", prot=1)
        self.assert_no_start(ConfigError, "^port=-1: ", port=-1)
        self.assert_no_start(TypeError, "^app must be an ASGI application", 5)

    def test_ctrl_c_in_the_host_ends_a_startup_that_hangs(self) -> None:
        told: List[str] = []
        begun = threading.Event()
        interrupted: List[bool] = []
        wait = Future.result

        def interrupt_first(future: Any, timeout: Any = None) -> Any:
            if not interrupted:
                interrupted.append(True)
                begun.wait(TIMEOUT)
                raise KeyboardInterrupt
            return wait(future, timeout)

        async def app(scope: Event, receive: Any, send: Any) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                told.append("cancelled")

        with mock.patch.object(Future, "result", interrupt_first):
            self.assert_no_start(KeyboardInterrupt, "", app, lifespan="on")
        self.assertEqual(told, ["cancelled"])


class CloseTests(ThreadCase):
    def test_open_websocket_gets_1012(self) -> None:
        server = self.run_server()
        client = self.open_websocket(server)
        closing = threading.Thread(target=server.close)
        closing.start()
        self.assert_answer(client, CLOSE_1012)
        client.close()
        closing.join(TIMEOUT)
        self.assertFalse(closing.is_alive())

    def test_peer_that_does_not_close_is_cut_after_the_time_that_was_given(self) -> None:
        server = self.run_server()
        client = self.open_websocket(server)
        server.close(0)
        self.assertEqual(client.recv(100)[:2], CLOSE_1012[:2])
        self.assertTrue(server.loop.is_closed())

    def test_it_is_a_daemon_so_that_a_host_that_forgets_it_can_end(self) -> None:
        before = set(threading.enumerate())
        self.run_server()
        (thread,) = set(threading.enumerate()) - before
        self.assertTrue(thread.daemon)

    def test_any_thread_may_close_it_and_a_second_time_too(self) -> None:
        server = self.run_server()
        threads = [threading.Thread(target=server.close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        server.close()
        self.assertFalse(any(thread.is_alive() for thread in threads))

    def test_application_that_ignores_its_cancellation_is_left_behind(self) -> None:
        cancellations: List[bool] = []

        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            while not cancellations:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancellations.append(True)
                    await receive()

        server = self.run_server(app)
        client = self.open_websocket(server)
        server.close(0)
        client.close()
        self.assertEqual(cancellations, [True])
        self.assertTrue(server.loop.is_closed())

    def test_task_that_an_application_has_left_is_cancelled(self) -> None:
        told: List[str] = []

        async def go_on() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                told.append("cancelled")

        server = self.run_server()
        task = asyncio.run_coroutine_threadsafe(go_on(), server.loop)
        server.close()
        self.assertEqual((told, task.cancelled()), (["cancelled"], True))

    def test_without_a_limit_it_waits_for_what_the_configuration_allows(self) -> None:
        waited: List[Any] = []
        join = threading.Thread.join

        def note_and_join(thread: threading.Thread, timeout: Any = None) -> None:
            waited.append(timeout)
            join(thread, timeout)

        options: Any
        for options in (
            {"timeout_graceful_shutdown": 2, "timeout_lifespan_shutdown": 4},
            {"timeout_graceful_shutdown": None},
            {"timeout_lifespan_shutdown": None},
        ):
            server = self.run_server(**options)
            with mock.patch.object(threading.Thread, "join", note_and_join):
                server.close()
        # Until all is aborted, and for as long again as what is aborted may take: 5 s.
        self.assertEqual(waited, [2 + 4 + 5 + 5, None, None])

    def test_shutdown_that_fails_is_raised_and_the_thread_has_ended(self) -> None:
        server = self.run_server(fail_shutdown, lifespan="on")
        with self.assertRaisesRegex(LifespanFailed, "no$"):
            server.close()
        self.assertTrue(server.loop.is_closed())

    def test_application_cannot_wait_for_its_own_end(self) -> None:
        server = self.run_server()

        async def close() -> None:
            server.close()

        closing = asyncio.run_coroutine_threadsafe(close(), server.loop)
        with self.assertRaisesRegex(
            StateError, r"^close\(\) waits for the thread that it was called in; .*to_thread"
        ):
            closing.result(TIMEOUT)

    def test_application_that_blocks_the_loop_is_told(self) -> None:
        server = self.run_server()
        may_go_on = threading.Event()
        server.loop.call_soon_threadsafe(may_go_on.wait, TIMEOUT)
        with mock.patch.object(thread_module, "END_TIMEOUT", 0):
            with self.assertRaisesRegex(
                TimeoutError, "^the server's thread goes on: .* blocks its event loop"
            ):
                server.close(0)
            may_go_on.set()
        server.close()
        self.assertTrue(server.loop.is_closed())


class HostTests(ThreadCase):
    """The process stays as it is."""

    def describe_process(self) -> List[Any]:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        loggers = [(one.level, list(one.handlers), one.propagate) for one in (logging.root, logger)]
        # Python 3.16 has no policies.
        policy = vars(asyncio.events).get("_event_loop_policy")
        return [*handlers, *loggers, policy, signal.set_wakeup_fd(-1), list(threading.enumerate())]

    def count_descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd")) if sys.platform.startswith("linux") else 0

    def test_50_starts_and_stops_leave_nothing(self) -> None:
        with self.run_server():
            pass
        gc.collect()
        before, descriptors = self.describe_process(), self.count_descriptors()
        for number in range(50):
            with run_in_thread(echo, port=0, lifespan="off") as server:
                client = self.open_websocket(server)
                self.assert_echo(client)
                if number % 2:
                    client.close()
                else:
                    server.close(0)
                    client.close()
            self.assertTrue(server.loop.is_closed())
        self.assertEqual(self.describe_process(), before)
        gc.collect()
        self.assertEqual(self.count_descriptors(), descriptors)


if __name__ == "__main__":
    unittest.main()
