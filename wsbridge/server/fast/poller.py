"""`Poller`: an event loop's selector that serves our own sockets on the spot, inside its `select`.

asyncio's loop makes a handle of every socket that is ready, and runs it in its turn. Without handles a short
message takes fewer instructions, and without what asyncio's transports do at their beginning and end, a
handshake takes little more than half the time.

Only Linux has epoll; `event_loop` makes a `Poller` nowhere else.
"""

from __future__ import annotations

import contextlib
import select
import selectors
from contextvars import Context
from typing import Dict, List, Optional, Protocol, Tuple

__all__ = ["Poller", "Watched"]

# Per-poll limit; the rest stay ready and come first in the next poll.
MAX_EVENTS = 256


class Watched(Protocol):
    """What stands behind a file descriptor that is watched."""

    @property
    def context(self) -> Context:
        """What `handle_events` is run in, as asyncio's handles are in theirs; so it cannot be nested."""

    def handle_events(self, events: int) -> None:
        """Act on ``events``, which are epoll's; there may be nothing to do."""

    def handle_error(self, error: BaseException) -> None:
        """`handle_events` has raised ``error``."""


class Poller(selectors.EpollSelector):
    """The selector that asyncio knows, and beside it an epoll of our own that it is one member of."""

    def __init__(self) -> None:
        super().__init__()
        self._watched: Dict[int, Watched] = {}
        self._others = self.fileno()
        self._epoll = select.epoll()
        self._epoll.register(self._others, select.EPOLLIN)

    def watch(self, descriptor: int, events: int, watched: Watched) -> None:
        """Have ``watched`` handle these events from now on; without any, no longer."""
        if descriptor not in self._watched:
            if events:
                self._epoll.register(descriptor, events)
                self._watched[descriptor] = watched
        elif events:
            self._epoll.modify(descriptor, events)
        else:
            del self._watched[descriptor]
            # The descriptor may have been closed already; asyncio's selectors ignore that as well.
            with contextlib.suppress(OSError):
                self._epoll.unregister(descriptor)

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        """Wait, serve what is watched, and return what asyncio has registered and is ready.

        What is watched comes before callbacks that were asked for in the loop's last turn.
        """
        # To epoll a negative timeout means no limit; PyPy does not take None.
        timeout = -1 if timeout is None else max(timeout, 0)
        watched_by = self._watched
        are_others_ready = False
        for descriptor, events in self._epoll.poll(timeout, MAX_EVENTS):
            watched = watched_by.get(descriptor)
            if watched is not None:
                try:
                    watched.context.run(watched.handle_events, events)
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as error:
                    watched.handle_error(error)
            elif descriptor == self._others:
                are_others_ready = True
        # Not before all are served: an application that goes on meanwhile may stop reading others, and
        # asyncio trusts what it gets here.
        return super().select(0) if are_others_ready else []

    def close(self) -> None:
        self._watched.clear()
        self._epoll.close()
        super().close()
