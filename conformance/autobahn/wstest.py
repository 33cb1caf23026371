"""Autobahn's `wstest`: finding or building it, and running one batch of cases with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from ..lib.environment import Unavailable, ensure_environment
from .cases import SUITE_VERSION

# What pip resolves for the suite under Python 2.7, all of it, so that nothing moves.
REQUIREMENTS = [
    f"autobahntestsuite=={SUITE_VERSION}",
    "attrs==21.4.0",
    "autobahn==0.10.9",
    "Automat==22.10.0",
    "cffi==1.15.1",
    "constantly==15.1.0",
    "cryptography==3.3.2",
    "enum34==1.1.10",
    "hyperlink==21.0.0",
    "idna==2.10",
    "incremental==16.10.1",
    "ipaddress==1.0.23",
    "Jinja2==2.11.3",
    "klein==17.10.0",
    "linecache2==1.0.0",
    "MarkupSafe==1.1.1",
    "pyasn1==0.5.1",
    "pyasn1-modules==0.3.0",
    "pycparser==2.21",
    "PyHamcrest==1.10.1",
    "pyOpenSSL==19.1.0",
    "service-identity==18.1.0",
    "setuptools==44.0.0",
    "six==1.16.0",
    "traceback2==1.4.0",
    "Twisted==19.10.0",
    "txaio==2.1.0",
    "typing==3.10.0.0",
    "ujson==2.0.3",
    "unittest2==1.1.0",
    "Werkzeug==1.0.1",
    "wsaccel==0.6.6",
    "zope.interface==4.6.0",
]
IMAGE = f"crossbario/autobahn-testsuite:{SUITE_VERSION}"
HOW_TO_GET = (
    "install Python 2.7 (pyenv install 2.7.18) for it to be built in, or a docker engine, "
    f"or set WSTEST to a wstest of autobahntestsuite {SUITE_VERSION}"
)

_RUN = "from autobahntestsuite.wstest import run; run()"

# The longest case gives itself 480 s; a suite that is silent for longer hangs.
SILENCE_SECONDS = 540.0
STOP_SECONDS = 10.0
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
    asked = os.environ.get("WSTEST")
    if asked:
        # Batches run in folders of their own.
        command = os.path.abspath(asked) if os.path.dirname(asked) else asked
        try:
            return _check_version([command], "$WSTEST")
        except Unavailable as error:
            raise Unavailable(f"{error}: {HOW_TO_GET}") from None
    reasons = []
    for find in (_find_on_path, _build_with_python2, _find_docker):
        try:
            found = find()
        except Unavailable as error:
            reasons.append(str(error))
        else:
            if found is not None:
                return found
    raise Unavailable(f"{'; '.join(reasons or ['wstest is missing'])}: {HOW_TO_GET}")


def _find_on_path() -> Optional[WSTest]:
    path = shutil.which("wstest")
    return _check_version([path], "PATH") if path else None


def _build_with_python2() -> Optional[WSTest]:
    python = find_python2()
    if python is None:
        return None
    built = ensure_environment("wstest", REQUIREMENTS, python)
    # Not bin/wstest: a long path to the interpreter does not fit in a script's first line.
    return _check_version([str(built), "-c", _RUN], f"built with {python}")


def _find_docker() -> Optional[WSTest]:
    if not _answers(["docker", "info"]):
        return None
    command = ["docker", "run", "--rm", "--init", "--network", "host"]
    _check_version([*command, IMAGE, "wstest"], "docker", PULL_SECONDS)
    return WSTest(command, f"docker image {IMAGE}", True)


def find_python2() -> Optional[str]:
    """Return a CPython 2.7 that starts, or None; pyenv's stand-ins on PATH often do not."""
    home = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    built = sorted(map(str, home.glob("versions/2.7*/bin/python")), reverse=True)
    question = "import sys, platform; print(sys.version_info[:2] == (2, 7), platform.python_implementation())"
    for candidate in ("python2.7", "python2", *built):
        path = shutil.which(candidate)
        if path and b"True, 'CPython'" in _ask([path, "-c", question]):
            return path
    return None


def _check_version(command: List[str], origin: str, seconds: float = 60) -> WSTest:
    answer = _ask([*command, "-a"], seconds).decode("utf-8", "replace")
    found = re.search(r"AutobahnTestSuite (\S+)", answer)
    if found is None:
        raise Unavailable(f"{command[0]} ({origin}) does not run as a wstest")
    if found[1] != SUITE_VERSION:
        raise Unavailable(f"{command[0]} ({origin}) is version {found[1]}, not {SUITE_VERSION}")
    return WSTest(command, f"{command[0]} ({origin})")


def _ask(command: Sequence[str], seconds: float = 60) -> bytes:
    try:
        answer = subprocess.run(
            command,
            # Where nothing hides the suite's modules, as autobahn/ does in conformance/.
            cwd=os.sep,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return answer.stdout


def _answers(command: Sequence[str]) -> bool:
    try:
        answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


class Batch:
    """One run of wstest over some cases, as a process; use it as a context manager.

    folder: where its specification, its log and its report go; emptied first.
    specification: wstest's own, without "cases" and "outdir".
    on_case: called with the number of each case that begins, from another thread.
    """

    def __init__(
        self,
        wstest: WSTest,
        mode: str,
        specification: Dict[str, Any],
        cases: Sequence[str],
        folder: Path,
        on_case: Callable[[str], None],
    ) -> None:
        self.folder = folder
        self.log = folder / "wstest.log"
        self._output = folder / "report"
        self._on_case = on_case
        self._heard = time.monotonic()
        shutil.rmtree(folder, ignore_errors=True)
        self._output.mkdir(parents=True)
        path = folder / "specification.json"
        whole = {
            **specification,
            "outdir": str(self._output),
            "cases": list(cases),
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        path.write_text(json.dumps(whole, indent=1), "utf-8")
        command = [*self._build_command(wstest), "-m", mode, "-s", str(path), "-u", "0"]
        settings = {
            key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")
        }
        self._process = subprocess.Popen(
            command,
            cwd=str(folder),
            env={**settings, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _build_command(self, wstest: WSTest) -> List[str]:
        if not wstest.is_docker:
            return wstest.command
        user = f"{os.getuid()}:{os.getgid()}"
        mount = ["-v", f"{self.folder}:{self.folder}", "-w", str(self.folder), "-u", user]
        return [*wstest.command, *mount, "-e", "PYTHONUNBUFFERED=1", IMAGE, "wstest"]

    def _read_output(self) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        with open(self.log, "wb") as log:
            for line in stream:
                self._heard = time.monotonic()
                log.write(line)
                log.flush()
                found = re.match(rb"Running test case ID (\S+)", line)
                if found:
                    self._on_case(found[1].decode())

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self, deadline: float, is_cancelled: Callable[[], bool]) -> str:
        """Wait until wstest ends; return what went wrong, or "".

        deadline: on the monotonic clock. Ends at once when `is_cancelled()` says so.
        """
        while self.is_running:
            now = time.monotonic()
            if is_cancelled():
                return "cancelled"
            if now > deadline:
                return "out of time"
            if now - self._heard > SILENCE_SECONDS:
                return f"wstest was silent for {SILENCE_SECONDS:.0f} s"
            time.sleep(0.05)
        self._reader.join(STOP_SECONDS)
        return "" if self._process.returncode == 0 else f"wstest ended with {self._process.returncode}"

    def stop(self) -> None:
        stop_process(self._process)
        self._reader.join(STOP_SECONDS)

    def read_cases(self) -> Dict[str, Dict[str, Any]]:
        """Return {case: wstest's record of it} of what is in its report."""
        try:
            index = json.loads((self._output / "index.json").read_text("utf-8", "replace"))
        except (OSError, ValueError):
            return {}
        records = {}
        for agent in index.values():
            for case, entry in agent.items():
                try:
                    text = (self._output / entry["reportfile"]).read_text("utf-8", "replace")
                    records[case] = json.loads(text)
                except (OSError, ValueError):
                    continue
        return records


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """End a process of ours: asked first, then forced."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
