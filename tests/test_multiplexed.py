"""`RequestStream`: pages and WebSockets on streams of HTTP/2, whose other side is the test."""

from __future__ import annotations

import asyncio
import gc
import sys
import unittest
import weakref
from typing import Any, Dict, List, Tuple
from unittest import main, mock

from tests.doubles import ServiceTestCase, turn_loop
from wsbridge import RequestStream
from wsbridge.protocols.errors import ClientDisconnected
from wsbridge.server.service import Service

from .loopback import CLOSE, CLOSE_1012, HELLO, PEER_CLOSE, PEER_HELLO
from .test_tls import NO_SSL

try:
    import ssl
except ImportError:
    ssl = None  # type: ignore[assignment]

Event = Dict[str, Any]
Field = Tuple[bytes, bytes]

GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/page?b")]
POST = [(b":method", b"POST"), *GET[1:]]
# RFC 8441 5.1: the example.
CONNECT = [
    *((b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"https"), (b":path", b"/chat")),
    *((b":authority", b"server.example.com"), (b"sec-websocket-version", b"13")),
]
DATE = (b"date", b"Sun, 06 Nov 1994 08:49:37 GMT")
OK = [(b":status", b"200"), DATE]
TEXT = (b"content-type", b"text/plain; charset=utf-8")

START: Event = {"type": "http.response.start", "status": 200}
BODY: Event = {"type": "http.response.body", "body": b"hi"}
PART: Event = {**BODY, "more_body": True}
DISCONNECT: Event = {"type": "http.disconnect"}
ACCEPT: Event = {"type": "websocket.accept"}
SEND_HELLO: Event = {"type": "websocket.send", "text": "Hello"}
LOST: Event = {"type": "websocket.disconnect", "code": 1006, "reason": ""}

EMPTY_LENGTH = (b"content-length", b"2")
LIMIT = 64 * 1024

# Whether objects are freed as soon as nothing refers to them.
HAS_COUNTS = sys.implementation.name == "cpython"


def request(body: bytes, more: bool) -> Event:
    return {"type": "http.request", "body": body, "more_body": more}


class MemoryStream(RequestStream):
    """Keeps what is sent, frame by frame."""

    def __init__(self, service: Service, connection: asyncio.BaseTransport) -> None:
        over: List[None] = []
        super().__init__(service, connection, lambda: over.append(None))
        self.over = over
        self.sent: List[Any] = []
        self.room = 1 << 20
        self.acknowledged = 0

    def send_headers(self, fields: List[Field]) -> None:
        self.sent.append(fields)

    def send_data(self, data: bytes, is_last: bool) -> None:
        self.sent.append((data, "END_STREAM") if is_last else data)
        self.room -= len(data)

    def send_reset(self, is_complete: bool) -> None:
        self.sent.append("NO_ERROR" if is_complete else "CANCEL")

    def get_room(self) -> int:
        return self.room

    def acknowledge(self, size: int) -> None:
        self.acknowledged += size


class StreamCase(ServiceTestCase):
    async def asyncTearDown(self) -> None:
        self.stream.lose(None)
        await super().asyncTearDown()

    async def answer(self, fields: List[Field], **config: Any) -> None:
        self.set_up(**config)
        await self.open(fields)

    async def open(self, fields: List[Field]) -> None:
        self.stream = MemoryStream(self.service, self.transport)
        self.stream.answer(iter(fields))
        await turn_loop()

    async def respond(self, *events: Event) -> None:
        for event in events:
            await self.app.send(event)
        await turn_loop()

    def assert_sent(self, *expected: Any) -> None:
        self.assertEqual(self.stream.sent, list(expected))
        self.stream.sent.clear()

    async def assert_over(self) -> None:
        await turn_loop()
        self.assertEqual(len(self.stream.over), 1)
        await self.app.return_()
        self.assertEqual(list(self.service.members), [])

    async def assert_refused(self, fields: List[Field], status: bytes, text: bytes, *headers: Field) -> None:
        self.stream = MemoryStream(self.service, self.transport)
        self.stream.answer(fields)
        head, (body, end) = self.stream.sent
        self.assertEqual(head[0], (b":status", status))
        for header in headers:
            self.assertIn(header, head)
        self.assertEqual((text in body, end), (True, "END_STREAM"), body)
        self.assertFalse(self.app.is_running)


class PageTests(StreamCase):
    async def test_page_is_answered_by_headers_and_data(self) -> None:
        await self.answer(GET)
        self.stream.receive_eof()
        self.assertEqual(await self.app.receive(), request(b"", False))
        await self.respond(START, BODY)
        self.assert_sent([*OK, EMPTY_LENGTH], (b"hi", "END_STREAM"))
        self.assert_logged(("INFO", '127.0.0.1:50000 "GET /page" 200'))
        self.assertEqual(await self.app.receive(), DISCONNECT)
        await self.assert_over()

    @unittest.skipIf(ssl is None, NO_SSL)
    async def test_scope_of_a_connection_under_tls_has_the_extension(self) -> None:
        self.set_up()
        ssl_object = mock.Mock(**{"version.return_value": "TLSv1.3", "cipher.return_value": None})
        ssl_object.getpeercert.return_value = None
        self.transport.extra.update(sslcontext=ssl_object.context, ssl_object=ssl_object)
        await self.open(GET)
        self.assertEqual(self.app.scope["scheme"], "https")
        # RFC 8446 4.2.1.
        self.assertEqual(self.app.scope["extensions"]["tls"]["tls_version"], 0x0304)

    async def test_scope_is_that_of_http_2(self) -> None:
        await self.answer([*GET, (b"a", b"b")])
        scope = self.app.scope
        self.assertEqual((scope["type"], scope["http_version"], scope["scheme"]), ("http", "2", "http"))
        self.assertEqual((scope["path"], scope["query_string"]), ("/page", b"b"))
        self.assertEqual(scope["headers"], [(b"host", b"a"), (b"a", b"b")])
        self.assertEqual(scope["client"], ("127.0.0.1", 50000))

    async def test_body_comes_part_by_part(self) -> None:
        await self.answer(POST)
        receiving = await self.start(self.app.receive())
        self.stream.receive_data(b"a")
        self.assertEqual(await receiving, request(b"a", True))
        self.stream.receive_data(b"b")
        self.stream.receive_eof()
        self.assertEqual(await self.app.receive(), request(b"b", False))

    async def test_end_of_the_request_is_not_that_of_its_client(self) -> None:
        await self.answer(GET)
        self.stream.receive_eof()
        self.stream.receive_eof()
        await self.app.receive()
        receiving = await self.start(self.app.receive())
        await self.respond(START, PART)
        await self.advance(100)
        self.assertFalse(receiving.done())
        await self.respond(BODY)
        self.assertEqual(await receiving, DISCONNECT)

    async def test_head_of_a_quiet_response_leaves_by_the_next_sweep(self) -> None:
        await self.answer(GET)
        await self.respond(START)
        self.assert_sent()
        await self.advance(0.25)
        self.assert_sent(OK)
        await self.respond(BODY)
        self.assertEqual(self.stream.sent[0], (b"hi", "END_STREAM"))

    async def test_response_before_the_end_of_the_request_stops_the_client(self) -> None:
        await self.answer(POST)
        self.stream.receive_data(b"a")
        await self.respond(START, PART, BODY)
        # RFC 9113 8.1: NO_ERROR behind a complete response.
        self.assert_sent(OK, b"hi", (b"hi", "END_STREAM"), "NO_ERROR")
        self.stream.receive_data(b"b")
        self.stream.receive_eof()
        self.assertEqual(self.stream.acknowledged, 2)
        await self.assert_over()

    async def test_client_that_expects_100_gets_it_when_the_body_is_asked_for(self) -> None:
        await self.answer([*POST, (b"expect", b"100-continue")])
        self.assert_sent()
        await self.start(self.app.receive())
        self.assert_sent([(b":status", b"100")])

    async def test_reset_is_the_disconnect(self) -> None:
        await self.answer(GET)
        await self.respond(START, PART)
        self.stream.sent.clear()
        self.stream.receive_data(b"a")
        self.stream.lose(ConnectionResetError())
        self.assertEqual(await self.app.receive(), request(b"a", True))
        self.assertEqual(await self.app.receive(), DISCONNECT)
        await self.respond(BODY)
        self.stream.flush()
        self.assert_sent()
        await self.assert_over()

    async def test_stream_that_is_lost_while_its_window_is_closed_frees_the_sender(self) -> None:
        await self.answer(GET, ws_write_limit=4)
        self.stream.room = 0
        await self.respond(START)
        sending = await self.start(self.app.send({**PART, "body": b"123456789"}))
        self.stream.lose(ConnectionResetError())
        self.stream.flush()
        await turn_loop()
        self.assertTrue(sending.done())
        await self.assert_over()

    async def test_response_that_cannot_be_completed_is_reset(self) -> None:
        await self.answer(GET)
        await self.respond(START, PART)
        await self.app.return_()
        # RFC 8441 5: CANCEL is what a reset is in TCP.
        self.assert_sent(OK, b"hi", "CANCEL")
        self.logged = [line for line in self.logged if line[0] != "ERROR"]
        await self.assert_over()

    async def test_application_that_returns_without_a_response_is_500(self) -> None:
        await self.answer(GET)
        await self.app.return_()
        self.assertEqual(self.stream.sent[0][0], (b":status", b"500"))
        self.assertEqual(self.stream.sent[1:], [(self.stream.sent[1][0], "END_STREAM"), "NO_ERROR"])
        self.logged.clear()

    async def test_send_waits_for_the_window(self) -> None:
        await self.answer(GET, ws_write_limit=8)
        self.stream.receive_eof()
        self.stream.room = 3
        await self.respond(START)
        sending = await self.start(self.app.send({**PART, "body": b"123456789abc"}))
        self.assert_sent(OK, b"123")
        self.stream.room = 6
        self.stream.flush()
        await turn_loop()
        self.assertEqual((sending.done(), self.stream.get_write_buffer_size()), (False, 3))
        # A quarter of the limit is left: room enough to go on.
        self.stream.room = 1
        self.stream.flush()
        await turn_loop()
        self.assertTrue(sending.done())
        self.assert_sent(b"456789", b"a")

    async def test_window_may_be_negative(self) -> None:
        """RFC 9113 6.9.2: where the peer has reduced the size of all windows."""
        await self.answer(GET)
        self.stream.room = -1
        await self.respond(START, BODY)
        self.assert_sent([*OK, EMPTY_LENGTH])
        self.stream.room = 2
        self.stream.flush()
        self.assert_sent((b"hi", "END_STREAM"))

    async def test_what_is_unsent_leaves_before_the_end(self) -> None:
        await self.answer(GET)
        self.stream.receive_eof()
        self.stream.room = 0
        await self.respond(START, BODY)
        self.assert_sent([*OK, EMPTY_LENGTH])
        self.assertEqual(len(self.stream.over), 0)
        self.stream.room = 1
        self.stream.flush()
        self.assert_sent(b"h")
        self.stream.room = 1
        self.stream.flush()
        self.assert_sent((b"i", "END_STREAM"))
        await self.assert_over()

    async def test_peer_that_never_opens_its_window_is_reset(self) -> None:
        await self.answer(GET)
        self.stream.receive_eof()
        self.stream.room = 0
        await self.respond(START, BODY)
        await self.advance(30)
        await self.advance(30)
        self.assert_sent([*OK, EMPTY_LENGTH], "CANCEL")
        await self.assert_over()

    async def test_body_is_acknowledged_as_the_application_takes_it(self) -> None:
        await self.answer(POST)
        self.stream.receive_data(b"a", 10)
        self.assertEqual(self.stream.acknowledged, 10)
        self.stream.receive_data(bytes(LIMIT))
        self.stream.receive_data(bytes(5))
        self.assertEqual(self.stream.acknowledged, 10)
        await self.app.receive()
        self.assertEqual(self.stream.acknowledged, 15 + LIMIT)

    async def test_what_nobody_takes_is_acknowledged_at_the_end(self) -> None:
        await self.answer(POST)
        self.stream.receive_data(bytes(LIMIT))
        self.assertEqual(self.stream.acknowledged, 0)
        self.stream.lose(None)
        self.assertEqual(self.stream.acknowledged, LIMIT)

    async def test_what_nobody_takes_is_acknowledged_while_the_response_waits_for_the_window(self) -> None:
        await self.answer(POST)
        self.stream.receive_data(bytes(LIMIT))
        self.stream.room = 0
        await self.respond(START, BODY)
        self.stream.receive_data(b"a")
        self.assertEqual(self.stream.acknowledged, LIMIT + 1)

    async def test_padding_alone_is_acknowledged(self) -> None:
        await self.answer(POST)
        self.stream.receive_data(b"", 7)
        self.assertEqual(self.stream.acknowledged, 7)

    async def test_stream_that_is_over_is_freed_without_the_collector_of_cycles(self) -> None:
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        await self.answer(GET)
        self.stream.receive_eof()
        await self.respond(START, BODY)
        await self.assert_over()
        stream = weakref.ref(self.stream)
        await self.open(GET)
        # An application that keeps `send` keeps no stream.
        self.assertIsNone(stream() if HAS_COUNTS else None)


class WebSocketTests(StreamCase):
    async def accept(self, **config: Any) -> None:
        await self.answer(CONNECT, **config)
        await self.app.receive()
        await self.respond(ACCEPT)
        self.assert_sent(OK)
        self.logged.clear()

    async def test_accept_is_a_200_and_messages_are_frames(self) -> None:
        await self.answer(CONNECT)
        self.assertEqual(await self.app.receive(), {"type": "websocket.connect"})
        await self.respond(ACCEPT)
        self.assert_logged(("INFO", '127.0.0.1:50000 "websocket /chat" 200'))
        self.stream.receive_data(PEER_HELLO)
        self.assertEqual(await self.app.receive(), {"type": "websocket.receive", "text": "Hello"})
        await self.respond(SEND_HELLO)
        self.assert_sent(OK, HELLO)
        self.assertEqual((self.app.scope["http_version"], self.app.scope["scheme"]), ("2", "ws"))

    async def test_both_closes_are_followed_by_both_ends(self) -> None:
        await self.accept()
        self.stream.receive_data(PEER_CLOSE)
        self.assert_sent(CLOSE, (b"", "END_STREAM"))
        self.stream.receive_eof()
        await self.assert_over()
        self.assert_sent()

    async def test_client_that_does_not_end_its_side_is_stopped(self) -> None:
        await self.accept()
        self.stream.receive_data(PEER_CLOSE)
        self.stream.sent.clear()
        await self.advance(0.7)
        self.assert_sent("NO_ERROR")
        await self.assert_over()

    async def test_answer_that_is_owed_leaves_behind_the_clients_end(self) -> None:
        await self.accept()
        self.stream.receive_data(PEER_HELLO + PEER_CLOSE)
        self.stream.receive_eof()
        self.assertEqual((await self.app.receive())["type"], "websocket.receive")
        await self.respond(SEND_HELLO)
        await self.app.return_()
        self.assert_sent(HELLO, CLOSE, (b"", "END_STREAM"))

    async def test_end_without_a_close_is_1006(self) -> None:
        await self.accept()
        self.stream.receive_eof()
        self.assertEqual(await self.app.receive(), LOST)
        self.assert_sent((b"", "END_STREAM"))
        await self.assert_over()

    async def test_reset_is_1006(self) -> None:
        await self.accept()
        self.stream.lose(ConnectionResetError())
        self.assertEqual(await self.app.receive(), LOST)
        with self.assertRaises(ClientDisconnected):
            await self.app.send(SEND_HELLO)
        self.assert_sent()
        await self.assert_over()

    async def test_reset_before_the_accept_is_1006(self) -> None:
        await self.answer(CONNECT)
        await self.app.receive()
        self.stream.lose(ConnectionResetError())
        with self.assertRaises(ClientDisconnected):
            await self.app.send(ACCEPT)
        self.assert_sent()

    async def test_close_before_the_accept_is_403(self) -> None:
        await self.answer(CONNECT)
        await self.respond({"type": "websocket.close"})
        head, body = self.stream.sent
        self.assertEqual(head[:3], [(b":status", b"403"), DATE, TEXT])
        self.assertEqual(body, (b"the application did not accept the connection\n", "END_STREAM"))
        self.stream.receive_eof()
        await self.assert_over()

    async def test_denial_is_a_response(self) -> None:
        await self.answer(CONNECT)
        await self.respond({"type": "websocket.http.response.start", "status": 401})
        await self.respond({"type": "websocket.http.response.body", "body": b"no", "more_body": True})
        await self.respond({"type": "websocket.http.response.body", "body": b"pe"})
        self.assert_sent([(b":status", b"401"), DATE], b"no", (b"pe", "END_STREAM"))

    async def test_server_that_stops_closes_with_1012(self) -> None:
        await self.accept()
        self.service.begin_shutdown()
        self.assert_sent(CLOSE_1012)
        self.stream.receive_data(PEER_CLOSE)
        self.stream.receive_eof()
        self.assert_sent((b"", "END_STREAM"))
        await self.assert_over()

    async def test_abort_resets_once(self) -> None:
        await self.accept()
        self.service.abort()
        self.stream.abort()
        self.stream.close()
        self.stream.write(b"a")
        self.stream.write_headers(200, [])
        self.stream.flush()
        await turn_loop()
        self.assert_sent("CANCEL")
        await self.assert_over()

    async def test_limits_of_asgi_transports_are_the_default(self) -> None:
        await self.accept()
        self.stream.set_write_buffer_limits()
        self.stream.room = 0
        self.stream.write(bytes(LIMIT - len(HELLO)))
        sending = [await self.start(self.app.send(SEND_HELLO)) for _ in range(2)]
        self.assertEqual([task.done() for task in sending], [True, False])
        # Until a quarter is left, or less.
        for room, is_done in ((LIMIT * 3 // 4 + len(HELLO) - 1, False), (5, True)):
            self.stream.room = room
            self.stream.flush()
            await turn_loop()
            self.assertEqual(sending[1].done(), is_done)

    async def test_protocol_and_addresses_are_those_of_a_transport(self) -> None:
        await self.accept()
        self.assertIsNotNone(self.stream.get_protocol())
        self.assertEqual(self.stream.get_extra_info("sockname"), ("127.0.0.1", 8000))
        self.assertEqual(self.stream.get_extra_info("none", 5), 5)


class RefusalTests(StreamCase):
    async def test_malformed_request_is_400(self) -> None:
        self.set_up()
        await self.assert_refused(GET[:3], b"400", b":path")
        self.assert_logged(("INFO", "127.0.0.1:50000 refused: 400 missing :path or :scheme"))
        self.stream.receive_eof()
        await self.assert_over()
        self.assertNotIn("NO_ERROR", self.stream.sent)

    async def test_refused_websocket_is_logged_with_its_path(self) -> None:
        self.set_up()
        await self.assert_refused(CONNECT[:-1], b"400", b"Version")
        line = '127.0.0.1:50000 "CONNECT /chat" refused: 400 Sec-WebSocket-Version is required'
        self.assert_logged(("INFO", line))

    async def test_wrong_version_and_malformed_offers_are_400(self) -> None:
        self.set_up()
        version = (b"sec-websocket-version", b"12")
        await self.assert_refused([*CONNECT[:-1], version], b"400", b"13", (version[0], b"13"))
        self.stream.lose(None)
        offer = (b"sec-websocket-extensions", b"a;;b")
        await self.assert_refused([*CONNECT, offer], b"400", b"Extensions")

    async def test_origin_that_is_not_allowed_is_403(self) -> None:
        self.set_up(allowed_origins=("same-origin",))
        await self.assert_refused([*CONNECT, (b"origin", b"https://b.example")], b"403", b"Origin")

    async def test_limits_of_the_configuration_hold(self) -> None:
        self.set_up(limit_request_line=16, limit_request_fields=4)
        await self.assert_refused([*GET[:3], (b":path", b"/" * 17)], b"414", b":path")
        self.stream.lose(None)
        await self.assert_refused([*GET, (b"a", b"b")], b"431", b"limit")

    async def test_full_or_stopping_server_is_503(self) -> None:
        self.set_up(limit_concurrency=1)
        await self.open(GET)
        first = self.stream
        self.stream = MemoryStream(self.service, self.transport)
        self.stream.answer(GET)
        self.assertEqual(self.stream.sent[0][0], (b":status", b"503"))
        self.stream.lose(None)
        first.lose(None)
        await self.app.return_()
        self.service.begin_shutdown()
        await self.assert_refused([(b":method", b"POST"), *GET[1:]], b"503", b"stopping")

    async def test_full_and_stopping_server_answers_health_checks(self) -> None:
        check = [*GET[:3], (b":path", b"/healthz?a")]
        self.set_up(limit_concurrency=1, health_path="/healthz", metrics_path="/metrics")
        await self.open(GET)
        first = self.stream
        for status, body in ((b"200", b"ok\n"), (b"503", b"stopping\n")):
            await self.open(check)
            self.assertEqual(self.stream.sent[0][:2], [(b":status", status), DATE])
            self.assertNotIn(b"connection", dict(self.stream.sent[0]))
            self.assertEqual(self.stream.sent[1], (body, "END_STREAM"))
            self.stream = MemoryStream(self.service, self.transport)
            self.stream.answer(GET)
            self.assertEqual(self.stream.sent[0][0], (b":status", b"503"))
            self.service.begin_shutdown()
        first.lose(None)
        assert self.service.metrics is not None
        metrics = self.service.metrics.collect()
        self.assertEqual(metrics['wsbridge_http_requests_total{method="GET",code="503"}'], 2)

    async def test_health_path_opens_no_websocket(self) -> None:
        """In HTTP/2 a 200 would."""
        await self.answer([*CONNECT[:3], (b":path", b"/healthz"), *CONNECT[4:]], health_path="/healthz")
        self.assertEqual(self.stream.sent[0][0], (b":status", b"404"))

    async def test_refusal_of_a_head_has_no_body(self) -> None:
        self.set_up()
        await self.open([(b":method", b"HEAD")])
        self.assertEqual(self.stream.sent[1:], [(b"", "END_STREAM"), "NO_ERROR"])


if __name__ == "__main__":
    main()
