"""What ``python3 -m wsbridge selftest`` does once the files are as they should be: connections, offline."""

from __future__ import annotations

import platform
import socket
from importlib.util import find_spec
from typing import Any, Dict, List, Tuple

from . import __name__ as PACKAGE
from . import __version__
from .protocols.deflate import DeflateSettings
from .protocols.deflate_negotiation import build_deflate_offer, import_zlib
from .protocols.events import WebSocketDataReceived, WebSocketDisconnected
from .protocols.fields import get_header_values
from .protocols.handshake import (
    build_101_response,
    build_upgrade_request,
    build_ws_accept_key,
    check_upgrade_request,
    check_upgrade_response,
    generate_ws_key,
)
from .protocols.http11 import RequestParser, ResponseParser
from .protocols.ws import WSProtocol

__all__ = ["run"]

# Every form of a frame's length (RFC 6455 5.2): 7, 16 and 64 bits.
MESSAGES = ("", "hello", "\u00e4\u20ac\U0001f600" * 100, bytes(range(256)) * 300)

# Seconds; what is tested takes a few milliseconds.
TIMEOUT = 5.0

# Few enough for every system's buffer: both ends of a pair are served by one thread.
PIECE = 4096


def run() -> List[str]:
    """Test what is here; return lines that say what was tested. Raises any exception if something fails."""
    compression = "compression" if import_zlib() else "no compression, as this Python has no zlib"
    lines = [f"codec: handshake, messages, {compression}, ping, close"]
    check_known_answers()
    talk_codec_to_codec()
    if find_spec(f"{PACKAGE}.server") is not None:
        import asyncio

        asyncio.run(asyncio.wait_for(talk_to_server(), TIMEOUT))
        lines.append("server: the same with an application")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return [*lines, f"ok: {PACKAGE}, wsbridge {__version__}, on {python}"]


def check(found: object, expected: object, what: str) -> None:
    # No assert: it does nothing under -O.
    if found != expected:
        raise RuntimeError(f"{what}: {found!r:.60} instead of {expected!r:.60}")


def check_known_answers() -> None:
    """The examples of RFC 6455: what talks to itself does not notice a mistake that both sides make."""
    check(build_ws_accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "RFC 6455 1.3")
    check(WSProtocol().send_message("Hello"), b"\x81\x05Hello", "RFC 6455 5.7, unmasked")
    events, _ = WSProtocol().receive_data(bytes.fromhex("818537fa213d7f9f4d5158"))
    check(events, [WebSocketDataReceived("Hello")], "RFC 6455 5.7, masked")


# --------------------------------------------------------------------------- the client


def build_request() -> Tuple[bytes, bytes]:
    """The head of an opening handshake, and its key."""
    key = generate_ws_key()
    offer = build_deflate_offer(DeflateSettings()) if import_zlib() else None
    return build_upgrade_request("/", "selftest", key, extensions=offer), key


def build_client(head: bytes, key: bytes) -> WSProtocol:
    """The client that a server's answer makes."""
    response: Any = ResponseParser().receive_data(head)
    _, extensions = check_upgrade_response(response, key)
    client = WSProtocol(
        client=True, enable_compression=True, peer_extensions=[extensions] if extensions else []
    )
    check(client.compression is not None, import_zlib() is not None, "whether messages are compressed")
    return client


# --------------------------------------------------------------------------- codec to codec


def talk_codec_to_codec() -> None:
    """A handshake, messages both ways, a ping and a close, through a pair of sockets."""
    ends = socket.socketpair()
    with ends[0], ends[1]:
        for end in ends:
            end.settimeout(TIMEOUT)
        request, key = build_request()
        response, server = answer_request(pass_bytes(request, *ends))
        client = build_client(pass_bytes(response, *ends), key)
        for sender, receiver in ((client, server), (server, client)):
            for message in MESSAGES:
                events, _ = receiver.receive_data(pass_bytes(sender.send_message(message), *ends))
                check(events, [WebSocketDataReceived(message)], "a message")
            events, pong = receiver.receive_data(pass_bytes(sender.ping(b"?"), *ends))
            check((events, sender.receive_data(pong)), ([], ([], b"")), "a ping")
        events, answer = server.receive_data(pass_bytes(client.close(1000, "done"), *ends))
        check(events, [WebSocketDisconnected(1000, "done")], "a CLOSE")
        client.receive_data(pass_bytes(answer, *ends))
        check((client.is_closed, server.is_closed), (True, True), "whether both are closed")


def pass_bytes(data: bytes, sender: socket.socket, receiver: socket.socket) -> bytes:
    received = b""
    for start in range(0, len(data), PIECE):
        sender.sendall(data[start : start + PIECE])
        while len(received) < min(start + PIECE, len(data)):
            received += receiver.recv(PIECE)
    return received


def answer_request(head: bytes) -> Tuple[bytes, WSProtocol]:
    request: Any = RequestParser().receive_data(head)
    key = check_upgrade_request(request)
    offers = get_header_values(request.headers, b"sec-websocket-extensions")
    server = WSProtocol(enable_compression=True, peer_extensions=offers)
    return build_101_response(key, extensions=server.extensions_response), server


# --------------------------------------------------------------------------- client to server


async def echo(scope: Dict[str, Any], receive: Any, send: Any) -> None:
    """An ASGI application."""
    await receive()
    await send({"type": "websocket.accept"})
    event = await receive()
    while event["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})
        event = await receive()


async def talk_to_server() -> None:
    """The client on asyncio's streams, and at the other end a `Connection` with an application."""
    import asyncio

    from .config import ServerConfig
    from .server.connection.head import Connection
    from .server.service import Service

    loop = asyncio.get_running_loop()
    service = Service(echo, ServerConfig())
    ours, theirs = socket.socketpair()
    await loop.connect_accepted_socket(lambda: Connection(service), theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    request, key = build_request()
    writer.write(request)
    client = build_client(await reader.readuntil(b"\r\n\r\n"), key)
    for message in MESSAGES:
        writer.write(client.send_message(message))
        check(await receive_events(reader, client), [WebSocketDataReceived(message)], "an echo")
    writer.write(client.close(1000, "done"))
    check(await receive_events(reader, client), [WebSocketDisconnected(1000, "done")], "a CLOSE")
    writer.close()
    await writer.wait_closed()
    await service.shut_down(TIMEOUT)


async def receive_events(reader: Any, client: WSProtocol) -> List[Any]:
    events: List[Any] = []
    while not events:
        data = await reader.read(PIECE)
        events = client.receive_data(data)[0] if data else client.receive_eof()
    return events
