"""`Plain`: what a server needs of its event loop, done by asyncio alone; `fast` overrides it."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Callable, Optional, Protocol

if TYPE_CHECKING:
    from .service import Service

__all__ = ["Listener", "Plain", "PlainWaker", "ResumeTask", "Resumable", "Waker"]

#: Sets the result of a future, which resumes the task that awaits it, at once or in the loop's next turn.
ResumeTask = Callable[["asyncio.Future[Any]"], None]


class Resumable(Protocol):
    """A connection whose application may wait in ``receive``."""

    def resume(self, resume_task: ResumeTask) -> None:
        """Resume the application now, if it waits and an event has come."""

    def resume_later(self) -> None:
        """Resume the waiting application in the loop's next turn."""


class Waker(Protocol):
    """Resumes applications that wait in ``receive``, for all connections of a service."""

    def wake(self, connection: Resumable) -> None:
        """Resume the application of ``connection``, which waits and has got an event."""

    def forget(self, connection: object) -> None:
        """Drop the reference to a closed connection."""


class Listener(Protocol):
    """Accepts connections in place of asyncio's server."""

    def close(self) -> None:
        """Accept no more."""


class PlainWaker:
    """Each application goes on in the loop's next turn."""

    __slots__ = ()

    def wake(self, connection: Resumable) -> None:
        connection.resume_later()

    def forget(self, connection: object) -> None:
        pass


class Plain:
    """asyncio's event loop, transports and sockets as they are."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """An event loop for a process that does nothing but serve."""
        return asyncio.new_event_loop()

    def keep_freed_blocks(self) -> None:
        """Tune the memory allocator of this process for large messages."""

    def build_waker(self, loop: asyncio.AbstractEventLoop) -> Waker:
        return PlainWaker()

    def find_listener(
        self, loop: asyncio.AbstractEventLoop
    ) -> Optional[Callable[[Service, socket.socket], Listener]]:
        """A factory of listeners for sockets in ``loop``; None if asyncio's own server accepts."""
        return None
