"""What is logged, counted and written of a request that is refused."""

from __future__ import annotations

from typing import Optional

from tests.doubles import ServiceTestCase
from wsbridge.protocols.errors import BadRequest
from wsbridge.protocols.events import RequestReceived
from wsbridge.server.metrics.metrics import build_series
from wsbridge.server.refusals import Refused, build_stopping, record_refusal, write_refusal

HEAD = RequestReceived(b"HEAD", b"/a", (), "1.1")


class RefusalTests(ServiceTestCase):
    def refuse(self, refused: Refused, hint: Optional[str] = None) -> None:
        record_refusal(self.service, ("192.0.2.1", 5), refused, BadRequest("no"), hint)

    def assert_counted(self, method: str) -> None:
        metrics = self.service.metrics
        assert metrics is not None
        series = build_series("wsbridge_http_requests_total", method=method, code=400)
        self.assertEqual(metrics.collect()[series], 1)

    async def test_request_is_logged_and_counted(self) -> None:
        self.set_up(metrics_path="/metrics")
        self.refuse(HEAD, "a hint")
        self.assertEqual(self.logged, [("INFO", '192.0.2.1:5 "HEAD /a" refused: 400 no; a hint')])
        self.assert_counted("HEAD")

    async def test_what_could_not_be_read_is_logged_and_counted(self) -> None:
        self.set_up(metrics_path="/metrics")
        self.refuse(None)
        self.assertEqual(self.logged, [("INFO", "192.0.2.1:5 refused: 400 no")])
        self.assert_counted("other")

    async def test_without_metrics_it_is_only_logged(self) -> None:
        self.set_up()
        self.refuse(HEAD)
        self.assertEqual(self.logged, [("INFO", '192.0.2.1:5 "HEAD /a" refused: 400 no')])

    async def test_answer_has_the_headers_of_the_server(self) -> None:
        self.set_up(headers=[("server", "here")])
        write_refusal(self.service, self.transport, None, build_stopping())
        head, _, body = self.transport.written.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 503 "))
        self.assertIn(b"\r\nserver: here\r\n", head)
        self.assertIn(b"the server is stopping", body)

    async def test_answer_to_a_head_has_no_body(self) -> None:
        self.set_up()
        write_refusal(self.service, self.transport, HEAD, build_stopping())
        self.assertTrue(self.transport.read().endswith(b"\r\n\r\n"))

    async def test_answer_to_any_other_method_has_one(self) -> None:
        self.set_up()
        for method in (b"GET", b"POST"):
            request = RequestReceived(method, b"/a", (), "1.1")
            write_refusal(self.service, self.transport, request, build_stopping())
            self.assertTrue(self.transport.read().endswith(b"\r\n\r\nthe server is stopping\n"))
