"""The report: figures for each module, every survivor with its diff and its reason."""

from __future__ import annotations

from collections import Counter
from typing import List, Sequence

from ..lib.report import Cell, Page, Value
from .outcomes import CAUSES, Outcome
from .survivors import CLASSES, Comparison, find_class


def build_page(outcomes: Sequence[Outcome], comparison: Comparison, described: str, seconds: float) -> Page:
    page = Page("Mutation testing of wsbridge/protocols", described)
    killed = sum(outcome.is_killed for outcome in outcomes)
    page.facts(
        {
            "mutants": len(outcomes),
            "killed": f"{killed / len(outcomes):.2%}",
            "survived": len(outcomes) - killed,
            "survivors not listed": _count(len(comparison.unlisted)),
            "without a reason": _count(len(comparison.unreasoned)),
            "listed but gone": len(comparison.gone),
            "minutes": round(seconds / 60, 1),
        }
    )
    page.heading("Modules")
    page.paragraph(
        "A mutant is killed by the first test that fails: one of the module's own test file, or a quick one "
        "of another's; or because it cannot be imported, takes ten times the time and 3 s, or crashes. "
        "One that the list names got its own quick tests only, and has survived whatever others say. "
        "Not tried: equality or order replaced by identity, and what is no Python."
    )
    modules = sorted({outcome.module for outcome in outcomes})
    rows = [_build_row(name, [o for o in outcomes if o.module == name]) for name in modules]
    page.table(["module", "mutants", "killed", "survived", "", *CAUSES], [*rows, _build_row("all", outcomes)])
    page.heading("Survivors by reason")
    counts = comparison.count_classes(outcomes)
    page.table(["class", "mutants", ""], [[name, count, CLASSES.get(name)] for name, count in counts.items()])
    page.heading("Survivors")
    for outcome in outcomes:
        if not outcome.is_killed:
            _add_survivor(page, outcome, comparison.reasons.get(outcome.key, ""))
    if comparison.gone:
        page.heading("Listed, and killed now or no more there")
        page.table(["mutant"], [[key.describe()] for key in comparison.gone])
    return page


def _count(number: int) -> Cell:
    return Cell(number, "fail" if number else "ok")


def _build_row(name: str, outcomes: Sequence[Outcome]) -> List[Value]:
    causes = Counter(outcome.cause for outcome in outcomes)
    killed = len(outcomes) - causes[""]
    share = f"{killed / len(outcomes):.1%}"
    return [name, len(outcomes), killed, causes[""], share, *(causes[cause] for cause in CAUSES)]


def _add_survivor(page: Page, outcome: Outcome, reason: str) -> None:
    place = f"{outcome.module}.py:{outcome.line} {outcome.key.function}"
    title = f"{place}: {reason or 'no reason given'}"
    page.details(title, outcome.diff, is_open=not find_class(reason))
