"""Headless Chromium, driven through playwright: the WebSocket of a page."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import re
import shutil
import tempfile
from typing import Any, AsyncIterator, ClassVar, Dict, Optional, Sequence

from playwright.async_api import BrowserContext, ConsoleMessage, Page, async_playwright

from conformance.interop.trial import Client, Closed, Connection, Message, Opening, Refused
from conformance.lib.environment import Unavailable

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# What runs in the page: sockets under a number, their messages in a queue that `take` waits on.
SCRIPT = """() => {
window.sockets = new Map();
window.openSocket = (id, url, protocols) => new Promise(resolve => {
  const ws = new WebSocket(url, protocols), items = [], waiting = [];
  ws.binaryType = "arraybuffer";
  const put = item => waiting.length ? waiting.shift()(item) : items.push(item);
  const take = () => new Promise(done => items.length ? done(items.shift()) : waiting.push(done));
  window.sockets.set(id, {ws, take});
  ws.onopen = () => resolve({protocol: ws.protocol, extensions: ws.extensions});
  ws.onmessage = event => put(typeof event.data === "string"
    ? {text: event.data} : {base64: new Uint8Array(event.data).toBase64()});
  ws.onclose = event => {
    put({code: event.code, reason: event.reason, clean: event.wasClean});
    resolve(null);
  };
});
window.sendAll = (id, items) => {
  for (const {text, base64, kind} of items) {
    const bytes = base64 === undefined ? null : Uint8Array.fromBase64(base64);
    window.sockets.get(id).ws.send(
      bytes === null ? text : kind === "blob" ? new Blob([bytes]) : kind === "view" ? bytes : bytes.buffer);
  }
};
window.takeAll = async (id, count) => {
  const items = [];
  const {take} = window.sockets.get(id);
  while (items.length < count && !items.some(item => item.code)) items.push(await take());
  return items;
};
}"""


@contextlib.asynccontextmanager
async def start_chromium() -> AsyncIterator[ChromiumClient]:
    """A browser of its own, with a fresh profile that is thrown away afterwards."""
    path = shutil.which("chromium")
    if path is None:
        raise Unavailable("chromium is missing: apt-get install chromium chromium-driver")
    with tempfile.TemporaryDirectory(prefix="wsbridge-chromium-", ignore_cleanup_errors=True) as profile:
        async with serve_blank_page() as url, async_playwright() as playwright:
            context = await playwright.chromium.launch_persistent_context(
                profile,
                executable_path=path,
                headless=True,
                args=FLAGS,
                viewport={"width": 1280, "height": 900},
                ignore_https_errors=True,
                timeout=60_000,
            )
            try:
                yield ChromiumClient(context, url)
            finally:
                await context.close()


@contextlib.asynccontextmanager
async def serve_blank_page() -> AsyncIterator[str]:
    """The address of a page to open sockets from: on 127.0.0.1 as the servers are, of another origin."""
    page = b"<!doctype html><title>interop</title>"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head % len(page) + page)
            await writer.drain()
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
    finally:
        listener.close()


class ChromiumClient(Client):
    name = "chromium"
    lacks: ClassVar[Dict[str, str]] = {
        "fragments": "the page cannot choose how a message is cut into frames",
        "pings": "a page cannot send PING",
        "no deflate offer": "always offers permessage-deflate",
        "deflate parameters": "the offer is fixed",
        "all deflate parameters": "the offer is fixed",
        "own headers": "a page cannot set request headers",
        "declined subprotocol": "fails a connection whose server chose none of the offered subprotocols",
        "any close code": "close() takes 1000 and 3000-4999 only",
        "response headers": "a page does not see the headers of the 101",
        "backpressure": "a page cannot stop reading",
    }

    def __init__(self, context: BrowserContext, page_url: str) -> None:
        self.context = context
        self.version = context.browser.version if context.browser else "?"
        self.page_url = page_url
        self._page: Optional[Page] = None
        self._ids = itertools.count(1)
        self._console: list[str] = []
        self.screenshots: dict[str, bytes] = {}

    async def open_page(self) -> Page:
        """A new tab with the script in it, on a page of the server's own kind of address."""
        page = await self.context.new_page()
        page.set_default_timeout(15_000)
        await page.goto(self.page_url)
        await page.evaluate(SCRIPT)
        page.on("console", self._note)
        return page

    def _note(self, message: ConsoleMessage) -> None:
        self._console.append(message.text)

    async def open(self, url: str, opening: Opening) -> Connection:
        if opening.deflate is not True or opening.headers:
            raise ValueError("a page chooses neither extensions nor headers")
        if self._page is None or self._page.is_closed():
            self._page = await self.open_page()
        return await self.open_in(self._page, url, opening.subprotocols)

    async def open_in(self, page: Page, url: str, subprotocols: Sequence[str] = ()) -> Connection:
        number = next(self._ids)
        self._console.clear()
        opened = await page.evaluate(
            "([id, url, protocols]) => openSocket(id, url, protocols)", [number, url, list(subprotocols)]
        )
        if opened is None:
            raise Refused(find_status(" ".join(self._console)))
        return ChromiumConnection(page, number, opened)


def find_status(console: str) -> Optional[int]:
    """The status of a refusal, which the browser tells on its console only, and that of 401 in words."""
    found = re.search(r"Unexpected response code: (\d+)", console)
    if found:
        return int(found[1])
    return 401 if "HTTP Authentication failed" in console else None


def build_item(message: Message, kind: str) -> dict[str, str]:
    """A message as the script in the page takes it."""
    if isinstance(message, str):
        return {"text": message}
    return {"base64": base64.b64encode(message).decode("ascii"), "kind": kind}


class ChromiumConnection(Connection):
    def __init__(self, page: Page, number: int, opened: Any) -> None:
        self.page = page
        self._number = number
        self._extensions = opened["extensions"]
        self._closed: Optional[Closed] = None
        self.subprotocol = opened["protocol"] or None

    async def send(self, message: Message) -> None:
        await self.send_all([message])

    async def send_all(self, messages: Sequence[Message]) -> None:
        await self._send_items([build_item(message, "buffer") for message in messages])

    async def send_binary(self, message: bytes, kind: str) -> None:
        """Send as an ArrayBuffer, a view of one, or a Blob ("buffer", "view", "blob")."""
        await self._send_items([build_item(message, kind)])

    async def _send_items(self, items: list[dict[str, str]]) -> None:
        await self.page.evaluate("([id, items]) => sendAll(id, items)", [self._number, items])

    async def receive(self) -> Message:
        return (await self.receive_all(1))[0]

    async def receive_all(self, count: int) -> list[Message]:
        if self._closed is not None:
            raise self._closed
        items = await self.page.evaluate("([id, count]) => takeAll(id, count)", [self._number, count])
        if "code" in items[-1]:
            self._closed = Closed(items[-1]["code"], items[-1]["reason"])
            raise self._closed
        return [base64.b64decode(item["base64"]) if "base64" in item else str(item["text"]) for item in items]

    async def close(self, code: Optional[int] = None, reason: str = "") -> Closed:
        arguments = [] if code is None else [code, reason]
        await self.page.evaluate("([id, all]) => sockets.get(id).ws.close(...all)", [self._number, arguments])
        return await self.wait_closed()

    async def abandon(self) -> None:
        if not self.page.is_closed():
            await self.page.evaluate("id => { sockets.get(id).ws.close(); sockets.delete(id) }", self._number)

    def describe_extensions(self) -> str:
        return str(self._extensions)
