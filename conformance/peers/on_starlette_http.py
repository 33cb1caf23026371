"""A pytest plug-in for the tests of Starlette and FastAPI: `TestClient` sends requests to a real wsbridge.

What the test gives as the address, the scheme and the mount point of a server that does not exist is put into
the scope; everything else of it, the body and the response go through the socket.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from typing import Any, Dict, List, Optional

import httpx2 as httpx
import pytest
from starlette import testclient

from .serving import run_wsbridge

# The server's own, of which the tests know nothing.
OWN_HEADERS = ("date", "connection", "transfer-encoding")
SECONDS = 10.0


def pytest_collection_modifyitems(config: pytest.Config, items: List[Any]) -> None:
    """Keep the tests that send requests, and these on asyncio."""
    kept = [item for item in items if sends_requests(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
    for item in kept:
        if item.originalname == "test_staticfiles_with_invalid_dir_permissions_returns_401":
            item.add_marker(pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder"))


def sends_requests(item: Any) -> bool:
    # Starlette's tests get the client from a fixture, of which they import the type; FastAPI's import it.
    names = vars(item.module)
    imports_client = "TestClient" in names and "TestClientFactory" not in names
    has_client = imports_client or "test_client_factory" in item.fixturenames
    is_websocket = "websocket_connect" in inspect.getsource(item.function)
    return has_client and not is_websocket and "trio" not in item.nodeid


class Run:
    """The application, for one request: what it raises, and what it tells Starlette's tests alone."""

    def __init__(self, app: Any, scope: Dict[str, Any]) -> None:
        self._app = app
        self._scope = scope
        self.raised: Optional[BaseException] = None
        self.debug: Optional[Dict[str, Any]] = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_or_note(event: Any) -> None:
            if event["type"] == "http.response.debug":
                self.debug = event["info"]
            else:
                await send(event)

        try:
            await self._app({**scope, **self._scope}, receive, send_or_note)
        except BaseException as error:
            self.raised = error
            raise


class Transport(testclient._TestClientTransport):
    """What the original is to `TestClient`, over a socket; it raises what the application raises, too."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme in ("ws", "wss"):
            return super().handle_request(request)
        run = Run(self.app, self._build_scope(request))
        try:
            response = self._send(request, run)
        except httpx.RemoteProtocolError:
            if run.raised is None:
                raise
            response = httpx.Response(500)
        if run.raised is not None and self.raise_server_exceptions:
            raise run.raised
        if run.debug is not None:
            response.extensions["http.response.debug"] = run.debug
            vars(response).update(run.debug)
        return response

    def _build_scope(self, request: httpx.Request) -> Dict[str, Any]:
        """What of the scope is the test's."""
        scheme = request.url.scheme
        return {
            "client": self.client,
            "server": [
                request.url.raw_host.decode("ascii"),
                request.url.port or {"http": 80, "https": 443}[scheme],
            ],
            "scheme": scheme,
            "root_path": self.root_path,
            "state": self.app_state.copy(),
            "extensions": {"http.response.debug": {}},
        }

    def _send(self, request: httpx.Request, run: Run) -> httpx.Response:
        with contextlib.ExitStack() as stack:
            portal = stack.enter_context(self.portal_factory())
            server = run_wsbridge(run, lifespan="off")
            port = stack.enter_context(portal.wrap_async_context_manager(server))
            client = stack.enter_context(httpx.HTTPTransport(verify=False))
            answer = client.handle_request(
                httpx.Request(
                    request.method,
                    request.url.copy_with(scheme="http", host="127.0.0.1", port=port),
                    # RFC 9110 5.5: blanks around a value are no part of it; the client refuses to send them.
                    headers=[(name, value.strip(b" \t")) for name, value in request.headers.raw],
                    stream=request.stream,
                    extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), SECONDS)},
                )
            )
            body = b"".join(answer.stream)
        headers = [
            (name, value) for name, value in answer.headers.raw if name.lower().decode() not in OWN_HEADERS
        ]
        return httpx.Response(
            answer.status_code, headers=headers, stream=httpx.ByteStream(body), request=request
        )


testclient._TestClientTransport = Transport  # type: ignore[misc]
