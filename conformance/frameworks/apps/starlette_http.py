"""The pages of starlette_app.py that have no WebSocket in them: bodies, files, cookies, events."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import AsyncIterator, Dict

from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from . import behaviours
from .payload import MIB, make_pieces
from .seen import describe, note

FOLDER = tempfile.TemporaryDirectory(prefix="frameworks-")
FILE = Path(FOLDER.name, "file.bin")
FILE.write_bytes(b"".join(make_pieces(3 * MIB)))


async def read_json(request: Request) -> Response:
    if request.method == "DELETE":
        return Response(status_code=204)
    return JSONResponse(behaviours.describe_json(request.method, await request.json()))


async def read_form(request: Request) -> Response:
    fields, files = [], []
    async with request.form() as form:
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields.append((name, value))
            else:
                content = await value.read()
                files.append(behaviours.tally_file(name, value.filename, value.content_type, content))
    return JSONResponse(behaviours.describe_form(fields, files))


async def upload(request: Request) -> Response:
    return PlainTextResponse(await behaviours.take(request.stream()))


async def download(request: Request) -> Response:
    return StreamingResponse(behaviours.give())


async def ignore(request: Request) -> Response:
    return PlainTextResponse("later", 202)


async def fail(request: Request) -> Response:
    raise RuntimeError("on purpose")


async def slow_page(request: Request) -> Response:
    await asyncio.sleep(0.3)
    return PlainTextResponse("slow")


async def log_in(request: Request) -> Response:
    async with request.form() as form:
        note(f"{form['user']} logs in")
    response = RedirectResponse("/page/account", 303)
    response.set_cookie("c", "crumb")
    response.set_cookie("d", "e")
    return response


async def tell_cached(request: Request) -> Response:
    headers = {"ETag": '"one"'}
    if request.headers.get("if-none-match") == '"one"':
        return Response(status_code=304, headers=headers)
    return PlainTextResponse("cached", headers=headers)


async def send_file(request: Request) -> Response:
    return FileResponse(FILE, media_type="application/octet-stream")


async def send_events(request: Request) -> Response:
    events = tick() if request.path_params["kind"] == "endless" else count()
    return EventSourceResponse(events)


async def tick() -> AsyncIterator[Dict[str, str]]:
    try:
        while True:
            yield {"data": "tick"}
            await asyncio.sleep(0.05)
    except BaseException as error:
        note(f"events end with {describe(error)}")
        raise


async def count() -> AsyncIterator[Dict[str, str]]:
    for number in range(3):
        yield {"id": str(number), "event": "count", "data": str(number)}


routes = [
    Route("/json", read_json, methods=["POST", "PUT", "PATCH", "DELETE"]),
    Route("/form", read_form, methods=["POST"]),
    Route("/upload", upload, methods=["POST", "PUT"]),
    Route("/download", download),
    Route("/ignore", ignore, methods=["POST"]),
    Route("/fail", fail, methods=["POST"]),
    Route("/slow-page", slow_page),
    Route("/login", log_in, methods=["POST"]),
    Route("/cached", tell_cached),
    Route("/file", send_file),
    Route("/events/{kind}", send_events),
]
