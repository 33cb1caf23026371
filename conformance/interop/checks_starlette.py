"""A Starlette application: what its WebSocket class, routes and exceptions make of the events."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any, List, Optional

import pytest

from conformance.interop.checks_closing import REASON
from conformance.interop.trial import Trial, expect_closed, expect_echo, expect_refusal, make_key

pytestmark = pytest.mark.servers("starlette")


async def fetch(trial: Trial, path: str) -> str:
    """GET a page of the server."""

    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{trial.server.port}{path}", timeout=10) as response:
            return str(response.read().decode())

    return await asyncio.to_thread(read)


async def fetch_disconnect(trial: Trial, key: str) -> Any:
    """What a route noted when its connection ended, as soon as it has."""
    return json.loads(await fetch(trial, f"/disconnects/{key}"))


async def test_serves_a_page(trial: Trial) -> None:
    assert await fetch(trial, "/") == "<!doctype html><title>starlette</title>ok"


@pytest.mark.parametrize(
    ("path", "messages"),
    [
        pytest.param("/text", ["one", "", "🙂 three", "x" * 100_000], id="iter_text"),
        pytest.param("/bytes", [b"one", b"", bytes(range(256)), b"\xff" * 2**20], id="iter_bytes"),
    ],
)
async def test_echoes_with(trial: Trial, path: str, messages: List[Any]) -> None:
    async with trial.connect(path) as connection:
        await expect_echo(connection, *messages)


async def test_echoes_with_iter_json(trial: Trial) -> None:
    async with trial.connect("/json") as connection:
        values: List[Any] = [{"a": [1, None, "ü"]}, [], 0]
        for value in values:
            await connection.send(json.dumps(value))
            assert json.loads(await connection.receive()) == {"got": value}


async def test_fills_path_query_client_and_state(trial: Trial) -> None:
    async with trial.connect("/rooms/blue%20room?x=1&x=%C3%B6", subprotocols=["a", "b"]) as connection:
        assert connection.subprotocol == "b"
        assert json.loads(await connection.receive()) == {
            "room": "blue room",
            "query": [["x", "1"], ["x", "ö"]],
            "scheme": "ws",
            "path": "/rooms/blue room",
            "client": "127.0.0.1",
            "has host": True,
            "greeting": "set at startup",
        }
        expect_closed(await connection.wait_closed(), 1000)
        assert connection.tap.server.head.find("x-room") == "kitchen"


async def test_raises_disconnect_with_code_and_reason(trial: Trial) -> None:
    key = make_key()
    async with trial.connect(f"/catch/{key}") as connection:
        await connection.send("one")
        await connection.send("two")
        await connection.close(4321, REASON)
    wanted = {"received": ["one", "two"], "code": 4321, "reason": REASON}
    assert await fetch_disconnect(trial, key) == wanted


async def test_raises_disconnect_1006_when_the_client_vanishes(trial: Trial) -> None:
    key = make_key()
    async with trial.connect(f"/catch/{key}") as connection:
        await connection.send("one")
        await asyncio.sleep(0.1)
        connection.tap.cut()
    assert await fetch_disconnect(trial, key) == {"received": ["one"], "code": 1006, "reason": ""}


async def test_raises_disconnect_in_a_route_that_only_sends(trial: Trial) -> None:
    key = make_key()
    async with trial.connect(f"/until-gone/{key}") as connection:
        await connection.receive()
        connection.tap.cut(reset=True)
    assert await fetch_disconnect(trial, key) == {"code": 1006}


async def test_serves_a_websocket_endpoint(trial: Trial) -> None:
    key = make_key()
    async with trial.connect(f"/shout/{key}") as connection:
        await connection.send("quiet")
        assert await connection.receive() == "QUIET"
        await connection.close(3001)
    assert await fetch_disconnect(trial, key) == {"code": 3001}


async def test_closes_an_endpoint_that_expects_text_with_1003(trial: Trial) -> None:
    async with trial.connect(f"/shout/{make_key()}") as connection:
        await connection.send(b"bytes")
        expect_closed(await connection.wait_closed(), 1003)


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        pytest.param("/close", 4001, "das wär es", id="the code of the route"),
        pytest.param("/exception", 1008, "not this way", id="WebSocketException"),
        pytest.param("/error", 1011, None, id="an error"),
    ],
)
async def test_closes_with(trial: Trial, path: str, code: int, reason: Optional[str]) -> None:
    async with trial.connect(path) as connection:
        expect_closed(await connection.wait_closed(), code, reason)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        pytest.param("/unaccepted", 403, None, id="a close before the accept"),
        pytest.param("/nowhere", 403, None, id="a path without route"),
        pytest.param("/denial", 401, "denied: première porte à gauche", id="Response"),
        pytest.param("/denial-stream", 429, "part 0\npart 1\npart 2\n", id="StreamingResponse"),
        pytest.param("/http-exception", 404, "no such room", id="HTTPException"),
    ],
)
async def test_refuses_with(trial: Trial, path: str, status: int, body: Optional[str]) -> None:
    refused, tap = await trial.connect_refused(path)
    expect_refusal(refused, tap, status, body)
    assert tap.server.head.find("x-why") == ("interop" if path == "/denial" else None)
