"""Reading from transports, and what is unsent in them, with care for asyncio's differences."""

from __future__ import annotations

import asyncio
import contextlib

__all__ = ["READ_SIZE", "get_unsent_size", "limit_reads", "pause_reading", "resume_reading"]

# Bytes. CPython allocates the whole size for each read and gives back what was not filled. From 128 KiB on
# malloc asks the system for it each time (unless `keep_freed_blocks` has taken effect), and asyncio reads
# 256 KiB. With less, short messages save three system calls, and large ones take as long as before.
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
