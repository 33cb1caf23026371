"""What may have ended a connection, when, and whether an abort was in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional

from .conversation import Conversation
from .puppet import Call
from .wire import Abort

__all__ = ["Cause", "find_causes", "may_abort", "may_have_timed_out", "owes_close"]


@dataclass(frozen=True)
class Cause:
    """Why a connection ends; `payload` is that of the CLOSE it makes, None: only the code is known."""

    order: int
    kind: str
    code: int
    payload: Optional[bytes] = None
    #: Whether it may take effect later than it was noted, or not at all.
    is_vague: bool = False


def find_causes(talk: Conversation) -> List[Cause]:
    """Everything that may have ended the connection, as it was noted."""
    causes = []
    for item in talk.peer.sent:
        if item.kind == "close" and item.order:
            causes.append(Cause(item.order, "peer", item.code, bytes(item.content), item.may_be_held))  # type: ignore[arg-type]
        elif item.kind == "violation" and item.begun:
            causes.append(
                Cause(item.begun, "peer", item.code, None, item.may_be_held or item.begun != item.order)
            )
    puppet = talk.puppet
    accepted = talk.accept_order
    for call in puppet.calls:
        # One that waited for room when the connection was lost has been written, too.
        is_vague = call.outcome == "ClientDisconnected"
        if is_close(call) and (call.was_written or is_vague) and 0 < accepted < call.order:
            code, reason = call.event.get("code", 1000), call.event.get("reason", "")  # type: ignore[union-attr]
            causes.append(Cause(call.order, "app", code, code.to_bytes(2, "big") + reason.encode(), is_vague))
    if puppet.ended is not None:
        code = 1000 if puppet.ended in ("returned", "cancelled") else 1011
        causes.append(Cause(puppet.ended_at_order, "app", code, code.to_bytes(2, "big"), True))
    if talk.stopped_at_order:
        causes.append(Cause(talk.stopped_at_order, "server", 1012, b"\x03\xf4", True))
    return sorted(causes, key=lambda cause: cause.order)


def is_close(call: Call) -> bool:
    return call.event is not None and call.event.get("type") == "websocket.close"


def is_last_part(call: Call) -> bool:
    """Whether it completes a page, or a denial."""
    event = call.event or {}
    return str(event.get("type")).endswith("response.body") and not event.get("more_body")


def may_have_timed_out(talk: Conversation) -> bool:
    """Whether a PING may have gone unanswered for long enough."""
    return talk.loop.time() >= find_first_timeout(talk)


def find_first_timeout(talk: Conversation) -> float:
    """When the keepalive may end the connection, at the earliest."""
    interval, timeout = talk.config.ws_ping_interval, talk.config.ws_ping_timeout
    if interval is None or timeout is None or not talk.accept_order:
        return float("inf")
    return talk.puppet.time_of(talk.accept_order) + interval + timeout


def owes_close(talk: Conversation) -> bool:
    """Whether the peer was there to the end, or had a CLOSE to expect before it ended its stream."""
    eof_order = talk.eof_order or float("inf")
    return not talk.peer.was_first_to_end or any(
        not cause.is_vague and cause.order < eof_order for cause in find_causes(talk)
    )


def may_abort(talk: Conversation, abort: Abort) -> bool:
    """Whether the peer took nothing or said nothing for too long, or a response cannot be completed."""
    config = talk.config
    if talk.has_open_response or abort.time >= talk.cut_at:
        return True
    if abort.stalled is not None and abort.stalled >= config.timeout_write:
        return True
    was_heard = any(item.kind == "close" and item.order for item in talk.peer.sent)
    if abort.is_deaf or (was_heard and not abort.has_ended and abort.stalled is None):
        # It waits for what it has got already.
        return False
    has_waited = abort.time - find_end(talk) >= config.timeout_close
    return has_waited and (abort.stalled is not None or not abort.was_eof_read)


def find_end(talk: Conversation) -> float:
    """When something ended the connection first, at the earliest; all that follows has a deadline."""
    config, puppet = talk.config, talk.puppet
    times = [puppet.time_of(cause.order) for cause in find_causes(talk)]
    times += [puppet.time_of(call.order) for call in puppet.calls if is_close(call)]
    times.append(find_first_timeout(talk))
    if talk.eof_order:
        times.append(puppet.time_of(talk.eof_order))
    if not talk.accept_order:
        times.append(talk.started + min(config.timeout_handshake, config.timeout_accept))
        times += [puppet.time_of(call.order) for call in puppet.calls if is_last_part(call)]
    return min(times)
