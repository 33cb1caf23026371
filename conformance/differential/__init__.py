"""The same random and mutated bytes into wsbridge, wsproto, websockets, zlib, h11 and httptools.

    python3 conformance/run.py differential [--short] [--seed N] [--jobs N] [--only frames heads ...]
        [--frames N] [--heads N] [--messages N] [--replay SEED:PART:INDEX]

What wsbridge makes of each stream of frames, compressed message and request head is compared with a
literal reading of the standards, and with what the others make of it: messages, answers, close codes;
outcome, target, headers. Every kind of disagreement is a ruling (rulings.toml) with the sentence that decides
it. The exit code is 1 when no ruling explains a disagreement, and the case is printed; --replay shows it
again. The report is conformance/reports/differential/index.html.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from typing import Dict, List, Sequence

from ..lib.environment import Unavailable, enter_environment, lock_folder, report_folder

REQUIREMENTS = ["wsproto==1.3.2", "websockets==17.4", "h11==0.16.0", "httptools==0.9.0"]

FULL = {"frames": 1_000_000, "heads": 100_000, "messages": 100_000}
SHORT = {"frames": 60_000, "heads": 10_000, "messages": 8_000}
PARTS = ("frames", "deflate", "sending", "heads")


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
    counts = count_cases(options)
    folder = report_folder("differential" if is_full(counts) else "differential-partial")
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
    parser.add_argument("--seed", type=int, default=1, help="of every random choice (1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one for each core)")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help="of: %(choices)s"
    )
    parser.add_argument("--frames", type=int, help=f"streams ({FULL['frames']:,})")
    parser.add_argument("--heads", type=int, help=f"request heads ({FULL['heads']:,})")
    parser.add_argument("--messages", type=int, help=f"compressed messages, at least ({FULL['messages']:,})")
    parser.add_argument(
        "--replay", type=parse_name, metavar="SEED:PART:INDEX", help="one case: its bytes, and the outcomes"
    )
    options = parser.parse_args(argv)
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    for name, default in (SHORT if options.short else FULL).items():
        if getattr(options, name) is None:
            setattr(options, name, default)
    return options


def parse_name(name: str) -> Sequence[str]:
    match = re.fullmatch(rf"(-?[0-9]+):({'|'.join(PARTS)}):([0-9]+)", name)
    if match is None:
        raise argparse.ArgumentTypeError(f"{name!r} is not SEED:PART:INDEX, PART of {', '.join(PARTS)}")
    return match.groups()


def is_full(counts: Dict[str, int]) -> bool:
    """Whether so many cases are a run that the README may quote."""
    least = {"frames": FULL["frames"], "deflate": FULL["messages"] // 2, "heads": FULL["heads"]}
    return all(counts.get(name, 0) >= count for name, count in least.items())


def count_cases(options: argparse.Namespace) -> Dict[str, int]:
    """How many cases of each part; one of compressed messages has two of them or more on average."""
    counts = {
        "frames": options.frames,
        "deflate": options.messages // 2,
        "sending": options.messages // 4,
        "heads": options.heads,
    }
    return {name: count for name, count in counts.items() if name in options.only}
