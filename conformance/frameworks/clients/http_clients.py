"""The same requests by httpx, by aiohttp's client and by http.client, each of them on one connection.

python -m conformance.frameworks.clients.http_clients PORT httpx|aiohttp|http.client
"""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
from typing import Any, AsyncIterator, Dict, Optional, Set
from urllib.parse import urlencode

import aiohttp
import httpx

from ..apps.payload import MIB, make_pieces

PAGE = "/page/again"
SIZE = 3 * MIB
FORM = {"user": "me"}
ETAG = {"If-None-Match": '"one"'}


def say(method: str, status: int, text: str) -> None:
    print(f"{method} {status} {text!r}")


async def make_pieces_later() -> AsyncIterator[bytes]:
    for piece in make_pieces(SIZE):
        yield piece


async def use_httpx(base: str) -> None:
    ports: Set[Any] = set()

    async def note_port(response: httpx.Response) -> None:
        ports.add(response.extensions["network_stream"].get_extra_info("client_addr"))

    hooks = {"response": [note_port]}
    async with httpx.AsyncClient(base_url=base, event_hooks=hooks) as client:
        for method, path, options in (
            ("GET", PAGE, {}),
            ("HEAD", PAGE, {}),
            ("POST", "/json", {"json": {"a": "ü"}}),
            ("DELETE", "/json", {}),
            ("POST", "/upload", {"content": make_pieces_later()}),
            ("GET", "/cached", {"headers": ETAG}),
        ):
            response = await client.request(method, path, **options)
            say(method, response.status_code, response.text)
        response = await client.post("/login", data=FORM, follow_redirects=True)
        say(f"POST {response.history[0].status_code}, GET", response.status_code, response.text)
    print(f"{len(ports)} connection")


async def use_aiohttp(base: str) -> None:
    trace = aiohttp.TraceConfig()
    made = []

    async def note_connection(*_: Any) -> None:
        made.append(1)

    trace.on_connection_create_end.append(note_connection)
    jar = aiohttp.CookieJar(unsafe=True)  # It is unsafe of an address to have cookies.
    async with aiohttp.ClientSession(base, trace_configs=[trace], cookie_jar=jar) as client:
        for method, path, options in (
            ("GET", PAGE, {}),
            ("HEAD", PAGE, {}),
            ("POST", "/json", {"json": {"a": "ü"}}),
            ("DELETE", "/json", {}),
            ("POST", "/upload", {"data": make_pieces_later()}),
            ("GET", "/cached", {"headers": ETAG}),
        ):
            async with client.request(method, path, **options) as response:
                say(method, response.status, await response.text())
        async with client.post("/login", data=FORM) as response:
            say(f"POST {response.history[0].status}, GET", response.status, await response.text())
    print(f"{len(made)} connection")


def use_http_client(host: str) -> None:
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.connect()
    first = connection.sock

    def ask(method: str, path: str, body: Any = None, headers: Optional[Dict[str, str]] = None) -> Any:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response, response.read().decode()

    for method, path, body, headers in (
        ("GET", PAGE, None, None),
        ("HEAD", PAGE, None, None),
        ("POST", "/json", json.dumps({"a": "ü"}), {"Content-Type": "application/json"}),
        ("DELETE", "/json", None, None),
        ("POST", "/upload", make_pieces(SIZE), None),
        ("GET", "/cached", None, ETAG),
    ):
        response, text = ask(method, path, body, headers)
        say(method, response.status, text)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    redirect, _ = ask("POST", "/login", urlencode(FORM), form)
    cookies = [value.partition(";")[0] for value in redirect.headers.get_all("Set-Cookie")]
    response, text = ask("GET", redirect.headers["Location"], None, {"Cookie": "; ".join(cookies)})
    say(f"POST {redirect.status}, GET", response.status, text)
    # http.client forgets the socket when the server says that it closes.
    print(f"{1 if connection.sock is first else 'another'} connection")


if __name__ == "__main__":
    host = f"127.0.0.1:{sys.argv[1]}"
    if sys.argv[2] == "http.client":
        use_http_client(host)
    else:
        asyncio.run({"httpx": use_httpx, "aiohttp": use_aiohttp}[sys.argv[2]](f"http://{host}"))
