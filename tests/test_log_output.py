"""Each line is printed once, wherever logging was set up."""

from __future__ import annotations

import atexit
import io
import json
import logging
import os
import sys
import tempfile
import threading
import unittest
import warnings
from typing import Any, List
from unittest import mock

from wsbridge.config import ServerConfig
from wsbridge.protocols.errors import ConfigError
from wsbridge.server.logs.log import access_logger, error_logger, logger
from wsbridge.server.logs.output import (
    find_log_format,
    print_error,
    print_traceback,
    reserve_descriptors,
    set_up_logging,
    use_log_format,
)


class OutputCase(unittest.TestCase):
    """`errors` stands for stderr; afterwards logging is as it was."""

    def setUp(self) -> None:
        for one in (logger, logging.root, logging.getLogger("py.warnings")):
            self.addCleanup(one.handlers.__setitem__, slice(None), one.handlers[:])
            self.addCleanup(one.setLevel, one.level)
            one.handlers.clear()
        self.addCleanup(setattr, logger, "propagate", logger.propagate)
        self.addCleanup(setattr, logging, "lastResort", logging.lastResort)
        self.addCleanup(logging.captureWarnings, False)
        for module, hook in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
            self.addCleanup(setattr, module, hook, getattr(module, hook))
        self.addCleanup(use_log_format, "text")
        self.errors = io.StringIO()
        self.replace_stderr(self.errors)

    def replace_stderr(self, stream: Any) -> None:
        self.addCleanup(setattr, sys, "stderr", sys.stderr)
        sys.stderr = stream

    def set_up(self, **options: Any) -> None:
        set_up_logging(ServerConfig(**options))

    def read_lines(self) -> List[str]:
        lines = self.errors.getvalue().splitlines()
        self.errors.truncate(self.errors.seek(0))
        return lines

    def read_json(self) -> Any:
        """The one line that was printed."""
        [line] = self.read_lines()
        return json.loads(line)


class SetUpTests(OutputCase):
    """Each line once, and in the form of whoever sets logging up."""

    def set_up_application(self, one: logging.Logger) -> None:
        handler = logging.StreamHandler(self.errors)
        handler.setFormatter(logging.Formatter("app %(levelname)s %(message)s"))
        one.addHandler(handler)

    def assert_printed(self, *patterns: str) -> None:
        logger.info("listening")
        lines = self.read_lines()
        self.assertEqual(len(lines), len(patterns), lines)
        for line, pattern in zip(lines, patterns):
            self.assertRegex(line, pattern)

    def test_it_prints_where_nobody_else_does(self) -> None:
        self.set_up()
        self.assert_printed(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO listening$")

    def test_text_leaves_warnings_and_uncaught_errors_to_python(self) -> None:
        before = sys.excepthook, sys.unraisablehook, threading.excepthook
        self.set_up()
        self.assertEqual((sys.excepthook, sys.unraisablehook, threading.excepthook), before)

    def test_application_that_sets_logging_up_before_has_the_line(self) -> None:
        self.set_up_application(logging.root)
        self.set_up()
        self.assert_printed("^app INFO listening$")

    def test_application_that_sets_logging_up_later_has_the_line(self) -> None:
        self.set_up()
        self.set_up_application(logging.root)
        self.assert_printed("^app INFO listening$")
        logging.root.handlers.clear()
        self.assert_printed("INFO listening$")

    def test_basic_config_has_the_line_whatever_its_level(self) -> None:
        self.set_up()
        logging.basicConfig(stream=self.errors, level="ERROR", format="app %(message)s")
        self.assert_printed("^app listening$")

    def test_application_with_a_handler_for_us_alone_has_the_line(self) -> None:
        self.set_up()
        self.set_up_application(logger)
        self.assert_printed("^app INFO listening$")
        logger.handlers.reverse()
        self.assert_printed("^app INFO listening$")
        logger.handlers.clear()
        self.set_up_application(logger)
        self.set_up()
        self.assert_printed("^app INFO listening$")

    def test_lines_that_the_root_never_gets_are_printed(self) -> None:
        self.set_up()
        self.set_up_application(logging.root)
        logger.propagate = False
        self.assert_printed("INFO listening$")

    def test_once_more_is_one_handler_and_another_level(self) -> None:
        self.set_up(log_level="debug")
        self.set_up(log_level="info")
        self.assert_printed("INFO listening$")
        self.set_up(log_level="warning")
        self.assert_printed()

    def test_lines_of_each_logger_are_printed_once(self) -> None:
        self.set_up()
        for one in (access_logger, error_logger):
            one.info("a")
            self.assertEqual(len(self.read_lines()), 1)

    def test_handler_of_the_access_log_alone_takes_its_lines(self) -> None:
        self.set_up()
        self.set_up_application(access_logger)
        self.addCleanup(access_logger.handlers.clear)
        access_logger.info("answer")
        error_logger.logger.info("started")
        first, second = self.read_lines()
        self.assertEqual(first, "app INFO answer")
        self.assertRegex(second, r"^\d{4}-.* INFO started$")

    def test_logger_without_a_handler_is_printed_in_the_same_form(self) -> None:
        self.set_up()
        logging.getLogger("tests.nobody").warning("lost\n2026-11-30 17:00:00,000 INFO listening")
        first, second = self.read_lines()
        self.assertRegex(first, r"^\d{4}-.* WARNING lost$")
        self.assertEqual(second, "    2026-11-30 17:00:00,000 INFO listening")


class JsonTests(OutputCase):
    """With ``log_format="json"`` every line is one object."""

    def setUp(self) -> None:
        super().setUp()
        self.set_up(log_format="json")

    def test_line_of_ours(self) -> None:
        error_logger.info("listening on %s", "http://a")
        line = self.read_json()
        self.assertEqual((line["logger"], line["message"]), ("wsbridge.error", "listening on http://a"))

    def test_the_form_can_be_changed(self) -> None:
        self.set_up(log_format="text")
        error_logger.info("started")
        self.assertRegex(self.read_lines()[0], "INFO started$")

    def test_logger_without_a_handler(self) -> None:
        logging.getLogger("tests.nobody").error("a")
        line = self.read_json()
        self.assertEqual((line["logger"], line["level"], line["message"]), ("tests.nobody", "error", "a"))
        logging.getLogger("tests.nobody").info("a")
        self.assertEqual(self.read_lines(), [])

    def test_warning(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(False)
            self.set_up(log_format="json")
            warnings.warn("an old\nname", DeprecationWarning, stacklevel=1)
        line = self.read_json()
        self.assertEqual((line["logger"], line["level"]), ("py.warnings", "warning"))
        self.assertIn("DeprecationWarning: an old\nname", line["message"])

    def raise_it(self) -> Any:
        try:
            raise ValueError("a\nb")
        except ValueError as error:
            return type(error), error, error.__traceback__

    def test_error_that_leaves_the_program(self) -> None:
        sys.excepthook(*self.raise_it())
        line = self.read_json()
        self.assertEqual((line["level"], line["message"]), ("critical", "uncaught exception"))
        self.assertRegex(line["traceback"], r"(?s)^Traceback .*ValueError: a\nb$")

    def test_error_that_leaves_a_thread(self) -> None:
        thread = threading.Thread(target=self.raise_it, name="worker")
        threading.excepthook(threading.ExceptHookArgs((*self.raise_it(), thread)))
        line = self.read_json()
        self.assertEqual(line["message"], "uncaught exception in worker")
        self.assertRegex(line["traceback"], "ValueError")
        threading.excepthook(threading.ExceptHookArgs((*self.raise_it(), None)))
        self.assertEqual(self.read_json()["message"], "uncaught exception in a thread")
        threading.excepthook(threading.ExceptHookArgs((SystemExit, SystemExit(), None, thread)))
        self.assertEqual(self.read_lines(), [])

    def test_error_that_nobody_can_catch(self) -> None:
        for message, expected in ((None, "exception ignored in: 5"), ("while closing", "while closing: 5")):
            kind, error, traceback = self.raise_it()
            sys.unraisablehook(
                mock.Mock(exc_type=kind, exc_value=error, exc_traceback=traceback, err_msg=message, object=5)
            )
            line = self.read_json()
            self.assertEqual(line["message"], expected)
            self.assertRegex(line["traceback"], "ValueError")


class ErrorTests(OutputCase):
    """What the command prints where it could not run."""

    def test_text_is_printed_as_it_is(self) -> None:
        print_error("wsbridge: error: no")
        print_traceback("raised", "")
        print_traceback("raised", "Traceback:\n  a\nValueError: b\n")
        self.assertEqual(self.read_lines(), ["wsbridge: error: no", "Traceback:", "  a", "ValueError: b"])

    def test_json_is_one_line(self) -> None:
        use_log_format("json")
        print_error("no\nway")
        line = self.read_json()
        self.assertEqual((line["level"], line["logger"]), ("error", "wsbridge.error"))
        self.assertEqual(line["message"], "no\nway")
        print_traceback("raised", "Traceback:\n  a\nValueError: b\n")
        line = self.read_json()
        self.assertEqual(
            (line["level"], line["logger"], line["message"]), ("error", "wsbridge.error", "raised")
        )
        self.assertEqual(line["traceback"], "Traceback:\n  a\nValueError: b")

    def test_format_is_found_though_the_rest_of_the_command_line_is_wrong(self) -> None:
        for arguments, environ, expected in (
            ("", "", "text"),
            ("a:app --nonsense", "json", "json"),
            ("a:app --log-format json --nonsense", "", "json"),
            ("--log-format=json", "text", "json"),
            ("--log-format json --log-format text", "json", "text"),
            ("a:app --log-format", "json", ""),
            ("a:app --host json", "", "text"),
        ):
            variables = {"WSBRIDGE_LOG_FORMAT": environ} if environ else {}
            self.assertEqual(find_log_format(arguments.split(), variables), expected, arguments)


class FailingStream(io.StringIO):
    """A full disk, or a pipe that nobody reads."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


class DiskFull(OSError):
    """Of this test alone: an error is reported once for each type."""


full = FailingStream(DiskFull(28, "No space left on device"))


class PatientHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """A handler with ways of its own to deal with its failures."""

    failures = 0

    def handleError(self, record: logging.LogRecord) -> None:
        self.failures += 1


class FileTests(OutputCase):
    """With ``log_config`` a file says who prints what; this side prints the rest."""

    def set_up_file(self, content: Any, **options: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "log.json")
            with open(path, "w", encoding="ascii") as file:
                json.dump(content, file)
            for _ in range(2):
                # The second time it is not read again.
                self.set_up(log_config=path, **options)
                os.truncate(path, 0)

    def test_level_of_the_file_goes_before_log_level(self) -> None:
        self.set_up_file({"version": 1, "loggers": {"wsbridge": {"level": "ERROR"}}}, log_level="debug")
        error_logger.warning("a")
        error_logger.error("b")
        [line] = self.read_lines()
        self.assertRegex(line, "ERROR b$")

    def test_log_level_counts_where_the_file_has_none(self) -> None:
        self.set_up_file({"version": 1}, log_level="error")
        self.assertEqual(logger.level, logging.ERROR)

    def set_up_failing(self, handler: str) -> None:
        self.addCleanup(access_logger.handlers.clear)
        handlers = {"disk": {"class": handler, "stream": f"ext://{__name__}.full"}}
        loggers = {"wsbridge.access": {"handlers": ["disk"]}}
        self.set_up_file({"version": 1, "handlers": handlers, "loggers": loggers}, log_format="json")
        access_logger.info("a")
        access_logger.info("b")

    def test_handler_whose_disk_is_full_is_reported_once(self) -> None:
        self.set_up_failing("logging.StreamHandler")
        line = self.read_json()
        self.assertRegex(line["message"], "^a logging handler raised; ")
        self.assertRegex(line["traceback"], "No space left on device$")

    def test_handler_that_deals_with_its_failures_does_so(self) -> None:
        self.set_up_failing(f"{__name__}.PatientHandler")
        [handler] = access_logger.handlers
        self.assertIsInstance(handler, PatientHandler)
        self.assertEqual((handler.failures, self.read_lines()), (2, []))  # type: ignore[attr-defined]

    def test_file_that_is_wrong(self) -> None:
        with self.assertRaisesRegex(ConfigError, "^log_config=.*: Unsupported version: 2$"):
            self.set_up_file({"version": 2})


class FailureTests(OutputCase):
    """What stderr cannot take is dropped: the server goes on, and its exit code stays."""

    def setUp(self) -> None:
        super().setUp()
        self.exit_handlers: List[Any] = []
        with mock.patch.object(atexit, "register", self.exit_handlers.append):
            self.set_up()

    def test_line_that_cannot_be_written_is_dropped(self) -> None:
        closed = io.StringIO()
        closed.close()
        full, broken = OSError(28, "No space left on device"), BrokenPipeError(32, "Broken pipe")
        for stream in (None, closed, FailingStream(full), FailingStream(broken)):
            self.replace_stderr(stream)
            error_logger.warning("a")
            logging.getLogger("tests.nobody").warning("a")
            print_error("a")
        self.replace_stderr(self.errors)
        error_logger.warning("b")
        [line] = self.read_lines()
        self.assertRegex(line, "WARNING b$")

    def test_what_the_encoding_lacks_is_escaped(self) -> None:
        raw = io.BytesIO()
        self.replace_stderr(io.TextIOWrapper(raw, "ascii"))
        error_logger.warning("a \u20ac")
        self.assertRegex(raw.getvalue(), rb"WARNING a \\u20ac\n$")

    def test_exit_code_stays_where_the_disk_is_full(self) -> None:
        [at_exit] = self.exit_handlers
        descriptor, other = os.pipe()
        self.addCleanup(os.close, descriptor)
        os.close(other)
        stream = os.fdopen(os.dup(descriptor), "w", closefd=True)
        self.addCleanup(stream.close)
        # The end of a pipe that is for reading takes nothing.
        stream.write("a")
        self.replace_stderr(stream)
        at_exit()
        stream.flush()

    def test_descriptors_that_are_closed_are_reserved(self) -> None:
        # What the system hands out: the lowest number that is free.
        for free in ([0, 2, 5], [3]):
            with mock.patch.object(os, "open", side_effect=free), mock.patch.object(os, "close") as close:
                reserve_descriptors()
            self.assertEqual(close.mock_calls, [mock.call(free[-1])])

    def test_exit_with_a_stderr_that_is_closed_or_missing(self) -> None:
        [at_exit] = self.exit_handlers
        closed = io.StringIO()
        closed.close()
        for stream in (None, closed, self.errors, FailingStream(OSError(28, "full"))):
            self.replace_stderr(stream)
            at_exit()


if __name__ == "__main__":
    unittest.main()
