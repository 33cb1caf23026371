"""ASGI scopes: every key of ``websocket`` and ``http``, and what trusted proxies change in them."""

from __future__ import annotations

import dataclasses
import json
import unittest
from typing import Any, Dict, Tuple

from wsbridge.asgi.scope import (
    HttpScopes,
    SecureHttpScopes,
    build_http_scope,
    build_ws_scope,
    check_ws_request,
)
from wsbridge.config import ServerConfig
from wsbridge.protocols.errors import BadRequest, Forbidden
from wsbridge.protocols.events import RequestReceived
from wsbridge.protocols.http11 import RequestParser

Header = Tuple[bytes, bytes]
Scope = Dict[str, Any]

PROXY, CLIENT, SERVER = ("192.0.2.1", 40000), ("198.51.100.7", 50000), ("10.0.0.1", 8000)
HOST: Header = (b"host", b"backend:8000")
TRUSTING = ServerConfig(forwarded_allow_ips=PROXY[0])
X_FORWARDED = ServerConfig(
    forwarded_allow_ips=PROXY[0],
    forwarded_headers=tuple(f"x-forwarded-{name}" for name in ("for", "proto", "host", "port", "prefix")),
)
RFC7239 = ServerConfig(forwarded_allow_ips=PROXY[0], forwarded_headers=("forwarded", "forwarded-host"))


def request(target: bytes = b"/", *headers: Header, method: bytes = b"GET") -> RequestReceived:
    return RequestReceived(method, target, headers, "1.1")


def ws_scope(target: bytes = b"/", *headers: Header, config: ServerConfig = ServerConfig()) -> Scope:  # noqa: B008
    return build_ws_scope(request(target, *headers), config, CLIENT, SERVER)


class WebSocketScopeTests(unittest.TestCase):
    def test_every_key_and_no_other(self) -> None:
        received = request(b"/chat/room?a=b", HOST, (b"sec-websocket-protocol", b"chat"))
        self.assertEqual(
            build_ws_scope(received, ServerConfig(), CLIENT, SERVER),
            {
                "type": "websocket",
                "asgi": {"version": "3.0", "spec_version": "2.5"},
                "http_version": "1.1",
                "scheme": "ws",
                "path": "/chat/room",
                "raw_path": b"/chat/room",
                "query_string": b"a=b",
                "root_path": "",
                "headers": [HOST, (b"sec-websocket-protocol", b"chat")],
                "client": CLIENT,
                "server": SERVER,
                "subprotocols": ["chat"],
                "extensions": {"websocket.http.response": {}},
            },
        )

    def test_scheme_is_what_the_caller_says(self) -> None:
        scope = build_ws_scope(request(), ServerConfig(), CLIENT, SERVER, scheme="wss")
        self.assertEqual(scope["scheme"], "wss")

    def test_scheme_follows_from_the_configuration_where_the_caller_does_not_say(self) -> None:
        plain, secure = ServerConfig(), ServerConfig(ssl_certfile="certificate.pem")
        for build, schemes in ((build_ws_scope, ("ws", "wss")), (build_http_scope, ("http", "https"))):
            for config, scheme in zip((plain, secure), schemes):
                build_any: Any = build
                self.assertEqual(build_any(request(), config, CLIENT, SERVER)["scheme"], scheme)
                for said in schemes:
                    scope = build_any(request(), config, CLIENT, SERVER, scheme=said)
                    self.assertEqual(scope["scheme"], said)

    def test_scheme_of_a_trusted_proxy_goes_before_both(self) -> None:
        config = dataclasses.replace(TRUSTING, ssl_certfile="certificate.pem")
        received = request(b"/", (b"x-forwarded-proto", b"http"))
        self.assertEqual(build_ws_scope(received, config, PROXY, SERVER)["scheme"], "ws")

    def test_other_scheme_is_the_callers_mistake(self) -> None:
        for build, scheme in ((build_ws_scope, "http"), (build_ws_scope, ""), (build_http_scope, "wss")):
            build_any: Any = build
            with self.assertRaisesRegex(ValueError, "^scheme '.*' is not one of "):
                build_any(request(), ServerConfig(), CLIENT, SERVER, scheme=scheme)

    def test_names_of_ipv6_sockets_are_cut_to_host_and_port(self) -> None:
        client: Any = ("2001:db8::1", 50000, 0, 0)
        server: Any = ("fe80::1%eth0", 8000, 0, 2)
        scope = build_ws_scope(request(), ServerConfig(), client, server)
        self.assertEqual((scope["client"], scope["server"]), (client[:2], server[:2]))

    def test_address_that_is_none_is_the_callers_mistake(self) -> None:
        for address in ("192.0.2.1", b"192.0.2.1", "", 8000, ("192.0.2.1",), ()):
            wrong: Any = address
            with self.assertRaisesRegex(TypeError, "^client must be "):
                build_ws_scope(request(), ServerConfig(), wrong, SERVER)
            with self.assertRaisesRegex(TypeError, "^server must be "):
                build_http_scope(request(), ServerConfig(), CLIENT, wrong)

    def test_peer_on_a_unix_socket_is_none(self) -> None:
        scope = build_ws_scope(request(), ServerConfig(), None, None)
        self.assertEqual((scope["client"], scope["server"]), (None, None))

    def test_state_is_a_shallow_copy(self) -> None:
        state = {"database": ["shared"]}
        scope = build_ws_scope(request(), ServerConfig(), CLIENT, SERVER, state=state)
        self.assertEqual(scope["state"], state)
        self.assertIsNot(scope["state"], state)
        self.assertIs(scope["state"]["database"], state["database"])

    def test_state_that_is_empty_is_a_state(self) -> None:
        scope = build_ws_scope(request(), ServerConfig(), CLIENT, SERVER, state={})
        self.assertEqual(scope["state"], {})

    def test_state_is_absent_without_a_lifespan(self) -> None:
        self.assertNotIn("state", ws_scope())

    def test_connection_stands_beside_the_extensions_which_are_data(self) -> None:
        connection = object()
        scope = build_ws_scope(request(), ServerConfig(), CLIENT, SERVER, connection=connection)
        self.assertIs(scope["wsbridge.connection"], connection)
        self.assertEqual(json.dumps(scope["extensions"]), '{"websocket.http.response": {}}')
        page = build_http_scope(request(), ServerConfig(), CLIENT, SERVER)
        self.assertEqual(json.dumps(page["extensions"]), "{}")

    def test_scopes_share_nothing_that_can_change(self) -> None:
        received = request(b"/", (b"sec-websocket-protocol", b"chat"))
        first, second = (build_ws_scope(received, ServerConfig(), CLIENT, SERVER) for _ in range(2))
        for key in ("asgi", "headers", "subprotocols", "extensions"):
            self.assertIsNot(first[key], second[key])
        self.assertIsNot(*(scope["extensions"]["websocket.http.response"] for scope in (first, second)))


class PageScopeTests(unittest.TestCase):
    def test_every_key_and_no_other(self) -> None:
        self.assertEqual(
            build_http_scope(request(b"/?", HOST, method=b"HEAD"), ServerConfig(), CLIENT, SERVER),
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "http_version": "1.1",
                "method": "HEAD",
                "scheme": "http",
                "path": "/",
                "raw_path": b"/",
                "query_string": b"",
                "root_path": "",
                "headers": [HOST],
                "client": CLIENT,
                "server": SERVER,
                "extensions": {},
            },
        )

    def test_scheme_and_state_are_the_callers(self) -> None:
        scope = build_http_scope(request(), ServerConfig(), CLIENT, SERVER, scheme="https", state={"a": 1})
        self.assertEqual((scope["scheme"], scope["state"]), ("https", {"a": 1}))


class ScopesTests(unittest.TestCase):
    """`HttpScopes` builds what `build_http_scope` builds, also for headers that it has seen."""

    def setUp(self) -> None:
        self.state: Any = {"pool": object()}
        self.use(ServerConfig())

    def use(self, config: ServerConfig, client: Any = CLIENT) -> None:
        self.config, self.client = config, client
        self.scopes = HttpScopes(config, client, SERVER, scheme="https", state=self.state)
        self.parser = RequestParser()

    def request(self, line: bytes = b"GET /", lines: bytes = b"Host: a\r\n") -> RequestReceived:
        received = self.parser.receive_data(line + b" HTTP/1.1\r\n" + lines + b"\r\n")
        self.parser.begin_next()
        assert received is not None
        return received

    def assert_built(self, received: RequestReceived) -> Scope:
        scope = self.scopes.build(received)
        expected = build_http_scope(
            received, self.config, self.client, SERVER, scheme="https", state=self.state
        )
        self.assertEqual(scope, expected)
        return scope

    def test_target_and_method_are_those_of_each_request(self) -> None:
        for line in (b"GET /a?b", b"POST /c%20d", b"HEAD //", b"OPTIONS *", b"GET /a?b"):
            self.assert_built(self.request(line))

    def test_headers_may_change_and_come_again(self) -> None:
        for name in (b"a", b"a", b"b", b"b", b"a"):
            self.assert_built(self.request(lines=b"Host: a\r\nX: %b\r\n" % name))

    def test_http_version_is_that_of_each_request(self) -> None:
        for http_version in ("1.1", "1.0", "1.1"):
            self.assert_built(RequestReceived(b"GET", b"/", (), http_version))

    def test_root_path_is_that_of_each_request(self) -> None:
        self.use(dataclasses.replace(X_FORWARDED, root_path="/own"), PROXY)
        for prefix in (b"", b"", b"X-Forwarded-Prefix: /other\r\n", b"X-Forwarded-Prefix: /other\r\n"):
            self.assert_built(self.request(b"GET /a", b"Host: a\r\n" + prefix))

    def test_client_scheme_and_host_of_a_trusted_proxy_are_those_of_each_request(self) -> None:
        self.use(X_FORWARDED, PROXY)
        for number in (b"1", b"1", b"2", b"2"):
            lines = b"X-Forwarded-For: 192.0.2.%b\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: b%b\r\n"
            self.assert_built(self.request(lines=b"Host: a\r\n" + lines % (number, number)))

    def test_there_may_be_no_state(self) -> None:
        self.state = None
        self.use(ServerConfig())
        for _ in range(2):
            self.assertNotIn("state", self.assert_built(self.request()))

    def test_under_tls_each_has_an_extension_of_its_own(self) -> None:
        tls = {"tls_version": 0x0304}
        self.scopes = SecureHttpScopes(tls, self.config, CLIENT, SERVER, state=self.state)
        for _ in range(3):
            received = self.request()
            scope = self.scopes.build(received)
            expected = build_http_scope(
                received, self.config, CLIENT, SERVER, scheme="https", state=self.state
            )
            self.assertEqual(scope, {**expected, "extensions": {"tls": {"tls_version": 0x0304}}})
            scope["extensions"]["tls"].clear()

    def test_large_headers_may_come_again(self) -> None:
        for size in (5000, 5000, 3000, 3000):
            self.assert_built(self.request(lines=b"Host: a\r\nX: %b\r\n" % (b"x" * size)))

    def test_application_may_change_its_scope(self) -> None:
        for _ in range(3):
            scope = self.assert_built(self.request(lines=b"Host: a\r\nAccept: */*\r\n"))
            scope["asgi"]["version"] = "2.0"
            scope["headers"].clear()
            scope["extensions"]["own"] = scope["state"]["own"] = {}
            scope["path"] = scope["root_path"] = "/mounted"
            scope["client"] = scope["app"] = None


class HeaderTests(unittest.TestCase):
    def test_order_and_duplicates_are_kept(self) -> None:
        headers = ((b"b", b"2"), (b"a", b"1"), (b"b", b"2"), (b"b", b""))
        self.assertEqual(ws_scope(b"/", *headers)["headers"], list(headers))

    def test_names_are_lower_case_and_values_as_sent(self) -> None:
        scope = ws_scope(b"/", (b"X-Mixed-CASE", b"Value \xff\xfe"))
        self.assertEqual(scope["headers"], [(b"x-mixed-case", b"Value \xff\xfe")])

    def test_subprotocols_of_all_lines_are_joined_without_empties(self) -> None:
        name = b"sec-websocket-protocol"
        lines = ((name, b"chat, superchat"), (b"a", b"x"), (name, b" ,,v2\t,"), (name, b""))
        self.assertEqual(ws_scope(b"/", *lines)["subprotocols"], ["chat", "superchat", "v2"])

    def test_subprotocols_are_found_whatever_the_case_of_the_name(self) -> None:
        self.assertEqual(ws_scope(b"/", (b"Sec-WebSocket-Protocol", b"a"))["subprotocols"], ["a"])

    def test_no_subprotocols_are_an_empty_list(self) -> None:
        self.assertEqual(ws_scope()["subprotocols"], [])

    def test_subprotocols_that_are_no_tokens_are_a_bad_request(self) -> None:
        with self.assertRaises(BadRequest):
            ws_scope(b"/", (b"sec-websocket-protocol", b"two words"))


class TargetTests(unittest.TestCase):
    def assert_target(self, target: bytes, path: str, raw_path: bytes, query: bytes = b"") -> None:
        scope = ws_scope(target)
        self.assertEqual((scope["path"], scope["raw_path"], scope["query_string"]), (path, raw_path, query))

    def test_path_is_percent_and_utf_8_decoded(self) -> None:
        self.assert_target(b"/caf%C3%A9%20%2B+", "/café ++", b"/caf%C3%A9%20%2B+")

    def test_what_is_not_utf_8_is_replaced(self) -> None:
        self.assert_target(b"/%ff", "/\ufffd", b"/%ff")
        self.assert_target(b"/%e2%82x", "/\ufffdx", b"/%e2%82x")

    def test_dots_and_nul_are_not_normalised(self) -> None:
        self.assert_target(b"/a/%2e%2e/b", "/a/../b", b"/a/%2e%2e/b")
        self.assert_target(b"/a/../b//c", "/a/../b//c", b"/a/../b//c")
        self.assert_target(b"/%00", "/\0", b"/%00")
        self.assert_target(b"/a%2Fb%3Fc", "/a/b?c", b"/a%2Fb%3Fc")

    def test_percent_without_two_digits_stands_for_itself(self) -> None:
        self.assert_target(b"/100%/%4/%zz/%C3%A9", "/100%/%4/%zz/é", b"/100%/%4/%zz/%C3%A9")

    def test_bytes_above_7f_are_utf_8_beside_percents_too(self) -> None:
        self.assert_target(b"/\xc3\xa9\xff", "/é\ufffd", b"/\xc3\xa9\xff")
        self.assert_target(b"/\xc3\xa9%20\xff", "/é \ufffd", b"/\xc3\xa9%20\xff")

    def test_query_is_what_follows_the_first_question_mark(self) -> None:
        self.assert_target(b"/a?b=%ff&c?d/e", "/a", b"/a", b"b=%ff&c?d/e")
        self.assert_target(b"/a?", "/a", b"/a")
        self.assert_target(b"/?x", "/", b"/", b"x")

    def test_absolute_form_loses_its_authority(self) -> None:
        self.assert_target(b"http://example.com/a%20b?c", "/a b", b"/a%20b", b"c")
        self.assert_target(b"ws://user@example.com:80/a://b", "/a://b", b"/a://b")

    def test_scheme_of_absolute_form_is_not_the_scopes(self) -> None:
        for target in (b"wss://example.com/", b"https://example.com/", b"ws://example.com/"):
            self.assertEqual(ws_scope(target)["scheme"], "ws")
            page = build_http_scope(request(target), ServerConfig(), CLIENT, SERVER)
            self.assertEqual(page["scheme"], "http")

    def test_absolute_form_without_a_path_is_the_root(self) -> None:
        self.assert_target(b"http://example.com", "/", b"/")
        self.assert_target(b"http:///a", "/a", b"/a")
        self.assert_target(b"http://example.com?a=/b", "/", b"/", b"a=/b")

    def test_asterisk_is_the_server_itself_and_has_no_prefix(self) -> None:
        self.assert_target(b"*", "*", b"*")
        scope = ws_scope(b"*", config=ServerConfig(root_path="/app"))
        self.assertEqual((scope["path"], scope["raw_path"], scope["root_path"]), ("*", b"*", "/app"))

    def test_path_of_two_slashes_has_no_authority(self) -> None:
        self.assert_target(b"//example.com/a", "//example.com/a", b"//example.com/a")


class RootPathTests(unittest.TestCase):
    def assert_root_path(self, root_path: str, path: str, raw_path: bytes) -> None:
        scope = ws_scope(b"/a%20b?c", config=ServerConfig(root_path=root_path))
        self.assertEqual((scope["path"], scope["raw_path"]), (path, raw_path))
        self.assertEqual((scope["root_path"], scope["query_string"]), (root_path, b"c"))

    def test_path_begins_with_it(self) -> None:
        self.assert_root_path("/api/v1", "/api/v1/a b", b"/api/v1/a%20b")

    def test_slash_at_its_end_is_no_second_one(self) -> None:
        for root_path, expected in (("/", ""), ("/app/", "/app"), ("/app//", "/app"), ("/a/b/", "/a/b")):
            config = ServerConfig(root_path=root_path)
            for scope in (
                ws_scope(b"/scope?q", config=config),
                build_http_scope(request(b"/scope?q"), config, CLIENT, SERVER),
            ):
                self.assertEqual((scope["path"], scope["root_path"]), (expected + "/scope", expected))
                self.assertEqual(scope["raw_path"], expected.encode() + b"/scope")

    def test_it_is_decoded_text_like_the_path(self) -> None:
        self.assert_root_path("/é%41", "/é%41/a b", b"/%C3%A9%2541/a%20b")


class ForwardedTests(unittest.TestCase):
    def forwarded(
        self,
        *headers: Header,
        config: ServerConfig = X_FORWARDED,
        build: Any = build_ws_scope,
        **options: Any,
    ) -> Scope:
        scope: Scope = build(request(b"/", HOST, *headers), config, PROXY, SERVER, **options)
        return scope

    def assert_untouched(self, scope: Scope, *headers: Header) -> None:
        self.assertEqual((scope["client"], scope["server"], scope["scheme"]), (PROXY, SERVER, "ws"))
        self.assertEqual(scope["headers"], [HOST, *headers])

    def test_x_forwarded_headers_of_a_trusted_peer(self) -> None:
        scope = self.forwarded(
            (b"X-Forwarded-For", b"198.51.100.7"),
            (b"x-forwarded-proto", b"https"),
            (b"x-forwarded-host", b"example.com"),
        )
        self.assertEqual((scope["client"], scope["scheme"]), (("198.51.100.7", 0), "wss"))
        self.assertEqual(scope["server"], ("example.com", 443))
        self.assertEqual(scope["headers"][0], (b"host", b"example.com"))

    def test_forwarded_of_a_trusted_peer(self) -> None:
        value = b'for="198.51.100.7:1234";proto=http;host="example.com:8080"'
        scope = self.forwarded((b"forwarded", value), config=RFC7239, scheme="wss")
        self.assertEqual((scope["client"], scope["scheme"]), (("198.51.100.7", 1234), "ws"))
        self.assertEqual(scope["server"], ("example.com", 8080))
        self.assertEqual(scope["headers"], [(b"host", b"example.com:8080"), (b"forwarded", value)])

    def test_scheme_is_that_of_the_kind_of_scope(self) -> None:
        for proto, ws, http in (
            (b"http", "ws", "http"),
            (b"ws", "ws", "http"),
            (b"HTTPS", "wss", "https"),
            (b"wss", "wss", "https"),
        ):
            for header, config in (
                ((b"x-forwarded-proto", proto), TRUSTING),
                ((b"forwarded", b"proto=" + proto), RFC7239),
            ):
                self.assertEqual(self.forwarded(header, config=config)["scheme"], ws)
                scope = self.forwarded(header, config=config, build=build_http_scope)
                self.assertEqual(scope["scheme"], http)

    def test_unknown_scheme_leaves_ours(self) -> None:
        header = (b"x-forwarded-proto", b"gopher")
        self.assert_untouched(self.forwarded(header), header)

    def test_client_alone_leaves_the_rest(self) -> None:
        scope = self.forwarded((b"x-forwarded-for", b"2001:db8::1"))
        self.assertEqual((scope["client"], scope["server"]), (("2001:db8::1", 0), SERVER))
        self.assertEqual(scope["headers"][0], HOST)

    def test_scheme_alone_leaves_the_client(self) -> None:
        scope = self.forwarded((b"forwarded", b"proto=https"), config=RFC7239)
        self.assertEqual((scope["client"], scope["server"], scope["scheme"]), (PROXY, SERVER, "wss"))

    def test_untrusted_peer_is_not_listened_to(self) -> None:
        # hostile-input.md: X-Forwarded-*, Forwarded from an untrusted peer.
        headers = (
            (b"x-forwarded-for", b"198.51.100.7"),
            (b"x-forwarded-proto", b"https"),
            (b"x-forwarded-host", b"evil.example"),
            (b"x-forwarded-port", b"1"),
            (b"forwarded", b"for=198.51.100.7;proto=https;host=evil.example"),
        )
        for config in (ServerConfig(), ServerConfig(forwarded_allow_ips="192.0.2.2, unix")):
            scope = build_ws_scope(request(b"/", HOST, *headers), config, PROXY, SERVER)
            self.assert_untouched(scope, *headers)

    def test_names_with_underscores_are_other_headers(self) -> None:
        headers = ((b"x_forwarded_for", b"198.51.100.7"), (b"x_forwarded_proto", b"https"))
        self.assert_untouched(self.forwarded(*headers), *headers)

    def test_what_the_configuration_does_not_list_is_never_read(self) -> None:
        # nginx that sets For and Proto only, and passes the rest on.
        headers = (
            (b"x-forwarded-host", b"admin.example"),
            (b"x-forwarded-port", b"1"),
            (b"x-forwarded-prefix", b"/admin"),
            (b"forwarded", b"for=203.0.113.9;host=admin.example"),
        )
        scope = self.forwarded(*headers, config=TRUSTING)
        self.assert_untouched(scope, *headers)
        self.assertEqual((scope["path"], scope["root_path"]), ("/", ""))

    def test_x_forwarded_for_behind_a_proxy_that_sets_forwarded(self) -> None:
        headers = ((b"x-forwarded-for", b"127.0.0.1"), (b"forwarded", b"for=203.0.113.9;host=admin.example"))
        config = ServerConfig(forwarded_allow_ips="*", forwarded_headers=("forwarded",))
        scope = self.forwarded(*headers, config=config)
        self.assertEqual((scope["client"], scope["server"]), (("203.0.113.9", 0), SERVER))
        self.assertEqual(scope["headers"], [HOST, *headers])
        only = self.forwarded(headers[0], config=config)
        self.assertEqual(only["client"], PROXY)

    def test_prefix_is_what_a_proxy_has_taken_off_this_request(self) -> None:
        # In the place of root_path, which says the same of every request.
        for root_path, prefix, expected in (
            ("", b"/app", "/app"),
            ("/app", b"/app/", "/app"),
            ("/app", b"/caf%C3%A9", "/caf\xe9"),
            ("/app", b"//evil.example", "/app"),
            ("/app", b"/", "/app"),
        ):
            config = dataclasses.replace(X_FORWARDED, root_path=root_path)
            for build in (build_ws_scope, build_http_scope):
                scope = self.forwarded((b"x-forwarded-prefix", prefix), config=config, build=build)
                self.assertEqual((scope["root_path"], scope["path"]), (expected, expected + "/"))
        scope = self.forwarded((b"x-forwarded-prefix", b"/caf%C3%A9"))
        self.assertEqual(scope["raw_path"], b"/caf%C3%A9/")

    def test_peer_on_a_unix_socket_is_trusted_by_its_own_word(self) -> None:
        received = request(b"/", (b"x-forwarded-for", b"198.51.100.7"))
        for word, client in (("unix", ("198.51.100.7", 0)), ("192.0.2.1", None)):
            config = ServerConfig(forwarded_allow_ips=word)
            self.assertEqual(build_ws_scope(received, config, None, None)["client"], client)

    def test_peer_without_an_address_on_tcp_is_not_one_on_a_unix_socket(self) -> None:
        """uvloop has no address of a client that has reset its connection at once."""
        received = request(b"/", HOST, (b"x-forwarded-for", b"198.51.100.7"))
        for build in (build_ws_scope, build_http_scope):
            build_any: Any = build
            config = ServerConfig(forwarded_allow_ips="unix, 192.0.2.1")
            self.assertIsNone(build_any(received, config, None, SERVER)["client"])
            for server in (("/run/app.sock", None), None):
                self.assertEqual(build_any(received, config, None, server)["client"], ("198.51.100.7", 0))

    def test_origin_of_a_peer_without_an_address_is_that_of_its_own_host(self) -> None:
        config = ServerConfig(
            forwarded_allow_ips="unix",
            forwarded_headers=("x-forwarded-host",),
            allowed_origins=("same-origin",),
        )
        headers = ((b"origin", b"https://example.com"), (b"x-forwarded-host", b"example.com"))
        received = request(b"/", HOST, *headers, *OriginTests.HANDSHAKE)
        self.assertEqual(check_ws_request(received, config, None, ("/run/app.sock", None)), OriginTests.KEY)
        with self.assertRaises(Forbidden):
            check_ws_request(received, config, None, SERVER)


class ForwardedHostTests(unittest.TestCase):
    """What the client saw as Host and port."""

    def assert_server(
        self,
        expected: Any,
        host: bytes = b"",
        port: bytes = b"",
        *,
        sent_host: bytes = HOST[1],
        scheme: bytes = b"",
        server: Any = SERVER,
    ) -> None:
        values = {b"x-forwarded-host": host, b"x-forwarded-port": port, b"x-forwarded-proto": scheme}
        headers = [(name, value) for name, value in values.items() if value]
        scope = build_ws_scope(request(b"/", HOST, *headers), X_FORWARDED, PROXY, server)
        self.assertEqual(scope["server"], expected)
        self.assertEqual(scope["headers"], [(b"host", sent_host), *headers])

    def test_host_has_the_default_port_of_the_scheme(self) -> None:
        self.assert_server(("example.com", 80), b"example.com", sent_host=b"example.com")
        self.assert_server(("example.com", 443), b"example.com", scheme=b"https", sent_host=b"example.com")

    def test_host_may_have_a_port(self) -> None:
        self.assert_server(("example.com", 8443), b"example.com:8443", sent_host=b"example.com:8443")

    def test_port_stands_in_the_host_unless_it_is_the_default(self) -> None:
        self.assert_server(("example.com", 8443), b"example.com", b"8443", sent_host=b"example.com:8443")
        self.assert_server(("example.com", 80), b"example.com", b"80", sent_host=b"example.com")
        self.assert_server(
            ("example.com", 443), b"example.com", b"443", scheme=b"wss", sent_host=b"example.com"
        )

    def test_port_is_not_added_to_another(self) -> None:
        self.assert_server(("example.com", 8443), b"example.com:99", b"8443", sent_host=b"example.com:99")

    def test_host_with_a_colon_and_no_port(self) -> None:
        self.assert_server(("example.com", 80), b"example.com:", sent_host=b"example.com:")
        self.assert_server(("example.com", 8443), b"example.com:", b"8443", sent_host=b"example.com:8443")

    def test_ipv6_host_has_its_brackets_in_the_header_only(self) -> None:
        self.assert_server(("2001:db8::1", 80), b"[2001:db8::1]", sent_host=b"[2001:db8::1]")
        self.assert_server(("2001:db8::1", 81), b"[2001:db8::1]:81", sent_host=b"[2001:db8::1]:81")
        self.assert_server(("2001:db8::1", 81), b"[2001:db8::1]", b"81", sent_host=b"[2001:db8::1]:81")

    def test_port_alone_changes_the_port(self) -> None:
        self.assert_server(("10.0.0.1", 8443), port=b"8443")
        self.assert_server(None, port=b"8443", server=None)

    def test_port_changes_nothing_of_a_unix_socket(self) -> None:
        self.assert_server(("/run/b.sock", None), port=b"8443", server=("/run/b.sock", None))
        self.assert_server(("/run/b.sock", None), port=b"443", scheme=b"https", server=("/run/b.sock", None))
        self.assert_server(
            ("example.com", 443),
            b"example.com",
            b"443",
            scheme=b"https",
            server=("/run/b.sock", None),
            sent_host=b"example.com",
        )

    def test_host_is_added_where_none_was_sent(self) -> None:
        headers = ((b"a", b"1"), (b"x-forwarded-host", b"example.com"))
        scope = build_http_scope(RequestReceived(b"GET", b"/", headers, "1.0"), X_FORWARDED, PROXY, SERVER)
        self.assertEqual(scope["headers"], [(b"host", b"example.com"), *headers])

    def test_host_that_is_none_is_ignored(self) -> None:
        self.assert_server(SERVER, b"two words")

    def test_host_replaces_every_host_header_at_its_place(self) -> None:
        headers = ((b"a", b"1"), HOST, (b"x-forwarded-host", b"example.com"))
        scope = build_ws_scope(request(b"/", *headers), X_FORWARDED, PROXY, SERVER)
        self.assertEqual(scope["headers"], [(b"a", b"1"), (b"host", b"example.com"), headers[2]])


class OriginTests(unittest.TestCase):
    """The origin is compared with the Host of the scope."""

    KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
    HANDSHAKE = (
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-key", KEY),
        (b"sec-websocket-version", b"13"),
    )

    def check(self, origin: bytes, *headers: Header, config: ServerConfig = X_FORWARDED) -> bytes:
        received = request(b"/", HOST, (b"origin", origin), *self.HANDSHAKE, *headers)
        return check_ws_request(
            received, dataclasses.replace(config, allowed_origins=("same-origin",)), PROXY, SERVER
        )

    def assert_forbidden(self, origin: bytes, *headers: Header, config: ServerConfig = X_FORWARDED) -> None:
        with self.assertRaises(Forbidden):
            self.check(origin, *headers, config=config)

    def test_host_header_is_the_same_origin(self) -> None:
        for config in (X_FORWARDED, TRUSTING, ServerConfig()):
            self.assertEqual(self.check(b"http://backend:8000", config=config), self.KEY)
            self.assert_forbidden(b"https://example.com", config=config)

    def test_host_of_a_trusted_proxy_is_the_same_origin(self) -> None:
        host = (b"x-forwarded-host", b"example.com")
        self.assertEqual(self.check(b"https://example.com", host), self.KEY)
        self.assert_forbidden(b"http://backend:8000", host)
        port = (b"x-forwarded-port", b"8443")
        self.assertEqual(self.check(b"https://example.com:8443", host, port), self.KEY)
        self.assert_forbidden(b"https://example.com", host, port)

    def test_host_that_is_not_listed_is_not_the_same_origin(self) -> None:
        host = (b"x-forwarded-host", b"example.com")
        for config in (TRUSTING, ServerConfig(), ServerConfig(forwarded_allow_ips="unix")):
            self.assert_forbidden(b"https://example.com", host, config=config)

    def test_every_origin_is_allowed_where_none_are_configured(self) -> None:
        received = request(b"/", HOST, (b"origin", b"https://evil.example"), *self.HANDSHAKE)
        self.assertEqual(check_ws_request(received, ServerConfig(), None, None), self.KEY)


if __name__ == "__main__":
    unittest.main()
