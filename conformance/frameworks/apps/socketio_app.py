from __future__ import annotations

import asyncio
import sys
from typing import Any, Dict, Optional

import socketio

from .seen import note

# A client that polls notices its end with the next ping.
server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*", ping_interval=2, ping_timeout=2)


@server.event
async def connect(sid: str, environ: Dict[str, Any], auth: Optional[Dict[str, str]] = None) -> None:
    if auth == {"token": "wrong"}:
        raise socketio.exceptions.ConnectionRefusedError("not today")


@server.event
async def echo(sid: str, message: Any) -> None:
    note(f"got {message!r:.60}")
    await server.emit("echo", message, to=sid)


@server.event
async def push(sid: str, message: Any) -> None:
    server.start_background_task(push_for_ever, sid)


async def push_for_ever(sid: str) -> None:
    while server.manager.is_connected(sid, "/"):
        await server.emit("tick", to=sid)
        await asyncio.sleep(0.05)


@server.event
async def fail(sid: str, message: Any) -> None:
    raise RuntimeError("on purpose")


@server.event
async def leave(sid: str, message: Any) -> None:
    sys.exit(3)


@server.event
async def disconnect(sid: str, reason: str) -> None:
    note(f"ends: {reason}")


app = socketio.ASGIApp(server, on_shutdown=lambda: note("shutdown"))
