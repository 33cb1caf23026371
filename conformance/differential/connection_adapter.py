"""The requests of one connection, answered by wsbridge's `Connection` over a transport in memory."""

from __future__ import annotations

import asyncio
import logging
import re
from functools import lru_cache
from typing import Any, List, Optional, Tuple

from wsbridge.config import ServerConfig
from wsbridge.server.connection.head import Connection
from wsbridge.server.service import Service

from ..lib.wire import parse_head
from .cases import HTTPCase, Request, Requests

logging.getLogger("wsbridge").setLevel(logging.CRITICAL)

# Turns of the loop in which an application has read what it can read and has answered.
TURNS = 12

#: Method, target, version, headers, body.
Taken = Tuple[bytes, bytes, str, Tuple[Tuple[bytes, bytes], ...], bytes]


class MemoryTransport(asyncio.Transport):
    """Keeps what is written; the pieces are handed to its protocol by `deliver`."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.has_ended = False
        self._protocol: Any = None
        self._is_paused = False
        self._pieces: List[bytes] = []

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def deliver(self) -> bool:
        """Hand over the next piece, if the protocol reads."""
        if self._is_paused or not self._pieces:
            return False
        self._protocol.data_received(self._pieces.pop(0))
        return True

    def send(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def lose(self) -> None:
        self._protocol.connection_lost(None)

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False

    def set_write_buffer_limits(self, high: Optional[int] = None, low: Optional[int] = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.has_ended = True

    def is_closing(self) -> bool:
        return self.has_ended

    def close(self) -> None:
        self.has_ended = True

    abort = close


class _App:
    """Reads each request to its end and answers 200 without a body; accepts every WebSocket."""

    def __init__(self) -> None:
        self.taken: List[Taken] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            return
        body = b""
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body += event["body"]
            if not event["more_body"]:
                break
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        headers = tuple((bytes(name), bytes(value)) for name, value in scope["headers"])
        self.taken.append((scope["method"].encode(), target, scope["http_version"], headers, body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})


async def _drive(case: HTTPCase) -> Tuple[List[Taken], List[int], bool]:
    app, transport = _App(), MemoryTransport()
    service = Service(app, ServerConfig())
    connection = Connection(service)
    transport.set_protocol(connection)
    connection.connection_made(transport)
    for piece in case.pieces:
        transport.send(piece)
    idle = 0
    while idle < TURNS:
        idle = 0 if transport.deliver() else idle + 1
        await asyncio.sleep(0)
    statuses = read_statuses(transport.written)
    has_ended = transport.has_ended
    transport.lose()
    await service.shut_down(1.0)
    return app.taken, statuses, has_ended


def read_statuses(data: bytes) -> List[int]:
    """The statuses of the responses, each of which has a Content-Length or is the last."""
    statuses = []
    while data:
        head, data = parse_head(data)
        if head is None:
            raise ValueError(f"no response: {data!r}")
        if head.status == 100:
            continue
        statuses.append(head.status)
        if head.status == 101:
            return statuses
        length = int(head.find("content-length") or 0)
        if len(data) < length and data:
            raise ValueError(f"a response that is cut: {data!r}")
        data = data[length:]
    return statuses


@lru_cache(None)
def get_loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def compare(case: HTTPCase, found: Requests) -> str:
    """How `Connection` differs from the loop that has ``found`` these requests; "" where it does not."""
    taken, statuses, has_ended = get_loop().run_until_complete(_drive(case))
    whole = [request for request in found.requests if request.is_whole]
    if found.end == "upgraded":
        whole.pop()
    if taken != [build_taken(request) for request in whole]:
        return f"requests {taken}"
    if statuses != [200] * len(whole) + [found.status] * bool(found.status):
        return f"statuses {statuses}"
    is_over = found.end in ("refused", "closed") or found.status >= 400
    # Behind a 101 the bytes are frames, which may end the connection or not.
    return "" if found.status == 101 or has_ended is is_over else f"has ended: {has_ended}"


def build_taken(request: Request) -> Taken:
    head = request.head
    # RFC 9112 3.2.2: of an absolute target the scope has path and query.
    target = re.sub(rb"(?i)^[a-z]+://[^/?]*", b"", head.target)
    target = target if target.startswith((b"/", b"*")) else b"/" + target
    return head.method, target, head.version, head.fields, request.body
