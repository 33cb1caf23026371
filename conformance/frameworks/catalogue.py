"""The frameworks, and what each one has no words for or does in its own way."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Dict, List, Mapping, Sequence

from .environments import read_pins
from .protocols import SCENARIOS

REQUIREMENTS = read_pins("frameworks")
CHANNELS_41 = ["channels==4.1.0" if pin.startswith("channels==") else pin for pin in REQUIREMENTS]

CATCHES = "it catches what its handlers raise, and closes or answers in its own way"
STREAMS_ON = "it does not look for the disconnect while it streams"
READS_ALL = "it reads the whole body before it calls the view"
AS_A_PAGE = "it answers a WebSocket as if it were a page"


@dataclass(frozen=True)
class Framework:
    """package: its name on the index.

    without: scenarios it has no words for, or does not promise, by the beginnings of their names.
    own: scenarios whose end is the framework's doing, and why: there the servers only have to agree.
    """

    package: str
    module: str
    without: Sequence[str] = ()
    own: Mapping[str, str] = field(default_factory=dict)
    environment: str = "frameworks"
    requirements: Sequence[str] = tuple(REQUIREMENTS)
    has_common: bool = True

    @property
    def application(self) -> str:
        return f"conformance.frameworks.apps.{self.module}_app:app"

    @property
    def version(self) -> str:
        return dict(pin.lower().split("==") for pin in self.requirements)[self.package]

    @property
    def scenarios(self) -> List[str]:
        """Those for everybody, as far as it has words for them, and those for it alone."""
        return [
            name
            for name, scenario in SCENARIOS.items()
            if (self.has_common if not scenario.of else self.module in scenario.of.split())
            and not name.startswith(tuple(self.without) or ("-",))
        ]


CHANNELS = Framework(
    "channels",
    "channels",
    ["feed, disconnect", "feed closed between", "awaits", "text, disconnect", "upload left"],
    {
        "unknown path": "its router raises",
        "form with a file, chunked": "it takes a body without Content-Length for none",
        "Expect, refused at once": READS_ALL,
        "answers without a large body": READS_ALL,
        "answers without a large body, chunked": READS_ALL,
    },
)


def build_application(name: str) -> Framework:
    """A whole application, with an environment of its own."""
    return Framework(
        name, name, has_common=False, environment=f"frameworks-{name}", requirements=read_pins(name)
    )


FRAMEWORKS: Dict[str, Framework] = {
    "starlette": Framework("starlette", "starlette"),
    "fastapi": Framework("fastapi", "fastapi"),
    "quart": Framework(
        "quart",
        "quart",
        # It holds what the handler has not taken of a body, however much that is.
        ["closes again", "upload of 100 MiB"],
        {
            "binary": "it takes an empty binary message for none, and fails",
            "raises": CATCHES,
            "raises before the accept": CATCHES,
            "awaits what another cancels": "it takes the cancellation for the handler's end",
            "unknown path": "it answers with a page of 404",
            "Expect, refused at once": "it reads ahead of the handler",
        },
    ),
    "litestar": Framework(
        "litestar", "litestar", (), {"raises": CATCHES, "raises before the accept": CATCHES}
    ),
    "falcon": Framework(
        "falcon",
        "falcon",
        ["refuses with 403"],
        {
            "stream left early": STREAMS_ON,
            "Expect, refused at once": "it waits for the first of the body before it calls the handler",
            "what it sees of the request": "it has a reason for every close code",
            "raises": CATCHES,
            "raises before the accept": CATCHES,
            "closes again, no code": "it does not close with 1005",
            "closes again, lost": "it does not close with 1006",
        },
    ),
    "blacksheep": Framework(
        "blacksheep",
        "blacksheep",
        (),
        {
            "stream left early": STREAMS_ON,
            "what it sees of the request": "it fails on a path that is not ASCII",
            "raises": CATCHES,
            "raises before the accept": CATCHES,
        },
    ),
    "channels41": replace(CHANNELS, environment="frameworks-channels41", requirements=CHANNELS_41),
    "channels": CHANNELS,
    "sanic": Framework(
        "sanic",
        "sanic",
        ["closes again", "refuses", "long reason", "accepts when"],
        {
            "page": "it does not decode its path parameters",
            "stream left early": STREAMS_ON,
            "what it sees of the request": "its handler comes after the accept, and has no close",
            "subprotocol not offered": "it chooses itself",
            "raises": CATCHES,
            "raises before the accept": CATCHES,
            "awaits what another cancels": AS_A_PAGE,
            "unknown path": AS_A_PAGE,
        },
    ),
    "strawberry": Framework("strawberry-graphql", "strawberry", has_common=False),
    "socketio": Framework("python-socketio", "socketio", has_common=False),
    "django-admin": Framework("django", "django_admin", has_common=False),
    **{name: build_application(name) for name in ("mcp", "marimo", "nicegui")},
}

# Whole applications, which --quick leaves out.
APPLICATIONS = ("django-admin", "mcp", "marimo", "nicegui")
