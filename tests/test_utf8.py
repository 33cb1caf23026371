"""All sequences of up to three bytes, all characters, and the bytes that decide that four are none.

The verdict is that of the Unicode Standard's table 3-7, as test_messages has it. The 16,777,216 sequences of
three bytes are covered in three steps, each of them exhaustive:

1. All 65,536 pairs, byte by byte. 39,488 are no beginning of a text: whatever begins with them fails with
   them, because a third byte has not been seen by then.
2. Each of the other 26,048 leaves a message in the same state, attribute by attribute, as the unfinished
   character it ends with does alone. There are 1,268 of these, and "none" is one.
3. Behind each of the 1,268, all 256 bytes.
"""

from __future__ import annotations

import unittest
from itertools import chain, product
from operator import attrgetter
from typing import Any, ClassVar, Container, Dict, Iterable, List, Optional

from wsbridge.protocols.errors import InvalidUTF8
from wsbridge.protocols.events import WebSocketDataReceived, WebSocketDisconnected
from wsbridge.protocols.frames import TEXT
from wsbridge.protocols.messages import DiscardedMessage, Message
from wsbridge.protocols.ws import Event, WSProtocol

from .test_messages import WELL_FORMED

BYTES = [bytes([byte]) for byte in range(256)]
TABLE = [[range(low, high + 1) for low, high in (lead, *followers)] for lead, followers in WELL_FORMED]

# Every unfinished character, none among them, and what may come next.
NEXT: Dict[bytes, Container[int]] = {b"": {byte for row in TABLE for byte in row[0]}}
for row in TABLE:
    for size in range(1, len(row)):
        NEXT.update((bytes(start), row[size]) for start in product(*row[:size]))

# All that a message knows, but for the bytes it keeps until its end.
ATTRIBUTES = {*DiscardedMessage.__slots__, *Message.__slots__} - {"_pieces", "size"}
state_of = attrgetter(*sorted(ATTRIBUTES))


def find_unfinished(data: bytes) -> Optional[bytes]:
    """The unfinished character at the end of ``data``; None if it is no beginning of a text."""
    unfinished = b""
    for byte in data:
        if byte not in NEXT[unfinished]:
            return None
        unfinished += BYTES[byte]
        if unfinished not in NEXT:
            unfinished = b""
    return unfinished


def receive(*pieces: bytes) -> Message:
    message = Message(TEXT, 1024, 1024)
    for piece in pieces:
        message.append(piece)
    return message


def find_state(message: Message, piece: bytes) -> Any:
    """The state after ``piece``, or None if it fails the message."""
    try:
        message.append(piece)
    except InvalidUTF8:
        return None
    return state_of(message)


class SequenceTests(unittest.TestCase):
    """A message fails with the first byte that makes it no text, and not before."""

    states: Dict[bytes, Any]

    @classmethod
    def setUpClass(cls) -> None:
        cls.states = {start: state_of(receive(start)) for start in NEXT}

    def assert_next(self, start: bytes, following: Iterable[int]) -> int:
        """Behind ``start`` each byte does what the table says; how many fail."""
        unfinished = find_unfinished(start) or b""
        before, failed = self.states[unfinished], 0
        message = receive(start)
        for byte in following:
            # One that fails leaves, as a rule, the state as it was.
            if state_of(message) != before:
                message = receive(start)
            outcome = find_state(message, BYTES[byte])
            expected = None
            if byte in NEXT[unfinished]:
                # A character that is complete leaves nothing behind.
                expected = self.states.get(unfinished + BYTES[byte], self.states[b""])
            if outcome != expected:
                self.fail(f"{start.hex()} {byte:02x}: {outcome}, not {expected}")
            failed += outcome is None
        return failed

    def test_1268_beginnings_are_let_stand_before_a_third_byte_and_16384_before_a_fourth(self) -> None:
        sizes = [len(start) for start in self.states]
        self.assertEqual((sizes.count(0) + sizes.count(1) + sizes.count(2), sizes.count(3)), (1268, 16384))

    def test_every_sequence_of_one_byte(self) -> None:
        self.assertEqual(self.assert_next(b"", range(256)), 77)

    def test_every_sequence_of_two_bytes(self) -> None:
        failed = sum(self.assert_next(byte, range(256)) for byte in BYTES if byte[0] in NEXT[b""])
        self.assertEqual(77 * 256 + failed, 39488)

    def test_every_sequence_of_three_bytes(self) -> None:
        for start in [start for start in NEXT if len(start) < 3]:
            self.assert_next(start, range(256))

    def test_sequences_of_four_bytes_at_the_bounds_of_the_last(self) -> None:
        for start in [start for start in NEXT if len(start) == 3]:
            self.assert_next(start, (0x7F, 0x80, 0xBF, 0xC0))

    def test_text_that_ends_inside_a_character_fails_at_its_end(self) -> None:
        for start in NEXT:
            try:
                outcome = receive(start).finish()
            except InvalidUTF8:
                outcome = None
            self.assertEqual(outcome, None if start else "", start)


class FrameTests(unittest.TestCase):
    """Text in one piece: a whole message, which is decoded at once, and the first fragment of one."""

    REFUSED: ClassVar[List[Event]] = [WebSocketDisconnected(1007, "text message is not valid UTF-8")]

    def receive(self, *pieces: bytes) -> List[Event]:
        protocol = WSProtocol(client=True)
        return [event for piece in pieces for event in protocol.receive_data(piece)[0]]

    def assert_refused_if_no_text(self, data: bytes) -> None:
        unfinished = find_unfinished(data)
        message, fragment = (self.receive(bytes((first, len(data))) + data) for first in (0x81, 0x01))
        if (message == self.REFUSED) is not (unfinished != b""):
            self.fail(f"{data.hex()} as a message: {message}")
        if fragment != (self.REFUSED if unfinished is None else []):
            self.fail(f"{data.hex()} as a fragment: {fragment}")

    def test_every_lead_with_every_continuation_and_another(self) -> None:
        for first, second in product(BYTES[0x80:], BYTES[0x80:0xC0]):
            self.assert_refused_if_no_text(first + second + b"\x80")

    def test_last_byte_at_its_bounds(self) -> None:
        for start, last in product([start for start in NEXT if len(start) < 3], (0x7F, 0x80, 0xBF, 0xC0)):
            self.assert_refused_if_no_text(start + BYTES[last])

    def test_every_character(self) -> None:
        # The table has them in the order of their code points.
        data = b"".join(bytes(character) for row in TABLE for character in product(*row))
        text = "".join(map(chr, chain(range(0xD800), range(0xE000, 0x110000))))
        self.assertEqual((len(text), len(data)), (1112064, 4382592))
        frame = bytes.fromhex("81 7f 000000000042df80") + data
        pieces = [frame[start : start + 4099] for start in range(0, len(frame), 4099)]
        for received in ([frame], pieces):
            self.assertTrue(self.receive(*received) == [WebSocketDataReceived(text)])


if __name__ == "__main__":
    unittest.main()
