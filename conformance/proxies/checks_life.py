"""What ends or outlives what: idle limits, kept connections, health checks, and the end of either side."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Awaitable, Callable, List

import aiohttp

from conformance.lib.clients import Closed, Websockets
from conformance.lib.servers import STOP_SECONDS, ServerProcess

from .checks_messages import Check
from .site import Site, build_key

# Seconds: the limits that the edits of these sites set, and how long each side may take to notice an end.
IDLE_LIMIT, KEEP_ALIVE = 1.0, 2.0
NOTICE_SECONDS = 2.0
# What a health check with half a second between two needs, twice for HAProxy.
RETURN_SECONDS = 4.0
REPLACE_SECONDS, WORKERS = 4.0, 2
UNREACHABLE = (502, 503, 504)


async def expect_echo(client: Websockets, message: str) -> None:
    await client.send(message)
    assert await client.receive() == message


async def expect_soon(question: Callable[[], Awaitable[object]], seconds: float) -> None:
    """Ask until the answer is true."""
    deadline = time.monotonic() + seconds
    while not (answer := await question()):
        assert time.monotonic() < deadline, f"{answer!r} after {seconds} s"
        await asyncio.sleep(0.05)


async def expect_end(server: ServerProcess) -> None:
    """It ends by itself, with 0."""
    deadline = time.monotonic() + STOP_SECONDS
    while (code := server.poll()) is None and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    assert code == 0, code


async def expect_return(site: Site) -> None:
    """Pages are there again: a proxy with health checks may need one first."""

    async def is_back() -> bool:
        try:
            return await site.get_status() == 200
        except aiohttp.ClientConnectionError:
            # Apache resets connections while it starts.
            return False

    await expect_soon(is_back, RETURN_SECONDS)


# -------------------------------------------------------------------------- idle limits


async def idle_connection_stays_open_by_pings(site: Site) -> None:
    """For a server that pings every 0.4 s."""
    client = await site.connect("/echo")
    await asyncio.sleep(3 * IDLE_LIMIT)
    await expect_echo(client, "still here")
    await client.finish(1000)


async def idle_connection_ends_without_pings(site: Site) -> None:
    """The limit is there: what the other check shows is not for want of one."""
    await site.server.stop()
    await site.restart_server("--ws-ping-interval", "none")
    key = build_key()
    client = await site.connect(f"/echo?key={key}")
    end = await asyncio.wait_for(client.wait_closed(), 5 * IDLE_LIMIT)
    assert end.code == 1006, end
    assert (await site.ask_server(f"/seen?key={key}"))["code"] == 1006


# --------------------------------------------------------------------- kept connections


async def requests_at_the_moment_of_the_idle_close_are_answered(site: Site) -> None:
    """For a server that closes a kept connection after 2 s, and a proxy that has done so after 1 s.

    POST, which a proxy must not send again (RFC 9110 9.2.2).
    """
    answers: List[int] = []

    async def ask(session: aiohttp.ClientSession, offset: float) -> None:
        for _ in range(3):
            async with session.post("/digest", data=b"x") as answer:
                answers.append(answer.status)
            await asyncio.sleep(KEEP_ALIVE + offset)

    async with site.open_session() as session:
        await asyncio.gather(*(ask(session, number / 1000) for number in range(-8, 8)))
    assert answers == [200] * 48, answers


# -------------------------------------------------------------------------------- ends


async def open_connection_outlives_a_reload(site: Site) -> None:
    client = await site.connect("/echo")
    await expect_echo(client, "before")
    await site.reload()
    for _ in range(5):
        await asyncio.sleep(0.2)
        await expect_echo(client, "after")
        assert await site.get_status() == 200
    await client.finish(1000)


async def stop_of_the_server_closes_with_1012(site: Site) -> None:
    clients = [await site.connect("/echo") for _ in range(5)]
    for client in clients:
        await expect_echo(client, "before")
    site.server.send_signal(signal.SIGTERM)
    ends = await asyncio.wait_for(asyncio.gather(*(client.wait_closed() for client in clients)), 5)
    assert [end.code for end in ends] == [1012] * 5, ends
    await expect_end(site.server)
    assert await site.get_status() in UNREACHABLE
    await site.restart_server()
    await expect_return(site)


async def server_that_was_away_is_asked_again(site: Site) -> None:
    await site.server.stop()
    for _ in range(20):
        assert await site.get_status() in UNREACHABLE
    await site.restart_server()
    await expect_return(site)
    await (await site.connect("/echo")).finish(1000)


async def kill_of_the_server_ends_its_connections(site: Site) -> None:
    client = await site.connect("/echo")
    await expect_echo(client, "before")
    site.server.send_signal(signal.SIGKILL)
    end = await asyncio.wait_for(client.wait_closed(), NOTICE_SECONDS)
    assert end.code == 1006, end
    await site.server.stop()
    await site.restart_server()
    await expect_return(site)


async def kill_of_the_proxy_ends_its_connections(site: Site) -> None:
    key = build_key()
    client = await site.connect(f"/echo?key={key}")
    await expect_echo(client, "before")
    started = time.monotonic()
    os.killpg(site.proxy.pid, signal.SIGKILL)
    seen = await site.ask_server(f"/seen?key={key}")
    assert seen["code"] == 1006 and time.monotonic() - started < NOTICE_SECONDS, seen
    try:
        await client.receive()
    except Closed as closed:
        assert closed.code == 1006, closed
    await site.proxy.stop()
    site.proxy = site.build_proxy()
    await site.proxy.__aenter__()
    await expect_return(site)
    await (await site.connect("/echo")).finish(1000)


async def replaced_workers_fail_no_request(site: Site) -> None:
    """For a server with workers: SIGHUP while pages are asked for, and a WebSocket is open."""
    client = await site.connect("/echo")
    await expect_echo(client, "before")
    statuses: List[int] = []
    until = time.monotonic() + REPLACE_SECONDS

    async def ask() -> None:
        async with site.open_session() as session:
            while time.monotonic() < until:
                async with session.get("/scope") as answer:
                    body = await answer.read()
                    statuses.append(answer.status)
                    assert answer.status == 200, (answer.status, body)

    async def replace() -> None:
        await asyncio.sleep(REPLACE_SECONDS / 4)
        site.server.send_signal(signal.SIGHUP)
        end = await client.wait_closed()
        assert end.code == 1012, end

    await asyncio.gather(replace(), *(ask() for _ in range(8)))
    assert set(statuses) == {200}, {status: statuses.count(status) for status in set(statuses)}
    assert site.read_server_logs().count("has stopped") >= WORKERS, site.read_server_logs()[-500:]
    await (await site.connect("/echo")).finish(1000)


async def health_checks_find_the_server_well(site: Site) -> None:
    """For a proxy that asks twice a second, and gives a server up after three failures at the most."""
    for _ in range(25):
        await asyncio.sleep(0.1)
        assert await site.get_status() == 200


async def health_checks_by_default_find_the_server_well(site: Site) -> None:
    await health_checks_find_the_server_well(site)


IDLE_CHECKS: List[Check] = [idle_connection_stays_open_by_pings, idle_connection_ends_without_pings]
KEPT_CHECKS: List[Check] = [requests_at_the_moment_of_the_idle_close_are_answered]
WORKER_CHECKS: List[Check] = [replaced_workers_fail_no_request]
END_CHECKS: List[Check] = [
    health_checks_find_the_server_well,
    open_connection_outlives_a_reload,
    stop_of_the_server_closes_with_1012,
    server_that_was_away_is_asked_again,
    kill_of_the_server_ends_its_connections,
    kill_of_the_proxy_ends_its_connections,
]
