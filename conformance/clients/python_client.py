"""The WebSocket clients of Python: `python_client.py NAME`; the protocol of lines is in scenarios.py."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
import time
from typing import Any, Dict, List, Optional

from conformance.lib.clients import NO_CODE, Aiohttp, Closed, Message, Refused, Websockets


class Tornado:
    async def open(self, url: str, protocols: List[str]) -> None:
        from tornado.httpclient import HTTPClientError
        from tornado.websocket import websocket_connect

        try:
            self.ws = await websocket_connect(url, compression_options={}, subprotocols=protocols)
        except HTTPClientError as error:
            raise Refused(error.code, None) from None
        self.subprotocol = self.ws.selected_subprotocol
        self.extensions = self.ws.headers.get("Sec-WebSocket-Extensions", "")

    async def receive(self) -> Message:
        message = await self.ws.read_message()
        if message is None:
            raise Closed(self.ws.close_code or NO_CODE, self.ws.close_reason or "")
        return message

    async def send(self, message: Message) -> None:
        await self.ws.write_message(message, binary=isinstance(message, bytes))

    async def close(self, code: Optional[int], reason: str) -> None:
        self.ws.close(code, reason or None)


class Picows:
    async def open(self, url: str, protocols: List[str]) -> None:
        import picows

        arrived: asyncio.Queue[Any] = asyncio.Queue()
        parts: List[bytes] = []

        class Listener(picows.WSListener):
            def on_ws_frame(self, transport: Any, frame: Any) -> None:
                kind = frame.msg_type
                if kind in (picows.WSMsgType.TEXT, picows.WSMsgType.BINARY) and frame.fin and not parts:
                    data = frame.get_payload_as_bytes()
                    arrived.put_nowait(data.decode() if kind == picows.WSMsgType.TEXT else data)
                elif kind == picows.WSMsgType.CLOSE:
                    code = int(frame.get_close_code()) or NO_CODE
                    reason = frame.get_close_message()
                    transport.send_close(frame.get_close_code(), reason)
                    transport.disconnect()
                    arrived.put_nowait(Closed(code, bytes(reason or b"").decode()))

            def on_ws_disconnected(self, transport: Any) -> None:
                arrived.put_nowait(Closed(1006, ""))

        offer = {"Sec-WebSocket-Protocol": ", ".join(protocols)} if protocols else {}
        try:
            self.ws, _ = await picows.ws_connect(Listener, url, extra_headers=offer, max_frame_size=16 << 20)
        except picows.WSInvalidStatusError as error:
            raise Refused(int(error.response.status), None) from None
        self.arrived = arrived
        self.subprotocol = self.ws.response.headers.get("Sec-WebSocket-Protocol")
        self.extensions = self.ws.response.headers.get("Sec-WebSocket-Extensions", "")

    async def receive(self) -> Message:
        item = await self.arrived.get()
        if isinstance(item, Closed):
            await self.ws.wait_disconnected()
            raise item
        return item

    async def send(self, message: Message) -> None:
        import picows

        kind = picows.WSMsgType.TEXT if isinstance(message, str) else picows.WSMsgType.BINARY
        self.ws.send(kind, message.encode() if isinstance(message, str) else message)

    async def close(self, code: Optional[int], reason: str) -> None:
        self.ws.send_close(*(() if code is None else (code, reason.encode())))


class WebsocketClient:
    async def open(self, url: str, protocols: List[str]) -> None:
        import websocket

        try:
            self.ws = websocket.create_connection(url, timeout=15, subprotocols=protocols or None)
        except websocket.WebSocketBadStatusException as error:
            raise Refused(error.status_code, (error.resp_body or b"").decode()) from None
        self.subprotocol = self.ws.subprotocol
        self.extensions = self.ws.headers.get("sec-websocket-extensions", "")

    async def receive(self) -> Message:
        import websocket

        if not self.ws.connected:
            raise Closed(None, None)
        kind, data = self.ws.recv_data()
        if kind == websocket.ABNF.OPCODE_CLOSE:
            self.ws.shutdown()
            raise Closed(int.from_bytes(data[:2], "big") if data else NO_CODE, data[2:].decode())
        return data.decode() if kind == websocket.ABNF.OPCODE_TEXT else data

    async def send(self, message: Message) -> None:
        self.ws.send(message) if isinstance(message, str) else self.ws.send_binary(message)

    async def close(self, code: Optional[int], reason: str) -> None:
        self.ws.close() if code is None else self.ws.close(code, reason.encode())


class SimpleWebsocket:
    async def open(self, url: str, protocols: List[str]) -> None:
        import simple_websocket

        try:
            self.ws = simple_websocket.Client.connect(url, subprotocols=protocols)
        except simple_websocket.ConnectionError as error:
            raise Refused(error.status_code, None) from None
        self.subprotocol, self.extensions = self.ws.subprotocol, None

    async def receive(self) -> Message:
        import simple_websocket

        try:
            # Without a timeout it may wait for ever: its thread sets the event before it notes the end.
            while (message := self.ws.receive(timeout=0.05)) is None:
                pass
            return message
        except simple_websocket.ConnectionClosed as error:
            raise Closed(int(error.reason), error.message or "") from None

    async def send(self, message: Message) -> None:
        self.ws.send(message)

    async def close(self, code: Optional[int], reason: str) -> None:
        self.ws.close() if code is None else self.ws.close(code, reason)


class HttpxWs:
    async def open(self, url: str, protocols: List[str]) -> None:
        import httpx
        import httpx_ws

        self.client = httpx.AsyncClient(trust_env=False)
        self.context = httpx_ws.aconnect_ws(
            url.replace("ws://", "http://"), self.client, max_message_size_bytes=16 << 20,
            subprotocols=protocols or None,
        )  # fmt: skip
        try:
            self.ws = await self.context.__aenter__()
        except httpx_ws.WebSocketUpgradeError as error:
            await self.client.aclose()
            raise Refused(error.response.status_code, None) from None
        self.subprotocol = self.ws.subprotocol
        self.extensions = self.ws.response.headers.get("sec-websocket-extensions", "")

    async def receive(self) -> Message:
        import httpx_ws

        try:
            return (await self.ws.receive()).data
        except httpx_ws.WebSocketDisconnect as error:
            closed = Closed(error.code, error.reason)
        except httpx_ws.WebSocketNetworkError:
            closed = Closed(None, None)
        await self.context.__aexit__(None, None, None)
        await self.client.aclose()
        raise closed

    async def send(self, message: Message) -> None:
        await (self.ws.send_text if isinstance(message, str) else self.ws.send_bytes)(message)

    async def close(self, code: Optional[int], reason: str) -> None:
        await (self.ws.close() if code is None else self.ws.close(code, reason))


class Rnet:
    async def open(self, url: str, protocols: List[str]) -> None:
        import rnet

        more = {"protocols": protocols} if protocols else {}
        try:
            self.ws = await rnet.websocket(url, **more)
        except rnet.exceptions.UpgradeError as error:
            refusal = re.search(r'unexpected status code: (.*)" }', str(error))
            if refusal is None:
                raise
            raise Refused(None, refusal[1]) from None
        self.subprotocol = self.ws.protocol
        self.extensions = (self.ws.headers.get("sec-websocket-extensions") or b"").decode()

    async def receive(self) -> Message:
        end = Closed(None, None)
        try:
            while (message := await self.ws.recv()) is not None:
                if message.close is None:
                    return message.binary if message.text is None else message.text
                end = Closed(message.close[0], message.close[1] or "")
        except RuntimeError:  # after close(): "The WebSocket has been disconnected"
            pass
        raise end

    async def send(self, message: Message) -> None:
        import rnet

        build = rnet.Message.from_text if isinstance(message, str) else rnet.Message.from_binary
        await self.ws.send(build(message))

    async def close(self, code: Optional[int], reason: str) -> None:
        await self.ws.close(code, reason or None)


class CurlCffi:
    async def open(self, url: str, protocols: List[str]) -> None:
        from curl_cffi import AsyncSession, CurlError

        self.session = AsyncSession()
        headers = {"Sec-WebSocket-Protocol": ", ".join(protocols)} if protocols else {}
        try:
            self.ws = await self.session.ws_connect(url, headers=headers, max_message_size=16 << 20)
        except CurlError as error:
            await self.session.close()
            refusal = re.search(r"Refused WebSocket upgrade: (\d+)", str(error))
            if refusal is None:
                raise
            raise Refused(int(refusal[1]), None) from None
        self.subprotocol = self.extensions = None

    async def receive(self) -> Message:
        from curl_cffi import CurlWsFlag
        from curl_cffi.requests import WebSocketClosed

        try:
            data, flags = await self.ws.recv()
            while flags & CurlWsFlag.CLOSE:
                data, flags = await self.ws.recv()
        except WebSocketClosed:
            closed = Closed(self.ws.close_code, self.ws.close_reason)
        else:
            return data.decode() if flags & CurlWsFlag.TEXT else data
        await self.session.close()
        raise closed

    async def send(self, message: Message) -> None:
        await (self.ws.send_str if isinstance(message, str) else self.ws.send_binary)(message)

    async def close(self, code: Optional[int], reason: str) -> None:
        await (self.ws.close() if code is None else self.ws.close(code, reason))


CLIENTS = {
    "websockets": Websockets,
    "aiohttp": Aiohttp,
    "tornado": Tornado,
    "picows": Picows,
    "websocket-client": WebsocketClient,
    "simple-websocket": SimpleWebsocket,
    "httpx-ws": HttpxWs,
    "rnet": Rnet,
    "curl_cffi": CurlCffi,
}


async def play(client: Any, fields: List[str], seen: Dict[str, Any]) -> None:
    """One scenario; what is seen of it goes into `seen` as it happens."""
    url, protocols, first, count, code, reason = fields
    await client.open(url, protocols.split(",") if protocols else [])
    seen.update(protocol=client.subprotocol, extensions=client.extensions, messages=0)
    digest, started = hashlib.sha256(), 0.0
    if first:
        await client.send(first)
    try:
        while True:
            message = await client.receive()
            seen["messages"] += 1
            digest.update(message.encode() if isinstance(message, str) else message)
            if not count:
                await client.send(message)
            elif seen["messages"] == int(count):
                started = time.monotonic()
                await client.close(int(code) if code else None, reason)
    except Closed as closed:
        seen["code"], seen["reason"] = closed.args
    if started:
        seen["seconds"] = time.monotonic() - started
    seen["sha256"] = digest.hexdigest()


async def main(name: str) -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        seen: Dict[str, Any] = {}
        try:
            await play(CLIENTS[name](), line.rstrip("\n").split("\t"), seen)
        except Refused as refused:
            seen["status"], seen["body"] = refused.args
        except Exception as error:
            seen["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
