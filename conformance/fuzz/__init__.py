"""Invariants under fuzzing: any pieces, documented exceptions, round trips, linear time, bounded memory.

    python3 conformance/run.py fuzz [--short] [--seed N] [--examples N] [--seconds N] [--jobs N]
        [--only hypothesis|atheris|linear|memory] [--target WORDS] [--without-atheris]
    python3 conformance/run.py fuzz --replay TARGET VARIANT HEX

The entries that take bytes from outside are in targets.py, what hypothesis draws for them in strategies.py,
what is built and parsed again in roundtrips.py and dialogues.py, what could be slow in adversaries.py, what
could be large in memory_cases.py; how processes end is in processes.py. The report is
conformance/reports/fuzz/index.html, or fuzz-short or fuzz-partial, so that only a full run replaces the
report of one; beside it atheris keeps its corpora, with which a later run of that kind begins. A finding is
printed with the command that shows it again.
"""

from __future__ import annotations

import argparse
import resource
import secrets
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Tuple

from ..lib.environment import (
    Unavailable,
    ensure_environment,
    enter_environment,
    lock_folder,
    report_folder,
    say_line,
)

if TYPE_CHECKING:
    from .page import Run

# atheris has wheels for CPython on Linux, of a version that depends on Python's.
HYPOTHESIS: Dict[Tuple[int, int], List[str]] = {
    (3, 9): ["hypothesis==6.141.1", "attrs==26.1.0", "sortedcontainers==2.4.0", "exceptiongroup==1.3.1"],
    (3, 10): ["hypothesis==6.168.5", "sortedcontainers==2.4.0", "exceptiongroup==1.3.1"],
}
NEWER_HYPOTHESIS = ["hypothesis==6.170.15", "sortedcontainers==2.4.0"]
ATHERIS = {(3, 9): "2.3.0", (3, 10): "2.3.0", (3, 11): "3.0.0", (3, 12): "3.1.0", (3, 13): "3.1.0"}

EXAMPLES, SECONDS = 600, 20
SHORT_EXAMPLES, SHORT_SECONDS = 25, 4

PARTS = ("hypothesis", "atheris", "linear", "memory")
# Of a short run: the entries that a peer reaches after the handshake, and the handshake.
SHORT_SEARCHES = (
    ("server", "raw"),
    ("server-deflate", "raw"),
    ("server-handshake", "raw"),
    ("dialogues", "drawn"),
)
# Of a short run: the cases of memory of hostile input that no other one includes; tracing is slow.
SHORT_CASES = (
    "binary frame in one piece",
    "ASCII, then one astral",
    "zeros, four times the limit",
    "blocks 00 00 00 ff ff",
    "a claim of 2**62 bytes",
    "a promise of 16 MiB",
    "messages of 1 byte",
    "empty fragments",
    "PINGs, writing paused",
    "one header line, byte by byte",
    "90 header lines",
)


def main(argv: List[str]) -> int:
    options = parse_arguments(argv)
    enter(options.parts, options.without_atheris)
    if options.replay:
        return replay(*options.replay)
    from .page import Run, write_report

    started = time.monotonic()
    run = Run(options.seed, shlex.join(["fuzz", *argv]))
    folder = report_folder(name_report(options))
    lock_folder(folder)
    print(f"seed {options.seed}", flush=True)
    for part in PARTS:
        if part in options.parts:
            RUNNERS[part](options, run, folder)
    run.seconds = time.monotonic() - started
    run.processor_seconds = read_processor_seconds()
    for finding in run.findings:
        print("\n".join(finding.to_lines()))
    path = write_report(run, folder)
    checked = len(run.outcomes) + len(run.searches) + len(run.slopes) + len(run.peaks)
    took = f"{run.seconds / 60:.1f} minutes ({run.processor_seconds / 60:.1f} of processor time)"
    print(f"{checked} checks in {took}, {len(run.findings)} findings\nreport: {path}")
    return 1 if run.findings or not checked else 0


def parse_arguments(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a minute or two of everything")
    parser.add_argument("--seed", type=int, help="what all choices follow from (default: a new one, printed)")
    parser.add_argument("--examples", type=int, help="of each property (default 600, short 25)")
    parser.add_argument("--seconds", type=int, help="of each guided search (default 20, short 4)")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part; may come again")
    parser.add_argument("--target", default="", metavar="WORDS", help="only what has these words in its name")
    parser.add_argument(
        "--jobs", type=int, default=2, help="processes at a time, but for memory, which is one (2)"
    )
    parser.add_argument("--without-atheris", action="store_true", help="leave out what needs its wheel")
    parser.add_argument("--replay", nargs=3, metavar=("TARGET", "VARIANT", "HEX"), help="check one input")
    options = parser.parse_args(argv)
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    if options.seed is None:
        options.seed = secrets.randbelow(2**32)
        # The process may begin again in its environment, and must keep its choice.
        sys.argv += ["--seed", str(options.seed)]
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
    """Go on under a Python that has hypothesis and, where there is a wheel and nobody minds, atheris."""
    found = sys.version_info[:2]
    requirements = list(HYPOTHESIS.get(found, NEWER_HYPOTHESIS))
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


def read_processor_seconds() -> float:
    """Of this process and of all that it has started and seen end."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def run_hypothesis(options: argparse.Namespace, run: Run, folder: Path) -> None:
    from . import properties

    names = [name for name in properties.list_properties() if options.target in name]
    if names:
        run.outcomes = properties.run_all(names, options.seed, options.examples, options.jobs)


def run_atheris(options: argparse.Namespace, run: Run, folder: Path) -> None:
    from . import guided, properties

    searches = guided.list_searches([name for name in properties.list_properties() if options.target in name])
    if options.short:
        searches = [search for search in searches if search in SHORT_SEARCHES]
    if searches:
        corpora = folder / "corpora"
        run.searches = guided.run_all(searches, corpora, options.seed, options.seconds, options.jobs)


def run_linear(options: argparse.Namespace, run: Run, folder: Path) -> None:
    from . import linear
    from .adversaries import ADVERSARIES

    chosen = [adversary for adversary in ADVERSARIES if options.target in adversary.name]
    if chosen:
        run.slopes = linear.run_all(chosen, options.short, options.jobs)


def run_memory(options: argparse.Namespace, run: Run, folder: Path) -> None:
    from . import memory

    chosen = [case for case in memory.CASES if options.target in case.name]
    if options.short:
        chosen = [case for case in chosen if case.name in SHORT_CASES]
    if chosen:
        run.peaks = memory.run_all(chosen)


RUNNERS = {"hypothesis": run_hypothesis, "atheris": run_atheris, "linear": run_linear, "memory": run_memory}


def replay(name: str, variant: str, data: str) -> int:
    """Check one input of a target, as a finding names it, and show what is wrong where."""
    from .findings import Violation
    from .targets import TARGETS, check

    if name not in TARGETS:
        raise Unavailable(f"no target named {name!r}; there are: {', '.join(TARGETS)}")
    target, given = TARGETS[name], bytes.fromhex("" if data == "empty" else data)
    print(target.describe(int(variant), given))
    try:
        check(target, int(variant), given)
    except Violation as violation:
        say_line(f"{violation}", final=True)
        return 1
    print("all invariants hold")
    return 0
