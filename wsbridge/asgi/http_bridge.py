"""The bridge for a page: a request without a body, one response, and the connection closes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocols.errors import ClientDisconnected, EventError, StateError
from .response import ResponseBuilder
from .types import ASGIEvent, Receive, Send, Writer

if TYPE_CHECKING:
    import asyncio

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


def create_http_send(writer: Writer, response: ResponseBuilder, gone: asyncio.Event) -> Send:
    """The application's ``send`` for one ``response``, whose state the caller may read afterwards.

    ``gone`` is set where nothing can be written any more.

    Raises `EventError` for an event that breaks a rule, `StateError` for one
    at the wrong time, and `ClientDisconnected` where the peer is gone.
    """
    is_started = False

    async def send(event: ASGIEvent) -> None:
        nonlocal is_started
        kind = event.get("type")
        if kind not in ("http.response.start", "http.response.body"):
            raise EventError(f"unknown event type {kind!r:.80}; known: http.response.start and .body")
        if response.is_complete or is_started is (kind == "http.response.start"):
            raise StateError(f"{kind} is not possible here: a response is one start, then its body")
        if gone.is_set():
            raise ClientDisconnected("the client went away before the response")
        if kind == "http.response.start":
            response.start(event)
            is_started = True
            return
        writer.write(response.body(event))
        try:
            waiting = writer.drain()
            if waiting is not None:
                await waiting
        except OSError as error:
            raise ClientDisconnected("the connection was lost") from error

    return send
