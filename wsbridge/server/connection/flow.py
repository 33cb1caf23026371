"""`MessageFlow`: the messages of one WebSocket on the server, in both directions.

What comes is parsed and queued for the application; reading pauses while the
application is behind, or the server's memory for it is full. What the
application sends is written at once, or gathered with the answers to other
messages. `data_received` and `write_message` run for every message: a call more in
them is measurable.
"""

from __future__ import annotations

import asyncio
from typing import Awaitable, Callable, List, Optional, Union

from ...asgi.session import Session, SessionOwner
from ...protocols.frames import TRY_AGAIN_LATER
from ...protocols.messages import FREE_SIZE, measure
from ...protocols.ws import Receiving, WSProtocol
from ..budget import HINT, OUT_OF_MEMORY
from ..member import Member
from ..plain import ResumeTask
from ..service import Service
from .exchange import MAX_SENDS_IN_A_ROW, Exchange
from .reading import get_unsent_size, pause_reading, resume_reading
from .relay import Relay

__all__ = ["MessageFlow"]

# Bytes. Data that comes before the accept, or from a paused transport, is held unparsed; at this size reading
# pauses.
HELD_DATA_LIMIT = 64 * 1024

# Bytes. Compressed data may inflate to a thousand times its size, and one read become a hundred MiB of
# messages: it is parsed in slices of this size, and once the queue is full, the rest is held unparsed.
COMPRESSED_SLICE = 16 * 1024

# Bytes. From this size on header and payload are handed to the system as they are; below, one copy of both is
# cheaper.
LARGE_PAYLOAD = 64 * 1024

# Before Python 3.12 the attribute of an Enum class takes ten times as long as a global.
_READABLE = Receiving.OPEN


class MessageFlow(Exchange, SessionOwner):
    """An `Exchange` whose application receives and sends the messages of a WebSocket.

    ``ws`` parses and builds its frames. A subclass makes the ``_session`` that queues the messages, begins
    and ends the connection.
    """

    __slots__ = (
        "_gathered",
        "_gathered_size",
        "_held_data",
        "_is_holding",
        "_is_resuming",
        "_received_at_ping",
        "_sent_before",
        "_session",
        "_ws",
        "bytes_received",
        "bytes_sent",
        "messages_received",
    )

    _session: Session

    def __init__(
        self,
        service: Service,
        transport: asyncio.Transport,
        ws: WSProtocol,
        relay: Optional[Relay] = None,
        predecessor: Optional[Member] = None,
    ) -> None:
        Exchange.__init__(self, service, transport, relay, predecessor)
        self._ws = ws
        if service.budget is not None:
            ws.reserve = self._reserve
        # Whether data is held unparsed: before the accept, and while the queue is full.
        self._is_holding = True
        self._held_data = b""
        self._gathered: List[Union[bytes, bytearray]] = []
        self._gathered_size = 0
        # Whether the application runs inside `resume`.
        self._is_resuming = False
        # In bytes, frames with their headers.
        self.bytes_received = self.bytes_sent = self.messages_received = 0
        # What `_sends_in_a_row` does not count of the messages that were sent.
        self._sent_before = 0
        # `bytes_received` at the last ping; None if silence since then does not mean that the peer is gone.
        self._received_at_ping: Optional[int] = None

    def _peer_ended(self) -> None:
        """The peer has closed or broken a rule, and all that came before is queued."""

    def _parsed_all(self) -> None:
        """The connection is lost, and nothing is held unparsed any more."""

    def _finish(self) -> None:
        """Our CLOSE is written, and nothing follows."""

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
        self._received_at_ping = None
        held_data, self._held_data = self._held_data, b""
        if held_data or self._ws.is_suspended:
            self.data_received(held_data)
        if self._is_holding:
            return
        if self._transport is None:
            self._session.end_stream()
            self._parsed_all()
        else:
            resume_reading(self._transport)

    def _end_stream(self) -> None:
        """No more data comes. Held data is still parsed as `receive` empties the queue."""
        if not self._session.is_accepted:
            self._held_data = b""
        if not (self._held_data or self._ws.is_suspended):
            self._session.end_stream()

    def _drop_held_data(self) -> None:
        """No more data comes, and what is held is not parsed."""
        self._held_data = b""
        self._session.end_stream()

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
        self._drop_held_data()
        self._finish()

    def read_on(self) -> None:
        self._resume_reading()

    def session_waits(self) -> None:
        if self._gathered:
            self._flush()
        if self._is_holding and self._session.is_accepted:
            self._resume_reading()

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
        transport, gathered = self._transport, self._gathered
        if (gathered or self._session.queue) and transport is not None:
            if not gathered and not self._is_resuming:
                self._service.loop.call_soon(self._flush)
            gathered.append(header)
            gathered.append(payload)
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

    def _count_from_accept(self) -> None:
        """Count what is sent from now on: what was written so far is the 101."""
        self._sent_before, self.bytes_sent = -self._sends_in_a_row, 0

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
        self._received_at_ping = None
        self.write(self._ws.resume_writing())

    @property
    def write_buffer_size(self) -> int:
        """Bytes that are written and not sent."""
        return 0 if self._transport is None else get_unsent_size(self._transport) + self._gathered_size
