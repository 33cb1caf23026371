"""Masking: RFC 6455 5.3, byte i of the payload is XORed with byte i modulo 4 of the key."""

from __future__ import annotations

import functools
import struct
import sys
import unittest
from typing import Any, List
from unittest import mock

from wsbridge.protocols import libcrypto, masking
from wsbridge.protocols.masking import apply_mask, mask_slice, unmask
from wsbridge.protocols.ws import WSProtocol

from .doubles import load_for

# RFC 6455 5.7: "A single-frame masked text message".
KEY = b"\x37\xfa\x21\x3d"
HELLO = b"\x7f\x9f\x4d\x51\x58"

# The key that changes nothing.
NO_KEY = b"\0\0\0\0"

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
        for before in (b"", b"\x82\xfe", b"\x82\xfe\x10\x00"):
            frame = before + key + expected + b"\x89\x80"
            start = len(before) + 4
            stop = start + len(data)
            self.assertEqual(unmask(frame, start, stop), data)
            self.assertEqual(masking.unmask_by_word(frame, start, stop), data)
            for mask in (mask_slice, masking.mask_slice_by_word, masking.mask_by_table):
                self.assertEqual(mask(frame, start, stop, key), data)


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
        self.assertEqual((masking.LARGE, masking.LARGE_FOR_LIBCRYPTO), (1024, 384))
        for size in (*range(500), *range(1000, 1100), 2047, 2048, 4096, 4097, 4098, 4099):
            data = PATTERN[:size]
            self.assert_masked(data, b"\x80\x01\xfe\x7f", xor(data, b"\x80\x01\xfe\x7f"))

    def test_every_key_byte_at_every_place(self) -> None:
        for byte in range(256):
            for place in range(4):
                key = bytes(byte if place == index else 0x55 for index in range(4))
                self.assert_masked(PATTERN[:66], key, xor(PATTERN[:66], key))
                self.assertEqual(apply_mask(bytes(2048), key), key * 512)


class CompiledLoopTests(unittest.TestCase):
    """PyPy gets the loop, the other interpreters big integers and translations."""

    def test_pypy_masks_word_by_word(self) -> None:
        pypy = load_for("pypy", masking)
        self.assertIs(pypy.mask_slice, pypy.mask_slice_by_word)
        self.assertIs(pypy.unmask, pypy.unmask_by_word)
        self.assertEqual(pypy.apply_mask(PATTERN, KEY), xor(PATTERN, KEY))
        self.assertEqual(pypy.get_routine(), "python")

    def test_the_others_do_not(self) -> None:
        for implementation in ("cpython", "rustpython"):
            other = load_for(implementation, masking)
            self.assertEqual(other.mask_slice.__name__, "mask_slice")
            self.assertEqual(other.unmask.__name__, "unmask")


class RoutineTests(unittest.TestCase):
    """`use` chooses what masks large payloads; each test has a module of its own."""

    def setUp(self) -> None:
        self.masking = load_for(sys.implementation.name, masking)
        self.calls: List[int] = []

    def note(self, data: bytes, key: bytes) -> bytes:
        """A routine of somebody else, which need not know views."""
        self.assertIs(type(data), bytes)
        self.calls.append(len(data))
        return xor(data, key)

    def note_in_place(self, buffer: bytes, key: bytes) -> None:
        """A libcrypto that is only given the key that changes nothing."""
        self.assertEqual(key, NO_KEY)
        self.note(buffer, key)

    def test_python_is_the_default(self) -> None:
        self.assertEqual(self.masking.get_routine(), "python")

    def test_function_masks_large_payloads_and_no_others(self) -> None:
        for implementation in ("cpython", "pypy"):
            module = load_for(implementation, masking)
            module.use(self.note)
            self.assertEqual(module.get_routine(), "note")
            self.calls.clear()
            for size in (0, 1023, 1024, 4000):
                data = PATTERN[:size]
                self.assertEqual(module.apply_mask(data, KEY), xor(data, KEY))
                self.assertEqual(module.unmask(KEY + xor(data, KEY), 4, size + 4), data)
            self.assertEqual(self.calls, [1024, 1024, 4000, 4000])

    def test_function_without_a_name_is_named_by_its_representation(self) -> None:
        routine = functools.partial(self.note)
        self.masking.use(routine)
        self.assertEqual(self.masking.get_routine(), str(routine))

    def test_python_takes_its_place_again(self) -> None:
        self.masking.use(self.note)
        self.masking.use("python")
        self.assertEqual(self.masking.apply_mask(PATTERN, KEY), xor(PATTERN, KEY))
        self.assertEqual((self.masking.get_routine(), self.calls), ("python", []))

    def test_servers_prefer_libcrypto_where_nothing_was_chosen(self) -> None:
        with mock.patch.object(libcrypto, "load", return_value=self.note_in_place):
            self.masking.prefer_libcrypto()
            self.assertEqual(self.masking.get_routine(), "libcrypto")
            for chosen in ("python", self.other):
                self.masking.use(chosen)
                self.masking.prefer_libcrypto()
                self.assertEqual(self.masking.get_routine(), getattr(chosen, "__name__", chosen))

    def other(self, data: bytes, key: bytes) -> bytes:
        raise AssertionError("not called")

    def test_libcrypto_is_loaded_by_the_first_large_payload(self) -> None:
        with mock.patch.object(libcrypto, "load", return_value=self.note_in_place) as load:
            self.masking.use("libcrypto")
            self.masking.apply_mask(PATTERN[:383], NO_KEY)
            self.assertEqual((load.call_count, self.calls), (0, []))
            for size in (384, 384, len(PATTERN)):
                self.assertEqual(self.masking.apply_mask(PATTERN[:size], NO_KEY), PATTERN[:size])
            self.assertEqual((load.call_count, self.calls), (1, [384, 384, len(PATTERN)]))

    def test_libcrypto_masks_a_copy(self) -> None:
        data = PATTERN[:600]
        self.masking.use("libcrypto")
        for start, stop in ((0, 600), (0, 599), (1, 600), (44, 556)):
            self.assertEqual(self.masking.mask_slice(data, start, stop, KEY), xor(data[start:stop], KEY))
            self.assertEqual(data, bytes(PATTERN[:600]))
        buffer = bytearray(data)
        self.assertEqual(self.masking.apply_mask(buffer, KEY), xor(data, KEY))
        self.assertEqual(buffer, data)

    def test_without_libcrypto_python_goes_on(self) -> None:
        with mock.patch.object(libcrypto, "load", return_value=None) as load:
            self.masking.use("libcrypto")
            for data in (PATTERN, PATTERN[:512]):
                self.assertEqual(self.masking.apply_mask(data, KEY), xor(data, KEY))
        self.assertEqual((self.masking.get_routine(), load.call_count), ("python", 1))

    def test_another_function_masks_from_1024_bytes_on_again(self) -> None:
        self.masking.use("libcrypto")
        self.masking.use(self.note)
        self.masking.apply_mask(PATTERN[:1023], KEY)
        self.assertEqual(self.calls, [])

    def test_choice_that_is_made_while_libcrypto_is_loaded_stays(self) -> None:
        """In another thread."""

        def load() -> Any:
            self.masking.use("python")
            return self.note_in_place

        with mock.patch.object(libcrypto, "load", load):
            self.masking.use("libcrypto")
            self.assertEqual(self.masking.apply_mask(PATTERN, KEY), xor(PATTERN, KEY))
        self.assertEqual((self.masking.get_routine(), self.calls), ("python", []))

    def fail_with(self, error: Exception) -> None:
        """Load a libcrypto that raises at the second payload."""
        mask = mock.Mock(side_effect=[None, error])
        with mock.patch.object(libcrypto, "load", return_value=mask):
            self.masking.use("libcrypto")
            self.assertEqual(self.masking.apply_mask(PATTERN, NO_KEY), PATTERN)

    def test_libcrypto_that_is_forbidden_later_leaves_it_to_python(self) -> None:
        self.fail_with(RuntimeError("an audit hook"))
        self.assertEqual(self.masking.apply_mask(PATTERN, KEY), xor(PATTERN, KEY))
        self.assertEqual(self.masking.get_routine(), "python")

    def test_lack_of_memory_is_the_callers(self) -> None:
        self.fail_with(MemoryError())
        with self.assertRaises(MemoryError):
            self.masking.apply_mask(PATTERN, KEY)
        self.assertEqual(self.masking.get_routine(), "libcrypto")

    def test_key_of_another_type_leaves_libcrypto_in_use(self) -> None:
        mask = mock.Mock()
        keys: List[Any] = [bytearray(NO_KEY), memoryview(NO_KEY)]
        with mock.patch.object(libcrypto, "load", return_value=mask):
            self.masking.use("libcrypto")
            for key in keys:
                self.masking.apply_mask(PATTERN, key)
                # As `ctypes` passes no other type.
                self.assertIs(type(mask.call_args[0][1]), bytes)

    def test_key_that_is_none_is_an_error(self) -> None:
        for key in (b"", b"abc", b"abcde"):
            for routine in ("python", "libcrypto"):
                self.masking.use(routine)
                with self.assertRaises((ValueError, struct.error)):
                    self.masking.apply_mask(PATTERN, key)

    def test_other_name_is_an_error_that_lists_the_names(self) -> None:
        with self.assertRaisesRegex(ValueError, "'numpy' is not one of python, libcrypto"):
            self.masking.use("numpy")
        with self.assertRaisesRegex(TypeError, "function or a name, not int"):
            self.masking.use(5)
        self.assertEqual(self.masking.get_routine(), "python")


class ConnectionTests(unittest.TestCase):
    """A protocol asks for the routine with every payload, also one that is open already."""

    def test_routine_reads_and_writes_the_frames_of_a_protocol(self) -> None:
        server, client = WSProtocol(), WSProtocol(client=True)
        calls: List[int] = []

        def note(data: bytes, key: bytes) -> bytes:
            calls.append(len(data))
            return xor(data, key)

        self.addCleanup(masking.use, masking.get_routine())
        masking.use(note)
        frame = client.send_message(PATTERN)
        self.assertEqual(server.receive_data(frame)[0][0].data, PATTERN)
        self.assertEqual(calls, [len(PATTERN)] * 2)


if __name__ == "__main__":
    unittest.main()
