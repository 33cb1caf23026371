"""Memory: the peak over the start for every input, which must not be above 4 times the limit in force.

Peaks are tracemalloc's, which sees what Python and zlib allocate; the pieces that are fed were there before,
as what a socket hands over is. What comes out is dropped before the next piece.
"""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any, Callable, Sequence

import pytest

from wsbridge.config import ServerConfig
from wsbridge.protocols.bodies import MAX_OVERHEAD
from wsbridge.protocols.errors import WSBridgeError
from wsbridge.server.connection.reading import READ_SIZE

from . import adversaries as built
from .adversaries import BINARY, COMPRESSED, MASK, PING, REQUEST, SERVER, TEXT, WHOLE, Input

CONFIG = ServerConfig()
MESSAGE, QUEUE, HEAD = CONFIG.ws_max_size, CONFIG.ws_max_queue_bytes, CONFIG.limit_request_head
# A read has up to 256 KiB (over TLS and on uvloop; `READ_SIZE` otherwise); the server hands on compressed
# data in slices of 16 KiB, see `COMPRESSED_SLICE`.
PIECE, SLICE = 256 * built.KIB, 16 * built.KIB

# The limit counts UTF-8, and CPython's decoder takes room for as many characters as there are bytes: first of
# one byte each, then, once a wider character comes, of 2 or 4 as well. With the source that is 4 or 6 times
# the limit, for a `str` that is given to the application with up to 4. AT_ONCE: fed in one piece, which no
# server does, one copy of all of it more.
WIDE, ASTRALS, AT_ONCE = 4.1, 6.1, 7.1


def case(limit: int, name: str, *fields: Any, allowed: float = 4.0, size: int = 0, **named: Any) -> Any:
    """An `Input` of the limit's size, or of another, and how many times the limit it may take."""
    drawn = Input(name, *fields, **{"piece": PIECE, **named})
    return pytest.param(limit, drawn, size or limit, allowed, id=name)


# A new stream for every block takes so much time that less of it must do.
AN_EIGHTH = MESSAGE // 8
LIMITED = built.connection(max_message_size=AN_EIGHTH, **built.DEFLATES)
ASTRAL = "\U0001f600".encode()
CLAIM = b"\x82\xff\x40" + bytes(7) + MASK + bytes(64 * built.KIB)
PROMISE = b"\x82\xff\0\0\0\0\1\0\0\0" + MASK
REST = b"x:\r\n\r\n"
# One binary message in frames of 64 bytes.
FIRST, MIDDLE, LAST = (built.masked(first, bytes(64)) for first in (0x02, 0x00, 0x80))
# The contents of the chunks of one read are objects until they are joined, for which CPython takes 80 bytes
# more for each.
MANY_PARTS = 20.0
TWO, THOUSAND = b"2\r\nbb\r\n", b"3e8\r\n" + b"b" * 1000 + b"\r\n"
# Far more than any limit.
FAR = 16 * PIECE
CHUNKED = built.open_chunked
DEFLATED: Any = {"piece": SLICE, "wrap": lambda data: built.masked(0xC1, built.deflate(data))}
BLOCKS: Any = {"piece": SLICE, "wrap": built.RSV1_BINARY}

CASES = [
    case(MESSAGE, "binary frame", SERVER, b"\0", wrap=BINARY),
    case(MESSAGE, "binary frame in pieces of 1448", SERVER, b"\0", piece=built.SEGMENT, wrap=BINARY),
    case(MESSAGE, "binary frame in one piece", SERVER, b"\0", piece=WHOLE, wrap=BINARY),
    case(MESSAGE, "binary in fragments of 64 bytes", SERVER, MIDDLE, FIRST, LAST, size=MESSAGE * 70 // 64),
    case(MESSAGE, "ASCII", SERVER, b"a", wrap=TEXT),
    case(MESSAGE, "ASCII in one piece", SERVER, b"a", piece=WHOLE, wrap=TEXT),
    case(MESSAGE, "euro signs", SERVER, built.EURO, wrap=TEXT, allowed=WIDE),
    case(MESSAGE, "ASCII, then a euro sign", SERVER, b"a", after=built.EURO, wrap=TEXT, allowed=WIDE),
    case(MESSAGE, "ASCII, then one astral", SERVER, b"a", after=ASTRAL, wrap=TEXT, allowed=ASTRALS),
    case(MESSAGE, "one astral, then ASCII", SERVER, b"a", ASTRAL, wrap=TEXT, allowed=ASTRALS),
    case(MESSAGE, "astral in one piece", SERVER, b"a", b"", ASTRAL, piece=WHOLE, wrap=TEXT, allowed=AT_ONCE),
    case(MESSAGE, "astral only", SERVER, ASTRAL, wrap=TEXT, allowed=ASTRALS),
    case(MESSAGE, "zeros, compressed", COMPRESSED, b"\0", **DEFLATED),
    case(MESSAGE, "zeros, four times the limit", COMPRESSED, b"\0", size=4 * MESSAGE, **DEFLATED),
    case(MESSAGE, "ASCII, compressed", COMPRESSED, b"a", **DEFLATED),
    case(MESSAGE, "astral, compressed", COMPRESSED, b"a", after=ASTRAL, allowed=ASTRALS, **DEFLATED),
    case(MESSAGE, "blocks 00 00 00 ff ff", COMPRESSED, built.EMPTY_STORED, **BLOCKS),
    case(AN_EIGHTH, "blocks with BFINAL", LIMITED, built.EMPTY_FINAL, **BLOCKS),
    case(PIECE, "a claim of 2**62 bytes", SERVER, CLAIM, size=1),
    case(PIECE, "a promise of 16 MiB", SERVER, PROMISE, size=1),
    case(PIECE, "a message behind our CLOSE", built.CLOSING, b"\0", wrap=BINARY, size=MESSAGE),
    case(QUEUE, "empty messages", SERVER, built.EMPTY, size=FAR),
    case(QUEUE, "messages of 1 byte", SERVER, built.ONE_BYTE, size=FAR),
    case(PIECE, "empty fragments", SERVER, b"\0\x80" + MASK, built.BEGIN, size=FAR),
    case(PIECE, "empty PINGs", SERVER, b"\x89\x80" + MASK, size=FAR),
    case(PIECE, "PINGs of 125 bytes", SERVER, PING, size=FAR),
    case(PIECE, "PINGs, writing paused", built.PAUSED, PING, size=FAR),
    case(HEAD, "one header line", REQUEST, b"v", built.LINES, REST, piece=64),
    case(HEAD, "one header line, byte by byte", REQUEST, b"v", built.LINES, REST, piece=1),
    case(HEAD, "90 header lines", REQUEST, b"a:" + b"b" * 177 + b"\r\n", built.LINES, REST, piece=WHOLE),
    case(HEAD, "header lines, byte by byte", REQUEST, b"a:b\r\n", built.LINES, REST, piece=1),
    # Of a body nothing is kept: only what one read brings. Of a size line and trailers the limits are.
    case(READ_SIZE, "a large chunk", CHUNKED, b"b", b"fffffffffffffff\r\n", piece=READ_SIZE, size=FAR),
    case(READ_SIZE, "chunks of 1000 bytes", CHUNKED, THOUSAND, piece=READ_SIZE, size=FAR),
    case(READ_SIZE, "chunks of 2 bytes", CHUNKED, TWO, piece=READ_SIZE, allowed=MANY_PARTS, size=FAR),
    case(READ_SIZE, "chunks of 2 bytes, byte by byte", CHUNKED, TWO, piece=1, size=FAR // 8),
    case(MAX_OVERHEAD, "zeros before a size", CHUNKED, b"0", piece=64, size=FAR),
    case(MAX_OVERHEAD, "a chunk extension", CHUNKED, b"x", b"1;", piece=1, size=FAR),
    case(HEAD, "trailers", CHUNKED, b"a:" + b"b" * 177 + b"\r\n", b"0\r\n", piece=64, size=FAR),
    case(HEAD, "one trailer, byte by byte", CHUNKED, b"b", b"0\r\na:", piece=1, size=FAR),
]


@pytest.mark.parametrize(("limit", "drawn", "size", "allowed"), CASES)
def test_memory(
    limit: int, drawn: Input, size: int, allowed: float, record_property: Callable[[str, Any], None]
) -> None:
    """The peak is at most 4 times the limit, or what CPython needs for wide text or many objects."""
    pieces = drawn.build(size)
    # Once before, so that what is made on first use (tables, zlib's module) is not the input's doing.
    feed_all(drawn, pieces[:1])
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        feed_all(drawn, pieces)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    record_property("limit", limit)
    record_property("peak", peak - before)
    record_property("times the limit", round((peak - before) / limit, 2))
    record_property("allowed", allowed)
    assert peak - before <= allowed * limit


def feed_all(fed: Input, pieces: Sequence[bytes]) -> None:
    feed = fed.open(False)
    try:
        for piece in pieces:
            feed(piece)
    except WSBridgeError:
        pass
