"""``log_config``: files that set logging up, and what is said of those that cannot."""

from __future__ import annotations

import io
import logging
import os
import tempfile
import unittest
from typing import Any
from unittest import mock

from wsbridge.protocols.errors import ConfigError
from wsbridge.server.logs.config import apply_log_config
from wsbridge.server.logs.log import access_logger, error_logger, logger

JSON = """{"version": 1,
 "formatters": {"short": {"format": "%(levelname)s %(message)s"}},
 "handlers": {"memory": {"class": "logging.StreamHandler", "stream": "ext://tests.test_log_config.printed",
                         "formatter": "short"}},
 "loggers": {"wsbridge": {"handlers": ["memory"], "level": "WARNING"}}}
"""

INI = """[loggers]
keys=root,access
[handlers]
keys=memory
[formatters]
keys=short
[logger_root]
handlers=
[logger_access]
qualname=wsbridge.access
handlers=memory
level=INFO
[handler_memory]
class=tests.test_log_config.MemoryHandler
formatter=short
[formatter_short]
format=%(levelname)s %(message)s
"""

printed = io.StringIO()


class MemoryHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """As a file may name it."""

    def __init__(self) -> None:
        super().__init__(printed)


class ConfigCase(unittest.TestCase):
    """Afterwards logging is as it was."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        for one in (logger, access_logger, logging.root):
            self.addCleanup(one.handlers.__setitem__, slice(None), one.handlers[:])
            self.addCleanup(one.setLevel, one.level)
            self.addCleanup(setattr, one, "propagate", one.propagate)
            one.handlers.clear()
        self.addCleanup(printed.truncate, 0)
        self.addCleanup(printed.seek, 0)

    def write(self, name: str, text: str) -> str:
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="latin-1") as file:
            file.write(text)
        return path


class ApplyTests(ConfigCase):
    def test_json(self) -> None:
        apply_log_config(self.write("log.json", JSON))
        access_logger.warning("a")
        access_logger.info("b")
        self.assertEqual(printed.getvalue(), "WARNING a\n")

    def test_ini(self) -> None:
        for name in ("log.ini", "log.conf", "log"):
            apply_log_config(self.write(name, INI))
        access_logger.info("a")
        error_logger.info("b")
        self.assertEqual(printed.getvalue(), "INFO a\n")

    def test_loggers_that_the_file_does_not_name_stay_enabled(self) -> None:
        for path in (self.write("log.json", '{"version": 1}'), self.write("log.ini", INI)):
            apply_log_config(path)
            self.assertFalse(error_logger.logger.disabled)

    def test_yaml(self) -> None:
        yaml: Any = mock.Mock(safe_load=lambda file: {"version": 1} if file.read() == "version: 1" else None)
        with mock.patch.dict("sys.modules", {"yaml": yaml}):
            for name in ("log.yaml", "log.YML"):
                apply_log_config(self.write(name, "version: 1"))
            with self.assertRaisesRegex(ConfigError, "must hold an object"):
                apply_log_config(self.write("log.yaml", ""))


class ErrorTests(ConfigCase):
    def assert_refused(self, name: str, text: str, reason: str) -> None:
        path = self.write(name, text)
        with self.assertRaises(ConfigError) as caught:
            apply_log_config(path)
        message = str(caught.exception)
        self.assertTrue(message.startswith(f"log_config={path!r}: "), message)
        self.assertRegex(message, reason)
        self.assertEqual(message.splitlines(), [message])

    def test_file_that_is_missing(self) -> None:
        path = os.path.join(self.folder, "none.json")
        with self.assertRaisesRegex(ConfigError, "^log_config='.*none.json': .*No such file"):
            apply_log_config(path)

    def test_json_that_is_malformed(self) -> None:
        self.assert_refused("log.json", '{"version": 1,', "line 1 column 15")
        self.assert_refused("log.json", "[1]", "the file must hold an object, with a field 'version'$")
        self.assert_refused("log.json", "\xff", "can't decode byte 0xff")

    def test_values_that_are_wrong(self) -> None:
        self.assert_refused("log.json", '{"version": 2}', "Unsupported version: 2$")
        self.assert_refused("log.json", "{}", "specify a version$")
        handler = '"handlers": {"a": {"class": "nothing.Nothing"}}'
        self.assert_refused("log.json", f'{{"version": 1, {handler}}}', "handler 'a': .*'nothing'$")

    def test_ini_that_is_malformed(self) -> None:
        self.assert_refused("log.ini", "a", "File contains no section headers. file: .* line: 1 'a'$")
        self.assert_refused("log.ini", "", "'formatters' is missing$")
        self.assert_refused("log.ini", INI.replace("MemoryHandler", "Missing"), "Missing")

    def test_error_without_a_text_is_named(self) -> None:
        calls = "formatter=short\nargs=(_ for _ in ()).throw(ValueError)"
        self.assert_refused("log.ini", INI.replace("formatter=short", calls), ": ValueError$")

    def test_yaml_where_it_is_not_installed(self) -> None:
        with mock.patch.dict("sys.modules", {"yaml": None}):
            self.assert_refused("log.yaml", "a: 1", ": PyYAML is not installed, .* as JSON$")


if __name__ == "__main__":
    unittest.main()
