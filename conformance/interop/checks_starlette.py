"""A Starlette application: what its WebSocket class, routes and exceptions make of the events."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from typing import Any, List

from conformance.interop.checks_closing import REASON
from conformance.interop.checks_handshake import check_refusal, expect_refusal, find_header
from conformance.interop.trial import (
    Mismatch,
    Trial,
    check,
    expect,
    expect_closed,
    expect_echo,
    list_checks,
    make_key,
)


async def fetch(trial: Trial, path: str) -> str:
    """GET a page of the server."""

    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{trial.port}{path}", timeout=5) as response:
            return str(response.read().decode())

    return await asyncio.get_running_loop().run_in_executor(None, read)


async def fetch_disconnect(trial: Trial, key: str) -> Any:
    """What a route noted when its connection ended, as soon as it has."""
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        seen = json.loads(await fetch(trial, f"/disconnects/{key}"))
        if seen is not None:
            return seen
        await asyncio.sleep(0.05)
    raise Mismatch("the route did not end within 8 s of its connection")


@check()
async def serves_a_page(trial: Trial) -> None:
    expect("GET /", await fetch(trial, "/"), "<!doctype html><title>starlette</title>ok")


@check()
async def echoes_with_iter_text(trial: Trial) -> None:
    async with trial.connect("/text") as connection:
        for text in ("one", "", "🙂 three", "x" * 100_000):
            await expect_echo(connection, text)


@check()
async def echoes_with_iter_bytes(trial: Trial) -> None:
    async with trial.connect("/bytes") as connection:
        for data in (b"one", b"", bytes(range(256)), b"\xff" * 1024 * 1024):
            await expect_echo(connection, data)


@check()
async def echoes_with_iter_json(trial: Trial) -> None:
    async with trial.connect("/json") as connection:
        values: List[Any] = [{"a": [1, None, "ü"]}, [], 0]
        for value in values:
            await connection.send(json.dumps(value))
            expect("answer", json.loads(await connection.receive()), {"got": value})


@check()
async def fills_path_query_client_and_state(trial: Trial) -> str:
    async with trial.connect("/rooms/blue%20room?x=1&x=%C3%B6", subprotocols=["a", "b"]) as connection:
        expect("subprotocol", connection.subprotocol, "b")
        got = json.loads(await connection.receive())
        expect_closed("end", await connection.wait_closed(), 1000)
        response = connection.wire.response
        expect("x-room of the 101", response.find("x-room") if response else None, "kitchen")
    wanted = {
        "room": "blue room",
        "query": [["x", "1"], ["x", "ö"]],
        "scheme": "ws",
        "path": "/rooms/blue room",
        "client": "127.0.0.1",
        "has host": True,
        "greeting": "set at startup",
    }
    for name, value in wanted.items():
        expect(name, got[name], value)
    return "path parameter, query, state of the lifespan"


@check()
async def raises_disconnect_with_code_and_reason(trial: Trial) -> str:
    key = make_key()
    async with trial.connect(f"/catch/{key}") as connection:
        await connection.send("one")
        await connection.send("two")
        await connection.close(4321, REASON)
    seen = await fetch_disconnect(trial, key)
    expect(
        "the route's WebSocketDisconnect", seen, {"received": ["one", "two"], "code": 4321, "reason": REASON}
    )
    return f"4321 {REASON!r}"


@check()
async def raises_disconnect_1006_when_the_client_vanishes(trial: Trial) -> None:
    key = make_key()
    async with trial.connect(f"/catch/{key}") as connection:
        await connection.send("one")
        await asyncio.sleep(0.1)
        connection.wire.cut()
    seen = await fetch_disconnect(trial, key)
    expect("the route's WebSocketDisconnect", seen, {"received": ["one"], "code": 1006, "reason": ""})


@check()
async def raises_disconnect_in_a_route_that_only_sends(trial: Trial) -> None:
    key = make_key()
    async with trial.connect(f"/until-gone/{key}") as connection:
        await connection.receive()
        connection.wire.cut(reset=True)
    expect("the route's WebSocketDisconnect", await fetch_disconnect(trial, key), {"code": 1006})


@check()
async def serves_a_websocket_endpoint(trial: Trial) -> None:
    key = make_key()
    async with trial.connect(f"/shout/{key}") as connection:
        await connection.send("quiet")
        expect("answer", await connection.receive(), "QUIET")
        await connection.close(3001)
    expect("on_disconnect", await fetch_disconnect(trial, key), {"code": 3001})


@check()
async def closes_an_endpoint_that_expects_text_with_1003(trial: Trial) -> None:
    async with trial.connect(f"/shout/{make_key()}") as connection:
        await connection.send(b"bytes")
        expect_closed("after bytes where text is expected", await connection.wait_closed(), 1003)


@check()
async def closes_with_the_code_of_the_route(trial: Trial) -> None:
    async with trial.connect("/close") as connection:
        expect_closed("end", await connection.wait_closed(), 4001, "das wär es")


@check()
async def closes_with_a_websocket_exception(trial: Trial) -> None:
    async with trial.connect("/exception") as connection:
        expect_closed("end", await connection.wait_closed(), 1008, "not this way")


@check()
async def closes_with_1011_when_a_route_raises(trial: Trial) -> None:
    async with trial.connect("/error") as connection:
        expect_closed("end", await connection.wait_closed(), 1011)


@check()
async def refuses_what_a_route_closes_unaccepted(trial: Trial) -> None:
    await expect_refusal(trial, "/unaccepted", 403)


@check()
async def refuses_a_path_without_route(trial: Trial) -> None:
    await expect_refusal(trial, "/nowhere", 403)


@check()
async def denies_with_a_response(trial: Trial) -> str:
    refused, tap = await trial.connect_refused("/denial")
    body = check_refusal(refused, tap, 401, "denied: première porte à gauche")
    expect("x-why", find_header(refused, tap, "x-why"), "interop")
    return f"401 {body!r}"


@check()
async def denies_with_a_streaming_response(trial: Trial) -> str:
    await expect_refusal(trial, "/denial-stream", 429, "part 0\npart 1\npart 2\n")
    return "429 in three parts"


@check()
async def denies_with_an_http_exception(trial: Trial) -> None:
    await expect_refusal(trial, "/http-exception", 404, "no such room")


CHECKS = list_checks(globals())
