"""The Autobahn fuzzing client, all 517 cases, against wsbridge's server or a peer's.

    python3 conformance/run.py autobahn [--cases '6.4.*' | quick ...] [--check | --update] [--jobs N]
        [--peer NAME] [--python PATH] [--loop uvloop]

The report is conformance/reports/autobahn/NAME/index.html. The exit code is 1 for anything but OK and
INFORMATIONAL in any case that was picked, its closing handshake included; for a case without a result; for
compression that was not negotiated or done as asked; for a server that ended by itself or printed a
traceback; and, when all cases ran or with --check, for any difference from conformance/autobahn-results.json.
The client role: `autobahn-client`.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence

from ..lib.environment import Unavailable, lock_folder, report_folder
from ..lib.report import Cell, Value
from ..lib.servers import ServerFailed
from .cases import CASES, join_ranges, pick_cases
from .page import build_page
from .results import build_record, compare_record, count_behaviors, load_records, save_records
from .suite import Run
from .targets import CLIENT, PEERS, Target, prepare_target
from .wstest import find_wstest


def main(argv: List[str]) -> int:
    return run_role("server", argv)


def run_role(role: str, argv: Sequence[str]) -> int:
    """Run the cases before our implementation of that role, "server" or "client"; return the exit code."""
    options = parse_arguments(argv, role)
    wstest = find_wstest()
    target = prepare_target(options.peer, options.python, options.loop)
    folder = open_folder(target.label, options)
    run = Run(wstest, target, role, options.picked, folder)
    try:
        asyncio.run(run.run(options.jobs, options.seconds))
    except ServerFailed as error:
        raise Unavailable(str(error)) from None
    for server in run.servers:
        count = server.read_log().count("Traceback")
        if count:
            run.troubles.append(f"the server printed {count} tracebacks: {server.log}")
        if target.is_ours and server.poll():
            run.troubles.append(f"the server's exit code is {server.poll()}: {server.log}")
    subtitle = f"{role} role, {options.peer} ({target.version}) on {target.platform}; wstest: {wstest.origin}"
    return report(run, options, target, folder, subtitle, role if target.is_ours else "")


def parse_arguments(argv: Sequence[str], role: str) -> argparse.Namespace:
    """The options of that role; `picked` are the cases, in the suite's order."""
    parser = argparse.ArgumentParser(prog=f"run.py autobahn{'-client' if role == 'client' else ''}")
    parser.add_argument(
        "--cases",
        "--sections",
        nargs="+",
        default=["*"],
        metavar="PATTERN",
        help="such as '6.4.*', 9 or 12.1; quick: sections 1 to 7 and 10",
    )
    parser.add_argument("--python", default=sys.executable, metavar="PATH", help="what wsbridge runs under")
    parser.add_argument("--loop", default="asyncio", choices=["asyncio", "uvloop"])
    parser.add_argument(
        "--jobs", type=int, default=1, help="cases at a time, each before its own process (1)"
    )
    parser.add_argument(
        "--seconds", type=float, default=5400.0, help="what is not done then is missing (5400)"
    )
    outcome = parser.add_mutually_exclusive_group()
    outcome.add_argument(
        "--check", action="store_true", help="compare with the recorded results, as a run of all always does"
    )
    outcome.add_argument("--update", action="store_true", help="write the results to the committed file")
    if role == "server":
        parser.add_argument("--peer", default="wsbridge", choices=list(PEERS), help="the server (wsbridge)")
    parser.set_defaults(peer="wsbridge" if role == "server" else CLIENT)
    options = parser.parse_args(argv)
    try:
        options.picked = pick_cases(options.cases)
    except ValueError as error:
        parser.error(str(error))
    if options.update and options.picked != CASES:
        parser.error("--update needs all cases")
    if options.check and options.peer not in ("wsbridge", CLIENT):
        parser.error("--check is for wsbridge; of its peers only figures are recorded")
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    return options


def open_folder(label: str, options: argparse.Namespace) -> Path:
    """Return the report's folder, emptied and this process's alone until it ends.

    A run of some of the cases has another folder than one of all, whose report it leaves as it is. Raises
    `Unavailable` when a run of the same kind is going on.
    """
    folder = report_folder("autobahn") / (label if options.picked == CASES else f"{label}-part")
    folder.mkdir(exist_ok=True)
    lock_folder(folder)
    shutil.rmtree(folder / "batches", ignore_errors=True)
    for log in folder.glob("*.log"):
        log.unlink()
    return folder


def report(
    run: Run, options: argparse.Namespace, target: Target, folder: Path, subtitle: str, name: str
) -> int:
    """Write the page, compare or write the record, say what came of it, and return the exit code.

    name: the run's place in the committed record; "" for a peer, of which only figures are kept.
    """
    records = load_records()
    results = run.results.values()
    differences: List[str] = []
    facts: Dict[str, Value] = {"MiB at most": round(run.peak_memory / 2**20)} if run.peak_memory else {}
    if options.update:
        update_records(records, name, target, run)
    elif name and (options.check or options.picked == CASES):
        differences = compare_record(run.results, records[name])
        facts["differences from the record"] = Cell(len(differences), "fail" if differences else "ok")
    path = build_page(f"Autobahn: {target.label}", subtitle, run, facts, differences).write(
        folder / "index.html"
    )
    counts = ", ".join(f"{count} {behavior}" for behavior, count in count_behaviors(results).items())
    print(f"{len(results)} cases in {run.seconds / 60:.1f} minutes: {counts}")
    bad = [result for result in results if not result.is_good]
    shortfalls = [f"{result.case}: {result.verdict}: {result.get_text('result')}" for result in bad]
    for lines in (shortfalls, run.troubles, [f"differs: {difference}" for difference in differences]):
        for line in lines[:40]:
            print(f"  {line}")
        if len(lines) > 40:
            print(f"  and {len(lines) - 40} more: see the report")
    print(f"report: {path}")
    return 1 if bad or run.troubles or differences else 0


def update_records(records: Dict[str, Any], name: str, target: Target, run: Run) -> None:
    if name:
        records[name] = build_record(run.results)
    else:
        results = run.results.values()
        records.setdefault("peers", {})[target.label] = {
            "version": target.version,
            **count_behaviors(results),
            "minutes": round(run.seconds / 60, 1),
            "not OK": join_ranges([result.case for result in results if not result.is_good]),
        }
    save_records(records)
