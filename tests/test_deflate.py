"""The codec of permessage-deflate: the examples of RFC 7692 7.2.3, and hostile messages."""

from __future__ import annotations

import unittest
import zlib
from types import ModuleType
from typing import Any, Iterator, List, Optional, Tuple
from unittest import mock

from wsbridge.protocols import deflate, errors
from wsbridge.protocols.deflate import (
    Agreement,
    CeilingReached,
    Deflater,
    DeflateSettings,
    Inflater,
    PerMessageDeflate,
)
from wsbridge.protocols.frames import BINARY
from wsbridge.protocols.messages import Message, compressed_limit

from .doubles import load_for

tracemalloc: Optional[ModuleType]
try:
    import tracemalloc
except ImportError:
    # PyPy has none: there the tests that measure memory look at the outcome alone.
    tracemalloc = None

TAIL = b"\x00\x00\xff\xff"

build_compressor = zlib.compressobj


def cut(data: bytes) -> Iterator[List[bytes]]:
    """Whole, byte by byte, and in two at every place."""
    yield [data]
    yield [data[index : index + 1] for index in range(len(data))]
    for index in range(1, len(data)):
        yield [data[:index], data[index:]]


def open_inflater(window_bits: int, no_context_takeover: bool, ceiling: int = 1 << 20) -> Inflater:
    inflater = Inflater(window_bits, no_context_takeover)
    inflater.ceiling = ceiling
    return inflater


class InflaterTestCase(unittest.TestCase):
    """Messages one after the other, each whole, byte by byte and cut in two at every place."""

    def assert_inflates(
        self, *messages: Tuple[bytes, str], window_bits: int = 15, no_context_takeover: bool = False
    ) -> None:
        """Pairs of what a message is and what it is on the wire."""
        for pieces in cut(bytes.fromhex(messages[-1][1])):
            inflater = open_inflater(window_bits, no_context_takeover)
            for expected, wire in messages[:-1]:
                self.assertEqual(inflater.inflate(bytes.fromhex(wire)), expected)
                inflater.finish()
            self.assertEqual(b"".join(inflater.inflate(piece) for piece in pieces), messages[-1][0])
            inflater.finish()

    def assert_fails(
        self, wire: str, detail: str, before: str = "", no_context_takeover: bool = False
    ) -> None:
        """The message ``wire`` does not inflate, behind a good one, ``before``."""
        for pieces in cut(bytes.fromhex(wire)):
            inflater = open_inflater(15, no_context_takeover)
            inflater.inflate(bytes.fromhex(before))
            inflater.finish()
            with self.assertRaises(errors.InvalidCompressedData) as caught:
                for piece in pieces:
                    inflater.inflate(piece)
                inflater.finish()
            self.assertIn(detail, str(caught.exception))
            # RFC 6455 5.5: the reason has to fit into a CLOSE.
            self.assertLessEqual(len(str(caught.exception)), 123)


class Whole(bytes):
    """Bytes of which no part is copied."""

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError("a part was copied")


class InflaterTests(InflaterTestCase):
    def test_7_2_3_1_one_compressed_block(self) -> None:
        self.assert_inflates((b"Hello", "f248cdc9c90700"))

    def test_7_2_3_2_sharing_the_window(self) -> None:
        self.assert_inflates((b"Hello", "f248cdc9c90700"), (b"Hello", "f200110000"))

    def test_7_2_3_3_block_with_no_compression(self) -> None:
        self.assert_inflates((b"Hello", "000500faff48656c6c6f00"))

    def test_7_2_3_4_block_with_bfinal(self) -> None:
        self.assert_inflates((b"Hello", "f348cdc9c9070000"))

    def test_7_2_3_5_two_blocks_in_one_message(self) -> None:
        self.assert_inflates((b"Hello", "f248050000 00ffffcac9c90700"))

    def test_7_2_3_6_empty_message(self) -> None:
        self.assert_inflates((b"", "00"))
        self.assert_inflates((b"", "00"), (b"", "00"), (b"Hello", "f248cdc9c90700"))

    def test_empty_message_without_a_single_byte(self) -> None:
        self.assert_inflates((b"", ""), (b"Hello", "f248cdc9c90700"), (b"", ""), (b"Hello", "f200110000"))

    def test_block_with_bfinal_then_an_ordinary_message(self) -> None:
        self.assert_inflates((b"Hello", "f348cdc9c9070000"), (b"Hello", "f248cdc9c90700"))
        self.assert_inflates((b"Hello", "f348cdc9c90700"), (b"Hello", "f248cdc9c90700"))
        self.assert_inflates((b"Hello", "f248cdc9c90700"), (b"Hello", "f348cdc9c9070000"), (b"", "00"))

    def test_empty_block_at_the_end_may_have_bfinal(self) -> None:
        # RFC 7692 7.2.1: its last four bytes are left out, whatever its first bit.
        self.assert_inflates((b"", "01"), (b"Hello", "f248cdc9c90700"), (b"", "01"), (b"", "00"))
        self.assert_inflates((b"Hello", "000500faff48656c6c6f01"), (b"Hello", "f248cdc9c90700"))
        self.assert_inflates((b"", "01"), (b"Hello", "f248cdc9c90700"), no_context_takeover=True)
        self.assert_fails("f200110000", "too far back", "01")

    def test_several_streams_in_one_message(self) -> None:
        self.assert_inflates((b"HelloHello", "f348cdc9c90700 f348cdc9c9070000"))
        self.assert_inflates((b"", "0300 0300 0300"), (b"Hello", "f248cdc9c90700"))

    def test_without_context_takeover_every_message_begins_anew(self) -> None:
        hello = (b"Hello", "f248cdc9c90700")
        self.assert_inflates(hello, hello, hello, no_context_takeover=True)
        self.assert_fails("f200110000", "too far back", "f248cdc9c90700", no_context_takeover=True)

    def test_window_that_was_agreed_on_is_kept(self) -> None:
        # RFC 1951 3.2.4: 600 stored bytes. 3.2.5 and 3.2.6: a match in the fixed code, 3 bytes (0000001)
        # from 600 bytes back (10010 for 513 to 768, and 87 in eight bits, the lowest first).
        stored = bytes.fromhex("00 5802 a7fd") + b"abc" + b"x" * 597
        match = int("01000000011001011101010"[::-1], 2).to_bytes(4, "little")
        for bits in (15, 10):
            inflater = open_inflater(bits, False)
            self.assertEqual(inflater.inflate(stored), b"abc" + b"x" * 597)
            self.assertEqual(inflater.inflate(match), b"abc")
        inflater = open_inflater(9, False)
        inflater.inflate(stored)
        with self.assertRaisesRegex(errors.InvalidCompressedData, "too far back"):
            inflater.inflate(match)

    def test_window_goes_on_through_messages_of_every_size(self) -> None:
        # A match in the fixed code, 3 bytes (0000001) from 512 back (10001 for 385 to 512, and 127 in seven
        # bits), the end of the block (0000000), and the header of the empty one.
        match = int("01000000011000111111110000000000"[::-1], 2).to_bytes(4, "little")
        for sizes in ((512,), (3, 509), (100, 1, 411), (509, 3), (700, 512), (512, 511, 1), (2, 600, 1)):
            inflater = open_inflater(9, False)
            rest = b"y" * (sum(sizes) - 512) + b"abc" + b"x" * 509
            for size in sizes:
                message, rest = rest[:size], rest[size:]
                header = b"\0" + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little")
                self.assertEqual(inflater.inflate(header + message + b"\0"), message)
                inflater.finish()
            self.assertEqual(inflater.inflate(match), b"abc")
            inflater.finish()

    def test_window_goes_on_through_the_pieces_of_a_long_message(self) -> None:
        # RFC 1951 3.2.4: 5,000 stored bytes, of which no more than 4,608 are ever kept. The match as above.
        stored = bytes.fromhex("00 8813 77ec") + b"y" * 4488 + b"abc" + b"x" * 509 + b"\0"
        match = int("01000000011000111111110000000000"[::-1], 2).to_bytes(4, "little")
        for size in (1, 100, 5004, 5006):
            inflater = open_inflater(9, False)
            pieces = [stored[start : start + size] for start in range(0, len(stored), size)]
            self.assertEqual(b"".join(inflater.inflate(piece) for piece in pieces), stored[5:-1])
            inflater.finish()
            self.assertEqual(inflater.inflate(match), b"abc")
            inflater.finish()

    def test_new_stream_has_a_new_window(self) -> None:
        # As above, 600 stored bytes and a match 600 bytes back; the stream ends in a message of its own, with
        # the bytes, behind them, and with the empty block that is left out, whole and but for its first byte.
        data = (b"abc" + b"x" * 597).hex()
        stored, final = "005802a7fd" + data, "015802a7fd" + data
        match = int("01000000011001011101010"[::-1], 2).to_bytes(4, "little")
        for wires in (
            (stored + "00", "0300"),
            (final,),
            (stored + "0300",),
            (stored + "00", "01"),
            (stored + "01",),
        ):
            inflater = open_inflater(15, False)
            for wire in wires:
                inflater.inflate(bytes.fromhex(wire))
                inflater.finish()
            with self.assertRaisesRegex(errors.InvalidCompressedData, "too far back"):
                inflater.inflate(match)

    def test_message_that_is_over_leaves_a_window_and_no_more(self) -> None:
        # RFC 1951 3.2.4: 4,000 stored bytes, which are within the slack of a window of 512.
        wire = bytes.fromhex("00 a00f 5ff0") + bytes(4000) + b"\0"
        inflater = open_inflater(9, False)
        with measured_memory() as memory:
            inflater.inflate(wire)
            inflater.finish()
        self.assertLess(memory.kept, 1024)

    def test_between_messages_only_the_window_is_held(self) -> None:
        compressor = zlib.compressobj(1, zlib.DEFLATED, -12)
        wire = compressor.compress(bytes(range(256)) * 64) + compressor.flush(zlib.Z_SYNC_FLUSH)
        inflater = open_inflater(12, False)
        with measured_memory() as memory:
            inflater.inflate(wire[:-4])
            inflater.finish()
        self.assertLess(memory.kept, 4096 + 1024)

    def test_within_a_message_little_more_than_the_window_is_held(self) -> None:
        compressor = zlib.compressobj(1, zlib.DEFLATED, -9)
        wire = compressor.compress(bytes(1 << 20)) + compressor.flush(zlib.Z_SYNC_FLUSH)
        inflater = open_inflater(9, False)
        with measured_memory() as memory:
            for start in range(0, len(wire), 32):
                inflater.inflate(wire[start : start + 32])
        # zlib's state of 7 KiB is among it, and 4 KiB besides the window.
        self.assertLess(memory.kept, 16 * 1024)

    def test_bytes_are_counted(self) -> None:
        inflater = open_inflater(15, False)
        for wire in ("f248cdc9c90700", "f200110000"):
            inflater.inflate(bytes.fromhex(wire))
            inflater.finish()
        self.assertEqual((inflater.bytes_in, inflater.bytes_out), (12, 10))

    def test_piece_that_is_not_long_is_not_copied(self) -> None:
        # RFC 1951 3.2.4: the beginning of 65,535 stored bytes.
        wire = bytes.fromhex("00 ffff 0000") + bytes(65535)
        for size in (0, 1, deflate.SLICE):
            inflated = open_inflater(15, False).inflate(Whole(wire[:size]))
            self.assertEqual(len(inflated), max(0, size - 5))

    def test_long_pieces(self) -> None:
        self.assertEqual(deflate.SLICE, 16384)
        data = bytes(range(256)) * 1024
        compressor = zlib.compressobj(0, zlib.DEFLATED, -15)
        wire = (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        self.assertGreater(len(wire), 2 * deflate.SLICE)
        for piece in (wire, bytearray(wire)):
            message = Message(BINARY, len(data), 1024, Inflater(15, False))
            self.assertEqual(message.append(piece), 0)
            self.assertEqual(message.finish(), data)


class CeilingTests(unittest.TestCase):
    """Where inflating stops, and goes on."""

    # RFC 7692 7.2.3.1: "Hello".
    HELLO = bytes.fromhex("f248cdc9c90700")

    def inflate(self, wire: bytes, step: int) -> List[bytes]:
        """What comes out of a piece, each time until ``step`` bytes more."""
        inflater, outputs = Inflater(15, False), []
        while wire:
            inflater.ceiling = inflater.bytes_out + step
            try:
                outputs.append(inflater.inflate(wire))
                wire = b""
            except CeilingReached as reached:
                outputs.append(reached.output)
                wire = wire[len(wire) - reached.left :]
                self.assertEqual(inflater.ceiling, inflater.bytes_out)
        inflater.finish()
        return outputs

    def test_one_byte_shows_that_there_is_more(self) -> None:
        self.assertEqual(self.inflate(self.HELLO, 5), [b"Hello"])
        self.assertEqual(self.inflate(self.HELLO, 3), [b"Hell", b"o"])
        self.assertEqual(b"".join(self.inflate(self.HELLO, 0)), b"Hello")

    def test_what_follows_a_block_with_bfinal_is_inflated_once(self) -> None:
        # RFC 1951 3.2.6: a block of fixed codes with BFINAL, d0 6b. RFC 7692 7.2.3.4: the empty block behind
        # it, whose 00 00 ff ff is left out, is of a new stream.
        wire = bytes.fromhex("bb900d0000")
        for step in range(4):
            self.assertEqual(b"".join(self.inflate(wire, step)), b"\xd0k")

    def test_it_is_0_at_first(self) -> None:
        with self.assertRaises(CeilingReached) as caught:
            Inflater(15, False).inflate(self.HELLO)
        self.assertEqual(caught.exception.output, b"H")

    def test_it_counts_over_all_messages(self) -> None:
        inflater = open_inflater(15, False, 7)
        self.assertEqual(inflater.inflate(self.HELLO), b"Hello")
        inflater.finish()
        with self.assertRaises(CeilingReached) as caught:
            inflater.inflate(self.HELLO)
        self.assertEqual(caught.exception.output, b"Hel")
        self.assertEqual(str(caught.exception), f"{caught.exception.left} bytes are not inflated yet")
        self.assertEqual(inflater.bytes_in, 14 - caught.exception.left)

    def test_end_of_a_stream_and_what_follows_it(self) -> None:
        twice = bytes.fromhex("f348cdc9c90700") * 2
        self.assertEqual(self.inflate(twice, 4), [b"Hello", b"Hello"])
        self.assertEqual(b"".join(self.inflate(twice, 1)), b"HelloHello")

    def test_what_zlib_holds_back_is_not_lost(self) -> None:
        # 2,068 zeros, whose last match ends in the last byte.
        wire = bytes.fromhex("ecc101010000008090feafee080a00a006")
        self.assertEqual(self.inflate(wire, 2066), [bytes(2068)])
        for size in (1000, 70_000, 1 << 20):
            compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
            wire = (compressor.compress(bytes(size)) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
            for step in (100, 257, 65536):
                outputs = self.inflate(wire, max(step, size // 1000))
                self.assertEqual(sum(map(len, outputs)), size)
                self.assertLess(max(map(len, outputs)), max(step, size // 1000) + 8192)


class CorruptMessageTests(InflaterTestCase):
    def test_corrupt_data(self) -> None:
        self.assert_fails("07", "invalid block type")
        self.assert_fails("000500fbff", "invalid stored block lengths")
        self.assert_fails("f2001100", "too far back")
        self.assert_fails("fc0000", "too many length or distance symbols")
        self.assert_fails("ffffffff", "invalid block type", "f248cdc9c90700")

    def test_truncated_data(self) -> None:
        for end in range(1, 7):
            self.assert_fails("f248cdc9c90700"[: 2 * end], "", "f248cdc9c90700")
        for end in range(2, 11):
            self.assert_fails("000500faff48656c6c6f00"[: 2 * end], "", "f348cdc9c90700")
        self.assert_fails("f348cdc9c907", "ends inside a block")

    def test_truncated_data_anywhere_in_a_block_with_a_code_of_its_own(self) -> None:
        text = b"the quick brown fox jumps over the lazy dog and runs away from the big bad wolf in the woods"
        compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
        wire = (compressor.compress(text * 2) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        # RFC 1951 3.2.3: BTYPE 10.
        self.assertEqual(wire[0] & 7, 0b100)
        for end in range(1, len(wire)):
            inflater = open_inflater(15, False)
            with self.assertRaises(errors.InvalidCompressedData):
                inflater.inflate(wire[:end])
                inflater.finish()

    def test_window_of_a_stream_that_ended_is_gone(self) -> None:
        for before in ("f348cdc9c90700", "f348cdc9c9070000"):
            self.assert_fails("f200110000", "too far back", before)

    def test_truncated_data_without_context_takeover(self) -> None:
        for end in range(1, 7):
            self.assert_fails("f248cdc9c90700"[: 2 * end], "", no_context_takeover=True)

    def test_tail_that_was_not_left_out(self) -> None:
        self.assert_fails("f248cdc9c90700" + "0000ffff", "inside a block")

    def test_tail_that_ends_the_stream(self) -> None:
        # RFC 1951 3.2.4: a stored block with BFINAL, of which nothing but its four bytes is missing.
        self.assert_fails("01 0400 fbff", "ends inside a block")
        # 3.2.7: a code with BFINAL, of 256 (the end of the block, 0) and no distance; missing are ten zeros,
        # of the lengths of 30 distances and of that end.
        self.assert_fails("05dd010500000000a0ffaf030000", "ends inside a block")


class HostileSizeTests(unittest.TestCase):
    """Messages of a limit of 64 KiB, and what tries to be larger."""

    LIMIT = 65536

    def compress(self, size: int) -> bytes:
        compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
        return (compressor.compress(bytes(size)) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def receive(self, *fragments: bytes) -> object:
        message = Message(BINARY, self.LIMIT, 1024, Inflater(15, False))
        for fragment in fragments:
            message.begin_frame(len(fragment))
            message.append(fragment)
        return message.finish()

    def assert_too_big(self, *fragments: bytes) -> None:
        with self.assertRaisesRegex(errors.MessageTooBig, "^message over 65536 bytes$"):
            self.receive(*fragments)

    def test_message_inflating_to_exactly_the_limit_is_delivered(self) -> None:
        wire = self.compress(self.LIMIT)
        self.assertEqual(self.receive(wire), bytes(self.LIMIT))
        self.assertEqual(self.receive(*[wire[i : i + 1] for i in range(len(wire))]), bytes(self.LIMIT))

    def test_one_byte_more_is_refused(self) -> None:
        wire = self.compress(self.LIMIT + 1)
        self.assert_too_big(wire)
        self.assert_too_big(*[wire[i : i + 1] for i in range(len(wire))])

    def test_every_byte_over_a_small_limit_is_refused(self) -> None:
        # RFC 7692 7.2.3.1: "Hello".
        for limit in range(5):
            message = Message(BINARY, limit, 1024, Inflater(15, False))
            with self.assertRaises(errors.MessageTooBig):
                message.append(bytes.fromhex("f248cdc9c90700"))

    def test_bomb_never_holds_more_than_the_limit(self) -> None:
        bomb = self.compress(16 * 1024 * 1024)
        with measured_memory() as memory:
            self.assert_too_big(bomb)
        # The limit, while zlib enlarges its buffer and joins it, and zlib's own state.
        self.assertLess(memory.peak, 3 * self.LIMIT + 65536)

    def test_bomb_behind_a_fragment_that_inflates_to_exactly_the_limit(self) -> None:
        # With max_length=0 zlib would inflate without limit.
        first, bomb = self.compress(self.LIMIT) + TAIL, self.compress(16 * 1024 * 1024)
        self.assertEqual(self.receive(first, b"\x00"), bytes(self.LIMIT))
        with measured_memory() as memory:
            self.assert_too_big(first, bomb)
        self.assertLess(memory.peak, 4 * self.LIMIT + 65536)

    def test_blocks_without_output_are_counted_on_the_wire(self) -> None:
        block = bytes.fromhex("000000ffff") * 1000
        count = compressed_limit(self.LIMIT) // len(block)
        self.assertEqual(self.receive(*[block] * count, b"\x00"), b"")
        self.assert_too_big(*[block] * (count + 1))

    def test_what_deflate_cannot_make_smaller_is_delivered_up_to_the_limit(self) -> None:
        # RFC 1951 3.2.6: one block in the fixed code (bits 010), in which ff is nine ones, its end
        # (seven zeros), and the header of an empty stored block (three).
        bits = 0b010 | ((1 << 9 * self.LIMIT) - 1) << 3
        wire = bits.to_bytes((3 + 9 * self.LIMIT + 7 + 3 + 7) // 8, "little")
        self.assertEqual(self.receive(wire), b"\xff" * self.LIMIT)

    def test_end_of_a_stream_keeps_nothing(self) -> None:
        compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
        wire = compressor.compress(bytes(self.LIMIT * 16)) + compressor.flush()
        inflater = open_inflater(15, False)
        with measured_memory() as memory:
            inflater.inflate(wire)
            inflater.finish()
        self.assertLess(memory.kept, 4096)

    def test_without_context_takeover_nothing_is_kept_between_messages(self) -> None:
        wire, inflater = self.compress(self.LIMIT), open_inflater(15, True)
        with measured_memory() as memory:
            inflater.inflate(wire)
            inflater.finish()
        self.assertLess(memory.kept, 4096)

    def test_limit_is_of_all_the_streams_of_a_message(self) -> None:
        hello_twice = bytes.fromhex("f348cdc9c90700 f348cdc9c90700")
        for size in (0, 1):
            message = Message(BINARY, 10, 1024, Inflater(15, False))
            message.keep_inflated(bytes(size))
            if not size:
                message.append(hello_twice)
                self.assertEqual(message.finish(), b"HelloHello")
                continue
            with self.assertRaisesRegex(errors.MessageTooBig, "^message over 10 bytes$"):
                message.append(hello_twice)

    def test_streams_that_end_again_and_again(self) -> None:
        inflater = open_inflater(15, False)
        self.assertEqual(inflater.inflate(b"\x03\x00" * 9000), b"")
        inflater.finish()
        self.assertEqual(inflater.inflate(bytes.fromhex("f248cdc9c90700")), b"Hello")


class Memory:
    """What was allocated at most, and what still is; 0 where it cannot be measured."""

    peak = kept = 0


class measured_memory:
    def __enter__(self) -> Memory:
        self.memory = Memory()
        if tracemalloc is not None:
            tracemalloc.start()
        return self.memory

    def __exit__(self, *_: object) -> None:
        if tracemalloc is not None:
            self.memory.kept, self.memory.peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()


class DeflaterTests(unittest.TestCase):
    """What we compress is inflated by zlib itself, as RFC 7692 7.2.2 says."""

    MESSAGES = (b"Hello", b"Hello", b"", b"", b"Hello", bytes(70000), bytes(range(256)) * 300, b"\xff")

    def assert_inflates(self, deflater: Deflater, window_bits: int, fresh: bool) -> None:
        decompressor = zlib.decompressobj(-window_bits)
        for message in self.MESSAGES:
            if fresh:
                decompressor = zlib.decompressobj(-window_bits)
            wire = deflater.deflate(message)
            self.assertNotEqual(wire[-4:], TAIL)
            self.assertEqual(decompressor.decompress(wire + TAIL), message)
            self.assertFalse(decompressor.eof)

    def test_every_window_and_memory_level(self) -> None:
        for bits in range(9, 16):
            for mem_level in (1, 5, 9):
                self.assert_inflates(Deflater(bits, False, 6, mem_level), bits, False)

    def test_every_level(self) -> None:
        for level in range(10):
            self.assert_inflates(Deflater(12, False, level, 5), 12, False)

    def test_without_context_takeover_every_message_stands_alone(self) -> None:
        self.assert_inflates(Deflater(12, True, 6, 5), 12, True)

    def test_without_context_takeover_a_message_is_what_a_new_compressor_makes_of_it(self) -> None:
        for level in range(10):
            deflater = Deflater(9, True, level, 1)
            for message in (b"Hello", b"Hello", b"", b"", bytes(5000), b"Hello" * 500, b"\xff"):
                compressor = zlib.compressobj(level, zlib.DEFLATED, -9, 1)
                wire = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)
                self.assertEqual(deflater.deflate(message) + TAIL, wire)

    def test_context_takeover_makes_the_second_message_smaller(self) -> None:
        deflater = Deflater(15, False, 6, 8)
        first, second = deflater.deflate(b"Hello"), deflater.deflate(b"Hello")
        self.assertLess(len(second), len(first))

    def test_empty_message_is_one_byte_every_time(self) -> None:
        # RFC 7692 7.2.3.6.
        deflater = Deflater(15, False, 6, 8)
        self.assertEqual([deflater.deflate(b"") for _ in range(3)][1:], [b"\x00", b"\x00"])

    def test_bytes_are_counted(self) -> None:
        deflater = Deflater(15, False, 6, 8)
        sizes = [len(deflater.deflate(message)) for message in (b"Hello", b"Hello", b"")]
        self.assertEqual((deflater.bytes_in, deflater.bytes_out), (10, sum(sizes)))


class BrokenCompressor:
    """One that takes a message, and has no memory left to flush it."""

    def __init__(self, *parameters: Any) -> None:
        self.compress = build_compressor(*parameters).compress

    def flush(self, mode: int) -> bytes:
        raise MemoryError


class SharedCompressorTests(unittest.TestCase):
    """Connections without context takeover compress with the same objects of zlib."""

    HELLO = bytes.fromhex("f248cdc9c90700")

    def setUp(self) -> None:
        # A module of its own has nothing to share yet.
        self.module = load_for("cpython", deflate)

    def compress(self, no_context_takeover: bool, bits: int = 12) -> bytes:
        wire: bytes = self.module.Deflater(bits, no_context_takeover, 3, 4).deflate(b"Hello")
        return wire

    def test_connections_with_the_same_parameters_share(self) -> None:
        with mock.patch.object(zlib, "compressobj", wraps=build_compressor) as made:
            self.assertEqual([self.compress(True) for _ in range(3)], [self.HELLO] * 3)
            self.assertEqual(made.call_count, 1)
            self.compress(True, bits=9)
            self.assertEqual(made.call_count, 2)

    def test_connection_with_context_takeover_has_its_own(self) -> None:
        self.compress(True)
        with mock.patch.object(zlib, "compressobj", wraps=build_compressor) as made:
            self.assertEqual([self.compress(False) for _ in range(3)], [self.HELLO] * 3)
            self.assertEqual(made.call_count, 3)

    def test_what_an_error_leaves_in_one_is_in_no_other_message(self) -> None:
        with mock.patch.object(zlib, "compressobj", BrokenCompressor), self.assertRaises(MemoryError):
            self.compress(True)
        self.assertEqual(self.compress(True), self.HELLO)


class Array:
    """An array of one byte; `sizes` has the sizes of those that are made of it."""

    def __init__(self) -> None:
        self.sizes: List[int] = []

    def __call__(self, kind: str, values: List[int]) -> Array:
        return self

    def __mul__(self, size: int) -> None:
        self.sizes.append(size)


class CollectorTests(unittest.TestCase):
    """Where memory is not counted, but collected: PyPy."""

    def told_of(self, is_pypy: bool) -> List[int]:
        """The sizes of the arrays that two compressions and two messages allocate."""
        array = Array()
        with mock.patch("array.array", array):
            module = load_for("pypy" if is_pypy else "cpython", deflate)
        module.Deflater(9, True, 3, 9).deflate(b"Hello")
        wire = module.Deflater(12, False, 3, 5).deflate(b"Hello" * 300)
        inflater = module.Inflater(12, False)
        inflater.ceiling = 4096
        for _ in range(2):
            inflater.inflate(wire)
            inflater.finish()
        return array.sizes

    def test_pypys_collector_is_told_of_every_object_of_zlib(self) -> None:
        # zlib.h and zconf.h: (1 << (windowBits + 2)) + (1 << (memLevel + 9)), and to inflate about 7 KiB, and
        # what there is of a window.
        self.assertEqual(self.told_of(True), [264_192, 32_768, 7168, 8668])

    def test_nobody_else_is(self) -> None:
        self.assertEqual(self.told_of(False), [])

    def test_zlibs_state_is_not_copied(self) -> None:
        # PyPy never frees a copy.
        stream = mock.Mock(wraps=zlib.decompressobj(-12))
        stream.copy.side_effect = AssertionError("copied")
        stream.configure_mock(eof=False, unused_data=b"")
        inflater = open_inflater(12, False)
        with mock.patch.object(zlib, "decompressobj", return_value=stream):
            self.assertEqual(inflater.inflate(bytes.fromhex("f248cdc9c90700")), b"Hello")
        stream.configure_mock(eof=True)
        inflater.finish()


class PerMessageDeflateTests(unittest.TestCase):
    AGREEMENT = Agreement(
        server_no_context_takeover=True,
        client_no_context_takeover=False,
        server_max_window_bits=9,
        client_max_window_bits=15,
    )
    # 600 bytes that a window of 9 bits has forgotten when they come again.
    DATA = bytes(range(256)) + bytes(range(255, -1, -1)) + bytes(88)

    def codecs(self) -> Tuple[PerMessageDeflate, PerMessageDeflate]:
        server = PerMessageDeflate(self.AGREEMENT, DeflateSettings())
        return server, PerMessageDeflate(self.AGREEMENT, DeflateSettings(), client=True)

    def assert_carries(self, sender: PerMessageDeflate, receiver: PerMessageDeflate) -> List[int]:
        sizes = []
        for message in (self.DATA, self.DATA, b"", b"Hello", b"Hello"):
            wire = sender.deflater.deflate(message)
            receiver.inflater.ceiling = 1 << 20
            self.assertEqual(receiver.inflater.inflate(wire), message)
            receiver.inflater.finish()
            sizes.append(len(wire))
        return sizes

    def test_each_role_compresses_as_was_agreed_for_it(self) -> None:
        server, client = self.codecs()
        sizes = self.assert_carries(server, client)
        self.assertEqual((sizes[0], sizes[3]), (sizes[1], sizes[4]))
        sizes = self.assert_carries(client, server)
        self.assertLess(sizes[1], sizes[0] // 10)

    def test_client_window_of_8_bits_is_inflated_with_a_larger_one(self) -> None:
        codec = PerMessageDeflate(Agreement(client_max_window_bits=8), DeflateSettings())
        codec.inflater.ceiling = 1024
        self.assertEqual(codec.inflater.inflate(bytes.fromhex("f248cdc9c90700")), b"Hello")

    def test_client_window_of_9_bits_is_inflated_with_no_larger_one(self) -> None:
        codec = PerMessageDeflate(Agreement(client_max_window_bits=9), DeflateSettings())
        codec.inflater.ceiling = 1024
        # RFC 1951 3.2.4 to 3.2.6: 600 stored bytes, and a match of 3 bytes from 600 back.
        codec.inflater.inflate(bytes.fromhex("00 5802 a7fd") + b"abc" + b"x" * 597)
        with self.assertRaisesRegex(errors.InvalidCompressedData, "too far back"):
            codec.inflater.inflate(bytes.fromhex("02a62b0000"))

    def test_defaults(self) -> None:
        self.assertEqual(DeflateSettings(), (False, False, 12, 12, 3, 4, 0))
        # RFC 7692 7.1: what holds where a response names no parameter.
        self.assertEqual(Agreement(), (False, False, 15, 15))

    def test_settings_are_handed_on(self) -> None:
        settings = DeflateSettings(level=0, threshold=7)
        codec = PerMessageDeflate(Agreement(), settings)
        self.assertEqual(codec.threshold, 7)
        self.assertEqual(codec.deflater.deflate(b"Hello"), bytes.fromhex("000500faff48656c6c6f00"))

    def test_zlib_is_not_touched_before_the_first_message(self) -> None:
        with measured_memory() as memory:
            codecs = self.codecs()
        self.assertEqual(len(codecs), 2)
        # Either of zlib's objects has more than 7 KiB.
        self.assertLess(memory.kept, 4096)


if __name__ == "__main__":
    unittest.main()
