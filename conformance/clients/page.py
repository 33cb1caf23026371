"""What a run has shown, with a row a scenario and a column a client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Sequence

from conformance.lib.report import Cell, Page, Value

from .peers import Peer, read_version


@dataclass
class Result:
    """outcome: ok, fail, or none where the library cannot (`detail` then says why).

    seconds: from the client's close to its end, where it was the client that closed.
    lacks: what was not held against it, by name.
    """

    client: str
    scenario: str
    outcome: str
    detail: str
    seconds: Optional[float] = None
    lacks: Sequence[str] = ()


def build_page(
    server: str, peers: Iterable[Peer], results: Sequence[Result], absent: Mapping[str, str], seconds: float
) -> Page:
    """absent: the clients that are not on this machine, and what is missing of each."""
    peers = list(peers)
    page = Page("Clients", f"{server} with {len(peers)} client libraries")
    outcomes = [result.outcome for result in results]
    page.facts(
        {
            "passed": Cell(outcomes.count("ok"), "ok"),
            "failed": Cell(outcomes.count("fail"), "fail" if "fail" in outcomes else "ok"),
            "not possible": outcomes.count("none"),
            "seconds": round(seconds),
        }
    )
    failures = [result for result in results if result.outcome == "fail"]
    if failures:
        page.heading("Failures")
        page.table(
            ["client", "scenario", "what was expected and seen"],
            [[one.client, one.scenario, Cell(one.detail, "fail")] for one in failures],
        )
    page.heading("Scenarios")
    page.table(["scenario", *(peer.name for peer in peers)], _build_scenarios(peers, results))
    page.heading("Clients")
    rows = [[peer.name, read_version(peer), find_longest_push(peer.name, results)] for peer in peers]
    page.table(["client", "version", "push feed closed in, at most (s)"], rows)
    page.heading("What a library cannot do, or does not show")
    reasons = [[peer.name, what, why] for peer in peers for what, why in {**peer.lacks, **peer.skips}.items()]
    page.table(["client", "what", "why"], reasons)
    if absent:
        page.heading("Not on this machine")
        page.table(["client", "what is missing"], list(absent.items()))
    return page


def find_longest_push(client: str, results: Sequence[Result]) -> Optional[float]:
    """The longest time in which this client's push feeds were closed, in seconds."""
    pushes = [one for one in results if one.client == client and one.scenario.startswith("push")]
    return max((round(one.seconds, 3) for one in pushes if one.seconds is not None), default=None)


def _build_scenarios(peers: Sequence[Peer], results: Sequence[Result]) -> List[List[Value]]:
    found: Dict[str, Dict[str, Cell]] = {}
    for one in results:
        word = "not possible" if one.outcome == "none" else one.outcome
        found.setdefault(one.scenario, {})[one.client] = Cell(word, one.outcome, one.detail)
    return [[scenario, *(cells.get(peer.name, "") for peer in peers)] for scenario, cells in found.items()]
