"""The opening handshake: RFC 6455 4, both roles, and its rows of the hostile input."""

from __future__ import annotations

import binascii
import hashlib
import unittest
from typing import Any, List, Optional, Sequence, Tuple, Type
from unittest import mock

from wsbridge.protocols import errors
from wsbridge.protocols.events import RequestReceived, WebSocketConnected
from wsbridge.protocols.handshake import (
    build_101_response,
    build_connect_answer,
    build_upgrade_request,
    build_ws_accept_key,
    check_default_headers,
    check_upgrade_request,
    check_upgrade_response,
    generate_ws_key,
    is_upgrade_request,
)
from wsbridge.protocols.http11 import ResponseReceived
from wsbridge.protocols.origins import AllowedOrigins

from .doubles import use_random

# RFC 6455 1.3: the sample nonce and its answer.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

HOST = (b"host", b"server.example.com")
UPGRADE = (b"upgrade", b"websocket")
CONNECTION = (b"connection", b"Upgrade")
WS_KEY = (b"sec-websocket-key", KEY)
VERSION = (b"sec-websocket-version", b"13")
SAMPLE = (HOST, UPGRADE, CONNECTION, WS_KEY, VERSION)

Header = Tuple[bytes, bytes]


def request(*headers: Header, method: bytes = b"GET", http_version: str = "1.1") -> RequestReceived:
    return RequestReceived(method, b"/chat", headers, http_version)


def sample(*headers: Header, without: Optional[Header] = None) -> RequestReceived:
    """RFC 6455 1.2: the client's sample handshake, with ``headers`` added and one left out."""
    return request(*[header for header in SAMPLE if header != without], *headers)


class AcceptKeyTests(unittest.TestCase):
    def test_sample_of_rfc_6455_1_3(self) -> None:
        self.assertEqual(build_ws_accept_key(KEY), ACCEPT)

    def test_digest_is_not_claimed_to_be_for_security(self) -> None:
        # Where FIPS forbids SHA-1, a call without the keyword raises ValueError.
        with mock.patch.object(hashlib, "sha1", wraps=hashlib.sha1) as sha1:
            build_ws_accept_key(KEY)
        self.assertEqual(sha1.call_args.kwargs, {"usedforsecurity": False})


class UpgradeRequestTests(unittest.TestCase):
    def assert_upgrade(self, expected: bool, *headers: Header) -> None:
        self.assertIs(is_upgrade_request(request(*headers)), expected, headers)

    def test_sample_of_rfc_6455_1_2_is_one(self) -> None:
        self.assert_upgrade(True, *SAMPLE)

    def test_connection_keep_alive_upgrade_is_one(self) -> None:
        self.assert_upgrade(True, (b"connection", b"keep-alive, Upgrade"), (b"upgrade", b"WebSocket"))

    def test_several_connection_lines_are_one(self) -> None:
        self.assert_upgrade(True, (b"connection", b"close"), (b"connection", b"x,\tUPGRADE"), UPGRADE)

    def test_websocket_among_other_protocols_is_one(self) -> None:
        self.assert_upgrade(True, CONNECTION, (b"upgrade", b"h2c, ,websocket"))
        self.assert_upgrade(True, CONNECTION, (b"upgrade", b"h2c"), UPGRADE)

    def test_names_of_headers_may_be_in_any_case(self) -> None:
        headers = [(name.title(), value) for name, value in SAMPLE]
        self.assert_upgrade(True, *headers)
        self.assertEqual(check_upgrade_request(request(*headers)), KEY)

    def test_connection_notupgrade_is_none(self) -> None:
        for value in (b"notupgrade", b"keep-alive", b"", b"upgraded", b"up, grade", b"upgrade;q=1"):
            self.assert_upgrade(False, (b"connection", value), UPGRADE)

    def test_upgrade_h2c_is_none(self) -> None:
        for value in (b"h2c", b"websocket/13", b"websockets", b"", b"web socket"):
            self.assert_upgrade(False, CONNECTION, (b"upgrade", value))

    def test_one_header_without_the_other_is_none(self) -> None:
        self.assert_upgrade(False, UPGRADE)
        self.assert_upgrade(False, CONNECTION)
        self.assert_upgrade(False)

    def test_hostile_lists_of_a_mebibyte_are_read_in_linear_time(self) -> None:
        for filler in (b" ", b",", b", ", b"upgrade "):
            value = filler * (2**20 // len(filler)) + b"x"
            self.assert_upgrade(False, (b"connection", value), (b"upgrade", value))


class OpeningHandshakeTests(unittest.TestCase):
    def assert_refused(
        self, error: Type[errors.RequestRefused], received: RequestReceived, text: str = "", **options: Any
    ) -> errors.RequestRefused:
        with self.assertRaises(error) as caught:
            check_upgrade_request(received, **options)
        self.assertIs(type(caught.exception), error)
        self.assertRegex(str(caught.exception), "^[ -~]{5,100}$")
        self.assertIn(text, str(caught.exception))
        return caught.exception

    def test_sample_of_rfc_6455_1_2_gives_its_key(self) -> None:
        self.assertEqual(check_upgrade_request(sample()), KEY)

    def test_methods_other_than_get_are_405_and_allow_only_get(self) -> None:
        for method in (b"HEAD", b"POST", b"DELETE", b"get"):
            refusal = self.assert_refused(errors.MethodNotAllowed, request(*SAMPLE, method=method))
            self.assertEqual(refusal.headers, ((b"Allow", b"GET"),))
        self.assertEqual(errors.MethodNotAllowed.headers, ((b"Allow", b"GET, HEAD"),))

    def test_http_1_0_is_426_with_the_hint_for_the_proxy_in_front(self) -> None:
        received = request(*SAMPLE, http_version="1.0")
        refusal = self.assert_refused(errors.UpgradeRequired, received, "proxy_http_version 1.1")
        # RFC 6455 4.4: a Sec-WebSocket-Version would say that the client's own is the reason.
        self.assertEqual(refusal.headers, ((b"Upgrade", b"websocket"),))
        self.assertEqual(len(errors.UpgradeRequired.headers), 2)

    def test_http_1_0_is_the_reason_whatever_else_is_wrong_but_the_method(self) -> None:
        received = request(UPGRADE, CONNECTION, (b"sec-websocket-version", b"8"), http_version="1.0")
        self.assert_refused(errors.UpgradeRequired, received, "HTTP/1.0")
        received = request(*SAMPLE, method=b"POST", http_version="1.0")
        self.assert_refused(errors.MethodNotAllowed, received)

    def test_other_http_versions_are_505(self) -> None:
        for version in ("2", "3"):
            self.assert_refused(errors.HTTPVersionNotSupported, request(*SAMPLE, http_version=version))

    def test_request_that_is_no_upgrade_is_400(self) -> None:
        self.assert_refused(errors.BadRequest, sample(without=UPGRADE), "upgrade")
        self.assert_refused(errors.BadRequest, sample(without=CONNECTION), "upgrade")

    def test_no_host_and_two_hosts_are_400(self) -> None:
        self.assert_refused(errors.BadRequest, sample(without=HOST), "Host")
        self.assert_refused(errors.BadRequest, sample(HOST), "Host")

    def test_key_missing_is_400(self) -> None:
        self.assert_refused(errors.BadRequest, sample(without=WS_KEY), "Sec-WebSocket-Key")

    def test_key_twice_is_400(self) -> None:
        self.assert_refused(errors.BadRequest, sample(WS_KEY), "Sec-WebSocket-Key")

    def test_key_that_is_not_16_bytes_in_base64_is_400(self) -> None:
        for key in (
            b"",
            b"A" * 24,
            b"A" * 21 + b"==",
            b"A" * 23 + b"==",
            b"A" * 21 + b"_==",
            b"A" * 22 + b"=="[:1],
        ):
            self.assert_key_refused(key)
        for key in (
            b"A" * 21 + b" ==",
            b"A" * 22 + b"==\n",
            KEY + b",",
            KEY + b", " + KEY,
            b"\xff" * 22 + b"==",
        ):
            self.assert_key_refused(key)

    def assert_key_refused(self, key: bytes) -> None:
        received = sample((b"sec-websocket-key", key), without=WS_KEY)
        self.assert_refused(errors.BadRequest, received, "Sec-WebSocket-Key")

    def test_every_key_that_is_accepted_decodes_to_16_bytes(self) -> None:
        for digit in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/":
            key = b"A" * 21 + bytes([digit]) + b"=="
            received = sample((b"sec-websocket-key", key), without=WS_KEY)
            self.assertEqual(len(binascii.a2b_base64(check_upgrade_request(received))), 16)

    def test_version_missing_is_400(self) -> None:
        self.assert_refused(errors.BadRequest, sample(without=VERSION), "Sec-WebSocket-Version")

    def test_version_other_than_13_is_426_and_names_13(self) -> None:
        for version in (b"8", b"12", b"13, 8", b"14", b"", b"013", b"13.0", b"\xff"):
            received = sample((b"sec-websocket-version", version), without=VERSION)
            refusal = self.assert_refused(errors.UpgradeRequired, received, "13")
            self.assertIn((b"Sec-WebSocket-Version", b"13"), refusal.headers)

    def test_version_twice_is_426(self) -> None:
        self.assert_refused(errors.UpgradeRequired, sample(VERSION))
        self.assert_refused(errors.UpgradeRequired, sample((b"sec-websocket-version", b"8")))


class ExtendedConnectTests(unittest.TestCase):
    """RFC 8441 5: the opening handshake in HTTP/2, and RFC 9220 3: in HTTP/3."""

    SAMPLE = (HOST, VERSION, (b"origin", b"http://www.example.com"))

    def check(self, *headers: Header, http_version: str = "2", **options: Any) -> bytes:
        received = request(*headers, method=b"CONNECT", http_version=http_version)
        self.assertIs(is_upgrade_request(received), True)
        return check_upgrade_request(received, **options)

    def assert_refused(
        self, error: Type[errors.RequestRefused], *headers: Header, **options: Any
    ) -> errors.RequestRefused:
        with self.assertRaises(error) as caught:
            self.check(*headers, **options)
        self.assertIs(type(caught.exception), error)
        return caught.exception

    def test_sample_of_rfc_8441_5_1_has_no_key(self) -> None:
        for version in ("2", "3"):
            self.assertEqual(self.check(*self.SAMPLE, http_version=version), b"")

    def test_key_that_is_sent_all_the_same_is_not_used(self) -> None:
        self.assertEqual(self.check(*self.SAMPLE, WS_KEY), b"")

    def test_get_is_a_plain_request(self) -> None:
        self.assertIs(is_upgrade_request(request(*self.SAMPLE, http_version="2")), False)

    def test_connect_of_http_1_1_is_none(self) -> None:
        self.assertIs(is_upgrade_request(request(*self.SAMPLE, method=b"CONNECT")), False)

    def test_version_other_than_13_is_400_and_names_13(self) -> None:
        for headers in ([HOST, (b"sec-websocket-version", b"8")], [HOST, VERSION, VERSION]):
            refusal = self.assert_refused(errors.BadRequest, *headers)
            self.assertEqual(refusal.headers, ((b"Sec-WebSocket-Version", b"13"),))
        self.assertEqual(errors.BadRequest.headers, ())

    def test_version_and_host_missing_are_400(self) -> None:
        self.assert_refused(errors.BadRequest, HOST)
        self.assert_refused(errors.BadRequest, VERSION)

    def test_origin_is_checked(self) -> None:
        self.assert_refused(errors.Forbidden, *self.SAMPLE, allowed_origins=["same-origin"])
        allowed = ["http://www.example.com"]
        self.assertEqual(self.check(*self.SAMPLE, allowed_origins=allowed), b"")

    def test_answer_has_what_was_agreed_on_and_the_headers_in_lower_case(self) -> None:
        self.assertEqual(build_connect_answer(), [])
        answer = build_connect_answer(
            subprotocol="chat", extensions="permessage-deflate", headers=[(b"X-A", b"b")]
        )
        agreed = [(b"sec-websocket-protocol", b"chat"), (b"sec-websocket-extensions", b"permessage-deflate")]
        self.assertEqual(answer, [*agreed, (b"x-a", b"b")])

    def test_answer_is_no_101(self) -> None:
        with self.assertRaisesRegex(errors.EventError, "build_connect_answer"):
            build_101_response(b"")

    def test_answer_that_cannot_be_sent_is_refused(self) -> None:
        options: List[Any] = [{"subprotocol": "a b"}, {"extensions": " "}, {"extensions": "a\n"}]
        names = (b"Connection", b"Upgrade", b"Keep-Alive", b"Content-Length", b"Sec-WebSocket-Accept", b":a")
        options += [{"headers": [(name, b"a")]} for name in names]
        options += [{"headers": [(b"a", b"b\r\nc")]}]
        for option in options:
            with self.assertRaises(errors.EventError, msg=option):
                build_connect_answer(**option)


class OriginTests(unittest.TestCase):
    def assert_allowed(
        self, allowed_origins: Optional[Sequence[str]], *origins: bytes, host: bytes = HOST[1]
    ) -> None:
        received = sample((b"host", host), *[(b"origin", origin) for origin in origins], without=HOST)
        self.assertEqual(check_upgrade_request(received, allowed_origins=allowed_origins), KEY)

    def assert_forbidden(
        self, allowed_origins: Sequence[str], *origins: bytes, host: bytes = HOST[1]
    ) -> None:
        received = sample((b"host", host), *[(b"origin", origin) for origin in origins], without=HOST)
        with self.assertRaises(errors.Forbidden):
            check_upgrade_request(received, allowed_origins=allowed_origins)

    def test_every_origin_is_allowed_when_none_are_set(self) -> None:
        self.assert_allowed(None, b"http://evil.example")
        self.assert_allowed(None, b"null", b"anything \xff")

    def test_origins_may_be_made_before(self) -> None:
        allowed = AllowedOrigins(["https://*.example.com"])
        received = sample((b"origin", b"https://a.example.com"))
        self.assertEqual(check_upgrade_request(received, allowed_origins=allowed), KEY)
        with self.assertRaises(errors.Forbidden):
            check_upgrade_request(sample((b"origin", b"https://example.com")), allowed_origins=allowed)

    def test_host_of_a_trusted_proxy_takes_the_place_of_the_header(self) -> None:
        received = sample((b"origin", b"https://public.example"))
        options: Any = {"allowed_origins": ["same-origin"], "host": b"public.example"}
        self.assertEqual(check_upgrade_request(received, **options), KEY)
        with self.assertRaises(errors.Forbidden):
            check_upgrade_request(sample((b"origin", b"https://server.example.com")), **options)

    def test_origin_that_can_never_match_is_the_callers_mistake(self) -> None:
        with self.assertRaises(errors.ConfigError):
            check_upgrade_request(sample(), allowed_origins=["example.com"])

    def test_missing_origin_is_allowed(self) -> None:
        self.assert_allowed([])
        self.assert_allowed(["https://example.com", "same-origin"])

    def test_listed_origin_is_allowed_in_any_case(self) -> None:
        self.assert_allowed(["https://a.example", "https://Example.com"], b"https://example.COM")

    def test_scheme_of_a_listed_origin_may_be_any(self) -> None:
        self.assert_allowed(["same-origin", "tauri://localhost"], b"tauri://localhost")

    def test_origin_that_is_not_listed_is_403(self) -> None:
        for origin in (
            b"http://example.com",
            b"https://example.com:8443",
            b"https://example.com.evil.example",
        ):
            self.assert_forbidden(["https://example.com"], origin)
        for origin in (
            b"",
            b"https://example.com/",
            b"https://example.com\xff",
            b"same-origin",
            b"*",
            b"null",
        ):
            self.assert_forbidden(["https://example.com"], origin)

    def test_no_origin_is_allowed_by_an_empty_list(self) -> None:
        self.assert_forbidden([], b"https://example.com")

    def test_two_origins_are_403_even_if_listed(self) -> None:
        self.assert_forbidden(["https://example.com"], b"https://example.com", b"https://example.com")

    def test_null_is_allowed_only_where_listed(self) -> None:
        self.assert_allowed(["null"], b"null")
        self.assert_forbidden(["same-origin", "https://example.com"], b"null")

    def test_same_origin_is_the_origin_of_the_host_header(self) -> None:
        self.assert_allowed(["https://a.example", "same-origin"], b"https://server.example.com")
        self.assert_allowed(
            ["same-origin"], b"http://SERVER.example.com:8000", host=b"server.EXAMPLE.com:8000"
        )
        self.assert_allowed(["same-origin"], b"http://[::1]:8000", host=b"[::1]:8000")

    def test_same_origin_takes_the_default_ports_of_the_origins_scheme(self) -> None:
        self.assert_allowed(["same-origin"], b"https://a.example", host=b"a.example:443")
        self.assert_allowed(["same-origin"], b"http://a.example:80", host=b"a.example")
        self.assert_forbidden(["same-origin"], b"http://a.example", host=b"a.example:443")
        self.assert_forbidden(["same-origin"], b"https://a.example:80", host=b"a.example")

    def test_same_origin_refuses_another_host_or_port(self) -> None:
        for origin in (
            b"http://b.example",
            b"http://a.example.b.example",
            b"http://a.example:81",
            b"http://xa.example",
        ):
            self.assert_forbidden(["same-origin"], origin, host=b"a.example")

    def test_same_origin_refuses_what_is_no_origin_of_a_web_page(self) -> None:
        for origin in (
            b"",
            b"same-origin",
            b"a.example",
            b"file://a.example",
            b"http://",
            b"http://u@a.example",
        ):
            self.assert_forbidden(["same-origin"], origin, host=b"a.example")
        for origin in (b"http://a.example/", b"http://a.example http://a.example", b"\xff://a.example"):
            self.assert_forbidden(["same-origin"], origin, host=b"a.example")

    def test_same_origin_refuses_two_invalid_authorities_although_both_are_none(self) -> None:
        self.assert_forbidden(["same-origin"], b"http://a@b", host=b"a@b")


class ResponseTests(unittest.TestCase):
    START = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    )

    def assert_refused(self, **arguments: Any) -> None:
        with self.assertRaises(errors.EventError):
            build_101_response(KEY, **arguments)

    def test_forty_bytes_of_a_name_are_shown(self) -> None:
        with self.assertRaisesRegex(errors.EventError, "^header b'sec-websocket-a{26}' is set by"):
            build_101_response(KEY, headers=[(b"sec-websocket-" + b"a" * 27, b"")])

    def test_sample_of_rfc_6455_1_2(self) -> None:
        self.assertEqual(build_101_response(KEY), self.START + b"\r\n")
        self.assertEqual(build_101_response(KEY, headers=[]), self.START + b"\r\n")

    def test_subprotocol_extensions_and_headers_follow_in_this_order(self) -> None:
        response = build_101_response(
            KEY,
            subprotocol="chat",
            extensions="permessage-deflate",
            headers=[(b"X-A", b"1"), (b"X-A", b"\xff")],
        )
        expected = (
            b"Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
            b"X-A: 1\r\nX-A: \xff\r\n\r\n"
        )
        self.assertEqual(response, self.START + expected)

    def test_extensions_may_be_bytes(self) -> None:
        response = build_101_response(KEY, extensions=b"a; b=c")
        self.assertEqual(response, self.START + b"Sec-WebSocket-Extensions: a; b=c\r\n\r\n")

    def test_subprotocol_that_is_no_token_is_refused(self) -> None:
        for subprotocol in ("", "a b", "a,b", "a\r\nb: c", "a\n", "a\0", "\xe9", "\udcff", b"chat", 1):
            self.assert_refused(subprotocol=subprotocol)

    def test_extensions_that_cannot_be_sent_are_refused(self) -> None:
        for extensions in ("", " ", "\t", "a\r\nb: c", "a\n", "a\0", b"a\rb", b"", "\xe9", 1):
            self.assert_refused(extensions=extensions)

    def test_app_supplied_header_with_cr_lf_or_nul_is_refused(self) -> None:
        for bad in (b"a\r", b"a\n", b"a\r\nb: c", b"\x00", b"a\x7f"):
            self.assert_refused(headers=[(b"x-a", bad)])
            self.assert_refused(headers=[(bad, b"a")])

    def test_app_supplied_header_that_is_not_bytes_is_refused(self) -> None:
        for header in (("x-a", b"b"), (b"x-a", "b"), (None, b"b"), b"ab"):
            self.assert_refused(headers=[header])

    def test_app_set_headers_of_the_handshake_are_refused_in_any_case(self) -> None:
        for name in (
            b"connection",
            b"Upgrade",
            b"CONTENT-LENGTH",
            b"Transfer-Encoding",
            b"sec-websocket-accept",
        ):
            self.assert_refused(headers=[(b"x-a", b"b"), (name, b"1")])
        for name in (b"Sec-WebSocket-Protocol", b"sec-websocket-extensions", b"SEC-WEBSOCKET-ANYTHING"):
            self.assert_refused(headers=[(name, b"1")])

    def test_app_may_set_other_headers(self) -> None:
        response = build_101_response(
            KEY, headers=[(b"set-cookie", b"a=b"), (b"sec-websocke", b""), (b"host", b"c")]
        )
        self.assertEqual(response, self.START + b"set-cookie: a=b\r\nsec-websocke: \r\nhost: c\r\n\r\n")


class DefaultHeaderTests(unittest.TestCase):
    """Headers that a server adds to every response."""

    def test_most_headers_are_allowed(self) -> None:
        check_default_headers([(b"Server", b"a"), (b"Date", b""), (b"X-A", b"1"), (b"X-A", b"2")])

    def test_those_that_only_the_server_can_know_are_refused_in_any_case(self) -> None:
        names = b"Connection keep-alive Proxy-Connection UPGRADE Content-Length transfer-encoding"
        for name in (*names.split(), b"Sec-WebSocket-Accept", b"sec-websocket-anything"):
            with self.assertRaises(errors.EventError):
                check_default_headers([(b"X-A", b"1"), (name, b"1")])

    def test_those_that_cannot_be_sent_are_refused(self) -> None:
        for name, value in ((b"X A", b""), (b"X-A", b"\n")):
            with self.assertRaises(errors.EventError):
                check_default_headers([(name, value)])


class KeyGenerationTests(unittest.TestCase):
    def test_key_is_16_random_bytes_in_base64(self) -> None:
        use_random(self, {16: b"the sample nonce"}.__getitem__)
        self.assertEqual(generate_ws_key(), KEY)

    def test_keys_differ(self) -> None:
        self.assertNotEqual(generate_ws_key(), generate_ws_key())


class UpgradeRequestBuildingTests(unittest.TestCase):
    START = (
        b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    )

    def assert_built(self, rest: bytes, **arguments: Any) -> None:
        built = build_upgrade_request("/chat", "server.example.com", KEY, **arguments)
        self.assertEqual(built, self.START + rest + b"\r\n")

    def assert_refused(
        self, target: Any = "/", host: Any = "a", ws_key: bytes = KEY, **arguments: Any
    ) -> None:
        with self.assertRaises(errors.EventError):
            build_upgrade_request(target, host, ws_key, **arguments)

    def test_request_without_options(self) -> None:
        self.assert_built(b"")

    def test_sample_of_rfc_6455_1_2(self) -> None:
        self.assert_built(
            b"Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n",
            origin="http://example.com",
            subprotocols=["chat", "superchat"],
        )

    def test_extensions_and_headers_follow_last(self) -> None:
        self.assert_built(
            b"Sec-WebSocket-Extensions: permessage-deflate\r\nCookie: a=b\r\n",
            extensions="permessage-deflate",
            headers=[(b"Cookie", b"a=b")],
        )

    def test_target_and_host_may_be_bytes(self) -> None:
        self.assertEqual(build_upgrade_request(b"/chat", b"server.example.com", KEY), self.START + b"\r\n")

    def test_target_may_be_a_single_slash_or_have_a_query(self) -> None:
        for target in ("/", '/?a="b"&c=%20'):
            built = build_upgrade_request(target, "a:8000", KEY)
            self.assertEqual(
                built.partition(b"\r\nUpgrade")[0], b"GET %b HTTP/1.1\r\nHost: a:8000" % target.encode()
            )

    def test_target_that_cannot_be_sent_is_refused(self) -> None:
        for target in ("", "chat", "/a b", "/a#b", "/a\r\nb: c", "/\0", "/\xe9", b"/\xff", "ws://a/", None):
            self.assert_refused(target=target)

    def test_host_that_cannot_be_sent_is_refused(self) -> None:
        for host in ("", "a b", "a@b", "a\r\nb: c", "\xe9", "a:b", "a/b", 1):
            self.assert_refused(host=host)

    def test_key_that_is_not_16_bytes_in_base64_is_refused(self) -> None:
        for ws_key in (b"", KEY[:-1], KEY + b"\n", b"A" * 24):
            self.assert_refused(ws_key=ws_key)

    def test_subprotocols_in_place_of_a_list_are_named(self) -> None:
        with self.assertRaisesRegex(errors.EventError, r"^subprotocols must be a list, such as \['chat'\]$"):
            build_upgrade_request("/", "a", KEY, subprotocols="chat")

    def test_subprotocol_that_is_no_token_or_comes_twice_is_refused(self) -> None:
        for subprotocols in ([""], ["a b"], ["a", "b,c"], ["a", "b", "a"], ["\xe9"], [b"a"]):
            self.assert_refused(subprotocols=subprotocols)

    def test_values_that_cannot_be_sent_are_refused(self) -> None:
        for bad in ("a\r\nb: c", "a\0", "\xe9"):
            self.assert_refused(origin=bad)
            self.assert_refused(extensions=bad)

    def test_header_that_the_handshake_sets_is_refused(self) -> None:
        for name in (b"Host", b"connection", b"upgrade", b"Sec-WebSocket-Key", b"content-length"):
            self.assert_refused(headers=[(name, b"1")])

    def test_headers_that_are_no_pairs_are_named(self) -> None:
        headers: Any = {"Cookie": "a=b"}
        text = "^headers must be pairs of name and value, not {'Cookie': 'a=b'}$"
        with self.assertRaisesRegex(errors.EventError, text):
            build_upgrade_request("/", "a", KEY, headers=headers)

    def test_header_with_a_line_end_is_refused(self) -> None:
        self.assert_refused(headers=[(b"a", b"b\r\nc: d")])


class UpgradeResponseTests(unittest.TestCase):
    ACCEPTED = (UPGRADE, CONNECTION, (b"sec-websocket-accept", ACCEPT))

    def assert_connected(
        self,
        subprotocol: Optional[str],
        extensions: Optional[bytes],
        *headers: Header,
        offered: Sequence[str] = (),
    ) -> None:
        answer = check_upgrade_response(ResponseReceived(101, headers), KEY, subprotocols=offered)
        self.assertEqual(answer, (WebSocketConnected(subprotocol), extensions))

    def assert_failed(self, text: str, *headers: Header, **response: Any) -> None:
        received = ResponseReceived(**{"status": 101, "headers": headers, **response})
        with self.assertRaisesRegex(errors.HandshakeFailed, text):
            check_upgrade_response(received, KEY, subprotocols=["chat", "superchat"])

    def test_sample_of_rfc_6455_1_2(self) -> None:
        self.assert_connected(None, None, *self.ACCEPTED)
        chosen = (b"sec-websocket-protocol", b"chat")
        self.assert_connected("chat", None, *self.ACCEPTED, chosen, offered=["chat", "superchat"])

    def test_names_are_compared_without_case(self) -> None:
        headers = ((b"upgrade", b"WebSocket"), (b"connection", b"keep-alive, upgrade"), self.ACCEPTED[2])
        self.assert_connected(None, None, *headers)

    def test_extensions_are_returned_with_all_lines_joined(self) -> None:
        lines: List[Header] = [(b"sec-websocket-extensions", b"a; b=c"), (b"sec-websocket-extensions", b"d")]
        self.assert_connected(None, b"a; b=c", *self.ACCEPTED, lines[0])
        self.assert_connected(None, b"a; b=c, d", *self.ACCEPTED, *lines)
        self.assert_connected(None, b"", *self.ACCEPTED, (b"sec-websocket-extensions", b""))

    def test_status_other_than_101_fails(self) -> None:
        for status in (100, 200, 301, 401, 426, 500):
            self.assert_failed(f"answered HTTP/1.1 {status}", *self.ACCEPTED, status=status)

    def test_http_1_0_fails(self) -> None:
        self.assert_failed("answered HTTP/1.0 101", *self.ACCEPTED, http_version="1.0")

    def test_upgrade_missing_or_wrong_fails(self) -> None:
        self.assert_failed("Upgrade is not websocket", *self.ACCEPTED[1:])
        self.assert_failed("Upgrade is not websocket", (b"upgrade", b"h2c"), *self.ACCEPTED[1:])

    def test_connection_missing_or_wrong_fails(self) -> None:
        self.assert_failed("Connection is not Upgrade", UPGRADE, self.ACCEPTED[2])
        self.assert_failed("Connection is not Upgrade", UPGRADE, (b"connection", b"close"), self.ACCEPTED[2])

    def test_accept_missing_wrong_or_twice_fails(self) -> None:
        for values in ([], [b""], [KEY], [ACCEPT.lower()], [ACCEPT + b"="], [ACCEPT, ACCEPT], [b"\xff"]):
            accepts = [(b"sec-websocket-accept", value) for value in values]
            self.assert_failed("Sec-WebSocket-Accept", UPGRADE, CONNECTION, *accepts)

    def test_subprotocol_that_was_not_offered_fails(self) -> None:
        for value in (b"", b"other", b"Chat", b"chat, superchat", b"\xff"):
            self.assert_failed("not offered", *self.ACCEPTED, (b"sec-websocket-protocol", value))

    def test_two_subprotocols_fail(self) -> None:
        chosen = ((b"sec-websocket-protocol", b"chat"), (b"sec-websocket-protocol", b"superchat"))
        self.assert_failed("not offered", *self.ACCEPTED, *chosen)


if __name__ == "__main__":
    unittest.main()
