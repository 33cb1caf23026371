"""The path of a unix socket: bound if no server listens on it, removed at the end if it is still ours."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from typing import Iterator, Optional, Tuple

from ...protocols.errors import ConfigError

__all__ = ["identify", "listen_on_path", "remove_path"]

# How often, and at which interval in seconds, to try to lock the folder of the path.
LOCK_ATTEMPTS = 10
LOCK_DELAY = 0.01


def listen_on_path(path: str, mode: int, backlog: int) -> socket.socket:
    """A socket that listens on ``path``, with the permissions ``mode``.

    A path with a leading NUL is an abstract address, without a file. The
    socket of a server that was killed is replaced. Raises `OSError`
    (EADDRINUSE) if a server listens on the path, or a file is there that is no
    socket.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigError("uds is set, but this system has no unix sockets")
    if not path:
        raise ConfigError("uds is empty: it must be a path")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.startswith("\0"):
            listening.bind(path)
            listening.listen(backlog)
        else:
            with _lock_folder(path):
                _take_path(listening, path, mode)
                # Inside the lock, because a socket that does not listen yet looks dead to other servers.
                listening.listen(backlog)
    except BaseException:
        listening.close()
        raise
    return listening


@contextlib.contextmanager
def _lock_folder(path: str) -> Iterator[None]:
    """Keep other wsbridge servers from binding a path in this folder; go on without if locking fails."""
    import fcntl

    with contextlib.ExitStack() as stack:
        # A folder may be writable and not readable, and not every file system has locks.
        with contextlib.suppress(OSError):
            descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
            stack.callback(os.close, descriptor)
            for _ in range(LOCK_ATTEMPTS):
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    # Only a few times: `flock /run/app python3 -m wsbridge` keeps the lock all the time.
                    time.sleep(LOCK_DELAY)
        yield


def _take_path(listening: socket.socket, path: str, mode: int) -> None:
    if _is_dead_socket(path):
        os.unlink(path)
    try:
        listening.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        text = "is already in use" if _is_socket(path) else "is a file that is no socket: it stays as it is"
        raise OSError(error.errno, f"Address {path!r} {text}") from None
    # The socket does not listen yet: no peer can connect while its permissions are those of the umask.
    os.chmod(path, mode)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def _is_dead_socket(path: str) -> bool:
    if not _is_socket(path):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            # Such as EAGAIN: a server listens, and its backlog is full.
            return False
    return False


def identify(path: str) -> Optional[Tuple[int, int]]:
    """Device and inode of the file at ``path``, which identify it; None if there is no file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def remove_path(path: str, identity: Optional[Tuple[int, int]]) -> None:
    """Remove ``path`` if its file still has this identity: another server may have replaced it."""
    if identity is not None and identify(path) == identity:
        os.unlink(path)
