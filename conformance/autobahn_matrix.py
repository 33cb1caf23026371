"""Autobahn, both roles, under every Python that wsbridge supports, PyPy and uvloop: sections 1 to 7 and 10.

    python3 conformance/run.py autobahn-matrix [--python PATH ...] [--cases PATTERN ...] [--check] [--jobs N]

Without --python: CPython 3.9 to 3.14 from PATH or pyenv, pypy3, and uvloop under the Python of this call;
all but 3.14 must be there. Reports and exit code are those of `autobahn`, one report for each.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from typing import List, NamedTuple, Optional, Tuple

from .autobahn import run_role
from .autobahn.targets import find_python
from .lib.environment import Unavailable, describe_python

OPTIONAL = (3, 14)
VERSIONS = [*((3, minor) for minor in range(9, 14)), OPTIONAL]


class Entry(NamedTuple):
    """One place of the matrix."""

    name: str
    python: str
    loop: str = "asyncio"


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py autobahn-matrix")
    parser.add_argument("--python", nargs="+", metavar="PATH", help="these interpreters and no others")
    parser.add_argument("--cases", nargs="+", default=["quick"], metavar="PATTERN")
    parser.add_argument("--check", action="store_true", help="fail on differences from the recorded results")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args(argv)
    entries, missing = find_entries(options.python)
    more = ["--jobs", str(options.jobs), *(["--check"] if options.check else []), "--cases", *options.cases]
    lines = []
    worst = 1 if missing else 0
    for entry in entries:
        for role in ("server", "client"):
            print(f"== {entry.name}, {role}", flush=True)
            started = time.monotonic()
            try:
                code = run_role(role, ["--python", entry.python, "--loop", entry.loop, *more])
            except Unavailable as error:
                print(f"  {error}")
                code = 2
            worst = max(worst, code)
            verdict = {0: "as it should be", 2: "could not run"}.get(code, "SHORTFALL")
            lines.append(f"  {entry.name:<16} {role}: {verdict} ({time.monotonic() - started:.0f} s)")
    for name in missing:
        lines.append(f"  {name:<16} not on this machine: pyenv install, or apt-get install pypy3")
    print("\n".join(["", *lines]))
    return worst


def find_entries(pythons: Optional[List[str]]) -> Tuple[List[Entry], List[str]]:
    """Return the matrix's entries, and the names of the required interpreters that are not here."""
    if pythons:
        return [Entry(_name(python), python) for python in pythons], []
    found = {"CPython {}.{}".format(*version): find_python(version) for version in VERSIONS}
    found["PyPy"] = shutil.which("pypy3")
    entries = [Entry(name, python) for name, python in found.items() if python is not None]
    optional = "CPython {}.{}".format(*OPTIONAL)
    missing = [name for name, python in found.items() if python is None and name != optional]
    return [*entries, Entry("uvloop", sys.executable, "uvloop")], missing


def _name(python: str) -> str:
    implementation, major, minor, _, _ = describe_python(python)
    return f"{implementation} {major}.{minor}"
