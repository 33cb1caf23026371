"""What is logged, and that each line comes once wherever logging was set up."""

from __future__ import annotations

import contextlib
import io
import logging
import unittest
from dataclasses import dataclass
from typing import Any, List
from unittest import mock

from wsbridge.protocols.ws import WSProtocol
from wsbridge.server.connection.info import ConnectionInfo
from wsbridge.server.log import log_answer, log_end, log_raised, logger, set_up_logging


class LogAnswerTests(unittest.TestCase):
    def assert_line(self, expected: str, raw_path: bytes, client: Any = ("192.0.2.1", 5000)) -> None:
        with self.assertLogs(logger, "INFO") as logs:
            log_answer({"type": "websocket", "raw_path": raw_path, "client": client}, 101)
        self.assertEqual(logs.output, [f"INFO:wsbridge:{expected}"])

    def test_who_asked_for_what_and_what_was_answered(self) -> None:
        self.assert_line('192.0.2.1:5000 "websocket /chat" 101', b"/chat")

    def test_unix_socket(self) -> None:
        self.assert_line('unix socket "websocket /" 101', b"/", None)

    def test_target_with_escape_sequences_is_one_escaped_line(self) -> None:
        # The parser lets only 21-7e into a target; whoever builds a request otherwise is escaped as well.
        self.assert_line('192.0.2.1:5000 "websocket /%1b[2J%0a\\xff" 101', b"/%1b[2J%0a\xff")

    def test_nothing_is_formatted_where_nobody_listens(self) -> None:
        level = logger.level
        self.addCleanup(logger.setLevel, level)
        logger.setLevel("WARNING")
        log_answer({}, 200)


class LogEndTests(unittest.TestCase):
    def build(self, close: str = "") -> ConnectionInfo:
        """A WebSocket that has received this CLOSE under an all-zero key, or lost its stream."""
        protocol = WSProtocol()
        protocol.receive_data(bytes.fromhex(close))
        protocol.receive_eof()
        owner = mock.Mock(messages_received=3, bytes_received=30, messages_sent=2, bytes_sent=20)
        info = ConnectionInfo(protocol, owner)
        info.client, info.raw_path = ("192.0.2.1", 5000), b"/chat"
        info.closed_by, info.seconds = "client" if close else "lost", 1.23456
        return info

    def assert_line(self, how: str, info: ConnectionInfo) -> None:
        with self.assertLogs(logger, "INFO") as logs:
            log_end(info)
        line = f'192.0.2.1:5000 "websocket /chat" {how}, 3 messages and 30 bytes received, 2 and 20 sent'
        self.assertEqual(logs.output, [f"INFO:wsbridge:{line}"])

    def test_who_has_ended_it_and_how(self) -> None:
        self.assert_line("1006 lost, 1.235 s", self.build())

    def test_reason_cannot_forge_a_line(self) -> None:
        # "a", CR LF, ESC [2J, DEL, U+202E, U+2028, quotes.
        reason = "61 0d0a 1b5b324a 7f e280ae e280a8 22"
        expected = r'1000 closed by client "a\r\n\u001b[2J\u007f\u202e\u2028\""'
        self.assert_line(f"{expected}, 1.235 s", self.build(f"88 91 00000000 03e8 {reason}"))

    def test_nothing_is_formatted_where_nobody_listens(self) -> None:
        self.addCleanup(logger.setLevel, logger.level)
        logger.setLevel("WARNING")
        log_end(mock.Mock(spec=[]))


class Frozen(Exception):
    """An error that is immutable, as attrs and dataclasses make them."""

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("__"):
            raise AttributeError(name)
        super().__setattr__(name, value)


class LogRaisedTests(unittest.TestCase):
    def test_error_is_logged_with_its_traceback_and_once(self) -> None:
        for error in (SystemExit(3), KeyboardInterrupt(), ValueError("text"), Frozen()):
            with self.assertLogs(logger, "ERROR") as logs:
                for _ in range(2):
                    try:
                        raise error
                    except BaseException as raised:
                        log_raised("application raised", raised)
            self.assertEqual(len(logs.output), 1)
            self.assertRegex(logs.output[0], f"(?s)application raised\nTraceback.*{type(error).__name__}")

    def test_error_that_lets_nobody_set_an_attribute_is_logged_once_too(self) -> None:
        @dataclass(frozen=True)
        class Frozen(Exception):
            what: str

        class Closed(BaseException):
            def __setattr__(self, name: str, value: object) -> None:
                raise AttributeError(f"{name} cannot be set")

        class Slotted(Exception):
            __slots__ = ()

        class Answering(Exception):
            def __getattr__(self, name: str) -> str:
                return "whatever one asks for"

        for error in (Frozen("text"), Closed(), Slotted(), Answering()):
            with self.subTest(type(error).__name__), self.assertLogs(logger, "ERROR") as logs:
                log_raised("application raised", error)
                log_raised("application raised", error)
            self.assertEqual(len(logs.output), 1)


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
