"""What the load generator sends and expects: payloads, masked client frames, the opening handshake."""

from __future__ import annotations

import random
import struct
import zlib
from typing import Tuple

TEXT, BINARY, CLOSE = 1, 2, 8
MASK = b"\x9d\x41\x7e\xc2"

# RFC 6455 1.3: the sample nonce and its accept value, so that nothing needs hashing.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

# RFC 7692 7.1.1: without context takeover every message compresses alone, so one frame can be sent again.
OFFER = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"

_WORDS = ("account", "bid", "channel", "event", "false", "index", "market", "null", "order", "price", "true")


def build_payload(size: int) -> bytes:
    """`size` bytes of ASCII text shaped like a stream of JSON: compressible as real messages are."""
    chosen = random.Random(size)
    parts, length = [], 0
    while length < size:
        first, second, third = (chosen.choice(_WORDS) for _ in range(3))
        part = f'{{"{first}":"{second}","{third}":{chosen.randrange(10**6)}}},'
        parts.append(part)
        length += len(part)
    return "".join(parts).encode()[:size]


def apply_mask(payload: bytes, mask: bytes = MASK) -> bytes:
    length = len(payload)
    key = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")


def build_masked_frame(opcode: int, payload: bytes, rsv1: bool = False) -> bytes:
    """A final frame as a client sends it (RFC 6455 5.2)."""
    first, length = 0x80 | (0x40 if rsv1 else 0) | opcode, len(payload)
    if length < 126:
        header = struct.pack("!BB", first, 0x80 | length)
    elif length < 65536:
        header = struct.pack("!BBH", first, 0xFE, length)
    else:
        header = struct.pack("!BBQ", first, 0xFF, length)
    return header + MASK + apply_mask(payload)


def compress_payload(payload: bytes) -> bytes:
    """RFC 7692 7.2.1: raw deflate, flushed, without the last four bytes."""
    encoder = zlib.compressobj(wbits=-15)
    return (encoder.compress(payload) + encoder.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflate_payload(payload: bytes) -> bytes:
    return zlib.decompressobj(wbits=-15).decompress(payload + b"\x00\x00\xff\xff")


def parse_message(data: bytes) -> Tuple[int, bytes, bool, int]:
    """Return (opcode, payload, rsv1, bytes used) of the unmasked message `data` begins with.

    Raises `IndexError` while the message is incomplete, `ValueError` when it is none.
    """
    at, opcode, rsv1, pieces = 0, 0, False, []
    while True:
        first, second = data[at], data[at + 1]
        if second & 0x80:
            raise ValueError("the server's frame is masked")
        head, length = 2, second
        if second == 126:
            head, length = 4, int.from_bytes(data[at + 2 : at + 4], "big")
        elif second == 127:
            head, length = 10, int.from_bytes(data[at + 2 : at + 10], "big")
        end = at + head + length
        if len(data) < end or len(data) < at + head:
            raise IndexError("incomplete")
        if first & 0x0F:
            opcode, rsv1 = first & 0x0F, bool(first & 0x40)
        pieces.append(data[at + head : end])
        at = end
        if first & 0x80:
            return opcode, b"".join(pieces), rsv1, at


def build_request(deflate: bool) -> bytes:
    """A browser's opening handshake, with the headers a browser has."""
    lines = [
        b"GET /echo?room=42 HTTP/1.1",
        b"Host: 127.0.0.1:8000",
        b"Connection: Upgrade",
        b"Pragma: no-cache",
        b"Cache-Control: no-cache",
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140",
        b"Upgrade: websocket",
        b"Origin: http://127.0.0.1:8000",
        b"Sec-WebSocket-Version: 13",
        b"Accept-Encoding: gzip, deflate, br",
        b"Accept-Language: en-GB,en;q=0.9",
        b"Sec-WebSocket-Key: " + KEY,
    ]
    if deflate:
        lines.append(b"Sec-WebSocket-Extensions: " + OFFER)
    return b"\r\n".join(lines) + b"\r\n\r\n"
