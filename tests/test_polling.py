"""An application that asks for the client's end again and again, as Starlette's ``is_disconnected`` does."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any

from .doubles import turn_loop
from .pipeline import POST, STATUS, Event, PipelineCase


class PollingTests(PipelineCase):
    def configure(self, **options: Any) -> None:
        super().configure(timeout_body=30, **options)

    async def app(self, scope: Event, receive: Any, send: Any) -> None:
        while (event := await self.poll(receive))["type"] == "http.request":
            self.seen.append(event["body"])
        self.seen.append(b"disconnect")

    async def poll(self, receive: Any) -> Event:
        while True:
            receiving = asyncio.ensure_future(receive())
            await asyncio.wait([receiving], timeout=0)
            if receiving.done():
                event: Event = receiving.result()
                return event
            receiving.cancel()
            await asyncio.sleep(0)

    async def test_application_that_asks_again_and_again_gives_the_client_no_more_time(self) -> None:
        transport = self.connect()
        transport.feed(POST + b"Content-Length: 3\r\n\r\na")
        await turn_loop(20)
        for _ in range(3):
            self.clock.advance(10)
            await turn_loop(20)
            self.assertEqual(transport.written, b"")
            self.service.sweep()
        await turn_loop(20)
        self.assertEqual(STATUS.findall(transport.written), [b"408"])
        self.assertEqual(self.seen, [b"a", b"disconnect"])


if __name__ == "__main__":
    unittest.main()
