"""`Clients`: who counts as one client, and what a proxy passes on."""

from __future__ import annotations

import unittest
from typing import List, Optional

from tests.doubles import MemoryTransport
from wsbridge.protocols.errors import TooManyRequests
from wsbridge.protocols.forwarded import TrustedPeers
from wsbridge.server.clients import Clients

PROXY = "10.0.0.1"


class ClientsTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.clients = Clients(2, TrustedPeers(PROXY))

    def add(self, peer: Optional[str]) -> MemoryTransport:
        transport = MemoryTransport()
        self.clients.add(transport, peer)
        return transport

    def add_forwarded(self, client: Optional[str], peer: Optional[str] = PROXY) -> MemoryTransport:
        transport = self.add(peer)
        self.clients.add_forwarded(transport, peer, client)
        return transport

    def assert_full(self, peer: str) -> None:
        with self.assertRaisesRegex(
            TooManyRequests, "^2 connections of one client are open, which is the limit$"
        ):
            self.add(peer)

    def add_all(self, *peers: Optional[str]) -> List[MemoryTransport]:
        return [self.add(peer) for peer in peers]


class PeerTests(ClientsTestCase):
    def test_each_address_has_its_own_limit(self) -> None:
        self.add_all("192.0.2.1", "192.0.2.1", "192.0.2.2")
        self.assert_full("192.0.2.1")
        self.add("192.0.2.2")

    def test_connection_that_ends_makes_room(self) -> None:
        first, _ = self.add_all("192.0.2.1", "192.0.2.1")
        for _ in range(3):
            self.clients.discard(first)
        self.add("192.0.2.1")
        self.assert_full("192.0.2.1")

    def test_client_without_connections_begins_again(self) -> None:
        for _ in range(2):
            transports = self.add_all("192.0.2.1", "192.0.2.1")
            self.assert_full("192.0.2.1")
            for transport in transports:
                self.clients.discard(transport)

    def test_connection_that_was_refused_does_not(self) -> None:
        self.add_all("192.0.2.1", "192.0.2.1")
        self.clients.discard(MemoryTransport())
        self.clients.discard(None)
        self.assert_full("192.0.2.1")

    def test_addresses_of_one_ipv6_network_of_64_bits_are_one_client(self) -> None:
        self.add_all("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:2::1")
        self.assert_full("2001:db8:0:1:2:3:4:5")

    def test_ipv4_address_in_ipv6_form_is_the_same(self) -> None:
        self.add_all("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2")
        self.assert_full("192.0.2.1")

    def test_zone_does_not_matter(self) -> None:
        self.add_all("fe80::1%eth0", "fe80::2%eth1")
        self.assert_full("fe80::3")

    def test_what_is_no_address_is_compared_as_it_is(self) -> None:
        self.add_all("testclient", "testclient", "other")
        self.assert_full("testclient")

    def test_unix_sockets_do_not_count(self) -> None:
        self.add_all(None, None, None)


class ProxyTests(ClientsTestCase):
    def test_proxy_has_no_limit(self) -> None:
        self.add_all(PROXY, PROXY, PROXY)

    def test_websockets_count_for_the_client_that_it_names(self) -> None:
        for peer in (PROXY, None):
            self.setUp()
            first = self.add_forwarded("192.0.2.1", peer)
            self.add_forwarded("192.0.2.2", peer)
            self.add("192.0.2.1")
            with self.assertRaises(TooManyRequests):
                self.add_forwarded("192.0.2.1", peer)
            self.clients.discard(first)
            self.add_forwarded("192.0.2.1", peer)

    def test_proxy_that_names_nobody_has_no_limit(self) -> None:
        for _ in range(3):
            self.add_forwarded(PROXY)
            self.add_forwarded(None, None)

    def test_connection_counts_once(self) -> None:
        self.add_forwarded("192.0.2.1", "192.0.2.1")
        transport = self.add("192.0.2.1")
        self.clients.add_forwarded(transport, "192.0.2.1", "192.0.2.9")
        self.assert_full("192.0.2.1")


if __name__ == "__main__":
    unittest.main()
