"""What came of a mutant, and the name it is known by when the lines around it move."""

from __future__ import annotations

from typing import NamedTuple, Sequence

# What a mutant was killed by; the order is that of the report's columns.
CAUSES = ("own tests", "other tests", "import", "time", "system")


class Key(NamedTuple):
    """A mutant's name: no line numbers, so that it survives changes elsewhere in the file."""

    module: str
    function: str
    original: str
    mutated: str

    def describe(self) -> str:
        return f"{self.module}.py, {self.function or 'top level'}: {self.original}  ->  {self.mutated}"


class Outcome(NamedTuple):
    """A mutant that was tested.

    name: the operator and which of its occurrences, by which it is made again from the same source.
    verdict: the last line that its trial said.
    """

    name: str
    key: Key
    line: int
    is_killed: bool
    verdict: str
    diff: str

    @property
    def module(self) -> str:
        return self.key.module

    @property
    def cause(self) -> str:
        """One of `CAUSES`; "" for a survivor."""
        if not self.is_killed:
            return ""
        what = self.verdict.rpartition("killed by ")[2]
        if what.startswith("tests."):
            return "own tests" if what.split(".")[1] == f"test_{self.module}" else "other tests"
        return "import" if what.startswith("import") else "time" if what.startswith("time") else "system"


def build_key(module: str, function: str, diff: Sequence[str]) -> Key:
    """The key of the mutant with the hunks `diff`: the lines removed and added, blanks collapsed."""
    removed = " ".join(line[1:] for line in diff if line.startswith("-"))
    added = " ".join(line[1:] for line in diff if line.startswith("+"))
    return Key(module, function, " ".join(removed.split()), " ".join(added.split()))
