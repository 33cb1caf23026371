"""Time: for every adversary the processor time at n and at 2n, whose ratio must not be above 2.5.

Seven sizes, each twice the one before, up to 16 MiB, and further where that is done too soon to be measured.
Other work on the machine can only add to a time, so the best of several interleaved rounds counts, and the
sizes of a doubling that looks bad are measured anew, alone. What is bad then as well, be it at one doubling
only, is a finding.
"""

from __future__ import annotations

import ctypes
import gc
import time
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence, Tuple

from wsbridge.protocols.errors import WSBridgeError

from ..lib.environment import say_line
from .adversaries import ADVERSARIES, KIB, MIB, Adversary
from .findings import Finding
from .processes import open_pool

# Above 2, because a byte of a large input costs more than one of a small input without being superlinear:
# caches end somewhere.
LIMIT = 2.5
# What glibc's malloc gives back to the system has to be mapped again page by page, which takes longer than
# anything else here: "zeros, inflated size" took 2.5 ns a byte at 2 MiB, 4.6 at 8 MiB with 5,400 page faults.
# <malloc.h>: the limit of free memory that is kept, and how many allocations may have a mapping of their own.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
# Every doubling from a 64th of the largest size on takes no longer than twice the largest size alone.
TOP, FURTHEST = 16 * MIB, 256 * MIB
SHARES = (64, 32, 16, 8, 4, 2, 1)
# A short run has two doublings, of the smallest size that can be measured.
SHORT_TOP, SHORT_SHARES = 16 * KIB, (4, 2, 1)
# What takes longer has no further round, for noise is short; what looked bad has some in any case.
ROUNDS, ROUNDS_SECONDS = 3, 8.0
LEAST_ANEW, MOST_ANEW, ANEW_SECONDS = 3, 9, 30.0
# Below this a measurement is one of the clock and of the caches.
SHORTEST = 0.004

# Size in bytes to the best time in seconds of processor time.
Times = Dict[int, float]


@dataclass
class Slope:
    """The best times of one adversary; `anew` are those of the sizes that looked bad, measured once more."""

    name: str
    seconds: Times
    rounds: int
    anew: Times = field(default_factory=dict)

    @property
    def ratios(self) -> Times:
        """The growth up to each size; what was measured anew is as bad as it was both times."""
        first, anew = compare(self.seconds), compare(self.anew, 0.0)
        return {size: min(ratio, anew.get(size, ratio)) for size, ratio in first.items()}

    @property
    def worst(self) -> float:
        return max(self.ratios.values(), default=0.0)

    @property
    def verdict(self) -> str:
        """linear; slope: a doubling is bad; too short: too little to see."""
        if not self.ratios:
            return "too short"
        return "slope" if self.worst > LIMIT else "linear"

    def to_finding(self) -> Optional[Finding]:
        if self.verdict != "slope":
            return None
        times, anew = describe(self.seconds), describe(self.anew)
        text = f"twice the size takes {self.worst:.2f} times as long: {times}; measured anew: {anew}"
        again = f"python3 conformance/run.py fuzz --only linear --target '{self.name}'"
        return Finding("linear", self.name, "time is linear", text, "", again)


def compare(times: Times, shortest: float = SHORTEST) -> Times:
    """The growth up to each size from half of it, without those whose time is too short to say anything."""
    return {
        size: seconds / times[size // 2]
        for size, seconds in times.items()
        if size // 2 in times and times[size // 2] >= shortest
    }


def describe(times: Times) -> str:
    return ", ".join(f"{size} bytes {seconds * 1000:.1f} ms" for size, seconds in sorted(times.items()))


def run_all(adversaries: Sequence[Adversary], is_short: bool, jobs: int) -> List[Slope]:
    """Measure all, some at a time, and then what looks bad, one after the other."""
    started = time.monotonic()
    slopes: Dict[str, Slope] = {}
    with open_pool(jobs) as pool:
        for future in as_completed([pool.submit(measure, one.name, is_short) for one in adversaries]):
            slope = future.result()
            slopes[slope.name] = slope
            left = (time.monotonic() - started) / len(slopes) * (len(adversaries) - len(slopes))
            say_line(f"fuzz: linear {len(slopes)}/{len(adversaries)}, about {left:.0f} s left")
    suspects = [slope for slope in slopes.values() if slope.worst > LIMIT]
    with open_pool(1) as pool:
        for slope, anew in zip(suspects, pool.map(measure_anew, suspects)):
            slope.anew = anew
            say_line(f"fuzz: linear: {slope.name} measured anew")
    worst = max(slopes.values(), key=lambda slope: slope.worst)
    said = f"fuzz: linear: {len(slopes)} adversaries in {time.monotonic() - started:.0f} s, worst ratio"
    say_line(f"{said} {worst.worst:.2f} ({worst.name}), {len(suspects)} measured again", final=True)
    return [slopes[one.name] for one in adversaries]


def keep_memory() -> None:
    """Let malloc keep all memory that this process has had, where it can be told, and gc leave it alone."""
    # What was imported is not walked again before every measurement: it was a third of a short run.
    gc.collect()
    gc.freeze()
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def measure(name: str, is_short: bool) -> Slope:
    """The rounds over all sizes of one adversary."""
    keep_memory()
    adversary = find_adversary(name)
    largest = find_largest(adversary, SHORT_TOP if is_short else TOP, TOP if is_short else FURTHEST)
    sizes = [largest // share for share in (SHORT_SHARES if is_short else SHARES)]
    return Slope(name, *time_rounds(adversary, sizes, 1, ROUNDS, ROUNDS_SECONDS))


def measure_anew(slope: Slope) -> Times:
    """More rounds, of both sizes of each doubling that is bad."""
    keep_memory()
    bad = [size for size, ratio in slope.ratios.items() if ratio > LIMIT]
    sizes = sorted({*bad, *(size // 2 for size in bad)})
    return time_rounds(find_adversary(slope.name), sizes, LEAST_ANEW, MOST_ANEW, ANEW_SECONDS)[0]


def find_adversary(name: str) -> Adversary:
    return next(adversary for adversary in ADVERSARIES if adversary.name == name)


def find_largest(adversary: Adversary, start: int, most: int) -> int:
    """The smallest size of which a quarter takes long enough to be measured, or `most`."""
    largest = start
    while largest < most and time_once(adversary, adversary.build(largest // 4)) < 2 * SHORTEST:
        largest *= 2
    return largest


def time_rounds(
    adversary: Adversary, sizes: Sequence[int], least: int, most: int, seconds: float
) -> Tuple[Times, int]:
    """The best time of each size in so many rounds, and their number; none begins after `seconds`."""
    inputs = {size: adversary.build(size) for size in sizes}
    best: Times = {}
    started = time.monotonic()
    for done in range(most):
        if done >= least and time.monotonic() - started > seconds:
            return best, done
        for size, pieces in inputs.items():
            taken = time_once(adversary, pieces)
            best[size] = min(taken, best.get(size, taken))
    return best, most


def time_once(adversary: Adversary, pieces: List[bytes]) -> float:
    """The processor time for all pieces; what is refused on the way is refused."""
    feed = adversary.open()
    gc.collect()
    gc.disable()
    try:
        started = time.process_time()
        try:
            for piece in pieces:
                feed(piece)
        except WSBridgeError:
            pass
        return time.process_time() - started
    finally:
        gc.enable()
