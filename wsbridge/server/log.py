"""The logger, the lines that several modules log, and a handler for programs without one."""

from __future__ import annotations

import json
import logging
from typing import Optional, Tuple

from ..asgi.types import Scope
from ..protocols.errors import RequestRefused
from .connection.addresses import format_client
from .connection.hints import describe_request
from .connection.info import ConnectionInfo

__all__ = [
    "describe_end",
    "log_answer",
    "log_end",
    "log_raised",
    "log_refusal",
    "logger",
    "quote",
    "set_up_logging",
]

logger = logging.getLogger("wsbridge")


_CLOSED_BY = {
    "client": "closed by client",
    "application": "closed by application",
    "stop": "closed by the server's stop",
    "violation": "closed for a violation",
    "timeout": "closed by timeout",
    "lost": "lost",
}


class FallbackHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Prints a record only if no other handler gets it; an application may add one at any time."""

    def emit(self, record: logging.LogRecord) -> None:
        if logger.handlers == [self] and not (logger.propagate and logging.root.handlers):
            super().emit(record)


def set_up_logging(level: str) -> None:
    """Log records of ``level`` and above, to stderr as long as no other handler gets them."""
    if not logger.handlers:
        handler = FallbackHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(level.upper())


def quote(text: str) -> str:
    """``text`` between quotes, in printable ASCII: it neither ends a line nor moves what is around it."""
    return json.dumps(text).replace("\x7f", "\\u007f")


def log_answer(scope: Scope, status: int, logger: logging.Logger = logger) -> None:
    """Log one line for a request. The parser allows no control byte in a target."""
    if logger.isEnabledFor(logging.INFO):
        target = scope["raw_path"].decode("ascii", "backslashreplace")
        method = scope.get("method", "websocket")
        logger.info('%s "%s %s" %d', format_client(scope["client"]), method, target, status)


def log_end(info: ConnectionInfo, logger: logging.Logger = logger) -> None:
    """Log one line for a WebSocket that has ended."""
    if logger.isEnabledFor(logging.INFO):
        target = info.raw_path.decode("ascii", "backslashreplace")
        logger.info('%s "websocket %s" %s', format_client(info.client), target, describe_end(info))


def describe_end(info: ConnectionInfo) -> str:
    """How a WebSocket has ended, as log lines show it."""
    reason = f" {quote(info.reason)}" if info.reason else ""
    how = f"{info.code} {_CLOSED_BY[info.closed_by or 'lost']}{reason}"
    subprotocol = f", subprotocol {info.subprotocol}" if info.subprotocol else ""
    received = f"{info.messages_received} messages and {info.bytes_received} bytes received"
    sent = f"{info.messages_sent} and {info.bytes_sent} sent"
    return f"{how}{subprotocol}, {info.seconds:.3f} s, {received}, {sent}"


def log_refusal(
    logger: logging.Logger,
    client: Optional[Tuple[str, int]],
    method: bytes,
    target: bytes,
    refusal: RequestRefused,
    hint: Optional[str] = None,
) -> None:
    """Log one line for a refused request; ``hint``: what it looks like."""
    peer = format_client(client) + describe_request(method, target)
    text = str(refusal) if hint is None else f"{refusal}; {hint}"
    logger.info("%s refused: %d %s", peer, refusal.status, text)


def log_raised(message: str, error: BaseException, logger: logging.Logger = logger) -> None:
    """Log ``error`` with its traceback, once: it may both leave the loop and reach a task that awaits it."""
    # Not by assignment, which a frozen dataclass refuses.
    attributes = vars(error)
    if "_wsbridge_is_logged" not in attributes:
        attributes["_wsbridge_is_logged"] = True
        logger.error(message, exc_info=error)
