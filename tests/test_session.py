"""`Session`: what an application receives and may send, by the phase of its session; no socket, no clock."""

from __future__ import annotations

import asyncio
import logging
import sys
import unittest
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional, Tuple, Type

from tests.doubles import DATE, build_date, turn_loop
from wsbridge.asgi.session import Phase, Session, SessionOwner, build_message_event
from wsbridge.asgi.wire import Http11Wire
from wsbridge.protocols.errors import ClientDisconnected, EventError, ServiceUnavailable, StateError
from wsbridge.protocols.events import WebSocketDisconnected
from wsbridge.protocols.ws import WSProtocol

from .loopback import CLOSE, HELLO, PEER_HELLO, SWITCHING

tracemalloc: Optional[ModuleType]
try:
    import tracemalloc
except ImportError:
    # PyPy has none.
    tracemalloc = None

Event = Dict[str, Any]

MIB = 1024 * 1024

NO_EVENTS: Tuple[Any, ...] = (None, 5, [], {}, {"type": "websocket.receive"}, {"type": []})

# RFC 6455 1.3: the sample nonce.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\n" + DATE
# RFC 6455 5.5.1: a CLOSE with 1001, and a violation, under all-zero keys.
PEER_CLOSE_1001 = bytes.fromhex("88 82 00000000 03e9")
VIOLATION = bytes.fromhex("83 80")

ACCEPT: Event = {"type": "websocket.accept"}
SEND: Event = {"type": "websocket.send", "text": "Hello"}
END: Event = {"type": "websocket.close"}
START: Event = {"type": "websocket.http.response.start", "status": 404}
PART: Event = {"type": "websocket.http.response.body", "body": b"no", "more_body": True}
BODY: Event = {"type": "websocket.http.response.body", "body": b"no"}
EVERY_EVENT = (ACCEPT, SEND, END, START, PART, BODY)


def message(text: str) -> Event:
    return {"type": "websocket.receive", "text": text}


class Owner(SessionOwner):
    """Keeps what is written, and notes what it is told."""

    def __init__(self) -> None:
        self.written = b""
        self.told: List[Any] = []
        self.before_waiting: Callable[[], None] = lambda: None
        self.room: Optional[asyncio.Future[None]] = None

    def write(self, data: bytes) -> None:
        self.written += data

    def drain(self) -> Optional[asyncio.Future[None]]:
        return self.room

    def abort(self) -> None:
        self.told.append("abort")

    def session_waits(self) -> None:
        self.before_waiting()

    def session_accepted(self) -> None:
        self.told.append("accepted")

    def session_refused(self, status: int) -> None:
        self.told.append(status)

    def session_closed(self) -> None:
        self.told.append("closed")

    def session_close_ignored(self) -> None:
        self.told.append("ignored")

    def session_answered(self, is_first: bool) -> None:
        self.told.append(("answered", is_first))

    def session_disconnected(self) -> None:
        self.told.append("disconnected")


class SessionCase(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        asyncio.get_running_loop().set_debug(False)
        self.connect()

    def connect(self) -> None:
        self.owner = Owner()
        self.ws = WSProtocol(hold_close=True, make_message=None)
        wire = Http11Wire(self.owner, ws_key=KEY, date=build_date)
        self.session = Session(self.owner, self.ws, wire, ["chat"])

    def feed(self, data: bytes) -> None:
        events, outbound = self.ws.receive_data(data)
        self.owner.write(outbound)
        if events:
            self.session.put(events)

    async def reach(self, phase: Phase) -> None:
        """A new session, brought into ``phase``."""
        self.connect()
        await self.session.receive()
        if phase is Phase.DENYING:
            await self.session.send(START)
        elif phase is Phase.OVER:
            self.session.end_stream()
        elif phase is not Phase.CONNECTING:
            await self.session.send(ACCEPT)
            if phase is Phase.ENDING:
                self.feed(PEER_CLOSE_1001)
            elif phase is Phase.CLOSING:
                await self.session.send(END)
        self.assertIs(self.session.phase, phase)
        self.owner.written = b""
        self.owner.told.clear()

    async def assert_writes(self, expected: bytes, event: Event) -> None:
        self.owner.written = b""
        await self.session.send(event)
        self.assertEqual(self.owner.written, expected)

    async def assert_raises(self, error: Type[Exception], event: Any) -> None:
        self.owner.written = b""
        with self.assertRaises(error, msg=repr(event)) as caught:
            await self.session.send(event)
        self.assertIs(type(caught.exception), error)
        self.assertEqual(self.owner.written, b"")


class PhaseTests(SessionCase):
    """The module's table, row by row; an event that is in no row raises, and leaves the phase."""

    def test_no_two_phases_are_one(self) -> None:
        self.assertEqual(len(Phase), 6)

    #: phase, event, the next phase, and how what is written begins.
    ROWS: Tuple[Tuple[Phase, Event, Phase, bytes], ...] = (
        (Phase.CONNECTING, ACCEPT, Phase.OPEN, SWITCHING),
        (Phase.CONNECTING, END, Phase.OVER, FORBIDDEN),
        (Phase.CONNECTING, START, Phase.DENYING, b""),
        (Phase.DENYING, PART, Phase.DENYING, b"HTTP/1.1 404 Not Found\r\n"),
        (Phase.DENYING, BODY, Phase.OVER, b"HTTP/1.1 404 Not Found\r\n"),
        (Phase.OPEN, SEND, Phase.OPEN, HELLO),
        (Phase.OPEN, END, Phase.CLOSING, CLOSE),
        (Phase.ENDING, SEND, Phase.ENDING, HELLO),
        (Phase.ENDING, END, Phase.OVER, bytes.fromhex("88 02 03e9")),
        (Phase.CLOSING, END, Phase.CLOSING, b""),
        (Phase.OVER, END, Phase.OVER, b""),
    )

    async def test_each_row_leads_where_it_says_and_writes_what_it_says(self) -> None:
        for phase, event, following, written in self.ROWS:
            with self.subTest(phase=phase, event=event["type"]):
                await self.reach(phase)
                await self.session.send(event)
                self.assertIs(self.session.phase, following)
                self.assertTrue(self.owner.written.startswith(written), self.owner.written)
                self.assertEqual(bool(self.owner.written), bool(written))

    async def test_every_other_event_raises_and_changes_nothing(self) -> None:
        rows = [(phase, event) for phase, event, _, _ in self.ROWS]
        for phase in Phase:
            error = ClientDisconnected if phase in (Phase.CLOSING, Phase.OVER) else StateError
            for event in EVERY_EVENT:
                if (phase, event) not in rows:
                    with self.subTest(phase=phase, event=event):
                        await self.reach(phase)
                        await self.assert_raises(error, event)
                        self.assertIs(self.session.phase, phase)

    async def test_error_says_what_is_possible(self) -> None:
        with self.assertRaisesRegex(
            StateError,
            r"^websocket.send is not possible now; possible: websocket.accept, websocket.close, "
            r"websocket.http.response.start$",
        ):
            await self.session.send(SEND)

    async def test_what_is_no_event_is_an_error_in_every_phase(self) -> None:
        for phase in Phase:
            await self.reach(phase)
            for event in NO_EVENTS:
                await self.assert_raises(EventError, event)

    async def test_violation_of_the_peer_is_ending_too(self) -> None:
        await self.reach(Phase.OPEN)
        self.feed(VIOLATION)
        self.assertIs(self.session.phase, Phase.ENDING)

    async def test_peers_close_behind_ours_is_over(self) -> None:
        await self.reach(Phase.CLOSING)
        self.feed(PEER_CLOSE_1001)
        self.assertIs(self.session.phase, Phase.OVER)

    async def test_loss_is_over_in_every_phase(self) -> None:
        for phase in Phase:
            await self.reach(phase)
            self.session.end_stream()
            self.assertIs(self.session.phase, Phase.OVER)


class OwnerTests(SessionCase):
    """What the owner of a session is told, and when."""

    async def assert_told(self, phase: Phase, event: Event, *told: Any) -> None:
        await self.reach(phase)
        await self.session.send(event)
        self.assertEqual(self.owner.told, list(told))

    async def test_answers_to_the_request(self) -> None:
        await self.assert_told(Phase.CONNECTING, ACCEPT, "accepted")
        await self.assert_told(Phase.CONNECTING, END, 403)
        await self.assert_told(Phase.DENYING, PART)
        await self.assert_told(Phase.DENYING, BODY, 404)

    async def test_closing(self) -> None:
        await self.assert_told(Phase.OPEN, END, "closed")
        await self.assert_told(Phase.ENDING, END, "closed")
        await self.assert_told(Phase.CLOSING, END, "ignored")
        await self.assert_told(Phase.OVER, END, "ignored")

    async def test_answers_while_the_close_is_held(self) -> None:
        await self.reach(Phase.OPEN)
        self.feed(PEER_HELLO * 2 + PEER_CLOSE_1001)
        await self.session.send(SEND)
        await self.session.receive()
        await self.session.send(SEND)
        await self.session.send(SEND)
        told = [("answered", False), ("answered", True), ("answered", False)]
        self.assertEqual(self.owner.told, told)

    async def test_disconnect_that_is_taken(self) -> None:
        await self.reach(Phase.ENDING)
        await self.session.receive()
        self.assertEqual(self.owner.told, ["disconnected"])

    async def test_owner_that_was_forgotten_is_told_nothing(self) -> None:
        for phase in (Phase.OVER, Phase.CLOSING):
            await self.reach(phase)
            self.session.detach()
            await self.session.send(END)
            self.assertEqual(self.owner.told, [])
            await self.assert_raises(ClientDisconnected, SEND)

    async def test_send_waits_where_the_owner_has_no_room(self) -> None:
        await self.reach(Phase.OPEN)
        self.owner.room = asyncio.get_running_loop().create_future()
        sending = asyncio.ensure_future(self.session.send(SEND))
        await turn_loop()
        self.assertFalse(sending.done())
        self.owner.room.set_exception(ConnectionResetError())
        with self.assertRaisesRegex(ClientDisconnected, "the connection was lost"):
            await sending

    async def test_nobody_waits_for_room_behind_the_last_byte(self) -> None:
        for phase, event in (
            (Phase.OPEN, END),
            (Phase.CONNECTING, END),
            (Phase.DENYING, BODY),
            (Phase.CLOSING, END),
        ):
            await self.reach(phase)
            self.owner.room = asyncio.get_running_loop().create_future()
            await self.session.send(event)


class ContentTests(SessionCase):
    """What an event may hold, where it does something at all."""

    async def assert_accepts(self, subprotocol: Any, line: bytes) -> None:
        await self.reach(Phase.CONNECTING)
        self.assertFalse(self.session.is_accepted)
        await self.session.send({**ACCEPT, "subprotocol": subprotocol})
        self.assertEqual(self.owner.written, SWITCHING[:-2] + line + b"\r\n")
        self.assertTrue(self.session.is_accepted)

    async def test_response_is_no_accept(self) -> None:
        await self.reach(Phase.CONNECTING)
        for event in (START, PART, BODY):
            await self.session.send(event)
            self.assertFalse(self.session.is_accepted)

    async def test_subprotocol_that_was_offered_is_named(self) -> None:
        await self.assert_accepts("chat", b"Sec-WebSocket-Protocol: chat\r\n")
        self.assertEqual(self.ws.subprotocol, "chat")

    async def test_subprotocol_that_is_none_or_empty_is_none(self) -> None:
        for subprotocol in (None, ""):
            await self.assert_accepts(subprotocol, b"")

    async def test_subprotocol_that_was_not_offered_is_left_out(self) -> None:
        with self.assertLogs("wsbridge", "WARNING") as logs:
            await self.assert_accepts("soap", b"")
        self.assertEqual(len(logs.records), 1)
        self.assertIn("'soap', which the client did not offer (offered: chat)", logs.output[0])

    async def test_subprotocol_that_is_no_token_raises(self) -> None:
        await self.reach(Phase.CONNECTING)
        for subprotocol in (5, b"chat", "a b", "ch\u00e4t"):
            await self.assert_raises(EventError, {**ACCEPT, "subprotocol": subprotocol})

    async def test_message_is_text_or_bytes(self) -> None:
        await self.reach(Phase.OPEN)
        await self.assert_writes(b"\x82\x01!", {"type": "websocket.send", "bytes": b"!"})
        await self.assert_writes(b"\x81\x00", {"type": "websocket.send", "text": "", "bytes": None})
        await self.assert_raises(EventError, {"type": "websocket.send", "text": "a", "bytes": b"a"})

    async def test_reason_is_cut_at_a_character_and_a_code_that_cannot_be_sent_raises(self) -> None:
        await self.reach(Phase.OPEN)
        await self.assert_raises(EventError, {**END, "code": 1005})
        await self.assert_raises(EventError, {**END, "reason": ["no text"]})
        expected = bytes.fromhex("88 7d 0fa0") + "€".encode() * 41
        await self.assert_writes(expected, {**END, "code": 4000, "reason": "€" * 42})


INTERNAL_SERVER_ERROR = b"HTTP/1.1 500 Internal Server Error\r\n"


class EndApplicationTests(SessionCase):
    """What the peer gets where the application has returned, or failed, without a word."""

    async def assert_ends(self, phase: Phase, has_failed: bool, written: bytes) -> None:
        await self.reach(phase)
        self.session.end_application(has_failed)
        self.assertEqual(self.owner.written[: len(written)], written)
        self.assertEqual(bool(self.owner.written), bool(written))

    async def test_request_that_is_not_answered_is_500(self) -> None:
        for phase in (Phase.CONNECTING, Phase.DENYING):
            for has_failed, what in ((True, "raised"), (False, "returned")):
                with self.assertLogs("wsbridge", "DEBUG") as logs:
                    logging.getLogger("wsbridge").debug("the beginning")
                    await self.assert_ends(
                        phase, has_failed, b"HTTP/1.1 500 Internal Server Error\r\n" + DATE
                    )
                self.assertEqual(self.owner.told, [500])
                text = f"application {what} before it accepted or refused"
                self.assertIn(b"the " + text.encode(), self.owner.written)
                # What an application raises is logged by its server, with a traceback.
                self.assertEqual(logs.output[1:], [] if has_failed else [f"ERROR:wsbridge.error:{text}"])

    async def test_open_connection_is_1000_or_1011(self) -> None:
        await self.assert_ends(Phase.OPEN, False, CLOSE)
        await self.assert_ends(Phase.OPEN, True, bytes.fromhex("88 02 03f3"))

    async def test_peers_close_is_answered(self) -> None:
        for has_failed in (True, False):
            await self.assert_ends(Phase.ENDING, has_failed, bytes.fromhex("88 02 03e9"))

    async def test_nothing_is_added_to_the_end(self) -> None:
        for phase in (Phase.CLOSING, Phase.OVER):
            await self.assert_ends(phase, True, b"")
            self.assertEqual(self.owner.told, [])

    async def test_response_that_has_begun_to_leave_is_aborted(self) -> None:
        await self.reach(Phase.DENYING)
        await self.session.send(PART)
        self.assertTrue(self.session.is_response_on_wire)
        written = self.owner.written
        self.session.end_application(True)
        self.assertEqual((self.owner.written, self.owner.told), (written, ["abort", 404]))
        self.assertIs(self.session.phase, Phase.OVER)

    async def test_request_can_be_refused_in_the_place_of_the_application(self) -> None:
        await self.reach(Phase.CONNECTING)
        self.session.refuse(ServiceUnavailable("busy"))
        self.assertTrue(self.owner.written.startswith(b"HTTP/1.1 503 Service Unavailable\r\n"))
        self.assertEqual(self.owner.told, [503])
        self.assertFalse(self.session.is_response_on_wire)


class ReceiveTests(SessionCase):
    async def open(self) -> None:
        await self.reach(Phase.OPEN)

    async def test_connect_comes_first(self) -> None:
        self.assertEqual(await self.session.receive(), {"type": "websocket.connect"})
        self.assertEqual(self.owner.told, [])

    async def test_messages_come_in_order_and_the_disconnect_behind_them(self) -> None:
        await self.open()
        self.feed(PEER_HELLO + b"\x82\x81\0\0\0\0!" + PEER_CLOSE_1001)
        expected = [
            message("Hello"),
            {"type": "websocket.receive", "bytes": b"!"},
            {"type": "websocket.disconnect", "code": 1001, "reason": ""},
        ]
        self.assertEqual([await self.session.receive() for _ in expected], expected)

    def test_message_outside_a_session_is_the_same_event(self) -> None:
        self.assertEqual(build_message_event("Hello"), message("Hello"))
        self.assertEqual(build_message_event(b"!"), {"type": "websocket.receive", "bytes": b"!"})

    async def test_messages_stay_in_order_where_more_come_while_some_wait(self) -> None:
        await self.open()
        self.session.put(["a", "b", "c"])
        taken = [await self.session.receive()]
        self.session.put(["d"])
        taken += [await self.session.receive() for _ in "bcd"]
        self.assertEqual(taken, [message(text) for text in "abcd"])

    async def test_messages_behind_our_close_are_thrown_away(self) -> None:
        await self.reach(Phase.CLOSING)
        self.feed(PEER_HELLO)
        self.assertEqual(self.session.queue, [])

    async def test_nothing_comes_behind_the_disconnect(self) -> None:
        await self.reach(Phase.ENDING)
        await self.session.receive()
        for _ in range(2):
            with self.assertRaises(ClientDisconnected):
                await self.session.receive()

    async def test_receive_waits_until_it_is_woken(self) -> None:
        await self.open()
        receiving = asyncio.ensure_future(self.session.receive())
        await turn_loop()
        self.session.wake()
        await turn_loop()
        self.assertFalse(receiving.done())
        self.feed(PEER_HELLO)
        self.session.wake()
        self.session.wake()
        self.assertEqual(await receiving, message("Hello"))
        self.assertIsNone(self.session.waiter)

    async def test_owner_may_have_something_when_there_is_nothing(self) -> None:
        await self.open()
        self.owner.before_waiting = lambda: self.feed(PEER_HELLO)
        self.assertEqual(await self.session.receive(), message("Hello"))

    async def test_two_tasks_may_wait(self) -> None:
        await self.open()
        tasks = [asyncio.ensure_future(self.session.receive()) for _ in range(2)]
        await turn_loop()
        self.feed(PEER_HELLO)
        self.session.wake()
        await turn_loop()
        self.assertEqual([task.done() for task in tasks], [True, False])
        self.session.put([WebSocketDisconnected(1006, "")])
        self.session.wake()
        await turn_loop()
        self.assertEqual(tasks[1].result(), {"type": "websocket.disconnect", "code": 1006, "reason": ""})

    async def test_second_task_learns_that_the_first_has_taken_the_disconnect(self) -> None:
        await self.open()
        tasks = [asyncio.ensure_future(self.session.receive()) for _ in range(2)]
        await turn_loop()
        self.session.end_stream()
        self.session.wake()
        await turn_loop()
        self.assertIsInstance(tasks[1].exception(), ClientDisconnected)
        self.assertEqual(tasks[0].result()["code"], 1006)

    async def test_queue_holds_what_is_not_taken(self) -> None:
        self.feed(PEER_HELLO + b"\x82\x81\0\0\0\0!" + b"\x81\x80\0\0\0\0")
        queued = [list(self.session.queued_messages)]
        while self.session.queue:
            await self.session.receive()
            queued.append(self.session.queued_messages)
        self.assertEqual(queued, [["", b"!", "Hello"], ["", b"!", "Hello"], ["", b"!"], [""], []])


class OwesAnswerTests(SessionCase):
    async def assert_owes(self, owes: bool) -> None:
        self.assertIs(self.session.owes_answer, owes)

    async def asyncSetUp(self) -> None:
        await self.reach(Phase.OPEN)

    async def test_nothing_before_the_connect_is_taken(self) -> None:
        self.connect()
        await self.assert_owes(False)

    async def test_nothing_before_the_first_message(self) -> None:
        await self.assert_owes(False)
        await self.session.send(SEND)
        await self.assert_owes(False)

    async def test_a_message_that_waits_and_one_that_was_taken(self) -> None:
        for received in (PEER_HELLO, b"\x82\x81\0\0\0\0!"):
            self.feed(received)
            await self.assert_owes(True)
            self.assertFalse(self.session.last_is_unanswered)
            await self.session.receive()
            await self.assert_owes(True)
            self.assertTrue(self.session.last_is_unanswered)
            await self.session.send(SEND)
            self.assertFalse(self.session.last_is_unanswered)

    async def test_nothing_once_it_has_sent_or_asked_for_the_next(self) -> None:
        self.feed(PEER_HELLO)
        await self.session.receive()
        await self.session.send(SEND)
        await self.assert_owes(False)
        self.feed(PEER_HELLO)
        await self.session.receive()
        receiving = asyncio.ensure_future(self.session.receive())
        await turn_loop()
        await self.assert_owes(False)
        receiving.cancel()

    async def test_the_last_of_several_messages(self) -> None:
        self.feed(PEER_HELLO * 4)
        for _ in range(3):
            await self.session.receive()
        await self.session.send(SEND)
        await self.assert_owes(True)

    async def test_send_that_is_wrong_is_no_answer(self) -> None:
        self.feed(PEER_HELLO)
        await self.session.receive()
        await self.assert_raises(EventError, {"type": "websocket.send"})
        await self.assert_owes(True)

    async def test_the_end_alone_asks_for_none(self) -> None:
        self.feed(PEER_CLOSE_1001)
        await self.assert_owes(False)


@unittest.skipUnless(sys.implementation.name == "cpython", "this Python has no tracemalloc")
class MemoryTests(SessionCase):
    def start_measuring(self) -> None:
        assert_tracemalloc: Any = tracemalloc
        assert_tracemalloc.start()
        self.addCleanup(assert_tracemalloc.stop)
        self.measure: Callable[[], Tuple[int, int]] = assert_tracemalloc.get_traced_memory

    async def test_message_that_was_taken_is_not_kept(self) -> None:
        await self.reach(Phase.OPEN)
        self.start_measuring()
        self.session.put([bytes(MIB), bytes(MIB), "next"])
        await self.session.receive()
        await self.session.receive()
        self.assertLess(self.measure()[0], 64 * 1024)

    async def test_list_does_not_grow_where_there_is_always_a_message_left(self) -> None:
        await self.reach(Phase.OPEN)
        self.session.put(["a"])
        self.start_measuring()
        for _ in range(10_000):
            self.session.put(["a"])
            await self.session.receive()
        self.assertLess(self.measure()[0], 16 * 1024)


if __name__ == "__main__":
    unittest.main()
