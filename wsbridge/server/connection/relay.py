"""`Relay`: where another server's protocol stays the transport's, passes its calls on to the connection."""

from __future__ import annotations

from typing import Optional, Protocol

__all__ = ["Relay", "Stage"]


class Stage(Protocol):
    """A stage of a connection: `Connection` reads the head, an `Exchange` answers, `Linger` ends."""

    def data_received(self, data: bytes) -> None:
        """Parse or discard what the peer has sent."""

    def eof_received(self) -> Optional[bool]:
        """Note the end of the peer's stream; return True if the transport is to stay open."""

    def pause_writing(self) -> None:
        """Note that the write buffer is full."""

    def resume_writing(self) -> None:
        """Note that the write buffer has room."""

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """Note that the transport is closed."""

    def shut_down(self) -> None:
        """Close in an orderly way."""

    def abort(self) -> None:
        """Abort the connection, and cancel the application."""


class Relay(Protocol):
    """Each stage makes itself the protocol of this, and not of the transport."""

    def set_protocol(self, protocol: Stage) -> None:
        """Pass the transport's calls on to ``protocol`` from now on."""

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """Tell the stage that the transport is closed, which not every transport does; only once."""
