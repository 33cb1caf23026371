"""One request head through wsbridge, h11 and httptools; every disagreement explained by the table, or not."""

from __future__ import annotations

from typing import List, NamedTuple, Tuple

from .head_adapters import HEAD_PEERS, Head, run_wsbridge
from .head_reading import HeadReading
from .heads import HeadCase
from .rulings import names_of


class HeadFinding(NamedTuple):
    """who disagrees; the rulings that explain it, or none; what each one made of the head."""

    who: str
    rulings: Tuple[str, ...]
    heads: Tuple[Tuple[str, Head], ...]

    def describe(self, case: HeadCase, most: int = 300) -> str:
        lines = [case.describe(most)]
        lines += [f"  {who}\n    {head.describe()}" for who, head in self.heads]
        return "\n".join(lines)


def judge_head(case: HeadCase) -> List[HeadFinding]:
    ours = run_wsbridge(case)
    expected = HeadReading(case).head
    findings = []
    if ours != expected:
        findings.append(HeadFinding("wsbridge", (), (("the standard", expected), ("wsbridge", ours))))
    bare = ours._replace(status=0)
    for peer, run in HEAD_PEERS.items():
        theirs = run(case)
        if theirs != bare:
            findings.append(explain(case, peer, ours, theirs))
    return findings


def explain(case: HeadCase, peer: str, ours: Head, theirs: Head) -> HeadFinding:
    waits = ours.outcome == "incomplete"
    reading = HeadReading(case, peer, names_of(peer), waits)
    if reading.head._replace(status=0) != theirs:
        expected = (f"{peer} as its rulings have it", reading.head)
        return HeadFinding(peer, (), (("wsbridge", ours), (peer, theirs), expected))
    needed = set(reading.met)
    for name in sorted(reading.met):
        other = HeadReading(case, peer, frozenset(needed - {name}), waits).head
        if other._replace(status=0) == theirs:
            needed.discard(name)
    return HeadFinding(peer, tuple(sorted(needed)), (("wsbridge", ours), (peer, theirs)))
