"""HTTP/1.1 responses as bytes: RFC 9112 4, RFC 9110 6.6.1, 8.6 and 9.3.2."""

from __future__ import annotations

import unittest

from wsbridge.protocols import errors
from wsbridge.protocols.responses import build_refusal, build_response, build_response_head


class ResponseHeadBuildingTests(unittest.TestCase):
    def test_status_line_headers_and_empty_line(self) -> None:
        head = build_response_head(200, [(b"a", b"1"), (b"B", b"\xff"), (b"a", b"2")])
        self.assertEqual(head, b"HTTP/1.1 200 OK\r\na: 1\r\nB: \xff\r\na: 2\r\n\r\n")

    def test_reason_can_be_given(self) -> None:
        self.assertEqual(build_response_head(200, reason=b"Fine"), b"HTTP/1.1 200 Fine\r\n\r\n")

    def test_unregistered_status_has_an_empty_reason(self) -> None:
        self.assertEqual(build_response_head(299), b"HTTP/1.1 299 \r\n\r\n")

    def test_every_final_status_can_be_built(self) -> None:
        for status in range(200, 600):
            self.assertTrue(build_response_head(status).startswith(b"HTTP/1.1 %d " % status))

    def test_status_that_is_no_final_one_is_refused(self) -> None:
        for status in (-1, 0, 99, 100, 101, 199, 600, 1000, True, "200", None, 200.0):
            with self.assertRaises(errors.EventError):
                build_response_head(status)  # type: ignore[arg-type]

    def test_date_stands_before_the_headers(self) -> None:
        # RFC 9110 5.6.7: the example of an IMF-fixdate.
        date = b"Sun, 06 Nov 1994 08:49:37 GMT"
        head = build_response_head(200, [(b"a", b"1"), (b"server", b"2")], date=date)
        self.assertEqual(head, b"HTTP/1.1 200 OK\r\nDate: " + date + b"\r\na: 1\r\nserver: 2\r\n\r\n")

    def test_date_of_the_headers_is_the_only_one(self) -> None:
        for name in (b"Date", b"date", b"DATE"):
            head = build_response_head(200, [(b"a", b"1"), (name, b"then"), (b"b", b"2")], date=b"now")
            self.assertEqual(head, b"HTTP/1.1 200 OK\r\na: 1\r\n" + name + b": then\r\nb: 2\r\n\r\n")

    def test_what_could_end_a_line_is_refused(self) -> None:
        for bad in (b"a\r", b"a\n", b"a\r\nB: c", b"\x00"):
            for arguments in (
                {"reason": bad},
                {"date": bad},
                {"headers": [(b"a", bad)]},
                {"headers": [(bad, b"a")]},
            ):
                with self.assertRaises(errors.EventError):
                    build_response_head(200, **arguments)


class ResponseBuildingTests(unittest.TestCase):
    def test_length_connection_and_type_are_added(self) -> None:
        expected = (
            b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Content-Length: 3\r\nConnection: close\r\n\r\nno\n"
        )
        self.assertEqual(build_response(404, body=b"no\n"), expected)

    def test_date_is_added_where_given(self) -> None:
        expected = (
            b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        self.assertEqual(build_response(200, date=b"Sun, 06 Nov 1994 08:49:37 GMT"), expected)

    def test_given_type_is_kept(self) -> None:
        expected = (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        self.assertEqual(build_response(200, [(b"content-type", b"text/html")]), expected)

    def test_upgrade_header_is_named_in_connection(self) -> None:
        response = build_response(426, [(b"Upgrade", b"websocket")])
        self.assertIn(b"\r\nConnection: Upgrade, close\r\n", response)

    def test_header_that_frames_the_response_is_refused(self) -> None:
        for name in (b"Content-Length", b"content-length", b"Connection", b"Transfer-Encoding"):
            with self.assertRaises(errors.EventError):
                build_response(200, [(name, b"0")])

    def test_status_without_content_is_refused(self) -> None:
        for status in (204, 304):
            with self.assertRaises(errors.EventError):
                build_response(status)


class RefusalBuildingTests(unittest.TestCase):
    def test_status_headers_and_text_are_the_errors(self) -> None:
        expected = (
            b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 8\r\nConnection: close\r\n\r\n"
            b"no POST\n"
        )
        self.assertEqual(build_refusal(errors.MethodNotAllowed("no POST")), expected)

    def test_answer_to_head_has_the_length_but_not_the_body(self) -> None:
        refusal = errors.BadRequest("no Host header")
        whole = build_refusal(refusal)
        self.assertEqual(build_refusal(refusal, head=True) + b"no Host header\n", whole)
        self.assertIn(b"Content-Length: 15\r\n", whole)

    def test_date_is_part_of_an_answer_to_head_too(self) -> None:
        refusal = errors.BadRequest("no Host header")
        date = b"\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        for head in (False, True):
            response = build_refusal(refusal, head=head, date=b"Sun, 06 Nov 1994 08:49:37 GMT")
            self.assertEqual(response.replace(date, b"\r\n"), build_refusal(refusal, head=head))
            self.assertEqual(response.count(date), 1)

    def test_headers_come_before_the_refusals_own(self) -> None:
        expected = b"HTTP/1.1 405 Method Not Allowed\r\nServer: a\r\nAllow: GET, HEAD\r\n"
        response = build_refusal(errors.MethodNotAllowed("no POST"), headers=((b"Server", b"a"),))
        self.assertTrue(response.startswith(expected))

    def test_every_refusal_can_be_built(self) -> None:
        for error in errors.RequestRefused.__subclasses__():
            self.assertTrue(build_refusal(error("x")).startswith(b"HTTP/1.1 %d " % error.status))

    def test_text_leaves_as_one_short_line_of_ascii(self) -> None:
        response = build_refusal(errors.BadRequest("a\r\n\x1b[31m\x00b\xe9\udcff\x7f~\x1f" + "c" * 2558))
        body = response.partition(b"\r\n\r\n")[2]
        self.assertEqual(body, b"a   [31m b\\xe9\\udcff ~ " + b"c" * 177 + b"\n")


if __name__ == "__main__":
    unittest.main()
