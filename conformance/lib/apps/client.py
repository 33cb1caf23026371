"""A small asyncio client on `WSProtocol`, with which the fuzzing server's cases are run one after the other.

    python3 -m conformance.lib.apps.client ws://127.0.0.1:9001 AGENT

It asks the suite how many cases there are, echoes through each of them, and has the reports written; the
suite then ends. A case that fails prints a line and the next one follows: judging is the suite's task.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import List, Tuple, Union
from urllib.parse import urlsplit

from wsbridge.protocols.deflate import DeflateSettings
from wsbridge.protocols.deflate_negotiation import build_deflate_offer
from wsbridge.protocols.errors import WSBridgeError
from wsbridge.protocols.events import WebSocketDataReceived
from wsbridge.protocols.handshake import build_upgrade_request, check_upgrade_response, generate_ws_key
from wsbridge.protocols.http11 import ResponseParser
from wsbridge.protocols.ws import WSProtocol

CASE_SECONDS = 520.0
DROP_SECONDS = 5.0
READ_SIZE = 65536
SETTINGS = DeflateSettings()

Message = Union[str, bytes]


async def visit(url: str, target: str, agent: str, *, is_echo: bool) -> List[Message]:
    """One connection from beginning to end; returns the messages that were not echoed."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        protocol, data = await shake_hands(reader, writer, address.netloc, target, agent)
        messages: List[Message] = []
        while True:
            events, outbound = protocol.receive_data(data)
            answers = [outbound]
            for event in events:
                if not isinstance(event, WebSocketDataReceived):
                    # The CLOSE that the protocol held back: everything before it has been answered.
                    answers.append(protocol.close())
                elif is_echo:
                    answers.append(protocol.send_message(event.data))
                else:
                    messages.append(event.data)
            writer.write(b"".join(answers))
            await writer.drain()
            if protocol.is_closed:
                break
            data = await reader.read(READ_SIZE)
            if not data:
                protocol.receive_eof()
                return messages
        # RFC 6455 7.1.1: it is the server that drops the TCP connection; what still comes means nothing,
        # and the suite drops with a reset.
        with contextlib.suppress(ConnectionResetError):
            while await asyncio.wait_for(reader.read(READ_SIZE), DROP_SECONDS):
                pass
        return messages
    finally:
        writer.close()
        # The suite drops with a reset, and under uvloop an error that nobody asks for is printed.
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def shake_hands(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, target: str, agent: str
) -> Tuple[WSProtocol, bytes]:
    """Return the open protocol, and what came behind the response; raises `HandshakeFailed`."""
    key, offer = generate_ws_key(), build_deflate_offer(SETTINGS)
    headers = ((b"User-Agent", agent.encode("ascii")),)
    writer.write(build_upgrade_request(target, host, key, extensions=offer, headers=headers))
    parser = ResponseParser()
    response = None
    while response is None:
        data = await reader.read(READ_SIZE)
        if not data:
            raise ConnectionResetError("the suite dropped the connection in the opening handshake")
        response = parser.receive_data(data)
    connected, extensions = check_upgrade_response(response, key)
    protocol = WSProtocol(
        client=True,
        subprotocol=connected.subprotocol,
        enable_compression=True,
        peer_extensions=[extensions] if extensions is not None else [],
        deflate=SETTINGS,
        hold_close=True,
    )
    return protocol, parser.trailing


async def run_cases(url: str, agent: str) -> int:
    messages = await asyncio.wait_for(visit(url, "/getCaseCount", agent, is_echo=False), 30.0)
    failures = 0
    for number in range(1, int(messages[0]) + 1):
        target = f"/runCase?case={number}&agent={agent}"
        try:
            await asyncio.wait_for(visit(url, target, agent, is_echo=True), CASE_SECONDS)
        except (OSError, asyncio.TimeoutError, WSBridgeError) as error:
            print(f"{target}: {type(error).__name__}: {error}", flush=True)
            failures += 1
    target = f"/updateReports?agent={agent}&shutdownOnComplete=true"
    # The suite may end before it has closed properly.
    with contextlib.suppress(OSError):
        await asyncio.wait_for(visit(url, target, agent, is_echo=False), 60.0)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(run_cases(sys.argv[1], sys.argv[2])))
