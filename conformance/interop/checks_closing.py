"""Pings, closing handshakes from both sides, connections that end without one."""

from __future__ import annotations

import asyncio
from typing import Any, List, Optional, Tuple
from urllib.parse import quote

import pytest

from conformance.interop.chromium_client import Chromium, open_page
from conformance.interop.trial import Trial, expect_closed, expect_echo, expect_flood, make_key
from conformance.lib import wire

pytestmark = pytest.mark.servers("server", "streams")

SERVERS = ["server", "streams", "tls", "unix"]
REASON = "tschüß ✓"
CODES = [1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4000, 4999]


def list_payloads(frames: List[wire.Frame], opcode: int) -> List[bytes]:
    return [frame.payload for frame in frames if frame.opcode == opcode]


@pytest.mark.needs("pings")
async def test_answers_pings(trial: Trial) -> None:
    async with trial.connect("/echo", watch_pongs=True) as connection:
        for payload in (b"", b"ping", bytes(range(125))):
            await connection.ping(payload)
        assert list_payloads(connection.tap.server.frames, wire.PONG) == [b"", b"ping", bytes(range(125))]


# ------------------------------------------------------------------------- the client closes


@pytest.mark.servers(*SERVERS)
@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        pytest.param((3456, REASON), 3456, REASON, id="code and reason"),
        pytest.param((1000,), 1000, "", id="1000"),
        pytest.param((), 1005, "", id="no code", marks=pytest.mark.needs("empty close")),
    ],
)
async def test_sees_the_client_close(
    trial: Trial, arguments: Tuple[Any, ...], code: int, reason: str
) -> None:
    key = make_key()
    async with trial.connect(f"/echo?key={key}") as connection:
        await expect_echo(connection, "last words")
        expect_closed(await connection.finish(*arguments), code)
    assert await trial.fetch_seen(key) == {"messages": 1, "code": code, "reason": reason}
    if not connection.tap.is_opaque:
        payload = wire.build_close(code, reason.encode()) if arguments else b""
        assert list_payloads(connection.tap.client.frames, wire.CLOSE) == [payload]
        # "typically echos the status code it received" (RFC 6455 5.5.1).
        [answer] = list_payloads(connection.tap.server.frames, wire.CLOSE)
        assert answer[:2] == payload[:2]


@pytest.mark.needs("any close code")
async def test_sees_every_kind_of_close_code(trial: Trial) -> None:
    for code in CODES:
        key = make_key()
        async with trial.connect(f"/echo?key={key}") as connection:
            await connection.finish(code, f"code {code}")
        assert await trial.fetch_seen(key) == {"messages": 0, "code": code, "reason": f"code {code}"}


@pytest.mark.needs("tabs")
async def test_sees_a_tab_close(trial: Trial) -> None:
    key = make_key()
    tab = Chromium(await open_page(trial.client().page.context))
    await tab.open(f"ws://127.0.0.1:{trial.server.port}/echo?key={key}")
    await expect_echo(tab, "from a tab")
    await tab.page.close()
    assert (await trial.fetch_seen(key))["code"] in (1001, 1005, 1006)


# ------------------------------------------------------------------------- the server closes


async def expect_server_close(trial: Trial, path: str, code: int, reason: Optional[str]) -> None:
    async with trial.connect(path) as connection:
        expect_closed(await connection.wait_closed(), code, reason)
    if not connection.tap.is_opaque:
        [payload] = list_payloads(connection.tap.server.frames, wire.CLOSE)
        assert payload[:2] == wire.build_close(code)
        assert reason is None or payload[2:] == reason.encode()


@pytest.mark.servers(*SERVERS)
async def test_closes_with_code_and_reason(trial: Trial) -> None:
    key = make_key()
    await expect_server_close(trial, f"/close?key={key}&code=4001&reason={quote(REASON)}", 4001, REASON)
    assert (await trial.fetch_seen(key))["type"] == "websocket.disconnect"


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        pytest.param("/close", 1000, "", id="by default"),
        pytest.param(f"/close?code=3000&reason={'r' * 123}", 3000, "r" * 123, id="longest reason"),
        pytest.param("/return", 1000, "", id="the application returns"),
        pytest.param("/raise", 1011, None, id="the application raises"),
    ],
)
async def test_closes(trial: Trial, path: str, code: int, reason: Optional[str]) -> None:
    await expect_server_close(trial, path, code, reason)


async def test_closes_in_answer_to_a_message(trial: Trial) -> None:
    async with trial.connect("/close?after=1&code=1001&reason=bye") as connection:
        await connection.send("go")
        expect_closed(await connection.wait_closed(), 1001, "bye")


async def test_delivers_all_it_sent_before_its_close(trial: Trial) -> None:
    async with trial.connect("/flood?count=100&size=5000") as connection:
        await expect_flood(connection, 100, 5000)


# --------------------------------------------------------------------- no closing handshake


@pytest.mark.servers(*SERVERS)
@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
async def test_sees_the_connection_vanish(trial: Trial, reset: bool) -> None:
    key = make_key()
    async with trial.connect(f"/echo?key={key}") as connection:
        await expect_echo(connection, "last words")
        connection.tap.cut(reset=reset)
    assert await trial.fetch_seen(key) == {"messages": 1, "code": 1006, "reason": ""}


async def test_sees_the_code_of_a_client_that_is_gone_at_once(trial: Trial) -> None:
    """CLOSE and the end of the connection in one: nobody is there any more for the server's CLOSE."""
    for _ in range(5):  # the end overtakes the answer, or does not
        key = make_key()
        async with trial.connect(f"/echo?key={key}") as connection:
            await expect_echo(connection, "last words")
            connection.tap.cuts_after_next = True
            await connection.finish(3333, "gone")
        assert await trial.fetch_seen(key) == {"messages": 1, "code": 3333, "reason": "gone"}


@pytest.mark.parametrize("how", ["vanished", "closed"])
async def test_raises_in_a_sender_whose_peer_has(trial: Trial, how: str) -> None:
    key = make_key()
    async with trial.connect(f"/until-gone?key={key}") as connection:
        await connection.receive()
        if how == "vanished":
            connection.tap.cut(reset=True)
        else:
            await connection.finish(1000)
    assert await trial.fetch_seen(key) == {"code": 1006}


# ------------------------------------------------- servers with limits and intervals of their own


@pytest.mark.servers("keepalive")
async def test_is_pinged_and_stays_open(trial: Trial) -> None:
    """The server pings every 0.4 s; the client answers, and the connection outlives several deadlines."""
    async with trial.connect("/echo") as connection:
        received = asyncio.create_task(connection.receive())
        await asyncio.sleep(2.2)
        await connection.send("still here")
        assert await received == "still here"
        pongs = list_payloads(connection.tap.client.frames, wire.PONG)
        pings = list_payloads(connection.tap.server.frames, wire.PING)
        assert 2 <= len(pings) <= 6
        assert pongs in (pings, pings[:-1])


@pytest.mark.servers("keepalive")
async def test_is_closed_when_it_answers_no_ping(trial: Trial) -> None:
    """Nothing from the client arrives any more: CLOSE 1011 after interval 0.4 s and timeout 0.6 s."""
    key = make_key()
    async with trial.connect(f"/echo?key={key}") as connection:
        connection.tap.client.flows.clear()
        expect_closed(await asyncio.wait_for(connection.wait_closed(), 5.0), 1011)
        connection.tap.client.flows.set()
    assert (await trial.fetch_seen(key))["code"] in (1006, 1011)


@pytest.mark.servers("limits")
async def test_is_closed_for_too_big_a_message(trial: Trial) -> None:
    """The limit is 100,000 bytes: that many pass, one more is CLOSE 1009."""
    key = make_key()
    async with trial.connect(f"/echo?key={key}") as connection:
        await expect_echo(connection, "x" * 100_000)
        await connection.send("x" * 100_001)
        expect_closed(await connection.wait_closed(), 1009)
    assert (await trial.fetch_seen(key))["messages"] == 1
