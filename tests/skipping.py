"""An event loop that does not wait: the time that it would have slept has passed."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import unittest
from typing import Any, Callable, Coroutine, Iterator, List, Optional, Tuple, TypeVar
from unittest import mock

from .doubles import Clock

__all__ = ["SkippingCase", "SkippingLoop", "make_loops", "pass_time", "run_skipping"]

T = TypeVar("T")

# Seconds in which what was sent to a socket of this process arrives.
GRACE = 0.001


class SkippingSelector(selectors.SelectSelector):
    """Advances ``clock`` by what it would have waited where nothing is ready; without a limit it waits."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select()
        # Where nothing but the loop's own pipe is watched, nothing is under way.
        grace = GRACE if len(self.get_map()) > 1 else 0
        ready = super().select(min(max(timeout, 0), grace))
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


@contextlib.contextmanager
def make_loops(new_event_loop: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[None]:
    """Inside, this makes the loops that asyncio makes, unittest's among them."""
    with contextlib.ExitStack() as stack:
        for module in (asyncio, asyncio.events):
            stack.enter_context(mock.patch.object(module, "new_event_loop", new_event_loop))
        yield


class SkippingCase(unittest.IsolatedAsyncioTestCase):
    """Mixed into a case, whose tests run in a `SkippingLoop` each."""

    def run(self, result: Optional[unittest.TestResult] = None) -> Any:
        with make_loops(SkippingLoop):
            return super().run(result)

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SkippingLoop)
        # Time that was skipped is not worth a line of the debug mode that tests run in.
        loop.set_debug(False)
        self.loop = loop


async def pass_time(seconds: float) -> None:
    """Let this time pass in a `SkippingLoop`, and everything that is due in it happen."""
    if not isinstance(asyncio.get_running_loop(), SkippingLoop):
        raise RuntimeError("a test that waits for time to pass")
    await asyncio.sleep(seconds)


def run_skipping(coroutine: Coroutine[Any, Any, T]) -> Tuple[T, float]:
    """The coroutine's result, and the seconds that it took by its loop's clock."""
    loop = SkippingLoop()
    begun = loop.time()
    try:
        return loop.run_until_complete(coroutine), loop.time() - begun
    finally:
        loop.close()
