"""The report of a run: what was done, how connections ended, what was checked, where tasks were cancelled."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import List

import hypothesis

import wsbridge
from conformance.lib.report import Cell, Page

from .awaits import count_awaits
from .http_verdict import HTTP_CHECKS
from .notes import count, tally
from .verdict import CHECKS as WEBSOCKET_CHECKS

CHECKS = (*WEBSOCKET_CHECKS, *HTTP_CHECKS)


def find_gaps() -> List[str]:
    """What a run of this length should have come by, and has not."""
    unchecked = [check.__name__ for check in CHECKS if not tally["checks", check.__name__]]
    never = [place for place, _, cancellations in count_awaits() if not cancellations]
    return [
        *[f"never checked: {name}" for name in unchecked],
        *[f"nothing was cancelled at {place}" for place in never],
    ]


def write_page(path: Path, seed: int, seconds: float, failure: str) -> Path:
    versions = f"CPython {platform.python_version()}, hypothesis {hypothesis.__version__}"
    page = Page("State machine", f"wsbridge {wsbridge.__version__}, {versions}")
    facts = {
        **{subject: count(subject) for subject in ("steps", "programs", "connections", "checks")},
        "failures": int(bool(failure)),
        "seed": str(seed),
        "minutes": round(seconds / 60, 1),
    }
    print(", ".join(f"{name}: {value}" for name, value in facts.items()))
    page.facts(facts)
    if failure:
        page.details("failure", failure)
    page.heading("Invariants")
    page.table(
        ["what must hold", "checks"], [[check.__doc__, tally["checks", check.__name__]] for check in CHECKS]
    )
    for subject in ("steps", "connections", "calls"):
        page.heading(subject.capitalize())
        rows = [[", ".join(key[1:]), number] for key, number in tally.most_common() if key[0] == subject]
        page.table(["what was done or seen", "how often"], rows)
    page.heading("Cancellations")
    page.table(
        ["place", "await", "tasks cancelled there"],
        [[place, line, Cell(number, "ok" if number else "fail")] for place, line, number in count_awaits()],
    )
    return page.write(path)
