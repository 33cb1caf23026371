"""Busy polling: where messages come in quick succession, to ask again is cheaper than to fall asleep.

Who sends to a process that sleeps has to wake it, on another core most of the time: 10 us and more of both
their time, and of the message's. With one connection that sends a message when it has the answer to the last
(125 bytes of text, CPython 3.11, a virtual machine of two cores) a round trip takes 36 us and not 70, and
where others keep the cores from their own sleep 28 and not 39; the server needs 0.8 times the processor's
time for it, polling included.

Only waits that end within ``seconds`` are worth it. They are foretold from the last ones: a server whose
clients are slower, or silent, does not poll but once in a while, and one that is busy never waits. For
clients that take 40 us for themselves 100 us of polling instead of the default 50 bring 1.6 times as many
messages, and cost 1.5 times the processor's time for each; 200 bring no more.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any, Callable, List

__all__ = ["BusyPoll", "BusyTurns"]

# So many short waits in a row are expected to be followed by one more: a client that keeps to no pace can
# cost one polling in vain for every 8 of its messages, 6 us each. Twice as many each time that the
# expectation was wrong, one less when it was right.
FEW, MANY = 8, 1024

# A turn with nothing to do takes 2 us on uvloop, 5 on asyncio, and over TLS (12 were too few there). One that
# took so long was held up by others who want the core, or the GIL, and would get it sooner if we slept.
SLOW_TURN = 20e-6

# In so many turns a read is still answered.
TURNS_OF_A_READ = 4


class _Expectation:
    """Whether the next wait will be short."""

    __slots__ = ("_clock", "_in_a_row", "_seconds", "_wanted")

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._in_a_row = 0
        self._wanted = FEW

    def _is_short(self) -> bool:
        return self._in_a_row >= self._wanted

    def _note_wait(self, seconds: float) -> None:
        # As much again is for what polling would have saved.
        self._in_a_row = self._in_a_row + 1 if seconds <= 2 * self._seconds else 0

    def _was_right(self) -> None:
        self._wanted = max(FEW, self._wanted - 1)

    def _was_wrong(self) -> None:
        self._in_a_row = 0
        self._wanted = min(2 * self._wanted, MANY)


class BusyPoll(_Expectation):
    """A selector's ``poll``, that is asked for ``seconds`` before it may sleep."""

    __slots__ = ("_poll",)

    def __init__(
        self,
        poll: Callable[[float, int], List[Any]],
        seconds: float,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        super().__init__(seconds, clock)
        self._poll = poll

    def poll(self, timeout: float, max_events: int) -> List[Any]:
        """As `select.epoll.poll`; ``timeout`` is in seconds, and for ever below 0."""
        if 0 <= timeout <= self._seconds:
            return self._poll(timeout, max_events)
        begun = self._clock()
        if not self._is_short():
            ready = self._poll(timeout, max_events)
            if ready:
                self._note_wait(self._clock() - begun)
            return ready
        while self._clock() - begun <= self._seconds:
            ready = self._poll(0, max_events)
            if ready:
                self._was_right()
                return ready
        self._was_wrong()
        # All of it: epoll counts milliseconds.
        return self._poll(timeout, max_events)


class BusyTurns(_Expectation):
    """For other loops, while one connection has all the messages: with a callback to run none sleeps."""

    __slots__ = ("_begun", "_is_turning", "_loop", "_turned", "_turns")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        super().__init__(seconds, clock)
        self._loop = loop
        self._is_turning = False
        # So many turns belong to the last read.
        self._turns = 0
        # When it was; while turning, when they were over.
        self._begun = 0.0
        self._turned = 0.0

    def note_read(self) -> None:
        """A read has woken an application."""
        self._turns = TURNS_OF_A_READ
        if self._is_turning:
            self._was_right()
            return
        now = self._clock()
        # From read to read: half of it is the server's and the client's own work.
        self._note_wait((now - self._begun) / 2)
        self._begun = now
        if self._is_short():
            self._is_turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        now = self._clock()
        took, self._turned = now - self._turned, now
        if self._turns:
            self._turns -= 1
            self._begun = now
        elif took > SLOW_TURN or now - self._begun > self._seconds:
            self._is_turning = False
            self._was_wrong()
            return
        self._loop.call_soon(self._turn)
