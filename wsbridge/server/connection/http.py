"""`HttpExchange`: one HTTP request, answered by the application; then the connection goes on, or closes."""

from __future__ import annotations

import asyncio
import math
from typing import Optional, Protocol

from ...asgi.http_session import HttpOwner, HttpSession
from ...asgi.types import Scope
from ...asgi.wire import Http11Wire, Wire
from ...protocols.bodies import Body
from ...protocols.errors import BadRequest, InternalServerError, RequestRefused, RequestTimeout
from ...protocols.events import RequestReceived
from ...protocols.fields import lists_token
from ..member import Member
from ..metrics.metrics import Load
from ..service import Service
from .exchange import Exchange
from .reading import get_unsent_size, pause_reading, resume_reading
from .relay import Relay, Stage
from .resetting import set_reset

__all__ = ["HttpExchange", "Reader"]

# Bytes. At this size of body that the application has not taken, or of data behind the body, reading pauses.
HELD_LIMIT = 64 * 1024

# Bytes. If no more than this is left of a body when its response is complete, it is read and dropped, so that
# the connection can go on.
DROPPED_LIMIT = 64 * 1024


class Reader(Stage, Protocol):
    """The stage that reads the next request of the connection."""

    def read_next(
        self, exchange: HttpExchange, transport: asyncio.Transport, data: bytes, at_eof: bool
    ) -> None:
        """Take ``transport`` over from ``exchange``, whose application may go on.

        ``data`` was read behind the request, and the end of the stream if ``at_eof``.
        """

    def forget(self, exchange: HttpExchange) -> None:
        """The application of an exchange that has handed ``transport`` over is at its end."""


class HttpExchange(Exchange, HttpOwner):
    """An asyncio protocol that takes ``transport`` over once the head of ``request`` is parsed.

    ``scope`` is the request's. ``body`` parses the request's body, and is None
    if it has none; ``trailing`` was read behind the head, and the end of the
    peer's stream if ``at_eof``. ``reader`` gets the transport back after the
    response; None if the connection has to close. A ``relay`` stays the
    transport's protocol. ``predecessor`` is the member whose place it takes.
    ``wire`` writes the response, by default in HTTP/1.1.
    """

    __slots__ = (
        "_body",
        "_body_deadline",
        "_disconnect_deadline",
        "_ends_by_closing",
        "_expects_continue",
        "_held_data",
        "_is_body_cut",
        "_method",
        "_reader",
        "_scope",
        "_session",
        "_wire",
        "is_reading_paused",
    )

    def __init__(
        self,
        service: Service,
        transport: asyncio.Transport,
        request: RequestReceived,
        scope: Scope,
        body: Optional[Body] = None,
        trailing: bytes = b"",
        at_eof: bool = False,
        reader: Optional[Reader] = None,
        relay: Optional[Relay] = None,
        predecessor: Optional[Member] = None,
        wire: Optional[Wire] = None,
    ) -> None:
        # Not by `super()`: before Python 3.12 that takes as long as what it calls.
        Exchange.__init__(self, service, transport, relay, predecessor)
        self._at_eof = at_eof
        self._scope = scope
        self._method = request.method
        self._reader = reader
        self._body_deadline = math.inf
        self._disconnect_deadline = math.inf
        # What came behind the request, for the reader.
        self._held_data = b""
        #: Whether the exchange has paused reading, and has not resumed it itself.
        self.is_reading_paused = False
        # Whether closing the socket would look like the end of the response.
        self._ends_by_closing = False
        # Whether the peer's stream has ended within the body.
        self._is_body_cut = False
        # None once the body is complete.
        self._body = body
        # RFC 9110 10.1.1: whether the client waits for a 100 before it sends the body. HTTP/1.0 has none. A
        # request of HTTP/2 that comes without a wire was translated by another server, which answers itself.
        self._expects_continue = (
            body is not None
            and (wire is not None or request.http_version == "1.1")
            and lists_token(request.values.get(b"expect", ()), b"100-continue")
        )
        self._wire: Wire = wire or Http11Wire(
            self,
            request.method == b"HEAD",
            request.http_version,
            self._may_keep_alive,
            service.date,
            service.get_headers,
        )
        session = self._session = HttpSession(self, self._wire, body is not None)
        if request.http_version == "1.0":
            # RFC 9112 8: without a length, a response that is cut must not look whole.
            self._ends_by_closing = True
            set_reset(transport, True)
        if trailing:
            self.data_received(trailing)
        if at_eof:
            self.eof_received()
        if self._transport is not None:
            self._run(scope, session.receive, session.send)

    # ------------------------------------------------------------------- receiving

    def data_received(self, data: bytes) -> None:
        body = self._body
        if body is None:
            self._hold(data)
            return
        try:
            content = body.receive_data(data)
        except RequestRefused as refusal:
            self._refuse_body(refusal)
            return
        self._expects_continue = False
        is_answered = self._wire.is_complete
        if body.is_complete:
            self._body, self._body_deadline = None, math.inf
            # The application learns of the disconnect only while its connection is read.
            self._resume_reading()
            if body.trailing:
                self._hold(body.trailing)
        elif not is_answered:
            self._restart_body_deadline()
        if is_answered:
            self._release()
            return
        session = self._session
        session.put_body(content, body.is_complete)
        if session.body_size >= HELD_LIMIT and not body.is_complete:
            self._pause_reading()

    def _hold(self, data: bytes) -> None:
        """Keep what follows the request: the next one is read after the response."""
        self._held_data += data
        if len(self._held_data) >= HELD_LIMIT:
            self._pause_reading()

    def _pause_reading(self) -> None:
        self.is_reading_paused = True
        if self._service.budget is not None:
            self._service.budget.count(self, self.held_size)
        # The peer cannot send.
        self._body_deadline = math.inf
        if self._transport is not None:
            pause_reading(self._transport)

    @property
    def held_size(self) -> int:
        """Bytes of the body and behind it, for the service's budget."""
        size = self._session.body_size + len(self._held_data)
        return size if size >= HELD_LIMIT else 0

    @property
    def give_up(self) -> None:
        """All that is held waits for the application."""

    def read_on(self) -> None:
        """Reading resumes when the application takes what is held, whatever room there is."""

    def _resume_reading(self) -> None:
        if self.is_reading_paused and self._transport is not None:
            self.is_reading_paused = False
            resume_reading(self._transport)

    def _restart_body_deadline(self) -> None:
        self._body_deadline = self._service.get_deadline(self._service.config.timeout_body)

    def session_reads(self) -> None:
        if self._body is None or self._transport is None:
            return
        if self._expects_continue and not self._wire.is_on_wire:
            self._wire.send_continue()
            self._expects_continue = False
        if self._body_deadline == math.inf:
            # Else it is running: an application that asks again and again gives the client no more time.
            self._restart_body_deadline()
        self._resume_reading()

    def _refuse_body(self, refusal: RequestRefused) -> None:
        """The body breaks a rule, or did not come in time: nothing behind it can be understood."""
        self._body, self._body_deadline = None, math.inf
        self._session.disconnect()
        self._log_refusal(refusal)
        if not self._wire.is_on_wire:
            if self._service.metrics is not None:
                self._service.metrics.count_answer(self._scope, refusal.status)
            self._refuse(refusal)
            return
        if self._wire.is_complete:
            self._hand_over()
        elif self._transport is not None:
            # Not `abort`, which cancels the application: it gets the disconnect.
            self._transport.abort()

    def _log_refusal(self, refusal: RequestRefused) -> None:
        self._service.log_refusal(
            self._scope["client"],
            self._method,
            self._scope["raw_path"],
            refusal,
            is_answered=self._wire.is_on_wire,
        )

    def _note_stall(self) -> None:
        self._log_refusal(RequestTimeout("the client read nothing for timeout_write"))

    def eof_received(self) -> bool:
        # RFC 9112 9.6: a client may half close after its request, and still wants the answer. But most
        # clients have left, and an application with an endless response must learn of it.
        if self._body is not None or not self._held_data:
            # No other request follows.
            self._reader = None
        if self._body is not None or self._wire.is_on_wire:
            self._is_body_cut = self._body is not None
            self._body, self._body_deadline = None, math.inf
            self._session.disconnect()
        # An application may wait for the disconnect before it responds. Nothing is read any more and no write
        # can fail, so that only a deadline can end its wait: `timeout_close`.
        self._disconnect_deadline = self._service.get_deadline(self._service.config.timeout_close)
        stays_open = self._stay_open_at_eof()
        if self._wire.is_complete:
            self._release()
        return stays_open

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._session.end()
        super().connection_lost(exc)

    # --------------------------------------------------------------------- writing

    def write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or self._writing_paused or transport.is_closing():
            self._write_parts(data)
        else:
            # What `_write_parts` does: the call would cost every response.
            transport.write(data)
        if self._at_eof:
            self._session.disconnect()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._wire.is_complete:
            self._release()

    # ------------------------------------------------------------- the application

    def _end_after_app(self, has_failed: bool) -> None:
        if self._wire.is_complete:
            return
        if not has_failed and not self._session.is_disconnected:
            self.logger.error("application returned before its response was complete")
        if self._wire.is_on_wire:
            # The client has the status already, and must see that the body is incomplete.
            self._service.log_answer(self._scope, self._wire.status)
            self._wire.abort()
        elif self._transport is None:
            return
        elif self._is_body_cut and not has_failed:
            # RFC 9112 8: the answer to an incomplete request is an error of the client's. An application that
            # returns when it is told of the disconnect has made none.
            self._refuse_body(BadRequest("the request's body ended early"))
        else:
            what = "raised" if has_failed else "returned"
            refusal = InternalServerError(f"the application {what} before its response was complete")
            self._service.log_answer(self._scope, refusal.status)
            self._refuse(refusal)

    def _detach(self) -> None:
        self._wire.detach()
        self._session.detach()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.forget(self)

    # --------------------------------------------------------------------- the end

    def _may_keep_alive(self) -> bool:
        """Whether the next request can follow; asked when the head of the response is built."""
        if self._reader is None or self._expects_continue or self._service.is_stopping:
            # RFC 9110 10.1.1: a client that was not told to continue may send the body, or the next request.
            return False
        body = self._body
        # Nobody knows how much of a chunked body is left.
        return body is None or (body.missing is not None and body.missing <= DROPPED_LIMIT)

    def session_completed(self) -> None:
        self._service.log_answer(self._scope, self._wire.status)
        if self._body is not None:
            # The time for all that is left of it.
            self._restart_body_deadline()
        self._release()

    def _release(self) -> None:
        """The response is written: let the next request be read, or close the connection."""
        if self._reader is None or not self._wire.keeps_alive:
            # A client that still sends, or has sent more requests, needs time to find the answer.
            self._hand_over(closed=self._body is None and not self._held_data)
        elif self._body is not None:
            # `data_received` calls again when more of the body has come. Do not wait for the peer to read the
            # response first: some clients send a whole body before they read.
            self._resume_reading()
        elif self._writing_paused:
            # `resume_writing` calls again: the next response must not add to what the peer does not read.
            return
        else:
            self._hand_back(self._reader)

    def _hand_back(self, reader: Reader) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            self._successor = reader
            reader.read_next(self, transport, self._held_data, self._at_eof)
            self._held_data = b""
            if self._task is None:
                self._leave_if_over()

    def _hand_over(self, *, closed: bool = False) -> None:
        if self._ends_by_closing and self._transport is not None:
            set_reset(self._transport, False)
        super()._hand_over(closed=closed)

    def outlive(self) -> None:
        """The application goes on while the connection is another's, or closed."""
        self._service.add(self)
        self._start_app_deadline()

    def _refuse(self, refusal: RequestRefused) -> None:
        """Answer with ``refusal`` instead of the application, and close."""
        self._wire.refuse(refusal)
        self._session.end()
        self._hand_over()

    def check_deadlines(self, now: float) -> None:
        super().check_deadlines(now)
        if self._wire.status and not self._wire.is_on_wire and self._transport is not None:
            # A response that is quiet at first, such as server-sent events: until its head has come, `fetch`
            # waits, and an `EventSource` is not open.
            self._wire.send_body(b"", True)
        if now >= self._disconnect_deadline:
            self._session.disconnect()
        if now >= self._body_deadline and self._transport is not None:
            self._refuse_body(RequestTimeout("the request's body did not come in time"))

    def measure(self) -> Load:
        if self._transport is None:
            return super().measure()
        queued, unsent = self._session.body_size + len(self._held_data), get_unsent_size(self._transport)
        return Load("http", self.is_reading_paused, self._writing_paused, queued, unsent)

    def shut_down(self) -> None:
        """Let the response finish. An application that is told would end it, and it would look whole.

        If its head has told the client of a stopping server that another request
        may follow, one may.
        """
        if self._wire.is_complete:
            self._hand_over()
        elif not self._service.is_stopping:
            # Only this connection ends, because a host of `EmbeddedConnection` says so.
            self._reader = None
