"""RFC 7692 7.2.2 on plain zlib: a reference for one message, and the inflater of a `FrameReading`."""

from __future__ import annotations

import zlib
from typing import Callable, Dict, NamedTuple, Tuple, Type, Union

from ..lib.hostile.messages import TAIL

FINAL_BLOCK = b"\x01\x00\x00\xff\xff"  # empty, stored, BFINAL: read as such at a block's boundary only

UNLIMITED = 1 << 30

# What may be wrong with a payload.
TOO_BIG, GARBAGE, CUT = "too big", "no DEFLATE data", "ends inside a block"


class CannotInflate(Exception):
    """The payload is not DEFLATE data that ends with a block."""


class TooBig(Exception):
    """More bytes than a message may have."""


def inflate_message(payload: bytes, window: bytes, bits: int) -> Tuple[bytes, bytes]:
    """A whole message and the window behind it, from nothing but its payload and the window before it.

    Stateless: the window is handed to zlib as a dictionary. The tail must be what RFC 7692 7.2.1 took away,
    an empty stored block; payloads cut elsewhere, which zlib may read on into it, are refused. Raises
    `CannotInflate`.
    """
    output, data = b"", payload
    try:
        while True:
            stream = zlib.decompressobj(-bits, zdict=window) if window else zlib.decompressobj(-bits)
            piece = stream.decompress(data)
            output += piece
            window += piece
            if not stream.eof:
                break
            # A block with BFINAL: behind it a new stream begins, and a new window.
            data, window = stream.unused_data, b""
        if not takes_tail(stream):
            raise CannotInflate(CUT)
    except zlib.error as error:
        raise CannotInflate(str(error)) from None
    return output, b"" if stream.eof else window[-(1 << bits) :]


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


class Inflated(NamedTuple):
    """What a piece of a message comes to: output or a fault, and the stream for what is behind it."""

    stream: zlib._Decompress
    output: bytes
    fault: str = ""

    @property
    def effect(self) -> Union[bytes, Type[Exception]]:
        """What a message sees of it."""
        if self.fault:
            return TooBig if self.fault == TOO_BIG else CannotInflate
        return self.output


def inflate_as_websockets(stream: zlib._Decompress, data: bytes, room: int, is_last: bool) -> Inflated:
    is_small = len(data) < 2044
    output = stream.decompress(data + TAIL if is_last and is_small else data, room)
    is_over = stream.unconsumed_tail or (is_last and not is_small and stream.decompress(TAIL, 1))
    return Inflated(stream, b"", TOO_BIG) if is_over else Inflated(stream, output)


def inflate_as_wsproto(stream: zlib._Decompress, data: bytes, room: int, is_last: bool) -> Inflated:
    output = stream.decompress(data)
    if is_last:
        # Flushing frees a stream that is at its end.
        output += stream.decompress(TAIL) + stream.flush()
    return Inflated(stream, output)


IMITATIONS: Dict[str, Callable[[zlib._Decompress, bytes, int, bool], Inflated]] = {
    "websockets": inflate_as_websockets,
    "wsproto": inflate_as_wsproto,
}


class Inflater:
    """One connection's inflating, piece by piece, so that a fault shows where it is.

    Beside the right way stands what the peer does with the same bytes; where the two differ, the ruling that
    says so must be granted.
    """

    def __init__(self, peer: str, bits: int, no_takeover: bool, deviates: Callable[[str], bool]) -> None:
        self._peer = peer
        self._bits = bits
        self._no_takeover = no_takeover
        self._deviates = deviates
        self._reset()

    def _reset(self) -> None:
        self._stream = self._begin()
        self._at_boundary = True  # nothing since the message, or a stream, began
        self._is_lost = False  # behind BFINAL, for a peer that begins no new stream there

    def _begin(self) -> zlib._Decompress:
        return zlib.decompressobj(-self._bits)

    def begin_message(self) -> None:
        if self._no_takeover and self._peer == "websockets":
            self._reset()

    def inflate(self, data: bytes, room: int, is_last: bool) -> bytes:
        """The next bytes of a message; raises `CannotInflate`, or `TooBig` for more than `room` bytes."""
        if self._is_lost:
            result = self._imitate(self._stream, data, room, is_last)
        else:
            result = self._inflate_rightly(data, room, is_last)
            if result.fault == TOO_BIG and self._deviates("wsproto-no-limit"):
                room = UNLIMITED
                result = self._inflate_rightly(data, room, is_last)
            if self._peer:
                result = self._choose(result, self._imitate(self._stream.copy(), data, room, is_last), room)
        self._stream = result.stream
        if not isinstance(result.effect, bytes):
            raise result.effect
        if is_last:
            self._at_boundary = True
            if self._no_takeover:
                self._reset()
        return result.output

    def _inflate_rightly(self, data: bytes, room: int, is_last: bool) -> Inflated:
        """RFC 7692 7.2.2: append the tail, inflate; more than `room` bytes are too many."""
        stream, output = self._stream.copy(), b""
        try:
            while data:
                output += stream.decompress(data, max(room + 1 - len(output), 1))
                if len(output) > room:
                    return Inflated(stream, b"", TOO_BIG)
                data, self._at_boundary = stream.unused_data, stream.eof
                if stream.eof:
                    # RFC 7692 7.2.3.4: what follows a block with BFINAL begins anew.
                    stream = self._begin()
            if is_last and not (self._at_boundary and self._deviates("wsbridge-nothing-left")):
                if not takes_tail(stream):
                    return Inflated(stream, b"", CUT)
                if stream.eof:
                    stream = self._begin()
        except zlib.error:
            return Inflated(stream, b"", GARBAGE)
        return Inflated(stream, output)

    def _imitate(self, stream: zlib._Decompress, data: bytes, room: int, is_last: bool) -> Inflated:
        try:
            return IMITATIONS[self._peer](stream, data, room, is_last)
        except zlib.error:
            return Inflated(stream, b"", GARBAGE)

    def _choose(self, right: Inflated, theirs: Inflated, room: int) -> Inflated:
        """What the peer does where the ruling on this difference is granted, else what is right."""
        ended = theirs.stream.eof  # the peer begins no new stream behind BFINAL
        if right.effect == theirs.effect and not ended:
            return right
        if self._peer == "wsproto" and right.fault == TOO_BIG and len(theirs.output) > room:
            return right  # wsproto-no-limit is not granted
        # Where the tail ended the stream, less than the tail is left over.
        if ended and (right.fault != CUT or len(theirs.stream.unused_data) >= len(TAIL)):
            name = f"{self._peer}-bfinal"
        elif self._peer == "websockets" and (right.fault == TOO_BIG or len(theirs.output) > room):
            name = "websockets-limit-held-back" if room else "websockets-limit-zero"
        elif theirs.fault == TOO_BIG:
            name = "websockets-cut-block-too-big" if right.fault == CUT else "websockets-limit-exact"
        else:
            name = f"{self._peer}-cut-block"
        if not self._deviates(name):
            return right
        self._is_lost = ended and self._deviates(f"{self._peer}-bfinal")
        return theirs if self._is_lost or not ended else theirs._replace(stream=self._begin())
