"""What may have ended a connection, when, and whether an abort was in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional

from .conversation import Conversation
from .hold import TOLERANCE, closes, find_heard
from .puppet import Call
from .wire import Abort

__all__ = [
    "RESTART",
    "Cause",
    "find_causes",
    "find_last_byte",
    "is_last_part",
    "may_abort",
    "may_cancel",
    "may_have_timed_out",
    "owes_close",
]

# The payload of a stopping server's CLOSE.
RESTART = b"\x03\xf4"
# Seconds that a peer has when both sides have closed, and when a connection is over at the latest.
CLOSED_LINGER = 0.7


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
    for call in puppet.calls:
        if closes(call) and call.order + 1 == talk.close_order:
            payload = build_close_payload(call.event or {})
            causes.append(Cause(call.order, "app", int.from_bytes(payload[:2], "big"), payload))
    if puppet.ended is not None:
        code = 1000 if puppet.ended == "returned" else 1011
        causes.append(Cause(puppet.ended_at_order, "app", code, code.to_bytes(2, "big"), True))
    if talk.stopped_at_order:
        causes.append(Cause(talk.stopped_at_order, "server", 1012, RESTART, True))
    return sorted(causes, key=lambda cause: cause.order)


def build_close_payload(event: Dict[str, Any]) -> bytes:
    code, reason = event.get("code"), event.get("reason")
    payload: bytes = (1000 if code is None else code).to_bytes(2, "big") + (
        reason if isinstance(reason, str) else ""
    ).encode()
    # RFC 6455 5.5: a control frame has room for 125 bytes; a reason is cut at a character.
    return payload[:2] + payload[2:125].decode("utf-8", "ignore").encode()


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
    end, _ = find_heard(talk)
    was_heard = end is not None and end.kind == "close"
    if was_heard and talk.close_order:
        # Both have closed: what is unsent is not cut, and behind it the peer has a little time.
        return abort.stalled is None and abort.time >= find_last_byte(talk) + CLOSED_LINGER - TOLERANCE
    # A stopping server delivers, and what an application does not take is in the way of the peer's CLOSE.
    is_deaf = abort.is_deaf and talk.written.close != RESTART
    if is_deaf or (was_heard and not abort.has_ended and abort.stalled is None):
        # It waits for what it has got already.
        return False
    has_waited = abort.time - find_end(talk) >= config.timeout_close
    # A stopping server reads nothing while the queue is full: the end may lie in the stream's reader.
    is_unread = talk.scenario.floor == "streams" and talk.written.close == RESTART
    return has_waited and (abort.stalled is not None or not abort.was_eof_read or is_unread)


def find_last_byte(talk: Conversation) -> float:
    """When both sides had closed, and the last byte that was written had left."""
    end, heard = find_heard(talk)
    order = max(heard or (end.order if end else 0), talk.close_order)
    return max(talk.puppet.time_of(order), talk.wire.progress_at)


def find_end(talk: Conversation) -> float:
    """When something ended the connection first, at the earliest; all that follows has a deadline."""
    config, puppet = talk.config, talk.puppet
    times = [puppet.time_of(cause.order) for cause in find_causes(talk)]
    times += [puppet.time_of(call.order) for call in puppet.calls if closes(call)]
    times.append(find_first_timeout(talk))
    if talk.eof_order:
        times.append(puppet.time_of(talk.eof_order))
    if not talk.accept_order:
        if puppet.scope is None:
            times.append(talk.started + config.timeout_handshake)
        elif not talk.scenario.is_page:
            times.append(talk.started + config.timeout_accept)
        times += [puppet.time_of(call.order) for call in puppet.calls if is_last_part(call)]
    return min(times)


def may_cancel(talk: Conversation) -> bool:
    """Whether the server has a reason to cancel the application."""
    config, is_slow = talk.config, not (talk.accept_order or talk.scenario.is_page)
    timeouts = [config.timeout_app or float("inf"), config.timeout_accept if is_slow else float("inf")]
    return (
        talk.was_cut
        or talk.stopped_at_order > 0
        or not talk.floor.has_deadlines
        or talk.elapsed >= min(timeouts)
    )
