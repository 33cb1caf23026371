"""What a ruling is."""

from __future__ import annotations

from typing import NamedTuple


class Ruling(NamedTuple):
    """One way in which an implementation departs from the standard, or from the others.

    The name is the switch that reading.py, inflating.py and head_reading.py ask for; it begins with the one
    who departs. `sentence` decides it; `verdict` says who is right: "wsbridge", a peer, or "open" where the
    standard leaves it to each.
    """

    name: str
    what: str  #: what the one who departs does
    sentence: str
    section: str
    verdict: str

    @property
    def who(self) -> str:
        return self.name.partition("-")[0]
