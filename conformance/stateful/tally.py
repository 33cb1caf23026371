"""What was done and seen in a run: counts that add up over runs and processes."""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, List

__all__ = ["Tally"]

NAMES = ("rules", "scenarios", "endings", "closes", "clean", "calls", "checks", "cancellations", "searches")


class Tally:
    """Counters by subject; `runs` programs of `steps` steps."""

    def __init__(self) -> None:
        self.runs = 0
        self.counts: Dict[str, Counter[Any]] = {name: Counter() for name in NAMES}

    def __getitem__(self, name: str) -> Counter[Any]:
        return self.counts[name]

    @property
    def steps(self) -> int:
        return sum(self["rules"].values())

    def dump(self) -> Dict[str, Any]:
        """As JSON can carry it."""
        return {
            "runs": self.runs,
            **{name: [*map(list, counter.items())] for name, counter in self.counts.items()},
        }

    def add(self, dumped: Dict[str, Any]) -> None:
        self.runs += dumped["runs"]
        for name in NAMES:
            rows: List[Any] = dumped[name]
            self[name].update({tuple(key) if isinstance(key, list) else key: count for key, count in rows})
