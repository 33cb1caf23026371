"""The report of a run: what was done, how connections ended, what was checked, where tasks were cancelled."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import List

import hypothesis

import wsbridge
from conformance.lib.report import Cell, Page, Value

from .awaits import Await, count_awaits
from .notes import count_steps, tally
from .verdict import CHECKS

__all__ = ["find_gaps", "write_page"]

# What the tally counts under its subjects: the columns of a table.
SUBJECTS = {
    "steps": ["rule", "steps"],
    "ends on the wire": ["the peer read", "connections"],
    "clean closes, by messages sent": ["messages (20 or more)", "connections"],
    "scenarios": ["floor", "limits", "offer", "connections"],
    "calls of the application": ["call", "outcome", "calls"],
}


def find_gaps() -> List[str]:
    """What a run of this length should have come by, and has not."""
    unchecked = [check.__name__ for check in CHECKS if not tally["checks", check.__name__]]
    never = [found.place for found in count_awaits() if found.is_inside and not found.cancellations]
    return [
        *[f"never checked: {name}" for name in unchecked],
        *[f"nothing was cancelled at {place}" for place in never],
    ]


def write_page(path: Path, seed: int, seconds: float, failure: str) -> Path:
    page = Page(
        "State machine",
        f"wsbridge {wsbridge.__version__}, {platform.python_implementation()} {platform.python_version()}, "
        f"hypothesis {hypothesis.__version__}",
    )
    page.paragraph(
        "An application, a peer, a transport, a server and a clock do anything in any order, in the real "
        "server with an event loop that never sleeps. After every step, and when a connection is over, the "
        "invariants are checked."
    )
    facts = {
        "steps": count_steps(),
        "programs": tally["programs",],
        "connections": sum(count for key, count in tally.items() if key[0] == "ends on the wire"),
        "checks": sum(count for key, count in tally.items() if key[0] == "checks"),
        "failures": int(bool(failure)),
        "seed": str(seed),
        "minutes": round(seconds / 60, 1),
    }
    print(", ".join(f"{name}: {value}" for name, value in facts.items()))
    page.facts(facts)
    if failure:
        page.heading("Failure")
        page.pre(failure)
    page.heading("Invariants")
    checks = [[check.__doc__, tally["checks", check.__name__]] for check in CHECKS]
    page.table(["what must hold", "checks"], checks)
    for subject, columns in SUBJECTS.items():
        page.heading(subject.capitalize())
        rows = [[*key[1:], count] for key, count in tally.most_common() if key[0] == subject]
        page.table(columns, rows)
    page.heading("Cancellations")
    page.paragraph(
        "How many tasks were cancelled while they stood at an await, or at something it awaits. Those of "
        "the listening server and of the lifespan are not reached by this machine."
    )
    page.table(["place", "await", "cancellations"], [_build_row(found) for found in count_awaits()])
    return page.write(path)


def _build_row(found: Await) -> List[Value]:
    if not found.is_inside:
        return [found.place, found.source, Cell("not here", "none")]
    return [found.place, found.source, Cell(found.cancellations, "ok" if found.cancellations else "fail")]
