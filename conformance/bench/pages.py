"""What a run found: a table on the terminal, one page with plots, one JSON file."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ..lib.environment import ROOT, report_folder
from ..lib.report import Cell, Page
from .instructions import MODES
from .peers import REQUIREMENTS
from .rounds import DISTURBED, find_median
from .targets import OURS, OURS_UVLOOP, Outcome, find_ratio, find_speed_ratio
from .workloads import ALL as WORKLOADS

# Above this share of its core the generator may be what limits a result.
BUSY_GENERATOR = 0.9

_TITLES = {workload.name: workload.title for workload in WORKLOADS}


# ---------------------------------------------------------------- facts


def describe_machine() -> Dict[str, str]:
    model = "unknown"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {
        "processor": f"{model}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "instructions": "callgrind" if not _has_counters() else "callgrind (perf counters exist here too)",
    }


def _has_counters() -> bool:
    try:
        asked = subprocess.run(
            ["perf", "stat", "-x", ",", "-e", "instructions:u", "true"],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0 and "not supported" not in asked.stderr


def describe_versions() -> Dict[str, str]:
    versions = dict(requirement.split("==") for requirement in REQUIREMENTS)
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        revision = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except OSError:
        revision = ""
    return {"wsbridge": revision or "not committed", **versions}


# ---------------------------------------------------------------- rows

Column = Callable[[List[Dict[str, Any]]], Optional[float]]

_COLUMNS: List[Tuple[str, Column]] = [
    ("messages/s", lambda results: find_median(results, "per_second")),
    ("server CPU us/message", lambda results: _scale(find_median(results, "server_ns"), 1e-3)),
]


def _scale(value: Optional[float], factor: float) -> Optional[float]:
    return None if value is None else value * factor


def find_spread(results: Sequence[Dict[str, Any]]) -> Optional[float]:
    """(largest - smallest) / median of the rounds, the measure of how noisy the machine was."""
    values = [result["per_second"] for result in results if "per_second" in result]
    middle = find_median(results, "per_second")
    return (max(values) - min(values)) / middle if middle else None


def _format(value: Optional[float]) -> str:
    if value is None:
        return "-"
    if value >= 10_000:
        return f"{value / 1000:.1f}k"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def build_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[at]) for row in [columns, *rows]) for at in range(len(columns))]
    lines = []
    for row in [columns, *rows]:
        lines.append(
            "  ".join(
                text.ljust(width) if at == 0 else text.rjust(width)
                for at, (text, width) in enumerate(zip(row, widths))
            ).rstrip()
        )
    return "\n".join(lines)


def print_run(run: Dict[str, Any]) -> None:
    """The compact table: one line a server, one column a workload."""
    rounds, names = run["rounds"], run["servers"]
    if rounds:
        for title, column in _COLUMNS:
            print(f"\n{title}, medians of {run['settings']['rounds']} rounds")
            rows = [
                [name] + [_format(column(rounds[work].get(name, []))) for work in rounds] for name in names
            ]
            print(build_table(["", *rounds], rows))
        _print_busy(rounds, run["settings"]["priority"])
    if run["instructions"]:
        print("\nuser instructions/message, callgrind")
        rows = [
            [name] + [_format(row.get(mode)) for mode in MODES] for name, row in run["instructions"].items()
        ]
        print(build_table(["", *MODES], rows))
    if run["crowd"]:
        print("\nconnections: KiB per idle one, server CPU us/message")
        print(build_table(["", *_crowd_columns(run["crowd"])], _crowd_rows(run["crowd"])))
    if run["codec"]:
        print_codec(run["codec"])
    if run["imports"]:
        print("\nimport, ms: " + ", ".join(f"{name} {value:.1f}" for name, value in run["imports"].items()))


def _print_busy(rounds: Dict[str, Any], priority: str) -> None:
    shares = [
        (find_median(results, "load_share") or 0.0, work, name)
        for work, row in rounds.items()
        for name, results in row.items()
    ]
    busy = [f"{name} {work} ({share:.0%})" for share, work, name in shares if share > BUSY_GENERATOR]
    top = max(shares, default=(0.0, "", ""))
    print(f"\nservers and generator had {priority} priority")
    print(f"the generator used at most {top[0]:.0%} of its core ({top[2]} {top[1]})")
    disturbed = [
        result["waiting"]
        for row in rounds.values()
        for results in row.values()
        for result in results
        if "waiting" in result
    ]
    if disturbed:
        many = sum(share > DISTURBED for share in disturbed)
        print(f"{many} of {len(disturbed)} measurements waited over {DISTURBED:.0%} of the time for a core")
    if busy:
        print("the generator may have limited: " + ", ".join(busy))


def _crowd_columns(crowd: Dict[str, List[Dict[str, Any]]]) -> List[str]:
    steps = max(crowd.values(), key=len)
    return [f"{kind} at {step['connections']:.0f}" for kind in ("KiB", "us") for step in steps]


def _crowd_rows(crowd: Dict[str, List[Dict[str, Any]]]) -> List[List[str]]:
    return [
        [
            name,
            *(f"{step['memory'] / 1024:.1f}" for step in steps),
            *(f"{step['server_ns'] / 1000:.1f}" for step in steps),
        ]
        for name, steps in crowd.items()
    ]


def print_codec(codec: Dict[str, Any]) -> None:
    medians = codec["medians"]
    names = list(next(iter(medians.values())))
    peers = [name for name in names if name != "wsbridge"]
    print("\ncodecs alone, thousand a second; ratios of wsbridge to each")
    print(build_table(["", *names, *(f"/{name}" for name in peers)], _codec_rows(codec, names, peers)))


def _codec_rows(codec: Dict[str, Any], names: Sequence[str], peers: Sequence[str]) -> List[List[str]]:
    rows = []
    for work, row in codec["medians"].items():
        ratios = [find_speed_ratio(codec["speeds"][work], peer) for peer in peers]
        shown = [f"{row[name] / 1000:.4g}" for name in names]
        rows.append([work, *shown, *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios)])
    return rows


def print_targets(outcomes: Sequence[Outcome]) -> None:
    measured = [outcome for outcome in outcomes if outcome.measured is not None]
    if not measured:
        print("\nno target was measured")
        return
    print("\ntargets")
    rows = []
    for outcome in measured:
        word = "met" if outcome.is_met else "MISSED"
        floor = _format(outcome.floor)
        rows.append([outcome.what, outcome.target, _format(outcome.measured), word, outcome.against, floor])
    print(build_table(["", "target", "measured", "", "against", "floor"], rows))
    missed = sum(not outcome.is_met for outcome in measured)
    print(f"\n{len(measured) - missed} met, {missed} missed, {len(outcomes) - len(measured)} not measured")


# ---------------------------------------------------------------- page


def write_run(run: Dict[str, Any], outcomes: Sequence[Outcome]) -> Path:
    """Write index.html and run.json; return the page's path."""
    folder = report_folder("bench-codec" if run["settings"]["codec_only"] else "bench")
    (folder / "run.json").write_text(
        json.dumps({**run, "targets": [o._asdict() for o in outcomes]}, indent=1), "utf-8"
    )
    page = Page("wsbridge bench", ", ".join(f"{name} {value}" for name, value in run["versions"].items()))
    page.facts(_build_facts(run, outcomes))
    page.paragraph(_explain(run))
    page.table(["machine", ""], list(run["machine"].items()))
    if run["missing"]:
        page.table(["left out", "why"], list(run["missing"].items()))
    _add_targets(page, outcomes)
    if run["rounds"]:
        _add_rounds(page, run)
    if run["instructions"]:
        page.heading("User instructions per message")
        page.paragraph(
            "Counted by callgrind, 125 B text. granian's threads wait for each other by spinning, "
            "and callgrind runs one at a time: its counts are not comparable."
        )
        for mode in MODES:
            row = {name: counts[mode] for name, counts in run["instructions"].items() if mode in counts}
            page.bar_plot(_TITLES[mode], list(row), list(row.values()), "instructions")
    if run["crowd"]:
        _add_crowd(page, run["crowd"])
    if run["codec"]:
        _add_codec(page, run["codec"])
    if run["imports"]:
        page.heading("Import time")
        page.bar_plot("fresh interpreter, -I -S", list(run["imports"]), list(run["imports"].values()), "ms")
    return page.write(folder / "index.html")


def _build_facts(run: Dict[str, Any], outcomes: Sequence[Outcome]) -> Dict[str, Any]:
    measured = [outcome for outcome in outcomes if outcome.measured is not None]
    missed = sum(not outcome.is_met for outcome in measured)
    return {
        "targets met": Cell(len(measured) - missed, "ok" if measured and not missed else "info"),
        "targets missed": Cell(missed, "fail" if missed else "ok"),
        "not measured": len(outcomes) - len(measured),
        "rounds": run["settings"]["rounds"],
        "minutes": run["seconds"] / 60,
    }


def _explain(run: Dict[str, Any]) -> str:
    settings = run["settings"]
    return (
        f"Every server ran every workload for {settings['seconds']:g} s in each of {settings['rounds']} "
        "interleaved rounds; figures are medians, ratios are medians of each round's own. Servers share "
        "one core, the load generator has the other; its own share stands beside every result. "
        + f"Both had {settings['priority']} priority. "
        + ("" if settings["let_sleep"] else "Idle cores were kept from sleeping. ")
        + f"Others on the machine used {run['foreign_share']:.0%} of both cores meanwhile."
    )


def _add_targets(page: Page, outcomes: Sequence[Outcome]) -> None:
    page.heading("Targets")
    rows = []
    for outcome in outcomes:
        word = "not measured" if outcome.is_met is None else "met" if outcome.is_met else "missed"
        colour = {"met": "ok", "missed": "fail"}.get(word, "none")
        shown = [outcome.measured, Cell(word, colour), outcome.against, outcome.floor]
        rows.append([outcome.what, outcome.target, *shown])
    page.paragraph(
        "Floor: what servers reach against the same peer that only send back what they read, on asyncio or "
        "uvloop, whichever is faster. A target above it cannot be met here."
    )
    page.table(["what", "target", "measured", "outcome", "against", "floor"], rows)


def _add_rounds(page: Page, run: Dict[str, Any]) -> None:
    page.heading("Throughput and processor time")
    for work, row in run["rounds"].items():
        known = {
            name: results for name, results in row.items() if find_median(results, "per_second") is not None
        }
        if not known:
            continue
        page.heading(f"{work}: {_TITLES[work]}", work, 3)
        speeds = [find_median(results, "per_second") or 0.0 for results in known.values()]
        page.bar_plot("throughput", list(known), speeds, "per second")
        costs = [(find_median(results, "server_ns") or 0.0) / 1000 for results in known.values()]
        page.bar_plot("processor time of the server", list(known), costs, "us each")
        page.table(
            [
                "server",
                "per second",
                "CPU us",
                "spread",
                "server's core",
                "generator's core",
                "waited",
                "wsbridge /",
                "wsbridge+uvloop /",
            ],
            [_build_round_row(name, results, row) for name, results in row.items()],
        )


def _build_round_row(name: str, results: List[Dict[str, Any]], row: Dict[str, Any]) -> List[Any]:
    said = next(
        (
            result.get("failed") or result.get("unsupported")
            for result in results
            if "per_second" not in result
        ),
        None,
    )
    load = find_median(results, "load_share")
    shown_load = Cell(f"{load:.0%}", "warn" if load > BUSY_GENERATOR else None) if load is not None else None
    share, spread = find_median(results, "server_share"), find_spread(results)
    disturbed = find_median(results, "waiting")
    return [
        Cell(name, "fail" if said and "negotiated" not in said else None, title=said or ""),
        find_median(results, "per_second") if said is None else said,
        _scale(find_median(results, "server_ns"), 1e-3),
        None if spread is None else f"{spread:.0%}",
        None if share is None else f"{share:.0%}",
        shown_load,
        None if disturbed is None else Cell(f"{disturbed:.0%}", "warn" if disturbed > DISTURBED else None),
        find_ratio(row.get(OURS, []), results),
        find_ratio(row.get(OURS_UVLOOP, []), results),
    ]


def _add_crowd(page: Page, crowd: Dict[str, List[Dict[str, Any]]]) -> None:
    page.heading("Many connections")
    last = {name: steps[-1]["memory"] / 1024 for name, steps in crowd.items()}
    count = max(steps[-1]["connections"] for steps in crowd.values())
    page.bar_plot(
        f"resident memory per idle connection, {count:,.0f} of them", list(last), list(last.values()), "KiB"
    )
    lines: Dict[str, Sequence[Tuple[float, float]]] = {
        name: [(step["connections"], step["server_ns"] / 1000) for step in steps]
        for name, steps in crowd.items()
    }
    page.line_plot("a message among many", lines, x_label="connections", y_label="server CPU, us", log_x=True)
    page.table(["server", *_crowd_columns(crowd)], _crowd_rows(crowd))


def _add_codec(page: Page, codec: Dict[str, Any]) -> None:
    page.heading("Codecs alone")
    names = list(next(iter(codec["medians"].values())))
    for kind, words in (("parse", "parsing masked text frames"), ("build", "building text frames")):
        works = [work for work in codec["medians"] if work.startswith(kind)]
        values = {name: [codec["medians"][work][name] / 1000 for work in works] for name in names}
        page.bar_plot(words, works, values, "thousand a second", log=True)
    peers = [name for name in names if name != "wsbridge"]
    page.table(["", *names, *(f"wsbridge / {name}" for name in peers)], _codec_rows(codec, names, peers))
