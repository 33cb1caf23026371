"""Our own targets of speed, each checked against what was measured."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from .peers import ALL as SERVERS
from .rounds import Result, find_median, find_ratio

OURS, OURS_UVLOOP, OURS_PYPY = "wsbridge", "wsbridge+uvloop", "wsbridge@pypy"

PEERS = [server.name for server in SERVERS if server.is_peer]
UVICORNS = [server.name for server in SERVERS if server.family == "uvicorn"]
GRANIAN = ["granian+uvloop"]
FLOORS = ["floor-polling", "floor-bytes", "floor-bytes+uvloop"]


class Outcome(NamedTuple):
    """One target: `measured` is None when this run did not measure it.

    `floor` is the fastest of the servers that only send back what they read: asyncio's, uvloop's,
    and one that never sleeps. Nothing in Python comes above it.
    """

    what: str
    target: str
    measured: Optional[float]
    is_met: Optional[bool]
    against: str = ""
    floor: Optional[float] = None


def check_targets(run: Dict[str, Any]) -> List[Outcome]:
    """Every target, met or not. run: what the bench gathered."""
    return [
        *_check_throughput(run["rounds"]),
        *_check_instructions(run["instructions"]),
        *_check_handshakes(run["rounds"]),
        *_check_crowd(run["crowd"]),
        *_check_imports(run["imports"]),
        *_check_pypy(run["rounds"]),
        *check_codec(run["codec"]),
    ]


# ---------------------------------------------------------------- against peers

_Rows = Sequence[Any]

# (workload, ours, the peers whose best counts, their name in words, at least so many times)
THROUGHPUT: _Rows = [
    *((f"one-{size}", OURS, PEERS, "best peer", 1.2) for size in ("16", "125", "1k")),
    *((f"hundred-{size}", OURS, GRANIAN, "granian+uvloop", 1.0) for size in ("16", "125", "1k")),
    *((f"hundred-{size}", OURS, UVICORNS, "best uvicorn", 1.4) for size in ("16", "125", "1k")),
    *((f"burst-{size}", OURS, PEERS, "best peer", 3.0) for size in ("16", "125", "1k")),
    *((f"one-{size}", OURS_UVLOOP, PEERS, "best peer", 1.5) for size in ("16", "125", "1k")),
    *((f"hundred-{size}", OURS_UVLOOP, PEERS, "best peer", 1.3) for size in ("16", "125", "1k")),
    *((f"burst-{size}", OURS_UVLOOP, PEERS, "best peer", 3.0) for size in ("16", "125", "1k")),
    ("one-16k", OURS, PEERS, "best peer", 1.0),
    ("one-64k", OURS, PEERS, "best peer", 0.8),
    ("one-1m", OURS, PEERS, "best peer", 0.45),
    *((f"deflate-{size}", OURS, PEERS, "best peer", 1.2) for size in ("125", "1k", "16k")),
]
INSTRUCTIONS: _Rows = [
    ("one-125", OURS, 80_000),
    ("hundred-125", OURS, 62_000),
    ("burst-125", OURS, 34_000),
    ("one-125", OURS_UVLOOP, 54_000),
    ("hundred-125", OURS_UVLOOP, 48_000),
    ("burst-125", OURS_UVLOOP, 34_000),
]
CODEC: _Rows = [
    ("parse-125", "wsproto", 8.0),
    ("parse-125", "websockets", 2.5),
    ("build-125", "websockets", 3.0),
]


def find_best(results: Dict[str, List[Result]], names: Sequence[str]) -> Optional[str]:
    """The name with the highest median throughput."""
    speeds = {name: find_median(results.get(name, []), "per_second") for name in names}
    known = {name: speed for name, speed in speeds.items() if speed is not None}
    return max(known, key=lambda name: known[name]) if known else None


def _count(results: Dict[str, List[Result]], names: Sequence[str]) -> int:
    """How many of them this run measured: a ratio to the best of few says less."""
    return sum(find_median(results.get(name, []), "per_second") is not None for name in names)


def _at_least(what: str, factor: float, ratio: Optional[float], against: str) -> Outcome:
    return Outcome(what, f"at least {factor:g} x", ratio, None if ratio is None else ratio >= factor, against)


def _at_most(what: str, limit: float, unit: str, value: Optional[float], against: str = "") -> Outcome:
    return Outcome(
        what, f"at most {limit:,g} {unit}".strip(), value, None if value is None else value <= limit, against
    )


def _check_throughput(rounds: Dict[str, Dict[str, List[Result]]]) -> List[Outcome]:
    outcomes = []
    for workload, ours, names, words, factor in THROUGHPUT:
        results = rounds.get(workload, {})
        best = find_best(results, names)
        ratio = find_ratio(results.get(ours, []), results[best]) if best else None
        against = f"{words} of {_count(results, names)}: {best}" if best and best != words else words
        outcome = _at_least(f"{workload}, {ours}", factor, ratio, against)
        outcomes.append(outcome._replace(floor=_find_floor(results, best)))
    return outcomes


def _find_floor(results: Dict[str, List[Result]], other: Optional[str]) -> Optional[float]:
    floor = find_best(results, FLOORS)
    return find_ratio(results[floor], results[other]) if floor and other in results else None


def _check_handshakes(rounds: Dict[str, Dict[str, List[Result]]]) -> List[Outcome]:
    results = rounds.get("handshakes", {})
    best = find_best(results, UVICORNS)
    ratio = find_ratio(results.get(OURS, []), results[best]) if best else None
    return [
        _at_least(
            f"handshakes, {OURS}",
            2.0,
            ratio,
            f"best uvicorn of {_count(results, UVICORNS)}: {best}" if best else "best uvicorn",
        )
    ]


def _check_instructions(instructions: Dict[str, Dict[str, float]]) -> List[Outcome]:
    return [
        _at_most(
            f"user instructions, {workload}, {ours}", limit, "", instructions.get(ours, {}).get(workload)
        )
        for workload, ours, limit in INSTRUCTIONS
    ]


# ---------------------------------------------------------------- against ourselves and the floor


def _check_crowd(crowd: Dict[str, List[Dict[str, Any]]]) -> List[Outcome]:
    steps = {step["connections"]: step for step in crowd.get(OURS, [])}
    last = steps.get(max(steps, default=0))
    memory = last["memory"] / 1024 if last else None
    count = f"{last['connections']:,.0f}" if last else "10,000"
    return [
        _at_most(f"memory per idle connection, {count} of them, {OURS}", 7, "KiB", memory),
        _at_most(f"cost of a message among 1,000, {OURS}", 1.3, "x", _find_growth(steps, 1_000), "among 100"),
        _at_most(
            f"cost of a message among 10,000, {OURS}", 1.6, "x", _find_growth(steps, 10_000), "among 100"
        ),
    ]


def _find_growth(steps: Dict[int, Dict[str, Any]], count: int) -> Optional[float]:
    if 100 not in steps or count not in steps:
        return None
    return float(steps[count]["server_ns"] / steps[100]["server_ns"])


def _check_imports(imports: Dict[str, float]) -> List[Outcome]:
    found = None
    if "wsbridge" in imports and "asyncio" in imports:
        found = imports["wsbridge"] - imports["asyncio"]
    return [_at_most("import wsbridge, beyond import asyncio", 10, "ms", found)]


def _check_pypy(rounds: Dict[str, Dict[str, List[Result]]]) -> List[Outcome]:
    outcomes = []
    for workload in ("one-64k", "one-1m"):
        results = rounds.get(workload, {})
        ratio = find_ratio(results.get(OURS_PYPY, []), results.get(OURS, []))
        outcome = _at_least(f"{workload}, {OURS_PYPY}", 2.0, ratio, OURS)
        outcomes.append(outcome._replace(floor=_find_floor(results, OURS)))
    return outcomes


def check_codec(codec: Dict[str, Any]) -> List[Outcome]:
    speeds = codec.get("speeds", {})
    return [
        _at_least(f"{work}, codec alone", factor, find_speed_ratio(speeds.get(work, {}), peer), peer)
        for work, peer, factor in CODEC
    ]


def find_speed_ratio(row: Dict[str, List[float]], peer: str) -> Optional[float]:
    """The median of the rounds' ratios of our codec and another's."""
    ours, theirs = ([{"per_second": speed} for speed in row.get(name, [])] for name in ("wsbridge", peer))
    return find_ratio(ours, theirs)
