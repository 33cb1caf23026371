"""What a `Service` asks of a connection, whatever stage it is in."""

from __future__ import annotations

from typing import Protocol

from ..protocols.errors import RequestRefused

__all__ = ["Member", "WaitingMember"]


class Member(Protocol):
    """A connection in any stage: it has deadlines, and a server that stops waits for its end."""

    def check_deadlines(self, now: float) -> None:
        """Act on every deadline before ``now``, which is a time of the service's clock."""

    def shut_down(self) -> None:
        """The server is stopping: close in an orderly way."""

    def abort(self) -> None:
        """End now."""


class WaitingMember(Member, Protocol):
    """A connection whose first request has not come whole."""

    def give_way(self, refusal: RequestRefused) -> None:
        """End with ``refusal``: another needs the place."""
