"""The bridge: `build_ws_scope`, `create_ws_receive`, `create_ws_send`.

Works with a plain `asyncio.Queue`, `asyncio.StreamWriter` and
`asyncio.Event`, and with anything that has the same ``get``, ``write`` and
``drain``, and ``set``. `session`, which the server uses as well, has the table of
what an application may send in each phase.
"""

from __future__ import annotations

import asyncio
from typing import Callable, Optional, Sequence, Union

from ..protocols.errors import ClientDisconnected
from ..protocols.events import WebSocketConnected, WebSocketDataReceived, WebSocketDisconnected
from ..protocols.ws import WSProtocol
from .response import build_date
from .scope import build_ws_scope
from .session import (
    RECEIVE_AFTER_DISCONNECT,
    Session,
    SessionOwner,
    build_disconnect_event,
    build_message_event,
)
from .types import ASGIEvent, EventSource, Flag, Receive, Send, Writer
from .wire import Http11Wire

__all__ = ["build_ws_event", "build_ws_scope", "create_ws_receive", "create_ws_send"]


def build_ws_event(
    event: Union[WebSocketConnected, WebSocketDataReceived, WebSocketDisconnected],
) -> ASGIEvent:
    """The ASGI event, for the queue of `create_ws_receive`, of an event that `WSProtocol` has returned."""
    if isinstance(event, WebSocketDataReceived):
        return build_message_event(event.data)
    if isinstance(event, WebSocketDisconnected):
        return build_disconnect_event(event)
    return {"type": "websocket.connect"}


def create_ws_receive(events: EventSource) -> Receive:
    """The application's ``receive``: the ASGI events of the queue, in order.

    Nothing comes after ``websocket.disconnect``: a later call raises
    `ClientDisconnected` instead of never returning.
    """
    get = events.get
    is_disconnected = False

    async def receive() -> ASGIEvent:
        nonlocal is_disconnected
        if is_disconnected:
            raise ClientDisconnected(RECEIVE_AFTER_DISCONNECT)
        event = await get()
        is_disconnected = event["type"] == "websocket.disconnect"
        return event

    return receive


def create_ws_send(
    writer: Writer,
    ws_protocol: WSProtocol,
    ws_key: bytes,
    *,
    accept_event: Flag,
    close_event: Flag,
    offered_subprotocols: Optional[Sequence[str]] = None,
    date: Callable[[], bytes] = build_date,
) -> Send:
    """The application's ``send``.

    ``ws_key`` is the request's Sec-WebSocket-Key. ``accept_event`` is set when
    ``websocket.accept`` has been written, ``close_event`` when the application
    has closed or refused. ``offered_subprotocols`` are those of the scope: a
    subprotocol that was not offered is left out of the 101, with a warning in
    the log; with None any subprotocol is sent. ``date`` returns the value of the Date
    header of a response.

    The callable raises `EventError` for an event that breaks a rule and
    `StateError` for one at the wrong time, both before a byte is written, and
    `ClientDisconnected` if the peer is gone; ``websocket.close`` then does
    nothing, whatever it holds.
    """
    owner = _StreamOwner(writer, accept_event, close_event)
    wire = Http11Wire(owner, ws_key=ws_key, date=date)
    return Session(owner, ws_protocol, wire, offered_subprotocols).send


class _StreamOwner(SessionOwner):
    """A session's owner made of a writer and two flags."""

    __slots__ = ("_accept_event", "_close_event", "_is_lost", "_lock", "_writer")

    def __init__(self, writer: Writer, accept_event: Flag, close_event: Flag) -> None:
        self._writer = writer
        self._accept_event = accept_event
        self._close_event = close_event
        # Before CPython 3.10.6 only one task may await StreamWriter.drain(): with a second one an assert
        # fails, or under -O the first is never resumed.
        self._lock = asyncio.Lock()
        # asyncio logs a warning for every write to a lost connection, from the fifth on.
        self._is_lost = False

    def write(self, data: bytes) -> None:
        if not self._is_lost:
            self._writer.write(data)

    async def drain(self) -> None:
        async with self._lock:
            try:
                waiting = self._writer.drain()
                if waiting is not None:
                    await waiting
            except OSError:
                self._is_lost = True
                raise

    def session_accepted(self) -> None:
        self._accept_event.set()

    def session_refused(self, status: int) -> None:
        self._close_event.set()

    def session_closed(self) -> None:
        self._close_event.set()

    def session_close_ignored(self) -> None:
        # After a send that has failed, only this tells the caller that the application has ended.
        self._close_event.set()
