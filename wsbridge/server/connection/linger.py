"""The end of a connection: our last bytes leave, the peer's are read and thrown away.

Closing a socket while bytes of the peer's are unread makes the kernel send a
reset, which destroys what we wrote last at the peer's side (RFC 9112 9.6 and
RFC 6455 7.1.1 ask for exactly this care).
"""

from __future__ import annotations

import asyncio
from typing import Optional

from ..service import Service
from .reading import get_unsent_size, resume_reading

__all__ = ["Linger"]

# Seconds that the peer may keep its side open once both CLOSEs are exchanged; less than one together with the
# sweep that notices it.
CLOSED_LINGER = 0.7

# A TLS connection cannot be half closed: the peer gets this long to read our answer and to end.
TLS_LINGER = 1.0


class Linger(asyncio.Protocol):
    """Takes a transport over, half closes it, and discards until the peer closes or its time is over.

    The peer's time begins when all is sent; until then it is cut only where it
    takes nothing of what waits for it for ``timeout_write``.
    """

    __slots__ = ("_deadline", "_may_close", "_patience", "_service", "_transport", "_unsent")

    def __init__(
        self, service: Service, transport: asyncio.Transport, *, closed: bool = False, at_eof: bool = False
    ) -> None:
        """``closed``: the peer's CLOSE was read; ``at_eof``: the end of its stream was."""
        config = service.config
        self._service = service
        self._transport = transport
        half_close = transport.can_write_eof()
        # Whether the end of the peer's time is answered by `close` first, and by `abort` only after that.
        self._may_close = not (half_close or at_eof or closed)
        self._patience: Optional[float] = config.timeout_close
        if closed or at_eof:
            self._patience = CLOSED_LINGER
        elif not half_close:
            self._patience = TLS_LINGER
        self._unsent = get_unsent_size(transport)
        self._restart_deadline()
        transport.set_protocol(self)
        service.add(self)
        service.add_lingering(self)
        if transport.is_closing():
            return
        if at_eof or (closed and not half_close):
            transport.close()
            return
        resume_reading(transport)
        if half_close and self._unsent:
            # `write_eof` would half close when the buffer is empty, where asyncio does not catch the OSError
            # of a connection that was reset; with a limit of 0 `resume_writing` tells when that is.
            transport.set_write_buffer_limits(0)
        else:
            self._half_close()

    def _restart_deadline(self) -> None:
        """Time for the peer to take more of what is unsent, or then to end."""
        timeout = self._service.config.timeout_write if self._unsent else self._patience
        self._deadline = self._service.get_deadline(timeout)

    def resume_writing(self) -> None:
        """The last byte has left; the transport is still in the middle of saying so."""
        self._unsent = 0
        self._restart_deadline()
        self._service.loop.call_soon(self._half_close)

    def _half_close(self) -> None:
        if self._transport.is_closing() or not self._transport.can_write_eof():
            return
        try:
            self._transport.write_eof()
        except OSError:
            # The peer has reset the connection: there is nobody left to read it.
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Discard what the peer still sends."""

    def eof_received(self) -> Optional[bool]:
        """The peer has closed: returning None closes our side too, once all is written."""
        return None

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._service.discard(self)

    def check_deadlines(self, now: float) -> None:
        unsent = get_unsent_size(self._transport)
        if unsent < self._unsent:
            self._unsent = unsent
            self._restart_deadline()
        elif now < self._deadline:
            return
        elif self._may_close:
            # RFC 8446 6.1: the end of a TLS connection is announced, behind all that was written.
            self._may_close = False
            self._deadline = self._service.get_deadline(self._service.config.timeout_write)
            self._transport.close()
        else:
            self.cut()

    def shut_down(self) -> None:
        """It is closing already."""

    def cut(self) -> None:
        self._transport.abort()
        # A TLS transport that has lost its connection before calls nothing.
        self.connection_lost(None)
