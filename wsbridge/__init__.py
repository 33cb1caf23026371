"""wsbridge: the WebSocket half of an ASGI server in pure Python, with no dependency at all.

The names below are loaded on first use (PEP 562): a program that needs only the
frame codec (``wsbridge.protocols.ws``) loads neither asyncio nor ssl.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, List

if TYPE_CHECKING:
    from .asgi.ws_bridge import build_ws_event, build_ws_scope, create_ws_receive, create_ws_send
    from .config import ServerConfig
    from .protocols.errors import ClientDisconnected, ProtocolViolation, RequestRefused, WSBridgeError
    from .protocols.events import (
        RequestReceived,
        WebSocketConnected,
        WebSocketDataReceived,
        WebSocketDisconnected,
    )
    from .protocols.handshake import build_101_response, build_ws_accept_key
    from .protocols.http11 import RequestParser
    from .protocols.ws import WSProtocol
    from .server.connection.embedded import EmbeddedConnection
    from .server.connection.head import Connection
    from .server.connection.info import ConnectionInfo
    from .server.running import run
    from .server.server import Server, serve
    from .server.service import Service
    from .server.speed import new_event_loop
    from .server.streams import handle_websocket
    from .server.thread import ThreadedServer, run_in_thread

__version__ = "0.1.0"

_HOMES = {
    "build_ws_event": ".asgi.ws_bridge",
    "build_ws_scope": ".asgi.ws_bridge",
    "create_ws_receive": ".asgi.ws_bridge",
    "create_ws_send": ".asgi.ws_bridge",
    "ServerConfig": ".config",
    "ClientDisconnected": ".protocols.errors",
    "ProtocolViolation": ".protocols.errors",
    "RequestRefused": ".protocols.errors",
    "WSBridgeError": ".protocols.errors",
    "RequestReceived": ".protocols.events",
    "WebSocketConnected": ".protocols.events",
    "WebSocketDataReceived": ".protocols.events",
    "WebSocketDisconnected": ".protocols.events",
    "build_101_response": ".protocols.handshake",
    "build_ws_accept_key": ".protocols.handshake",
    "RequestParser": ".protocols.http11",
    "WSProtocol": ".protocols.ws",
    "Connection": ".server.connection.head",
    "EmbeddedConnection": ".server.connection.embedded",
    "ConnectionInfo": ".server.connection.info",
    "new_event_loop": ".server.speed",
    "Server": ".server.server",
    "run": ".server.running",
    "serve": ".server.server",
    "Service": ".server.service",
    "handle_websocket": ".server.streams",
    "ThreadedServer": ".server.thread",
    "run_in_thread": ".server.thread",
}

__all__ = [
    "__version__",
    "build_ws_event",
    "build_ws_scope",
    "create_ws_receive",
    "create_ws_send",
    "ServerConfig",
    "ClientDisconnected",
    "ProtocolViolation",
    "RequestRefused",
    "WSBridgeError",
    "RequestReceived",
    "WebSocketConnected",
    "WebSocketDataReceived",
    "WebSocketDisconnected",
    "build_101_response",
    "build_ws_accept_key",
    "RequestParser",
    "WSProtocol",
    "Connection",
    "EmbeddedConnection",
    "ConnectionInfo",
    "new_event_loop",
    "Server",
    "run",
    "serve",
    "Service",
    "handle_websocket",
    "ThreadedServer",
    "run_in_thread",
]


if not TYPE_CHECKING:
    # With this function in sight, a type checker would accept any name.
    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(_HOMES[name], __name__), name)
        globals()[name] = value
        return value


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})
