"""The draws that frames, messages and heads have in common."""

from __future__ import annotations

import copy
import random
from typing import Any, List, Tuple


def happens(rng: random.Random, probability: float) -> bool:
    return rng.random() >= 1 - probability


def cut(data: bytes, size: int) -> List[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def split(rng: random.Random, data: bytes, count: int) -> List[bytes]:
    """`data` in `count` pieces, of which any may be empty."""
    edges = sorted(rng.randint(0, len(data)) for _ in range(count - 1))
    return [data[low:high] for low, high in zip([0, *edges], [*edges, len(data)])]


def cut_stream(rng: random.Random, data: bytes) -> Tuple[bytes, ...]:
    """Whole, at a few random places, or, when it is short, byte by byte."""
    if happens(rng, 0.06) and len(data) < 80:
        return tuple(cut(data, 1))
    pieces = split(rng, data, rng.choice((1, 1, 1, 2, 3, 4, 5, 6)))
    return tuple(piece for piece in pieces if piece) or (data,)


def flip_bit(rng: random.Random, data: bytes, end: int = 1 << 30) -> bytes:
    """One bit of the first `end` bytes is another; nothing is nothing still."""
    if not data:
        return data
    at = rng.randrange(min(len(data), end))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data))]


def disorder(rng: random.Random, items: List[Any]) -> None:
    """Drop one of them, repeat one somewhere, or let two change places; one at least stays."""
    if not items:
        return
    at, other = rng.randrange(len(items)), rng.randrange(len(items))
    kind = rng.choice(("drop", "repeat", "swap"))
    if kind == "swap":
        items[at], items[other] = items[other], items[at]
    elif kind == "repeat":
        items.insert(other, copy.copy(items[at]))
    elif len(items) > 1:
        del items[at]
