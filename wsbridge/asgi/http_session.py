"""`HttpSession`: one HTTP request and its response, between a `Wire` and an ASGI application.

Its scopes have spec_version 2.3, in which ``send`` does nothing once the client
is gone (from 2.4 on it raises).
"""

from __future__ import annotations

import asyncio
from typing import Awaitable, List, Optional

from ..protocols.errors import EventError, StateError
from .response import check_response_body, check_response_start
from .types import ASGIEvent
from .wire import Wire

__all__ = ["HttpOwner", "HttpSession"]

# More parts of a body than this are joined: an object for every few bytes takes many times their size.
MAX_PARTS = 64


class HttpOwner:
    """The connection under an `HttpSession`; this base class does nothing."""

    __slots__ = ()

    def drain(self) -> Optional[Awaitable[None]]:
        """An awaitable that ends when the write buffer has room, or None if it has room now.

        Awaiting it raises `OSError` if the connection is lost.
        """
        return None

    def session_reads(self) -> None:
        """The application has taken a part of the body, or waits for one."""

    def session_completed(self) -> None:
        """The last part of the response is written."""


_NO_OWNER = HttpOwner()


class HttpSession:
    """One request and its response; `receive` and `send` are the application's.

    ``has_body``: `put_body` will be called; otherwise `receive` begins with an
    empty body.
    """

    __slots__ = (
        "_changed",
        "_is_body_complete",
        "_is_body_taken",
        "_is_ended",
        "_owner",
        "_parts",
        "_wire",
        "body_size",
        "is_disconnected",
    )

    def __init__(self, owner: HttpOwner, wire: Wire, has_body: bool = False) -> None:
        self._owner = owner
        self._wire = wire
        #: Whether `receive` returns http.disconnect behind what has come of the body.
        self.is_disconnected = False
        # Whether `send` does nothing.
        self._is_ended = False
        # The body that the application has not taken; None if there is nothing.
        self._parts: Optional[List[bytes]] = None
        #: Bytes of the body that the application has not taken.
        self.body_size = 0
        self._is_body_complete = not has_body
        self._is_body_taken = False
        # None until a `receive` waits.
        self._changed: Optional[asyncio.Event] = None

    # ------------------------------------------------------------------- from the client

    def put_body(self, part: bytes, is_complete: bool) -> None:
        """Queue the next part of the body; ``is_complete``: it is the last."""
        if part:
            self.body_size += len(part)
            if self._parts is None:
                self._parts = [part]
            elif len(self._parts) < MAX_PARTS:
                self._parts.append(part)
            else:
                self._parts = [b"".join(self._parts), part]
        if part or is_complete:
            self._is_body_complete = is_complete
            self._wake()

    def disconnect(self) -> None:
        """Let `receive` return http.disconnect, behind what has come of the body."""
        self.is_disconnected = True
        self._wake()

    def end(self) -> None:
        """`disconnect`, and let `send` do nothing: nobody reads the response any more."""
        self._is_ended = True
        self.disconnect()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()

    async def receive(self) -> ASGIEvent:
        """The next part of the body, or http.disconnect: after the response too, as ASGI asks."""
        while not self._wire.is_complete:
            if self._parts or (self._is_body_complete and not self._is_body_taken):
                return self._take_body()
            if self.is_disconnected:
                break
            if not self._is_body_complete:
                self._owner.session_reads()
            if self._changed is None:
                self._changed = asyncio.Event()
            self._changed.clear()
            await self._changed.wait()
        return {"type": "http.disconnect"}

    def _take_body(self) -> ASGIEvent:
        body = b"".join(self._parts or ())
        self._parts, self.body_size = None, 0
        self._is_body_taken = self._is_body_complete
        if not self._is_body_complete:
            self._owner.session_reads()
        return {"type": "http.request", "body": body, "more_body": not self._is_body_complete}

    # --------------------------------------------------------------- from the application

    async def send(self, event: ASGIEvent) -> None:
        """Write the start of the response, or a part of its body.

        Raises `EventError` for an event that breaks a rule, and `StateError` for
        one at the wrong time. Once nobody reads the response, it does nothing,
        whatever the event holds.
        """
        if self._is_ended:
            # Yield to the loop: an application that only sends would starve everything else.
            await asyncio.sleep(0)
            return
        wire = self._wire
        kind = event.get("type")
        if kind == "http.response.body" and wire.status and not wire.is_complete:
            part, more = check_response_body(event)
            wire.send_body(part, more)
            if wire.is_complete:
                self._wake()
                self._owner.session_completed()
            waiting = self._owner.drain()
            if waiting is not None:
                await self._wait(waiting)
        elif kind == "http.response.start" and not wire.status:
            status, headers = check_response_start(event)
            wire.start(status, headers)
        elif kind in ("http.response.start", "http.response.body"):
            raise StateError(f"{kind} is not possible here: a response is one start, then its body")
        else:
            raise EventError(f"unknown event type {kind!r:.80}; known: http.response.start and .body")

    async def _wait(self, waiting: Awaitable[None]) -> None:
        try:
            await waiting
        except OSError:
            # The client is gone: `receive` returns http.disconnect.
            return

    def detach(self) -> None:
        """Drop the reference to the owner, which refers to the session: only the collector frees a cycle."""
        self._owner = _NO_OWNER
