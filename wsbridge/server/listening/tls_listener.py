"""`TlsListener`: accepts connections over TLS, and counts those that are in their handshake.

asyncio's own server tells of a connection when its handshake is done. Until then nothing
would limit how many stay silent, and none could be cut where another needs its place.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any, Optional

from ...protocols.errors import TooManyRequests
from ..clients import Clients
from ..connection.head import Connection
from ..metrics.metrics import Load
from ..service import Service

if TYPE_CHECKING:
    import socket
    from ssl import SSLContext

__all__ = ["NO_LIMIT", "TlsListener"]

# Accept at most this many per wake-up, so that open connections are not starved.
ACCEPTS_IN_A_ROW = 16

# No descriptor or no memory is left: seconds until the next attempt.
ACCEPT_RETRY_DELAY = 0.5

# Seconds, about 30 years: for asyncio None means its default of 60 seconds, not no limit.
NO_LIMIT = 1e9


class TlsListener:
    """Accepts on a duplicate of ``listening``; behind its handshake each is a `Connection` of ``service``.

    As many connections of one client may be in their handshake as may be open.
    """

    def __init__(self, ssl: SSLContext, service: Service, listening: socket.socket) -> None:
        config = service.config
        limit = config.limit_connections_per_client
        self.ssl = ssl
        self.service = service
        self.clients = None if limit is None else Clients(limit, config.trusted_peers)
        self._socket = listening.dup()
        self._socket.setblocking(False)
        self._start()

    def _start(self) -> None:
        if self._socket.fileno() >= 0:
            self.service.loop.add_reader(self._socket, self._accept_some)

    def close(self) -> None:
        """Accept no more."""
        if self._socket.fileno() >= 0:
            self.service.loop.remove_reader(self._socket)
            self._socket.close()

    def _accept_some(self) -> None:
        for _ in range(ACCEPTS_IN_A_ROW):
            try:
                accepted, peername = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                # No more connections wait, or the peer has left already.
                return
            except OSError as error:
                self.service.loop.remove_reader(self._socket)
                self.service.loop.call_later(ACCEPT_RETRY_DELAY, self._start)
                self.service.warn_of_accepting(error)
                return
            accepted.setblocking(False)
            if accepted.fileno() >= self.service.reserved_descriptor:
                self.service.free_descriptors()
            _TlsHandshake(self, accepted, peername)


class _TlsHandshake:
    """A connection in its handshake: a member of the service that lingers, of which there is a limit."""

    def __init__(self, listener: TlsListener, accepted: socket.socket, peername: Any) -> None:
        self._listener = listener
        self._service = service = listener.service
        # None once the handshake has begun, which then closes it.
        self._accepted: Optional[socket.socket] = accepted
        # That of the handshake is asyncio's; this one begins with the stop.
        self._deadline = inf
        if listener.clients is not None and isinstance(peername, tuple):
            try:
                listener.clients.add(self, peername[0])
            except TooManyRequests as refusal:
                service.log_refusal(peername[:2], b"", b"", refusal)
                accepted.close()
                return
        # The connection is made now: the server may begin to stop before the task does.
        self._task = service.loop.create_task(self._begin(Connection(service)))
        self._task.add_done_callback(self._end)
        service.add_lingering(self)

    async def _begin(self, connection: Connection) -> None:
        service = self._service
        accepted: socket.socket = self._accepted  # type: ignore[assignment]
        self._accepted = None
        # The handshake is part of timeout_handshake.
        timeout = service.config.timeout_handshake or NO_LIMIT
        try:
            await service.loop.connect_accepted_socket(
                lambda: connection, accepted, ssl=self._listener.ssl, ssl_handshake_timeout=timeout
            )
        except OSError as error:
            # No line, since every port scanner would have one.
            service.logger.debug("TLS handshake failed: %s", error)

    def _end(self, task: asyncio.Task[None]) -> None:
        if self._accepted is not None:
            self._accepted.close()
        self._leave()

    def _leave(self) -> None:
        self._service.discard(self)
        if self._listener.clients is not None:
            self._listener.clients.discard(self)

    def check_deadlines(self, now: float) -> None:
        if now >= self._deadline:
            self.abort()

    def measure(self) -> Load:
        return Load("waiting")

    def shut_down(self) -> None:
        """The server is stopping; what is on its way may still come, as in `Connection.shut_down`."""
        self._deadline = self._service.get_deadline(self._service.stop_grace)

    def abort(self) -> None:
        # At once: only so many connections may linger.
        self._leave()
        self._task.cancel()
