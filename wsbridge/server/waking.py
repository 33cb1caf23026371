"""How applications that wait in ``receive`` are resumed: all in one callback, or one inside the read itself.

A future that is done resumes its task through a callback of its own in the
loop's next turn, and before that turn the loop asks the system whether there
is more to read (but for a `Poller`, which reads inside that question). Where
many connections have something, one callback serves them all; where only one
has, its application runs inside the read, and both are saved.

In loops that are not written in Python each application has its own callback:
uvloop swallows what a read raises, SystemExit included, and reads one socket
many times in a row, so that one busy peer would starve the others.
"""

from __future__ import annotations

import asyncio
from typing import Any, List, Optional, Protocol

__all__ = ["Waker", "resume_task"]


class Resumable(Protocol):
    """A connection whose application may wait in ``receive``."""

    def resume(self) -> None:
        """Let the application go on now, if it waits and an event has come."""

    def resume_later(self) -> None:
        """Let the application, which waits, go on in the loop's next turn."""


class Waker:
    """One for all connections of a service."""

    __slots__ = ("_is_python", "_last", "_loop", "_woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_python = isinstance(loop, asyncio.BaseEventLoop)
        self._woken: List[Resumable] = []
        self._last: Optional[Resumable] = None

    def wake(self, connection: Resumable) -> None:
        """Resume ``connection``, whose application waits, in the loop's next turn, or now.

        Now, where it is also the one that was woken last: no other connection
        has read since, and batching would gain nothing.
        """
        is_last, self._last = self._last is connection, connection
        if not self._is_python:
            connection.resume_later()
            return
        if is_last:
            connection.resume()
            return
        if not self._woken:
            self._loop.call_soon(self._resume_all)
        self._woken.append(connection)

    def forget(self, connection: object) -> None:
        """Drop the reference to a closed connection."""
        if self._last is connection:
            self._last = None

    def _resume_all(self) -> None:
        woken = iter(self._woken)
        self._woken = []
        try:
            for connection in woken:
                connection.resume()
        finally:
            # KeyboardInterrupt and SystemExit pass through; the rest are resumed in the next turn.
            for connection in woken:
                self._loop.call_soon(connection.resume)


def resume_task(future: asyncio.Future[Any]) -> None:
    """Make ``future`` done, and let the task that awaits it go on before this returns.

    Tasks cannot be nested: where another task runs, or where several await the
    future, they go on in the loop's next turn.
    """
    callbacks: Any = getattr(future, "_callbacks", None)
    if callbacks and len(callbacks) == 1:
        [(callback, context)] = callbacks
        future.remove_done_callback(callback)
        future.set_result(None)
        try:
            context.run(callback, future)
        except RuntimeError:
            # Another task runs, or the context is entered: do what any other future does.
            future.get_loop().call_soon(callback, future, context=context)
        except (KeyboardInterrupt, SystemExit) as error:
            # asyncio lets these two out of a task. The read that resumed it is not left in the middle: they
            # leave the loop in its next turn.
            future.get_loop().call_soon(_raise, error, context=context)
    else:
        future.set_result(None)


def _raise(error: BaseException) -> None:
    raise error
