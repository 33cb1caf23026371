"""Which origins may open WebSockets: RFC 6454, RFC 6455 10.2."""

from __future__ import annotations

import unittest

from wsbridge.protocols.errors import ConfigError
from wsbridge.protocols.origins import AllowedOrigins

HOST = b"server.example.com"


class OriginsCase(unittest.TestCase):
    def assert_allows(self, item: str, *origins: bytes, host: bytes = HOST) -> None:
        for allowed in (AllowedOrigins([item]), AllowedOrigins(["https://other.example", item])):
            for origin in origins:
                self.assertIs(allowed.allows([origin], host), True, origin)

    def assert_forbids(self, item: str, *origins: bytes, host: bytes = HOST) -> None:
        for allowed in (AllowedOrigins([item]), AllowedOrigins(["https://other.example", item])):
            for origin in origins:
                self.assertIs(allowed.allows([origin], host), False, origin)


class OriginTests(OriginsCase):
    def test_origin_is_compared_without_case(self) -> None:
        self.assert_allows("https://Example.com", b"https://example.com", b"HTTPS://EXAMPLE.COM")

    def test_slash_behind_a_configured_one_is_ignored(self) -> None:
        self.assert_allows("https://a.example/", b"https://a.example")
        self.assert_allows("http://localhost:3000/", b"http://localhost:3000")
        self.assert_allows("https://*.a.example/", b"https://b.a.example")
        # RFC 6454 6.2: a browser sends none.
        self.assert_forbids("https://a.example/", b"https://a.example/")

    def test_default_ports_are_equal_to_none(self) -> None:
        self.assert_allows("https://a.example:443", b"https://a.example", b"https://a.example:443")
        self.assert_allows("https://a.example", b"https://a.example:443")
        self.assert_allows("http://a.example:80", b"http://a.example")
        self.assert_allows("http://a.example:8080", b"http://a.example:8080")

    def test_other_scheme_host_or_port_is_forbidden(self) -> None:
        for origin in (
            b"http://a.example",
            b"https://a.example:80",
            b"https://a.example:8443",
            b"https://a.example.evil.example",
            b"https://evil-a.example",
            b"https://b.a.example",
            b"https://a.example.",
            b"wss://a.example",
        ):
            self.assert_forbids("https://a.example", origin)
        self.assert_forbids("http://a.example:443", b"https://a.example")

    def test_ipv6_and_punycode(self) -> None:
        self.assert_allows("http://[::1]:8000", b"http://[::1]:8000")
        self.assert_allows("https://xn--bcher-kva.example", b"https://xn--bcher-kva.example")

    def test_other_schemes_have_no_default_port(self) -> None:
        self.assert_allows("tauri://localhost", b"tauri://localhost")
        self.assert_allows("chrome-extension://abcdefgh", b"chrome-extension://abcdefgh")
        self.assert_allows("app://.", b"app://.")
        self.assert_forbids("tauri://localhost", b"tauri://localhost:1", b"http://localhost")

    def test_files_have_an_empty_host(self) -> None:
        self.assert_allows("file://", b"file://")
        self.assert_allows("file:///", b"file://")
        self.assert_forbids("file://", b"file://a", b"file://:1", b"file:///", b"null")

    def test_what_is_no_origin_is_forbidden(self) -> None:
        for origin in (
            b"",
            b"a.example",
            b"https://",
            b"https:///",
            b"https://a.example/",
            b"https://a.example/a",
            b"https://a.example?",
            b"https://u@a.example",
            b"https://a.example https://a.example",
            b"https://a.example, https://a.example",
            b"https://a.example\xff",
            b"\xff",
            b"https://a.example:65979",
            b"https://a.example:x",
            b"*",
            b"same-origin",
        ):
            self.assert_forbids("https://a.example", origin)

    def test_no_origin_comes_from_no_browser_and_two_from_nobody(self) -> None:
        allowed = AllowedOrigins(["https://a.example"])
        self.assertIs(allowed.allows([], HOST), True)
        self.assertIs(allowed.allows([b"https://a.example"] * 2, HOST), False)
        self.assertIs(AllowedOrigins([]).allows([], HOST), True)
        self.assertIs(AllowedOrigins([]).allows([b"https://a.example"], HOST), False)


class WordTests(OriginsCase):
    def test_star_allows_all(self) -> None:
        self.assert_allows("*", b"https://a.example", b"null", b"", b"anything \xff", b"file://")
        self.assertIs(AllowedOrigins(["null", "*"]).allows([b"https://a.example"] * 2, HOST), True)

    def test_null_is_allowed_only_where_listed(self) -> None:
        self.assert_allows("null", b"null")
        self.assert_forbids("same-origin", b"null")
        self.assert_forbids("null", b"https://a.example", b"nullx", b"")

    def test_same_origin_has_the_hosts_host_and_port(self) -> None:
        self.assert_allows("same-origin", b"https://a.example", host=b"a.example")
        self.assert_allows("same-origin", b"https://a.example", host=b"A.example:443")
        self.assert_allows("Same-Origin", b"http://[::1]:8000", host=b"[::1]:8000")
        self.assert_forbids("same-origin", b"http://a.example", host=b"a.example:443")
        self.assert_forbids("same-origin", b"https://b.example", b"https://a.example:8443", host=b"a.example")
        self.assert_forbids("same-origin", b"tauri://a.example", b"file://", host=b"a.example")
        self.assert_forbids("same-origin", b"http://a@b", host=b"a@b")


class SubdomainTests(OriginsCase):
    def test_hosts_below_at_any_depth(self) -> None:
        self.assert_allows(
            "https://*.example.com",
            b"https://a.example.com",
            b"https://a.b.c.example.com",
            b"https://A.Example.COM",
            b"https://a.example.com:443",
        )

    def test_not_the_bare_domain_and_no_part_of_a_label(self) -> None:
        self.assert_forbids(
            "https://*.example.com",
            b"https://example.com",
            b"https://.example.com",
            b"https://evilexample.com",
            b"https://a.evilexample.com",
            b"https://a.example.com.evil.example",
            b"https://a.example.como",
            b"https://evil.example/.example.com",
            b"https://evil.example#.example.com",
            b"https://evil.example\\.example.com",
        )

    def test_scheme_and_port_are_its_own(self) -> None:
        self.assert_forbids("https://*.example.com", b"http://a.example.com", b"https://a.example.com:8443")
        self.assert_forbids("https://*.example.com", b"http://a.example.com:443", b"wss://a.example.com")
        self.assert_allows("https://*.example.com:8443", b"https://a.example.com:8443")
        self.assert_forbids("https://*.example.com:8443", b"https://a.example.com")


class ConfigurationTests(unittest.TestCase):
    def assert_refused(self, item: str, advice: str) -> None:
        with self.assertRaises(ConfigError) as caught:
            AllowedOrigins(["https://other.example", item])
        self.assertEqual(str(caught.exception), f"allowed origin {item!r} can never match: {advice}")

    def test_what_can_never_match_is_refused_with_what_to_write(self) -> None:
        for item, origin in (
            ("example.com", "https://example.com"),
            ("example.com/", "https://example.com"),
            ("localhost:3000", "https://localhost:3000"),
            ("*.example.com", "https://*.example.com"),
            ("https://example.com/chat", "https://example.com"),
            ("https://example.com//", "https://example.com"),
            ("https://example.com?a", "https://example.com"),
            ("http://example.com:80/#a", "http://example.com:80"),
            ("[::1]:8000", "https://[::1]:8000"),
        ):
            self.assert_refused(item, f"write {origin!r}")

    def test_what_nobody_can_guess_is_refused_with_examples(self) -> None:
        advice = (
            "it must be such as 'https://example.com', 'https://*.example.com', 'same-origin', 'null' or '*'"
        )
        for item in (
            "",
            " https://a.example",
            "https://",
            "https:///",
            "https://*",
            "https://*.",
            "https://a.*.example",
            "https://a*.example",
            "https://*.*.example",
            "https://**.example",
            "https://a.example:*",
        ):
            self.assert_refused(item, advice)
        for item in (
            "https://user@a.example",
            "https://a.example:65536",
            "https://b\xfccher.example",
            "\udcff",
        ):
            self.assert_refused(item, advice)

    def test_text_in_the_place_of_a_list_is_refused(self) -> None:
        with self.assertRaises(ConfigError):
            AllowedOrigins("https://a.example")


if __name__ == "__main__":
    unittest.main()
