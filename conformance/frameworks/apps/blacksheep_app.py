from __future__ import annotations

from typing import Any

from blacksheep import Application, Request, Response, StreamedContent, WebSocket, WebSocketDisconnectError
from blacksheep.server.responses import text

from . import behaviours
from .seen import note

app = Application()


class Talk(behaviours.Talk):
    disconnected = (WebSocketDisconnectError, OSError)

    def __init__(self, websocket: WebSocket) -> None:
        self.close = websocket.close
        self._websocket = websocket

    async def accept(self, subprotocol: Any = None) -> None:
        await self._websocket.accept(subprotocol=subprotocol)

    async def receive(self, kind: type = str) -> behaviours.Message:
        if kind is bytes:
            return await self._websocket.receive_bytes()
        return await self._websocket.receive_text()

    async def send(self, message: behaviours.Message) -> None:
        if isinstance(message, str):
            await self._websocket.send_text(message)
        else:
            await self._websocket.send_bytes(message)


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


@app.router.get("/page/{item}")
async def tell_request(request: Request, item: str) -> Response:
    return text(describe(request, item))


@app.router.get("/stream")
async def stream() -> Response:
    return Response(200, content=StreamedContent(b"text/plain", behaviours.stream))


async def add_header(request: Request, handler: Any) -> Response:
    response: Response = await handler(request)
    response.add_header(b"x-middleware", b"passed")
    return response


app.middlewares.append(add_header)


@app.on_stop
async def shut_down(application: Application) -> None:
    note("shutdown")
