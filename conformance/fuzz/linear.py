"""Time: for every adversary the processor time at n and at 2n, whose ratio must not be above 2.5.

Other work on the machine can only add to a time, so the best of several interleaved rounds counts, and what
looks bad is measured again: with more rounds, then at twice the size. What is quadratic is bad at both of the
last doublings; what is bad once, and good behind, is a step (memory that no longer fits a cache),
and is shown as one.
"""

from __future__ import annotations

import ctypes
import gc
import time
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence

from wsbridge.protocols.errors import WSBridgeError

from ..environment import say_line
from .adversaries import Adversary
from .findings import Finding

# Above 2, because a byte of a large input costs more than one of a small input without being superlinear:
# caches end somewhere.
LIMIT = 2.5
# What glibc's malloc gives back to the system has to be mapped again page by page, which takes longer than
# anything else here: "zeros, inflated size" took 2.5 ns a byte at 2 MiB, 4.6 at 8 MiB with 5,400 page faults.
# <malloc.h>: the limit of free memory that is kept, and how many allocations may have a mapping of their own.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
# Sizes relative to the largest one: two doublings, so that a slope that only begins is seen as well.
DOUBLINGS = (4, 2, 1)
ROUNDS, MORE_ROUNDS = 3, 9
# A short run begins with a 64th of the largest size, and stops where a quarter of it can be measured.
SHORT_SHARE = 64
# Nothing is measured again for longer than this, so that what is quadratic ends as well.
MOST_SECONDS = 30.0
# Below this a measurement is one of the clock and of the caches.
SHORTEST = 0.004


@dataclass
class Slope:
    """The best times of one adversary: size in bytes to seconds of processor time."""

    name: str
    seconds: Dict[int, float] = field(default_factory=dict)
    rounds: int = 0
    was_repeated: bool = False

    @property
    def ratios(self) -> List[float]:
        """The growth at each doubling, without those whose time is too short to say anything."""
        times = [self.seconds[size] for size in sorted(self.seconds)]
        return [after / before for before, after in zip(times, times[1:]) if before >= SHORTEST]

    @property
    def worst(self) -> float:
        return max(self.ratios, default=0.0)

    @property
    def verdict(self) -> str:
        """linear; step: a doubling is bad; slope: the last two are; too short: too little to see."""
        ratios = self.ratios
        if not ratios:
            return "too short"
        if len(ratios) > 1 and min(ratios[-2:]) > LIMIT:
            return "slope"
        return "step" if self.worst > LIMIT else "linear"

    def to_finding(self) -> Optional[Finding]:
        if self.verdict != "slope":
            return None
        times = ", ".join(
            f"{size} bytes {seconds * 1000:.1f} ms" for size, seconds in sorted(self.seconds.items())
        )
        text = f"twice the size takes {self.worst:.2f} times as long: {times} (best of {self.rounds})"
        again = f"python3 conformance/run.py fuzz --only linear --target '{self.name}'"
        return Finding("linear", self.name, "time is linear", text, "", again)


def run_all(adversaries: Sequence[Adversary], is_short: bool) -> List[Slope]:
    """Measure all, one after the other."""
    started = time.monotonic()
    keep_memory()
    # What was imported is not walked again before every measurement: it was a third of a short run.
    gc.collect()
    gc.freeze()
    slopes = []
    for adversary in adversaries:
        slopes.append(measure(adversary, is_short))
        left = (time.monotonic() - started) / len(slopes) * (len(adversaries) - len(slopes))
        say_line(f"fuzz: linear {len(slopes)}/{len(adversaries)}, about {left:.0f} s left")
    worst = max(slopes, key=lambda slope: slope.worst)
    repeated = sum(slope.was_repeated for slope in slopes)
    said = f"fuzz: linear: {len(slopes)} adversaries in {time.monotonic() - started:.0f} s, worst ratio"
    say_line(f"{said} {worst.worst:.2f} ({worst.name}), {repeated} measured again", final=True)
    return slopes


def keep_memory() -> None:
    """Let malloc keep all memory that this process has had, where it is one that can be told."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def measure(adversary: Adversary, is_short: bool = False) -> Slope:
    """The rounds; where they look bad, more of them, and then as many at twice the size, which decide."""
    slope = Slope(adversary.name)
    largest = find_largest(adversary) if is_short else adversary.top
    inputs = {largest // part: adversary.build(largest // part) for part in DOUBLINGS}
    for _ in range(ROUNDS):
        measure_round(adversary, inputs, slope)
    slope.was_repeated = slope.worst > LIMIT
    measure_again(adversary, inputs, slope)
    if slope.worst > LIMIT:
        inputs[2 * largest] = adversary.build(2 * largest)
        measure_round(adversary, inputs, slope)
        measure_again(adversary, inputs, slope)
    return slope


def measure_again(adversary: Adversary, inputs: Dict[int, List[bytes]], slope: Slope) -> None:
    """More rounds, until it looks good."""
    started = time.monotonic()
    for _ in range(MORE_ROUNDS):
        if slope.worst <= LIMIT or time.monotonic() - started > MOST_SECONDS:
            return
        measure_round(adversary, inputs, slope)


def find_largest(adversary: Adversary) -> int:
    """The smallest size of which a quarter takes long enough to be measured, or `top`."""
    largest = max(1024, adversary.top // SHORT_SHARE)
    while largest < adversary.top and time_once(adversary, adversary.build(largest // 4)) < 2 * SHORTEST:
        largest *= 2
    return min(largest, adversary.top)


def measure_round(adversary: Adversary, inputs: Dict[int, List[bytes]], slope: Slope) -> None:
    slope.rounds += 1
    for size, pieces in inputs.items():
        seconds = time_once(adversary, pieces)
        slope.seconds[size] = min(seconds, slope.seconds.get(size, seconds))


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
