from __future__ import annotations

from typing import Any, Optional

from blacksheep import Application, Request, Response, StreamedContent, WebSocket, WebSocketDisconnectError
from blacksheep.server.responses import json, no_content, text

from . import behaviours
from .seen import note

app = Application()


class Talk(behaviours.SocketTalk):
    disconnected = (WebSocketDisconnectError, OSError)

    async def accept(self, subprotocol: Optional[str] = None) -> None:
        await self._websocket.accept(subprotocol=subprotocol)


def describe(request: Request, item: str) -> str:
    header = request.get_first_header(b"x-test")
    return behaviours.describe_request(
        item, request.query.get("q", [None])[0], header and header.decode(), request.cookies.get("c")
    )


@app.router.ws("/ws/{name}")
async def behave(websocket: WebSocket, name: str) -> None:
    await behaviours.run(name, Talk(websocket))


@app.router.ws("/scope/{item}")
async def tell_scope(websocket: WebSocket, item: str) -> None:
    await websocket.accept(headers=[(b"x-room", b"kitchen")])
    await websocket.send_text(describe(websocket, item))
    await websocket.close()


@app.router.head("/page/{item}")
@app.router.get("/page/{item}")
async def tell_request(request: Request, item: str) -> Response:
    return text(describe(request, item))


@app.router.get("/stream")
async def stream() -> Response:
    return Response(200, content=StreamedContent(b"text/plain", behaviours.stream))


@app.router.route("/json", methods=["POST", "PUT", "PATCH"])
async def read_json(request: Request) -> Response:
    return json(behaviours.describe_json(request.method, await request.json()))


@app.router.delete("/json")
async def delete() -> Response:
    return no_content()


@app.router.post("/form")
async def read_form(request: Request) -> Response:
    form = await request.form()
    fields, files = [], []
    for name, value in form.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                fields.append((name, one))
            else:
                filename, content_type = one.file_name.decode(), one.content_type.decode()
                files.append(behaviours.tally_file(name, filename, content_type, one.data))
    return json(behaviours.describe_form(fields, files))


@app.router.post("/upload")
async def upload(request: Request) -> Response:
    return text(await behaviours.take(request.stream()))


@app.router.get("/download")
async def download() -> Response:
    return Response(200, content=StreamedContent(b"application/octet-stream", behaviours.give))


@app.router.post("/ignore")
async def ignore() -> Response:
    return text("later", 202)


async def add_header(request: Request, handler: Any) -> Response:
    response: Response = await handler(request)
    response.add_header(b"x-middleware", b"passed")
    return response


app.middlewares.append(add_header)


@app.on_stop
async def shut_down(application: Application) -> None:
    note("shutdown")
