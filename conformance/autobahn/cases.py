"""The 517 cases of autobahntestsuite 25.10.1: their numbers, how they are picked, how long they take."""

from __future__ import annotations

import fnmatch
from typing import Dict, List, Sequence, Tuple

SUITE_VERSION = "25.10.1"

# How many cases each subsection has; they are numbered from 1 without gaps.
SUBSECTIONS = {
    **{"1.1": 8, "1.2": 8, "2": 11, "3": 7, "4.1": 5, "4.2": 5, "5": 20},
    **{"6.1": 3, "6.2": 4, "6.3": 2, "6.4": 4, "6.5": 5, "6.6": 11, "6.7": 4, "6.8": 2, "6.9": 4, "6.10": 3},
    **{"6.11": 5, "6.12": 8, "6.13": 5, "6.14": 10, "6.15": 1, "6.16": 3, "6.17": 5, "6.18": 5, "6.19": 5},
    **{"6.20": 7, "6.21": 8, "6.22": 34, "6.23": 7},
    **{"7.1": 6, "7.3": 6, "7.5": 1, "7.7": 13, "7.9": 9, "7.13": 2},
    **{"9.1": 6, "9.2": 6, "9.3": 9, "9.4": 9, "9.5": 6, "9.6": 6, "9.7": 6, "9.8": 6, "10.1": 1},
    **{f"12.{group}": 18 for group in range(1, 6)},
    **{f"13.{group}": 18 for group in range(1, 8)},
}

SECTIONS = {
    "1": "Framing",
    "2": "Pings and pongs",
    "3": "Reserved bits",
    "4": "Opcodes",
    "5": "Fragmentation",
    "6": "UTF-8",
    "7": "Closing",
    "9": "Limits and performance",
    "10": "Automatic fragmentation",
    "12": "permessage-deflate, different payloads",
    "13": "permessage-deflate, different parameters",
}

CASES = [f"{group}.{number}" for group, count in SUBSECTIONS.items() for number in range(1, count + 1)]

# All but what takes minutes: for every interpreter of a matrix.
QUICK = ("1", "2", "3", "4", "5", "6", "7", "10")

# Sizes in bytes of the 1000 messages of each case of 12.* and 13.*.
DEFLATE_SIZES = (
    *(16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072),
    *(8192, 16384, 32768, 65536, 131072, 131072, 131072, 131072),
)

# What 13.1 to 13.7 ask for: no context takeover, and the window in bits (0: nothing is said of it).
# 13.7 offers three sets, this one first.
DEFLATE_PARAMETERS: Dict[str, Tuple[bool, int]] = {
    "13.1": (False, 0),
    "13.2": (True, 0),
    "13.3": (False, 9),
    "13.4": (False, 15),
    "13.5": (True, 9),
    "13.6": (True, 15),
    "13.7": (True, 9),
}


def pick_cases(patterns: Sequence[str]) -> List[str]:
    """Return the cases that match any of the patterns, in the suite's order.

    "6.4.*", "6.4" and "6" are all understood, and "quick" for `QUICK`. Raises ValueError for a pattern that
    matches nothing.
    """
    picked = set()
    for pattern in [part for name in patterns for part in (QUICK if name == "quick" else (name,))]:
        found = [case for case in CASES if fnmatch.fnmatchcase(case, pattern)]
        found += [case for case in CASES if case.startswith(pattern + ".")]
        if not found:
            raise ValueError(f"no case matches {pattern!r}")
        picked.update(found)
    return [case for case in CASES if case in picked]


def get_section(case: str) -> str:
    return case.split(".")[0]


def split_batches(cases: Sequence[str], size: int) -> List[List[str]]:
    """Cut the cases into runs of at most `size`, each within one section."""
    batches: List[List[str]] = []
    for case in cases:
        if batches and len(batches[-1]) < size and get_section(batches[-1][0]) == get_section(case):
            batches[-1].append(case)
        else:
            batches.append([case])
    return batches


def estimate_seconds(case: str) -> float:
    """About how long a case takes; only its proportion to the others matters, for the time left."""
    section, number = get_section(case), int(case.split(".")[-1])
    if section in ("12", "13"):
        fragments = {11: 32, 12: 64, 13: 128, 14: 256, 15: 512, 16: 128, 17: 32}.get(number, 1)
        return 0.6 + DEFLATE_SIZES[number - 1] / 18e3 + fragments / 50
    return 0.9 if section == "9" else 0.25
