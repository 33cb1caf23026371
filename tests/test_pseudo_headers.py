"""`request_from_pseudo_headers`: what RFC 9113 8 allows in a header section, and what it makes malformed."""

from __future__ import annotations

import unittest
from typing import Any, List, Tuple, Type

from wsbridge.protocols import errors
from wsbridge.protocols.events import RequestReceived
from wsbridge.protocols.pseudo_headers import request_from_pseudo_headers

Field = Tuple[bytes, bytes]

METHOD = (b":method", b"GET")
SCHEME = (b":scheme", b"https")
AUTHORITY = (b":authority", b"server.example.com")
PATH = (b":path", b"/chat?a=b")
GET = [METHOD, SCHEME, AUTHORITY, PATH]
# RFC 8441 5.1: the example.
CONNECT = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), SCHEME, (b":path", b"/chat"), AUTHORITY]
VERSION = (b"sec-websocket-version", b"13")
HOST = (b"host", b"server.example.com")


class RequestTests(unittest.TestCase):
    def assert_request(self, fields: List[Field], *expected: Field, method: bytes = b"GET") -> None:
        request = request_from_pseudo_headers(fields)
        self.assertEqual(request.headers, expected)
        self.assertEqual((request.method, request.http_version), (method, "2"))

    def test_get_is_what_it_is_in_http_1_1(self) -> None:
        request = request_from_pseudo_headers([*GET, (b"accept", b"*/*")])
        expected = RequestReceived(b"GET", b"/chat?a=b", (HOST, (b"accept", b"*/*")), "2")
        self.assertEqual(request, expected)

    def test_example_of_rfc_8441_is_a_connect_with_a_path(self) -> None:
        request = request_from_pseudo_headers([*CONNECT, VERSION], "3")
        self.assertEqual(request, RequestReceived(b"CONNECT", b"/chat", (HOST, VERSION), "3"))

    def test_authority_is_the_host_and_comes_first(self) -> None:
        self.assert_request([*GET, (b"a", b"b"), (b"host", b"Server.example.com")], HOST, (b"a", b"b"))

    def test_host_stands_in_for_the_authority(self) -> None:
        self.assert_request([METHOD, SCHEME, PATH, (b"a", b"b"), HOST], HOST, (b"a", b"b"))

    def test_cookies_are_joined(self) -> None:
        cookies = [(b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")]
        self.assert_request([*GET, *cookies], HOST, (b"x", b"y"), (b"cookie", b"a=1; b=2"))
        self.assert_request([*GET, cookies[0]], HOST, cookies[0])

    def test_order_and_duplicates_of_other_headers_are_kept(self) -> None:
        others = ((b"b", b""), (b"a", b"\xff"), (b"b", b"a\tb"), (b"te", b"Trailers"))
        self.assert_request([*GET, *others], HOST, *others)

    def test_content_length_is_kept(self) -> None:
        self.assert_request([*GET, (b"content-length", b"5")], HOST, (b"content-length", b"5"))

    def test_options_may_ask_for_the_whole_server(self) -> None:
        fields = [(b":method", b"OPTIONS"), SCHEME, AUTHORITY, (b":path", b"*")]
        self.assert_request(fields, HOST, method=b"OPTIONS")

    def test_limits_are_met_exactly(self) -> None:
        size = sum(len(name) + len(value) for name, value in GET)
        request_from_pseudo_headers(GET, max_path=9, max_size=size, max_fields=4)


class RefusalTests(unittest.TestCase):
    def assert_refused(
        self, error: Type[errors.RequestRefused], text: str, *fields: Field, **limits: Any
    ) -> None:
        with self.assertRaises(error, msg=repr(fields)) as caught:
            request_from_pseudo_headers(fields, **limits)
        self.assertIs(type(caught.exception), error)
        self.assertRegex(str(caught.exception), text)

    def assert_malformed(self, text: str, *fields: Field) -> None:
        self.assert_refused(errors.BadRequest, text, *fields)

    def test_every_pseudo_header_of_a_request_is_required(self) -> None:
        self.assert_malformed(":method", SCHEME, AUTHORITY, PATH)
        self.assert_malformed(":scheme", METHOD, AUTHORITY, PATH)
        self.assert_malformed("authority", METHOD, SCHEME, PATH)
        self.assert_malformed(":path", METHOD, SCHEME, AUTHORITY)
        self.assert_malformed(":method")

    def test_pseudo_headers_come_once_and_before_all_others(self) -> None:
        self.assert_malformed("repeated", *GET, PATH)
        self.assert_malformed("misplaced", METHOD, SCHEME, AUTHORITY, (b"a", b"b"), PATH)

    def test_pseudo_headers_of_a_response_or_unknown_ones_are_malformed(self) -> None:
        for name in (b":status", b":Method", b":", b":a"):
            self.assert_malformed("unknown", *GET, (name, b"200"))

    def test_method_is_a_token(self) -> None:
        for method in (b"", b"G T", b"GET/", b"\xc3\xa9"):
            self.assert_malformed(":method", (b":method", method), SCHEME, AUTHORITY, PATH)

    def test_path_is_a_path(self) -> None:
        for path in (b"", b"chat", b"*", b"/a b", b"/a#b", b"/a\tb", b"/\xc3\xa9", b"https://a/"):
            self.assert_malformed(":path", METHOD, SCHEME, AUTHORITY, (b":path", path))

    def test_authority_is_host_and_port_without_userinfo(self) -> None:
        for authority in (b"", b"a@b", b"a b", b"a:65536", b":80", b"a/"):
            self.assert_malformed("authority", METHOD, SCHEME, (b":authority", authority), PATH)
            self.assert_malformed("authority", METHOD, SCHEME, PATH, (b"host", authority))

    def test_host_is_the_authority(self) -> None:
        self.assert_malformed("Host", *GET, (b"host", b"other.example.com"))
        self.assert_malformed("Host", *GET, HOST, HOST)
        self.assert_malformed("Host", METHOD, SCHEME, PATH, HOST, HOST)

    def test_names_are_tokens_in_lower_case(self) -> None:
        for name in (b"", b"Accept", b"a b", b"a:b", b"\xe9", b"a\n"):
            self.assert_malformed("header name", *GET, (name, b""))

    def test_values_have_no_control_byte_and_no_blank_at_an_end(self) -> None:
        for value in (b"a\r\nb", b"\0", b"a\n", b"\r", b" a", b"a ", b"\ta", b" ", b"\x7f"):
            self.assert_malformed("header value", *GET, (b"a", value))
            self.assert_malformed("header value", *GET[:3], (b":path", b"/" + value + b" "))

    def test_headers_of_a_connection_are_malformed(self) -> None:
        for name in (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"):
            self.assert_malformed("connection", *GET, (name, b"close"))
        self.assert_malformed("connection", *GET, (b"te", b"gzip"))

    def test_content_length_is_one_line_of_digits(self) -> None:
        for value in (b"", b"+5", b"-1", b"05", b"5,5", b"0x5"):
            self.assert_malformed("Content-Length", *GET, (b"content-length", value))
        self.assert_malformed("more than one", *GET, *[(b"content-length", b"5")] * 2)

    def test_connect_for_a_tunnel_is_405(self) -> None:
        self.assert_refused(errors.MethodNotAllowed, "proxies", (b":method", b"CONNECT"), AUTHORITY)

    def test_connect_with_a_path_needs_protocol(self) -> None:
        self.assert_malformed(":protocol", (b":method", b"CONNECT"), SCHEME, AUTHORITY, PATH)
        self.assert_malformed(":path", (b":method", b"CONNECT"), (b":protocol", b"websocket"), AUTHORITY)

    def test_opening_handshake_has_no_body(self) -> None:
        for length in (b"0", b"5"):
            self.assert_malformed("body", *CONNECT, VERSION, (b"content-length", length))

    def test_other_methods_have_no_protocol(self) -> None:
        self.assert_malformed(":protocol", *GET, (b":protocol", b"websocket"))

    def test_other_protocols_are_501(self) -> None:
        for protocol in (b"connect-udp", b"", b"WebSocket"):
            fields = [(name, protocol if name == b":protocol" else value) for name, value in CONNECT]
            self.assert_refused(errors.ProtocolNotSupported, "websocket", *fields)

    def test_limits(self) -> None:
        size = sum(len(name) + len(value) for name, value in GET)
        self.assert_refused(errors.URITooLong, ":path", *GET, max_path=8)
        self.assert_refused(errors.HeadTooLarge, "limit", *GET, max_size=size - 1)
        self.assert_refused(errors.HeadTooLarge, "limit", *GET, max_fields=3)

    def test_str_is_a_mistake_of_the_caller(self) -> None:
        fields: Any = [(":method", "GET")]
        with self.assertRaises(TypeError):
            request_from_pseudo_headers(fields)


if __name__ == "__main__":
    unittest.main()
