"""`Clients`: how many connections each client has, for ``limit_connections_per_client``."""

from __future__ import annotations

from collections import Counter
from typing import Dict, Optional

from ..protocols.errors import TooManyRequests
from ..protocols.forwarded import TrustedPeers, identify_client

__all__ = ["Clients"]


class Clients:
    """The connections of each client, by its address; of IPv6 by the network of 64 bits, which one host has.

    A peer that ``trusted`` trusts is a proxy: it has no limit, and the WebSockets that it passes on are those
    of the clients that it names. Its other requests share few connections, and are not counted; nor are peers
    on unix sockets.
    """

    def __init__(self, limit: int, trusted: TrustedPeers) -> None:
        self._limit = limit
        self._trusted = trusted
        self._counts: Counter[str] = Counter()
        self._clients: Dict[object, str] = {}

    def add(self, transport: object, peer: Optional[str]) -> None:
        """Count a connection from ``peer``, an address. Raises `TooManyRequests` past the limit."""
        if peer is not None and not self._trusted.trusts(peer):
            self._add(transport, peer)

    def add_forwarded(self, transport: object, peer: Optional[str], client: Optional[str]) -> None:
        """Count a WebSocket that ``peer`` passes on for ``client``, as `add` does."""
        if client is not None and client != peer and transport not in self._clients:
            self._add(transport, client)

    def _add(self, transport: object, address: str) -> None:
        client = identify_client(address)
        if self._counts[client] >= self._limit:
            raise TooManyRequests(f"{self._limit} connections of one client are open, which is the limit")
        self._counts[client] += 1
        self._clients[transport] = client

    def discard(self, transport: Optional[object]) -> None:
        """The connection has ended, or only waits for its peer to close; discarding it twice is no error."""
        if transport not in self._clients:
            return
        client = self._clients.pop(transport)
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]
