"""Frames, compressed payloads and lists of headers, built and read without a line of wsbridge."""

from __future__ import annotations

import struct
import zlib
from typing import Iterable, List, Optional, Tuple

from ..interop_clients.wire import Frame, parse_frames

__all__ = ["Compressor", "Frame", "apply_mask", "build_close", "build_frame", "join_headers", "parse_frames"]

FIN, RSV1 = 0x80, 0x40
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

# RFC 6455 7.4.1 and 7.4.2, RFC 6455 errata 3227, the IANA registry.
SENDABLE_CODES = frozenset([*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)])


def apply_mask(payload: bytes, key: bytes) -> bytes:
    """RFC 6455 5.3, as it stands there."""
    return bytes([byte ^ key[at & 3] for at, byte in enumerate(payload)])


def build_frame(first: int, payload: bytes, key: Optional[bytes] = None) -> bytes:
    """A frame (RFC 6455 5.2) in the shortest form of its length; masked if there is a key."""
    length, mask_bit = len(payload), 0 if key is None else 0x80
    if length < 126:
        header = struct.pack("!BB", first, mask_bit | length)
    elif length < 65536:
        header = struct.pack("!BBH", first, mask_bit | 126, length)
    else:
        header = struct.pack("!BBQ", first, mask_bit | 127, length)
    if key is None:
        return header + payload
    return header + key + (payload if key == b"\0\0\0\0" else apply_mask(payload, key))


def build_close(code: int, reason: bytes = b"") -> bytes:
    return struct.pack("!H", code) + reason


def join_headers(headers: Iterable[Tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % pair for pair in headers)


class Compressor:
    """permessage-deflate's sending side (RFC 7692 7.2.1), able to end its messages in every allowed way."""

    STYLES = ("flush", "final", "stored", "fixed", "split")

    def __init__(self, window_bits: int = 15, no_context_takeover: bool = False) -> None:
        self._window_bits = window_bits
        self._no_context_takeover = no_context_takeover
        self._stream: Optional[zlib._Compress] = None

    def compress(self, payload: bytes, style: str = "flush") -> bytes:
        """One message's payload on the wire; `style` is one of STYLES."""
        if style == "final":
            # RFC 7692 7.2.3.4: a block with BFINAL, behind it an empty stored one without, cut at its length.
            self._stream = None
            stream = self._open(6, zlib.Z_DEFAULT_STRATEGY)
            return stream.compress(payload) + stream.flush() + b"\0"
        if style in ("stored", "fixed"):
            # Without history; the stream before must not go on, for what it knows is no longer the last.
            self._stream = None
            stored = style == "stored"
            stream = self._open(0 if stored else 6, zlib.Z_DEFAULT_STRATEGY if stored else zlib.Z_FIXED)
        else:
            stream = self._stream or self._open(6, zlib.Z_DEFAULT_STRATEGY)
            self._stream = None if self._no_context_takeover else stream
        pieces: List[bytes] = []
        for piece in (payload[: len(payload) // 2], payload[len(payload) // 2 :]):
            pieces.append(stream.compress(piece))
            if style == "split":
                pieces.append(stream.flush(zlib.Z_SYNC_FLUSH))
        pieces.append(stream.flush(zlib.Z_SYNC_FLUSH))
        whole = b"".join(pieces)
        # zlib flushes nothing where nothing came since the last flush.
        return whole[:-4] if whole.endswith(b"\0\0\xff\xff") else whole

    def _open(self, level: int, strategy: int) -> zlib._Compress:
        return zlib.compressobj(level, zlib.DEFLATED, -self._window_bits, 8, strategy)
