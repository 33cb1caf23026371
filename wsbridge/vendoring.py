"""``python3 -m wsbridge vendor`` copies this package into another; ``selftest`` tests the copy.

Imports no other module of this package before `check_files` has seen that it
is what was copied.
"""

from __future__ import annotations

import argparse
import hashlib
import keyword
import shutil
import sys
import traceback
from importlib import resources
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NoReturn, Optional, Tuple

from . import __name__ as PACKAGE
from . import __version__

__all__ = ["VendoringError", "check_files", "main", "vendor"]

ORIGINAL = "wsbridge"

MANIFEST = "MANIFEST.sha256"
MANIFEST_TITLE = f"# {ORIGINAL} "

# Whether modules are no files: sys.frozen is of PyInstaller and cx_Freeze, the other of Nuitka.
IS_FROZEN = bool(getattr(sys, "frozen", False)) or "__compiled__" in globals()

# What is copied of this folder by ``--only protocols``, besides that one.
ALWAYS_COPIED = ("LICENSE", "__init__.py", "__main__.py", "py.typed", "selftest.py", "vendoring.py")


class VendoringError(Exception):
    """Nothing was copied, or the copy is not intact; the text is one line that says why."""


# --------------------------------------------------------------------------- files


def _find_files(folder: Any, prefix: str = "") -> Iterator[Tuple[str, Any]]:
    """Every file below a folder, which may lie in a zip: its name with slashes, and its path.

    The caches of bytecode are left out: ``__pycache__``, and what ``compileall -b`` leaves beside the source.
    """
    entries = {entry.name: entry for entry in folder.iterdir()}
    for name, entry in entries.items():
        if entry.is_dir():
            if name != "__pycache__":
                yield from _find_files(entry, f"{prefix}{name}/")
        elif not (name.endswith(".pyc") and name[:-1] in entries):
            yield prefix + name, entry


def _read_package() -> Dict[str, bytes]:
    if IS_FROZEN:
        raise VendoringError("the modules of a frozen program are no files")
    return {name: file.read_bytes() for name, file in _find_files(resources.files(PACKAGE))}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _build_manifest(files: Dict[str, bytes]) -> bytes:
    """A digest and a name for each file, as ``sha256sum --check`` reads them."""
    lines = [f"{_digest(data)}  {name}\n" for name, data in sorted(files.items())]
    return "".join([f"{MANIFEST_TITLE}{__version__}\n", *lines]).encode()


def _parse_manifest(manifest: bytes) -> Tuple[str, Dict[str, str]]:
    """The version that was copied, and the digest of each file; nothing if wsbridge did not write it."""
    title, *lines = manifest.decode("utf-8", "replace").splitlines() or [""]
    if not title.startswith(MANIFEST_TITLE):
        return "", {}
    digests = (line.partition("  ") for line in lines)
    return title[len(MANIFEST_TITLE) :], {name: digest for digest, _, name in digests}


def _join(names: Iterable[str]) -> str:
    first, rest = sorted(names)[:5], sorted(names)[5:]
    return ", ".join(first) + (f" and {len(rest)} more" if rest else "")


# --------------------------------------------------------------------------- vendor


def vendor(folder: Path, only: Optional[str] = None) -> List[str]:
    """Copy this package to ``folder``, or update the copy that is there; return lines that say what was done.

    ``only``: the floor to which the copy is limited, "protocols"; None copies everything.

    Raises `VendoringError` if the folder's name cannot be a package's, or if the
    folder has a file that no earlier copy has left there, and OSError.
    """
    _check_place(folder)
    new = _select_files(only)
    found = dict(_find_files(folder)) if folder.is_dir() else {}
    old_manifest = found.pop(MANIFEST).read_bytes() if MANIFEST in found else None
    old_version, listed = _parse_manifest(old_manifest or b"")
    known = new.keys() | listed.keys()
    # What is in no copy is not read: it may be huge, a pipe, or a link to nothing.
    foreign = [name for name in found if name not in known]
    old = {name: found[name].read_bytes() for name in found.keys() & known}
    # Files that already are what they should become are those of an update that was interrupted.
    foreign += [name for name in old if old[name] != new.get(name) and _digest(old[name]) != listed.get(name)]
    if old_manifest is not None and not old_version:
        foreign.append(MANIFEST)
    if foreign:
        names = f"files that are not of an unchanged copy: {_join(foreign)}"
        raise VendoringError(f"{folder} has {names}; move them away, and run this again")

    changes = {
        "added": sorted(new.keys() - old.keys()),
        "changed": sorted(name for name in new.keys() & old.keys() if new[name] != old[name]),
        "removed": sorted(old.keys() - new.keys()),
    }
    for name in (*changes["added"], *changes["changed"]):
        _write(folder / name, new[name])
    for name in changes["removed"]:
        _remove(folder / name)
    # Last, so that an update that is interrupted can be repeated.
    manifest = _build_manifest(new)
    if manifest != old_manifest:
        _write(folder / MANIFEST, manifest)

    lines = [f"{what} {name}" for what, names in changes.items() for name in names] if old else []
    counts = ", ".join(f"{len(names)} {what}" for what, names in changes.items() if names)
    was = f" (was {old_version})" if old_version not in ("", __version__) else ""
    return [*lines, f"{folder}: {ORIGINAL} {__version__}{was}, files: {counts or 'as they were'}"]


def _select_files(only: Optional[str]) -> Dict[str, bytes]:
    return {
        name: data
        for name, data in _read_package().items()
        # A name that begins with a dot is an editor's, or the file system's.
        if name != MANIFEST
        and "/." not in f"/{name}"
        and (only is None or name in ALWAYS_COPIED or name.startswith(f"{only}/"))
    }


def _check_place(folder: Path) -> None:
    place = folder.resolve()
    if not place.name.isidentifier() or keyword.iskeyword(place.name):
        raise VendoringError(f"{place.name!r} cannot be imported: the last part of DEST names the package")
    ours = Path(__file__).resolve().parent
    if ours in (place, *place.parents):
        raise VendoringError(f"{folder} is inside the package that would be copied: choose a folder outside")


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # Where the name is a link, what it leads to is somebody else's.
    if file.is_symlink() or file.exists():
        file.unlink()
    file.write_bytes(data)


def _remove(file: Path) -> None:
    """Remove a file, and the folders in which no other file is left but bytecode."""
    file.unlink()
    folder = file.parent
    while not any(_find_files(folder)):
        shutil.rmtree(folder)
        folder = folder.parent


# --------------------------------------------------------------------------- selftest

_WAY_OUT = "remove the copy, and make it again with `vendor`"


def check_files() -> str:
    """Compare the files of this package with its manifest; return a line that says what was checked.

    Raises `VendoringError` if a file has changed, is missing or is not listed, and OSError.
    """
    if IS_FROZEN:
        return "not checked: the modules of a frozen program are no files"
    files = _read_package()
    manifest = files.pop(MANIFEST, None)
    if manifest is None and PACKAGE == ORIGINAL:
        return f"not checked: only a copy made by `vendor` has {MANIFEST}"
    _, listed = _parse_manifest(manifest or b"")
    if not listed:
        raise VendoringError(f"{MANIFEST} is missing, or is not what `vendor` has written; {_WAY_OUT}")
    differences = {
        "changed": [name for name in files.keys() & listed.keys() if _digest(files[name]) != listed[name]],
        "missing": listed.keys() - files.keys(),
        "not listed": files.keys() - listed.keys(),
    }
    found = "; ".join(f"{what}: {_join(names)}" for what, names in differences.items() if names)
    if found:
        raise VendoringError(f"not as in {MANIFEST}: {found}; {_WAY_OUT}")
    return f"{len(files)}, as in {MANIFEST}"


def _run_selftest() -> List[str]:
    files = check_files()
    try:
        from . import selftest

        return [f"files: {files}", *selftest.run()]
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise VendoringError(f"{text} ({frame.filename}:{frame.lineno})") from error


# --------------------------------------------------------------------------- command line


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (--help says more)\n")


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=f"python3 -m {PACKAGE}", description="Copy this package into yours; test the copy.")
    parser.add_argument("--version", action="version", version=f"{PACKAGE} {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="vendor | selftest")
    text = "copy this package to a folder, or update the copy that is there"
    of_vendor = commands.add_parser("vendor", help=text, description=text)
    of_vendor.add_argument("folder", metavar="DEST", type=Path, help="the copy, such as myapp/_vendor/ws")
    of_vendor.add_argument("--only", choices=["protocols"], help="copy the codec and the handshake alone")
    text = "compare the files of this copy with its manifest, and let it talk to itself, offline"
    commands.add_parser("selftest", help=text, description=text)
    return parser


def main(arguments: Optional[List[str]] = None) -> int:
    """Run ``vendor`` or ``selftest``; returns 0, or 1 if it has failed, of which one line on stderr says why.

    Raises SystemExit for ``--help``, and with 2 for wrong arguments.
    """
    parser = _build_parser()
    values = parser.parse_args(arguments)
    try:
        lines = vendor(values.folder, values.only) if values.command == "vendor" else _run_selftest()
    except (VendoringError, OSError) as error:
        print(f"{parser.prog} {values.command}: error: {error}", file=sys.stderr)
        return 1
    for line in lines:
        print(line)
    return 0
