"""Autobahn, both roles, under every Python that wsbridge supports, PyPy and uvloop: sections 1 to 7 and 10.

    python3 conformance/run.py autobahn-matrix [--python PATH ...] [arguments of autobahn: --cases, --jobs]

Without --python: CPython 3.9 to 3.14 from PATH or pyenv, pypy3, and uvloop under the Python of this call;
all but 3.14 must be there. Reports and exit code are those of `autobahn`, one report for each.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from typing import Dict, List, Optional

from .autobahn import run_role
from .autobahn.wstest import find_python
from .lib.environment import Unavailable

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
OPTIONAL = "CPython 3.14"


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py autobahn-matrix", allow_abbrev=False)
    parser.add_argument("--python", nargs="+", metavar="PATH", help="these interpreters and no others")
    options, more = parser.parse_known_args(["--cases", "quick", *argv])
    lines, worst = [], 0
    for name, python in find_pythons(options.python).items():
        if python is None:
            lines.append(f"  {name:<16} not on this machine: pyenv install, or apt-get install pypy3")
            worst = max(worst, int(name != OPTIONAL))
            continue
        for role in ("server", "client"):
            print(f"== {name}, {role}", flush=True)
            started = time.monotonic()
            loop = "uvloop" if name == "uvloop" else "asyncio"
            try:
                code = run_role(role, ["--python", python, "--loop", loop, *more])
            except Unavailable as error:
                print(f"  {error}")
                code = 2
            worst = max(worst, code)
            verdict = {0: "as it should be", 2: "could not run"}.get(code, "SHORTFALL")
            lines.append(f"  {name:<16} {role}: {verdict} ({time.monotonic() - started:.0f} s)")
    print("\n".join(["", *lines]))
    return worst


def find_pythons(asked: Optional[List[str]]) -> Dict[str, Optional[str]]:
    """Return {name: interpreter, None where it is not here} of each place of the matrix."""
    if asked:
        return {python: python for python in asked}
    found = {f"CPython {version}": find_python(version) for version in VERSIONS}
    return {**found, "PyPy": shutil.which("pypy3"), "uvloop": sys.executable}
