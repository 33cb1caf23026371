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
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Stands for the page's own colour of text, which is not the same in light and dark.
INK = "#010203"
# Legible on light and dark; they differ in lightness as well as in hue, for those who see no colours.
COLOURS = ["#2f80c8", "#e8892b", "#3c9464", "#b357a0", "#8f6b48", "#7fb6e6", "#cfae1c", "#7d8790"]
WIDTH = 9.0

for name in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"):
    matplotlib.rcParams[name] = INK
matplotlib.rcParams.update({"axes.spines.right": False, "axes.spines.top": False, "grid.alpha": 0.25})
matplotlib.rcParams.update({"axes.prop_cycle": matplotlib.cycler(color=COLOURS), "svg.fonttype": "none"})


def main(data: str, target: str) -> None:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    settings = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    settings.filters.update(shown=show, bars=draw_bars, lines=draw_lines)
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
    count, series = len(plot["labels"]), plot["series"]
    thick = 0.8 / len(series)
    axes = _build_axes(0.7 + count * (0.1 + 0.2 * len(series)))
    for index, (name, values) in enumerate(series.items()):
        places = [at + (index + 0.5) * thick - 0.4 for at in range(count)]
        bars = axes.barh(places, values, thick * 0.9, label=name, log=plot["log"])
        axes.bar_label(bars, list(map(show, values)), padding=3)
    axes.set_yticks(range(count), plot["labels"])
    axes.tick_params("y", length=0)
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.01)
    axes.grid(axis="x")
    return _to_svg(axes, len(series))


def draw_lines(plot: Dict[str, Any]) -> Markup:
    axes = _build_axes(WIDTH * 0.45)
    for name, points in plot["series"].items():
        axes.plot(*zip(*points), label=name, marker="o", markersize=4)
    for name, (label, is_log) in plot["axes"].items():
        axes.set(**{f"{name}label": label, f"{name}scale": "log" if is_log else "linear"})
    if not plot["axes"]["y"][1]:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.grid()
    return _to_svg(axes, 2)


def _build_axes(height: float) -> Axes:
    axes = Figure((WIDTH, height), layout="constrained").subplots()
    axes.set_axisbelow(True)
    return axes


def _to_svg(axes: Axes, count: int) -> Markup:
    if count > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False)
    drawn = io.StringIO()
    axes.get_figure().savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    svg = drawn.getvalue()
    return Markup(svg[svg.index("<svg") :].replace(INK, "currentColor"))


if __name__ == "__main__":
    main(*sys.argv[1:])
