"""What pytest gives the checks: the running servers, the clients, and a `trial` of one with the other."""

from __future__ import annotations

import asyncio
import functools
import inspect
import shutil
import sys
from typing import Any, AsyncIterator, Callable, Dict, List

import pytest
from playwright.async_api import Page, async_playwright

from conformance.interop import CLIENTS, REQUIREMENTS, add_options
from conformance.interop.chromium_client import FLAGS, Chromium, open_page
from conformance.interop.trial import AUTHORITY, TLS, Trial
from conformance.lib.clients import Aiohttp, Websockets
from conformance.lib.environment import report_folder
from conformance.lib.peers import BY_NAME, find_python
from conformance.lib.servers import LISTEN, ServerProcess, build_command

APPLICATION = "conformance.lib.apps.interop_app:app"
CHECK_SECONDS = 40.0

# What each client cannot do, by the words that the mark `needs` of a check has.
LACKS = {
    "websockets": {
        "empty close": "close() always sends a code",
        "tabs": "not a browser",
    },
    "aiohttp": {
        "fragments": "no way to send a message in several frames",
        "empty close": "close() always sends a code",
        "all deflate parameters": "offers window bits only",
        "tabs": "not a browser",
    },
    "chromium": {
        "fragments": "the page cannot choose how a message is cut into frames",
        "pings": "a page cannot send PING",
        "no deflate offer": "always offers permessage-deflate",
        "deflate parameters": "the offer is fixed",
        "all deflate parameters": "the offer is fixed",
        "own headers": "a page cannot set request headers",
        "declined subprotocol": "fails a connection whose server chose none of the offered subprotocols",
        "any close code": "close() takes 1000 and 3000-4999 only",
        "backpressure": "a page cannot stop reading",
    },
}


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser.getgroup("interop").addoption)


def pytest_metadata(metadata: Dict[str, Any], config: pytest.Config) -> None:
    """What stands at the top of the report."""
    metadata["Packages"] = dict(pin.split("==") for pin in REQUIREMENTS)
    metadata["Server"] = f"{config.getoption('--peer')} on {config.getoption('--python') or sys.executable}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Multiply each check by the servers of its mark, and by the clients."""
    marker = metafunc.definition.get_closest_marker("servers")
    names = list(marker.args) if marker else []
    if metafunc.config.getoption("--peer") == "uvicorn" and "streams" in names:
        names.remove("streams")
    if "server" in metafunc.fixturenames:
        metafunc.parametrize("server", names, indirect=True, scope="session")
    if "client" in metafunc.fixturenames:
        metafunc.parametrize("client", metafunc.config.getoption("--client") or CLIENTS, indirect=True)


def pytest_itemcollected(item: Any) -> None:
    """Give a check up by cancelling it: it unwinds, and the loop is free for the next one."""
    if not inspect.iscoroutinefunction(item.obj):
        return

    @functools.wraps(item.obj)
    async def run(**fixtures: Any) -> None:
        async with asyncio.timeout(CHECK_SECONDS):
            await check(**fixtures)

    check, item.obj = item.obj, run


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """pytest brings together what uses the same server, which it starts once, and else keeps this order."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session")
def build_server(request: pytest.FixtureRequest) -> Callable[..., ServerProcess]:
    """`build_server(name)`: a server process that is not started yet; `more` tells its log from others."""
    peer = request.config.getoption("--peer")
    python: Any = request.config.getoption("--python") or sys.executable
    if peer == "uvicorn":
        python = find_python(BY_NAME[peer])
    folder = report_folder("interop")
    certificate = folder / "certificate.pem"
    AUTHORITY.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    serve = build_command(peer, python, APPLICATION)
    demo = [python, "-m", "wsbridge", "--demo", *LISTEN]
    if peer == "uvicorn":  # which tells the demo nothing about frames
        demo = build_command(peer, python, "wsbridge.demo.app:app")
    commands = {
        "server": serve,
        "streams": [python, "-m", "conformance.lib.apps.streams_server", "{port}"],
        "keepalive": [*serve, "--ws-ping-interval", "0.4", "--ws-ping-timeout", "0.6"],
        "limits": [*serve, "--ws-max-size", "100000"],
        "tls": [*serve, "--ssl-certfile", str(certificate), "--ssl-keyfile", str(certificate)],
        "unix": [*(part for part in serve if part not in LISTEN), "--uds", "{path}"],
        "demo": demo,
    }

    def build(name: str, more: str = "") -> ServerProcess:
        return ServerProcess(
            name,
            list(map(str, commands[name])),
            folder / f"server-{name}{more}.log",
            scheme="wss" if name == "tls" else "ws",
            path=folder / "interop.sock" if name == "unix" else None,
        )

    return build


@pytest.fixture(scope="session")
async def server(
    request: pytest.FixtureRequest, build_server: Callable[..., ServerProcess]
) -> AsyncIterator[ServerProcess]:
    async with build_server(request.param) as process:
        yield process


@pytest.fixture(scope="session")
async def page() -> AsyncIterator[Page]:
    """The page of Chromium whose WebSockets the checks use."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        context = await browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 900})
        yield await open_page(context)
        await browser.close()


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Callable[[], Any]:
    """Makes the client of this name, for one connection; the browser starts at its first check."""
    for marker in request.node.iter_markers("needs"):
        for need in LACKS[request.param].keys() & marker.args:
            pytest.skip(LACKS[request.param][need])
    if request.param == "chromium":
        return functools.partial(Chromium, request.getfixturevalue("page"))
    return functools.partial({"websockets": Websockets, "aiohttp": Aiohttp}[request.param], TLS)


@pytest.fixture
def trial(client: Callable[[], Any], server: ServerProcess) -> Trial:
    return Trial(client, server)
