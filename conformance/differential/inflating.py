"""RFC 7692 7.2.2 on plain zlib: the inflater of a `FrameReading`."""

from __future__ import annotations

import zlib
from typing import Callable, Tuple

from ..lib.hostile.messages import TAIL
from .rulings import LostItsWay

FINAL_BLOCK = b"\x01\x00\x00\xff\xff"  # empty, stored, BFINAL: read as such at a block's boundary only


class CannotInflate(Exception):
    """The payload is not DEFLATE data that ends with a block."""


class TooBig(Exception):
    """More bytes than a message may have."""


def takes_tail(stream: zlib._Decompress) -> bool:
    """Feed the tail; whether it completes an empty stored block, and not whatever else."""
    try:
        if stream.decompress(TAIL) or stream.unused_data:
            return False
    except zlib.error:
        return False
    # At its end the block has BFINAL: its header was the payload's last byte, 01.
    return stream.eof or is_between_blocks(stream)


def is_between_blocks(stream: zlib._Decompress) -> bool:
    """Whether the next bit is that of a block's header at a byte's boundary."""
    witness = stream.copy()
    try:
        return not witness.decompress(FINAL_BLOCK) and witness.eof
    except zlib.error:
        return False


def fills(stream: zlib._Decompress, data: bytes, room: int) -> bool:
    """Whether there are `room` bytes of output, and more input, before the first error."""
    try:
        stream.decompress(data, room or 1)
    except zlib.error:
        return False
    return bool(stream.unconsumed_tail)


class Inflater:
    """One connection's inflating, piece by piece, so that a fault shows where it is."""

    def __init__(self, peer: str, bits: int, no_takeover: bool, deviates: Callable[[str], bool]) -> None:
        self._peer = peer
        self._bits = bits
        self._no_takeover = no_takeover
        self._deviates = deviates
        self._reset()

    def _reset(self) -> None:
        self._stream = zlib.decompressobj(-self._bits)
        self._at_boundary = True  # nothing since the message, or a stream, began

    def inflate(self, data: bytes, room: int, is_last: bool) -> bytes:
        """The next bytes of a message; raises `CannotInflate`, or `TooBig` for more than `room` bytes.

        RFC 7692 7.2.2: append the tail, inflate. Raises `LostItsWay` where a peer does otherwise.
        """
        try:
            stream, output = self._try(data, room, is_last)
        except TooBig:
            held_back = "websockets-limit-held-back" if room else "websockets-limit-zero"
            if self._deviates("wsproto-no-limit") or self._deviates(held_back):
                raise LostItsWay from None
            raise
        except CannotInflate:
            is_full = self._peer == "websockets" and fills(self._stream.copy(), data, room)
            if is_full and self._deviates("websockets-limit-exact"):
                raise TooBig from None
            raise
        self._stream = stream
        if is_last:
            self._at_boundary = True
            if self._no_takeover:
                self._reset()
        return output

    def _try(self, data: bytes, room: int, is_last: bool) -> Tuple[zlib._Decompress, bytes]:
        stream, output = self._stream.copy(), b""
        while data:
            try:
                output += stream.decompress(data, max(room + 1 - len(output), 1))
            except zlib.error as error:
                raise CannotInflate(str(error)) from None
            if len(output) > room:
                raise TooBig
            data, self._at_boundary = stream.unused_data, stream.eof
            stream = self._go_on(stream)
        if is_last and not (self._at_boundary and self._deviates("wsbridge-nothing-left")):
            if not takes_tail(stream):
                if self._deviates(f"{self._peer}-cut-block"):
                    raise LostItsWay
                raise CannotInflate("ends inside a block")
            stream = self._go_on(stream)
        return stream, output

    def _go_on(self, stream: zlib._Decompress) -> zlib._Decompress:
        """RFC 7692 7.2.3.4: what follows a block with BFINAL begins anew."""
        if not stream.eof:
            return stream
        if self._deviates(f"{self._peer}-bfinal"):
            raise LostItsWay
        return zlib.decompressobj(-self._bits)
