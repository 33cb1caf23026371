"""The list of survivors, conformance/mutation-survivors.json: mutants that no test can or need kill, and why.

    {"protocols/frames": {"parse_header": {"equivalent: why": ["original  ->  mutated"]}}}

Below the module and the function ("" for the module's top level) stand the reasons, each with its mutants. A
mutant's name has no line number, so that it moves with its function. The word before the colon of a reason is
one of `CLASSES`.
"""

from __future__ import annotations

import json
import re
from typing import Dict, List, NamedTuple, Sequence

from ..lib.environment import ROOT

SURVIVORS = ROOT / "conformance" / "mutation-survivors.json"

CLASSES = {
    "equivalent": "no input can tell it from the original",
    "performance": "the same answers, slower or in more memory",
    "other Pythons": "can be told only under an interpreter, or a build, that this run does not use",
    "text": "only words that people read",
}

COMMENT = re.compile(r"\s+# .*")


class Key(NamedTuple):
    """A mutant's name."""

    module: str
    function: str
    change: str

    def describe(self) -> str:
        return f"{self.module}.py, {self.function or 'top level'}: {self.change}"


class Outcome(NamedTuple):
    """A mutant that was tried; two may have one key."""

    key: Key
    is_killed: bool


Reasons = Dict[Key, str]


def build_key(module: str, function: str, diff: Sequence[str]) -> Key:
    """The key of the mutant with the hunks `diff`: lines removed and added, without comments."""
    removed, added = (
        " ".join(word for line in diff if line.startswith(sign) for word in COMMENT.sub("", line[1:]).split())
        for sign in "-+"
    )
    return Key(module, function, f"{removed}  ->  {added}")


def has_class(reason: str) -> bool:
    return reason.partition(":")[0] in CLASSES


def load_survivors() -> Reasons:
    return {
        Key(module, function, change): reason
        for module, functions in json.loads(SURVIVORS.read_text("utf-8")).items()
        for function, reasons in functions.items()
        for reason, changes in reasons.items()
        for change in changes
    }


def save_survivors(reasons: Reasons) -> None:
    record: Dict[str, Dict[str, Dict[str, List[str]]]] = {}
    for key, reason in sorted(reasons.items(), key=lambda entry: entry[0].module):
        changes = record.setdefault(key.module, {}).setdefault(key.function, {}).setdefault(reason, [])
        changes.append(key.change)
    SURVIVORS.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
