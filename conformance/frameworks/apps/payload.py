"""Bodies that both ends know without having them in memory, and what shows that they came whole.

The check itself imports this, so nothing here may import `seen`.
"""

from __future__ import annotations

import zlib
from typing import Iterator

MIB = 1024 * 1024
PIECE_SIZE = 64 * 1024
_FILLING = bytes(range(256)) * (PIECE_SIZE // 256)


def make_pieces(size: int) -> Iterator[bytes]:
    """`size` bytes; no two pieces are the same, so that neither gaps nor changes of order go unseen."""
    for offset in range(0, size, PIECE_SIZE):
        piece = offset.to_bytes(8, "big") + _FILLING[8:]
        yield piece[: size - offset]


class Tally:
    """What came, in short."""

    def __init__(self) -> None:
        self._size = 0
        self._crc = 0

    def add(self, piece: bytes) -> None:
        self._size += len(piece)
        self._crc = zlib.crc32(piece, self._crc)

    def __str__(self) -> str:
        return f"{self._size} bytes, CRC {self._crc:08x}"


def describe_payload(size: int) -> str:
    tally = Tally()
    for piece in make_pieces(size):
        tally.add(piece)
    return str(tally)
