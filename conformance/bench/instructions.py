"""User instructions per message, counted by valgrind's callgrind where the machine has no counter to ask.

The count hardly depends on what else the machine does, and agrees within 3 % with
`perf stat -e instructions:u` for uvicorn on either loop. It does not for granian: its threads wait for each
other by spinning, and valgrind runs one thread at a time.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Sequence

from ..lib.environment import Unavailable, say_line
from . import load
from .peers import Running, Server, run_server

MODES = {"one-125": (1, 1), "hundred-125": (100, 1), "burst-125": (1, 16)}
# Under callgrind a server is about fifty times slower.
PATIENCE = 120.0
WARM_UP_SECONDS = 0.5
MEASURE_SECONDS = 1.5


def measure_instructions(servers: Sequence[Server]) -> Dict[str, Dict[str, float]]:
    """Return {server: {workload: instructions per message}}."""
    if not shutil.which("valgrind"):
        say_line("bench: instructions are not counted: apt-get install valgrind", final=True)
        return {}
    results = {}
    for server in servers:
        # valgrind would count the compiling of traces, and turns of a loop that never sleeps.
        if server.environment == "pypy" or server.never_sleeps:
            continue
        say_line(f"bench: instructions, {server.name}")
        try:
            results[server.name] = _count_server(server)
        except (Unavailable, load.Failed, OSError, subprocess.SubprocessError) as error:
            say_line(f"bench: instructions, {server.name}: {error}", final=True)
    return results


def _count_server(server: Server) -> Dict[str, float]:
    load.PATIENCE = PATIENCE
    with tempfile.TemporaryDirectory(prefix="callgrind-") as folder:
        wrapper = [
            "valgrind",
            "--tool=callgrind",
            "--instr-atstart=no",
            "--trace-children=yes",
            f"--callgrind-out-file={folder}/out.%p",
        ]
        with run_server(server, wrapper) as running:
            return {
                name: _count_mode(running, Path(folder), connections, in_flight)
                for name, (connections, in_flight) in MODES.items()
            }


def _count_mode(running: Running, folder: Path, connections: int, in_flight: int) -> float:
    job: Dict[str, Any] = {
        "port": running.port,
        "is_floor": running.server.is_floor,
        "size": 125,
        "deflate": False,
        "binary": False,
    }
    links = load.open_connections(job, connections)
    try:
        exchange = load.build_exchange(links, load.prepare_script(job, links[0]), in_flight)
        exchange(WARM_UP_SECONDS)
        pids = running.pids
        _control(pids, "--instr=on")
        exchange(WARM_UP_SECONDS)
        _control(pids, "--zero")
        count = exchange(MEASURE_SECONDS)
        _control(pids, "--dump")
        _control(pids, "--instr=off")
        return _read_total(folder) / count
    finally:
        load.abort_connections(links)


def _control(pids: List[int], command: str) -> None:
    for pid in pids:
        subprocess.run(
            ["callgrind_control", command, str(pid)], capture_output=True, timeout=PATIENCE, check=True
        )


def _read_total(folder: Path) -> int:
    """Add up what the dumps say and remove them, so that the next mode begins at nothing."""
    total = 0
    for path in folder.glob("out.*"):
        found = re.search(r"^summary: (\d+)", path.read_text("utf-8", "replace"), re.MULTILINE)
        total += int(found.group(1)) if found else 0
        path.unlink()
    return total
