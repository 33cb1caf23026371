"""One case through all implementations; every disagreement explained by the table, or not."""

from __future__ import annotations

import itertools
from typing import List, NamedTuple, Set, Tuple, Union

from .adapters import PEERS, run_wsbridge
from .cases import Case, Transcript, join_messages
from .reading import Reading
from .rulings import names_of


class Finding(NamedTuple):
    """who disagrees; the rulings that explain it, or none; the transcripts."""

    who: str
    rulings: Tuple[str, ...]
    transcripts: Tuple[Tuple[str, Union[str, Transcript]], ...]

    def describe(self, case: Case, most: int = 300) -> str:
        """The case with its bytes (no more than `most` of a piece), then what each one made of it."""
        lines = [case.describe(most)]
        for who, transcript in self.transcripts:
            lines.append(
                f"  {who}\n    {transcript if isinstance(transcript, str) else transcript.describe()}"
            )
        return "\n".join(lines)


def judge(case: Case) -> List[Finding]:
    """Where the implementations disagree with each other or with the standard on this case."""
    ours = run_wsbridge(case)
    expected = read_as_wsbridge(case, ours)
    findings = []
    if ours != expected.transcript:
        findings.append(Finding("wsbridge", (), (("the standard", expected.transcript), ("wsbridge", ours))))
    elif expected.met:
        rulings = minimize(case, "", expected.met, ours)
        if rulings:
            findings.append(Finding("wsbridge", rulings, (("wsbridge", ours),)))
    if case.originals is not None:
        literal = Reading(case).transcript if expected.met else expected.transcript
        if literal.messages != case.originals:
            by_zlib = join_messages(case.originals)
            findings.append(Finding("zlib", (), (("the standard", literal), ("by plain zlib", by_zlib))))
    for peer, run in PEERS.items():
        theirs = run(case)
        if theirs != ours:
            findings += explain(case, peer, ours, theirs, bool(expected.met))
    return findings


def read_as_wsbridge(case: Case, ours: Transcript) -> Reading:
    """The reading that gives wsbridge's transcript, with as many of its own rulings as it still needs.

    Without any where none gives it: that is what wsbridge ought to have done.
    """
    reading = Reading(case, "", names_of("wsbridge"))
    if reading.transcript == ours:
        return reading
    for count in range(len(reading.met) - 1, 0, -1):
        for names in itertools.combinations(sorted(reading.met), count):
            other = Reading(case, "", frozenset(names))
            if other.transcript == ours:
                return other
    return Reading(case)


def explain(
    case: Case, peer: str, ours: Transcript, theirs: Transcript, wsbridge_departs: bool
) -> List[Finding]:
    reading = Reading(case, peer, names_of(peer))
    transcripts = (("wsbridge", ours), (peer, theirs))
    if reading.transcript != theirs:
        expected = (f"{peer} as its rulings have it", reading.transcript)
        return [Finding(peer, (), (*transcripts, expected))]
    rulings = minimize(case, peer, reading.met, theirs)
    if not rulings and wsbridge_departs:
        return []  # the peer reads as the standard does; wsbridge's own ruling tells it
    return [Finding(peer, rulings, transcripts)]


def minimize(case: Case, peer: str, met: Set[str], transcript: Transcript) -> Tuple[str, ...]:
    """The rulings of `met` without any that this transcript does not need."""
    needed = set(met)
    for name in sorted(met):
        if Reading(case, peer, frozenset(needed - {name})).transcript == transcript:
            needed.discard(name)
    return tuple(sorted(needed))
