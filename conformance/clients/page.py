"""What a run has shown: a table on stdout, and a page with a row a scenario and a column a client."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from conformance.lib.report import Cell, Page

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


class Report:
    def __init__(
        self,
        server: str,
        peers: Mapping[str, Peer],
        results: Sequence[Result],
        absent: Mapping[str, str],
    ) -> None:
        self.server = server
        self.peers = peers
        self.results = results
        self.absent = absent
        self.versions = {name: read_version(peer) for name, peer in peers.items()}

    def print_table(self) -> None:
        """A line for each client, for each failure, and for each client that is not here."""
        rows = [["client", "version", "passed", "failed", "not possible", "push feed closed in"]]
        for name in self.peers:
            counts = [str(self._count(outcome, name)) for outcome in ("ok", "fail", "none")]
            rows.append([name, self.versions[name], *counts, self._describe_push(name)])
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        for row in rows:
            print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
        for result in self.results:
            if result.outcome == "fail":
                print(f"FAIL  {result.client}: {result.scenario}: {result.detail}")
        for name, reason in self.absent.items():
            print(f"not here: {name}: {reason}")

    def write(self, path: Path, seconds: float) -> Path:
        page = Page("Clients", f"{self.server} with {len(self.peers)} client libraries")
        failed = self._count("fail")
        page.facts(
            {
                "passed": Cell(self._count("ok"), "ok"),
                "failed": Cell(failed, "fail" if failed else "ok"),
                "not possible": self._count("none"),
                "seconds": round(seconds),
            }
        )
        failures = [result for result in self.results if result.outcome == "fail"]
        if failures:
            page.heading("Failures")
            page.table(
                ["client", "scenario", "what was expected and seen"],
                [[one.client, one.scenario, Cell(one.detail, "fail")] for one in failures],
            )
        page.heading("Scenarios")
        page.table(["scenario", *self.peers], self._build_scenarios())
        page.heading("Clients")
        rows: List[List[Any]] = [
            [name, self.versions[name], self._describe_push(name)] for name in self.peers
        ]
        page.table(["client", "version", "push feed closed in, at most"], rows)
        page.heading("What a library cannot do, or does not show")
        page.table(
            ["client", "what", "why"],
            [
                [peer.name, what, why]
                for peer in self.peers.values()
                for what, why in {**peer.lacks, **peer.skips}.items()
            ],
        )
        if self.absent:
            page.heading("Not on this machine")
            page.table(["client", "what is missing"], [list(item) for item in self.absent.items()])
        return page.write(path)

    def _build_scenarios(self) -> List[List[Any]]:
        places: Dict[str, Dict[str, Result]] = {}
        for result in self.results:
            places.setdefault(result.scenario, {})[result.client] = result
        return [
            [scenario, *(build_cell(found.get(name)) for name in self.peers)]
            for scenario, found in places.items()
        ]

    def _describe_push(self, client: str) -> str:
        """The longest time in which this client's push feeds were closed."""
        times = [
            one.seconds
            for one in self.results
            if one.client == client and one.scenario.startswith("push") and one.seconds is not None
        ]
        return f"{max(times):.3f} s" if times else ""

    def _count(self, outcome: str, client: Optional[str] = None) -> int:
        return sum(one.outcome == outcome and client in (None, one.client) for one in self.results)


def build_cell(result: Optional[Result]) -> Cell:
    if result is None:
        return Cell("")
    if result.outcome == "none":
        return Cell("not possible", "none", title=result.detail)
    return Cell(result.outcome, result.outcome, title=result.detail)
