"""The 517 cases of autobahntestsuite 25.10.1: their numbers, how they are picked and written down."""

from __future__ import annotations

import fnmatch
from typing import List, Sequence, Tuple

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

CASES = [f"{group}.{number}" for group, count in SUBSECTIONS.items() for number in range(1, count + 1)]

# All but what takes minutes: for every interpreter of a matrix.
QUICK = ("1", "2", "3", "4", "5", "6", "7", "10")


def pick_cases(patterns: Sequence[str]) -> List[str]:
    """Return the cases that match any of the patterns, in the suite's order.

    "6.4.*", "6.4" and "6" are all understood, and "quick" for `QUICK`. Raises ValueError for a pattern that
    matches nothing.
    """
    picked = set()
    for pattern in [part for name in patterns for part in (QUICK if name == "quick" else (name,))]:
        found = [
            case for case in CASES if fnmatch.fnmatchcase(case, pattern) or case.startswith(pattern + ".")
        ]
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


def join_ranges(cases: Sequence[str]) -> str:
    """ "1.1.1-8 2.3" for 1.1.1 to 1.1.8 and 2.3."""
    ranges: List[Tuple[str, int, int]] = []
    for case in cases:
        group, _, number = case.rpartition(".")
        if ranges and ranges[-1][0] == group and ranges[-1][2] + 1 == int(number):
            ranges[-1] = (group, ranges[-1][1], int(number))
        else:
            ranges.append((group, int(number), int(number)))
    return " ".join(f"{group}.{low}" + (f"-{high}" if high > low else "") for group, low, high in ranges)


def split_ranges(ranges: str) -> List[str]:
    cases = []
    for item in ranges.split():
        group, _, numbers = item.rpartition(".")
        low, _, high = numbers.partition("-")
        cases += [f"{group}.{number}" for number in range(int(low), int(high or low) + 1)]
    return cases
