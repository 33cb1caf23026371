"""The ``lifespan`` scope: one application's startup, shutdown and shared state."""

from __future__ import annotations

import asyncio
from typing import Any, Dict, Optional

from ..protocols.errors import EventError, LifespanFailed, StateError
from .types import Application, ASGIEvent

__all__ = ["Lifespan", "describe_error"]


class Lifespan:
    """Runs one application's lifespan, in a task of its own from `startup` to `shutdown` or `cancel`.

    ``mode`` is ``on`` or ``auto``. With ``auto`` an application that raises
    before it answers the startup has no lifespan, and that is no error. Create
    a `Lifespan` inside a running loop.

    ``has_started``: the application has completed its startup, so that a
    shutdown must follow. ``unsupported``: what it raised in mode ``auto``
    before it answered the startup, or None.
    """

    def __init__(self, app: Application, mode: str) -> None:
        self._app = app
        self._mode = mode
        self._state: Dict[str, Any] = {}
        self._events: asyncio.Queue[ASGIEvent] = asyncio.Queue()
        self._answered: Dict[str, asyncio.Event] = {"startup": asyncio.Event(), "shutdown": asyncio.Event()}
        self._task: Optional[asyncio.Task[None]] = None
        self._is_cancelled = False
        self._has_taken_startup = False
        self._failure: Optional[str] = None
        self._cause: Optional[BaseException] = None
        self._is_supported = False
        self.has_started = False
        self.unsupported: Optional[BaseException] = None

    @property
    def state(self) -> Optional[Dict[str, Any]]:
        """The lifespan's state for the scopes of connections; None if the application has no lifespan."""
        return self._state if self._is_supported else None

    @property
    def seems_supported(self) -> bool:
        """Whether the application raised after it took the startup event: most likely by mistake."""
        error = self.unsupported
        return self._has_taken_startup and error is not None and not isinstance(error, EventError)

    async def startup(self) -> None:
        """Tell the application to start. Raises `LifespanFailed` if it fails."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        await self._ask("startup")

    async def shutdown(self) -> None:
        """Tell the application to stop. Raises `LifespanFailed` if it fails."""
        await self._ask("shutdown")

    def cancel(self) -> None:
        """Cancel the application; a pending `startup` or `shutdown` returns when it has ended."""
        self._is_cancelled = True
        if self._task is not None:
            self._task.cancel()

    async def wait_until_over(self, timeout: float) -> None:
        """Wait until the application returns, ``timeout`` seconds at most."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=timeout)

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
        }
        try:
            await self._app(scope, self._receive, self._send)
            if not self._answered["startup"].is_set():
                raise StateError("the application returned without lifespan.startup.complete")
        except KeyboardInterrupt as error:
            self._note_error(error)
            # It may be a Ctrl-C, and not raised by the application.
            raise
        except asyncio.CancelledError as error:
            if not self._is_cancelled:
                self._note_error(error)
        except BaseException as error:
            self._note_error(error)
        finally:
            # The application has ended: a `startup` or `shutdown` that waits for an answer returns.
            for answered in self._answered.values():
                answered.set()

    def _note_error(self, error: BaseException) -> None:
        has_begun = self._answered["startup"].is_set()
        if self._mode == "auto" and not has_begun and isinstance(error, Exception):
            self.unsupported = error
        else:
            # The message of a ``failed`` event says more than the exception that follows it, unless it has
            # several lines: that is Starlette's traceback, which the cause has as well.
            if self._failure is None or "\n" in self._failure:
                self._failure = describe_error(error)
            self._cause = error

    async def _receive(self) -> ASGIEvent:
        event = await self._events.get()
        self._has_taken_startup = True
        return event

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
                    self._failure = str(event.get("message", "")).strip() or "no message"
                self._is_supported = True
                self.has_started = self.has_started or kind == "lifespan.startup.complete"
                answered.set()
                return
        raise EventError(f"unknown event type {kind!r:.80} in a lifespan")


def describe_error(error: BaseException) -> str:
    """The error's type and the first line of its text."""
    name, text = type(error).__name__, str(error).partition("\n")[0]
    return f"{name}: {text}" if text else name
