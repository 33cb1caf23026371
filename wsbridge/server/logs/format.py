"""`TextFormatter` and `JsonFormatter`: how a record is printed. No record can look like two."""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Any, Dict, Mapping

__all__ = ["JsonFormatter", "TextFormatter", "build_formatter"]

# What ends a line or moves the text around it: controls other than tabulator and line feed, separators of
# lines and paragraphs, what sets the direction of text, and surrogates, which no encoding has.
_CONTROLS = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)

# The attributes of a record that are logging's own, and not the `extra` of whoever logs; "color_message" is
# uvicorn's.
_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {
    "asctime",
    "color_message",
    "message",
    "taskName",
}


def build_formatter(log_format: str) -> logging.Formatter:
    """The formatter for a ``log_format``."""
    return JsonFormatter() if log_format == "json" else TextFormatter()


class TextFormatter(logging.Formatter):
    """Time, level and message in one line; a traceback, or whatever else follows, in lines that are indented.

    Controls, and what sets the direction of text, are escaped.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """``record`` as text."""
        text = super().format(record)
        if text.isprintable():
            # Nearly all are, and this takes less time.
            return text
        return _CONTROLS.sub(_escape, text).replace("\n", "\n    ")


def _escape(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]


class JsonFormatter(logging.Formatter):
    """One JSON object in one line of ASCII.

    ``time`` (ISO 8601, UTC), ``level``, ``logger``, ``message`` and ``pid`` come
    first; then the arguments of an access line and what was passed as ``extra``,
    by their names; then ``traceback`` and ``stack``, if there are any.
    """

    def format(self, record: logging.LogRecord) -> str:
        """``record`` as JSON; what JSON has no type for is the text of it."""
        values: Dict[str, Any] = {
            "time": _format_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _get_message(record),
            "pid": record.process,
        }
        arguments = record.args if isinstance(record.args, Mapping) else {}
        extra = {name: value for name, value in vars(record).items() if name not in _OWN_ATTRIBUTES}
        more: Dict[Any, Any] = {**arguments, **extra}
        if record.exc_info:
            more["traceback"] = self.formatException(record.exc_info)
        elif record.exc_text:
            more["traceback"] = record.exc_text
        if record.stack_info:
            more["stack"] = record.stack_info
        for name, value in more.items():
            values.setdefault(str(name), value)
        try:
            line = json.dumps(values, default=str, allow_nan=False)
        except (RecursionError, TypeError, ValueError):
            line = json.dumps({name: str(value) for name, value in values.items()})
        # The one control that JSON leaves as it is.
        return line.replace("\x7f", "\\u007f")


def _format_time(seconds: float) -> str:
    milliseconds = int(seconds * 1000)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{whole}.{milliseconds % 1000:03}Z"


def _get_message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:
        # The mistake of whoever logs must not cost the line.
        return f"{record.msg} {record.args!r} ({error!r})"
