"""``limit_max_requests``: what counts, and what the limit is."""

from __future__ import annotations

import os
import unittest
from typing import Any, List
from unittest import mock

from wsbridge.config import ServerConfig
from wsbridge.server.limited import build_service
from wsbridge.server.service import Service

from .doubles import turn_loop


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Does nothing."""


async def send(event: Any) -> None:
    """Drops what is sent."""


class LimitTests(unittest.IsolatedAsyncioTestCase):
    def setUp(self) -> None:
        self.told: List[str] = []

    def build(self, **options: Any) -> Service:
        return build_service(app, ServerConfig(**options), None, lambda: self.told.append("limit"))

    async def count(self, service: Service, path: bytes = b"/") -> int:
        """How often an application is called until the limit is told of."""
        for count in range(1, 20):
            await service.app(
                {"type": "http", "raw_path": path, "root_path": "", "method": "GET"}, None, send
            )
            await turn_loop(1)
            if self.told:
                return count
        return 0

    async def test_without_a_limit_nothing_is_counted(self) -> None:
        service = self.build()
        self.assertIs(type(service), Service)
        self.assertEqual(await self.count(service), 0)

    async def test_limit_is_told_of_once(self) -> None:
        service = self.build(limit_max_requests=3)
        self.assertEqual(await self.count(service), 3)
        await self.count(service)
        await turn_loop()
        self.assertEqual(self.told, ["limit"])

    async def test_health_checks_do_not_count(self) -> None:
        service = self.build(limit_max_requests=3, health_path="/healthz")
        self.assertEqual(await self.count(service, b"/healthz"), 0)
        self.assertEqual(await self.count(service), 3)

    async def test_jitter_is_added_at_random(self) -> None:
        for drawn, limit in ((0, 3), (2, 5), (5, 8), (6, 3)):
            with mock.patch.object(os, "urandom", lambda size, drawn=drawn: drawn.to_bytes(size, "big")):
                service = self.build(limit_max_requests=3, limit_max_requests_jitter=5)
            self.assertEqual(await self.count(service), limit)
            self.told.clear()


if __name__ == "__main__":
    unittest.main()
