"""One WebSocket connection on the server, phase by phase, over a transport in memory."""

from __future__ import annotations

import asyncio
import sys
import unittest
from typing import Any, Dict, List, Tuple

from tests.doubles import DATE, ServiceTestCase, turn_loop
from wsbridge.protocols.errors import BadRequest, ClientDisconnected, EventError
from wsbridge.protocols.events import RequestReceived
from wsbridge.server.connection.websocket import WebSocketExchange

from .loopback import CLOSE, CLOSE_1012, HELLO, PEER_CLOSE, PEER_HELLO, SWITCHING
from .skipping import SkippingCase, pass_time

Event = Dict[str, Any]

IS_PYPY = sys.implementation.name == "pypy"

# RFC 6455 1.3: the sample nonce.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
# RFC 6455 5.5.1: a CLOSE without a code under an all-zero key, and its echo.
PEER_CLOSE_EMPTY = bytes.fromhex("88 80 00000000")
CLOSE_EMPTY = bytes.fromhex("88 00")

CLOSE_1011 = bytes.fromhex("88 02 03f3")
CLOSE_KEEPALIVE = bytes.fromhex("88 18 03f3") + b"keepalive ping timeout"

# RFC 6455 5.1: a client must mask.
VIOLATION = bytes.fromhex("81 01 41")
CLOSE_1002 = bytes.fromhex("88 1e 03ea") + b"unmasked frame from a client"

# RFC 6455 5.5.2 and 5.5.3: PING "abc" under an all-zero key, and its PONG.
PEER_PING = bytes.fromhex("89 83 00000000 616263")
PONG = bytes.fromhex("8a 03 616263")

# RFC 7692 7.2.3.1: "Hello" compressed, under an all-zero key.
PEER_COMPRESSED = bytes.fromhex("c1 87 00000000 f248cdc9c90700")
COMPRESSED = bytes.fromhex("c1 07 f248cdc9c90700")
DEFLATE_OFFER = (b"sec-websocket-extensions", b"permessage-deflate")

CONNECT: Event = {"type": "websocket.connect"}
ACCEPT: Event = {"type": "websocket.accept"}
REFUSE: Event = {"type": "websocket.close"}
SEND_HELLO: Event = {"type": "websocket.send", "text": "Hello"}
RECEIVED_HELLO: Event = {"type": "websocket.receive", "text": "Hello"}
DENY: Event = {"type": "websocket.http.response.start", "status": 404, "headers": []}
DENY_PART: Event = {"type": "websocket.http.response.body", "body": b"no", "more_body": True}
DENY_REST: Event = {"type": "websocket.http.response.body", "body": b"pe"}
LOST: Event = {"type": "websocket.disconnect", "code": 1006, "reason": ""}

# Above the write limit that the tests of backpressure set, in one frame (RFC 6455 5.2: 16-bit length).
LIMIT = 100
SEND_LARGE: Event = {"type": "websocket.send", "bytes": b"x" * 200}
LARGE = bytes.fromhex("82 7e 00c8") + b"x" * 200


def peer_text(text: bytes) -> bytes:
    """A client's text message of up to 125 bytes under an all-zero key (RFC 6455 5.2)."""
    return bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text


def text_frame(text: bytes) -> bytes:
    return bytes((0x81, len(text))) + text


def received(text: str) -> Event:
    return {"type": "websocket.receive", "text": text}


def disconnect(code: int, reason: str = "") -> Event:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


def refusal(status_line: bytes, text: bytes, headers: bytes = b"") -> bytes:
    return (
        b"HTTP/1.1 %b\r\n%b%bContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
        b"Connection: close\r\n\r\n%b\n" % (status_line, DATE, headers, len(text) + 1, text)
    )


RETRY = b"Retry-After: 1\r\n"
FORBIDDEN = refusal(b"403 Forbidden", b"the application did not accept the connection")
RAISED = refusal(b"500 Internal Server Error", b"the application raised before it accepted or refused")
RETURNED = refusal(b"500 Internal Server Error", b"the application returned before it accepted or refused")
TOO_LATE = refusal(b"503 Service Unavailable", b"the application did not accept in time", RETRY)
STOPPING = refusal(b"503 Service Unavailable", b"the server is stopping", RETRY)
DENIED_PART = (
    b"HTTP/1.1 404 Not Found\r\n"
    + DATE
    + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n"
)


def end_line(how: str, received: Tuple[int, int], sent: Tuple[int, int]) -> Tuple[str, str]:
    """The access line of the connection that `WebSocketTestCase` opens, with messages and bytes both ways."""
    counts = f"{received[0]} messages and {received[1]} bytes received, {sent[0]} and {sent[1]} sent"
    return "INFO", f'127.0.0.1:50000 "websocket /chat" {how}, {counts}'


LEFT = (
    "INFO",
    '127.0.0.1:50000 "websocket /chat" ends its connection: the client has left before the whole answer',
)
NO_ANSWER = ("ERROR", "application returned before it accepted or refused")


class WebSocketTestCase(ServiceTestCase):
    """The vocabulary: the test is the peer, through `transport`, and the application, through `app`."""

    async def connect(
        self, early_data: bytes = b"", headers: Tuple[Tuple[bytes, bytes], ...] = (), **config: Any
    ) -> None:
        """A request that was checked, with an application that has not been asked anything yet."""
        self.set_up(**config)
        request = RequestReceived(b"GET", b"/chat", ((b"host", b"a"), *headers), "1.1")
        self.exchange = WebSocketExchange(self.service, self.transport, request, KEY, early_data)
        await turn_loop()

    async def open(self, **options: Any) -> None:
        """A connection that is accepted, and an application that does something else."""
        await self.connect(**options)
        await self.assert_receives(CONNECT)
        await self.send(ACCEPT)
        self.transport.read()
        self.transport.calls.clear()
        self.logged.clear()

    async def open_ending(self, **options: Any) -> None:
        """The peer has closed while the application works on a message."""
        await self.open(**options)
        self.transport.feed(PEER_HELLO)
        await self.assert_receives(RECEIVED_HELLO)
        self.transport.feed(PEER_CLOSE)
        await turn_loop()
        self.assert_written()

    async def open_closing(self, **options: Any) -> None:
        """The application has closed, and the peer has not answered."""
        await self.open(**options)
        await self.send({"type": "websocket.close"})
        self.assert_written(CLOSE)

    async def receive(self) -> Event:
        task = await self.start(self.app.receive())
        self.assertTrue(task.done(), "there is nothing to receive")
        event: Event = task.result()
        return event

    async def send(self, event: Event) -> None:
        task = await self.start(self.app.send(event))
        self.assertTrue(task.done(), "send() waits")
        task.result()

    async def assert_receives(self, *events: Event) -> None:
        for event in events:
            self.assertEqual(await self.receive(), event)

    async def assert_waits(self, awaitable: Any) -> asyncio.Task[Any]:
        task = await self.start(awaitable)
        self.assertFalse(task.done())
        return task

    async def assert_disconnected(self, event: Event = SEND_HELLO) -> None:
        """The application's ``send`` raises the quiet error, and nothing is written."""
        self.transport.read()
        with self.assertRaises(ClientDisconnected):
            await self.send(event)
        self.assert_written()

    def assert_half_closed(self) -> None:
        """Our last byte has left, and the rest of the peer's is awaited."""
        self.assertEqual(self.transport.calls[-1], "write_eof")

    def assert_calls_are_only(self, call: str) -> None:
        self.assertEqual(set(self.transport.calls), {call})

    def assert_reading(self, reading: bool) -> None:
        self.assertEqual(self.transport.is_reading(), reading)


class LifeTests(WebSocketTestCase):
    async def test_connection_that_was_never_open_was_closed_by_nobody(self) -> None:
        await self.connect()
        info = self.app.scope["wsbridge.connection"]
        self.exchange.abort()
        await turn_loop()
        self.assertIsNone(info.closed_by)

    async def test_connection_lasts_for_longer_than_the_clock_had_gone_before(self) -> None:
        await self.open(ws_ping_interval=None)
        await self.advance(5000)
        self.transport.lose()
        self.assert_logged(end_line("1006 lost, 5000.000 s", (0, 0), (0, 0)))


class ConnectingTests(WebSocketTestCase):
    """CONNECTING: until the application accepts or refuses."""

    async def test_application_sees_connect_and_its_accept_is_101(self) -> None:
        await self.connect()
        await self.assert_receives(CONNECT)
        await self.send(ACCEPT)
        self.assert_written(SWITCHING)
        self.assert_logged(("INFO", '127.0.0.1:50000 "websocket /chat" 101'))

    async def test_accept_without_asking_for_connect_is_as_good(self) -> None:
        await self.connect()
        await self.send(ACCEPT)
        self.assert_written(SWITCHING)
        await self.assert_receives(CONNECT)

    async def test_scope_tells_both_ends(self) -> None:
        await self.connect(state={"pool": 1})
        scope = self.app.scope
        self.assertEqual((scope["client"], scope["server"]), (("127.0.0.1", 50000), ("127.0.0.1", 8000)))
        self.assertEqual((scope["scheme"], scope["path"], scope["state"]), ("ws", "/chat", {"pool": 1}))

    async def test_scheme_under_tls_is_wss(self) -> None:
        self.set_up()
        self.transport.extra["sslcontext"] = object()
        request = RequestReceived(b"GET", b"/", ((b"host", b"a"),), "1.1")
        WebSocketExchange(self.service, self.transport, request, KEY)
        await turn_loop()
        self.assertEqual(self.app.scope["scheme"], "wss")

    async def test_malformed_offer_is_refused_before_anything_is_taken_over(self) -> None:
        with self.assertRaises(BadRequest):
            await self.connect(headers=((b"sec-websocket-extensions", b"a;;b"),))
        self.assertEqual(list(self.service.members), [])
        self.assertIsNone(self.transport.get_protocol())

    async def test_malformed_subprotocol_is_refused_before_anything_is_taken_over(self) -> None:
        with self.assertRaises(BadRequest):
            await self.connect(headers=((b"sec-websocket-protocol", b"a b"),))
        self.assertEqual(list(self.service.members), [])

    async def test_refusal_is_403(self) -> None:
        await self.connect()
        await self.send(REFUSE)
        self.assert_written(FORBIDDEN)
        self.assert_half_closed()
        self.assert_logged(("INFO", '127.0.0.1:50000 "websocket /chat" 403'))

    async def test_refusal_that_holds_anything_is_403_and_no_error(self) -> None:
        # FastAPI's validation errors, Litestar's long reasons, Channels' HTTP status.
        for content in (
            {"code": 1008, "reason": [{"loc": ["query", "token"], "msg": "Field required"}]},
            {"code": 4000, "reason": "x" * 200},
            {"code": 403},
        ):
            await self.connect()
            await self.send({**REFUSE, **content})
            self.assert_written(FORBIDDEN)
            await self.app.return_()
            self.assert_logged(("INFO", '127.0.0.1:50000 "websocket /chat" 403'))
            self.transport.lose()
            await turn_loop()

    async def test_after_a_refusal_comes_disconnect(self) -> None:
        await self.connect()
        await self.send(REFUSE)
        await self.assert_receives(CONNECT, LOST)

    async def test_application_that_raises_is_500(self) -> None:
        await self.connect()
        await self.app.raise_(ValueError("no"))
        self.assert_written(RAISED)
        self.assert_half_closed()
        self.assert_logged(("ERROR", "application raised"), ("INFO", '127.0.0.1:50000 "websocket /chat" 500'))

    async def test_whatever_the_application_raises_is_500(self) -> None:
        # What it awaits may be cancelled by another task; argparse exits on a user's text.
        for error in (asyncio.CancelledError(), SystemExit(2), GeneratorExit()):
            await self.connect()
            await self.app.raise_(error)
            self.assert_written(RAISED)
            answered = ("INFO", '127.0.0.1:50000 "websocket /chat" 500')
            self.assert_logged(("ERROR", "application raised"), answered)
            self.transport.lose()
            await turn_loop()

    async def test_application_that_returns_is_500(self) -> None:
        await self.connect()
        await self.app.return_()
        self.assert_written(RETURNED)
        self.assert_half_closed()
        self.assert_logged(NO_ANSWER, ("INFO", '127.0.0.1:50000 "websocket /chat" 500'))

    async def test_application_that_raises_while_it_has_messages_is_500(self) -> None:
        await self.connect(early_data=PEER_HELLO)
        await self.app.raise_(ValueError("no"))
        self.assert_written(RAISED)
        self.logged.clear()

    async def test_wrong_accept_writes_nothing_and_may_be_followed_by_a_right_one(self) -> None:
        await self.connect()
        with self.assertRaises(EventError):
            await self.send({"type": "websocket.accept", "subprotocol": "no token"})
        self.assert_written()
        await self.send(ACCEPT)
        self.assert_written(SWITCHING)

    async def test_application_that_never_accepts_is_503_and_cancelled(self) -> None:
        await self.connect(timeout_accept=10)
        await self.advance(9.9)
        self.assert_written()
        await self.advance(0.1)
        self.assert_written(TOO_LATE)
        self.assert_half_closed()
        self.assertEqual((self.app.is_running, self.app.cancellations), (False, 1))

    async def test_application_that_ignores_its_cancellation_is_cancelled_again(self) -> None:
        await self.connect(timeout_accept=10, timeout_app=5)
        self.app.ignores_cancellation = True
        await self.advance(10)
        self.assertEqual(self.app.cancellations, 1)
        await self.advance(5)
        self.assertEqual(self.app.cancellations, 2)
        self.assertEqual(self.logged.pop()[0], "WARNING")

    async def test_accept_after_the_deadline_raises(self) -> None:
        await self.connect(timeout_accept=10)
        self.app.ignores_cancellation = True
        await self.advance(10)
        await self.assert_disconnected(ACCEPT)

    async def test_accept_has_the_time_that_is_configured_or_any(self) -> None:
        for timeout, seconds in ((15, 11.0), (None, 11.0), (None, 1e6)):
            await self.connect(timeout_accept=timeout)
            await self.advance(seconds)
            await self.send(ACCEPT)
            self.assert_written(SWITCHING)
            self.transport.lose()
            await self.app.return_()

    async def test_accept_ends_the_deadline(self) -> None:
        await self.open(timeout_accept=10, ws_ping_interval=None)
        await self.advance(1000)
        self.assert_written()
        self.assertTrue(self.app.is_running)

    async def test_client_vanishes_before_accept(self) -> None:
        await self.connect()
        await self.assert_receives(CONNECT)
        receiving = await self.assert_waits(self.app.receive())
        self.transport.lose(ConnectionResetError())
        await turn_loop()
        self.assertEqual(receiving.result(), LOST)
        await self.assert_disconnected(ACCEPT)

    async def test_client_half_closes_before_accept(self) -> None:
        await self.connect()
        self.transport.feed_eof()
        await turn_loop()
        self.assertTrue(self.transport.is_lost)
        await self.assert_receives(CONNECT, LOST)
        await self.assert_disconnected(ACCEPT)

    async def test_answer_to_a_client_that_is_gone_raises_and_that_it_left_is_logged(self) -> None:
        deny = {"type": "websocket.http.response.start", "status": 404}
        for event in (ACCEPT, {**ACCEPT, "subprotocol": 5}, deny):
            await self.connect()
            self.transport.lose()
            with self.assertRaises(ClientDisconnected) as raised:
                await self.send(event)
            await self.app.raise_(raised.exception)
            self.assert_written()
            self.assert_logged(LEFT)
            self.assertEqual([record.levelname for record in self.records[-1:]], ["DEBUG"])

    async def test_refusal_of_a_client_that_is_gone_writes_nothing(self) -> None:
        await self.connect()
        self.transport.lose()
        await self.send(REFUSE)
        self.assert_written()

    async def test_application_that_raises_after_the_client_is_gone_is_logged_and_nothing_written(
        self,
    ) -> None:
        await self.connect()
        self.transport.lose()
        await self.app.raise_(ValueError("no"))
        self.assert_written()
        self.assert_logged(LEFT, ("ERROR", "application raised"))

    async def test_client_that_leaves_within_a_denial_is_logged_once(self) -> None:
        await self.connect()
        await self.send(DENY)
        await self.send(DENY_PART)
        self.transport.lose()
        self.assert_logged(LEFT)
        await self.app.return_()
        self.assert_logged()


class EarlyDataTests(WebSocketTestCase):
    """Frames right behind the request's head."""

    async def test_frames_are_delivered_in_order_after_the_accept(self) -> None:
        await self.connect(early_data=peer_text(b"a") + peer_text(b"b")[:3])
        self.transport.feed(peer_text(b"b")[3:])
        await self.assert_receives(CONNECT)
        receiving = await self.assert_waits(self.app.receive())
        await self.send(ACCEPT)
        self.assertEqual(receiving.result(), received("a"))
        await self.assert_receives(received("b"))

    async def test_ping_is_answered_behind_the_101(self) -> None:
        await self.connect(early_data=PEER_PING)
        await self.send(ACCEPT)
        self.assertEqual(self.transport.read(), SWITCHING + PONG)

    async def test_close_ends_the_connection_behind_the_101(self) -> None:
        await self.connect(early_data=PEER_HELLO + PEER_CLOSE)
        await self.assert_receives(CONNECT)
        await self.send(ACCEPT)
        await self.assert_receives(RECEIVED_HELLO)
        await self.send(SEND_HELLO)
        await self.assert_receives(disconnect(1000))
        self.assertEqual(self.transport.read(), SWITCHING + HELLO + CLOSE)

    async def test_close_to_an_application_that_waits_in_another_task_is_answered_at_once(self) -> None:
        await self.connect(early_data=PEER_CLOSE)
        await self.assert_receives(CONNECT)
        receiving = await self.assert_waits(self.app.receive())
        await self.send(ACCEPT)
        self.assertEqual(self.transport.read(), SWITCHING + CLOSE)
        self.assertEqual(receiving.result(), disconnect(1000))

    async def test_at_64_kib_reading_pauses_until_the_accept(self) -> None:
        await self.connect(early_data=peer_text(b"x" * 122) * 511)
        self.assert_reading(True)
        self.transport.feed(peer_text(b"x" * 122))
        self.assert_reading(False)
        await self.send(ACCEPT)
        await self.assert_receives(CONNECT)
        for _ in range(512):
            self.assertEqual(await self.app.receive(), received("x" * 122))
        await self.assert_waits(self.app.receive())
        self.assert_reading(True)

    async def test_limit_holds_where_all_came_with_the_head(self) -> None:
        for size, memory, calls in (
            (64 * 1024 - 1, 1, ()),
            (64 * 1024, 1, ("pause_reading",)),
            (64 * 1024 + 1, None, ("pause_reading",)),
        ):
            await self.connect(early_data=bytes(size), max_inbound_memory=memory)
            self.assert_calls(*calls)
            self.transport.lose()
            await self.app.return_()

    async def test_application_that_waits_before_its_accept_waits_with_reading_paused(self) -> None:
        await self.connect(early_data=peer_text(b"x" * 122) * 512)
        await self.assert_receives(CONNECT)
        receiving = await self.assert_waits(self.app.receive())
        self.assert_calls("pause_reading")
        await self.send(ACCEPT)
        self.assertEqual(receiving.result(), received("x" * 122))

    async def test_nothing_is_parsed_after_a_refusal(self) -> None:
        await self.connect(early_data=PEER_PING + VIOLATION + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await self.send(REFUSE)
        self.assert_written(FORBIDDEN)
        self.transport.feed(PEER_PING + VIOLATION + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await turn_loop()
        self.assert_written()
        await self.assert_receives(CONNECT, LOST)

    async def test_reading_goes_on_after_a_refusal_so_that_it_is_not_reset(self) -> None:
        await self.connect(early_data=bytes(64 * 1024))
        await self.send(REFUSE)
        self.assert_calls("pause_reading", "resume_reading", "write_eof")


class DenialTests(WebSocketTestCase):
    """A denial with a response of the application's own."""

    async def test_whole_response_ends_the_connection(self) -> None:
        await self.connect()
        await self.send(DENY)
        self.assert_written()
        await self.send({"type": "websocket.http.response.body", "body": b"nope"})
        self.assert_written(
            b"HTTP/1.1 404 Not Found\r\n" + DATE + b"Connection: close\r\nContent-Length: 4\r\n\r\nnope"
        )
        self.assert_half_closed()
        self.assert_logged(("INFO", '127.0.0.1:50000 "websocket /chat" 404'))

    async def test_streamed_response_leaves_part_by_part(self) -> None:
        await self.connect()
        await self.send(DENY)
        await self.send(DENY_PART)
        self.assert_written(DENIED_PART)
        await self.send(DENY_REST)
        self.assert_written(b"2\r\npe\r\n0\r\n\r\n")
        self.assert_half_closed()

    async def test_streamed_response_waits_for_a_peer_that_does_not_read(self) -> None:
        await self.connect(ws_write_limit=LIMIT)
        self.transport.is_peer_reading = False
        await self.send(DENY)
        sending = await self.assert_waits(self.app.send({**DENY_PART, "body": bytes(200)}))
        self.transport.take()
        await turn_loop()
        self.assertTrue(sending.done())

    async def test_response_that_has_begun_has_no_deadline(self) -> None:
        await self.connect(timeout_accept=10)
        await self.send(DENY)
        await self.send(DENY_PART)
        await self.advance(10)
        await self.advance(10)
        await self.send(DENY_REST)
        self.assert_written(DENIED_PART, b"2\r\npe\r\n0\r\n\r\n")

    async def test_response_that_was_only_announced_has_one(self) -> None:
        await self.connect(timeout_accept=10)
        await self.send(DENY)
        await self.advance(10)
        self.assert_written(TOO_LATE)

    async def test_application_that_returns_in_the_middle_cuts_the_connection(self) -> None:
        await self.connect()
        await self.send(DENY)
        await self.send(DENY_PART)
        await self.app.return_()
        self.assert_written(DENIED_PART)
        self.assert_calls("abort")
        self.assert_logged(NO_ANSWER, ("INFO", '127.0.0.1:50000 "websocket /chat" 404'))

    async def test_application_that_raises_in_the_middle_cuts_the_connection(self) -> None:
        await self.connect()
        await self.send(DENY)
        await self.send(DENY_PART)
        await self.app.raise_(ValueError("no"))
        self.assert_written(DENIED_PART)
        self.assert_calls("abort")
        self.assert_logged(("ERROR", "application raised"), ("INFO", '127.0.0.1:50000 "websocket /chat" 404'))

    async def test_application_that_raises_before_the_head_is_500(self) -> None:
        await self.connect()
        await self.send(DENY)
        await self.app.return_()
        self.assert_written(RETURNED)
        self.assert_logged(NO_ANSWER, ("INFO", '127.0.0.1:50000 "websocket /chat" 500'))

    async def test_peer_that_goes_away_in_the_middle_fails_the_next_part(self) -> None:
        await self.connect()
        await self.send(DENY)
        await self.send(DENY_PART)
        self.transport.lose()
        await self.assert_disconnected(DENY_REST)


class OpenTests(WebSocketTestCase):
    """OPEN: messages in, messages out."""

    async def test_message_has_exactly_one_of_text_and_bytes(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO + bytes.fromhex("82 82 00000000 00ff"))
        await self.assert_receives(RECEIVED_HELLO, {"type": "websocket.receive", "bytes": b"\x00\xff"})

    async def test_empty_messages_are_messages(self) -> None:
        await self.open()
        self.transport.feed(bytes.fromhex("81 80 00000000 82 80 00000000"))
        await self.assert_receives(received(""), {"type": "websocket.receive", "bytes": b""})

    async def test_message_wakes_an_application_that_waits(self) -> None:
        await self.open()
        receiving = await self.assert_waits(self.app.receive())
        self.transport.feed(PEER_HELLO)
        await turn_loop()
        self.assertEqual(receiving.result(), RECEIVED_HELLO)

    async def test_partial_frame_wakes_nobody(self) -> None:
        await self.open()
        receiving = await self.assert_waits(self.app.receive())
        self.transport.feed(PEER_HELLO[:-1])
        await turn_loop()
        self.assertFalse(receiving.done())
        self.transport.feed(PEER_HELLO[-1:])
        await turn_loop()
        self.assertTrue(receiving.done())

    async def test_single_answer_leaves_at_once(self) -> None:
        await self.open()
        await self.app.send(SEND_HELLO)
        self.assert_written(HELLO)

    async def test_ping_is_answered_at_once(self) -> None:
        await self.open()
        self.transport.feed(PEER_PING)
        self.assert_written(PONG)

    async def test_messages_stay_in_order_where_there_are_always_some_left(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO * 2)
        for _ in range(100):
            self.transport.feed(PEER_HELLO)
            await self.assert_receives(RECEIVED_HELLO)
        await self.assert_receives(RECEIVED_HELLO, RECEIVED_HELLO)


# The smallest payload that is not joined with its header.
UNJOINED = bytes(64 * 1024)


class EndingTests(WebSocketTestCase):
    """ENDING: what came before the peer's CLOSE, or its violation, is answered before ours leaves."""

    async def test_application_that_waits_in_receive_is_not_waited_for(self) -> None:
        await self.open()
        receiving = await self.assert_waits(self.app.receive())
        self.transport.feed(PEER_CLOSE)
        self.assert_written(CLOSE)
        self.assert_half_closed()
        await turn_loop()
        self.assertEqual(receiving.result(), disconnect(1000))

    async def test_close_without_a_code_is_echoed_without_one_and_reported_as_1005(self) -> None:
        await self.open()
        receiving = await self.assert_waits(self.app.receive())
        self.transport.feed(PEER_CLOSE_EMPTY)
        self.assert_written(CLOSE_EMPTY)
        await turn_loop()
        self.assertEqual(receiving.result(), disconnect(1005))

    async def test_close_with_a_reason_is_echoed_with_it(self) -> None:
        await self.open()
        receiving = await self.assert_waits(self.app.receive())
        self.transport.feed(bytes.fromhex("88 85 00000000 0fa0 627965"))
        self.assert_written(bytes.fromhex("88 05 0fa0 627965"))
        await turn_loop()
        self.assertEqual(receiving.result(), disconnect(4000, "bye"))

    async def test_messages_before_a_close_are_answered_before_ours(self) -> None:
        await self.open()
        self.transport.feed(peer_text(b"a") + peer_text(b"b") + PEER_CLOSE)
        for text in ("a", "b"):
            await self.assert_receives(received(text))
            await self.send({"type": "websocket.send", "text": text})
        await self.assert_receives(disconnect(1000))
        self.assertEqual(self.transport.read(), text_frame(b"a") + text_frame(b"b") + CLOSE)
        self.assert_half_closed()

    async def test_tls_peer_that_ends_its_stream_gets_what_is_answered_by_then(self) -> None:
        await self.open(half_close=False)
        self.transport.feed(PEER_HELLO + peer_text(b"b") + PEER_CLOSE)
        await self.assert_receives(RECEIVED_HELLO)
        await self.app.send(SEND_HELLO)
        self.transport.feed_eof()
        self.assertEqual(self.transport.read(), HELLO + CLOSE)

    async def test_tls_connection_that_is_lost_behind_our_back_is_over(self) -> None:
        await self.open_ending()
        await self.assert_receives(disconnect(1000))
        self.exchange.connection_lost(None)
        self.assertEqual((len(self.service.members), len(self.service.lingering)), (1, 0))
        self.transport.feed_eof()

    async def test_messages_before_a_violation_are_answered_before_our_close(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO + VIOLATION)
        await self.assert_receives(RECEIVED_HELLO)
        await self.send(SEND_HELLO)
        await self.assert_receives(disconnect(1002, "unmasked frame from a client"))
        self.assertEqual(self.transport.read(), HELLO + CLOSE_1002)

    async def test_application_woken_by_the_same_read_answers_first(self) -> None:
        await self.open()
        receiving = await self.assert_waits(self.app.receive())
        self.transport.feed(PEER_HELLO + PEER_CLOSE)
        await turn_loop()
        self.assert_written()
        self.assertEqual(receiving.result(), RECEIVED_HELLO)
        await self.send(SEND_HELLO)
        await self.assert_receives(disconnect(1000))
        self.assertEqual(self.transport.read(), HELLO + CLOSE)

    async def test_message_in_hand_is_answered_first(self) -> None:
        await self.open_ending()
        await self.send(SEND_HELLO)
        await self.assert_receives(disconnect(1000))
        self.assertEqual(self.transport.read(), HELLO + CLOSE)

    async def test_slow_application_has_close_grace(self) -> None:
        await self.open_ending(close_grace=1)
        await self.advance(0.9)
        self.assert_written()
        await self.advance(0.1)
        self.assert_written(CLOSE)
        self.assert_half_closed()

    async def test_slow_application_still_gets_every_message_and_the_disconnect(self) -> None:
        await self.open(close_grace=1)
        self.transport.feed(peer_text(b"a") + peer_text(b"b") + PEER_CLOSE)
        await self.advance(1)
        self.assert_written(CLOSE)
        await self.assert_receives(received("a"), received("b"), disconnect(1000))

    async def test_application_that_closes_releases_the_echo(self) -> None:
        await self.open_ending()
        await self.send({"type": "websocket.close", "code": 4000})
        self.assert_written(CLOSE)
        self.assert_half_closed()

    async def test_application_that_returns_releases_the_echo(self) -> None:
        await self.open_ending()
        await self.app.return_()
        self.assert_written(CLOSE)
        self.assert_half_closed()

    async def test_application_that_raises_releases_the_echo(self) -> None:
        await self.open_ending()
        await self.app.raise_(ValueError("no"))
        self.assert_written(CLOSE)
        self.assert_logged(
            ("ERROR", "application raised"), end_line("1000 closed by client, 0.000 s", (1, 19), (0, 4))
        )

    async def test_what_comes_behind_is_discarded(self) -> None:
        await self.open_ending()
        self.transport.feed(PEER_HELLO + PEER_PING + VIOLATION)
        await self.assert_receives(disconnect(1000))
        self.assert_written(CLOSE)

    async def test_peer_that_half_closes_still_gets_its_answer(self) -> None:
        await self.open_ending()
        self.transport.feed_eof()
        await self.send(SEND_HELLO)
        await self.assert_receives(disconnect(1000))
        self.assertEqual(self.transport.read(), HELLO + CLOSE)
        self.assert_calls("close")

    async def test_peer_that_half_closes_under_tls_gets_none(self) -> None:
        await self.open_ending(half_close=False)
        self.transport.feed_eof()
        await turn_loop()
        self.assertTrue(self.transport.is_lost)
        await self.assert_disconnected()
        await self.assert_receives(disconnect(1000))

    async def test_lost_connection_leaves_the_peers_code(self) -> None:
        await self.open_ending()
        self.transport.lose(ConnectionResetError())
        await self.assert_disconnected()
        await self.assert_receives(disconnect(1000))

    async def test_application_that_waits_for_room_is_not_waited_for_longer(self) -> None:
        await self.open_ending(ws_write_limit=LIMIT, close_grace=1)
        self.transport.is_peer_reading = False
        sending = await self.assert_waits(self.app.send(SEND_LARGE))
        await self.advance(0.1)
        self.assertIsInstance(sending.exception(), ClientDisconnected)
        self.assert_written(LARGE, CLOSE)


class OwedAnswerTests(WebSocketTestCase):
    """Whether the peer's CLOSE is answered at once: not while the application owes an answer."""

    async def assert_closes_at_once(self) -> None:
        self.transport.read()
        self.transport.feed(PEER_CLOSE)
        await turn_loop()
        self.assertEqual(self.transport.read(), CLOSE)
        self.assert_half_closed()
        await self.assert_disconnected()

    async def assert_holds(self) -> None:
        self.transport.read()
        self.transport.feed(PEER_CLOSE)
        await turn_loop()
        self.assert_written()

    async def test_application_that_never_took_a_message_owes_none(self) -> None:
        await self.open()
        await self.send(SEND_HELLO)
        await self.assert_closes_at_once()

    async def test_application_that_has_not_even_asked_for_connect_owes_none(self) -> None:
        await self.connect()
        await self.send(ACCEPT)
        await self.assert_closes_at_once()

    async def test_application_that_has_sent_since_it_took_a_message_owes_none(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO)
        await self.assert_receives(RECEIVED_HELLO)
        await self.send(SEND_HELLO)
        await self.assert_closes_at_once()

    async def test_application_that_waits_for_the_next_message_owes_none(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO)
        await self.assert_receives(RECEIVED_HELLO)
        await self.assert_waits(self.app.receive())
        await self.assert_closes_at_once()

    async def test_application_that_gave_up_waiting_owes_none(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO)
        await self.assert_receives(RECEIVED_HELLO)
        (await self.assert_waits(self.app.receive())).cancel()
        await turn_loop()
        await self.assert_closes_at_once()

    async def test_violation_is_answered_at_once_as_well(self) -> None:
        await self.open()
        await self.send(SEND_HELLO)
        self.transport.read()
        self.transport.feed(VIOLATION)
        await turn_loop()
        self.assertEqual(self.transport.read(), CLOSE_1002)

    async def test_message_that_was_not_taken_is_owed_an_answer(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO)
        await self.assert_holds()

    async def test_message_that_was_taken_is_owed_an_answer(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO)
        await self.assert_receives(RECEIVED_HELLO)
        await self.assert_holds()

    async def test_message_behind_one_that_was_answered_is_owed_an_answer(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO * 2)
        await self.assert_receives(RECEIVED_HELLO)
        await self.send(SEND_HELLO)
        await self.assert_holds()

    async def test_five_sends_with_waits_between_them_all_leave(self) -> None:
        await self.open_ending()
        for _ in range(5):
            await self.send(SEND_HELLO)
            await self.advance(0.02)
        self.assertEqual(self.transport.read(), HELLO * 5)
        await self.advance(0.02)
        self.assert_written(CLOSE)
        await self.assert_disconnected()
        await self.assert_receives(disconnect(1000))

    async def test_application_that_pushes_for_ever_is_waited_for_a_tenth_of_a_second(self) -> None:
        await self.open_ending()
        await self.send(SEND_HELLO)
        await self.advance(0.0625)
        await self.send(SEND_HELLO)
        await self.advance(0.0625)
        self.assertEqual(self.transport.read(), HELLO * 2 + CLOSE)
        await self.assert_disconnected()

    async def test_application_that_takes_no_message_and_pushes_is_waited_for_as_long(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO * 2)
        await self.assert_holds()
        await self.send(SEND_HELLO)
        await self.advance(0.0625)
        await self.send(SEND_HELLO)
        await self.advance(0.0625)
        self.assertEqual(self.transport.read(), HELLO * 2 + CLOSE)

    async def test_each_message_that_is_taken_meanwhile_has_its_time(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO * 5 + PEER_CLOSE)
        for _ in range(5):
            await self.assert_receives(RECEIVED_HELLO)
            await self.advance(0.08)
            await self.send(SEND_HELLO)
        self.assertEqual(self.transport.read(), HELLO * 5)
        await self.assert_receives(disconnect(1000))
        self.assert_written(CLOSE)

    async def test_message_that_is_taken_behind_an_answer_may_take_longer_than_that(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO * 2 + PEER_CLOSE)
        await self.assert_receives(RECEIVED_HELLO)
        await self.send(SEND_HELLO)
        await self.assert_receives(RECEIVED_HELLO)
        await self.advance(0.5)
        await self.send(SEND_HELLO)
        self.assertEqual(self.transport.read(), HELLO * 2)
        await self.advance(0.1)
        self.assert_written(CLOSE)

    async def test_message_that_is_taken_behind_an_answer_and_has_none_waits_for_the_grace(
        self,
    ) -> None:
        await self.open(close_grace=1)
        self.transport.feed(PEER_HELLO * 2 + PEER_CLOSE)
        await self.assert_receives(RECEIVED_HELLO)
        await self.send(SEND_HELLO)
        await self.assert_receives(RECEIVED_HELLO)
        await self.advance(0.9)
        self.assertEqual(self.transport.read(), HELLO)
        await self.advance(0.1)
        self.assert_written(CLOSE)

    async def test_grace_that_is_over_between_two_sweeps_ends_with_the_next(self) -> None:
        await self.open(close_grace=1)
        self.transport.feed(PEER_HELLO * 2 + PEER_CLOSE)
        await self.assert_receives(RECEIVED_HELLO)
        await self.send(SEND_HELLO)
        await self.assert_receives(RECEIVED_HELLO)
        await self.advance(1.1)
        self.assertEqual(self.transport.read(), HELLO + CLOSE)

    async def test_all_of_it_is_within_the_grace(self) -> None:
        await self.open(close_grace=0.5)
        self.transport.feed(PEER_HELLO * 20 + PEER_CLOSE)
        for _ in range(5):
            await self.assert_receives(RECEIVED_HELLO)
            await self.send(SEND_HELLO)
            await self.advance(0.09)
        await self.send(SEND_HELLO)
        await self.advance(0.05)
        self.assertEqual(self.transport.read(), HELLO * 6 + CLOSE)

    async def test_grace_may_be_endless(self) -> None:
        await self.open_ending(close_grace=None)
        await self.advance(1e6)
        self.assert_written()
        await self.send(SEND_HELLO)
        await self.advance(0.1)
        self.assertEqual(self.transport.read(), HELLO + CLOSE)


class OwedAnswerTimerTests(SkippingCase, WebSocketTestCase):
    async def test_timer_of_its_own_ends_it_between_two_sweeps(self) -> None:
        self.clock = self.loop.clock
        await self.open_ending()
        await self.send(SEND_HELLO)
        await pass_time(0.1)
        self.assertEqual(self.transport.read(), HELLO + CLOSE)


class ClosingTests(WebSocketTestCase):
    """CLOSING: our CLOSE has left, the peer's is awaited."""

    async def test_closing_again_does_not_put_off_the_end(self) -> None:
        await self.open_closing(timeout_close=10)
        await self.advance(9.9)
        await self.send({"type": "websocket.close", "code": 1005, "reason": ["anything"]})
        await self.advance(0.1)
        self.assertTrue(self.transport.is_lost)

    async def test_close_carries_code_and_reason(self) -> None:
        await self.open()
        await self.send({"type": "websocket.close", "code": 4000, "reason": "bye"})
        self.assert_written(bytes.fromhex("88 05 0fa0 627965"))
        self.assert_calls()

    async def test_peers_close_ends_the_connection(self) -> None:
        await self.open_closing()
        self.transport.feed(PEER_CLOSE)
        self.assert_written()
        self.assert_half_closed()
        await self.assert_receives(disconnect(1000))

    async def test_peers_close_ends_the_connection_under_tls(self) -> None:
        await self.open_closing(half_close=False)
        self.transport.feed(PEER_CLOSE)
        self.assert_calls("close")

    async def test_data_is_discarded_until_then_and_pings_are_answered(self) -> None:
        await self.open_closing()
        self.transport.feed(PEER_HELLO + PEER_PING + PEER_CLOSE)
        self.assert_written(PONG)
        await self.assert_receives(disconnect(1000))

    async def test_violation_ends_the_connection(self) -> None:
        await self.open_closing()
        self.transport.feed(VIOLATION)
        self.assert_written()
        self.assert_half_closed()
        await self.assert_receives(disconnect(1002, "unmasked frame from a client"))

    async def test_peer_that_never_answers_is_cut(self) -> None:
        await self.open_closing(timeout_close=10)
        await self.advance(9.9)
        self.assert_calls()
        await self.advance(0.1)
        self.assert_calls("abort")
        await self.assert_receives(LOST)

    async def test_peer_has_any_time_where_none_is_configured(self) -> None:
        await self.open_closing(timeout_close=None)
        await self.advance(1e6)
        self.assert_calls()
        self.transport.feed(PEER_CLOSE)
        self.assert_half_closed()
        # From now on it has less than a second all the same.
        await self.advance(1)
        self.assertEqual(self.transport.calls[-1], "abort")

    async def test_peer_that_only_ends_its_stream_is_1006(self) -> None:
        await self.open_closing()
        self.transport.feed_eof()
        await turn_loop()
        self.assertTrue(self.transport.is_lost)
        await self.assert_receives(LOST)

    async def test_lost_connection_is_1006(self) -> None:
        await self.open_closing()
        self.transport.lose(ConnectionResetError())
        await self.assert_receives(LOST)

    async def test_second_close_does_nothing(self) -> None:
        await self.open_closing()
        await self.send({"type": "websocket.close", "code": 4000})
        self.assert_written()

    async def test_application_that_is_ended_by_its_send_is_not_logged(self) -> None:
        for event in (SEND_HELLO, ACCEPT, {**SEND_HELLO, "text": 5}):
            await self.open_closing()
            with self.assertRaises(ClientDisconnected) as raised:
                await self.send(event)
            await self.app.raise_(raised.exception)
            self.assert_written()
            self.assert_logged()
            self.transport.lose()
            await turn_loop()

    async def test_send_raises(self) -> None:
        await self.open_closing()
        await self.assert_disconnected()

    async def test_messages_from_before_are_still_delivered(self) -> None:
        await self.open()
        self.transport.feed(peer_text(b"a"))
        await self.send({"type": "websocket.close"})
        self.transport.feed(peer_text(b"b") + PEER_CLOSE)
        await self.assert_receives(received("a"), disconnect(1000))

    async def test_reading_that_was_paused_goes_on_for_the_peers_close(self) -> None:
        await self.open(ws_max_queue=1)
        self.transport.feed(PEER_HELLO)
        self.assert_reading(False)
        await self.send({"type": "websocket.close"})
        self.assert_reading(True)
        self.transport.feed(PEER_CLOSE)
        self.assert_half_closed()

    async def test_application_that_returns_is_1000(self) -> None:
        await self.open()
        await self.app.return_()
        self.assert_written(CLOSE)
        self.transport.feed(PEER_CLOSE)
        self.assert_half_closed()

    async def test_application_that_raises_is_1011_and_logged_once(self) -> None:
        for error in (ValueError("no"), asyncio.CancelledError(), SystemExit(2), GeneratorExit()):
            await self.open()
            await self.app.raise_(error)
            self.assert_written(CLOSE_1011)
            self.assert_logged(("ERROR", "application raised"))
            exc_info: Any = self.records[-1].exc_info
            self.assertIsInstance(exc_info[1], type(error))
            self.transport.lose()
            await turn_loop()

    async def test_application_that_ends_after_its_close_adds_nothing(self) -> None:
        await self.open_closing()
        await self.app.return_()
        self.assert_written()
        await self.advance(10)
        self.assert_calls("abort")

    async def test_answers_leave_before_the_close_of_an_application_that_returns(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO + PEER_HELLO)
        await self.app.receive()
        await self.app.send(SEND_HELLO)
        await self.app.return_()
        self.assertEqual(self.transport.read(), HELLO + CLOSE)


class OverTests(WebSocketTestCase):
    """OVER: the application has some time to return."""

    async def test_application_that_ignores_the_disconnect_is_cancelled(self) -> None:
        await self.open(timeout_app=10)
        self.transport.lose()
        await self.advance(9.9)
        self.assertTrue(self.app.is_running)
        await self.advance(0.1)
        self.assertFalse(self.app.is_running)
        self.assertEqual(self.logged.pop()[0], "WARNING")
        self.assertEqual(list(self.service.members), [])

    async def test_application_may_work_on_by_default(self) -> None:
        # The cleanup, or a BackgroundTask, of more than ten seconds.
        for end in (self.transport_lost, self.peer_closed, self.application_closed):
            await self.open()
            await end()
            await self.advance(13)
            await self.advance(1e6)
            self.assertTrue(self.app.is_running)
            self.assertTrue(self.transport.is_lost)
            await self.app.return_()
            self.assertEqual((self.app.cancellations, list(self.service.members)), (0, []))

    async def transport_lost(self) -> None:
        self.transport.lose()

    async def peer_closed(self) -> None:
        self.transport.feed(PEER_CLOSE)

    async def application_closed(self) -> None:
        await self.send({"type": "websocket.close", "code": 4000})
        self.transport.feed(PEER_CLOSE)

    async def test_application_that_returns_in_time_is_not(self) -> None:
        await self.open()
        self.transport.lose()
        await self.app.return_()
        self.assertEqual((self.app.cancellations, list(self.service.members)), (0, []))

    async def test_receive_after_disconnect_raises(self) -> None:
        await self.open()
        self.transport.lose()
        await self.assert_receives(LOST)
        with self.assertRaises(ClientDisconnected):
            await self.receive()

    async def test_messages_from_before_the_loss_come_before_the_disconnect(self) -> None:
        await self.open()
        self.transport.feed(peer_text(b"a") + peer_text(b"b"))
        self.transport.lose()
        await self.assert_receives(received("a"), received("b"), LOST)

    async def hold(self, data: bytes, **options: Any) -> None:
        """The queue is full, and what comes all the same, as over TLS on Python 3.9 and 3.10, is held."""
        await self.open(ws_max_queue=2, **options)
        self.transport.feed(peer_text(b"a") + peer_text(b"b"))
        self.exchange.data_received(data)

    async def test_messages_that_are_held_at_the_loss_come_before_the_disconnect(self) -> None:
        await self.hold(peer_text(b"c") + peer_text(b"d") + peer_text(b"e"))
        self.transport.lose()
        await self.assert_receives(*map(received, "abcde"), LOST)
        with self.assertRaises(ClientDisconnected):
            await self.receive()

    async def test_task_that_outlives_the_application_does_not_wait_for_what_is_held(self) -> None:
        await self.open(ws_max_queue=2)
        await self.start(self.service.shut_down(30))
        self.transport.feed(peer_text(b"a") + peer_text(b"b"))
        self.exchange.data_received(peer_text(b"c"))
        self.transport.lose()
        await self.app.return_()
        await self.assert_receives(received("a"), received("b"), LOST)
        with self.assertRaises(ClientDisconnected):
            await self.receive()

    async def test_task_that_outlives_the_application_does_not_wait_for_what_was_held(self) -> None:
        await self.open(ws_max_queue=2)
        await self.start(self.service.shut_down(30))
        self.transport.feed(peer_text(b"a") + peer_text(b"b"))
        self.exchange.data_received(peer_text(b"c") + peer_text(b"d"))
        self.transport.lose()
        # What was held is in the queue now, which is full again.
        await self.assert_receives(received("a"), received("b"), received("c"))
        await self.app.return_()
        await self.assert_receives(received("d"), LOST)

    async def test_close_that_is_held_at_the_loss_tells_its_code(self) -> None:
        await self.hold(peer_text(b"c") + PEER_CLOSE)
        self.transport.lose()
        await self.assert_receives(*map(received, "abc"), disconnect(1000))

    async def test_violation_that_is_held_at_the_loss_tells_its_code(self) -> None:
        await self.hold(peer_text(b"c") + VIOLATION)
        self.transport.lose()
        reason = "unmasked frame from a client"
        await self.assert_receives(*map(received, "abc"), disconnect(1002, reason))

    async def test_messages_that_are_held_at_the_end_of_the_stream_come_before_the_disconnect(self) -> None:
        await self.hold(peer_text(b"c") + PEER_CLOSE, half_close=False)
        self.transport.feed_eof()
        await turn_loop()
        await self.assert_receives(*map(received, "abc"), disconnect(1000))

    async def test_compressed_messages_that_are_held_at_the_loss_are_inflated_as_they_are_taken(self) -> None:
        await self.open(headers=(DEFLATE_OFFER,))
        # The first 16 KiB hold 1260 of these 13 bytes, and a part of one.
        self.transport.feed(PEER_COMPRESSED * 3000)
        self.transport.lose()
        connection = self.app.scope["wsbridge.connection"]
        for taken in range(1, 3001):
            self.assertEqual(await self.app.receive(), RECEIVED_HELLO)
            self.assertLessEqual(connection.bytes_inflated, (taken + 1261) * len("Hello"))
        await self.assert_receives(LOST)

    async def test_send_raises_while_messages_are_held(self) -> None:
        await self.hold(peer_text(b"c"))
        await self.assert_receives(received("a"))
        await self.app.send(SEND_HELLO)
        self.transport.lose()
        with self.assertRaises(ClientDisconnected):
            await self.app.send(SEND_HELLO)
        await self.assert_disconnected()
        await self.assert_receives(*map(received, "bc"), LOST)
        await self.assert_disconnected()

    async def test_application_that_ends_by_it_while_messages_are_held_is_not_logged(self) -> None:
        for error in (ClientDisconnected("gone"), OSError("not ours")):
            await self.hold(peer_text(b"c"))
            self.transport.lose()
            await self.app.raise_(error)
            lines = [("ERROR", "application raised")] if type(error) is OSError else []
            self.assert_logged(*lines, end_line("1011 closed by application, 0.000 s", (2, 21), (0, 0)))

    async def test_send_raises_between_messages_that_are_held(self) -> None:
        await self.hold(peer_text(b"c"))
        self.transport.lose()
        await self.assert_receives(*map(received, "ab"))
        await self.assert_disconnected()
        await self.assert_receives(received("c"), LOST)

    async def test_frames_from_before_the_accept_go_with_the_connection(self) -> None:
        await self.connect(early_data=PEER_HELLO)
        self.transport.lose()
        await self.assert_receives(CONNECT, LOST)

    async def test_loss_fills_a_queue_whose_transport_can_no_longer_pause(self) -> None:
        await self.open(ws_max_queue=3)
        self.transport.feed(peer_text(b"a") + peer_text(b"b"))
        self.transport.is_detached = True
        self.transport.lose()
        await self.assert_receives(received("a"), received("b"), LOST)
        await self.app.return_()
        self.assertEqual(list(self.service.members), [])

    async def test_close_does_nothing_whatever_it_holds(self) -> None:
        # Channels: `disconnect(code)` that calls `close(code)` with what came.
        for content in ({}, {"code": 1005}, {"code": 1006, "reason": "x" * 200}, {"code": "no"}):
            await self.open()
            self.transport.lose()
            await self.assert_receives(LOST)
            await self.send({"type": "websocket.close", **content})
            await self.app.return_()
            self.assert_written()
            self.assert_logged(end_line("1006 lost, 0.000 s", (0, 0), (0, 0)))

    async def test_peer_that_half_closes_and_reads_nothing_is_cut(self) -> None:
        await self.open(ws_ping_interval=None, timeout_write=10)
        self.transport.is_peer_reading = False
        await self.send(SEND_HELLO)
        self.transport.feed_eof()
        await self.app.return_()
        await self.advance(9.9)
        self.assertFalse(self.transport.is_lost)
        await self.advance(0.1)
        self.assertTrue(self.transport.is_lost)

    async def test_application_has_its_time_from_a_half_close_on_whatever_the_peer_reads(self) -> None:
        await self.open(timeout_app=5, timeout_close=10)
        self.transport.is_peer_reading = False
        await self.send(SEND_HELLO)
        self.transport.feed_eof()
        await self.advance(5)
        self.assertFalse(self.app.is_running)
        self.assertEqual(self.logged.pop()[0], "WARNING")


class KeepaliveTests(WebSocketTestCase):
    """Pings at an interval, and the end of a peer that gives no sign of life."""

    def assert_pinged(self) -> bytes:
        """A PING with four random bytes was written; its PONG, under an all-zero key."""
        ping = self.transport.read()
        self.assertEqual((ping[:2], len(ping)), (bytes.fromhex("89 04"), 6))
        return bytes.fromhex("8a 84 00000000") + ping[2:]

    async def test_ping_leaves_at_the_interval(self) -> None:
        await self.open(ws_ping_interval=20)
        await self.advance(19.9)
        self.assert_written()
        await self.advance(0.1)
        self.assert_pinged()

    async def test_answered_ping_is_followed_by_another_at_the_interval(self) -> None:
        await self.open(ws_ping_interval=20, ws_ping_timeout=5)
        await self.advance(20)
        self.transport.feed(self.assert_pinged())
        await self.advance(5)
        await self.advance(14.9)
        self.assert_written()
        await self.advance(0.1)
        self.assert_pinged()

    async def test_timeout_beyond_the_interval_does_not_delay_the_next_ping(self) -> None:
        await self.open(ws_ping_interval=20, ws_ping_timeout=50)
        for _ in range(3):
            await self.advance(20)
            self.transport.feed(self.assert_pinged())

    async def test_late_answer_within_the_timeout_is_followed_by_a_ping(self) -> None:
        await self.open(ws_ping_interval=20, ws_ping_timeout=50)
        await self.advance(20)
        pong = self.assert_pinged()
        await self.advance(20)
        self.assert_written()
        self.transport.feed(pong)
        await self.advance(20)
        self.assert_pinged()

    async def test_half_open_peer_is_found(self) -> None:
        await self.open(ws_ping_interval=20, ws_ping_timeout=20)
        receiving = await self.assert_waits(self.app.receive())
        await self.advance(20)
        self.assert_pinged()
        await self.advance(20)
        self.assert_written(CLOSE_KEEPALIVE)
        self.assert_half_closed()
        self.assertEqual(receiving.result(), LOST)

    async def test_sweeps_that_come_late_ping_and_find_a_half_open_peer_all_the_same(self) -> None:
        await self.open(ws_ping_interval=20, ws_ping_timeout=20)
        await self.advance(20.1)
        self.assert_pinged()
        await self.advance(20.1)
        self.assert_written(CLOSE_KEEPALIVE)

    async def test_any_byte_counts_as_life(self) -> None:
        await self.open()
        await self.advance(20)
        self.assert_pinged()
        self.transport.feed(PEER_HELLO[:1])
        await self.advance(20)
        self.assert_pinged()

    async def test_byte_from_before_the_ping_does_not(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO)
        await self.advance(20)
        self.assert_pinged()
        await self.advance(20)
        self.assert_written(CLOSE_KEEPALIVE)

    async def test_no_interval_means_no_pings(self) -> None:
        await self.open(ws_ping_interval=None)
        await self.advance(100000)
        self.assert_written()

    async def test_no_timeout_means_pings_without_end(self) -> None:
        await self.open(ws_ping_interval=20, ws_ping_timeout=None)
        for _ in range(3):
            await self.advance(19.9)
            self.assert_written()
            await self.advance(0.1)
            self.assert_pinged()

    async def test_deadline_sleeps_while_reading_is_paused(self) -> None:
        await self.open(ws_max_queue=1)
        await self.advance(20)
        self.assert_pinged()
        self.transport.feed(PEER_HELLO)
        self.assert_reading(False)
        for _ in range(10):
            await self.advance(20)
            # A ping all the same: it fails where the connection is gone.
            self.assert_pinged()

    async def test_deadline_that_slept_does_not_strike_right_after(self) -> None:
        await self.open(ws_max_queue=1)
        self.transport.feed(PEER_HELLO)
        await self.app.receive()
        await self.advance(20)
        self.assert_pinged()
        await self.assert_waits(self.app.receive())
        await self.advance(20)
        pong = self.assert_pinged()
        self.transport.feed(pong)

    async def test_half_open_peer_is_found_in_time_after_a_pause(self) -> None:
        await self.open(ws_max_queue=1, ws_ping_interval=20, ws_ping_timeout=5)
        await self.advance(20)
        self.assert_pinged()
        self.transport.feed(PEER_HELLO)
        await self.advance(5)
        await self.assert_receives(RECEIVED_HELLO)
        await self.assert_waits(self.app.receive())
        await self.advance(20)
        self.assert_pinged()
        await self.advance(5)
        self.assert_written(CLOSE_KEEPALIVE)

    async def test_time_in_which_reading_was_paused_does_not_count(self) -> None:
        await self.open(ws_max_queue=1)
        self.transport.feed(PEER_HELLO)
        await self.advance(20)
        self.assert_pinged()
        await self.advance(19.9)
        self.assert_reading(False)
        await self.assert_receives(RECEIVED_HELLO)
        await self.assert_waits(self.app.receive())
        self.assert_reading(True)
        await self.advance(0.1)
        self.assert_pinged()

    async def test_ping_waits_while_the_peer_does_not_read(self) -> None:
        await self.open(ws_write_limit=LIMIT)
        self.transport.is_peer_reading = False
        await self.start(self.app.send(SEND_LARGE))
        await self.advance(20)
        self.assert_written(LARGE)

    async def test_peer_that_reads_what_waited_is_alive(self) -> None:
        await self.open(ws_write_limit=LIMIT)
        await self.advance(20)
        self.assert_pinged()
        self.transport.is_peer_reading = False
        await self.start(self.app.send(SEND_LARGE))
        await self.advance(19.9)
        self.transport.take()
        self.assert_written(LARGE)
        await self.advance(0.1)
        self.assert_pinged()


class HalfCloseTests(WebSocketTestCase):
    """The peer ends its stream without a CLOSE."""

    async def test_open_connection_is_1006(self) -> None:
        await self.open()
        receiving = await self.assert_waits(self.app.receive())
        self.transport.feed_eof()
        await turn_loop()
        self.assertEqual(receiving.result(), LOST)
        self.assert_written()
        self.assertTrue(self.transport.is_lost)
        self.assert_calls_are_only("close")

    async def test_messages_before_it_are_delivered(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO)
        self.transport.feed_eof()
        await self.assert_receives(RECEIVED_HELLO, LOST)
        await self.assert_disconnected()

    async def test_what_was_gathered_still_leaves(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO + PEER_HELLO)
        await self.app.receive()
        await self.app.send(SEND_HELLO)
        self.transport.feed_eof()
        self.assert_written(HELLO)

    async def test_connection_that_is_over_closes(self) -> None:
        await self.open_closing()
        self.transport.feed(PEER_CLOSE)
        self.transport.feed_eof()
        await turn_loop()
        self.assertTrue(self.transport.is_lost)


class ShutdownTests(WebSocketTestCase):
    """The server stops: every connection closes in an orderly way."""

    async def shut_down(self) -> None:
        """The application returns when it is told, the peer answers a CLOSE."""
        stopping = await self.start(self.service.shut_down(30))
        self.assertFalse(stopping.done())
        self.stopping = stopping

    async def assert_stopped(self) -> None:
        await self.app.return_()
        self.transport.feed_eof()
        await turn_loop()
        self.assertTrue(self.stopping.done())

    async def test_handshake_whose_application_waits_for_its_client_is_refused_at_once(self) -> None:
        await self.connect()
        await self.assert_receives(CONNECT)
        receiving = await self.assert_waits(self.app.receive())
        self.service.begin_shutdown()
        self.assert_written(STOPPING)
        await turn_loop()
        self.assertEqual(receiving.result(), LOST)

    async def test_connecting_is_503_if_the_application_does_not_accept_within_a_second(self) -> None:
        await self.connect()
        await self.shut_down()
        await self.advance(0.75)
        self.assert_written()
        await self.advance(0.25)
        self.assert_written(STOPPING)
        await self.assert_receives(CONNECT, LOST)
        await self.assert_stopped()

    async def test_connecting_has_an_eighth_of_a_stop_that_takes_a_second(self) -> None:
        # As with --reload: at half a second the server would abort the connection.
        await self.connect(timeout_graceful_shutdown=1)
        self.service.begin_shutdown()
        await self.advance(0.1)
        self.assert_written()
        await self.advance(0.025)
        self.assert_written(STOPPING)

    async def test_connecting_that_is_accepted_is_1012(self) -> None:
        await self.connect()
        await self.shut_down()
        await self.assert_receives(CONNECT)
        await self.send(ACCEPT)
        await turn_loop()
        self.assertEqual(self.transport.read()[-len(CLOSE_1012) :], CLOSE_1012)
        self.transport.feed(bytes.fromhex("88 82 00000000 03f4"))
        await self.assert_receives(disconnect(1012))
        await self.assert_stopped()

    async def test_connecting_that_is_told_twice_is_503_at_once(self) -> None:
        await self.connect()
        self.exchange.shut_down()
        self.assert_written()
        self.exchange.shut_down()
        self.assert_written(STOPPING)

    async def test_denial_that_streams_is_cut(self) -> None:
        await self.connect()
        await self.send(DENY)
        await self.send(DENY_PART)
        await self.start(self.service.shut_down(30))
        self.assert_written(DENIED_PART)
        self.assert_calls("abort")
        self.assertEqual(self.app.cancellations, 1)

    async def test_open_is_1012(self) -> None:
        await self.open()
        await self.shut_down()
        self.assert_written(CLOSE_1012)
        self.transport.feed(bytes.fromhex("88 82 00000000 03f4"))
        await self.assert_receives(disconnect(1012))
        await self.assert_stopped()

    async def test_messages_from_before_the_peers_close_are_delivered(self) -> None:
        await self.open()
        receiving = await self.assert_waits(self.app.receive())
        await self.shut_down()
        self.assert_written(CLOSE_1012)
        self.transport.feed(PEER_HELLO + peer_text(b"b")[:4])
        await turn_loop()
        self.assertEqual(receiving.result(), RECEIVED_HELLO)
        await self.assert_disconnected()
        self.transport.feed(peer_text(b"b")[4:] + bytes.fromhex("88 82 00000000 03f4"))
        await self.assert_receives(received("b"), disconnect(1012))
        await self.assert_stopped()

    async def test_messages_beyond_a_full_queue_are_delivered_too(self) -> None:
        await self.open(ws_max_queue=1)
        self.transport.feed(PEER_HELLO)
        self.assert_reading(False)
        await self.shut_down()
        await self.assert_receives(RECEIVED_HELLO)
        await self.assert_waits(self.app.receive())
        self.assert_reading(True)
        self.transport.feed(peer_text(b"b") + PEER_CLOSE)
        await turn_loop()
        await self.assert_receives(disconnect(1000))
        await self.assert_stopped()

    async def test_messages_that_wait_do_not_delay_it(self) -> None:
        await self.open(ws_max_queue=1)
        self.transport.feed(PEER_HELLO)
        await self.shut_down()
        self.assert_written(CLOSE_1012)
        self.transport.feed(bytes.fromhex("88 82 00000000 03f4"))
        await self.assert_receives(RECEIVED_HELLO, disconnect(1012))
        await self.assert_stopped()

    async def test_ending_echoes_the_peers_close(self) -> None:
        await self.open_ending()
        await self.shut_down()
        self.assert_written(CLOSE)
        await self.assert_receives(disconnect(1000))
        await self.assert_stopped()

    async def test_closing_goes_on_closing(self) -> None:
        await self.open_closing()
        await self.shut_down()
        self.assert_written()
        self.transport.feed(PEER_CLOSE)
        await self.assert_stopped()

    async def test_closing_has_no_more_time_than_before(self) -> None:
        await self.open_closing(timeout_close=10)
        await self.advance(9)
        await self.shut_down()
        self.assert_calls()
        await self.advance(1.1)
        self.assert_calls("abort")

    async def test_over_waits_for_the_application(self) -> None:
        await self.open_closing()
        self.transport.feed(PEER_CLOSE)
        await self.shut_down()
        self.assert_written()
        await self.assert_stopped()

    async def test_drained_connection_closes_when_its_turn_has_come(self) -> None:
        await self.open(drain_seconds=5)
        self.service.begin_shutdown()
        self.assert_written()
        await turn_loop()
        self.assert_written(CLOSE_1012)

    async def test_drained_connection_that_closes_before_its_turn_is_left_alone(self) -> None:
        await self.open(drain_seconds=5)
        self.service.begin_shutdown()
        self.transport.feed(PEER_CLOSE)
        await turn_loop()
        self.assert_written(CLOSE)

    async def test_cut_ends_connection_and_application(self) -> None:
        await self.open()
        self.service.abort()
        await turn_loop()
        self.assertTrue(self.transport.is_lost)
        self.assertEqual((self.app.is_running, list(self.service.members)), (False, []))


class ConcurrentReceiveTests(WebSocketTestCase):
    """Two tasks of one application wait for messages."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        await self.open()
        self.first = await self.assert_waits(self.app.receive())
        self.second = await self.assert_waits(self.app.receive())

    async def test_each_gets_a_message(self) -> None:
        self.transport.feed(peer_text(b"a") + peer_text(b"b"))
        await turn_loop()
        self.assertEqual([self.first.result(), self.second.result()], [received("a"), received("b")])

    async def test_second_waits_on_for_the_next(self) -> None:
        self.transport.feed(peer_text(b"a"))
        await turn_loop()
        self.assertEqual((self.first.done(), self.second.done()), (True, False))
        self.transport.feed(peer_text(b"b"))
        await turn_loop()
        self.assertEqual(self.second.result(), received("b"))

    async def test_third_asks_before_the_first_has_run(self) -> None:
        self.transport.feed(peer_text(b"a"))
        self.assertEqual(await self.app.receive(), received("a"))
        await turn_loop()
        self.transport.feed(peer_text(b"b") + peer_text(b"c"))
        await turn_loop()
        self.assertEqual([self.first.result(), self.second.result()], [received("b"), received("c")])

    async def test_third_takes_the_disconnect_before_the_first_has_run(self) -> None:
        third = asyncio.ensure_future(self.app.receive())
        self.transport.feed(b"\x81\x02hi")
        self.assertEqual((await third)["code"], 1002)
        await turn_loop()
        for task in (self.first, self.second):
            self.assertIsInstance(task.exception(), ClientDisconnected)
        await self.app.return_()

    async def test_cancelling_the_first_leaves_the_second_waiting(self) -> None:
        self.first.cancel()
        await turn_loop()
        self.assertFalse(self.second.done())
        self.transport.feed(peer_text(b"a"))
        await turn_loop()
        self.assertEqual(self.second.result(), received("a"))

    async def test_cancelling_the_second_leaves_the_first_waiting(self) -> None:
        self.second.cancel()
        await turn_loop()
        self.assertFalse(self.first.done())
        self.transport.feed(peer_text(b"a"))
        await turn_loop()
        self.assertEqual(self.first.result(), received("a"))

    async def test_message_that_comes_with_the_cancellation_is_not_lost(self) -> None:
        self.second.cancel()
        await turn_loop()
        self.first.cancel()
        self.transport.feed(peer_text(b"a"))
        await turn_loop()
        self.assertTrue(self.first.cancelled())
        await self.assert_receives(received("a"))

    async def test_message_that_comes_before_the_cancellation_is_not_lost(self) -> None:
        self.second.cancel()
        await turn_loop()
        self.transport.feed(peer_text(b"a"))
        self.first.cancel()
        await turn_loop()
        self.assertTrue(self.first.cancelled())
        await self.assert_receives(received("a"))

    async def test_one_gets_the_disconnect_and_the_other_the_quiet_error(self) -> None:
        self.transport.feed(PEER_CLOSE)
        self.assert_written(CLOSE)
        await turn_loop()
        self.assertEqual(self.first.result(), disconnect(1000))
        self.assertIsInstance(self.second.exception(), ClientDisconnected)

    async def test_lost_connection_ends_both(self) -> None:
        self.transport.lose()
        await turn_loop()
        self.assertEqual(self.first.result(), LOST)
        self.assertIsInstance(self.second.exception(), ClientDisconnected)


class ConnectionInfoTests(WebSocketTestCase):
    """``scope["wsbridge.connection"]``."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        await self.open(headers=(DEFLATE_OFFER,), ws_deflate_threshold=0)
        self.info = self.app.scope["wsbridge.connection"]

    async def test_ping_sets_the_latency(self) -> None:
        self.assertIsNone(self.info.latency)
        self.info.ping()
        ping = self.transport.read()
        self.clock.advance(0.5)
        self.transport.feed(bytes.fromhex("8a 84 00000000") + ping[2:])
        self.assertEqual(self.info.latency, 0.5)

    async def test_host_is_told_what_the_application_is(self) -> None:
        self.assertIs(self.exchange.info, self.info)
        self.assertEqual((self.info.client, self.info.path), (("127.0.0.1", 50000), "/chat"))
        self.assertEqual((self.info.state, self.info.subprotocol), ("open", None))

    async def test_size_of_what_the_peer_has_not_read(self) -> None:
        self.assertEqual(self.info.write_buffer_size, 0)
        self.transport.is_peer_reading = False
        await self.send({"type": "websocket.close"})
        self.assertEqual((self.info.write_buffer_size, self.info.state), (len(CLOSE), "closing"))
        self.transport.lose()
        self.assertEqual((self.info.write_buffer_size, self.info.state), (0, "closed"))
        await self.app.return_()
        self.assertIsNone(self.exchange.info)
        self.transport.read()

    async def test_ping_while_the_peer_does_not_read_writes_nothing(self) -> None:
        self.exchange.pause_writing()
        self.info.ping()
        self.assert_written()
        self.exchange.resume_writing()

    async def test_ping_before_the_accept_writes_nothing(self) -> None:
        self.transport.lose()
        await self.app.return_()
        await self.connect()
        self.app.scope["wsbridge.connection"].ping()
        self.assert_written()

    async def test_ping_after_the_close_writes_nothing(self) -> None:
        await self.send({"type": "websocket.close"})
        self.transport.read()
        self.info.ping()
        self.assert_written()

    async def test_trace_is_called_for_every_frame(self) -> None:
        frames: List[Tuple[Any, ...]] = []

        def trace(*frame: Any) -> None:
            frames.append(frame)

        self.info.trace = trace
        self.assertIs(self.info.trace, trace)
        self.transport.feed(PEER_COMPRESSED)
        await self.send(SEND_HELLO)
        self.assertEqual(frames, [("in", 1, True, True, 7), ("out", 1, True, True, 7)])

    async def test_agreement_and_byte_counts(self) -> None:
        self.transport.feed(PEER_COMPRESSED)
        await self.send(SEND_HELLO)
        self.assert_written(COMPRESSED)
        self.assertEqual(self.info.extensions_response, "permessage-deflate")
        self.assertEqual((self.info.bytes_before_compression, self.info.bytes_after_compression), (5, 7))
        self.assertEqual((self.info.bytes_deflated, self.info.bytes_inflated), (7, 5))

    async def test_without_compression_all_counts_are_0(self) -> None:
        self.transport.lose()
        await self.app.return_()
        await self.open()
        info = self.app.scope["wsbridge.connection"]
        self.assertIsNone(info.extensions_response)
        self.assertEqual((info.bytes_before_compression, info.bytes_after_compression), (0, 0))
        self.assertEqual((info.bytes_deflated, info.bytes_inflated), (0, 0))


class EndTests(WebSocketTestCase):
    """Who has ended the connection, with which code and reason: one line, which comes once."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        await self.open(ws_ping_interval=20, ws_ping_timeout=20)
        self.info = self.app.scope["wsbridge.connection"]
        self.assertEqual((self.info.closed_by, self.info.code, self.info.reason), (None, None, ""))
        self.assertIsNone(self.info.seconds)
        self.clock.advance(1.5)

    async def assert_ended(self, how: str, received: Tuple[int, int], sent: Tuple[int, int]) -> None:
        """The line has come, and nothing that follows adds another."""
        self.assert_logged(end_line(how, received, sent))
        self.transport.lose()
        await self.app.return_()
        self.assert_logged()

    async def test_client(self) -> None:
        self.transport.feed(bytes.fromhex("88 87 00000000 03e9") + b"leave")
        await self.assert_ended('1001 closed by client "leave", 1.500 s', (0, 13), (0, 9))
        self.assertEqual((self.info.closed_by, self.info.code, self.info.reason), ("client", 1001, "leave"))

    async def test_client_without_a_code(self) -> None:
        self.transport.feed(PEER_CLOSE_EMPTY)
        await self.assert_ended("1005 closed by client, 1.500 s", (0, 6), (0, 2))

    async def test_client_while_an_answer_is_owed_and_the_server_stops(self) -> None:
        self.transport.feed(PEER_HELLO)
        await self.assert_receives(RECEIVED_HELLO)
        self.transport.feed(PEER_CLOSE)
        self.assert_logged()
        self.service.begin_shutdown()
        await self.assert_ended("1000 closed by client, 1.500 s", (1, 19), (0, 4))

    async def test_application(self) -> None:
        await self.send({"type": "websocket.close", "code": 4000, "reason": "bye"})
        self.assert_logged()
        self.transport.feed(PEER_CLOSE)
        await self.assert_ended('4000 closed by application "bye", 1.500 s', (0, 8), (0, 7))

    async def test_application_whose_client_does_not_answer(self) -> None:
        await self.send({"type": "websocket.close"})
        await self.advance(9)
        self.assert_logged()
        await self.advance(1)
        await self.assert_ended("1000 closed by application, 11.500 s", (0, 0), (0, 4))

    async def test_application_that_returns(self) -> None:
        await self.app.return_()
        self.transport.feed(PEER_CLOSE)
        await self.assert_ended("1000 closed by application, 1.500 s", (0, 8), (0, 4))

    async def test_application_that_raises(self) -> None:
        await self.app.raise_(ValueError("no"))
        self.assert_logged(("ERROR", "application raised"))
        self.transport.feed(VIOLATION)
        await self.assert_ended("1011 closed by application, 1.500 s", (0, 3), (0, 4))

    async def test_stop(self) -> None:
        self.service.begin_shutdown()
        self.transport.feed(PEER_CLOSE)
        await self.assert_ended("1012 closed by the server's stop, 1.500 s", (0, 8), (0, 4))

    async def test_abort(self) -> None:
        self.service.abort()
        await turn_loop()
        await self.assert_ended("1006 closed by the server's stop, 1.500 s", (0, 0), (0, 0))

    async def test_violation(self) -> None:
        self.transport.feed(VIOLATION)
        await self.assert_ended(
            '1002 closed for a violation "unmasked frame from a client", 1.500 s', (0, 3), (0, 32)
        )

    async def test_ping_timeout(self) -> None:
        await self.advance(20)
        await self.advance(20)
        await self.assert_ended('1011 closed by timeout "keepalive ping timeout", 41.500 s', (0, 0), (0, 32))

    async def test_lost(self) -> None:
        self.transport.feed_eof()
        await self.assert_ended("1006 lost, 1.500 s", (0, 0), (0, 0))

    async def test_lost_with_a_close_that_the_application_has_not_got_to(self) -> None:
        for close, how in ((PEER_CLOSE, "1000 closed by client"), (b"", "1006 lost")):
            self.transport.lose()
            await self.app.return_()
            await self.open(ws_max_queue=1)
            self.info = self.app.scope["wsbridge.connection"]
            self.transport.feed(peer_text(b"a"))
            # TLS of Python 3.9 hands over what it has decrypted, though reading is paused.
            self.exchange.data_received(peer_text(b"b") + close)
            self.transport.lose()
            self.assert_logged()
            await self.assert_receives(received("a"), received("b"), disconnect(1000) if close else LOST)
            await self.assert_ended(f"{how}, 0.000 s", (2, 14 + len(close)), (0, 0))

    async def test_application_that_returns_before_what_is_held(self) -> None:
        self.transport.lose()
        await self.app.return_()
        await self.open(ws_max_queue=1)
        self.info = self.app.scope["wsbridge.connection"]
        self.transport.feed(peer_text(b"a"))
        self.exchange.data_received(peer_text(b"b"))
        self.transport.lose()
        await self.app.return_()
        await self.assert_ended("1000 closed by application, 0.000 s", (1, 14), (0, 0))

    async def test_messages_and_bytes_are_counted_in_both_directions(self) -> None:
        self.transport.feed(PEER_HELLO + PEER_HELLO[:3])
        await self.assert_receives(RECEIVED_HELLO)
        await self.send(SEND_HELLO)
        # A fragmented message, a PING within it, and a message behind it: the answers leave in one write.
        self.transport.feed(PEER_HELLO[3:] + bytes.fromhex("01 81 00000000 61") + PEER_PING)
        self.transport.feed(bytes.fromhex("80 81 00000000 62") + peer_text(b"c"))
        self.assert_written(HELLO, PONG)
        await self.assert_receives(RECEIVED_HELLO)
        await self.send(SEND_HELLO)
        await self.assert_receives(received("ab"), received("c"))
        await self.send({"type": "websocket.send", "bytes": b"x" * 16384})
        await self.send(SEND_HELLO)
        self.transport.feed(PEER_CLOSE)
        counts = self.info.messages_received, self.info.messages_sent
        self.assertEqual((*counts, self.info.bytes_received, self.info.bytes_sent), (4, 4, 60, 16418))
        await self.assert_ended("1000 closed by client, 1.500 s", (4, 60), (4, 16418))

    async def test_messages_of_a_long_row_are_counted(self) -> None:
        for _ in range(200):
            await self.app.send(SEND_HELLO)
        self.transport.feed(PEER_CLOSE)
        await self.assert_ended("1000 closed by client, 1.500 s", (0, 8), (200, 1404))

    async def test_answers_that_leave_in_one_write_are_counted(self) -> None:
        self.transport.feed(PEER_HELLO * 3)

        async def echo() -> None:
            for _ in range(3):
                await self.app.receive()
                await self.app.send(SEND_HELLO)

        await self.start(echo())
        self.assert_written(HELLO * 3)
        self.transport.feed(PEER_CLOSE)
        await self.assert_ended("1000 closed by client, 1.500 s", (3, 41), (3, 25))

    async def test_pong_that_follows_gathered_answers_is_counted(self) -> None:
        self.transport.feed(PEER_HELLO * 2)
        await self.assert_receives(RECEIVED_HELLO)
        await self.start(self.app.send(SEND_HELLO))
        self.transport.feed(PEER_PING)
        await turn_loop()
        self.assertEqual((self.info.messages_sent, self.info.bytes_sent), (1, 12))

    async def test_subprotocol_stands_in_the_line(self) -> None:
        self.transport.lose()
        await self.app.return_()
        await self.connect(headers=((b"sec-websocket-protocol", b"chat.v2"),))
        await self.send({**ACCEPT, "subprotocol": "chat.v2"})
        self.logged.clear()
        self.transport.feed(PEER_CLOSE)
        await self.assert_ended("1000 closed by client, subprotocol chat.v2, 0.000 s", (0, 8), (0, 4))

    async def test_connection_that_was_not_accepted_has_no_end(self) -> None:
        self.transport.lose()
        await self.app.return_()
        self.logged.clear()
        await self.connect()
        await self.send(REFUSE)
        self.assert_logged(("INFO", '127.0.0.1:50000 "websocket /chat" 403'))
        self.transport.lose()
        await self.app.return_()
        self.assert_logged()
        self.assertIsNone(self.app.scope["wsbridge.connection"].closed_by)


class HostileConnectionTests(WebSocketTestCase):
    """hostile-input.md, section "Connection"; `asyncTearDown` sees that no timer and no task is left."""

    async def assert_quiet(self) -> None:
        """The application lets the error through, which is not logged above debug, but for the end."""
        with self.assertRaises(ClientDisconnected) as caught:
            await self.send(SEND_HELLO)
        await self.app.raise_(caught.exception)
        self.assert_logged(end_line("1006 lost, 0.000 s", (0, 0), (1, 204)))
        self.assertEqual(self.records[-1].levelname, "DEBUG")
        self.assertEqual(list(self.service.members), [])

    async def test_client_resets_during_a_write(self) -> None:
        await self.open(ws_write_limit=LIMIT)
        self.transport.is_peer_reading = False
        sending = await self.assert_waits(self.app.send(SEND_LARGE))
        self.transport.lose(ConnectionResetError())
        await turn_loop()
        self.assertIsInstance(sending.exception(), ClientDisconnected)
        await self.assert_quiet()

    async def test_client_vanishes_before_accept(self) -> None:
        await self.connect()
        self.transport.lose()
        await self.assert_receives(CONNECT, LOST)
        with self.assertRaises(ClientDisconnected) as caught:
            await self.send(ACCEPT)
        await self.app.raise_(caught.exception)
        self.assert_logged(LEFT)

    async def test_half_open_peer_is_found_within_interval_timeout_and_a_second(self) -> None:
        await self.open(ws_ping_interval=20, ws_ping_timeout=20)
        await self.advance(20)
        self.transport.feed(PEER_PING)
        for _ in range(41 * 4):
            await self.advance(0.25)
        self.assertIn(CLOSE_KEEPALIVE, self.transport.read())

    async def test_application_never_accepts(self) -> None:
        await self.connect(timeout_accept=10)
        await self.advance(10)
        self.assert_written(TOO_LATE)
        self.assertFalse(self.app.is_running)

    async def test_application_ignores_disconnect(self) -> None:
        await self.open(timeout_app=10)
        self.transport.lose()
        await self.advance(10)
        self.assertEqual((self.app.is_running, list(self.service.members)), (False, []))
        self.assertEqual(self.logged.pop()[0], "WARNING")

    async def test_sigterm(self) -> None:
        await self.open()
        stopping = await self.start(self.service.shut_down(30))
        self.assert_written(CLOSE_1012)
        self.transport.feed(PEER_CLOSE)
        self.transport.feed_eof()
        await self.app.return_()
        self.assertTrue(stopping.done())

    async def test_cancellation_while_waiting_to_receive(self) -> None:
        await self.open()
        receiving = await self.assert_waits(self.app.receive())
        receiving.cancel()
        self.transport.feed(PEER_HELLO)
        await turn_loop()
        await self.assert_receives(RECEIVED_HELLO)

    async def test_cancellation_while_waiting_for_room(self) -> None:
        await self.open(ws_write_limit=LIMIT)
        self.transport.is_peer_reading = False
        sending = await self.assert_waits(self.app.send(SEND_LARGE))
        sending.cancel()
        await turn_loop()
        self.transport.take()
        await self.send(SEND_HELLO)
        self.assert_written(LARGE, HELLO)


if __name__ == "__main__":
    unittest.main()
