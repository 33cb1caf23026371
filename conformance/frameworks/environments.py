"""The environments of the applications, and what drives Chromium."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import List, NamedTuple

from ..interop import REQUIREMENTS as INTEROP
from ..lib.environment import Unavailable, ensure_environment

FOLDER = Path(__file__).parent / "requirements"


class Browser(NamedTuple):
    """python: the interpreter that has playwright. script: Socket.IO's client for browsers."""

    python: Path
    script: Path


def read_pins(name: str) -> List[str]:
    return (FOLDER / f"{name}.txt").read_text("utf-8").split()


def prepare_browser() -> Browser:
    """Raises `Unavailable` where there is no Chromium."""
    if shutil.which("chromium") is None:
        raise Unavailable("chromium is missing: apt-get install chromium, or --quick, which goes without it")
    python = ensure_environment("interop", INTEROP)
    # NiceGUI has the one file of JavaScript that is wanted, as its makers have built it.
    nicegui = ensure_environment("frameworks-nicegui", read_pins("nicegui"), only_binary=True)
    [script] = nicegui.parent.parent.glob("lib/python*/site-packages/nicegui/static/socket.io.min.js")
    return Browser(python, script)
