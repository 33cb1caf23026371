"""Three real clients (websockets, aiohttp, Chromium) against running servers, through pytest.

    python3 conformance/run.py interop [--client NAME] [--python PATH] [--peer uvicorn] [pytest's arguments]
    python3 conformance/run.py interop -v -k "tls and chromium"

A check is a function test_* in checks_*.py. It runs with each client that is able to, against the servers
that its mark `servers` names (conftest.py starts them on 127.0.0.1), through a tap that keeps what goes over
the wire; besides what a check itself expects, no connection may hold a frame or an end that the standards
forbid (rules.py).

The report is conformance/reports/interop/index.html, with results.xml and the servers' logs.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any, Callable, List

from conformance.lib.environment import Unavailable, enter_environment, report_folder

REQUIREMENTS = [
    *("websockets==17.4", "aiohttp==3.14.5", "playwright==1.65.2", "trustme==1.2.1"),
    *("pytest==9.2.0", "pytest-asyncio==1.5.0", "pytest-html==4.2.0", "pytest-timeout==2.4.0"),
]
CLIENTS = ["websockets", "aiohttp", "chromium"]


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="run.py interop",
        description=(__doc__ or "").splitlines()[0],
        epilog="Further arguments are pytest's: -k WORDS, -v, -x, --lf, --collect-only ...",
        allow_abbrev=False,
    )
    add_options(parser.add_argument)
    options, _ = parser.parse_known_args(argv)
    if sys.version_info < (3, 11):
        raise Unavailable(
            "the clients need Python 3.11 or newer; an older server is given with --python PATH"
        )
    if "chromium" in (options.client or CLIENTS) and shutil.which("chromium") is None:
        raise Unavailable("chromium is missing: apt-get install chromium chromium-driver")
    enter_environment("interop", REQUIREMENTS)
    import pytest

    folder = report_folder("interop")
    more = [
        "-o",
        f"cache_dir={folder / 'cache'}",
        f"--html={folder / 'index.html'}",
        "--self-contained-html",
        f"--junitxml={folder / 'results.xml'}",
    ]
    code = pytest.main([str(Path(__file__).parent), *more, *argv])
    if code == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    return {pytest.ExitCode.OK: 0, pytest.ExitCode.USAGE_ERROR: 2}.get(code, 1)


def add_options(add: Callable[..., Any]) -> None:
    """Describe the options to argparse's `add_argument` or to pytest's `addoption`, which takes the same."""
    add("--client", action="append", choices=CLIENTS, help="only this client")
    add("--python", help="the interpreter for the servers (default: this one)")
    add("--peer", choices=["wsbridge", "uvicorn"], default="wsbridge", help="the server under test")
