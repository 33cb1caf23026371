"""A state machine does anything to one connection in any order, and checks that nothing is lost (hypothesis).

    python3 conformance/run.py stateful [--short] [--steps N] [--seed N] [--jobs N]

The real server runs on an event loop without sockets whose time and turns are the machine's, cancellation at
every await included. A failure is printed as the shortest program of steps that shows it, with the seed that
finds it again (`--steps 1 --jobs 1 --seed SEED`). The report is conformance/reports/stateful/index.html.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Sequence

from conformance.lib.environment import (
    ROOT,
    Unavailable,
    enter_environment,
    lock_folder,
    report_folder,
    say_line,
)

REQUIREMENTS = ["hypothesis==6.170.15", "sortedcontainers==2.4.0"]
FULL_STEPS, SHORT_STEPS = 100_000, 50_000
WHOLE_SECONDS = 5400.0


def main(argv: List[str]) -> int:
    options = parse_arguments(argv)
    if sys.implementation.name != "cpython" or sys.version_info < (3, 11):
        raise Unavailable("hypothesis, as pinned, needs CPython 3.11 or newer: run this check with one")
    enter_environment("stateful", REQUIREMENTS)
    folder = report_folder("stateful" if options.steps >= FULL_STEPS else "stateful-short")
    lock_folder(folder)
    started = time.monotonic()
    messages = run_workers(options)
    return report_run(options, messages, time.monotonic() - started, folder)


def parse_arguments(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py stateful", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, help=f"steps in all ({FULL_STEPS})")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_STEPS} steps, about a minute")
    parser.add_argument("--seed", type=int, help="of the first process's first batch (random, printed)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    options = parser.parse_args(argv)
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    options.steps = options.steps or (SHORT_STEPS if options.short else FULL_STEPS)
    if options.seed is None:
        options.seed = secrets.randbelow(10**6)
    return options


def run_workers(options: argparse.Namespace) -> Dict[int, Dict[str, Any]]:
    """Run every process to its end; the last line of JSON that each has said."""
    share = -(-options.steps // options.jobs)
    say_line(f"stateful: {options.steps} steps in {options.jobs} processes, seed {options.seed}", final=True)
    command = [sys.executable, "-m", "conformance.stateful.worker", str(share)]
    workers = [
        subprocess.Popen([*command, str(options.seed + job)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for job in range(options.jobs)
    ]
    messages: Dict[int, Dict[str, Any]] = {}
    threads = [
        threading.Thread(target=follow, args=(job, worker, messages, options.steps))
        for job, worker in enumerate(workers)
    ]
    limit = threading.Timer(WHOLE_SECONDS, kill_all, [workers])
    limit.start()
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        limit.cancel()
        kill_all(workers)
    return messages


def kill_all(workers: Sequence[Any]) -> None:
    for worker in workers:
        worker.kill()
        worker.wait()


def follow(job: int, worker: Any, messages: Dict[int, Dict[str, Any]], steps: int) -> None:
    """Keep what one process says, and show how far all are."""
    started = time.monotonic()
    for line in worker.stdout:
        messages[job] = json.loads(line)
        tallies = [message["tally"] for message in list(messages.values()) if message["tally"]]
        done = sum(count for tally in tallies for _, count in tally["rules"])
        left = (time.monotonic() - started) * max(0, steps - done) / max(1, done)
        say_line(f"stateful: {done} of {steps} steps, about {left / 60:.1f} minutes left")
    code = worker.wait()
    if job not in messages or (code and not messages[job]["failure"]):
        messages.setdefault(job, {"tally": None, "seed": None})["failure"] = (
            f"process {job} ended with {code}"
        )


def report_run(
    options: argparse.Namespace, messages: Dict[int, Dict[str, Any]], seconds: float, folder: Path
) -> int:
    from .page import CHECKS, count_awaits, write_page
    from .tally import Tally

    tally = Tally()
    failures = []
    for message in messages.values():
        if message["tally"] is not None:
            tally.add(message["tally"])
        if message["failure"]:
            failures.append(f"seed {message['seed']}\n{message['failure']}")
    never = [
        f"{path}:{line}"
        for (path, line), _, count, is_inside in count_awaits(tally)
        if is_inside and not count
    ]
    facts: Dict[str, Any] = {
        "steps": tally.steps,
        "programs": tally.runs,
        "connections": sum(tally["closes"].values()),
        "checks": sum(tally["checks"].values()),
        "failures": len(failures),
        "seed": str(options.seed),
        "minutes": round(seconds / 60, 1),
    }
    path = write_page(folder / "index.html", tally, facts, failures)
    for failure in failures:
        print(failure)
    print(", ".join(f"{name}: {value}" for name, value in facts.items()))
    unused = [name for name in CHECKS if not tally["checks"][name]]
    if never or unused:
        print(f"awaits at which nothing was cancelled: {', '.join(never) or 'none'}")
        print(f"invariants never checked: {', '.join(unused) or 'none'}")
    print(f"report: {path}")
    # A short run need not come by everywhere.
    is_whole = not never or options.steps < FULL_STEPS
    return 0 if is_whole and not failures and not unused and tally.steps >= options.steps else 1
