"""Invariants under fuzzing: any pieces, documented exceptions, round trips, linear time, bounded memory.

    python3 conformance/run.py fuzz [--short] [--seed N] [--examples N] [--seconds N] [--jobs N]
        [--only hypothesis|atheris|linear|memory] [--target WORDS] [--without-atheris]

Every check is a test of pytest. What takes bytes from outside is checked by hypothesis in connections.py,
heads.py, fields.py and payloads.py, what is built and parsed again in round_trips.py and dialogues.py;
guided.py searches for inputs of the same tests by coverage. linear.py measures what could be slow, which
adversaries.py lists, and memory.py what could be large.

The report is conformance/reports/fuzz/index.html, or fuzz-short or fuzz-partial, so that only a full run
replaces the report of one; beside it atheris keeps its corpora, with which a later run of that kind begins.
The seed that is printed shows a finding again, and so does the line of `@reproduce_failure` with it.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
import sys
from pathlib import Path
from typing import Dict, List, Tuple

from ..lib.environment import Unavailable, ensure_environment, enter_environment, lock_folder, report_folder

# Of what pytest and hypothesis need, only these versions have an influence on what is found.
PYTEST = ["pytest==8.4.2", "pytest-xdist==3.8.0"]
HYPOTHESIS: Dict[Tuple[int, int], str] = {(3, 9): "hypothesis==6.141.1", (3, 10): "hypothesis==6.168.5"}
NEWER_HYPOTHESIS = "hypothesis==6.170.15"
# atheris has wheels for CPython on Linux, of a version that depends on Python's.
ATHERIS = {(3, 9): "2.3.0", (3, 10): "2.3.0", (3, 11): "3.0.0", (3, 12): "3.1.0", (3, 13): "3.1.0"}

EXAMPLES, SECONDS = 600, 20
SHORT_EXAMPLES, SHORT_SECONDS = 25, 4

PARTS = {
    "hypothesis": ["connections", "heads", "fields", "payloads", "round_trips", "dialogues"],
    "atheris": ["guided"],
    "linear": ["linear"],
    "memory": ["memory"],
}


def main(argv: List[str]) -> int:
    options = parse_arguments(argv)
    enter(options.parts, options.without_atheris)
    import pytest

    from .page import Report

    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    folder = report_folder(name_report(options))
    lock_folder(folder)
    # What hypothesis would keep in the current folder.
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(folder / "hypothesis")
    modules = [f"{Path(__file__).parent / module}.py" for part in options.parts for module in PARTS[part]]
    arguments = [f"--hypothesis-seed={seed}", f"--target={options.target}", f"--folder={folder}"]
    arguments += [f"--examples={options.examples}", f"--seconds={options.seconds}"]
    arguments += ["--short"] if options.short else []
    arguments += ["-q", "-p", "no:cacheprovider", f"--numprocesses={options.jobs}", "--dist=worksteal"]
    report = Report(folder, f"seed {seed}; {shlex.join(['fuzz', *argv])}")
    print(f"seed {seed}", flush=True)
    code = pytest.main([*arguments, *modules], plugins=[report])
    # Nothing checked is as bad as a finding; the other codes mean the same to run.py.
    return 1 if code == pytest.ExitCode.NO_TESTS_COLLECTED else int(code)


def parse_arguments(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a minute or two of everything")
    parser.add_argument("--seed", type=int, help="what all choices follow from (default: a new one, printed)")
    parser.add_argument("--examples", type=int, help="of each property (default 600, short 25)")
    parser.add_argument("--seconds", type=int, help="of each guided search (default 20, short 4)")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part; may come again")
    parser.add_argument("--target", default="", metavar="WORDS", help="only what has these words in its name")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (2)")
    parser.add_argument("--without-atheris", action="store_true", help="leave out what needs its wheel")
    options = parser.parse_args(argv)
    options.examples = options.examples or (SHORT_EXAMPLES if options.short else EXAMPLES)
    options.seconds = options.seconds or (SHORT_SECONDS if options.short else SECONDS)
    options.parts = options.only or list(PARTS)
    if options.without_atheris:
        options.parts = [part for part in options.parts if part != "atheris"]
    return options


def name_report(options: argparse.Namespace) -> str:
    """A run of all, a short one of all and any other have a folder each."""
    if options.target or set(options.parts) != set(PARTS):
        return "fuzz-partial"
    if options.short:
        return "fuzz-short"
    return "fuzz" if options.examples >= EXAMPLES and options.seconds >= SECONDS else "fuzz-partial"


def enter(parts: List[str], without_atheris: bool) -> None:
    """Go on under a Python that has pytest, hypothesis and, where there is a wheel for it, atheris."""
    found = sys.version_info[:2]
    requirements = [*PYTEST, HYPOTHESIS.get(found, NEWER_HYPOTHESIS)]
    has_wheel = found in ATHERIS and sys.platform == "linux" and sys.implementation.name == "cpython"
    if "atheris" in parts and not has_wheel:
        names = ", ".join(f"{major}.{minor}" for major, minor in ATHERIS)
        raise Unavailable(f"atheris has wheels for CPython {names} on Linux: use one, or --without-atheris")
    if has_wheel and not without_atheris:
        requirements.append(f"atheris=={ATHERIS[found]}")
    name = "fuzz-without-atheris" if without_atheris else "fuzz"
    # Builds it, and never from source; the next line finds it built.
    ensure_environment(name, requirements, only_binary=True)
    enter_environment(name, requirements)
