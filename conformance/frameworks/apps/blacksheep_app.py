from __future__ import annotations

from typing import Any, Optional

from blacksheep import Application, Request, Response, StreamedContent, WebSocket, WebSocketDisconnectError
from blacksheep.server.responses import text

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
