"""`ServerHandshake` and `ClientHandshake`: whole conversations as literal bytes, without I/O."""

from __future__ import annotations

import unittest
from typing import Any, Type

from wsbridge.protocols import errors
from wsbridge.protocols.deflate import DeflateSettings
from wsbridge.protocols.events import RequestReceived
from wsbridge.protocols.http11 import RequestParser
from wsbridge.protocols.opening import ClientHandshake, ServerHandshake
from wsbridge.protocols.origins import AllowedOrigins

from .doubles import use_random, without
from .loopback import HELLO, PEER_HELLO, REQUEST, SWITCHING

OFFERING = REQUEST[:-2] + b"Sec-WebSocket-Protocol: chat, superchat\r\n\r\n"
HEAD_405 = (
    b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 44\r\nConnection: close\r\n\r\n"
)


class ServerCase(unittest.TestCase):
    def receive(self, handshake: ServerHandshake, data: bytes = REQUEST) -> RequestReceived:
        request = handshake.receive_data(data)
        assert request is not None
        return request

    def assert_refused(self, error: Type[errors.RequestRefused], data: bytes, **options: Any) -> bytes:
        """What is written to the client."""
        handshake = ServerHandshake(**options)
        with self.assertRaises(error) as refusal:
            handshake.receive_data(data)
        self.assertIsNone(handshake.request)
        return handshake.refuse(refusal.exception)


class ServerAcceptTests(ServerCase):
    def test_sample_of_rfc_6455_1_2(self) -> None:
        handshake = ServerHandshake()
        request = self.receive(handshake)
        self.assertEqual((request.target, handshake.request), (b"/chat", request))
        self.assertIsNone(handshake.ws)
        self.assertEqual(handshake.accept(), SWITCHING)
        assert handshake.ws is not None
        self.assertEqual(handshake.ws.receive_data(PEER_HELLO)[0][0].data, "Hello")

    def test_byte_by_byte_and_with_bytes_behind_the_head(self) -> None:
        handshake = ServerHandshake()
        for byte in REQUEST[:-1]:
            self.assertIsNone(handshake.receive_data(bytes((byte,))))
        self.receive(handshake, REQUEST[-1:] + PEER_HELLO)
        self.assertEqual(handshake.trailing, PEER_HELLO)

    def test_subprotocol_is_chosen_from_the_offers(self) -> None:
        handshake = ServerHandshake()
        self.receive(handshake, OFFERING)
        self.assertEqual(handshake.subprotocols, ["chat", "superchat"])
        answer = handshake.accept("superchat", [(b"Set-Cookie", b"a=b")])
        rest = b"Sec-WebSocket-Protocol: superchat\r\nSet-Cookie: a=b\r\n\r\n"
        self.assertEqual(answer, SWITCHING[:-2] + rest)
        assert handshake.ws is not None
        self.assertEqual(handshake.ws.subprotocol, "superchat")

    def test_compression_is_agreed_on(self) -> None:
        handshake = ServerHandshake(enable_compression=True, deflate=DeflateSettings(threshold=0))
        self.receive(handshake, REQUEST[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
        self.assertIn(b"Sec-WebSocket-Extensions: permessage-deflate", handshake.accept())
        assert handshake.ws is not None
        self.assertIsNotNone(handshake.ws.compression)

    def test_request_of_another_parser(self) -> None:
        handshake = ServerHandshake()
        request = RequestParser().receive_data(REQUEST)
        assert request is not None
        self.assertIs(handshake.receive_request(request, PEER_HELLO), request)
        self.assertEqual((handshake.accept(), handshake.trailing), (SWITCHING, PEER_HELLO))


class ServerRefusalTests(ServerCase):
    def test_what_is_no_handshake_is_refused_with_its_status(self) -> None:
        for error, data, start in (
            (errors.BadRequest, b"nonsense\n", b"HTTP/1.1 400 "),
            (errors.BadRequest, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 400 "),
            (errors.BadRequest, REQUEST[:-2] + b"Sec-WebSocket-Protocol: ?/\r\n\r\n", b"HTTP/1.1 400 "),
            (errors.UpgradeRequired, REQUEST.replace(b"Version: 13", b"Version: 8"), b"HTTP/1.1 426 "),
            (errors.BadRequest, b"", b"HTTP/1.1 400 "),
        ):
            with self.subTest(data):
                self.assertTrue(self.assert_refused(error, data).startswith(start))

    def test_malformed_offer_is_refused_where_compression_is_wanted(self) -> None:
        data = REQUEST[:-2] + b"Sec-WebSocket-Extensions: =\r\n\r\n"
        self.assert_refused(errors.BadRequest, data, enable_compression=True)

    def test_answer_to_head_has_no_body(self) -> None:
        answer = self.assert_refused(errors.MethodNotAllowed, b"HEAD" + REQUEST[3:])
        self.assertEqual(answer, HEAD_405)

    def test_foreign_origin_is_403(self) -> None:
        data = REQUEST[:-2] + b"Origin: http://evil.example\r\n\r\n"
        self.assert_refused(errors.Forbidden, data, allowed_origins=["same-origin"])
        self.assert_refused(errors.Forbidden, data, allowed_origins=AllowedOrigins(["same-origin"]))

    def test_limits_are_those_of_the_parser(self) -> None:
        parser = RequestParser(max_headers=2)
        self.assert_refused(errors.HeadTooLarge, REQUEST, parser=parser)

    def test_valid_request_may_be_refused_too(self) -> None:
        handshake = ServerHandshake()
        self.receive(handshake)
        self.assertTrue(handshake.refuse().startswith(b"HTTP/1.1 403 Forbidden\r\n"))
        with self.assertRaises(errors.StateError):
            handshake.accept()


class ServerMisuseTests(ServerCase):
    """Mistakes of the caller's raise, and nothing is lost by them."""

    def test_wrong_option_raises_at_once(self) -> None:
        with self.assertRaisesRegex(TypeError, "max_size"):
            ServerHandshake(max_size=5)  # type: ignore[call-arg]

    def test_origin_that_can_never_match_raises_at_once(self) -> None:
        with self.assertRaises(errors.ConfigError):
            ServerHandshake(allowed_origins=["http://a/b c"])

    def test_answer_without_a_request(self) -> None:
        with self.assertRaisesRegex(errors.StateError, "^there is no request to answer: read on"):
            ServerHandshake().accept()

    def test_second_answer(self) -> None:
        handshake = ServerHandshake()
        self.receive(handshake)
        handshake.accept()
        with self.assertRaises(errors.StateError):
            handshake.accept()
        with self.assertRaisesRegex(errors.StateError, r"^the request was accepted: .* ws.close\(\)$"):
            handshake.refuse()

    def test_second_request(self) -> None:
        handshake = ServerHandshake()
        request = self.receive(handshake)
        with self.assertRaises(errors.StateError):
            handshake.receive_data(REQUEST)
        with self.assertRaisesRegex(errors.StateError, "^this handshake has its request"):
            handshake.receive_request(request)

    def test_request_of_another_type(self) -> None:
        wrong: Any = {"REQUEST_METHOD": "GET"}
        with self.assertRaisesRegex(TypeError, "^request must be a RequestReceived, not {'REQUEST"):
            ServerHandshake().receive_request(wrong)

    def test_subprotocol_that_was_not_offered(self) -> None:
        for data, text in ((REQUEST, "offers nothing$"), (OFFERING, "offers chat, superchat$")):
            handshake = ServerHandshake()
            self.receive(handshake, data)
            with self.assertRaisesRegex(errors.EventError, f"^subprotocol 'mqtt' was not offered.*{text}"):
                handshake.accept("mqtt")
            self.assertEqual(handshake.accept(), SWITCHING)


class ClientCase(unittest.TestCase):
    def setUp(self) -> None:
        # RFC 6455 1.3: the sample nonce.
        use_random(self, lambda size: b"the sample nonce"[:size])

    def make(self, url: str = "ws://server.example.com/chat", **options: Any) -> ClientHandshake:
        return ClientHandshake(url, **options)

    def assert_failed(self, text: str, handshake: ClientHandshake, data: bytes) -> errors.HandshakeFailed:
        with self.assertRaisesRegex(errors.HandshakeFailed, text) as failure:
            handshake.receive_data(data)
        self.assertIs(failure.exception.response, handshake.response)
        return failure.exception


class ClientRequestTests(ClientCase):
    def test_sample_of_rfc_6455_1_2(self) -> None:
        self.assertEqual(self.make().request(), REQUEST)

    def test_url_says_where_to_connect(self) -> None:
        for url, host, port, secure, start in (
            ("ws://a/", "a", 80, False, b"GET / HTTP/1.1\r\nHost: a\r\n"),
            ("WSS://A.example", "a.example", 443, True, b"GET / HTTP/1.1\r\nHost: a.example\r\n"),
            ("https://a:8443?b", "a", 8443, True, b"GET /?b HTTP/1.1\r\nHost: a:8443\r\n"),
            ("http://[::1]:80/b?c", "::1", 80, False, b"GET /b?c HTTP/1.1\r\nHost: [::1]\r\n"),
            ("ws://[::1]:8000", "::1", 8000, False, b"GET / HTTP/1.1\r\nHost: [::1]:8000\r\n"),
        ):
            with self.subTest(url):
                handshake = self.make(url)
                self.assertEqual((handshake.host, handshake.port, handshake.is_secure), (host, port, secure))
                self.assertTrue(handshake.request().startswith(start), handshake.request())

    def test_url_that_cannot_be_asked_for(self) -> None:
        for url in ("a", "/chat", "ftp://a/", "ws://a/#b", "ws://\xe9/", b"ws://a/", None):
            with self.assertRaisesRegex(errors.EventError, "is not of the form ws://host/path"):
                self.make(url)  # type: ignore[arg-type]
        for url in ("ws://", "ws://user:password@a/", "ws://a:99999/"):
            with self.assertRaisesRegex(errors.EventError, "has no valid host"):
                self.make(url)
        with self.assertRaisesRegex(errors.EventError, "^target must be a path"):
            self.make("ws://a/b c")

    def test_offers_headers_and_origin(self) -> None:
        handshake = self.make(
            subprotocols=["chat"], headers=[(b"Cookie", b"a=b")], origin="http://a", enable_compression=True
        )
        self.assertEqual(
            handshake.request(),
            REQUEST[:-2] + b"Origin: http://a\r\nSec-WebSocket-Protocol: chat\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=12; "
            b"client_max_window_bits=12\r\nCookie: a=b\r\n\r\n",
        )

    def test_without_zlib_no_compression_is_offered(self) -> None:
        with without("zlib"):
            self.assertEqual(self.make(enable_compression=True).request(), REQUEST)

    def test_wrong_option_raises_at_once(self) -> None:
        with self.assertRaisesRegex(TypeError, "max_size"):
            self.make(max_size=5)


class ClientAnswerTests(ClientCase):
    def test_101_is_the_connection(self) -> None:
        handshake = self.make()
        ws = handshake.receive_data(SWITCHING + HELLO)
        assert ws is not None
        self.assertIs(ws, handshake.ws)
        self.assertEqual(handshake.trailing, HELLO)
        self.assertEqual(ws.receive_data(HELLO)[0][0].data, "Hello")
        assert handshake.response is not None
        self.assertEqual(handshake.response.status, 101)

    def test_byte_by_byte(self) -> None:
        handshake = self.make()
        for byte in SWITCHING[:-1]:
            self.assertIsNone(handshake.receive_data(bytes((byte,))))
        self.assertIsNotNone(handshake.receive_data(SWITCHING[-1:]))
        self.assertEqual(handshake.trailing, b"")

    def test_subprotocol_and_compression_are_agreed_on(self) -> None:
        handshake = self.make(subprotocols=["chat"], enable_compression=True)
        rest = b"Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        ws = handshake.receive_data(SWITCHING[:-2] + rest)
        assert ws is not None
        self.assertEqual(ws.subprotocol, "chat")
        self.assertIsNotNone(ws.compression)

    def test_informational_responses_are_skipped(self) -> None:
        for start in (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" * 2):
            handshake = self.make()
            self.assertIsNone(handshake.receive_data(start))
            self.assertIsNotNone(handshake.receive_data(SWITCHING))
            self.assertIsNotNone(self.make().receive_data(start + SWITCHING))

    def test_endless_informational_responses_fail(self) -> None:
        handshake = self.make()
        self.assertIsNone(handshake.receive_data(b"HTTP/1.1 100 \r\n\r\n" * 16))
        self.assert_failed("^more than 16 informational", handshake, b"HTTP/1.1 100 \r\n\r\n")

    def test_redirection_and_401_can_be_read(self) -> None:
        for status, header in ((302, (b"location", b"/b")), (401, (b"www-authenticate", b"Basic"))):
            data = b"HTTP/1.1 %d \r\n%b: %b\r\n\r\n<html>" % (status, *header)
            handshake = self.make()
            failure = self.assert_failed(f"answered HTTP/1.1 {status}$", handshake, data)
            assert failure.response is not None
            self.assertEqual((failure.response.status, failure.response.headers), (status, (header,)))
            self.assertEqual((handshake.trailing, handshake.ws), (b"<html>", None))

    def test_101_that_breaks_a_rule_fails(self) -> None:
        self.assert_failed("Accept does not match", self.make(), SWITCHING.replace(b"xOo=", b"xOO="))
        extension = SWITCHING[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        self.assert_failed("not offered", self.make(), extension)

    def test_answer_that_is_no_http_or_ends_early_fails(self) -> None:
        self.assert_failed("", self.make(), b"nonsense\n")
        self.assert_failed("^the stream ended before the answer was complete$", self.make(), b"")

    def test_what_comes_behind_the_answer_is_not_for_the_handshake(self) -> None:
        handshake = self.make()
        handshake.receive_data(SWITCHING)
        with self.assertRaisesRegex(errors.StateError, "^the server has answered: .* ws.receive_data$"):
            handshake.receive_data(HELLO)


class ProxyTests(ClientCase):
    CONNECT = b"CONNECT server.example.com:80 HTTP/1.1\r\nHost: server.example.com:80\r\n"

    def test_tunnel_comes_before_the_handshake(self) -> None:
        handshake = self.make()
        self.assertEqual(handshake.connect_request(), self.CONNECT + b"\r\n")
        with self.assertRaisesRegex(errors.StateError, "^the proxy has not answered"):
            handshake.request()
        self.assertIsNone(handshake.receive_data(b"HTTP/1.1 200 Connection"))
        self.assertFalse(handshake.has_tunnel)
        self.assertIsNone(handshake.receive_data(b" established\r\n\r\n"))
        self.assertTrue(handshake.has_tunnel)
        self.assertEqual(handshake.request(), REQUEST)
        self.assertIsNotNone(handshake.receive_data(SWITCHING))

    def test_headers_are_sent_and_checked(self) -> None:
        handshake = self.make()
        credentials = [(b"Proxy-Authorization", b"Basic YTpi")]
        expected = self.CONNECT + b"Proxy-Authorization: Basic YTpi\r\n\r\n"
        self.assertEqual(handshake.connect_request(credentials), expected)
        with self.assertRaises(errors.EventError):
            handshake.connect_request([(b"a", b"b\r\nc: d")])

    def test_address_of_ipv6_keeps_its_brackets(self) -> None:
        request = self.make("wss://[::1]/").connect_request()
        self.assertEqual(request, b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n")

    def test_refusal_of_the_proxy_can_be_read(self) -> None:
        for status in (101, 302, 407, 502):
            handshake = self.make()
            handshake.connect_request()
            data = b"HTTP/1.1 %d \r\nProxy-Authenticate: Basic\r\n\r\nbody" % status
            failure = self.assert_failed(f"^the proxy answered {status}: no tunnel$", handshake, data)
            assert failure.response is not None
            self.assertEqual(failure.response.headers, ((b"proxy-authenticate", b"Basic"),))

    def test_bytes_behind_the_tunnels_answer_fail(self) -> None:
        handshake = self.make()
        handshake.connect_request()
        self.assert_failed("^the proxy answered 200: bytes behind", handshake, b"HTTP/1.1 200 \r\n\r\n\x81")


if __name__ == "__main__":
    unittest.main()
