"""Inputs that cost a careless parser more time than their size, and how inputs of any size are built."""

from __future__ import annotations

import zlib
from typing import Any, Callable, NamedTuple, Sequence

from wsbridge.protocols.deflate import Inflater
from wsbridge.protocols.events import RequestReceived
from wsbridge.protocols.fields import has_token, parse_authority, parse_extension_offers, parse_list
from wsbridge.protocols.forwarded import TrustedPeers, read_forwarded
from wsbridge.protocols.handshake import check_upgrade_request
from wsbridge.protocols.http11 import RequestParser, ResponseParser
from wsbridge.protocols.ws import WSProtocol

from ..lib.hostile.draws import cut
from ..lib.wire import KEY, build_frame

KIB, MIB = 1024, 1024 * 1024
READ, SEGMENT = 64 * KIB, 1448
WHOLE = UNLIMITED = 2**40

MASK = b"\x37\xfa\x21\x3d"
EURO = "\u20ac".encode()
EMPTY_STORED, EMPTY_FINAL = b"\0\0\0\xff\xff", b"\1\0\0\xff\xff"
PING, PONG = (bytes([first, 0xFD]) + MASK + bytes(125) for first in (0x89, 0x8A))
EMPTY, ONE_BYTE = b"\x81\x80" + MASK, b"\x81\x81\0\0\0\0A"
LINE, END = b"GET /chat HTTP/1.1\r\n", b"\r\nHost: a\r\n\r\n"
LINES = LINE + b"Host: a\r\n"

Feed = Callable[[Any], Any]


class Input(NamedTuple):
    """build: the pieces for a size in bytes. open: a new receiver, which takes the pieces one by one.

    `open` takes whether to lift the limits that would end the input early; if not, they are the defaults.
    """

    name: str
    build: Callable[[int], Sequence[Any]]
    open: Callable[[bool], Feed]


def fill(unit: bytes, size: int) -> bytes:
    return unit * max(1, size // len(unit))


def masked(first: int, payload: bytes) -> bytes:
    return build_frame(first, payload, bytes(4))


def deflate(payload: bytes, level: int = 9) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, -15)
    return stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)[:-4]


def connection(*prepared: str, **limits: int) -> Callable[[bool], Feed]:
    """What opens a connection: "client", "compressed", then "paused", "closing" or "ended"."""

    def open_connection(unlimited: bool) -> Feed:
        arguments: Any = {**limits}
        if unlimited:
            arguments = {"max_message_size": UNLIMITED, "max_fragments": UNLIMITED}
        if "compressed" in prepared:
            arguments.update(enable_compression=True, peer_extensions=[b"permessage-deflate"])
        ws = WSProtocol(client="client" in prepared, **arguments)
        if "paused" in prepared:
            ws.pause_writing()
        if "closing" in prepared:
            ws.close()
        if "ended" in prepared:
            ws.receive_data(b"\x88\x80" + MASK)
        return ws.receive_data

    return open_connection


def repeated(name: str, unit: bytes, *prepared: str, piece: int = READ, before: bytes = b"") -> Input:
    """The same bytes again and again, in pieces of one size."""
    return Input(name, lambda size: cut(before + fill(unit, size), piece), connection(*prepared))


def one_frame(
    name: str,
    unit: bytes,
    *prepared: str,
    first: int = 0x82,
    piece: int = READ,
    before: bytes = b"",
    after: bytes = b"",
    encode: Callable[[bytes], bytes] = bytes,
) -> Input:
    """One frame, whose payload is the bytes again and again, with what stands before and after them."""
    key = None if "client" in prepared else bytes(4)

    def build(size: int) -> Sequence[bytes]:
        payload = before + fill(unit, size - len(before) - len(after)) + after
        return cut(build_frame(first, encode(payload), key), piece)

    return Input(name, build, connection(*prepared))


def head(name: str, before: bytes, unit: bytes, after: bytes, piece: int = READ) -> Input:
    parser, line = RequestParser, "max_request_line"
    if before.startswith(b"HTTP"):
        parser, line = ResponseParser, "max_status_line"
    limits = {line: UNLIMITED, "max_head": UNLIMITED, "max_headers": UNLIMITED}
    return Input(
        name,
        lambda size: cut(before + fill(unit, size) + after, piece),
        lambda unlimited: parser(**(limits if unlimited else {})).receive_data,
    )


def called(name: str, function: Feed, unit: bytes, before: bytes = b"", after: bytes = b"") -> Input:
    """A function of one value: the bytes again and again, with what stands before and after them."""
    return Input(name, lambda size: [before + fill(unit, size) + after], lambda _: function)


def build_noise(size: int) -> Sequence[bytes]:
    noise = b"".join(zlib.crc32(at.to_bytes(4, "big")).to_bytes(4, "big") for at in range(size // 4))
    return cut(masked(0xC2, deflate(noise, 1)), READ)


def build_fragments(data: bytes, size: int) -> Sequence[bytes]:
    """A compressed message that does not end."""
    return cut(b"".join(masked(0 if at else 0x42, piece) for at, piece in enumerate(cut(data, size))), READ)


def build_one_byte_fragments(size: int) -> Sequence[bytes]:
    # An eighth of the numbers makes more than enough of it; only its beginning counts.
    return build_fragments(deflate(b"".join(b"%d," % at for at in range(size // 8)), 1)[: size // 7], 1)


def open_inflater(_: bool) -> Feed:
    inflater = Inflater(15, False)
    return lambda piece: inflater.inflate(piece, UNLIMITED)


def list_tokens(line: bytes) -> Any:
    return parse_list([line], UNLIMITED)


def has_upgrade(line: bytes) -> Any:
    return has_token([(b"connection", line)], b"connection", b"upgrade")


def parse_offers(line: bytes) -> Any:
    return parse_extension_offers([line])


def read_authority(host: bytes) -> Any:
    return parse_authority(host, 0)


def check_origin(origin: bytes) -> None:
    names = (b"host", b"upgrade", b"connection", b"sec-websocket-key", b"sec-websocket-version", b"origin")
    values = (b"a.example", b"websocket", b"Upgrade", KEY, b"13", origin)
    request = RequestReceived(b"GET", b"/", tuple(zip(names, values)), "1.1")
    check_upgrade_request(request, allowed_origins=("same-origin", "https://a.example"))


def proxied(header: str) -> Feed:
    """Reads one line of that header, or several, where every peer is a trusted proxy."""
    name, everybody = header.encode(), TrustedPeers("*")

    def read(value: Any) -> Any:
        lines = value if isinstance(value, list) else [value]
        return read_forwarded([(name, line) for line in lines], "192.0.2.1", everybody, [header])

    return read


def build_pairs(size: int) -> Sequence[bytes]:
    return [b"for=192.0.2.1;" + b";".join(b"n%d=v" % at for at in range(size // 9))]


def build_lines(size: int) -> Sequence[Any]:
    return [[b"192.0.2.1"] * (size // 9)]


FORWARDED, X_FOR, X_PREFIX = map(proxied, ("forwarded", "x-forwarded-for", "x-forwarded-prefix"))
BEGIN, INFLATING = b"\1\x80" + MASK, connection("compressed")

ADVERSARIES = [
    one_frame("binary frame, 64 KiB reads", b"data"),
    one_frame("binary frame, in one piece", b"data", piece=WHOLE),
    one_frame("binary frame, 1448 bytes a piece", b"data", piece=SEGMENT),
    one_frame("binary frame, byte by byte", b"data", piece=1),
    one_frame("text frame, split inside every character", EURO, first=0x81, piece=SEGMENT),
    one_frame("text frame, byte by byte", EURO, first=0x81, piece=1),
    one_frame("text frame to a client", EURO, "client", first=0x81),
    repeated("empty messages", EMPTY),
    repeated("messages of 1 byte", ONE_BYTE),
    repeated("messages of 1 byte, byte by byte", ONE_BYTE, piece=1),
    repeated("messages of 125 bytes in one piece", b"\x82\xfd" + MASK + bytes(125), piece=WHOLE),
    repeated("messages of 126 bytes", b"\x82\xfe\0\x7e" + MASK + bytes(126), piece=SEGMENT),
    repeated("empty fragments", b"\0\x80" + MASK, before=BEGIN),
    repeated("fragments of 1 byte of text", b"\0\x81\0\0\0\0A", before=BEGIN),
    repeated("empty PINGs", b"\x89\x80" + MASK),
    repeated("PINGs of 125 bytes", PING),
    repeated("PINGs of 125 bytes in one piece", PING, piece=WHOLE),
    repeated("PINGs, writing paused", PING, "paused"),
    repeated("PINGs, byte by byte", PING, piece=1),
    repeated("PONGs that nobody asked for", PONG),
    repeated("anything behind CLOSE", ONE_BYTE, "ended", piece=SEGMENT),
    repeated("messages behind our CLOSE", ONE_BYTE, "closing"),
    one_frame("a frame behind our CLOSE", b"data", "closing", piece=SEGMENT),
    # Compressed: messages and fragments, blocks that inflate to nothing, and streams that end.
    one_frame("zeros, inflated size", b"\0", "compressed", first=0xC2, encode=deflate),
    Input("zeros in 16-byte fragments", lambda size: build_fragments(deflate(bytes(size)), 16), INFLATING),
    Input("data that does not shrink", build_noise, INFLATING),
    Input("fragments of 1 compressed byte", build_one_byte_fragments, INFLATING),
    repeated("small compressed messages", masked(0xC1, b"\xf2\x48\xcd\xc9\xc9\x07\0"), "compressed"),
    repeated("empty compressed messages", masked(0xC1, b"\0"), "compressed"),
    repeated("messages that end with BFINAL", masked(0xC2, EMPTY_FINAL + b"\0"), "compressed"),
    one_frame("blocks 00 00 00 ff ff", EMPTY_STORED, "compressed", first=0xC2),
    one_frame("blocks with BFINAL", EMPTY_FINAL, "compressed", first=0xC2),
    one_frame("blocks with BFINAL, in one piece", EMPTY_FINAL, "compressed", first=0xC2, piece=WHOLE),
    one_frame("blocks 00 00 00 ff ff, byte by byte", EMPTY_STORED, "compressed", first=0xC2, piece=1),
    Input("the inflater alone, BFINAL blocks", lambda size: [fill(EMPTY_FINAL, size)], open_inflater),
    # Heads.
    head("one header line, byte by byte", LINE + b"a: ", b"v", END, 1),
    head("one header line of spaces", LINES + b"a:", b" ", b"\r\n\r\n"),
    head("one header line of spaces, in one piece", LINES + b"a:", b" ", b"x\r\n\r\n", WHOLE),
    head("header lines", LINE, b"a:\r\n", END[2:]),
    head("header lines in one piece", LINES, b"a:b\r\n", b"\r\n", WHOLE),
    head("header lines in one piece, never complete", LINES, b"a:b\r\n", b"a:b", WHOLE),
    head("header lines, then a wrong byte", LINES, b"a:b\r\n", b"\0", WHOLE),
    head("header lines, byte by byte", LINE, b"a:\r\n", END[2:], 1),
    head("a header name", LINE, b"n", b": " + END),
    head("a target", b"GET /", b"%41", b" HTTP/1.1" + END),
    head("a target, byte by byte", b"GET /", b"a", b" HTTP/1.1" + END, 1),
    head("a Host", LINE + b"Host: ", b"%41", b"\r\n\r\n"),
    head("a status line", b"HTTP/1.1 101 ", b"x", b"\r\n\r\n"),
    head("header lines of a response", b"HTTP/1.1 101 x\r\n", b"a:\r\n", b"\r\n"),
    # Lists, and what proxies say.
    called("list of commas", list_tokens, b","),
    called("list of blanks", list_tokens, b" \t"),
    called("list of tokens", list_tokens, b"a, "),
    called("has_token among commas", has_upgrade, b" ,"),
    called("extensions: commas and blanks", parse_offers, b" ,\t"),
    called("extensions: blanks before a parameter", parse_offers, b" ", b"a;"),
    called("extensions: blanks behind a name", parse_offers, b" \t", b"a"),
    called("extensions: blanks behind an equals sign", parse_offers, b" ", b"a;b="),
    called("extensions: a quote that never ends", parse_offers, b"x", b'a;b="'),
    called("extensions: escaped quotes", parse_offers, b'\\"', b'a;b="'),
    called("extensions: backslashes", parse_offers, b"\\", b'a;b="'),
    called("extensions: semicolons", parse_offers, b";", b"a"),
    called("extensions: a long name", parse_offers, b"a"),
    called("authority of escapes", read_authority, b"%41"),
    called("authority of colons", read_authority, b":", b"["),
    called("Origin", check_origin, b"a.", b"https://"),
    called("X-Forwarded-For: trusted addresses", X_FOR, b"192.0.2.1,"),
    called("X-Forwarded-For: commas", X_FOR, b","),
    called("X-Forwarded-For: digits", X_FOR, b"1", b"1"),
    called("X-Forwarded-Prefix: slashes", X_PREFIX, b"/", b"/a", b"a"),
    called("X-Forwarded-Prefix: percents", X_PREFIX, b"%2", b"/", b"f"),
    called("X-Forwarded-Prefix: segments", X_PREFIX, b"/..a", b"", b"/.."),
    called("Forwarded: trusted elements", FORWARDED, b"for=192.0.2.1,"),
    called("Forwarded: commas", FORWARDED, b","),
    called("Forwarded: quotes", FORWARDED, b'"', b"for=", b",for=192.0.2.1"),
    called("Forwarded: backslashes", FORWARDED, b"\\", b'for="', b'",for=192.0.2.1'),
    called("Forwarded: escaped quotes in a string", FORWARDED, b'\\"', b'for="', b'"'),
    called("Forwarded: backslash, comma", FORWARDED, b"\\,", b'for="', b'"'),
    called("Forwarded: semicolons", FORWARDED, b";", b"", b"for=192.0.2.1"),
    Input("Forwarded: pairs in one element", build_pairs, lambda _: FORWARDED),
    Input("X-Forwarded-For: lines", build_lines, lambda _: X_FOR),
]
