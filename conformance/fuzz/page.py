"""The report: what was checked where, how often, what was found, and all that is needed to see it again."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Dict, List, Sequence

from ..lib.report import Cell, Page, Value
from .findings import INVARIANTS, Finding
from .guided import Search
from .linear import LIMIT, Slope, Times
from .memory import Peak
from .properties import Outcome


@dataclass
class Run:
    """Everything one run has measured; what was not run is empty."""

    seed: int
    command: str
    outcomes: List[Outcome] = field(default_factory=list)
    searches: List[Search] = field(default_factory=list)
    slopes: List[Slope] = field(default_factory=list)
    peaks: List[Peak] = field(default_factory=list)
    seconds: float = 0.0
    processor_seconds: float = 0.0

    @property
    def findings(self) -> List[Finding]:
        found = [outcome.finding for outcome in self.outcomes] + [search.finding for search in self.searches]
        found += [slope.to_finding() for slope in self.slopes] + [peak.to_finding() for peak in self.peaks]
        return [finding for finding in found if finding is not None]


def describe_versions() -> str:
    names = []
    for name in ("hypothesis", "atheris"):
        try:
            names.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            names.append(f"no {name}")
    return f"{platform.python_implementation()} {platform.python_version()}, {', '.join(names)}"


def write_report(run: Run, folder: Path) -> Path:
    (folder / "results.json").write_text(json.dumps(build_json(run), indent=1), "utf-8")
    return build_page(run).write(folder / "index.html")


def build_json(run: Run) -> Dict[str, Any]:
    return {
        "seed": run.seed,
        "command": run.command,
        "versions": describe_versions(),
        "seconds": round(run.seconds, 1),
        "processor_seconds": round(run.processor_seconds, 1),
        "findings": [finding.to_json() for finding in run.findings],
        "examples": {outcome.name: outcome.examples for outcome in run.outcomes},
        "executions": {f"{search.name} {search.kind}": search.executions for search in run.searches},
        "ratios": {
            slope.name: {size: round(ratio, 3) for size, ratio in slope.ratios.items()}
            for slope in run.slopes
        },
        "memory": {peak.case.name: [peak.peak, peak.limit, peak.case.allowed] for peak in run.peaks},
    }


def build_page(run: Run) -> Page:
    page = Page("Fuzzing", f"{describe_versions()}; seed {run.seed}; {run.command}")
    findings = run.findings
    page.facts(
        {
            "findings": Cell(len(findings), "fail" if findings else "ok"),
            "examples": sum(outcome.examples for outcome in run.outcomes) or None,
            "executions": sum(search.executions for search in run.searches) or None,
            "worst ratio of times": round(max((slope.worst for slope in run.slopes), default=0.0), 2) or None,
            "worst share of a memory limit": round(max((peak.ratio for peak in run.peaks), default=0.0), 2)
            or None,
            "minutes": round(run.seconds / 60, 1),
            "processor minutes": round(run.processor_seconds / 60, 1),
        }
    )
    if findings:
        page.heading("Findings")
        for finding in findings:
            page.details(
                f"{finding.target}: {finding.invariant}", "\n".join(finding.to_lines()), is_open=True
            )
    add_outcomes(page, run.outcomes)
    add_searches(page, run.searches)
    add_slopes(page, run.slopes)
    add_peaks(page, run.peaks)
    return page


def add_outcomes(page: Page, outcomes: Sequence[Outcome]) -> None:
    """Targets down, invariants across, in each field how often it was checked."""
    if not outcomes:
        return
    page.heading("Invariants (hypothesis)")
    page.paragraph(
        "Each figure is how many drawn examples were checked. Besides the pieces named, every input of a "
        "connection runs with and without tracing, which has no fast path."
    )
    rows: List[List[Value]] = []
    for outcome in outcomes:
        row: List[Value] = [outcome.name]
        for invariant in INVARIANTS:
            broken = outcome.finding is not None and outcome.finding.invariant == invariant
            covered = invariant in outcome.invariants or broken
            shown = Cell(outcome.examples, "fail" if broken else "ok") if covered else None
            row.append(shown)
        rows.append([*row, round(outcome.seconds, 1)])
    page.table(["target", *INVARIANTS, "seconds"], rows)


def add_searches(page: Page, searches: Sequence[Search]) -> None:
    if not searches:
        return
    page.heading("Guided search (atheris)")
    page.paragraph(
        "Coverage counts the branches of wsbridge that were seen: by the seeds and the corpora of earlier "
        "runs, then at the end. Corpora and logs are in the folders beside this page."
    )
    columns = [
        "target",
        "bytes are",
        "executions",
        "coverage at the start",
        "at the end",
        "features",
        "corpus",
    ]
    rows: List[List[Value]] = []
    for search in searches:
        folder = f"corpora/{search.name}-{search.kind}/log.txt"
        outcome = Cell(search.name, "fail" if search.finding else "ok", href=folder)
        coverage: List[Value] = [search.coverage_at_start, search.coverage, search.features, search.corpus]
        rows.append([outcome, search.kind, search.executions, *coverage, round(search.seconds, 1)])
    page.table([*columns, "seconds"], rows)


def add_slopes(page: Page, slopes: Sequence[Slope]) -> None:
    if not slopes:
        return
    page.heading("Time (2n over n)")
    page.paragraph(
        "Best processor time of several interleaved rounds, without the garbage collector. A doubling above "
        f"{LIMIT} is measured anew, alone; the smaller ratio stands, and above as well is a finding."
    )
    rated = [slope for slope in slopes if slope.ratios]
    labels = [slope.name for slope in rated]
    page.bar_plot("Worst ratio of 2n over n", labels, [round(slope.worst, 2) for slope in rated])
    lines = {
        slope.name: [(size, seconds * 1000) for size, seconds in sorted(slope.seconds.items())]
        for slope in sorted(rated, key=lambda slope: -slope.worst)[:8]
    }
    page.line_plot("The eight worst", lines, x_label="bytes", y_label="ms", log_x=True, log_y=True)
    outcomes = {"linear": "ok", "slope": "fail", "too short": None}
    rows: List[List[Value]] = []
    for slope in slopes:
        times, anew = (list_times(each) for each in (slope.seconds, slope.anew))
        ratios = ", ".join(f"{ratio:.2f}" for ratio in slope.ratios.values())
        verdict = Cell(slope.verdict, outcomes[slope.verdict])
        rows.append([slope.name, times, ratios, verdict, slope.rounds, anew])
    page.table(["adversary", "bytes: ms", "ratios", "verdict", "rounds", "measured anew"], rows)


def list_times(times: Times) -> str:
    return ", ".join(f"{size:,}: {seconds * 1000:.1f}" for size, seconds in sorted(times.items()))


def add_peaks(page: Page, peaks: Sequence[Peak]) -> None:
    if not peaks:
        return
    page.heading("Memory")
    page.paragraph(
        "Peaks over the start by tracemalloc, in times of the limit that is in force. Above 4, "
        "and yellow, are texts that are not ASCII: the limit counts UTF-8, and CPython's decoder holds 1 "
        "byte for every one of them, then 2 or 4 as well."
    )
    rows: List[List[Value]] = []
    for peak in peaks:
        outcome = "fail" if peak.to_finding() else "warn" if peak.ratio > 4 else "ok"
        share = Cell(round(peak.ratio, 2), outcome)
        figures: List[Value] = [peak.limit, peak.peak, share, peak.case.allowed, peak.resident]
        rows.append([peak.case.name, peak.case.limit_name, *figures])
    columns = ["input", "limit", "bytes", "peak", "times the limit", "allowed", "resident growth"]
    page.table(columns, rows)
