"""Pages of applications in Chromium: one step after another, and what the page then shows.

    python -m conformance.frameworks.clients.chromium PORT fetch|socketio|marimo|nicegui SCRIPT

SCRIPT: the file with Socket.IO's client for browsers.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from typing import List

from playwright.async_api import Page, Response, async_playwright, expect

# A page of another origin may otherwise not connect to a server on this machine.
FLAGS = ["--disable-features=LocalNetworkAccessChecks"]
STEP_MILLISECONDS = 15_000

expect.set_options(timeout=STEP_MILLISECONDS)

CONNECT = """url => new Promise((resolve, reject) => {
  const socket = window.socket = io(url, {reconnection: false}), names = [];
  socket.on("connect_error", reject);
  const note = () => {
    names.push(socket.io.engine.transport.name);
    names.includes("websocket") && socket.connected && resolve(names);
  };
  socket.io.engine.on("open", note);
  socket.io.engine.on("upgrade", note);
  socket.on("connect", note);
})"""
ECHO = """messages => new Promise(resolve => {
  const came = [];
  window.socket.on("echo", message => {
    came.push(message);
    came.length == messages.length && resolve(came);
  });
  messages.forEach(message => window.socket.emit("echo", message));
})"""


async def use_socketio(page: Page, base: str, script: str) -> None:
    await page.route("http://page.example/", lambda route: route.fulfill(body="", content_type="text/html"))
    await page.goto("http://page.example/")
    await page.add_script_tag(path=script)
    print("transports: " + ", ".join(dict.fromkeys(await page.evaluate(CONNECT, base))))
    messages = ["Zürich", {"a": [1, None]}, *range(10)]
    print(f"echoed: {await page.evaluate(ECHO, messages) == messages}")


FETCH = """async base => {
  const said = [], say = (what, text) => said.push(`${what}: ${text}`);
  const ask = async (what, path, options) => {
    const response = await fetch(base + path, options);
    say(what, `${response.status} ${await response.text()}`);
  };
  const headers = {"Content-Type": "application/json"};
  await ask("JSON", "/json", {method: "POST", headers, body: JSON.stringify({a: "ü"})});

  const pieces = [];
  for (let offset = 0; offset < 2 << 20; offset += 65536) {
    const piece = new Uint8Array(65536).map((_, index) => index);
    new DataView(piece.buffer).setBigUint64(0, BigInt(offset));
    pieces.push(piece);
  }
  const form = new FormData();
  form.append("tag", "a");
  form.append("file", new Blob(pieces), "ü.bin");
  await ask("form", "/form", {method: "POST", body: form});

  const counted = [], events = new EventSource(base + "/events/three");
  await new Promise(resolve => events.addEventListener("count", ({data}) => {
    counted.push(data) == 3 && resolve();
  }));
  events.close();
  say("events", counted.join(" "));

  const post = number => fetch(base + "/json", {method: "POST", headers, body: JSON.stringify(number)});
  const echo = async number => (await (await post(number)).json()).json == number;
  const many = await Promise.all([...Array(40).keys()].map(echo));
  say("many", many.every(Boolean));

  const controller = new AbortController();
  const reader = (await fetch(base + "/download", {signal: controller.signal})).body.getReader();
  await reader.read();
  controller.abort();
  await reader.read().catch(error => say("aborted", error.name));
  say("again", (await post(1)).status);
  return said;
}"""

FORM = '<form method="post" action="{}/login"><input name="user" value="me"><button>Log in</button></form>'


async def use_fetch(page: Page, base: str, _: str) -> None:
    origin = "https://pages.example/"
    await page.route(origin, lambda route: route.fulfill(body="", content_type="text/html"))
    await page.goto(origin)
    print("\n".join(await page.evaluate(FETCH, base)))
    await page.set_content(FORM.format(base))
    await page.get_by_role("button").click()
    await expect(page.get_by_text("account")).to_be_visible()
    print(f"logged in: {await page.locator('body').inner_text()}")


async def use_marimo(page: Page, base: str, _: str) -> None:
    await page.goto(base)
    await expect(page.get_by_text("Clicked 0 times by nobody.")).to_be_visible()
    print("shows the notebook")
    await page.get_by_role("button", name="Count").click()
    await expect(page.get_by_text("Clicked 1 times by nobody.")).to_be_visible()
    print("counts a click")
    await page.get_by_label("Name").fill("Zoë")
    await page.get_by_label("Name").blur()
    await expect(page.get_by_text("Clicked 1 times by Zoë.")).to_be_visible()
    print("takes a name")


async def use_nicegui(page: Page, base: str, _: str) -> None:
    await page.goto(base)
    await expect(page.get_by_text("nothing yet")).to_be_visible()
    print("shows the page")
    await page.get_by_role("button", name="Count").click()
    await expect(page.get_by_text("clicked", exact=True)).to_be_visible()
    print("sees a click")
    await page.get_by_label("Name").fill("Zoë")
    await expect(page.get_by_text("Hello, Zoë!")).to_be_visible()
    print("takes a name")
    file = {"name": "naïve.bin", "mimeType": "application/octet-stream", "buffer": bytes(3_000_000)}
    await page.set_input_files("input[type=file]", file)
    await expect(page.get_by_text("naïve.bin, 3000000 bytes")).to_be_visible()
    print("takes a file")


USES = {"fetch": use_fetch, "socketio": use_socketio, "marimo": use_marimo, "nicegui": use_nicegui}


async def main(port: str, name: str, script: str) -> None:
    troubles: List[str] = []

    def note_status(response: Response) -> None:
        if response.status >= 400:
            troubles.append(f"{response.status} {response.url}")

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = await browser.new_page()
        page.set_default_timeout(STEP_MILLISECONDS)
        page.on("pageerror", lambda error: troubles.append(f"error in the page: {error}"))
        page.on("response", note_status)
        await USES[name](page, f"http://127.0.0.1:{port}", script)
        await browser.close()
    print("\n".join(troubles) or "no troubles")


asyncio.run(main(*sys.argv[1:]))
