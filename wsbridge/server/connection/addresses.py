"""The addresses of both ends of a transport, and whether it is encrypted."""

from __future__ import annotations

import asyncio
from typing import Any, Optional, Tuple

__all__ = ["Ends", "format_client", "get_client", "get_ends", "get_peer", "get_server"]


class Ends:
    """Both addresses of a connection, and whether it is encrypted."""

    # No `NamedTuple`, which takes twice as long to make.
    __slots__ = ("client", "is_secure", "server")

    def __init__(self, client: Optional[Tuple[str, int]], server: Any, is_secure: bool) -> None:
        self.client = client
        self.server = server
        self.is_secure = is_secure


def get_ends(transport: asyncio.BaseTransport) -> Ends:
    """The `Ends` of a transport."""
    get = transport.get_extra_info
    return Ends(_host_and_port(get("peername")), get_server(transport), get("sslcontext") is not None)


def get_client(transport: asyncio.BaseTransport) -> Optional[Tuple[str, int]]:
    """Host and port of the peer; None on a unix socket."""
    return _host_and_port(transport.get_extra_info("peername"))


def get_peer(transport: asyncio.BaseTransport) -> Optional[str]:
    """The address that `TrustedPeers` judges: None on a unix socket."""
    client, server = get_client(transport), get_server(transport)
    if client is not None:
        return client[0]
    # uvloop has no address of a peer that has reset its TCP connection.
    return "" if server is not None and server[1] is not None else None


def get_server(transport: asyncio.BaseTransport) -> Any:
    """Our host and port; on a unix socket the path and None, as ASGI specifies."""
    name = transport.get_extra_info("sockname")
    return (name, None) if isinstance(name, str) else _host_and_port(name)


def format_client(client: Optional[Tuple[str, int]]) -> str:
    """The client as log lines show it."""
    return "unix socket" if client is None else f"{client[0]}:{client[1]}"


def _host_and_port(name: Any) -> Optional[Tuple[str, int]]:
    if type(name) is tuple and len(name) == 2:
        return name
    # IPv6 addresses have two more fields.
    return tuple(name[:2]) if isinstance(name, (tuple, list)) else None
