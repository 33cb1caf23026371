"""The scopes of a connection's requests: what the request tells, the connection's ends, and its TLS."""

from __future__ import annotations

import asyncio

from ...asgi.scope import HttpScopes, SecureHttpScopes, build_http_scope, build_ws_scope
from ...asgi.types import Scope
from ...protocols.events import RequestReceived
from ..service import Service
from .addresses import Ends
from .info import ConnectionInfo
from .tls_extension import add_tls_extension, build_tls_extension

__all__ = ["build_request_scope", "build_websocket_scope", "prepare_scopes"]


def prepare_scopes(service: Service, transport: asyncio.BaseTransport, ends: Ends) -> HttpScopes:
    """What builds the scopes of all requests of one connection that open no WebSocket."""
    tls = build_tls_extension(transport) if ends.is_secure else None
    if tls is not None:
        return SecureHttpScopes(tls, service.config, ends.client, ends.server, state=service.state)
    scheme = "https" if ends.is_secure else "http"
    return HttpScopes(service.config, ends.client, ends.server, scheme=scheme, state=service.state)


def build_request_scope(
    service: Service, transport: asyncio.BaseTransport, request: RequestReceived, ends: Ends
) -> Scope:
    """The scope of one request that opens no WebSocket, the only one of its ``transport``."""
    scheme = "https" if ends.is_secure else "http"
    scope = build_http_scope(
        request, service.config, ends.client, ends.server, scheme=scheme, state=service.state
    )
    if ends.is_secure:
        add_tls_extension(scope, transport)
    return scope


def build_websocket_scope(
    service: Service,
    transport: asyncio.BaseTransport,
    request: RequestReceived,
    ends: Ends,
    info: ConnectionInfo,
) -> Scope:
    """The scope of a WebSocket, in which ``info`` is that of the connection."""
    scheme = "wss" if ends.is_secure else "ws"
    scope = build_ws_scope(
        request,
        service.config,
        ends.client,
        ends.server,
        scheme=scheme,
        state=service.state,
        connection=info,
    )
    if ends.is_secure:
        add_tls_extension(scope, transport)
    return scope
