"""`Relay`: what stays the transport's protocol in a server that keeps its own, and passes calls on."""

from __future__ import annotations

from typing import Optional, Protocol

__all__ = ["Relay", "Stage"]


class Stage(Protocol):
    """What a connection is at a time: its head is read, an application answers, or it lingers."""

    def data_received(self, data: bytes) -> None:
        """Take bytes."""

    def eof_received(self) -> Optional[bool]:
        """Note the end of the peer's stream; True if the transport stays open."""

    def pause_writing(self) -> None:
        """Note that the write buffer is full."""

    def resume_writing(self) -> None:
        """Note that the write buffer has room."""

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """Note the loss."""

    def shut_down(self) -> None:
        """Close in an orderly way."""

    def abort(self) -> None:
        """End now."""


class Relay(Protocol):
    """Takes the place of a transport where a stage would make itself the transport's protocol."""

    def set_protocol(self, protocol: Stage) -> None:
        """Pass the transport's calls on to ``protocol`` from now on."""

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """Pass the loss on, which not every transport reports; a second call does nothing."""
