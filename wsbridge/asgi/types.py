"""The types of the ASGI specification, version 3.0, and what the bridge asks of its surroundings."""

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
# Any: Starlette and its like take MutableMappings, and asgiref's types are unions of TypedDicts. To a type
# checker neither is our own, and each application would be refused that says what it takes.
Application = Callable[[Any, Any, Any], Awaitable[None]]


class EventSource(Protocol):
    """What the bridge needs of an `asyncio.Queue`."""

    def get(self) -> Awaitable[ASGIEvent]:
        """The next event, waiting for it."""


class Writer(Protocol):
    """What the bridge needs of an `asyncio.StreamWriter`."""

    def write(self, data: bytes) -> None:
        """Write ``data``, now or soon, in order."""

    def drain(self) -> Optional[Awaitable[None]]:
        """Wait while too much is written and not yet sent; raises `OSError` when the connection is lost.

        A stand-in may return None where there is nothing to wait for.
        """


class Flag(Protocol):
    """What the bridge needs of an `asyncio.Event`."""

    def set(self) -> None:
        """It has happened."""
