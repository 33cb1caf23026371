"""The ASGI application that the interop check talks to: standard library only, one function per path.

What an application saw of a connection is the half of a check that the client cannot see. A connection whose
query says `key=K` leaves what it saw under K; `/seen?key=K` waits for that and tells it as JSON.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, Mapping
from urllib.parse import parse_qsl

Scope = Dict[str, Any]
Receive = Callable[[], Awaitable[Dict[str, Any]]]
Send = Callable[[Dict[str, Any]], Awaitable[None]]

SEEN_SECONDS = 8.0
DENIAL = ["not ", "for you: ", "première porte à gauche\n"]
DENIAL_PAUSE = 0.25
AUTHENTICATE = 'Basic realm="interop"'
COOKIES = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-greeting", b"hello")]

_seen: Dict[str, asyncio.Future[Dict[str, Any]]] = {}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """What the path's function returns is told as JSON."""
    if scope["type"] == "lifespan":
        await serve_lifespan(scope, receive, send)
        return
    await receive()  # websocket.connect
    query = dict(parse_qsl(scope["query_string"].decode("ascii")))
    path = get_route(scope)
    serve = UNACCEPTED.get(path)
    if serve is None:
        serve = ACCEPTED[path]
        headers = COOKIES if path == "/headers" else []
        await send({"type": "websocket.accept", "subprotocol": query.get("pick"), "headers": headers})
    value = await serve({**scope, "query": query}, receive, send)
    if value is not None:
        await send({"type": "websocket.send", "text": json.dumps(value, default=build_plain)})
        await send({"type": "websocket.close"})


def get_route(scope: Scope) -> str:
    """The path below the prefix under which a proxy has mounted the application."""
    return str(scope.get("path", ""))[len(scope.get("root_path", "")) :]


def build_plain(value: object) -> str:
    """What JSON cannot hold: bytes as latin-1 text, and the server's own objects."""
    return value.decode("latin-1") if isinstance(value, bytes) else repr(value)


async def serve_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup" and "state" in scope:
            scope["state"]["greeting"] = "set at startup"
        await send({"type": event["type"] + ".complete"})
        if event["type"] == "lifespan.shutdown":
            print("lifespan shutdown", flush=True)
            return


def _get_seen(key: str) -> asyncio.Future[Dict[str, Any]]:
    return _seen.setdefault(key, asyncio.get_running_loop().create_future())


def leave_seen(query: Mapping[str, str], **seen: Any) -> None:
    if "key" in query:
        _get_seen(query["key"]).set_result(seen)


async def wait_seen(query: Mapping[str, str]) -> Any:
    try:
        return await asyncio.wait_for(_get_seen(query["key"]), SEEN_SECONDS)
    except asyncio.TimeoutError:
        return {"still": "the application saw no end of its connection"}


async def tell_seen(scope: Scope, receive: Receive, send: Send) -> Any:
    return await wait_seen(scope["query"])


async def tell_scope(scope: Scope, receive: Receive, send: Send) -> Any:
    return scope


async def tell_figures(scope: Scope, receive: Receive, send: Send) -> Any:
    """What must be back where it was when all is over: tasks and descriptors of the server's process."""
    return {"tasks": len(asyncio.all_tasks()), "descriptors": len(os.listdir("/proc/self/fd"))}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send back every message as it came; see how many there were, and the disconnect."""
    messages = 0
    while (event := await receive())["type"] != "websocket.disconnect":
        messages += 1
        kind = "bytes" if event.get("text") is None else "text"
        await send({"type": "websocket.send", kind: event[kind]})
    leave_seen(scope["query"], messages=messages, code=event["code"], reason=event.get("reason", ""))


async def count_messages(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer nothing; see how many messages came, a digest of them all in order, and the disconnect."""
    messages, digest = 0, hashlib.sha256()
    while (event := await receive())["type"] != "websocket.disconnect":
        messages += 1
        digest.update(event["text"].encode())
    leave_seen(scope["query"], messages=messages, digest=digest.hexdigest(), code=event["code"])


async def close_first(scope: Scope, receive: Receive, send: Send) -> None:
    """Close with the query's code and reason, after a message if it says `after`; see what comes back."""
    query = scope["query"]
    if "after" in query:
        await receive()
    code = {"code": int(query["code"])} if "code" in query else {}
    reason = {"reason": query["reason"]} if "reason" in query else {}
    await send({"type": "websocket.close", **code, **reason})
    leave_seen(query, type=(await receive())["type"])


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """Send `count` messages of `size` bytes that begin with their number, then close with 1000."""
    count, size = int(scope["query"]["count"]), int(scope["query"]["size"])
    for number in range(count):
        await send({"type": "websocket.send", "bytes": number.to_bytes(4, "big").ljust(size, b"\xa5")})
    await send({"type": "websocket.close", "code": 1000, "reason": f"{count} sent"})


async def send_until_gone(scope: Scope, receive: Receive, send: Send) -> None:
    """Only send, never receive, until `send` raises an OSError."""
    try:
        for number in range(10_000):
            await send({"type": "websocket.send", "text": f"tick {number}"})
            await asyncio.sleep(0.005)
    except OSError:
        leave_seen(scope["query"], code=1006)


async def wait(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()


async def do_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Return, without an answer or without a close."""


async def fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("raised on purpose")


async def deny(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.close", "code": 1000})


async def deny_with_body(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"www-authenticate", AUTHENTICATE.encode())]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    async for part in stream_denial():
        await send({"type": "websocket.http.response.body", "body": part, "more_body": True})
    await send({"type": "websocket.http.response.body"})


async def stream_denial() -> AsyncIterator[bytes]:
    """The parts of the denial's body, with a pause between them."""
    for number, part in enumerate(DENIAL):
        if number:
            await asyncio.sleep(DENIAL_PAUSE)
        yield part.encode()


UNACCEPTED = {
    "/raise-early": fail,
    "/return-unanswered": do_nothing,
    "/deny": deny,
    "/denial": deny_with_body,
}
ACCEPTED = {
    "/echo": echo,
    "/count": count_messages,
    "/headers": wait,
    "/scope": tell_scope,
    "/scöpe with space": tell_scope,
    "/close": close_first,
    "/return": do_nothing,
    "/raise": fail,
    "/flood": flood,
    "/until-gone": send_until_gone,
    "/seen": tell_seen,
    "/figures": tell_figures,
}
