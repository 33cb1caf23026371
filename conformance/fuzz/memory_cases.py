"""What is fed to see how much memory it takes, and the limit that is in force meanwhile."""

from __future__ import annotations

from typing import Any, Callable, List, NamedTuple

from wsbridge.config import ServerConfig
from wsbridge.protocols.http11 import RequestParser
from wsbridge.protocols.ws import WSProtocol

from .adversaries import (
    EMPTY_FINAL,
    EMPTY_STORED,
    EURO,
    KIB,
    LINE,
    MASK,
    READ,
    Feed,
    cut,
    deflate,
    fill,
    masked,
)

CONFIG = ServerConfig()
ASTRAL = "\U0001f600"
WHOLE = 2**40

# The limits and their names. A read has up to 256 KiB (over TLS and on uvloop; `READ_SIZE` otherwise); the
# server hands on compressed data in slices of 16 KiB, see `COMPRESSED_SLICE`.
SIZE, MESSAGE = "ws_max_size", CONFIG.ws_max_size
QUEUES, QUEUE = "ws_max_queue_bytes", CONFIG.ws_max_queue_bytes
HEADS, HEAD = "limit_request_head", CONFIG.limit_request_head
READS, PIECE = "one read", 256 * KIB
COMPRESSED_PIECE = 16 * KIB


# The limit counts UTF-8, and CPython's decoder takes room for as many characters as there are bytes: first of
# one byte each, then, once a wider character comes, of 2 or 4 as well. With the source that is 4 or 6 times
# the limit, for a `str` that is given to the application with up to 4. AT_ONCE: fed in one piece, which no
# server does, one copy of all of it more.
WIDE, ASTRALS, AT_ONCE = 4.1, 6.1, 7.1


class Case(NamedTuple):
    """build: the pieces for that limit. open: a new receiver. allowed: how many times the limit."""

    name: str
    limit_name: str
    limit: int
    build: Callable[[int], List[bytes]]
    open: Callable[[], Feed]
    allowed: float = 4.0


def connection(size: int = MESSAGE, **arguments: Any) -> Callable[[], Feed]:
    """What opens a connection with that limit; `compressed`, `paused` and `closing` prepare it."""
    compresses, paused, closing = (arguments.pop(name, False) for name in ("compressed", "paused", "closing"))
    if compresses:
        arguments.update(enable_compression=True, peer_extensions=[b"permessage-deflate"])

    def open_connection() -> Feed:
        ws = WSProtocol(max_message_size=size, **arguments)
        if paused:
            ws.pause_writing()
        if closing:
            ws.close()
        return ws.receive_data

    return open_connection


def open_request_head() -> Feed:
    parser = RequestParser(
        max_request_line=CONFIG.limit_request_line,
        max_head=CONFIG.limit_request_head,
        max_headers=CONFIG.limit_request_fields,
    )
    return parser.receive_data


def frame(first: int, payload: bytes, piece: int = PIECE) -> List[bytes]:
    return cut(masked(first, payload), piece)


def binary(piece: int = PIECE) -> Callable[[int], List[bytes]]:
    return lambda size: frame(0x82, bytes(size), piece)


def text(before: str, after: str, piece: int = PIECE) -> Callable[[int], List[bytes]]:
    """ASCII between two texts, in all of the size in UTF-8."""
    return lambda size: frame(0x81, build_text(before, size, after), piece)


def build_text(before: str, size: int, after: str) -> bytes:
    first, last = before.encode(), after.encode()
    return first + b"a" * (size - len(first) - len(last)) + last


def astral_only(size: int) -> List[bytes]:
    return frame(0x81, ASTRAL.encode() * (size // 4))


def fragments(size: int) -> List[bytes]:
    """One binary message in frames of 64 bytes."""
    count = size // 64
    parts = [masked((0 if at else 2) | (0x80 if at == count - 1 else 0), bytes(64)) for at in range(count)]
    return cut(b"".join(parts), PIECE)


def inflating(build: Callable[[int], bytes]) -> Callable[[int], List[bytes]]:
    return lambda size: cut(masked(0xC1, deflate(build(size))), COMPRESSED_PIECE)


def blocks(unit: bytes) -> Callable[[int], List[bytes]]:
    return lambda size: cut(masked(0xC2, fill(unit, size)), COMPRESSED_PIECE)


def endless(unit: bytes) -> Callable[[int], List[bytes]]:
    """Far more than any limit, in pieces as they are read."""
    return lambda size: [fill(unit, PIECE)] * 16


def head(unit: bytes, piece: int) -> Callable[[int], List[bytes]]:
    """A head that has just the size."""
    before, after = LINE + b"Host: a\r\n", b"x:\r\n\r\n"

    def build(size: int) -> List[bytes]:
        middle = fill(unit, size - len(before) - len(after))
        return cut(before + middle + after, piece)

    return build


late_astral = inflating(lambda size: build_text("", size, ASTRAL))

PLAIN, CLOSING, PAUSED = connection(), connection(closing=True), connection(paused=True)
INFLATING, INFLATING_AN_EIGHTH = connection(compressed=True), connection(MESSAGE // 8, compressed=True)
CLAIM = b"\x82\xff\x40" + bytes(7) + MASK + bytes(READ)
PROMISE = b"\x82\xff\0\0\0\0\1\0\0\0" + MASK
PING = b"\x89\xfd" + MASK + bytes(125)

CASES = [
    Case("binary frame", SIZE, MESSAGE, binary(), PLAIN),
    Case("binary frame in pieces of 1448", SIZE, MESSAGE, binary(1448), PLAIN),
    Case("binary frame in one piece", SIZE, MESSAGE, binary(WHOLE), PLAIN),
    Case("binary in fragments of 64 bytes", SIZE, MESSAGE, fragments, PLAIN),
    Case("ASCII", SIZE, MESSAGE, text("", ""), PLAIN),
    Case("ASCII in one piece", SIZE, MESSAGE, text("", "", WHOLE), PLAIN),
    Case("euro signs", SIZE, MESSAGE, lambda size: frame(0x81, EURO * (size // 3)), PLAIN, WIDE),
    Case("ASCII, then a euro sign", SIZE, MESSAGE, text("", "\u20ac"), PLAIN, WIDE),
    Case("ASCII, then one astral", SIZE, MESSAGE, text("", ASTRAL), PLAIN, ASTRALS),
    Case("one astral, then ASCII", SIZE, MESSAGE, text(ASTRAL, ""), PLAIN, ASTRALS),
    Case("ASCII, then one astral, in one piece", SIZE, MESSAGE, text("", ASTRAL, WHOLE), PLAIN, AT_ONCE),
    Case("astral only", SIZE, MESSAGE, astral_only, PLAIN, ASTRALS),
    Case("zeros, compressed", SIZE, MESSAGE, inflating(bytes), INFLATING),
    Case("zeros, four times the limit", SIZE, MESSAGE, inflating(lambda size: bytes(4 * size)), INFLATING),
    Case("ASCII, compressed", SIZE, MESSAGE, inflating(lambda size: b"a" * size), INFLATING),
    Case("ASCII, then one astral, compressed", SIZE, MESSAGE, late_astral, INFLATING, ASTRALS),
    Case("blocks 00 00 00 ff ff", SIZE, MESSAGE, blocks(EMPTY_STORED), INFLATING),
    Case("blocks with BFINAL", SIZE, MESSAGE // 8, blocks(EMPTY_FINAL), INFLATING_AN_EIGHTH),
    Case("a claim of 2**62 bytes", READS, PIECE, lambda _: [CLAIM], PLAIN),
    Case("a promise of 16 MiB", READS, PIECE, lambda _: [PROMISE], PLAIN),
    Case("a message behind our CLOSE", READS, PIECE, lambda _: frame(0x82, bytes(MESSAGE)), CLOSING),
    Case("empty messages", QUEUES, QUEUE, endless(b"\x81\x80" + MASK), PLAIN),
    Case("messages of 1 byte", QUEUES, QUEUE, endless(b"\x81\x81" + MASK + b"a"), PLAIN),
    Case("empty fragments", READS, PIECE, endless(b"\0\x80" + MASK), PLAIN),
    Case("empty PINGs", READS, PIECE, endless(b"\x89\x80" + MASK), PLAIN),
    Case("PINGs of 125 bytes", READS, PIECE, endless(PING), PLAIN),
    Case("PINGs, writing paused", READS, PIECE, endless(PING), PAUSED),
    Case("one header line", HEADS, HEAD, head(b"v", 64), open_request_head),
    Case("one header line, byte by byte", HEADS, HEAD, head(b"v", 1), open_request_head),
    Case("90 header lines", HEADS, HEAD, head(b"a:" + b"b" * 177 + b"\r\n", WHOLE), open_request_head),
    Case("header lines, byte by byte", HEADS, HEAD, head(b"a:b\r\n", 1), open_request_head),
]
