"""`SecuredConnection`: a connection over TLS, in front of which a proxy has sent the PROXY protocol header.

The header is not encrypted. asyncio begins TLS on a connection only where no byte of
it was read, so that the header is read without a byte more than it has.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Optional

from ...protocols.proxy_protocol import ProxyHeader
from ..service import Service
from .addresses import get_ends
from .head import Connection
from .proxied import HeaderReader, apply_header

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["SecuredConnection"]

# Seconds, about 30 years: the handshake has a deadline here already.
NO_LIMIT = 1e9


class SecuredConnection(Connection):
    """Begins once the header was read, and the TLS handshake is done."""

    __slots__ = ("_ssl",)

    def __init__(self, service: Service, ssl: SSLContext) -> None:
        super().__init__(service)
        self._ssl = ssl

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._ends is None:
            made: asyncio.Transport = transport  # type: ignore[assignment]
            SecuredPreface(self._service, made, self, self._deadline, self._ssl)
        else:
            super().connection_made(transport)


class SecuredPreface(HeaderReader, asyncio.BufferedProtocol):
    """Takes ``transport`` over, and gives ``connection`` the one on which TLS has begun."""

    __slots__ = ("_buffer", "_connection", "_ssl", "_task")

    def __init__(
        self,
        service: Service,
        transport: asyncio.Transport,
        connection: Connection,
        deadline: float,
        ssl: SSLContext,
    ) -> None:
        self._buffer = bytearray()
        self._connection = connection
        self._ssl = ssl
        # The handshake.
        self._task: Optional[asyncio.Task[None]] = None
        transport.set_protocol(self)
        super().__init__(service, transport, deadline)

    def get_buffer(self, sizehint: int) -> bytearray:
        self._buffer = bytearray(self._parser.missing)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._receive(bytes(self._buffer[:nbytes]))

    def _continue(self, transport: asyncio.Transport, header: ProxyHeader) -> None:
        # The first bytes of TLS are the handshake's.
        transport.pause_reading()
        self._task = self._service.loop.create_task(self._start_tls(transport, header))

    async def _start_tls(self, transport: asyncio.Transport, header: ProxyHeader) -> None:
        handshake = _Handshake()
        try:
            secured = await self._service.loop.start_tls(
                transport, handshake, self._ssl, server_side=True, ssl_handshake_timeout=NO_LIMIT
            )
        except OSError as error:
            # As asyncio does it where TLS begins at once: no line, since every port scanner would have one.
            self._service.logger.debug("TLS handshake failed: %s", error)
        else:
            self._task = self._transport = None
            # None: the peer has left within the handshake, which asyncio does not raise.
            if secured is not None and not handshake.is_lost:
                handshake.successor = self._connection
                secured.set_protocol(self._connection)
                self._connection.begin(secured, apply_header(get_ends(secured), header), handshake.data)
        finally:
            # Not before: a server that stops ends with its last member.
            self._task = None
            self.connection_lost(None)

    def check_deadlines(self, now: float) -> None:
        if self._task is None:
            super().check_deadlines(now)
        elif now >= self._deadline:
            self.abort()

    def abort(self) -> None:
        super().abort()
        if self._task is not None:
            # uvloop does not end the handshake of a transport that is aborted.
            self._task.cancel()


class _Handshake(asyncio.Protocol):
    """Keeps what comes between the end of the handshake and the start of the connection."""

    def __init__(self) -> None:
        self.data = b""
        self.is_lost = False
        self.successor: Optional[Connection] = None

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self.is_lost = True
        if self.successor is not None:
            # A TLS transport calls the protocol that it had when it noticed the loss.
            self.successor.connection_lost(exc)
