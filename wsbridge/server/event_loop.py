"""`new_event_loop`: asyncio's event loop, on Linux with our `Poller` in it."""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .poller import Poller

__all__ = ["EventLoop", "new_event_loop"]


class EventLoop(asyncio.SelectorEventLoop):
    """asyncio's own, in which `Server` leaves its sockets to ``poller``."""

    def __init__(self, poller: Poller) -> None:
        super().__init__(poller)
        self.poller = poller


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The loop in which a `Server` has least to do: a ``loop_factory`` for `asyncio.run` (Python 3.12).

    Where the policy makes another loop than asyncio's own, or the system has
    no epoll, it is what `asyncio.new_event_loop` makes.
    """
    loop = asyncio.new_event_loop()
    if type(loop) is not asyncio.SelectorEventLoop or not hasattr(select, "epoll"):
        return loop
    loop.close()
    from .poller import Poller

    return EventLoop(Poller())
