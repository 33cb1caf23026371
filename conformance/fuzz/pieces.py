"""The ways in which the same bytes arrive."""

from __future__ import annotations

import random
import zlib
from typing import Dict, List

from ..lib.hostile.draws import split


def cut(data: bytes, size: int) -> List[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def cut_byte_by_byte(data: bytes) -> List[bytes]:
    """Single bytes; of long data the first and the last thousand, between them pieces of 256."""
    if len(data) <= 4096:
        return cut(data, 1)
    return [*cut(data[:1000], 1), *cut(data[1000:-1000], 256), *cut(data[-1000:], 1)]


def cut_in_all_ways(data: bytes) -> Dict[str, List[bytes]]:
    """Byte by byte and at random places, which follow from the data, and so come again."""
    chosen = random.Random(zlib.crc32(data))
    return {
        "byte by byte": cut_byte_by_byte(data),
        "in a few pieces": split(chosen, data, 2 + chosen.randrange(4)),
        "in many pieces": split(chosen, data, 2 + min(len(data) // 3, 1000)),
    }
