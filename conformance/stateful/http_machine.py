"""The state machine of keep-alive connections: requests, their applications, and what disturbs them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, List, Optional

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from .http_client import BAD_CHUNKS, BAD_HEADS
from .http_talk import HTTP_SCENARIOS, REQUESTS, Handler, HttpTalk
from .http_verdict import check_http_end, check_http_step, find_running
from .notes import tally
from .reader import Wrong
from .steps import BOOLS, PART, ConnectionMachine, build_step

RARELY = st.sampled_from([False] * 4 + [True])
# A connection is not brought to its end before so many steps, unless it is lost.
LEAST_STEPS = 8
PART_SIZES = st.sampled_from([0, 1, 20, 300, 70_000])


def is_connected(talk: HttpTalk) -> bool:
    return not talk.wire.is_lost


def count_step(talk: HttpTalk) -> None:
    talk.steps += 1


step = build_step(is_connected, count_step, check_http_step)


def can_send(talk: HttpTalk) -> bool:
    return talk.client.can_send


def is_answering(talk: HttpTalk) -> bool:
    return talk.current is not None


def is_http(talk: HttpTalk) -> bool:
    return talk.current is not None and talk.current.scope["type"] == "http"


class HttpMachine(ConnectionMachine):
    @precondition(lambda self: self.talk is None)
    @rule(scenario=HTTP_SCENARIOS)
    def connect(self, scenario: SimpleNamespace) -> None:
        tally["steps", "connect"] += 1
        self.talk = HttpTalk(scenario)

    @precondition(lambda self: self.talk and (self.talk.steps >= LEAST_STEPS or self.talk.wire.is_lost))
    @rule(reads=BOOLS)
    def finish(self, reads: bool) -> None:
        tally["steps", "finish"] += 1
        with self.dropping_what_fails() as talk:
            finish(talk, reads)
            check_http_end(talk)
        self.talk = None

    def teardown(self) -> None:
        if self.talk is not None:
            self.finish(True)

    # ---------------------------------------------------------------------- the client

    @step(can_send, part=PART, request=REQUESTS)
    def client_sends_a_request(self, talk: HttpTalk, request: Any) -> None:
        talk.client.send_request(**request)
        if request["expects"]:
            # Such a client waits for a 100.
            self._deliver_head(talk)

    @step(can_send, part=PART, requests=st.lists(REQUESTS, min_size=2, max_size=4), closes=RARELY)
    def client_sends_requests(self, talk: HttpTalk, requests: List[Any], closes: bool) -> None:
        """Several at once, of which the last may ask for the end of the connection."""
        for request in requests[:-1]:
            talk.client.send_request(**request)
        talk.client.send_request(**requests[-1], closes=closes)

    @step(can_send, part=PART, name=st.sampled_from([*BAD_CHUNKS, *BAD_HEADS]))
    def client_breaks_a_rule(self, talk: HttpTalk, name: str) -> None:
        if name in BAD_CHUNKS:
            talk.client.send_bad_chunks(name)
            self._deliver_head(talk)
        else:
            talk.client.send_bad_head(name)

    def _deliver_head(self, talk: HttpTalk) -> None:
        """All until behind the head of the last request, if the server reads so much."""
        missing = max(0, talk.client.sent[-1].body_start - talk.line.delivered)
        talk.deliver(min(missing, talk.wire.max_size))
        talk.loop.settle()

    @step(can_send, part=PART)
    def client_opens_a_websocket(self, talk: HttpTalk) -> None:
        talk.client.send_upgrade()

    @step(part=PART, how=st.sampled_from(["half_close", "half_close", "close_peer", "reset", "vanish"]))
    def client_leaves(self, talk: HttpTalk, how: str) -> None:
        talk.is_disturbed = True
        getattr(talk.line, how)()

    @step(size=st.sampled_from([0, None, None, 1, 100, 1000, 70_000]))
    def client_reads(self, talk: HttpTalk, size: Optional[int]) -> None:
        """So many bytes of what waits; 0: no more for now, None: all, and from now on whatever comes."""
        if size is None:
            talk.line.read_on()
        elif size:
            talk.line.take(size)
        else:
            talk.line.is_peer_reading = False

    @step(lambda talk: talk.wire.can_deliver, part=PART)
    def bytes_arrive(self, talk: HttpTalk) -> None:
        """As many as ``part`` says."""

    # ----------------------------------------------------------------- the application

    @step(is_answering, count=st.sampled_from([1, 1, 2, 5]))
    def app_receives(self, talk: HttpTalk, count: int) -> None:
        self._order(talk, *["receive"] * count)

    @step(is_http, closes=RARELY, length=st.sampled_from([None, None, None, 20]))
    def app_starts(self, talk: HttpTalk, closes: bool, length: Optional[int]) -> None:
        handler = talk.current
        assert handler is not None
        talk.is_disturbed = talk.is_disturbed or closes
        self._order(talk, build_start(handler, closes=closes, length=length))

    @step(is_http, size=PART_SIZES, more=BOOLS)
    def app_continues(self, talk: HttpTalk, size: int, more: bool) -> None:
        self._order(talk, build_part(talk.current, size, more))

    @step(is_http, size=PART_SIZES, reads=BOOLS)
    def app_answers(self, talk: HttpTalk, size: int, reads: bool) -> None:
        """With a whole response, perhaps behind a part of the body; its application goes on or not."""
        handler = talk.current
        parts = [build_start(handler), build_part(handler, size, False)]
        self._order(talk, *["receive"] * reads, *parts)

    @step(is_http, count=st.sampled_from([2, 5, 80]), size=st.sampled_from([1, 20, 9000]))
    def app_streams(self, talk: HttpTalk, count: int, size: int) -> None:
        handler = talk.current
        parts = [build_part(handler, size, number < count - 1) for number in range(count)]
        self._order(talk, build_start(handler), *parts)

    @step(is_answering, accepts=BOOLS)
    def app_answers_the_handshake(self, talk: HttpTalk, accepts: bool) -> None:
        if not is_http(talk):
            kind = "websocket.accept" if accepts else "websocket.close"
            self._order(talk, "receive", {"type": kind})

    @step(is_answering)
    def app_returns(self, talk: HttpTalk) -> None:
        self._end(talk, "return")

    @step(is_answering, kind=st.sampled_from([RuntimeError, SystemExit]))
    def app_raises(self, talk: HttpTalk, kind: Any) -> None:
        self._end(talk, kind("of the application's"))

    @step(lambda talk: len(find_running(talk)) > 1, number=st.integers(0, 5))
    def an_earlier_app_returns(self, talk: HttpTalk, number: int) -> None:
        """One whose response is complete, while the next request is answered."""
        earlier = find_running(talk)[:-1]
        talk.order(earlier[number % len(earlier)], "return")

    def _order(self, talk: HttpTalk, *orders: Any) -> None:
        if talk.current is not None:
            talk.order(talk.current, *orders)

    def _end(self, talk: HttpTalk, how: Any) -> None:
        handler = talk.current
        if handler is not None:
            # Before its response is complete, it is the server that answers, or the connection is aborted.
            is_whole = handler.has_finished and handler.is_idle
            talk.is_disturbed = talk.is_disturbed or not is_whole
            talk.order(handler, how)

    # ------------------------------------------------------------- the server, the clock

    @step(timeout=st.sampled_from([4.0, 0.3, None]))
    def server_stops(self, talk: HttpTalk, timeout: Optional[float]) -> None:
        """Within that time, or, None, at once."""
        talk.is_disturbed = talk.has_stopped = True
        if timeout is None:
            talk.floor.abort()
        else:
            talk.floor.shut_down(timeout)

    @step(seconds=st.sampled_from([0.01, 0.01, 0.3, 0.6, 1.3, 2.3, 3.3]))
    def time_passes(self, talk: HttpTalk, seconds: float) -> None:
        talk.is_disturbed = talk.is_disturbed or seconds > 0.1
        talk.pass_time(seconds)


def build_start(handler: Any, *, closes: bool = False, length: Optional[int] = None) -> Any:
    headers: List[Any] = [(b"x-serial", b"%d" % handler.serial)]
    headers += [(b"connection", b"close")] * closes
    headers += [(b"content-length", b"%d" % length)] if length is not None else []
    return {"type": "http.response.start", "status": 200, "headers": headers}


def build_part(handler: Any, size: int, more: bool) -> Any:
    content = (b"<%d>" % handler.serial * size)[:size]
    return {"type": "http.response.body", "body": content, "more_body": more}


# ------------------------------------------------------------------------------------ the end


def finish(talk: HttpTalk, reads: bool) -> None:
    """Everything arrives, every application answers (having read the body or not), the client closes last."""
    talk.client.is_prompt = True
    talk.line.read_on()
    if talk.client.is_at_eof:
        talk.line.half_close()
    for _ in range(60):
        talk.settle()
        running = find_running(talk)
        if talk.wire.is_lost and any(handler.is_receiving for handler in running):
            raise Wrong("the connection is lost, and an application waits in receive")
        for handler in running:
            let_end(talk, handler, reads)
        if not running and not talk.wire.can_deliver:
            break
    else:
        raise Wrong(f"not at its end: {[vars(handler) for handler in find_running(talk)]}")
    # An event that broke a rule, such as a part that the declared length has no room for.
    talk.is_disturbed |= any(handler.has_erred and not handler.has_finished for handler in talk.handlers)
    check_http_step(talk)
    last = talk.client.sent[-1]
    is_over = talk.client.is_at_eof or talk.wire.is_lost or talk.line.is_disturbed or talk.scenario.is_tls
    if last.kind == "bad body" and talk.line.delivered >= last.end and not is_over:
        raise Wrong("a body was malformed, and the connection goes on")
    # From now on nobody sends anything: an idle connection is closed, without a byte.
    written = talk.client.written
    talk.pass_time(1.3)
    talk.settle()
    is_whole = all(request.end <= talk.line.delivered for request in talk.client.sent)
    if not talk.is_disturbed and is_whole and talk.client.written != written:
        raise Wrong("something was written to an idle client")
    for _ in range(30):
        talk.settle()
        if talk.wire.is_lost and not talk.floor.find_left():
            return
        talk.pass_time(0.5)
    if talk.line.is_dead or talk.line.is_peer_closed:
        talk.floor.abort()
        talk.settle()
        return
    raise Wrong(f"not closed: lost {talk.wire.is_lost}, {talk.floor.find_left()}")


def let_end(talk: HttpTalk, handler: Handler, reads: bool) -> None:
    if handler.is_waiting and not handler.has_finished:
        talk.line.half_close()
    if not handler.is_idle:
        # It waits in `receive` or `send`, for what only time can bring.
        talk.pass_time(0.5)
        return
    if handler.sent_request.kind == "upgrade":
        talk.order(handler, "receive", {"type": "websocket.accept"}, "receive", "return")
    elif reads and not (handler.has_whole_body or handler.was_told or handler.has_finished):
        talk.order(handler, "receive")
    elif handler.has_finished or handler.has_erred:
        talk.is_disturbed = talk.is_disturbed or not handler.has_finished
        talk.order(handler, "return")
    else:
        start = [] if handler.has_started else [build_start(handler)]
        talk.order(handler, *start, build_part(handler, 5, False), "return")
