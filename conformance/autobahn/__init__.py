"""The Autobahn fuzzing client, all 517 cases, against wsbridge's server, its plug-in for uvicorn, or a peer.

    python3 conformance/run.py autobahn [--cases '6.4.*' | quick ...] [--update] [--jobs N] [--peer NAME]
        [--python PATH] [--loop uvloop]

The report is conformance/reports/autobahn/NAME/index.html. The exit code is 1 for anything but OK and
INFORMATIONAL in any case that was picked, its closing handshake included; for a case without a result; for
compression that was not negotiated or done as asked; for a server that ended by itself or printed a
traceback; and for any difference from conformance/autobahn-results.json.
The client role: `autobahn-client`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
from typing import Dict, List, Sequence

from ..lib.environment import Unavailable, describe_python, ensure_environment, lock_folder, report_folder
from ..lib.peers import ALL, BY_NAME, ON_UVLOOP, UVLOOP
from ..lib.report import Cell, Page, Value
from ..lib.servers import LISTEN, ServerFailed
from .compression import LEAST_SAVED
from .record import CASES, RECORD, load_record, pick_cases
from .results import OUTCOMES, Result, count_behaviors
from .suite import Run
from .wstest import find_wstest

APP = "conformance.lib.apps.echo:app"
OURS = {
    "server": ["wsbridge", APP, *LISTEN],
    "client": ["conformance.lib.apps.client", "{url}", "wsbridge-client"],
}


def main(argv: List[str]) -> int:
    return run_role("server", argv)


def run_role(role: str, argv: Sequence[str]) -> int:
    """Run the cases before our implementation of that role, "server" or "client"; return the exit code."""
    options = parse_arguments(argv, role)
    wstest = find_wstest()
    is_ours, peer = options.peer == "wsbridge", BY_NAME[options.peer]
    command = build_command(role, options.python, options.loop) if is_ours else peer.build_command(APP)
    implementation, major, minor, version, _ = describe_python(command[0])
    name = options.peer if role == "server" else "wsbridge-client"
    uvloop = "-uvloop" if options.loop == "uvloop" else ""
    label = f"{name}-{implementation.lower()}{major}.{minor}{uvloop}"
    # A run of some of the cases leaves the report of all of them as it is.
    folder = report_folder(f"autobahn/{label}" + ("" if options.picked == CASES else "-part"))
    lock_folder(folder)
    shutil.rmtree(folder / "batches", ignore_errors=True)
    run = Run(wstest, role, label, command, options.picked, folder / "batches")
    try:
        asyncio.run(run.run(options.jobs))
    except ServerFailed as error:
        raise Unavailable(str(error)) from None
    for server in run.servers:
        count = server.read_log().count("Traceback")
        if count:
            run.troubles.append(f"the server printed {count} tracebacks: {server.log}")
        if is_ours and server.poll():
            run.troubles.append(f"the server's exit code is {server.poll()}: {server.log}")
    if options.update:
        update(run, role, label, "" if is_ours else peer.version)
    elif not peer.is_peer:
        run.troubles += compare(run, role)
    subtitle = f"{role} role, {peer.version} on {implementation} {version}; wstest: {wstest.origin}"
    print_run(run)
    print(f"report: {build_page(label, subtitle, run).write(folder / 'index.html')}")
    is_good = all(result.is_good for result in run.results.values())
    return 0 if is_good and not run.troubles else 1


def parse_arguments(argv: Sequence[str], role: str) -> argparse.Namespace:
    """The options of that role; `picked` are the cases, in the suite's order."""
    parser = argparse.ArgumentParser(prog=f"run.py autobahn{'-client' if role == 'client' else ''}")
    how = "such as '6.4.*', 9 or 12.1; quick: sections 1 to 7 and 10"
    parser.add_argument("--cases", nargs="+", default=["*"], metavar="PATTERN", help=how)
    parser.add_argument("--python", default=sys.executable, metavar="PATH", help="what wsbridge runs under")
    parser.add_argument("--loop", default="asyncio", choices=["asyncio", "uvloop"], help="wsbridge's")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time, each before its own process")
    parser.add_argument("--update", action="store_true", help="write the results to the committed file")
    parser.set_defaults(peer="wsbridge")
    if role == "server":
        peers = ["wsbridge", "plug-in", "plug-in+uvloop", *(server.name for server in ALL if server.is_peer)]
        parser.add_argument("--peer", choices=peers, metavar="NAME", help=", ".join(peers))
    options = parser.parse_args(argv)
    try:
        options.picked = pick_cases(options.cases)
    except ValueError as error:
        parser.error(str(error))
    if options.update and options.picked != CASES:
        parser.error("--update needs all cases")
    return options


def build_command(role: str, python: str, loop: str) -> List[str]:
    """What runs wsbridge in that role, with "{port}" or "{url}" in it."""
    module, *arguments = OURS[role]
    if loop == "uvloop":
        python = str(ensure_environment("uvloop", [UVLOOP], python))
        return [python, "-c", ON_UVLOOP.format(module=module), *arguments]
    return [python, "-m", module, *arguments]


def compare(run: Run, role: str) -> List[str]:
    """A line for every case that is not as recorded."""
    recorded = load_record()[role]
    return [
        f"{case} differs: {result.key}; recorded: {recorded.get(case, 'nothing')}"
        for case, result in run.results.items()
        if recorded.get(case) != result.key
    ]


def update(run: Run, role: str, label: str, pin: str) -> None:
    """Write the results to the committed file: of a peer, which has a pin, figures."""
    record, results = load_record(), run.results.values()
    if pin:
        record["peers"][label] = {
            "version": pin,
            **count_behaviors(results),
            "minutes": round(run.minutes, 1),
            "not OK": " ".join(result.case for result in results if not result.is_good),
        }
    else:
        record[role] = {case: result.key for case, result in run.results.items()}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


def print_run(run: Run) -> None:
    counts = [f"{count} {behavior}" for behavior, count in count_behaviors(run.results.values()).items()]
    print(f"{len(run.results)} cases in {run.minutes:.1f} minutes: {', '.join(counts)}")
    for result in run.results.values():
        if not result.is_good:
            print(f"  {result.case}: {result.verdict}: {result.get_text('result')}")
    for line in run.troubles:
        print(f"  {line}")


def build_page(label: str, subtitle: str, run: Run) -> Page:
    """Counts, our verdict on each case, links to wstest's own pages."""
    page = Page(f"Autobahn: {label}", subtitle)
    results = run.results.values()
    counts: Dict[str, Value] = {
        behavior: Cell(count, OUTCOMES.get(behavior, "fail"))
        for behavior, count in count_behaviors(results).items()
    }
    page.facts({"cases": len(results), **counts, "minutes": round(run.minutes, 1)})
    if run.troubles:
        page.heading("Besides the cases")
        page.table(["what"], [[Cell(line, "fail")] for line in run.troubles])
    page.heading("All cases, those that are not OK first")
    page.paragraph(
        "A case is linked to the page that wstest wrote of it: handshake, expectation, events and wire log. "
        "Ratio: bytes in frames over bytes in messages, of the echoes, and of what wstest itself compressed. "
        "The response must have the parameters that were asked for, and the echoes must have "
        f"saved at least {LEAST_SAVED} of what wstest's messages did."
    )
    columns = [
        "case",
        "outcome",
        "close code",
        "ms",
        "agreed",
        "ratio of echoes",
        "ratio of wstest",
        "result",
    ]
    page.table(columns, map(_build_row, sorted(results, key=lambda result: result.outcome == "ok")))
    return page


def _build_row(result: Result) -> List[Value]:
    compression = result.compression[:3] if result.compression else ("", "", "")
    verdict = Cell(result.verdict, result.outcome)
    row: List[Value] = [Cell(result.case, href=result.page), verdict, Cell(str(result.close_code))]
    return [*row, result.milliseconds, *compression, result.get_text("result")]
