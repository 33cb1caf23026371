"""`Poller`: what is watched is served inside `select`, and what asyncio registered is returned by it."""

from __future__ import annotations

import asyncio
import contextvars
import os
import select
import selectors
import socket
import threading
import unittest
from typing import Callable, List, Tuple
from unittest import mock

from tests.test_hostile import is_open
from wsbridge.server.fast.event_loop import PollerEventLoop

if hasattr(select, "epoll"):
    from select import EPOLLHUP, EPOLLIN, EPOLLOUT

    from wsbridge.server.fast.poller import MAX_EVENTS, Poller

NAME = contextvars.ContextVar("NAME", default="nobody")

HAS_EPOLL = hasattr(select, "epoll")
NO_EPOLL = "this system has no epoll"


class Watched:
    """Notes what it is told; ``then`` is what it does on it."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.context = contextvars.copy_context()
        self.events: List[int] = []
        self.errors: List[BaseException] = []
        self.then = then

    def handle_events(self, events: int) -> None:
        self.events.append(events)
        self.then()

    def handle_error(self, error: BaseException) -> None:
        self.errors.append(error)


@unittest.skipUnless(HAS_EPOLL, NO_EPOLL)
class PollerTests(unittest.TestCase):
    def setUp(self) -> None:
        self.poller = Poller()
        self.addCleanup(self.poller.close)

    def connect(self) -> Tuple[socket.socket, socket.socket]:
        """Ours and the peer's end."""
        ours, peer = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(peer.close)
        return ours, peer

    def watch_ready(self, watched: Watched) -> int:
        """Have ``watched`` watch a descriptor that is ready to be read."""
        ours, peer = self.connect()
        peer.send(b"1")
        self.poller.watch(ours.fileno(), EPOLLIN, watched)
        return ours.fileno()

    def test_what_is_ready_is_served_and_not_returned(self) -> None:
        watched = Watched()
        self.watch_ready(watched)
        self.assertEqual(self.poller.select(), [])
        self.assertEqual(watched.events, [EPOLLIN])

    def test_what_is_not_ready_is_left_alone(self) -> None:
        watched = Watched()
        ours, _ = self.connect()
        self.poller.watch(ours.fileno(), EPOLLIN, watched)
        for timeout in (0, -1, 0.001):
            self.assertEqual(self.poller.select(timeout), [])
        self.assertEqual(watched.events, [])

    def test_it_waits_as_long_as_it_is_told_and_without_a_limit(self) -> None:
        with mock.patch.object(select, "epoll") as epoll:
            poller = Poller()
        self.addCleanup(poller.close)
        poll = epoll.return_value.poll
        poll.return_value = []
        for given, asked in ((None, -1), (-1, 0), (0, 0), (2.5, 2.5)):
            poller.select(given)
            self.assertEqual(poll.call_args[0][0], asked)
        # Not where no loop tells what the sending of collected data has scheduled.
        poller.collected = [mock.Mock()]
        poller.select(2.5)
        self.assertEqual(poll.call_args[0][0], 0)

    def test_what_was_registered_is_returned(self) -> None:
        ours, peer = self.connect()
        key = self.poller.register(ours, selectors.EVENT_READ, "data")
        self.assertEqual(self.poller.select(0), [])
        peer.send(b"1")
        self.assertEqual(self.poller.select(), [(key, selectors.EVENT_READ)])
        key = self.poller.modify(ours, selectors.EVENT_READ | selectors.EVENT_WRITE, "data")
        self.assertEqual(self.poller.select(), [(key, selectors.EVENT_READ | selectors.EVENT_WRITE)])
        self.poller.unregister(ours)
        self.assertEqual(self.poller.select(0), [])

    def test_both_kinds_in_one_select(self) -> None:
        watched = Watched()
        ours, peer = self.connect()
        key = self.poller.register(ours, selectors.EVENT_READ)
        peer.send(b"1")
        self.watch_ready(watched)
        self.assertEqual(self.poller.select(), [(key, selectors.EVENT_READ)])
        self.assertEqual(watched.events, [EPOLLIN])

    def test_how_many_are_ready_is_told(self) -> None:
        found = [self.poller.ready_count]
        self.watch_ready(Watched(lambda: found.append(self.poller.ready_count)))
        self.poller.select()
        self.watch_ready(Watched())
        self.poller.select()
        self.assertEqual(found, [0, 1, 2])

    def test_one_of_asyncios_that_is_ready_does_not_count(self) -> None:
        ours, peer = self.connect()
        self.poller.register(ours, selectors.EVENT_READ)
        peer.send(b"1")
        self.poller.select()
        self.assertEqual(self.poller.ready_count, 0)

    def test_other_events_may_be_asked_for(self) -> None:
        watched = Watched()
        descriptor = self.watch_ready(watched)
        self.poller.watch(descriptor, EPOLLIN | EPOLLOUT, watched)
        self.poller.select(0)
        self.poller.watch(descriptor, EPOLLOUT, watched)
        self.poller.select(0)
        self.assertEqual(watched.events, [EPOLLIN | EPOLLOUT, EPOLLOUT])

    def test_hang_up_is_told_unasked(self) -> None:
        watched = Watched()
        ours, peer = self.connect()
        self.poller.watch(ours.fileno(), EPOLLOUT, watched)
        peer.close()
        self.poller.select(0)
        self.assertEqual(watched.events, [EPOLLOUT | EPOLLHUP])

    def test_what_is_no_longer_watched_is_left_alone(self) -> None:
        watched = Watched()
        descriptor = self.watch_ready(watched)
        # The second time is no error.
        for _ in range(2):
            self.poller.watch(descriptor, 0, watched)
        self.assertEqual(self.poller.select(0), [])
        self.assertEqual(watched.events, [])

    def test_one_may_end_another_of_the_same_turn(self) -> None:
        descriptors: List[int] = []

        def end_both() -> None:
            for descriptor in descriptors:
                self.poller.watch(descriptor, 0, first)

        first, second = Watched(end_both), Watched(end_both)
        descriptors += self.watch_ready(first), self.watch_ready(second)
        self.poller.select(0)
        self.assertEqual(sorted([first.events, second.events]), [[], [EPOLLIN]])

    def test_what_was_unregistered_meanwhile_is_not_returned(self) -> None:
        """An application that goes on inside a read may do so, and asyncio trusts what it gets."""
        for registered_first in (True, False):
            ours, peer = self.connect()
            if registered_first:
                self.poller.register(ours, selectors.EVENT_READ)
                peer.send(b"1")
            watched = Watched(lambda ours=ours: self.poller.unregister(ours) and None)  # type: ignore[misc]
            descriptor = self.watch_ready(watched)
            if not registered_first:
                self.poller.register(ours, selectors.EVENT_READ)
                peer.send(b"1")
            with mock.patch.object(selectors.EpollSelector, "select", return_value=[]) as select_others:
                self.assertEqual(self.poller.select(0), [])
            for call in select_others.mock_calls:
                # It must not wait for what is no longer there.
                self.assertEqual(call, mock.call(0))
            self.assertEqual(watched.events, [EPOLLIN])
            self.poller.watch(descriptor, 0, watched)

    def test_each_is_served_in_a_context_of_its_own(self) -> None:
        found: List[str] = []

        def meet(name: str) -> None:
            found.append(NAME.get())
            NAME.set(name)

        for name in ("first", "second"):
            self.watch_ready(Watched(lambda name=name: meet(name)))  # type: ignore[misc]
        self.poller.select(0)
        self.poller.select(0)
        self.assertEqual(found[:2], ["nobody", "nobody"])
        self.assertEqual(sorted(found[2:]), ["first", "second"])
        self.assertEqual(NAME.get(), "nobody")

    def test_error_is_told_to_who_has_raised_it_and_the_others_are_served(self) -> None:
        error = asyncio.CancelledError()
        watched, others = Watched(mock.Mock(side_effect=error)), [Watched(), Watched()]
        for one in (others[0], watched, others[1]):
            self.watch_ready(one)
        self.poller.select(0)
        self.assertEqual(watched.errors, [error])
        self.assertEqual([one.events for one in others], [[EPOLLIN], [EPOLLIN]])

    def test_wish_to_end_the_process_comes_through(self) -> None:
        for error in (KeyboardInterrupt, SystemExit):
            watched = Watched(mock.Mock(side_effect=error))
            descriptor = self.watch_ready(watched)
            with self.assertRaises(error):
                self.poller.select(0)
            self.assertEqual(watched.errors, [])
            self.poller.watch(descriptor, 0, watched)

    def test_who_stays_behind_comes_first_in_the_next_turn(self) -> None:
        ready = self.watch_ready(Watched())
        self.poller.watch(ready, 0, Watched())
        everybody = [Watched() for _ in range(MAX_EVENTS + 1)]
        for watched in everybody:
            descriptor = os.dup(ready)
            self.addCleanup(os.close, descriptor)
            self.poller.watch(descriptor, EPOLLIN, watched)
        self.poller.select(0)
        [behind] = [watched for watched in everybody if not watched.events]
        self.poller.select(0)
        self.assertEqual(behind.events, [EPOLLIN])

    def test_collected_data_is_sent_before_it_waits(self) -> None:
        sent: List[str] = []
        self.poller.collected = [mock.Mock(**{"send_collected": lambda: sent.append("collected")})]
        with mock.patch.object(self.poller, "_epoll") as epoll:
            epoll.poll = lambda *_: [sent.append("polled")][:0]  # type: ignore[func-returns-value]
            self.poller.select(0)
        self.assertEqual((sent, self.poller.collected), (["collected", "polled"], []))

    def test_what_is_written_meanwhile_is_not_collected(self) -> None:
        found: List[int] = []
        sender = mock.Mock(**{"send_collected.side_effect": lambda: found.append(self.poller.ready_count)})
        self.poller.ready_count = 2
        self.poller.collected = [sender]
        self.poller.send_collected()
        self.assertEqual(found, [0])

    def test_error_is_told_to_the_sender_and_the_others_send(self) -> None:
        error = BrokenPipeError()
        first, second = mock.Mock(), mock.Mock()
        first.send_collected.side_effect = error
        self.poller.collected = [first, second]
        self.poller.send_collected()
        first.handle_error.assert_called_once_with(error)
        second.send_collected.assert_called_once_with()

    def test_wish_to_end_the_process_keeps_nobody_from_sending(self) -> None:
        for error in (KeyboardInterrupt, SystemExit):
            first, second = mock.Mock(), mock.Mock()
            first.send_collected.side_effect = error
            self.poller.collected = [first, second]
            with self.assertRaises(error):
                self.poller.send_collected()
            self.assertEqual(self.poller.collected, [second])
            first.handle_error.assert_not_called()

    def test_closed_it_forgets_what_it_watched(self) -> None:
        descriptor = self.watch_ready(Watched())
        self.poller.close()
        self.poller.watch(descriptor, 0, Watched())

    def test_no_descriptor_is_left(self) -> None:
        before = list(filter(is_open, range(64)))
        Poller().close()
        self.assertEqual(list(filter(is_open, range(64))), before)


@unittest.skipUnless(HAS_EPOLL, NO_EPOLL)
class PollAgainTests(unittest.TestCase):
    """In an event loop `select` polls again, and returns once the loop has something to do."""

    def setUp(self) -> None:
        self.poller = Poller()
        self.loop = PollerEventLoop(self.poller)
        self.addCleanup(self.loop.close)

    def count_events(self, then: Callable[[int], object]) -> int:
        """What is handled of a descriptor that stays ready until the loop stops, in one `select`.

        ``then`` is called with the number of events that came before.
        """

        def act() -> None:
            if len(watched.events) > 1000:
                raise KeyboardInterrupt("the loop is starved")
            then(len(watched.events) - 1)

        watched = Watched(act)
        ours, peer = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(peer.close)
        peer.send(b"1")
        self.poller.watch(ours.fileno(), EPOLLIN, watched)
        with mock.patch.object(self.poller, "select", wraps=self.poller.select) as select_once:
            self.loop.run_forever()
        self.assertEqual(select_once.call_count, 1)
        return len(watched.events)

    def test_until_a_callback_is_scheduled(self) -> None:
        def schedule(before: int) -> None:
            if before == 3:
                self.loop.call_soon(self.loop.stop)

        self.assertEqual(self.count_events(schedule), 4)

    def test_until_another_thread_schedules_one(self) -> None:
        def schedule(before: int) -> None:
            if before == 3:
                thread = threading.Thread(target=self.loop.call_soon_threadsafe, args=(self.loop.stop,))
                thread.start()
                thread.join()

        self.assertEqual(self.count_events(schedule), 4)

    def test_until_the_loop_is_stopped(self) -> None:
        def stop(before: int) -> None:
            if before == 3:
                self.loop.stop()

        self.assertEqual(self.count_events(stop), 4)

    def test_until_a_timer_is_set(self) -> None:
        def set_timer(before: int) -> None:
            if before == 3:
                self.loop.call_later(0, self.loop.stop)

        self.assertEqual(self.count_events(set_timer), 4)

    def test_until_a_timer_expires(self) -> None:
        now = 1000.0
        self.loop.time = lambda: now  # type: ignore[method-assign]
        self.loop.call_later(5, self.loop.stop)

        def advance(before: int) -> None:
            nonlocal now
            now += 1

        with mock.patch("wsbridge.server.fast.poller.monotonic", lambda: now):
            self.assertEqual(self.count_events(advance), 5)

    def test_what_is_collected_leaves_before_the_next_poll(self) -> None:
        sender = mock.Mock()

        def collect(before: int) -> None:
            self.assertEqual(sender.send_collected.call_count, before)
            self.poller.collected.append(sender)
            if before == 3:
                self.loop.stop()

        self.count_events(collect)
        # The last one when the loop stops.
        self.assertEqual(sender.send_collected.call_count, 4)

    def test_it_does_not_wait_when_what_was_collected_gives_the_loop_something_to_do(self) -> None:
        for schedule in (self.loop.call_soon, lambda stop: self.loop.call_later(0, stop)):
            late = self.loop.call_later(5, self.loop.stop)
            sender = mock.Mock(**{"send_collected.side_effect": lambda: schedule(self.loop.stop)})  # noqa: B023
            self.loop.call_soon(self.poller.collected.append, sender)
            self.loop.run_forever()
            self.assertLess(self.loop.time(), late.when())
            late.cancel()

    def test_what_is_collected_in_the_last_turn_leaves(self) -> None:
        sender = mock.Mock()
        self.loop.call_soon(self.poller.collected.append, sender)
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        sender.send_collected.assert_called_once_with()

    def test_until_one_of_asyncios_is_ready(self) -> None:
        ours, peer = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(peer.close)
        self.loop.add_reader(ours, self.loop.stop)
        self.assertEqual(self.count_events(lambda before: before == 3 and peer.send(b"1")), 5)

    def test_not_in_a_loop_that_does_not_tell_what_it_has_to_do(self) -> None:
        poller = Poller()
        self.addCleanup(poller.close)
        poller.serve(object())
        watched = Watched()
        ours, peer = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(peer.close)
        peer.send(b"1")
        poller.watch(ours.fileno(), EPOLLIN, watched)
        self.assertEqual(poller.select(), [])
        self.assertEqual(watched.events, [EPOLLIN])


if __name__ == "__main__":
    unittest.main()
