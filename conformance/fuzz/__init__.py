"""Invariants under fuzzing: any pieces, documented exceptions, round trips, linear time, bounded memory.

    python3 conformance/run.py fuzz [--short] [--seed N] [--jobs N] [--only hypothesis|atheris|linear|memory]
        [--examples N] [--seconds N] [pytest's arguments]

Every check is a test of pytest. What takes bytes from outside is checked by hypothesis in connections.py,
heads.py, bodies.py, fields.py and payloads.py, what is built and parsed again in round_trips.py and
dialogues.py; guided.py searches for inputs of the same tests by coverage. linear.py measures what could be
slow, which adversaries.py lists, memory.py what could be large, and budget.py a whole server's memory.

The report is conformance/reports/fuzz/index.html, or fuzz-partial, so that only a full run replaces the
report of one; beside it atheris keeps its corpora, with which a later run of that kind begins.
The seed that is printed shows a finding again, and so does the line of `@reproduce_failure` with it.
"""

from __future__ import annotations

import argparse
import os
import secrets
from pathlib import Path
from typing import List

from ..lib.environment import enter_environment, lock_folder, report_folder

# Of what pytest and hypothesis need, only these versions have an influence on what is found.
REQUIREMENTS = [
    "pytest==8.4.2",
    "pytest-html==4.1.1",
    "pytest-xdist==3.8.0",
    "hypothesis==6.141.1; python_version < '3.10'",
    "hypothesis==6.168.5; python_version == '3.10'",
    "hypothesis==6.170.15; python_version > '3.10'",
]
# Wheels for CPython on Linux, of a version that depends on Python's.
ATHERIS = [
    "atheris==2.3.0; python_version < '3.11'",
    "atheris==3.0.0; python_version == '3.11'",
    "atheris==3.1.0; python_version > '3.11'",
]

PARTS = {
    "hypothesis": ["connections", "heads", "bodies", "fields", "payloads", "round_trips", "dialogues"],
    "atheris": ["guided"],
    "linear": ["linear"],
    "memory": ["memory", "budget"],
}


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="run.py fuzz",
        description=(__doc__ or "").splitlines()[0],
        epilog="Further arguments are pytest's: -k WORDS, -x ...; and --examples N, of each property ("
        "600, short 25), --seconds N, of each guided search (20, short 4).",
        allow_abbrev=False,
    )
    parser.add_argument("--short", action="store_true", help="a minute or two of everything")
    parser.add_argument("--seed", type=int, help="what all choices follow from (default: a new one, printed)")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part; may come again")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (2)")
    options, more = parser.parse_known_args(argv)
    parts = options.only or list(PARTS)
    name = "fuzz" if "atheris" in parts else "fuzz-without-atheris"
    requirements = [*REQUIREMENTS, *(ATHERIS if "atheris" in parts else [])]
    enter_environment(name, requirements, only_binary=True)
    import pytest

    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    folder = report_folder("fuzz-partial" if options.short or options.only or more else "fuzz")
    lock_folder(folder)
    # What hypothesis would keep in the current folder.
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(folder / "hypothesis")
    # For linear.py: what malloc gives back to the system has to be mapped again, page by page, which takes
    # longer than anything else there; mallopt(3).
    os.environ.update(MALLOC_TRIM_THRESHOLD_=str(2**31 - 1), MALLOC_MMAP_MAX_="0")
    modules = [f"{Path(__file__).parent / module}.py" for part in parts for module in PARTS[part]]
    arguments = [f"--hypothesis-seed={seed}", f"--folder={folder}", *(["--short"] if options.short else [])]
    arguments += ["-q", "-p", "no:cacheprovider", f"--numprocesses={options.jobs}", "--dist=worksteal"]
    arguments += [f"--html={folder / 'index.html'}", "--self-contained-html"]
    print(f"seed {seed}", flush=True)
    code = pytest.main([*arguments, *more, *modules])
    if code == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    # Nothing checked is as bad as a finding.
    return {pytest.ExitCode.OK: 0, pytest.ExitCode.USAGE_ERROR: 2}.get(code, 1)
