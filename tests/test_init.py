"""The public names: where each comes from, and that none is loaded before it is asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
import unittest
from importlib import import_module
from pathlib import Path
from typing import Dict, Set

import wsbridge

PACKAGE = wsbridge.__name__
SOURCE = Path(str(wsbridge.__file__))
ROOT = SOURCE.parents[PACKAGE.count(".") + 1]

HOMES: Dict[str, str] = {
    "Lifespan": "asgi.lifespan",
    "build_ws_event": "asgi.ws_bridge",
    "build_ws_scope": "asgi.ws_bridge",
    "create_ws_receive": "asgi.ws_bridge",
    "create_ws_send": "asgi.ws_bridge",
    "ServerConfig": "config",
    "DeflateSettings": "protocols.deflate",
    "request_from_environ": "protocols.environ",
    "ClientDisconnected": "protocols.errors",
    "ProtocolViolation": "protocols.errors",
    "RequestRefused": "protocols.errors",
    "WSBridgeError": "protocols.errors",
    "ConfigError": "protocols.errors",
    "EventError": "protocols.errors",
    "HandshakeFailed": "protocols.errors",
    "LifespanFailed": "protocols.errors",
    "StateError": "protocols.errors",
    "RequestReceived": "protocols.events",
    "WebSocketConnected": "protocols.events",
    "WebSocketDataReceived": "protocols.events",
    "WebSocketDisconnected": "protocols.events",
    "build_101_response": "protocols.handshake",
    "build_ws_accept_key": "protocols.handshake",
    "build_upgrade_request": "protocols.handshake",
    "check_upgrade_request": "protocols.handshake",
    "check_upgrade_response": "protocols.handshake",
    "generate_ws_key": "protocols.handshake",
    "RequestParser": "protocols.http11",
    "ResponseParser": "protocols.http11",
    "ResponseReceived": "protocols.http11",
    "build_refusal": "protocols.responses",
    "build_response": "protocols.responses",
    "ClientHandshake": "protocols.opening",
    "ServerHandshake": "protocols.opening",
    "WSProtocol": "protocols.ws",
    "Connection": "server.connection.head",
    "EmbeddedConnection": "server.connection.embedded",
    "ConnectionInfo": "server.connection.info",
    "RequestStream": "server.connection.multiplexed",
    "run": "server.running",
    "Server": "server.server",
    "serve": "server.server",
    "Service": "server.service",
    "new_event_loop": "server.speed",
    "handle_websocket": "server.streams",
    "ThreadedServer": "server.thread",
    "run_in_thread": "server.thread",
}


def list_public_attributes(node: ast.ClassDef) -> Set[str]:
    """What its ``__init__`` sets."""
    init = next(
        (item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), node
    )
    return {
        item.attr
        for item in ast.walk(init)
        if isinstance(item, ast.Attribute) and isinstance(item.ctx, ast.Store) and item.attr[0] != "_"
    }


class PublicNameTests(unittest.TestCase):
    def test_every_name_is_the_one_of_its_home(self) -> None:
        for name, home in HOMES.items():
            self.assertIs(getattr(wsbridge, name), getattr(import_module(f"{PACKAGE}.{home}"), name))

    def test_all_lists_them_and_the_version(self) -> None:
        self.assertEqual(set(wsbridge.__all__), {*HOMES, "__version__"})
        self.assertEqual(len(wsbridge.__all__), len(HOMES) + 1)

    def test_star_import_brings_every_name(self) -> None:
        found: Dict[str, object] = {}
        exec(f"from {PACKAGE} import *", found)
        self.assertLessEqual(set(wsbridge.__all__), set(found))

    def test_dir_lists_them_before_they_are_loaded(self) -> None:
        vars(wsbridge).pop("WSProtocol", None)
        self.assertLessEqual({*wsbridge.__all__, "__name__"}, set(dir(wsbridge)))
        self.assertNotIn("WSProtocol", vars(wsbridge))

    def test_name_is_kept_once_it_was_loaded(self) -> None:
        vars(wsbridge).pop("WSProtocol", None)
        self.assertIs(wsbridge.WSProtocol, vars(wsbridge)["WSProtocol"])

    def test_unknown_name_is_an_attribute_error_that_names_it(self) -> None:
        unknown = "nothing"
        with self.assertRaisesRegex(AttributeError, f"^module '{PACKAGE}' has no attribute 'nothing'$"):
            getattr(wsbridge, unknown)

    def test_type_checkers_see_the_same_names(self) -> None:
        tree = ast.parse(SOURCE.read_bytes())
        guard = next(node for node in tree.body if isinstance(node, ast.If))
        seen = {
            alias.name: node.module
            for node in guard.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        self.assertEqual(seen, HOMES)

    def test_docstrings_of_classes_name_every_public_attribute(self) -> None:
        """There `help` and editors find them."""
        for name, home in HOMES.items():
            tree = ast.parse(SOURCE.parent.joinpath(*home.split(".")).with_suffix(".py").read_bytes())
            for found in ast.walk(tree):
                if isinstance(found, ast.ClassDef) and found.name == name:
                    text = ast.get_docstring(found) or ""
                    for attribute in list_public_attributes(found):
                        self.assertIn(f"``{attribute}``", text, name)

    def test_type_checkers_do_not_see_that_a_name_is_looked_up(self) -> None:
        """They would take every name for one of ours."""
        tree = ast.parse(SOURCE.read_bytes())
        defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        self.assertNotIn("__getattr__", defined)

    def test_version_is_three_numbers(self) -> None:
        self.assertRegex(wsbridge.__version__, r"^\d+\.\d+\.\d+$")


class LazyLoadingTests(unittest.TestCase):
    def test_import_loads_nothing_else_of_the_package_and_no_asyncio(self) -> None:
        program = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); before = set(sys.modules); import {PACKAGE}; "
            f"print(sorted(name for name in set(sys.modules) - before "
            f"if name == 'asyncio' or name.startswith({PACKAGE + '.'!r})))"
        )
        found = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, timeout=60)
        self.assertEqual((found.stdout.strip(), found.stderr), (b"[]", b""))


if __name__ == "__main__":
    unittest.main()
