"""ASGI scopes from a request's head: ``websocket`` (spec_version 2.5) and ``http`` (2.3)."""

from __future__ import annotations

from itertools import chain
from typing import Any, Dict, Iterable, Optional, Tuple
from urllib.parse import quote, unquote_to_bytes

from ..config import ServerConfig
from ..protocols.events import RequestReceived
from ..protocols.fields import parse_authority, parse_subprotocols
from ..protocols.forwarded import Forwarded, read_forwarded
from ..protocols.handshake import check_upgrade_request
from .types import HeaderPairs, Scope

__all__ = [
    "HttpScopes",
    "SecureHttpScopes",
    "build_http_scope",
    "build_ws_scope",
    "check_ws_request",
    "split_target",
]

# Host and port; a path and None for a server on a unix socket; None for a client on one.
Address = Optional[Tuple[str, Optional[int]]]

(_PERCENT,) = b"%"

# Bytes of headers up to which `HttpScopes` keeps what it has made of them.
MAX_REMEMBERED = 4096


def check_ws_request(
    request: RequestReceived, config: ServerConfig, client: Address, server: Address
) -> bytes:
    """`check_upgrade_request` with the configured origins; ``same-origin`` compares with the scope's Host."""
    host = None
    if config.origins is not None:
        forwarded = _read_forwarded(request.headers, config, client, server)
        if forwarded is not None and forwarded.host is not None:
            host = _join_port(forwarded.host, forwarded.port)
    return check_upgrade_request(request, allowed_origins=config.origins, host=host)


def build_ws_scope(
    request: RequestReceived,
    config: ServerConfig,
    client: Address,
    server: Address,
    *,
    scheme: Optional[str] = None,
    state: Optional[Dict[str, Any]] = None,
    connection: Optional[object] = None,
) -> Scope:
    """The ``websocket`` scope of a checked upgrade request.

    ``client`` and ``server`` are host and port; a ``client`` of None is a peer
    on a unix socket. ``scheme`` is ``ws`` or ``wss``; None stands for ``wss`` if
    ``config.ssl_certfile`` is set, else ``ws``. ``state`` is the lifespan's, given to the
    application as a shallow copy; None if the application has no lifespan.
    ``connection`` becomes ``scope["wsbridge.connection"]``.

    Headers of trusted proxies are applied (`ServerConfig.forwarded_allow_ips`).
    Raises `BadRequest` for a malformed Sec-WebSocket-Protocol, a mistake of
    the client; `ValueError` for another ``scheme`` and `TypeError` for a
    malformed address, mistakes of the caller.
    """
    scope = _build_scope("websocket", request, config, client, server, scheme, state)
    offers = request.values.get(b"sec-websocket-protocol")
    scope["subprotocols"] = [] if offers is None else parse_subprotocols(offers)
    scope["extensions"] = {"websocket.http.response": {}}
    if connection is not None:
        # Not in `extensions`, which hold data that applications copy and dump as JSON.
        scope["wsbridge.connection"] = connection
    return scope


def build_http_scope(
    request: RequestReceived,
    config: ServerConfig,
    client: Address,
    server: Address,
    *,
    scheme: Optional[str] = None,
    state: Optional[Dict[str, Any]] = None,
) -> Scope:
    """The ``http`` scope of a request that opens no WebSocket.

    The arguments are those of `build_ws_scope`; ``scheme`` is ``http`` or ``https``.
    """
    scope = _build_scope("http", request, config, client, server, scheme, state)
    scope["method"] = request.method.decode("ascii")
    scope["extensions"] = {}
    return scope


class HttpScopes:
    """Builds the ``http`` scopes of one connection's requests, which often have the same headers.

    The arguments are those of `build_http_scope`.
    """

    __slots__ = ("_client", "_config", "_headers", "_scheme", "_server", "_state", "_template")

    def __init__(
        self,
        config: ServerConfig,
        client: Address,
        server: Address,
        *,
        scheme: Optional[str] = None,
        state: Optional[Dict[str, Any]] = None,
    ) -> None:
        self._config = config
        self._client = client
        self._server = server
        self._scheme = scheme
        self._state = state
        # The headers of the last request, which are None if they are large, and its scope.
        self._headers: Optional[Tuple[Tuple[bytes, bytes], ...]] = None
        self._template: Scope = {}

    def build(self, request: RequestReceived) -> Scope:
        """The scope of ``request``, which the application may change: the next one is another."""
        # `RequestParser` returns the same tuple for the same lines.
        if request.headers is not self._headers:
            return self._build_first(request)
        template = self._template
        path, raw_path, query_string = _build_paths(request.target, template["root_path"])
        scope = template.copy()
        scope["asgi"] = template["asgi"].copy()
        scope["http_version"] = request.http_version
        scope["path"] = path
        scope["raw_path"] = raw_path
        scope["query_string"] = query_string
        scope["headers"] = template["headers"].copy()
        scope["method"] = request.method.decode("ascii")
        scope["extensions"] = {}
        if self._state is not None:
            scope["state"] = self._state.copy()
        return scope

    def _build_first(self, request: RequestReceived) -> Scope:
        scope = build_http_scope(
            request, self._config, self._client, self._server, scheme=self._scheme, state=self._state
        )
        self._headers, self._template = None, {}
        if sum(map(len, chain.from_iterable(request.headers))) <= MAX_REMEMBERED:
            # The application may change its own.
            self._headers = request.headers
            self._template = {**scope, "asgi": scope["asgi"].copy(), "headers": scope["headers"].copy()}
        return scope


class SecureHttpScopes(HttpScopes):
    """`HttpScopes` of a connection under TLS; ``tls`` is the extension of this name."""

    __slots__ = ("_tls",)

    def __init__(
        self,
        tls: Dict[str, Any],
        config: ServerConfig,
        client: Address,
        server: Address,
        *,
        state: Optional[Dict[str, Any]] = None,
    ) -> None:
        super().__init__(config, client, server, scheme="https", state=state)
        self._tls = tls

    def build(self, request: RequestReceived) -> Scope:
        scope = super().build(request)
        scope["extensions"]["tls"] = self._tls.copy()
        return scope


def _build_scope(
    kind: str,
    request: RequestReceived,
    config: ServerConfig,
    client: Address,
    server: Address,
    scheme: Optional[str],
    state: Optional[Dict[str, Any]],
) -> Scope:
    if scheme is None:
        scheme = _SCHEMES[kind][config.ssl_certfile is not None]
    elif scheme not in _SCHEMES[kind]:
        raise ValueError(f"scheme {scheme!r} is not one of {', '.join(_SCHEMES[kind])}")
    if type(client) is not tuple or len(client) != 2:
        client = _check_address("client", client)
    if type(server) is not tuple or len(server) != 2:
        server = _check_address("server", server)
    headers = list(request.headers)
    root_path = config.root_path
    forwarded = _read_forwarded(headers, config, client, server)
    if forwarded is not None:
        client = forwarded.client or client
        if forwarded.secure is not None:
            scheme = _SCHEMES[kind][forwarded.secure]
        headers, server = _apply_host(headers, server, scheme, forwarded.host, forwarded.port)
        # A forwarded prefix replaces root_path: both are what the proxy has removed from the path, the first
        # for this request, the second for all.
        root_path = forwarded.prefix or root_path
    path, raw_path, query_string = _build_paths(request.target, root_path)
    scope: Scope = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": _SPEC_VERSIONS[kind]},
        "http_version": request.http_version,
        "scheme": scheme,
        "path": path,
        "raw_path": raw_path,
        "query_string": query_string,
        "root_path": root_path,
        "headers": headers,
        "client": client,
        "server": server,
    }
    if state is not None:
        scope["state"] = state.copy()
    return scope


def _read_forwarded(
    headers: Iterable[Tuple[bytes, bytes]], config: ServerConfig, client: Address, server: Address
) -> Optional[Forwarded]:
    if not config.forwarded_allow_ips:
        return None
    peer: Optional[str] = None
    if client is not None:
        peer = client[0]
    elif server is not None and server[1] is not None:
        # TCP, and not a unix socket: uvloop has no address of a peer that has reset its connection.
        peer = ""
    return read_forwarded(headers, peer, config.trusted_peers, config.forwarded_headers)


def _check_address(what: str, address: Address) -> Address:
    """Host and port of an address, without the flow info and scope id of an IPv6 socket."""
    if address is None:
        return None
    if not isinstance(address, (tuple, list)) or len(address) < 2:
        raise TypeError(f"{what} must be host and port, or None, not {address!r:.80}")
    return address[:2]


# From 2.4 on Starlette's streaming responses no longer watch for http.disconnect; uvicorn says 2.3 too.
_SPEC_VERSIONS = {"websocket": "2.5", "http": "2.3"}

_SCHEMES = {"websocket": ("ws", "wss"), "http": ("http", "https")}


def _build_paths(target: bytes, root_path: str) -> Tuple[str, bytes, bytes]:
    """``path``, ``raw_path`` and ``query_string`` of a scope; both paths begin with ``root_path``."""
    if target[:1] == b"/":
        # What `split_target` does: the call would cost every request.
        raw_path, _, query_string = target.partition(b"?")
    else:
        raw_path, query_string = split_target(target)
    path = (unquote_to_bytes(raw_path) if _PERCENT in raw_path else raw_path).decode("utf-8", "replace")
    if root_path and raw_path != b"*":
        path = root_path + path
        raw_path = quote(root_path).encode("ascii") + raw_path
    return path, raw_path, query_string


def split_target(target: bytes) -> Tuple[bytes, bytes]:
    """Path and query of a request target (RFC 9112 3.2); the authority of an absolute one is left out.

    The path of asterisk-form, which is a request to the server itself, is ``*``, as on uvicorn.
    """
    if not target.startswith(b"/") and target != b"*":
        _, _, rest = target.partition(b"://")
        authority_end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        target = rest[authority_end:]
    path, _, query = target.partition(b"?")
    return path or b"/", query


def _apply_host(
    headers: HeaderPairs, server: Address, scheme: str, host: Optional[bytes], port: Optional[int]
) -> Tuple[HeaderPairs, Address]:
    """Replace the proxy's Host and port by those that the client has used."""
    default_port = 443 if scheme in ("wss", "https") else 80
    if host is None:
        # The server of a unix socket is a path and None: there is no port to change.
        if port is not None and server is not None and server[1] is not None:
            server = server[0], port
        return headers, server
    host = _join_port(host, None if port == default_port else port)
    if any(key == b"host" for key, _ in headers):
        headers = [(key, host if key == b"host" else value) for key, value in headers]
    else:
        headers = [(b"host", host), *headers]
    # `read_forwarded` returns only a host that parses.
    name, own_port = parse_authority(host, default_port) or (host, default_port)
    # ASGI servers name an IPv6 address without brackets.
    return headers, (name.strip(b"[]").decode("ascii"), port or own_port)


def _join_port(host: bytes, port: Optional[int]) -> bytes:
    """A Host that has its own port, or ``port``, or none."""
    name, own_port = parse_authority(host) or (host, 0)
    return host if port is None or own_port else b"%b:%d" % (name, port)
