"""Eleven frameworks and four whole applications on wsbridge, on its plug-in for uvicorn, and on uvicorn.

    python3 conformance/run.py frameworks [--quick] [--only NAME] [--scenario WORDS] [--jobs N] [--verbose]

The frameworks have the same small application, which does what apps/behaviours.py says; Django's admin, an
MCP server, a marimo notebook and a page of NiceGUI are what they are. The client goes through the scenarios
(scenarios.py, bodies.py, connections.py, protocols.py, applications.py) with them on all servers; some have
clients of others (clients/), Chromium among them. On the plug-in only what has a WebSocket in it is run: HTTP
there is uvicorn's own. What the client sees, what the application sees and what is logged must be the same as
on uvicorn, or differ as differences.txt says, and on wsbridge and on the plug-in be what it must be. Anything
else fails, and so does a difference that is recorded and no longer seen.

The report is conformance/reports/frameworks/index.html, with the servers' logs beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from ..lib.environment import ROOT, Unavailable, ensure_environment, lock_folder, report_folder, say_line
from ..lib.servers import ServerFailed, ServerProcess, build_command
from .catalogue import APPLICATIONS, FRAMEWORKS
from .differences import DIFFERENCES
from .environments import Browser, prepare_browser
from .page import build_page
from .protocols import SCENARIOS
from .scenarios import RUNS_ON
from .trial import Outcome, run_scenario
from .verdict import VERDICTS, judge

# Those that are judged, and what each is compared with.
OURS = ("wsbridge", "plug-in")
UVICORN = "uvicorn"
WHOLE_SECONDS = 900.0


def main(argv: List[str]) -> int:
    options = parse_arguments(argv)
    if sys.version_info < (3, 11):
        raise Unavailable("the pinned frameworks need Python 3.11 or newer")
    if not Path("/proc/self/clear_refs").exists():
        raise Unavailable("the memory of the servers is read from /proc, which only Linux has")
    folder = report_folder("frameworks")
    lock_folder(folder)
    started = time.monotonic()
    pythons = {name: _ensure_python(name) for name in options.only}
    is_in_chromium = any(
        SCENARIOS[one].in_chromium for name in options.only for one in list_scenarios(name, UVICORN, options)
    )
    run = Run(options, pythons, folder, prepare_browser() if is_in_chromium else None)
    try:
        asyncio.run(asyncio.wait_for(run.run(), WHOLE_SECONDS))
    except asyncio.TimeoutError:
        print(f"not done after {WHOLE_SECONDS:.0f} s", file=sys.stderr)
        return 1
    except ServerFailed as error:
        print(error, file=sys.stderr)
        return 1
    return report(options, run, folder, time.monotonic() - started)


def parse_arguments(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py frameworks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=FRAMEWORKS, help="only this framework")
    parser.add_argument("--scenario", default="", help="only scenarios with these words in their name")
    parser.add_argument(
        "--quick", action="store_true", help="without whole applications, and without Chromium"
    )
    parser.add_argument("--jobs", type=int, default=3, help="servers at a time (default: 3)")
    parser.add_argument("-v", "--verbose", action="store_true", help="show every outcome")
    options = parser.parse_args(argv)
    without = APPLICATIONS if options.quick else ()
    options.only = options.only or [name for name in FRAMEWORKS if name not in without]
    return options


def _ensure_python(name: str) -> Path:
    framework = FRAMEWORKS[name]
    return ensure_environment(framework.environment, framework.requirements, only_binary=True)


class Run:
    """Every framework on every server; `outcomes` by framework, scenario and server."""

    def __init__(
        self, options: argparse.Namespace, pythons: Dict[str, Path], folder: Path, browser: Optional[Browser]
    ) -> None:
        self._options = options
        self._pythons = pythons
        self._folder = folder
        self._browser = browser
        self._room = asyncio.Semaphore(options.jobs)
        self.outcomes: Dict[Tuple[str, str, str], Outcome] = {}

    async def run(self) -> None:
        jobs = []
        for name in self._options.only:
            for server in (*OURS, UVICORN):
                wanted = list_scenarios(name, server, self._options)
                jobs += [self._run_job(name, server, wanted)] if wanted else []
        await asyncio.gather(*jobs)

    async def _run_job(self, name: str, server: str, wanted: Sequence[str]) -> None:
        async with self._room:
            started = time.monotonic()
            while wanted:
                wanted = await self._run_server(name, server, wanted)
            say_line(f"{name} on {server}: {time.monotonic() - started:.1f} s", final=True)

    async def _run_server(self, name: str, server: str, wanted: Sequence[str]) -> Sequence[str]:
        """Run scenarios until the server has ended; return those that are left."""
        command = build_command(server, self._pythons[name], FRAMEWORKS[name].application)
        log = self._folder / f"{name}-{server}-{len(wanted)}.log"
        async with ServerProcess(f"{name} on {server}", command, log) as process:
            for done, scenario in enumerate(wanted, 1):
                say_line(f"{name} on {server}: {scenario}")
                outcome = await run_scenario(SCENARIOS[scenario], process, self._browser)
                self.outcomes[name, scenario, server] = outcome
                is_ended = outcome.was_ended or process.poll() is not None
                if is_ended or RUNS_ON in outcome.client:
                    return wanted[done:]
        return []


def list_scenarios(name: str, server: str, options: argparse.Namespace) -> List[str]:
    return [
        one
        for one in FRAMEWORKS[name].scenarios
        if options.scenario in one
        and not (server == "plug-in" and SCENARIOS[one].is_http)
        and not (options.quick and SCENARIOS[one].in_chromium)
    ]


def report(options: argparse.Namespace, run: Run, folder: Path, seconds: float) -> int:
    places = dict.fromkeys((name, scenario) for name, scenario, _ in run.outcomes)
    verdicts = [
        judge(*place, server, run.outcomes[(*place, server)], run.outcomes[(*place, UVICORN)])
        for server in OURS
        for place in places
        if (*place, server) in run.outcomes
    ]
    seen = {difference for verdict in verdicts for difference in verdict.differences}
    is_whole = options.only == list(FRAMEWORKS) and not options.scenario
    unused = [difference for difference in DIFFERENCES if difference not in seen] if is_whole else []
    for verdict in verdicts:
        if verdict.faults or options.verbose:
            print(f"== {verdict.column}: {verdict.scenario}: {verdict.word}\n{verdict.describe()}\n")
    for difference in unused:
        print(f"== recorded, but not seen: {difference.describe()}\n")
    versions = {name: FRAMEWORKS[name].version for name in options.only}
    print(f"{'':<24}" + "".join(f"{word:>11}" for word in reversed(VERDICTS)))
    for column in dict.fromkeys(verdict.column for verdict in verdicts):
        words = [verdict.word for verdict in verdicts if verdict.column == column]
        counts = "".join(f"{words.count(word):>11}" for word in reversed(VERDICTS))
        print(f"{column:<24}{counts}")
    target = build_page(verdicts, unused, versions, seconds).write(folder / "index.html")
    print(f"report: {target.relative_to(ROOT)}, {seconds:.0f} s")
    return 1 if unused or not verdicts or any(verdict.faults for verdict in verdicts) else 0
