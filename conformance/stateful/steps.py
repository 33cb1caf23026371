"""The machine's vocabulary: what may be drawn, when a step is possible, and what a step is."""

from __future__ import annotations

from typing import Any, Callable, List

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from .tally import Tally

#: Counted here over all runs of this process.
tally = Tally()

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


def step(*conditions: Callable[[Any], bool], **arguments: Any) -> Callable[[Any], Any]:
    """A rule inside a connection, counted, after which the server gets as far as ``then`` says."""

    def decorate(function: Any) -> Any:
        def run(self: Any, then: str, **drawn: Any) -> None:
            tally["rules"][function.__name__] += 1
            self.talk.steps_after_loss += self.talk.wire.is_lost
            with self.failing():
                function(self, **drawn)
                if then == "turn":
                    self.talk.loop.turn()
                elif then == "settle":
                    self.talk.loop.settle()

        run.__name__ = function.__name__
        add_rule: Any = rule(then=THEN, **arguments)
        made = add_rule(run)
        for condition in (is_talking, *conditions):
            made = precondition(condition)(made)
        return made

    return decorate


def is_talking(machine: Any) -> bool:
    return machine.talk_or_none is not None and machine.talk.steps_after_loss < STEPS_AFTER_LOSS


def peer_can_send(machine: Any) -> bool:
    wire = machine.talk.wire
    return not (wire.inbound_eof or wire.is_dead or wire.is_reset)


def is_connected(machine: Any) -> bool:
    return not machine.talk.wire.is_lost


def serves_in_task(machine: Any) -> bool:
    return any(not task.done() for task in machine.talk.floor.tasks)


def app_exists(machine: Any) -> bool:
    return machine.talk.puppet.scope is not None


def app_has_room(machine: Any) -> bool:
    puppet = machine.talk.puppet
    return puppet.scope is not None and (puppet.is_idle or len(puppet.pending()) < 8)


def may_receive(machine: Any) -> bool:
    # Of several that wait for a plain queue, all but one would wait for ever.
    puppet = machine.talk.puppet
    calls = [*puppet.calls, *puppet.waiting]
    is_plain = not machine.talk.floor.has_deadlines
    return not (is_plain and any(call.event is None and not call.is_over for call in calls))


def app_is_idle(machine: Any) -> bool:
    return bool(machine.talk.puppet.is_idle)


def is_websocket(machine: Any) -> bool:
    return not machine.talk.scenario.is_page
