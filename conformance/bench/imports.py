"""Import times in fresh interpreters, interleaved."""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import Dict, List

from ..lib.environment import ROOT, say_line

MODULES = ("asyncio", "wsbridge", "wsbridge.server.server", "wsbridge.server.command.cli")

_SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[2])
started = time.perf_counter()
__import__(sys.argv[1])
print(time.perf_counter() - started)
"""


def measure_imports(rounds: int = 15) -> Dict[str, float]:
    """Return {module: median milliseconds}."""
    times: Dict[str, List[float]] = {module: [] for module in MODULES}
    say_line("bench: import times")
    for _ in range(rounds):
        for module in MODULES:
            command = [sys.executable, "-I", "-S", "-c", _SCRIPT, module, str(ROOT)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
            times[module].append(float(done.stdout) * 1000)
    # The first round may have compiled the modules.
    return {module: statistics.median(found[1:]) for module, found in times.items()}
