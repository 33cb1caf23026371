"""The time of a server: for deadlines, and for the Date header."""

from __future__ import annotations

import asyncio
import functools
import time
from typing import Callable

from ..asgi.response import build_date

__all__ = ["choose_clock", "get_date", "get_no_date"]

# Seconds; a coarser clock is not used. Before Python 3.13 the loop's clock on Windows has steps of 15.6 ms:
# the latency of most pings would be 0.
COARSE = 1e-3

# Formatted once a second.
_build_date = functools.lru_cache(maxsize=1)(build_date)


def choose_clock(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """A monotonic clock: the loop's, unless it is too coarse."""
    if time.get_clock_info("monotonic").resolution > COARSE:
        return time.perf_counter
    # What asyncio's own calls, which takes a quarter of the time.
    is_asyncio = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
    return time.monotonic if is_asyncio else loop.time


def get_date() -> bytes:
    """The value of a Date header now."""
    return _build_date(int(time.time()))


def get_no_date() -> None:
    """None: the server sends no Date header."""
    return None
