"""Closing a socket by a reset, which no client takes for the end of a response."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys

__all__ = ["set_reset"]

# The value of SO_LINGER: two ints; on Windows two shorts.
_SO_LINGER = struct.Struct("hh" if sys.platform == "win32" else "ii")


def set_reset(transport: asyncio.Transport, resets: bool) -> None:
    """Set whether the connection is reset when its socket is closed, by whatever: a killed process too.

    Unix sockets cannot be reset.
    """
    handle = transport.get_extra_info("socket")
    if handle is not None:
        # The peer may have closed the connection, and asyncio the socket.
        with contextlib.suppress(OSError):
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _SO_LINGER.pack(resets, 0))
