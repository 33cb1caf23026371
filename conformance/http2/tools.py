"""What is checked by curl, nghttp and Chromium, and by a client of HTTP/1.1 in front of a proxy."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any, List, Sequence

from playwright.async_api import BrowserContext, Page, async_playwright

from conformance.interop.chromium_client import FLAGS, Chromium
from conformance.lib.clients import Refused, Websockets

MEBIBYTE = 1024 * 1024
STREAMS = 50

# Seconds for one command.
TIMEOUT = 20.0


async def run(*command: str) -> str:
    """What the command has printed; stderr follows. It must end with 0."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, (process.returncode, err[-300:])
    return (out + err).decode("latin-1")


# -------------------------------------------------------------------------------- curl


async def curl(url: str, *arguments: str) -> str:
    version = ["--http2", "--insecure"] if url.startswith("https:") else ["--http2-prior-knowledge"]
    return await run("curl", "--silent", "--show-error", *version, *arguments, url)


async def curl_gets_and_posts(url: str, upload: Path) -> None:
    told = ("--write-out", "|%{http_version}|%{response_code}")
    assert (await curl(url + "/", *told)).endswith("over HTTP/2.\n|2|200")
    assert (await curl(url + "/204", *told)) == "|2|204"
    head = await curl(url + "/", "--head", *told)
    assert "content-length: " in head and head.endswith("|2|200"), head
    answer = await curl(url + "/digest", "--data-binary", f"@{upload}")
    assert json.loads(answer)[0] == MEBIBYTE, answer
    assert (await curl(url + "/nowhere", *told)).endswith("|2|404")


async def curl_waits_for_100_continue(url: str, upload: Path) -> None:
    said = await curl(
        url + "/digest", "--verbose", "--header", "Expect: 100-continue", "--data-binary", f"@{upload}"
    )
    assert "< HTTP/2 100" in said and f"[{MEBIBYTE}, " in said, said


async def curl_has_fifty_streams(url: str, upload: Path) -> None:
    """Under TLS: without, curl 7.88 fails at the second stream, with HAProxy as well."""
    said = await curl(
        f"{url}/push?count=10&size=10000&n=[1-{STREAMS}]",
        *("--parallel", "--parallel-max", str(STREAMS), "--output", "/dev/null"),
        *("--write-out", "%{http_version} %{response_code} %{size_download}\n"),
    )
    assert said.split("\n").count("2 200 100000") == STREAMS, said


# ------------------------------------------------------------------------------ nghttp


async def nghttp_gets_fifty_times(url: str, upload: Path) -> None:
    said = await run(
        "nghttp", "--no-verify-peer", "-ns", "-m", str(STREAMS), url + "/push?count=10&size=10000"
    )
    assert len(re.findall(r" 200 +\S+ /push", said)) == STREAMS, said


async def nghttp_has_small_windows(url: str, upload: Path) -> None:
    command = ["nghttp", "--no-verify-peer", "-w", "10", "-W", "10"]
    said = await run(*command, url + "/push?count=100&size=2000")
    assert said.count("\0") == 200_000, len(said)
    said = await run(*command, "-d", str(upload), url + "/digest")
    assert f"[{MEBIBYTE}, " in said, said


async def nghttp_pads_its_frames(url: str, upload: Path) -> None:
    """HAProxy 2.6 resets such a stream."""
    said = await run("nghttp", "-b", "200", "-d", str(upload), url + "/digest")
    assert f"[{MEBIBYTE}, " in said, said


TOOL_CHECKS = [
    curl_gets_and_posts,
    curl_waits_for_100_continue,
    nghttp_gets_fifty_times,
    nghttp_has_small_windows,
]


# ---------------------------------------------------------------------------- Chromium


class Browser:
    """`async with Browser(url) as browser`: pages of Chromium, each on the host's page."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def __aenter__(self) -> Browser:
        self._playwright = await async_playwright().start()
        self._browser = await self._playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=FLAGS
        )
        self.context: BrowserContext = await self._browser.new_context(ignore_https_errors=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._browser.close()
        await self._playwright.stop()

    async def open_page(self) -> Page:
        page = await self.context.new_page()
        await page.goto(self.url)
        return page

    async def connect(self, page: Page, path: str, subprotocols: Sequence[str] = ()) -> Chromium:
        client = Chromium(page)
        await client.open(self.url.replace("https:", "wss:") + path, subprotocols)
        return client


FETCH = "async ([path, body]) => (await fetch(path, {method: body ? 'POST' : 'GET', body})).json()"


async def browser_shares_one_connection(browser: Browser) -> None:
    """A WebSocket is a stream of the connection that the page came on (RFC 8441)."""
    page = await browser.open_page()
    entry = "performance.getEntriesByType('navigation')[0].nextHopProtocol"
    assert await page.evaluate(entry) == "h2"
    of_page = await page.evaluate(FETCH, ["/scope", None])
    socket = await browser.connect(page, "/scope?pick=b", ["a", "b"])
    assert socket.subprotocol == "b" and "permessage-deflate" in (socket.extensions or "")
    of_socket = json.loads(str(await socket.receive()))
    assert of_socket["http_version"] == of_page["http_version"] == "2"
    assert of_socket["client"] == of_page["client"], (of_socket["client"], of_page["client"])
    assert of_socket["subprotocols"] == ["a", "b"]
    assert dict(of_socket["headers"])["origin"] == browser.url


async def browser_echoes_and_closes(browser: Browser) -> None:
    page = await browser.open_page()
    socket = await browser.connect(page, "/echo")
    messages: List[Any] = ["hello", "", b"", "\u2713" * 1000, b"\0" * MEBIBYTE]
    for message in messages:
        await socket.send(message)
        assert await socket.receive() == message
    end = await socket.finish(4000, "bye")
    assert (end.code, end.reason) == (4000, "bye")
    end = await (await browser.connect(page, "/close?code=4001&reason=enough")).wait_closed()
    assert (end.code, end.reason) == (4001, "enough")


async def browser_sees_a_refusal(browser: Browser) -> None:
    page = await browser.open_page()
    try:
        await browser.connect(page, "/deny")
    except Refused as refused:
        assert refused.status == 403, refused
    else:
        raise AssertionError("accepted")


async def browser_has_sockets_and_fetches_at_once(browser: Browser) -> None:
    page = await browser.open_page()

    async def echo(number: int) -> None:
        socket = await browser.connect(page, "/echo")
        await socket.send(f"{number}" * 20_000)
        assert await socket.receive() == f"{number}" * 20_000
        await socket.finish(1000)

    async def fetch(number: int) -> None:
        answer = await page.evaluate(FETCH, ["/digest", "x" * 100_000])
        assert answer[0] == 100_000, answer

    await asyncio.gather(*(use(number) for number in range(20) for use in (echo, fetch)))


async def browser_that_leaves_is_seen(browser: Browser) -> None:
    page, other = await browser.open_page(), await browser.open_page()
    key = f"left-{browser.url}"
    await browser.connect(page, f"/echo?key={key}")
    await page.close()
    socket = await browser.connect(other, f"/seen?key={key}")
    assert json.loads(str(await socket.receive()))["code"] in (1001, 1005, 1006)


BROWSER_CHECKS = [
    browser_shares_one_connection,
    browser_echoes_and_closes,
    browser_sees_a_refusal,
    browser_has_sockets_and_fetches_at_once,
    browser_that_leaves_is_seen,
]


# ------------------------------------------------------------ HTTP/1.1 in front of a proxy


async def http_1_1_in_front_is_http_2_to_the_host(port: int) -> None:
    client = Websockets()
    await client.open(f"ws://127.0.0.1:{port}/scope", ["a"])
    scope = json.loads(str(await client.receive()))
    assert (scope["type"], scope["http_version"], scope["subprotocols"]) == ("websocket", "2", ["a"])
    end = await client.wait_closed()
    assert end.code == 1000, end
    client = Websockets()
    await client.open(f"ws://127.0.0.1:{port}/echo")
    await client.send(b"\0" * MEBIBYTE)
    assert await client.receive() == b"\0" * MEBIBYTE
    assert (await client.finish(4000, "bye")).code == 4000
    try:
        await Websockets().open(f"ws://127.0.0.1:{port}/deny")
    except Refused as refused:
        assert refused.status == 403, refused
    else:
        raise AssertionError("accepted")
