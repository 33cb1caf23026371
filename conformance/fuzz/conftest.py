"""What the tests of this folder share: options, hypothesis's settings, the report, and the machine."""

from __future__ import annotations

import fcntl
import html
import re
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
from hypothesis import HealthCheck, settings

from . import PARTS

pytest.register_assert_rewrite(*(f"{__package__}.{module}" for module in PARTS["hypothesis"]))

# How the values that single checks record make a figure of the whole run.
FIGURES = {"examples": sum, "executions": sum, "worst ratio": max, "times the limit": max}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzz")
    group.addoption("--short", action="store_true")
    group.addoption("--examples", type=int, help="of each property")
    group.addoption("--seconds", type=int, help="of each guided search")
    group.addoption("--folder", type=Path, default=Path(tempfile.gettempdir()))


def pytest_configure(config: pytest.Config) -> None:
    option = config.option
    option.examples = option.examples or (25 if option.short else 600)
    option.seconds = option.seconds or (4 if option.short else 20)
    settings.register_profile(
        "fuzz",
        max_examples=option.examples,
        database=None,
        deadline=None,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("fuzz")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Function) -> Iterator[None]:
    yield
    counts = re.findall(r"(\d+) passing\D+(\d+) failing", getattr(item, "hypothesis_statistics", ""))
    if counts:
        what = (item.function.__doc__ or "").splitlines()[0]
        item.user_properties += [("what holds", what), ("examples", sum(map(int, sum(counts, ()))))]


def pytest_metadata(metadata: Dict[str, Any], config: pytest.Config) -> None:
    """What stands at the top of the report."""
    metadata["Seed"] = config.getoption("--hypothesis-seed")


def pytest_html_results_table_header(cells: List[str]) -> None:
    cells.insert(2, "<th>What was measured</th>")


def pytest_html_results_table_row(report: pytest.TestReport, cells: List[str]) -> None:
    # The report of a module that cannot be imported has none.
    told = "; ".join(f"{name}: {value}" for name, value in getattr(report, "user_properties", ()))
    cells.insert(2, f"<td>{html.escape(told)}</td>")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell the figures of the whole run."""
    reports = [one for outcome in ("passed", "failed") for one in terminalreporter.stats.get(outcome, [])]
    for name, combine in FIGURES.items():
        recorded = [value for one in reports for key, value in one.user_properties if key == name]
        if recorded:
            terminalreporter.write_line(f"{name}: {combine(recorded):,}")


@pytest.fixture(autouse=True)
def have_alone(pytestconfig: pytest.Config) -> Iterator[Callable[[], None]]:
    """Called, it waits until no other check runs, and keeps others from beginning until this one ends."""
    with open(pytestconfig.option.folder / "machine.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield lambda: fcntl.flock(lock, fcntl.LOCK_EX)
