"""What a step of both state machines is, and what becomes of a connection whose step fails."""

from __future__ import annotations

import contextlib
import gc
from typing import Any, Callable, Iterator

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from .notes import tally

BOOLS = st.booleans()
# How far the server gets before the next step: until nothing is ready, one turn of its loop, or nowhere.
THEN = st.sampled_from(["settle", "settle", "turn", "nothing"])
# How many bytes of what the peer has sent the server reads behind a step; None: all.
PART = st.sampled_from([None, None, None, 0, 1, 2, 3, 7, 50, 400])

Decorator = Callable[[Any], Any]
Condition = Callable[[Any], object]


class ConnectionMachine(RuleBasedStateMachine):
    """Connections one behind the other, each brought to its end before the next."""

    def __init__(self) -> None:
        super().__init__()
        self.talk: Any = None
        tally["programs",] += 1

    @contextlib.contextmanager
    def dropping_what_fails(self) -> Iterator[Any]:
        """A connection whose step fails is dropped, and the next is not blamed for what it left."""
        talk = self.talk
        try:
            yield talk
        except BaseException:
            talk.discard()
            self.talk = None
            gc.collect()
            gc.freeze()
            raise


def build_step(
    is_talking: Condition, count: Callable[[Any], None], check: Callable[[Any], None]
) -> Callable[..., Decorator]:
    """The decorator of a rule inside a connection, ``function(machine, talk, ...)``.

    The rule is possible where ``is_talking`` and all of its own conditions hold. ``count`` notes it first.
    Behind it the server reads the ``part`` of what the peer has sent (not drawn: nothing), gets as far as
    ``then`` says, and ``check`` looks at the connection.
    """

    def step(*conditions: Condition, **arguments: Any) -> Decorator:
        def is_possible(machine: Any) -> bool:
            talk = machine.talk
            return talk is not None and all(condition(talk) for condition in (is_talking, *conditions))

        def decorate(function: Any) -> Any:
            def run(self: Any, then: str, part: Any = 0, **drawn: Any) -> None:
                tally["steps", function.__name__] += 1
                with self.dropping_what_fails() as talk:
                    count(talk)
                    function(self, talk, **drawn)
                    if part != 0:
                        talk.deliver(part)
                    if then == "turn":
                        talk.loop.turn()
                    elif then == "settle":
                        talk.loop.settle()
                    check(talk)

            run.__name__ = function.__name__
            return precondition(is_possible)(rule(then=THEN, **arguments)(run))

        return decorate

    return step
