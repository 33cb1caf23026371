"""A Starlette application: paths of interop_app.py as Starlette's routes, and more of what it offers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, AsyncIterator, Dict

from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from conformance.lib.apps.interop_app import AUTHENTICATE, leave_seen, stream_denial, wait_seen


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[Dict[str, Any]]:
    yield {"greeting": "set at startup"}


# --------------------------------------------------------------------- as in interop_app.py


async def tell_seen(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json(await wait_seen(websocket.query_params))
    await websocket.close()


async def echo_text(websocket: WebSocket) -> None:
    await websocket.accept()
    messages = 0
    try:
        while True:
            text = await websocket.receive_text()
            messages += 1
            await websocket.send_text(text)
    except WebSocketDisconnect as gone:
        leave_seen(websocket.query_params, messages=messages, code=gone.code, reason=gone.reason)


async def send_until_gone(websocket: WebSocket) -> None:
    """Only send: Starlette turns the OSError of a lost connection into WebSocketDisconnect(1006)."""
    await websocket.accept()
    try:
        while True:
            await websocket.send_text("tick " * 200)
            await asyncio.sleep(0.001)
    except WebSocketDisconnect as gone:
        leave_seen(websocket.query_params, code=gone.code)


async def close_first(websocket: WebSocket) -> None:
    query = websocket.query_params
    await websocket.accept()
    await websocket.close(code=int(query.get("code", 1000)), reason=query.get("reason"))
    leave_seen(query, type=(await websocket.receive())["type"])


async def return_late(websocket: WebSocket) -> None:
    await websocket.accept()


async def raise_late(websocket: WebSocket) -> None:
    await websocket.accept()
    await raise_early(websocket)


async def raise_early(websocket: WebSocket) -> None:
    raise RuntimeError("raised on purpose, in a Starlette route")


async def return_early(websocket: WebSocket) -> None:
    """Leave the connection unanswered."""


async def deny(websocket: WebSocket) -> None:
    await websocket.close(code=1000)


async def deny_with_stream(websocket: WebSocket) -> None:
    headers = {"www-authenticate": AUTHENTICATE}
    await websocket.send_denial_response(StreamingResponse(stream_denial(), 401, headers))


# --------------------------------------------------------------------- Starlette's own


async def show_page(request: Request) -> HTMLResponse:
    return HTMLResponse("<!doctype html><title>starlette</title>ok")


async def iterate_text(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def iterate_bytes(websocket: WebSocket) -> None:
    await websocket.accept()
    async for data in websocket.iter_bytes():
        await websocket.send_bytes(data)


async def iterate_json(websocket: WebSocket) -> None:
    await websocket.accept()
    async for value in websocket.iter_json():
        await websocket.send_json({"got": value})


async def tell_request(websocket: WebSocket) -> None:
    """What Starlette made of the scope: parameters, query, headers, client, state."""
    await websocket.accept(subprotocol=websocket.scope["subprotocols"][-1], headers=[(b"x-room", b"kitchen")])
    await websocket.send_json(
        {
            "room": websocket.path_params["room"],
            "query": list(websocket.query_params.multi_items()),
            "scheme": websocket.url.scheme,
            "path": websocket.url.path,
            "client": websocket.client.host if websocket.client else None,
            "has host": "host" in websocket.headers,
            "greeting": websocket.state.greeting,
        }
    )
    await websocket.close()


async def raise_websocket_exception(websocket: WebSocket) -> None:
    await websocket.accept()
    raise WebSocketException(code=1008, reason="not this way")


async def raise_http_exception(websocket: WebSocket) -> None:
    raise HTTPException(status_code=404, detail="no such room")


async def deny_with_text(websocket: WebSocket) -> None:
    response = PlainTextResponse("denied: première porte à gauche", 401, {"x-why": "interop"})
    await websocket.send_denial_response(response)


class Shout(WebSocketEndpoint):
    encoding = "text"

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        await websocket.send_text(data.upper())

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        leave_seen(websocket.query_params, code=close_code)


WEBSOCKETS = {
    "/seen": tell_seen,
    "/echo": echo_text,
    "/until-gone": send_until_gone,
    "/close": close_first,
    "/return": return_late,
    "/raise": raise_late,
    "/raise-early": raise_early,
    "/return-unanswered": return_early,
    "/deny": deny,
    "/denial": deny_with_stream,
    "/text": iterate_text,
    "/bytes": iterate_bytes,
    "/json": iterate_json,
    "/exception": raise_websocket_exception,
    "/http-exception": raise_http_exception,
    "/denial-text": deny_with_text,
    "/shout": Shout,
}

app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/", show_page),
        Mount("/rooms", routes=[WebSocketRoute("/{room}", tell_request)]),
        *(WebSocketRoute(path, endpoint) for path, endpoint in WEBSOCKETS.items()),
    ],
)
