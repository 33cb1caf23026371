"""Renders a page of report.py, in its environment: `python -m conformance.lib.render DATA.json PAGE.html`."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any, Dict

import jinja2
import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

# Stands for the page's own colour of text, which is not the same in light and dark.
INK = "#010203"
BARS = "#2f80c8"  # legible on both

for name in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"):
    matplotlib.rcParams[name] = INK
matplotlib.rcParams.update({"axes.spines.right": False, "axes.spines.top": False, "grid.alpha": 0.25})
matplotlib.rcParams["svg.fonttype"] = "none"


def main(data: str, target: str) -> None:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    settings = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    settings.filters.update(shown=show, bars=draw_bars)
    page = json.loads(Path(data).read_text("utf-8"))
    Path(target).write_text(settings.get_template("report.html").render(page), "utf-8")


def show(value: object) -> str:
    """A number with as many digits as tell something, anything else as it is."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:.4g}"


def draw_bars(plot: Dict[str, Any]) -> Markup:
    labels, values = plot["labels"], plot["values"]
    figure = Figure((9.0, 0.7 + 0.3 * len(labels)), layout="constrained")
    axes = figure.subplots()
    axes.set_axisbelow(True)
    bars = axes.barh(range(len(labels)), values, 0.72, color=BARS)
    axes.bar_label(bars, list(map(show, values)), padding=3)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params("y", length=0)
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.01)
    axes.grid(axis="x")
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    svg = drawn.getvalue()
    return Markup(svg[svg.index("<svg") :].replace(INK, "currentColor"))


if __name__ == "__main__":
    main(*sys.argv[1:])
