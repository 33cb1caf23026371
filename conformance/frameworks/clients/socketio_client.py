"""python-socketio's own client.

python -m conformance.frameworks.clients.socketio_client PORT polling,websocket|polling|websocket
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import socketio


async def talk(port: str, transports: str) -> None:
    client = socketio.AsyncClient(reconnection=False)
    echoes: asyncio.Queue[Any] = asyncio.Queue()
    client.on("echo", echoes.put)
    await client.connect(f"http://127.0.0.1:{port}", transports=transports.split(","), wait_timeout=5)
    print(f"connected by {client.transport()}")
    for message in ("Zürich", b"\0\xff", {"a": [1, None]}, "x" * 100_000):
        await client.emit("echo", message)
        echoed = await asyncio.wait_for(echoes.get(), 5)
        print(f"echoed: {echoed == message}, {type(echoed).__name__}")
    # One request may have 16 packets at most.
    for number in range(10):
        await client.emit("echo", number)
    print(f"in order: {[await asyncio.wait_for(echoes.get(), 5) for _ in range(10)] == list(range(10))}")
    await client.disconnect()
    print("left")


asyncio.run(talk(*sys.argv[1:]))
