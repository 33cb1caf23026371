"""A pytest plug-in for Starlette's own tests: `TestClient` opens its WebSockets on a real server."""

from __future__ import annotations

import contextlib
import inspect
import json
import socket
from typing import Any, List, Optional

import pytest
import websockets
from starlette import testclient
from starlette.websockets import WebSocketDisconnect
from websockets.sync.client import connect

from .serving import serving

# What a handshake answers with besides the application's headers; uvicorn's are among them.
OWN_HEADERS = ("upgrade", "connection", "sec-websocket-", "date", "server")
# What websockets sends itself.
CLIENT_HEADERS = ("host", "connection", "upgrade", "sec-websocket-")
SECONDS = 10.0


def pytest_collection_modifyitems(config: pytest.Config, items: List[Any]) -> None:
    """Keep the tests that open a WebSocket, and these on asyncio."""
    kept = [
        item
        for item in items
        if "websocket_connect" in inspect.getsource(item.function) and "trio" not in item.nodeid
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


class Session:
    """What `WebSocketTestSession` is to the tests, over a socket.

    What the application raises is raised here as well, as the original does.
    """

    def __init__(self, app: Any, scope: Any, portal_factory: Any) -> None:
        self._app = app
        self._scope = scope
        self._raised: Optional[BaseException] = None
        self._rest = contextlib.ExitStack()

    async def _run_app(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, receive, send)
        except BaseException as error:
            # In a lifespan it says that there is none.
            if scope["type"] == "websocket":
                self._raised = error
            raise

    def __enter__(self) -> Session:
        with contextlib.ExitStack() as stack:
            stack.callback(self._raise_what_was_raised)
            port = stack.enter_context(serving(self._run_app))
            self._client = self._connect(port, stack)
            response: Any = self._client.response
            self.accepted_subprotocol = self._client.subprotocol
            self.extra_headers = [
                (name.encode(), value.encode())
                for name, value in response.headers.raw_items()
                if not name.lower().startswith(OWN_HEADERS)
            ]
            self._rest = stack.pop_all()
        return self

    def __exit__(self, *args: Any) -> Optional[bool]:
        return self._rest.__exit__(*args)

    def _raise_what_was_raised(self) -> None:
        if self._raised is not None:
            raise self._raised

    def _connect(self, port: int, stack: contextlib.ExitStack) -> Any:
        scope = self._scope
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
        more = {name: value for name, value in headers.items() if not name.startswith(CLIENT_HEADERS)}
        try:
            return stack.enter_context(
                connect(
                    f"ws://{headers['host']}{scope['raw_path'].decode()}{query}",
                    sock=socket.create_connection(("127.0.0.1", port), SECONDS),
                    additional_headers=more,
                    user_agent_header=None,
                    subprotocols=scope["subprotocols"] or None,
                    compression=None,
                )
            )
        except websockets.InvalidStatus as error:
            answer = error.response
            raise testclient.WebSocketDenialResponse(
                status_code=answer.status_code,
                headers=list(answer.headers.raw_items()),
                content=bytes(answer.body or b""),
            ) from None

    def send(self, event: Any) -> None:
        if event["type"] == "websocket.receive":
            self._client.send(event["text"] if "text" in event else event["bytes"])
        else:
            raise ValueError(f"no client can send {event['type']}")

    def send_text(self, data: str) -> None:
        self._client.send(data)

    def send_bytes(self, data: bytes) -> None:
        self._client.send(data)

    def send_json(self, data: Any, mode: str = "text") -> None:
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        self._client.send(text if mode == "text" else text.encode())

    def close(self, code: int = 1000, reason: Optional[str] = None) -> None:
        self._client.close(code, reason or "")

    def receive(self) -> Any:
        try:
            message = self._client.recv(SECONDS)
        except websockets.ConnectionClosed as closed:
            close: Any = closed.rcvd
            return {"type": "websocket.close", "code": close.code, "reason": close.reason}
        return {"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message}

    def _receive_message(self) -> Any:
        event = self.receive()
        if event["type"] == "websocket.close":
            raise WebSocketDisconnect(event["code"], event["reason"])
        return event

    def receive_text(self) -> Any:
        return self._receive_message()["text"]

    def receive_bytes(self) -> Any:
        return self._receive_message()["bytes"]

    def receive_json(self, mode: str = "text") -> Any:
        return json.loads(self._receive_message()["text" if mode == "text" else "bytes"])


testclient.WebSocketTestSession = Session  # type: ignore[misc, assignment]
