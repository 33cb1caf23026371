"""`Preface`: reads the PROXY protocol header in front of a connection's first request.

`secured` does so where TLS follows.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Optional

from ...protocols.errors import BadRequest, Forbidden, RequestRefused, RequestTimeout
from ...protocols.proxy_protocol import ProxyHeader, ProxyHeaderParser
from ..metrics.metrics import Load
from ..service import Service
from .addresses import Ends, get_client, get_ends, get_peer
from .relay import Relay

if TYPE_CHECKING:
    from .head import Connection

__all__ = ["HeaderReader", "Preface", "apply_header"]


def apply_header(ends: Ends, header: ProxyHeader) -> Ends:
    """Both ends of the client's connection to the proxy; ``ends`` are those of the proxy's to this server."""
    is_secure = ends.is_secure or header.is_secure
    if header.client is None:
        return Ends(ends.client, ends.server, is_secure)
    return Ends(header.client, header.server, is_secure)


class HeaderReader(ABC):
    """Reads the header from ``transport`` before ``deadline``; a subclass does what follows.

    A peer that ``forwarded_allow_ips`` does not name is refused before it has sent
    anything, and so is what does not begin with a valid header: section 2 of the
    specification forbids to guess whether there is one, and has the connection
    aborted, so that the proxy notices. Nothing is answered.

    Until its first request may come, the connection counts as one that lingers:
    clients that stay silent behind a proxy must not fill the server, and there
    is a limit to these.
    """

    __slots__ = ("_deadline", "_parser", "_service", "_transport")

    def __init__(self, service: Service, transport: asyncio.Transport, deadline: float) -> None:
        if service.metrics is not None:
            service.metrics.connections += 1
        self._service = service
        self._deadline = deadline
        self._parser = ProxyHeaderParser()
        # None once it was given away, or aborted.
        self._transport: Optional[asyncio.Transport] = transport
        service.add_lingering(self)
        peer = get_peer(transport)
        if peer == "":
            # It has left already: a health check that only connects, on uvloop.
            self.abort()
        elif not service.config.trusted_peers.trusts(peer):
            rule = "forwarded_allow_ips does not name this peer, which may not name its client"
            self._refuse(Forbidden(rule))

    def _receive(self, data: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        try:
            header = self._parser.receive_data(data)
        except BadRequest as error:
            self._refuse(error, "the proxy must send one (HAProxy: send-proxy-v2; nginx: proxy_protocol on)")
            return
        if header is not None:
            self._continue(transport, header)

    @abstractmethod
    def _continue(self, transport: asyncio.Transport, header: ProxyHeader) -> None:
        """The header is complete."""

    def _refuse(self, refusal: RequestRefused, hint: Optional[str] = None) -> None:
        """Abort, with a line in the log. Its status stands for the kind of refusal: nothing is answered."""
        transport = self._transport
        if transport is not None:
            self._service.log_refusal(get_client(transport), b"", b"", refusal, hint)
            self.abort()

    def eof_received(self) -> Optional[bool]:
        """Close. Without a byte it was a health check that only connects."""
        if self._parser.has_begun:
            self._refuse(BadRequest("the connection has ended within its PROXY protocol header"))
        return None

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._transport = None
        self._service.discard(self)

    def check_deadlines(self, now: float) -> None:
        if now < self._deadline:
            return
        if self._service.is_stopping:
            self.abort()
        else:
            self._refuse(RequestTimeout("the PROXY protocol header was not complete in time"))

    def measure(self) -> Load:
        return Load("waiting")

    def shut_down(self) -> None:
        """The server is stopping; what is on its way may still come, as in `Connection.shut_down`."""
        self._deadline = min(self._deadline, self._service.get_deadline(self._service.stop_grace))

    def abort(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        # Leave at once: only so many connections may linger.
        self._service.discard(self)


class Preface(HeaderReader, asyncio.Protocol):
    """Takes ``transport`` over, and gives it to ``connection`` once the header has come."""

    __slots__ = ("_connection", "_relay")

    def __init__(
        self,
        service: Service,
        transport: asyncio.Transport,
        connection: Connection,
        deadline: float,
        relay: Optional[Relay] = None,
    ) -> None:
        self._connection = connection
        self._relay = relay
        (transport if relay is None else relay).set_protocol(self)
        super().__init__(service, transport, deadline)

    def data_received(self, data: bytes) -> None:
        self._receive(data)

    def _continue(self, transport: asyncio.Transport, header: ProxyHeader) -> None:
        self._transport = None
        (transport if self._relay is None else self._relay).set_protocol(self._connection)
        self._connection.begin(transport, apply_header(get_ends(transport), header), self._parser.trailing)
        # Not before: a server that stops ends with its last member.
        self._service.discard(self)
