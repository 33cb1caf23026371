"""The ``lifespan`` scope: one application's startup, shutdown and shared state."""

from __future__ import annotations

import asyncio
from typing import Any, Dict, Optional

from ..protocols.errors import EventError, LifespanFailed, StateError
from .types import Application, ASGIEvent

__all__ = ["Lifespan"]


class Lifespan:
    """Runs one application's lifespan: `run` in a task of its own, beside `startup` and `shutdown`.

    ``mode`` is ``on``, or ``auto``: an application that raises on the scope
    has no lifespan, and that is no error. Make it inside a running loop.
    """

    def __init__(self, app: Application, mode: str) -> None:
        self._app = app
        self._mode = mode
        self._state: Dict[str, Any] = {}
        self._events: asyncio.Queue[ASGIEvent] = asyncio.Queue()
        self._answered: Dict[str, asyncio.Event] = {"startup": asyncio.Event(), "shutdown": asyncio.Event()}
        self._failure: Optional[str] = None
        self._cause: Optional[Exception] = None
        self._is_supported = False
        #: What an application raised on its scope in mode ``auto``: it has no lifespan.
        self.unsupported: Optional[Exception] = None

    @property
    def state(self) -> Optional[Dict[str, Any]]:
        """What the application keeps for its connections; None where it has no lifespan."""
        return self._state if self._is_supported else None

    async def run(self) -> None:
        """Run the application with the ``lifespan`` scope until it returns."""
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
        }
        try:
            await self._app(scope, self._events.get, self._send)
            if not self._answered["startup"].is_set():
                raise StateError("the application returned without lifespan.startup.complete")
        except Exception as error:
            self._note_error(error)
        finally:
            # From now on nobody needs to wait for its answers.
            for answered in self._answered.values():
                answered.set()

    def _note_error(self, error: Exception) -> None:
        if self._mode == "auto" and not self._answered["startup"].is_set():
            self.unsupported = error
        else:
            # What it said itself before it raised tells more.
            self._failure = self._failure or f"{type(error).__name__}: {error}"
            self._cause = error

    async def startup(self) -> None:
        """Tell the application to start; raises `LifespanFailed` where it could not."""
        await self._ask("startup")

    async def shutdown(self) -> None:
        """Tell the application to stop; raises `LifespanFailed` where it could not."""
        await self._ask("shutdown")

    async def _ask(self, phase: str) -> None:
        self._events.put_nowait({"type": f"lifespan.{phase}"})
        await self._answered[phase].wait()
        if self._failure is not None:
            raise LifespanFailed(f"application {phase} failed: {self._failure}") from self._cause

    async def _send(self, event: ASGIEvent) -> None:
        kind = event.get("type")
        for phase, answered in self._answered.items():
            if kind in (f"lifespan.{phase}.complete", f"lifespan.{phase}.failed"):
                if kind.endswith("failed"):
                    self._failure = str(event.get("message", "")) or "no message"
                self._is_supported = True
                answered.set()
                return
        raise EventError(f"unknown event type {kind!r:.80} in a lifespan")
