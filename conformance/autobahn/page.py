"""The report page of an Autobahn run, and the overview of all runs whose reports are kept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ..lib.report import Cell, Page, Value
from .cases import DEFLATE_SIZES, SUITE_VERSION, get_section
from .results import LEAST_SAVED, Compression, Result, count_behaviors
from .suite import Run

_BEHAVIOR_OUTCOMES = {
    "OK": "ok",
    "INFORMATIONAL": "info",
    "NON-STRICT": "warn",
    "UNIMPLEMENTED": "none",
    "FAILED": "fail",
    "MISSING": "fail",
}

_CLOSING_FIELDS = (
    "wasClean",
    "wasNotCleanReason",
    "closedByMe",
    "failedByMe",
    "droppedByMe",
    "remoteCloseCode",
    "remoteCloseReason",
)


def build_page(
    title: str, subtitle: str, run: Run, facts: Mapping[str, Value], differences: Sequence[str]
) -> Page:
    """The report of a run; `facts` are shown beside the counts, `differences` are those from the record."""
    page = Page(title, subtitle)
    counts = count_behaviors(run.results.values())
    shown: Dict[str, Value] = {"cases": len(run.results)}
    for behavior, count in counts.items():
        shown[behavior] = Cell(count, _BEHAVIOR_OUTCOMES.get(behavior, "fail") if count else None)
    page.facts({**shown, "minutes": round(run.seconds / 60, 1), **facts})
    if run.troubles:
        page.heading("Besides the cases")
        page.table(["what went wrong"], [[Cell(trouble, "fail")] for trouble in run.troubles])
    if differences:
        page.heading("Different from the record")
        page.table(["case"], [[Cell(difference, "warn")] for difference in differences])
    _add_shortfalls(page, run)
    _add_durations(page, run)
    _add_compression(page, run)
    _add_cases(page, run)
    return page


def _add_shortfalls(page: Page, run: Run) -> None:
    shown = [result for result in run.results.values() if result.outcome != "ok"]
    if not shown:
        return
    page.heading("What is not OK")
    rows: List[Sequence[Value]] = [
        [
            Cell(result.case, result.outcome, href="#" + _anchor(result)),
            result.verdict,
            result.get_text("expectation"),
            result.get_text("result"),
            result.get_text("resultClose"),
        ]
        for result in shown
    ]
    page.table(["case", "outcome", "expectation", "result", "closing"], rows)
    for result in shown:
        page.heading(f"{result.case}: {result.verdict}", _anchor(result), level=3)
        if not result.record:
            page.paragraph("The suite has no result for this case.")
            continue
        page.paragraph(result.get_text("description"))
        page.paragraph("Expected: " + result.get_text("expectation"))
        page.details("expected and received", _format_events(result))
        page.details("opening handshake", result.format_handshake())
        page.details("wire log", result.format_wire_log(), is_open=True)


def _format_events(result: Result) -> str:
    expected = result.record.get("expected", {})
    lines = [f"{behavior}: {json.dumps(events)}" for behavior, events in expected.items()]
    lines.append(f"received: {json.dumps(result.record.get('received', []))}")
    lines.append(f"expected closing: {json.dumps(result.record.get('expectedClose', {}))}")
    for name in _CLOSING_FIELDS:
        lines.append(f"{name}: {result.record.get(name)}")
    return "\n".join(lines)


def _anchor(result: Result) -> str:
    return "case-" + result.case.replace(".", "-")


def _add_durations(page: Page, run: Run) -> None:
    results = run.results.values()
    measured = [result for result in results if get_section(result.case) == "9" and result.record]
    if not measured:
        return
    page.heading("How long section 9 takes")
    page.paragraph(
        "9.1 and 9.2: one message of 64 KiB to 16 MiB. 9.3 and 9.4: 4 MiB in fragments of 64 bytes to 4 MiB. "
        "9.5 and 9.6: 1 MiB in writes of 64 to 2048 bytes. 9.7 and 9.8: 1000 messages of 0 to 4096 bytes, "
        "each sent when the last has come back. The suite's own work, in Python 2, is part of every figure."
    )
    page.bar_plot(
        "Duration",
        [f"{result.case} {_shorten(result.get_text('description'))}" for result in measured],
        [float(result.milliseconds) for result in measured],
        unit="ms",
        log=True,
    )


def _shorten(description: str) -> str:
    """ "4 * 2**20 (4M), chops of 512 octets": what sets a case of section 9 apart from its neighbours."""
    words = description.split(" to measure")[0].split("length ")[-1]
    words = re.sub(r"\. Sent out (data )?in ", ", ", words)
    return re.sub(r"^Send | octets|\.$", "", words)


def _add_compression(page: Page, run: Run) -> None:
    rows: List[Sequence[Value]] = []
    for result in run.results.values():
        found = result.compression
        if found is not None:
            rows.append(_build_compression_row(result, found))
    if not rows:
        return
    page.heading("Really compressed, with the parameters asked for")
    page.paragraph(
        "Ratio: bytes in frames over bytes in messages, for the 1000 echoes received and the 1000 messages "
        "that the suite itself compressed. Red: the response lacks a parameter that was asked for, or the "
        f"echoes saved less than {LEAST_SAVED} of what the suite's own messages did."
    )
    columns = ["case", "bytes", "offered", "agreed", "ratio of echoes", "ratio of the suite", "ms"]
    page.table(columns, rows, "all of 12.* and 13.*", is_folded=True)
    groups: Dict[str, List[Tuple[float, float]]] = {}
    for result in run.results.values():
        number = int(result.case.split(".")[-1])
        if result.compression is not None and result.compression.ratio_in is not None and number <= 10:
            group = ".".join(result.case.split(".")[:2])
            groups.setdefault(group, []).append((DEFLATE_SIZES[number - 1], result.compression.ratio_in))
    for section in ("12", "13"):
        chosen = {group: points for group, points in groups.items() if get_section(group) == section}
        if chosen:
            title = f"Ratio of the echoes, {section}.* unfragmented"
            page.line_plot(title, chosen, x_label="bytes in a message", y_label="ratio", log_x=True)


def _build_compression_row(result: Result, found: Compression) -> Sequence[Value]:
    size = DEFLATE_SIZES[int(result.case.split(".")[-1]) - 1]
    agreed = Cell(found.agreed or "nothing", "fail" if found.complaint or not found.agreed else "ok")
    return [result.case, size, found.offered, agreed, found.ratio_in, found.ratio_out, result.milliseconds]


def _add_cases(page: Page, run: Run) -> None:
    page.heading("Every case in words")
    rows: List[Sequence[Value]] = [
        [
            result.case,
            Cell(result.verdict, result.outcome),
            result.close_code,
            result.milliseconds,
            result.get_text("description"),
            result.get_text("expectation"),
        ]
        for result in run.results.values()
    ]
    columns = ["case", "outcome", "close code", "ms", "description", "expectation"]
    page.table(columns, rows, "description, expectation and time of all cases", is_folded=True)


# ---------------------------------------------------------------------------- the overview


def save_summary(folder: Path, label: str, version: str, run: Run, is_whole: bool) -> None:
    """Keep what the overview shows of a run."""
    durations = {
        case: result.milliseconds for case, result in run.results.items() if get_section(case) == "9"
    }
    summary = {
        "label": label,
        "version": version,
        "whole": is_whole,
        "cases": len(run.results),
        "seconds": round(run.seconds),
        "counts": count_behaviors(run.results.values()),
        "not OK": sum(not result.is_good for result in run.results.values()),
        "durations": durations,
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=1), "utf-8")


def write_overview(folder: Path) -> Path:
    """Write index.html over the runs whose reports are in the subfolders."""
    page = Page("Autobahn", f"autobahntestsuite {SUITE_VERSION}; the last run of each kind made here")
    rows: List[Sequence[Value]] = []
    durations: Dict[str, Dict[str, float]] = {}
    for path in sorted(folder.glob("*/summary.json")):
        summary = _read_summary(path)
        if summary is None:
            continue
        counts = summary["counts"]
        row: List[Value] = [Cell(path.parent.name, href=f"{path.parent.name}/index.html"), summary["version"]]
        row.append(summary["cases"])
        for behavior, outcome in _BEHAVIOR_OUTCOMES.items():
            count = counts.get(behavior, 0)
            row.append(Cell(count, outcome if count else None))
        row.append(Cell(summary["not OK"], "fail" if summary["not OK"] else "ok"))
        row.append(round(summary["seconds"] / 60, 1))
        rows.append(row)
        if summary["whole"]:
            durations[summary["label"]] = summary["durations"]
    page.table(["run", "version", "cases", *_BEHAVIOR_OUTCOMES, "not OK in any way", "minutes"], rows)
    if len(durations) > 1:
        first, *others = durations.values()
        cases = [case for case in first if all(case in other for other in others)]
        if cases:
            series = {label: [each[case] for case in cases] for label, each in list(durations.items())[:8]}
            page.bar_plot("Section 9", cases, series, unit="ms", log=True)
    return page.write(folder / "index.html")


def _read_summary(path: Path) -> Optional[Dict[str, Any]]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError):
        return None
