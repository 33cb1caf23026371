"""`keep_freed_blocks`: make glibc's malloc reuse the memory of large messages."""

from __future__ import annotations

import sys

__all__ = ["keep_freed_blocks"]

# Bytes. malloc returns freed blocks of 128 KiB and more to the system; for the next large message the kernel
# then clears new pages, with a page fault for each.
KEPT_SIZE = 4 * 1024 * 1024


def keep_freed_blocks() -> None:
    """Make malloc reuse freed blocks of up to `KEPT_SIZE` bytes, in the whole process.

    Once a block was freed, glibc's malloc keeps blocks up to its size. So one
    block is allocated and freed; its pages are never touched. Up to 8 MiB may
    then stay unused at the end of a heap. With another malloc, or if one of
    its limits is set (MALLOC_TRIM_THRESHOLD_ and similar, GLIBC_TUNABLES),
    this does nothing; on 32-bit systems malloc keeps 512 KiB at most. Not on
    PyPy, which would touch the pages.
    """
    if sys.implementation.name == "cpython":
        bytes(KEPT_SIZE)
