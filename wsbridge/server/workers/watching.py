"""Which files have changed: found by looking at all, or told by `watchfiles` where that is installed."""

from __future__ import annotations

import importlib
import importlib.util
import os
import select
import signal
from fnmatch import fnmatch
from math import inf
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Set, Tuple, Union

from ...config import ServerConfig
from ...protocols.errors import ConfigError
from ..logs.log import error_logger as logger
from .processes import Child, Ends, Processes

__all__ = ["NotifiedWatcher", "PollingWatcher", "WatchedFiles", "build_watcher"]

# Seconds between two looks, at least. A slow look is followed by a pause of PAUSE_FACTOR times its duration:
# looking takes a twentieth of a processor at most.
INTERVAL = 0.25
PAUSE_FACTOR = 20

# A folder with more has something else in it than an application.
MAX_FILES = 20_000

# Folders that hold no code of the application. A virtual environment is known by its pyvenv.cfg.
SKIPPED = ("__pycache__", "node_modules", "site-packages")


class WatchedFiles:
    """The files that ``reload_dirs``, ``reload_includes`` and ``reload_excludes`` describe."""

    def __init__(self, config: ServerConfig) -> None:
        folders = config.reload_dirs or (config.app_dir or ".",)
        for folder in folders:
            if not os.path.isdir(folder):
                raise ConfigError(f"reload_dirs: {folder!r} is no folder")
        self.folders = [os.path.abspath(folder) for folder in folders]
        self._includes = config.reload_includes
        self._excludes = config.reload_excludes
        self._has_warned = False

    def matches(self, path: str) -> bool:
        """Whether a file belongs to them. A pattern with a slash is one of the whole path."""
        return self._fits(path, self._includes) and not self._fits(path, self._excludes)

    def _fits(self, path: str, patterns: Iterable[str]) -> bool:
        name = os.path.basename(path)
        return any(fnmatch(path if "/" in pattern else name, pattern) for pattern in patterns)

    def scan(self) -> Dict[str, Tuple[int, int]]:
        """The time of the last change of each file, and its size."""
        found: Dict[str, Tuple[int, int]] = {}
        for path in self._walk():
            if len(found) == MAX_FILES:
                if not self._has_warned:
                    self._has_warned = True
                    logger.warning("more than %d files are watched: set reload_dirs", MAX_FILES)
                break
            try:
                status = os.stat(path)
            except OSError:
                # Removed since its folder was read, or a link to nothing.
                continue
            found[path] = (status.st_mtime_ns, status.st_size)
        return found

    def _walk(self) -> Iterator[str]:
        for top in self.folders:
            for folder, folders, names in os.walk(top):
                folders[:] = [name for name in folders if not self._is_skipped(folder, name)]
                paths = (os.path.join(folder, name) for name in names)
                yield from filter(self.matches, paths)

    def _is_skipped(self, folder: str, name: str) -> bool:
        if name.startswith(".") or name in SKIPPED:
            return True
        path = os.path.join(folder, name)
        return self._fits(path, self._excludes) or os.path.exists(os.path.join(path, "pyvenv.cfg"))


class PollingWatcher:
    """Looks at all files, as often as that costs little."""

    name = "polling"
    descriptors: Tuple[int, ...] = ()

    def __init__(self, files: WatchedFiles, clock: Callable[[], float]) -> None:
        self._files = files
        self._clock = clock
        self._last = files.scan()
        self.next_look = clock() + INTERVAL

    def look(self) -> List[str]:
        """The files that have changed, come or gone since the last look; none if it is not time to look."""
        begun = self._clock()
        if begun < self.next_look:
            return []
        last, self._last = self._last, self._files.scan()
        ended = self._clock()
        self.next_look = ended + max(INTERVAL, PAUSE_FACTOR * (ended - begun))
        return sorted({path for path, _ in last.items() ^ self._last.items()})

    def close(self) -> None:
        """Nothing is open."""


class NotifiedWatcher:
    """Reads the changes from a child, in which `watchfiles` runs: its threads would forbid to fork."""

    name = "watchfiles"
    next_look = inf

    def __init__(self, files: WatchedFiles, processes: Processes) -> None:
        self._processes = processes
        self._child: Optional[Child] = processes.fork(lambda ends: watch(files, ends))
        self._unread = b""

    @property
    def descriptors(self) -> Tuple[int, ...]:
        """What is readable when files have changed."""
        return () if self._child is None else (self._child.reports,)

    def look(self) -> List[str]:
        """The files that have changed since the last call. `ChildProcessError`: the child has ended."""
        if self._child is None:
            return []
        data = self._processes.read(self._child)
        *lines, self._unread = (self._unread + data).split(b"\0")
        if not data and self._processes.reap(self._child) is not None:
            self._processes.close(self._child)
            self._child = None
            raise ChildProcessError("watchfiles has ended")
        return sorted({os.fsdecode(line) for line in lines})

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._processes.send(self._child, signal.SIGTERM)


def watch(files: WatchedFiles, ends: Ends) -> int:
    """Report changed files until the supervisor has ended; the work of a child process."""
    watchfiles: Any = importlib.import_module("watchfiles")
    # Without changes it returns after a second.
    for changes in watchfiles.watch(
        *files.folders,
        watch_filter=None,
        debounce=100,
        rust_timeout=1000,
        yield_on_timeout=True,
        raise_interrupt=False,
    ):
        if select.select([ends.lifeline], [], [], 0)[0]:
            break
        changed: Set[str] = {path for _, path in changes if files.matches(path)}
        if changed:
            os.write(ends.report, b"".join(os.fsencode(path) + b"\0" for path in changed))
    return 0


def build_watcher(files: WatchedFiles, processes: Processes) -> Union[PollingWatcher, NotifiedWatcher]:
    """A watcher of the better kind that there is."""
    if importlib.util.find_spec("watchfiles") is not None:
        return NotifiedWatcher(files, processes)
    return PollingWatcher(files, processes.clock)
