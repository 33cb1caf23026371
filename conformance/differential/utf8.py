"""UTF-8 by the table of the Unicode standard (3-7, the same as RFC 3629 4), one byte after the other."""

from __future__ import annotations

import re
from typing import Dict, List, Tuple

Ranges = List[Tuple[int, int]]

_ANY = (0x80, 0xBF)


def _build_table() -> Dict[int, Ranges]:
    """For each first byte, the ranges of the bytes that follow."""
    table: Dict[int, Ranges] = {byte: [] for byte in range(0x80)}
    table.update({byte: [_ANY] for byte in range(0xC2, 0xE0)})
    table.update({byte: [_ANY, _ANY] for byte in range(0xE1, 0xF0)})
    table[0xE0] = [(0xA0, 0xBF), _ANY]
    table[0xED] = [(0x80, 0x9F), _ANY]
    table.update({byte: [_ANY, _ANY, _ANY] for byte in range(0xF1, 0xF4)})
    table[0xF0] = [(0x90, 0xBF), _ANY, _ANY]
    table[0xF4] = [(0x80, 0x8F), _ANY, _ANY]
    return table


_TABLE = _build_table()
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


class NotUTF8(Exception):
    """is_surrogate_lead: the last byte is the second of a surrogate (ed a0-bf), and nothing else is wrong."""

    def __init__(self, is_surrogate_lead: bool = False) -> None:
        super().__init__()
        self.is_surrogate_lead = is_surrogate_lead


class UTF8:
    """Text as it arrives; raises `NotUTF8` at the first byte that decides it, and then again each time."""

    def __init__(self) -> None:
        self._expected: Ranges = []
        self._is_wrong = False
        self._last = 0

    def feed(self, data: bytes) -> None:
        if not data:
            return
        if self._is_wrong:
            raise NotUTF8
        if data.isascii() and not self._expected:
            return
        position = 0
        while position < len(data):
            if not self._expected:
                found = _NOT_ASCII.search(data, position)
                if found is None:
                    break
                position = found.start()
            byte = data[position]
            if not self._take(byte):
                self._is_wrong = True
                is_last = position == len(data) - 1
                raise NotUTF8(is_last and self._last == 0xED and 0xA0 <= byte <= 0xBF)
            self._last = byte
            position += 1

    def _take(self, byte: int) -> bool:
        if not self._expected:
            self._expected = _TABLE.get(byte, [])
            return byte in _TABLE
        low, high = self._expected[0]
        self._expected = self._expected[1:]
        return low <= byte <= high

    def finish(self) -> None:
        if self._is_wrong or self._expected:
            raise NotUTF8
