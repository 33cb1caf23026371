"""`SPEED`: `fast` where the folder is there, else `Plain`. No other module imports from `fast`."""

from __future__ import annotations

import asyncio
from importlib import import_module

from .plain import Plain

__all__ = ["SPEED", "new_event_loop"]


def _choose() -> Plain:
    # Not __package__, which is None here in Python 3.9 when we are in a zip.
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
    """The loop in which a `Server` has least to do: a ``loop_factory`` for `asyncio.run` (Python 3.12).

    It is what `asyncio.new_event_loop` makes where another policy than
    asyncio's own was chosen, or the system has no epoll.
    """
    return SPEED.new_event_loop()
