"""`SPEED`: `fast.Fast` if that folder exists, else `Plain`. No other module imports from `fast`."""

from __future__ import annotations

import asyncio

from .plain import Plain

__all__ = ["SPEED", "new_event_loop"]


def _choose() -> Plain:
    try:
        # An import statement, which programs that freeze others find.
        from .fast import Fast
    except ModuleNotFoundError as error:
        # Not __package__, which is None in a zip on Python 3.9.
        if error.name != f"{__name__.rpartition('.')[0]}.fast":
            raise
        return Plain()
    return Fast()


SPEED = _choose()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The fastest event loop for a `Server`: a ``loop_factory`` for `asyncio.run` (Python 3.12).

    If a policy other than asyncio's own was chosen, or the system has no
    epoll, the loop is that of `asyncio.new_event_loop`.
    """
    return SPEED.new_event_loop()
