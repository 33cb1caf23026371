from __future__ import annotations

from typing import Any, Dict, List, Tuple

import falcon
import falcon.asgi
from falcon.asgi import Request, Response, WebSocket

from . import behaviours
from .seen import note


class Talk(behaviours.Talk):
    disconnected = (falcon.WebSocketDisconnected, OSError)

    def __init__(self, websocket: WebSocket) -> None:
        self.accept = websocket.accept
        self.close = websocket.close
        self._websocket = websocket

    async def receive(self, kind: type = str) -> behaviours.Message:
        if kind is bytes:
            return await self._websocket.receive_data()
        return await self._websocket.receive_text()

    async def send(self, message: behaviours.Message) -> None:
        try:
            if isinstance(message, str):
                await self._websocket.send_text(message)
            else:
                await self._websocket.send_data(message)
        except falcon.WebSocketDisconnected:
            raise ConnectionResetError from None  # Whether it knows the code yet is chance.


def describe(request: Request, item: str) -> str:
    return behaviours.describe_request(
        item, request.get_param("q"), request.get_header("x-test"), request.cookies.get("c")
    )


class Behave:
    async def on_websocket(self, request: Request, websocket: WebSocket, name: str) -> None:
        await behaviours.run(name, Talk(websocket))


class Scope:
    async def on_websocket(self, request: Request, websocket: WebSocket, item: str) -> None:
        await websocket.accept(headers={"x-room": "kitchen"})
        await websocket.send_text(describe(request, item))
        await websocket.close()


class Forbidden:
    async def on_websocket(self, request: Request, websocket: WebSocket) -> None:
        raise falcon.HTTPForbidden(description="not today")


class Page:
    async def on_get(self, request: Request, response: Response, item: str) -> None:
        response.content_type, response.text = "text/plain", describe(request, item)

    on_head = on_get


class Stream:
    async def on_get(self, request: Request, response: Response) -> None:
        response.stream = behaviours.stream()


class Json:
    async def on_post(self, request: Request, response: Response) -> None:
        response.media = behaviours.describe_json(request.method, await request.get_media())

    on_put = on_patch = on_post

    async def on_delete(self, request: Request, response: Response) -> None:
        response.status = falcon.HTTP_204


class Form:
    async def on_post(self, request: Request, response: Response) -> None:
        form = await request.get_media()
        fields: List[Tuple[str, str]] = []
        files = []
        if isinstance(form, dict):
            for name, value in form.items():
                fields += [(name, one) for one in (value if isinstance(value, list) else [value])]
        else:
            async for part in form:
                if part.filename is None:
                    fields.append((part.name, await part.text))
                else:
                    content = await part.stream.read()
                    files.append(behaviours.tally_file(part.name, part.filename, part.content_type, content))
        response.media = behaviours.describe_form(fields, files)


class Upload:
    async def on_post(self, request: Request, response: Response) -> None:
        response.content_type, response.text = "text/plain", await behaviours.take(request.stream)


class Download:
    async def on_get(self, request: Request, response: Response) -> None:
        response.stream = behaviours.give()


class Converse:
    async def on_post(self, request: Request, response: Response) -> None:
        response.stream = (piece async for piece in request.stream)


class Ignore:
    async def on_post(self, request: Request, response: Response) -> None:
        response.status, response.text = falcon.HTTP_202, "later"


class FailLate:
    async def on_get(self, request: Request, response: Response) -> None:
        response.stream = behaviours.break_off()


class Middleware:
    async def process_response(self, request: Request, response: Response, *rest: Any) -> None:
        response.set_header("x-middleware", "passed")

    async def process_shutdown(self, scope: Dict[str, Any], event: Dict[str, Any]) -> None:
        note("shutdown")


app = falcon.asgi.App(middleware=[Middleware()])
app.add_route("/ws/{name}", Behave())
app.add_route("/scope/{item}", Scope())
app.add_route("/forbidden", Forbidden())
app.add_route("/page/{item}", Page())
app.add_route("/stream", Stream())
app.add_route("/json", Json())
app.add_route("/form", Form())
app.add_route("/upload", Upload())
app.add_route("/download", Download())
app.add_route("/converse", Converse())
app.add_route("/ignore", Ignore())
app.add_route("/fail-late", FailLate())
