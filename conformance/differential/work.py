"""The parts of the check, cut into batches for worker processes, and what the batches found."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import Counter
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from ..lib.environment import say_line
from .deflated import count_messages, make_deflated
from .head_judge import judge_head
from .heads import make_head
from .judge import judge
from .sending import judge_sending, make_sending
from .streams import make_stream

BATCH = 500
KEPT_TEXTS = 3  # of unexplained cases, in each batch


class Part(NamedTuple):
    name: str
    unit: str
    make: Callable[[int, int], Any]  #: (seed, index) -> case
    judge: Callable[[Any], Sequence[Any]]  #: case -> findings
    count: Callable[[Any], int]  #: how many units a case has
    cost: float  #: of a case, against the others', for the time left


PARTS = {
    part.name: part
    for part in (
        Part("frames", "frame streams", make_stream, judge, lambda case: 1, 1.0),
        Part("deflate", "compressed messages", make_deflated, judge, count_messages, 4.0),
        Part(
            "sending",
            "messages compressed by wsbridge",
            make_sending,
            judge_sending,
            lambda case: len(case.pieces),
            2.5,
        ),
        Part("heads", "request heads", make_head, judge_head, lambda case: 1, 0.9),
    )
}


class Example(NamedTuple):
    """The shortest case in which a ruling was met, best where it was met alone."""

    rank: Tuple[bool, int]
    case: str
    text: str


class Tally:
    """What a number of cases came to."""

    def __init__(self) -> None:
        self.cases: Counter[str] = Counter()  # by part
        self.units: Counter[str] = Counter()
        self.disagreements: Counter[str] = Counter()
        self.kinds: Counter[Tuple[str, str]] = Counter()  # by part and ruling
        self.examples: Dict[str, Example] = {}
        self.unexplained = 0
        self.texts: List[str] = []
        self.is_interrupted = False

    def add(self, other: Tally) -> None:
        for mine, theirs in (
            (self.cases, other.cases),
            (self.units, other.units),
            (self.disagreements, other.disagreements),
        ):
            mine.update(theirs)
        self.kinds.update(other.kinds)
        self.unexplained += other.unexplained
        self.texts += other.texts
        for name, example in other.examples.items():
            if name not in self.examples or example < self.examples[name]:
                self.examples[name] = example

    def take(self, part: Part, case: Any) -> None:
        self.cases[part.name] += 1
        self.units[part.name] += part.count(case)
        findings = part.judge(case)
        self.disagreements[part.name] += bool(findings)
        for finding in findings:
            if not finding.rulings:
                self.unexplained += 1
                if len(self.texts) < KEPT_TEXTS:
                    self.texts.append(f"{finding.who}: {finding.describe(case)}")
            for name in finding.rulings:
                self.kinds[part.name, name] += 1
                rank = (len(finding.rulings) > 1, sum(map(len, case.pieces)))
                if name not in self.examples or rank < self.examples[name].rank:
                    self.examples[name] = Example(rank, case.name, finding.describe(case))


def run_batch(batch: Tuple[str, int, int, int]) -> Tally:
    name, seed, start, stop = batch
    part = PARTS[name]
    tally = Tally()
    for index in range(start, stop):
        try:
            tally.take(part, part.make(seed, index))
        except Exception as error:
            # A case on which the check itself breaks must not hide the others.
            tally.unexplained += 1
            tally.texts.append(f"{seed}:{name}:{index}: {type(error).__name__}: {error}")
    return tally


def run_parts(counts: Dict[str, int], seed: int, jobs: int) -> Tally:
    """Run so many cases of each part in worker processes, telling how it goes.

    The parts advance side by side, so that an interrupted run has found something in each.
    """
    batches = sorted(cut_batches(counts, seed), key=lambda batch: batch[2] / counts[batch[0]])
    whole = sum(cost_of(batch) for batch in batches)
    done, started = 0.0, time.monotonic()
    tally = Tally()
    with multiprocessing.Pool(jobs, ignore_interrupt) as pool:
        try:
            for batch, found in pool.imap_unordered(run_named_batch, batches):
                tally.add(found)
                for text in found.texts:
                    say_line("UNEXPLAINED  " + text.splitlines()[0], final=True)
                done += cost_of(batch)
                left = (time.monotonic() - started) / done * (whole - done)
                so_far = f"{sum(tally.units.values()):,} cases, {tally.unexplained} unexplained"
                say_line(f"differential: {so_far}, {left / 60:.0f} minutes left")
        except KeyboardInterrupt:
            tally.is_interrupted = True
    seconds = time.monotonic() - started
    say_line(f"differential: {sum(tally.units.values()):,} cases in {seconds / 60:.1f} minutes", final=True)
    return tally


def run_named_batch(batch: Tuple[str, int, int, int]) -> Tuple[Tuple[str, int, int, int], Tally]:
    return batch, run_batch(batch)


def ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def cut_batches(counts: Dict[str, int], seed: int) -> Iterator[Tuple[str, int, int, int]]:
    for name, count in counts.items():
        for start in range(0, count, BATCH):
            yield name, seed, start, min(start + BATCH, count)


def cost_of(batch: Tuple[str, int, int, int]) -> float:
    name, _, start, stop = batch
    return PARTS[name].cost * (stop - start)
