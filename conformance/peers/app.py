"""What the commands serve: it tells in its accept what it has seen of the scope, then echoes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

SEEN = ("path", "root_path", "scheme", "client", "state")


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        scope["state"]["lifespan"] = "has begun"
        await run_lifespan(receive, send)
        return
    await receive()
    seen = json.dumps({key: scope[key] for key in SEEN}).encode()
    await send({"type": "websocket.accept", "headers": [(b"x-seen", seen)]})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})
    if scope["path"] == "/goes-on":
        await asyncio.sleep(60)


async def run_lifespan(receive: Any, send: Any) -> None:
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return
