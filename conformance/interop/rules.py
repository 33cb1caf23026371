"""What RFC 6455 and RFC 7692 forbid a server, looked for in the recorded bytes of a connection."""

from __future__ import annotations

import base64
import hashlib
from typing import Dict, List, Optional

from conformance.lib.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, Head

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


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
