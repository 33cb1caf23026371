"""Inputs that cost a careless parser more than their size: each is built for any size and named.

The limits that would end them early are raised, so that the time per byte is seen at sizes that a server
with its defaults never takes.
"""

from __future__ import annotations

import zlib
from typing import Any, Callable, Iterable, List, NamedTuple, Sequence

from wsbridge.protocols.deflate import Inflater
from wsbridge.protocols.events import RequestReceived
from wsbridge.protocols.fields import has_token, parse_authority, parse_extension_offers, parse_list
from wsbridge.protocols.forwarded import TrustedPeers, read_forwarded
from wsbridge.protocols.handshake import check_upgrade_request
from wsbridge.protocols.http11 import RequestParser, ResponseParser
from wsbridge.protocols.ws import WSProtocol

from ..lib import wire

KIB, MIB = 1024, 1024 * 1024
READ, SEGMENT = 64 * KIB, 1448
UNLIMITED = 2**40
MASK = b"\x37\xfa\x21\x3d"

Feed = Callable[[bytes], Any]


class Adversary(NamedTuple):
    """open: a new receiver, which takes the pieces one by one. build: the pieces for a size in bytes."""

    name: str
    build: Callable[[int], List[bytes]]
    open: Callable[[], Feed]


def cut(data: bytes, size: int = READ) -> List[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def fill(unit: bytes, size: int) -> bytes:
    return unit * max(1, size // len(unit))


def connection(**arguments: Any) -> Feed:
    """A connection without limits; `compressed`, `paused` and `closing` prepare it."""
    switches = {name: arguments.pop(name, False) for name in ("compressed", "paused", "closing", "ended")}
    limits = {"max_message_size": UNLIMITED, "max_fragments": UNLIMITED, **arguments}
    if switches["compressed"]:
        limits.update(enable_compression=True, peer_extensions=[b"permessage-deflate"])
    ws = WSProtocol(**limits)
    if switches["paused"]:
        ws.pause_writing()
    if switches["closing"]:
        ws.close()
    if switches["ended"]:
        ws.receive_data(b"\x88\x80" + MASK)
    return ws.receive_data


def repeated(name: str, unit: bytes, *, piece: int = READ, before: bytes = b"", **how: Any) -> Adversary:
    """The same bytes again and again, in pieces of one size."""
    return Adversary(name, lambda size: cut(before + fill(unit, size), piece), lambda: connection(**how))


def one_frame(name: str, unit: bytes, *, first: int = 0x82, piece: int = READ, **how: Any) -> Adversary:
    """One frame, whose payload is the bytes again and again."""

    def build(size: int) -> List[bytes]:
        payload = fill(unit, size)
        mask_bit, key = (0, b"") if how.get("client") else (0x80, bytes(4))
        return cut(wire.build_frame(first, payload, key if mask_bit else None), piece)

    return Adversary(name, build, lambda: connection(**how))


def called(name: str, build: Callable[[int], Any], function: Callable[[Any], Any]) -> Adversary:
    """A function of one value."""
    return Adversary(name, lambda size: [build(size)], lambda: function)


# ----------------------------------------------------------------------------------- compressed


def deflate(payload: bytes, level: int = 9) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, -15)
    return stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)[:-4]


def masked(first: int, payload: bytes) -> bytes:
    return wire.build_frame(first, payload, bytes(4))


def build_bomb(size: int) -> List[bytes]:
    """A message of zeros: a thousandth of the size on the wire."""
    return cut(masked(0xC2, deflate(bytes(size))))


def build_noise(size: int) -> List[bytes]:
    noise = b"".join(zlib.crc32(at.to_bytes(4, "big")).to_bytes(4, "big") for at in range(size // 4))
    return cut(masked(0xC2, deflate(noise, 1)))


def build_bomb_in_fragments(size: int) -> List[bytes]:
    data = deflate(bytes(size))
    pieces = cut(data, 16)
    return cut(b"".join(masked(0x42 if not at else 0, piece) for at, piece in enumerate(pieces)))


def build_one_byte_fragments(size: int) -> List[bytes]:
    """Compressed data in frames of one byte."""
    # An eighth of the numbers makes more than enough of it; only its beginning counts.
    data = deflate(b"".join(b"%d," % at for at in range(size // 8)), 1)[: size // 7]
    return cut(b"".join(masked(0x42 if not at else 0, data[at : at + 1]) for at in range(len(data))))


# ----------------------------------------------------------------------------------------- heads

LINE = b"GET /chat HTTP/1.1\r\n"


def request_head() -> Feed:
    return RequestParser(max_request_line=UNLIMITED, max_head=UNLIMITED, max_headers=UNLIMITED).receive_data


def response_head() -> Feed:
    return ResponseParser(max_status_line=UNLIMITED, max_head=UNLIMITED, max_headers=UNLIMITED).receive_data


def head(name: str, before: bytes, unit: bytes, after: bytes, piece: int = READ) -> Adversary:
    parser = response_head if before.startswith(b"HTTP") else request_head
    return Adversary(name, lambda size: cut(before + fill(unit, size) + after, piece), parser)


# ------------------------------------------------------------------------------------- the lists

TRUSTED = TrustedPeers("192.0.2.0/24")
EVERYBODY = TrustedPeers("*")


def forwarded(name: str, header: bytes, before: bytes, unit: bytes, after: bytes = b"") -> Adversary:
    def build(size: int) -> Sequence[Any]:
        return [(header, before + fill(unit, size) + after)]

    names = [header.decode("ascii")]
    return called(name, build, lambda headers: read_forwarded(headers, "192.0.2.1", EVERYBODY, names))


def listed(name: str, unit: bytes, function: Callable[[Any], Any], before: bytes = b"") -> Adversary:
    return called(name, lambda size: [before + fill(unit, size)], function)


def build_many_pairs(size: int) -> List[Any]:
    value = b";".join(b"n%d=v" % at for at in range(size // 9))
    return [(b"forwarded", b"for=192.0.2.1;" + value)]


def build_many_lines(size: int) -> List[Any]:
    return [(b"x-forwarded-for", b"192.0.2.1")] * (size // 9)


def check_origin(origin: bytes) -> None:
    names = (b"host", b"upgrade", b"connection", b"sec-websocket-key", b"sec-websocket-version", b"origin")
    values = (b"a.example", b"websocket", b"Upgrade", b"dGhlIHNhbXBsZSBub25jZQ==", b"13", origin)
    request = RequestReceived(b"GET", b"/", tuple(zip(names, values)), "1.1")
    check_upgrade_request(request, allowed_origins=("same-origin", "https://a.example"))


def inflate_pieces() -> Feed:
    inflater = Inflater(15, False)
    return lambda piece: inflater.inflate(piece, UNLIMITED)


def list_tokens(lines: Iterable[bytes]) -> Any:
    return parse_list(lines, UNLIMITED)


def has_upgrade(lines: Iterable[bytes]) -> Any:
    return has_token([(b"connection", line) for line in lines], b"connection", b"upgrade")


EURO = "\u20ac".encode()
EMPTY_STORED = b"\0\0\0\xff\xff"
EMPTY_FINAL = b"\1\0\0\xff\xff"

CONNECTIONS = [
    one_frame("binary frame, 64 KiB reads", b"data"),
    one_frame("binary frame, in one piece", b"data", piece=UNLIMITED),
    one_frame("binary frame, 1448 bytes a piece", b"data", piece=SEGMENT),
    one_frame("binary frame, byte by byte", b"data", piece=1),
    one_frame("text frame, split inside every character", EURO, first=0x81, piece=SEGMENT),
    one_frame("text frame, byte by byte", EURO, first=0x81, piece=1),
    one_frame("text frame to a client", EURO, first=0x81, client=True),
    repeated("empty messages", b"\x81\x80" + MASK),
    repeated("messages of 1 byte", b"\x81\x81\0\0\0\0A"),
    repeated("messages of 1 byte, byte by byte", b"\x81\x81\0\0\0\0A", piece=1),
    repeated("messages of 125 bytes in one piece", b"\x82\xfd" + MASK + bytes(125), piece=UNLIMITED),
    repeated("messages of 126 bytes", b"\x82\xfe\0\x7e" + MASK + bytes(126), piece=SEGMENT),
    repeated("empty fragments", b"\0\x80" + MASK, before=b"\1\x80" + MASK),
    repeated("fragments of 1 byte of text", b"\0\x81\0\0\0\0A", before=b"\1\x80" + MASK),
    repeated("empty PINGs", b"\x89\x80" + MASK),
    repeated("PINGs of 125 bytes", b"\x89\xfd" + MASK + bytes(125)),
    repeated("PINGs of 125 bytes in one piece", b"\x89\xfd" + MASK + bytes(125), piece=UNLIMITED),
    repeated("PINGs, writing paused", b"\x89\xfd" + MASK + bytes(125), paused=True),
    repeated("PINGs, byte by byte", b"\x89\xfd" + MASK + bytes(125), piece=1),
    repeated("PONGs that nobody asked for", b"\x8a\xfd" + MASK + bytes(125)),
    repeated("anything behind CLOSE", b"\x81\x81\0\0\0\0A", piece=SEGMENT, ended=True),
    repeated("messages behind our CLOSE", b"\x81\x81\0\0\0\0A", closing=True),
    one_frame("a frame behind our CLOSE", b"data", closing=True, piece=SEGMENT),
]

COMPRESSED = [
    Adversary("zeros, inflated size", build_bomb, lambda: connection(compressed=True)),
    Adversary("zeros in 16-byte fragments", build_bomb_in_fragments, lambda: connection(compressed=True)),
    Adversary("data that does not shrink", build_noise, lambda: connection(compressed=True)),
    Adversary(
        "fragments of 1 compressed byte",
        build_one_byte_fragments,
        lambda: connection(compressed=True),
    ),
    repeated("small compressed messages", masked(0xC1, b"\xf2\x48\xcd\xc9\xc9\x07\0"), compressed=True),
    repeated("empty compressed messages", masked(0xC1, b"\0"), compressed=True),
    one_frame("blocks 00 00 00 ff ff", EMPTY_STORED, first=0xC2, compressed=True),
    one_frame("blocks with BFINAL", EMPTY_FINAL, first=0xC2, compressed=True),
    one_frame("blocks with BFINAL, in one piece", EMPTY_FINAL, first=0xC2, compressed=True, piece=UNLIMITED),
    one_frame("blocks 00 00 00 ff ff, byte by byte", EMPTY_STORED, first=0xC2, compressed=True, piece=1),
    repeated("messages that end with BFINAL", masked(0xC2, EMPTY_FINAL + b"\0"), compressed=True),
    Adversary("the inflater alone, BFINAL blocks", lambda size: [fill(EMPTY_FINAL, size)], inflate_pieces),
]

HEADS = [
    head("one header line, byte by byte", LINE + b"a: ", b"v", b"\r\nHost: a\r\n\r\n", 1),
    head("one header line of spaces", LINE + b"Host: a\r\na:", b" ", b"\r\n\r\n"),
    head(
        "one header line of spaces, in one piece",
        LINE + b"Host: a\r\na:",
        b" ",
        b"x\r\n\r\n",
        UNLIMITED,
    ),
    head("header lines", LINE, b"a:\r\n", b"Host: a\r\n\r\n"),
    head("header lines in one piece", LINE + b"Host: a\r\n", b"a:b\r\n", b"\r\n", UNLIMITED),
    head(
        "header lines in one piece, never complete",
        LINE + b"Host: a\r\n",
        b"a:b\r\n",
        b"a:b",
        UNLIMITED,
    ),
    head("header lines, then a wrong byte", LINE + b"Host: a\r\n", b"a:b\r\n", b"\0", UNLIMITED),
    head("header lines, byte by byte", LINE, b"a:\r\n", b"Host: a\r\n\r\n", 1),
    head("a header name", LINE, b"n", b": \r\nHost: a\r\n\r\n"),
    head("a target", b"GET /", b"%41", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    head("a target, byte by byte", b"GET /", b"a", b" HTTP/1.1\r\nHost: a\r\n\r\n", 1),
    head("a Host", LINE + b"Host: ", b"%41", b"\r\n\r\n"),
    head("a status line", b"HTTP/1.1 101 ", b"x", b"\r\n\r\n"),
    head("header lines of a response", b"HTTP/1.1 101 x\r\n", b"a:\r\n", b"\r\n"),
]

LISTS = [
    listed("list of commas", b",", list_tokens),
    listed("list of blanks", b" \t", list_tokens),
    listed("list of tokens", b"a, ", list_tokens),
    listed("has_token among commas", b" ,", has_upgrade),
    listed("extensions: commas and blanks", b" ,\t", parse_extension_offers),
    listed("extensions: blanks before a parameter", b" ", parse_extension_offers, b"a;"),
    listed("extensions: blanks behind a name", b" \t", parse_extension_offers, b"a"),
    listed("extensions: blanks behind an equals sign", b" ", parse_extension_offers, b"a;b="),
    listed("extensions: a quote that never ends", b"x", parse_extension_offers, b'a;b="'),
    listed("extensions: escaped quotes", b'\\"', parse_extension_offers, b'a;b="'),
    listed("extensions: backslashes", b"\\", parse_extension_offers, b'a;b="'),
    listed("extensions: semicolons", b";", parse_extension_offers, b"a"),
    listed("extensions: a long name", b"a", parse_extension_offers),
    called(
        "authority of escapes",
        lambda size: fill(b"%41", size),
        lambda host: parse_authority(host, 0),
    ),
    called(
        "authority of colons",
        lambda size: b"[" + fill(b":", size),
        lambda host: parse_authority(host, 0),
    ),
    called("Origin", lambda size: b"https://" + fill(b"a.", size), check_origin),
    forwarded("X-Forwarded-For: trusted addresses", b"x-forwarded-for", b"", b"192.0.2.1,"),
    forwarded("X-Forwarded-For: commas", b"x-forwarded-for", b"", b","),
    forwarded("X-Forwarded-For: digits", b"x-forwarded-for", b"1", b"1"),
    forwarded("X-Forwarded-Prefix: slashes", b"x-forwarded-prefix", b"/a", b"/", b"a"),
    forwarded("X-Forwarded-Prefix: percents", b"x-forwarded-prefix", b"/", b"%2", b"f"),
    forwarded("X-Forwarded-Prefix: segments", b"x-forwarded-prefix", b"", b"/..a", b"/.."),
    forwarded("Forwarded: trusted elements", b"forwarded", b"", b"for=192.0.2.1,"),
    forwarded("Forwarded: commas", b"forwarded", b"", b","),
    forwarded("Forwarded: quotes", b"forwarded", b"for=", b'"', b",for=192.0.2.1"),
    forwarded("Forwarded: backslashes", b"forwarded", b'for="', b"\\", b'",for=192.0.2.1'),
    forwarded("Forwarded: escaped quotes in a string", b"forwarded", b'for="', b'\\"', b'"'),
    forwarded("Forwarded: backslash, comma", b"forwarded", b'for="', b"\\,", b'"'),
    forwarded("Forwarded: semicolons", b"forwarded", b"", b";", b"for=192.0.2.1"),
    called(
        "Forwarded: pairs in one element",
        build_many_pairs,
        lambda headers: read_forwarded(headers, "192.0.2.1", TRUSTED, ["forwarded"]),
    ),
    called(
        "X-Forwarded-For: lines",
        build_many_lines,
        lambda headers: read_forwarded(headers, "192.0.2.1", EVERYBODY),
    ),
]

GROUPS = {"connection": CONNECTIONS, "compressed": COMPRESSED, "heads": HEADS, "lists": LISTS}
ADVERSARIES = [adversary for group in GROUPS.values() for adversary in group]
