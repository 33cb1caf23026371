"""The command line: in this process for what it says, as a program for what it does until a signal."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Dict, List, Optional, Tuple
from unittest import mock

import wsbridge
from wsbridge.config import ServerConfig
from wsbridge.server.arguments import check_application
from wsbridge.server.command import cli
from wsbridge.server.command.flags import build_flag
from wsbridge.server.logs.log import logger
from wsbridge.server.logs.output import use_log_format

from .loopback import CLOSE_1012, REQUEST, SWITCHING, TIMEOUT

PACKAGE = wsbridge.__name__
# Defaults that are written otherwise than Python writes them.
WRITTEN = {
    "uds_mode": "666",
    "forwarded_headers": "x-forwarded-for,x-forwarded-proto",
    "reload_includes": "*.py",
}
ROOT = Path(str(wsbridge.__file__)).parents[PACKAGE.count(".") + 1]

APPLICATIONS = """
import asyncio, atexit, sys, threading, traceback

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

async def raises(scope, receive, send):
    await receive()
    raise ValueError("no database")

async def tells_and_raises(scope, receive, send):
    try:
        await raises(scope, receive, send)
    except ValueError:
        await send({"type": "lifespan.startup.failed", "message": traceback.format_exc()})
        raise

async def hangs(scope, receive, send):
    await receive()
    print("startup", flush=True)
    await asyncio.Event().wait()

def shorten_exit():
    "Limit the wait for threads at the end, which takes a second otherwise."
    package, _, _ = sys.modules["__main__"].__spec__.name.rpartition(".")
    sys.modules[package + ".server.command.ending"].THREAD_TIMEOUT = 0.1

async def waits_in_a_thread(scope, receive, send):
    if scope["type"] == "lifespan":
        shorten_exit()
        atexit.register(print, "exit handler")
        threading.Thread(target=threading.Event().wait, name="forgotten").start()
        return await app(scope, receive, send)
    await receive()
    await send({"type": "websocket.accept"})
    await asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)

async def has_a_loop_in_a_daemon(scope, receive, send):
    if scope["type"] == "lifespan":
        shorten_exit()
        is_working = threading.Event()

        def work():
            is_working.set()
            threading.Event().wait()

        threading.Thread(target=asyncio.run, args=(asyncio.to_thread(work),), daemon=True).start()
        is_working.wait()
        await app(scope, receive, send)

def create():
    return app

def broken_factory():
    raise KeyError("setting")

exited = []

async def exits(scope, receive, send):
    if scope["type"] != "lifespan" and not exited:
        exited.append(asyncio.get_running_loop().call_soon(sys.exit, 5))
    await app(scope, receive, send)

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
        self.addCleanup(setattr, logging, "lastResort", logging.lastResort)
        patch = mock.patch.object(cli, "run")
        self.run_server = patch.start()
        self.addCleanup(patch.stop)

    def load(self, target: str, config: ServerConfig) -> None:
        self.app = check_application(target, config)

    def command(
        self, *arguments: str, raises: Any = None, environ: Optional[Dict[str, str]] = None
    ) -> Tuple[int, str, str]:
        """Exit code, standard output and error; what would be served is ``self.app`` and ``self.config``."""
        self.run_server.side_effect = raises or self.load
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code: Any = cli.main(list(arguments), environ or {})
            except SystemExit as end:
                code = end.code
        if self.run_server.called:
            self.target, self.config = self.run_server.call_args.args
        return code, out.getvalue(), err.getvalue()

    def assert_error(self, code: int, text: str, *arguments: str, **options: Any) -> None:
        """One line on standard error, nothing on standard output, and the exit code."""
        found = self.command(*arguments, **options)
        self.assertEqual(found[:2], (code, ""))
        self.assertRegex(found[2], rf"^python3 -m {PACKAGE}: error: {text}\n$")
        self.assertEqual(found[2].count("\n"), 1)

    def assert_config(self, expected: ServerConfig, *arguments: str, **environ: str) -> None:
        self.assertEqual(self.command("served:app", *arguments, environ=environ), (0, "", ""))
        self.assertEqual(self.config, expected)


class JsonErrorTests(CommandCase):
    """With ``--log-format json`` every line is an object, whatever is wrong, and where it stands."""

    def setUp(self) -> None:
        super().setUp()
        for module, hook in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
            self.addCleanup(setattr, module, hook, getattr(module, hook))
        self.addCleanup(setattr, logging, "lastResort", logging.lastResort)
        self.addCleanup(logging.getLogger("py.warnings").handlers.clear)
        self.addCleanup(logging.captureWarnings, False)
        self.addCleanup(use_log_format, "text")

    def assert_messages(self, code: int, patterns: List[str], *arguments: str, raises: Any = None) -> None:
        found = self.command(*arguments, raises=raises)
        self.assertEqual(found[:2], (code, ""))
        lines = [json.loads(line) for line in found[2].splitlines()]
        self.assertEqual(len(lines), len(patterns), lines)
        for line, pattern in zip(lines, patterns):
            self.assertEqual((line["level"], line["logger"]), ("error", "wsbridge.error"))
            self.assertRegex(line.get("traceback", line["message"]), pattern)

    def test_unknown_flag_before_and_behind(self) -> None:
        error = [f"^python3 -m {PACKAGE}: error: unrecognized arguments: --nonsense .*$"]
        self.assert_messages(2, error, "--nonsense", "--log-format", "json")
        self.assert_messages(2, error, "--log-format=json", "--nonsense")

    def test_first_argument_of_the_program(self) -> None:
        arguments = mock.patch.object(sys, "argv", ["wsbridge", "--log-format=json", "--nonsense"])
        with arguments, contextlib.redirect_stderr(io.StringIO()) as printed, self.assertRaises(SystemExit):
            cli.main(environ={})
        self.assertEqual(json.loads(printed.getvalue())["level"], "error")

    def test_value_that_breaks_its_rule(self) -> None:
        error = [f"^python3 -m {PACKAGE}: error: port=70000: it must be .*$"]
        self.assert_messages(2, error, "served:app", "--port=70000", "--log-format=json")

    def test_application_that_cannot_be_imported(self) -> None:
        errors = ["(?s)^Traceback .*KeyError: 'setting'$", "error: cannot import 'served_broken': KeyError"]
        self.assert_messages(2, errors, "served_broken:app", "--log-format=json")

    def test_port_that_is_taken(self) -> None:
        error = OSError(98, "Address already in use", "127.0.0.1")
        self.assert_messages(1, ["error: .*in use"], "served:app", "--log-format=json", raises=error)


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
        deadlines = [item.name for item in fields(ServerConfig) if item.name.startswith("timeout_")]
        for name in (*deadlines, "close_grace", "ws_ping_interval", "ws_ping_timeout"):
            without: Any = {name: None}
            self.assert_config(ServerConfig(**without), f"--{name.replace('_', '-')}=none")
        self.assert_config(ServerConfig(), "--limit-concurrency=none", "--uds=none", "--allowed-origins=none")

    def test_list_is_separated_by_commas(self) -> None:
        expected = ServerConfig(allowed_origins=("same-origin", "https://a.example"))
        self.assert_config(expected, "--allowed-origins", " same-origin , https://a.example,")
        self.assert_config(ServerConfig(allowed_origins=()), "--allowed-origins=")

    def test_list_may_be_given_by_several_flags(self) -> None:
        expected = ServerConfig(allowed_origins=("https://a.example", "https://b.example", "same-origin"))
        flag = "--allowed-origins"
        self.assert_config(expected, flag, "https://a.example,https://b.example", flag, "same-origin")
        self.assert_config(ServerConfig(allowed_origins=("null",)), f"{flag}=none", f"{flag}=null")
        self.assert_config(ServerConfig(), f"{flag}=null", f"{flag}=none")

    def test_headers_are_pairs_and_may_be_several(self) -> None:
        expected = ServerConfig(headers=[("X-A", "b: c"), ("X-A", ""), ("Server", "x")])
        self.assert_config(expected, "--header", " X-A : b: c ", "--header=X-A:", "--header=Server:x")

    def test_every_field_has_its_flag_and_the_flag_its_default(self) -> None:
        for item in fields(ServerConfig):
            flag = build_flag(item)
            if type(item.default) is bool:
                off: Any = {item.name: False}
                self.assert_config(ServerConfig(**off), flag.replace("--", "--no-"))
            elif item.name != "headers":
                value = ",".join(item.default) if isinstance(item.default, tuple) else str(item.default)
                value = "666" if item.name == "uds_mode" else value
                self.assert_config(ServerConfig(), f"{flag}={value}")

    def test_factory_is_called(self) -> None:
        self.command("served:create", "--factory")
        self.assertIs(self.app, sys.modules["served"].app)

    def test_app_dir_is_on_the_path_in_place_of_the_working_directory(self) -> None:
        (self.folder / "below").mkdir()
        (self.folder / "served.py").rename(self.folder / "below" / "served.py")
        self.command("served:app", "--app-dir", "below")
        self.assertIs(self.app, sys.modules["served"].app)
        self.assertEqual(sys.path[0], os.fspath(self.folder / "below"))

    def test_working_directory_is_on_the_path(self) -> None:
        self.command("served:app")
        self.assertEqual(sys.path[0], os.fspath(self.folder))


class DemoTests(CommandCase):
    def assert_demo(self, expected: ServerConfig, *arguments: str, **environ: str) -> None:
        self.assertEqual(self.command(*arguments, environ=environ), (0, "", ""))
        self.assertIs(self.app, sys.modules[f"{PACKAGE}.demo.app"].app)
        self.assertEqual(self.config, expected)

    def test_no_argument_is_the_demo_for_its_own_page_alone(self) -> None:
        self.assert_demo(ServerConfig(allowed_origins=("same-origin",)))

    def test_demo_can_be_asked_for_with_other_flags(self) -> None:
        self.assert_demo(ServerConfig(port=0, allowed_origins=("same-origin",)), "--port=0", "--demo")

    def test_demo_that_is_asked_for_comes_before_the_application_of_the_environment(self) -> None:
        environ = {"WSBRIDGE_APP": "served:create", "WSBRIDGE_FACTORY": "1"}
        self.assert_demo(ServerConfig(allowed_origins=("same-origin",)), "--demo", **environ)

    def test_origins_that_are_given_hold_for_the_demo_too(self) -> None:
        for text, origins in (("none", None), ("https://a.example", ("https://a.example",))):
            self.assert_demo(ServerConfig(allowed_origins=origins), "--demo", "--allowed-origins", text)

    def test_application_that_is_missing(self) -> None:
        text = "an application is missing: name it as module:app, or serve the demo with --demo"
        self.assert_error(2, text, "--port=0")
        self.assert_error(2, text, environ={"WSBRIDGE_PORT": "0"})

    def test_demo_and_an_application(self) -> None:
        self.assert_error(2, "--demo and a:b: give one of them", "--demo", "a:b")

    def test_named_application_decides_for_itself(self) -> None:
        self.command(f"{PACKAGE}.demo.app:app")
        self.assertIsNone(self.config.allowed_origins)


class EnvironmentTests(CommandCase):
    def test_flag_comes_before_its_variable(self) -> None:
        self.assert_config(ServerConfig(port=2, host="::"), "--port=2", WSBRIDGE_PORT="1", WSBRIDGE_HOST="::")
        self.assert_config(ServerConfig(), "--date-header", WSBRIDGE_DATE_HEADER="0")

    def test_reload_comes_before_the_number_of_workers(self) -> None:
        variables = {"WEB_CONCURRENCY": "4", "WSBRIDGE_PORT": "5", "WSBRIDGE_WS_MAX_SIZE": "9"}
        self.assert_config(ServerConfig(reload=True, port=5, ws_max_size=9), "--reload", **variables)
        text = "reload with workers=2: it is for one process"
        self.assert_error(2, text, "served:app", "--reload", "--workers=2")

    def test_application_can_be_named_there(self) -> None:
        self.command(environ={"WSBRIDGE_APP": "served:app"})
        self.assertIs(self.app, sys.modules["served"].app)
        self.command("served:app", environ={"WSBRIDGE_APP": "nowhere:app"})
        self.assertIs(self.app, sys.modules["served"].app)

    def test_wrong_value_names_the_variable(self) -> None:
        text = "port=70000: it must be a whole number from 0 to 65535"
        for name in ("WSBRIDGE_PORT", "UVICORN_PORT"):
            self.assert_error(2, rf"{text} \(set by {name}\)", "a:b", environ={name: "70000"})
        self.assert_error(2, text, "a:b", "--port=70000", environ={"WSBRIDGE_PORT": "70001"})
        self.assert_error(
            2,
            "WSBRIDGE_PORT='x': it must be a whole number from 0 to 65535",
            "a:b",
            environ={"WSBRIDGE_PORT": "x"},
        )
        environ = {"FORWARDED_ALLOW_IPS": "localhost", "WSBRIDGE_PORT": "1"}
        text = r"forwarded_allow_ips: trusted peer 'localhost' .* \(set by FORWARDED_ALLOW_IPS\)"
        self.assert_error(2, text, "a:b", environ=environ)

    def test_unknown_variable_is_a_warning(self) -> None:
        with self.assertLogs(logger, "WARNING") as logs:
            self.command("served:app", environ={"WSBRIDGE_PROT": "1"})
        text = "WSBRIDGE_PROT is set in the environment, but there is no such option"
        self.assertEqual(logs.output, [f"WARNING:wsbridge.error:{text}: did you mean WSBRIDGE_PORT?"])
        self.assertEqual(self.config, ServerConfig())


class HelpTests(CommandCase):
    def test_version(self) -> None:
        self.assertEqual(self.command("--version"), (0, f"{PACKAGE} {wsbridge.__version__}\n", ""))

    def test_help_tells_the_other_commands_from_applications(self) -> None:
        _, text, _ = self.command("--help")
        words = " ".join(text.split())
        self.assertIn(f"python3 -m {PACKAGE} vendor DEST [--only protocols]", words)
        self.assertIn(f"python3 -m {PACKAGE} selftest", words)
        self.assertIn("As the first word, 'vendor' copies", words)
        self.assertIn("an application has a colon in its name", words)

    def test_help_lists_every_field_with_its_reason_and_its_default_once(self) -> None:
        with mock.patch.dict(os.environ, {"COLUMNS": "500", "NO_COLOR": "1"}):
            code, text, errors = self.command("--help")
        self.assertEqual((code, errors), (0, ""))
        for item in fields(ServerConfig):
            self.assertIn(f"  {build_flag(item)}", text)
            default = WRITTEN.get(item.name, "none" if item.default in (None, "", ()) else item.default)
            default = {True: "on", False: "off"}[default] if type(default) is bool else default
            described = f"{item.metadata['help']} (default: {default})"
            self.assertRegex(text, re.escape(described) + "\n")
        self.assertEqual(text.count("(default: "), len(fields(ServerConfig)))


class ErrorTests(CommandCase):
    def test_unknown_flag(self) -> None:
        self.assert_error(2, r"unrecognized arguments: --nothing \(--help lists the flags\)", "--nothing")

    def test_flags_are_not_abbreviated(self) -> None:
        """A new flag could make the short form ambiguous."""
        self.assert_error(2, "unrecognized arguments: --ho.*", "--ho", "::1")

    def test_second_application(self) -> None:
        self.assert_error(2, "unrecognized arguments: b:b .*", "a:a", "b:b")

    def test_value_of_the_wrong_type(self) -> None:
        self.assert_error(2, "argument --port: 'x': it must be a whole number from 0 to 65535 .*", "--port=x")
        self.assert_error(
            2,
            "argument --close-grace: 'x': it must be a number of seconds above 0, or none .*",
            "--close-grace=x",
        )
        self.assert_error(2, "argument --port: 'none': it must be a whole number .*", "--port=none")
        self.assert_error(
            2, "argument --uds-mode: '8': it must be an octal number, such as 660 .*", "--uds-mode=8"
        )

    def test_header_that_is_none(self) -> None:
        self.assert_error(2, "argument --header: 'X-A' is not of the form NAME:VALUE .*", "--header=X-A")
        self.assert_error(2, "headers=.*: header name b'X A' is not a token", "a:b", "--header=X A:b")

    def test_value_that_breaks_its_rule(self) -> None:
        self.assert_error(2, "port=70000: it must be a whole number from 0 to 65535", "a:b", "--port=70000")
        self.assert_error(2, "ws_ping_interval=nan: it must be .*", "a:b", "--ws-ping-interval=nan")
        self.assert_error(2, "log_level='loud': it must be one of critical, .*", "a:b", "--log-level=loud")
        self.assert_error(2, "ssl_keyfile without ssl_certfile: .*", "a:b", "--ssl-keyfile=/key.pem")

    def test_name_that_is_no_name_of_an_application(self) -> None:
        self.assert_error(2, "'served' is not of the form module:attribute, .*", "served")

    def test_unknown_module(self) -> None:
        self.assert_error(2, "cannot import 'served_nowhere': ModuleNotFoundError: .*", "served_nowhere:app")

    def test_unknown_attribute(self) -> None:
        self.assert_error(2, "'served' has no attribute 'nothing'", "served:nothing")

    def test_attribute_that_is_not_callable(self) -> None:
        self.assert_error(2, "'served:number' is no ASGI application: int cannot be called", "served:number")

    def assert_traceback(self, code: int, lines: List[str], *arguments: str, raises: Any = None) -> None:
        """The application's own traceback, and then one line; ``lines`` are patterns."""
        found = self.command(*arguments, raises=raises)
        self.assertEqual(found[:2], (code, ""))
        printed = [line for line in found[2].splitlines() if line.strip(" ~^")]
        self.assertEqual(len(printed), len(lines), found[2])
        for line, pattern in zip(printed, lines):
            self.assertRegex(line, f"^{pattern}$")

    def test_module_that_raises(self) -> None:
        lines = [
            r"Traceback \(most recent call last\):",
            r'  File ".*served_broken.py", line 1, in <module>',
            r"    raise KeyError\('setting'\)",
            "KeyError: 'setting'",
            f"python3 -m {PACKAGE}: error: cannot import 'served_broken': KeyError: 'setting'",
        ]
        self.assert_traceback(2, lines, "served_broken:app")

    def test_module_whose_own_import_is_not_found(self) -> None:
        (self.folder / "served_broken.py").write_text("\nimport served_nowhere")
        text = "ModuleNotFoundError: No module named 'served_nowhere'"
        lines = [
            r"Traceback \(most recent call last\):",
            r'  File ".*served_broken.py", line 2, in <module>',
            "    import served_nowhere",
            text,
            f"python3 -m {PACKAGE}: error: cannot import 'served_broken': {text}",
        ]
        self.assert_traceback(2, lines, "served_broken:app")

    def test_module_that_cannot_be_compiled(self) -> None:
        (self.folder / "served_broken.py").write_text("app = 5 +")
        lines = [
            r'  File ".*served_broken.py", line 1',
            r"    app = 5 \+",
            "SyntaxError: invalid syntax",
            rf"python3 -m {PACKAGE}: error: cannot import 'served_broken': SyntaxError: invalid syntax .*",
        ]
        self.assert_traceback(2, lines, "served_broken:app")

    def test_error_of_several_lines_is_one_in_the_end(self) -> None:
        (self.folder / "served_broken.py").write_text("raise ValueError('2 errors\\n  port\\n  host')")
        found = self.command("served_broken:app")[2].splitlines()
        self.assertEqual(found[-4:-1], ["ValueError: 2 errors", "  port", "  host"])
        text = "cannot import 'served_broken': ValueError: 2 errors"
        self.assertEqual(found[-1], f"python3 -m {PACKAGE}: error: {text}")

    def test_factory_that_raises(self) -> None:
        lines = [
            r"Traceback \(most recent call last\):",
            r'  File ".*served.py", line \d+, in broken_factory',
            r"    raise KeyError\(\"setting\"\)",
            "KeyError: 'setting'",
            f"python3 -m {PACKAGE}: error: factory 'served:broken_factory' raised KeyError: 'setting'",
        ]
        self.assert_traceback(2, lines, "served:broken_factory", "--factory")

    def test_application_called_as_a_factory_has_no_traceback(self) -> None:
        self.assert_error(
            2, r"factory 'served:app' raised TypeError: app\(\) missing .*", "served:app", "--factory"
        )

    def test_module_that_exits(self) -> None:
        (self.folder / "served_broken.py").write_text("raise SystemExit(5)")
        self.assertEqual(self.command("served_broken:app"), (5, "", ""))

    def test_unknown_module_in_a_package(self) -> None:
        text = "cannot import 'served.nowhere': ModuleNotFoundError: .*"
        self.assert_error(2, text, "served.nowhere:app")

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
        from wsbridge.server.running import run

        self.assert_error(code, text, *arguments, "--log-level=critical", raises=run)

    def test_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = f"--port={taken.getsockname()[1]}"
            self.assert_no_start(1, ".*address already in use.*", "served:app", port, "--lifespan=off")

    def test_host_that_cannot_be_one(self) -> None:
        self.assert_no_start(2, "cannot listen on 'a..b': .*", "served:app", "--host=a..b", "--lifespan=off")

    def test_certificate_that_cannot_be_read(self) -> None:
        flag = "--ssl-certfile=/nowhere/cert.pem"
        self.assert_no_start(2, "ssl_certfile='/nowhere/cert.pem': .*", "served:app", flag)

    def test_startup_that_fails(self) -> None:
        self.assert_no_start(1, "application startup failed: no database", "served:no_startup")

    def test_startup_that_raises(self) -> None:
        from wsbridge.server.running import run

        for name in ("raises", "tells_and_raises"):
            found = self.command(
                f"served:{name}", "--lifespan=on", "--log-level=critical", "--port=0", raises=run
            )
            self.assertEqual(found[:2], (1, ""))
            lines = [line for line in found[2].splitlines() if line.strip(" ~^")]
            self.assertRegex(lines[1], rf'^  File ".*served.py", line \d+, in {name}$')
            self.assertEqual(lines[-2], "ValueError: no database")
            text = "application startup failed: ValueError: no database"
            self.assertEqual(lines[-1], f"python3 -m {PACKAGE}: error: {text}")


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

    environment: ClassVar[Dict[str, str]]

    @classmethod
    def setUpClass(cls) -> None:
        # A copy, in which the first program leaves the bytecode for the others.
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        name = PACKAGE.partition(".")[0]
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, os.path.join(folder.name, name), ignore=ignore)
        # Empty: standard output is buffered, and bytecode written, whatever the tests were started with.
        variables = {"PYTHONUNBUFFERED": "", "PYTHONDONTWRITEBYTECODE": ""}
        cls.environment = {**os.environ, **variables, "PYTHONPATH": folder.name}

    def start(self, *arguments: str) -> Any:
        program = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", PACKAGE, "--port=0", *arguments],
            env=self.environment,
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

    def test_signal_during_the_startup_is_the_exit_code(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            program = self.start("served:hangs")
            self.assertEqual(program.stdout.readline(), b"startup\n")
            program.send_signal(number)
            errors = self.assert_exit(program, 128 + number, [])
            self.assertRegex(errors, rb"^[^\n]* INFO stopped before it was listening\n$")

    def test_threads_that_never_end_are_left_behind_and_exit_handlers_are_called(self) -> None:
        program = self.start("served:waits_in_a_thread", "--timeout-graceful-shutdown=0.1")
        # The worker of a pool is left behind even if a daemon has made it, and it is one itself.
        other = self.start("served:has_a_loop_in_a_daemon")
        client = self.open_websocket(self.read_port(program))
        self.read_port(other)
        program.send_signal(signal.SIGTERM)
        other.send_signal(signal.SIGTERM)
        self.assert_received(client, CLOSE_1012)
        errors = self.assert_exit(program, 0, [b"startup", b"shutdown", b"exit handler"])
        names = errors.splitlines()[-1].rpartition(b"ended without waiting for threads: ")[2].split(b", ")
        self.assertEqual(len(names), 2, errors)
        self.assertIn(b"forgotten", names)
        errors = self.assert_exit(other, 0, [b"startup", b"shutdown"])
        self.assertIn(b"ended without waiting for threads: asyncio_0", errors)

    def test_application_that_exits_is_logged_and_the_others_live(self) -> None:
        program = self.start("served:exits")
        port = self.read_port(program)
        closes = (bytes.fromhex("88 02 03f3"), CLOSE_1012)
        clients = [self.open_websocket(port) for _ in closes]
        self.assert_received(clients[0], closes[0])
        program.send_signal(signal.SIGTERM)
        self.assert_received(clients[1], closes[1])
        for client, close in zip(clients, closes):
            client.sendall(b"\x88\x82\0\0\0\0" + close[2:])
            self.assert_received(client, b"")
            client.close()
        errors = self.assert_exit(program, 0, [b"startup", b"1011", b"1012", b"shutdown"])
        self.assertEqual(errors.count(b"ERROR application raised"), 1)
        self.assertEqual(errors.count(b"SystemExit: 5"), 1)

    def test_package_in_a_zip(self) -> None:
        archive = zipfile.ZipFile(self.folder / "packages.zip", "w")
        with archive:
            for file in (ROOT / PACKAGE.partition(".")[0]).rglob("*"):
                if file.suffix in (".py", ".html"):
                    archive.write(file, file.relative_to(ROOT))
        environment = {**os.environ, "PYTHONPATH": os.fspath(self.folder / "packages.zip")}
        for flag, expected in (("--version", f"{PACKAGE} {wsbridge.__version__}\n"), ("--help", "--port N")):
            program = subprocess.run(
                [sys.executable, "-m", PACKAGE, flag], env=environment, capture_output=True, timeout=TIMEOUT
            )
            self.assertEqual((program.returncode, program.stderr), (0, b""))
            self.assertIn(expected, program.stdout.decode())

    def test_demo_is_served_to_its_own_page(self) -> None:
        program = self.start("--demo")
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
        with mock.patch.object(cli, "command") as command:
            runpy.run_module(f"{PACKAGE}.__main__", run_name="__main__")
        command.assert_called_once_with()

    def test_module_that_is_only_imported_runs_nothing(self) -> None:
        with mock.patch.object(cli, "command") as command:
            found = runpy.run_module(f"{PACKAGE}.__main__", run_name="imported")
            command.assert_not_called()
            found["command"]()
        command.assert_called_once_with()


if __name__ == "__main__":
    unittest.main()
