"""The last file descriptors, which are kept for clients that are refused because all others are in use.

Without them a server cannot even accept whom it has to refuse: clients wait in the backlog until they give
up, and every one that has must be accepted before the next that has not.
"""

from __future__ import annotations

import asyncio
from math import inf

__all__ = ["HINT", "OUT_OF_DESCRIPTORS", "find_reserved", "get_descriptor"]

#: What the peer is told, and how the log goes on.
OUT_OF_DESCRIPTORS = "the server is out of file descriptors"
HINT = "raise the limit of open files: ulimit -n, or LimitNOFILE= of systemd"

# Descriptors, or an eighth of a low limit: a few times what is accepted in one turn of the loop.
RESERVE = 64


def find_reserved() -> float:
    """The lowest of the reserved descriptors; infinity if the system tells no limit.

    The system gives out the lowest one that is free: if it is this or a higher one, all others are in use.
    """
    try:
        import resource
    except ImportError:
        # Windows, whose sockets are no small numbers.
        return inf
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return inf if limit == resource.RLIM_INFINITY else limit - min(RESERVE, limit // 8)


def get_descriptor(transport: asyncio.BaseTransport) -> int:
    """The descriptor of a transport's socket; -1 if it has none."""
    handle = transport.get_extra_info("socket")
    return -1 if handle is None else int(handle.fileno())
