"""The bridge for a page: a request without a body, one response, and the connection closes.

Its scopes have spec_version 2.3, in which ``send`` does nothing once the client
is gone (from 2.4 on it raises).
"""

from __future__ import annotations

import asyncio
from typing import Awaitable, Callable, Optional

from ..protocols.errors import EventError, StateError
from .response import check_response_body, check_response_start
from .types import ASGIEvent, Receive, Send
from .wire import Http11Wire

__all__ = ["create_http_receive", "create_http_send"]


def create_http_receive(disconnected: asyncio.Event) -> Receive:
    """The application's ``receive``: the empty body, then ``http.disconnect`` once the event is set."""
    is_body_taken = False

    async def receive() -> ASGIEvent:
        nonlocal is_body_taken
        if not is_body_taken:
            is_body_taken = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await disconnected.wait()
        return {"type": "http.disconnect"}

    return receive


def create_http_send(
    wire: Http11Wire, drain: Callable[[], Optional[Awaitable[None]]], gone: asyncio.Event
) -> Send:
    """The application's ``send`` for one response.

    ``drain`` is `SessionOwner.drain`: an awaitable for room in the write
    buffer, or None. Once ``gone`` is set, ``send`` does nothing, whatever an
    event holds.

    Raises `EventError` for an event that breaks a rule, and `StateError` for
    one at the wrong time.
    """

    async def send(event: ASGIEvent) -> None:
        if gone.is_set():
            # Yield to the loop: an application that only sends would starve everything else.
            await asyncio.sleep(0)
            return
        kind = event.get("type")
        if kind not in ("http.response.start", "http.response.body"):
            raise EventError(f"unknown event type {kind!r:.80}; known: http.response.start and .body")
        is_started = wire.status != 0
        if wire.is_complete or is_started is (kind == "http.response.start"):
            raise StateError(f"{kind} is not possible here: a response is one start, then its body")
        if kind == "http.response.start":
            wire.start(*check_response_start(event))
            return
        wire.send_body(*check_response_body(event))
        try:
            waiting = drain()
            if waiting is not None:
                await waiting
        except OSError:
            # The client is gone: `receive` returns http.disconnect.
            return

    return send
