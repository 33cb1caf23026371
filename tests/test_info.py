"""`ConnectionInfo`: what an application knows of its connection, in a scope that can be copied."""

from __future__ import annotations

import copy
import json
import unittest
from typing import Any

from wsbridge.asgi.scope import build_ws_scope
from wsbridge.asgi.session import Phase
from wsbridge.config import ServerConfig
from wsbridge.protocols.deflate import DeflateSettings
from wsbridge.protocols.events import RequestReceived
from wsbridge.protocols.ws import WSProtocol
from wsbridge.server.connection.info import ConnectionInfo


class Owner:
    """Stands for the connection."""

    def __init__(self) -> None:
        self.pings = 0
        self.phase = Phase.CONNECTING
        self.messages_received, self.bytes_received, self.messages_sent, self.bytes_sent = 3, 30, 2, 20
        self.write_buffer_size = 0

    def ping(self) -> None:
        self.pings += 1


class CopyTests(unittest.TestCase):
    def setUp(self) -> None:
        self.info = ConnectionInfo(WSProtocol(), Owner())

    def test_every_copy_is_the_object_itself(self) -> None:
        self.assertIs(copy.copy(self.info), self.info)
        self.assertIs(copy.deepcopy(self.info), self.info)
        self.assertIs(copy.deepcopy({"a": [self.info]})["a"][0], self.info)

    def test_scope_can_be_copied_and_its_extensions_written_down(self) -> None:
        request = RequestReceived(b"GET", b"/", ((b"host", b"a"),), "1.1")
        scope = build_ws_scope(
            request, ServerConfig(), ("192.0.2.1", 1), ("192.0.2.2", 2), state={"a": []}, connection=self.info
        )
        copied = copy.deepcopy(scope)
        self.assertEqual(copied, scope)
        self.assertIs(copied["wsbridge.connection"], self.info)
        self.assertIsNot(copied["headers"], scope["headers"])
        self.assertEqual(json.loads(json.dumps(scope["extensions"])), {"websocket.http.response": {}})


class InfoTests(unittest.TestCase):
    def test_counts_are_the_owners(self) -> None:
        info = ConnectionInfo(WSProtocol(), Owner())
        self.assertEqual((info.messages_received, info.bytes_received), (3, 30))
        self.assertEqual((info.messages_sent, info.bytes_sent), (2, 20))

    def test_code_and_reason_are_the_protocols(self) -> None:
        ws = WSProtocol()
        info = ConnectionInfo(ws, Owner())
        self.assertEqual((info.code, info.reason), (None, ""))
        ws.close(4000, "bye")
        self.assertEqual((info.code, info.reason), (4000, "bye"))

    def test_without_compression(self) -> None:
        owner = Owner()
        info = ConnectionInfo(WSProtocol(), owner)
        info.ping()
        self.assertEqual(owner.pings, 1)
        self.assertEqual((info.latency, info.trace, info.extensions_response), (None, None, None))
        sent = (info.bytes_before_compression, info.bytes_after_compression)
        self.assertEqual((*sent, info.bytes_deflated, info.bytes_inflated), (0, 0, 0, 0))

    def test_state_is_that_of_a_browser_and_the_rest_is_looked_up(self) -> None:
        owner = Owner()
        info = ConnectionInfo(WSProtocol(subprotocol="chat"), owner)
        self.assertEqual((info.client, info.path, info.subprotocol), (None, "", "chat"))
        states = []
        for owner.phase in Phase:
            states.append(info.state)
        self.assertEqual(
            states, ["connecting", "connecting", "open", "closing", "closing", "closed"], list(Phase)
        )
        owner.write_buffer_size = 7
        self.assertEqual(info.write_buffer_size, 7)

    def test_with_compression(self) -> None:
        ws = WSProtocol(
            enable_compression=True,
            peer_extensions=[b"permessage-deflate"],
            deflate=DeflateSettings(threshold=0),
        )
        info = ConnectionInfo(ws, Owner())
        self.assertIn("permessage-deflate", info.extensions_response or "")
        frame = ws.send_message("a" * 100)
        # RFC 7692 7.2.3.1: "Hello", compressed.
        ws.receive_data(bytes.fromhex("c1 87 00000000 f248cdc9c90700"))
        self.assertEqual((info.bytes_before_compression, info.bytes_after_compression), (100, len(frame) - 2))
        self.assertEqual((info.bytes_deflated, info.bytes_inflated), (7, 5))

    def test_trace_is_the_protocols(self) -> None:
        frames: Any = []
        ws = WSProtocol()
        info = ConnectionInfo(ws, Owner())
        info.trace = lambda *frame: frames.append(frame)
        self.assertIs(info.trace, ws.trace)
        ws.send_message(b"ab")
        self.assertEqual(len(frames), 1)


if __name__ == "__main__":
    unittest.main()
