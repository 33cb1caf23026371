"""`python run_sampled.py FILE MODULE [arguments]`: run a module as `-m` would, and see where its time goes.

From SIGUSR1 on the stack is noted every few milliseconds of processor time. At the end the stacks are written
to FILE, each with how often it was seen: functions from the innermost outwards.
"""

import collections
import json
import runpy
import signal
import sys

# The kernel's clock ticks no faster.
INTERVAL = 0.004
DEPTH = 12

if __name__ == "__main__":
    _, path, *sys.argv = sys.argv
    stacks = collections.Counter()

    def sample(signum, frame):
        stack = []
        while frame is not None and len(stack) < DEPTH:
            stack.append((frame.f_code.co_filename, frame.f_code.co_name))
            frame = frame.f_back
        stacks[tuple(stack)] += 1

    signal.signal(signal.SIGPROF, sample)
    signal.signal(signal.SIGUSR1, lambda *_: signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL))
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        with open(path, "w") as file:
            json.dump(list(stacks.items()), file)
