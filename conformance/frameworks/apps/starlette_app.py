from __future__ import annotations

import asyncio
import contextlib
from typing import Any, AsyncIterator

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from . import behaviours
from .seen import note


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


async def deny(websocket: WebSocket) -> None:
    await websocket.send_denial_response(PlainTextResponse("pay first", 402))


class TextOnly(WebSocketEndpoint):
    encoding = "text"

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        note(f"got {data!r}")

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
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    yield
    note("shutdown")


app = Starlette(
    routes=[
        WebSocketRoute("/ws/{name}", behave),
        WebSocketRoute("/scope/{item}", tell_scope),
        WebSocketRoute("/deny", deny),
        WebSocketRoute("/text-only", TextOnly),
        Route("/page/{item}", tell_request),
        Route("/stream", stream),
        Route("/slow", work_long),
    ],
    middleware=[Middleware(AddHeader)],
    lifespan=lifespan,
)
