"""Headless Chromium, driven through playwright: the WebSocket of a page."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Dict, List, Optional, Sequence

from playwright.async_api import BrowserContext, ConsoleMessage, JSHandle, Page

from conformance.interop.trial import Closed, Connection, Message, Refused

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


class ChromiumClient:
    lacks: ClassVar[Dict[str, str]] = {
        "fragments": "the page cannot choose how a message is cut into frames",
        "pings": "a page cannot send PING",
        "no deflate offer": "always offers permessage-deflate",
        "deflate parameters": "the offer is fixed",
        "all deflate parameters": "the offer is fixed",
        "own headers": "a page cannot set request headers",
        "declined subprotocol": "fails a connection whose server chose none of the offered subprotocols",
        "any close code": "close() takes 1000 and 3000-4999 only",
        "backpressure": "a page cannot stop reading",
    }

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self._page: Optional[Page] = None
        self._console: List[str] = []

    async def open_page(self) -> Page:
        """A new tab, on an empty page."""
        page = await self.context.new_page()
        await page.route(PAGE, lambda route: route.fulfill(body="", content_type="text/html"))
        await page.goto(PAGE)
        page.on("console", self._note)
        return page

    def _note(self, message: ConsoleMessage) -> None:
        self._console.append(message.text)

    async def open(self, url: str, *, subprotocols: Sequence[str] = ()) -> Connection:
        if self._page is None:
            self._page = await self.open_page()
        return await self.open_in(self._page, url, subprotocols)

    async def open_in(self, page: Page, url: str, subprotocols: Sequence[str] = ()) -> Connection:
        self._console.clear()
        socket = await page.evaluate_handle(OPEN, [url, list(subprotocols)])
        shown = await socket.evaluate("socket => socket && [socket.protocol, socket.extensions]")
        if shown is None:
            raise Refused(find_status(" ".join(self._console)))
        return ChromiumConnection(page, socket, *shown)


def find_status(console: str) -> Optional[int]:
    """The status of a refusal, which the browser tells on its console only, and that of 401 in words."""
    found = re.search(r"Unexpected response code: (\d+)", console)
    if found:
        return int(found[1])
    return 401 if "HTTP Authentication failed" in console else None


class ChromiumConnection(Connection):
    def __init__(self, page: Page, socket: JSHandle, subprotocol: str, extensions: str) -> None:
        self._page = page
        self._closed: Optional[Closed] = None
        self.socket = socket
        self.subprotocol = subprotocol or None
        self.extensions = extensions

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

    async def close(self, *code_and_reason: Any) -> Closed:
        await self.socket.evaluate("(socket, arguments) => socket.close(...arguments)", code_and_reason)
        return await self.wait_closed()

    async def abandon(self) -> None:
        if not self._page.is_closed():
            await self.socket.evaluate("socket => socket.close()")
            await self.socket.dispose()
