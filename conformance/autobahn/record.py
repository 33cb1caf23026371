"""The 517 cases of autobahntestsuite 25.10.1, and what came of each: conformance/autobahn-results.json.

The committed file says which cases there are, and in which order: {"server": {"1.1.1": "OK / OK / 1000"}}.
"""

from __future__ import annotations

import fnmatch
import json
from typing import Any, Dict, List, Sequence

from ..lib.environment import ROOT

RECORD = ROOT / "conformance" / "autobahn-results.json"
SUITE_VERSION = "25.10.1"

# All but what takes minutes: for every interpreter of a matrix.
QUICK = ("1", "2", "3", "4", "5", "6", "7", "10")


def load_record() -> Dict[str, Any]:
    return dict(json.loads(RECORD.read_text("utf-8")))


CASES: List[str] = list(load_record()["server"])


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
