"""The servers that are measured: how each is started, pinned to its core, and found in /proc."""

from __future__ import annotations

import fnmatch
import shlex
import sys
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

import psutil

from ..lib.environment import Unavailable, ensure_environment, report_folder
from ..lib.servers import ServerProcess
from . import ENVIRONMENTS

SERVER_CORE = 0
START_SECONDS = 30.0
APP = "conformance.lib.apps.echo:app"
FLOOR = Path(__file__).with_name("floor.py")


class Server(NamedTuple):
    """One way to run the echo application."""

    name: str
    family: str  # "wsbridge", "floor", or the peer's name
    command: str  # behind the interpreter; `Running` fills in {app}, `ServerProcess` {port}
    by_default: bool = True
    environment: str = "bench"  # of ENVIRONMENTS, or "pypy"

    @property
    def is_peer(self) -> bool:
        return self.family not in ("wsbridge", "floor")

    @property
    def is_threaded(self) -> bool:
        return self.family in ("granian", "h2corn")


_OURS = "-m wsbridge {app} --port {port} --log-level warning"
_UVICORN = "-m uvicorn {app} --port {port} --no-access-log --log-level warning"
_HYPERCORN = "-m hypercorn {app} -b 127.0.0.1:{port} --log-level WARNING"
_GRANIAN = "-m granian {app} --interface asgi --port {port} --no-access-log --log-level warning"
_H2CORN = "-m h2corn {app} --port {port} --no-access-log"
_SOCKETIFY = (
    "-m socketify {app} --interface asgi --port {port}"
    " --disable-listen-log true --ws-per-message-deflate true"
)
_DAPHNE = "-m daphne {app} -p {port} -b 127.0.0.1 -v 0"
_FLOOR = f"{FLOOR} {{port}}"
_ON_UVLOOP = """-c "import runpy, uvloop; uvloop.install(); runpy._run_module_as_main('wsbridge')" """

ALL = [
    Server("wsbridge", "wsbridge", _OURS),
    Server("wsbridge+uvloop", "wsbridge", _OURS.replace("-m wsbridge", _ON_UVLOOP)),
    Server("wsbridge@pypy", "wsbridge", _OURS, environment="pypy"),
    Server("uvicorn", "uvicorn", f"{_UVICORN} --ws websockets-sansio --loop asyncio"),
    Server("uvicorn+uvloop", "uvicorn", f"{_UVICORN} --ws websockets-sansio --loop uvloop"),
    Server("uvicorn-wsproto", "uvicorn", f"{_UVICORN} --ws wsproto --loop asyncio"),
    Server("uvicorn-wsproto+uvloop", "uvicorn", f"{_UVICORN} --ws wsproto --loop uvloop", False),
    Server("hypercorn", "hypercorn", f"{_HYPERCORN} -k asyncio"),
    Server("hypercorn+uvloop", "hypercorn", f"{_HYPERCORN} -k uvloop", False),
    Server("granian", "granian", f"{_GRANIAN} --loop asyncio", False),
    Server("granian+uvloop", "granian", f"{_GRANIAN} --loop uvloop"),
    Server("h2corn", "h2corn", f"{_H2CORN} --loop asyncio", False, "bench-h2corn"),
    Server("h2corn+uvloop", "h2corn", f"{_H2CORN} --loop uvloop", True, "bench-h2corn"),
    Server("socketify", "socketify", _SOCKETIFY, True, "bench-socketify"),
    Server("daphne", "daphne", _DAPHNE, False, "bench-daphne"),
    Server("floor-bytes", "floor", f"{_FLOOR} bytes"),
    Server("floor-asgi", "floor", f"{_FLOOR} asgi"),
    Server("floor-bytes+uvloop", "floor", f"{_FLOOR} bytes uvloop"),
    Server("floor-asgi+uvloop", "floor", f"{_FLOOR} asgi uvloop", False),
]


def choose_servers(patterns: Optional[str]) -> List[Server]:
    """The servers that match a comma-separated list of names or globs; the default ones without it."""
    wanted = (patterns or "").split(",")
    chosen = [
        server
        for server in ALL
        if (
            any(fnmatch.fnmatchcase(server.name, one.strip()) for one in wanted)
            if patterns
            else server.by_default
        )
    ]
    if not chosen:
        raise Unavailable(f"no server matches {patterns!r}; there are {', '.join(one.name for one in ALL)}")
    return chosen


def find_python(server: Server) -> str:
    if server.environment == "pypy":
        if not Path("/usr/bin/pypy3").exists():
            raise Unavailable("PyPy is not there: apt-get install pypy3")
        return "/usr/bin/pypy3"
    if server.environment == "bench":
        return sys.executable
    return str(ensure_environment(server.environment, ENVIRONMENTS[server.environment]))


class Running(ServerProcess):
    """`async with Running(server) as running`: a server on its core, behind `wrapper` if there is one."""

    def __init__(self, server: Server, wrapper: Sequence[str] = ()) -> None:
        self.server = server
        pinned = ["taskset", "-c", str(SERVER_CORE), *wrapper]
        super().__init__(
            server.name,
            [*pinned, find_python(server), *shlex.split(server.command.replace("{app}", APP))],
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
