"""The end of a connection: in memory, step by step, and over a real socket, where no reset may come."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import unittest
from typing import Any, List, Tuple

from tests.doubles import ServiceTestCase, turn_loop
from wsbridge.config import ServerConfig
from wsbridge.server.connection.head import Connection
from wsbridge.server.connection.linger import Linger
from wsbridge.server.server import Server
from wsbridge.server.service import Service

from .loopback import CLOSE, HELLO, PEER_CLOSE, PEER_HELLO, REQUEST, SWITCHING

# RFC 6455 5.1: a client must mask.
VIOLATION = bytes.fromhex("81 01 41")
CLOSE_1002 = bytes.fromhex("88 1e 03ea") + b"unmasked frame from a client"

# More than a socket's buffers take at once.
LARGE = 4 * 1024 * 1024

# RFC 6455 5.2: a binary message of so many bytes, with a 64-bit length, under an all-zero key.
PEER_LARGE = bytes.fromhex("82 ff 0000000000400000 00000000") + bytes(LARGE)


class LingerTests(ServiceTestCase):
    """Over a transport in memory."""

    def linger(self, *, half_close: bool = True, unsent: bytes = b"", **ends: Any) -> Linger:
        self.set_up(half_close=half_close, timeout_close=10)
        self.transport.set_protocol(asyncio.Protocol())
        self.transport.is_peer_reading = not unsent
        self.transport.write(unsent)
        return Linger(self.service, self.transport, **ends)

    async def test_connection_is_half_closed_and_read_on(self) -> None:
        self.linger()
        self.assert_calls("resume_reading", "write_eof")

    async def test_peer_that_has_sent_its_close_is_awaited_all_the_same(self) -> None:
        self.linger(closed=True)
        self.assert_calls("resume_reading", "write_eof")

    async def test_what_the_peer_still_sends_is_discarded(self) -> None:
        self.linger()
        self.transport.feed(b"anything")
        self.assert_written()

    async def test_peers_end_closes_the_connection(self) -> None:
        self.linger()
        self.transport.feed_eof()
        await turn_loop()
        self.assert_calls("resume_reading", "write_eof", "close")
        self.assertEqual(list(self.service.members), [])

    async def test_peer_that_does_not_end_is_cut(self) -> None:
        self.linger()
        self.transport.calls.clear()
        await self.advance(9.9)
        self.assert_calls()
        await self.advance(0.1)
        self.assert_calls("abort")
        self.assertEqual(list(self.service.members), [])

    async def test_peer_whose_time_is_over_between_two_sweeps_is_cut_by_the_next(self) -> None:
        self.linger()
        await self.advance(10.1)
        self.assert_calls("resume_reading", "write_eof", "abort")

    async def test_half_close_waits_for_the_last_byte_to_leave(self) -> None:
        self.linger(unsent=b"last")
        self.assert_calls("resume_reading")
        self.transport.take(3)
        await turn_loop()
        self.assert_calls()
        self.transport.take()
        self.assert_calls()
        await turn_loop()
        self.assert_calls("write_eof")

    async def test_half_close_waits_for_a_single_byte(self) -> None:
        self.linger(unsent=b"l")
        self.assert_calls("resume_reading")
        self.transport.take()
        await turn_loop()
        self.assert_calls("write_eof")

    async def test_tls_is_not_half_closed_when_the_last_byte_leaves(self) -> None:
        complaints: List[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        self.linger(half_close=False, unsent=bytes(70_000))
        self.transport.take()
        await turn_loop()
        self.assertEqual(complaints, [])

    async def test_half_close_of_a_connection_lost_meanwhile_is_left_out(self) -> None:
        self.linger(unsent=b"last")
        self.transport.take()
        self.transport.lose()
        await turn_loop()
        self.assert_calls("resume_reading")

    async def test_reset_under_the_half_close_ends_the_connection(self) -> None:
        self.set_up()
        self.transport.eof_error = OSError(107, "Transport endpoint is not connected")
        Linger(self.service, self.transport)
        await turn_loop()
        self.assert_calls("resume_reading", "abort")
        self.assertEqual(list(self.service.members), [])

    async def test_peer_that_has_ended_its_stream_is_closed_at_once(self) -> None:
        self.linger(at_eof=True)
        self.assert_calls("close")

    async def test_and_is_cut_soon_if_it_never_gets_done_closing(self) -> None:
        self.set_up(timeout_close=10)
        self.transport.is_ending = True
        Linger(self.service, self.transport, at_eof=True)
        await self.advance(0.7)
        self.assert_calls("abort")

    async def test_connection_that_closes_already_is_only_awaited(self) -> None:
        self.set_up()
        self.transport.write(b"last")
        self.transport.close()
        Linger(self.service, self.transport)
        self.assert_calls("close")
        await turn_loop()
        self.assertEqual(list(self.service.members), [])

    async def test_connection_that_never_gets_done_closing_is_cut(self) -> None:
        self.set_up(timeout_write=10)
        self.transport.is_peer_reading = False
        self.transport.write(b"last")
        self.transport.close()
        Linger(self.service, self.transport)
        await self.advance(10)
        self.assert_calls("close", "abort")

    async def test_tls_peer_that_has_sent_its_close_is_closed_at_once(self) -> None:
        self.linger(half_close=False, closed=True)
        self.assert_calls("close")

    async def test_tls_peer_that_takes_nothing_of_what_is_left_when_it_is_closed_is_cut(self) -> None:
        for ends in ({"closed": True}, {"at_eof": True}):
            self.linger(half_close=False, unsent=b"last", **ends)
            await self.advance(30)
            self.assert_calls("close", "abort")
            await turn_loop()

    async def test_tls_peer_that_has_not_gets_a_second(self) -> None:
        self.linger(half_close=False)
        self.assert_calls("resume_reading")
        await self.advance(0.9)
        self.assert_calls()
        await self.advance(0.1)
        self.assert_calls("close")

    async def test_tls_peer_that_does_not_take_what_is_left_is_cut(self) -> None:
        self.set_up(half_close=False, timeout_write=30)
        self.transport.is_peer_reading = False
        self.transport.write(b"last")
        Linger(self.service, self.transport)
        await self.advance(29.9)
        self.assert_calls("resume_reading")
        await self.advance(0.1)
        self.assert_calls("close")
        await self.advance(30)
        self.assert_calls("abort")

    async def test_tls_transport_that_tells_nobody_of_its_loss_is_left_when_cut(self) -> None:
        linger = self.linger(half_close=False)
        self.transport.set_protocol(asyncio.Protocol())
        linger.abort()
        self.assertEqual((list(self.service.members), len(self.service.lingering)), ([], 0))
        linger.connection_lost(None)
        self.assertEqual(len(self.service.lingering), 0)

    async def test_tls_transport_that_can_no_longer_read_is_no_error(self) -> None:
        self.set_up(half_close=False)
        self.transport.is_detached = True
        Linger(self.service, self.transport)
        await self.advance(1)
        self.assert_calls("close")

    async def test_peer_whose_close_was_answered_has_less_than_a_second(self) -> None:
        for half_close in (True, False):
            self.linger(half_close=half_close, closed=True)
            self.transport.calls.clear()
            await self.advance(0.65)
            self.assertNotIn("abort", self.transport.calls)
            await self.advance(0.05)
            self.transport.lose()

    async def test_peer_whose_close_was_answered_is_cut_where_it_keeps_its_side_open(self) -> None:
        self.linger(closed=True)
        await self.advance(0.7)
        self.assert_calls("resume_reading", "write_eof", "abort")

    async def test_its_time_begins_when_all_is_sent(self) -> None:
        self.linger(closed=True, unsent=bytes(70_000))
        for _ in range(6):
            await self.advance(29)
            self.transport.take(10_000)
        self.assertNotIn("abort", self.transport.calls)
        self.transport.take()
        await turn_loop()
        self.assertEqual(self.transport.calls[-1], "write_eof")
        await self.advance(0.65)
        self.assertEqual(self.transport.calls[-1], "write_eof")
        await self.advance(0.05)
        self.assertEqual(self.transport.calls[-1], "abort")

    async def test_its_time_under_tls_begins_when_all_is_sent(self) -> None:
        self.linger(closed=True, half_close=False, unsent=bytes(70_000))
        for _ in range(3):
            await self.advance(29)
            self.transport.take(20_000)
        self.assertEqual(self.transport.calls[-1], "close")

    async def test_peer_that_takes_nothing_of_what_is_unsent_is_cut(self) -> None:
        self.linger(closed=True, unsent=bytes(70_000))
        await self.advance(29.9)
        self.assertNotIn("abort", self.transport.calls)
        await self.advance(0.1)
        self.assertEqual(self.transport.calls[-1], "abort")

    async def test_server_that_stops_waits_for_it(self) -> None:
        self.linger()
        stopping = await self.start(self.service.shut_down(30))
        self.assertFalse(stopping.done())
        self.transport.feed_eof()
        await turn_loop()
        self.assertTrue(stopping.done())

    async def test_server_that_stops_gives_the_peer_no_more_time_than_it_had(self) -> None:
        self.linger(closed=True)
        await self.advance(0.5)
        self.service.begin_shutdown()
        await self.advance(0.5)
        self.assert_calls("resume_reading", "write_eof", "abort")

    async def test_server_that_stops_gives_less_than_a_second_once_all_is_sent(self) -> None:
        self.linger()
        self.service.begin_shutdown()
        await self.advance(0.7)
        self.assert_calls("resume_reading", "write_eof", "abort")
        self.linger(unsent=b"last")
        self.service.begin_shutdown()
        await self.advance(10)
        self.assert_calls("resume_reading")

    async def test_connection_that_ends_while_the_server_stops_has_less_than_a_second(self) -> None:
        # The service around that of one connection, as `handle_websocket` has it, is told of the stop alone.
        for is_inner in (False, True):
            self.set_up(timeout_close=10)
            service = self.service
            if is_inner:
                service = Service(self.app, service.config, parent=self.service)
            self.service.begin_shutdown()
            Linger(service, self.transport)
            await self.advance(0.6)
            self.assert_calls("resume_reading", "write_eof")
            await self.advance(0.1)
            self.assert_calls("abort")

    async def test_server_that_stops_gives_a_peer_that_reads_nothing_no_more_time(self) -> None:
        self.linger(unsent=b"last")
        await self.advance(29)
        self.service.begin_shutdown()
        await self.advance(1)
        self.assertEqual(self.transport.calls[-1], "abort")

    async def test_cut_aborts(self) -> None:
        self.linger()
        self.service.abort()
        self.assert_calls("resume_reading", "write_eof", "abort")


class ResetTests(unittest.IsolatedAsyncioTestCase):
    """Over a real socket: what the peer has not sent yet, or we not read, never costs it our last bytes."""

    async def asyncSetUp(self) -> None:
        asyncio.get_running_loop().set_debug(False)

    async def exchange(self, app: Any, data: bytes, *, eof: bool = False, **config: Any) -> bytes:
        """All that a client reads that first writes ``data``, whatever it is answered; a reset raises."""
        options = {"lifespan": "off", "log_level": "critical", **config}
        async with Server(app, port=0, **options) as server:
            host, port = server.sockets[0].getsockname()[:2]
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(data)
                if eof:
                    writer.write_eof()
                sending = asyncio.ensure_future(writer.drain())
                answer = await asyncio.wait_for(reader.read(), 10)
                await asyncio.wait_for(sending, 10)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        return answer

    async def test_unread_data_behind_a_violation_lets_our_close_arrive(self) -> None:
        answer = await self.exchange(echo, REQUEST + VIOLATION + bytes(LARGE))
        self.assertEqual(answer, SWITCHING + CLOSE_1002)

    async def test_messages_before_a_violation_are_answered_before_it(self) -> None:
        answer = await self.exchange(echo, REQUEST + PEER_HELLO * 3 + VIOLATION + bytes(LARGE))
        self.assertEqual(answer, SWITCHING + HELLO * 3 + CLOSE_1002)

    async def test_messages_before_a_close_are_answered_before_it(self) -> None:
        answer = await self.exchange(echo, REQUEST + PEER_HELLO * 100 + PEER_CLOSE)
        self.assertEqual(answer, SWITCHING + HELLO * 100 + CLOSE)

    async def test_unread_data_behind_a_close_lets_ours_arrive(self) -> None:
        answer = await self.exchange(echo, REQUEST + PEER_CLOSE + bytes(LARGE))
        self.assertEqual(answer, SWITCHING + CLOSE)

    async def test_peer_that_half_closes_behind_its_close_gets_all_answers(self) -> None:
        answer = await self.exchange(echo, REQUEST + PEER_HELLO * 100 + PEER_CLOSE, eof=True)
        self.assertEqual(answer, SWITCHING + HELLO * 100 + CLOSE)

    async def test_unread_data_behind_a_refusal_lets_it_arrive(self) -> None:
        answer = await self.exchange(refuse, REQUEST + bytes(LARGE))
        self.assertTrue(answer.startswith(b"HTTP/1.1 403 Forbidden\r\n"), answer)
        self.assertTrue(answer.endswith(b"\r\n\r\nthe application did not accept the connection\n"), answer)

    async def test_unread_data_behind_a_bad_request_lets_the_400_arrive(self) -> None:
        answer = await self.exchange(echo, b"GET / HTTP/1.1\n" + bytes(LARGE))
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), answer)

    async def test_unread_message_behind_the_applications_close_lets_it_arrive(self) -> None:
        answer = await self.exchange(accept_and_close, REQUEST + PEER_LARGE + PEER_CLOSE)
        self.assertEqual(answer, SWITCHING + CLOSE)

    async def test_large_last_message_arrives_whole(self) -> None:
        answer = await self.exchange(send_and_close, REQUEST + PEER_HELLO + PEER_CLOSE + bytes(LARGE))
        # RFC 6455 5.2: a 64-bit length.
        self.assertTrue(answer.endswith(CLOSE))
        self.assertEqual(answer[len(SWITCHING) :][:10], bytes.fromhex("82 7f 00 00 00 00 00 40 00 00"))
        self.assertEqual(len(answer), len(SWITCHING) + 10 + LARGE + len(CLOSE))

    async def test_peer_that_resets_leaves_nothing_behind(self) -> None:
        service = Service(echo, ServerConfig())
        server = await service.loop.create_server(lambda: Connection(service), "127.0.0.1", 0)
        self.addCleanup(server.close)
        peer = await self.connect(server)
        # SO_LINGER with a time of 0: the close is a reset.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        await asyncio.wait_for(service.wait_until_empty(), 10)

    async def connect(self, server: Any) -> socket.socket:
        """A client that has been answered with 101."""
        loop = asyncio.get_running_loop()
        address: Tuple[str, int] = server.sockets[0].getsockname()[:2]
        peer = socket.socket()
        self.addCleanup(peer.close)
        peer.setblocking(False)
        await loop.sock_connect(peer, address)
        await loop.sock_sendall(peer, REQUEST)
        answer = b""
        while len(answer) < len(SWITCHING):
            answer += await asyncio.wait_for(loop.sock_recv(peer, 1024), 10)
        self.assertEqual(answer, SWITCHING)
        return peer


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        await send({"type": "websocket.send", "text": event["text"]})


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.close"})


async def accept_and_close(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close"})


async def send_and_close(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "bytes": bytes(LARGE)})


if __name__ == "__main__":
    unittest.main()
