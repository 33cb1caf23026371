"""The order at the end: when our CLOSE may leave behind the peer's, and when it must.

The peer's CLOSE, or its violation, is answered at once where the application owes no answer. Where it does,
ours leaves with the `receive` that finds only the disconnect, with the application's own close or its end,
`ANSWER_TIME` behind its first send since it last took a message, or after ``close_grace``.
"""

from __future__ import annotations

from typing import List, Optional, Tuple

from .conversation import Conversation
from .loop import NEVER, Moment
from .peer import Item

__all__ = ["TOLERANCE", "find_fault", "find_heard"]

ANSWER_TIME = 0.1
# The sweep notices the end of the grace.
SWEEP = 0.25
TOLERANCE = 1e-6

# A message comes; the application asks for an event, takes a message, sends one.
COMES, ASKS, TAKES, SENDS = "comes", "asks", "takes", "sends"

Move = Tuple[Moment, str]


def find_heard(talk: Conversation) -> Tuple[Optional[Item], Moment]:
    """The peer's first CLOSE or violation, and when the server heard of it; NEVER: that is not certain."""
    end = next((item for item in talk.peer.sent if item.kind in ("close", "violation")), None)
    if end is None or not end.has_come:
        return None, NEVER
    if end.is_early or end.ended.was_paused or talk.was_sliced or talk.scenario.floor != "server":
        return end, NEVER
    # What comes before the accept is held until then.
    return end, max(end.ended.at, talk.accepted_at)


def find_fault(talk: Conversation) -> str:
    """What is wrong with the moment at which our CLOSE has left, or still has not; "" for nothing."""
    heard, closed = find_heard(talk)[1], talk.closed_at
    if heard is NEVER or closed < heard:
        return ""
    has_left = closed is not NEVER
    moves = list_moves(talk)
    if not owes_answer([move for move in moves if move[0] <= heard]):
        is_at_once = heard.precedes(closed) if has_left else talk.wire.is_closing()
        return "" if is_at_once else "nothing was owed, and our CLOSE did not leave at once"
    left_time = closed.time if has_left else talk.loop.time()
    grace_time = heard.time + talk.config.close_grace
    answer_time = find_answer_time([move for move in moves if heard < move[0] < closed])
    latest = min(grace_time + SWEEP, answer_time, find_release_time(talk, heard))
    behind = left_time - heard.time
    if left_time > latest + TOLERANCE and (has_left or not talk.wire.is_closing()):
        return f"our CLOSE was due {latest - heard.time:.3f} s behind the peer's: {behind:.3f} s"
    if has_left and left_time < min(grace_time, answer_time) - TOLERANCE and not is_released(talk):
        return f"our CLOSE left {behind:.3f} s behind the peer's, and an answer was owed"
    return ""


def list_moves(talk: Conversation) -> List[Move]:
    moves = [(item.ended.at, COMES) for item in talk.find_messages()]
    for call in talk.puppet.calls:
        if call.event is None:
            moves.append((call.began, ASKS))
            if call.result is not None and call.result["type"] == "websocket.receive":
                moves.append((call.returned, TAKES))
        elif call.content is not None and not call.was_refused:
            moves.append((call.began, SENDS))
    return sorted(moves)


def owes_answer(moves: List[Move]) -> bool:
    """Whether a message is not taken, or the last one that was has neither an answer nor a successor."""
    kinds = [kind for _, kind in moves]
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


def find_release_time(talk: Conversation, heard: Moment) -> float:
    """When something else let our CLOSE go."""
    puppet = talk.puppet
    releases = [puppet.told_at, puppet.ended_at, NEVER if talk.was_cut else talk.stopped_at]
    releases += [call.began for call in puppet.calls if call.has_closed]
    return max(heard.time, min(at.time for at in releases if at > talk.accepted_at))


def is_released(talk: Conversation) -> bool:
    """Whether something else has let it go when it left."""
    puppet, closed = talk.puppet, talk.closed_at
    return (
        closed.precedes(puppet.told_at)
        or any(call.has_closed and call.began.precedes(closed) for call in puppet.calls)
        or min(puppet.ended_at, talk.stopped_at) < closed
        # A TLS connection whose peer has ended its stream is about to close.
        or (talk.scenario.is_tls and talk.wire.is_eof_told)
    )
