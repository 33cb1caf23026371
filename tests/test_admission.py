"""Which connections and requests are taken."""

from __future__ import annotations

import unittest
from typing import Any, List, Optional
from unittest import mock

from tests.doubles import MemoryTransport, ServiceTestCase
from wsbridge.protocols.errors import RequestRefused, ServiceUnavailable, TooManyRequests
from wsbridge.protocols.forwarded import TrustedPeers
from wsbridge.server.admission import admit_client, find_refusal
from wsbridge.server.clients import Clients

CLIENT = ("192.0.2.1", 5)


class FindRefusalTests(ServiceTestCase):
    def add(self, count: int) -> List[Any]:
        members = [mock.Mock() for _ in range(count)]
        for member in members:
            self.service.add(member)
        return members

    async def asyncTearDown(self) -> None:
        for member in tuple(self.service.members):
            self.service.discard(member)
        await super().asyncTearDown()

    def assert_refused(self, refusal: Optional[RequestRefused], text: str) -> None:
        self.assertIsInstance(refusal, ServiceUnavailable)
        self.assertEqual(str(refusal), text)

    async def test_without_a_limit_every_connection_is_taken(self) -> None:
        self.set_up()
        self.add(3)
        self.assertIsNone(find_refusal(self.service))

    async def test_stopping_server_takes_none(self) -> None:
        self.set_up()
        self.service.begin_shutdown()
        self.assert_refused(find_refusal(self.service), "the server is stopping")

    async def test_full_server_takes_none_and_notes_it(self) -> None:
        self.set_up(limit_concurrency=2)
        self.add(1)
        self.assertIsNone(find_refusal(self.service))
        self.add(1)
        self.assertFalse(self.service.has_refused)
        self.assert_refused(find_refusal(self.service), "2 connections are open, which is the limit")
        self.assertTrue(self.service.has_refused)
        # A host's, by `handle_websocket`, has asked for no place.
        self.add(1)
        self.assert_refused(find_refusal(self.service), "2 connections are open, which is the limit")

    async def test_connection_that_has_waited_the_longest_for_its_request_gives_way(self) -> None:
        self.set_up(limit_concurrency=2)
        first, second = self.add(2)
        self.service.waiting.update({first: None, second: None})
        self.assertIsNone(find_refusal(self.service))
        first.give_way.assert_called_once()
        self.assert_refused(first.give_way.call_args[0][0], "2 connections are open, which is the limit")
        second.give_way.assert_not_called()


class AdmitClientTests(unittest.TestCase):
    def test_client_with_too_many_connections_is_refused(self) -> None:
        clients = Clients(2, TrustedPeers(""))
        first, second, third = (admit_client(clients, MemoryTransport(), CLIENT) for _ in range(3))
        self.assertEqual((first, second), (None, None))
        self.assertIsInstance(third, TooManyRequests)

    def test_client_on_a_unix_socket_has_no_limit(self) -> None:
        clients = Clients(1, TrustedPeers(""))
        for _ in range(3):
            self.assertIsNone(admit_client(clients, MemoryTransport(), None))
