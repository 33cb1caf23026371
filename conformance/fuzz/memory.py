"""Memory: the peak over the start for every input, which must not be above 4 times the limit in force.

Peaks are tracemalloc's, which sees what Python and zlib allocate; the pieces that are fed were there before,
as what a socket hands over is. What comes out is dropped before the next piece.
"""

from __future__ import annotations

import gc
import tracemalloc
from functools import partial
from typing import Any, Callable, NamedTuple, Sequence

import pytest

from wsbridge.config import ServerConfig
from wsbridge.protocols.errors import WSBridgeError

from ..lib.hostile.draws import cut
from . import adversaries as built
from .adversaries import EMPTY_FINAL, EMPTY_STORED, EURO, KIB, LINES, MASK, PING, SEGMENT, WHOLE, Input

CONFIG = ServerConfig()
MESSAGE, QUEUE, HEAD = CONFIG.ws_max_size, CONFIG.ws_max_queue_bytes, CONFIG.limit_request_head
# A read has up to 256 KiB (over TLS and on uvloop; `READ_SIZE` otherwise); the server hands on compressed
# data in slices of 16 KiB, see `COMPRESSED_SLICE`.
PIECE, COMPRESSED_PIECE = 256 * KIB, 16 * KIB

# The limit counts UTF-8, and CPython's decoder takes room for as many characters as there are bytes: first of
# one byte each, then, once a wider character comes, of 2 or 4 as well. With the source that is 4 or 6 times
# the limit, for a `str` that is given to the application with up to 4. AT_ONCE: fed in one piece, which no
# server does, one copy of all of it more.
WIDE, ASTRALS, AT_ONCE = 4.1, 6.1, 7.1


class Case(NamedTuple):
    """An input of the size of the limit in force, or of another one. allowed: how many times the limit."""

    limit: int
    input: Input
    allowed: float = 4.0
    size: int = 0


binary = partial(built.one_frame, piece=PIECE)
text = partial(built.one_frame, first=0x81, piece=PIECE)
compressed = partial(built.one_frame, first=0xC1, piece=COMPRESSED_PIECE, encode=built.deflate)


def endless(name: str, unit: bytes, *prepared: str) -> Input:
    """Far more than any limit, in pieces as they are read."""
    return Input(name, lambda size: [built.fill(unit, PIECE)] * 16, built.connection(*prepared))


def build_fragments(size: int) -> Sequence[bytes]:
    """One binary message in frames of 64 bytes."""
    begin, middle, end = (built.masked(first, bytes(64)) for first in (0x02, 0x00, 0x80))
    return cut(begin + middle * (size // 64 - 2) + end, PIECE)


# A new stream for every block takes so much time that less of it must do.
AN_EIGHTH = MESSAGE // 8
LIMITED = built.connection("compressed", max_message_size=AN_EIGHTH)
BLOCKS_WITH_BFINAL = compressed("blocks with BFINAL", EMPTY_FINAL, "compressed", encode=bytes, first=0xC2)

ASTRAL = "\U0001f600".encode()
CLAIM = b"\x82\xff\x40" + bytes(7) + MASK + bytes(64 * KIB)
PROMISE = b"\x82\xff\0\0\0\0\1\0\0\0" + MASK
LAST = b"x:\r\n\r\n"
ROOM = HEAD - len(LINES + LAST)

CASES = [
    Case(MESSAGE, binary("binary frame", b"\0")),
    Case(MESSAGE, binary("binary frame in pieces of 1448", b"\0", piece=SEGMENT)),
    Case(MESSAGE, binary("binary frame in one piece", b"\0", piece=WHOLE)),
    Case(MESSAGE, Input("binary in fragments of 64 bytes", build_fragments, built.connection())),
    Case(MESSAGE, text("ASCII", b"a")),
    Case(MESSAGE, text("ASCII in one piece", b"a", piece=WHOLE)),
    Case(MESSAGE, text("euro signs", EURO), WIDE),
    Case(MESSAGE, text("ASCII, then a euro sign", b"a", after=EURO), WIDE),
    Case(MESSAGE, text("ASCII, then one astral", b"a", after=ASTRAL), ASTRALS),
    Case(MESSAGE, text("one astral, then ASCII", b"a", before=ASTRAL), ASTRALS),
    Case(MESSAGE, text("ASCII, then one astral, in one piece", b"a", after=ASTRAL, piece=WHOLE), AT_ONCE),
    Case(MESSAGE, text("astral only", ASTRAL), ASTRALS),
    Case(MESSAGE, compressed("zeros, compressed", b"\0", "compressed")),
    Case(MESSAGE, compressed("zeros, four times the limit", b"\0", "compressed"), size=4 * MESSAGE),
    Case(MESSAGE, compressed("ASCII, compressed", b"a", "compressed")),
    Case(
        MESSAGE, compressed("ASCII, then one astral, compressed", b"a", "compressed", after=ASTRAL), ASTRALS
    ),
    Case(MESSAGE, compressed("blocks 00 00 00 ff ff", EMPTY_STORED, "compressed", encode=bytes, first=0xC2)),
    Case(AN_EIGHTH, BLOCKS_WITH_BFINAL._replace(open=LIMITED)),
    Case(PIECE, Input("a claim of 2**62 bytes", lambda _: [CLAIM], built.connection())),
    Case(PIECE, Input("a promise of 16 MiB", lambda _: [PROMISE], built.connection())),
    Case(PIECE, binary("a message behind our CLOSE", b"\0", "closing"), size=MESSAGE),
    Case(QUEUE, endless("empty messages", b"\x81\x80" + MASK)),
    Case(QUEUE, endless("messages of 1 byte", b"\x81\x81" + MASK + b"a")),
    Case(PIECE, endless("empty fragments", b"\0\x80" + MASK)),
    Case(PIECE, endless("empty PINGs", b"\x89\x80" + MASK)),
    Case(PIECE, endless("PINGs of 125 bytes", PING)),
    Case(PIECE, endless("PINGs, writing paused", PING, "paused")),
    Case(HEAD, built.head("one header line", LINES, b"v", LAST, 64), size=ROOM),
    Case(HEAD, built.head("one header line, byte by byte", LINES, b"v", LAST, 1), size=ROOM),
    Case(HEAD, built.head("90 header lines", LINES, b"a:" + b"b" * 177 + b"\r\n", LAST, WHOLE), size=ROOM),
    Case(HEAD, built.head("header lines, byte by byte", LINES, b"a:b\r\n", LAST, 1), size=ROOM),
]

# Of a short run: the cases of hostile input that no other one includes; tracing is slow.
SHORT = (
    *("binary frame in one piece", "ASCII, then one astral", "zeros, four times the limit"),
    *("blocks 00 00 00 ff ff", "a claim of 2**62 bytes", "a promise of 16 MiB", "messages of 1 byte"),
    *("empty fragments", "PINGs, writing paused", "one header line, byte by byte", "90 header lines"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.input.name)
def test_memory(case: Case, record_property: Callable[[str, Any], None]) -> None:
    """The peak is at most 4 times the limit, or what CPython's decoder needs for text that is not ASCII."""
    pieces = case.input.build(case.size or case.limit)
    # Once before, so that what is made on first use (tables, zlib's module) is not the input's doing.
    feed_all(case.input, pieces[:1])
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        feed_all(case.input, pieces)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    record_property("limit", case.limit)
    record_property("peak", peak - before)
    record_property("times the limit", round((peak - before) / case.limit, 2))
    record_property("allowed", case.allowed)
    assert peak - before <= case.allowed * case.limit


def feed_all(fed: Input, pieces: Sequence[bytes]) -> None:
    feed = fed.open(False)
    try:
        for piece in pieces:
            feed(piece)
    except WSBridgeError:
        pass
