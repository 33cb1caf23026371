"""The demo page in Chromium: two tabs in one room, and the panel that shows the connection."""

from __future__ import annotations

import base64
import contextlib
import re
from typing import Any, AsyncIterator, List

import pytest
import pytest_html
from playwright.async_api import ConsoleMessage, Page, expect

from conformance.interop.trial import Trial

pytestmark = [pytest.mark.servers("demo"), pytest.mark.needs("tabs")]

expect.set_options(timeout=8_000)

LONG_LINE = "a line that is long enough to be compressed, " * 20
CONTROLS = {"reconnect", "message", "send", "name", "change", "send-binary", "send-big", "ping"}
CONTROLS |= {"send-empty", "code", "reason", "close-here", "close-there", "show-pings"}


class Tab:
    """A tab with the demo page, and what went wrong in it: errors, failed requests."""

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

    async def see(self, selector: str, text: Any) -> None:
        """Wait until the element's text holds `text` (a string or a pattern)."""
        await expect(self.page.locator(selector)).to_contain_text(text)

    async def say(self, text: str) -> None:
        await self.page.fill("#message", text)
        await self.page.press("#message", "Enter")

    async def send_big(self) -> None:
        await self.page.click("#send-big")
        await self.see("#log", "1 MiB came back unchanged")

    async def ping(self, count: int) -> None:
        for _ in range(count):
            await self.page.click("#ping")
            await self.page.wait_for_timeout(350)

    async def close_with(self, code: int, reason: str, button: str) -> None:
        await self.page.fill("#code", str(code))
        await self.page.fill("#reason", reason)
        await self.page.click(button)
        await self.see("#close-code", str(code))
        await self.see("#close-code", reason)
        await self.see("#status", f"Closed, {code}")


@contextlib.asynccontextmanager
async def open_tab(trial: Trial) -> AsyncIterator[Tab]:
    """A new tab on the demo page, open when the block begins; nothing may have gone wrong at its end."""
    tab = Tab(await trial.client().page.context.new_page())
    try:
        tab.page.set_default_timeout(8_000)
        await tab.page.goto(f"http://127.0.0.1:{trial.server.port}/")
        await tab.see("#status", "Open")
        yield tab
        assert tab.troubles == []
    finally:
        await tab.page.close()


@pytest.fixture
async def tab(trial: Trial) -> AsyncIterator[Tab]:
    async with open_tab(trial) as tab:
        yield tab


@pytest.fixture
async def other(trial: Trial, tab: Tab) -> AsyncIterator[Tab]:
    """A second tab in the same room."""
    async with open_tab(trial) as tab:
        yield tab


async def keep_screenshot(tab: Tab, name: str, extras: List[Any], *, full: bool = False) -> None:
    """Put a picture of the page into the report."""
    picture = base64.b64encode(await tab.page.screenshot(full_page=full)).decode("ascii")
    extras.append(pytest_html.extras.png(picture, name))


async def test_has_a_light_and_a_dark_face(tab: Tab, other: Tab, extras: List[Any]) -> None:
    await other.say("Two tabs, one room.")
    await tab.say("Every frame of this line is in the panel. " * 3)
    await tab.send_big()
    await tab.ping(8)
    grounds = set()
    for scheme in ("light", "dark"):
        await tab.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        grounds.add(await tab.page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
        await keep_screenshot(tab, scheme, extras)
    await keep_screenshot(other, "other tab", extras)
    assert len(grounds) == 2


async def test_loads_nothing_from_elsewhere(tab: Tab) -> None:
    assert [url for url in tab.requests if not url.startswith("data:")] == [tab.page.url]


async def test_lets_two_tabs_talk(tab: Tab, other: Tab) -> None:
    await tab.see("#people", "2 here")
    await tab.say("hello from the first tab")
    await other.see("#log", "hello from the first tab")
    await other.say("and hello back 🙂")
    await tab.see("#log", "and hello back 🙂")
    await tab.say("<b id=markup>is text</b>")
    await other.see("#log", "<b id=markup>is text</b>")
    assert await other.page.locator("#markup").count() == 0
    await other.page.close()
    await tab.see("#people", "1 here")


async def test_renames_and_tells_the_others(tab: Tab, other: Tab) -> None:
    await tab.page.fill("#name", "Ada")
    await tab.page.press("#name", "Enter")
    await other.see("#people", "Ada")
    await tab.say("named now")
    await other.see("#log", re.compile("Ada.*named now", re.DOTALL))


async def test_shows_the_handshake(tab: Tab) -> None:
    for text in ("101 Switching Protocols", "wsbridge-demo", "permessage-deflate"):
        await tab.see("#handshake", text)
    await tab.see("#took", re.compile(r"took [\d.]+ ms"))


async def test_shows_frames_as_they_pass(tab: Tab) -> None:
    await tab.say(LONG_LINE)
    await tab.page.click("#send-binary")
    await tab.see("#log", "256 random bytes came back unchanged")
    for direction in ("in", "out"):
        for opcode in (1, 2):
            rows = tab.page.locator(f"#frames tr[data-direction={direction}][data-opcode='{opcode}']")
            await expect(rows.first).to_contain_text("FIN")
    await tab.see("#frames", "RSV1")
    for opcode in (9, 10):
        await expect(tab.page.locator(f"#frames tr[data-opcode='{opcode}']").first).to_be_visible()


async def test_echoes_what_the_buttons_send(tab: Tab) -> None:
    await tab.page.click("#send-empty")
    await tab.see("#log", "The empty message came back unchanged")
    await tab.send_big()


async def test_plots_the_round_trip(tab: Tab) -> None:
    await tab.ping(3)
    await tab.see("#rtt", re.compile(r"[\d.]+ ms"))
    points = await tab.page.locator("#rtt-plot polyline").get_attribute("points")
    assert len((points or "").split(" ")) >= 3


async def test_shows_the_compression(tab: Tab) -> None:
    await tab.send_big()
    await tab.see("#ratio", re.compile(r"[\d.]+ %"))
    await tab.see("#ratio-in", "MiB in")
    await tab.see("#ratio-out", "MiB in")
    assert float((await tab.page.inner_text("#ratio")).split()[0]) < 20


async def test_closes_from_here_and_reconnects(tab: Tab) -> None:
    await tab.close_with(3001, "enough", "#close-here")
    await tab.page.click("#reconnect")
    await tab.see("#status", "Open")
    await tab.say("back again")
    await tab.see("#log", "back again")


async def test_closes_from_there(tab: Tab) -> None:
    await tab.close_with(4002, "geht klar ✓", "#close-there")


async def test_works_by_keyboard_alone(tab: Tab) -> None:
    """Tab from the top of the page to the message field, type, Enter; then on to every other control."""
    reached = set()
    for _ in range(32):
        await tab.page.keyboard.press("Tab")
        name = await tab.page.evaluate("document.activeElement.id")
        if name == "message" and name not in reached:
            await tab.page.keyboard.type("typed")
            await tab.page.keyboard.press("Enter")
            await tab.see("#log", "typed")
        reached.add(name)
    assert reached >= CONTROLS


async def test_fits_a_phone(tab: Tab, extras: List[Any]) -> None:
    await tab.page.set_viewport_size({"width": 360, "height": 740})
    await tab.say("a_word_that_is_far_too_long_for_one_line_" * 6)
    await tab.see("#log", "a_word_that")
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    await keep_screenshot(tab, "phone", extras, full=True)
