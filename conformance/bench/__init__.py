"""Measure wsbridge and its peers in one interleaved run: throughput, processor time, memory, the codec alone.

Servers run on core 0, the load generator on core 1; a page with plots and a JSON file are written to
conformance/reports/bench/. The exit code is 1 when a target that was measured is missed, except with --quick.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import time
from typing import Any, Dict, List, Sequence

from ..lib.environment import Unavailable, ensure_environment, say_line
from . import crowd, imports, instructions, pages, rounds, targets, workloads
from .peers import REQUIREMENTS, ROOT, SERVER_CORE, Claims, Server, choose_servers, claim_core, find_python

QUICK_ROUNDS, FULL_ROUNDS = 3, 7
QUICK_SECONDS, FULL_SECONDS = 0.2, 0.25
LISTEN_SECONDS, QUIET = 2.0, 0.08
CODEC_ROUNDS = {True: 5, False: 15}


def main(argv: List[str]) -> int:
    options = parse_options(argv)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if len(os.sched_getaffinity(0)) < 2:
        raise Unavailable("two cores are needed: one for the servers, one for the load generator")
    run = gather(options)
    outcomes = targets.check_codec(run["codec"]) if options.codec else targets.check_targets(run)
    pages.print_run(run)
    pages.print_targets(outcomes)
    print(f"\nothers on the machine used {run['foreign_share']:.0%} of both cores meanwhile")
    print(f"report: {pages.write_run(run, outcomes)}")
    missed = [outcome for outcome in outcomes if outcome.is_met is False]
    return 1 if missed and not options.quick else 0


def parse_options(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run.py bench", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--codec", action="store_true", help="the codecs alone, without servers")
    parser.add_argument("--quick", action="store_true", help="less of everything; targets are only printed")
    parser.add_argument(
        "--peers", metavar="NAMES", help="servers, separated by commas; globs work (uvicorn*)"
    )
    parser.add_argument(
        "--workloads", metavar="NAMES", help="workloads, separated by commas; globs work (one-*)"
    )
    parser.add_argument("--rounds", type=int, help=f"default {FULL_ROUNDS}, with --quick {QUICK_ROUNDS}")
    parser.add_argument("--seconds", type=float, help=f"a workload's, each round; default {FULL_SECONDS:g}")
    parser.add_argument(
        "--priority",
        choices=("auto", "normal", "real-time"),
        default="auto",
        help="of servers and load; auto: real-time while others keep the machine busy",
    )
    parser.add_argument(
        "--let-sleep", action="store_true", help="let idle cores sleep (slow to wake in a VM)"
    )
    parser.add_argument("--list", action="store_true", help="list servers and workloads")
    options = parser.parse_args(argv)
    if options.list:
        print("servers:   " + ", ".join(server.name for server in choose_servers("*")))
        print("workloads: " + ", ".join(workloads.choose_names("*", False)))
        parser.exit()
    if options.priority == "auto":
        options.priority = choose_priority()
    Claims.real_time = options.priority == "real-time"
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else FULL_ROUNDS)
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else FULL_SECONDS)
    return options


def choose_priority() -> str:
    """Normal on a quiet machine, as in production; real-time where others would disturb every figure."""
    say_line("bench: is the machine quiet?")
    busy = rounds.read_busy_seconds()
    time.sleep(LISTEN_SECONDS)
    share = (rounds.read_busy_seconds() - busy) / LISTEN_SECONDS / (os.cpu_count() or 1)
    if share <= QUIET:
        return "normal"
    say_line(
        f"bench: others use {share:.0%} of this machine, so servers and load get real-time priority; "
        "that flatters servers with threads",
        final=True,
    )
    return "real-time"


def gather(options: argparse.Namespace) -> Dict[str, Any]:
    """Measure what the options ask for; return everything that was found."""
    run: Dict[str, Any] = {
        "settings": {
            "rounds": options.rounds,
            "seconds": options.seconds,
            "quick": options.quick,
            "codec_only": options.codec,
            "priority": options.priority,
            "let_sleep": options.let_sleep,
        },
        "machine": pages.describe_machine(),
        "versions": pages.describe_versions(),
        "servers": [],
        "missing": {},
        "rounds": {},
        "instructions": {},
        "crowd": {},
        "imports": {},
        "codec": {},
    }
    busy, own, started = rounds.read_busy_seconds(), read_own_seconds(), time.monotonic()
    with contextlib.nullcontext() if options.let_sleep else rounds.keep_awake():
        if options.codec:
            run["codec"] = measure_codec(options)
        else:
            measure_servers(options, run)
    busy, own = rounds.read_busy_seconds() - busy, read_own_seconds() - own
    run["seconds"] = time.monotonic() - started
    run["foreign_share"] = max(0.0, busy - own) / run["seconds"] / 2
    return run


def measure_servers(options: argparse.Namespace, run: Dict[str, Any]) -> None:
    names = workloads.choose_names(options.workloads, options.quick)
    servers = prepare_servers(choose_servers(options.peers), run["missing"])
    with contextlib.ExitStack() as stack:
        chosen = [workload for workload in workloads.ALL if workload.name in names]
        if chosen:
            started, missing = rounds.start_servers(stack, servers)
            run["missing"].update(missing)
            servers = [running.server for running in started]
            if started:
                run["rounds"] = rounds.run_rounds(started, chosen, options.rounds, options.seconds)
    run["servers"] = [server.name for server in servers]
    if "crowd" in names:
        run["crowd"] = crowd.measure_crowds(servers, options.quick)
    if "instructions" in names:
        run["instructions"] = instructions.measure_instructions(servers)
    if "imports" in names:
        run["imports"] = imports.measure_imports()
    if "codec" in names:
        run["codec"] = measure_codec(options)


def prepare_servers(servers: Sequence[Server], missing: Dict[str, str]) -> List[Server]:
    """Build the environments before anything is timed; leave out what cannot be had here."""
    ready = []
    for server in servers:
        try:
            find_python(server)
        except Unavailable as error:
            missing[server.name] = str(error)
            say_line(f"bench: {server.name} is left out: {error}", final=True)
        else:
            ready.append(server)
    return ready


def measure_codec(options: argparse.Namespace) -> Dict[str, Any]:
    """The codecs' turns, in the interpreter that has the other libraries, on the servers' core."""
    count = max(options.rounds, CODEC_ROUNDS[options.quick])
    python = ensure_environment("bench", REQUIREMENTS)
    say_line(f"bench: codecs, {count} rounds")
    script = str(ROOT / "conformance" / "bench" / "codec.py")
    done = subprocess.run(
        [str(python), script, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
        preexec_fn=lambda: claim_core(SERVER_CORE),
    )
    if done.returncode:
        raise Unavailable(f"the codecs could not be measured: exit code {done.returncode}")
    found: Dict[str, Any] = json.loads(done.stdout)
    return found


def read_own_seconds() -> float:
    """Processor time of this process and of all that it has started and seen end."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
