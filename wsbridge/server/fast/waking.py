"""How applications that wait in ``receive`` are resumed: all in one callback, or one inside the read itself.

A future that is done resumes its task through a callback of its own in the
loop's next turn, and before that turn the loop asks the system whether there
is more to read (but for a `Poller`, which reads inside that question). Where
many connections have something, one callback serves them all; where only one
has, its application runs inside the read, and both are saved.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Any, List, Optional

from ..plain import Resumable, ResumeTask

__all__ = ["CollectingWaker", "choose_resume_task", "resume_task"]


class CollectingWaker:
    """A `Waker` for loops that are written in Python."""

    __slots__ = ("_last", "_loop", "_woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._woken: List[Resumable] = []
        self._last: Optional[Resumable] = None

    def wake(self, connection: Resumable) -> None:
        """Resume ``connection`` in the loop's next turn, together with the others that are woken.

        It is resumed now if it is also the one that was woken last: no other
        connection has read since, and batching would gain nothing.
        """
        is_last, self._last = self._last is connection, connection
        if is_last:
            connection.resume(resume_task)
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
                connection.resume(resume_task)
        finally:
            # KeyboardInterrupt and SystemExit pass through; the rest are resumed in the next turn.
            for connection in woken:
                self._loop.call_soon(connection.resume, resume_task)


def choose_resume_task(future_type: Any) -> ResumeTask:
    """Return `_resume_now` if the futures of ``future_type`` list their callbacks as it expects.

    ``_callbacks`` is not part of asyncio's interface. Where it is missing or
    different, the task goes on in the loop's next turn.
    """

    def callback(future: object) -> None: ...

    context = Context()
    future = future_type(loop=_NoLoop())
    future.add_done_callback(callback, context=context)
    is_known = getattr(future, "_callbacks", None) == [(callback, context)]
    return _resume_now if is_known else _resume_later


class _NoLoop:
    """All that a future asks of its loop before it is done."""

    def get_debug(self) -> bool:
        return False


def _resume_now(future: asyncio.Future[Any]) -> None:
    """Make ``future`` done, and let the task that awaits it go on before this returns.

    Tasks cannot be nested: where another task runs, or where several await the
    future, they go on in the loop's next turn.
    """
    callbacks: Any = future._callbacks
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


def _resume_later(future: asyncio.Future[Any]) -> None:
    future.set_result(None)


def _raise(error: BaseException) -> None:
    raise error


resume_task = choose_resume_task(asyncio.Future)
