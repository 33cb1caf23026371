"""Headers that connections share are what the parser would have made of the line itself."""

from __future__ import annotations

import unittest

from wsbridge.protocols.common_fields import COMMON_LINES, LOWER_NAMES
from wsbridge.protocols.http11 import RequestParser

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n"


class CommonFieldsTests(unittest.TestCase):
    def test_names_are_lower_case(self) -> None:
        self.assertEqual(LOWER_NAMES[b"Sec-WebSocket-Key"], b"sec-websocket-key")
        for spelling, name in LOWER_NAMES.items():
            self.assertEqual(spelling.lower(), name)

    def test_lines_are_themselves(self) -> None:
        for line, shared in COMMON_LINES.items():
            self.assertEqual(line, shared)

    def test_two_requests_share_their_common_lines_and_names(self) -> None:
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
