"""`load`: XOR by a function of the libcrypto that `hashlib` has loaded, for `masking`.

Output feedback mode is ``out = in XOR ivec; ivec = block(ivec)``. With the
masking key four times over as ``ivec``, and a block function that changes
nothing, this is the masking of RFC 6455 5.3.
"""

from __future__ import annotations

import sys
from typing import Any, Callable, List, Optional

__all__ = ["load"]

# (buffer, key): masks an array of `ctypes.c_char` in place; or `bytes`, see `load`.
Routine = Callable[[Any, bytes], None]

# The systems on which the function is used; on others masking stays in Python.
MACHINES = ("x86_64", "amd64", "aarch64", "arm64")
PLATFORMS = ("linux", "darwin", "win32")

# `_masks_correctly` tries every length below this, at each of these offsets from an aligned address.
CHECKED_LENGTHS = 68
CHECKED_OFFSETS = 8

_loaded: List[Optional[Routine]] = []


def load() -> Optional[Routine]:
    """A function ``(buffer, key)`` that masks an array of `ctypes.c_char` in place.

    It also masks `bytes` in place, which only their maker may do, and only
    while nobody else can have seen them: a copy of two bytes or more, as
    shorter ones are shared. That spares a copy from a buffer to `bytes`.

    The first call looks the function up and checks it. Returns None without
    ctypes, without OpenSSL in hashlib, on systems other than 64-bit x86 and ARM,
    and if the function is missing or masks wrongly.
    """
    if not _loaded:
        try:
            _loaded.append(_build() if _is_known_system() else None)
        except Exception:
            # ctypes, _hashlib or the symbol is missing; or an audit hook, or SELinux, forbids it.
            _loaded.append(None)
    return _loaded[0]


def _is_known_system() -> bool:
    import platform

    is_64_bit_cpython = sys.implementation.name == "cpython" and sys.maxsize > 2**32
    return is_64_bit_cpython and sys.platform in PLATFORMS and platform.machine().lower() in MACHINES


def _build() -> Optional[Routine]:
    # The module that hashlib has loaded. Its dependency libcrypto is found through it, never by a search.
    import _hashlib
    import ctypes

    library = ctypes.PyDLL(_hashlib.__file__)
    # openssl/modes.h, since 1.0.1: void CRYPTO_ofb128_encrypt(const unsigned char *in, unsigned char *out,
    # size_t len, const void *key, unsigned char ivec[16], int *num, block128_f block)
    # Without `argtypes` a call takes a third less time: ctypes passes bytes, arrays and None as pointers.
    encrypt = library.CRYPTO_ofb128_encrypt
    encrypt.restype = None
    # A block128_f is called as block(ivec, ivec, key). With a key of NULL `memmove` moves 0 bytes.
    no_block = ctypes.cast(ctypes.memmove, ctypes.c_void_p)
    new_size = ctypes.c_size_t
    half_of_zero = bytes(2)

    def mask_in_place(buffer: Any, key: bytes) -> None:
        if len(key) != 4:
            raise ValueError(f"a masking key has 4 bytes, not {len(key)}")
        # ``ivec`` and ``num``, an int of 0, are written to: each is a new object, which nobody else can see.
        encrypt(buffer, buffer, new_size(len(buffer)), None, key * 4, half_of_zero * 2, no_block)

    return mask_in_place if _masks_correctly(mask_in_place, ctypes.c_char) else None


def _masks_correctly(mask_in_place: Routine, c_char: Any) -> bool:
    """Whether the function masks short buffers of every length at every offset, and nothing around them."""
    key = b"\x80\x01\xfe\x7f"
    for size in range(1, CHECKED_LENGTHS):
        for offset in range(CHECKED_OFFSETS):
            buffer = bytearray(range(offset + size + CHECKED_OFFSETS))
            expected = buffer[:]
            for place in range(size):
                expected[offset + place] ^= key[place & 3]
            mask_in_place((c_char * size).from_buffer(buffer, offset), key)
            if buffer != expected:
                return False
    return True
