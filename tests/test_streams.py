"""`handle_websocket` behind `asyncio.start_server`: a request that somebody else has parsed."""

from __future__ import annotations

import asyncio
import gc
import unittest
from typing import Any, Callable, Dict, List, Optional, Tuple, cast

from wsbridge.config import ServerConfig
from wsbridge.protocols.http11 import RequestParser
from wsbridge.protocols.proxy_protocol import ProxyHeader
from wsbridge.server import streams
from wsbridge.server.service import Service
from wsbridge.server.streams import StreamTransport, handle_websocket

from .doubles import MemoryTransport, turn_loop
from .loopback import (
    CLOSE,
    HELLO,
    PEER_CLOSE,
    PEER_HELLO,
    REQUEST,
    SWITCHING,
    TIMEOUT,
    Client,
    LoopbackCase,
)

Event = Dict[str, Any]
MIB = 1024 * 1024


class StreamsCase(LoopbackCase):
    """A streams server that parses the request and calls `handle_websocket`."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.log: List[str] = []
        self.scopes: List[Event] = []
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        self.over: asyncio.Queue[Any] = asyncio.Queue()
        self.handler: Optional[asyncio.Task[Any]] = None
        self.writer: Any = None

    async def echo(self, scope: Event, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await receive()
        await send({"type": "websocket.accept"})
        self.begun.set()
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
        self.log.append(f"disconnect {event['code']}")

    async def start(self, app: Any = None, **options: Any) -> Client:
        """A client that has connected; what `handle_websocket` returned or raised will be in ``over``."""
        names = ("state", "service", "trailing", "proxy_header")
        arguments = {name: options.pop(name) for name in names if name in options}
        wrong_request = options.pop("request", None)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.handler, self.writer = asyncio.current_task(), writer
            head = await reader.readuntil(b"\r\n\r\n")
            request: Any = wrong_request or RequestParser().receive_data(head)
            try:
                config = ServerConfig(**options)
                await handle_websocket(app or self.echo, config, request, reader, writer, **arguments)
                self.over.put_nowait(None)
            except BaseException as error:
                self.over.put_nowait(error)
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.addAsyncCleanup(self.stop, server)
        return await self.connect(server.sockets[0].getsockname())

    async def stop(self, server: Any) -> None:
        server.close()
        await asyncio.wait_for(server.wait_closed(), TIMEOUT)

    async def open(self, app: Any = None, **options: Any) -> Client:
        client = await self.start(app, **options)
        client.send(REQUEST)
        await self.assert_answer(client, SWITCHING)
        return client

    async def assert_over(self, error: Any = None) -> None:
        """`handle_websocket` has come to its end, or raised ``error``, and nothing of it is left."""
        result = await asyncio.wait_for(self.over.get(), TIMEOUT)
        self.assertIs(None if result is None else type(result), error)
        self.assertTrue(self.writer.transport.is_closing())
        await turn_loop()
        self.assertEqual(asyncio.all_tasks(), {asyncio.current_task()})


class ConversationTests(StreamsCase):
    async def test_message_is_echoed_and_the_peer_closes(self) -> None:
        client = await self.open()
        client.send(PEER_HELLO)
        await self.assert_answer(client, HELLO)
        client.send(PEER_CLOSE)
        await self.assert_end(client, CLOSE)
        await self.assert_over()
        self.assertEqual(self.log, ["disconnect 1000"])

    async def test_pipelined_frames_in_the_reader_are_answered_in_order(self) -> None:
        client = await self.start()
        client.send(REQUEST, PEER_HELLO, b"\x81\x81\0\0\0\0b", PEER_CLOSE)
        await self.assert_end(client, SWITCHING + HELLO + b"\x81\x01b" + CLOSE)
        await self.assert_over()

    async def test_bytes_that_were_read_with_the_head_are_received_first(self) -> None:
        client = await self.start(trailing=PEER_HELLO)
        client.send(REQUEST, b"\x81\x81\0\0\0\0b", PEER_CLOSE)
        await self.assert_end(client, SWITCHING + HELLO + b"\x81\x01b" + CLOSE)
        await self.assert_over()

    async def test_argument_of_another_type_is_an_error_and_nothing_is_written(self) -> None:
        cases: List[Tuple[Event, str]] = [
            ({"request": {"method": "GET"}}, "^request must be a RequestReceived, not {'method': 'GET'}$"),
            ({"trailing": "a"}, "^trailing must be bytes, not 'a'$"),
            ({"proxy_header": ("a", 5)}, r"^proxy_header must be a ProxyHeader, not \('a', 5\)$"),
        ]
        for arguments, text in cases:
            client = await self.start(**arguments)
            client.send(REQUEST)
            await self.assert_end(client)
            error = await asyncio.wait_for(self.over.get(), TIMEOUT)
            with self.assertRaisesRegex(TypeError, text):
                raise error

    async def test_application_closes_and_the_peers_close_is_awaited(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 1000})

        client = await self.start(app)
        client.send(REQUEST)
        await self.assert_answer(client, SWITCHING + CLOSE)
        self.assertTrue(self.over.empty())
        client.send(PEER_HELLO, PEER_CLOSE)
        await self.assert_end(client)
        await self.assert_over()

    async def test_scope_tells_both_ends_and_the_state(self) -> None:
        client = await self.open(state={"room": 5})
        (scope,) = self.scopes
        self.assertEqual(scope["client"], client.writer.get_extra_info("sockname"))
        self.assertEqual(scope["server"], client.writer.get_extra_info("peername"))
        self.assertEqual((scope["scheme"], scope["state"]), ("ws", {"room": 5}))

    async def test_scope_tells_the_ends_that_a_proxy_has_told(self) -> None:
        header = ProxyHeader(("192.0.2.7", 5), ("198.51.100.1", 443), True)
        client = await self.start(proxy_header=header)
        client.send(REQUEST)
        self.assertEqual(await client.read(len(SWITCHING)), SWITCHING)
        found = [self.scopes[0][key] for key in ("client", "server", "scheme")]
        self.assertEqual(found, [header.client, header.server, "wss"])

    async def test_half_closed_peer_gets_what_it_is_still_owed(self) -> None:
        client = await self.start(self.wait_and_echo)
        client.send(REQUEST, PEER_HELLO, PEER_CLOSE)
        client.half_close()
        await self.assert_answer(client, SWITCHING)
        self.gate.set()
        await self.assert_end(client, HELLO + CLOSE)
        await self.assert_over()

    async def wait_and_echo(self, scope: Event, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await self.gate.wait()
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})


class SharedServiceTests(StreamsCase):
    async def test_service_closes_all_of_its_connections(self) -> None:
        service = Service(self.echo, ServerConfig())
        clients = []
        for _ in range(2):
            client = await self.open(service=service)
            clients.append(client)
        self.assertEqual(len(service.members), 2)
        stopping = asyncio.ensure_future(service.shut_down(TIMEOUT))
        for client in clients:
            await self.assert_answer(client, b"\x88\x02\x03\xf4")
            client.send(b"\x88\x82\0\0\0\0\x03\xf4")
            await self.assert_end(client, b"")
        await stopping
        self.assertEqual(self.log, ["disconnect 1012"] * 2)
        self.assertEqual(list(service.members), [])

    async def test_request_that_comes_while_it_stops_is_refused(self) -> None:
        service = Service(self.echo, ServerConfig(metrics_path=""))
        client = await self.start(service=service)
        await service.shut_down(TIMEOUT)
        client.send(REQUEST)
        answer = await client.read_to_end()
        self.assertRegex(
            answer, b"(?s)^HTTP/1.1 503 Service Unavailable\r\nDate: .*\r\n\r\nthe server is stopping\n$"
        )
        self.assertEqual(self.scopes, [])
        await client.close()
        await self.assert_over()
        assert service.metrics is not None
        metrics = service.metrics.collect()
        self.assertEqual(metrics['wsbridge_handshakes_total{code="503"}'], 1)
        self.assertEqual(metrics["wsbridge_connections_total"], 1)

    async def test_one_connection_ends_without_the_others(self) -> None:
        service = Service(self.echo, ServerConfig())
        first = await self.open(service=service)
        second = await self.open(service=service)
        first.send(PEER_CLOSE)
        await self.assert_end(first, CLOSE)
        self.assertIsNone(await asyncio.wait_for(self.over.get(), TIMEOUT))
        self.assertEqual(len(service.members), 1)
        second.send(PEER_CLOSE)
        await self.assert_end(second, CLOSE)
        await self.assert_over()


class RefusalTests(StreamsCase):
    async def assert_refused(self, expected: bytes, before: bytes, after: bytes) -> None:
        client = await self.start()
        client.send(REQUEST.replace(before, after), PEER_HELLO)
        answer = await client.read_to_end()
        self.assertRegex(answer, expected)
        self.assertEqual(self.scopes, [])
        await client.close()
        await self.assert_over()

    async def test_no_upgrade_is_400(self) -> None:
        expected = b"(?s)^HTTP/1.1 400 Bad Request\r\nDate: .*\r\n\r\nnot a WebSocket upgrade\n$"
        await self.assert_refused(expected, b"Connection: Upgrade", b"Connection: close")

    async def test_malformed_offer_is_400(self) -> None:
        header = b"\r\nSec-WebSocket-Extensions: a b\r\n\r\n"
        await self.assert_refused(b"^HTTP/1.1 400 Bad Request\r\n", b"\r\n\r\n", header)

    async def test_head_is_405_without_a_body(self) -> None:
        expected = b"(?s)^HTTP/1.1 405 Method Not Allowed\r\nDate: .*\r\n\r\n$"
        await self.assert_refused(expected, b"GET", b"HEAD")

    async def test_post_is_405_with_a_body(self) -> None:
        expected = b"(?s)^HTTP/1.1 405 Method Not Allowed\r\nDate: .*\r\n\r\n.+\n$"
        await self.assert_refused(expected, b"GET", b"POST")

    async def test_application_that_raises_is_500(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            raise KeyError("app")

        client = await self.start(app)
        with self.assertLogs("wsbridge", "ERROR"):
            client.send(REQUEST)
            self.assertRegex(await client.read_to_end(), b"^HTTP/1.1 500 ")
        await client.close()
        await self.assert_over()


class EndTests(StreamsCase):
    async def test_peer_that_ends_its_stream_is_1006(self) -> None:
        client = await self.open()
        client.half_close()
        await self.assert_end(client)
        await self.assert_over()
        self.assertEqual(self.log, ["disconnect 1006"])

    async def test_peer_that_resets_is_1006(self) -> None:
        client = await self.open()
        client.reset()
        await self.assert_over()
        self.assertEqual(self.log, ["disconnect 1006"])

    async def test_cancelling_ends_the_connection_and_the_application(self) -> None:
        client = await self.open()
        await self.wait_for(self.begun)
        handler: Any = self.handler
        handler.cancel()
        await self.assert_end(client)
        await self.assert_over(asyncio.CancelledError)

    async def test_cancelling_while_the_application_goes_on_behind_the_disconnect(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await receive()
            self.begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.log.append("cancelled")

        client = await self.start(app)
        client.send(REQUEST)
        client.half_close()
        await self.wait_for(self.begun)
        handler: Any = self.handler
        handler.cancel()
        await self.assert_over(asyncio.CancelledError)
        self.assertEqual(self.log, ["cancelled"])

    async def test_what_the_protocol_raises_comes_out_and_ends_the_application(self) -> None:
        def trace(*frame: Any) -> None:
            raise KeyError("trace")

        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            scope["wsbridge.connection"].trace = trace
            self.begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.log.append("cancelled")

        client = await self.open(app)
        await self.wait_for(self.begun)
        client.send(PEER_HELLO)
        await self.assert_end(client)
        await self.assert_over(KeyError)
        self.assertEqual(self.log, ["cancelled"])

    async def test_peer_that_takes_nothing_of_what_is_left_is_cut_off(self) -> None:
        """The end of the application is not the end of what waits to be written: its deadlines hold."""

        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            self.begun.set()
            await send({"type": "websocket.send", "bytes": bytes(16 * MIB)})

        client = await self.start(app, timeout_close=0.001, timeout_write=0.001, ws_per_message_deflate=False)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(REQUEST, PEER_CLOSE)
        client.half_close()
        await self.wait_for(self.begun)
        await self.assert_over()

    async def test_half_closed_peer_takes_what_is_left_of_a_closed_connection(self) -> None:
        """A transport of asyncio that was closed cannot be aborted once its last byte has left."""

        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            self.begun.set()
            try:
                await send({"type": "websocket.send", "bytes": bytes(8 * MIB)})
            finally:
                self.gate.set()

        client = await self.start(app, ws_per_message_deflate=False)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(REQUEST)
        await self.wait_for(self.begun)
        client.half_close()
        await self.wait_for(self.gate)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await self.assert_answer(client, SWITCHING + bytes.fromhex("82 7f 00000000 00800000"))
        await self.assert_end(client, bytes(8 * MIB))
        await self.assert_over()


class BackpressureTests(StreamsCase):
    async def test_send_waits_while_the_peer_does_not_read(self) -> None:
        size = 8 * MIB

        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            sending = asyncio.ensure_future(send({"type": "websocket.send", "bytes": bytes(size)}))
            await turn_loop()
            self.log.append("sent" if sending.done() else "waits")
            self.begun.set()
            await sending
            self.log.append("sent")
            await receive()

        client = await self.start(app)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(REQUEST)
        await self.wait_for(self.begun)
        self.assertEqual(self.log, ["waits"])
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await self.assert_answer(client, SWITCHING + bytes.fromhex("82 7f 00000000 00800000"))
        self.assertEqual(await client.read(size), bytes(size))
        client.send(PEER_CLOSE)
        await self.assert_end(client, CLOSE)
        await self.assert_over()
        self.assertEqual(self.log, ["waits", "sent"])

    async def test_peer_waits_while_the_application_does_not_receive(self) -> None:
        """What the queue has no room for stays in the kernel, and everything arrives once, in order."""
        received: List[bytes] = []

        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await self.gate.wait()
            while (event := await receive())["type"] == "websocket.receive":
                received.append(event["bytes"])

        client = await self.open(app, ws_max_queue=2)
        client.writer.transport.set_write_buffer_limits(0)
        numbers = [b"%07d" % number for number in range(20000)]
        client.send(*(b"\x82\x87\0\0\0\0" + number for number in numbers), PEER_CLOSE)
        await turn_loop(50)
        self.gate.set()
        await self.assert_end(client, CLOSE)
        await self.assert_over()
        self.assertEqual(received, numbers)

    async def test_peer_that_leaves_while_nothing_is_read_ends_an_application_that_only_sends(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            while True:
                # Until it raises.
                await send({"type": "websocket.send", "text": "Hello"})
                self.begun.set()
                await asyncio.sleep(0)

        for leave in (Client.reset, Client.half_close):
            self.begun.clear()
            client = await self.open(app, ws_max_queue=1)
            client.send(PEER_HELLO * 20_000)
            await self.wait_for(self.begun)
            await turn_loop(50)
            leave(client)
            client.writer.transport.abort()
            await self.assert_over()

    async def test_peer_that_resets_wakes_an_application_that_waits_for_room(self) -> None:
        async def app(scope: Event, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            self.begun.set()
            # The peer's messages fill the queue, so that nothing is read of it any more.
            await self.gate.wait()
            await send({"type": "websocket.send", "bytes": bytes(16 * MIB)})

        client = await self.open(app, ws_max_queue=1, ws_per_message_deflate=False)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(PEER_HELLO, PEER_HELLO)
        await self.wait_for(self.begun)
        self.gate.set()
        await turn_loop(50)
        client.reset()
        await self.assert_over()


class Writer:
    """A `StreamWriter` as far as `StreamTransport` uses one, above a transport in memory."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport
        self.write, self.write_eof = transport.write, transport.write_eof
        self.can_write_eof, self.get_extra_info = transport.can_write_eof, transport.get_extra_info
        self.close, self.is_closing = transport.close, transport.is_closing
        self.room = asyncio.Event()
        self.lost = asyncio.Event()
        self.error: Optional[OSError] = None
        self.loss: Optional[OSError] = None

    async def drain(self) -> None:
        await self.room.wait()
        if self.error is not None:
            raise self.error

    async def wait_closed(self) -> None:
        await self.lost.wait()
        if self.loss is not None:
            raise self.loss


class Protocol(asyncio.Protocol):
    """Notes what it is told; ``at_eof`` is what it answers at the end of the stream."""

    def __init__(self) -> None:
        self.told: List[Any] = []
        self.at_eof = False
        self.then: Callable[[], None] = lambda: None

    def data_received(self, data: bytes) -> None:
        self.told.append(data)
        self.then()

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.at_eof

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self.told.append(exc)


class TransportTests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.reader = asyncio.StreamReader()
        self.memory = MemoryTransport()
        self.memory.set_protocol(asyncio.Protocol())
        self.writer = cast(Any, Writer(self.memory))
        self.transport = StreamTransport(self.reader, self.writer)
        self.protocol = Protocol()
        self.transport.set_protocol(self.protocol)

    async def begin(self) -> asyncio.Task[None]:
        pumping = asyncio.ensure_future(self.transport.pump())
        self.addCleanup(pumping.cancel)
        await turn_loop()
        return pumping

    async def assert_told(self, *expected: Any) -> None:
        await turn_loop()
        self.assertEqual(self.protocol.told, list(expected))

    async def assert_over(self, pumping: asyncio.Task[None], *told: Any) -> None:
        self.reader.feed_eof()
        self.writer.lost.set()
        await asyncio.wait_for(pumping, TIMEOUT)
        await self.assert_told(*told)

    async def test_reading_goes_on_behind_the_loss_whatever_is_paused(self) -> None:
        pumping = await self.begin()
        self.protocol.then = self.transport.pause_reading
        self.transport.pause_reading()
        self.writer.lost.set()
        await turn_loop()
        for data in (b"a", b"b"):
            self.reader.feed_data(data)
            await turn_loop()
        await self.assert_over(pumping, b"a", b"b", "eof", None)

    async def test_bytes_and_the_end_of_the_stream_are_told_in_order(self) -> None:
        pumping = await self.begin()
        self.reader.feed_data(b"a")
        await self.assert_told(b"a")
        self.reader.feed_data(b"b")
        await self.assert_over(pumping, b"a", b"b", "eof", None)
        self.assertEqual(self.memory.calls[0], "close")

    async def test_a_read_takes_so_much_at_a_time(self) -> None:
        self.reader.feed_data(b"a" * (streams.READ_SIZE + 1))
        pumping = await self.begin()
        await self.assert_over(pumping, b"a" * streams.READ_SIZE, b"a", "eof", None)

    async def test_paused_protocol_gets_nothing_even_of_a_read_under_way(self) -> None:
        pumping = await self.begin()
        self.transport.pause_reading()
        self.reader.feed_data(b"a")
        await self.assert_told()
        self.reader.feed_data(b"b")
        self.transport.resume_reading()
        await self.assert_told(b"a", b"b")
        await self.assert_over(pumping, b"a", b"b", "eof", None)

    async def test_protocol_may_pause_when_it_gets_bytes(self) -> None:
        self.protocol.then = self.transport.pause_reading
        pumping = await self.begin()
        for data, told in ((b"a", (b"a",)), (b"b", (b"a",))):
            self.reader.feed_data(data)
            await self.assert_told(*told)
        self.transport.resume_reading()
        await self.assert_told(b"a", b"b")
        self.transport.resume_reading()
        await self.assert_over(pumping, b"a", b"b", "eof", None)

    async def test_connection_stays_open_behind_the_end_where_the_protocol_wants_it(self) -> None:
        self.protocol.at_eof = True
        pumping = await self.begin()
        self.reader.feed_eof()
        await self.assert_told("eof")
        self.assertEqual(self.memory.calls, [])
        self.transport.close()
        await self.assert_over(pumping, "eof", None)

    async def test_loss_while_reading_is_paused_is_told_once(self) -> None:
        complaints: List[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        pumping = await self.begin()
        self.transport.pause_reading()
        self.writer.loss = ConnectionResetError()
        await self.assert_over(pumping, "eof", self.writer.loss)
        # A future whose error nobody has asked for complains when it is freed.
        del self.transport, self.writer, self.protocol, pumping
        gc.collect()
        await turn_loop()
        self.assertEqual(complaints, [])

    async def test_connection_is_lost_only_when_all_is_written(self) -> None:
        pumping = await self.begin()
        self.reader.feed_eof()
        await self.assert_told("eof")
        self.writer.lost.set()
        await self.assert_over(pumping, "eof", None)

    async def test_nothing_is_told_behind_close_and_abort(self) -> None:
        for end in (StreamTransport.close, StreamTransport.abort):
            await self.asyncSetUp()
            pumping = await self.begin()
            self.transport.pause_reading()
            self.reader.feed_data(b"a")
            await turn_loop()
            end(self.transport)
            self.assertTrue(self.transport.is_closing())
            await self.assert_over(pumping, None)

    async def test_error_of_the_reader_is_told(self) -> None:
        pumping = await self.begin()
        error = ConnectionResetError()
        self.reader.set_exception(error)
        await asyncio.wait_for(pumping, TIMEOUT)
        await self.assert_told(error)
        self.assertIn("abort", self.memory.calls)

    async def test_error_that_is_not_of_the_system_comes_out(self) -> None:
        pumping = await self.begin()
        self.reader.set_exception(KeyError("reader"))
        with self.assertRaises(KeyError):
            await asyncio.wait_for(pumping, TIMEOUT)
        await self.assert_told(None)

    async def test_write_above_the_limit_pauses_until_there_is_room(self) -> None:
        self.memory.is_peer_reading = False
        self.transport.set_write_buffer_limits(high=2)
        self.transport.write(b"ab")
        await self.assert_told()
        self.transport.write(b"c")
        self.transport.write(b"d")
        await self.assert_told("pause")
        self.assertEqual(self.transport.get_write_buffer_size(), 4)
        self.writer.room.set()
        await self.assert_told("pause", "resume")

    async def test_limit_below_what_waits_pauses_at_once(self) -> None:
        self.memory.is_peer_reading = False
        self.transport.write(b"ab")
        self.transport.set_write_buffer_limits(0)
        await self.assert_told("pause")
        self.writer.room.set()
        await self.assert_told("pause", "resume")

    async def test_error_while_waiting_for_room_ends_a_pump_that_waits_too(self) -> None:
        self.memory.is_peer_reading = False
        self.transport.set_write_buffer_limits(0)
        pumping = await self.begin()
        self.transport.pause_reading()
        self.transport.write(b"ab")
        self.writer.error = ConnectionResetError()
        self.writer.room.set()
        await self.assert_over(pumping, "pause", None)

    async def test_end_of_the_pump_ends_the_wait_for_room(self) -> None:
        self.memory.is_peer_reading = False
        self.transport.set_write_buffer_limits(0)
        pumping = await self.begin()
        self.transport.write(b"ab")
        await self.assert_over(pumping, "pause", "eof", None)
        self.assertEqual(asyncio.all_tasks(), {asyncio.current_task()})

    async def test_the_rest_is_the_writers(self) -> None:
        self.assertIs(self.transport.get_protocol(), self.protocol)
        self.assertEqual(self.transport.get_extra_info("peername"), ("127.0.0.1", 50000))
        self.assertEqual(self.transport.get_extra_info("nothing", 5), 5)
        self.assertTrue(self.transport.can_write_eof())
        self.transport.write_eof()
        self.assertEqual(self.memory.calls, ["write_eof"])
        self.assertFalse(self.transport.is_closing())

    async def test_loss_that_a_write_has_found_is_known_at_once(self) -> None:
        self.memory.abort()
        self.assertTrue(self.transport.is_closing())


if __name__ == "__main__":
    unittest.main()
