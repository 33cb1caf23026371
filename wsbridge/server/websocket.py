"""`WebSocketExchange`: one WebSocket connection on the server, from its checked request to its end.

========== ============================================== =============================================
phase      ends with                                      deadline
========== ============================================== =============================================
CONNECTING accept, refusal, or the application's end      ``timeout_accept``: 503
OPEN       a CLOSE from either side, a violation          keepalive: CLOSE 1011
ENDING     the application asks for more                  ``close_grace``: the CLOSE held leaves
CLOSING    the peer's CLOSE                               ``timeout_close``: abort
OVER       the application returns                        ``timeout_app``: it is cancelled
========== ============================================== =============================================

ENDING keeps the order to the end: the peer has closed, or broken a rule,
while the application still has messages to take or to answer.
"""

from __future__ import annotations

import asyncio
from typing import Any, List, Optional

from ..asgi.response import ResponseBuilder
from ..asgi.scope import build_ws_scope
from ..asgi.types import ASGIEvent
from ..asgi.ws_bridge import create_ws_send
from ..protocols.errors import ClientDisconnected, InternalServerError, RequestRefused, ServiceUnavailable
from ..protocols.events import RequestReceived, WebSocketDataReceived, WebSocketDisconnected
from ..protocols.fields import get_header_values
from ..protocols.frames import INTERNAL_ERROR, NORMAL_CLOSURE, SERVICE_RESTART
from ..protocols.http11 import build_refusal
from ..protocols.ws import WSProtocol
from .addresses import get_client, get_server, is_secure
from .connection_info import ConnectionInfo
from .exchange import Exchange, Signal
from .reading import pause_reading, resume_reading
from .service import Service, log_answer
from .waking import resume_task

__all__ = ["WebSocketExchange"]

CONNECTING, OPEN, ENDING, CLOSING, OVER = range(5)

# Frames that came right behind the request are held until the application accepts, as is what a transport
# delivers while it is paused; past this reading pauses.
HELD_DATA_LIMIT = 64 * 1024

# Compressed data grows up to a thousand times: it is taken in slices, and what is left when the queue is
# full waits as it came, or one read of 120 KiB (over TLS 256) could become as many MiB of messages.
COMPRESSED_SLICE = 16 * 1024


class WebSocketExchange(Exchange):
    """An asyncio protocol that takes ``transport`` over once ``request`` was checked.

    ``ws_key`` is its Sec-WebSocket-Key, ``early_data`` what came behind its
    head. Raises `BadRequest` for malformed extension offers or subprotocols,
    before anything is taken over.
    """

    __slots__ = (
        "_at",
        "_deadline",
        "_denial",
        "_gathered",
        "_gathered_size",
        "_heard",
        "_held_data",
        "_is_resuming",
        "_is_told",
        "_phase",
        "_pinged_at",
        "_queue",
        "_reading_paused",
        "_scope",
        "_waiter",
        "_ws",
    )

    def __init__(
        self,
        service: Service,
        transport: asyncio.Transport,
        request: RequestReceived,
        ws_key: bytes,
        early_data: bytes = b"",
    ) -> None:
        config = service.config
        self._ws = WSProtocol(
            enable_compression=config.ws_per_message_deflate,
            peer_extensions=get_header_values(request.headers, b"sec-websocket-extensions"),
            deflate=config.deflate,
            max_message_size=config.ws_max_size,
            max_fragments=config.ws_max_fragments,
            hold_close=True,
            clock=service.clock,
        )
        scope = build_ws_scope(
            request,
            config,
            get_client(transport),
            get_server(transport),
            scheme="wss" if is_secure(transport) else "ws",
            state=service.state,
            connection=ConnectionInfo(self._ws, self),
        )
        super().__init__(service, transport)
        self._scope = scope
        self._phase = CONNECTING
        self._deadline: Optional[float] = service.clock() + config.timeout_accept
        # Received and not yet taken: what the list holds from _at on. A deque costs 700 bytes when idle.
        self._queue: List[Any] = [{"type": "websocket.connect"}]
        self._at = 0
        self._waiter: Optional[asyncio.Future[None]] = None
        # Received and not yet parsed: what came before the accept, or beyond a full queue.
        self._held_data = b""
        self._reading_paused = False
        self._gathered: List[bytes] = []
        self._gathered_size = 0
        # Whether the application runs inside `resume`.
        self._is_resuming = False
        self._heard = False
        self._pinged_at = 0.0
        # Whether the application has taken its websocket.disconnect.
        self._is_told = False
        self._denial = ResponseBuilder()
        if early_data:
            self._hold(early_data)
        send = create_ws_send(
            self,
            self._ws,
            ws_key,
            accept_event=Signal(WebSocketExchange._app_accepted, self),
            close_event=Signal(WebSocketExchange._app_closed, self),
            offered_subprotocols=scope["subprotocols"],
            denial=self._denial,
        )
        self._run(scope, self.receive, send)

    # ------------------------------------------------------------------- receiving

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._phase == CONNECTING or self._reading_paused:
            # Paused, and called all the same: TLS on Python 3.9 and 3.10 hands over all it has decrypted.
            self._hold(data)
            return
        if self._ws.compression is not None and len(data) > COMPRESSED_SLICE:
            self._receive_slices(data)
            return
        events, outbound = self._ws.receive_data(data)
        if outbound:
            self._write_through(outbound)
        if events:
            self._enqueue(events)
            waiter = self._waiter
            if waiter is not None and not waiter.done():
                self._service.waker.wake(self)

    def resume(self) -> None:
        """Let the application that waits go on now; what it writes leaves when it waits again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done() and self._at < len(self._queue):
            self._is_resuming = True
            try:
                resume_task(waiter)
            finally:
                self._is_resuming = False
                if self._gathered:
                    self._flush()

    def resume_later(self) -> None:
        """Let it go on in the loop's next turn."""
        waiter: asyncio.Future[None] = self._waiter  # type: ignore[assignment]  # only who waits is woken
        waiter.set_result(None)

    def _receive_slices(self, data: bytes) -> None:
        """Each is as good as a read of its own: it may wake the application, and fill the queue."""
        for start in range(0, len(data), COMPRESSED_SLICE):
            self.data_received(data[start : start + COMPRESSED_SLICE])

    def _hold(self, data: bytes) -> None:
        self._held_data += data
        if len(self._held_data) >= HELD_DATA_LIMIT:
            self._pause_reading()

    def _enqueue(self, events: List[Any]) -> None:
        """Append to the queue; where it is full, pause reading."""
        if self._at == len(self._queue):
            self._queue = events
            self._at = 0
            if self._waiter is None:
                self._check_queue_limits()
        else:
            # Where the application always has some before it, the list would never be empty and only grow.
            del self._queue[: self._at]
            self._at = 0
            self._queue += events
            self._check_queue_limits()
        if type(events[-1]) is WebSocketDisconnected:
            self._peer_ended()

    def _check_queue_limits(self) -> None:
        config = self._service.config
        waiting = self._queue[self._at :]
        if len(waiting) >= config.ws_max_queue or (
            sum(len(event.data) for event in waiting if type(event) is WebSocketDataReceived)
            >= config.ws_max_queue_bytes
        ):
            self._pause_reading()

    def _pause_reading(self) -> None:
        if not self._reading_paused:
            self._reading_paused = True
            if self._transport is not None:
                pause_reading(self._transport)

    def _resume_reading(self) -> None:
        """Take what was held; if that does not fill the queue again, let the transport go on."""
        was_paused, self._reading_paused = self._reading_paused, False
        # Silence while we did not listen is no sign of death.
        self._heard = self._heard or was_paused
        held_data, self._held_data = self._held_data, b""
        if held_data:
            self.data_received(held_data)
        if self._reading_paused:
            return
        if self._phase == OVER:
            self._receive_eof()
        elif was_paused and self._transport is not None:
            resume_reading(self._transport)

    def _peer_ended(self) -> None:
        """The peer has closed or broken a rule: its `WebSocketDisconnected` is the last of the queue."""
        if self._phase == OPEN:
            self._phase = ENDING
            self._deadline = self._service.clock() + self._service.config.close_grace
            if self._waiter is not None and len(self._queue) - self._at == 1:
                self._release_close()
        elif self._phase == CLOSING:
            self._finish()

    def _release_close(self) -> None:
        """Everything that came before has been answered, or could have been: the CLOSE held may leave."""
        self.write(self._ws.close())
        self._finish()

    def eof_received(self) -> bool:
        """The peer sends no more; while its CLOSE is still to be answered our side stays open."""
        if self._phase == ENDING and self._stay_open_at_eof():
            return True
        self._at_eof = True
        if self._phase == ENDING:
            # Over TLS this is the last moment: what the application has answered still leaves.
            self._release_close()
        else:
            self._finish()
        return False

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._end_stream()
        super().connection_lost(exc)
        # What was gathered goes with it.
        self._flush()

    def _end_stream(self) -> None:
        """Nothing more will come; what did, and is held, `receive` takes first."""
        if self._phase == CONNECTING:
            self._held_data = b""
        self._phase = OVER
        if not self._held_data:
            self._receive_eof()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _receive_eof(self) -> None:
        events = self._ws.receive_eof()
        if events:
            self._enqueue(events)

    async def receive(self) -> ASGIEvent:
        """The application's ``receive``: what `create_ws_receive` does with a queue, without a queue."""
        while self._at == len(self._queue):
            if self._is_told:
                raise ClientDisconnected("receive() after websocket.disconnect: nothing can come any more")
            if self._gathered:
                self._flush()
            if self._reading_paused and self._phase != CONNECTING:
                self._resume_reading()
                continue
            if self._waiter is None:
                self._waiter = self._service.loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            else:
                # Another task of the application waits already. Cancelling this one must not cancel that.
                await asyncio.wait([self._waiter])
        event = self._queue[self._at]
        # The list keeps its place until it is empty, but not the message.
        self._queue[self._at] = None
        self._at += 1
        if type(event) is WebSocketDataReceived:
            data = event.data
            if type(data) is str:
                return {"type": "websocket.receive", "bytes": None, "text": data}
            return {"type": "websocket.receive", "bytes": data, "text": None}
        if type(event) is WebSocketDisconnected:
            self._is_told = True
            if self._phase == ENDING:
                self._release_close()
            return {"type": "websocket.disconnect", "code": event.code, "reason": event.reason}
        connect: ASGIEvent = event
        return connect

    # --------------------------------------------------------------------- writing

    def write(self, data: bytes) -> None:
        """Write now, or gather while received messages wait for the application.

        The answers to one read leave in one system call.
        """
        if self._at == len(self._queue):
            transport = self._transport
            if transport is not None and not self._gathered and not transport.is_closing():
                transport.write(data)
            else:
                self._write_through(data)
            return
        if not self._gathered:
            if self._transport is None:
                super().write(data)
                return
            if not self._is_resuming:
                self._service.loop.call_soon(self._flush)
        self._gathered.append(data)
        self._gathered_size += len(data)
        if self._gathered_size > self._service.config.ws_write_limit:
            self._flush()

    def _write_through(self, data: bytes) -> None:
        if self._gathered:
            self._gathered.append(data)
            self._flush()
        else:
            super().write(data)

    def _flush(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self._gathered_size = 0
            super().write(b"".join(gathered))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._ws.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        # A peer that reads is alive, though its answer to a ping may be far behind what it has to read.
        self._heard = True
        self._write_through(self._ws.resume_writing())

    # ------------------------------------------------------------- the application

    def _app_accepted(self) -> None:
        log_answer(self._scope, 101)
        self._phase = OPEN
        # As in the bridge's sender. And the scope knows this object: while they know each other, only the
        # collector of cycles would free what the connection leaves.
        del self._denial, self._scope
        interval = self._service.config.ws_ping_interval
        self._heard, self._pinged_at = True, self._service.clock()
        self._deadline = None if interval is None else self._pinged_at + interval
        self._resume_reading()

    def _app_closed(self) -> None:
        """The application refused, denied or closed; what it wrote is gathered or written."""
        self._flush()
        if self._phase == OPEN:
            self._phase = CLOSING
            self._deadline = self._service.clock() + self._service.config.timeout_close
            # Whatever still comes is discarded, but the peer's CLOSE must be read.
            if self._reading_paused:
                self._resume_reading()
        elif self._phase in (CONNECTING, ENDING):
            if self._phase == CONNECTING:
                log_answer(self._scope, self._denial.status or 403)
            self._finish()

    def _expects_disconnect(self) -> bool:
        return self._phase not in (CONNECTING, OPEN)

    def _end_after_app(self, has_failed: bool) -> None:
        if self._phase == CONNECTING:
            what = "raised" if has_failed else "returned"
            self._refuse(InternalServerError(f"the application {what} before it accepted or refused"))
        elif self._phase in (OPEN, ENDING):
            self.write(self._ws.close(INTERNAL_ERROR if has_failed else NORMAL_CLOSURE))
            self._app_closed()

    def _refuse(self, refusal: RequestRefused) -> None:
        if self._denial.is_on_wire:
            # The response cannot be taken back: cut off, it is seen to be incomplete.
            self.cut()
            return
        log_answer(self._scope, refusal.status)
        self._write_through(build_refusal(refusal))
        self._finish()

    def _finish(self) -> None:
        """Our last byte is written."""
        self._flush()
        self._end_stream()
        self._hand_over(closed=self._ws.close_received)

    # -------------------------------------------------------------------- deadlines

    def check_deadlines(self, now: float) -> None:
        super().check_deadlines(now)
        if self._deadline is None or now < self._deadline or self._transport is None:
            return
        if self._phase == CONNECTING:
            if self._denial.is_on_wire:
                self._deadline = None
                return
            self._refuse(ServiceUnavailable("the application did not accept in time"))
            self._cancel_app()
        elif self._phase == OPEN:
            self._keep_alive(now)
        elif self._phase == ENDING:
            self._release_close()
        else:
            self._transport.abort()

    def _keep_alive(self, now: float) -> None:
        """A ping is due, or its answer is."""
        config = self._service.config
        timeout = config.ws_ping_timeout
        interval: float = config.ws_ping_interval  # type: ignore[assignment]  # None has no deadline
        if self._writing_paused:
            # It could not be pinged; that is no sign of death.
            self._pinged_at = now
        if self._reading_paused or self._writing_paused:
            # Nor is an answer that we do not read; but a connection that is gone fails the next ping.
            self._heard = True
        next_ping = self._pinged_at + interval
        dead_at = None if self._heard or timeout is None else self._pinged_at + timeout
        if dead_at is not None and now >= dead_at:
            self._write_through(self._ws.close(INTERNAL_ERROR, "keepalive ping timeout"))
            self._finish()
        elif dead_at is None and now >= next_ping:
            self._write_through(self._ws.ping())
            self._heard, self._pinged_at = False, now
            self._deadline = now + (interval if timeout is None else min(interval, timeout))
        else:
            self._deadline = next_ping if dead_at is None else min(dead_at, now + interval)

    def ping(self) -> None:
        """Send a ping now; its answer sets the latency."""
        if self._phase == OPEN and not self._writing_paused:
            self._write_through(self._ws.ping())

    def shut_down(self) -> None:
        if self._phase == CONNECTING:
            self._refuse(ServiceUnavailable("the server is stopping"))
        elif self._phase in (OPEN, ENDING):
            self.write(self._ws.close(SERVICE_RESTART))
            self._app_closed()
