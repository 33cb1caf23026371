"""`SocketTransport` keeps the promises of `asyncio.Transport`, over a socket whose peer is the test."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
import sys
import unittest
import weakref
from contextvars import Context
from random import Random
from typing import Any, Callable, Dict, List, Tuple

from tests.freezing import setUpModule, tearDownModule  # noqa: F401

from .test_poller import HAS_EPOLL, NO_EPOLL

if HAS_EPOLL:
    from select import EPOLLIN, EPOLLOUT

    from wsbridge.server.connection.reading import READ_SIZE
    from wsbridge.server.fast.event_loop import PollerEventLoop
    from wsbridge.server.fast.poller import Poller
    from wsbridge.server.fast.transport import HIGH_WATER, SocketTransport

    class WatchedTransport(SocketTransport):
        """Notes the events that it is woken with."""

        def __init__(self, *arguments: Any) -> None:
            self.woken: List[int] = []
            super().__init__(*arguments)

        def handle_events(self, events: int) -> None:
            self.woken.append(events)
            super().handle_events(events)


# More than the two buffers of a socket take.
MUCH = bytes(range(256)) * 16384


class Loop:
    """What a transport asks of its loop; `turn` runs what was put off."""

    def __init__(self) -> None:
        self.reports: List[Dict[str, Any]] = []
        self.calls: List[Tuple[Callable[..., None], Any]] = []

    def call_soon(self, callback: Callable[..., None], *arguments: Any, context: Context) -> None:
        self.calls.append((context.run, (callback, *arguments)))

    def call_exception_handler(self, context: Dict[str, Any]) -> None:
        self.reports.append(context)

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for callback, arguments in calls:
            callback(*arguments)


class Protocol(asyncio.Protocol):
    """Notes what it is told; `on` has what it does on it, by the method's name."""

    def __init__(self) -> None:
        self.told: List[Any] = []
        self.on: Dict[str, Callable[[], Any]] = {}

    def note(self, name: str, what: Any) -> Any:
        self.told.append(what)
        return self.on.get(name, lambda: None)()

    def data_received(self, data: bytes) -> None:
        self.note("data", data)

    def eof_received(self) -> Any:
        return self.note("eof", "eof")

    def pause_writing(self) -> None:
        self.note("pause", "pause")

    def resume_writing(self) -> None:
        self.note("resume", "resume")

    def connection_lost(self, exc: Any) -> None:
        self.note("lost", ("lost", type(exc)))


LOST = ("lost", type(None))
BROKEN = ("lost", BrokenPipeError)
RESET = ("lost", ConnectionResetError)


@unittest.skipUnless(HAS_EPOLL, NO_EPOLL)
class TransportCase(unittest.TestCase):
    def setUp(self) -> None:
        self.loop = Loop()
        self.poller = Poller()
        self.addCleanup(self.poller.close)
        self.connect(*socket.socketpair())

    def connect(self, ours: socket.socket, peer: socket.socket) -> None:
        ours.setblocking(False)
        peer.setblocking(False)
        self.ours, self.peer = ours, peer
        self.addCleanup(ours.close)
        self.addCleanup(peer.close)
        self.protocol = Protocol()
        loop: Any = self.loop
        self.transport = WatchedTransport(loop, self.poller, ours, "who", ours.getsockname(), self.protocol)

    def connect_tcp(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            peer = socket.create_connection(server.getsockname())
            self.connect(server.accept()[0], peer)

    def reset(self) -> None:
        """The peer resets the connection (`connect_tcp`)."""
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()

    def turn(self) -> None:
        self.assertEqual(self.poller.select(0), [])
        self.loop.turn()

    def take(self) -> bytes:
        """All that the peer can read now; what ends with ``|`` is all there will ever be."""
        data = bytearray()
        while True:
            try:
                piece = self.peer.recv(1 << 20)
            except BlockingIOError:
                return bytes(data)
            if not piece:
                return bytes(data) + b"|"
            data += piece

    def take_all(self) -> bytes:
        """As `take`, until we have no more to send."""
        data = self.take()
        while self.transport.get_write_buffer_size():
            self.turn()
            data += self.take()
        return data

    def assert_told(self, *told: Any) -> None:
        """This was told since the last time, with a turn in between."""
        self.turn()
        self.assertEqual(self.protocol.told, list(told))
        self.protocol.told.clear()


class ReadingTests(TransportCase):
    def test_data_is_told_and_the_beginning_is_not(self) -> None:
        self.assert_told()
        self.peer.send(b"ab")
        self.assert_told(b"ab")
        self.peer.send(b"c")
        self.assert_told(b"c")

    def test_one_read_takes_read_size_at_most(self) -> None:
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sent = self.peer.send(MUCH)
        while sent > READ_SIZE:
            self.assert_told(MUCH[:READ_SIZE])
            sent -= READ_SIZE

    def test_wake_up_without_a_reason_is_no_error(self) -> None:
        self.transport.handle_events(EPOLLIN | EPOLLOUT)
        self.assert_told()

    def test_paused_it_reads_nothing(self) -> None:
        self.assertTrue(self.transport.is_reading())
        self.transport.pause_reading()
        self.transport.pause_reading()
        self.assertFalse(self.transport.is_reading())
        self.peer.send(b"a")
        self.assert_told()
        # An event of the same turn.
        self.transport.handle_events(EPOLLIN)
        self.transport.resume_reading()
        self.transport.resume_reading()
        self.assert_told(b"a")

    def test_room_for_writing_is_no_reason_to_read(self) -> None:
        self.peer.send(b"a")
        self.transport.handle_events(EPOLLOUT)
        self.assertEqual(self.protocol.told, [])
        self.assert_told(b"a")

    def test_paused_it_is_not_woken_by_a_peer_that_leaves(self) -> None:
        self.transport.pause_reading()
        self.peer.close()
        self.assert_told()
        self.assertEqual(self.transport.woken, [])
        self.transport.resume_reading()
        self.assert_told("eof", LOST)

    def test_end_of_the_stream_closes(self) -> None:
        self.peer.shutdown(socket.SHUT_WR)
        self.assert_told("eof", LOST)
        self.assertEqual(self.take(), b"|")
        self.transport.abort()
        self.assert_told()

    def test_end_of_the_stream_leaves_our_side_open_where_the_protocol_says_so(self) -> None:
        self.protocol.on["eof"] = lambda: True
        self.peer.shutdown(socket.SHUT_WR)
        self.assert_told("eof")
        self.transport.resume_reading()
        self.assert_told()
        self.assertFalse(self.transport.is_closing())
        self.transport.write(b"a")
        self.transport.close()
        self.assertEqual(self.take(), b"a")
        self.assert_told(LOST)
        self.assertEqual(self.take(), b"|")

    def test_reset_is_told_as_the_reason_and_reported_to_nobody(self) -> None:
        self.connect_tcp()
        self.reset()
        self.assert_told(RESET)
        self.assertEqual(self.loop.reports, [])

    def test_another_protocol_may_take_over_in_the_middle(self) -> None:
        first, second = self.protocol, Protocol()
        first.on["data"] = lambda: self.transport.set_protocol(second)
        self.peer.send(b"a")
        self.assert_told(b"a")
        self.protocol = second
        self.assertIs(self.transport.get_protocol(), second)
        self.peer.send(b"b")
        self.assert_told(b"b")
        self.assertEqual(first.told, [])

    def test_protocol_may_pause_close_or_abort_in_the_middle(self) -> None:
        for act in (SocketTransport.pause_reading, SocketTransport.close, SocketTransport.abort):
            self.connect(*socket.socketpair())
            self.protocol.on["data"] = lambda act=act: act(self.transport)  # type: ignore[misc]
            self.peer.send(b"a")
            self.poller.select(0)
            self.peer.send(b"b")
            self.turn()
            self.turn()
            ended = [] if act is SocketTransport.pause_reading else [LOST]
            self.assertEqual(self.protocol.told, [b"a", *ended])

    def test_protocol_that_raises_is_reported_and_its_connection_ends(self) -> None:
        error = ValueError("nobody expects it")
        self.protocol.on["data"] = self.fail_with(error)
        self.peer.send(b"a")
        self.assert_told(b"a", ("lost", ValueError))
        report = {"exception": error, "transport": self.transport, "protocol": self.protocol}
        self.assertEqual(self.loop.reports, [{"message": "a protocol has raised", **report}])
        self.assertEqual(self.take(), b"|")

    @staticmethod
    def fail_with(error: Exception) -> Callable[[], None]:
        def fail() -> None:
            raise error

        return fail


class WritingTests(TransportCase):
    def test_it_leaves_at_once(self) -> None:
        for data in (b"a", bytearray(b"b"), memoryview(b"c"), b""):
            self.transport.write(data)
        self.assertEqual(self.take(), b"abc")
        self.assertEqual(self.transport.get_write_buffer_size(), 0)

    def test_what_the_socket_does_not_take_leaves_later_and_in_order(self) -> None:
        self.transport.write(memoryview(MUCH))
        for data in (memoryview(b"a"), bytearray(b"b"), b"c", memoryview(b"d"), b"e"):
            self.transport.write(data)
        self.assertEqual(self.take_all(), MUCH + b"abcde")
        self.transport.write(b"?")
        self.assertEqual(self.take(), b"?")

    def test_socket_that_takes_more_wakes_nobody_where_all_is_sent(self) -> None:
        self.transport.write(MUCH)
        self.take_all()
        self.transport.woken.clear()
        self.turn()
        self.assertEqual(self.transport.woken, [])

    def test_full_socket_takes_nothing(self) -> None:
        self.transport.write(MUCH)
        self.transport.handle_events(EPOLLOUT)
        size = self.transport.get_write_buffer_size()
        self.transport.handle_events(EPOLLOUT)
        self.assertEqual(self.transport.get_write_buffer_size(), size)

    def test_bytes_to_read_are_no_reason_to_send(self) -> None:
        self.transport.write(MUCH)
        size = self.transport.get_write_buffer_size()
        self.take()
        self.transport.handle_events(EPOLLIN)
        self.assertEqual(self.transport.get_write_buffer_size(), size)

    def test_socket_that_somebody_else_has_filled_takes_nothing(self) -> None:
        with self.assertRaises(BlockingIOError):
            while True:
                self.ours.send(MUCH)
        self.transport.write(b"abc")
        self.assertEqual(self.transport.get_write_buffer_size(), 3)

    def test_protocol_is_paused_above_the_high_and_resumed_at_the_low_mark(self) -> None:
        self.assertEqual(self.transport.get_write_buffer_limits(), (16 * 1024, 64 * 1024))
        sizes: List[int] = []
        self.protocol.on["resume"] = lambda: sizes.append(self.transport.get_write_buffer_size())
        self.transport.write(MUCH)
        self.transport.write(b"!")
        self.assert_told("pause")
        self.assertEqual(self.take_all(), MUCH + b"!")
        self.assert_told("resume")
        self.assertLessEqual(sizes[0], HIGH_WATER // 4)

    def test_limits(self) -> None:
        for given, limits in (
            ({}, (HIGH_WATER // 4, HIGH_WATER)),
            ({"high": 10}, (2, 10)),
            ({"low": 100}, (100, 400)),
            ({"high": 7, "low": 7}, (7, 7)),
            ({"high": 0}, (0, 0)),
        ):
            self.transport.set_write_buffer_limits(**given)
            self.assertEqual(self.transport.get_write_buffer_limits(), limits)
        for high, low in ((1, 2), (1, -1)):
            with self.assertRaisesRegex(ValueError, f"{high}.*{low}"):
                self.transport.set_write_buffer_limits(high, low)

    def test_limit_below_what_waits_pauses_at_once(self) -> None:
        self.transport.set_write_buffer_limits(2 * len(MUCH))
        self.transport.write(MUCH)
        self.transport.set_write_buffer_limits(self.transport.get_write_buffer_size())
        self.assert_told()
        self.transport.set_write_buffer_limits(0)
        self.assert_told("pause")
        self.protocol.on["resume"] = lambda: self.assertEqual(self.transport.get_write_buffer_size(), 0)
        self.assertEqual(self.take_all(), MUCH)
        self.assert_told("resume")

    def test_protocol_may_write_more_when_it_is_resumed(self) -> None:
        self.protocol.on["resume"] = lambda: self.transport.write(b"!")
        self.transport.write(MUCH)
        self.assertEqual(self.take_all(), MUCH + b"!")

    def test_protocol_may_abort_when_it_is_resumed(self) -> None:
        self.protocol.on["resume"] = self.transport.abort
        self.transport.set_write_buffer_limits(0)
        self.transport.write(MUCH)
        self.take_all()
        self.assert_told("pause", "resume", LOST)

    def test_parts_leave_in_order(self) -> None:
        self.transport.writelines([b"a", b"", bytearray(b"b"), memoryview(b"c")])
        self.transport.writelines([])
        self.transport.writelines([b"d"])
        self.assertEqual(self.take(), b"abcd")
        self.transport.writelines([b"head", MUCH, b"tail"])
        self.transport.writelines([b"!", MUCH])
        self.assertEqual(self.take_all(), b"head" + MUCH + b"tail!" + MUCH)

    def test_parts_stay_behind_what_is_not_sent_though_the_socket_has_room_again(self) -> None:
        self.transport.write(MUCH)
        data = self.take()
        self.transport.writelines([b"a", b"b"])
        self.assertEqual(data + self.take_all(), MUCH + b"ab")

    def test_parts_behind_the_close_are_dropped(self) -> None:
        self.transport.close()
        self.transport.writelines([b"a", b"b"])
        self.assert_told(LOST)
        self.assertEqual(self.take(), b"|")

    def test_parts_leave_in_one_system_call(self) -> None:
        # The peer of such a pair reads what was sent call by call.
        self.connect(*socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        for parts in ([b"a", b"b"], [b"a", b"b", b"c"], [b"a"] * 1024):
            self.transport.writelines(parts)
            self.assertEqual(self.peer.recv(2048), b"".join(parts))

    def test_more_parts_than_one_system_call_takes(self) -> None:
        parts = [bytes([number % 256]) for number in range(5000)]
        self.transport.writelines(parts)
        self.assertEqual(self.take_all(), b"".join(parts))

    @unittest.skipUnless(sys.implementation.name == "cpython", "this Python has no tracemalloc")
    def test_no_part_is_copied(self) -> None:
        import tracemalloc

        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.transport.writelines([b"head", MUCH])
        for _ in range(2):
            self.transport.write(MUCH)
        self.turn()
        self.take()
        self.turn()
        self.assertLess(tracemalloc.get_traced_memory()[0], len(MUCH) // 8)

    @unittest.skipUnless(sys.implementation.name == "cpython", "this Python has no tracemalloc")
    def test_tiny_writes_to_a_peer_that_does_not_read_take_their_size(self) -> None:
        import tracemalloc

        self.transport.write(MUCH)
        taken = self.take()
        numbers = range(HIGH_WATER // 5)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for number in numbers:
            self.transport.write(b"%05d" % number)
        self.assertLess(tracemalloc.get_traced_memory()[0], 2 * HIGH_WATER)
        self.assertEqual(taken + self.take_all(), MUCH + b"".join(b"%05d" % number for number in numbers))

    def test_unsent_data_of_up_to_4_kib_is_joined_and_more_is_kept_as_it_is(self) -> None:
        class Data(bytearray):
            """Unlike `bytes`, it can have a weak reference, which tells whether the transport keeps it."""

        for first, second, is_kept in (
            (4095, 1, False),
            (4096, 1, True),
            (1, 4095, False),
            (1, 4096, True),
            (3000, 3000, True),
        ):
            self.connect(*socket.socketpair())
            self.transport.write(MUCH)
            self.transport.write(bytes(first))
            data = Data(second)
            kept = weakref.ref(data)
            self.transport.write(data)
            del data
            gc.collect()
            self.assertEqual(kept() is not None, is_kept, (first, second))

    def test_socket_that_somebody_else_has_filled_takes_no_part(self) -> None:
        with self.assertRaises(BlockingIOError):
            while True:
                self.ours.send(MUCH)
        self.transport.writelines([b"abc", b"d"])
        self.assertEqual(self.transport.get_write_buffer_size(), 4)

    def test_lost_connection_is_found_by_parts(self) -> None:
        self.peer.close()
        self.transport.writelines([b"a", b"b"])
        self.transport.writelines([b"a", b"b"])
        self.assert_told(BROKEN)

    def test_parts_after_the_end(self) -> None:
        self.transport.write_eof()
        with self.assertRaises(RuntimeError):
            self.transport.writelines([b"a", b"b"])
        self.transport.close()
        self.assertEqual(self.take(), b"|")

    def test_lost_connection_is_found_by_a_write_and_told_later(self) -> None:
        self.peer.close()
        self.transport.write(b"a")
        self.transport.write(b"b")
        self.assertTrue(self.transport.is_closing())
        self.assertEqual(self.protocol.told, [])
        self.assert_told(BROKEN)
        self.assert_told()
        self.assertEqual(self.loop.reports, [])

    def test_lost_connection_is_found_with_bytes_to_send(self) -> None:
        self.transport.pause_reading()
        self.transport.write(MUCH)
        self.peer.close()
        self.assert_told("pause", BROKEN)
        self.assertEqual(self.transport.get_write_buffer_size(), 0)


class CollectingTests(TransportCase):
    """Writes while the poller serves several connections."""

    def setUp(self) -> None:
        super().setUp()
        self.poller.ready_count = 2

    def fill(self) -> None:
        """The socket takes no more, though the transport does not know."""
        with self.assertRaises(BlockingIOError):
            while True:
                self.ours.send(MUCH)

    def test_first_short_write_waits_for_the_poller(self) -> None:
        for data in (b"abc", bytes(32768)):
            self.poller.ready_count = 2
            self.transport.write(data)
            self.assertEqual(self.take(), b"")
            self.poller.send_collected()
            self.assertEqual(self.take(), data)
        self.poller.send_collected()
        self.turn()
        self.assertEqual((self.take(), self.transport.woken), (b"", []))

    def test_second_write_takes_it_along_and_the_third_leaves_at_once(self) -> None:
        self.transport.write(b"a")
        self.transport.write(b"b")
        self.assertEqual(self.take(), b"ab")
        self.transport.write(b"c")
        self.assertEqual(self.take(), b"c")
        self.poller.send_collected()
        self.poller.ready_count = 2
        self.transport.write(b"d")
        self.assertEqual(self.take(), b"")

    def test_several_parts_take_it_along(self) -> None:
        self.transport.write(b"a")
        self.transport.writelines([b"b", b"c"])
        self.assertEqual(self.take(), b"abc")

    def test_single_part_waits_for_the_poller_too(self) -> None:
        self.transport.writelines([b"a"])
        self.assertEqual(self.take(), b"")
        self.poller.send_collected()
        self.assertEqual(self.take(), b"a")

    def test_large_data_and_that_of_one_connection_leave_at_once(self) -> None:
        self.transport.write(bytes(32769))
        self.assertEqual(self.take(), bytes(32769))
        for self.poller.ready_count in (0, 1):
            self.transport.write(b"a")
            self.assertEqual(self.take(), b"a")

    def test_what_a_full_socket_does_not_take_leaves_later_and_in_order(self) -> None:
        for parts in ((b"ab",), (b"ab", b"c"), (b"ab", MUCH)):
            self.fill()
            self.transport.write(parts[0])
            for part in parts[1:]:
                self.transport.write(part)
            self.poller.send_collected()
            self.transport.write(b"!")
            self.assertTrue(self.take_all().endswith(b"".join(parts) + b"!"))
            self.transport.woken.clear()
            self.turn()
            self.assertEqual(self.transport.woken, [])
            self.poller.ready_count = 2

    def test_it_is_in_order_though_reading_pauses_meanwhile(self) -> None:
        self.transport.write(b"a")
        self.transport.pause_reading()
        self.transport.write(b"b")
        self.poller.send_collected()
        self.assertEqual(self.take(), b"ab")
        self.turn()
        self.assertEqual(self.transport.woken, [])

    def test_it_fills_the_buffer_only_when_the_socket_does_not_take_it(self) -> None:
        self.fill()
        self.transport.write(b"a")
        self.transport.set_write_buffer_limits(0)
        self.assertEqual((self.transport.get_write_buffer_size(), self.protocol.told), (0, []))
        self.poller.send_collected()
        self.assertEqual((self.transport.get_write_buffer_size(), self.protocol.told), (1, ["pause"]))

    def test_it_leaves_before_the_end(self) -> None:
        self.transport.write(b"a")
        self.transport.write_eof()
        self.assertEqual(self.take(), b"")
        self.poller.send_collected()
        self.assertEqual(self.take(), b"a|")
        self.assert_told()
        self.transport.close()
        self.assert_told(LOST)

    def test_closing_waits_for_it(self) -> None:
        self.transport.write(b"a")
        self.transport.close()
        self.transport.writelines([b"b", b"c"])
        self.loop.turn()
        self.assertEqual(self.protocol.told, [])
        self.poller.send_collected()
        self.assert_told(LOST)
        self.assertEqual(self.take(), b"a|")

    def test_aborting_drops_it(self) -> None:
        self.transport.write(b"a")
        self.transport.abort()
        self.assert_told(LOST)
        self.assertEqual(self.take(), b"|")

    def test_connection_that_is_lost_is_told_so(self) -> None:
        for send in (self.poller.send_collected, lambda: self.transport.write(b"b")):
            self.connect(*socket.socketpair())
            self.poller.ready_count = 2
            self.transport.pause_reading()
            self.peer.close()
            self.transport.write(b"a")
            send()
            self.assert_told(BROKEN)


class EndTests(TransportCase):
    def test_both_ends_are_known(self) -> None:
        self.connect_tcp()
        self.assertEqual(self.transport.get_extra_info("peername"), "who")
        self.assertEqual(self.transport.get_extra_info("sockname"), self.peer.getpeername())
        self.assertIs(self.transport.get_extra_info("socket"), self.ours)
        for name in ("peercert", "sslcontext"):
            self.assertIsNone(self.transport.get_extra_info(name))

    def test_half_close(self) -> None:
        self.assertTrue(self.transport.can_write_eof())
        self.transport.write(b"a")
        self.transport.write_eof()
        self.transport.write_eof()
        self.assertEqual(self.take(), b"a|")
        with self.assertRaisesRegex(RuntimeError, "after write_eof"):
            self.transport.write(b"b")
        self.peer.send(b"c")
        self.assert_told(b"c")

    def test_half_close_waits_for_what_is_not_sent(self) -> None:
        self.transport.write(MUCH)
        self.transport.write_eof()
        self.assertEqual(self.take_all(), MUCH + b"|")
        self.assertFalse(self.transport.is_closing())

    def test_half_close_of_a_lost_connection_raises(self) -> None:
        self.connect_tcp()
        self.reset()
        with self.assertRaises(OSError):
            self.transport.write_eof()
        self.assert_told(RESET)

    def test_half_close_that_fails_later_ends_the_connection(self) -> None:
        ours, peer = socket.socketpair()
        self.connect(FailingShutdown(fileno=ours.detach()), peer)
        self.transport.write(MUCH)
        self.transport.write_eof()
        self.take_all()
        self.assert_told("pause", "resume", ("lost", OSError))
        self.assertEqual(self.loop.reports, [])

    def test_closing_sends_what_is_left_and_reads_nothing(self) -> None:
        self.transport.write(MUCH)
        self.transport.close()
        self.transport.close()
        self.assertTrue(self.transport.is_closing())
        self.transport.resume_reading()
        self.assertFalse(self.transport.is_reading())
        self.transport.write(b"b")
        self.transport.write_eof()
        self.assert_told("pause")
        self.assertEqual(self.take_all(), MUCH + b"|")
        self.assert_told("resume", LOST)
        self.assertEqual(self.ours.fileno(), -1)

    def test_end_is_told_once_and_later_and_then_the_socket_is_closed(self) -> None:
        self.peer.send(b"a")
        self.transport.close()
        self.transport.abort()
        self.transport.close()
        self.assertEqual(self.protocol.told, [])
        self.assert_told(LOST)
        self.assertEqual(self.ours.fileno(), -1)
        self.transport.write_eof()
        self.assert_told()

    def test_aborting_drops_what_is_left(self) -> None:
        self.transport.write(MUCH)
        self.transport.abort()
        self.assertEqual(self.transport.get_write_buffer_size(), 0)
        self.assert_told("pause", LOST)
        data = self.take()
        self.assertTrue(data.endswith(b"|") and len(data) < len(MUCH))

    def test_socket_that_somebody_else_has_closed(self) -> None:
        os.close(self.ours.detach())
        self.transport.abort()
        self.assert_told(LOST)

    def test_end_leaves_no_cycle(self) -> None:
        self.transport.abort()
        self.loop.turn()
        self.assertIsNone(self.transport.get_protocol())

    def test_socket_is_closed_though_the_protocol_raises(self) -> None:
        self.protocol.on["lost"] = ReadingTests.fail_with(ValueError())
        self.transport.abort()
        with self.assertRaises(ValueError):
            self.loop.turn()
        self.assertEqual(self.ours.fileno(), -1)


class Conversation:
    """Anything done to a transport by its owner and its peer; `log` has what came of it."""

    def __init__(self, loop: PollerEventLoop, stays_open: bool, is_asyncios: bool) -> None:
        self.loop = loop
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.protocol = protocol = Protocol()
        protocol.on["eof"] = lambda: stays_open
        self.transport: asyncio.Transport
        if is_asyncios:
            making = loop.connect_accepted_socket(lambda: protocol, ours)
            self.transport = loop.run_until_complete(making)[0]
        else:
            self.transport = SocketTransport(loop, loop.poller, ours, "who", ours.getsockname(), protocol)
        self.log: List[Any] = []

    def do(self, action: str) -> None:
        result: Any = None
        try:
            if action in PEERS_ACTIONS:
                result = getattr(self, action)()
            # Once it is over, asyncio's has no loop any more.
            elif not any(told[0] == "lost" for told in self.protocol.told):
                self.act(action)
        except (OSError, RuntimeError) as error:
            result = type(error)
        self.turn()
        self.log.append((action, result, self.transport.is_closing(), self.protocol.told[:]))

    def turn(self) -> None:
        for _ in range(6):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def act(self, action: str) -> None:
        if action in WRITES:
            # asyncio's still takes more while it closes, if it has not sent all.
            if not self.transport.is_closing():
                self.transport.write(WRITES[action])
        elif action == "set_write_buffer_limits":
            self.transport.set_write_buffer_limits(0)
        # Paused behind the end of the stream, asyncio's reads it again when it is resumed.
        elif action != "pause_reading" or "eof" not in self.protocol.told:
            getattr(self.transport, action)()

    def send(self) -> None:
        self.peer.send(b"a")

    def half_close(self) -> None:
        self.peer.shutdown(socket.SHUT_WR)

    def leave(self) -> None:
        self.peer.close()

    def take(self) -> Any:
        """All there is to read: how much, its last bytes, and whether it ends there."""
        size, last, misses = 0, b"", 0
        while misses < 2:
            try:
                data = self.peer.recv(1 << 20)
            except BlockingIOError:
                misses += 1
                self.turn()
                continue
            if not data:
                return size, last, True
            size, last, misses = size + len(data), data[-3:], 0
        return size, last, False


WRITES = {"write": b"b", "write_much": MUCH}
PEERS_ACTIONS = ("send", "take", "half_close", "leave")
OUR_ACTIONS = (
    *WRITES,
    *("pause_reading", "resume_reading", "set_write_buffer_limits", "write_eof", "close", "abort"),
)
# An end makes everything behind it dull.
WEIGHTS = (3, 3, 1, 1, 3, 3, 2, 2, 1, 1, 1, 0.5)


@unittest.skipUnless(HAS_EPOLL, NO_EPOLL)
class AsAsyncioTests(unittest.TestCase):
    """Whatever is done in whatever order, all that can be seen of it is as with asyncio's own transport."""

    def setUp(self) -> None:
        self.loop = PollerEventLoop(Poller())
        self.addCleanup(self.loop.close)

    def converse(self, actions: List[str], stays_open: bool, is_asyncios: bool) -> List[Any]:
        conversation = Conversation(self.loop, stays_open, is_asyncios)
        for action in [*actions, "take", "abort", "leave"]:
            conversation.do(action)
        return conversation.log

    def test_random_conversations(self) -> None:
        random = Random(7)
        for _ in range(300):
            actions = random.choices(
                2 * PEERS_ACTIONS[:2] + PEERS_ACTIONS + OUR_ACTIONS, k=random.randint(2, 12)
            )
            for stays_open in (False, True):
                with self.subTest(actions=actions, stays_open=stays_open):
                    expected = self.converse(actions, stays_open, True)
                    self.assertEqual(self.converse(actions, stays_open, False), expected)


class FailingShutdown(socket.socket):
    """A socket whose connection is found to be lost when it is half closed."""

    def shutdown(self, how: int) -> None:
        raise OSError(107, "Transport endpoint is not connected")


if __name__ == "__main__":
    unittest.main()
