"""`Exchange`: an application that runs on one connection; its task, its writes, and the end of both.

The two kinds are `websocket.WebSocketExchange` and `http.HttpExchange`.
"""

from __future__ import annotations

import asyncio
import math
from typing import Awaitable, List, Optional, Union

from ...asgi.types import Receive, Scope, Send
from ...protocols.errors import ClientDisconnected
from ..logs.log import SafeLogger, log_raised
from ..member import Member
from ..metrics.metrics import Load
from ..service import Service
from .attribution import claim
from .linger import Linger
from .relay import Relay, Stage

__all__ = ["Exchange"]

# Sends in a row after which `drain` yields to the event loop.
MAX_SENDS_IN_A_ROW = 64


class Exchange(asyncio.Protocol):
    """What both kinds share: an asyncio protocol whose bytes an application writes."""

    __slots__ = (
        "_app_deadline",
        "_at_eof",
        "_claim",
        "_drain_waiters",
        "_is_cancelled",
        "_relay",
        "_sends_in_a_row",
        "_service",
        "_stall_deadline",
        "_stalled_size",
        "_successor",
        "_task",
        "_transport",
        "_writing_paused",
    )

    def __init__(
        self,
        service: Service,
        transport: asyncio.Transport,
        relay: Optional[Relay] = None,
        predecessor: Optional[Member] = None,
    ) -> None:
        self._service = service
        self._relay = relay
        # None once the connection is lost, or the transport has another stage.
        self._transport: Optional[asyncio.Transport] = transport
        self._task: Optional[asyncio.Task[Optional[BaseException]]] = None
        self._app_deadline = math.inf
        self._claim: Optional[List[Exchange]] = None
        # Whether `_cancel_app` has cancelled the task.
        self._is_cancelled = False
        # Whether the end of the peer's stream was read, so that `Linger` has nothing to wait for.
        self._at_eof = False
        # The stage that has the transport now.
        self._successor: Optional[Stage] = None
        self._sends_in_a_row = 0
        self._writing_paused = False
        # None while no task waits: an idle connection does not keep an empty list.
        self._drain_waiters: Optional[List[asyncio.Future[None]]] = None
        self._stall_deadline = math.inf
        self._stalled_size = 0
        (transport if relay is None else relay).set_protocol(self)
        if predecessor is None:
            transport.set_write_buffer_limits(high=service.config.ws_write_limit)
            service.add(self)
        else:
            service.replace(predecessor, self)

    @property
    def logger(self) -> SafeLogger:
        return self._service.logger

    # ------------------------------------------------------------- the application

    def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._task = self._service.create_task(self._run_app(scope, receive, send))
        if self not in self._service.members:
            # An eager task (Python 3.12) has run already, and may have given the transport away and left.
            self._service.add(self)
            self._start_app_deadline()
        # A context of its own would be kept with every connection.
        self._task.add_done_callback(self._app_done, context=self._service.context)

    async def _run_app(self, scope: Scope, receive: Receive, send: Send) -> Optional[BaseException]:
        """Return what the application raises: SystemExit and KeyboardInterrupt would leave the loop."""
        self._claim = claim(self)
        try:
            await self._service.app(scope, receive, send)
        except BaseException as error:
            is_ours = isinstance(error, asyncio.CancelledError) and self._is_cancelled
            if is_ours or self._service.is_from_outside(error):
                raise
            return error
        # The callback would take another turn of the loop. An eager task (Python 3.12) is not known here yet.
        if self._task is not None:
            self._task.remove_done_callback(self._app_done)
            self._app_ended(None, False)
        return None

    def _app_done(self, task: asyncio.Task[Optional[BaseException]]) -> None:
        error = None if task.cancelled() else task.exception() or task.result()
        self._app_ended(error, task.cancelled())

    def _app_ended(self, error: Optional[BaseException], is_cancelled: bool) -> None:
        self._task = None
        try:
            if error is not None:
                self._log_error(error)
        finally:
            # It may be beyond logging, or a Ctrl-C come meanwhile: the peer must still get its answer.
            self._end_after_app(error is not None or is_cancelled)
            self._leave_if_over()

    def _log_error(self, error: BaseException) -> None:
        # While this connection is open, the error comes from another one, such as in a broadcast.
        if _is_disconnect(error) and self._expects_disconnect():
            self.logger.debug("application ended by the disconnect: %s", error)
        else:
            log_raised("application raised", error, self.logger)

    def fail_application(self) -> None:
        """Answer as after an error: a task or callback of the application has raised out of the loop."""
        self._end_after_app(True)

    def _expects_disconnect(self) -> bool:
        """Whether `ClientDisconnected` is an ordinary end: the peer is gone, or our CLOSE has left."""
        return self._transport is None

    def _end_after_app(self, has_failed: bool) -> None:
        """The application has returned, raised or was cancelled: send the answer that it has not sent."""

    def _leave_if_over(self) -> None:
        if self._task is None and self._transport is None:
            if self in self._service.members:
                self._service.discard(self)
            if self._claim is not None:
                # A task that goes on keeps its context, but not the connection.
                self._claim.clear()
            self._detach()

    def _detach(self) -> None:
        """Drop what refers to the exchange: only the collector frees a cycle."""

    # --------------------------------------------------------------------- writing

    def write(self, data: bytes) -> None:
        """Hand ``data`` to the transport; dropped once the connection is lost."""
        self._write_parts(data)

    def _write_parts(self, *parts: Union[bytes, bytearray]) -> None:
        """As `write`, for data in parts, which are not joined if the transport can do without."""
        transport = self._transport
        if transport is None or transport.is_closing():
            # Make the next `drain` wait for one turn of the loop: if this write has found the connection
            # lost, `connection_lost` comes in it.
            self._start_row(MAX_SENDS_IN_A_ROW)
            return
        if self._writing_paused:
            # Added data must not hide from `_check_stall` what the peer has read meanwhile.
            self._stalled_size += sum(map(len, parts))
        limit = self._service.config.ws_write_limit
        if len(parts) == 1:
            transport.write(parts[0])
        elif type(transport).writelines is not asyncio.WriteTransport.writelines:
            # asyncio's since Python 3.12 tries an empty part at the end again and again until more follows.
            transport.writelines([part for part in parts if part])
            # In CPython 3.12.0-3.12.8, 3.13.0 and 3.13.1 asyncio's `writelines` does not pause the protocol
            # (CVE-2024-12254); setting the limit does.
            transport.set_write_buffer_limits(high=limit)
        elif len(parts[-1]) > limit:
            # The base class would join the parts. What has to wait asyncio copies twice, of a view once.
            for part in parts:
                transport.write(memoryview(part))
        else:
            transport.write(b"".join(parts))

    def drain(self) -> Optional[Awaitable[None]]:
        """An awaitable that ends when the write buffer is below its limit, or None if it is now.

        Awaiting it raises `ConnectionResetError` if the connection ends first, or had ended before the write.
        """
        self._sends_in_a_row += 1
        if self._writing_paused or self._sends_in_a_row >= MAX_SENDS_IN_A_ROW:
            return self._wait_or_yield()
        return None

    def _wait_or_yield(self) -> Awaitable[None]:
        if self._writing_paused or self._transport is None:
            return self._wait_for_room()
        # Yield to the loop: an application that only sends would starve the other connections, and never
        # learn that its own is lost.
        self._start_row(0)
        return asyncio.sleep(0)

    def _start_row(self, sends: int) -> None:
        """Count the sends in a row from ``sends`` on."""
        self._sends_in_a_row = sends

    async def _wait_for_room(self) -> None:
        while self._writing_paused and self._transport is not None:
            waiter = self._service.loop.create_future()
            if self._drain_waiters is None:
                self._drain_waiters = []
            self._drain_waiters.append(waiter)
            await waiter
        if self._transport is None:
            raise ConnectionResetError("the connection ended while its peer was not reading")

    def _wake_writers(self) -> None:
        waiters, self._drain_waiters = self._drain_waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def _stay_open_at_eof(self) -> bool:
        """For `eof_received`: whether our side stays open to finish writing. TLS cannot be half closed."""
        self._at_eof = self._transport is not None and self._transport.can_write_eof()
        return self._at_eof

    def pause_writing(self) -> None:
        self._writing_paused = True
        self._stall_deadline = math.inf

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._wake_writers()

    # --------------------------------------------------------------------- the end

    def _hand_over(self, *, closed: bool = False) -> None:
        """Everything is written: give the connection to `Linger`, and start ``timeout_app``."""
        transport, self._transport = self._transport, None
        if transport is not None:
            self._successor = Linger(self._service, transport, self._relay, closed, self._at_eof)
            self._start_app_deadline()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        if self._successor is not None:
            # A TLS transport calls the protocol that it had when it noticed the loss.
            self._successor.connection_lost(exc)
        transport, self._transport = self._transport, None
        if self._service.clients is not None:
            self._service.clients.discard(transport)
        self._start_app_deadline()

    def _start_app_deadline(self) -> None:
        if self._drain_waiters is not None:
            self._wake_writers()
        if self._task is not None:
            deadline = self._service.get_deadline(self._service.config.timeout_app)
            self._app_deadline = min(self._app_deadline, deadline)
            self._service.add_detached(self)
        self._leave_if_over()

    def check_deadlines(self, now: float) -> None:
        if now >= self._app_deadline and self._task is not None:
            self.logger.warning("application did not return within timeout_app of the disconnect: cancelled")
            self._app_deadline = self._service.get_deadline(self._service.config.timeout_app)
            self._cancel_app()
        if self._writing_paused and self._transport is not None:
            self._check_stall(self._transport, now)

    def _check_stall(self, transport: asyncio.Transport, now: float) -> None:
        size = transport.get_write_buffer_size()
        if self._stall_deadline == math.inf or size < self._stalled_size:
            self._stall_deadline = self._service.get_deadline(self._service.config.timeout_write)
        elif now >= self._stall_deadline:
            self._note_stall()
            transport.abort()
        self._stalled_size = size

    def _note_stall(self) -> None:
        """Note for the log that the peer has read nothing for ``timeout_write``, and is aborted."""

    def measure(self) -> Load:
        """What the connection is and holds now: nothing, once it is lost or another's."""
        return Load()

    def shut_down(self) -> None:
        """Close in an orderly way, because the server is stopping."""

    def abort(self) -> None:
        """Abort the connection, and cancel the application."""
        if self._transport is not None:
            self._transport.abort()
        self._cancel_app()

    def _cancel_app(self) -> None:
        if self._task is not None:
            self._is_cancelled = True
            self._task.cancel()


def _is_disconnect(error: BaseException) -> bool:
    # A group of tasks raises the errors of all in one (PEP 654).
    group = getattr(error, "exceptions", None)
    if isinstance(group, (tuple, list)) and group:
        return all(map(_is_disconnect, group))
    return isinstance(error, ClientDisconnected)
