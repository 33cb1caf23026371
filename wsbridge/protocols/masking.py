"""Masking (RFC 6455 5.3): the only place that knows how.

A native routine can replace `apply_mask` and `unmask` here, before ``ws`` is
imported, or in a vendored copy.
"""

from __future__ import annotations

import sys
from struct import Struct
from typing import Dict, Union

__all__ = ["apply_mask", "unmask"]

# Bytes. One XOR of big integers wins below about 1 KiB, four strided translations above.
TRANSLATE_FROM = 1024

# For every number of 32-bit words, that of the key included, a number with a 1 in each word: times the
# masking key it is the key repeated.
_ONES = [int.from_bytes(b"\x01\0\0\0" * words, "little") for words in range(TRANSLATE_FROM // 4 + 2)]

# Looked up once: a class method is bound at each look-up, which costs time for short messages.
_from_bytes = int.from_bytes


class _XORTables(Dict[int, bytes]):
    """For each byte of a key, the `bytes.translate` table that XORs with it; made on first use."""

    def __missing__(self, key_byte: int) -> bytes:
        table = self[key_byte] = bytes([byte ^ key_byte for byte in range(256)])
        return table


_TABLES = _XORTables()

# The positions in the payload that each byte of the key masks.
_FIRSTS, _SECONDS, _THIRDS, _FOURTHS = (slice(place, None, 4) for place in range(4))


def apply_mask(data: bytes, key: bytes) -> Union[bytes, bytearray]:
    """XOR ``data`` with the four bytes of ``key`` repeated; masking and unmasking are the same.

    Returns a new object, `bytes` or `bytearray`, whichever is cheaper.
    """
    size = len(data)
    if size < TRANSLATE_FROM:
        return unmask(key + data, 4, size + 4)
    buffer = bytearray(data)
    # Faster without a loop, and with slices that are made once.
    first, second, third, fourth = key
    buffer[_FIRSTS] = buffer[_FIRSTS].translate(_TABLES[first])
    buffer[_SECONDS] = buffer[_SECONDS].translate(_TABLES[second])
    buffer[_THIRDS] = buffer[_THIRDS].translate(_TABLES[third])
    buffer[_FOURTHS] = buffer[_FOURTHS].translate(_TABLES[fourth])
    return buffer


def unmask(data: bytes, start: int, stop: int) -> Union[bytes, bytearray]:
    """Unmask the payload ``data[start:stop]``, whose key is the four bytes before it, as in a frame."""
    size = stop - start
    if size >= TRANSLATE_FROM:
        return apply_mask(data[start:stop], data[start - 4 : start])
    # One conversion for key and payload: the key is the lowest word of the number.
    words = (size + 7) >> 2
    number = _from_bytes(data[start - 4 : stop], "little")
    number ^= (number & 0xFFFFFFFF) * _ONES[words]
    return number.to_bytes(words << 2, "little")[4 : size + 4]


# ----------------------------------------------------------------------------------------- on PyPy


# PyPy is fastest with signed numbers of eight bytes.
_WORD = Struct("<q")


def apply_mask_by_word(data: bytes, key: bytes) -> bytearray:
    """As `apply_mask`; a compiled loop over words is many times as fast on PyPy."""
    buffer = bytearray(data)
    size = len(buffer)
    whole = size & -8
    (number,) = _WORD.unpack(key + key)
    for position in range(0, whole, 8):
        _WORD.pack_into(buffer, position, _WORD.unpack_from(buffer, position)[0] ^ number)
    for position in range(whole, size):
        buffer[position] ^= key[position & 3]
    return buffer


def unmask_by_word(data: bytes, start: int, stop: int) -> bytearray:
    """As `unmask`."""
    return apply_mask_by_word(data[start:stop], data[start - 4 : start])


if sys.implementation.name == "pypy":
    apply_mask, unmask = apply_mask_by_word, unmask_by_word
