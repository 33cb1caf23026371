"""A pytest plug-in for granian's own tests, whose servers come from `stand_in`."""

from __future__ import annotations

from typing import Any, List

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: List[Any]) -> None:
    """Drop RSGI, which is granian's own interface, and its two kinds of threads but for one."""
    dropped = [item for item in items if "rsgi" in item.nodeid or "mt" in item.callspec.id.split("-")]
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]
