"""One case through all implementations; every disagreement explained by the table of rulings, or not."""

from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet, Iterator, NamedTuple, Sequence, Set, Tuple

from ..lib.wire import parse_frames
from .cases import Case, FrameCase, Head, HTTPCase, Outcome, Requests, Transcript
from .connection_adapter import compare
from .frame_adapters import run_frames
from .frame_reading import FrameReading
from .head_adapters import run_head
from .head_reading import HeadReading
from .request_adapters import run_requests
from .request_reading import RequestsReading
from .rulings import names_of


class Finding(NamedTuple):
    """who disagrees; the rulings that explain it, or none; what each one made of the case."""

    who: str
    rulings: Tuple[str, ...]
    outcomes: Dict[str, Outcome]

    def describe(self, case: Case) -> str:
        outcomes = [f"  {who}\n    {outcome.describe()}" for who, outcome in self.outcomes.items()]
        return "\n".join([case.describe(), *outcomes])


class Kind(NamedTuple):
    """Frames, heads or requests: the peers, how an implementation is run, and the literal reading."""

    peers: Sequence[str]
    run: Callable[[str, Any], Outcome]
    read: Callable[[Any, str, FrozenSet[str]], Any]


FRAMES = Kind(("wsproto", "websockets"), run_frames, FrameReading)
HEADS = Kind(("h11", "httptools"), run_head, HeadReading)
REQUESTS = Kind(("h11", "httptools"), run_requests, RequestsReading)


def judge(kind: Kind, case: Any) -> Iterator[Finding]:
    """Where the implementations disagree with each other or with the standard on this case."""
    ours = kind.run("wsbridge", case)
    literal = kind.read(case, "", frozenset())
    departed: Tuple[str, ...] = ()
    if literal.outcome != ours:
        reading = kind.read(case, "", names_of("wsbridge"))
        departed = minimize(kind, case, "", reading.met, ours) if reading.outcome == ours else ()
        yield Finding("wsbridge", departed, {"the standard": literal.outcome, "wsbridge": ours})
    if isinstance(case, FrameCase) and case.originals not in (None, literal.outcome.messages):
        yield Finding("zlib", (), {"the standard": literal.outcome, "sent": Transcript(case.originals or ())})
    for peer in kind.peers:
        theirs = kind.run(peer, case)
        if theirs == strip(ours) or (departed and theirs == strip(literal.outcome)):
            continue  # where the peer reads as the standard does, wsbridge's own ruling tells it
        reading = kind.read(case, peer, names_of(peer))
        outcomes = {"wsbridge": ours, peer: theirs}
        if reading.explains(theirs):
            yield Finding(peer, minimize(kind, case, peer, reading.met, theirs), outcomes)
        else:
            yield Finding(peer, (), {**outcomes, f"{peer} as its rulings have it": reading.outcome})


def strip(outcome: Outcome) -> Outcome:
    """The outcome without wsbridge's status: its peers leave the answer to their callers."""
    return outcome._replace(status=0) if isinstance(outcome, (Head, Requests)) else outcome


def minimize(kind: Kind, case: Any, peer: str, met: Set[str], outcome: Outcome) -> Tuple[str, ...]:
    """The rulings of `met` without any that this outcome does not need."""
    needed = set(met)
    for name in sorted(met):
        if kind.read(case, peer, frozenset(needed - {name})).explains(outcome):
            needed.discard(name)
    return tuple(sorted(needed))


def judge_sending(kind: Kind, case: FrameCase) -> Iterator[Finding]:
    """What wsbridge compressed is what plain zlib and both peers inflate: no ruling excuses anything else."""
    sent = Transcript(case.originals or ())
    outcomes = {peer: kind.run(peer, case) for peer in kind.peers}
    outcomes["zlib"] = kind.read(case, "", frozenset()).outcome
    frames = [parse_frames(piece) for piece in case.pieces]
    if any(len(whole) != 1 or rest for whole, rest in frames):
        outcomes["zlib"] = Transcript(trouble="a message is not one whole frame")
    for who, outcome in outcomes.items():
        if outcome != sent:
            yield Finding(who, (), {"sent": sent, who: outcome})


def judge_requests(kind: Kind, case: HTTPCase) -> Iterator[Finding]:
    """As `judge`; and for every tenth case wsbridge's `Connection` must find what its parsers find."""
    yield from judge(kind, case)
    if case.name.endswith("0"):
        ours = run_requests("wsbridge", case)
        difference = compare(case, ours)
        if difference:
            yield Finding("Connection", (), {"wsbridge": ours, "Connection": ours._replace(end=difference)})
