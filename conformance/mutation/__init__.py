"""Mutation testing with cosmic-ray: which changes to wsbridge no test notices, and why.

    python3 conformance/run.py mutation [--modules asgi server/connection/head ...] [--again] [--jobs N]
        [--update]

cosmic-ray makes every change its operators know (a comparison, a number, an `and`, an exception ...), one at
a time, to a copy of wsbridge/, and the tests of the changed module must fail. The survivors stand in
conformance/mutation-survivors.json, each with a reason; --update adds new ones there, without a reason, and
removes those that are killed or gone. --again tries only what survived the last run, or what it left when it
was interrupted; for that the modules must not have changed since. cosmic-ray's own report of the survivors is
conformance/reports/mutation/index.html; its session lies beside it, for `cr-report` and the like. The exit
code is 1 where fewer than 95 % are killed, where a survivor is not in the list, and where one in the list has
no reason.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from typing import List, Sequence

from ..lib.environment import Unavailable, enter_environment, lock_folder, report_folder
from .survivors import Outcome, has_class, load_survivors, save_survivors
from .tests import find_tests

# What mutants there are depends on cosmic-ray and on the parser it uses.
REQUIREMENTS = ["cosmic-ray==8.7.0", "parso==0.8.7", "sqlalchemy==2.1.9"]

LEAST_KILLED = 0.95


def main(argv: List[str]) -> int:
    tests = find_tests()
    options = parse_options(argv)
    modules = [module for module in tests if any(_is_below(module, place) for place in options.modules)]
    if not modules:
        raise Unavailable(f"no module with tests of its own in {' '.join(options.modules)}")
    if sys.version_info < (3, 11):
        raise Unavailable("sqlalchemy, as pinned, needs Python 3.11 or newer: run this check with one")
    enter_environment("mutation", REQUIREMENTS)
    # cosmic-ray can be imported only from here on.
    from cosmic_ray.tools.html import report_html

    from .mutants import try_modules

    os.nice(max(0, 5 - os.nice(0)))
    folder = report_folder("mutation")
    lock_folder(folder)
    started = time.monotonic()
    outcomes = try_modules(folder, {module: tests[module] for module in modules}, options.jobs, options.again)
    if not outcomes:
        raise Unavailable(f"no mutants in {' '.join(options.modules)}")
    minutes = (time.monotonic() - started) / 60
    listed = load_survivors()
    survived = dict.fromkeys(outcome.key for outcome in outcomes if not outcome.is_killed)
    # Also those of modules that have moved.
    gone = [
        key for key in listed if key not in survived and (key.module in modules or key.module not in tests)
    ]
    unlisted = [key for key in survived if key not in listed]
    unreasoned = [key for key, reason in listed.items() if not has_class(reason)]
    if options.update:
        kept = {key: reason for key, reason in listed.items() if key not in gone}
        save_survivors({**kept, **dict.fromkeys(unlisted, "")})
    for complaint, keys in (
        ("survived and is not listed", unlisted),
        ("listed without a reason", unreasoned),
        ("listed, and exists no more or is killed", gone),
    ):
        for key in keys:
            print(f"{complaint}: {key.describe()}")
    print_counts(outcomes)
    page = folder / "index.html"
    with open(page, "w", encoding="utf-8") as output, contextlib.redirect_stdout(output):
        arguments = ["--only-completed", "--skip-success", "--hide-skipped", str(folder / "session.sqlite")]
        report_html.main(arguments, standalone_mode=False)
    print(f"{minutes:.1f} minutes; report: {page}")
    enough = sum(outcome.is_killed for outcome in outcomes) >= LEAST_KILLED * len(outcomes)
    return 0 if enough and not unlisted and not unreasoned else 1


def parse_options(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py mutation", description=__doc__.splitlines()[0])
    places = ["protocols", "asgi", "server", "plugins", "config", "config_rules", "config_checks"]
    parser.add_argument("--modules", nargs="+", default=places, metavar="PLACE", help="modules or folders")
    parser.add_argument("--again", action="store_true", help="only what the last run has not killed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    parser.add_argument("--update", action="store_true", help="write the list of survivors")
    return parser.parse_args(argv)


def _is_below(module: str, place: str) -> bool:
    return f"{module}/".startswith(f"{place.rstrip('/')}/")


def print_counts(outcomes: Sequence[Outcome]) -> None:
    modules = sorted({outcome.key.module for outcome in outcomes})
    for name, chosen in [*((module, [module]) for module in modules), ("all", modules)]:
        verdicts = [outcome.is_killed for outcome in outcomes if outcome.key.module in chosen]
        killed, mutants = sum(verdicts), len(verdicts)
        print(f"{name:<32} {killed:>5} of {mutants:>5} mutants killed: {killed / mutants:.1%}")
