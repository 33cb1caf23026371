"""Many requests on one connection: what follows what, and how each of them ends the rest."""

from __future__ import annotations

import contextvars
import unittest
from typing import Any, Dict, List

from tests.doubles import DATE, MemoryTransport, turn_loop
from tests.loopback import HELLO, PEER_HELLO, REQUEST, SWITCHING
from tests.requests import END, GET, LAST, PART, POST, START, WHOLE, HttpCase, build_page
from wsbridge.protocols.errors import EventError, StateError
from wsbridge.server.connection.head import Connection

NAME = contextvars.ContextVar("NAME", default="nobody")


def build_get(path: bytes) -> bytes:
    return GET.replace(b"/a", path)


class PersistenceTests(HttpCase):
    """RFC 9112 9.3: when a connection persists."""

    async def test_connection_answers_one_request_after_another(self) -> None:
        self.connect()
        for path in (b"/1", b"/2", b"/3"):
            await self.feed(build_get(path))
            await self.respond(path)
            self.assert_written(build_page(path))
        self.assertEqual(self.paths, ["/1", "/2", "/3"])
        self.assert_calls()

    async def test_request_to_close_is_the_last(self) -> None:
        for line in (
            b"Connection: close",
            b"Connection: te, close",
            b"connection: Keep-Alive, CLOSE",
            b"Connection: a\r\nConnection: close",
        ):
            self.connect()
            await self.feed(GET[:-2] + line + b"\r\n\r\n" + GET)
            await self.respond()
            self.assert_written(build_page(closes=True))
            await self.assert_closes()
            self.assertEqual(len(self.requests.all), 1)
            self.requests.all.clear()

    async def test_application_may_close(self) -> None:
        self.connect()
        await self.feed(GET + GET)
        await self.respond(b"hi", (b"Connection", b"close"))
        self.assert_written(build_page(closes=True))
        await self.assert_closes()
        self.assertEqual(len(self.requests.all), 1)

    async def test_http_1_0_closes_whatever_it_asks_for(self) -> None:
        for line in (b"", b"Connection: keep-alive\r\n"):
            self.connect()
            await self.feed(b"GET /a HTTP/1.0\r\n" + line + b"\r\n" + GET)
            await self.respond()
            self.assert_written(build_page(closes=True))
            await self.assert_closes()

    async def test_http_1_0_may_follow_http_1_1(self) -> None:
        self.connect()
        await self.feed(GET + b"POST /a HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello")
        await self.respond()
        await turn_loop()
        self.assertEqual(await self.receive_body(), [b"hello"])
        await self.start_response()
        await self.last.send(END)
        head = b"HTTP/1.1 200 OK\r\n" + DATE + b"Connection: close\r\n\r\n"
        self.assert_written(build_page(), head + b"hi")
        await self.assert_closes()

    async def test_last_of_the_allowed_requests_closes(self) -> None:
        self.connect(limit_keep_alive_requests=3)
        await self.feed(GET * 4)
        for is_last in (False, False, True):
            await self.respond()
            await turn_loop()
            self.assert_written(build_page(closes=is_last))
        await self.assert_closes()
        self.assertEqual(len(self.requests.all), 3)

    async def test_one_allowed_request_is_the_last(self) -> None:
        self.connect(limit_keep_alive_requests=1)
        await self.feed(GET)
        await self.respond()
        self.assert_written(build_page(closes=True))
        await self.assert_closes()

    async def test_header_lines_that_repeat_those_of_the_last_request(self) -> None:
        self.connect()
        cookie = b"Cookie: " + b"a" * 5000 + b"\r\n"
        for lines in (b"", b"A: b\r\n", b"A: b\r\n", b"A: b\r\nA: c\r\n", b"", cookie, cookie, b"a: B\r\n"):
            await self.feed(build_get(b"/c")[:-2] + lines + b"\r\n")
            pairs = [tuple(line.split(b": ")) for line in lines.splitlines()]
            headers = [(b"host", b"b"), *((name.lower(), value) for name, value in pairs)]
            self.assertEqual((self.last.scope["path"], self.last.scope["headers"]), ("/c", headers))
            # What an application does to its scope is its own affair.
            self.last.scope["headers"].clear()
            await self.respond()

    async def test_repeated_header_lines_count_towards_the_limits_of_a_head(self) -> None:
        get = GET[:-2] + b"A: " + b"b" * 64 + b"\r\n\r\n"
        for spare, statuses in ((0, [200, 431]), (1, [200, 200, 431])):
            self.connect(limit_request_head=len(get) + spare)
            written = []
            for at, status in enumerate(statuses):
                await self.feed(get.replace(b"/a", b"/a" + b"c" * at))
                if status == 200:
                    await self.respond()
                written.append(int(self.transport.read()[9:12]))
            self.assertEqual(written, statuses)

    async def test_host_that_is_left_out_of_a_later_request_is_400(self) -> None:
        self.connect()
        await self.feed(GET + b"GET /a HTTP/1.1\r\n\r\n")
        await self.respond()
        await turn_loop()
        self.assertRegex(self.transport.read(), b"(?s)HTTP/1.1 400 Bad Request.*no Host header\n$")

    async def test_bare_line_between_two_requests_is_ignored(self) -> None:
        # RFC 9112 2.2: "SHOULD ignore at least one empty line (CRLF) received prior to the request-line".
        self.connect()
        await self.feed(POST + b"hello\r\n" + GET)
        await self.respond()
        await turn_loop()
        await self.respond()
        self.assert_written(build_page(), build_page())

    async def test_refusal_of_a_later_request_closes(self) -> None:
        self.connect()
        await self.feed(GET + b"\0" + GET)
        await self.respond()
        await turn_loop()
        first, refusal = self.transport.writes
        self.assertEqual(first, build_page())
        self.assertRegex(refusal, b"(?s)^HTTP/1.1 400 .*Connection: close\r\n")
        self.transport.read()
        await self.assert_closes()
        self.assertEqual(len(self.requests.all), 1)

    async def test_refusal_of_any_method_but_head_has_a_body(self) -> None:
        for method in (b"GET", b"HEAD", b"HEAE", b"OPTIONS", b"POST"):
            self.connect()
            await self.feed(method + b" / HTTP/1.1\r\n\r\n")
            self.assertEqual(self.transport.read().endswith(b"no Host header\n"), method != b"HEAD")

    async def test_refused_upgrade_closes(self) -> None:
        self.connect(allowed_origins=("https://a.example",))
        await self.feed(GET + REQUEST[:-2] + b"Origin: https://b.example\r\n\r\n" + GET)
        await self.respond()
        await turn_loop()
        self.assertRegex(self.transport.read(), b"(?s)HTTP/1.1 403 .*Connection: close\r\n")
        await self.assert_closes()
        self.assertEqual(len(self.requests.all), 1)


class FramingTests(HttpCase):
    """The client must know where each response ends."""

    async def test_response_without_content_is_followed_by_another(self) -> None:
        self.connect()
        for status, phrase in ((204, b"No Content"), (304, b"Not Modified")):
            await self.feed(GET)
            await self.respond(b"dropped", status=status)
            self.assert_written(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, phrase, DATE))
        await self.assert_goes_on()

    async def test_response_to_head_is_followed_by_another(self) -> None:
        self.connect()
        head = GET.replace(b"GET", b"HEAD")
        await self.feed(head)
        await self.respond()
        self.assert_written(build_page()[:-2])
        await self.feed(head)
        await self.start_response((b"content-length", b"1000"))
        await self.last.send(END)
        self.assert_written(b"HTTP/1.1 200 OK\r\n" + DATE + b"content-length: 1000\r\n\r\n")
        await self.feed(head)
        await self.start_response()
        await self.last.send(END)
        self.assert_written(b"HTTP/1.1 200 OK\r\n" + DATE + b"Transfer-Encoding: chunked\r\n\r\n")
        await self.assert_goes_on()

    async def test_response_in_parts_is_followed_by_another(self) -> None:
        self.connect()
        await self.feed(GET)
        await self.start_response()
        await self.last.send(END)
        head = b"HTTP/1.1 200 OK\r\n" + DATE + b"Transfer-Encoding: chunked\r\n\r\n"
        self.assert_written(head + b"2\r\nhi\r\n", b"0\r\n\r\n")
        await self.assert_goes_on()

    async def assert_broken(self, error: Any, length: bytes, *parts: Dict[str, Any]) -> None:
        """The last of ``parts`` breaks the Content-Length, and the application lets ``error`` out."""
        self.connect()
        await self.feed(GET + GET)
        await self.last.send({**START, "headers": [(b"content-length", length)]})
        for part in parts[:-1]:
            await self.last.send(part)
        with self.assertRaises(EventError) as caught:
            await self.last.send(parts[-1])
        await (self.last.raise_(caught.exception) if error else self.last.return_())

    async def test_content_length_that_is_broken_at_once_is_500(self) -> None:
        for length in (b"1", b"3"):
            for error in (True, False):
                await self.assert_broken(error, length, WHOLE)
                written = self.transport.read()
                self.assertRegex(written, b"(?s)^HTTP/1.1 500 .*Connection: close\r\n")
                self.assertEqual(written.count(b"HTTP/1.1"), 1)
                self.logged.clear()
                await self.assert_closes()
        self.assertEqual(len(self.requests.all), 4)

    async def test_content_length_that_is_broken_later_aborts_the_connection(self) -> None:
        head = b"HTTP/1.1 200 OK\r\n" + DATE + b"content-length: 3\r\n\r\nhi"
        for parts in ([PART, PART], [PART, WHOLE], [PART, END]):
            for error in (True, False):
                await self.assert_broken(error, b"3", *parts)
                self.assertEqual(self.transport.read(), head)
                self.logged.clear()
                await self.assert_cut()
        self.assertEqual(len(self.requests.all), 6)

    async def test_response_that_is_half_sent_is_followed_by_nothing(self) -> None:
        self.connect()
        await self.feed(GET + GET)
        await self.start_response()
        await self.last.return_()
        self.assertTrue(self.transport.read().endswith(b"\r\n2\r\nhi\r\n"))
        await self.assert_cut()
        self.assertEqual(len(self.requests.all), 1)
        self.assert_logged(
            ("ERROR", "application returned before its response was complete"),
            ("INFO", '127.0.0.1:50000 "GET /a" 200'),
        )


class PipelineTests(HttpCase):
    """RFC 9112 9.3.2: requests that come before the last one is answered."""

    async def test_requests_are_answered_in_order_and_one_at_a_time(self) -> None:
        self.connect()
        await self.feed(build_get(b"/1") + POST + b"hello" + build_get(b"/3"))
        for paths in (["/1"], ["/1", "/a"], ["/1", "/a", "/3"]):
            self.assertEqual(self.paths, paths)
            path = paths[-1].encode()
            await self.respond(path)
            self.assert_written(build_page(path))
            await turn_loop()
        await self.assert_goes_on()

    async def test_requests_in_two_pieces_at_every_split_point(self) -> None:
        data = build_get(b"/1") + POST + b"hello" + build_get(b"/3")
        for at in range(1, len(data)):
            self.connect()
            self.requests.all.clear()
            await self.feed(data[:at])
            count = len(self.requests.all)
            if count:
                await self.respond()
            await self.feed(data[at:])
            for _ in range(3 - count):
                await self.respond()
                await turn_loop()
            self.assertEqual(self.paths, ["/1", "/a", "/3"])
            self.assert_written(*[build_page()] * 3)

    async def test_requests_one_byte_at_a_time(self) -> None:
        self.connect()
        await self.feed(*[bytes([byte]) for byte in GET * 2])
        await self.respond()
        await turn_loop()
        await self.respond()
        self.assert_written(build_page(), build_page())

    async def test_reading_pauses_at_64_kib_behind_the_request(self) -> None:
        self.connect()
        await self.feed(GET, bytes(64 * 1024 - 1))
        self.assertFalse(self.transport.is_reading_paused)
        await self.feed(b"\0")
        self.assertTrue(self.transport.is_reading_paused)
        await self.respond()
        self.assertFalse(self.transport.is_reading_paused)
        await turn_loop()
        self.assertTrue(self.transport.read().startswith(build_page() + b"HTTP/1.1 400 "))

    async def test_reading_goes_on_although_a_sweep_comes_before_the_held_request(self) -> None:
        self.connect()
        # Behind the second request too little is held for another pause.
        await self.feed(GET + POST.replace(b" 5", b" 9000") + bytes(9000) + GET * 2100)
        self.assertTrue(self.transport.is_reading_paused)
        await self.last.send(START)
        await self.last.send(WHOLE)
        self.service.sweep()
        await turn_loop()
        self.assertEqual(len(self.requests.all), 2)
        self.assertFalse(self.transport.is_reading_paused)

    async def test_reading_pauses_at_64_kib_behind_the_body(self) -> None:
        self.connect()
        await self.feed(POST + b"hello" + bytes(64 * 1024 + 1))
        self.assertEqual(await self.receive_body(), [b"hello"])
        self.assertTrue(self.transport.is_reading_paused)
        await self.respond()
        self.assertFalse(self.transport.is_reading_paused)

    async def test_thousand_requests_in_one_piece(self) -> None:
        self.connect()
        await self.feed(GET * 999)
        for _ in range(999):
            await self.respond()
            await turn_loop()
        self.assertEqual(self.transport.read(), build_page() * 999)
        await self.assert_closes_after_last()

    async def assert_closes_after_last(self) -> None:
        await self.feed(GET)
        await self.respond()
        self.assertEqual(self.transport.read(), build_page(closes=True))

    async def test_peer_that_does_not_read_gets_no_further_response(self) -> None:
        self.connect(ws_write_limit=100)
        self.transport.is_peer_reading = False
        await self.feed(GET * 3)
        app = self.last
        await app.send(START)
        sending = await self.start(app.send({**WHOLE, "body": bytes(200)}))
        self.assertFalse(sending.done())
        await turn_loop()
        self.assertEqual(len(self.requests.all), 1)
        self.transport.take()
        await turn_loop()
        self.assertTrue(sending.done())
        self.assertEqual(len(self.requests.all), 2)

    async def test_tasks_that_send_at_once_while_the_peer_does_not_read(self) -> None:
        self.connect(ws_write_limit=100)
        self.transport.is_peer_reading = False
        await self.feed(GET)
        await self.last.send(START)
        part = {**PART, "body": bytes(200)}
        sending = [await self.start(self.last.send(event)) for event in (part, part, END)]
        self.assertEqual([task.done() for task in sending], [False] * 3)
        self.transport.take()
        await turn_loop()
        self.assertEqual([task.done() for task in sending], [True] * 3)
        written = self.transport.read().partition(b"\r\n\r\n")[2]
        self.assertEqual(written, (b"c8\r\n" + bytes(200) + b"\r\n") * 2 + b"0\r\n\r\n")
        await self.assert_goes_on()

    async def test_peer_that_takes_less_than_is_added_still_takes_something(self) -> None:
        self.connect(ws_write_limit=100, timeout_write=30)
        self.transport.is_peer_reading = False
        await self.feed(GET)
        await self.last.send(START)
        part = {**PART, "body": bytes(1000)}
        await self.start(self.last.send(part))
        await self.advance(1)
        for _ in range(3):
            await self.start(self.last.send(part))
            self.transport.take(900)
            await self.advance(29)
        self.assertNotIn("abort", self.transport.calls)
        await self.advance(30)
        self.assertIn("abort", self.transport.calls)
        self.assertRegex(self.logged.pop()[1], "timeout_write")

    async def test_half_closed_client_gets_an_answer_to_each_of_its_requests(self) -> None:
        self.connect()
        await self.feed(build_get(b"/1") + POST + b"hello" + build_get(b"/3"))
        await self.feed_eof()
        for is_last in (False, False, True):
            await self.respond()
            await turn_loop()
            self.assert_written(build_page(closes=is_last))
        self.assertEqual(self.paths, ["/1", "/a", "/3"])
        self.assertTrue(self.transport.is_lost)

    async def test_client_that_half_closes_between_two_of_its_requests(self) -> None:
        # Some event loops read before they run the callbacks of their last turn.
        for held in (GET, GET + GET, GET + GET[:5]):
            self.connect()
            await self.feed(GET + held)
            first = self.last
            await first.send(START)
            await first.send(WHOLE)
            self.transport.feed_eof()
            count = held.count(b"\r\n\r\n")
            for _ in range(count):
                await turn_loop()
                await self.respond()
            await turn_loop()
            self.assertEqual(self.transport.read().count(b"HTTP/1.1 200 OK"), 1 + count)
            await first.return_()
            self.assertTrue(self.transport.is_lost)

    async def test_client_that_half_closes_between_two_requests_under_tls(self) -> None:
        self.connect(half_close=False)
        await self.feed(GET + GET)
        await self.last.send(START)
        await self.last.send(WHOLE)
        self.transport.feed_eof()
        await turn_loop()
        self.assertTrue(self.transport.is_lost)

    async def test_half_closed_client_whose_last_request_is_cut_short(self) -> None:
        self.connect()
        await self.feed(GET + GET[:-2])
        await self.feed_eof()
        await self.respond()
        self.assert_written(build_page())
        await turn_loop()
        self.assert_written()
        self.assertTrue(self.transport.is_lost)
        self.assertEqual(len(self.requests.all), 1)

    async def test_half_closed_client_whose_last_body_is_malformed_is_not_waited_for(self) -> None:
        self.connect()
        chunked = POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
        await self.feed(GET + chunked + b"x")
        await self.feed_eof()
        await self.respond()
        await turn_loop()
        first, refusal = self.transport.writes
        self.assertEqual(first, build_page())
        self.assertRegex(refusal, b"(?s)^HTTP/1.1 400 .*Connection: close\r\n")
        self.assertTrue(self.transport.is_lost)
        self.assertEqual(len(self.requests.all), 1)

    async def test_half_closed_client_whose_last_body_is_cut_short(self) -> None:
        self.connect()
        await self.feed(GET + POST + b"hel")
        await self.feed_eof()
        await self.respond()
        await turn_loop()
        self.assertEqual((await self.last.receive())["body"], b"hel")
        await self.assert_disconnect()
        await self.respond()
        self.assert_written(build_page(), build_page(closes=True))
        await turn_loop()
        self.assertTrue(self.transport.is_lost)

    async def test_upgrade_behind_requests(self) -> None:
        self.connect()
        await self.feed(GET + POST + b"hello" + REQUEST + PEER_HELLO)
        for _ in range(2):
            await self.respond()
            await turn_loop()
        self.assert_written(build_page(), build_page())
        self.assertEqual(self.last.scope["type"], "websocket")
        await self.last.receive()
        await self.last.send({"type": "websocket.accept"})
        self.assertEqual((await self.last.receive())["text"], "Hello")
        await self.last.send({"type": "websocket.send", "text": "Hello"})
        self.assertEqual(self.transport.read(), SWITCHING + HELLO)

    async def test_upgrade_after_requests(self) -> None:
        self.connect()
        await self.feed(GET)
        await self.respond()
        await self.feed(REQUEST)
        await self.last.receive()
        await self.last.send({"type": "websocket.accept"})
        self.assert_written(build_page(), SWITCHING)
        # No deadline of the request counts any more.
        await self.advance(9)
        self.assert_written()

    async def test_upgrade_of_a_half_closed_client_is_told_to_the_application(self) -> None:
        self.connect(ws_ping_interval=None)
        await self.feed(GET + REQUEST)
        await self.feed_eof()
        await self.respond()
        await turn_loop()
        await self.last.receive()
        self.assertEqual((await self.last.receive())["code"], 1006)
        self.assertTrue(self.transport.is_lost)


class DeadlineTests(HttpCase):
    async def connect_and_answer(self, **config: Any) -> None:
        self.connect(**config)
        await self.feed(GET)
        await self.respond()
        self.assert_written(build_page())

    async def test_idle_connection_is_closed_without_a_byte(self) -> None:
        await self.connect_and_answer(timeout_keep_alive=5, timeout_handshake=10)
        self.logged.clear()
        await self.advance(4.9)
        await self.assert_closes_after_a_moment()

    async def assert_closes_after_a_moment(self) -> None:
        self.assert_calls()
        await self.advance(0.1)
        self.assert_written()
        self.assert_logged()
        await self.assert_closes()

    async def test_empty_line_begins_no_request(self) -> None:
        await self.connect_and_answer(timeout_keep_alive=5, timeout_handshake=10)
        self.logged.clear()
        for byte in (b"\r", b"\n"):
            await self.advance(2)
            await self.feed(byte)
        await self.advance(0.9)
        await self.assert_closes_after_a_moment()

    async def test_head_behind_an_empty_line_has_its_own_deadline(self) -> None:
        await self.connect_and_answer(timeout_keep_alive=5, timeout_handshake=10)
        await self.feed(b"\r\n")
        await self.advance(4)
        await self.feed(GET[:1])
        await self.advance(9.9)
        self.assert_written()
        await self.advance(0.1)
        self.assertRegex(self.transport.read(), b"^HTTP/1.1 408 ")

    async def test_client_that_does_not_close_its_side_is_cut_within_a_second(self) -> None:
        await self.connect_and_answer(timeout_keep_alive=5)
        await self.advance(5)
        await self.advance(0.8)
        await self.assert_cut()

    async def test_client_of_a_last_request_does_not_keep_it_open_either(self) -> None:
        self.connect()
        await self.feed(LAST)
        await self.respond()
        self.assert_written(build_page(closes=True))
        await self.advance(0.8)
        await self.assert_cut()

    async def test_client_that_still_sends_its_body_has_more_time_to_find_the_answer(self) -> None:
        self.connect(timeout_close=10)
        await self.feed(POST.replace(b" 5", b" 100000"))
        await self.respond()
        self.assert_written(build_page(closes=True))
        await self.advance(9.9)
        await self.feed(b"a")
        self.assertFalse(self.transport.is_lost)
        await self.advance(0.1)
        await self.assert_cut()

    async def test_refused_client_has_more_time_to_find_the_answer(self) -> None:
        self.connect(timeout_close=10)
        await self.feed(b"\0")
        await self.advance(9.9)
        self.assertFalse(self.transport.is_lost)
        await self.advance(0.1)
        self.assertTrue(self.transport.is_lost)

    async def test_idle_time_begins_at_the_response(self) -> None:
        self.connect(timeout_keep_alive=5)
        await self.feed(GET)
        await self.advance(1e6)
        await self.respond()
        await self.advance(4.9)
        await self.assert_goes_on()
        await self.advance(4.9)
        await self.assert_goes_on()

    async def test_without_a_deadline_it_may_be_idle_for_ever(self) -> None:
        await self.connect_and_answer(timeout_keep_alive=None)
        await self.advance(1e6)
        await self.assert_goes_on()

    async def test_head_of_a_later_request_has_its_own_deadline(self) -> None:
        await self.connect_and_answer(timeout_keep_alive=5, timeout_handshake=10)
        await self.advance(4)
        await self.feed(GET[:1])
        await self.advance(9)
        await self.feed(GET[1:2])
        self.assert_written()
        await self.advance(1)
        self.assertRegex(self.transport.read(), b"(?s)^HTTP/1.1 408 .*Connection: close\r\n")
        await self.assert_closes()

    async def test_head_that_began_behind_the_last_request_has_it_too(self) -> None:
        self.connect(timeout_keep_alive=5, timeout_handshake=10)
        await self.feed(GET + GET[:5])
        await self.advance(100)
        await self.respond()
        await turn_loop()
        await self.advance(9.9)
        self.assert_written(build_page())
        await self.advance(0.1)
        self.assertRegex(self.transport.read(), b"^HTTP/1.1 408 ")


class BackgroundTests(HttpCase):
    """An application that goes on after its response, while the next request is answered."""

    async def answer_and_go_on(self) -> Any:
        app = self.last
        await app.send(START)
        await app.send(WHOLE)
        await turn_loop()
        self.assert_written(build_page())
        return app

    async def test_next_request_is_answered_meanwhile(self) -> None:
        self.connect()
        await self.feed(GET)
        first = await self.answer_and_go_on()
        self.assertEqual(await first.receive(), {"type": "http.disconnect"})
        await self.assert_goes_on()
        self.assertTrue(first.is_running)
        await first.return_()
        await self.assert_goes_on()

    async def test_what_it_sends_is_a_state_error_and_never_in_the_next_response(self) -> None:
        self.connect()
        await self.feed(GET + GET)
        first = await self.answer_and_go_on()
        self.assertEqual(len(self.requests.all), 2)
        await self.start_response()
        self.transport.read()
        for event in (START, PART, END):
            with self.assertRaises(StateError):
                await first.send(event)
        await first.return_()
        for event in (START, PART, END):
            with self.assertRaises(StateError):
                await first.send(event)
        self.assert_written()
        await self.last.send(END)
        self.assert_written(b"0\r\n\r\n")

    async def test_its_failure_is_logged_and_disturbs_nobody(self) -> None:
        self.connect()
        await self.feed(GET)
        first = await self.answer_and_go_on()
        await self.feed(GET)
        self.logged.clear()
        await first.raise_(KeyError("background"))
        self.assert_logged(("ERROR", "application raised"))
        await self.respond()
        self.assert_written(build_page())

    async def test_it_is_cancelled_after_timeout_app(self) -> None:
        self.connect(timeout_app=5, timeout_keep_alive=None)
        await self.feed(GET)
        first = await self.answer_and_go_on()
        await self.feed(GET)
        await self.advance(5)
        self.assertEqual((first.cancellations, first.is_running), (1, False))
        self.assertRegex(self.logged.pop()[1], "timeout_app")
        await self.respond()
        self.assert_written(build_page())

    async def test_upload_of_which_nobody_waits_for_the_rest_has_no_deadline(self) -> None:
        self.connect(timeout_body=5)
        await self.feed(LAST[:-2] + b"Content-Length: 5\r\n\r\nhel")
        first = self.last
        await first.send(START)
        await first.send(WHOLE)
        await self.feed_eof()
        self.logged.clear()
        await self.advance(5)
        self.assert_logged()
        await first.return_()

    async def test_each_request_has_a_context_of_its_own(self) -> None:
        seen: List[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(NAME.get())
            NAME.set(scope["path"])
            await send(START)
            await send(WHOLE)
            await receive()
            seen.append(NAME.get())

        self.connect()
        self.service.app = app
        await self.feed(build_get(b"/1") + build_get(b"/2"))
        await self.feed(build_get(b"/3"))
        self.assertEqual(seen, ["nobody", "/1", "nobody", "/2", "nobody", "/3"])
        self.assertEqual(self.transport.read(), build_page() * 3)


class LimitTests(HttpCase):
    """``limit_concurrency`` counts connections, however many requests each of them has had."""

    def count_new(self) -> int:
        """How many more connections are let in."""
        count = 0
        transports = []
        while True:
            transport = MemoryTransport()
            connection = Connection(self.service)
            transport.set_protocol(connection)
            connection.connection_made(transport)
            transports.append(transport)
            if any(transport.written for transport in transports):
                break
            count += 1
        for transport in transports:
            transport.lose()
        self.logged.clear()
        return count

    async def test_connection_counts_once_in_every_stage(self) -> None:
        self.connect(limit_concurrency=3)
        for _ in range(3):
            await self.feed(GET)
            self.assertEqual(self.count_new(), 2)
            await self.last.send(START)
            await self.last.send(WHOLE)
            # The application goes on, and does not count.
            self.assertEqual(self.count_new(), 2)
        await self.requests.return_()
        self.assertEqual(self.count_new(), 2)
        self.transport.lose()
        self.assertEqual(self.count_new(), 3)

    async def test_connection_that_was_idle_for_too_long_makes_room(self) -> None:
        self.connect(limit_concurrency=3, timeout_keep_alive=5)
        await self.feed(GET)
        await self.respond()
        await self.advance(5)
        self.assertEqual(self.count_new(), 3)


if __name__ == "__main__":
    unittest.main()
