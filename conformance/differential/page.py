"""The report of a run: a page with the table of rulings, and the totals as text."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Dict, List, Sequence

from ..lib.report import Cell, Page, Value
from .rulings import RULINGS, Ruling
from .work import PARTS, Tally


def write_page(folder: Path, tally: Tally, packages: Sequence[str], facts: Dict[str, Value]) -> Path:
    subtitle = f"wsbridge, {', '.join(packages)}, zlib; CPython {platform.python_version()}"
    page = Page("Differential", subtitle)
    unexplained = Cell(tally.unexplained, "fail" if tally.unexplained else "ok")
    page.facts({"unexplained": unexplained, "kinds of disagreement": len(tally.met), **facts})
    page.paragraph(
        "The same random and mutated bytes into all of them. wsbridge must do what a literal reading of the"
        " standards does (frame_reading.py, head_reading.py, request_reading.py); a peer that does otherwise"
        " must do what that reading does with the named departures. Anything else is unexplained."
    )
    page.table(
        ["part", "cases", "of them or in them", "cases with a disagreement"],
        [
            [PARTS[name].unit, tally.cases[name], count, tally.disagreements[name]]
            for name, count in tally.units.items()
        ],
    )
    for text in tally.texts:
        page.details(text.splitlines()[0][:150], text)
    columns = ["ruling", "what it does", "cases", "the shortest", "the sentence", "where", "who is right"]
    for who in dict.fromkeys(ruling.who for ruling in RULINGS):
        page.heading(who)
        page.table(columns, [build_row(ruling, tally) for ruling in RULINGS if ruling.who == who])
    return page.write(folder / "index.html")


def build_row(ruling: Ruling, tally: Tally) -> List[Value]:
    right = ruling.verdict.split(":")[0].split()[0]
    return [
        ruling.name,
        ruling.what,
        tally.met[ruling.name],
        tally.examples[ruling.name][2] if tally.met[ruling.name] else "not met",
        f"\u201c{ruling.sentence}\u201d",
        ruling.section,
        Cell(ruling.verdict, {"open": "info", "wsbridge": "ok"}.get(right, "warn")),
    ]


def print_summary(tally: Tally) -> None:
    for text in tally.texts[:20]:
        print(f"UNEXPLAINED  {text}\n")
    not_met = [ruling.name for ruling in RULINGS if not tally.met[ruling.name]]
    print(f"rulings not met in this run: {', '.join(not_met) or 'none'}")
    for name, count in tally.units.items():
        print(f"{count:>10,}  {PARTS[name].unit}, {tally.disagreements[name]:,} cases with a disagreement")
    print(f"{tally.unexplained:>10,}  unexplained")
