"""The report of a run: what was done, how connections ended, what was checked, where tasks were cancelled."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any, List, Mapping, Sequence, Tuple

import hypothesis

import wsbridge
from conformance.lib.report import Cell, Page, Value

from .loop import Place, find_awaits
from .tally import Tally

__all__ = ["CHECKS", "count_awaits", "write_page"]

# What needs listening sockets, signals or an application's lifespan is no part of a connection.
OUTSIDE = ("asgi/lifespan.py", "server/server.py", "server/unix_socket.py")

CHECKS = {
    "check_received": "the application takes connect, the peer's messages in order, once, byte-exact, then "
    "one disconnect",
    "check_sent": "the peer reads messages in order, byte-exact, without a gap; before a CLOSE all of them",
    "check_pongs": "every PONG answers a PING, in order, once",
    "check_close": "the CLOSE has the code and reason of what ended the connection first",
    "check_close_time": "the CLOSE leaves not before what is owed could be answered, nor later than the rule",
    "check_calls": "behind the end a close does nothing and all else raises, whatever it holds",
    "check_bounds": "no read while the queue was full; no writes into a lost connection that asyncio logs",
    "check_quiet": "nothing reported to the loop, no log line above the documented level",
    "check_disconnect": "the disconnect has the right code; before the peer's own end nothing is missing",
    "check_clean_end": "a peer that behaves gets whole frames, a CLOSE and the end of the stream; "
    "no abort without a deadline",
    "check_error_line": "an application that raises is logged once, one that ends by a disconnect not at all",
    "baseline": "no task, no timer, no member of the service and no object is left",
}


def count_awaits(tally: Tally) -> List[Tuple[Place, str, int, bool]]:
    """(place, source, cancellations there, whether it is part of a connection) of every await."""
    rows = []
    for place, (last, source) in find_awaits().items():
        count = sum(
            number
            for (path, line), number in tally["cancellations"].items()
            if path == place[0] and place[1] <= line <= last
        )
        rows.append((place, source, count, place[0] not in OUTSIDE))
    return rows


def write_page(path: Path, tally: Tally, facts: Mapping[str, Value], failures: Sequence[str]) -> Path:
    page = Page(
        "State machine",
        f"wsbridge {wsbridge.__version__}, {platform.python_implementation()} {platform.python_version()}, "
        f"hypothesis {hypothesis.__version__}",
    )
    page.paragraph(
        "An application, a peer, a transport, a server and a clock do anything in any order, in the real "
        "server with an event loop that never sleeps. After every step, and when a connection is over, the "
        "invariants are checked."
    )
    page.facts(facts)
    for failure in failures:
        page.heading("Failure")
        page.pre(failure)
    page.heading("Invariants")
    page.table(["what must hold", "checks"], [[text, tally["checks"][name]] for name, text in CHECKS.items()])
    page.heading("Steps")
    page.table(["rule", "steps"], rank(tally["rules"]))
    _add_ends(page, tally)
    page.heading("Cancellations")
    page.paragraph(
        "How many tasks were cancelled while they stood at an await, or at something it awaits. Those of "
        "the listening server and of the lifespan are not reached by this machine."
    )
    page.table(["place", "await", "cancellations"], [_build_await(row) for row in count_awaits(tally)])
    return page.write(path)


def _add_ends(page: Page, tally: Tally) -> None:
    page.heading("How connections ended")
    page.table(["on the wire", "connections"], rank(tally["closes"]))
    page.table(
        ["messages whose send returned", "clean closes"],
        [[count if count < 20 else "20 or more", number] for count, number in sorted(tally["clean"].items())],
    )
    page.table(["ending", "application", "connections"], rank(tally["endings"]))
    page.table(["floor", "limits", "offer", "connections"], rank(tally["scenarios"]))
    page.heading("Calls of the application")
    page.table(["call", "outcome", "calls"], rank(tally["calls"]))


def rank(counter: Mapping[Any, int]) -> List[List[Value]]:
    """Rows of what was counted, the most frequent first."""
    rows = sorted(counter.items(), key=lambda item: (-item[1], str(item[0])))
    return [[*(key if isinstance(key, tuple) else (key,)), count] for key, count in rows]


def _build_await(row: Tuple[Place, str, int, bool]) -> List[Value]:
    (path, line), source, count, is_inside = row
    outcome = ("ok" if count else "fail") if is_inside else "none"
    return [f"{path}:{line}", source, Cell(count if is_inside else "not here", outcome)]
