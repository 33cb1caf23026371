"""`Listener`: accepts connections in a loop with a `Poller`."""

from __future__ import annotations

import errno
import socket
from contextvars import copy_context
from select import EPOLLIN

from .connection import Connection
from .log import logger
from .poller import Poller
from .service import Service
from .transport import SocketTransport

__all__ = ["Listener"]

# Accept at most this many per wake-up, so that open connections are not starved.
ACCEPTS_IN_A_ROW = 16

# Where no descriptor is left, or no memory: seconds until the next attempt, and between two log lines.
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
ACCEPT_RETRY_DELAY = 0.5
LOG_INTERVAL = 1.0


class Listener:
    """Accepts on a duplicate of ``listening``; who is accepted becomes a `Connection` of ``service``."""

    __slots__ = ("_poller", "_service", "_socket", "context")

    def __init__(self, service: Service, poller: Poller, listening: socket.socket) -> None:
        self._service = service
        self._poller = poller
        self._socket = listening.dup()
        self._socket.setblocking(False)
        if listening.family != socket.AF_UNIX:
            # What is accepted inherits it.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.context = copy_context()
        self._start()

    def _start(self) -> None:
        if self._socket.fileno() >= 0:
            self._poller.watch(self._socket.fileno(), EPOLLIN, self)

    def close(self) -> None:
        """Accept no more."""
        if self._socket.fileno() >= 0:
            self._poller.watch(self._socket.fileno(), 0, self)
            self._socket.close()

    def handle_events(self, events: int) -> None:
        """Accept who has come."""
        for _ in range(ACCEPTS_IN_A_ROW):
            try:
                accepted, peername = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                # There is nobody, or somebody has left again.
                return
            accepted.setblocking(False)
            connection = Connection(self._service)
            transport = SocketTransport(self._service.loop, self._poller, accepted, peername, connection)
            connection.connection_made(transport)

    def handle_error(self, error: BaseException) -> None:
        """Report the error; on EMFILE, ENFILE, ENOBUFS or ENOMEM stop accepting for half a second."""
        loop = self._service.loop
        if not (isinstance(error, OSError) and error.errno in EXHAUSTED):
            loop.call_exception_handler({"message": "cannot accept a connection", "exception": error})
            return
        self._poller.watch(self._socket.fileno(), 0, self)
        loop.call_later(ACCEPT_RETRY_DELAY, self._start)
        # The sockets of one server share the line, as they share what is missing.
        if loop.time() >= self._service.next_accept_warning:
            self._service.next_accept_warning = loop.time() + LOG_INTERVAL
            logger.warning("cannot accept connections for now: %s", error)
