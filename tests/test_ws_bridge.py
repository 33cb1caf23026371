"""The bridge, as the owner of a server uses it: a plain Queue, a plain StreamWriter, plain Events."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import inspect
import io
import logging
import random
import socket
import unittest
import zlib
from typing import Any, Awaitable, Dict, List, Optional, Tuple, Type

from tests.doubles import DATE, build_date
from wsbridge.asgi.ws_bridge import build_ws_event, build_ws_scope, create_ws_receive, create_ws_send
from wsbridge.protocols.errors import ClientDisconnected, EventError, StateError
from wsbridge.protocols.events import WebSocketConnected, WebSocketDataReceived, WebSocketDisconnected
from wsbridge.protocols.ws import WSProtocol

Event = Dict[str, Any]

# RFC 6455 1.3: the sample nonce, and 4.2.2: what completes its handshake.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)
FORBIDDEN = (
    b"HTTP/1.1 403 Forbidden\r\n"
    + DATE
    + b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 46\r\n"
    b"Connection: close\r\n\r\nthe application did not accept the connection\n"
)

# RFC 6455 5.7: a masked text message "Hello"; 5.5.1: CLOSE with 1001 under an all-zero key.
PEER_HELLO = bytes.fromhex("81 85 37fa213d 7f9f4d5158")
PEER_CLOSE = bytes.fromhex("88 82 00000000 03e9")

ACCEPT: Event = {"type": "websocket.accept"}
DISCONNECT: Event = {"type": "websocket.disconnect", "code": 1006, "reason": ""}
CLOSE: Event = {"type": "websocket.close"}
HELLO: Event = {"type": "websocket.send", "text": "Hello"}
DENY: Event = {"type": "websocket.http.response.start", "status": 404}
BODY: Event = {"type": "websocket.http.response.body", "body": b"no"}

# An agreement on permessage-deflate (RFC 7692).
COMPRESSED: Dict[str, Any] = {"enable_compression": True, "peer_extensions": [b"permessage-deflate"]}

# More than the socket and its peer hold between them.
LARGE = 256 * 1024

BAD_HEADERS: Tuple[Any, ...] = (
    5,
    False,
    b"ab",
    [b"a"],
    [(b"a",)],
    [(b"a", b"b", b"c")],
    {b"ab": b"cd"},
    [("a", "b")],
    [(b"a", "b")],
    [(b"a", None)],
    [(b"", b"b")],
    [(b"a b", b"c")],
)
BAD_CODES = (-1, 0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 70000, "1000", 1000.0, True)
BAD_REASONS = (5, b"bye", ["bye"], {"loc": "query"})
LINE_BREAKERS = ("\r", "\n", "\0", "a\rb", "a\nb", "a\r\nX: y", "a\0b", "\r\n\r\n")


async def turn_loop() -> None:
    """Let everything that is ready have its turn."""
    for _ in range(5):
        await asyncio.sleep(0)


async def end_of(awaitable: Awaitable[Any]) -> Any:
    """What it returns; the bound is for a failing test only."""
    return await asyncio.wait_for(awaitable, 10)


def split_frames(data: bytes) -> List[Tuple[int, bytes]]:
    """First byte and payload of unmasked frames (RFC 6455 5.2); a partial one is an error."""
    frames = []
    while data:
        size, length = 2, data[1]
        if length >= 126:
            size = 4 if length == 126 else 10
            length = int.from_bytes(data[2:size], "big")
        if len(data) < size + length:
            raise AssertionError("half a frame")
        frames.append((data[0], data[size : size + length]))
        data = data[size + length :]
    return frames


class BridgeCase(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        asyncio.get_running_loop().set_debug(False)
        ours, self.peer = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.peer.setblocking(False)
        _, self.writer = await asyncio.open_connection(sock=ours)
        self.accept_event, self.close_event = asyncio.Event(), asyncio.Event()
        self.connect(WSProtocol())

    async def asyncTearDown(self) -> None:
        self.writer.transport.abort()
        self.peer.close()
        await turn_loop()

    def connect(self, ws: WSProtocol, **options: Any) -> None:
        self.ws = ws
        self.send = create_ws_send(
            self.writer,
            ws,
            KEY,
            accept_event=self.accept_event,
            close_event=self.close_event,
            date=build_date,
            **options,
        )

    def received(self) -> bytes:
        """What has reached the peer until now."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            while piece := self.peer.recv(LARGE):
                data += piece
        return data

    async def receive(self, size: int) -> bytes:
        """The next ``size`` bytes, and no more, once they have reached the peer."""
        pieces = b""
        while len(pieces) < size:
            pieces += await end_of(asyncio.get_running_loop().sock_recv(self.peer, size - len(pieces)))
        return pieces

    async def accepted(self, ws: Optional[WSProtocol] = None) -> None:
        if ws is not None:
            self.connect(ws)
        await self.send(ACCEPT)
        self.received()

    async def assert_sends(self, expected: bytes, event: Event) -> None:
        await self.send(event)
        self.assertEqual(self.received(), expected)

    async def assert_raises(self, error: Type[Exception], event: Any) -> None:
        """The application gets the exception, the peer gets nothing."""
        accepted, closed = self.accept_event.is_set(), self.close_event.is_set()
        with self.assertRaises(error, msg=repr(event)) as caught:
            await self.send(event)
        self.assertIs(type(caught.exception), error)
        self.assertTrue(str(caught.exception).isprintable())
        self.assertEqual(self.received(), b"", event)
        self.assertEqual((self.accept_event.is_set(), self.close_event.is_set()), (accepted, closed))

    async def start(self, event: Event) -> asyncio.Task[None]:
        """A task that sends ``event`` and waits, because the peer does not read."""
        task = asyncio.ensure_future(self.send(event))
        await turn_loop()
        self.assertFalse(task.done())
        return task

    async def start_large(self, content: bytes = bytes(LARGE)) -> asyncio.Task[None]:
        return await self.start({"type": "websocket.send", "bytes": content})


class ContractTests(unittest.TestCase):
    def assert_takes(self, function: Any, positional: List[str], keywords: List[str]) -> None:
        parameters = list(inspect.signature(function).parameters.values())
        required = [item for item in parameters if item.default is inspect.Parameter.empty]
        self.assertEqual([item.name for item in required], positional + keywords)
        self.assertEqual([item.name for item in parameters[: len(positional)]], positional)
        for item in parameters[len(positional) :]:
            self.assertIs(item.kind, inspect.Parameter.KEYWORD_ONLY)

    def test_build_ws_scope_takes_four_arguments(self) -> None:
        self.assert_takes(build_ws_scope, ["request", "config", "client", "server"], [])

    def test_create_ws_receive_takes_a_queue(self) -> None:
        self.assert_takes(create_ws_receive, ["events"], [])

    def test_create_ws_send_takes_three_arguments_and_two_events(self) -> None:
        self.assert_takes(
            create_ws_send, ["writer", "ws_protocol", "ws_key"], ["accept_event", "close_event"]
        )


class ReceiveTests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.queue: asyncio.Queue[Event] = asyncio.Queue()
        self.receive = create_ws_receive(self.queue)

    async def test_events_come_in_order_and_unchanged(self) -> None:
        events: List[Event] = [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "text": ""},
            {"type": "websocket.receive", "bytes": b""},
            {"type": "websocket.disconnect", "code": 1000, "reason": "bye"},
        ]
        for event in events:
            self.queue.put_nowait(event)
        self.assertEqual([await self.receive() for _ in events], events)

    async def test_receive_waits_for_an_event(self) -> None:
        task = asyncio.ensure_future(self.receive())
        await turn_loop()
        self.assertFalse(task.done())
        self.queue.put_nowait({"type": "websocket.connect"})
        self.assertEqual(await end_of(task), {"type": "websocket.connect"})

    async def test_disconnect_comes_behind_the_messages_and_once(self) -> None:
        self.queue.put_nowait({"type": "websocket.receive", "text": "a"})
        self.queue.put_nowait(DISCONNECT)
        self.assertEqual((await self.receive())["text"], "a")
        self.assertEqual(await self.receive(), DISCONNECT)
        for _ in range(2):
            with self.assertRaises(ClientDisconnected):
                await end_of(self.receive())

    async def test_disconnect_is_delivered_before_accept(self) -> None:
        self.queue.put_nowait({"type": "websocket.connect"})
        self.queue.put_nowait(DISCONNECT)
        await self.receive()
        self.assertEqual(await self.receive(), DISCONNECT)

    async def test_cancellation_at_receive_loses_no_event(self) -> None:
        task = asyncio.ensure_future(self.receive())
        await turn_loop()
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.queue.put_nowait(DISCONNECT)
        self.assertEqual(await end_of(self.receive()), DISCONNECT)


class EventTests(unittest.TestCase):
    """`build_ws_event`: what `WSProtocol` has received, for the queue of `create_ws_receive`."""

    def test_message_has_exactly_one_of_text_and_bytes(self) -> None:
        for data, key in (("a", "text"), ("", "text"), (b"a", "bytes"), (b"", "bytes")):
            event = build_ws_event(WebSocketDataReceived(data))
            self.assertEqual(event, {"type": "websocket.receive", key: data})

    def test_disconnect_has_code_and_reason(self) -> None:
        event = build_ws_event(WebSocketDisconnected(4000, "bye"))
        self.assertEqual(event, {"type": "websocket.disconnect", "code": 4000, "reason": "bye"})

    def test_connect(self) -> None:
        self.assertEqual(build_ws_event(WebSocketConnected(None)), {"type": "websocket.connect"})


class AcceptTests(BridgeCase):
    async def test_sample_of_rfc_6455_1_3(self) -> None:
        await self.assert_sends(SWITCHING + b"\r\n", ACCEPT)
        self.assertTrue(self.accept_event.is_set())
        self.assertFalse(self.close_event.is_set())

    async def test_absent_values_may_be_none(self) -> None:
        await self.assert_sends(SWITCHING + b"\r\n", {**ACCEPT, "subprotocol": None, "headers": None})
        self.assertIsNone(self.ws.subprotocol)

    async def test_headers_follow_in_their_order_with_duplicates(self) -> None:
        headers = [(b"set-cookie", b"a=1"), [b"X-Case", b"\xff"], (b"set-cookie", b"b=2")]
        expected = b"set-cookie: a=1\r\nX-Case: \xff\r\nset-cookie: b=2\r\n\r\n"
        await self.assert_sends(SWITCHING + expected, {**ACCEPT, "headers": headers})

    async def test_headers_may_be_any_iterable(self) -> None:
        headers = iter([(b"a", b"b")])
        await self.assert_sends(SWITCHING + b"a: b\r\n\r\n", {**ACCEPT, "headers": headers})

    async def test_subprotocol_is_named_and_noted(self) -> None:
        self.connect(WSProtocol(), offered_subprotocols=["chat", "superchat"])
        expected = SWITCHING + b"Sec-WebSocket-Protocol: superchat\r\n\r\n"
        await self.assert_sends(expected, {**ACCEPT, "subprotocol": "superchat"})
        self.assertEqual(self.ws.subprotocol, "superchat")

    async def test_subprotocol_of_the_connection_stands_where_the_application_names_none(self) -> None:
        self.connect(WSProtocol(subprotocol="chat"))
        await self.assert_sends(SWITCHING + b"Sec-WebSocket-Protocol: chat\r\n\r\n", ACCEPT)
        self.assertEqual(self.ws.subprotocol, "chat")

    async def test_subprotocol_is_unchecked_where_the_offers_are_unknown(self) -> None:
        event = {**ACCEPT, "subprotocol": "chat"}
        await self.assert_sends(SWITCHING + b"Sec-WebSocket-Protocol: chat\r\n\r\n", event)

    async def test_subprotocol_that_was_not_offered_is_left_out_with_one_warning(self) -> None:
        for offered, names in (([], "none"), (["chat", "Superchat"], "chat, Superchat")):
            self.connect(WSProtocol(), offered_subprotocols=offered)
            with self.assertLogs("wsbridge", "WARNING") as logs:
                await self.assert_sends(SWITCHING + b"\r\n", {**ACCEPT, "subprotocol": "superchat"})
            expected = (
                f"accepted without subprotocol 'superchat', which the client did not offer (offered: {names})"
            )
            self.assertEqual([record.getMessage() for record in logs.records], [expected])
            self.assertIsNone(self.ws.subprotocol)

    async def test_empty_subprotocol_is_none(self) -> None:
        self.connect(WSProtocol(), offered_subprotocols=["chat"])
        await self.assert_sends(SWITCHING + b"\r\n", {**ACCEPT, "subprotocol": ""})
        self.assertIsNone(self.ws.subprotocol)

    async def test_extension_that_was_agreed_on_is_named(self) -> None:
        offer = [b"permessage-deflate; client_max_window_bits"]
        self.connect(WSProtocol(enable_compression=True, peer_extensions=offer))
        await self.assert_sends(
            SWITCHING + b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12\r\n\r\n",
            ACCEPT,
        )

    async def test_second_accept_is_a_state_error(self) -> None:
        await self.accepted()
        await self.assert_raises(StateError, ACCEPT)

    async def test_message_before_accept_is_a_state_error(self) -> None:
        await self.assert_raises(StateError, HELLO)
        await self.assert_sends(SWITCHING + b"\r\n", ACCEPT)


class RefusalTests(BridgeCase):
    async def test_close_before_accept_is_403(self) -> None:
        await self.assert_sends(FORBIDDEN, CLOSE)
        self.assertTrue(self.close_event.is_set())
        self.assertFalse(self.accept_event.is_set())

    async def test_code_and_reason_are_not_told_and_may_be_anything(self) -> None:
        # FastAPI sends its validation errors, Litestar long reasons, Channels an HTTP status.
        errors = [{"loc": ["query", "token"], "msg": "Field required", "type": "missing"}]
        for code in (1008, 403, 1005, "1000", None, *BAD_CODES):
            for reason in (errors, "x" * 200, "no, é", "a\r\nX: y", "\ud800", 5, None):
                self.connect(WSProtocol())
                await self.assert_sends(FORBIDDEN, {**CLOSE, "code": code, "reason": reason})

    async def test_after_a_refusal_nothing_can_be_sent(self) -> None:
        await self.send(CLOSE)
        self.received()
        for event in (ACCEPT, HELLO, DENY, BODY):
            await self.assert_raises(ClientDisconnected, event)
        await self.assert_sends(b"", CLOSE)

    async def test_refusal_of_a_peer_that_is_gone_does_nothing(self) -> None:
        self.ws.receive_eof()
        await self.assert_sends(b"", CLOSE)
        self.assertTrue(self.close_event.is_set())


class DenialTests(BridgeCase):
    HEAD = b"HTTP/1.1 404 Not Found\r\n" + DATE + b"Connection: close\r\n"

    async def test_nothing_leaves_before_the_first_part(self) -> None:
        await self.assert_sends(b"", DENY)
        await self.assert_sends(self.HEAD + b"Content-Length: 2\r\n\r\nno", BODY)

    async def test_close_event_is_set_by_the_last_part(self) -> None:
        await self.send(DENY)
        await self.send({**BODY, "more_body": True})
        self.assertFalse(self.close_event.is_set())
        await self.send(BODY)
        self.assertTrue(self.close_event.is_set())
        self.assertFalse(self.accept_event.is_set())

    async def test_parts_without_a_length_are_chunks(self) -> None:
        await self.send(DENY)
        expected = self.HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n"
        await self.assert_sends(expected, {**BODY, "more_body": True})
        await self.assert_sends(b"10\r\n0123456789abcdef\r\n0\r\n\r\n", {**BODY, "body": b"0123456789abcdef"})

    async def test_parts_with_a_length_are_sent_as_they_are(self) -> None:
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"4")]
        await self.send({**DENY, "headers": headers})
        expected = (
            b"HTTP/1.1 404 Not Found\r\n" + DATE + b"content-type: text/plain\r\ncontent-length: 4\r\n"
            b"Connection: close\r\n\r\nno"
        )
        await self.assert_sends(expected, {**BODY, "more_body": True})
        await self.assert_sends(b"no", BODY)

    async def test_body_may_be_absent(self) -> None:
        await self.send(DENY)
        expected = self.HEAD + b"Content-Length: 0\r\n\r\n"
        await self.assert_sends(expected, {"type": "websocket.http.response.body"})

    async def test_denial_can_become_nothing_else(self) -> None:
        await self.send(DENY)
        for event in (DENY, ACCEPT, CLOSE, HELLO):
            await self.assert_raises(StateError, event)

    async def test_body_without_a_start_is_a_state_error(self) -> None:
        await self.assert_raises(StateError, BODY)

    async def test_after_a_denial_nothing_can_be_sent(self) -> None:
        await self.send(DENY)
        await self.send(BODY)
        self.received()
        for event in (ACCEPT, HELLO, DENY, BODY):
            await self.assert_raises(ClientDisconnected, event)
        await self.assert_sends(b"", CLOSE)

    async def test_denial_of_a_peer_that_is_gone_raises(self) -> None:
        self.ws.receive_eof()
        await self.assert_raises(ClientDisconnected, DENY)

    async def test_peer_that_goes_during_a_denial_ends_it(self) -> None:
        await self.send(DENY)
        self.ws.receive_eof()
        await self.assert_raises(ClientDisconnected, BODY)
        await self.assert_raises(ClientDisconnected, BODY)

    async def test_part_waits_for_a_peer_that_does_not_read(self) -> None:
        self.writer.transport.set_write_buffer_limits(high=0)
        await self.send({**DENY, "headers": [(b"content-length", b"%d" % LARGE)]})
        task = await self.start({**BODY, "body": bytes(LARGE), "more_body": True})
        await self.receive(LARGE)
        await end_of(task)


class MessageTests(BridgeCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        await self.accepted()

    async def test_text_hello_of_rfc_6455_5_7(self) -> None:
        await self.assert_sends(bytes.fromhex("81 05 48656c6c6f"), HELLO)

    async def test_the_other_key_may_be_none(self) -> None:
        await self.assert_sends(b"\x81\x01a", {"type": "websocket.send", "text": "a"})
        await self.assert_sends(b"\x82\x01a", {"type": "websocket.send", "bytes": b"a"})

    async def test_empty_message_is_a_message(self) -> None:
        await self.assert_sends(b"\x81\x00", {"type": "websocket.send", "text": ""})
        await self.assert_sends(b"\x82\x00", {"type": "websocket.send", "bytes": b""})

    async def test_anything_like_bytes_is_binary(self) -> None:
        for data in (b"ab", bytearray(b"ab"), memoryview(b"ab"), memoryview(b"axbx")[::2]):
            await self.assert_sends(b"\x82\x02ab", {"type": "websocket.send", "bytes": data})

    async def test_text_is_utf_8(self) -> None:
        await self.assert_sends(b"\x81\x04\xf0\x9f\x98\x80", {"type": "websocket.send", "text": "\U0001f600"})

    async def test_256_bytes_of_rfc_6455_5_7(self) -> None:
        expected = bytes.fromhex("82 7e 0100") + bytes(256)
        await self.assert_sends(expected, {"type": "websocket.send", "bytes": bytes(256)})

    async def test_message_is_compressed_as_in_rfc_7692_7_2_3_1(self) -> None:
        self.connect(WSProtocol(**COMPRESSED))
        await self.accepted()
        await self.assert_sends(bytes.fromhex("c1 07 f248cdc9c90700"), HELLO)


class CloseTests(BridgeCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        await self.accepted()

    async def test_default_is_1000_without_a_reason(self) -> None:
        await self.assert_sends(bytes.fromhex("88 02 03e8"), CLOSE)
        self.assertTrue(self.close_event.is_set())

    async def test_absent_values_may_be_none(self) -> None:
        await self.assert_sends(bytes.fromhex("88 02 03e8"), {**CLOSE, "code": None, "reason": None})

    async def test_code_and_reason(self) -> None:
        await self.assert_sends(b"\x88\x06\x0f\xa0n\xc3\xa9!", {**CLOSE, "code": 4000, "reason": "né!"})

    async def test_every_code_that_can_be_sent_is_sent(self) -> None:
        for code in (*range(1000, 1004), *range(1007, 1015), 3000, 4999):
            await self.accepted(WSProtocol())
            await self.assert_sends(b"\x88\x02" + code.to_bytes(2, "big"), {**CLOSE, "code": code})

    async def test_code_may_be_a_member_of_an_enum(self) -> None:
        # `websockets` and its like have their codes so.
        code = enum.IntEnum("CloseCode", {"GOING_AWAY": 1001}).GOING_AWAY  # type: ignore[attr-defined]
        await self.assert_sends(bytes.fromhex("88 02 03e9"), {**CLOSE, "code": code})

    async def test_reason_may_be_123_bytes(self) -> None:
        event = {**CLOSE, "reason": "é" * 61 + "x"}
        await self.assert_sends(b"\x88\x7d\x03\xe8" + b"\xc3\xa9" * 61 + b"x", event)

    async def test_longer_reason_is_cut_at_a_character(self) -> None:
        for reason, left in (
            ("€" * 42, b"\xe2\x82\xac" * 41),
            ("x" * 124, b"x" * 123),
            ("é" * 62, b"\xc3\xa9" * 61),
            ("xx" + "\U0001f600" * 31, b"xx" + b"\xf0\x9f\x98\x80" * 30),
            ("x" * 123 + "€" * 9, b"x" * 123),
        ):
            await self.accepted(WSProtocol())
            frame = bytes((0x88, 2 + len(left))) + b"\x0f\xa0" + left
            await self.assert_sends(frame, {**CLOSE, "code": 4000, "reason": reason})

    async def test_surrogate_in_a_reason_leaves_the_code(self) -> None:
        await self.assert_sends(b"\x88\x04\x0f\xa0a?", {**CLOSE, "code": 4000, "reason": "a\ud800"})

    async def test_close_at_the_end_does_nothing_whatever_it_holds(self) -> None:
        events = [CLOSE, *({**CLOSE, "code": code} for code in (4000, 1005, 1006, *BAD_CODES))]
        events += [{**CLOSE, "reason": reason} for reason in ("x" * 200, *BAD_REASONS)]
        await self.send(CLOSE)
        self.received()
        for event in events:
            await self.assert_sends(b"", event)
        for wire in (PEER_CLOSE, b"\x83\x80"):
            await self.accepted(WSProtocol())
            self.ws.receive_data(wire)
            for event in events:
                await self.assert_sends(b"", event)
        await self.accepted(WSProtocol())
        self.ws.receive_eof()
        for event in events:
            await self.assert_sends(b"", event)

    async def test_after_close_nothing_can_be_sent(self) -> None:
        await self.send(CLOSE)
        self.received()
        for event in (ACCEPT, HELLO, DENY, BODY):
            await self.assert_raises(ClientDisconnected, event)

    async def test_close_after_the_peers_writes_nothing_and_is_noted(self) -> None:
        self.ws.receive_data(PEER_CLOSE)
        await self.assert_sends(b"", CLOSE)
        self.assertTrue(self.close_event.is_set())

    async def test_close_releases_the_answer_that_was_held(self) -> None:
        await self.accepted(WSProtocol(hold_close=True))
        self.ws.receive_data(PEER_HELLO + PEER_CLOSE)
        await self.assert_sends(bytes.fromhex("81 05 48656c6c6f"), HELLO)
        await self.assert_sends(bytes.fromhex("88 02 03e9"), CLOSE)


class DisconnectTests(BridgeCase):
    def test_client_disconnected_is_an_os_error(self) -> None:
        self.assertTrue(issubclass(ClientDisconnected, OSError))

    async def test_accept_of_a_peer_that_is_gone_raises(self) -> None:
        self.ws.receive_eof()
        await self.assert_raises(ClientDisconnected, ACCEPT)
        await self.assert_raises(ClientDisconnected, HELLO)

    async def test_send_after_the_peers_close_raises(self) -> None:
        await self.accepted()
        self.ws.receive_data(PEER_CLOSE)
        for event in (HELLO, HELLO, ACCEPT, DENY):
            await self.assert_raises(ClientDisconnected, event)

    async def test_send_after_the_servers_close_raises(self) -> None:
        await self.accepted()
        self.ws.close(1012)
        await self.assert_raises(ClientDisconnected, HELLO)

    async def test_close_after_a_send_that_failed_is_noted(self) -> None:
        await self.accepted()
        self.ws.receive_eof()
        await self.assert_raises(ClientDisconnected, HELLO)
        await self.assert_sends(b"", CLOSE)
        self.assertTrue(self.close_event.is_set())

    async def test_lost_connection_raises_from_the_system_error(self) -> None:
        await self.accepted()
        self.peer.close()
        with self.assertRaises(ClientDisconnected) as caught:
            await end_of(self.send(HELLO))
        self.assertIsInstance(caught.exception.__cause__, ConnectionError)
        with self.assertRaises(ClientDisconnected):
            await self.send(HELLO)
        await self.send(CLOSE)

    async def test_lost_connection_before_accept_raises(self) -> None:
        self.peer.close()
        with self.assertRaises(ClientDisconnected):
            await end_of(self.send(ACCEPT))

    async def test_client_resets_during_a_write(self) -> None:
        await self.accepted()
        self.writer.transport.set_write_buffer_limits(high=0)
        task = await self.start_large()
        self.peer.close()
        with self.assertRaises(ClientDisconnected):
            await end_of(task)

    async def test_nothing_is_logged(self) -> None:
        log = io.StringIO()
        handler = logging.StreamHandler(log)
        logging.getLogger().addHandler(handler)
        self.addCleanup(logging.getLogger().removeHandler, handler)
        await self.accepted()
        self.peer.close()
        for _ in range(20):
            with self.assertRaises(ClientDisconnected):
                await end_of(self.send(HELLO))
        await self.send(CLOSE)
        self.assertEqual(log.getvalue(), "")


class InvalidEventTests(BridgeCase):
    """Each raises before a byte is written, and leaves the connection as it was."""

    async def assert_invalid(self, kind: str, key: str, *values: Any, **others: Any) -> None:
        for value in values:
            await self.assert_raises(EventError, {"type": kind, **others, key: value})

    async def test_what_is_no_event(self) -> None:
        for state in ("connecting", "open", "denying"):
            with self.subTest(state):
                self.connect(WSProtocol())
                if state != "connecting":
                    await self.send(ACCEPT if state == "open" else DENY)
                    self.received()
                for event in (None, 5, "websocket.accept", [], ["type"], {}, {"Type": "websocket.accept"}):
                    await self.assert_raises(EventError, event)
                unknown = ("", "accept", "websocket.receive", "http.response.start", b"websocket.send")
                await self.assert_invalid("", "type", *unknown, None, 5, [])

    async def test_accept(self) -> None:
        bad = (5, b"chat", ["chat"], b"", "two words", "a,b", "ch\u00e4t", "\ud800")
        await self.assert_invalid("websocket.accept", "subprotocol", *bad)
        await self.assert_invalid("websocket.accept", "headers", *BAD_HEADERS)
        await self.assert_sends(SWITCHING + b"\r\n", ACCEPT)

    async def test_close_after_accept(self) -> None:
        await self.accepted()
        await self.assert_invalid("websocket.close", "code", *BAD_CODES)
        await self.assert_invalid("websocket.close", "reason", *BAD_REASONS)
        await self.assert_sends(bytes.fromhex("88 02 03e8"), CLOSE)

    async def test_send(self) -> None:
        await self.accepted()
        await self.assert_invalid("websocket.send", "data", b"")
        await self.assert_invalid("websocket.send", "text", None, b"a", 5, ["a"], "a\ud800")
        await self.assert_invalid("websocket.send", "bytes", None, "a", 5, [97])
        await self.assert_invalid("websocket.send", "text", "", "a", 5, bytes=b"")
        await self.assert_sends(bytes.fromhex("81 05 48656c6c6f"), HELLO)

    async def test_send_that_is_invalid_leaves_the_compressor_in_step(self) -> None:
        await self.accepted(WSProtocol(**COMPRESSED))
        await self.assert_invalid("websocket.send", "text", "Hello\ud800")
        await self.assert_sends(bytes.fromhex("c1 07 f248cdc9c90700"), HELLO)

    async def test_denial(self) -> None:
        start, body = "websocket.http.response.start", "websocket.http.response.body"
        await self.assert_invalid(start, "status", None, "404", 404.0, True, 0, 101, 199, 600)
        await self.assert_invalid(start, "headers", *BAD_HEADERS, status=404)
        await self.assert_raises(EventError, {"type": start})
        await self.send(DENY)
        await self.assert_invalid(body, "body", None, "no", 5, [1])
        await self.assert_sends(DenialTests.HEAD + b"Content-Length: 2\r\n\r\nno", BODY)


class HostileApplicationTests(BridgeCase):
    """hostile-input.md: the application gets the exception, the peer no partial bytes."""

    async def assert_accept_refused(self, key: str, value: Any) -> None:
        await self.assert_raises(EventError, {**ACCEPT, key: value})
        self.assertFalse(self.accept_event.is_set())

    async def test_app_supplied_header_with_cr_lf_or_nul(self) -> None:
        for text in LINE_BREAKERS:
            for bad in ((b"X-Name", text.encode()), (text.encode(), b"value")):
                headers = [(b"good", b"value"), bad]
                await self.assert_accept_refused("headers", headers)
                await self.assert_raises(EventError, {**DENY, "headers": headers})

    async def test_app_supplied_subprotocol_with_cr_lf_or_nul(self) -> None:
        for text in LINE_BREAKERS:
            await self.assert_accept_refused("subprotocol", text)

    async def test_app_supplied_reason_with_cr_lf_or_nul(self) -> None:
        await self.accepted()
        # RFC 6455 5.5.1: a reason is UTF-8, and ends no line.
        await self.assert_sends(b"\x88\x06\x03\xe8a\r\n\0", {**CLOSE, "reason": "a\r\n\0"})

    async def test_app_set_connection_upgrade_sec_websocket_or_content_length(self) -> None:
        for name in (
            b"connection",
            b"Upgrade",
            b"sec-websocket-accept",
            b"Sec-WebSocket-Protocol",
            b"SEC-WEBSOCKET-EXTENSIONS",
            b"sec-websocket-version",
            b"sec-websocket-anything",
            b"Content-Length",
            b"transfer-encoding",
        ):
            await self.assert_accept_refused("headers", [(b"good", b"value"), (name, b"0")])
        await self.assert_sends(SWITCHING + b"\r\n", ACCEPT)


class BackpressureTests(BridgeCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        await self.accepted()
        self.writer.transport.set_write_buffer_limits(high=0)

    async def test_send_waits_until_the_peer_has_read(self) -> None:
        task = await self.start_large()
        await self.receive(10 + LARGE)
        await end_of(task)

    async def test_send_below_the_high_water_mark_does_not_wait(self) -> None:
        self.writer.transport.set_write_buffer_limits(high=2 * LARGE)
        await end_of(self.send({"type": "websocket.send", "bytes": bytes(LARGE)}))

    async def test_two_tasks_may_wait_at_once(self) -> None:
        tasks = [await self.start_large(), await self.start_large()]
        await self.receive(2 * (10 + LARGE))
        await end_of(asyncio.gather(*tasks))

    async def test_all_that_wait_wake_on_disconnect(self) -> None:
        tasks = [await self.start_large(), await self.start_large()]
        self.peer.close()
        for task in tasks:
            with self.assertRaises(ClientDisconnected):
                await end_of(task)

    async def test_writer_of_another_kind_is_awaited_too(self) -> None:
        class Writer:
            def __init__(self) -> None:
                self.written = b""
                self.room = asyncio.Event()

            def write(self, data: bytes) -> None:
                self.written += data

            async def drain(self) -> None:
                await self.room.wait()

        writer = Writer()
        self.send = create_ws_send(
            writer, WSProtocol(), KEY, accept_event=self.accept_event, close_event=self.close_event
        )
        task = await self.start(ACCEPT)
        self.assertEqual(writer.written, SWITCHING + b"\r\n")
        writer.room.set()
        await end_of(task)

    async def test_writer_that_need_not_be_waited_for_may_say_so(self) -> None:
        written: List[bytes] = []

        class Writer:
            write = staticmethod(written.append)

            def drain(self) -> None:
                """There is always room."""

        send = create_ws_send(
            Writer(), WSProtocol(), KEY, accept_event=self.accept_event, close_event=self.close_event
        )
        await send(ACCEPT)
        await send(HELLO)
        self.assertEqual(written, [SWITCHING + b"\r\n", bytes.fromhex("81 05 48656c6c6f")])


class CancellationTests(BridgeCase):
    """hostile-input.md: cancellation at any await leaves no half-written frame, no compressor out of step."""

    # What zlib cannot make smaller.
    NOISE = random.Random(1).randbytes(LARGE)

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.writer.transport.set_write_buffer_limits(high=0)

    async def cancel(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await end_of(task)

    async def rest(self) -> List[Tuple[int, bytes]]:
        """The frames that reach the peer before its stream ends."""
        self.writer.write_eof()
        pieces: List[bytes] = []
        while not pieces or pieces[-1]:
            pieces.append(await end_of(asyncio.get_running_loop().sock_recv(self.peer, LARGE)))
        return split_frames(b"".join(pieces))

    async def test_cancellation_at_accept(self) -> None:
        task = await self.start({**ACCEPT, "headers": [(b"a", b"b" * LARGE)]})
        await self.cancel(task)
        self.assertTrue(self.accept_event.is_set())
        await self.receive(len(SWITCHING) + len(b"a: \r\n\r\n") + LARGE)
        await self.send(HELLO)
        self.assertEqual(await self.rest(), [(0x81, b"Hello")])

    async def test_cancellation_before_a_send_has_begun(self) -> None:
        await self.accepted(WSProtocol(**COMPRESSED))
        await self.cancel(asyncio.ensure_future(self.send(HELLO)))
        await self.assert_sends(bytes.fromhex("c1 07 f248cdc9c90700"), HELLO)

    async def test_cancellation_at_send_leaves_no_half_written_frame(self) -> None:
        await self.accepted()
        await self.cancel(await self.start_large())
        await self.cancel(await self.start(HELLO))
        self.assertEqual(await self.rest(), [(0x82, bytes(LARGE)), (0x81, b"Hello")])

    async def test_cancellation_at_send_leaves_the_compressor_in_step(self) -> None:
        await self.accepted(WSProtocol(**COMPRESSED))
        await self.cancel(await self.start_large(self.NOISE))
        await self.cancel(await self.start(HELLO))
        inflater = zlib.decompressobj(-15)
        (first, noise), (second, hello) = await self.rest()
        self.assertEqual((first, second), (0xC2, 0xC1))
        # RFC 7692 7.2.2: the tail that was left out.
        self.assertEqual(inflater.decompress(noise + b"\x00\x00\xff\xff"), self.NOISE)
        self.assertEqual(inflater.decompress(hello + b"\x00\x00\xff\xff"), b"Hello")

    async def test_cancellation_of_one_that_waits_leaves_the_others(self) -> None:
        await self.accepted()
        tasks = [await self.start_large(), await self.start(HELLO), await self.start(HELLO)]
        await self.cancel(tasks[0])
        await self.cancel(tasks[1])
        await self.receive(10 + LARGE + 7)
        await end_of(tasks[2])
        self.assertEqual(await self.rest(), [(0x81, b"Hello")])

    async def test_cancellation_at_a_part_of_a_denial(self) -> None:
        await self.send(DENY)
        await self.cancel(await self.start({**BODY, "body": bytes(LARGE), "more_body": True}))
        head = DenialTests.HEAD + b"Transfer-Encoding: chunked\r\n\r\n40000\r\n"
        self.assertEqual(await self.receive(len(head) + LARGE + 2), head + bytes(LARGE) + b"\r\n")
        await self.assert_sends(b"2\r\nno\r\n0\r\n\r\n", BODY)


if __name__ == "__main__":
    unittest.main()
