"""`Http11Wire`: an accept, a refusal and a response as HTTP/1.1 has them."""

from __future__ import annotations

import unittest
from typing import Any, List

from tests.doubles import DATE, build_date
from wsbridge.asgi.wire import Http11Wire
from wsbridge.protocols.errors import EventError, Forbidden

# RFC 6455 1.3: the sample nonce, and 4.2.2: what completes its handshake.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)


class Output:
    def __init__(self) -> None:
        self.writes: List[bytes] = []
        self.aborts = 0

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def abort(self) -> None:
        self.aborts += 1


class WireTests(unittest.TestCase):
    def build(self, **options: Any) -> Http11Wire:
        self.output = Output()
        return Http11Wire(self.output, ws_key=KEY, date=build_date, **options)

    def test_accept_is_the_101_of_the_key_without_a_date(self) -> None:
        self.build().accept(None, None, [])
        self.assertEqual(self.output.writes, [SWITCHING + b"\r\n"])

    def test_accept_names_what_was_agreed_on(self) -> None:
        self.build().accept("chat", "permessage-deflate", [(b"x-room", b"5")])
        agreed = b"Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
        self.assertEqual(self.output.writes, [SWITCHING + agreed + b"x-room: 5\r\n\r\n"])

    def test_headers_of_every_answer_come_first(self) -> None:
        wire = self.build(headers=lambda: [(b"server", b"a")])
        wire.accept(None, None, [(b"server", b"b")])
        wire.refuse(Forbidden("no"))
        wire.start(204, [(b"c", b"d")])
        wire.send_body(b"", False)
        accept, refusal, response = self.output.writes
        self.assertEqual(accept, SWITCHING + b"server: a\r\nserver: b\r\n\r\n")
        self.assertTrue(refusal.startswith(b"HTTP/1.1 403 Forbidden\r\n" + DATE + b"server: a\r\n"))
        head = b"HTTP/1.1 204 No Content\r\n" + DATE + b"server: a\r\nc: d\r\n"
        self.assertEqual(response, head + b"Connection: close\r\n\r\n")

    def test_date_may_be_left_out(self) -> None:
        self.output = Output()
        wire = Http11Wire(self.output, date=lambda: None)
        wire.start(204, [])
        wire.send_body(b"", False)
        self.assertEqual(self.output.writes, [b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"])

    def test_accept_that_cannot_be_sent_writes_nothing(self) -> None:
        with self.assertRaises(EventError):
            self.build().accept(None, None, [(b"upgrade", b"h2c")])
        self.assertEqual(self.output.writes, [])

    def test_detached_it_writes_nowhere(self) -> None:
        wire = self.build()
        wire.start(200, [])
        wire.detach()
        wire.send_body(b"a", True)
        wire.abort()
        self.assertTrue(wire.is_on_wire)
        self.assertEqual((self.output.writes, self.output.aborts), ([], 0))

    def test_refusal_is_a_whole_response_with_a_date(self) -> None:
        self.build().refuse(Forbidden("no"))
        head = b"HTTP/1.1 403 Forbidden\r\n" + DATE + b"Content-Type: text/plain; charset=utf-8\r\n"
        self.assertEqual(self.output.writes, [head + b"Content-Length: 3\r\nConnection: close\r\n\r\nno\n"])

    def test_refusal_of_a_head_has_no_body(self) -> None:
        self.build(is_head=True).refuse(Forbidden("no"))
        self.assertTrue(self.output.writes[0].endswith(b"Content-Length: 3\r\nConnection: close\r\n\r\n"))

    def test_response_leaves_with_the_first_part_of_its_body(self) -> None:
        wire = self.build()
        self.assertEqual((wire.status, wire.is_on_wire, wire.is_complete), (0, False, False))
        wire.start(404, [(b"a", b"b")])
        self.assertEqual((wire.status, wire.is_on_wire, self.output.writes), (404, False, []))
        wire.send_body(b"no", True)
        self.assertEqual((wire.is_on_wire, wire.is_complete), (True, False))
        wire.send_body(b"pe", False)
        self.assertTrue(wire.is_complete)
        head = b"HTTP/1.1 404 Not Found\r\n" + DATE + b"a: b\r\nConnection: close\r\n"
        chunks = [b"Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n", b"2\r\npe\r\n0\r\n\r\n"]
        self.assertEqual(self.output.writes, [head + chunks[0], chunks[1]])

    def test_response_lets_the_connection_go_on(self) -> None:
        wire = self.build(may_keep_alive=lambda: True)
        wire.start(200, [])
        wire.send_body(b"hi", False)
        self.assertTrue(wire.keeps_alive)
        self.assertEqual(self.output.writes, [b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: 2\r\n\r\nhi"])

    def test_refusal_closes_whatever_may_be(self) -> None:
        self.build(may_keep_alive=lambda: True).refuse(Forbidden("no"))
        self.assertIn(b"\r\nConnection: close\r\n", self.output.writes[0])

    def test_headers_of_every_answer_may_close(self) -> None:
        wire = self.build(may_keep_alive=lambda: True, headers=lambda: [(b"connection", b"close")])
        wire.start(200, [])
        wire.send_body(b"hi", False)
        self.assertFalse(wire.keeps_alive)
        self.assertEqual(self.output.writes[0].lower().count(b"connection: close"), 1)

    def test_response_to_http_1_0_in_parts_ends_with_the_connection(self) -> None:
        wire = self.build(http_version="1.0")
        wire.start(200, [])
        wire.send_body(b"hi", True)
        self.assertFalse(wire.keeps_alive)
        self.assertEqual(self.output.writes, [b"HTTP/1.1 200 OK\r\n" + DATE + b"Connection: close\r\n\r\nhi"])

    def test_detached_it_asks_nobody_whether_the_connection_can_go_on(self) -> None:
        wire = self.build(may_keep_alive=self.fail)
        wire.start(200, [])
        wire.detach()
        wire.send_body(b"hi", False)
        self.assertFalse(wire.keeps_alive)

    def test_abort_is_its_outputs(self) -> None:
        self.build().abort()
        self.assertEqual((self.output.aborts, self.output.writes), (1, []))


if __name__ == "__main__":
    unittest.main()
