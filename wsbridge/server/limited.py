"""`LimitedService`: a service that tells when its applications have been called often enough."""

from __future__ import annotations

import os
from typing import Any, Awaitable, Callable, Dict, Optional

from ..asgi.types import Application, Receive, Scope, Send
from ..config import ServerConfig
from .service import Service

__all__ = ["LimitedService", "build_service"]


class LimitedService(Service):
    """Calls ``on_limit`` once, when ``limit`` requests and WebSockets have reached the application."""

    def __init__(
        self,
        app: Application,
        config: ServerConfig,
        state: Optional[Dict[str, Any]],
        limit: int,
        on_limit: Callable[[], None],
    ) -> None:
        # In front of the application and behind `OwnPaths`: health checks do not count.
        super().__init__(self._count_call, config, state=state)
        self._counted_app = app
        self._left = limit
        self._on_limit = on_limit

    def _count_call(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        self._left -= 1
        if not self._left:
            # Not now: the request must first be a member, to be waited for.
            self.loop.call_soon(self._on_limit)
        return self._counted_app(scope, receive, send)


def build_service(
    app: Application,
    config: ServerConfig,
    state: Optional[Dict[str, Any]],
    on_limit: Callable[[], None],
) -> Service:
    """The service of a server; only one with ``limit_max_requests`` counts, which takes time."""
    if config.limit_max_requests is None:
        return Service(app, config, state=state)
    jitter = int.from_bytes(os.urandom(8), "big") % (config.limit_max_requests_jitter + 1)
    return LimitedService(app, config, state, config.limit_max_requests + jitter, on_limit)
