"""Autobahn's `wstest`: finding or building it, and what it is told and tells of a batch of cases."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..lib.environment import Unavailable, describe_python, ensure_environment
from .record import SUITE_VERSION

# What pip resolves for the suite under Python 2.7, all of it, so that nothing moves.
PINS = (Path(__file__).parent / "wstest.txt").read_text("utf-8").split()
IMAGE = f"crossbario/autobahn-testsuite:{SUITE_VERSION}"

# Not bin/wstest: a long path to the interpreter does not fit in a script's first line.
_RUN = "from autobahntestsuite.wstest import run; run()"

# The first call of docker fetches the image.
PULL_SECONDS = 600.0


class WSTest(NamedTuple):
    """A wstest that works: `command` in front of its arguments, and where it came from."""

    command: List[str]
    origin: str
    is_docker: bool = False


def find_wstest() -> WSTest:
    """Return the suite, built in Python 2.7 where there is one, or out of docker; raises `Unavailable`."""
    python = find_python("2.7")
    if python is not None:
        return WSTest([str(ensure_environment("wstest", PINS, python)), "-c", _RUN], f"built with {python}")
    if shutil.which("docker") is not None:
        docker = ["docker", "run", "--rm", "--init", "--network", "host"]
        done = subprocess.run([*docker, IMAGE, "wstest", "-a"], capture_output=True, timeout=PULL_SECONDS)
        if done.returncode == 0:
            return WSTest(docker, f"docker image {IMAGE}", True)
    raise Unavailable("needs Python 2.7 (pyenv install 2.7.18), in which wstest is built, or a docker engine")


def find_python(version: str) -> Optional[str]:
    """Return a CPython of that version ("2.7") from PATH or pyenv, or None."""
    home = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    kept = sorted(map(str, home.glob(f"versions/{version}.*/bin/python")), reverse=True)
    wanted: Tuple[str, int, int] = ("CPython", *map(int, version.split(".")))
    for candidate in (shutil.which(f"python{version}"), *kept):
        try:
            # What pyenv puts on PATH often does not start.
            if candidate and describe_python(candidate)[:3] == wanted:
                return candidate
        except Unavailable:
            continue
    return None


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
        nothing: Dict[str, Any] = {"exclude-cases": [], "exclude-agent-cases": {}}
        specification = {**where, "outdir": str(self._report), "cases": self.cases, **nothing}
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
