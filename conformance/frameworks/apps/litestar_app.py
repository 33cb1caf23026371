from __future__ import annotations

from typing import Any

from litestar import Litestar, Request, Response, WebSocket, get, websocket
from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException, WebSocketDisconnect
from litestar.handlers import BaseRouteHandler
from litestar.response import Stream

from . import behaviours
from .seen import note


class Talk(behaviours.SocketTalk):
    disconnected = (WebSocketDisconnect, OSError)


def describe(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    return behaviours.describe_request(
        connection.path_params["item"],
        connection.query_params.get("q"),
        connection.headers.get("x-test"),
        connection.cookies.get("c"),
    )


def refuse(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    raise PermissionDeniedException("you may not enter here; " * 8)


@websocket("/ws/{name:str}")
async def behave(socket: WebSocket[Any, Any, Any], name: str) -> None:
    await behaviours.run(name, Talk(socket))


@websocket("/scope/{item:str}")
async def tell_scope(socket: WebSocket[Any, Any, Any], item: str) -> None:
    await socket.accept(headers={"x-room": "kitchen"})
    await socket.send_text(describe(socket))
    await socket.close()


@websocket("/needs-parameters")
async def need_parameters(socket: WebSocket[Any, Any, Any], token: str, size: int) -> None:
    await socket.accept()


@websocket("/guarded", guards=[refuse])
async def never_called(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()


@get("/page/{item:str}", media_type="text/plain")
async def tell_request(request: Request[Any, Any, Any], item: str) -> str:
    return describe(request)


@get("/stream")
async def stream() -> Stream:
    return Stream(behaviours.stream)


def add_header(response: Response[Any]) -> Response[Any]:
    response.headers["x-middleware"] = "passed"
    return response


def shut_down() -> None:
    note("shutdown")


app = Litestar(
    [behave, tell_scope, need_parameters, never_called, tell_request, stream],
    after_request=add_header,
    on_shutdown=[shut_down],
)
