"""The progress bar of a run: cases done, time left, what is not OK so far."""

from __future__ import annotations

import sys
import threading
import time
from typing import Iterable, Sequence, Set

from ..lib.environment import say_line
from .cases import estimate_seconds

BAR = 28
QUIET_SECONDS = 30.0


class Progress:
    """Counts cases as they begin and as their results come in; safe to call from several threads."""

    def __init__(self, name: str, cases: Sequence[str]) -> None:
        self._name = name
        self._total = len(cases)
        self._weight = sum(map(estimate_seconds, cases))
        self._begun = 0
        self._begun_weight = 0.0
        self._seen: Set[str] = set()
        self._answered = 0
        self._bad = 0
        self._started = time.monotonic()
        self._said = self._started
        self._drawn = self._started
        self._lock = threading.Lock()
        self._case = ""

    def begin(self, case: str) -> None:
        """A case begins; the one before it is over."""
        with self._lock:
            if case not in self._seen:
                self._seen.add(case)
                self._begun += 1
                self._begun_weight += estimate_seconds(case)
            self._case = case
            self._draw()

    def add_results(self, are_good: Iterable[bool]) -> None:
        with self._lock:
            verdicts = list(are_good)
            self._answered += len(verdicts)
            self._bad += verdicts.count(False)
            self._draw()

    def tick(self) -> None:
        """Time has passed: draw again, at most once in a second."""
        with self._lock:
            if time.monotonic() - self._drawn >= 1.0 and self._begun:
                self._draw()

    def finish(self) -> None:
        with self._lock:
            elapsed = time.monotonic() - self._started
            bad = f"{self._bad} of {self._answered} results not OK"
            done = f"{self._begun} of {self._total} cases in {_clock(elapsed)}"
            say_line(f"{self._name}: {done}, {bad}", final=True)

    def _draw(self) -> None:
        now = self._drawn = time.monotonic()
        if not sys.stderr.isatty():
            if now - self._said < QUIET_SECONDS:
                return
            self._said = now
        elapsed = now - self._started
        share = self._begun_weight / self._weight
        left = elapsed / share * (1.0 - share) if share else 0.0
        filled = int(BAR * share)
        say_line(
            f"{self._name} [{'#' * filled}{'.' * (BAR - filled)}] {self._begun}/{self._total}"
            f"  {_clock(left)} left  {self._bad} not OK  {self._case}",
            final=not sys.stderr.isatty(),
        )


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
