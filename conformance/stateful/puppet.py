"""The application: a puppet that receives, sends, ends and is cancelled when the machine says so."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Awaitable, Dict, List, Optional, Sequence, Union

from wsbridge.protocols.errors import ClientDisconnected, EventError, StateError

from .reader import Content
from .wire import Wire

__all__ = ["AppError", "Call", "Puppet"]

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
    #: In which order calls began, and `receive` returned.
    order: int = 0
    returned_order: int = 0
    result: Optional[Dict[str, Any]] = None
    #: Whether the connection was lost before.
    was_lost: bool = False
    #: Who waits for it.
    task: Any = None

    @property
    def is_over(self) -> bool:
        return self.outcome not in ("waiting", "pending")

    @property
    def content(self) -> Optional[Content]:
        """The message that it sends."""
        event = self.event
        if event is None or event.get("type") != "websocket.send":
            return None
        text, data = event.get("text"), event.get("bytes")
        return text if data is None else data

    @property
    def was_written(self) -> bool:
        """Whether it has got as far as the transport: a cancelled one has, as nothing waits before."""
        return self.outcome in ("returned", "cancelled", "pending")


class Puppet:
    """An ASGI application; its main task and any number of others call ``receive`` and ``send``."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.scope: Any = None
        self._receive: Any = None
        self._send: Any = None
        self._command: Optional[asyncio.Future[Any]] = None
        #: What the main task was told to call last.
        self._in_main: Sequence[Call] = ()
        #: The time of each number that `next_order` gave, from 1 on.
        self._times: List[float] = []
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
        self.ended_at_order = 0
        #: When `receive` returned its disconnect event.
        self.told_at_order = 0
        #: How often the machine has cancelled the main task.
        self.own_cancels = 0
        #: How many cancellations it ignores.
        self.stubbornness = 0
        self.troubles: List[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.main = asyncio.current_task()
        try:
            await self._obey()
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        except BaseException as error:
            self.ended = error
            raise
        else:
            self.ended = "returned"
        finally:
            self.ended_at_order = self.next_order()

    def run(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        """The same application as a plain function."""
        return self(scope, receive, send)

    def next_order(self) -> int:
        self._times.append(self._wire.time())
        return len(self._times)

    def time_of(self, order: int) -> float:
        return self._times[order - 1]

    async def _obey(self) -> None:
        while True:
            self._command = asyncio.get_running_loop().create_future()
            try:
                command = await self._command
                if command == RETURN:
                    return
                if isinstance(command, BaseException):
                    raise command
                await self.perform(command)
            except asyncio.CancelledError:
                if not self.stubbornness:
                    raise
                self.stubbornness -= 1
                # Of a command that was given in the same moment nothing was begun.
                self._forget(self._in_main)
            finally:
                self._command = None

    async def perform(self, *calls: Call, pause: float = 0.0) -> None:
        """Call `receive` or `send` so often, with pauses before sends, until one raises."""
        for number, call in enumerate(calls):
            if number and pause and call.event is not None:
                await asyncio.sleep(pause)
            call.order = self.next_order()
            call.outcome = "pending"
            call.was_lost = self._wire.is_lost
            call.task = asyncio.current_task()
            self.waiting.remove(call)
            self.calls.append(call)
            try:
                await self._perform(call)
                call.outcome = "returned"
            except asyncio.CancelledError:
                call.outcome = "cancelled"
                if not call.task.cancels:
                    self.troubles.append(f"call {call.order} was cancelled, but nobody cancelled its task")
                raise
            except (ClientDisconnected, EventError, StateError) as error:
                call.outcome = type(error).__name__
                if call.lets_through:
                    raise
                return
            finally:
                call.task = None

    def _forget(self, calls: Sequence[Call]) -> None:
        """Those of them that have not begun never will."""
        self.waiting = [call for call in self.waiting if call not in calls]

    async def _perform(self, call: Call) -> None:
        if call.event is None:
            call.result = await self._receive()
            self.received.append(call.result)
            call.returned_order = self.next_order()
            if self.was_told:
                self.told_at_order = call.returned_order
            return
        wire = self._wire
        was_paused, resumptions = wire.is_protocol_paused, wire.resumptions
        await self._send(call.event)
        is_still_paused = was_paused and wire.resumptions == resumptions and not wire.is_closing()
        if is_still_paused and call.content is not None:
            self.troubles.append("send returned while the peer read nothing and the buffer was full")

    # ------------------------------------------------------- what the machine tells it

    @property
    def is_running(self) -> bool:
        return self.main is not None and not self.main.done()

    @property
    def is_idle(self) -> bool:
        """Whether the main task waits for an order."""
        return self._command is not None and not self._command.done() and self.is_running

    @property
    def was_told(self) -> bool:
        """Whether it has taken its disconnect event."""
        return bool(self.received) and self.received[-1]["type"].endswith("disconnect")

    @property
    def was_cancelled_by_server(self) -> bool:
        return self.main is not None and self.main.cancels > self.own_cancels

    def cancel(self, task: Any) -> None:
        self.own_cancels += task is self.main
        task.cancel()

    def pending(self) -> List[Any]:
        """The other tasks that have not ended."""
        self.others = [task for task in self.others if not task.done()]
        return self.others

    def stuck_sends(self) -> List[Call]:
        """The calls of `send` that wait for the peer to read."""
        return [call for call in self.calls if call.outcome == "pending" and call.event is not None]

    def do(self, *calls: Call, in_main: bool, pause: float = 0.0) -> None:
        """Let the main task do it, if it is free; else a task of its own."""
        self.waiting += calls
        if in_main and len(calls) == 1 and self.is_idle and self._command is not None:
            self._command.set_result(calls[0])
            self._in_main = calls
        else:
            for call in calls:
                call.lets_through = False
            task = asyncio.get_running_loop().create_task(self.perform(*calls, pause=pause))
            # One of them may raise, or the task be cancelled before its first step.
            task.add_done_callback(lambda _: self._forget(calls))
            self.others.append(task)

    def end(self, error: Optional[BaseException] = None) -> None:
        if self.is_idle and self._command is not None:
            self._command.set_result(RETURN if error is None else error)

    def let_go(self) -> None:
        """Forget what could keep a connection alive."""
        self._receive = self._send = self.scope = self.main = None
        if isinstance(self.ended, BaseException):
            self.ended = type(self.ended).__name__
