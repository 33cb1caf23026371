"""What a `Reading` of frames keeps between two bytes."""

from __future__ import annotations

from typing import Callable, Optional, Tuple

from .utf8 import UTF8

# RFC 6455 7.4.1, 7.4.2 and the registry of close codes it founded.
SENDABLE = frozenset([*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)])


class Violation(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class FrameInProgress:
    """A frame whose header was read."""

    def __init__(self, first: int, length: int, key: Optional[bytes], fault: bool) -> None:
        self.opcode = first & 15
        self.fin = first >= 0x80
        self.rsv1 = bool(first & 0x40)
        self.length = length
        self.taken = 0
        self.key = key
        self.fault = fault  # known, and to be told when the frame is complete


class MessageInProgress:
    def __init__(self, is_text: bool, is_compressed: bool, is_discarded: bool) -> None:
        self.is_text = is_text
        self.is_compressed = is_compressed
        self.is_discarded = is_discarded
        self.content = b""
        self.was_interrupted = False  # the last frame was a control frame
        self.wire_size = 0
        self.utf8 = UTF8()


def parse_close(payload: bytes, deviates: Callable[[str], bool]) -> Tuple[int, str]:
    """Code and reason of a CLOSE (RFC 6455 5.5.1); 1005 where it has none (7.1.5)."""
    if not payload:
        return 1005, ""
    if len(payload) == 1:
        raise Violation(1002)
    code = int.from_bytes(payload[:2], "big")
    is_bad_code = code not in SENDABLE or (code == 1014 and deviates("wsproto-1014"))
    try:
        reason = payload[2:].decode()
    except UnicodeDecodeError:
        if is_bad_code and not deviates("websockets-reason-first"):
            raise Violation(1002) from None
        raise Violation(1007) from None
    if is_bad_code:
        raise Violation(1002)
    return code, reason
