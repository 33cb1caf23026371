"""What is noted while connections run: the counts of a whole run, and the log lines of one connection."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from logging.handlers import BufferingHandler
from typing import Any, Callable, Sequence, Tuple

#: How often something was done or seen; each key begins with the subject under which the page shows it.
tally: Counter[Tuple[Any, ...]] = Counter()

#: The lines that wsbridge and asyncio have logged since its `buffer` was cleared.
logged = BufferingHandler(sys.maxsize)


def listen_to_logs() -> None:
    for name, level in (("wsbridge", logging.DEBUG), ("asyncio", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.addHandler(logged)
        logger.setLevel(level)
        logger.propagate = False


def count(subject: str) -> int:
    return sum(number for key, number in tally.items() if key[0] == subject)


def run_checks(talk: Any, checks: Sequence[Callable[[Any], None]]) -> None:
    """Each raises `Wrong` for what is not as it must be, and is counted where it does not."""
    for check in checks:
        check(talk)
        tally["checks", check.__name__] += 1
