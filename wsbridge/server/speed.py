"""`SPEED`: `fast.Fast` if that folder exists, else `Plain`. No other module imports from `fast`."""

from __future__ import annotations

import asyncio
from importlib import import_module

from .plain import Plain

__all__ = ["SPEED", "new_event_loop"]


def _choose() -> Plain:
    # Not __package__, which is None in a zip on Python 3.9.
    name = f"{__name__.rpartition('.')[0]}.fast"
    try:
        chosen: Plain = import_module(name).Fast()
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return Plain()
    return chosen


SPEED = _choose()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The fastest event loop for a `Server`: a ``loop_factory`` for `asyncio.run` (Python 3.12).

    If a policy other than asyncio's own was chosen, or the system has no
    epoll, the loop is that of `asyncio.new_event_loop`.
    """
    return SPEED.new_event_loop()
