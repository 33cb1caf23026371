"""The ASGI application that the check `clients` talks to, one function per path.

Every connection's query says `key=K`. What the application saw of it is told as JSON by `GET /seen?key=K`:
the half of the outcome that a client cannot see.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any, Dict, List, Union
from urllib.parse import parse_qsl

from conformance.lib.apps.echo import Event, Receive, Send, run_lifespan

Scope = Dict[str, Any]
Message = Union[str, bytes]

# Where a frame's header grows (125 to 127, 65,535 to 65,536), and what takes several reads.
SIZES = [1, 125, 126, 127, 65_535, 65_536, 1 << 20, 5 << 20]
BURST = 100
PUSH_INTERVAL = 0.05
SEEN_SECONDS = 3.0

_seen: Dict[str, Dict[str, Any]] = {}


def list_messages(*, are_empty: bool) -> List[Message]:
    """Every size as text and as bytes, then a burst of short ones; or a burst of empty ones."""
    if are_empty:
        return ["", b""] * (BURST // 2)
    whole = [kind for size in SIZES for kind in (build_text(size), random.Random(size).randbytes(size))]
    return [*whole, *(f"burst {number} €" for number in range(BURST))]


def build_text(size: int) -> str:
    """Text of `size` bytes with characters of one to four; deflate makes it much smaller, but not nothing."""
    words = "".join(f"{number}é€𝄞" for number in range(min(size, 5000)))
    data = (words * (size // max(1, len(words)) + 1)).encode()[:size]
    text = data.decode("utf-8", "ignore")
    return text + "~" * (size - len(text.encode()))


class Visit:
    """One connection: its query, what the application has seen, and the two ASGI callables in few words."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.query = read_query(scope)
        self.receive = receive
        self.send = send
        offers = [value for name, value in scope["headers"] if name == b"sec-websocket-extensions"]
        self.seen: Dict[str, Any] = {"offer": b", ".join(offers).decode("latin-1")}

    async def accept(self) -> None:
        await self.send({"type": "websocket.accept", "subprotocol": self.query.get("pick")})

    async def send_message(self, message: Message) -> None:
        key = "text" if isinstance(message, str) else "bytes"
        await self.send({"type": "websocket.send", key: message})

    async def close(self) -> None:
        """Close with the code and the reason of the query, if it has any."""
        code = {"code": int(self.query["code"])} if "code" in self.query else {}
        await self.send({"type": "websocket.close", **code, "reason": self.query.get("reason", "")})

    async def see_end(self) -> None:
        self.note_end(await self.receive())

    def note_end(self, event: Event) -> None:
        self.seen.update(code=event.get("code"), reason=event.get("reason"))


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await run_lifespan(receive, send)
    elif scope["type"] == "http":
        await serve_seen(scope, send)
    else:
        visit = Visit(scope, receive, send)
        _seen[visit.query["key"]] = visit.seen
        await receive()  # websocket.connect
        await PATHS[scope["path"]](visit)
        visit.seen["over"] = True


async def serve_seen(scope: Scope, send: Send) -> None:
    """Tell what was seen of a connection; `wait=yes`: when it is over, or after 3 s."""
    query = read_query(scope)
    seen = _seen.get(query["key"], {})
    deadline = time.monotonic() + (SEEN_SECONDS if "wait" in query else 0.0)
    while "over" not in seen and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    body = json.dumps(seen).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def read_query(scope: Scope) -> Dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("ascii")))


async def exchange_messages(visit: Visit) -> None:
    """Each message must come back as it went, the burst after all of it has gone out. Then close."""
    await visit.accept()
    await visit.receive()
    messages = list_messages(are_empty="empty" in visit.query)
    rounds = [[message] for message in messages[:-BURST]] + [messages[-BURST:]]
    visit.seen["echoed"] = 0
    for sent in rounds:
        for message in sent:
            await visit.send_message(message)
        for message in sent:
            event = await visit.receive()
            if event["type"] == "websocket.disconnect":
                return visit.note_end(event)
            echo = event.get("bytes") if event.get("text") is None else event["text"]
            if echo != message:
                visit.seen["wrong"] = f"{describe(message)} came back as {describe(echo)}"
                return await visit.close()
            visit.seen["echoed"] += 1
    await visit.close()
    await visit.see_end()


def describe(message: Message) -> str:
    size = len(message.encode() if isinstance(message, str) else message)
    return f"{'text' if isinstance(message, str) else 'bytes'} of {size:,} B"


async def close_at_once(visit: Visit) -> None:
    await visit.accept()
    await visit.close()
    await visit.see_end()


async def close_when_asked(visit: Visit) -> None:
    await visit.accept()
    await visit.receive()
    await visit.close()
    await visit.see_end()


async def be_closed(visit: Visit) -> None:
    """One message, upon which the client closes."""
    await visit.accept()
    await visit.receive()
    await visit.send_message("close now")
    await visit.see_end()


async def refuse(visit: Visit) -> None:
    """An HTTP answer of the application's own, or the server's 403."""
    if "status" not in visit.query:
        return await visit.close()
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    status = int(visit.query["status"])
    await visit.send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await visit.send({"type": "websocket.http.response.body", "body": visit.query["body"].encode()})


async def push(visit: Visit) -> None:
    """A message every 50 ms until the client is gone."""
    number = 0
    try:
        while True:
            number += 1
            await visit.send_message(f"tick {number}")
            await asyncio.sleep(PUSH_INTERVAL)
    except OSError:
        visit.seen["pushed"] = number


async def push_alone(visit: Visit) -> None:
    """An application that never looks at what comes."""
    await visit.accept()
    await push(visit)
    await visit.see_end()


async def push_subscribed(visit: Visit) -> None:
    """An application that takes one message, the subscription, and then only pushes."""
    await visit.accept()
    await visit.receive()
    await push(visit)
    await visit.see_end()


async def push_beside_reader(visit: Visit) -> None:
    """One task waits in receive(), another pushes."""
    await visit.accept()
    await visit.receive()
    pushing = asyncio.ensure_future(push(visit))
    await visit.see_end()
    await pushing


PATHS = {
    "/messages": exchange_messages,
    "/close-at-once": close_at_once,
    "/close": close_when_asked,
    "/be-closed": be_closed,
    "/refuse": refuse,
    "/push": push_alone,
    "/push-subscribed": push_subscribed,
    "/push-reader": push_beside_reader,
}
