"""The scenarios of whole applications: Django's admin, MCP, and in Chromium marimo and NiceGUI."""

from __future__ import annotations

import re
from typing import Dict, List
from urllib.parse import urlencode

from .bodies import URLENCODED, add_http, typed
from .exchange import Answer, Connection
from .scenarios import add, closed
from .trial import Trial

# ------------------------------------------------------------------------------------ Django's admin


class Visitor:
    """Someone with a browser's cookies, who fills in the forms of the admin."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cookies: Dict[str, str] = {}
        self._token = ""

    @property
    def cookie(self) -> List[tuple[str, str]]:
        return [("Cookie", "; ".join(f"{name}={value}" for name, value in self._cookies.items()))]

    async def get(self, path: str) -> Answer:
        return self._keep(await self._connection.exchange("GET", path, self.cookie))

    async def post(self, path: str, **fields: str) -> Answer:
        body = urlencode({"csrfmiddlewaretoken": self._token, **fields}).encode()
        headers = [*typed(URLENCODED), *self.cookie]
        return self._keep(await self._connection.exchange("POST", path, headers, body))

    def _keep(self, answer: Answer) -> Answer:
        for name, value in answer.headers:
            if name == "set-cookie":
                key, _, content = value.partition(";")[0].partition("=")
                self._cookies[key] = content
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', answer.text)
        self._token = token[1] if token else self._token
        return answer


def describe(answer: Answer) -> str:
    title = re.search(r"<title>\s*(.*?)\s*</title>", answer.text)
    return f"{answer.status} {answer.find('location') or (title and title[1])}"


async def keep_house(trial: Trial) -> None:
    """Log in, add a group, change it, log out, all on one connection."""
    visitor = Visitor(await trial.connect())
    trial.say(describe(await visitor.get("/admin/")))
    trial.say(describe(await visitor.get("/admin/login/?next=/admin/")))
    for password in ("wrong", "of the keys"):
        fields = {"username": "keeper", "password": password, "next": "/admin/"}
        trial.say(describe(await visitor.post("/admin/login/", **fields)))
    trial.say(describe(await visitor.get("/admin/")))
    trial.say(describe(await visitor.get("/admin/auth/group/add/")))
    added = await visitor.post("/admin/auth/group/add/", name="Züricher", _save="Save")
    trial.say(describe(added))
    listed = await visitor.get("/admin/auth/group/")
    trial.say("in the list" if "Züricher" in listed.text else "not in the list")
    trial.say(describe(await visitor.post("/admin/auth/group/add/", csrfmiddlewaretoken="none")))
    peer = await trial.open("/user", visitor.cookie)
    trial.say(str(await peer.receive()))
    trial.say(await peer.wait_end())
    trial.say(describe(await visitor.post("/admin/logout/")))
    trial.say(describe(await visitor.get("/admin/")))


LOGIN = "Log in | Django site admin"
HOUSE_KEPT = [
    "302 /admin/login/?next=/admin/",
    f"200 {LOGIN}",
    f"200 Error: {LOGIN}",
    "302 /admin/",
    "200 Site administration | Django site admin",
    "200 Add group | Django site admin",
    "302 /admin/auth/group/",
    "in the list",
    "403 403 Forbidden",
    "101",
    "keeper",
    closed(1000),
    "200 Logged out | Django site admin",
    "302 /admin/login/?next=/admin/",
]

add("Django's admin", keep_house, HOUSE_KEPT, of="django_admin")


# ------------------------------------------------------------------------------------ MCP


async def use_mcp(trial: Trial, mode: str) -> None:
    await trial.run_client("mcp_client", mode)


def add_mcp(name: str, mode: str, protocol: str) -> None:
    right = [f"protocol {protocol}, street", "echo count fail", "echo: Zürich", "long echo: True"]
    right += [f"progress {number} of 3" for number in range(3)]
    right += ["count: counted", "fail: True", "several: 0 1 2 3 4 5 6 7"]
    right += ["resource: Zürich", "no such resource: -32602", "left"]
    add_http(name, use_mcp, right, of="mcp", mode=mode)


add_mcp("MCP with a session", "legacy", "2025-11-25")
add_mcp("MCP without sessions", "auto", "2026-07-28")


# ------------------------------------------------------------------------------------ in Chromium


async def use_browser(trial: Trial, use: str) -> None:
    await trial.run_browser(use)


NOTEBOOK_USED = ["shows the notebook", "counts a click", "takes a name", "no troubles"]
PAGE_USED = ["shows the page", "sees a click", "takes a name", "takes a file", "no troubles"]

add("marimo in the browser", use_browser, NOTEBOOK_USED, of="marimo", in_chromium=True, use="marimo")
add("NiceGUI in the browser", use_browser, PAGE_USED, of="nicegui", in_chromium=True, use="nicegui")
