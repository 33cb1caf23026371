"""How applications that wait in ``receive`` are resumed: together in one callback, or inside the read.

asyncio resumes the task that awaits a future by a callback of its own, in the
loop's next turn, and before that turn the loop polls the system. If many
connections have received something, one callback resumes all of them. If only
one has, its application runs inside the read, which saves callback and poll.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any, List, Optional

from ..plain import Resumable, ResumeTask

if TYPE_CHECKING:
    from .poller import Poller

__all__ = ["CollectingWaker", "choose_resume_task", "resume_task"]


class CollectingWaker:
    """A `Waker` for loops that are written in Python; ``poller`` is the one in the loop, if any."""

    __slots__ = ("_last", "_loop", "_poller", "_woken")

    def __init__(self, loop: asyncio.AbstractEventLoop, poller: Optional[Poller] = None) -> None:
        self._loop = loop
        self._poller = poller
        self._woken: List[Resumable] = []
        self._last: Optional[Resumable] = None

    def wake(self, connection: Resumable) -> None:
        """Resume ``connection`` in the loop's next turn, together with the others that are woken.

        It is resumed now if no other one has read: the poller says so, or it is
        also the one that was woken last. Batching would gain nothing.
        """
        poller = self._poller
        if self._last is connection or (poller is not None and poller.ready_count == 1):
            connection.resume(resume_task)
            return
        self._last = connection
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
            # After a KeyboardInterrupt or SystemExit the rest are resumed in the next turn.
            for connection in woken:
                self._loop.call_soon(connection.resume, resume_task)


def choose_resume_task(future_type: Any) -> ResumeTask:
    """Return `_resume_now` if futures of ``future_type`` list their callbacks as it expects.

    ``_callbacks`` is not part of asyncio's interface. If it is missing or
    different, tasks resume in the loop's next turn.
    """

    def callback(future: object) -> None: ...

    context = Context()
    future = future_type(loop=_NoLoop())
    future.add_done_callback(callback, context=context)
    is_known = getattr(future, "_callbacks", None) == [(callback, context)]
    return _resume_now if is_known else _resume_later


class _NoLoop:
    """What a future needs of its loop before it is done."""

    def get_debug(self) -> bool:
        return False


def _resume_now(future: asyncio.Future[Any]) -> None:
    """Set the result of ``future``, and run the next step of the task that awaits it.

    Tasks cannot be nested: while another task runs, or if several await the
    future, they resume in the loop's next turn.
    """
    callbacks: Any = future._callbacks
    if callbacks and len(callbacks) == 1:
        [(callback, context)] = callbacks
        future.remove_done_callback(callback)
        future.set_result(None)
        try:
            context.run(callback, future)
        except RuntimeError:
            # Another task runs, or the context is entered: do as asyncio does.
            future.get_loop().call_soon(callback, future, context=context)
        except (KeyboardInterrupt, SystemExit) as error:
            # asyncio lets these two out of a task. Raise them in the loop's next turn, so that the read which
            # resumed the task is finished.
            future.get_loop().call_soon(_raise, error, context=context)
    else:
        future.set_result(None)


def _resume_later(future: asyncio.Future[Any]) -> None:
    future.set_result(None)


def _raise(error: BaseException) -> None:
    raise error


resume_task = choose_resume_task(asyncio.Future)
