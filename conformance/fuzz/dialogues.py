"""A client and a server that talk to each other over two pipes, step by step as drawn.

Whatever the steps: no end sees a violation, messages arrive in order and unchanged, and each end is told of
its disconnect once, behind every message.
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

from hypothesis import strategies as st

from wsbridge.protocols.deflate import DeflateSettings
from wsbridge.protocols.errors import StateError
from wsbridge.protocols.events import WebSocketDataReceived, WebSocketDisconnected
from wsbridge.protocols.ws import WSProtocol

from .findings import DOCUMENTED, IDENTITY, LAWFUL, require
from .roundtrips import OPTIONAL_SETTINGS, RoundTrip, make_ends

Step = Tuple[int, str, Any]

CODES = (1000, 1001, 1011, 3000, 4999)


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
            require(not could, DOCUMENTED, "StateError, and can_send said True")
            return
        require(could, DOCUMENTED, "sent, and can_send said False")
        self.sent.append(message)
        self.write(data)

    def close(self, code: int) -> None:
        was_open = self.ws.can_send and self.ws.is_receiving
        self.write(self.ws.close(code, "enough"))
        if was_open:
            self.closed_with = code

    def deliver(self, size: int) -> None:
        """Hand over the next bytes."""
        piece = bytes(self.inbound[:size])
        del self.inbound[:size]
        events, outbound = self.ws.receive_data(piece)
        self.events += events
        self.write(outbound)

    def cut(self) -> None:
        """The stream ends here: what is still on its way is lost."""
        if not self.is_cut:
            self.is_cut = True
            self.inbound.clear()
            self.events += self.ws.receive_eof()


def play(settings: Optional[DeflateSettings], holds: Tuple[bool, bool], steps: List[Step]) -> List[End]:
    ends = [End(ws) for ws in make_ends(settings, holds)]
    for end, other in zip(ends, ends[::-1]):
        end.peer = other
    for number, what, argument in steps:
        end = ends[number]
        if what == "send":
            end.send(argument)
        elif what == "ping":
            end.write(end.ws.ping(argument))
        elif what == "pause":
            end.ws.pause_writing()
        elif what == "resume":
            end.write(end.ws.resume_writing())
        elif what == "close":
            end.close(argument)
        elif what == "deliver" and not end.is_cut:
            end.deliver(argument)
        elif what == "cut":
            end.cut()
    return ends


def dialogue_survives(
    settings: Optional[DeflateSettings], holds: Tuple[bool, bool], steps: List[Step]
) -> None:
    ends = play(settings, holds, steps)
    was_cut = any(end.is_cut for end in ends)
    # Everything that is still on its way arrives; what was held is let go.
    for _ in range(4):
        for end in ends:
            end.write(end.ws.resume_writing())
            if not end.is_cut:
                end.deliver(1 << 30)
            if end.ws.can_send and not end.ws.is_receiving:
                end.close(1000)
    for end in ends:
        end.cut()
        check_end(end, was_cut)


def check_end(end: End, was_cut: bool) -> None:
    messages = [event.data for event in end.events if isinstance(event, WebSocketDataReceived)]
    last = end.events[-1] if end.events else None
    require(isinstance(last, WebSocketDisconnected), LAWFUL, f"last of {end.events!r:.300}")
    require(len(messages) == len(end.events) - 1, LAWFUL, f"more than one end in {end.events!r:.300}")
    sent = end.peer.sent
    require(messages == sent[: len(messages)], IDENTITY, f"sent {sent!r:.200}, received {messages!r:.200}")
    assert isinstance(last, WebSocketDisconnected)
    expected = {1006, end.closed_with, end.peer.closed_with}
    require(last.code in expected, LAWFUL, f"{last!r}, but the codes of this dialogue are {expected}")
    # Who closes reads no messages after that; everybody else must have all of them.
    if not was_cut and end.closed_with is None:
        require(messages == sent, IDENTITY, f"sent {sent!r:.200}, received {messages!r:.200}")
        if end.peer.closed_with is not None:
            require(last.code == end.peer.closed_with, IDENTITY, f"{last!r}, sent {end.peer.closed_with}")


MESSAGES = st.text(max_size=20) | st.binary(max_size=20) | st.sampled_from(["x" * 200, b"\0" * 70000, ""])
ACTIONS = st.one_of(
    st.tuples(st.just("send"), MESSAGES),
    st.tuples(st.just("send"), MESSAGES),
    st.tuples(st.just("deliver"), st.integers(0, 30) | st.just(100000)),
    st.tuples(st.just("deliver"), st.integers(0, 30) | st.just(100000)),
    st.tuples(st.just("ping"), st.binary(max_size=125)),
    st.tuples(st.sampled_from(["pause", "resume"]), st.none()),
    st.tuples(st.just("close"), st.sampled_from(CODES)),
    st.tuples(st.just("cut"), st.none()),
)
STEPS = st.lists(st.builds(lambda end, action: (end, *action), st.integers(0, 1), ACTIONS), max_size=25)

DIALOGUES = RoundTrip(
    dialogue_survives,
    {"settings": OPTIONAL_SETTINGS, "holds": st.tuples(st.booleans(), st.booleans()), "steps": STEPS},
)
