"""Where a message's time goes, by floor: the server is asked every few milliseconds what it is doing.

    python3 conformance/run.py profile [--workloads one-125,burst-*] [--seconds N]

Workloads are those of `bench` that echo messages; server and load are its own, on plain asyncio. What the
standard library does for a floor counts as that floor's; a system call counts with the lines around it.
Python looks up only between its own instructions: what C code took may count for the function called next.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Counter, Dict, Iterable, List, NamedTuple, Tuple

from .bench import load, rounds, workloads
from .bench.peers import LOAD_CORE, SERVERS, Running, Server, run_server
from .lib.environment import Unavailable, describe_python, report_folder, say_line
from .lib.report import Page

DEFAULT = "one-125,hundred-125,burst-125,one-16k,one-1m,deflate-125"
WARM_UP_SECONDS = 0.5
PATIENCE = 10.0

FLOORS = ("system calls", "asyncio", "server", "asgi", "protocols", "application", "other")

# The functions that are little more than a system call.
SYSTEM_CALLS = {
    ("poller.py", "select"): "epoll_wait",
    ("transport.py", "handle_events"): "recv",
    ("transport.py", "write"): "send",
    ("transport.py", "_send_buffer"): "send, of what was left",
}

Stack = List[Tuple[str, str]]


class Profile(NamedTuple):
    """One workload's samples, by floor and function; ``microseconds`` is a message's processor time."""

    workload: workloads.Workload
    microseconds: float
    samples: int
    places: Counter[Tuple[str, str]]

    def share_floors(self) -> Dict[str, float]:
        counts: Counter[str] = collections.Counter()
        for (floor, _), count in self.places.items():
            counts[floor] += count
        return {floor: counts[floor] / max(1, self.samples) for floor in FLOORS}


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py profile", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workloads", default=DEFAULT, metavar="NAMES", help=f"default {DEFAULT}")
    parser.add_argument("--seconds", type=float, default=6.0, help="a workload's; default 6")
    options = parser.parse_args(argv)
    names = workloads.choose_names(options.workloads, False)
    chosen = [one for one in workloads.ALL if one.name in names and one.job["kind"] == "echo"]
    if not chosen:
        raise Unavailable(f"{options.workloads} has no workload that echoes messages")
    with tempfile.TemporaryDirectory(prefix="profile-") as folder:
        path = Path(folder) / "stacks.json"
        command = ["{python}", str(SERVERS / "run_sampled.py"), str(path), "wsbridge", "echo_app:app"]
        server = Server("wsbridge, sampled", "wsbridge", "asyncio", command)
        os.sched_setaffinity(0, {LOAD_CORE})
        with rounds.keep_awake(), run_server(server) as running:
            profiles = [measure(running, workload, options.seconds, path) for workload in chosen]
    print_profiles(profiles)
    written = build_page(profiles).write(report_folder("profile") / "index.html")
    print(f"report: {written}")
    return 0


def measure(running: Running, workload: workloads.Workload, seconds: float, path: Path) -> Profile:
    say_line(f"profile: {workload.name}")
    job: Dict[str, Any] = dict(workload.job, port=running.port, is_floor=False)
    [pid] = running.pids
    links = load.open_connections(job, job["connections"])
    try:
        exchange = load.build_exchange(links, load.prepare_script(job, links[0]), job["in_flight"])
        exchange(WARM_UP_SECONDS)
        os.kill(pid, signal.SIGUSR1)
        before = load.read_schedule(f"/proc/{pid}/schedstat")[0]
        count = exchange(seconds)
        nanoseconds = load.read_schedule(f"/proc/{pid}/schedstat")[0] - before
        os.kill(pid, signal.SIGUSR2)
        stacks = _await_stacks(path)
    finally:
        load.abort_connections(links)
    places: Counter[Tuple[str, str]] = collections.Counter()
    for stack, seen in stacks:
        places[find_place(stack)] += seen
    return Profile(workload, nanoseconds / 1e3 / count, sum(places.values()), places)


def _await_stacks(path: Path) -> List[Tuple[Stack, int]]:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > deadline:
            raise Unavailable(f"the server wrote no samples in {PATIENCE:.0f} s")
        time.sleep(0.01)
    stacks: List[Tuple[Stack, int]] = json.loads(path.read_text("utf-8"))
    path.unlink()
    return stacks


def find_place(stack: Iterable[Tuple[str, str]]) -> Tuple[str, str]:
    """Floor and function of the innermost frame that belongs to one."""
    for filename, function in stack:
        path = Path(filename)
        if path.parent.parent.name == "wsbridge":
            system_call = SYSTEM_CALLS.get((path.name, function))
            if system_call is not None:
                return "system calls", system_call
            return path.parent.name, f"{path.stem}: {function}"
        if path.parent.name == "asyncio" or path.name == "selectors.py":
            return "asyncio", f"{path.stem}: {function}"
        if path.name == "echo_app.py":
            return "application", function
    return "other", "start and end"


def print_profiles(profiles: List[Profile]) -> None:
    width = max(len(floor) for floor in FLOORS)
    print("processor time of a message, us and % by floor")
    print(" " * width + "".join(f"{profile.workload.name:>14}" for profile in profiles))
    print(f"{'all':<{width}}" + "".join(f"{profile.microseconds:>14.1f}" for profile in profiles))
    for floor in FLOORS:
        shares = [profile.share_floors()[floor] for profile in profiles]
        print(f"{floor:<{width}}" + "".join(f"{share:>14.1%}" for share in shares))


def build_page(profiles: List[Profile]) -> Page:
    implementation, _, _, version, _ = describe_python(sys.executable)
    page = Page("Where a message's time goes", f"{implementation} {version}, plain asyncio")
    for profile in profiles:
        page.heading(f"{profile.workload.name}: {profile.workload.title}")
        page.facts({"us a message": f"{profile.microseconds:.1f}", "samples": profile.samples})
        shares = profile.share_floors()
        costs = [share * profile.microseconds for share in shares.values()]
        page.bar_plot("By floor", list(shares), costs, unit="us")
        rows = []
        for (floor, function), count in profile.places.most_common(25):
            share = count / profile.samples
            rows.append([floor, function, f"{share:.1%}", f"{share * profile.microseconds:.2f}"])
        page.table(["floor", "function", "share", "us"], rows)
    return page
