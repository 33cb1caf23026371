"""Compressed messages (RFC 7692): any texture, ended in every allowed way, and what damage makes of them."""

from __future__ import annotations

import random
import zlib
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from .draws import disorder, flip_bit, happens, split, truncate

TAIL = b"\x00\x00\xff\xff"

FLUSHES = (zlib.Z_SYNC_FLUSH, zlib.Z_PARTIAL_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_BLOCK)
STRATEGIES = (
    *[zlib.Z_DEFAULT_STRATEGY] * 3,
    *(zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED),
)
WORDS = '{"id": 17, "text": "grüße 日本 😀"}, the quick brown fox jumps over the lazy dog '


def draw_plain(rng: random.Random) -> Tuple[bytes, bool]:
    """A message of some texture, and whether it is text."""
    size = rng.randint(0, rng.choice((0, 1, 5, 60, 300, 3000)))
    if happens(rng, 0.02):
        size = rng.randint(3000, 70000)
    texture = rng.choice(("words", "one", "letters", "noise", "distance"))
    if texture == "noise":
        return rng.randbytes(size), False
    if texture == "one":
        return bytes([rng.randrange(128)]) * size, rng.random() < 0.5
    if texture == "distance":
        # Repeats at a distance near the size of a window.
        unit = rng.randbytes(rng.choice((3, 500, 511, 512, 513, 1024)))
        return (unit * (size // len(unit) + 1))[:size], False
    start = rng.randrange(len(WORDS))
    text = (WORDS[start:] + WORDS * (size // len(WORDS) + 1))[:size]
    if texture == "letters":
        text = "".join(rng.choice(text) for _ in range(min(size, 400)))
    return text.encode(), True


class Compressor:
    """A sender whose messages are cut into blocks, and ended, in every way that the RFC allows."""

    def __init__(self, rng: random.Random, window_bits: int = 15, no_context_takeover: bool = False) -> None:
        self._rng = rng
        self._window_bits = window_bits
        self._no_context_takeover = no_context_takeover
        self._stream: Optional[zlib._Compress] = None

    def compress(self, plain: bytes) -> bytes:
        """The payload of one message (RFC 7692 7.2.1)."""
        rng = self._rng
        # A new stream does not know what the receiver's window holds.
        if self._stream is None or self._no_context_takeover or happens(rng, 0.1):
            self._stream = self._open()
        stream, data = self._stream, b""
        *pieces, last = split(rng, plain, rng.choice((1, 1, 1, 2, 3)))
        for piece in pieces:
            data += stream.compress(piece) + stream.flush(rng.choice(FLUSHES))
        data += stream.compress(last)
        if happens(rng, 0.08):
            # RFC 7692 7.2.3.4: behind a block with BFINAL, 00 makes an empty block of itself and the tail.
            self._stream = None
            return data + stream.flush(zlib.Z_FINISH) + b"\x00"
        data += stream.flush(rng.choice((zlib.Z_SYNC_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH)))
        # zlib flushes nothing where nothing came since the last flush; and RFC 7692 7.2.3.6: one more empty
        # block is as good as none.
        if not data.endswith(TAIL) or happens(rng, 0.03):
            return data + b"\x00"
        return data[:-4]

    def _open(self) -> zlib._Compress:
        rng = self._rng
        window_bits = rng.randint(9, self._window_bits) if happens(rng, 0.3) else self._window_bits
        level, strategy = rng.choice((6, 0, 1, 3, 6, 9)), rng.choice(STRATEGIES)
        return zlib.compressobj(level, zlib.DEFLATED, -window_bits, rng.randint(1, 9), strategy)


class Compressed(NamedTuple):
    is_text: bool
    plain: Optional[bytes]  #: what it must inflate to; None once damage was done
    payload: bytes


def draw_messages(rng: random.Random, compressor: Compressor) -> List[Compressed]:
    messages: List[Compressed] = []
    plain, is_text = draw_plain(rng)
    for _ in range(rng.choice((1, 2, 2, 3, 4))):
        messages.append(Compressed(is_text, plain, compressor.compress(plain)))
        # The same again has references that go back as far as the window reaches.
        if not happens(rng, 0.2):
            plain, is_text = draw_plain(rng)
    return messages


# What damage makes of a payload, or puts beside it.
CHANGES: Dict[str, Callable[[random.Random, bytes], bytes]] = {
    "flip_bit": flip_bit,
    "truncate": truncate,
    # The four bytes that must be left out stay: an ordinary stored block to whoever inflates.
    "keep_tail": lambda rng, payload: payload + TAIL,
    "empty": lambda rng, payload: b"",
    "noise": lambda rng, payload: rng.randbytes(rng.randint(1, 40)),
}


def mutate(rng: random.Random, messages: List[Compressed]) -> str:
    """Do one kind of damage, in place, and return its name."""
    name = rng.choice(("disorder", "disorder", "flip_bit", *CHANGES))
    if name == "disorder":
        # With a window kept, the references of a message out of its place point elsewhere.
        disorder(rng, messages)
    else:
        at = rng.randrange(len(messages))
        changed = messages[at]._replace(payload=CHANGES[name](rng, messages[at].payload))
        messages[at : at + rng.randint(0, 1)] = [changed]
    # Whatever happened to one message, the window of those behind it may be another.
    messages[:] = [message._replace(plain=None) for message in messages]
    return name
