"""A pytest plug-in for granian's own tests, whose servers come from `stand_in`."""

from __future__ import annotations

from typing import Any, List

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: List[Any]) -> None:
    """Keep the tests of ASGI (granian has other interfaces), and one of its two kinds of threads."""
    kept = [item for item in items if runs_asgi(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def runs_asgi(item: Any) -> bool:
    parameters = item.callspec.id.split("-") if hasattr(item, "callspec") else []
    others = {"rsgi", "wsgi", "rsgi_server", "wsgi_server", "mt"}
    return others.isdisjoint([*parameters, *item.fixturenames])
