"""A worker: one process of a supervisor, in which a server runs on sockets that it has inherited."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Optional, Sequence

from ...config import ServerConfig
from ...protocols.errors import ConfigError, LifespanFailed
from ..loading import LoadingFailed
from ..logs.failures import format_error_of_application
from ..logs.log import error_logger as logger
from ..running import run_server
from ..server import Server
from .processes import SIGNALS_OF_TERMINAL, Ends

if TYPE_CHECKING:
    from socket import socket
    from ssl import SSLContext

    from ..metrics.slot import MetricsSlot

__all__ = ["ALIVE", "LEAVING", "READY", "WANTS_REPLACEMENT", "Failure", "read_failure", "run_worker"]

# What a worker reports, a line each; any other line is a `Failure`.
READY = b"ready"
WANTS_REPLACEMENT = b"replace"
LEAVING = b"leaving"
ALIVE = b"alive"

# How often in ``timeout_worker_healthcheck`` a worker reports that its event loop runs.
BEATS = 10

# By name, so that a report says which the supervisor raises. The first that fits counts.
KINDS = {"ConfigError": ConfigError, "LifespanFailed": LifespanFailed, "OSError": OSError}


class Failure(NamedTuple):
    """Why a worker could not run: the error that `Server` raised, and what to print of the application's."""

    kind: str
    message: str
    traceback: str

    def build_error(self) -> Exception:
        """The error, to be raised in another process."""
        return KINDS[self.kind](self.message)


def read_failure(line: bytes) -> Optional[Failure]:
    """Parse what a worker has reported; None if it is something else, which an application may write."""
    try:
        failure = Failure(*json.loads(line))
        return failure if failure.kind in KINDS else None
    except (ValueError, TypeError):
        return None


class WorkerServer(Server):
    """A server that says when it listens, and leaves Ctrl-C and SIGHUP to its supervisor."""

    def __init__(
        self,
        app: str,
        config: ServerConfig,
        ends: Ends,
        sockets: Sequence[socket],
        ssl_context: Optional[SSLContext],
        *,
        warns: bool,
    ) -> None:
        # The supervisor has opened the sockets. Options that say where to listen would contradict them.
        config = replace(config, uds=None, uds_mode=ServerConfig.uds_mode, fd=None)
        super().__init__(app, config, sockets=sockets, ssl_context=ssl_context)
        self._ends = ends
        self._inherited = sockets
        self._beat: Optional[asyncio.TimerHandle] = None
        self._warns = warns

    async def serve(self) -> None:
        """As `Server.serve`, and stop when the supervisor has ended."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._ends.lifeline, self._lose_supervisor, loop)
        # A supervisor that reads no more must not block the event loop.
        os.set_blocking(self._ends.report, False)
        try:
            await super().serve()
        finally:
            os.set_blocking(self._ends.report, True)
            loop.remove_reader(self._ends.lifeline)
            if self._beat is not None:
                self._beat.cancel()

    def _lose_supervisor(self, loop: asyncio.AbstractEventLoop) -> None:
        # The end of the pipe stays readable.
        loop.remove_reader(self._ends.lifeline)
        logger.error("the supervisor has ended: worker %d stops", os.getpid())
        self.stop_serving()

    async def _stop(self) -> None:
        # The server listens on duplicates. While anybody has the sockets open, clients can connect.
        for inherited in self._inherited:
            inherited.close()
        await super()._stop()

    def _warn_of_open_origins(self) -> None:
        if self._warns:
            super()._warn_of_open_origins()

    def _announce(self) -> None:
        _report(self._ends, READY)
        timeout = self.config.timeout_worker_healthcheck
        if timeout is not None:
            self._schedule_report(asyncio.get_running_loop(), timeout / BEATS)

    def _schedule_report(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        self._beat = loop.call_later(interval, self._report_life, loop, interval)

    def _report_life(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        _report(self._ends, ALIVE)
        self._schedule_report(loop, interval)

    def _announce_stop(self) -> None:
        # If the signal is not the supervisor's, it must not wait for the end to start another.
        _report(self._ends, LEAVING)

    def _reach_limit(self) -> None:
        _report(self._ends, WANTS_REPLACEMENT)

    def _handle_signal(self, number: int) -> None:
        # A terminal sends these to every process. Here they would count beside what the supervisor sends.
        if number not in SIGNALS_OF_TERMINAL:
            super()._handle_signal(number)


def run_worker(
    app: str,
    config: ServerConfig,
    ends: Ends,
    sockets: Sequence[socket],
    ssl_context: Optional[SSLContext] = None,
    metrics_slot: Optional[MetricsSlot] = None,
    *,
    warns: bool,
) -> int:
    """Serve ``app`` on ``sockets`` until SIGTERM; returns the exit code of the process.

    Only one of several workers ``warns`` of the configuration.
    """
    try:
        server = WorkerServer(app, config, ends, sockets, ssl_context, warns=warns)
        server.share_metrics(metrics_slot)
        run_server(server)
    except (ConfigError, LifespanFailed, OSError) as error:
        # Of other errors the cause is our own.
        cause = error.__cause__ if isinstance(error, (LoadingFailed, LifespanFailed)) else None
        kind = next(name for name, base in KINDS.items() if isinstance(error, base))
        failure = Failure(kind, str(error), format_error_of_application(cause))
        _report(ends, json.dumps(failure).encode())
        return 2 if kind == "ConfigError" else 1
    return 0


def _report(ends: Ends, line: bytes) -> None:
    try:
        os.write(ends.report, line + b"\n")
    except (BrokenPipeError, BlockingIOError):
        # The supervisor has ended, of which the lifeline tells, or somebody has stopped it for long.
        logger.debug("the supervisor does not read %r", line[:80])
