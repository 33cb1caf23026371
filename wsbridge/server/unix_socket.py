"""The path of a unix socket: taken if no server listens on it, removed at the end if it is still ours."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from typing import AsyncIterator, Optional, Tuple

from ..protocols.errors import ConfigError

__all__ = ["identify", "listen_on_path", "remove_path"]

# Attempts, and seconds between two of them, to lock a folder in which another server is taking a path.
LOCK_ATTEMPTS = 10
LOCK_DELAY = 0.01


async def listen_on_path(path: str, mode: int, backlog: int) -> socket.socket:
    """A socket that listens on ``path``, whose permissions are ``mode``; a leading NUL means no file.

    The socket of a server that was killed is replaced. Raises `OSError`
    (EADDRINUSE) where a server listens on the path, or something other than a
    socket is there.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigError("uds is set, but this system has no unix sockets")
    if not path:
        raise ConfigError("uds is empty: it must be a path")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.startswith("\0"):
            listening.bind(path)
        else:
            async with _lock_folder(path):
                _take_path(listening, path, mode)
                # Inside the lock: to other servers a socket that does not listen yet looks dead.
                listening.listen(backlog)
    except BaseException:
        listening.close()
        raise
    return listening


@contextlib.asynccontextmanager
async def _lock_folder(path: str) -> AsyncIterator[None]:
    """Keep other wsbridge servers from taking a path in this folder; without a lock where locking fails."""
    import fcntl

    descriptor = -1
    # A folder that cannot be read may still be written to, and not every file system has locks.
    with contextlib.suppress(OSError):
        descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        for _ in range(LOCK_ATTEMPTS):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # Not for ever: `flock /run/app python3 -m wsbridge`, for one, keeps the lock.
                await asyncio.sleep(LOCK_DELAY)
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _take_path(listening: socket.socket, path: str, mode: int) -> None:
    if _is_dead_socket(path):
        os.unlink(path)
    try:
        listening.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise OSError(error.errno, f"Address {path!r} is already in use") from None
    # It does not listen yet, so that no peer can connect while the umask's mode is in force.
    os.chmod(path, mode)


def _is_dead_socket(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
    except FileNotFoundError:
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
    """What tells the file at ``path`` from another that comes in its place; None where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def remove_path(path: str, identity: Optional[Tuple[int, int]]) -> None:
    """Remove ``path`` if it is what was identified: another server may have taken it over meanwhile."""
    if identity is not None and identify(path) == identity:
        os.unlink(path)
