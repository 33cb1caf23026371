"""Find the connection whose application has raised SystemExit or KeyboardInterrupt out of the event loop.

asyncio lets these two out of every task and callback. The tasks and callbacks
that an application starts inherit its context, which refers to its exchange.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, List, Optional

if TYPE_CHECKING:
    from .exchange import Exchange

__all__ = ["claim", "find_exchange"]

_claimed: ContextVar[List[Exchange]] = ContextVar("wsbridge_exchange")


def claim(exchange: Exchange) -> List[Exchange]:
    """Mark the current context, and those of the tasks and callbacks started in it, as ``exchange``'s.

    Clear the list that is returned to remove the mark.
    """
    claimed = [exchange]
    _claimed.set(claimed)
    return claimed


def find_exchange(error: BaseException) -> Optional[Exchange]:
    """The exchange whose task or callback has raised ``error``; None if there is none, or on uvloop."""
    traceback = error.__traceback__
    while traceback is not None:
        # asyncio runs each callback, and each step of a task, through the `_run` of a handle.
        handle = traceback.tb_frame.f_locals.get("self")
        context = getattr(handle, "_context", None) if isinstance(handle, asyncio.Handle) else None
        if context is not None:
            return next(iter(context.get(_claimed, ())), None)
        traceback = traceback.tb_next
    return None
