"""One connection from its first byte to the baseline: peer, wire, server, application, and what was noted."""

from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import dataclass
from typing import Any, Dict, List, Optional

from wsbridge.config import ServerConfig
from wsbridge.protocols.ws import WSProtocol
from wsbridge.server.connection.head import Connection
from wsbridge.server.connection.linger import Linger
from wsbridge.server.connection.page import PageExchange
from wsbridge.server.connection.websocket import WebSocketExchange
from wsbridge.server.service import Service
from wsbridge.server.streams import StreamTransport

from .floors import FLOORS
from .loop import ManualLoop
from .peer import OFFERS, Peer
from .puppet import AppError, Call, Puppet
from .reader import WrittenStream, Wrong
from .records import logged
from .tally import Tally
from .wire import Wire

__all__ = ["APP_ENDS", "CONFIGS", "ENDINGS", "Conversation", "Scenario"]

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

ENDINGS = (
    "peer closes",
    "peer ends its stream",
    "peer resets",
    "peer vanishes",
    "app closes",
    "app returns",
    "app raises",
    "server stops",
    "server cuts",
)
APP_ENDS = ("receives", "returns", "hangs", "ignores its cancellation")

# All of a connection holds its service, whose end is watched; every object is looked at now and then.
LEFTOVERS = {Connection, WebSocketExchange, PageExchange, Linger, Service, StreamTransport, WSProtocol}
SEARCH_EVERY = 50


@dataclass(frozen=True)
class Scenario:
    """What is drawn before a connection's first byte."""

    floor: str = "server"
    config: str = "usual"
    offer: int = 0
    window: int = 0
    is_tls: bool = False
    is_prompt: bool = True
    is_page: bool = False
    #: How much of the head comes first; None: all.
    cut: Optional[int] = None
    #: Whether the application accepts at once, and the peer reads what comes then.
    accepts: bool = True
    reads: bool = True
    #: How many cancellations the application ignores.
    stubbornness: int = 0
    #: Whether the application is a plain function, that returns an awaitable.
    is_plain: bool = False


def build_first_calls(is_page: bool) -> List[Call]:
    """What an application that accepts at once calls."""
    if is_page:
        return [Call({"type": "http.response.start", "status": 200, "headers": []})]
    return [Call({"type": "websocket.accept"}), Call()]


class Conversation:
    """Everything of one connection; what is done to it is done through `now`."""

    def __init__(self, scenario: Scenario, tally: Tally) -> None:
        self.scenario = scenario
        self.tally = tally
        logged.lines.clear()
        self.loop = ManualLoop(self._note_cancellation)
        self.config = CONFIGS[scenario.config]
        self.peer = Peer(OFFERS[scenario.offer], is_prompt=scenario.is_prompt)
        self.wire = Wire(self.loop, self.peer, window=scenario.window, is_tls=scenario.is_tls)
        self.peer.wire = self.wire
        self.puppet = Puppet(self.wire)
        self.puppet.stubbornness = scenario.stubbornness
        self.wire.on_delivery = self._note_delivery
        self.wire.on_write = self._note_write
        self.written = WrittenStream()
        #: When our CLOSE was written.
        self.close_order = 0
        #: Whether compressed data came that is more than the server parses at once.
        self.was_sliced = False
        self.started = self.loop.time()
        self.steps_after_loss = 0
        self.stopped_at_order = 0
        #: When a server that stops cuts what has not ended.
        self.cut_at = float("inf")
        self.offered_subprotocols = ("chat", "superchat") if scenario.offer % 2 == 0 else ()
        self.was_cut = False
        self.was_disturbed = False
        self.eof_order = 0
        #: How many events `check_received` has seen.
        self.checked_events = 0
        #: Messages delivered, before the last read that completed one, and with it.
        self.delivered_messages = [0, 0]
        with self.loop.running():
            app = self.puppet.run if scenario.is_plain else self.puppet
            self.floor = FLOORS[scenario.floor](self.loop, app, self.config, self.wire)
            head = self.peer.build_request(is_page=scenario.is_page, subprotocols=self.offered_subprotocols)
            self.floor.open(head)
            if self.floor.reads_head:
                self.peer.send(head)
                self.wire.deliver(scenario.cut)
        if scenario.accepts and scenario.cut is None:
            self.loop.settle()
            self.do(*build_first_calls(scenario.is_page), in_main=False)
            self.loop.settle()
        self.wire.is_peer_reading = scenario.reads

    # ------------------------------------------------------------------------- notes

    def _note_cancellation(self, place: Any) -> None:
        self.tally["cancellations"][place] += 1

    def _note_delivery(self, data: bytes) -> None:
        wire, puppet = self.wire, self.puppet
        may_be_held = self.accept_order == 0 or self.peer.can_compress or self.scenario.floor != "server"
        order = puppet.next_order()
        unparsed = len(data) if self.accept_order else wire.delivered
        self.was_sliced = self.was_sliced or (self.scenario.offer > 0 and unparsed > COMPRESSED_SLICE)
        for item in self.peer.sent:
            if item.start < wire.delivered and not item.begun:
                item.begun = order
                item.may_be_held = may_be_held
            if item.end <= wire.delivered and not item.order:
                item.order = order
                item.was_paused = wire.is_paused
                item.may_be_held = item.may_be_held or wire.is_paused
        count = self.count_delivered()
        if count > self.delivered_messages[1]:
            self.delivered_messages = [self.delivered_messages[1], count]

    def _note_write(self, data: bytes) -> None:
        self.written.feed(data)
        if self.written.close is not None and not self.close_order:
            self.close_order = self.puppet.next_order()

    def count_delivered(self) -> int:
        return sum(item.kind == "message" and item.order > 0 for item in self.peer.sent)

    @property
    def accept_order(self) -> int:
        """When the application accepted; 0 where it has not."""
        for call in () if self.scenario.is_page else self.puppet.calls:
            if call.event is not None and call.event.get("type") == "websocket.accept":
                # One that waited for room when the connection was lost has been written, too.
                was_waiting = call.outcome == "ClientDisconnected" and self.written.is_open
                if call.was_written or was_waiting:
                    return call.order
        return 0

    @property
    def has_begun_response(self) -> bool:
        """Whether the application has sent a part of a page, or of a denial."""
        return any(
            str(call.event and call.event.get("type")).endswith("response.body") for call in self.puppet.calls
        )

    @property
    def has_open_response(self) -> bool:
        """Whether the application has sent a part of a page, or of a denial, but not its last in time."""
        ended_at = self.puppet.ended_at_order or float("inf")
        parts = [
            call
            for call in self.puppet.calls
            if call.event
            and call.outcome not in ("EventError", "StateError")
            and str(call.event.get("type")).endswith("response.body")
        ]
        return bool(parts) and not any(
            call.was_written and call.order < ended_at and call.event and not call.event.get("more_body")
            for call in parts
        )

    @property
    def elapsed(self) -> float:
        return self.loop.time() - self.started

    # ----------------------------------------------------------------------- actions

    def do(self, *calls: Call, in_main: bool, pause: float = 0.0) -> None:
        """The application calls ``receive`` and ``send``, if it runs, or has run."""
        with self.loop.running():
            if self.puppet.scope is not None:
                self.puppet.do(*calls, in_main=in_main, pause=pause)

    def deliver(self, size: Optional[int] = None) -> None:
        """The server reads; once more for the end of the stream, where it reads all."""
        with self.loop.running():
            before = self.wire.is_eof_told
            while self.wire.can_deliver:
                self.wire.deliver(size)
                if size is not None:
                    break
            if self.wire.is_eof_told and not before:
                self.eof_order = self.eof_order or self.puppet.next_order()

    def pass_time(self, seconds: float) -> None:
        self.loop.advance(seconds, self.deliver if self.peer.is_prompt else lambda: None)

    def stop_server(self, timeout: float = SHUTDOWN_SECONDS) -> None:
        with self.loop.running():
            self.stopped_at_order = self.stopped_at_order or self.puppet.next_order()
            # The last second, or the second half, is for applications that are cancelled.
            self.cut_at = min(self.cut_at, self.loop.time() + max(timeout - 1.0, timeout / 2))
            self.floor.shut_down(timeout)

    def cut(self) -> None:
        with self.loop.running():
            self.was_cut = True
            self.floor.cut()

    def cancel_server(self) -> None:
        """Cancel the tasks that shut down, or that serve this connection."""
        self.was_cut = True
        with self.loop.running():
            self.floor.cancel()

    @property
    def is_over(self) -> bool:
        return (
            self.wire.is_lost
            and not self.puppet.is_running
            and not self.puppet.pending()
            and not self.floor.check()
        )

    # ----------------------------------------------------------------------- the end

    def finish(self, ending: str, app_end: str) -> None:
        """Bring everything to its end; raises `Wrong` where something does not end."""
        self.loop.settle()
        self._begin_end(ending)
        if app_end == "ignores its cancellation":
            self.puppet.stubbornness = 1
        # The application takes one event in each round.
        for _ in range(80 + len(self.peer.sent)):
            self.loop.settle()
            self.deliver()
            self.loop.settle()
            if self.is_over:
                break
            self._let_app_end(app_end)
            self.loop.settle()
            self.pass_time(0.5)
        else:
            raise Wrong(
                f"not at its end: lost {self.wire.is_lost}, application runs {self.puppet.is_running}, "
                f"waits {self.puppet.pending()}; {self.floor.check()}"
            )
        self._receive_the_rest()

    def _begin_end(self, ending: str) -> None:
        peer, wire = self.peer, self.wire
        with self.loop.running():
            if ending == "peer resets":
                self.was_disturbed = True
                wire.reset()
            elif ending == "peer vanishes":
                self.was_disturbed = True
                wire.vanish()
            else:
                self._make_prompt()
                if ending == "peer closes" and not peer.has_closed:
                    peer.close_with(b"\x03\xe8bye")
                elif ending == "peer ends its stream":
                    wire.half_close()
        if ending == "app closes":
            self.do(Call({"type": "websocket.close", "code": 3001, "reason": "enough"}), in_main=True)
        elif ending in ("app returns", "app raises"):
            # It may have waited for the peer to read.
            self.loop.settle()
            with self.loop.running():
                self.puppet.end(AppError("as told") if ending == "app raises" else None)
        elif ending == "server stops":
            self.stop_server()
        elif ending == "server cuts":
            self.cut()
        self.loop.settle()
        if self._may_last_for_ever(ending):
            self.cut()

    def _may_last_for_ever(self, ending: str) -> bool:
        """What no deadline ends: an application at work before a peer that is there, or that nobody asks."""
        if self.puppet.is_idle or not self.puppet.is_running:
            is_unknown = self.wire.is_dead or self.wire.is_reset
            return is_unknown and (self.config.ws_ping_interval is None or not self.floor.has_deadlines)
        return (
            ending.startswith("app")
            or ending == "peer vanishes"
            or self.has_begun_response
            or self.scenario.is_page
            or self.wire.is_dead
        )

    def _make_prompt(self) -> None:
        """From now on the peer behaves: it reads, answers, and closes when the server has."""
        peer = self.peer
        peer.is_prompt = True
        self.wire.read_on()
        if peer.stream.close is not None and not peer.has_closed:
            peer.close_with(peer.stream.close)
        if peer.is_at_eof:
            self.wire.half_close()

    def _let_app_end(self, app_end: str) -> None:
        puppet = self.puppet
        if not puppet.is_idle:
            return
        if self.has_begun_response or (self.scenario.is_page and not self.wire.is_lost):
            # Nothing limits how long an application takes for a page, or a response that it has begun.
            app_end = "returns"
        elif puppet.waiting:
            return
        if app_end != "returns" and not puppet.was_told:
            self.do(Call(), in_main=True)
        elif app_end in ("receives", "returns") or (self.config.timeout_app is None and self.wire.is_lost):
            with self.loop.running():
                puppet.end()

    def _receive_the_rest(self) -> None:
        """What a task of the application still finds when all is over: it must not wait for ever."""
        for _ in range(len(self.peer.sent) + 3):
            if self.puppet.was_told or self.puppet.scope is None:
                return
            call = Call()
            self.do(call, in_main=False)
            self.loop.settle()
            if not call.is_over:
                raise Wrong("receive waits for ever behind the end of the connection")
            if call.outcome != "returned":
                raise Wrong(f"receive raised {call.outcome} before websocket.disconnect was taken")
        raise Wrong("no websocket.disconnect behind everything that was received")

    def close(self) -> None:
        """Back at the baseline: no timer, no task, no object; raises `Wrong` where one is left."""
        self.loop.advance(1.1, lambda: None)
        sleep = self.loop.settle()
        if sleep is not None:
            raise Wrong(f"a timer is left, in {sleep:.2f} s")
        tasks = asyncio.all_tasks(self.loop)
        if tasks:
            raise Wrong(f"tasks are left: {tasks}")
        self.floor.tasks.clear()
        service = weakref.ref(self.floor.service)
        self.discard()
        if service() is not None:
            gc.collect()
        self.tally["searches"]["connections"] += 1
        if service() is not None or self.tally["searches"]["connections"] % SEARCH_EVERY == 0:
            gc.collect()
            left = [repr(item) for item in gc.get_objects() if type(item) in LEFTOVERS]
            if left:
                raise Wrong(f"objects are left: {left}")

    def discard(self) -> None:
        """Let go of the loop and of everything on it."""
        self.puppet.let_go()
        self.loop.set_task_factory(None)
        self.loop.close()
        self.floor = None  # type: ignore[assignment]
        self.wire.on_delivery = self.wire.on_write = lambda data: None
        self.wire._protocol = None
