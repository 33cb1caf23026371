"""What `WSProtocol` makes of frames: what the tests of npm's ``ws`` ask of a receiver, case by case.

Wire bytes are hex, ``41*200`` is a word 200 times; they are written from RFC 6455 and RFC 7692. What a client
sends is masked with the key of RFC 6455 5.7, 37fa213d. Cases that need no name of their own, and every place
at which a stream can be cut, are in test_corpus.py.
"""

from __future__ import annotations

import unittest
from typing import Any, Dict, Iterator, List, Tuple, Union

from wsbridge.protocols.events import WebSocketDataReceived, WebSocketDisconnected
from wsbridge.protocols.ws import Event, WSProtocol

from .doubles import use_random
from .test_corpus import parse_wire
from .test_deflate import measured_memory

CLIENT: Dict[str, Any] = {"client": True}
DEFLATE: Dict[str, Any] = {"enable_compression": True, "peer_extensions": [b"permessage-deflate"]}
DEFLATE_CLIENT: Dict[str, Any] = {**CLIENT, **DEFLATE}

# A message of one byte, ".", to a server and to a client: what may stand behind any other.
BEHIND = {False: bytes.fromhex("81 81 37fa213d 19"), True: bytes.fromhex("81 01 2e")}

KIB = 1024


def cut(data: bytes) -> Iterator[List[bytes]]:
    """Whole, and byte by byte; what is longer than 4 KiB in pieces of 997 bytes."""
    yield [data]
    size = 1 if len(data) <= 4 * KIB else 997
    yield [data[start : start + size] for start in range(0, len(data), size)]


class ReceiverTestCase(unittest.TestCase):
    """Each case is received whole and in pieces, alone and with more behind it."""

    def setUp(self) -> None:
        # What a client sends is masked with four zeros.
        use_random(self)

    def receive(self, protocol: WSProtocol, pieces: List[bytes]) -> Tuple[List[Event], bytes]:
        outcomes = [protocol.receive_data(piece) for piece in pieces]
        return [event for events, _ in outcomes for event in events], b"".join(sent for _, sent in outcomes)

    def assert_receives(
        self, wire: str, *messages: Union[str, bytes], answer: str = "", **options: Any
    ) -> None:
        """These messages and nothing else; the connection goes on."""
        expected = [WebSocketDataReceived(message) for message in messages]
        behind = BEHIND[options.get("client", False)]
        for *first, last in cut(parse_wire(wire)):
            for size in (0, 3, len(behind)):
                protocol = WSProtocol(**options)
                events, sent = self.receive(protocol, [*first, last + behind[:size], behind[size:]])
                self.assertEqual(events, [*expected, WebSocketDataReceived(".")])
                self.assertEqual(sent, parse_wire(answer))
                self.assertTrue(protocol.is_receiving)

    def assert_ends(
        self, wire: str, code: int, messages: Tuple[Union[str, bytes], ...], options: Dict[str, Any]
    ) -> Iterator[Tuple[str, bytes]]:
        """The last byte, and none before it, ends the connection; yield the reason and what was sent."""
        expected = [WebSocketDataReceived(message) for message in messages]
        for *first, last in cut(parse_wire(wire)):
            for behind in (b"", BEHIND[options.get("client", False)], b"\xff" * 20):
                protocol = WSProtocol(**options)
                early, early_sent = self.receive(protocol, first)
                self.assertTrue(protocol.is_receiving)
                late, late_sent = self.receive(protocol, [last + behind, behind])
                *received, end = early + late
                self.assertEqual(received, expected)
                self.assertIsInstance(end, WebSocketDisconnected)
                self.assertEqual(end.code, code)  # type: ignore[union-attr]
                self.assertFalse(protocol.is_receiving)
                yield end.reason, early_sent + late_sent  # type: ignore[union-attr]

    def assert_closes(
        self, code: int, reason: str, wire: str, *messages: Union[str, bytes], echo: str, **options: Any
    ) -> None:
        for outcome in self.assert_ends(wire, code, messages, options):
            self.assertEqual(outcome, (reason, parse_wire(echo)))

    def assert_fails(self, code: int, wire: str, *messages: Union[str, bytes], **options: Any) -> None:
        """A CLOSE of this code is sent, with the reason that is told above."""
        mask_bit, key = (0x80, b"\0\0\0\0") if options.get("client") else (0, b"")
        for reason, sent in self.assert_ends(wire, code, messages, options):
            payload = code.to_bytes(2, "big") + reason.encode()
            self.assertEqual(sent, bytes([0x88, mask_bit | len(payload)]) + key + payload)


class MessageTests(ReceiverTestCase):
    def test_text_that_is_not_masked(self) -> None:
        self.assert_receives("81 05 436166c3a9", "Caf\u00e9", **CLIENT)

    def test_text_that_is_masked(self) -> None:
        self.assert_receives("81 85 37fa213d 749b47fe9e", "Caf\u00e9")

    def test_masked_text_over_125_bytes(self) -> None:
        self.assert_receives("81 fe 00c8 37fa213d 76bb607c*50", "A" * 200)

    def test_masked_text_of_64_kib(self) -> None:
        self.assert_receives("81 ff 0000000000010000 37fa213d 76bb607c*16384", "A" * 64 * KIB)

    def test_masked_binary_of_100_bytes_and_of_256(self) -> None:
        self.assert_receives("82 e4 37fa213d c805dec2*25", b"\xff" * 100)
        self.assert_receives("82 fe 0100 37fa213d c805dec2*64", b"\xff" * 256)

    def test_binary_of_200_kib(self) -> None:
        self.assert_receives("82 ff 0000000000032000 37fa213d c805dec2*51200", b"\xff" * 200 * KIB)
        self.assert_receives("82 7f 0000000000032000 ff00*102400", b"\xff\x00" * 100 * KIB, **CLIENT)

    def test_thousands_of_messages_at_once(self) -> None:
        self.assert_receives("8100*200", *[""] * 200, **CLIENT)
        events, _ = WSProtocol(client=True).receive_data(b"\x81\x00" * 20000)
        self.assertTrue(events == [WebSocketDataReceived("")] * 20000)

    def test_messages_and_control_frames_keep_their_order(self) -> None:
        wire = "81 01 31 89 01 32 8a 01 33 82 01 34"
        self.assert_receives(wire, "1", b"4", answer="8a 81 00000000 32", **CLIENT)
        wire = "81 81 37fa213d 06 89 81 37fa213d 05 8a 81 37fa213d 04 82 81 37fa213d 03"
        self.assert_receives(wire, "1", b"4", answer="8a 01 32")

    def test_two_empty_binary_messages(self) -> None:
        self.assert_receives("8200 8200", b"", b"", **CLIENT)


class FragmentTests(ReceiverTestCase):
    def test_text_of_300_bytes_in_two_fragments(self) -> None:
        half = "fe 0096 37fa213d 76bb607c*37 76bb"
        self.assert_receives(f"01 {half} 80 {half}", "A" * 300)
        self.assert_receives("01 7e 0096 41*150 80 7e 0096 41*150", "A" * 300, **CLIENT)

    def test_ping_between_its_fragments(self) -> None:
        half = "fe 0096 37fa213d 76bb607c*37 76bb"
        ping = "89 84 37fa213d 67934f5a"
        self.assert_receives(f"01 {half} {ping} 80 {half}", "A" * 300, answer="8a 04 50696e67")
        self.assert_receives(f"01 {half} 8a 80 37fa213d 80 {half}", "A" * 300)

    def test_fragments_of_any_size_are_joined(self) -> None:
        self.assert_receives(
            "02 7e 1c99 61*7321 00 7e 0089 62*137 00 7f 0000000000045c5b 63*285787 80 03 646464",
            b"a" * 7321 + b"b" * 137 + b"c" * 285787 + b"ddd",
            **CLIENT,
        )
        self.assert_receives(
            "02 11 61*17 00 00 00 7e 26c8 62*9928 80 01 63", b"a" * 17 + b"b" * 9928 + b"c", **CLIENT
        )

    def test_a_frame_may_come_in_any_number_of_pieces(self) -> None:
        protocol = WSProtocol(client=True)
        for piece in (b"\x82\x05", b"a", b"b", b"c", b"d"):
            self.assertEqual(protocol.receive_data(piece), ([], b""))
        self.assertEqual(protocol.receive_data(b"e"), ([WebSocketDataReceived(b"abcde")], b""))

    def test_continuation_without_a_first_frame(self) -> None:
        self.assert_fails(1002, "00 00", **CLIENT)
        self.assert_fails(1002, "80 80 37fa213d")
        self.assert_fails(1002, "81 01 61 00 00", "a", **CLIENT)
        self.assert_fails(1002, "01 00 80 00 80 05", "", **CLIENT)

    def test_text_inside_a_message(self) -> None:
        self.assert_fails(1002, "01 00 01 00", **CLIENT)
        self.assert_fails(1002, "02 81 37fa213d 56 81 80 37fa213d")

    def test_binary_inside_a_message(self) -> None:
        self.assert_fails(1002, "01 00 02 00", **CLIENT)
        self.assert_fails(1002, "01 81 37fa213d 56 82 85 37fa213d")

    def test_compressed_message_inside_a_compressed_one(self) -> None:
        self.assert_fails(1002, "41 03 f248cd c1 07", **DEFLATE_CLIENT)


class ControlFrameTests(ReceiverTestCase):
    def test_ping_is_answered_with_its_payload(self) -> None:
        self.assert_receives("89 84 37fa213d 67934f5a", answer="8a 04 50696e67")
        self.assert_receives("89 00", answer="8a 80 00000000", **CLIENT)

    def test_close_without_a_payload(self) -> None:
        self.assert_closes(1005, "", "88 00", echo="88 80 00000000", **CLIENT)
        self.assert_closes(1005, "", "88 80 37fa213d", echo="88 00")

    def test_close_with_a_code_and_a_reason(self) -> None:
        echo = "88 86 00000000 03e8 444f4e45"
        self.assert_closes(1000, "DONE", "88 06 03e8 444f4e45", echo=echo, **CLIENT)
        self.assert_closes(1000, "DONE", "88 86 37fa213d 3412657279bf", echo="88 06 03e8 444f4e45")

    def test_what_follows_a_close_is_ignored(self) -> None:
        wire, echo = "c1 01 00 88 00", "88 80 00000000"
        self.assert_closes(1005, "", wire, "", echo=echo, **DEFLATE_CLIENT)
        for behind in ("81 00", "88 02 03e8", "89 00", "83 00", "81 80"):
            protocol = WSProtocol(client=True)
            events, sent = protocol.receive_data(bytes.fromhex("88 00" + behind))
            self.assertEqual((events, sent), ([WebSocketDisconnected(1005, "")], parse_wire(echo)))

    def test_control_frame_without_fin(self) -> None:
        for first in ("08", "09", "0a"):
            self.assert_fails(1002, f"{first} 00", **CLIENT)
            self.assert_fails(1002, f"01 80 37fa213d {first} 80")

    def test_control_frame_over_125_bytes(self) -> None:
        for first in ("88", "89", "8a"):
            self.assert_fails(1002, f"{first} 7e", **CLIENT)
            self.assert_fails(1002, f"{first} ff")

    def test_close_with_one_byte(self) -> None:
        self.assert_fails(1002, "88 01 03", **CLIENT)
        self.assert_fails(1002, "88 81 37fa213d 34")

    def test_close_with_a_code_that_may_not_be_sent(self) -> None:
        for code in ("0000", "03e7", "03ec", "03ed", "03ee", "03f7", "0bb7", "1388", "ffff"):
            self.assert_fails(1002, f"88 02 {code}", **CLIENT)
        self.assert_fails(1002, "88 82 37fa213d 37fa")

    def test_close_with_a_reason_that_is_not_utf_8(self) -> None:
        self.assert_fails(1007, "88 06 03ef cebae1bd", **CLIENT)
        self.assert_fails(1007, "88 86 37fa213d 3415ef87d647")
        self.assert_fails(1007, "88 03 03e8 f8", **CLIENT)


class HeaderTests(ReceiverTestCase):
    def test_rsv1_without_permessage_deflate(self) -> None:
        self.assert_fails(1002, "c2 80")
        self.assert_fails(1002, "c1 05", **CLIENT)
        self.assert_fails(1002, "41 00", **CLIENT)

    def test_rsv1_on_a_continuation(self) -> None:
        self.assert_fails(1002, "40 00", **DEFLATE_CLIENT)
        self.assert_fails(1002, "41 00 c0 00", **DEFLATE_CLIENT)
        self.assert_fails(1002, "01 80 37fa213d c0 80", **DEFLATE)

    def test_rsv1_on_a_control_frame(self) -> None:
        for first in ("c8", "c9", "ca"):
            self.assert_fails(1002, f"{first} 00", **DEFLATE_CLIENT)

    def test_rsv2_and_rsv3(self) -> None:
        for first in ("a2", "92", "b1", "21", "10", "a9", "98"):
            self.assert_fails(1002, f"{first} 00", **CLIENT)
            self.assert_fails(1002, f"{first} 80", **DEFLATE)

    def test_reserved_opcodes(self) -> None:
        for opcode in "34567bcdef":
            self.assert_fails(1002, f"8{opcode} 00", **CLIENT)
            self.assert_fails(1002, f"0{opcode} 80")

    def test_client_that_does_not_mask(self) -> None:
        self.assert_fails(1002, "81 02")
        self.assert_fails(1002, "81 81 37fa213d 56 88 00", "a")

    def test_server_that_masks(self) -> None:
        self.assert_fails(1002, "81 82", **CLIENT)
        self.assert_fails(1002, "81 01 61 8a 80", "a", **CLIENT)

    def test_length_that_nothing_could_hold(self) -> None:
        self.assert_fails(1009, "82 7f 0020000000000000", **CLIENT)
        self.assert_fails(1009, "82 ff 7fffffffffffffff")
        self.assert_fails(1002, "82 7f 8000000000000000", **CLIENT)

    def test_length_in_more_bytes_than_it_needs(self) -> None:
        for length in ("7e 0000", "7e 007d", "7f 000000000000007e", "7f 000000000000ffff"):
            self.assert_fails(1002, f"82 {length}", **CLIENT)


class TextTests(ReceiverTestCase):
    """RFC 6455 8.1: the first byte that decides it, or the end of the message."""

    def test_text_in_many_bytes_a_character(self) -> None:
        self.assert_receives("81 8b 37fa213d f940c0808e35a2f38b3494", "\u03ba\u1f79\u03c3\u03bc\u03b5")

    def test_text_that_ends_inside_a_character(self) -> None:
        self.assert_fails(1007, "81 04 cebae1bd", **CLIENT)
        self.assert_fails(1007, "81 84 37fa213d f940c080")
        self.assert_fails(1007, "01 01 c3 80 00", **CLIENT)

    def test_text_with_a_byte_that_begins_nothing(self) -> None:
        self.assert_fails(1007, "81 05 f8", **CLIENT)
        self.assert_fails(1007, "81 7e 1000 6162 80", **CLIENT)
        self.assert_fails(1007, "81 02 6968 01 05 61ff", "ih", **CLIENT)

    def test_compressed_text_that_ends_inside_a_character(self) -> None:
        # RFC 1951 3.2.6: the fixed code; 3.2.4: a stored block.
        self.assert_fails(1007, "c1 06 3ab7ebe15e00", **DEFLATE_CLIENT)
        self.assert_fails(1007, "c1 0a 00 0400 fbff cebae1bd 00", **DEFLATE_CLIENT)

    def test_compressed_text_with_a_byte_that_begins_nothing(self) -> None:
        self.assert_fails(1007, "41 7e 1000 00 0200 fdff 61f8", **DEFLATE_CLIENT)


class CompressedMessageTests(ReceiverTestCase):
    def test_message(self) -> None:
        self.assert_receives("c1 87 37fa213d c5b2ecf4fefd21", "Hello", **DEFLATE)
        self.assert_receives("c2 07 f248cdc9c90700", b"Hello", **DEFLATE_CLIENT)

    def test_message_whose_fragments_were_compressed_one_after_the_other(self) -> None:
        # Each ends with an empty stored block, of which the last loses its 00 00 ff ff.
        self.assert_receives("41 09 4acbcf07000000ffff 80 05 4a4a2c0200", "foobar", **DEFLATE_CLIENT)
        self.assert_receives(
            "42 0d 00 0300 fcff 666f6f 000000ffff 80 09 00 0300 fcff 626172 00", b"foobar", **DEFLATE_CLIENT
        )

    def test_message_that_ends_its_stream_twice_in_a_row(self) -> None:
        # The code of "12345678" with BFINAL, and the empty block behind it.
        self.assert_receives("c1 0b 33343236313533b7000000" * 2, "12345678", "12345678", **DEFLATE_CLIENT)

    def test_what_does_not_inflate(self) -> None:
        self.assert_fails(1007, "c1 01 07", **DEFLATE_CLIENT)
        self.assert_fails(1007, "c1 05 000500fbff", **DEFLATE_CLIENT)
        self.assert_fails(1007, "c1 07 f248cdc9c90700 c1 06 f248cdc9c907", "Hello", **DEFLATE_CLIENT)


class SizeLimitTests(ReceiverTestCase):
    """1009: before any payload where the header says it, at the byte that is too much where zlib does."""

    def test_limit_is_of_each_message_and_not_of_all(self) -> None:
        limit = {**CLIENT, "max_message_size": 10}
        self.assert_receives("81 05 48656c6c6f" * 4, *["Hello"] * 4, **limit)
        self.assert_receives("01 02 4865 80 03 6c6c6f" * 4, *["Hello"] * 4, **limit)
        self.assert_receives(
            "02 02 4865 89 00 80 03 6c6c6f" * 3, *[b"Hello"] * 3, answer="8a80 00000000" * 3, **limit
        )

    def test_frame_over_the_limit(self) -> None:
        limit: Dict[str, Any] = {"max_message_size": 20 * KIB}
        self.assert_fails(1009, "82 ff 0000000000032000", **limit)
        self.assert_fails(1009, "82 fe 5001", **limit)
        self.assert_receives("82 fe 5000 37fa213d c805dec2*5120", b"\xff" * 20 * KIB, **limit)

    def test_fragments_over_the_limit(self) -> None:
        limit = {**CLIENT, "max_message_size": 25}
        self.assert_fails(1009, "01 0f 41*15 80 0b", **limit)
        self.assert_fails(1009, "01 19 41*25 00 00 80 01", **limit)
        self.assert_receives("01 0f 41*15 80 0a 41*10", "A" * 25, **limit)

    def test_message_that_inflates_to_more_than_the_limit(self) -> None:
        limit = {**DEFLATE_CLIENT, "max_message_size": 25}
        self.assert_receives("c1 06 7274c4010000", "A" * 25, **limit)
        # RFC 1951 3.2.4: stored blocks of 26 bytes, and of 25 and one.
        self.assert_fails(1009, "c1 1f 00 1a00 e5ff 41*26", **limit)
        self.assert_fails(1009, "c1 24 00 1900 e6ff 41*25 00 0100 feff 41", **limit)

    def test_fragments_that_inflate_to_more_than_the_limit(self) -> None:
        limit = {**DEFLATE_CLIENT, "max_message_size": 25}
        self.assert_fails(1009, "41 0a 7274440100000000ffff 80 05 4203", **limit)
        self.assert_fails(1009, "41 0a 7274c40100000000ffff 80 06 00 0100 feff 41", **limit)

    def test_70_kib_that_inflate_to_11_mib_are_never_held(self) -> None:
        # RFC 1951 3.2.6: a literal (10001000), and 258 bytes from 1 back (11000101, 00000), again and again.
        bits = "010" + "10001000" + "1100010100000" * 45_000
        bomb = int(bits[::-1], 2).to_bytes((len(bits) + 7) // 8, "little")
        for first in (0xC2, 0x42):
            protocol = WSProtocol(**DEFLATE, max_message_size=64 * KIB)
            with measured_memory() as memory:
                wire = bytes([first, 0xFF]) + len(bomb).to_bytes(8, "big") + b"\0\0\0\0" + bomb
                events, _ = protocol.receive_data(wire)
            self.assertEqual(events, [WebSocketDisconnected(1009, "message over 65536 bytes")])
            self.assertLess(memory.peak, 1024 * KIB)


class FragmentLimitTests(ReceiverTestCase):
    """1008, in the header of the fragment that is too much."""

    def test_fragments_of_one_byte(self) -> None:
        limit = {**CLIENT, "max_fragments": 2}
        self.assert_fails(1008, "02 01 61 00 01 62 00 01", **limit)
        self.assert_fails(1008, "02 01 61 00 01 62 80 01", **limit)
        self.assert_receives("02 01 61 80 01 62" * 3, b"ab", b"ab", b"ab", **limit)

    def test_fragments_of_nothing(self) -> None:
        limit = {**CLIENT, "max_fragments": 2}
        self.assert_fails(1008, "02 00 00 00 00 00", **limit)
        self.assert_receives("02 00 89 00 8a 00 80 00", b"", answer="8a 80 00000000", **limit)

    def test_compressed_fragments(self) -> None:
        limit = {**DEFLATE_CLIENT, "max_fragments": 1}
        self.assert_fails(1008, "41 09 4acbcf07000000ffff 80 05", **limit)
        self.assert_receives("c1 07 f248cdc9c90700", "Hello", **limit)


if __name__ == "__main__":
    unittest.main()
