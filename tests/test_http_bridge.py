"""The bridge for a page: one request without a body, one response."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any, Dict, List, Tuple, Type

from tests.doubles import DATE, build_date, turn_loop
from wsbridge.asgi.http_bridge import create_http_receive, create_http_send
from wsbridge.asgi.wire import Http11Wire
from wsbridge.protocols.errors import EventError, StateError

START: Dict[str, Any] = {"type": "http.response.start", "status": 200}
BODY: Dict[str, Any] = {"type": "http.response.body", "body": b"a"}
PART: Dict[str, Any] = {**BODY, "more_body": True}
PAGE = b"HTTP/1.1 200 OK\r\n" + DATE + b"Connection: close\r\nContent-Length: 1\r\n\r\na"


class Writer:
    """Keeps what is written; `drain` waits for room, and raises where the connection is lost."""

    def __init__(self) -> None:
        self.written = b""
        self.room = asyncio.Event()
        self.room.set()
        self.is_lost = False
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        await self.room.wait()
        if self.is_lost:
            raise ConnectionResetError("lost")


class PageCase(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.writer = Writer()
        self.wire = Http11Wire(self.writer, date=build_date)
        self.disconnected = asyncio.Event()
        self.receive = create_http_receive(self.disconnected)
        self.send = create_http_send(self.wire, self.writer.drain, self.disconnected)

    async def waiting(self, awaitable: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(awaitable)
        await asyncio.sleep(0)
        self.assertFalse(task.done())
        return task

    async def assert_raises(self, error: Type[Exception], event: Dict[str, Any]) -> None:
        written = self.writer.written
        with self.assertRaises(error, msg=repr(event)) as caught:
            await self.send(event)
        self.assertIs(type(caught.exception), error)
        self.assertEqual(self.writer.written, written)


class ReceiveTests(PageCase):
    async def test_body_is_empty_and_whole(self) -> None:
        self.assertEqual(await self.receive(), {"type": "http.request", "body": b"", "more_body": False})

    async def test_disconnect_comes_once_the_peer_is_gone(self) -> None:
        await self.receive()
        task = await self.waiting(self.receive())
        self.disconnected.set()
        self.assertEqual(await task, {"type": "http.disconnect"})
        self.assertEqual(await self.receive(), {"type": "http.disconnect"})

    async def test_body_comes_first_even_when_the_peer_is_gone(self) -> None:
        self.disconnected.set()
        self.assertEqual((await self.receive())["type"], "http.request")
        self.assertEqual((await self.receive())["type"], "http.disconnect")


class SendTests(PageCase):
    async def test_head_leaves_with_the_first_part(self) -> None:
        await self.send(START)
        self.assertEqual(self.writer.written, b"")
        await self.send(BODY)
        self.assertEqual(self.writer.written, PAGE)
        self.assertTrue(self.wire.is_complete)

    async def test_parts_follow_as_chunks(self) -> None:
        await self.send(START)
        await self.send(PART)
        await self.send(BODY)
        expected = b"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\na\r\n0\r\n\r\n"
        self.assertTrue(self.writer.written.endswith(expected))

    async def test_nobody_waits_where_there_is_room(self) -> None:
        send = create_http_send(self.wire, lambda: None, self.disconnected)
        await send(START)
        await send(BODY)
        self.assertEqual(self.writer.written, PAGE)

    async def test_send_waits_for_room(self) -> None:
        await self.send(START)
        self.writer.room.clear()
        task = await self.waiting(self.send(BODY))
        self.assertEqual(self.writer.written, PAGE)
        self.writer.room.set()
        await task

    async def test_cancellation_at_send_leaves_a_whole_part(self) -> None:
        await self.send(START)
        self.writer.room.clear()
        task = await self.waiting(self.send(PART))
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.writer.room.set()
        await self.send(BODY)
        self.assertTrue(self.writer.written.endswith(b"\r\n\r\n1\r\na\r\n1\r\na\r\n0\r\n\r\n"))

    async def test_part_that_finds_the_connection_lost_is_no_error(self) -> None:
        await self.send(START)
        self.writer.is_lost = True
        await self.send(BODY)
        self.assertEqual(self.writer.written, PAGE)

    async def assert_nothing_happens(self, *events: Any) -> None:
        written = self.writer.written
        for event in events:
            await self.send(event)
        self.assertEqual(self.writer.written, written)

    async def test_nothing_happens_once_the_peer_is_gone_whatever_an_event_holds(self) -> None:
        self.disconnected.set()
        await self.assert_nothing_happens(START, BODY, START, {"type": "nonsense"}, {**START, "status": "no"})

    async def test_nothing_happens_once_the_peer_has_gone_during_the_response(self) -> None:
        await self.send(START)
        await self.send(PART)
        self.disconnected.set()
        await self.assert_nothing_happens(PART, BODY, {**BODY, "body": 5})

    async def test_application_that_only_sends_lets_others_have_their_turn(self) -> None:
        self.disconnected.set()
        turns: List[int] = []
        asyncio.get_running_loop().call_soon(turns.append, 1)
        sending = asyncio.ensure_future(self.send(PART))
        await turn_loop()
        self.assertTrue(sending.done())
        self.assertEqual(turns, [1])


class InvalidEventTests(PageCase):
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
        self.assertEqual(self.writer.written, PAGE)


if __name__ == "__main__":
    unittest.main()
