"""`HttpSession`: one request with its body, one response."""

from __future__ import annotations

import asyncio
import sys
import unittest
from types import ModuleType
from typing import Any, Awaitable, Dict, List, Optional, Tuple, Type

from tests.doubles import DATE, build_date, turn_loop
from wsbridge.asgi.http_session import HttpOwner, HttpSession
from wsbridge.asgi.wire import Http11Wire
from wsbridge.protocols.errors import EventError, StateError

tracemalloc: Optional[ModuleType]
try:
    import tracemalloc
except ImportError:
    # PyPy has none.
    tracemalloc = None

START: Dict[str, Any] = {"type": "http.response.start", "status": 200}
BODY: Dict[str, Any] = {"type": "http.response.body", "body": b"a"}
PART: Dict[str, Any] = {**BODY, "more_body": True}
PAGE = b"HTTP/1.1 200 OK\r\n" + DATE + b"Connection: close\r\nContent-Length: 1\r\n\r\na"


class Owner(HttpOwner):
    """Keeps what is written; `drain` waits for room, and raises where the connection is lost."""

    def __init__(self) -> None:
        self.written = b""
        self.room = asyncio.Event()
        self.room.set()
        self.is_lost = False
        #: What the session has told.
        self.told: List[str] = []

    def abort(self) -> None:
        self.told.append("abort")

    def write(self, data: bytes) -> None:
        self.written += data

    def drain(self) -> Optional[Awaitable[None]]:
        return None if self.room.is_set() and not self.is_lost else self.wait_for_room()

    async def wait_for_room(self) -> None:
        await self.room.wait()
        if self.is_lost:
            raise ConnectionResetError("lost")

    def session_reads(self) -> None:
        self.told.append("reads")

    def session_completed(self) -> None:
        self.told.append("completed")


class SessionCase(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.set_up()

    def set_up(self, *, has_body: bool = False) -> None:
        self.owner = Owner()
        self.wire = Http11Wire(self.owner, date=build_date)
        self.session = HttpSession(self.owner, self.wire, has_body=has_body)
        self.receive, self.send = self.session.receive, self.session.send

    async def waiting(self, awaitable: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(awaitable)
        await asyncio.sleep(0)
        self.assertFalse(task.done())
        return task

    async def assert_raises(self, error: Type[Exception], event: Dict[str, Any]) -> None:
        written = self.owner.written
        with self.assertRaises(error, msg=repr(event)) as caught:
            await self.send(event)
        self.assertIs(type(caught.exception), error)
        self.assertEqual(self.owner.written, written)


class ReceiveTests(SessionCase):
    async def test_body_is_empty_and_whole(self) -> None:
        self.assertEqual(await self.receive(), {"type": "http.request", "body": b"", "more_body": False})

    async def test_request_has_no_body_if_nothing_else_is_said(self) -> None:
        event = await HttpSession(self.owner, self.wire).receive()
        self.assertEqual(event, {"type": "http.request", "body": b"", "more_body": False})

    async def test_disconnect_comes_once_the_peer_is_gone(self) -> None:
        await self.receive()
        task = await self.waiting(self.receive())
        self.session.end()
        self.assertEqual(await task, {"type": "http.disconnect"})
        self.assertEqual(await self.receive(), {"type": "http.disconnect"})

    async def test_body_comes_first_even_when_the_peer_is_gone(self) -> None:
        self.session.end()
        self.assertEqual((await self.receive())["type"], "http.request")
        self.assertEqual((await self.receive())["type"], "http.disconnect")


class BodyTests(SessionCase):
    async def asyncSetUp(self) -> None:
        self.set_up(has_body=True)

    async def assert_received(self, body: bytes, more_body: bool) -> None:
        self.assertEqual(await self.receive(), {"type": "http.request", "body": body, "more_body": more_body})

    async def test_part_is_received_while_more_is_to_come(self) -> None:
        self.session.put_body(b"a", False)
        await self.assert_received(b"a", True)
        self.session.put_body(b"b", True)
        await self.assert_received(b"b", False)

    async def test_parts_that_came_together_are_received_as_one(self) -> None:
        self.session.put_body(b"a", False)
        self.session.put_body(b"b", False)
        self.assertEqual(self.session.body_size, 2)
        self.session.put_body(b"c", True)
        await self.assert_received(b"abc", False)
        self.assertEqual(self.session.body_size, 0)

    async def test_many_small_parts_are_received_as_one(self) -> None:
        for number in range(1000):
            self.session.put_body(b"%d." % number, False)
        self.session.put_body(b"end", True)
        await self.assert_received(b"".join(b"%d." % number for number in range(1000)) + b"end", False)

    @unittest.skipUnless(sys.implementation.name == "cpython", "this Python has no tracemalloc")
    async def test_small_parts_take_little_more_memory_than_their_bytes(self) -> None:
        tracing: Any = tracemalloc
        tracing.start()
        self.addCleanup(tracing.stop)
        for number in range(32 * 1024):
            self.session.put_body(b"%02d" % (number % 100), False)
        self.assertLess(tracing.get_traced_memory()[0], 2 * 64 * 1024)

    async def test_end_that_comes_alone_is_an_empty_part(self) -> None:
        self.session.put_body(b"a", False)
        await self.assert_received(b"a", True)
        task = await self.waiting(self.receive())
        self.session.put_body(b"", True)
        self.assertEqual(await task, {"type": "http.request", "body": b"", "more_body": False})

    async def test_nothing_new_wakes_nobody(self) -> None:
        task = await self.waiting(self.receive())
        self.session.put_body(b"", False)
        await turn_loop()
        self.assertFalse(task.done())
        task.cancel()

    async def test_owner_is_told_when_more_is_wanted(self) -> None:
        task = await self.waiting(self.receive())
        self.assertEqual(self.owner.told, ["reads"])
        self.session.put_body(b"a", False)
        await task
        self.assertEqual(self.owner.told, ["reads", "reads"])
        self.session.put_body(b"b", True)
        await self.receive()
        await self.waiting(self.receive())
        self.assertEqual(self.owner.told, ["reads", "reads"])

    async def test_disconnect_comes_behind_what_has_come(self) -> None:
        self.session.put_body(b"a", False)
        self.session.disconnect()
        await self.assert_received(b"a", True)
        self.assertEqual(await self.receive(), {"type": "http.disconnect"})

    async def test_every_receive_that_waits_learns_of_the_disconnect(self) -> None:
        tasks = [await self.waiting(self.receive()) for _ in range(3)]
        tasks[0].cancel()
        self.session.disconnect()
        self.assertEqual([await task for task in tasks[1:]], [{"type": "http.disconnect"}] * 2)

    async def test_one_of_two_that_wait_gets_the_body(self) -> None:
        tasks = [await self.waiting(self.receive()) for _ in range(2)]
        self.session.put_body(b"a", True)
        await turn_loop()
        self.assertEqual([task.done() for task in tasks], [True, False])
        self.session.disconnect()
        self.assertEqual(await tasks[1], {"type": "http.disconnect"})


class SendTests(SessionCase):
    async def test_head_leaves_with_the_first_part(self) -> None:
        await self.send(START)
        self.assertEqual(self.owner.written, b"")
        await self.send(BODY)
        self.assertEqual(self.owner.written, PAGE)
        self.assertEqual(self.owner.told, ["completed"])

    async def test_disconnect_follows_the_response(self) -> None:
        await self.receive()
        task = await self.waiting(self.receive())
        await self.send(START)
        await self.send(BODY)
        self.assertEqual(await task, {"type": "http.disconnect"})

    async def test_nothing_reaches_an_owner_that_was_detached(self) -> None:
        self.session.detach()
        await self.send(START)
        await self.send(BODY)
        self.assertEqual(self.owner.told, [])

    async def test_parts_follow_as_chunks(self) -> None:
        await self.send(START)
        await self.send(PART)
        await self.send(BODY)
        expected = b"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\na\r\n0\r\n\r\n"
        self.assertTrue(self.owner.written.endswith(expected))

    async def test_send_waits_for_room(self) -> None:
        await self.send(START)
        self.owner.room.clear()
        task = await self.waiting(self.send(BODY))
        self.assertEqual(self.owner.written, PAGE)
        self.owner.room.set()
        await task

    async def test_cancellation_at_send_leaves_a_whole_part(self) -> None:
        await self.send(START)
        self.owner.room.clear()
        task = await self.waiting(self.send(PART))
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.owner.room.set()
        await self.send(BODY)
        self.assertTrue(self.owner.written.endswith(b"\r\n\r\n1\r\na\r\n1\r\na\r\n0\r\n\r\n"))

    async def test_part_that_finds_the_connection_lost_is_no_error(self) -> None:
        await self.send(START)
        self.owner.is_lost = True
        await self.send(BODY)
        self.assertEqual(self.owner.written, PAGE)

    async def assert_nothing_happens(self, *events: Any) -> None:
        written = self.owner.written
        for event in events:
            await self.send(event)
        self.assertEqual(self.owner.written, written)

    async def test_nothing_happens_once_the_peer_is_gone_whatever_an_event_holds(self) -> None:
        self.session.end()
        await self.assert_nothing_happens(START, BODY, START, {"type": "nonsense"}, {**START, "status": "no"})

    async def test_nothing_happens_once_the_peer_has_gone_during_the_response(self) -> None:
        await self.send(START)
        await self.send(PART)
        self.session.end()
        await self.assert_nothing_happens(PART, BODY, {**BODY, "body": 5})

    async def test_application_that_only_sends_lets_others_have_their_turn(self) -> None:
        self.session.end()
        turns: List[int] = []
        asyncio.get_running_loop().call_soon(turns.append, 1)
        sending = asyncio.ensure_future(self.send(PART))
        await turn_loop()
        self.assertTrue(sending.done())
        self.assertEqual(turns, [1])


class InvalidEventTests(SessionCase):
    async def test_unknown_event(self) -> None:
        kinds: Tuple[Any, ...] = ("http.response.trailers", "websocket.accept", "", b"http.response.start")
        for kind in (*kinds, None, 5, []):
            await self.assert_raises(EventError, {"type": kind})
        await self.assert_raises(EventError, {"status": 200})

    async def test_body_before_start_is_a_state_error(self) -> None:
        await self.assert_raises(StateError, BODY)

    async def test_second_start_is_a_state_error(self) -> None:
        await self.send(START)
        await self.assert_raises(StateError, START)

    async def test_event_behind_the_response_is_a_state_error(self) -> None:
        await self.send(START)
        await self.send(BODY)
        await self.assert_raises(StateError, BODY)
        await self.assert_raises(StateError, START)

    async def test_start_that_is_invalid_is_not_the_start(self) -> None:
        await self.assert_raises(EventError, {**START, "status": 99})
        await self.assert_raises(EventError, {**START, "headers": [(b"a", b"b\r\nc: d")]})
        await self.assert_raises(StateError, BODY)
        await self.send(START)

    async def test_body_that_is_invalid_is_not_written(self) -> None:
        await self.send(START)
        await self.assert_raises(EventError, {**BODY, "body": "text"})
        await self.send(BODY)
        self.assertEqual(self.owner.written, PAGE)


if __name__ == "__main__":
    unittest.main()
