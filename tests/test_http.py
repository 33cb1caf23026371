"""`HttpExchange`: one request without a body, one response, and every way in which that fails."""

from __future__ import annotations

import asyncio
import gc
import sys
import unittest
from typing import Any, Dict, List

from tests.doubles import DATE, build_date
from wsbridge.asgi.scope import build_http_scope
from wsbridge.config import ServerConfig
from wsbridge.protocols.events import RequestReceived
from wsbridge.server.connection.addresses import get_ends
from wsbridge.server.connection.http import HttpExchange
from wsbridge.server.connection.linger import Linger
from wsbridge.server.logs.log import logger
from wsbridge.server.service import Service

from .doubles import Clock, MemoryTransport, turn_loop

Event = Dict[str, Any]

PAGE = b"HTTP/1.1 200 OK\r\n" + DATE + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi"
HALF_SENT = (
    b"HTTP/1.1 200 OK\r\n" + DATE + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"
)
RAISED = (
    b"HTTP/1.1 500 Internal Server Error\r\n" + DATE + b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 56\r\nConnection: close\r\n\r\n"
    b"the application raised before its response was complete\n"
)
RETURNED = RAISED.replace(b"raised", b"returned").replace(b"Length: 56", b"Length: 58")
START: Event = {"type": "http.response.start", "status": 200}
BODY: Event = {"type": "http.response.body", "body": b"hi"}
PART: Event = {**BODY, "more_body": True}


class PageCase(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        asyncio.get_running_loop().set_debug(False)
        self.clock = Clock()
        self.transport = MemoryTransport()
        self.heard: List[Any] = []
        self.gate = asyncio.Event()
        level = logger.level
        self.addCleanup(logger.setLevel, level)
        logger.setLevel("CRITICAL")

    async def begin(self, app: Any, method: bytes = b"GET", state: Any = None, **options: Any) -> None:
        self.service = Service(app, ServerConfig(**options), clock=self.clock, date=build_date, state=state)
        self.addAsyncCleanup(self.end)
        request = RequestReceived(method, b"/a?b", ((b"host", b"c"),), "1.1")
        ends = get_ends(self.transport)
        config, scheme = self.service.config, "https" if ends.is_secure else "http"
        scope = build_http_scope(request, config, ends.client, ends.server, scheme=scheme, state=state)
        HttpExchange(self.service, self.transport, request, scope)
        await turn_loop()

    async def end(self) -> None:
        self.service.abort()
        await turn_loop()
        self.service.members.clear()

    async def begin_steps(self, *steps: Any, method: bytes = b"GET", **options: Any) -> None:
        """Begin with an application that does one step after the other, see `step`."""

        async def app(scope: Event, receive: Any, send: Any) -> None:
            for step in steps:
                await self.step(step, receive, send)

        await self.begin(app, method, **options)

    async def step(self, step: Any, receive: Any, send: Any) -> None:
        """An event is sent, an exception raised; ``receive`` is noted, ``wait`` waits for the gate."""
        if isinstance(step, dict):
            await send(step)
        elif step == "receive":
            self.heard.append((await receive())["type"])
        elif step == "wait":
            await self.gate.wait()
        else:
            raise step

    async def assert_answer(self, expected: bytes) -> None:
        await turn_loop()
        self.assertEqual(self.transport.read(), expected)

    async def assert_answered(self, expected: bytes) -> None:
        """All of the answer is ``expected``; our side is half closed, and nothing is left behind the peer."""
        await self.assert_answer(expected)
        self.assertIsInstance(self.transport.get_protocol(), Linger)
        self.assertIn("write_eof", self.transport.calls)
        self.transport.feed_eof()
        await self.assert_over()

    async def assert_over(self) -> None:
        await turn_loop()
        self.assertTrue(self.transport.is_lost)
        self.assertEqual(list(self.service.members), [])
        self.assertEqual(asyncio.all_tasks(), {asyncio.current_task()})

    async def assert_cut(self, expected: bytes) -> None:
        """What is half sent stays so: the peer sees that the end is missing (RFC 9112 8)."""
        await self.assert_answer(expected)
        self.assertIn("abort", self.transport.calls)
        self.assertNotIn("write_eof", self.transport.calls)
        await self.assert_over()


class AnswerTests(PageCase):
    async def test_get_is_answered_and_the_connection_closes(self) -> None:
        await self.begin_steps(START, BODY)
        await self.assert_answered(PAGE)

    async def test_head_is_answered_without_the_body(self) -> None:
        await self.begin_steps(START, BODY, method=b"HEAD")
        await self.assert_answered(PAGE[:-2])

    async def test_other_methods_are_answered_with_it(self) -> None:
        await self.begin_steps(START, BODY, method=b"POST")
        await self.assert_answered(PAGE)

    async def test_response_in_parts(self) -> None:
        await self.begin_steps(START, PART, "wait", BODY)
        await self.assert_answer(HALF_SENT)
        self.gate.set()
        await self.assert_answered(b"2\r\nhi\r\n0\r\n\r\n")

    async def test_head_of_a_response_that_is_quiet_at_first_leaves_with_the_next_sweep(self) -> None:
        await self.begin_steps(START, "wait", PART, BODY)
        await self.assert_answer(b"")
        self.service.sweep()
        await self.assert_answer(HALF_SENT[: -len(b"2\r\nhi\r\n")])
        self.service.sweep()
        await self.assert_answer(b"")
        self.gate.set()
        await self.assert_answered(b"2\r\nhi\r\n2\r\nhi\r\n0\r\n\r\n")

    async def test_sweep_sends_no_head_behind_a_refusal(self) -> None:
        await self.begin_steps(START, ValueError("a"))
        self.service.sweep()
        await self.assert_answered(RAISED)

    async def test_scope_is_that_of_the_request(self) -> None:
        scopes: List[Event] = []

        async def app(scope: Event, receive: Any, send: Any) -> None:
            scopes.append(scope)

        await self.begin(app, state={"room": 5})
        (scope,) = scopes
        expected = {"type": "http", "method": "GET", "scheme": "http", "path": "/a", "query_string": b"b"}
        self.assertLessEqual(expected.items(), {key: scope[key] for key in expected}.items())
        self.assertEqual((scope["client"], scope["server"]), (("127.0.0.1", 50000), ("127.0.0.1", 8000)))
        self.assertEqual(scope["state"], {"room": 5})

    async def test_scheme_is_https_under_tls(self) -> None:
        scopes: List[Event] = []

        async def app(scope: Event, receive: Any, send: Any) -> None:
            scopes.append(scope)

        self.transport = MemoryTransport(half_close=False, sslcontext=object())
        await self.begin(app)
        self.assertEqual(scopes[0]["scheme"], "https")

    async def test_one_line_of_the_log_tells_the_status(self) -> None:
        with self.assertLogs(logger, "INFO") as logs:
            await self.begin_steps({**START, "status": 404}, BODY)
        self.assertEqual(logs.output, ['INFO:wsbridge.access:127.0.0.1:50000 "GET /a" 404'])

    async def test_bytes_behind_the_request_are_never_parsed(self) -> None:
        await self.begin_steps("wait", START, BODY)
        self.transport.feed(b"GET /a HTTP/1.1\r\nHost: c\r\n\r\n")
        self.gate.set()
        await self.assert_answered(PAGE)

    async def test_application_that_works_on_behind_its_response_may_do_so(self) -> None:
        await self.begin_steps(START, BODY, "wait")
        await self.assert_answer(PAGE)
        self.clock.advance(100)
        self.service.sweep()
        self.gate.set()
        await self.assert_answered(b"")

    async def test_application_may_raise_behind_its_response(self) -> None:
        with self.assertLogs(logger, "ERROR"):
            await self.begin_steps(START, BODY, KeyError("background"))
        await self.assert_answered(PAGE)

    async def test_stopping_server_lets_it_finish(self) -> None:
        await self.begin_steps("wait", START, BODY)
        stopping = asyncio.ensure_future(self.service.shut_down(10))
        await self.assert_answer(b"")
        self.gate.set()
        await turn_loop()
        self.transport.feed_eof()
        await asyncio.wait_for(stopping, 10)
        self.assertEqual(self.transport.written, PAGE)

    async def test_send_waits_while_the_peer_does_not_read(self) -> None:
        self.transport.is_peer_reading = False
        await self.begin_steps(START, {**PART, "body": b"x" * 100}, PART, BODY, ws_write_limit=64)
        self.assertNotIn(b"\r\nhi\r\n", self.transport.written)
        self.transport.is_peer_reading = True
        self.transport.take()
        await turn_loop()
        self.assertTrue(self.transport.written.endswith(b"\r\n2\r\nhi\r\n2\r\nhi\r\n0\r\n\r\n"))

    async def test_peer_that_takes_nothing_is_cut_off(self) -> None:
        self.transport.is_peer_reading = False
        await self.begin_steps(START, {**PART, "body": b"x" * 100}, BODY, ws_write_limit=64)
        for _ in range(2):
            self.assertNotIn("abort", self.transport.calls)
            self.clock.advance(30)
            self.service.sweep()
        await self.assert_over()


class NoAnswerTests(PageCase):
    async def test_application_that_raises_gets_500_and_a_line_in_the_log(self) -> None:
        for steps in ((KeyError("a"),), (START, KeyError("a"))):
            self.transport = MemoryTransport()
            with self.assertLogs(logger, "ERROR") as logs:
                await self.begin_steps(*steps)
            await self.assert_answered(RAISED)
            self.assertRegex(logs.output[0], "(?s)application raised.*KeyError: 'a'")

    async def test_application_that_returns_early_gets_500(self) -> None:
        for steps in ((), ("receive",), (START,)):
            self.transport = MemoryTransport()
            await self.begin_steps(*steps)
            await self.assert_answered(RETURNED)

    async def test_refused_head_has_no_body(self) -> None:
        await self.begin_steps(method=b"HEAD")
        await self.assert_answered(RETURNED.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")

    async def test_response_that_is_half_sent_is_cut_where_the_application_raises(self) -> None:
        await self.begin_steps(START, PART, KeyError("a"))
        await self.assert_cut(HALF_SENT)

    async def test_response_that_is_half_sent_is_cut_where_the_application_returns(self) -> None:
        await self.begin_steps(START, PART)
        await self.assert_cut(HALF_SENT)

    async def test_status_of_a_half_sent_response_is_the_one_that_was_sent(self) -> None:
        line = 'INFO:wsbridge.access:127.0.0.1:50000 "GET /a" 200'
        returned = "ERROR:wsbridge.error:application returned before its response was complete"
        for steps, expected in (
            ((), [returned, line]),
            ((KeyError("a"),), ["ERROR:wsbridge.error:application raised", line]),
        ):
            self.transport = MemoryTransport()
            with self.assertLogs(logger, "INFO") as logs:
                await self.begin_steps(START, PART, *steps)
            await self.assert_cut(HALF_SENT)
            self.assertEqual([output.partition("\n")[0] for output in logs.output], expected)

    async def test_header_that_cannot_be_sent_raises_in_the_application_and_is_500(self) -> None:
        with self.assertLogs(logger, "ERROR") as logs:
            await self.begin_steps({**START, "headers": [(b"a", b"b\r\nc: d")]})
        await self.assert_answered(RAISED)
        self.assertIn("EventError", logs.output[0])

    async def test_cut_ends_the_application_and_writes_nothing(self) -> None:
        await self.begin_steps("wait")
        self.service.abort()
        await self.assert_cut(b"")


class PatienceTests(PageCase):
    """`timeout_accept` is for WebSockets: a page may take its time."""

    async def assert_waits(self, *steps: Any) -> None:
        await self.begin_steps(*steps, timeout_accept=5.0)
        self.clock.advance(1e6)
        self.service.sweep()
        await turn_loop()
        self.assertNotIn("abort", self.transport.calls)
        self.gate.set()
        await self.assert_answered(PAGE)

    async def test_answer_may_come_late(self) -> None:
        await self.assert_waits("wait", START, BODY)

    async def test_response_that_is_on_its_way_may_take_longer(self) -> None:
        await self.begin_steps(START, PART, "wait", BODY)
        self.clock.advance(1e6)
        self.service.sweep()
        self.gate.set()
        await self.assert_answered(HALF_SENT + b"2\r\nhi\r\n0\r\n\r\n")

    async def test_application_that_works_on_without_its_client_may_do_so(self) -> None:
        await self.begin_steps("wait", START, BODY)
        self.transport.lose()
        self.clock.advance(1e6)
        self.service.sweep()
        await self.assert_answer(b"")
        self.gate.set()
        await self.assert_over()


class DisconnectTests(PageCase):
    async def test_disconnect_wakes_receive(self) -> None:
        await self.begin_steps("receive", "receive")
        self.assertEqual(self.heard, ["http.request"])
        self.transport.lose(ConnectionResetError())
        await self.assert_over()
        self.assertEqual(self.heard, ["http.request", "http.disconnect"])

    async def test_receive_behind_the_whole_response_is_a_disconnect(self) -> None:
        await self.begin_steps("receive", START, BODY, "receive")
        self.assertEqual(self.heard, ["http.request", "http.disconnect"])
        await self.assert_answered(PAGE)

    async def test_send_does_nothing_once_the_client_is_gone_and_nothing_is_logged(self) -> None:
        await self.begin_steps("wait", START, PART, BODY, {"type": "nonsense"})
        self.transport.lose()
        with self.assertLogs(logger, "DEBUG") as logs:
            self.gate.set()
            await self.assert_over()
            logger.debug("nothing before this")
        self.assertEqual(logs.output, ["DEBUG:wsbridge:nothing before this"])
        self.assertEqual(self.transport.written, b"")

    async def test_application_that_waits_for_room_is_woken(self) -> None:
        self.transport.is_peer_reading = False
        await self.begin_steps(START, {**PART, "body": b"x" * 100}, BODY, ws_write_limit=64)
        self.transport.lose()
        await self.assert_over()

    async def test_client_that_reads_nothing_is_a_line_of_the_access_log(self) -> None:
        self.transport.is_peer_reading = False
        await self.begin_steps(START, {**PART, "body": b"x" * 100}, BODY, ws_write_limit=64, timeout_write=10)
        self.service.sweep()
        self.clock.advance(10)
        with self.assertLogs(logger, "INFO") as logs:
            self.service.sweep()
            await self.assert_over()
        text = "ends its connection: the client read nothing for timeout_write"
        self.assertEqual(logs.output[0], f'INFO:wsbridge.access:127.0.0.1:50000 "GET /a" {text}')

    async def test_application_that_ignores_it_is_cancelled_after_its_grace_time(self) -> None:
        await self.begin_steps("wait", timeout_app=5.0)
        self.transport.lose()
        self.clock.advance(4.9)
        self.service.sweep()
        self.assertEqual(len(self.service.members), 1)
        self.clock.advance(0.1)
        self.service.sweep()
        await self.assert_over()

    @unittest.skipUnless(sys.implementation.name == "cpython", "this Python counts no references")
    async def test_page_that_is_over_is_freed_without_the_collector_of_cycles(self) -> None:
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        await self.begin_steps(START, BODY)
        await self.assert_answer(PAGE)
        self.transport.lose()
        await self.assert_over()
        self.assertFalse(any(type(item) is HttpExchange for item in gc.get_objects()))

    async def test_half_closed_client_still_gets_its_answer(self) -> None:
        await self.begin_steps("receive", "wait", START, BODY)
        self.transport.feed_eof()
        await self.assert_answer(b"")
        self.gate.set()
        await self.assert_answer(PAGE)
        # It has nothing more to say: our side closes at once.
        self.assertEqual(self.transport.calls, ["close"])
        await self.assert_over()

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.service.sweep()
        await turn_loop()

    async def test_client_that_half_closed_and_got_nothing_has_left(self) -> None:
        await self.begin_steps("receive", "receive", timeout_close=5.0)
        self.transport.feed_eof()
        await self.advance(4.9)
        self.assertEqual(self.heard, ["http.request"])
        await self.advance(0.1)
        self.assertEqual(self.heard, ["http.request", "http.disconnect"])
        await self.assert_answer(RETURNED)
        await self.assert_over()

    async def test_client_that_half_closed_has_left_by_a_sweep_that_comes_late(self) -> None:
        await self.begin_steps("receive", "receive", timeout_close=5.0)
        self.transport.feed_eof()
        await self.advance(5.1)
        self.assertEqual(self.heard, ["http.request", "http.disconnect"])

    async def test_half_closed_client_gets_a_late_answer_where_nobody_asks_whether_it_has_left(self) -> None:
        await self.begin_steps("receive", "wait", START, BODY, timeout_close=5.0)
        self.transport.feed_eof()
        await self.advance(100)
        self.gate.set()
        await self.assert_answer(PAGE)
        await self.assert_over()

    async def test_without_a_deadline_a_half_closed_client_is_never_taken_to_have_left(self) -> None:
        await self.begin_steps("receive", "receive", timeout_close=None)
        self.transport.feed_eof()
        await self.advance(1e6)
        self.assertEqual(self.heard, ["http.request"])

    async def test_client_that_leaves_an_endless_response_is_told_to_the_application(self) -> None:
        await self.begin_steps("receive", START, PART, "receive", BODY)
        await self.assert_answer(HALF_SENT)
        self.transport.feed_eof()
        await self.assert_answer(b"2\r\nhi\r\n0\r\n\r\n")
        self.assertEqual(self.heard, ["http.request", "http.disconnect"])
        await self.assert_over()

    async def test_endless_response_that_its_client_has_left_is_logged_with_its_status(self) -> None:
        # As an event stream does: told of the disconnect, it returns and sends no end.
        for leave in (MemoryTransport.feed_eof, MemoryTransport.lose):
            self.transport = MemoryTransport()
            with self.assertLogs(logger, "INFO") as logs:
                await self.begin_steps("receive", START, PART, "receive")
                leave(self.transport)
                await self.assert_over()
            self.assertEqual(logs.output, ['INFO:wsbridge.access:127.0.0.1:50000 "GET /a" 200'])

    async def test_client_that_left_before_an_endless_response_is_told_too(self) -> None:
        await self.begin_steps("receive", "wait", START, PART, "receive", BODY)
        self.transport.feed_eof()
        await self.assert_answer(b"")
        self.gate.set()
        await self.assert_answer(HALF_SENT + b"2\r\nhi\r\n0\r\n\r\n")
        self.assertEqual(self.heard, ["http.request", "http.disconnect"])

    async def test_stopping_server_lets_a_response_finish(self) -> None:
        # Told of a disconnect, frameworks end the response in good order, and the client takes it for whole.
        await self.begin_steps("receive", START, PART, "wait", BODY)
        await self.assert_answer(HALF_SENT)
        stopping = asyncio.ensure_future(self.service.shut_down(10))
        await self.assert_answer(b"")
        self.gate.set()
        await self.assert_answered(b"2\r\nhi\r\n0\r\n\r\n")
        await stopping

    async def test_tls_cannot_be_half_closed_and_is_over(self) -> None:
        self.transport = MemoryTransport(half_close=False)
        await self.begin_steps("receive", "receive")
        self.transport.feed_eof()
        await self.assert_over()
        self.assertEqual(self.heard, ["http.request", "http.disconnect"])


if __name__ == "__main__":
    unittest.main()
