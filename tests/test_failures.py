"""What is printed about an application that could not run."""

from __future__ import annotations

import unittest

from wsbridge.protocols.errors import ConfigError
from wsbridge.server.loading import load_application
from wsbridge.server.logs.failures import format_error_of_application


class FormatTests(unittest.TestCase):
    def test_nothing_is_printed_where_the_application_never_ran(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            load_application("no_such_module:app")
        for error in (None, caught.exception.__cause__):
            self.assertEqual(format_error_of_application(error), "")

    def test_syntax_error_has_no_frame_of_the_application(self) -> None:
        text = format_error_of_application(SyntaxError("invalid syntax"))
        self.assertEqual(text, "SyntaxError: invalid syntax\n")

    def test_traceback_has_the_frames_of_the_application(self) -> None:
        try:
            raise KeyError("database")
        except KeyError as error:
            text = format_error_of_application(error)
        self.assertIn("test_failures", text)
        self.assertTrue(text.endswith("KeyError: 'database'\n"), text)


if __name__ == "__main__":
    unittest.main()
