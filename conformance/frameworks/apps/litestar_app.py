from __future__ import annotations

from typing import Any, Dict

from litestar import Litestar, Request, Response, WebSocket, delete, get, post, route, websocket
from litestar.connection import ASGIConnection
from litestar.datastructures import UploadFile
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


@route("/page/{item:str}", http_method=["GET", "HEAD"], media_type="text/plain")
async def tell_request(request: Request[Any, Any, Any], item: str) -> str:
    return describe(request)


@get("/stream")
async def stream() -> Stream:
    return Stream(behaviours.stream)


@route("/json", http_method=["POST", "PUT", "PATCH"], status_code=200)
async def read_json(request: Request[Any, Any, Any], data: Any) -> Dict[str, Any]:
    return behaviours.describe_json(request.method, data)


@delete("/json")
async def delete_nothing() -> None:
    pass


@post("/form", status_code=200)
async def read_form(request: Request[Any, Any, Any]) -> Dict[str, Any]:
    fields, files = [], []
    for name, value in (await request.form()).multi_items():
        if isinstance(value, UploadFile):
            content = await value.read()
            files.append(behaviours.tally_file(name, value.filename, value.content_type, content))
        else:
            fields.append((name, value))
    # Litestar keeps the order of values only among those with one name.
    return behaviours.describe_form(sorted(fields, key=lambda field: field[0]), files)


@post("/upload", status_code=200, media_type="text/plain", request_max_body_size=None)
async def upload(request: Request[Any, Any, Any]) -> str:
    return await behaviours.take(request.stream())


@get("/download")
async def download() -> Stream:
    return Stream(behaviours.give())


@post("/ignore", status_code=202, media_type="text/plain")
async def ignore() -> str:
    return "later"


@get("/fail-late")
async def fail_late() -> Stream:
    return Stream(behaviours.break_off())


def add_header(response: Response[Any]) -> Response[Any]:
    response.headers["x-middleware"] = "passed"
    return response


def shut_down() -> None:
    note("shutdown")


app = Litestar(
    [
        *(behave, tell_scope, need_parameters, never_called, tell_request, stream, fail_late),
        *(read_json, delete_nothing, read_form, upload, download, ignore),
    ],
    after_request=add_header,
    on_shutdown=[shut_down],
)
