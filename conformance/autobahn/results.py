"""What the suite found: one `Result` per case, its verdict, and the record that is committed."""

from __future__ import annotations

import html
import json
import re
from typing import Any, Dict, Iterable, List, Mapping, Optional

from ..lib.environment import ROOT
from .cases import CASES, SUITE_VERSION, get_section, join_ranges, split_ranges
from .compression import Compression, read_compression

RECORDS = ROOT / "conformance" / "autobahn-results.json"
OUTCOMES = "behavior / closing / close code / extension"

GOOD = ("OK", "INFORMATIONAL")
MISSING = "MISSING"


class Result:
    """One case: wstest's record of it, made ready to judge and to show.

    role: that of the implementation under test. page: where wstest's own page of the case is, or "".
    """

    def __init__(self, case: str, record: Optional[Mapping[str, Any]], role: str, page: str = "") -> None:
        self.case = case
        self.page = page
        self._record: Mapping[str, Any] = record or {}
        self.behavior = str(self._record.get("behavior", MISSING))
        self.behavior_close = str(self._record.get("behaviorClose", MISSING))
        self.close_code: Optional[int] = self._record.get("remoteCloseCode")
        self.milliseconds = int(self._record.get("duration", 0))
        self.compression: Optional[Compression] = None
        if record is not None and get_section(case) in ("12", "13"):
            self.compression = read_compression(case, record, role)

    @property
    def complaint(self) -> str:
        """Why the suite's OK is not enough, or ""."""
        return self.compression.complaint if self.compression is not None else ""

    @property
    def is_good(self) -> bool:
        return self.behavior in GOOD and self.behavior_close in GOOD and not self.complaint

    @property
    def outcome(self) -> str:
        """The word for the report's colours."""
        if self.is_good:
            return "info" if "INFORMATIONAL" in (self.behavior, self.behavior_close) else "ok"
        if self.behavior == "UNIMPLEMENTED":
            return "none"
        is_closed = self.behavior_close not in ("FAILED", "UNCLEAN", MISSING)
        is_mild = self.behavior in ("NON-STRICT", *GOOD) and is_closed and not self.complaint
        return "warn" if is_mild else "fail"

    @property
    def verdict(self) -> str:
        """The behaviour in a few words, with that of the closing handshake where it is not OK."""
        words = [self.behavior]
        if self.behavior_close not in GOOD and self.behavior_close != self.behavior:
            words.append(f"closing: {self.behavior_close}")
        if self.complaint:
            words.append(self.complaint)
        return ", ".join(words)

    @property
    def key(self) -> str:
        """All of it that must not change from run to run."""
        parts = [self.behavior, self.behavior_close, str(self.close_code)]
        if self.compression is not None:
            parts.append(self.compression.agreed)
        return " / ".join(parts)

    def get_text(self, name: str) -> str:
        """A text of wstest's record without its markup: "expectation", "result", "resultClose"."""
        text = html.unescape(re.sub(r"<[^>]*>", " ", str(self._record.get(name) or "")))
        return " ".join(text.split())


def count_behaviors(results: Iterable[Result]) -> Dict[str, int]:
    """How often each behaviour occurs, the good ones first."""
    counts = {"OK": 0, "INFORMATIONAL": 0, "NON-STRICT": 0, "UNIMPLEMENTED": 0, "FAILED": 0, MISSING: 0}
    for result in results:
        counts[result.behavior] = counts.get(result.behavior, 0) + 1
    return {behavior: count for behavior, count in counts.items() if count}


def load_records() -> Dict[str, Any]:
    return dict(json.loads(RECORDS.read_text("utf-8")))


def save_records(records: Mapping[str, Any]) -> None:
    whole = {**records, "suite": f"autobahntestsuite {SUITE_VERSION}"}
    RECORDS.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")


def build_record(results: Mapping[str, Result]) -> Dict[str, Any]:
    """The part of the committed file that belongs to one role: counts, and for each outcome its cases."""
    outcomes: Dict[str, List[str]] = {}
    for case, result in results.items():
        outcomes.setdefault(result.key, []).append(case)
    ranges = {key: join_ranges(cases) for key, cases in sorted(outcomes.items())}
    return {"cases": len(results), **count_behaviors(results.values()), OUTCOMES: ranges}


def compare_record(results: Mapping[str, Result], record: Mapping[str, Any]) -> List[str]:
    """A line for every case that was run, and every count of a whole run, that is not as recorded."""
    recorded: Dict[str, str] = {}
    for key, ranges in record[OUTCOMES].items():
        recorded.update(dict.fromkeys(split_ranges(ranges), key))
    differences = [
        f"{case}: {result.key}; recorded: {recorded.get(case, 'nothing')}"
        for case, result in results.items()
        if recorded.get(case) != result.key
    ]
    if list(results) == CASES:
        for name, count in build_record(results).items():
            if name != OUTCOMES and count != record.get(name):
                differences.append(f"{name}: {count}; recorded: {record.get(name, 'nothing')}")
    return differences
