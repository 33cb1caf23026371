"""What all connections of one server share: the application, the configuration, and the one timer."""

from __future__ import annotations

import asyncio
import time
from math import inf
from typing import Any, Callable, Dict, Optional, Protocol

from ..asgi.response import build_date
from ..asgi.types import Application
from ..config import ServerConfig
from .log import logger
from .plain import Waker
from .speed import SPEED

__all__ = ["Member", "Service"]

# Warn at this many applications that go on without a connection, and each time their number has doubled.
FIRST_DETACHED_WARNING = 64

# Seconds. A deadline is noticed up to this late; a sweep's cost grows with the number of connections.
SWEEP_INTERVAL = 0.25

# Seconds. A sweep that is this late was held up: an application blocked the loop, or the machine slept.
BLOCKED = 1.0

# Seconds; a coarser clock is not used. Before Python 3.13 the loop's clock on Windows moves every 15.6 ms, in
# which a ping's latency would be 0.
COARSE = 1e-3

# Seconds that a cancelled application has to end.
CUT_TIMEOUT = 1.0


def _choose_clock(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    is_coarse = time.get_clock_info("monotonic").resolution > COARSE
    return time.perf_counter if is_coarse else loop.time


class Member(Protocol):
    """A connection in any of its stages: it has deadlines, and a stopping server waits for its end."""

    def check_deadlines(self, now: float) -> None:
        """Do what has come due at ``now``, by the service's clock."""

    def shut_down(self) -> None:
        """The server is stopping: close in an orderly way."""

    def cut(self) -> None:
        """End now: the time for an orderly end is over."""


class Service:
    """One server's connections, under one timer that sweeps their deadlines.

    ``clock`` is a monotonic time in seconds, ``date`` makes the value of an
    answer's Date; by default both are the parent's, or the loop's time where it
    is fine enough, and the time of day. ``state`` is the lifespan's. Make it
    inside a running loop.

    ``parent`` is a service whose timer sweeps these members too, and whose end
    is theirs: so one connection can be waited for alone.
    """

    def __init__(
        self,
        app: Application,
        config: ServerConfig,
        *,
        state: Optional[Dict[str, Any]] = None,
        clock: Optional[Callable[[], float]] = None,
        date: Optional[Callable[[], bytes]] = None,
        parent: Optional[Service] = None,
    ) -> None:
        self.app = app
        self.config = config
        self.state = state
        self.loop = asyncio.get_running_loop()
        self.clock: Callable[[], float] = clock or (
            _choose_clock(self.loop) if parent is None else parent.clock
        )
        self.date: Callable[[], bytes] = date or (build_date if parent is None else parent.date)
        #: A dict, because it keeps the order in which they came: the order in which they are told.
        self.members: Dict[Member, None] = {}
        #: The members that are refused or closed, and only wait for their peer.
        self.lingering: Dict[Member, None] = {}
        #: The members whose application goes on without its connection.
        self.detached: Dict[Member, None] = {}
        self._next_detached_warning = FIRST_DETACHED_WARNING
        self.waker: Waker = SPEED.build_waker(self.loop) if parent is None else parent.waker
        #: When a `Listener` may warn again, by the loop's clock.
        self.next_accept_warning = -inf
        self._parent = parent
        self.is_stopping: bool = parent is not None and parent.is_stopping
        self._timer: Optional[asyncio.TimerHandle] = None
        # Whether the last sweep was put off because the loop had been blocked.
        self._has_put_off = False
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def get_deadline(self, timeout: Optional[float]) -> float:
        """``timeout`` seconds from now, by the service's clock; never, where it is None."""
        return inf if timeout is None else self.clock() + timeout

    def add(self, member: Member) -> None:
        """Sweep this member's deadlines from now on."""
        self.members[member] = None
        self._is_empty.clear()
        if self._parent is not None:
            self._parent.add(member)
        elif self._timer is None:
            self._timer = self.loop.call_later(SWEEP_INTERVAL, self._tick)

    def add_lingering(self, member: Member) -> None:
        """This member only waits for its peer: it does not count towards ``limit_concurrency``.

        As many may do so as connections are allowed; beyond that the oldest is cut.
        """
        self.lingering[member] = None
        if self._parent is not None:
            self._parent.add_lingering(member)
        limit = self.config.limit_concurrency
        if limit is not None and len(self.lingering) > limit:
            next(iter(self.lingering)).cut()

    def add_detached(self, member: Member) -> None:
        """This member's connection is over, and its application is not; a warning where they become many."""
        self.detached[member] = None
        if self._parent is not None:
            self._parent.add_detached(member)
            return
        if len(self.detached) >= self._next_detached_warning:
            self._next_detached_warning *= 2
            count = len(self.detached)
            logger.warning("%d applications go on behind their disconnect: see timeout_app", count)

    @property
    def open_connections(self) -> int:
        """How many connections count towards ``limit_concurrency``.

        Neither those that only linger do, nor applications whose connection is over.
        """
        return len(self.members) - len(self.lingering) - len(self.detached)

    def discard(self, member: Member) -> None:
        """This member is over; discarding it twice is no error."""
        self.members.pop(member, None)
        self.lingering.pop(member, None)
        self.detached.pop(member, None)
        self.waker.forget(member)
        if self._parent is not None:
            self._parent.discard(member)
        if not self.members:
            self._is_empty.set()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _tick(self) -> None:
        # A loop that was blocked may run its timers before it reads what has come meanwhile (uvloop does):
        # put the sweep off once, so that no peer is cut for silence while its bytes wait to be read.
        was_blocked = self._timer is not None and self.loop.time() - self._timer.when() > BLOCKED
        self._timer = self.loop.call_later(SWEEP_INTERVAL, self._tick)
        self._has_put_off = was_blocked and not self._has_put_off
        if not self._has_put_off:
            self.sweep()

    def sweep(self) -> None:
        """Have every member check its deadlines."""
        now = self.clock()
        self._tell_all(lambda member: member.check_deadlines(now))

    def _tell_all(self, tell: Callable[[Member], None]) -> None:
        for member in tuple(self.members):
            try:
                tell(member)
            except Exception:
                # An application's `trace` may raise, for one; the other members must still be told.
                logger.exception("connection failed and is cut")
                member.cut()

    async def shut_down(self, timeout: Optional[float]) -> None:
        """Close every connection in an orderly way, and cut what is left near the end of ``timeout``.

        The last second of it, or its second half where it is shorter, is for
        applications that are cancelled. None waits for ever.
        """
        self.is_stopping = True
        if self.detached:
            logger.info("%d applications go on behind their disconnect", len(self.detached))
        self._tell_all(lambda member: member.shut_down())
        if not await self._is_empty_within(timeout and max(timeout - CUT_TIMEOUT, timeout / 2)):
            logger.warning("%d connections did not close in time and are cut", len(self.members))
            self.cut()
            await self.wait_until_empty()
        if self.members:
            logger.error("%d applications ignore their cancellation", len(self.members))

    async def wait_until_empty(self) -> None:
        """Wait until every connection, and every application, has come to its end."""
        await self._is_empty.wait()

    async def _is_empty_within(self, timeout: Optional[float]) -> bool:
        try:
            await asyncio.wait_for(self.wait_until_empty(), timeout)
        except asyncio.TimeoutError:
            return False
        return True

    def cut(self) -> None:
        """End every connection now; `wait_until_empty` lasts `CUT_TIMEOUT` longer at most."""
        for member in tuple(self.members):
            member.cut()
        self.loop.call_later(CUT_TIMEOUT, self._is_empty.set)
