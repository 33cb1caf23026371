"""The ASGI application that the interop check talks to: standard library only, one function per path.

What an application saw of a connection is the half of a check that the client cannot see. A connection whose
query says `key=K` leaves what it saw under K; `/seen?key=K` waits for that and tells it as JSON.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from typing import Any, Awaitable, Callable, Dict
from urllib.parse import parse_qsl

Scope = Dict[str, Any]
Receive = Callable[[], Awaitable[Dict[str, Any]]]
Send = Callable[[Dict[str, Any]], Awaitable[None]]

SEEN_SECONDS = 8.0
DENIAL = ["not ", "for you: ", "première porte à gauche\n"]
DENIAL_PAUSE = 0.25
PAGE = b"<!doctype html><title>interop</title>interop"

_seen: Dict[str, asyncio.Future[Dict[str, Any]]] = {}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await serve_lifespan(scope, receive, send)
    elif scope["type"] == "http":
        await serve_page(send)
    else:
        await receive()  # websocket.connect
        await PATHS[scope["path"]](scope, receive, send)


async def serve_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup" and "state" in scope:
            scope["state"]["greeting"] = "set at startup"
        await send({"type": event["type"] + ".complete"})
        if event["type"] == "lifespan.shutdown":
            print("lifespan shutdown", flush=True)
            return


async def serve_page(send: Send) -> None:
    """A page for browsers to open sockets from: an origin like any other on this address."""
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(PAGE))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": PAGE})


async def accept(send: Send, **more: Any) -> None:
    await send({"type": "websocket.accept", **more})


async def tell(send: Send, value: Any) -> None:
    """Send one value as JSON, and close."""
    await send({"type": "websocket.send", "text": json.dumps(value)})
    await send({"type": "websocket.close"})


def read_query(scope: Scope) -> Dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("ascii")))


def get_seen(key: str) -> asyncio.Future[Dict[str, Any]]:
    return _seen.setdefault(key, asyncio.get_running_loop().create_future())


def leave_seen(scope: Scope, seen: Dict[str, Any]) -> None:
    key = read_query(scope).get("key")
    if key is not None:
        get_seen(key).set_result(seen)


async def tell_seen(scope: Scope, receive: Receive, send: Send) -> None:
    key = read_query(scope)["key"]
    await accept(send)
    try:
        seen = await asyncio.wait_for(get_seen(key), SEEN_SECONDS)
    except asyncio.TimeoutError:
        seen = {"still": "the application saw no end of its connection"}
    del _seen[key]
    await tell(send, seen)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send back every message as it came; see the disconnect."""
    await accept(send)
    messages = 0
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            break
        messages += 1
        if event.get("text") is not None:
            await send({"type": "websocket.send", "text": event["text"]})
        else:
            await send({"type": "websocket.send", "bytes": event["bytes"]})
    leave_seen(scope, {"messages": messages, "code": event["code"], "reason": event.get("reason", "")})


async def count_messages(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer nothing; see how many messages came, a digest of them all in order, and the disconnect."""
    await accept(send)
    messages, digest = 0, hashlib.sha256()
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            break
        messages += 1
        digest.update(event["text"].encode())
    seen = {"messages": messages, "digest": digest.hexdigest(), "code": event["code"]}
    leave_seen(scope, {**seen, "reason": event.get("reason", "")})


async def choose_subprotocol(scope: Scope, receive: Receive, send: Send) -> None:
    await accept(send, subprotocol=read_query(scope).get("pick"))
    await tell(send, scope["subprotocols"])


async def add_headers(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-greeting", b"hello")]
    await accept(send, headers=headers)
    await receive()


async def tell_scope(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the scope as JSON, bytes as latin-1 text."""

    def build_plain(value: Any) -> Any:
        if isinstance(value, bytes):
            return value.decode("latin-1")
        if isinstance(value, dict):
            return {str(build_plain(name)): build_plain(item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [build_plain(item) for item in value]
        return value if value is None or isinstance(value, (str, int, float)) else repr(value)

    await accept(send)
    await tell(send, build_plain({name: item for name, item in scope.items() if name != "app"}))


async def close_first(scope: Scope, receive: Receive, send: Send) -> None:
    """Close with the query's code and reason, after a message if it says `after`; see what comes back."""
    query = read_query(scope)
    await accept(send)
    if "after" in query:
        await receive()
    event: Dict[str, Any] = {"type": "websocket.close"}
    if "code" in query:
        event["code"] = int(query["code"])
    if "reason" in query:
        event["reason"] = query["reason"]
    await send(event)
    seen = await receive()
    leave_seen(scope, {"type": seen["type"], "code": seen.get("code"), "reason": seen.get("reason", "")})


async def return_early(scope: Scope, receive: Receive, send: Send) -> None:
    await accept(send)


async def raise_late(scope: Scope, receive: Receive, send: Send) -> None:
    await accept(send)
    raise RuntimeError("raised on purpose, after accept")


async def raise_early(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("raised on purpose, before accept")


async def return_unanswered(scope: Scope, receive: Receive, send: Send) -> None:
    return


async def deny(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.close", "code": 1000})


async def deny_with_body(scope: Scope, receive: Receive, send: Send) -> None:
    """A streamed denial: the parts of its body leave one by one, with a pause between them."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"www-authenticate", b'Basic realm="interop"'),
    ]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    for index, part in enumerate(DENIAL):
        more = index + 1 < len(DENIAL)
        await send({"type": "websocket.http.response.body", "body": part.encode(), "more_body": more})
        if more:
            await asyncio.sleep(DENIAL_PAUSE)


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """Send `count` messages of `size` bytes that begin with their number, then close with 1000."""
    query = read_query(scope)
    count, size = int(query["count"]), int(query["size"])
    await accept(send)
    for number in range(count):
        await send({"type": "websocket.send", "bytes": number.to_bytes(4, "big").ljust(size, b"\xa5")})
    await send({"type": "websocket.close", "code": 1000, "reason": f"{count} sent"})


async def send_until_gone(scope: Scope, receive: Receive, send: Send) -> None:
    """Only send, never receive, until `send` raises; see what it raised."""
    await accept(send)
    for number in range(10_000):
        try:
            await send({"type": "websocket.send", "text": f"tick {number}"})
        except OSError as error:
            leave_seen(scope, {"raised": type(error).__name__, "is_oserror": True})
            return
        await asyncio.sleep(0.005)
    leave_seen(scope, {"raised": None, "is_oserror": False})


async def tell_figures(scope: Scope, receive: Receive, send: Send) -> None:
    """What must be back where it was when all is over: tasks and descriptors of the server's process."""
    await accept(send)
    await tell(send, {"tasks": len(asyncio.all_tasks()), "descriptors": len(os.listdir("/proc/self/fd"))})


PATHS = {
    "/echo": echo,
    "/count": count_messages,
    "/choose": choose_subprotocol,
    "/headers": add_headers,
    "/scope": tell_scope,
    "/scöpe with space": tell_scope,
    "/close": close_first,
    "/return": return_early,
    "/raise": raise_late,
    "/raise-early": raise_early,
    "/return-unanswered": return_unanswered,
    "/deny": deny,
    "/denial": deny_with_body,
    "/flood": flood,
    "/until-gone": send_until_gone,
    "/seen": tell_seen,
    "/figures": tell_figures,
}
