"""`new_event_loop`: asyncio's event loop, on Linux with our `Poller` in it."""

from __future__ import annotations

import asyncio
import select
import warnings
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

    It is what `asyncio.new_event_loop` makes where another policy than
    asyncio's own was chosen, in asyncio's debug mode, whose log would not
    see what is slow, and where the system has no epoll.
    """
    loop = asyncio.new_event_loop()
    if loop.get_debug() or not _has_default_policy() or not hasattr(select, "epoll"):
        return loop
    loop.close()
    from .poller import Poller

    return EventLoop(Poller())


def _has_default_policy() -> bool:
    with warnings.catch_warnings():
        # Python 3.14 and later: there will be no others.
        warnings.simplefilter("ignore", DeprecationWarning)
        return type(asyncio.get_event_loop_policy()) is asyncio.DefaultEventLoopPolicy
