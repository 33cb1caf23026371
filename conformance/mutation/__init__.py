"""Mutation testing of wsbridge/protocols with cosmic-ray: what no test notices is listed, with the reason.

    python3 conformance/run.py mutation [--modules frames ws ...] [--short | --again] [--seed N] [--jobs N]
        [--update]

cosmic-ray makes every change its operators know (a comparison, a number, an `and`, an exception...), one at a
time, to a copy of wsbridge/ and tests/, and the module's tests must fail. The survivors stand in
conformance/mutation-survivors.json, each with a reason; --update adds new ones there, without a reason, and
removes those that are killed or no more. --again tries only what survived the last run, and keeps what that
found of the others, in modules that have not changed since. The report is
conformance/reports/mutation/index.html. The exit code is 1 where fewer than 95 % are killed (not looked at
with --short, which tries 200 mutants picked by --seed), where a survivor is not in the list, and where one in
the list has no reason.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import sys
import time
from pathlib import Path
from typing import List, Sequence

from ..lib.environment import Unavailable, enter_environment, lock_folder, report_folder
from .last_run import load_killed, save_outcomes
from .outcomes import Outcome
from .survivors import Comparison, compare_survivors, load_survivors, save_survivors
from .trial import MODULES

# What mutants there are depends on cosmic-ray and on the parser it uses.
REQUIREMENTS = ["cosmic-ray==8.7.0", "parso==0.8.7", "sqlalchemy==2.1.9"]

LEAST_KILLED = 0.95
SHORT_COUNT = 200
SHOWN = 20


def main(argv: List[str]) -> int:
    options = parse_options(argv)
    if sys.version_info < (3, 11):
        raise Unavailable("sqlalchemy, as pinned, needs Python 3.11 or newer: run this check with one")
    enter_environment("mutation", REQUIREMENTS)
    # What imports cosmic-ray can be imported only from here on.
    from .mutants import find_mutants, name_mutant, try_mutants
    from .page import build_page

    os.nice(max(0, 5 - os.nice(0)))
    print(f"seed {options.seed}")
    folder = open_folder()
    started = time.monotonic()
    copy = find_mutants(folder / "copy", options.modules)
    last = folder / "last.json"
    earlier = load_killed(last, copy.sources) if options.again else {}
    names = {(mutant.module_path.stem, name_mutant(mutant)): mutant for mutant in copy.mutants}
    outcomes = [earlier[name] for name in names if name in earlier]
    picked = [mutant for name, mutant in names.items() if name not in earlier]
    random.Random(options.seed).shuffle(picked)
    listed = load_survivors()
    picked = picked[:SHORT_COUNT] if options.short else picked
    outcomes += try_mutants(picked, copy.durations, listed, options.jobs)
    outcomes.sort(key=lambda outcome: (outcome.module, outcome.line))
    seconds = time.monotonic() - started
    comparison = compare_survivors(outcomes, listed, options.modules, is_whole=not options.short)
    if not options.short:
        save_outcomes(last, copy.sources, outcomes)
    if options.update:
        save_survivors(comparison.updated)
    page = build_page(outcomes, comparison, describe_run(options), seconds)
    for outcome in comparison.unlisted:
        print(f"survived and is not listed: {outcome.key.describe()}")
    for key in comparison.unreasoned:
        print(f"listed without a reason: {key.describe()}")
    for key in comparison.gone[:SHOWN]:
        print(f"listed, and exists no more or is killed: {key.describe()}")
    if len(comparison.gone) > SHOWN:
        print(f"and {len(comparison.gone) - SHOWN} more of these: see the report")
    for module in options.modules:
        print(f"{module:<10} {describe_share([outcome for outcome in outcomes if outcome.module == module])}")
    print(f"{'all':<10} {describe_share(outcomes)}, in {seconds / 60:.1f} minutes")
    print(f"report: {page.write(folder / 'index.html')}")
    return 0 if is_good(outcomes, comparison, options) else 1


def describe_share(outcomes: Sequence[Outcome]) -> str:
    killed = sum(outcome.is_killed for outcome in outcomes)
    return f"{killed} of {len(outcomes)} mutants killed: {killed / max(1, len(outcomes)):.1%}"


def parse_options(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py mutation", description=__doc__.splitlines()[0])
    parser.add_argument("--modules", nargs="+", choices=MODULES, default=list(MODULES), metavar="NAME")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_COUNT} mutants, picked by the seed")
    parser.add_argument("--again", action="store_true", help="only what survived the last run")
    seed = random.randrange(1 << 32)
    parser.add_argument("--seed", type=int, default=seed, help="the order, and what --short picks")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    parser.add_argument("--update", action="store_true", help="write the list of survivors; not with --short")
    options = parser.parse_args(argv)
    if options.short and (options.update or options.again):
        parser.error("--short goes with neither --update nor --again: they need all mutants of a module")
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    return options


def open_folder() -> Path:
    """Return the report's folder, emptied, and this process's alone until it ends."""
    folder = report_folder("mutation")
    lock_folder(folder)
    shutil.rmtree(folder / "copy", ignore_errors=True)
    return folder


def describe_run(options: argparse.Namespace) -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    what = f", {SHORT_COUNT} mutants" if options.short else ", survivors again" if options.again else ""
    return (
        f"{REQUIREMENTS[0]}, {REQUIREMENTS[1]}, {python}, seed {options.seed}{what}, {options.jobs} at a time"
    )


def is_good(outcomes: Sequence[Outcome], comparison: Comparison, options: argparse.Namespace) -> bool:
    killed = sum(outcome.is_killed for outcome in outcomes)
    enough = options.short or killed >= LEAST_KILLED * len(outcomes)
    return enough and not comparison.unlisted and not comparison.unreasoned
