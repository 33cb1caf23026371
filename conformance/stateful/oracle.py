"""What may have ended a connection, when that was, and when our CLOSE had to leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from ..lib.wire import build_close
from .conversation import Conversation
from .loop import NEVER, Moment
from .peer import Item
from .wire import Abort

# The payload of a stopping server's CLOSE.
RESTART = build_close(1012)
# That of a server whose PING is not answered.
KEEPALIVE = build_close(1011, b"keepalive ping timeout")
# Seconds that a peer has when both sides have closed.
CLOSED_LINGER = 0.7
ANSWER_TIME = 0.1
# The sweep notices the end of the grace.
SWEEP = 0.25
TOLERANCE = 1e-6

# A message comes; the application asks for an event, takes a message, sends one.
COMES, ASKS, TAKES, SENDS = "comes", "asks", "takes", "sends"

Move = Tuple[Moment, str]


# ---------------------------------------------------------------------------------- causes


@dataclass(frozen=True)
class Cause:
    """Why a connection ends: the peer, the app or the server."""

    at: Moment
    who: str
    code: int
    #: Of the CLOSE that it makes; None: only the code is known.
    payload: Optional[bytes] = None
    #: Whether it may take effect later than it was noted, or not at all.
    is_vague: bool = False

    @property
    def reason(self) -> Optional[str]:
        """What the peer has said; None: a violation's reason is the server's own."""
        return None if self.payload is None else self.payload[2:].decode()


def find_causes(talk: Conversation) -> List[Cause]:
    """Everything that may have ended the connection, as it was noted."""
    puppet, causes = talk.puppet, []
    for item in talk.peer.sent:
        if item.kind == "close" and item.has_come:
            payload: Any = item.content
            causes.append(Cause(item.ended, "peer", item.code, payload, item.is_vague))
        elif item.kind == "violation" and item.begun is not NEVER:
            causes.append(Cause(item.begun, "peer", item.code, None, item.is_vague))
    for call in puppet.calls:
        if call.has_closed and call.began.precedes(talk.closed_at):
            payload = build_close_payload(call.event or {})
            causes.append(Cause(call.began, "app", int.from_bytes(payload[:2], "big"), payload))
    if puppet.ended is not None:
        code = 1000 if puppet.ended == "returned" else 1011
        causes.append(Cause(puppet.ended_at, "app", code, build_close(code), True))
    if talk.stopped_at is not NEVER:
        causes.append(Cause(talk.stopped_at, "server", 1012, RESTART, True))
    return sorted(causes, key=lambda cause: cause.at)


def build_close_payload(event: Dict[str, Any]) -> bytes:
    code, reason = event.get("code"), event.get("reason")
    encoded = reason.encode() if isinstance(reason, str) else b""
    # RFC 6455 5.5: a control frame has room for 125 bytes; a reason is cut at a character.
    return build_close(1000 if code is None else code, encoded[:123].decode("utf-8", "ignore").encode())


def has_open_response(talk: Conversation) -> bool:
    """Whether the application has sent a part of a page, or of a denial, but not its last in time."""
    parts = [call for call in talk.puppet.calls if call.is_part and not call.was_refused]
    if talk.is_page and not parts and talk.puppet.calls:
        # The head of a page leaves alone, by the next sweep, if no part has come.
        return talk.puppet.ended_at.time > talk.started
    return bool(parts) and not any(
        call.is_last_part and call.was_written and call.began < talk.puppet.ended_at for call in parts
    )


def may_abort(talk: Conversation, abort: Abort) -> bool:
    """Whether the peer took nothing or said nothing for too long, or a response cannot be completed."""
    config = talk.config
    if has_open_response(talk) or abort.time >= talk.cut_time:
        return True
    if abort.stalled is not None and abort.stalled >= config.timeout_write:
        return True
    is_restart = talk.written.close == RESTART
    end, _ = find_heard(talk)
    was_heard = end is not None and end.kind == "close"
    if end is not None and end.kind == "violation" and end.begun > talk.closed_at:
        # Behind our CLOSE a violation may be discarded, and the peer's CLOSE behind that be heard.
        was_heard = any(item.kind == "close" and item.has_come for item in talk.peer.sent)
    if was_heard and talk.closed_at is not NEVER:
        # Both have closed: what is unsent is not cut, and behind it the peer has a little time.
        return abort.stalled is None and abort.time >= find_last_byte(talk) + CLOSED_LINGER - TOLERANCE
    # A stopping server delivers, and what an application does not take is in the way of the peer's CLOSE.
    is_deaf = abort.is_deaf and not is_restart
    if is_deaf or (was_heard and not abort.has_ended and abort.stalled is None):
        # It waits for what it has got already.
        return False
    # A peer has little time where nothing has come, so that nothing is answered, and where a stopping server
    # waits for no CLOSE of the peer's.
    is_brief = not talk.line.delivered or (talk.stopped_at is not NEVER and not is_restart)
    patience = CLOSED_LINGER - TOLERANCE if is_brief else config.timeout_close
    has_waited = abort.time - find_end_time(talk) >= patience
    # A stopping server reads nothing while the queue is full: the end may lie in the stream's reader.
    is_unread = talk.scenario.floor == "streams" and is_restart
    return has_waited and (abort.stalled is not None or not abort.was_eof_read or is_unread)


def find_last_byte(talk: Conversation) -> float:
    """When both sides had closed, and the last byte that was written had left."""
    end, heard = find_heard(talk)
    if heard is NEVER and end is not None:
        heard = end.ended
    return max(heard.time, talk.closed_at.time, talk.wire.progress_at)


def find_end_time(talk: Conversation) -> float:
    """When something ended the connection first, at the earliest; all that follows has a deadline."""
    calls, times = talk.puppet.calls, [find_first_timeout(talk)]
    ends = [talk.wire.eof_at, *(cause.at for cause in find_causes(talk))]
    ends += [call.began for call in calls if call.has_closed]
    if not talk.is_accepted:
        ends += [call.began for call in calls if call.is_last_part]
        if talk.puppet.scope is None:
            times.append(talk.started + talk.config.timeout_handshake)
        elif not talk.is_page:
            times.append(talk.started + talk.config.timeout_accept)
    return min(*times, *(end.time for end in ends))


def find_first_timeout(talk: Conversation) -> float:
    """When the keepalive may end the connection, at the earliest."""
    interval, timeout = talk.config.ws_ping_interval, talk.config.ws_ping_timeout
    return NEVER.time if interval is None or timeout is None else talk.accepted_at.time + interval + timeout


def may_have_timed_out(talk: Conversation) -> bool:
    """Whether a PING may have gone unanswered for long enough."""
    return talk.loop.time() >= find_first_timeout(talk)


def may_cancel(talk: Conversation) -> bool:
    """Whether the server has a reason to cancel the application."""
    limits = [talk.config.timeout_app]
    if not talk.is_accepted and not talk.is_page:
        limits.append(talk.config.timeout_accept)
    return (
        talk.was_cut
        or talk.stopped_at is not NEVER
        or not talk.floor.has_deadlines
        or any(limit is not None and talk.elapsed >= limit for limit in limits)
    )


# ------------------------------------------------------------------------ the order at the end
#
# The peer's CLOSE, or its violation, is answered at once where the application owes no answer. Where it does,
# ours leaves with the `receive` that finds only the disconnect, with the application's own close or its end,
# `ANSWER_TIME` behind its first send since it last took a message, or after ``close_grace``.


def find_heard(talk: Conversation) -> Tuple[Optional[Item], Moment]:
    """The peer's first CLOSE or violation, and when the server heard of it; NEVER: that is not certain."""
    end = next((item for item in talk.peer.sent if item.kind in ("close", "violation")), None)
    # Behind the keepalive's CLOSE the peer's is discarded with all else.
    is_discarded = end is not None and talk.written.close == KEEPALIVE and talk.closed_at < end.ended
    if end is None or not end.has_come or is_discarded:
        return None, NEVER
    if end.is_early or end.was_paused or talk.was_sliced or talk.scenario.floor != "server":
        return end, NEVER
    # What comes before the accept is held until then.
    return end, max(end.ended, talk.accepted_at)


def find_fault(talk: Conversation) -> str:
    """What is wrong with the moment at which our CLOSE has left, or still has not; "" for nothing."""
    heard, closed = find_heard(talk)[1], talk.closed_at
    if heard is NEVER or closed < heard:
        return ""
    has_left = closed is not NEVER
    moves = list_moves(talk)
    if not owes_answer([kind for at, kind in moves if at <= heard]):
        is_at_once = heard.precedes(closed) if has_left else talk.wire.is_closing()
        return "" if is_at_once else "nothing was owed, and our CLOSE did not leave at once"
    behind = (closed.time if has_left else talk.loop.time()) - heard.time
    grace = talk.config.close_grace
    answered = find_answer_time([move for move in moves if heard < move[0] < closed]) - heard.time
    releases = list_releases(talk)
    # What came before the accept, or a stop that was cut short, need not have come so far.
    unsure = talk.stopped_at if talk.was_cut else NEVER
    certain = [at for at in releases if at > talk.accepted_at and at is not unsure]
    latest = min([grace + SWEEP, answered, *(max(0.0, at.time - heard.time) for at in certain)])
    if behind > latest + TOLERANCE and (has_left or not talk.wire.is_closing()):
        return f"our CLOSE was due {latest:.3f} s behind the peer's: {behind:.3f} s"
    # A TLS connection whose peer has ended its stream is about to close.
    is_released = any(at < closed or closed.precedes(at) for at in releases) or (
        talk.scenario.is_tls and talk.wire.is_eof_told
    )
    if has_left and behind < min(grace, answered) - TOLERANCE and not is_released:
        return f"our CLOSE left {behind:.3f} s behind the peer's, and an answer was owed"
    return ""


def list_moves(talk: Conversation) -> List[Move]:
    moves = [(item.ended, COMES) for item in talk.find_messages()]
    for call in talk.puppet.calls:
        if call.event is None:
            moves.append((call.began, ASKS))
            if call.result is not None and call.result["type"] == "websocket.receive":
                moves.append((call.returned, TAKES))
        elif call.content is not None and not call.was_refused:
            moves.append((call.began, SENDS))
    return sorted(moves)


def owes_answer(kinds: List[str]) -> bool:
    """Whether a message is not taken, or the last one that was has neither an answer nor a successor."""
    last = [kind for kind in kinds if kind != COMES][-1:]
    return kinds.count(COMES) > kinds.count(TAKES) or last == [TAKES]


def find_answer_time(moves: List[Move]) -> float:
    """When the time for further answers is over, by what was done while our CLOSE was held."""
    end = NEVER.time
    for at, kind in moves:
        if at.time > end + TOLERANCE:
            break
        if kind == TAKES:
            end = NEVER.time
        elif kind == SENDS:
            end = min(end, at.time + ANSWER_TIME)
    return end


def list_releases(talk: Conversation) -> List[Moment]:
    """When something other than time let our CLOSE go; the disconnect is told right behind it."""
    puppet = talk.puppet
    closes = [call.began for call in puppet.calls if call.has_closed]
    return [puppet.told_at, puppet.ended_at, talk.stopped_at, *closes]
