"""The types of the ASGI specification, version 3.0, and of the objects that the bridge is given."""

from __future__ import annotations

from typing import Any, Awaitable, Callable, Dict, List, Optional, Protocol, Tuple

__all__ = [
    "ASGIEvent",
    "Application",
    "EventSource",
    "Flag",
    "HeaderPairs",
    "Receive",
    "Scope",
    "Send",
    "Writer",
]

Scope = Dict[str, Any]
ASGIEvent = Dict[str, Any]
HeaderPairs = List[Tuple[bytes, bytes]]
Receive = Callable[[], Awaitable[ASGIEvent]]
Send = Callable[[ASGIEvent], Awaitable[None]]
# Any, because a type checker would otherwise refuse Starlette, whose applications take MutableMappings, and
# applications with asgiref's types, which are TypedDicts.
Application = Callable[[Any, Any, Any], Awaitable[None]]


class EventSource(Protocol):
    """What the bridge needs of an `asyncio.Queue`."""

    def get(self) -> Awaitable[ASGIEvent]:
        """Wait for the next event."""


class Writer(Protocol):
    """What the bridge needs of an `asyncio.StreamWriter`."""

    def write(self, data: bytes) -> None:
        """Write ``data``, now or soon, in order."""

    def drain(self) -> Optional[Awaitable[None]]:
        """An awaitable that ends when the write buffer has room, or None if it has room now.

        Awaiting it raises `OSError` if the connection is lost.
        """


class Flag(Protocol):
    """What the bridge needs of an `asyncio.Event`."""

    def set(self) -> None:
        """Set the flag."""
