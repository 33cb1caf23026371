"""`OwnPaths`: health checks, past every limit, and while the server stops."""

from __future__ import annotations

import unittest
from typing import Any

from tests.doubles import DATE, MemoryTransport, turn_loop
from tests.loopback import REQUEST
from tests.requests import GET, ManyConnectionsCase, build_page
from wsbridge.protocols.events import RequestReceived
from wsbridge.server.connection.embedded import EmbeddedConnection
from wsbridge.server.connection.head import Connection
from wsbridge.server.connection.refused import RefusedConnection
from wsbridge.server.service import Service

CHECK = b"GET /healthz HTTP/1.1\r\nHost: b\r\n\r\n"


def build_health(
    status: bytes = b"200 OK", body: bytes = b"ok\n", *, length: bytes = b"", is_head: bool = False
) -> bytes:
    """The answer to a health check."""
    return (
        b"HTTP/1.1 %b\r\n%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
        b"cache-control: no-store\r\nConnection: close\r\n\r\n%b"
    ) % (status, DATE, len(body), b"" if is_head else body)


HEALTHY = build_health()
STOPPING = build_health(b"503 Service Unavailable", b"stopping\n")


class OwnPathCase(ManyConnectionsCase):
    def connect(self, *, half_close: bool = True, **config: Any) -> None:
        super().connect(half_close=half_close, **{"health_path": "/healthz", **config})

    async def assert_answer(self, *writes: bytes) -> None:
        """What was written, behind which the connection closes, and no application was called."""
        self.assertEqual(b"".join(self.transport.writes), b"".join(writes))
        self.transport.writes.clear()
        self.assertEqual(self.transport.calls[-1], "write_eof")
        self.transport.lose()
        await turn_loop()
        self.assertEqual(self.requests.all, [])


class HealthTests(OwnPathCase):
    async def assert_healthy(self, request: bytes, answer: bytes = HEALTHY) -> None:
        self.connect()
        await self.feed(request)
        await self.assert_answer(answer)
        self.assert_logged()

    async def test_check_is_answered_without_application_and_log_line(self) -> None:
        await self.assert_healthy(CHECK)

    async def test_query_is_ignored(self) -> None:
        await self.assert_healthy(CHECK.replace(b" HTTP", b"?a=/b HTTP"))

    async def test_target_may_be_absolute(self) -> None:
        await self.assert_healthy(CHECK.replace(b"/healthz", b"http://b/healthz"))

    async def test_every_method_is_answered(self) -> None:
        for method in (b"OPTIONS", b"POST", b"DELETE", b"PROPFIND"):
            await self.assert_healthy(CHECK.replace(b"GET", method))

    async def test_head_has_no_body(self) -> None:
        await self.assert_healthy(CHECK.replace(b"GET", b"HEAD"), build_health(is_head=True))

    async def test_http_1_0_needs_no_host(self) -> None:
        await self.assert_healthy(b"OPTIONS /healthz HTTP/1.0\r\n\r\n")

    async def test_body_is_dropped(self) -> None:
        await self.assert_healthy(
            CHECK.replace(b"GET", b"POST")[:-2] + b"Content-Length: 5\r\n\r\nhello",
        )

    async def test_another_protocol_is_not_upgraded_to(self) -> None:
        await self.assert_healthy(CHECK[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n")

    async def test_other_paths_are_the_applications(self) -> None:
        for path in (
            b"/",
            b"/healthz/",
            b"/healthzz",
            b"/Healthz",
            b"/%68ealthz",
            b"/a/healthz",
            b"/a?/healthz",
        ):
            self.connect()
            await self.feed(CHECK.replace(b"/healthz", path))
            await self.respond()
            self.assert_written(build_page())
            target = path.partition(b"?")[0].decode()
            self.assert_logged(("INFO", f'127.0.0.1:50000 "GET {target}" 200'))
        await self.assert_goes_on()

    async def test_path_is_that_of_the_target_whatever_the_root_path_is(self) -> None:
        for root_path in ("/app", "/caf\xe9 %"):
            self.connect(root_path=root_path)
            await self.feed(CHECK)
            await self.assert_answer(HEALTHY)

    async def test_path_is_that_of_the_target_whatever_prefix_a_proxy_has_removed(self) -> None:
        self.connect(forwarded_allow_ips="*", forwarded_headers=("x-forwarded-prefix",))
        await self.feed(CHECK[:-2] + b"X-Forwarded-Prefix: /app\r\n\r\n")
        await self.assert_answer(HEALTHY)

    async def test_websocket_is_refused_and_logged(self) -> None:
        self.connect()
        await self.feed(REQUEST.replace(b"/chat", b"/healthz"))
        self.assertIn(b"HTTP/1.1 404 Not Found\r\n", self.transport.written)
        self.assertIn(
            b"\r\n\r\nthe server answers this path itself, and it is no WebSocket\n", self.transport.written
        )
        self.assert_logged(("INFO", '127.0.0.1:50000 "websocket /healthz" 404'))
        self.assertEqual(self.requests.all, [])

    async def test_websockets_of_other_paths_are_the_applications(self) -> None:
        self.connect()
        await self.feed(REQUEST)
        self.assertEqual(self.paths, ["/chat"])

    async def test_without_the_option_the_path_is_the_applications(self) -> None:
        self.connect(health_path=None)
        await self.feed(CHECK)
        self.assertEqual(self.paths, ["/healthz"])


class FullTests(OwnPathCase):
    """``limit_concurrency`` is reached: the connection is refused, unless it is for a health check."""

    REFUSED = '127.0.0.1:50000 "GET /a" refused: 503 1 connections are open, which is the limit'

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.connect(limit_concurrency=1, metrics_path="/metrics")
        await self.feed(GET)
        self.connect_another()

    async def test_check_is_answered(self) -> None:
        for piece in (CHECK[:10], CHECK[10:]):
            await self.feed(piece)
        self.assertEqual(self.transport.read(), HEALTHY)
        self.assert_logged()
        self.assertEqual((len(self.requests.all), self.service.open_connections), (1, 1))

    async def test_any_other_request_is_refused_behind_its_head(self) -> None:
        self.assert_written()
        await self.feed(GET)
        self.assertIn(b"HTTP/1.1 503 Service Unavailable\r\n", self.transport.read())
        self.assert_logged(("INFO", self.REFUSED))
        self.assertEqual(len(self.requests.all), 1)
        # It has the time of any that is refused to read its answer.
        await self.advance(2)
        self.assertNotIn("abort", self.transport.calls)

    async def test_nothing_behind_a_check_is_answered(self) -> None:
        await self.feed(CHECK + CHECK)
        self.assertEqual(self.transport.read(), HEALTHY)

    async def test_metrics_are_shown_and_the_connection_closes(self) -> None:
        await self.feed(CHECK.replace(b"/healthz", b"/metrics"))
        self.assertIn(b"HTTP/1.1 200 OK\r\n", self.transport.read())
        self.assertEqual(self.transport.calls[-1], "write_eof")

    async def test_malformed_head_is_refused_as_that(self) -> None:
        await self.feed(b"\r\n\r\nGET\r\n\r\n")
        self.assertIn(b"HTTP/1.1 400 Bad Request\r\n", self.transport.read())

    async def test_connection_without_a_request_closes_after_its_time(self) -> None:
        await self.advance(10)
        self.assert_written()
        self.assertEqual(self.transport.calls[-1], "write_eof")

    async def test_one_that_waits_is_cut_for_the_next(self) -> None:
        waiting = self.transport
        self.connect_another()
        await turn_loop()
        self.assertEqual((waiting.is_lost, len(self.service.lingering)), (True, 1))
        await self.feed(CHECK)
        self.assertEqual(self.transport.read(), HEALTHY)

    async def test_without_the_option_it_is_refused_at_once(self) -> None:
        self.connect(health_path=None, limit_concurrency=1)
        await self.feed(GET)
        self.connect_another()
        self.assertIn(b"HTTP/1.1 503 Service Unavailable\r\n", self.transport.read())

    async def test_request_that_another_server_has_parsed(self) -> None:
        for target, status in ((b"/healthz", b"200 OK"), (b"/a", b"503 Service Unavailable")):
            self.others.append(self.transport)
            self.transport = MemoryTransport()
            connection = EmbeddedConnection(self.service)
            self.transport.set_protocol(connection)
            connection.connection_made(self.transport)
            connection.answer(RequestReceived(b"GET", target, ((b"host", b"b"),), "1.1"))
            await turn_loop()
            self.assertIn(b"HTTP/1.1 %b\r\n" % status, self.transport.read())
            connection.connection_lost(None)


class StoppingTests(OwnPathCase):
    """A server that stops is unhealthy, and tells those whose connections were made before."""

    async def begin_to_stop(self) -> None:
        """A request is being answered, and another connection waits when the server stops."""
        self.connect()
        await self.feed(GET)
        self.connect_another()
        await self.advance(1)
        self.service.begin_shutdown()
        self.assert_written()

    async def test_check_gets_503(self) -> None:
        await self.begin_to_stop()
        await self.feed(CHECK)
        self.assertEqual(self.transport.read(), STOPPING)
        self.assertEqual(self.transport.calls[-1], "write_eof")
        self.assert_logged()

    async def test_any_other_request_is_refused(self) -> None:
        await self.begin_to_stop()
        await self.feed(GET)
        self.assertIn(b"the server is stopping\n", self.transport.read())
        self.assert_logged(("INFO", '127.0.0.1:50000 "GET /a" refused: 503 the server is stopping'))

    async def test_connection_that_is_accepted_late_is_told_too(self) -> None:
        await self.begin_to_stop()
        self.transport.lose()
        self.connect_another()
        await self.feed(CHECK)
        self.assertEqual(self.transport.read(), STOPPING)

    async def test_connection_that_has_begun_its_check_before(self) -> None:
        self.connect(limit_concurrency=1)
        await self.feed(GET)
        self.connect_another()
        await self.feed(CHECK[:10])
        self.service.begin_shutdown()
        await self.feed(CHECK[10:])
        self.assertEqual(self.transport.read(), STOPPING)

    async def test_it_is_kept_no_longer_than_the_others_need(self) -> None:
        await self.begin_to_stop()
        await self.advance(1)
        self.assert_calls()
        self.others[0].lose()
        await self.requests.return_()
        await self.advance(0.25)
        self.assert_written()
        self.assert_calls("resume_reading", "write_eof")

    async def test_server_waits_for_its_end_if_it_is_the_only_one(self) -> None:
        self.connect()
        stopping = await self.start(self.service.shut_down(None))
        await self.advance(1)
        await self.advance(0.25)
        self.assert_calls("resume_reading", "write_eof")
        self.assertFalse(stopping.done())
        await self.feed_eof()
        await turn_loop()
        self.assertTrue(stopping.done())
        self.assertEqual(self.service.abandoned, 0)
        self.assert_logged()

    async def test_it_is_kept_no_longer_than_a_head_may_take(self) -> None:
        await self.begin_to_stop()
        for _ in range(3):
            await self.advance(9)
        self.assert_written()
        self.assert_calls("resume_reading", "write_eof", "abort")

    async def test_one_that_has_answered_a_request_is_not_kept(self) -> None:
        self.connect()
        await self.feed(GET)
        await self.respond()
        await self.advance(1)
        self.transport.writes.clear()
        self.service.begin_shutdown()
        self.assert_written()
        self.assertEqual(self.transport.calls[-1], "write_eof")

    async def test_service_below_another_asks_that_one(self) -> None:
        await self.begin_to_stop()
        child = Service(self.app, self.service.config, parent=self.service)
        transport = MemoryTransport()
        connection = Connection(child)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        self.assertIsInstance(transport.get_protocol(), RefusedConnection)
        transport.feed(CHECK)
        await turn_loop()
        self.assertEqual(transport.read(), STOPPING)
        transport.lose()


if __name__ == "__main__":
    unittest.main()
