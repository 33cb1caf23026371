from __future__ import annotations

import contextlib
from typing import Annotated, Any, AsyncIterator, Optional

from fastapi import Cookie, Depends, FastAPI, Header, HTTPException, Query, Request, WebSocket
from fastapi.exceptions import WebSocketException
from fastapi.responses import PlainTextResponse, StreamingResponse

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


@app.get("/page/{item}")
async def tell_request(described: Annotated[str, Depends(describe)]) -> PlainTextResponse:
    return PlainTextResponse(described)


@app.get("/stream")
async def stream() -> StreamingResponse:
    return StreamingResponse(behaviours.stream())


@app.middleware("http")
async def add_header(request: Request, call_next: Any) -> Any:
    response = await call_next(request)
    response.headers["x-middleware"] = "passed"
    return response
