"""The frameworks, and which of the scenarios each one has words for."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

from .protocols import SCENARIOS

REQUIREMENTS = (Path(__file__).parent / "requirements.txt").read_text("utf-8").split()

COMMON = [
    "page",
    "stream left early",
    "what it sees of the request",
    "text",
    "text, disconnect not caught",
    "binary",
    "feed closed by the client",
    "feed whose client is lost",
    "feed, disconnect not caught",
    "feed that does not take what its client sends",
    "feed closed between subscription and tick",
    "subprotocol",
    "subprotocol not offered",
    "long reason",
    "raises",
    "raises before the accept",
    "awaits what another cancels",
    "refuses with 1008",
    "refuses with 403",
    "refuses with 4003 and a long reason",
    "unknown path",
    "closes again, 1001",
    "closes again, no code",
    "closes again, lost",
    "accepts when the client has left",
    "cleans up for 0.5 s",
    "sys.exit()",
    "sys.exit() in a task",
    "SIGTERM",
]


class Framework(NamedTuple):
    """own: scenarios of whose end the framework decides, and why: there the servers have only to agree."""

    package: str
    application: str
    scenarios: List[str]
    own: Mapping[str, str]
    environment: str
    requirements: Sequence[str]

    @property
    def version(self) -> str:
        pins = dict(requirement.lower().split("==") for requirement in self.requirements)
        return pins[self.package]


def _build(
    package: str,
    module: str,
    scenarios: Sequence[str] = COMMON,
    *,
    also: Sequence[str] = (),
    without: Sequence[str] = (),
    own: Optional[Mapping[str, str]] = None,
    environment: str = "frameworks",
    requirements: Sequence[str] = REQUIREMENTS,
) -> Framework:
    application = f"conformance.frameworks.apps.{module}_app:app"
    names = [*also, *(name for name in scenarios if name not in without)]
    return Framework(package, application, names, own or {}, environment, requirements)


def find_scenarios(*beginnings: str) -> List[str]:
    return [name for name in SCENARIOS if name.startswith(beginnings)]


CLOSES_AGAIN = find_scenarios("closes again")
CHANNELS_ALSO = ["DenyConnection", "text, consumer in a thread"]
CHANNELS_WITHOUT = [
    "feed, disconnect not caught",
    "feed closed between subscription and tick",
    "awaits what another cancels",
]
CHANNELS_41 = ["channels==4.1.0" if pin.startswith("channels==") else pin for pin in REQUIREMENTS]
CATCHES = "it catches what its handlers raise, and closes or answers in its own way"

FRAMEWORKS: Dict[str, Framework] = {
    "starlette": _build(
        "starlette",
        "starlette",
        also=[
            "takes its time",
            "denial response",
            "binary for encoding = 'text'",
            "sys.exit() in a callback",
            "KeyboardInterrupt",
        ],
    ),
    "fastapi": _build(
        "fastapi", "fastapi", also=find_scenarios("missing", "HTTPException", "WebSocketException")
    ),
    "quart": _build(
        "quart",
        "quart",
        also=["abort(401)"],
        without=CLOSES_AGAIN,
        own={
            "binary": "it takes an empty binary message for none, and fails",
            "raises": CATCHES,
            "raises before the accept": CATCHES,
            "awaits what another cancels": "it takes the cancellation for the handler's end, and returns",
            "unknown path": "it answers with a page of 404",
        },
    ),
    "litestar": _build(
        "litestar",
        "litestar",
        also=["missing and wrong parameters", "guard with a long reason"],
        own={"raises": CATCHES, "raises before the accept": CATCHES},
    ),
    "falcon": _build(
        "falcon",
        "falcon",
        also=["HTTPForbidden"],
        without=["refuses with 403"],
        own={
            "stream left early": "it does not look for the disconnect while it streams",
            "what it sees of the request": "it has a reason for every close code",
            "raises": CATCHES,
            "raises before the accept": CATCHES,
            "closes again, no code": "it does not close with 1005",
            "closes again, lost": "it does not close with 1006",
        },
    ),
    "blacksheep": _build(
        "blacksheep",
        "blacksheep",
        own={
            "stream left early": "it does not look for the disconnect while it streams",
            "what it sees of the request": "it fails on a path that is not ASCII",
            "raises": CATCHES,
            "raises before the accept": CATCHES,
        },
    ),
    "channels 4.1": _build(
        "channels",
        "channels",
        also=CHANNELS_ALSO,
        without=CHANNELS_WITHOUT,
        own={"unknown path": "its router raises"},
        environment="frameworks-channels41",
        requirements=CHANNELS_41,
    ),
    "channels": _build(
        "channels",
        "channels",
        also=CHANNELS_ALSO,
        without=CHANNELS_WITHOUT,
        own={"unknown path": "its router raises"},
    ),
    "sanic": _build(
        "sanic",
        "sanic",
        without=[*CLOSES_AGAIN, *find_scenarios("refuses", "long", "accepts")],
        own={
            "page": "it does not decode its path parameters",
            "stream left early": "it does not look for the disconnect while it streams",
            "what it sees of the request": "its handler comes after the accept, and has no close",
            "subprotocol not offered": "it chooses itself",
            "raises": CATCHES,
            "raises before the accept": CATCHES,
            "awaits what another cancels": "it answers a WebSocket as if it were a page",
            "unknown path": "it answers a WebSocket as if it were a page",
        },
    ),
    "strawberry": _build("strawberry-graphql", "strawberry", find_scenarios("GraphQL")),
    "socketio": _build("python-socketio", "socketio", find_scenarios("Socket.IO")),
}
