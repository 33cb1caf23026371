"""How a connection is brought to its end, whatever has happened to it before."""

from __future__ import annotations

from .conversation import Conversation
from .loop import NEVER
from .puppet import Call
from .reader import Wrong

APP_ENDS = ("receives", "returns", "hangs", "ignores its cancellation")


def finish(talk: Conversation, app_end: str) -> None:
    """Bring everything to its end; raises `Wrong` where something does not end."""
    puppet, wire = talk.puppet, talk.wire
    talk.loop.settle()
    make_peer_close(talk)
    talk.loop.settle()
    if may_last_for_ever(talk):
        talk.abort()
    if app_end == "ignores its cancellation":
        puppet.stubbornness = 1
    # The application takes one event in each round.
    for _ in range(80 + len(talk.peer.sent)):
        talk.loop.settle()
        talk.settle()
        if wire.is_lost and not (puppet.is_running or puppet.pending() or talk.floor.find_left()):
            receive_the_rest(talk)
            return
        let_app_end(talk, app_end)
        talk.loop.settle()
        talk.pass_time(0.5)
    raise Wrong(
        f"not at its end: lost {wire.is_lost}, application runs {puppet.is_running}, "
        f"waits {puppet.pending()}; {talk.floor.find_left()}"
    )


def make_peer_close(talk: Conversation) -> None:
    """From now on a peer that is there reads and answers, and closes if it has not."""
    peer = talk.peer
    peer.is_prompt = True
    talk.line.read_on()
    talk.loop.settle()
    if not talk.wire.get_write_buffer_size() and talk.puppet.stuck_sends():
        raise Wrong("send waits, and the peer has taken all")
    if not peer.has_closed:
        peer.close_with(b"\x03\xe8bye" if peer.stream.close is None else peer.stream.close)
    if peer.is_at_eof:
        talk.line.half_close()


def may_last_for_ever(talk: Conversation) -> bool:
    """What no deadline ends: an application at work on a response, or a peer that is gone and nobody asks."""
    is_gone = talk.line.is_dead or talk.line.is_reset
    if talk.puppet.is_idle or not talk.puppet.is_running:
        return is_gone and (talk.config.ws_ping_interval is None or not talk.floor.has_deadlines)
    return talk.line.is_dead or talk.is_page or has_begun_response(talk)


def has_begun_response(talk: Conversation) -> bool:
    """Whether the application has sent a part of a page, or of a denial."""
    return any(call.is_part for call in talk.puppet.calls)


def let_app_end(talk: Conversation, app_end: str) -> None:
    puppet = talk.puppet
    if not puppet.is_idle:
        return
    if has_begun_response(talk) or (talk.is_page and not talk.wire.is_lost):
        # Nothing limits how long an application takes for a page, or a response that it has begun.
        app_end = "returns"
    elif puppet.waiting:
        return
    if app_end != "returns" and puppet.told_at is NEVER:
        puppet.do(Call(), in_main=True)
    elif app_end in ("receives", "returns") or (talk.config.timeout_app is None and talk.wire.is_lost):
        puppet.end()


def receive_the_rest(talk: Conversation) -> None:
    """What a task of the application still finds when all is over: it must not wait for ever."""
    for _ in range(len(talk.peer.sent) + 3):
        if talk.puppet.told_at is not NEVER or talk.puppet.scope is None:
            return
        call = Call()
        talk.puppet.do(call)
        talk.loop.settle()
        if call.outcome != "returned":
            raise Wrong(f"receive, behind the end and before its disconnect: {call.outcome}")
    raise Wrong("no websocket.disconnect behind everything that was received")
