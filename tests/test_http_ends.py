"""How a connection of many requests ends: the stop of the server, its loss, and what is left of it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import unittest
from typing import Any, Dict, List

from tests.doubles import turn_loop
from tests.freezing import setUpModule, tearDownModule  # noqa: F401
from tests.loopback import REQUEST
from tests.requests import END, GET, LAST, PART, POST, START, WHOLE, HttpCase, build_page, build_refusal
from wsbridge.asgi.http_session import HttpSession
from wsbridge.asgi.wire import Http11Wire
from wsbridge.server.connection.head import Connection
from wsbridge.server.connection.http import HttpExchange

CHUNKED = b"POST /a HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n"


class StopTests(HttpCase):
    """The server stops while the connection is in one stage or another."""

    async def stop(self) -> Any:
        return await self.start(self.service.shut_down(None))

    async def answer_and_stop(self, idle: float = 0, **config: Any) -> Any:
        """Begin to stop ``idle`` seconds after a request was answered."""
        self.connect(**config)
        await self.feed(GET)
        await self.respond()
        await self.advance(idle)
        self.transport.read()
        return await self.stop()

    async def assert_stopped(self, stopping: Any) -> None:
        self.assertFalse(stopping.done())
        await self.assert_closes()
        await turn_loop()
        self.assertTrue(stopping.done())

    async def test_connection_that_is_idle_for_a_second_closes_at_once_and_without_a_byte(self) -> None:
        for idle, timeout in ((1, 5), (1, 1), (2, 5)):
            stopping = await self.answer_and_stop(idle, timeout_keep_alive=timeout)
            self.assert_written()
            await self.assert_stopped(stopping)

    async def test_connection_that_was_just_used_has_the_rest_of_the_second(self) -> None:
        # A proxy may have sent the next request, and fails it if it finds the connection closed.
        for idle, left, config in (
            (0, 1, {}),
            (0.4, 0.6, {}),
            # Nothing tells when its idle time began.
            (100, 1, {"timeout_keep_alive": None}),
            # As with --reload: at half a second the server would abort the connection.
            (0, 0.125, {"timeout_graceful_shutdown": 1}),
            (0, 1, {"timeout_graceful_shutdown": None}),
        ):
            options: Dict[str, Any] = config
            stopping = await self.answer_and_stop(idle, **options)
            await self.advance(left - 0.1)
            self.assert_calls()
            await self.advance(0.1)
            self.assert_written()
            await self.assert_stopped(stopping)

    async def test_empty_line_behind_a_request_begins_none(self) -> None:
        # RFC 9112 2.2: some clients send one behind a body.
        for idle, left in ((0, 1), (1, 0)):
            self.connect()
            await self.feed(GET + b"\r\n")
            await self.respond()
            await self.advance(idle)
            self.transport.read()
            stopping = await self.stop()
            await self.advance(left)
            self.assert_written()
            await self.assert_stopped(stopping)

    async def test_request_that_was_on_its_way_is_the_last(self) -> None:
        stopping = await self.answer_and_stop()
        await self.feed(GET)
        await self.respond(b"last")
        self.assert_written(build_page(b"last", closes=True))
        await self.assert_stopped(stopping)

    async def test_head_that_begins_gets_no_more_time(self) -> None:
        stopping = await self.answer_and_stop(timeout_handshake=10)
        await self.feed(GET[:5])
        await self.advance(1)
        self.assertRegex(self.transport.read(), b"^HTTP/1.1 503 ")
        await self.assert_stopped(stopping)

    async def test_response_that_has_not_begun_closes(self) -> None:
        self.connect()
        await self.feed(GET + GET)
        stopping = await self.stop()
        await self.respond()
        self.assert_written(build_page(closes=True))
        await self.assert_stopped(stopping)
        self.assertEqual(len(self.requests.all), 1)

    async def test_response_that_has_begun_is_finished_and_what_follows_it_is_the_last(self) -> None:
        # Its head has told the client that another request may follow.
        self.connect()
        await self.feed(GET + GET + GET)
        await self.start_response()
        self.transport.read()
        stopping = await self.stop()
        await self.last.send(PART)
        await self.last.send(END)
        self.assert_written(b"2\r\nhi\r\n", b"0\r\n\r\n")
        await self.last.return_()
        await self.respond()
        self.assert_written(build_page(closes=True))
        await self.assert_stopped(stopping)
        self.assertEqual(len(self.requests.all), 2)

    async def test_response_that_has_begun_is_the_last_if_none_follows_within_a_second(self) -> None:
        self.connect()
        await self.feed(GET)
        await self.start_response()
        stopping = await self.stop()
        await self.last.send(END)
        await self.last.return_()
        self.transport.read()
        await self.advance(0.9)
        self.assert_calls()
        await self.advance(0.1)
        await self.assert_stopped(stopping)

    async def test_application_that_waits_for_the_disconnect_may_finish_its_response(self) -> None:
        # If it were told, it would end the response, which would look whole.
        for request in (GET, POST + b"hello"):
            self.connect()
            await self.feed(request)
            await self.receive_body()
            receiving = await self.start(self.last.receive())
            stopping = await self.stop()
            self.assertFalse(receiving.done())
            await self.respond()
            self.assertEqual(receiving.result(), {"type": "http.disconnect"})
            self.assert_written(build_page(closes=True))
            await self.assert_stopped(stopping)

    async def test_upload_is_received_to_its_end(self) -> None:
        self.connect()
        await self.feed(POST + b"h")
        stopping = await self.stop()
        self.assertEqual((await self.last.receive())["body"], b"h")
        receiving = await self.start(self.last.receive())
        await self.feed(b"el")
        self.assertEqual(receiving.result()["body"], b"el")
        await self.feed(b"lo")
        self.assertEqual(await self.receive_body(), [b"lo"])
        await self.respond()
        self.assert_written(build_page(closes=True))
        await self.assert_stopped(stopping)

    async def test_body_that_nobody_reads_any_more_is_not_waited_for(self) -> None:
        self.connect()
        await self.feed(POST)
        await self.respond()
        self.transport.read()
        stopping = await self.stop()
        await self.assert_stopped(stopping)

    async def test_request_that_was_held_and_not_begun_is_the_last(self) -> None:
        self.connect()
        await self.feed(GET + GET + GET)
        await self.last.send(START)
        await self.last.send(WHOLE)
        stopping = await self.stop()
        self.transport.read()
        await self.respond()
        self.assert_written(build_page(closes=True))
        await self.requests.return_()
        await self.assert_stopped(stopping)
        self.assertEqual(len(self.requests.all), 2)

    async def test_later_request_that_is_not_complete_gets_503(self) -> None:
        self.connect()
        await self.feed(GET)
        await self.respond()
        await self.feed(GET[:5])
        await self.advance(1)
        self.transport.read()
        stopping = await self.stop()
        self.assertRegex(self.transport.read(), b"(?s)^HTTP/1.1 503 .*Connection: close\r\n")
        await self.assert_stopped(stopping)

    async def test_request_that_is_on_its_way_is_answered(self) -> None:
        """Another worker may listen already: no client fails because this one stops."""
        for first in (b"", GET[:5]):
            self.connect()
            await self.feed(first)
            await self.advance(0.5)
            stopping = await self.stop()
            self.assert_written()
            await self.feed(GET[len(first) :])
            await self.respond()
            self.assert_written(build_page(closes=True))
            await self.assert_stopped(stopping)

    async def test_request_that_does_not_come_within_a_second_is_not_waited_for(self) -> None:
        for first, answer in ((b"", b"^$"), (GET[:5], b"(?s)^HTTP/1.1 503 .*Connection: close\r\n")):
            self.connect()
            await self.feed(first)
            await self.advance(0.5)
            stopping = await self.stop()
            await self.advance(0.25)
            self.assert_written()
            await self.advance(0.25)
            self.assertRegex(self.transport.read(), answer)
            await self.assert_stopped(stopping)

    async def test_response_that_the_peer_does_not_read_is_sent_before_the_close(self) -> None:
        self.connect(ws_write_limit=100)
        await self.feed(GET)
        self.transport.is_peer_reading = False
        app = self.last
        await app.send(START)
        await self.start(app.send({**WHOLE, "body": bytes(200)}))
        stopping = await self.stop()
        self.assertNotIn("write_eof", self.transport.calls)
        self.transport.take()
        await app.return_()
        self.transport.read()
        await self.assert_stopped(stopping)

    async def test_abort_of_a_connection_whose_client_does_not_close_is_no_warning(self) -> None:
        # The clients of most pools notice the end of an idle connection with their next request.
        self.connect()
        await self.feed(GET)
        await self.respond()
        await self.advance(1)
        await self.service.shut_down(0.001)
        await turn_loop()
        self.assertTrue(self.transport.is_lost)
        self.assert_logged(("INFO", '127.0.0.1:50000 "GET /a" 200'))

    async def test_abort_that_cuts_a_response_is_a_warning(self) -> None:
        self.connect(ws_write_limit=100)
        await self.feed(GET)
        self.transport.is_peer_reading = False
        await self.last.send(START)
        await self.start(self.last.send({**WHOLE, "body": bytes(200)}))
        self.logged.clear()
        await self.service.shut_down(0.001)
        self.assertTrue(self.transport.is_lost)
        self.assert_logged(("WARNING", "connections that did not close in time and are aborted: 2"))

    async def test_work_after_the_response_is_waited_for(self) -> None:
        self.connect()
        await self.feed(GET)
        app = self.last
        await app.send(START)
        await app.send(WHOLE)
        stopping = await self.stop()
        self.transport.read()
        await self.advance(1)
        await self.assert_closes()
        self.assertFalse(stopping.done())
        await app.return_()
        self.assertTrue(stopping.done())

    async def test_abort_cancels_the_work_after_a_response(self) -> None:
        self.connect()
        await self.feed(GET)
        app = self.last
        await app.send(START)
        await app.send(WHOLE)
        self.service.abort()
        await turn_loop()
        self.assertEqual((app.cancellations, app.is_running), (1, False))
        self.assertTrue(self.transport.is_lost)
        self.assertEqual(list(self.service.members), [])


class LossTests(HttpCase):
    """The connection is lost in every stage; nothing is left of it, and nothing above INFO is logged."""

    def lose(self) -> None:
        self.transport.lose(ConnectionResetError())

    async def assert_nothing_is_left(self) -> None:
        await self.requests.return_()
        self.assertEqual(list(self.service.members), [])

    async def test_idle(self) -> None:
        self.connect()
        await self.feed(GET)
        await self.respond()
        self.lose()
        await self.assert_nothing_is_left()

    async def test_while_requests_are_held(self) -> None:
        self.connect()
        await self.feed(GET * 3)
        self.lose()
        await self.respond()
        await self.assert_nothing_is_left()
        self.assertEqual(len(self.requests.all), 1)
        self.assert_written()

    async def test_before_a_held_request_has_its_turn(self) -> None:
        self.connect()
        await self.feed(GET + GET)
        await self.last.send(START)
        await self.last.send(WHOLE)
        self.lose()
        await self.assert_nothing_is_left()
        self.assertEqual(len(self.requests.all), 1)

    async def test_during_the_body(self) -> None:
        self.connect(timeout_body=5)
        await self.feed(POST + b"hel")
        self.assertEqual((await self.last.receive())["body"], b"hel")
        receiving = await self.start(self.last.receive())
        self.lose()
        await turn_loop()
        self.assertEqual(receiving.result(), {"type": "http.disconnect"})
        # The deadline of the body is over with the connection.
        await self.advance(5)
        await self.respond()
        self.assert_written()
        await self.assert_nothing_is_left()
        self.assert_logged()

    async def test_while_reading_is_paused(self) -> None:
        self.connect()
        await self.feed(POST.replace(b" 5", b" 100000"), bytes(64 * 1024))
        self.lose()
        self.assertEqual(len((await self.last.receive())["body"]), 64 * 1024)
        await self.assert_disconnect()
        await self.assert_nothing_is_left()

    async def test_during_the_response(self) -> None:
        self.connect()
        await self.feed(GET)
        await self.start_response()
        self.lose()
        self.transport.read()
        await self.last.send(PART)
        await self.last.send(END)
        self.assert_written()
        await self.assert_nothing_is_left()

    async def test_while_the_rest_of_a_body_is_dropped(self) -> None:
        self.connect()
        await self.feed(POST)
        await self.respond()
        self.lose()
        await self.assert_nothing_is_left()

    async def test_while_the_peer_does_not_read(self) -> None:
        self.connect(ws_write_limit=100)
        await self.feed(GET + GET)
        self.transport.is_peer_reading = False
        await self.last.send(START)
        sending = await self.start(self.last.send({**WHOLE, "body": bytes(200)}))
        self.lose()
        await turn_loop()
        self.assertIsNone(sending.result())
        await self.assert_nothing_is_left()
        self.assertEqual(len(self.requests.all), 1)

    async def test_behind_the_work_after_the_response(self) -> None:
        self.connect()
        await self.feed(GET)
        await self.last.send(START)
        await self.last.send(WHOLE)
        self.lose()
        self.assertEqual(len(self.service.members), 1)
        await self.assert_nothing_is_left()

    async def test_end_of_the_stream_while_the_rest_of_a_body_is_dropped(self) -> None:
        self.connect()
        await self.feed(POST)
        await self.respond()
        await self.feed_eof()
        self.assertTrue(self.transport.is_lost)
        await self.assert_nothing_is_left()

    async def test_end_of_the_stream_in_the_body_of_a_running_request(self) -> None:
        self.connect()
        await self.feed(POST + b"hel")
        await self.feed_eof()
        self.assertEqual((await self.last.receive())["body"], b"hel")
        await self.assert_disconnect()
        # Nothing is waited for: no deadline of the body has begun.
        await self.advance(100)
        await self.respond()
        self.assert_written(build_page(closes=True))
        await turn_loop()
        await self.assert_nothing_is_left()

    async def test_end_of_the_stream_in_a_body_is_400_if_the_application_then_returns(self) -> None:
        for head in (POST, CHUNKED):
            for begin in (None, START):
                self.connect()
                await self.feed(head)
                await self.feed_eof()
                await self.assert_disconnect()
                if begin is not None:
                    await self.last.send(begin)
                await self.last.return_()
                self.assert_written(build_refusal(b"400 Bad Request", b"the request's body ended early"))
                self.assert_logged(
                    ("INFO", '127.0.0.1:50000 "POST /a" refused: 400 the request\'s body ended early')
                )
                await turn_loop()
                await self.assert_nothing_is_left()

    async def test_end_of_the_stream_in_a_body_and_then_the_loss_of_the_connection(self) -> None:
        self.connect()
        await self.feed(POST)
        await self.feed_eof()
        self.lose()
        await self.last.return_()
        self.assert_written()
        self.assert_logged()
        await self.assert_nothing_is_left()

    async def test_end_of_the_stream_in_a_body_is_500_if_the_application_then_raises(self) -> None:
        self.connect()
        await self.feed(POST + b"hel")
        exchange: Any = self.transport.get_protocol()
        await self.feed_eof()
        exchange.fail_application()
        self.assertRegex(self.transport.read(), b"(?s)^HTTP/1.1 500 .*Connection: close\r\n")
        self.assert_logged(("INFO", '127.0.0.1:50000 "POST /a" 500'))
        await turn_loop()
        await self.assert_nothing_is_left()

    async def test_end_of_the_stream_of_an_idle_connection(self) -> None:
        self.connect()
        await self.feed(GET)
        await self.respond()
        await self.feed_eof()
        self.assertTrue(self.transport.is_lost)
        await self.assert_nothing_is_left()

    async def test_calls_that_come_after_the_end_do_nothing(self) -> None:
        # As a transport's may, which has scheduled them before it was told of another protocol.
        for data in (GET, POST, POST + b"hel", CHUNKED, LAST, GET[:5]):
            for has_begun in (False, True):
                self.connect()
                reader = self.transport.get_protocol()
                await self.feed(data)
                stages: List[Any] = [reader, self.transport.get_protocol()]
                if has_begun and self.transport.get_protocol() is not reader:
                    await self.start_response()
                self.lose()
                self.transport.read()
                self.logged.clear()
                for stage in stages:
                    stage.pause_writing()
                    stage.resume_writing()
                    stage.data_received(b"x\r\n" + bytes(64 * 1024))
                    stage.eof_received()
                    stage.shut_down()
                    stage.check_deadlines(self.clock.now + 100)
                    stage.connection_lost(None)
                self.assert_written()
                await self.requests.return_()
                self.assertEqual(list(self.service.members), [])

    async def test_rest_of_a_body_that_comes_after_the_end_does_nothing(self) -> None:
        self.connect()
        await self.feed(POST)
        exchange: Any = self.transport.get_protocol()
        await self.last.send(START)
        await self.last.send(WHOLE)
        self.lose()
        exchange.data_received(b"hello" + GET)
        await self.assert_nothing_is_left()
        self.assertEqual(len(self.requests.all), 1)

    async def test_calls_that_come_after_the_response_do_nothing_to_the_next_request(self) -> None:
        self.connect()
        await self.feed(GET + GET)
        exchange: Any = self.transport.get_protocol()
        await self.respond()
        await turn_loop()
        self.transport.read()
        exchange.pause_writing()
        exchange.resume_writing()
        exchange.data_received(bytes(64 * 1024))
        exchange.shut_down()
        exchange.check_deadlines(1e9)
        await self.respond()
        self.assert_written(build_page())
        await self.assert_goes_on()


class FailureTests(HttpCase):
    """A task or a callback of the application raises SystemExit out of the event loop."""

    async def begin(self, data: bytes) -> Any:
        """The exchange of the first request in ``data``."""
        self.connect()
        await self.feed(data)
        return self.transport.get_protocol()

    async def test_before_the_response_it_is_500_whatever_has_come_of_the_body(self) -> None:
        for request in (GET + GET, POST, POST + b"hel", POST + b"hello" + GET):
            exchange = await self.begin(request)
            exchange.fail_application()
            self.assertRegex(self.transport.read(), b"(?s)^HTTP/1.1 500 .*Connection: close\r\n")
            await self.assert_closes()
            self.assertTrue(self.last.is_running)
            await self.respond()
            self.assert_written()
        self.assertEqual(len(self.requests.all), 4)

    async def test_during_the_response_it_aborts_the_connection(self) -> None:
        exchange = await self.begin(GET + GET)
        await self.start_response()
        self.transport.read()
        exchange.fail_application()
        await self.assert_cut()
        self.assertEqual(len(self.requests.all), 1)

    async def test_after_the_response_it_disturbs_no_other_request(self) -> None:
        exchange = await self.begin(GET + GET)
        await self.last.send(START)
        await self.last.send(WHOLE)
        exchange.fail_application()
        await turn_loop()
        exchange.fail_application()
        await self.respond()
        self.assert_written(build_page(), build_page())
        await self.assert_goes_on()


class TLSTests(HttpCase):
    """A connection that cannot be half closed, and whose loss an earlier stage may be told."""

    def connect_tls(self, **config: Any) -> None:
        self.connect(half_close=False, **config)

    async def test_requests_follow_each_other(self) -> None:
        self.connect_tls()
        await self.feed(GET)
        await self.respond()
        await self.assert_goes_on()

    async def test_idle_connection_is_closed(self) -> None:
        self.connect_tls(timeout_keep_alive=5)
        await self.feed(GET)
        await self.respond()
        await self.advance(5)
        self.assert_calls("close")
        self.assertTrue(self.transport.is_lost)

    async def test_client_that_has_sent_more_has_time_to_read_the_last_response(self) -> None:
        # What is unread when the socket is closed makes the kernel reset the connection.
        for data, calls in ((LAST, ["close"]), (LAST + GET, ["resume_reading"])):
            self.connect_tls()
            await self.feed(data)
            await self.respond()
            self.assert_written(build_page(closes=True))
            self.assert_calls(*calls)

    async def test_end_of_the_stream_ends_it(self) -> None:
        for data in (GET + GET, POST + b"hel"):
            self.connect_tls()
            await self.feed(data)
            await self.feed_eof()
            self.assertTrue(self.transport.is_lost)
            await self.last.receive()
            await self.assert_disconnect()
            await self.respond()
            self.assertEqual(list(self.service.members), [])

    async def test_end_of_the_stream_while_the_rest_of_a_body_is_dropped(self) -> None:
        self.connect_tls()
        await self.feed(POST)
        await self.respond()
        await self.feed_eof()
        self.assertTrue(self.transport.is_lost)
        self.assertEqual(list(self.service.members), [])

    async def lose_late(self, stage: Any) -> None:
        """asyncio calls the protocol that it had when it noticed the loss."""
        stage.connection_lost(ConnectionResetError())
        self.transport.is_lost = True
        await self.requests.return_()
        self.assertEqual(list(self.service.members), [])

    async def test_loss_that_the_first_exchange_is_told(self) -> None:
        self.connect_tls()
        await self.feed(GET)
        exchange = self.transport.get_protocol()
        await self.respond()
        await self.lose_late(exchange)

    async def test_loss_that_an_exchange_is_told_while_the_next_runs(self) -> None:
        self.connect_tls()
        await self.feed(GET + GET)
        exchange = self.transport.get_protocol()
        await self.respond()
        await turn_loop()
        receiving = await self.start(self.last.receive())
        receiving = await self.start(self.last.receive())
        await self.lose_late(exchange)
        self.assertEqual(receiving.result(), {"type": "http.disconnect"})

    async def test_loss_that_the_reader_is_told_while_the_next_request_runs(self) -> None:
        self.connect_tls()
        await self.feed(GET + GET)
        await self.last.send(START)
        await self.last.send(WHOLE)
        reader = self.transport.get_protocol()
        self.assertIsInstance(reader, Connection)
        await turn_loop()
        await self.last.receive()
        receiving = await self.start(self.last.receive())
        await self.lose_late(reader)
        self.assertEqual(receiving.result(), {"type": "http.disconnect"})

    async def test_loss_that_the_reader_is_told_while_a_websocket_runs(self) -> None:
        self.connect_tls()
        await self.feed(GET + REQUEST)
        await self.last.send(START)
        await self.last.send(WHOLE)
        reader = self.transport.get_protocol()
        await turn_loop()
        await self.last.receive()
        receiving = await self.start(self.last.receive())
        await self.lose_late(reader)
        self.assertEqual(receiving.result()["code"], 1006)

    async def test_loss_that_an_exchange_is_told_when_it_has_closed(self) -> None:
        self.connect_tls()
        await self.feed(LAST)
        exchange = self.transport.get_protocol()
        await self.respond()
        await self.lose_late(exchange)


@unittest.skipUnless(sys.implementation.name == "cpython", "this Python counts no references")
class GarbageTests(HttpCase):
    """What has ended is freed without the collector of cycles."""

    KINDS = (Connection, HttpExchange, HttpSession, Http11Wire)

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        # Other tests may have left some.
        self.others = [item for item in gc.get_objects() if type(item) in self.KINDS]

    def assert_left(self, *kinds: type) -> None:
        """All that is left since the beginning of the test is of these kinds."""
        self.requests.all.clear()
        others = set(map(id, self.others))
        left = [item for item in gc.get_objects() if type(item) in self.KINDS and id(item) not in others]
        self.assertEqual(list(map(type, left)), list(kinds))

    async def test_requests_are_freed_while_their_connection_goes_on(self) -> None:
        self.connect()
        for request in (GET, POST + b"hello", GET + GET):
            await self.feed(request)
            for _ in range(request.count(b"Host")):
                await self.respond()
                await turn_loop()
            await self.advance(0)
            self.assert_left(Connection)
        await self.feed(POST)
        await self.respond()
        # The application has returned before the rest of its request's body came.
        await self.feed(b"hello")
        await self.advance(0)
        self.assert_left(Connection)

    async def test_connection_is_freed_when_it_is_lost(self) -> None:
        for requests in (GET, GET + GET, POST, POST + b"hel", POST + b"hello", GET + LAST):
            self.connect()
            await self.feed(requests)
            await self.respond()
            await turn_loop()
            self.transport.lose()
            await self.requests.return_()
            self.transport.protocol = None
            self.assert_left()

    async def test_connection_that_closes_is_freed(self) -> None:
        for requests in (LAST, GET + LAST, POST.replace(b" 5", b" 1000000"), b"\0"):
            self.connect()
            await self.feed(requests)
            for _ in range(requests.count(b"Host")):
                await self.respond()
                await turn_loop()
            await self.feed_eof()
            self.assert_left()

    async def test_malformed_body_leaves_nothing(self) -> None:
        head = b"POST /a HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n"
        for pieces in ((head + b"x",), (head, b"x")):
            self.connect()
            await self.feed(*pieces)
            await self.requests.return_()
            await self.feed_eof()
            self.assert_left()

    async def test_request_whose_application_raises_leaves_nothing(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            raise KeyError("a")

        self.connect()
        self.service.app = app
        await self.feed(GET)
        await self.feed_eof()
        self.logged.clear()
        self.records.clear()
        self.assert_left()


class EagerCase(HttpCase):
    """Applications that run, up to where they wait, while their task is made (``eager_task_factory``)."""

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope["path"])
        await send(START)
        await send(WHOLE)
        await self.go_on()

    async def go_on(self) -> None:
        """What the application does after its response."""

    async def feed_eagerly(self, factory: Any, *pieces: bytes, **config: Any) -> None:
        self.scopes: List[str] = []
        self.connect(**config)
        self.service.app = self.answer
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        try:
            for piece in pieces:
                await self.feed(piece)
        finally:
            loop.set_task_factory(None)


def run_to_end(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
    """A task whose coroutine has ended, without a wait, before the task is returned."""

    async def end(result: Any) -> Any:
        return result

    try:
        contextvars.copy_context().run(coroutine.send, None)
    except StopIteration as stop:
        return asyncio.Task(end(stop.value), loop=loop)
    raise AssertionError("the coroutine waits")


class EagerTests(EagerCase):
    async def test_requests_follow_each_other(self) -> None:
        await self.feed_eagerly(run_to_end, GET, POST + b"hello", GET * 3, POST, b"hello" + GET)
        self.assertEqual(len(self.scopes), 7)
        self.assertEqual(self.transport.read(), build_page() * 7)
        self.assertEqual(list(self.service.members), [self.transport.get_protocol()])

    async def test_last_request_closes(self) -> None:
        await self.feed_eagerly(run_to_end, GET + LAST + GET)
        self.assertEqual(self.transport.read(), build_page() + build_page(closes=True))
        self.transport.feed_eof()
        await turn_loop()
        self.assertEqual(list(self.service.members), [])

    async def test_idle_connection_times_out(self) -> None:
        await self.feed_eagerly(run_to_end, GET, timeout_keep_alive=5)
        await self.advance(5)
        self.assertEqual(self.transport.calls, ["resume_reading", "write_eof"])


@unittest.skipUnless(hasattr(asyncio, "eager_task_factory"), "no eager tasks before Python 3.12")
class EagerTaskFactoryTests(EagerCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.gate = asyncio.Event()

    async def go_on(self) -> None:
        await self.gate.wait()

    async def test_work_after_the_response_goes_on_and_does_not_count_as_a_connection(self) -> None:
        factory: Any = asyncio.eager_task_factory  # type: ignore[attr-defined, unused-ignore]
        await self.feed_eagerly(factory, GET, GET, GET)
        await self.advance(0)
        self.assertEqual(self.transport.read(), build_page() * 3)
        self.assertEqual((self.service.open_connections, len(self.service.members)), (1, 4))
        self.gate.set()
        await turn_loop()
        self.assertEqual(list(self.service.members), [self.transport.get_protocol()])


if __name__ == "__main__":
    unittest.main()
