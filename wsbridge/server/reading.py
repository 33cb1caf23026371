"""What transports need to be asked for with care: how much to read at once, to pause, what is unsent."""

from __future__ import annotations

import asyncio
import contextlib

__all__ = ["READ_SIZE", "get_unsent_size", "limit_reads", "pause_reading", "resume_reading"]

# A socket allocates what may be read at once, and gives back what was not filled; from 128 KiB on malloc
# asks the system for it each time, unless `keep_freed_blocks` is heard, and asyncio reads 256. With less a
# server with one connection needs 3 system calls less and 25 % less time for a message of 125 bytes, one with
# a hundred connections half the time for 1 KiB, and 18 % less for 64 KiB; 1 MiB takes as long as before
# (CPython 3.11, glibc).
READ_SIZE = 120 * 1024


def limit_reads(transport: asyncio.BaseTransport) -> None:
    """Lower asyncio's socket transports to `READ_SIZE` a read; TLS, other loops and smaller sizes stay."""
    if getattr(transport, "max_size", 0) > READ_SIZE:
        transport.max_size = READ_SIZE  # type: ignore[attr-defined]


# These raise AttributeError in a TLS transport that was closed or lost, before CPython 3.11.


def pause_reading(transport: asyncio.Transport) -> None:
    """Let a transport read no more, where it still does."""
    with contextlib.suppress(AttributeError):
        transport.pause_reading()


def resume_reading(transport: asyncio.Transport) -> None:
    """Let a transport read on, where it still can."""
    with contextlib.suppress(AttributeError):
        transport.resume_reading()


def get_unsent_size(transport: asyncio.Transport) -> int:
    """How many bytes were written and not yet sent."""
    with contextlib.suppress(AttributeError):
        return transport.get_write_buffer_size()
    return 0
