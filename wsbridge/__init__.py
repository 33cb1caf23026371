"""wsbridge: WebSockets and HTTP/1.1 for ASGI in pure Python, with no dependency at all.

The names below are loaded on first use (PEP 562): a program that needs only the
frame codec (``wsbridge.protocols.ws``) loads neither asyncio nor ssl.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, List

if TYPE_CHECKING:
    from .asgi.lifespan import Lifespan
    from .asgi.ws_bridge import build_ws_event, build_ws_scope, create_ws_receive, create_ws_send
    from .config import ServerConfig
    from .protocols.deflate import DeflateSettings
    from .protocols.environ import request_from_environ
    from .protocols.errors import (
        ClientDisconnected,
        ConfigError,
        EventError,
        HandshakeFailed,
        LifespanFailed,
        ProtocolViolation,
        RequestRefused,
        StateError,
        WSBridgeError,
    )
    from .protocols.events import (
        RequestReceived,
        WebSocketConnected,
        WebSocketDataReceived,
        WebSocketDisconnected,
    )
    from .protocols.handshake import (
        build_101_response,
        build_upgrade_request,
        build_ws_accept_key,
        check_upgrade_request,
        check_upgrade_response,
        generate_ws_key,
    )
    from .protocols.http11 import RequestParser, ResponseParser, ResponseReceived
    from .protocols.opening import ClientHandshake, ServerHandshake
    from .protocols.responses import build_refusal, build_response
    from .protocols.ws import WSProtocol
    from .server.connection.embedded import EmbeddedConnection
    from .server.connection.head import Connection
    from .server.connection.info import ConnectionInfo
    from .server.connection.multiplexed import RequestStream
    from .server.running import run
    from .server.server import Server, serve
    from .server.service import Service
    from .server.speed import new_event_loop
    from .server.streams import handle_websocket
    from .server.thread import ThreadedServer, run_in_thread

__version__ = "0.1.0"

_HOMES = {
    "Lifespan": ".asgi.lifespan",
    "build_ws_event": ".asgi.ws_bridge",
    "build_ws_scope": ".asgi.ws_bridge",
    "create_ws_receive": ".asgi.ws_bridge",
    "create_ws_send": ".asgi.ws_bridge",
    "ServerConfig": ".config",
    "DeflateSettings": ".protocols.deflate",
    "request_from_environ": ".protocols.environ",
    "ClientDisconnected": ".protocols.errors",
    "ProtocolViolation": ".protocols.errors",
    "RequestRefused": ".protocols.errors",
    "WSBridgeError": ".protocols.errors",
    "ConfigError": ".protocols.errors",
    "EventError": ".protocols.errors",
    "HandshakeFailed": ".protocols.errors",
    "LifespanFailed": ".protocols.errors",
    "StateError": ".protocols.errors",
    "RequestReceived": ".protocols.events",
    "WebSocketConnected": ".protocols.events",
    "WebSocketDataReceived": ".protocols.events",
    "WebSocketDisconnected": ".protocols.events",
    "build_101_response": ".protocols.handshake",
    "build_ws_accept_key": ".protocols.handshake",
    "build_upgrade_request": ".protocols.handshake",
    "check_upgrade_request": ".protocols.handshake",
    "check_upgrade_response": ".protocols.handshake",
    "generate_ws_key": ".protocols.handshake",
    "RequestParser": ".protocols.http11",
    "ResponseParser": ".protocols.http11",
    "ResponseReceived": ".protocols.http11",
    "build_refusal": ".protocols.responses",
    "build_response": ".protocols.responses",
    "ClientHandshake": ".protocols.opening",
    "ServerHandshake": ".protocols.opening",
    "WSProtocol": ".protocols.ws",
    "Connection": ".server.connection.head",
    "EmbeddedConnection": ".server.connection.embedded",
    "ConnectionInfo": ".server.connection.info",
    "RequestStream": ".server.connection.multiplexed",
    "run": ".server.running",
    "Server": ".server.server",
    "serve": ".server.server",
    "Service": ".server.service",
    "new_event_loop": ".server.speed",
    "handle_websocket": ".server.streams",
    "ThreadedServer": ".server.thread",
    "run_in_thread": ".server.thread",
}

__all__ = [
    "__version__",
    "Lifespan",
    "build_ws_event",
    "build_ws_scope",
    "create_ws_receive",
    "create_ws_send",
    "ServerConfig",
    "DeflateSettings",
    "request_from_environ",
    "ClientDisconnected",
    "ProtocolViolation",
    "RequestRefused",
    "WSBridgeError",
    "ConfigError",
    "EventError",
    "HandshakeFailed",
    "LifespanFailed",
    "StateError",
    "RequestReceived",
    "WebSocketConnected",
    "WebSocketDataReceived",
    "WebSocketDisconnected",
    "build_101_response",
    "build_ws_accept_key",
    "build_upgrade_request",
    "check_upgrade_request",
    "check_upgrade_response",
    "generate_ws_key",
    "RequestParser",
    "ResponseParser",
    "ResponseReceived",
    "build_refusal",
    "build_response",
    "ClientHandshake",
    "ServerHandshake",
    "WSProtocol",
    "Connection",
    "EmbeddedConnection",
    "ConnectionInfo",
    "RequestStream",
    "run",
    "Server",
    "serve",
    "Service",
    "new_event_loop",
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
