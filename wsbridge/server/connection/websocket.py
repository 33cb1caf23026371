"""`WebSocketExchange`: one WebSocket connection on the server, from its checked request to its end.

Its messages are those of a `MessageFlow`. Each phase of its `Session` has a deadline:

====================== ============================================ ==========================================
phase                  ends with                                    deadline
====================== ============================================ ==========================================
CONNECTING, DENYING    accept, refusal, or the application's end    ``timeout_accept``: 503
OPEN                   a CLOSE from either side, a violation        keepalive: CLOSE 1011
ENDING                 no answer is owed any more                   `ANSWER_TIME` after an answer, and
                                                                    ``close_grace``: the held CLOSE is sent
CLOSING                the peer's CLOSE                             ``timeout_close``: connection aborted
OVER                   the application returns                      ``timeout_app``: application cancelled
====================== ============================================ ==========================================

In ENDING the peer has closed, or broken a rule, while the application owes an
answer to a message that came before; our CLOSE follows that answer.
"""

from __future__ import annotations

import asyncio
import math
from typing import Optional

from ...asgi.response import never
from ...asgi.session import Phase, Session
from ...asgi.types import Scope
from ...asgi.wire import Http11Wire, Wire
from ...protocols.errors import BadRequest, ServiceUnavailable
from ...protocols.events import RequestReceived
from ...protocols.frames import INTERNAL_ERROR, SERVICE_RESTART
from ...protocols.ws import Receiving
from ..member import Member
from ..metrics.metrics import Load
from ..refusals import build_stopping
from ..service import Service
from .addresses import Ends, get_ends
from .flow import MessageFlow
from .info import ConnectionInfo
from .protocol import build_protocol
from .relay import Relay
from .scopes import build_websocket_scope

__all__ = ["WebSocketExchange"]

# Seconds from the application's first answer in ENDING to our CLOSE: long enough for several sends with short
# waits between them, short enough for the client of an application that pushes without end.
ANSWER_TIME = 0.1

# Before Python 3.12 the attribute of an Enum class takes ten times as long as a global.
_ENDING, _OVER = Phase.ENDING, Phase.OVER

# What `closed_by` is where the peer was the first to end the connection.
_ENDED_BY = {Receiving.CLOSED: "client", Receiving.FAILED: "violation", Receiving.LOST: "lost"}

# Replaces a scope once its answer is logged.
_LOGGED: Scope = {}


class WebSocketExchange(MessageFlow):
    """An asyncio protocol that takes ``transport`` over once ``request`` was checked.

    ``ws_key`` is the request's Sec-WebSocket-Key, ``early_data`` the bytes that
    followed its head; a ``relay`` stays the transport's protocol in its place;
    ``predecessor`` is the member of the service whose place it takes; ``ends`` are
    the transport's, unless a proxy has told others; ``wire`` writes the answer,
    by default in HTTP/1.1. Raises `BadRequest` for malformed extension offers or
    subprotocols, and `TooManyRequests` for a client with too many connections,
    before the transport is taken over.

    ``info`` is what the application and the server's host see of it; None at its end.
    """

    __slots__ = (
        "_answer_timer",
        "_deadline",
        "_grace_deadline",
        "_is_stopping",
        "_opened_at",
        "_pinged_at",
        "_scope",
        "info",
    )

    def __init__(
        self,
        service: Service,
        transport: asyncio.Transport,
        request: RequestReceived,
        ws_key: bytes,
        early_data: bytes = b"",
        relay: Optional[Relay] = None,
        predecessor: Optional[Member] = None,
        ends: Optional[Ends] = None,
        wire: Optional[Wire] = None,
    ) -> None:
        config = service.config
        ends = ends or get_ends(transport)
        ws = build_protocol(service, request)
        info = ConnectionInfo(ws, self)
        scope = build_websocket_scope(service, transport, request, ends, info)
        info.client, info.path, info.raw_path = scope["client"], scope["path"], scope["raw_path"]
        self.info: Optional[ConnectionInfo] = info
        if service.clients is not None:
            peer, client = ends.client, info.client
            service.clients.add_forwarded(transport, peer and peer[0], client and client[0])
        # Not by `super()`, here and below: before Python 3.12 that takes as long as what it calls.
        MessageFlow.__init__(self, service, transport, ws, relay, predecessor)
        self._scope = scope
        wire = wire or Http11Wire(self, False, "1.1", never, service.date, service.get_headers, ws_key)
        self._session = Session(self, ws, wire, scope["subprotocols"], service.loop)
        self._deadline = service.get_deadline(config.timeout_accept)
        self._grace_deadline = math.inf
        self._answer_timer: Optional[asyncio.TimerHandle] = None
        # Whether the server stops, so that the connection closes once it is accepted.
        self._is_stopping = False
        self._pinged_at = math.inf
        # None before the accept, and once the end is logged.
        self._opened_at: Optional[float] = None
        if early_data:
            self._hold(early_data)
        self._run(scope, self._session.receive, self._session.send)

    # ------------------------------------------------------------------- the peer's end

    def _peer_ended(self) -> None:
        """The peer has closed or broken a rule: send our CLOSE now, or when the application has answered."""
        # The last event is the disconnect.
        self.messages_received -= 1
        if self._session.phase is _OVER:
            self._finish()
        elif self._session.owes_answer:
            self._grace_deadline = self._service.get_deadline(self._service.config.close_grace)
            self._deadline = self._grace_deadline
        else:
            self._session.close()

    def session_answered(self, is_first: bool) -> None:
        """In ENDING: send our CLOSE `ANSWER_TIME` after the first answer to the message taken last."""
        if is_first or self._deadline == self._grace_deadline:
            self._deadline = min(self._service.get_deadline(ANSWER_TIME), self._grace_deadline)
            # The service checks deadlines too rarely for a tenth of a second.
            self._cancel_answer_timer()
            self._answer_timer = self._service.loop.call_later(
                ANSWER_TIME, self.check_deadlines, self._deadline
            )

    def _cancel_answer_timer(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def session_disconnected(self) -> None:
        if self._session.phase is _ENDING:
            self._session.close()

    def eof_received(self) -> bool:
        """The peer sends no more. Our side stays open while our CLOSE is held."""
        is_ending = self._session.phase is _ENDING
        if is_ending and self._stay_open_at_eof():
            return True
        self._at_eof = True
        if is_ending:
            # TLS cannot be half closed: send the held CLOSE now, behind what the application has answered.
            self._session.close()
        else:
            self._finish()
        return False

    def connection_lost(self, exc: Optional[Exception]) -> None:
        if self._service.clients is not None:
            self._service.clients.discard(self._transport)
        self._transport = None
        self._end_stream()
        self._log_end()
        super().connection_lost(exc)
        # Without a transport this drops what was gathered.
        self._flush()

    def _end_stream(self) -> None:
        self._cancel_answer_timer()
        MessageFlow._end_stream(self)

    def _parsed_all(self) -> None:
        self._log_end()

    # ------------------------------------------------------------- the application

    def session_accepted(self) -> None:
        self._count_from_accept()
        # RFC 8441 5: in HTTP/2 the answer is a 200.
        self._log_answer(101 if self._scope["http_version"] == "1.1" else 200)
        interval = self._service.config.ws_ping_interval
        self._opened_at = self._pinged_at = self._service.clock()
        self._deadline = math.inf if interval is None else self._pinged_at + interval
        self._resume_reading()
        if self._is_stopping:
            # Not inside the application's send: the 101 must leave first.
            self._service.loop.call_soon(self._close_for_restart)

    def session_refused(self, status: int) -> None:
        self._log_answer(status)
        self._finish()

    def session_closed(self) -> None:
        if self._session.phase is _OVER:
            self._finish()
            return
        self._note_closed_by("application")
        self._flush()
        self._deadline = self._service.get_deadline(self._service.config.timeout_close)
        # Read on, so that the peer's CLOSE is seen.
        if self._is_holding:
            self._resume_reading()

    def _log_answer(self, status: int) -> None:
        self._service.log_answer(self._scope, status)
        # The scope refers to this object: break the cycle, which only the collector would free.
        self._scope = _LOGGED

    def _note_closed_by(self, who: str) -> None:
        """Note for the log who ends the connection, unless it is ended already."""
        info = self.info
        if self._opened_at is None or info is None or info.closed_by is not None:
            return
        # In ENDING the client has.
        if self._session.phase is not _ENDING:
            info.closed_by = who

    def _note_stall(self) -> None:
        self._note_closed_by("timeout")

    def _log_end(self) -> None:
        """Log the end of an accepted connection, once; not while its CLOSE may be held unparsed."""
        if self._scope:
            self._log_unanswered()
        opened_at, info = self._opened_at, self.info
        if opened_at is None or info is None or not self._ws.has_ended:
            return
        self._opened_at = None
        if info.closed_by is None:
            info.closed_by = _ENDED_BY[self._ws.receiving]
        info.seconds = self._service.clock() - opened_at
        if self._service.metrics is not None:
            self._service.metrics.count_end(info)
        self._service.log_end(info)

    def _log_unanswered(self) -> None:
        scope, self._scope = self._scope, _LOGGED
        left = BadRequest("the client has left before the whole answer")
        self._service.log_refusal(scope["client"], b"websocket", scope["raw_path"], left, is_answered=True)

    def _expects_disconnect(self) -> bool:
        # A session with held messages lasts longer than its connection.
        is_ending = self._session.phase in (Phase.ENDING, Phase.CLOSING, Phase.OVER)
        return is_ending or super()._expects_disconnect()

    def _end_after_app(self, has_failed: bool) -> None:
        self._session.end_application(has_failed)

    def _finish(self) -> None:
        """Our last byte is written: give the connection to `Linger`."""
        self._flush()
        closed = self._ws.close_received
        self._end_stream()
        self._log_end()
        self._hand_over(closed=closed)

    def _detach(self) -> None:
        if self._is_holding:
            # Without an owner the session cannot parse what is held, nor learn that nothing is: a task
            # that goes on receives the disconnect behind the queue.
            self._drop_held_data()
        self._log_end()
        self._session.detach()
        # A request that was never answered still has its scope. All refer to this object.
        self._scope = _LOGGED
        self.info = None
        self._ws.reserve = None

    # -------------------------------------------------------------------- deadlines

    def check_deadlines(self, now: float) -> None:
        super().check_deadlines(now)
        if now < self._deadline or self._transport is None:
            return
        phase = self._session.phase
        if phase in (Phase.CONNECTING, Phase.DENYING):
            self._refuse_late()
        elif phase is Phase.OPEN:
            self._keep_alive(now)
        elif phase is _ENDING:
            self._release_close(now)
        else:
            self._transport.abort()

    def _release_close(self, now: float) -> None:
        """Send the held CLOSE, unless the application has taken another message and may answer it."""
        if self._session.last_is_unanswered and now < self._grace_deadline:
            self._deadline = self._grace_deadline
        else:
            self._session.close()

    def _refuse_late(self) -> None:
        if self._session.is_response_on_wire:
            self._deadline = math.inf
            return
        late = ServiceUnavailable("the application did not accept in time")
        self._session.refuse(build_stopping() if self._is_stopping else late)
        self._cancel_app()

    def _keep_alive(self, now: float) -> None:
        """Send a ping, or close if the last one was not answered in time."""
        config = self._service.config
        timeout = config.ws_ping_timeout
        interval: float = config.ws_ping_interval  # type: ignore[assignment]  # None has no deadline
        if self._writing_paused:
            # No ping can be sent: restart the interval.
            self._pinged_at = now
        if self._is_holding or self._writing_paused:
            # An answer would not be read now; if the peer is gone, the next ping finds out.
            self._received_at_ping = None
        next_ping = self._pinged_at + interval
        is_silent = self.bytes_received == self._received_at_ping
        dead_at = self._pinged_at + timeout if is_silent and timeout is not None else None
        if dead_at is not None and now >= dead_at:
            self._note_closed_by("timeout")
            self.write(self._ws.close(INTERNAL_ERROR, "keepalive ping timeout"))
            self._finish()
        elif dead_at is None and now >= next_ping:
            self.write(self._ws.ping())
            self._received_at_ping, self._pinged_at = self.bytes_received, now
            self._deadline = now + (interval if timeout is None else min(interval, timeout))
        else:
            # It may have passed: while a ping may still be answered, every sweep looks.
            self._deadline = next_ping

    def ping(self) -> None:
        """Send a ping now; its answer sets the latency."""
        if self._session.phase is Phase.OPEN and not self._writing_paused:
            self.write(self._ws.ping())

    @property
    def phase(self) -> Phase:
        """Where the connection stands; over once it is lost, or only waits for the peer to close."""
        return _OVER if self._transport is None else self._session.phase

    def measure(self) -> Load:
        info, session = self.info, self._session
        is_held = self._is_holding and session.is_accepted
        return Load(
            None if info is None or self._transport is None else info.state,
            is_held,
            self._writing_paused,
            len(self._held_data) + sum(map(len, session.queued_messages)),
            self.write_buffer_size,
            None if self._opened_at is None else info,
        )

    def abort(self) -> None:
        self._note_closed_by("stop")
        super().abort()

    def shut_down(self) -> None:
        phase = self._session.phase
        if phase is Phase.CONNECTING and not self._is_stopping and self._session.waiter is None:
            # Most applications accept at once, and a client that is told 1012 comes back. One that waits in
            # `receive` first wants something of its client.
            self._is_stopping = True
            self._deadline = min(self._deadline, self._service.get_deadline(self._service.stop_grace))
        elif phase in (Phase.CONNECTING, Phase.DENYING):
            self._session.refuse(build_stopping())
        elif phase in (Phase.OPEN, Phase.ENDING):
            self._service.close_in_turn(self._close_for_restart)

    def _close_for_restart(self) -> None:
        # It may have closed before its turn.
        if self._session.phase in (Phase.OPEN, Phase.ENDING):
            self._note_closed_by("stop")
            # What the peer sends before it sees our CLOSE is still delivered.
            self._session.close(SERVICE_RESTART, discard=False)
