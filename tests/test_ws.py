"""`WSProtocol`: every row of its state table, and the hostile input that reaches it.

Frames to a server are written with a masking key of four zeros, so that the
payload can be read; the RFC's own examples have their own. Frames from a
client are built under the same key.
"""

from __future__ import annotations

import unittest
import zlib
from types import ModuleType
from typing import Any, ClassVar, Dict, Iterable, Iterator, List, Optional, Tuple, Union

from wsbridge.protocols import errors
from wsbridge.protocols.deflate import DeflateSettings
from wsbridge.protocols.events import WebSocketDataReceived, WebSocketDisconnected
from wsbridge.protocols.messages import measure
from wsbridge.protocols.ws import TRANSITIONS, Event, Input, Receiving, Sending, WSProtocol

from .doubles import use_random, without

tracemalloc: Optional[ModuleType]
try:
    import tracemalloc
except ImportError:
    # PyPy has none: there the tests that measure memory look at the outcome alone.
    tracemalloc = None

KIB, MIB = 1024, 1024 * 1024

# A frame of one byte of text, from a client and from a server: what may stand behind any other.
TRAILING = {False: bytes.fromhex("81 81 00000000 2e"), True: bytes.fromhex("81 01 2e")}

DEFLATE: Dict[str, Any] = {"enable_compression": True, "peer_extensions": [b"permessage-deflate"]}
CLIENT: Dict[str, Any] = {"client": True}


def cut(data: bytes) -> Iterator[List[bytes]]:
    """Whole, byte by byte, and in two at every place (of long data at both ends and around 2 KiB)."""
    yield [data]
    yield [data[index : index + 1] for index in range(len(data))] if len(data) < 4 * KIB else [data, b""]
    places: Iterable[int] = range(1, len(data))
    if len(data) > 400:
        places = [place for place in (*range(1, 40), *range(2040, 2060), *range(-40, 0)) if place < len(data)]
    for place in places:
        yield [data[:place], data[place:]]


def closing(code: int, reason: str) -> bytes:
    """The CLOSE of a server, RFC 6455 5.5.1."""
    return bytes([0x88, 2 + len(reason)]) + code.to_bytes(2, "big") + reason.encode()


class ProtocolTestCase(unittest.TestCase):
    """Each case is received whole, byte by byte and cut in two anywhere, with and without more behind."""

    def setUp(self) -> None:
        use_random(self)

    def build(self, before: str = "", **options: Any) -> WSProtocol:
        """A protocol that has received ``before``, and has neither closed nor failed of it."""
        protocol = WSProtocol(**options)
        protocol.receive_data(bytes.fromhex(before))
        self.assertTrue(protocol.is_receiving)
        return protocol

    def receive(self, protocol: WSProtocol, pieces: Iterable[bytes]) -> Tuple[List[Event], bytes]:
        events: List[Event] = []
        outbound = b""
        for piece in pieces:
            more_events, more_outbound = protocol.receive_data(piece)
            events += more_events
            outbound += more_outbound
        return events, outbound

    def assert_delivers(
        self, wire: str, *messages: Union[str, bytes], outbound: str = "", before: str = "", **options: Any
    ) -> None:
        expected: List[Event] = [WebSocketDataReceived(message) for message in messages]
        trailing = TRAILING[options.get("client", False)]
        for pieces in cut(bytes.fromhex(wire)):
            protocol = self.build(before, **options)
            self.assertEqual(self.receive(protocol, pieces), (expected, bytes.fromhex(outbound)))
            self.assertFalse(protocol.is_closed)
        for size in range(1, len(trailing) + 1):
            # A part of the next frame stays where it is until the rest comes.
            protocol = self.build(before, **options)
            protocol.receive_data(bytes.fromhex(wire) + trailing[:size])
            events, _ = protocol.receive_data(trailing[size:] + trailing)
            self.assertEqual(events[-1:], [WebSocketDataReceived(".")])
            self.assertEqual(len(events), 1 + (size < len(trailing)))

    def assert_ends(
        self, wire: str, code: int, reason: str, outbound: bytes, *messages: str, before: str, **options: Any
    ) -> None:
        """The last byte of ``wire`` ends the connection, and nothing before it does."""
        data = bytes.fromhex(wire)
        expected: List[Event] = [WebSocketDataReceived(message) for message in messages]
        expected.append(WebSocketDisconnected(code, reason))
        for behind in (b"", b"\x81\x81\x00\x00\x00\x00.", b"\xff" * 20):
            for pieces in cut(data):
                protocol = self.build(before, **options)
                events, sent = self.receive(protocol, pieces[:-1])
                self.assertTrue(protocol.is_receiving, pieces)
                more_events, more_sent = protocol.receive_data(pieces[-1] + behind)
                self.assertEqual((events + more_events, sent + more_sent), (expected, outbound))
                self.assertEqual(protocol.receive_data(behind), ([], b""))
                self.assertFalse(protocol.is_receiving)

    def assert_fails(
        self, code: int, reason: str, wire: str, *messages: str, before: str = "", **options: Any
    ) -> None:
        self.assert_ends(wire, code, reason, closing(code, reason), *messages, before=before, **options)

    def assert_closes(
        self, code: int, reason: str, wire: str, *messages: str, outbound: str, **options: Any
    ) -> None:
        self.assert_ends(wire, code, reason, bytes.fromhex(outbound), *messages, before="", **options)


class ReceivingTests(ProtocolTestCase):
    def test_examples_of_rfc_6455_5_7_for_a_server(self) -> None:
        self.assert_delivers("81 85 37fa213d 7f9f4d5158", "Hello")
        self.assert_delivers("8a 85 37fa213d 7f9f4d5158")

    def test_examples_of_rfc_6455_5_7_for_a_client(self) -> None:
        self.assert_delivers("81 05 48656c6c6f", "Hello", **CLIENT)
        self.assert_delivers("01 03 48656c 80 02 6c6f", "Hello", **CLIENT)
        self.assert_delivers("89 05 48656c6c6f", outbound="8a 85 00000000 48656c6c6f", **CLIENT)
        self.assert_delivers("82 7e 0100" + "ab" * 256, b"\xab" * 256, **CLIENT)
        self.assert_delivers("82 7f 0000000000010000" + "ab" * 65536, b"\xab" * 65536, **CLIENT)

    def test_text_and_binary(self) -> None:
        self.assert_delivers("81 83 00000000 e282ac", "\u20ac")
        self.assert_delivers("82 83 00000000 e282ac", b"\xe2\x82\xac")

    def test_an_empty_message_is_a_message(self) -> None:
        self.assert_delivers("81 80 00000000", "")
        self.assert_delivers("82 80 00000000", b"")
        self.assert_delivers("01 80 00000000 00 80 00000000 80 80 00000000", "")

    def test_key_goes_on_where_a_piece_ends(self) -> None:
        self.assert_delivers("82 8a 01020304 0102030401020304 0102", bytes(10))
        self.assert_delivers("02 83 01020304 010203 80 83 01020304 010203", bytes(6))

    def test_lengths_at_the_ends_of_their_three_forms(self) -> None:
        self.assert_delivers("82 fd 00000000" + "61" * 125, b"a" * 125)
        self.assert_delivers("82 fe 007e 00000000" + "61" * 126, b"a" * 126)
        self.assert_delivers("82 fe 07ff 01000000" + "60616161" * 511 + "606161", b"a" * 2047)
        self.assert_delivers("81 fe 0800 01000000" + "60616161" * 512, "a" * 2048)
        self.assert_delivers("82 fe ffff 00000000" + "61" * 65535, b"a" * 65535)
        self.assert_delivers("81 ff 0000000000010000 01000000" + "60616161" * 16384, "a" * 65536)

    def test_several_messages_at_once(self) -> None:
        hello, euro = "81 85 37fa213d 7f9f4d5158", "82 83 00000000 e282ac"
        self.assert_delivers(hello + euro + "81 80 00000000" + hello, "Hello", b"\xe2\x82\xac", "", "Hello")

    def test_several_messages_of_16_bit_lengths_at_once(self) -> None:
        wire = "81 81 00000000 2e 82 fe 007e 00000000" + "61" * 126 + "81 fe 0080 00000000" + "62" * 128
        self.assert_delivers(wire, ".", b"a" * 126, "b" * 128)
        wire = "81 81 00000000 2e 81 fe 012d 00000000" + "61" * 301 + "82 fe 0201 00000000" + "62" * 513
        self.assert_delivers(wire * 2, ".", "a" * 301, b"b" * 513, ".", "a" * 301, b"b" * 513)

    def test_whole_messages_take_the_short_way(self) -> None:
        # Masked with 20202020, under which 01 is "!".
        masked = bytes.fromhex("82 80 20202020 81 81 20202020 01 82 fe 007e 20202020") + b"\x01" * 126
        masked += bytes.fromhex("82 fe 0c35 20202020") + b"\x01" * 3125
        masked += bytes.fromhex("82 ff 0000000000010000 20202020") + b"\x01" * 65536
        masked += bytes.fromhex("82 ff 0000000000010001 20202020") + b"\x01" * 65537
        masked += bytes.fromhex("82 fd 20202020") + b"\x01" * 125
        unmasked = bytes.fromhex("82 00 81 01 21 82 7e 007e") + b"!" * 126
        unmasked += bytes.fromhex("82 7e 0c35") + b"!" * 3125
        unmasked += bytes.fromhex("82 7f 0000000000010000") + b"!" * 65536
        unmasked += bytes.fromhex("82 7f 0000000000010001") + b"!" * 65537
        unmasked += bytes.fromhex("82 7d") + b"!" * 125
        for data, client in ((masked, False), (unmasked, True)):
            protocol = WSProtocol(client=client, max_message_size=65537)
            events, _ = protocol.receive_data(data)
            expected: List[Union[str, bytes]] = [b"", "!"]
            expected += [b"!" * 126, b"!" * 3125, b"!" * 65536, b"!" * 65537, b"!" * 125]
            self.assertEqual(events, [WebSocketDataReceived(message) for message in expected])

    def test_fragments_with_control_frames_between(self) -> None:
        self.assert_delivers(
            "01 82 00000000 4865 89 81 00000000 21 00 82 00000000 6c6c 8a 80 00000000 80 81 00000000 6f",
            "Hello",
            outbound="8a 01 21",
        )

    def test_character_cut_by_fragments(self) -> None:
        self.assert_delivers("01 81 00000000 e2 00 81 00000000 82 80 81 00000000 ac", "\u20ac")

    def test_whole_message_behind_a_fragmented_one(self) -> None:
        self.assert_delivers("02 81 00000000 61 80 80 00000000 81 81 00000000 62", b"a", "b")

    def test_any_buffer_can_be_received(self) -> None:
        data = bytes.fromhex("81 85 37fa213d 7f9f4d5158 82 81")
        kinds: Tuple[Any, ...] = (bytes, bytearray, memoryview)
        for kind in kinds:
            protocol = WSProtocol()
            self.assertEqual(protocol.receive_data(kind(data)), ([WebSocketDataReceived("Hello")], b""))
            events, _ = protocol.receive_data(kind(b"\0\0\0\0a"))
            self.assertEqual(events, [WebSocketDataReceived(b"a")])
            self.assertIs(type(events[0].data), bytes)

    def test_nothing_is_received_for_nothing(self) -> None:
        self.assertEqual(WSProtocol().receive_data(b""), ([], b""))


class TransitionTests(unittest.TestCase):
    """`TRANSITIONS`, executed: each pair of halves that can be had, and each input."""

    OPEN = (Receiving.OPEN, Sending.OPEN)
    # How each pair comes about; our CLOSE is held, so that the halves end one by one.
    PATHS: ClassVar[Dict[Tuple[Receiving, Sending], Tuple[Input, ...]]] = {
        OPEN: (),
        (Receiving.OPEN, Sending.CLOSED): (Input.OUR_CLOSE,),
        (Receiving.CLOSED, Sending.OPEN): (Input.PEER_CLOSE,),
        (Receiving.FAILED, Sending.OPEN): (Input.VIOLATION,),
        (Receiving.CLOSED, Sending.CLOSED): (Input.PEER_CLOSE, Input.OUR_CLOSE),
        (Receiving.FAILED, Sending.CLOSED): (Input.VIOLATION, Input.OUR_CLOSE),
        (Receiving.LOST, Sending.CLOSED): (Input.STREAM_END,),
    }

    def put_in(self, protocol: WSProtocol, what: Input) -> Tuple[List[Event], bytes]:
        if what is Input.OUR_CLOSE:
            return [], protocol.close(1001)
        if what is Input.STREAM_END:
            return protocol.receive_eof(), b""
        wire = "88 82 00000000 03e8" if what is Input.PEER_CLOSE else "83 80"
        return protocol.receive_data(bytes.fromhex(wire))

    def reach(self, halves: Tuple[Receiving, Sending], **options: Any) -> WSProtocol:
        protocol = WSProtocol(**options)
        for what in self.PATHS[halves]:
            self.put_in(protocol, what)
        self.assertEqual((protocol.receiving, protocol.sending), halves)
        return protocol

    def test_pairs_that_cannot_be_had_have_no_rows(self) -> None:
        rows = {halves for table in TRANSITIONS.values() for halves in table}
        self.assertLessEqual(rows, set(self.PATHS))

    def test_each_input_leads_where_the_table_says(self) -> None:
        for halves in self.PATHS:
            for what, table in TRANSITIONS.items():
                with self.subTest(halves=halves, input=what):
                    protocol = self.reach(halves, hold_close=True)
                    events, _ = self.put_in(protocol, what)
                    after = table.get(halves, halves)
                    self.assertEqual((protocol.receiving, protocol.sending), after)
                    # The disconnect is told once: when the half that receives ends.
                    has_ended = halves[0] is Receiving.OPEN and after[0] is not Receiving.OPEN
                    self.assertEqual(len(events), has_ended)

    def test_our_close_leaves_once_when_the_half_that_sends_ends(self) -> None:
        for halves in self.PATHS:
            with self.subTest(halves=halves):
                _, outbound = self.put_in(self.reach(halves, hold_close=True), Input.OUR_CLOSE)
                self.assertEqual(outbound[:1], b"\x88" if halves[1] is Sending.OPEN else b"")

    def test_close_that_is_not_held_ends_both_halves_at_once(self) -> None:
        for what, receiving in ((Input.PEER_CLOSE, Receiving.CLOSED), (Input.VIOLATION, Receiving.FAILED)):
            protocol = WSProtocol()
            _, outbound = self.put_in(protocol, what)
            self.assertEqual((protocol.receiving, protocol.sending), (receiving, Sending.CLOSED))
            self.assertEqual(outbound[:1], b"\x88")

    def test_what_can_be_done_follows_from_the_halves(self) -> None:
        for (receiving, sending), _ in self.PATHS.items():
            protocol = self.reach((receiving, sending), hold_close=True)
            self.assertIs(protocol.is_receiving, receiving is Receiving.OPEN)
            self.assertIs(protocol.can_send, sending is Sending.OPEN)
            self.assertIs(protocol.is_closed, not protocol.is_receiving and not protocol.can_send)
            self.assertIs(protocol.close_received, receiving is Receiving.CLOSED)


class MessageTests(ProtocolTestCase):
    """``make_message``: how a message is told is for the caller to say."""

    def test_messages_are_made_of_their_content(self) -> None:
        protocol = WSProtocol(make_message=lambda content: ["message", content], **DEFLATE)
        wire = (
            "81 85 37fa213d 7f9f4d5158 82 82 00000000 00ff"
            "01 81 00000000 61 80 81 00000000 62 c1 87 00000000 f248cdc9c90700"
        )
        events, _ = protocol.receive_data(bytes.fromhex(wire))
        expected = [["message", content] for content in ("Hello", b"\x00\xff", "ab", "Hello")]
        self.assertEqual(events, expected)

    def test_disconnect_is_an_event_all_the_same(self) -> None:
        protocol = WSProtocol(make_message=str)
        events, _ = protocol.receive_data(bytes.fromhex("81 81 00000000 61 88 80 00000000"))
        self.assertEqual(events, ["a", WebSocketDisconnected(1005, "")])


class OpenTests(ProtocolTestCase):
    def test_state_of_a_new_connection(self) -> None:
        protocol = WSProtocol()
        self.assertEqual((protocol.is_closed, protocol.can_send, protocol.is_receiving), (False, True, True))
        self.assertFalse(protocol.close_received)
        self.assertEqual((protocol.subprotocol, protocol.extensions_response), (None, None))

    def test_subprotocol_is_kept(self) -> None:
        self.assertEqual(WSProtocol(subprotocol="chat").subprotocol, "chat")

    def test_ping_is_answered_with_its_payload(self) -> None:
        self.assert_delivers("89 80 00000000", outbound="8a 00")
        self.assert_delivers("89 85 37fa213d 7f9f4d5158", outbound="8a 05 48656c6c6f")
        self.assert_delivers("89 fd 00000000" + "70" * 125, outbound="8a 7d" + "70" * 125)

    def test_every_ping_is_answered_in_order(self) -> None:
        wire = "89 81 00000000 31 81 81 00000000 61 89 81 00000000 32 89 81 00000000 33"
        self.assert_delivers(wire, "a", outbound="8a 01 31 8a 01 32 8a 01 33")

    def test_pong_nobody_asked_for_is_discarded(self) -> None:
        self.assert_delivers("8a 80 00000000")
        self.assert_delivers("8a 84 00000000 00000000 81 80 00000000", "")

    def test_close_is_echoed(self) -> None:
        self.assert_closes(1000, "", "88 82 00000000 03e8", outbound="88 02 03e8")
        self.assert_closes(1001, "bye", "88 85 00000000 03e9 627965", outbound="88 05 03e9 627965")
        self.assert_closes(4999, "\u20ac", "88 85 00000000 1387 e282ac", outbound="88 05 1387 e282ac")

    def test_close_without_a_code_is_1005(self) -> None:
        self.assert_closes(1005, "", "88 80 00000000", outbound="88 00")

    def test_close_is_behind_the_messages_before_it(self) -> None:
        wire = "81 81 00000000 61 89 80 00000000 81 81 00000000 62 88 82 00000000 03e8"
        self.assert_closes(1000, "", wire, "a", "b", outbound="8a 00 88 02 03e8")

    def test_close_inside_a_fragmented_message_is_echoed(self) -> None:
        self.assert_closes(1000, "", "01 81 00000000 61 88 82 00000000 03e8", outbound="88 02 03e8")

    def test_state_after_the_peers_close(self) -> None:
        protocol = WSProtocol()
        protocol.receive_data(bytes.fromhex("88 80 00000000"))
        self.assertEqual((protocol.is_closed, protocol.can_send, protocol.is_receiving), (True, False, False))
        self.assertTrue(protocol.close_received)

    def test_state_after_a_violation(self) -> None:
        protocol = WSProtocol()
        protocol.receive_data(b"\x83\x80")
        self.assertEqual((protocol.is_closed, protocol.can_send, protocol.is_receiving), (True, False, False))
        self.assertFalse(protocol.close_received)

    def test_end_is_that_of_the_close_that_came_first(self) -> None:
        for ours, theirs, code, reason in (
            (None, "", 0, ""),
            (None, "88 80 00000000", 1005, ""),
            (None, "88 85 00000000 03e9 627965", 1001, "bye"),
            (None, "83 80", 1002, "unknown opcode 3"),
            (4000, "", 4000, "ours"),
            (4000, "88 82 00000000 03e8", 4000, "ours"),
            (4000, "83 80", 4000, "ours"),
        ):
            protocol = WSProtocol(hold_close=True)
            if ours is not None:
                protocol.close(ours, "ours")
            protocol.receive_data(bytes.fromhex(theirs))
            expected = WebSocketDisconnected(code, reason) if code else None
            self.assertEqual(protocol.end, expected)
            protocol.close(4001)
            protocol.receive_eof()
            # The last one to close has closed what was open.
            self.assertEqual(protocol.end, expected or WebSocketDisconnected(4001, ""))

    def test_end_without_a_close_is_1006(self) -> None:
        protocol = WSProtocol()
        protocol.receive_eof()
        self.assertEqual(protocol.end, WebSocketDisconnected(1006, ""))
        self.assertEqual(protocol.close(4001), b"")
        self.assertEqual(protocol.end, WebSocketDisconnected(1006, ""))

    def test_violation_is_behind_the_messages_before_it(self) -> None:
        self.assert_fails(1002, "unknown opcode 3", "81 81 00000000 61 81 81 00000000 62 83 80", "a", "b")

    def test_end_of_stream_is_1006(self) -> None:
        for before in ("", "81", "81 85 37fa213d 7f", "01 80 00000000", "89 81 00000000"):
            protocol = self.build(before)
            self.assertEqual(protocol.receive_eof(), [WebSocketDisconnected(1006, "")])
            self.assertEqual((protocol.is_closed, protocol.close_received), (True, False))
            self.assertEqual(protocol.receive_eof(), [])

    def test_close_is_sent(self) -> None:
        self.assertEqual(WSProtocol().close(), bytes.fromhex("88 02 03e8"))
        self.assertEqual(WSProtocol().close(1001, "bye"), bytes.fromhex("88 05 03e9 627965"))
        self.assertEqual(WSProtocol().close(3000, "r" * 123), bytes.fromhex("88 7d 0bb8") + b"r" * 123)


class ClosingTests(ProtocolTestCase):
    """We have sent a CLOSE, and the peer has not yet answered."""

    def build(self, before: str = "", **options: Any) -> WSProtocol:
        protocol = super().build(before, **options)
        protocol.close(1001)
        return protocol

    def assert_discards(self, wire: str, before: str = "", **options: Any) -> None:
        for pieces in cut(bytes.fromhex(wire)):
            protocol = self.build(before, **options)
            self.assertEqual(self.receive(protocol, pieces), ([], b""))
            # What follows is still read.
            answer = protocol.receive_data(bytes.fromhex("88 82 00000000 03e9"))
            self.assertEqual(answer, ([WebSocketDisconnected(1001, "")], b""))

    def assert_silently_ends(self, code: int, reason: str, wire: str, **options: Any) -> None:
        self.assert_ends(wire, code, reason, b"", before="", **options)

    def test_state(self) -> None:
        protocol = self.build()
        self.assertEqual((protocol.is_closed, protocol.can_send, protocol.is_receiving), (False, False, True))

    def test_close_is_not_answered_again(self) -> None:
        self.assert_silently_ends(1001, "bye", "88 85 00000000 03e9 627965")
        self.assert_silently_ends(1005, "", "88 80 00000000")

    def test_state_after_the_peers_close(self) -> None:
        protocol = self.build()
        protocol.receive_data(bytes.fromhex("88 80 00000000"))
        self.assertEqual((protocol.is_closed, protocol.close_received), (True, True))

    def test_messages_are_discarded(self) -> None:
        self.assert_discards("81 85 37fa213d 7f9f4d5158 82 83 00000000 e282ac 81 80 00000000")
        self.assert_discards("82 fe 0800 01000000" + "60616161" * 512)

    def test_fragments_are_discarded(self) -> None:
        self.assert_discards("01 81 00000000 61 00 80 00000000 80 81 00000000 62 81 80 00000000")

    def test_pongs_are_discarded(self) -> None:
        self.assert_discards("8a 80 00000000 8a 81 00000000 61")

    def test_pings_are_answered_until_the_peers_close(self) -> None:
        # RFC 6455 5.5.2: "unless it already received a Close frame".
        for pieces in cut(bytes.fromhex("89 81 00000000 31 81 81 00000000 61 88 80 00000000 89 80 00000000")):
            answer = self.receive(self.build(), pieces)
            self.assertEqual(answer, ([WebSocketDisconnected(1005, "")], bytes.fromhex("8a 01 31")))

    def test_what_is_discarded_is_not_looked_at(self) -> None:
        self.assert_discards("81 83 00000000 eda080")

    def test_rest_of_a_frame_in_progress_is_discarded(self) -> None:
        self.assert_discards("7f9f4d5158 82 81 00000000 61", before="81 85 37fa213d")
        self.assert_discards("5158", before="81 85 37fa213d 7f9f4d")

    def test_rest_of_a_message_in_progress_is_discarded(self) -> None:
        self.assert_discards("00 81 00000000 61 80 81 00000000 62 81 80 00000000", before="01 81 00000000 60")

    def test_message_in_progress_is_counted_from_its_beginning(self) -> None:
        protocol = self.build("01 86 00000000 616161616161", max_message_size=10)
        events, _ = protocol.receive_data(bytes.fromhex("80 85 00000000 6161616161"))
        self.assertEqual(events, [WebSocketDisconnected(1009, "message over 10 bytes")])
        protocol = self.build("01 81 00000000 61 00 81 00000000 61", max_fragments=2)
        events, _ = protocol.receive_data(bytes.fromhex("80 81 00000000 61"))
        self.assertEqual(events, [WebSocketDisconnected(1008, "message in more than 2 fragments")])

    def test_compressed_messages_are_discarded(self) -> None:
        self.assert_discards("c1 87 00000000 f248cdc9c90700 c1 81 00000000 07", **DEFLATE)
        self.assert_discards("c9c90700", before="c1 87 00000000 f248cd", **DEFLATE)

    def test_message_that_compression_made_larger_is_within_the_limit(self) -> None:
        # RFC 1951 3.2.4: 80 stored bytes are 85 on the wire.
        wire = "c2 d6 00000000 00 5000 afff" + "61" * 80 + "00"
        self.assert_discards(wire, max_message_size=80, **DEFLATE)
        self.assert_discards(wire[20:], wire[:20], max_message_size=80, **DEFLATE)

    def test_size_limit_still_holds(self) -> None:
        self.assert_silently_ends(1009, "message over 5 bytes", "82 86", max_message_size=5)
        wire = "02 85 00000000 6161616161 80 81 00000000"
        self.assert_silently_ends(1009, "message over 5 bytes", wire, max_message_size=5)

    def test_fragment_limit_still_holds(self) -> None:
        wire = "01 80 00000000" + "00 80 00000000" * 3
        self.assert_silently_ends(1008, "message in more than 3 fragments", wire, max_fragments=3)

    def test_violations_still_end_the_connection(self) -> None:
        self.assert_silently_ends(1002, "unknown opcode 3", "83 80")
        self.assert_silently_ends(1002, "continuation frame outside a message", "80 80 00000000")
        wire = "01 80 00000000 81 80 00000000"
        self.assert_silently_ends(1002, "new message, opcode 1, inside a fragmented one", wire)
        self.assert_silently_ends(1002, "close payload of 1 byte", "88 81 00000000 03")
        self.assert_silently_ends(1007, "close reason is not valid UTF-8", "88 83 00000000 03e8 ff")

    def test_end_of_stream_is_1006(self) -> None:
        protocol = self.build()
        self.assertEqual(protocol.receive_eof(), [WebSocketDisconnected(1006, "")])
        self.assertTrue(protocol.is_closed)

    def test_nothing_can_be_sent(self) -> None:
        protocol = self.build()
        with self.assertRaises(errors.StateError):
            protocol.send_message("a")
        self.assertEqual((protocol.ping(), protocol.close(1000)), (b"", b""))
        self.assertTrue(protocol.is_receiving)


class ReceivingBehindOurCloseTests(ProtocolTestCase):
    """``close(discard=False)``: a server that stops still delivers what its peers have sent."""

    def build(self, before: str = "", **options: Any) -> WSProtocol:
        protocol = super().build(before, **options)
        self.assertEqual(protocol.close(1012, discard=False), bytes.fromhex("88 02 03f4"))
        return protocol

    def test_messages_are_delivered_until_the_peers_close(self) -> None:
        self.assert_delivers("81 85 37fa213d 7f9f4d5158 82 80 00000000", "Hello", b"")
        self.assert_delivers("c1 87 00000000 f248cdc9c90700", "Hello", **DEFLATE)
        self.assert_ends("81 81 00000000 61 88 82 00000000 03f4", 1012, "", b"", "a", before="")

    def test_message_in_progress_is_delivered(self) -> None:
        self.assert_delivers("7f9f4d5158", "Hello", before="81 85 37fa213d")
        self.assert_delivers("80 81 00000000 62", "ab", before="01 81 00000000 61")

    def test_pings_are_answered(self) -> None:
        self.assert_delivers("89 81 00000000 31", outbound="8a 01 31")

    def test_nothing_can_be_sent(self) -> None:
        with self.assertRaises(errors.StateError):
            self.build().send_message("a")


class EndingTests(ProtocolTestCase):
    """``hold_close``: the peer has closed, or broken a rule, and the answer waits for `close`."""

    def assert_holds(self, wire: str, event: Event, held: bytes) -> None:
        protocol = WSProtocol(hold_close=True)
        behind = bytes.fromhex("81 81 00000000 61 89 80 00000000 83 80")
        self.assertEqual(protocol.receive_data(bytes.fromhex(wire) + behind), ([event], b""))
        self.assertEqual((protocol.is_closed, protocol.can_send, protocol.is_receiving), (False, True, False))
        self.assertEqual(protocol.send_message("Hello"), bytes.fromhex("81 05 48656c6c6f"))
        self.assertEqual(protocol.receive_data(behind), ([], b""))
        self.assertEqual(protocol.close(), held)
        self.assertTrue(protocol.is_closed)
        self.assertEqual(protocol.close(), b"")

    def test_close_is_held(self) -> None:
        held = bytes.fromhex("88 05 03e9 627965")
        self.assert_holds("88 85 00000000 03e9 627965", WebSocketDisconnected(1001, "bye"), held)
        self.assert_holds("88 80 00000000", WebSocketDisconnected(1005, ""), b"\x88\x00")

    def test_violation_is_held(self) -> None:
        held = closing(1002, "unknown opcode 3")
        self.assert_holds("83 80", WebSocketDisconnected(1002, "unknown opcode 3"), held)

    def test_whether_the_peer_has_closed_or_failed_is_known(self) -> None:
        for wire, received in (("88 80 00000000", True), ("83 80", False)):
            protocol = WSProtocol(hold_close=True)
            protocol.receive_data(bytes.fromhex(wire))
            self.assertIs(protocol.close_received, received)

    def test_pongs_are_not_held(self) -> None:
        protocol = WSProtocol(hold_close=True)
        _, outbound = protocol.receive_data(bytes.fromhex("89 81 00000000 21 88 80 00000000"))
        self.assertEqual(outbound, b"\x8a\x01!")

    def test_code_of_our_own_gives_way_to_what_was_held(self) -> None:
        protocol = WSProtocol(hold_close=True)
        protocol.receive_data(b"\x83\x80")
        self.assertEqual(protocol.close(4000, "mine"), closing(1002, "unknown opcode 3"))

    def test_code_and_reason_that_cannot_be_sent_do_not_matter_where_they_are_not_sent(self) -> None:
        values: List[Any] = [(1005, ""), (0, "x" * 124), ("no", ["list"])]
        for code, reason in values:
            protocol = WSProtocol(hold_close=True)
            protocol.receive_data(b"\x83\x80")
            self.assertEqual(protocol.close(code, reason), closing(1002, "unknown opcode 3"))
            self.assertEqual(protocol.close(code, reason), b"")

    def test_no_ping_is_sent_behind_the_peers_close(self) -> None:
        protocol = WSProtocol(hold_close=True)
        protocol.receive_data(bytes.fromhex("88 80 00000000"))
        self.assertEqual(protocol.ping(), b"")

    def test_end_of_stream_drops_what_was_held(self) -> None:
        protocol = WSProtocol(hold_close=True)
        protocol.receive_data(bytes.fromhex("88 80 00000000"))
        self.assertEqual(protocol.receive_eof(), [])
        self.assertEqual((protocol.is_closed, protocol.can_send, protocol.close()), (True, False, b""))

    def test_close_of_ours_is_never_held(self) -> None:
        protocol = WSProtocol(hold_close=True)
        self.assertEqual(protocol.close(), bytes.fromhex("88 02 03e8"))
        answer = protocol.receive_data(bytes.fromhex("88 82 00000000 03e8"))
        self.assertEqual(answer, ([WebSocketDisconnected(1000, "")], b""))
        self.assertTrue(protocol.is_closed)


class ClosedTests(ProtocolTestCase):
    def test_everything_is_discarded(self) -> None:
        for wire in ("88 80 00000000", "83 80"):
            protocol = WSProtocol()
            protocol.receive_data(bytes.fromhex(wire))
            for more in ("81 80 00000000", "88 80 00000000", "89 80 00000000", "83 80", "ff" * 20):
                self.assertEqual(protocol.receive_data(bytes.fromhex(more)), ([], b""))
            self.assertEqual(protocol.receive_eof(), [])

    def test_nothing_can_be_sent(self) -> None:
        protocol = WSProtocol()
        protocol.receive_eof()
        with self.assertRaisesRegex(errors.StateError, "nothing can be sent after a CLOSE"):
            protocol.send_message("a")
        self.assertEqual((protocol.ping(), protocol.close(), protocol.resume_writing()), (b"", b"", b""))


class SendingTests(ProtocolTestCase):
    def assert_sent(self, wire: str, message: Any, **options: Any) -> None:
        frame = WSProtocol(**options).send_message(message)
        self.assertEqual(frame, bytes.fromhex(wire))
        self.assertIs(type(frame), bytes)

    def assert_refused(self, text: str, message: Any, **options: Any) -> None:
        protocol = WSProtocol(**options)
        with self.assertRaises(errors.EventError) as caught:
            protocol.send_message(message)
        self.assertEqual(str(caught.exception), text)
        self.assertTrue(protocol.can_send)

    def test_text(self) -> None:
        self.assert_sent("81 05 48656c6c6f", "Hello")
        self.assert_sent("81 03 e282ac", "\u20ac")
        self.assert_sent("81 00", "")

    def test_binary(self) -> None:
        self.assert_sent("82 02 00ff", b"\x00\xff")
        self.assert_sent("82 00", b"")
        self.assert_sent("82 02 00ff", bytearray(b"\x00\xff"))
        self.assert_sent("82 02 00ff", memoryview(b"\x00\xff"))
        self.assert_sent("82 02 00fe", memoryview(b"\x00\xff\xfe\xff")[::2])

    def test_lengths_at_the_ends_of_their_three_forms(self) -> None:
        self.assert_sent("82 7d" + "00" * 125, bytes(125))
        self.assert_sent("82 7e 007e" + "00" * 126, bytes(126))
        self.assert_sent("82 7e ffff" + "00" * 65535, bytes(65535))
        self.assert_sent("82 7f 0000000000010000" + "00" * 65536, bytes(65536))

    def test_client_masks(self) -> None:
        self.assert_sent("82 80 00000000", b"", **CLIENT)
        use_random(self, {4: bytes.fromhex("37fa213d")}.__getitem__)
        self.assert_sent("81 85 37fa213d 7f9f4d5158", "Hello", **CLIENT)

    def test_anything_else_is_refused(self) -> None:
        self.assert_refused("a message must be str or bytes, not NoneType", None)
        self.assert_refused("a message must be str or bytes, not int", 5)
        self.assert_refused("a message must be str or bytes, not list", [b"a"])

    def test_lone_surrogate_is_refused(self) -> None:
        self.assert_refused("text has a lone surrogate, which UTF-8 cannot carry", "a\udc80")
        self.assert_refused("text has a lone surrogate, which UTF-8 cannot carry", "\ud83d" * 200, **DEFLATE)

    def test_closing_with_what_cannot_be_sent_is_refused_and_changes_nothing(self) -> None:
        for code, reason in ((1005, ""), (1006, ""), (1015, ""), (999, ""), (5000, ""), (1000, "r" * 124)):
            protocol = WSProtocol()
            with self.assertRaises(errors.EventError):
                protocol.close(code, reason)
            self.assertTrue(protocol.can_send)

    def test_client_masks_its_close_and_its_pongs(self) -> None:
        self.assertEqual(WSProtocol(client=True).close(1001), bytes.fromhex("88 82 00000000 03e9"))
        self.assert_closes(1000, "", "88 02 03e8", outbound="88 82 00000000 03e8", **CLIENT)
        self.assert_delivers("89 01 21", outbound="8a 81 00000000 21", **CLIENT)


class PingTests(ProtocolTestCase):
    def test_ping_has_four_random_bytes(self) -> None:
        use_random(self, {4: b"\xde\xad\xbe\xef"}.__getitem__)
        self.assertEqual(WSProtocol().ping(), bytes.fromhex("89 04 deadbeef"))

    def test_ping_with_a_payload(self) -> None:
        self.assertEqual(WSProtocol().ping(b""), b"\x89\x00")
        self.assertEqual(WSProtocol().ping(b"p" * 125), b"\x89\x7d" + b"p" * 125)
        self.assertEqual(WSProtocol(client=True).ping(b"!"), bytes.fromhex("89 81 00000000 21"))

    def test_ping_with_over_125_bytes_is_refused(self) -> None:
        with self.assertRaisesRegex(errors.EventError, "^a PING carries at most 125 bytes, not 126$"):
            WSProtocol().ping(bytes(126))

    def measure(self, *pongs: str) -> Optional[float]:
        """The latency after a PING at 10 s, another at 11 s, and ``pongs`` at 11.5 s and later."""
        clock = iter((10.0, 11.0, 11.5, 12.0))
        protocol = WSProtocol(clock=lambda: next(clock))
        self.assertIsNone(protocol.latency)
        protocol.ping(b"1")
        protocol.ping(b"2")
        for pong in pongs:
            self.assertEqual(protocol.receive_data(bytes.fromhex(pong)), ([], b""))
        return protocol.latency

    def test_latency_is_the_time_until_the_last_ping_was_answered(self) -> None:
        self.assertEqual(self.measure("8a 81 00000000 32"), 0.5)

    def test_other_pongs_say_nothing_of_latency(self) -> None:
        self.assertIsNone(self.measure("8a 81 00000000 31", "8a 80 00000000", "8a 82 00000000 3232"))

    def test_pong_counts_once(self) -> None:
        self.assertEqual(self.measure("8a 81 00000000 32", "8a 81 00000000 32"), 0.5)

    def test_without_a_clock_there_is_no_latency(self) -> None:
        protocol = WSProtocol()
        protocol.ping(b"1")
        protocol.receive_data(bytes.fromhex("8a 81 00000000 31"))
        self.assertIsNone(protocol.latency)

    def test_latency_is_measured_while_closing(self) -> None:
        clock = iter((1.0, 3.0))
        protocol = WSProtocol(clock=lambda: next(clock))
        protocol.ping(b"1")
        protocol.close()
        protocol.receive_data(bytes.fromhex("8a 81 00000000 31"))
        self.assertEqual(protocol.latency, 2.0)


class PausedWritingTests(ProtocolTestCase):
    """The peer does not read: only the newest PONG is owed (RFC 6455 5.5.3)."""

    def paused(self, wire: str, **options: Any) -> WSProtocol:
        protocol = WSProtocol(**options)
        protocol.pause_writing()
        _, outbound = protocol.receive_data(bytes.fromhex(wire))
        self.assertEqual(outbound, b"")
        return protocol

    def test_newest_pong_is_owed(self) -> None:
        protocol = self.paused("89 81 00000000 31 89 81 00000000 32 89 81 00000000 33")
        self.assertEqual(protocol.resume_writing(), b"\x8a\x013")
        self.assertEqual(protocol.resume_writing(), b"")

    def test_pong_to_an_empty_ping_is_owed(self) -> None:
        self.assertEqual(self.paused("89 80 00000000").resume_writing(), b"\x8a\x00")

    def test_nothing_is_owed_without_a_ping(self) -> None:
        self.assertEqual(self.paused("81 80 00000000").resume_writing(), b"")

    def test_afterwards_every_ping_is_answered_again(self) -> None:
        protocol = self.paused("89 81 00000000 31")
        protocol.resume_writing()
        answer = protocol.receive_data(bytes.fromhex("89 81 00000000 32 89 81 00000000 33"))
        self.assertEqual(answer, ([], b"\x8a\x012\x8a\x013"))

    def test_close_is_echoed_even_so_and_no_pong_follows_it(self) -> None:
        protocol = WSProtocol()
        protocol.pause_writing()
        _, outbound = protocol.receive_data(bytes.fromhex("89 80 00000000 88 80 00000000"))
        self.assertEqual((outbound, protocol.resume_writing()), (b"\x88\x00", b""))

    def test_close_of_ours_leaves_the_pong_owed(self) -> None:
        protocol = self.paused("89 80 00000000")
        protocol.close()
        self.assertEqual(protocol.resume_writing(), b"\x8a\x00")

    def test_no_pong_follows_a_violation_whose_close_is_held(self) -> None:
        self.assertEqual(self.paused("89 80 00000000 83 80", hold_close=True).resume_writing(), b"")

    def test_client_masks_what_it_owed(self) -> None:
        protocol = self.paused("89 01 31", client=True)
        self.assertEqual(protocol.resume_writing(), bytes.fromhex("8a 81 00000000 31"))


class TraceTests(ProtocolTestCase):
    """Every frame, in and out: direction, opcode, FIN, RSV1, length on the wire."""

    def traced(self, **options: Any) -> Tuple[WSProtocol, List[Tuple[str, int, bool, bool, int]]]:
        protocol = WSProtocol(**options)
        frames: List[Tuple[str, int, bool, bool, int]] = []
        protocol.trace = lambda *frame: frames.append(frame)
        return protocol, frames

    def test_frames_received(self) -> None:
        protocol, frames = self.traced(**DEFLATE)
        wire = "81 81 00000000 61 02 80 00000000 80 82 00000000 6162 8a 80 00000000 c1 81 00000000 00"
        events, _ = protocol.receive_data(bytes.fromhex(wire))
        self.assertEqual([event.data for event in events], ["a", b"ab", ""])
        self.assertEqual(
            frames,
            [
                ("in", 1, True, False, 1),
                ("in", 2, False, False, 0),
                ("in", 0, True, False, 2),
                ("in", 10, True, False, 0),
                ("in", 1, True, True, 1),
            ],
        )

    def test_frames_sent(self) -> None:
        protocol, frames = self.traced()
        sent = [protocol.send_message("a"), protocol.send_message(b"ab"), protocol.ping(), protocol.close()]
        wire = "81 01 61 82 02 6162 89 04 00000000 88 02 03e8"
        self.assertEqual(b"".join(sent), bytes.fromhex(wire))
        self.assertEqual([frame[:2] for frame in frames], [("out", 1), ("out", 2), ("out", 9), ("out", 8)])
        self.assertEqual(frames[0], ("out", 1, True, False, 1))

    def test_frames_sent_compressed(self) -> None:
        protocol, frames = self.traced(**DEFLATE)
        frame = protocol.send_message("a" * 64)
        self.assertEqual(frames, [("out", 1, True, True, len(frame) - 2)])

    def test_answers(self) -> None:
        protocol, frames = self.traced()
        protocol.receive_data(bytes.fromhex("89 81 00000000 21 88 82 00000000 03e8"))
        expected = [("in", 9, 1), ("out", 10, 1), ("in", 8, 2), ("out", 8, 2)]
        self.assertEqual([(frame[0], frame[1], frame[4]) for frame in frames], expected)

    def test_frame_is_traced_once_however_it_is_cut(self) -> None:
        protocol, frames = self.traced()
        data = bytes.fromhex("81 85 37fa213d 7f9f4d5158 89 81 00000000 21")
        self.receive(protocol, [data[index : index + 1] for index in range(len(data))])
        expected = [("in", 1, True, False, 5), ("in", 9, True, False, 1), ("out", 10, True, False, 1)]
        self.assertEqual(frames, expected)

    def test_trace_can_end(self) -> None:
        protocol, frames = self.traced()
        protocol.trace = None
        protocol.receive_data(bytes.fromhex("81 81 00000000 61"))
        protocol.send_message("a")
        self.assertEqual(frames, [])


class HostileFrameTests(ProtocolTestCase):
    def test_top_bit_of_the_64_bit_length(self) -> None:
        reason = "most significant bit of the payload length is set"
        self.assert_fails(1002, reason, "82 ff 80 00 00 00 00 00 00 00")

    def test_largest_length_fails_from_the_header_alone(self) -> None:
        self.assert_fails(1009, "message over 16777216 bytes", "82 ff 7f ff ff ff ff ff ff ff")

    def test_64_bit_length_is_not_taken_for_a_shorter_one(self) -> None:
        data = bytes.fromhex("82 ff 01 00 00 00 00 00 00 00") + bytes(600)
        events, _ = WSProtocol().receive_data(data)
        self.assertEqual(events, [WebSocketDisconnected(1009, "message over 16777216 bytes")])

    def test_lengths_not_in_their_shortest_form(self) -> None:
        for first in ("81", "82", "01", "02"):
            self.assert_fails(1002, "payload length 1 is not in its shortest form", first + "fe 0001")
            reason = "payload length 125 is not in its shortest form"
            self.assert_fails(1002, reason, first + "fe 007d")
            self.assert_fails(1002, reason, first + "ff 000000000000007d")

    def test_length_not_in_its_shortest_form_in_a_whole_frame(self) -> None:
        for wire, client in (("82 fe 007d 00000000", False), ("82 7e 007d", True)):
            events, _ = WSProtocol(client=client).receive_data(bytes.fromhex(wire) + bytes(125))
            reason = "payload length 125 is not in its shortest form"
            self.assertEqual(events, [WebSocketDisconnected(1002, reason)])

    def test_opcodes_3_to_7_and_b_to_f(self) -> None:
        for opcode in "34567bcdef":
            reason = f"unknown opcode {int(opcode, 16)}"
            self.assert_fails(1002, reason, f"8{opcode} 80")
            self.assert_fails(1002, reason, f"0{opcode} 80", before="01 80 00000000")

    def test_rsv2_and_rsv3(self) -> None:
        self.assert_fails(1002, "reserved bits 010 set without a meaning", "a1 85")
        self.assert_fails(1002, "reserved bits 001 set without a meaning", "91 85", **DEFLATE)

    def test_rsv1_not_negotiated(self) -> None:
        self.assert_fails(1002, "reserved bits 100 set without a meaning", "c1 85")

    def test_rsv1_on_a_continuation(self) -> None:
        reason = "reserved bits 100 set without a meaning"
        self.assert_fails(1002, reason, "c0 80", before="41 80 00000000", **DEFLATE)

    def test_rsv1_on_a_control_frame(self) -> None:
        for first in ("c8", "c9", "ca"):
            self.assert_fails(1002, "reserved bits 100 set without a meaning", first + "80", **DEFLATE)

    def test_unmasked_from_a_client(self) -> None:
        for first in ("81", "01", "88", "89"):
            self.assert_fails(1002, "unmasked frame from a client", first + "01")

    def test_masked_from_a_server(self) -> None:
        self.assert_ends(
            "81 81",
            1002,
            "masked frame from a server",
            bytes.fromhex("88 9c 00000000 03ea") + b"masked frame from a server",
            before="",
            **CLIENT,
        )

    def test_continuation_first(self) -> None:
        reason = "continuation frame outside a message"
        self.assert_fails(1002, reason, "80 80 00000000")
        self.assert_fails(1002, reason, "00 85 00000000")
        self.assert_fails(1002, reason, "80 80 00000000", before="01 80 00000000 80 80 00000000")

    def test_new_data_frame_inside_a_message(self) -> None:
        for first, opcode in (("81", 1), ("82", 2), ("01", 1), ("02", 2)):
            reason = f"new message, opcode {opcode}, inside a fragmented one"
            self.assert_fails(1002, reason, first + "81 00000000", before="01 80 00000000")

    def test_control_frame_with_length_126(self) -> None:
        for first, opcode in (("88", 8), ("89", 9), ("8a", 10)):
            self.assert_fails(1002, f"control frame of over 125 bytes, opcode {opcode}", first + "fe")

    def test_control_frame_without_fin(self) -> None:
        for first, opcode in (("08", 8), ("09", 9), ("0a", 10)):
            self.assert_fails(1002, f"fragmented control frame, opcode {opcode}", first + "80")

    def test_empty_fragments_for_ever(self) -> None:
        before = "01 80 00000000" + "00 80 00000000" * 1023
        self.assert_fails(1008, "message in more than 1024 fragments", "00 80 00000000", before=before)

    def test_close_with_one_byte(self) -> None:
        self.assert_fails(1002, "close payload of 1 byte", "88 81 00000000 03")

    def test_close_reason_that_is_not_utf_8(self) -> None:
        self.assert_fails(1007, "close reason is not valid UTF-8", "88 83 00000000 03e8 ff")
        self.assert_fails(1007, "close reason is not valid UTF-8", "88 84 00000000 03e8 e282")

    def test_anything_after_close_is_discarded(self) -> None:
        protocol = WSProtocol()
        wire = "88 82 00000000 03e8 81 81 00000000 61 89 80 00000000 88 80 00000000 83"
        answer = protocol.receive_data(bytes.fromhex(wire))
        self.assertEqual(answer, ([WebSocketDisconnected(1000, "")], bytes.fromhex("88 02 03e8")))

    def test_message_of_exactly_the_limit_and_one_byte_more(self) -> None:
        self.assert_delivers("82 85 00000000 6162636465", b"abcde", max_message_size=5)
        self.assert_delivers("02 83 00000000 616263 80 82 00000000 6465", b"abcde", max_message_size=5)
        reason = "message over 5 bytes"
        self.assert_fails(1009, reason, "82 86", max_message_size=5)
        self.assert_fails(1009, reason, "80 83 00000000", before="02 83 00000000 616263", max_message_size=5)
        self.assert_fails(1009, "message over 300 bytes", "82 fe 012d", max_message_size=300)

    def test_control_frames_are_not_held_to_the_limit_of_messages(self) -> None:
        self.assert_delivers("89 83 00000000 616263", outbound="8a 03 616263", max_message_size=1)
        wire, outbound = "88 85 00000000 03e8 627965", "88 05 03e8 627965"
        self.assert_closes(1000, "bye", wire, outbound=outbound, max_message_size=1)


class HostileTextTests(ProtocolTestCase):
    """1007 at the first byte that decides, in frames that are never completed."""

    REASON = "text message is not valid UTF-8"

    def assert_decided(self, good: str, deciding: str) -> None:
        """After ``good``, which may still become text, the byte ``deciding`` ends it."""
        wire = good + deciding
        self.assert_fails(1007, self.REASON, "81 8a 00000000" + wire)
        self.assert_fails(1007, self.REASON, "81 8a 00000000 616263" + wire)
        self.assert_fails(1007, self.REASON, "81 fe 1000 00000000" + wire)
        for size in range(len(wire) // 2):
            # The first bytes in a fragment of their own.
            fragment = f"01 {128 + size:02x} 00000000" + wire[: 2 * size]
            self.assert_fails(1007, self.REASON, "80 8a 00000000" + wire[2 * size :], before=fragment)

    def assert_whole_frame_fails(self, wire: str) -> None:
        data = bytes([0x81, 0x80 + len(wire) // 2, 0, 0, 0, 0]) + bytes.fromhex(wire)
        for pieces in cut(data):
            answer = self.receive(WSProtocol(), pieces)
            self.assertEqual(answer, ([WebSocketDisconnected(1007, self.REASON)], closing(1007, self.REASON)))

    def test_surrogate_ed_a0_80(self) -> None:
        self.assert_decided("ed", "a0")
        self.assert_decided("ed", "bf")
        self.assert_whole_frame_fails("eda080")

    def test_overlong_c0_af(self) -> None:
        self.assert_decided("", "c0")
        self.assert_decided("e0", "9f")
        self.assert_decided("f0", "8f")
        self.assert_whole_frame_fails("c0af")

    def test_beyond_the_last_code_point_f4_90_80_80(self) -> None:
        self.assert_decided("f4", "90")
        self.assert_decided("", "f5")
        self.assert_whole_frame_fails("f4908080")

    def test_continuation_byte_without_a_lead_and_a_lead_without_one(self) -> None:
        self.assert_decided("", "80")
        self.assert_decided("e282", "2e")
        self.assert_decided("f09f98", "c0")

    def test_text_that_ends_inside_a_character(self) -> None:
        for wire in ("c3", "e282", "ed9f", "f09f98"):
            self.assert_whole_frame_fails(wire)
        self.assert_fails(1007, self.REASON, "80 80 00000000", before="01 82 00000000 e282")

    def test_invalid_text_behind_a_message(self) -> None:
        self.assert_fails(1007, self.REASON, "81 81 00000000 61 81 81 00000000 ff", "a")

    def test_binary_is_not_text(self) -> None:
        self.assert_delivers("82 83 00000000 eda080", b"\xed\xa0\x80")


class CompressionTests(ProtocolTestCase):
    """Examples of RFC 7692 7.2.3, and its hostile messages."""

    def assert_negotiated(self, extensions: List[bytes], response: Optional[str], **options: Any) -> None:
        protocol = WSProtocol(enable_compression=True, peer_extensions=extensions, **options)
        self.assertEqual(protocol.extensions_response, response)
        self.assertIs(protocol.compression is not None, response is not None)

    def test_compression_is_agreed_to_only_if_both_sides_want_it(self) -> None:
        self.assert_negotiated([], None)
        self.assert_negotiated([b"x-unknown"], None)
        self.assert_negotiated([b"permessage-deflate"], "permessage-deflate")
        self.assert_negotiated([b"x-unknown", b"permessage-deflate"], "permessage-deflate")
        self.assertIsNone(WSProtocol(peer_extensions=[b"permessage-deflate"]).extensions_response)

    def test_settings_are_heeded(self) -> None:
        settings = DeflateSettings(server_no_context_takeover=True, server_max_window_bits=15)
        response = "permessage-deflate; server_no_context_takeover"
        self.assert_negotiated([b"permessage-deflate"], response, deflate=settings)

    def test_malformed_offer_is_a_bad_request(self) -> None:
        with self.assertRaises(errors.BadRequest):
            WSProtocol(enable_compression=True, peer_extensions=[b"permessage-deflate; ="])

    def test_client_takes_what_the_server_agreed_to(self) -> None:
        response = b"permessage-deflate; server_max_window_bits=12"
        options = {**CLIENT, "enable_compression": True, "peer_extensions": [response]}
        self.assert_delivers("c1 07 f248cdc9c90700", "Hello", **options)
        self.assertIsNone(WSProtocol(**options).extensions_response)
        self.assertIsNone(WSProtocol(client=True, enable_compression=True).compression)

    def test_client_fails_where_the_server_agreed_to_what_was_not_offered(self) -> None:
        with self.assertRaises(errors.HandshakeFailed):
            WSProtocol(client=True, enable_compression=True, peer_extensions=[b"x-unknown"])

    def test_without_zlib_the_extension_is_declined(self) -> None:
        with without("zlib"):
            self.assert_negotiated([b"permessage-deflate"], None)
            self.assert_fails(1002, "reserved bits 100 set without a meaning", "c1 87", **DEFLATE)
            self.assert_delivers("81 85 37fa213d 7f9f4d5158", "Hello", **DEFLATE)

    def test_7_2_3_1_one_compressed_block(self) -> None:
        self.assert_delivers("c1 87 00000000 f248cdc9c90700", "Hello", **DEFLATE)
        self.assert_delivers("c2 87 00000000 f248cdc9c90700", b"Hello", **DEFLATE)
        self.assert_delivers("41 83 00000000 f248cd 80 84 00000000 c9c90700", "Hello", **DEFLATE)

    def test_7_2_3_2_sharing_the_window(self) -> None:
        wire = "c1 87 00000000 f248cdc9c90700 c1 85 00000000 f200110000"
        self.assert_delivers(wire, "Hello", "Hello", **DEFLATE)

    def test_7_2_3_3_block_with_no_compression(self) -> None:
        self.assert_delivers("c1 8b 00000000 000500faff48656c6c6f00", "Hello", **DEFLATE)

    def test_7_2_3_4_block_with_bfinal_then_an_ordinary_message(self) -> None:
        wire = "c1 88 00000000 f348cdc9c9070000 c1 87 00000000 f248cdc9c90700"
        self.assert_delivers(wire, "Hello", "Hello", **DEFLATE)

    def test_empty_block_at_the_end_with_bfinal_then_an_ordinary_message(self) -> None:
        self.assert_delivers("c1 81 00000000 01 c1 87 00000000 f248cdc9c90700", "", "Hello", **DEFLATE)

    def test_7_2_3_5_two_blocks_in_one_message(self) -> None:
        self.assert_delivers("c1 8d 00000000 f248050000 00ffffcac9c90700", "Hello", **DEFLATE)

    def test_7_2_3_6_empty_message(self) -> None:
        self.assert_delivers("c1 81 00 00 00 00 00", "", **DEFLATE)
        self.assert_delivers("c2 81 00 00 00 00 00" * 2, b"", b"", **DEFLATE)

    def test_uncompressed_messages_among_compressed_ones(self) -> None:
        wire = "c1 87 00000000 f248cdc9c90700 81 81 00000000 61 c1 85 00000000 f200110000"
        self.assert_delivers(wire, "Hello", "a", "Hello", **DEFLATE)

    def test_ping_between_compressed_fragments(self) -> None:
        wire = "41 83 00000000 f248cd 89 81 00000000 21 80 84 00000000 c9c90700"
        self.assert_delivers(wire, "Hello", outbound="8a 01 21", **DEFLATE)

    def test_corrupt_data(self) -> None:
        reason = "compressed message does not inflate: Error -3 while decompressing data: invalid block type"
        self.assert_fails(1007, reason, "c1 87 00000000 07", **DEFLATE)

    def test_truncated_data(self) -> None:
        reason = "compressed message does not inflate: it ends inside a block"
        self.assert_fails(1007, reason, "c1 86 00000000 f248cdc9c907", **DEFLATE)
        before = "41 83 00000000 f248cd"
        self.assert_fails(1007, reason, "80 80 00000000", before=before, **DEFLATE)

    def test_inflated_text_that_is_not_utf_8(self) -> None:
        reason = "text message is not valid UTF-8"
        self.assert_fails(1007, reason, "c1 87 00000000 00 0300 fcff eda0", **DEFLATE)

    def test_message_inflating_to_the_limit_and_one_byte_more(self) -> None:
        limit = {**DEFLATE, "max_message_size": 5}
        self.assert_delivers("c1 87 00000000 f248cdc9c90700", "Hello", **limit)
        # RFC 1951 3.2.4: six stored bytes.
        self.assert_fails(1009, "message over 5 bytes", "c1 8b 00000000 000600f9ff 616161616161", **limit)

    def test_bomb_behind_a_fragment_that_inflates_to_exactly_the_limit(self) -> None:
        limit = {**DEFLATE, "max_message_size": 5}
        before = "41 8b 00000000 f248cdc9c90700 0000ffff"
        wire = "80 86 00000000 000100feff 61"
        self.assert_fails(1009, "message over 5 bytes", wire, before=before, **limit)

    def test_blocks_without_output_are_counted_on_the_wire(self) -> None:
        limit = {**DEFLATE, "max_message_size": 16}
        before = "42 d0 00000000" + "000000ffff" * 16
        self.assert_fails(1009, "message over 16 bytes", "00 83 00000000", before=before, **limit)

    def test_uncompressed_messages_keep_their_own_limit(self) -> None:
        limit = {**DEFLATE, "max_message_size": 16}
        self.assert_fails(1009, "message over 16 bytes", "82 91 00000000", **limit)

    def test_length_over_the_limit_of_any_compressed_form_fails_from_the_header_alone(self) -> None:
        # 16 bytes may be 82 on the wire; the peer is told the limit of messages.
        limit = {**DEFLATE, "max_message_size": 16}
        self.assert_fails(1009, "message over 16 bytes", "c2 d3", **limit)
        self.assert_fails(1009, "message over 16 bytes", "82 ff 7fffffffffffffff", **limit)

    def test_messages_from_the_threshold_on_are_compressed(self) -> None:
        protocol = WSProtocol(**DEFLATE, deflate=DeflateSettings(threshold=64))
        self.assertEqual(protocol.send_message("a" * 63), b"\x81\x3f" + b"a" * 63)
        frame = protocol.send_message("a" * 64)
        self.assertEqual((frame[0], frame[1]), (0xC1, len(frame) - 2))
        self.assertEqual(protocol.send_message(b"a" * 64)[0], 0xC2)
        self.assertEqual(protocol.send_message(b"a" * 65)[0], 0xC2)

    def test_client_and_server_understand_each_other(self) -> None:
        server = WSProtocol(**DEFLATE)
        response = str(server.extensions_response).encode()
        client = WSProtocol(client=True, enable_compression=True, peer_extensions=[response])
        messages: List[Union[str, bytes]] = ["a" * 200, b"\x00\x01" * 70000, "\u20ac" * 5000, "", "a" * 200]
        for sender, receiver in ((server, client), (client, server)):
            wire = b"".join([sender.send_message(message) for message in messages])
            expected = [WebSocketDataReceived(message) for message in messages]
            self.assertEqual(receiver.receive_data(wire), (expected, b""))


class ExhaustiveTests(ProtocolTestCase):
    """All 65,536 first two bytes, and all 65,536 close codes."""

    def breaks_a_rule(self, first: int, second: int, client: bool, deflate: bool) -> bool:
        """RFC 6455 5.1, 5.2 and 5.5, RFC 7692 6, rule by rule."""
        fin, rsv1, rsv23, opcode = first & 0x80, first & 0x40, first & 0x30, first & 0x0F
        return any(
            (
                opcode not in (0, 1, 2, 8, 9, 10),
                rsv23,
                rsv1 and not deflate,
                rsv1 and opcode not in (1, 2),
                opcode >= 8 and not fin,
                opcode >= 8 and second & 0x7F > 125,
                client and second >= 0x80,
                not client and second < 0x80,
            )
        )

    def expect_of_an_empty_frame(self, first: int) -> Tuple[List[Event], bytes]:
        """The answer to a frame without payload that breaks no rule of its own."""
        answers: Dict[int, Tuple[List[Event], bytes]] = {
            0x80: ([WebSocketDisconnected(1002, "continuation frame outside a message")], b"\x88"),
            0x00: ([WebSocketDisconnected(1002, "continuation frame outside a message")], b"\x88"),
            0x81: ([WebSocketDataReceived("")], b""),
            0xC1: ([WebSocketDataReceived("")], b""),
            0x82: ([WebSocketDataReceived(b"")], b""),
            0xC2: ([WebSocketDataReceived(b"")], b""),
            0x88: ([WebSocketDisconnected(1005, "")], b"\x88"),
            0x89: ([], b"\x8a"),
        }
        return answers.get(first, ([], b""))

    def assert_every_header_follows_the_rules(self, **options: Any) -> None:
        client, deflate = options.get("client", False), "peer_extensions" in options
        for first in range(256):
            for second in range(256):
                protocol = WSProtocol(**options)
                events, outbound = protocol.receive_data(bytes((first, second)))
                codes = [event.code for event in events if isinstance(event, WebSocketDisconnected)]
                if self.breaks_a_rule(first, second, client, deflate):
                    expected: object = ([1002], 0x88)
                    outcome: object = (codes, outbound[0])
                elif second & 0x7F:
                    # A payload is to come; if it is none that is allowed, its header says so.
                    expected, outcome = ([], b""), (events, outbound)
                    if client and second < 126 and not first & 0x0F:
                        expected, outcome = [1002], codes
                else:
                    more_events, more_outbound = protocol.receive_data(b"" if client else b"\0\0\0\0")
                    expected = self.expect_of_an_empty_frame(first)
                    outcome = (events + more_events, (outbound + more_outbound)[:1])
                if outcome != expected:
                    self.fail(f"{first:02x} {second:02x}: {outcome}, not {expected}")

    def test_every_header_to_a_server(self) -> None:
        self.assert_every_header_follows_the_rules()

    def test_every_header_to_a_server_with_deflate(self) -> None:
        self.assert_every_header_follows_the_rules(**DEFLATE)

    def test_every_header_to_a_client(self) -> None:
        self.assert_every_header_follows_the_rules(**CLIENT)

    def test_every_header_to_a_client_with_deflate(self) -> None:
        response = b"permessage-deflate; server_max_window_bits=12"
        options = {**CLIENT, "enable_compression": True, "peer_extensions": [response]}
        self.assert_every_header_follows_the_rules(**options)

    def test_every_close_code(self) -> None:
        named = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014)
        for code in range(65536):
            payload = code.to_bytes(2, "big")
            if code in named or 3000 <= code <= 4999:
                expected = ([WebSocketDisconnected(code, "")], b"\x88\x02" + payload)
            else:
                reason = f"invalid close code {code}"
                expected = ([WebSocketDisconnected(1002, reason)], closing(1002, reason))
            outcome = WSProtocol().receive_data(b"\x88\x82\0\0\0\0" + payload)
            if outcome != expected:
                self.fail(f"close code {code}: {outcome}")


class MemoryTests(ProtocolTestCase):
    """What is held for a peer is what it sent, never what it claims or could ask for."""

    def start_measuring(self) -> None:
        if tracemalloc is not None:
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)

    def assert_peak_below(self, limit: int) -> None:
        if tracemalloc is not None:
            self.assertLess(tracemalloc.get_traced_memory()[1], limit)

    def assert_kept_below(self, limit: int) -> None:
        if tracemalloc is not None:
            self.assertLess(tracemalloc.get_traced_memory()[0], limit)

    def assert_read_bytewise(self, first: int, expected: Union[str, bytes]) -> None:
        # Only the last reads are of one byte, where each would cost most if it moved what is there.
        protocol = WSProtocol()
        self.start_measuring()
        protocol.receive_data(bytes([first, 0xFF]) + MIB.to_bytes(8, "big") + b"\0\0\0\0")
        for _ in range(MIB // 4096 - 4):
            protocol.receive_data(b"a" * 4096)
        for _ in range(4 * 4096 - 1):
            protocol.receive_data(b"a")
        events, _ = protocol.receive_data(b"a")
        self.assert_peak_below(3 * MIB)
        self.assertEqual(events, [WebSocketDataReceived(expected)])

    def test_text_of_1_mib_in_reads_of_one_byte(self) -> None:
        self.assert_read_bytewise(0x81, "a" * MIB)

    def test_binary_of_1_mib_in_reads_of_one_byte(self) -> None:
        self.assert_read_bytewise(0x82, b"a" * MIB)

    def test_gibibytes_that_are_only_claimed(self) -> None:
        self.start_measuring()
        for first in (0x81, 0x82, 0x01, 0xC1):
            protocol = WSProtocol(max_message_size=2**40, **DEFLATE)
            protocol.receive_data(bytes([first, 0xFF]) + (2**30).to_bytes(8, "big") + b"\0\0\0\0")
            protocol.receive_data(b"\0" * 3)
            self.assertFalse(protocol.is_closed)
        self.assert_peak_below(256 * KIB)

    def test_message_in_progress_is_let_go_at_the_end(self) -> None:
        for wire in ("88 80 00000000", "83 80"):
            protocol = WSProtocol(hold_close=True)
            self.start_measuring()
            protocol.receive_data(bytes.fromhex("02 ff 0000000000100000 00000000") + bytes(MIB))
            protocol.receive_data(bytes.fromhex(wire))
            self.assertFalse(protocol.is_receiving)
            self.assert_kept_below(64 * KIB)

    def test_message_in_progress_is_let_go_at_the_end_of_the_stream(self) -> None:
        for unfinished in (bytes(MIB), bytes(MIB) + bytes.fromhex("89 fd 00000000") + b"p" * 124):
            protocol = WSProtocol()
            self.start_measuring()
            protocol.receive_data(bytes.fromhex("02 ff 0000000000100000 00000000") + unfinished)
            self.assertEqual(protocol.receive_eof(), [WebSocketDisconnected(1006, "")])
            self.assert_kept_below(64 * KIB)

    def test_pings_of_a_peer_that_never_reads(self) -> None:
        # Reads of 64 KiB, of the largest PINGs and of the smallest, which stand for 1 GiB of them.
        protocol = WSProtocol()
        protocol.pause_writing()
        largest = bytes.fromhex("89 fd 00000000") + b"p" * 125
        smallest = bytes.fromhex("89 80 00000000")
        self.start_measuring()
        for ping in (largest, largest, smallest, largest):
            chunk = ping * (64 * KIB // len(ping))
            self.assertEqual(protocol.receive_data(chunk), ([], b""))
        self.assert_peak_below(MIB)
        self.assertEqual(protocol.resume_writing(), b"\x8a\x7d" + b"p" * 125)

    def test_pings_of_a_peer_that_reads(self) -> None:
        protocol = WSProtocol()
        ping = bytes.fromhex("89 80 00000000")
        self.start_measuring()
        _, outbound = protocol.receive_data(ping * 10922)
        self.assertEqual(outbound, b"\x8a\x00" * 10922)
        self.assert_peak_below(MIB)


class ReserveTests(unittest.TestCase):
    """With `reserve` a message grows in steps of 64 KiB, while there is room; otherwise its bytes wait."""

    SIZE = 200_000

    def open(self, **options: Any) -> WSProtocol:
        self.asked: List[int] = []
        self.has_room = True

        def reserve(size: int) -> bool:
            self.asked.append(size)
            return self.has_room

        return WSProtocol(make_message=None, reserve=reserve, **options)

    def compress(self, size: int) -> bytes:
        compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
        return (compressor.compress(b"ab" * (size // 2)) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def mask(self, payload: bytes) -> bytes:
        return bytes(byte ^ b"\x01\x02\x03\x04"[index & 3] for index, byte in enumerate(payload))

    def frame(self, first: int, payload: bytes) -> bytes:
        size = len(payload)
        length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        return bytes((first,)) + length + b"\x01\x02\x03\x04" + self.mask(payload)

    def receive_all(self, protocol: WSProtocol, *pieces: bytes) -> List[Any]:
        """What comes of the pieces if there is room only at every second question."""
        events: List[Any] = []
        for piece in pieces:
            self.has_room = False
            events += protocol.receive_data(piece)[0]
            while protocol.is_suspended:
                self.has_room = not self.has_room
                events += protocol.receive_data(b"")[0]
        return events

    def test_compressed_message_waits_and_goes_on(self) -> None:
        payload = self.compress(self.SIZE)
        whole = self.frame(0xC2, payload)
        cuts = [[whole[:cut], whole[cut:]] for cut in range(1, len(whole), 7)]
        fragments = [self.frame(0x42, payload[:150]), self.frame(0x80, payload[150:])]
        for pieces in ([whole], [whole[i : i + 1] for i in range(len(whole))], *cuts, fragments):
            protocol = self.open(**DEFLATE)
            events = self.receive_all(protocol, *pieces[:-1], pieces[-1] + b"\x81\x81\0\0\0\0a")
            self.assertEqual(events, [b"ab" * (self.SIZE // 2), "a"])
            self.assertEqual(protocol.unfinished_size, 0)

    def test_client_receives_unmasked_ones(self) -> None:
        payload = self.compress(self.SIZE)
        protocol = self.open(client=True, **DEFLATE)
        events = self.receive_all(protocol, b"\xc2\x7e" + len(payload).to_bytes(2, "big") + payload)
        self.assertEqual(events, [b"ab" * (self.SIZE // 2)])

    def test_while_it_waits_nothing_more_is_inflated(self) -> None:
        protocol = self.open(**DEFLATE)
        self.has_room = False
        whole = self.frame(0xC2, self.compress(self.SIZE))
        for piece in (whole, b"", b"", self.frame(0x81, b"a" * 126)):
            self.assertEqual(protocol.receive_data(piece), ([], b""))
            self.assertTrue(protocol.is_suspended)
        self.assertLess(protocol.unfinished_size, 2000)
        self.assertLess(max(self.asked), 600)

    def test_messages_of_the_same_data_count(self) -> None:
        protocol = self.open(**DEFLATE)
        protocol.receive_data(self.frame(0xC2, self.compress(60_000)) * 20)
        self.assertGreater(max(self.asked), 1_100_000)
        steps = [later - earlier for earlier, later in zip(self.asked, self.asked[1:])]
        self.assertLess(max(steps), 70_000)

    def test_large_message_counts_once_more_when_it_is_complete(self) -> None:
        protocol = self.open()
        wide = "\U0001f600".encode() + b"a" * 69_996
        wire = b"\x81\xff" + len(wide).to_bytes(8, "big") + bytes(4) + wide
        protocol.receive_data(wire[:-1])
        events, _ = protocol.receive_data(wire[-1:])
        self.assertEqual(self.asked, [69_999, 70_000, measure(events)])

    def test_small_and_plain_messages_ask_for_nothing(self) -> None:
        protocol = self.open()
        wire = b"\x02\xff" + (65536).to_bytes(8, "big") + bytes(4) + bytes(65536) + b"\x80\x80\0\0\0\0"
        for start in range(0, len(wire), 1000):
            protocol.receive_data(wire[start : start + 1000])
        self.assertEqual(self.asked, [])

    def test_our_close_ends_the_wait(self) -> None:
        protocol = self.open(**DEFLATE)
        self.has_room = False
        protocol.receive_data(self.frame(0xC2, self.compress(self.SIZE)) + bytes.fromhex("88 80 00000000"))
        protocol.close()
        events, _ = protocol.receive_data(b"")
        self.assertEqual(events, [WebSocketDisconnected(1005, "")])

    def test_it_may_be_taken_away(self) -> None:
        protocol = self.open(**DEFLATE)
        self.has_room = False
        protocol.receive_data(self.frame(0xC2, self.compress(self.SIZE)))
        protocol.reserve = None
        self.assertEqual(protocol.receive_data(b"")[0], [b"ab" * (self.SIZE // 2)])


if __name__ == "__main__":
    unittest.main()
