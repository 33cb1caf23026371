"""Interleaved rounds: every server runs every workload once a round; medians, and ratios pair by pair."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from ..lib.environment import Unavailable, say_line
from .peers import LOAD_CORE, SERVER_CORE, Running, Server, claim_core, run_server
from .workloads import Workload

Result = Dict[str, Any]

# A sleeping virtual core is slow to wake: 0.1-0.3 ms a message on KVM, more than any server takes, so that
# without company on the cores one connection measures the hypervisor. SCHED_IDLE runs when nobody else would.
_KEEP_AWAKE = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1000000): pass
"""


# A measurement is done again in which the server or the generator waited for its core longer than this share.
DISTURBED = 0.03
ATTEMPTS = 4


@contextlib.contextmanager
def keep_awake() -> Iterator[None]:
    """Keep both cores from sleeping."""
    command = [sys.executable, "-I", "-S", "-c", _KEEP_AWAKE]
    spinners = [subprocess.Popen([*command, str(core)]) for core in (SERVER_CORE, LOAD_CORE)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


class Load:
    """The load generator's process."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("load.py"))]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: claim_core(LOAD_CORE),
        )

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def do(self, running: Running, job: Dict[str, Any]) -> Result:
        """Have one job done against a server; a failure is a result with the key "failed"."""
        assert self._process.stdin is not None and self._process.stdout is not None
        server = running.server
        full = dict(
            job,
            port=running.port,
            pids=running.pids,
            is_floor=server.is_floor,
            is_threaded=server.is_threaded,
        )
        self._process.stdin.write(json.dumps(full) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Unavailable("the load generator ended")
        result: Result = json.loads(line)
        return result

    def do_undisturbed(self, running: Running, job: Dict[str, Any]) -> Result:
        """Have a job done up to `ATTEMPTS` times; return the result that others disturbed least."""
        best: Result = {}
        for _ in range(ATTEMPTS):
            result = self.do(running, job)
            if "failed" in result or "unsupported" in result:
                return best or result
            if not best or result["waiting"] < best["waiting"]:
                best = result
            if best["waiting"] <= DISTURBED:
                break
        return best


def start_servers(
    stack: contextlib.ExitStack, servers: Sequence[Server]
) -> Tuple[List[Running], Dict[str, str]]:
    """Start them all; return those that run and why the others do not."""
    started: List[Running] = []
    missing: Dict[str, str] = {}
    for server in servers:
        say_line(f"bench: starting {server.name}")
        try:
            running = stack.enter_context(run_server(server))
            # Leaves one that never sleeps stopped until its turn.
            with running.alone():
                started.append(running)
        except Unavailable as error:
            missing[server.name] = str(error)
            say_line(f"bench: {server.name} is left out: {error}", final=True)
    return started, missing


def run_rounds(
    started: Sequence[Running],
    workloads: Sequence[Workload],
    rounds: int,
    seconds: float,
) -> Dict[str, Dict[str, List[Result]]]:
    """Return {workload: {server: its results, one a round}}."""
    results: Dict[str, Dict[str, List[Result]]] = {
        workload.name: {running.server.name: [] for running in started} for workload in workloads
    }
    with Load() as load:
        for number in range(rounds):
            for workload in workloads:
                # Nobody is always first, nor always behind the same neighbour's heat.
                shift = number % len(started)
                for running in [*started[shift:], *started[:shift]]:
                    say_line(f"bench: round {number + 1} of {rounds}, {workload.name}, {running.server.name}")
                    job = dict(workload.job, seconds=seconds, warm_up=find_warm_up(running.server, number))
                    with running.alone():
                        result = load.do_undisturbed(running, job)
                    results[workload.name][running.server.name].append(result)
                    if "failed" in result:
                        say_line(
                            f"bench: {running.server.name}, {workload.name}: {result['failed']}"
                            f" ({running.read_log()})",
                            final=True,
                        )
    return results


def find_warm_up(server: Server, number: int) -> float:
    """Seconds before the clock starts: PyPy needs its compiled traces first."""
    if server.environment == "pypy":
        return 1.5 if number == 0 else 0.3
    return 0.06


def find_median(results: Sequence[Result], key: str) -> Optional[float]:
    values = [result[key] for result in results if key in result]
    return statistics.median(values) if values else None


def find_ratio(ours: Sequence[Result], theirs: Sequence[Result], key: str = "per_second") -> Optional[float]:
    """The median of the rounds' own ratios: two neighbours in time share what else the machine was doing."""
    pairs = [(a[key], b[key]) for a, b in zip(ours, theirs) if key in a and key in b]
    return statistics.median(a / b for a, b in pairs) if pairs else None


def read_busy_seconds() -> float:
    """Seconds that all cores together have worked since boot, for whomever."""
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    user, nice, system, _idle, _wait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
