"""The contract in the hands of somebody who owns an asyncio streams server.

The first half is all it takes to put an ASGI application behind `asyncio.start_server`: plain asyncio
objects, `RequestParser`, `WSProtocol`, and the three functions that join them to the application.
"""

from __future__ import annotations

import asyncio
import contextlib
import unittest
from typing import Any, Dict

from wsbridge import (
    RequestParser,
    RequestRefused,
    ServerConfig,
    WSProtocol,
    build_ws_event,
    build_ws_scope,
    create_ws_receive,
    create_ws_send,
)
from wsbridge.protocols.fields import get_header_values
from wsbridge.protocols.handshake import check_upgrade_request
from wsbridge.protocols.responses import build_refusal

Event = Dict[str, Any]


async def app(scope: Event, receive: Any, send: Any) -> None:
    """An echo at every path but ``/no``, until it is told ``bye``."""
    await receive()  # websocket.connect
    if scope["path"] == "/no":
        await send({"type": "websocket.http.response.start", "status": 404})
        await send({"type": "websocket.http.response.body", "body": b"Not here.\n"})
        return
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        if event.get("text") == "bye":
            await send({"type": "websocket.close", "code": 4000, "reason": "bye"})
            return
        await send({**event, "type": "websocket.send"})


async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await serve_websocket(reader, writer)
    except RequestRefused as refusal:
        writer.write(build_refusal(refusal))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
        pass  # the peer is gone, or sends no request: there is nobody to tell
    finally:
        writer.close()


async def serve_websocket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request: Any = RequestParser().receive_data(await reader.readuntil(b"\r\n\r\n"))
    ws_key = check_upgrade_request(request)
    offers = get_header_values(request.headers, b"sec-websocket-extensions")
    ws = WSProtocol(enable_compression=True, peer_extensions=offers)
    client, server = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
    scope = build_ws_scope(request, ServerConfig(), client, server)

    events: asyncio.Queue[Event] = asyncio.Queue(32)
    accepted, closed = asyncio.Event(), asyncio.Event()
    receive = create_ws_receive(events)
    send = create_ws_send(
        writer,
        ws,
        ws_key,
        accept_event=accepted,
        close_event=closed,
        offered_subprotocols=scope["subprotocols"],
    )
    feeding = asyncio.ensure_future(feed(reader, writer, ws, events, accepted))
    try:
        await app(scope, receive, send)
        if accepted.is_set():
            writer.write(ws.close())  # nothing where the application, or the peer, has closed
            await asyncio.wait([feeding], timeout=10)
    finally:
        feeding.cancel()


async def feed(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    ws: WSProtocol,
    events: asyncio.Queue[Event],
    accepted: asyncio.Event,
) -> None:
    """Bytes from the peer become events for the application, until both sides have closed."""
    await events.put({"type": "websocket.connect"})
    await accepted.wait()
    with contextlib.suppress(OSError):
        while not ws.is_closed and (data := await reader.read(65536)):
            received, outbound = ws.receive_data(data)
            writer.write(outbound)
            for event in received:
                await events.put(build_ws_event(event))
    for event in ws.receive_eof():
        await events.put(build_ws_event(event))


# ------------------------------------------------------------------------------ its test

# RFC 6455 1.2: the sample handshake.
REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


class ContractTests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.is_over = asyncio.Event()
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_connection(reader, writer)
        self.is_over.set()

    async def asyncTearDown(self) -> None:
        self.writer.close()
        await asyncio.wait_for(self.is_over.wait(), 10)
        self.server.close()
        await asyncio.wait_for(self.server.wait_closed(), 10)

    async def assert_answer(self, sent: bytes, expected: bytes) -> None:
        self.writer.write(sent)
        answer = await asyncio.wait_for(self.reader.readexactly(len(expected)), 10)
        self.assertEqual(answer, expected)

    async def assert_end(self) -> None:
        self.assertEqual(await asyncio.wait_for(self.reader.read(), 10), b"")

    async def test_text_and_binary_are_echoed(self) -> None:
        await self.assert_answer(REQUEST, SWITCHING)
        # RFC 6455 5.7: "Hello", masked and unmasked.
        await self.assert_answer(bytes.fromhex("81 85 37fa213d 7f9f4d5158"), b"\x81\x05Hello")
        await self.assert_answer(bytes.fromhex("82 82 00000000 00ff"), b"\x82\x02\x00\xff")
        await self.assert_answer(bytes.fromhex("82 80 00000000"), b"\x82\x00")

    async def test_peer_closes(self) -> None:
        await self.assert_answer(REQUEST, SWITCHING)
        await self.assert_answer(bytes.fromhex("88 82 00000000 03e9"), bytes.fromhex("88 02 03e9"))
        await self.assert_end()

    async def test_application_closes(self) -> None:
        await self.assert_answer(REQUEST, SWITCHING)
        await self.assert_answer(b"\x81\x83\0\0\0\0bye", b"\x88\x05\x0f\xa0bye")
        self.writer.write(b"\x88\x85\0\0\0\0\x0f\xa0bye")
        await self.assert_end()

    async def test_peer_that_only_goes_away_ends_the_application(self) -> None:
        await self.assert_answer(REQUEST, SWITCHING)
        self.writer.write_eof()
        await self.assert_end()

    async def test_frames_behind_the_request_are_answered_in_order(self) -> None:
        frames = b"\x81\x81\0\0\0\0a" + b"\x89\x81\0\0\0\0p" + b"\x81\x81\0\0\0\0b"
        await self.assert_answer(REQUEST + frames, SWITCHING)
        answers = await asyncio.wait_for(self.reader.readexactly(9), 10)
        self.assertEqual(answers.replace(b"\x8a\x01p", b""), b"\x81\x01a\x81\x01b")

    async def test_compression_is_agreed_on(self) -> None:
        offer = b"\r\nSec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n\r\n"
        agreed = b"\r\nSec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n\r\n"
        await self.assert_answer(REQUEST.replace(b"\r\n\r\n", offer), SWITCHING.replace(b"\r\n\r\n", agreed))
        # RFC 7692 7.2.3.1: "Hello", compressed, and so is our answer.
        hello = bytes.fromhex("f248cdc9c90700")
        await self.assert_answer(bytes.fromhex("c1 87 00000000") + hello, b"\xc1\x07" + hello)

    async def test_denial_is_an_http_response(self) -> None:
        self.writer.write(REQUEST.replace(b"/chat", b"/no"))
        answer = await asyncio.wait_for(self.reader.read(), 10)
        head = b"^HTTP/1.1 404 Not Found\r\nDate: .* GMT\r\nConnection: close\r\nContent-Length: 10\r\n"
        self.assertRegex(answer, head + b"\r\nNot here.\n$")

    async def test_request_that_is_no_opening_handshake_is_refused(self) -> None:
        await self.assert_answer(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n")


if __name__ == "__main__":
    unittest.main()
