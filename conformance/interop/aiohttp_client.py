"""The WebSocket client of the Python library `aiohttp`."""

from __future__ import annotations

from typing import ClassVar, Dict, Optional, Sequence, Tuple

import aiohttp
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from conformance.interop.trial import TLS, Closed, Connection, Message, Refused


class AiohttpClient:
    lacks: ClassVar[Dict[str, str]] = {
        "fragments": "no way to send a message in several frames",
        "empty close": "close() always sends a code",
        "all deflate parameters": "offers window bits only",
        "tabs": "not a browser",
    }

    async def open(
        self,
        url: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: Sequence[Tuple[str, str]] = (),
        deflate: int = True,
        watch_pongs: bool = False,
    ) -> Connection:
        """deflate: True, False, or an int for the window bits of both sides."""
        session = ClientSession()
        try:
            socket = await session.ws_connect(
                url,
                protocols=subprotocols,
                headers=headers,
                compress=15 if deflate is True else int(deflate),
                max_msg_size=0,
                autoping=not watch_pongs,
                ssl=TLS,
            )
        except WSServerHandshakeError as error:
            await session.close()
            raise Refused(error.status) from None
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
        self.extensions = f"compress={socket.compress} client_notakeover={socket.client_notakeover}"

    async def send(self, message: Message) -> None:
        send = self._socket.send_str if isinstance(message, str) else self._socket.send_bytes
        try:
            await send(message)  # type: ignore[arg-type]
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
        assert (message.type, message.data) == (WSMsgType.PONG, payload)

    async def close(self, code: int = 1000, reason: str = "") -> Closed:
        await self._socket.close(code=code, message=reason.encode())
        return self._build_closed()

    async def abandon(self) -> None:
        response = self._socket._response
        if response.connection is not None and response.connection.transport is not None:
            response.connection.transport.abort()
        await self._session.close()

    def _build_closed(self) -> Closed:
        return Closed(self._socket.close_code, self._reason)
