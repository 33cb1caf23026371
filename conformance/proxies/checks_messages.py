"""WebSockets through a proxy: messages, compression, closing codes and refusals."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Awaitable, Callable, List
from urllib.parse import quote

from conformance.lib.clients import Refused
from conformance.lib.http2_client import TLS, Http2

from .site import Site, build_key

Check = Callable[[Site], Awaitable[None]]

MEBIBYTE = 1024 * 1024


async def messages_come_back_as_they_were(site: Site) -> None:
    client = await site.connect("/echo")
    noise = os.urandom(MEBIBYTE)
    for message in ("hello", "", b"", b"\0", "\u2713 \U0001f600" * 1000, b"x" * 65536, noise, "a" * MEBIBYTE):
        await client.send(message)
        assert await client.receive() == message
    assert (await client.finish(1000)).code == 1000


async def many_messages_keep_their_order(site: Site) -> None:
    client = await site.connect("/echo")
    messages = [f"{number}" * (number % 50) for number in range(2000)]
    received, _ = await asyncio.gather(client.receive_all(len(messages)), client.send_all(messages))
    assert received == messages
    await client.finish(1000)


async def compression_is_agreed_on_and_used(site: Site) -> None:
    client = await site.connect("/echo")
    assert "permessage-deflate" in (client.extensions or ""), client.extensions
    message = "a line that says the same\n" * 10_000
    await client.send(message)
    assert await client.receive() == message
    await client.finish(1000)


async def subprotocol_is_agreed_on(site: Site) -> None:
    client = await site.connect("/scope?pick=b", ["a", "b"])
    scope = json.loads(str(await client.receive()))
    assert client.subprotocol == "b" and scope["subprotocols"] == ["a", "b"], scope
    await client.wait_closed()


async def client_closes_with_code_and_reason(site: Site) -> None:
    for code, reason in ((4000, "bye"), (1000, ""), (1001, "d\u00e9j\u00e0 vu")):
        key = build_key()
        client = await site.connect(f"/echo?key={key}")
        end = await client.finish(code, reason)
        assert end.code == code, end
        seen = await site.ask_server(f"/seen?key={key}")
        assert (seen["code"], seen["reason"]) == (code, reason), seen


async def application_closes_with_code_and_reason(site: Site) -> None:
    for code, reason in ((4001, "enough"), (1000, ""), (1011, "oh no")):
        end = await (await site.connect(f"/close?code={code}&reason={quote(reason)}")).wait_closed()
        assert (end.code, end.reason) == (code, reason), end


async def client_that_vanishes_is_seen(site: Site) -> None:
    key = build_key()
    client = await site.connect(f"/echo?key={key}")
    await client.abandon()
    assert (await site.ask_server(f"/seen?key={key}"))["code"] == 1006


async def refusal_has_its_status(site: Site) -> None:
    try:
        await site.connect("/deny")
    except Refused as refused:
        assert refused.status == 403, refused
    else:
        raise AssertionError("accepted")


async def refusal_has_status_headers_and_body(site: Site) -> None:
    """What browsers do not show, and other clients do: read as the answer to a request that it is."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with site.open_session() as session, session.get("/denial", headers=upgrade) as answer:
        body = await answer.text()
        assert answer.status == 401, answer.status
        assert answer.headers["www-authenticate"] == 'Basic realm="interop"', answer.headers
        assert body == "not for you: première porte à gauche\n", body


async def websockets_over_http_2(site: Site) -> None:
    """RFC 8441."""
    TLS[site.port] = site.tls
    async with Http2(site.port) as client:
        socket = await client.connect("/echo", compresses=True)
        for message in ("hello", b"\0" * MEBIBYTE, "\u2713" * 1000):
            await socket.send(message)
            assert await socket.receive() == message
        assert (await socket.finish(4000, "bye"))[0] == 4000
        socket = await client.connect("/close?code=4001&reason=enough")
        assert await socket.wait_closed() == (4001, "enough")
        refused = client.open_websocket("/deny")
        assert (await refused.get_headers())[":status"] == "403"


CHECKS: List[Check] = [
    messages_come_back_as_they_were,
    many_messages_keep_their_order,
    compression_is_agreed_on_and_used,
    subprotocol_is_agreed_on,
    client_closes_with_code_and_reason,
    application_closes_with_code_and_reason,
    client_that_vanishes_is_seen,
    refusal_has_its_status,
    refusal_has_status_headers_and_body,
    websockets_over_http_2,
]
