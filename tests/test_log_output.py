"""Each line is printed once, wherever logging was set up."""

from __future__ import annotations

import contextlib
import io
import logging
import unittest
from typing import List

from wsbridge.server.log import logger
from wsbridge.server.log_output import set_up_logging


class SetUpTests(unittest.TestCase):
    """Each line once, and in the form of whoever sets logging up."""

    def setUp(self) -> None:
        for one in (logger, logging.root):
            self.addCleanup(one.handlers.__setitem__, slice(None), one.handlers[:])
            self.addCleanup(one.setLevel, one.level)
            one.handlers.clear()
        self.addCleanup(setattr, logger, "propagate", logger.propagate)
        self.errors = io.StringIO()

    def set_up(self, level: str = "info") -> None:
        with contextlib.redirect_stderr(self.errors):
            set_up_logging(level)

    def set_up_application(self, one: logging.Logger) -> None:
        handler = logging.StreamHandler(self.errors)
        handler.setFormatter(logging.Formatter("app %(levelname)s %(message)s"))
        one.addHandler(handler)

    def assert_printed(self, *patterns: str) -> None:
        logger.info("listening")
        lines: List[str] = self.errors.getvalue().splitlines()
        self.assertEqual(len(lines), len(patterns), lines)
        for line, pattern in zip(lines, patterns):
            self.assertRegex(line, pattern)
        self.errors.truncate(self.errors.seek(0))

    def test_it_prints_where_nobody_else_does(self) -> None:
        self.set_up()
        self.assert_printed(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO listening$")

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
        self.set_up("debug")
        self.set_up("info")
        self.assert_printed("INFO listening$")
        self.set_up("warning")
        self.assert_printed()


if __name__ == "__main__":
    unittest.main()
