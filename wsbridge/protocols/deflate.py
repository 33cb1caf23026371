"""The parameters of permessage-deflate, and the codec of messages (RFC 7692 7.2) that they make.

`deflate_negotiation` agrees on them with the peer. zlib is imported by the first codec, because a Python may
lack it.
"""

from __future__ import annotations

import functools
import sys
from array import array
from types import ModuleType
from typing import TYPE_CHECKING, List, NamedTuple, Optional, Union

from .errors import InvalidCompressedData

if TYPE_CHECKING:
    from zlib import _Compress, _Decompress

__all__ = ["SLICE", "Agreement", "CeilingReached", "DeflateSettings", "Inflater", "PerMessageDeflate"]

# RFC 7692 7.2.1: the four bytes that end every flushed DEFLATE block, removed on the wire.
TAIL = b"\x00\x00\xff\xff"

# zlib.h: both flushes end with `TAIL`; after the full one nothing refers to what came before.
_SYNC_FLUSH, _FULL_FLUSH = 2, 3

# An empty stored block with BFINAL: at a block's boundary, and only there, it ends the stream.
FINAL_BLOCK = b"\x01\x00\x00\xff\xff"

# After a whole message these bytes end the stream, with none left over.
_ENDING = TAIL + FINAL_BLOCK

# Bytes. At every block with BFINAL zlib returns a copy of the rest: in slices of this size the time stays
# linear.
SLICE = 16384

# Bytes that zlib allocates to inflate a stream, besides the window.
INFLATE_STATE_SIZE = 7168

# By the bits of a window: an integer for all connections, in place of one for each.
_WINDOW_SIZES = [1 << bits for bits in range(16)]

# Bytes by which a window may grow before it is cut to its size.
WINDOW_SLACK = 4096

_IS_PYPY = sys.implementation.name == "pypy"
_BYTE = array("b", [0])


def note_allocated(size: int) -> None:
    """Tell PyPy's collector that zlib has allocated about ``size`` bytes; on CPython do nothing.

    PyPy does not know the size of zlib's objects, and frees them too late: a
    server with one client grows to gigabytes. The memory of an array does
    count towards the next collection, even after the array is gone.
    """
    if _IS_PYPY:
        _BYTE * size


class DeflateSettings(NamedTuple):
    """Our parameters of permessage-deflate; every field has a default.

    The first four are those of RFC 7692 7.1. ``level`` 0-9 and ``mem_level``
    1-9 are zlib's. Level 3 is the highest without zlib's lazy matching; 6 takes
    half as long again and makes JSON little smaller. A window of 12 bits and a
    memory level of 4 cost 24 KiB for a connection that compresses; zlib's
    defaults of 15 and 8 cost 256 KiB, for a few per cent of size on short
    messages. ``threshold``: messages of fewer bytes are sent uncompressed; 0,
    because libwebsockets loops on uncompressed ones.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 12
    client_max_window_bits: int = 12
    level: int = 3
    mem_level: int = 4
    threshold: int = 0


class Agreement(NamedTuple):
    """The four parameters of RFC 7692 7.1 that both sides use.

    Our own window may be smaller than the agreed one: the peer's inflater
    handles every smaller window.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15


class CeilingReached(Exception):
    """A piece inflates past `Inflater.ceiling`: ``output`` came of it, and its last ``left`` bytes wait."""

    def __init__(self, output: bytes, left: int) -> None:
        super().__init__(f"{left} bytes are not inflated yet")
        self.output = output
        self.left = left


class Inflater:
    """Inflates a peer's messages, one after the other, up to a ceiling that the caller raises.

    Every message has a zlib stream of its own, which starts with the window of the last one: zlib tells only
    at the end of a stream whether its data is whole, and to end a copy of one long stream instead would leak
    7 KiB a message on PyPy. Between messages only the window is kept.
    """

    __slots__ = (
        *("_decompressor", "_no_context_takeover", "_window", "_window_bits", "_window_size", "_zlib"),
        *("bytes_in", "bytes_out", "ceiling"),
    )

    def __init__(self, window_bits: int, no_context_takeover: bool) -> None:
        # Imported once, here: an `import` in a method costs as much as several calls.
        import zlib

        self._zlib: ModuleType = zlib
        self._window_bits = window_bits
        self._window_size = _WINDOW_SIZES[window_bits]
        self._no_context_takeover = no_context_takeover
        # None at the boundaries of messages and streams.
        self._decompressor: Optional[_Decompress] = None
        # Made for the first message whose context the next one takes over.
        self._window: Optional[bytearray] = None
        #: Total size of the messages, on the wire and inflated.
        self.bytes_in = 0
        self.bytes_out = 0
        #: What ``bytes_out`` may become. Never below it.
        self.ceiling = 0

    def inflate(self, piece: Union[bytes, bytearray]) -> bytes:
        """Inflate the next piece of a message, of `SLICE` bytes at most.

        Raises `CeilingReached` where there is more; the output is then one byte past the ceiling or more, but
        not much. Raises `InvalidCompressedData`. zlib does not return what it inflated of a piece in which it
        finds an error: if a message has several errors, its pieces decide which one is raised.
        """
        self.bytes_in += len(piece)
        room = self.ceiling - self.bytes_out
        pieces = []
        try:
            while piece:
                decompressor = self._decompressor
                if decompressor is None:
                    decompressor = self._decompressor = self._begin_stream()
                # One byte more than there is room for shows that there is more; 0 would mean no limit.
                output = decompressor.decompress(piece, room + 1)
                room -= len(output)
                if room < 0:
                    output = self._add_pending(output, decompressor)
                self.bytes_out += len(output)
                pieces.append(output)
                piece = decompressor.unused_data
                if decompressor.eof:
                    # RFC 7692 7.2.3.4: after a block with BFINAL a new stream begins, and a new window.
                    self._decompressor = self._window = None
                elif not self._no_context_takeover:
                    window = self._window
                    if window is None:
                        window = self._window = bytearray()
                    window += output
                    # Cut only now and then: a piece may be a single byte.
                    if len(window) > WINDOW_SLACK + self._window_size:
                        del window[: -self._window_size]
                if room < 0:
                    # Behind the end of a stream CPython tells the rest of the data twice.
                    left = len(piece) if decompressor.eof else len(decompressor.unconsumed_tail)
                    self.bytes_in -= left
                    self.ceiling = self.bytes_out
                    raise CeilingReached(b"".join(pieces), left)
        except self._zlib.error as error:
            raise InvalidCompressedData(str(error)) from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _add_pending(self, output: bytes, decompressor: _Decompress) -> bytes:
        """Add what zlib holds back if it has read all of the data: a few KiB, of bits that it has read."""
        if decompressor.unconsumed_tail or decompressor.eof:
            return output
        return output + decompressor.decompress(b"", SLICE)

    def _begin_stream(self) -> _Decompress:
        stream: _Decompress
        window = self._window
        if window:
            note_allocated(INFLATE_STATE_SIZE + len(window))
            stream = self._zlib.decompressobj(-self._window_bits, window)
        else:
            note_allocated(INFLATE_STATE_SIZE)
            # An empty window would take PyPy twice the time.
            stream = self._zlib.decompressobj(-self._window_bits)
        return stream

    def finish(self) -> None:
        """End the message. Raises `InvalidCompressedData` if it is truncated."""
        # There is no stream after a block with BFINAL (RFC 7692 7.2.3.4). Nor after an empty payload, to
        # which zlib compresses the second empty message in a row, though 7.2.3.6 asks for 00.
        decompressor, self._decompressor = self._decompressor, None
        if decompressor is not None and not self._ends_at_block_boundary(decompressor):
            raise InvalidCompressedData("it ends inside a block")
        if self._window is not None:
            del self._window[: -self._window_size]

    def _ends_at_block_boundary(self, decompressor: _Decompress) -> bool:
        # A message that is truncated inside a block would be delivered in part, and the next one be garbage.
        try:
            if decompressor.decompress(_ENDING, 1) or not decompressor.eof:
                return False
        except self._zlib.error:
            return False
        if decompressor.unused_data == FINAL_BLOCK:
            # RFC 7692 7.2.1: the empty block may itself have BFINAL; a new stream begins after it.
            self._window = None
            return True
        return not decompressor.unused_data


class Compressors:
    """Makes zlib's compressors with the same parameters, and keeps those that compress single messages.

    A full flush makes a compressor forget: the next message becomes the same bytes as from a new one, which
    would have to be allocated and set up first.
    """

    __slots__ = ("_idle", "_level", "_mem_level", "_window_bits", "_zlib")

    def __init__(self, window_bits: int, level: int, mem_level: int) -> None:
        import zlib

        self._zlib: ModuleType = zlib
        self._window_bits = window_bits
        self._level = level
        self._mem_level = mem_level
        self._idle: List[_Compress] = []

    def build(self) -> _Compress:
        # The memory that zconf.h states for deflate.
        note_allocated((4 << self._window_bits) + (512 << self._mem_level))
        compressor: _Compress = self._zlib.compressobj(
            self._level, self._zlib.DEFLATED, -self._window_bits, self._mem_level
        )
        return compressor

    def deflate(self, payload: bytes) -> bytes:
        """As `Deflater.deflate`, but independently of all other messages."""
        # `pop` is atomic: no other thread, and no signal handler, gets the same compressor. After an
        # exception, which may leave half a message in it, it is not kept.
        try:
            compressor = self._idle.pop()
        except IndexError:
            compressor = self.build()
        compressed = (compressor.compress(payload) + compressor.flush(_FULL_FLUSH))[:-4]
        self._idle.append(compressor)
        return compressed


@functools.cache
def share_compressors(window_bits: int, level: int, mem_level: int) -> Compressors:
    """The `Compressors` of all connections in the process with these parameters."""
    return Compressors(window_bits, level, mem_level)


class Deflater:
    """Compresses our messages, one after the other."""

    __slots__ = ("_compressor", "_compressors", "_no_context_takeover", "bytes_in", "bytes_out")

    def __init__(self, window_bits: int, no_context_takeover: bool, level: int, mem_level: int) -> None:
        self._compressors = share_compressors(window_bits, level, mem_level)
        self._no_context_takeover = no_context_takeover
        # Made for the first message whose context the next one takes over.
        self._compressor: Optional[_Compress] = None
        self.bytes_in = 0
        self.bytes_out = 0

    def deflate(self, payload: bytes) -> bytes:
        """Compress a whole message, and remove the tail (RFC 7692 7.2.1)."""
        if self._no_context_takeover:
            compressed = self._compressors.deflate(payload)
        else:
            compressor = self._compressor
            if compressor is None:
                compressor = self._compressor = self._compressors.build()
            compressed = (compressor.compress(payload) + compressor.flush(_SYNC_FLUSH))[:-4]
        self.bytes_in += len(payload)
        self.bytes_out += len(compressed)
        return compressed


class PerMessageDeflate:
    """The codec of one connection: an `Inflater` and a `Deflater` with the agreed parameters."""

    __slots__ = ("deflater", "inflater", "threshold")

    def __init__(self, agreement: Agreement, settings: DeflateSettings, client: bool = False) -> None:
        ours = (agreement.server_max_window_bits, agreement.server_no_context_takeover)
        theirs = (agreement.client_max_window_bits, agreement.client_no_context_takeover)
        if client:
            ours, theirs = theirs, ours
        self.deflater = Deflater(*ours, settings.level, settings.mem_level)
        # A larger window inflates a smaller one, and a peer's zlib may have used 9 bits for 8.
        self.inflater = Inflater(max(theirs[0], 9), theirs[1])
        self.threshold = settings.threshold
