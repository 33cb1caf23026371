from __future__ import annotations

import asyncio
from typing import Any, Dict, Optional, Tuple

from quart import Quart, Response, abort, request, websocket

from . import behaviours
from .seen import note

app = Quart(__name__)
app.config["MAX_CONTENT_LENGTH"] = None


class Talk(behaviours.Talk):
    """Quart cancels the handler when the client is gone."""

    async def accept(self, subprotocol: Optional[str] = None) -> None:
        await websocket.accept(subprotocol=subprotocol)

    async def receive(self, kind: type = str) -> behaviours.Message:
        return await websocket.receive()

    async def send(self, message: behaviours.Message) -> None:
        try:
            await websocket.send(message)
        except OSError:
            await asyncio.sleep(1)  # The cancellation is on its way; which of the two comes first is chance.

    async def close(self, code: int, reason: str = "") -> None:
        await websocket.close(code, reason)


def describe(connection: Any, item: str) -> str:
    return behaviours.describe_request(
        item, connection.args.get("q"), connection.headers.get("x-test"), connection.cookies.get("c")
    )


@app.websocket("/ws/<name>")
async def behave(name: str) -> None:
    await behaviours.run(name, Talk())


@app.websocket("/scope/<item>")
async def tell_scope(item: str) -> None:
    await websocket.accept(headers={"x-room": "kitchen"})
    await websocket.send(describe(websocket, item))
    await websocket.close(1000)


@app.websocket("/abort")
async def refuse() -> None:
    abort(401, "who are you?")


@app.get("/page/<item>")
async def tell_request(item: str) -> Response:
    return Response(describe(request, item), mimetype="text/plain")


@app.get("/stream")
async def stream() -> Response:
    return Response(behaviours.stream(), mimetype="text/plain")


@app.route("/json", methods=["POST", "PUT", "PATCH"])
async def read_json() -> Dict[str, Any]:
    return behaviours.describe_json(request.method, await request.get_json())


@app.delete("/json")
async def delete() -> Tuple[str, int]:
    return "", 204


@app.post("/form")
async def read_form() -> Dict[str, Any]:
    form, files = await request.form, await request.files
    return behaviours.describe_form(
        form.items(multi=True),
        [
            behaviours.tally_file(name, file.filename, file.content_type, file.read())
            for name, file in files.items(multi=True)
        ],
    )


@app.post("/upload")
async def upload() -> Response:
    return Response(await behaviours.take(request.body), mimetype="text/plain")


@app.get("/download")
async def download() -> Response:
    return Response(behaviours.give())


@app.post("/converse")
async def converse() -> Response:
    return Response(request.body, mimetype="text/plain")


@app.post("/ignore")
async def ignore() -> Tuple[str, int]:
    return "later", 202


@app.after_request
async def add_header(response: Response) -> Response:
    response.headers["x-middleware"] = "passed"
    return response


@app.after_serving
async def shut_down() -> None:
    note("shutdown")
