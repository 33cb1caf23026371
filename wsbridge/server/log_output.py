"""Where the lines of the loggers are printed: stderr, unless somebody else prints them."""

from __future__ import annotations

import logging
from typing import Iterator

from .log import logger

__all__ = ["set_up_logging"]


class FallbackHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Prints a record only if no other handler gets it; an application may add one at any time."""

    def emit(self, record: logging.LogRecord) -> None:
        if all(handler is self for handler in _list_handlers(record.name)):
            super().emit(record)


def _list_handlers(name: str) -> Iterator[logging.Handler]:
    """The handlers that get the records of the logger ``name``."""
    logger = logging.getLogger(name)
    yield from logger.handlers
    if logger.propagate and logger.parent is not None:
        yield from _list_handlers(logger.parent.name)


def set_up_logging(level: str) -> None:
    """Log records of ``level`` and above, to stderr as long as no other handler gets them."""
    if not logger.handlers:
        handler = FallbackHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(level.upper())
