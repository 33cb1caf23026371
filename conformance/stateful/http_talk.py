"""One keep-alive connection: client, line, server, and an application that does what it is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Dict, List, Optional, Tuple

from hypothesis import strategies as st

from wsbridge.config import ServerConfig

from .floors import ServerFloor
from .http_client import Client, Sent
from .loop import ManualLoop
from .notes import logged
from .reader import Wrong
from .wire import Line, Wire

# Short, so that time costs little.
CONFIG = ServerConfig(
    timeout_handshake=2.0,
    timeout_keep_alive=1.0,
    timeout_body=2.0,
    timeout_write=3.0,
    timeout_close=2.0,
    timeout_app=2.0,
    timeout_accept=2.0,
    timeout_graceful_shutdown=4.0,
    limit_keep_alive_requests=6,
)

# What is left over of the largest is more than is dropped, and it is more than is held.
BODY_SIZES = st.sampled_from([0, 1, 20, 300, 20, 300, 4097, 65_536, 70_000, 250_000])
#: The arguments of `Client.send_request`.
REQUESTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["POST", "POST", "POST", "GET", "HEAD"]),
        "framing": st.sampled_from(["length", "chunked", "none"]),
        "size": BODY_SIZES,
        "expects": st.sampled_from([False, False, False, True]),
    }
)

#: What is drawn before a connection's first byte.
HTTP_SCENARIOS = st.fixed_dictionaries(
    {
        "is_tls": st.sampled_from([False, False, False, True]),
        "window": st.sampled_from([0, 40, 1000]),
        "reads": st.sampled_from([True, True, False]),
        # Requests that the server has read before the first step.
        "requests": st.lists(REQUESTS, min_size=1, max_size=3),
    }
).map(lambda drawn: SimpleNamespace(**drawn))


@dataclass(eq=False)
class Handler:
    """One call of the application; orders: an event to send, "receive", "wait", "return", or an error."""

    scope: Any
    receive: Any
    send: Any
    orders: Any
    sent_request: Sent
    received: List[Dict[str, Any]] = field(default_factory=list)
    #: What was sent of the response, where `send` returned.
    content: bytes = b""
    has_started: bool = False
    has_finished: bool = False
    #: Whether its response has a Content-Length of its own.
    has_declared: bool = False
    #: Whether an event broke a rule, so that the response may be missing or cut.
    has_erred: bool = False
    is_busy: bool = False
    is_receiving: bool = False
    #: Whether only the client's leaving, or its own response, may end its `receive`.
    is_waiting: bool = False
    ended: Any = None
    task: Any = None

    @property
    def serial(self) -> int:
        return self.sent_request.serial

    @property
    def is_idle(self) -> bool:
        return self.ended is None and not self.is_busy and self.orders.empty()

    @property
    def body(self) -> bytes:
        return b"".join(event["body"] for event in self.received if event["type"] == "http.request")

    @property
    def has_whole_body(self) -> bool:
        return any(event.get("more_body") is False for event in self.received)

    @property
    def was_told(self) -> bool:
        return any(event["type"].endswith(".disconnect") for event in self.received)

    async def run(self) -> None:
        try:
            while True:
                self.is_busy = False
                order = await self.orders.get()
                self.is_busy = True
                if order == "return":
                    self.ended = "returned"
                    return
                if isinstance(order, BaseException):
                    raise order
                await self._obey(order)
        except BaseException as error:
            self.ended = type(error).__name__
            raise

    async def _obey(self, order: Any) -> None:
        # Behind the whole body only the disconnect comes, with the end of the response at the latest.
        if order == "wait" or (order == "receive" and (self.has_finished or not self.has_whole_body)):
            self.is_receiving, self.is_waiting = True, order == "wait"
            self.received.append(await self.receive())
            self.is_receiving = self.is_waiting = False
        if isinstance(order, str):
            return
        kind, was_finished = order["type"], self.has_finished
        try:
            # What is written is written before `send` waits.
            self.has_started = self.has_started or kind.endswith(".start")
            self.has_declared = self.has_declared or b"content-length" in dict(order.get("headers", ()))
            if kind.endswith(".body") and not was_finished:
                self.content += order["body"]
                self.has_finished = not order["more_body"]
            await self.send(order)
        except Exception:
            self.has_erred = True
            if kind.endswith(".body") and not was_finished:
                self.content = self.content[: len(self.content) - len(order["body"])]
                self.has_finished = False


class HttpTalk:
    """Everything of one connection, and what is done to it."""

    def __init__(self, scenario: SimpleNamespace) -> None:
        self.scenario = scenario
        self.config = CONFIG
        self.loop = ManualLoop()
        self.client = Client()
        self.line = self.client.line = Line(self.client, scenario.window)
        self.wire = Wire(self.loop, self.line, is_tls=scenario.is_tls)
        self.handlers: List[Handler] = []
        self.troubles: List[str] = []
        #: Whether anything happened after which not every request needs a whole answer.
        self.is_disturbed = False
        self.has_stopped = False
        # What was written, with how much had been read by then.
        self._unread_writes: List[Tuple[bytes, int]] = []
        self.wire.on_write = lambda data: self._unread_writes.append((data, self.line.delivered))
        self.floor = ServerFloor(self._app, CONFIG, self.wire)
        self.floor.open()
        self.line.is_peer_reading = scenario.reads
        self.steps = 0
        for request in scenario.requests:
            self.client.send_request(**request)
        self.settle()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.read_writes()
        number = len(self.handlers)
        sent = self.client.sent
        index = (
            sent.index(next(one for one in sent if one.kind == "upgrade"))
            if (scope["type"] == "websocket")
            else int(scope["raw_path"][1:])
        )
        if index != number:
            self.troubles.append(f"request {index} is the application's call {number}")
        before, own = self.client.responses[:number], self.client.responses[number:]
        if len(before) != number or not all(answer.is_complete for answer in before):
            self.troubles.append(f"request {index} came before the response to the last was complete")
        # The server may answer between the start of the application's task and its first step.
        if any(answer.serial is not None for answer in own):
            self.troubles.append(f"request {index} was answered before")
        if self.wire.is_protocol_paused:
            self.troubles.append(f"request {index} came while the client does not read the last response")
        handler = Handler(scope, receive, send, asyncio.Queue(), sent[index], task=asyncio.current_task())
        self.handlers.append(handler)
        await handler.run()

    def read_writes(self) -> None:
        """Read what the server has written since."""
        writes = self._unread_writes[:]
        self._unread_writes.clear()
        try:
            for data, delivered in writes:
                self.client.read(data, delivered)
        except Wrong as wrong:
            self.troubles.append(str(wrong))

    @property
    def current(self) -> Optional[Handler]:
        """The handler that answers now: the last one, while it runs."""
        if self.handlers and self.handlers[-1].ended is None:
            return self.handlers[-1]
        return None

    def order(self, handler: Handler, *orders: Any) -> None:
        for order in orders:
            handler.orders.put_nowait(order)

    def deliver(self, size: Optional[int] = None) -> None:
        self.wire.deliver(size)
        while size is None and self.wire.can_deliver:
            self.wire.deliver()

    def settle(self) -> None:
        self.deliver()
        self.loop.settle()
        self.read_writes()

    def pass_time(self, seconds: float) -> None:
        self.loop.advance(seconds, self.deliver if self.client.is_prompt else lambda: None)
        self.read_writes()

    def discard(self) -> None:
        """Let go of the loop and of everything on it."""
        if self.floor is None:
            return
        self.handlers.clear()
        logged.buffer.clear()
        self.loop.close()
        self.floor.tasks.clear()
        self.floor.service = self.floor = None  # type: ignore[assignment]
        self.wire.set_protocol(None)
