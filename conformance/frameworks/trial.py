"""One scenario against one server: what the client saw, what the application saw, what was logged."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from typing import Awaitable, Callable, Dict, List, Optional, Tuple

from ..lib.servers import ServerProcess
from .apps import MARK
from .client import PATIENCE, Ended, Headers, Peer, describe_time, open_websocket, request

# From the last thing a scenario waits for to the last line that is logged about it.
SETTLE_SECONDS = 0.15

# What wsbridge says of every request, and of its own beginning and end.
_ROUTINE = re.compile(r'server INFO (.+ "\S+ \S+" \d+$|listening on |stopping)')

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

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self._start = len(server.read_log())
        self._peers: List[Peer] = []
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
        log = [line for line in seen["log"] if not _ROUTINE.match(line)]
        return Outcome(self._said, seen["app"], log, self.was_ended)

    def _read_seen(self) -> Dict[str, List[str]]:
        seen: Dict[str, List[str]] = {"app": [], "log": []}
        for line in self.server.read_log()[self._start :].split("\n"):
            if line.startswith(MARK):
                kind, text = json.loads(line[len(MARK) :])
                seen[kind].append(text)
        return seen


@dataclass(frozen=True)
class Scenario:
    """right: what the client must see of wsbridge, whatever uvicorn does.

    log: all that wsbridge itself may log, None for whatever the framework makes it say.
    of: the frameworks that it is for; empty for all that do not say otherwise.

    "..." at the end of a line stands for any rest.
    """

    run: Callable[[Trial], Awaitable[None]]
    right: Tuple[str, ...]
    log: Optional[Tuple[str, ...]]
    of: str


async def run_scenario(scenario: Scenario, server: ServerProcess) -> Outcome:
    trial = Trial(server)
    try:
        await scenario.run(trial)
    except Ended as ended:
        trial.say(str(ended))
    return await trial.finish()
