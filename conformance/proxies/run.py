"""Runs the checks of each proxy, two proxies at a time, and writes the report."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import tempfile
import time
import traceback
from pathlib import Path
from typing import List, Mapping, NamedTuple, Sequence, Tuple

from aiohttp import ClientError
from websockets import ConnectionClosed

from conformance.lib.clients import Closed, Refused
from conformance.lib.environment import say_line
from conformance.lib.servers import ServerFailed

from . import checks_life, checks_messages, checks_requests
from .catalogue import Line, Proxy
from .guide import read_lines
from .page import build_page
from .site import Site

AT_ONCE = 2
CHECK_SECONDS, LINE_SECONDS = 30.0, 10.0
# Headings of the guide.
PORT, PREFIX, PROTOCOL = "A port instead of a unix socket", "Below a prefix", "The PROXY protocol"


class Result(NamedTuple):
    """What came of one check; `fault` is empty if all was as expected, `lack` says why it was not run."""

    proxy: str
    name: str
    seconds: float
    fault: str = ""
    lack: str = ""


def describe(check: checks_messages.Check) -> str:
    return check.__name__.replace("_", " ")


PORT_CHECKS = [
    checks_messages.messages_come_back_as_they_were,
    checks_requests.scope_has_the_client_of_the_proxy,
    checks_requests.forged_headers_are_not_believed,
    checks_life.server_that_was_away_is_asked_again,
]
PROTOCOL_CHECKS = [
    checks_messages.messages_come_back_as_they_were,
    checks_messages.application_closes_with_code_and_reason,
    checks_messages.websockets_over_http_2,
    checks_requests.large_upload_arrives_whole,
    checks_requests.burst_of_requests_is_answered,
    checks_requests.scope_has_the_client_of_the_proxy,
    checks_requests.forged_headers_are_not_believed,
    checks_life.health_checks_find_the_server_well,
]
HEALTH_CHECKS = [checks_life.health_checks_by_default_find_the_server_well]
PREFIX_CHECKS = [checks_requests.prefix_is_part_of_the_scope]
ALL_CHECKS = [
    *(*checks_messages.CHECKS, *checks_requests.CHECKS),
    *(*checks_life.IDLE_CHECKS, *checks_life.KEPT_CHECKS, *checks_life.END_CHECKS),
]
# How a check fails that should.
FAILURES = (
    *(AssertionError, KeyError, OSError, asyncio.TimeoutError, ClientError),
    *(Closed, ConnectionClosed, Refused),
)


class Group(NamedTuple):
    """Checks of one site, and what distinguishes it from the guide's; their names begin with ``title``."""

    name: str
    checks: Sequence[checks_messages.Check]
    edits: Mapping[str, str] = {}
    flags: Sequence[str] = ()
    tcp: bool = False
    title: str = ""


def list_groups(proxy: Proxy) -> List[Group]:
    health = {**proxy.health, **proxy.default_health}
    protocol = {**proxy.health, **read_lines(PROTOCOL).get(proxy.name, {})}
    speaks_protocol = proxy.name in read_lines(PROTOCOL)
    return [
        Group("guide", [*checks_messages.CHECKS, *checks_requests.CHECKS]),
        Group("idle", checks_life.IDLE_CHECKS, proxy.idle, ["--ws-ping-interval", "0.4"]),
        Group("kept", checks_life.KEPT_CHECKS, proxy.kept, ["--timeout-keep-alive", "2"]),
        Group("ends", checks_life.END_CHECKS, proxy.health),
        Group("workers", checks_life.WORKER_CHECKS, flags=["--workers", str(checks_life.WORKERS)]),
        *([Group("health", HEALTH_CHECKS, health)] if proxy.default_health else []),
        *(
            [Group("protocol", PROTOCOL_CHECKS, protocol, ["--proxy-protocol"], title="PROXY: ")]
            if speaks_protocol
            else []
        ),
        Group("port", PORT_CHECKS, read_lines(PORT)[proxy.name], tcp=True, title="on a port: "),
        Group("prefix", PREFIX_CHECKS, read_lines(PREFIX)[proxy.name], ["--root-path", "/app"]),
    ]


class Run:
    """The checks of one proxy."""

    def __init__(self, proxy: Proxy, only: str, folder: Path, tls: Tuple[Path, ssl.SSLContext]) -> None:
        self.proxy = proxy
        self.folder = folder
        self.tls = tls
        self._only = only
        self.results: List[Result] = []

    def list_lacks(self, names: Sequence[str]) -> List[Result]:
        """Those of the checks that are wanted, and that the proxy cannot pass."""
        wanted = [(name, self.find_lack(name)) for name in names if self._only in name]
        return [Result(self.proxy.name, name, 0.0, lack=lack) for name, lack in wanted if lack]

    def find_lack(self, name: str) -> str:
        return next((text for word, text in self.proxy.lacks.items() if word in name), "")

    async def run_without(self, number: int, line: Line) -> None:
        """Without the line the check fails: the line is needed, and the check finds it missing."""
        check = next(one for one in ALL_CHECKS if describe(one) == line.check)
        name = f"without {line.text}"
        if self._only not in name:
            return
        edits = {**self.proxy.health, line.text: line.instead}

        async def fails(site: Site) -> None:
            try:
                await asyncio.wait_for(check(site), LINE_SECONDS)
            except FAILURES:
                assert line.hint in site.read_server_logs(), f"no {line.hint!r} in the log"
            else:
                raise AssertionError(f"without it, too, {line.check}")

        async with Site(self.proxy, self.folder, self.tls, f"without-{number}", edits=edits) as site:
            await self.check(fails, site, name)

    async def check(self, function: checks_messages.Check, site: Site, name: str) -> None:
        self.results += self.list_lacks([name])
        if self._only not in name or self.find_lack(name):
            return
        say_line(f"proxies: {self.proxy.name}: {name}")
        started, fault = time.monotonic(), ""
        try:
            await asyncio.wait_for(function(site), CHECK_SECONDS)
        except Exception as error:
            traceback.print_exc()
            fault = f"{type(error).__name__}: {error}"
        self.results.append(Result(self.proxy.name, name, time.monotonic() - started, fault))
        print(f"{'FAILED' if fault else 'ok':<7} {self.proxy.name}: {name} {fault:.300}", flush=True)

    async def run(self) -> None:
        for group in list_groups(self.proxy):
            names = [group.title + describe(check) for check in group.checks]
            if any(self._only in name and not self.find_lack(name) for name in names):
                await self.run_group(group)
            else:
                self.results += self.list_lacks(names)
        for number, line in enumerate(self.proxy.lines):
            await self.run_without(number, line)

    async def run_group(self, group: Group) -> None:
        site = Site(
            self.proxy, self.folder, self.tls, group.name, edits=group.edits, flags=group.flags, tcp=group.tcp
        )
        try:
            async with site:
                for check in group.checks:
                    await self.check(check, site, group.title + describe(check))
        except ServerFailed as error:
            self.results.append(Result(self.proxy.name, f"site {group.name}", 0.0, str(error)))


def build_tls(folder: Path) -> Tuple[Path, ssl.SSLContext]:
    """A certificate with its key, and what a client needs to trust it."""
    import trustme

    authority, certificate = trustme.CA(), folder / "app.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    certificate.chmod(0o644)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return certificate, context


async def run_proxies(proxies: Sequence[Proxy], only: str, folder: Path) -> List[Result]:
    tls, places = build_tls(folder), asyncio.Semaphore(AT_ONCE)

    async def run(proxy: Proxy) -> List[Result]:
        one = Run(proxy, only, folder, tls)
        async with places:
            await one.run()
        return one.results

    results = await asyncio.gather(*map(run, proxies))
    return [result for some in results for result in some]


def run_all(proxies: Sequence[Proxy], only: str, folder: Path) -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="proxies-") as name:
        place = Path(name)
        place.chmod(0o755)
        try:
            results = asyncio.run(run_proxies(proxies, only, place))
        finally:
            shutil.rmtree(folder / "sites", ignore_errors=True)
            ignore = shutil.ignore_patterns("s", "*_temp", "body", "app.pem")
            shutil.copytree(place, folder / "sites", ignore=ignore)
    page = build_page(proxies, results, folder / "sites", time.monotonic() - started)
    print(f"report: {page.write(folder / 'index.html')}")
    failed = [result for result in results if result.fault]
    for result in failed:
        print(f"FAILED  {result.proxy}: {result.name}: {result.fault:.300}")
    done = sum(not result.lack for result in results)
    lacks, seconds = len(results) - done, time.monotonic() - started
    print(f"{done} checks, {len(failed)} failed, {lacks} that a proxy cannot do, {seconds:.0f} s")
    return 1 if failed or not done else 0
