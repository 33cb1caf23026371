"""The same random and mutated bytes into wsbridge, wsproto, websockets, zlib, h11 and httptools.

    python3 conformance/run.py differential [--short] [--times X] [--seed N] [--jobs N]
        [--only frames heads requests ...] [--replay SEED:PART:INDEX]

What wsbridge makes of each stream of frames, compressed message, request head, and connection with several
requests and their bodies is compared with a literal reading of the standards, and with what the others make
of it: messages, answers, close codes; outcome, target, headers; bodies, and where parsing stops. Every kind
of disagreement is a ruling (rulings.toml) with the sentence that decides it. The exit code is 1 when no
ruling explains a disagreement, and the case is printed; --replay shows it again.

The report is conformance/reports/differential/index.html.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from typing import List, Sequence

from ..lib.environment import Unavailable, enter_environment, lock_folder, report_folder

REQUIREMENTS = ["wsproto==1.3.2", "websockets==17.4", "h11==0.16.0", "httptools==0.9.0"]

# How many cases of each part; one of compressed messages has two of them or more on average.
FULL = {"frames": 1_000_000, "deflate": 50_000, "sending": 25_000, "heads": 100_000, "requests": 100_000}
SHORT = {"frames": 60_000, "deflate": 4_000, "sending": 2_000, "heads": 8_000, "requests": 5_000}


def main(argv: List[str]) -> int:
    options = parse_arguments(argv)
    if sys.version_info < (3, 11):
        raise Unavailable("the peers need Python 3.11 or newer: run this check with one")
    enter_environment("differential", REQUIREMENTS)
    from .page import print_summary, write_page
    from .work import print_case, run_parts

    if options.replay:
        seed, part, index = options.replay
        return print_case(part, int(seed), int(index))
    basis = SHORT if options.short else FULL
    counts = {part: round(basis[part] * options.times) for part in options.only}
    # Of the run that the README quotes, the report is kept apart.
    is_full = all(counts.get(part, 0) >= count for part, count in FULL.items())
    folder = report_folder("differential" if is_full else "differential-partial")
    lock_folder(folder)
    started = time.monotonic()
    tally = run_parts(counts, options.seed, options.jobs)
    seconds = round(time.monotonic() - started)
    print_summary(tally)
    facts = {"seed": options.seed, "seconds": seconds, "processes": options.jobs}
    path = write_page(folder, tally, REQUIREMENTS, facts)
    print(f"seed {options.seed}, {seconds / 60:.1f} minutes\nreport: {path}")
    if tally.is_interrupted:
        print("interrupted: these are the cases until then")
        return 130
    return 1 if tally.unexplained else 0


def parse_arguments(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py differential")
    parser.add_argument("--short", action="store_true", help="a part of everything, about a minute")
    parser.add_argument("--times", type=float, default=1.0, help="so many times as many cases (1)")
    parser.add_argument("--seed", type=int, default=1, help="of every random choice (1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (one for each core)")
    parser.add_argument("--only", nargs="+", choices=FULL, default=list(FULL), help="the parts (all)")
    parser.add_argument(
        "--replay", type=parse_name, metavar="SEED:PART:INDEX", help="one case: its bytes, and the outcomes"
    )
    return parser.parse_args(argv)


def parse_name(name: str) -> Sequence[str]:
    match = re.fullmatch(rf"(-?[0-9]+):({'|'.join(FULL)}):([0-9]+)", name)
    if match is None:
        raise argparse.ArgumentTypeError(f"{name!r} is not SEED:PART:INDEX, PART one of {', '.join(FULL)}")
    return match.groups()
