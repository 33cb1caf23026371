"""Heads and chunks of HTTP/1.1 (RFC 9112), read part by part, in whatever pieces they come.

A parser's state is the part that it is in. The delimiter that ends a part decides
the next one; any other byte is refused. Each byte is read once: the result does
not depend on the pieces, and the time is linear. The parts of header lines, which
requests, responses and trailers have in common::

    part        its bytes                 ends with  next
    ----------  ------------------------  ---------  ------------------------------------
    NAME        tchar                     ":"        VALUE
                                          CR         HEAD_END, if nothing is read
    VALUE       SP, HTAB, 21-7e, 80-ff    CR         LINE_END
    LINE_END    -                         LF         NAME
    HEAD_END    -                         LF         DONE
"""

from __future__ import annotations

import re
from typing import Any, Callable, List, Mapping, Tuple, Type

from .errors import StateError, WSBridgeError
from .fields import FIELD_VALUE, TCHAR

__all__ = ["DONE", "LINE_END", "NAME", "End", "Part", "PartParser"]

_LF, _CR = b"\n\r"


class Part:
    """A part: the bytes that cannot belong to it, and those of them that may end it.

    ``in_first_line``: its bytes count towards the limit of the first line;
    ``is_line_break``: it is nothing but its end.
    """

    __slots__ = ("name", "find_stop", "ends", "in_first_line", "is_line_break")

    def __init__(
        self,
        name: str,
        stops: bytes,
        ends: bytes,
        *,
        in_first_line: bool = False,
        is_line_break: bool = False,
    ) -> None:
        self.name = name
        self.find_stop = re.compile(stops, re.DOTALL).search
        self.ends = ends
        self.in_first_line = in_first_line
        self.is_line_break = is_line_break


LINE_END = Part("a line end", rb".", b"\n", is_line_break=True)
NAME = Part("a header name", rb"[^" + TCHAR + rb"]", b":\r")
VALUE = Part("a header value", rb"[^" + FIELD_VALUE + rb"]", b"\r")
HEAD_END = Part("the end of the head", rb".", b"\n", is_line_break=True)
#: Nothing more is read.
DONE = Part("done", rb".", b"")

End = Callable[[Any, bytes, int], Part]


class PartParser:
    """Reads parts, among them header lines, within limits. A subclass adds its parts to ``_ENDS``.

    ``part`` is the first; ``max_line``: bytes of the first line, without its CRLF; ``max_head``: of the
    whole; ``max_headers``: header lines.
    """

    _malformed: Type[WSBridgeError]
    _line_too_long: Type[WSBridgeError]
    _head_too_large: Type[WSBridgeError]

    def __init__(self, part: Part, max_line: int, max_head: int, max_headers: int) -> None:
        self.trailing = b""
        self._what = "head"
        self._part = part
        self._pieces = bytearray()  # the bytes of the current part that came in earlier data
        self._consumed = 0
        self._max_line = max_line
        self._max_head = max_head
        self._max_headers = max_headers
        self._headers: List[Tuple[bytes, bytes]] = []
        self._name = b""

    @property
    def consumed(self) -> int:
        """Bytes that were read of what is being parsed."""
        return self._consumed

    def _feed(self, data: bytes) -> bool:
        """Parse more; True once it is complete and ``trailing`` is set."""
        if self._part is DONE:
            raise StateError("the head is complete, or was refused")
        try:
            position = self._read_parts(data, 0)
        except WSBridgeError:
            self._part = DONE
            raise
        if self._part is not DONE:
            return False
        self.trailing = data[position:]
        return True

    def _read_parts(self, data: bytes, position: int, until: Part = DONE) -> int:
        """Parse from ``position`` until the part ``until`` begins, or to the end; return the new position."""
        size = len(data)
        while position < size:
            part = self._part
            if part is until or part is DONE:
                break
            # `max`, because max_head may be shorter than the first line.
            room = max((self._max_line if part.in_first_line else self._max_head) - self._consumed, 0)
            last = min(size, position + room)
            stop = part.find_stop(data, position, last)
            end = last if stop is None else stop.start()
            if end == size:
                self._pieces += data[position:]
                self._consumed += size - position
                return size
            byte = data[end]
            if end == position + room:
                self._check_limit(byte)
            if byte not in part.ends:
                raise self._fail(byte)
            value = data[position:end]
            if self._pieces:
                value = bytes(self._pieces) + value
                self._pieces.clear()
            self._consumed += end + 1 - position
            position = end + 1
            self._part = self._ENDS[part](self, value, byte)
        return position

    def _check_limit(self, byte: int) -> None:
        """Raise if ``byte``, the first past a limit, exceeds it; the CRLF does not count towards a line's."""
        if not self._part.in_first_line:
            raise self._head_too_large(f"{self._what} over {self._max_head} bytes")
        if byte != _CR:
            raise self._line_too_long(f"first line over {self._max_line} bytes")

    def _fail(self, byte: int) -> WSBridgeError:
        """The error for a byte that neither belongs to the current part nor ends it."""
        if byte == _LF:
            return self._malformed("line feed without carriage return")  # RFC 9112 2.2
        if self._part.is_line_break:
            return self._malformed("carriage return without line feed")  # RFC 9112 2.2
        if self._part is NAME and byte in b" \t":  # RFC 9112 5.1 and 5.2
            return self._malformed("folded header line, or a blank before its colon")
        return self._malformed(f"byte 0x{byte:02x} in {self._part.name}")

    def _end_line(self, value: bytes, byte: int) -> Part:
        return NAME

    def _end_name(self, value: bytes, byte: int) -> Part:
        if byte == _CR and not value:
            return HEAD_END
        if byte == _CR:
            raise self._malformed("header line without a colon")
        if not value:
            raise self._malformed("empty header name")
        if len(self._headers) == self._max_headers:
            raise self._head_too_large(f"more than {self._max_headers} headers")
        self._name = value.lower()
        return VALUE

    def _end_value(self, value: bytes, byte: int) -> Part:
        value = value.strip(b" \t")
        self._check_field(self._name, value)
        self._headers.append((self._name, value))
        return LINE_END

    def _check_field(self, name: bytes, value: bytes) -> None:
        """Refuse a header line that breaks a rule; called before it is added."""

    def _end_head(self, value: bytes, byte: int) -> Part:
        return DONE

    _ENDS: Mapping[Part, End] = {
        LINE_END: _end_line,
        NAME: _end_name,
        VALUE: _end_value,
        HEAD_END: _end_head,
    }
