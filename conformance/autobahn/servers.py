"""The servers that stand before the suite: wsbridge and its peers, each as a process with the echo app."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

from ..lib.environment import ROOT, Unavailable, describe_python, ensure_environment

APPLICATION = "conformance.lib.apps.echo:app"
START_SECONDS = 30.0
STOP_SECONDS = 15.0
UVLOOP = "uvloop==0.23.0"

UVICORN = ["uvicorn==0.54.0", "click==8.5.1", "h11==0.16.0", "websockets==17.4", "wsproto==1.3.2"]
HYPERCORN = [
    "hypercorn==0.18.0",
    "h11==0.16.0",
    "h2==4.4.1",
    "hpack==4.2.0",
    "hyperframe==6.1.0",
    "priority==2.0.0",
    "wsproto==1.3.2",
]
DAPHNE = [
    "daphne==4.2.3",
    "asgiref==3.13.0",
    "attrs==26.1.0",
    "autobahn==26.10.2",
    "Automat==25.4.16",
    "cbor2==6.3.0",
    "cffi==2.1.1",
    "constantly==23.10.4",
    "cryptography==50.0.2",
    "hyperlink==21.0.0",
    "idna==3.20",
    "Incremental==24.11.0",
    "msgpack==1.2.4",
    "packaging==26.3",
    "pycparser==3.12",
    "pyOpenSSL==26.4.0",
    "service-identity==26.1.0",
    "Twisted==26.10.0",
    "txaio==26.6.1",
    "typing_extensions==4.16.0",
    "ujson==6.1.0",
    "zope.interface==8.7",
]


class Peer(NamedTuple):
    """A server: its pinned packages, and the arguments of its python; {port} is filled in."""

    environment: str
    requirements: Sequence[str]
    arguments: Sequence[str]

    @property
    def version(self) -> str:
        return self.requirements[0] if self.requirements else "this tree"


def _uvicorn(implementation: str) -> Peer:
    options = ["--ws", implementation, "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"]
    return Peer("uvicorn", UVICORN, ["-m", "uvicorn", APPLICATION, *options])


# All with their own defaults: the table is of what somebody gets who just installs them.
PEERS = {
    "wsbridge": Peer("", [], ["-m", "wsbridge", APPLICATION, "--host", "127.0.0.1", "--port", "{port}"]),
    "uvicorn-websockets": _uvicorn("websockets"),
    "uvicorn-websockets-sansio": _uvicorn("websockets-sansio"),
    "uvicorn-wsproto": _uvicorn("wsproto"),
    "hypercorn": Peer(
        "hypercorn",
        HYPERCORN,
        ["-m", "hypercorn", APPLICATION, "--bind", "127.0.0.1:{port}"],
    ),
    "daphne": Peer(
        "daphne",
        DAPHNE,
        ["-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", APPLICATION],
    ),
    "granian": Peer(
        "granian",
        ["granian==2.8.7", "click==8.5.1"],
        ["-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", APPLICATION],
    ),
}

# The other role: not a server, but started the same way; {url} and {agent} are filled in.
CLIENT = "wsbridge-client"
_CLIENT = Peer("", [], ["-m", "conformance.lib.apps.client", "{url}", "{agent}"])

# wsbridge has no flag for it: asyncio's own policy decides which loop a program gets.
_ON_UVLOOP = (
    "import asyncio, runpy, sys, uvloop; sys.argv.pop(0);"
    "asyncio.set_event_loop_policy(uvloop.EventLoopPolicy());"
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


class Target(NamedTuple):
    """What is tested: a peer under an interpreter and a loop. `label` names its report's folder."""

    peer: str
    python: str
    implementation: str
    loop: str
    label: str
    command: List[str]


def prepare_target(peer_name: str, python: str = sys.executable, loop: str = "asyncio") -> Target:
    """Return how to start that server, or `CLIENT`, with its environment built.

    loop: "asyncio" or "uvloop". Raises `Unavailable` if something it needs cannot be had.
    """
    peer = _CLIENT if peer_name == CLIENT else PEERS[peer_name]
    implementation, major, minor, version, _ = describe_python(python)
    requirements = list(peer.requirements)
    arguments = list(peer.arguments)
    if loop == "uvloop":
        requirements.append(UVLOOP)
        if peer_name.startswith("uvicorn"):
            arguments += ["--loop", "uvloop"]
        else:
            arguments = ["-c", _ON_UVLOOP, *arguments[1:]]
    interpreter = python
    if requirements:
        name = "-".join(filter(None, (peer.environment, "uvloop" if loop == "uvloop" else "")))
        interpreter = str(ensure_environment(name, requirements, python))
    label = f"{peer_name}-{implementation.lower()}{major}.{minor}" + ("-uvloop" if loop == "uvloop" else "")
    return Target(peer_name, python, f"{implementation} {version}", loop, label, [interpreter, *arguments])


class ServerProcess:
    """A running server; use it as a context manager. What it prints goes to `log`.

    After leaving: `exit_code`, and `peak_memory`, the most bytes it ever had resident (0 where that is
    not known).
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        self.port = find_free_port()
        self.exit_code: Optional[int] = None
        self.peak_memory = 0
        filled = [argument.replace("{port}", str(self.port)) for argument in command]
        with open(log, "ab") as output:
            # A session of its own, so that a server with worker processes is stopped as a whole.
            self._process = subprocess.Popen(
                filled,
                cwd=str(ROOT),
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def __enter__(self) -> ServerProcess:
        try:
            wait_for_port(self.port, lambda: self.is_running, START_SECONDS)
        except Unavailable as error:
            self.stop()
            raise Unavailable(f"the server {error}; see {self.log}: {self.read_last_line()}") from None
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        if self.is_running:
            self.peak_memory = read_peak_memory(self._process.pid)
            self._signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._process.wait()
        self.exit_code = self._process.returncode

    def _signal(self, number: int) -> None:
        # Only the first process is asked to stop; the whole session is forced.
        if number == signal.SIGTERM:
            self._process.terminate()
        else:
            os.killpg(self._process.pid, number)

    def read_last_line(self) -> str:
        lines = self.log.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "(it printed nothing)"


def clean_environment() -> Dict[str, str]:
    """Our environment without what changes how a Python behaves."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def wait_for_port(port: int, is_alive: Callable[[], bool], seconds: float) -> None:
    """Return when something on 127.0.0.1 accepts connections; raise `Unavailable` if nothing does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not is_alive():
            raise Unavailable("ended before it listened")
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            time.sleep(0.05)
    raise Unavailable(f"did not listen within {seconds:.0f} s")


def find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def read_peak_memory(process: int) -> int:
    """The most bytes that the process ever had resident, or 0."""
    try:
        status = Path(f"/proc/{process}/status").read_text("utf-8")
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0
