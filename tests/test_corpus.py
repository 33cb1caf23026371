"""A corpus of frames, what comes of each, and every place at which the stream can be cut in two.

A row is what the peer sends, and then what must come of it:

    str, bytes              a message for the application
    Sent(wire)              what must be written at once
    Closed(code, reason)    the peer has closed
    Failed(code, reason)    the last byte breaks a rule: a CLOSE with this code and reason is written

Wire bytes are hex, and ``2e*256`` is a word 256 times. A row ends between two messages, or its last byte ends
the connection. To add one, add a line: from the standard, by hand. A client's keys are four zeros.
"""

from __future__ import annotations

import unittest
from typing import Any, Iterator, List, NamedTuple, Tuple, Union

from wsbridge.protocols.events import WebSocketDataReceived, WebSocketDisconnected
from wsbridge.protocols.ws import Event, WSProtocol

from .doubles import use_random


class Sent(NamedTuple):
    wire: str


class Closed(NamedTuple):
    code: int
    reason: str = ""


class Failed(NamedTuple):
    code: int
    reason: str


Row = Tuple[Union[str, bytes, Sent, Closed, Failed], ...]

BAD_TEXT = Failed(1007, "text message is not valid UTF-8")
BAD_REASON = Failed(1007, "close reason is not valid UTF-8")
NO_MESSAGE = Failed(1002, "continuation frame outside a message")
NOT_MASKED = Failed(1002, "unmasked frame from a client")
MASKED = Failed(1002, "masked frame from a server")
TOP_BIT = Failed(1002, "most significant bit of the payload length is set")


def reserved(bits: str) -> Failed:
    return Failed(1002, f"reserved bits {bits} set without a meaning")


def unknown(opcode: int) -> Failed:
    return Failed(1002, f"unknown opcode {opcode}")


def fragmented(opcode: int) -> Failed:
    return Failed(1002, f"fragmented control frame, opcode {opcode}")


def too_long(opcode: int) -> Failed:
    return Failed(1002, f"control frame of over 125 bytes, opcode {opcode}")


def not_shortest(length: int) -> Failed:
    return Failed(1002, f"payload length {length} is not in its shortest form")


def inside(opcode: int) -> Failed:
    return Failed(1002, f"new message, opcode {opcode}, inside a fragmented one")


def bad_code(code: int) -> Failed:
    return Failed(1002, f"invalid close code {code}")


def too_big(limit: int) -> Failed:
    return Failed(1009, f"message over {limit} bytes")


MESSAGES_TO_A_SERVER: List[Row] = [
    # RFC 6455 5.6 and 5.7: text and binary.
    ("81 80 00000000", ""),
    ("81 80 37fa213d", ""),
    ("81 81 00000000 00", "\0"),
    ("81 81 00000000 7f", "\x7f"),
    ("81 81 ffffffff 9e", "a"),
    ("81 82 00000000 c280", "\x80"),
    ("81 82 00000000 dfbf", "\u07ff"),
    ("81 83 00000000 e0a080", "\u0800"),
    ("81 83 00000000 e282ac", "\u20ac"),
    ("81 83 00000000 ed9fbf", "\ud7ff"),
    ("81 83 00000000 ee8080", "\ue000"),
    ("81 83 00000000 efbbbf", "\ufeff"),
    ("81 83 00000000 efbfbf", "\uffff"),
    ("81 84 00000000 f0908080", "\U00010000"),
    ("81 84 00000000 f09f9880", "\U0001f600"),
    ("81 84 00000000 f48fbfbf", "\U0010ffff"),
    ("81 84 01020304 60606060", "abcd"),
    ("81 85 37fa213d 7f9f4d5158", "Hello"),
    ("81 85 20202020 48454c4c4f", "hello"),
    ("82 80 00000000", b""),
    ("82 81 00000000 00", b"\0"),
    ("82 81 80000000 7f", b"\xff"),
    ("82 82 00000000 8180", b"\x81\x80"),
    ("82 83 00000000 eda080", b"\xed\xa0\x80"),
    ("82 84 01020304 01020304", bytes(4)),
    ("82 85 01020304 0102030401", bytes(5)),
    ("82 88 000000ff 000000ff000000ff", bytes(8)),
    # 5.2: the three forms of a length.
    ("82 fd 00000000 61*125", b"a" * 125),
    ("81 fd 01020304 60636265*31 60", "a" * 125),
    ("82 fe 007e 00000000 61*126", b"a" * 126),
    ("81 fe 007e 01020304 60636265*31 6063", "a" * 126),
    ("81 fe 007f 00000000 61*127", "a" * 127),
    ("81 fe 0080 00000000 e282ac*42 6161", "\u20ac" * 42 + "aa"),
    ("82 fe 00ff 00000000 ff*255", b"\xff" * 255),
    ("81 fe 0100 00000000 2e*256", "." * 256),
    ("82 fe 0101 00000000 2e*257", b"." * 257),
    ("82 fe 07ff 01020304 60636265*511 606362", b"a" * 2047),
    ("81 fe 0801 01020304 60636265*512 60", "a" * 2049),
    ("81 fe 0960 00000000 f09f9880*600", "\U0001f600" * 600),
    ("82 fe ffff 00000000 2e*65535", b"." * 65535),
    ("81 ff 0000000000010000 01020304 60636265*16384", "a" * 65536),
    # 5.4: fragments.
    ("01 80 00000000 80 80 00000000", ""),
    ("02 80 00000000 80 80 00000000", b""),
    ("01 80 00000000 00 80 00000000 80 80 00000000", ""),
    ("01 83 00000000 48656c 80 82 00000000 6c6f", "Hello"),
    ("01 83 37fa213d 7f9f4d 80 82 3d37fa21 5158", "Hello"),
    ("02 81 00000000 00 00 81 00000000 01 00 81 00000000 02 80 81 00000000 03", b"\x00\x01\x02\x03"),
    ("01 81 00000000 e2 00 81 00000000 82 80 81 00000000 ac", "\u20ac"),
    ("01 81 00000000 f0 00 81 00000000 9f 00 81 00000000 98 80 81 00000000 80", "\U0001f600"),
    ("01 82 00000000 61c3 80 82 00000000 a962", "a\xe9b"),
    ("01 80 00000000 80 83 00000000 e282ac", "\u20ac"),
    ("01 83 00000000 e282ac 80 80 00000000", "\u20ac"),
    ("01 81 00000000 61 008000000000*20 80 81 00000000 62", "ab"),
    ("02 fd 00000000 00*125 80 81 00000000 01", bytes(125) + b"\x01"),
    ("01 fe 007e 00000000 61*126 80 fe 0080 00000000 62*128", "a" * 126 + "b" * 128),
    # Several messages.
    ("81 80 00000000 81 80 00000000", "", ""),
    ("81 81 00000000 61 82 81 00000000 62 81 81 00000000 63", "a", b"b", "c"),
    ("81 85 37fa213d 7f9f4d5158 81 85 20202020 48454c4c4f", "Hello", "hello"),
    ("82 fe 007e 00000000 61*126 81 81 00000000 62", b"a" * 126, "b"),
    ("81 81 00000000 62 82 fe 007e 00000000 61*126", "b", b"a" * 126),
    ("81810000000061*20", *["a"] * 20),
    ("01 81 00000000 61 80 80 00000000 02 81 00000000 62 80 80 00000000", "a", b"b"),
    ("01 81 00000000 61 80 81 00000000 62 82 81 00000000 63", "ab", b"c"),
    ("82 81 00000000 61 01 81 00000000 62 80 81 00000000 63", b"a", "bc"),
]

CONTROL_FRAMES_TO_A_SERVER: List[Row] = [
    # RFC 6455 5.5.2 and 5.5.3: PING and PONG.
    ("89 80 00000000", Sent("8a 00")),
    ("89 81 00000000 21", Sent("8a 01 21")),
    ("89 85 37fa213d 7f9f4d5158", Sent("8a 05 48656c6c6f")),
    ("89 83 00000000 eda080", Sent("8a 03 eda080")),
    ("89 fd 00000000 70*125", Sent("8a 7d 70*125")),
    ("89 81 00000000 31 89 81 00000000 32 89 80 00000000", Sent("8a 01 31 8a 01 32 8a 00")),
    ("8a 80 00000000",),
    ("8a 85 37fa213d 7f9f4d5158",),
    ("8a fd 00000000 ff*125",),
    ("89 80 00000000 81 81 00000000 61 89 81 00000000 31", Sent("8a 00"), "a", Sent("8a 01 31")),
    ("01 81 00000000 61 89 81 00000000 21 80 81 00000000 62", Sent("8a 01 21"), "ab"),
    ("02 81 00000000 61 8a 81 00000000 21 80 81 00000000 62", b"ab"),
    ("01 82 00000000 e282 89 81 00000000 ff 80 81 00000000 ac", Sent("8a 01 ff"), "\u20ac"),
    ("01 80 00000000 89 80 00000000 00 80 00000000 89 80 00000000 80 80 00000000", Sent("8a 00 8a 00"), ""),
    # 5.5.1: CLOSE, and 7.4.1, 7.4.2 and the registry of IANA: its codes.
    ("88 80 00000000", Closed(1005), Sent("88 00")),
    ("88 80 37fa213d", Closed(1005), Sent("88 00")),
    ("88 82 00000000 03e8", Closed(1000), Sent("88 02 03e8")),
    ("88 82 37fa213d 3412", Closed(1000), Sent("88 02 03e8")),
    ("88 82 00000000 03e9", Closed(1001), Sent("88 02 03e9")),
    ("88 82 00000000 03ea", Closed(1002), Sent("88 02 03ea")),
    ("88 82 00000000 03eb", Closed(1003), Sent("88 02 03eb")),
    ("88 82 00000000 03ef", Closed(1007), Sent("88 02 03ef")),
    ("88 82 00000000 03f0", Closed(1008), Sent("88 02 03f0")),
    ("88 82 00000000 03f1", Closed(1009), Sent("88 02 03f1")),
    ("88 82 00000000 03f2", Closed(1010), Sent("88 02 03f2")),
    ("88 82 00000000 03f3", Closed(1011), Sent("88 02 03f3")),
    ("88 82 00000000 03f4", Closed(1012), Sent("88 02 03f4")),
    ("88 82 00000000 03f6", Closed(1014), Sent("88 02 03f6")),
    ("88 82 00000000 0bb8", Closed(3000), Sent("88 02 0bb8")),
    ("88 82 00000000 0fa0", Closed(4000), Sent("88 02 0fa0")),
    ("88 82 00000000 1387", Closed(4999), Sent("88 02 1387")),
    ("88 85 00000000 03e9 627965", Closed(1001, "bye"), Sent("88 05 03e9 627965")),
    ("88 85 00000000 03e8 e282ac", Closed(1000, "\u20ac"), Sent("88 05 03e8 e282ac")),
    ("88 fd 00000000 03e8 72*123", Closed(1000, "r" * 123), Sent("88 7d 03e8 72*123")),
    ("81 81 00000000 61 88 80 00000000", "a", Closed(1005), Sent("88 00")),
    ("89 81 00000000 21 88 80 00000000", Sent("8a 01 21"), Closed(1005), Sent("88 00")),
    ("01 81 00000000 61 88 82 00000000 03e8", Closed(1000), Sent("88 02 03e8")),
    ("01 82 00000000 e282 88 80 00000000", Closed(1005), Sent("88 00")),
    ("88 81 00000000 03", Failed(1002, "close payload of 1 byte")),
    ("88 82 00000000 0000", bad_code(0)),
    ("88 82 00000000 03e7", bad_code(999)),
    ("88 82 00000000 03ec", bad_code(1004)),
    ("88 82 00000000 03ed", bad_code(1005)),
    ("88 82 00000000 03ee", bad_code(1006)),
    ("88 82 00000000 03f7", bad_code(1015)),
    ("88 82 00000000 03f8", bad_code(1016)),
    ("88 82 00000000 0bb7", bad_code(2999)),
    ("88 82 00000000 1388", bad_code(5000)),
    ("88 82 00000000 ffff", bad_code(65535)),
    ("88 83 00000000 03e8 ff", BAD_REASON),
    ("88 84 00000000 03e8 c0af", BAD_REASON),
    ("88 84 00000000 03e8 e282", BAD_REASON),
    ("88 85 00000000 03e8 eda080", BAD_REASON),
    ("88 86 00000000 03e8 f4908080", BAD_REASON),
]

VIOLATIONS_TO_A_SERVER: List[Row] = [
    # RFC 6455 5.2: opcodes and reserved bits.
    ("83 80", unknown(3)),
    ("84 80", unknown(4)),
    ("85 80", unknown(5)),
    ("86 80", unknown(6)),
    ("87 80", unknown(7)),
    ("8b 80", unknown(11)),
    ("8c 80", unknown(12)),
    ("8d 80", unknown(13)),
    ("8e 80", unknown(14)),
    ("8f 80", unknown(15)),
    ("03 fe", unknown(3)),
    ("91 80", reserved("001")),
    ("a1 80", reserved("010")),
    ("b2 80", reserved("011")),
    ("c1 80", reserved("100")),
    ("d9 80", reserved("101")),
    ("e8 80", reserved("110")),
    ("f0 80", reserved("111")),
    # 5.1: masking.
    ("81 00", NOT_MASKED),
    ("82 7e", NOT_MASKED),
    ("01 7f", NOT_MASKED),
    ("88 00", NOT_MASKED),
    ("89 05", NOT_MASKED),
    # 5.2: lengths.
    ("82 fe 0000", not_shortest(0)),
    ("81 fe 0001", not_shortest(1)),
    ("02 fe 007d", not_shortest(125)),
    ("82 ff 0000000000000000", not_shortest(0)),
    ("81 ff 000000000000007d", not_shortest(125)),
    ("82 ff 000000000000ffff", not_shortest(65535)),
    ("82 ff 8000000000000000", TOP_BIT),
    ("81 ff ffffffffffffffff", TOP_BIT),
    ("82 ff 7fffffffffffffff", too_big(16777216)),
    ("01 ff 0000000001000001", too_big(16777216)),
    # 5.5: control frames.
    ("08 80", fragmented(8)),
    ("09 85", fragmented(9)),
    ("0a fe", fragmented(10)),
    ("88 fe", too_long(8)),
    ("89 ff", too_long(9)),
    ("8a fe", too_long(10)),
    # 5.4: fragments.
    ("80 80 00000000", NO_MESSAGE),
    ("00 80 00000000", NO_MESSAGE),
    ("80 fe 0080 00000000", NO_MESSAGE),
    ("81 81 00000000 61 80 81 00000000", "a", NO_MESSAGE),
    ("02 81 00000000 61 80 80 00000000 00 80 00000000", b"a", NO_MESSAGE),
    ("01 80 00000000 81 80 00000000", inside(1)),
    ("01 80 00000000 82 80 00000000", inside(2)),
    ("02 81 00000000 61 01 80 00000000", inside(1)),
    ("02 81 00000000 61 00 81 00000000 61 02 85 00000000", inside(2)),
    ("01 80 00000000 89 81 00000000 21 81 80 00000000", Sent("8a 01 21"), inside(1)),
    # 8.1: text, in frames of which more is to come.
    ("81 84 00000000 80", BAD_TEXT),
    ("81 84 00000000 c0", BAD_TEXT),
    ("81 84 00000000 c1", BAD_TEXT),
    ("81 84 00000000 f5", BAD_TEXT),
    ("81 84 37fa213d c8", BAD_TEXT),
    ("81 84 00000000 c32e", BAD_TEXT),
    ("81 84 00000000 e080", BAD_TEXT),
    ("81 84 00000000 e09f", BAD_TEXT),
    ("81 84 00000000 eda0", BAD_TEXT),
    ("81 84 00000000 edbf", BAD_TEXT),
    ("81 84 00000000 f08f", BAD_TEXT),
    ("81 84 00000000 f490", BAD_TEXT),
    ("81 84 00000000 e2822e", BAD_TEXT),
    ("81 86 00000000 61 f09f982e", BAD_TEXT),
    ("81 fe 0100 00000000 61*200 f09f98c0", BAD_TEXT),
    ("01 82 00000000 e282 80 82 00000000 2e", BAD_TEXT),
    ("01 81 00000000 ed 00 85 00000000 a0", BAD_TEXT),
    # And text that ends inside a character.
    ("81 81 00000000 c3", BAD_TEXT),
    ("81 82 00000000 e282", BAD_TEXT),
    ("81 83 00000000 f09f98", BAD_TEXT),
    ("01 82 00000000 61e2 80 80 00000000", BAD_TEXT),
    # What came before stays.
    ("81 81 00000000 61 81 81 00000000 62 83 80", "a", "b", unknown(3)),
    ("89 80 00000000 81 81 00000000 ff", Sent("8a 00"), BAD_TEXT),
]

TO_A_CLIENT: List[Row] = [
    ("81 00", ""),
    ("81 05 48656c6c6f", "Hello"),
    ("81 03 e282ac", "\u20ac"),
    ("82 00", b""),
    ("82 03 eda080", b"\xed\xa0\x80"),
    ("82 7d 61*125", b"a" * 125),
    ("81 7e 007e 61*126", "a" * 126),
    ("82 7e 0100 ab*256", b"\xab" * 256),
    ("82 7f 0000000000010000 ab*65536", b"\xab" * 65536),
    ("01 03 48656c 80 02 6c6f", "Hello"),
    ("01 01 e2 00 01 82 80 01 ac", "\u20ac"),
    ("02 00 00 00 80 00", b""),
    ("81 01 61 82 01 62 81 00", "a", b"b", ""),
    ("8a 00",),
    ("8a 05 48656c6c6f",),
    ("89 00", Sent("8a 80 00000000")),
    ("89 05 48656c6c6f", Sent("8a 85 00000000 48656c6c6f")),
    ("89 7d 70*125", Sent("8a fd 00000000 70*125")),
    ("01 01 61 89 01 21 80 01 62", Sent("8a 81 00000000 21"), "ab"),
    ("88 00", Closed(1005), Sent("88 80 00000000")),
    ("88 02 03e8", Closed(1000), Sent("88 82 00000000 03e8")),
    ("88 05 03e9 627965", Closed(1001, "bye"), Sent("88 85 00000000 03e9 627965")),
    ("01 01 61 88 02 03f4", Closed(1012), Sent("88 82 00000000 03f4")),
    ("81 01 61 88 02 03f5", "a", Closed(1013), Sent("88 82 00000000 03f5")),
    ("88 01 03", Failed(1002, "close payload of 1 byte")),
    ("88 02 03ee", bad_code(1006)),
    ("88 04 03e8 c0af", BAD_REASON),
    ("81 80", MASKED),
    ("01 fe", MASKED),
    ("88 82", MASKED),
    ("8a ff", MASKED),
    ("83 00", unknown(3)),
    ("8f 00", unknown(15)),
    ("91 00", reserved("001")),
    ("c1 00", reserved("100")),
    ("09 00", fragmented(9)),
    ("88 7e", too_long(8)),
    ("82 7e 007d", not_shortest(125)),
    ("82 7f 000000000000ffff", not_shortest(65535)),
    ("82 7f 8000000000000000", TOP_BIT),
    ("82 7f 7fffffffffffffff", too_big(16777216)),
    ("80 00", NO_MESSAGE),
    ("00 05", NO_MESSAGE),
    ("01 00 81 00", inside(1)),
    ("02 01 61 02 05", inside(2)),
    ("81 05 c0", BAD_TEXT),
    ("81 05 eda0", BAD_TEXT),
    ("81 02 e282", BAD_TEXT),
    ("81 01 61 81 01 ff", "a", BAD_TEXT),
]

DEFLATE_TO_A_SERVER: List[Row] = [
    # RFC 7692 7.2.3: one block; the shared window; no compression; BFINAL; two blocks; an empty message.
    ("c1 87 00000000 f248cdc9c90700", "Hello"),
    ("c2 87 00000000 f248cdc9c90700", b"Hello"),
    ("c1 87 37fa213d c5b2ecf4fefd21", "Hello"),
    ("c1 87 00000000 f248cdc9c90700 c1 85 00000000 f200110000", "Hello", "Hello"),
    ("c1 8b 00000000 000500faff48656c6c6f00", "Hello"),
    ("c1 88 00000000 f348cdc9c9070000", "Hello"),
    ("c1 88 00000000 f348cdc9c9070000 c1 87 00000000 f248cdc9c90700", "Hello", "Hello"),
    ("c1 8d 00000000 f24805000000ffffcac9c90700", "Hello"),
    ("c1 81 00000000 00", ""),
    ("c2 81 00000000 00", b""),
    # Fragments.
    ("41 83 00000000 f248cd 80 84 00000000 c9c90700", "Hello"),
    ("42 81 00000000 f2 00 84 00000000 48cdc9c9 80 82 00000000 0700", b"Hello"),
    ("41 80 00000000 80 87 00000000 f248cdc9c90700", "Hello"),
    ("41 87 00000000 f248cdc9c90700 80 80 00000000", "Hello"),
    ("41 83 00000000 f248cd 89 81 00000000 21 80 84 00000000 c9c90700", Sent("8a 01 21"), "Hello"),
    # RFC 1951 3.2.4: stored blocks, two of them, the last one of a stream, and longer ones.
    ("c1 8d 00000000 00 0100 feff 61 00 0100 feff 62 00", "ab"),
    ("c1 87 00000000 01 0100 feff 61 00", "a"),
    ("c1 89 00000000 00 0300 fcff e282ac 00", "\u20ac"),
    ("c2 fe 0106 00000000 00 0001 fffe 2e*256 00", b"." * 256),
    ("c2 ff 0000000000010005 00000000 00 ffff 0000 2e*65535 00", b"." * 65535),
    # Uncompressed messages among compressed ones, and control frames, which never are.
    ("81 81 00000000 61", "a"),
    ("01 81 00000000 61 80 81 00000000 62", "ab"),
    ("c1 87 00000000 f248cdc9c90700 81 81 00000000 61 c1 85 00000000 f200110000", "Hello", "a", "Hello"),
    ("89 81 00000000 21", Sent("8a 01 21")),
    ("c1 81 00000000 00 88 82 00000000 03e8", "", Closed(1000), Sent("88 02 03e8")),
    ("41 83 00000000 f248cd 88 80 00000000", Closed(1005), Sent("88 00")),
    # RFC 7692 6: RSV1 is for the first frame of a message.
    ("c0 80", reserved("100")),
    ("41 80 00000000 c0 80", reserved("100")),
    ("41 80 00000000 40 80", reserved("100")),
    ("c8 80", reserved("100")),
    ("c9 80", reserved("100")),
    ("ca 80", reserved("100")),
    ("d1 80", reserved("101")),
    ("e2 80", reserved("110")),
    ("c3 80", unknown(3)),
    ("c1 05", NOT_MASKED),
    ("41 80 00000000 c1 87 00000000", inside(1)),
    ("81 81 00000000 ff", BAD_TEXT),
    ("c1 8b 00000000 00 0300 fcff eda0", BAD_TEXT),
    ("c1 88 00000000 00 0200 fdff e282 00", BAD_TEXT),
    (
        "c1 86 00000000 f248cdc9c907",
        Failed(1007, "compressed message does not inflate: it ends inside a block"),
    ),
]

DEFLATE_TO_A_CLIENT: List[Row] = [
    ("c1 07 f248cdc9c90700", "Hello"),
    ("c2 07 f248cdc9c90700 c2 05 f200110000", b"Hello", b"Hello"),
    ("41 03 f248cd 80 04 c9c90700", "Hello"),
    ("41 03 f248cd 89 01 21 80 04 c9c90700", Sent("8a 81 00000000 21"), "Hello"),
    ("c1 0b 000500faff48656c6c6f00", "Hello"),
    ("c1 08 f348cdc9c9070000 c1 07 f248cdc9c90700", "Hello", "Hello"),
    ("c1 0d f24805000000ffffcac9c90700", "Hello"),
    ("c1 01 00 c2 01 00 81 00", "", b"", ""),
    ("c1 80", MASKED),
    ("c0 00", reserved("100")),
    ("c8 00", reserved("100")),
    ("a1 00", reserved("010")),
    ("c1 0b 00 0300 fcff eda0", BAD_TEXT),
]

# A server that takes messages of up to 5 bytes in up to 3 fragments.
LIMITS: List[Row] = [
    ("82 85 00000000 6162636465", b"abcde"),
    ("02 83 00000000 616263 00 80 00000000 80 82 00000000 6465", b"abcde"),
    ("89 86 00000000 616263646566", Sent("8a 06 616263646566")),
    ("88 88 00000000 03e8 6c6f6e676572", Closed(1000, "longer"), Sent("88 08 03e8 6c6f6e676572")),
    ("82 86", too_big(5)),
    ("01 fd", too_big(5)),
    ("82 fe 007e", too_big(5)),
    ("82 ff 0000000000010000", too_big(5)),
    ("02 83 00000000 616263 80 83 00000000", too_big(5)),
    ("01 85 00000000 6162636465 80 81 00000000", too_big(5)),
    (
        "01 80 00000000 00 80 00000000 00 80 00000000 80 80 00000000",
        Failed(1008, "message in more than 3 fragments"),
    ),
]

# What may stand behind any message: one more, of a single byte.
BEHIND = {False: bytes.fromhex("81 81 00000000 2e"), True: bytes.fromhex("81 01 2e")}


def parse_wire(wire: str) -> bytes:
    words = [word.partition("*") for word in wire.split()]
    return b"".join(bytes.fromhex(octets) * int(times or 1) for octets, _, times in words)


def cut(data: bytes) -> Iterator[List[bytes]]:
    """Whole, byte by byte, and in two at every place; of frames over 8 KiB at both ends and every 997th."""
    yield [data]
    yield [data[index : index + 1] for index in range(len(data))]
    places = set(range(1, len(data)))
    if len(data) > 8192:
        places = {*range(1, 32), *range(32, len(data), 997), *range(len(data) - 32, len(data))}
    for place in sorted(places):
        yield [data[:place], data[place:]]


def expect(row: Row, client: bool) -> Tuple[List[Event], bytes]:
    """The events and the outbound bytes that a row stands for, and the message behind it."""
    events: List[Event] = []
    outbound = b""
    for outcome in row[1:]:
        if isinstance(outcome, Sent):
            outbound += parse_wire(outcome.wire)
        elif isinstance(outcome, (str, bytes)):
            events.append(WebSocketDataReceived(outcome))
        else:
            events.append(WebSocketDisconnected(outcome.code, outcome.reason))
        if isinstance(outcome, Failed):
            payload = outcome.code.to_bytes(2, "big") + outcome.reason.encode()
            mask_bit, key = (0x80, bytes(4)) if client else (0, b"")
            outbound += bytes((0x88, mask_bit | len(payload))) + key + payload
    if not any(isinstance(event, WebSocketDisconnected) for event in events):
        events.append(WebSocketDataReceived("."))
    return events, outbound


def receive(protocol: WSProtocol, *pieces: bytes) -> Tuple[List[Event], bytes]:
    outcomes = [protocol.receive_data(piece) for piece in pieces]
    return [event for events, _ in outcomes for event in events], b"".join(sent for _, sent in outcomes)


class CorpusTests(unittest.TestCase):
    """Each row whole, byte by byte and cut in two, with a message behind it, or a part of one."""

    def setUp(self) -> None:
        use_random(self)

    def assert_rows(self, rows: List[Row], **options: Any) -> None:
        client = options.get("client", False)
        behind = BEHIND[client]
        for row in rows:
            wire, (events, outbound) = str(row[0]), expect(row, client)
            for *first, last in cut(parse_wire(wire)):
                for size in (3,) if first else (0, 3, len(behind)):
                    protocol = WSProtocol(**options)
                    case = f"{wire}: {len(first)} pieces, then {last[:16].hex()} and {size} bytes behind it"
                    early, early_sent = receive(protocol, *first)
                    self.assertTrue(protocol.is_receiving, case)
                    late, late_sent = receive(protocol, last + behind[:size], behind[size:])
                    self.assertEqual((early + late, early_sent + late_sent), (events, outbound), case)

    def test_messages_to_a_server(self) -> None:
        self.assert_rows(MESSAGES_TO_A_SERVER)

    def test_control_frames_to_a_server(self) -> None:
        self.assert_rows(CONTROL_FRAMES_TO_A_SERVER)

    def test_violations_to_a_server(self) -> None:
        self.assert_rows(VIOLATIONS_TO_A_SERVER)

    def test_frames_to_a_client(self) -> None:
        self.assert_rows(TO_A_CLIENT, client=True)

    def test_compressed_frames_to_a_server(self) -> None:
        offer = b"permessage-deflate"
        self.assert_rows(DEFLATE_TO_A_SERVER, enable_compression=True, peer_extensions=[offer])

    def test_compressed_frames_to_a_client(self) -> None:
        response = b"permessage-deflate; server_max_window_bits=12"
        options = {"client": True, "enable_compression": True, "peer_extensions": [response]}
        self.assert_rows(DEFLATE_TO_A_CLIENT, **options)

    def test_limits(self) -> None:
        self.assert_rows(LIMITS, max_message_size=5, max_fragments=3)


if __name__ == "__main__":
    unittest.main()
