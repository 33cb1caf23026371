"""What a caller may give to a server, and what the error says if it is something else."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import unittest
from types import SimpleNamespace
from typing import Any, Dict

from wsbridge.config import ServerConfig
from wsbridge.protocols.errors import ConfigError
from wsbridge.server.arguments import (
    build_config,
    build_config_of_server,
    check_application,
    check_is_one_process,
    check_loop,
    check_sockets,
    check_ssl_context,
    split_arguments,
)
from wsbridge.server.server import Server

try:
    import ssl
except ImportError:
    ssl = None  # type: ignore[assignment]


async def app(scope: Any, receive: Any, send: Any) -> None:
    pass


class ApplicationTests(unittest.TestCase):
    def test_application_is_itself_or_what_its_name_stands_for(self) -> None:
        self.assertIs(check_application(app, ServerConfig()), app)
        self.assertTrue(callable(check_application("builtins:dict", ServerConfig())))

    def test_what_cannot_be_called_is_none(self) -> None:
        for wrong in (None, 5):
            text = f"^app must be an ASGI application or 'module:attribute', not {wrong}$"
            with self.assertRaisesRegex(TypeError, text):
                check_application(wrong, ServerConfig())  # type: ignore[arg-type]

    def test_factory_is_called_and_one_that_is_served_itself_is_told_apart(self) -> None:
        create: Any = lambda: app  # noqa: E731
        self.assertIs(check_application(create, ServerConfig(factory=True)), app)
        with self.assertRaisesRegex(
            ConfigError, "takes no arguments, as a factory of applications: set factory"
        ):
            check_application(create, ServerConfig())


class ConfigTests(unittest.TestCase):
    def test_options_replace_fields(self) -> None:
        self.assertEqual(build_config(None, {}), ServerConfig())
        self.assertEqual(
            build_config(ServerConfig(port=5), {"host": "::1"}), ServerConfig(port=5, host="::1")
        )

    def test_unknown_option_is_named_with_the_nearest(self) -> None:
        for name, text in (
            ("prot", "^there is no option 'prot': did you mean port\\?$"),
            ("xyz", "^there is no option 'xyz': ServerConfig lists the options$"),
        ):
            with self.assertRaisesRegex(TypeError, text):
                build_config(None, {name: 1})

    def test_another_object_is_no_configuration(self) -> None:
        wrong: Any = {"port": 5}
        text = (
            "^config must be a ServerConfig, not {'port': 5}; options are given by keyword, such as port=0$"
        )
        with self.assertRaisesRegex(TypeError, text):
            build_config(wrong, {})
        with self.assertRaisesRegex(TypeError, "^config must be a ServerConfig, not {};"):
            wrong = {}
            build_config(wrong, {})

    def test_wrong_value_is_a_config_error(self) -> None:
        with self.assertRaisesRegex(ConfigError, "^port=-1: "):
            build_config(None, {"port": -1})

    def test_what_only_run_can_follow_is_an_error_of_a_server(self) -> None:
        check_is_one_process(ServerConfig())
        with self.assertRaisesRegex(
            ConfigError, r"^workers=2: a Server is one process; run\(\) and the command"
        ):
            check_is_one_process(ServerConfig(workers=2))
        with self.assertRaisesRegex(ConfigError, "^reload: a Server cannot start again; run"):
            check_is_one_process(ServerConfig(reload=True))
        for name, value in (("log_format", "json"), ("log_config", "logging.json")):
            options: Any = {name: value}
            text = rf"^{name}='{value}': a Server sets up no logging; run\(\) and the command line do, "
            with self.assertRaisesRegex(ConfigError, text):
                check_is_one_process(ServerConfig(**options))
            check_is_one_process(build_config_of_server(ServerConfig(**options)))

    def test_options_are_told_from_the_other_arguments(self) -> None:
        arguments: Any = {"port": 5, "ssl_context": None}
        expected = (ServerConfig(port=5), {"ssl_context": None})
        self.assertEqual(split_arguments(None, arguments), expected)


class SocketsTests(unittest.TestCase):
    def make(self, *arguments: Any) -> socket.socket:
        made = socket.socket(*arguments)
        self.addCleanup(made.close)
        return made

    def assert_refused(self, error: Any, text: str, sockets: Any, **options: Any) -> None:
        with self.assertRaisesRegex(error, text):
            check_sockets(sockets, ServerConfig(**options))

    def test_none_are_none(self) -> None:
        self.assertEqual(check_sockets(None, ServerConfig()), [])

    def test_bound_sockets_are_returned(self) -> None:
        bound = self.make()
        bound.bind(("127.0.0.1", 0))
        self.assertEqual(check_sockets((bound,), ServerConfig()), [bound])

    @unittest.skipUnless(hasattr(socket, "AF_UNIX"), "no unix sockets")
    def test_bound_unix_socket_is_returned(self) -> None:
        bound = self.make(socket.AF_UNIX)
        with tempfile.TemporaryDirectory() as folder:
            bound.bind(os.path.join(folder, "s"))
            self.assertEqual(check_sockets([bound], ServerConfig()), [bound])
        self.assert_refused(ConfigError, "it must be bound to an address", [self.make(socket.AF_UNIX)])

    @unittest.skipUnless(socket.has_ipv6, "this Python has no IPv6")
    def test_ipv6_socket_without_an_address_is_refused(self) -> None:
        self.assert_refused(ConfigError, "it must be bound to an address", [self.make(socket.AF_INET6)])

    def test_other_objects_are_a_type_error(self) -> None:
        for wrong in ([5], self.make(), ["127.0.0.1:80"]):
            self.assert_refused(TypeError, "^sockets must be a list of socket.socket, not ", wrong)

    def test_empty_list_is_refused(self) -> None:
        self.assert_refused(ConfigError, r"^sockets=\[\]: at least one is needed", [])

    def test_sockets_and_a_descriptor_are_refused(self) -> None:
        self.assert_refused(ConfigError, "^sockets and fd=3: give one of them$", [self.make()], fd=3)

    def test_sockets_and_a_path_are_refused(self) -> None:
        self.assert_refused(ConfigError, "^sockets and uds='/s': give one of them$", [self.make()], uds="/s")

    def test_datagrams_are_refused(self) -> None:
        datagrams = self.make(socket.AF_INET, socket.SOCK_DGRAM)
        self.assert_refused(ConfigError, "it must be a stream socket of TCP or a unix socket$", [datagrams])

    def test_socket_without_an_address_is_refused(self) -> None:
        text = r"it must be bound to an address; call its bind\(\) first$"
        self.assert_refused(ConfigError, text, [self.make()])


class LoopTests(unittest.TestCase):
    def test_loop_of_the_program_is_the_one_that_is_asked_for(self) -> None:
        names = ("asyncio.unix_events", "uvloop", "winloop")
        loops: Dict[str, Any] = {name: type("Loop", (), {"__module__": name})() for name in names}
        plain, uvloop, other = loops
        for option, made in (
            ("auto", plain),
            ("auto", uvloop),
            ("asyncio", plain),
            ("asyncio", other),
            ("uvloop", uvloop),
        ):
            check_loop(ServerConfig(loop=option), loops[made])
        for option, made in (("asyncio", uvloop), ("uvloop", plain), ("uvloop", other)):
            with self.assertRaisesRegex(ConfigError, f"^loop='{option}': a Server runs in the event loop of"):
                check_loop(ServerConfig(loop=option), loops[made])

    def test_server_looks_at_it_when_it_starts(self) -> None:
        server = Server(app, loop="uvloop", port=0, lifespan="off")
        with self.assertRaisesRegex(ConfigError, "^loop='uvloop': "):
            asyncio.run(server.start())


class ContextTests(unittest.TestCase):
    def test_none_is_none(self) -> None:
        self.assertIsNone(check_ssl_context(None, ServerConfig()))

    def test_another_object_is_a_type_error(self) -> None:
        wrong: Any = "cert.pem"
        with self.assertRaisesRegex(TypeError, "^ssl_context must be an ssl.SSLContext, not 'cert.pem'$"):
            check_ssl_context(wrong, ServerConfig())

    @unittest.skipIf(ssl is None, "this Python was built without ssl")
    def test_context_of_a_server_is_returned_and_one_of_a_client_refused(self) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.assertIs(check_ssl_context(context, ServerConfig()), context)
        with self.assertRaisesRegex(ConfigError, "^ssl_context is one for clients: .*CLIENT_AUTH"):
            check_ssl_context(ssl.create_default_context(), ServerConfig())

    def test_either_attribute_of_one_for_clients_is_enough(self) -> None:
        """Before Python 3.10 `create_default_context` makes one of PROTOCOL_TLS for both."""
        for check_hostname, protocol in (
            (True, "PROTOCOL_TLS"),
            (True, "PROTOCOL_TLS_CLIENT"),
            (False, "PROTOCOL_TLS_CLIENT"),
            (False, "PROTOCOL_TLS"),
            (False, "PROTOCOL_TLS_SERVER"),
        ):
            context: Any = SimpleNamespace(
                wrap_bio=None, check_hostname=check_hostname, protocol=SimpleNamespace(name=protocol)
            )
            if check_hostname or protocol == "PROTOCOL_TLS_CLIENT":
                with self.assertRaisesRegex(ConfigError, "^ssl_context is one for clients: "):
                    check_ssl_context(context, ServerConfig())
            else:
                self.assertIs(check_ssl_context(context, ServerConfig()), context)

    @unittest.skipIf(ssl is None, "this Python was built without ssl")
    def test_context_and_certificate_are_refused(self) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        with self.assertRaisesRegex(ConfigError, "^ssl_context and ssl_certfile='c.pem': give one of them$"):
            check_ssl_context(context, ServerConfig(ssl_certfile="c.pem"))


if __name__ == "__main__":
    unittest.main()
