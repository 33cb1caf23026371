"""The PROXY protocol: headers of both versions, however they are cut, and what is none.

The bytes are written by hand from HAProxy's proxy-protocol.txt, whose sections the classes name.
"""

from __future__ import annotations

import unittest
from typing import Any, Optional

from wsbridge.protocols.errors import BadRequest
from wsbridge.protocols.proxy_protocol import ProxyHeader, ProxyHeaderParser

HTTP = b"GET / HTTP/1.1\r\n"
SIGNATURE = bytes.fromhex("0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a")

OWN = ProxyHeader(None, None, False)
IPV4 = ProxyHeader(("192.168.0.1", 56324), ("192.168.0.11", 443), False)
IPV6 = ProxyHeader(("2001:db8::1", 56324), ("2001:db8::b", 443), False)

# 192.168.0.1, 192.168.0.11, 56324 and 443; and the same of IPv6.
INET = "c0a80001 c0a8000b dc04 01bb"
INET6 = "20010db8000000000000000000000001 20010db800000000000000000000000b dc04 01bb"


def block(command: int, family: int, rest: str, *, length: Optional[int] = None) -> bytes:
    """A header of version 2; ``rest`` is what follows the length, in hexadecimal."""
    data = bytes.fromhex(rest)
    size = len(data) if length is None else length
    return SIGNATURE + bytes((command, family)) + size.to_bytes(2, "big") + data


class HeaderCase(unittest.TestCase):
    def assert_header(self, expected: ProxyHeader, data: bytes) -> None:
        """However it is cut in two, byte by byte, and alone; what follows remains."""
        for cut in range(len(data) + 1):
            parser = ProxyHeaderParser()
            first = parser.receive_data(data[:cut])
            if cut == len(data):
                self.assertEqual((first, parser.trailing), (expected, b""))
                break
            self.assertIsNone(first)
            self.assertIs(parser.has_begun, cut > 0)
            self.assertEqual((parser.receive_data(data[cut:] + HTTP), parser.trailing), (expected, HTTP))
        parser = ProxyHeaderParser()
        found = [parser.receive_data(data[at : at + 1]) for at in range(len(data))]
        self.assertEqual(found, [None] * (len(data) - 1) + [expected])
        self.assert_reads_no_further(expected, data)

    def assert_reads_no_further(self, expected: ProxyHeader, data: bytes) -> None:
        """One who reads no more than `missing` never reads what follows the header."""
        parser = ProxyHeaderParser()
        header, at = parser.receive_data(b""), 0
        while header is None:
            size = parser.missing
            self.assertGreater(size, 0)
            header, at = parser.receive_data((data + HTTP)[at : at + size]), at + size
        self.assertEqual((header, parser.trailing, at), (expected, b"", len(data)))

    def assert_refused(self, data: bytes, text: str, at: Optional[int] = None) -> None:
        """Refused with the byte at ``at``, by default the last, and not before; and in one piece."""
        at = len(data) - 1 if at is None else at
        parser = ProxyHeaderParser()
        for index in range(at):
            self.assertIsNone(parser.receive_data(data[index : index + 1]))
        for refused, rest in ((parser, data[at : at + 1]), (ProxyHeaderParser(), data + HTTP)):
            with self.assertRaises(BadRequest) as caught:
                refused.receive_data(rest)
            self.assertEqual(str(caught.exception), text)


class NoHeaderTests(HeaderCase):
    """Section 2.2: "otherwise the protocol is not covered by this specification and the connection must be
    dropped".
    """

    TEXT = "no PROXY protocol header, which proxy_protocol demands"

    def test_what_begins_otherwise_is_refused_at_its_first_byte(self) -> None:
        for start in (b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"\0", b" PROXY TCP4", b"proxy TCP4", b"\n"):
            self.assert_refused(start, self.TEXT, 0)

    def test_first_byte_that_differs_from_both_is_refused(self) -> None:
        for start in (b"POST / HTTP/1.1", b"PROXY\t", b"PROXYS", b"PRI * HTTP/2.0", b"\r\n\r\n\0\r\nQUIT\r"):
            differs = next(
                at
                for at in range(len(start))
                if not b"PROXY ".startswith(start[: at + 1]) and not SIGNATURE.startswith(start[: at + 1])
            )
            self.assert_refused(start, self.TEXT, differs)


class LineTests(HeaderCase):
    """Section 2.1."""

    def test_example_of_the_specification(self) -> None:
        self.assert_header(IPV4, b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n")

    def test_ipv6_in_any_form_is_the_same_address(self) -> None:
        for form in (b"2001:db8::1", b"2001:DB8:0:0::1", b"2001:0db8:0000:0000:0000:0000:0000:0001"):
            self.assert_header(IPV6, b"PROXY TCP6 %b 2001:db8::b 56324 443\r\n" % form)

    def test_ipv4_in_ipv6_form_is_the_ipv4_address(self) -> None:
        expected = ProxyHeader(("192.0.2.1", 1), ("::1", 2), False)
        for form in (b"::ffff:192.0.2.1", b"::ffff:c000:201"):
            self.assert_header(expected, b"PROXY TCP6 %b ::1 1 2\r\n" % form)

    def test_least_and_greatest_addresses_and_ports(self) -> None:
        expected = ProxyHeader(("0.0.0.0", 0), ("255.255.255.255", 65535), False)
        self.assert_header(expected, b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n")
        longest = b"PROXY TCP6 %b %b 65535 65535\r\n" % ((b"ffff:" * 8)[:-1], (b"FFFF:" * 8)[:-1])
        self.assertEqual(len(longest), 104)
        address = ((b"ffff:" * 8)[:-1].decode(), 65535)
        self.assert_header(ProxyHeader(address, address, False), longest)

    def test_unknown_means_the_connections_own_ends_whatever_follows(self) -> None:
        worst = b"PROXY UNKNOWN %b %b 65535 65535\r\n" % ((b"ffff:" * 8)[:-1], (b"ffff:" * 8)[:-1])
        self.assertEqual(len(worst), 107)
        for line in (b"PROXY UNKNOWN\r\n", worst, b"PROXY UNKNOWN \x00\xff\r\r\n", b"PROXY UNKNOWN a\nb\r\n"):
            self.assert_header(OWN, line)

    def test_line_of_another_form(self) -> None:
        for line in (
            b"PROXY \r\n",
            b"PROXY TCP4\r\n",
            b"PROXY UNKNOWNS\r\n",
            b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            b"PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
            b"PROXY\x20UNKNOWN\t\r\n",
        ):
            self.assert_refused(line, "a malformed PROXY protocol line")

    def test_address_that_is_none(self) -> None:
        hosts = "01.2.3.4 1.2.3 1.2.3.4.5 256.1.1.1 1.2.3.04 1.2.3.+4 ::1 a 1.2.3.4/8 00.0.0.0"
        for host in hosts.split():
            for line in (f"{host} 1.2.3.4", f"1.2.3.4 {host}"):
                text = "a PROXY protocol line with a malformed IPv4 address"
                self.assert_refused(f"PROXY TCP4 {line} 1 2\r\n".encode(), text)
        hosts = "1.2.3.4 ::1::2 1:2:3:4:5:6:7 1:2:3:4:5:6:7:8:9 ::g fe80::1%1 12345::"
        for host in hosts.split():
            text = "a PROXY protocol line with a malformed IPv6 address"
            self.assert_refused(f"PROXY TCP6 {host} ::1 1 2\r\n".encode(), text)
        self.assert_refused(
            b"PROXY TCP4 1.2.3.4 1.2.3.\xb2 1 2\r\n", "a PROXY protocol line with a malformed IPv4 address"
        )

    def test_port_that_is_none(self) -> None:
        for port in ("00", "01", "65536", "123456", "-1", "+1", "1_0", "a", "", "0x1"):
            for ports in (f"{port} 1", f"1 {port}"):
                line = f"PROXY TCP4 192.0.2.1 192.0.2.2 {ports}\r\n".encode()
                self.assert_refused(line, "a PROXY protocol line with a malformed port")

    def test_cr_or_lf_alone_ends_no_line(self) -> None:
        for end in (b"\n", b"\r", b"\n\n", b"\r\r"):
            parser = ProxyHeaderParser()
            self.assertIsNone(parser.receive_data(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2" + end))
            with self.assertRaisesRegex(BadRequest, "^a PROXY protocol line with a malformed port$"):
                parser.receive_data(b"x\r\n")

    def test_line_has_107_bytes_at_most(self) -> None:
        text = "a PROXY protocol line without CRLF in its first 107 bytes"
        start = b"PROXY UNKNOWN ".ljust(105, b"x")
        self.assert_header(OWN, start + b"\r\n")
        self.assert_refused(start + b"x\r\n", text, 106)
        self.assert_refused(start + b"xx\r\n", text, 106)


class BlockTests(HeaderCase):
    """Section 2.2."""

    def test_tcp_over_ipv4_and_ipv6(self) -> None:
        self.assert_header(IPV4, block(0x21, 0x11, INET))
        self.assert_header(IPV6, block(0x21, 0x21, INET6))

    def test_datagrams_have_the_same_addresses(self) -> None:
        self.assert_header(IPV4, block(0x21, 0x12, INET))
        self.assert_header(IPV6, block(0x21, 0x22, INET6))

    def test_ipv4_in_ipv6_form_is_the_ipv4_address(self) -> None:
        data = block(0x21, 0x21, "00000000000000000000ffffc0000201" + "00" * 15 + "01" + "0001 0002")
        self.assert_header(ProxyHeader(("192.0.2.1", 1), ("::1", 2), False), data)

    def test_local_means_the_connections_own_ends_whatever_follows(self) -> None:
        """ "The receiver must ... discard the protocol block including the family which is ignored"."""
        for family in range(256):
            self.assertEqual(ProxyHeaderParser().receive_data(block(0x20, family, "")), OWN)
        for rest in (INET, "00", "03", "ff" * 300):
            self.assert_header(OWN, block(0x20, 0x11, rest))

    def test_unspecified_means_the_connections_own_ends(self) -> None:
        for family in (0x00, 0x01, 0x02, 0x10, 0x20, 0x30):
            for rest in ("", "00", "03ffff", "ff" * 40):
                self.assert_header(OWN, block(0x21, family, rest))

    def test_unix_sockets_mean_the_connections_own_ends(self) -> None:
        for family in (0x31, 0x32):
            self.assert_header(OWN, block(0x21, family, "2f61" + "00" * 214))

    def test_every_other_family_is_refused(self) -> None:
        valid = {high << 4 | low for high in range(4) for low in range(3)}
        for family in set(range(256)) - valid:
            text = f"PROXY protocol family and transport 0x{family:02x}"
            with self.assertRaisesRegex(BadRequest, f"^{text}$"):
                ProxyHeaderParser().receive_data(block(0x21, family, "00" * 216))

    def test_every_other_version_and_command_is_refused_at_its_byte(self) -> None:
        for command in set(range(256)) - {0x20, 0x21}:
            text = f"PROXY protocol version and command 0x{command:02x}"
            self.assert_refused(block(command, 0x11, INET), text, 12)

    def test_addresses_that_are_cut_are_refused(self) -> None:
        text = "a PROXY protocol header that is too short for its addresses"
        for family, size in ((0x11, 12), (0x21, 36), (0x31, 216)):
            for length in (0, 1, size - 1):
                self.assert_refused(block(0x21, family, "00" * length), text)

    def test_length_over_the_limit_is_refused_with_its_last_byte(self) -> None:
        self.assert_reads_no_further(OWN, block(0x20, 0x00, "00" * 4080))
        for length in (4081, 65535):
            text = f"a PROXY protocol header of {length + 16} bytes, over 4096"
            self.assert_refused(block(0x21, 0x11, INET, length=length), text, 15)


class ValueTests(HeaderCase):
    """Sections 2.2.1 to 2.2.8: what follows the addresses."""

    def build(self, values: str) -> bytes:
        return block(0x21, 0x11, INET + values)

    def test_unknown_and_empty_values_are_ignored(self) -> None:
        for values in ("040000", "04 0003 aabbcc", "01 0002 6832", "30 0000 ff 0001 00", "05 0003 414243"):
            self.assert_header(IPV4, self.build(values))
        self.assert_header(IPV4, self.build("05 0101" + "41" * 257))
        self.assert_header(IPV6, block(0x21, 0x21, INET6 + "040000"))

    def test_client_that_has_come_over_tls(self) -> None:
        # One byte of flags, four of "verify", then values: the version, "TLSv1.3".
        version = "21 0007 544c5376312e33"
        for flags, is_secure in (("01", True), ("07", True), ("00", False), ("06", False)):
            expected = IPV4._replace(is_secure=is_secure)
            self.assert_header(expected, self.build(f"20 000f {flags} 00000000 {version}"))
        self.assert_header(IPV4._replace(is_secure=True), self.build("20 0005 01 00000001"))
        unix = block(0x21, 0x31, "00" * 216 + "20 0005 01 00000000")
        self.assertEqual(ProxyHeaderParser().receive_data(unix), OWN._replace(is_secure=True))

    def test_value_that_is_cut_is_refused(self) -> None:
        text = "a PROXY protocol header with a truncated value"
        for values in ("04", "0400", "040001", "04 0003 aabb", "04 ffff 00", "20 0004 01000000", "20 0000"):
            self.assert_refused(self.build(values), text)

    # As HAProxy 2.6 has sent it, with its options crc32c and unique-id.
    WITH_CHECKSUM = SIGNATURE + bytes.fromhex(
        "21 11 0019 7f000001 7f000001 ecae 24cd 03 0004 cbab00c6 05 0003 414243"
    )

    def test_checksum_of_haproxy(self) -> None:
        local = "127.0.0.1"
        self.assert_header(ProxyHeader((local, 60590), (local, 9421), False), self.WITH_CHECKSUM)

    def test_any_changed_byte_makes_the_checksum_wrong(self) -> None:
        # Of the signature, the version, the family and the lengths other rules speak first.
        for at in (*range(16, 28), *range(31, 35), *range(38, 41)):
            for bit in range(8):
                changed = bytearray(self.WITH_CHECKSUM)
                changed[at] ^= 1 << bit
                self.assert_checksum_refused(bytes(changed))

    def assert_checksum_refused(self, data: bytes) -> None:
        with self.assertRaisesRegex(BadRequest, "^a PROXY protocol header with a wrong checksum$"):
            ProxyHeaderParser().receive_data(data)

    def test_checksum_of_another_size_and_a_second_one_are_refused(self) -> None:
        for values in ("03 0000", "03 0003 000000", "03 0005 0000000000"):
            self.assert_checksum_refused(self.build(values))
        twice = (
            self.WITH_CHECKSUM[:14] + b"\0\x20" + self.WITH_CHECKSUM[16:] + bytes.fromhex("03 0004 00000000")
        )
        self.assert_checksum_refused(twice)


class HostileTests(unittest.TestCase):
    def test_every_length_is_refused_or_waited_for(self) -> None:
        start = SIGNATURE + b"\x21\x11"
        for length in (*range(4200), *range(4200, 65536, 97), 65535):
            data = start + length.to_bytes(2, "big")
            answer: Any = None
            try:
                parser = ProxyHeaderParser()
                answer = parser.receive_data(data)
                self.assertEqual(parser.missing, length)
            except BadRequest:
                self.assertTrue(length > 4080 or length == 0)
            self.assertIsNone(answer)


if __name__ == "__main__":
    unittest.main()
