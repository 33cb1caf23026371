"""The demo page in Chromium: two tabs in one room, and the panel that shows the connection."""

from __future__ import annotations

import contextlib
import re
from typing import AsyncIterator, List, Optional

from playwright.async_api import ConsoleMessage, Error, Page
from playwright.async_api import expect as see

from conformance.interop.chromium_client import ChromiumClient
from conformance.interop.trial import Mismatch, Trial, check, expect, expect_true, list_checks

see.set_options(timeout=8_000)


def get_chromium(trial: Trial) -> ChromiumClient:
    if not isinstance(trial.client, ChromiumClient):
        raise TypeError("the demo is for a browser")
    return trial.client


class Tab:
    """A tab with the demo page, and what went wrong in it: errors, failed or foreign requests."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.troubles: List[str] = []
        self.requests: List[str] = []
        page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        page.on("requestfailed", lambda request: self.troubles.append(f"failed: {request.url}"))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", self._note)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.troubles.append(f"console: {message.text}")

    async def see(self, selector: str, text: object) -> None:
        """Wait until the element's text holds `text` (a string or a pattern)."""
        locator = self.page.locator(selector)
        try:
            await see(locator).to_contain_text(text)  # type: ignore[arg-type]
        except (AssertionError, Error):
            got = await locator.all_inner_texts()
            raise Mismatch(f"{selector}: expected text {text!r}, got {' | '.join(got)[:300]!r}") from None

    async def say(self, text: str) -> None:
        await self.page.fill("#message", text)
        await self.page.press("#message", "Enter")

    async def read(self, selector: str) -> str:
        return await self.page.locator(selector).inner_text()


@contextlib.asynccontextmanager
async def open_tabs(trial: Trial, count: int = 1) -> AsyncIterator[List[Tab]]:
    """New tabs on the demo page, each open when the block begins; nothing may have gone wrong at its end."""
    tabs = [Tab(await get_chromium(trial).context.new_page()) for _ in range(count)]
    try:
        for tab in tabs:
            tab.page.set_default_timeout(8_000)
            await tab.page.goto(f"http://127.0.0.1:{trial.port}/")
            await tab.see("#status", "Open")
        yield tabs
        for tab in tabs:
            expect("what went wrong in a tab", tab.troubles, [])
    finally:
        for tab in tabs:
            await tab.page.close()


async def keep_screenshot(trial: Trial, tab: Tab, name: str, *, full: bool = False) -> None:
    get_chromium(trial).screenshots[name] = await tab.page.screenshot(full_page=full)


@check()
async def has_a_light_and_a_dark_face(trial: Trial) -> str:
    """Also keeps the screenshots: both tabs of one room, light, then dark."""
    async with open_tabs(trial, 2) as [one, two]:
        await one.say("Two tabs, one room.")
        await two.say("Every frame of this line is in the panel. " * 3)
        await two.page.click("#send-big")
        await two.see("#log", "1 MiB came back unchanged")
        for _ in range(8):
            await two.page.click("#ping")
            await two.page.wait_for_timeout(300)
        grounds = []
        for scheme in ("light", "dark"):
            await two.page.emulate_media(color_scheme=scheme)
            grounds.append(
                await two.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            )
            await keep_screenshot(trial, two, scheme)
        await keep_screenshot(trial, one, "other tab")
    expect_true("colours of the ground", grounds[0] != grounds[1], grounds)
    return f"{grounds[0]} and {grounds[1]}"


@check()
async def loads_nothing_from_elsewhere(trial: Trial) -> str:
    async with open_tabs(trial) as [tab]:
        here = f"http://127.0.0.1:{trial.port}/"
        foreign = [url for url in tab.requests if not url.startswith((here, "data:"))]
        expect("requests to elsewhere", foreign, [])
        requests = [url for url in tab.requests if url.startswith(here)]
        expect("requests of the page", requests, [here])
    return "one request, nothing on the console"


@check()
async def lets_two_tabs_talk(trial: Trial) -> None:
    async with open_tabs(trial, 2) as [one, two]:
        await one.see("#people", "2 here")
        await one.say("hello from the first tab")
        await two.see("#log", "hello from the first tab")
        await two.say("and hello back 🙂")
        await one.see("#log", "and hello back 🙂")
        await one.say("<b id=markup>is text</b>")
        await two.see("#log", "<b id=markup>is text</b>")
        expect("elements made of markup in a message", await two.page.locator("#markup").count(), 0)
        await two.page.close()
        await one.see("#people", "1 here")


@check()
async def renames_and_tells_the_others(trial: Trial) -> None:
    async with open_tabs(trial, 2) as [one, two]:
        await one.page.fill("#name", "Ada")
        await one.page.press("#name", "Enter")
        await two.see("#people", "Ada")
        await one.say("named now")
        await two.see("#log", re.compile("Ada.*named now", re.DOTALL))


@check()
async def shows_the_handshake(trial: Trial) -> str:
    async with open_tabs(trial) as [tab]:
        await tab.see("#handshake", "101 Switching Protocols")
        await tab.see("#handshake", "wsbridge-demo")
        await tab.see("#handshake", "permessage-deflate")
        await tab.see("#took", re.compile(r"took [\d.]+ ms"))
        return await tab.read("#took")


@check()
async def shows_frames_as_they_pass(trial: Trial) -> str:
    async with open_tabs(trial) as [tab]:
        await tab.say("a line that is long enough to be compressed, " * 20)
        await tab.page.click("#send-binary")
        await tab.see("#log", "256 random bytes came back unchanged")
        for direction in ("in", "out"):
            for opcode in (1, 2):
                rows = tab.page.locator(f"#frames tr[data-direction={direction}][data-opcode='{opcode}']")
                await see(rows.first).to_contain_text("FIN")
        await tab.see("#frames", "RSV1")
        for opcode in (9, 10):
            await see(tab.page.locator(f"#frames tr[data-opcode='{opcode}']").first).to_be_visible()
        return await tab.read("#frames-count")


@check()
async def echoes_what_the_buttons_send(trial: Trial) -> None:
    async with open_tabs(trial) as [tab]:
        await tab.page.click("#send-empty")
        await tab.see("#log", "The empty message came back unchanged")
        await tab.page.click("#send-big")
        await tab.see("#log", "1 MiB came back unchanged")


@check()
async def plots_the_round_trip(trial: Trial) -> str:
    async with open_tabs(trial) as [tab]:
        for _ in range(3):
            await tab.page.click("#ping")
            await tab.page.wait_for_timeout(400)
        await tab.see("#rtt", re.compile(r"[\d.]+ ms"))
        points = await tab.page.locator("#rtt-plot polyline").get_attribute("points")
        expect_true("points of the plot, 3 or more", len((points or "").split(" ")) >= 3, points)
        return f"{await tab.read('#rtt')}; {await tab.read('#rtt-range')}"


@check()
async def shows_the_compression(trial: Trial) -> str:
    async with open_tabs(trial) as [tab]:
        await tab.page.click("#send-big")
        await tab.see("#log", "1 MiB came back unchanged")
        await tab.see("#ratio", re.compile(r"[\d.]+ %"))
        await tab.see("#ratio-in", "MiB in")
        await tab.see("#ratio-out", "MiB in")
        ratio = float((await tab.read("#ratio")).split()[0])
        expect_true("per cent left of 1 MiB of repeated text, under 20", ratio < 20, ratio)
        return f"{ratio} %; to the server {await tab.read('#ratio-in')}, back {await tab.read('#ratio-out')}"


async def close_with(tab: Tab, code: int, reason: str, button: str) -> str:
    await tab.page.fill("#code", str(code))
    await tab.page.fill("#reason", reason)
    await tab.page.click(button)
    await tab.see("#close-code", str(code))
    await tab.see("#close-code", reason)
    await tab.see("#status", f"Closed, {code}")
    return await tab.read("#close-code")


@check()
async def closes_from_here_and_reconnects(trial: Trial) -> str:
    async with open_tabs(trial) as [tab]:
        shown = await close_with(tab, 3001, "enough", "#close-here")
        await tab.page.click("#reconnect")
        await tab.see("#status", "Open")
        await tab.say("back again")
        await tab.see("#log", "back again")
    return shown


@check()
async def closes_from_there(trial: Trial) -> str:
    async with open_tabs(trial) as [tab]:
        return await close_with(tab, 4002, "geht klar ✓", "#close-there")


@check()
async def works_by_keyboard_alone(trial: Trial) -> str:
    """Tab from the top of the page to the message field, type, Enter; then on to every other control."""
    async with open_tabs(trial) as [tab]:
        reached: List[str] = []
        for _ in range(32):
            await tab.page.keyboard.press("Tab")
            name: Optional[str] = await tab.page.evaluate("document.activeElement.id")
            if name == "message" and name not in reached:
                await tab.page.keyboard.type("typed")
                await tab.page.keyboard.press("Enter")
                await tab.see("#log", "typed")
            reached.append(name or "")
        wanted = {"reconnect", "message", "send", "name", "change", "send-binary", "send-big", "ping"}
        wanted |= {"send-empty", "code", "reason", "close-here", "close-there", "show-pings"}
        expect("controls that Tab does not reach", sorted(wanted - set(reached)), [])
        return f"{len(wanted)} controls"


@check()
async def fits_a_phone(trial: Trial) -> str:
    async with open_tabs(trial) as [tab]:
        await tab.page.set_viewport_size({"width": 360, "height": 740})
        await tab.say("a_word_that_is_far_too_long_for_one_line_" * 6)
        await tab.see("#log", "a_word_that")
        width = await tab.page.evaluate("document.documentElement.scrollWidth")
        expect_true("width of the page in a window of 360", width <= 360, width)
        await keep_screenshot(trial, tab, "phone", full=True)
        return f"{width} of 360 pixels wide"


CHECKS = list_checks(globals())
