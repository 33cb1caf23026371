"""What is checked by a client made of h2: each function opens its own connections to a port."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
from typing import Any, Awaitable, Callable, List

from h2.errors import ErrorCodes

from conformance.lib.http2_client import Http2, Reset, Stream

Check = Callable[[int], Awaitable[None]]

MEBIBYTE = 1024 * 1024

# Seconds in which an application that goes on would have sent more.
STALL_SECONDS = 0.3

_keys = (f"{os.getpid()}-{number}" for number in itertools.count())


async def get_figures(port: int) -> Any:
    """Tasks and descriptors of the host."""
    async with Http2(port) as client:
        return json.loads(str(await (await client.connect("/figures")).receive()))


async def wait_for_stall(client: Http2, key: str) -> int:
    """How far the application is when it goes no further."""
    progress = -1
    while progress != (progress := await client.ask(f"/progress?key={key}")):
        await asyncio.sleep(STALL_SECONDS)
    return progress


async def send_until_blocked(stream: Stream, data: bytes) -> asyncio.Task[None]:
    """Send `data` in a task, and return when the windows let nothing more pass."""
    h2 = stream.client.h2
    sending = asyncio.ensure_future(stream.send(data))
    still = 0
    while still < 3:
        await asyncio.sleep(STALL_SECONDS / 3)
        assert not sending.done(), "the windows never closed"
        still = 0 if h2.local_flow_control_window(stream.number) else still + 1
    return sending


# ------------------------------------------------------------------------------- pages


async def page_has_scope_and_headers_of_http_2(port: int) -> None:
    async with Http2(port) as client:
        stream = client.request("GET", "/scope?a=%20", [("cookie", "a=1"), ("cookie", "b=2")])
        scope = json.loads(await stream.read())
        assert (scope["type"], scope["http_version"], scope["method"]) == ("http", "2", "GET")
        assert (scope["raw_path"], scope["query_string"]) == ("/scope", "a=%20")
        headers = dict(scope["headers"])
        assert headers["host"] == f"127.0.0.1:{port}", headers
        assert headers["cookie"] == "a=1; b=2", headers
        assert stream.headers["x-mixed-case"] == "kept"
        assert "date" in stream.headers and "connection" not in stream.headers, stream.headers
        assert stream.headers["content-length"] == str(len(stream.data))


async def head_and_204_have_no_body(port: int) -> None:
    async with Http2(port) as client:
        head, empty = client.request("HEAD", "/"), client.request("GET", "/204")
        assert await head.read() == await empty.read() == b""
        assert int(head.headers["content-length"]) > 20
        assert (empty.headers[":status"], empty.headers.get("content-length")) == ("204", None)


async def bodies_of_any_size_arrive_whole(port: int) -> None:
    async with Http2(port) as client:
        for size in (0, 1, 65535, MEBIBYTE):
            body = bytes(range(256)) * (size // 256) + bytes(size % 256)
            stream = client.request("POST", "/digest", [("content-length", str(size))], ends=False)
            await stream.send(body, ends=True)
            assert json.loads(await stream.read()) == [size, hashlib.sha256(body).hexdigest()]


async def request_and_response_go_on_at_once(port: int) -> None:
    async with Http2(port) as client:
        stream = client.request("POST", "/echo", ends=False)
        for number in range(3):
            await stream.send(b"part")
            await stream.wait(lambda number=number: len(stream.data) == 4 * (number + 1))
        await stream.send(b"", ends=True)
        assert await stream.read() == b"part" * 3


async def padding_is_part_of_the_windows(port: int) -> None:
    async with Http2(port) as client:
        stream = client.request("POST", "/digest", ends=False)
        for _ in range(500):
            await stream.wait(lambda: client.h2.local_flow_control_window(stream.number) > 1000)
            client.h2.send_data(stream.number, b"a", pad_length=255)
            client.flush()
        await stream.send(b"", ends=True)
        assert json.loads(await stream.read())[0] == 500


async def body_is_acknowledged_as_it_is_taken(port: int) -> None:
    async with Http2(port) as client:
        key = next(_keys)
        stream = client.request("POST", f"/digest?wait=1&key={key}", ends=False)
        sending = await send_until_blocked(stream, bytes(MEBIBYTE))
        # Others are not held up.
        assert await client.get("/")
        await client.get(f"/release?key={key}")
        await sending
        await stream.send(b"", ends=True)
        assert json.loads(await stream.read())[0] == MEBIBYTE


async def response_waits_for_the_window(port: int) -> None:
    async with Http2(port, window=1000) as client, Http2(port, window=1000, opens_windows=False) as slow:
        key = next(_keys)
        stream = slow.request("GET", f"/push?count=100&size=20000&key={key}")
        progress = await wait_for_stall(client, key)
        assert progress < 100, progress
        slow.opens_windows = True
        stream.open_window()
        assert len(await stream.read()) == 2_000_000


async def response_before_the_end_of_the_request_is_whole(port: int) -> None:
    async with Http2(port) as client:
        stream = client.request("POST", "/early", ends=False)
        assert (await stream.read(), stream.headers[":status"]) == (b"enough\n", "413")
        await client.wait(lambda: stream.reset is not None)
        assert stream.reset == ErrorCodes.NO_ERROR


async def reset_of_a_page_is_the_disconnect(port: int) -> None:
    async with Http2(port) as client:
        key = next(_keys)
        stream = client.request("GET", f"/wait?key={key}")
        await stream.wait(lambda: stream.data)
        stream.cancel()
        assert await client.ask(f"/seen?key={key}") == {"type": "http.disconnect"}
        stream = client.request("POST", f"/digest?key={(key := next(_keys))}", ends=False)
        await stream.send(b"part")
        stream.cancel()
        assert await client.ask(f"/seen?key={key}") == {"size": 4, "disconnected": True}


async def lost_connection_is_the_disconnect_of_every_stream(port: int) -> None:
    async with Http2(port) as client:
        keys = [next(_keys) for _ in range(4)]
        async with Http2(port) as lost:
            for key in keys[:2]:
                stream = lost.request("GET", f"/wait?key={key}")
                await stream.wait(lambda stream=stream: stream.data)
                await lost.connect(f"/echo?key={keys[keys.index(key) + 2]}")
        for key in keys[:2]:
            assert await client.ask(f"/seen?key={key}") == {"type": "http.disconnect"}
        for key in keys[2:]:
            socket = await client.connect(f"/seen?key={key}")
            assert json.loads(str(await socket.receive()))["code"] == 1006


async def response_that_cannot_be_completed_is_reset(port: int) -> None:
    async with Http2(port) as client:
        stream = client.request("GET", "/fail")
        try:
            raise AssertionError(f"complete: {await stream.read()!r}")
        except Reset as reset:
            assert reset.code is not None, "the whole connection has ended"
        assert await client.get("/")


# -------------------------------------------------------------------------- WebSockets


async def websocket_has_scope_of_http_2(port: int) -> None:
    async with Http2(port) as client:
        socket = await client.connect("/scope", [("sec-websocket-protocol", "a, b"), ("origin", "http://x")])
        scope = json.loads(str(await socket.receive()))
        assert (scope["type"], scope["http_version"]) == ("websocket", "2"), scope
        assert scope["subprotocols"] == ["a", "b"]
        headers = dict(scope["headers"])
        assert headers["origin"] == "http://x" and "sec-websocket-key" not in headers, headers
        assert socket.answer.keys().isdisjoint({"sec-websocket-accept", "upgrade", "connection"})
        assert await socket.wait_closed() == (1000, "")


async def messages_of_any_size_are_echoed(port: int) -> None:
    async with Http2(port) as client:
        socket = await client.connect("/echo")
        for message in ("hello", "", b"", "\u2713" * 1000, b"\0" * MEBIBYTE, "x" * MEBIBYTE):
            await socket.send(message)
            assert await socket.receive() == message
        await socket.ping(b"abc")
        await socket.send("after")
        assert (await socket.receive(), socket.pongs) == ("after", [b"abc"])
        assert (await socket.finish(1000))[0] == 1000


async def message_of_a_mebibyte_passes_small_windows(port: int) -> None:
    async with Http2(port, window=1000) as client:
        socket = await client.connect("/echo")
        sending = asyncio.ensure_future(socket.send(b"\xa5" * MEBIBYTE))
        assert await socket.receive() == b"\xa5" * MEBIBYTE
        await sending
        await socket.finish(1000)


async def compression_subprotocol_and_headers_are_agreed_on(port: int) -> None:
    async with Http2(port) as client:
        socket = await client.connect("/echo?pick=b", [("sec-websocket-protocol", "a, b")], compresses=True)
        assert socket.answer["sec-websocket-protocol"] == "b"
        assert "permessage-deflate" in socket.answer["sec-websocket-extensions"]
        for message in ("hello " * 10_000, b"\0" * MEBIBYTE):
            await socket.send(message)
            assert await socket.receive() == message
        await socket.finish(1000)
        socket = await client.connect("/headers")
        assert socket.answer["x-greeting"] == "hello"


async def codes_and_reasons_go_both_ways(port: int) -> None:
    async with Http2(port) as client:
        key = next(_keys)
        socket = await client.connect(f"/echo?key={key}")
        assert await socket.finish(4000, "bye") == (4000, "bye")
        seen = json.loads(str(await (await client.connect(f"/seen?key={key}")).receive()))
        assert (seen["code"], seen["reason"]) == (4000, "bye"), seen
        socket = await client.connect("/close?code=4001&reason=enough")
        assert await socket.wait_closed() == (4001, "enough")
        assert (await (await client.connect("/raise")).wait_closed())[0] == 1011
        assert (await (await client.connect("/return")).wait_closed())[0] == 1000


async def push_that_nobody_takes_is_held_back(port: int) -> None:
    async with Http2(port) as client, Http2(port, opens_windows=False) as slow:
        key = next(_keys)
        socket = await slow.connect(f"/push?count=200&size=65536&key={key}")
        progress = await wait_for_stall(client, key)
        assert progress < 200, progress
        slow.opens_windows = True
        socket.stream.open_window()
        for _ in range(200):
            assert len(await socket.receive()) == 65536
        assert await socket.wait_closed() == (1000, "")


async def messages_are_acknowledged_as_they_are_taken(port: int) -> None:
    async with Http2(port) as client:
        key = next(_keys)
        socket = await client.connect(f"/late?key={key}")
        frame = b"\x82\xff" + (MEBIBYTE).to_bytes(8, "big") + bytes(4) + bytes(MEBIBYTE)
        sending = await send_until_blocked(socket.stream, frame * 8)
        other = await client.connect("/echo")
        await other.send("others go on")
        assert await other.receive() == "others go on"
        await client.get(f"/release?key={key}")
        await sending
        await socket.finish(1000)
        assert await client.ask(f"/seen?key={key}") == {"size": 8 * MEBIBYTE, "code": 1000}


async def reset_and_end_without_close_are_1006(port: int) -> None:
    async with Http2(port) as client:
        for is_reset in (True, False):
            key = next(_keys)
            socket = await client.connect(f"/echo?key={key}")
            await socket.send("one")
            assert await socket.receive() == "one"
            if is_reset:
                socket.stream.cancel()
            else:
                await socket.stream.send(b"", ends=True)
                await socket.stream.read()
            seen = json.loads(str(await (await client.connect(f"/seen?key={key}")).receive()))
            assert (seen["messages"], seen["code"]) == (1, 1006), seen


async def refusals_and_denials_are_responses(port: int) -> None:
    async with Http2(port) as client:
        denied = client.open_websocket("/deny")
        assert (await denied.get_headers())[":status"] == "403"
        denial = client.open_websocket("/denial")
        assert (await denial.read()).decode() == "not for you: première porte à gauche\n"
        assert denial.headers[":status"] == "401" and "basic" in denial.headers["www-authenticate"].lower()
        for path in ("/raise-early", "/return-unanswered"):
            assert (await client.open_websocket(path).get_headers())[":status"] == "500"


async def wrong_version_is_400(port: int) -> None:
    async with Http2(port) as client:
        stream = client.open_websocket("/echo", version="12")
        assert b"Sec-WebSocket-Version" in await stream.read()
        assert (stream.headers[":status"], stream.headers["sec-websocket-version"]) == ("400", "13")
        stream = client.open_websocket("/echo", [("sec-websocket-extensions", "a;;b")])
        assert (await stream.get_headers())[":status"] == "400"


async def malformed_requests_are_400_and_the_others_go_on(port: int) -> None:
    async with Http2(port) as client:
        socket = await client.connect("/echo")
        get = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
        connect = [(":method", "CONNECT"), *get[1:]]
        for status, fields in (
            ("400", connect),
            ("405", [connect[0], connect[2]]),
            ("501", [*connect, (":protocol", "connect-udp")]),
            ("400", [*get, (":protocol", "websocket")]),
            ("400", [*get, ("Upper", "a")]),
            ("400", [*get, ("connection", "close")]),
            ("400", [*get, ("a", "b\r\nc: d")]),
            ("400", [*get, ("host", "b")]),
            ("400", [*get, get[0]]),
            ("400", [*get[:3], (":path", "a")]),
            ("400", get[1:]),
            ("414", [*get[:3], (":path", "/" + "a" * 40_000)]),
            ("431", [*get, *[("a", "b")] * 300]),
        ):
            stream = client.open(fields, True)
            await stream.read()
            assert stream.headers[":status"] == status, (stream.headers, fields[-1])
        await socket.send("still here")
        assert await socket.receive() == "still here"


# ------------------------------------------------------------------------- many streams


async def fifty_streams_share_a_connection(port: int, window: int = MEBIBYTE) -> None:
    async with Http2(port, window=window) as client:

        async def use_socket(number: int) -> None:
            socket = await client.connect("/echo", compresses=number % 2 == 0)
            await asyncio.wait_for(all_open.wait(), 5)
            for size in (10, 1000, 100_000):
                message = f"{number}" * size
                await socket.send(message)
                assert await socket.receive() == message
            await socket.finish(1000)

        async def use_page(number: int) -> None:
            stream = client.request("POST", "/digest", ends=False)
            await asyncio.wait_for(all_open.wait(), 5)
            await stream.send(b"%d" % number * 50_000, ends=True)
            assert json.loads(await stream.read())[0] == len(str(number)) * 50_000
            assert len(await client.get("/push?count=10&size=10000")) == 100_000

        all_open = asyncio.Barrier(50)
        uses = [use_socket if number % 2 else use_page for number in range(50)]
        await asyncio.gather(*(use(number) for number, use in enumerate(uses)))


async def fifty_streams_share_small_windows(port: int) -> None:
    await fifty_streams_share_a_connection(port, 10_000)


async def stop_closes_with_1012_and_finishes_responses(port: int, stop: Callable[[], None]) -> None:
    """Not one of `CHECKS`: afterwards there is no server."""
    async with Http2(port) as client:
        socket = await client.connect("/echo")
        page = client.request("GET", "/late?seconds=1")
        await page.wait(lambda: page.data)
        stop()
        assert await socket.wait_closed() == (1012, "")
        await client.wait(lambda: client.goaway)
        assert client.goaway == (ErrorCodes.NO_ERROR, page.number), client.goaway
        assert await page.read() == b"half and half"
        await asyncio.wait_for(client.reading, 5)


#: On a connection of the client's own, and through a proxy.
CHECKS: List[Check] = [
    page_has_scope_and_headers_of_http_2,
    head_and_204_have_no_body,
    bodies_of_any_size_arrive_whole,
    request_and_response_go_on_at_once,
    response_waits_for_the_window,
    lost_connection_is_the_disconnect_of_every_stream,
    websocket_has_scope_of_http_2,
    messages_of_any_size_are_echoed,
    message_of_a_mebibyte_passes_small_windows,
    compression_subprotocol_and_headers_are_agreed_on,
    codes_and_reasons_go_both_ways,
    push_that_nobody_takes_is_held_back,
    reset_and_end_without_close_are_1006,
    refusals_and_denials_are_responses,
    wrong_version_is_400,
    fifty_streams_share_a_connection,
]

#: HAProxy 2.6 answers these itself, has one window for all streams of a connection, or hides a reset.
DIRECT_CHECKS: List[Check] = [
    padding_is_part_of_the_windows,
    body_is_acknowledged_as_it_is_taken,
    messages_are_acknowledged_as_they_are_taken,
    response_before_the_end_of_the_request_is_whole,
    reset_of_a_page_is_the_disconnect,
    response_that_cannot_be_completed_is_reset,
    malformed_requests_are_400_and_the_others_go_on,
    fifty_streams_share_small_windows,
]
