"""The budget of received bytes: the peak of a server's process under clients that begin messages and stop."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any, Callable, List, Tuple

import pytest

from ..lib.servers import ServerProcess, build_command
from ..lib.wire import KEY
from . import adversaries as built

MIB = 1024 * built.KIB
CLIENTS, GIVEN_UP, LIMIT = 40, 10, 64 * MIB
# Beyond the budget: up to 64 KiB and a read of each client, and the copies of the message that is completed.
BEYOND = 48 * MIB
# Seconds for the echo of an empty message, on a machine that does other things.
PATIENCE = 10.0
OFFER = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n" + OFFER + b"\r\n"
)
# An empty message, and its echo: no offer of compression is sent for it.
EMPTY, ECHO = b"\x82\x80" + built.MASK, b"\x82\x00"

CASES = {
    "compressed, and never finished": built.masked(0x42, built.deflate(bytes(15 * MIB))),
    "plain, and never finished": built.masked(0x02, bytes(15 * MIB)),
    "plain, and cut within the frame": built.masked(0x82, bytes(15 * MIB))[: -built.KIB],
}


@pytest.mark.parametrize("sent", [pytest.param(sent, id=name) for name, sent in CASES.items()])
def test_budget(sent: bytes, tmp_path: Path, record_property: Callable[[str, Any], None]) -> None:
    """The process stays within its budget, gives up who stops, and answers somebody else all the time."""
    grown, codes = asyncio.run(attack(sent, tmp_path))
    record_property("limit", LIMIT)
    record_property("peak", grown)
    assert grown <= LIMIT + BEYOND
    # CLOSE 1013.
    assert {(frame[0], frame[2:]) for frame in codes} == {(0x88, b"\x03\xf5")}


async def attack(sent: bytes, folder: Path) -> Tuple[int, List[bytes]]:
    """By how much the server has grown until so many clients were given up, and what these got."""
    command = build_command("wsbridge", sys.executable, "conformance.lib.apps.echo:app")
    command += ["--max-inbound-memory", str(LIMIT)]
    async with ServerProcess("wsbridge", command, folder / "server.log") as server:
        reader, writer = await connect(server.port, REQUEST.replace(OFFER, b""))
        start = read_peak(server.pid)
        clients = [asyncio.ensure_future(send_and_wait(server.port, sent)) for _ in range(CLIENTS)]
        ended: List[bytes] = []
        while len(ended) < GIVEN_UP:
            await asyncio.wait(clients, timeout=0.1)
            ended = [client.result() for client in clients if client.done()]
            writer.write(EMPTY)
            assert await asyncio.wait_for(reader.readexactly(2), PATIENCE) == ECHO
        peak = read_peak(server.pid)
        for client in clients:
            client.cancel()
        await asyncio.wait(clients)
        writer.close()
    return peak - start, ended


async def connect(port: int, request: bytes) -> Tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def send_and_wait(port: int, sent: bytes) -> bytes:
    """Send it, wait for the end, and return the beginning of the CLOSE."""
    reader, writer = await connect(port, REQUEST)
    try:
        writer.write(sent)
        return await reader.readexactly(4)
    finally:
        writer.transport.abort()


def read_peak(pid: int) -> int:
    """The most memory that the process has had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * built.KIB
