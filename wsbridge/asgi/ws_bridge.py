"""The bridge: `build_ws_scope`, `create_ws_receive`, `create_ws_send`.

Works with a plain `asyncio.Queue`, `asyncio.StreamWriter` and
`asyncio.Event`, and with anything that has the same ``get``, ``write`` and
``drain``, and ``set``.

What an application may send, by the state of its connection::

    state        event                           next       written
    CONNECTING   websocket.accept                OPEN       101
    CONNECTING   websocket.close                 CLOSED     403
    CONNECTING   websocket.http.response.start   DENYING    -
    DENYING      websocket.http.response.body    DENYING    response, part by part
    DENYING      the last body                   CLOSED     the rest of it
    OPEN         websocket.send                  OPEN       message
    OPEN         websocket.close                 CLOSED     CLOSE
    CLOSED       websocket.send, .accept, ...    CLOSED     - (raises ClientDisconnected)
    CLOSED       websocket.close                 CLOSED     -

An event that breaks a rule raises `EventError`, one that is not in the
table's row `StateError`, both before a byte is written. A peer that is gone
moves every state to CLOSED.
"""

from __future__ import annotations

import asyncio
from typing import Any, Awaitable, Callable, Dict, Optional, Sequence

from ..protocols.errors import ClientDisconnected, EventError, Forbidden, StateError
from ..protocols.fields import check_header
from ..protocols.frames import build_close_payload
from ..protocols.handshake import build_101_response
from ..protocols.http11 import build_refusal
from ..protocols.ws import WSProtocol
from .response import ResponseBuilder, check_header_pairs
from .scope import build_ws_scope
from .types import ASGIEvent, EventSource, Flag, Receive, Send, Writer

__all__ = ["build_ws_scope", "create_ws_receive", "create_ws_send"]


def create_ws_receive(events: EventSource) -> Receive:
    """The application's ``receive``: the events of the queue, in order.

    Behind ``websocket.disconnect`` there is nothing to come: a later call
    raises `ClientDisconnected` instead of waiting for ever.
    """
    get = events.get
    is_over = False

    async def receive() -> ASGIEvent:
        nonlocal is_over
        if is_over:
            raise ClientDisconnected("receive() after websocket.disconnect: nothing can come any more")
        event = await get()
        if event["type"] == "websocket.disconnect":
            is_over = True
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
    denial: Optional[ResponseBuilder] = None,
) -> Send:
    """The application's ``send``.

    ``ws_key`` is the request's Sec-WebSocket-Key. ``accept_event`` is set when
    ``websocket.accept`` has been written, ``close_event`` when the application
    has closed or refused. ``offered_subprotocols`` are those of the scope: the
    application may accept no other; None leaves that unchecked. ``denial`` is
    the response that ``websocket.http.response.*`` events build, whose state
    the caller may read afterwards.

    The callable raises `EventError` for an event that breaks a rule and
    `StateError` for one at the wrong time, both before a byte is written, and
    `ClientDisconnected` where the peer is gone.
    """
    response = denial or ResponseBuilder()
    return _Sender(
        writer, ws_protocol, ws_key, accept_event, close_event, offered_subprotocols, response
    ).send


class _Sender:
    __slots__ = (
        "_accept_event",
        "_actions",
        "_close_event",
        "_denial",
        "_drain",
        "_offered",
        "_protocol",
        "_writer",
        "_ws_key",
    )

    def __init__(
        self,
        writer: Writer,
        protocol: WSProtocol,
        ws_key: bytes,
        accept_event: Flag,
        close_event: Flag,
        offered: Optional[Sequence[str]],
        denial: ResponseBuilder,
    ) -> None:
        self._writer = writer
        self._drain: Callable[[], Optional[Awaitable[None]]] = writer.drain
        if isinstance(writer, asyncio.StreamWriter):
            self._drain = _one_at_a_time(writer.drain)
        self._protocol = protocol
        self._ws_key = ws_key
        self._accept_event = accept_event
        self._close_event = close_event
        self._offered = offered
        self._denial = denial
        self._actions = _CONNECTING

    async def send(self, event: ASGIEvent) -> None:
        try:
            action = self._actions.get(event["type"])
        except (TypeError, KeyError):
            raise EventError(f"an event must be a dict with a 'type', not {event!r:.80}") from None
        if action is None:
            raise _unexpected(event["type"], self._actions)
        # All of an event happens between two awaits: a cancelled send has either written a whole
        # frame, or nothing and left the compressor alone.
        action(self, event)
        if self._actions is _CLOSED:
            return
        try:
            waiting = self._drain()
            if waiting is not None:
                await waiting
        except OSError as error:
            self._actions = _CLOSED
            raise ClientDisconnected("the connection was lost") from error

    def _accept(self, event: ASGIEvent) -> None:
        protocol = self._protocol
        self._check_connected()
        subprotocol = event.get("subprotocol")
        if subprotocol is None:
            subprotocol = protocol.subprotocol
        elif not isinstance(subprotocol, str):
            raise EventError(f"subprotocol must be str or None, not {type(subprotocol).__name__}")
        elif self._offered is not None and subprotocol not in self._offered:
            offered = ", ".join(self._offered) or "none"
            raise EventError(f"subprotocol {subprotocol!r} was not offered; what was: {offered}")
        response = build_101_response(
            self._ws_key,
            subprotocol=subprotocol,
            extensions=protocol.extensions_response,
            headers=check_header_pairs(event.get("headers")),
        )
        protocol.subprotocol = subprotocol
        self._actions = _OPEN
        # Only a denial needs it: a hundred bytes of an idle connection, with the exchange's reference.
        del self._denial
        self._writer.write(response)
        self._accept_event.set()

    def _refuse(self, event: ASGIEvent) -> None:
        # The peer is told neither, but a wrong one is an error at any time. Before the accept the reason
        # is one for an HTTP response, so that control bytes are wrong too.
        payload = build_close_payload(_default(event, "code", 1000), _default(event, "reason", ""))
        check_header(b"reason", payload[2:])
        self._actions = _CLOSED
        if not self._protocol.is_closed:
            self._writer.write(build_refusal(Forbidden("the application did not accept the connection")))
        self._close_event.set()

    def _start_denial(self, event: ASGIEvent) -> None:
        self._check_connected()
        self._denial.start(event)
        self._actions = _DENYING

    def _continue_denial(self, event: ASGIEvent) -> None:
        self._check_connected()
        self._writer.write(self._denial.body(event))
        if self._denial.is_complete:
            self._actions = _CLOSED
            self._close_event.set()

    def _send_message(self, event: ASGIEvent) -> None:
        text = event.get("text")
        data = event.get("bytes")
        if data is None and isinstance(text, str):
            message: Any = text
        elif text is None and isinstance(data, (bytes, bytearray, memoryview)):
            message = data
        else:
            raise EventError("websocket.send needs exactly one of 'text' (str) and 'bytes' (bytes)")
        try:
            frame = self._protocol.send_message(message)
        except StateError:
            self._actions = _CLOSED
            raise ClientDisconnected("websocket.send after the connection was closed") from None
        self._writer.write(frame)

    def _close(self, event: ASGIEvent) -> None:
        close = self._protocol.close(_default(event, "code", 1000), _default(event, "reason", ""))
        self._actions = _CLOSED
        if close:
            self._writer.write(close)
        self._close_event.set()

    def _fail_closed(self, event: ASGIEvent) -> None:
        raise ClientDisconnected(f"{event['type']} after the connection was closed")

    def _close_again(self, event: ASGIEvent) -> None:
        # A second websocket.close does nothing. Behind a send that has failed it is the first.
        self._close_event.set()

    def _check_connected(self) -> None:
        if self._protocol.is_closed:
            self._actions = _CLOSED
            raise ClientDisconnected("the client went away during the opening handshake")


_Actions = Dict[str, Callable[[_Sender, ASGIEvent], None]]

_CONNECTING: _Actions = {
    "websocket.accept": _Sender._accept,
    "websocket.close": _Sender._refuse,
    "websocket.http.response.start": _Sender._start_denial,
}
_DENYING: _Actions = {"websocket.http.response.body": _Sender._continue_denial}
_OPEN: _Actions = {"websocket.send": _Sender._send_message, "websocket.close": _Sender._close}
_CLOSED: _Actions = {
    "websocket.accept": _Sender._fail_closed,
    "websocket.http.response.start": _Sender._fail_closed,
    "websocket.http.response.body": _Sender._fail_closed,
    "websocket.send": _Sender._fail_closed,
    "websocket.close": _Sender._close_again,
}


def _one_at_a_time(drain: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    # Before CPython 3.10.6 only one task may wait in StreamWriter.drain(): a second one fails an assert,
    # or under -O leaves the first waiting for ever.
    lock = asyncio.Lock()

    async def drain_alone() -> None:
        async with lock:
            await drain()

    return drain_alone


def _default(event: ASGIEvent, key: str, default: Any) -> Any:
    # The specification allows None for an absent value.
    value = event.get(key)
    return default if value is None else value


def _unexpected(kind: object, actions: _Actions) -> Exception:
    if kind in _CLOSED:
        return StateError(f"{kind} is not possible here; what is: {', '.join(actions)}")
    return EventError(f"unknown event type {kind!r:.80}; known: {', '.join(_CLOSED)}")
