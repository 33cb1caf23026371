"""`StreamWire`: an accept, a refusal and a response as HTTP/2 and HTTP/3 have them."""

from __future__ import annotations

import unittest
from typing import Any, List, Tuple

from tests.doubles import build_date
from wsbridge.asgi.stream_wire import StreamWire
from wsbridge.protocols.errors import BadRequest, EventError, Forbidden

Header = Tuple[bytes, bytes]

# RFC 9110 5.6.7: the example of a date.
DATE = (b"date", b"Sun, 06 Nov 1994 08:49:37 GMT")
TEXT = (b"content-type", b"text/plain; charset=utf-8")


class Output:
    """Keeps what is sent, call by call."""

    def __init__(self) -> None:
        self.sent: List[Any] = []

    def write_headers(self, status: int, headers: List[Header]) -> None:
        self.sent.append((status, *headers))

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def write_last(self, data: bytes) -> None:
        self.sent.append(("last", data))

    def abort(self) -> None:
        self.sent.append("abort")


class StreamWireTests(unittest.TestCase):
    def build(self, **options: Any) -> StreamWire:
        self.output = Output()
        return StreamWire(self.output, **{"date": build_date, **options})

    def assert_sent(self, *expected: Any) -> None:
        self.assertEqual(self.output.sent, list(expected))
        self.output.sent.clear()

    def test_accept_is_a_200_without_a_key(self) -> None:
        # RFC 8441 5.1: the example.
        self.build().accept("chat", None, [])
        self.assert_sent((200, DATE, (b"sec-websocket-protocol", b"chat")))

    def test_accept_names_extensions_and_headers(self) -> None:
        wire = self.build(headers=lambda: [(b"Server", b"a")])
        wire.accept(None, "permessage-deflate", [(b"X-Room", b" 5 ")])
        extensions = (b"sec-websocket-extensions", b"permessage-deflate")
        self.assert_sent((200, DATE, extensions, (b"server", b"a"), (b"x-room", b"5")))

    def test_accept_that_cannot_be_sent_sends_nothing(self) -> None:
        for header in ((b"upgrade", b"websocket"), (b"keep-alive", b"5"), (b"a", b"b\n")):
            with self.assertRaises(EventError):
                self.build().accept(None, None, [header])
            self.assert_sent()

    def test_refusal_is_a_whole_response(self) -> None:
        self.build(headers=lambda: [(b"server", b"a")]).refuse(Forbidden("no"))
        self.assert_sent((403, DATE, (b"server", b"a"), TEXT, (b"content-length", b"3")), ("last", b"no\n"))

    def test_refusal_has_its_own_headers(self) -> None:
        refusal = BadRequest("no")
        refusal.headers = ((b"Sec-WebSocket-Version", b"13"),)
        self.build(is_head=True).refuse(refusal)
        headers = ((b"sec-websocket-version", b"13"), TEXT, (b"content-length", b"3"))
        self.assert_sent((400, DATE, *headers), ("last", b""))

    def test_response_leaves_with_the_first_part_of_its_body(self) -> None:
        wire = self.build()
        self.assertEqual((wire.status, wire.is_on_wire, wire.is_complete), (0, False, False))
        wire.start(404, [(b"A", b"b")])
        self.assertEqual((wire.status, wire.is_on_wire), (404, False))
        self.assert_sent()
        wire.send_body(b"no", True)
        self.assert_sent((404, DATE, (b"a", b"b")), b"no")
        wire.send_body(b"", True)
        self.assert_sent()
        self.assertEqual((wire.is_on_wire, wire.is_complete), (True, False))
        wire.send_body(b"pe", False)
        self.assert_sent(("last", b"pe"))
        self.assertEqual((wire.is_complete, wire.keeps_alive), (True, False))

    def test_body_in_one_part_gets_a_length(self) -> None:
        wire = self.build()
        wire.start(200, [])
        wire.send_body(b"hi", False)
        self.assert_sent((200, DATE, (b"content-length", b"2")), ("last", b"hi"))

    def test_headers_of_a_connection_are_left_out(self) -> None:
        wire = self.build()
        names = (b"Connection", b"Keep-Alive", b"Proxy-Connection", b"Transfer-Encoding", b"Upgrade")
        wire.start(200, [(name, b"close") for name in names])
        wire.send_body(b"", False)
        self.assert_sent((200, DATE, (b"content-length", b"0")), ("last", b""))

    def test_length_and_date_of_the_application_count(self) -> None:
        wire = self.build()
        headers = [(b"Content-Length", b"2"), (b"Date", b"now")]
        wire.start(200, headers)
        with self.assertRaises(EventError):
            wire.send_body(b"a", False)
        self.assert_sent()
        wire.send_body(b"hi", False)
        self.assert_sent((200, (b"content-length", b"2"), (b"date", b"now")), ("last", b"hi"))

    def test_head_204_and_304_have_no_content(self) -> None:
        for options, status, headers in (
            ({"is_head": True}, 200, [(b"content-length", b"2")]),
            ({}, 204, []),
            ({}, 304, []),
        ):
            wire = self.build(**options)
            wire.start(status, [])
            wire.send_body(b"hi", False)
            self.assert_sent((status, DATE, *headers), ("last", b""))

    def test_length_of_a_head_that_has_no_body_is_not_told(self) -> None:
        wire = self.build(is_head=True)
        wire.start(200, [])
        wire.send_body(b"", False)
        self.assert_sent((200, DATE), ("last", b""))

    def test_date_may_be_left_out(self) -> None:
        self.build(date=lambda: None).accept(None, None, [])
        self.assert_sent((200,))

    def test_continue_is_a_header_section_of_its_own(self) -> None:
        self.build().send_continue()
        self.assert_sent((100,))

    def test_abort_is_its_outputs(self) -> None:
        wire = self.build()
        wire.abort()
        wire.detach()
        self.assert_sent("abort")


if __name__ == "__main__":
    unittest.main()
