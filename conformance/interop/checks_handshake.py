"""The opening handshake: subprotocols, scope, headers, refusals and denials."""

from __future__ import annotations

import json
from typing import Any, List, Optional, Tuple

from conformance.interop.tap import Tap
from conformance.interop.trial import (
    Refused,
    Trial,
    check,
    expect,
    expect_true,
    list_checks,
)
from conformance.lib import wire
from conformance.lib.apps.interop_app import DENIAL, DENIAL_PAUSE


@check()
async def agrees_on_a_subprotocol(trial: Trial) -> str:
    offered = ["chat.v2", "chat.v1", "soap"]
    async with trial.connect("/choose?pick=chat.v1", subprotocols=offered) as connection:
        expect("subprotocol the client shows", connection.subprotocol, "chat.v1")
        expect("scope['subprotocols']", json.loads(await connection.receive()), offered)
    return "chat.v1 of chat.v2, chat.v1, soap"


@check("declined subprotocol")
async def agrees_on_no_subprotocol(trial: Trial) -> None:
    async with trial.connect("/choose", subprotocols=["chat.v2"]) as connection:
        expect("subprotocol the client shows", connection.subprotocol, None)
        expect("scope['subprotocols']", json.loads(await connection.receive()), ["chat.v2"])


@check()
async def leaves_the_subprotocol_out_unasked(trial: Trial) -> None:
    async with trial.connect("/choose") as connection:
        expect("subprotocol the client shows", connection.subprotocol, None)
        expect("scope['subprotocols']", json.loads(await connection.receive()), [])


@check()
async def builds_the_scope(trial: Trial) -> str:
    path = "/sc%C3%B6pe%20with%20space"
    async with trial.connect(f"{path}?x=1%202&y=%C3%B6", subprotocols=[]) as connection:
        scope = json.loads(await connection.receive())
        port = connection.wire.client_port
    plain = {
        "type": "websocket",
        "scheme": "ws",
        "http_version": "1.1",
        "path": "/scöpe with space",
        "raw_path": path,
        "query_string": "x=1%202&y=%C3%B6",
        "root_path": "",
        "client": ["127.0.0.1", port],
        "server": ["127.0.0.1", trial.port],
        "subprotocols": [],
    }
    for name, wanted in plain.items():
        expect(f"scope[{name!r}]", scope.get(name), wanted)
    expect("'method' in scope", "method" in scope, False)
    expect_true("scope['asgi']", scope["asgi"]["version"] == "3.0", scope["asgi"])
    extensions = scope.get("extensions", {})
    expect("scope['extensions'] has the denial", "websocket.http.response" in extensions, True)
    check_scope_headers(scope["headers"], connection.wire)
    return f"{len(scope['headers'])} headers; spec_version {scope['asgi'].get('spec_version')}"


def check_scope_headers(headers: List[List[str]], tap: Tap) -> None:
    """The scope's headers are the request's, lower-case, in their order."""
    request = tap.request
    sent = [[name, value] for name, value in request.headers] if request else []
    expect("scope['headers']", headers, sent)


@check("own headers")
async def keeps_headers_in_order(trial: Trial) -> None:
    own = [("X-Two", "1"), ("X-One", "a, b"), ("X-Two", "2")]
    async with trial.connect("/scope", headers=own) as connection:
        scope = json.loads(await connection.receive())
    got = [(name, value) for name, value in scope["headers"] if name.startswith("x-")]
    expect("own headers in the scope", got, [(name.lower(), value) for name, value in own])


@check()
async def sends_the_headers_of_accept(trial: Trial) -> None:
    async with trial.connect("/headers") as connection:
        response = connection.wire.response
        headers = response.headers if response else []
    got = [(name, value) for name, value in headers if name in ("set-cookie", "x-greeting")]
    expect("headers of the 101", got, [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-greeting", "hello")])


@check()
async def hands_over_the_lifespan_state(trial: Trial) -> None:
    scope = await trial.fetch_json("/scope")
    expect("scope['state']", scope.get("state"), {"greeting": "set at startup"})


# ---------------------------------------------------------------------------------- refusals


def check_refusal(refused: Refused, tap: Tap, status: int, body: Optional[str] = None) -> str:
    """Compare status and body as the client shows them and as they were on the wire; return the body."""
    response = tap.response
    if response is None:
        raise ValueError("no response on the wire")
    expect("status on the wire", response.status, status)
    expect("status the client shows", refused.status, status)
    wired = wire.parse_body(response, wire.parse_head(tap.server.data)[1])
    if body is not None:
        expect("body on the wire", wired.decode(), body)
    if refused.body is not None:
        expect("body the client shows", bytes(refused.body), wired)
    return wired.decode("utf-8", "replace").strip()


async def expect_refusal(trial: Trial, path: str, status: int, body: Optional[str] = None) -> str:
    refused, tap = await trial.connect_refused(path)
    return f"{status}, body {check_refusal(refused, tap, status, body)!r}"


@check()
async def denies_with_403(trial: Trial) -> str:
    return await expect_refusal(trial, "/deny", 403)


@check()
async def streams_a_denial_with_body(trial: Trial) -> str:
    refused, tap = await trial.connect_refused("/denial")
    expect("www-authenticate", find_header(refused, tap, "www-authenticate"), 'Basic realm="interop"')
    if tap.client_left_first and refused.body is None:
        expect("status the client shows", refused.status, 401)
        expect("status on the wire", tap.response.status if tap.response else None, 401)
        return "401; the client hangs up without reading the body"
    check_refusal(refused, tap, 401, "".join(DENIAL))
    times = [moment for moment, _ in tap.server.pieces]
    span = times[-1] - times[0]
    expect_true("seconds from the first byte of the denial to the last", span > DENIAL_PAUSE, span)
    framing = tap.response.find("transfer-encoding") if tap.response else None
    return f"401 in {len(times)} pieces over {span:.2f} s, {framing or 'until the end of the connection'}"


def find_header(refused: Refused, tap: Tap, name: str) -> Optional[str]:
    headers: List[Tuple[str, str]] = refused.headers or (tap.response.headers if tap.response else [])
    return next((value for key, value in headers if key.lower() == name), None)


@check()
async def answers_500_when_the_application_raises(trial: Trial) -> str:
    return await expect_refusal(trial, "/raise-early", 500)


@check()
async def answers_500_when_the_application_returns(trial: Trial) -> str:
    return await expect_refusal(trial, "/return-unanswered", 500)


CHECKS: List[Any] = list_checks(globals())
