"""Autobahn, both roles, under every Python that wsbridge supports, PyPy and uvloop: sections 1 to 7 and 10.

    python3 conformance/run.py autobahn-matrix [--python PATH ...] [--cases PATTERN ...] [--check] [--jobs N]

Without --python: CPython 3.9 to 3.14 from PATH or pyenv, pypy3, and uvloop under the Python of this call;
all but 3.14 must be there. Reports and exit code are those of `autobahn`, one report for each.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path
from typing import List, NamedTuple, Optional, Tuple

from . import autobahn, autobahn_client
from .lib.environment import Unavailable, describe_python

SECTIONS = ["1", "2", "3", "4", "5", "6", "7", "10"]
REQUIRED = [(3, minor) for minor in range(9, 14)]
WANTED = [*REQUIRED, (3, 14)]


class Entry(NamedTuple):
    """One place of the matrix."""

    name: str
    python: str
    loop: str


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py autobahn-matrix")
    parser.add_argument("--python", nargs="+", metavar="PATH", help="these interpreters and no others")
    parser.add_argument("--cases", nargs="+", default=SECTIONS, metavar="PATTERN")
    parser.add_argument("--check", action="store_true", help="fail on differences from the recorded results")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args(argv)
    entries, missing = find_entries(options.python)
    lines = []
    worst = 0
    for entry in entries:
        for role, check in (("server", autobahn.main), ("client", autobahn_client.main)):
            arguments = ["--python", entry.python, "--loop", entry.loop, "--jobs", str(options.jobs)]
            arguments += ["--check"] if options.check else []
            started = time.monotonic()
            print(f"== {entry.name}, {role}", flush=True)
            try:
                code = check([*arguments, "--cases", *options.cases])
            except Unavailable as error:
                print(f"  {error}")
                code = 2
            worst = max(worst, code)
            verdict = {0: "as it should be", 2: "could not run"}.get(code, "SHORTFALL")
            lines.append(f"  {entry.name:<16} {role}: {verdict} ({time.monotonic() - started:.0f} s)")
    print("\n".join(["", *lines]))
    for name in missing:
        print(f"  {name:<16} not on this machine: pyenv install, or apt-get install pypy3")
    return worst or (1 if missing else 0)


def find_entries(pythons: Optional[List[str]]) -> Tuple[List[Entry], List[str]]:
    """Return the matrix's entries, and the names of the required interpreters that are not here."""
    if pythons:
        return [Entry(_name(python), python, "asyncio") for python in pythons], []
    entries, missing = [], []
    for version in WANTED:
        name = "CPython {}.{}".format(*version)
        python = find_python(version)
        if python is not None:
            entries.append(Entry(name, python, "asyncio"))
        elif version in REQUIRED:
            missing.append(name)
    pypy = shutil.which("pypy3")
    if pypy is not None:
        entries.append(Entry("PyPy", pypy, "asyncio"))
    else:
        missing.append("PyPy")
    entries.append(Entry("uvloop", sys.executable, "uvloop"))
    return entries, missing


def find_python(version: Tuple[int, int]) -> Optional[str]:
    """Return a CPython of that version from this process, PATH or pyenv, or None."""
    word = "{}.{}".format(*version)
    home = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    kept = sorted(map(str, home.glob(f"versions/{word}.*/bin/python")))
    for candidate in (sys.executable, shutil.which(f"python{word}"), *kept):
        if candidate and _is_python(candidate, version):
            return candidate
    return None


def _is_python(python: str, version: Tuple[int, int]) -> bool:
    try:
        implementation, major, minor, _, _ = describe_python(python)
    except Unavailable:
        return False
    return implementation == "CPython" and (major, minor) == version


def _name(python: str) -> str:
    implementation, major, minor, _, _ = describe_python(python)
    return f"{implementation} {major}.{minor}"
