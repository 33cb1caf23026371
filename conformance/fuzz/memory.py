"""Memory: the peak over the start for every case, which must not be above 4 times the limit in force.

Of a text that is not ASCII it must not be above what CPython's own decoder needs, see `memory_cases.ASTRALS`.
Peaks are tracemalloc's, which sees what Python and zlib allocate; the pieces that are fed were there before,
as what a socket hands over is. What comes out is dropped before the next piece. One case is also measured
from outside, as the resident size of a process of its own.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import tracemalloc
from dataclasses import dataclass
from typing import List, Optional, Sequence

from wsbridge.protocols.errors import WSBridgeError

from ..lib.environment import ROOT, say_line
from .findings import Finding
from .memory_cases import CASES, Case

RESIDENT = "binary frame"


@dataclass
class Peak:
    """Bytes held at most while the pieces were fed; `resident` is a process's own measure of it, if taken."""

    case: Case
    limit: int
    peak: int
    resident: Optional[int] = None

    @property
    def ratio(self) -> float:
        return self.peak / self.limit

    def to_finding(self) -> Optional[Finding]:
        if self.ratio <= self.case.allowed:
            return None
        text = f"peak {self.peak:,} bytes, {self.ratio:.2f} times {self.case.limit_name} ({self.limit:,})"
        again = f"python3 conformance/run.py fuzz --only memory --target '{self.case.name}'"
        return Finding(
            "memory", self.case.name, f"memory at most {self.case.allowed:g} times the limit", text, "", again
        )


def run_all(cases: Sequence[Case]) -> List[Peak]:
    started = time.monotonic()
    peaks = []
    for case in cases:
        peaks.append(measure(case))
        if case.name == RESIDENT:
            peaks[-1].resident = measure_resident(case.name)
        say_line(f"fuzz: memory {len(peaks)}/{len(cases)}")
    worst = max(peaks, key=lambda peak: peak.ratio / peak.case.allowed)
    said = f"fuzz: memory: {len(peaks)} cases in {time.monotonic() - started:.0f} s, nearest to its bound"
    say_line(f"{said}: {worst.ratio:.2f} of {worst.case.allowed:g} ({worst.case.name})", final=True)
    return peaks


def measure(case: Case) -> Peak:
    pieces = case.build(case.limit)
    # Once before, so that what is made on first use (tables, zlib's module) is not the input's doing.
    feed_all(case, pieces[:1])
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        feed_all(case, pieces)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return Peak(case, case.limit, peak - before)


def feed_all(case: Case, pieces: Sequence[bytes]) -> None:
    feed = case.open()
    try:
        for piece in pieces:
            feed(piece)
    except WSBridgeError:
        pass


_RESIDENT_SCRIPT = """
import resource, sys
from conformance.fuzz.memory import feed_all
from conformance.fuzz.memory_cases import CASES
case = next(case for case in CASES if case.name == sys.argv[1])
pieces = case.build(case.limit)
feed_all(case, pieces[:1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
feed_all(case, pieces)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def measure_resident(name: str) -> Optional[int]:
    """By how much a process grows over its highest size before; None where that cannot be measured.

    Its highest size before includes building the pieces, so that this is a lower bound.
    """
    command = [sys.executable, "-c", _RESIDENT_SCRIPT, name]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=120)
    return int(done.stdout) if done.returncode == 0 else None


__all__ = ["CASES", "Peak", "measure", "run_all"]
