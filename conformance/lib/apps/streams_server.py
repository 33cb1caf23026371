"""A server made with asyncio.start_server that hands each request to `handle_websocket`.

    python3 -m conformance.lib.apps.streams_server PORT

This is what an owner of such a server writes; the application is conformance.lib.apps.interop_app.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any, Set

from conformance.lib.apps.interop_app import app
from wsbridge import ServerConfig, handle_websocket
from wsbridge.protocols.events import RequestReceived

CONFIG = ServerConfig()
STOP_SECONDS = 5.0
connections: Set[Any] = set()


def parse_request(head: bytes) -> RequestReceived:
    first, *lines = head[:-4].split(b"\r\n")
    method, target, version = first.split(b" ")
    headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    return RequestReceived(method, target, tuple(headers), version[5:].decode("ascii"))


async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connections.add(asyncio.current_task())
    try:
        request = parse_request(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError:
        writer.close()
    else:
        await handle_websocket(app, CONFIG, request, reader, writer)
    finally:
        connections.discard(asyncio.current_task())


async def main(port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(serve_connection, "127.0.0.1", port)
    await stop.wait()
    server.close()
    if connections:
        await asyncio.wait(connections, timeout=STOP_SECONDS)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
