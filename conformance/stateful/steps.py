"""What a step of the machine is, and when it is possible."""

from __future__ import annotations

from typing import Any, Callable

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from .conversation import Conversation
from .notes import tally

# How far the server gets before the next step: until nothing is ready, one turn of its loop, or nowhere.
THEN = st.sampled_from(["settle", "settle", "turn", "nothing"])
# How many bytes of what the peer has sent the server reads behind a step; None: all.
PART = st.sampled_from([None, None, None, 0, 1, 2, 3, 7, 50, 400])
# Of a connection that is lost there is little more to see.
STEPS_AFTER_LOSS = 8

Decorator = Callable[[Any], Any]
Condition = Callable[[Conversation], object]


def step(*conditions: Condition, **arguments: Any) -> Decorator:
    """A rule inside a connection, ``function(machine, talk, ...)``, possible where all conditions hold.

    Behind it the server reads the ``part`` of what the peer has sent (not drawn: nothing), and gets as far
    as ``then`` says.
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
    return not talk.scenario.is_page
