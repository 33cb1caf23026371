"""Virtual environments with pinned packages, built on demand under conformance/.venvs/.

    python = ensure_environment("peers", ["uvicorn==0.38.0", "wsproto==1.2.0"])
    subprocess.Popen([str(python), "-m", "uvicorn", ...])

A check that wants the packages in its own process calls `enter_environment` first thing in `main`.
What cannot be had raises `Unavailable`, whose text is one line that says what to do; `run.py` prints it
and exits with 2.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Dict, Iterator, List, Sequence, Tuple, Union

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

    name: a word for people; environments of different interpreters and pins never collide, and one is
        rebuilt when its pinned list, or the interpreter it came from, changes.
    requirements: what pip is given, each pinned (`package==version`, or a path or file URL). Name the
        dependencies of dependencies too when their versions matter.
    python: the interpreter to build from; Python 2.7, PyPy and Debian's Pythons without ensurepip work
        (through virtualenv, which then is fetched into an environment of its own).
    only_binary: never compile; a missing wheel is then an `Unavailable` and not a compiler's page of errors.

    Raises `Unavailable` when the interpreter does not start or pip fails. Bounded by 10 minutes. Two
    processes may ask for the same environment at once: one builds, the other waits.
    """
    for requirement in requirements:
        if "==" not in requirement and "/" not in requirement:
            raise Unavailable(f"environment {name}: {requirement!r} is not pinned (write package==version)")
    implementation, major, minor, version, prefix = describe_python(python)
    folder = ENVIRONMENTS / f"{name}-{implementation.lower()}{major}.{minor}"
    wanted: Dict[str, object] = {"requirements": list(requirements), "python": version, "prefix": prefix}
    if _is_built(folder, wanted):
        return _find_python(folder)
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if not _is_built(folder, wanted):
            _build(name, folder, str(python), (major, minor), requirements, only_binary)
            (folder / "built.json").write_text(json.dumps(wanted), "utf-8")
    return _find_python(folder)


def enter_environment(
    name: str, requirements: Sequence[str], python: Union[str, Path] = sys.executable
) -> None:
    """Go on only inside that environment: start run.py again under its python if this is another one.

    Returns at once when this process already runs there; otherwise replaces the process and does not return.
    """
    target = ensure_environment(name, requirements, os.environ.get("CONFORMANCE_OUTER_PYTHON", python))
    if Path(sys.prefix).resolve() == target.parent.parent.resolve():
        return
    os.environ["CONFORMANCE_OUTER_PYTHON"] = str(python)
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


def _find_python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _is_built(folder: Path, wanted: Dict[str, object]) -> bool:
    try:
        built = json.loads((folder / "built.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return bool(built == wanted) and _find_python(folder).exists()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with open(folder.with_name(folder.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(
    name: str,
    folder: Path,
    python: str,
    version: Tuple[int, int],
    requirements: Sequence[str],
    only_binary: bool,
) -> None:
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    log = folder.with_name(folder.name + ".log")
    log.write_bytes(b"")
    said = f"environment {folder.name}"
    commands = [[python, "-m", "venv", str(folder)]]
    if version < (3, 3) or not _run(commands[0], log, f"{said}: creating"):
        shutil.rmtree(folder, ignore_errors=True)
        if name == "virtualenv":
            raise Unavailable(f"{python} cannot make environments: apt-get install python3-venv ({log})")
        host = ensure_environment("virtualenv", VIRTUALENV, _base_python())
        command = [
            str(host),
            "-m",
            "virtualenv",
            "--no-download",
            "--no-periodic-update",
            "-p",
            python,
            str(folder),
        ]
        if not _run(command, log, f"{said}: creating"):
            raise Unavailable(f"{said}: virtualenv failed for {python}; see {log}")
    command = [str(_find_python(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if only_binary:
        command.append("--only-binary=:all:")
    if requirements and not _run(
        [*command, *requirements], log, f"{said}: installing {len(requirements)} packages"
    ):
        raise Unavailable(f"{said}: {_find_reason(log)}; pip needs to reach a package index, see {log}")
    say_line(f"{said}: ready after {time.monotonic() - started:.0f} s", final=True)


def _base_python() -> str:
    """The interpreter behind the environment this process may be running in."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return str(base)


def _run(command: List[str], log: Path, said: str) -> bool:
    """Run one command of a build with its output in the log; show that time passes."""
    started = time.monotonic()
    settings = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    with open(log, "ab") as output:
        output.write((" ".join(command) + "\n").encode())
        output.flush()
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=settings
            )
        except OSError as error:
            output.write(str(error).encode())
            return False
        try:
            while True:
                elapsed = time.monotonic() - started
                try:
                    return process.wait(1.0) == 0
                except subprocess.TimeoutExpired:
                    say_line(f"{said} ... {elapsed:.0f} s")
                if elapsed > BUILD_SECONDS:
                    output.write(f"\ngiven up after {BUILD_SECONDS:.0f} s\n".encode())
                    return False
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _find_reason(log: Path) -> str:
    """The one line of pip's output that says what went wrong."""
    lines = log.read_text("utf-8", "replace").splitlines()
    errors = [line.strip() for line in lines if re.match(r"\s*(ERROR|error)\b", line)]
    return errors[-1] if errors else "pip failed"


_line_width = 0


def say_line(text: str, *, final: bool = False) -> None:
    """Write a progress line on stderr: over the last one on a terminal, only the `final` one elsewhere."""
    global _line_width
    if sys.stderr.isatty():
        text = text[: shutil.get_terminal_size().columns - 1]
        rest = " " * max(0, _line_width - len(text))
        sys.stderr.write("\r" + text + rest + ("\n" if final else ""))
        _line_width = 0 if final else len(text)
    elif final:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()
