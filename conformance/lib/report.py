"""Self-contained HTML pages for the reports of the checks: tables, grids, inline SVG plots, light and dark.

    page = Page("Autobahn", "wsbridge 1.0, CPython 3.11")
    page.facts({"cases": 517, "seconds": "312"})
    page.heading("Outcomes")
    page.table(["case", "outcome"], [["1.1.1", Cell("OK", "ok")]])
    page.bar_plot("Duration", ["9.1.1", "9.1.2"], [12.0, 40.0], unit="ms")
    page.line_plot("Throughput", {"wsbridge": [(16, 90e3), (1024, 80e3)]}, x_label="bytes", y_label="1/s")
    page.write(report_folder("autobahn") / "index.html")

Everything given is escaped, except what `raw` is given. A page loads nothing: no script, font or style from
elsewhere. Colours mean the same everywhere: ok, info, warn, fail, none (not run).
"""

from __future__ import annotations

import html
import math
from pathlib import Path
from typing import Iterable, List, Mapping, Optional, Sequence, Tuple, Union

OUTCOMES = ("ok", "info", "warn", "fail", "none")


class Cell:
    """A table cell that says more than its text: outcome (one of OUTCOMES), hover title, link."""

    __slots__ = ("href", "outcome", "text", "title")

    def __init__(
        self, text: object, outcome: Optional[str] = None, *, title: str = "", href: str = ""
    ) -> None:
        if outcome is not None and outcome not in OUTCOMES:
            raise ValueError(f"outcome {outcome!r} is none of {OUTCOMES}")
        self.text = text
        self.outcome = outcome
        self.title = title
        self.href = href


Value = Union[str, int, float, None, Cell]


class Page:
    """One HTML page, filled from top to bottom, then written."""

    def __init__(self, title: str, subtitle: str = "") -> None:
        self._title = title
        self._parts = [f"<h1>{_escape(title)}</h1>"]
        if subtitle:
            self._parts.append(f"<p class=subtitle>{_escape(subtitle)}</p>")

    def heading(self, text: str, anchor: str = "", level: int = 2) -> None:
        """A heading of level 2 or 3; `anchor` makes it a target of href="#anchor"."""
        mark = f' id="{_escape(anchor)}"' if anchor else ""
        self._parts.append(f"<h{level}{mark}>{_escape(text)}</h{level}>")

    def paragraph(self, text: str) -> None:
        self._parts.append(f"<p>{_escape(text)}</p>")

    def facts(self, facts: Mapping[str, Value]) -> None:
        """A row of large figures with their names under them."""
        cells = []
        for name, value in facts.items():
            cell = value if isinstance(value, Cell) else Cell(value)
            mark = f" {cell.outcome}-text" if cell.outcome else ""
            shown = _format(cell.text)
            cells.append(f"<div class=fact><b class='v{mark}'>{shown}</b><span>{_escape(name)}</span></div>")
        self._parts.append(f"<div class=facts>{''.join(cells)}</div>")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Value]], caption: str = "") -> None:
        """A table; numbers stand right-aligned, a Cell with an outcome is coloured."""
        head = "".join(f"<th>{_escape(column)}</th>" for column in columns)
        body = "".join(f"<tr>{''.join(map(_build_cell, row))}</tr>" for row in rows)
        title = f"<caption>{_escape(caption)}</caption>" if caption else ""
        self._parts.append(
            f"<div class=scroll><table>{title}<thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>"
        )

    def grid(self, cells: Iterable[Cell]) -> None:
        """Small squares side by side, one per case: coloured by outcome, text inside, title on hovering."""
        tiles = []
        for cell in cells:
            tag = f"a href='{_escape(cell.href)}'" if cell.href else "span"
            tiles.append(
                f"<{tag} class='tile {cell.outcome or 'none'}' title='{_escape(cell.title)}'>"
                f"{_format(cell.text)}</{tag.split()[0]}>"
            )
        self._parts.append(f"<div class=grid>{''.join(tiles)}</div>")

    def pre(self, text: str) -> None:
        """Text as it stands, in a fixed-width font."""
        self._parts.append(f"<pre>{_escape(text)}</pre>")

    def details(self, summary: str, text: str, *, is_open: bool = False) -> None:
        """Text in a fixed-width font that is folded away under its summary."""
        mark = " open" if is_open else ""
        self._parts.append(
            f"<details{mark}><summary>{_escape(summary)}</summary><pre>{_escape(text)}</pre></details>"
        )

    def bar_plot(
        self,
        title: str,
        labels: Sequence[str],
        values: Union[Sequence[float], Mapping[str, Sequence[float]]],
        unit: str = "",
        *,
        log: bool = False,
    ) -> None:
        """Horizontal bars, one per label; a dict of equally long lists draws a group of bars per label."""
        series: Mapping[str, Sequence[float]] = values if isinstance(values, Mapping) else {"": values}
        self._parts.append(_build_bars(title, labels, series, unit, log))

    def line_plot(
        self,
        title: str,
        series: Mapping[str, Sequence[Tuple[float, float]]],
        *,
        x_label: str = "",
        y_label: str = "",
        log_x: bool = False,
        log_y: bool = False,
    ) -> None:
        """One line of (x, y) points per name, with a legend; logarithmic axes are for positive numbers."""
        self._parts.append(_build_lines(title, series, x_label, y_label, log_x, log_y))

    def raw(self, markup: str) -> None:
        """Markup that is not escaped."""
        self._parts.append(markup)

    def build(self) -> str:
        return (
            "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
            "<meta name=viewport content='width=device-width, initial-scale=1'>"
            f"<title>{_escape(self._title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
            + "\n".join(self._parts)
            + "\n</main></body></html>\n"
        )

    def write(self, path: Union[str, Path]) -> Path:
        """Write the page, making its folder; return the path."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self.build(), "utf-8")
        return target


def _escape(text: object) -> str:
    return html.escape(str(text), quote=True)


def _format(value: object) -> str:
    if value is None:
        return "&ndash;"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _escape(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _build_cell(value: Value) -> str:
    cell = value if isinstance(value, Cell) else Cell(value)
    classes = [cell.outcome] if cell.outcome else []
    if isinstance(cell.text, (int, float)) and not isinstance(cell.text, bool):
        classes.append("n")
    mark = f" class='{' '.join(classes)}'" if classes else ""
    title = f" title='{_escape(cell.title)}'" if cell.title else ""
    shown = _format(cell.text)
    if cell.href:
        shown = f"<a href='{_escape(cell.href)}'>{shown}</a>"
    return f"<td{mark}{title}>{shown}</td>"


def _find_ticks(low: float, high: float, log: bool) -> List[float]:
    """Round numbers from at or below `low` to at or above `high`."""
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return [10.0**power for power in range(first, max(last, first + 1) + 1)]
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


class _Axis:
    """Maps values between its first and last tick to coordinates between start and end."""

    def __init__(self, values: Sequence[float], start: float, end: float, log: bool, from_zero: bool) -> None:
        if log:
            values = [value for value in values if value > 0] or [1.0]
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if from_zero and not log:
            low = min(0.0, low)
        self.ticks = _find_ticks(low, high, log)
        self._log = log
        self._start = start
        self._scale = (end - start) / (self._map(self.ticks[-1]) - self._map(self.ticks[0]))

    def place(self, value: float) -> float:
        return self._start + (self._map(value) - self._map(self.ticks[0])) * self._scale

    def _map(self, value: float) -> float:
        if not self._log:
            return value
        return math.log10(value) if value > 0 else math.log10(self.ticks[0])


def _text(x: float, y: float, text: object, anchor: str = "start", extra: str = "") -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor={anchor}{extra}>{text}</text>"


def _build_legend(names: Sequence[str]) -> str:
    keys = "".join(
        f"<span><i class='key s{index % 8}'></i>{_escape(name)}</span>"
        for index, name in enumerate(names)
        if name
    )
    return f"<div class=legend>{keys}</div>" if keys else ""


def _build_bars(
    title: str, labels: Sequence[str], series: Mapping[str, Sequence[float]], unit: str, log: bool
) -> str:
    thick = 14 if len(series) == 1 else 10
    row = thick * len(series) + 8
    left = 16 + 7 * max([len(str(label)) for label in labels] or [0])
    width, top = 860, 24
    axis = _Axis([value for values in series.values() for value in values], left, width - 80, log, True)
    bottom = top + row * len(labels)
    parts = []
    for tick in axis.ticks:
        x = axis.place(tick)
        parts.append(
            f"<path class=rule d='M{x:.1f} {top}V{bottom}'/>" + _text(x, top - 8, _format(tick), "middle")
        )
    for at, label in enumerate(labels):
        y = top + at * row + 4
        parts.append(_text(left - 6, y + (row - 8) / 2 + 4, _escape(label), "end"))
        for index, (name, values) in enumerate(series.items()):
            end, low = axis.place(values[at]), y + index * thick
            told = _escape(f"{label} {name}: ") + _format(values[at]) + " " + _escape(unit)
            parts.append(
                f"<rect class='s{index % 8}' x='{left}' y='{low + 1}' width='{max(1.0, end - left):.1f}'"
                f" height='{thick - 2}' rx=2><title>{told}</title></rect>"
                + _text(end + 5, low + thick / 2 + 4, _format(values[at]), "start", " class=value")
            )
    named = f"{title} ({unit})" if unit else title
    return (
        f"<figure><figcaption>{_escape(named)}</figcaption>{_build_legend(list(series))}"
        f"<svg viewBox='0 0 {width} {bottom + 6}' role=img aria-label='{_escape(named)}'>"
        f"{''.join(parts)}</svg></figure>"
    )


def _build_lines(
    title: str,
    series: Mapping[str, Sequence[Tuple[float, float]]],
    x_label: str,
    y_label: str,
    log_x: bool,
    log_y: bool,
) -> str:
    width, height, left, bottom = 860, 360, 84, 312
    right = width - 36
    points = [point for line in series.values() for point in line]
    across = _Axis([x for x, _ in points], left, right, log_x, False)
    upward = _Axis([y for _, y in points], bottom, 24, log_y, True)
    parts = []
    for tick in across.ticks:
        x = across.place(tick)
        parts.append(
            f"<path class=rule d='M{x:.1f} 24V{bottom}'/>" + _text(x, bottom + 18, _format(tick), "middle")
        )
    for tick in upward.ticks:
        y = upward.place(tick)
        parts.append(
            f"<path class=rule d='M{left} {y:.1f}H{right}'/>" + _text(left - 6, y + 4, _format(tick), "end")
        )
    for index, (name, line) in enumerate(series.items()):
        mark = f"s{index % 8}"
        placed = [(across.place(x), upward.place(y), x, y) for x, y in line]
        if placed:
            parts.append(
                f"<path class='line {mark}' d='M{'L'.join(f'{x:.1f} {y:.1f}' for x, y, _, _ in placed)}'/>"
            )
        for x, y, value_x, value_y in placed:
            told = _escape(name) + f": {_format(value_x)}, {_format(value_y)}"
            parts.append(
                f"<circle class={mark} cx='{x:.1f}' cy='{y:.1f}' r=3.5><title>{told}</title></circle>"
            )
    parts.append(_text((left + width) / 2, height - 6, _escape(x_label), "middle"))
    parts.append(_text(left, 14, _escape(y_label), "middle"))
    return (
        f"<figure><figcaption>{_escape(title)}</figcaption>{_build_legend(list(series))}"
        f"<svg viewBox='0 0 {width} {height}' role=img aria-label='{_escape(title)}'>"
        f"{''.join(parts)}</svg></figure>"
    )


# The eight series colours differ in lightness as well as in hue, so that they part without colour vision.
_STYLE = """
:root{color-scheme:light dark;--bg:#fbfbfa;--fg:#1d2226;--dim:#667079;--rule:#d9dde0;--panel:#f0f2f3;
--ok:#2f8f5b;--ok-bg:#d5efe0;--info:#2d6fb5;--info-bg:#d6e7f8;--warn:#9a6a00;--warn-bg:#fdeac2;
--fail:#b3261e;--fail-bg:#fad7d4;--none:#7b858d;--none-bg:#e6e9eb;
--s0:#1f6fb4;--s1:#d9730d;--s2:#2f8f5b;--s3:#a03c8c;--s4:#7a5a3a;--s5:#5b9bd5;--s6:#c9a400;--s7:#666f77}
@media(prefers-color-scheme:dark){:root{--bg:#15181b;--fg:#e4e8eb;--dim:#98a3ab;--rule:#343b41;--panel:#1f2428;
--ok:#6fd29b;--ok-bg:#1d4a32;--info:#86bdf2;--info-bg:#1d3e5f;--warn:#f0c264;--warn-bg:#54400f;
--fail:#ff9a92;--fail-bg:#66211c;--none:#98a3ab;--none-bg:#2b3136;
--s0:#5ea9e8;--s1:#f2994a;--s2:#6fd29b;--s3:#d68ac6;--s4:#c0a080;--s5:#a9d0f5;--s6:#f0d264;--s7:#a2acb4}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 80px}
h1{margin:0;font-size:26px}h2{margin:34px 0 8px;font-size:19px}h3{margin:20px 0 6px;font-size:16px}
p{max-width:80ch}.subtitle{margin:2px 0 0;color:var(--dim)}a{color:var(--info)}
.facts{display:flex;flex-wrap:wrap;gap:10px;margin:18px 0}
.fact{background:var(--panel);border-radius:8px;padding:8px 16px;min-width:96px}
.fact b{display:block;font-size:22px;font-variant-numeric:tabular-nums}
.fact span{color:var(--dim);font-size:13px}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:14px;margin:8px 0}
caption{text-align:left;color:var(--dim);padding-bottom:4px}
th,td{padding:4px 12px 4px 8px;border-bottom:1px solid var(--rule);text-align:left;vertical-align:top}
th{font-weight:600;color:var(--dim);position:sticky;top:0;background:var(--bg)}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.ok{background:var(--ok-bg)}.info{background:var(--info-bg)}.warn{background:var(--warn-bg)}
.fail{background:var(--fail-bg)}.none{background:var(--none-bg)}
.ok-text{color:var(--ok)}.info-text{color:var(--info)}.warn-text{color:var(--warn)}
.fail-text{color:var(--fail)}.none-text{color:var(--none)}
.grid{display:flex;flex-wrap:wrap;gap:3px;margin:6px 0 14px}
.tile{min-width:50px;padding:2px 5px;border-radius:3px;font-size:11px;text-align:center;color:var(--fg);
text-decoration:none;font-variant-numeric:tabular-nums}
.tile.fail,.tile.warn{font-weight:700;outline:1px solid currentColor}
pre{background:var(--panel);border-radius:6px;padding:10px 12px;overflow-x:auto;font-size:12.5px;
line-height:1.45;white-space:pre-wrap;overflow-wrap:anywhere}
details{margin:6px 0}summary{cursor:pointer}
figure{margin:16px 0}figcaption{font-weight:600}svg{width:100%;max-width:900px;height:auto;font-size:12px}
svg text{fill:var(--dim)}svg text.value{fill:var(--fg)}.rule{stroke:var(--rule);fill:none}
.line{fill:none;stroke-width:2}.legend{display:flex;flex-wrap:wrap;gap:14px;font-size:13px}
.key{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:5px;vertical-align:-1px}
""" + "".join(
    f"rect.s{i},circle.s{i}{{fill:var(--s{i})}}.line.s{i}{{stroke:var(--s{i})}}.key.s{i}{{background:var(--s{i})}}"
    for i in range(8)
)
