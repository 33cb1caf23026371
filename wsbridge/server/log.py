"""The logger, the lines that several modules log, and a handler for programs without one."""

from __future__ import annotations

import logging
from typing import Optional, Tuple

from ..asgi.types import Scope
from ..protocols.errors import RequestRefused
from .connection.addresses import format_client
from .connection.hints import describe_request

__all__ = ["log_answer", "log_raised", "log_refusal", "logger", "set_up_logging"]

logger = logging.getLogger("wsbridge")


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


def log_answer(scope: Scope, status: int, logger: logging.Logger = logger) -> None:
    """Log one line for a request. The parser allows no control byte in a target."""
    if logger.isEnabledFor(logging.INFO):
        target = scope["raw_path"].decode("ascii", "backslashreplace")
        method = scope.get("method", "websocket")
        logger.info('%s "%s %s" %d', format_client(scope["client"]), method, target, status)


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
