"""`RefusedConnection`: a connection that is refused unless its request is for a path of the server itself."""

from __future__ import annotations

import asyncio
from typing import Optional

from ...protocols.errors import RequestRefused
from ...protocols.events import RequestReceived
from ..service import Service
from .addresses import Ends
from .head import Connection
from .relay import Relay

__all__ = ["RefusedConnection"]


class RefusedConnection(Connection):
    """Takes ``transport`` over from a `Connection`; refuses its request unless it is for one of `OwnPaths`.

    A health check is answered even if the server is full or stopping. Only the
    request's path tells it from others, so that its head is read first.
    Until then the connection counts as one that lingers: there is a limit to
    these, and it does not hold up the end of a server that stops.
    """

    __slots__ = ("_refusal",)

    def __init__(
        self,
        service: Service,
        transport: asyncio.Transport,
        refusal: RequestRefused,
        relay: Optional[Relay] = None,
        ends: Optional[Ends] = None,
    ) -> None:
        super().__init__(service, relay)
        self._ends = ends
        self._refusal = refusal
        self._transport = transport
        (transport if relay is None else relay).set_protocol(self)
        service.add_lingering(self)

    def answer(self, request: RequestReceived, trailing: bytes = b"") -> None:
        own_paths = self._service.own_paths
        if own_paths is None or not own_paths.include(request.target):
            self._refuse(self._refusal, request)
            return
        self._service.add(self)
        super().answer(request, trailing)

    def _may_read_next(self, request: RequestReceived) -> bool:
        return False

    def _linger(self, transport: asyncio.Transport, *, closed: bool = False) -> None:
        # Before the next stage lingers in its place: this one would be the oldest, and be aborted. Not by
        # `discard`: a server that stops ends with its last member.
        self._service.add(self)
        super()._linger(transport, closed=closed)

    def check_deadlines(self, now: float) -> None:
        if self._service.is_stopping and not self._service.open_connections:
            self._end()
        else:
            super().check_deadlines(now)

    def _end_for_stop(self) -> None:
        # Not a second time: the time for a request's head has passed.
        self._end()

    def shut_down(self) -> None:
        """Stay while other connections do: the request may still be a health check."""

    def abort(self) -> None:
        super().abort()
        # Leave at once: only so many connections may linger.
        self._leave()
