"""Listening sockets opened without an event loop; `test_server` tests those that a server serves on."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
import tempfile
import unittest
from typing import Any, Callable, Coroutine, List
from unittest import mock

from wsbridge.config import ServerConfig
from wsbridge.protocols.errors import ConfigError
from wsbridge.server.listening import inherited as inherited_module
from wsbridge.server.listening import sockets as listening_module
from wsbridge.server.listening.sockets import ListeningSockets, open_sockets
from wsbridge.server.listening.tls import build_ssl_context
from wsbridge.server.service import Service
from wsbridge.server.speed import SPEED

from .doubles import turn_loop
from .loopback import CERTIFICATE, TIMEOUT, ignore_unclosed, write_certificate
from .requests import GET

try:
    import ssl
except ImportError:
    ssl = None  # type: ignore[assignment]


def resolve_to(*addresses: str) -> Any:
    """Inside, a host name has these addresses."""
    found = [
        (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 0))
        for address in addresses
    ]
    return mock.patch.object(socket, "getaddrinfo", return_value=found)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


class OpenCase(unittest.TestCase):
    def open(self, **options: Any) -> List[socket.socket]:
        opened = open_sockets(ServerConfig(**{"port": 0, **options}))
        for listening in opened:
            self.addCleanup(listening.close)
        return opened

    def open_hosts(self, **options: Any) -> List[str]:
        return [listening.getsockname()[0] for listening in self.open(**options)]


class TCPTests(OpenCase):
    def test_socket_listens_and_does_not_block(self) -> None:
        (listening,) = self.open()
        self.assertEqual(listening.getsockname()[0], "127.0.0.1")
        self.assertEqual(listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), 1)
        with self.assertRaises(BlockingIOError):
            listening.accept()

    def test_address_may_be_taken_again_where_connections_are_in_time_wait(self) -> None:
        (listening,) = self.open()
        reuse = listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        self.assertEqual(bool(reuse), sys.platform not in ("win32", "cygwin"))
        with mock.patch.object(listening_module, "REUSES_ADDRESS", False):
            (listening,) = self.open()
        self.assertEqual(listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR), 0)

    @unittest.skipUnless(has_ipv6(), "this machine has no IPv6")
    def test_ipv6_address_is_not_one_of_ipv4(self) -> None:
        (listening,) = self.open(host="::")
        self.assertEqual(listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), 1)

    def test_address_that_two_hosts_have_is_listened_on_once(self) -> None:
        self.assertEqual(self.open_hosts(host="127.0.0.1,127.0.0.1"), ["127.0.0.1"])

    @unittest.skipUnless(sys.platform.startswith("linux"), "this machine has one address only")
    def test_other_addresses_of_such_a_host_are_listened_on_too(self) -> None:
        with resolve_to("127.0.0.1", "127.0.0.2"):
            self.assertEqual(self.open_hosts(host="name,other"), ["127.0.0.1", "127.0.0.2"])

    def test_host_with_one_bracket_is_looked_up_as_it_is(self) -> None:
        for host in ("[::1", "::1]"):
            with resolve_to("127.0.0.1") as look_up:
                self.open(host=host)
            self.assertEqual(look_up.call_args.args[0], host)

    @unittest.skipUnless(has_ipv6(), "this machine has no IPv6")
    def test_zone_of_an_address_is_that_of_its_socket(self) -> None:
        found = [(socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("fe80::1", 0, 0, 7))]
        error = OSError(errno.EADDRNOTAVAIL, "no such address")
        with (
            mock.patch.object(socket, "getaddrinfo", return_value=found),
            mock.patch.object(socket.socket, "bind", side_effect=error) as bind,
            self.assertRaisesRegex(OSError, "fe80::1"),
        ):
            self.open(host="name")
        bind.assert_called_once_with(("fe80::1", 0, 0, 7))

    @unittest.skipUnless(has_ipv6(), "this machine has no IPv6")
    def test_ipv6_address_may_have_brackets(self) -> None:
        self.assertEqual(self.open_hosts(host="127.0.0.1,[::1]"), ["127.0.0.1", "::1"])

    def test_star_and_nothing_are_every_address(self) -> None:
        for host in ("*", ""):
            self.assertEqual(set(self.open_hosts(host=host)) - {"::"}, {"0.0.0.0"})

    def test_another_error_is_not_tried_again(self) -> None:
        with self.assertRaisesRegex(OSError, "192.0.2.1"):
            self.open(host="127.0.0.1,192.0.2.1")
        for number in (errno.EACCES, errno.EADDRNOTAVAIL):
            error = OSError(number, "no")
            with mock.patch.object(socket.socket, "bind", side_effect=error) as bind:
                self.assertRaises(OSError, self.open)
            bind.assert_called_once()

    def test_port_that_the_system_chooses_is_tried_ten_times(self) -> None:
        error = OSError(errno.EADDRINUSE, "in use")
        for port, count in ((0, 10), (9000, 1)):
            with mock.patch.object(socket.socket, "bind", side_effect=error) as bind:
                self.assertRaises(OSError, self.open, port=port)
            self.assertEqual(bind.call_count, count)

    def test_address_of_a_family_that_is_off_is_skipped_where_the_host_has_another(self) -> None:
        with resolve_to("192.0.2.1", "127.0.0.1"):
            self.assertEqual(self.open_hosts(host="name"), ["127.0.0.1"])

    def test_host_without_an_address_of_this_machine_is_an_error_that_names_the_address(self) -> None:
        text = r"error while attempting to bind on address \('192.0.2.1', 0\): cannot assign"
        with self.assertRaisesRegex(OSError, text) as caught:
            self.open(host="192.0.2.1")
        self.assertEqual(caught.exception.errno, errno.EADDRNOTAVAIL)

    @unittest.skipUnless(hasattr(socket, "SO_REUSEPORT"), "this system has no SO_REUSEPORT")
    def test_port_may_be_shared(self) -> None:
        (first,) = self.open(reuse_port=True)
        port = first.getsockname()[1]
        (second,) = self.open(reuse_port=True, port=port)
        self.assertEqual(second.getsockname(), first.getsockname())
        with self.assertRaisesRegex(OSError, "in use"):
            self.open(port=port)

    def test_port_that_cannot_be_shared_is_a_config_error(self) -> None:
        text = "^reuse_port is set, but this system has no SO_REUSEPORT$"
        with mock.patch.object(socket, "SO_REUSEPORT", create=True):
            del socket.SO_REUSEPORT
            with self.assertRaisesRegex(ConfigError, text):
                self.open(reuse_port=True)
        # Some systems know its name only.
        with (
            mock.patch.object(socket, "SO_REUSEPORT", -1, create=True),
            self.assertRaisesRegex(ConfigError, text),
        ):
            self.open(reuse_port=True)

    def test_host_that_cannot_be_one_is_a_config_error(self) -> None:
        with self.assertRaisesRegex(ConfigError, "^cannot listen on 'a..b': "):
            self.open(host="a..b")


@unittest.skipUnless(sys.platform.startswith("linux"), "this machine has one address only")
class SeveralHostsTests(OpenCase):
    def test_each_of_several_hosts_is_listened_on_and_has_the_same_port(self) -> None:
        opened = self.open(host="127.0.0.1, 127.0.0.2")
        names = [listening.getsockname() for listening in opened]
        self.assertEqual([host for host, _ in names], ["127.0.0.1", "127.0.0.2"])
        self.assertEqual(names[0][1], names[1][1])

    def test_port_that_another_host_lacks_is_not_taken(self) -> None:
        bind = socket.socket.bind

        def bind_but_once(listening: socket.socket, address: Any) -> None:
            tried.append(address[0])
            if len(tried) == 2:
                raise OSError(errno.EADDRINUSE, "Address already in use")
            bind(listening, address)

        tried: List[str] = []
        with mock.patch.object(socket.socket, "bind", bind_but_once):
            opened = self.open(host="127.0.0.1,127.0.0.2")
        self.assertEqual(tried, ["127.0.0.1", "127.0.0.2"] * 2)
        ports = {listening.getsockname()[1] for listening in opened}
        self.assertEqual((len(opened), len(ports)), (2, 1))

    def test_none_is_listened_on_if_one_is_taken(self) -> None:
        close = socket.socket.close
        with (
            socket.create_server(("127.0.0.2", 0)) as taken,
            mock.patch.object(socket.socket, "close", autospec=True, side_effect=close) as closed,
        ):
            with self.assertRaisesRegex(OSError, "in use"):
                self.open(host="127.0.0.1,127.0.0.2", port=taken.getsockname()[1])
            self.assertEqual(closed.call_count, 2)


@unittest.skipUnless(hasattr(socket, "AF_UNIX"), "no unix sockets")
class PathTests(OpenCase):
    def test_path_listens_and_does_not_block(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s")
            (listening,) = self.open(uds=path)
            self.assertEqual(listening.getsockname(), path)
            with self.assertRaises(BlockingIOError):
                listening.accept()

    def test_empty_path_is_a_config_error(self) -> None:
        with self.assertRaisesRegex(ConfigError, "^uds is empty: it must be a path$"):
            self.open(uds="")


class InheritedTests(OpenCase):
    """`test_inherited` tests which are taken."""

    def test_descriptor_is_listened_on_and_stays_open(self) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            for _ in range(2):
                (listening,) = self.open(fd=bound.fileno())
                self.assertEqual(listening.getsockname(), bound.getsockname())
                with self.assertRaises(BlockingIOError):
                    listening.accept()
                listening.close()

    def test_descriptor_that_cannot_listen_is_an_error_and_its_duplicate_is_closed(self) -> None:
        close = socket.socket.close
        error = OSError(errno.EADDRINUSE, "Address already in use")
        with (
            socket.create_server(("127.0.0.1", 0)) as bound,
            mock.patch.object(socket.socket, "close", autospec=True, side_effect=close) as closed,
            mock.patch.object(socket.socket, "listen", side_effect=error),
        ):
            with self.assertRaises(OSError):
                self.open(fd=bound.fileno())
            self.assertEqual(closed.call_count, 1)

    def test_sockets_of_systemd_are_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as bound:
            pid = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
            with (
                mock.patch.dict(os.environ, pid),
                mock.patch.object(inherited_module, "FIRST_DESCRIPTOR", bound.fileno()),
            ):
                (listening,) = self.open(port=8000)
        self.assertEqual(listening.getsockname()[0], "127.0.0.1")
        self.assertNotEqual(listening.getsockname()[1], 8000)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An empty page."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


class LoopTests(unittest.TestCase):
    """In asyncio's event loop, and in that of `run`."""

    def run_in_loops(self, talk: Callable[[], Coroutine[Any, Any, None]]) -> None:
        for make in (asyncio.new_event_loop, SPEED.new_event_loop):
            loop = make()
            try:
                loop.run_until_complete(asyncio.wait_for(talk(), TIMEOUT))
            finally:
                loop.close()

    async def open(self, context: Any = None, **options: Any) -> ListeningSockets:
        config = ServerConfig(port=0, **options)
        sockets = ListeningSockets(config, [])
        await sockets.open(Service(app, config), context, use_systemd=False)
        return sockets

    async def assert_serves(self, sockets: ListeningSockets, request: bytes, **options: Any) -> None:
        address = sockets.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address, **options)
        writer.write(request)
        self.assertRegex(await reader.readline(), b"^HTTP/1.1 204 ")
        writer.transport.abort()
        sockets.close()
        await turn_loop()

    def test_nobody_can_connect_once_they_are_closed(self) -> None:
        async def talk() -> None:
            sockets = await self.open()
            address = sockets.sockets[0].getsockname()
            sockets.close()
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(address, TIMEOUT)

        self.run_in_loops(talk)

    def test_header_of_a_proxy_is_read_without_tls(self) -> None:
        async def talk() -> None:
            sockets = await self.open(proxy_protocol=True, forwarded_allow_ips="127.0.0.1")
            await self.assert_serves(sockets, b"PROXY UNKNOWN\r\n" + GET)

        self.run_in_loops(talk)

    @unittest.skipIf(ssl is None, "this Python was built without ssl")
    def test_connections_are_under_tls(self) -> None:
        async def talk() -> None:
            context = build_ssl_context(ServerConfig(ssl_certfile=write_certificate(self)))
            client = ssl.create_default_context(cadata=CERTIFICATE)
            sockets = await self.open(context)
            await self.assert_serves(sockets, GET, ssl=client, server_hostname="localhost")

        ignore_unclosed(self)
        self.run_in_loops(talk)


class ServingTests(unittest.IsolatedAsyncioTestCase):
    async def assert_sent_at_once(self, *given: socket.socket) -> None:
        config = ServerConfig(port=0)
        sockets = ListeningSockets(config, given)
        await sockets.open(Service(app, config), None, use_systemd=False)
        self.addCleanup(sockets.close)
        with (
            sockets.sockets[0].dup() as listening,
            socket.create_connection(listening.getsockname()),
            listening.accept()[0] as accepted,
        ):
            self.assertTrue(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    async def test_what_is_sent_never_waits_for_an_acknowledgement_of_the_peer(self) -> None:
        await self.assert_sent_at_once()
        with socket.create_server(("127.0.0.1", 0)) as given:
            await self.assert_sent_at_once(given)

    async def test_start_that_is_cancelled_while_it_begins_to_serve_leaves_no_socket(self) -> None:
        config = ServerConfig(port=0)
        sockets = ListeningSockets(config, [])
        opening = asyncio.ensure_future(sockets.open(Service(app, config), None, use_systemd=False))
        # asyncio begins to serve, and waits for the loop's next turn.
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        self.assertTrue(opening.cancelled())
        self.assertEqual(sockets.sockets, [])


if __name__ == "__main__":
    unittest.main()
