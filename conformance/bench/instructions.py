"""User instructions per message or request, counted by callgrind: the machine may have no counter to ask.

The count hardly depends on what else the machine does, and agrees within 3 % with
`perf stat -e instructions:u` for uvicorn on either loop. It does not for granian: its threads wait for each
other by spinning, and valgrind runs one thread at a time.
"""

from __future__ import annotations

import re
import subprocess
from typing import Dict, List

from ..lib.environment import report_folder
from .load import Load
from .peers import Running
from .workloads import ALL, Workload

FOLDER = report_folder("bench/callgrind")
WRAPPER = [
    "valgrind",
    "--tool=callgrind",
    "--instr-atstart=no",
    "--trace-children=yes",
    f"--callgrind-out-file={FOLDER}/out.%p",
]
NAMES = ("one-125", "hundred-125", "burst-125", "handshakes", "get-1", "get-32", "post-1")
MODES = [workload for workload in ALL if workload.name in NAMES]
WARM_UP_SECONDS, MEASURE_SECONDS = 0.5, 1.5
# Under callgrind a server is about fifty times slower.
PATIENCE = 120.0


def count_instructions(application: str, running: Running) -> Dict[str, float]:
    """Return {workload: instructions each} of the workloads of `application`, which runs behind `WRAPPER`."""
    _take_total()  # what the server before left when it ended
    return {mode.name: _count_mode(running, mode) for mode in MODES if mode.application == application}


def _count_mode(running: Running, mode: Workload) -> float:
    with Load(running, mode) as load:
        if not mode.visits:
            load.open(mode.connections)
        load.run(WARM_UP_SECONDS)
        pids = running.pids
        _control(pids, "--instr=on")
        load.run(WARM_UP_SECONDS)
        _control(pids, "--zero")
        count = load.run(MEASURE_SECONDS)["count"]
        _control(pids, "--dump")
        _control(pids, "--instr=off")
    return _take_total() / int(count)


def _take_total() -> int:
    """Add up what the dumps say, and remove them."""
    total = 0
    for path in FOLDER.glob("out.*"):
        found = re.search(r"^summary: (\d+)", path.read_text("utf-8", "replace"), re.MULTILINE)
        total += int(found.group(1)) if found else 0
        path.unlink()
    return total


def _control(pids: List[int], command: str) -> None:
    for pid in pids:
        subprocess.run(
            ["callgrind_control", command, str(pid)], capture_output=True, timeout=PATIENCE, check=True
        )
