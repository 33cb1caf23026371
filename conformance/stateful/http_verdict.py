"""What must hold on a keep-alive connection: after every step, and when it is over."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Callable, List, Tuple

from .http_client import Response
from .http_talk import Handler, HttpTalk
from .notes import logged, run_checks, tally
from .reader import Wrong

# What a server holds of a body, or behind it, before it pauses; and what it may find in its last read.
# TLS hands over all that it has decrypted, paused or not.
HELD_LIMIT, READ_SIZE, TLS_SIZE = 64 * 1024, 120 * 1024, 256 * 1024
# The answers of the server's own that say what was wrong with a request.
REFUSALS = (400, 413, 431, 503, 408)


def check_troubles(talk: HttpTalk) -> None:
    """Responses are whole, in order, one at a time, and nothing is written behind one that closes."""
    talk.read_writes()
    if talk.troubles:
        raise Wrong("; ".join(talk.troubles))


def check_responses(talk: HttpTalk) -> None:
    """Each response answers its request, once, with what its application has sent."""
    for number, response in enumerate(talk.client.responses):
        handler = talk.handlers[number] if number < len(talk.handlers) else None
        if response.serial is None:
            check_own_answer(talk, number)
        elif handler is None or response.serial != handler.serial:
            raise Wrong(f"response {number} is that of request {response.serial}")
        elif handler.sent_request.method != "HEAD":
            check_content(response, handler)


def check_content(response: Response, handler: Handler) -> None:
    if response.content != handler.content[: len(response.content)]:
        raise Wrong(f"response {response.content[:60]!r}, sent: {handler.content[:60]!r}")
    # All bytes of a length that was declared may come before the last, empty part.
    is_sent = handler.has_finished or handler.has_declared
    if response.is_complete and not (is_sent and response.content == handler.content):
        raise Wrong(f"response {handler.serial} is complete, and its application has not sent all of it")


def check_dropping(talk: HttpTalk) -> None:
    """The connection goes on only if little of a body was left when its response was complete."""
    for request, response in list(zip(talk.client.sent, talk.client.responses))[:-1]:
        if request.end - response.delivered_at_end > HELD_LIMIT:
            raise Wrong(f"request {request.serial + 1} was answered behind a body of which much was left")


def check_own_answer(talk: HttpTalk, number: int) -> None:
    response = talk.client.responses[number]
    handler = talk.handlers[number] if number < len(talk.handlers) else None
    if response.status == 101:
        return
    if not response.closes:
        raise Wrong(f"the server's own answer does not close: {response}")
    if response.status == 500:
        if handler is None or handler.ended is None:
            raise Wrong("500, and the application has not ended")
    elif response.status == 403:
        if handler is None or handler.sent_request.kind != "upgrade":
            raise Wrong("403 to what is no upgrade")
    elif response.status not in REFUSALS:
        raise Wrong(f"answer {response}")
    elif response.status == 400 and handler is not None and is_cut_short(talk, number):
        # RFC 9112 8: the request is incomplete.
        if handler.ended != "returned":
            raise Wrong("400 to a request that its client cut short, and the application has not returned")
    elif response.status in (400, 413, 431) and talk.client.sent[number].kind not in ("bad head", "bad body"):
        raise Wrong(f"{response.status} to a request that is right: {talk.client.sent[number]!r:.200}")


def is_cut_short(talk: HttpTalk, number: int) -> bool:
    """Whether the client's stream has ended within this request, which is not wrong."""
    request, response = talk.client.sent[number], talk.client.responses[number]
    return request.kind == "ok" and talk.line.inbound_eof and response.delivered < request.end


def check_continues(talk: HttpTalk) -> None:
    """At most one 100, to a request that expects it; without it and the body the connection must close."""
    for number, count in talk.client.continues.items():
        if count > 1 or number >= len(talk.client.sent) or not talk.client.sent[number].expects:
            raise Wrong(f"{count} times 100 before response {number}")
    for number, (request, response) in enumerate(zip(talk.client.sent, talk.client.responses)):
        # RFC 9110 10.1.1: the client may send the body, or the next request.
        is_unsure = request.expects and number not in talk.client.continues
        if is_unsure and response.delivered <= request.body_start and not response.closes:
            raise Wrong(f"request {number} was answered before its body came, and another may follow")


def check_bodies(talk: HttpTalk) -> None:
    """An application receives exactly the bytes of its request's body, in order, then disconnects only."""
    for handler in talk.handlers:
        if handler.sent_request.kind == "upgrade":
            continue
        body, expected = handler.body, handler.sent_request.body
        is_bad = handler.sent_request.kind == "bad body"
        if not is_bad and (body != expected[: len(body)] or (handler.has_whole_body and body != expected)):
            raise Wrong(f"body {body[:60]!r} ({len(body)}), sent {expected[:60]!r} ({len(expected)})")
        if is_bad and handler.has_whole_body:
            raise Wrong("a malformed body was received to its end")
        kinds = [event["type"] for event in handler.received]
        if kinds != sorted(kinds, reverse=True):
            raise Wrong("a part of the body behind the disconnect")
        ends = [event.get("more_body") for event in handler.received]
        if ends.count(False) > 1 or (False in ends and True in ends[ends.index(False) :]):
            raise Wrong(f"more behind the last part of the body: {ends}")


def check_bounds(talk: HttpTalk) -> None:
    """What an application does not take of a body, or is behind it, is not read without end."""
    handler = talk.current
    if handler is None or handler.sent_request.is_chunked or handler.sent_request.kind != "ok":
        return
    request, delivered = handler.sent_request, talk.line.delivered
    body = min(delivered, request.end) - request.body_start - len(handler.body)
    for held in (body, delivered - request.end):
        if not handler.has_finished and held > HELD_LIMIT + (TLS_SIZE if talk.scenario.is_tls else READ_SIZE):
            raise Wrong(f"{held} bytes were read, and nobody takes them")


def check_log(talk: HttpTalk) -> None:
    """Nothing is logged that did not happen; nothing reaches the loop."""
    troubles = list(talk.loop.complaints)
    raised = sum(handler.ended in ("RuntimeError", "SystemExit") for handler in talk.handlers)
    refused = 0
    for record in logged.buffer:
        text = record.getMessage()
        refused += " refused: " in text
        if record.name == "asyncio" or (
            record.levelname not in ("DEBUG", "INFO") and not may_be_logged(talk, text)
        ):
            troubles.append(f"{record.name} logged {record.levelname}: {text}")
    count = sum(record.getMessage() == "application raised" for record in logged.buffer)
    if count > raised:
        troubles.append(f"{raised} applications have raised, {count} were logged")
    bad = sum(request.kind.startswith("bad") for request in talk.client.sent)
    if refused > bad and not talk.is_disturbed:
        troubles.append(f"{refused} requests refused in the log, {bad} were wrong")
    if refused > 1:
        troubles.append(f"{refused} refusals on one connection")
    if troubles:
        raise Wrong("; ".join(troubles))


def may_be_logged(talk: HttpTalk, text: str) -> bool:
    if text == "application raised":
        return any(handler.ended in ("RuntimeError", "SystemExit") for handler in talk.handlers)
    if "returned before" in text:
        return any(handler.ended == "returned" and not handler.has_finished for handler in talk.handlers)
    if "did not return within timeout_app" in text:
        return True
    return ("did not close in time" in text or "ignore their cancellation" in text) and talk.has_stopped


# ---------------------------------------------------------------- when a connection is over


def check_answers(talk: HttpTalk) -> None:
    """Where nothing was disturbed, every request before the first that closes has its whole answer."""
    if talk.is_disturbed:
        return
    responses, sent = talk.client.responses, talk.client.sent
    for number, request in enumerate(sent):
        if number >= len(responses):
            raise Wrong(f"request {number} of {len(sent)} has no answer: {request!r:.200}")
        response = responses[number]
        if not response.is_complete:
            if request.kind == "bad body":
                return
            raise Wrong(f"response {number} is not complete")
        if request.kind == "bad head" and response.status not in (400, 413, 431):
            raise Wrong(f"{response.status} to a malformed head")
        if response.closes or response.status == 101:
            check_close(talk, number)
            return


def is_much_left(talk: HttpTalk, number: int) -> bool:
    """Whether more of a body was left than is read and dropped."""
    request, handler = talk.client.sent[number], talk.handlers[number]
    return not handler.has_whole_body and request.end - request.body_start - len(handler.body) > HELD_LIMIT


def check_close(talk: HttpTalk, number: int) -> None:
    """A connection that closes behind this response has a reason to."""
    request, handler = talk.client.sent[number], None
    if number < len(talk.handlers):
        handler = talk.handlers[number]
    if request.kind != "ok" or request.closes or number + 1 >= talk.config.limit_keep_alive_requests:
        return
    # Chunks that had not come when the response began may all have come since.
    is_whole = handler is not None and handler.has_whole_body and not request.is_chunked
    if handler is None or is_whole or not request.body:
        raise Wrong(f"the connection closes behind request {number}, and has no reason to")
    # What is left of a body may be too much to drop, or may never be sent.
    if not request.expects and not request.is_chunked and not is_much_left(talk, number):
        raise Wrong(f"the connection closes behind request {number}, of which little was left")


def check_delivery(talk: HttpTalk) -> None:
    """A client that stays reads all that was written, and the end; the connection is aborted for a reason."""
    if talk.is_disturbed:
        return
    client = talk.client
    is_cut = any(request.kind == "bad body" for request in client.sent)
    if talk.wire.aborted is not None and not is_cut:
        raise Wrong(f"aborted: {talk.wire.aborted}")
    if talk.wire.aborted is None and (client.received != client.written or not client.is_at_eof):
        raise Wrong(f"{client.written} bytes written, {client.received} read; end: {client.is_at_eof}")


def check_handlers(talk: HttpTalk) -> None:
    """Every application that waits in `receive` is told, at once."""
    for handler in talk.handlers:
        if handler.ended is None:
            raise Wrong(f"the application of request {handler.serial} still waits")


def check_nothing_left(talk: HttpTalk) -> None:
    """No task, no timer, no member of the service is left."""
    talk.loop.advance(1.1, lambda: None)
    sleep = talk.loop.settle()
    if sleep is not None:
        raise Wrong(f"a timer is left, in {sleep:.2f} s")
    tasks = asyncio.all_tasks(talk.loop)
    if tasks:
        raise Wrong(f"tasks are left: {tasks}")
    left = talk.floor.find_left()
    if left:
        raise Wrong(left)
    service = weakref.ref(talk.floor.service)
    talk.discard()
    if service() is not None:
        gc.collect()
    if service() is not None:
        raise Wrong("the service is left")


Check = Callable[[HttpTalk], None]
HTTP_STEP_CHECKS: Tuple[Check, ...] = (
    check_troubles,
    check_responses,
    check_dropping,
    check_continues,
    check_bodies,
    check_bounds,
    check_log,
)
# The last one takes the connection apart.
HTTP_END_CHECKS: Tuple[Check, ...] = (check_answers, check_delivery, check_handlers, check_nothing_left)
HTTP_CHECKS = (*HTTP_STEP_CHECKS, *HTTP_END_CHECKS)


def check_http_step(talk: HttpTalk) -> None:
    run_checks(talk, HTTP_STEP_CHECKS)


def check_http_end(talk: HttpTalk) -> None:
    run_checks(talk, HTTP_STEP_CHECKS)
    statuses = [str(response.status) for response in talk.client.responses]
    tally["connections", "HTTP " + (statuses[-1] if statuses else "without an answer")] += 1
    run_checks(talk, HTTP_END_CHECKS)


def find_running(talk: HttpTalk) -> List[Handler]:
    return [handler for handler in talk.handlers if handler.ended is None]
