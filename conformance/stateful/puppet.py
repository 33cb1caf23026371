"""The application: a puppet that receives, sends, ends and is cancelled when the machine says so."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Awaitable, Dict, List, Optional, Sequence, Union

from wsbridge.protocols.errors import ClientDisconnected, EventError, StateError

from .loop import NEVER, Moment
from .reader import Content
from .wire import Wire

RETURN = "return"


class AppError(Exception):
    """What the application raises of its own."""


@dataclass(eq=False)
class Call:
    """One call of ``receive`` (event None) or ``send``.

    outcome: waiting (its task has not begun), pending, returned, cancelled, or the name of what it raised.
    """

    event: Optional[Dict[str, Any]] = None
    #: Whether an error of the call ends the application.
    lets_through: bool = False
    outcome: str = "waiting"
    began: Moment = NEVER
    #: When `receive` returned, and what.
    returned: Moment = NEVER
    result: Optional[Dict[str, Any]] = None
    #: Whether the connection was lost before.
    was_lost: bool = False
    #: Who waits for it.
    task: Any = None

    @property
    def kind(self) -> str:
        return "receive" if self.event is None else str(self.event.get("type"))

    @property
    def is_over(self) -> bool:
        return self.outcome not in ("waiting", "pending")

    @property
    def content(self) -> Optional[Content]:
        """The message that it sends."""
        if self.event is None or self.kind != "websocket.send":
            return None
        text, data = self.event.get("text"), self.event.get("bytes")
        return text if data is None else data

    @property
    def was_written(self) -> bool:
        """Whether it has got as far as the transport: a cancelled one has, as nothing waits before."""
        return self.outcome in ("returned", "cancelled", "pending")

    @property
    def was_refused(self) -> bool:
        """Whether it broke a rule: nothing of it was written."""
        return self.outcome in ("EventError", "StateError")

    @property
    def has_closed(self) -> bool:
        return self.kind == "websocket.close" and self.outcome == "returned"

    @property
    def is_part(self) -> bool:
        """Whether it sends a part of a page, or of a denial."""
        return self.kind.endswith("response.body")

    @property
    def is_last_part(self) -> bool:
        return self.is_part and not (self.event or {}).get("more_body")


class Puppet:
    """An ASGI application; its main task and any number of others call ``receive`` and ``send``."""

    def __init__(self, wire: Wire, stubbornness: int) -> None:
        self._wire = wire
        self._mark = wire.loop.mark
        self.scope: Any = None
        self._receive: Any = None
        self._send: Any = None
        #: What the main task is to do next: a call, `RETURN`, or an exception to raise.
        self._commands: asyncio.Queue[Any] = asyncio.Queue()
        self._is_busy = False
        self.main: Any = None
        self.others: List[Any] = []
        #: Those that began, as they began.
        self.calls: List[Call] = []
        #: Those that have not, and still may.
        self.waiting: List[Call] = []
        #: What `receive` returned, as it returned.
        self.received: List[Dict[str, Any]] = []
        #: How the main task ended: "returned", "cancelled", or what it raised.
        self.ended: Union[str, BaseException, None] = None
        self.ended_at = NEVER
        #: When `receive` returned its disconnect event.
        self.told_at = NEVER
        #: How often the machine has cancelled the main task.
        self.own_cancels = 0
        #: How many cancellations it ignores.
        self.stubbornness = stubbornness
        self.troubles: List[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.main = asyncio.current_task()
        try:
            await self._obey()
            self.ended = "returned"
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        except BaseException as error:
            self.ended = error
            raise
        finally:
            self.ended_at = self._mark()

    def run(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        """The same application as a plain function."""
        return self(scope, receive, send)

    async def _obey(self) -> None:
        while True:
            self._is_busy = False
            try:
                command = await self._commands.get()
                self._is_busy = True
                if command == RETURN:
                    return
                if isinstance(command, BaseException):
                    raise command
                await self._perform([command])
            except asyncio.CancelledError:
                if not self.stubbornness:
                    raise
                self.stubbornness -= 1

    async def _perform(self, calls: Sequence[Call], pause: float = 0.0) -> None:
        """Call `receive` or `send` so often, with pauses before sends, until one raises."""
        for number, call in enumerate(calls):
            if number and pause and call.event is not None:
                await asyncio.sleep(pause)
            call.began, call.outcome, call.was_lost = self._mark(), "pending", self._wire.is_lost
            call.task = asyncio.current_task()
            self.waiting.remove(call)
            self.calls.append(call)
            try:
                await (self._perform_receive(call) if call.event is None else self._perform_send(call))
                call.outcome = "returned"
            except asyncio.CancelledError:
                call.outcome = "cancelled"
                if not call.task.cancels:
                    self.troubles.append(f"{call.kind} was cancelled, but nobody cancelled its task")
                raise
            except (ClientDisconnected, EventError, StateError) as error:
                call.outcome = type(error).__name__
                if call.lets_through:
                    raise
                return
            finally:
                call.task = None

    async def _perform_receive(self, call: Call) -> None:
        event = call.result = await self._receive()
        call.returned = self._mark()
        self.received.append(event)
        if event["type"].endswith("disconnect"):
            self.told_at = min(self.told_at, call.returned)

    async def _perform_send(self, call: Call) -> None:
        wire = self._wire
        was_paused, resumptions = wire.is_protocol_paused, wire.resumptions
        await self._send(call.event)
        is_still_paused = was_paused and wire.resumptions == resumptions and not wire.is_closing()
        if is_still_paused and call.content is not None:
            self.troubles.append("send returned while the peer read nothing and the buffer was full")

    def _forget(self, calls: Sequence[Call]) -> None:
        """Those of them that have not begun never will."""
        self.waiting = [call for call in self.waiting if call not in calls]

    # ------------------------------------------------------- what the machine tells it

    @property
    def is_running(self) -> bool:
        return self.main is not None and not self.main.done()

    @property
    def is_idle(self) -> bool:
        """Whether the main task waits for an order."""
        return self.is_running and not self._is_busy and self._commands.empty()

    @property
    def was_told(self) -> bool:
        """Whether it has taken its disconnect event."""
        return self.told_at is not NEVER

    @property
    def was_cancelled_by_server(self) -> bool:
        return self.main is not None and self.main.cancels > self.own_cancels

    @property
    def has_begun_response(self) -> bool:
        """Whether it has sent a part of a page, or of a denial."""
        return any(call.is_part for call in self.calls)

    def cancel(self, task: Any) -> None:
        self.own_cancels += task is self.main
        task.cancel()

    def pending(self) -> List[Any]:
        """The other tasks that have not ended."""
        self.others = [task for task in self.others if not task.done()]
        return self.others

    def stuck_sends(self) -> List[Any]:
        """The tasks that wait in `send` for the peer to read."""
        return [call.task for call in self.calls if call.outcome == "pending" and call.event is not None]

    def do(self, *calls: Call, in_main: bool = False, pause: float = 0.0) -> None:
        """Let the main task make a call, if it is free; else a task of its own makes them, one by one.

        Nothing happens before the application was called.
        """
        if self.scope is None:
            return
        self.waiting += calls
        if in_main and self.is_idle:
            self._commands.put_nowait(*calls)
        else:
            for call in calls:
                call.lets_through = False
            task = self._wire.loop.create_task(self._perform(calls, pause))
            # One of them may raise, or the task be cancelled before its first step.
            task.add_done_callback(lambda _: self._forget(calls))
            self.others.append(task)

    def end(self, error: Optional[BaseException] = None) -> None:
        if self.is_idle:
            self._commands.put_nowait(RETURN if error is None else error)

    def let_go(self) -> None:
        """Forget what could keep a connection alive."""
        self._receive = self._send = self.scope = self.main = None
        if isinstance(self.ended, BaseException):
            self.ended = type(self.ended).__name__
