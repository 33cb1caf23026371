"""The Python library `websockets`, its asyncio client."""

from __future__ import annotations

import importlib.metadata
from typing import Any, ClassVar, Dict, Optional

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.typing import Subprotocol

from conformance.interop.trial import (
    Client,
    Closed,
    Connection,
    Deflate,
    Message,
    Opening,
    Refused,
    trust_anyone,
)


class WebsocketsClient(Client):
    name = "websockets"
    version = importlib.metadata.version("websockets")
    lacks: ClassVar[Dict[str, str]] = {
        "empty close": "close() always sends a code",
        "tabs": "not a browser",
        "blobs": "not a browser",
    }

    async def open(self, url: str, opening: Opening) -> Connection:
        deflate = opening.deflate
        options: dict[str, Any] = {"compression": "deflate" if deflate else None}
        if isinstance(deflate, int) and not isinstance(deflate, bool):
            deflate = Deflate(server_max_window_bits=deflate, client_max_window_bits=deflate)
        if isinstance(deflate, Deflate):
            options = {"compression": None, "extensions": [ClientPerMessageDeflateFactory(**vars(deflate))]}
        try:
            socket = await connect(
                url,
                subprotocols=[Subprotocol(name) for name in opening.subprotocols] or None,
                additional_headers=list(opening.headers),
                max_size=None,
                max_queue=None,  # else close() waits behind messages that nobody receives any more
                proxy=None,
                open_timeout=15,
                close_timeout=8,
                ping_interval=None,
                ssl=trust_anyone() if url.startswith("wss:") else None,
                **options,
            )
        except InvalidStatus as error:
            response = error.response
            raise Refused(
                response.status_code, list(response.headers.raw_items()), bytes(response.body)
            ) from None
        return WebsocketsConnection(socket)


class WebsocketsConnection(Connection):
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.subprotocol = socket.subprotocol

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

    async def close(self, code: Optional[int] = None, reason: str = "") -> Closed:
        await self._socket.close(1000 if code is None else code, reason)
        return self._build_closed()

    async def abandon(self) -> None:
        if self._socket.close_code is None:
            self._socket.transport.abort()
        await self._socket.wait_closed()

    def describe_extensions(self) -> str:
        return " ".join(map(repr, self._socket.protocol.extensions))

    def _build_closed(self) -> Closed:
        code = self._socket.close_code
        return Closed(None if code is None else int(code), self._socket.close_reason)
