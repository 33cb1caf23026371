"""`WebSocketExchange`: one WebSocket connection on the server, from its checked request to its end.

It reads and writes the bytes of a `Session`, and sets a deadline for each of its phases:

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
from functools import partial
from typing import Awaitable, Callable, List, Optional, Union

from ...asgi.session import Phase, Session, SessionOwner
from ...asgi.types import Scope
from ...asgi.wire import Http11Wire, Wire
from ...protocols.errors import BadRequest, ServiceUnavailable
from ...protocols.events import RequestReceived
from ...protocols.frames import INTERNAL_ERROR, SERVICE_RESTART, TRY_AGAIN_LATER
from ...protocols.messages import FREE_SIZE, measure
from ...protocols.ws import Receiving, WSProtocol
from ..budget import HINT, OUT_OF_MEMORY
from ..member import Member
from ..metrics.metrics import Load, MeasuredProtocol
from ..plain import ResumeTask
from ..refusals import build_stopping
from ..service import Service
from .addresses import Ends, get_ends
from .exchange import MAX_SENDS_IN_A_ROW, Exchange
from .info import ConnectionInfo
from .reading import get_unsent_size, pause_reading, resume_reading
from .relay import Relay
from .scopes import build_websocket_scope

__all__ = ["WebSocketExchange"]

# Bytes. Data that comes before the accept, or from a paused transport, is held unparsed; at this size reading
# pauses.
HELD_DATA_LIMIT = 64 * 1024

# Bytes. Compressed data may inflate to a thousand times its size, and one read become a hundred MiB of
# messages: it is parsed in slices of this size, and once the queue is full, the rest is held unparsed.
COMPRESSED_SLICE = 16 * 1024

# Bytes. From this size on header and payload are handed to the system as they are; below, one copy of both is
# cheaper.
LARGE_PAYLOAD = 16 * 1024

# Seconds from the application's first answer in ENDING to our CLOSE: long enough for several sends with short
# waits between them, short enough for the client of an application that pushes without end.
ANSWER_TIME = 0.1

# Seconds from the stop of the server in which a connection may still be accepted.
ACCEPT_GRACE = 1.0

# Before Python 3.12 the attribute of an Enum class takes ten times as long as a global.
_READABLE, _ENDING, _OVER = Receiving.OPEN, Phase.ENDING, Phase.OVER

# Who has closed first, where it was not this side.
_ENDED_BY = {Receiving.CLOSED: "client", Receiving.FAILED: "violation", Receiving.LOST: "lost"}

# Replaces a scope once its answer is logged.
_LOGGED: Scope = {}


class WebSocketExchange(Exchange, SessionOwner):
    """An asyncio protocol that takes ``transport`` over once ``request`` was checked.

    ``ws_key`` is the request's Sec-WebSocket-Key, ``early_data`` the bytes that
    followed its head; a ``relay`` stays the transport's protocol in its place;
    ``predecessor`` is the member of the service whose place it takes; ``wire``
    writes the answer, by default in HTTP/1.1; ``ends`` are the transport's, unless a
    proxy has told others. Raises `BadRequest` for malformed
    extension offers or subprotocols, and `TooManyRequests` for a client with too
    many connections, before the transport is taken over.

    ``info`` is what the application and the server's host see of it; None at its end.
    """

    __slots__ = (
        "_answer_timer",
        "_deadline",
        "_gathered",
        "_gathered_size",
        "_grace_deadline",
        "_held_data",
        "_is_resuming",
        "_pinged_at",
        "_is_holding",
        "_is_stopping",
        "_opened_at",
        "_received_at_ping",
        "_scope",
        "_sent_before",
        "_session",
        "_ws",
        "bytes_received",
        "bytes_sent",
        "info",
        "messages_received",
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
        wire: Optional[Wire] = None,
        ends: Optional[Ends] = None,
    ) -> None:
        config = service.config
        ends = ends or get_ends(transport)
        self._ws = _build_protocol(service, request)
        info = ConnectionInfo(self._ws, self)
        scope = build_websocket_scope(service, transport, request, ends, info)
        info.client, info.path, info.raw_path = scope["client"], scope["path"], scope["raw_path"]
        self.info: Optional[ConnectionInfo] = info
        if service.clients is not None:
            peer, client = ends.client, info.client
            service.clients.add_forwarded(transport, peer and peer[0], client and client[0])
        super().__init__(service, transport, relay, predecessor)
        if service.budget is not None:
            self._ws.reserve = self._reserve
        self._scope = scope
        wire = wire or Http11Wire(self, ws_key=ws_key, date=service.date, headers=service.get_headers)
        self._session = Session(self, self._ws, wire, scope["subprotocols"])
        self._deadline = service.get_deadline(config.timeout_accept)
        self._grace_deadline = math.inf
        self._answer_timer: Optional[asyncio.TimerHandle] = None
        # Whether data is held unparsed: before the accept, and while the queue is full.
        self._is_holding = True
        # Whether the server stops, so that the connection closes once it is accepted.
        self._is_stopping = False
        self._held_data = b""
        self._gathered: List[Union[bytes, bytearray]] = []
        self._gathered_size = 0
        # Whether the application runs inside `resume`.
        self._is_resuming = False
        # In bytes, frames with their headers.
        self.bytes_received = self.bytes_sent = self.messages_received = 0
        # What `_sends_in_a_row` does not count of the messages that were sent.
        self._sent_before = 0
        # `bytes_received` at the last ping, or -1 if the peer is known to be alive.
        self._received_at_ping = -1
        self._pinged_at = math.inf
        # None before the accept, and once the end is logged.
        self._opened_at: Optional[float] = None
        if early_data:
            self._hold(early_data)
        self._run(scope, self._session.receive, self._session.send)

    # ------------------------------------------------------------------- receiving

    def data_received(self, data: bytes) -> None:
        if self._is_holding:
            # Reading may be paused: TLS on Python 3.9 and 3.10 still hands over what it has decrypted.
            self._hold(data)
            return
        if self._ws.compression is not None and len(data) > COMPRESSED_SLICE:
            self._receive_slices(data)
            return
        self.bytes_received += len(data)
        events, outbound = self._ws.receive_data(data)
        if outbound:
            self.write(outbound)
        if not events:
            return
        self.messages_received += len(events)
        session = self._session
        waiter = session.waiter
        if waiter is None or session.queue:
            session.put(events)
            self._check_queue()
        else:
            # What `put` does: the call would cost every read.
            events.reverse()
            session.queue = events
        if self._ws.receiving is not _READABLE:
            self._peer_ended()
        if waiter is not None:
            self._service.waker.wake(self)

    def resume(self, resume_task: ResumeTask) -> None:
        """Resume the application now, if it waits. What it writes is sent when it waits again."""
        session = self._session
        waiter = session.waiter
        if waiter is not None and not waiter.done() and session.queue:
            self._is_resuming = True
            try:
                resume_task(waiter)
            finally:
                self._is_resuming = False
                if self._gathered:
                    self._flush()

    def resume_later(self) -> None:
        """Resume the application in the loop's next turn."""
        self._session.wake()

    def _receive_slices(self, data: bytes) -> None:
        """Parse ``data`` slice by slice; each may wake the application or fill the queue, as a read does."""
        for start in range(0, len(data), COMPRESSED_SLICE):
            self.data_received(data[start : start + COMPRESSED_SLICE])

    def _hold(self, data: bytes) -> None:
        self._held_data += data
        if len(self._held_data) >= HELD_DATA_LIMIT:
            self._pause_reading()
            if self._service.budget is not None:
                self._service.budget.count(self, self.held_size)

    def _check_queue(self) -> None:
        """Pause reading if the queue has reached a limit."""
        config, budget = self._service.config, self._service.budget
        queue = self._session.queue
        size = sum(map(len, self._session.queued_messages))
        if len(queue) >= config.ws_max_queue or size >= config.ws_max_queue_bytes:
            self._pause_reading()
            if size > FREE_SIZE and budget is not None:
                budget.count(self, self.held_size)
        elif size > FREE_SIZE and budget is not None and not budget.hold(self, self.held_size):
            self._pause_reading()

    def _pause_reading(self) -> None:
        self._is_holding = True
        if self._transport is not None:
            pause_reading(self._transport)

    def _resume_reading(self) -> None:
        """Parse the data that was held; unless that fills the queue again, resume reading."""
        budget = self._service.budget
        if budget is not None and self._transport is not None and not budget.may_read_on(self):
            return
        self._is_holding = False
        # While we did not read, silence does not mean that the peer is gone.
        self._received_at_ping = -1
        held_data, self._held_data = self._held_data, b""
        if held_data or self._ws.is_suspended:
            self.data_received(held_data)
        if self._is_holding:
            return
        if self._transport is None:
            self._session.end_stream()
            self._log_end()
        else:
            resume_reading(self._transport)

    # -------------------------------------------------------------- memory, see `Budget`

    def _reserve(self, size: int) -> bool:
        """Called by the protocol: ``size`` bytes are not in the queue yet, most of them in one message."""
        size += measure(self._session.queued_messages)
        budget = self._service.budget
        if size <= FREE_SIZE or budget is None or budget.hold(self, size):
            return True
        self._pause_reading()
        return False

    @property
    def held_size(self) -> int:
        """Bytes that wait for the peer or the application, for the service's budget."""
        queue_size = measure(self._session.queued_messages)
        size = queue_size + self._ws.unfinished_size + len(self._held_data)
        return size if size > FREE_SIZE else 0

    @property
    def give_up(self) -> Optional[Callable[[], None]]:
        is_unfinished = self._ws.unfinished_size > FREE_SIZE and self._transport is not None
        return self._give_up_message if is_unfinished else None

    def _give_up_message(self) -> None:
        """Drop the message in progress, and close with 1013. The application still gets what is queued."""
        self.logger.warning(
            "%d bytes of an incomplete message are dropped: %s", self._ws.unfinished_size, HINT
        )
        self.write(self._ws.close(TRY_AGAIN_LATER, OUT_OF_MEMORY))
        self._held_data = b""
        self._session.end_stream()
        self._finish()

    def read_on(self) -> None:
        self._resume_reading()

    def session_waits(self) -> None:
        if self._gathered:
            self._flush()
        if self._is_holding and self._session.is_accepted:
            self._resume_reading()

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
        """No more data comes. Held data is still parsed as `receive` empties the queue."""
        self._cancel_answer_timer()
        session = self._session
        if not session.is_accepted:
            self._held_data = b""
        if not (self._held_data or self._ws.is_suspended):
            session.end_stream()

    # --------------------------------------------------------------------- writing

    def write(self, data: bytes) -> None:
        if self._gathered:
            self._gathered.append(data)
            self._gathered_size += len(data)
            self._flush()
        elif self._transport is not None:
            self.bytes_sent += len(data)
            self._write_parts(data)

    def write_message(self, header: bytes, payload: Union[bytes, bytearray]) -> Optional[Awaitable[None]]:
        """Write a message now, or gather it while received messages wait for the application.

        The answers to one read are sent in one system call. Large payloads are not copied.
        """
        transport = self._transport
        if (self._gathered or self._session.queue) and transport is not None:
            if not self._gathered and not self._is_resuming:
                self._service.loop.call_soon(self._flush)
            self._gathered += (header, payload)
            self._gathered_size += len(header) + len(payload)
            if not self._session.queue or self._gathered_size > self._service.config.ws_write_limit:
                self._flush()
        elif len(payload) >= LARGE_PAYLOAD:
            self.bytes_sent += len(header) + len(payload)
            self._write_parts(header, payload)
        else:
            frame = header + payload
            self.bytes_sent += len(frame)
            if transport is None or self._writing_paused or transport.is_closing():
                self._write_parts(frame)
            else:
                # What `_write_parts` does, and below what `drain` does: the calls would cost every message.
                transport.write(frame)
        self._sends_in_a_row += 1
        if self._writing_paused or self._sends_in_a_row >= MAX_SENDS_IN_A_ROW:
            return self._wait_or_yield()
        return None

    def _start_row(self, sends: int) -> None:
        self._sent_before += self._sends_in_a_row - sends
        super()._start_row(sends)

    @property
    def messages_sent(self) -> int:
        """The number of messages that the application has sent."""
        return self._sent_before + self._sends_in_a_row

    def _flush(self) -> None:
        gathered = self._gathered
        if gathered:
            # A message is two parts.
            is_large = self._gathered_size >= len(gathered) // 2 * LARGE_PAYLOAD
            self.bytes_sent += self._gathered_size
            self._gathered, self._gathered_size = [], 0
            self._write_parts(*(gathered if is_large else (b"".join(gathered),)))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._ws.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        # The peer reads, so it is alive; it may answer a ping only after all that it has to read.
        self._received_at_ping = -1
        self.write(self._ws.resume_writing())

    # ------------------------------------------------------------- the application

    def session_accepted(self) -> None:
        # What was written so far is the 101.
        self._sent_before, self.bytes_sent = -self._sends_in_a_row, 0
        # RFC 8441 5: in HTTP/2 the answer is a 200.
        self._log_answer(101 if self._scope["http_version"] == "1.1" else 200)
        interval = self._service.config.ws_ping_interval
        self._opened_at = self._pinged_at = self._service.clock()
        self._deadline = self._service.get_deadline(interval)
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
        if opened_at is None or info is None or info.code is None:
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
            self._held_data = b""
            self._session.end_stream()
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
            self._received_at_ping = -1
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

    @property
    def write_buffer_size(self) -> int:
        """Bytes that are written and not sent."""
        return 0 if self._transport is None else get_unsent_size(self._transport) + self._gathered_size

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
        if phase is Phase.CONNECTING and not self._is_stopping:
            # Most applications accept at once, and a client that is told 1012 comes back.
            self._is_stopping = True
            self._deadline = min(self._deadline, self._service.get_deadline(ACCEPT_GRACE))
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


def _build_protocol(service: Service, request: RequestReceived) -> WSProtocol:
    config, metrics = service.config, service.metrics
    build: Callable[..., WSProtocol] = WSProtocol
    if metrics is not None:
        build = partial(MeasuredProtocol, metrics)
    return build(
        enable_compression=config.ws_per_message_deflate,
        peer_extensions=request.values.get(b"sec-websocket-extensions", ()),
        deflate=config.deflate,
        max_message_size=config.ws_max_size,
        max_fragments=config.ws_max_fragments,
        hold_close=True,
        make_message=None,
        clock=service.clock,
    )
