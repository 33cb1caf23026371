"""A Starlette application: what its WebSocket class, routes and exceptions make of the events.

What it shares with the plain application is checked with that: where a mark names the server "starlette".
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any, List, Optional

import pytest

from conformance.interop.trial import Trial, expect_closed, expect_echo, expect_refusal, make_key

pytestmark = pytest.mark.servers("starlette")


async def test_serves_a_page(trial: Trial) -> None:
    def fetch() -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{trial.server.port}/", timeout=5) as response:
            return bytes(response.read())

    assert await asyncio.to_thread(fetch) == b"<!doctype html><title>starlette</title>ok"


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


async def test_serves_a_websocket_endpoint(trial: Trial) -> None:
    key = make_key()
    async with trial.connect(f"/shout?key={key}") as connection:
        await connection.send("quiet")
        assert await connection.receive() == "QUIET"
        await connection.close(3001)
    assert await trial.fetch_seen(key) == {"code": 3001}


async def test_closes_an_endpoint_that_expects_text_with_1003(trial: Trial) -> None:
    async with trial.connect("/shout") as connection:
        await connection.send(b"bytes")
        expect_closed(await connection.wait_closed(), 1003)


async def test_closes_with_a_websocket_exception(trial: Trial) -> None:
    async with trial.connect("/exception") as connection:
        expect_closed(await connection.wait_closed(), 1008, "not this way")


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        pytest.param("/nowhere", 403, None, id="a path without route"),
        pytest.param("/denial-text", 401, "denied: première porte à gauche", id="Response"),
        pytest.param("/http-exception", 404, "no such room", id="HTTPException"),
    ],
)
async def test_refuses_with(trial: Trial, path: str, status: int, body: Optional[str]) -> None:
    refused, tap = await trial.connect_refused(path)
    expect_refusal(refused, tap, status, body)
    assert tap.server.head.find("x-why") == ("interop" if path == "/denial-text" else None)
