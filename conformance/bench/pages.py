"""What a run found: tables on the terminal and on a page, with plots there; everything in one JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Sequence

from tabulate import tabulate

from ..lib.environment import report_folder
from ..lib.report import Cell, Page
from .load import Result
from .rounds import DISTURBED, SECONDS, find_median, find_ratio
from .targets import BUSY_GENERATOR, OURS, Outcome
from .workloads import ALL as WORKLOADS

Run = Dict[str, Any]
Rounds = Dict[str, Dict[str, List[Result]]]
Rows = Dict[str, Dict[str, Any]]  # {name of a row: {name of a column: value}}

WORDS = {True: "met", False: "MISSED", None: "not judged"}
COLOURS = {"met": "ok", "MISSED": "fail", "not judged": "warn"}

SPEED = "thousand a second, medians"
FASTER = f"{OURS} is so many times as fast: medians of the rounds' ratios"
MEDIANS = (
    (SPEED, "per_second", 1e-3),
    ("processor time of the server, us each, medians", "server_ns", 1e-3),
    ("share of its core that the generator used, medians", "load_share", 1.0),
    ("share of its core that the server used with nothing to do, medians", "quiet_share", 1.0),
    ("bytes of a compressed reply, medians", "reply_bytes", 1.0),
    ("connections that the server closed behind a response, medians", "closed", 1.0),
    ("requests without a response, as the server closed, medians", "lost", 1.0),
)


def build_tables(run: Run, outcomes: Sequence[Outcome]) -> Dict[str, Rows]:
    """Return what both the terminal and the page show: {title: rows}."""
    rounds: Rounds = dict(run["rounds"])
    memory: Rows = {}
    for name, steps in run["crowd"].items():
        for step in steps:
            work = f"crowd, among {step['connections']:,}"
            memory.setdefault(f"idle, {work}", {})[name] = step["memory"] / 1024
            rounds.setdefault(work, {})[name] = [step]
    for how, sizes in run["compressed"].items():
        title = f"after a compressed message each way, {how}"
        memory[title] = {name: size / 1024 for name, size in sizes.items()}
    instructions = "user instructions each, by callgrind; granian's count is too high, as it spins"
    tables = {
        **_build_round_tables(rounds),
        "KiB of a connection": memory,
        instructions: run["instructions"],
        **{f"codecs alone, {title}": rows for title, rows in _build_round_tables(run["codec"]).items()},
        "import, ms": {"": run["imports"]},
        "targets": {
            f"{one.what}, {one.target}": {
                "measured": one.measured,
                "": WORDS[one.is_met],
                "against": one.against,
            }
            for one in outcomes
            if one.measured is not None
        },
    }
    return {title: rows for title, rows in tables.items() if any(rows.values())}


def _build_round_tables(rounds: Rounds) -> Dict[str, Rows]:
    tables: Dict[str, Rows] = {}
    for title, key, factor in MEDIANS:
        for work, row in rounds.items():
            medians = {name: find_median(results, key) for name, results in row.items()}
            known = {name: median * factor for name, median in medians.items() if median is not None}
            if known:
                tables.setdefault(title, {})[work] = known
    for work, row in rounds.items():
        ratios = {name: find_ratio(row.get(OURS, []), results) for name, results in row.items()}
        tables.setdefault(FASTER, {})[work] = ratios
        failed = {name: one["failed"] for name, results in row.items() for one in results if "failed" in one}
        tables.setdefault("failed", {})[work] = failed
    return tables


def list_columns(rows: Rows) -> List[str]:
    return list(dict.fromkeys(name for row in rows.values() for name in row))


def print_run(run: Run, outcomes: Sequence[Outcome]) -> None:
    for title, rows in build_tables(run, outcomes).items():
        columns = list_columns(rows)
        shown = [[work, *(_format(row.get(name)) for name in columns)] for work, row in rows.items()]
        print(f"\n{title}\n{tabulate(shown, ['', *columns], 'plain', disable_numparse=True)}")
    print(f"\n{explain(run)}")


def _format(value: Any) -> str:
    if not isinstance(value, (int, float)):
        return "-" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def explain(run: Run) -> str:
    rows = run["rounds"].values()
    results = [one for row in rows for some in row.values() for one in some if "waiting" in one]
    disturbed = sum(one["waiting"] > DISTURBED for one in results)
    busy = sum(one["load_share"] > BUSY_GENERATOR for one in results)
    return (
        f"Every server did every workload for {SECONDS:g} s in each of {run['rounds_wanted']} "
        "interleaved rounds. Servers share one core, the load generator has the other, both at "
        f"{run['priority']} priority; idle cores were kept from sleeping. {disturbed} of {len(results)} "
        f"measurements waited over {DISTURBED:.0%} of the time for a core. In {busy} the generator used over "
        f"{BUSY_GENERATOR:.0%} of its own; where the median is above that, no target is judged."
    )


def write_run(run: Run, outcomes: Sequence[Outcome]) -> Path:
    """Write index.html and results.json; return the page's path."""
    folder = report_folder("bench")
    found = {**run, "targets": [one._asdict() for one in outcomes]}
    (folder / "results.json").write_text(json.dumps(found, indent=1), "utf-8")
    page = Page("wsbridge bench", ", ".join(f"{name} {value}" for name, value in run["versions"].items()))
    counts = {word: sum(WORDS[one.is_met] == word for one in outcomes) for word in COLOURS}
    page.facts({f"targets {word}": Cell(count, COLOURS[word]) for word, count in counts.items()})
    page.paragraph(explain(run))
    page.table(["machine", ""], list(run["machine"].items()))
    page.table(["left out", "why"], list(run["missing"].items()))
    tables = build_tables(run, outcomes)
    for title, rows in tables.items():
        columns = list_columns(rows)
        cells = [[work, *(_mark(row.get(name)) for name in columns)] for work, row in rows.items()]
        page.heading(title[:1].upper() + title[1:])
        page.table(["", *columns], cells)
    page.heading("Workloads")
    for workload in WORKLOADS:
        speeds = tables.get(SPEED, {}).get(workload.name, {})
        page.bar_plot(workload.name, list(speeds), list(speeds.values()), "thousand a second")
    return page.write(folder / "index.html")


def _mark(value: Any) -> Any:
    return Cell(value, COLOURS[value]) if isinstance(value, str) and value in COLOURS else value
