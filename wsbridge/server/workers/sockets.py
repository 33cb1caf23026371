"""`WorkerSockets`: the listening sockets of all workers, which the supervisor opens and keeps."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import replace
from typing import List, Optional, Sequence, Tuple

from ...config import ServerConfig
from ..listening.sockets import build_urls, open_sockets
from ..listening.unix_socket import identify, remove_path

__all__ = ["WorkerSockets"]

# Linux spreads connections evenly over the sockets of one port, as long as no worker is missing. A socket
# that all accept on is emptied by whichever wakes up first. Other systems give the last socket everything.
SPREADS_CONNECTIONS = sys.platform.startswith("linux") and hasattr(socket, "SO_REUSEPORT")


class WorkerSockets:
    """Opened inside ``with``: sockets of its own for each worker where the system spreads connections.

    ``given`` are the caller's, who closes them; these, inherited ones and a
    unix socket are shared by all workers.
    """

    def __init__(self, config: ServerConfig, given: Optional[Sequence[socket.socket]] = None) -> None:
        self._config = config
        self._shared: Sequence[socket.socket] = given or ()
        self._path_identity: Optional[Tuple[int, int]] = None
        # All that are ours to close.
        self._opened: List[socket.socket] = []

    def __enter__(self) -> WorkerSockets:
        if self._shared:
            return self
        config = self._config
        has_systemd = "LISTEN_PID" in os.environ
        # Without SO_REUSEPORT, so that a port on which another program listens is an error.
        self._opened = open_sockets(config)
        is_inherited = config.fd is not None or (has_systemd and "LISTEN_PID" not in os.environ)
        if config.uds is not None:
            self._path_identity = identify(config.uds)
        if is_inherited or config.uds is not None or config.workers == 1 or not SPREADS_CONNECTIONS:
            self._shared = self._opened
        else:
            # With port 0 the system has chosen it.
            port = self._opened[0].getsockname()[1]
            self._config = replace(config, port=port, reuse_port=True)
            self.close_those_of_worker(self._opened)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
        if self._config.uds is not None:
            remove_path(self._config.uds, self._path_identity)

    def build_urls(self, scheme: str) -> List[str]:
        """The URLs at which the workers can be reached; each once."""
        return list(dict.fromkeys(build_urls(scheme, self._shared or self._opened)))

    def open_for_worker(self) -> Sequence[socket.socket]:
        """The sockets of one more worker. Raises `OSError` if they cannot be opened."""
        if self._shared:
            return self._shared
        opened = open_sockets(self._config, use_systemd=False)
        self._opened += opened
        return opened

    def close(self) -> None:
        """No worker will be started any more: clients can connect until those that run have stopped."""
        for opened in self._opened:
            opened.close()

    def close_those_of_worker(self, sockets: Sequence[socket.socket]) -> None:
        """A worker is no more: close its sockets, unless the others have them too."""
        if not self._shared:
            for opened in sockets:
                opened.close()
            self._opened = [opened for opened in self._opened if opened not in sockets]

    def keep_those_of_worker(self, sockets: Sequence[socket.socket]) -> None:
        """In a worker: close the sockets of the others."""
        self.close_those_of_worker([opened for opened in self._opened if opened not in sockets])
