"""Ever more connections to one server: the memory of an idle one, and what a message costs among them."""

from __future__ import annotations

import statistics
from typing import Any, Dict, List, Sequence

from ..lib.environment import Unavailable, say_line
from .peers import Server, run_server
from .rounds import Load, find_warm_up

FULL_STEPS = (100, 1_000, 10_000)
QUICK_STEPS = (100, 1_000)
OUR_PASSES = 3


def measure_crowds(servers: Sequence[Server], is_quick: bool) -> Dict[str, List[Dict[str, Any]]]:
    """Return {server: one result a step}; each pass has a fresh server, ours have three unless in a hurry."""
    results: Dict[str, List[Dict[str, Any]]] = {}
    for server in servers:
        passes = OUR_PASSES if server.is_ours and not is_quick else 1
        done = [_measure_once(server, is_quick, f"pass {number + 1} of {passes}") for number in range(passes)]
        whole = [steps for steps in done if steps]
        if whole:
            results[server.name] = [_join(step) for step in zip(*whole)]
    return results


def _measure_once(server: Server, is_quick: bool, said: str) -> List[Dict[str, Any]]:
    say_line(f"bench: crowd, {server.name}, {said}")
    job = {
        "kind": "crowd",
        "size": 125,
        "deflate": False,
        "binary": False,
        "steps": QUICK_STEPS if is_quick else FULL_STEPS,
        "settle": 0.5 if is_quick else 2.0,
        "seconds": 0.3 if is_quick else 1.0,
        "warm_up": find_warm_up(server, 0),
    }
    try:
        with run_server(server) as running, Load() as load:
            result = load.do(running, job)
            if "failed" in result:
                say_line(
                    f"bench: crowd, {server.name}: {result['failed']} ({running.read_log()})", final=True
                )
    except Unavailable as error:
        say_line(f"bench: crowd, {server.name}: {error}", final=True)
        return []
    steps: List[Dict[str, Any]] = result.get("steps", [])
    return steps


def _join(passes: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    return {key: statistics.median(one[key] for one in passes) for key in passes[0]}
