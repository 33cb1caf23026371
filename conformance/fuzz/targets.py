"""Every entry that takes bytes from outside, with the invariants that are checked there."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Dict, Protocol, Tuple, Type

from . import connections, grammars, heads, payloads
from .findings import DOCUMENTED, IDENTITY, LAWFUL, PIECES, REFERENCE, Violation

# What an invariant means at each target stands in the class of the target.
COVERED: Dict[str, Tuple[str, ...]] = {
    "server": (PIECES, DOCUMENTED, LAWFUL),
    "server-deflate": (PIECES, DOCUMENTED, LAWFUL),
    "client": (PIECES, DOCUMENTED, LAWFUL),
    "client-deflate": (PIECES, DOCUMENTED, LAWFUL),
    "request-head": (PIECES, DOCUMENTED, LAWFUL, REFERENCE, IDENTITY),
    "response-head": (PIECES, DOCUMENTED, LAWFUL, REFERENCE, IDENTITY),
    "server-handshake": (PIECES, DOCUMENTED, LAWFUL, IDENTITY),
    "client-handshake": (PIECES, DOCUMENTED, LAWFUL),
    "list-headers": (PIECES, DOCUMENTED, LAWFUL, REFERENCE),
    "extension-offers": (PIECES, DOCUMENTED, LAWFUL, IDENTITY),
    "authority": (DOCUMENTED, LAWFUL, IDENTITY),
    "forwarded": (PIECES, DOCUMENTED, LAWFUL, REFERENCE),
    "frame-header": (PIECES, DOCUMENTED, IDENTITY),
    "close-payload": (DOCUMENTED, REFERENCE, IDENTITY),
    "masking": (DOCUMENTED, REFERENCE, IDENTITY),
    "text": (PIECES, DOCUMENTED, LAWFUL, REFERENCE),
    "inflater": (PIECES, DOCUMENTED, LAWFUL, REFERENCE),
}


class Target(Protocol):
    """documented: the only exceptions that its docstrings allow, none for what must never raise."""

    name: str

    @property
    def documented(self) -> Tuple[Type[Exception], ...]: ...

    def check(self, variant: int, data: bytes) -> None:
        """Raise `Violation` where an invariant does not hold; `variant` is 0 to 255."""

    def describe(self, variant: int, data: bytes) -> str:
        """The call, as one would write it into a test."""


TARGETS: Dict[str, Target] = {
    target.name: target for module in (connections, heads, grammars, payloads) for target in module.TARGETS
}


def check(target: Target, variant: int, data: bytes) -> None:
    """Check all invariants of one input; an exception that nothing documents is a `Violation` as well."""
    try:
        target.check(variant, data)
    except Violation:
        raise
    except Exception as error:
        frames = traceback.extract_tb(sys.exc_info()[2])[-3:]
        where = ", ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
        raise Violation(DOCUMENTED, f"{type(error).__name__}: {error} ({where})") from error


def describe_replay(name: str, variant: int, data: bytes) -> str:
    return f"python3 conformance/run.py fuzz --replay {name} {variant} {data.hex() or 'empty'}"


__all__ = ["COVERED", "TARGETS", "Target", "check", "describe_replay"]
