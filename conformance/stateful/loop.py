"""An event loop whose time and turns are in the machine's hand."""

from __future__ import annotations

import asyncio
import itertools
import math
import selectors
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from .awaits import WatchedTask

# Turns after which a loop that is never idle counts as busy.
BUSY = 20_000


class Moment(NamedTuple):
    """When something happened; many moments, one behind the other by number, may share one time."""

    number: float
    time: float

    def precedes(self, other: Moment) -> bool:
        """Whether nothing was marked between this moment and ``other``."""
        return other.number - self.number == 1


NEVER = Moment(math.inf, math.inf)


class ManualLoop(asyncio.SelectorEventLoop):
    """Runs as many turns as it is told to, and stops where it would sleep; only `advance` moves its clock.

    Between two turns it counts as the running loop too: what is done then comes as from its selector.
    """

    def __init__(self) -> None:
        self._now = 1000.0
        self._numbers = itertools.count(1)
        self._stub = StoppingSelector(self)
        super().__init__(self._stub)
        #: What the loop was told by `call_exception_handler`: nothing may be.
        self.complaints: List[str] = []
        self.set_exception_handler(self._complain)
        self.set_task_factory(lambda loop, coro, **options: WatchedTask(coro, loop=loop, **options))
        asyncio._set_running_loop(self)

    def _complain(self, loop: asyncio.AbstractEventLoop, context: Dict[str, Any]) -> None:
        self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    def time(self) -> float:
        return self._now

    def mark(self) -> Moment:
        """A new moment: now, behind all that were marked before."""
        return Moment(next(self._numbers), self._now)

    def run_forever(self) -> None:
        asyncio._set_running_loop(None)
        try:
            super().run_forever()
        finally:
            asyncio._set_running_loop(self)

    def turn(self) -> None:
        """Run what is ready now, once."""
        self.call_soon(self.stop)
        self.run_forever()

    def settle(self) -> Optional[float]:
        """Run until nothing is ready; how long it would sleep for its next timer, None where it has none."""
        self._stub.turns = 0
        self.run_forever()
        return self._stub.sleep

    def advance(self, seconds: float, tick: Callable[[], None]) -> None:
        """Let time pass from timer to timer, ``tick`` behind each."""
        end = self._now + seconds
        while True:
            self.settle()
            tick()
            sleep = self.settle()
            if sleep is None or self._now + sleep >= end:
                self._now = end
                self.settle()
                return
            self._now += sleep

    def close(self) -> None:
        super().close()
        asyncio._set_running_loop(None)


class StoppingSelector(selectors.SelectSelector):
    """No file is ever ready; where the loop wants to sleep, it is stopped."""

    def __init__(self, loop: ManualLoop) -> None:
        super().__init__()
        self._loop = loop
        self.sleep: Optional[float] = None
        self.turns = 0

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        if self.turns > BUSY:
            raise AssertionError(f"busy loop: still not idle after {BUSY} turns")
        if timeout is None or timeout > 0:
            self.sleep = timeout
            self._loop.stop()
        return []
