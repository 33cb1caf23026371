"""The servers under test, by the names that `PEERS_SERVER` has: wsbridge, and uvicorn with the plug-in."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any, AsyncIterator, Iterator

import uvicorn
from anyio.from_thread import start_blocking_portal

import wsbridge
from wsbridge.plugins.uvicorn import WebSocketProtocol

# uvicorn takes an application that is no coroutine function, as some here are, for one of ASGI 2.
OPTIONS: Any = {"ws": WebSocketProtocol, "interface": "asgi3", "log_level": "critical"}


def serve(app: Any, **options: Any) -> None:
    """Serve until a signal comes; the options are those that both have by one name."""
    if os.environ["PEERS_SERVER"] == "wsbridge":
        wsbridge.run(app, log_level="critical", **options)
    else:
        uvicorn.run(app, **options, **OPTIONS)


@contextlib.contextmanager
def serving(app: Any) -> Iterator[int]:
    """The port on which a thread serves the application until the end of the block."""
    run = run_wsbridge if os.environ["PEERS_SERVER"] == "wsbridge" else _run_uvicorn
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(run(app)) as port:
        yield port


@contextlib.asynccontextmanager
async def run_wsbridge(app: Any, **options: Any) -> AsyncIterator[int]:
    """The port on which the running loop serves the application until the end of the block."""
    async with wsbridge.Server(app, port=0, log_level="critical", **options) as server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def _run_uvicorn(app: Any) -> AsyncIterator[int]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, **OPTIONS))
    running = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running
