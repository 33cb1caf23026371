"""A load generator's process, and what server and generator used meanwhile; see load.c and http_load.c."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any, Dict, List, Tuple, Union

from ..lib.environment import ENVIRONMENTS, Unavailable
from .peers import Running
from .workloads import Workload, build_content, build_payload, build_request

LOAD_CORE = 1

# How long a server is watched behind a load: one that waits for events does nothing, one that polls goes on.
QUIET_SECONDS = 0.02

Result = Dict[str, Any]


class Failed(Exception):
    """The server did not do what the workload needs, or does not offer it; `result` has the reason."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.get("failed") or result.get("unsupported"))
        self.result = result


@functools.cache
def build_generator(name: str = "load") -> Path:
    """Compile NAME.c; return the program's path. Raises `Unavailable` without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Unavailable("the load generator needs a C compiler: apt-get install gcc libc6-dev")
    program = ENVIRONMENTS / f"bench-{name}"
    part = program.with_name(f"{program.name}.{os.getpid()}")
    source = Path(__file__).with_name(f"{name}.c")
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(part), str(source)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise Unavailable(f"the load generator does not compile: {done.stderr.strip().splitlines()[-1]}")
    part.replace(program)  # another run may be using the old one
    return program


class Load:
    """`with Load(server, workload) as load`: one generator, against one server.

    Every method raises `Failed` when the server does not do its part.
    """

    def __init__(self, server: Running, workload: Workload) -> None:
        self._server = server
        self._workload = workload
        self._payload = build_payload(workload.size)
        self._file = tempfile.NamedTemporaryFile(prefix="payload-")  # noqa: SIM115 (closed by __exit__)
        self._file.write(compress(self._payload) if workload.offer else self._payload)
        self._file.flush()
        command: List[Union[str, bytes]] = ["taskset", "-c", str(LOAD_CORE)]
        if workload.method is None:
            command += [str(build_generator()), *self._choose_options(), str(server.port), self._file.name]
        else:
            command += [str(build_generator("http_load")), str(server.port)]
            command += [build_request(workload), build_content(workload)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _choose_options(self) -> List[str]:
        workload = self._workload
        options = ["-m", str(workload.in_flight)]
        options += ["-b"] if workload.is_binary else []
        options += ["-z", workload.offer] if workload.offer else []
        options += ["-r"] if self._server.server.family == "floor" else []
        return options

    def __enter__(self) -> Load:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Close the connections as the protocol says; after an exception, end at once."""
        if kind is not None:
            self._process.kill()
        self._process.communicate()
        self._file.close()

    def open(self, count: int) -> Result:
        """Connect until there are so many connections."""
        return self._ask(f"open {count}")

    def run(self, seconds: float) -> Result:
        """Do the workload: visits, or at least `in_flight` messages or a request on every open connection."""
        return self._ask(f"{'visit' if self._workload.visits else 'run'} {seconds}")

    def measure(self, seconds: float) -> Result:
        """Do the workload, and find out what that cost the server."""
        pids = self._server.pids
        before = [read_usage(pids), read_usage([self._process.pid])]
        result = self.run(seconds)
        after = [read_usage(pids), read_usage([self._process.pid])]
        (server, server_wait), (_, load_wait) = (
            [late - early for early, late in zip(*pair)] for pair in zip(before, after)
        )
        time.sleep(QUIET_SECONDS)
        quiet = read_usage(pids)[0] - after[0][0]
        # The threads of one server wait for each other too; only one thread waits for strangers alone.
        waiting = load_wait if self._server.server.is_threaded else max(server_wait, load_wait)
        return {
            **result,
            "per_second": result["count"] / result["seconds"],
            "server_ns": server / result["count"],
            "quiet_share": quiet / 1e9 / QUIET_SECONDS,
            "waiting": waiting / 1e9 / result["seconds"],
        }

    def _ask(self, job: str) -> Result:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(job + "\n")
        self._process.stdin.flush()
        result: Result = json.loads(self._process.stdout.readline())
        if "reply" in result:
            # The generator has seen that all replies are like this one.
            reply = bytes.fromhex(result.pop("reply"))
            result["reply_bytes"] = len(reply)
            if (inflate(reply) if result.pop("reply_rsv1") else reply) != self._payload:
                result = {"failed": f"the echo of {len(self._payload)} bytes is not what was sent"}
        if "count" not in result:
            raise Failed(result)
        return result


def read_usage(pids: List[int]) -> Tuple[int, int]:
    """Nanoseconds that the threads of processes ran and that they waited for a core (proc(5), schedstat)."""
    ran = waited = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            try:
                fields = (thread / "schedstat").read_text().split()
            except OSError:  # a thread of a pool that has just ended
                continue
            ran += int(fields[0])
            waited += int(fields[1])
    return ran, waited


def compress(payload: bytes) -> bytes:
    """RFC 7692 7.2.1: raw deflate, flushed, without the last four bytes."""
    encoder = zlib.compressobj(wbits=-15)
    return (encoder.compress(payload) + encoder.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflate(payload: bytes) -> bytes:
    return zlib.decompressobj(wbits=-15).decompress(payload + b"\x00\x00\xff\xff")
