"""Requests through a proxy: bodies, streams, and what the headers say of the client."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from typing import Any, Dict, List, Tuple

from conformance.lib.wire import parse_head

from .checks_messages import MEBIBYTE, Check
from .site import STEP_SECONDS, Site, build_key

UPLOAD = 10 * MEBIBYTE
CLIENT, FORGED = "127.0.0.9", "203.0.113.7"


async def large_upload_arrives_whole(site: Site) -> None:
    body = os.urandom(UPLOAD)
    async with site.open_session() as session, session.post("/digest", data=body) as answer:
        assert await answer.json() == [UPLOAD, hashlib.sha256(body).hexdigest()]


async def upload_without_length_arrives_whole(site: Site) -> None:
    async def stream() -> Any:
        for _ in range(100):
            yield b"\xa5" * 10_000

    async with site.open_session() as session, session.post("/digest", data=stream()) as answer:
        assert (await answer.json())[0] == 1_000_000


async def large_download_arrives_whole(site: Site) -> None:
    async with site.open_session() as session, session.get("/push?count=160&size=65536") as answer:
        assert len(await answer.read()) == UPLOAD


async def server_sent_events_pass_at_once(site: Site) -> None:
    """The second is sent only once the first has come."""
    key = build_key()
    async with site.open_session() as session, session.get(f"/events?key={key}") as answer:
        assert await answer.content.readuntil(b"\n\n") == b"data: first\n\n"
        await site.ask_server(f"/release?key={key}")
        assert await answer.content.read() == b"data: last\n\n"


async def client_that_leaves_is_seen(site: Site) -> None:
    key = build_key()
    _, writer = await send_request(site, f"GET /wait?key={key}", "", b"half")
    writer.transport.abort()
    assert (await site.ask_server(f"/seen?key={key}"))["type"] == "http.disconnect"


async def expect_100_continue_is_answered(site: Site) -> None:
    fields = "Content-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n"
    continues = b"HTTP/1.1 100 "
    reader, writer = await send_request(site, "POST /digest", fields, continues)
    writer.write(b"hello")
    head, body = parse_head(continues + await reader.read())
    writer.close()
    # RFC 9110 15.2: more than one may come. Caddy sends its own, and passes that of the server on.
    while head is not None and head.status == 100:
        head, body = parse_head(body)
    assert head is not None and head.status == 200 and b"[5, " in body, (head, body)


async def send_request(
    site: Site, request: str, fields: str, until: bytes, end: str = "\r\n"
) -> Tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which a request was sent, and its answer has come until those bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=site.tls)
    writer.write(f"{request} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n{fields}{end}".encode())
    await asyncio.wait_for(reader.readuntil(until), STEP_SECONDS)
    return reader, writer


async def head_has_the_length_and_no_body(site: Site) -> None:
    async with site.open_session() as session:
        async with session.head("/") as answer:
            assert answer.status == 200 and int(answer.headers["content-length"]) > 20, answer.headers
        # On the same connection.
        async with session.get("/204") as answer:
            assert (answer.status, await answer.read()) == (204, b"")


async def answer_before_the_end_of_the_upload_comes(site: Site) -> None:
    """413 from the application, which takes nothing of a body that is small enough to be dropped."""
    async with site.open_session() as session, session.post("/early", data=bytes(20_000)) as answer:
        assert (answer.status, await answer.text()) == (413, "enough\n")


async def upload_passes_while_it_comes(site: Site) -> None:
    """The second part is sent only once the first has come back."""
    fields = "Transfer-Encoding: chunked\r\nConnection: close\r\n"
    reader, writer = await send_request(site, "POST /echo", fields + "\r\n6\r\nfirst!\r\n", b"first!", end="")
    writer.write(b"4\r\nlast\r\n0\r\n\r\n")
    assert b"last" in await asyncio.wait_for(reader.read(), STEP_SECONDS)
    writer.close()


async def read_scopes(site: Site, headers: Dict[str, str]) -> List[Any]:
    """The scopes of a page and of a WebSocket, asked for by `CLIENT`."""
    async with site.open_session(CLIENT) as session:
        async with session.get("/scope", headers=headers) as answer:
            page = await answer.json()
        async with session.ws_connect("/scope", headers=headers) as socket:
            return [page, json.loads((await socket.receive()).data)]


async def scope_has_the_client_of_the_proxy(site: Site) -> None:
    page, socket = await read_scopes(site, {})
    for scope, scheme in ((page, "https"), (socket, "wss")):
        assert scope["client"][0] == CLIENT, scope["client"]
        assert scope["scheme"] == scheme, scope["scheme"]
        assert dict(scope["headers"])["host"] == f"127.0.0.1:{site.port}", scope["headers"]


async def forged_headers_are_not_believed(site: Site) -> None:
    forged = {
        "X-Forwarded-For": FORGED,
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "forged.example",
        "X-Forwarded-Prefix": "/forged",
        "X-Real-IP": FORGED,
        "Forwarded": f"for={FORGED};host=forged.example;proto=http",
    }
    page, socket = await read_scopes(site, forged)
    for scope, scheme in ((page, "https"), (socket, "wss")):
        assert scope["client"][0] == CLIENT, scope["client"]
        assert scope["scheme"] == scheme, scope["scheme"]
        assert dict(scope["headers"])["host"] == f"127.0.0.1:{site.port}", scope["headers"]
        assert (scope["root_path"], scope["path"]) == ("", "/scope"), scope


async def prefix_is_part_of_the_scope(site: Site) -> None:
    """For a site below /app."""
    async with site.open_session() as session:
        async with session.get("/app/scope?a=%20") as answer:
            page = await answer.json()
        async with session.ws_connect("/app/scope?a=%20") as socket:
            scopes = [page, json.loads((await socket.receive()).data)]
    for scope in scopes:
        assert (scope["root_path"], scope["path"]) == ("/app", "/app/scope"), scope
        assert scope["query_string"] == "a=%20", scope


async def burst_of_requests_is_answered(site: Site) -> None:
    async with site.open_session() as session:

        async def ask(number: int) -> None:
            async with session.post("/digest", data=b"x" * number) as answer:
                assert (answer.status, (await answer.json())[0]) == (200, number)

        for _ in range(3):
            await asyncio.wait_for(asyncio.gather(*map(ask, range(50))), STEP_SECONDS)


CHECKS: List[Check] = [
    large_upload_arrives_whole,
    upload_without_length_arrives_whole,
    upload_passes_while_it_comes,
    large_download_arrives_whole,
    server_sent_events_pass_at_once,
    client_that_leaves_is_seen,
    expect_100_continue_is_answered,
    head_has_the_length_and_no_body,
    answer_before_the_end_of_the_upload_comes,
    burst_of_requests_is_answered,
    scope_has_the_client_of_the_proxy,
    forged_headers_are_not_believed,
]
