"""What the last run found, for --again: a mutant that was killed once need not be killed again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Dict, Iterable, List, Tuple

from .outcomes import Key, Outcome

# A mutant of a module that has not changed: the module and the outcome's name.
Name = Tuple[str, str]


def save_outcomes(file: Path, sources: Path, outcomes: Iterable[Outcome]) -> None:
    """Keep the outcomes, all of each module that is among them; those of other modules stay as they are."""
    record = _load(file)
    found: Dict[str, List[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.module, []).append(outcome)
    for module, those in found.items():
        record[module] = {"source": _hash(sources, module), "outcomes": those}
    file.write_text(json.dumps(record, indent=0), "utf-8")


def load_killed(file: Path, sources: Path) -> Dict[Name, Outcome]:
    """The mutants that were killed, of the modules that are what they were then."""
    killed = {}
    for module, entry in _load(file).items():
        if entry["source"] == _hash(sources, module):
            for name, key, *rest in entry["outcomes"]:
                outcome = Outcome(name, Key(*key), *rest)
                if outcome.is_killed:
                    killed[module, name] = outcome
    return killed


def _load(file: Path) -> Dict[str, Any]:
    record: Dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return record


def _hash(sources: Path, module: str) -> str:
    return hashlib.sha256((sources / f"{module}.py").read_bytes()).hexdigest()
