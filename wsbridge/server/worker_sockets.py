"""`WorkerSockets`: the listening sockets of all workers, which the supervisor opens and keeps."""

from __future__ import annotations

import socket
from typing import List, Optional, Sequence, Tuple

from ..config import ServerConfig
from .listening import build_urls, open_sockets
from .unix_socket import identify, remove_path

__all__ = ["WorkerSockets"]


class WorkerSockets:
    """Opened inside ``with``. ``given`` are the caller's, who closes them."""

    def __init__(self, config: ServerConfig, given: Optional[Sequence[socket.socket]] = None) -> None:
        self._config = config
        self._given = given
        self._path_identity: Optional[Tuple[int, int]] = None
        # Of all workers.
        self._opened: List[socket.socket] = []

    def __enter__(self) -> WorkerSockets:
        if self._given is None:
            self._opened = open_sockets(self._config)
            if self._config.uds is not None:
                self._path_identity = identify(self._config.uds)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for opened in self._opened:
            opened.close()
        if self._config.uds is not None:
            remove_path(self._config.uds, self._path_identity)

    def build_urls(self, scheme: str) -> List[str]:
        """The URLs at which the workers can be reached."""
        return build_urls(scheme, self._given or self._opened)

    def open_for_worker(self) -> List[socket.socket]:
        """The sockets of one more worker."""
        return list(self._given or self._opened)

    def close_those_of_worker(self, sockets: Sequence[socket.socket]) -> None:
        """A worker is no more: its sockets are closed, unless others have them too."""

    def keep_those_of_worker(self, sockets: Sequence[socket.socket]) -> None:
        """In a worker: close the sockets of the others."""
