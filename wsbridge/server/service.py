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
from .waking import Waker

__all__ = ["Member", "Service"]

# So many applications without a connection are worth a warning, and then twice as many each time.
FIRST_DETACHED_WARNING = 64

# Half of this is how late a deadline is noticed on average; 10,000 idle connections cost 5 ms a sweep.
SWEEP_INTERVAL = 0.25

# Seconds. A sweep that comes so late was held up: an application blocked the loop, or the machine slept.
BLOCKED = 1.0

# Seconds. Windows' own clock, on which asyncio's loop is there before Python 3.13, moves every 15.6 ms: all
# that is shorter, such as the latency that pings measure, would take no time.
COARSE = 1e-3

# What a cancelled application may still take to come to its end.
CUT_TIMEOUT = 1.0


def _choose_clock(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    is_coarse = time.get_clock_info("monotonic").resolution > COARSE
    return time.perf_counter if is_coarse else loop.time


class Member(Protocol):
    """Something with deadlines, that a stopping server must see the end of."""

    def check_deadlines(self, now: float) -> None:
        """Do what has come due at ``now``, by the service's clock."""

    def shut_down(self) -> None:
        """The server is stopping: close in an orderly way."""

    def cut(self) -> None:
        """The time for that is over: end now."""


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
        #: In the order in which they came, so that all are told in the same order every time.
        self.members: Dict[Member, None] = {}
        #: Those of them that are refused or closing, and only wait for their peer.
        self.lingering: Dict[Member, None] = {}
        #: Those whose application goes on without its connection.
        self.detached: Dict[Member, None] = {}
        self._next_detached_warning = FIRST_DETACHED_WARNING
        self.waker: Waker = Waker(self.loop) if parent is None else parent.waker
        #: By the loop's clock; see `Listener`.
        self.next_accept_warning = -inf
        self._parent = parent
        self.is_stopping: bool = parent is not None and parent.is_stopping
        self._timer: Optional[asyncio.TimerHandle] = None
        #: Whether the last sweep was put off because of that.
        self._has_waited = False
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
        """How many connections count towards ``limit_concurrency``."""
        return len(self.members) - len(self.lingering)

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
        # nobody's silence is judged before that.
        was_blocked = self._timer is not None and self.loop.time() - self._timer.when() > BLOCKED
        self._timer = self.loop.call_later(SWEEP_INTERVAL, self._tick)
        self._has_waited = was_blocked and not self._has_waited
        if not self._has_waited:
            self.sweep()

    def sweep(self) -> None:
        """Let every member look at the clock."""
        now = self.clock()
        self._tell_all(lambda member: member.check_deadlines(now))

    def _tell_all(self, tell: Callable[[Member], None]) -> None:
        for member in tuple(self.members):
            try:
                tell(member)
            except Exception:
                # Such as an application's `trace`; the others keep their deadlines.
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
        """End every connection now; applications have a second more, then nobody waits for them."""
        for member in tuple(self.members):
            member.cut()
        self.loop.call_later(CUT_TIMEOUT, self._is_empty.set)
