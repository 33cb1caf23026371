"""The opening handshake: subprotocols, scope, headers, refusals and denials."""

from __future__ import annotations

import json
from typing import List, Optional

import pytest

from conformance.interop.trial import Trial, expect_refusal
from conformance.lib.apps.interop_app import AUTHENTICATE, DENIAL, DENIAL_PAUSE

pytestmark = pytest.mark.servers("server", "streams")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        pytest.param(["chat.v2", "chat.v1", "soap"], "chat.v1", id="one of three"),
        pytest.param(["chat.v2"], None, id="none", marks=pytest.mark.needs("declined subprotocol")),
        pytest.param([], None, id="unasked"),
    ],
)
async def test_agrees_on_a_subprotocol(trial: Trial, offered: List[str], chosen: Optional[str]) -> None:
    path = f"/scope?pick={chosen}" if chosen else "/scope"
    async with trial.connect(path, subprotocols=offered) as connection:
        assert connection.subprotocol == chosen
        assert json.loads(await connection.receive())["subprotocols"] == offered


async def test_builds_the_scope(trial: Trial) -> None:
    path = "/sc%C3%B6pe%20with%20space"
    async with trial.connect(f"{path}?x=1%202&y=%C3%B6") as connection:
        scope = json.loads(await connection.receive())
    wanted = {
        "type": "websocket",
        "scheme": "ws",
        "http_version": "1.1",
        "path": "/scöpe with space",
        "raw_path": path,
        "query_string": "x=1%202&y=%C3%B6",
        "root_path": "",
        "client": ["127.0.0.1", connection.tap.client_port],
        "server": ["127.0.0.1", trial.server.port],
        "subprotocols": [],
        "headers": [list(header) for header in connection.tap.client.head.headers],
    }
    assert {name: scope.get(name) for name in wanted} == wanted
    assert "method" not in scope
    assert scope["asgi"]["version"] == "3.0"
    assert "websocket.http.response" in scope["extensions"]


@pytest.mark.needs("own headers")
async def test_keeps_headers_in_order(trial: Trial) -> None:
    own = [("X-Two", "1"), ("X-One", "a, b"), ("X-Two", "2")]
    async with trial.connect("/scope", headers=own) as connection:
        scope = json.loads(await connection.receive())
    got = [(name, value) for name, value in scope["headers"] if name.startswith("x-")]
    assert got == [(name.lower(), value) for name, value in own]


async def test_sends_the_headers_of_accept(trial: Trial) -> None:
    async with trial.connect("/headers") as connection:
        headers = connection.tap.server.head.headers
    got = [(name, value) for name, value in headers if name in ("set-cookie", "x-greeting")]
    assert got == [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-greeting", "hello")]


@pytest.mark.servers("server")
async def test_hands_over_the_lifespan_state(trial: Trial) -> None:
    assert (await trial.fetch_json("/scope"))["state"] == {"greeting": "set at startup"}


# ---------------------------------------------------------------------------------- refusals


@pytest.mark.servers("server", "streams", "tls")
@pytest.mark.parametrize(
    ("path", "status"), [("/deny", 403), ("/raise-early", 500), ("/return-unanswered", 500)]
)
async def test_refuses(trial: Trial, path: str, status: int) -> None:
    expect_refusal(*await trial.connect_refused(path), status)


async def test_streams_a_denial_with_body(trial: Trial) -> None:
    refused, tap = await trial.connect_refused("/denial")
    assert tap.server.head.find("www-authenticate") == AUTHENTICATE
    if tap.client_left_first and refused.body is None:
        print("the client hangs up without reading the body")
        assert refused.status == tap.server.head.status == 401
        return
    expect_refusal(refused, tap, 401, "".join(DENIAL))
    # The parts leave when they are sent, and are not gathered until the last.
    assert tap.server.pieces[-1][0] - tap.server.pieces[0][0] > DENIAL_PAUSE
