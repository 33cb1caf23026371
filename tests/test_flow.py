"""`MessageFlow`: what is read, queued, held, gathered and written for the messages of a WebSocket."""

from __future__ import annotations

import asyncio
import unittest
import zlib
from typing import Any, ClassVar, List
from unittest import mock

from tests.doubles import HAS_FAST, turn_loop
from wsbridge.protocols.errors import ClientDisconnected
from wsbridge.server.plain import PlainWaker

from .loopback import CLOSE, HELLO, PEER_CLOSE, PEER_HELLO
from .test_websocket import (
    DEFLATE_OFFER,
    IS_PYPY,
    LARGE,
    LIMIT,
    LOST,
    PEER_COMPRESSED,
    PEER_PING,
    PONG,
    RECEIVED_HELLO,
    REFUSE,
    SEND_HELLO,
    SEND_LARGE,
    UNJOINED,
    WebSocketTestCase,
    disconnect,
    end_line,
    peer_text,
    received,
    text_frame,
)


class GatheringTests(WebSocketTestCase):
    """The answers to one read leave in one write."""

    async def test_answers_to_one_read_leave_together(self) -> None:
        await self.open()
        self.transport.feed(peer_text(b"a") + peer_text(b"b") + peer_text(b"c"))
        for _ in range(3):
            event = await self.app.receive()
            await self.app.send({"type": "websocket.send", "text": event["text"]})
        self.assert_written(text_frame(b"a") + text_frame(b"b") + text_frame(b"c"))

    async def test_answers_leave_when_the_application_waits_again(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO + peer_text(b"b"))
        await self.app.receive()
        await self.app.send(SEND_HELLO)
        await self.app.receive()
        self.assert_written()
        receiving = self.app.receive()
        receiving.send(None)
        self.assert_written(HELLO)
        receiving.close()

    async def test_answers_leave_at_the_end_of_the_turn(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO + peer_text(b"b"))
        await self.app.receive()
        await self.app.send(SEND_HELLO)
        await self.app.send(SEND_HELLO)
        self.assert_written()
        await asyncio.sleep(0)
        self.assert_written(HELLO + HELLO)

    async def test_answers_over_the_write_limit_leave_at_once(self) -> None:
        await self.open(ws_write_limit=len(HELLO * 2) - 1)
        self.transport.feed(PEER_HELLO + peer_text(b"b"))
        await self.app.receive()
        await self.app.send(SEND_HELLO)
        self.assert_written()
        await self.app.send(SEND_HELLO)
        self.assert_written(HELLO + HELLO)

    async def test_answers_up_to_the_write_limit_wait(self) -> None:
        await self.open(ws_write_limit=len(HELLO * 2))
        self.transport.feed(PEER_HELLO + peer_text(b"b"))
        await self.app.receive()
        for _ in range(2):
            await self.app.send(SEND_HELLO)
            await self.app.send(SEND_HELLO)
            self.assert_written()
            await asyncio.sleep(0)
            self.assert_written(HELLO + HELLO)

    async def test_limit_counts_headers_and_payloads(self) -> None:
        frame = text_frame(b"Hello!")
        await self.open(ws_write_limit=len(frame * 2) - 1)
        self.transport.feed(PEER_HELLO + peer_text(b"b"))
        await self.app.receive()
        for _ in range(2):
            self.assert_written()
            await self.app.send({"type": "websocket.send", "text": "Hello!"})
        self.assert_written(frame * 2)

    async def test_application_that_only_sends_lets_the_loop_turn(self) -> None:
        await self.open()
        turns = []
        for number in range(200):
            sending = self.app.send(SEND_HELLO)
            try:
                while True:
                    sending.send(None)
                    turns.append(number)
            except StopIteration:
                pass
        # Every 64th time; the accept was the first.
        self.assertEqual(turns, [62, 126, 190])

    async def test_large_payload_is_not_joined_with_its_header(self) -> None:
        await self.open()
        await self.app.send({"type": "websocket.send", "bytes": UNJOINED[:-1]})
        self.assert_written(b"\x82\x7e\xff\xff" + UNJOINED[:-1])
        await self.app.send({"type": "websocket.send", "bytes": UNJOINED})
        self.assert_written(b"\x82\x7f\0\0\0\0\0\1\0\0", UNJOINED)
        await self.app.send({"type": "websocket.send", "bytes": UNJOINED * 2})
        self.assert_written(b"\x82\x7f\0\0\0\0\0\2\0\0", UNJOINED * 2)

    async def test_large_answers_are_not_joined(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO + peer_text(b"b"))
        for _ in range(2):
            await self.app.receive()
            await self.app.send({"type": "websocket.send", "bytes": UNJOINED})
        self.assert_written(b"\x82\x7f\0\0\0\0\0\1\0\0", UNJOINED, b"\x82\x7f\0\0\0\0\0\1\0\0", UNJOINED)

    async def test_answers_of_less_than_64_kib_on_average_are_joined(self) -> None:
        await self.open()
        for header, payload, count in (
            (b"\x82\x7e\xff\xfb", UNJOINED[5:], 1),
            (b"\x82\x7e\xff\xfc", UNJOINED[4:], 4),
        ):
            self.transport.feed(PEER_HELLO + peer_text(b"b"))
            for _ in range(2):
                await self.app.receive()
                await self.app.send({"type": "websocket.send", "bytes": payload})
            self.assertEqual(len(self.transport.writes), count)
            self.assertEqual(self.transport.read(), (header + payload) * 2)

    async def test_empty_payload_is_not_a_part(self) -> None:
        """asyncio's `writelines` since Python 3.12 would try to send it again and again."""
        await self.open()
        self.transport.feed(PEER_HELLO + peer_text(b"b"))
        for payload in (UNJOINED * 2, b""):
            await self.app.receive()
            await self.app.send({"type": "websocket.send", "bytes": payload})
        self.assert_written(b"\x82\x7f\0\0\0\0\0\2\0\0", UNJOINED * 2, b"\x82\x00")

    async def test_large_payload_for_a_connection_that_is_lost_but_not_told(self) -> None:
        """asyncio's under TLS before Python 3.11 do not say that they are closing then."""
        await self.open()
        self.transport.is_detached = True
        with mock.patch.object(type(self.transport), "writelines", asyncio.WriteTransport.writelines):
            await self.app.send({"type": "websocket.send", "bytes": UNJOINED})

    async def test_payload_over_the_write_limit_is_not_joined_where_the_transport_would(self) -> None:
        """asyncio's own transports before Python 3.12 have the `writelines` of the base class."""
        await self.open(ws_write_limit=len(UNJOINED) - 1)
        with mock.patch.object(type(self.transport), "writelines", asyncio.WriteTransport.writelines):
            await self.app.send({"type": "websocket.send", "bytes": UNJOINED})
        self.assert_written(b"\x82\x7f\0\0\0\0\0\1\0\0", UNJOINED)

    async def test_large_payload_that_does_not_leave_is_waited_for(self) -> None:
        await self.open(ws_write_limit=len(UNJOINED))
        self.transport.is_peer_reading = False
        sending = await self.start(self.app.send({"type": "websocket.send", "bytes": UNJOINED}))
        self.assertFalse(sending.done())
        self.transport.take()
        await sending

    async def test_limit_counts_what_was_not_written_yet(self) -> None:
        await self.open(ws_write_limit=len(HELLO * 2) - 1)
        self.transport.feed(PEER_HELLO + peer_text(b"b"))
        await self.app.receive()
        for _ in range(2):
            await self.app.send(SEND_HELLO)
            self.assert_written()
            await asyncio.sleep(0)
            self.assert_written(HELLO)
        for _ in range(2):
            await self.app.send(SEND_HELLO)
            self.assert_written()
            await self.app.send(SEND_HELLO)
            self.assert_written(HELLO + HELLO)

    async def test_pong_does_not_overtake_what_was_gathered(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO + peer_text(b"b"))
        await self.app.receive()
        await self.app.send(SEND_HELLO)
        self.transport.feed(PEER_PING)
        self.assert_written(HELLO + PONG)

    async def test_pong_behind_a_large_answer_does_not_join_it(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO + peer_text(b"b"))
        await self.app.receive()
        await self.app.send({"type": "websocket.send", "bytes": UNJOINED})
        self.transport.feed(PEER_PING)
        self.assert_written(b"\x82\x7f\0\0\0\0\0\1\0\0", UNJOINED, PONG)

    async def test_close_leaves_with_what_was_gathered(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO + peer_text(b"b"))
        await self.app.receive()
        await self.app.send(SEND_HELLO)
        await self.app.send({"type": "websocket.close", "code": 1000})
        self.assert_written(HELLO + CLOSE)

    async def test_what_was_gathered_for_a_connection_that_is_lost_goes_with_it(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO + peer_text(b"b"))
        await self.app.receive()
        await self.app.send(SEND_HELLO)
        self.transport.lose()
        await turn_loop()
        self.assert_written()


@unittest.skipUnless(HAS_FAST, "wsbridge/server/fast is not there")
class ResumingTests(WebSocketTestCase):
    """A waiting application goes on inside the read, if its connection was the last to be woken too."""

    async def open_with_echo(self) -> None:
        await self.open()

        async def echo() -> None:
            while True:
                event = await self.app.receive()
                await self.app.send({"type": "websocket.send", "text": event["text"]})

        await self.start(echo())

    async def feed(self, data: bytes) -> List[bytes]:
        """A read of the loop; the writes inside it."""
        inside: List[bytes] = []

        def read() -> None:
            self.transport.feed(data)
            inside.extend(self.transport.writes)

        asyncio.get_running_loop().call_soon(read)
        await turn_loop()
        return inside

    async def test_first_message_is_answered_in_the_next_turn_and_the_second_inside_the_read(self) -> None:
        await self.open_with_echo()
        self.assertEqual(await self.feed(PEER_HELLO), [])
        self.assert_written(HELLO)
        self.assertEqual(await self.feed(PEER_HELLO), [HELLO])

    async def test_messages_of_one_read_are_answered_in_one_write(self) -> None:
        await self.open_with_echo()
        for _ in range(2):
            await self.feed(PEER_HELLO * 3)
            self.assert_written(HELLO * 3)
        with mock.patch.object(self.service, "loop") as loop:
            self.assertEqual(await self.feed(PEER_HELLO * 3), [HELLO * 3])
            # Not even a callback that finds nothing to do, before which the loop would ask the system.
            loop.call_soon.assert_not_called()

    async def test_answers_leave_where_the_application_waits_for_something_else(self) -> None:
        await self.open()
        gate = asyncio.get_running_loop().create_future()

        async def answer_and_wait() -> None:
            await self.app.receive()
            await self.app.send(SEND_HELLO)
            await gate

        await self.start(self.app.receive())
        await self.feed(PEER_HELLO)
        await self.start(answer_and_wait())
        self.assertEqual(await self.feed(PEER_HELLO * 2), [HELLO])

    async def test_answers_outside_a_read_leave_at_the_end_of_their_turn_as_before(self) -> None:
        await self.open()
        for _ in range(2):
            await self.start(self.app.receive())
            await self.feed(PEER_HELLO)
        self.transport.feed(PEER_HELLO * 2)
        await self.app.receive()
        await self.app.send(SEND_HELLO)
        self.assert_written()
        await turn_loop()
        self.assert_written(HELLO)

    async def test_application_that_was_cancelled_meanwhile_leaves_the_message(self) -> None:
        complaints: List[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        await self.open()
        task = await self.start(self.app.receive())
        self.transport.feed(PEER_HELLO)
        task.cancel()
        await turn_loop()
        self.assertTrue(task.cancelled())
        self.assertEqual(complaints, [])
        await self.assert_receives(RECEIVED_HELLO)

    async def test_message_that_another_task_takes_first_wakes_nobody(self) -> None:
        await self.open()
        waiting = await self.start(self.app.receive())
        self.transport.feed(PEER_HELLO)
        taking = self.app.receive().send
        with self.assertRaises(StopIteration) as stopped:
            taking(None)
        self.assertEqual(stopped.exception.value, RECEIVED_HELLO)
        await turn_loop()
        self.assertFalse(waiting.done())
        await self.feed(PEER_HELLO)
        self.assertTrue(waiting.done())

    async def test_loop_that_is_not_written_in_python_resumes_in_its_next_turn(self) -> None:
        await self.open_with_echo()
        self.service.waker = PlainWaker()
        self.assertEqual(await self.feed(PEER_HELLO), [])
        self.assert_written(HELLO)

    async def test_connection_that_is_over_is_not_kept(self) -> None:
        await self.open_with_echo()
        await self.feed(PEER_HELLO)
        self.service.discard(self.exchange)
        # Otherwise it would answer inside the read, as the one that was woken last.
        self.transport.writes.clear()
        self.assertEqual(await self.feed(PEER_HELLO), [])
        self.assert_written(HELLO)


class ReadingTests(WebSocketTestCase):
    """Reading pauses while the application does not take what was received."""

    async def test_reading_pauses_at_ws_max_queue_messages(self) -> None:
        await self.open(ws_max_queue=3)
        self.transport.feed(peer_text(b"a") + peer_text(b"b"))
        self.assert_reading(True)
        self.transport.feed(peer_text(b"c"))
        self.assert_reading(False)

    async def test_reading_pauses_at_ws_max_queue_bytes(self) -> None:
        await self.open(ws_max_queue_bytes=10)
        self.transport.feed(peer_text(b"x" * 9))
        self.assert_reading(True)
        self.transport.feed(peer_text(b"x"))
        self.assert_reading(False)

    async def test_reading_pauses_beyond_ws_max_queue_bytes(self) -> None:
        await self.open(ws_max_queue_bytes=10)
        self.transport.feed(peer_text(b"x" * 11))
        self.assert_reading(False)

    async def test_reading_goes_on_when_the_queue_is_empty(self) -> None:
        await self.open(ws_max_queue=2)
        self.transport.feed(peer_text(b"a") + peer_text(b"b"))
        await self.assert_receives(received("a"), received("b"))
        self.assert_reading(False)
        await self.assert_waits(self.app.receive())
        self.assert_reading(True)
        self.assert_calls("pause_reading", "resume_reading")

    async def test_messages_that_wake_the_application_do_not_pause_reading(self) -> None:
        await self.open(ws_max_queue=1)
        for _ in range(2):
            await self.assert_waits(self.app.receive())
            self.transport.feed(peer_text(b"a"))
            await turn_loop()
        self.assert_calls()

    async def test_limits_hold_until_a_woken_application_runs(self) -> None:
        await self.open(ws_max_queue=2)
        await self.assert_waits(self.app.receive())
        self.transport.feed(peer_text(b"a"))
        self.transport.feed(peer_text(b"b"))
        self.assert_calls("pause_reading")

    async def test_single_message_over_the_limit_passes(self) -> None:
        await self.open(ws_max_queue_bytes=10)
        self.transport.feed(peer_text(b"x" * 100))
        await self.assert_receives(received("x" * 100))

    async def test_bytes_that_come_all_the_same_keep_their_order(self) -> None:
        await self.open(ws_max_queue=2)
        self.transport.feed(peer_text(b"a") + peer_text(b"b"))
        # TLS on Python 3.9 and 3.10 hands over what it has decrypted, paused or not.
        self.exchange.data_received(peer_text(b"c") + peer_text(b"d"))
        self.exchange.data_received(peer_text(b"e") + PEER_CLOSE)
        await self.assert_receives(*map(received, "abcde"), disconnect(1000))

    async def test_compressed_data_is_inflated_as_the_application_takes_it(self) -> None:
        await self.open(headers=(DEFLATE_OFFER,))
        # The first 16 KiB hold 1260 of these 13 bytes, and a part of one.
        self.transport.feed(PEER_COMPRESSED * 3000)
        self.assert_reading(False)
        await self.assert_receives(RECEIVED_HELLO)
        self.assertEqual(self.app.scope["wsbridge.connection"].bytes_inflated, 1260 * 5)
        for _ in range(2999):
            self.assert_calls_are_only("pause_reading")
            await self.app.receive()
        await self.assert_waits(self.app.receive())
        self.assert_reading(True)

    async def test_compressed_bytes_that_come_all_the_same_keep_their_order(self) -> None:
        await self.open(headers=(DEFLATE_OFFER,))
        self.transport.feed(PEER_COMPRESSED * 3000)
        self.exchange.data_received(peer_text(b"a") * 2000)
        self.exchange.data_received(peer_text(b"b") * 3000)
        texts = [(await self.app.receive())["text"] for _ in range(8000)]
        self.assertEqual(texts, ["Hello"] * 3000 + ["a"] * 2000 + ["b"] * 3000)

    async def test_close_behind_compressed_data_that_waits_comes_behind_its_messages(self) -> None:
        await self.open(headers=(DEFLATE_OFFER,))
        self.transport.feed(PEER_COMPRESSED * 2000 + PEER_CLOSE)
        self.assert_written()
        for _ in range(2000):
            self.assertEqual(await self.app.receive(), RECEIVED_HELLO)
        await self.assert_receives(disconnect(1000))
        self.assert_written(CLOSE)

    async def test_compressed_data_is_discarded_in_closing(self) -> None:
        await self.open_closing(headers=(DEFLATE_OFFER,))
        self.transport.feed(PEER_COMPRESSED * 2000 + PEER_CLOSE)
        self.assert_half_closed()
        await self.assert_receives(disconnect(1000))


class CountingTests(WebSocketTestCase):
    """What the application is told of its messages: ``scope["wsbridge.connection"]``."""

    async def test_nothing_was_sent_before_the_accept(self) -> None:
        await self.connect()
        self.assertEqual(self.app.scope["wsbridge.connection"].messages_sent, 0)

    async def test_every_message_counts_however_often_the_loop_turns_between_them(self) -> None:
        await self.open()
        for _ in range(130):
            await self.app.send(SEND_HELLO)
        self.assertEqual(self.app.scope["wsbridge.connection"].messages_sent, 130)

    async def test_message_for_a_connection_that_is_closing_counts_once(self) -> None:
        await self.open()
        self.transport.is_ending = True
        sending = self.app.send(SEND_HELLO)
        # The loss is told in the loop's next turn, for which `send` waits.
        sending.send(None)
        with self.assertRaises(StopIteration):
            sending.send(None)
        self.assertEqual(self.app.scope["wsbridge.connection"].messages_sent, 1)

    async def test_large_message_counts_with_its_header(self) -> None:
        await self.open()
        await self.app.send({"type": "websocket.send", "bytes": UNJOINED + b"four"})
        self.assertEqual(self.app.scope["wsbridge.connection"].bytes_sent, 10 + len(UNJOINED) + 4)

    async def test_what_is_gathered_is_not_sent_yet(self) -> None:
        await self.open()
        self.transport.is_peer_reading = False
        await self.send(SEND_HELLO)
        self.transport.feed(PEER_HELLO * 2)
        await self.app.receive()
        await self.app.send(SEND_HELLO)
        self.assertEqual(self.app.scope["wsbridge.connection"].write_buffer_size, len(HELLO) * 2)


class MemoryTests(WebSocketTestCase):
    """What a connection holds counts in the server's budget, from 64 KiB on."""

    KIB = 1024
    # A limit in which one message of `LARGEST` passes and two do not.
    LARGEST = 256 * KIB
    LIMITS: ClassVar[Any] = {"ws_max_size": LARGEST, "max_inbound_memory": 1, "ws_ping_interval": None}
    # RFC 6455 5.2: a binary frame of 200 KiB under an all-zero key, but for its payload.
    HEAD = bytes.fromhex("82 ff 0000000000032000 00000000")
    # A whole one of 100 KiB.
    WHOLE = bytes.fromhex("82 ff 0000000000019000 00000000") + bytes(100 * KIB)
    CLOSE_1013 = bytes.fromhex("88 31 03f5") + b"server is out of memory for incomplete messages"
    GIVEN_UP = ("WARNING", "102400 bytes of an incomplete message are dropped: max_inbound_memory is reached")

    async def open(self, **options: Any) -> None:
        await super().open(**{**self.LIMITS, **options})

    async def open_compressed(self, **options: Any) -> None:
        await self.open(headers=(DEFLATE_OFFER,), **options)

    def fill(self, size: int = 256 * KIB) -> Any:
        """Another connection holds ``size`` bytes for its application."""
        other = mock.Mock(held_size=size, give_up=None)
        self.service.budget.count(other, size)  # type: ignore[union-attr]
        return other

    def compress(self, size: int, first: int = 0xC2) -> bytes:
        """A compressed message of zeros, in one frame of less than 64 KiB under an all-zero key."""
        compressor = zlib.compressobj(9, zlib.DEFLATED, -12)
        wire = (compressor.compress(bytes(size)) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        length = bytes((0x80 | len(wire),)) if len(wire) < 126 else b"\xfe" + len(wire).to_bytes(2, "big")
        return bytes((first,)) + length + bytes(4) + wire

    def assert_size(self, size: int) -> None:
        self.service.budget.sweep()  # type: ignore[union-attr]
        self.assertEqual(self.service.budget.size, size)  # type: ignore[union-attr]

    async def test_message_in_progress_counts_from_64_kib_on(self) -> None:
        await self.open()
        self.transport.feed(self.HEAD + bytes(64 * self.KIB))
        self.assert_size(0)
        self.transport.feed(b"a")
        self.assert_size(64 * self.KIB + 1)
        self.assert_reading(True)

    async def test_nothing_counts_without_a_limit(self) -> None:
        await self.open_compressed(max_inbound_memory=None)
        self.assertIsNone(self.service.budget)
        for wire in (self.HEAD + bytes(200 * self.KIB), self.compress(200 * self.KIB)) * 2:
            self.transport.feed(wire)
        await self.send(SEND_HELLO)
        await self.assert_receives(*[{"type": "websocket.receive", "bytes": bytes(200 * self.KIB)}] * 2)

    async def test_full_queue_pauses_without_a_limit(self) -> None:
        await self.open(max_inbound_memory=None, ws_max_queue=1)
        self.transport.feed(self.HEAD + bytes(200 * self.KIB))
        self.assert_reading(False)

    async def test_without_room_it_pauses_until_there_is_some(self) -> None:
        await self.open()
        other = self.fill()
        self.transport.feed(self.HEAD + bytes(100 * self.KIB))
        self.assert_reading(False)
        await self.advance(0.25)
        self.assert_reading(False)
        other.held_size = 0
        await self.advance(0.25)
        self.assert_reading(True)
        self.transport.feed(bytes(100 * self.KIB))
        await self.assert_receives({"type": "websocket.receive", "bytes": bytes(200 * self.KIB)})

    async def test_up_to_64_kib_pass_without_room(self) -> None:
        await self.open_compressed()
        self.fill(321 * self.KIB)
        for _ in range(3):
            self.transport.feed(b"\x82\xfe\xff\xff" + bytes(4) + bytes(65535))
            await self.assert_receives({"type": "websocket.receive", "bytes": bytes(65535)})
            for wire in (
                self.compress(64 * self.KIB, 0x42) + bytes.fromhex("80 80 00000000"),
                self.compress(64 * self.KIB),
            ):
                self.transport.feed(wire)
                await self.assert_receives({"type": "websocket.receive", "bytes": bytes(64 * self.KIB)})

    async def test_waiting_application_does_not_resume_it(self) -> None:
        await self.open()
        other = self.fill()
        self.transport.feed(self.HEAD + bytes(100 * self.KIB))
        task = await self.assert_waits(self.app.receive())
        task.cancel()
        await turn_loop()
        task = await self.assert_waits(self.app.receive())
        self.assert_reading(False)
        other.held_size = 0
        await self.advance(0.25)
        self.transport.feed(bytes(100 * self.KIB))
        await turn_loop()
        self.assertTrue(task.done())

    async def test_stalled_message_is_given_up_with_1013(self) -> None:
        await self.open()
        self.transport.feed(self.HEAD + bytes(100 * self.KIB))
        self.clock.advance(1)
        self.fill()
        self.assert_written(self.CLOSE_1013)
        self.assertEqual(self.logged.pop(0), self.GIVEN_UP)
        await self.assert_receives(LOST)
        self.assert_size(256 * self.KIB)
        self.assert_half_closed()

    async def test_message_of_up_to_64_kib_is_not_given_up_for_what_the_application_holds(self) -> None:
        for size in (1, 64):
            await self.open()
            self.transport.feed(self.WHOLE + self.HEAD + bytes(size * self.KIB))
            self.clock.advance(1)
            self.fill()
            self.assert_written()
            self.transport.lose()
            await self.app.return_()

    async def test_what_came_before_it_is_delivered(self) -> None:
        await self.open()
        self.transport.feed(PEER_HELLO + self.HEAD + bytes(100 * self.KIB))
        self.clock.advance(1)
        self.fill()
        self.assert_written(self.CLOSE_1013)
        self.assertEqual(self.logged.pop(0), self.GIVEN_UP)
        await self.assert_receives(RECEIVED_HELLO, LOST)

    async def test_compressed_message_stops_inflating_and_goes_on(self) -> None:
        for first, rest in ((0xC2, b""), (0x42, bytes.fromhex("80 80 00000000"))):
            await self.open_compressed()
            other = self.fill()
            wire = self.compress(200 * self.KIB, first)
            for start in range(0, len(wire), 100):
                if self.transport.is_reading():
                    self.transport.feed(wire[start : start + 100])
                else:
                    self.transport.protocol.data_received(wire[start : start + 100])
            self.transport.protocol.data_received(rest + PEER_HELLO)
            self.assert_reading(False)
            task = await self.assert_waits(self.app.receive())
            other.held_size = 0
            await self.advance(0.25)
            self.assertEqual(task.result(), {"type": "websocket.receive", "bytes": bytes(200 * self.KIB)})
            await self.assert_receives(RECEIVED_HELLO)
            self.assert_reading(True)
            self.transport.lose()
            await self.assert_receives(LOST)
            await self.app.return_()
            self.logged.clear()

    async def test_one_read_holds_no_more_than_the_limit(self) -> None:
        await self.open_compressed(ws_max_queue=1000)
        self.transport.feed(self.compress(60 * self.KIB) * 50)
        self.assert_reading(False)
        self.assertLess(self.service.budget.size, self.LARGEST + 192 * self.KIB)  # type: ignore[union-attr]
        for _ in range(50):
            await self.assert_receives({"type": "websocket.receive", "bytes": bytes(60 * self.KIB)})
        await self.assert_waits(self.app.receive())
        self.assert_reading(True)

    async def test_what_is_suspended_at_the_loss_comes_before_the_disconnect(self) -> None:
        await self.open_compressed()
        other = self.fill()
        self.transport.feed(self.compress(200 * self.KIB))
        self.transport.lose()
        other.held_size = 0
        await self.assert_receives({"type": "websocket.receive", "bytes": bytes(200 * self.KIB)}, LOST)

    async def test_wide_text_counts_as_what_it_takes(self) -> None:
        await self.open()
        text = "\U0001f600".encode() + b"a" * (100 * self.KIB - 4)
        self.transport.feed(bytes.fromhex("81 ff 0000000000019000 00000000") + text)
        size = len(text) - 3
        self.assertGreaterEqual(self.service.budget.size, size if IS_PYPY else 4 * size)  # type: ignore[union-attr]

    async def test_queued_messages_count(self) -> None:
        await self.open(ws_max_queue=3)
        message = b"\x82\xfe\xff\xff" + bytes(4) + bytes(65535)
        self.transport.feed(message)
        self.assert_size(0)
        self.transport.feed(message)
        self.assertGreaterEqual(self.service.budget.size, 2 * 65535)  # type: ignore[union-attr]
        self.assert_reading(True)
        self.fill()
        self.transport.feed(message)
        self.assert_reading(False)
        self.assertGreaterEqual(self.service.budget.size, 3 * 65535 + 256 * self.KIB)  # type: ignore[union-attr]
        for _ in range(3):
            await self.assert_receives({"type": "websocket.receive", "bytes": bytes(65535)})
        await self.assert_waits(self.app.receive())
        self.assert_reading(True)

    async def test_all_that_is_held_counts(self) -> None:
        await self.open(ws_max_queue=1)
        self.transport.feed(self.WHOLE + self.HEAD + bytes(100 * self.KIB))
        # As TLS does on Python 3.9 and 3.10, though reading is paused.
        self.exchange.data_received(bytes(64 * self.KIB))
        size = self.service.budget.size  # type: ignore[union-attr]
        self.assertGreaterEqual(size, (100 + 100 + 64) * self.KIB)

    async def test_queue_pauses_from_64_kib_on_without_room(self) -> None:
        await self.open()
        self.fill(320 * self.KIB)
        message = b"\x82\xfe\xff\xff" + bytes(4) + bytes(65535)
        self.transport.feed(message)
        self.assert_reading(True)
        # What is left of it when the queue is empty needs no room.
        self.transport.feed(message + self.HEAD + b"a")
        self.assert_reading(False)
        await self.assert_receives(*[{"type": "websocket.receive", "bytes": bytes(65535)}] * 2)
        await self.assert_waits(self.app.receive())
        self.assert_reading(True)

    async def test_what_is_held_before_the_accept_counts(self) -> None:
        await self.connect(PEER_HELLO, **self.LIMITS)
        self.transport.feed(self.HEAD + bytes(100 * self.KIB))
        self.assert_size(len(PEER_HELLO) + len(self.HEAD) + 100 * self.KIB)
        self.assert_reading(False)
        await self.send(REFUSE)
        self.assert_size(0)
        self.logged.clear()

    async def test_end_of_the_connection_is_no_progress_of_anybody(self) -> None:
        await self.open()
        self.transport.feed(self.HEAD + bytes(100 * self.KIB))
        self.transport.lose()
        await self.app.return_()
        self.assertEqual(self.service.budget.size, 0)  # type: ignore[union-attr]


class WritingTests(WebSocketTestCase):
    """`send` waits while the peer does not read."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        await self.open(ws_write_limit=LIMIT, headers=(DEFLATE_OFFER,), ws_deflate_threshold=1000)
        self.transport.is_peer_reading = False

    async def test_send_waits_above_the_limit_and_returns_when_the_peer_reads(self) -> None:
        sending = await self.assert_waits(self.app.send(SEND_LARGE))
        self.transport.take(100)
        await turn_loop()
        self.assertFalse(sending.done())
        self.transport.take()
        await turn_loop()
        self.assertIsNone(sending.result())

    async def test_several_senders_wait_and_return_in_order(self) -> None:
        sending = [await self.assert_waits(self.app.send(SEND_LARGE)) for _ in range(3)]
        ended: List[int] = []
        for index, task in enumerate(sending):
            task.add_done_callback(lambda _, index=index: ended.append(index))  # type: ignore[misc]
        self.transport.take()
        await turn_loop()
        self.assertEqual(ended, [0, 1, 2])
        self.assert_written(LARGE, LARGE, LARGE)

    async def test_sender_that_finds_the_buffer_full_again_waits_on(self) -> None:
        sending = await self.assert_waits(self.app.send(SEND_LARGE))
        self.transport.take()
        self.exchange.pause_writing()
        await turn_loop()
        self.assertFalse(sending.done())

    async def test_cancelled_sender_has_written_a_whole_frame(self) -> None:
        sending = await self.assert_waits(self.app.send(SEND_LARGE))
        sending.cancel()
        await turn_loop()
        self.assertTrue(sending.cancelled())
        self.transport.take()
        await self.send(SEND_HELLO)
        self.assert_written(LARGE, HELLO)

    async def test_cancelled_sender_does_not_keep_others_waiting(self) -> None:
        first = await self.assert_waits(self.app.send(SEND_LARGE))
        second = await self.assert_waits(self.app.send(SEND_LARGE))
        first.cancel()
        self.transport.take()
        await turn_loop()
        self.assertIsNone(second.result())

    async def test_lost_connection_wakes_all_senders(self) -> None:
        sending = [await self.assert_waits(self.app.send(SEND_LARGE)) for _ in range(3)]
        self.transport.lose(ConnectionResetError())
        await turn_loop()
        self.assertEqual([type(task.exception()) for task in sending], [ClientDisconnected] * 3)

    async def test_send_behind_one_that_has_failed_raises(self) -> None:
        sending = await self.assert_waits(self.app.send(SEND_LARGE))
        self.transport.lose(ConnectionResetError())
        await turn_loop()
        self.assertIsInstance(sending.exception(), ClientDisconnected)
        await self.assert_disconnected()
        await self.send({"type": "websocket.close"})

    async def test_peer_that_takes_nothing_is_cut(self) -> None:
        await self.assert_waits(self.app.send(SEND_LARGE))
        await self.advance(1)
        await self.advance(29.9)
        self.assert_calls()
        await self.advance(0.1)
        self.assert_calls("abort")
        self.assert_logged(end_line("1006 closed by timeout, 31.000 s", (0, 0), (1, 204)))

    async def test_peer_that_takes_a_little_before_more_is_sent_is_not_cut(self) -> None:
        await self.assert_waits(self.app.send(SEND_LARGE))
        await self.advance(0)
        for _ in range(5):
            await self.advance(20)
            self.transport.take(1)
            await self.assert_waits(self.app.send(SEND_HELLO))
        self.assert_calls()

    async def test_close_waits_in_the_buffer_and_the_half_close_behind_it(self) -> None:
        await self.assert_waits(self.app.send(SEND_LARGE))
        await self.start(self.app.send({"type": "websocket.close"}))
        self.transport.feed(PEER_CLOSE)
        self.assert_written(LARGE, CLOSE)
        self.assert_calls("resume_reading")
        self.transport.take()
        await turn_loop()
        self.assert_calls("write_eof")

    async def test_cancelled_sender_leaves_the_compressor_in_step(self) -> None:
        large = bytes(range(256)) * 8
        sending = await self.assert_waits(self.app.send({"type": "websocket.send", "bytes": large}))
        sending.cancel()
        await turn_loop()
        self.transport.take()
        await self.start(self.app.send({"type": "websocket.send", "bytes": large}))
        # RFC 7692 7.2.2: both messages share one window; 126 says a 16-bit length (RFC 6455 5.2).
        inflate = zlib.decompressobj(-15).decompress
        for frame in self.transport.writes:
            payload = frame[4:] if frame[1] == 126 else frame[2:]
            self.assertEqual(inflate(payload + bytes.fromhex("0000ffff")), large)


class PingFloodTests(WebSocketTestCase):
    """A peer that sends PINGs and never reads."""

    async def test_only_the_newest_pong_is_owed(self) -> None:
        await self.open(ws_write_limit=LIMIT)
        self.transport.is_peer_reading = False
        await self.start(self.app.send(SEND_LARGE))
        self.transport.feed(PEER_PING * 1000)
        self.transport.feed(bytes.fromhex("89 81 00000000 7a"))
        self.assert_written(LARGE)
        self.transport.take()
        self.assert_written(bytes.fromhex("8a 01 7a"))

    async def test_pings_beyond_the_write_limit_hold_no_memory(self) -> None:
        await self.open()
        self.transport.is_peer_reading = False
        pings = (bytes.fromhex("89 fd 00000000") + bytes(125)) * 500
        for _ in range(64):
            self.transport.feed(pings)
        self.assertLess(self.transport.get_write_buffer_size(), 64 * 1024 + len(pings))

    async def test_every_ping_is_answered_while_the_peer_reads(self) -> None:
        await self.open()
        self.transport.feed(PEER_PING * 100)
        self.assertEqual(self.transport.read(), PONG * 100)

    async def test_pong_that_is_owed_follows_a_close_of_ours(self) -> None:
        await self.open(ws_write_limit=LIMIT)
        self.transport.is_peer_reading = False
        await self.start(self.app.send(SEND_LARGE))
        self.transport.feed(PEER_PING)
        await self.start(self.app.send({"type": "websocket.close"}))
        self.transport.take()
        self.assert_written(LARGE, CLOSE, PONG)


class LossTests(WebSocketTestCase):
    """The connection is lost, and the application goes on."""

    async def test_held_messages_that_fill_the_queue_again_are_delivered(self) -> None:
        await self.open(ws_max_queue=1)
        self.transport.feed(PEER_HELLO)
        # As TLS does on Python 3.9 and 3.10, though reading is paused.
        self.exchange.data_received(PEER_HELLO * 2)
        self.transport.lose()
        await self.assert_receives(RECEIVED_HELLO, RECEIVED_HELLO, RECEIVED_HELLO, LOST)

    async def test_nothing_is_written_and_nothing_is_unsent(self) -> None:
        await self.open()
        info = self.app.scope["wsbridge.connection"]
        self.transport.lose()
        self.exchange.write(HELLO)
        self.assertEqual((info.write_buffer_size, info.bytes_sent), (0, 0))

    async def test_held_data_pauses_reading_without_a_budget(self) -> None:
        for size, is_reading in ((64 * 1024 - 1, True), (64 * 1024, False)):
            await self.connect(early_data=bytes(size), max_inbound_memory=None)
            self.assert_reading(is_reading)
            self.transport.lose()
            await self.app.return_()
