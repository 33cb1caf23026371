"""The types of the ASGI specification, version 3.0."""

from __future__ import annotations

from typing import Any, Awaitable, Callable, Dict

__all__ = ["ASGIEvent", "Application", "Receive", "Scope", "Send"]

Scope = Dict[str, Any]
ASGIEvent = Dict[str, Any]
Receive = Callable[[], Awaitable[ASGIEvent]]
Send = Callable[[ASGIEvent], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
