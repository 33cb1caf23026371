"""Frames: RFC 6455 5.2, 5.5 and 7.4, its examples of 5.7, and the hostile headers."""

from __future__ import annotations

import enum
import unittest
from typing import Any, Iterator, Optional, Tuple, Type, Union

from wsbridge.protocols import errors, frames
from wsbridge.protocols.errors import ProtocolViolation
from wsbridge.protocols.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    UNKNOWN_LENGTH,
    FrameHeader,
    build_close_payload,
    build_frame,
    find_extended_length,
    is_sendable_close_code,
    parse_close_payload,
    parse_header,
)

from .doubles import use_random

Violation = Type[ProtocolViolation]

# RFC 6455 5.7: "Hello", and the key of its masked examples.
KEY = b"\x37\xfa\x21\x3d"
MASKED_HELLO = b"\x7f\x9f\x4d\x51\x58"

# Whether the peer of each role must mask.
SERVER, CLIENT = True, False


def _pack(number: int) -> bytes:
    return number.to_bytes(2, "big")


class HeaderTestCase(unittest.TestCase):
    """Every case runs on all that is shorter, whole, with bytes behind it, and with bytes before it."""

    def assert_incomplete(self, wire: str, **options: Any) -> None:
        data = bytes.fromhex(wire)
        for end in range(len(data)):
            self.assertIsNone(parse_header(data[:end], 0, **options))
            self.assertIsNone(parse_header(b"\xff\xff\xff" + data[:end], 3, **options))

    def assert_header(
        self, wire: str, first: int, length: int, key: Optional[bytes] = None, **options: Any
    ) -> None:
        """``wire`` is a whole header, and nothing less is one."""
        self.assert_incomplete(wire, masked=key is not None, **options)
        data = bytes.fromhex(wire)
        for before in (b"", b"\xff\xff\xff"):
            for behind in (b"", b"\x00", b"\xff" * 20):
                header = parse_header(before + data + behind, len(before), masked=key is not None, **options)
                self.assertEqual(header, FrameHeader(first, length, key, len(before + data)))

    def assert_fails(self, violation: Violation, wire: str, **options: Any) -> ProtocolViolation:
        """``wire`` is refused at its last byte, whatever follows."""
        self.assert_incomplete(wire, **options)
        data = bytes.fromhex(wire)
        for before in (b"", b"\xff\xff\xff"):
            for behind in (b"", b"\x00", b"\xff" * 20):
                with self.assertRaises(violation) as caught:
                    parse_header(before + data + behind, len(before), **options)
                self.assertIs(type(caught.exception), violation)
        return caught.exception


class HeaderTests(HeaderTestCase):
    def test_examples_of_rfc_6455_5_7(self) -> None:
        self.assert_header("81 05", 0x81, 5)
        self.assert_header("81 85 37fa213d", 0x81, 5, KEY)
        self.assert_header("01 03", 0x01, 3)
        self.assert_header("80 02", 0x80, 2)
        self.assert_header("89 05", 0x89, 5)
        self.assert_header("8a 85 37fa213d", 0x8A, 5, KEY)
        self.assert_header("82 7e 0100", 0x82, 256)
        self.assert_header("82 7f 0000000000010000", 0x82, 65536)

    def test_lengths_at_the_ends_of_their_three_forms(self) -> None:
        self.assert_header("82 00", 0x82, 0)
        self.assert_header("82 7d", 0x82, 125)
        self.assert_header("82 7e 007e", 0x82, 126)
        self.assert_header("82 7e ffff", 0x82, 65535)
        self.assert_header("82 7f 0000000000010000", 0x82, 65536)
        self.assert_header("82 7f 7fffffffffffffff", 0x82, 2**63 - 1)

    def test_masked_lengths_at_the_ends_of_their_three_forms(self) -> None:
        self.assert_header("82 80 01020304", 0x82, 0, b"\x01\x02\x03\x04")
        self.assert_header("82 fd 00000000", 0x82, 125, b"\0\0\0\0")
        self.assert_header("82 fe 007e 01020304", 0x82, 126, b"\x01\x02\x03\x04")
        self.assert_header("82 fe ffff ffffffff", 0x82, 65535, b"\xff\xff\xff\xff")
        self.assert_header("82 ff 0000000000010000 01020304", 0x82, 65536, b"\x01\x02\x03\x04")

    def test_control_frame_of_125_bytes(self) -> None:
        self.assert_header("89 7d", 0x89, 125)
        self.assert_header("88 fd 37fa213d", 0x88, 125, KEY)

    def test_control_frames_are_not_held_to_the_limit_of_messages(self) -> None:
        self.assert_header("89 7d", 0x89, 125, max_length=1)
        self.assert_header("88 7d", 0x88, 125, max_length=0)

    def test_rsv1_where_it_was_negotiated(self) -> None:
        self.assert_header("c1 00", 0xC1, 0, rsv1_allowed=True)
        self.assert_header("42 00", 0x42, 0, rsv1_allowed=True)

    def test_without_options_a_client_is_read_and_every_length_allowed(self) -> None:
        options = {"masked": True, "rsv1_allowed": False, "max_length": 0x7FFFFFFFFFFFFFFF}
        self.assertEqual(parse_header.__kwdefaults__, options)

    def test_length_at_the_limit(self) -> None:
        self.assert_header("82 05", 0x82, 5, max_length=5)
        self.assert_header("82 7e 0100", 0x82, 256, max_length=256)


class HostileHeaderTests(HeaderTestCase):
    def test_top_bit_of_the_64_bit_length(self) -> None:
        self.assert_fails(errors.LengthOverflow, "82 ff 8000000000000000")
        self.assert_fails(errors.LengthOverflow, "82 7f ffffffffffffffff", masked=False)

    def test_length_over_the_limit_fails_from_the_header_alone(self) -> None:
        self.assert_fails(errors.MessageTooBig, "82 ff 7fffffffffffffff", max_length=16 * 1024 * 1024)
        self.assert_fails(errors.MessageTooBig, "82 fe 0100", max_length=255)
        self.assert_fails(errors.MessageTooBig, "82 86", max_length=5)
        self.assert_fails(errors.MessageTooBig, "00 06", max_length=5, masked=False)

    def test_lengths_not_in_their_shortest_form(self) -> None:
        self.assert_fails(errors.LengthNotMinimal, "82 fe 0001")
        self.assert_fails(errors.LengthNotMinimal, "82 fe 007d")
        self.assert_fails(errors.LengthNotMinimal, "82 ff 000000000000007d")
        self.assert_fails(errors.LengthNotMinimal, "82 ff 000000000000ffff")
        self.assert_fails(errors.LengthNotMinimal, "82 7f 0000000000000000", masked=False)

    def test_every_16_bit_length(self) -> None:
        for length in range(126):
            self.assert_fails(errors.LengthNotMinimal, f"82 7e {length:04x}", masked=False)
        headers = [parse_header(b"\x82\x7e" + _pack(length), 0, masked=False) for length in range(126, 65536)]
        self.assertEqual(headers, [(0x82, length, None, 4) for length in range(126, 65536)])

    def test_unknown_opcodes(self) -> None:
        for opcode in "34567bcdef":
            failure = self.assert_fails(errors.UnknownOpcode, f"8{opcode} 80")
            self.assertEqual(str(failure), f"unknown opcode {int(opcode, 16)}")

    def test_rsv2_and_rsv3(self) -> None:
        for deflate in (False, True):
            self.assert_fails(errors.ReservedBitsSet, "a1 80", rsv1_allowed=deflate)
            self.assert_fails(errors.ReservedBitsSet, "91 80", rsv1_allowed=deflate)
            self.assert_fails(errors.ReservedBitsSet, "f1 80", rsv1_allowed=deflate)

    def test_rsv1_not_negotiated(self) -> None:
        failure = self.assert_fails(errors.ReservedBitsSet, "c1 80")
        self.assertEqual(str(failure), "reserved bits 100 set without a meaning")

    def test_rsv1_on_a_continuation(self) -> None:
        self.assert_fails(errors.ReservedBitsSet, "40 80", rsv1_allowed=True)
        self.assert_fails(errors.ReservedBitsSet, "c0 80", rsv1_allowed=True)

    def test_rsv1_on_a_control_frame(self) -> None:
        for opcode in "89a":
            self.assert_fails(errors.ReservedBitsSet, f"c{opcode} 80", rsv1_allowed=True)

    def test_unmasked_from_a_client(self) -> None:
        failure = self.assert_fails(errors.WrongMasking, "81 01")
        self.assertEqual(str(failure), "unmasked frame from a client")

    def test_masked_from_a_server(self) -> None:
        failure = self.assert_fails(errors.WrongMasking, "81 81", masked=False)
        self.assertEqual(str(failure), "masked frame from a server")

    def test_control_frame_with_length_126(self) -> None:
        for opcode, number in (("8", 8), ("9", 9), ("a", 10)):
            failure = self.assert_fails(errors.ControlFrameTooLong, f"8{opcode} fe")
            self.assertEqual(str(failure), f"control frame of over 125 bytes, opcode {number}")
            self.assert_fails(errors.ControlFrameTooLong, f"8{opcode} ff")

    def test_control_frame_without_fin(self) -> None:
        for opcode in "89a":
            self.assert_fails(errors.ControlFrameFragmented, f"0{opcode} 80")


def first_byte_violations(first: int, deflate: bool) -> Iterator[Violation]:
    """RFC 6455 5.2 and 5.5, RFC 7692 6, rule by rule."""
    fin, rsv1, rsv2, rsv3, opcode = first & 128, first & 64, first & 32, first & 16, first % 16
    if 3 <= opcode <= 7 or 11 <= opcode <= 15:
        yield errors.UnknownOpcode
    if rsv2 or rsv3:
        yield errors.ReservedBitsSet
    if rsv1 and not deflate:
        yield errors.ReservedBitsSet
    if rsv1 and opcode not in (1, 2):
        yield errors.ReservedBitsSet
    if opcode in (8, 9, 10) and not fin:
        yield errors.ControlFrameFragmented


def second_byte_violations(first: int, second: int, masked: bool) -> Iterator[Violation]:
    """RFC 6455 5.1 and 5.5, rule by rule."""
    if masked and second < 128:
        yield errors.WrongMasking
    if not masked and second >= 128:
        yield errors.WrongMasking
    if first % 16 in (8, 9, 10) and second % 128 in (126, 127):
        yield errors.ControlFrameTooLong


def parse(data: bytes, masked: bool, deflate: bool) -> Union[FrameHeader, Violation, None]:
    try:
        return parse_header(data, 0, masked=masked, rsv1_allowed=deflate)
    except ProtocolViolation as violation:
        return type(violation)


class ExtendedLengthTests(unittest.TestCase):
    def assert_found(self, wire: str, length: int) -> None:
        """In a frame that begins a stream, and in one that stands in it."""
        data = bytes.fromhex(wire)
        for before in (b"", b"\x8a\x00"):
            found = find_extended_length(before + data, len(before), data[1] & 0x7F)
            self.assertEqual(found, length)

    def test_lengths_at_the_ends_of_their_forms(self) -> None:
        self.assert_found("82 fe 007e", 126)
        self.assert_found("82 7e ffff", 65535)
        self.assert_found("82 ff 0000000000010000", 65536)
        self.assert_found("82 7f 7fffffffffffffff", 0x7FFFFFFFFFFFFFFF)

    def test_what_lies_behind_is_left_alone(self) -> None:
        self.assert_found("82 fe 0080 ffffffff", 128)
        self.assert_found("82 ff 0000000000010001 ffffffff", 65537)

    def test_lengths_not_in_their_shortest_form(self) -> None:
        self.assert_found("82 fe 007d", UNKNOWN_LENGTH)
        self.assert_found("82 fe 0000", UNKNOWN_LENGTH)
        self.assert_found("82 ff 000000000000ffff", UNKNOWN_LENGTH)
        self.assert_found("82 ff 000000000000007e", UNKNOWN_LENGTH)

    def test_unknown_length_is_longer_than_any_payload(self) -> None:
        # RFC 6455 5.2: of the 64 bits the most significant one MUST be 0.
        self.assertEqual(UNKNOWN_LENGTH, 0x7FFFFFFFFFFFFFFF + 1)

    def test_incomplete_lengths(self) -> None:
        for wire in ("82 fe", "82 fe 01", "82 ff", "82 ff 0100", "82 ff 01000000000000"):
            self.assert_found(wire, UNKNOWN_LENGTH)

    def test_other_lengths(self) -> None:
        """With the wrong mask bit it is 128 or more."""
        for length in (0, 125, 128, 254, 255):
            self.assertEqual(
                find_extended_length(bytes.fromhex("82 fe 0100 000000000100"), 0, length), UNKNOWN_LENGTH
            )


class ExhaustiveTests(unittest.TestCase):
    """All 65,536 first two bytes, in both roles, with and without permessage-deflate."""

    def assert_every_header_follows_the_rules(self, masked: bool, deflate: bool) -> None:
        for first in range(256):
            wrong_at_first = set(first_byte_violations(first, deflate))
            for second in range(256):
                wrong = wrong_at_first or set(second_byte_violations(first, second, masked))
                # Whole are only the headers without a key and without an extended length.
                whole = FrameHeader(first, second, None, 2) if second < 126 and not masked else None
                outcome = parse(bytes((first, second)), masked, deflate)
                if outcome not in wrong if wrong else outcome != whole:
                    self.fail(f"{first:02x} {second:02x}: {outcome}, not {wrong or whole}")

    def test_server_without_deflate(self) -> None:
        self.assert_every_header_follows_the_rules(SERVER, False)

    def test_server_with_deflate(self) -> None:
        self.assert_every_header_follows_the_rules(SERVER, True)

    def test_client_without_deflate(self) -> None:
        self.assert_every_header_follows_the_rules(CLIENT, False)

    def test_client_with_deflate(self) -> None:
        self.assert_every_header_follows_the_rules(CLIENT, True)


def refuse_random(size: int) -> bytes:
    raise AssertionError("random bytes are asked for")


class BuildFrameTests(unittest.TestCase):
    def assert_built(self, wire: str, opcode: int, payload: bytes, **options: bool) -> None:
        use_random(self, refuse_random)
        self.assertEqual(build_frame(opcode, payload, **options), bytes.fromhex(wire) + payload)

    def assert_built_masked(self, header: str, opcode: int, payload: bytes, masked: bytes) -> None:
        use_random(self, {4: KEY}.__getitem__)
        frame = build_frame(opcode, payload, mask=True)
        self.assertIs(type(frame), bytes)
        self.assertEqual(frame, bytes.fromhex(header) + KEY + masked)

    def test_unmasked_examples_of_rfc_6455_5_7(self) -> None:
        self.assert_built("81 05", TEXT, b"Hello")
        self.assert_built("01 03", TEXT, b"Hel", fin=False)
        self.assert_built("00 01", CONTINUATION, b"l", fin=False)
        self.assert_built("80 02", CONTINUATION, b"lo")
        self.assert_built("89 05", PING, b"Hello")
        self.assert_built("82 7e 0100", BINARY, b"\xab" * 256)
        self.assert_built("82 7f 0000000000010000", BINARY, b"\xab" * 65536)

    def test_masked_examples_of_rfc_6455_5_7(self) -> None:
        self.assert_built_masked("81 85", TEXT, b"Hello", MASKED_HELLO)
        self.assert_built_masked("8a 85", PONG, b"Hello", MASKED_HELLO)

    def test_example_of_rfc_7692_7_2_3_1(self) -> None:
        self.assert_built("c1 07", TEXT, bytes.fromhex("f248cdc9c90700"), rsv1=True)
        self.assert_built("41 03", TEXT, bytes.fromhex("f248cd"), rsv1=True, fin=False)

    def test_lengths_use_their_shortest_form(self) -> None:
        self.assert_built("82 00", BINARY, b"")
        self.assert_built("82 7d", BINARY, bytes(125))
        self.assert_built("82 7e 007e", BINARY, bytes(126))
        self.assert_built("82 7e ffff", BINARY, bytes(65535))
        self.assert_built("82 7f 0000000000010000", BINARY, bytes(65536))
        self.assert_built("82 7f 0000000000010001", BINARY, bytes(65537))

    def test_masked_lengths_use_their_shortest_form(self) -> None:
        for header, size in (("82 80", 0), ("82 fe 0080", 128), ("82 ff 0000000000010000", 65536)):
            self.assert_built_masked(header, BINARY, bytes(size), KEY * (size // 4))

    def test_a_key_is_used_once(self) -> None:
        self.assertNotEqual(build_frame(TEXT, bytes(64), mask=True), build_frame(TEXT, bytes(64), mask=True))

    def test_small_headers_are_the_first_two_bytes_of_whole_messages(self) -> None:
        self.assertEqual(set(frames.SMALL_HEADERS), {0x81, 0x82, 0xC1, 0xC2})
        for first, headers in frames.SMALL_HEADERS.items():
            self.assertEqual(headers, [bytes([first, length]) for length in range(126)])


def may_be_sent(code: int) -> bool:
    """RFC 6455 7.4.1 and 7.4.2, code by code, with the IANA registry's 1012 to 1014."""
    if code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014):
        return True
    registered, private = 3000 <= code < 4000, 4000 <= code < 5000
    return registered or private


class CloseCodeTests(unittest.TestCase):
    def test_every_close_code_is_sendable_or_not(self) -> None:
        for code in range(65536):
            if is_sendable_close_code(code) is not may_be_sent(code):
                self.fail(f"close code {code}")

    def test_every_close_code_received_is_taken_or_refused(self) -> None:
        for code in range(65536):
            try:
                taken = parse_close_payload(_pack(code) + b"why") == (code, "why")
            except errors.InvalidCloseCode:
                taken = False
            if taken is not may_be_sent(code):
                self.fail(f"close code {code} taken: {taken}")

    def test_every_close_code_to_send_is_taken_or_refused(self) -> None:
        for code in range(65536):
            try:
                taken = build_close_payload(code, "") == _pack(code)
            except errors.EventError:
                taken = False
            if taken is not may_be_sent(code):
                self.fail(f"close code {code} taken: {taken}")


class ClosePayloadTests(unittest.TestCase):
    def assert_both_ways(self, payload: bytes, code: int, reason: str) -> None:
        self.assertEqual(parse_close_payload(payload), (code, reason))
        self.assertEqual(build_close_payload(code, reason), payload)

    def assert_fails(self, violation: Violation, payload: bytes) -> None:
        with self.assertRaises(violation):
            parse_close_payload(payload)

    def assert_refused(self, text: str, code: Any, reason: Any) -> None:
        with self.assertRaises(errors.EventError) as caught:
            build_close_payload(code, reason)
        self.assertEqual(str(caught.exception), text)

    def test_code_and_reason(self) -> None:
        self.assert_both_ways(b"\x03\xe8", 1000, "")
        self.assert_both_ways(b"\x03\xe9bye", 1001, "bye")
        self.assert_both_ways(b"\x13\x87\xe2\x82\xac", 4999, "\u20ac")

    def test_no_payload_is_1005(self) -> None:
        self.assertEqual(parse_close_payload(b""), (1005, ""))

    def test_payload_of_one_byte_is_refused(self) -> None:
        for byte in range(256):
            self.assert_fails(errors.ClosePayloadTruncated, bytes([byte]))

    def test_reason_that_is_not_utf_8_is_refused(self) -> None:
        for reason in (b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"ok\xe2\x82"):
            self.assert_fails(errors.InvalidUTF8, b"\x03\xe8" + reason)

    def test_invalid_code_is_named_before_an_invalid_reason(self) -> None:
        self.assert_fails(errors.InvalidCloseCode, b"\x03\xec\xff")

    def test_longest_reason(self) -> None:
        self.assert_both_ways(b"\x03\xe8" + b"r" * 123, 1000, "r" * 123)
        self.assert_both_ways(b"\x03\xe8" + b"\xe2\x82\xac" * 41, 1000, "\u20ac" * 41)

    def test_reason_over_123_bytes_of_utf_8_is_refused_to_the_application(self) -> None:
        self.assert_refused("close reason is 124 bytes of UTF-8; at most 123 fit", 1000, "r" * 124)
        self.assert_refused("close reason is 126 bytes of UTF-8; at most 123 fit", 1000, "\u20ac" * 42)

    def test_reason_that_is_no_text_is_refused_to_the_application(self) -> None:
        self.assert_refused("close reason must be str, not bytes", 1000, b"bye")
        self.assert_refused("close reason must be str, not NoneType", 1000, None)
        self.assert_refused("close reason has a lone surrogate, which UTF-8 cannot carry", 1000, "\ud800")

    def test_code_that_cannot_be_sent_is_refused_to_the_application(self) -> None:
        for code in (1005, 1006, 1015, 0, -1, 70000, None, "1000", 1000.0, True):
            text = f"close code {code!r} cannot be sent: use 1000-1003, 1007-1014 or 3000-4999"
            self.assert_refused(text, code, "")

    def test_code_of_an_enumeration_is_a_code(self) -> None:
        away = enum.IntEnum("Code", {"GOING_AWAY": 1001}).GOING_AWAY  # type: ignore[attr-defined]
        self.assertEqual(build_close_payload(away, "bye"), b"\x03\xe9bye")


class NumberTests(unittest.TestCase):
    def test_close_codes_of_rfc_6455_7_4_1_and_the_registry(self) -> None:
        self.assertEqual(frames.NORMAL_CLOSURE, 1000)
        self.assertEqual((frames.NO_STATUS_RECEIVED, frames.ABNORMAL_CLOSURE), (1005, 1006))
        self.assertEqual((frames.INTERNAL_ERROR, frames.SERVICE_RESTART), (1011, 1012))

    def test_opcodes_of_rfc_6455_5_2(self) -> None:
        opcodes: Tuple[int, ...] = (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)
        self.assertEqual(opcodes, (0, 1, 2, 8, 9, 10))


if __name__ == "__main__":
    unittest.main()
