"""`Metrics`: what is counted of connections, when, and how it is written for Prometheus."""

from __future__ import annotations

import http
import mmap
import sys
import unittest
from typing import Any, Dict, Tuple

from tests.doubles import ManualApp, MemoryTransport, turn_loop
from tests.loopback import CLOSE, HELLO, PEER_CLOSE, PEER_HELLO, REQUEST, LoopbackCase
from tests.requests import GET, POST, ManyConnectionsCase
from tests.skipping import SkippingCase, pass_time
from wsbridge import __version__
from wsbridge.config import ServerConfig
from wsbridge.server.connection.head import Connection
from wsbridge.server.connection.protocol import MeasuredProtocol
from wsbridge.server.metrics.metrics import FAMILIES, Metrics, build_series, render_metrics
from wsbridge.server.metrics.slot import MetricsSlot, get_slots_size
from wsbridge.server.server import Server
from wsbridge.server.service import Service

SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: b\r\n\r\n"

ACCEPT = {"type": "websocket.accept"}
SEND_HELLO = {"type": "websocket.send", "text": "Hello"}

# RFC 7692 7.2.3.1: "Hello" compressed, under an all-zero key.
PEER_COMPRESSED = bytes.fromhex("c1 87 00000000 f248cdc9c90700")
DEFLATE_OFFER = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"


class Member:
    """One of a host's own."""

    def check_deadlines(self, now: float) -> None:
        """Nothing to do."""

    def shut_down(self) -> None:
        """Nothing to do."""

    abort = shut_down


class MetricsCase(ManyConnectionsCase):
    """A server that shows its metrics; ``change`` is what differs from the last look."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.before: Dict[str, float] = {}

    def connect(self, *, half_close: bool = True, **config: Any) -> None:
        super().connect(
            half_close=half_close, **{"metrics_path": "/metrics", "health_path": "/healthz", **config}
        )
        self.before = self.collect()

    def collect(self) -> Dict[str, float]:
        metrics = self.service.metrics
        assert metrics is not None
        return metrics.collect()

    def get_change(self) -> Dict[str, float]:
        before, self.before = self.before, self.collect()
        return {
            series[len("wsbridge_") :]: value - before.get(series, 0)
            for series, value in self.before.items()
            if value != before.get(series, 0)
        }

    async def open_websocket(self, *lines: bytes) -> None:
        """Another connection, whose request is accepted."""
        self.connect_another()
        await self.feed(REQUEST[:-2] + b"".join(lines) + b"\r\n")
        await self.last.send(ACCEPT)
        self.transport.read()
        self.get_change()

    async def end_websocket(self) -> None:
        self.transport.lose()
        await self.last.return_()
        await turn_loop()


class RequestTests(MetricsCase):
    async def test_request_is_counted_by_method_and_status(self) -> None:
        self.connect()
        await self.feed(GET)
        await self.respond(status=404)
        expected = {'http_requests_total{method="GET",code="404"}': 1}
        self.assertEqual(self.get_change(), expected)

    async def test_any_other_method_is_one(self) -> None:
        for method in (b"PROPFIND", b"get", b"A" * 1000, b'"', b"M-SEARCH"):
            self.connect()
            await self.feed(GET.replace(b"GET", method))
            if self.requests.all:
                await self.respond()
                self.requests.all.clear()
            (series,) = [series for series in self.get_change() if series.startswith("http")]
            self.assertRegex(series, r'^http_requests_total\{method="other",code="[24]00"\}$')

    async def test_unknown_statuses_are_one_in_their_class(self) -> None:
        statuses = set(map(int, http.HTTPStatus))
        for status in (200, 299, 418, 499, 520, 599):
            self.connect()
            await self.feed(GET)
            await self.respond(status=status)
            self.requests.all.clear()
            label = status if status in statuses else f"{status // 100}xx"
            self.assertEqual(self.get_change(), {f'http_requests_total{{method="GET",code="{label}"}}': 1})

    async def test_refused_head(self) -> None:
        self.connect()
        await self.feed(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(
            self.get_change(),
            {
                'http_requests_total{method="GET",code="400"}': 1,
                'connections{state="waiting"}': -1,
                'connections{state="lingering"}': 1,
            },
        )
        self.connect()
        await self.feed(b"\x16\x03")
        self.assertEqual(self.get_change()['http_requests_total{method="other",code="400"}'], 1)

    async def test_body_that_breaks_a_rule(self) -> None:
        self.connect()
        await self.feed(POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"x")
        self.assertEqual(self.get_change()['http_requests_total{method="POST",code="400"}'], 1)
        await self.requests.return_()

    async def test_handshakes_are_counted_by_status(self) -> None:
        self.connect()
        await self.feed(REQUEST)
        expected = {'connections{state="waiting"}': -1, 'connections{state="connecting"}': 1}
        self.assertEqual(self.get_change(), expected)
        await self.last.send(ACCEPT)
        self.assertEqual(
            self.get_change(),
            {
                'handshakes_total{code="101"}': 1,
                'connections{state="connecting"}': -1,
                'connections{state="open"}': 1,
            },
        )
        await self.end_websocket()
        for request, status in (
            (REQUEST.replace(b"Version: 13", b"Version: 12"), 426),
            (REQUEST[:-2] + b"Origin: https://a.example\r\n\r\n", 403),
        ):
            self.connect(allowed_origins=())
            await self.feed(request)
            self.assertEqual(self.get_change()[f'handshakes_total{{code="{status}"}}'], 1)

    async def test_what_the_server_answers_itself_is_no_request(self) -> None:
        self.connect()
        await self.feed(SCRAPE.replace(b"/metrics", b"/healthz"))
        self.assertEqual(
            self.get_change(), {'connections{state="waiting"}': -1, 'connections{state="lingering"}': 1}
        )
        self.connect()
        await self.feed(SCRAPE)
        self.assertEqual(self.get_change(), {})

    async def test_service_below_another_is_counted_there(self) -> None:
        self.connect()
        child = Service(self.app, ServerConfig(), parent=self.service)
        transport = MemoryTransport()
        self.others.append(transport)
        connection = Connection(child)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        transport.feed(GET)
        await turn_loop()
        await self.respond()
        self.assertEqual(
            self.get_change(),
            {
                "connections_total": 1,
                'connections{state="waiting"}': 1,
                'http_requests_total{method="GET",code="200"}': 1,
            },
        )


class StartTests(MetricsCase):
    async def test_usual_series_are_there_before_anything_is_counted(self) -> None:
        """Prometheus sees no increase in a series that is new."""
        self.connect()
        python = "{}.{}.{}".format(*sys.version_info)
        for series, value in (
            (build_series("wsbridge_build_info", version=__version__, python=python), 1),
            ('wsbridge_http_requests_total{method="GET",code="200"}', 0),
            ('wsbridge_handshakes_total{code="101"}', 0),
            ("wsbridge_ping_seconds_sum", 0),
        ):
            self.assertEqual(self.before[series], value, series)

    async def test_buckets_of_the_histogram(self) -> None:
        self.connect()
        bounds = "0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1.0 2.5 5.0 10.0 +Inf"
        series = [name for name in self.before if name.startswith("wsbridge_ping_seconds_bucket")]
        self.assertEqual(
            series, [f'wsbridge_ping_seconds_bucket{{le="{bound}"}}' for bound in bounds.split()]
        )


class ConnectionTests(MetricsCase):
    async def test_connection_is_counted_once_whatever_it_does(self) -> None:
        self.connect()
        self.connect_another()
        self.assertEqual(self.get_change(), {"connections_total": 1, 'connections{state="waiting"}': 1})
        await self.feed(POST)
        self.assertEqual(
            self.get_change(), {'connections{state="waiting"}': -1, 'connections{state="http"}': 1}
        )
        await self.feed(b"hello" + GET)
        self.assertEqual(self.get_change(), {"queue_bytes": 5 + len(GET)})
        self.transport.lose()
        self.assertEqual(
            self.get_change(),
            {'connections{state="http"}': -1, "queue_bytes": -5 - len(GET), "detached_applications": 1},
        )
        await self.requests.return_()
        await turn_loop()
        self.assertEqual(self.get_change(), {"detached_applications": -1})

    async def test_one_that_gives_way_is_counted_too(self) -> None:
        self.connect(limit_concurrency=1)
        self.connect_another()
        expected = {"connections_total": 1, 'connections{state="waiting"}': 1}
        self.assertEqual(self.get_change(), expected)
        # The one that has waited for its request for the longest time gives way.
        self.others[0].feed(REQUEST)
        self.assertEqual(
            self.get_change(),
            {
                'handshakes_total{code="503"}': 1,
                'connections{state="waiting"}': -1,
                'connections{state="lingering"}': 1,
            },
        )

    async def test_one_past_the_last_file_descriptors(self) -> None:
        self.connect()
        self.service.reserved_descriptor = -1
        self.connect_another()
        self.assertEqual(self.get_change()['http_requests_total{method="other",code="503"}'], 1)
        self.logged.clear()

    async def test_one_behind_a_proxy_header_is_counted_once(self) -> None:
        self.connect(proxy_protocol=True, forwarded_allow_ips="127.0.0.1", forwarded_headers=())
        self.connect_another()
        self.assertEqual(self.get_change(), {"connections_total": 1, 'connections{state="waiting"}': 1})
        await self.feed(b"PROXY UNKNOWN\r\n")
        self.assertEqual(self.get_change(), {})

    async def test_peer_that_does_not_read(self) -> None:
        self.connect(ws_write_limit=100)
        self.transport.is_peer_reading = False
        await self.feed(GET)
        await self.start(self.respond(b"x" * 200))
        change = self.get_change()
        self.assertEqual(change['paused_connections{direction="write"}'], 1)
        self.assertEqual(change["write_buffer_bytes"], self.transport.buffered)
        self.transport.take()
        change = self.get_change()
        self.assertEqual(change['paused_connections{direction="write"}'], -1)
        self.assertEqual(self.before["wsbridge_write_buffer_bytes"], 0)

    async def test_response_that_waits_while_the_next_request_is_awaited(self) -> None:
        self.connect()
        self.transport.is_peer_reading = False
        await self.feed(GET)
        await self.respond()
        change = self.get_change()
        self.assertEqual(change["write_buffer_bytes"], self.transport.buffered)
        self.assertNotIn('connections{state="waiting"}', change)

    async def test_body_that_the_application_does_not_take(self) -> None:
        self.connect()
        await self.feed(POST.replace(b"5", b"100000") + b"x" * 70000)
        self.assertEqual(
            self.get_change(),
            {
                'connections{state="waiting"}': -1,
                'connections{state="http"}': 1,
                'paused_connections{direction="read"}': 1,
                "queue_bytes": 70000,
                "inbound_memory_bytes": 70000,
            },
        )

    async def test_memory_of_what_clients_have_sent(self) -> None:
        self.connect()
        assert self.service.budget is not None
        self.service.budget.size = 7
        self.assertEqual(self.get_change(), {"inbound_memory_bytes": 7})
        self.connect(max_inbound_memory=None)
        self.assertNotIn("wsbridge_inbound_memory_bytes", self.before)

    async def test_member_of_a_host_holds_nothing(self) -> None:
        self.connect()
        member = Member()
        self.service.add(member)
        self.assertEqual(self.get_change(), {})
        self.service.discard(member)


class WebSocketTests(MetricsCase):
    async def test_open_websocket_is_counted_at_the_time_of_asking(self) -> None:
        self.connect()
        await self.open_websocket()
        await self.feed(PEER_HELLO)
        self.assertEqual(
            self.get_change(),
            {
                'websocket_messages_total{direction="received"}': 1,
                'websocket_bytes_total{direction="received"}': len(PEER_HELLO),
                "queue_bytes": 5,
            },
        )
        await self.last.receive()
        await self.last.receive()
        await self.last.send(SEND_HELLO)
        self.assertEqual(
            self.get_change(),
            {
                'websocket_messages_total{direction="sent"}': 1,
                'websocket_bytes_total{direction="sent"}': len(HELLO),
                "queue_bytes": -5,
            },
        )

    async def test_ended_websocket_is_counted_once(self) -> None:
        self.connect()
        await self.open_websocket()
        await self.feed(PEER_CLOSE)
        self.assertEqual(
            self.get_change(),
            {
                'connections{state="open"}': -1,
                'connections{state="lingering"}': 1,
                "detached_applications": 1,
                'websocket_closes_total{code="1000",by="client"}': 1,
                'websocket_bytes_total{direction="received"}': len(PEER_CLOSE),
                'websocket_bytes_total{direction="sent"}': len(CLOSE),
            },
        )
        await self.end_websocket()
        self.assertEqual(
            self.get_change(), {'connections{state="lingering"}': -1, "detached_applications": -1}
        )

    async def test_websocket_that_closes(self) -> None:
        self.connect()
        await self.open_websocket()
        await self.last.send({"type": "websocket.close", "code": 1001})
        change = self.get_change()
        self.assertEqual(
            (change['connections{state="closing"}'], change['connections{state="open"}']), (1, -1)
        )

    async def test_lost_websocket_whose_data_is_held_is_counted_when_it_ends(self) -> None:
        """Its CLOSE may be in what is held, which is parsed once the application takes what came before."""
        self.connect(ws_max_queue=1)
        await self.open_websocket()
        await self.last.receive()
        await self.feed(PEER_HELLO)
        change = self.get_change()
        self.assertEqual(change['paused_connections{direction="read"}'], 1)
        self.transport.protocol.data_received(PEER_HELLO + PEER_CLOSE)
        self.assertEqual(self.get_change()["queue_bytes"], len(PEER_HELLO + PEER_CLOSE))
        self.transport.lose()
        self.assertNotIn('websocket_closes_total{code="1000",by="client"}', self.get_change())
        for _ in range(2):
            await self.last.receive()
        await self.last.receive()
        await self.end_websocket()
        self.assertEqual(self.before['wsbridge_websocket_messages_total{direction="received"}'], 1)
        self.get_change()
        self.assertEqual(self.before['wsbridge_websocket_messages_total{direction="received"}'], 2)
        self.assertEqual(self.before['wsbridge_websocket_closes_total{code="1000",by="client"}'], 1)
        total = len(PEER_HELLO + PEER_HELLO + PEER_CLOSE)
        self.assertEqual(self.before['wsbridge_websocket_bytes_total{direction="received"}'], total)

    async def test_close_codes_of_peers_are_grouped(self) -> None:
        self.connect()
        for code, label in (
            (1001, "1001"),
            (3000, "3000-3999"),
            (3999, "3000-3999"),
            (4000, "4000-4999"),
            (4999, "4000-4999"),
        ):
            await self.open_websocket()
            await self.feed(PEER_CLOSE[:-2] + code.to_bytes(2, "big"))
            self.assertEqual(self.get_change()[f'websocket_closes_total{{code="{label}",by="client"}}'], 1)
            await self.end_websocket()

    async def test_compressed_bytes_are_counted_before_and_after(self) -> None:
        self.connect()
        await self.open_websocket(DEFLATE_OFFER)
        await self.feed(PEER_COMPRESSED)
        await self.last.send({"type": "websocket.send", "text": "a" * 100})
        await turn_loop()
        size = len(self.transport.read()) - 2
        for _ in range(2):
            values = self.collect()
            found = [
                values[build_series(f"wsbridge_deflate_{what}_bytes_total", direction=direction)]
                for what in ("uncompressed", "compressed")
                for direction in ("received", "sent")
            ]
            self.assertEqual(found, [5, 100, 7, size])
            await self.end_websocket()

    async def test_answered_pings_are_in_the_histogram(self) -> None:
        self.connect(ws_ping_interval=20.0)
        await self.open_websocket()
        for seconds in (0.001, 0.0011, 12):
            await self.advance(20.5)
            ping = self.transport.read()
            self.clock.advance(seconds)
            await self.feed(bytes((0x8A, 0x84, 0, 0, 0, 0)) + ping[2:])
        change = self.get_change()
        buckets = {
            series: change.get(series, 0) for series in list(change) if series.startswith("ping_seconds")
        }
        total = buckets.pop("ping_seconds_sum")
        self.assertAlmostEqual(total, 12.0021, 9)
        self.assertEqual(buckets['ping_seconds_bucket{le="0.001"}'], 1)
        self.assertEqual(buckets['ping_seconds_bucket{le="0.0025"}'], 2)
        self.assertEqual(buckets['ping_seconds_bucket{le="10.0"}'], 2)
        self.assertEqual(buckets['ping_seconds_bucket{le="+Inf"}'], 3)
        self.assertEqual(buckets["ping_seconds_count"], 3)

    async def test_protocol_keeps_its_latency(self) -> None:
        """What counts it is a subclass, so that nothing is kept where no metrics are."""
        protocol = MeasuredProtocol(Metrics(Service(self.app, ServerConfig())), clock=self.clock)
        ping = protocol.ping(b"abcd")
        self.clock.advance(0.5)
        protocol.receive_data(bytes((0x8A, 0x84, 0, 0, 0, 0)) + ping[2:])
        self.assertEqual(protocol.latency, 0.5)


class ScrapeTests(MetricsCase):
    async def scrape(self, request: bytes = SCRAPE) -> Tuple[bytes, str]:
        """Head and body of the answer, which is no request and has no line in the log."""
        await self.feed(request)
        head, _, body = self.transport.read().partition(b"\r\n\r\n")
        self.assertEqual(self.requests.all, [])
        self.assert_logged()
        return head, body.decode()

    async def test_text_has_every_value_behind_its_help_and_type(self) -> None:
        self.connect()
        head, body = await self.scrape()
        self.assertTrue(head.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertIn(b"\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n", head)
        self.assertIn(b"\r\ncache-control: no-store", head)
        values = dict(line.rsplit(" ", 1) for line in body.splitlines() if not line.startswith("#"))
        expected = {
            **self.before,
            'wsbridge_connections{state="waiting"}': 0,
            'wsbridge_connections{state="http"}': 1,
        }
        self.assertEqual({series: float(value) for series, value in values.items()}, expected)
        self.assertTrue(body.endswith("\n"))
        for name in FAMILIES:
            self.assertIn(f"# TYPE {name} {FAMILIES[name].type}\n", body)

    async def test_connection_may_be_used_again(self) -> None:
        self.connect()
        for _ in range(2):
            head, _ = await self.scrape()
            self.assertNotIn(b"Connection: close", head)

    async def test_scrapes_that_come_together_are_answered_in_turn(self) -> None:
        self.connect()
        await self.feed(SCRAPE * 5)
        self.assertEqual(self.transport.read().count(b"HTTP/1.1 200 OK\r\n"), 5)

    async def test_head_has_the_length_alone(self) -> None:
        self.connect()
        length = len((await self.scrape())[1])
        head, body = await self.scrape(SCRAPE.replace(b"GET", b"HEAD"))
        self.assertIn(b"\r\ncontent-length: %d\r\n" % length, head)
        self.assertEqual(body, "")

    async def test_other_methods_are_405(self) -> None:
        self.connect()
        head, body = await self.scrape(SCRAPE.replace(b"GET", b"POST"))
        self.assertTrue(head.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n"))
        self.assertIn(b"\r\nallow: GET, HEAD\r\n", head)
        self.assertEqual(body, "GET and HEAD are allowed\n")

    async def test_full_and_stopping_server_still_tells(self) -> None:
        self.connect(limit_concurrency=1)
        self.connect_another()
        self.assertIn("wsbridge_connections_total 2\n", (await self.scrape())[1])
        self.service.begin_shutdown()
        self.connect_another()
        self.assertIn("wsbridge_connections_total 3\n", (await self.scrape())[1])

    async def test_websocket_gets_404(self) -> None:
        self.connect()
        await self.feed(REQUEST.replace(b"/chat", b"/metrics"))
        self.assertIn(b"HTTP/1.1 404 Not Found\r\n", self.transport.read())
        self.assertEqual(self.get_change()['handshakes_total{code="404"}'], 1)

    async def test_empty_path_counts_and_shows_nothing(self) -> None:
        self.connect(metrics_path="")
        await self.feed(GET.replace(b"/a", b"/metrics"))
        await self.respond(status=404)
        self.assertEqual(self.get_change(), {'http_requests_total{method="GET",code="404"}': 1})

    async def test_service_alone_writes_into_no_slot(self) -> None:
        self.connect()
        assert self.service.metrics is not None
        self.service.metrics.publish()
        self.assertFalse(self.service.metrics.is_shared)

    async def test_without_the_option_nothing_is_kept(self) -> None:
        self.connect()
        for config in ({}, {"health_path": "/healthz"}):
            service = Service(self.app, ServerConfig(**config))  # type: ignore[arg-type]
            self.assertIsNone(service.metrics)

    async def test_who_asks_often_sees_the_same_values_for_a_while(self) -> None:
        """50 us for each connection beyond 400: collecting takes a twentieth of that."""
        self.connect()
        metrics = self.service.metrics
        assert metrics is not None
        for count, expected in ((400, "01234"), (2400, "00224")):
            members = [Member() for _ in range(count - 1)]
            for member in members:
                self.service.add(member)
            found = ""
            for metrics.connections in range(5):
                found += metrics.render().partition("\nwsbridge_connections_total ")[2][0]
                self.clock.advance(0.051)
            self.assertEqual(found, expected)
            for member in members:
                self.service.discard(member)
            self.clock.advance(1)

    async def test_server_without_connections_shows_so_at_once(self) -> None:
        self.connect()
        metrics = self.service.metrics
        assert metrics is not None
        members = [Member() for _ in range(2400)]
        for member in members:
            self.service.add(member)
        metrics.render()
        for member in members:
            self.service.discard(member)
        self.assertIn('{state="waiting"} 1\n', metrics.render())
        self.transport.lose()
        self.assertIn('{state="waiting"} 0\n', metrics.render())

    async def test_each_service_has_its_own(self) -> None:
        self.connect()
        other = Service(self.app, self.service.config)
        await self.feed(GET)
        await self.respond()
        assert other.metrics is not None
        self.assertEqual(other.metrics.collect()["wsbridge_connections_total"], 0)


class SharingCase(MetricsCase):
    """Several workers, each with a slot; the one that is asked shows all."""

    def connect(self, *, half_close: bool = True, **config: Any) -> None:
        super().connect(half_close=half_close, **config)
        self.memory = mmap.mmap(-1, get_slots_size(2))
        self.addCleanup(self.memory.close)
        assert self.service.metrics is not None
        self.metrics = self.service.metrics
        self.metrics.share(MetricsSlot(self.memory, 1, process=1, is_alive=lambda process: True))
        self.other = MetricsSlot(self.memory, 2, process=2, is_alive=lambda process: True)

    def read(self) -> Dict[str, float]:
        return self.other.read_all()[1]


class SharingTests(SharingCase):
    async def test_every_series_has_its_worker(self) -> None:
        self.connect()
        self.other.claim()
        self.other.write({"wsbridge_connections_total": 7, 'wsbridge_ping_seconds_bucket{le="+Inf"}': 3})
        text = self.metrics.render()
        self.assertIn(
            '\nwsbridge_connections_total{worker="1"} 1\nwsbridge_connections_total{worker="2"} 7\n', text
        )
        self.assertIn('wsbridge_ping_seconds_bucket{worker="1",le="+Inf"} 0\n', text)
        self.assertIn('wsbridge_ping_seconds_bucket{worker="2",le="+Inf"} 3\n', text)
        self.assertEqual(text.count("# TYPE "), len(FAMILIES))

    async def test_asking_writes_what_is_new(self) -> None:
        self.connect()
        self.connect_another()
        self.assertEqual(self.read()["wsbridge_connections_total"], 1)
        self.metrics.render()
        self.assertEqual(self.read()["wsbridge_connections_total"], 2)


class PublishingTests(SkippingCase, SharingCase):
    async def test_values_are_written_with_each_sweep_and_once_behind_the_last_connection(self) -> None:
        self.connect()
        self.connect_another()
        self.assertEqual(self.read()["wsbridge_connections_total"], 1)
        await pass_time(0.3)
        self.assertEqual(self.read()["wsbridge_connections_total"], 2)
        for transport in (*self.others, self.transport):
            transport.lose()
        self.assertEqual(self.read()['wsbridge_connections{state="waiting"}'], 2)
        await pass_time(0.3)
        self.assertEqual(self.read()['wsbridge_connections{state="waiting"}'], 0)
        # Nothing more is written while nothing happens.
        assert self.service.metrics is not None
        self.service.metrics.connections = 1000
        await pass_time(10)
        self.assertEqual(self.read()["wsbridge_connections_total"], 2)
        self.connect_another()
        await pass_time(0.3)
        self.assertEqual(self.read()["wsbridge_connections_total"], 1001)


class ServerTests(LoopbackCase):
    """What a host sees of the metrics of a `Server`."""

    def make(self, **options: Any) -> Server:
        server = Server(ManualApp(), port=0, lifespan="off", log_level="critical", **options)
        self.addAsyncCleanup(server.stop)
        return server

    async def ask(self, server: Server) -> bytes:
        client = await self.connect(server.sockets[0].getsockname())
        client.send(SCRAPE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answer = await client.read_to_end()
        await client.close()
        return answer

    async def test_values_begin_with_a_start_and_stay_behind_the_stop(self) -> None:
        server = self.make(metrics_path="/metrics")
        self.assertEqual((server.metrics, server.metrics_text), ({}, ""))
        for _ in range(2):
            async with server:
                self.assertEqual(server.metrics["wsbridge_connections_total"], 0)
                self.assertIn(b"\nwsbridge_connections_total 1\n", await self.ask(server))
            self.assertEqual(server.metrics["wsbridge_connections_total"], 1)
            self.assertIn("\nwsbridge_connections_total 1\n", server.metrics_text)
            self.assertEqual(server.metrics['wsbridge_connections{state="http"}'], 0)

    async def test_there_are_none_without_the_option(self) -> None:
        async with self.make() as server:
            self.assertEqual((server.metrics, server.metrics_text), ({}, ""))

    async def test_two_servers_of_one_process_have_their_own(self) -> None:
        async with self.make(metrics_path="/metrics") as first, self.make(metrics_path="/metrics") as second:
            await self.ask(first)
            self.assertIn(b"\nwsbridge_connections_total 2\n", await self.ask(first))
            self.assertIn(b"\nwsbridge_connections_total 1\n", await self.ask(second))

    async def test_worker_shows_all_once_it_listens(self) -> None:
        memory = mmap.mmap(-1, get_slots_size(2))
        self.addCleanup(memory.close)
        other = MetricsSlot(memory, 2)
        for options in ({}, {"metrics_path": "/metrics"}):
            server = self.make(**options)
            server.share_metrics(MetricsSlot(memory, 1))
            self.assertEqual(other.read_all(), {})
            async with server:
                self.assertEqual(list(other.read_all()), [1] if options else [])
        self.assertIn('\nwsbridge_connections_total{worker="1"} 0\n', server.metrics_text)


class TextTests(unittest.TestCase):
    def test_label_values_are_escaped(self) -> None:
        self.assertEqual(build_series("a", b='\\ " \n', c=1), r'a{b="\\ \" \n",c="1"}')
        self.assertEqual(build_series("a"), "a")

    def test_names_and_units(self) -> None:
        for name, family in FAMILIES.items():
            self.assertRegex(name, "^wsbridge_[a-z_]+$")
            self.assertEqual(name.endswith("_total"), family.type == "counter")
            self.assertNotIn("\n", family.help)

    def test_one_worker_after_another_within_each_name(self) -> None:
        text = render_metrics({1: {"wsbridge_queue_bytes": 1}, 3: {"wsbridge_queue_bytes": 2.5}})
        self.assertIn(
            'gauge\nwsbridge_queue_bytes{worker="1"} 1\nwsbridge_queue_bytes{worker="3"} 2.5\n#', text
        )


if __name__ == "__main__":
    unittest.main()
