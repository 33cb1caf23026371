"""HTTP/1.1 heads: RFC 9112, and the "any request" half of the opening handshake's hostile input."""

from __future__ import annotations

import contextlib
import unittest
from typing import Any, Callable, Iterator, List, Tuple, Type

from wsbridge.protocols import errors
from wsbridge.protocols.bodies import ChunkedBody, LengthBody, build_body
from wsbridge.protocols.events import RequestReceived
from wsbridge.protocols.http11 import RequestParser, ResponseParser, ResponseReceived

Parser = Any
HOST = ((b"host", b"example.com"),)
TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def request(target: bytes = b"/", headers: Tuple[Tuple[bytes, bytes], ...] = HOST) -> RequestReceived:
    return RequestReceived(b"GET", target, headers, "1.1")


def with_line(line: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: example.com\r\n" + line + b"\r\n\r\n"


class HeadTestCase(unittest.TestCase):
    """Every case runs whole, byte by byte, and with bytes behind it."""

    new_parser: Callable[..., Parser] = RequestParser

    def pieces(self, data: bytes) -> Iterator[List[bytes]]:
        yield [data]
        yield [data[index : index + 1] for index in range(len(data))]
        yield [data[:-1], b"", data[-1:]]

    def assert_parsed(self, expected: object, head: bytes, **limits: int) -> None:
        for pieces in self.pieces(head):
            for trailing in (b"", b"\x82\x80\x00\x00\x00\x00", b"\r\n", b"GET / HTTP/1.1\r\n\r\n"):
                parser = type(self).new_parser(**limits)
                results = [parser.receive_data(piece) for piece in pieces[:-1]]
                self.assertEqual(results, [None] * len(results))
                self.assertEqual(parser.trailing, b"")
                self.assertEqual(parser.receive_data(pieces[-1] + trailing), expected)
                self.assertEqual(parser.trailing, trailing)

    def assert_refused(self, error: Type[Exception], head: bytes, text: str = "", **limits: int) -> None:
        """``head`` is refused at its last byte, however it is cut and whatever follows."""
        for pieces in self.pieces(head):
            for trailing in (b"", b"\r\n\r\n", b"\x00"):
                parser = type(self).new_parser(**limits)
                results = [parser.receive_data(piece) for piece in pieces[:-1]]
                self.assertEqual(results, [None] * len(results))
                with self.assertRaises(error) as caught:
                    parser.receive_data(pieces[-1] + trailing)
                self.assertIs(type(caught.exception), error)
                self.assertRegex(str(caught.exception), "^[ -~]{5,100}$")
                self.assertIn(text, str(caught.exception))

    def assert_bad(self, head: bytes, text: str = "") -> None:
        self.assert_refused(errors.BadRequest, head, text)


class RequestHeadTests(HeadTestCase):
    def test_method_target_headers_and_version_are_returned(self) -> None:
        self.assert_parsed(request(b"/chat?a=b"), b"GET /chat?a=b HTTP/1.1\r\nHost: example.com\r\n\r\n")

    def test_head_is_a_method_of_its_own(self) -> None:
        head = b"HEAD / HTTP/1.1\r\nHost: example.com\r\n\r\n"
        self.assert_parsed(RequestReceived(b"HEAD", b"/", HOST, "1.1"), head)

    def test_names_are_lowered_and_order_and_duplicates_are_kept(self) -> None:
        head = b"GET / HTTP/1.1\r\nX-B: 1\r\nHOST: example.com\r\nx-a: 2\r\nX-b: 1\r\n\r\n"
        headers = ((b"x-b", b"1"), (b"host", b"example.com"), (b"x-a", b"2"), (b"x-b", b"1"))
        self.assert_parsed(request(headers=headers), head)

    def test_blanks_around_a_value_are_stripped_and_those_inside_are_kept(self) -> None:
        self.assert_parsed(request(headers=(*HOST, (b"a", b"b \t c"))), with_line(b"A: \t b \t c\t "))

    def test_value_may_be_missing_or_blank(self) -> None:
        for line in (b"A:", b"A: ", b"A:\t"):
            self.assert_parsed(request(headers=(*HOST, (b"a", b""))), with_line(line))

    def test_value_may_hold_colons(self) -> None:
        self.assert_parsed(request(headers=(*HOST, (b"a", b":b:c:"))), with_line(b"A::b:c:"))

    def test_names_that_differ_in_an_underscore_are_not_merged(self) -> None:
        headers = (*HOST, (b"x_forwarded_for", b"1"), (b"x-forwarded-for", b"2"))
        self.assert_parsed(request(headers=headers), with_line(b"X_Forwarded_For: 1\r\nX-Forwarded-For: 2"))

    def test_percent_encoding_is_left_alone(self) -> None:
        for target in (b"/%ff", b"/%2e%2e/%00", b"//", b"/../a", b'/"<>\\^`{|}', b"/%zz"):
            self.assert_parsed(request(target), b"GET " + target + b" HTTP/1.1\r\nHost: example.com\r\n\r\n")

    def test_bytes_80_to_ff_in_a_value_are_opaque(self) -> None:
        opaque = bytes(range(0x80, 0x100))
        self.assert_parsed(request(headers=(*HOST, (b"a", opaque))), with_line(b"A: " + opaque))

    def test_one_empty_line_before_the_request_is_skipped(self) -> None:
        self.assert_parsed(request(), b"\r\nGET / HTTP/1.1\r\nHost: example.com\r\n\r\n")

    def test_second_empty_line_before_the_request_is_refused(self) -> None:
        self.assert_bad(b"\r\n\r")

    def test_empty_line_before_the_request_counts_towards_no_limit(self) -> None:
        head = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
        self.assert_parsed(request(), b"\r\n" + head, max_request_line=14, max_head=len(head))
        self.assert_refused(errors.HeadTooLarge, b"\r\n" + head, max_head=len(head) - 1)
        self.assert_refused(errors.URITooLong, b"\r\n" + head[:14], max_request_line=13)

    def test_every_cut_in_two_gives_the_same_request(self) -> None:
        head = with_line(b"A: b\r\nUpgrade: websocket")
        expected = request(headers=(*HOST, (b"a", b"b"), (b"upgrade", b"websocket")))
        for cut in range(1, len(head)):
            parser = RequestParser(max_request_line=14, max_head=len(head), max_headers=3)
            self.assertIsNone(parser.receive_data(head[:cut]), cut)
            self.assertEqual(parser.receive_data(head[cut:]), expected, cut)

    def test_every_change_of_one_byte_is_answered_alike_whole_and_in_pieces(self) -> None:
        head = b"\r\nGET /a?b HTTP/1.1\r\nHost: a.b:80\r\nContent-Length: 0\r\n C: d\r\n\r\n".replace(
            b"\n ", b"\n"
        )
        for index in range(len(head)):
            for byte in b"\n\r\0 \t:#0A/1\x80":
                changed = bytearray(head)
                changed[index] = byte
                self.assert_answered_alike(bytes(changed))
            self.assert_answered_alike(head[:index] + head[index + 1 :])
            self.assert_answered_alike(head[:index] + head[index : index + 1] + head[index:])

    def assert_answered_alike(self, head: bytes) -> None:
        answers = [self.answer(pieces) for pieces in self.pieces(head)]
        self.assertEqual(answers, [answers[0]] * len(answers), head)

    def answer(self, pieces: List[bytes]) -> object:
        parser = RequestParser()
        for index, piece in enumerate(pieces):
            try:
                found = parser.receive_data(piece)
            except errors.RequestRefused as refusal:
                return type(refusal), str(refusal)
            if found is not None:
                return found, parser.trailing + b"".join(pieces[index + 1 :])
        return None

    def test_method_is_known_after_a_refusal_that_came_behind_it(self) -> None:
        for data, method in (
            (b"HEAD / HTTP/1.1\r\n\r\n", b"HEAD"),
            (b"OPTIONS a ", b"OPTIONS"),
            (b"HEAD\n", b""),
        ):
            parser = RequestParser()
            with contextlib.suppress(errors.BadRequest):
                parser.receive_data(data)
            self.assertEqual(parser.method, method)

    def test_method_is_known_after_a_whole_head(self) -> None:
        parser = RequestParser()
        parser.receive_data(with_line(b"A: b"))
        self.assertEqual(parser.method, b"GET")

    def test_head_in_one_piece_may_reach_every_limit(self) -> None:
        head = b"HEAD /a?b HTTP/1.1\r\nA: \t\xff:b \r\nX-Host:1\r\nHost: \ta.b:80\t\r\nC:\r\n\r\n"
        headers = ((b"a", b"\xff:b"), (b"x-host", b"1"), (b"host", b"a.b:80"), (b"c", b""))
        exact = RequestParser(max_request_line=18, max_head=len(head), max_headers=4)
        for parser in (exact, RequestParser()):
            received = parser.receive_data(head + b"\x82")
            self.assertEqual(received, RequestReceived(b"HEAD", b"/a?b", headers, "1.1"))
            self.assertEqual((parser.method, parser.trailing), (b"HEAD", b"\x82"))

    def test_refusal_behind_an_ordinary_request_is_not_of_that_one(self) -> None:
        parser = RequestParser()
        parser.receive_data(b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n")
        parser.begin_next()
        with self.assertRaises(errors.BadRequest):
            parser.receive_data(b"\0")
        self.assertEqual((parser.method, parser.target), (b"", b""))

    def test_each_request_may_have_an_empty_line_in_front_in_one_piece_or_not(self) -> None:
        head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        for pieces in ((b"\r\n", head), (b"\r\n" + head,)):
            parser = RequestParser()
            for _ in range(3):
                requests = list(map(parser.receive_data, pieces))
                self.assertIsNotNone(requests[-1])
                parser.begin_next()

    def test_data_after_the_head_is_a_state_error(self) -> None:
        parser = RequestParser()
        parser.receive_data(with_line(b"A: b"))
        with self.assertRaises(errors.StateError):
            parser.receive_data(with_line(b"A: b"))

    def test_whole_head_behind_the_beginning_of_another_is_its_rest(self) -> None:
        parser = RequestParser()
        self.assertIsNone(parser.receive_data(b"X"))
        self.assertIsNotNone(parser.receive_data(with_line(b"A: b")))
        self.assertEqual(parser.method, b"XGET")

    def test_data_after_a_refusal_is_never_parsed(self) -> None:
        # Also when the first byte is refused, and nothing has been parsed.
        for refused, error in ((b"CONNECT ", errors.MethodNotAllowed), (b"\x16", errors.BadRequest)):
            parser = RequestParser()
            with self.assertRaises(error):
                parser.receive_data(refused)
            with self.assertRaises(errors.StateError):
                parser.receive_data(with_line(b"A: b"))


class RequestLineTests(HeadTestCase):
    def test_every_method_is_returned_as_it_was_sent(self) -> None:
        # RFC 9110 9.1: "The method token is case-sensitive".
        methods = (b"OPTIONS", b"DELETE", b"POST", b"PRI", b"get", b"XGET", b"CONNECTED", b"connect", TCHAR)
        for method in methods:
            head = method + b" / HTTP/1.1\r\nHost: example.com\r\n\r\n"
            self.assert_parsed(RequestReceived(method, b"/", HOST, "1.1"), head)

    def test_connect_is_405_at_once(self) -> None:
        self.assert_refused(errors.MethodNotAllowed, b"CONNECT ")

    def test_connect_with_its_authority_form_is_405(self) -> None:
        with self.assertRaises(errors.MethodNotAllowed):
            RequestParser().receive_data(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
        with self.assertRaises(errors.MethodNotAllowed):
            RequestParser().receive_data(b"CONNECT /a HTTP/1.1\r\nHost: example.com\r\n\r\n")

    def test_bytes_that_are_no_token_are_refused_in_the_method_at_once(self) -> None:
        for byte in set(range(256)) - set(TCHAR) - set(b" "):
            self.assert_bad(b"GE" + bytes([byte]))

    def test_tls_client_hello_is_refused_at_its_first_byte(self) -> None:
        self.assert_bad(b"\x16")

    def test_empty_method_is_refused(self) -> None:
        self.assert_bad(b" ", "malformed request line")

    def test_line_without_a_target_is_refused(self) -> None:
        self.assert_bad(b"GET\r", "malformed request line")
        self.assert_bad(b"GET /\r", "byte 0x0d in the target")

    def test_two_spaces_are_refused(self) -> None:
        self.assert_bad(b"GET  ")
        self.assert_bad(b"GET /  ")
        self.assert_bad(b"GET / HTTP/1.1 ")

    def test_target_asterisk_is_for_options(self) -> None:
        # RFC 9112 3.2.4: "used only for a server-wide OPTIONS request".
        head = b"OPTIONS * HTTP/1.1\r\nHost: example.com\r\n\r\n"
        self.assert_parsed(RequestReceived(b"OPTIONS", b"*", HOST, "1.1"), head)
        for line in (
            b"GET * ",
            b"HEAD * ",
            b"PRI * ",
            b"OPTIONS ** ",
            b"OPTIONS *? ",
            b"OPTIONS ! ",
            b"options * ",
        ):
            self.assert_bad(line, "target")

    def test_target_with_a_fragment_is_refused(self) -> None:
        self.assert_bad(b"GET /a#", "byte 0x23 in the target")

    def test_target_that_is_neither_path_nor_absolute_is_refused(self) -> None:
        for target in (b"a", b"example.com:80", b"?a", b"ftp://example.com/", b"http:/example.com", b"ws:"):
            self.assert_bad(b"GET " + target + b" ", "target")

    def test_bytes_outside_visible_ascii_are_refused_in_the_target_at_once(self) -> None:
        for byte in (*range(0x20), *range(0x7F, 0x100)):
            self.assert_bad(b"GET /" + bytes([byte]))

    def test_escape_sequence_in_the_target_is_not_repeated_in_the_refusal(self) -> None:
        self.assert_bad(b"GET /\x1b", "byte 0x1b in the target")

    def test_other_http_versions_are_505(self) -> None:
        for version in (b"1.2", b"2.0", b"0.9", b"0.0", b"3.0", b"9.9"):
            self.assert_refused(errors.HTTPVersionNotSupported, b"GET / HTTP/" + version + b"\r")

    def test_malformed_versions_are_400(self) -> None:
        for version in (
            b"",
            b"HTTP/",
            b"HTTP/1",
            b"HTTP/1.",
            b"HTTP/01.0",
            b"HTTP/11",
            b"HTTP/1.10",
            b"HTTP/.1",
            b"PTTH/1.1",
            b"1.1",
        ):
            self.assert_bad(b"GET / " + version + b"\r", "malformed HTTP version")
        self.assert_bad(b"GET / h")
        self.assert_bad(b"GET / HTTP/1.1 ")
        self.assert_bad(b"GET / HTTP/+")


class AbsoluteFormTests(HeadTestCase):
    def assert_host(self, expected: bytes, target: bytes, host: bytes, *, ignored: bool) -> None:
        """The Host that counts is ``expected``; whether the one that was sent is another."""
        head = b"GET " + target + b" HTTP/1.1\r\nA: b\r\nHost: " + host + b"\r\n\r\n"
        self.assert_parsed(request(target, ((b"a", b"b"), (b"host", expected))), head)
        parser = RequestParser()
        parser.receive_data(head)
        self.assertEqual(parser.ignored_host, host if ignored else None)

    def test_authority_of_the_target_takes_the_place_of_host(self) -> None:
        # RFC 9112 3.2.2: "MUST ignore the received Host header field (if any)".
        self.assert_host(b"a", b"ws://a/echo", b"b", ignored=True)
        self.assert_host(b"example.org", b"http://example.org/", b"example.com:8000", ignored=True)
        self.assert_host(b"example.com", b"http://example.com/", b"example.com:443", ignored=True)
        self.assert_host(b"example.com:80", b"wss://example.com:80/", b"example.com", ignored=True)
        self.assert_host(b"[::1]:8000", b"http://[::1]:8000/", b"[::1]", ignored=True)

    def test_target_is_kept(self) -> None:
        for scheme in (b"http", b"https", b"ws", b"wss", b"WS"):
            self.assert_host(b"example.com", scheme + b"://example.com/chat?a", b"example.com", ignored=False)

    def test_path_may_be_missing(self) -> None:
        self.assert_host(b"example.com", b"ws://example.com", b"example.com", ignored=False)
        self.assert_host(b"example.com", b"ws://example.com?a", b"example.com", ignored=False)

    def test_case_and_default_port_make_no_difference_but_the_target_is_what_counts(self) -> None:
        self.assert_host(b"EXAMPLE.com:80", b"ws://EXAMPLE.com:80/", b"example.COM", ignored=False)
        self.assert_host(b"example.com", b"https://example.com/", b"example.com:443", ignored=False)

    def test_exactly_one_valid_host_is_required_all_the_same(self) -> None:
        start = b"GET ws://a/echo HTTP/1.1\r\n"
        self.assert_bad(start + b"\r\n", "no Host")
        self.assert_bad(start + b"Host: a\r\nHost: a\r", "more than one Host")
        self.assert_bad(start + b"Host: a b\r", "invalid Host")
        self.assert_bad(start + b"Host:\r", "invalid Host")

    def test_http_1_0_without_host_gets_the_one_of_the_target(self) -> None:
        head = b"GET http://a:81/ HTTP/1.0\r\nA: b\r\nC: d\r\n\r\n"
        headers = ((b"host", b"a:81"), (b"a", b"b"), (b"c", b"d"))
        self.assert_parsed(RequestReceived(b"GET", b"http://a:81/", headers, "1.0"), head)

    def test_authority_with_userinfo_or_without_a_host_is_refused_at_once(self) -> None:
        for target in (
            b"http://user@example.com/",
            b"ws://user:password@example.com/",
            b"http://example.com@example.org/",
            b"http://@example.com",
        ):
            self.assert_bad(b"GET " + target + b" ", "authority")
        for target in (
            b"http:///",
            b"http://:80/",
            b"http://a:65536/",
            b"http://a:b/",
            b"ws://[::1/",
            b"ws://",
        ):
            self.assert_bad(b"GET " + target + b" ", "authority")


class HostTests(HeadTestCase):
    def test_no_host_is_refused(self) -> None:
        self.assert_bad(b"GET / HTTP/1.1\r\n\r\n", "no Host")
        self.assert_bad(b"GET / HTTP/1.1\r\nA: b\r\n\r\n", "no Host")

    def test_http_1_0_may_lack_host_but_not_have_two_or_an_invalid_one(self) -> None:
        self.assert_parsed(RequestReceived(b"GET", b"/", (), "1.0"), b"GET / HTTP/1.0\r\n\r\n")
        headers = ((b"host", b"a"),)
        head = b"HEAD /a HTTP/1.0\r\nHost: a\r\n\r\n"
        self.assert_parsed(RequestReceived(b"HEAD", b"/a", headers, "1.0"), head)
        self.assert_bad(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r", "more than one Host")
        self.assert_bad(b"GET / HTTP/1.0\r\nHost: user@a\r", "invalid Host")

    def test_two_hosts_are_refused(self) -> None:
        self.assert_bad(with_line(b"Host: example.com")[:-3], "more than one Host")

    def test_two_hosts_are_refused_in_a_whole_head(self) -> None:
        with self.assertRaises(errors.BadRequest):
            RequestParser().receive_data(with_line(b"host: example.org"))

    def test_invalid_hosts_are_refused(self) -> None:
        for host in (
            b"",
            b"user@example.com",
            b"a b",
            b"a,\tb",
            b"a/b",
            b"a?b",
            b"\xc3\xa9.com",
            b"a:b",
            b"[::1",
        ):
            self.assert_bad(b"GET / HTTP/1.1\r\nHost: " + host + b"\r", "invalid Host")

    def test_invalid_host_is_refused_in_a_whole_head(self) -> None:
        with self.assertRaises(errors.BadRequest):
            RequestParser().receive_data(b"GET / HTTP/1.1\r\nHost: user@example.com\r\n\r\n")

    def test_valid_hosts_are_accepted(self) -> None:
        for host in (b"localhost", b"127.0.0.1:8000", b"[::1]", b"[::1]:8000", b"xn--9ca.com", b"a_b.c:"):
            head = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
            self.assert_parsed(request(headers=((b"host", host),)), head)


class HeaderLineTests(HeadTestCase):
    START = b"GET / HTTP/1.1\r\nHost: example.com\r\n"

    def test_bare_line_feed_is_refused_at_once(self) -> None:
        for head in (
            b"\n",
            b"GET\n",
            b"GET /\n",
            b"GET / HTTP/1.1\n",
            self.START + b"\n",
            self.START + b"A: b\n",
        ):
            self.assert_bad(head, "line feed without carriage return")

    def test_carriage_return_inside_a_value_is_refused_at_once(self) -> None:
        self.assert_bad(self.START + b"A: b\rc", "carriage return without line feed")

    def test_carriage_return_without_line_feed_is_refused_wherever_a_line_ends(self) -> None:
        for head in (b"\rG", b"GET / HTTP/1.1\rH", self.START + b"\r\r", self.START + b"A: b\r\r"):
            self.assert_bad(head, "carriage return without line feed")

    def test_folded_header_is_refused_at_its_first_byte(self) -> None:
        for blank in (b" ", b"\t"):
            self.assert_bad(self.START + blank, "folded")
            self.assert_bad(self.START + b"A: b\r\n" + blank, "folded")

    def test_blank_before_the_colon_is_refused(self) -> None:
        self.assert_bad(self.START + b"A ", "blank before its colon")
        self.assert_bad(self.START + b"A\t", "blank before its colon")

    def test_empty_name_is_refused(self) -> None:
        self.assert_bad(self.START + b":", "empty header name")

    def test_line_without_a_colon_is_refused(self) -> None:
        self.assert_bad(self.START + b"A\r", "without a colon")

    def test_bytes_that_are_no_token_are_refused_in_a_name_at_once(self) -> None:
        for byte in set(range(256)) - set(TCHAR) - set(b":"):
            self.assert_bad(self.START + b"A" + bytes([byte]))
        self.assert_bad(self.START + b"A(", "byte 0x28 in a header name")

    def test_every_token_byte_is_accepted_in_a_name(self) -> None:
        self.assert_parsed(request(headers=(*HOST, (TCHAR.lower(), b"1"))), with_line(TCHAR + b": 1"))

    def test_control_bytes_are_refused_in_a_value_at_once(self) -> None:
        for byte in (*range(0x09), *range(0x0A, 0x0D), *range(0x0E, 0x20), 0x7F):
            self.assert_bad(self.START + b"A: b" + bytes([byte]))
        self.assert_bad(self.START + b"A: b\x00", "byte 0x00 in a header value")


class BodyTests(HeadTestCase):
    START = HeaderLineTests.START

    def test_content_length_zero_is_no_body(self) -> None:
        expected = request(headers=(*HOST, (b"content-length", b"0")))
        self.assert_parsed(expected, with_line(b"Content-Length: 0"))
        expected = request(headers=(*HOST, (b"accept", b"*/*"), (b"content-length", b"0")))
        self.assert_parsed(expected, with_line(b"Accept: */*\r\nContent-Length: 0"))

    def test_content_length_zero_of_an_upgrade_is_no_body(self) -> None:
        lines = b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0"
        upgrade = ((b"upgrade", b"websocket"), (b"connection", b"Upgrade"))
        self.assert_parsed(request(headers=(*HOST, *upgrade, (b"content-length", b"0"))), with_line(lines))

    def test_body_of_an_upgrade_is_400(self) -> None:
        for line in (b"Content-Length: 5", b"Transfer-Encoding: chunked"):
            upgrade = b"\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade"
            self.assert_bad(with_line(line + upgrade), "body")
            self.assert_bad(with_line(upgrade[2:] + b"\r\n" + line), "body")

    def test_content_length_that_is_no_plain_decimal_is_400_with_its_line(self) -> None:
        for value in (
            b"",
            b"+0",
            b"-0",
            b"0_0",
            b"0,0",
            b"5, 5",
            b"0x0",
            b"0 0",
            b"5 ;",
            b"1e1",
            b"\xb2",
            b"00",
            b"05",
        ):
            self.assert_bad(self.START + b"Content-Length: " + value + b"\r", "malformed Content-Length")

    def test_two_lengths_are_400_with_the_second(self) -> None:
        length, chunked = b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"
        for lines in (
            length + length,
            length + b"content-length: 5\r\n",
            length + chunked,
            chunked + length,
            chunked + chunked,
            length + b"A: b\r\n" + chunked,
        ):
            self.assert_bad(self.START + lines[:-1], "more than one")

    def test_transfer_encoding_other_than_chunked_is_400(self) -> None:
        for value in (
            b"identity",
            b"",
            b"xchunked",
            b"chunkedx",
            b"chunked, chunked",
            b"gzip, chunked",
            b"chunked;q=1",
            b",chunked",
            b'"chunked"',
        ):
            self.assert_bad(self.START + b"transfer-encoding:" + value + b"\r", "Transfer-Encoding")

    def test_transfer_encoding_over_http_1_0_is_400(self) -> None:
        self.assert_bad(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r", "HTTP/1.0")

    def test_expect_is_the_applications_matter(self) -> None:
        # RFC 9110 10.1.1: 100 (Continue) may be left out where there is no content, and 417 too.
        for value in (b"100-continue", b"100-Continue", b"something-else", b""):
            expected = request(headers=(*HOST, (b"expect", value)))
            self.assert_parsed(expected, with_line(b"Expect: " + value))

    def test_next_head_begins_without_the_method_and_target_of_the_last(self) -> None:
        parser = RequestParser()
        parser.receive_data(b"HEAD /a HTTP/1.1\r\nHost: b\r\n\r\n")
        parser.begin_next()
        self.assertEqual((parser.method, parser.target), (b"", b""))

    def test_whole_head_and_pieces_have_the_same_body(self) -> None:
        for line, kind in (
            (b"Content-Length: 0", type(None)),
            (b"Content-Length: 7", LengthBody),
            (b"Transfer-Encoding: chunked", ChunkedBody),
            (b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 5", LengthBody),
            (b"Upgrade: websocket\r\nContent-Length: 5", LengthBody),
        ):
            for step in (1, 1000):
                parser, head = RequestParser(), with_line(line)
                pieces = [head[start : start + step] for start in range(0, len(head), step)]
                [request] = filter(None, map(parser.receive_data, pieces))
                self.assertIs(type(build_body(request.headers, request.http_version)), kind)


class LimitTests(HeadTestCase):
    def test_target_of_32_kib_and_one_byte_is_414_without_waiting_for_its_end(self) -> None:
        start = b"GET /" + b"a" * 32763
        self.assert_refused(errors.URITooLong, start + b"a", "32768")
        self.assert_refused(errors.URITooLong, start + b" ", "32768")
        self.assert_refused(errors.URITooLong, start + b"\n", "32768")

    def test_request_line_of_exactly_32_kib_is_accepted(self) -> None:
        target = b"/" + b"a" * 32754
        self.assert_parsed(request(target), b"GET " + target + b" HTTP/1.1\r\nHost: example.com\r\n\r\n")

    def test_request_line_of_32_kib_and_one_byte_is_414(self) -> None:
        self.assert_refused(errors.URITooLong, b"GET /" + b"a" * 32755 + b" HTTP/1.1")

    def test_request_line_of_32_kib_and_one_byte_is_414_in_a_whole_head(self) -> None:
        with self.assertRaises(errors.URITooLong):
            RequestParser().receive_data(b"GET /" + b"a" * 32755 + b" HTTP/1.1\r\nHost: example.com\r\n\r\n")

    def test_endless_method_is_414(self) -> None:
        self.assert_refused(errors.URITooLong, b"G" * 32769)

    def test_head_of_exactly_64_kib_is_accepted(self) -> None:
        value = b"b" * (65536 - len(with_line(b"A:")))
        self.assert_parsed(request(headers=(*HOST, (b"a", value))), with_line(b"A:" + value))

    def test_head_of_64_kib_and_one_byte_is_431_wherever_the_byte_falls(self) -> None:
        for spare in range(6):
            line = b"A:" + b"b" * (65537 - len(with_line(b"A:")) + spare)
            self.assert_refused(errors.HeadTooLarge, with_line(line)[:65537], "65536")

    def test_head_that_ends_inside_a_name_is_431(self) -> None:
        self.assert_refused(errors.HeadTooLarge, HeaderLineTests.START + b"A" * (65537 - 35), "65536")

    def test_256_headers_are_accepted(self) -> None:
        expected = request(headers=(*HOST, *[(b"a", b"b")] * 255))
        self.assert_parsed(expected, with_line(b"\r\n".join([b"A: b"] * 255)))

    def test_257_headers_are_431(self) -> None:
        lines = b"A: b\r\n" * 255
        self.assert_refused(errors.HeadTooLarge, HeaderLineTests.START + lines + b"A:", "256")

    def test_257_headers_are_431_in_a_whole_head(self) -> None:
        with self.assertRaises(errors.HeadTooLarge):
            RequestParser().receive_data(with_line(b"\r\n".join([b"A: b"] * 256)))

    def test_limits_can_be_set(self) -> None:
        self.assert_refused(errors.URITooLong, b"GET /abcde", max_request_line=9)
        self.assert_refused(errors.HeadTooLarge, b"GET / HTTP/1.1\r\nA", max_head=16)
        self.assert_refused(errors.HeadTooLarge, b"GET / HTTP/1.1\r\nA:", max_headers=0)

    def test_head_limit_below_the_request_line_holds_from_the_first_line_end(self) -> None:
        self.assert_refused(errors.HeadTooLarge, b"GET / HTTP/1.1\r\n", max_head=9)

    def test_head_byte_by_byte_takes_linear_time(self) -> None:
        # Quadratic work would search 64 KiB * 128 Ki, which takes half a minute.
        head = with_line(b"A:" + b" " * 128 * 1024)
        parser = RequestParser(max_head=len(head))
        results = [parser.receive_data(head[index : index + 1]) for index in range(len(head))]
        self.assertEqual(results[-1], request(headers=(*HOST, (b"a", b""))))

    def test_hostile_whole_heads_of_a_mebibyte_are_parsed_in_linear_time(self) -> None:
        # With a quadratic pattern, each of these would run for minutes.
        for filler in (b" ", b"\t", b": ", b"a:", b",", b"a \t"):
            line = b"A:" + filler * (2**20 // len(filler))
            for tail in (b"\r\n\r\n", b"\r\n\x00", b""):
                with contextlib.suppress(errors.BadRequest):
                    RequestParser(max_head=2**21).receive_data(HeaderLineTests.START + line + tail)


class ResponseHeadTests(HeadTestCase):
    new_parser = ResponseParser

    def test_status_reason_headers_and_version_are_returned(self) -> None:
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
        expected = ResponseReceived(101, ((b"upgrade", b"websocket"),), b"Switching Protocols", "1.1")
        self.assert_parsed(expected, head)

    def test_reason_may_be_empty_or_missing(self) -> None:
        self.assert_parsed(ResponseReceived(404, ()), b"HTTP/1.1 404 \r\n\r\n")
        self.assert_parsed(ResponseReceived(404, ()), b"HTTP/1.1 404\r\n\r\n")

    def test_reason_may_hold_opaque_bytes(self) -> None:
        self.assert_parsed(ResponseReceived(200, (), b"d\xe9j\xe0 vu"), b"HTTP/1.1 200 d\xe9j\xe0 vu\r\n\r\n")

    def test_proxy_may_answer_in_http_1_0(self) -> None:
        self.assert_parsed(ResponseReceived(502, (), b"Bad", "1.0"), b"HTTP/1.0 502 Bad\r\n\r\n")

    def test_body_headers_are_no_concern_of_the_head(self) -> None:
        head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        headers = ((b"content-length", b"3"), (b"transfer-encoding", b"chunked"))
        self.assert_parsed(ResponseReceived(403, headers, b"Forbidden"), head)

    def test_malformed_status_lines_fail_the_handshake(self) -> None:
        for line in (b"", b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 20", b"HTTP/1.1 2000", b"HTTP/1.1 600 A"):
            self.assert_refused(errors.HandshakeFailed, line + b"\r", "malformed status line")
        for line in (b"HTTP/2 200", b"HTTP/1.2 200", b"HTTP/1.1  200", b"http/1.1 200", b"HTTP/1.1 099"):
            self.assert_refused(errors.HandshakeFailed, line + b"\r", "malformed status line")

    def test_malformed_lines_fail_the_handshake(self) -> None:
        for head in (b"\n", b"HTTP/1.1 101 A\n", b"HTTP/1.1 101 A\r\n ", b"HTTP/1.1 101 A\r\nB: \x00"):
            self.assert_refused(errors.HandshakeFailed, head)

    def test_limits_fail_the_handshake(self) -> None:
        start = b"HTTP/1.1 101 A\r\n"
        self.assert_refused(errors.HandshakeFailed, b"H" * 32769, "32768")
        self.assert_refused(errors.HandshakeFailed, start + b"A:" + b"b" * (65537 - 18), "65536")
        self.assert_refused(errors.HandshakeFailed, start + b"A: b\r\n" * 256 + b"A:", "256")
        self.assert_refused(errors.HandshakeFailed, b"HTTP/1.1 1", max_status_line=9)

    def test_data_after_the_head_is_a_state_error(self) -> None:
        parser = ResponseParser()
        parser.receive_data(b"HTTP/1.1 101 A\r\n\r\n")
        with self.assertRaises(errors.StateError):
            parser.receive_data(b"\x81\x00")


if __name__ == "__main__":
    unittest.main()
