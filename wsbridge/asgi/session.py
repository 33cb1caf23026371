"""`Session`: one WebSocket between a `WSProtocol` and an ASGI application.

What an application may send, by the `Phase` of its session::

    phase        event                           next       written
    CONNECTING   websocket.accept                OPEN       101
    CONNECTING   websocket.close                 OVER       403
    CONNECTING   websocket.http.response.start   DENYING    -
    DENYING      websocket.http.response.body    DENYING    response, part by part
    DENYING      the last body                   OVER       the rest of it
    OPEN         websocket.send                  OPEN       message
    OPEN         websocket.close                 CLOSING    CLOSE
    ENDING       websocket.send                  ENDING     message
    ENDING       websocket.close                 OVER       the CLOSE that was held
    CLOSING      websocket.close                 CLOSING    -
    OVER         websocket.close                 OVER       -
    CLOSING,     any other                       same       - (raises ClientDisconnected)
    OVER

The phase is checked before the event's content: an event that does nothing in
its phase may hold anything. An event that breaks a rule raises `EventError`, a
known event that is not in the phase's rows raises `StateError`; both raise
before a byte is written.

A session stores what its protocol cannot know: how the request was answered,
what the application has not taken, and whether it still owes an answer to a
message. The phase is derived from the answer and the protocol's two halves.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from typing import Any, Awaitable, Callable, Dict, List, Optional, Sequence, Union

from ..protocols.errors import (
    ClientDisconnected,
    EventError,
    Forbidden,
    InternalServerError,
    RequestRefused,
    StateError,
)
from ..protocols.events import WebSocketConnected, WebSocketDisconnected
from ..protocols.fields import is_token
from ..protocols.frames import INTERNAL_ERROR, MAX_CLOSE_REASON, NORMAL_CLOSURE
from ..protocols.ws import Receiving, Sending, WSProtocol
from .response import check_header_pairs, check_response_body, check_response_start
from .types import ASGIEvent
from .wire import Wire

__all__ = [
    "RECEIVE_AFTER_DISCONNECT",
    "Phase",
    "Session",
    "SessionOwner",
    "build_disconnect_event",
    "build_message_event",
]

logger = logging.getLogger("wsbridge.error")

_Logger = Union[logging.Logger, "logging.LoggerAdapter[logging.Logger]"]


class Phase(Enum):
    """Where a session stands; derived, never stored."""

    # By identity: the hash of `Enum` is a function in Python.
    __hash__ = object.__hash__

    CONNECTING = "the application has not answered the request"
    DENYING = "it has begun a response instead of the accept"
    OPEN = "both halves are open"
    ENDING = "the peer has closed or failed, and our CLOSE is held"
    CLOSING = "our CLOSE has left, and the peer's is awaited"
    OVER = "nothing comes and nothing leaves any more"


class Answer(Enum):
    """How the application has answered the request."""

    NONE = "not yet"
    ACCEPTED = "with the accept"
    BEGUN = "with a response, which is not complete"
    REFUSED = "with a complete response, or one that was given up"


# Before Python 3.12 the attribute of an Enum class takes ten times as long as a global.
_READABLE, _WRITABLE = Receiving.OPEN, Sending.OPEN
_CONNECTING, _DENYING, _OPEN, _ENDING, _CLOSING, _OVER = Phase
_NOT_ANSWERED, _ACCEPTED, _BEGUN, _REFUSED = Answer


def build_message_event(message: Union[str, bytes]) -> ASGIEvent:
    """The ``websocket.receive`` of a whole message, with exactly one of ``text`` and ``bytes``.

    ASGI also allows the other key with the value None, but Sanic, Channels and
    applications that test ``"text" in event`` fail on it.
    """
    return {"type": "websocket.receive", "text" if type(message) is str else "bytes": message}


def build_disconnect_event(event: WebSocketDisconnected) -> ASGIEvent:
    """The ``websocket.disconnect`` of the protocol's last event."""
    return {"type": "websocket.disconnect", "code": event.code, "reason": event.reason}


class SessionOwner:
    """The connection under a session: it writes bytes and is notified; this base class does nothing."""

    __slots__ = ()

    @property
    def logger(self) -> _Logger:
        """Gets the lines about the application's mistakes."""
        return logger

    def write(self, data: bytes) -> None:
        """Write ``data``, now or soon, in order."""

    def drain(self) -> Optional[Awaitable[None]]:
        """An awaitable that ends when the write buffer has room, or None if it has room now.

        Awaiting it raises `OSError` if the connection is lost.
        """

    def write_message(self, header: bytes, payload: Union[bytes, bytearray]) -> Optional[Awaitable[None]]:
        """Write a message's frame, and return what `drain` returns."""
        self.write(header + payload)
        return self.drain()

    def abort(self) -> None:
        """Abort the connection, because a response cannot be completed."""

    def session_waits(self) -> None:
        """The application is about to wait for an event; the owner may call `Session.put` now."""

    def session_accepted(self) -> None:
        """The 101 is written."""

    def session_refused(self, status: int) -> None:
        """A response instead of the 101 is written, or was given up; ``status`` is for the log."""

    def session_closed(self) -> None:
        """Our CLOSE is written."""

    def session_close_ignored(self) -> None:
        """The application has sent ``websocket.close`` in a phase in which that does nothing."""

    def session_answered(self, is_first: bool) -> None:
        """A message was written in ENDING; ``is_first``: the first since the application took a message."""

    def session_disconnected(self) -> None:
        """The application has taken its ``websocket.disconnect``."""


_NO_OWNER = SessionOwner()

#: The text of the `ClientDisconnected` that ``receive`` raises where it would never return.
RECEIVE_AFTER_DISCONNECT = "receive() after websocket.disconnect: nothing can come any more"


class Session:
    """One session: the queue of received events, `receive`, `send`, and the answer to the request.

    ``protocol`` starts after the 101 that ``wire`` writes; its ``make_message``
    is None. ``offered_subprotocols`` are those of the scope: a subprotocol that
    was not offered is left out of the 101, with a warning. With None any
    subprotocol is sent. ``loop``: the event loop in which `receive` waits, or
    None for the one that runs, which takes a system call to find out.
    """

    __slots__ = (
        "_answer",
        "_loop",
        "_offered",
        "_owner",
        "_protocol",
        "_wire",
        "last_is_unanswered",
        "queue",
        "waiter",
    )

    def __init__(
        self,
        owner: SessionOwner,
        protocol: WSProtocol,
        wire: Wire,
        offered_subprotocols: Optional[Sequence[str]] = None,
        loop: Optional[asyncio.AbstractEventLoop] = None,
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._protocol = protocol
        # None once the request is answered: an idle connection does not keep it.
        self._wire: Optional[Wire] = wire
        self._offered = offered_subprotocols
        self._answer = _NOT_ANSWERED
        #: Whether the application took a message and has since neither sent nor called `receive`.
        self.last_is_unanswered = False
        #: What the application has not taken, the oldest last: a `WebSocketConnected`, messages as `str` or
        #: `bytes`, and a `WebSocketDisconnected`. A list, because an empty deque is ten times as large.
        self.queue: List[Any] = [WebSocketConnected(None)]
        #: The future that the application awaits in `receive`; None if it does not wait.
        self.waiter: Optional[asyncio.Future[None]] = None

    @property
    def phase(self) -> Phase:
        """Where the session stands, by the answer to the request and the protocol's two halves."""
        answer = self._answer
        is_receiving = self._protocol.receiving is _READABLE
        if answer is _ACCEPTED:
            if self._protocol.sending is _WRITABLE:
                return _OPEN if is_receiving else _ENDING
            return _CLOSING if is_receiving else _OVER
        if answer is _REFUSED or not is_receiving:
            return _OVER
        return _CONNECTING if answer is _NOT_ANSWERED else _DENYING

    @property
    def is_accepted(self) -> bool:
        """Whether the 101 is written."""
        return self._answer is _ACCEPTED

    @property
    def is_response_on_wire(self) -> bool:
        """Whether a response instead of the accept has begun to leave."""
        return self._wire is not None and self._wire.is_on_wire

    @property
    def queued_messages(self) -> List[Union[str, bytes]]:
        """The messages that the application has not taken."""
        return [event for event in self.queue if type(event) is str or type(event) is bytes]

    @property
    def owes_answer(self) -> bool:
        """Whether the application has a message to answer, taken or still in the queue."""
        return self.last_is_unanswered or bool(self.queued_messages)

    # ------------------------------------------------------------------- receiving

    def put(self, events: List[Any]) -> None:
        """Queue events of the protocol; the list then belongs to the session."""
        events.reverse()
        if self.queue:
            events += self.queue
        self.queue = events

    async def receive(self) -> ASGIEvent:
        """The application's ``receive``: the next event. Raises `ClientDisconnected` after the last one."""
        while not self.queue:
            self.last_is_unanswered = False
            if self._protocol.receiving is not _READABLE:
                # websocket.disconnect is always the last event, and was taken.
                raise ClientDisconnected(RECEIVE_AFTER_DISCONNECT)
            self._owner.session_waits()
            if self.queue:
                break
            if self.waiter is None:
                self.waiter = asyncio.Future(loop=self._loop)
                try:
                    await self.waiter
                finally:
                    self.waiter = None
            else:
                # Another task of the application waits already. `wait` lets this one be cancelled alone.
                await asyncio.wait([self.waiter])
        event = self.queue.pop()
        # `build_message_event`, written out: a call would cost every message.
        if type(event) is str:
            self.last_is_unanswered = True
            return {"type": "websocket.receive", "text": event}
        if type(event) is bytes:
            self.last_is_unanswered = True
            return {"type": "websocket.receive", "bytes": event}
        self.last_is_unanswered = False
        if type(event) is WebSocketConnected:
            return {"type": "websocket.connect"}
        self._owner.session_disconnected()
        # Other tasks may wait: nothing can come for them any more.
        self.wake()
        return build_disconnect_event(event)

    # --------------------------------------------------------------------- sending

    async def send(self, event: ASGIEvent) -> None:
        """The application's ``send``; see the module's table."""
        try:
            kind = event["type"]
        except (TypeError, KeyError):
            raise EventError(f"an event must be a dict with a 'type', not {event!r:.80}") from None
        # An event is handled without an await: a cancelled send has either written a whole frame, or
        # written nothing and left the compressor as it was.
        protocol = self._protocol
        if kind == "websocket.send" and self._answer is _ACCEPTED and protocol.sending is _WRITABLE:
            # OPEN or ENDING: nearly every event comes here, and spares `phase`, the table and a call.
            message: Any = event.get("text")
            data = event.get("bytes")
            if data is not None and message is None and isinstance(data, (bytes, bytearray, memoryview)):
                message = data
            elif data is not None or not isinstance(message, str):
                raise EventError("websocket.send needs exactly one of 'text' (str) and 'bytes' (bytes)")
            header, payload = protocol.send_message_parts(message)
            waiting = self._owner.write_message(header, payload)
            if protocol.receiving is not _READABLE:
                self._owner.session_answered(self.last_is_unanswered)
            self.last_is_unanswered = False
        else:
            waiting = self._get_action(kind)(self, event)
        if waiting is not None:
            try:
                await waiting
            except OSError as error:
                raise ClientDisconnected("the connection was lost") from error

    def _get_action(self, kind: Any) -> _Action:
        if not isinstance(kind, str) or kind not in _ENDED:
            raise EventError(f"unknown event type {kind!r:.80}; known: {', '.join(_ENDED)}")
        possible = _ACTIONS[self.phase]
        if kind not in possible:
            raise StateError(f"{kind} is not possible now; possible: {', '.join(possible)}")
        return possible[kind]

    def _accept(self, event: ASGIEvent) -> Optional[Awaitable[None]]:
        protocol = self._protocol
        subprotocol = self._choose_subprotocol(event.get("subprotocol"))
        headers = check_header_pairs(event.get("headers"))
        self._get_wire().accept(subprotocol, protocol.extensions_response, headers)
        protocol.subprotocol = subprotocol
        self._answer = _ACCEPTED
        self._wire = None
        waiting = self._owner.drain()
        self._owner.session_accepted()
        return waiting

    def _choose_subprotocol(self, subprotocol: Any) -> Optional[str]:
        if subprotocol is None or subprotocol == "":
            return self._protocol.subprotocol
        if not isinstance(subprotocol, str):
            raise EventError(f"subprotocol must be str or None, not {type(subprotocol).__name__}")
        if not subprotocol.isascii() or not is_token(subprotocol.encode("ascii")):
            raise EventError(f"subprotocol {subprotocol!r:.80} is not a token")
        if self._offered is None or subprotocol in self._offered:
            return subprotocol
        # RFC 6455 4.2.2: a server names only what was offered; browsers fail the connection otherwise.
        offered = ", ".join(self._offered) or "none"
        self._owner.logger.warning(
            "accepted without subprotocol %r, which the client did not offer (offered: %.200s)",
            subprotocol,
            offered,
        )
        return None

    def _refuse(self, event: ASGIEvent) -> None:
        # ASGI: 403, whatever code and reason are.
        self.refuse(Forbidden("the application did not accept the connection"))

    def _start_denial(self, event: ASGIEvent) -> None:
        self._get_wire().start(*check_response_start(event))
        self._answer = _BEGUN

    def _continue_denial(self, event: ASGIEvent) -> Optional[Awaitable[None]]:
        wire = self._get_wire()
        part, more = check_response_body(event)
        wire.send_body(part, more)
        if more:
            return self._owner.drain()
        self._end_refused(wire.status)
        return None

    def _close(self, event: ASGIEvent) -> None:
        code = event.get("code")
        reason = event.get("reason")
        self.close(NORMAL_CLOSURE if code is None else code, "" if reason is None else _shorten(reason))

    def _raise_disconnected(self, event: ASGIEvent) -> None:
        raise ClientDisconnected(f"{event['type']} after the connection was closed")

    def _ignore_close(self, event: ASGIEvent) -> None:
        self._owner.session_close_ignored()

    def _get_wire(self) -> Wire:
        wire: Wire = self._wire  # type: ignore[assignment]  # it is there until the request is answered
        return wire

    # ---------------------------------------------------------------------- ending

    def refuse(self, refusal: RequestRefused) -> None:
        """Answer the request in place of the application, in CONNECTING or DENYING."""
        wire = self._get_wire()
        if wire.is_on_wire:
            # The response cannot be replaced; the abort shows the client that it is incomplete.
            wire.abort()
            self._end_refused(wire.status)
        else:
            wire.refuse(refusal)
            self._end_refused(refusal.status)

    def _end_refused(self, status: int) -> None:
        self._answer = _REFUSED
        self._wire = None
        self._owner.session_refused(status)

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "", *, discard: bool = True) -> None:
        """Send our CLOSE in OPEN, or the one that is held in ENDING; see `WSProtocol.close`."""
        close = self._protocol.close(code, reason, discard=discard)
        self._owner.write(close)
        self._owner.session_closed()

    def end_application(self, has_failed: bool) -> None:
        """After the application has returned or failed, send the response or the CLOSE that is missing."""
        phase = self.phase
        if phase in (_CONNECTING, _DENYING):
            what = f"application {'raised' if has_failed else 'returned'} before it accepted or refused"
            if not has_failed:
                self._owner.logger.error(what)
            self.refuse(InternalServerError(f"the {what}"))
        elif phase in (_OPEN, _ENDING):
            self.close(INTERNAL_ERROR if has_failed else NORMAL_CLOSURE)

    def end_stream(self) -> None:
        """Note the end of the stream: the application receives a disconnect behind what is queued.

        Nothing changes if the receiving half had ended before.
        """
        events = self._protocol.receive_eof()
        if events:
            self.put(events)
            self.wake()

    def wake(self) -> None:
        """Resume the application, if it waits, in the loop's next turn."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def detach(self) -> None:
        """Drop the reference to the owner, which refers to the session: only the collector frees a cycle."""
        self._owner = _NO_OWNER
        self._wire = None


# Returns what `send` waits for, or None.
_Action = Callable[[Session, ASGIEvent], Optional[Awaitable[None]]]

_ENDED: Dict[str, _Action] = {
    "websocket.accept": Session._raise_disconnected,
    "websocket.close": Session._ignore_close,
    "websocket.http.response.start": Session._raise_disconnected,
    "websocket.http.response.body": Session._raise_disconnected,
    "websocket.send": Session._raise_disconnected,
}

_ACTIONS: Dict[Phase, Dict[str, _Action]] = {
    Phase.CONNECTING: {
        "websocket.accept": Session._accept,
        "websocket.close": Session._refuse,
        "websocket.http.response.start": Session._start_denial,
    },
    Phase.DENYING: {"websocket.http.response.body": Session._continue_denial},
    # `send` writes the messages itself.
    Phase.OPEN: {"websocket.send": Session.send, "websocket.close": Session._close},
    Phase.ENDING: {"websocket.send": Session.send, "websocket.close": Session._close},
    Phase.CLOSING: _ENDED,
    Phase.OVER: _ENDED,
}


def _shorten(reason: Any) -> Any:
    """Cut a reason at a character to fit a CLOSE (RFC 6455 5.5); the protocol refuses what is no `str`."""
    if not isinstance(reason, str):
        return reason
    return reason.encode("utf-8", "replace")[:MAX_CLOSE_REASON].decode("utf-8", "ignore")
