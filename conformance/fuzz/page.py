"""The report: what was checked where, how often, and what was found."""

from __future__ import annotations

import platform
import re
import time
from collections import defaultdict
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Dict, List

import pytest

from ..lib.report import Cell, Page, Value

HEADINGS = {"guided": "Guided search (atheris)", "linear": "Time (2n over n)", "memory": "Memory"}
# Figures of the whole run: how the values that single checks record are combined.
FIGURES = {"examples": sum, "executions": sum, "worst ratio": max, "times the limit": max}

_EXAMPLES = re.compile(r"(\d+) passing\D+(\d+) failing")


class Report:
    """A plugin of pytest that turns what checks record into a page."""

    def __init__(self, folder: Path, subtitle: str) -> None:
        self._folder = folder
        installed = {one.metadata["Name"]: one.version for one in distributions()}
        versions = [f"{name} {installed[name]}" for name in ("hypothesis", "atheris") if name in installed]
        python = f"{platform.python_implementation()} {platform.python_version()}"
        self._subtitle = "; ".join([python, *versions, subtitle])
        self._started = time.monotonic()
        # Module, then name of a check, to what is known of it.
        self._checks: Dict[str, Dict[str, Dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
        self._findings: Dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        path, _, name = report.nodeid.partition("::test_")
        check = self._checks[Path(path).stem][name]
        if report.failed:
            sections = [f"{title}\n{text}" for title, text in report.sections]
            self._findings[name] = "\n".join([*sections, report.longreprtext])
        if report.when == "call":
            check["seconds"] = round(report.duration, 1)
        if report.when == "teardown":
            recorded = dict(report.user_properties)
            for passed, failed in _EXAMPLES.findall(recorded.pop("statistics", "")):
                check["examples"] = check.get("examples", 0) + int(passed) + int(failed)
            check.update(recorded)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        every = [check for checks in self._checks.values() for check in checks.values()]
        figures: Dict[str, Any] = {"checks": len(every), "findings": len(self._findings)}
        for name, combine in FIGURES.items():
            figures[name] = combine([check.get(name, 0) for check in every] or [0]) or None
        figures["minutes"] = round((time.monotonic() - self._started) / 60, 1)
        path = self._build_page(figures).write(self._folder / "index.html")
        said = [f"{name}: {value:,}" for name, value in figures.items() if value is not None]
        terminalreporter.write_line(", ".join(said))
        terminalreporter.write_line(f"report: {path}")

    def _build_page(self, figures: Dict[str, Any]) -> Page:
        page = Page("Fuzzing", self._subtitle)
        page.facts(figures)
        for name, text in self._findings.items():
            page.details(name, text)
        for module, checks in self._checks.items():
            page.heading(HEADINGS.get(module, module.replace("_", " ").capitalize()))
            if module == "linear":
                plot_times(page, checks)
            columns = list(dict.fromkeys(column for check in checks.values() for column in check))
            rows: List[List[Value]] = []
            for name, check in checks.items():
                outcome = Cell(name, "fail" if name in self._findings else "ok")
                rows.append([outcome, *(check.get(column) for column in columns)])
            page.table(["check", *columns], rows)
        return page


def plot_times(page: Page, checks: Dict[str, Dict[str, Any]]) -> None:
    worst = {name: check["worst ratio"] for name, check in checks.items() if check.get("worst ratio")}
    page.bar_plot("Worst ratio of 2n over n", list(worst), list(worst.values()))
