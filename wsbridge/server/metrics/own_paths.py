"""`OwnPaths`: the requests that the server answers itself, in place of the application."""

from __future__ import annotations

from functools import partial
from typing import Awaitable, Callable, Dict, NamedTuple, Optional
from urllib.parse import quote

from ...asgi.scope import split_target
from ...asgi.types import Application, HeaderPairs, Receive, Scope, Send
from ...config import ServerConfig
from .metrics import Metrics

__all__ = ["OwnPaths"]

_TEXT = (b"content-type", b"text/plain; charset=utf-8")

# Prometheus takes no other version of the format without OpenMetrics, which has no more to say here.
_METRICS = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")

# Behind a health check. A connection that is kept would be idle when the server stops, and close before the
# next check.
_CLOSE = (b"connection", b"close")

_NOT_FOUND = b"the server answers this path itself, and it is no WebSocket\n"


class _Response(NamedTuple):
    status: int
    body: bytes
    headers: HeaderPairs


class OwnPaths:
    """Answers ``health_path`` and ``metrics_path``, and passes every other request on to the application.

    ``is_stopping`` tells whether the server is stopping; ``metrics`` are shown
    unless it is None or ``metrics_path`` empty. The paths are compared
    with the path of the request's target as it was sent, without what a proxy
    has removed from it.

    A request to one of the paths is answered like any other, so that every
    method, HTTP/1.0, a body and a slow client need no rule of their own. Only a
    WebSocket gets 404: in HTTP/2 a 200 would open it.
    """

    def __init__(
        self, config: ServerConfig, is_stopping: Callable[[], bool], metrics: Optional[Metrics] = None
    ) -> None:
        self._is_stopping = is_stopping
        self._responses: Dict[bytes, Callable[[str], _Response]] = {}
        if config.health_path is not None:
            self._responses[config.health_path.encode()] = self._check_health
        # An empty path stands for none.
        if metrics is not None and config.metrics_path:
            self._responses[config.metrics_path.encode()] = partial(_show_metrics, metrics)

    def include(self, target: bytes) -> bool:
        """Whether the request target ``target`` has one of the paths."""
        return split_target(target)[0] in self._responses

    def include_page(self, scope: Scope) -> bool:
        """Whether ``scope`` is that of a request to one of the paths, and not of a WebSocket."""
        return scope["type"] == "http" and _get_sent_path(scope) in self._responses

    def answer_for(self, app: Application) -> Application:
        """The application that answers the paths, and calls ``app`` for every other request."""

        # No coroutine: one around that of the application would cost every message.
        def answer(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            respond = self._responses.get(_get_sent_path(scope))
            if respond is None:
                return app(scope, receive, send)
            if scope["type"] == "websocket":
                return _send(send, "websocket.http.response", _Response(404, _NOT_FOUND, [_TEXT]))
            return _send(send, "http.response", respond(scope["method"]))

        return answer

    def _check_health(self, method: str) -> _Response:
        if self._is_stopping():
            return _Response(503, b"stopping\n", [_TEXT, _CLOSE])
        return _Response(200, b"ok\n", [_TEXT, _CLOSE])


def _show_metrics(metrics: Metrics, method: str) -> _Response:
    if method not in ("GET", "HEAD"):
        # RFC 9110 15.5.6: a 405 names the methods.
        return _Response(405, b"GET and HEAD are allowed\n", [_TEXT, (b"allow", b"GET, HEAD")])
    return _Response(200, metrics.render().encode(), [_METRICS])


def _get_sent_path(scope: Scope) -> bytes:
    # ASGI: `raw_path` begins with `root_path`, which is not in the target.
    path: bytes = scope["raw_path"]
    return path[len(quote(scope["root_path"])) :]


async def _send(send: Send, kind: str, response: _Response) -> None:
    headers = [
        *response.headers,
        (b"content-length", b"%d" % len(response.body)),
        # RFC 9111 5.2.2.5: it is about now.
        (b"cache-control", b"no-store"),
    ]
    await send({"type": f"{kind}.start", "status": response.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": response.body})
