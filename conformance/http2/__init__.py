"""A host of HTTP/2 on h2 and wsbridge: pages and WebSockets (RFC 8441), for five clients, and behind HAProxy.

    python3 conformance/run.py http2 [--only WORD]

host.py is such a host, of at most 150 lines. Its clients are one made of h2 and wsproto (checks.py), curl,
nghttp and Chromium (tools.py); all of them speak to it alone, and through HAProxy, which speaks HTTP/2 to
them and to the host.

The report is conformance/reports/http2/index.html, with the logs of host and proxy.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import shutil
import signal
import ssl
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Awaitable, Callable, List, NamedTuple, Tuple

from conformance.lib.environment import Unavailable, enter_environment, report_folder, say_line
from conformance.lib.report import Cell, Page
from conformance.lib.servers import ServerProcess, find_port

REQUIREMENTS = [
    *("h2==4.4.1", "hpack==4.2.0", "hyperframe==6.1.0", "wsproto==1.3.2", "h11==0.16.0"),
    *("playwright==1.65.2", "trustme==1.2.1", "websockets==17.4", "aiohttp==3.14.5"),
]
TOOLS = {
    "curl": "curl",
    "nghttp": "nghttp2-client",
    "haproxy": "haproxy",
    "chromium": "chromium",
}
HOST = Path(__file__).parent / "host.py"
MAX_LINES = 150

# Seconds for one check.
TIMEOUT = 30.0

PROXY = """
global
    maxconn 500
defaults
    mode http
    option abortonclose
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
    default_backend host
frontend http2
    bind 127.0.0.1:{plain} proto h2
frontend tls
    bind 127.0.0.1:{tls} ssl crt {certificate} alpn h2
frontend http11
    bind 127.0.0.1:{http11}
backend host
    server host 127.0.0.1:{host} proto h2 ws h2
"""


class Result(NamedTuple):
    """What came of one check; `fault` is empty if all was as expected."""

    path: str
    name: str
    seconds: float
    fault: str


class Run:
    """The checks that are run, and what came of them."""

    def __init__(self, only: str) -> None:
        self._only = only
        self.results: List[Result] = []

    async def check(self, path: str, function: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        name = function.__name__.replace("_", " ")
        if self._only not in f"{path} {name}":
            return
        say_line(f"http2: {path}: {name}")
        started, fault = time.monotonic(), ""
        try:
            await asyncio.wait_for(function(*arguments), TIMEOUT)
        except Exception as error:
            traceback.print_exc()
            fault = f"{type(error).__name__}: {error}"
        self.results.append(Result(path, name, time.monotonic() - started, fault))
        print(f"{'FAILED' if fault else 'ok':<7} {path}: {name} {fault:.300}", flush=True)


async def host_is_small() -> None:
    lines = HOST.read_text("utf-8").count("\n")
    assert lines <= MAX_LINES, f"{lines} lines"


async def host_has_logged_no_fault(host: ServerProcess) -> None:
    assert host.find_tracebacks() == [], host.find_tracebacks()


async def host_keeps_nothing(port: int, before: Any) -> None:
    """Tasks and descriptors are back where they were, once the connections have gone."""
    from .checks import get_figures

    while (figures := await get_figures(port)) != before:
        print(f"{figures}, at first {before}", flush=True)
        await asyncio.sleep(1)


async def host_ends_with_0(host: ServerProcess) -> None:
    while host.poll() is None:
        await asyncio.sleep(0.02)
    assert host.poll() == 0, host.poll()


async def run_checks(run: Run, folder: Path) -> None:
    import trustme

    from conformance.lib.http2_client import TLS

    from . import checks, tools

    authority, certificate, upload = trustme.CA(), folder / "certificate.pem", folder / "upload"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    upload.write_bytes(bytes(tools.MEBIBYTE))
    tls = ssl.create_default_context()
    tls.set_alpn_protocols(["h2"])
    authority.configure_trust(tls)
    host, tls_port = build_host(folder, certificate)
    async with host:
        proxy, ports = build_proxy(folder, certificate, host.port)
        for port in (tls_port, ports["tls"]):
            TLS[port] = tls
        await run.check("host", host_is_small)
        before = await checks.get_figures(host.port)
        async with proxy:
            for path, plain, secure in (
                ("direct", host.port, tls_port),
                ("behind HAProxy", proxy.port, ports["tls"]),
            ):
                for check in checks.CHECKS:
                    await run.check(path, check, plain)
                await run.check(f"{path}, TLS", checks.messages_of_any_size_are_echoed, secure)
                await run.check(f"{path}, TLS", checks.fifty_streams_share_a_connection, secure)
                for url in (f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{secure}"):
                    for tool_check in tools.TOOL_CHECKS:
                        await run.check(f"{path}, {url.split(':')[0]}", tool_check, url, upload)
                await run.check(f"{path}, https", tools.curl_has_fifty_streams, url, upload)
                async with tools.Browser(f"https://127.0.0.1:{secure}") as browser:
                    for browser_check in tools.BROWSER_CHECKS:
                        await run.check(path, browser_check, browser)
            await run.check("behind HAProxy", tools.http_1_1_in_front_is_http_2_to_the_host, ports["http11"])
        for check in checks.DIRECT_CHECKS:
            await run.check("direct", check, host.port)
        url = f"http://127.0.0.1:{host.port}"
        await run.check("direct, http", tools.nghttp_pads_its_frames, url, upload)
        await run.check("host", host_keeps_nothing, host.port, before)
        stop = functools.partial(host.send_signal, signal.SIGTERM)
        await run.check("direct", checks.stop_closes_with_1012_and_finishes_responses, host.port, stop)
        await run.check("host", host_ends_with_0, host)
        await run.check("host", host_has_logged_no_fault, host)


def build_host(folder: Path, certificate: Path) -> Tuple[ServerProcess, int]:
    """The host, and its port with TLS."""
    tls_port = find_port()
    command = [sys.executable, "-m", "conformance.http2.host", "conformance.lib.apps.pages_app:app"]
    command += ["{port}", str(tls_port), str(certificate)]
    return ServerProcess("host", command, folder / "host.log"), tls_port


def build_proxy(folder: Path, certificate: Path, host: int) -> Tuple[ServerProcess, Any]:
    """HAProxy, and its other ports by their frontends."""
    configuration = folder / "haproxy.cfg"
    proxy = ServerProcess("HAProxy", ["haproxy", "-db", "-f", str(configuration)], folder / "haproxy.log")
    ports = {"plain": proxy.port, "tls": find_port(), "http11": find_port(), "host": host}
    configuration.write_text(PROXY.format(certificate=certificate, **ports), "utf-8")
    return proxy, ports


def write_report(folder: Path, results: List[Result]) -> Path:
    page = Page("HTTP/2", f"CPython {sys.version.split()[0]}; {', '.join(REQUIREMENTS)}")
    failed = sum(bool(result.fault) for result in results)
    page.facts({"checks": len(results), "failed": Cell(failed, "fail" if failed else "ok")})
    page.table(
        ["path", "check", "outcome", "seconds", "what went wrong"],
        [
            [
                result.path,
                result.name,
                Cell("failed" if result.fault else "ok", "fail" if result.fault else "ok"),
                f"{result.seconds:.2f}",
                result.fault,
            ]
            for result in results
        ],
    )
    return page.write(folder / "index.html")


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py http2", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="", help="only the checks whose path and name have this text")
    arguments = parser.parse_args(argv)
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise Unavailable(
            "\nhttp2: ".join(f"{tool} is missing: apt-get install {TOOLS[tool]}" for tool in missing)
        )
    enter_environment("http2", REQUIREMENTS)
    folder = report_folder("http2")
    run = Run(arguments.only)
    asyncio.run(run_checks(run, folder))
    print(f"report: {write_report(folder, run.results)}")
    failed = sum(bool(result.fault) for result in run.results)
    print(f"{len(run.results)} checks, {failed} failed")
    return 1 if failed or not run.results else 0
