"""What the system's allocator is told once, so that large messages are not paid for twice."""

from __future__ import annotations

__all__ = ["KEPT_SIZE", "keep_freed_blocks"]

# glibc gives blocks of 128 KiB and more back to the system when they are freed, and the next message has the
# kernel clear new pages, one fault each: 250 of them, and 0.7 of 2.4 ms, for 1 MiB of text and its echo. The
# limit rises to the largest block that was freed; twice as much may then stay at the end of the heap.
KEPT_SIZE = 4 * 1024 * 1024


def keep_freed_blocks() -> None:
    """Let malloc reuse blocks of up to `KEPT_SIZE` bytes, for the whole process.

    At most 8 MiB that are free stay with the process for it. No page of the
    block that says so is ever touched. Other allocators take no notice, nor
    does glibc where MALLOC_MMAP_THRESHOLD_ or MALLOC_TRIM_THRESHOLD_ is set.
    """
    bytes(KEPT_SIZE)
