"""Pings, closing handshakes from both sides, connections that end without one."""

from __future__ import annotations

import asyncio
from typing import List, Optional
from urllib.parse import quote

from conformance.interop.tap import Tap
from conformance.interop.trial import (
    Connection,
    Mismatch,
    Trial,
    check,
    expect,
    expect_closed,
    expect_echo,
    expect_true,
    list_checks,
    make_key,
)
from conformance.lib import wire

REASON = "tschüß ✓"


def find_close(frames: List[wire.Frame]) -> Optional[bytes]:
    """The payload of the one CLOSE among the frames; None when there is none."""
    closes = [frame.payload for frame in frames if frame.opcode == wire.CLOSE]
    if len(closes) > 1:
        raise Mismatch(f"one CLOSE expected, got {len(closes)}: {closes}")
    return closes[0] if closes else None


def build_close(code: int, reason: str = "") -> bytes:
    return code.to_bytes(2, "big") + reason.encode()


@check("pings")
async def answers_pings(trial: Trial) -> str:
    async with trial.connect("/echo", watch_pongs=True) as connection:
        for payload in (b"", b"ping", bytes(range(125))):
            await connection.ping(payload)
        frames = connection.wire.received_frames()
        pongs = [len(frame.payload) for frame in frames if frame.opcode == wire.PONG]
        expect("sizes of the PONGs", pongs, [0, 4, 125])
    return "payloads of 0, 4 and 125 bytes"


# ------------------------------------------------------------------------- the client closes


async def expect_seen(trial: Trial, key: str, messages: int, code: int, reason: str = "") -> None:
    """The application of the connection with this key has received so many messages, and then disconnect."""
    wanted = {"messages": messages, "code": code, "reason": reason}
    expect("what the application saw", await trial.fetch_seen(key), wanted)


@check()
async def sees_the_client_close_with_code_and_reason(trial: Trial) -> str:
    key = make_key()
    async with trial.connect(f"/echo?key={key}") as connection:
        await expect_echo(connection, "last words")
        closed = await connection.close(3456, REASON)
        expect_closed("what the client ends with", closed, 3456)
    await expect_seen(trial, key, 1, 3456, REASON)
    reply = find_close(connection.wire.received_frames())
    expect_true("CLOSE of the server, to echo 3456", (reply or b"")[:2] == build_close(3456), reply)
    return f"3456 {REASON!r}"


@check()
async def sees_the_client_close_with_1000(trial: Trial) -> None:
    key = make_key()
    async with trial.connect(f"/echo?key={key}") as connection:
        expect_closed("what the client ends with", await connection.close(1000), 1000)
    await expect_seen(trial, key, 0, 1000)


@check("empty close")
async def sees_the_client_close_without_code(trial: Trial) -> str:
    key = make_key()
    async with trial.connect(f"/echo?key={key}") as connection:
        expect_closed("what the client ends with", await connection.close(), 1005)
    expect("CLOSE sent", find_close(connection.wire.sent_frames()), b"")
    await expect_seen(trial, key, 0, 1005)
    return "1005"


@check("any close code")
async def sees_every_kind_of_close_code(trial: Trial) -> str:
    codes = [1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4000, 4999]
    for code in codes:
        key = make_key()
        async with trial.connect(f"/echo?key={key}") as connection:
            await connection.close(code, f"code {code}")
        await expect_seen(trial, key, 0, code, f"code {code}")
    return ", ".join(map(str, codes))


@check("tabs")
async def sees_a_tab_close(trial: Trial) -> str:
    key = make_key()
    page = await trial.client.open_page()  # type: ignore[attr-defined]
    url = f"ws://127.0.0.1:{trial.port}/echo?key={key}"
    connection = await trial.client.open_in(page, url)  # type: ignore[attr-defined]
    await expect_echo(connection, "from a tab")
    await page.close()
    seen = await trial.fetch_seen(key)
    expect_true("close code the application saw", seen["code"] in (1001, 1005, 1006), seen)
    return f"the application saw {seen['code']}"


# ------------------------------------------------------------------------- the server closes


async def expect_server_close(trial: Trial, path: str, code: int, reason: str) -> Tap:
    async with trial.connect(path) as connection:
        closed = await connection.wait_closed()
    expect_closed(f"what the client ends with on {path}", closed, code, reason)
    expect("CLOSE of the server", find_close(connection.wire.received_frames()), build_close(code, reason))
    return connection.wire


@check()
async def closes_with_code_and_reason(trial: Trial) -> str:
    key = make_key()
    await expect_server_close(trial, f"/close?key={key}&code=4001&reason={quote(REASON)}", 4001, REASON)
    seen = await trial.fetch_seen(key)
    expect("event the application received after closing", seen["type"], "websocket.disconnect")
    return f"4001 {REASON!r}; the application then received disconnect {seen['code']}"


@check()
async def closes_with_1000_by_default(trial: Trial) -> None:
    await expect_server_close(trial, "/close", 1000, "")


@check()
async def closes_with_the_longest_reason(trial: Trial) -> None:
    await expect_server_close(trial, f"/close?code=3000&reason={'r' * 123}", 3000, "r" * 123)


@check()
async def closes_in_answer_to_a_message(trial: Trial) -> None:
    async with trial.connect("/close?after=1&code=1001&reason=bye") as connection:
        await connection.send("go")
        expect_closed("what the client ends with", await connection.wait_closed(), 1001, "bye")


@check()
async def closes_with_1000_when_the_application_returns(trial: Trial) -> None:
    await expect_server_close(trial, "/return", 1000, "")


@check()
async def closes_with_1011_when_the_application_raises(trial: Trial) -> str:
    async with trial.connect("/raise") as connection:
        closed = await connection.wait_closed()
    expect_closed("what the client ends with", closed, 1011)
    return f"reason {closed.reason!r}"


@check()
async def delivers_all_it_sent_before_its_close(trial: Trial) -> str:
    async with trial.connect("/flood?count=100&size=5000") as connection:
        for number, data in enumerate(await connection.receive_all(100)):
            expect(f"message {number}", data, number.to_bytes(4, "big").ljust(5000, b"\xa5"))
        expect_closed("after 100 messages", await connection.wait_closed(), 1000, "100 sent")
    return "100 messages, then 1000"


# --------------------------------------------------------------------- no closing handshake


async def expect_lost(trial: Trial, *, reset: bool) -> str:
    key = make_key()
    async with trial.connect(f"/echo?key={key}") as connection:
        await expect_echo(connection, "last words")
        connection.wire.cut(reset=reset)
    seen = await trial.fetch_seen(key)
    expect("messages and code the application saw", (seen["messages"], seen["code"]), (1, 1006))
    return "1006"


@check()
async def sees_the_connection_vanish(trial: Trial) -> str:
    return await expect_lost(trial, reset=False)


@check()
async def sees_the_connection_reset(trial: Trial) -> str:
    return await expect_lost(trial, reset=True)


@check()
async def sees_the_code_of_a_client_that_is_gone_at_once(trial: Trial) -> str:
    """CLOSE and the end of the connection in one: nobody is there any more for the server's CLOSE."""
    for _ in range(5):  # the end overtakes the answer, or does not
        key = make_key()
        async with trial.connect(f"/echo?key={key}") as connection:
            await expect_echo(connection, "last words")
            connection.wire.cuts_after_next = True
            await connection.close(3333, "gone")
        await expect_seen(trial, key, 1, 3333, "gone")
    return "3333, five times"


async def expect_raised(trial: Trial, key: str) -> str:
    seen = await trial.fetch_seen(key)
    expect("send raised an OSError", seen["is_oserror"], True)
    return str(seen["raised"])


@check()
async def raises_in_a_sender_whose_peer_vanished(trial: Trial) -> str:
    key = make_key()
    async with trial.connect(f"/until-gone?key={key}") as connection:
        await connection.receive()
        connection.wire.cut(reset=True)
    return await expect_raised(trial, key)


@check()
async def raises_in_a_sender_whose_peer_closed(trial: Trial) -> str:
    key = make_key()
    async with trial.connect(f"/until-gone?key={key}") as connection:
        await connection.receive()
        await connection.close(1000)
    return await expect_raised(trial, key)


# ------------------------------------------------- servers with limits and intervals of their own


@check()
async def is_pinged_and_stays_open(trial: Trial) -> str:
    """The server pings every 0.4 s; the client answers, and the connection outlives several deadlines."""
    async with trial.connect("/echo") as connection:
        later = asyncio.get_running_loop().create_task(send_later(connection, 2.2))
        expect("echo after 2.2 s", await connection.receive(), "still here")
        await later
        pongs = [frame.payload for frame in connection.wire.sent_frames() if frame.opcode == wire.PONG]
        pings = [frame.payload for frame in connection.wire.received_frames() if frame.opcode == wire.PING]
        expect_true("PINGs in 2.2 s at an interval of 0.4 s", 2 <= len(pings) <= 6, len(pings))
        expect_true("PONGs for all PINGs but the last", len(pongs) >= len(pings) - 1, (pings, pongs))
        expect("payloads of the PONGs", pongs, pings[: len(pongs)])
    return f"{len(pongs)} of {len(pings)} PINGs answered so far"


async def send_later(connection: Connection, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await connection.send("still here")


@check()
async def is_closed_when_it_answers_no_ping(trial: Trial) -> str:
    """Nothing from the client arrives any more: CLOSE 1011 after interval 0.4 s and timeout 0.6 s."""
    key = make_key()
    async with trial.connect(f"/echo?key={key}") as connection:
        connection.wire.client.flows.clear()
        closed = await asyncio.wait_for(connection.wait_closed(), 5.0)
        expect_closed("what the client ends with", closed, 1011)
        connection.wire.client.flows.set()
    seen = await trial.fetch_seen(key)
    expect_true("close code the application saw", seen["code"] in (1006, 1011), seen)
    return f"1011 {closed.reason!r}; the application saw {seen['code']}"


@check()
async def is_closed_for_too_big_a_message(trial: Trial) -> str:
    """The limit is 100,000 bytes: that many pass, one more is CLOSE 1009."""
    key = make_key()
    async with trial.connect(f"/echo?key={key}") as connection:
        await connection.send("x" * 100_000)
        expect("echo of 100,000 bytes", await connection.receive(), "x" * 100_000)
        await connection.send("x" * 100_001)
        closed = await connection.wait_closed()
    expect_closed("after 100,001 bytes", closed, 1009)
    seen = await trial.fetch_seen(key)
    expect("messages the application saw", seen["messages"], 1)
    return f"1009 {closed.reason!r}; the application saw {seen['code']}"


SPECIAL = {
    "keepalive": [is_pinged_and_stays_open, is_closed_when_it_answers_no_ping],
    "limits": [is_closed_for_too_big_a_message],
}
CHECKS = [one for one in list_checks(globals()) if not any(one in special for special in SPECIAL.values())]
