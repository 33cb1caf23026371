"""The order at the end: when our CLOSE may leave behind the peer's, and when it must.

The peer's CLOSE, or its violation, is answered at once where the application owes no answer. Where it does,
ours leaves with the `receive` that finds only the disconnect, with the application's own close or its end,
`ANSWER_TIME` behind its first send since it last took a message, or after ``close_grace``.
"""

from __future__ import annotations

from typing import List, Optional, Tuple

from .conversation import Conversation
from .peer import Item
from .puppet import Call

__all__ = ["TOLERANCE", "closes", "find_fault", "find_heard"]

ANSWER_TIME = 0.1
# The sweep notices the end of the grace.
SWEEP = 0.25
TOLERANCE = 1e-6
NEVER = float("inf")

# A message comes; the application asks for an event, takes a message, sends one.
COMES, ASKS, TAKES, SENDS = "comes", "asks", "takes", "sends"


def find_heard(talk: Conversation) -> Tuple[Optional[Item], int]:
    """The peer's first CLOSE or violation, and when the server heard of it; 0: that is not certain."""
    ends = [item for item in talk.peer.sent if item.kind in ("close", "violation")]
    if not ends or not ends[0].order:
        return None, 0
    end = ends[0]
    is_early = end.kind == "violation" and end.begun != end.order
    if is_early or end.was_paused or talk.was_sliced or talk.scenario.floor != "server":
        return end, 0
    # What comes before the accept is held until then.
    return end, talk.accept_order and max(end.order, talk.accept_order)


def find_fault(talk: Conversation) -> str:
    """What is wrong with the moment at which our CLOSE has left, or still has not; "" for nothing."""
    heard, closed = find_heard(talk)[1], talk.close_order
    if not heard or 0 < closed < heard:
        return ""
    moves = list_moves(talk)
    if not owes_answer([move for order, move in moves if order <= heard]):
        is_at_once = closed == heard + 1 if closed else talk.wire.is_closing()
        return "" if is_at_once else "nothing was owed, and our CLOSE did not leave at once"
    time_of = talk.puppet.time_of
    heard_at, left_at = time_of(heard), time_of(closed) if closed else talk.loop.time()
    grace_at = heard_at + talk.config.close_grace
    answer_at = find_answer_end(talk, [move for move in moves if heard < move[0] < (closed or NEVER)])
    latest = min(grace_at + SWEEP, answer_at, find_release(talk, heard_at))
    if left_at > latest + TOLERANCE and (closed or not talk.wire.is_closing()):
        return f"our CLOSE was due {latest - heard_at:.3f} s behind the peer's: {left_at - heard_at:.3f} s"
    if closed and left_at < min(grace_at, answer_at) - TOLERANCE and not is_released(talk):
        return f"our CLOSE left {left_at - heard_at:.3f} s behind the peer's, and an answer was owed"
    return ""


def list_moves(talk: Conversation) -> List[Tuple[int, str]]:
    moves = [(item.order, COMES) for item in talk.peer.sent if item.kind == "message" and item.order]
    for call in talk.puppet.calls:
        if call.event is None:
            moves.append((call.order, ASKS))
            if call.result is not None and call.result["type"] == "websocket.receive":
                moves.append((call.returned_order, TAKES))
        elif call.content is not None and call.outcome not in ("EventError", "StateError"):
            moves.append((call.order, SENDS))
    return sorted(moves)


def owes_answer(moves: List[str]) -> bool:
    """Whether a message is not taken, or the last one that was has neither an answer nor a successor."""
    last = [move for move in moves if move != COMES][-1:]
    return moves.count(COMES) > moves.count(TAKES) or last == [TAKES]


def find_answer_end(talk: Conversation, moves: List[Tuple[int, str]]) -> float:
    """When the time for further answers is over, by what was done while our CLOSE was held."""
    end = NEVER
    for order, move in moves:
        time = talk.puppet.time_of(order)
        if time > end + TOLERANCE:
            break
        if move == TAKES:
            end = NEVER
        elif move == SENDS:
            end = min(end, time + ANSWER_TIME)
    return end


def find_release(talk: Conversation, heard_at: float) -> float:
    """When something else let our CLOSE go."""
    puppet = talk.puppet
    orders = [puppet.told_at_order, puppet.ended_at_order, 0 if talk.was_cut else talk.stopped_at_order]
    orders += [call.order for call in puppet.calls if closes(call)]
    times = [puppet.time_of(order) for order in orders if order > talk.accept_order]
    return max(heard_at, min(times, default=NEVER))


def is_released(talk: Conversation) -> bool:
    puppet, closed = talk.puppet, talk.close_order
    return (
        closed + 1 == puppet.told_at_order
        or any(call.order + 1 == closed and closes(call) for call in puppet.calls)
        or 0 < puppet.ended_at_order < closed
        or 0 < talk.stopped_at_order < closed
        # A TLS connection whose peer has ended its stream is about to close.
        or (talk.scenario.is_tls and talk.wire.is_eof_told)
    )


def closes(call: Call) -> bool:
    event = call.event or {}
    return event.get("type") == "websocket.close" and call.outcome == "returned"
