"""The demo driven as any ASGI server would drive it: with `receive` and `send`, and no network."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
import zipfile
from collections import deque
from typing import Any, Callable, Dict, List, Optional
from unittest import mock

import wsbridge.demo
from wsbridge.demo import app as demo

from .skipping import SkippingCase, pass_time

TEXT, BINARY, PING, PONG = 1, 2, 9, 10

# One browser's opening handshake, with what must not be shown again.
HEADERS = [
    (b"host", b"127.0.0.1:8000"),
    (b"origin", b"http://127.0.0.1:8000"),
    (b"cookie", b"secret=1"),
    (b"authorization", b"Basic c2VjcmV0"),
    (b"sec-websocket-protocol", b"wsbridge-demo"),
]


class Connection:
    """What wsbridge offers in ``scope["wsbridge.connection"]``."""

    def __init__(self) -> None:
        self.latency: Optional[float] = None
        self.trace: Any = None
        self.extensions_response = "permessage-deflate"
        self.bytes_before_compression = self.bytes_after_compression = 0
        self.bytes_inflated = self.bytes_deflated = 0
        self.pings = 0

    def ping(self) -> None:
        self.pings += 1


class Client:
    """The server's side of one ASGI connection, and the page behind it."""

    def __init__(self, state: Optional[Dict[str, Any]], **scope: Any) -> None:
        self.scope = {
            "type": "websocket",
            "http_version": "1.1",
            "path": "/ws",
            "root_path": "",
            "headers": HEADERS,
            "client": ("127.0.0.1", 50000),
            "subprotocols": ["wsbridge-demo"],
            **scope,
        }
        if state is not None:
            self.scope["state"] = dict(state)
        self.received: asyncio.Queue[Dict[str, Any]] = asyncio.Queue()
        self.sent: asyncio.Queue[Dict[str, Any]] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self.is_gone = False
        self.writes = 0
        self.on_send: Callable[[Dict[str, Any]], None] = lambda event: None
        self.put({"type": "websocket.connect"})
        self.task = asyncio.ensure_future(demo.app(self.scope, self.received.get, self.send))

    async def send(self, event: Dict[str, Any]) -> None:
        if self.is_gone:
            raise OSError("gone")
        self.on_send(event)
        self.writes += 1
        try:
            await self.reads.wait()
            self.sent.put_nowait(event)
        except asyncio.CancelledError:
            await pass_turns(3)  # as a server may need some to end a write
            raise
        finally:
            self.writes -= 1

    def put(self, event: Dict[str, Any]) -> None:
        self.received.put_nowait(event)

    def say(self, **message: Any) -> None:
        self.put({"type": "websocket.receive", "bytes": None, "text": json.dumps(message)})

    async def next(self, kind: str) -> Dict[str, Any]:
        """The next message of that type; others before it are skipped."""
        while True:
            event = await asyncio.wait_for(self.sent.get(), 10)
            if event["type"] == "websocket.send" and event.get("text"):
                message: Dict[str, Any] = json.loads(event["text"])
                if message["type"] == kind:
                    return message

    def take_all(self) -> List[Dict[str, Any]]:
        """Every message sent by now, of all types."""
        events = [self.sent.get_nowait() for _ in range(self.sent.qsize())]
        return [json.loads(event["text"]) for event in events if event.get("text")]

    async def leave(self) -> None:
        self.put({"type": "websocket.disconnect", "code": 1001, "reason": ""})
        await asyncio.wait_for(self.task, 10)


async def pass_turns(count: int = 100) -> None:
    """Let every task that can run have many turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


class DemoTestCase(SkippingCase):
    def setUp(self) -> None:
        self.state: Dict[str, Any] = {"room": demo.Room()}
        self.clients: List[Client] = []

    async def asyncTearDown(self) -> None:
        for client in self.clients:
            client.task.cancel()
            await asyncio.wait([client.task], timeout=10)
        self.assertEqual(asyncio.all_tasks(), {asyncio.current_task()})

    async def open(self, **scope: Any) -> Client:
        """A client the application has accepted; ``welcome`` is still to be read."""
        client = Client(scope.pop("state", self.state), **scope)
        self.clients.append(client)
        self.accepted = await asyncio.wait_for(client.sent.get(), 10)
        return client

    async def open_traced(self, connection: Connection) -> Client:
        client = await self.open(**{"wsbridge.connection": connection})
        await client.next("people")
        return client

    async def assert_refused(self, answer: str, /, **message: Any) -> None:
        client = await self.open()
        client.say(**message)
        self.assertEqual((await client.next("error"))["text"], answer)

    async def assert_raw_refused(self, answer: str, raw: str) -> None:
        client = await self.open()
        client.put({"type": "websocket.receive", "text": raw})
        self.assertEqual((await client.next("error"))["text"], answer)

    async def assert_echoed(self, event: Dict[str, Any]) -> None:
        client = await self.open()
        await client.next("people")
        client.put({"type": "websocket.receive", **event})
        self.assertEqual(await asyncio.wait_for(client.sent.get(), 10), {"type": "websocket.send", **event})


class LifespanTests(DemoTestCase):
    async def run_lifespan(self, scope: Dict[str, Any]) -> List[Dict[str, Any]]:
        sent: List[Dict[str, Any]] = []
        events = iter(({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}))

        async def receive() -> Dict[str, Any]:
            return next(events)

        async def send(event: Dict[str, Any]) -> None:
            sent.append(event)

        await demo.app({"type": "lifespan", **scope}, receive, send)
        return sent

    async def test_startup_makes_a_room_in_the_state(self) -> None:
        state: Dict[str, Any] = {}
        sent = await self.run_lifespan({"state": state})
        self.assertIsInstance(state["room"], demo.Room)
        self.assertEqual(
            sent, [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]
        )

    async def test_startup_without_state_completes(self) -> None:
        self.assertEqual(len(await self.run_lifespan({})), 2)

    async def test_websockets_without_a_lifespan_share_the_lobby(self) -> None:
        first, second = await self.open(state=None), await self.open(state={})
        await pass_turns()
        self.assertEqual(len(first.take_all()[-1]["names"]), 2)
        await first.leave()
        await second.leave()
        self.assertEqual(demo.LOBBY.members, {})

    async def test_unknown_scope_type_raises(self) -> None:
        with self.assertRaises(KeyError):
            await demo.app({"type": "dreams"}, mock.Mock(), mock.Mock())


class HTTPTests(DemoTestCase):
    async def get(self, path: str, method: str = "GET", root_path: str = "") -> None:
        scope = {"type": "http", "path": path, "method": method, "root_path": root_path}
        sent: List[Dict[str, Any]] = []

        async def send(event: Dict[str, Any]) -> None:
            sent.append(event)

        await demo.app(scope, mock.Mock(), send)
        start, body = sent
        self.status, self.headers, self.body = start["status"], dict(start["headers"]), body["body"]
        self.assertEqual((start["type"], body["type"]), ("http.response.start", "http.response.body"))

    async def test_root_is_the_page(self) -> None:
        await self.get("/")
        self.assertEqual(self.status, 200)
        self.assertEqual(self.headers[b"content-type"], b"text/html; charset=utf-8")
        self.assertEqual(self.headers[b"content-length"], str(len(self.body)).encode())
        self.assertEqual(self.headers[b"cache-control"], b"no-store")
        self.assertTrue(self.body.startswith(b"<!doctype html>"))

    async def test_policy_allows_nothing_but_the_pages_own_style_and_script(self) -> None:
        await self.get("/")
        policy = self.headers[b"content-security-policy"]
        nonces = re.findall(rb"nonce-([\w-]{22})'", policy)
        self.assertIn(b"default-src 'none';", policy)
        self.assertEqual(len(set(nonces)), 1)
        self.assertEqual(self.body.count(b'nonce="' + nonces[0] + b'"'), 2)
        self.assertNotIn(b"{nonce}", self.body)

    async def test_nonce_is_new_each_time(self) -> None:
        await self.get("/")
        first = self.headers[b"content-security-policy"]
        await self.get("/")
        self.assertNotEqual(self.headers[b"content-security-policy"], first)

    async def test_head_has_the_length_and_no_body(self) -> None:
        await self.get("/", "HEAD")
        self.assertEqual((self.status, self.body), (200, b""))
        self.assertGreater(int(self.headers[b"content-length"]), 1000)

    async def test_other_paths_are_not_found(self) -> None:
        await self.get("/page.html")
        self.assertEqual((self.status, self.body), (404, b"Not found.\n"))
        self.assertEqual(self.headers[b"content-type"], b"text/plain; charset=utf-8")

    async def test_root_is_where_the_application_is_mounted(self) -> None:
        await self.get("/demo/", root_path="/demo")
        self.assertEqual(self.status, 200)


class PageTests(unittest.TestCase):
    page = demo.PAGE.decode()

    def test_page_loads_nothing_from_elsewhere(self) -> None:
        self.assertEqual(re.findall(r"\w+://[\w.]+", self.page), ["http://www.w3.org"])  # a namespace
        self.assertEqual(re.findall(r"(?:src|href)=\"(?!data:)", self.page), [])

    def test_page_never_writes_markup(self) -> None:
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            self.assertNotIn(word, self.page)

    def test_page_has_no_inline_style_or_handler_that_the_policy_forbids(self) -> None:
        self.assertEqual(re.findall(r"<[^>]+\s(?:style|on\w+)=", self.page), [])

    def test_every_id_the_script_uses_exists_once(self) -> None:
        ids = re.findall(r'\bid="([\w-]+)"', self.page)
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(set(re.findall(r'\$\("([\w-]+)"\)', self.page)) - set(ids), set())

    def test_every_input_has_a_label(self) -> None:
        for name in re.findall(r'<input id="([\w-]+)"(?! type="checkbox")', self.page):
            self.assertIn(f'<label for="{name}">', self.page)


class VendoredTests(unittest.TestCase):
    def test_demo_reads_its_page_in_a_zip_under_another_name_without_site_and_docstrings(self) -> None:
        folder = os.path.dirname(str(wsbridge.demo.__file__))
        with tempfile.TemporaryDirectory() as scratch:
            archive = os.path.join(scratch, "vendor.zip")
            with zipfile.ZipFile(archive, "w") as packed:
                packed.writestr("other/__init__.py", "")
                for name in ("__init__.py", "app.py", "page.html"):
                    packed.write(os.path.join(folder, name), f"other/demo/{name}")
            code = f"import sys; sys.path.insert(0, {archive!r}); import other.demo.app as demo"
            code += "; print(len(demo.PAGE))"
            command = [sys.executable, "-I", "-S", "-OO", "-c", code]
            output = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout
        self.assertEqual(int(output), len(demo.PAGE))


class HandshakeTests(DemoTestCase):
    async def test_accept_takes_our_subprotocol(self) -> None:
        await self.open(subprotocols=["other", "wsbridge-demo"])
        self.assertEqual(self.accepted, {"type": "websocket.accept", "subprotocol": "wsbridge-demo"})

    async def test_accept_takes_no_other_subprotocol(self) -> None:
        await self.open(subprotocols=["other"])
        self.assertEqual(self.accepted, {"type": "websocket.accept", "subprotocol": None})

    async def test_welcome_tells_the_handshake_without_secrets(self) -> None:
        client = await self.open()
        facts = (await client.next("welcome"))["handshake"]
        self.assertEqual([name for name, _ in facts["headers"]], ["host", "origin", "sec-websocket-protocol"])
        self.assertEqual((facts["path"], facts["http_version"]), ("/ws", "1.1"))
        self.assertEqual((facts["subprotocol"], facts["client"]), ("wsbridge-demo", ["127.0.0.1", 50000]))

    async def test_welcome_on_another_server_promises_no_reports(self) -> None:
        client = await self.open(extensions=None)
        facts = (await client.next("welcome"))["handshake"]
        self.assertEqual((facts["reports"], facts["extensions"]), (False, None))

    async def test_welcome_on_wsbridge_tells_the_extensions(self) -> None:
        client = await self.open(**{"wsbridge.connection": Connection()})
        facts = (await client.next("welcome"))["handshake"]
        self.assertEqual((facts["reports"], facts["extensions"]), (True, "permessage-deflate"))

    async def test_websocket_is_found_where_the_application_is_mounted(self) -> None:
        await self.open(path="/demo/ws", root_path="/demo")
        self.assertEqual(self.accepted["type"], "websocket.accept")

    async def test_other_path_is_refused_with_404(self) -> None:
        client = await self.open(path="/other", extensions={"websocket.http.response": {}})
        await client.task
        self.assertEqual(self.accepted["type"], "websocket.http.response.start")
        self.assertEqual(self.accepted["status"], 404)
        self.assertEqual(client.sent.get_nowait()["body"], b"The WebSocket is at /ws.\n")

    async def test_other_path_without_the_extension_is_closed(self) -> None:
        client = await self.open(path="/other")
        await client.task
        self.assertEqual(self.accepted, {"type": "websocket.close"})


class RoomTests(DemoTestCase):
    async def test_two_members_share_what_is_said(self) -> None:
        first, second = await self.open(), await self.open()
        first.say(type="chat", text=" <b>hello</b> ")
        for client in (first, second):
            line = await client.next("chat")
            self.assertEqual((line["name"], line["text"]), ("guest-1", "<b>hello</b>"))

    async def test_members_are_told_who_comes_and_goes(self) -> None:
        first, second = await self.open(), await self.open()
        await second.leave()
        await pass_turns()
        news = [message["news"] for message in first.take_all() if message["type"] == "people"]
        self.assertEqual(news, ["guest-1 came in", "guest-2 came in", "guest-2 left"])

    async def test_newcomer_gets_the_last_fifty_lines(self) -> None:
        first = await self.open()
        for number in range(60):
            first.say(type="chat", text=f"line {number}")
        await pass_turns(1000)
        lines = (await (await self.open()).next("welcome"))["lines"]
        self.assertEqual([line["text"] for line in lines], [f"line {number}" for number in range(10, 60)])

    async def test_new_name_is_told_to_all_and_confirmed_to_one(self) -> None:
        first, second = await self.open(), await self.open()
        first.say(type="name", name="Ada")
        self.assertEqual(await first.next("name"), {"type": "name", "name": "Ada"})
        await second.next("people")
        people = await second.next("people")
        self.assertEqual(people["news"], "guest-1 is now Ada")
        self.assertEqual(sorted(people["names"]), ["Ada", "guest-2"])

    async def test_own_name_can_change_its_case(self) -> None:
        client = await self.open()
        client.say(type="name", name="GUEST-1")
        self.assertEqual((await client.next("name"))["name"], "GUEST-1")
        await client.leave()
        self.assertEqual(self.state["room"].members, {})

    async def test_name_that_is_taken_is_refused_whatever_its_case(self) -> None:
        await self.open()
        await self.assert_refused("name: GUEST-1 is taken", type="name", name="GUEST-1")

    async def test_guest_number_that_somebody_took_is_passed_over(self) -> None:
        client = await self.open()
        client.say(type="name", name="guest-2")
        await client.next("name")
        self.assertEqual((await (await self.open()).next("welcome"))["name"], "guest-3")


class SlowReaderTests(DemoTestCase):
    async def test_slow_reader_holds_up_nobody_and_loses_the_oldest(self) -> None:
        fast, slow = await self.open(), await self.open()
        await slow.next("people")
        slow.reads.clear()
        for number in range(150):
            fast.say(type="chat", text=str(number))
        await pass_turns(1000)
        lines = [message["text"] for message in fast.take_all() if message["type"] == "chat"]
        self.assertEqual(lines, [str(number) for number in range(150)])
        slow.reads.set()
        await pass_turns(1000)
        heard = [int(message["text"]) for message in slow.take_all()]
        self.assertEqual(heard, [0, *range(50, 150)])  # 0 was already on its way

    async def test_flood_waits_for_its_own_reader(self) -> None:
        client = await self.open()
        await client.next("people")
        client.reads.clear()
        for _ in range(3):
            client.say(type="ping")
        await pass_turns()
        self.assertEqual(client.received.qsize(), 2)

    async def test_echo_waits_for_its_own_reader(self) -> None:
        client = await self.open()
        await client.next("people")
        client.reads.clear()
        for _ in range(3):
            client.put({"type": "websocket.receive", "bytes": b"x" * 1000})
        await pass_turns()
        self.assertEqual(client.received.qsize(), 2)


class EchoTests(DemoTestCase):
    async def test_binary_is_echoed(self) -> None:
        await self.assert_echoed({"bytes": b"\x00\xff", "text": None})

    async def test_empty_text_is_echoed(self) -> None:
        await self.assert_echoed({"bytes": None, "text": ""})

    async def test_empty_binary_is_echoed(self) -> None:
        await self.assert_echoed({"bytes": b""})


class RefusalTests(DemoTestCase):
    async def test_text_that_is_not_json(self) -> None:
        await self.assert_raw_refused("not JSON", "hello")

    async def test_json_nested_too_deep(self) -> None:
        await self.assert_raw_refused("not JSON", "[" * 16_000)

    async def test_json_too_long(self) -> None:
        await self.assert_raw_refused("over 16000 characters", "[" * 16_001)

    async def test_json_that_is_not_an_object(self) -> None:
        await self.assert_raw_refused("not a JSON object", "[]")

    async def test_unknown_type(self) -> None:
        await self.assert_refused("type: chat, name, ping or close", type=["chat"])

    async def test_missing_type(self) -> None:
        await self.assert_refused("type: chat, name, ping or close")

    async def test_chat_without_text(self) -> None:
        await self.assert_refused("text: text, please", type="chat", text=5)

    async def test_chat_of_white_space(self) -> None:
        await self.assert_refused("text: 1 to 2000 bytes of UTF-8, not 0", type="chat", text=" \n ")

    async def test_chat_too_long_in_bytes(self) -> None:
        await self.assert_refused(
            "text: 1 to 2000 bytes of UTF-8, not 2002", type="chat", text="\u00e9" * 1001
        )

    async def test_name_too_long(self) -> None:
        await self.assert_refused("name: 1 to 24 bytes of UTF-8, not 25", type="name", name="n" * 25)

    async def test_name_that_turns_the_writing_around(self) -> None:
        await self.assert_refused("name: only characters that show", type="name", name="a\u202eb")

    async def test_close_codes_that_cannot_be_sent(self) -> None:
        for code in (999, 1004, 1005, 1006, 1015, 2999, 5000, True, 1000.0, "1000", None):
            answer = "code: 1000 to 1003, 1007 to 1014 or 3000 to 4999"
            await self.assert_refused(answer, type="close", code=code, reason="")

    async def test_close_reason_too_long(self) -> None:
        await self.assert_refused(
            "reason: 0 to 123 bytes of UTF-8, not 124", type="close", code=1000, reason="r" * 124
        )

    async def test_member_stays_after_a_refusal(self) -> None:
        client = await self.open()
        client.put({"type": "websocket.receive", "text": "{"})
        client.say(type="chat", text="still here")
        self.assertEqual((await client.next("chat"))["text"], "still here")

    async def test_half_a_surrogate_pair_becomes_a_question_mark(self) -> None:
        client = await self.open()
        client.put({"type": "websocket.receive", "text": '{"type": "chat", "text": "\\ud800!"}'})
        self.assertEqual((await client.next("chat"))["text"], "?!")


class EndTests(DemoTestCase):
    async def test_server_closes_with_the_code_and_reason_asked_for(self) -> None:
        client = await self.open()
        await client.next("people")
        client.say(type="close", code=4001, reason="enough")
        await asyncio.wait_for(client.task, 10)
        closes = [client.sent.get_nowait() for _ in range(client.sent.qsize())]
        self.assertEqual(closes, [{"type": "websocket.close", "code": 4001, "reason": "enough"}])

    async def test_nothing_is_heard_after_the_close(self) -> None:
        client = await self.open()
        client.say(type="close", code=1000, reason="")
        client.say(type="chat", text="too late")
        await asyncio.wait_for(client.task, 10)
        self.assertEqual(self.state["room"].lines, deque())

    async def test_disconnect_leaves_no_member_no_task_and_no_trace(self) -> None:
        connection = Connection()
        client = await self.open_traced(connection)
        await client.leave()
        self.assertEqual((self.state["room"].members, connection.trace), ({}, None))
        self.assertEqual(asyncio.all_tasks(), {asyncio.current_task()})

    async def test_cancellation_leaves_no_member_no_task_and_no_trace(self) -> None:
        connection = Connection()
        client = await self.open_traced(connection)
        client.task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await client.task
        self.assertEqual((self.state["room"].members, connection.trace), ({}, None))
        self.assertEqual(asyncio.all_tasks(), {asyncio.current_task()})

    async def test_application_ends_after_its_tasks(self) -> None:
        client, other = await self.open(), await self.open()
        await pass_turns()
        client.reads.clear()
        other.say(type="chat", text="anyone?")
        await pass_turns()
        self.assertEqual(client.writes, 1)
        await client.leave()
        self.assertEqual(client.writes, 0)

    async def test_error_of_send_is_the_applications(self) -> None:
        client, other = await self.open(), await self.open()
        await other.next("people")
        client.is_gone = True
        other.say(type="chat", text="anyone?")
        with self.assertRaisesRegex(OSError, "gone"):
            await asyncio.wait_for(client.task, 10)
        self.assertEqual(list(self.state["room"].members), ["guest-2"])


class ReportTests(DemoTestCase):
    async def test_ping_is_answered_without_a_connection(self) -> None:
        client = await self.open()
        client.say(type="ping")
        self.assertEqual(await client.next("pong"), {"type": "pong"})

    async def test_ping_is_sent_when_asked_for(self) -> None:
        connection = Connection()
        client = await self.open(**{"wsbridge.connection": connection})
        await client.next("people")
        before = connection.pings
        client.say(type="ping")
        await client.next("pong")
        self.assertEqual(connection.pings, before + 1)

    async def test_ping_is_sent_every_eight_reports(self) -> None:
        connection = Connection()
        await self.open_traced(connection)
        before = connection.pings
        await pass_time(20)
        self.assertEqual(connection.pings - before, 10)

    async def test_report_tells_frames_latency_and_compression(self) -> None:
        connection = Connection()
        client = await self.open_traced(connection)
        connection.latency = 0.25
        connection.bytes_before_compression, connection.bytes_after_compression = 1000, 100
        connection.bytes_inflated, connection.bytes_deflated = 500, 50
        connection.trace("in", TEXT, True, True, 50)
        connection.trace("out", PING, True, False, 4)
        report = await client.next("report")
        self.assertEqual(
            [frame[1:] for frame in report["frames"]],
            [["in", TEXT, True, True, 50], ["out", PING, True, False, 4]],
        )
        self.assertEqual((report["frames_seen"], report["latency"]), (2, 0.25))
        self.assertEqual((report["sent"], report["received"]), ([1000, 100], [500, 50]))

    async def test_nothing_is_reported_without_news(self) -> None:
        client = await self.open_traced(Connection())
        await pass_time(20)
        self.assertEqual(client.take_all(), [])

    async def test_frame_is_reported_once(self) -> None:
        connection = Connection()
        client = await self.open_traced(connection)
        connection.trace("in", BINARY, True, False, 0)
        await client.next("report")
        await pass_time(20)
        self.assertEqual(client.take_all(), [])

    async def test_flood_of_frames_keeps_the_newest_and_counts_all(self) -> None:
        connection = Connection()
        client = await self.open_traced(connection)
        for length in range(300):
            connection.trace("in", BINARY, True, False, length)
        report = await client.next("report")
        self.assertEqual([frame[5] for frame in report["frames"]], list(range(50, 300)))
        self.assertEqual(report["frames_seen"], 300)


class Tracing(Connection):
    """A connection that traces what the application sends, as wsbridge does: inside `send`."""

    def __init__(self, compressed: bool) -> None:
        super().__init__()
        self.compressed = compressed

    def ping(self) -> None:
        self.trace("out", PING, True, False, 4)
        self.trace("in", PONG, True, False, 4)

    def note(self, event: Dict[str, Any]) -> None:
        if event["type"] == "websocket.send":
            size = length = len(event["text"])
            if self.compressed:
                length = size // 2
                self.bytes_before_compression += size
                self.bytes_after_compression += length
            self.trace("out", TEXT, True, self.compressed, length)


class ReportOfReportsTests(DemoTestCase):
    async def open_tracing(self, compressed: bool) -> Client:
        connection = Tracing(compressed)
        client = Client(self.state, **{"wsbridge.connection": connection})
        client.on_send = connection.note
        self.clients.append(client)
        return client

    async def test_report_is_not_reported_but_its_pings_are(self) -> None:
        client = await self.open_tracing(compressed=False)
        for opcodes in ([TEXT, TEXT], [PING, PONG]):  # welcome and people; then the first ping
            report = await client.next("report")
            self.assertEqual([frame[2] for frame in report["frames"]], opcodes)
        await pass_time(1)  # less than until the next ping
        self.assertEqual(client.take_all(), [])

    async def test_compression_is_reported_without_the_reports(self) -> None:
        client = await self.open_tracing(compressed=True)
        await client.next("report")
        before = (await client.next("report"))["sent"]
        client.say()  # the answer is {"type":"error","text":"type: chat, name, ping or close"}
        after = (await client.next("report"))["sent"]
        self.assertEqual([after[0] - before[0], after[1] - before[1]], [57, 28])


if __name__ == "__main__":
    unittest.main()
