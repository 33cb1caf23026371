"""Three real clients (websockets, aiohttp, Chromium) and Starlette against a running server.

    python3 conformance/run.py interop [--client NAME] [--group NAME] [--check WORDS] [--verbose]
        [--python PATH] [--peer uvicorn]

Every check is a small function in conformance/interop/checks_*.py. It runs with each client that
is able to, against server processes on 127.0.0.1, through a tap that keeps what went over the wire; besides
what a check itself expects, no connection may hold a frame or an end that the standards forbid.

The report is conformance/reports/interop/index.html, with results.json, the servers' logs and the
screenshots.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import platform
import shutil
import subprocess
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, AsyncIterator, Dict, List, Optional, Sequence

from conformance.lib.environment import (
    ROOT,
    Unavailable,
    ensure_environment,
    enter_environment,
    report_folder,
)
from conformance.lib.report import Cell, Page

if TYPE_CHECKING:
    from conformance.interop.trial import Check, Client
    from conformance.lib.servers import ServerProcess

REQUIREMENTS = ["websockets==17.4", "aiohttp==3.14.5", "starlette==1.10.0", "playwright==1.65.2"]
UVICORN = ["uvicorn==0.54.0", "websockets==17.4", "starlette==1.10.0"]
CLIENTS = ["websockets", "aiohttp", "chromium"]
WHOLE_SECONDS = 900.0


@dataclass
class Group:
    """Checks that run against one server process; a server per client when `is_fresh`."""

    name: str
    title: str
    command: List[str]
    checks: List[Check]
    clients: Sequence[str] = tuple(CLIENTS)
    scheme: str = "ws"
    path: Optional[Path] = None
    is_fresh: bool = False
    has_figures: bool = False


@dataclass
class Result:
    """outcome: ok, fail, or none when the client has no way to do it (`detail` then says why)."""

    group: str
    client: str
    check: str
    outcome: str
    seconds: float
    detail: str


def main(argv: List[str]) -> int:
    options = parse_arguments(argv)
    if sys.version_info < (3, 11):
        raise Unavailable(
            "the clients need Python 3.11 or newer; an older server is given with --python PATH"
        )
    if "chromium" in options.clients and shutil.which("chromium") is None:
        raise Unavailable("chromium is missing: apt-get install chromium chromium-driver")
    enter_environment("interop", REQUIREMENTS)
    try:
        results = asyncio.run(asyncio.wait_for(Run(options).run(), WHOLE_SECONDS))
    except asyncio.TimeoutError:
        print(f"not done after {WHOLE_SECONDS:.0f} s", file=sys.stderr)
        return 1
    passed = sum(result.outcome == "ok" for result in results)
    failed = sum(result.outcome == "fail" for result in results)
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


def parse_arguments(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py interop", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--client", dest="clients", action="append", choices=CLIENTS, help="only this client")
    parser.add_argument("--group", dest="groups", action="append", help="only this group of checks")
    parser.add_argument("--check", default="", help="only checks with these words in their name")
    parser.add_argument("--python", help="the interpreter for the servers (default: this one)")
    parser.add_argument(
        "--peer", choices=["wsbridge", "uvicorn"], default="wsbridge", help="the server under test"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for every check")
    options = parser.parse_args(argv)
    options.clients = options.clients or CLIENTS
    return options


def build_groups(options: argparse.Namespace, folder: Path) -> List[Group]:
    """What runs against what; --python serves all but Starlette, which needs its packages."""
    from conformance.interop import (
        checks_closing,
        checks_demo,
        checks_handshake,
        checks_messages,
        checks_process,
        checks_starlette,
    )

    if options.peer == "uvicorn":
        python = framework = str(ensure_environment("interop-uvicorn", UVICORN))
        command = ["-m", "uvicorn", "--ws", "websockets-sansio", "--lifespan", "on"]
    else:
        framework, python = sys.executable, options.python or sys.executable
        command = ["-m", "wsbridge"]
    listen = ["--host", "127.0.0.1", "--port", "{port}"]
    serve = [python, *command, "conformance.lib.apps.interop_app:app", *listen]
    starlette = [framework, *command, "conformance.lib.apps.starlette_app:app", *listen]
    streams = [python, "-m", "conformance.lib.apps.streams_server", "{port}"]
    whole = [*checks_messages.CHECKS, *checks_handshake.CHECKS, *checks_closing.CHECKS]
    no_lifespan = [one for one in whole if one is not checks_handshake.hands_over_the_lifespan_state]
    intervals = ["--ws-ping-interval", "0.4", "--ws-ping-timeout", "0.6"]
    socket = folder / "interop.sock"
    unix = [*serve[: -len(listen)], "--uds", "{path}"]
    groups = [
        Group("server", "python3 -m wsbridge app", serve, whole, has_figures=True),
        Group("streams", "handle_websocket in asyncio.start_server", streams, no_lifespan, has_figures=True),
        Group("starlette", "A Starlette application", starlette, checks_starlette.CHECKS),
        Group("keepalive", "Keepalive", [*serve, *intervals], checks_closing.SPECIAL["keepalive"]),
        Group(
            "limits", "Message limit", [*serve, "--ws-max-size", "100000"], checks_closing.SPECIAL["limits"]
        ),
        Group("stop", "SIGTERM", serve, checks_process.STOP, is_fresh=True),
        Group("tls", "TLS", [*serve, *make_certificate(folder)], checks_process.TLS, scheme="wss"),
        Group("unix", "Unix socket", unix, checks_process.UNIX, path=socket),
    ]
    # The demo is an ASGI application like any other, but only wsbridge tells it about frames.
    demo = [python, *command, *(["wsbridge.demo.app:app"] if options.peer == "uvicorn" else []), *listen]
    groups.append(Group("demo", "The demo page in two tabs", demo, checks_demo.CHECKS, ["chromium"]))
    return [group for group in groups if group.name != "streams" or options.peer == "wsbridge"]


def make_certificate(folder: Path) -> List[str]:
    """A self-signed certificate for 127.0.0.1, as the flags that name it."""
    if shutil.which("openssl") is None:
        raise Unavailable("openssl is missing: apt-get install openssl")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return ["--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)]


class Run:
    """One run of the check: its clients, its results, its report."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder = report_folder("interop")
        self.results: List[Result] = []
        self.tracebacks: List[str] = []
        self.clients: Dict[str, Client] = {}
        self.started = time.monotonic()

    async def run(self) -> List[Result]:
        groups = [
            group
            for group in build_groups(self.options, self.folder)
            if not self.options.groups or group.name in self.options.groups
        ]
        async with contextlib.AsyncExitStack() as stack:
            await self.start_clients(stack)
            for group in groups:
                await self.run_group(group)
            self.write_report(groups)
        return self.results

    async def start_clients(self, stack: contextlib.AsyncExitStack) -> None:
        from conformance.interop.aiohttp_client import AiohttpClient
        from conformance.interop.chromium_client import start_chromium
        from conformance.interop.websockets_client import WebsocketsClient

        makers: Dict[str, Any] = {"websockets": WebsocketsClient, "aiohttp": AiohttpClient}
        for name in CLIENTS:
            if name not in self.options.clients:
                continue
            self.clients[name] = (
                await stack.enter_async_context(start_chromium()) if name == "chromium" else makers[name]()
            )

    async def run_group(self, group: Group) -> None:
        """Start the group's server, run its checks with every client, look at what the server leaves."""
        clients = [client for name, client in self.clients.items() if name in group.clients]
        checks = [one for one in group.checks if self.options.check in one.name]
        if not checks or not clients:
            return
        print(f"{group.title}: {len(checks)} checks", flush=True)
        if group.is_fresh:
            for client in clients:
                async with self.serve(group, client.name) as server:
                    await self.run_checks(group, client, server, checks)
            return
        async with self.serve(group) as server:
            before = await self.read_figures(group, clients[0], server)
            for client in clients:
                await self.run_checks(group, client, server, checks)
            if before is not None:
                await self.compare_figures(group, clients[0], server, before)
        if server is not None:
            found = server.find_tracebacks()
            detail = (
                f"{len(found)} unasked tracebacks: {'; '.join(found[:3])}" if found else "no traceback in it"
            )
            self.note(
                Result(group.name, "server", "keeps a clean log", "fail" if found else "ok", 0.0, detail)
            )

    @contextlib.asynccontextmanager
    async def serve(self, group: Group, more: str = "") -> AsyncIterator[Optional[ServerProcess]]:
        """The running server, or None when it did not come up."""
        from conformance.lib.servers import ServerFailed, ServerProcess

        log = self.folder / f"{'-'.join(filter(None, ['server', group.name, more]))}.log"
        server = ServerProcess(group.name, group.command, log, scheme=group.scheme, path=group.path)
        async with contextlib.AsyncExitStack() as stack:
            started = time.monotonic()
            try:
                await stack.enter_async_context(server)
            except ServerFailed as error:
                seconds = time.monotonic() - started
                self.note(Result(group.name, "server", "starts", "fail", seconds, str(error)))
                yield None
            else:
                yield server

    async def run_checks(
        self, group: Group, client: Client, server: Optional[ServerProcess], checks: List[Check]
    ) -> None:
        if server is None:
            return
        started, first = time.monotonic(), len(self.results)
        for one in checks:
            reasons = [client.lacks[need] for need in sorted(one.needs) if need in client.lacks]
            if reasons:
                self.note(Result(group.name, client.name, one.name, "none", 0.0, reasons[0]))
            else:
                self.note(await self.run_check(group, client, server, one))
        outcomes = [result.outcome for result in self.results[first:]]
        counts = f"{outcomes.count('ok')} passed, {outcomes.count('fail')} failed"
        print(f"  {client.name:<10}  {counts}, {time.monotonic() - started:.1f} s", flush=True)

    async def run_check(self, group: Group, client: Client, server: ServerProcess, one: Check) -> Result:
        from conformance.interop.trial import Mismatch, Refused, Trial

        trial = Trial(client, server)
        started = time.monotonic()
        outcome, detail = "fail", ""
        try:
            async with asyncio.timeout(one.seconds) as limit:
                detail = await one.run(trial) or ""
            outcome = "ok"
        except Mismatch as error:
            detail = str(error)
        except Refused as error:
            detail = f"the server refused the connection: status {error.status}, body {error.body!r}"
        except Exception as error:
            detail = f"{type(error).__name__}: {error}"
            if limit.expired():
                detail = f"not done after {one.seconds:.0f} s"
            self.tracebacks.append(f"{group.name}, {client.name}, {one.name}\n{traceback.format_exc()}")
        if trial.broken_rules:
            outcome, detail = "fail", "; ".join([*dict.fromkeys(trial.broken_rules), detail]).strip("; ")
        if server.poll() is not None and not group.is_fresh:
            outcome, detail = "fail", f"the server process ended with {server.poll()}; {detail}"
        return Result(group.name, client.name, one.name, outcome, time.monotonic() - started, detail)

    def note(self, result: Result) -> None:
        self.results.append(result)
        if result.outcome == "fail" or self.options.verbose:
            mark = {"ok": "ok  ", "fail": "FAIL", "none": "n/a "}[result.outcome]
            where = f"{result.group}, {result.client}: {result.check}"
            print(f"  {mark}  {where}  {result.seconds:.2f} s  {result.detail}", flush=True)

    async def read_figures(
        self, group: Group, client: Client, server: Optional[ServerProcess]
    ) -> Optional[Dict[str, int]]:
        from conformance.interop.trial import Trial

        if server is None or not group.has_figures or self.options.check:
            return None
        return dict(await Trial(client, server).fetch_json("/figures"))

    async def compare_figures(
        self, group: Group, client: Client, server: Optional[ServerProcess], before: Dict[str, int]
    ) -> None:
        """Tasks and descriptors must be back where they were, within a second."""
        started = time.monotonic()
        while True:
            after = await self.read_figures(group, client, server) or {}
            is_back = all(after[name] <= before[name] for name in before)
            if is_back or time.monotonic() - started > 1.0:
                break
            await asyncio.sleep(0.1)
        seconds = time.monotonic() - started
        outcome = "ok" if is_back else "fail"
        detail = f"before all checks {before}, after them {after}"
        self.note(Result(group.name, "server", "leaves no task or descriptor", outcome, seconds, detail))

    # --------------------------------------------------------------------------------- the report

    def write_report(self, groups: List[Group]) -> None:
        outcomes = [result.outcome for result in self.results]
        passed, failed = outcomes.count("ok"), outcomes.count("fail")
        page = Page("Interoperability", f"{self.options.peer} with three real clients and Starlette")
        page.facts(
            {
                "passed": Cell(passed, "ok"),
                "failed": Cell(failed, "fail" if failed else "ok"),
                "seconds": round(time.monotonic() - self.started),
                "servers on": describe_python(self.options.python),
                **{client.name: client.version for client in self.clients.values()},
            }
        )
        self.write_failures(page)
        screenshots = self.save_screenshots()
        for group in groups:
            self.write_group(page, group)
        if screenshots:
            page.heading("The demo page", "screenshots")
            for name, data in screenshots.items():
                page.raw(f"<h3>{name}</h3><img alt='{name}' style='max-width:100%' src='{data}'>")
        target = page.write(self.folder / "index.html")
        rows = [asdict(result) for result in self.results]
        (self.folder / "results.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False), "utf-8")
        print(f"report: {target.relative_to(ROOT)}")

    def write_failures(self, page: Page) -> None:
        failures = [result for result in self.results if result.outcome == "fail"]
        if failures:
            page.heading("Failures")
            rows: List[List[Any]] = [
                [one.group, one.client, one.check, Cell(one.detail, "fail")] for one in failures
            ]
            page.table(["group", "client", "check", "what was done, expected and got"], rows)
        for text in self.tracebacks:
            title, _, rest = text.partition("\n")
            page.details(title, rest)

    def write_group(self, page: Page, group: Group) -> None:
        """A row for each check, a column for each client; then what each one told."""
        mine = [result for result in self.results if result.group == group.name]
        if not mine:
            return
        columns = list(dict.fromkeys(result.client for result in mine))
        by_place = {(result.check, result.client): result for result in mine}
        page.heading(group.title, group.name)
        page.pre(" ".join(part.replace(str(ROOT) + "/", "") for part in group.command))
        rows: List[List[Any]] = []
        for name in dict.fromkeys(result.check for result in mine):
            results = [by_place.get((name, column)) for column in columns]
            details = dict.fromkeys(
                one.detail for one in results if one and one.detail and one.outcome != "none"
            )
            rows.append([name, *(build_cell(one) for one in results), " | ".join(details)])
        page.table(["check", *columns, "detail"], rows)

    def save_screenshots(self) -> Dict[str, str]:
        """Write the screenshots beside the page; return them as addresses that stand for themselves."""
        addresses = {}
        for name, data in getattr(self.clients.get("chromium"), "screenshots", {}).items():
            (self.folder / f"demo-{name.replace(' ', '-')}.png").write_bytes(data)
            addresses[name] = "data:image/png;base64," + base64.b64encode(data).decode("ascii")
        return addresses


def build_cell(result: Optional[Result]) -> Cell:
    if result is None:
        return Cell("")
    if result.outcome == "none":
        return Cell("not possible", "none", title=result.detail)
    return Cell(f"{result.outcome} {result.seconds:.2f} s", result.outcome, title=result.detail)


def describe_python(path: Optional[str]) -> str:
    if path is None:
        return f"{platform.python_implementation()} {platform.python_version()}"
    code = "import platform; print(platform.python_implementation(), platform.python_version())"
    return subprocess.run(
        [path, "-c", code], check=True, capture_output=True, text=True, timeout=30
    ).stdout.strip()
