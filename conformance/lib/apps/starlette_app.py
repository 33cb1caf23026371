"""A Starlette application that uses what Starlette offers for WebSockets, one route each."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, AsyncIterator, Dict, List

from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

disconnects: Dict[str, Dict[str, Any]] = {}


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[Dict[str, Any]]:
    yield {"greeting": "set at startup"}


async def show_page(request: Request) -> HTMLResponse:
    return HTMLResponse("<!doctype html><title>starlette</title>ok")


async def tell_disconnect(request: Request) -> JSONResponse:
    """What the route of this key noted at the end of its connection; null after 8 s."""
    for _ in range(160):
        if request.path_params["key"] in disconnects:
            break
        await asyncio.sleep(0.05)
    return JSONResponse(disconnects.get(request.path_params["key"]))


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
    """What Starlette made of the scope: parameters, query, headers, cookies, client, state."""
    chosen = websocket.scope["subprotocols"][-1:] or [None]
    await websocket.accept(subprotocol=chosen[0], headers=[(b"x-room", b"kitchen")])
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


async def catch_disconnect(websocket: WebSocket) -> None:
    await websocket.accept()
    received: List[str] = []
    try:
        while True:
            received.append(await websocket.receive_text())
    except WebSocketDisconnect as gone:
        seen = {"received": received, "code": gone.code, "reason": gone.reason}
        disconnects[websocket.path_params["key"]] = seen


async def send_until_gone(websocket: WebSocket) -> None:
    """Only send: Starlette turns the OSError of a lost connection into WebSocketDisconnect(1006)."""
    await websocket.accept()
    try:
        for _ in range(5000):
            await websocket.send_text("tick " * 200)
            await asyncio.sleep(0.001)
    except WebSocketDisconnect as gone:
        disconnects[websocket.path_params["key"]] = {"code": gone.code}


async def close_with_code(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close(code=4001, reason="das wär es")


async def raise_websocket_exception(websocket: WebSocket) -> None:
    await websocket.accept()
    raise WebSocketException(code=1008, reason="not this way")


async def raise_error(websocket: WebSocket) -> None:
    await websocket.accept()
    raise RuntimeError("raised on purpose, in a Starlette route")


async def close_unaccepted(websocket: WebSocket) -> None:
    await websocket.close(code=1000)


async def deny_with_text(websocket: WebSocket) -> None:
    response = PlainTextResponse(
        "denied: première porte à gauche", status_code=401, headers={"x-why": "interop"}
    )
    await websocket.send_denial_response(response)


async def deny_with_stream(websocket: WebSocket) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"part %d\n" % number

    await websocket.send_denial_response(StreamingResponse(parts(), status_code=429, media_type="text/plain"))


async def raise_http_exception(websocket: WebSocket) -> None:
    raise HTTPException(status_code=404, detail="no such room")


class Shout(WebSocketEndpoint):
    encoding = "text"

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        await websocket.send_text(data.upper())

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        disconnects[websocket.path_params["key"]] = {"code": close_code}


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/", show_page),
        Route("/disconnects/{key}", tell_disconnect),
        WebSocketRoute("/text", iterate_text),
        WebSocketRoute("/bytes", iterate_bytes),
        WebSocketRoute("/json", iterate_json),
        Mount("/rooms", routes=[WebSocketRoute("/{room}", tell_request)]),
        WebSocketRoute("/catch/{key}", catch_disconnect),
        WebSocketRoute("/until-gone/{key}", send_until_gone),
        WebSocketRoute("/shout/{key}", Shout),
        WebSocketRoute("/close", close_with_code),
        WebSocketRoute("/exception", raise_websocket_exception),
        WebSocketRoute("/error", raise_error),
        WebSocketRoute("/unaccepted", close_unaccepted),
        WebSocketRoute("/denial", deny_with_text),
        WebSocketRoute("/denial-stream", deny_with_stream),
        WebSocketRoute("/http-exception", raise_http_exception),
    ],
)
