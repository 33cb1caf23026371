"""The list of survivors, conformance/mutation-survivors.json: mutants that no test can or need kill, and why.

    {"frames": {"parse_header": [{"reason": "equivalent: why", "mutants": [["original", "mutated"]]}]}}

Below the module and the function ("" for the module's top level), mutants with the same reason stand
together. The word before the colon of a reason is one of `CLASSES`.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple

from ..lib.environment import ROOT
from .outcomes import Key, Outcome

SURVIVORS = ROOT / "conformance" / "mutation-survivors.json"

CLASSES = {
    "equivalent": "no input can tell it from the original",
    "performance": "the same answers, slower or in more memory",
    "other Pythons": "can be told only under an interpreter, or a build, that this run does not use",
    "text": "only words that people read",
}

Reasons = Dict[Key, str]


class Comparison(NamedTuple):
    """Survivors against the list."""

    reasons: Reasons
    unlisted: List[Outcome]
    unreasoned: List[Key]
    gone: List[Key]
    updated: Reasons

    def count_classes(self, outcomes: Sequence[Outcome]) -> Dict[str, int]:
        reasons = (self.reasons.get(outcome.key, "") for outcome in outcomes if not outcome.is_killed)
        return dict(Counter(find_class(reason) or "no reason" for reason in reasons))


def find_class(reason: str) -> str:
    """The class of a reason, or "" where it has none."""
    name = reason.partition(":")[0]
    return name if name in CLASSES else ""


def load_survivors() -> Reasons:
    if not SURVIVORS.exists():
        return {}
    return dict(_read(json.loads(SURVIVORS.read_text("utf-8"))))


def compare_survivors(
    outcomes: Sequence[Outcome], listed: Reasons, modules: Sequence[str], *, is_whole: bool
) -> Comparison:
    """Compare; `is_whole`: every mutant of `modules` was tested, so that what did not survive is gone."""
    survived: Set[Key] = {outcome.key for outcome in outcomes if not outcome.is_killed}
    gone = [key for key in listed if is_whole and key.module in modules and key not in survived]
    updated = {key: reason for key, reason in listed.items() if key not in gone}
    for outcome in outcomes:
        if not outcome.is_killed:
            updated.setdefault(outcome.key, "")
    return Comparison(
        reasons=listed,
        unlisted=[outcome for outcome in outcomes if not outcome.is_killed and outcome.key not in listed],
        unreasoned=[key for key, reason in listed.items() if not find_class(reason)],
        gone=gone,
        updated=updated,
    )


def save_survivors(reasons: Reasons) -> None:
    tree: Dict[str, Dict[str, Dict[str, List[Tuple[str, str]]]]] = {}
    for key in sorted(reasons, key=lambda key: key.module):
        functions = tree.setdefault(key.module, {})
        groups = functions.setdefault(key.function, {})
        groups.setdefault(reasons[key], []).append((key.original, key.mutated))
    record = {
        module: {
            function: [{"reason": reason, "mutants": mutants} for reason, mutants in groups.items()]
            for function, groups in functions.items()
        }
        for module, functions in tree.items()
    }
    SURVIVORS.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _read(record: Dict[str, Dict[str, List[Dict[str, List[List[str]]]]]]) -> Iterator[Tuple[Key, str]]:
    for module, functions in record.items():
        for function, groups in functions.items():
            for group in groups:
                for original, mutated in group["mutants"]:
                    yield Key(module, function, original, mutated), str(group["reason"])
