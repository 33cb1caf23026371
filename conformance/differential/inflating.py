"""RFC 7692 7.2.2 on plain zlib: the reference for one message, and the inflater of a `Reading`."""

from __future__ import annotations

import zlib
from typing import Callable, Optional, Tuple

TAIL = b"\x00\x00\xff\xff"
FINAL_BLOCK = b"\x01\x00\x00\xff\xff"  # empty, stored, BFINAL: read as such at a block's boundary only

UNLIMITED = 1 << 30

Deviates = Callable[[str], bool]


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
            decompressor = zlib.decompressobj(-bits, zdict=window) if window else zlib.decompressobj(-bits)
            output += decompressor.decompress(data)
            if not decompressor.eof:
                break
            # A block with BFINAL: behind it a new stream begins, and a new window.
            data, window = decompressor.unused_data, b""
        if decompressor.decompress(TAIL) or decompressor.unused_data:
            raise CannotInflate("ends inside a block")
        if decompressor.eof:
            return output, b""
    except zlib.error as error:
        raise CannotInflate(str(error)) from None
    if not is_between_blocks(decompressor):
        raise CannotInflate("ends inside a block")
    return output, (window + output)[-(1 << bits) :]


def is_between_blocks(stream: zlib._Decompress) -> bool:
    """Whether the next bit is that of a block's header at a byte's boundary."""
    witness = stream.copy()
    try:
        return not witness.decompress(FINAL_BLOCK) and witness.eof
    except zlib.error:
        return False


class Inflater:
    """One connection's inflating, frame by frame, so that errors show where they are; with a peer's ways.

    Their names are those of rulings.py; `deviates` says whether one is followed.
    """

    def __init__(self, peer: str, bits: int, no_takeover: bool, deviates: Deviates) -> None:
        self._peer = peer
        self._bits = bits
        self._no_takeover = no_takeover
        self._deviates = deviates
        self._stream = self._begin()
        self._is_dead = False  # behind BFINAL, for one that begins no new stream
        self._is_freed = False
        self._at_boundary = True

    def _begin(self) -> zlib._Decompress:
        return zlib.decompressobj(-self._bits)

    def begin_message(self) -> None:
        if self._no_takeover and self._peer == "websockets":
            self._reset()

    def _reset(self) -> None:
        self._stream = self._begin()
        self._is_dead = self._is_freed = False
        self._at_boundary = True

    def feed(self, data: bytes, room: int) -> bytes:
        """The next bytes of a message; raises `CannotInflate`, or `TooBig` for more than `room` bytes."""
        output = b""
        self._check_freed()
        while data and not self._is_dead:
            try:
                output += self._stream.decompress(data, max(room + 1 - len(output), 1))
                if len(output) > room and self._deviates("wsproto-no-limit"):
                    output += self._stream.decompress(self._stream.unconsumed_tail)
                    room = UNLIMITED
            except zlib.error as error:
                raise CannotInflate(str(error)) from None
            if len(output) > room:
                raise TooBig
            self._at_boundary = self._stream.eof
            data = self._stream.unused_data
            if self._stream.eof:
                self._end_stream()
        return output

    def _check_freed(self) -> None:
        if self._is_freed:
            raise CannotInflate("inconsistent stream state")

    def _end_stream(self) -> None:
        if self._peer and self._deviates(f"{self._peer}-bfinal"):
            self._is_dead = True
        else:
            self._stream = self._begin()

    def finish_message(self, frame_size: int = 0, room: int = UNLIMITED) -> bytes:
        """What the end of a message still yields: nothing, or what a deviation makes of a broken end.

        frame_size: of the last frame's payload; websockets takes another way from 2044 bytes on.
        room: what the message may still have.
        """
        output = b""
        self._check_freed()
        if not self._is_dead and not (self._at_boundary and self._deviates("wsbridge-nothing-left")):
            output = self._feed_tail(frame_size, room)
        self._at_boundary = True
        # wsproto flushes zlib's object behind each message, which frees one that is at its end.
        self._is_freed = self._is_dead and self._peer == "wsproto"
        if self._no_takeover:
            self._reset()
        return output

    def _feed_tail(self, frame_size: int, room: int) -> bytes:
        try:
            if self._peer == "websockets" and room < UNLIMITED:
                probe = self._stream.copy()
                is_apart = frame_size >= 2044 or room == 0
                size = len(probe.decompress(TAIL, 1 if is_apart else room))
                is_over = size > 0 if is_apart else bool(probe.unconsumed_tail)
                if is_over and self._deviates("websockets-cut-block-too-big"):
                    raise TooBig
            output = self._stream.decompress(TAIL)
        except zlib.error as error:
            raise CannotInflate(str(error)) from None
        if not output and self._ends_with_tail():
            return b""
        if self._peer and self._deviates(f"{self._peer}-cut-block"):
            if self._stream.eof:
                self._end_stream()
            return output
        raise CannotInflate("ends inside a block")

    def _ends_with_tail(self) -> bool:
        """Whether the tail completed an empty stored block, and not whatever else."""
        if not self._stream.eof:
            return is_between_blocks(self._stream)
        # The block has BFINAL: its header was the payload's last byte, 01.
        if self._stream.unused_data:
            return False
        self._end_stream()
        return True

    # ------------------------------------------------- websockets inflates whole frames, under a limit

    def feed_whole(self, data: bytes, room: int, is_last: bool) -> Optional[bytes]:
        """What websockets gives for a frame where the limit is near; None where it gives what is right."""
        if self._is_dead:
            return None
        size = self._measure(data + (TAIL if is_last else b""), room)
        if size < room or size == 0:
            return None
        if size == room and room:
            if self._is_wrong_behind(data + (TAIL if is_last else b""), room) and self._deviates(
                "websockets-limit-exact"
            ):
                raise TooBig
            return None
        if room and self._is_too_big_for_websockets(data, room, is_last):
            return None
        if not self._deviates("websockets-limit-held-back" if room else "websockets-limit-zero"):
            return None
        output = self._decode_as_websockets(self._stream, data, room, is_last)
        self._at_boundary = is_last
        if is_last and self._no_takeover:
            self._reset()
        return output

    def _is_wrong_behind(self, data: bytes, room: int) -> bool:
        """Whether zlib stops at the limit, and would find an error with room for one byte more."""
        try:
            self._stream.copy().decompress(data, room + 1)
        except zlib.error:
            stream = self._stream.copy()
            stream.decompress(data, room)
            return bool(stream.unconsumed_tail)
        return False

    def _is_too_big_for_websockets(self, data: bytes, room: int, is_last: bool) -> bool:
        try:
            self._decode_as_websockets(self._stream.copy(), data, room, is_last)
        except TooBig:
            return True
        except CannotInflate:
            pass
        return False

    def _measure(self, data: bytes, room: int) -> int:
        """How many bytes come of `data` before an error, counted up to one more than `room`."""
        for most in (room + 1, room):
            try:
                return len(self._stream.copy().decompress(data, most)) if most else 0
            except zlib.error:
                continue
        return 0

    def _decode_as_websockets(self, stream: zlib._Decompress, data: bytes, room: int, is_last: bool) -> bytes:
        try:
            output = stream.decompress(data + TAIL if is_last and len(data) < 2044 else data, room)
            if stream.unconsumed_tail:
                raise TooBig
            if is_last and len(data) >= 2044 and stream.decompress(TAIL, 1):
                raise TooBig
        except zlib.error as error:
            raise CannotInflate(str(error)) from None
        return output
