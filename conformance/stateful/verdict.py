"""The invariants: what must hold after every step, and what must hold when a connection is over."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple

from wsbridge.protocols.errors import ClientDisconnected

from .causes import (
    RESTART,
    Cause,
    find_causes,
    find_last_byte,
    is_last_part,
    may_abort,
    may_cancel,
    may_have_timed_out,
    owes_close,
)
from .conversation import Conversation
from .hold import find_fault, find_heard
from .puppet import Call
from .reader import Content, Wrong
from .records import logged

__all__ = ["END_CHECKS", "STEP_CHECKS", "check_end", "check_step"]

KEEPALIVE = b"\x03\xf3keepalive ping timeout"
ABNORMAL = 1006

# What becomes of a call once our CLOSE has left, or the disconnect was taken, whatever its event holds.
BEHIND_THE_END = {
    "websocket.accept": "ClientDisconnected",
    "websocket.close": "returned",
    "websocket.http.response.start": "ClientDisconnected",
    "websocket.http.response.body": "ClientDisconnected",
    "websocket.send": "ClientDisconnected",
}


# ------------------------------------------------------------------------ after each step


def check_received(talk: Conversation) -> None:
    """The application takes connect, then the peer's messages in order, each once, then one disconnect."""
    puppet = talk.puppet
    for number in range(talk.checked_events, len(puppet.received)):
        event = puppet.received[number]
        kind = event["type"]
        if talk.scenario.is_page:
            continue
        if (number == 0) != (kind == "websocket.connect"):
            raise Wrong(f"event {number} is {kind}")
        if number and puppet.received[number - 1]["type"] == "websocket.disconnect":
            raise Wrong(f"{kind} behind websocket.disconnect")
        if kind == "websocket.receive":
            check_message(talk, number - 1, event)
    talk.checked_events = len(puppet.received)


def check_message(talk: Conversation, number: int, event: Dict[str, Any]) -> None:
    content = event.get("text", event.get("bytes"))
    if set(event) != {"type", "text" if isinstance(content, str) else "bytes"}:
        raise Wrong(f"keys of {event!r:.200}")
    messages = [item for item in talk.peer.sent if item.kind == "message" and item.order]
    expected = messages[number].content if number < len(messages) else None
    if content != expected or type(content) is not type(expected):
        raise Wrong(f"message {number} received: {content!r:.80}, sent: {expected!r:.80}")


def check_sent(talk: Conversation) -> None:
    """The peer reads the messages sent to it in order, byte-exact, and misses none whose send returned."""
    unread = find_unread(talk)
    if talk.peer.stream.close is not None and any(call.outcome == "returned" for call in unread):
        raise Wrong(f"CLOSE read, and of {len(unread)} messages some are missing whose send had returned")


def find_unread(talk: Conversation) -> List[Call]:
    """The calls whose messages the peer has not read; raises `Wrong` where it read others."""
    written = [call for call in talk.puppet.calls if call.content is not None]
    messages = talk.peer.stream.messages
    at = 0
    for number, message in enumerate(messages):
        while at < len(written) and not matches(written[at], message):
            if written[at].outcome == "returned":
                raise Wrong(f"message {number} read: {message!r:.80}, sent: {written[at].content!r:.80}")
            at += 1
        if at == len(written):
            raise Wrong(f"message {number} read, which nobody sent: {message!r:.80}")
        at += 1
    return written[at:]


def matches(call: Call, message: Content) -> bool:
    content = call.content
    was_written = call.was_written or call.outcome == "ClientDisconnected"
    return was_written and type(content) is type(message) and content == message


def check_pongs(talk: Conversation) -> None:
    """Every PONG answers a PING, in order, none twice."""
    pings = iter([item.content for item in talk.peer.sent if item.kind == "ping" and item.order])
    for payload in talk.peer.stream.pongs:
        # `in` goes on behind the PING that it found last.
        if payload not in pings:
            raise Wrong(f"PONG {payload!r} answers no PING, or one out of order")


def check_close(talk: Conversation) -> None:
    """The CLOSE has the code that its first cause gives it."""
    payload = talk.peer.stream.close
    if payload is None:
        return
    if payload == KEEPALIVE and may_have_timed_out(talk):
        return
    causes = find_causes(talk)
    strict = causes[:1] if causes and not causes[0].is_vague else causes
    if not any(
        payload == cause.payload or (cause.payload is None and payload[:2] == cause.code.to_bytes(2, "big"))
        for cause in strict
    ):
        raise Wrong(f"CLOSE {payload!r}, causes: {causes}")


def check_close_time(talk: Conversation) -> None:
    """Our CLOSE leaves neither before what is owed could be answered nor later than the rules say."""
    fault = find_fault(talk)
    if fault:
        raise Wrong(fault)
    if talk.scenario.floor != "server" or talk.scenario.is_page or not talk.accept_order:
        return
    puppet, now = talk.puppet, talk.loop.time()
    asked = [puppet.ended_at_order, 0 if talk.was_cut else talk.stopped_at_order]
    is_late = any(order and puppet.time_of(order) < now for order in asked)
    if is_late and not talk.close_order and not talk.wire.is_closing():
        raise Wrong("the application has ended, or the server stops, and no CLOSE has left")
    end, heard = find_heard(talk)
    is_sent = heard and talk.close_order and not talk.wire.buffer and not talk.wire.is_closing()
    if is_sent and end and end.kind == "close" and now >= find_last_byte(talk) + 1.0:
        raise Wrong("both sides have closed, all is sent, and the connection is still there")


def check_calls(talk: Conversation) -> None:
    """What an event holds does not matter where it does nothing, and behind the end nothing does."""
    over = min([order for order in (talk.close_order, talk.puppet.told_at_order) if order], default=0)
    denied = is_complete = False
    for call in talk.puppet.calls:
        kind = str(call.event and call.event.get("type"))
        expected = ""
        if talk.scenario.is_page:
            # Behind a whole response anything is a mistake of the application's.
            expected = "returned" if call.was_lost and not is_complete else ""
            is_complete = is_complete or (is_last_part(call) and call.was_written and not call.was_lost)
        elif over and call.order > over:
            expected = BEHIND_THE_END.get(kind, "EventError")
        elif kind == "websocket.close" and not (denied or 0 < talk.accept_order < call.order):
            expected = "returned"
        denied = denied or (kind == "websocket.http.response.start" and call.was_written)
        if call.event is not None and expected and call.outcome not in (expected, "pending", "cancelled"):
            raise Wrong(f"{call.event!r:.100}: {call.outcome}, expected {expected}")
    accepts = [call for call in talk.puppet.calls if call.order == talk.accept_order > 0]
    if accepts and talk.peer.stream.is_open:
        chosen = (accepts[0].event or {}).get("subprotocol")
        offered = chosen if chosen in talk.offered_subprotocols else None
        if talk.peer.stream.headers.get("sec-websocket-protocol") != offered:
            raise Wrong(f"subprotocol {chosen!r} accepted: {talk.peer.stream.headers}")


def check_bounds(talk: Conversation) -> None:
    """No read while the queue was full before the last one; no writes into the void that asyncio logs."""
    config, wire = talk.config, talk.wire
    if wire.warnings:
        raise Wrong("asyncio would have warned: many writes to a connection that is lost")
    if (
        talk.scenario.floor != "server"
        or talk.scenario.is_page
        or not talk.accept_order
        or talk.stopped_at_order
    ):
        return
    if find_causes(talk):
        return
    taken = sum(event["type"] == "websocket.receive" for event in talk.puppet.received)
    if talk.delivered_messages[0] - taken >= config.ws_max_queue and wire.can_deliver:
        raise Wrong(f"{talk.delivered_messages[0] - taken} messages wait, and more are read")


def check_quiet(talk: Conversation) -> None:
    """Nothing is reported to the loop, nothing logged that should not be, no promise of `send` broken."""
    troubles = [*talk.loop.complaints, *talk.puppet.troubles]
    raised = 0
    for name, level, text in logged.lines:
        if name == "asyncio":
            troubles.append(f"asyncio logged: {text}")
        elif level == "ERROR" and text == "application raised":
            raised += 1
        elif level not in ("DEBUG", "INFO") and not may_warn(talk, text):
            troubles.append(f"{level}: {text}")
    if raised and not has_failed(talk):
        troubles.append(f"logged as an error: the application ended with {talk.puppet.ended!r}")
    if talk.puppet.was_cancelled_by_server and not may_cancel(talk):
        troubles.append("the server has cancelled the application")
    if troubles:
        raise Wrong("; ".join(troubles))


def may_warn(talk: Conversation, text: str) -> bool:
    if "did not return within timeout_app" in text:
        return talk.config.timeout_app is not None and talk.elapsed >= talk.config.timeout_app
    if "accepted without subprotocol" in text:
        return any((call.event or {}).get("type") == "websocket.accept" for call in talk.puppet.calls)
    if "returned before its response was complete" in text:
        return talk.scenario.is_page and talk.puppet.ended == "returned" and talk.has_open_response
    if "did not close in time" in text:
        return talk.loop.time() >= talk.cut_at
    return "ignore their cancellation" in text and bool(talk.stopped_at_order)


def has_failed(talk: Conversation) -> bool:
    """Whether the application has ended with an error, such as a cancellation nobody asked for."""
    ended = talk.puppet.ended
    if ended == "cancelled":
        return not talk.puppet.was_cancelled_by_server
    return isinstance(ended, BaseException) and not is_expected(ended)


def is_expected(error: BaseException) -> bool:
    return isinstance(error, ClientDisconnected) and str(error) != "of another connection"


# ---------------------------------------------------------------- when a connection is over


def check_disconnect(talk: Conversation) -> None:
    """The disconnect tells what ended the connection, and behind the peer's own end nothing is missing."""
    told = talk.puppet.received[-1] if talk.puppet.received else {}
    if told.get("type") != "websocket.disconnect":
        return
    causes = find_causes(talk)
    peers = [cause for cause in causes if cause.kind == "peer"]
    expected = {(cause.code, reason_of(cause)) for cause in peers} | {(ABNORMAL, "")}
    if peers and causes[0] is peers[0] and not peers[0].is_vague and not may_have_timed_out(talk):
        expected = {(peers[0].code, reason_of(peers[0]))}
    code, reason = told["code"], told["reason"]
    if (code, reason) not in expected and (code, None) not in expected:
        raise Wrong(f"disconnect {code} {reason!r}, expected {expected}")
    # What ended it while the peer's CLOSE may still have been held had messages before that CLOSE discarded.
    others = [cause for cause in causes if cause.kind != "peer" and cause.order < talk.puppet.told_at_order]
    was_first = not causes or (causes[0] in peers and not (causes[0].is_vague and others))
    # A server that stops reads on.
    was_first = was_first or talk.written.close == RESTART
    ended_well = code != ABNORMAL or is_whole_at_eof(talk)
    if was_first and ended_well:
        check_nothing_missing(talk)


def reason_of(cause: Cause) -> Optional[str]:
    return None if cause.payload is None else cause.payload[2:].decode()


def is_whole_at_eof(talk: Conversation) -> bool:
    """Whether the peer only ended its stream, behind an accept: whatever it had sent must have arrived."""
    is_eof = 0 < talk.accept_order < talk.eof_order
    disturbed = talk.was_disturbed or talk.was_cut or talk.wire.is_aborted or talk.wire.is_reset
    return is_eof and not disturbed and not may_have_timed_out(talk)


def check_nothing_missing(talk: Conversation) -> None:
    taken = sum(event["type"] == "websocket.receive" for event in talk.puppet.received)
    if taken != talk.count_delivered():
        raise Wrong(f"{talk.count_delivered()} messages came before the end, the application got {taken}")


def check_clean_end(talk: Conversation) -> None:
    """A peer that behaves gets a whole answer: a CLOSE, or a refusal, and then the end of the stream."""
    if not talk.floor.has_deadlines:
        return
    peer, wire = talk.peer, talk.wire
    disturbed = talk.was_disturbed or talk.was_cut
    if wire.aborted is not None and not disturbed and not may_abort(talk, wire.aborted):
        raise Wrong(f"the connection was aborted, and nobody asked for that: {wire.aborted}")
    if disturbed or wire.is_aborted or wire.is_reset:
        return
    if not peer.is_at_eof or peer.stream.has_part or peer.is_reset:
        raise Wrong(
            f"the peer's stream ended inside a frame, or was reset: {bytes(peer.stream._data[:40])!r}"
        )
    if peer.stream.is_open and peer.stream.close is None and owes_close(talk):
        raise Wrong("the connection ended without a CLOSE")
    # The end of the peer's stream closes a TLS transport at once, and what is written behind it is dropped.
    last = talk.eof_order if talk.scenario.is_tls and talk.eof_order else float("inf")
    if any(call.outcome == "returned" and call.order < last for call in find_unread(talk)):
        raise Wrong("the connection ended, and messages are missing whose send had returned")
    if peer.stream.close is not None:
        returned = sum(call.outcome == "returned" and call.content is not None for call in talk.puppet.calls)
        talk.tally["clean"][min(returned, 20)] += 1


def check_error_line(talk: Conversation) -> None:
    """An application that raises is logged once, with its error."""
    if not talk.floor.has_deadlines:
        return
    count = sum(line[1:] == ("ERROR", "application raised") for line in logged.lines)
    ended = talk.puppet.ended
    if isinstance(ended, ClientDisconnected) and not is_expected(ended):
        # Quiet only where this connection was over too.
        return
    if count != int(has_failed(talk)):
        raise Wrong(f"the application ended with {ended!r}, which was logged {count} times")


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
END_CHECKS: Tuple[Check, ...] = (check_disconnect, check_clean_end, check_error_line)


def check_step(talk: Conversation) -> None:
    for check in STEP_CHECKS:
        check(talk)
        talk.tally["checks"][check.__name__] += 1


def check_end(talk: Conversation) -> None:
    check_step(talk)
    for check in END_CHECKS:
        check(talk)
        talk.tally["checks"][check.__name__] += 1
    talk.tally["closes"][describe_close(talk)] += 1
    for call in talk.puppet.calls:
        kind = "receive" if call.event is None else str(call.event.get("type"))
        talk.tally["calls"][kind, call.outcome] += 1
    talk.close()
    talk.tally["checks"]["baseline"] += 1


def describe_close(talk: Conversation) -> str:
    stream = talk.peer.stream
    if stream.close is not None:
        return f"CLOSE {int.from_bytes(stream.close[:2], 'big') if stream.close else 'without code'}"
    if stream.is_open:
        return "lost after the accept"
    return f"HTTP {stream.status}" if stream.status is not None else "lost without an answer"
