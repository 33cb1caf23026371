"""The conditions under which a vendored copy is tried: how each starts serving.py, what a client finds."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import zipapp
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence

from ..lib.environment import ROOT, Unavailable, describe_python

OLD_VERSION = "0.0.9"

BUILD_SECONDS = 300

# Debian's, which the user nobody may execute; what lies in root's home it may not.
PYTHON_FOR_NOBODY = "/usr/bin/python3"

# The whole tree is mounted read-only for this process alone; `env -i` leaves neither HOME nor TMPDIR.
_AS_NOBODY = """
set -e
mount --make-rprivate /
for folder in /tmp /var/tmp /dev/shm; do mount --bind $folder $folder; mount -o remount,bind,ro $folder; done
mount -o remount,bind,ro /
exec setpriv --reuid=65534 --regid=65534 --clear-groups env -i "$@"
"""


class Condition(NamedTuple):
    """One way to run the program.

    name: of serving.CONDITIONS, or another with `as_name`.
    flags: of the interpreter. prefix: the command that starts it. settings: its environment.
    program: which form of it: a key of what `build_programs` returns.
    versions: those that answer, each on its own port; "" is today's.
    is_compressed: whether the server agrees to compression.
    """

    name: str
    flags: Sequence[str] = ()
    prefix: Sequence[str] = ()
    settings: Dict[str, str] = {}  # noqa: RUF012 (nobody changes it)
    program: str = "folder"
    as_name: str = ""
    versions: Sequence[str] = ("",)
    is_compressed: bool = True


# PyPy's hashlib itself warns that it is slow.
_PYPY_WARNS = {"PYTHONWARNINGS": "ignore::RuntimeWarning:hashlib"}

ON_EVERY_PYTHON = [
    Condition("plain"),
    Condition("zipapp", program="zipapp", as_name="plain"),
    Condition("zip", ["-m", "serving"], program="zip", as_name="plain"),
    Condition("isolated", ["-I", "-S", "-OO", "-B"]),
    Condition("debug", settings={"PYTHONDEVMODE": "1", "PYTHONASYNCIODEBUG": "1"}),
    Condition("closed streams", prefix=["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]),
    Condition("two versions", versions=("", OLD_VERSION)),
    Condition("subinterpreters", versions=("", "")),
    Condition("FIPS"),
    Condition("no epoll"),
    Condition("epoll raises"),
    Condition("no ssl"),
    Condition("ssl raises"),
    Condition("no zlib", is_compressed=False),
    Condition("zlib raises", is_compressed=False),
    Condition("no _hashlib", settings=_PYPY_WARNS),
    Condition("_hashlib raises", settings=_PYPY_WARNS),
    Condition("no ctypes"),
    Condition("ctypes raises"),
    Condition("ctypes loads nothing"),
]
AS_NOBODY = Condition("nobody", prefix=["unshare", "--mount", "sh", "-c", _AS_NOBODY, "sh"])
FREE_THREADED = Condition("free-threaded", ["-X", "gil=0"])
FROZEN = [
    Condition("PyInstaller", program="frozen", as_name="frozen"),
    Condition("PyInstaller with the demo", program="frozen with the demo", as_name="demo"),
]


def find_skip(condition: Condition, python: str) -> str:
    """Why the condition cannot be there on this Python; nothing if it can."""
    implementation = describe_python(python)[0]
    if implementation == "PyPy" and condition.name == "subinterpreters":
        return "PyPy has none"
    if condition.prefix and shutil.which(condition.prefix[0]) is None:
        return f"there is no {condition.prefix[0]}"
    return ""


def find_free_threaded() -> Optional[str]:
    """A CPython without the GIL on PATH or in pyenv."""
    kept = sorted((Path.home() / ".pyenv" / "versions").glob("*t/bin/python"), reverse=True)
    for candidate in (shutil.which("python3.14t"), shutil.which("python3.13t"), *map(str, kept)):
        try:
            if candidate:
                describe_python(candidate)
                return candidate
        except Unavailable:
            continue
    return None


def build_programs(folder: Path) -> Dict[str, Path]:
    """The program in a folder, a zip, a zipapp: with the copy of today, an older one, one of the codec."""
    program = folder / "program"
    (program / "myapp").mkdir(parents=True)
    (program / "myapp" / "__init__.py").touch()
    for name in ("__main__.py", "serving.py"):
        shutil.copy(Path(__file__).parent / "serving.py", program / name)
    # The older version is today's with another number.
    older = folder / "older" / "wsbridge"
    shutil.copytree(ROOT / "wsbridge", older, ignore=shutil.ignore_patterns("__pycache__"))
    text = (older / "__init__.py").read_text("utf-8")
    (older / "__init__.py").write_text(text.replace(read_version(), OLD_VERSION), "utf-8")
    copies: Dict[str, List[str]] = {"ws": [], "codec": ["--only", "protocols"]}
    for name, flags in copies.items():
        _run([sys.executable, "-m", "wsbridge", "vendor", str(program / "myapp" / name), *flags], ROOT)
    _run([sys.executable, "-m", "wsbridge", "vendor", str(program / "myapp" / "old")], older.parent)
    zipapp.create_archive(program, folder / "program.pyz")
    archive = shutil.make_archive(str(folder / "program"), "zip", program)
    return {"folder": program, "zipapp": folder / "program.pyz", "zip": Path(archive)}


def freeze(programs: Dict[str, Path], condition: Condition, python: Path) -> None:
    """Add the program as one file to `programs`, made as the guide says."""
    flags = ["--collect-all=myapp.ws"] if condition.as_name == "demo" else []
    source = programs["folder"]
    folder = source.parent / condition.as_name
    output = folder / "program"
    options = ["--onefile", "--log-level=WARN", "--name=frozen", f"--specpath={folder}"]
    options += [f"--workpath={folder}", f"--distpath={output}"]
    # From that folder and with -m, as --collect-all looks for packages where this Python does.
    _run([str(python), "-m", "PyInstaller", *options, *flags, "__main__.py"], source)
    programs[condition.program] = output / "frozen"


def build_command(
    condition: Condition, python: str, programs: Dict[str, Path], ports: Sequence[str]
) -> List[str]:
    arguments = [condition.as_name or condition.name, *ports]
    program = str(programs[condition.program])
    if condition in FROZEN:
        return [program, *arguments]
    named = [] if condition.program == "zip" else [program]
    return [*condition.prefix, python, *condition.flags, *named, *arguments]


@functools.lru_cache
def read_version() -> str:
    line = _run([sys.executable, "-m", "wsbridge", "--version"], ROOT)
    return line.split()[-1]


def _run(command: List[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=BUILD_SECONDS)
    if done.returncode:
        raise Unavailable(f"{' '.join(command[:4])} failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout
