"""`Connection`: from the accept to the end of the request's head, and what answers it then."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import json
import re
import unittest
from typing import Any, Dict, List
from unittest import mock

from tests.doubles import DATE, build_date
from wsbridge.config import ServerConfig
from wsbridge.protocols.events import RequestReceived
from wsbridge.server.connection.head import Connection
from wsbridge.server.connection.http import HttpExchange
from wsbridge.server.connection.linger import Linger
from wsbridge.server.connection.websocket import WebSocketExchange
from wsbridge.server.logs.log import logger
from wsbridge.server.service import Service

from .doubles import Clock, MemoryTransport, turn_loop
from .loopback import CLOSE_1012, HELLO, PEER_CLOSE, PEER_HELLO, REQUEST, SWITCHING

Event = Dict[str, Any]

NAME = contextvars.ContextVar("NAME", default="nobody")

PAGE_REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PAGE = b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: 2\r\n\r\nhi"
LAST_PAGE = b"HTTP/1.1 200 OK\r\n" + DATE + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi"


def refusal(status: bytes, text: bytes, headers: bytes = b"") -> bytes:
    """A refusal's bytes: nothing of a refused connection is used again (RFC 9112 9.6)."""
    rest = b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b\n"
    return b"HTTP/1.1 %b\r\n%b%b" % (status, DATE, headers) + rest % (len(text) + 1, text)


TIMEOUT = refusal(b"408 Request Timeout", b"the request's head was not complete in time")
STOPPING = refusal(b"503 Service Unavailable", b"the server is stopping", b"Retry-After: 1\r\n")
MALFORMED = refusal(b"400 Bad Request", b"malformed request line")


class ConnectionCase(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        asyncio.get_running_loop().set_debug(False)
        self.scopes: List[Event] = []
        self.clock = Clock()
        logger.setLevel("CRITICAL")
        self.addCleanup(logger.setLevel, "NOTSET")
        # Its connections are cut, with warnings, before the level comes back.
        self.configure()

    def configure(self, **options: Any) -> None:
        self.service = Service(self.app, ServerConfig(**options), clock=self.clock, date=build_date)
        self.addAsyncCleanup(self.end)

    async def end(self) -> None:
        self.service.abort()
        await turn_loop()
        self.service.members.clear()

    async def app(self, scope: Event, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"hi"})
            return
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})

    def connect(self, **extra: Any) -> MemoryTransport:
        transport = MemoryTransport(**extra)
        connection = Connection(self.service)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        return transport

    async def assert_answer(self, transport: MemoryTransport, expected: bytes) -> None:
        await turn_loop()
        self.assertEqual(transport.read(), expected)

    async def assert_refused(self, transport: MemoryTransport, expected: bytes) -> None:
        """``expected`` is all that is written, our side is half closed, and the peer's rest discarded."""
        await self.assert_answer(transport, expected)
        self.assertIsInstance(transport.get_protocol(), Linger)
        self.assertIn("write_eof", transport.calls)
        transport.feed(PAGE_REQUEST + REQUEST)
        await self.assert_answer(transport, b"")
        transport.feed_eof()
        await turn_loop()
        self.assertEqual((list(self.service.members), self.scopes), ([], []))


class HeadTests(ConnectionCase):
    async def test_upgrade_request_is_answered_by_a_websocket(self) -> None:
        transport = self.connect()
        transport.feed(REQUEST)
        self.assertIsInstance(transport.get_protocol(), WebSocketExchange)
        await self.assert_answer(transport, SWITCHING)
        transport.feed(PEER_HELLO)
        await self.assert_answer(transport, HELLO)

    async def test_get_is_answered_by_a_page(self) -> None:
        transport = self.connect()
        transport.feed(PAGE_REQUEST)
        self.assertIsInstance(transport.get_protocol(), HttpExchange)
        await self.assert_answer(transport, PAGE)

    async def test_configured_headers_stand_in_every_answer(self) -> None:
        self.configure(headers=[("X-A", "b")])
        for request, answer in (
            (REQUEST, SWITCHING[:-2] + b"X-A: b\r\n\r\n"),
            (PAGE_REQUEST, PAGE.replace(DATE, DATE + b"X-A: b\r\n")),
            (b"\x01", refusal(b"400 Bad Request", b"byte 0x01 in the method", b"X-A: b\r\n")),
        ):
            transport = self.connect()
            transport.feed(request)
            await self.assert_answer(transport, answer)

    async def test_configured_date_takes_the_place_of_ours(self) -> None:
        self.configure(headers=[("Date", "never")])
        transport = self.connect()
        transport.feed(PAGE_REQUEST)
        await self.assert_answer(transport, PAGE.replace(DATE, b"Date: never\r\n"))

    async def test_scopes_of_both_kinds_can_be_copied_and_their_extensions_written_down(self) -> None:
        for request in (REQUEST, PAGE_REQUEST):
            transport = self.connect()
            transport.feed(request)
            await turn_loop()
            scope = self.scopes[-1]
            self.assertEqual(copy.deepcopy(scope), scope)
            self.assertIsInstance(json.dumps(scope["extensions"]), str)
            transport.lose()
            await turn_loop()

    async def test_each_connection_has_a_context_of_its_own(self) -> None:
        seen: List[str] = []

        async def app(scope: Event, receive: Any, send: Any) -> None:
            seen.append(NAME.get())
            NAME.set(scope["type"])
            await receive()
            seen.append(NAME.get())

        self.service.app = app
        for request in (REQUEST, PAGE_REQUEST, REQUEST):
            self.connect().feed(request)
            await turn_loop()
        self.assertEqual(seen, ["nobody", "websocket", "nobody", "http", "nobody", "websocket"])
        self.assertEqual(NAME.get(), "nobody")

    async def test_connection_is_a_member_until_another_takes_over(self) -> None:
        transport = self.connect()
        connection = transport.get_protocol()
        self.assertEqual(list(self.service.members), [connection])
        transport.feed(REQUEST)
        self.assertEqual(list(self.service.members), [transport.get_protocol()])
        self.assertNotIn(connection, self.service.members)

    async def test_head_in_pieces_at_every_split_point(self) -> None:
        for at in range(1, len(REQUEST)):
            transport = self.connect()
            transport.feed(REQUEST[:at])
            await self.assert_answer(transport, b"")
            transport.feed(REQUEST[at:])
            await self.assert_answer(transport, SWITCHING)

    async def test_head_one_byte_at_a_time(self) -> None:
        transport = self.connect()
        for byte in REQUEST:
            self.assertEqual(transport.written, b"")
            transport.feed(bytes([byte]))
        await self.assert_answer(transport, SWITCHING)

    async def test_frames_behind_the_head_in_one_segment_are_answered_in_order(self) -> None:
        transport = self.connect()
        transport.feed(REQUEST + PEER_HELLO + b"\x81\x81\0\0\0\0b")
        await self.assert_answer(transport, SWITCHING + HELLO + b"\x81\x01b")

    async def test_connection_not_upgrade_and_upgrade_h2c_are_plain_requests(self) -> None:
        for before, after, page in (
            (b"Connection: Upgrade", b"Connection: close", LAST_PAGE),
            (b"Connection: Upgrade", b"Connection: keep-alive", PAGE),
            (b"websocket", b"h2c", PAGE),
        ):
            transport = self.connect()
            transport.feed(REQUEST.replace(before, after))
            await self.assert_answer(transport, page)

    async def test_request_of_any_method_without_a_body_is_answered_by_a_page(self) -> None:
        for method in (b"OPTIONS", b"DELETE", b"POST", b"PRI", b"get", b"M-SEARCH"):
            for line in (b"", b"Content-Length: 0\r\n", b"Expect: 100-continue\r\n", b"Expect: a\r\n"):
                transport = self.connect()
                transport.feed(method + b" / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n")
                await self.assert_answer(transport, PAGE)
                self.assertEqual(self.scopes[-1]["method"], method.decode())

    async def test_options_of_the_server_itself_is_answered_by_a_page(self) -> None:
        # RFC 9112 3.2.4.
        transport = self.connect()
        transport.feed(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        await self.assert_answer(transport, PAGE)
        self.assertEqual((self.scopes[0]["method"], self.scopes[0]["path"]), ("OPTIONS", "*"))

    async def test_request_in_http_1_0_is_answered_by_a_page_with_or_without_host(self) -> None:
        # HAProxy's `option httpchk GET /`, nginx's default `proxy_pass`, and one that must be ignored.
        for lines in (b"", b"Host: a\r\n", b"Host: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"):
            transport = self.connect()
            transport.feed(b"GET / HTTP/1.0\r\n" + lines + b"\r\n")
            await turn_loop()
            self.assertRegex(transport.read(), b"(?s)^HTTP/1.1 200 OK\r\n.*Connection: close\r\n.*hi$")
            self.assertEqual(self.scopes[-1]["http_version"], "1.0")

    async def test_head_of_20_kib_and_a_url_of_9_kb_are_served(self) -> None:
        cookie = b"\r\nCookie: " + b"a" * 20480
        for request in (
            REQUEST.replace(b"\r\n\r\n", cookie + b"\r\n\r\n"),
            REQUEST.replace(b"/chat", b"/" + b"a" * 9000),
        ):
            transport = self.connect()
            transport.feed(request)
            await self.assert_answer(transport, SWITCHING)

    async def test_bytes_behind_a_last_request_are_never_parsed(self) -> None:
        for last in (PAGE_REQUEST[:-2] + b"Connection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
            transport = self.connect()
            transport.feed(last + PAGE_REQUEST)
            await self.assert_answer(transport, LAST_PAGE)
        self.assertEqual(len(self.scopes), 2)

    async def test_another_server_hands_over_a_transport_and_the_bytes_it_has_read(self) -> None:
        transport = MemoryTransport(peername=("192.0.2.1", 5000))
        connection = Connection(self.service)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.data_received(REQUEST + PEER_HELLO)
        await self.assert_answer(transport, SWITCHING + HELLO)
        self.assertEqual(self.scopes[0]["client"], ("192.0.2.1", 5000))

    async def test_bytes_that_come_when_it_is_over_are_ignored(self) -> None:
        transport = self.connect()
        connection: Any = transport.get_protocol()
        transport.feed(b"\0")
        transport.read()
        connection.data_received(PAGE_REQUEST)
        connection.shut_down()
        connection.abort()
        await self.assert_answer(transport, b"")
        self.assertNotIn("abort", transport.calls)


class RefusalTests(ConnectionCase):
    async def test_malformed_request_is_400(self) -> None:
        transport = self.connect()
        transport.feed(b"\r\n\r\n")
        await self.assert_refused(transport, MALFORMED)

    async def test_data_after_a_refusal_is_never_parsed_in_the_same_segment_either(self) -> None:
        transport = self.connect()
        transport.feed(b"\r\n\r\n" + PAGE_REQUEST)
        await self.assert_refused(transport, MALFORMED)

    async def test_body_of_two_lengths_and_body_of_an_upgrade_are_400(self) -> None:
        for head in (
            PAGE_REQUEST.replace(
                b"\r\n\r\n", b"\r\nContent-Length: 28\r\nTransfer-Encoding: chunked\r\n\r\n"
            ),
            PAGE_REQUEST.replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\nContent-Length: 28\r\n\r\n"),
            REQUEST.replace(b"\r\n\r\n", b"\r\nContent-Length: 28\r\n\r\n"),
        ):
            transport = self.connect()
            transport.feed(head + PAGE_REQUEST)
            await turn_loop()
            self.assertRegex(transport.written, b"^HTTP/1.1 400 Bad Request\r\n")
            self.assertEqual(transport.written.count(b"HTTP/1.1"), 1)
        self.assertEqual(self.scopes, [])

    async def test_connect_is_405(self) -> None:
        transport = self.connect()
        transport.feed(b"CONNECT a:443 HTTP/1.1\r\n")
        await self.assert_refused(
            transport, refusal(b"405 Method Not Allowed", b"CONNECT is for proxies", b"Allow: GET, HEAD\r\n")
        )

    async def test_upgrade_over_http_1_0_is_426_and_one_line_of_the_log_says_why(self) -> None:
        text = b"the opening handshake must be HTTP/1.1, and came in HTTP/1.0 (nginx: proxy_http_version 1.1)"
        transport = self.connect()
        with self.assertLogs(logger, "INFO") as logs:
            transport.feed(REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"))
        expected = refusal(b"426 Upgrade Required", text, b"Upgrade: websocket\r\n")
        expected = expected.replace(b"Connection: close", b"Connection: Upgrade, close")
        await self.assert_refused(transport, expected)
        self.assertEqual(
            logs.output, [f'INFO:wsbridge.access:127.0.0.1:50000 "GET /chat" refused: 426 {text.decode()}']
        )

    async def test_wrong_websocket_version_is_426_and_names_what_is_required(self) -> None:
        transport = self.connect()
        transport.feed(REQUEST.replace(b"Version: 13", b"Version: 8"))
        expected = refusal(
            b"426 Upgrade Required",
            b"Sec-WebSocket-Version must be 13",
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        )
        # RFC 9110 7.8: a sender of Upgrade names it in Connection.
        expected = expected.replace(b"Connection: close", b"Connection: Upgrade, close")
        await self.assert_refused(transport, expected)

    async def test_origin_that_is_not_allowed_is_403(self) -> None:
        self.configure(allowed_origins=("https://a.example",))
        transport = self.connect()
        transport.feed(REQUEST.replace(b"\r\n\r\n", b"\r\nOrigin: https://b.example\r\n\r\n"))
        await self.assert_refused(transport, refusal(b"403 Forbidden", b"Origin is not allowed"))

    async def test_same_origin_is_that_of_the_targets_authority_where_it_has_one(self) -> None:
        self.configure(allowed_origins=("same-origin",))
        request = b"GET ws://a:81/chat HTTP/1.1\r\nHost: b" + REQUEST[REQUEST.index(b"\r\nUpgrade") : -2]
        for origin, answer in ((b"http://a:81", b"101"), (b"http://b", b"403"), (b"http://a", b"403")):
            transport = self.connect()
            transport.feed(request + b"Origin: %b\r\n\r\n" % origin)
            await turn_loop()
            self.assertEqual(transport.read()[9:12], answer)
            transport.lose()
            await turn_loop()

    async def test_malformed_subprotocols_and_offers_are_400_and_the_application_is_not_called(self) -> None:
        for name, text in ((b"Protocol", b"Sec-WebSocket-Protocol"), (b"Extensions", b"")):
            transport = self.connect()
            transport.feed(REQUEST.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-%b: a b\r\n\r\n" % name))
            await turn_loop()
            self.assertRegex(transport.written, b"(?s)^HTTP/1.1 400 Bad Request\r\n.*" + text)
            transport.feed_eof()
            await turn_loop()
        self.assertEqual((list(self.service.members), self.scopes), ([], []))

    async def test_limits_are_those_of_the_configuration(self) -> None:
        self.configure(limit_request_line=20, limit_request_head=64, limit_request_fields=2)
        for request, status in (
            (b"GET /23456789012345 HTTP/1.1\r\n", b"414"),
            (b"GET / HTTP/1.1\r\na: %b\r\n" % (b"x" * 64), b"431"),
            (b"GET / HTTP/1.1\r\na:\r\nb:\r\nc:\r\n", b"431"),
        ):
            transport = self.connect()
            transport.feed(request)
            self.assertEqual(transport.read()[:12], b"HTTP/1.1 " + status)

    async def test_refused_head_request_gets_no_body(self) -> None:
        transport = self.connect()
        transport.feed(b"HEAD / HTTP/1.1\r\n\r\n")
        expected = refusal(b"400 Bad Request", b"no Host header")
        await self.assert_refused(transport, expected[: -len(b"no Host header\n")])

    async def test_head_request_for_an_upgrade_gets_no_body_either(self) -> None:
        transport = self.connect()
        transport.feed(REQUEST.replace(b"GET", b"HEAD"))
        await turn_loop()
        self.assertRegex(transport.written, b"(?s)^HTTP/1.1 405 .*\r\nContent-Length: [1-9].*\r\n\r\n$")

    async def test_refusal_is_one_line_of_the_log(self) -> None:
        with self.assertLogs(logger, "INFO") as logs:
            self.connect().feed(b"GET /\x1b[2J")
        self.assertEqual(
            logs.output, ["INFO:wsbridge.access:127.0.0.1:50000 refused: 400 byte 0x1b in the target"]
        )

    async def test_line_of_the_log_names_the_request_once_its_target_is_known(self) -> None:
        for data, named in (
            (b"GET /a?b=%22 HTTP/1.1\r\n\r\n", '"GET /a?b=%22" refused: 400 no Host header'),
            (b"GET /" + b"a" * 1000 + b" HTTP/9.9\r\n", f'"GET /{"a" * 199}" refused: 505 '),
            (b"GET /a", "refused: 503 the server is stopping"),
        ):
            with self.assertLogs(logger, "INFO") as logs:
                connection = self.connect()
                connection.feed(data)
                self.clock.advance(1)
                connection.get_protocol().shut_down()  # type: ignore[attr-defined]
            self.assertTrue(
                logs.output[0].startswith(f"INFO:wsbridge.access:127.0.0.1:50000 {named}"), logs.output
            )


class HintTests(ConnectionCase):
    """One line of the log that names what was most likely meant; the answer is the same as without."""

    async def assert_hint(self, request: bytes, *lines: str) -> bytes:
        """What was logged before the answer, without the client's address; returns the answer."""
        transport = self.connect()
        with self.assertLogs(logger, "INFO") as logs:
            transport.feed(request)
            await turn_loop()
        hints = [record.getMessage() for record in logs.records if "hint" in record.args]  # type: ignore[operator]
        self.assertEqual([re.sub(r'^\S+ ("[^"]*" )?', "", hint) for hint in hints], list(lines))
        return transport.read()

    async def assert_foreign(self, start: bytes, refusal: str, hint: str) -> None:
        """Bytes of another protocol are 400 and one line, whole and byte by byte."""
        for pieces in ([start], [bytes([byte]) for byte in start]):
            transport = self.connect()
            with self.assertLogs(logger, "INFO") as logs:
                for piece in pieces:
                    transport.feed(piece)
            self.assertEqual(
                logs.output, [f"INFO:wsbridge.access:127.0.0.1:50000 refused: 400 {refusal}; {hint}"]
            )
            self.assertRegex(transport.written, b"^HTTP/1.1 400 Bad Request\r\n")

    async def test_tls_hello(self) -> None:
        hint = "this looks like a TLS hello on a port without TLS (ssl_certfile)"
        for version in (b"\x03\x01", b"\x03\x03"):
            hello = b"\x16" + version + b"\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32)
            await self.assert_foreign(hello, "byte 0x16 in the method", hint)

    async def test_proxy_protocol_line(self) -> None:
        hint = "this looks like a PROXY protocol line where none is read (proxy_protocol)"
        for line in (b"TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", b"TCP6 2001:db8::1 ::1 56324 443\r\n"):
            refusal = "target is neither a path nor an absolute URI"
            await self.assert_foreign(b"PROXY " + line + PAGE_REQUEST, refusal, hint)
        await self.assert_foreign(b"PROXY UNKNOWN\r\n", "byte 0x0d in the target", hint)

    async def test_proxy_protocol_header_of_version_2(self) -> None:
        signature = bytes.fromhex("0d0a0d0a000d0a515549540a")
        hint = "this looks like a PROXY protocol header (version 2) where none is read (proxy_protocol)"
        line = await self.assert_hint(
            signature + b"\x21\x11\x00\x0c" + bytes(12), f"refused: 400 malformed request line; {hint}"
        )
        self.assertRegex(line, b"^HTTP/1.1 400 ")

    async def test_http_2_preface(self) -> None:
        refusal = "target is neither a path nor an absolute URI"
        hint = "this looks like HTTP/2, which is not supported"
        await self.assert_foreign(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refusal, hint)

    async def test_what_looks_like_nothing_else_has_no_hint(self) -> None:
        for start in (
            b"\r\n\r\n\x00\r\nQUIT",
            b"PROXY TCP5 ",
            b"GET \x16\x03",
            b"\x15\x03\x01",
            b"PROXY / HTTP/1.1\r\n\r\n",
            PAGE_REQUEST[:-2] + b"\x16\x03",
        ):
            transport = self.connect()
            with self.assertLogs(logger, "INFO") as logs:
                transport.feed(start)
            self.assertNotIn("looks like", logs.output[0])

    PROXY = "(if a proxy has left it out: nginx needs proxy_http_version 1.1 and proxy_set_header for both)"

    async def test_upgrade_without_connection_upgrade(self) -> None:
        line = f"sent Upgrade: websocket without Connection: Upgrade, which is a plain request {self.PROXY}"
        for replacement, page in (
            (b"", PAGE),
            (b"Connection: close\r\n", LAST_PAGE),
            (b"Connection: keep-alive\r\n", PAGE),
        ):
            request = REQUEST.replace(b"Connection: Upgrade\r\n", replacement)
            self.assertEqual(await self.assert_hint(request, line), page)
        await self.assert_hint(b"GET / HTTP/1.0\r\nUpgrade: h2c, WebSocket\r\n\r\n", line)

    async def test_key_without_upgrade(self) -> None:
        line = f"sent Sec-WebSocket-Key without Upgrade: websocket, which is a plain request {self.PROXY}"
        for replacement in (b"", b"Upgrade: h2c\r\n", b"Upgrade: websocket/13\r\n"):
            request = REQUEST.replace(b"Upgrade: websocket\r\n", replacement)
            self.assertEqual(await self.assert_hint(request, line), PAGE)
        # nginx's default: HTTP/1.0, without Upgrade, and with Connection: close.
        bare = REQUEST.replace(b"Upgrade: websocket\r\n", b"").replace(b": Upgrade", b": close")
        await self.assert_hint(bare.replace(b"HTTP/1.1", b"HTTP/1.0"), line)

    async def test_plain_requests_have_no_hint(self) -> None:
        for line in (b"", b"Upgrade: h2c\r\n", b"Connection: Upgrade\r\n", b"Sec-WebSocket-Version: 13\r\n"):
            await self.assert_hint(PAGE_REQUEST[:-2] + line + b"\r\n")

    async def test_host_that_is_not_the_targets(self) -> None:
        line = "sent Host b, but the target names a, which is used"
        head = REQUEST.replace(b"/chat", b"ws://a/chat").replace(b"server.example.com", b"b")
        self.assertEqual(await self.assert_hint(head, line), SWITCHING)
        self.assertIn((b"host", b"a"), self.scopes[-1]["headers"])
        page = b"GET http://a HTTP/1.1\r\nHost: b\r\n\r\n"
        self.assertEqual(await self.assert_hint(page, line), PAGE)

    async def test_host_that_is_the_targets_is_no_news(self) -> None:
        await self.assert_hint(b"GET http://a:80/ HTTP/1.1\r\nHost: A\r\n\r\n")

    async def test_long_hosts_are_cut(self) -> None:
        line = f"sent Host {'b' * 80}, but the target names {'a' * 80}, which is used"
        await self.assert_hint(
            b"GET http://%b/ HTTP/1.1\r\nHost: %b\r\n\r\n" % (b"a" * 9000, b"b" * 9000), line
        )


class DeadlineTests(ConnectionCase):
    async def test_head_that_is_not_complete_in_time_is_408(self) -> None:
        self.configure(timeout_handshake=5.0)
        transport = self.connect()
        self.clock.advance(4.9)
        transport.feed(b"GET / HTTP/1.1\r\n")
        self.service.sweep()
        await self.assert_answer(transport, b"")
        self.clock.advance(0.1)
        self.service.sweep()
        await self.assert_refused(transport, TIMEOUT)

    async def test_deadline_begins_at_the_accept_and_not_behind_a_tls_handshake(self) -> None:
        connection = Connection(self.service)
        self.clock.advance(10)
        transport = MemoryTransport()
        transport.set_protocol(connection)
        connection.connection_made(transport)
        transport.feed(b"G")
        self.service.sweep()
        await self.assert_refused(transport, TIMEOUT)

    async def test_peer_that_sends_nothing_at_all_gets_no_answer_by_a_sweep_that_comes_late(self) -> None:
        # A client that has connected in advance would take a 408 for the answer to its request.
        transport = self.connect()
        self.clock.advance(10.1)
        self.service.sweep()
        await self.assert_refused(transport, b"")

    async def test_peer_has_any_time_where_none_is_configured(self) -> None:
        self.configure(timeout_handshake=None)
        transport = self.connect()
        for piece in (REQUEST[:1], REQUEST[1:-1], REQUEST[-1:]):
            self.clock.advance(1e6)
            self.service.sweep()
            await self.assert_answer(transport, b"")
            transport.feed(piece)
        await self.assert_answer(transport, SWITCHING)

    async def test_refused_peer_that_stays_is_cut(self) -> None:
        transport = self.connect()
        transport.feed(b"\0")
        self.clock.advance(10)
        self.service.sweep()
        await turn_loop()
        self.assertTrue(transport.is_lost)
        self.assertEqual(list(self.service.members), [])


class LimitTests(ConnectionCase):
    FULL = refusal(
        b"503 Service Unavailable", b"2 connections are open, which is the limit", b"Retry-After: 1\r\n"
    )

    async def test_connection_past_the_limit_is_503_with_retry_after(self) -> None:
        self.configure(limit_concurrency=2)
        for _ in range(2):
            transport = self.connect()
            transport.feed(REQUEST)
            await self.assert_answer(transport, SWITCHING)
        self.assertEqual(self.connect().read(), self.FULL)

    async def test_first_that_has_not_sent_its_request_gives_way(self) -> None:
        self.configure(limit_concurrency=2)
        silent, half, third = (self.connect() for _ in range(3))
        self.assertEqual(silent.read(), self.FULL)
        half.feed(PAGE_REQUEST[:-1])
        self.connect()
        self.assertEqual(half.read(), self.FULL)
        for transport in (silent, half):
            transport.feed_eof()
        third.feed(REQUEST)
        await self.assert_answer(third, SWITCHING)
        self.connect().feed(REQUEST)
        self.assertEqual(self.connect().read(), self.FULL)
        self.assertEqual(list(self.service.waiting), [])

    async def test_one_that_is_lost_does_not(self) -> None:
        self.configure(limit_concurrency=2)
        lost, other = self.connect(), self.connect()
        lost.lose()
        self.connect()
        self.assertEqual(other.read(), b"")

    async def test_those_that_are_idle_close_once_somebody_was_refused(self) -> None:
        self.configure(limit_concurrency=2)
        transports = [self.connect() for _ in range(2)]
        for transport in transports:
            transport.feed(PAGE_REQUEST)
            await self.assert_answer(transport, PAGE)
        self.service.sweep()
        self.assertNotIn("write_eof", transports[0].calls + transports[1].calls)
        self.assertEqual(self.connect().read(), self.FULL)
        transports[1].feed(PAGE_REQUEST[:5])
        self.service.sweep()
        self.assertIn("write_eof", transports[0].calls)
        self.assertNotIn("write_eof", transports[1].calls)
        transports[1].feed(PAGE_REQUEST[5:])
        await self.assert_answer(transports[1], PAGE)
        self.service.sweep()
        self.assertNotIn("write_eof", transports[1].calls)

    async def test_more_connections_than_the_limit_are_too_many_as_well(self) -> None:
        self.configure(limit_concurrency=1)
        members = [Connection(self.service) for _ in range(2)]
        for member in members:
            self.service.add(member)
        self.assertTrue(self.connect().read().startswith(b"HTTP/1.1 503 Service Unavailable\r\n"))
        for member in members:
            self.service.discard(member)

    async def test_connection_that_ends_makes_room(self) -> None:
        self.configure(limit_concurrency=2)
        transports = [self.connect() for _ in range(2)]
        transports[0].lose()
        transport = self.connect()
        transport.feed(REQUEST)
        await self.assert_answer(transport, SWITCHING)

    async def test_refused_connections_that_linger_take_no_place(self) -> None:
        self.configure(limit_concurrency=2)
        transports = [self.connect() for _ in range(2)]
        for transport in transports:
            transport.feed(REQUEST)
        for _ in range(3):
            self.assertEqual(self.connect().read(), self.FULL)
        transports[0].lose()
        await turn_loop()
        transport = self.connect()
        transport.feed(REQUEST)
        await self.assert_answer(transport, SWITCHING)

    async def test_no_limit_is_the_default(self) -> None:
        for transport in [self.connect() for _ in range(100)]:
            self.assertEqual(transport.written, b"")


class ClientLimitTests(ConnectionCase):
    """``limit_connections_per_client``: in every stage, until the connection ends or only lingers."""

    MANY = refusal(
        b"429 Too Many Requests",
        b"1 connections of one client are open, which is the limit",
        b"Retry-After: 1\r\n",
    )

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.configure(limit_connections_per_client=1, forwarded_allow_ips="10.0.0.1")

    async def assert_full(self) -> None:
        await self.assert_answer(self.connect(), self.MANY)

    async def assert_free(self) -> None:
        transport = self.connect()
        self.assertEqual(transport.read(), b"")
        transport.lose()

    async def test_silent_connection_counts(self) -> None:
        transport = self.connect()
        await self.assert_full()
        other = self.connect(peername=("127.0.0.2", 50000))
        self.assertEqual(other.read(), b"")
        transport.lose()
        await self.assert_free()

    async def test_page_and_what_follows_it_count(self) -> None:
        transport = self.connect()
        for _ in range(2):
            transport.feed(PAGE_REQUEST)
            await self.assert_answer(transport, PAGE)
            await self.assert_full()
        transport.lose()
        await self.assert_free()

    async def test_page_that_is_lost_does_not(self) -> None:
        transport = self.connect()
        transport.feed(PAGE_REQUEST)
        transport.lose()
        await self.assert_free()

    async def test_websocket_counts_until_it_closes(self) -> None:
        transport = self.connect()
        transport.feed(REQUEST)
        await self.assert_answer(transport, SWITCHING)
        await self.assert_full()
        transport.feed(PEER_CLOSE)
        await turn_loop()
        # It lingers.
        await self.assert_free()

    async def test_websocket_that_is_lost_does_not(self) -> None:
        transport = self.connect()
        transport.feed(REQUEST)
        await self.assert_answer(transport, SWITCHING)
        transport.lose()
        await self.assert_free()

    async def test_refused_request_does_not(self) -> None:
        transport = self.connect()
        transport.feed(b"\0")
        await self.assert_free()

    async def test_websockets_of_a_proxy_count_for_its_client(self) -> None:
        request = REQUEST[:-2] + b"X-Forwarded-For: 127.0.0.1\r\n\r\n"
        transports = [self.connect(peername=("10.0.0.1", port)) for port in (1, 2, 3)]
        transports[0].feed(PAGE_REQUEST)
        await self.assert_answer(transports[0], PAGE)
        transports[0].feed(request)
        await self.assert_answer(transports[0], SWITCHING)
        await self.assert_full()
        transports[1].feed(request)
        await self.assert_answer(transports[1], self.MANY)
        transports[0].lose()
        transports[2].feed(request)
        await self.assert_answer(transports[2], SWITCHING)

    async def test_client_of_the_proxy_protocol_counts(self) -> None:
        self.configure(limit_connections_per_client=1, forwarded_allow_ips="10.0.0.1", proxy_protocol=True)
        for client, answer in ((b"1", SWITCHING), (b"1", self.MANY), (b"2", SWITCHING)):
            transport = self.connect(peername=("10.0.0.1", 50000))
            transport.feed(b"PROXY TCP4 192.0.2.%b 192.0.2.9 50000 80\r\n" % client)
            if not transport.written:
                transport.feed(REQUEST)
            await self.assert_answer(transport, answer)

    async def test_proxy_that_names_no_client_does_not_count(self) -> None:
        for _ in range(3):
            transport = self.connect(peername=("10.0.0.1", 50000))
            transport.feed(REQUEST)
            await self.assert_answer(transport, SWITCHING)

    async def test_peers_on_unix_sockets_do_not_count(self) -> None:
        for _ in range(3):
            transport = self.connect(peername=None)
            transport.feed(REQUEST)
            await self.assert_answer(transport, SWITCHING)


class DescriptorTests(ConnectionCase):
    """A connection on one of the last file descriptors is refused, so that the next can be accepted too."""

    OUT = refusal(b"503 Service Unavailable", b"the server is out of file descriptors", b"Retry-After: 1\r\n")

    def connect_on(self, descriptor: int) -> MemoryTransport:
        return self.connect(socket=mock.Mock(fileno=lambda: descriptor))

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.service.reserved_descriptor = 100

    async def test_it_gets_503(self) -> None:
        self.connect_on(99).feed(REQUEST)
        await self.assert_answer(self.connect_on(100), self.OUT)

    async def test_the_one_before_is_cut(self) -> None:
        first, second = self.connect_on(100), self.connect_on(101)
        await self.assert_answer(second, self.OUT)
        self.assertEqual((first.is_lost, second.is_lost), (True, False))
        self.assertEqual(len(self.service.lingering), 1)

    async def test_and_the_first_that_has_not_sent_its_request(self) -> None:
        silent, waiting, served = (self.connect_on(descriptor) for descriptor in (97, 98, 99))
        served.feed(REQUEST)
        self.connect_on(100)
        await turn_loop()
        self.assertEqual([each.is_lost for each in (silent, waiting, served)], [True, False, False])

    async def test_each_cuts_another(self) -> None:
        silent = [self.connect_on(97), self.connect_on(98), self.connect_on(99)]
        self.connect_on(100)
        self.connect_on(101)
        await turn_loop()
        self.assertEqual([each.is_lost for each in silent], [True, True, False])

    async def test_those_that_are_idle_close(self) -> None:
        idle = self.connect_on(99)
        idle.feed(PAGE_REQUEST)
        await self.assert_answer(idle, PAGE)
        self.connect_on(100)
        self.service.sweep()
        self.assertIn("write_eof", idle.calls)


class MemoryTests(ConnectionCase):
    """An incomplete head counts in the server's budget, from 4 KiB on."""

    GIVEN_UP = refusal(
        b"503 Service Unavailable",
        b"server is out of memory for incomplete messages",
        b"Retry-After: 1\r\n",
    )

    def assert_size(self, size: int) -> None:
        self.service.budget.sweep()  # type: ignore[union-attr]
        self.assertEqual(self.service.budget.size, size)  # type: ignore[union-attr]

    async def test_it_counts_until_it_is_complete(self) -> None:
        transport = self.connect()
        head = b"GET / HTTP/1.1\r\nHost: a\r\nA: "
        transport.feed(head + b"a" * (4096 - len(head)))
        self.assert_size(0)
        transport.feed(b"a" * 1000)
        self.assert_size(5096)
        transport.feed(b"\r\n\r\n")
        await self.assert_answer(transport, PAGE)
        self.assert_size(0)

    async def test_without_a_limit_it_does_not(self) -> None:
        self.configure(max_inbound_memory=None)
        transport = self.connect()
        transport.feed(b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 5000)
        transport.feed(b"\r\n\r\n")
        await self.assert_answer(transport, PAGE)

    async def test_one_that_stalls_gets_503_where_there_is_no_room(self) -> None:
        self.configure(max_inbound_memory=1, ws_max_size=1, limit_request_head=1 << 20)
        transport, other = self.connect(), self.connect()
        transport.feed(b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 50_000)
        self.clock.advance(1)
        other.feed(b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 100_000)
        await self.assert_answer(transport, self.GIVEN_UP)
        self.service.sweep()
        other.feed(b"\r\n\r\n")
        await self.assert_answer(other, PAGE)


class ParsedTests(ConnectionCase):
    """A server that has read the head itself."""

    headers = (
        (b"Host", b"server.example.com"),
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"Sec-WebSocket-Version", b"13"),
    )

    def answer(self, *headers: Any) -> MemoryTransport:
        transport = self.connect()
        connection: Any = transport.get_protocol()
        connection.answer(RequestReceived(b"GET", b"/chat", headers, "1.1"), PEER_HELLO)
        return transport

    async def test_request_is_answered_and_what_followed_it_received(self) -> None:
        transport = self.answer(*self.headers)
        self.assertIsInstance(transport.get_protocol(), WebSocketExchange)
        await self.assert_answer(transport, SWITCHING + HELLO)

    async def test_request_that_is_no_handshake_is_refused(self) -> None:
        text = b"exactly one Sec-WebSocket-Key of 16 bytes in base64 is required"
        transport = self.answer(*self.headers[:3])
        await self.assert_refused(transport, refusal(b"400 Bad Request", text))

    async def test_connection_that_was_refused_before_stays_refused(self) -> None:
        self.service.is_stopping = True
        transport = MemoryTransport()
        connection = Connection(self.service)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.answer(RequestReceived(b"GET", b"/chat", self.headers, "1.1"))
        await self.assert_refused(transport, STOPPING)


class StoppingTests(ConnectionCase):
    async def test_stopping_server_refuses_who_comes(self) -> None:
        self.service.is_stopping = True
        await self.assert_refused(self.connect(), STOPPING)

    async def test_tls_connection_that_is_lost_behind_our_back_is_over(self) -> None:
        self.service.is_stopping = True
        transport = MemoryTransport()
        connection = Connection(self.service)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.connection_lost(None)
        self.assertEqual((list(self.service.members), len(self.service.lingering)), ([], 0))

    async def test_stopping_server_refuses_who_has_not_asked_yet(self) -> None:
        transport = self.connect()
        transport.feed(b"GET / HT")
        self.clock.advance(1)
        stopping = asyncio.ensure_future(self.service.shut_down(10))
        await self.assert_refused(transport, STOPPING)
        await asyncio.wait_for(stopping, 10)

    async def test_idle_connection_closes(self) -> None:
        transport = self.connect()
        self.clock.advance(1)
        self.service.begin_shutdown()
        await self.assert_refused(transport, b"")

    async def test_connection_that_is_lost_while_others_are_told_is_left_alone(self) -> None:
        transport = self.connect()
        connection: Any = transport.get_protocol()
        self.clock.advance(1)
        connection.connection_lost(None)
        connection.shut_down()
        await self.assert_answer(transport, b"")
        self.assertEqual(list(self.service.members), [])

    async def test_stop_leaves_no_request_more_time_than_it_has(self) -> None:
        self.configure(timeout_handshake=0.5)
        transport = self.connect()
        self.service.begin_shutdown()
        self.clock.advance(0.5)
        self.service.sweep()
        await self.assert_refused(transport, b"")

    async def test_handshake_that_was_on_its_way_is_closed_once_it_is_accepted(self) -> None:
        transport = self.connect()
        self.service.begin_shutdown()
        transport.feed(REQUEST)
        await self.assert_answer(transport, SWITCHING + CLOSE_1012)

    def connect_late(self) -> MemoryTransport:
        """A connection whose TLS handshake ends when the server has begun to stop."""
        connection = Connection(self.service)
        self.service.begin_shutdown()
        transport = MemoryTransport()
        transport.set_protocol(connection)
        connection.connection_made(transport)
        return transport

    async def test_connection_that_was_accepted_before_is_served_behind_its_tls_handshake(self) -> None:
        self.connect()
        transport = self.connect_late()
        self.clock.advance(0.9)
        self.service.sweep()
        transport.feed(REQUEST)
        await self.assert_answer(transport, SWITCHING + CLOSE_1012)

    async def test_connection_that_was_accepted_before_has_a_second_behind_its_tls_handshake(self) -> None:
        other = self.connect()
        transport = self.connect_late()
        other.lose()
        self.clock.advance(1)
        self.service.sweep()
        await self.assert_refused(transport, b"")

    async def test_server_that_has_stopped_calls_the_application_no_more(self) -> None:
        await self.assert_refused(self.connect_late(), STOPPING)

    async def test_cut_aborts(self) -> None:
        transport = self.connect()
        self.service.abort()
        await turn_loop()
        self.assertIn("abort", transport.calls)
        self.assertEqual(list(self.service.members), [])


class EndTests(ConnectionCase):
    async def test_eof_before_a_request_closes_without_an_answer(self) -> None:
        for data in (b"", b"GET / HTTP/1.1\r\n"):
            transport = self.connect()
            transport.feed(data)
            transport.feed_eof()
            await self.assert_answer(transport, b"")
            self.assertTrue(transport.is_lost)
        self.assertEqual(list(self.service.members), [])

    async def test_connection_that_is_lost_before_a_request_leaves_nothing(self) -> None:
        transport = self.connect()
        transport.lose(ConnectionResetError())
        self.assertEqual(list(self.service.members), [])
        self.clock.advance(100)
        self.service.sweep()
        self.assertEqual(transport.written, b"")


if __name__ == "__main__":
    unittest.main()
