"""The state machine: anything that a peer, a transport, an application, a server or the clock may do next."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, List, Optional, Type

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from wsbridge.protocols.errors import ClientDisconnected

from .conversation import SCENARIOS, SHUTDOWN_SECONDS, Conversation
from .ending import APP_ENDS, finish
from .loop import NEVER
from .notes import tally
from .peer import VIOLATIONS, make_content
from .puppet import Call
from .steps import BOOLS, PART, Condition, ConnectionMachine, Decorator, build_step
from .verdict import check_end, check_step

# Of a connection that is lost there is little more to see.
STEPS_AFTER_LOSS = 8
KINDS = st.sampled_from(["text", "noise", "same"])
SIZES = [0, 1, 20, 125, 126, 300, 2000, 9000]
# The largest is more than the usual write buffer.
APP_SIZES = st.sampled_from([*SIZES, 70_000])
CLOSES = st.sampled_from([b"", b"\x03\xe8", b"\x03\xe9going away", b"\x0f\xa0" + b"x" * 123])
# All of these, and none, may stand before the accept and behind the end; an open connection takes some.
CODES = st.sampled_from([1000, 3000, None, 403, 1005, 1006])
REASONS: Any = st.sampled_from(["", "bye", None, "\u20ac" * 42, "x" * 200, [{"loc": 1}]])
SUBPROTOCOLS = st.sampled_from([None, "chat", "", "never-offered"])
LEAVINGS = st.sampled_from(["half_close", "half_close", "close_peer", "reset", "vanish"])
# Whether the application's main task makes a call, if it is free, and whether an error of the call ends it.
HOW: Any = {"in_main": BOOLS, "lets_through": BOOLS}
NONSENSE: List[Any] = [
    {"type": "websocket.send"},
    {"type": "websocket.send", "text": "a", "bytes": b"a"},
    {"type": "websocket.send", "text": b"a"},
    {"type": "websocket.send", "text": "\ud800"},
    {"type": "websocket.accept", "subprotocol": "no token"},
    {"type": "websocket.accept", "headers": [(b"x", b"a\r\nb: c")]},
    {"type": "websocket.http.response.body", "body": b"x"},
    {"type": "nonsense"},
    {},
]


def is_watched(talk: Conversation) -> bool:
    return talk.steps_after_loss < STEPS_AFTER_LOSS


def count_step(talk: Conversation) -> None:
    talk.steps_after_loss += talk.wire.is_lost


step = build_step(is_watched, count_step, check_step)


def peer_step(**arguments: Any) -> Decorator:
    """The peer sends something."""
    return step(peer_can_send, **{"part": PART, **arguments})


def app_step(*conditions: Condition, **arguments: Any) -> Decorator:
    """The application calls `receive` or `send`."""
    return step(app_has_room, *conditions, **arguments)


def peer_can_send(talk: Conversation) -> bool:
    return not (talk.line.inbound_eof or talk.line.is_dead or talk.line.is_reset)


def is_connected(talk: Conversation) -> bool:
    return not talk.wire.is_lost


def serves_in_task(talk: Conversation) -> bool:
    return any(not task.done() for task in talk.floor.tasks)


def app_has_room(talk: Conversation) -> bool:
    return talk.puppet.scope is not None and (talk.puppet.is_idle or len(talk.puppet.pending()) < 8)


def may_receive(talk: Conversation) -> bool:
    # Of several that wait for a plain queue, all but one would wait for ever.
    calls = [*talk.puppet.calls, *talk.puppet.waiting]
    return talk.floor.has_deadlines or all(call.event is not None or call.is_over for call in calls)


def is_websocket(talk: Conversation) -> bool:
    return not talk.is_page


def fit(event: Any, talk: Conversation) -> Any:
    """The event as a page's application would send it, if this is a page."""
    if not talk.is_page or not event:
        return event
    return {**event, "type": event["type"].replace("websocket.", "")}


class Machine(ConnectionMachine):
    def __init__(self) -> None:
        super().__init__()
        self.serial = 0

    # --------------------------------------------------------------------- connections

    @precondition(lambda self: self.talk is None)
    @rule(scenario=SCENARIOS)
    def connect(self, scenario: SimpleNamespace) -> None:
        tally["steps", "connect"] += 1
        self.talk = Conversation(scenario)

    @precondition(lambda self: self.talk is not None)
    @rule(app_end=st.sampled_from(APP_ENDS))
    def finish(self, app_end: str) -> None:
        tally["steps", "finish"] += 1
        with self.dropping_what_fails() as talk:
            finish(talk, app_end)
            check_end(talk)
        self.talk = None

    def teardown(self) -> None:
        if self.talk is not None:
            self.finish("receives")

    # ------------------------------------------------------------------------ the peer

    @peer_step(
        count=st.sampled_from([1, 1, 1, 1, 4, 40]),
        kind=KINDS,
        size=st.sampled_from(SIZES),
        fragments=st.sampled_from([1, 1, 1, 2, 3]),
        compress=BOOLS,
        ping=BOOLS,
    )
    def peer_sends(self, talk: Conversation, count: int, size: int, **message: Any) -> None:
        """One message, or many of a twentieth of its size."""
        for _ in range(count):
            talk.peer.send_message(size=size if count == 1 else size // 20, **message)

    @peer_step(size=st.sampled_from([4, 125]), count=st.sampled_from([1, 1, 5]))
    def peer_pings(self, talk: Conversation, size: int, count: int) -> None:
        for _ in range(count):
            talk.peer.ping(size)

    @peer_step()
    def peer_pongs(self, talk: Conversation) -> None:
        talk.peer.pong()

    @peer_step(
        count=st.sampled_from([0, 1, 1, 3]),
        payload=CLOSES,
        inside_message=st.sampled_from([False] * 3 + [True]),
    )
    def peer_closes(self, talk: Conversation, count: int, payload: bytes, inside_message: bool) -> None:
        """Behind so many messages."""
        for _ in range(count):
            talk.peer.send_message("text", 5)
        talk.peer.close_with(payload, inside_message=inside_message)

    @peer_step(name=st.sampled_from(list(VIOLATIONS)))
    def peer_breaks_a_rule(self, talk: Conversation, name: str) -> None:
        talk.peer.break_rule(name)

    @step(is_connected, how=LEAVINGS, part=PART)
    def peer_leaves(self, talk: Conversation, how: str) -> None:
        getattr(talk.line, how)()

    @step(is_connected, size=st.sampled_from([0, 0, None, None, 1, 10, 100, 1000, 70_000]))
    def peer_reads(self, talk: Conversation, size: Optional[int]) -> None:
        """So many bytes of what waits; 0: no more for now, None: all, and from now on whatever comes."""
        if size is None:
            talk.line.read_on()
        elif size:
            talk.line.take(size)
        else:
            talk.line.is_peer_reading = False

    @step(lambda talk: talk.wire.can_deliver, part=PART)
    def bytes_arrive(self, talk: Conversation) -> None:
        """As many as ``part`` says."""

    # ----------------------------------------------------------------- the application

    def _build_message(self, kind: str, size: int) -> Any:
        """The event that sends a message unlike all others."""
        self.serial += 1
        content = make_content(self.serial, kind, size)
        return {"type": "websocket.send", "text" if isinstance(content, str) else "bytes": content}

    @app_step(is_websocket, subprotocol=SUBPROTOCOLS, **HOW)
    def app_accepts(self, talk: Conversation, subprotocol: Optional[str], **how: bool) -> None:
        event = {"type": "websocket.accept", "subprotocol": subprotocol, "headers": [(b"x", b"y")]}
        talk.puppet.do(Call(event), **how)

    @app_step(
        may_receive,
        count=st.sampled_from([1, 1, 5, 40]),
        tasks=st.sampled_from([1, 1, 2]),
        is_cancelled=st.sampled_from([False, False, False, True]),
        **HOW,
    )
    def app_receives(
        self, talk: Conversation, count: int, tasks: int, is_cancelled: bool, **how: bool
    ) -> None:
        """Again and again, perhaps in two tasks; the last may be cancelled where it waits."""
        for _ in range(tasks if talk.floor.has_deadlines else 1):
            talk.puppet.do(*[Call() for _ in range(count)], **how)
        if is_cancelled:
            talk.loop.settle()
            for task in talk.puppet.pending()[-1:]:
                talk.puppet.cancel(task)

    @app_step(is_websocket, kind=KINDS, size=APP_SIZES, count=st.sampled_from([1, 1, 1, 2, 4]), **HOW)
    def app_sends(self, talk: Conversation, kind: str, size: int, count: int, **how: bool) -> None:
        """Several at once are sent by tasks of their own."""
        for _ in range(count):
            talk.puppet.do(Call(self._build_message(kind, size)), **how)

    @app_step(
        is_websocket,
        takes=st.sampled_from([0, 0, 1, 2]),
        count=st.sampled_from([2, 5, 30, 70]),
        size=st.sampled_from([3, 20, 200]),
        pause=st.sampled_from([0.0, 0.0, 0.015, 0.05, 0.12]),
    )
    def app_pushes(self, talk: Conversation, takes: int, count: int, size: int, pause: float) -> None:
        """A row of messages, the first of them perhaps as answers."""
        calls: List[Call] = []
        for number in range(count):
            calls += [Call()] if number < takes and may_receive(talk) else []
            calls.append(Call(self._build_message("text", size)))
        talk.puppet.do(*calls, pause=pause)

    @app_step(
        may_receive,
        is_websocket,
        is_connected,
        peer_can_send,
        count=st.integers(1, 3),
        takes=st.integers(0, 2),
        delay=st.sampled_from([0.0, 0.06, 0.3]),
        pause=st.sampled_from([0.015, 0.05, 0.12]),
    )
    def app_pushes_to_a_peer_that_closes(
        self, talk: Conversation, count: int, takes: int, delay: float, pause: float
    ) -> None:
        """Messages and CLOSE in one segment, which are answered in many parts."""
        self.peer_closes("nothing", part=None, count=count, payload=b"\x03\xe8", inside_message=False)
        talk.pass_time(delay)
        self.app_pushes("nothing", takes=takes, count=10, size=20, pause=pause)
        talk.pass_time(0.5)

    @app_step(is_connected, count=st.integers(1, 3), is_cancelled=BOOLS)
    def app_sends_until_it_waits(self, talk: Conversation, count: int, is_cancelled: bool) -> None:
        """In several tasks, to a peer that stops reading; the last may be cancelled there."""
        talk.line.is_peer_reading = False
        for _ in range(count):
            part = {"type": "http.response.body", "body": b"b" * 70_000, "more_body": True}
            talk.puppet.do(Call(part if talk.is_page else self._build_message("noise", 70_000)))
        talk.loop.settle()
        stuck = talk.puppet.stuck_sends()
        if is_cancelled and stuck:
            talk.puppet.cancel(stuck[-1])

    @app_step(is_websocket, code=CODES, reason=REASONS, **HOW)
    def app_closes(self, talk: Conversation, code: Any, reason: Any, **how: bool) -> None:
        talk.puppet.do(Call({"type": "websocket.close", "code": code, "reason": reason}), **how)

    @app_step(status=st.sampled_from([200, 404]), **HOW)
    def app_starts_a_response(self, talk: Conversation, status: int, **how: bool) -> None:
        event = {"type": "websocket.http.response.start", "status": status, "headers": []}
        talk.puppet.do(Call(fit(event, talk)), **how)

    @app_step(size=APP_SIZES, more=BOOLS, **HOW)
    def app_continues_a_response(self, talk: Conversation, size: int, more: bool, **how: bool) -> None:
        event = {"type": "websocket.http.response.body", "body": b"b" * size, "more_body": more}
        talk.puppet.do(Call(fit(event, talk)), **how)

    @app_step(event=st.sampled_from(NONSENSE), **HOW)
    def app_sends_nonsense(self, talk: Conversation, event: Any, **how: bool) -> None:
        talk.puppet.do(Call(fit(event, talk)), **how)

    @step(lambda talk: talk.puppet.scope is not None, is_websocket)
    def app_pings(self, talk: Conversation) -> None:
        talk.puppet.scope["wsbridge.connection"].ping()

    @step(lambda talk: talk.puppet.is_idle)
    def app_returns(self, talk: Conversation) -> None:
        talk.puppet.end()

    @step(
        lambda talk: talk.puppet.is_idle, kind=st.sampled_from([RuntimeError, ClientDisconnected, SystemExit])
    )
    def app_raises(self, talk: Conversation, kind: Type[BaseException]) -> None:
        # SystemExit leaves a loop whose tasks are not wsbridge's.
        is_ours = talk.floor.has_deadlines or issubclass(kind, Exception)
        talk.puppet.end((kind if is_ours else RuntimeError)("of another connection"))

    @step(lambda talk: talk.puppet.is_running, ignored=st.sampled_from([0, 0, 1]))
    def app_is_cancelled(self, talk: Conversation, ignored: int) -> None:
        """In its main task, where it stands."""
        talk.puppet.stubbornness = ignored
        talk.puppet.cancel(talk.puppet.main)

    @step(lambda talk: talk.puppet.pending(), number=st.integers(0, 7), is_stuck=BOOLS)
    def a_call_is_cancelled(self, talk: Conversation, number: int, is_stuck: bool) -> None:
        """One of the application's tasks; ``is_stuck``: one that waits for the peer to read."""
        tasks = (is_stuck and talk.puppet.stuck_sends()) or talk.puppet.pending()
        talk.puppet.cancel(tasks[number % len(tasks)])

    # ------------------------------------------------------------- the server, the clock

    @step(lambda talk: talk.stopped_at == NEVER, timeout=st.sampled_from([SHUTDOWN_SECONDS, 0.3]))
    def server_stops(self, talk: Conversation, timeout: float) -> None:
        talk.stop_server(timeout)

    @step()
    def server_cuts(self, talk: Conversation) -> None:
        talk.abort()

    @step(serves_in_task)
    def server_is_cancelled(self, talk: Conversation) -> None:
        """In the tasks that shut down, or that serve this connection."""
        talk.cancel_server()

    @step(serves_in_task, peer_can_send)
    def server_is_cancelled_behind_a_full_queue(self, talk: Conversation) -> None:
        """Having read what it may not yet hand on."""
        for count in (40, 1):
            for _ in range(count):
                talk.peer.send_message("text", 5)
            talk.settle()
        talk.cancel_server()

    @app_step(serves_in_task, peer_can_send, is_connected)
    def server_is_cancelled_before_all_is_sent(self, talk: Conversation) -> None:
        """Having read the end of the peer's stream."""
        self.app_sends_until_it_waits("settle", count=1, is_cancelled=False)
        talk.line.half_close()
        talk.settle()
        talk.cancel_server()

    @step(lambda talk: talk.stopped_at != NEVER)
    def a_stop_is_cancelled(self, talk: Conversation) -> None:
        """Right behind its own cut, while it waits for what outlives that."""
        talk.pass_time(max(0.0, talk.cut_time - talk.loop.time()) + 0.01)
        talk.loop.settle()
        talk.cancel_server()

    @step(seconds=st.sampled_from([0.01, 0.3, 0.8, 1.1, 2.1, 3.1, 4.2, 7.5]))
    def time_passes(self, talk: Conversation, seconds: float) -> None:
        talk.pass_time(seconds)

    @step()
    def the_loop_turns(self, talk: Conversation) -> None:
        talk.loop.turn()
