"""Sockets of a parent process or systemd: which are taken, which are refused, and what is said."""

from __future__ import annotations

import os
import socket
import tempfile
import unittest
from typing import Any, List
from unittest import mock

from wsbridge.config import ServerConfig
from wsbridge.protocols.errors import ConfigError
from wsbridge.server.listening import inherited as inherited_module
from wsbridge.server.listening.inherited import inherit_socket, take_systemd_sockets

VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class InheritedCase(unittest.TestCase):
    def listen(self) -> socket.socket:
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        return listening


class DescriptorTests(InheritedCase):
    def assert_refused(self, text: str, descriptor: int) -> None:
        with self.assertRaisesRegex(ConfigError, f"^fd: {text}"):
            inherit_socket(descriptor, "fd")

    def test_socket_is_duplicated_and_stays_open(self) -> None:
        listening = self.listen()
        with inherit_socket(listening.fileno(), "fd") as inherited:
            self.assertEqual(inherited.getsockname(), listening.getsockname())
            self.assertNotEqual(inherited.fileno(), listening.fileno())
            self.assertFalse(inherited.get_inheritable())
        listening.getsockname()

    @unittest.skipUnless(hasattr(socket, "AF_UNIX"), "no unix sockets")
    def test_unix_socket(self) -> None:
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.path.join(folder, "s"))
            with inherit_socket(bound.fileno(), "fd") as inherited:
                self.assertEqual(inherited.family, socket.AF_UNIX)

    def test_descriptor_that_is_not_open(self) -> None:
        with open(os.devnull) as file:
            descriptor = file.fileno()
        self.assert_refused("Bad file descriptor; it must be an open socket of this process$", descriptor)

    def test_descriptor_of_a_file(self) -> None:
        with open(os.devnull) as file:
            text = "Socket operation on non-socket; it must be an open socket of this process$"
            self.assert_refused(text, file.fileno())

    def test_datagrams(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            self.assert_refused("it must be a stream socket of TCP or a unix socket$", datagrams.fileno())
            datagrams.getsockname()

    def test_socket_without_an_address(self) -> None:
        with socket.socket() as nowhere:
            self.assert_refused("it must be bound to an address", nowhere.fileno())

    def test_connection(self) -> None:
        with socket.create_connection(self.listen().getsockname()) as connected:
            text = r"it must listen, but it is a connection \(systemd: set Accept=no\)$"
            self.assert_refused(text, connected.fileno())


@unittest.skipUnless(hasattr(os, "dup2") and hasattr(socket, "AF_UNIX"), "a system without systemd")
class SystemdTests(InheritedCase):
    # As good as 3, which this process has open.
    FIRST = 203

    def setUp(self) -> None:
        # sd_listen_fds(3): SD_LISTEN_FDS_START.
        self.assertEqual(inherited_module.FIRST_DESCRIPTOR, 3)
        first = mock.patch.object(inherited_module, "FIRST_DESCRIPTOR", self.FIRST)
        first.start()
        self.addCleanup(first.stop)
        self.set_variables()

    def set_variables(self, *, pid: Any = None, count: str = "0", names: str = "") -> None:
        values = (str(os.getpid()) if pid is None else pid, count, names)
        environ = mock.patch.dict(os.environ, zip(VARIABLES, values))
        environ.start()
        self.addCleanup(environ.stop)

    def pass_on(self, *passed: socket.socket, names: str = "") -> None:
        for descriptor, given in enumerate(passed, self.FIRST):
            os.dup2(given.fileno(), descriptor)
            self.addCleanup(os.close, descriptor)
        self.set_variables(count=str(len(passed)), names=names)

    def take(self, **options: Any) -> List[Any]:
        taken = take_systemd_sockets(ServerConfig(**options))
        for listening in taken:
            self.addCleanup(listening.close)
        return [listening.getsockname() for listening in taken]

    def assert_left(self, text: str, **options: Any) -> None:
        before = dict(os.environ)
        with self.assertLogs("wsbridge", "WARNING") as logs:
            self.assertEqual(self.take(**options), [])
        self.assertRegex(logs.records[0].getMessage(), text)
        self.assertEqual(os.environ, before)

    def test_there_are_none(self) -> None:
        del os.environ["LISTEN_PID"]
        self.assertEqual(self.take(), [])

    def test_each_is_taken_once_and_hidden_from_children(self) -> None:
        passed = [self.listen(), self.listen(), self.listen()]
        self.pass_on(*passed, names="web")
        self.assertTrue(os.get_inheritable(self.FIRST))
        self.assertEqual(self.take(), [listening.getsockname() for listening in passed])
        self.assertEqual(set(VARIABLES).intersection(os.environ), set())
        self.assertFalse(os.get_inheritable(self.FIRST) or os.get_inheritable(self.FIRST + 1))
        self.assertEqual(self.take(), [])

    def test_those_of_another_process_are_left_to_it(self) -> None:
        for pid in ("1", "9" * 10):
            self.set_variables(pid=pid, count="1")
            text = rf"^systemd has opened sockets for process {pid}, and this is process \d+: .*with exec$"
            self.assert_left(text)

    def test_address_that_is_given_comes_first(self) -> None:
        self.pass_on(self.listen())
        text = "^systemd has opened sockets for this server, and they are not used: host, port, uds or fd"
        options: Any
        for options in ({"host": "::1"}, {"port": 9000}, {"uds": "/s"}, {"fd": 3}):
            self.assert_left(text, **options)

    def test_socket_that_cannot_listen_is_named_and_the_others_are_let_go(self) -> None:
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(datagrams.close)
        self.pass_on(self.listen(), datagrams)
        for names, label in (("web:dns", " (dns)"), ("web:", ""), ("", "")):
            self.set_variables(count="2", names=names)
            with self.assertRaises(ConfigError) as caught:
                self.take()
            name = f"descriptor {self.FIRST + 1} of systemd{label}"
            rule = "it must be a stream socket of TCP or a unix socket"
            self.assertEqual(str(caught.exception), f"{name}: {rule}")

    def test_count_that_is_no_number(self) -> None:
        for count in ("", "-1", "x", "\u0661", "9" * 5000):
            self.set_variables(count=count)
            with self.assertRaisesRegex(ConfigError, "^LISTEN_FDS='.*': it must be a whole number$"):
                self.take()


if __name__ == "__main__":
    unittest.main()
