"""The hypothesis part: every target and every round trip as a property, shrunk to its smallest failure."""

from __future__ import annotations

import time
import zlib
from concurrent.futures import as_completed
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple

import hypothesis
from hypothesis import HealthCheck, given, settings

from ..lib.environment import say_line
from .dialogues import DIALOGUES
from .findings import DOCUMENTED, IDENTITY, LAWFUL, REFERENCE, Finding, Violation
from .processes import open_pool
from .roundtrips import ROUND_TRIPS, RoundTrip
from .strategies import build_examples
from .targets import COVERED, TARGETS, check, describe_replay

PAIRS: Dict[str, RoundTrip] = {**ROUND_TRIPS, "dialogues": DIALOGUES}

# The long ones, which find the most, get a larger share of the examples.
SHARES = {"server": 2.0, "server-deflate": 2.0, "dialogues": 1.5, "masking": 0.5, "close-payload": 0.5}


@dataclass
class Outcome:
    """What became of one property."""

    name: str
    invariants: Tuple[str, ...]
    examples: int
    seconds: float
    finding: Optional[Finding] = None


def list_properties() -> List[str]:
    return [*TARGETS, *PAIRS]


def run_all(names: List[str], seed: int, examples: int, jobs: int) -> List[Outcome]:
    """Run the properties, each in one process; the outcomes in the order of the names."""
    started = time.monotonic()
    outcomes: Dict[str, Outcome] = {}
    with open_pool(jobs) as pool:
        waiting = {pool.submit(run_property, name, seed, examples): name for name in names}
        for future in as_completed(waiting):
            outcome = future.result()
            outcomes[outcome.name] = outcome
            left = (time.monotonic() - started) / len(outcomes) * (len(names) - len(outcomes))
            found = sum(one.finding is not None for one in outcomes.values())
            say_line(
                f"fuzz: hypothesis {len(outcomes)}/{len(names)}, {found} findings, about {left:.0f} s left"
            )
    total = sum(outcome.examples for outcome in outcomes.values())
    say_line(f"fuzz: hypothesis: {total} examples in {time.monotonic() - started:.0f} s", final=True)
    return [outcomes[name] for name in names]


def run_property(name: str, seed: int, examples: int) -> Outcome:
    """One property under its own seed, so that it can be run again without the others."""
    return run_target(name, seed, examples) if name in TARGETS else run_pair(name, seed, examples)


def run_target(name: str, seed: int, examples: int) -> Outcome:
    target = TARGETS[name]

    def body(example: Tuple[int, bytes]) -> None:
        check(target, *example)

    count, seconds, violation, last = search(name, body, {"example": build_examples(name)}, seed, examples)
    finding = None
    if violation is not None:
        variant, data = last["example"]
        finding = Finding(
            "hypothesis",
            name,
            violation.invariant,
            violation.text,
            target.describe(variant, data),
            describe_replay(name, variant, data),
        )
    return Outcome(name, COVERED[name], count, seconds, finding)


def run_pair(name: str, seed: int, examples: int) -> Outcome:
    pair = PAIRS[name]

    def body(**arguments: Any) -> None:
        try:
            pair.check(**arguments)
        except Violation:
            raise
        except Exception as error:
            raise Violation(DOCUMENTED, f"{type(error).__name__}: {error}") from error

    count, seconds, violation, last = search(name, body, pair.draws, seed, examples)
    finding = None
    if violation is not None:
        shown = ", ".join(f"{key}={value!r}" for key, value in last.items())
        again = f"python3 conformance/run.py fuzz --only hypothesis --target '{name}' --seed {seed}"
        example = f"{pair.check.__name__}({shown})"
        finding = Finding("hypothesis", name, violation.invariant, violation.text, example, again)
    return Outcome(name, (IDENTITY, DOCUMENTED, LAWFUL, REFERENCE), count, seconds, finding)


def search(
    name: str, body: Callable[..., None], draws: Dict[str, Any], seed: int, examples: int
) -> Tuple[int, float, Optional[Violation], Dict[str, Any]]:
    """Draw examples; how many, in what time, and the smallest that fails with its violation."""
    count = 0
    last: Dict[str, Any] = {}

    def counted(**arguments: Any) -> None:
        nonlocal count
        count += 1
        try:
            body(**arguments)
        except Violation:
            last.update(arguments)
            raise

    run = settings(
        max_examples=max(1, round(examples * SHARES.get(name, 1.0))),
        derandomize=False,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )(given(**draws)(counted))
    started = time.monotonic()
    violation = None
    try:
        hypothesis.seed(seed ^ zlib.crc32(name.encode()))(run)()
    except Violation as error:
        # hypothesis ends with the smallest example it found, so that `last` is the one of this error.
        violation = error
    return count, time.monotonic() - started, violation, last
