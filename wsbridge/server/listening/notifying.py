"""`notify`: tell systemd how far this process is, for a unit of ``Type=notify``."""

from __future__ import annotations

import os
import socket
import time

from ..logs.log import error_logger as logger

__all__ = ["READY", "STOPPING", "notify", "notify_reloading"]

READY = "READY=1"
STOPPING = "STOPPING=1"


def notify(state: str) -> None:
    """Send ``state`` to the socket that $NOTIFY_SOCKET names, as sd_notify(3) does; nothing without one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):
        # An abstract socket.
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying:
            notifying.sendto(state.encode("ascii"), address)
    except (OSError, ValueError) as error:
        logger.warning("cannot tell systemd %s at NOTIFY_SOCKET=%r: %s", state, address, error)


def notify_reloading() -> None:
    """Tell that files are read again; `READY` ends it. ``Type=notify-reload`` compares the time."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
