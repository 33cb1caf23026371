"""What the tests of this folder share: options, hypothesis's settings, and the machine."""

from __future__ import annotations

import fcntl
import tempfile
from pathlib import Path
from typing import Callable, Iterator, List

import pytest
from hypothesis import HealthCheck, settings

from . import EXAMPLES, PARTS, SECONDS

pytest.register_assert_rewrite(*(f"{__package__}.{module}" for module in PARTS["hypothesis"]))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzz")
    group.addoption("--short", action="store_true")
    group.addoption("--examples", type=int, default=EXAMPLES)
    group.addoption("--seconds", type=int, default=SECONDS)
    group.addoption("--folder", type=Path, default=Path(tempfile.gettempdir()))


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile(
        "fuzz",
        max_examples=config.option.examples,
        database=None,
        deadline=None,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("fuzz")


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Function]) -> None:
    """In a short run, keep of a module that has SHORT only the cases that it lists."""
    if config.option.short:
        items[:] = [
            one for one in items if not hasattr(one.module, "SHORT") or one.callspec.id in one.module.SHORT
        ]


def pytest_runtest_teardown(item: pytest.Function) -> None:
    statistics = getattr(item, "hypothesis_statistics", None)
    if statistics is not None:
        what = (item.function.__doc__ or "").splitlines()[0]
        item.user_properties += [("what holds", what), ("statistics", statistics)]


@pytest.fixture(autouse=True)
def have_alone(pytestconfig: pytest.Config) -> Iterator[Callable[[], None]]:
    """Called, it waits until no other check runs, and keeps others from beginning until this one ends."""
    with open(pytestconfig.option.folder / "machine.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield lambda: fcntl.flock(lock, fcntl.LOCK_EX)
