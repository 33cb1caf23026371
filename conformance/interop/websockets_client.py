"""The asyncio client of the Python library `websockets`."""

from __future__ import annotations

from typing import Any, ClassVar, Dict, Sequence, Tuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from conformance.interop.trial import TLS, Closed, Connection, Message, Refused


class WebsocketsClient:
    lacks: ClassVar[Dict[str, str]] = {
        "empty close": "close() always sends a code",
        "tabs": "not a browser",
    }

    async def open(
        self,
        url: str,
        *,
        subprotocols: Sequence[Any] = (),
        headers: Sequence[Tuple[str, str]] = (),
        deflate: Any = True,
        watch_pongs: bool = False,
    ) -> Connection:
        """deflate: True, False, an int for the window bits of both sides, or the library's own factory."""
        if type(deflate) is int:
            deflate = ClientPerMessageDeflateFactory(
                server_max_window_bits=deflate, client_max_window_bits=deflate
            )
        try:
            socket = await connect(
                url,
                subprotocols=subprotocols or None,
                additional_headers=headers,
                compression="deflate" if deflate is True else None,
                extensions=None if isinstance(deflate, bool) else [deflate],
                max_size=None,
                max_queue=None,  # else close() waits behind messages that nobody receives any more
                proxy=None,
                open_timeout=15,
                close_timeout=8,
                ping_interval=None,
                ssl=TLS if url.startswith("wss:") else None,
            )
        except InvalidStatus as error:
            raise Refused(error.response.status_code, bytes(error.response.body)) from None
        return WebsocketsConnection(socket)


class WebsocketsConnection(Connection):
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.subprotocol = socket.subprotocol
        self.extensions = " ".join(map(repr, socket.protocol.extensions))

    async def send(self, message: Message) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed:
            raise self._build_closed() from None

    async def send_fragments(self, fragments: Any, *, text: bool) -> None:
        await self._socket.send(fragments, text=text)

    async def receive(self) -> Message:
        try:
            return await self._socket.recv()
        except ConnectionClosed:
            raise self._build_closed() from None

    async def ping(self, payload: bytes) -> None:
        await (await self._socket.ping(payload))

    async def close(self, code: int = 1000, reason: str = "") -> Closed:
        await self._socket.close(code, reason)
        return self._build_closed()

    async def abandon(self) -> None:
        if self._socket.close_code is None:
            self._socket.transport.abort()
        await self._socket.wait_closed()

    def _build_closed(self) -> Closed:
        return Closed(self._socket.close_code, self._socket.close_reason)
