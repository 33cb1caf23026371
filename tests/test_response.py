"""HTTP responses from an application: what leaves, and what is refused before anything does."""

from __future__ import annotations

import time
import unittest
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Dict, List

from tests import doubles
from tests.doubles import DATE
from wsbridge.asgi.response import (
    ResponseBuilder,
    build_date,
    check_header_pairs,
    check_response_body,
    check_response_start,
)
from wsbridge.protocols.errors import EventError

Event = Dict[str, Any]

OK = b"HTTP/1.1 200 OK\r\n" + DATE


class HeaderPairTests(unittest.TestCase):
    def assert_refused(self, headers: Any) -> None:
        with self.assertRaises(EventError, msg=repr(headers)) as caught:
            check_header_pairs(headers)
        self.assertIs(type(caught.exception), EventError)

    def test_none_is_no_headers(self) -> None:
        self.assertEqual(check_header_pairs(None), [])

    def test_order_case_and_duplicates_are_kept(self) -> None:
        pairs = [(b"B", b"1"), (b"a", b""), (b"B", b"1")]
        self.assertEqual(check_header_pairs(pairs), pairs)

    def test_any_iterable_of_any_pairs_will_do(self) -> None:
        for headers in ([[b"a", b"b"]], ((b"a", b"b"),), iter([(b"a", b"b")]), {b"a": b"b"}.items()):
            self.assertEqual(check_header_pairs(headers), [(b"a", b"b")])

    def test_what_is_not_iterable_or_no_pairs_is_refused(self) -> None:
        for headers in (5, True, [None], [b"a"], [(b"a",)], [(b"a", b"b", b"c")]):
            self.assert_refused(headers)

    def test_names_and_values_that_are_not_bytes_are_refused(self) -> None:
        for pair in (("a", b"b"), (b"a", "b"), (b"a", None), (1, 2), (b"a", bytearray(b"b"))):
            self.assert_refused([(b"a", b"b"), pair])
        self.assert_refused({b"ab": b"cd"})


class ResponseCase(unittest.TestCase):
    def setUp(self) -> None:
        self.response = ResponseBuilder(date=doubles.build_date)

    def take_start(self, event: Event) -> None:
        self.response.start(*check_response_start({"type": "http.response.start", **event}))

    def start(self, *headers: Any, status: int = 200, **options: Any) -> None:
        self.response = ResponseBuilder(date=doubles.build_date, **options)
        self.take_start({"status": status, "headers": headers})

    def take_body(self, event: Event) -> bytes:
        return self.response.build_part(*check_response_body({"type": "http.response.body", **event}))

    def body(self, part: Any, more: bool = False) -> bytes:
        return self.take_body({"body": part, "more_body": more})

    def assert_body(self, expected: bytes, part: Any, more: bool = False) -> None:
        self.assertEqual(self.body(part, more), expected)
        self.assertTrue(self.response.is_on_wire)
        self.assertIs(self.response.is_complete, not more)


class StartTests(ResponseCase):
    def assert_refused(self, event: Event) -> None:
        with self.assertRaises(EventError, msg=repr(event)):
            self.take_start(event)
        self.assertEqual(self.response.status, 0)

    def test_status_is_noted_and_nothing_is_on_the_wire(self) -> None:
        self.start(status=418)
        self.assertEqual(self.response.status, 418)
        self.assertFalse(self.response.is_on_wire or self.response.is_complete)

    def test_status_may_be_a_member_of_http_status(self) -> None:
        for status in (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.IM_A_TEAPOT, HTTPStatus.NO_CONTENT):
            self.start(status=status)
            self.assertIs(type(self.response.status), int)
            self.assertTrue(self.body(b"").startswith(b"HTTP/1.1 %d " % status.value))

    def test_headers_may_be_absent_or_none(self) -> None:
        for event in ({"status": 200}, {"status": 200, "headers": None}):
            self.setUp()
            self.take_start(event)
            self.assert_body(OK + b"Connection: close\r\nContent-Length: 1\r\n\r\na", b"a")

    def test_status_of_a_final_response_is_accepted_and_no_other(self) -> None:
        for status in (200, 599):
            self.start(status=status)
        self.response = ResponseBuilder()
        for bad in (None, "200", 200.0, True, 0, 100, 101, 199, 600, -200):
            self.assert_refused({"status": bad})
        self.assert_refused({})

    def test_header_that_cannot_be_sent_is_refused(self) -> None:
        for bad in ((b"a b", b"c"), (b"", b"c"), (b"a", b"b\r\nc: d"), (b"a", b"\0"), (b"a\n", b"b")):
            self.assert_refused({"status": 200, "headers": [(b"good", b"value"), bad]})

    def test_value_that_cannot_be_sent_is_refused_whatever_its_name(self) -> None:
        for name in (
            b"content-type",
            b"Location",
            b"Date",
            b"set-cookie",
            b"Connection",
            b"X-Other",
            b"ETAG",
        ):
            for value in (b"a\r\nb: c", b"a\n", b"\r", b"\0", b"\x7f", b"a\r\n\r\n"):
                self.assert_refused({"status": 200, "headers": [(name, value)]})

    def test_content_length_that_is_no_number_is_refused(self) -> None:
        for bad in (b"", b"-1", b"+1", b"1_0", b"0x1", b" 1", b"1, 1"):
            self.assert_refused({"status": 200, "headers": [(b"Content-Length", bad)]})

    def test_second_content_length_is_refused(self) -> None:
        line = (b"content-length", b"1")
        self.assert_refused({"status": 200, "headers": [line, line]})


class RememberedStartTests(ResponseCase):
    """An application sends the same status and headers again and again."""

    def answer(self, headers: List[Any], status: int = 200, date: bytes = b"now") -> bytes:
        self.response = ResponseBuilder(date=lambda: date)
        self.take_start({"status": status, "headers": headers})
        return self.body(b"")

    def test_each_response_has_the_date_of_its_own(self) -> None:
        headers = [(b"content-length", b"0")]
        for date in (b"now", b"later"):
            expected = b"HTTP/1.1 200 OK\r\nDate: %b\r\ncontent-length: 0\r\nConnection: close\r\n\r\n" % date
            self.assertEqual(self.answer(headers, date=date), expected)

    def test_list_may_change_between_two_responses(self) -> None:
        for pair in ((b"x-visit", b"1"), [b"x-visit", b"1"]):
            headers: List[Any] = [pair]
            self.assertIn(b"\r\nx-visit: 1\r\n", self.answer(headers))
            headers[0] = (b"x-visit", b"2")
            self.assertIn(b"\r\nx-visit: 2\r\n", self.answer(headers))
        pair = [b"x-visit", b"3"]
        self.answer([pair])
        pair[1] = b"4"
        self.assertIn(b"\r\nx-visit: 4\r\n", self.answer([pair]))

    def test_same_headers_with_another_status(self) -> None:
        headers = [(b"content-length", b"0")]
        self.assertIn(b"content-length", self.answer(headers))
        self.assertNotIn(b"content-length", self.answer(headers, status=204))

    def test_connection_close_is_obeyed_each_time(self) -> None:
        for _ in range(2):
            self.response = ResponseBuilder(may_keep_alive=lambda: True)
            self.take_start({"status": 200, "headers": [(b"connection", b"close")]})
            self.assertIn(b"\r\nConnection: close\r\n", self.body(b""))
            self.assertFalse(self.response.keeps_alive)

    def test_many_different_ones_may_follow_each_other(self) -> None:
        for number in range(2000):
            name = b"set-cookie" if number % 2 else b"x-number"
            value = b"%d" % number * (200 if number % 3 else 1)
            self.assertIn(b"\r\n%b: %b\r\n" % (name, value), self.answer([(name, value)]))

    def test_value_of_another_type_is_refused_although_it_equals_a_remembered_one(self) -> None:
        self.answer([(b"x-type", b"a")])
        with self.assertRaises(EventError):
            self.answer([(b"x-type", bytearray(b"a"))])


class WholeBodyTests(ResponseCase):
    def test_one_part_gets_a_content_length(self) -> None:
        self.start((b"content-type", b"text/plain"), status=404)
        expected = (
            b"HTTP/1.1 404 Not Found\r\n" + DATE + b"content-type: text/plain\r\nConnection: close\r\n"
            b"Content-Length: 2\r\n\r\nno"
        )
        self.assert_body(expected, b"no")

    def test_empty_part_has_content_length_0(self) -> None:
        self.start()
        self.assert_body(OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n", b"")

    def test_body_and_more_body_may_be_absent(self) -> None:
        self.start()
        expected = OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
        self.assertEqual(self.take_body({}), expected)
        self.assertTrue(self.response.is_complete)

    def test_own_content_length_is_kept(self) -> None:
        self.start((b"Content-Length", b"2"))
        self.assert_body(OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nab", b"ab")

    def test_anything_like_bytes_is_a_body(self) -> None:
        for part in (bytearray(b"ab"), memoryview(b"ab"), memoryview(b"axbx")[::2]):
            self.start((b"Content-Length", b"2"))
            self.assertTrue(self.body(part).endswith(b"\r\n\r\nab"))

    def test_anything_else_is_refused(self) -> None:
        self.start()
        for part in (None, "ab", 5, [1]):
            with self.assertRaises(EventError):
                self.body(part)
        self.assertFalse(self.response.is_on_wire)

    def test_headers_of_the_connection_are_the_servers(self) -> None:
        self.start(
            (b"Connection", b"keep-alive"),
            (b"keep-alive", b"timeout=5"),
            (b"Proxy-Connection", b"keep-alive"),
            (b"transfer-encoding", b"gzip"),
            (b"Upgrade", b"h2c"),
            (b"x-kept", b"yes"),
        )
        expected = OK + b"x-kept: yes\r\nConnection: close\r\nContent-Length: 1\r\n\r\na"
        self.assert_body(expected, b"a")

    def test_unregistered_status_has_no_phrase(self) -> None:
        self.start(status=599)
        self.assert_body(
            b"HTTP/1.1 599 \r\n" + DATE + b"Connection: close\r\nContent-Length: 1\r\n\r\na", b"a"
        )


class DateTests(ResponseCase):
    def test_date_is_that_of_now(self) -> None:
        seconds = parsedate_to_datetime(build_date().decode()).timestamp()
        self.assertLess(abs(seconds - time.time()), 60)
        # RFC 9110 5.6.7: the one form that is to be sent.
        self.assertRegex(build_date(), rb"^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$")

    def test_date_of_the_application_is_kept(self) -> None:
        for name in (b"date", b"Date", b"DATE"):
            self.start((name, b"today"))
            head = b"HTTP/1.1 200 OK\r\n%b: today\r\nConnection: close\r\n" % name
            self.assert_body(head + b"Content-Length: 1\r\n\r\na", b"a")


class HTTP10Tests(ResponseCase):
    """RFC 9112 6.1: a client of HTTP/1.0 knows no chunks; the end of the connection ends the body."""

    def test_parts_are_sent_as_they_are(self) -> None:
        self.start(http_version="1.0")
        self.assert_body(OK + b"Connection: close\r\n\r\na", b"a", more=True)
        self.assert_body(b"bc", b"bc", more=True)
        self.assert_body(b"", b"")

    def test_one_part_has_its_length(self) -> None:
        self.start(http_version="1.0")
        self.assert_body(OK + b"Connection: close\r\nContent-Length: 1\r\n\r\na", b"a")

    def test_declared_length_is_kept(self) -> None:
        self.start((b"content-length", b"2"), http_version="1.0")
        self.assert_body(OK + b"content-length: 2\r\nConnection: close\r\n\r\na", b"a", more=True)
        self.assert_body(b"b", b"b")


class PartsTests(ResponseCase):
    CHUNKED = OK + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

    def test_parts_are_chunks_of_rfc_9112_7_1(self) -> None:
        self.start()
        self.assert_body(self.CHUNKED + b"1\r\na\r\n", b"a", more=True)
        self.assert_body(b"10\r\n0123456789abcdef\r\n", b"0123456789abcdef", more=True)
        self.assert_body(b"1\r\nz\r\n0\r\n\r\n", b"z")

    def test_empty_part_is_no_last_chunk(self) -> None:
        self.start()
        self.assert_body(self.CHUNKED, b"", more=True)
        self.assert_body(b"", b"", more=True)
        self.assert_body(b"1\r\na\r\n", b"a", more=True)
        self.assert_body(b"0\r\n\r\n", b"")

    def test_parts_with_a_content_length_are_sent_as_they_are(self) -> None:
        self.start((b"content-length", b"3"))
        head = OK + b"content-length: 3\r\nConnection: close\r\n\r\n"
        self.assert_body(head + b"a", b"a", more=True)
        self.assert_body(b"bc", b"bc", more=True)
        self.assert_body(b"", b"")

    def test_more_than_the_content_length_is_refused(self) -> None:
        self.start((b"content-length", b"3"))
        self.body(b"ab", more=True)
        for more in (False, True):
            with self.assertRaises(EventError):
                self.body(b"cd", more)
        self.assertFalse(self.response.is_complete)
        self.assert_body(b"c", b"c")

    def test_less_than_the_content_length_is_refused_at_the_end(self) -> None:
        self.start((b"content-length", b"3"))
        with self.assertRaises(EventError):
            self.body(b"ab")
        self.assertFalse(self.response.is_on_wire)


class KeepAliveTests(ResponseCase):
    """RFC 9112 9.6: "Connection: close" stands in the response behind which the connection closes."""

    LINE = b"Connection: close\r\n"

    def count_questions(self, *headers: Any, answer: bool = True, **options: Any) -> List[str]:
        """Start a response; each question whether the connection can go on is noted."""
        asked: List[str] = []

        def may_keep_alive() -> bool:
            asked.append("asked")
            return answer

        self.start(*headers, may_keep_alive=may_keep_alive, **options)
        return asked

    def test_connection_that_can_go_on_is_not_named(self) -> None:
        for status in (200, 204, 304, 500):
            for is_head in (False, True):
                for more in (False, True):
                    self.count_questions(status=status, is_head=is_head)
                    self.assertNotIn(b"Connection", self.body(b"a", more))
                    self.assertTrue(self.response.keeps_alive)

    def test_connection_that_cannot_go_on_closes(self) -> None:
        for status in (200, 204, 304, 500):
            for more in (False, True):
                self.count_questions(status=status, answer=False)
                self.assertEqual(self.body(b"a", more).count(self.LINE), 1)
                self.assertFalse(self.response.keeps_alive)

    def test_question_is_asked_once_and_when_the_head_is_built(self) -> None:
        asked = self.count_questions()
        self.assertEqual(asked, [])
        for more in (True, True, False):
            self.body(b"a", more)
            self.assertEqual(asked, ["asked"])

    def test_application_may_close(self) -> None:
        for name in (b"connection", b"Connection", b"CONNECTION"):
            for value in (b"close", b"Close", b"keep-alive, close", b"a,close ,b", b"close, TE"):
                asked = self.count_questions((name, value))
                written = self.body(b"a")
                self.assertEqual(written, OK + self.LINE + b"Content-Length: 1\r\n\r\na")
                self.assertEqual((asked, self.response.keeps_alive), ([], False))

    def test_application_may_close_on_any_line(self) -> None:
        self.count_questions((b"connection", b"a"), (b"connection", b"close"), (b"connection", b"b"))
        self.assertEqual(self.body(b"a").count(self.LINE), 1)

    def test_other_values_and_headers_do_not_close(self) -> None:
        for header in (
            (b"connection", b"keep-alive"),
            (b"connection", b"closed"),
            (b"connection", b'"close"'),
            (b"connection", b""),
            (b"keep-alive", b"close"),
            (b"proxy-connection", b"close"),
            (b"x-connection", b"close"),
        ):
            self.count_questions(header)
            self.assertNotIn(self.LINE, self.body(b"a").replace(b"x-connection: close\r\n", b""))
            self.assertTrue(self.response.keeps_alive)

    def test_without_the_question_it_closes(self) -> None:
        self.start()
        self.assertIn(self.LINE, self.body(b"a"))
        self.assertFalse(self.response.keeps_alive)


class ContentlessTests(ResponseCase):
    """RFC 9110 6.4.1: what has a head only."""

    def test_head_is_told_the_size_that_get_would_have(self) -> None:
        self.start(is_head=True)
        self.assert_body(OK + b"Connection: close\r\nContent-Length: 2\r\n\r\n", b"ab")

    def test_head_is_told_nothing_where_the_application_leaves_out_the_body(self) -> None:
        self.start(is_head=True)
        self.assert_body(OK + b"Connection: close\r\n\r\n", b"")

    def test_head_keeps_a_content_length_whatever_the_body(self) -> None:
        for part in (b"", b"abc", b"abcd"):
            self.start((b"content-length", b"3"), is_head=True)
            self.assert_body(OK + b"content-length: 3\r\nConnection: close\r\n\r\n", part)

    def test_head_of_a_response_in_parts_has_no_chunks(self) -> None:
        self.start(is_head=True)
        self.assert_body(PartsTests.CHUNKED, b"ab", more=True)
        self.assert_body(b"", b"cd", more=True)
        self.assert_body(b"", b"")

    def test_204_has_neither_length_nor_chunks(self) -> None:
        for headers in ((), ((b"Content-Length", b"0"),), ((b"content-length", b"5"),)):
            for more in (False, True):
                self.start(*headers, status=204)
                self.assert_body(
                    b"HTTP/1.1 204 No Content\r\n" + DATE + b"Connection: close\r\n\r\n", b"ab", more
                )

    def test_204_keeps_the_headers_behind_its_length(self) -> None:
        self.start((b"content-length", b"5"), (b"etag", b"a"), status=204)
        expected = b"HTTP/1.1 204 No Content\r\n" + DATE + b"etag: a\r\nConnection: close\r\n\r\n"
        self.assert_body(expected, b"")

    def test_304_has_no_chunks_and_only_its_own_length(self) -> None:
        self.start(status=304)
        self.assert_body(
            b"HTTP/1.1 304 Not Modified\r\n" + DATE + b"Connection: close\r\n\r\n", b"ab", more=True
        )
        self.start((b"content-length", b"5"), status=304)
        expected = b"HTTP/1.1 304 Not Modified\r\n" + DATE + b"content-length: 5\r\nConnection: close\r\n\r\n"
        self.assert_body(expected, b"")


if __name__ == "__main__":
    unittest.main()
