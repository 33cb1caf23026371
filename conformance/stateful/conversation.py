"""One connection from its first byte: peer, wire, server, application, and what is noted of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Dict, List, Optional

from hypothesis import strategies as st

from wsbridge.config import ServerConfig

from .floors import FLOORS
from .loop import NEVER, ManualLoop, Moment
from .notes import logged
from .peer import OFFERS, Item, Peer, build_request
from .puppet import Call, Puppet
from .reader import ServerStream
from .wire import Line, Wire

# Deadlines are short, so that time costs little; limits are small, so that they are met.
DEADLINES: Dict[str, Any] = {
    "timeout_handshake": 2.0,
    "timeout_accept": 2.0,
    "timeout_write": 3.0,
    "timeout_close": 2.0,
    "close_grace": 1.0,
    "timeout_app": 2.0,
    "timeout_graceful_shutdown": 4.0,
    "ws_ping_interval": 4.0,
    "ws_ping_timeout": 3.0,
}
CONFIGS: Dict[str, ServerConfig] = {
    "usual": ServerConfig(**DEADLINES),
    "small": ServerConfig(
        **DEADLINES, ws_max_queue=2, ws_max_queue_bytes=600, ws_write_limit=100, ws_max_size=20_000
    ),
    "no pings": ServerConfig(
        **{**DEADLINES, "ws_ping_interval": None, "timeout_app": None},
        ws_max_queue=5,
        ws_write_limit=2000,
        ws_deflate_threshold=0,
    ),
}
SHUTDOWN_SECONDS = 4.0
# The server parses so much compressed data at once, and may keep the rest while the queue is full.
COMPRESSED_SLICE = 16 * 1024


#: What is drawn before a connection's first byte.
SCENARIOS = st.fixed_dictionaries(
    {
        "floor": st.sampled_from([*FLOORS, "server", "server"]),
        "config": st.sampled_from([*CONFIGS, "small"]),
        "offer": st.sampled_from(OFFERS),
        "subprotocols": st.sampled_from([(), ("chat", "superchat")]),
        # What the kernels hold of the server's bytes while the peer does not read.
        "window": st.sampled_from([0, 40, 1000]),
        "is_tls": st.sampled_from([False, False, False, True]),
        "is_prompt": st.booleans(),
        # How much of the head comes first; None: all.
        "cut": st.sampled_from([None] * 6 + [0, 20]),
        # Whether the application accepts at once, and the peer reads what comes then.
        "accepts": st.sampled_from([True, True, False]),
        "reads": st.sampled_from([True, True, False]),
        # How many cancellations the application ignores.
        "stubbornness": st.sampled_from([0] * 4 + [3]),
        # Whether the application is a plain function, that returns an awaitable.
        "is_plain": st.sampled_from([False, False, True]),
    }
).map(lambda drawn: SimpleNamespace(**drawn))


class Conversation:
    """Everything of one connection, and what is done to it."""

    def __init__(self, scenario: SimpleNamespace) -> None:
        self.scenario = scenario
        self.is_page = scenario.floor == "pages"
        self.config = CONFIGS[scenario.config]
        self.loop = ManualLoop()
        self.started = self.loop.time()
        self.peer = Peer(is_prompt=scenario.is_prompt)
        self.line = self.peer.line = Line(self.peer, scenario.window)
        self.wire = Wire(self.loop, self.line, is_tls=scenario.is_tls)
        self.wire.on_read, self.wire.on_write = self._note_delivery, self._note_write
        self.puppet = Puppet(self.wire, scenario.stubbornness)
        #: What the server has written, whether the peer has read it or not.
        self.written = ServerStream()
        #: When our CLOSE was written.
        self.closed_at = NEVER
        #: Whether compressed data came that is more than the server parses at once.
        self.was_sliced = False
        self.stopped_at = NEVER
        #: When a server that stops cuts what has not ended.
        self.cut_time = NEVER.time
        #: Whether the machine has cut it, or cancelled the server.
        self.was_cut = False
        self.steps_after_loss = 0
        app = (lambda *args: self.puppet(*args)) if scenario.is_plain else self.puppet
        self.floor = FLOORS[scenario.floor](app, self.config, self.wire)
        self._begin()

    def _begin(self) -> None:
        scenario = self.scenario
        head = build_request(scenario.offer, scenario.subprotocols, is_page=self.is_page)
        self.floor.open()
        self.peer.send(head)
        self.wire.deliver(scenario.cut)
        if scenario.accepts and scenario.cut is None:
            self.loop.settle()
            if self.is_page:
                self.puppet.do(Call({"type": "http.response.start", "status": 200, "headers": []}))
            else:
                self.puppet.do(Call({"type": "websocket.accept"}), Call())
            self.loop.settle()
        self.line.is_peer_reading = scenario.reads

    # ------------------------------------------------------------------------- notes

    def _note_delivery(self, size: int) -> None:
        line, now, is_accepted = self.line, self.loop.mark(), self.accepted_at is not NEVER
        may_be_held = not is_accepted or self.peer.can_compress or self.scenario.floor != "server"
        # What comes before the accept is parsed behind it, at once.
        unparsed = size if is_accepted else line.delivered
        if self.scenario.offer is not None and unparsed > COMPRESSED_SLICE:
            self.was_sliced = True
        for item in self.peer.sent:
            if item.begun is NEVER and item.start < line.delivered:
                item.begun, item.may_be_held = now, may_be_held
            if item.ended is NEVER and item.end <= line.delivered:
                item.ended, item.was_paused = now, self.wire.is_paused

    def _note_write(self, data: bytes) -> None:
        self.written.feed(data)
        if self.written.close is not None and self.closed_at is NEVER:
            self.closed_at = self.loop.mark()

    def find_messages(self) -> List[Item]:
        """Those that have reached the server whole."""
        return [item for item in self.peer.sent if item.kind == "message" and item.has_come]

    def count_taken(self) -> int:
        """How many messages the application has taken."""
        return sum(event["type"] == "websocket.receive" for event in self.puppet.received)

    @property
    def accepted_at(self) -> Moment:
        """When the application called `send` for the accept that was written."""
        for call in self.puppet.calls:
            # One that waited for room when the connection was lost has been written, too.
            was_waiting = call.outcome == "ClientDisconnected" and self.written.is_open
            if call.kind == "websocket.accept" and (call.was_written or was_waiting):
                return call.began
        return NEVER

    @property
    def is_accepted(self) -> bool:
        return self.accepted_at is not NEVER

    @property
    def elapsed(self) -> float:
        return self.loop.time() - self.started

    # ----------------------------------------------------------------------- actions

    def deliver(self, size: Optional[int] = None) -> None:
        """The server reads; once more for the end of the stream, where it reads all."""
        self.wire.deliver(size)
        while size is None and self.wire.can_deliver:
            self.wire.deliver()

    def settle(self) -> None:
        """What the peer has sent arrives, and the server goes on until nothing is ready."""
        self.deliver()
        self.loop.settle()

    def pass_time(self, seconds: float) -> None:
        self.loop.advance(seconds, self.deliver if self.peer.is_prompt else lambda: None)

    def stop_server(self, timeout: float) -> None:
        self.stopped_at = min(self.stopped_at, self.loop.mark())
        # The last second, or the second half, is for applications that are cancelled.
        self.cut_time = min(self.cut_time, self.loop.time() + max(timeout - 1.0, timeout / 2))
        self.floor.shut_down(timeout)

    def abort(self) -> None:
        self.was_cut = True
        self.floor.abort()

    def cancel_server(self) -> None:
        """Cancel the tasks that shut down, or that serve this connection."""
        self.was_cut = True
        self.floor.cancel()

    def discard(self) -> None:
        """Let go of the loop and of everything on it; doing so twice is no error."""
        if self.floor is None:
            return
        self.puppet.let_go()
        logged.buffer.clear()
        self.loop.close()
        # Tasks that have failed hold the frames of their tracebacks.
        self.floor.tasks.clear()
        self.floor.service = self.floor = None  # type: ignore[assignment]
        self.wire.set_protocol(None)
