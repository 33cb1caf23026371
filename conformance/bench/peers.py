"""The servers that are measured: chosen by name, pinned to a core, and found in /proc."""

from __future__ import annotations

from typing import List, Optional, Sequence

import psutil

from ..lib.environment import report_folder
from ..lib.peers import ALL, BY_NAME, Server
from ..lib.servers import START_SECONDS, ServerProcess
from .workloads import ANSWER, ECHO, match_names

SERVER_CORE = 0
# What is measured with requests: every HTTP implementation once, ours and those of peers on both loops.
FOR_REQUESTS = [
    *("wsbridge", "wsbridge+uvloop", "uvicorn-h11", "uvicorn", "uvicorn+uvloop", "hypercorn"),
    *("granian", "granian+uvloop", "h2corn+uvloop", "socketify", "floor-requests"),
]


def choose_servers(patterns: Optional[str], application: str = ECHO) -> List[Server]:
    """The servers that match a comma-separated list of names or globs; the default ones without it."""
    if patterns is None and application == ANSWER:
        return [BY_NAME[name] for name in FOR_REQUESTS]
    if patterns is None:
        return [server for server in ALL if server.by_default]
    return [BY_NAME[name] for name in match_names("server", patterns, BY_NAME)]


class Running(ServerProcess):
    """`async with Running(server) as running`: a server on its core, behind `wrapper` if there is one."""

    def __init__(self, server: Server, application: str = ECHO, wrapper: Sequence[str] = ()) -> None:
        self.server = server
        super().__init__(
            server.name,
            ["taskset", "-c", str(SERVER_CORE), *wrapper, *server.build_command(application)],
            report_folder("bench") / f"{server.name}.log",
            # Nothing random, and what README recommends for PyPy.
            settings={"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "", "PYPY_GC_NURSERY": "16M"},
            start_seconds=START_SECONDS * (4 if wrapper else 1),
        )

    @property
    def pids(self) -> List[int]:
        """The processes whose time and memory are its own."""
        return [self.pid, *(child.pid for child in psutil.Process(self.pid).children(recursive=True))]

    def read_memory(self) -> int:
        """Resident bytes."""
        return sum(int(psutil.Process(pid).memory_info().rss) for pid in self.pids)
