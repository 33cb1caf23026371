"""The ASGI application behind the requests of `bench`: answers of 100 bytes, and nothing else.

A GET gets ANSWER; another request is read to its end, and gets the last 100 bytes of its body.
"""

from __future__ import annotations

from .echo import Event, Receive, Send, run_lifespan

ANSWER = (
    b'{"id": 4711, "name": "abc", "tags": ["asgi", "http", "websocket"], "price": 12.5, "count": 11714719}'
)
SIZE = len(ANSWER)
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % SIZE)]


async def app(scope: Event, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await run_lifespan(receive, send)
        return
    answer = ANSWER if scope["method"] == "GET" else (await read_body(receive))[-SIZE:]
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": answer})


async def read_body(receive: Receive) -> bytes:
    parts = []
    is_complete = False
    while not is_complete:
        event = await receive()
        parts.append(event.get("body", b""))
        is_complete = not event.get("more_body", False)
    return b"".join(parts)
