"""Self-contained HTML pages for the reports of the checks: tables and bar plots, light and dark.

    page = Page("Autobahn", "wsbridge 1.0, CPython 3.11")
    page.facts({"cases": 517, "seconds": "312"})
    page.heading("Outcomes")
    page.table(["case", "outcome"], [["1.1.1", Cell("OK", "ok")]])
    page.bar_plot("Duration", ["9.1.1", "9.1.2"], [12.0, 40.0], unit="ms")
    page.write(report_folder("autobahn") / "index.html")

A page is plain data, which `write` keeps as JSON beside it and has rendered by render.py, in an environment
of its own. Everything given is escaped. A page loads nothing: no script, font or style from elsewhere.
Colours mean the same everywhere: ok, info, warn, fail, none (not run).
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Union

from .environment import ROOT, ensure_environment

OUTCOMES = ("ok", "info", "warn", "fail", "none")
REQUIREMENTS = (Path(__file__).parent / "report.txt").read_text("utf-8").split()


@dataclass
class Cell:
    """A table cell that says more than its text: outcome (one of OUTCOMES), hover title, link."""

    text: object
    outcome: Optional[str] = None
    title: str = ""
    href: str = ""

    def __post_init__(self) -> None:
        if self.outcome is not None and self.outcome not in OUTCOMES:
            raise ValueError(f"outcome {self.outcome!r} is none of {OUTCOMES}")


Value = Union[str, int, float, None, Cell]


class Page:
    """One HTML page, filled from top to bottom, then written."""

    def __init__(self, title: str, subtitle: str = "") -> None:
        self._title = title
        self._subtitle = subtitle
        self._parts: List[Dict[str, Any]] = []

    def _add(self, kind: str, **part: Any) -> None:
        self._parts.append({"kind": kind, **part})

    def heading(self, text: str) -> None:
        self._add("heading", text=text)

    def paragraph(self, text: str) -> None:
        self._add("paragraph", text=text)

    def facts(self, facts: Mapping[str, Value]) -> None:
        """A row of large figures with their names under them."""
        self._add("facts", facts={name: _to_cell(value) for name, value in facts.items()})

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Value]]) -> None:
        """A table; numbers stand right-aligned, a Cell with an outcome is coloured."""
        self._add("table", columns=columns, rows=[list(map(_to_cell, row)) for row in rows])

    def details(self, summary: str, text: str) -> None:
        """Text in a fixed-width font that can be folded away under its summary."""
        self._add("details", summary=summary, text=text)

    def bar_plot(self, title: str, labels: Sequence[str], values: Sequence[float], unit: str = "") -> None:
        """Horizontal bars, one per label. A plot without data is left out."""
        title += f" ({unit})" if unit else ""
        if labels:
            self._add("bars", title=title, labels=labels, values=values)

    def write(self, path: Union[str, Path]) -> Path:
        """Write the page, and its data with the suffix .json, making their folder; return the page's path."""
        target = Path(path).resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        page = {"title": self._title, "subtitle": self._subtitle, "parts": self._parts}
        data = target.with_suffix(".json")
        data.write_text(json.dumps(page, indent=1, ensure_ascii=False, default=_encode), "utf-8")
        python = ensure_environment("report", REQUIREMENTS)
        command = [str(python), "-m", "conformance.lib.render", str(data), str(target)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=300)
        return target


def _to_cell(value: Value) -> Cell:
    return value if isinstance(value, Cell) else Cell(value)


def _encode(value: object) -> object:
    return vars(value) if isinstance(value, Cell) else str(value)
