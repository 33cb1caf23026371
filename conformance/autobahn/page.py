"""The report page of a run: counts, what is not OK, our verdict on compression, links to wstest's pages."""

from __future__ import annotations

from typing import Dict, List, Mapping, Sequence

from ..lib.report import Cell, Page, Value
from .compression import LEAST_SAVED
from .results import Result, count_behaviors
from .suite import Run

_BEHAVIOR_OUTCOMES = {"OK": "ok", "INFORMATIONAL": "info", "NON-STRICT": "warn", "UNIMPLEMENTED": "none"}


def build_page(
    title: str, subtitle: str, run: Run, facts: Mapping[str, Value], differences: Sequence[str]
) -> Page:
    """The report of a run; `facts` are shown beside the counts, `differences` are those from the record."""
    page = Page(title, subtitle)
    results = run.results.values()
    counts: Dict[str, Value] = {
        behavior: Cell(count, _BEHAVIOR_OUTCOMES.get(behavior, "fail"))
        for behavior, count in count_behaviors(results).items()
    }
    page.facts({"cases": len(results), **counts, "minutes": round(run.seconds / 60, 1), **facts})
    for heading, lines in (("Besides the cases", run.troubles), ("Different from the record", differences)):
        if lines:
            page.heading(heading)
            page.table(["what"], [[Cell(line, "fail")] for line in lines])
    shortfalls = [result for result in results if result.outcome != "ok"]
    if shortfalls:
        page.heading("What is not OK")
        texts = ("expectation", "result", "resultClose")
        rows = [[*_describe(result), *map(result.get_text, texts)] for result in shortfalls]
        page.table(["case", "outcome", "expectation", "result", "closing"], rows)
    page.heading("All cases")
    page.paragraph(
        "A case is linked to the page that wstest wrote of it: handshake, expectation, events and wire log. "
        "Ratio: bytes in frames over bytes in messages, of the echoes, and of what wstest itself compressed. "
        "The response must have the parameters that were asked for, and the echoes must have "
        f"saved at least {LEAST_SAVED} of what wstest's messages did."
    )
    columns = ["case", "outcome", "close code", "ms", "agreed", "ratio of echoes", "ratio of wstest"]
    page.table(columns, [_build_row(result) for result in results])
    return page


def _describe(result: Result) -> List[Value]:
    return [Cell(result.case, href=result.page), Cell(result.verdict, result.outcome)]


def _build_row(result: Result) -> List[Value]:
    row: List[Value] = [*_describe(result), Cell(str(result.close_code)), result.milliseconds]
    if result.compression is None:
        return [*row, "", "", ""]
    return [*row, result.compression.agreed, result.compression.ratio_in, result.compression.ratio_out]
