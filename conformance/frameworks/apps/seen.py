"""Tells the check, through the server's output, what the application saw and what was logged.

Importing it turns this on: every log record from WARNING up, wsbridge's own from INFO up, whoever prints it
and however, and every exception that Python itself could only print.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any, Awaitable, Optional, Tuple, Type

from . import MARK


def note(text: str, kind: str = "app") -> None:
    """Tell that the application saw this. The line is written at once and whole, whatever else is printed."""
    os.write(1, f"\n{MARK}{json.dumps([kind, text])}\n".encode())


def describe(error: Optional[BaseException]) -> str:
    """The class of an error, and the close code in it where it has one."""
    code = getattr(error, "code", None)
    return type(error).__name__ + (f" {code}" if isinstance(code, int) else "")


async def watch(doing: Awaitable[None], forgives: Tuple[Type[Exception], ...] = ()) -> None:
    """Await it and tell how it ended; its errors go on, but for those that it forgives."""
    try:
        await doing
    except BaseException as error:
        note(f"ends with {describe(error)}")
        if not isinstance(error, forgives):
            raise
    else:
        note("ends")


def _note_record(record: logging.LogRecord) -> None:
    if record.levelno < (logging.INFO if record.name.partition(".")[0] == "wsbridge" else logging.WARNING):
        return
    error = record.exc_info[1] if record.exc_info else None
    text = f"{type(error).__name__}: {error}" if error else record.getMessage()
    # How the servers word it is theirs.
    if isinstance(error, OSError):
        text = type(error).__name__
    elif type(error).__module__.startswith("wsbridge.") or "Expected ASGI message" in text:
        text = "a message that the server refuses"
    speaker = "server " if record.name.partition(".")[0] in ("wsbridge", "uvicorn", "asyncio") else ""
    note(f"{speaker}{record.levelname} {text.strip()[:160]}", "log")


_call_handlers = logging.Logger.callHandlers


def _call_and_note(logger: logging.Logger, record: logging.LogRecord) -> None:
    _note_record(record)
    _call_handlers(logger, record)


def _note_unraisable(unraisable: Any) -> None:
    note(f"server UNRAISABLE {describe(unraisable.exc_value)}", "log")


# Not a handler: wsbridge and frameworks look whether there are any.
logging.Logger.callHandlers = _call_and_note  # type: ignore[method-assign]
sys.unraisablehook = _note_unraisable
