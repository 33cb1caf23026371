"""The table of rulings, all of them: what explains a disagreement, and nothing else does.

A reading with a peer's switches gives that peer's transcript to the byte, or the disagreement is unexplained.
"""

from __future__ import annotations

from functools import lru_cache
from typing import FrozenSet, List

from .frame_rulings import FRAME_RULINGS
from .head_rulings import HEAD_RULINGS
from .ruling import Ruling

RULINGS: List[Ruling] = [*FRAME_RULINGS, *HEAD_RULINGS]


@lru_cache(None)
def names_of(who: str) -> FrozenSet[str]:
    """The switches of one implementation."""
    return frozenset(ruling.name for ruling in RULINGS if ruling.who == who)
