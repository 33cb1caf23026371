"""One process of a run: programs of steps until its share is done; its counts are lines of JSON on stdout."""

from __future__ import annotations

import gc
import json
import sys
from typing import Any, Dict, List

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.reporting import with_reporter
from hypothesis.stateful import run_state_machine_as_test

from .machine import Machine
from .records import logged
from .steps import tally

__all__ = ["run_share"]

STEPS_IN_A_PROGRAM = 50
PROGRAMS_IN_A_BATCH = 40
# Between the seeds of two batches; a batch is run again with its own seed and --steps 1.
SEED_STEP = 1000


def run_share(steps: int, first_seed: int) -> int:
    """Run batches, each with a seed of its own, until so many steps are done; a failure ends it."""
    logged.install()
    gc.collect()
    gc.freeze()
    number = first_seed
    while tally.steps < steps:
        failure = run_batch(number)
        say({"tally": tally.dump(), "failure": failure, "seed": number})
        if failure:
            return 1
        number += SEED_STEP
    return 0


def run_batch(number: int) -> str:
    """The shrunken program of a failure and what it breaks, or "" for none."""
    lines: List[object] = []
    machine = seed(number)(Machine)
    chosen = settings(
        max_examples=PROGRAMS_IN_A_BATCH,
        stateful_step_count=STEPS_IN_A_PROGRAM,
        phases=[Phase.generate, Phase.shrink],
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    try:
        with with_reporter(lines.append):
            run_state_machine_as_test(machine, settings=chosen)
    except Exception as error:
        program = [*lines, *getattr(error, "__notes__", ())]
        shown = [line for text in program for line in str(text).splitlines() if ".holds()" not in line]
        return "\n".join([*shown, f"{type(error).__name__}: {error}"])
    return ""


def say(message: Dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run_share(int(sys.argv[1]), int(sys.argv[2])))
