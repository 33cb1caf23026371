"""A response of HTTP/1.0 that is cut ends by a reset: its end is that of the connection (RFC 9112 8)."""

from __future__ import annotations

import asyncio
import socket
import unittest
from typing import Any, Dict

from wsbridge.server.connection.resetting import set_reset
from wsbridge.server.logs.log import logger
from wsbridge.server.server import Server

from .doubles import MemoryTransport
from .loopback import Client, LoopbackCase


async def app(scope: Dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"hi", "more_body": True})
    if scope["path"] == "/raise":
        raise RuntimeError("as asked")
    if scope["path"] == "/wait":
        await asyncio.Event().wait()
    await send({"type": "http.response.body"})


class ResetTests(LoopbackCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        logger.setLevel("CRITICAL")
        self.addCleanup(logger.setLevel, "NOTSET")
        self.server = Server(app, host="127.0.0.1", port=0, lifespan="off", timeout_graceful_shutdown=0.02)
        await self.server.start()
        self.addAsyncCleanup(self.server.stop)

    async def ask(self, path: bytes) -> Client:
        client = await self.connect(self.server.sockets[0].getsockname())
        client.send(b"GET " + path + b" HTTP/1.0\r\n\r\n")
        head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 20)
        self.assertNotIn(b"Length", head)
        return client

    async def test_whole_response_ends_with_the_connection(self) -> None:
        await self.assert_end(await self.ask(b"/"), b"hi")

    async def test_response_of_an_application_that_raises_is_reset(self) -> None:
        client = await self.ask(b"/raise")
        with self.assertRaises(ConnectionResetError):
            await client.read_to_end()

    async def test_response_that_a_stopping_server_cuts_is_reset(self) -> None:
        client = await self.ask(b"/wait")
        await self.server.stop()
        with self.assertRaises(ConnectionResetError):
            await client.read_to_end()


class SocketTests(unittest.TestCase):
    def test_transport_without_a_socket_is_left_alone(self) -> None:
        set_reset(MemoryTransport(), True)

    def test_socket_that_was_closed_is_left_alone(self) -> None:
        ours = socket.socket()
        ours.close()
        set_reset(MemoryTransport(socket=ours), True)


if __name__ == "__main__":
    unittest.main()
