"""The flags: how --help shows them, what unknown ones are told, and what a text stands for."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import unittest
from dataclasses import fields
from typing import Any, Dict
from unittest import mock

from wsbridge import config
from wsbridge.config import ServerConfig
from wsbridge.server.command.flags import (
    FOREIGN_FLAGS,
    MOST_USED,
    SECTIONS,
    build_flag,
    build_parser,
    parse_text,
)

# Those of uvicorn 0.54.
UVICORN_FLAGS = """
--host --port --uds --fd --reload --reload-dir --reload-include --reload-exclude --reload-delay --workers
--loop --http --http2 --ws --ws-max-size --ws-max-queue --ws-ping-interval --ws-ping-timeout
--ws-per-message-deflate --lifespan --interface --env-file --log-config --log-level --access-log
--no-access-log --use-colors --no-use-colors --proxy-headers --no-proxy-headers --server-header
--no-server-header --date-header --no-date-header --forwarded-allow-ips --root-path --limit-concurrency
--backlog --limit-max-requests --limit-max-requests-jitter --timeout-keep-alive
--timeout-graceful-shutdown --timeout-worker-healthcheck --ssl-keyfile --ssl-certfile
--ssl-keyfile-password --ssl-version --ssl-cert-reqs --ssl-ca-certs --ssl-ciphers --header --version
--app-dir --h11-max-incomplete-event-size --reset-contextvars --factory
"""

ITEMS = {item.name: item for item in fields(ServerConfig)}


class HelpTests(unittest.TestCase):
    def setUp(self) -> None:
        with mock.patch.dict(os.environ, {"COLUMNS": "500", "NO_COLOR": "1"}):
            self.text = build_parser().format_help()
        # The lines of each section; in front of them stands the text about all flags.
        titled = re.split(r"\n([A-Z][A-Za-z ]*):\n", self.text)
        self.sections: Dict[str, str] = dict(zip(titled[1::2], titled[2::2]))

    def list_flags(self, title: str) -> Any:
        return re.findall(r"^  (--[a-z-]+)", self.sections.get(title, ""), re.MULTILINE)

    def test_sections_are_those_of_the_configuration(self) -> None:
        """Its comments are their titles."""
        comments = re.findall(r"\n    # ([A-Z][A-Za-z ]*)[.;].*\n    (\w+): ", inspect.getsource(config))
        why = "SECTIONS in server/command/flags.py names the field with which each section begins"
        self.assertEqual([(title, name) for name, title in SECTIONS.items()], comments, why)
        titles = [title for title in SECTIONS.values() if title in self.sections]
        self.assertEqual(list(self.sections), ["Most used", *titles])

    def test_most_used_come_first_and_are_not_repeated(self) -> None:
        first = [build_flag(ITEMS[name]) for name in MOST_USED if name in ITEMS]
        self.assertEqual(self.list_flags("Most used"), [*first, "--demo", "--version"])
        self.assertIn("module:app", self.sections["Most used"])
        listed = [flag for title in SECTIONS.values() for flag in self.list_flags(title)]
        rest = [build_flag(item) for item in ITEMS.values() if item.name not in MOST_USED]
        self.assertEqual(listed, rest)

    def test_choices_stand_behind_their_flag(self) -> None:
        self.assertIn("  --lifespan auto|on|off\n", self.sections["The application"])

    def test_environment_is_explained(self) -> None:
        self.assertIn("--ws-max-size is WSBRIDGE_WS_MAX_SIZE", self.text)


class UnknownFlagTests(unittest.TestCase):
    def assert_error(self, text: str, *arguments: str) -> None:
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), self.assertRaises(SystemExit) as caught:
            build_parser().parse(list(arguments))
        self.assertEqual(caught.exception.code, 2)
        self.assertRegex(errors.getvalue(), rf"^\S+ -m \S+: error: {text} \(--help lists the flags\)\n$")

    def test_misspelt_flag_is_told_the_nearest(self) -> None:
        for wrong, right in (
            ("--prot", "--port"),
            ("--ws_max_size=5", "--ws-max-size"),
            ("--no-ws-per-mesage-deflate", "--no-ws-per-message-deflate"),
            ("--dmo", "--demo"),
            ("--headers=X-A:b", "--header"),
        ):
            self.assert_error(rf"unrecognized arguments: {wrong}: did you mean {right}\?", wrong)

    def test_what_resembles_nothing_is_told_nothing(self) -> None:
        self.assert_error("unrecognized arguments: --xyz 5", "a:b", "--xyz", "5")
        self.assert_error("unrecognized arguments: port", "a:b", "port")

    def test_value_of_a_switch_is_told_that_there_is_none(self) -> None:
        text = r"a switch takes no value; --no-\.\.\. switches it off"
        self.assert_error(
            f"unrecognized arguments: False: {text}", "a:b", "--ws-per-message-deflate", "False"
        )

    def test_flag_of_another_server_is_told_what_takes_its_place(self) -> None:
        self.assert_error("there is no --ws: there is nothing to choose: .*", "--ws", "auto", "a:b")
        self.assert_error("there is no --bind: use --host and --port, or --uds", "a:b", "--bind=[::]:80")

    def test_flags_of_other_servers_are_none_of_ours(self) -> None:
        self.assertEqual({build_flag(item) for item in ITEMS.values()}.intersection(FOREIGN_FLAGS), set())

    def test_every_flag_of_uvicorn_is_ours_too_or_is_told_what_takes_its_place(self) -> None:
        flags = {build_flag(item) for item in ITEMS.values()}
        known = {"--version", *flags, *(flag.replace("--", "--no-", 1) for flag in flags), *FOREIGN_FLAGS}
        self.assertEqual([flag for flag in UVICORN_FLAGS.split() if flag not in known], [])


class TextTests(unittest.TestCase):
    def assert_value(self, name: str, expected: Any, *texts: str) -> None:
        for text in texts:
            self.assertEqual(parse_text(ITEMS[name], text), expected)

    def assert_no_value(self, name: str, text: str, error: str) -> None:
        with self.assertRaisesRegex(ValueError, f"^{error}$"):
            parse_text(ITEMS[name], text)

    def test_switch_is_written_in_several_ways(self) -> None:
        self.assert_value("factory", True, "1", "true", "YES", "On")
        self.assert_value("factory", False, "0", "False", "no", "off")
        self.assert_no_value("factory", "2", "it must be one of 1, true, yes, on, 0, false, no, off")

    def test_other_fields_are_written_as_on_the_command_line(self) -> None:
        self.assert_value("port", 80, "80")
        self.assert_value("uds_mode", 0o600, "600")
        self.assert_value("ws_ping_interval", None, "none", "None")
        self.assert_value("ws_ping_interval", 1.5, "1.5")
        self.assert_value("allowed_origins", ("a", "b"), "a, b")
        self.assert_no_value("port", "none", "it must be a whole number from 0 to 65535")
        self.assert_no_value("uds_mode", "8", "it must be an octal number, such as 660")

    def test_headers_stand_one_in_a_line(self) -> None:
        self.assert_value("headers", [("X-A", "b, c"), ("X-D", "")], "X-A: b, c\nX-D:")
        self.assert_no_value("headers", "X-A", "'X-A' is not of the form NAME:VALUE")


class RepeatedTests(unittest.TestCase):
    def test_of_several_that_are_no_lists_the_last_counts(self) -> None:
        found = build_parser().parse(["--port", "1", "--port", "2", "--root-path", "/a", "--root-path", "/b"])
        self.assertEqual(found, {"port": 2, "root_path": "/b"})


if __name__ == "__main__":
    unittest.main()
