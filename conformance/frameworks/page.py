"""The report: a table of frameworks and scenarios, the differences and their reasons, the failures."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from ..lib.report import Cell, Page
from .catalogue import FRAMEWORKS
from .differences import Difference
from .verdict import VERDICTS, Verdict

COLOURS = {"equal": "ok", "better": "info", "different": "warn", "failed": "fail"}


def build_page(
    verdicts: Sequence[Verdict], unused: Sequence[Difference], versions: Dict[str, str], seconds: float
) -> Page:
    page = Page(
        "Frameworks",
        "The same applications and the same clients, on wsbridge, on its plug-in for uvicorn, and on uvicorn",
    )
    words = [verdict.word for verdict in verdicts]
    counts = {
        word: Cell(words.count(word), COLOURS[word] if word in words else None) for word in reversed(VERDICTS)
    }
    page.facts({**counts, "recorded, not seen": len(unused), "seconds": round(seconds)})
    page.paragraph(
        "Equal: the client, the application and the log see the same on both servers. Better and different: "
        "explained below. Failed: wsbridge does not do what it must, or a difference has no explanation."
    )
    columns = dict.fromkeys((verdict.framework, verdict.server) for verdict in verdicts)
    by_place = {(verdict.scenario, verdict.framework, verdict.server): verdict for verdict in verdicts}
    rows: List[List[Any]] = []
    for scenario in dict.fromkeys(verdict.scenario for verdict in verdicts):
        cells = [by_place.get((scenario, *column)) for column in columns]
        rows.append(
            [
                scenario,
                *(Cell(one.word, COLOURS[one.word], title=one.describe()) if one else "" for one in cells),
            ]
        )
    page.table(["", *(f"{name} {versions[name]}, {server}" for name, server in columns)], rows)
    _add_failures(page, verdicts)
    _add_differences(page, verdicts)
    page.heading("The framework's own doing")
    page.paragraph(
        "What the client sees here is the framework's word; it has only to be the same on both servers."
    )
    owned = [[name, scenario, why] for name in versions for scenario, why in FRAMEWORKS[name].own.items()]
    page.table(["framework", "scenario", "why"], owned)
    return page


def _add_failures(page: Page, verdicts: Sequence[Verdict]) -> None:
    failed = [verdict for verdict in verdicts if verdict.faults]
    if failed:
        page.heading("Failed")
    for verdict in failed:
        page.details(f"{verdict.column}: {verdict.scenario}", verdict.describe())


def _add_differences(page: Page, verdicts: Sequence[Verdict]) -> None:
    places: Dict[Difference, List[str]] = {}
    for verdict in verdicts:
        for difference in verdict.differences:
            places.setdefault(difference, []).append(f"{verdict.column}: {verdict.scenario}")
    page.heading("Differences")
    rows = [
        [
            Cell(one.verdict, COLOURS[one.verdict]),
            one.reason,
            one.part,
            "; ".join(one.wsbridge),
            "; ".join(one.uvicorn),
            Cell(len(where), title="\n".join(where)),
        ]
        for one, where in places.items()
    ]
    page.table(["", "reason", "what", "wsbridge", "uvicorn", "places"], rows)
