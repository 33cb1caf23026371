"""Parts of a check that are run one by one, whatever became of the others, with a row each on its page."""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path
from typing import Awaitable, Callable, Dict, Mapping, Optional, Sequence

from .environment import say_line
from .report import Cell, Page

__all__ = ["run_parts", "write_parts"]


async def run_parts(
    check: str,
    parts: Mapping[str, Callable[[Path], Awaitable[None]]],
    names: Sequence[str],
    folder: Path,
    seconds: Optional[float] = None,
) -> Dict[str, str]:
    """Call the `parts` of these `names` with `folder`; what went wrong with each, or nothing.

    seconds: what each may take.
    """
    found = {}
    for name in names:
        say_line(f"{check}: {name}")
        try:
            await asyncio.wait_for(parts[name](folder), seconds)
            found[name] = ""
        except Exception as error:
            traceback.print_exc()
            found[name] = f"{type(error).__name__}: {error}"
        print(f"{'FAILED' if found[name] else 'ok':<7} {name} {found[name]:.300}", flush=True)
    return found


def write_parts(page: Page, kind: str, found: Mapping[str, str], path: Path) -> int:
    """Write the page, with what `run_parts` has found; the exit code of the check."""
    rows = [
        [name, Cell("failed" if text else "ok", "fail" if text else "ok"), text]
        for name, text in found.items()
    ]
    page.table([kind, "outcome", "what went wrong"], rows)
    print(f"report: {page.write(path)}")
    return 1 if any(found.values()) else 0
