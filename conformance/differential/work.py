"""The parts of the check, cut into batches for worker processes, and what the batches found."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import Counter
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Tuple

from ..lib.environment import say_line
from .judge import FRAMES, HEADS, REQUESTS, Finding, Kind, judge, judge_requests, judge_sending
from .making import count_messages, make_deflated, make_head, make_requests, make_sending, make_stream

BATCH = 500
KEPT_TEXTS, MOST_SHOWN = 3, 4000  # texts of unexplained cases in each batch, and characters of each


class Part(NamedTuple):
    unit: str
    make: Callable[[int, int], Any]  #: (seed, index) -> case
    kind: Kind
    judge: Callable[[Kind, Any], Iterable[Finding]] = judge
    count: Callable[[Any], int] = lambda case: 1  #: how many units a case has


PARTS = {
    "frames": Part("frame streams", make_stream, FRAMES),
    "deflate": Part("compressed messages", make_deflated, FRAMES, count=count_messages),
    "sending": Part(
        "messages compressed by wsbridge", make_sending, FRAMES, judge_sending, lambda case: len(case.pieces)
    ),
    "heads": Part("request heads", make_head, HEADS),
    "requests": Part("connections with requests", make_requests, REQUESTS, judge_requests),
}


class Tally:
    """What a number of cases came to."""

    def __init__(self) -> None:
        self.cases: Counter[str] = Counter()  # by part, as the next two
        self.units: Counter[str] = Counter()
        self.disagreements: Counter[str] = Counter()
        self.met: Counter[str] = Counter()  # by ruling
        # By ruling, the name of the shortest case, best where the ruling was met alone.
        self.examples: Dict[str, Tuple[bool, int, str]] = {}
        self.unexplained = 0
        self.texts: List[str] = []  # of some of the unexplained
        self.is_interrupted = False

    def take(self, name: str, case: Any) -> None:
        part = PARTS[name]
        self.cases[name] += 1
        self.units[name] += part.count(case)
        findings = list(part.judge(part.kind, case))
        self.disagreements[name] += bool(findings)
        for finding in findings:
            if not finding.rulings:
                self.note_unexplained(f"{finding.who}: {finding.describe(case)}")
            self.met.update(finding.rulings)
            for ruling in finding.rulings:
                example = (len(finding.rulings) > 1, sum(map(len, case.pieces)), case.name)
                self.examples[ruling] = min(example, self.examples.get(ruling, example))

    def note_unexplained(self, text: str) -> None:
        self.unexplained += 1
        if len(self.texts) < KEPT_TEXTS:
            self.texts.append(text if len(text) < MOST_SHOWN else f"{text[:MOST_SHOWN]} ... (see --replay)")

    def add(self, other: Tally) -> None:
        self.cases += other.cases
        self.units += other.units
        self.disagreements += other.disagreements
        self.met += other.met
        self.unexplained += other.unexplained
        self.texts += other.texts
        for name, example in other.examples.items():
            self.examples[name] = min(example, self.examples.get(name, example))


def run_batch(batch: Tuple[str, int, int, int]) -> Tally:
    name, seed, start, stop = batch
    tally = Tally()
    for index in range(start, stop):
        try:
            tally.take(name, PARTS[name].make(seed, index))
        except Exception as error:
            # A case on which the check itself breaks must not hide the others.
            tally.note_unexplained(f"{seed}:{name}:{index}: {type(error).__name__}: {error}")
    return tally


def run_parts(counts: Dict[str, int], seed: int, jobs: int) -> Tally:
    """Run so many cases of each part in worker processes, telling how it goes.

    The parts advance side by side, so that an interrupted run has found something in each.
    """
    batches = [
        (name, seed, start, min(start + BATCH, count))
        for name, count in counts.items()
        for start in range(0, count, BATCH)
    ]
    batches.sort(key=lambda batch: batch[2] / counts[batch[0]])
    started, tally = time.monotonic(), Tally()
    with multiprocessing.Pool(jobs, ignore_interrupt) as pool:
        try:
            for done, found in enumerate(pool.imap_unordered(run_batch, batches), 1):
                tally.add(found)
                for text in found.texts:
                    say_line("UNEXPLAINED  " + text.splitlines()[0], final=True)
                left = (time.monotonic() - started) * (len(batches) / done - 1)
                so_far = f"{sum(tally.units.values()):,} cases, {tally.unexplained} unexplained"
                say_line(f"differential: {so_far}, {left / 60:.0f} minutes left")
        except KeyboardInterrupt:
            tally.is_interrupted = True
    return tally


def ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def print_case(name: str, seed: int, index: int) -> int:
    """One case with all its bytes, what each implementation made of it, and what explains that."""
    part = PARTS[name]
    case = part.make(seed, index)
    print(case.describe())
    for who in ("wsbridge", *part.kind.peers):
        print(f"  {who}\n    {part.kind.run(who, case).describe()}")
    findings = list(part.judge(part.kind, case))
    for finding in findings:
        print(f"{finding.who} differs: {', '.join(finding.rulings) or 'UNEXPLAINED'}")
        if not finding.rulings:
            print(finding.describe(case))
    if not findings:
        print("no disagreement")
    return 0 if all(finding.rulings for finding in findings) else 1
