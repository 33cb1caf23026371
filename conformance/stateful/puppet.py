"""The application: a puppet that receives, sends, ends and is cancelled when the machine says so."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Union

from wsbridge.protocols.errors import ClientDisconnected, EventError, StateError

from .loop import NEVER, Moment
from .reader import Content
from .wire import Wire


@dataclass(eq=False)
class Call:
    """One call of ``receive`` (event None) or ``send``.

    outcome: waiting (its task has not begun), pending, returned, cancelled, or the name of what it raised.
    """

    event: Optional[Dict[str, Any]] = None
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
        #: What the main task is to do next: make calls, raise an exception, or, None, return.
        self._orders: asyncio.Queue[Any] = asyncio.Queue()
        self._is_busy = False
        self.main: Any = None
        self._others: List[Any] = []
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
        self._own_cancels = 0
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

    async def _obey(self) -> None:
        order: Any = ()
        while order is not None:
            try:
                self._is_busy = False
                order = await self._orders.get()
                self._is_busy = True
                if isinstance(order, BaseException):
                    raise order
                if order is not None:
                    await self._perform(*order)
            except asyncio.CancelledError:
                if not self.stubbornness:
                    raise
                self.stubbornness -= 1

    async def _perform(self, calls: Sequence[Call], pause: float, lets_through: bool) -> None:
        """Make the calls, with pauses before sends, until one raises."""
        try:
            for number, call in enumerate(calls):
                if number and pause and call.event is not None:
                    await asyncio.sleep(pause)
                await self._make(call)
        except (ClientDisconnected, EventError, StateError):
            if lets_through:
                raise
        finally:
            self._forget(calls)

    async def _make(self, call: Call) -> None:
        call.began, call.outcome, call.was_lost = self._mark(), "pending", self._wire.is_lost
        call.task = asyncio.current_task()
        self.waiting.remove(call)
        self.calls.append(call)
        try:
            await (self._make_receive(call) if call.event is None else self._make_send(call))
            call.outcome = "returned"
        except asyncio.CancelledError:
            call.outcome = "cancelled"
            if not call.task.cancels:
                self.troubles.append(f"{call.kind} was cancelled, but nobody cancelled its task")
            raise
        except (ClientDisconnected, EventError, StateError) as error:
            call.outcome = type(error).__name__
            raise
        finally:
            call.task = None

    async def _make_receive(self, call: Call) -> None:
        event = call.result = await self._receive()
        call.returned = self._mark()
        self.received.append(event)
        if event["type"].endswith("disconnect"):
            self.told_at = min(self.told_at, call.returned)

    async def _make_send(self, call: Call) -> None:
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
        return self.is_running and not self._is_busy and self._orders.empty()

    @property
    def was_cancelled_by_server(self) -> bool:
        return self.main is not None and self.main.cancels > self._own_cancels

    def cancel(self, task: Any) -> None:
        self._own_cancels += task is self.main
        task.cancel()

    def pending(self) -> List[Any]:
        """The other tasks that have not ended."""
        self._others = [task for task in self._others if not task.done()]
        return self._others

    def stuck_sends(self) -> List[Any]:
        """The tasks that wait in `send` for the peer to read."""
        return [call.task for call in self.calls if call.outcome == "pending" and call.event is not None]

    def do(self, *calls: Call, pause: float = 0.0, in_main: bool = False, lets_through: bool = False) -> None:
        """Let the main task make the calls, if it is free; else a task of their own makes them.

        ``lets_through``: an error of a call ends the main task. Nothing happens before the application was
        called.
        """
        if self.scope is None:
            return
        self.waiting += calls
        if in_main and self.is_idle:
            self._orders.put_nowait((calls, pause, lets_through))
        else:
            task = self._wire.loop.create_task(self._perform(calls, pause, False))
            # It may be cancelled before its first step.
            task.add_done_callback(lambda _: self._forget(calls))
            self._others.append(task)

    def end(self, error: Optional[BaseException] = None) -> None:
        """Let the main task return, or raise."""
        self._orders.put_nowait(error)

    def let_go(self) -> None:
        """Forget what could keep a connection alive."""
        self._receive = self._send = self.scope = self.main = None
        if isinstance(self.ended, BaseException):
            self.ended = type(self.ended).__name__
