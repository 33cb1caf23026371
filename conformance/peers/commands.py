"""Runs the commands of the guide to plug-ins, and others with uvicorn's options, and talks to the servers.

Also compares the flags of the guide to migrating with those of uvicorn.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Awaitable, Callable, List, Tuple

from ..lib.environment import ROOT, say_line
from ..lib.servers import ServerFailed, ServerProcess
from ..lib.wire import (
    CLOSE,
    FIN,
    KEY,
    PING,
    TEXT,
    Frame,
    Head,
    build_close,
    build_frame,
    parse_frames,
    parse_head,
)
from .differences import Case

GUIDE = ROOT / "wsbridge" / "guide" / "plugins.md"
MIGRATING = GUIDE.with_name("migrating.md")
SECONDS = 5.0
MASK = b"\x37\xfa\x21\x3d"
HELLO = build_frame(FIN | TEXT, b"hello", MASK)
BYE = build_frame(FIN | CLOSE, build_close(1000), MASK)


class Client:
    """One raw connection to a server; what takes longer than `SECONDS` raises."""

    head: Head

    def __init__(self, server: ServerProcess, path: str = "/", headers: str = "", early: bytes = b"") -> None:
        self._server = server
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY.decode()}\r\n{headers}\r\n"
        ).encode() + early
        self._data = b""

    async def __aenter__(self) -> Client:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        self.send(self._request)
        head = None
        while head is None:
            await self._read()
            head, self._data = parse_head(self._data)
        self.head = head
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def _read(self) -> None:
        data = await asyncio.wait_for(self._reader.read(65536), SECONDS)
        if not data:
            raise EOFError(f"the server has closed behind {self._data!r}")
        self._data += data

    async def read_frame(self) -> Frame:
        while True:
            frames, _ = parse_frames(self._data)
            if frames:
                self._data = self._data[2 + len(frames[0].payload) :]
                return frames[0]
            await self._read()

    @property
    def seen(self) -> Any:
        """What the application has seen of the scope."""
        return json.loads(self.head.find("x-seen") or "{}")


def expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, not {expected!r}")


async def check_echo(server: ServerProcess) -> None:
    async with Client(server) as client:
        await finish_echo(client)
        expect("state", client.seen["state"], {"lifespan": "has begun"})


async def finish_echo(client: Client) -> None:
    client.send(HELLO)
    expect("answer", (await client.read_frame()).payload, b"hello")
    client.send(BYE)
    expect("CLOSE", (await client.read_frame()).payload, build_close(1000))


async def check_early_data(server: ServerProcess) -> None:
    async with Client(server, early=HELLO) as client:
        expect("answer to what came with the head", (await client.read_frame()).payload, b"hello")
        await finish_echo(client)


async def check_options(server: ServerProcess) -> None:
    """For ``--root-path /api --header a:b --no-server-header --no-date-header``."""
    forwarded = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
    async with Client(server, "/room?a=b", forwarded) as client:
        await finish_echo(client)
        seen = client.seen
        expect("path", (seen["root_path"], seen["path"]), ("/api", "/api/room"))
        expect("client", (seen["scheme"], seen["client"][0]), ("wss", "192.0.2.1"))
        found = [client.head.find(name) for name in ("a", "server", "date")]
        expect("headers", found, ["b", None, None])
    wanted = 'INFO:     192.0.2.1:0 - "WebSocket /api/room?a=b" [accepted]'
    expect("line in the log", wanted in server.read_log(), True)


async def check_limits(server: ServerProcess) -> None:
    """For ``--ws-max-size 4 --ws-ping-interval 0.3``."""
    async with Client(server) as client:
        expect("server", client.head.find("server"), "uvicorn")
        expect("ping", (await client.read_frame()).opcode, PING)
        client.send(HELLO)
        expect("CLOSE", (await client.read_frame()).payload[:2], build_close(1009))


async def check_origin(server: ServerProcess) -> None:
    async with Client(server, headers="Origin: https://example.org\r\n") as client:
        expect("status", client.head.status, 403)
    async with Client(server, headers="Origin: http://example.com\r\n") as client:
        await finish_echo(client)


async def check_stop(server: ServerProcess) -> None:
    """For ``--timeout-graceful-shutdown 1``, and an application that goes on."""
    async with Client(server, "/goes-on") as client:
        started = time.monotonic()
        stopping = asyncio.ensure_future(server.stop())
        expect("CLOSE", (await client.read_frame()).payload, build_close(1012))
        client.send(build_frame(FIN | CLOSE, build_close(1012), MASK))
        await stopping
    expect("seconds until the end below 4", time.monotonic() - started < 4, True)
    expect("line in the log", "timeout graceful shutdown exceeded" in server.read_log(), True)


Check = Callable[[ServerProcess], Awaitable[None]]


def build_runs(commands: List[str]) -> List[Tuple[str, Check]]:
    """The guide's ``commands``, and others of uvicorn; each with the check of the server that it starts."""
    uvicorn = next(command for command in commands if command.startswith("uvicorn"))
    with_headers = "--root-path /api --header a:b --no-server-header --no-date-header"
    return [
        *((command, check_echo) for command in commands),
        *(
            (f"{uvicorn} --http {http} --loop {loop}", check_echo if http == "zttp" else check_early_data)
            for http in ("h11", "httptools", "zttp")
            for loop in ("asyncio", "uvloop")
        ),
        (f"{uvicorn} --workers 2", check_echo),
        (f"{uvicorn} {with_headers}", check_options),
        (f"{uvicorn} --ws-max-size 4 --ws-ping-interval 0.3", check_limits),
        (f"{uvicorn} --timeout-graceful-shutdown 1", check_stop),
        ("uvicorn main:app --ws protocol:SameOrigin", check_origin),
        ("uvicorn main:app --ws myapp._ws.plugins.uvicorn:WebSocketProtocol", check_echo),
    ]


def run_commands(python: Path, folder: Path) -> List[Case]:
    """What became of each command."""
    files = folder / "commands"
    shutil.rmtree(files, ignore_errors=True)
    shutil.copytree(ROOT / "wsbridge", files / "myapp" / "_ws", ignore=shutil.ignore_patterns("__pycache__"))
    (files / "myapp" / "__init__.py").touch()
    (files / "main.py").write_text("from conformance.peers.app import app\n")
    text = GUIDE.read_text("utf-8")
    for name, block in re.findall(r"^```\w+\n# (\w+\.py)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        (files / name).write_text(block)
    commands = re.findall(r"^```shell\n(.*?)\n```$", text, re.DOTALL | re.MULTILINE)
    cases = [
        asyncio.run(run_command(command, check, python, files, number))
        for number, (command, check) in enumerate(build_runs(commands))
    ]
    return [*cases, compare_flags(python)]


def compare_flags(python: Path) -> Case:
    """Whether the guide to migrating has every flag of this uvicorn, and no other."""
    command = [str(python), "-m", "uvicorn", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    theirs = set(re.findall(r"^  (--[\w-]+)", done.stdout, re.MULTILINE))
    table = re.findall(r"^\| `(--[\w-]+)` \|", MIGRATING.read_text("utf-8"), re.MULTILINE)
    wrong = sorted(theirs.symmetric_difference(table))
    return Case("uvicorn --help", f"only in uvicorn, or only in {MIGRATING.name}: {wrong}" if wrong else "")


async def run_command(command: str, check: Check, python: Path, files: Path, number: int) -> Case:
    say_line(f"{command} ...")
    program, *rest = shlex.split(command)
    where = ["--bind", "127.0.0.1:{port}"] if program == "gunicorn" else ["--port", "{port}"]
    server = ServerProcess(
        command,
        [str(python), "-m", program, *rest, *where],
        files / f"{number}.log",
        settings={"PYTHONPATH": f"{files}:{ROOT}"},
    )
    failure = ""
    try:
        async with server:
            await check(server)
    except (AssertionError, EOFError, OSError, ServerFailed, asyncio.TimeoutError) as error:
        failure = f"{str(error) or type(error).__name__} (log: {server.log})"
    return Case(command, failure)
