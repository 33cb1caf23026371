"""A server process as its clients see it: an orderly stop, TLS, a unix socket, and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time

from conformance.interop import checks_closing, checks_messages
from conformance.interop.trial import (
    Check,
    Trial,
    check,
    expect,
    expect_closed,
    expect_echo,
    expect_true,
    make_key,
)


@check()
async def stops_with_1012(trial: Trial) -> str:
    """SIGTERM: every connection gets CLOSE 1012, the lifespan shuts down, the process ends."""
    async with contextlib.AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(trial.connect("/echo")) for _ in range(5)]
        for connection in connections:
            await expect_echo(connection, "before the stop")
        trial.server.send_signal(signal.SIGTERM)
        for connection in connections:
            expect_closed("after SIGTERM", await connection.wait_closed(), 1012)
    deadline = time.monotonic() + 5
    while trial.server.poll() is None and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    code = trial.server.poll()
    expect_true("exit code, to be 0 or that of SIGTERM", code in (0, -signal.SIGTERM), code)
    expect("lifespan shutdown ran", "lifespan shutdown" in trial.server.read_log(), True)
    return f"5 connections, exit code {code}"


@check()
async def tells_wss_in_the_scope(trial: Trial) -> None:
    scope = await trial.fetch_json("/scope")
    expect("scope['scheme']", scope["scheme"], "wss")


@check()
async def denies_over_tls(trial: Trial) -> None:
    refused, _ = await trial.connect_refused("/deny")
    expect("status the client shows", refused.status, 403)


@check()
async def echoes_1_MiB_over_tls(trial: Trial) -> None:
    async with trial.connect("/echo") as connection:
        for message in (checks_messages.build_text(2**20), checks_messages.build_noise(2**20), "", b""):
            await expect_echo(connection, message)


@check()
async def closes_from_both_sides_over_tls(trial: Trial) -> None:
    key = make_key()
    async with trial.connect(f"/echo?key={key}") as connection:
        expect_closed("what the client ends with", await connection.close(3456, checks_closing.REASON), 3456)
    await checks_closing.expect_seen(trial, key, 0, 3456, checks_closing.REASON)
    async with trial.connect("/close?code=4001&reason=bye") as connection:
        expect_closed("what the client ends with", await connection.wait_closed(), 4001, "bye")


@check()
async def builds_the_scope_of_a_unix_socket(trial: Trial) -> str:
    async with trial.connect("/scope") as connection:
        scope = json.loads(await connection.receive())
    expect("scope['path']", scope["path"], "/scope")
    expect_true("scope['server']", scope["server"] is None or scope["server"][0], scope["server"])
    return f"client {scope['client']}, server {scope['server']}"


TLS = [
    tells_wss_in_the_scope,
    denies_over_tls,
    checks_messages.echoes_text,
    echoes_1_MiB_over_tls,
    checks_messages.keeps_the_order_of_500_messages,
    closes_from_both_sides_over_tls,
    checks_closing.sees_the_connection_vanish,
]

UNIX = [
    builds_the_scope_of_a_unix_socket,
    checks_messages.echoes_text,
    checks_messages.echoes_1_MiB_of_binary,
    checks_messages.compresses_both_ways,
    checks_closing.sees_the_client_close_with_code_and_reason,
    checks_closing.closes_with_code_and_reason,
    checks_closing.sees_the_connection_vanish,
]

STOP: list[Check] = [stops_with_1012]
