"""`EmbeddedConnection`: one connection of a server whose own protocol stays that of the transport."""

from __future__ import annotations

import asyncio
from typing import Callable, Optional, Type

from ...protocols.events import RequestReceived
from ..service import Service
from .head import Connection
from .relay import Stage

__all__ = ["EmbeddedConnection"]


class _Over(asyncio.Protocol):
    """The stage behind the last: the transport is closed, and every call does nothing."""

    def shut_down(self) -> None:
        pass

    def abort(self) -> None:
        pass


_OVER = _Over()


class EmbeddedConnection(asyncio.Protocol):
    """Passes the transport's calls on to the stages of a `Connection`, and never calls ``set_protocol``.

    Your protocol calls `connection_made`, then either `answer` with a request
    that you have parsed, or `data_received` with the bytes of its head; from
    then on it passes every call of the transport on. Or make this the
    transport's protocol yourself, at any time. ``when_over`` is called once,
    when the transport is closed; the application may still run.
    """

    __slots__ = ("_stage", "_when_over")

    #: Reads the head.
    head_class: Type[Connection] = Connection

    def __init__(self, service: Service, when_over: Optional[Callable[[], None]] = None) -> None:
        self._stage: Stage = self.head_class(service, self)
        self._when_over = when_over

    def set_protocol(self, protocol: Stage) -> None:
        self._stage = protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(self._stage, Connection):
            self._stage.connection_made(transport)

    def answer(self, request: RequestReceived, trailing: bytes = b"") -> None:
        """Run the application on ``request``, or refuse it; see `Connection.answer`."""
        if isinstance(self._stage, Connection):
            self._stage.answer(request, trailing)

    def data_received(self, data: bytes) -> None:
        self._stage.data_received(data)

    def eof_received(self) -> Optional[bool]:
        return self._stage.eof_received()

    def pause_writing(self) -> None:
        self._stage.pause_writing()

    def resume_writing(self) -> None:
        self._stage.resume_writing()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        # The last stage refers to this object: break the cycle, which only the collector would free.
        stage, self._stage = self._stage, _OVER
        stage.connection_lost(exc)
        when_over, self._when_over = self._when_over, None
        if when_over is not None:
            when_over()

    def shut_down(self) -> None:
        """Close in an orderly way, because the server is stopping: a WebSocket with 1012."""
        self._stage.shut_down()

    def abort(self) -> None:
        """Abort the connection, and cancel the application."""
        self._stage.abort()
