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
    releases = [at for at in list_releases(talk) if at > talk.accepted_at]
    latest = min([grace + SWEEP, answered, *(max(0.0, at.time - heard.time) for at in releases)])
    if behind > latest + TOLERANCE and (has_left or not talk.wire.is_closing()):
        return f"our CLOSE was due {latest:.3f} s behind the peer's: {behind:.3f} s"
    if has_left and behind < min(grace, answered) - TOLERANCE and not is_released(talk):
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
    """When something other than time let our CLOSE go."""
    puppet = talk.puppet
    closes = [call.began for call in puppet.calls if call.has_closed]
    return [puppet.told_at, puppet.ended_at, NEVER if talk.was_cut else talk.stopped_at, *closes]


def is_released(talk: Conversation) -> bool:
    """Whether something other than time has let it go when it left."""
    puppet, closed = talk.puppet, talk.closed_at
    return (
        closed.precedes(puppet.told_at)
        or any(call.has_closed and call.began.precedes(closed) for call in puppet.calls)
        or min(puppet.ended_at, talk.stopped_at) < closed
        # A TLS connection whose peer has ended its stream is about to close.
        or (talk.scenario.is_tls and talk.wire.is_eof_told)
    )
