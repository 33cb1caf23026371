"""What RFC 6455 and RFC 7692 forbid a server, looked for in the recorded bytes of a connection."""

from __future__ import annotations

from collections import Counter
from typing import List

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.protocol import Protocol, Side
from websockets.utils import accept_key

from conformance.interop.tap import END_SECONDS, Tap
from conformance.lib import wire
from conformance.lib.wire import CLOSE, PING, PONG


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
    """What the parser of `websockets` complains of, and what comes behind CLOSE, where it reads no more."""
    client = Protocol(Side.CLIENT, max_size=None)
    if "permessage-deflate" in tap.extensions:
        # What was compressed for a smaller window, or without a context, these inflate as well.
        client.extensions = [PerMessageDeflate(False, False, 15, 15)]
    client.receive_data(tap.server.rest)
    if not tap.was_cut:
        client.receive_eof()
    broken = [f"its frames: {client.parser_exc}"] if client.parser_exc else []
    frames, tail = wire.parse_frames(tap.server.rest)
    if CLOSE in [frame.opcode for frame in (frames if tail else frames[:-1])]:
        broken.append("something comes behind its CLOSE")
    return broken


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
