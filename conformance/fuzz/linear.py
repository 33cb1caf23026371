"""Time: for every adversary the processor time at n and at 2n, whose ratio must not be above 2.5.

Seven sizes, each twice the one before, up to 16 MiB, and further where that is done too soon to be measured.
Other work on the machine can only add to a time, so the best of several interleaved rounds counts, and the
sizes of a doubling that looks bad are measured anew, alone. What is bad then as well, be it at one doubling
only, is a finding.
"""

from __future__ import annotations

import gc
import time
from typing import Any, Callable, Dict, List, Sequence

import pytest

from wsbridge.protocols.errors import WSBridgeError

from .adversaries import ADVERSARIES, KIB, MIB, Input

# Above 2, because a byte of a large input costs more than one of a small input without being superlinear:
# caches end somewhere.
LIMIT = 2.5
# Every doubling from a 64th of the largest size on takes no longer than twice the largest size alone.
TOP, FURTHEST = 16 * MIB, 256 * MIB
SHARES = (64, 32, 16, 8, 4, 2, 1)
# A short run has two doublings, of the smallest size that can be measured.
SHORT_TOP, SHORT_SHARES = 16 * KIB, (4, 2, 1)
# No round begins after so many seconds, as noise is short; what looked bad gets the least number anyway.
ROUNDS, ROUNDS_SECONDS = 3, 8.0
LEAST_ANEW, MOST_ANEW, ANEW_SECONDS = 3, 9, 30.0
# Below so many seconds it is the clock and the caches that are measured.
SHORTEST = 0.004

# Size in bytes to the best time in seconds of processor time.
Times = Dict[int, float]


@pytest.mark.parametrize("adversary", ADVERSARIES, ids=lambda adversary: adversary.name)
def test_linear(
    adversary: Input,
    pytestconfig: pytest.Config,
    record_property: Callable[[str, Any], None],
    have_alone: Callable[[], None],
) -> None:
    """Twice the size takes at most 2.5 times as long."""
    gc.collect()
    gc.freeze()
    top, furthest, shares = (
        (SHORT_TOP, TOP, SHORT_SHARES) if pytestconfig.option.short else (TOP, FURTHEST, SHARES)
    )
    largest = find_largest(adversary, top, furthest)
    times = time_rounds(adversary, [largest // share for share in shares], 1, ROUNDS, ROUNDS_SECONDS)
    ratios, anew = compare(times, SHORTEST), {}
    bad = {size for size, ratio in ratios.items() if ratio > LIMIT}
    if bad:
        have_alone()
        sizes = sorted(bad | {size // 2 for size in bad})
        anew = time_rounds(adversary, sizes, LEAST_ANEW, MOST_ANEW, ANEW_SECONDS)
        # A doubling is bad only if it was bad both times.
        ratios.update({size: min(ratios[size], compare(anew)[size]) for size in bad})
    worst = max(ratios.values(), default=0.0)
    record_property("worst ratio", round(worst, 2))
    record_property("bytes and ms", in_milliseconds(times))
    assert worst <= LIMIT, f"bytes and ms: {in_milliseconds(times)}; measured anew: {in_milliseconds(anew)}"


def in_milliseconds(times: Times) -> Times:
    return {size: round(seconds * 1000, 1) for size, seconds in sorted(times.items())}


def compare(times: Times, shortest: float = 0.0) -> Times:
    """The growth up to each size from half of it, without those whose time is too short to say anything."""
    return {
        size: seconds / times[size // 2]
        for size, seconds in times.items()
        if size // 2 in times and times[size // 2] >= shortest
    }


def find_largest(adversary: Input, start: int, most: int) -> int:
    """The smallest size of which a quarter takes long enough to be measured, or `most`."""
    largest = start
    while largest < most and time_once(adversary, adversary.build(largest // 4)) < 2 * SHORTEST:
        largest *= 2
    return largest


def time_rounds(adversary: Input, sizes: Sequence[int], least: int, most: int, seconds: float) -> Times:
    """The best time of each size in so many rounds; none but the least number begins after `seconds`."""
    inputs = {size: adversary.build(size) for size in sizes}
    best: Times = {}
    started = time.monotonic()
    for done in range(most):
        if done >= least and time.monotonic() - started > seconds:
            break
        for size, pieces in inputs.items():
            taken = time_once(adversary, pieces)
            best[size] = min(taken, best.get(size, taken))
    return best


def time_once(adversary: Input, pieces: List[Any]) -> float:
    """The processor time for all pieces; what is refused on the way is refused."""
    feed = adversary.open(True)
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
