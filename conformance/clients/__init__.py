"""Eighteen client libraries in six languages against a running server: what each sees, and the application.

    python3 conformance/run.py clients [--quick] [--only NAME] [--scenario WORDS] [--peer uvicorn]
        [--python PATH]

One application (app.py), one small program for each client, one list of scenarios and one judge
(scenarios.py): messages of 0 B to 5 MiB byte for byte, compressed and not, a subprotocol, close codes and
UTF-8 reasons both ways, refusals, and push feeds that the client closes, which takes at most 0.5 s.
What a library cannot do stands in the report with a sentence (peers.py). A client whose tools are not on this
machine is named, with the command that installs them.

The report is conformance/reports/clients/index.html, with results.json and the logs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any, AsyncIterator, Dict, List, Optional, Sequence, Tuple

from conformance.lib.environment import Unavailable, lock_folder, report_folder, say_line
from conformance.lib.peers import BY_NAME, find_python
from conformance.lib.servers import ServerFailed, ServerProcess, build_command

from .page import Result, build_page, find_longest_push
from .peers import Missing, Peer, list_peers
from .scenarios import Scenario, Shortfall, judge, list_scenarios

APPLICATION = "conformance.clients.app:app"
SCENARIO_SECONDS, MESSAGES_SECONDS = 12.0, 30.0
WHOLE_SECONDS = 1200.0
# A busy machine may hold up one closing handshake for a moment; a fault of the server holds up each.
TRIES, HELD_UP_SECONDS = 3, 2.0
MOST_TIMEOUTS = 3


def main(argv: List[str]) -> int:
    options = parse_arguments(argv)
    if sys.version_info < (3, 11):
        raise Unavailable(
            "the clients need Python 3.11 or newer; an older server is given with --python PATH"
        )
    lock_folder(report_folder("clients"))
    folder = report_folder("clients-quick" if options.quick else "clients")
    started = time.monotonic()
    peers, absent = prepare_peers(options)
    try:
        results = asyncio.run(asyncio.wait_for(Run(options, folder).run(peers), WHOLE_SECONDS))
    except asyncio.TimeoutError:
        print(f"not done after {WHOLE_SECONDS:.0f} s", file=sys.stderr)
        return 1
    except (ServerFailed, urllib.error.URLError) as error:
        print(f"the server does not serve: {error}", file=sys.stderr)
        return 1
    (folder / "results.json").write_text(json.dumps([asdict(one) for one in results], indent=1), "utf-8")
    server = options.peer if options.python == sys.executable else f"{options.peer} on {options.python}"
    for result in results:
        if result.outcome == "fail":
            print(f"FAIL  {result.client}: {result.scenario}: {result.detail}")
    for name, reason in absent.items():
        print(f"not here: {name}: {reason}")
    page = build_page(server, [peer for peer, _ in peers], results, absent, time.monotonic() - started)
    print(f"report: {page.write(folder / 'index.html')}")
    outcomes = [result.outcome for result in results]
    print(f"{outcomes.count('ok')} passed, {outcomes.count('fail')} failed")
    return 0 if outcomes.count("ok") and not outcomes.count("fail") else 1


def parse_arguments(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py clients", description=(__doc__ or "").splitlines()[0])
    names = [peer.name for peer in list_peers()]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--quick", action="store_true", help="without Go, whose compiler is a download of 80 MB"
    )
    parser.add_argument("--scenario", default="", help="only scenarios with these words in their name")
    parser.add_argument("--peer", choices=["wsbridge", "uvicorn"], default="wsbridge", help="the server")
    parser.add_argument("--python", default=sys.executable, help="the interpreter for wsbridge (this one)")
    return parser.parse_args(argv)


def prepare_peers(options: argparse.Namespace) -> Tuple[List[Tuple[Peer, List[str]]], Dict[str, str]]:
    """Those that can run, each with its command, and for the others what is missing."""
    ready, absent = [], {}
    for peer in list_peers():
        if options.only and peer.name not in options.only:
            continue
        if options.quick and not options.only and not peer.is_quick:
            absent[peer.name] = "left out by --quick"
            continue
        say_line(f"clients: preparing {peer.name}")
        try:
            ready.append((peer, peer.prepare()))
        except Missing as error:
            absent[peer.name] = str(error)
    if not ready:
        raise Unavailable("; ".join(f"{name}: {reason}" for name, reason in absent.items()))
    return ready, absent


class Program:
    """`async with Program(...) as program`: a client's process, from the first line to the block's end."""

    def __init__(self, peer: Peer, command: Sequence[str], log: Path) -> None:
        self.command = command
        self.log = log
        self.settings = {**os.environ, **peer.settings}
        self.process: Optional[asyncio.subprocess.Process] = None

    async def __aenter__(self) -> Program:
        self.log.write_bytes(b"")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def kill(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def ask(self, line: str, seconds: float) -> Dict[str, Any]:
        """What the client saw of one scenario; a process that answers nothing is killed."""
        if self.process is None:
            with open(self.log, "ab") as output:
                self.process = await asyncio.create_subprocess_exec(
                    *self.command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=output,
                    env=self.settings,
                    start_new_session=True,
                )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line.encode())
        try:
            answer = await asyncio.wait_for(self.process.stdout.readline(), seconds)
        except asyncio.TimeoutError:
            await self.kill()
            return {"error": f"no end after {seconds:.0f} s", "is_late": True}
        if not answer:
            await self.kill()
            return {"error": f"the client's process ended, see {self.log}"}
        return dict(json.loads(answer))


class Run:
    """All clients against a server with compression, then one that declines it."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.keys = itertools.count(1)
        self.results: List[Result] = []
        self.scenarios = [one for one in list_scenarios() if options.scenario in one.name]

    async def run(self, peers: Sequence[Tuple[Peer, List[str]]]) -> List[Result]:
        async with self.serve("deflate") as compressed, self.serve("plain") as plain:
            for number, (peer, command) in enumerate(peers, 1):
                say_line(f"clients: {peer.name}, {number} of {len(peers)}")
                log = self.folder / f"client-{peer.name}.log"
                async with Program(peer, command, log) as program:
                    await self.run_peer(peer, program, compressed, plain)
        for server in (compressed, plain):
            found = server.find_tracebacks()
            if found:
                self.results.append(Result("server", f"log of {server.name}", "fail", "; ".join(found[:3])))
        return self.results

    @contextlib.asynccontextmanager
    async def serve(self, name: str) -> AsyncIterator[ServerProcess]:
        python = self.options.python
        if self.options.peer == "uvicorn":
            python = find_python(BY_NAME["uvicorn"])
        flags = {
            "wsbridge": ["--no-ws-per-message-deflate"],
            "uvicorn": ["--ws-per-message-deflate", "false"],
        }
        command = build_command(self.options.peer, python, APPLICATION)
        command += flags[self.options.peer] if name == "plain" else []
        async with ServerProcess(name, command, self.folder / f"server-{name}.log") as server:
            yield server

    async def run_peer(
        self, peer: Peer, program: Program, compressed: ServerProcess, plain: ServerProcess
    ) -> None:
        started, late = time.monotonic(), 0
        results: List[Result] = []
        for scenario in self.scenarios:
            for server in [compressed, plain] if scenario.counts_messages else [compressed]:
                if scenario.name in peer.skips:
                    results.append(Result(peer.name, scenario.name, "none", peer.skips[scenario.name]))
                    continue
                if late == MOST_TIMEOUTS:
                    results.append(Result(peer.name, scenario.name, "fail", f"not run: {late} had no end"))
                    continue
                result, is_late = await self.run_scenario(peer, program, scenario, server)
                results.append(result)
                late = late + 1 if is_late else 0
        outcomes = [result.outcome for result in results]
        # What an application sees of the answer to its CLOSE is another thing on uvicorn.
        is_whole = self.options.peer == "wsbridge" and not self.options.scenario
        if is_whole and "fail" not in outcomes:
            for name in peer.lacks.keys() - {name for result in results for name in result.lacks}:
                results.append(Result(peer.name, name, "fail", "peers.py says it cannot, and it can"))
        self.results += results
        counts = f"{outcomes.count('ok')} passed, {outcomes.count('fail')} failed"
        longest = find_longest_push(peer.name, results)
        told = "" if longest is None else f", push feed closed in {longest:.3f} s"
        say_line(f"clients: {peer.name}: {counts}{told}, {time.monotonic() - started:.1f} s", final=True)

    async def run_scenario(
        self, peer: Peer, program: Program, scenario: Scenario, server: ServerProcess
    ) -> Tuple[Result, bool]:
        """Play and judge it; return its result, and whether the client came to no end."""
        address, is_compressed = f"127.0.0.1:{server.port}", server.name == "deflate"
        limit = MESSAGES_SECONDS if scenario.counts_messages else SCENARIO_SECONDS
        for _ in range(TRIES):
            key = f"{peer.name}-{next(self.keys)}"
            seen = await program.ask(scenario.build_line(address, key), limit)
            application = await asyncio.to_thread(fetch_seen, address, key, "error" not in seen)
            shortfalls = list(judge(scenario, seen, application, is_compressed=is_compressed))
            is_slow = [aspect for aspect, _ in shortfalls if aspect not in peer.lacks] == ["time to close"]
            if not is_slow or seen["seconds"] > HELD_UP_SECONDS:
                break
        name = scenario.name if is_compressed else f"{scenario.name}, uncompressed"
        outcome, detail, lacks = excuse(peer, scenario, shortfalls)
        return Result(peer.name, name, outcome, detail, seen.get("seconds"), lacks), "is_late" in seen


def excuse(peer: Peer, scenario: Scenario, shortfalls: Sequence[Shortfall]) -> Tuple[str, str, Sequence[str]]:
    """Return the outcome, the detail, and what was excused because the library lacks it."""
    if shortfalls and scenario.name in peer.lacks:
        return "none", peer.lacks[scenario.name], [scenario.name]
    excused = [aspect for aspect, _ in shortfalls if aspect in peer.lacks]
    failures = [f"{aspect}: {text}" for aspect, text in shortfalls if aspect not in peer.lacks]
    if failures:
        return "fail", "; ".join(failures), excused
    return "ok", "; ".join(peer.lacks[aspect] for aspect in excused), excused


def fetch_seen(address: str, key: str, is_over: bool) -> Dict[str, Any]:
    """What the application saw, once its connection is over."""
    wait = "&wait=yes" if is_over else ""
    with urllib.request.urlopen(f"http://{address}/seen?key={key}{wait}", timeout=10) as response:
        return dict(json.load(response))
