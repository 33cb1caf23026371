"""The report: how many tests of each suite pass, and why the others do not."""

from __future__ import annotations

import collections
from typing import Counter, Mapping, Sequence, Tuple

from ..lib.report import Cell, Page
from .differences import Case, Verdict


def build_page(judged: Mapping[str, Verdict], sources: Sequence[str], seconds: float) -> Page:
    page = Page("Peers", "The tests of other projects, on wsbridge: " + ", ".join(sources))
    faults = sum(len(verdict.faults) for verdict in judged.values())
    page.facts(
        {
            "passed": Cell(sum(verdict.passed for verdict in judged.values()), "ok"),
            "explained": Cell(sum(len(verdict.explained) for verdict in judged.values()), "info"),
            "at fault": Cell(faults, "fail" if faults else None),
            "seconds": round(seconds),
        }
    )
    page.table(
        ["suite", "passed", "explained", "at fault", "skipped"],
        [
            [
                name,
                verdict.passed,
                Cell(len(verdict.explained), title="\n".join(verdict.explained)),
                Cell(len(verdict.faults), "fail" if verdict.faults else None, "\n".join(verdict.faults)),
                verdict.skipped,
            ]
            for name, verdict in judged.items()
        ],
    )
    for name, verdict in judged.items():
        if verdict.faults:
            page.details(name, "\n".join(verdict.faults))
    page.heading("Reasons")
    page.table(
        ["tests of", "reason", "differ"], [[*row, number] for row, number in count_reasons(judged).items()]
    )
    page.heading("Differences")
    rows = {
        (one.subject, one.reason, one.test): one.message
        for verdict in judged.values()
        for one in verdict.seen
    }
    page.table(["tests of", "reason", "test", "what it says"], [[*row, text] for row, text in rows.items()])
    return page


def count_reasons(judged: Mapping[str, Verdict]) -> Counter[Tuple[str, str]]:
    """How many tests differ for each reason, on all servers."""
    numbers: Counter[Tuple[str, str]] = collections.Counter()
    for verdict in judged.values():
        for one in verdict.seen:
            numbers[one.subject, one.reason] += sum(one.covers(Case(test)) for test in verdict.explained)
    return numbers
