"""Request bodies on a connection: how they reach the application, and what becomes of those that do not."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any
from unittest import mock

from tests.doubles import DATE, turn_loop
from tests.requests import GET, PART, START, WHOLE, HttpCase, build_page, build_refusal

KIB, MIB = 1024, 1024 * 1024
# What asyncio reads at once in this server.
READ = bytes(120 * KIB)

HEAD = b"POST /a HTTP/1.1\r\nHost: b\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

NO_CHUNK = build_refusal(b"400 Bad Request", b"byte 0x78 in a chunk size")
TOO_LATE = build_refusal(b"408 Request Timeout", b"the request's body did not come in time")


def build_head(length: int, *lines: bytes) -> bytes:
    """The head of a request with a body of this length."""
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"Content-Length: %d\r\n\r\n" % length


# Whole requests, whose body is "hello".
REQUESTS = (
    build_head(5) + b"hello",
    CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
    CHUNKED + b"2;a=b\r\nhe\r\n003\r\nllo\r\n0\r\nTrailer: c\r\n\r\n",
)


class DeliveryTests(HttpCase):
    async def test_body_in_two_pieces_at_every_split_point(self) -> None:
        self.connect()
        for request in REQUESTS:
            for at in range(1, len(request)):
                await self.feed(request[:at], request[at:])
                self.assertEqual(b"".join(await self.receive_body()), b"hello")
                await self.respond()
                self.assertEqual(self.transport.read(), build_page())

    async def test_body_one_byte_at_a_time(self) -> None:
        self.connect()
        for request in REQUESTS:
            await self.feed(*[bytes([byte]) for byte in request])
            self.assertEqual(await self.receive_body(), [b"hello"])
            await self.respond()

    async def test_application_that_waits_gets_each_piece_as_it_comes(self) -> None:
        for head, pieces in (
            (build_head(5), (b"he", b"l", b"lo")),
            (CHUNKED, (b"2\r\nhe\r\n", b"1\r\nl\r\n", b"2\r\nlo\r\n0\r\n\r\n")),
        ):
            self.connect()
            await self.feed(head)
            for piece, body in zip(pieces, (b"he", b"l", b"lo")):
                receiving = await self.start(self.last.receive())
                self.assertFalse(receiving.done())
                await self.feed(piece)
                event = {"type": "http.request", "body": body, "more_body": body != b"lo"}
                self.assertEqual(receiving.result(), event)
            await self.respond()

    async def test_end_of_a_chunked_body_that_comes_alone_is_an_empty_part(self) -> None:
        self.connect()
        await self.feed(CHUNKED + b"5\r\nhello\r\n")
        self.assertTrue((await self.last.receive())["more_body"])
        await self.feed(b"0\r\n\r\n")
        self.assertEqual(await self.receive_body(), [b""])
        await self.respond()

    async def test_application_that_waits_after_the_body_waits_for_the_disconnect(self) -> None:
        self.connect()
        for request in (*REQUESTS, GET):
            await self.feed(request)
            await self.receive_body()
            receiving = await self.start(self.last.receive())
            self.assertFalse(receiving.done())
            await self.respond()
            await turn_loop()
            self.assertEqual(receiving.result(), {"type": "http.disconnect"})

    async def test_response_may_come_while_the_body_does(self) -> None:
        self.connect()
        await self.feed(build_head(4) + b"ab")
        await self.last.receive()
        await self.start_response()
        await self.feed(b"cd")
        self.assertEqual(await self.receive_body(), [b"cd"])
        await self.last.send(WHOLE)
        self.assertTrue(self.transport.read().endswith(b"\r\n2\r\nhi\r\n2\r\nhi\r\n0\r\n\r\n"))
        await self.last.return_()
        await self.assert_goes_on()


class BackpressureTests(HttpCase):
    """Reading pauses at 64 KiB that the application has not taken."""

    async def test_reading_pauses_at_the_limit_and_goes_on_when_the_body_is_taken(self) -> None:
        self.connect()
        await self.feed(build_head(KIB * KIB), bytes(64 * KIB - 1))
        self.assertFalse(self.transport.is_reading_paused)
        await self.feed(b"\0")
        self.assertTrue(self.transport.is_reading_paused)
        self.assertEqual(len((await self.last.receive())["body"]), 64 * KIB)
        self.assertFalse(self.transport.is_reading_paused)
        await self.feed(b"a")
        await self.last.receive()
        self.assert_calls("pause_reading", "resume_reading")

    async def test_what_is_held_counts_in_the_budget_of_the_server(self) -> None:
        self.connect()
        await self.feed(build_head(KIB * KIB), bytes(64 * KIB - 1))
        self.assertEqual(self.service.budget.size, 0)  # type: ignore[union-attr]
        await self.feed(b"\0")
        self.service.sweep()
        self.assertEqual(self.service.budget.size, 64 * KIB)  # type: ignore[union-attr]
        await self.last.receive()
        self.service.sweep()
        self.assertEqual(self.service.budget.size, 0)  # type: ignore[union-attr]

    async def test_it_is_not_given_up_and_no_room_is_needed_to_go_on(self) -> None:
        self.connect(max_inbound_memory=1, ws_max_size=1)
        await self.feed(build_head(KIB * KIB), bytes(200 * KIB))
        await self.advance(10)
        self.assertTrue(self.transport.is_reading_paused)
        await self.last.receive()
        self.assertFalse(self.transport.is_reading_paused)

    async def test_without_a_limit_nothing_counts(self) -> None:
        self.connect(max_inbound_memory=None)
        await self.feed(build_head(KIB * KIB), bytes(64 * KIB))
        self.assertTrue(self.transport.is_reading_paused)

    async def test_slow_application_holds_a_bounded_part_of_100_mib(self) -> None:
        for head, block, end in (
            (build_head(854 * len(READ)), READ, b""),
            (CHUNKED, b"1dff4\r\n" + bytes(0x1DFF4) + b"\r\n", b"0\r\n\r\n"),
        ):
            self.connect()
            await self.feed(head)
            sizes = []
            for _ in range(854):
                if self.transport.is_reading_paused:
                    sizes.append(len((await self.last.receive())["body"]))
                    self.transport.calls.clear()
                self.transport.feed(block)
            self.transport.protocol.data_received(end)
            sizes += map(len, await self.receive_body())
            self.assertEqual(sum(sizes), 854 * block.count(b"\0"))
            self.assertLess(max(sizes), 64 * KIB + len(READ))
            await self.respond()

    async def test_small_chunks_count_by_their_content(self) -> None:
        self.connect()
        await self.feed(CHUNKED, b"1\r\na\r\n" * (64 * KIB - 1))
        self.assertFalse(self.transport.is_reading_paused)
        await self.feed(b"1\r\na\r\n")
        self.assertTrue(self.transport.is_reading_paused)

    async def test_paused_body_that_is_complete_lets_the_next_request_come_after_the_response(self) -> None:
        self.connect()
        await self.feed(build_head(64 * KIB + 1), bytes(64 * KIB))
        await self.receive_part(64 * KIB)
        await self.feed(b"\0")
        await self.receive_body()
        await self.respond()
        self.transport.read()
        await self.assert_goes_on()

    async def receive_part(self, size: int) -> None:
        self.assertEqual(len((await self.last.receive())["body"]), size)

    async def test_body_that_is_complete_does_not_keep_the_disconnect_from_the_application(self) -> None:
        # Server-sent events that answer a large POST: only reading shows that the client has left.
        for pieces in ([bytes(100 * KIB)], [bytes(64 * KIB), bytes(36 * KIB)]):
            self.connect()
            await self.feed(build_head(100 * KIB))
            for piece in pieces:
                self.transport.protocol.data_received(piece)
            self.assertFalse(self.transport.is_reading_paused)
            await self.receive_body()
            receiving = await self.start(self.last.receive())
            await self.start_response()
            self.transport.feed_eof()
            await turn_loop()
            self.assertEqual(receiving.result(), {"type": "http.disconnect"})

    async def test_transport_that_still_delivers_while_it_is_paused(self) -> None:
        # uvloop and TLS pass on what they have already read.
        self.connect()
        await self.feed(build_head(64 * KIB + 1), bytes(64 * KIB))
        self.transport.protocol.data_received(b"\0" + GET)
        self.assertEqual(list(map(len, await self.receive_body())), [64 * KIB + 1])
        await self.respond()
        await turn_loop()
        self.assertEqual(len(self.requests.all), 2)
        await self.respond()
        self.assertEqual(self.transport.read(), build_page() * 2)

    async def test_peer_that_may_not_send_is_not_late(self) -> None:
        self.connect(timeout_body=5)
        await self.feed(build_head(KIB * KIB), bytes(64 * KIB))
        await self.advance(1e6)
        await self.receive_part(64 * KIB)
        await self.advance(4.9)
        self.assert_written()


class ContinueTests(HttpCase):
    """RFC 9110 10.1.1: ``Expect: 100-continue``."""

    EXPECTING = build_head(5, b"Expect: 100-continue")

    async def test_first_receive_is_answered_with_a_100(self) -> None:
        for line in (b"Expect: 100-continue", b"expect: 100-Continue"):
            for head in (build_head(5, line), CHUNKED[:-2] + line + b"\r\n\r\n"):
                self.connect()
                await self.feed(head)
                self.assert_written()
                await self.start(self.last.receive())
                await self.start(self.last.receive())
                self.assert_written(CONTINUE)

    async def test_body_then_comes_and_the_connection_goes_on(self) -> None:
        self.connect()
        await self.feed(self.EXPECTING)
        receiving = await self.start(self.last.receive())
        self.assert_written(CONTINUE)
        await self.feed(b"hello")
        self.assertEqual(receiving.result()["body"], b"hello")
        await self.respond()
        self.assert_written(build_page())
        await self.assert_goes_on()

    async def test_client_that_has_sent_a_part_of_the_body_gets_none(self) -> None:
        for pieces in ([self.EXPECTING + b"he"], [self.EXPECTING, b"he"]):
            self.connect()
            await self.feed(*pieces)
            await self.last.receive()
            await self.start(self.last.receive())
            self.assert_written()
        # The size of a chunk is a part as well.
        self.connect()
        await self.feed(CHUNKED[:-2] + b"Expect: 100-continue\r\n\r\n5")
        await self.start(self.last.receive())
        self.assert_written()

    async def test_client_of_http_1_0_gets_none(self) -> None:
        # RFC 9110 10.1.1: a server that gets it in an HTTP/1.0 request "MUST ignore that expectation".
        self.connect()
        await self.feed(self.EXPECTING.replace(b"HTTP/1.1", b"HTTP/1.0"))
        await self.start(self.last.receive())
        self.assert_written()

    async def test_without_a_body_there_is_none(self) -> None:
        self.connect()
        for head in (build_head(0, b"Expect: 100-continue"), HEAD + b"Expect: 100-continue\r\n\r\n"):
            await self.feed(head)
            self.assertEqual(await self.receive_body(), [b""])
            await self.respond()
            self.assert_written(build_page())

    async def test_other_expectation_is_ignored(self) -> None:
        self.connect()
        await self.feed(build_head(5, b"Expect: 200-ok"))
        await self.start(self.last.receive())
        self.assert_written()

    async def test_response_that_comes_without_it_closes(self) -> None:
        self.connect()
        await self.feed(self.EXPECTING)
        await self.respond()
        self.assert_written(build_page(closes=True))
        # The client may send the body all the same, or a request in its place.
        await self.assert_closes()

    async def test_response_that_has_begun_is_followed_by_none(self) -> None:
        self.connect()
        await self.feed(self.EXPECTING)
        await self.start_response()
        head = b"HTTP/1.1 200 OK\r\n" + DATE + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assert_written(head + b"2\r\nhi\r\n")
        receiving = await self.start(self.last.receive())
        self.assert_written()
        await self.feed(b"hello")
        self.assertEqual(receiving.result()["body"], b"hello")

    async def test_start_without_a_part_of_the_body_has_not_begun(self) -> None:
        self.connect()
        await self.feed(self.EXPECTING)
        await self.last.send(START)
        await self.start(self.last.receive())
        self.assert_written(CONTINUE)

    async def test_refusal_of_the_application_closes(self) -> None:
        self.connect()
        await self.feed(self.EXPECTING)
        await self.last.return_()
        self.assert_logged(
            ("ERROR", "application returned before its response was complete"),
            ("INFO", '127.0.0.1:50000 "POST /a" 500'),
        )
        self.assertRegex(self.transport.read(), b"(?s)^HTTP/1.1 500 .*Connection: close\r\n")
        await self.assert_closes()


class NotReadTests(HttpCase):
    """What the application does not read of a body is read and dropped, or the connection closes."""

    async def test_body_that_has_come_is_dropped(self) -> None:
        self.connect()
        for request in REQUESTS:
            await self.feed(request)
            await self.respond()
            self.assert_written(build_page())
        await self.assert_goes_on()

    async def test_rest_that_comes_later_is_dropped_up_to_the_limit(self) -> None:
        self.connect()
        for head, pieces in (
            (build_head(64 * KIB), [bytes(40 * KIB), bytes(24 * KIB)]),
            (build_head(200 * KIB) + bytes(136 * KIB), [bytes(64 * KIB)]),
        ):
            await self.feed(head)
            await self.respond()
            self.assert_written(build_page())
            await self.feed(*pieces)
            await self.assert_goes_on()

    async def test_rest_that_is_known_to_be_over_the_limit_announces_the_end(self) -> None:
        self.connect()
        await self.feed(build_head(64 * KIB + 2) + b"a")
        await self.respond()
        self.assert_written(build_page(closes=True))
        await self.assert_closes()

    async def test_chunks_that_have_not_come_announce_the_end(self) -> None:
        # Nobody knows how many they are, and a client that is not told sends its next request in vain.
        self.connect()
        await self.feed(CHUNKED + b"5\r\nhel")
        await self.respond()
        self.assert_written(build_page(closes=True))
        await self.assert_closes()

    async def test_what_follows_the_rest_in_the_same_piece_does_not_count(self) -> None:
        self.connect()
        await self.feed(build_head(5) + b"hel")
        await self.respond()
        await self.feed(b"lo" + build_head(100 * KIB) + bytes(100 * KIB))
        await self.receive_body()
        await self.respond()
        self.assert_written(build_page(), build_page())

    async def test_what_is_held_is_parsed_before_more_is_read(self) -> None:
        """This transport hands over in the loop's next turn what it has, as one of TLS does."""
        self.connect()
        resume_reading, loop = self.transport.resume_reading, asyncio.get_running_loop()
        reads = 0

        def hand_over() -> None:
            nonlocal reads
            if not self.transport.is_reading_paused:
                reads += 1
                self.transport.feed(READ)

        def resume_and_hand_over() -> None:
            resume_reading()
            loop.call_soon(hand_over)

        with mock.patch.object(self.transport, "resume_reading", resume_and_hand_over):
            await self.feed(GET + GET + build_head(MIB) + READ)
            for _ in range(2):
                await self.respond()
                self.assert_written(build_page())
                self.assertEqual(reads, 0)
            await self.last.receive()
            await turn_loop()
            self.assertEqual(reads, 1)

    async def test_reading_that_was_paused_goes_on_for_the_rest(self) -> None:
        self.connect()
        await self.feed(build_head(64 * KIB + 5), bytes(64 * KIB))
        self.assertTrue(self.transport.is_reading_paused)
        await self.respond()
        self.assert_written(build_page())
        await self.feed(b"hello")
        await self.assert_goes_on()

    async def test_rest_is_dropped_although_the_client_does_not_read_before_it_has_sent_all(self) -> None:
        self.connect(ws_write_limit=100)
        self.transport.is_peer_reading = False
        await self.feed(build_head(64 * KIB + 5), bytes(64 * KIB))
        app = self.last
        await app.send(START)
        sending = await self.start(app.send({**WHOLE, "body": bytes(200)}))
        self.assertFalse(self.transport.is_reading_paused)
        await self.feed(b"hello" + GET)
        self.assertEqual(len(self.requests.all), 1)
        self.transport.take()
        await turn_loop()
        self.assertTrue(sending.done())
        self.assertEqual(len(self.requests.all), 2)

    async def test_request_that_is_not_read_is_answered_before_the_next_is_called(self) -> None:
        self.connect()
        await self.feed(build_head(5) + b"hel")
        await self.respond(b"first")
        await self.feed(b"lo" + GET)
        self.assertEqual(len(self.requests.all), 2)
        await self.respond(b"second")
        self.assert_written(build_page(b"first"), build_page(b"second"))

    async def test_application_that_asks_after_its_response_gets_the_disconnect(self) -> None:
        # ASGI: "or after the response is complete", whatever has come of the body.
        self.connect()
        await self.feed(build_head(5) + b"hel")
        app = self.last
        await app.send(START)
        await app.send(WHOLE)
        self.assertEqual(await app.receive(), {"type": "http.disconnect"})
        await self.feed(b"lo")
        self.assertEqual(await app.receive(), {"type": "http.disconnect"})
        await self.assert_goes_on()

    async def test_application_that_returns_early_gets_500_and_the_body_is_never_parsed(self) -> None:
        self.connect()
        await self.feed(build_head(len(GET)))
        await self.last.return_()
        self.assertRegex(self.transport.read(), b"(?s)^HTTP/1.1 500 .*Connection: close\r\n")
        self.logged.clear()
        await self.assert_closes()

    async def test_application_that_raises_gets_500_and_the_body_is_never_parsed(self) -> None:
        self.connect()
        await self.feed(build_head(len(GET)) + b"G")
        await self.last.raise_(KeyError("a"))
        self.assertRegex(self.transport.read(), b"(?s)^HTTP/1.1 500 .*Connection: close\r\n")
        self.logged.clear()
        await self.assert_closes()


class MalformedTests(HttpCase):
    """Nothing behind a malformed body can be understood."""

    LINE = ("INFO", '127.0.0.1:50000 "POST /a" refused: 400 byte 0x78 in a chunk size')

    async def test_behind_the_head_it_is_400_and_the_application_is_not_called(self) -> None:
        self.connect()
        await self.feed(CHUNKED + b"x\r\n" + GET)
        self.assert_written(NO_CHUNK)
        self.assert_logged(self.LINE)
        self.assertEqual(self.requests.all, [])
        await self.assert_closes()

    async def test_before_the_response_it_is_400_and_the_application_gets_the_disconnect(self) -> None:
        for begin in (None, START):
            self.connect()
            await self.feed(CHUNKED + b"5\r\nhello\r\n")
            if begin is not None:
                await self.last.send(begin)
            await self.last.receive()
            receiving = await self.start(self.last.receive())
            await self.feed(b"x")
            self.assert_written(NO_CHUNK)
            self.assertEqual(receiving.result(), {"type": "http.disconnect"})
            # Nobody reads what it sends now, and it does not learn why.
            for event in (START, PART, {"type": "nonsense"}):
                await self.last.send(event)
            await self.last.return_()
            self.assert_written()
            self.assert_logged(self.LINE)
            await self.assert_closes()

    async def test_during_the_response_the_connection_is_aborted_and_the_application_gets_the_disconnect(
        self,
    ) -> None:
        self.connect()
        await self.feed(CHUNKED)
        await self.start_response()
        receiving = await self.start(self.last.receive())
        self.transport.read()
        await self.feed(b"x")
        self.assertEqual(receiving.result(), {"type": "http.disconnect"})
        self.assertEqual((self.last.cancellations, self.last.is_running), (0, True))
        await self.last.send(PART)
        # No status: the client has got one already.
        line = '127.0.0.1:50000 "POST /a" ends its connection: byte 0x78 in a chunk size'
        self.assert_logged(("INFO", line))
        await self.assert_cut()

    async def test_what_came_before_it_is_still_received(self) -> None:
        self.connect()
        await self.feed(CHUNKED + b"5\r\nhello\r\n", b"x")
        self.assertEqual((await self.last.receive())["body"], b"hello")
        await self.assert_disconnect()


class DeadlineTests(HttpCase):
    """`timeout_body` is the time between two parts of a body."""

    async def connect_and_wait(self, head: bytes) -> Any:
        self.connect(timeout_body=5)
        await self.feed(head)
        return await self.start(self.last.receive())

    async def test_body_that_does_not_come_is_408(self) -> None:
        for head in (build_head(5), CHUNKED):
            receiving = await self.connect_and_wait(head)
            await self.advance(4.9)
            self.assert_written()
            await self.advance(0.1)
            self.assert_written(TOO_LATE)
            self.assertEqual(receiving.result(), {"type": "http.disconnect"})
            self.assert_logged(
                ("INFO", '127.0.0.1:50000 "POST /a" refused: 408 the request\'s body did not come in time')
            )
            await self.assert_closes()

    async def test_during_the_response_the_connection_is_aborted_and_the_application_gets_the_disconnect(
        self,
    ) -> None:
        self.connect(timeout_body=5)
        await self.feed(build_head(5))
        await self.start_response()
        receiving = await self.start(self.last.receive())
        self.transport.read()
        await self.advance(5)
        self.assertEqual(receiving.result(), {"type": "http.disconnect"})
        self.assertEqual((self.last.cancellations, self.last.is_running), (0, True))
        await self.assert_cut()

    async def test_deadline_has_passed_by_a_sweep_that_comes_late(self) -> None:
        await self.connect_and_wait(build_head(5))
        await self.advance(5.1)
        self.assert_written(TOO_LATE)

    async def test_every_part_begins_it_anew(self) -> None:
        self.connect(timeout_body=5)
        await self.feed(build_head(5))
        for _ in range(4):
            await self.feed(b"a")
            await self.advance(4.9)
        self.assert_written()
        await self.advance(0.1)
        self.assert_written(TOO_LATE)

    async def test_application_may_take_its_time_before_it_asks(self) -> None:
        self.connect(timeout_body=5)
        await self.feed(build_head(5))
        await self.advance(1e6)
        await self.start(self.last.receive())
        await self.advance(4.9)
        self.assert_written()
        await self.advance(0.1)
        self.assert_written(TOO_LATE)

    async def test_body_that_is_complete_has_no_deadline(self) -> None:
        self.connect(timeout_body=5)
        await self.feed(build_head(5) + b"hel", b"lo")
        await self.receive_body()
        await self.start(self.last.receive())
        await self.advance(1e6)
        await self.respond()
        self.assert_written(build_page())

    async def test_without_a_deadline_it_may_take_any_time(self) -> None:
        self.connect(timeout_body=None)
        await self.feed(build_head(5))
        receiving = await self.start(self.last.receive())
        await self.advance(1e6)
        await self.feed(b"hello")
        self.assertEqual(receiving.result()["body"], b"hello")

    async def test_client_that_was_told_to_continue_has_it_too(self) -> None:
        await self.connect_and_wait(ContinueTests.EXPECTING)
        self.assert_written(CONTINUE)
        await self.advance(5)
        self.assert_written(TOO_LATE)

    async def test_rest_that_does_not_come_after_the_response_closes(self) -> None:
        self.connect(timeout_body=5)
        await self.feed(build_head(5))
        await self.respond()
        self.assert_written(build_page())
        await self.advance(4.9)
        self.assertNotIn("write_eof", self.transport.calls)
        await self.advance(0.1)
        await self.assert_closes()

    async def test_rest_has_one_deadline_however_it_comes(self) -> None:
        self.connect(timeout_body=5)
        await self.feed(build_head(5))
        await self.respond()
        self.transport.read()
        await self.advance(3)
        await self.feed(b"h")
        await self.advance(1.9)
        self.assertNotIn("write_eof", self.transport.calls)
        await self.advance(0.1)
        await self.assert_closes()

    async def test_rest_has_its_deadline_although_the_client_does_not_read(self) -> None:
        self.connect(timeout_body=5, timeout_write=None, ws_write_limit=100)
        self.transport.is_peer_reading = False
        await self.feed(build_head(5))
        await self.last.send(START)
        await self.start(self.last.send({**WHOLE, "body": bytes(200)}))
        await self.feed(b"h")
        self.transport.take()
        await turn_loop()
        self.transport.read()
        await self.advance(5)
        await self.assert_closes()


if __name__ == "__main__":
    unittest.main()
