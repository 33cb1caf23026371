"""`Budget`: the memory for what the clients of a server have sent and nobody has taken yet.

A connection counts from a certain size on: a message in progress, inflated, what waits for the application, a
request's head or body. What it holds is looked up again when the budget is exhausted, and at every sweep, so
that taking a message costs nothing more. Past the limit

- messages and heads in progress that make no progress for `STALL_TIME` are given up, the stalest first, while
  somebody needs their room: their peers may have stopped for ever;
- every other connection that wants more pauses reading until there is room.
"""

from __future__ import annotations

from typing import Callable, Dict, NamedTuple, Optional, Protocol

from ..protocols.messages import FREE_SIZE

__all__ = ["HINT", "OUT_OF_MEMORY", "Budget", "Holder"]

# Seconds. Progress is `FREE_SIZE` more: a peer that sends a byte now and then makes none.
STALL_TIME = 1.0


#: What the peer is told, and what only the log says.
OUT_OF_MEMORY = "server is out of memory for incomplete messages"
HINT = "max_inbound_memory is reached"


class Holder(Protocol):
    """A connection that holds what its peer has sent."""

    @property
    def held_size(self) -> int:
        """Bytes that it holds now; 0 if they are too few to count."""

    @property
    def give_up(self) -> Optional[Callable[[], None]]:
        """Drops what only its peer can finish, a message in progress or a request's head.

        It closes with the reason `OUT_OF_MEMORY`, and logs that with `HINT`. None if all that is held waits
        for the application.
        """

    def read_on(self) -> None:
        """There is room again: parse what is held, and resume reading."""


class _Share(NamedTuple):
    size: int
    # The size with which it last made progress, and when.
    progress_size: int
    progress_at: float


class Budget:
    """``limit`` bytes for all connections; ``largest``: of them one message may take, whatever the limit is.

    ``clock`` returns a monotonic time in seconds.
    """

    def __init__(self, limit: int, largest: int, clock: Callable[[], float]) -> None:
        self._limit = max(limit, largest + 2 * FREE_SIZE)
        self._largest = largest
        self._clock = clock
        # What has made no progress for the longest time comes first.
        self._shares: Dict[Holder, _Share] = {}
        self._waiting: Dict[Holder, None] = {}
        #: Bytes that are held, as far as they were counted.
        self.size = 0

    def count(self, holder: Holder, size: int) -> bool:
        """Note that ``holder`` now holds ``size`` bytes; whether there is room for `FREE_SIZE` more."""
        now = self._clock()
        self._set_share(holder, size, now)
        if not self._has_room:
            self._recount(holder)
            self._give_up_stalled(now, holder)
        return self._has_room

    def hold(self, holder: Holder, size: int) -> bool:
        """As `count`; without room ``holder`` must pause until `Holder.read_on` is called."""
        if self.count(holder, size):
            self._waiting.pop(holder, None)
            return True
        self._waiting[holder] = None
        return False

    def may_read_on(self, holder: Holder) -> bool:
        """Whether ``holder`` may resume reading before `Holder.read_on` is called."""
        if holder not in self._waiting:
            return True
        size = holder.held_size
        if size:
            return self.hold(holder, size)
        self.forget(holder)
        return True

    def forget(self, holder: object) -> None:
        """``holder`` has ended, or holds too little to count; forgetting it twice is no error."""
        share = self._shares.pop(holder, None)  # type: ignore[call-overload]
        if share is not None:
            self.size -= share.size
            self._waiting.pop(holder, None)  # type: ignore[call-overload]

    def sweep(self) -> None:
        """Look up what everybody holds, and let those who wait read on while there is room."""
        if not self._shares:
            return
        self._recount()
        if not self._waiting:
            return
        self._give_up_stalled(self._clock())
        self._break_deadlock()
        room = self._limit - self.size
        for holder in tuple(self._waiting):
            # Not all at once: each would stop again before its message is complete. And none that has ended
            # while another was reading on.
            if room >= FREE_SIZE and holder in self._waiting:
                del self._waiting[holder]
                room -= max(self._largest - self._shares[holder].size, FREE_SIZE)
                holder.read_on()

    @property
    def _has_room(self) -> bool:
        return self.size + FREE_SIZE <= self._limit

    def _set_share(self, holder: Holder, size: int, now: float) -> None:
        share = self._shares.get(holder)
        if share is not None:
            self.size -= share.size
        self.size += size
        if share is not None and share.progress_size <= size < share.progress_size + FREE_SIZE:
            # It keeps its place.
            self._shares[holder] = share._replace(size=size)
        else:
            self._shares.pop(holder, None)
            self._shares[holder] = _Share(size, size, now)

    def _recount(self, but: Optional[Holder] = None) -> None:
        """Look up what everybody holds, ``but`` the one that has just told it."""
        for holder, share in tuple(self._shares.items()):
            if holder is not but:
                self._update(holder, share)

    def _update(self, holder: Holder, share: _Share) -> None:
        size = holder.held_size
        if not size:
            self.forget(holder)
        elif size != share.size:
            self.size += size - share.size
            self._shares[holder] = share._replace(size=size)

    def _give_up_stalled(self, now: float, but: Optional[Holder] = None) -> None:
        """Give up what makes no progress though it may, the stalest first, until there is room."""
        for holder, share in tuple(self._shares.items()):
            if self._has_room or now - share.progress_at < STALL_TIME:
                return
            if holder.give_up is not None and holder is not but and holder not in self._waiting:
                self._give_up(holder, holder.give_up)

    def _break_deadlock(self) -> None:
        """If messages in progress wait for each other, give up the one that waits for the longest."""
        if self._has_room:
            return
        waiting = [(holder, holder.give_up) for holder in self._waiting if holder.give_up is not None]
        if sum(self._shares[holder].size for holder, _ in waiting) > self._limit // 2:
            self._give_up(*waiting[0])

    def _give_up(self, holder: Holder, give_up: Callable[[], None]) -> None:
        self._waiting.pop(holder, None)
        give_up()
        share = self._shares.get(holder)
        if share is not None:
            # The application goes on, and has not taken what is queued.
            self._update(holder, share)
