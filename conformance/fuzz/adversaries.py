"""Inputs that cost a careless parser more time than their size, and how inputs of any size are built."""

from __future__ import annotations

import zlib
from functools import partial
from typing import Any, Callable, NamedTuple, Sequence

from wsbridge.protocols.bodies import ChunkedBody, LengthBody
from wsbridge.protocols.deflate import SLICE, Inflater
from wsbridge.protocols.events import RequestReceived
from wsbridge.protocols.fields import has_token, parse_authority, parse_extension_offers, parse_list
from wsbridge.protocols.forwarded import TrustedPeers, read_forwarded
from wsbridge.protocols.handshake import check_upgrade_request
from wsbridge.protocols.http11 import RequestParser, ResponseParser
from wsbridge.protocols.ws import WSProtocol

from ..lib.hostile.draws import cut
from ..lib.request_loop import RequestLoop
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
POST, CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\n", b"Transfer-Encoding: chunked\r\n\r\n"

Feed = Callable[[Any], Any]


class Input(NamedTuple):
    """Bytes that are repeated, with what stands before and after them, as they come in pieces.

    open: a new receiver, which takes the pieces one by one; it is told whether to lift the limits that would
    end the input early: if not, they are the defaults. wrap: what the bytes are sent in.
    """

    name: str
    open: Callable[[bool], Feed]
    unit: bytes
    before: bytes = b""
    after: bytes = b""
    piece: int = READ
    wrap: Callable[[bytes], bytes] = bytes

    def build(self, size: int) -> Sequence[bytes]:
        """The pieces for about so many bytes."""
        times = (size - len(self.before) - len(self.after)) // len(self.unit)
        return cut(self.wrap(self.before + self.unit * max(1, times) + self.after), self.piece)


# ------------------------------------------------------------------------------- what is sent


def masked(first: int, payload: bytes) -> bytes:
    return build_frame(first, payload, bytes(4))


def deflate(payload: bytes, level: int = 9) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, -15)
    return stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)[:-4]


BINARY, TEXT, RSV1_BINARY = (partial(masked, first) for first in (0x82, 0x81, 0xC2))


def deflate_binary(data: bytes, level: int = 9) -> bytes:
    return masked(0xC2, deflate(data, level))


def deflate_noise(data: bytes) -> bytes:
    checksums = (zlib.crc32(at.to_bytes(4, "big")) for at in range(len(data) // 4))
    return deflate_binary(b"".join(checksum.to_bytes(4, "big") for checksum in checksums), 1)


def fragment(data: bytes, size: int) -> bytes:
    """A compressed message that does not end."""
    return b"".join(masked(0 if at else 0x42, piece) for at, piece in enumerate(cut(data, size)))


def fragment_numbers(data: bytes) -> bytes:
    # An eighth of the numbers makes more than enough of it; only its beginning counts.
    numbers = b"".join(b"%d," % at for at in range(len(data) // 8))
    return fragment(deflate(numbers, 1)[: len(data) // 7], 1)


def number_pairs(data: bytes) -> bytes:
    return b"for=192.0.2.1;" + b";".join(b"n%d=v" % at for at in range(len(data) // 9))


# ------------------------------------------------------------------------------- who receives


def connection(*prepared: str, **arguments: Any) -> Callable[[bool], Feed]:
    """What opens a connection: "paused", "closing" or "ended", with arguments of `WSProtocol`."""

    def open_connection(unlimited: bool) -> Feed:
        lifted = {"max_message_size": UNLIMITED, "max_fragments": UNLIMITED} if unlimited else {}
        ws = WSProtocol(**{**arguments, **lifted})
        if "paused" in prepared:
            ws.pause_writing()
        if "closing" in prepared:
            ws.close()
        if "ended" in prepared:
            ws.receive_data(b"\x88\x80" + MASK)
        return ws.receive_data

    return open_connection


DEFLATES: Any = {"enable_compression": True, "peer_extensions": [b"permessage-deflate"]}
SERVER, CLIENT, COMPRESSED = connection(), connection(client=True), connection(**DEFLATES)
PAUSED, CLOSING, ENDED = map(connection, ("paused", "closing", "ended"))


def open_inflater(_: bool) -> Feed:
    inflater = Inflater(15, False)
    inflater.ceiling = UNLIMITED
    return inflater.inflate


def parser(kind: Any, line: str) -> Callable[[bool], Feed]:
    limits = {line: UNLIMITED, "max_head": UNLIMITED, "max_headers": UNLIMITED}
    return lambda unlimited: kind(**(limits if unlimited else {})).receive_data


def open_chunked(unlimited: bool) -> Feed:
    limits = {"max_trailers": UNLIMITED, "max_trailer_fields": UNLIMITED} if unlimited else {}
    return ChunkedBody(**limits).receive_data


def open_loop(_: bool) -> Feed:
    """All requests of a connection; of those that are complete only the last one is kept."""
    loop = RequestLoop()

    def receive(piece: bytes) -> None:
        loop.receive(piece)
        del loop.found[:-1]

    return receive


REQUEST, RESPONSE = parser(RequestParser, "max_request_line"), parser(ResponseParser, "max_status_line")


def called(name: str, function: Feed, *unit_and_around: bytes, **wrap: Any) -> Input:
    """A function of one value."""
    return Input(name, lambda _: function, *unit_and_around, piece=WHOLE, **wrap)


def check_origin(origin: bytes) -> None:
    names = (b"host", b"upgrade", b"connection", b"sec-websocket-key", b"sec-websocket-version", b"origin")
    values = (b"a.example", b"websocket", b"Upgrade", KEY, b"13", origin)
    request = RequestReceived(b"GET", b"/", tuple(zip(names, values)), "1.1")
    check_upgrade_request(request, allowed_origins=("same-origin", "https://a.example"))


def parse_offers(line: bytes) -> Any:
    return parse_extension_offers([line])


def proxied(header: str) -> Feed:
    """Reads the lines of that header where every peer is a trusted proxy."""
    name, everybody = header.encode(), TrustedPeers("*")

    def read(lines: bytes) -> Any:
        headers = [(name, line) for line in lines.split(b"\n")]
        return read_forwarded(headers, "192.0.2.1", everybody, [header])

    return read


FORWARDED, X_FOR, X_PREFIX = map(proxied, ("forwarded", "x-forwarded-for", "x-forwarded-prefix"))

BEGIN = b"\1\x80" + MASK

ADVERSARIES = [
    Input("binary frame, 64 KiB reads", SERVER, b"data", wrap=BINARY),
    Input("binary frame, in one piece", SERVER, b"data", piece=WHOLE, wrap=BINARY),
    Input("binary frame, 1448 bytes a piece", SERVER, b"data", piece=SEGMENT, wrap=BINARY),
    Input("binary frame, byte by byte", SERVER, b"data", piece=1, wrap=BINARY),
    Input("text frame, split inside every character", SERVER, EURO, piece=SEGMENT, wrap=TEXT),
    Input("text frame, byte by byte", SERVER, EURO, piece=1, wrap=TEXT),
    Input("text frame to a client", CLIENT, EURO, wrap=lambda data: build_frame(0x81, data)),
    Input("empty messages", SERVER, EMPTY),
    Input("messages of 1 byte", SERVER, ONE_BYTE),
    Input("messages of 1 byte, byte by byte", SERVER, ONE_BYTE, piece=1),
    Input("messages of 125 bytes in one piece", SERVER, b"\x82\xfd" + MASK + bytes(125), piece=WHOLE),
    Input("messages of 126 bytes", SERVER, b"\x82\xfe\0\x7e" + MASK + bytes(126), piece=SEGMENT),
    Input("empty fragments", SERVER, b"\0\x80" + MASK, before=BEGIN),
    Input("fragments of 1 byte of text", SERVER, b"\0\x81\0\0\0\0A", before=BEGIN),
    Input("empty PINGs", SERVER, b"\x89\x80" + MASK),
    Input("PINGs of 125 bytes", SERVER, PING),
    Input("PINGs of 125 bytes in one piece", SERVER, PING, piece=WHOLE),
    Input("PINGs, writing paused", PAUSED, PING),
    Input("PINGs, byte by byte", SERVER, PING, piece=1),
    Input("PONGs that nobody asked for", SERVER, PONG),
    Input("anything behind CLOSE", ENDED, ONE_BYTE, piece=SEGMENT),
    Input("messages behind our CLOSE", CLOSING, ONE_BYTE),
    Input("a frame behind our CLOSE", CLOSING, b"data", piece=SEGMENT, wrap=BINARY),
    # Compressed: messages and fragments, blocks that inflate to nothing, and streams that end.
    Input("zeros, inflated size", COMPRESSED, b"\0", wrap=deflate_binary),
    Input("zeros in 16-byte fragments", COMPRESSED, b"\0", wrap=lambda data: fragment(deflate(data), 16)),
    Input("data that does not shrink", COMPRESSED, b"\0", wrap=deflate_noise),
    Input("fragments of 1 compressed byte", COMPRESSED, b"\0", wrap=fragment_numbers),
    Input("small compressed messages", COMPRESSED, masked(0xC1, b"\xf2\x48\xcd\xc9\xc9\x07\0")),
    Input("empty compressed messages", COMPRESSED, masked(0xC1, b"\0")),
    Input("messages that end with BFINAL", COMPRESSED, masked(0xC2, EMPTY_FINAL + b"\0")),
    Input("blocks 00 00 00 ff ff", COMPRESSED, EMPTY_STORED, wrap=RSV1_BINARY),
    Input("blocks with BFINAL", COMPRESSED, EMPTY_FINAL, wrap=RSV1_BINARY),
    Input("blocks with BFINAL, in one piece", COMPRESSED, EMPTY_FINAL, piece=WHOLE, wrap=RSV1_BINARY),
    Input("blocks 00 00 00 ff ff, byte by byte", COMPRESSED, EMPTY_STORED, piece=1, wrap=RSV1_BINARY),
    # It takes pieces of this size at most, and copies what is left of one behind each block.
    Input("the inflater alone, BFINAL blocks", open_inflater, EMPTY_FINAL, piece=SLICE),
    # Heads.
    Input("one header line, byte by byte", REQUEST, b"v", LINE + b"a: ", END, 1),
    Input("one header line of spaces", REQUEST, b" ", LINES + b"a:", b"\r\n\r\n"),
    Input("one header line of spaces, in one piece", REQUEST, b" ", LINES + b"a:", b"x\r\n\r\n", WHOLE),
    Input("header lines", REQUEST, b"a:\r\n", LINE, END[2:]),
    Input("header lines in one piece", REQUEST, b"a:b\r\n", LINES, b"\r\n", WHOLE),
    Input("header lines in one piece, never complete", REQUEST, b"a:b\r\n", LINES, b"a:b", WHOLE),
    Input("header lines, then a wrong byte", REQUEST, b"a:b\r\n", LINES, b"\0", WHOLE),
    Input("header lines, byte by byte", REQUEST, b"a:\r\n", LINE, END[2:], 1),
    Input("a header name", REQUEST, b"n", LINE, b": " + END),
    Input("a target", REQUEST, b"%41", b"GET /", b" HTTP/1.1" + END),
    Input("a target, byte by byte", REQUEST, b"a", b"GET /", b" HTTP/1.1" + END, 1),
    Input("a Host", REQUEST, b"%41", LINE + b"Host: ", b"\r\n\r\n"),
    Input("a status line", RESPONSE, b"x", b"HTTP/1.1 101 ", b"\r\n\r\n"),
    Input("header lines of a response", RESPONSE, b"a:\r\n", b"HTTP/1.1 101 x\r\n", b"\r\n"),
    # Bodies.
    Input("a body of a length", lambda _: LengthBody(WHOLE).receive_data, b"b"),
    Input("a body of a length, byte by byte", lambda _: LengthBody(WHOLE).receive_data, b"b", piece=1),
    Input("a large chunk", open_chunked, b"b", b"fffffffffffffff\r\n"),
    Input("a large chunk, byte by byte", open_chunked, b"b", b"fffffffffffffff\r\n", piece=1),
    Input("chunks of 1 byte", open_chunked, b"1\r\nb\r\n"),
    Input("chunks of 1 byte, in one piece", open_chunked, b"1\r\nb\r\n", piece=WHOLE),
    Input("chunks of 1 byte, byte by byte", open_chunked, b"1\r\nb\r\n", piece=1),
    Input("chunks of 1000 bytes", open_chunked, b"3E8\r\n" + b"b" * 1000 + b"\r\n", piece=SEGMENT),
    Input("chunks with leading zeros", open_chunked, b"0000000001\r\nb\r\n", piece=WHOLE),
    Input("chunks with extensions", open_chunked, b"1 ;a=b\r\nb\r\n", piece=WHOLE),
    Input("chunks with extensions, byte by byte", open_chunked, b"1;a=bcd\r\nb\r\n", piece=1),
    Input("trailers", open_chunked, b"a:\r\n", b"0\r\n"),
    Input("trailers, byte by byte", open_chunked, b"a:\r\n", b"0\r\n", piece=1),
    Input("one trailer of blanks", open_chunked, b" ", b"0\r\na:", b"\r\n\r\n"),
    Input("requests without a body", open_loop, LINES + b"\r\n", piece=SEGMENT),
    Input("requests with a body", open_loop, POST + b"Content-Length: 3\r\n\r\nabc", piece=SEGMENT),
    Input("requests in chunks", open_loop, POST + CHUNKED + b"1\r\nb\r\n0\r\n\r\n", piece=SEGMENT),
    Input("requests in chunks, byte by byte", open_loop, POST + CHUNKED + b"0\r\n\r\n", piece=1),
    # Lists, and what proxies say.
    called("list of commas", lambda line: parse_list([line], UNLIMITED), b","),
    called("list of blanks", lambda line: parse_list([line], UNLIMITED), b" \t"),
    called("list of tokens", lambda line: parse_list([line], UNLIMITED), b"a, "),
    called("has_token among commas", lambda line: has_token([(b"a", line)], b"a", b"b"), b" ,"),
    called("extensions: commas and blanks", parse_offers, b" ,\t"),
    called("extensions: blanks before a parameter", parse_offers, b" ", b"a;"),
    called("extensions: blanks behind a name", parse_offers, b" \t", b"a"),
    called("extensions: blanks behind an equals sign", parse_offers, b" ", b"a;b="),
    called("extensions: a quote that never ends", parse_offers, b"x", b'a;b="'),
    called("extensions: escaped quotes", parse_offers, b'\\"', b'a;b="'),
    called("extensions: backslashes", parse_offers, b"\\", b'a;b="'),
    called("extensions: semicolons", parse_offers, b";", b"a"),
    called("extensions: a long name", parse_offers, b"a"),
    called("authority of escapes", lambda host: parse_authority(host, 0), b"%41"),
    called("authority of colons", lambda host: parse_authority(host, 0), b":", b"["),
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
    called("Forwarded: pairs in one element", FORWARDED, b"\0", wrap=number_pairs),
    called("X-Forwarded-For: lines", X_FOR, b"192.0.2.1\n"),
]
