"""`request_from_environ`: what a WSGI server has parsed is the request that its bytes were."""

from __future__ import annotations

import unittest
from typing import Any

from wsbridge.protocols.environ import request_from_environ
from wsbridge.protocols.events import RequestReceived

ENVIRON = {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1", "PATH_INFO": "/chat"}


class TargetTests(unittest.TestCase):
    def assert_target(self, expected: bytes, **environ: str) -> None:
        self.assertEqual(request_from_environ({**ENVIRON, **environ}).target, expected)

    def test_target_as_it_was_sent_counts(self) -> None:
        self.assert_target(b"/a%2fb?c", RAW_URI="/a%2fb?c", PATH_INFO="/a/b", QUERY_STRING="c")
        self.assert_target(b"/a%2fb?c", REQUEST_URI="/a%2fb?c", PATH_INFO="/a/b", QUERY_STRING="c")

    def test_without_it_the_target_is_made_of_path_and_query(self) -> None:
        self.assert_target(b"/chat")
        self.assert_target(b"/app/chat", SCRIPT_NAME="/app")
        self.assert_target(b"/chat?a=%20", QUERY_STRING="a=%20")
        self.assert_target(b"/", PATH_INFO="")
        self.assert_target(b"/?a", PATH_INFO="", QUERY_STRING="a")

    def test_path_is_percent_encoded(self) -> None:
        # PEP 3333: U+00E9 in UTF-8, read as latin-1.
        self.assert_target(b"/a%20%C3%A9", PATH_INFO="/a \xc3\xa9")


class RequestTests(unittest.TestCase):
    def test_headers_are_named_as_on_the_wire(self) -> None:
        environ = {**ENVIRON, "HTTP_HOST": "a", "HTTP_SEC_WEBSOCKET_KEY": "\xff", "wsgi.version": (1, 0)}
        headers = ((b"host", b"a"), (b"sec-websocket-key", b"\xff"))
        self.assertEqual(request_from_environ(environ), RequestReceived(b"GET", b"/chat", headers, "1.1"))

    def test_content_headers_are_there_if_they_are_not_empty(self) -> None:
        environ = {**ENVIRON, "CONTENT_TYPE": "", "CONTENT_LENGTH": "5"}
        self.assertEqual(request_from_environ(environ).headers, ((b"content-length", b"5"),))

    def test_version_is_that_of_the_protocol(self) -> None:
        for protocol, version in (("HTTP/1.0", "1.0"), ("HTTP/2", "2")):
            request = request_from_environ({**ENVIRON, "SERVER_PROTOCOL": protocol})
            self.assertEqual(request.http_version, version)

    def test_what_is_no_environ_is_an_error_that_says_so(self) -> None:
        for key in ("REQUEST_METHOD", "SERVER_PROTOCOL"):
            environ: Any = dict(ENVIRON)
            del environ[key]
            with self.assertRaisesRegex(ValueError, f"^environ has no {key}: .* WSGI application"):
                request_from_environ(environ)


if __name__ == "__main__":
    unittest.main()
