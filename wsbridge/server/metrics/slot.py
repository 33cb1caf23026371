"""`MetricsSlot`: the metrics of one worker, in memory that all workers of a supervisor share."""

from __future__ import annotations

import json
import os
import struct
from binascii import crc32
from typing import TYPE_CHECKING, Callable, Dict, Optional

if TYPE_CHECKING:
    from mmap import mmap

__all__ = ["MetricsSlot", "Snapshot", "get_slots_size"]

#: The value of each series, by its name and labels as they stand in Prometheus' text format.
Snapshot = Dict[str, float]

# Bytes for one snapshot. All the series that one can have take 73 KiB; what is never written takes no memory.
BUFFER_SIZE = 128 * 1024

# The process that has the slot, and which of its two buffers is the latest.
HEADER = struct.Struct("<QB")
PROCESS = struct.Struct("<Q")
LATEST = PROCESS.size

# Before the snapshot in a buffer: its size and its checksum.
PREFIX = struct.Struct("<II")

SLOT_SIZE = 64 + 2 * BUFFER_SIZE


def get_slots_size(workers: int) -> int:
    """The size in bytes of the memory that ``workers`` share: ``mmap.mmap(-1, get_slots_size(workers))``."""
    return workers * SLOT_SIZE


def is_alive(process: int) -> bool:
    """Whether there is such a process. Only where processes fork: on Windows this would end it."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class MetricsSlot:
    """The slot of worker ``number``, counted from 1, in ``memory`` that was made before the workers forked.

    One process writes a slot, the one that has claimed it last; all read all.
    A worker that replaces another claims the slot of its number when it listens:
    its counters begin at 0, as those of any process that is started again, and
    the other, which ends its connections, is not shown any more. A slot whose
    process is gone is left out, and may be taken back by an earlier process.

    A snapshot is written beside the one before, and then made the latest by one
    byte, so that a process that is killed while it writes leaves the other.
    The checksum is for the rest: a reader so slow that both were written
    meanwhile, and processors that do not keep the order of writes.

    ``process`` is this one's number; ``is_alive`` tells whether another lives.
    """

    def __init__(
        self,
        memory: mmap,
        number: int,
        process: Optional[int] = None,
        is_alive: Callable[[int], bool] = is_alive,
    ) -> None:
        self._memory = memory
        self._start = (number - 1) * SLOT_SIZE
        self._process = os.getpid() if process is None else process
        self._is_alive = is_alive

    def claim(self) -> None:
        """Make the slot this process's."""
        PROCESS.pack_into(self._memory, self._start, self._process)

    def write(self, snapshot: Snapshot) -> None:
        """Make ``snapshot`` the latest, unless another process has claimed the slot, and lives."""
        owner, latest = HEADER.unpack_from(self._memory, self._start)
        if owner != self._process:
            if self._is_alive(owner):
                return
            self.claim()
        data = json.dumps(snapshot).encode()
        start = self._start + _get_offset(not latest)
        self._memory[start : start + PREFIX.size + len(data)] = PREFIX.pack(len(data), crc32(data)) + data
        self._memory[self._start + LATEST] = not latest

    def read_all(self) -> Dict[Optional[int], Snapshot]:
        """The latest snapshots of the workers that live, by their number."""
        found = {
            start // SLOT_SIZE + 1: self._read(start) for start in range(0, len(self._memory), SLOT_SIZE)
        }
        return {number: snapshot for number, snapshot in found.items() if snapshot is not None}

    def _read(self, start: int) -> Optional[Snapshot]:
        owner, latest = HEADER.unpack_from(self._memory, start)
        if owner != self._process and not self._is_alive(owner):
            return None
        for which in (latest, not latest):
            at = start + _get_offset(which)
            size, checksum = PREFIX.unpack_from(self._memory, at)
            data = self._memory[at + PREFIX.size : at + PREFIX.size + min(size, BUFFER_SIZE)]
            if size and crc32(data) == checksum:
                snapshot: Snapshot = json.loads(data)
                return snapshot
        return None


def _get_offset(which: int) -> int:
    return 64 + which * BUFFER_SIZE
