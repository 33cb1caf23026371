"""What went over one connection, read back from its recorded bytes; shares no line with wsbridge."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


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
        if masked and length:
            whole = int.from_bytes(payload, "big") ^ int.from_bytes((key * (length // 4 + 1))[:length], "big")
            payload = whole.to_bytes(length, "big")
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


def find_broken_rules(
    request: Head, response: Head, sent: List[Frame], received: List[Frame], tail: bytes, whole: bool
) -> List[str]:
    """Return what the server did that RFC 6455 and RFC 7692 forbid; empty when all was well.

    sent, received: the frames from the client and from the server.
    tail: bytes from the server that are no whole frame.
    whole: whether the connection ended in order, so that nothing may be missing.
    """
    broken = []
    key = (request.find("sec-websocket-key") or "").encode()
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    if response.find("sec-websocket-accept") != accept:
        broken.append("Sec-WebSocket-Accept does not answer the key")
    if whole and tail:
        broken.append(f"{len(tail)} bytes of an unfinished frame at the end")
    compressed = "permessage-deflate" in (response.find("sec-websocket-extensions") or "")
    in_message = False
    for index, frame in enumerate(received):
        before = received[index - 1].opcode if index else None
        broken += _find_broken_frame_rules(frame, compressed, in_message, before)
        if not frame.is_control:
            in_message = not frame.fin
    broken += _find_unanswered_pings(sent, received, whole)
    return broken


def _find_broken_frame_rules(
    frame: Frame, compressed: bool, in_message: bool, before: Optional[int]
) -> List[str]:
    broken = []
    name = f"frame with opcode {frame.opcode}"
    if frame.masked:
        broken.append(f"masked {name} from the server")
    if frame.opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        broken.append(f"unknown opcode: {name}")
    may_be_compressed = compressed and frame.opcode in (TEXT, BINARY)
    if frame.rsv & 3 or (frame.rsv and not may_be_compressed):
        broken.append(f"reserved bits {frame.rsv:03b} on a {name}")
    if frame.is_control and (not frame.fin or len(frame.payload) > 125):
        broken.append(f"fragmented or long control {name}")
    if not frame.is_control and (frame.opcode == CONTINUATION) != in_message:
        broken.append(f"{name} {'inside' if in_message else 'outside'} a fragmented message")
    if before == CLOSE:
        broken.append(f"{name} after CLOSE")
    return broken


def _find_unanswered_pings(sent: List[Frame], received: List[Frame], whole: bool) -> List[str]:
    closed = next((index for index, frame in enumerate(sent) if frame.opcode == CLOSE), len(sent))
    pings: Dict[bytes, int] = {}
    for frame in sent[:closed]:
        if frame.opcode == PING:
            pings[frame.payload] = pings.get(frame.payload, 0) + 1
    broken = []
    for frame in received:
        if frame.opcode == PONG:
            if not pings.get(frame.payload):
                broken.append(f"PONG {frame.payload!r} that no PING asked for")
            else:
                pings[frame.payload] -= 1
    server_closed_first = not any(frame.opcode == CLOSE for frame in sent)
    if whole and not server_closed_first and any(pings.values()):
        broken.append(f"no PONG for {[payload for payload, count in pings.items() if count]}")
    return broken
