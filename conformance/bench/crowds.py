"""Many connections to one server: the memory of each, and what a message costs among them."""

from __future__ import annotations

import time
from typing import List

from .load import Load, Result
from .peers import Running
from .rounds import find_warm_up
from .workloads import Workload

FULL_STEPS, QUICK_STEPS = (100, 1_000, 10_000), (100, 1_000)
COMPRESSED = 500


def measure_crowd(is_quick: bool, running: Running) -> List[Result]:
    """Return one result for every so many open connections, with `memory` in bytes of an idle one."""
    warm_up, steps = find_warm_up(running.server, 0), []
    with Load(running, Workload("crowd")) as load:
        load.open(1)
        load.run(warm_up)
        empty = running.read_memory()
        for count in QUICK_STEPS if is_quick else FULL_STEPS:
            load.open(count)
            time.sleep(0.5 if is_quick else 2.0)
            memory = (running.read_memory() - empty) / (count - 1)
            load.run(warm_up)
            results = [load.measure(0.2 if is_quick else 0.5) for _ in range(3)]
            middle = sorted(results, key=lambda result: float(result["server_ns"]))[1]
            steps.append({**middle, "connections": count, "memory": memory})
    return steps


def measure_compressed(offer: str, running: Running) -> float:
    """Return the bytes of a connection that has compressed a message each way."""
    workload = Workload("crowd-deflate", 1024, offer=offer)
    with Load(running, workload) as load:
        load.open(1)
        load.run(0)
        empty = running.read_memory()
    with Load(running, workload) as load:
        load.open(COMPRESSED)
        load.run(0)
        return (running.read_memory() - empty) / COMPRESSED
