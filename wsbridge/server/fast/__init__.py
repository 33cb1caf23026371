"""Speed, and nothing else: without this folder a server does the same, more slowly.

The rest of the server sees only `Fast`, as `speed.SPEED`.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from typing import TYPE_CHECKING, Callable, Optional

from ..plain import Listener, Plain, Waker
from .event_loop import PollerEventLoop, new_event_loop
from .malloc import keep_freed_blocks
from .waking import CollectingWaker

if TYPE_CHECKING:
    from ..service import Service

__all__ = ["Fast"]


class Fast(Plain):
    """An event loop with our own poller, sockets and wake-ups in it."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return new_event_loop()

    def keep_freed_blocks(self) -> None:
        keep_freed_blocks()

    def build_waker(self, loop: asyncio.AbstractEventLoop) -> Waker:
        # uvloop swallows what a read raises, SystemExit included, and reads one socket many times in a row:
        # an application that runs inside the read would starve the other connections.
        if not isinstance(loop, asyncio.BaseEventLoop):
            return super().build_waker(loop)
        return CollectingWaker(loop, loop.poller if isinstance(loop, PollerEventLoop) else None)

    def find_listener(
        self, loop: asyncio.AbstractEventLoop
    ) -> Optional[Callable[[Service, socket.socket], Listener]]:
        # In debug mode asyncio's transports look for mistakes that ours do not find.
        if not isinstance(loop, PollerEventLoop) or loop.get_debug():
            return None
        from . import listener

        return functools.partial(listener.Listener, loop.poller)
