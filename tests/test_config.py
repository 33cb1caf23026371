"""The configuration: defaults, rules, and what is made of them."""

from __future__ import annotations

import dataclasses
import sys
import unittest
from typing import Any, Dict

from wsbridge.config import ServerConfig
from wsbridge.protocols.deflate import DeflateSettings
from wsbridge.protocols.errors import ConfigError

FIELDS = {item.name: item for item in dataclasses.fields(ServerConfig)}

MIB = 1024 * 1024

# Every limit of the design, in its order there.
LIMITS = {
    "ws_max_size": 16 * MIB,
    "ws_max_fragments": 1024,
    "limit_request_line": 32 * 1024,
    "limit_request_head": 64 * 1024,
    "limit_request_fields": 256,
    "timeout_handshake": 10,
    "timeout_accept": 10,
    "ws_ping_interval": 20,
    "ws_ping_timeout": 20,
    "ws_max_queue": 32,
    "ws_max_queue_bytes": 2 * MIB,
    "ws_write_limit": 64 * 1024,
    "timeout_body": 30,
    "timeout_keep_alive": 5,
    "limit_keep_alive_requests": 1000,
    "timeout_write": 30,
    "timeout_close": 10,
    "close_grace": 1,
    "limit_concurrency": None,
    "limit_connections_per_client": None,
    "max_inbound_memory": 268_435_456,
    "timeout_app": None,
    "timeout_graceful_shutdown": 20,
    "timeout_lifespan_shutdown": 5,
    "timeout_worker_healthcheck": 60,
    "ws_deflate_threshold": 0,
}

# Whole numbers: the least and the greatest that is allowed.
RANGES = {
    "port": (0, 65535),
    "uds_mode": (0, 0o777),
    "backlog": (1, None),
    "workers": (1, 256),
    "ws_max_size": (1, None),
    "ws_max_fragments": (1, None),
    "ws_max_queue": (1, None),
    "ws_max_queue_bytes": (1, None),
    "ws_write_limit": (1, None),
    "ws_deflate_threshold": (0, None),
    "ws_deflate_level": (0, 9),
    "ws_deflate_mem_level": (1, 9),
    "ws_deflate_server_max_window_bits": (9, 15),
    "ws_deflate_client_max_window_bits": (9, 15),
    "limit_concurrency": (1, None),
    "limit_max_requests": (1, None),
    "limit_connections_per_client": (1, None),
    "max_inbound_memory": (1, None),
    "limit_keep_alive_requests": (1, None),
    "limit_request_line": (16, None),
    "limit_request_head": (64, None),
    "limit_request_fields": (1, None),
}
CHOICES = {
    "loop": ("auto", "asyncio", "uvloop"),
    "lifespan": ("auto", "on", "off"),
    "log_level": ("critical", "error", "warning", "info", "debug"),
    "log_format": ("text", "json"),
}
TEXTS = ("uds", "ssl_certfile", "ssl_keyfile_password", "app_dir", "log_config")
# Options that are refused without these.
NEEDED: Dict[str, Dict[str, Any]] = {
    "uds_mode": {"uds": "app.sock"},
    "ssl_keyfile_password": {"ssl_certfile": "c.pem"},
}
SWITCHES = [name for name, item in FIELDS.items() if type(item.default) is bool]
OWN_PATHS = ("health_path", "metrics_path")
SECONDS = [name for name in FIELDS if name.startswith(("timeout_", "ws_ping_"))] + ["close_grace"]
MAY_BE_NONE = {
    "uds",
    "fd",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_keyfile_password",
    "ssl_ca_certs",
    "ssl_ciphers",
    "allowed_origins",
    "log_config",
    "limit_concurrency",
    "limit_max_requests",
    *OWN_PATHS,
    "limit_connections_per_client",
    "max_inbound_memory",
    *SECONDS,
}


class DocumentationTests(unittest.TestCase):
    def test_help_has_every_field_with_its_default_and_its_reason(self) -> None:
        for name, item in FIELDS.items():
            self.assertIn(
                f"``{name}`` = {item.default!r}: {item.metadata['help']}", str(ServerConfig.__doc__)
            )


class FieldTests(unittest.TestCase):
    def test_limits_have_the_defaults_of_the_design(self) -> None:
        config = ServerConfig()
        self.assertEqual({name: getattr(config, name) for name in LIMITS}, LIMITS)

    def test_defaults_reach_nobody_and_trust_nobody(self) -> None:
        config = ServerConfig()
        self.assertEqual((config.host, config.port), ("127.0.0.1", 8000))
        self.assertFalse(config.trusted_peers)
        self.assertIsNone(config.allowed_origins)

    def test_what_the_design_leaves_open_has_a_default_too(self) -> None:
        config = ServerConfig()
        self.assertEqual((config.backlog, config.lifespan, config.uds_mode), (2048, "auto", 0o666))

    def test_these_switches_are_on_and_no_others(self) -> None:
        on = [name for name in SWITCHES if getattr(ServerConfig(), name)]
        self.assertEqual(sorted(on), ["access_log", "date_header", "ws_per_message_deflate"])

    @unittest.skipIf(sys.flags.optimize > 1, "docstrings are left out")
    def test_help_begins_with_what_the_configuration_is(self) -> None:
        self.assertTrue(str(ServerConfig.__doc__).startswith("The server's configuration"))

    def test_every_field_says_what_it_is(self) -> None:
        for name, item in FIELDS.items():
            self.assertRegex(item.metadata["help"], r"^[A-Za-z ].{4,}[^.]$", name)

    def test_every_field_has_a_rule_that_is_tested_here(self) -> None:
        others = {
            "root_path",
            "ssl_keyfile",
            "forwarded_allow_ips",
            "forwarded_headers",
            "allowed_origins",
            "host",
            "headers",
            "uds_mode",
            "fd",
            "ssl_ca_certs",
            "ssl_cert_reqs",
            "ssl_ciphers",
            "ssl_version",
            "drain_seconds",
            "reload_dirs",
            "reload_includes",
            "reload_excludes",
            "limit_max_requests_jitter",
        }
        tested = {*RANGES, *CHOICES, *TEXTS, *SWITCHES, *SECONDS, *OWN_PATHS, *others}
        self.assertEqual(set(FIELDS), tested)

    def test_numbers_are_decimal_and_permissions_octal(self) -> None:
        bases = {name: item.metadata["base"] for name, item in FIELDS.items()}
        self.assertEqual(bases.pop("uds_mode"), 8)
        self.assertEqual(set(bases.values()), {10})

    def test_configuration_cannot_be_changed(self) -> None:
        with self.assertRaises(dataclasses.FrozenInstanceError):
            ServerConfig().port = 1  # type: ignore[misc]

    def test_changed_copy_is_checked_too(self) -> None:
        config = dataclasses.replace(ServerConfig(), port=9000)
        self.assertEqual(config.port, 9000)
        with self.assertRaises(ConfigError):
            dataclasses.replace(config, port=-1)

    def test_equal_values_are_equal_configurations(self) -> None:
        self.assertEqual(ServerConfig(port=1), ServerConfig(port=1))
        self.assertEqual(len({ServerConfig(port=1), ServerConfig(port=1), ServerConfig(port=2)}), 2)


class RuleTests(unittest.TestCase):
    def assert_accepts(self, name: str, *values: Any) -> None:
        for value in values:
            config = ServerConfig(**{name: value}, **NEEDED.get(name, {}))
            self.assertEqual(getattr(config, name), value)

    def assert_refuses(self, name: str, *values: Any) -> None:
        for value in values:
            with self.assertRaises(ConfigError, msg=f"{name}={value!r}") as caught:
                ServerConfig(**{name: value})
            rule = FIELDS[name].metadata["rule"].words
            self.assertEqual(str(caught.exception), f"{name}={value!r}: it must be {rule}")

    def test_whole_numbers_have_bounds(self) -> None:
        for name, (low, high) in RANGES.items():
            self.assert_accepts(name, low, low + 1, 10**12 if high is None else high)
            self.assert_refuses(name, low - 1, float(low), str(low), True, [])
            if high is not None:
                self.assert_refuses(name, high + 1)

    def test_seconds_are_above_0_and_finite(self) -> None:
        for name in SECONDS:
            self.assert_accepts(name, 1, 0.001, 10**9 - 1)
            self.assert_refuses(name, 0, 0.0, -1, 10**9, float("inf"), float("nan"), "1", True)

    def test_choices_are_those_and_no_others(self) -> None:
        for name, choices in CHOICES.items():
            self.assert_accepts(name, *choices)
            self.assert_refuses(name, "", choices[0].upper(), "other", None, 1)

    def test_switches_are_true_or_false(self) -> None:
        self.assertIn("ws_per_message_deflate", SWITCHES)
        for name in SWITCHES:
            # It needs a proxy that is trusted.
            if name != "proxy_protocol":
                self.assert_accepts(name, True, False)
            self.assert_refuses(name, 1, 0, "true", None)

    def test_texts_are_texts(self) -> None:
        for name in TEXTS:
            self.assert_accepts(name, "", "text")
            self.assert_refuses(name, 1, b"text", ["text"])

    def test_hosts_are_separated_by_commas(self) -> None:
        self.assert_accepts("host", "", "*", "localhost", "127.0.0.1, ::1", "[::1],0.0.0.0")
        self.assert_refuses("host", 1, None, " ", ",", "127.0.0.1,", "a,,b")

    def test_origins_are_a_tuple_of_texts(self) -> None:
        self.assert_accepts("allowed_origins", (), ("https://example.com", "same-origin"))
        self.assert_refuses("allowed_origins", "https://example.com", ["null"], (1,))

    def test_none_is_allowed_where_it_means_something_and_nowhere_else(self) -> None:
        for name in FIELDS:
            if name in MAY_BE_NONE:
                self.assert_accepts(name, None)
            else:
                self.assert_refuses(name, None)

    def test_drain_may_take_no_time(self) -> None:
        self.assert_accepts("drain_seconds", 0, 0.5, 18.9)
        ServerConfig(drain_seconds=10**9 - 1, timeout_graceful_shutdown=None)
        self.assert_refuses("drain_seconds", -1, 10**9, float("inf"), float("nan"), None, True)

    def test_drain_is_part_of_the_stop(self) -> None:
        for drain in (19, 60):
            text = r"^drain_seconds=\d\d: it must be more than a second below timeout_graceful_shutdown=20\.0"
            with self.assertRaisesRegex(ConfigError, text):
                ServerConfig(drain_seconds=drain)
        ServerConfig(drain_seconds=60, timeout_graceful_shutdown=None)
        ServerConfig(timeout_graceful_shutdown=0.5)

    def test_reload_is_for_one_process(self) -> None:
        with self.assertRaisesRegex(ConfigError, "^reload with workers=2: it is for one process$"):
            ServerConfig(reload=True, workers=2)

    def test_what_is_watched_needs_reload(self) -> None:
        for name in ("reload_dirs", "reload_includes", "reload_excludes"):
            options: Any = {name: ("a",)}
            self.assertEqual(getattr(ServerConfig(reload=True, **options), name), ("a",))
            with self.assertRaisesRegex(ConfigError, f"^{name} without reload: nothing is watched$"):
                ServerConfig(**options)
            options = {name: "a"}
            with self.assertRaisesRegex(ConfigError, f"^{name}='a': it must be a tuple of texts$"):
                ServerConfig(reload=True, **options)

    def test_jitter_needs_a_limit(self) -> None:
        ServerConfig(limit_max_requests_jitter=5, limit_max_requests=100)
        self.assert_accepts("limit_max_requests_jitter", 0)
        self.assert_refuses("limit_max_requests_jitter", -1, 1.0, "1")
        with self.assertRaisesRegex(ConfigError, "^limit_max_requests_jitter without limit_max_requests"):
            ServerConfig(limit_max_requests_jitter=5)

    def test_rules_say_what_is_allowed(self) -> None:
        words = {name: FIELDS[name].metadata["rule"].words for name in FIELDS}
        self.assertEqual(words["port"], "a whole number from 0 to 65535")
        self.assertEqual(words["limit_concurrency"], "a whole number from 1, or None")
        self.assertEqual(words["lifespan"], "one of auto, on, off")
        self.assertEqual(words["close_grace"], "a number of seconds above 0, or None")

    def test_own_path_is_written_as_requests_have_it(self) -> None:
        for name in OWN_PATHS:
            self.assert_accepts(name, "/", "/healthz", "/a/b/", "/caf%C3%A9", "/a;b=c,d:e@f")
            self.assert_refuses(name, "healthz", "//healthz", "/a b", "/a?b", "/a#b", "/caf\xe9", "/a\n", 1)

    def test_empty_path_is_one_of_metrics_that_are_not_shown(self) -> None:
        self.assert_accepts("metrics_path", "")
        self.assert_refuses("health_path", "")

    def test_own_paths_differ(self) -> None:
        with self.assertRaisesRegex(ConfigError, "^metrics_path='/a': it must differ from health_path$"):
            ServerConfig(health_path="/a", metrics_path="/a")


class RootPathTests(unittest.TestCase):
    def test_slash_at_its_end_is_left_out(self) -> None:
        for value, root_path in (
            ("", ""),
            ("/", ""),
            ("/app", "/app"),
            ("/app/", "/app"),
            ("/a/b//", "/a/b"),
            ("/caf\xe9 %", "/caf\xe9 %"),
        ):
            self.assertEqual(ServerConfig(root_path=value).root_path, root_path)
        self.assertEqual(ServerConfig(root_path="/app/"), ServerConfig(root_path="/app"))

    def test_what_is_no_path_is_refused(self) -> None:
        for value in (
            "app",
            "app/",
            "//",
            "//app",
            "/a?b",
            "/a#b",
            "/a\nb",
            "/\udcff",
            " /app",
            "http://a/b",
        ):
            with self.assertRaisesRegex(
                ConfigError, "root_path=.*: it must be a path such as /app, or empty"
            ):
                ServerConfig(root_path=value)
        for value in (None, 1, b"/app"):  # type: ignore[assignment]
            with self.assertRaisesRegex(ConfigError, "a path such as /app"):
                ServerConfig(root_path=value)


class OriginsTests(unittest.TestCase):
    def test_none_are_configured_by_default(self) -> None:
        self.assertIsNone(ServerConfig().origins)

    def test_list_is_parsed_once(self) -> None:
        config = ServerConfig(allowed_origins=("https://*.example.com", "same-origin"))
        self.assertIs(config.origins, config.origins)
        self.assertIsNotNone(config.origins)

    def test_what_can_never_match_is_told_at_once(self) -> None:
        for item in ("example.com", "https://example.com/chat", "http://"):
            with self.assertRaisesRegex(ConfigError, f"allowed origin '{item}' can never match"):
                ServerConfig(allowed_origins=("null", item))


class AddressTests(unittest.TestCase):
    def test_descriptor_is_a_whole_number(self) -> None:
        self.assertEqual(ServerConfig(fd=0).fd, 0)
        for value in (-1, True, "3"):
            with self.assertRaisesRegex(ConfigError, "^fd=.*: it must be a whole number from 0, or None$"):
                ServerConfig(fd=value)  # type: ignore[arg-type]

    def test_path_and_descriptor_are_refused(self) -> None:
        with self.assertRaisesRegex(ConfigError, "^uds='/s' and fd=3: give one of them$"):
            ServerConfig(uds="/s", fd=3)

    def test_port_that_is_shared_is_one_of_tcp(self) -> None:
        self.assertTrue(ServerConfig(reuse_port=True).reuse_port)
        options: Any
        for options in ({"uds": "/s"}, {"fd": 3}):
            with self.assertRaisesRegex(ConfigError, "^reuse_port with uds or fd: it is for host and port$"):
                ServerConfig(reuse_port=True, **options)


class CertificateTests(unittest.TestCase):
    def test_key_needs_its_certificate(self) -> None:
        with self.assertRaisesRegex(ConfigError, "ssl_keyfile without ssl_certfile"):
            ServerConfig(ssl_keyfile="key.pem")
        config = ServerConfig(ssl_keyfile="key.pem", ssl_certfile="certificate.pem")
        self.assertEqual(config.ssl_keyfile, "key.pem")

    def assert_refused(self, text: str, **options: Any) -> None:
        with self.assertRaises(ConfigError) as caught:
            ServerConfig(**options)
        self.assertEqual(str(caught.exception), text)

    def test_options_of_tls_need_a_certificate(self) -> None:
        for name, value in (
            ("ssl_ca_certs", "ca.pem"),
            ("ssl_cert_reqs", "required"),
            ("ssl_ciphers", "ECDHE+AESGCM"),
            ("ssl_version", "TLSv1.3"),
        ):
            text = f"{name} without ssl_certfile: without a certificate there is no TLS"
            self.assert_refused(text, **{name: value})

    def test_clients_are_verified_with_authorities_and_authorities_are_for_clients(self) -> None:
        for reqs in ("optional", "required"):
            rule = "it has the certificates that sign those of clients"
            text = f"ssl_cert_reqs='{reqs}' without ssl_ca_certs: {rule}"
            self.assert_refused(text, ssl_certfile="c.pem", ssl_cert_reqs=reqs)
        with self.assertRaisesRegex(ConfigError, "^ssl_ca_certs without ssl_cert_reqs: set ssl_cert_reqs to"):
            ServerConfig(ssl_certfile="c.pem", ssl_ca_certs="ca.pem")
        config = ServerConfig(ssl_certfile="c.pem", ssl_ca_certs="ca.pem", ssl_cert_reqs="optional")
        self.assertEqual((config.ssl_ca_certs, config.ssl_cert_reqs), ("ca.pem", "optional"))

    def test_numbers_of_uvicorn_are_understood(self) -> None:
        for number, reqs in (("1", "optional"), ("2", "required")):
            config = ServerConfig(ssl_certfile="c.pem", ssl_ca_certs="ca.pem", ssl_cert_reqs=number)
            self.assertEqual(config.ssl_cert_reqs, reqs)
        self.assertEqual(ServerConfig(ssl_cert_reqs="0").ssl_cert_reqs, "none")
        for value in ("3", 2, "CERT_REQUIRED"):
            text = f"ssl_cert_reqs={value!r}: it must be one of none, optional, required"
            self.assert_refused(text, ssl_certfile="c.pem", ssl_cert_reqs=value)

    def test_versions_are_named(self) -> None:
        for value in ("17", 17, "TLSv1", "SSLv3"):
            text = f"ssl_version={value!r}: it must be one of TLSv1.2, TLSv1.3"
            self.assert_refused(text, ssl_certfile="c.pem", ssl_version=value)

    def test_ciphers_are_those_of_1_2(self) -> None:
        config = ServerConfig(ssl_certfile="c.pem", ssl_ciphers="ECDHE+AESGCM")
        self.assertEqual((config.ssl_ciphers, config.ssl_version), ("ECDHE+AESGCM", "TLSv1.2"))
        text = "ssl_ciphers with ssl_version='TLSv1.3': it lists the ciphers of TLS 1.2"
        self.assert_refused(text, ssl_certfile="c.pem", ssl_ciphers="ECDHE+AESGCM", ssl_version="TLSv1.3")

    def test_proxy_protocol_needs_a_proxy_that_is_trusted(self) -> None:
        with self.assertRaisesRegex(
            ConfigError, "^proxy_protocol without forwarded_allow_ips: name the proxies"
        ):
            ServerConfig(proxy_protocol=True)
        self.assertTrue(ServerConfig(proxy_protocol=True, forwarded_allow_ips="unix").proxy_protocol)

    def test_what_would_be_without_effect_is_refused(self) -> None:
        for text, options in (
            (
                "ssl_keyfile_password without ssl_certfile: there is no key to read",
                {"ssl_keyfile_password": ""},
            ),
            ("uds_mode=0o660 without uds: no socket file is made", {"uds_mode": 0o660}),
            ("uds_mode=0o777 without uds: no socket file is made", {"uds_mode": 0o777}),
            ("reload_includes without reload: nothing is watched", {"reload_includes": ()}),
            ("uds_mode=0o660 without uds: no socket file is made", {"uds_mode": 0o660, "fd": 3}),
        ):
            self.assert_refused(text, **options)

    def test_password_is_not_shown(self) -> None:
        shown = repr(ServerConfig(ssl_certfile="c.pem", ssl_keyfile_password="secret"))
        self.assertNotIn("secret", shown)
        self.assertIn("port=8000", shown)


class TrustedPeersTests(unittest.TestCase):
    def test_list_is_parsed(self) -> None:
        trusted = ServerConfig(forwarded_allow_ips="192.0.2.1, 2001:db8::/32, unix").trusted_peers
        for peer in ("192.0.2.1", "2001:db8::1", None):
            self.assertTrue(trusted.trusts(peer))
        self.assertFalse(trusted.trusts("192.0.2.2"))

    def test_wrong_item_is_told_at_once(self) -> None:
        for text in ("localhost", "192.0.2.1/24", "192.0.2.256"):
            with self.assertRaisesRegex(ConfigError, text):
                ServerConfig(forwarded_allow_ips=text)

    def test_list_is_parsed_once(self) -> None:
        config = ServerConfig(forwarded_allow_ips="*")
        self.assertIs(config.trusted_peers, config.trusted_peers)


class ForwardedHeadersTests(unittest.TestCase):
    def test_for_and_proto_are_the_default(self) -> None:
        self.assertEqual(ServerConfig().forwarded_headers, ("x-forwarded-for", "x-forwarded-proto"))

    def test_names_may_be_in_any_case(self) -> None:
        config = ServerConfig(forwarded_headers=("Forwarded", "X-Forwarded-Prefix"))
        self.assertEqual(config.forwarded_headers, ("forwarded", "x-forwarded-prefix"))
        self.assertEqual(ServerConfig(forwarded_headers=()).forwarded_headers, ())

    def test_what_is_no_tuple_is_told_what_to_list(self) -> None:
        for value in ("auto", "x-forwarded", None, ["forwarded"], (b"forwarded",)):
            with self.assertRaisesRegex(
                ConfigError, "a tuple of names, of x-forwarded-for, x-forwarded-proto"
            ):
                ServerConfig(forwarded_headers=value)  # type: ignore[arg-type]

    def test_wrong_names_are_told_at_once(self) -> None:
        for names in (("auto",), ("x-real-ip",), ("forwarded", "x-forwarded-for"), ("Forwarded-Host",)):
            with self.assertRaisesRegex(ConfigError, f"^forwarded_headers: .*{names[0].lower()}"):
                ServerConfig(forwarded_headers=names)


class DeflateTests(unittest.TestCase):
    def test_defaults_are_those_of_the_ground_floor(self) -> None:
        self.assertEqual(ServerConfig().deflate, DeflateSettings())

    def test_every_setting_is_taken_over(self) -> None:
        settings = DeflateSettings(True, True, 15, 9, 1, 9, 1)
        flags = {f"ws_deflate_{name}": value for name, value in settings._asdict().items()}
        config = ServerConfig(**flags)
        self.assertEqual(config.deflate, settings)
        self.assertIs(config.deflate, config.deflate)


class HeaderTests(unittest.TestCase):
    def assert_wrong(self, headers: Any, text: str) -> None:
        with self.assertRaisesRegex(ConfigError, f"^headers=.*: {text}"):
            ServerConfig(headers=headers)

    def test_they_are_pairs_and_sent_as_latin_1(self) -> None:
        for given in ([("X-A", "\xfc"), ["x-b", ""]], (("X-A", "\xfc"), ("x-b", ""))):
            config = ServerConfig(headers=given)  # type: ignore[arg-type]
            self.assertEqual(config.headers, (("X-A", "\xfc"), ("x-b", "")))
            self.assertEqual(config.default_headers, [(b"X-A", b"\xfc"), (b"x-b", b"")])
        self.assertEqual(ServerConfig().default_headers, [])

    def test_what_is_no_list_of_pairs_is_told_the_rule(self) -> None:
        for wrong in (
            None,
            "X-A: b",
            {"X-A": "b"},
            [("X-A",)],
            [("X-A", "b", "c")],
            [(b"X-A", b"b")],
            ["ab"],
        ):
            self.assert_wrong(wrong, "it must be a list of pairs of name and value$")

    def test_what_an_application_may_not_send_is_told_at_once(self) -> None:
        for name in ("", "X A", "X-A:"):
            self.assert_wrong([(name, "b")], f"header name {name.encode()!r} is not a token$")
        for value in ("a\r\nX-B: c", "\0"):
            self.assert_wrong([("X-A", value)], "control byte in the value of header b'X-A'$")
        self.assert_wrong([("X-A", "\u20ac")], "'latin-?1' codec can't encode")

    def test_what_the_server_sets_itself_is_refused(self) -> None:
        names = "Connection Keep-Alive Upgrade Content-Length Transfer-Encoding Sec-WebSocket-Protocol"
        for name in names.split():
            self.assert_wrong([(name, "1")], f"header b'{name}' is set by the opening handshake")


if __name__ == "__main__":
    unittest.main()
