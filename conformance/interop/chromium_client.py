"""Headless Chromium, driven through playwright: the WebSocket of a page."""

from __future__ import annotations

import re
from typing import Any, List, Optional, Sequence

from playwright.async_api import BrowserContext, ConsoleMessage, JSHandle, Page

from conformance.lib.clients import Client, Closed, Message, Refused

# A page of another origin may otherwise not connect to a server on this machine.
FLAGS = ["--disable-features=LocalNetworkAccessChecks"]
PAGE = "http://interop.example/"

# A WebSocket whose `take` waits for the next message, or for the end; null when the connection is refused.
OPEN = """([url, protocols]) => new Promise(resolve => {
  const socket = new WebSocket(url, protocols), items = [], waiting = [];
  const put = item => waiting.length ? waiting.shift()(item) : items.push(item);
  socket.binaryType = "arraybuffer";
  socket.take = () => new Promise(done => items.length ? done(items.shift()) : waiting.push(done));
  socket.onopen = () => resolve(socket);
  socket.onmessage = ({data}) => put(typeof data === "string" ? data : new Uint8Array(data));
  socket.onclose = ({code, reason}) => { put({code, reason}); resolve(null); };
})"""
TAKE = """async (socket, count) => {
  const items = [];
  while (items.length < count && !items.some(item => item.code)) items.push(await socket.take());
  return items;
}"""
SEND = "(socket, items) => items.forEach(item => socket.send(item.buffer ?? item))"


async def open_page(context: BrowserContext) -> Page:
    """A new tab, on an empty page."""
    page = await context.new_page()
    await page.route(PAGE, lambda route: route.fulfill(body="", content_type="text/html"))
    await page.goto(PAGE)
    return page


class Chromium(Client):
    """One connection of a page, which may have others."""

    socket: JSHandle

    def __init__(self, page: Page) -> None:
        self.page = page
        self._closed: Optional[Closed] = None

    async def open(self, url: str, subprotocols: Sequence[str] = ()) -> None:
        console: List[str] = []

        def note(message: ConsoleMessage) -> None:
            console.append(message.text)

        self.page.on("console", note)
        self.socket = await self.page.evaluate_handle(OPEN, [url, list(subprotocols)])
        shown = await self.socket.evaluate("socket => socket && [socket.protocol, socket.extensions]")
        self.page.remove_listener("console", note)
        if shown is None:
            raise Refused(find_status(" ".join(console)), None)
        self.subprotocol, self.extensions = shown[0] or None, shown[1]

    async def send(self, message: Message) -> None:
        await self.send_all([message])

    async def send_all(self, messages: Sequence[Message]) -> None:
        await self.socket.evaluate(SEND, messages)

    async def receive(self) -> Message:
        return (await self.receive_all(1))[0]

    async def receive_all(self, count: int) -> List[Message]:
        if self._closed is not None:
            raise self._closed
        items: List[Any] = await self.socket.evaluate(TAKE, count)
        if isinstance(items[-1], dict):
            self._closed = Closed(items[-1]["code"], items[-1]["reason"])
            raise self._closed
        return [item if isinstance(item, str) else bytes(item) for item in items]

    async def close(self, code: Optional[int] = None, reason: str = "") -> None:
        arguments = [] if code is None else [code, reason]
        await self.socket.evaluate("(socket, arguments) => socket.close(...arguments)", arguments)

    async def abandon(self) -> None:
        if not self.page.is_closed():
            await self.socket.evaluate("socket => socket.close()")
            await self.socket.dispose()


def find_status(console: str) -> Optional[int]:
    """The status of a refusal, which the browser tells on its console only, and that of 401 in words."""
    found = re.search(r"Unexpected response code: (\d+)", console)
    if found:
        return int(found[1])
    return 401 if "HTTP Authentication failed" in console else None
