"""What wsbridge and asyncio have logged of one connection."""

from __future__ import annotations

import logging
from typing import List

__all__ = ["logged"]


class Records(logging.Handler):
    """What wsbridge and asyncio have logged since the last `clear`."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: List[tuple[str, str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.name, record.levelname, record.getMessage()))

    def install(self) -> None:
        for name in ("wsbridge", "asyncio"):
            logger = logging.getLogger(name)
            logger.addHandler(self)
            logger.setLevel(logging.DEBUG if name == "wsbridge" else logging.WARNING)
            logger.propagate = False


logged = Records()
