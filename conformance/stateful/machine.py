"""The state machine: anything that a peer, a transport, an application, a server or the clock may do next."""

from __future__ import annotations

import contextlib
import gc
from typing import Any, Iterator, Optional, Type

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wsbridge.protocols.errors import ClientDisconnected

from .conversation import APP_ENDS, CONFIGS, ENDINGS, SHUTDOWN_SECONDS, Conversation, Scenario
from .floors import FLOORS
from .peer import OFFERS, VIOLATIONS, make_content
from .puppet import AppError, Call
from .steps import (
    APP_SIZES,
    CLOSES,
    CODES,
    KINDS,
    NONSENSE,
    PARTS,
    REASONS,
    SECONDS,
    SIZES,
    SUBPROTOCOLS,
    app_exists,
    app_has_room,
    app_is_idle,
    is_connected,
    is_websocket,
    may_receive,
    peer_can_send,
    serves_in_task,
    step,
    tally,
)
from .verdict import check_end, check_step

__all__ = ["Machine"]


class Machine(RuleBasedStateMachine):
    """Connections one behind the other, each brought to its end before the next."""

    def __init__(self) -> None:
        super().__init__()
        self.talk_or_none: Optional[Conversation] = None
        self.serial = 0
        tally.runs += 1

    @property
    def talk(self) -> Conversation:
        if self.talk_or_none is None:
            raise ValueError("no connection")
        return self.talk_or_none

    # --------------------------------------------------------------------- connections

    @precondition(lambda self: self.talk_or_none is None)
    @rule(
        floor=st.sampled_from([*FLOORS, "server", "server"]),
        config=st.sampled_from([*CONFIGS, "small"]),
        offer=st.integers(0, len(OFFERS) - 1),
        window=st.sampled_from([0, 40, 1000]),
        is_tls=st.sampled_from([False, False, False, True]),
        is_prompt=st.booleans(),
        is_page=st.sampled_from([False] * 3 + [True]),
        cut=st.sampled_from([None] * 6 + [0, 20]),
        accepts=st.sampled_from([True, True, False]),
        reads=st.sampled_from([True, True, False]),
        stubbornness=st.sampled_from([0] * 4 + [3]),
        is_plain=st.sampled_from([False, False, True]),
    )
    def connect(self, **drawn: Any) -> None:
        if drawn["floor"] != "server":
            drawn.update(is_page=False, cut=None)
        tally["rules"]["connect"] += 1
        tally["scenarios"][drawn["floor"], drawn["config"], OFFERS[drawn["offer"]] or "no compression"] += 1
        self.talk_or_none = Conversation(Scenario(**drawn), tally)

    @precondition(lambda self: self.talk_or_none is not None)
    @rule(ending=st.sampled_from(ENDINGS), app_end=st.sampled_from(APP_ENDS))
    def finish(self, ending: str, app_end: str) -> None:
        tally["rules"]["finish"] += 1
        tally["endings"][ending, app_end] += 1
        with self.failing():
            self.talk.finish(ending, app_end)
            check_end(self.talk)
        self.talk_or_none = None

    @invariant()
    def holds(self) -> None:
        if self.talk_or_none is not None:
            with self.failing():
                check_step(self.talk_or_none)

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """A connection whose step fails is dropped, and the next is not blamed for what it left."""
        try:
            yield
        except BaseException:
            if self.talk_or_none is not None:
                self.talk_or_none.discard()
                self.talk_or_none = None
            gc.collect()
            gc.freeze()
            raise

    def teardown(self) -> None:
        if self.talk_or_none is not None:
            with self.failing():
                self.talk.finish("peer closes", "receives")
                check_end(self.talk)

    # ------------------------------------------------------------------------ the peer

    def _deliver(self, part: Optional[int]) -> None:
        if part != 0:
            self.talk.deliver(part)

    @step(
        peer_can_send,
        kind=KINDS,
        size=SIZES,
        fragments=st.sampled_from([1, 1, 1, 2, 3]),
        compress=st.booleans(),
        ping=st.booleans(),
        part=PARTS,
    )
    def peer_sends(
        self, kind: str, size: int, fragments: int, compress: bool, ping: bool, part: Optional[int]
    ) -> None:
        self.talk.peer.send_message(kind, size, fragments, compress=compress, ping=ping)
        self._deliver(part)

    @step(peer_can_send, count=st.integers(2, 40), size=st.sampled_from([0, 5, 130]), part=PARTS)
    def peer_sends_many(self, count: int, size: int, part: Optional[int]) -> None:
        for _ in range(count):
            self.talk.peer.send_message("text", size, 1, compress=False, ping=False)
        self._deliver(part)

    @step(peer_can_send, size=st.sampled_from([4, 125]), count=st.sampled_from([1, 1, 5]), part=PARTS)
    def peer_pings(self, size: int, count: int, part: Optional[int]) -> None:
        for _ in range(count):
            self.talk.peer.ping(size)
        self._deliver(part)

    @step(peer_can_send, part=PARTS)
    def peer_pongs(self, part: Optional[int]) -> None:
        self.talk.peer.pong()
        self._deliver(part)

    @step(peer_can_send, payload=CLOSES, inside_message=st.booleans(), part=PARTS)
    def peer_closes(self, payload: bytes, inside_message: bool, part: Optional[int]) -> None:
        self.talk.peer.close_with(payload, inside_message=inside_message)
        self._deliver(part)

    @step(peer_can_send, count=st.integers(1, 3), payload=CLOSES)
    def peer_sends_and_closes(self, count: int, payload: bytes) -> None:
        """In one segment."""
        self._send_and_close(count, payload)

    def _send_and_close(self, count: int, payload: bytes) -> None:
        for _ in range(count):
            self.talk.peer.send_message("text", 5, 1, compress=False, ping=False)
        self.talk.peer.close_with(payload)
        self.talk.deliver()

    @step(peer_can_send, name=st.sampled_from(list(VIOLATIONS)), part=PARTS)
    def peer_breaks_a_rule(self, name: str, part: Optional[int]) -> None:
        self.talk.peer.break_rule(name)
        self._deliver(part)

    @step(peer_can_send, is_whole=st.booleans(), part=PARTS)
    def peer_ends_its_stream(self, is_whole: bool, part: Optional[int]) -> None:
        """It half closes, or closes its socket."""
        if is_whole:
            self.talk.was_disturbed = True
        with self.talk.loop.running():
            if is_whole:
                self.talk.wire.close_peer()
            else:
                self.talk.wire.half_close()
        self._deliver(part)

    @step(is_connected)
    def peer_resets(self) -> None:
        self.talk.was_disturbed = True
        with self.talk.loop.running():
            self.talk.wire.reset()

    @step(is_connected, peer_can_send)
    def peer_vanishes(self) -> None:
        self.talk.was_disturbed = True
        self.talk.wire.vanish()

    @step(is_connected)
    def peer_stops_reading(self) -> None:
        self.talk.wire.is_peer_reading = False

    @step(is_connected, size=st.sampled_from([1, 10, 100, 1000, 70_000]))
    def peer_reads(self, size: int) -> None:
        with self.talk.loop.running():
            self.talk.wire.take(size)

    @step(is_connected)
    def peer_reads_on(self) -> None:
        with self.talk.loop.running():
            self.talk.wire.read_on()

    @step(lambda self: self.talk.wire.can_deliver, part=PARTS)
    def bytes_arrive(self, part: Optional[int]) -> None:
        self.talk.deliver(part)

    # ----------------------------------------------------------------- the application

    def _do(self, event: Any, in_main: bool, lets_through: bool = False) -> None:
        self.talk.do(Call(event, lets_through), in_main=in_main)

    def _message(self, kind: str, size: int) -> Any:
        self.serial += 1
        content = make_content(self.serial, kind, size)
        return {"type": "websocket.send", "text" if isinstance(content, str) else "bytes": content}

    @step(app_has_room, is_websocket, subprotocol=SUBPROTOCOLS, in_main=st.booleans())
    def app_accepts(self, subprotocol: Optional[str], in_main: bool) -> None:
        self._do({"type": "websocket.accept", "subprotocol": subprotocol, "headers": [(b"x", b"y")]}, in_main)

    @step(app_has_room, may_receive, in_main=st.booleans(), lets_through=st.booleans())
    def app_receives(self, in_main: bool, lets_through: bool) -> None:
        self._do(None, in_main, lets_through)

    @step(app_has_room, may_receive, count=st.integers(2, 40))
    def app_receives_many(self, count: int) -> None:
        self.talk.do(*[Call() for _ in range(count)], in_main=False)

    @step(
        app_has_room,
        is_websocket,
        kind=KINDS,
        size=APP_SIZES,
        in_main=st.booleans(),
        lets_through=st.booleans(),
    )
    def app_sends(self, kind: str, size: int, in_main: bool, lets_through: bool) -> None:
        self._do(self._message(kind, size), in_main, lets_through)

    @step(app_has_room, is_websocket, kind=KINDS, size=APP_SIZES, count=st.integers(2, 4))
    def app_sends_at_once(self, kind: str, size: int, count: int) -> None:
        """In several tasks."""
        for _ in range(count):
            self._do(self._message(kind, size), False)

    @step(app_has_room, is_websocket, size=st.sampled_from([3, 200]), count=st.integers(2, 70))
    def app_sends_in_a_row(self, size: int, count: int) -> None:
        self.talk.do(*[Call(self._message("same", size)) for _ in range(count)], in_main=False)

    @step(
        app_has_room,
        is_websocket,
        takes=st.sampled_from([0, 0, 1, 2]),
        count=st.sampled_from([1, 5, 30]),
        pause=st.sampled_from([0.015, 0.05, 0.12]),
    )
    def app_pushes(self, takes: int, count: int, pause: float) -> None:
        """With pauses, the first of them perhaps as answers."""
        self._push(takes, count, pause)

    def _push(self, takes: int, count: int, pause: float) -> None:
        calls = []
        for number in range(count):
            calls += [Call()] if number < takes and may_receive(self) else []
            calls.append(Call(self._message("text", 20)))
        self.talk.do(*calls, in_main=False, pause=pause)

    @step(
        app_has_room,
        may_receive,
        is_websocket,
        is_connected,
        peer_can_send,
        count=st.integers(1, 3),
        takes=st.integers(0, 2),
        delay=st.sampled_from([0.0, 0.06, 0.3]),
        pause=st.sampled_from([0.015, 0.05, 0.12]),
    )
    def peer_leaves_an_app_at_work(self, count: int, takes: int, delay: float, pause: float) -> None:
        """Messages and CLOSE in one segment, which are answered in many parts."""
        self._send_and_close(count, b"\x03\xe8")
        self.talk.pass_time(delay)
        self._push(takes, 10, pause)
        self.talk.pass_time(0.5)

    @step(app_has_room, is_connected, count=st.integers(1, 3), is_cancelled=st.booleans())
    def app_sends_until_it_waits(self, count: int, is_cancelled: bool) -> None:
        """In several tasks, to a peer that stops reading; the last may be cancelled there."""
        self.talk.wire.is_peer_reading = False
        for _ in range(count):
            if self.talk.scenario.is_page:
                self._do({"type": "http.response.body", "body": b"b" * 70_000, "more_body": True}, False)
            else:
                self._do(self._message("noise", 70_000), False)
        self.talk.loop.settle()
        calls = self.talk.puppet.stuck_sends()
        if is_cancelled and calls:
            with self.talk.loop.running():
                self.talk.puppet.cancel(calls[-1].task)

    @step(app_has_room, is_websocket, code=CODES, reason=REASONS, in_main=st.booleans())
    def app_closes(self, code: Any, reason: Any, in_main: bool) -> None:
        self._do({"type": "websocket.close", "code": code, "reason": reason}, in_main)

    @step(app_has_room, status=st.sampled_from([200, 404]), in_main=st.booleans())
    def app_starts_a_response(self, status: int, in_main: bool) -> None:
        prefix = "http" if self.talk.scenario.is_page else "websocket.http"
        self._do({"type": f"{prefix}.response.start", "status": status, "headers": []}, in_main)

    @step(app_has_room, size=APP_SIZES, more=st.booleans(), in_main=st.booleans())
    def app_continues_a_response(self, size: int, more: bool, in_main: bool) -> None:
        prefix = "http" if self.talk.scenario.is_page else "websocket.http"
        self._do({"type": f"{prefix}.response.body", "body": b"b" * size, "more_body": more}, in_main)

    @step(app_has_room, event=st.sampled_from(NONSENSE), in_main=st.booleans(), lets_through=st.booleans())
    def app_sends_nonsense(self, event: Any, in_main: bool, lets_through: bool) -> None:
        event = dict(event)
        if self.talk.scenario.is_page and event:
            event["type"] = event["type"].replace("websocket.", "")
        self._do(event, in_main, lets_through)

    @step(app_exists, is_websocket)
    def app_pings(self) -> None:
        with self.talk.loop.running():
            self.talk.puppet.scope["wsbridge.connection"].ping()

    @step(app_is_idle)
    def app_returns(self) -> None:
        with self.talk.loop.running():
            self.talk.puppet.end()

    @step(app_is_idle, kind=st.sampled_from([AppError, ClientDisconnected, SystemExit]))
    def app_raises(self, kind: Type[BaseException]) -> None:
        # SystemExit leaves a loop whose tasks are not wsbridge's.
        is_ours = self.talk.floor.has_deadlines or issubclass(kind, Exception)
        with self.talk.loop.running():
            self.talk.puppet.end((kind if is_ours else AppError)("of another connection"))

    @step(lambda self: self.talk.puppet.is_running, ignored=st.sampled_from([0, 0, 1]))
    def app_is_cancelled(self, ignored: int) -> None:
        """In its main task, where it stands."""
        with self.talk.loop.running():
            self.talk.puppet.stubbornness = ignored
            self.talk.puppet.cancel(self.talk.puppet.main)

    @step(lambda self: self.talk.puppet.pending(), number=st.integers(0, 7))
    def a_call_is_cancelled(self, number: int) -> None:
        """One of the application's other tasks, where it stands."""
        with self.talk.loop.running():
            tasks = self.talk.puppet.pending()
            self.talk.puppet.cancel(tasks[number % len(tasks)])

    @step(lambda self: self.talk.puppet.stuck_sends(), number=st.integers(0, 7))
    def a_send_is_cancelled(self, number: int) -> None:
        """One that waits for the peer to read, in whatever task."""
        with self.talk.loop.running():
            calls = self.talk.puppet.stuck_sends()
            self.talk.puppet.cancel(calls[number % len(calls)].task)

    # ------------------------------------------------------------- the server, the clock

    @step(lambda self: not self.talk.stopped_at_order, timeout=st.sampled_from([SHUTDOWN_SECONDS, 0.3]))
    def server_stops(self, timeout: float) -> None:
        self.talk.stop_server(timeout)

    @step()
    def server_cuts(self) -> None:
        self.talk.cut()

    @step(serves_in_task)
    def server_is_cancelled(self) -> None:
        """In the tasks that shut down, or that serve this connection."""
        self.talk.cancel_server()

    @step(serves_in_task, peer_can_send)
    def server_is_cancelled_behind_a_full_queue(self) -> None:
        """Having read what it may not yet hand on."""
        for count in (40, 1):
            for _ in range(count):
                self.talk.peer.send_message("text", 5, 1, compress=False, ping=False)
            self.talk.deliver()
            self.talk.loop.settle()
        self.talk.cancel_server()

    @step(serves_in_task, app_has_room, is_websocket, peer_can_send)
    def server_is_cancelled_while_it_closes(self) -> None:
        """With more to write than the peer takes."""
        self.talk.wire.is_peer_reading = False
        self._do(self._message("noise", 70_000), False)
        self.talk.loop.settle()
        with self.talk.loop.running():
            self.talk.wire.half_close()
        self.talk.deliver()
        self.talk.loop.settle()
        self.talk.cancel_server()

    @step(lambda self: self.talk.stopped_at_order)
    def a_stop_is_cancelled(self) -> None:
        """Right behind its own cut, while it waits for what outlives that."""
        self.talk.pass_time(max(0.0, self.talk.cut_at - self.talk.loop.time()) + 0.01)
        self.talk.loop.settle()
        self.talk.cancel_server()

    @step(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.talk.pass_time(seconds)

    @step()
    def the_loop_turns(self) -> None:
        self.talk.loop.turn()
