"""`python run_sampled.py FILE MODULE [arguments]`: run a module as `-m` would, and see where its time goes.

From SIGUSR1 on the stack is noted every few milliseconds of processor time; at SIGUSR2 the stacks are
written to FILE, each with how often it was seen: functions from the innermost outwards.
"""

import collections
import json
import os
import runpy
import signal
import sys

# The kernel's clock ticks no faster.
INTERVAL = 0.004
DEPTH = 12

if __name__ == "__main__":
    del sys.argv[0]
    path = sys.argv.pop(0)
    stacks = collections.Counter()

    def sample(signum, frame):
        stack = []
        while frame is not None and len(stack) < DEPTH:
            stack.append((frame.f_code.co_filename, frame.f_code.co_name))
            frame = frame.f_back
        stacks[tuple(stack)] += 1

    def begin(signum, frame):
        stacks.clear()
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def end(signum, frame):
        signal.setitimer(signal.ITIMER_PROF, 0)
        with open(path + ".part", "w") as file:
            json.dump(list(stacks.items()), file)
        os.replace(path + ".part", path)

    signal.signal(signal.SIGPROF, sample)
    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
