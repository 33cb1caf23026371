"""Processes that the checks run against, most of them servers, each started, watched and ended here."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import List, Mapping, Optional, Sequence, Union

from .environment import ROOT

START_SECONDS = 30.0
STOP_SECONDS = 10.0

# A port of 127.0.0.1, or the path of a unix socket.
Target = Union[int, Path]

LISTEN = ["--host", "127.0.0.1", "--port", "{port}"]


def build_command(server: str, python: Union[str, Path], application: str) -> List[str]:
    """The command line that serves `application` ("module:attribute") on "{port}".

    server: "wsbridge", "uvicorn", or "plug-in" for uvicorn with wsbridge in it.
    python: an interpreter that can import the application, and uvicorn with httptools and websockets.
    """
    if server == "wsbridge":
        return [str(python), "-m", "wsbridge", application, *LISTEN]
    ws = "wsbridge.plugins.uvicorn:WebSocketProtocol" if server == "plug-in" else "websockets-sansio"
    flags = ["--loop", "asyncio", "--http", "httptools", "--ws", ws]
    return [str(python), "-m", "uvicorn", application, *LISTEN, *flags]


# Below those that systems give to clients: while a server is away, a client must not get its port.
_ports = itertools.cycle(random.sample(range(20_000, 32_000), 12_000))


def find_port() -> int:
    """A port of 127.0.0.1 that nobody uses now, and that was not given away here before."""
    return next(port for port in _ports if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class ServerFailed(Exception):
    """The server process did not come up, or ended too early."""


class Process:
    """`async with Process(name, command, log) as process`: from its start to the end of the block.

    log: where stdout and stderr go.
    settings: environment variables besides this process's own.

    However the block ends, cancellation included, the process has ended behind it.
    """

    _process: subprocess.Popen[bytes]

    def __init__(
        self, name: str, command: Sequence[str], log: Path, settings: Optional[Mapping[str, str]] = None
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self._settings = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(settings or {})}

    async def __aenter__(self) -> Process:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "wb") as output:
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self._settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def poll(self) -> Optional[int]:
        return self._process.poll()

    async def stop(self) -> int:
        """Ask it to end; kill its session when it does not within 10 s. Return the exit code."""
        process = self._process
        try:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while process.poll() is None and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return process.wait()

    def read_log(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def read_last_line(self) -> str:
        lines = [line.strip() for line in self.read_log().splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {self.poll()}"


class ServerProcess(Process):
    """A process that listens: `async with` goes on when it does, or raises `ServerFailed`.

    command: "{port}" in it stands for the port, "{path}" for the unix socket.
    scheme: "ws", or "wss" when it speaks TLS.
    path: the unix socket it listens on instead of a port.
    start_seconds: how long it may take until it listens.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        scheme: str = "ws",
        path: Optional[Path] = None,
        settings: Optional[Mapping[str, str]] = None,
        start_seconds: float = START_SECONDS,
    ) -> None:
        self.port = find_port()
        self.target: Target = path or self.port
        self.scheme = scheme
        filled = [part.replace("{port}", str(self.port)).replace("{path}", str(path)) for part in command]
        super().__init__(name, filled, log, settings)
        self._start_seconds = start_seconds

    async def __aenter__(self) -> ServerProcess:
        await super().__aenter__()
        try:
            await self.wait_until_listening(self.target)
        except BaseException:
            await self.stop()
            raise
        return self

    def find_tracebacks(self) -> List[str]:
        """The last lines of the tracebacks in its log, less those that were raised on purpose."""
        blocks = re.split(r"^Traceback \(most recent call last\):$", self.read_log(), flags=re.MULTILINE)[1:]
        found = []
        for block in blocks:
            lines = [line for line in block.splitlines() if line and not line.startswith((" ", "\t"))]
            if "on purpose" not in block and "Expected text websocket messages" not in block:
                found.append(lines[0] if lines else block.strip())
        return found

    async def wait_until_listening(self, target: Target) -> None:
        """Wait for it to accept connections there; it may listen on more than its own port or path."""
        deadline = time.monotonic() + self._start_seconds
        while time.monotonic() < deadline:
            if self.poll() is not None:
                raise ServerFailed(f"{self.name}: ended at once: {self.read_last_line()} (log: {self.log})")
            if _is_listening(target):
                return
            await asyncio.sleep(0.05)
        raise ServerFailed(f"{self.name}: not listening after {self._start_seconds:.0f} s (log: {self.log})")


def _is_listening(target: Target) -> bool:
    is_path = isinstance(target, Path)
    with socket.socket(socket.AF_UNIX if is_path else socket.AF_INET) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(str(target) if is_path else ("127.0.0.1", target)) == 0
