"""Interleaved rounds: every server does every workload once a round; medians, and ratios pair by pair."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
from collections import defaultdict
from typing import Dict, Iterator, List, Optional, Sequence

from ..lib.environment import say_line
from ..lib.peers import Server
from .load import LOAD_CORE, Failed, Load, Result
from .peers import SERVER_CORE, Running
from .workloads import Workload

# A measurement is done again in which the server or the generator waited for its core longer than this share.
DISTURBED = 0.03
ATTEMPTS = 4
SECONDS = 0.25  # a workload's, each round


@contextlib.contextmanager
def keep_awake() -> Iterator[None]:
    """Keep both cores from sleeping, by company that runs when nobody else would.

    A sleeping virtual core is slow to wake: 0.1-0.3 ms a message on KVM, more than any server takes, so that
    one connection would measure the hypervisor.
    """
    idle = ["chrt", "--idle", "0", "setpriv", "--pdeathsig", "KILL", "sh", "-c", "while :; do :; done"]
    spinners = [subprocess.Popen(["taskset", "-c", str(core), *idle]) for core in (SERVER_CORE, LOAD_CORE)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


@contextlib.contextmanager
def real_time() -> Iterator[None]:
    """Put what is started meanwhile before everybody else on its core.

    On a busy machine one message in two waits for somebody's time slice (3 ms) otherwise. But real-time
    priority favours servers with threads: granian has a fifth to a third more on one connection.
    """
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def find_warm_up(server: Server, number: int) -> float:
    """Seconds before the clock starts: PyPy needs its compiled traces first."""
    if server.environment == "pypy":
        return 1.5 if number == 0 else 0.3
    return 0.06


def run_rounds(
    started: Sequence[Running], workloads: Sequence[Workload], rounds: int
) -> Dict[str, Dict[str, List[Result]]]:
    """Return {workload: {server: its results, one a round}}."""
    results: Dict[str, Dict[str, List[Result]]] = defaultdict(lambda: defaultdict(list))
    for number in range(rounds):
        for workload in workloads:
            # Nobody is always first, nor always behind the same neighbour's heat.
            shift = number % len(started)
            for running in [*started[shift:], *started[:shift]]:
                said = f"bench: round {number + 1} of {rounds}, {workload.name}, {running.name}"
                say_line(said)
                warm_up = find_warm_up(running.server, number)
                try:
                    result = measure_undisturbed(running, workload, warm_up)
                except Failed as error:
                    result = error.result
                    if "failed" in result:
                        say_line(f"{said}: {error} (its log: {running.log})", final=True)
                results[workload.name][running.name].append(result)
    return results


def measure_undisturbed(running: Running, workload: Workload, warm_up: float) -> Result:
    """Measure up to `ATTEMPTS` times; return the result that others disturbed least."""
    attempts: List[Result] = []
    with Load(running, workload) as load:
        if not workload.visits:
            load.open(workload.connections)
        load.run(warm_up)
        while len(attempts) < ATTEMPTS and (not attempts or attempts[-1]["waiting"] > DISTURBED):
            attempts.append(load.measure(SECONDS))
    return min(attempts, key=lambda result: float(result["waiting"]))


def find_median(results: Sequence[Result], key: str) -> Optional[float]:
    values = [result[key] for result in results if key in result]
    return statistics.median(values) if values else None


def find_ratio(ours: Sequence[Result], theirs: Sequence[Result]) -> Optional[float]:
    """The median of the rounds' own ratios: two neighbours in time share what else the machine was doing."""
    key = "per_second"
    ratios = [a[key] / b[key] for a, b in zip(ours, theirs) if key in a and key in b]
    return statistics.median(ratios) if ratios else None
