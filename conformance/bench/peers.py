"""The servers that are measured: how each is started, pinned to its core, found in /proc, and stopped."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set

from ..lib.environment import ROOT, Unavailable, ensure_environment

SERVERS = Path(__file__).resolve().parent / "servers"
SERVER_CORE, LOAD_CORE = 0, 1
START_SECONDS = 30.0
STOP_SECONDS = 5.0

REQUIREMENTS = [
    "click==8.5.1",
    "granian==2.8.7",
    "h11==0.16.0",
    "h2==4.4.1",
    "hpack==4.2.0",
    "httptools==0.9.0",
    "hypercorn==0.18.0",
    "hyperframe==6.1.0",
    "priority==2.0.0",
    "typing_extensions==4.16.0",
    "uvicorn==0.54.0",
    "uvloop==0.23.0",
    "websockets==17.4",
    "wsproto==1.3.2",
]
# Daphne brings Twisted and cryptography along, so it has an environment of its own and is measured on demand.
DAPHNE_REQUIREMENTS = ["daphne==4.2.3"]


class Server(NamedTuple):
    """One way to run the echo application."""

    name: str
    family: str  # "wsbridge", "floor", or the peer's name
    loop: str
    command: Sequence[str]  # {python} and {port} are filled in
    environment: str = "peers"  # "peers", "daphne" or "pypy"
    by_default: bool = True

    @property
    def is_floor(self) -> bool:
        return self.family == "floor"

    @property
    def is_ours(self) -> bool:
        return self.family == "wsbridge"

    @property
    def is_peer(self) -> bool:
        return not (self.is_floor or self.is_ours)

    @property
    def never_sleeps(self) -> bool:
        return self.loop == "none"

    @property
    def is_threaded(self) -> bool:
        return self.family == "granian"


def _uvicorn(
    name: str, ws: str, loop: str, *more: str, environment: str = "peers", default: bool = True
) -> Server:
    command = ["{python}", "-m", "uvicorn", "echo_app:app", "--port", "{port}", "--ws", ws, "--loop", loop]
    return Server(name, "uvicorn", loop, [*command, *_QUIET, *more], environment, default)


def _hypercorn(name: str, loop: str, default: bool) -> Server:
    command = ["{python}", "-m", "hypercorn", "echo_app:app", "-b", "127.0.0.1:{port}", "-k", loop]
    return Server(name, "hypercorn", loop, [*command, "--log-level", "WARNING"], by_default=default)


def _granian(name: str, loop: str, default: bool) -> Server:
    command = [
        "{python}",
        "-m",
        "granian",
        "echo_app:app",
        "--interface",
        "asgi",
        "--port",
        "{port}",
        "--loop",
        loop,
    ]
    return Server(name, "granian", loop, [*command, *_QUIET], by_default=default)


def _floor(name: str, kind: str, loop: str, default: bool) -> Server:
    command = ["{python}", str(SERVERS / "floor.py"), kind, "{port}"]
    return Server(name, "floor", loop, command + ([loop] if loop == "uvloop" else []), by_default=default)


_QUIET = ["--no-access-log", "--log-level", "warning"]

# wsbridge's own command line is completed by `build_command` from the flags that its --help lists.
ALL = [
    Server("wsbridge", "wsbridge", "asyncio", ["{python}", "-m", "wsbridge", "echo_app:app"]),
    Server("wsbridge+uvloop", "wsbridge", "uvloop", ["{python}", "-m", "wsbridge", "echo_app:app"]),
    Server("wsbridge@pypy", "wsbridge", "pypy", ["{python}", "-m", "wsbridge", "echo_app:app"], "pypy"),
    _uvicorn("uvicorn", "websockets-sansio", "asyncio"),
    _uvicorn("uvicorn+uvloop", "websockets-sansio", "uvloop"),
    _uvicorn("uvicorn-wsproto", "wsproto", "asyncio"),
    _uvicorn("uvicorn-wsproto+uvloop", "wsproto", "uvloop", default=False),
    _hypercorn("hypercorn", "asyncio", True),
    _hypercorn("hypercorn+uvloop", "uvloop", False),
    _granian("granian", "asyncio", False),
    _granian("granian+uvloop", "uvloop", True),
    Server(
        "daphne",
        "daphne",
        "twisted",
        ["{python}", "-m", "daphne", "echo_app:app", "-p", "{port}", "-b", "127.0.0.1", "-v", "0"],
        "daphne",
        False,
    ),
    _floor("floor-polling", "polling", "none", True),
    _floor("floor-bytes", "bytes", "asyncio", True),
    _floor("floor-asgi", "asgi", "asyncio", True),
    _floor("floor-bytes+uvloop", "bytes", "uvloop", True),
    _floor("floor-asgi+uvloop", "asgi", "uvloop", False),
]


def choose_servers(patterns: Optional[str]) -> List[Server]:
    """The servers that match a comma-separated list of names or globs; the default ones without it."""
    if not patterns:
        return [server for server in ALL if server.by_default]
    wanted = [pattern.strip() for pattern in patterns.split(",")]
    chosen = [
        server for server in ALL if any(fnmatch.fnmatchcase(server.name, pattern) for pattern in wanted)
    ]
    if not chosen:
        raise Unavailable(
            f"no server matches {patterns!r}; there are {', '.join(server.name for server in ALL)}"
        )
    return chosen


def find_python(server: Server) -> Path:
    if server.environment == "pypy":
        path = Path("/usr/bin/pypy3")
        if not path.exists():
            raise Unavailable("PyPy is not there: apt-get install pypy3")
        return path
    if server.environment == "daphne":
        return ensure_environment("bench-daphne", DAPHNE_REQUIREMENTS)
    return ensure_environment("bench", REQUIREMENTS)


def build_settings() -> Dict[str, str]:
    """The environment variables of every server: its application and wsbridge on the path, nothing random.

    And what README recommends for PyPy.
    """
    return dict(
        os.environ,
        PYTHONPATH=f"{SERVERS}{os.pathsep}{ROOT}",
        PYTHONHASHSEED="0",
        PYTHONDONTWRITEBYTECODE="",
        PYPY_GC_NURSERY="16M",
    )


_ours_flags: Dict[str, Set[str]] = {}


def _read_our_flags(python: str) -> Set[str]:
    if python not in _ours_flags:
        asked = subprocess.run(
            [python, "-m", "wsbridge", "--help"],
            env=build_settings(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        if asked.returncode:
            reason = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise Unavailable(f"python -m wsbridge does not start: {reason}")
        _ours_flags[python] = {
            word.strip("[],=") for word in asked.stdout.split() if word.startswith(("--", "[--"))
        }
    return _ours_flags[python]


def build_command(server: Server, port: int) -> List[str]:
    python = str(find_python(server))
    command = [part.format(python=python, port=port) for part in server.command]
    if not server.is_ours:
        return command
    flags = _read_our_flags(python)
    command += ["--host", "127.0.0.1", "--port", str(port)]
    if "--no-access-log" in flags:
        command.append("--no-access-log")
    if "--log-level" in flags:
        command += ["--log-level", "warning"]
    if server.loop == "uvloop":
        if "--loop" in flags:
            command += ["--loop", "uvloop"]
        else:
            command[1:3] = [str(SERVERS / "run_on_uvloop.py"), "wsbridge"]
    return command


class Claims:
    """Whether measured processes go before everybody else on their core; see `--priority`."""

    real_time = False


def claim_core(core: int, real_time: bool = True) -> None:
    """Put this process on a core and, if that was chosen, before everybody else there.

    On a busy machine one message in two waits for somebody's time slice (3 ms) otherwise. But real-time
    priority favours servers with threads: granian has a fifth to a third more on one connection.
    """
    os.sched_setaffinity(0, {core})
    if real_time and Claims.real_time:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


class Running:
    """A started server: its port and the processes whose time and memory are its own."""

    def __init__(self, server: Server, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.server = server
        self.port = port
        self._process = process
        self._log = log

    @property
    def pids(self) -> List[int]:
        return find_processes(self._process.pid)

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise Unavailable(f"{self.server.name} ended at once: {self.read_log()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise Unavailable(f"{self.server.name} does not listen after {seconds:.0f} s: {self.read_log()}")

    def read_log(self) -> str:
        lines = self._log.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While it is measured: a server that never sleeps would take the others' core."""
        if not self.server.never_sleeps:
            yield
            return
        self._process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        everyone = self.pids
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in everyone:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()


def find_processes(pid: int) -> List[int]:
    """A process and all that it started."""
    found = [pid]
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                for child in file.read().split():
                    found += find_processes(int(child))
    return found


def find_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def run_server(server: Server, wrapper: Sequence[str] = ()) -> Iterator[Running]:
    """Start a server, on its core and behind `wrapper` if there is one; stop it on leaving."""
    port = find_port()
    command = [*wrapper, *build_command(server, port)]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        log = Path(folder) / "log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=build_settings(),
                cwd=folder,
                preexec_fn=lambda: claim_core(SERVER_CORE, real_time=not wrapper),
            )
        running = Running(server, process, port, log)
        try:
            running.wait_until_ready(START_SECONDS * (4 if wrapper else 1))
            yield running
        finally:
            running.stop()
