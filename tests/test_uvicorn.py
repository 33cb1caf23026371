"""`WebSocketProtocol`, handed connections as uvicorn hands them over; nothing of uvicorn is needed."""

from __future__ import annotations

import asyncio
import logging
import sys
import unittest
from types import SimpleNamespace
from typing import Any, List, Optional, Set, Tuple

from tests.doubles import ManualApp, MemoryTransport, turn_loop
from tests.loopback import CLOSE, CLOSE_1012, HELLO, PEER_CLOSE, PEER_HELLO, REQUEST
from wsbridge.plugins.uvicorn import WebSocketProtocol, build_config, find_early_data
from wsbridge.protocols.errors import ConfigError

ACCEPT = {"type": "websocket.accept"}
DEFAULT_HEADERS = [(b"date", b"Sun, 06 Nov 1994 08:49:37 GMT"), (b"server", b"uvicorn")]
DEFAULT_LINES = b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\nserver: uvicorn\r\n"
# RFC 6455 1.3: the answer to the sample handshake.
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" + DEFAULT_LINES + b"\r\n"
)


class Config:
    """What the plug-in uses of a `uvicorn.Config`, with uvicorn's defaults."""

    def __init__(self, app: Any, **options: Any) -> None:
        self.app = app
        self.loaded_app: Any = None
        self.loaded = False
        self.root_path = ""
        self.ws_max_size: Optional[int] = 16 * 1024 * 1024
        self.ws_max_queue: Optional[int] = 32
        self.ws_ping_interval: Optional[float] = 20.0
        self.ws_ping_timeout: Optional[float] = 20.0
        self.ws_per_message_deflate = True
        vars(self).update(options)

    def load(self) -> None:
        if self.loaded:
            raise AssertionError("loaded twice")
        self.loaded, self.loaded_app = True, self.app


class ServerState:
    """What the plug-in uses of a `uvicorn.server.ServerState`."""

    def __init__(self) -> None:
        self.connections: Set[Any] = set()
        self.tasks: Set[asyncio.Task[Any]] = set()
        self.default_headers: List[Tuple[bytes, bytes]] = DEFAULT_HEADERS


class HTTPProtocol(asyncio.Protocol):
    """uvicorn's protocol of a request that it has read to the end of the head."""


class H11Protocol(HTTPProtocol):
    """That protocol with h11's connection in it."""

    def __init__(self, trailing: bytes) -> None:
        self.conn = SimpleNamespace(trailing_data=(trailing, False))


class HttpParserUpgrade(Exception):
    """What httptools raises at the end of the head; its argument is the offset of what follows."""


class PluginCase(unittest.IsolatedAsyncioTestCase):
    """A uvicorn server made of doubles; whatever a test does, nothing may be left of it."""

    protocol_class = WebSocketProtocol

    async def asyncSetUp(self) -> None:
        asyncio.get_running_loop().set_debug(False)
        self.app = ManualApp()
        self.state = ServerState()
        self.app_state = {"database": "open"}
        self.transports: List[MemoryTransport] = []
        self.configure()
        self.lines: List[str] = []
        handler = logging.Handler()
        handler.setFormatter(logging.Formatter("%(levelname)s:%(message)s"))
        handler.emit = lambda record: self.lines.append(handler.format(record))  # type: ignore[method-assign]
        logger = logging.getLogger("uvicorn.error")
        self.addCleanup(setattr, logger, "propagate", logger.propagate)
        self.addCleanup(logger.setLevel, logger.level)
        self.addCleanup(logger.removeHandler, handler)
        logger.propagate = False
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)

    def configure(self, **options: Any) -> None:
        self.config = Config(self.app, **options)

    async def asyncTearDown(self) -> None:
        for transport in self.transports:
            transport.lose()
        await self.app.return_()
        for task in self.state.tasks:
            task.cancel()
        await turn_loop()
        self.assertEqual((self.state.connections, self.state.tasks), (set(), set()))
        self.assertEqual(asyncio.all_tasks(), {asyncio.current_task()})

    def hand_over(
        self, head: bytes = REQUEST, http: Optional[asyncio.Protocol] = None, **extra: Any
    ) -> MemoryTransport:
        """A connection whose request uvicorn has read; in this order, uvicorn calls its protocol class."""
        transport = MemoryTransport(**extra)
        self.transports.append(transport)
        transport.set_protocol(http or HTTPProtocol())
        protocol = self.protocol_class(config=self.config, server_state=self.state, app_state=self.app_state)
        protocol.connection_made(transport)
        protocol.data_received(head)
        transport.set_protocol(protocol)
        return transport

    async def open(self, **options: Any) -> MemoryTransport:
        transport = self.hand_over(**options)
        await turn_loop()
        await self.app.receive()
        await self.app.send(ACCEPT)
        self.assertEqual(transport.read(), SWITCHING)
        return transport

    def read_lines(self) -> List[str]:
        lines, self.lines = self.lines, []
        return lines


class ConnectionTests(PluginCase):
    async def test_message_comes_and_goes(self) -> None:
        transport = await self.open()
        transport.feed(PEER_HELLO)
        self.assertEqual(await self.app.receive(), {"type": "websocket.receive", "text": "Hello"})
        await self.app.send({"type": "websocket.send", "text": "Hello"})
        self.assertEqual(transport.read(), HELLO)

    async def test_transport_is_known_to_the_server(self) -> None:
        protocol = self.protocol_class(self.config, self.state)
        self.assertIsNone(protocol.transport)
        transport = await self.open()
        [connection] = self.state.connections
        self.assertIs(connection.transport, transport)

    async def test_server_knows_the_connection_until_it_is_closed_and_the_task_until_it_ends(self) -> None:
        transport = await self.open()
        self.assertEqual(self.state.connections, {transport.get_protocol()})
        self.assertEqual(len(self.state.tasks), 1)
        self.assertEqual(self.state.tasks, asyncio.all_tasks() - {asyncio.current_task()})
        transport.feed(PEER_CLOSE)
        self.assertEqual(transport.read(), CLOSE)
        self.assertEqual(len(self.state.connections), 1)
        transport.feed_eof()
        await turn_loop()
        self.assertEqual((len(self.state.connections), len(self.state.tasks)), (0, 1))
        await self.app.return_()
        self.assertEqual(self.state.tasks, set())

    async def test_connection_that_uvicorn_has_lost_is_over(self) -> None:
        protocol = self.protocol_class(self.config, self.state, self.app_state, asyncio.get_running_loop())
        protocol.connection_made(MemoryTransport())
        protocol.connection_lost(None)
        protocol.connection_lost(None)
        self.assertEqual(self.state.connections, set())

    async def test_application_that_is_not_loaded_is_loaded_once(self) -> None:
        await self.open()
        self.hand_over()
        self.assertTrue(self.config.loaded)

    async def test_application_that_is_loaded_is_taken_as_it_is(self) -> None:
        self.config.load()
        await self.open()


class ScopeTests(PluginCase):
    async def test_scope_has_the_lifespans_state_and_the_root_path(self) -> None:
        self.configure(root_path="/api/")
        await self.open(sslcontext=object())
        scope = self.app.scope
        self.assertEqual(scope["state"], {"database": "open"})
        self.assertIsNot(scope["state"], self.app_state)
        self.assertEqual((scope["root_path"], scope["path"], scope["scheme"]), ("/api", "/api/chat", "wss"))
        self.assertEqual((scope["client"], scope["server"]), (("127.0.0.1", 50000), ("127.0.0.1", 8000)))

    async def test_headers_of_a_proxy_are_left_to_uvicorns_middleware(self) -> None:
        await self.open(head=REQUEST[:-2] + b"x-forwarded-for: 192.0.2.1\r\n\r\n")
        self.assertEqual(self.app.scope["client"], ("127.0.0.1", 50000))


class HeaderTests(PluginCase):
    async def test_application_sends_its_headers_behind_the_default_ones(self) -> None:
        transport = self.hand_over()
        await turn_loop()
        await self.app.receive()
        self.state.default_headers = [(b"server", b"uvicorn")]
        await self.app.send({**ACCEPT, "headers": [(b"server", b"mine")]})
        self.assertTrue(transport.read().endswith(b"=\r\nserver: uvicorn\r\nserver: mine\r\n\r\n"))

    async def test_denial_has_them_and_one_date(self) -> None:
        transport = self.hand_over()
        await turn_loop()
        await self.app.send(
            {"type": "websocket.http.response.start", "status": 401, "headers": [(b"a", b"b")]}
        )
        await self.app.send({"type": "websocket.http.response.body", "body": b"no"})
        self.assertEqual(
            transport.read(),
            b"HTTP/1.1 401 Unauthorized\r\n" + DEFAULT_LINES + b"a: b\r\n"
            b"Connection: close\r\nContent-Length: 2\r\n\r\nno",
        )

    async def test_refusal_of_the_request_has_them(self) -> None:
        transport = self.hand_over(REQUEST.replace(b"Version: 13", b"Version: 12"))
        self.assertEqual(
            transport.read(),
            b"HTTP/1.1 426 Upgrade Required\r\n" + DEFAULT_LINES + b"Upgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 33\r\n"
            b"Connection: Upgrade, close\r\n\r\nSec-WebSocket-Version must be 13\n",
        )
        self.assertEqual(len(self.state.connections), 1)

    async def test_no_date_is_sent_where_uvicorn_sends_none(self) -> None:
        self.state.default_headers = []
        transport = self.hand_over()
        await turn_loop()
        await self.app.send({"type": "websocket.close"})
        self.assertTrue(transport.read().startswith(b"HTTP/1.1 403 Forbidden\r\nContent-Type: "))


class LogTests(PluginCase):
    async def test_accept_is_logged_with_path_and_query(self) -> None:
        await self.open(head=REQUEST.replace(b"/chat", b"/a%20b?c=%20d"))
        self.assertEqual(
            self.read_lines(),
            ['INFO:127.0.0.1:50000 - "WebSocket /a%20b?c=%20d" [accepted]'],
        )

    async def test_refusal_is_logged_with_its_status(self) -> None:
        self.hand_over(peername="")
        await turn_loop()
        await self.app.send({"type": "websocket.close"})
        self.assertEqual(self.read_lines(), ['INFO: - "WebSocket /chat" 403'])

    async def test_end_is_logged_with_who_closed(self) -> None:
        transport = await self.open(head=REQUEST.replace(b"/chat", b"/a%0ab"))
        self.read_lines()
        transport.feed(PEER_CLOSE)
        self.assertRegex(
            self.read_lines()[0],
            r'^INFO:127.0.0.1:50000 - "WebSocket /a%0Ab" 1000 closed by client, 0\.\d{3} s, '
            r"0 messages and 8 bytes received, 0 and 4 sent$",
        )

    async def test_answer_below_the_level_is_not_logged(self) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        transport = await self.open()
        transport.feed(PEER_CLOSE)
        self.assertEqual(self.read_lines(), [])

    async def test_access_lines_can_be_left_out(self) -> None:
        class Quiet(WebSocketProtocol, access_log=False):
            """The plug-in without them."""

        self.protocol_class = Quiet
        transport = await self.open()
        transport.feed(PEER_CLOSE)
        self.hand_over(REQUEST.replace(b"Version: 13", b"Version: 12"))
        self.assertEqual(self.read_lines(), [])

    async def test_refused_handshake_is_logged(self) -> None:
        self.hand_over(REQUEST.replace(b"Version: 13", b"Version: 12"))
        self.assertEqual(
            self.read_lines(),
            ['INFO:127.0.0.1:50000 "GET /chat" refused: 426 Sec-WebSocket-Version must be 13'],
        )

    async def test_what_an_application_raises_is_logged(self) -> None:
        for error in (ValueError("on purpose"), KeyboardInterrupt(), SystemExit(3)):
            transport = await self.open()
            self.read_lines()
            await self.app.raise_(error)
            [line] = self.read_lines()
            self.assertIn("ERROR:application raised", line)
            self.assertIn(type(error).__name__, line)
            self.assertEqual(transport.read(), bytes.fromhex("88 02 03f3"))

    async def test_cancellation_that_nobody_asked_for_is_logged(self) -> None:
        await self.open()
        self.read_lines()
        await self.app.raise_(asyncio.CancelledError())
        self.assertIn("ERROR:application raised", self.read_lines()[0])

    async def test_mistake_of_the_application_is_logged(self) -> None:
        self.hand_over()
        await turn_loop()
        await self.app.send({**ACCEPT, "subprotocol": "chat"})
        self.assertIn("WARNING:accepted without subprotocol 'chat'", self.read_lines()[0])


class ShutdownTests(PluginCase):
    async def test_every_connection_is_closed_with_1012(self) -> None:
        first, second = await self.open(), await self.open()
        for connection in list(self.state.connections):
            connection.shutdown()
        self.assertEqual((first.read(), second.read()), (CLOSE_1012, CLOSE_1012))

    async def test_request_that_comes_later_is_refused(self) -> None:
        transport = await self.open()
        transport.get_protocol().shutdown()  # type: ignore[attr-defined]
        self.assertIn(b"HTTP/1.1 503 ", self.hand_over().read())

    async def test_task_that_uvicorn_cancels_at_the_end_is_no_error(self) -> None:
        transport = await self.open()
        transport.get_protocol().shutdown()  # type: ignore[attr-defined]
        self.read_lines()
        for task in self.state.tasks:
            task.cancel()
        await turn_loop()
        self.assertEqual((self.read_lines(), self.app.cancellations), ([], 1))


class EarlyDataTests(PluginCase):
    async def assert_received(self, transport: MemoryTransport) -> None:
        await turn_loop()
        await self.app.receive()
        await self.app.send(ACCEPT)
        self.assertEqual(await self.app.receive(), {"type": "websocket.receive", "text": "Hello"})

    async def test_frame_that_h11_has_read_behind_the_head_is_received(self) -> None:
        await self.assert_received(self.hand_over(http=H11Protocol(PEER_HELLO)))

    async def test_frame_that_httptools_has_read_behind_the_head_is_received(self) -> None:
        def data_received(data: bytes) -> MemoryTransport:
            try:
                raise HttpParserUpgrade(len(REQUEST))
            except HttpParserUpgrade:
                return self.hand_over()

        await self.assert_received(data_received(REQUEST + PEER_HELLO))

    async def test_frame_that_is_handed_over_with_the_head_is_received_once(self) -> None:
        transport = self.hand_over(REQUEST + PEER_HELLO, H11Protocol(PEER_HELLO))
        await self.assert_received(transport)
        transport.feed(PEER_CLOSE)
        self.assertEqual((await self.app.receive())["type"], "websocket.disconnect")

    def test_nothing_is_found_where_nothing_is_known(self) -> None:
        transport = MemoryTransport()
        transport.set_protocol(HTTPProtocol())
        self.assertEqual(find_early_data(transport), b"")
        without_protocol: Any = object()
        self.assertEqual(find_early_data(without_protocol), b"")

        def handle(data: bytes, error: Exception) -> bytes:
            try:
                raise error
            except type(error):
                return find_early_data(transport)

        for error in (AttributeError(0), ValueError(0)):
            self.assertEqual(handle(b"data", error), b"")


class ConfigTests(PluginCase):
    def build(self, **options: Any) -> Any:
        return build_config(Config(self.app, **options), {})

    def test_options_are_uvicorns(self) -> None:
        config = self.build(
            ws_max_size=1000,
            ws_max_queue=5,
            ws_ping_interval=3.0,
            ws_ping_timeout=4.0,
            ws_per_message_deflate=False,
        )
        self.assertEqual((config.ws_max_size, config.ws_max_queue), (1000, 5))
        self.assertEqual((config.ws_ping_interval, config.ws_ping_timeout), (3, 4))
        self.assertFalse(config.ws_per_message_deflate)

    def test_zero_and_none_are_no_limit(self) -> None:
        for value in (0, None):
            config = self.build(
                ws_max_size=value, ws_max_queue=value, ws_ping_interval=value, ws_ping_timeout=value
            )
            self.assertEqual((config.ws_max_size, config.ws_max_queue), (sys.maxsize, sys.maxsize))
            self.assertEqual((config.ws_ping_interval, config.ws_ping_timeout), (None, None))

    def test_root_path_begins_with_a_slash_and_ends_with_none(self) -> None:
        for root_path, expected in (("", ""), ("/", ""), ("/a/b/", "/a/b"), ("a", "/a")):
            self.assertEqual(self.build(root_path=root_path).root_path, expected)

    def test_root_path_that_is_none_is_an_error(self) -> None:
        with self.assertRaises(ConfigError):
            self.build(root_path="/a?b")


class OptionsTests(PluginCase):
    class SameOrigin(WebSocketProtocol, allowed_origins=("same-origin",), ws_max_size=4):
        """What a user writes for options that uvicorn does not have."""

    protocol_class = SameOrigin

    async def test_they_go_before_uvicorns(self) -> None:
        transport = self.hand_over(REQUEST[:-2] + b"Origin: https://example.org\r\n\r\n")
        self.assertIn(b"HTTP/1.1 403 ", transport.read())
        transport = await self.open()
        transport.feed(PEER_HELLO)
        self.assertTrue(transport.read().startswith(b"\x88"))

    def test_wrong_one_is_an_error_where_the_class_is_written(self) -> None:
        with self.assertRaises(ConfigError):

            class Unlimited(WebSocketProtocol, ws_max_size=0):
                pass


if __name__ == "__main__":
    unittest.main()
