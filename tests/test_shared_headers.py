"""Headers that connections share are what the parser would have made of the line itself."""

from __future__ import annotations

import unittest

from wsbridge.protocols.http11 import RequestParser
from wsbridge.protocols.shared_headers import SHARED_HEADERS, SHARED_NAMES

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n"


class SharedHeadersTests(unittest.TestCase):
    def test_names_are_lower_case(self) -> None:
        self.assertEqual(SHARED_NAMES[b"Sec-WebSocket-Key"], b"sec-websocket-key")
        for spelling, name in SHARED_NAMES.items():
            self.assertEqual(spelling.lower(), name)

    def test_pairs_are_themselves(self) -> None:
        for header, shared in SHARED_HEADERS.items():
            self.assertEqual(header, shared)

    def test_two_requests_share_pairs_and_names(self) -> None:
        head = HEAD % b"Upgrade: \t websocket \r\nOrigin: http://a\r\n"
        first, second = (RequestParser().receive_data(bytes(bytearray(head))) for _ in range(2))
        assert first is not None and second is not None
        self.assertEqual(
            first.headers, ((b"host", b"a"), (b"upgrade", b"websocket"), (b"origin", b"http://a"))
        )
        self.assertEqual(first.headers, second.headers)
        self.assertIs(first.headers[1], second.headers[1])
        self.assertIsNot(first.headers[2], second.headers[2])
        self.assertIs(first.headers[2][0], second.headers[2][0])

    def test_a_value_in_another_case_stays_as_it_came(self) -> None:
        request = RequestParser().receive_data(HEAD % b"UPGRADE: WebSocket\r\n")
        assert request is not None
        self.assertEqual(request.headers[1], (b"upgrade", b"WebSocket"))


if __name__ == "__main__":
    unittest.main()
