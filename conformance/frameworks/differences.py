"""Where wsbridge and uvicorn may differ, each with its reason; whatever stands nowhere here fails."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import List, NamedTuple, Tuple

Lines = Tuple[str, ...]


class Difference(NamedTuple):
    """Lines of an outcome that wsbridge has where uvicorn has others.

    verdict: "better" or "different".
    part: "client", "app" or "log" of an `Outcome`.
    scenario, framework: patterns of their names.
    """

    verdict: str
    reason: str
    part: str
    wsbridge: Lines
    uvicorn: Lines
    scenario: str = "*"
    framework: str = "*"

    def explains(self, framework: str, scenario: str, part: str, ours: Lines, theirs: Lines) -> bool:
        return (
            self.part == part
            and matches_lines(ours, self.wsbridge)
            and matches_lines(theirs, self.uvicorn)
            and fnmatchcase(scenario, self.scenario)
            and fnmatchcase(framework, self.framework)
        )


def matches_lines(lines: Lines, wanted: Lines) -> bool:
    """Whether the lines are these; "..." at the end of a wanted line stands for any rest."""
    return len(lines) == len(wanted) and all(map(_matches, lines, wanted))


def _matches(line: str, wanted: str) -> bool:
    return line.startswith(wanted[:-3]) if wanted.endswith("...") else line == wanted


EOF = "EOF at once"
CLOSED_1011 = "CLOSE 1011 '' at once, EOF at once"
CLOSED_4001 = "CLOSE 4001 'bye' at once, EOF at once"
TOO_LONG = "ProtocolError: control frame too long"

DIFFERENCES: List[Difference] = [
    Difference(
        "better",
        "The client is told that the application failed; uvicorn drops the connection.",
        "client",
        (CLOSED_1011,),
        (EOF,),
    ),
    Difference(
        "better",
        "The same, told to a client that waits for a message.",
        "client",
        ("CLOSE 1011 ''",),
        ("EOF",),
    ),
    Difference(
        "better",
        "An application that returns has closed the connection; uvicorn drops it.",
        "client",
        ("CLOSE 1000 '' at once, EOF at once",),
        (EOF,),
    ),
    Difference(
        "better",
        "A reason that does not fit is cut; uvicorn raises, and drops the connection.",
        "client",
        ("CLOSE 4000...",),
        (EOF,),
        "long reason",
    ),
    Difference(
        "better",
        "A close after the disconnect does nothing; uvicorn's raises if the client was lost.",
        "app",
        ("ends",),
        ("ends with WebSocketDisconnect 1006",),
        "closes again, lost",
    ),
    Difference(
        "better",
        "A connection that is lost without CLOSE has the code 1006 (RFC 6455 7.1.5); uvicorn says 1005.",
        "app",
        ("disconnect 1006",),
        ("disconnect 1005",),
    ),
    Difference(
        "better",
        "The same, as Falcon's send tells it.",
        "app",
        ("ends with WebSocketDisconnected 1006",),
        ("ends with WebSocketDisconnected 1005",),
        framework="falcon",
    ),
    Difference(
        "better",
        "A client can close although what it sent is not taken yet; uvicorn does not read on.",
        "client",
        (CLOSED_4001,),
        ("no CLOSE within 3 s",),
        "feed that does not take what its client sends",
    ),
    Difference(
        "better",
        "A subprotocol that was not offered is left out, for clients fail on it (RFC 6455 4.1).",
        "client",
        ("101",),
        ("101 chat",),
        "subprotocol not offered",
    ),
    Difference(
        "better",
        "A subprotocol that was not offered is warned of.",
        "log",
        ("server WARNING ...",),
        (),
        "subprotocol not offered",
    ),
    Difference(
        "better",
        "A denial response is an answer; uvicorn logs that there was none.",
        "log",
        (),
        ("server ERROR ASGI callable returned without completing handshake.",),
    ),
    Difference(
        "better",
        "sys.exit() in a task or callback ends one connection; uvicorn ends, and with it everybody's.",
        "client",
        (CLOSED_1011, "another client: still here", CLOSED_4001, "101"),
        (EOF, "another client: EOF", "server ends with 3 at once"),
        "sys.exit() in a *",
    ),
    Difference(
        "different",
        "An orderly stop ends with 0; uvicorn raises the signal once more when it has stopped.",
        "client",
        ("server ends with 0 at once",),
        ("server ends with -15 at once",),
        "*SIGTERM",
    ),
]
