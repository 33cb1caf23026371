"""`Poller`: a selector for asyncio's event loop that handles our own sockets inside its `select`.

For every ready socket asyncio's loop makes a handle, and runs it after `select` has returned. Without
handles, and without a turn of the loop for each poll, a short message takes fewer instructions; without
the setup of asyncio's transports a handshake takes little more than half the time.

Only Linux has epoll: elsewhere `event_loop` makes no `Poller`.
"""

from __future__ import annotations

import select
import selectors
from contextvars import Context
from time import monotonic
from typing import Any, Dict, List, Optional, Protocol, Tuple

__all__ = ["Poller", "Watched"]

# Per-poll limit; the rest stay ready and come first in the next poll.
MAX_EVENTS = 256


class Watched(Protocol):
    """The object that handles the events of a file descriptor."""

    @property
    def context(self) -> Context:
        """The context in which `handle_events` runs, as asyncio's handles have one."""

    def handle_events(self, events: int) -> None:
        """Act on ``events``, a mask of epoll's; there may be nothing to do."""

    def handle_error(self, error: BaseException) -> None:
        """`handle_events` has raised ``error``."""


class Sender(Protocol):
    """What has collected data to send."""

    def send_collected(self) -> None:
        """Send it."""

    def handle_error(self, error: BaseException) -> None:
        """`send_collected` has raised ``error``."""


class Poller(selectors.EpollSelector):
    """asyncio's selector, and a second epoll in which that selector is one descriptor among our sockets.

    ``ready_count``: how many descriptors the last poll has found ready; 0 if some are asyncio's, which the
    loop serves later. ``collected``: the senders whose data leaves before the next poll. That it leaves one
    after the other, and not between other work, takes an eighth of the time from short messages.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loop: Any = None
        self.ready_count = 0
        self.collected: List[Sender] = []
        self._watched: Dict[int, Watched] = {}
        self._others = self.fileno()
        self._epoll = select.epoll()
        self._epoll.register(self._others, select.EPOLLIN)

    def watch(self, descriptor: int, events: int, watched: Watched) -> None:
        """Call ``watched`` for these events from now on; 0 for none."""
        if descriptor not in self._watched:
            if events:
                self._epoll.register(descriptor, events)
                self._watched[descriptor] = watched
        elif events:
            self._epoll.modify(descriptor, events)
        else:
            del self._watched[descriptor]
            # The descriptor may be closed already, which asyncio's selectors ignore as well.
            try:  # noqa: SIM105 (slower than the call)
                self._epoll.unregister(descriptor)
            except OSError:
                pass

    def serve(self, loop: Any) -> None:
        """Let `select` poll again, and not return, while ``loop``, one of asyncio's, has nothing to do."""
        # No part of asyncio's interface: without them every poll returns to the loop.
        if all(hasattr(loop, name) for name in ("_ready", "_scheduled", "_stopping")):
            self._loop = loop

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        """Wait, handle the watched descriptors, and return those of asyncio's that are ready.

        Watched descriptors are handled before the callbacks scheduled in the loop's last turn.
        """
        # A negative timeout means no limit to epoll; PyPy refuses None.
        if timeout is None:
            timeout = -1
        elif timeout < 0:
            timeout = 0
        watched_by, loop = self._watched, self._loop
        timers = 0 if loop is None else len(loop._scheduled)
        end = monotonic() + timeout
        are_others_ready = False
        while True:
            if self.collected:
                self.send_collected()
                if loop is None or loop._ready or len(loop._scheduled) != timers:
                    # When the loop has chosen the timeout, it had less to do.
                    timeout = 0
            ready = self._epoll.poll(timeout, MAX_EVENTS)
            self.ready_count = len(ready)
            for descriptor, events in ready:
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
            if are_others_ready:
                self.ready_count = 0
                # Asked last: an application that one of the watched descriptors resumes may stop reading a
                # socket of asyncio's, which would then still be reported as ready.
                return super().select(0)
            # A turn of asyncio's loop would take a seventh of what a short message takes.
            if loop is None or loop._ready or loop._stopping or len(loop._scheduled) != timers:
                return []
            if timeout >= 0:
                timeout = end - monotonic()
                if timeout <= 0:
                    return []

    def send_collected(self) -> None:
        """Let the senders send what they have collected."""
        # What is written meanwhile leaves at once.
        self.ready_count = 0
        collected = iter(self.collected)
        self.collected = []
        try:
            for sender in collected:
                try:
                    sender.send_collected()
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as error:
                    sender.handle_error(error)
        finally:
            # After a KeyboardInterrupt or SystemExit the rest send later.
            self.collected += collected

    def close(self) -> None:
        self._watched.clear()
        self._epoll.close()
        super().close()
