"""Work in a child process that is forked from this one: everything loaded here is loaded there."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Callable, List

# Hands one line to the parent.
Say = Callable[[str], None]


def run_in_child(work: Callable[[Say], None], seconds: float) -> List[str]:
    """Return the lines that `work` says; the child ends with it, or after `seconds`."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _work(work, writing)
    os.close(writing)
    try:
        said = _read(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return said.decode().splitlines()


def _work(work: Callable[[Say], None], writing: int) -> None:
    """Never returns: what the parent was doing is not the child's to finish."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        with open(writing, "w", encoding="utf-8") as pipe:

            def say(line: str) -> None:
                pipe.write(line + "\n")
                pipe.flush()

            work(say)
    finally:
        os._exit(0)


def _read(reading: int, deadline: float) -> bytes:
    said = b""
    while select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
        data = os.read(reading, 65536)
        if not data:
            break
        said += data
    return said
