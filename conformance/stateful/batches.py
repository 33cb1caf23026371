"""Batches of programs of steps, each with a seed of its own, by which it is run again."""

from __future__ import annotations

import gc
import time
import traceback

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from conformance.lib.environment import say_line

from .http_machine import HttpMachine
from .machine import Machine
from .notes import count, listen_to_logs

SETTINGS = settings(
    max_examples=40,
    stateful_step_count=50,
    phases=[Phase.generate, Phase.shrink],
    database=None,
    deadline=None,
    print_blob=False,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)

# Two batches of every three are about WebSockets, and one is about HTTP.
MACHINES = (Machine, HttpMachine, Machine)


def run_batches(steps: int, first_seed: int) -> str:
    """Run until so many steps are done, or one has failed: that batch's seed and shrunken program, or ""."""
    listen_to_logs()
    gc.collect()
    gc.freeze()
    number, started = first_seed, time.monotonic()
    while count("steps") < steps:
        try:
            machine = MACHINES[number % len(MACHINES)]
            run_state_machine_as_test(seed(number)(machine), settings=SETTINGS)
        except Exception as error:
            return f"seed {number}\n" + "".join(traceback.format_exception(error))
        left = (time.monotonic() - started) * max(0, steps / count("steps") - 1)
        say_line(f"stateful: {count('steps')} of {steps} steps, about {left / 60:.1f} minutes left")
        number += 1
    return ""
