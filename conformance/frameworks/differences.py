"""Reads differences.txt: where wsbridge and uvicorn may differ."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import List, NamedTuple, Sequence, Tuple

Lines = Tuple[str, ...]


class Difference(NamedTuple):
    """Lines of an outcome that wsbridge has where uvicorn has others."""

    verdict: str
    reason: str
    part: str
    scenario: str
    framework: str
    wsbridge: Lines
    uvicorn: Lines

    def explains(self, framework: str, scenario: str, part: str, ours: Lines, theirs: Lines) -> bool:
        return (
            self.part == part
            and matches_lines(ours, self.wsbridge)
            and matches_lines(theirs, self.uvicorn)
            and fnmatchcase(scenario, self.scenario)
            and fnmatchcase(framework, self.framework)
        )

    def describe(self) -> str:
        return f"{self.part} | {self.scenario} | {self.framework} | {self.wsbridge} -> {self.uvicorn}"


def matches_lines(lines: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether the lines are these; "..." at the end of a wanted line stands for any rest."""
    return len(lines) == len(wanted) and all(map(_matches, lines, wanted))


def _matches(line: str, wanted: str) -> bool:
    return line.startswith(wanted[:-3]) if wanted.endswith("...") else line == wanted


def read_differences(text: str) -> List[Difference]:
    differences = []
    verdict = reason = ""
    for line in text.splitlines():
        if line.startswith(" "):
            part, scenario, framework, lines = (field.strip() for field in line.split("|"))
            ours, theirs = (_split_lines(side) for side in f" {lines} ".split(" -> "))
            differences.append(Difference(verdict, reason, part, scenario, framework, ours, theirs))
        elif line and not line.startswith("#"):
            verdict, _, reason = line.partition(": ")
    return differences


def _split_lines(side: str) -> Lines:
    return tuple(side.strip().split(" / ")) if side.strip() else ()


DIFFERENCES = read_differences((Path(__file__).parent / "differences.txt").read_text("utf-8"))
