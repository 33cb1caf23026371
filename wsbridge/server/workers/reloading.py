"""`ReloadingSupervisor`: one worker, started again whenever a file changes; for development."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, List, Sequence

from ...config import ServerConfig
from ..logs.log import error_logger as logger
from .supervisor import Supervisor, Worker
from .watching import PollingWatcher, WatchedFiles, build_watcher

__all__ = ["ReloadingSupervisor", "build_hasty_config"]

# Seconds that a stop takes at most: who saves a file waits for it. Half of the former is for connections, the
# rest for applications that are cancelled.
STOP_TIMES = {"timeout_graceful_shutdown": 1.0, "timeout_lifespan_shutdown": 1.0}

# So many names of changed files are logged.
NAMES = 3


def build_hasty_config(config: ServerConfig) -> ServerConfig:
    """The configuration of a worker that nobody waits for."""
    of_supervisor = ("reload", "reload_dirs", "reload_includes", "reload_excludes")
    changes = {name: getattr(ServerConfig, name) for name in (*of_supervisor, "drain_seconds")}
    # A debugger blocks the event loop for as long as somebody thinks.
    changes["timeout_worker_healthcheck"] = None
    for name, limit in STOP_TIMES.items():
        configured = getattr(config, name)
        changes[name] = limit if configured is None else min(limit, configured)
    return replace(config, **changes)


class ReloadingSupervisor(Supervisor):
    """A supervisor whose worker is stopped when a file has changed, and started again when it has ended.

    The sockets stay open meanwhile, so that a browser that reloads its page
    waits. A worker that cannot start, or dies, is started again with the next
    change.
    """

    def __init__(self, *arguments: Any, files: WatchedFiles) -> None:
        super().__init__(*arguments)
        self._files = files
        self._watcher = build_watcher(files, self._processes)
        logger.info("watching %s for changes by %s", ", ".join(files.folders), self._watcher.name)

    def run(self) -> None:
        """As `Supervisor.run`; no error of the application ends it."""
        try:
            super().run()
        finally:
            self._watcher.close()

    def _list_descriptors(self) -> List[int]:
        return [*super()._list_descriptors(), *self._watcher.descriptors]

    def _find_next_time(self) -> float:
        return min(super()._find_next_time(), self._watcher.next_look)

    def _do_what_is_due(self) -> None:
        try:
            changes = self._watcher.look()
        except ChildProcessError as error:
            self._watcher = PollingWatcher(self._files, self._processes.clock)
            logger.warning("%s: watching goes on by %s", error, self._watcher.name)
            changes = []
        if changes and not self._is_stopping:
            logger.warning("%s: reloading", _describe(changes))
            self._reload()
        super()._do_what_is_due()

    def _reload(self) -> None:
        [seat] = self._seats
        for worker in (seat.serving, seat.starting):
            if worker is not None:
                self._retire(worker)
        if not self._workers:
            self._start(seat)

    def _handle_hangup(self, number: int) -> None:
        if not self._is_stopping:
            logger.info("reloading")
            self._reload()

    def _handle_more(self, number: int) -> None:
        """There is one worker."""

    def _handle_stopped(self, worker: Worker, code: int) -> None:
        super()._handle_stopped(worker, code)
        if not self._is_stopping and not self._workers:
            self._start(worker.seat)

    def _handle_failed_start(self, worker: Worker, code: int) -> None:
        self._print_traceback(worker)
        logger.error("%s could not start: %s; waiting for a change", worker.name, self._explain(worker, code))

    def _handle_death(self, worker: Worker, code: int) -> None:
        logger.error("%s has ended: %s; waiting for a change", worker.name, self._explain(worker, code))


def _describe(changes: Sequence[str]) -> str:
    names = [os.path.relpath(path) for path in changes[:NAMES]]
    more = len(changes) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "") + " changed"
