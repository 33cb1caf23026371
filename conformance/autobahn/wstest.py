"""Autobahn's `wstest`: finding or building it, and what it is told and tells of a batch of cases."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence

from ..lib.environment import ROOT, Unavailable, ensure_environment
from .cases import SUITE_VERSION
from .targets import find_python

# What pip resolves for the suite under Python 2.7, all of it, so that nothing moves.
PINS = (Path(__file__).parent / "wstest.txt").read_text("utf-8").split()
IMAGE = f"crossbario/autobahn-testsuite:{SUITE_VERSION}"
HOW_TO_GET = (
    "install Python 2.7 (pyenv install 2.7.18) for it to be built in, or a docker engine, "
    f"or set WSTEST to a wstest of autobahntestsuite {SUITE_VERSION}"
)

_RUN = "from autobahntestsuite.wstest import run; run()"

# The first call of docker fetches the image.
PULL_SECONDS = 600.0


class WSTest(NamedTuple):
    """A wstest that works: `command` in front of its arguments, and where it came from."""

    command: List[str]
    origin: str
    is_docker: bool = False


def find_wstest() -> WSTest:
    """Return the first wstest that works of $WSTEST, PATH, a Python 2.7, docker.

    Raises `Unavailable` when there is none, with the reason for each that does not work; when $WSTEST does
    not work, at once: it was asked for.
    """
    reasons = []
    asked = os.environ.get("WSTEST")
    finders = [_find_asked] if asked else [_find_on_path, _build_with_python2, _find_docker]
    for find in finders:
        try:
            return find()
        except Unavailable as error:
            reasons.append(str(error))
    raise Unavailable(f"{'; '.join(reasons)}: {HOW_TO_GET}")


def _find_asked() -> WSTest:
    asked = os.environ["WSTEST"]
    # Batches run in another folder.
    return _check_version([os.path.abspath(asked) if os.path.dirname(asked) else asked], "$WSTEST")


def _find_on_path() -> WSTest:
    path = shutil.which("wstest")
    if path is None:
        raise Unavailable("no wstest on PATH")
    return _check_version([path], "PATH")


def _build_with_python2() -> WSTest:
    python = find_python((2, 7))
    if python is None:
        raise Unavailable("no Python 2.7")
    built = ensure_environment("wstest", PINS, python)
    # Not bin/wstest: a long path to the interpreter does not fit in a script's first line.
    return _check_version([str(built), "-c", _RUN], f"built with {python}")


def _find_docker() -> WSTest:
    command = ["docker", "run", "--rm", "--init", "--network", "host"]
    _check_version([*command, IMAGE, "wstest"], "docker")
    return WSTest(command, f"docker image {IMAGE}", True)


def _check_version(command: List[str], origin: str) -> WSTest:
    try:
        # Not in conformance/, where autobahn/ would hide the suite's module of that name.
        done = subprocess.run(
            [*command, "-a"], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=PULL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]} ({origin}) does not run: {error}") from None
    found = re.search(rb"AutobahnTestSuite (\S+)", done.stdout + done.stderr)
    if found is None:
        raise Unavailable(f"{command[0]} ({origin}) does not run as a wstest")
    if found[1].decode() != SUITE_VERSION:
        raise Unavailable(f"{command[0]} ({origin}) is version {found[1].decode()}, not {SUITE_VERSION}")
    return WSTest(command, f"{command[0]} ({origin})")


class Batch:
    """Some cases for one process of wstest, and the folder for its specification, its log and its report.

    mode: wstest's own, "fuzzingclient" or "fuzzingserver".
    """

    def __init__(self, wstest: WSTest, mode: str, cases: Sequence[str], folder: Path) -> None:
        self.cases = list(cases)
        self.folder = folder
        self.log = folder / "wstest.log"
        self._report = folder / "report"
        self._report.mkdir(parents=True)
        self._specification = folder / "specification.json"
        command = wstest.command
        if wstest.is_docker:
            mount = ["-v", f"{folder}:{folder}", "-w", str(folder), "-u", f"{os.getuid()}:{os.getgid()}"]
            command = [*command, *mount, "-e", "PYTHONUNBUFFERED=1", IMAGE, "wstest"]
        self.command = [*command, "-m", mode, "-s", str(self._specification), "-u", "0"]

    def write_specification(self, **where: Any) -> None:
        """Write what wstest reads when it starts; `where` is "url", or "servers"."""
        specification = {
            **where,
            "outdir": str(self._report),
            "cases": self.cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        self._specification.write_text(json.dumps(specification, indent=1), "utf-8")

    def read_records(self) -> Dict[str, Dict[str, Any]]:
        """Return {case: wstest's record of it} of what is in its report; "page" is its page for people."""
        index = self._report / "index.json"
        if not index.exists():
            return {}
        records = {}
        for agent in json.loads(index.read_text("utf-8", "replace")).values():
            for case, entry in agent.items():
                path = self._report / entry["reportfile"]
                record = json.loads(path.read_text("utf-8", "replace"))
                records[case] = {**record, "page": str(path.with_suffix(".html"))}
        return records
