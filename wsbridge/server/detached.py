"""`Detached`: the applications that go on after their disconnect, and when there are too many of them."""

from __future__ import annotations

from typing import Dict, Optional

from .member import Member

__all__ = ["Detached"]

# Warn at this number of applications that go on for longer than PATIENCE, in seconds, and whenever the number
# has doubled.
FIRST_WARNING = 64
PATIENCE = 1.0


class Detached(Dict[Member, float]):
    """The members whose application goes on after its disconnect, with the time of the disconnect."""

    _next_warning = FIRST_WARNING

    def count_long(self, now: float) -> int:
        """The number of those that have gone on for longer than `PATIENCE`.

        Many clients may leave at once, and their applications end in the loop's next turns.
        """
        return sum(since <= now - PATIENCE for since in self.values())

    def find_excess(self, now: float) -> Optional[int]:
        """What `count_long` returns if it is a reason to warn; then None until it has doubled."""
        if len(self) < self._next_warning:
            return None
        count = self.count_long(now)
        if count < self._next_warning:
            return None
        self._next_warning *= 2
        return count
