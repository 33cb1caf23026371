"""`EmbeddedConnection`: the stages of a connection below a protocol that stays the transport's."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any, List

from tests.doubles import DATE, MemoryTransport, ServiceTestCase, turn_loop
from tests.loopback import CLOSE, CLOSE_1012, HELLO, PEER_CLOSE, PEER_HELLO, REQUEST, SWITCHING
from tests.requests import GET, build_page
from wsbridge.protocols.events import RequestReceived
from wsbridge.server.connection.embedded import EmbeddedConnection

HEADERS = (
    (b"Host", b"server.example.com"),
    (b"Upgrade", b"websocket"),
    (b"Connection", b"Upgrade"),
    (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"Sec-WebSocket-Version", b"13"),
)
PARSED = RequestReceived(b"GET", b"/chat", HEADERS, "1.1")
ACCEPT = {"type": "websocket.accept"}

STOPPING = (
    b"HTTP/1.1 503 Service Unavailable\r\n" + DATE + b"Retry-After: 1\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 23\r\nConnection: close\r\n\r\n"
    b"the server is stopping\n"
)
NO_KEY = (
    b"HTTP/1.1 400 Bad Request\r\n" + DATE + b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 64\r\nConnection: close\r\n\r\n"
    b"exactly one Sec-WebSocket-Key of 16 bytes in base64 is required\n"
)


class OwnedTransport(MemoryTransport):
    """A transport that keeps the protocol of its owner."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        if self.protocol is not None:
            raise AssertionError("the protocol is the owner's")
        super().set_protocol(protocol)


class EmbeddedTests(ServiceTestCase):
    def embed(self, *, half_close: bool = True, **config: Any) -> EmbeddedConnection:
        self.set_up(**config)
        self.transport = OwnedTransport(half_close=half_close)
        self.ends: List[str] = []
        connection = EmbeddedConnection(self.service, lambda: self.ends.append("over"))
        connection.connection_made(self.transport)
        self.transport.set_protocol(connection)
        return connection

    async def open(self, **options: Any) -> EmbeddedConnection:
        connection = self.embed(**options)
        self.transport.feed(REQUEST)
        await turn_loop()
        await self.app.receive()
        await self.app.send(ACCEPT)
        self.assert_written(SWITCHING)
        return connection

    async def test_bytes_of_a_head_are_answered(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO)
        self.assertEqual(await self.app.receive(), {"type": "websocket.receive", "text": "Hello"})
        await self.app.send({"type": "websocket.send", "text": "Hello"})
        self.assert_written(HELLO)

    async def test_parsed_request_is_answered_and_what_followed_it_is_received(self) -> None:
        self.embed().answer(PARSED, PEER_HELLO)
        await turn_loop()
        self.assertEqual(self.app.scope["path"], "/chat")
        await self.app.receive()
        await self.app.send(ACCEPT)
        self.assert_written(SWITCHING)
        self.assertEqual(await self.app.receive(), {"type": "websocket.receive", "text": "Hello"})

    async def test_parsed_request_that_is_no_handshake_is_refused(self) -> None:
        connection = self.embed()
        connection.answer(RequestReceived(b"GET", b"/chat", HEADERS[:3], "1.1"))
        self.assert_written(NO_KEY)
        self.assert_logged(
            (
                "INFO",
                '127.0.0.1:50000 "GET /chat" refused: 400 '
                "exactly one Sec-WebSocket-Key of 16 bytes in base64 is required",
            )
        )
        self.assert_calls("resume_reading", "write_eof")
        self.transport.feed_eof()
        await turn_loop()
        self.assertEqual(self.ends, ["over"])

    async def test_parsed_handshake_with_a_body_is_refused(self) -> None:
        self.embed().answer(
            RequestReceived(b"GET", b"/chat", (*HEADERS, (b"content-length", b"5")), "1.1"), PEER_HELLO
        )
        await turn_loop()
        self.assertTrue(self.transport.read().startswith(b"HTTP/1.1 400 Bad Request\r\n"))

    async def test_parsed_page_is_answered(self) -> None:
        self.embed().answer(RequestReceived(b"GET", b"/", HEADERS[:1], "1.1"))
        await turn_loop()
        await self.app.send({"type": "http.response.start", "status": 204})
        await self.app.send({"type": "http.response.body"})
        self.assert_written(b"HTTP/1.1 204 No Content\r\n" + DATE + b"\r\n")
        await self.app.return_()
        self.assert_calls()

    async def send_page(self, body: bytes) -> None:
        await self.app.send({"type": "http.response.start", "status": 200})
        await self.app.send({"type": "http.response.body", "body": body})
        await self.app.return_()

    async def test_pages_follow_each_other_whoever_parses_them(self) -> None:
        connection = self.embed()
        get = RequestReceived(b"GET", b"/", HEADERS[:1], "1.1")
        for page in (b"1", b"2"):
            connection.answer(get)
            await turn_loop()
            await self.send_page(page)
            self.assert_written(build_page(page))
        self.transport.feed(GET + GET)
        for page in (b"3", b"4"):
            await turn_loop()
            await self.send_page(page)
            self.assert_written(build_page(page))
        connection.answer(get)
        await turn_loop()
        await self.send_page(b"5")
        self.assert_written(build_page(b"5"))
        self.assert_calls()
        self.assertEqual(self.ends, [])

    async def test_body_of_a_parsed_request_is_received_and_never_parsed_as_a_request(self) -> None:
        # A server with a parser of its own may keep the case of the names.
        for name, value, data in (
            (b"Content-Length", b"%d" % len(GET), GET),
            (b"Transfer-Encoding", b"Chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(GET), GET)),
        ):
            connection = self.embed()
            post = RequestReceived(b"POST", b"/", [HEADERS[0], (name, value)], "1.1")
            connection.answer(post, data[:5])
            await turn_loop()
            self.transport.feed(data[5:] + GET)
            body = b""
            while True:
                event = await self.app.receive()
                body += event["body"]
                if not event["more_body"]:
                    break
            self.assertEqual(body, GET)
            await self.send_page(b"1")
            await turn_loop()
            self.assertEqual(self.app.scope["path"], "/a")
            await self.send_page(b"2")
            self.assert_written(build_page(b"1"), build_page(b"2"))
            self.transport.lose()

    async def test_body_of_a_parsed_request_whose_length_is_unclear_is_refused(self) -> None:
        for headers in (
            [(b"Content-Length", b"5"), (b"content-length", b"5")],
            [(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")],
            [(b"Content-Length", b"+5")],
            [(b"Transfer-Encoding", b"gzip, chunked")],
        ):
            connection = self.embed()
            connection.answer(RequestReceived(b"POST", b"/", [HEADERS[0], *headers], "1.1"), GET)
            await turn_loop()
            self.assertRegex(b"".join(self.transport.writes), b"(?s)^HTTP/1.1 400 .*Connection: close\r\n")
            self.assertIsNone(self.app.scope)
            self.transport.lose()

    async def test_client_of_another_protocol_is_not_told_to_continue(self) -> None:
        headers = [HEADERS[0], (b"content-length", b"5"), (b"expect", b"100-continue")]
        for version in ("1.0", "2", "3"):
            connection = self.embed()
            connection.answer(RequestReceived(b"POST", b"/", headers, version))
            await turn_loop()
            await self.start(self.app.receive())
            self.assert_written()
            self.transport.lose()
            await self.app.return_()

    async def test_connection_of_another_protocol_does_not_persist(self) -> None:
        for version in ("1.0", "2", "3"):
            connection = self.embed()
            connection.answer(RequestReceived(b"GET", b"/", HEADERS[:1], version))
            await turn_loop()
            await self.send_page(b"1")
            self.assert_written(build_page(b"1", closes=True))
            self.transport.feed_eof()
            await turn_loop()
            self.assertEqual(self.ends, ["over"])

    async def test_page_that_closes_is_over_once_the_transport_is_closed(self) -> None:
        connection = self.embed()
        connection.answer(RequestReceived(b"GET", b"/", [HEADERS[0], (b"Connection", b"close")], "1.1"))
        await turn_loop()
        await self.send_page(b"1")
        self.assert_written(build_page(b"1", closes=True))
        self.assertEqual(self.ends, [])
        self.transport.feed(GET)
        self.transport.feed_eof()
        await turn_loop()
        self.assertEqual(self.ends, ["over"])
        self.assert_written()

    async def test_idle_connection_closes_when_the_host_says_so(self) -> None:
        connection = self.embed()
        connection.answer(RequestReceived(b"GET", b"/", HEADERS[:1], "1.1"))
        await turn_loop()
        await self.send_page(b"1")
        self.clock.advance(1)
        connection.shut_down()
        self.assertIn("write_eof", self.transport.calls)
        self.assert_written(build_page(b"1"))
        self.transport.feed_eof()
        await turn_loop()
        self.assertEqual(self.ends, ["over"])

    async def test_request_on_its_way_is_the_last_when_the_host_says_so(self) -> None:
        for requests in range(2):
            connection = self.embed()
            for _ in range(requests):
                self.transport.feed(GET)
                await turn_loop()
                await self.send_page(b"1")
                self.assert_written(build_page(b"1"))
            connection.shut_down()
            self.transport.feed(GET)
            await turn_loop()
            await self.send_page(b"2")
            self.assert_written(build_page(b"2", closes=True))
            self.assertIn("write_eof", self.transport.calls)

    async def test_head_that_begins_gets_no_more_time_when_the_host_says_so(self) -> None:
        connection = self.embed(timeout_handshake=10)
        connection.answer(RequestReceived(b"GET", b"/", HEADERS[:1], "1.1"))
        await turn_loop()
        await self.send_page(b"1")
        self.assert_written(build_page(b"1"))
        connection.shut_down()
        self.transport.feed(GET[:5])
        await self.advance(1)
        self.assert_written(STOPPING)

    async def test_websocket_that_opens_when_the_host_has_said_so_is_told(self) -> None:
        connection = self.embed()
        connection.shut_down()
        self.transport.feed(REQUEST)
        await turn_loop()
        await self.app.receive()
        await self.app.send(ACCEPT)
        await turn_loop()
        self.assert_written(SWITCHING, CLOSE_1012)

    async def test_second_call_takes_no_time_from_a_request_on_its_way(self) -> None:
        for first in ("service", "connection"):
            connection = self.embed()
            connection.answer(RequestReceived(b"GET", b"/", HEADERS[:1], "1.1"))
            await turn_loop()
            if first == "service":
                await self.app.send({"type": "http.response.start", "status": 200})
                await self.app.send({"type": "http.response.body", "more_body": True})
                self.service.begin_shutdown()
                await self.app.send({"type": "http.response.body"})
                await self.app.return_()
            else:
                await self.send_page(b"1")
                connection.shut_down()
            connection.shut_down()
            self.assert_calls()
            self.transport.read()
            self.transport.feed(GET)
            await turn_loop()
            await self.send_page(b"2")
            self.assert_written(build_page(b"2", closes=True))

    async def test_response_that_runs_is_the_last_when_the_host_says_so(self) -> None:
        connection = self.embed()
        connection.answer(RequestReceived(b"GET", b"/", HEADERS[:1], "1.1"))
        await turn_loop()
        connection.shut_down()
        await self.send_page(b"1")
        self.assert_written(build_page(b"1", closes=True))
        self.transport.feed_eof()
        await turn_loop()
        self.assertEqual(self.ends, ["over"])

    async def test_loss_reaches_the_request_that_runs(self) -> None:
        connection = self.embed()
        self.transport.feed(GET + GET)
        await turn_loop()
        await self.send_page(b"1")
        await turn_loop()
        await self.app.receive()
        connection.connection_lost(None)
        self.assertEqual(await self.app.receive(), {"type": "http.disconnect"})
        self.assertEqual(self.ends, ["over"])

    async def test_request_of_a_refused_connection_is_not_answered(self) -> None:
        self.set_up()
        self.service.begin_shutdown()
        connection = EmbeddedConnection(self.service)
        connection.connection_made(self.transport)
        connection.answer(PARSED)
        self.assert_written(STOPPING)
        connection.connection_lost(None)

    async def test_request_of_a_lost_connection_is_not_answered(self) -> None:
        connection = self.embed()
        self.transport.lose()
        connection.answer(PARSED)
        connection.connection_made(self.transport)
        self.transport.protocol.data_received(REQUEST)
        self.assert_written()
        self.assertEqual(list(self.service.members), [])

    async def test_request_that_is_answered_twice_runs_one_application(self) -> None:
        connection = await self.open()
        connection.answer(PARSED)
        await turn_loop()
        self.assertEqual(len(self.service.members), 1)

    async def test_application_waits_while_the_transport_is_full(self) -> None:
        connection = await self.open()
        connection.pause_writing()
        sending = await self.start(self.app.send({"type": "websocket.send", "text": "Hello"}))
        self.assertFalse(sending.done())
        connection.resume_writing()
        await turn_loop()
        self.assertTrue(sending.done())

    async def test_end_of_the_peers_stream_is_passed_on(self) -> None:
        await self.open()
        self.transport.feed_eof()
        self.assertEqual((await self.app.receive())["code"], 1006)
        await turn_loop()
        self.assertEqual(self.ends, ["over"])

    async def test_closing_handshake_ends_it_once_the_transport_is_closed(self) -> None:
        await self.open()
        self.transport.feed(PEER_CLOSE)
        self.assert_written(CLOSE)
        self.assertEqual((await self.app.receive())["code"], 1000)
        self.assertEqual(self.ends, [])
        self.transport.feed_eof()
        await turn_loop()
        self.assertEqual(self.ends, ["over"])
        self.assertTrue(self.app.is_running)

    async def test_shutdown_closes_with_1012(self) -> None:
        connection = await self.open()
        connection.shut_down()
        self.assert_written(CLOSE_1012)

    async def test_abort_ends_it(self) -> None:
        connection = await self.open()
        connection.abort()
        await turn_loop()
        self.assertEqual((self.ends, self.app.cancellations), (["over"], 1))

    async def test_nothing_happens_after_the_end(self) -> None:
        connection = await self.open()
        self.transport.lose()
        self.transport.calls.clear()
        connection.data_received(PEER_HELLO)
        self.assertIsNone(connection.eof_received())
        connection.pause_writing()
        connection.resume_writing()
        connection.shut_down()
        connection.abort()
        connection.connection_lost(None)
        self.assert_calls()
        self.assert_written()
        self.assertEqual(self.ends, ["over"])

    async def test_transport_that_does_not_report_its_loss_is_over_after_the_deadline(self) -> None:
        # As asyncio's under TLS before Python 3.11.
        await self.open(half_close=False, timeout_close=10)
        await self.app.send({"type": "websocket.close"})
        self.assert_written(CLOSE)
        self.transport.feed(PEER_CLOSE)
        self.transport.is_lost = True
        await self.advance(1)
        self.assertEqual(self.ends, ["over"])

    async def test_owner_without_a_callback(self) -> None:
        self.set_up()
        connection = EmbeddedConnection(self.service)
        connection.connection_made(self.transport)
        connection.connection_lost(None)
        self.assertEqual(list(self.service.members), [])


if __name__ == "__main__":
    unittest.main()
