"""The report of the check: a row for each check, a column for each proxy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Dict, Sequence

from conformance.lib.report import Cell, Page

from .catalogue import Proxy
from .site import list_versions

if TYPE_CHECKING:
    from .run import Result

WITHOUT = "without "


def build_page(proxies: Sequence[Proxy], results: Sequence[Result], folder: Path, seconds: float) -> Page:
    page = Page("Proxies", ", ".join(list_versions(proxies)))
    failed = sum(bool(result.fault) for result in results)
    done = [result for result in results if not result.lack]
    page.facts(
        {"checks": len(done), "failed": Cell(failed, "fail" if failed else "ok"), "seconds": round(seconds)}
    )
    rows: Dict[str, Dict[str, Cell]] = {}
    for result in results:
        if result.name.startswith(WITHOUT):
            continue
        rows.setdefault(result.name, {})[result.proxy] = build_cell(result)
    names = [proxy.name for proxy in proxies]
    page.table(
        ["check", *names], [[name, *(row.get(one, Cell("")) for one in names)] for name, row in rows.items()]
    )
    page.paragraph("The dash: the proxy cannot do this; the reason is its title.")
    page.heading("Lines of the configurations that are needed")
    page.paragraph("Each was left out once: then the check beside it fails, as it should.")
    lines = {(one.name, WITHOUT + line.text): line.check for one in proxies for line in one.lines}
    page.table(
        ["proxy", "line", "what fails without it", "found"],
        [
            [one.proxy, one.name[len(WITHOUT) :], lines[one.proxy, one.name], build_cell(one)]
            for one in results
            if one.name.startswith(WITHOUT)
        ],
    )
    if failed:
        page.heading("What went wrong")
        page.table(
            ["proxy", "check", "what"],
            [[result.proxy, result.name, result.fault] for result in results if result.fault],
        )
    page.heading("Configurations, as they were run")
    for path in sorted(folder.glob("*-guide/*")):
        if path.name in [proxy.file for proxy in proxies]:
            page.details(path.name, path.read_text("utf-8"))
    return page


def build_cell(result: Result) -> Cell:
    if result.lack:
        return Cell("-", title=result.lack)
    if result.fault:
        return Cell("failed", "fail", title=result.fault)
    return Cell(f"{result.seconds:.2f} s", "ok")
