"""The command line: in this process for what it says, as a program for what it does until a signal."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from dataclasses import fields
from pathlib import Path
from typing import Any, List, Tuple
from unittest import mock

import wsbridge
from wsbridge.config import ServerConfig
from wsbridge.server import cli
from wsbridge.server.service import logger

from .loopback import CLOSE_1012, REQUEST, SWITCHING, TIMEOUT

PACKAGE = wsbridge.__name__
ROOT = Path(str(wsbridge.__file__)).parents[PACKAGE.count(".") + 1]

APPLICATIONS = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        print("startup", flush=True)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("shutdown", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await receive()
        await send({"type": "websocket.accept"})
        print((await receive())["code"], flush=True)

async def no_startup(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})

async def no_shutdown(scope, receive, send):
    await app(scope, receive, send)
    raise KeyError("database")

number = 5
"""


class CommandCase(unittest.TestCase):
    """`main` in this process, in a folder with applications, and with `run` caught."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(os.path.realpath(folder.name))
        (self.folder / "served.py").write_text(APPLICATIONS)
        (self.folder / "served_broken.py").write_text("raise KeyError('setting')")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        self.addCleanup(sys.path.__setitem__, slice(None), sys.path[:])
        for name in ("served", "served_broken"):
            self.addCleanup(sys.modules.pop, name, None)
        self.addCleanup(logger.handlers.__setitem__, slice(None), logger.handlers[:])
        self.addCleanup(logger.setLevel, logger.level)
        patch = mock.patch.object(cli, "run")
        self.run_server = patch.start()
        self.addCleanup(patch.stop)

    def command(self, *arguments: str, raises: Any = None) -> Tuple[int, str, str]:
        """Exit code, standard output and error; what would be served is ``self.app`` and ``self.config``."""
        self.run_server.side_effect = raises
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code: Any = cli.main(list(arguments))
            except SystemExit as end:
                code = end.code
        if self.run_server.called:
            self.app, self.config = self.run_server.call_args.args
        return code, out.getvalue(), err.getvalue()

    def assert_error(self, code: int, text: str, *arguments: str, raises: Any = None) -> None:
        """One line on standard error, nothing on standard output, and the exit code."""
        found = self.command(*arguments, raises=raises)
        self.assertEqual(found[:2], (code, ""))
        self.assertRegex(found[2], rf"^python3 -m {PACKAGE}: error: {text}\n$")
        self.assertEqual(found[2].count("\n"), 1)

    def assert_config(self, expected: ServerConfig, *arguments: str) -> None:
        self.assertEqual(self.command("served:app", *arguments), (0, "", ""))
        self.assertEqual(self.config, expected)


class ArgumentTests(CommandCase):
    def test_named_application_is_served_with_the_defaults(self) -> None:
        self.assert_config(ServerConfig())
        self.assertIs(self.app, sys.modules["served"].app)

    def test_every_kind_of_flag(self) -> None:
        self.assert_config(ServerConfig(port=0, limit_concurrency=5), "--port=0", "--limit-concurrency", "5")
        expected = ServerConfig(timeout_accept=1.5, ws_ping_timeout=1)
        self.assert_config(expected, "--timeout-accept=1.5", "--ws-ping-timeout", "1")
        self.assert_config(ServerConfig(host="::", uds="/a b"), "--host", "::", "--uds", "/a b")
        expected = ServerConfig(ws_per_message_deflate=False, ws_deflate_server_no_context_takeover=True)
        self.assert_config(expected, "--no-ws-per-message-deflate", "--ws-deflate-server-no-context-takeover")

    def test_none_switches_off_what_may_be(self) -> None:
        self.assert_config(ServerConfig(ws_ping_interval=None), "--ws-ping-interval=none")
        self.assert_config(ServerConfig(ws_ping_interval=None), "--ws-ping-interval=None")
        self.assert_config(ServerConfig(), "--limit-concurrency=none", "--uds=none", "--allowed-origins=none")

    def test_list_is_separated_by_commas(self) -> None:
        expected = ServerConfig(allowed_origins=("same-origin", "https://a.example"))
        self.assert_config(expected, "--allowed-origins", " same-origin , https://a.example,")
        self.assert_config(ServerConfig(allowed_origins=()), "--allowed-origins=")

    def test_every_field_has_its_flag_and_the_flag_its_default(self) -> None:
        for item in fields(ServerConfig):
            flag = "--" + item.name.replace("_", "-")
            if type(item.default) is bool:
                self.assert_config(ServerConfig(**{item.name: False}), flag.replace("--", "--no-"))
            else:
                value = ",".join(item.default) if isinstance(item.default, tuple) else str(item.default)
                self.assert_config(ServerConfig(), f"{flag}={value}")

    def test_working_directory_is_on_the_path(self) -> None:
        self.command("served:app")
        self.assertEqual(sys.path[0], os.fspath(self.folder))


class DemoTests(CommandCase):
    def test_no_application_is_the_demo_for_its_own_page_alone(self) -> None:
        self.assertEqual(self.command("--port=0"), (0, "", ""))
        self.assertIs(self.app, sys.modules[f"{PACKAGE}.demo.app"].app)
        self.assertEqual(self.config, ServerConfig(port=0, allowed_origins=("same-origin",)))

    def test_origins_that_are_given_hold_for_the_demo_too(self) -> None:
        for text, origins in (("none", None), ("https://a.example", ("https://a.example",))):
            self.command("--allowed-origins", text)
            self.assertEqual(self.config, ServerConfig(allowed_origins=origins))

    def test_named_application_decides_for_itself(self) -> None:
        self.command(f"{PACKAGE}.demo.app:app")
        self.assertIsNone(self.config.allowed_origins)


class HelpTests(CommandCase):
    def test_version(self) -> None:
        self.assertEqual(self.command("--version"), (0, f"{PACKAGE} {wsbridge.__version__}\n", ""))

    def test_help_lists_every_field_with_its_reason_and_its_default_once(self) -> None:
        with mock.patch.dict(os.environ, {"COLUMNS": "500", "NO_COLOR": "1"}):
            code, text, errors = self.command("--help")
        self.assertEqual((code, errors), (0, ""))
        for item in fields(ServerConfig):
            self.assertIn("  --" + item.name.replace("_", "-"), text)
            described = f"{item.metadata['help']} (default: {item.default})"
            self.assertRegex(text, re.escape(described) + "\n")
        self.assertEqual(text.count("(default: "), len(fields(ServerConfig)))


class ErrorTests(CommandCase):
    def test_unknown_flag(self) -> None:
        self.assert_error(2, r"unrecognized arguments: --nothing \(--help lists the flags\)", "--nothing")

    def test_second_application(self) -> None:
        self.assert_error(2, "unrecognized arguments: b:b .*", "a:a", "b:b")

    def test_value_of_the_wrong_type(self) -> None:
        self.assert_error(2, "argument --port: invalid int value: 'x' .*", "--port=x")
        self.assert_error(2, "argument --close-grace: invalid float value: 'x' .*", "--close-grace=x")
        self.assert_error(2, "argument --port: invalid int value: 'none' .*", "--port=none")

    def test_value_that_breaks_its_rule(self) -> None:
        self.assert_error(2, "port=70000: it must be a whole number from 0 to 65535", "--port=70000")
        self.assert_error(2, "ws_ping_interval=nan: it must be .*", "--ws-ping-interval=nan")
        self.assert_error(2, "log_level='loud': it must be one of critical, .*", "--log-level=loud")
        self.assert_error(2, "ssl_keyfile without ssl_certfile: .*", "--ssl-keyfile=/key.pem")

    def test_name_that_is_no_name_of_an_application(self) -> None:
        self.assert_error(2, "'served' is not of the form module:attribute, .*", "served")

    def test_unknown_module(self) -> None:
        self.assert_error(2, "cannot import 'served_nowhere': ModuleNotFoundError: .*", "served_nowhere:app")

    def test_unknown_attribute(self) -> None:
        self.assert_error(2, "'served' has no attribute 'nothing'", "served:nothing")

    def test_attribute_that_is_not_callable(self) -> None:
        self.assert_error(2, "'served:number' is no ASGI application: int cannot be called", "served:number")

    def test_module_that_raises(self) -> None:
        self.assert_error(2, "cannot import 'served_broken': KeyError: 'setting'", "served_broken:app")

    def test_error_of_the_system(self) -> None:
        self.assert_error(1, "no port", "served:app", raises=OSError("no port"))

    def test_interrupt_before_the_server_listens(self) -> None:
        self.assertEqual(self.command("served:app", raises=KeyboardInterrupt)[0], 130)

    def test_whole_error_is_in_the_debug_log(self) -> None:
        with self.assertLogs(logger, "DEBUG") as logs:
            self.command("served_broken:app", "--log-level=debug")
        self.assertRegex(logs.output[0], "(?s)the error in full.*Traceback.*KeyError: 'setting'")


class StartErrorTests(CommandCase):
    """What only the server itself can find out: it is run, but for the time that it would serve."""

    def assert_no_start(self, code: int, text: str, *arguments: str) -> None:
        from wsbridge.server.server import run

        self.assert_error(code, text, *arguments, "--log-level=critical", raises=run)

    def test_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = f"--port={taken.getsockname()[1]}"
            self.assert_no_start(1, ".*address already in use.*", "served:app", port, "--lifespan=off")

    def test_host_that_cannot_be_one(self) -> None:
        self.assert_no_start(2, "cannot listen on 'a..b': .*", "served:app", "--host=a..b", "--lifespan=off")

    def test_certificate_that_cannot_be_read(self) -> None:
        flag = "--ssl-certfile=/nowhere/cert.pem"
        self.assert_no_start(2, "ssl_certfile='/nowhere/cert.pem', ssl_keyfile=None: .*", "served:app", flag)

    def test_startup_that_fails(self) -> None:
        self.assert_no_start(1, "application startup failed: no database", "served:no_startup")


class LoggingTests(CommandCase):
    def test_level_and_one_handler_however_often_it_is_called(self) -> None:
        logger.handlers.clear()
        for level in ("warning", "debug"):
            self.command("served:app", f"--log-level={level}")
            self.assertEqual(logger.level, getattr(logging, level.upper()))
            self.assertEqual(len(logger.handlers), 1)

    def test_own_handlers_are_left_alone(self) -> None:
        logger.handlers[:] = [logging.NullHandler()]
        handlers = list(logger.handlers)
        self.command("served:app")
        self.assertEqual(logger.handlers, handlers)


class ProgramTests(CommandCase):
    """``python3 -m wsbridge`` as a process of its own."""

    def start(self, *arguments: str) -> Any:
        program = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", PACKAGE, "--port=0", *arguments],
            env={**os.environ, "PYTHONPATH": os.fspath(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(program.communicate)
        self.addCleanup(program.kill)
        return program

    def read_port(self, program: Any) -> int:
        line = program.stderr.readline()
        self.assertRegex(line, rb" INFO listening on http://127\.0\.0\.1:\d+\n$")
        return int(line.rpartition(b":")[2])

    def connect(self, port: int) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.addCleanup(client.close)
        return client

    def open_websocket(self, port: int) -> socket.socket:
        client = self.connect(port)
        client.sendall(REQUEST)
        self.assert_received(client, SWITCHING)
        return client

    def assert_received(self, client: socket.socket, expected: bytes) -> None:
        received = b""
        while len(received) < len(expected) and (piece := client.recv(len(expected) - len(received))):
            received += piece
        self.assertEqual(received, expected)

    def assert_exit(self, program: Any, code: int, out: List[bytes]) -> bytes:
        """The exit code and the lines of standard output; standard error is returned."""
        printed, errors = program.communicate(timeout=TIMEOUT)
        self.assertEqual((program.returncode, printed.split(b"\n")[:-1]), (code, out))
        return bytes(errors)

    def test_first_signal_is_graceful(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            program = self.start("served:app")
            client = self.open_websocket(self.read_port(program))
            program.send_signal(number)
            self.assert_received(client, CLOSE_1012)
            client.sendall(bytes.fromhex("88 82 00000000 03f4"))
            self.assert_received(client, b"")
            client.close()
            errors = self.assert_exit(program, 0, [b"startup", b"1012", b"shutdown"])
            self.assertNotIn(b"Traceback", errors)

    def test_second_signal_ends_at_once(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            program = self.start("served:app")
            client = self.open_websocket(self.read_port(program))
            program.send_signal(number)
            self.assert_received(client, CLOSE_1012)
            program.send_signal(number)
            # The peer has not closed, and timeout_close is 10 s: nothing but the signal ends this.
            printed, errors = program.communicate(timeout=8)
            self.assertEqual((program.returncode, printed[:8]), (0, b"startup\n"))
            self.assertNotIn(b"Traceback", errors)

    def test_demo_is_served_when_nothing_is_named(self) -> None:
        program = self.start()
        port = self.read_port(program)
        page = self.connect(port)
        page.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assert_received(page, b"HTTP/1.1 200 OK\r\nDate: ")
        self.assertEqual(page.recv(29)[-4:], b" GMT")
        self.assert_received(page, b"\r\ncontent-type: text/html; charset=utf-8\r\n")
        page.close()
        foreign = REQUEST.replace(b"/chat", b"/ws")[:-2] + b"Origin: http://elsewhere.example\r\n\r\n"
        for request, answer in (
            (foreign, b"HTTP/1.1 403 Forbidden\r\n"),
            (foreign.replace(b"server.example.com", b"elsewhere.example"), SWITCHING),
        ):
            client = self.connect(port)
            client.sendall(request)
            self.assert_received(client, answer)
            client.close()
        program.send_signal(signal.SIGTERM)
        self.assert_exit(program, 0, [])

    def test_shutdown_that_fails_is_one_line_and_exit_code_1(self) -> None:
        program = self.start("served:no_shutdown")
        self.read_port(program)
        program.send_signal(signal.SIGTERM)
        errors = self.assert_exit(program, 1, [b"startup", b"shutdown"])
        self.assertRegex(errors, rb"error: application shutdown failed: KeyError: 'database'\n$")

    def test_module_runs_the_command_line(self) -> None:
        arguments = mock.patch.object(sys, "argv", ["x", "--version"])
        out = io.StringIO()
        with arguments, contextlib.redirect_stdout(out), self.assertRaises(SystemExit) as end:
            runpy.run_module(f"{PACKAGE}.__main__", run_name="__main__")
        self.assertEqual((end.exception.code, out.getvalue()), (0, f"{PACKAGE} {wsbridge.__version__}\n"))

    def test_module_that_is_only_imported_runs_nothing(self) -> None:
        self.assertIs(runpy.run_module(f"{PACKAGE}.__main__", run_name="imported")["main"], cli.main)


if __name__ == "__main__":
    unittest.main()
