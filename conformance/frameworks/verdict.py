"""Judges a pair of outcomes: equal, better, different, or failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Iterator, List, Optional, Tuple

from .catalogue import FRAMEWORKS
from .differences import DIFFERENCES, Difference, Lines, matches_lines
from .protocols import SCENARIOS
from .trial import BY_CHANCE, Outcome

# From worst to best.
VERDICTS = ("failed", "different", "better", "equal")


@dataclass
class Verdict:
    """server: the one of ours that is compared with uvicorn."""

    framework: str
    scenario: str
    server: str
    ours: Outcome
    uvicorn: Outcome
    differences: List[Difference] = field(default_factory=list)
    faults: List[str] = field(default_factory=list)

    @property
    def word(self) -> str:
        if self.faults:
            return "failed"
        return min(
            (difference.verdict for difference in self.differences), key=VERDICTS.index, default="equal"
        )

    @property
    def column(self) -> str:
        return self.framework if self.server == "wsbridge" else f"{self.framework}, {self.server}"

    def describe(self) -> str:
        """Both outcomes, and what is wrong with them."""
        uvicorn = "the same" if self.uvicorn == self.ours else "\n" + self.uvicorn.describe()
        return "\n".join([*self.faults, self.server, self.ours.describe(), f"uvicorn: {uvicorn}"])


def judge(framework: str, scenario: str, server: str, ours: Outcome, uvicorn: Outcome) -> Verdict:
    verdict = Verdict(framework, scenario, server, ours, uvicorn)
    # With the plug-in, the process that ends is uvicorn.
    is_uvicorns_end = server == "plug-in" and "server ends with" in str(ours.client)
    if scenario not in FRAMEWORKS[framework].own and not is_uvicorns_end:
        wanted = SCENARIOS[scenario]
        for name, lines, right in [
            ("client", ours.client, wanted.right),
            ("log", ours.server_log, wanted.log),
        ]:
            if right is not None and not matches_lines(tuple(lines), right):
                verdict.faults.append(f"{name} of {server} is not as it must be: {list(right)}")
    for part, mine, theirs in find_groups(ours, uvicorn):
        found = explain(framework, scenario, part, mine, theirs)
        if found is None:
            verdict.faults.append(f"unexplained difference, {part}: {list(mine)} and not {list(theirs)}")
        else:
            verdict.differences += found
    return verdict


def find_groups(first: Outcome, uvicorn: Outcome) -> Iterator[Tuple[str, Lines, Lines]]:
    """The lines that differ: the part of the outcome, our lines, uvicorn's."""
    # What a process is still told, and still says, while it is torn down is a matter of chance.
    was_ended = first.was_ended or uvicorn.was_ended
    for part in ("client",) if was_ended else ("client", "app", "log"):
        ours, theirs = (_prepare(part, getattr(outcome, part)) for outcome in (first, uvicorn))
        for tag, a, b, c, d in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
            if tag != "equal":
                yield part, tuple(ours[a:b]), tuple(theirs[c:d])


def _prepare(part: str, lines: List[str]) -> List[str]:
    if part != "client":
        # Tasks of an application run in the order in which they are woken.
        return sorted(line for line in lines if line != BY_CHANCE)
    # Who closes without reading meets what is still under way, or does not.
    return [line.replace("reset", "EOF") for line in lines]


def explain(
    framework: str, scenario: str, part: str, ours: Lines, theirs: Lines
) -> Optional[List[Difference]]:
    """What explains these lines, as a whole or one by one; None if something is left."""
    for one in DIFFERENCES:
        if one.explains(framework, scenario, part, ours, theirs):
            return [one]
    if len(ours) != len(theirs) or len(ours) == 1:
        return None
    found: List[Difference] = []
    for pair in zip(ours, theirs):
        explained = explain(framework, scenario, part, pair[:1], pair[1:])
        if explained is None:
            return None
        found += explained
    return found
