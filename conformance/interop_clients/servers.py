"""The server processes the checks run against, each started, watched and ended here."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import List, Optional, Sequence, Type

from conformance.environment import ROOT
from conformance.interop_clients.tap import Target

START_SECONDS = 15.0
STOP_SECONDS = 10.0


def find_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerFailed(Exception):
    """The server process did not come up, or ended too early."""


class ServerProcess:
    """`with ServerProcess(name, command, log) as server`: runs from "listens" to the end of the block.

    command: what to run; "{port}" in it stands for the port, "{path}" for the unix socket.
    log: where stdout and stderr go.
    scheme: "ws", or "wss" when it speaks TLS.
    path: the unix socket it listens on instead of a port.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, *, scheme: str = "ws", path: Optional[Path] = None
    ) -> None:
        self.name = name
        self.port = find_port()
        self.target: Target = path or self.port
        self.scheme = scheme
        self.command = [
            part.replace("{port}", str(self.port)).replace("{path}", str(path)) for part in command
        ]
        self.log = log
        self._process: Optional[subprocess.Popen[bytes]] = None

    def __enter__(self) -> ServerProcess:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        settings = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        with open(self.log, "wb") as output:
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            self._wait_until_listening()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerFailed(f"{self.name}: not started")
        return self._process

    def send_signal(self, number: int) -> None:
        self._running.send_signal(number)

    def poll(self) -> Optional[int]:
        return self._running.poll()

    def stop(self) -> int:
        """Ask it to end; kill its process group when it does not within 10 s. Return the exit code."""
        process = self._running
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return process.returncode

    def read_log(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def find_tracebacks(self) -> List[str]:
        """The last lines of the tracebacks in its log, less those that were raised on purpose."""
        blocks = re.split(r"^Traceback \(most recent call last\):$", self.read_log(), flags=re.MULTILINE)[1:]
        found = []
        for block in blocks:
            lines = [line for line in block.splitlines() if line and not line.startswith((" ", "\t"))]
            last = lines[0] if lines else block.strip()
            if "on purpose" not in block and "Expected text websocket messages" not in block:
                found.append(last)
        return found

    def _wait_until_listening(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.poll() is not None:
                raise ServerFailed(f"{self.name}: ended at once: {self._read_last_line()} (log: {self.log})")
            if self._is_listening():
                return
            time.sleep(0.05)
        raise ServerFailed(f"{self.name}: not listening after {START_SECONDS:.0f} s (log: {self.log})")

    def _is_listening(self) -> bool:
        is_path = isinstance(self.target, Path)
        with socket.socket(socket.AF_UNIX if is_path else socket.AF_INET) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self.target) if is_path else ("127.0.0.1", self.target))
            except OSError:
                return False
        return True

    def _read_last_line(self) -> str:
        lines = [line for line in self.read_log().splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"exit code {self.poll()}"
