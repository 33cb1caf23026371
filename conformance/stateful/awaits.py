"""Where tasks are cancelled: the awaits of a connection in wsbridge, and how often a task stood there."""

from __future__ import annotations

import ast
import asyncio
import inspect
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import wsbridge

from .notes import tally

PACKAGE = Path(wsbridge.__file__).resolve().parent

# What needs listening sockets, signals or an application's lifespan is no part of a connection.
OUTSIDE = ("asgi/lifespan.py", "server/server.py", "server/listening/unix_socket.py")


class WatchedTask(asyncio.Task):  # type: ignore[type-arg]
    """Counts its cancellations, and in the tally the places where it stands."""

    cancels = 0

    def cancel(self, *args: Any, **kwargs: Any) -> bool:
        places = [] if self.done() else list(locate(self.get_coro()))
        is_cancelled = super().cancel(*args, **kwargs)
        self.cancels += is_cancelled
        if is_cancelled:
            tally.update(("cancellations", *place) for place in places)
        return is_cancelled


def locate(coroutine: Any) -> Iterator[Tuple[str, int]]:
    """Where in wsbridge a coroutine waits: its own file and line, and those of what it awaits."""
    while inspect.iscoroutine(coroutine):
        frame = coroutine.cr_frame
        if frame is None or inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
            return
        path = Path(frame.f_code.co_filename)
        if PACKAGE in path.parents:
            yield str(path.relative_to(PACKAGE)), frame.f_lineno
        coroutine = coroutine.cr_await


def count_awaits() -> List[Tuple[str, str, int]]:
    """Every await with its place, its line, and how many tasks were cancelled there."""
    found = []
    for path in sorted([*PACKAGE.glob("asgi/*.py"), *PACKAGE.glob("server/**/*.py")]):
        name, text = str(path.relative_to(PACKAGE)), path.read_text("utf-8")
        if name in OUTSIDE:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.Await, ast.AsyncWith, ast.AsyncFor)):
                # A frame may stand at any line of an await, but only at the first one of a block.
                last = (node.end_lineno if isinstance(node, ast.Await) else node.lineno) or node.lineno
                count = sum(tally["cancellations", name, line] for line in range(node.lineno, last + 1))
                found.append((f"{name}:{node.lineno}", text.splitlines()[node.lineno - 1].strip(), count))
    return found
