"""A server process as its clients see it: an orderly stop, TLS, a unix socket, and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from typing import Any, Callable, Dict

import pytest
import websockets

from conformance.interop.trial import Trial, expect_closed, expect_echo
from conformance.lib.servers import ServerProcess

pytestmark = pytest.mark.servers("server", "streams")


async def test_stops_with_1012(client: Any, build_server: Callable[..., ServerProcess]) -> None:
    """SIGTERM: every connection gets CLOSE 1012, the lifespan shuts down, the process ends."""
    async with build_server("server", "-stop") as server:
        async with contextlib.AsyncExitStack() as stack:
            trial = Trial(client, server)
            connections = [await stack.enter_async_context(trial.connect("/echo")) for _ in range(5)]
            for connection in connections:
                await expect_echo(connection, "before the stop")
            server.send_signal(signal.SIGTERM)
            for connection in connections:
                expect_closed(await connection.wait_closed(), 1012)
        async with asyncio.timeout(5):
            while server.poll() is None:
                await asyncio.sleep(0.02)
        assert server.poll() in (0, -signal.SIGTERM)
        assert "lifespan shutdown" in server.read_log()


@pytest.mark.servers("tls")
async def test_tells_wss_in_the_scope(trial: Trial) -> None:
    assert (await trial.fetch_json("/scope"))["scheme"] == "wss"


@pytest.mark.servers("unix")
async def test_builds_the_scope_of_a_unix_socket(trial: Trial) -> None:
    async with trial.connect("/scope") as connection:
        scope = json.loads(await connection.receive())
    assert scope["path"] == "/scope"
    assert scope["server"] is None or scope["server"][0]


async def fetch_figures(server: ServerProcess) -> Dict[str, int]:
    async with websockets.connect(f"ws://127.0.0.1:{server.port}/figures", proxy=None) as connection:
        return dict(json.loads(await connection.recv()))


@pytest.mark.last
async def test_leaves_no_task_or_descriptor(
    server: ServerProcess, build_server: Callable[..., ServerProcess]
) -> None:
    """Within a second it has no more of them than a server that was never asked for anything else."""
    async with build_server(server.name, "-fresh") as fresh:
        wanted = await fetch_figures(fresh)
    for _ in range(10):
        figures = await fetch_figures(server)
        if all(figures[name] <= wanted[name] for name in wanted):
            return
        await asyncio.sleep(0.1)
    assert figures == wanted


@pytest.mark.last
@pytest.mark.servers("server", "streams", "keepalive", "limits", "tls", "unix", "demo")
def test_keeps_a_clean_log(server: ServerProcess) -> None:
    assert server.poll() is None
    assert server.find_tracebacks() == []
