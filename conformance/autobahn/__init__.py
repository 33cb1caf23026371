"""The Autobahn fuzzing client, all 517 cases, against wsbridge's server or a peer's.

    python3 conformance/run.py autobahn [--cases '6.4.*' | quick ...] [--check | --update] [--jobs N]
        [--peer NAME] [--python PATH] [--loop uvloop]

The report is conformance/reports/autobahn/index.html. The exit code is 1 for anything but OK and
INFORMATIONAL in any case that was picked, its closing handshake included; for a case without a result; for
compression that was not negotiated or done as asked; for a server that ended by itself or printed a
traceback; and, when all cases ran or with --check, for any difference from conformance/autobahn-results.json.
The client role: `autobahn-client`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ..lib.environment import ROOT, Unavailable, lock_folder, report_folder
from ..lib.report import Cell, Value
from .cases import CASES, SUITE_VERSION, pick_cases
from .page import build_page, save_summary, write_overview
from .results import build_record, compare_record, count_behaviors, join_ranges, load_records, save_records
from .servers import PEERS, prepare_target
from .suite import Run, ServerSeat, run_cases
from .wstest import find_wstest

RECORDS = ROOT / "conformance" / "autobahn-results.json"

__all__ = ["main", "open_folder", "parse_arguments", "report_run"]


def main(argv: List[str]) -> int:
    options = parse_arguments(argv, with_peers=True)
    wstest = find_wstest()
    target = prepare_target(options.peer, options.python, options.loop)
    folder = open_folder(target.label, options)
    log = folder / "server.log"
    seats: List[ServerSeat] = []

    def build_seat(number: int) -> ServerSeat:
        seats.append(ServerSeat(wstest, target, log))
        return seats[-1]

    run = run_cases(
        target.label,
        "server",
        options.picked,
        folder / "batches",
        build_seat,
        jobs=options.jobs,
        seconds=options.seconds,
    )
    is_ours = target.peer == "wsbridge"
    troubles = [*run.troubles, *_check_server(seats, log, is_ours)]
    memory = max(seat.peak_memory for seat in seats) / 2**20
    return report_run(
        run._replace(troubles=troubles),
        options,
        folder,
        label=target.label,
        version=PEERS[target.peer].version,
        record_name="server" if is_ours else "",
        subtitle=f"{target.peer} ({PEERS[target.peer].version}) on {target.implementation}, {target.loop}; "
        f"wstest: {wstest.origin}",
        facts={"MiB at most": round(memory) if memory else None},
    )


def parse_arguments(argv: Sequence[str], *, with_peers: bool) -> argparse.Namespace:
    """The options of both roles; `picked` are the cases, in the suite's order."""
    name = "autobahn" if with_peers else "autobahn-client"
    parser = argparse.ArgumentParser(prog=f"run.py {name}")
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
    if with_peers:
        parser.add_argument("--peer", default="wsbridge", choices=list(PEERS), help="the server (wsbridge)")
    options = parser.parse_args(argv)
    try:
        options.picked = pick_cases(options.cases)
    except ValueError as error:
        parser.error(str(error))
    if options.update and options.picked != CASES:
        parser.error("--update needs all cases")
    if options.check and with_peers and options.peer != "wsbridge":
        parser.error("--check is for wsbridge; of its peers only figures are recorded")
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    return options


def report_run(
    run: Run,
    options: argparse.Namespace,
    folder: Path,
    *,
    label: str,
    version: str,
    record_name: str,
    subtitle: str,
    facts: Mapping[str, Value],
) -> int:
    """Write the pages, compare or write the record, say what came of it, and return the exit code.

    record_name: the run's place in the committed record; "" for a peer, of which only figures are kept.
    """
    records = load_records(RECORDS)
    differences: List[str] = []
    shown = dict(facts)
    if options.update:
        _write_record(records, record_name, label, version, run)
    elif record_name and (options.check or options.picked == CASES):
        differences = compare_record(run.results, records.get(record_name, {}))
        shown["differences from the record"] = Cell(len(differences), "fail" if differences else "ok")
    page = build_page(f"Autobahn: {label}", subtitle, run, shown, differences)
    path = page.write(folder / "index.html")
    save_summary(folder, label, version, run, options.picked == CASES)
    overview = write_overview(folder.parent)
    bad = [result for result in run.results.values() if not result.is_good]
    print(_count_in_words(run))
    for result in bad[:40]:
        print(f"  {result.case}: {result.verdict}: {result.get_text('result')}")
    if len(bad) > 40:
        print(f"  and {len(bad) - 40} more: {join_ranges([result.case for result in bad[40:]])}")
    for line in [*run.troubles, *(f"differs: {difference}" for difference in differences[:40])]:
        print(f"  {line}")
    if len(differences) > 40:
        print(f"  and {len(differences) - 40} more differences")
    print(f"report: {path}\nall runs: {overview}")
    return 1 if bad or run.troubles or differences else 0


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


def _write_record(records: Dict[str, Any], name: str, label: str, version: str, run: Run) -> None:
    records["suite"] = f"autobahntestsuite {SUITE_VERSION}"
    if name:
        records[name] = build_record(run.results)
    else:
        counts = {name: count for name, count in count_behaviors(run.results.values()).items() if count}
        bad = join_ranges([result.case for result in run.results.values() if not result.is_good])
        figures = {"version": version, **counts, "minutes": round(run.seconds / 60, 1), "not OK": bad}
        records.setdefault("peers", {})[label] = figures
    save_records(RECORDS, records)


def _check_server(seats: Sequence[ServerSeat], log: Path, is_ours: bool) -> List[str]:
    """What a server must not do besides: print a traceback; and wsbridge: not end cleanly when asked to."""
    troubles = []
    printed = log.read_text("utf-8", "replace") if log.exists() else ""
    if "Traceback" in printed:
        troubles.append(f"the server printed {printed.count('Traceback')} tracebacks: {log}")
    codes: List[Optional[int]] = [code for seat in seats for code in seat.exit_codes]
    if is_ours and any(codes):
        troubles.append(f"the server's exit codes: {codes}")
    if not codes:
        raise Unavailable("no server was started")
    return troubles


def _count_in_words(run: Run) -> str:
    counts = count_behaviors(run.results.values())
    parts = [f"{count} {behavior}" for behavior, count in counts.items() if count]
    return f"{len(run.results)} cases in {run.seconds / 60:.1f} minutes: {', '.join(parts)}"
