"""What a transport knows of its two ends: IPv4, IPv6, unix sockets, TLS, and nothing."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any

from wsbridge.server.connection.addresses import format_client, get_client, get_ends, get_peer, get_server


def transport(**extra: Any) -> asyncio.BaseTransport:
    return asyncio.BaseTransport(extra)


class ClientTests(unittest.TestCase):
    def test_ipv4_is_host_and_port(self) -> None:
        self.assertEqual(get_client(transport(peername=("192.0.2.1", 5000))), ("192.0.2.1", 5000))

    def test_ipv6_has_its_flow_and_scope_left_out(self) -> None:
        self.assertEqual(get_client(transport(peername=("2001:db8::1", 5000, 0, 3))), ("2001:db8::1", 5000))

    def test_list_serves_as_well(self) -> None:
        self.assertEqual(get_client(transport(peername=["192.0.2.1", 5000])), ("192.0.2.1", 5000))

    def test_unix_socket_has_none(self) -> None:
        # A client that has not bound its socket has the empty name; Linux also knows names of bytes.
        for name in ("", "/run/client", b"\0abstract", None):
            self.assertIsNone(get_client(transport(peername=name)))
        self.assertIsNone(get_client(transport()))


class ServerTests(unittest.TestCase):
    def test_internet_socket_is_host_and_port(self) -> None:
        self.assertEqual(get_server(transport(sockname=("192.0.2.2", 80))), ("192.0.2.2", 80))
        self.assertEqual(get_server(transport(sockname=("::1", 80, 0, 0))), ("::1", 80))

    def test_unix_socket_is_its_path_and_none(self) -> None:
        self.assertEqual(get_server(transport(sockname="/run/ws.sock")), ("/run/ws.sock", None))

    def test_unknown_is_none(self) -> None:
        self.assertIsNone(get_server(transport()))


class PeerTests(unittest.TestCase):
    def test_internet_socket_is_its_host(self) -> None:
        self.assertEqual(get_peer(transport(peername=("192.0.2.1", 5000))), "192.0.2.1")

    def test_unix_socket_is_none(self) -> None:
        self.assertIsNone(get_peer(transport(peername="", sockname="/run/ws.sock")))
        self.assertIsNone(get_peer(transport()))

    def test_internet_socket_without_an_address_is_no_unix_socket(self) -> None:
        # uvloop has none of a peer that has reset its connection.
        self.assertEqual(get_peer(transport(sockname=("192.0.2.2", 80))), "")


class SecureTests(unittest.TestCase):
    def test_context_means_tls(self) -> None:
        self.assertTrue(get_ends(transport(sslcontext=object())).is_secure)

    def test_no_context_means_none(self) -> None:
        self.assertFalse(get_ends(transport()).is_secure)


class FormatTests(unittest.TestCase):
    def test_host_and_port(self) -> None:
        self.assertEqual(format_client(("192.0.2.1", 5000)), "192.0.2.1:5000")

    def test_unix_socket(self) -> None:
        self.assertEqual(format_client(None), "unix socket")


if __name__ == "__main__":
    unittest.main()
