"""`WSProtocol.receive_data`, in both roles, with and without permessage-deflate."""

from __future__ import annotations

from typing import Any, Callable, List, Sequence, Tuple

from hypothesis import given

from wsbridge.protocols.events import WebSocketDataReceived, WebSocketDisconnected
from wsbridge.protocols.ws import WSProtocol

from ..lib.wire import CLOSE, PONG, SENDABLE_CODES, Frame, parse_frames
from .round_trips import make_ends, receive_all
from .strategies import Example, choose_deflate, conversations, cut_in_all_ways, examples, share

# Of a message's size and of its fragments: the defaults, then so small that short input reaches them.
LIMITS = ((16 * 1024 * 1024, 1024), (300, 8), (64, 3), (5, 1))


class Setup:
    """How a connection is set up before the peer's bytes come.

    `variant` is 0 to 255: bits 0-3 switches, 4-5 the limits, 6-7 the parameters of the extension.
    """

    def __init__(self, client: bool, compressed: bool, variant: int) -> None:
        switches = (bool(variant & bit) for bit in (1, 2, 4, 8))
        self.hold_close, self.is_paused, self.is_closing, self.is_traced = switches
        self.client = client
        self.max_message_size, self._max_fragments = LIMITS[variant >> 4 & 3]
        self._deflate = choose_deflate(variant) if compressed else None

    def build(self) -> WSProtocol:
        limits = {"max_message_size": self.max_message_size, "max_fragments": self._max_fragments}
        ends = make_ends(self._deflate, (self.hold_close, self.hold_close), **limits)
        ws = ends[0] if self.client else ends[1]
        if self.is_paused:
            ws.pause_writing()
        if self.is_closing:
            ws.close(1001, "going away")
        return ws


Answer = Tuple[List[Any], List[Tuple[int, int, bytes]], Tuple[object, ...]]


def feed(setup: Setup, pieces: Sequence[bytes], *, traced: bool) -> Answer:
    """All that comes of the pieces: events, frames to write, and what the connection then says of itself."""
    ws = setup.build()
    if traced:
        ws.trace = lambda *frame: None
    events, outbound = receive_all(ws, pieces)
    state = (ws.is_closed, ws.can_send, ws.is_receiving, ws.close_received)
    outbound += ws.resume_writing()
    if setup.hold_close and not ws.is_receiving:
        outbound += ws.close()
    events += ws.receive_eof()
    # Masking keys are random; payloads are compared unmasked.
    frames, tail = parse_frames(outbound)
    assert not tail, "outbound ends inside a frame"
    check_outbound(setup, frames)
    check_events(setup, events)
    return events, [(frame.rsv << 5 | frame.opcode, frame.fin, frame.payload) for frame in frames], state


def check_outbound(setup: Setup, frames: List[Frame]) -> None:
    """PONGs and at most one CLOSE, which is last (RFC 6455 5.1, 5.5)."""
    for frame in frames:
        assert frame.opcode in (PONG, CLOSE) and frame.fin and not frame.rsv, frame
        assert frame.masked == setup.client and len(frame.payload) <= 125, frame
        if frame.opcode == CLOSE:
            assert frame is frames[-1] and not setup.is_closing, frame
            assert not frame.payload or int.from_bytes(frame.payload[:2], "big") in SENDABLE_CODES, frame
            frame.payload[2:].decode()


def check_events(setup: Setup, events: List[Any]) -> None:
    """Messages within the limit, then exactly one `WebSocketDisconnected`."""
    assert events and isinstance(events[-1], WebSocketDisconnected), "the end is not told"
    for event in events[:-1]:
        assert isinstance(event, WebSocketDataReceived), "more than one end"
        size = len(event.data.encode() if isinstance(event.data, str) else event.data)
        assert size <= setup.max_message_size
        assert not setup.is_closing, "a message after our own CLOSE"
    end = events[-1]
    assert end.code in SENDABLE_CODES or end.code in (1005, 1006)
    assert len(end.reason.encode()) <= 123


# A compressed message can break two rules at once: what it inflates to is not UTF-8 or is too large, and a
# little later it does not inflate at all. zlib gives nothing of a piece in which it finds an error, so the
# pieces decide which of the rules is named. RFC 6455 has no order of them: the connection fails all the same.
RULES_OF_INFLATING = ("compressed message does not inflate", "text message is not", "message over")


def blur(answer: Answer) -> Answer:
    """The answer, without saying which of those rules a compressed message broke."""
    events, frames, state = answer
    reason = events[-1].reason
    if not reason.startswith(RULES_OF_INFLATING):
        return answer
    blurred = [*events[:-1], WebSocketDisconnected(1007, "one of these rules")]
    named = reason.encode()
    return blurred, [frame for frame in frames if not (frame[0] == CLOSE and frame[2][2:] == named)], state


def make_test(client: bool, compressed: bool) -> Callable[[], None]:
    """The test of one role, with or without the extension; the variant chooses everything else."""

    @given(examples(conversations(client, compressed)))
    def check(example: Example) -> None:
        """Any pieces give the same, traced (which has no fast path) or not; what it answers is lawful."""
        variant, data = example
        setup = Setup(client, compressed, variant)
        whole = feed(setup, [data], traced=setup.is_traced)
        ways = {name: (pieces, setup.is_traced) for name, pieces in cut_in_all_ways(data).items()}
        ways["whole, tracing the other way"] = ([data], not setup.is_traced)
        for name, (pieces, traced) in ways.items():
            other = feed(setup, pieces, traced=traced)
            if other != whole and compressed:
                other, whole = blur(other), blur(whole)
            assert other == whole, name

    return check


test_server = share(2)(make_test(client=False, compressed=False))
test_server_deflate = share(2)(make_test(client=False, compressed=True))
test_client = make_test(client=True, compressed=False)
test_client_deflate = make_test(client=True, compressed=True)
