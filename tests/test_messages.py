"""Fragments become messages: RFC 6455 5.4 and 8.1, the limits of sizes and fragments."""

from __future__ import annotations

import sys
import unittest
from typing import Any, Iterable, List, Optional, Tuple, Union

from tests.doubles import load_for
from wsbridge.protocols import errors, messages
from wsbridge.protocols.deflate import Inflater
from wsbridge.protocols.frames import BINARY, TEXT
from wsbridge.protocols.messages import (
    FREE_SIZE,
    DiscardedMessage,
    Message,
    compressed_limit,
    inflate_message,
    measure,
)

tracemalloc: Any
try:
    import tracemalloc
except ImportError:
    # Not on PyPy.
    tracemalloc = None

# RFC 7692 7.2.3.1: "Hello" in one compressed block.
DEFLATED_HELLO = bytes.fromhex("f248cdc9c90700")


class MessageTestCase(unittest.TestCase):
    def build(self, opcode: int, fragments: Iterable[bytes], limit: int = 1024) -> Union[str, bytes]:
        message = Message(opcode, limit, 1024)
        for fragment in fragments:
            message.begin_frame(len(fragment))
            message.append(fragment)
        return message.finish()

    def assert_message(self, expected: Union[str, bytes], data: bytes) -> None:
        """``data`` is the message: whole, byte by byte, cut anywhere, with empty fragments around."""
        opcode = TEXT if isinstance(expected, str) else BINARY
        pieces = [data[index : index + 1] for index in range(len(data))]
        cuts = [[data[:cut], data[cut:]] for cut in range(1, len(data))]
        for fragments in ([data], pieces, [b"", data, b""], *cuts):
            message = self.build(opcode, fragments)
            self.assertEqual(message, expected)
            self.assertIs(type(message), type(expected))


class JoiningTests(MessageTestCase):
    def test_text(self) -> None:
        self.assert_message("Hello", b"Hello")
        self.assert_message("\u03ba\u1f79\u03c3\u03bc\u03b5", bytes.fromhex("cebae1bdb9cf83cebcceb5"))
        self.assert_message("a\U0001f600\U0010ffff", bytes.fromhex("61f09f9880f48fbfbf"))

    def test_binary_is_not_looked_at(self) -> None:
        self.assert_message(b"\xff\x00\xed\xa0\x80", b"\xff\x00\xed\xa0\x80")

    def test_an_empty_message_is_a_message(self) -> None:
        self.assert_message("", b"")
        self.assert_message(b"", b"")

    def test_pieces_of_one_frame_may_be_mutable(self) -> None:
        message = Message(TEXT, 1024, 1024)
        message.begin_frame(3)
        for piece in (b"\xe2", b"\x82", b"\xac"):
            message.append(bytearray(piece))
        self.assertEqual(message.finish(), "\u20ac")


class GatheringTests(MessageTestCase):
    """What arrives in pieces is gathered in places of 64 KiB and more."""

    def test_pieces_of_every_size_keep_their_order(self) -> None:
        for size in (1, 4097, 65_535, 65_536, 65_537, 300_000):
            data = bytes(range(256)) * 1200
            pieces = [data[start : start + size] for start in range(0, len(data), size)]
            message = Message(BINARY, len(data), 1)
            message.begin_frame(len(data))
            for piece in pieces:
                message.append(piece)
            self.assertEqual(message.finish(), data)

    @unittest.skipIf(tracemalloc is None, "this Python cannot trace its memory")
    def test_single_bytes_take_no_more_space_than_one_piece(self) -> None:
        message = Message(TEXT, 1 << 20, 1)
        message.begin_frame(100_000)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for _ in range(100_000):
            message.append(b"a")
        self.assertLess(tracemalloc.get_traced_memory()[0], 130_000)
        self.assertEqual(message.finish(), "a" * 100_000)

    @unittest.skipIf(tracemalloc is None, "this Python cannot trace its memory")
    def test_a_message_is_held_twice_and_not_three_times_while_it_is_made(self) -> None:
        message = Message(TEXT, 4 << 20, 1)
        message.begin_frame(4 << 20)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for _ in range(32):
            message.append(bytearray(128 * 1024))
        text = message.finish()
        self.assertEqual(len(text), 4 << 20)
        self.assertLess(tracemalloc.get_traced_memory()[1], (8 << 20) + (64 << 10))


class SizeLimitTests(MessageTestCase):
    def assert_too_big(self, message: DiscardedMessage, length: int) -> None:
        with self.assertRaisesRegex(errors.MessageTooBig, "^message over 10 bytes$"):
            message.begin_frame(length)

    def test_message_of_exactly_the_limit(self) -> None:
        self.assertEqual(self.build(BINARY, [bytes(10)], 10), bytes(10))
        self.assertEqual(self.build(BINARY, [bytes(4), bytes(6), b""], 10), bytes(10))

    def test_one_byte_more_is_refused_from_its_header(self) -> None:
        self.assert_too_big(Message(BINARY, 10, 1024), 11)

    def test_one_byte_more_in_a_later_fragment_is_refused_from_its_header(self) -> None:
        message = Message(TEXT, 10, 1024)
        message.begin_frame(4)
        message.begin_frame(6)
        self.assert_too_big(message, 1)

    def test_limit_holds_for_discarded_messages(self) -> None:
        message = DiscardedMessage(10, 1024)
        message.begin_frame(10)
        self.assert_too_big(message, 1)


class FragmentLimitTests(unittest.TestCase):
    def assert_fragments(self, allowed: int, max_fragments: int, first: int, others: int = 0) -> None:
        """A frame of ``first`` bytes, then frames of ``others``: so many are ``allowed``, and no more."""
        for message in (Message(BINARY, 10**6, max_fragments), DiscardedMessage(10**6, max_fragments)):
            message.begin_frame(first)
            for _ in range(allowed - 1):
                message.begin_frame(others)
            with self.assertRaises(errors.TooManyFragments) as caught:
                message.begin_frame(others)
            self.assertEqual(str(caught.exception), f"message in more than {allowed} fragments")

    def test_empty_fragments_end_at_the_limit(self) -> None:
        self.assert_fragments(1024, 1024, 0)
        self.assert_fragments(1, 1, 0)

    def test_every_32_bytes_received_justify_one_more(self) -> None:
        self.assert_fragments(3, 3, 31)
        self.assert_fragments(4, 3, 32)
        self.assert_fragments(4, 3, 63)
        self.assert_fragments(5, 3, 64)

    def test_fragments_of_one_byte_gain_a_32nd_of_themselves(self) -> None:
        # 33 = 32 + 33 // 32: the 34th would be allowed by 64 bytes only.
        self.assert_fragments(33, 32, 1, 1)

    def test_fragments_of_32_bytes_never_end(self) -> None:
        message = Message(BINARY, 10**6, 1)
        for _ in range(10000):
            message.begin_frame(32)
        message.begin_frame(0)


class DiscardedMessageTests(unittest.TestCase):
    def test_nothing_is_kept_of_it(self) -> None:
        message = DiscardedMessage(10, 1024)
        message.begin_frame(2)
        message.append(b"\xff\xff")
        self.assertIsNone(message.finish())

    def test_on_the_wire_it_may_have_a_limit_of_its_own(self) -> None:
        message = DiscardedMessage(10, 1024, 20)
        message.begin_frame(20)
        with self.assertRaisesRegex(errors.MessageTooBig, "^message over 10 bytes$"):
            message.begin_frame(1)


class CompressedMessageTests(unittest.TestCase):
    def message(self, opcode: int, limit: int) -> Message:
        return Message(opcode, limit, 1024, Inflater(15, False))

    def test_message_is_inflated(self) -> None:
        for opcode, expected in ((TEXT, "Hello"), (BINARY, b"Hello")):
            message = self.message(opcode, 5)
            message.begin_frame(3)
            message.append(DEFLATED_HELLO[:3])
            message.begin_frame(4)
            message.append(DEFLATED_HELLO[3:])
            self.assertEqual(message.finish(), expected)

    def test_limit_is_of_the_inflated_bytes(self) -> None:
        message = self.message(TEXT, 4)
        message.begin_frame(7)
        with self.assertRaisesRegex(errors.MessageTooBig, "^message over 4 bytes$"):
            message.append(DEFLATED_HELLO)

    def test_what_earlier_pieces_inflated_to_counts(self) -> None:
        message = self.message(TEXT, 9)
        message.begin_frame(21)
        message.append(DEFLATED_HELLO + b"\0\0\xff\xff")
        with self.assertRaises(errors.MessageTooBig):
            message.append(DEFLATED_HELLO)

    def test_inflated_text_is_validated_as_it_arrives(self) -> None:
        message = self.message(TEXT, 1024)
        message.begin_frame(1000)
        # RFC 1951 3.2.4: a block of two stored bytes, c0 af, and not the last one.
        with self.assertRaises(errors.InvalidUTF8):
            message.append(bytes.fromhex("00 0200 fdff c0af"))

    def test_truncated_message_is_refused(self) -> None:
        message = self.message(TEXT, 1024)
        message.begin_frame(6)
        message.append(DEFLATED_HELLO[:6])
        with self.assertRaises(errors.InvalidCompressedData):
            message.finish()

    def test_wire_bytes_count_too(self) -> None:
        message = self.message(BINARY, 80)
        message.begin_frame(154)
        with self.assertRaisesRegex(errors.MessageTooBig, "^message over 80 bytes$"):
            message.begin_frame(1)

    def test_wire_limit_leaves_room_for_what_deflate_cannot_make_smaller(self) -> None:
        # RFC 1951 3.2.6: a byte from 144 on has 9 bits in the fixed code; 3 bits before, 7 behind, and
        # the 3 bits of an empty stored block.
        for limit in (0, 1, 80, 65536, 16 * 1024 * 1024):
            self.assertGreaterEqual(compressed_limit(limit), (3 + 9 * limit + 7 + 3 + 7) // 8)
            self.assertLess(compressed_limit(limit), limit * 1.2 + 100)


class InflateMessageTests(unittest.TestCase):
    """A whole message in one frame; the same pieces through `Message` end in the same way."""

    # RFC 1951 3.2.4: one stored block each, and the empty one whose 00 00 ff ff is left out on the wire.
    STORED = "00 {:02x}00 {:02x}ff {} 00"

    def inflate(self, opcode: int, wire: bytes) -> Union[str, bytes]:
        def in_pieces() -> Union[str, bytes]:
            message = Message(opcode, 1024, 1024, Inflater(15, False))
            message.append(wire)
            return message.finish()

        def at_once() -> Union[str, bytes]:
            inflater = Inflater(15, False)
            inflater.ceiling = 1024
            return inflate_message(opcode, wire, inflater)

        ends: List[Tuple[str, Union[str, bytes]]] = []
        for decode in (in_pieces, at_once):
            try:
                ends.append(("", decode()))
            except errors.ProtocolViolation as violation:
                ends.append((type(violation).__name__, str(violation)))
        self.assertEqual(*ends)
        error, result = ends[0]
        return error or result

    def inflate_stored(self, opcode: int, content: bytes, cut: int = 0) -> Union[str, bytes]:
        size = len(content)
        wire = bytes.fromhex(self.STORED.format(size, 255 - size, content.hex()))
        return self.inflate(opcode, wire[: len(wire) - cut])

    def test_text_and_binary(self) -> None:
        self.assertEqual(self.inflate(TEXT, DEFLATED_HELLO), "Hello")
        self.assertEqual(self.inflate(BINARY, DEFLATED_HELLO), b"Hello")
        self.assertEqual(self.inflate_stored(TEXT, "\u20ac".encode()), "\u20ac")
        self.assertEqual(self.inflate_stored(BINARY, b"\xff"), b"\xff")

    def test_next_message_shares_the_window(self) -> None:
        inflater = Inflater(15, False)
        inflater.ceiling = 10
        for wire in (DEFLATED_HELLO, bytes.fromhex("f200110000")):
            self.assertEqual(inflate_message(TEXT, wire, inflater), "Hello")

    def test_what_does_not_inflate_is_refused(self) -> None:
        for opcode in (TEXT, BINARY):
            self.assertEqual(self.inflate(opcode, b"\xff" + DEFLATED_HELLO), "InvalidCompressedData")
            self.assertEqual(self.inflate(opcode, DEFLATED_HELLO[:6]), "InvalidCompressedData")

    def test_text_that_is_not_utf_8_is_refused(self) -> None:
        for content in (b"\xc0\xaf", b"\xed\xa0", b"a\xff", b"\xe2\x82"):
            self.assertEqual(self.inflate_stored(TEXT, content), "InvalidUTF8")

    def test_truncated_text_that_is_not_utf_8(self) -> None:
        # A byte decides it, and comes before the truncation; cut inside a character nothing is decided.
        self.assertEqual(self.inflate_stored(TEXT, b"\xc0\xafa", cut=2), "InvalidUTF8")
        self.assertEqual(self.inflate_stored(TEXT, b"\xe2\x82\xac", cut=2), "InvalidCompressedData")


class ReserveTests(unittest.TestCase):
    """What a message asks for, beyond 64 KiB."""

    def setUp(self) -> None:
        self.asked: List[int] = []
        self.answers: List[bool] = []

    def reserve(self, size: int) -> bool:
        self.asked.append(size)
        return not self.answers or self.answers.pop(0)

    def compress(self, size: int) -> bytes:
        # RFC 1951 3.2.4: stored blocks of 65,535 bytes at most, without zlib.
        blocks = [min(65535, size - start) for start in range(0, size, 65535)]
        stored = (
            b"\0" + n.to_bytes(2, "little") + (n ^ 0xFFFF).to_bytes(2, "little") + bytes(n) for n in blocks
        )
        return b"".join(stored) + b"\0"

    def test_plain_message_tells_what_it_has_taken(self) -> None:
        message = Message(BINARY, 1 << 20, 1024)
        self.answers = [False]
        for size in (FREE_SIZE, 1, 1000):
            self.assertEqual(message.append(bytes(size), self.reserve), 0)
        self.assertEqual(self.asked, [FREE_SIZE + 1, FREE_SIZE + 1001])

    def test_compressed_message_asks_for_64_kib_at_a_time(self) -> None:
        message = Message(BINARY, 1 << 20, 1024, Inflater(15, False))
        self.assertEqual(message.append(self.compress(200_000), self.reserve), 0)
        self.assertEqual([asked - step for step, asked in enumerate(self.asked)], [1, 65537, 131073, 196609])
        self.assertEqual(message.finish(), bytes(200_000))

    def test_what_was_not_taken_is_told_and_can_come_again(self) -> None:
        wire = self.compress(200_000)
        for denied in range(4):
            message = Message(BINARY, 1 << 20, 1024, Inflater(15, False))
            self.answers = [True] * denied + [False]
            left = message.append(wire, self.reserve)
            self.assertEqual(message.size, self.asked[-1])
            self.assertGreater(left, 200_000 - message.size)
            self.answers = [False]
            left, before = message.append(wire[-left:], self.reserve), left
            self.assertIn(before - left, range(1, 8))
            self.answers = []
            self.assertEqual(message.append(wire[-left:], self.reserve), 0)
            self.assertEqual(message.finish(), bytes(200_000))

    def test_limit_holds(self) -> None:
        message = Message(BINARY, 100_000, 1024, Inflater(15, False))
        with self.assertRaises(errors.MessageTooBig):
            message.append(self.compress(100_001), self.reserve)
        self.assertEqual(message.size, 100_001)


class MeasureTests(unittest.TestCase):
    def test_wide_texts_take_more(self) -> None:
        narrow, wide = measure(["a" * 1000]), measure(["a" * 1000 + "\U0001f600"])
        self.assertGreaterEqual(narrow, 1000)
        self.assertGreater(wide, 1000 if sys.implementation.name == "pypy" else 4000)
        self.assertGreaterEqual(measure([b"abc", "abc"]), 6)

    def test_pypy_counts_characters(self) -> None:
        self.assertEqual(load_for("pypy", messages).measure(["a\u20ac", b"b"]), 3)


Range = Tuple[int, int]

# The Unicode Standard, table 3-7, "Well-Formed UTF-8 Byte Sequences": lead bytes, and what may follow.
WELL_FORMED: List[Tuple[Range, List[Range]]] = [
    ((0x00, 0x7F), []),
    ((0xC2, 0xDF), [(0x80, 0xBF)]),
    ((0xE0, 0xE0), [(0xA0, 0xBF), (0x80, 0xBF)]),
    ((0xE1, 0xEC), [(0x80, 0xBF), (0x80, 0xBF)]),
    ((0xED, 0xED), [(0x80, 0x9F), (0x80, 0xBF)]),
    ((0xEE, 0xEF), [(0x80, 0xBF), (0x80, 0xBF)]),
    ((0xF0, 0xF0), [(0x90, 0xBF), (0x80, 0xBF), (0x80, 0xBF)]),
    ((0xF1, 0xF3), [(0x80, 0xBF), (0x80, 0xBF), (0x80, 0xBF)]),
    ((0xF4, 0xF4), [(0x80, 0x8F), (0x80, 0xBF), (0x80, 0xBF)]),
]
FOLLOWERS = {byte: followers for (low, high), followers in WELL_FORMED for byte in range(low, high + 1)}


def find_deciding_byte(data: bytes) -> Optional[int]:
    """Where ``data`` stops being the beginning of a text; its length if it is cut short; else None."""
    expected: List[Range] = []
    for index, byte in enumerate(data):
        if expected:
            low, high = expected[0]
            if not low <= byte <= high:
                return index
            expected = expected[1:]
        elif byte in FOLLOWERS:
            expected = FOLLOWERS[byte]
        else:
            return index
    return len(data) if expected else None


def find_failing_piece(pieces: List[bytes]) -> Optional[int]:
    """The piece at which a text fails, their number if its end is what fails, or None."""
    message = Message(TEXT, 1024, 1024)
    for index, piece in enumerate(pieces):
        try:
            message.append(piece)
        except errors.InvalidUTF8:
            return index
    try:
        message.finish()
    except errors.InvalidUTF8:
        return len(pieces)
    return None


class UTF8Tests(unittest.TestCase):
    """Text fails at the first byte that decides it, however it is cut."""

    def assert_each_fails_where_it_is_decided(self, sequences: Iterable[bytes]) -> None:
        for data in sequences:
            deciding = find_deciding_byte(data)
            byte_by_byte = [data[index : index + 1] for index in range(len(data))]
            if find_failing_piece(byte_by_byte) != deciding:
                self.fail(f"{data.hex()} byte by byte: not {deciding}")
            whole = None if deciding is None else int(deciding == len(data))
            if find_failing_piece([data]) != whole:
                self.fail(f"{data.hex()} whole: not {whole}")

    def assert_decided_at(self, index: int, wire: str) -> None:
        data = bytes.fromhex(wire)
        for before in ("", "a", "\u20ac", "\U0001f600"):
            for cut in range(index + 1):
                pieces = [before.encode(), data[:cut], data[cut : index + 1], data[index + 1 :]]
                self.assertEqual(find_failing_piece(pieces), 2, pieces)

    def test_every_sequence_of_one_byte(self) -> None:
        self.assert_each_fails_where_it_is_decided(bytes([byte]) for byte in range(256))

    def test_every_sequence_of_two_bytes(self) -> None:
        self.assert_each_fails_where_it_is_decided(
            bytes((first, second)) for first in range(256) for second in range(256)
        )

    def test_sequences_of_three_bytes(self) -> None:
        # Every lead byte that takes two more, the neighbours of those, and every second byte.
        leads = (0x7F, 0x80, 0xBF, 0xC1, 0xC2, 0xDF, *range(0xE0, 0xF0), 0xF0, 0xF4, 0xF5)
        self.assert_each_fails_where_it_is_decided(
            bytes((first, second, third))
            for first in leads
            for second in range(256)
            for third in (0x00, 0x7F, 0x80, 0xBF, 0xC0, 0xFF)
        )

    def test_sequences_of_four_bytes_at_their_boundaries(self) -> None:
        self.assert_each_fails_where_it_is_decided(
            bytes((first, second, third, fourth))
            for first in (0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5)
            for second in (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF)
            for third in (0x00, 0x7F, 0x80, 0xBF, 0xC0, 0xFF)
            for fourth in (0x00, 0x7F, 0x80, 0xBF, 0xC0, 0xFF)
        )

    def test_surrogate_ed_a0_80_is_decided_by_its_second_byte(self) -> None:
        self.assert_decided_at(1, "ed a0 80")
        self.assert_decided_at(1, "ed bf bf")

    def test_overlong_c0_af_is_decided_by_its_first_byte(self) -> None:
        self.assert_decided_at(0, "c0 af")
        self.assert_decided_at(1, "e0 80 af")
        self.assert_decided_at(1, "f0 80 80 af")

    def test_f4_90_80_80_beyond_the_last_code_point_is_decided_by_its_second_byte(self) -> None:
        self.assert_decided_at(1, "f4 90 80 80")
        self.assert_decided_at(0, "f5 80 80 80")

    def test_long_piece_is_checked_to_its_end(self) -> None:
        self.assertEqual(messages.CHECKED_SLICE, 65536)
        for size in (65535, 65536, 65537, 131072):
            self.assertEqual(find_failing_piece([b"a" * size + b"\xff"]), 0, size)

    def test_text_that_ends_inside_a_character_fails_at_its_end(self) -> None:
        for data in (b"\xc2", b"\xe2\x82", b"\xed\x9f", b"\xf0\x9f\x98", b"ok\xf4\x8f"):
            self.assertEqual(find_failing_piece([data]), 1, data)


if __name__ == "__main__":
    unittest.main()
