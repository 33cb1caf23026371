"""What every transport of asyncio has, and those that uvicorn's tests made up lack: bases to add to them."""

from __future__ import annotations

from typing import Optional

__all__ = ["HalfClosingRest", "TransportRest"]


class TransportRest:
    """A transport that cannot be half closed, as a TLS connection cannot."""

    closed: bool

    def can_write_eof(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: Optional[int] = None, low: Optional[int] = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.closed = True


class HalfClosingRest(TransportRest):
    """One that can: its client sees the end of the stream, as it does when the transport is closed."""

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closed = True
