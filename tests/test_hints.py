"""Hints for the log: what a request that goes wrong most likely suffers from."""

from __future__ import annotations

import unittest
from typing import Optional, Tuple

from wsbridge.protocols.events import RequestReceived
from wsbridge.server.connection.hints import (
    describe_ignored_host,
    describe_missing_upgrade,
    describe_start,
    shorten_target,
)

Header = Tuple[bytes, bytes]


def request(*headers: Header) -> RequestReceived:
    return RequestReceived(b"GET", b"/", headers, "1.1")


class StartTests(unittest.TestCase):
    def assert_looks_like(self, what: Optional[str], *starts: bytes) -> None:
        for start in starts:
            hint = describe_start(start)
            self.assertEqual(hint, None if what is None else f"this looks like {what}", start)

    def test_tls_hello(self) -> None:
        # RFC 8446 5.1: handshake (22), legacy_record_version 0x0301 in a first hello.
        what = "a TLS hello on a port without TLS (ssl_certfile)"
        self.assert_looks_like(what, b"\x16\x03\x01\x02\x00", b"\x16\x03\x03", b"\x16\x03", b"\x16")

    def test_proxy_protocol_line(self) -> None:
        what = "a PROXY protocol line where none is read (proxy_protocol)"
        self.assert_looks_like(what, b"PROXY TCP4 192.0.2.1", b"PROXY TCP6 ", b"PROXY UNKNOWN\r\n")

    def test_proxy_protocol_header_of_version_2(self) -> None:
        what = "a PROXY protocol header (version 2) where none is read (proxy_protocol)"
        signature = bytes.fromhex("0d0a0d0a000d0a515549540a")
        self.assert_looks_like(what, signature, signature + b"\x21\x11\x00\x0c")

    def test_http_2_preface(self) -> None:
        # RFC 9113 3.4.
        self.assert_looks_like("HTTP/2, which is not supported", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

    def test_anything_else(self) -> None:
        self.assert_looks_like(None, b"", b"GET / HTTP/1.1\r\n", b"\x15\x03\x01", b"\x16\x04", b"PROXY TCP5 ")
        self.assert_looks_like(
            None, b"\r\n\r\n", b"PRI / HTTP/1.1", b"PROXY / ", b" PROXY TCP4", b"proxy TCP4"
        )


class TargetTests(unittest.TestCase):
    def test_the_beginning_of_the_target_is_shown(self) -> None:
        self.assertEqual(shorten_target(b"/chat?a=b"), b"/chat?a=b")
        self.assertEqual(shorten_target(b"/" + b"a" * 200), b"/" + b"a" * 199)


class MissingUpgradeTests(unittest.TestCase):
    def assert_missing(self, what: str, *headers: Header) -> None:
        hint = describe_missing_upgrade(request(*headers))
        self.assertRegex(hint or "", f"^sent {what}, which is a plain request .*proxy_http_version 1.1")

    def test_connection(self) -> None:
        what = "Upgrade: websocket without Connection: Upgrade"
        self.assert_missing(what, (b"upgrade", b"websocket"))
        self.assert_missing(what, (b"upgrade", b"h2c, WebSocket"), (b"sec-websocket-key", b"a"))

    def test_upgrade(self) -> None:
        what = "Sec-WebSocket-Key without Upgrade: websocket"
        self.assert_missing(what, (b"sec-websocket-key", b""))
        self.assert_missing(what, (b"upgrade", b"h2c"), (b"sec-websocket-key", b"a"))

    def test_nothing(self) -> None:
        for header in ((b"upgrade", b"h2c"), (b"connection", b"upgrade"), (b"sec-websocket-version", b"13")):
            self.assertIsNone(describe_missing_upgrade(request((b"host", b"a"), header)))


class IgnoredHostTests(unittest.TestCase):
    def test_both_are_told(self) -> None:
        hint = describe_ignored_host(request((b"a", b"1"), (b"host", b"a:80")), b"[::1]")
        self.assertEqual(hint, "sent Host [::1], but the target names a:80, which is used")

    def test_both_are_cut_and_escaped(self) -> None:
        hint = describe_ignored_host(request((b"host", b"a" * 81)), b"\xff" + b"b" * 80)
        ignored, host = "\\xff" + "b" * 79, "a" * 80
        self.assertEqual(hint, f"sent Host {ignored}, but the target names {host}, which is used")


if __name__ == "__main__":
    unittest.main()
