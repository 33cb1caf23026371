#!/usr/bin/env python3
"""Run one conformance check: `python3 conformance/run.py NAME [arguments]`.

NAME is a module of this folder, dashes written for underscores, that has `main(argv: list[str]) -> int`.
Without NAME the names are listed, each with the first line of its docstring.
The exit code is the check's own: 0 means every expectation was met, 1 a shortfall, 2 that the check
could not run (a tool is missing; one line on stderr says how to get it), 130 an interruption (SIGINT or
SIGTERM).
"""

from __future__ import annotations

import ast
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Dict, List

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent


def find_checks() -> Dict[str, str]:
    """Return {name on the command line: first line of its docstring}, read without importing anything."""
    checks = {}
    for path in sorted([*FOLDER.glob("*.py"), *FOLDER.glob("*/__init__.py")]):
        tree = ast.parse(path.read_text("utf-8"))
        has_main = any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)
        if has_main and path.name != "run.py":
            module = path.parent.name if path.name == "__init__.py" else path.stem
            docstring = ast.get_docstring(tree) or "(no docstring)"
            checks[module.replace("_", "-")] = docstring.splitlines()[0]
    return checks


def main(argv: List[str]) -> int:
    checks = find_checks()
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python3 conformance/run.py NAME [--help | arguments]\n")
        for name, summary in checks.items():
            print(f"  {name:<16}  {summary}")
        return 0
    name = argv[0].replace("_", "-")
    if name not in checks:
        print(f"no check named {argv[0]!r}; there are: {', '.join(checks)}", file=sys.stderr)
        return 2
    # The folder of this script would otherwise come first, and conformance/autobahn/ would hide the library
    # of the same name.
    sys.path[:] = [str(ROOT)] + [entry for entry in sys.path if Path(entry or ".").resolve() != FOLDER]
    from conformance.lib.environment import Unavailable

    try:
        return int(importlib.import_module("conformance." + name.replace("-", "_")).main(argv[1:]))
    except Unavailable as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130


def turn_signals_into_interrupts() -> None:
    """Make SIGTERM end a check like Ctrl-C, so that what it has started does not outlive a time limit.

    Ctrl-C itself is set anew: in the background of a script it is ignored to begin with.
    """
    signals = (signal.SIGTERM, signal.SIGINT)
    ours = os.getpid()

    def interrupt(number: int, _: object) -> None:
        if os.getpid() != ours:
            # A worker that was forked, and inherits this.
            os._exit(128 + number)
        # Only once: `timeout` sends its signal twice, and the second would interrupt the cleaning up.
        for other in signals:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in signals:
        signal.signal(number, interrupt)


if __name__ == "__main__":
    turn_signals_into_interrupts()
    sys.exit(main(sys.argv[1:]))
