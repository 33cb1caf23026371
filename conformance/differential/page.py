"""The report of a run: a page with the table of rulings, and the same in a few lines of text."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Dict, List

from ..lib.report import Cell, Page, Value
from .ruling import Ruling
from .rulings import RULINGS
from .work import PARTS, Tally

PACKAGES = ("wsproto", "websockets", "h11", "httptools")
TEXT_WIDTH = 88


def write_page(folder: Path, tally: Tally, facts: Dict[str, Value]) -> Path:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    subtitle = f"wsbridge, {versions}, zlib; CPython {platform.python_version()}"
    page = Page("Differential", subtitle)
    counts: Dict[str, Value] = {PARTS[name].unit: count for name, count in tally.units.items()}
    page.facts(
        {
            **counts,
            "unexplained": Cell(tally.unexplained, "fail" if tally.unexplained else "ok"),
            "kinds of disagreement": len(find_met(tally)),
            **facts,
        }
    )
    page.paragraph(
        "The same random and mutated bytes into all of them. wsbridge must do what a literal reading of the"
        " standards does (reading.py, head_reading.py); a peer that does otherwise must do, to the byte, what"
        " that reading does with the named departures. Anything else is unexplained."
    )
    rows: List[List[Value]] = [
        [PARTS[name].unit, tally.cases[name], tally.units[name], tally.disagreements[name]]
        for name in tally.cases
    ]
    page.table(["part", "cases", "of them or in them", "cases with a disagreement"], rows)
    if tally.texts:
        page.heading("Unexplained")
        for text in tally.texts:
            page.details(text.splitlines()[0][:150], text, is_open=True)
    write_rulings(page, tally)
    unmet = [ruling.name for ruling in RULINGS if ruling not in find_met(tally)]
    if unmet:
        page.paragraph(f"Rulings that this run did not meet: {', '.join(unmet)}.")
    return page.write(folder / "index.html")


def write_rulings(page: Page, tally: Tally) -> None:
    page.heading("Rulings")
    met = find_met(tally)
    for who in dict.fromkeys(ruling.who for ruling in RULINGS):
        mine = [ruling for ruling in met if ruling.who == who]
        if not mine:
            continue
        page.heading(who, who, level=3)
        rows: List[List[Value]] = [
            [
                Cell(ruling.name, href=f"#{ruling.name}"),
                ruling.what,
                count_cases(tally, ruling),
                f"\u201c{ruling.sentence}\u201d",
                ruling.section,
                Cell(ruling.verdict, judge_verdict(ruling)),
            ]
            for ruling in mine
        ]
        page.table(["ruling", f"what {who} does", "cases", "the sentence", "where", "who is right"], rows)
    page.heading("An example of each")
    for ruling in met:
        example = tally.examples[ruling.name]
        page.raw(f"<span id='{ruling.name}'></span>")
        page.details(f"{ruling.name}: {ruling.what} ({example.case})", example.text)


def find_met(tally: Tally) -> List[Ruling]:
    return [ruling for ruling in RULINGS if count_cases(tally, ruling)]


def count_cases(tally: Tally, ruling: Ruling) -> int:
    return sum(count for (_, name), count in tally.kinds.items() if name == ruling.name)


def judge_verdict(ruling: Ruling) -> str:
    if ruling.verdict.startswith("open"):
        return "info"
    return "ok" if ruling.verdict.startswith("wsbridge") else "warn"


def print_summary(tally: Tally) -> None:
    met = find_met(tally)
    for text in tally.texts[:20]:
        print(f"UNEXPLAINED  {text}\n")
    width = max([len(ruling.name) for ruling in met] or [0])
    for ruling in met:
        right = ruling.verdict.partition(":")[0].partition(" by ")[0]
        line = f"{ruling.name:<{width}}  {count_cases(tally, ruling):>8,}  {right:<10}  {ruling.what}"
        print(line if len(line) <= width + TEXT_WIDTH else line[: width + TEXT_WIDTH - 3] + "...")
    unmet = [ruling.name for ruling in RULINGS if ruling not in met]
    if unmet:
        print(f"not met in this run: {', '.join(unmet)}")
    for name, count in tally.units.items():
        print(f"{count:>10,}  {PARTS[name].unit}, {tally.disagreements[name]:,} cases with a disagreement")
    print(f"{tally.unexplained:>10,}  unexplained")
