"""`PollerEventLoop`: asyncio's event loop, on Linux with our `Poller` in it."""

from __future__ import annotations

import asyncio
import selectors
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .poller import Poller

__all__ = ["PollerEventLoop", "new_event_loop"]


class PollerEventLoop(asyncio.SelectorEventLoop):
    """A `Server` registers its sockets with ``poller``, except with TLS or in debug mode."""

    def __init__(self, poller: Poller) -> None:
        super().__init__(poller)
        self.poller = poller
        poller.serve(self)

    def run_forever(self) -> None:
        try:
            super().run_forever()
        finally:
            self.poller.send_collected()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A `PollerEventLoop`; asyncio's own loop if the system has no epoll or another policy was chosen."""
    # asyncio's choice: it has tried whether the system lets it use the epoll that it has.
    has_epoll = getattr(selectors, "EpollSelector", None) is selectors.DefaultSelector
    if not has_epoll or not _has_default_policy():
        return asyncio.new_event_loop()
    from .poller import Poller

    return PollerEventLoop(Poller())


def _has_default_policy() -> bool:
    with warnings.catch_warnings():
        # Deprecated since Python 3.14; Python 3.16 has no policies.
        warnings.simplefilter("ignore", DeprecationWarning)
        default = getattr(asyncio, "DefaultEventLoopPolicy", None)
        return default is None or type(asyncio.get_event_loop_policy()) is default
