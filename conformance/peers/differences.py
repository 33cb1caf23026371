"""Reads differences.txt and the results of a suite, and compares them."""

from __future__ import annotations

from pathlib import Path
from typing import List, NamedTuple, Sequence
from xml.etree import ElementTree

FILE = Path(__file__).parent / "differences.txt"


class Difference(NamedTuple):
    """A test that fails for a reason, whatever its parameters; `message` is part of what the failure says."""

    subject: str
    reason: str
    test: str
    message: str

    def covers(self, case: Case) -> bool:
        return self.test in (case.test, case.test.partition("[")[0])


class Case(NamedTuple):
    """What became of one test. failure: what it says, empty if it has passed."""

    test: str
    failure: str = ""
    is_skipped: bool = False


class Verdict(NamedTuple):
    """explained: tests that fail as listed. faults: lines. seen: the listed differences that were met."""

    passed: int
    skipped: int
    explained: List[str]
    faults: List[str]
    seen: List[Difference]

    @property
    def is_good(self) -> bool:
        return not self.faults and self.passed > 0

    def describe(self) -> str:
        counts = f"{self.passed} passed, {len(self.explained)} explained, {len(self.faults)} at fault"
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return "".join([counts, skipped, *(f"\n    {fault}" for fault in self.faults)])


def read_differences() -> List[Difference]:
    """In the file a reason stands above its tests, which are indented."""
    differences = []
    subject = reason = ""
    for line in FILE.read_text("utf-8").splitlines():
        if line.startswith(" "):
            test, _, message = line.strip().partition(" | ")
            differences.append(Difference(subject, reason, test, message))
        elif line and not line.startswith("#"):
            subject, _, reason = line.partition(": ")
    return differences


def read_cases(results: Path) -> List[Case]:
    """The tests of a junit file."""
    cases = []
    for element in ElementTree.parse(results).iter("testcase"):
        failure = "".join(
            f"{found.get('message')}\n{found.text}"
            for kind in ("failure", "error")
            for found in element.findall(kind)
        )
        cases.append(Case(str(element.get("name")), failure, element.find("skipped") is not None))
    return cases


def judge(cases: Sequence[Case], differences: Sequence[Difference], *, is_whole: bool) -> Verdict:
    """is_whole: every test was run, so that each of the differences must be met."""
    explained, faults, seen = [], [], []
    for case in cases:
        known = [one for one in differences if one.covers(case)]
        if case.is_skipped:
            continue
        if not case.failure:
            faults += [f"{case.test}: passes, but stands in differences.txt" for _ in known]
        elif any(one.message in case.failure for one in known):
            explained.append(case.test)
            seen += [one for one in known if one.message in case.failure and one not in seen]
        else:
            faults.append(f"{case.test}: {case.failure.splitlines()[0]:.200}")
    if is_whole:
        faults += [f"{one.test}: in differences.txt, but not seen" for one in differences if one not in seen]
    skipped = sum(case.is_skipped for case in cases)
    passed = sum(not case.failure and not case.is_skipped for case in cases)
    return Verdict(passed, skipped, explained, faults, seen)
