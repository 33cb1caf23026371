"""A vendored copy where it must work: zips, frozen, without modules, read-only, in subinterpreters, twice.

    python3 conformance/run.py vendored [--python PATH ...] [--only WORD ...]

Under each condition a program tests its copies with `selftest`, and then serves a client from another
process: text, binary, compression where there is zlib, close. Without --python: CPython 3.9 to 3.14 and
pypy3, as far as they are here; the frozen programs and the read-only disk are tried on one Python.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Tuple

from ..autobahn.wstest import find_python
from ..lib.environment import Unavailable, describe_python, enter_environment, report_folder, say_line
from ..lib.report import Cell, Page
from ..lib.servers import ServerProcess, find_port
from .conditions import (
    AS_NOBODY,
    FREE_THREADED,
    FROZEN,
    ON_EVERY_PYTHON,
    PYTHON_FOR_NOBODY,
    Condition,
    build_command,
    build_programs,
    find_free_threaded,
    find_skip,
    freeze,
    read_version,
)

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
REQUIREMENTS = [
    *("websockets==17.4", "aiohttp==3.14.5"),
    *("pyinstaller==6.22.3", "pyinstaller-hooks-contrib==2026.9", "altgraph==0.17.5", "packaging==26.4"),
]

# Of one program and its client.
SECONDS = 60.0

MESSAGES = ("", "hello", "\u00e4\u20ac\U0001f600" * 1000, bytes(range(256)) * 300)

# What must not be in a log: an error that was survived is one all the same.
_COMPLAINT = re.compile(r"^.*(?:Traceback|Warning|Exception ignored|Error\b).*$", re.MULTILINE)


class Result(NamedTuple):
    python: str
    condition: str
    outcome: str  # "ok", "failed" or "skipped"
    said: str
    seconds: float = 0.0


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py vendored", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", nargs="+", metavar="PATH", help="these interpreters and no others")
    parser.add_argument(
        "--only", nargs="+", metavar="WORD", default=[""], help="conditions with it in their name"
    )
    options = parser.parse_args(argv)
    enter_environment("vendored", REQUIREMENTS)
    found = [find_python(version) for version in VERSIONS] + [shutil.which("pypy3")]
    pythons = options.python or [python for python in found if python]
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The condition "nobody" reads it as another user.
        folder.chmod(0o755)
        programs = build_programs(folder)
        for python, condition in list_trials(pythons):
            if any(word in condition.name for word in options.only):
                result = try_condition(condition, python, programs)
                print(f"{result.outcome:<8} {result.python}, {result.condition}: {result.said}", flush=True)
                results.append(result)
    print(f"report: {write_page(results)}")
    failed = [result for result in results if result.outcome == "failed"]
    for result in failed:
        print(f"failed   {result.python}, {result.condition}: {result.said}")
    return 1 if failed or not results else 0


def list_trials(pythons: List[str]) -> Iterator[Tuple[str, Condition]]:
    for python in pythons:
        for condition in ON_EVERY_PYTHON:
            yield python, condition
    yield PYTHON_FOR_NOBODY, AS_NOBODY
    yield find_free_threaded() or "", FREE_THREADED
    for condition in FROZEN:
        yield sys.executable, condition


def try_condition(condition: Condition, python: str, programs: Dict[str, Path]) -> Result:
    started = time.monotonic()
    try:
        implementation, _, _, version, _ = describe_python(python)
    except Unavailable:
        return Result("-", condition.name, "skipped", "no such Python on this machine")
    name = f"{implementation} {version}"
    reason = find_skip(condition, python)
    if reason:
        return Result(name, condition.name, "skipped", reason)
    say_line(f"vendored: {name}, {condition.name}")
    log = report_folder("vendored") / f"{name} {condition.name}.log".replace(" ", "-")
    try:
        if condition in FROZEN:
            freeze(programs, condition, Path(python))
        said = asyncio.run(asyncio.wait_for(serve_and_talk(condition, python, programs, log), SECONDS))
        outcome = "ok"
    except Exception as error:
        # Whatever has failed, the other conditions are tried.
        outcome, said = "failed", f"{type(error).__name__}: {error}"
    return Result(name, condition.name, outcome, said, time.monotonic() - started)


class Shortfall(Exception):
    """What the client found is not what must be."""


async def serve_and_talk(condition: Condition, python: str, programs: Dict[str, Path], log: Path) -> str:
    others = [find_port() for _ in condition.versions[1:]]
    command = build_command(condition, python, programs, ["{port}", *map(str, others)])
    settings = {
        "PYTHONPATH": str(programs["zip"]) if condition.program == "zip" else "",
        **condition.settings,
    }
    server = ServerProcess(condition.name, command, log, settings=settings)
    async with server:
        for port in others:
            await server.wait_until_listening(port)
        for port, version in zip([server.port, *others], condition.versions):
            if condition.as_name == "demo":
                await look_at_demo(port)
            else:
                await talk(port, version or read_version(), condition.is_compressed)
        code = await server.stop()
    found = _COMPLAINT.search(server.read_log())
    if code != 0 or found:
        raise Shortfall(f"exit code {code}: {found.group() if found else server.read_last_line()}")
    return "selftest, messages, close"


async def talk(port: int, version: str, is_compressed: bool) -> None:
    from ..lib.clients import Websockets

    client = Websockets()
    await client.open(f"ws://127.0.0.1:{port}/")
    expect(await client.receive(), version, "the version")
    expect(bool(client.extensions), is_compressed, "whether it compresses")
    await client.send_all(MESSAGES)
    expect(await client.receive_all(len(MESSAGES)), list(MESSAGES), "the messages")
    closed = await client.finish(1000)
    expect(closed.code, 1000, "the code of the CLOSE")


async def look_at_demo(port: int) -> None:
    """Get the demo's page, which is a file beside its module, and echo on its WebSocket."""
    from ..lib.clients import Websockets

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    page = await reader.read()
    writer.close()
    expect((page[:15], b"<html" in page), (b"HTTP/1.1 200 OK", True), "the demo's page")
    client = Websockets()
    await client.open(f"ws://127.0.0.1:{port}/ws", headers=[("Origin", f"http://127.0.0.1:{port}")])
    await client.send(b"hello")
    # Texts are the demo's own: a welcome, reports.
    while isinstance(answer := await client.receive(), str):
        pass
    expect(answer, b"hello", "the demo's answer")
    await client.finish(1000)


def expect(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise Shortfall(f"{what}: {found!r:.80} instead of {expected!r:.80}")


def write_page(results: List[Result]) -> Path:
    page = Page("Vendored", f"wsbridge {read_version()}")
    outcomes = [result.outcome for result in results]
    page.facts({name: outcomes.count(name) for name in ("ok", "failed", "skipped")})
    colours = {"ok": "ok", "failed": "fail", "skipped": "none"}
    rows = [
        [python, condition, Cell(outcome, colours[outcome]), f"{seconds:.1f}", said]
        for python, condition, outcome, said, seconds in results
    ]
    page.table(["Python", "condition", "outcome", "seconds", "what was done, or found"], rows)
    return page.write(report_folder("vendored") / "index.html")
