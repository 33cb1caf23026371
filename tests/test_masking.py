"""Masking: RFC 6455 5.3, byte i of the payload is XORed with byte i modulo 4 of the key."""

from __future__ import annotations

import unittest

from wsbridge.protocols import masking
from wsbridge.protocols.masking import apply_mask, unmask

from .doubles import load_for

# RFC 6455 5.7: "A single-frame masked text message".
KEY = b"\x37\xfa\x21\x3d"
HELLO = b"\x7f\x9f\x4d\x51\x58"

# Every byte value, at every place of the key.
PATTERN = bytes(range(256)) * 17


def xor(data: bytes, key: bytes) -> bytes:
    """The algorithm as the RFC states it."""
    return bytes([byte ^ key[index % 4] for index, byte in enumerate(data)])


class MaskingTestCase(unittest.TestCase):
    def assert_masked(self, data: bytes, key: bytes, expected: bytes) -> None:
        """Both ways, alone and where it stands in a frame."""
        self.assertEqual(apply_mask(data, key), expected)
        self.assertEqual(apply_mask(expected, key), data)
        self.assertEqual(masking.apply_mask_by_word(data, key), expected)
        for before in (b"", b"\x82\xfe", b"\x82\xfe\x10\x00"):
            frame = before + key + expected + b"\x89\x80"
            start = len(before) + 4
            self.assertEqual(unmask(frame, start, start + len(data)), data)
            self.assertEqual(masking.unmask_by_word(frame, start, start + len(data)), data)


class VectorTests(MaskingTestCase):
    def test_sample_of_rfc_6455_5_7(self) -> None:
        self.assert_masked(b"Hello", KEY, HELLO)

    def test_nothing_masked_is_nothing(self) -> None:
        self.assert_masked(b"", KEY, b"")

    def test_zero_key_changes_nothing(self) -> None:
        self.assert_masked(b"Hello", b"\0\0\0\0", b"Hello")
        self.assert_masked(PATTERN, b"\0\0\0\0", PATTERN)

    def test_partial_words(self) -> None:
        self.assert_masked(b"\0", b"\x01\x02\x03\x04", b"\x01")
        self.assert_masked(b"\0\0\0", b"\x01\x02\x03\x04", b"\x01\x02\x03")
        self.assert_masked(b"\0\0\0\0\0", b"\x01\x02\x03\x04", b"\x01\x02\x03\x04\x01")

    def test_high_bytes_at_both_ends(self) -> None:
        self.assert_masked(b"\0\0\0\0\xff", b"\0\0\0\xff", b"\0\0\0\xff\xff")
        self.assert_masked(b"\xff\0\0\0\0", b"\xff\0\0\0", b"\0\0\0\0\xff")


class LengthTests(MaskingTestCase):
    """Every length up to well past the one where the way of doing it changes."""

    def test_every_length_around_the_change_of_method(self) -> None:
        self.assertEqual(masking.TRANSLATE_FROM, 1024)
        for size in (*range(300), *range(1000, 1100), 2047, 2048, 4096, 4097, 4098, 4099):
            data = PATTERN[:size]
            self.assert_masked(data, b"\x80\x01\xfe\x7f", xor(data, b"\x80\x01\xfe\x7f"))

    def test_every_key_byte_at_every_place(self) -> None:
        for byte in range(256):
            for place in range(4):
                key = bytes(byte if place == index else 0x55 for index in range(4))
                self.assert_masked(PATTERN[:66], key, xor(PATTERN[:66], key))
                self.assertEqual(apply_mask(bytes(2048), key), key * 512)


class CompiledLoopTests(unittest.TestCase):
    """PyPy gets the loop, everybody else the big integers."""

    def test_pypy_masks_word_by_word(self) -> None:
        pypy = load_for("pypy", masking)
        self.assertIs(pypy.apply_mask, pypy.apply_mask_by_word)
        self.assertIs(pypy.unmask, pypy.unmask_by_word)

    def test_the_others_do_not(self) -> None:
        for implementation in ("cpython", "rustpython"):
            other = load_for(implementation, masking)
            self.assertEqual(other.apply_mask.__name__, "apply_mask")
            self.assertEqual(other.unmask.__name__, "unmask")


if __name__ == "__main__":
    unittest.main()
