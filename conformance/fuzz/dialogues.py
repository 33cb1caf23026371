"""A client and a server that talk to each other over two pipes, step by step as drawn."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

from hypothesis import given
from hypothesis import strategies as st

from wsbridge.protocols.deflate import DeflateSettings
from wsbridge.protocols.errors import StateError
from wsbridge.protocols.events import WebSocketDataReceived, WebSocketDisconnected
from wsbridge.protocols.ws import WSProtocol

from .round_trips import OPTIONAL_SETTINGS, make_ends
from .strategies import share

Step = Tuple[int, Tuple[str, Any]]


class End:
    """One end: what it has sent, what it was told, and the bytes on their way to it."""

    def __init__(self, ws: WSProtocol) -> None:
        self.ws = ws
        self.sent: List[Any] = []
        self.events: List[Any] = []
        self.closed_with: Optional[int] = None
        self.inbound = bytearray()
        self.is_cut = False
        self.peer: End = self

    def write(self, data: bytes) -> None:
        if not self.peer.is_cut:
            self.peer.inbound += data

    def send(self, message: Any) -> None:
        could = self.ws.can_send
        try:
            data = self.ws.send_message(message)
        except StateError:
            assert not could, "StateError, and can_send said True"
            return
        assert could, "sent, and can_send said False"
        self.sent.append(message)
        self.write(data)

    def ping(self, payload: bytes) -> None:
        self.write(self.ws.ping(payload))

    def pause(self, _: None) -> None:
        self.ws.pause_writing()

    def resume(self, _: None) -> None:
        self.write(self.ws.resume_writing())

    def close(self, code: int) -> None:
        was_open = self.ws.can_send and self.ws.is_receiving
        self.write(self.ws.close(code, "enough"))
        if was_open:
            self.closed_with = code

    def deliver(self, size: int) -> None:
        """Hand over the next bytes."""
        if self.is_cut:
            return
        piece = bytes(self.inbound[:size])
        del self.inbound[:size]
        events, outbound = self.ws.receive_data(piece)
        self.events += events
        self.write(outbound)

    def cut(self, _: None) -> None:
        """The stream ends here: what is still on its way is lost."""
        if not self.is_cut:
            self.is_cut = True
            self.inbound.clear()
            self.events += self.ws.receive_eof()


MESSAGES = st.text(max_size=20) | st.binary(max_size=20) | st.sampled_from(["x" * 200, b"\0" * 70000, ""])
SENDS = st.tuples(st.just("send"), MESSAGES)
DELIVERIES = st.tuples(st.just("deliver"), st.integers(0, 30) | st.just(100000))
ACTIONS = st.one_of(
    *(SENDS, SENDS, DELIVERIES, DELIVERIES),
    st.tuples(st.just("ping"), st.binary(max_size=125)),
    st.tuples(st.sampled_from(["pause", "resume", "cut"]), st.none()),
    st.tuples(st.just("close"), st.sampled_from([1000, 1001, 1011, 3000, 4999])),
)


@share(2)
@given(
    settings=OPTIONAL_SETTINGS,
    holds=st.tuples(st.booleans(), st.booleans()),
    steps=st.lists(st.tuples(st.integers(0, 1), ACTIONS), max_size=25),
)
def test_dialogues(settings: Optional[DeflateSettings], holds: Tuple[bool, bool], steps: List[Step]) -> None:
    """No violation; messages arrive in order and unchanged; then each end is told of one disconnect."""
    ends = [End(ws) for ws in make_ends(settings, holds)]
    for end, other in zip(ends, ends[::-1]):
        end.peer = other
    for number, (action, argument) in steps:
        getattr(ends[number], action)(argument)
    was_cut = any(end.is_cut for end in ends)
    # Everything that is still on its way arrives; what was held is let go.
    for _ in range(4):
        for end in ends:
            end.resume(None)
            end.deliver(1 << 30)
            if end.ws.can_send and not end.ws.is_receiving:
                end.close(1000)
    for end in ends:
        end.cut(None)
        check_end(end, was_cut)


def check_end(end: End, was_cut: bool) -> None:
    messages = [event.data for event in end.events if isinstance(event, WebSocketDataReceived)]
    last, sent = end.events[-1], end.peer.sent
    assert isinstance(last, WebSocketDisconnected) and len(messages) == len(end.events) - 1, "not one end"
    assert messages == sent[: len(messages)]
    assert last.code in {1006, end.closed_with, end.peer.closed_with}
    # Who closes reads no messages after that; everybody else must have all of them.
    if not was_cut and end.closed_with is None:
        assert messages == sent
        assert end.peer.closed_with in (None, last.code)
