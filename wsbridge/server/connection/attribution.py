"""Whose application has raised what came out of the event loop.

asyncio lets SystemExit and KeyboardInterrupt out of every task and callback.
Those that an application starts inherit its context, which names its exchange.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, List, Optional

if TYPE_CHECKING:
    from .exchange import Exchange

__all__ = ["Claim", "find_exchange"]

# In a list, which is emptied at the end: a task that goes on keeps its context, and not the connection.
_claimed: ContextVar[List[Exchange]] = ContextVar("wsbridge_exchange")


class Claim:
    """Made in the context of an application: what it starts is ``exchange``'s from now on."""

    __slots__ = ("_claimed",)

    def __init__(self, exchange: Exchange) -> None:
        self._claimed = [exchange]
        _claimed.set(self._claimed)

    def release(self) -> None:
        """Nothing is its any more."""
        self._claimed.clear()


def find_exchange(error: BaseException) -> Optional[Exchange]:
    """Whose task or callback has raised ``error``; None where it is nobody's, or was raised in uvloop."""
    traceback = error.__traceback__
    while traceback is not None:
        # asyncio runs each callback, and each step of a task, through the `_run` of a handle.
        handle = traceback.tb_frame.f_locals.get("self")
        context = getattr(handle, "_context", None) if isinstance(handle, asyncio.Handle) else None
        if context is not None:
            return next(iter(context.get(_claimed, ())), None)
        traceback = traceback.tb_next
    return None
