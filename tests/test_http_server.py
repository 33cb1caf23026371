"""Requests with bodies, and many on one connection, on real sockets: asyncio's transports, ours, and TLS."""

from __future__ import annotations

import asyncio
import unittest
import zlib
from typing import Any, Awaitable, Callable, Dict, List, Optional

from wsbridge.config import ServerConfig
from wsbridge.server.server import Server
from wsbridge.server.speed import SPEED

from .loopback import CERTIFICATE, TIMEOUT, Client, write_certificate

try:
    import ssl
except ImportError:
    ssl = None  # type: ignore[assignment]

MIB = 1024 * 1024
# All bytes, in no period that a buffer has.
DATA = bytes(range(251)) * (4 * MIB // 251)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"


def build_post(body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def build_chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def build_answer(body: bytes, *, closes: bool = False) -> bytes:
    """The application's answer to a request with this body."""
    text = b"%d bytes, CRC %08x" % (len(body), zlib.crc32(body))
    connection = b"Connection: close\r\n" if closes else b""
    return b"HTTP/1.1 200 OK\r\nDate: today\r\n%bContent-Length: %d\r\n\r\n%b" % (connection, len(text), text)


class Application:
    """Answers with size and checksum of the request's body."""

    def __init__(self) -> None:
        #: The sizes of the parts of all bodies.
        self.sizes: List[int] = []
        self.events: List[str] = []
        self.called = asyncio.Event()
        self.disconnected = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.called.set()
        size = checksum = 0
        more_body = True
        while more_body:
            event = await receive()
            if event["type"] == "http.disconnect":
                self.disconnected.set()
                return
            # Slower than the client.
            await asyncio.sleep(0)
            self.sizes.append(len(event["body"]))
            size += len(event["body"])
            checksum = zlib.crc32(event["body"], checksum)
            more_body = event["more_body"]
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Date", b"today")]})
        await send({"type": "http.response.body", "body": b"%d bytes, CRC %08x" % (size, checksum)})


Scenario = Callable[[Client], Awaitable[None]]


class ScenarioCase(unittest.TestCase):
    """Runs each scenario in an event loop of asyncio's, and in one of `Fast`."""

    options: Dict[str, Any]
    client_options: Dict[str, Any]

    def setUp(self) -> None:
        self.options, self.client_options = {}, {}

    def run_scenario(self, scenario: Scenario) -> None:
        for new_event_loop in (asyncio.new_event_loop, SPEED.new_event_loop):
            loop = new_event_loop()
            try:
                with self.subTest(loop=type(loop).__name__):
                    loop.run_until_complete(asyncio.wait_for(self.serve(scenario), TIMEOUT))
            finally:
                loop.close()

    async def serve(self, scenario: Scenario) -> None:
        self.app = Application()
        self.server = Server(
            self.app, ServerConfig(port=0, lifespan="off", log_level="error"), **self.options
        )
        self.stopping: Optional[asyncio.Task[None]] = None
        async with self.server:
            address = self.server.sockets[0].getsockname()
            client = Client(*await asyncio.open_connection(*address[:2], **self.client_options))
            try:
                await scenario(client)
            finally:
                await client.close()
                if self.stopping is not None:
                    await self.stopping

    async def assert_answers(self, client: Client, *answers: bytes) -> None:
        expected = b"".join(answers)
        self.assertEqual(await client.read(len(expected)), expected)

    async def assert_end(self, client: Client) -> None:
        self.assertEqual(await client.read_to_end(), b"")


class UploadTests(ScenarioCase):
    async def upload(self, client: Client) -> None:
        client.send(build_post(DATA), build_chunked(DATA, 100_000), build_chunked(DATA[:10_000], 1), GET)
        await self.assert_answers(
            client, build_answer(DATA), build_answer(DATA), build_answer(DATA[:10_000]), build_answer(b"")
        )
        # 64 KiB that wait, and two reads, which are larger under TLS.
        self.assertLess(max(self.app.sizes), MIB)

    def test_large_bodies_arrive_whole_and_in_bounded_parts(self) -> None:
        self.run_scenario(self.upload)

    def test_client_that_waits_for_100_continue(self) -> None:
        async def scenario(client: Client) -> None:
            client.send(HEAD + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            await self.assert_answers(client, b"HTTP/1.1 100 Continue\r\n\r\n")
            client.send(b"hello", GET)
            await self.assert_answers(client, build_answer(b"hello"), build_answer(b""))

        self.run_scenario(scenario)

    def test_client_that_is_lost_during_its_upload(self) -> None:
        async def scenario(client: Client) -> None:
            client.send(build_post(DATA)[:1000])
            await self.app.called.wait()
            client.reset()
            await self.app.disconnected.wait()

        self.run_scenario(scenario)


class PipelineTests(ScenarioCase):
    def test_half_closed_client_gets_all_its_answers(self) -> None:
        async def scenario(client: Client) -> None:
            client.send(GET, build_post(b"hello"), GET)
            client.half_close()
            await self.assert_answers(client, build_answer(b""), build_answer(b"hello"))
            await self.assert_answers(client, build_answer(b"", closes=True))
            await self.assert_end(client)

        self.run_scenario(scenario)

    def test_half_closed_client_of_more_requests_than_are_held(self) -> None:
        async def scenario(client: Client) -> None:
            post = build_post(DATA[:10_000])
            client.send(post * 50)
            client.half_close()
            answer = build_answer(DATA[:10_000])
            await self.assert_answers(client, answer * 49, build_answer(DATA[:10_000], closes=True))
            await self.assert_end(client)

        self.run_scenario(scenario)

    def test_half_closed_client_whose_end_comes_between_two_requests(self) -> None:
        async def scenario(client: Client) -> None:
            self.app.may_answer.clear()
            client.send(GET, GET)
            await self.app.called.wait()
            client.half_close()
            self.app.may_answer.set()
            answers = await client.read_to_end()
            self.assertEqual(answers.count(b"HTTP/1.1 200 OK"), 2)

        self.run_scenario(scenario)

    def test_many_requests_at_once(self) -> None:
        async def scenario(client: Client) -> None:
            client.send(GET * 999, LAST, GET)
            await self.assert_answers(client, build_answer(b"") * 999, build_answer(b"", closes=True))
            await self.assert_end(client)

        self.run_scenario(scenario)

    def test_malformed_body_is_400(self) -> None:
        async def scenario(client: Client) -> None:
            client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello")
            await self.app.called.wait()
            client.send(b"\n", GET)
            self.assertRegex(await client.read_to_end(), b"(?s)^HTTP/1.1 400 .*\r\nConnection: close\r\n")
            await self.app.disconnected.wait()

        self.run_scenario(scenario)


class StopTests(ScenarioCase):
    async def stop(self) -> None:
        self.stopping = asyncio.ensure_future(self.server.stop())
        await asyncio.sleep(0)

    def test_idle_connection_is_closed(self) -> None:
        async def scenario(client: Client) -> None:
            client.send(GET)
            await self.assert_answers(client, build_answer(b""))
            await self.stop()
            await self.assert_end(client)

        self.run_scenario(scenario)

    def test_response_that_runs_is_finished_and_closes(self) -> None:
        async def scenario(client: Client) -> None:
            self.app.may_answer.clear()
            client.send(build_post(b"hello"), GET)
            await self.app.called.wait()
            await self.stop()
            self.app.may_answer.set()
            await self.assert_answers(client, build_answer(b"hello", closes=True))
            await self.assert_end(client)

        self.run_scenario(scenario)

    def test_upload_that_runs_is_received_to_its_end(self) -> None:
        async def scenario(client: Client) -> None:
            request = build_post(DATA)
            client.send(request[:1000])
            await self.app.called.wait()
            await self.stop()
            client.send(request[1000:])
            await self.assert_answers(client, build_answer(DATA, closes=True))
            await self.assert_end(client)

        self.run_scenario(scenario)


@unittest.skipIf(ssl is None, "this Python was built without ssl")
class TLSTests(UploadTests):
    """The same under TLS, where nothing can be half closed."""

    def setUp(self) -> None:
        super().setUp()
        self.options = {"ssl_certfile": write_certificate(self)}
        self.client_options = {"ssl": ssl.create_default_context(cadata=CERTIFICATE)}

    def test_last_request_closes(self) -> None:
        async def scenario(client: Client) -> None:
            client.send(GET, LAST)
            await self.assert_answers(client, build_answer(b""), build_answer(b"", closes=True))
            await self.assert_end(client)

        self.run_scenario(scenario)


if __name__ == "__main__":
    unittest.main()
