"""The machine's vocabulary: what may be drawn, when a step is possible, and what a step is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, List

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from .conversation import CONFIGS, Conversation, Scenario
from .floors import FLOORS
from .notes import tally
from .peer import OFFERS

BOOLS = st.booleans()
# How far the server gets before the next step: until nothing is ready, one turn of its loop, or nowhere.
THEN = st.sampled_from(["settle", "settle", "turn", "nothing"])
SIZES = st.sampled_from([0, 1, 20, 125, 126, 300, 2000, 9000])
# The largest is more than the usual write buffer.
APP_SIZES = st.sampled_from([0, 1, 20, 125, 126, 300, 2000, 9000, 70_000])
KINDS = st.sampled_from(["text", "noise", "same"])
PARTS = st.sampled_from([None, None, None, 0, 1, 2, 3, 7, 50, 400])
CLOSES = st.sampled_from([b"", b"\x03\xe8", b"\x03\xe9going away", b"\x0f\xa0" + b"x" * 123])
# All of these, and none, may stand before the accept and behind the end; an open connection takes some.
CODES = st.sampled_from([1000, 3000, None, 403, 1005, 1006])
REASONS: Any = st.sampled_from(["", "bye", None, "\u20ac" * 42, "x" * 200, [{"loc": 1}]])
SUBPROTOCOLS = st.sampled_from([None, "chat", "", "never-offered"])
COUNTS = st.sampled_from([1, 1, 1, 2, 4])
LEAVINGS = st.sampled_from(["half_close", "half_close", "close_peer", "reset", "vanish"])
TAKEN = st.sampled_from([0, 0, None, None, 1, 10, 100, 1000, 70_000])
PAUSES = st.sampled_from([0.015, 0.05, 0.12])
SECONDS = st.sampled_from([0.01, 0.3, 0.8, 1.1, 2.1, 3.1, 4.2, 7.5])
# Of a connection that is lost there is little more to see.
STEPS_AFTER_LOSS = 8
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
SCENARIOS = st.builds(
    Scenario,
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
    # Pages, and heads that come in parts, are the server's own; the two other floors begin behind the head.
).map(lambda drawn: drawn if drawn.floor == "server" else replace(drawn, is_page=False, cut=None))


def step(*conditions: Callable[[Conversation], object], **arguments: Any) -> Callable[[Any], Any]:
    """A rule inside a connection, ``function(machine, talk, ...)``, possible where all conditions hold.

    Behind it the server reads the ``part`` of what the peer has sent (None: all, 0 or not drawn: nothing),
    and gets as far as ``then`` says.
    """

    def is_possible(machine: Any) -> bool:
        talk = machine.talk
        is_talking = talk is not None and talk.steps_after_loss < STEPS_AFTER_LOSS
        return is_talking and all(condition(talk) for condition in conditions)

    def decorate(function: Any) -> Any:
        def run(self: Any, then: str, part: Any = 0, **drawn: Any) -> None:
            tally["steps", function.__name__] += 1
            with self.dropping_what_fails() as talk:
                talk.steps_after_loss += talk.wire.is_lost
                function(self, talk, **drawn)
                if part != 0:
                    talk.deliver(part)
                if then == "turn":
                    talk.loop.turn()
                elif then == "settle":
                    talk.loop.settle()

        run.__name__ = function.__name__
        return precondition(is_possible)(rule(then=THEN, **arguments)(run))

    return decorate


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
    return not talk.scenario.is_page
