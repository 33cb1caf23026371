from __future__ import annotations

import asyncio
import contextlib
from typing import Any, AsyncIterator, Dict

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import WebSocketEndpoint
from starlette.exceptions import HTTPException, WebSocketException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from . import LONG_REASON, behaviours
from .seen import note
from .starlette_http import routes as http_routes


class Talk(behaviours.SocketTalk):
    disconnected = (WebSocketDisconnect, OSError)


async def behave(websocket: WebSocket) -> None:
    await behaviours.run(websocket.path_params["name"], Talk(websocket))


def describe(connection: HTTPConnection) -> str:
    return behaviours.describe_request(
        connection.path_params["item"],
        connection.query_params.get("q"),
        connection.headers.get("x-test"),
        connection.cookies.get("c"),
    )


async def tell_scope(websocket: WebSocket) -> None:
    await websocket.accept(headers=[(b"x-room", b"kitchen")])
    await websocket.send_text(describe(websocket))
    await websocket.close()


async def tell_mounted_scope(websocket: WebSocket) -> None:
    url, client = websocket.url, websocket.client
    await websocket.accept()
    await websocket.send_json([url.scheme, url.path, client and client.host, websocket.state.greeting])
    await websocket.close()


async def iterate(websocket: WebSocket) -> None:
    """Echo with Starlette's own loops."""
    kind = websocket.path_params["kind"]
    await websocket.accept()
    async for value in getattr(websocket, f"iter_{kind}")():
        await getattr(websocket, f"send_{kind}")(value)
    note("ends")


async def deny(websocket: WebSocket) -> None:
    await websocket.send_denial_response(PlainTextResponse("pay first", 402))


async def deny_in_parts(websocket: WebSocket) -> None:
    parts = iter(["première porte ", "à gauche"])
    await websocket.send_denial_response(StreamingResponse(parts, 401))


async def raise_http_exception(websocket: WebSocket) -> None:
    raise HTTPException(404, "no such room")


async def raise_late(websocket: WebSocket) -> None:
    await websocket.accept()
    raise WebSocketException(1008, LONG_REASON)


class TextOnly(WebSocketEndpoint):
    encoding = "text"

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        await websocket.send_text(data)

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        note(f"ends {close_code}")


async def tell_request(request: Request) -> Response:
    return PlainTextResponse(describe(request))


async def stream(request: Request) -> Response:
    return StreamingResponse(behaviours.stream())


async def work_long(request: Request) -> Response:
    """Needs 11 s for the page, and as long again when it has been sent."""
    await asyncio.sleep(11)
    return PlainTextResponse("page", background=BackgroundTask(clean_up_long))


async def clean_up_long() -> None:
    await asyncio.sleep(11)
    note("background task ends")


class AddHeader(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-middleware"] = "passed"
        return response


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[Dict[str, str]]:
    yield {"greeting": "set at startup"}
    note("shutdown")


app = Starlette(
    routes=[
        WebSocketRoute("/ws/{name}", behave),
        WebSocketRoute("/scope/{item}", tell_scope),
        Mount("/rooms", routes=[WebSocketRoute("/{room}", tell_mounted_scope)]),
        WebSocketRoute("/iterate/{kind}", iterate),
        WebSocketRoute("/deny", deny),
        WebSocketRoute("/deny-in-parts", deny_in_parts),
        WebSocketRoute("/http-exception", raise_http_exception),
        WebSocketRoute("/websocket-exception-late", raise_late),
        WebSocketRoute("/text-only", TextOnly),
        Route("/page/{item}", tell_request),
        Route("/stream", stream),
        Route("/slow", work_long),
        *http_routes,
    ],
    middleware=[Middleware(CORSMiddleware, **behaviours.CORS), Middleware(AddHeader)],
    lifespan=lifespan,
)
