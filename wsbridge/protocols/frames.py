"""Frames (RFC 6455 5.2): opcodes, close codes, the header's rules, and building.

A frame header is checked from three numbers: its first byte, with the opcode
and the flags; its second byte, whose mask bit the role decides; and the
extended length, which must be the shortest form.
"""

from __future__ import annotations

import os
from struct import Struct
from typing import List, NamedTuple, Optional, Tuple, Union

from .errors import (
    ClosePayloadTruncated,
    ControlFrameFragmented,
    ControlFrameTooLong,
    EventError,
    InvalidCloseCode,
    InvalidUTF8,
    LengthNotMinimal,
    LengthOverflow,
    MessageTooBig,
    ReservedBitsSet,
    UnknownOpcode,
    WrongMasking,
)
from .masking import apply_mask

__all__ = [
    "CONTINUATION",
    "TEXT",
    "BINARY",
    "CLOSE",
    "PING",
    "PONG",
    "FrameHeader",
    "parse_header",
    "build_frame",
    "build_close_payload",
    "parse_close_payload",
    "is_sendable_close_code",
]

# RFC 6455 5.2: opcodes.
CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

FIN = 0x80
RSV1 = 0x40
MASKED = 0x80

# The first byte of a whole message in one frame.
WHOLE_TEXT = FIN | TEXT
WHOLE_BINARY = FIN | BINARY
WHOLE_MESSAGE: Tuple[int, ...] = (WHOLE_TEXT, WHOLE_BINARY)
WHOLE_OR_COMPRESSED = (*WHOLE_MESSAGE, WHOLE_TEXT | RSV1, WHOLE_BINARY | RSV1)

# RFC 6455 7.4 and the IANA registry: close codes with a name of their own.
NORMAL_CLOSURE = 1000
NO_STATUS_RECEIVED = 1005
ABNORMAL_CLOSURE = 1006
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013

MAX_CONTROL_PAYLOAD = 125
MAX_CLOSE_REASON = 123

_pack_length_16 = Struct("!BBH").pack
_pack_length_64 = Struct("!BBQ").pack
_unpack_16 = Struct("!H").unpack_from
_unpack_64 = Struct("!Q").unpack_from


def _check_first_byte(first: int, rsv1_allowed: bool) -> None:
    """Raise the violation in the first byte of a frame, if any (RFC 6455 5.2, 5.5; RFC 7692 6)."""
    opcode = first & 0x0F
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        raise UnknownOpcode(opcode)
    # RFC 7692 6.1: RSV1 marks the first frame of a compressed message, and no other.
    if first & 0x70 and not (rsv1_allowed and first & 0x70 == RSV1 and opcode in (TEXT, BINARY)):
        raise ReservedBitsSet(first)
    if opcode >= CLOSE and not first & FIN:
        raise ControlFrameFragmented(opcode)


class FrameHeader(NamedTuple):
    """A frame header, checked; ``start`` is where its payload begins in the data it was parsed from."""

    first: int
    length: int
    key: Optional[bytes]
    start: int


def parse_header(
    data: bytes,
    position: int,
    *,
    masked: bool = True,
    rsv1_allowed: bool = False,
    max_length: int = 2**63 - 1,
) -> Optional[FrameHeader]:
    """Parse the frame header at ``position``, or return None while it is incomplete.

    ``masked``: whether the peer is a client, which must mask; a server must
    not. ``max_length``: the largest payload of a data frame, in bytes. Raises a
    `ProtocolViolation` for the first field of the header that breaks a rule,
    before the payload has come.
    """
    available = len(data) - position
    if available < 2:
        return None
    first, second = data[position], data[position + 1]
    _check_first_byte(first, rsv1_allowed)
    if bool(second & MASKED) is not masked:
        raise WrongMasking(not masked)
    length = second & 0x7F
    if length > MAX_CONTROL_PAYLOAD and first & 0x0F >= CLOSE:
        raise ControlFrameTooLong(first & 0x0F)
    size = 2
    if length >= 126:
        size = 4 if length == 126 else 10
        if available < size:
            return None
        length = _parse_extended_length(data, position + 2, size)
    if length > max_length and first & 0x0F < CLOSE:
        raise MessageTooBig(max_length)
    start = position + size
    if not masked:
        return FrameHeader(first, length, None, start)
    if available < size + 4:
        return None
    return FrameHeader(first, length, data[start : start + 4], start + 4)


def _parse_extended_length(data: bytes, position: int, header_size: int) -> int:
    # RFC 6455 5.2: the minimal number of bytes MUST be used; the most significant bit MUST be 0.
    length: int
    if header_size == 4:
        (length,) = _unpack_16(data, position)
        if length < 126:
            raise LengthNotMinimal(length)
        return length
    (length,) = _unpack_64(data, position)
    if length >> 63:
        raise LengthOverflow()
    if length < 65536:
        raise LengthNotMinimal(length)
    return length


# Greater than every length, which has 63 bits (RFC 6455 5.2).
UNKNOWN_LENGTH = 2**63


def find_extended_length(data: bytes, position: int, length: int) -> int:
    """The extended length of the frame at ``position``, whose 7-bit ``length`` is 126 or 127.

    `UNKNOWN_LENGTH` if it is incomplete, or breaks a rule, for which `parse_header` raises.
    """
    available = len(data) - position
    if length == 126 and available >= 4:
        (extended,) = _unpack_16(data, position + 2)
        return extended if extended >= 126 else UNKNOWN_LENGTH
    if length == 127 and available >= 10:
        (extended,) = _unpack_64(data, position + 2)
        return extended if extended >= 65536 else UNKNOWN_LENGTH
    return UNKNOWN_LENGTH


# The two-byte headers of whole messages up to 125 bytes, unmasked, by first byte.
SMALL_HEADERS: dict[int, List[bytes]] = {
    first: [bytes((first, length)) for length in range(126)] for first in WHOLE_OR_COMPRESSED
}


def build_frame_header(first: int, length: int, mask_bit: int = 0) -> bytes:
    """The header of a frame, without masking key; ``mask_bit`` is 0 or `MASKED`."""
    if length < 126:
        return bytes((first, mask_bit | length))
    if length < 65536:
        return _pack_length_16(first, mask_bit | 126, length)
    return _pack_length_64(first, mask_bit | 127, length)


def build_frame(
    opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False, mask: bool = False
) -> bytes:
    """One frame as `bytes`; with ``mask``, for a client, masked with a fresh, unpredictable key."""
    first = opcode | (FIN if fin else 0) | (RSV1 if rsv1 else 0)
    if not mask:
        return build_frame_header(first, len(payload)) + payload
    return b"".join(build_masked_frame(first, payload))


def build_masked_frame(first: int, payload: bytes) -> Tuple[bytes, Union[bytes, bytearray]]:
    """A client's frame: header and fresh, unpredictable key, and the masked payload."""
    # RFC 6455 10.3: the key comes from a strong source of entropy.
    key = os.urandom(4)
    return build_frame_header(first, len(payload), MASKED) + key, apply_mask(payload, key)


def is_sendable_close_code(code: int) -> bool:
    """Whether ``code`` may stand in a CLOSE frame (RFC 6455 7.4.1, 7.4.2 and the IANA registry)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def build_close_payload(code: int, reason: str) -> bytes:
    """The payload of a CLOSE (RFC 6455 5.5.1).

    Raises `EventError` for a code that must not be sent, or a reason of more
    than 123 bytes of UTF-8.
    """
    if not isinstance(code, int) or not is_sendable_close_code(code):
        raise EventError(f"close code {code!r} cannot be sent: use 1000-1003, 1007-1014 or 3000-4999")
    if not isinstance(reason, str):
        raise EventError(f"close reason must be str, not {type(reason).__name__}")
    try:
        encoded = reason.encode()
    except UnicodeEncodeError:
        raise EventError("close reason has a lone surrogate, which UTF-8 cannot carry") from None
    if len(encoded) > MAX_CLOSE_REASON:
        raise EventError(f"close reason is {len(encoded)} bytes of UTF-8; at most {MAX_CLOSE_REASON} fit")
    return code.to_bytes(2, "big") + encoded


def parse_close_payload(payload: bytes) -> Tuple[int, str]:
    """Code and reason of a CLOSE; 1005 when it has none (RFC 6455 7.1.5). Raises `ProtocolViolation`."""
    if not payload:
        return NO_STATUS_RECEIVED, ""
    if len(payload) == 1:
        raise ClosePayloadTruncated()
    code = int.from_bytes(payload[:2], "big")
    if not is_sendable_close_code(code):
        raise InvalidCloseCode(code)
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise InvalidUTF8("close reason") from None
