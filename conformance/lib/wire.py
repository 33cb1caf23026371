"""Frames and heads, built and read by hand (RFC 6455 5, RFC 9112), without a line of wsbridge."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import List, Optional, Tuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN, RSV1 = 0x80, 0x40

# RFC 6455 1.3: the sample key, and the accept value that answers it.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

# RFC 6455 7.4.1 and 7.4.2, errata 3227, and the IANA registry: the codes that a CLOSE may carry.
SENDABLE_CODES = frozenset([*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)])


# RFC 3629 4: whole characters, and one that has begun.
CHARACTERS = re.compile(
    rb"(?:[\x00-\x7f]+|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}"
    rb"|\xf4[\x80-\x8f][\x80-\xbf]{2})*"
)
BEGUN = re.compile(
    rb"[\xc2-\xf4]|\xe0[\xa0-\xbf]|\xed[\x80-\x9f]|[\xe1-\xec\xee\xef][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]?"
    rb"|[\xf1-\xf3][\x80-\xbf]{1,2}|\xf4[\x80-\x8f][\x80-\xbf]?"
)


@dataclass
class Frame:
    fin: bool
    rsv: int
    opcode: int
    masked: bool
    payload: bytes

    @property
    def rsv1(self) -> bool:
        return bool(self.rsv & 4)

    @property
    def is_control(self) -> bool:
        return self.opcode >= 8


@dataclass
class Head:
    first_line: str
    headers: List[Tuple[str, str]]

    def find(self, name: str) -> Optional[str]:
        """The value of a header, several lines of one name joined by commas; None when it is not there."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    @property
    def status(self) -> int:
        return int(self.first_line.split(" ")[1])


def parse_head(data: bytes) -> Tuple[Optional[Head], bytes]:
    """Return the head and what follows it, or (None, data) while it is incomplete."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        return None, data
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(":") for line in lines]
    return Head(first, [(name.lower(), value.strip()) for name, _, value in pairs]), rest


def apply_mask(payload: bytes, key: bytes) -> bytes:
    """RFC 6455 5.3."""
    repeated = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")


def build_frame(
    first: int,
    payload: bytes = b"",
    key: Optional[bytes] = None,
    *,
    form: Optional[int] = None,
    claimed: Optional[int] = None,
) -> bytes:
    """A frame (RFC 6455 5.2), masked if there is a key.

    first: FIN, RSV and opcode, as the first byte has them.
    form: 7, 16 or 64 bits for the length, where it shall not be the shortest.
    claimed: the length in the header, where it shall not be the true one.
    """
    length = len(payload) if claimed is None else claimed
    form = form or (7 if length < 126 else 16 if length < 65536 else 64)
    mask_bit = 0 if key is None else 0x80
    if form == 7:
        header = bytes([first, mask_bit | length & 0x7F])
    elif form == 16:
        header = struct.pack("!BBH", first, mask_bit | 126, length & 0xFFFF)
    else:
        header = struct.pack("!BBQ", first, mask_bit | 127, length)
    return header + payload if key is None else header + key + apply_mask(payload, key)


def build_close(code: int, reason: bytes = b"") -> bytes:
    """The payload of a CLOSE."""
    return struct.pack("!H", code) + reason


def parse_frames(data: bytes) -> Tuple[List[Frame], bytes]:
    """Return the whole frames (payloads unmasked, still compressed) and the tail that is not one yet."""
    frames = []
    at = 0
    while len(data) - at >= 2:
        first, second = data[at], data[at + 1]
        length, start = second & 127, at + 2
        if length >= 126:
            width = 2 if length == 126 else 8
            length = int.from_bytes(data[start : start + width], "big")
            start += width
        masked = second >= 128
        key = data[start : start + 4] if masked else b""
        start += len(key)
        if len(data) < start + length:
            break
        payload = data[start : start + length]
        if masked:
            payload = apply_mask(payload, key)
        frames.append(Frame(first >= 128, first >> 4 & 7, first & 15, masked, payload))
        at = start + length
    return frames, data[at:]


def parse_body(head: Head, rest: bytes) -> bytes:
    """Return the body of a response that is complete; raise `ValueError` when it is not."""
    if (head.find("transfer-encoding") or "").lower() == "chunked":
        body = b""
        while True:
            size_line, separator, rest = rest.partition(b"\r\n")
            size = int(size_line, 16)
            if not separator or rest[size : size + 2] != b"\r\n":
                raise ValueError("the chunked body breaks off")
            if size == 0:
                return body
            body += rest[:size]
            rest = rest[size + 2 :]
    length = head.find("content-length")
    if length is not None and int(length) != len(rest):
        raise ValueError(f"content-length {length}, but {len(rest)} bytes of body")
    return rest


def find_undecided(text: bytes) -> bytes:
    """What follows the whole characters of UTF-8: one that has begun, or what is none."""
    whole = CHARACTERS.match(text)
    return text[whole.end() :] if whole else text


def has_begun(undecided: bytes) -> bool:
    """Whether nothing, or the beginning of a character, is undecided."""
    return not undecided or BEGUN.fullmatch(undecided) is not None
