"""The grammar of header field values: RFC 9110 5.6, RFC 3986 3.2, RFC 6455 9.1."""

from __future__ import annotations

import unittest
from typing import Any, List, Optional

from wsbridge.protocols.errors import BadRequest, EventError
from wsbridge.protocols.fields import (
    DEFAULT_PORTS,
    check_header,
    check_headers,
    get_header_values,
    group_header_values,
    has_token,
    is_token,
    is_websocket_upgrade,
    parse_authority,
    parse_extension_offers,
    parse_list,
    parse_subprotocols,
)

TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def mebibyte(filler: bytes) -> bytes:
    """What would run for minutes if a pattern were quadratic in it."""
    return filler * (2**20 // len(filler))


class TokenTests(unittest.TestCase):
    def test_every_byte_is_or_is_not_a_token_by_itself(self) -> None:
        for byte in range(256):
            self.assertEqual(is_token(bytes([byte])), byte in TCHAR, byte)

    def test_empty_value_and_a_final_line_feed_are_no_token(self) -> None:
        self.assertFalse(is_token(b""))
        self.assertFalse(is_token(b"a\n"))
        self.assertTrue(is_token(TCHAR))


class WebSocketUpgradeTests(unittest.TestCase):
    UPGRADE, CONNECTION = (b"upgrade", b"h2c, WebSocket"), (b"connection", b"keep-alive, Upgrade")

    def test_both_headers_are_required(self) -> None:
        self.assertTrue(is_websocket_upgrade((self.CONNECTION, self.UPGRADE)))
        self.assertFalse(is_websocket_upgrade((self.CONNECTION,)))
        self.assertFalse(is_websocket_upgrade((self.UPGRADE,)))

    def test_another_protocol_or_option_is_no_websocket(self) -> None:
        self.assertFalse(is_websocket_upgrade((self.CONNECTION, (b"upgrade", b"h2c"))))
        self.assertFalse(is_websocket_upgrade((self.UPGRADE, (b"connection", b"close"))))


class CheckHeaderTests(unittest.TestCase):
    def assert_refused(self, name: object, value: object) -> None:
        with self.assertRaises(EventError) as caught:
            check_header(name, value)  # type: ignore[arg-type]
        self.assertRegex(str(caught.exception), "^[ -~]{5,150}$")

    def test_every_byte_in_a_value_is_accepted_or_refused(self) -> None:
        for byte in range(256):
            value = b"a" + bytes([byte]) + b"b"
            if byte == 0x09 or 0x20 <= byte <= 0x7E or byte >= 0x80:
                check_header(b"X-Name", value)
            else:
                self.assert_refused(b"X-Name", value)

    def test_every_byte_in_a_name_is_accepted_or_refused(self) -> None:
        for byte in range(256):
            if byte in TCHAR:
                check_header(b"a" + bytes([byte]), b"")
            else:
                self.assert_refused(b"a" + bytes([byte]), b"")

    def test_forty_bytes_of_a_name_are_shown(self) -> None:
        with self.assertRaisesRegex(EventError, "^header name b'a{40}' is not a token$"):
            check_header(b"a" * 41 + b" ", b"")
        with self.assertRaisesRegex(EventError, "^control byte in the value of header b'a{40}'$"):
            check_header(b"a" * 41, b"\n")

    def test_line_ends_are_refused_wherever_they_stand(self) -> None:
        for bad in (b"\r", b"\n", b"a\n", b"\ra", b"a\r\nb", b"a\x00"):
            self.assert_refused(b"a", bad)
            self.assert_refused(bad, b"a")

    def test_empty_name_is_refused_and_an_empty_value_is_not(self) -> None:
        check_header(b"a", b"")
        self.assert_refused(b"", b"a")

    def test_anything_but_bytes_is_refused(self) -> None:
        for bad in ("a", None, 1, bytearray(b"a"), [b"a"]):
            self.assert_refused(b"a", bad)
            self.assert_refused(bad, b"a")


class CheckHeadersTests(unittest.TestCase):
    def test_pairs_are_returned_as_a_list(self) -> None:
        self.assertEqual(check_headers(iter([(b"a", b"b")])), [(b"a", b"b")])

    def test_what_is_no_pair_is_named(self) -> None:
        headers: Any
        for headers in ({"Cookie": "a"}, [b"a"], 5, None):
            with self.assertRaisesRegex(EventError, "^headers must be pairs of name and value, not "):
                check_headers(headers)

    def test_each_is_checked(self) -> None:
        with self.assertRaises(EventError):
            check_headers([(b"a", b"b"), (b"c", b"\n")])


class HeaderValueTests(unittest.TestCase):
    HEADERS = ((b"a", b"1"), (b"b", b"2"), (b"a", b""), (b"a", b"1"))

    def test_values_keep_their_order_and_duplicates(self) -> None:
        self.assertEqual(get_header_values(self.HEADERS, b"a"), [b"1", b"", b"1"])
        self.assertEqual(get_header_values(self.HEADERS, b"c"), [])

    def test_values_are_grouped_by_name_in_order(self) -> None:
        self.assertEqual(group_header_values(self.HEADERS), {b"a": [b"1", b"", b"1"], b"b": [b"2"]})
        self.assertEqual(group_header_values(()), {})

    def test_token_is_found_in_any_case_on_any_line_at_any_place(self) -> None:
        for values in ([b"Token"], [b"x, TOKEN"], [b"x", b"y", b"token\t"], [b",, token ,x"]):
            self.assertTrue(has_token([(b"a", value) for value in values], b"a", b"token"), values)

    def test_part_of_an_element_is_not_the_token(self) -> None:
        for value in (
            b"",
            b"nottoken",
            b"token2",
            b"token x",
            b'"token"',
            b"token;q=1",
            b"token/2",
            b"to,ken",
        ):
            self.assertFalse(has_token([(b"a", value), (b"b", b"token")], b"a", b"token"), value)

    def test_token_in_another_header_does_not_count(self) -> None:
        self.assertFalse(has_token([(b"b", b"token"), (b"d", b"token")], b"c", b"token"))

    def test_hostile_list_of_a_mebibyte_is_searched_in_linear_time(self) -> None:
        for filler in (b" ", b",", b" ,", b"token ", b"\t\t,"):
            self.assertFalse(has_token([(b"a", mebibyte(filler) + b"x")], b"a", b"token"))


class ListTests(unittest.TestCase):
    def assert_list(self, expected: List[bytes], *values: bytes) -> None:
        self.assertEqual(parse_list(values, 4), expected)

    def assert_bad(self, *values: bytes) -> None:
        with self.assertRaises(BadRequest):
            parse_list(values, 4)

    def test_lines_are_joined_in_order(self) -> None:
        self.assert_list([b"a", b"b", b"c", b"a"], b"a, b", b"c", b"a")

    def test_empty_elements_and_blanks_are_dropped(self) -> None:
        self.assert_list([b"a", b"b"], b",, a ,\t,b\t,", b"", b" ", b",")
        self.assert_list([])

    def test_element_that_is_no_token_is_refused(self) -> None:
        for value in (b"a b", b"a;b", b'"a"', b"a, \xff", b"a/b", b"a\x00"):
            self.assert_bad(value)

    def test_elements_up_to_the_limit_are_accepted_on_however_many_lines(self) -> None:
        self.assert_list([b"a", b"b", b"c", b"d"], b"a,b,", b",c,d,,")
        self.assert_bad(b"a,b", b"c,d,e")
        self.assert_bad(b"a,b,c,d,e")

    def test_refusal_names_the_list(self) -> None:
        with self.assertRaisesRegex(BadRequest, "more than 1 elements in Name"):
            parse_list([b"a,b"], 1, "Name")

    def test_hostile_lists_of_a_mebibyte_are_parsed_in_linear_time(self) -> None:
        for filler in (b" ", b",", b", ", b"\t,\t"):
            self.assert_list([b"a", b"b"], b"a," + mebibyte(filler) + b",b")
        self.assert_bad(b"a" + mebibyte(b" ") + b"b")
        self.assert_bad(mebibyte(b"a,"))


class SubprotocolTests(unittest.TestCase):
    def parse(self, *values: bytes) -> List[str]:
        return parse_subprotocols(values)

    def test_subprotocols_are_split_and_all_lines_joined(self) -> None:
        self.assertEqual(self.parse(b"chat, superchat", b"v2.bin"), ["chat", "superchat", "v2.bin"])

    def test_no_header_and_an_empty_one_offer_nothing(self) -> None:
        self.assertEqual(self.parse(), [])
        self.assertEqual(self.parse(b"", b" , "), [])

    def test_case_is_kept_and_makes_a_difference(self) -> None:
        self.assertEqual(self.parse(b"Chat,chat"), ["Chat", "chat"])

    def test_repeated_subprotocol_counts_once_at_its_first_place(self) -> None:
        self.assertEqual(self.parse(b"b, a, b", b"a"), ["b", "a"])

    def test_subprotocol_that_is_no_token_is_refused(self) -> None:
        for value in (b"a b", b"http://example.com", b"\xc3\xa9", b"a, b;c"):
            with self.assertRaisesRegex(BadRequest, "Sec-WebSocket-Protocol"):
                self.parse(value)

    def test_64_subprotocols_are_accepted_and_65_refused(self) -> None:
        names = [b"p%d" % index for index in range(65)]
        self.assertEqual(len(self.parse(b",".join(names[:64]))), 64)
        for values in ([b",".join(names)], names, [b"a,"] * 65):
            with self.assertRaisesRegex(BadRequest, "more than 64"):
                self.parse(*values)


class AuthorityTests(unittest.TestCase):
    def test_default_ports_are_those_of_rfc_9110_4_2_and_rfc_6455_3(self) -> None:
        self.assertEqual(DEFAULT_PORTS, {b"http": 80, b"https": 443, b"ws": 80, b"wss": 443})

    def test_host_is_lowered_and_the_port_defaults(self) -> None:
        self.assertEqual(parse_authority(b"Example.COM", 80), (b"example.com", 80))
        self.assertEqual(parse_authority(b"example.com:", 443), (b"example.com", 443))
        self.assertEqual(parse_authority(b"example.com"), (b"example.com", 0))
        self.assertEqual(parse_authority(b"example.com:08000", 80), (b"example.com", 8000))

    def test_addresses_are_hosts(self) -> None:
        self.assertEqual(parse_authority(b"127.0.0.1:65535", 80), (b"127.0.0.1", 65535))
        self.assertEqual(parse_authority(b"[::1]", 80), (b"[::1]", 80))
        self.assertEqual(parse_authority(b"[2001:DB8::1.2.3.4]:1", 80), (b"[2001:db8::1.2.3.4]", 1))

    def test_registered_names_may_hold_what_rfc_3986_allows(self) -> None:
        self.assertEqual(parse_authority(b"a-b._~!$&'()*+,;=%C3%a9", 80), (b"a-b._~!$&'()*+,;=%c3%a9", 80))

    def test_every_byte_is_or_is_not_a_host_by_itself(self) -> None:
        for byte in range(256):
            allowed = byte in b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-._~!$&'()*+,;="
            self.assertEqual(parse_authority(bytes([byte]), 80) is not None, allowed, byte)

    def test_what_is_no_authority_is_none(self) -> None:
        for value in (
            b"",
            b":80",
            b"a:b",
            b"a:-1",
            b"a:65536",
            b"a:65537",
            b"a:99999",
            b"a:123456",
            b"a:1:2",
            b"a:80\n",
            b"a@b",
            b"a b",
        ):
            self.assertIsNone(parse_authority(value, 80), value)
        for value in (
            b"[]",
            b"[::1",
            b"::1",
            b"[::1]a",
            b"[fe80::1%25eth0]",
            b"%",
            b"%4",
            b"%gg",
            b"http://a",
        ):
            self.assertIsNone(parse_authority(value, 80), value)

    def test_hostile_hosts_of_many_bytes_are_parsed_in_linear_time(self) -> None:
        for host in (mebibyte(b"a"), mebibyte(b"%41"), b"[" + mebibyte(b":")):
            self.assertIsNone(parse_authority(host + b"@", 80))


class ExtensionOfferTests(unittest.TestCase):
    def assert_offers(self, expected: object, *values: bytes) -> None:
        self.assertEqual(parse_extension_offers(values), expected)

    def assert_bad(self, *values: bytes, text: str = "") -> None:
        with self.assertRaisesRegex(BadRequest, text):
            parse_extension_offers(values)

    def test_offer_without_parameters(self) -> None:
        self.assert_offers([("permessage-deflate", [])], b"permessage-deflate")

    def test_examples_of_rfc_6455_9_1(self) -> None:
        self.assert_offers([("foo", []), ("bar", [("baz", "2")])], b"foo", b"bar; baz=2")
        self.assert_offers([("foo", []), ("bar", [("baz", "2")])], b"foo, bar; baz=2")
        self.assert_offers([("deflate-stream", [])], b"deflate-stream")
        self.assert_offers(
            [("mux", [("max-channels", "4"), ("flow-control", None)]), ("deflate-stream", [])],
            b"mux; max-channels=4; flow-control, deflate-stream",
        )
        self.assert_offers([("private-extension", [])], b"private-extension")

    def test_examples_of_rfc_7692_5(self) -> None:
        self.assert_offers(
            [("permessage-foo", [("use_y", None)]), ("permessage-foo", [])],
            b"permessage-foo; use_y, permessage-foo",
        )
        self.assert_offers([("permessage-foo", [("x", "10")])], b"permessage-foo; x=10")

    def test_offer_of_a_browser(self) -> None:
        expected: object = [("permessage-deflate", [("client_max_window_bits", None)])]
        self.assert_offers(expected, b"permessage-deflate; client_max_window_bits")

    def test_quoted_value_is_returned_unquoted(self) -> None:
        self.assert_offers([("a", [("b", "10")])], b'a; b="10"')
        self.assert_offers([("a", [("b", "10"), ("c", None)]), ("d", [])], b'a;b="1\\0";c,d')

    def test_quoted_value_that_is_no_token_is_refused(self) -> None:
        for quoted in (b"", b"a b", b"a,b", b"a;b", b'a\\"b', b"a\\\\b", b"\xff", b"a\\", b"\\", b"a\tb"):
            self.assert_bad(b'a; b="' + quoted + b'"')

    def test_two_names_in_one_element_are_refused(self) -> None:
        for value in (b"a b", b"a !b", b"a; b c", b"a; b !c"):
            self.assert_bad(value, text="malformed")

    def test_escaped_line_feed_is_refused_in_a_quoted_value(self) -> None:
        self.assert_bad(b'a; b="c\\\nd"', text="not a token")

    def test_blanks_are_allowed_around_every_delimiter(self) -> None:
        expected: object = [("a", [("b", "1"), ("c", "2")]), ("d", [])]
        self.assert_offers(expected, b' \ta \t; \tb \t= \t1 \t; c = "2" \t, \td \t')

    def test_empty_elements_are_dropped(self) -> None:
        self.assert_offers([("a", []), ("b", [])], b",, a ,\t, b,", b"", b" ,")
        self.assert_offers([])

    def test_names_and_order_and_duplicates_are_kept_as_sent(self) -> None:
        self.assert_offers([("B", [("X", "Y"), ("x", "y"), ("X", None)]), ("b", [])], b"B; X=Y; x=y; X, b")

    def test_what_breaks_the_grammar_is_refused(self) -> None:
        for value in (
            b";",
            b"a;",
            b"a;;b",
            b"a; ;b",
            b"a;,b",
            b"a=b",
            b"a b",
            b"a; b c",
            b"=",
            b"a; =b",
            b'"a"',
        ):
            self.assert_bad(value)
        for value in (
            b"a; b=",
            b"a; b=;c",
            b"a; b==c",
            b'a; b="c',
            b'a; b=c"',
            b'a; b="c"d',
            b'a; b"c"',
            b'a;"b"',
        ):
            self.assert_bad(value)
        for value in (
            b"a/b",
            b"a; b=c d",
            b"a; b=(c)",
            b"\xff",
            b"a\xff",
            b"a; b\x00",
            b"a; b=\x00",
            b"a, b;",
        ):
            self.assert_bad(value)

    def test_quoted_value_does_not_reach_into_the_next_line(self) -> None:
        self.assert_bad(b'a; b="c', b'd"')

    def test_16_offers_are_accepted_and_17_refused(self) -> None:
        self.assert_offers([("a", [])] * 16, b"a," * 16)
        self.assert_offers([("a", [])] * 16, *[b"a"] * 16)
        self.assert_bad(b"a," * 17, text="more than 16 extension offers")
        self.assert_bad(*[b"a"] * 17, text="more than 16 extension offers")

    def test_16_parameters_are_accepted_in_each_offer_and_17_refused(self) -> None:
        parameters: List[tuple[str, Optional[str]]] = [("b", "c")] * 16
        self.assert_offers([("a", parameters), ("a", parameters)], b"a" + b";b=c" * 16 + b",a" + b";b=c" * 16)
        self.assert_bad(b"a" + b";b" * 17, text="more than 16 parameters")

    def test_hostile_blanks_and_commas_are_parsed_in_linear_time(self) -> None:
        blanks = mebibyte(b" ")
        self.assert_offers(
            [("a", [("b", "c")])], blanks + b"a" + blanks + b";" + blanks + b"b" + b" =" + blanks + b"c"
        )
        self.assert_offers([("a", []), ("b", [])], b"a" + mebibyte(b", ") + b"b" + mebibyte(b","))
        self.assert_bad(b"a" + blanks + b"b")
        self.assert_bad(b"a;b" + blanks + b"c")
        self.assert_bad(b"a;b=" + blanks)

    def test_hostile_semicolons_quotes_and_escapes_are_parsed_in_linear_time(self) -> None:
        for filler in (b";", b"; ", b'"', b"\\", b'="', b'\\"', b"=", b'a="', b"a"):
            self.assert_bad(b"a;b=" + mebibyte(filler) + b"(")
            self.assert_bad(b'a;b="' + mebibyte(filler))
            self.assert_bad(b'a;b="' + mebibyte(filler) + b'("')


if __name__ == "__main__":
    unittest.main()
