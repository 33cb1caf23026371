"""An event loop that does not wait: the time that it would have slept has passed."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any, Callable, Coroutine, List, Optional, Tuple, TypeVar

from .doubles import Clock

__all__ = ["SkippingLoop", "run_skipping"]

T = TypeVar("T")


class SkippingSelector(selectors.SelectSelector):
    """Advances ``clock`` by what it would have waited where nothing is ready; without a limit it waits."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select()
        ready = super().select(0)
        if not ready:
            self.clock.advance(max(timeout, 0))
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """asyncio's own, whose ``time`` goes on when there is nothing to do."""

    def __init__(self, selector: Callable[[Clock], SkippingSelector] = SkippingSelector) -> None:
        self.clock = Clock()
        super().__init__(selector(self.clock))

    def time(self) -> float:
        return self.clock()


def run_skipping(coroutine: Coroutine[Any, Any, T]) -> Tuple[T, float]:
    """The coroutine's result, and the seconds that it took by its loop's clock."""
    loop = SkippingLoop()
    begun = loop.time()
    try:
        return loop.run_until_complete(coroutine), loop.time() - begun
    finally:
        loop.close()
