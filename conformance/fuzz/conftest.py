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
    group.addoption("--target", default="")
    group.addoption("--folder", type=Path, default=Path(tempfile.gettempdir()))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: not a part of a short run")
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


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    is_short, target = config.option.short, config.option.target
    items[:] = [
        one for one in items if target in one.name and not (is_short and one.get_closest_marker("long"))
    ]


def pytest_runtest_setup(item: pytest.Item) -> None:
    item.user_properties.append(("what holds", (item.function.__doc__ or "").splitlines()[0]))


def pytest_runtest_teardown(item: pytest.Item) -> None:
    statistics = getattr(item, "hypothesis_statistics", "")
    if statistics:
        item.user_properties.append(("statistics", statistics))


@pytest.fixture(autouse=True)
def have_alone(pytestconfig: pytest.Config) -> Iterator[Callable[[], None]]:
    """Called, it waits until no other check runs, and keeps others from beginning until this one ends."""
    with open(pytestconfig.option.folder / "machine.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield lambda: fcntl.flock(lock, fcntl.LOCK_EX)
