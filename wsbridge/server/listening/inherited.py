"""Sockets that this process has inherited: the one of ``fd``, and those of systemd's socket activation."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import List

from ...config import ServerConfig
from ...protocols.errors import ConfigError
from ..arguments import check_socket
from ..logs.log import error_logger as logger

__all__ = ["inherit_socket", "take_systemd_sockets"]

# sd_listen_fds(3): SD_LISTEN_FDS_START, the descriptor of the first socket.
FIRST_DESCRIPTOR = 3

VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def inherit_socket(descriptor: int, name: str) -> socket.socket:
    """A duplicate of the socket at ``descriptor``, which must be one to listen on, and stays open.

    Raises `ConfigError`, which begins with ``name``, if it cannot listen.
    """
    try:
        inherited = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}; it must be an open socket of this process") from None
    try:
        check_socket(inherited, name)
        with contextlib.suppress(OSError):
            inherited.getpeername()
            raise ConfigError(f"{name}: it must listen, but it is a connection (systemd: set Accept=no)")
        return inherited.dup()
    finally:
        inherited.detach()


def take_systemd_sockets(config: ServerConfig) -> List[socket.socket]:
    """The sockets that systemd has opened for this process (socket activation); an empty list if none.

    They are used if ``config`` says nothing else: ``host`` and ``port`` have
    their defaults, and neither ``uds`` nor ``fd`` is set. The variables of the
    environment that pass them on are removed, so that no other server in this
    process or its children takes them. Raises `ConfigError` if one of them
    cannot listen.
    """
    owner = os.environ.get("LISTEN_PID")
    if owner is None:
        return []
    if owner != str(os.getpid()):
        logger.warning(
            "systemd has opened sockets for process %s, and this is process %s: they are not used; start the "
            "server without a shell, or with exec",
            owner,
            os.getpid(),
        )
        return []
    if _names_address(config):
        logger.warning(
            "systemd has opened sockets for this server, and they are not used: host, port, uds or fd is set"
        )
        return []
    _, count, names = (os.environ.pop(name, "") for name in VARIABLES)
    labels = names.split(":")
    return _inherit_all(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + _parse_count(count)), labels)


def _names_address(config: ServerConfig) -> bool:
    default = ServerConfig()
    return any(getattr(config, name) != getattr(default, name) for name in ("host", "port", "uds", "fd"))


def _parse_count(text: str) -> int:
    # Python refuses to read more than 4300 digits as a number.
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ConfigError(f"LISTEN_FDS={text[:20]!r}: it must be a whole number")
    return int(text)


def _inherit_all(descriptors: range, labels: List[str]) -> List[socket.socket]:
    inherited: List[socket.socket] = []
    with contextlib.ExitStack() as closing:
        for index, descriptor in enumerate(descriptors):
            label = f" ({labels[index]})" if index < len(labels) and labels[index] else ""
            opened = inherit_socket(descriptor, f"descriptor {descriptor} of systemd{label}")
            inherited.append(closing.enter_context(opened))
            # As sd_listen_fds does: a program that the application starts must not keep the port open.
            os.set_inheritable(descriptor, False)
        closing.pop_all()
    return inherited
