"""What a broken invariant is called, and how it is kept until it stands in the report."""

from __future__ import annotations

import random
import zlib
from dataclasses import asdict, dataclass
from typing import Any, Dict, List

# The invariants, as the report's columns name them.
PIECES = "whole = byte by byte = pieces"
DOCUMENTED = "only documented exceptions"
IDENTITY = "build, parse: identity"
REFERENCE = "agrees with an independent reference"
LAWFUL = "what it answers is lawful"

INVARIANTS = (PIECES, DOCUMENTED, IDENTITY, REFERENCE, LAWFUL)


class Violation(Exception):
    """An invariant does not hold; the text says what was seen."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant
        self.text = text


@dataclass
class Finding:
    """A violation with what is needed to see it again.

    part: hypothesis, atheris, linear or memory. example: bytes as hex, or the arguments. replay: a command.
    """

    part: str
    target: str
    invariant: str
    text: str
    example: str = ""
    replay: str = ""

    def to_json(self) -> Dict[str, Any]:
        return asdict(self)

    def to_lines(self) -> List[str]:
        lines = [f"{self.part}: {self.target}: {self.invariant}", f"    {self.text}"]
        if self.example:
            lines.append(f"    example: {self.example}")
        if self.replay:
            lines.append(f"    again:   {self.replay}")
        return lines


def require(holds: bool, invariant: str, text: str) -> None:
    """Raise `Violation` unless it holds."""
    if not holds:
        raise Violation(invariant, text)


def cut_into_pieces(data: bytes, count: int, chosen: random.Random) -> List[bytes]:
    """`data` cut at up to `count` random places; a place that comes twice makes an empty piece."""
    places = sorted(chosen.randrange(len(data) + 1) for _ in range(count)) if data else []
    starts, ends = [0, *places], [*places, len(data)]
    return [data[start:end] for start, end in zip(starts, ends)]


def cut_byte_by_byte(data: bytes) -> List[bytes]:
    """Single bytes; of long data the first and the last thousand, between them pieces of 256."""
    if len(data) <= 4096:
        return [data[at : at + 1] for at in range(len(data))]
    middle = data[1000:-1000]
    pieces = [middle[at : at + 256] for at in range(0, len(middle), 256)]
    return [*cut_byte_by_byte(data[:1000]), *pieces, *cut_byte_by_byte(data[-1000:])]


def cut_in_all_ways(data: bytes) -> Dict[str, List[bytes]]:
    """The ways in which the same bytes arrive; the random ones follow from the data, and so come again."""
    chosen = random.Random(zlib.crc32(data))
    return {
        "byte by byte": cut_byte_by_byte(data),
        "in a few pieces": cut_into_pieces(data, 1 + chosen.randrange(4), chosen),
        "in many pieces": cut_into_pieces(data, 1 + min(len(data) // 3, 1000), chosen),
    }
