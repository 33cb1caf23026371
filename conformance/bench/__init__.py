"""Measure wsbridge and its peers in one interleaved run: throughput, processor time, memory, the codec alone.

Servers run on core 0, the load generator on core 1; a page with plots and results.json are written to
conformance/reports/bench/. The exit code is 1 when a target that was measured is missed, except with --quick.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
from typing import List

from ..lib.environment import Unavailable, enter_environment, lock_folder, report_folder
from ..lib.peers import ENVIRONMENTS

FULL_ROUNDS, QUICK_ROUNDS = 7, 3


def main(argv: List[str]) -> int:
    options = parse_options(argv)
    enter_environment("bench", ENVIRONMENTS["bench"])
    # What imports the environment's packages can be imported only from here on.
    from . import pages, targets
    from .gathering import gather

    if len(os.sched_getaffinity(0)) < 2:
        raise Unavailable("two cores are needed: one for the servers, one for the load generator")
    lock_folder(report_folder("bench"))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    run = asyncio.run(gather(options))
    outcomes = targets.check_targets(run)
    pages.print_run(run, outcomes)
    print(f"report: {pages.write_run(run, outcomes)}")
    return 0 if options.quick or all(outcome.is_met is not False for outcome in outcomes) else 1


def parse_options(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py bench", description=(__doc__ or "").splitlines()[0])
    names = "separated by commas; globs work"
    parser.add_argument("--codec", action="store_true", help="the codecs alone, without servers")
    parser.add_argument("--quick", action="store_true", help="less of everything; targets are only printed")
    parser.add_argument("--peers", metavar="NAMES", help=f"servers, {names} (uvicorn*)")
    parser.add_argument("--workloads", metavar="NAMES", help=f"workloads, {names} (one-*)")
    parser.add_argument("--rounds", type=int, help=f"default {FULL_ROUNDS}, with --quick {QUICK_ROUNDS}")
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else FULL_ROUNDS)
    return options
