"""Our own targets of speed, each checked against what was measured."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..lib.peers import ALL as SERVERS
from .load import Result
from .rounds import find_median, find_ratio

OURS, OURS_UVLOOP, OURS_PYPY = "wsbridge", "wsbridge+uvloop", "wsbridge@pypy"

# {in words: the servers whose best counts}; other words are one server's or codec's name
PEERS = {
    "best server": [server.name for server in SERVERS if server.is_peer],
    "best but h2corn, socketify": [
        server.name for server in SERVERS if server.is_peer and server.family not in ("h2corn", "socketify")
    ],
    "best uvicorn": [server.name for server in SERVERS if server.family == "uvicorn"],
    "best h2corn": [server.name for server in SERVERS if server.family == "h2corn"],
}

# A server that uses more of its core than this with nothing to do polls. It finds a message sooner than one
# that has to be woken, at a price that no target asks for: it is not among the best servers.
POLLING = 0.5

# Where the generator used more of its core than this, the figure may be its own and not the server's.
BUSY_GENERATOR = 0.8

# (workloads, ours, whose best counts, at least so many times that)
THROUGHPUT: List[Tuple[str, str, str, float]] = [
    ("one-125 one-125-binary", OURS, "best server", 1.1),
    ("hundred-125 hundred-125-binary", OURS, "best server", 1.15),
    ("hundred-1k hundred-1k-binary", OURS, "best server", 1.15),
    ("burst-125 bursts-125", OURS, "best server", 1.1),
    ("burst-1k burst-1k-binary", OURS, "best server", 1.1),
    ("one-16k one-16k-binary", OURS, "best server", 1.1),
    ("hundred-16k hundred-16k-binary", OURS, "best server", 1.15),
    ("one-64k one-64k-binary hundred-64k hundred-64k-binary", OURS, "best server", 0.95),
    ("one-1m one-1m-binary", OURS, "granian+uvloop", 0.75),
    ("one-1m one-1m-binary", OURS, "best uvicorn", 1.2),
    ("deflate-125 deflate-1k", OURS, "best server", 1.2),
    ("deflate-16k", OURS, "best server", 2.0),
    ("handshakes", OURS, "granian+uvloop", 1.0),
    ("handshakes", OURS, "best h2corn", 0.75),
    ("handshakes", OURS, "best uvicorn", 2.0),
    ("hundred-16 hundred-125 hundred-1k", OURS, "granian+uvloop", 1.0),
    ("hundred-16 hundred-125 hundred-1k", OURS, "best uvicorn", 1.4),
    ("one-16 one-125 one-1k", OURS, "best but h2corn, socketify", 1.2),
    ("burst-16 burst-125 burst-1k", OURS, "best but h2corn, socketify", 3.0),
    ("one-16 one-125 one-1k", OURS_UVLOOP, "best but h2corn, socketify", 1.5),
    ("hundred-16 hundred-125 hundred-1k", OURS_UVLOOP, "best but h2corn, socketify", 1.3),
    ("burst-16 burst-125 burst-1k", OURS_UVLOOP, "best but h2corn, socketify", 3.0),
    ("one-64k one-1m", OURS_PYPY, OURS, 2.0),
    ("get-1 get-32", OURS, "uvicorn+uvloop", 1.0),
    ("get-1 get-32", OURS, "uvicorn-h11", 2.0),
    ("parse-125", OURS, "wsproto", 8.0),
    ("parse-125", OURS, "websockets", 2.5),
    ("build-125", OURS, "websockets", 3.0),
    ("parse-16k parse-64k", OURS, "websockets", 0.6),
]
INSTRUCTIONS = [
    ("one-125", OURS, 54_000),
    ("hundred-125", OURS, 44_000),
    ("burst-125", OURS, 24_000),
    ("handshakes", OURS, 345_000),
    ("one-125", OURS_UVLOOP, 54_000),
    ("hundred-125", OURS_UVLOOP, 48_000),
    ("burst-125", OURS_UVLOOP, 34_000),
]
IDLE_KIB = 7
COMPRESSED_KIB = {"with takeover": 36, "without takeover": 8}
CROWD_GROWTH = {1_000: 1.3, 10_000: 1.6}  # times the cost of one among 100
IMPORT_SHARE = 0.5


class Outcome(NamedTuple):
    """One target: `measured` is None when this run did not measure it, `is_met` when it cannot be judged."""

    what: str
    target: str
    measured: Optional[float]
    is_met: Optional[bool]
    against: str = ""


def check_targets(run: Dict[str, Any]) -> List[Outcome]:
    """Every target, met or not. run: what the bench gathered."""
    imports = run["imports"]
    share = imports["wsbridge"] / imports["asyncio"] if imports else None
    return [
        *_check_throughput({**run["rounds"], **run["codec"]}),
        *(
            _at_most(f"instructions, {work}, {ours}", limit, run["instructions"].get(ours, {}).get(work))
            for work, ours, limit in INSTRUCTIONS
        ),
        *_check_connections(run["crowd"].get(OURS, []), run["compressed"]),
        _at_most("import wsbridge, so many times import asyncio", IMPORT_SHARE, share),
    ]


def find_best(results: Dict[str, List[Result]], names: Sequence[str]) -> Optional[str]:
    """The name with the highest median throughput."""
    speeds = {name: find_median(results.get(name, []), "per_second") for name in names}
    known = {name: speed for name, speed in speeds.items() if speed is not None}
    return max(known, key=lambda name: known[name]) if known else None


def _check_throughput(rounds: Dict[str, Dict[str, List[Result]]]) -> List[Outcome]:
    outcomes = []
    for works, ours, words, factor in THROUGHPUT:
        for work in works.split():
            results = rounds.get(work, {})
            names = PEERS.get(words, [words])
            polling = [name for name in names if _polls(results.get(name, []))]
            best = find_best(results, [name for name in names if name not in polling])
            if best is None:
                outcomes.append(_at_least(f"{work}, {ours}", factor, None, words))
                continue
            against = best if best == words else f"{words}: {best}"
            if polling:
                against += f", without {', '.join(polling)}, which polls"
            ratio = find_ratio(results.get(ours, []), results[best])
            sizes = [find_median(results.get(name, []), "reply_bytes") for name in (ours, best)]
            if None not in sizes:
                against += f", whose replies have {sizes[1]:,.0f} bytes and ours {sizes[0]:,.0f}"
            outcome = _at_least(f"{work}, {ours}", factor, ratio, against)
            busy = max(find_median(results.get(name, []), "load_share") or 0.0 for name in (ours, best))
            if busy > BUSY_GENERATOR:
                outcome = outcome._replace(is_met=None, against=f"{against}; generator {busy:.0%} busy")
            outcomes.append(outcome)
    return outcomes


def _polls(results: List[Result]) -> bool:
    return (find_median(results, "quiet_share") or 0.0) > POLLING


def _at_least(what: str, factor: float, ratio: Optional[float], against: str) -> Outcome:
    return Outcome(what, f"at least {factor:g} x", ratio, None if ratio is None else ratio >= factor, against)


def _at_most(what: str, limit: float, value: Optional[float]) -> Outcome:
    return Outcome(what, f"at most {limit:,g}", value, None if value is None else value <= limit)


def _check_connections(crowd: List[Result], compressed: Dict[str, Dict[str, float]]) -> List[Outcome]:
    outcomes = []
    for how, limit in COMPRESSED_KIB.items():
        size = compressed[how][OURS] / 1024 if OURS in compressed.get(how, {}) else None
        outcomes.append(_at_most(f"KiB of a connection that has compressed, {how}", limit, size))
    steps = {step["connections"]: step for step in crowd}
    last = steps.get(max(steps, default=0))
    outcomes.append(_at_most("KiB of an idle connection", IDLE_KIB, last["memory"] / 1024 if last else None))
    for count, most in CROWD_GROWTH.items():
        grown = steps[count]["server_ns"] / steps[100]["server_ns"] if count in steps else None
        outcomes.append(_at_most(f"a message among {count:,}, so many times one among 100", most, grown))
    return outcomes
