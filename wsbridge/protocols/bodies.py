"""Request bodies of HTTP/1.1 (RFC 9112 6 and 7): of a known length, or in chunks; and those of HTTP/2.

`build_body` is the one place that decides how long a body is. Whatever another
parser might understand in another way is refused there, because between the two
lengths a second request could be hidden (RFC 9112 11.2).

The parts of a chunked body, which are read as those of a head are (`parts`)::

    part        its bytes                 ends with  next
    ----------  ------------------------  ---------  ------------------------------------
    SIZE        0-9, A-F, a-f             SP, HTAB   BLANK
                                          ";"        EXTENSION
                                          CR         SIZE_END
    BLANK       SP, HTAB                  ";"        EXTENSION
    EXTENSION   SP, HTAB, 21-7e, 80-ff    CR         SIZE_END
                                          DQUOTE     QUOTED
    QUOTED      SP, HTAB, 21-7e, 80-ff    DQUOTE     EXTENSION
                                          "\\"        QUOTED_PAIR
    QUOTED_PAIR -                         any such   QUOTED
    SIZE_END    -                         LF         DATA, or NAME behind the last chunk
    DATA        as many as SIZE says                 DATA_CR
    DATA_CR     -                         CR         DATA_LF
    DATA_LF     -                         LF         SIZE
    NAME, ...   the trailers, as header lines        DONE
"""

from __future__ import annotations

import re
from typing import Final, List, Mapping, Optional, Sequence, Tuple, Type, Union

from .errors import BadRequest, ContentTooLarge, HeadTooLarge, StateError, WSBridgeError
from .fields import FIELD_VALUE
from .parts import DONE, NAME, End, Part, PartParser

__all__ = ["BODY_HEADERS", "Body", "ChunkedBody", "LengthBody", "StreamBody", "build_body", "check_framing"]

#: The headers that announce a body.
BODY_HEADERS = frozenset((b"content-length", b"transfer-encoding"))

# RFC 9110 8.6: "a recipient MUST anticipate potentially large decimal numerals". All lengths of this many
# digits fit into 64 bits.
MAX_LENGTH_DIGITS = 18
MAX_SIZE_DIGITS = 15

# Bytes. RFC 9112 7.1.1 asks for a limit on chunk extensions: size lines and line ends may add up to this much
# more than CHUNK_ALLOWANCE for every chunk and twice its data. Uploads that are signed chunk by chunk pass.
MAX_OVERHEAD = 16 * 1024
CHUNK_ALLOWANCE = 16

_CR, _DQUOTE, _SEMICOLON = b'\r";'

_SIZE = Part("a chunk size", rb"[^0-9A-Fa-f]", b" \t;\r")
_BLANK = Part("the blanks before a chunk extension", rb"[^ \t]", b";")
_EXTENSION = Part("a chunk extension", rb"[^" + FIELD_VALUE + rb"]|\"", b'\r"')
# RFC 9110 5.6.4: no line breaks. A recipient that allows them ends the size line behind the quoted string.
_QUOTED = Part("a quoted string", rb"[^" + FIELD_VALUE + rb"]|[\"\\]", b'"\\')
_QUOTED_PAIR = Part("a quoted pair", rb".", bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100)) + b"\t")
_SIZE_END = Part("the end of a chunk size", rb".", b"\n", is_line_break=True)
_DATA = Part("the data of a chunk", rb".", b"")
_DATA_CR = Part("the end of a chunk's data", rb".", b"\r")
_DATA_LF = Part("the end of a chunk", rb".", b"\n", is_line_break=True)

# The size line of an ordinary chunk.
_ORDINARY_SIZE = re.compile(rb"([1-9A-Fa-f][0-9A-Fa-f]{0,7})\r\n")


def check_framing(name: bytes, value: bytes, http_version: str) -> None:
    """Check a Content-Length or Transfer-Encoding line of a request.

    Raises `BadRequest` unless the length is decimal digits without leading
    zeros, or the coding is ``chunked`` and the version 1.1; `ContentTooLarge`
    for a length that no counter holds. RFC 9110 8.6 allows leading zeros, which
    some parsers take for an octal number.
    """
    if name == b"content-length":
        if not value.isdigit() or (value[0] == 0x30 and value != b"0"):
            raise BadRequest("malformed Content-Length")
        if len(value) > MAX_LENGTH_DIGITS:
            raise ContentTooLarge(f"Content-Length of more than {MAX_LENGTH_DIGITS} digits")
    elif value.lower() != b"chunked":
        raise BadRequest("Transfer-Encoding other than chunked")
    elif http_version == "1.0":
        # RFC 9112 6.1: "MUST treat the message as if the framing is faulty".
        raise BadRequest("Transfer-Encoding in HTTP/1.0")


def build_body(
    headers: Sequence[Tuple[bytes, bytes]],
    http_version: str,
    *,
    max_trailers: int = 65536,
    max_trailer_fields: int = 256,
) -> Optional[Body]:
    """The parser for the body of a request with these headers (RFC 9112 6.3); None if it has no body.

    ``max_trailers``: bytes of the trailers behind a chunked body; ``max_trailer_fields``:
    their lines. Raises `BadRequest` for more than one Content-Length or
    Transfer-Encoding line, even if they agree, and what `check_framing` raises.
    """
    lines = [line for line in headers if line[0] in BODY_HEADERS]
    if not lines:
        return None
    name, value = lines[0]
    # Line by line, as `RequestParser` reads a head in pieces: the answer does not depend on them.
    check_framing(name, value, http_version)
    if len(lines) > 1:
        raise BadRequest("more than one Content-Length or Transfer-Encoding")
    if name == b"transfer-encoding":
        return ChunkedBody(max_trailers=max_trailers, max_trailer_fields=max_trailer_fields)
    return None if value == b"0" else LengthBody(int(value))


class LengthBody:
    """A body of ``length`` bytes (RFC 9112 6.2).

    ``missing`` is the number of bytes that have not come; ``is_complete`` is
    True at its end, and ``trailing`` then holds the bytes that follow.
    """

    __slots__ = ("is_complete", "missing", "trailing")

    def __init__(self, length: int) -> None:
        self.missing = length
        self.is_complete = False
        self.trailing = b""

    def receive_data(self, data: bytes) -> bytes:
        """The content in ``data``."""
        content = data[: self.missing]
        self.missing -= len(content)
        if not self.missing:
            self.is_complete = True
            self.trailing = data[len(content) :]
        return content


class ChunkedBody(PartParser):
    """A chunked body (RFC 9112 7.1). Extensions and trailers are checked, and ignored.

    ``missing`` is None, because nobody knows how many bytes will come; the other
    attributes are those of `LengthBody`. The trailers have the limits of a head.
    """

    _malformed = BadRequest
    _line_too_long = BadRequest
    _head_too_large: Type[WSBridgeError] = BadRequest

    missing: Final = None

    def __init__(self, *, max_trailers: int = 65536, max_trailer_fields: int = 256) -> None:
        super().__init__(_SIZE, 0, MAX_OVERHEAD, max_trailer_fields)
        self._what = "chunk sizes and extensions"
        self._max_trailers = max_trailers
        self._missing_data = 0
        self.is_complete = False

    def receive_data(self, data: bytes) -> bytes:
        """The content in ``data``.

        Raises `BadRequest` for what is no chunk, and for extensions that have no
        end; `HeadTooLarge` for trailers over their limits; `ContentTooLarge` for
        the size of a chunk that no counter holds.
        """
        if self._part is DONE:
            raise StateError("the body is complete, or was refused")
        content: List[bytes] = []
        position = 0
        try:
            while position < len(data) and self._part is not DONE:
                if self._part is _DATA:
                    position = self._read_data(data, position, content)
                else:
                    position = self._read_chunk(data, position, content) or self._read_parts(
                        data, position, _DATA
                    )
        except WSBridgeError:
            self._part = DONE
            raise
        if self._part is DONE:
            self.is_complete = True
            self.trailing = data[position:]
        return b"".join(content)

    def _read_chunk(self, data: bytes, position: int, content: List[bytes]) -> int:
        """Read an ordinary chunk that has come whole, and return the position behind it; 0 if it is none."""
        # Its overhead is below CHUNK_ALLOWANCE. What earlier chunks have left is made up for part by part.
        if self._part is not _SIZE or self._pieces or self._consumed > len(b"\r\n"):
            return 0
        size = _ORDINARY_SIZE.match(data, position)
        if size is None:
            return 0
        start = size.end()
        end = start + int(size[1], 16)
        if data[end : end + 2] != b"\r\n":
            return 0
        content.append(data[start:end])
        # As the parts would leave it: the line end behind the data counts for the next chunk.
        self._consumed = len(b"\r\n")
        return end + 2

    def _read_data(self, data: bytes, position: int, content: List[bytes]) -> int:
        piece = data[position : position + self._missing_data]
        content.append(piece)
        self._missing_data -= len(piece)
        if not self._missing_data:
            self._part = _DATA_CR
        return position + len(piece)

    def _end_size(self, value: bytes, byte: int) -> Part:
        if not value:
            raise BadRequest("chunk without a size")
        digits = value.lstrip(b"0")
        if len(digits) > MAX_SIZE_DIGITS:
            raise ContentTooLarge(f"chunk size of more than {MAX_SIZE_DIGITS} digits")
        self._missing_data = int(digits or b"0", 16)
        if byte == _SEMICOLON:
            return _EXTENSION
        # RFC 9112 7.1.1: blanks may stand before the ";" of an extension, and only there.
        return _SIZE_END if byte == _CR else _BLANK

    def _end_blank(self, value: bytes, byte: int) -> Part:
        return _EXTENSION

    def _end_extension(self, value: bytes, byte: int) -> Part:
        return _SIZE_END if byte == _CR else _QUOTED

    def _end_quoted(self, value: bytes, byte: int) -> Part:
        return _EXTENSION if byte == _DQUOTE else _QUOTED_PAIR

    def _end_quoted_pair(self, value: bytes, byte: int) -> Part:
        return _QUOTED

    def _end_size_end(self, value: bytes, byte: int) -> Part:
        if self._missing_data:
            self._consumed = max(self._consumed - CHUNK_ALLOWANCE - 2 * self._missing_data, 0)
            return _DATA
        self._consumed, self._max_head = 0, self._max_trailers
        self._what, self._head_too_large = "trailers", HeadTooLarge
        return NAME

    def _end_data_cr(self, value: bytes, byte: int) -> Part:
        return _DATA_LF

    def _end_data_lf(self, value: bytes, byte: int) -> Part:
        return _SIZE

    _ENDS: Mapping[Part, End] = {
        **PartParser._ENDS,
        _SIZE: _end_size,
        _BLANK: _end_blank,
        _EXTENSION: _end_extension,
        _QUOTED: _end_quoted,
        _QUOTED_PAIR: _end_quoted_pair,
        _SIZE_END: _end_size_end,
        _DATA_CR: _end_data_cr,
        _DATA_LF: _end_data_lf,
    }


class StreamBody:
    """A body that has a stream for itself, of HTTP/2 (RFC 9113 8.1) or HTTP/3, and ends with it.

    The attributes are those of `ChunkedBody`.
    """

    __slots__ = ("is_complete",)

    missing: Final = None
    trailing: Final = b""

    def __init__(self) -> None:
        self.is_complete = False

    def receive_data(self, data: bytes) -> bytes:
        """All of ``data``."""
        return data

    def end(self) -> None:
        """Note the end of the stream."""
        self.is_complete = True


Body = Union[LengthBody, ChunkedBody, StreamBody]
