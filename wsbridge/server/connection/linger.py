"""`Linger`: the end of a connection; our last bytes are sent, the peer's are read and discarded.

A kernel sends a reset if a socket is closed with unread bytes, and the reset
destroys what the peer has not read of our last bytes. RFC 9112 9.6 and RFC 6455
7.1.1 describe how to avoid that.
"""

from __future__ import annotations

import asyncio
from typing import Optional

from ..metrics.metrics import Load
from ..service import Service
from .reading import get_unsent_size, resume_reading
from .relay import Relay

__all__ = ["Linger"]

# Seconds that the peer may keep its side open once both CLOSEs are exchanged, once it has the answer to its
# last request, or when the server stops. With the interval of the sweep that checks it, less than a second.
CLOSED_LINGER = 0.7

# Seconds. A TLS connection cannot be half closed: this is the peer's time to read our answer and to close.
TLS_LINGER = 1.0


class Linger(asyncio.Protocol):
    """Takes a transport over, half closes it, and discards what comes until the peer closes or times out.

    The peer's time starts when everything is sent. Until then its connection is
    aborted only if the peer reads nothing for ``timeout_write``.
    """

    __slots__ = (
        "_close_timeout",
        "_closes_first",
        "_deadline",
        "_relay",
        "_service",
        "_transport",
        "_unsent",
    )

    def __init__(
        self,
        service: Service,
        transport: asyncio.Transport,
        relay: Optional[Relay] = None,
        closed: bool = False,
        at_eof: bool = False,
    ) -> None:
        """``closed``: the peer's CLOSE, or its last request, was read; ``at_eof``: the end of its stream was.

        ``relay``: passes the transport's calls on, where the transport keeps its protocol.
        """
        config = service.config
        self._service = service
        self._transport = transport
        self._relay = relay
        half_close = transport.can_write_eof()
        # Whether the first deadline closes the transport, and only the next one aborts it.
        self._closes_first = not (half_close or at_eof or closed)
        self._close_timeout: Optional[float] = config.timeout_close
        if closed or at_eof:
            self._close_timeout = CLOSED_LINGER
        elif not half_close:
            self._close_timeout = TLS_LINGER
        self._unsent = get_unsent_size(transport)
        self._restart_deadline()
        if service.clients is not None:
            service.clients.discard(transport)
        (transport if relay is None else relay).set_protocol(self)
        service.add_lingering(self)
        if transport.is_closing():
            return
        if at_eof or (closed and not half_close):
            transport.close()
            return
        resume_reading(transport)
        if half_close and self._unsent:
            # Half close when the buffer is empty: with a limit of 0 `resume_writing` is called then.
            # `write_eof` would do the same now, but asyncio does not catch the OSError of a connection that
            # was reset.
            transport.set_write_buffer_limits(0)
        else:
            self._half_close()

    def _restart_deadline(self) -> None:
        """Set the deadline for the peer to read more of what is unsent, or, if nothing is, to close."""
        timeout = self._service.config.timeout_write if self._unsent else self._close_timeout
        self._deadline = self._service.get_deadline(timeout)

    def resume_writing(self) -> None:
        """The buffer is empty. Half close in the loop's next turn, when the transport has returned."""
        self._unsent = 0
        self._restart_deadline()
        self._service.loop.call_soon(self._half_close)

    def _half_close(self) -> None:
        if self._transport.is_closing() or not self._transport.can_write_eof():
            return
        try:
            self._transport.write_eof()
        except OSError:
            # The peer has reset the connection.
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Discard what the peer still sends."""

    def eof_received(self) -> Optional[bool]:
        """The peer has closed: return None, so that the transport closes once everything is written."""
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
        elif self._closes_first:
            # RFC 8446 6.1: `close` sends what was written, and then the alert that ends a TLS connection.
            self._closes_first = False
            self._deadline = self._service.get_deadline(self._service.config.timeout_write)
            self._transport.close()
        else:
            self.abort()

    def measure(self) -> Load:
        return Load("lingering", unsent=get_unsent_size(self._transport))

    def shut_down(self) -> None:
        """The connection is closing already: let the peer take no longer than it needs."""
        self._close_timeout = CLOSED_LINGER
        if not self._unsent:
            self._deadline = min(self._deadline, self._service.get_deadline(CLOSED_LINGER))

    def abort(self) -> None:
        self._transport.abort()
        # A TLS transport that has lost its connection before does not call `connection_lost`.
        (self if self._relay is None else self._relay).connection_lost(None)
