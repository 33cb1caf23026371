from __future__ import annotations

from typing import Any, Optional

from sanic import Request, Sanic
from sanic.response import HTTPResponse, empty, json, text

from . import behaviours
from .payload import MIB
from .seen import note

app = Sanic("street")
app.config.REQUEST_MAX_SIZE = 200 * MIB


class Talk(behaviours.Talk):
    """Sanic accepts before it calls the handler; after the disconnect its recv() returns None."""

    def __init__(self, websocket: Any) -> None:
        self.send = websocket.send
        self.close = websocket.close
        self._websocket = websocket

    async def accept(self, subprotocol: Optional[str] = None) -> None:
        pass

    async def receive(self, kind: type = str) -> behaviours.Message:
        message = await self._websocket.recv()
        if message is None:
            raise ConnectionResetError("recv() returned None")
        return message


def describe(request: Request, item: str) -> str:
    return behaviours.describe_request(
        item, request.args.get("q"), request.headers.get("x-test"), request.cookies.get("c")
    )


@app.websocket("/ws/<name>", subprotocols=["chat"])
async def behave(request: Request, websocket: Any, name: str) -> None:
    await behaviours.run(name, Talk(websocket))


@app.websocket("/scope/<item>")
async def tell_scope(request: Request, websocket: Any, item: str) -> None:
    await websocket.send(describe(request, item))


@app.route("/page/<item>", methods=["GET", "HEAD"])
async def tell_request(request: Request, item: str) -> HTTPResponse:
    return text(describe(request, item))


@app.get("/stream")
async def stream(request: Request) -> None:
    response = await request.respond(content_type="text/plain")
    async for piece in behaviours.stream():
        await response.send(piece)
    await response.eof()


@app.route("/json", methods=["POST", "PUT", "PATCH"])
async def read_json(request: Request) -> HTTPResponse:
    return json(behaviours.describe_json(request.method, request.json))


@app.delete("/json")
async def delete(request: Request) -> HTTPResponse:
    return empty()


@app.post("/form")
async def read_form(request: Request) -> HTTPResponse:
    fields = [(name, value) for name, values in request.form.items() for value in values]
    files = [
        behaviours.tally_file(name, file.name, file.type, file.body)
        for name, several in request.files.items()
        for file in several
    ]
    return json(behaviours.describe_form(fields, files))


@app.post("/upload", stream=True)
async def upload(request: Request) -> HTTPResponse:
    return text(await behaviours.take(request.stream))


@app.get("/download")
async def download(request: Request) -> None:
    response = await request.respond(content_type="application/octet-stream")
    async for piece in behaviours.give():
        await response.send(piece)
    await response.eof()


@app.post("/ignore", stream=True)
async def ignore(request: Request) -> HTTPResponse:
    return text("later", 202)


@app.on_response
async def add_header(request: Request, response: HTTPResponse) -> None:
    response.headers["x-middleware"] = "passed"


@app.after_server_stop
async def shut_down(application: Sanic[Any, Any], loop: Any = None) -> None:
    note("shutdown")
