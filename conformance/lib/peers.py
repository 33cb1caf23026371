"""ASGI servers, wsbridge among them: how each is started, and what it needs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Dict, List, NamedTuple

from .environment import Unavailable, ensure_environment

UVLOOP = "uvloop==0.23.0"

ENVIRONMENTS = {
    # All servers that can live with each other, and what `bench` itself needs.
    "bench": [
        *("click==8.5.1", "granian==2.8.7", "h11==0.16.0", "h2==4.4.1", "hpack==4.2.0", "httptools==0.9.0"),
        *("hypercorn==0.18.0", "hyperframe==6.1.0", "priority==2.0.0", "psutil==7.2.2", "tabulate==0.10.0"),
        *("typing_extensions==4.16.0", "uvicorn==0.54.0", UVLOOP, "websockets==17.4", "wsproto==1.3.2"),
    ],
    # There are binaries of these two for few platforms only; elsewhere the others are measured.
    "bench-h2corn": ["h2corn==2.0.0", UVLOOP],
    "bench-socketify": ["cffi==2.1.1", "pycparser==3.12", "socketify==0.0.31"],
    # Brings Twisted and cryptography along.
    "bench-daphne": ["daphne==4.2.3"],
}


class Server(NamedTuple):
    """One way to serve an application on 127.0.0.1."""

    name: str
    family: str  # "wsbridge", also as a plug-in in uvicorn, "floor", or the peer's name
    command: str  # behind the interpreter, with {app} and {port}
    by_default: bool = True
    environment: str = "bench"  # of ENVIRONMENTS, or "pypy"

    @property
    def is_peer(self) -> bool:
        return self.family not in ("wsbridge", "floor")

    @property
    def is_threaded(self) -> bool:
        return self.family in ("granian", "h2corn")

    @property
    def version(self) -> str:
        """The pin of a peer."""
        if not self.is_peer:
            return "this tree"
        return next(pin for pin in ENVIRONMENTS[self.environment] if pin.startswith(f"{self.family}=="))

    def build_command(self, application: str) -> List[str]:
        """The command line that serves `application` ("module:attribute") on "{port}"."""
        return [find_python(self), *shlex.split(self.command.replace("{app}", application))]


# `python -c` that masks without libcrypto.
_PURE = "import os, runpy; os.environ['WSBRIDGE_MASKING'] = 'python'; runpy._run_module_as_main('wsbridge')"

# `python -c` that runs a module on uvloop: wsbridge has no flag for it, asyncio's policy decides.
ON_UVLOOP = "import runpy, uvloop; uvloop.install(); runpy._run_module_as_main({module!r})"

_OURS = "{app} --port {port} --log-level warning"
_UVICORN = "-m uvicorn {app} --port {port} --http httptools --no-access-log --log-level warning"
_PLUG_IN = f"{_UVICORN} --ws wsbridge.plugins.uvicorn:WebSocketProtocol"
_HYPERCORN = "-m hypercorn {app} -b 127.0.0.1:{port} --log-level WARNING"
_GRANIAN = "-m granian {app} --interface asgi --port {port} --no-access-log --log-level warning"
_H2CORN = "-m h2corn {app} --port {port} --no-access-log"
_SOCKETIFY = (
    "-m socketify {app} --interface asgi --port {port}"
    " --disable-listen-log true --ws-per-message-deflate true"
)
_DAPHNE = "-m daphne {app} -p {port} -b 127.0.0.1 -v 0"
_FLOOR = "conformance.bench.floor"

ALL = [
    Server("wsbridge", "wsbridge", f"-m wsbridge {_OURS}"),
    Server("wsbridge-pure", "wsbridge", f'-c "{_PURE}" {_OURS}'),
    Server("wsbridge+uvloop", "wsbridge", f'-c "{ON_UVLOOP.format(module="wsbridge")}" {_OURS}'),
    Server("wsbridge@pypy", "wsbridge", f"-m wsbridge {_OURS}", environment="pypy"),
    Server("plug-in", "wsbridge", f"{_PLUG_IN} --loop asyncio"),
    Server("plug-in+uvloop", "wsbridge", f"{_PLUG_IN} --loop uvloop"),
    Server("uvicorn", "uvicorn", f"{_UVICORN} --ws websockets-sansio --loop asyncio"),
    Server("uvicorn+uvloop", "uvicorn", f"{_UVICORN} --ws websockets-sansio --loop uvloop"),
    Server("uvicorn-websockets", "uvicorn", f"{_UVICORN} --ws websockets --loop asyncio", False),
    Server("uvicorn-h11", "uvicorn", f"{_UVICORN} --http h11 --loop asyncio", False),
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
    Server("floor-bytes", "floor", f"-m {_FLOOR} {{port}} bytes"),
    Server("floor-asgi", "floor", f"-m {_FLOOR} {{port}} asgi"),
    Server("floor-bytes+uvloop", "floor", f'-c "{ON_UVLOOP.format(module=_FLOOR)}" {{port}} bytes'),
    Server("floor-asgi+uvloop", "floor", f'-c "{ON_UVLOOP.format(module=_FLOOR)}" {{port}} asgi', False),
    Server("floor-requests", "floor", f"-m {_FLOOR} {{port}} requests", False),
]
BY_NAME: Dict[str, Server] = {server.name: server for server in ALL}


def find_python(server: Server) -> str:
    """The interpreter for this server, with its environment built; raises `Unavailable`."""
    if server.environment == "pypy":
        if not Path("/usr/bin/pypy3").exists():
            raise Unavailable("PyPy is not there: apt-get install pypy3")
        return "/usr/bin/pypy3"
    return str(ensure_environment(server.environment, ENVIRONMENTS[server.environment]))
