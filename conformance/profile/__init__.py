"""Where a message's or a request's time goes, by floor: the server is asked every few ms what it is doing.

    python3 conformance/run.py profile [--workloads one-125,burst-*] [--seconds N]

Workloads are those of `bench` but handshakes; server and load are its own, on plain asyncio. What the
standard library does for a floor counts as that floor's; a system call counts with the lines around it.
Python looks up only between its own instructions: what C code took may count for the function called next.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import signal
from pathlib import Path
from typing import Counter, List, NamedTuple, Tuple

from ..lib.environment import ROOT, Unavailable, enter_environment, report_folder, say_line
from ..lib.peers import ENVIRONMENTS, Server

DEFAULT = "one-125,hundred-125,burst-125,one-16k,one-1m,deflate-125"
WARM_UP_SECONDS = 0.5

FLOORS = ("system calls", "asyncio", "server", "asgi", "protocols", "application", "other")

# The functions that are little more than a system call.
SYSTEM_CALLS = {
    ("poller.py", "select"): "epoll_wait",
    ("transport.py", "handle_events"): "recv",
    ("transport.py", "write"): "send",
    ("transport.py", "writelines"): "sendmsg",
    ("transport.py", "_send_unsent"): "sendmsg, of what was left",
}

Place = Tuple[str, str]  # floor and function


class Profile(NamedTuple):
    """Where one workload's time went; `microseconds` is the processor time of a message or a request."""

    name: str
    microseconds: float
    places: Counter[Place]


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py profile", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workloads", default=DEFAULT, metavar="NAMES", help=f"default {DEFAULT}")
    parser.add_argument("--seconds", type=float, default=6.0, help="a workload's; default 6")
    options = parser.parse_args(argv)
    enter_environment("bench", ENVIRONMENTS["bench"])
    from tabulate import tabulate

    profiles = asyncio.run(measure(options))
    rows = []
    for name, microseconds, places in profiles:
        floors: Counter[str] = collections.Counter()
        for (floor, _), seen in places.items():
            floors[floor] += seen
        shares = [f"{floors[floor] / max(1, sum(floors.values())):.1%}" for floor in FLOORS]
        rows.append([name, f"{microseconds:.1f}", *shares])
    print(tabulate(rows, ["", "us each", *FLOORS], disable_numparse=True))
    for name, microseconds, places in profiles:
        samples = sum(places.values())
        costly = [
            [*place, f"{seen / samples:.1%}", f"{seen / samples * microseconds:.2f}"]
            for place, seen in places.most_common(25)
        ]
        print(f"\n{name}, {samples} samples\n{tabulate(costly, ['floor', 'function', 'share', 'us'])}")
    return 0


async def measure(options: argparse.Namespace) -> List[Profile]:
    # What imports the environment's packages can be imported only from here on.
    from ..bench import load, peers, rounds, workloads

    names = workloads.choose_names(options.workloads, False)
    chosen = [one for one in workloads.ALL if one.name in names and not one.visits]
    if not chosen:
        raise Unavailable(f"{options.workloads} has no workload of messages or requests")
    path = report_folder("profile") / "stacks.json"
    script = Path(__file__).with_name("run_sampled.py")
    server = Server(
        "wsbridge-sampled",
        "wsbridge",
        f"{script} {path} wsbridge {{app}} --port {{port}} --log-level warning",
    )
    profiles = []
    with rounds.keep_awake():
        for workload in chosen:
            say_line(f"profile: {workload.name}")
            path.unlink(missing_ok=True)
            async with peers.Running(server, workload.application) as running:
                with load.Load(running, workload) as generator:
                    generator.open(workload.connections)
                    generator.run(WARM_UP_SECONDS)
                    running.send_signal(signal.SIGUSR1)
                    result = generator.measure(options.seconds)
            # The server has ended, and written what was seen of it.
            places: Counter[Place] = collections.Counter()
            for stack, seen in json.loads(path.read_text("utf-8")):
                places[find_place(stack)] += seen
            profiles.append(Profile(workload.name, result["server_ns"] / 1e3, places))
    return profiles


def find_place(stack: List[Tuple[str, str]]) -> Place:
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
