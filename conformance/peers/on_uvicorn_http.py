"""A pytest plug-in for uvicorn's own HTTP tests: wsbridge's `Connection` stands where uvicorn's class stood.

wsbridge has no HTTP plug-in for uvicorn: `HttpProtocol` exists for these tests alone. They drive a protocol
by hand, on a transport and a loop that they made up; `Loop` stands for theirs, because wsbridge needs a real
loop for its futures.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
from typing import Any, Coroutine, Deque, Dict, List, Optional, Tuple

import pytest
from uvicorn.protocols.http import h11_impl, httptools_impl

from wsbridge import ServerConfig
from wsbridge.plugins.uvicorn import build_config
from wsbridge.server.connection.embedded import EmbeddedConnection
from wsbridge.server.connection.head import Connection
from wsbridge.server.connection.relay import Stage
from wsbridge.server.service import Service

from .transports import HalfClosingRest


class Loop:
    """What the tests do to theirs: a task starts when a test says so, and the time is the test's."""

    def __init__(self) -> None:
        self._now = 0.0
        self.service: Optional[Service] = None
        self._waiting: Deque[Tuple[asyncio.Event, asyncio.Task[Any]]] = collections.deque()

    def time(self) -> float:
        return self._now

    def create_task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        start = asyncio.Event()
        task = asyncio.ensure_future(self._run(start, coroutine))
        self._waiting.append((start, task))
        return task

    async def _run(self, start: asyncio.Event, coroutine: Coroutine[Any, Any, Any]) -> Any:
        with contextlib.closing(coroutine):
            await start.wait()
            return await coroutine

    async def run_one(self) -> None:
        """Run the oldest task to its end, and what its connection does at its end."""
        start, task = self._waiting.popleft()
        start.set()
        await asyncio.wait([task])

    def run_later(self, with_delay: float) -> None:
        """Let the time pass, and deadlines with it."""
        self._now += with_delay
        if self.service is not None:
            self.service.sweep()


class HttpService(Service):
    """One connection of a server that has uvicorn's options."""

    def __init__(self, config: Any, app_state: Optional[Dict[str, Any]], loop: Any) -> None:
        super().__init__(self._run_app, build_http_config(config), state=app_state, clock=loop.time)
        self.logger = logging.getLogger("uvicorn.error")
        self.access_logger = logging.getLogger("uvicorn.access")
        self.scope: Any = None
        self._loaded_app = config.loaded_app
        # The test's, where `self.loop` is the running one.
        self._loop = loop
        if isinstance(loop, Loop):
            loop.service = self

    async def _run_app(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        await self._loaded_app(scope, receive, send)

    def create_task(self, application: Any) -> Any:
        return self._loop.create_task(application)


def build_http_config(config: Any) -> ServerConfig:
    limits = {}
    if config.h11_max_incomplete_event_size is not None:
        limits["limit_request_head"] = config.h11_max_incomplete_event_size
    return build_config(
        config,
        {
            "limit_concurrency": config.limit_concurrency,
            "timeout_keep_alive": config.timeout_keep_alive,
            **limits,
        },
    )


class HttpProtocol(EmbeddedConnection):
    """What the tests use of uvicorn's HTTP protocols."""

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        if not config.loaded:
            config.load()
        self.loop = _loop or asyncio.get_running_loop()
        self._service = HttpService(config, app_state, self.loop)
        self._connections = server_state.connections
        #: What reads the next request, and closes when none comes; None while one is answered.
        self.timeout_keep_alive_task: Optional[Stage] = None
        super().__init__(self._service, lambda: self._connections.discard(self))

    @property
    def scope(self) -> Any:
        """The last request's."""
        return self._service.scope

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._connections.add(self)
        super().connection_made(transport)

    def set_protocol(self, protocol: Stage) -> None:
        super().set_protocol(protocol)
        self.timeout_keep_alive_task = protocol if isinstance(protocol, Connection) else None

    def shutdown(self) -> None:
        self._service.begin_shutdown()


h11_impl.H11Protocol = HttpProtocol  # type: ignore[misc, assignment]
httptools_impl.HttpToolsProtocol = HttpProtocol  # type: ignore[misc, assignment]


def pytest_collection_modifyitems(config: pytest.Config, items: List[Any]) -> None:
    """Keep one test of those that differ only in uvicorn's class, and give all the loop and the transport."""
    kept = [item for item in items if not is_repeated(item.name)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
    module = items[0].module
    module.MockLoop = Loop
    module.MockTransport = type("MockTransport", (module.MockTransport, HalfClosingRest), {})


def is_repeated(name: str) -> bool:
    parameters = name.partition("[")[2].strip("]").split("-")
    return not {"httptools", "zttp", "wsproto"}.isdisjoint(parameters)
