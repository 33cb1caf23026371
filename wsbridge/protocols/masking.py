"""Masking (RFC 6455 5.3); no other module masks.

Short payloads are masked by one XOR of big integers, larger ones by the routine
that `use` has chosen.
"""

from __future__ import annotations

import sys
from struct import Struct
from typing import Callable, Dict, Union

__all__ = ["apply_mask", "get_routine", "mask_slice", "prefer_libcrypto", "unmask", "use"]

#: (data, start, stop, key): masks ``data[start:stop]`` with a key of four bytes, and returns a new object.
Routine = Callable[[bytes, int, int, bytes], Union[bytes, bytearray]]
#: (data, key): a routine of a caller.
BytesRoutine = Callable[[bytes, bytes], Union[bytes, bytearray]]

# Bytes. Below this size one XOR of big integers wins over four strided translations, below the other over a
# call of libcrypto.
LARGE, LARGE_FOR_LIBCRYPTO = 1024, 384

# By the number of 32-bit words: an integer that has a 1 in each word. Multiplied by the masking key, it is
# the key repeated.
_ONES = [int.from_bytes(b"\x01\0\0\0" * words, "little") for words in range(LARGE // 4 + 2)]
# The same by the size of a payload, for it and the key before it.
_ONES_BY_SIZE = [_ONES[(size + 7) // 4] for size in range(LARGE)]

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

# PyPy is fastest with signed numbers of eight bytes.
_WORD = Struct("<q")


def apply_mask(data: bytes, key: bytes) -> Union[bytes, bytearray]:
    """XOR ``data`` with the four bytes of ``key`` repeated; masking and unmasking are the same.

    Returns a new object, `bytes` or `bytearray`, whichever is cheaper.
    """
    # A key of another type would make the routine fail, and another take its place for the whole process.
    return mask_slice(bytes(data), 0, len(data), bytes(memoryview(key)))


def mask_slice(data: bytes, start: int, stop: int, key: bytes) -> Union[bytes, bytearray]:
    """As `apply_mask`, for ``data[start:stop]``."""
    size = stop - start
    if size < _large:
        return unmask(key + data[start:stop], 4, size + 4)
    return _mask_large(data, start, stop, key)


def unmask(data: bytes, start: int, stop: int) -> Union[bytes, bytearray]:
    """Unmask the payload ``data[start:stop]``, whose key is the four bytes before it, as in a frame."""
    size = stop - start
    if size >= _large:
        return _mask_large(data, start, stop, data[start - 4 : start])
    # One conversion for key and payload: the key is the lowest word of the number.
    number = _from_bytes(data[start - 4 : stop], "little")
    number ^= (number & 0xFFFFFFFF) * _ONES_BY_SIZE[size]
    # The mask may end up to three bytes behind the payload.
    return number.to_bytes(size + 7, "little")[4 : size + 4]


def mask_by_table(data: bytes, start: int, stop: int, key: bytes) -> bytearray:
    """The routine for CPython: four translations, each of every fourth byte."""
    buffer = bytearray(memoryview(data)[start:stop])
    # Faster without a loop, and with slices that are made once.
    first, second, third, fourth = key
    buffer[_FIRSTS] = buffer[_FIRSTS].translate(_TABLES[first])
    buffer[_SECONDS] = buffer[_SECONDS].translate(_TABLES[second])
    buffer[_THIRDS] = buffer[_THIRDS].translate(_TABLES[third])
    buffer[_FOURTHS] = buffer[_FOURTHS].translate(_TABLES[fourth])
    return buffer


def mask_by_word(data: bytes, start: int, stop: int, key: bytes) -> bytearray:
    """The routine for PyPy, of any size: a compiled loop over words."""
    buffer = bytearray(memoryview(data)[start:stop])
    size = stop - start
    whole = size & -8
    (number,) = _WORD.unpack(key + key)
    for position in range(0, whole, 8):
        _WORD.pack_into(buffer, position, _WORD.unpack_from(buffer, position)[0] ^ number)
    for position in range(whole, size):
        buffer[position] ^= key[position & 3]
    return buffer


def mask_slice_by_word(data: bytes, start: int, stop: int, key: bytes) -> Union[bytes, bytearray]:
    """`mask_slice` on PyPy."""
    return (mask_by_word if stop - start < _large else _mask_large)(data, start, stop, key)


def unmask_by_word(data: bytes, start: int, stop: int) -> Union[bytes, bytearray]:
    """`unmask` on PyPy."""
    return mask_slice_by_word(data, start, stop, data[start - 4 : start])


_IS_PYPY = sys.implementation.name == "pypy"
_mask_in_python = mask_by_word if _IS_PYPY else mask_by_table
if _IS_PYPY:
    mask_slice, unmask = mask_slice_by_word, unmask_by_word


# ------------------------------------------------------------------ the routine for large payloads

_mask_large: Routine = _mask_in_python
# The size from which on it is called.
_large = LARGE
# Whether `use` was called.
_is_chosen = False


def use(routine: Union[BytesRoutine, str]) -> None:
    """Choose what masks payloads of `LARGE` bytes and more, in this process.

    ``"python"``: this module, the default. ``"libcrypto"``: XOR by the libcrypto
    that `hashlib` has loaded, several times as fast, from `LARGE_FOR_LIBCRYPTO`
    bytes on; it is looked up and checked at the first such payload, and if it is
    missing, ``"python"`` stays in use.
    Or a function ``(data, key) -> masked`` that returns a new object for `bytes`
    of any size, and four bytes of key.

    Raises `ValueError` for another name, `TypeError` for what cannot be called.
    """
    global _mask_large, _large, _is_chosen
    if callable(routine):
        _mask_large = _pass_bytes(routine)
    elif not isinstance(routine, str):
        raise TypeError(f"a masking routine must be a function or a name, not {type(routine).__name__}")
    elif routine not in _NAMED:
        raise ValueError(f"masking routine {routine!r} is not one of {', '.join(_NAMED)}")
    else:
        _mask_large = _NAMED[routine]
    _large = LARGE_FOR_LIBCRYPTO if routine == "libcrypto" else LARGE
    _is_chosen = True


def _pass_bytes(function: BytesRoutine) -> Routine:
    """A routine that calls ``function`` with the slice."""

    def mask(data: bytes, start: int, stop: int, key: bytes) -> Union[bytes, bytearray]:
        return function(data[start:stop], key)

    mask.__name__ = str(getattr(function, "__name__", function))
    return mask


def prefer_libcrypto() -> None:
    """Choose ``"libcrypto"``, unless `use` was called before."""
    if not _is_chosen:
        use("libcrypto")


def get_routine() -> str:
    """What masks large payloads: ``"python"``, ``"libcrypto"``, or the name of the function in use."""
    if _mask_large is _mask_by_libcrypto:
        _load_libcrypto()
    if _mask_large is _mask_in_python:
        return "python"
    return _mask_large.__name__


def _load_libcrypto() -> None:
    from .libcrypto import load

    mask_in_place = load()
    if mask_in_place is None:
        _replace(_mask_by_libcrypto, _mask_in_python)
        return

    def libcrypto(data: bytes, start: int, stop: int, key: bytes) -> Union[bytes, bytearray]:
        # A slice is a copy, which is masked in place; but a slice of everything is ``data`` itself.
        masked = data[start:stop] if stop - start < len(data) else bytes(memoryview(data))
        try:
            mask_in_place(masked, key)
        except (MemoryError, ValueError):
            raise
        except Exception:
            # An audit hook that was installed meanwhile forbids it.
            _replace(libcrypto, _mask_in_python)
            return _mask_in_python(data, start, stop, key)
        return masked

    _replace(_mask_by_libcrypto, libcrypto)


def _replace(before: Routine, after: Routine) -> None:
    """Replace a routine, unless `use` has chosen another one meanwhile, in a thread."""
    global _mask_large, _large
    if _mask_large is before:
        _mask_large = after
        if after is _mask_in_python:
            _large = LARGE


def _mask_by_libcrypto(data: bytes, start: int, stop: int, key: bytes) -> Union[bytes, bytearray]:
    """Load libcrypto at the first large payload, and mask with it, or in Python if it is missing."""
    _load_libcrypto()
    return _mask_large(data, start, stop, key)


_NAMED: Dict[str, Routine] = {"python": _mask_in_python, "libcrypto": _mask_by_libcrypto}
