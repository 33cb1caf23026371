"""Where the lines of the loggers are printed: stderr, unless the program has handlers of its own."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
from typing import Any, List, Mapping, Optional, Sequence

from ...config import ServerConfig
from .config import apply_log_config
from .format import build_formatter
from .log import access_logger, error_logger, logger, report_handler

__all__ = [
    "find_log_format",
    "print_error",
    "print_traceback",
    "reserve_descriptors",
    "set_up_logging",
    "use_log_format",
]

# The ``log_config`` that was applied: a second time would open its files again.
_applied: Optional[str] = None

# What `print_error` prints in: a process has one form of lines.
_log_format = "text"


class StderrHandler(logging.Handler):
    """Prints records to what is `sys.stderr` at the time, each in one write."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print ``record``; dropped if stderr is closed, or cannot take it."""
        _print_line(self.format(record))


def _print_line(line: str) -> None:
    stream = sys.stderr
    if stream is None:
        return
    line += "\n"
    try:
        try:
            stream.write(line)
        except UnicodeEncodeError:
            stream.write(line.encode("ascii", "backslashreplace").decode("ascii"))
        stream.flush()
    except (OSError, ValueError):
        # A full disk, or a pipe whose reader has gone: the line is lost, and the server goes on.
        return


class FallbackHandler(StderrHandler):
    """Prints a record only if no other handler gets it; an application may add one at any time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print ``record``, unless another handler gets it."""
        if _list_handlers(record.name) == [self]:
            super().emit(record)


def _list_handlers(name: str) -> List[logging.Handler]:
    """The handlers that get the records of the logger ``name``."""
    handlers: List[logging.Handler] = []
    logger: Optional[logging.Logger] = logging.getLogger(name)
    while logger is not None:
        handlers += logger.handlers
        logger = logger.parent if logger.propagate else None
    return handlers


def set_up_logging(config: ServerConfig) -> None:
    """Log as ``config`` says, to stderr as long as no other handler gets the lines.

    The records of other loggers that have no handler are printed in the same
    form, and with ``log_format="json"`` also warnings, and errors that leave a
    thread or the program. May be called again.

    A level that the file ``log_config`` gives to the logger ``wsbridge`` goes
    before ``log_level``. Raises `ConfigError` if the file cannot be applied.
    """
    global _applied
    use_log_format(config.log_format)
    if config.log_config is not None and config.log_config != _applied:
        logger.setLevel(logging.NOTSET)
        apply_log_config(config.log_config)
        _applied = config.log_config
        for handler in {*_list_handlers(access_logger.name), *_list_handlers(error_logger.logger.name)}:
            _limit_reports(handler)
    _add_fallback(logger)
    if config.log_config is None or logger.level == logging.NOTSET:
        logger.setLevel(config.log_level.upper())
    # Prints the records of loggers without a handler, such as asyncio's.
    logging.lastResort = StderrHandler(logging.WARNING)
    logging.lastResort.setFormatter(build_formatter(_log_format))
    if config.log_format == "json":
        _take_over_output()
    atexit.unregister(_drop_unwritten)
    atexit.register(_drop_unwritten)


def reserve_descriptors() -> None:
    """Open /dev/null as what is closed of standard input, output and error.

    Else a socket would get the number, and what a library or a child process
    prints would go to a client.
    """
    descriptor = 0
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)


def _limit_reports(handler: logging.Handler) -> None:
    """Have ``handler`` report once that its disk is full: logging would print thirty lines for each."""
    if type(handler).handleError is logging.Handler.handleError:
        handler.handleError = _report_failed  # type: ignore[method-assign]


def _report_failed(record: logging.LogRecord) -> None:
    error: Any = sys.exc_info()[1]
    report_handler(error)


def find_log_format(arguments: Sequence[str], environ: Mapping[str, str]) -> str:
    """The ``log_format`` that a command line or else the environment asks for, whatever else is wrong."""
    found = environ.get("WSBRIDGE_LOG_FORMAT", "text")
    for index, argument in enumerate(arguments):
        flag, _, value = argument.partition("=")
        if flag == "--log-format":
            found = value or "".join(arguments[index + 1 : index + 2])
    return found


def use_log_format(log_format: str) -> None:
    """Have `print_error` print in this form."""
    global _log_format
    _log_format = log_format


def print_error(text: str) -> None:
    """Print an error of the command to stderr."""
    _print_line(_format_error(text) if _log_format == "json" else text)


def print_traceback(message: str, traceback: str) -> None:
    """Print a traceback to stderr, in JSON as a field beside ``message``; nothing if it is empty."""
    if traceback:
        traceback = traceback.rstrip("\n")
        _print_line(_format_error(message, exc_text=traceback) if _log_format == "json" else traceback)


def _format_error(message: str, **more: str) -> str:
    values = {"name": error_logger.logger.name, "levelname": "ERROR", "msg": message, **more}
    return build_formatter("json").format(logging.makeLogRecord(values))


def _add_fallback(logger: logging.Logger) -> None:
    if not logger.handlers:
        logger.addHandler(FallbackHandler())
    for handler in logger.handlers:
        if isinstance(handler, FallbackHandler):
            handler.setFormatter(build_formatter(_log_format))


def _take_over_output() -> None:
    # Without a handler, warnings would go nowhere.
    _add_fallback(logging.getLogger("py.warnings"))
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    sys.unraisablehook = _log_unraisable


def _log_uncaught(kind: Any, error: Any, traceback: Any) -> None:
    error_logger.critical("uncaught exception", exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(arguments: Any) -> None:
    if arguments.exc_type is not SystemExit:
        name = "a thread" if arguments.thread is None else arguments.thread.name
        exc_info = (arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
        error_logger.error("uncaught exception in %s", name, exc_info=exc_info)


def _log_unraisable(arguments: Any) -> None:
    exc_info = (arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
    what = arguments.err_msg or "exception ignored in"
    error_logger.error("%s: %r", what, arguments.object, exc_info=exc_info)


def _drop_unwritten() -> None:
    """Drop what stderr cannot take, so that the exit code stays what it is: Python's would be 120."""
    stream = sys.stderr
    if stream is None or stream.closed:
        return
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
