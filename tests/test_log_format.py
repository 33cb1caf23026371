"""How a record is printed: as text or as JSON, and never so that it looks like two."""

from __future__ import annotations

import json
import logging
import unittest
from typing import Any

from wsbridge.server.logs.format import JsonFormatter, build_formatter

# Every way to end a line or to move the text around it: CR, LF, VT, FF, NEL, FS, GS, RS, line and paragraph
# separator; escape sequences with ESC and CSI, BEL, backspace, DEL; marks, embeddings, overrides and isolates
# of direction; the byte order mark; a surrogate.
EVIL = (
    "\r\n\x0b\x0c\x85\x1c\x1d\x1e\u2028\u2029\x1b[2J\x9b2J\a\b\x7f\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e"
    "\u2066\u2067\u2068\u2069\ufeff\udc80"
)


def build_record(message: Any, *args: Any, **more: Any) -> logging.LogRecord:
    """A record of 2026-11-30, 17:00:00.123 UTC."""
    record = logging.LogRecord("wsbridge.error", logging.WARNING, "a.py", 1, message, args, None)
    record.created, record.msecs, record.process = 1796058000.1239, 123.9, 77
    vars(record).update(more)
    return record


def raise_it(text: str) -> Any:
    try:
        raise ValueError(text)
    except ValueError as error:
        return type(error), error, error.__traceback__


class TextTests(unittest.TestCase):
    def format(self, *args: Any, **more: Any) -> str:
        """What stands behind the time, which is local."""
        text = build_formatter("text").format(build_record(*args, **more))
        self.assertRegex(text, r"^2026-1\d-\d\d \d\d:\d\d:00,123 ")
        return text[24:]

    def test_time_level_and_message(self) -> None:
        self.assertEqual(self.format("a %s", "b\u20ac"), "WARNING a b\u20ac")
        self.assertEqual(self.format("a %s", "b\t"), "WARNING a b\t")

    def test_nothing_ends_the_line_or_moves_it(self) -> None:
        expected = (
            r"WARNING a\r"
            "\n    "
            r"\x0b\x0c\x85\x1c\x1d\x1e\u2028\u2029\x1b[2J\x9b2J\x07\x08\x7f\u200e\u200f\u061c\u202a\u202b"
            r"\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\udc80b"
        )
        self.assertEqual(self.format("a%sb", EVIL), expected)

    def test_traceback_cannot_look_like_a_line(self) -> None:
        text = self.format("raised", exc_info=raise_it("a\n2026-11-30 17:00:00,000 INFO listening\x1b[2J"))
        first, *rest = text.split("\n")
        self.assertEqual(first, "WARNING raised")
        self.assertEqual([line[:4] for line in rest], ["    "] * len(rest))
        self.assertEqual(rest[-1], r"    2026-11-30 17:00:00,000 INFO listening\x1b[2J")


class JsonTests(unittest.TestCase):
    def format(self, *args: Any, **more: Any) -> Any:
        """The object, without what every line has."""
        line = build_formatter("json").format(build_record(*args, **more))
        self.assertTrue(line.isascii() and line.isprintable(), line)
        values = json.loads(line)
        head = [(name, values.pop(name)) for name in ("time", "level", "logger", "pid")]
        self.assertEqual(
            head,
            [
                ("time", "2026-11-30T17:00:00.123Z"),
                ("level", "warning"),
                ("logger", "wsbridge.error"),
                ("pid", 77),
            ],
        )
        return values

    def test_message(self) -> None:
        self.assertEqual(self.format("a %s", "b"), {"message": "a b"})

    def test_literal_line(self) -> None:
        self.assertEqual(
            JsonFormatter().format(
                build_record('%(client)s "%(path)s"', {"client": "a:1", "path": "/\u20ac"})
            ),
            '{"time": "2026-11-30T17:00:00.123Z", "level": "warning", "logger": "wsbridge.error", '
            '"message": "a:1 \\"/\\u20ac\\"", "pid": 77, "client": "a:1", "path": "/\\u20ac"}',
        )

    def test_whatever_the_wire_holds_is_one_line_and_comes_back_as_it_was(self) -> None:
        self.assertEqual(
            self.format("%(reason)s", {"reason": EVIL, "code": 1000, "subprotocol": None}),
            {"message": EVIL, "reason": EVIL, "code": 1000, "subprotocol": None},
        )

    def test_field_cannot_replace_what_every_line_has(self) -> None:
        values = {"level": "debug", "message": "forged", "time": "now", "pid": 0, "logger": "other", "a": 1}
        self.assertEqual(self.format("a", values), {"message": "a", "a": 1})

    def test_extra_is_shown(self) -> None:
        self.assertEqual(self.format("a", user="b", color_message="c"), {"message": "a", "user": "b"})

    def test_traceback_is_one_field(self) -> None:
        values = self.format("raised", exc_info=raise_it("a\nb"), stack_info="Stack:\n  c")
        self.assertRegex(values["traceback"], r"(?s)^Traceback \(most.*\nValueError: a\nb$")
        self.assertEqual(values["stack"], "Stack:\n  c")

    def test_traceback_that_another_process_has_formatted(self) -> None:
        self.assertEqual(self.format("raised", exc_text="a\nb"), {"message": "raised", "traceback": "a\nb"})

    def test_wrong_arguments_cost_no_line(self) -> None:
        error = "TypeError('not all arguments converted during string formatting')"
        self.assertEqual(self.format("a", 5, 6), {"message": f"a (5, 6) ({error})"})

    def test_what_json_has_no_type_for_is_text(self) -> None:
        self.assertEqual(self.format("a", user=b"c"), {"message": "a", "user": "b'c'"})
        self.assertEqual(self.format("a", {5: 6}), {"message": "a", "5": 6})


class OddValueTests(unittest.TestCase):
    def test_value_that_no_json_can_hold_makes_all_of_them_text(self) -> None:
        circle: Any = []
        circle.append(circle)
        for value, text in ((float("nan"), "nan"), (circle, "[[...]]"), ({(1, 2): 3}, "{(1, 2): 3}")):
            values = json.loads(JsonFormatter().format(build_record("a", user=value)))
            self.assertEqual((values["user"], values["pid"]), (text, "77"))
