"""How applications that wait in ``receive`` go on: all in one callback, or one inside the read itself.

In loops that are not written in Python each has a callback: uvloop takes what a read raises for its own,
SystemExit too, and reads a socket many times in a row, so that who sends without end would have all of it.

A future that is done resumes its task through a callback of its own in the
loop's next turn, and before that turn the loop asks the system whether there
is more to read (but for a `Poller`, which reads as it is asked). Of the
instructions of a message the callback is 7 % where a hundred connections have
something, callback and question are 15 % where only one has (125 bytes of
text, CPython 3.11, asyncio's transports).
"""

from __future__ import annotations

import asyncio
from typing import Any, List, Optional, Protocol

__all__ = ["Waker", "resume_task"]


class Sleeper(Protocol):
    """A connection whose application waits."""

    def resume(self) -> None:
        """Let it go on, if there is something for it."""

    def resume_later(self) -> None:
        """Let it go on in the loop's next turn: it waits."""


class Waker:
    """One for all connections of a service."""

    __slots__ = ("_is_python", "_last", "_loop", "_woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_python = isinstance(loop, asyncio.BaseEventLoop)
        self._woken: List[Sleeper] = []
        self._last: Optional[Sleeper] = None

    def wake(self, sleeper: Sleeper) -> None:
        """Resume ``sleeper``, whose application waits: in the loop's next turn, or now if it was the last.

        Others have been silent then: there is nothing to collect.
        """
        is_last, self._last = self._last is sleeper, sleeper
        if not self._is_python:
            sleeper.resume_later()
            return
        if is_last:
            sleeper.resume()
            return
        if not self._woken:
            self._loop.call_soon(self._resume_all)
        self._woken.append(sleeper)

    def forget(self, sleeper: object) -> None:
        """It is over."""
        if self._last is sleeper:
            self._last = None

    def _resume_all(self) -> None:
        woken = iter(self._woken)
        self._woken = []
        try:
            for sleeper in woken:
                sleeper.resume()
        finally:
            # KeyboardInterrupt and SystemExit come through: what is left is not lost.
            for sleeper in woken:
                self._loop.call_soon(sleeper.resume)


def resume_task(future: asyncio.Future[Any]) -> None:
    """Make ``future`` done, and let the task that awaits it go on before this returns.

    Tasks cannot be nested: where one runs, or where several await it, they go
    on in the loop's next turn.
    """
    callbacks: Any = getattr(future, "_callbacks", None)
    if callbacks and len(callbacks) == 1:
        [(callback, context)] = callbacks
        future.remove_done_callback(callback)
        future.set_result(None)
        try:
            context.run(callback, future)
        except RuntimeError:
            # A task runs, or its context is entered: as any other future does.
            future.get_loop().call_soon(callback, future, context=context)
        except (KeyboardInterrupt, SystemExit) as error:
            # asyncio lets these two out of a task. The read that resumed it is not left in the middle: they
            # leave the loop in its next turn.
            future.get_loop().call_soon(_raise, error, context=context)
    else:
        future.set_result(None)


def _raise(error: BaseException) -> None:
    raise error
