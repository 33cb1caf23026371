"""The routine of libcrypto: what it masks, and every way in which it may be missing."""

from __future__ import annotations

import platform
import sys
import unittest
from typing import Any, List
from unittest import mock

from wsbridge.protocols import libcrypto

from .doubles import load_for

KEY = b"\x37\xfa\x21\x3d"

# Every byte value, at every place of the key.
PATTERN = bytes(range(256)) * 1025


def xor(data: bytes, key: bytes) -> bytes:
    """The algorithm as RFC 6455 5.3 states it."""
    return bytes([byte ^ key[index % 4] for index, byte in enumerate(data)])


def load(module: Any = libcrypto) -> Any:
    """As in a process that has not loaded it yet."""
    return load_for(sys.implementation.name, module).load()


class LoadTests(unittest.TestCase):
    @unittest.skipUnless(
        sys.implementation.name == "cpython" and sys.platform == "linux", "may be without it"
    )
    @unittest.skipUnless(platform.machine() == "x86_64" and sys.maxsize > 2**32, "may be without it")
    def test_it_is_found_where_it_is(self) -> None:
        """Otherwise the tests below, which are skipped without it, say nothing."""
        try:
            import _hashlib
            import ctypes

            library = ctypes.PyDLL(_hashlib.__file__)
        except (ImportError, AttributeError) as error:
            self.skipTest(f"this Python is without it: {error}")
        self.assertEqual(load() is not None, hasattr(library, "CRYPTO_ofb128_encrypt"))


@unittest.skipIf(load() is None, "this Python has no libcrypto to mask with")
class MaskingTests(unittest.TestCase):
    def setUp(self) -> None:
        self.mask_in_place = load()

    def mask_part(self, buffer: bytearray, start: int, size: int, key: bytes) -> None:
        """Mask a part of ``buffer`` in place."""
        import ctypes

        self.mask_in_place((ctypes.c_char * size).from_buffer(buffer, start), key)

    def mask(self, data: bytes, key: bytes, start: int = 0) -> bytes:
        """``data`` masked in the middle of a buffer, around which nothing changes."""
        buffer = bytearray(b"\xaa" * start + data + b"\xbb" * 16)
        self.mask_part(buffer, start, len(data), key)
        # Nothing holds the buffer: it can be resized.
        buffer += b"\xcc"
        self.assertEqual(buffer[:start], b"\xaa" * start)
        self.assertEqual(buffer[start + len(data) :], b"\xbb" * 16 + b"\xcc")
        return bytes(buffer[start : start + len(data)])

    def test_every_length_of_one_or_few_blocks_at_every_offset(self) -> None:
        for size in range(1, 200):
            expected = xor(PATTERN[:size], KEY)
            for start in range(16):
                buffer = bytearray(start) + PATTERN[:size] + bytes(16)
                self.mask_part(buffer, start, size, KEY)
                self.assertEqual(buffer, bytes(start) + expected + bytes(16), (size, start))

    def test_large_payloads_of_every_length_modulo_a_block(self) -> None:
        expected = xor(PATTERN, KEY)
        for size in range(len(PATTERN) - 17, len(PATTERN)):
            self.assertEqual(self.mask(PATTERN[:size], KEY, start=size & 7), expected[:size], size)

    def test_payload_far_into_its_buffer(self) -> None:
        for bit in range(4, 17):
            self.assertEqual(self.mask(PATTERN[:64], KEY, start=1 << bit), xor(PATTERN[:64], KEY), bit)

    def test_key_of_another_length_is_refused(self) -> None:
        for key in (b"", KEY[:3], KEY + b"\0"):
            with self.assertRaises(ValueError):
                self.mask_in_place(bytes(64), key)

    def test_every_key_byte_at_every_place(self) -> None:
        for byte in range(256):
            for place in range(4):
                key = bytes(byte if place == index else 0x55 for index in range(4))
                self.assertEqual(self.mask(bytes(64), key), key * 16)

    def test_it_is_loaded_once(self) -> None:
        module = load_for(sys.implementation.name, libcrypto)
        self.assertIs(module.load(), module.load())


class MissingTests(unittest.TestCase):
    def assert_none(self) -> None:
        module = load_for("cpython", libcrypto)
        self.assertIsNone(module.load())
        # And it is not looked for again.
        self.assertIsNone(module.load())

    def test_modules_that_this_python_lacks(self) -> None:
        for name in ("ctypes", "_hashlib"):
            with mock.patch.dict(sys.modules, {name: None}):
                self.assert_none()

    def test_hashes_of_a_static_library(self) -> None:
        with mock.patch.dict(sys.modules, {"_hashlib": mock.Mock(spec=[])}):
            self.assert_none()

    def test_other_machines_systems_and_interpreters(self) -> None:
        for machine in ("riscv64", "i686", ""):
            with mock.patch.object(platform, "machine", return_value=machine):
                self.assert_none()
        for owner, name, value in (
            (sys, "platform", "freebsd14"),
            (sys, "maxsize", 2**31 - 1),
            (sys.implementation, "name", "pypy"),
            (sys.implementation, "name", "brython"),
        ):
            with mock.patch.object(owner, name, value):
                self.assert_none()

    def test_whatever_a_load_raises(self) -> None:
        for error in (OSError("SELinux"), AttributeError("no symbol"), RuntimeError("an audit hook")):
            with mock.patch.dict(sys.modules, {"ctypes": mock.Mock(PyDLL=mock.Mock(side_effect=error))}):
                self.assert_none()


@unittest.skipIf(load() is None, "this Python has no libcrypto to mask with")
class WrongTests(unittest.TestCase):
    """A function of the same name that does something else is not used."""

    def load_with(self, encrypt: Any) -> Any:
        import ctypes

        library = mock.Mock(CRYPTO_ofb128_encrypt=encrypt)
        with mock.patch.object(ctypes, "PyDLL", return_value=library):
            return load()

    def load_with_fault(self, size: int, place: int, distance: int) -> Any:
        """Load with a function that masks, and at one size and place writes ``distance`` bytes beyond too."""
        import ctypes

        def encrypt(source: Any, target: Any, length: Any, key: None, ivec: bytes, *rest: Any) -> None:
            target.raw = xor(target.raw, ivec)
            self.sizes.append(length.value)
            address = ctypes.addressof(target)
            if length.value == size and address % 8 == place:
                ctypes.c_char.from_address(address + size + distance - 1).value = b"\xff"

        self.sizes: List[int] = []
        return self.load_with(encrypt)

    def test_function_that_changes_nothing(self) -> None:
        self.assertIsNone(self.load_with(mock.Mock()))

    def test_function_that_writes_greater_bytes(self) -> None:
        import ctypes

        self.assertIsNone(self.load_with(lambda _, target, size, *rest: ctypes.memset(target, 0xFF, size)))

    def test_function_that_writes_beyond_the_end(self) -> None:
        for size, place, distance in ((1, 0, 1), (1, 0, 8), (8, 0, 1), (15, 7, 8), (67, 7, 1)):
            self.assertIsNone(self.load_with_fault(size, place, distance), (size, place, distance))
            self.assertEqual(self.sizes[-1], size)

    def test_it_is_tried_at_every_length_below_68_and_at_eight_places(self) -> None:
        self.assertIsNotNone(self.load_with_fault(68, 0, 1))
        self.assertEqual(self.sizes, [size for size in range(1, 68) for _ in range(8)])


if __name__ == "__main__":
    unittest.main()
