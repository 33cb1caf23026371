"""The invariants: what must hold after every step, and what must hold when a connection is over."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Callable, List, Tuple

from wsbridge.protocols.errors import ClientDisconnected

from ..lib.wire import build_close
from .conversation import Conversation
from .loop import NEVER
from .notes import logged, run_checks, tally
from .oracle import (
    KEEPALIVE,
    RESTART,
    find_causes,
    find_fault,
    find_heard,
    find_last_byte,
    has_open_response,
    may_abort,
    may_cancel,
    may_have_timed_out,
)
from .puppet import Call
from .reader import Wrong

ABNORMAL = 1006

# What becomes of a call once our CLOSE has left, or the disconnect was taken, whatever its event holds.
BEHIND_THE_END = {
    "websocket.accept": "ClientDisconnected",
    "websocket.close": "returned",
    "websocket.http.response.start": "ClientDisconnected",
    "websocket.http.response.body": "ClientDisconnected",
    "websocket.send": "ClientDisconnected",
}

# What begins an answer to the request.
ANSWERS = ("websocket.accept", "websocket.http.response.start")

# The end of a connection's service is watched; any object of these modules is looked for now and then.
LEFTOVERS = ("wsbridge.asgi.", "wsbridge.server.", "wsbridge.protocols.ws")
SEARCH_EVERY = 50

# The seconds after which a connection that both sides have closed is gone, the sweep included.
GONE = 1.0


# ------------------------------------------------------------------------ after each step


def check_received(talk: Conversation) -> None:
    """The application takes connect, the peer's messages in order, once, byte-exact, then one disconnect."""
    if talk.is_page:
        return
    received, expected = list(talk.puppet.received), [{"type": "websocket.connect"}]
    for item in talk.find_messages():
        key = "text" if isinstance(item.content, str) else "bytes"
        expected.append({"type": "websocket.receive", key: item.content})
    if received and received[-1]["type"] == "websocket.disconnect":
        received.pop()
    for number, event in enumerate(received):
        if event not in expected[number : number + 1]:
            raise Wrong(f"event {number}: {event!r:.120}, expected: {expected[number : number + 1]!r:.120}")


def check_sent(talk: Conversation) -> None:
    """The peer reads messages in order, byte-exact, without a gap; before a CLOSE all of them."""
    unread = find_unread(talk)
    if talk.peer.stream.close is not None and any(call.outcome == "returned" for call in unread):
        raise Wrong(f"CLOSE read, and of {len(unread)} messages some are missing whose send had returned")


def find_unread(talk: Conversation) -> List[Call]:
    """The calls whose messages the peer has not read; raises `Wrong` where it read others."""
    calls = [call for call in talk.puppet.calls if call.content is not None and not call.was_refused]
    at = 0
    for number, message in enumerate(talk.peer.stream.messages):
        # One whose send did not return may be missing.
        while at < len(calls) and calls[at].content != message and calls[at].outcome != "returned":
            at += 1
        if at == len(calls) or calls[at].content != message:
            raise Wrong(f"message {number} read: {message!r:.80}, sent: {calls[at : at + 1]!r:.200}")
        at += 1
    return calls[at:]


def check_pongs(talk: Conversation) -> None:
    """Every PONG answers a PING, in order, once."""
    pings = iter([item.content for item in talk.peer.sent if item.kind == "ping" and item.has_come])
    for payload in talk.peer.stream.pongs:
        # `in` goes on behind the PING that it found last.
        if payload not in pings:
            raise Wrong(f"PONG {payload!r} answers no PING, or one out of order")


def check_close(talk: Conversation) -> None:
    """The CLOSE has the code and reason of what ended the connection first."""
    payload = talk.peer.stream.close
    if payload is None or (payload == KEEPALIVE and may_have_timed_out(talk)):
        return
    causes = find_causes(talk)
    certain = causes[:1] if causes and not causes[0].is_vague else causes
    if not any(
        payload[:2] == build_close(cause.code) if cause.payload is None else payload == cause.payload
        for cause in certain
    ):
        raise Wrong(f"CLOSE {payload!r}, causes: {causes}")


def check_close_time(talk: Conversation) -> None:
    """The CLOSE leaves not before what is owed could be answered, nor later than the rule."""
    fault = find_fault(talk)
    if fault:
        raise Wrong(fault)
    if talk.scenario.floor != "server" or not talk.is_accepted or talk.wire.is_closing():
        return
    now = talk.loop.time()
    reasons = [talk.puppet.ended_at, NEVER if talk.was_cut else talk.stopped_at]
    if talk.closed_at is NEVER and min(reasons).time < now:
        raise Wrong("the application has ended, or the server stops, and no CLOSE has left")
    end, heard = find_heard(talk)
    have_both_closed = heard is not NEVER and end is not None and end.kind == "close"
    if have_both_closed and not talk.wire.get_write_buffer_size() and now >= find_last_byte(talk) + GONE:
        raise Wrong("both sides have closed, all is sent, and the connection is still there")


def check_calls(talk: Conversation) -> None:
    """Behind the end a close does nothing and all else raises, whatever it holds."""
    over = min(talk.closed_at, talk.puppet.told_at)
    is_answered = is_complete = False
    for call in talk.puppet.calls:
        expected = ""
        if talk.is_page:
            # Behind a whole response anything is a mistake of the application's.
            expected = "returned" if call.was_lost and not is_complete else ""
            is_complete = is_complete or (call.is_last_part and call.was_written and not call.was_lost)
        elif call.began > over:
            expected = BEHIND_THE_END.get(call.kind, "EventError")
        elif call.kind == "websocket.close" and not is_answered:
            expected = "returned"
        # One that raises because the connection is lost has been taken all the same.
        is_answered = is_answered or (call.kind in ANSWERS and not call.was_refused)
        if call.event is not None and expected and call.outcome not in (expected, "pending", "cancelled"):
            raise Wrong(f"{call.event!r:.100}: {call.outcome}, expected {expected}")
    check_subprotocol(talk)


def check_subprotocol(talk: Conversation) -> None:
    for call in talk.puppet.calls:
        if call.began == talk.accepted_at and talk.peer.stream.is_open:
            chosen = (call.event or {}).get("subprotocol")
            offered = chosen if chosen in talk.scenario.subprotocols else None
            if talk.peer.stream.headers.get("sec-websocket-protocol") != offered:
                raise Wrong(f"subprotocol {chosen!r} accepted: {talk.peer.stream.headers}")


def check_bounds(talk: Conversation) -> None:
    """No read while the queue was full."""
    if talk.scenario.floor != "server" or not talk.is_accepted or find_causes(talk):
        return
    came = [item.ended for item in talk.find_messages()]
    # The last read may have brought more than there was room for.
    waiting = sum(at < came[-1] for at in came) - talk.count_taken()
    if waiting >= talk.config.ws_max_queue and talk.wire.can_deliver:
        raise Wrong(f"{waiting} messages wait, and more are read")


def check_quiet(talk: Conversation) -> None:
    """Nothing reported to the loop or logged by asyncio, no log line above the documented level."""
    troubles = [*talk.loop.complaints, *talk.puppet.troubles]
    for record in logged.buffer:
        text = record.getMessage()
        is_quiet = record.levelname in ("DEBUG", "INFO") or may_be_logged(talk, text)
        if record.name == "asyncio" or not is_quiet:
            troubles.append(f"{record.name} logged {record.levelname}: {text}; ended: {talk.puppet.ended!r}")
    if talk.puppet.was_cancelled_by_server and not may_cancel(talk):
        troubles.append("the server has cancelled the application")
    if troubles:
        raise Wrong("; ".join(troubles))


def may_be_logged(talk: Conversation, text: str) -> bool:
    if text == "application raised":
        return has_failed(talk)
    if "did not return within timeout_app" in text:
        return talk.config.timeout_app is not None and talk.elapsed >= talk.config.timeout_app
    if "accepted without subprotocol" in text:
        return any(call.kind == "websocket.accept" for call in talk.puppet.calls)
    if "returned before" in text:
        parts = [call for call in talk.puppet.calls if call.is_part and not call.was_refused]
        is_without_answer = not parts or has_open_response(talk)
        return talk.puppet.ended == "returned" and not talk.is_accepted and is_without_answer
    if "did not close in time" in text:
        return talk.loop.time() >= talk.cut_time
    return "ignore their cancellation" in text and talk.stopped_at is not NEVER


def has_failed(talk: Conversation) -> bool:
    """Whether the application has ended with an error, such as a cancellation nobody asked for."""
    ended = talk.puppet.ended
    if ended == "cancelled":
        return not talk.puppet.was_cancelled_by_server
    return isinstance(ended, BaseException) and not is_expected(ended)


def is_expected(error: object) -> bool:
    return isinstance(error, ClientDisconnected) and str(error) != "of another connection"


# ---------------------------------------------------------------- when a connection is over


def check_disconnect(talk: Conversation) -> None:
    """The disconnect has the right code; before the peer's own end nothing is missing."""
    told = talk.puppet.received[-1] if talk.puppet.received else {}
    if told.get("type") != "websocket.disconnect":
        return
    causes = find_causes(talk)
    peers = [cause for cause in causes if cause.who == "peer"]
    is_first = bool(peers) and causes[0] is peers[0]
    is_certain = is_first and not peers[0].is_vague
    expected = [(cause.code, cause.reason) for cause in peers]
    if is_certain and not may_have_timed_out(talk):
        expected = expected[:1]
    else:
        expected.append((ABNORMAL, ""))
    code, reason = told["code"], told["reason"]
    if (code, reason) not in expected and (code, None) not in expected:
        raise Wrong(f"disconnect {code} {reason!r}, expected {expected}")
    # What ended it while the peer's CLOSE may still have been held had messages before that CLOSE discarded.
    others = [cause for cause in causes if cause.who != "peer" and cause.at < talk.puppet.told_at]
    # A server that stops reads on.
    has_read_all = not causes or is_certain or (is_first and not others) or talk.written.close == RESTART
    came = len(talk.find_messages())
    if has_read_all and (code != ABNORMAL or is_whole_at_eof(talk)) and talk.count_taken() != came:
        raise Wrong(f"{came} messages came before the end, the application got {talk.count_taken()}")


def is_whole_at_eof(talk: Conversation) -> bool:
    """Whether the peer only ended its stream, behind an accept: whatever it had sent must have arrived."""
    wire, line = talk.wire, talk.line
    was_broken = line.is_disturbed or talk.was_cut or wire.aborted is not None or line.is_reset
    was_read = talk.accepted_at < wire.eof_at < NEVER
    return was_read and not was_broken and not may_have_timed_out(talk)


def check_clean_end(talk: Conversation) -> None:
    """A peer that behaves gets whole frames, a CLOSE and the end of the stream, and no abort too soon."""
    if not talk.floor.has_deadlines or talk.line.is_disturbed or talk.was_cut:
        return
    wire, peer, stream = talk.wire, talk.peer, talk.peer.stream
    if wire.aborted is not None and not may_abort(talk, wire.aborted):
        raise Wrong(f"the connection was aborted, and nobody asked for that: {wire.aborted}")
    if wire.aborted is not None or talk.line.is_reset:
        return
    if not peer.is_at_eof or stream.rest or peer.is_reset:
        raise Wrong(f"the peer's stream ended inside a frame, or was reset: {stream.rest[:40]!r}")
    # A peer that was first to end its stream had a CLOSE to expect only for what had come before that.
    owes_close = not peer.was_first_to_end or any(
        not cause.is_vague and cause.at < wire.eof_at for cause in find_causes(talk)
    )
    if stream.is_open and stream.close is None and owes_close:
        raise Wrong("the connection ended without a CLOSE")
    # The end of the peer's stream closes a TLS transport at once, and what is written behind it is dropped.
    last = wire.eof_at if talk.scenario.is_tls else NEVER
    if any(call.outcome == "returned" and call.began < last for call in find_unread(talk)):
        raise Wrong("the connection ended, and messages are missing whose send had returned")


def check_error_line(talk: Conversation) -> None:
    """An application that raises is logged once, one that ends by a disconnect not at all."""
    ended = talk.puppet.ended
    # The error of another connection is quiet only where this one was over too.
    if not talk.floor.has_deadlines or (isinstance(ended, ClientDisconnected) and not is_expected(ended)):
        return
    count = sum(record.getMessage() == "application raised" for record in logged.buffer)
    if count != int(has_failed(talk)):
        raise Wrong(f"the application ended with {ended!r}, which was logged {count} times")


def check_baseline(talk: Conversation) -> None:
    """No task, no timer, no member of the service and no object is left."""
    talk.loop.advance(1.1, lambda: None)
    sleep = talk.loop.settle()
    if sleep is not None:
        raise Wrong(f"a timer is left, in {sleep:.2f} s")
    tasks = asyncio.all_tasks(talk.loop)
    if tasks:
        raise Wrong(f"tasks are left: {tasks}")
    service = weakref.ref(talk.floor.service)
    talk.discard()
    if service() is not None:
        gc.collect()
    if service() is not None or tally["checks", "check_baseline"] % SEARCH_EVERY == 0:
        gc.collect()
        left = [repr(item) for item in gc.get_objects() if type(item).__module__.startswith(LEFTOVERS)]
        if left:
            raise Wrong(f"objects are left: {left}")


Check = Callable[[Conversation], None]
STEP_CHECKS: Tuple[Check, ...] = (
    check_received,
    check_sent,
    check_pongs,
    check_close,
    check_close_time,
    check_calls,
    check_bounds,
    check_quiet,
)
# The last one takes the connection apart.
END_CHECKS: Tuple[Check, ...] = (check_disconnect, check_clean_end, check_error_line, check_baseline)

CHECKS = (*STEP_CHECKS, *END_CHECKS)


def check_step(talk: Conversation) -> None:
    run_checks(talk, STEP_CHECKS)


def check_end(talk: Conversation) -> None:
    check_step(talk)
    tally["connections", describe_end(talk)] += 1
    for call in talk.puppet.calls:
        tally["calls", call.kind, call.outcome] += 1
    run_checks(talk, END_CHECKS)


def describe_end(talk: Conversation) -> str:
    stream = talk.peer.stream
    if stream.close is not None:
        return f"CLOSE {int.from_bytes(stream.close[:2], 'big') if stream.close else 'without code'}"
    if stream.is_open:
        return "lost after the accept"
    return f"HTTP {stream.status}" if stream.status is not None else "lost without an answer"
