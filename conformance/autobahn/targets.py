"""What the suite is put before: wsbridge's server, its peers with the same application, and our client."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import List, NamedTuple, Optional, Tuple

from ..lib.environment import Unavailable, describe_python, ensure_environment
from ..lib.servers import LISTEN

APPLICATION = "conformance.lib.apps.echo:app"
CLIENT = "wsbridge-client"
PINS = (Path(__file__).parent / "peers.txt").read_text("utf-8").split()
UVLOOP = "uvloop==0.23.0"

_UVICORN = ["-m", "uvicorn", APPLICATION, *LISTEN, "--log-level", "warning", "--ws"]

# The arguments of their python, with their own defaults: what somebody gets who just installs them.
PEERS = {
    "wsbridge": ["-m", "wsbridge", APPLICATION, *LISTEN],
    "uvicorn-websockets": [*_UVICORN, "websockets"],
    "uvicorn-websockets-sansio": [*_UVICORN, "websockets-sansio"],
    "uvicorn-wsproto": [*_UVICORN, "wsproto"],
    "hypercorn": ["-m", "hypercorn", APPLICATION, "--bind", "127.0.0.1:{port}"],
    "daphne": ["-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", APPLICATION],
    "granian": ["-m", "granian", "--interface", "asgi", *LISTEN, APPLICATION],
}

# wsbridge has no flag for it: asyncio's own policy decides which loop a program gets.
_ON_UVLOOP = (
    "import asyncio, runpy, sys, uvloop; sys.argv.pop(0);"
    "asyncio.set_event_loop_policy(uvloop.EventLoopPolicy());"
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


class Target(NamedTuple):
    """What is tested, under an interpreter and a loop. `label` names its report's folder.

    version: "this tree", or the peer's pin. command: with "{port}", or for the client with "{url}".
    """

    version: str
    platform: str
    label: str
    command: List[str]

    @property
    def is_ours(self) -> bool:
        return self.version == "this tree"


def prepare_target(name: str, python: str = sys.executable, loop: str = "asyncio") -> Target:
    """Return how to start that one of PEERS, or `CLIENT`, with its environment built.

    loop: "asyncio" or "uvloop". Raises `Unavailable` if something it needs cannot be had.
    """
    implementation, major, minor, version, _ = describe_python(python)
    label = f"{name}-{implementation.lower()}{major}.{minor}" + ("-uvloop" if loop == "uvloop" else "")
    pin = next((pin for pin in PINS if pin.startswith(name.split("-")[0] + "==")), "")
    environment, requirements = ("peers", PINS) if pin else ("", [])
    client = ["-m", "conformance.lib.apps.client", "{url}", label]
    arguments = client if name == CLIENT else PEERS[name]
    if loop == "uvloop":
        environment, requirements = "peers-uvloop" if pin else "uvloop", [*requirements, UVLOOP]
        if name.startswith("uvicorn"):
            arguments = [*arguments, "--loop", "uvloop"]
        else:
            arguments = ["-c", _ON_UVLOOP, *arguments[1:]]
    if requirements:
        python = str(ensure_environment(environment, requirements, python))
    return Target(pin or "this tree", f"{implementation} {version}, {loop}", label, [python, *arguments])


def find_python(version: Tuple[int, int]) -> Optional[str]:
    """Return a CPython of that version from this process, PATH or pyenv, or None."""
    word = "{}.{}".format(*version)
    home = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    kept = sorted(map(str, home.glob(f"versions/{word}.*/bin/python")), reverse=True)
    for candidate in (sys.executable, shutil.which(f"python{word}"), *kept):
        try:
            # What pyenv puts on PATH often does not start.
            if candidate and describe_python(candidate)[:3] == ("CPython", *version):
                return candidate
        except Unavailable:
            continue
    return None
