from __future__ import annotations

from typing import Any, Optional

from sanic import Request, Sanic
from sanic.response import HTTPResponse, text

from . import behaviours
from .seen import note

app = Sanic("street")


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


@app.get("/page/<item>")
async def tell_request(request: Request, item: str) -> HTTPResponse:
    return text(describe(request, item))


@app.get("/stream")
async def stream(request: Request) -> None:
    response = await request.respond(content_type="text/plain")
    async for piece in behaviours.stream():
        await response.send(piece)
    await response.eof()


@app.on_response
async def add_header(request: Request, response: HTTPResponse) -> None:
    response.headers["x-middleware"] = "passed"


@app.after_server_stop
async def shut_down(application: Sanic[Any, Any], loop: Any = None) -> None:
    note("shutdown")
