"""Two functions for modules whose tests collect garbage: what others have left costs no time there.

A module imports both, and unittest calls them before its first test and behind its last.
"""

from __future__ import annotations

import gc

__all__ = ["setUpModule", "tearDownModule"]

# PyPy has neither.
_freeze = getattr(gc, "freeze", gc.collect)
_unfreeze = getattr(gc, "unfreeze", gc.collect)


def setUpModule() -> None:
    _freeze()


def tearDownModule() -> None:
    _unfreeze()
