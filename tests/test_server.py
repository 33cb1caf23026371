"""`Server`, `serve`, `run`: listening on real sockets, lifespan, signals, and a clean stop."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import re
import signal
import socket
import stat
import struct
import sys
import tempfile
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, Optional
from unittest import mock

import wsbridge
from wsbridge.config import ServerConfig
from wsbridge.protocols.errors import ConfigError, LifespanFailed, StateError
from wsbridge.server.connection.exchange import Exchange
from wsbridge.server.listening import inherited as inherited_module
from wsbridge.server.logs.log import logger
from wsbridge.server.server import Server, serve

from .doubles import turn_loop, without
from .freezing import setUpModule, tearDownModule  # noqa: F401
from .loopback import (
    CERTIFICATE,
    CLOSE,
    CLOSE_1012,
    ENCRYPTED_KEY,
    HELLO,
    KEY,
    PEER_CLOSE,
    PEER_HELLO,
    RENEWED_CERTIFICATE,
    REQUEST,
    SWITCHING,
    TIMEOUT,
    Client,
    LoopbackCase,
    ignore_unclosed,
)
from .skipping import SkippingCase, run_skipping
from .test_deflate import measured_memory

try:
    import ssl
except ImportError:
    ssl = None  # type: ignore[assignment]

Event = Dict[str, Any]

PAGE_REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
PAGE = b"HTTP/1.1 200 OK\r\nDate: today\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"
PEER_CLOSE_1012 = bytes.fromhex("88 82 00000000 03f4")


def count_exchanges() -> int:
    return sum(isinstance(thing, Exchange) for thing in gc.get_objects())


class Application:
    """An echo and a page, with a lifespan; notes what it is called with."""

    def __init__(self, log: Optional[List[str]] = None) -> None:
        self.log: List[str] = [] if log is None else log
        self.scopes: List[Event] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.asked = asyncio.Event()

    async def __call__(self, scope: Event, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await getattr(self, scope["type"])(scope, receive, send)

    async def lifespan(self, scope: Event, receive: Any, send: Any) -> None:
        await receive()
        self.log.append("startup")
        scope["state"]["room"] = 5
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.log.append("shutdown")
        await send({"type": "lifespan.shutdown.complete"})

    async def http(self, scope: Event, receive: Any, send: Any) -> None:
        self.asked.set()
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Date", b"today")]})
        await send({"type": "http.response.body", "body": b"hi"})

    async def websocket(self, scope: Event, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while (event := await receive())["type"] == "websocket.receive":
                await send({**event, "type": "websocket.send"})
            self.log.append(f"disconnect {event['code']}")
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise


class ServerCase(LoopbackCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.app = Application()

    async def start(self, app: Any = None, **options: Any) -> Server:
        server = Server(app or self.app, ServerConfig(port=0), **options)
        await asyncio.wait_for(server.start(), TIMEOUT)
        self.addAsyncCleanup(server.stop)
        return server

    async def connect_to(self, server: Server, **options: Any) -> Client:
        return await self.connect(server.sockets[0].getsockname(), **options)

    async def open_websocket(self, server: Server, **options: Any) -> Client:
        client = await self.connect_to(server, **options)
        client.send(REQUEST)
        await self.assert_answer(client, SWITCHING)
        return client

    async def assert_echo(self, client: Client) -> None:
        client.send(PEER_HELLO, PEER_CLOSE)
        await self.assert_end(client, HELLO + CLOSE)

    async def assert_goes_away(self, client: Client) -> None:
        """The client is told that the server stops, and answers; that ends the connection."""
        await self.assert_answer(client, CLOSE_1012)
        client.send(PEER_CLOSE_1012)
        await self.assert_end(client)

    async def assert_no_start(self, error: Any, text: str, app: Any = None, **options: Any) -> None:
        server = Server(app or self.app, ServerConfig(port=0), **options)
        with self.assertRaisesRegex(error, text):
            await asyncio.wait_for(server.start(), TIMEOUT)
        self.assertEqual(server.sockets, [])

    def assert_backlog(self, expected: int, server: Server) -> None:
        """The kernel's own number."""
        if not sys.platform.startswith("linux"):
            self.skipTest("only Linux tells the backlog of a socket that listens")
        info = server.sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        # linux/tcp.h: for a socket that listens the seventh word of tcp_info is its backlog.
        self.assertEqual(struct.unpack_from("I", info, 28), (expected,))

    def assert_no_task_is_left(self) -> None:
        self.assertEqual(asyncio.all_tasks(), {asyncio.current_task()})


class ListeningTests(ServerCase):
    async def test_port_0_takes_a_free_one_that_urls_and_sockets_tell(self) -> None:
        server = await self.start()
        host, port = server.sockets[0].getsockname()
        self.assertEqual(host, "127.0.0.1")
        self.assertEqual(server.urls, [f"http://127.0.0.1:{port}"])

    async def test_websocket_and_page_are_served(self) -> None:
        server = await self.start()
        await self.assert_echo(await self.open_websocket(server))
        client = await self.connect_to(server)
        client.send(PAGE_REQUEST)
        await self.assert_end(client, PAGE)

    @unittest.skipUnless(sys.implementation.name == "cpython", "this Python counts no references")
    async def test_connection_that_ended_is_freed_without_the_collector_of_cycles(self) -> None:
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        server = await self.start()
        before = count_exchanges()
        client = await self.open_websocket(server)
        self.assertEqual(count_exchanges(), before + 1)
        await self.assert_echo(client)
        await server.stop()
        self.app.scopes.clear()
        self.assertEqual(count_exchanges(), before)

    @unittest.skipUnless(sys.implementation.name == "cpython", "this Python counts no references")
    async def test_page_and_what_was_never_answered_are_freed_so_as_well(self) -> None:
        begun = asyncio.Event()

        async def app(scope: Event, receive: Any, send: Any) -> None:
            begun.set()
            while (await receive())["type"] != "websocket.disconnect":
                pass

        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        before = count_exchanges()
        server = await self.start(lifespan="off")
        client = await self.connect_to(server)
        client.send(PAGE_REQUEST)
        await self.assert_end(client, PAGE)
        await server.stop()
        self.assertEqual(count_exchanges(), before)
        server = await self.start(app, lifespan="off")
        client = await self.connect_to(server)
        client.send(REQUEST)
        await self.wait_for(begun)
        self.assertEqual(count_exchanges(), before + 1)
        client.reset()
        await server.stop()
        self.assertEqual(count_exchanges(), before)

    async def test_scope_tells_both_ends(self) -> None:
        server = await self.start()
        client = await self.open_websocket(server)
        scope = self.app.scopes[-1]
        self.assertEqual(scope["client"], client.writer.get_extra_info("sockname"))
        self.assertEqual(scope["server"], server.sockets[0].getsockname())
        self.assertEqual(scope["scheme"], "ws")

    async def test_block_listens_inside_and_no_longer_behind(self) -> None:
        async with Server(self.app, port=0) as server:
            address = server.sockets[0].getsockname()
            self.assertEqual(self.app.log, ["startup"])
        self.assertEqual((server.sockets, server.urls), ([], []))
        self.assertEqual(self.app.log, ["startup", "shutdown"])
        with self.assertRaises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        self.assert_no_task_is_left()

    async def test_stopping_twice_is_no_error(self) -> None:
        server = await self.start()
        await server.stop()
        await server.stop()
        self.assertEqual(self.app.log, ["startup", "shutdown"])

    async def test_stopping_what_was_never_started_is_no_error(self) -> None:
        await Server(self.app).stop()
        self.assertEqual(self.app.log, [])

    async def test_options_change_the_configuration_and_leave_the_given_one(self) -> None:
        config = ServerConfig(port=5)
        self.assertEqual(
            Server(self.app, config, port=6, host="::1").config, ServerConfig(host="::1", port=6)
        )
        self.assertEqual(Server(self.app, config).config, config)
        self.assertEqual(Server(self.app, port=6).config, ServerConfig(port=6))
        with self.assertRaisesRegex(ConfigError, "^port=-1"):
            Server(self.app, config, port=-1)

    async def test_application_may_be_named(self) -> None:
        server = await self.start(f"{wsbridge.__name__}.demo.app:app")
        client = await self.connect_to(server)
        client.send(b"HEAD /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        self.assertRegex(await client.read_to_end(), b"^HTTP/1.1 404 Not Found\r\n")

    async def test_kernel_has_the_backlog(self) -> None:
        self.assert_backlog(77, await self.start(backlog=77))

    async def test_no_host_is_every_address(self) -> None:
        server = await self.start(host="", allowed_origins=("*",))
        hosts = {listening.getsockname()[0] for listening in server.sockets}
        self.assertIn("0.0.0.0", hosts)

    async def test_ipv6_address_stands_in_brackets_in_its_url(self) -> None:
        try:
            server = await self.start(host="::1")
        except OSError:
            self.skipTest("this machine has no IPv6")
        self.assertEqual(server.urls, [f"http://[::1]:{server.sockets[0].getsockname()[1]}"])


class OriginWarningTests(ServerCase):
    """A server that other hosts reach, where every origin may open WebSockets, says so."""

    WARNING = (
        "WARNING:wsbridge.error:other hosts reach this server, and pages of every origin may open WebSockets"
    )

    async def log_of(self, **options: Any) -> List[str]:
        with self.assertLogs(logger, "DEBUG") as log:
            logger.debug("the beginning")
            await self.start(**options)
        return [line for line in log.output if line.startswith("WARNING")]

    async def test_every_address(self) -> None:
        for host in ("0.0.0.0", ""):
            (line,) = await self.log_of(host=host)
            self.assertTrue(line.startswith(self.WARNING), line)

    async def test_this_host_alone(self) -> None:
        self.assertEqual(await self.log_of(host="127.0.0.1"), [])
        self.assertEqual(await self.log_of(host="localhost"), [])

    async def test_origins_that_were_chosen(self) -> None:
        for origins in ("same-origin", "*"):
            self.assertEqual(await self.log_of(host="0.0.0.0", allowed_origins=(origins,)), [])

    @unittest.skipUnless(hasattr(socket, "AF_UNIX"), "no unix sockets")
    async def test_unix_socket(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(await self.log_of(uds=f"{folder}/s"), [])


class SocketsTests(ServerCase):
    """Sockets that the caller has bound."""

    def bind(self) -> Any:
        bound = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(bound.close)
        return bound

    async def test_each_is_served_and_stays_the_callers(self) -> None:
        first, second = self.bind(), self.bind()
        server = Server(self.app, sockets=[first, second])
        for _ in range(2):
            await server.start()
            addresses = [first.getsockname(), second.getsockname()]
            self.assertEqual([bound.getsockname() for bound in server.sockets], addresses)
            self.assertEqual(server.urls, [f"http://{host}:{port}" for host, port in addresses])
            for address in addresses:
                client = await self.connect(address)
                client.send(REQUEST)
                await self.assert_answer(client, SWITCHING)
                await self.assert_echo(client)
            await server.stop()
            self.assertEqual(server.sockets, [])
        self.assertNotEqual(first.fileno(), -1)
        self.assert_no_task_is_left()

    @unittest.skipUnless(hasattr(socket, "AF_UNIX"), "no unix sockets")
    async def test_unix_socket_keeps_its_path(self) -> None:
        path = os.fspath(self.make_folder() / "s")
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path)
            async with Server(self.app, sockets=[bound]) as server:
                self.assertEqual(server.urls, [f"unix:{path}"])
                client = await self.connect(path)
                client.send(REQUEST)
                await self.assert_answer(client, SWITCHING)
                self.assertEqual(self.app.scopes[-1]["server"], (path, None))
                await self.assert_echo(client)
            self.assertTrue(os.path.exists(path))

    async def test_descriptor_is_served_again_and_again(self) -> None:
        bound = self.bind()
        server = Server(self.app, fd=bound.fileno())
        for _ in range(2):
            await server.start()
            client = await self.connect(bound.getsockname())
            client.send(REQUEST)
            await self.assert_answer(client, SWITCHING)
            await self.assert_echo(client)
            await server.stop()

    async def test_sockets_of_systemd_are_those_of_a_process_that_is_the_server(self) -> None:
        for is_main in (False, True):
            bound = self.bind()
            variables = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
            with (
                mock.patch.dict(os.environ, variables),
                mock.patch.object(inherited_module, "FIRST_DESCRIPTOR", bound.fileno()),
            ):
                # As if port 0 were the default, so that a server that does not take the socket can listen.
                default = ServerConfig(port=0)
                with mock.patch.object(inherited_module, "ServerConfig", return_value=default):
                    server = Server(self.app, port=0)
                    server.is_main = is_main
                    await server.start()
            is_taken = server.sockets[0].getsockname() == bound.getsockname()
            self.assertEqual(is_taken, is_main)
            await server.stop()

    @unittest.skipUnless(sys.platform.startswith("linux"), "only Linux has abstract sockets")
    async def test_abstract_socket_is_written_as_tools_write_it(self) -> None:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(f"\0wsbridge-{os.getpid()}")
            async with Server(self.app, sockets=[bound]) as server:
                self.assertEqual(server.urls, [f"unix:@wsbridge-{os.getpid()}"])

    async def test_socket_that_cannot_listen_is_an_oserror_and_no_other_listens(self) -> None:
        connected = socket.create_connection(self.bind().getsockname())
        self.addCleanup(connected.close)
        server = Server(self.app, sockets=[self.bind(), connected])
        with self.assertRaises(OSError):
            await server.start()
        self.assertEqual(server.sockets, [])
        self.assertEqual(self.app.log, ["startup", "shutdown"])


class ConnectionsTests(ServerCase):
    async def test_there_are_none_of_a_server_that_has_not_started(self) -> None:
        self.assertEqual(Server(self.app).connections, [])

    async def test_each_open_websocket_is_the_object_that_its_application_has(self) -> None:
        server = await self.start()
        self.assertEqual(server.connections, [])
        client = await self.open_websocket(server)
        page = await self.connect_to(server)
        self.app.may_answer.clear()
        page.send(PAGE_REQUEST)
        await self.wait_for(self.app.asked)
        (connection,) = server.connections
        self.assertIs(connection, self.app.scopes[-2]["wsbridge.connection"])
        self.assertEqual(connection.client, client.writer.get_extra_info("sockname"))
        self.assertEqual((connection.path, connection.state), ("/chat", "open"))
        self.app.may_answer.set()
        await self.assert_end(page, PAGE)
        await self.assert_echo(client)
        await server.stop()
        self.assertEqual(server.connections, [])

    async def test_application_that_goes_on_has_no_connection_any_more(self) -> None:
        disconnected, may_return = asyncio.Event(), asyncio.Event()

        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            disconnected.set()
            await may_return.wait()

        server = await self.start(app, lifespan="off")
        client = await self.open_websocket(server)
        client.send(PEER_CLOSE)
        await self.assert_end(client, CLOSE)
        await self.wait_for(disconnected)
        self.assertEqual(server.connections, [])
        may_return.set()


class ListenOnceTests(ServerCase):
    async def test_kernel_has_the_backlog_where_a_second_listen_changes_nothing(self) -> None:
        """As on Windows."""
        listen = socket.socket.listen

        def listen_once(listening: socket.socket, backlog: int) -> None:
            if not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listen(listening, backlog)

        with mock.patch.object(socket.socket, "listen", listen_once):
            server = await self.start(backlog=77)
        await self.assert_echo(await self.open_websocket(server))
        self.assert_backlog(77, server)


class AddressErrorTests(ServerCase):
    async def test_port_in_use_is_an_oserror_and_the_application_stops(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            await self.assert_no_start(OSError, "in use", port=taken.getsockname()[1])
        self.assertEqual(self.app.log, ["startup", "shutdown"])
        self.assert_no_task_is_left()

    async def test_host_that_cannot_be_one_is_a_config_error(self) -> None:
        for host in ("a..b", "a" * 64):
            await self.assert_no_start(ConfigError, "^cannot listen on 'a", host=host)

    async def test_path_in_a_folder_that_is_not_there_is_an_oserror(self) -> None:
        path = os.fspath(self.make_folder() / "nowhere" / "socket")
        await self.assert_no_start(FileNotFoundError, f": '{re.escape(path)}'$", uds=path)

    async def test_host_that_is_unknown_is_named(self) -> None:
        unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        with mock.patch.object(socket, "getaddrinfo", side_effect=unknown):
            await self.assert_no_start(socket.gaierror, "not known: 'db.invalid'$", host="db.invalid")

    async def test_path_that_is_too_long_says_so(self) -> None:
        await self.assert_no_start(OSError, "path too long$", uds="/tmp/" + "x" * 200)

    async def test_listening_that_fails_in_the_middle_listens_no_more(self) -> None:
        loop = asyncio.get_running_loop()
        failing = mock.patch.object(
            loop, "create_server", side_effect=OSError(errno.EMFILE, "no descriptors")
        )
        with failing:
            await self.assert_no_start(OSError, "no descriptors")
        self.assertEqual(self.app.log, ["startup", "shutdown"])


class UnixSocketTests(ServerCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.path = os.fspath(self.make_folder() / "ws.sock")

    async def test_websocket_over_a_unix_socket(self) -> None:
        server = await self.start(uds=self.path)
        self.assertEqual(server.urls, [f"unix:{self.path}"])
        await self.assert_echo(await self.open_websocket(server))
        self.assertEqual(self.app.scopes[-1]["client"], None)
        self.assertEqual(self.app.scopes[-1]["server"], (self.path, None))

    async def test_path_is_removed_at_the_end(self) -> None:
        server = await self.start(uds=self.path)
        self.assertTrue(os.path.exists(self.path))
        await server.stop()
        self.assertFalse(os.path.exists(self.path))

    async def test_path_that_somebody_removed_is_no_error(self) -> None:
        server = await self.start(uds=self.path)
        os.unlink(self.path)
        await server.stop()

    async def test_path_that_another_server_has_taken_over_stays(self) -> None:
        first = await self.start(uds=self.path)
        os.unlink(self.path)
        second = await self.start(uds=self.path)
        await first.stop()
        await self.assert_echo(await self.open_websocket(second))

    async def test_path_of_a_live_server_is_in_use_and_stays_its_own(self) -> None:
        first = await self.start(uds=self.path)
        await self.assert_no_start(OSError, f"Address '{self.path}' is already in use", uds=self.path)
        await self.assert_echo(await self.open_websocket(first))
        await first.stop()
        await self.assert_echo(await self.open_websocket(await self.start(uds=self.path)))

    async def test_anybody_can_connect_unless_another_mode_is_asked_for(self) -> None:
        for mode, options in ((0o666, {}), (0o660, {"uds_mode": 0o660})):
            server = await self.start(uds=self.path, **options)
            self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), mode)
            await server.stop()

    async def test_path_of_a_file_is_left_alone(self) -> None:
        Path(self.path).write_text("mine")
        await self.assert_no_start(OSError, "", uds=self.path)
        self.assertEqual(Path(self.path).read_text(), "mine")


class CertificateFiles(ServerCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        folder = self.make_folder()
        self.certificate, self.key = os.fspath(folder / "cert.pem"), os.fspath(folder / "key.pem")
        Path(self.certificate).write_text(CERTIFICATE)
        Path(self.key).write_text(KEY)


@unittest.skipIf(ssl is None, "this Python was built without ssl")
class TLSTests(CertificateFiles):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        ignore_unclosed(self)

    async def start_tls(self, **options: Any) -> Server:
        options = {"ssl_certfile": self.certificate, "ssl_keyfile": self.key, **options}
        return await self.start(**options)

    async def connect_to(self, server: Server, **options: Any) -> Client:
        context = ssl.create_default_context(cadata=CERTIFICATE)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return await super().connect_to(server, ssl=context, **options)

    async def test_websocket_over_tls(self) -> None:
        server = await self.start_tls()
        self.assertRegex(server.urls[0], r"^https://127\.0\.0\.1:\d+$")
        client = await self.open_websocket(server)
        self.assertEqual(self.app.scopes[-1]["scheme"], "wss")
        await self.assert_echo(client)

    async def test_context_of_the_caller_is_used_as_it_is(self) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        server = await self.start(ssl_context=context)
        self.assertRegex(server.urls[0], r"^https://127\.0\.0\.1:\d+$")
        client = await self.open_websocket(server)
        self.assertIsNone(client.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        self.assertEqual(self.app.scopes[-1]["scheme"], "wss")
        await self.assert_echo(client)

    async def test_page_over_tls(self) -> None:
        client = await self.connect_to(await self.start_tls(timeout_close=0.001))
        client.send(PAGE_REQUEST)
        await self.assert_answer(client, PAGE)
        self.assertEqual(self.app.scopes[-1]["scheme"], "https")

    async def test_http_1_1_is_what_alpn_agrees_on(self) -> None:
        client = await self.connect_to(await self.start_tls())
        tls = client.writer.get_extra_info("ssl_object")
        self.assertEqual(tls.selected_alpn_protocol(), "http/1.1")

    async def test_key_with_a_password(self) -> None:
        Path(self.key).write_text(ENCRYPTED_KEY)
        await self.assert_echo(
            await self.open_websocket(await self.start_tls(ssl_keyfile_password="wsbridge"))
        )

    async def test_certificate_and_key_in_one_file(self) -> None:
        Path(self.certificate).write_text(CERTIFICATE + KEY)
        server = await self.start_tls(ssl_keyfile=None)
        await self.assert_echo(await self.open_websocket(server))

    async def test_certificate_that_cannot_be_read_is_told_before_the_application_starts(self) -> None:
        certificate = "/nowhere/cert.pem"
        await self.assert_no_start(
            ConfigError, f"^ssl_certfile={certificate!r}: No such", ssl_certfile=certificate
        )
        self.assertEqual(self.app.scopes, [])

    async def test_certificate_is_read_again_and_connections_stay(self) -> None:
        server = await self.start_tls()
        client = await self.open_websocket(server)
        self.assertEqual(self.get_serial(client), "01")
        Path(self.certificate).write_text(RENEWED_CERTIFICATE)
        with self.assertLogs(logger, "INFO") as logs:
            self.assertTrue(server.reload_certificates())
        self.assertEqual(logs.records[0].getMessage(), "certificates are read again")
        other = await self.open_websocket(server)
        self.assertEqual(self.get_serial(other), "02")
        await self.assert_echo(client)
        await self.assert_echo(other)

    async def test_certificate_that_is_broken_leaves_the_old_one_in_use(self) -> None:
        server = await self.start_tls()
        Path(self.certificate).write_text(KEY)
        with self.assertLogs(logger, "ERROR") as logs:
            self.assertFalse(server.reload_certificates())
        text = (
            "^certificates are not read again, and the old ones stay in use: ssl_certfile='.*': there is no"
        )
        self.assertRegex(logs.records[0].getMessage(), text)
        self.assertEqual(self.get_serial(await self.open_websocket(server)), "01")

    async def test_certificates_of_a_server_that_has_none_cannot_be_read(self) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        stopped = await self.start_tls()
        await stopped.stop()
        for server in (stopped, await self.start(), await self.start(ssl_context=context)):
            with self.assertRaisesRegex(StateError, "^the server is not started with ssl_certfile"):
                server.reload_certificates()

    @unittest.skipUnless(hasattr(socket, "AF_UNIX"), "a system without systemd")
    async def test_systemd_is_told_of_the_beginning_and_the_end(self) -> None:
        server = await self.start_tls()
        server.is_main = True
        path = os.fspath(self.make_folder() / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(path)
            with mock.patch.dict(os.environ, {"NOTIFY_SOCKET": path}):
                server.reload_certificates()
            self.assertRegex(systemd.recv(100), b"^RELOADING=1\nMONOTONIC_USEC=[0-9]+$")
            self.assertEqual(systemd.recv(100), b"READY=1")

    async def test_application_is_told_of_tls(self) -> None:
        options = {"ssl_ca_certs": self.certificate, "ssl_cert_reqs": "optional"}
        server = await self.start_tls(**options, timeout_close=0.001)
        await self.open_websocket(server)
        page = await self.connect_to(server)
        for _ in range(2):
            page.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await self.assert_answer(page, b"HTTP/1.1 200 OK\r\nDate: today\r\nContent-Length: 2\r\n\r\nhi")
        websocket, first, second = (scope["extensions"]["tls"] for scope in self.app.scopes[-3:])
        self.assertEqual(websocket["server_cert"], CERTIFICATE)
        self.assertEqual((websocket["client_cert_chain"], websocket["client_cert_name"]), ((), None))
        self.assertEqual([first, second], [websocket, websocket])
        self.assertIsNot(first, second)

    def get_serial(self, client: Client) -> Any:
        """The serial number of the server's certificate."""
        return client.writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]

    async def test_peer_that_never_begins_its_handshake_is_closed(self) -> None:
        # In its debug mode, which tests run in, asyncio reports it.
        asyncio.get_running_loop().set_exception_handler(lambda loop, report: None)
        server = await self.start_tls(timeout_handshake=0.001)
        await self.assert_end(await super().connect_to(server))


class WithoutTLSTests(CertificateFiles):
    async def test_python_without_ssl_says_so(self) -> None:
        with without("ssl"):
            text = "^ssl_certfile is set, but this Python was built without ssl$"
            await self.assert_no_start(ConfigError, text, ssl_certfile=self.certificate)

    async def test_python_without_ssl_serves_what_needs_none(self) -> None:
        with without("ssl"):
            await self.assert_echo(await self.open_websocket(await self.start()))


class LifespanTests(ServerCase):
    async def test_state_reaches_the_connections_as_a_copy(self) -> None:
        server = await self.start()
        for _ in range(2):
            await self.assert_echo(await self.open_websocket(server))
            self.assertEqual(self.app.scopes[-1]["state"], {"room": 5})
            self.app.scopes[-1]["state"]["room"] = 6

    async def test_off_asks_for_none(self) -> None:
        server = await self.start(lifespan="off")
        await self.assert_echo(await self.open_websocket(server))
        await server.stop()
        self.assertEqual([scope["type"] for scope in self.app.scopes], ["websocket"])
        self.assertNotIn("state", self.app.scopes[0])

    async def test_application_without_a_lifespan_is_served_and_only_debug_tells(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                raise KeyError("lifespan")
            await self.app(scope, receive, send)

        with self.assertLogs("wsbridge", "DEBUG") as logs:
            server = await self.start(app)
        self.assertEqual(
            logs.output, ["DEBUG:wsbridge.error:application has no lifespan: KeyError('lifespan')"]
        )
        await self.assert_echo(await self.open_websocket(server))
        self.assertNotIn("state", self.app.scopes[0])

    async def test_application_that_fails_behind_the_startup_event_is_served_with_a_warning(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                await receive()
                raise KeyError("database")
            await self.app(scope, receive, send)

        with self.assertLogs("wsbridge", "WARNING") as logs:
            server = await self.start(app)
        text = "application raised after lifespan.startup: it is served without a lifespan\nTraceback"
        self.assertIn(text, logs.output[0])
        self.assertIn("KeyError: 'database'", logs.output[0])
        await self.assert_echo(await self.open_websocket(server))

    async def test_startup_that_fails_is_told_and_its_task_is_over(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            await receive()

        await self.assert_no_start(LifespanFailed, "^application startup failed: no database$", app)
        self.assert_no_task_is_left()

    async def test_startup_that_is_cancelled_leaves_no_task(self) -> None:
        starting = asyncio.ensure_future(Server(hanging_app, port=0).start())
        await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait([starting])
        self.assertTrue(starting.cancelled())
        self.assert_no_task_is_left()

    async def test_shutdown_that_fails_is_told(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            raise KeyError("database")

        with self.assertRaisesRegex(LifespanFailed, "^application shutdown failed: KeyError: 'database'$"):
            async with Server(app, port=0):
                pass
        self.assert_no_task_is_left()


class LifespanTimeTests(SkippingCase, ServerCase):
    async def test_shutdown_that_does_not_end_is_cut_in_time(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await asyncio.Event().wait()

        server = Server(app, port=0, timeout_lifespan_shutdown=4)
        await server.start()
        with self.assertRaisesRegex(LifespanFailed, "^application shutdown failed: it did not end in time$"):
            await server.stop()
        # What the cancellation leaves to do takes one more turn of the loop.
        await asyncio.sleep(0)
        self.assert_no_task_is_left()


async def hanging_app(scope: Event, receive: Any, send: Any) -> None:
    await asyncio.Event().wait()


class StopCase(ServerCase):
    async def begin_stop(self, server: Server) -> asyncio.Task[None]:
        stopping = asyncio.ensure_future(server.stop())
        self.addAsyncCleanup(asyncio.wait_for, stopping, TIMEOUT)
        await asyncio.sleep(0)
        return stopping


class StopTests(StopCase):
    async def test_sigterm_with_many_connections(self) -> None:
        server = await self.start()
        clients = [await self.open_websocket(server) for _ in range(20)]
        await self.begin_stop(server)
        for client in clients:
            await self.assert_goes_away(client)
        await server.stop()
        self.assertEqual(self.app.log, ["startup", *["disconnect 1012"] * 20, "shutdown"])

    async def test_application_that_still_answers_does_so(self) -> None:
        server = await self.start()
        client = await self.open_websocket(server)
        client.send(PEER_HELLO)
        await self.assert_answer(client, HELLO)
        await self.begin_stop(server)
        client.send(PEER_HELLO, PEER_CLOSE_1012)
        await self.assert_end(client, CLOSE_1012)

    async def test_page_in_progress_is_finished(self) -> None:
        self.app.may_answer.clear()
        server = await self.start()
        client = await self.connect_to(server)
        client.send(PAGE_REQUEST)
        await self.wait_for(self.app.asked)
        await self.begin_stop(server)
        self.app.may_answer.set()
        await self.assert_end(client, PAGE)

    async def test_nothing_is_accepted_any_more(self) -> None:
        server = await self.start()
        address = server.sockets[0].getsockname()
        open_one = await self.open_websocket(server)
        await self.begin_stop(server)
        with self.assertRaises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        open_one.send(PEER_CLOSE_1012)
        await self.assert_end(open_one, CLOSE_1012)

    async def test_peer_that_does_not_close_is_cut_after_the_graceful_timeout(self) -> None:
        server = await self.start(timeout_graceful_shutdown=0.001)
        client = await self.open_websocket(server)
        with self.assertLogs("wsbridge", "WARNING") as logs:
            await asyncio.wait_for(server.stop(), TIMEOUT)
        self.assertIn("connections that did not close in time and are aborted: 1", logs.output[0])
        self.assertEqual(self.app.log, ["startup", "cancelled", "shutdown"])
        await self.assert_answer(client, CLOSE_1012)


class StopWaitTests(SkippingCase, StopCase):
    """In a loop that does not wait."""

    async def test_request_that_is_not_complete_gets_503(self) -> None:
        server = await self.start()
        client, other = await self.connect_to(server), await self.open_websocket(server)
        client.send(b"GET / HTTP/1.1\r\n")
        other.send(PEER_CLOSE)
        await self.assert_end(other, CLOSE)
        await self.begin_stop(server)
        self.assertRegex(await client.read_to_end(), b"(?s)^HTTP/1.1 503 .*\r\n\r\nthe server is stopping\n$")
        await client.close()


class AgainTests(ServerCase):
    """A `Server` that is started again behind its end."""

    async def assert_serves(self, server: Server) -> None:
        """An open WebSocket is told that the server stops."""
        await asyncio.wait_for(server.start(), TIMEOUT)
        client = await self.open_websocket(server)
        stopping = asyncio.ensure_future(server.stop())
        await self.assert_goes_away(client)
        await asyncio.wait_for(stopping, TIMEOUT)
        self.assertEqual(server.sockets, [])

    async def test_second_time_is_as_the_first(self) -> None:
        server = Server(self.app, port=0)
        for _ in range(3):
            await self.assert_serves(server)
            self.assertEqual(self.app.log, ["startup", "disconnect 1012", "shutdown"])
            self.app.log.clear()
        self.assert_no_task_is_left()

    async def test_second_time_on_the_same_unix_socket(self) -> None:
        server = Server(self.app, uds=os.fspath(self.make_folder() / "ws.sock"))
        for _ in range(2):
            await self.assert_serves(server)

    async def test_starting_what_is_started_is_an_error_and_changes_nothing(self) -> None:
        server = await self.start()
        before = server.urls
        with self.assertRaisesRegex(StateError, "^the server is started already$"):
            await server.start()
        self.assertEqual((server.urls, self.app.log), (before, ["startup"]))
        await self.assert_echo(await self.open_websocket(server))

    async def test_starting_what_is_about_to_start_is_an_error(self) -> None:
        server = Server(self.app, port=0)
        starting = asyncio.ensure_future(server.start())
        await asyncio.sleep(0)
        with self.assertRaises(StateError):
            await server.start()
        await asyncio.wait_for(starting, TIMEOUT)
        await server.stop()
        self.assertEqual(self.app.log, ["startup", "shutdown"])

    async def test_stop_waits_for_a_start_in_progress(self) -> None:
        server = Server(self.app, port=0)
        starting = asyncio.ensure_future(server.start())
        await asyncio.sleep(0)
        await asyncio.wait_for(server.stop(), TIMEOUT)
        self.assertTrue(starting.done())
        self.assertEqual((server.sockets, self.app.log), ([], ["startup", "shutdown"]))

    async def test_start_that_failed_can_be_tried_again(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = Server(self.app, port=taken.getsockname()[1])
            with self.assertRaises(OSError):
                await server.start()
        await self.assert_serves(server)

    async def test_stop_that_is_cancelled_cuts_what_is_left(self) -> None:
        server = await self.start()
        client = await self.open_websocket(server)
        stopping = asyncio.ensure_future(server.stop())
        await self.assert_answer(client, CLOSE_1012)
        stopping.cancel()
        await asyncio.wait([stopping], timeout=TIMEOUT)
        self.assertTrue(stopping.cancelled())
        self.assertEqual(await client.read_to_end(), b"")
        await self.assert_serves(server)


class StopTimeTests(unittest.TestCase):
    """The time that a stop takes at most, by the clock of a loop that does not wait."""

    def test_worst_case_is_below_30_seconds(self) -> None:
        """The application ignores the disconnect, its cancellation and its shutdown."""

        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            is_lifespan = scope["type"] == "lifespan"
            await send({"type": "lifespan.startup.complete" if is_lifespan else "websocket.accept"})
            while len(cancellations) < 20:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancellations.append(scope["type"])

        cancellations: List[str] = []

        async def stop() -> float:
            loop = asyncio.get_running_loop()
            server = Server(app, port=0)
            await server.start()
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(REQUEST)
            self.assertEqual(await reader.readexactly(len(SWITCHING)), SWITCHING)
            begun = loop.time()
            text = "^application shutdown failed: it did not end in time$"
            with self.assertLogs(logger, "WARNING"), self.assertRaisesRegex(LifespanFailed, text):
                await server.stop()
            taken = loop.time() - begun
            writer.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                while not task.done():
                    task.cancel()
                    await turn_loop()
            return taken

        taken, _ = run_skipping(stop())
        self.assertEqual(cancellations[:2], ["websocket", "lifespan"])
        # 20 for connections and applications, 5 for the shutdown, 1 for what its cancellation does.
        self.assertAlmostEqual(taken, 26, delta=0.5)


class ServeCase(ServerCase):
    async def begin(self, app: Any = None, **options: Any) -> asyncio.Task[None]:
        self.server = Server(app or self.app, ServerConfig(port=0), **options)
        serving = asyncio.ensure_future(self.server.serve())
        self.addAsyncCleanup(asyncio.wait, [serving], timeout=TIMEOUT)
        return serving

    async def begin_listening(self, **options: Any) -> asyncio.Task[None]:
        serving = await self.begin(**options)
        while not self.server.sockets:
            await asyncio.sleep(0)
        return serving

    async def assert_over(self, serving: asyncio.Task[None]) -> None:
        await asyncio.wait_for(serving, TIMEOUT)
        self.assertEqual(self.server.sockets, [])
        self.assert_no_task_is_left()


class ServeTests(ServeCase):
    async def test_each_signal_stops_it_and_is_given_back(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            serving = await self.begin_listening()
            self.assertNotEqual(signal.getsignal(number), before)
            signal.raise_signal(number)
            await self.assert_over(serving)
            self.assertIn(signal.getsignal(number), (before, signal.SIG_DFL, signal.default_int_handler))
            self.assertIsNone(self.server.startup_signal)
        self.assertEqual(self.app.log, ["startup", "shutdown"] * 2)

    async def test_signal_to_a_server_without_a_lifespan_is_no_exit_code_once_it_listens(self) -> None:
        serving = await self.begin_listening(lifespan="off")
        signal.raise_signal(signal.SIGTERM)
        await self.assert_over(serving)
        self.assertIsNone(self.server.startup_signal)

    async def test_open_websocket_gets_1012(self) -> None:
        serving = await self.begin_listening()
        client = await self.open_websocket(self.server)
        self.server.stop_serving()
        await self.assert_goes_away(client)
        await self.assert_over(serving)

    async def test_endless_response_ends_where_its_application_asks_for_the_stop(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b": hello\n\n", "more_body": True})
            handler: Any = signal.getsignal(signal.SIGTERM)
            while not handler.__self__.should_exit:
                await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": b": bye\n\n"})

        for is_signal in (True, False):
            serving = await self.begin_listening(app=app, lifespan="off", date_header=False)
            client = await self.connect_to(self.server)
            client.send(b"GET /feed HTTP/1.1\r\nHost: server.example.com\r\n\r\n")
            await self.assert_answer(
                client, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n: hello\n\n\r\n"
            )
            if is_signal:
                signal.raise_signal(signal.SIGTERM)
            else:
                self.server.stop_serving()
            await self.assert_end(client, b"7\r\n: bye\n\n\r\n0\r\n\r\n")
            await self.assert_over(serving)

    async def test_second_stop_does_not_wait_for_the_peer(self) -> None:
        serving = await self.begin_listening()
        client = await self.open_websocket(self.server)
        self.server.stop_serving()
        await self.assert_answer(client, CLOSE_1012)
        self.server.stop_serving()
        await self.assert_over(serving)
        self.assertEqual(self.app.log[:2], ["startup", "cancelled"])

    async def test_second_signal_does_not_wait_for_the_peer(self) -> None:
        serving = await self.begin_listening()
        client = await self.open_websocket(self.server)
        signal.raise_signal(signal.SIGTERM)
        await self.assert_answer(client, CLOSE_1012)
        signal.raise_signal(signal.SIGTERM)
        await self.assert_over(serving)
        self.assertEqual(self.app.log[:2], ["startup", "cancelled"])

    async def test_second_stop_does_not_wait_for_a_startup(self) -> None:
        serving = await self.begin(hanging_app)
        await turn_loop()
        self.server.stop_serving()
        self.server.stop_serving()
        await self.assert_over(serving)

    async def test_second_stop_does_not_wait_for_a_shutdown(self) -> None:
        asked = asyncio.Event()

        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            asked.set()
            await asyncio.Event().wait()

        serving = await self.begin_listening(app=app)
        self.server.stop_serving()
        await self.wait_for(asked)
        self.server.stop_serving()
        await self.assert_over(serving)

    async def test_second_stop_without_a_lifespan(self) -> None:
        serving = await self.begin_listening(lifespan="off")
        self.server.stop_serving()
        self.server.stop_serving()
        await self.assert_over(serving)

    async def test_stopping_what_does_not_serve_is_no_error(self) -> None:
        server = Server(self.app)
        server.stop_serving()
        server.stop_serving()

    async def test_stopped_before_it_begins_it_ends_at_once(self) -> None:
        server = Server(self.app, port=0)
        server.stop_serving()
        await asyncio.wait_for(server.serve(), TIMEOUT)
        self.assertEqual(self.app.log, [])

    async def test_second_time_is_as_the_first(self) -> None:
        self.server = Server(self.app, port=0)
        for _ in range(2):
            serving = asyncio.ensure_future(self.server.serve())
            while not self.server.sockets:
                await asyncio.sleep(0)
            client = await self.open_websocket(self.server)
            self.server.stop_serving()
            await self.assert_goes_away(client)
            await self.assert_over(serving)
        self.assertEqual(self.app.log, ["startup", "disconnect 1012", "shutdown"] * 2)

    async def test_serving_twice_at_a_time_is_an_error(self) -> None:
        serving = await self.begin_listening()
        with self.assertRaisesRegex(StateError, "^the server is serving already$"):
            await self.server.serve()
        self.server.stop_serving()
        await self.assert_over(serving)

    def hold_resolver(self) -> None:
        """From now on names are not resolved: asyncio does it in a thread, and the only one is busy."""
        may_end = threading.Event()
        executor = ThreadPoolExecutor(1)
        self.addCleanup(may_end.set)
        executor.submit(may_end.wait)
        asyncio.get_running_loop().set_default_executor(executor)

    async def test_stop_during_a_startup_cancels_it(self) -> None:
        serving = await self.begin(hanging_app)
        await turn_loop()
        self.server.stop_serving()
        await self.assert_over(serving)
        self.assertIsNone(self.server.startup_signal)

    async def test_stop_before_the_startup_has_its_first_turn(self) -> None:
        serving = await self.begin()
        await asyncio.sleep(0)
        self.server.stop_serving()
        await self.assert_over(serving)

    async def test_application_that_has_started_is_shut_down_where_it_is_not_listened(self) -> None:
        self.hold_resolver()
        serving = await self.begin(host="localhost")
        await turn_loop()
        self.server.stop_serving()
        await self.assert_over(serving)
        self.assertEqual(self.app.log, ["startup", "shutdown"])

    async def test_stop_by_another_thread(self) -> None:
        serving = await self.begin_listening()
        thread = threading.Thread(target=self.server.stop_serving)
        thread.start()
        await self.assert_over(serving)
        thread.join(TIMEOUT)

    async def test_signal_during_a_startup_is_told(self) -> None:
        self.hold_resolver()
        for number in (signal.SIGINT, signal.SIGTERM):
            for options in ({"app": hanging_app}, {"lifespan": "off", "host": "localhost"}):
                serving = await self.begin(**options)
                await turn_loop()
                signal.raise_signal(number)
                await self.assert_over(serving)
                self.assertEqual(self.server.startup_signal, number)

    async def test_cancelling_a_startup_is_told(self) -> None:
        serving = await self.begin(hanging_app)
        await turn_loop()
        serving.cancel()
        await asyncio.wait([serving], timeout=TIMEOUT)
        self.assertTrue(serving.cancelled())
        self.assert_no_task_is_left()

    async def test_each_server_of_a_loop_is_stopped_by_one_signal(self) -> None:
        first = await self.begin_listening()
        second = await self.begin_listening()
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(asyncio.gather(first, second), TIMEOUT)
        self.assertEqual(self.app.log, ["startup", "startup", "shutdown", "shutdown"])

    async def test_handler_of_the_host_that_stops_the_server_changes_nothing(self) -> None:
        def stop(number: int, frame: object) -> None:
            self.server.stop_serving()

        self.addCleanup(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, stop))
        serving = await self.begin_listening()
        signal.raise_signal(signal.SIGTERM)
        await self.assert_over(serving)
        self.assertEqual(self.app.log, ["startup", "shutdown"])
        again = asyncio.ensure_future(self.server.serve())
        while not self.server.sockets:
            await asyncio.sleep(0)
        self.server.stop_serving()
        await self.assert_over(again)

    async def test_second_signal_ends_each_server_at_once(self) -> None:
        servings, clients = [], []
        for _ in range(2):
            servings.append(await self.begin_listening())
            clients.append(await self.open_websocket(self.server))
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
            await turn_loop()
        await asyncio.wait_for(asyncio.gather(*servings), TIMEOUT)
        for client in clients:
            await self.assert_answer(client, CLOSE_1012)

    async def test_loop_without_signal_handlers_is_stopped_as_well(self) -> None:
        """As those of Windows."""
        loop = asyncio.get_running_loop()
        with mock.patch.object(loop, "add_signal_handler", side_effect=NotImplementedError):
            for number in (signal.SIGINT, signal.SIGTERM):
                serving = await self.begin_listening()
                signal.raise_signal(number)
                await self.assert_over(serving)
        self.assertEqual(self.app.log, ["startup", "shutdown"] * 2)

    async def test_process_that_it_runs_in_is_left_as_it_is(self) -> None:
        with measured_memory() as memory:
            serving = await self.begin_listening()
            self.server.stop_serving()
            await self.assert_over(serving)
        # malloc is asked to keep large blocks by one of 4 MiB.
        self.assertLess(memory.peak, 4 << 20)

    async def test_addresses_are_logged(self) -> None:
        with self.assertLogs("wsbridge", "INFO") as logs:
            serving = await self.begin_listening()
            (url,) = self.server.urls
            self.server.stop_serving()
            await self.assert_over(serving)
        lines = [f"listening on {url}", "stopping; a second signal stops at once"]
        self.assertEqual([record.getMessage() for record in logs.records], lines)

    async def test_cancelling_stops_in_an_orderly_way(self) -> None:
        serving = await self.begin_listening()
        serving.cancel()
        await asyncio.wait([serving])
        self.assertTrue(serving.cancelled())
        self.assertEqual(self.app.log, ["startup", "shutdown"])

    async def test_what_startup_raises_comes_out(self) -> None:
        text = "^application startup failed: KeyError: 'lifespan'$"

        async def app(scope: Event, receive: Any, send: Any) -> None:
            raise KeyError("lifespan")

        with self.assertRaisesRegex(LifespanFailed, text):
            await serve(app, port=0, lifespan="on")


class RequestLimitTests(ServeCase):
    """``limit_max_requests``: the server stops when the application has been called so often."""

    async def request_pages(self, server: Server, count: int) -> None:
        for _ in range(count):
            client = Client(*await asyncio.open_connection(*server.sockets[0].getsockname()))
            client.send(PAGE_REQUEST)
            self.assertTrue((await client.read_to_end()).startswith(b"HTTP/1.1 200 "))
            await client.close()

    async def test_serve_ends_and_the_last_request_is_answered(self) -> None:
        server = Server(Application(), port=0, limit_max_requests=2)
        serving = asyncio.ensure_future(server.serve())
        while not server.sockets:
            await asyncio.sleep(0)
        with self.assertLogs(logger, "INFO") as logs:
            await self.request_pages(server, 2)
            await serving
        self.assertIn("INFO:wsbridge.error:limit_max_requests is reached", logs.output)

    async def test_server_in_a_block_stops(self) -> None:
        async with Server(Application(), port=0, limit_max_requests=1) as server:
            await self.request_pages(server, 1)
            while server.sockets:
                await asyncio.sleep(0)


@unittest.skipUnless(hasattr(signal, "SIGHUP"), "a system without SIGHUP")
class HangupTests(CertificateFiles, ServeCase):
    def handle_hangup(self, handler: Any = signal.SIG_DFL) -> None:
        # What runs the tests may ignore it.
        self.addCleanup(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, handler))

    async def test_signal_stops_a_server_without_certificates(self) -> None:
        self.handle_hangup()
        serving = await self.begin_listening()
        signal.raise_signal(signal.SIGHUP)
        await self.assert_over(serving)

    @unittest.skipIf(ssl is None, "this Python was built without ssl")
    async def test_signal_has_certificates_read_again(self) -> None:
        self.handle_hangup()
        await self.assert_read_again()

    @unittest.skipIf(ssl is None, "this Python was built without ssl")
    async def test_program_started_by_nohup_reads_them_too(self) -> None:
        self.handle_hangup(signal.SIG_IGN)
        await self.assert_read_again()

    async def assert_read_again(self) -> None:
        serving = await self.begin_listening(ssl_certfile=self.certificate, ssl_keyfile=self.key)
        with self.assertLogs("wsbridge", "INFO") as logs:
            signal.raise_signal(signal.SIGHUP)
            await turn_loop()
        self.assertIn("certificates are read again", [record.getMessage() for record in logs.records])
        self.assertFalse(serving.done())
        self.server.stop_serving()
        await self.assert_over(serving)


class ThreadTests(unittest.TestCase):
    def test_thread_that_gets_no_signals_can_serve_as_well(self) -> None:
        is_over = threading.Event()

        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            server.stop_serving()
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            is_over.set()

        server = Server(app, port=0)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
        thread.start()
        thread.join(TIMEOUT)
        self.assertTrue(is_over.is_set() and not thread.is_alive())


class NoDescriptorsTests(SkippingCase, ServerCase):
    async def test_no_descriptors_left_in_accept(self) -> None:
        """One log line for each attempt, one attempt a second, and the next one that succeeds serves."""
        reports: List[Event] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, report: reports.append(report))
        accept = socket.socket.accept
        failures = [OSError(errno.EMFILE, "Too many open files")] * 3

        def accept_later(listening: socket.socket) -> Any:
            if failures:
                raise failures.pop()
            return accept(listening)

        begun = self.loop.time()
        with mock.patch.object(socket.socket, "accept", accept_later):
            await self.assert_echo(await self.open_websocket(await self.start()))
        self.assertEqual([report["exception"].errno for report in reports], [errno.EMFILE] * 3)
        # In a row asyncio accepts once, since Python 3.14 twice.
        self.assertIn(round(self.loop.time() - begun, 1), (1.0, 3.0))


if __name__ == "__main__":
    unittest.main()
