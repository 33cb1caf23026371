"""Headers that connections share are what the parser would have made of the line itself."""

from __future__ import annotations

import unittest

from wsbridge.protocols.http11 import RequestParser
from wsbridge.protocols.shared_headers import SHARED_LINES, SHARED_NAMES

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n"


class SharedHeadersTests(unittest.TestCase):
    def test_names_are_lower_case(self) -> None:
        self.assertEqual(SHARED_NAMES[b"Sec-WebSocket-Key"], b"sec-websocket-key")
        for spelling, name in SHARED_NAMES.items():
            self.assertEqual(spelling.lower(), name)

    def test_pairs_are_those_of_their_lines(self) -> None:
        for line, pair in SHARED_LINES.items():
            # In more than one piece it is not looked up.
            parser = RequestParser()
            parser.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n")
            request = parser.receive_data(line + b"\r\n\r\n")
            assert request is not None
            self.assertEqual(request.headers[1], pair)

    def test_two_requests_share_pairs_and_names(self) -> None:
        head = HEAD % b"Upgrade: websocket\r\nOrigin: http://a\r\n"
        first, second = (RequestParser().receive_data(bytes(bytearray(head))) for _ in range(2))
        assert first is not None and second is not None
        self.assertEqual(
            first.headers, ((b"host", b"a"), (b"upgrade", b"websocket"), (b"origin", b"http://a"))
        )
        self.assertEqual(first.headers, second.headers)
        self.assertIs(first.headers[1], second.headers[1])
        self.assertIsNot(first.headers[2], second.headers[2])
        self.assertIs(first.headers[2][0], second.headers[2][0])

    def test_other_blanks_mean_the_same(self) -> None:
        request = RequestParser().receive_data(HEAD % b"Upgrade:websocket\r\nPragma: \t no-cache \r\n")
        assert request is not None
        self.assertEqual(request.headers[1:], ((b"upgrade", b"websocket"), (b"pragma", b"no-cache")))

    def test_a_value_in_another_case_stays_as_it_came(self) -> None:
        request = RequestParser().receive_data(HEAD % b"UPGRADE: WebSocket\r\n")
        assert request is not None
        self.assertEqual(request.headers[1], (b"upgrade", b"WebSocket"))


if __name__ == "__main__":
    unittest.main()
