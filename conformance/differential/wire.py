"""Frames that an implementation has sent, read strictly.

The reader is for what an implementation sends, so it is strict: every byte belongs to a well-formed frame.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Tuple

from ..lib.wire import CLOSE, PONG, apply_mask
from .cases import Sent


class Malformed(Exception):
    """Bytes that an implementation must not send."""


class WireFrame(NamedTuple):
    fin: bool
    rsv: int
    opcode: int
    payload: bytes


def read_frames(data: bytes, *, masked: bool) -> List[WireFrame]:
    """Every frame of `data`; raises `Malformed` where the sender of that role broke RFC 6455 5.2 or 5.5."""
    frames = []
    position = 0
    while position < len(data):
        if len(data) - position < 2:
            raise Malformed("a frame ends inside its header")
        first, second = data[position], data[position + 1]
        length, start = second & 0x7F, position + 2
        if length == 126:
            length, start = int.from_bytes(data[start : start + 2], "big"), start + 2
            if length < 126:
                raise Malformed("16-bit length below 126")
        elif length == 127:
            length, start = int.from_bytes(data[start : start + 8], "big"), start + 8
            if length < 65536 or length >> 63:
                raise Malformed("64-bit length below 65536, or its top bit set")
        if bool(second & 0x80) is not masked:
            raise Malformed("masked" if second & 0x80 else "not masked")
        key = data[start : start + 4] if masked else None
        start += 4 if masked else 0
        payload = data[start : start + length]
        if len(payload) < length:
            raise Malformed("a frame ends inside its payload")
        fin, rsv, opcode = bool(first & 0x80), first >> 4 & 7, first & 15
        if opcode >= CLOSE and (length > 125 or not fin or rsv):
            raise Malformed("control frame over 125 bytes, fragmented or with a reserved bit")
        frames.append(WireFrame(fin, rsv, opcode, apply_mask(payload, key) if key else payload))
        position = start + length
    return frames


def read_answers(data: bytes, *, masked: bool, close_payload: Optional[bytes]) -> Tuple[Sent, ...]:
    """What an endpoint answered on its own: PONGs, and at most one CLOSE.

    close_payload: that of the CLOSE it received, if it did. A CLOSE is told by its code and whether it
    repeats that payload; the reason of another one is the implementation's own text.
    """
    sent: List[Sent] = []
    for frame in read_frames(data, masked=masked):
        # RFC 6455 5.5.1 forbids data frames behind a CLOSE; a PONG it does not.
        if frame.opcode == PONG:
            sent.append(("pong", frame.payload))
        elif frame.opcode == CLOSE and not any(entry[0] == "close" for entry in sent):
            if len(frame.payload) == 1:
                raise Malformed("CLOSE with one byte")
            code = int.from_bytes(frame.payload[:2], "big") if frame.payload else None
            frame.payload[2:].decode()
            sent.append(("close", code, frame.payload == close_payload))
        else:
            raise Malformed(f"opcode {frame.opcode} sent unasked")
    return tuple(sent)
