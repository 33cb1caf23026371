"""Virtual environments with pinned packages, built on demand under conformance/.venvs/; folders of reports.

    python = ensure_environment("peers", ["uvicorn==0.38.0", "wsproto==1.2.0"])
    subprocess.Popen([str(python), "-m", "uvicorn", ...])

A check that wants the packages in its own process calls `enter_environment` first thing in `main`.
What cannot be had raises `Unavailable`, whose text is one line that says what to do; `run.py` prints it
and exits with 2.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, List, Sequence, Tuple, Union

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENTS = ROOT / "conformance" / ".venvs"
REPORTS = ROOT / "conformance" / "reports"

# The last virtualenv that still makes environments for Python 2.7, with the pip and setuptools for it inside.
VIRTUALENV = ["virtualenv==20.21.1", "distlib==0.3.9", "filelock==3.12.2", "platformdirs==3.11.0"]

BUILD_SECONDS = 600.0

_DESCRIBE = (
    "import json, platform, sys;"
    "print(json.dumps([platform.python_implementation(), sys.version_info[0], sys.version_info[1],"
    " platform.python_version(), getattr(sys, 'base_prefix', sys.prefix)]))"
)


class Unavailable(Exception):
    """Something the check needs is not there; the text is one line that says how to get it."""


def ensure_environment(
    name: str,
    requirements: Sequence[str],
    python: Union[str, Path] = sys.executable,
    *,
    only_binary: bool = False,
) -> Path:
    """Return the python of an environment that holds exactly `requirements`, building it if need be.

    name: a word for people; each interpreter has its own environment of that name, which is rebuilt when
        its pinned list, or the interpreter it came from, changes.
    requirements: what pip is given, each pinned (`package==version`, or a path or file URL). Name the
        dependencies of dependencies too when their versions matter.
    python: the interpreter to build from; Python 2.7, PyPy and Debian's Pythons without ensurepip work
        (through virtualenv, which then is fetched into an environment of its own).
    only_binary: never compile; a missing wheel is then an `Unavailable` and not a compiler's page of errors.

    Raises `Unavailable` when the interpreter does not start or pip fails. Each step is bounded by 10 minutes.
    Two processes may ask for the same environment at once: one builds, the other waits.
    """
    for requirement in requirements:
        if "==" not in requirement and "/" not in requirement:
            raise Unavailable(f"environment {name}: {requirement!r} is not pinned (write package==version)")
    implementation, major, minor, version, prefix = describe_python(python)
    folder = ENVIRONMENTS / f"{name}-{implementation.lower()}{major}.{minor}"
    built, stamp = folder / "bin" / "python", folder / "built.json"
    wanted = json.dumps({"requirements": list(requirements), "python": version, "prefix": prefix})
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (built.exists() and stamp.exists() and stamp.read_text("utf-8") == wanted):
            shutil.rmtree(folder, ignore_errors=True)
            _build(folder, str(python), requirements, only_binary)
            stamp.write_text(wanted, "utf-8")
    return built


def enter_environment(name: str, requirements: Sequence[str], *, only_binary: bool = False) -> None:
    """Go on only inside that environment: start run.py again under its python if this is another one.

    Returns at once when this process already runs there; otherwise replaces the process and does not return.
    """
    target = ensure_environment(name, requirements, only_binary=only_binary)
    if Path(sys.prefix).resolve() == target.parent.parent.resolve():
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(str(target), [str(target), str(ROOT / "conformance" / "run.py"), *sys.argv[1:]])


def describe_python(python: Union[str, Path]) -> Tuple[str, int, int, str, str]:
    """Return (implementation, major, minor, full version, base prefix) of an interpreter, by asking it."""
    try:
        answer = subprocess.run(
            [str(python), "-c", _DESCRIBE], stdin=subprocess.DEVNULL, capture_output=True, timeout=60
        )
        implementation, major, minor, version, prefix = json.loads(answer.stdout.decode())
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise Unavailable(f"{python} does not start as a Python ({type(error).__name__})") from None
    return implementation, major, minor, version, prefix


def report_folder(name: str) -> Path:
    """Return conformance/reports/NAME, made if it is not there; git ignores all of it."""
    folder = REPORTS / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def lock_folder(folder: Path) -> None:
    """Keep other runs out of a report's folder until this process ends; `Unavailable` if one is in it."""
    lock = open(folder / "lock", "w")  # noqa: SIM115 (held until the process ends)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise Unavailable(f"another run writes to {folder}") from None
    _locks.append(lock)


_locks: List[IO[str]] = []


def _build(folder: Path, python: str, requirements: Sequence[str], only_binary: bool) -> None:
    started = time.monotonic()
    said, log = f"environment {folder.name}", Path(f"{folder}.log")
    log.unlink(missing_ok=True)
    say_line(f"{said}: installing {len(requirements)} packages ...")
    if not _run([python, "-m", "venv", str(folder)], log):
        if requirements == VIRTUALENV:
            raise Unavailable(f"{python} cannot make environments: apt-get install python3-venv ({log})")
        host = str(ensure_environment("virtualenv", VIRTUALENV))
        options = ["--clear", "--no-download", "--no-periodic-update", "-p", python]
        if not _run([host, "-m", "virtualenv", *options, str(folder)], log):
            raise Unavailable(f"{said}: virtualenv failed for {python}; see {log}")
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    command += ["--disable-pip-version-check", *(["--only-binary=:all:"] if only_binary else [])]
    if requirements and not _run([*command, *requirements], log):
        raise Unavailable(f"{said}: {_find_reason(log)}; pip needs to reach a package index, see {log}")
    say_line(f"{said}: ready after {time.monotonic() - started:.0f} s", final=True)


def _run(command: List[str], log: Path) -> bool:
    """Run one command of a build with its output in the log; return whether it succeeded."""
    settings = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    with open(log, "ab", buffering=0) as output:
        output.write((" ".join(command) + "\n").encode())
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=settings,
                timeout=BUILD_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            output.write(f"{error}\n".encode())
            return False
    return done.returncode == 0


def _find_reason(log: Path) -> str:
    """The one line of pip's output that says what went wrong."""
    errors = re.findall(r"^\s*((?:ERROR|error)\b.*)", log.read_text("utf-8", "replace"), re.MULTILINE)
    return str(errors[-1]).strip() if errors else "pip failed"


def say_line(text: str, *, final: bool = False) -> None:
    """Write a progress line on stderr: over the last one on a terminal, only the `final` one elsewhere."""
    end = "\n" if final else ""
    if sys.stderr.isatty():
        # ECMA-48: EL erases what the longer line before has left.
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r{text[:width]}\x1b[K{end}")
    elif final:
        sys.stderr.write(text + end)
    sys.stderr.flush()
