"""`Listener`: accepts connections in a loop with a `Poller`."""

from __future__ import annotations

import errno
import os
import socket
from contextvars import copy_context
from select import EPOLLIN
from typing import Any

from ..connection.head import Connection
from ..service import Service
from .poller import Poller
from .transport import SocketTransport

__all__ = ["Listener"]

# Accept at most this many per wake-up, so that open connections are not starved.
ACCEPTS_IN_A_ROW = 16

# No descriptor or no memory is left; seconds until the next attempt.
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
ACCEPT_RETRY_DELAY = 0.5

# What `socket.socket` derives from: without the enums of its family and type, and what counts its files, to
# accept a connection and to close it takes half the time.
_RawSocket = socket.SocketType


class Listener:
    """Accepts on a duplicate of ``listening``; each accepted socket becomes a `Connection` of ``service``."""

    __slots__ = ("_kind", "_poller", "_service", "_socket", "_sockname", "context")

    def __init__(self, poller: Poller, service: Service, listening: socket.socket) -> None:
        self._service = service
        self._poller = poller
        self._kind = listening.family, listening.type, listening.proto
        self._socket = socket.socket(*self._kind, os.dup(listening.fileno()))
        self._socket.setblocking(False)
        if listening.family != socket.AF_UNIX:
            # Accepted sockets inherit this.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Of the connection that was accepted last: most share it.
        self._sockname: Any = None
        self.context = copy_context()
        self._start()

    def _start(self) -> None:
        if self._socket.fileno() >= 0:
            self._poller.watch(self._socket.fileno(), EPOLLIN, self)

    def close(self) -> None:
        """Accept no more."""
        self._poller.watch(self._socket.fileno(), 0, self)
        self._socket.close()

    def handle_events(self, events: int) -> None:
        """Accept the connections that wait."""
        for _ in range(ACCEPTS_IN_A_ROW):
            try:
                # What `accept` calls, of which comes a `socket.socket`.
                descriptor, peername = self._socket._accept()  # type: ignore[attr-defined]
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                # No more connections wait, or the peer has left already.
                return
            accepted = _RawSocket(*self._kind, descriptor)
            accepted.setblocking(False)
            sockname = accepted.getsockname()
            if sockname == self._sockname:
                sockname = self._sockname
            else:
                self._sockname = sockname
            service = self._service
            connection = Connection(service)
            transport = SocketTransport(service.loop, self._poller, accepted, peername, sockname, connection)
            connection.connection_made(transport)

    def handle_error(self, error: BaseException) -> None:
        """Report the error; on EMFILE, ENFILE, ENOBUFS or ENOMEM stop accepting for half a second."""
        loop = self._service.loop
        if not (isinstance(error, OSError) and error.errno in EXHAUSTED):
            loop.call_exception_handler({"message": "cannot accept a connection", "exception": error})
            return
        self._poller.watch(self._socket.fileno(), 0, self)
        loop.call_later(ACCEPT_RETRY_DELAY, self._start)
        # One line for all sockets of a server, which fail for the same reason.
        self._service.warn_of_accepting(error)
