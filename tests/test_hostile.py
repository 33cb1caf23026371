"""What a hostile peer or application may not do, where no single module can promise it."""

from __future__ import annotations

import asyncio
import gc
import os
import unittest
from typing import Any, List, Tuple

from wsbridge.protocols.errors import EventError
from wsbridge.protocols.ws import WSProtocol
from wsbridge.server.connection.head import Connection
from wsbridge.server.connection.http import HttpExchange
from wsbridge.server.connection.linger import Linger
from wsbridge.server.connection.websocket import WebSocketExchange
from wsbridge.server.logs.format import JsonFormatter, TextFormatter
from wsbridge.server.logs.log import logger

from .doubles import turn_loop
from .freezing import setUpModule, tearDownModule  # noqa: F401
from .loopback import PEER_CLOSE, PEER_HELLO, REQUEST, SWITCHING, Client
from .test_head import PAGE_REQUEST, ConnectionCase
from .test_server import ServerCase
from .test_websocket import (
    ACCEPT,
    CONNECT,
    FORBIDDEN,
    RAISED,
    RECEIVED_HELLO,
    REFUSE,
    WebSocketTestCase,
)

# Every header that is read by somebody, and one that is not.
NAMES = (
    *(b"Host", b"Connection", b"Upgrade", b"Content-Length", b"Transfer-Encoding", b"Expect", b"Origin"),
    *(b"Sec-WebSocket-Key", b"Sec-WebSocket-Version", b"Sec-WebSocket-Protocol", b"Sec-WebSocket-Extensions"),
    *(b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Forwarded-Port", b"Forwarded"),
    b"X-Anything",
)
OPAQUE = bytes(range(0x80, 0x100))


# What ends a line or moves what stands around it, as UTF-8: CR, LF, NEL, line and paragraph separator, ESC
# and CSI sequences, DEL, an override of direction, a byte order mark; and what a formatter takes for its own.
EVIL = '\r\n\x85\u2028\u2029\x1b[2J\x9b2J\x7f\u202e\ufeff%s%(client)s{0}"\\'.encode()


class LineTests(WebSocketTestCase):
    """Nothing that a client sends makes a line of the log, or moves one, whoever formats it."""

    def assert_one_line_each(self) -> None:
        self.assertTrue(self.records)
        for record in self.records:
            message = record.getMessage()
            self.assertTrue(message.isascii() and message.isprintable(), message)
            line = JsonFormatter().format(record)
            self.assertTrue(line.isascii() and line.isprintable(), line)
            first, *rest = TextFormatter().format(record).split("\n")
            self.assertTrue(all(line.startswith("    ") for line in rest), rest)
            for line in (first, *rest):
                self.assertTrue(line.isascii() and line.isprintable(), line)
        self.logged.clear()

    async def test_reason_of_a_close(self) -> None:
        await self.open()
        self.transport.feed(bytes([0x88, 0x80 | len(EVIL) + 2, 0, 0, 0, 0, 0x03, 0xE8]) + EVIL)
        self.assertEqual(self.records[-1].levelname, "INFO")
        self.assertIn("closed by client", self.records[-1].getMessage())
        self.assert_one_line_each()

    async def test_subprotocol_with_a_percent_sign(self) -> None:
        await self.connect(headers=((b"sec-websocket-protocol", b"a%s"),))
        await self.send({**ACCEPT, "subprotocol": "a%s"})
        self.transport.feed(PEER_CLOSE)
        self.assertIn(", subprotocol a%s, ", self.records[-1].getMessage())
        self.assert_one_line_each()

    async def test_error_of_the_application_with_what_came_from_the_client(self) -> None:
        await self.open()
        await self.app.raise_(ValueError(f"bad: {EVIL.decode()}"))
        self.assertEqual(self.records[-1].getMessage(), "application raised")
        self.assert_one_line_each()


class RequestLineTests(ConnectionCase):
    async def test_targets_and_methods_are_refused_or_escaped(self) -> None:
        for byte in sorted(set(EVIL)):
            for head in (b"GET /a%b HTTP/1.1\r\nHost: a\r\n\r\n", b"G%bET /a HTTP/1.1\r\nHost: a\r\n\r\n"):
                transport = self.connect()
                with self.assertLogs(logger, "INFO") as logs:
                    transport.feed(head % bytes([byte]))
                    await turn_loop()
                    transport.get_protocol().shut_down()  # type: ignore[attr-defined]
                for line in logs.output:
                    self.assertTrue(line.isascii() and line.isprintable(), line)


class HeaderValueTests(ConnectionCase):
    """Whatever a value holds: 101, or what the client did wrong, and no line of the log that it wrote."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.configure(forwarded_allow_ips="*", allowed_origins=("same-origin",))

    async def ask(self, name: bytes, value: bytes) -> Tuple[int, List[str]]:
        """The status of an upgrade request with this header, and what was logged."""
        lines = [line for line in REQUEST.split(b"\r\n") if line and not line.startswith(name + b":")]
        transport = self.connect()
        with self.assertLogs(logger, "INFO") as logs:
            transport.feed(b"\r\n".join([*lines, name + b": " + value, b"", b""]))
            await turn_loop()
        transport.lose()
        await turn_loop()
        return int(transport.written[9:12]), logs.output

    async def assert_answered(self, name: bytes, value: bytes, *statuses: int) -> None:
        status, lines = await self.ask(name, value)
        self.assertIn(status, statuses, (name, value))
        for line in lines:
            self.assertTrue(line.startswith("INFO:") and line.isascii() and line.isprintable(), line)
        # What is no upgrade any more has a hint before its answer.
        is_plain = status == 200 and name in (b"Connection", b"Upgrade")
        self.assertEqual(len(lines), 1 + is_plain, (name, value))

    async def test_bytes_80_to_ff_are_opaque_or_400(self) -> None:
        for name in NAMES:
            for value in (OPAQUE, b"\xff", b"\xc3\xa9", b"\x9b2J", b"xn--\xe9"):
                await self.assert_answered(name, value, 101, 200, 400, 403, 426)

    async def test_escape_sequences_are_400_and_one_line_of_the_log(self) -> None:
        for name in NAMES:
            for value in (b"\x1b[2J", b"a\x00b", b"\x7f", b"a\rb", b"a\nb"):
                await self.assert_answered(name, value, 400)


class WrongAnswerTests(WebSocketTestCase):
    """The application gets the error; where it lets it through, the peer gets 500 and nothing before."""

    async def assert_500(self, event: Any) -> None:
        await self.connect()
        await self.assert_receives(CONNECT)
        with self.assertRaises(EventError) as caught:
            await self.send(event)
        self.assert_written()
        await self.app.raise_(caught.exception)
        self.assert_written(RAISED)
        self.logged.clear()
        self.transport.lose()

    async def test_header_with_cr_lf_or_nul(self) -> None:
        for value in (b"a\r\nSet-Cookie: b", b"a\nb", b"a\rb", b"a\0b"):
            await self.assert_500({**ACCEPT, "headers": [(b"x-fine", b"1"), (b"x-name", value)]})
            await self.assert_500({**ACCEPT, "headers": [(b"x-fine", b"1"), (value, b"value")]})

    async def test_header_of_the_handshake(self) -> None:
        for name in (b"connection", b"Upgrade", b"sec-websocket-accept", b"Content-Length"):
            await self.assert_500({**ACCEPT, "headers": [(b"x-fine", b"1"), (name, b"0")]})

    async def test_subprotocol_with_cr_lf_or_nul(self) -> None:
        for text in ("a\r\nSet-Cookie: b", "a\0b"):
            await self.assert_500({**ACCEPT, "subprotocol": text})

    async def test_reason_of_a_refusal_with_cr_lf_or_nul_is_not_told(self) -> None:
        for text in ("a\r\nSet-Cookie: b", "a\0b"):
            await self.connect()
            await self.send({**REFUSE, "reason": text})
            self.assert_written(FORBIDDEN)
            self.transport.lose()
            await self.app.return_()


class BlockedWebSocketTests(WebSocketTestCase):
    """The application keeps the loop for an hour; asyncio then hands over what came before any timer."""

    async def test_peer_that_answered_meanwhile_is_alive(self) -> None:
        await self.open(ws_ping_interval=20, ws_ping_timeout=20)
        await self.advance(20)
        ping = self.transport.read()
        self.clock.advance(3600)
        self.transport.feed(bytes.fromhex("8a 84 00000000") + ping[2:])
        await self.advance(0)
        self.assertEqual(self.transport.read()[:1], b"\x89")
        self.transport.feed(PEER_HELLO)
        await self.assert_receives(RECEIVED_HELLO)

    async def test_peer_that_was_not_pinged_before_is_not_taken_for_dead(self) -> None:
        await self.open(ws_ping_interval=20, ws_ping_timeout=20)
        await self.advance(3600)
        self.assertEqual(self.transport.read()[:1], b"\x89")


class BlockedHandshakeTests(ConnectionCase):
    async def test_request_that_came_meanwhile_is_answered(self) -> None:
        transport = self.connect()
        self.clock.advance(3600)
        transport.feed(REQUEST)
        self.service.sweep()
        await self.assert_answer(transport, SWITCHING)
        transport.lose()
        await turn_loop()


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


class NothingLeftTests(ServerCase):
    def count(self) -> Tuple[int, int, int]:
        """Objects of connections, descriptors and tasks."""
        gc.collect()
        kinds = (Connection, WebSocketExchange, HttpExchange, Linger, WSProtocol)
        objects = sum(isinstance(thing, kinds) for thing in gc.get_objects())
        return objects, sum(map(is_open, range(1024))), len(asyncio.all_tasks())

    async def send_and_leave(self, client: Client, data: bytes) -> None:
        client.send(data)
        client.half_close()
        await client.read_to_end()
        await client.close()

    async def test_connections_that_end_in_every_way_leave_no_object_no_descriptor_and_no_task(self) -> None:
        before = self.count()
        server = await self.start()
        for data in (PAGE_REQUEST, b"GET * HTTP/1.1\r\n\r\n", b"GET / HT", REQUEST):
            await self.send_and_leave(await self.connect_to(server), data)
        for data in (PEER_HELLO + PEER_CLOSE, b"\x83\x80", PEER_HELLO[:7]):
            await self.send_and_leave(await self.open_websocket(server), data)
        for _ in range(5):
            client = await self.open_websocket(server)
            client.send(PEER_HELLO)
            client.reset()
        await server.stop()
        await turn_loop()
        self.app.scopes.clear()
        for now, then in zip(self.count(), before):
            self.assertLessEqual(now, then)


if __name__ == "__main__":
    unittest.main()
