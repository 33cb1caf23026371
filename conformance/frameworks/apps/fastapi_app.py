from __future__ import annotations

import contextlib
from typing import Annotated, Any, AsyncIterator, Dict, List, Optional

from fastapi import (
    Body,
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Query,
    Request,
    UploadFile,
    WebSocket,
)
from fastapi.exceptions import WebSocketException
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse, RedirectResponse, StreamingResponse

from . import LONG_REASON, behaviours
from .seen import note
from .starlette_app import Talk


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    note("shutdown")


app = FastAPI(lifespan=lifespan)


def describe(
    item: str,
    q: Optional[str] = None,
    x_test: Annotated[Optional[str], Header()] = None,
    c: Annotated[Optional[str], Cookie()] = None,
) -> str:
    return behaviours.describe_request(item, q, x_test, c)


async def hold_resource() -> AsyncIterator[str]:
    """A dependency with an end of its own, as database sessions have it."""
    try:
        yield "resource"
    finally:
        note("resource let go")


def raise_http_exception() -> None:
    raise HTTPException(401, "who are you?")


def raise_websocket_exception() -> None:
    raise WebSocketException(1008, "not today")


@app.websocket("/ws/{name}")
async def behave(websocket: WebSocket, name: str, resource: Annotated[str, Depends(hold_resource)]) -> None:
    await behaviours.run(name, Talk(websocket))


@app.websocket("/scope/{item}")
async def tell_scope(websocket: WebSocket, described: Annotated[str, Depends(describe)]) -> None:
    await websocket.accept(headers=[(b"x-room", b"kitchen")])
    await websocket.send_text(described)
    await websocket.close()


@app.websocket("/needs-parameters")
async def need_parameters(websocket: WebSocket, token: str, size: Annotated[int, Query(gt=0)]) -> None:
    await websocket.accept()


@app.websocket("/http-exception", dependencies=[Depends(raise_http_exception)])
@app.websocket("/websocket-exception", dependencies=[Depends(raise_websocket_exception)])
async def never_called(websocket: WebSocket) -> None:
    await websocket.accept()


@app.websocket("/websocket-exception-late")
async def raise_late(websocket: WebSocket) -> None:
    await websocket.accept()
    raise WebSocketException(1008, LONG_REASON)


@app.api_route("/page/{item}", methods=["GET", "HEAD"])
async def tell_request(described: Annotated[str, Depends(describe)]) -> PlainTextResponse:
    return PlainTextResponse(described)


@app.get("/stream")
async def stream() -> StreamingResponse:
    return StreamingResponse(behaviours.stream())


@app.api_route("/json", methods=["POST", "PUT", "PATCH"])
async def read_json(request: Request, value: Annotated[Any, Body()]) -> Dict[str, Any]:
    return behaviours.describe_json(request.method, value)


@app.delete("/json", status_code=204)
async def delete() -> None:
    pass


@app.post("/form")
async def read_form(
    name: Annotated[str, Form()],
    tag: Annotated[List[str], Form()],
    file: Annotated[Optional[UploadFile], File()] = None,
) -> Dict[str, Any]:
    files = []
    if file is not None:
        files.append(behaviours.tally_file("file", file.filename, file.content_type, await file.read()))
    return behaviours.describe_form([("name", name), *(("tag", one) for one in tag)], files)


@app.post("/upload")
async def upload(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await behaviours.take(request.stream()))


@app.get("/download")
async def download() -> StreamingResponse:
    return StreamingResponse(behaviours.give())


@app.post("/ignore", status_code=202)
async def ignore() -> PlainTextResponse:
    return PlainTextResponse("later", 202)


@app.post("/login")
async def log_in(user: Annotated[str, Form()]) -> RedirectResponse:
    note(f"{user} logs in")
    response = RedirectResponse("/page/account", 303)
    response.set_cookie("c", "crumb")
    response.set_cookie("d", "e")
    return response


app.add_middleware(CORSMiddleware, **behaviours.CORS)


@app.middleware("http")
async def add_header(request: Request, call_next: Any) -> Any:
    response = await call_next(request)
    response.headers["x-middleware"] = "passed"
    return response
