"""One scenario against one server: what the client saw, what the application saw, what was logged."""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Awaitable, Callable, Dict, Iterator, List, Optional, Tuple, Union

from ..lib.environment import ROOT
from ..lib.servers import ServerProcess
from .apps import MARK
from .client import PATIENCE, Ended, Headers, Peer, describe_time, open_websocket, request
from .environments import Browser
from .exchange import Connection, connect

# From the last thing a scenario waits for to the last line that is logged about it.
SETTLE_SECONDS = 0.15

# How far the server's memory may rise while a body of any size goes through it.
MEMORY_MARGIN = 40 * 1024 * 1024

# Longest run of a client that is a program of its own.
PROGRAM_SECONDS = 40.0

# What wsbridge says of every request, of the end of every WebSocket, and of its own beginning and end.
_ROUTINE = re.compile(
    r'server INFO (.+ "\S+ \S+" \d+$|listening on |stopping'
    r'|.+ "websocket \S+" (\d+ (closed|lost)|ends its connection: the client has left))'
)

# What asyncio says of an application that writes on to a client that has left, as often as it happens to.
BY_CHANCE = "server WARNING socket.send() raised exception."

# The bodies of refusals that the servers make up themselves.
_OWN_WORDS = re.compile(r"the application |Internal Server Error$|$")


@dataclass
class Outcome:
    client: List[str] = field(default_factory=list)
    app: List[str] = field(default_factory=list)
    log: List[str] = field(default_factory=list)
    was_ended: bool = False

    @property
    def server_log(self) -> List[str]:
        return [line for line in self.log if line.startswith("server ")]

    def describe(self) -> str:
        lines = []
        for name in ("client", "app", "log"):
            lines += [f"{name:>8}: {text}" for text in getattr(self, name)]
        return "\n".join(lines)


class Trial:
    """What a scenario is given. What it says is the client's part of the outcome."""

    def __init__(self, server: ServerProcess, browser: Optional[Browser]) -> None:
        """browser: what drives Chromium, where a scenario needs it."""
        self.server = server
        self._browser = browser
        self._start = len(server.read_log())
        self._peers: List[Union[Peer, Connection]] = []
        self._said: List[str] = []
        self.was_ended = False

    def say(self, text: str) -> None:
        self._said.append(text)

    async def open(self, path: str, headers: Headers = ()) -> Peer:
        """Open a WebSocket and say what was answered; raises `Ended` if that was not 101."""
        try:
            peer = await open_websocket(self.server.port, path, headers)
        except OSError:
            raise Ended("no connection") from None
        self._peers.append(peer)
        self.say(" ".join(filter(None, [str(peer.head.status), peer.head.find("sec-websocket-protocol")])))
        if not peer.is_open:
            body = (await peer.read_body()).decode()
            raise Ended("the server's own words" if _OWN_WORDS.match(body) else repr(body))
        return peer

    async def get(self, path: str, headers: Headers = (), patience: float = PATIENCE) -> Peer:
        peer = await request(self.server.port, path, headers, patience)
        self._peers.append(peer)
        self.say(str(peer.head.status))
        return peer

    async def connect(self) -> Connection:
        """A connection for HTTP requests, of which nothing is said by itself."""
        connection = await connect(self.server.port)
        self._peers.append(connection)
        return connection

    async def run_program(self, *command: str) -> None:
        """Run a client that is a program of its own; what it prints is what it says."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(PROGRAM_SECONDS):
                output, errors = await process.communicate()
        except TimeoutError:
            self.say(f"the program is not done within {PROGRAM_SECONDS:.0f} s")
            return
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        for line in filter(None, output.decode().splitlines()):
            self.say(line)
        if process.returncode:
            words = [line for line in errors.decode().splitlines() if line[:1].strip()]
            self.say(f"the program fails: {' / '.join(words[1:] or words)[-300:]}")

    async def run_client(self, module: str, *arguments: str) -> None:
        """Run a program of clients/ with the framework's own environment."""
        await self._run_module(self.server.command[0], module, *arguments)

    async def run_browser(self, use: str) -> None:
        """Do what clients/chromium.py has under this name."""
        assert self._browser is not None
        await self._run_module(str(self._browser.python), "chromium", use, str(self._browser.script))

    async def _run_module(self, python: str, module: str, *arguments: str) -> None:
        name = f"conformance.frameworks.clients.{module}"
        await self.run_program(python, "-m", name, str(self.server.port), *arguments)

    @contextmanager
    def watch_memory(self) -> Iterator[None]:
        """Say whether the server's resident memory stayed near where it was."""
        process = Path(f"/proc/{self.server.pid}")
        # proc(5), clear_refs: 5 resets the peak to what there is now.
        (process / "clear_refs").write_text("5")
        before = _read_peak(process)
        yield
        grown = _read_peak(process) - before
        self.say("memory bounded" if grown < MEMORY_MARGIN else "memory not bounded")

    async def wait_application(self, beginning: str) -> None:
        """Wait until the application has told something that begins so; say how long that took."""
        started = time.monotonic()
        while not any(text.startswith(beginning) for text in self._read_seen()["app"]):
            if time.monotonic() - started > 1.5 * PATIENCE:
                self.say("application: nothing")
                return
            await asyncio.sleep(0.02)
        self.say(f"application: {beginning} {describe_time(time.monotonic() - started)}")

    async def finish(self) -> Outcome:
        for peer in self._peers:
            peer.drop()
        await asyncio.sleep(SETTLE_SECONDS)
        if self.server.poll() is not None and "server ends" not in str(self._said):
            self.say(f"server ends with {self.server.poll()}")
        seen = self._read_seen()
        log = [line for line in seen["log"] if not _ROUTINE.match(line) and line != BY_CHANCE]
        log += [BY_CHANCE] if BY_CHANCE in seen["log"] else []
        return Outcome(self._said, seen["app"], log, self.was_ended)

    def _read_seen(self) -> Dict[str, List[str]]:
        seen: Dict[str, List[str]] = {"app": [], "log": []}
        for line in self.server.read_log()[self._start :].split("\n"):
            if line.startswith(MARK):
                kind, text = json.loads(line[len(MARK) :])
                seen[kind].append(text)
        return seen


def _read_peak(process: Path) -> int:
    """The largest resident size of a process, in bytes (proc(5), status)."""
    [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
    return 1024 * int(kilobytes)


@dataclass(frozen=True)
class Scenario:
    """right: what the client must see of wsbridge, whatever uvicorn does.

    log: all that wsbridge itself may log, None for whatever the framework makes it say.
    of: the frameworks that it is for; empty for all that do not say otherwise.
    is_http: whether it has no WebSocket in it; with the plug-in, HTTP is uvicorn's own.
    in_chromium: whether its client is the browser.

    "..." at the end of a line stands for any rest.
    """

    run: Callable[[Trial], Awaitable[None]]
    right: Tuple[str, ...]
    log: Optional[Tuple[str, ...]]
    of: str
    is_http: bool = False
    in_chromium: bool = False


async def run_scenario(scenario: Scenario, server: ServerProcess, browser: Optional[Browser]) -> Outcome:
    trial = Trial(server, browser)
    try:
        await scenario.run(trial)
    except Ended as ended:
        trial.say(str(ended))
    return await trial.finish()
