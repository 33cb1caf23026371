"""The ASGI application of http2 and proxies: pages, and with interop's WebSockets some of its own.

What a request whose query has `key=K` saw of its end is told to `/seen?key=K`, and how far it is to
`/progress?key=K`. One that waits goes on when `/release?key=K` is asked for.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict
from typing import Any, Dict
from urllib.parse import parse_qsl

from conformance.lib.apps import interop_app
from conformance.lib.apps.interop_app import (
    Receive,
    Scope,
    Send,
    build_plain,
    get_route,
    leave_seen,
    wait_seen,
)

PAGE = b"<!doctype html><title>HTTP/2</title><p>Served over HTTP/2.\n"

_progress: Dict[str, int] = defaultdict(int)
_released: Dict[str, asyncio.Event] = defaultdict(asyncio.Event)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    query = dict(parse_qsl(scope.get("query_string", b"").decode("ascii")))
    serve = {"http": PAGES, "websocket": WEBSOCKETS}.get(scope["type"], {}).get(get_route(scope))
    if serve is not None:
        await serve({**scope, "query": query}, receive, send)
    elif scope["type"] == "http":
        await respond(send, b"nothing here\n", 404)
    else:
        await interop_app.app(scope, receive, send)


# ------------------------------------------------------------------------------- pages


async def respond(send: Send, body: bytes, status: int = 200, kind: bytes = b"text/plain") -> None:
    headers = [(b"Content-Type", kind), (b"Connection", b"keep-alive"), (b"X-Mixed-Case", b"kept")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def tell(send: Send, value: Any) -> None:
    await respond(send, json.dumps(value, default=build_plain).encode(), kind=b"application/json")


async def show_page(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, PAGE, kind=b"text/html")


async def tell_scope(scope: Scope, receive: Receive, send: Send) -> None:
    await tell(send, scope)


async def tell_seen(scope: Scope, receive: Receive, send: Send) -> None:
    await tell(send, await wait_seen(scope["query"]))


async def tell_progress(scope: Scope, receive: Receive, send: Send) -> None:
    await tell(send, _progress[scope["query"]["key"]])


async def release(scope: Scope, receive: Receive, send: Send) -> None:
    _released[scope["query"]["key"]].set()
    await tell(send, True)


async def digest(scope: Scope, receive: Receive, send: Send) -> None:
    """The size and the digest of the body; with `wait` it is not taken before the release."""
    query = scope["query"]
    if "wait" in query:
        await _released[query["key"]].wait()
    size, content = 0, hashlib.sha256()
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            leave_seen(query, size=size, disconnected=True)
            return
        size += len(event["body"])
        content.update(event["body"])
        if not event["more_body"]:
            await tell(send, [size, content.hexdigest()])
            return


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """The body, part by part as it comes."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        event = await receive()
        more = event.get("more_body", False)
        await send({"type": "http.response.body", "body": event.get("body", b""), "more_body": more})


async def push(scope: Scope, receive: Receive, send: Send) -> None:
    """`count` parts of `size` bytes; the progress is how many were sent."""
    query = scope["query"]
    await send({"type": "http.response.start", "status": 200})
    for _ in range(int(query["count"])):
        part = bytes(int(query["size"]))
        await send({"type": "http.response.body", "body": part, "more_body": True})
        _progress[query.get("key", "")] += 1
    await send({"type": "http.response.body"})


async def wait_for_disconnect(scope: Scope, receive: Receive, send: Send) -> None:
    """Half a response, until the client goes."""
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    while (event := await receive())["type"] != "http.disconnect":
        pass
    leave_seen(scope["query"], type=event["type"])


async def finish_late(scope: Scope, receive: Receive, send: Send) -> None:
    """Half a response, and the rest after the release."""
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    await asyncio.sleep(float(scope["query"]["seconds"]))
    await send({"type": "http.response.body", "body": b" and half"})


async def send_events(scope: Scope, receive: Receive, send: Send) -> None:
    """Server-sent events: one, and after the release another."""
    kind = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": kind})
    await send({"type": "http.response.body", "body": b"data: first\n\n", "more_body": True})
    await _released[scope["query"]["key"]].wait()
    await send({"type": "http.response.body", "body": b"data: last\n\n"})


async def fail_half_way(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise RuntimeError("raised on purpose")


async def answer_early(scope: Scope, receive: Receive, send: Send) -> None:
    """A response that does not wait for the body."""
    await respond(send, b"enough\n", 413)


async def answer_204(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


PAGES = {
    "/": show_page,
    "/scope": tell_scope,
    "/seen": tell_seen,
    "/progress": tell_progress,
    "/release": release,
    "/digest": digest,
    "/echo": echo,
    "/push": push,
    "/wait": wait_for_disconnect,
    "/late": finish_late,
    "/events": send_events,
    "/fail": fail_half_way,
    "/early": answer_early,
    "/204": answer_204,
}


# -------------------------------------------------------------------------- WebSockets


async def push_messages(scope: Scope, receive: Receive, send: Send) -> None:
    """As `push`, in messages."""
    query = scope["query"]
    await receive()
    await send({"type": "websocket.accept"})
    for _ in range(int(query["count"])):
        await send({"type": "websocket.send", "bytes": bytes(int(query["size"]))})
        _progress[query["key"]] += 1
    await send({"type": "websocket.close"})


async def take_late(scope: Scope, receive: Receive, send: Send) -> None:
    """Take no message before the release, then all, and tell how many bytes they had."""
    await receive()
    await send({"type": "websocket.accept"})
    await _released[scope["query"]["key"]].wait()
    size = 0
    while (event := await receive())["type"] == "websocket.receive":
        size += len(event["bytes"])
    leave_seen(scope["query"], size=size, code=event["code"])


WEBSOCKETS = {"/push": push_messages, "/late": take_late}
