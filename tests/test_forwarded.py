"""Trusted proxy headers: RFC 7239's own examples, and what a client may try behind a proxy.

The first proxy of every chain is the peer, 10.0.0.1; 10.0.0.0/8 is trusted;
203.0.113.9 is a client that writes headers of its own.
"""

from __future__ import annotations

import subprocess
import sys
import unittest
from pathlib import Path
from typing import Iterable, Optional, Sequence, Tuple

from wsbridge.protocols import forwarded
from wsbridge.protocols.errors import ConfigError
from wsbridge.protocols.forwarded import (
    DEFAULT_FORWARDED_HEADERS,
    FORWARDED_HEADERS,
    Forwarded,
    TrustedPeers,
    check_forwarded_headers,
    identify_client,
    read_forwarded,
)

Line = Tuple[bytes, bytes]

PEER = "10.0.0.1"
# What a head leaves for one value, and more.
LONG = 65536

X_FORWARDED = FORWARDED_HEADERS[:5]
RFC7239 = ("forwarded", "forwarded-host")


def x_for(*values: bytes) -> Tuple[Line, ...]:
    return tuple((b"x-forwarded-for", value) for value in values)


def x(**values: bytes) -> Tuple[Line, ...]:
    return tuple((b"x-forwarded-" + name.encode(), value) for name, value in values.items())


def rfc(*values: bytes) -> Tuple[Line, ...]:
    return tuple((b"forwarded", value) for value in values)


class ForwardedCase(unittest.TestCase):
    def read(
        self,
        headers: Iterable[Line],
        spec: str = "10.0.0.0/8",
        peer: Optional[str] = PEER,
        names: Sequence[str] = (),
    ) -> Optional[Forwarded]:
        """What is read where every header of the family that occurs is listed, unless ``names`` are."""
        lines = list(headers)
        family = RFC7239 if any(name == b"forwarded" for name, _ in lines) else X_FORWARDED
        return read_forwarded(lines, peer, TrustedPeers(spec), names or family)

    def assert_client(
        self, headers: Iterable[Line], host: str, port: int = 0, spec: str = "10.0.0.0/8"
    ) -> None:
        self.assertEqual(self.read(headers, spec), Forwarded((host, port), None, None, None))

    def assert_nothing(self, headers: Iterable[Line], spec: str = "10.0.0.0/8") -> None:
        self.assertIsNone(self.read(headers, spec))


class TrustedPeersTests(unittest.TestCase):
    def assert_trusts(self, spec: str, *hosts: Optional[str]) -> None:
        trusted = TrustedPeers(spec)
        for host in hosts:
            self.assertIs(trusted.trusts(host), True, host)

    def assert_distrusts(self, spec: str, *hosts: Optional[str]) -> None:
        trusted = TrustedPeers(spec)
        for host in hosts:
            self.assertIs(trusted.trusts(host), False, host)

    def assert_refused(self, spec: str, text: str) -> None:
        with self.assertRaises(ConfigError) as caught:
            TrustedPeers(spec)
        self.assertEqual(str(caught.exception), text)

    def test_empty_spec_trusts_nobody_and_is_false(self) -> None:
        for spec in ("", " ", ",", " , "):
            self.assertIs(bool(TrustedPeers(spec)), False)
            self.assert_distrusts(spec, None, "127.0.0.1", "::1", "", "nonsense")

    def test_every_kind_of_item_makes_it_true(self) -> None:
        for spec in ("*", "unix", "127.0.0.1", "::1", "10.0.0.0/8"):
            self.assertIs(bool(TrustedPeers(spec)), True)

    def test_address_is_trusted_alone(self) -> None:
        self.assert_trusts("192.0.2.1", "192.0.2.1")
        self.assert_distrusts("192.0.2.1", "192.0.2.0", "192.0.2.2", "::1", None)

    def test_network_is_trusted_from_its_first_to_its_last_address(self) -> None:
        self.assert_trusts("192.0.2.64/26", "192.0.2.64", "192.0.2.127")
        self.assert_distrusts("192.0.2.64/26", "192.0.2.63", "192.0.2.128")

    def test_ipv6_address_and_network(self) -> None:
        self.assert_trusts("::1, 2001:db8::/32", "::1", "2001:DB8:0:0::17", "2001:db8:ffff::")
        self.assert_distrusts("::1, 2001:db8::/32", "::2", "2001:db9::", "0.0.0.1")

    def test_netmask_is_a_prefix(self) -> None:
        self.assert_trusts("10.0.0.0/255.0.0.0", "10.255.255.255")
        self.assert_distrusts("10.0.0.0/255.0.0.0", "11.0.0.0")

    def test_blanks_and_empty_items_are_ignored(self) -> None:
        self.assert_trusts(" 192.0.2.1 ,, unix ,", "192.0.2.1", None)
        self.assert_distrusts(" 192.0.2.1 ,, unix ,", "192.0.2.2")

    def test_unix_trusts_peers_on_a_unix_socket_only(self) -> None:
        self.assert_trusts("unix", None)
        self.assert_distrusts("unix", "127.0.0.1", "unix", "")

    def test_star_trusts_everybody(self) -> None:
        self.assert_trusts("*", None, "127.0.0.1", "2001:db8::1", "nonsense", "")
        self.assert_trusts("192.0.2.1, *", None, "203.0.113.9")

    def test_zone_id_is_ignored(self) -> None:
        self.assert_trusts("fe80::/10", "fe80::1%eth0", "fe80::1%", "fe80::1")
        self.assert_distrusts("fe80::/10", "%eth0", "::1%fe80::1")

    def test_ipv4_address_in_ipv6_form_is_the_ipv4_address(self) -> None:
        self.assert_trusts("192.0.2.1", "::ffff:192.0.2.1", "::FFFF:c000:201", "::ffff:192.0.2.1%eth0")
        self.assert_distrusts("192.0.2.1", "::ffff:192.0.2.2", "::192.0.2.1")
        self.assert_trusts("10.0.0.0/8", "::ffff:10.1.2.3")

    def test_ipv4_item_in_ipv6_form_is_the_ipv4_item(self) -> None:
        spec = "::ffff:10.0.0.0/104, ::ffff:192.0.2.1"
        self.assert_trusts(spec, "10.1.2.3", "::ffff:10.1.2.3", "192.0.2.1")
        self.assert_distrusts(spec, "11.0.0.0", "192.0.2.2", "::a00:0")

    def test_all_ipv6_addresses_are_no_ipv4_addresses(self) -> None:
        self.assert_trusts("::/0", "2001:db8::1")
        self.assert_distrusts("::/0", "192.0.2.1", "::ffff:192.0.2.1")

    def test_what_is_no_address_is_not_trusted(self) -> None:
        everywhere = "0.0.0.0/0, ::/0, unix"
        self.assert_distrusts(everywhere, "", "nonsense", "localhost", "1", "\uff11.0.0.1")
        self.assert_distrusts(everywhere, "127.0.0.1:80", "127.0.0.1 ", "[::1]", "::1\0")

    def test_item_that_is_nothing_of_the_kind_is_refused(self) -> None:
        rule = "an IPv4 or IPv6 address, a network such as 10.0.0.0/8, 'unix', or '*'"
        for item in ("localhost", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "::/129", "[::1]", "UNIX", "1", "/8"):
            self.assert_refused(f"127.0.0.1, {item}", f"trusted peer {item!r} must be {rule}")

    def test_item_with_a_zone_is_refused(self) -> None:
        rule = "an IPv4 or IPv6 address, a network such as 10.0.0.0/8, 'unix', or '*'"
        self.assert_refused("fe80::1%eth0", f"trusted peer 'fe80::1%eth0' must be {rule}")

    def test_network_with_host_bits_is_refused_with_the_right_one(self) -> None:
        for item, network in (("10.0.0.1/8", "10.0.0.0/8"), ("2001:db8::1/32", "2001:db8::/32")):
            text = f"trusted peer {item!r} has bits set beyond its prefix: write {network}"
            self.assert_refused(f"*, {item}", text)


class PeerTests(ForwardedCase):
    def test_untrusted_peer_is_not_listened_to(self) -> None:
        headers = x_for(b"192.0.2.43") + x(proto=b"https", host=b"a", port=b"1") + rfc(b"for=192.0.2.43")
        for names in (DEFAULT_FORWARDED_HEADERS, X_FORWARDED, RFC7239, FORWARDED_HEADERS):
            self.assertIsNone(self.read(headers, peer="203.0.113.9", names=names))
            self.assertIsNone(self.read(headers, peer=None, names=names))
            self.assertIsNone(self.read(headers, spec="", names=names))

    def test_headers_of_an_untrusted_peer_are_not_even_read(self) -> None:
        headers = iter(x_for(b"192.0.2.43"))
        self.assertIsNone(read_forwarded(headers, "203.0.113.9", TrustedPeers("10.0.0.0/8")))
        self.assertEqual(list(headers), list(x_for(b"192.0.2.43")))

    def test_trusted_peer_without_the_headers_changes_nothing(self) -> None:
        self.assert_nothing(())
        self.assert_nothing(((b"host", b"example.com"), (b"x-real-ip", b"192.0.2.43")))

    def test_peer_on_a_unix_socket_is_trusted_by_unix(self) -> None:
        result = self.read(x_for(b"203.0.113.66, 192.0.2.43"), "unix", None)
        self.assertEqual(result, Forwarded(("192.0.2.43", 0), None, None, None))

    def test_unix_trusts_no_address_in_the_list(self) -> None:
        result = self.read(x_for(b"203.0.113.66, 127.0.0.1"), "unix", None)
        self.assertEqual(result, Forwarded(("127.0.0.1", 0), None, None, None))

    def test_peer_on_a_unix_socket_before_another_proxy(self) -> None:
        result = self.read(x_for(b"192.0.2.43, 10.0.0.2"), "unix, 10.0.0.0/8", None)
        self.assertEqual(result, Forwarded(("192.0.2.43", 0), None, None, None))

    def test_peer_in_ipv6_form_is_trusted(self) -> None:
        result = self.read(x_for(b"192.0.2.43"), peer="::ffff:10.0.0.1")
        self.assertEqual(result, Forwarded(("192.0.2.43", 0), None, None, None))


class NamesTests(unittest.TestCase):
    """``forwarded_headers``: which of them may be listed."""

    def assert_refused(self, text: str, *names: str) -> None:
        for order in (names, names[::-1]):
            with self.assertRaises(ConfigError) as caught:
                check_forwarded_headers(order)
            self.assertIn(text, str(caught.exception))

    def test_every_name_and_none(self) -> None:
        check_forwarded_headers(())
        check_forwarded_headers(X_FORWARDED)
        check_forwarded_headers(RFC7239)
        check_forwarded_headers(("forwarded", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix"))
        check_forwarded_headers(DEFAULT_FORWARDED_HEADERS)

    def test_unknown_names_are_refused_with_the_known_ones(self) -> None:
        for name in ("auto", "x-forwarded", "x-real-ip", "forwarded-proto", "X-Forwarded-For", ""):
            self.assert_refused(f"{name!r} is not one of the headers that are read: x-forwarded-for,", name)

    def test_two_that_tell_the_same_are_refused(self) -> None:
        self.assert_refused("forwarded and x-forwarded-for mean the same", "forwarded", "x-forwarded-for")
        self.assert_refused("forwarded and x-forwarded-proto mean", "forwarded", "x-forwarded-proto")
        self.assert_refused("forwarded-host and x-forwarded-host mean", *RFC7239, "x-forwarded-host")

    def test_host_of_forwarded_needs_forwarded(self) -> None:
        self.assert_refused("forwarded-host is a part of forwarded", "forwarded-host")
        self.assert_refused("forwarded-host is a part of forwarded", "forwarded-host", "x-forwarded-for")


class ListedTests(ForwardedCase):
    """A header that is not listed is never read: the proxy passes it on as the client has sent it."""

    ALL = (
        *x(**{"for": b"192.0.2.1"}, proto=b"https", host=b"x.example", port=b"8443", prefix=b"/x"),
        *rfc(b"for=192.0.2.2;proto=http;host=f.example"),
    )

    def assert_read(self, names: Sequence[str], *expected: object) -> None:
        for headers in (self.ALL, self.ALL[::-1]):
            self.assertEqual(self.read(headers, names=names), Forwarded(*expected))  # type: ignore[arg-type]

    def test_for_and_proto_are_the_default(self) -> None:
        self.assertEqual(DEFAULT_FORWARDED_HEADERS, ("x-forwarded-for", "x-forwarded-proto"))
        expected = Forwarded(("192.0.2.1", 0), True, None, None)
        self.assertEqual(read_forwarded(self.ALL, PEER, TrustedPeers("10.0.0.0/8")), expected)

    def test_each_x_forwarded_header_alone(self) -> None:
        self.assert_read(("x-forwarded-for",), ("192.0.2.1", 0), None, None, None)
        self.assert_read(("x-forwarded-proto",), None, True, None, None)
        self.assert_read(("x-forwarded-host",), None, None, b"x.example", None)
        self.assert_read(("x-forwarded-port",), None, None, None, 8443)
        self.assert_read(("x-forwarded-prefix",), None, None, None, None, "/x")
        self.assert_read(X_FORWARDED, ("192.0.2.1", 0), True, b"x.example", 8443, "/x")

    def test_forwarded_has_no_host_unless_that_is_listed_too(self) -> None:
        self.assert_read(("forwarded",), ("192.0.2.2", 0), False, None, None)
        self.assert_read(RFC7239, ("192.0.2.2", 0), False, b"f.example", None)

    def test_forwarded_beside_what_it_does_not_tell(self) -> None:
        names = ("forwarded", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix")
        self.assert_read(names, ("192.0.2.2", 0), False, b"x.example", 8443, "/x")

    def test_nothing_is_read_where_nothing_is_listed_or_only_others_came(self) -> None:
        trusted = TrustedPeers("10.0.0.0/8")
        self.assertIsNone(read_forwarded(self.ALL, PEER, trusted, ()))
        self.assertIsNone(read_forwarded(x(host=b"a") + rfc(b"for=192.0.2.2"), PEER, trusted))
        self.assertIsNone(read_forwarded(x_for(b"192.0.2.1"), PEER, trusted, ("forwarded",)))

    def test_entries_of_the_others_are_counted_by_the_header_that_tells_the_client(self) -> None:
        headers = rfc(b"for=192.0.2.43, for=10.0.0.2") + x(host=b"evil, a.example, inner")
        result = self.read(headers, names=("forwarded", "x-forwarded-host"))
        self.assertEqual(result, Forwarded(("192.0.2.43", 0), None, b"a.example", None))

    def test_only_the_nearest_proxy_is_believed_where_none_tells_the_client(self) -> None:
        headers = x_for(b"192.0.2.43, 10.0.0.2") + x(proto=b"https, http", prefix=b"/a, /b")
        result = self.read(headers, names=("x-forwarded-proto", "x-forwarded-prefix"))
        self.assertEqual(result, Forwarded(None, False, None, None, "/b"))

    def test_names_are_exact(self) -> None:
        for name in (b"x_forwarded_for", b"x-forwarded_for", b"x-forwarded-for ", b"forwarded-for"):
            self.assert_nothing(((name, b"192.0.2.43"), (name, b"for=192.0.2.43")))

    def test_name_with_underscores_is_never_merged(self) -> None:
        headers = (*x_for(b"192.0.2.43"), (b"x_forwarded_for", b"203.0.113.66"))
        self.assert_client(headers, "192.0.2.43")


class XForwardedForTests(ForwardedCase):
    def test_one_address(self) -> None:
        self.assert_client(x_for(b"192.0.2.43"), "192.0.2.43")

    def test_example_of_rfc_7239_7_4(self) -> None:
        self.assert_client(x_for(b"192.0.2.43, 2001:db8:cafe::17"), "2001:db8:cafe::17")
        self.assert_client(
            x_for(b"192.0.2.43, 2001:db8:cafe::17"), "192.0.2.43", spec="10.0.0.1, 2001:db8:cafe::17"
        )

    def test_every_form_of_an_address(self) -> None:
        for value, host, port in (
            (b"1.2.3.4", "1.2.3.4", 0),
            (b"1.2.3.4:567", "1.2.3.4", 567),
            (b"1.2.3.4:0", "1.2.3.4", 0),
            (b"1.2.3.4:65535", "1.2.3.4", 65535),
            (b"1.2.3.4:_hidden", "1.2.3.4", 0),
            (b"2001:db8::1", "2001:db8::1", 0),
            (b"2001:DB8:0:0:0:0:0:1", "2001:db8::1", 0),
            (b"[2001:db8::1]", "2001:db8::1", 0),
            (b"[2001:db8::1]:567", "2001:db8::1", 567),
            (b"::ffff:1.2.3.4", "1.2.3.4", 0),
            (b"[::ffff:102:304]:567", "1.2.3.4", 567),
        ):
            for entry in (value, b'"' + value + b'"', b" \t" + value + b"\t "):
                self.assert_client(x_for(entry), host, port)

    def test_what_is_no_address_changes_nothing(self) -> None:
        for entry in (
            b"",
            b" ",
            b"unknown",
            b"_hidden",
            b"localhost",
            b"unix:",
            b'"',
            b'""',
            b'"1.2.3.45',
            b'71.2.3.4"',
            b'!1.2.3.4"',
            b"!1.2.3.4!",
            b"'1.2.3.4'",
            b"1.2.3",
            b"1.2.3.256",
            b"1.2.3.4.5",
            b"1.2.3.4:",
            b"1.2.3.4:65536",
            b"1.2.3.4:99999",
            b"1.2.3.4:000080",
            b"1.2.3.4:-1",
            b"1.2.3.4 5.6.7.8",
            b"2001:db8::1::",
            b"[2001:db8::1",
            b"2001:db8::1]",
            b"[2001:db8::1]567",
            b"[2001:db8::1]:",
            b"[1.2.3.4]x",
            b"[]",
            b"fe80::1%eth0",
            b"1.2.3.\xb2",
            b"\xff",
            b"\x1b[2J",
        ):
            self.assert_nothing(x_for(entry))
            self.assert_nothing(x_for(b"192.0.2.43, " + entry))

    def test_ipv4_address_in_brackets_is_taken_as_one(self) -> None:
        self.assert_client(x_for(b"[1.2.3.4]:5"), "1.2.3.4", 5)

    def test_client_is_the_first_from_the_right_that_is_not_trusted(self) -> None:
        self.assert_client(x_for(b"192.0.2.1, 192.0.2.43, 10.0.0.3, 10.0.0.2"), "192.0.2.43")

    def test_client_is_the_leftmost_where_all_are_trusted(self) -> None:
        self.assert_client(x_for(b"10.0.0.4, 10.0.0.3, 10.0.0.2"), "10.0.0.4")
        self.assert_client(x_for(b"192.0.2.43, 192.0.2.44"), "192.0.2.43", spec="*")

    def test_walk_ends_before_what_is_no_address(self) -> None:
        for entry in (b"unknown", b"_hidden", b"garbage", b"", b" "):
            self.assert_client(x_for(b"192.0.2.43, " + entry + b", 10.0.0.3:33, 10.0.0.2"), "10.0.0.3", 33)

    def test_walk_ends_there_behind_star_too(self) -> None:
        self.assert_client(x_for(b"192.0.2.43, unknown, 192.0.2.44"), "192.0.2.44", spec="*")

    def test_several_lines_are_one_list(self) -> None:
        self.assert_client(x_for(b"192.0.2.1", b"192.0.2.43, 10.0.0.3", b"10.0.0.2"), "192.0.2.43")
        self.assert_client(x_for(b"192.0.2.43", b"", b"10.0.0.2"), "10.0.0.2")

    def test_proxy_in_ipv6_form_is_trusted(self) -> None:
        self.assert_client(x_for(b"192.0.2.43, ::ffff:10.0.0.2"), "192.0.2.43")


class OtherXForwardedTests(ForwardedCase):
    def assert_secure(self, value: Optional[bool], **headers: bytes) -> None:
        result = self.read(x(**headers))
        self.assertIs(None if result is None else result.secure, value)

    def assert_host(self, value: Optional[bytes], host: bytes) -> None:
        expected = None if value is None else Forwarded(None, None, value, None)
        self.assertEqual(self.read(x(host=host)), expected)

    def assert_port(self, value: Optional[int], port: bytes) -> None:
        expected = None if value is None else Forwarded(None, None, None, value)
        self.assertEqual(self.read(x(port=port)), expected)

    def test_all_four(self) -> None:
        headers = x(**{"for": b"192.0.2.43:5"}, proto=b"https", host=b"example.com:8443", port=b"443")
        self.assertEqual(self.read(headers), Forwarded(("192.0.2.43", 5), True, b"example.com:8443", 443))

    def test_proto(self) -> None:
        for value in (b"https", b"HTTPS", b"wss", b"Wss", b" https "):
            self.assert_secure(True, proto=value)
        for value in (b"http", b"HTTP", b"ws", b"Ws"):
            self.assert_secure(False, proto=value)

    def test_other_proto_changes_nothing(self) -> None:
        for value in (b"", b"on", b"ftp", b"https:", b"http s", b'"https"', b"\xff"):
            self.assert_nothing(x(proto=value))

    def test_proto_alone_is_the_nearest_proxys(self) -> None:
        self.assert_secure(False, proto=b"https, http")

    def test_proto_at_the_clients_hop(self) -> None:
        chain = {"for": b"192.0.2.1, 192.0.2.43, 10.0.0.2"}
        self.assert_secure(True, proto=b"http, https, http", **chain)
        self.assert_secure(False, proto=b"https, http, https", **chain)
        self.assert_secure(True, proto=b"https, http", **chain)

    def test_leftmost_proto_of_a_list_shorter_than_the_walk(self) -> None:
        self.assert_secure(True, proto=b"https, http", **{"for": b"192.0.2.43, 10.0.0.3, 10.0.0.2"})
        self.assert_secure(True, proto=b"https", **{"for": b"192.0.2.43, 10.0.0.3, 10.0.0.2"})

    def test_proto_where_the_nearest_proxy_names_no_address(self) -> None:
        result = self.read(x(**{"for": b"192.0.2.43, unknown"}, proto=b"http, https"))
        self.assertEqual(result, Forwarded(None, True, None, None))

    def test_empty_entries_keep_their_place(self) -> None:
        self.assert_secure(None, proto=b"https, , http", **{"for": b"192.0.2.1, 192.0.2.43, 10.0.0.2"})

    def test_several_lines_of_proto_are_one_list(self) -> None:
        headers = x_for(b"192.0.2.43, 10.0.0.2") + x(proto=b"https") + x(proto=b"http")
        self.assertEqual(self.read(headers), Forwarded(("192.0.2.43", 0), True, None, None))

    def test_host(self) -> None:
        for value in (b"example.com", b"Example.COM:8443", b"192.0.2.1", b"[2001:db8::1]:80"):
            self.assert_host(value, value)
            self.assert_host(value, b" " + value + b" ")

    def test_host_that_is_no_authority_changes_nothing(self) -> None:
        for value in (b"", b"user@a", b"a/b", b"a:b", b"a:65536", b":80", b"a b", b'"a"', b"\xff", b"[::1"):
            self.assert_host(None, value)

    def test_host_and_port_at_the_clients_hop(self) -> None:
        headers = x_for(b"192.0.2.43, 10.0.0.2") + x(host=b"evil, a.example, inner", port=b"1, 443, 8000")
        self.assertEqual(self.read(headers), Forwarded(("192.0.2.43", 0), None, b"a.example", 443))

    def test_port(self) -> None:
        for value, port in ((b"1", 1), (b"443", 443), (b"65535", 65535), (b"00080", 80), (b" 80 ", 80)):
            self.assert_port(port, value)

    def test_port_that_is_none_changes_nothing(self) -> None:
        for value in (b"", b"0", b"00000", b"65536", b"99999", b"000080", b"+80", b"8_0", b"80x", b"\xb2"):
            self.assert_port(None, value)


class PrefixTests(ForwardedCase):
    def assert_prefix(self, prefix: Optional[str], *values: bytes, hops: bytes = b"") -> None:
        lines = tuple((b"x-forwarded-prefix", value) for value in values)
        result = self.read((*lines, *(x_for(hops) if hops else ())))
        self.assertEqual(None if result is None else result.prefix, prefix, values)

    def test_path(self) -> None:
        for value in (b"/app", b"/app/v1", b"/a-b_c.d~e!$&'()*+;=:@"):
            self.assert_prefix(value.decode(), value)
            self.assert_prefix(value.decode(), b" " + value + b"\t")

    def test_slash_at_the_end_is_left_out(self) -> None:
        self.assert_prefix("/app", b"/app/")
        self.assert_prefix(None, b"/")

    def test_percent_encoding_is_undone(self) -> None:
        self.assert_prefix("/caf\xe9 %41%", b"/caf%C3%A9%20%2541%")

    def test_what_is_no_absolute_path_is_ignored(self) -> None:
        for value in (b"", b"app", b"app/", b"http://evil.example", b"*", b"/a?b", b"/a#b", b"/a b"):
            self.assert_prefix(None, value)

    def test_what_could_be_an_authority_or_go_up_is_ignored(self) -> None:
        for value in (b"//evil.example", b"//", b"/a//b", b"/a//", b"/\\evil.example", b"/%2Fevil.example"):
            self.assert_prefix(None, value)
        for value in (b"/a%2f%2fb", b"/%5cevil.example", b"/..", b"/a/../b", b"/a/.", b"/%2e%2e/b", b"/./"):
            self.assert_prefix(None, value)
        for value in (b"/...", b"/.well-known", b"/a..b/..c"):
            self.assert_prefix(value.decode(), value)

    def test_control_bytes_and_what_is_not_utf_8_are_ignored(self) -> None:
        for value in (b"/a%0d%0aSet-Cookie:", b"/%00", b"/%7f", b"/%c2%85", b"/a\tb", b"/\xc3\xa9", b"/%ff"):
            self.assert_prefix(None, value)

    def test_each_proxy_from_the_clients_on_has_taken_off_one(self) -> None:
        hops = b"192.0.2.1, 192.0.2.43, 10.0.0.2"
        self.assert_prefix("/outer/inner", b"/evil, /outer/, /inner", hops=hops)
        self.assert_prefix("/outer/inner", b"/evil", b"/outer", b"/inner", hops=hops)
        self.assert_prefix("/inner", b"/inner", hops=hops)
        self.assert_prefix("/outer", b"/outer, /", hops=hops)
        self.assert_prefix("/inner", b", /inner", hops=hops)
        self.assert_prefix("/inner", b"/outer, /inner", hops=b"192.0.2.43")

    def test_invalid_one_makes_all_of_them_unknown(self) -> None:
        hops = b"192.0.2.43, 10.0.0.2"
        for value in (b"/outer, inner", b"//outer, /inner", b"/outer, //inner", b"/a/, //b"):
            self.assert_prefix(None, value, hops=hops)


class RFC7239ExampleTests(ForwardedCase):
    """The literal examples, each as if the last element had been written by the peer."""

    def test_section_4_obfuscated(self) -> None:
        self.assert_nothing(rfc(b'for="_gazonk"'))

    def test_section_4_ipv6_with_port(self) -> None:
        self.assert_client(rfc(b'For="[2001:db8:cafe::17]:4711"'), "2001:db8:cafe::17", 4711)

    def test_section_4_proto_and_by(self) -> None:
        result = self.read(rfc(b"for=192.0.2.60;proto=http;by=203.0.113.43"))
        self.assertEqual(result, Forwarded(("192.0.2.60", 0), False, None, None))

    def test_section_4_two_elements(self) -> None:
        self.assert_client(rfc(b"for=192.0.2.43, for=198.51.100.17"), "198.51.100.17")
        self.assert_client(
            rfc(b"for=192.0.2.43, for=198.51.100.17"), "192.0.2.43", spec="10.0.0.1, 198.51.100.17"
        )

    def test_section_5_3_host(self) -> None:
        for value, host in ((b"example.com", b"example.com"), (b'"example.com:8443"', b"example.com:8443")):
            self.assertEqual(self.read(rfc(b"host=" + value)), Forwarded(None, None, host, None))

    def test_section_5_4_proto(self) -> None:
        for value, secure in ((b"http", False), (b"https", True), (b'"HTTPS"', True), (b"wss", True)):
            self.assertEqual(self.read(rfc(b"proto=" + value)), Forwarded(None, secure, None, None))

    def test_section_5_5_extensions_are_passed_over(self) -> None:
        self.assert_client(rfc(b'secret="a;b,c=\\"d\\"";for=192.0.2.43;x=y'), "192.0.2.43")

    def test_section_6_ports(self) -> None:
        self.assert_client(rfc(b'for="192.0.2.43:47011"'), "192.0.2.43", 47011)
        self.assert_client(rfc(b'for="[2001:db8:cafe::17]:47011"'), "2001:db8:cafe::17", 47011)
        self.assert_client(rfc(b'for="192.0.2.43:_hidden-1.x"'), "192.0.2.43")

    def test_section_6_2_unknown(self) -> None:
        self.assert_nothing(rfc(b"for=unknown"))
        self.assert_nothing(rfc(b'for="unknown:47011"'))

    def test_section_6_3_obfuscated(self) -> None:
        self.assert_nothing(rfc(b"for=_hidden, for=_SEVKISEK"))
        self.assert_client(rfc(b"for=_hidden, for=192.0.2.43"), "192.0.2.43")

    def test_section_7_1_lists(self) -> None:
        for lines in (
            (b'for=192.0.2.43,for="[2001:db8:cafe::17]",for=unknown',),
            (b'for=192.0.2.43, for="[2001:db8:cafe::17]", for=unknown',),
            (b"for=192.0.2.43", b'for="[2001:db8:cafe::17]", for=unknown'),
        ):
            self.assert_nothing(rfc(*lines))
            self.assert_client(rfc(*lines, b"for=10.0.0.2"), "10.0.0.2")

    def test_section_7_1_lists_without_their_end(self) -> None:
        for lines in (
            (b'for=192.0.2.43,for="[2001:db8:cafe::17]"',),
            (b'for=192.0.2.43, for="[2001:db8:cafe::17]"',),
            (b"for=192.0.2.43", b'for="[2001:db8:cafe::17]"'),
        ):
            self.assert_client(rfc(*lines), "2001:db8:cafe::17")
            self.assert_client(rfc(*lines), "192.0.2.43", spec="10.0.0.1, 2001:db8:cafe::17")

    def test_section_7_4_transition(self) -> None:
        value = b'for=192.0.2.43, for="[2001:db8:cafe::17]"'
        self.assert_client(rfc(value), "192.0.2.43", spec="10.0.0.1, 2001:db8:cafe::17")

    def test_section_7_5_first_request(self) -> None:
        result = self.read(rfc(b"for=192.0.2.43"), "198.51.100.17", "198.51.100.17")
        self.assertEqual(result, Forwarded(("192.0.2.43", 0), None, None, None))

    def test_section_7_5_second_request(self) -> None:
        value = b"for=192.0.2.43, for=198.51.100.17;by=203.0.113.60;proto=http; host=example.com"
        near = self.read(rfc(value), "203.0.113.60", "203.0.113.60")
        self.assertEqual(near, Forwarded(("198.51.100.17", 0), False, b"example.com", None))
        far = self.read(rfc(value), "203.0.113.60, 198.51.100.17", "203.0.113.60")
        self.assertEqual(far, Forwarded(("192.0.2.43", 0), None, None, None))


class RFC7239GrammarTests(ForwardedCase):
    def test_element_of_the_client_counts_however_many_proxies_follow(self) -> None:
        proxies = (b"for=10.0.0.2;host=b", b"for=10.0.0.3;host=c", b"for=10.0.0.4;host=d")
        for number in range(len(proxies) + 1):
            result = self.read(rfc(b"for=192.0.2.43;host=a", *proxies[:number]))
            self.assertEqual(result, Forwarded(("192.0.2.43", 0), None, b"a", None))

    def test_names_are_compared_without_case(self) -> None:
        result = self.read(rfc(b"FOR=192.0.2.43;Proto=https;HOST=a"))
        self.assertEqual(result, Forwarded(("192.0.2.43", 0), True, b"a", None))

    def test_quoted_pairs_are_undone(self) -> None:
        self.assert_client(rfc(b'for="19\\2.0.2.4\\3"'), "192.0.2.43")
        result = self.read(rfc(b'proto="h\\ttps";host="\\a"'))
        self.assertEqual(result, Forwarded(None, True, b"a", None))

    def test_delimiters_and_quotes_inside_quoted_strings(self) -> None:
        for inside in (b",", b", for=192.0.2.9", b'\\"', b'\\",\\"', b"\\\\", b'\\\\\\",;', b";", b""):
            quoted = b'"' + inside + b'"'
            self.assert_client(rfc(b"for=192.0.2.1, x=" + quoted + b";for=192.0.2.43"), "192.0.2.43")
            self.assert_client(rfc(b"for=192.0.2.43;x=" + quoted + b", for=10.0.0.2"), "192.0.2.43")

    def test_every_byte_of_a_quoted_string(self) -> None:
        plain = bytes(byte for byte in (9, *range(0x20, 0x7F), *range(0x80, 0x100)) if byte not in b'"\\')
        self.assert_client(rfc(b'x="' + plain + b'";for=192.0.2.43'), "192.0.2.43")
        pairs = b"".join(b"\\" + bytes((byte,)) for byte in (9, *range(0x20, 0x7F), *range(0x80, 0x100)))
        self.assert_client(rfc(b'x="' + pairs + b'";for=192.0.2.43'), "192.0.2.43")

    def test_blanks_around_delimiters(self) -> None:
        self.assert_client(rfc(b" \tx=y \t;\t for=192.0.2.43 ;\t,\t for=10.0.0.2\t"), "192.0.2.43")

    def test_empty_elements_are_ignored(self) -> None:
        self.assert_client(rfc(b",, for=192.0.2.43 , ,, for=10.0.0.2 ,\t,"), "192.0.2.43")
        self.assert_client(rfc(b"for=192.0.2.43", b"", b"for=10.0.0.2"), "192.0.2.43")

    def test_empty_list_changes_nothing(self) -> None:
        for value in (b"", b" ", b",", b" , ,"):
            self.assert_nothing(rfc(value))

    def test_empty_pairs_are_ignored(self) -> None:
        self.assert_client(rfc(b";;for=192.0.2.43;;"), "192.0.2.43")

    def test_element_of_no_pairs_ends_the_walk(self) -> None:
        self.assert_client(rfc(b"for=192.0.2.43, ;, for=10.0.0.2"), "10.0.0.2")
        self.assert_nothing(rfc(b"for=192.0.2.43, ;"))

    def test_element_without_for_ends_the_walk(self) -> None:
        result = self.read(rfc(b"for=192.0.2.43;proto=http, proto=https"))
        self.assertEqual(result, Forwarded(None, True, None, None))
        self.assert_client(rfc(b"for=192.0.2.43, proto=https, for=10.0.0.2"), "10.0.0.2")

    def test_malformed_element_ends_the_walk(self) -> None:
        for element in (
            b"for",
            b"for=",
            b"=192.0.2.1",
            b"for =192.0.2.1",
            b"for= 192.0.2.1",
            b"for=192.0.2.1 proto=http",
            b"for=192.0.2.1:80",
            b"for=[2001:db8::1]",
            b"for=192.0.2.1;for=192.0.2.1",
            b"for=192.0.2.1;FOR=192.0.2.2",
            b"FOR=192.0.2.1;for=192.0.2.2",
            b'for="192.0.2.1',
            b'for=192.0.2.1"',
            b'for="192.0.2.1"x',
            b'for=x"192.0.2.1"',
            b'for="192.0.2.1\\"',
            b'for=192.0.2.1;x="\x00"',
            b'for=192.0.2.1;x="\\\x7f"',
            b"for=192.0.2.1;\xff=a",
            b"for=192.0.2.1;x=\\",
            b"192.0.2.1",
        ):
            self.assert_nothing(rfc(b"for=192.0.2.43;proto=https, " + element))
            self.assert_client(rfc(b"for=192.0.2.43, " + element + b", for=10.0.0.2"), "10.0.0.2")

    def test_node_that_is_no_address_ends_the_walk_but_not_the_element(self) -> None:
        for node in (
            b"unknown",
            b"_hidden",
            b"example.com",
            b"192.0.2.256",
            b'""',
            b'"192.0.2.1:"',
            b'"192.0.2.1:65536"',
            b'"192.0.2.1:_"',
            b'"192.0.2.1:123456"',
            b'"2001:db8::1"',
            b'"[2001:db8::1"',
            b'"[fe80::1%eth0]"',
            b'"\\"192.0.2.1\\""',
        ):
            result = self.read(rfc(b"for=192.0.2.43;proto=http, proto=https;for=" + node))
            self.assertEqual(result, Forwarded(None, True, None, None), node)

    def test_proto_and_host_of_the_clients_element_only(self) -> None:
        value = b"for=192.0.2.1;host=a, for=192.0.2.43;proto=https, for=10.0.0.2;proto=http;host=b"
        self.assertEqual(self.read(rfc(value)), Forwarded(("192.0.2.43", 0), True, None, None))

    def test_bad_proto_and_host_are_ignored(self) -> None:
        self.assert_client(rfc(b'for=192.0.2.43;proto=gopher;host="a b"'), "192.0.2.43")

    def test_forwarded_never_tells_the_port(self) -> None:
        self.assert_client(rfc(b"for=192.0.2.43;port=443"), "192.0.2.43")


class SpoofingTests(ForwardedCase):
    """203.0.113.9 sends what it likes; the proxy 10.0.0.1 appends the address it sees."""

    CLAIMS = (
        b"127.0.0.1",
        b"10.0.0.2",
        b"10.0.0.2, 10.0.0.3",
        b"unknown",
        b"",
        b",",
        b'"',
        b'"\\',
        b"garbage",
        b"\x80",
    )

    def test_x_forwarded_for_that_the_proxy_appends_to(self) -> None:
        for claim in self.CLAIMS:
            self.assert_client(x_for(claim + b", 203.0.113.9"), "203.0.113.9")
            self.assert_client(x_for(claim, b"203.0.113.9"), "203.0.113.9")

    def test_x_forwarded_for_through_two_proxies(self) -> None:
        for claim in self.CLAIMS:
            self.assert_client(x_for(claim + b", 203.0.113.9, 10.0.0.2"), "203.0.113.9")

    def test_x_forwarded_proto_and_host_that_the_proxy_appends_to(self) -> None:
        headers = x_for(b"127.0.0.1, 203.0.113.9") + x(proto=b"https, http", host=b"admin, a", port=b"1, 80")
        self.assertEqual(self.read(headers), Forwarded(("203.0.113.9", 0), False, b"a", 80))

    def test_forwarded_that_the_proxy_appends_to(self) -> None:
        for claim in (b"for=127.0.0.1", b"for=10.0.0.2;proto=https", b"for=unknown", b",,", b"x=\\", b"\x80"):
            self.assert_client(rfc(claim + b", for=203.0.113.9"), "203.0.113.9")
            self.assert_client(rfc(claim, b"for=203.0.113.9"), "203.0.113.9")

    def test_open_quote_does_not_swallow_what_the_proxy_appends(self) -> None:
        appended = b'for="203.0.113.9:5";proto="http";host="a"'
        expected = Forwarded(("203.0.113.9", 5), False, b"a", None)
        for claim in (b'for="127.0.0.1', b'"', b'x="\\', b'x="\\"', b'x="";y="', b'for=127.0.0.1;x="'):
            self.assertEqual(self.read(rfc(claim + b", " + appended)), expected, claim)
            self.assertEqual(self.read(rfc(claim, appended)), expected, claim)

    def test_forwarded_beside_a_proxy_that_writes_x_forwarded(self) -> None:
        headers = rfc(b"for=127.0.0.1;proto=https;host=admin") + x_for(b"203.0.113.9")
        result = self.read(headers, names=X_FORWARDED)
        self.assertEqual(result, Forwarded(("203.0.113.9", 0), None, None, None))

    def test_x_forwarded_beside_a_proxy_that_writes_forwarded(self) -> None:
        headers = x_for(b"127.0.0.1") + rfc(b"for=203.0.113.9")
        result = self.read(headers, names=("forwarded",))
        self.assertEqual(result, Forwarded(("203.0.113.9", 0), None, None, None))


class LongInputTests(ForwardedCase):
    """Values of a whole head. Anything worse than linear would take minutes here."""

    def test_long_junk_changes_nothing(self) -> None:
        for piece in (b" ", b"\t", b",", b";", b'"', b"\\", b'\\"', b"=", b"a", b"1", b":", b"[", b'="'):
            value = piece * (LONG // len(piece))
            for end in (b"", b"@", b'"', b'x="', b"\\"):
                self.assert_nothing(x_for(value + end))
                self.assert_nothing(x(proto=value + end, port=value + end) + x(host=b"@" + value))
                self.assert_nothing(rfc(value + end))

    def test_long_junk_in_quotes_changes_nothing(self) -> None:
        for piece in (b" ", b"\\", b"\\\\", b'\\"', b"a", b",", b";", b"\\a"):
            value = piece * (LONG // len(piece))
            self.assert_nothing(rfc(b'x="' + value + b"\x00" + b'"'))
            self.assert_nothing(rfc(b'for="' + value + b'"'))

    def test_long_lists_of_trusted_addresses(self) -> None:
        self.assert_client(x_for(b"10.0.0.4," + b"10.0.0.2," * (LONG // 9) + b"10.0.0.3"), "10.0.0.4")
        self.assert_client(rfc(b"for=10.0.0.4," + b"for=10.0.0.2," * (LONG // 13)), "10.0.0.4")

    def test_long_lists_of_pairs(self) -> None:
        pairs = b"".join(b"a%d=b;" % number for number in range(LONG // 8))
        self.assert_client(rfc(pairs + b"for=192.0.2.43"), "192.0.2.43")

    def test_client_before_long_junk_is_found(self) -> None:
        for piece in (b"10.0.0.2 ", b",", b'"', b"\\", b" "):
            self.assert_client(x_for(piece * (LONG // len(piece)) + b", 192.0.2.43"), "192.0.2.43")
            self.assert_client(rfc(piece * (LONG // len(piece)) + b", for=192.0.2.43"), "192.0.2.43")

    def test_every_byte_as_a_value_raises_nothing(self) -> None:
        for byte in range(256):
            value = bytes((byte,))
            self.assert_nothing(x_for(value))
            self.assert_nothing(rfc(value))
            self.assert_nothing(rfc(b"for=" + value))


class ImportTests(unittest.TestCase):
    def test_ipaddress_is_imported_only_where_an_address_is_parsed(self) -> None:
        # In a fresh interpreter, for this one has long imported it; the package may have another name.
        package = Path(forwarded.__file__).parents[1]
        program = (
            "import sys, importlib\n"
            f"sys.path.insert(0, {str(package.parent)!r})\n"
            f"module = importlib.import_module({package.name + '.protocols.forwarded'!r})\n"
            "headers = [(b'x-forwarded-proto', b'https')]\n"
            "module.read_forwarded(headers, '192.0.2.1', module.TrustedPeers('unix'))\n"
            "module.read_forwarded(headers, None, module.TrustedPeers('unix'))\n"
            "print('ipaddress' in sys.modules)\n"
            "module.TrustedPeers('192.0.2.1')\n"
            "print('ipaddress' in sys.modules)\n"
        )
        command = [sys.executable, "-I", "-S", "-c", program]
        result = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=True)
        self.assertEqual(result.stdout.split(), [b"False", b"True"])


class IdentifyTests(unittest.TestCase):
    """What the addresses of one client have in common."""

    def test_ipv4_address_is_one_client_in_either_form(self) -> None:
        for host in ("192.0.2.1", "::ffff:192.0.2.1"):
            self.assertEqual(identify_client(host), "192.0.2.1")

    def test_ipv6_network_of_64_bits_is_one_client(self) -> None:
        for host in ("2001:db8:0:1::", "2001:DB8:0:1:ffff::1", "2001:db8:0:1::1%eth0"):
            self.assertEqual(identify_client(host), "2001:0db8:0000:0001::/64")
        self.assertEqual(identify_client("2001:db8:0:2::"), "2001:0db8:0000:0002::/64")

    def test_any_other_text_is_returned(self) -> None:
        self.assertEqual(identify_client("testclient"), "testclient")


if __name__ == "__main__":
    unittest.main()
