"""A state machine does anything to one connection in any order, and checks that nothing is lost (hypothesis).

    python3 conformance/run.py stateful [--short] [--steps N] [--seed N]

The real server runs on an event loop without sockets whose time and turns are the machine's, cancellation at
every await included. machine.py is about one WebSocket; http_machine.py, in every third batch, about requests
with bodies on a connection that is kept alive. A failure is printed as the shortest program of steps that
shows it, with the seed that finds it again (`--steps 1 --seed SEED`). The report is
conformance/reports/stateful/index.html.
"""

from __future__ import annotations

import argparse
import faulthandler
import secrets
import sys
import time
from typing import List

from conformance.lib.environment import Unavailable, enter_environment, lock_folder, report_folder, say_line

REQUIREMENTS = ["hypothesis==6.170.15", "sortedcontainers==2.4.0"]
FULL_STEPS, SHORT_STEPS = 100_000, 50_000
WHOLE_SECONDS = 5400.0


def main(argv: List[str]) -> int:
    options = parse_arguments(argv)
    if sys.implementation.name != "cpython" or sys.version_info < (3, 11):
        raise Unavailable("the pinned hypothesis needs CPython 3.11 or newer: run this check with one")
    enter_environment("stateful", REQUIREMENTS)
    is_full = options.steps >= FULL_STEPS
    folder = report_folder("stateful" if is_full else "stateful-short")
    lock_folder(folder)
    # A step that never ends is shown where it stands.
    faulthandler.dump_traceback_later(WHOLE_SECONDS, exit=True)
    from .batches import run_batches
    from .page import find_gaps, write_page

    say_line(f"stateful: {options.steps} steps, seed {options.seed}", final=True)
    started = time.monotonic()
    failure = run_batches(options.steps, options.seed)
    faulthandler.cancel_dump_traceback_later()
    if failure:
        print(failure)
    gaps = find_gaps()
    print("\n".join(gaps) or "every invariant was checked, and tasks were cancelled at every await")
    print(f"report: {write_page(folder / 'index.html', options.seed, time.monotonic() - started, failure)}")
    # A short run need not come by everywhere.
    return 1 if failure or (gaps and is_full) else 0


def parse_arguments(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py stateful", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, help=f"steps in all ({FULL_STEPS})")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_STEPS} steps, half a minute")
    parser.add_argument("--seed", type=int, help="of the first batch of programs (random, printed)")
    options = parser.parse_args(argv)
    options.steps = options.steps or (SHORT_STEPS if options.short else FULL_STEPS)
    if options.seed is None:
        options.seed = secrets.randbelow(10**6)
    return options
