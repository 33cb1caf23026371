"""Several workers as processes, under load: killed, replaced, stopped, reloaded.

With `--server uvicorn` the same happens to `uvicorn --workers`, for comparison.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, List, Optional, Set

from .lib.environment import ROOT, enter_environment, report_folder, say_line
from .lib.report import Cell, Page
from .lib.servers import Process, ServerProcess

REQUIREMENTS = ["websockets==17.4", "uvicorn==0.54.0", "httptools==0.9.0", "click==8.3.1", "h11==0.16.0"]

WORKERS = 2

# Seconds for one trial.
TIMEOUT = 20

# Of a load: a third ask for a page each on a new connection, a third for one after the other, as a proxy does
# that never asks again; a third open WebSockets.
CLIENTS = 18

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
GET_LAST = GET[:-2] + b"Connection: close\r\n\r\n"

APPLICATION = """
import asyncio, os, time

VERSION = 1

async def app(scope, receive, send):
    await globals()[scope["type"]](scope, receive, send)

async def lifespan(scope, receive, send):
    while True:
        event = await receive()
        await send({"type": event["type"] + ".complete"})
        print(event["type"], flush=True)
        if event["type"] == "lifespan.shutdown":
            return
        if "WORKERS_DIE" in os.environ:
            asyncio.get_running_loop().call_later(0.05, os._exit, 3)

async def http(scope, receive, send):
    await asyncio.sleep(0.005)
    page = b"%d %d" % (os.getpid(), VERSION)
    length = (b"content-length", b"%d" % len(page))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": page})

async def websocket(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        if event["text"] == "block":
            time.sleep(3600)
        await send({"type": "websocket.send", "text": str(os.getpid())})
        while event["text"] == "stay":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass
"""

BROKEN = "raise KeyError('database')"

NO_START = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""


class Shortfall(Exception):
    """What should have happened, and has not."""


def expect(holds: object, text: str) -> None:
    if not holds:
        raise Shortfall(text)


class Trial:
    """One server, and what its clients do."""

    def __init__(self, server: str, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.notes: List[str] = []

    def build_command(self, application: str, *flags: str) -> List[str]:
        command = [sys.executable, "-m", self.server, application, "--host", "127.0.0.1", "--port", "{port}"]
        return [*command, *flags]

    @asynccontextmanager
    async def serve(self, *flags: str, settings: Optional[Dict[str, str]] = None) -> AsyncIterator[None]:
        self.folder.joinpath("site_app.py").write_text(APPLICATION, "utf-8")
        command = self.build_command("site_app:app", *(flags or ("--workers", str(WORKERS))))
        self.process = ServerProcess(
            self.server,
            command,
            self.folder / "server.log",
            settings={"PYTHONPATH": f"{ROOT}:{self.folder}", **(settings or {})},
        )
        async with self.process:
            yield

    async def run_to_end(self, name: str, source: str) -> Process:
        """A server that cannot start, when it has ended."""
        self.folder.joinpath(f"{name}.py").write_text(source, "utf-8")
        command = self.build_command(f"{name}:app", "--workers", "4")
        command[command.index("{port}")] = "0"
        process = Process(name, command, self.folder / f"{name}.log", {"PYTHONPATH": f"{ROOT}:{self.folder}"})
        async with process:
            await self.wait_until(lambda: process.poll() is not None, 10, "the supervisor goes on")
        return process

    async def wait_until(self, holds: Callable[[], object], seconds: float, text: str) -> float:
        """The seconds until ``holds`` returns something true."""
        begun = time.monotonic()
        while not holds():
            expect(time.monotonic() - begun < seconds, f"{text} after {seconds} s")
            await asyncio.sleep(0.02)
        return time.monotonic() - begun

    async def wait_for_exit(self, seconds: float = 5) -> Optional[int]:
        await self.wait_until(lambda: self.process.poll() is not None, seconds, "the supervisor goes on")
        return self.process.poll()

    async def get_page(self) -> str:
        """The body of a page: the number of the worker's process, and the version of the application."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.process.port)
        try:
            writer.write(GET_LAST)
            answer = await reader.read()
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        expect(head.startswith(b"HTTP/1.1 200 "), f"a page is answered {answer[:60]!r}")
        return body.decode()

    async def get_pages(self) -> None:
        """Pages one after the other on one connection, until an answer says that it is the last, or 50."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.process.port)
        try:
            for _ in range(50):
                writer.write(GET)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                expect(head.startswith(b"http/1.1 200 "), f"a page is answered {head[:60]!r}")
                await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
                if b"\r\nconnection: close\r\n" in head:
                    return
        finally:
            writer.close()

    async def find_workers(self, count: int = 60) -> Counter[int]:
        """The workers that answer, and how many of ``count`` connections each has got."""
        pages = await asyncio.gather(*[self.get_page() for _ in range(count)])
        return Counter(int(page.split()[0]) for page in pages)

    async def wait_for_workers(self) -> None:
        """Until all of them serve."""
        while len(await self.find_workers(10)) < WORKERS:
            await asyncio.sleep(0.1)

    async def open_websocket(self) -> Any:
        from websockets.asyncio.client import connect

        url = f"ws://127.0.0.1:{self.process.port}/"
        return await connect(url, compression=None, open_timeout=TIMEOUT, ping_interval=None)

    async def ask(self, client: Any) -> int:
        """The worker that a WebSocket is connected to."""
        await client.send("?")
        return int(await client.recv())

    @asynccontextmanager
    async def load(self) -> AsyncIterator[List[str]]:
        """Requests and handshakes all the time; the list of those that have failed."""
        failures: List[str] = []
        counts: Counter[str] = Counter()
        ends = asyncio.Event()

        async def go_on(name: str, do: Callable[[], Awaitable[object]]) -> None:
            while not ends.is_set():
                try:
                    await asyncio.wait_for(do(), TIMEOUT)
                except Exception as error:
                    failures.append(f"{name}: {type(error).__name__}: {error}")
                counts[name] += 1

        async def shake_hands() -> None:
            from websockets.exceptions import ConnectionClosed

            client = await self.open_websocket()
            try:
                await self.ask(client)
            except ConnectionClosed as closed:
                # The worker stops: RFC 6455 7.4.1 says to come back.
                if closed.rcvd is None or closed.rcvd.code not in (1001, 1012):
                    raise
            await client.close()

        kinds = ("page", self.get_page), ("kept connection", self.get_pages), ("handshake", shake_hands)
        tasks = [asyncio.ensure_future(go_on(*kinds[number % 3])) for number in range(CLIENTS)]
        try:
            yield failures
        finally:
            ends.set()
            await asyncio.gather(*tasks)
            self.notes.append(", ".join(f"{count} {name}s" for name, count in counts.items()))


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def check_spread(trial: Trial) -> None:
    async with trial.serve():
        await trial.wait_for_workers()
        found = await trial.find_workers(200)
        shares = sorted(found.values())
        trial.notes.append(f"of 200 connections {shares}")
        expect(len(found) == WORKERS and shares[0] >= 50, f"200 connections are spread as {shares}")


async def check_killed_worker(trial: Trial) -> None:
    async with trial.serve():
        clients = [await trial.open_websocket() for _ in range(20)]
        owners = [await trial.ask(client) for client in clients]
        expect(len(set(owners)) == WORKERS, "20 connections are all of one worker")
        victim = owners[0]
        # Those that come now wait in its backlog, or in that of another.
        os.kill(victim, signal.SIGSTOP)
        pages = [asyncio.ensure_future(trial.get_page()) for _ in range(40)]
        await asyncio.sleep(0.5)
        waiting = sum(not page.done() for page in pages)
        os.kill(victim, signal.SIGKILL)
        begun = time.monotonic()
        results = await asyncio.gather(*pages, return_exceptions=True)
        seconds = time.monotonic() - begun
        failed = [result for result in results if isinstance(result, BaseException)]
        trial.notes.append(f"{waiting} of 40 waited, the last {seconds:.2f} s; {len(failed)} failed")
        expect(not failed, f"connections in the backlog fail: {failed[:1]}")
        expect(seconds < 2, f"the worker is replaced after {seconds:.1f} s")
        for client, owner in zip(clients, owners):
            if owner != victim:
                expect(await trial.ask(client) == owner, "a connection of another worker has another now")
        expect(len(await trial.find_workers()) == WORKERS, "a worker is missing")


async def check_killed_worker_under_load(trial: Trial) -> None:
    async with trial.serve():
        before = set(await trial.find_workers())
        async with trial.load() as failures:
            await asyncio.sleep(1.2)
            victim = before.pop()
            os.kill(victim, signal.SIGKILL)
            await asyncio.sleep(1.5)
        after = await trial.find_workers()
        trial.notes.append(f"{len(failures)} of those that it was serving failed")
        expect(len(failures) <= CLIENTS, f"{len(failures)} fail with {CLIENTS} clients: {failures[-1:]}")
        expect(before <= set(after) and victim not in after and len(after) == WORKERS, "wrong workers")


async def check_killed_supervisor(trial: Trial) -> None:
    async with trial.serve():
        clients = [await trial.open_websocket() for _ in range(10)]
        workers = {await trial.ask(client) for client in clients}
        try:
            trial.process.send_signal(signal.SIGKILL)
            codes = await asyncio.wait_for(asyncio.gather(*map(get_close_code, clients)), 5)
            expect(set(codes) == {1012}, f"the clients get {Counter(codes)}")
            seconds = await trial.wait_until(
                lambda: not any(map(is_running, workers)), 5, "workers without a supervisor go on"
            )
            trial.notes.append(f"all workers ended {seconds:.2f} s later")
        finally:
            for worker in filter(is_running, workers):
                os.kill(worker, signal.SIGKILL)


async def get_close_code(client: Any) -> int:
    await client.wait_closed()
    return int(client.close_code)


async def check_replacing(trial: Trial) -> None:
    async with trial.serve():
        before = set(await trial.find_workers())
        async with trial.load() as failures:
            await asyncio.sleep(0.5)
            trial.process.send_signal(signal.SIGHUP)
            await trial.wait_until(lambda: not any(map(is_running, before)), 10, "workers of before go on")
            await asyncio.sleep(0.5)
        after = await trial.find_workers()
        expect(not failures, f"{len(failures)} requests fail: {failures[:1]}")
        expect(len(after) == WORKERS and not before & set(after), "the workers are those of before")


async def check_stopped_worker(trial: Trial) -> None:
    async with trial.serve():
        before = set(await trial.find_workers())
        victim = min(before)
        async with trial.load() as failures:
            await asyncio.sleep(0.3)
            os.kill(victim, signal.SIGTERM)
            await trial.wait_until(lambda: not is_running(victim), 10, "the worker goes on")
            await asyncio.sleep(0.5)
        after = set(await trial.find_workers())
        expect(not failures, f"{len(failures)} requests fail: {failures[:1]}")
        expect(len(after) == WORKERS and before - {victim} < after, "wrong workers")


async def check_limit(trial: Trial) -> None:
    async with trial.serve(
        "--workers", str(WORKERS), "--limit-max-requests", "150", "--limit-max-requests-jitter", "50"
    ):
        seen: Set[int] = set()
        async with trial.load() as failures:
            for _ in range(6):
                seen |= set(await trial.find_workers(10))
                await asyncio.sleep(0.4)
        trial.notes.append(f"{len(seen)} workers served")
        expect(len(seen) > WORKERS + 1, "workers are not replaced")
        expect(not failures, f"{len(failures)} requests fail: {failures[:1]}")


async def check_stop(trial: Trial, number: int = signal.SIGTERM, *, to_all: bool = False) -> None:
    async with trial.serve():
        clients = [await trial.open_websocket() for _ in range(100)]
        if to_all:
            # As a terminal does it on Ctrl-C.
            os.killpg(trial.process.pid, number)
        else:
            trial.process.send_signal(number)
        codes = await asyncio.wait_for(asyncio.gather(*map(get_close_code, clients)), 5)
        code = await trial.wait_for_exit()
        trial.notes.append(f"close codes {dict(Counter(codes))}, exit code {code}")
        expect(set(codes) == {1012}, f"the clients get {Counter(codes)}")
        expect(code == 0, f"the exit code is {code}")
        expect("killed" not in trial.process.read_log(), "workers were killed")


async def check_interrupt(trial: Trial) -> None:
    await check_stop(trial, signal.SIGINT, to_all=True)


async def check_stop_during_startup(trial: Trial) -> None:
    started = trial.folder / "started"
    slow = f"import pathlib, time\npathlib.Path({str(started)!r}).touch()\ntime.sleep(30)\n"
    trial.folder.joinpath("slow_app.py").write_text(slow, "utf-8")
    command = trial.build_command("slow_app:app", "--workers", "2")
    command[command.index("{port}")] = "0"
    process = Process("slow", command, trial.folder / "slow.log", {"PYTHONPATH": f"{ROOT}:{trial.folder}"})
    async with process:
        await trial.wait_until(started.exists, 10, "no worker starts")
        process.send_signal(signal.SIGTERM)
        seconds = await trial.wait_until(lambda: process.poll() is not None, 5, "the supervisor goes on")
    trial.notes.append(f"ended after {seconds:.2f} s, exit code {process.poll()}")
    expect(process.poll() == 143, f"the exit code is {process.poll()}")


async def check_drain(trial: Trial) -> None:
    flags = ("--workers", str(WORKERS), "--drain-seconds", "2")
    async with trial.serve(*flags):
        clients = [await trial.open_websocket() for _ in range(100)]
        begun = time.monotonic()
        trial.process.send_signal(signal.SIGTERM)

        async def wait(client: Any) -> float:
            expect(await get_close_code(client) == 1012, f"a client gets {client.close_code}")
            return time.monotonic() - begun

        closing = asyncio.gather(*map(wait, clients))
        await asyncio.sleep(0.5)
        results = await asyncio.gather(*[trial.get_page() for _ in range(10)], return_exceptions=True)
        refused = sum(isinstance(result, ConnectionRefusedError) for result in results)
        expect(refused == 10, f"of 10 clients that come while the server stops {refused} are refused")
        times = sorted(await asyncio.wait_for(closing, 10))
        code = await trial.wait_for_exit()
        quarters = [sum(quarter / 2 <= at < (quarter + 1) / 2 for at in times) for quarter in range(5)]
        trial.notes.append(f"in each half second {quarters}")
        expect(all(15 <= count <= 35 for count in quarters[:4]), f"in each half second {quarters} close")
        expect(code == 0, f"the exit code is {code}")


async def check_second_signal(trial: Trial) -> None:
    async with trial.serve():
        client = await trial.open_websocket()
        await client.send("stay")
        await client.recv()
        trial.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        expect(trial.process.poll() is None, "the first signal does not wait for the application")
        trial.process.send_signal(signal.SIGTERM)
        code = await trial.wait_for_exit(6)
        trial.notes.append(f"exit code {code}, which says that an application was abandoned")
        expect(code == 1, f"the exit code is {code}")


async def check_crash_loop(trial: Trial) -> None:
    async with trial.serve(settings={"WORKERS_DIE": "1"}):
        await asyncio.sleep(4)
        starts = trial.process.read_log().count("lifespan.startup\n")
        trial.notes.append(f"{starts} starts of {WORKERS} workers in 4 s")
        expect(2 * WORKERS <= starts <= 5 * WORKERS, f"{starts} starts in 4 s")
        trial.process.send_signal(signal.SIGTERM)
        expect(await trial.wait_for_exit() == 0, f"the exit code is {trial.process.poll()}")


async def check_blocked_loop(trial: Trial) -> None:
    flags = ("--workers", str(WORKERS), "--timeout-worker-healthcheck", "2")
    async with trial.serve(*flags, settings={"PYTHONFAULTHANDLER": "1"}):
        client = await trial.open_websocket()
        victim = await trial.ask(client)
        others = set(await trial.find_workers()) - {victim}
        await client.send("block")
        await asyncio.sleep(1)
        expect(is_running(victim), "a worker that computes for a second is killed")
        seconds = await trial.wait_until(lambda: not is_running(victim), 5, "the worker is not killed")
        await trial.wait_for_workers()
        expect(others < set(await trial.find_workers()), "another worker was replaced")
        expect("in websocket" in trial.process.read_log(), "nothing tells where it hangs")
        trial.notes.append(f"killed after {seconds + 1:.1f} s")


async def check_failed_start(trial: Trial) -> None:
    for name, source, code, line in (
        ("broken_app", BROKEN, 2, "error: cannot import 'broken_app': KeyError: 'database'"),
        ("no_start_app", NO_START, 1, "error: application startup failed: no database"),
    ):
        process = await trial.run_to_end(name, source)
        log = process.read_log()
        trial.notes.append(f"{name}: exit code {process.poll()}")
        expect(process.poll() == code, f"{name}: the exit code is {process.poll()}")
        expect(log.count(line) == 1, f"{name}: the log has the error {log.count(line)} times")
        expect(log.count("Traceback") <= 1, f"{name}: there are {log.count('Traceback')} tracebacks")


async def check_reload(trial: Trial) -> None:
    option = "--reload-dir"
    async with trial.serve("--reload", option, str(trial.folder)):
        client = await trial.open_websocket()
        await trial.ask(client)
        begun = time.monotonic()
        source = trial.folder / "site_app.py"
        source.write_text(APPLICATION.replace("VERSION = 1", "VERSION = 22"), "utf-8")
        code = await asyncio.wait_for(get_close_code(client), 5)
        while (await trial.get_page()).split()[1] != "22":
            expect(time.monotonic() - begun < 5, "the old application is served 5 s later")
            await asyncio.sleep(0.05)
        trial.notes.append(f"{time.monotonic() - begun:.2f} s until the new one was served; CLOSE {code}")
        expect(code == 1012, f"the client gets {code}")
        source.write_text("syntax error", "utf-8")
        await trial.wait_until(lambda: "SyntaxError" in trial.process.read_log(), 5, "no error is printed")
        expect(trial.process.poll() is None, "the supervisor has ended")
        source.write_text(APPLICATION.replace("VERSION = 1", "VERSION = 333"), "utf-8")
        expect((await trial.get_page()).split()[1] == "333", "the corrected application is not served")


TRIALS: Dict[str, Callable[[Trial], Awaitable[None]]] = {
    "connections are spread over the workers": check_spread,
    "kill -9 of a worker whose backlog is full": check_killed_worker,
    "kill -9 of a worker under load": check_killed_worker_under_load,
    "kill -9 of the supervisor": check_killed_supervisor,
    "SIGHUP under load": check_replacing,
    "SIGTERM of a worker under load": check_stopped_worker,
    "limit_max_requests under load": check_limit,
    "SIGTERM with 100 WebSockets": check_stop,
    "Ctrl-C in a terminal with 100 WebSockets": check_interrupt,
    "SIGTERM while workers import": check_stop_during_startup,
    "drain_seconds": check_drain,
    "a second SIGTERM, and an application that ignores its cancellation": check_second_signal,
    "workers that die at once": check_crash_loop,
    "an application that blocks its event loop": check_blocked_loop,
    "an application that cannot start": check_failed_start,
    "reload with an open WebSocket": check_reload,
}


async def run_trials(server: str, folder: Path, names: List[str]) -> List[List[Any]]:
    """A row for each: its name, the outcome, what was seen."""
    rows = []
    for number, name in enumerate(names):
        say_line(f"workers: {name}")
        place = folder / f"{server}-{number}"
        place.mkdir(parents=True, exist_ok=True)
        trial = Trial(server, place)
        begun = time.monotonic()
        try:
            await asyncio.wait_for(TRIALS[name](trial), TIMEOUT)
            wrong = ""
        except Exception as error:
            wrong = str(error) or type(error).__name__
        seconds = f"{time.monotonic() - begun:.1f}"
        seen = "; ".join(trial.notes)
        print(f"{'FAILED' if wrong else 'ok':<7} {name} ({seconds} s): {wrong or seen}", flush=True)
        rows.append([name, Cell("failed" if wrong else "ok", "fail" if wrong else "ok"), wrong, seen])
    return rows


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py workers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--server", choices=("wsbridge", "uvicorn"), default="wsbridge")
    parser.add_argument("--only", metavar="WORD", default="", help="trials with this word in their names")
    arguments = parser.parse_args(argv)
    enter_environment("workers", REQUIREMENTS)
    folder = report_folder("workers")
    names = [name for name in TRIALS if arguments.only in name]
    rows = asyncio.run(run_trials(arguments.server, folder, names))
    page = Page(f"Workers of {arguments.server}", f"CPython {sys.version.split()[0]}, {WORKERS} workers")
    page.table(["what happens", "outcome", "what went wrong", "what was seen"], rows)
    print(f"report: {page.write(folder / f'{arguments.server}.html')}")
    return 1 if any(wrong for _, _, wrong, _ in rows) else 0
