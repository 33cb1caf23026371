"""What asyncio's transports do differently by version: read sizes, pausing and resuming, unsent data."""

from __future__ import annotations

import asyncio

__all__ = ["READ_SIZE", "get_unsent_size", "limit_reads", "pause_reading", "resume_reading"]

# Bytes. CPython allocates this size for each read, and gives back what was not filled. asyncio reads 256 KiB,
# for which malloc makes three system calls; below 128 KiB it makes none, and large messages are as fast.
READ_SIZE = 120 * 1024


def limit_reads(transport: asyncio.BaseTransport) -> None:
    """Make asyncio's socket transports read `READ_SIZE` at most; any other transport stays as it is."""
    if getattr(transport, "max_size", 0) > READ_SIZE:
        transport.max_size = READ_SIZE  # type: ignore[attr-defined]


# These raise AttributeError in a TLS transport that was closed or lost, before CPython 3.11.


def pause_reading(transport: asyncio.Transport) -> None:
    """Pause a transport, if it still reads."""
    try:  # noqa: SIM105 (slower than the call)
        transport.pause_reading()
    except AttributeError:
        pass


def resume_reading(transport: asyncio.Transport) -> None:
    """Resume a transport, if it still can read."""
    try:  # noqa: SIM105 (slower than the call)
        transport.resume_reading()
    except AttributeError:
        pass


def get_unsent_size(transport: asyncio.Transport) -> int:
    """The size of the write buffer, in bytes."""
    try:
        return transport.get_write_buffer_size()
    except AttributeError:
        return 0
