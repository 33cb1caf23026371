"""What is measured: every workload by name, as the load generator's jobs."""

from __future__ import annotations

import fnmatch
from typing import Any, Dict, List, NamedTuple, Optional

from ..lib.environment import Unavailable

SIZES = {"16": 16, "125": 125, "1k": 1 << 10, "16k": 1 << 14, "64k": 1 << 16, "1m": 1 << 20}
IN_FLIGHT = 16
HANDSHAKES_AT_ONCE = 16


class Workload(NamedTuple):
    """One job that every server does once a round."""

    name: str
    title: str
    job: Dict[str, Any]
    is_quick: bool = False


def _echo(mode: str, size: str, is_quick: bool = False) -> Workload:
    connections, in_flight, deflate, words = {
        "one": (1, 1, False, "1 connection"),
        "hundred": (100, 1, False, "100 connections"),
        "burst": (1, IN_FLIGHT, False, f"1 connection, {IN_FLIGHT} in flight"),
        "deflate": (1, 1, True, "permessage-deflate, 1 connection"),
    }[mode]
    unit = f"{size[:-1]} {'KiB' if size.endswith('k') else 'MiB'}" if size[-1] in "km" else f"{size} B"
    job = {
        "kind": "echo",
        "size": SIZES[size],
        "connections": connections,
        "in_flight": in_flight,
        "deflate": deflate,
        "binary": False,
    }
    return Workload(f"{mode}-{size}", f"{unit} text, {words}", job, is_quick)


ALL: List[Workload] = [
    _echo("one", "16"),
    _echo("one", "125", True),
    _echo("one", "1k"),
    _echo("one", "16k", True),
    _echo("one", "64k"),
    _echo("one", "1m"),
    _echo("hundred", "16"),
    _echo("hundred", "125", True),
    _echo("hundred", "1k"),
    _echo("hundred", "16k"),
    _echo("burst", "16"),
    _echo("burst", "125", True),
    _echo("burst", "1k"),
    _echo("burst", "16k"),
    _echo("deflate", "125"),
    _echo("deflate", "1k", True),
    _echo("deflate", "16k"),
    Workload(
        "handshakes",
        f"connect, upgrade, close; {HANDSHAKES_AT_ONCE} at a time",
        {"kind": "handshakes", "connections": HANDSHAKES_AT_ONCE, "deflate": False},
        True,
    ),
]

# Measured once a run and not once a round, by modules of their own.
SINGLE = {
    "crowd": "memory per idle connection, and the cost of a message among 100, 1,000 and 10,000 connections",
    "instructions": "user instructions per 125-byte message, counted by valgrind's callgrind",
    "imports": "import time",
    "codec": "the codecs alone, without servers; the same as --codec",
}
QUICK_SINGLE = ("crowd", "imports")


def choose_names(patterns: Optional[str], is_quick: bool) -> List[str]:
    """Names of workloads that match a comma-separated list of names or globs; the default ones without it."""
    names = [workload.name for workload in ALL] + list(SINGLE)
    if patterns:
        wanted = [pattern.strip() for pattern in patterns.split(",")]
        chosen = [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)]
        if not chosen:
            raise Unavailable(f"no workload matches {patterns!r}; there are {', '.join(names)}")
        return chosen
    if is_quick:
        return [workload.name for workload in ALL if workload.is_quick] + list(QUICK_SINGLE)
    return names
