"""WebSocket clients of Python that more than one check uses, each with the same few methods."""

from __future__ import annotations

import ssl
from typing import Any, List, Optional, Sequence, Tuple, Union

import aiohttp
import websockets
from aiohttp import WSMsgType
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

Message = Union[str, bytes]
NO_CODE = 1005  # RFC 6455 7.1.5: what stands for a CLOSE without a code


class Closed(Exception):
    """The connection is over, as the client sees it; None for what its library does not show."""

    def __init__(self, code: Optional[int], reason: Optional[str]) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Refused(Exception):
    """The opening handshake failed, as the client sees it; None for what its library does not show."""

    def __init__(self, status: Optional[int], body: Optional[str]) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


class Client:
    """One connection, from `open` on.

    Each has `open(url, subprotocols)`, which raises `Refused`, `send(message)`, `receive()`, which raises
    `Closed` when there is no message any more, and `close(code=None, reason="")`, which does as the library
    does where there is no code; to let go of the connection however it stands, `abandon()`; where the library
    is able to, `ping(payload)`, which waits for the PONG, and `send_fragments(fragments, text=...)`.
    subprotocol, extensions: what the library says was agreed on.
    """

    subprotocol: Optional[str]
    extensions: Optional[str]

    def __init__(self, tls: Optional[ssl.SSLContext] = None) -> None:
        self._tls = tls

    async def send_all(self, messages: Sequence[Message]) -> None:
        for message in messages:
            await self.send(message)

    async def receive_all(self, count: int) -> List[Message]:
        return [await self.receive() for _ in range(count)]

    async def wait_closed(self) -> Closed:
        """Read, and throw away, to the end; return the end."""
        while True:
            try:
                await self.receive()
            except Closed as closed:
                return closed

    async def finish(self, code: Optional[int] = None, reason: str = "") -> Closed:
        """Close, and return the end."""
        await self.close(code, reason)
        return await self.wait_closed()


class Websockets(Client):
    """The asyncio client of `websockets`."""

    async def open(
        self,
        url: str,
        subprotocols: Sequence[Any] = (),
        *,
        headers: Sequence[Tuple[str, str]] = (),
        deflate: Any = True,
        watch_pongs: bool = True,
    ) -> None:
        """deflate: True, False, an int for the window bits of both sides, or the library's own factory.

        watch_pongs: for `ping`; this library always does.
        """
        if type(deflate) is int:
            deflate = ClientPerMessageDeflateFactory(
                server_max_window_bits=deflate, client_max_window_bits=deflate
            )
        try:
            self._socket = await websockets.connect(
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
                ssl=self._tls if url.startswith("wss:") else None,
            )
        except websockets.InvalidStatus as error:
            raise Refused(error.response.status_code, error.response.body.decode()) from None
        assert self._socket.response is not None
        self.subprotocol = self._socket.subprotocol
        self.extensions = self._socket.response.headers.get("Sec-WebSocket-Extensions", "")

    async def send(self, message: Message) -> None:
        await self._socket.send(message)

    async def send_fragments(self, fragments: Any, *, text: bool) -> None:
        await self._socket.send(fragments, text=text)

    async def receive(self) -> Message:
        try:
            return await self._socket.recv()
        except websockets.ConnectionClosed:
            raise Closed(self._socket.close_code, self._socket.close_reason) from None

    async def ping(self, payload: bytes) -> None:
        await (await self._socket.ping(payload))

    async def close(self, code: Optional[int] = None, reason: str = "") -> None:
        await (self._socket.close() if code is None else self._socket.close(code, reason))

    async def abandon(self) -> None:
        if self._socket.close_code is None:
            self._socket.transport.abort()
        await self._socket.wait_closed()


class Aiohttp(Client):
    """The client of `aiohttp`, which reads no more once it has sent its CLOSE."""

    async def open(
        self,
        url: str,
        subprotocols: Sequence[str] = (),
        *,
        headers: Sequence[Tuple[str, str]] = (),
        deflate: int = True,
        watch_pongs: bool = False,
    ) -> None:
        """deflate: True, False, or an int for the window bits of both sides. watch_pongs: for `ping`."""
        self._session = aiohttp.ClientSession()
        self._reason: Optional[str] = None
        try:
            self._socket = await self._session.ws_connect(
                url,
                protocols=subprotocols,
                headers=headers,
                compress=15 if deflate is True else int(deflate),
                max_msg_size=0,
                autoping=not watch_pongs,
                ssl=self._tls or True,
            )
        except BaseException as error:
            await self._session.close()
            if isinstance(error, aiohttp.WSServerHandshakeError):
                raise Refused(error.status, None) from None
            raise
        self.subprotocol = self._socket.protocol
        self.extensions = self._socket._response.headers.get("Sec-WebSocket-Extensions", "")

    async def send(self, message: Message) -> None:
        if isinstance(message, str):
            await self._socket.send_str(message)
        else:
            await self._socket.send_bytes(message)

    async def receive(self) -> Message:
        message = await self._socket.receive()
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            return message.data  # type: ignore[no-any-return]
        if message.type is WSMsgType.ERROR:
            raise RuntimeError(f"aiohttp reports {message.data!r}")
        if message.type is WSMsgType.CLOSE:
            self._reason = message.extra or ""
        await self._session.close()
        raise Closed(self._socket.close_code or NO_CODE, self._reason)

    async def ping(self, payload: bytes) -> None:
        await self._socket.ping(payload)
        message = await self._socket.receive()
        assert (message.type, message.data) == (WSMsgType.PONG, payload)

    async def close(self, code: Optional[int] = None, reason: str = "") -> None:
        await self._socket.close(code=1000 if code is None else code, message=reason.encode())

    async def abandon(self) -> None:
        await self._session.close()
