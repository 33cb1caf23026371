"""What is logged."""

from __future__ import annotations

import asyncio
import logging
import unittest
from dataclasses import dataclass
from typing import Any
from unittest import mock

from wsbridge.protocols.errors import BadRequest
from wsbridge.protocols.events import RequestReceived
from wsbridge.protocols.ws import WSProtocol
from wsbridge.server.connection.info import ConnectionInfo
from wsbridge.server.logs.log import (
    access_logger,
    error_logger,
    log_answer,
    log_end,
    log_failed_handshake,
    log_hint,
    log_raised,
    log_refusal,
    logger,
)


class LogAnswerTests(unittest.TestCase):
    def assert_line(self, expected: str, raw_path: bytes, client: Any = ("192.0.2.1", 5000)) -> None:
        with self.assertLogs(logger, "INFO") as logs:
            log_answer({"type": "websocket", "raw_path": raw_path, "client": client}, 101)
        self.assertEqual(logs.output, [f"INFO:wsbridge.access:{expected}"])

    def test_who_asked_for_what_and_what_was_answered(self) -> None:
        self.assert_line('192.0.2.1:5000 "websocket /chat" 101', b"/chat")

    def test_unix_socket(self) -> None:
        self.assert_line('unix socket "websocket /" 101', b"/", None)

    def test_target_with_escape_sequences_is_one_escaped_line(self) -> None:
        # The parser lets only 21-7e into a target; whoever builds a request otherwise is escaped as well.
        self.assert_line('192.0.2.1:5000 "websocket /%1b[2J%0a\\xff" 101', b"/%1b[2J%0a\xff")


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
        self.assertEqual(logs.output, [f"INFO:wsbridge.access:{line}"])

    def test_who_has_ended_it_and_how(self) -> None:
        self.assert_line("1006 lost, 1.235 s", self.build())

    def test_reason_cannot_forge_a_line(self) -> None:
        # "a", CR LF, ESC [2J, DEL, U+202E, U+2028, quotes.
        reason = "61 0d0a 1b5b324a 7f e280ae e280a8 22"
        expected = r'1000 closed by client "a\r\n\u001b[2J\u007f\u202e\u2028\""'
        self.assert_line(f"{expected}, 1.235 s", self.build(f"88 91 00000000 03e8 {reason}"))


class LogRefusalTests(unittest.TestCase):
    def assert_line(self, expected: str, *arguments: Any, **more: Any) -> None:
        with self.assertLogs(logger, "INFO") as logs:
            log_refusal(access_logger, ("2001:db8::1", 5), *arguments, **more)
        self.assertEqual(logs.output, [f"INFO:wsbridge.access:2001:db8::1:5 {expected}"])

    def test_request_status_and_reason(self) -> None:
        self.assert_line('"GET /a?b%s" refused: 400 no Host', b"GET", b"/a?b%s", BadRequest("no Host"))

    def test_request_whose_target_is_not_known(self) -> None:
        self.assert_line("refused: 400 no; a %s hint", b"GET", b"", BadRequest("no"), "a %s hint")

    def test_request_that_is_answered(self) -> None:
        self.assert_line(
            '"GET /a" ends its connection: too late', b"GET", b"/a", BadRequest("too late"), is_answered=True
        )

    def test_hint_at_a_request_that_is_answered(self) -> None:
        request = RequestReceived(b"GET", b"/a?b", ((b"host", b"a"),), "1.1")
        with self.assertLogs(logger, "INFO") as logs:
            log_hint(("192.0.2.1", 5000), request, "sent 100% nonsense", error_logger)
        self.assertEqual(logs.output, ['INFO:wsbridge.error:192.0.2.1:5000 "GET /a?b" sent 100% nonsense'])

    def test_handshake_of_tls_that_failed(self) -> None:
        with self.assertLogs(logger, "INFO") as logs:
            log_failed_handshake("no certificate")
        text = "refused: TLS handshake failed; no certificate"
        self.assertEqual(logs.output, [f"INFO:wsbridge.access:{text}"])

    def test_long_target_is_cut(self) -> None:
        self.assert_line(f'"GET /{"a" * 199}" refused: 400 no', b"GET", b"/" + b"a" * 9999, BadRequest("no"))


class FieldTests(unittest.TestCase):
    """The arguments of an access line, which a formatter may show field by field."""

    def fields(self, logs: Any) -> Any:
        [record] = logs.records
        return record.args

    def test_answer(self) -> None:
        with self.assertLogs(logger, "INFO") as logs:
            scope = {"type": "http", "method": "PUT", "raw_path": b"/a", "client": ("192.0.2.1", 5000)}
            log_answer(scope, 201)
        expected = {"client": "192.0.2.1:5000", "method": "PUT", "path": "/a", "status": 201}
        self.assertEqual(self.fields(logs), expected)

    def test_end(self) -> None:
        protocol = WSProtocol(subprotocol="chat")
        protocol.close(4000, "b\u20ac\n%s")
        owner = mock.Mock(messages_received=3, bytes_received=30, messages_sent=2, bytes_sent=20)
        info = ConnectionInfo(protocol, owner)
        info.raw_path, info.closed_by, info.seconds = b"/a", "application", 1.23456
        with self.assertLogs(logger, "INFO") as logs:
            log_end(info)
        self.assertEqual(
            self.fields(logs),
            {
                "client": "unix socket",
                "method": "websocket",
                "path": "/a",
                "subprotocol": "chat",
                "code": 4000,
                "reason": "b\u20ac\n%s",
                "closed_by": "application",
                "seconds": 1.235,
                "messages_received": 3,
                "bytes_received": 30,
                "messages_sent": 2,
                "bytes_sent": 20,
            },
        )
        self.assertIn('"websocket /a" 4000 closed by application "b\\u20ac\\n%s"', logs.output[0])

    def test_refusal(self) -> None:
        with self.assertLogs(logger, "INFO") as logs:
            log_refusal(access_logger, None, b"GET", b"/a", BadRequest("no"), "a hint")
        expected = {"client": "unix socket", "method": "GET", "path": "/a", "status": 400, "error": "no"}
        self.assertEqual(self.fields(logs), {**expected, "hint": "a hint"})


class Refusing(logging.Handler):
    """An application's handler that raises."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def emit(self, record: logging.LogRecord) -> None:
        raise self.error


class SafeLoggerTests(unittest.TestCase):
    def setUp(self) -> None:
        self.last_resort = mock.Mock()
        patch = mock.patch.object(logging, "lastResort", self.last_resort)
        patch.start()
        self.addCleanup(patch.stop)

    def refuse(self, error: BaseException) -> None:
        handler = Refusing(error)
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)
        self.addCleanup(setattr, logger, "propagate", logger.propagate)
        logger.propagate = False

    def test_handler_that_raises_is_reported_once_for_each_type(self) -> None:
        class DiskFull(OSError):
            """Of this test alone: what was reported once is not again."""

        error = DiskFull(28, "No space left on device")
        self.refuse(error)
        error_logger.warning("a %s", "b")
        error_logger.error("c")
        log_refusal(access_logger, None, b"GET", b"/a", BadRequest("no"))
        [call] = self.last_resort.handle.mock_calls
        [record] = call.args
        text = "a logging handler raised; the next errors of this type are not reported"
        self.assertEqual((record.levelname, record.name), ("ERROR", "wsbridge.error"))
        self.assertEqual((record.getMessage(), record.exc_info[1]), (text, error))

    def test_nothing_is_reported_where_nothing_is_printed(self) -> None:
        self.refuse(ZeroDivisionError())
        logging.lastResort = None
        error_logger.warning("a")

    def test_handler_that_ends_the_program_or_cancels_does_not(self) -> None:
        for error in (SystemExit(3), asyncio.CancelledError()):
            self.refuse(error)
            error_logger.warning("a")
            logger.handlers.pop()

    def test_interrupt_is_not_the_handlers(self) -> None:
        self.refuse(KeyboardInterrupt())
        with self.assertRaises(KeyboardInterrupt):
            error_logger.warning("a")


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
