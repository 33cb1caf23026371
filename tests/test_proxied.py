"""`Preface`: the PROXY protocol header in front of the first request, and the ends that it names."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any, List

from tests.doubles import MemoryTransport, ServiceTestCase, turn_loop
from tests.loopback import HELLO, PEER_HELLO, REQUEST, SWITCHING
from tests.requests import GET
from wsbridge.protocols.proxy_protocol import ProxyHeader
from wsbridge.server.connection.addresses import Ends
from wsbridge.server.connection.embedded import EmbeddedConnection
from wsbridge.server.connection.head import Connection
from wsbridge.server.connection.proxied import apply_header

LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
UNKNOWN = b"PROXY UNKNOWN\r\n"
PROXY = ("127.0.0.1", 50000)
ENDS = (("192.0.2.7", 56324), ("198.51.100.1", 443))
SECURE = bytes.fromhex("0d0a0d0a000d0a515549540a 21 11 0014 c0000207 c6336401 dc04 01bb 20 0005 01 00000000")
NO_HEADER = (
    "400 no PROXY protocol header, which proxy_protocol demands; "
    "the proxy must send one (HAProxy: send-proxy-v2; nginx: proxy_protocol on)"
)


class PrefaceCase(ServiceTestCase):
    def connect(self, connection: Any = None, **config: Any) -> None:
        """A connection of a new service, which trusts 127.0.0.1."""
        options = {"forwarded_allow_ips": "127.0.0.1", "proxy_protocol": True, **config}
        extra = {name: options.pop(name) for name in list(options) if name in ("peername", "sockname")}
        self.set_up(**options)
        self.transport.extra.update(extra)
        connection = (connection or Connection)(self.service)
        self.transport.set_protocol(connection)
        connection.connection_made(self.transport)

    async def assert_ends(self, client: Any, server: Any, scheme: str = "http") -> None:
        await turn_loop()
        scope = self.app.scope
        self.assertEqual((scope["client"], scope["server"], scope["scheme"]), (client, server, scheme))

    async def assert_refused(self, why: str, client: str = "127.0.0.1:50000") -> None:
        """One line in the log, no answer, and the connection aborted."""
        await turn_loop()
        self.assertEqual(self.transport.calls, ["abort"])
        self.assert_written()
        self.assert_logged(("INFO", f"{client} refused: {why}"))
        self.transport.lose()
        self.assertEqual((list(self.service.members), self.app.scope), ([], None))


class HeaderTests(PrefaceCase):
    async def test_ends_of_the_header_are_those_of_the_scope(self) -> None:
        for pieces in ([LINE + GET], [LINE, GET], [bytes((byte,)) for byte in LINE + GET]):
            self.connect()
            for piece in pieces:
                self.transport.feed(piece)
            await self.assert_ends(*ENDS)
            self.transport.lose()
            await self.app.return_()

    async def test_websocket_has_them_too(self) -> None:
        self.connect()
        self.transport.feed(LINE + REQUEST + PEER_HELLO)
        await self.assert_ends(*ENDS, "ws")
        await self.app.receive()
        await self.app.send({"type": "websocket.accept"})
        self.assert_written(SWITCHING)
        self.assertEqual(await self.app.receive(), {"type": "websocket.receive", "text": "Hello"})
        await self.app.send({"type": "websocket.send", "text": "Hello"})
        self.assert_written(HELLO)
        self.assertEqual(self.logged[0], ("INFO", '192.0.2.7:56324 "websocket /chat" 101'))
        self.logged.clear()

    async def test_client_over_tls_makes_the_scheme_secure(self) -> None:
        for request, scheme in ((GET, "https"), (REQUEST, "wss")):
            self.connect()
            self.transport.feed(SECURE + request)
            await self.assert_ends(*ENDS, scheme)
            self.transport.lose()
            await self.app.return_()

    async def test_header_that_names_nobody_leaves_the_connections_own_ends(self) -> None:
        self.connect()
        self.transport.feed(UNKNOWN + GET)
        await self.assert_ends(PROXY, ("127.0.0.1", 8000))

    async def test_unix_socket_is_trusted_by_its_name(self) -> None:
        self.connect(forwarded_allow_ips="unix", peername="", sockname="/run/a")
        self.transport.feed(LINE + GET)
        await self.assert_ends(*ENDS)

    async def test_forwarded_headers_are_those_of_the_client_that_is_named(self) -> None:
        request = GET[:-2] + b"X-Forwarded-For: 203.0.113.9\r\n\r\n"
        for trusted, client in (("127.0.0.1", ENDS[0]), ("127.0.0.1,192.0.2.7", ("203.0.113.9", 0))):
            self.connect(forwarded_allow_ips=trusted)
            self.transport.feed(LINE + request)
            await self.assert_ends(client, ENDS[1])
            self.transport.lose()
            await self.app.return_()

    async def test_refusal_names_the_client(self) -> None:
        self.connect()
        self.transport.feed(LINE + b"\x01")
        await turn_loop()
        self.assert_logged(("INFO", "192.0.2.7:56324 refused: 400 byte 0x01 in the method"))
        self.transport.feed_eof()

    async def test_header_is_read_once(self) -> None:
        self.connect()
        self.transport.feed(LINE + LINE)
        await turn_loop()
        ((_, text),) = self.logged
        self.assertRegex(text, "^192.0.2.7:56324 refused: 400 .* a PROXY protocol line where none is read ")
        self.logged.clear()
        self.transport.feed_eof()

    async def test_without_the_option_nothing_is_read(self) -> None:
        self.connect(proxy_protocol=False)
        self.transport.feed(GET)
        await self.assert_ends(PROXY, ("127.0.0.1", 8000))


class RefusalTests(PrefaceCase):
    async def test_peer_that_is_not_trusted_is_refused_at_once(self) -> None:
        why = "403 forwarded_allow_ips does not name this peer, which may not name its client"
        self.connect(forwarded_allow_ips="192.0.2.1")
        await self.assert_refused(why)
        self.connect(forwarded_allow_ips="127.0.0.1", peername="", sockname="/run/a")
        await self.assert_refused(why, "unix socket")

    async def test_peer_that_has_left_already_is_no_line_in_the_log(self) -> None:
        # uvloop has no address of a peer that has reset its connection.
        for trusted in ("unix", "*"):
            self.connect(forwarded_allow_ips=trusted, peername=None)
            self.assertEqual(self.transport.calls, ["abort"])
            self.assert_logged()
            self.transport.lose()

    async def test_what_has_no_header_is_refused(self) -> None:
        for start in (GET, b"\x16\x03\x01\x02\x00"):
            self.connect()
            self.transport.feed(start)
            await self.assert_refused(NO_HEADER)

    async def test_what_comes_behind_a_refused_header_is_dropped(self) -> None:
        self.connect()
        protocol = self.transport.protocol
        protocol.data_received(b"x")
        protocol.data_received(LINE + GET)
        protocol.eof_received()
        protocol.abort()
        protocol.pause_writing()
        protocol.resume_writing()
        await self.assert_refused(NO_HEADER)

    async def test_header_that_does_not_come_in_time(self) -> None:
        for start in (b"", LINE[:20]):
            self.connect(timeout_handshake=3)
            self.transport.feed(start)
            await self.advance(2.5)
            self.assertEqual(self.transport.calls, [])
            await self.advance(0.5)
            await self.assert_refused("408 the PROXY protocol header was not complete in time")

    async def test_head_has_the_rest_of_the_time(self) -> None:
        self.connect(timeout_handshake=3)
        await self.advance(2)
        self.transport.feed(LINE + GET[:5])
        await self.advance(1.1)
        ((_, text),) = self.logged
        self.assertEqual(text, "192.0.2.7:56324 refused: 408 the request's head was not complete in time")
        self.logged.clear()
        self.transport.feed_eof()

    async def test_end_within_the_header(self) -> None:
        self.connect()
        self.transport.feed(LINE[:20])
        self.transport.feed_eof()
        self.assertIn("abort", self.transport.calls)
        why = "400 the connection has ended within its PROXY protocol header"
        self.assert_logged(("INFO", f"127.0.0.1:50000 refused: {why}"))

    async def test_check_that_only_connects_is_no_line_in_the_log(self) -> None:
        self.connect()
        self.transport.feed_eof()
        self.assertEqual(self.transport.calls, ["close"])
        self.assert_logged()

    async def test_server_that_stops_waits_for_what_is_on_its_way(self) -> None:
        for timeout, seconds in ((20, 1.0), (None, 1.0), (4, 0.5)):
            self.connect(timeout_graceful_shutdown=timeout)
            self.service.begin_shutdown()
            await self.advance(seconds - 0.05)
            self.assertEqual(self.transport.calls, [])
            await self.advance(0.1)
            self.assertEqual(self.transport.calls, ["abort"])
            self.assert_logged()

    async def test_request_whose_header_comes_while_the_server_stops_is_served(self) -> None:
        for pieces in ([LINE + GET], [LINE, GET]):
            self.connect()
            stopping = asyncio.ensure_future(self.service.shut_down(None))
            await turn_loop()
            for piece in pieces:
                self.transport.feed(piece)
                await turn_loop()
                self.assertFalse(stopping.done())
            await self.assert_ends(*ENDS)
            self.transport.lose()
            await self.app.return_()
            await stopping

    async def test_connection_that_was_accepted_in_the_last_moment_is_served(self) -> None:
        # asyncio's server makes its protocol in the loop's next turn.
        def build(service: Any) -> Connection:
            service.begin_shutdown()
            return Connection(service)

        self.connect(build)
        self.transport.feed(LINE + GET)
        await self.assert_ends(*ENDS)

    async def test_header_without_a_request_holds_no_server_up(self) -> None:
        self.connect()
        self.service.begin_shutdown()
        self.transport.feed(LINE)
        await self.advance(1.1)
        self.assertIn("write_eof", self.transport.calls)
        self.transport.lose()
        self.assert_logged()


class LimitTests(PrefaceCase):
    async def test_connection_counts_once(self) -> None:
        self.connect(limit_concurrency=1, metrics_path="/metrics")
        self.assertEqual(self.service.open_connections, 0)
        self.transport.feed(LINE + GET)
        await self.assert_ends(*ENDS)
        self.assertEqual(self.service.open_connections, 1)
        self.assertEqual(self.service.metrics.connections, 1)  # type: ignore[union-attr]

    async def test_of_those_without_a_header_the_oldest_gives_way(self) -> None:
        self.connect(limit_concurrency=1)
        second = MemoryTransport()
        Connection(self.service).connection_made(second)
        self.assertEqual((self.transport.calls, second.calls), (["abort"], []))
        self.assertEqual((len(self.service.members), self.service.open_connections), (1, 0))
        second.lose()
        self.assert_logged()

    async def fill(self, **config: Any) -> List[MemoryTransport]:
        """Two connections, of which the first has taken the only place."""
        self.connect(limit_concurrency=1, **config)
        first, second = self.transport, MemoryTransport()
        first.feed(LINE + GET)
        await turn_loop()
        connection = Connection(self.service)
        second.set_protocol(connection)
        connection.connection_made(second)
        return [first, second]

    async def test_one_too_many_is_refused_by_its_clients_name(self) -> None:
        _, second = await self.fill()
        second.feed(LINE + GET)
        await turn_loop()
        self.assertRegex(second.read(), b"^HTTP/1.1 503 ")
        why = "refused: 503 1 connections are open, which is the limit"
        self.assert_logged(("INFO", f"192.0.2.7:56324 {why}"))
        second.lose()

    async def test_health_check_is_answered_all_the_same(self) -> None:
        check = GET.replace(b"/a", b"/healthz")
        for pieces in ([LINE + check], [LINE, check]):
            first, second = await self.fill(health_path="/healthz")
            for piece in pieces:
                second.feed(piece)
            await turn_loop()
            self.assertRegex(second.read(), b"^HTTP/1.1 200 ")
            self.assert_logged()
            second.lose()
            first.lose()
            await self.app.return_()

    async def test_what_is_no_health_check_is_refused_by_its_clients_name(self) -> None:
        first, second = await self.fill(health_path="/healthz")
        second.feed(LINE + GET)
        await turn_loop()
        ((_, text),) = self.logged
        self.assertRegex(text, '^192.0.2.7:56324 "GET /a" refused: 503 ')
        self.logged.clear()
        second.lose()
        first.lose()


class EmbeddedTests(PrefaceCase):
    async def test_relay_keeps_its_place(self) -> None:
        self.connect(EmbeddedConnection)
        relay = self.transport.protocol
        self.transport.feed(LINE)
        self.transport.feed(GET)
        await self.assert_ends(*ENDS)
        self.assertIs(self.transport.protocol, relay)


class EndsTests(PrefaceCase):
    OWN = PROXY, ("127.0.0.1", 8000)

    def assert_applied(self, is_secure: bool, header: ProxyHeader, *expected: object) -> None:
        ends = apply_header(Ends(*self.OWN, is_secure), header)
        self.assertEqual((ends.client, ends.server, ends.is_secure), expected)

    async def test_encrypted_connection_stays_encrypted(self) -> None:
        self.assert_applied(True, ProxyHeader(), *self.OWN, True)
        self.assert_applied(True, ProxyHeader(*ENDS), *ENDS, True)

    async def test_header_can_make_it_secure(self) -> None:
        self.assert_applied(False, ProxyHeader(is_secure=True), *self.OWN, True)
        self.assert_applied(False, ProxyHeader(), *self.OWN, False)


if __name__ == "__main__":
    unittest.main()
