"""An event loop whose time and turns are in the machine's hand, and that knows where tasks are cancelled."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import selectors
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import wsbridge

__all__ = ["ManualLoop", "Place", "find_awaits"]

PACKAGE = Path(wsbridge.__file__).resolve().parent
BUSY = 20_000

# A file below wsbridge/ and a line in it.
Place = Tuple[str, int]


class ManualLoop(asyncio.SelectorEventLoop):
    """Runs as many turns as it is told to, stops where it would sleep; only `advance` moves its clock."""

    def __init__(self, note_cancellation: Callable[[Place], None]) -> None:
        self._now = 1000.0
        self._selector_stub = StoppingSelector(self)
        super().__init__(self._selector_stub)
        #: What the loop was told by `call_exception_handler`: nothing may be.
        self.complaints: List[str] = []
        self.note_cancellation = note_cancellation
        self.set_exception_handler(self._complain)
        self.set_task_factory(build_task)

    def _complain(self, loop: asyncio.AbstractEventLoop, context: Dict[str, Any]) -> None:
        self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    def time(self) -> float:
        return self._now

    def turn(self) -> None:
        """Run what is ready now, once."""
        self.call_soon(self.stop)
        self.run_forever()

    def settle(self) -> Optional[float]:
        """Run until nothing is ready; how long it would sleep for its next timer, None where it has none."""
        self._selector_stub.turns = 0
        self.run_forever()
        return self._selector_stub.sleep

    def advance(self, seconds: float, tick: Callable[[], None]) -> None:
        """Let time pass from timer to timer, ``tick`` behind each."""
        end = self._now + seconds
        while True:
            sleep = self.settle()
            tick()
            sleep = self.settle()
            if sleep is None or self._now + sleep >= end:
                self._now = end
                self.settle()
                return
            self._now += sleep

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """What is done inside comes between two turns, as from the selector."""
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)


class StoppingSelector(selectors.BaseSelector):
    """Has no files; where the loop wants to sleep, it is stopped."""

    def __init__(self, loop: ManualLoop) -> None:
        self._loop = loop
        self.sleep: Optional[float] = None
        self.turns = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        raise KeyError(fileobj)

    def get_map(self) -> Any:
        return {}

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        if self.turns > BUSY:
            raise AssertionError(f"busy loop: still not idle after {BUSY} turns")
        if timeout is None or timeout > 0:
            self.sleep = timeout
            self._loop.stop()
        return []


class WatchedTask(asyncio.Task):  # type: ignore[type-arg]
    """Tells the loop where it stands when it is cancelled."""

    #: How often it was cancelled.
    cancels = 0

    def cancel(self, *args: Any, **kwargs: Any) -> bool:
        places = [] if self.done() else list(locate(self.get_coro()))
        is_cancelled = super().cancel(*args, **kwargs)
        loop = self.get_loop()
        self.cancels += is_cancelled
        if is_cancelled and isinstance(loop, ManualLoop):
            for place in places:
                loop.note_cancellation(place)
        return is_cancelled


def build_task(loop: Any, coro: Any, **kwargs: Any) -> WatchedTask:
    return WatchedTask(coro, loop=loop, **kwargs)


def locate(coroutine: Any) -> Iterator[Place]:
    """Where in wsbridge a coroutine waits: its own line, and those of what it awaits."""
    while inspect.iscoroutine(coroutine):
        frame = coroutine.cr_frame
        if frame is None or inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
            return
        path = Path(frame.f_code.co_filename)
        if PACKAGE in path.parents:
            yield str(path.relative_to(PACKAGE)), frame.f_lineno
        coroutine = coroutine.cr_await


def find_awaits() -> Dict[Place, Tuple[int, str]]:
    """Where coroutines of the two upper floors can be cancelled: {place: (last line, source)}."""
    found = {}
    for path in sorted([*PACKAGE.glob("asgi/*.py"), *PACKAGE.glob("server/*.py")]):
        text = path.read_text("utf-8")
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.Await, ast.AsyncWith, ast.AsyncFor)):
                first = node.lineno
                last = (node.end_lineno if isinstance(node, ast.Await) else node.lineno) or first
                found[str(path.relative_to(PACKAGE)), first] = last, lines[first - 1].strip()
    return dict(sorted(found.items()))
