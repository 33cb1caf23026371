"""Making glibc's malloc keep freed blocks, so that large messages find their memory ready."""

from __future__ import annotations

import sys

__all__ = ["keep_freed_blocks"]

# Bytes. malloc gives freed blocks of 128 KiB and more back to the system, and for the next large message the
# kernel clears new pages, one page fault each.
KEPT_SIZE = 4 * 1024 * 1024


def keep_freed_blocks() -> None:
    """Let malloc use freed blocks of up to `KEPT_SIZE` bytes again, in the whole process.

    It keeps blocks as large as the largest that it was ever given back; this
    one is of pages that are never touched. Twice as much, 8 MiB, may then stay
    at the end of a heap. Nothing happens with another malloc, or where one of
    its limits is set (MALLOC_TRIM_THRESHOLD_ and its like, GLIBC_TUNABLES);
    on 32 bits it keeps 512 KiB at most. PyPy would touch the pages.
    """
    if sys.implementation.name == "cpython":
        bytes(KEPT_SIZE)
