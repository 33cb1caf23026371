"""What RFC 6455 and RFC 7692 forbid a server, looked for in the recorded bytes of a connection."""

from __future__ import annotations

from collections import Counter
from typing import List, Optional

from websockets.utils import accept_key

from conformance.interop.tap import END_SECONDS, Tap
from conformance.lib import wire
from conformance.lib.wire import CLOSE, CONTINUATION, PING, PONG, Frame


def find_broken_rules(tap: Tap) -> List[str]:
    """Return what the server did on this connection that no server may do; empty when all was well."""
    broken = []
    if not tap.was_cut and tap.server.ended is None:
        broken.append(f"it left the connection open for {END_SECONDS:.0f} s after its end")
    if not tap.was_cut and tap.server.ended == "reset":
        broken.append("it reset the connection")
    if tap.is_opaque:
        return broken
    request, response = tap.client.head, tap.server.head
    if request is None or response is None:
        return broken + ([] if tap.was_cut else ["it did not answer the request"])
    if response.status == 101:
        if response.find("sec-websocket-accept") != accept_key(request.find("sec-websocket-key") or ""):
            broken.append("Sec-WebSocket-Accept does not answer the key")
        return broken + _find_broken_frame_rules(tap) + _find_unpaired_pongs(tap)
    try:
        wire.parse_body(response, tap.server.rest)
    except ValueError as error:
        if not tap.client_left_first:
            broken.append(f"the refusal is malformed: {error}")
    return broken


def _find_broken_frame_rules(tap: Tap) -> List[str]:
    received, tail = wire.parse_frames(tap.server.rest)
    is_compressed = "permessage-deflate" in tap.extensions
    in_message, before = False, None
    broken = [f"{len(tail)} bytes of an unfinished frame at the end"] if tail and not tap.was_cut else []
    for frame in received:
        broken += _judge_frame(frame, is_compressed, in_message, before)
        before = frame.opcode
        if not frame.is_control:
            in_message = not frame.fin
    return broken


def _judge_frame(frame: Frame, is_compressed: bool, in_message: bool, before: Optional[int]) -> List[str]:
    # RFC 7692 6: RSV1 belongs to the first frame of a message.
    may_be_compressed = is_compressed and frame.opcode in (wire.TEXT, wire.BINARY)
    rules = {
        "masked": frame.masked,
        "of unknown opcode": 2 < frame.opcode < 8 or frame.opcode > PONG,
        f"with reserved bits {frame.rsv:03b}": frame.rsv & (3 if may_be_compressed else 7),
        "fragmented or too long": frame.is_control and (not frame.fin or len(frame.payload) > 125),
        "inside a fragmented message": in_message and not frame.is_control and frame.opcode != CONTINUATION,
        "outside a fragmented message": not in_message and frame.opcode == CONTINUATION,
        "behind CLOSE": before == CLOSE,
    }
    return [f"a frame with opcode {frame.opcode} {rule}" for rule, is_broken in rules.items() if is_broken]


def _find_unpaired_pongs(tap: Tap) -> List[str]:
    """RFC 6455 5.5.2: a PONG for each PING before the CLOSE. Unasked ones (5.5.3) wsbridge never sends."""
    sent = [(frame.opcode, frame.payload) for frame in tap.client.frames]
    closes = [opcode for opcode, _ in sent].index(CLOSE) if CLOSE in dict(sent) else None
    pings = Counter(payload for opcode, payload in sent[:closes] if opcode == PING)
    pongs = Counter(frame.payload for frame in tap.server.frames if frame.opcode == PONG)
    broken = [f"PONG {payload!r} that no PING asked for" for payload in pongs - pings]
    # Where the server closed first it need not answer any more.
    if not tap.was_cut and closes is not None:
        broken += [f"no PONG for {payload!r}" for payload in pings - pongs]
    return broken
