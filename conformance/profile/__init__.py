"""Where a message's time goes, by floor: the server is asked every few milliseconds what it is doing.

    python3 conformance/run.py profile [--workloads one-125,burst-*] [--seconds N]

Workloads are those of `bench` that echo messages; server and load are its own, on plain asyncio. What the
standard library does for a floor counts as that floor's; a system call counts with the lines around it.
Python looks up only between its own instructions: what C code took may count for the function called next.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any, Counter, Dict, Iterable, List, NamedTuple, Tuple

from ..bench import ENVIRONMENTS
from ..lib.environment import (
    ROOT,
    Unavailable,
    describe_python,
    enter_environment,
    report_folder,
    say_line,
)
from ..lib.report import Page

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

    name: str
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
    enter_environment("bench", ENVIRONMENTS["bench"])
    profiles = asyncio.run(measure(options))
    print_profiles(profiles)
    written = build_page(profiles).write(report_folder("profile") / "index.html")
    print(f"report: {written}")
    return 0


async def measure(options: argparse.Namespace) -> List[Profile]:
    # What imports the environment's packages can be imported only from here on.
    from ..bench import load, peers, rounds, workloads

    names = workloads.choose_names(options.workloads, False)
    chosen = [one for one in workloads.ALL if one.name in names and not one.visits]
    if not chosen:
        raise Unavailable(f"{options.workloads} has no workload that echoes messages")
    path = report_folder("profile") / "stacks.json"
    script = Path(__file__).with_name("run_sampled.py")
    server = peers.Server("wsbridge-sampled", "wsbridge", f"{script} {path} wsbridge {{app}} --port {{port}}")
    program = load.build_generator()
    profiles = []
    with rounds.keep_awake():
        async with peers.Running(server) as running:
            for workload in chosen:
                say_line(f"profile: {workload.name}")
                with load.Load(program, running, workload) as generator:
                    generator.open(workload.connections)
                    generator.run(WARM_UP_SECONDS)
                    running.send_signal(signal.SIGUSR1)
                    result = generator.measure(options.seconds)
                    running.send_signal(signal.SIGUSR2)
                    profiles.append(_build_profile(workload.name, result, _await_stacks(path)))
    return profiles


def _await_stacks(path: Path) -> List[Tuple[Stack, int]]:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > deadline:
            raise Unavailable(f"the server wrote no samples in {PATIENCE:.0f} s")
        time.sleep(0.01)
    stacks: List[Tuple[Stack, int]] = json.loads(path.read_text("utf-8"))
    path.unlink()
    return stacks


def _build_profile(name: str, result: Dict[str, Any], stacks: List[Tuple[Stack, int]]) -> Profile:
    places: Counter[Tuple[str, str]] = collections.Counter()
    for stack, seen in stacks:
        places[find_place(stack)] += seen
    return Profile(name, result["server_ns"] / 1e3, sum(places.values()), places)


def find_place(stack: Iterable[Tuple[str, str]]) -> Tuple[str, str]:
    """Floor and function of the innermost frame that belongs to one."""
    for filename, function in stack:
        path = Path(filename)
        if path.is_relative_to(ROOT / "wsbridge"):
            system_call = SYSTEM_CALLS.get((path.name, function))
            if system_call is not None:
                return "system calls", system_call
            return path.relative_to(ROOT / "wsbridge").parts[0], f"{path.stem}: {function}"
        if path.parent.name == "asyncio" or path.name == "selectors.py":
            return "asyncio", f"{path.stem}: {function}"
        if path.parent.name == "apps":
            return "application", function
    return "other", "start and end"


def print_profiles(profiles: List[Profile]) -> None:
    print("processor time of a message, us and % by floor")
    print(f"{'':<12}" + "".join(f"{profile.name:>14}" for profile in profiles))
    print(f"{'all':<12}" + "".join(f"{profile.microseconds:>14.1f}" for profile in profiles))
    for floor in FLOORS:
        shares = [profile.share_floors()[floor] for profile in profiles]
        print(f"{floor:<12}" + "".join(f"{share:>14.1%}" for share in shares))


def build_page(profiles: List[Profile]) -> Page:
    implementation, _, _, version, _ = describe_python(sys.executable)
    page = Page("Where a message's time goes", f"{implementation} {version}, plain asyncio")
    for profile in profiles:
        page.heading(profile.name)
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
