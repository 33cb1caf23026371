"""The table of rulings (rulings.toml): what explains a disagreement, and nothing else does."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import FrozenSet, List, NamedTuple, Set

import tomllib

from .cases import Outcome


class Ruling(NamedTuple):
    """One way in which an implementation departs from the standard, or from the others."""

    name: str  #: the switch that a reading asks for
    what: str  #: what the one who departs does
    verdict: str  #: who is right, and why
    sentence: str
    section: str

    @property
    def who(self) -> str:
        return self.name.partition("-")[0]


def read_rulings() -> List[Ruling]:
    table = tomllib.loads(Path(__file__).with_name("rulings.toml").read_text("utf-8"))
    rulings = []
    for source, entries in table.items():
        section, _, sentence = source.partition(": ")
        rulings += [Ruling(name, *entry, sentence, section) for name, entry in entries.items()]
    return sorted(rulings)


RULINGS = read_rulings()


@lru_cache(None)
def names_of(who: str) -> FrozenSet[str]:
    """The switches of one implementation."""
    return frozenset(ruling.name for ruling in RULINGS if ruling.who == who)


class LostItsWay(Exception):
    """What a peer makes of the rest, behind a departure that a granted ruling tells, decides nothing."""


class Reading:
    """A literal reading of the standards, with a switch for each ruling.

    With no switch it is what wsbridge must do, to the byte; with the switches of a peer it is what that peer
    does, up to where the peer has lost its way. That is how a disagreement is explained: not because it looks
    like a known one, but because the known departure alone produces this very outcome.

    peer: whose switches may be followed, "" for none. granted: the switches. met: those that mattered.
    outcome: what the reading comes to.
    """

    outcome: Outcome

    def __init__(self, peer: str, granted: FrozenSet[str]) -> None:
        self.peer = peer
        self.met: Set[str] = set()
        self._granted = granted

    def explains(self, outcome: Outcome) -> bool:
        """Whether an implementation that does this may have come to this outcome."""
        return self.outcome == outcome

    def deviates(self, name: str) -> bool:
        """Whether this switch is granted; asked only where the answer matters."""
        if name not in self._granted:
            return False
        self.met.add(name)
        return True
