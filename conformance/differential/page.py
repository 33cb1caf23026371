"""The report of a run: a page with the table of rulings, and the same in a few lines of text."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Dict, List, Sequence

from ..lib.report import Cell, Page, Value
from .rulings import RULINGS, Ruling
from .work import PARTS, Tally

TEXT_WIDTH = 130


def write_page(folder: Path, tally: Tally, packages: Sequence[str], facts: Dict[str, Value]) -> Path:
    subtitle = f"wsbridge, {', '.join(packages)}, zlib; CPython {platform.python_version()}"
    page = Page("Differential", subtitle)
    page.facts(
        {
            **{PARTS[name].unit: count for name, count in tally.units.items()},
            "unexplained": Cell(tally.unexplained, "fail" if tally.unexplained else "ok"),
            "kinds of disagreement": len(tally.met),
            **facts,
        }
    )
    page.paragraph(
        "The same random and mutated bytes into all of them. wsbridge must do what a literal reading of the"
        " standards does (frame_reading.py, head_reading.py); a peer that does otherwise must do, to the"
        " byte, what that reading does with the named departures. Anything else is unexplained."
    )
    rows: List[List[Value]] = [
        [PARTS[name].unit, count, tally.units[name], tally.disagreements[name]]
        for name, count in tally.cases.items()
    ]
    page.table(["part", "cases", "of them or in them", "cases with a disagreement"], rows)
    if tally.texts:
        page.heading("Unexplained")
        for text in tally.texts:
            page.details(text.splitlines()[0][:150], text, is_open=True)
    write_rulings(page, tally)
    if len(tally.met) < len(RULINGS):
        page.paragraph(f"Rulings that this run did not meet: {name_unmet(tally)}.")
    return page.write(folder / "index.html")


def write_rulings(page: Page, tally: Tally) -> None:
    page.heading("Rulings")
    columns = ["ruling", "what it does", "cases", "the sentence", "where", "who is right"]
    met = [ruling for ruling in RULINGS if tally.met[ruling.name]]
    for who in dict.fromkeys(ruling.who for ruling in met):
        page.heading(who, who, level=3)
        page.table(columns, [build_row(ruling, tally) for ruling in met if ruling.who == who])
    page.heading("An example of each")
    for ruling in met:
        example = tally.examples[ruling.name]
        page.raw(f"<span id='{ruling.name}'></span>")
        page.details(f"{ruling.name}: {ruling.what} ({example.case})", example.text)


def build_row(ruling: Ruling, tally: Tally) -> List[Value]:
    right = ruling.verdict.split(":")[0]
    return [
        Cell(ruling.name, href=f"#{ruling.name}"),
        ruling.what,
        tally.met[ruling.name],
        f"\u201c{ruling.sentence}\u201d",
        ruling.section,
        Cell(ruling.verdict, {"open": "info", "wsbridge": "ok"}.get(right.split()[0], "warn")),
    ]


def name_unmet(tally: Tally) -> str:
    return ", ".join(ruling.name for ruling in RULINGS if not tally.met[ruling.name])


def print_summary(tally: Tally) -> None:
    for text in tally.texts[:20]:
        print(f"UNEXPLAINED  {text}\n")
    for ruling in RULINGS:
        if tally.met[ruling.name]:
            right = ruling.verdict.partition(":")[0]
            line = f"{ruling.name:<32}{tally.met[ruling.name]:>8,}  {right:<10}  {ruling.what}"
            print(line if len(line) <= TEXT_WIDTH else line[: TEXT_WIDTH - 3] + "...")
    print(f"not met in this run: {name_unmet(tally) or 'none'}")
    for name, count in tally.units.items():
        print(f"{count:>10,}  {PARTS[name].unit}, {tally.disagreements[name]:,} cases with a disagreement")
    print(f"{tally.unexplained:>10,}  unexplained")
