"""The WebSocket client of the Python library `aiohttp`."""

from __future__ import annotations

from typing import ClassVar, Dict, Optional

import aiohttp
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

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


class AiohttpClient(Client):
    name = "aiohttp"
    version = aiohttp.__version__
    lacks: ClassVar[Dict[str, str]] = {
        "fragments": "no way to send a message in several frames",
        "empty close": "close() always sends a code",
        "all deflate parameters": "offers window bits only",
        "tabs": "not a browser",
        "blobs": "not a browser",
    }

    async def open(self, url: str, opening: Opening) -> Connection:
        deflate = opening.deflate
        if isinstance(deflate, Deflate):
            raise ValueError("aiohttp offers window bits only")
        session = ClientSession()
        try:
            socket = await session.ws_connect(
                url,
                protocols=tuple(opening.subprotocols),
                headers=list(opening.headers),
                compress=15 if deflate is True else int(deflate),
                max_msg_size=0,
                autoping=not opening.watch_pongs,
                ssl=trust_anyone() if url.startswith("wss:") else True,
            )
        except WSServerHandshakeError as error:
            await session.close()
            shown = list(error.headers.items()) if error.headers else None
            raise Refused(error.status, shown) from None
        except BaseException:
            await session.close()
            raise
        return AiohttpConnection(session, socket)


class AiohttpConnection(Connection):
    def __init__(self, session: ClientSession, socket: ClientWebSocketResponse) -> None:
        self._session = session
        self._socket = socket
        self._reason: Optional[str] = None
        self.subprotocol = socket.protocol

    async def send(self, message: Message) -> None:
        try:
            if isinstance(message, str):
                await self._socket.send_str(message)
            else:
                await self._socket.send_bytes(message)
        except (ConnectionError, aiohttp.ClientError):
            raise self._build_closed() from None

    async def receive(self) -> Message:
        message = await self._socket.receive()
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            return message.data  # type: ignore[no-any-return]
        if message.type is WSMsgType.CLOSE:
            self._reason = message.extra or ""
        elif message.type is WSMsgType.ERROR:
            raise RuntimeError(f"aiohttp reports {message.data!r}")
        raise self._build_closed()

    async def ping(self, payload: bytes) -> None:
        await self._socket.ping(payload)
        message = await self._socket.receive()
        if message.type is not WSMsgType.PONG or bytes(message.data) != payload:
            raise RuntimeError(f"expected PONG {payload!r}, aiohttp received {message!r}")

    async def close(self, code: Optional[int] = None, reason: str = "") -> Closed:
        await self._socket.close(code=1000 if code is None else code, message=reason.encode())
        return self._build_closed()

    async def abandon(self) -> None:
        response = self._socket._response
        if response.connection is not None and response.connection.transport is not None:
            response.connection.transport.abort()
        await self._session.close()

    def describe_extensions(self) -> str:
        return f"compress={self._socket.compress} client_notakeover={self._socket.client_notakeover}"

    def _build_closed(self) -> Closed:
        code = self._socket.close_code
        return Closed(None if code is None else int(code), self._reason)
