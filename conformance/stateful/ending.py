"""How a connection is brought to its end, whatever has happened to it before."""

from __future__ import annotations

from .conversation import Conversation
from .puppet import AppError, Call
from .reader import Wrong

__all__ = ["APP_ENDS", "ENDINGS", "finish"]

ENDINGS = (
    "peer closes",
    "peer ends its stream",
    "peer resets",
    "peer vanishes",
    "app closes",
    "app returns",
    "app raises",
    "server stops",
    "server cuts",
)
APP_ENDS = ("receives", "returns", "hangs", "ignores its cancellation")


def finish(talk: Conversation, ending: str, app_end: str) -> None:
    """Bring everything to its end; raises `Wrong` where something does not end."""
    puppet = talk.puppet
    talk.loop.settle()
    begin_end(talk, ending)
    if app_end == "ignores its cancellation":
        puppet.stubbornness = 1
    # The application takes one event in each round.
    for _ in range(80 + len(talk.peer.sent)):
        talk.loop.settle()
        talk.settle()
        if talk.is_over:
            receive_the_rest(talk)
            return
        let_app_end(talk, app_end)
        talk.loop.settle()
        talk.pass_time(0.5)
    raise Wrong(
        f"not at its end: lost {talk.wire.is_lost}, application runs {puppet.is_running}, "
        f"waits {puppet.pending()}; {talk.floor.find_left()}"
    )


def begin_end(talk: Conversation, ending: str) -> None:
    peer, line, puppet = talk.peer, talk.line, talk.puppet
    if ending == "peer resets":
        line.reset()
    elif ending == "peer vanishes":
        line.vanish()
    else:
        make_prompt(talk)
    if ending == "peer closes" and not peer.has_closed:
        peer.close_with(b"\x03\xe8bye")
    elif ending == "peer ends its stream":
        line.half_close()
    elif ending == "app closes":
        puppet.do(Call({"type": "websocket.close", "code": 3001, "reason": "enough"}), in_main=True)
    elif ending in ("app returns", "app raises"):
        # It may have waited for the peer to read.
        talk.loop.settle()
        puppet.end(AppError("as told") if ending == "app raises" else None)
    elif ending == "server stops":
        talk.stop_server()
    elif ending == "server cuts":
        talk.cut()
    talk.loop.settle()
    if may_last_for_ever(talk, ending):
        talk.cut()


def make_prompt(talk: Conversation) -> None:
    """From now on the peer behaves: it reads, answers, and closes when the server has."""
    peer = talk.peer
    peer.is_prompt = True
    talk.line.read_on()
    if peer.stream.close is not None and not peer.has_closed:
        peer.close_with(peer.stream.close)
    if peer.is_at_eof:
        talk.line.half_close()


def may_last_for_ever(talk: Conversation, ending: str) -> bool:
    """What no deadline ends: an application at work before a peer that is there, or that nobody asks."""
    line = talk.line
    if talk.puppet.is_idle or not talk.puppet.is_running:
        has_pings = talk.config.ws_ping_interval is not None and talk.floor.has_deadlines
        return (line.is_dead or line.is_reset) and not has_pings
    return (
        ending.startswith("app")
        or line.is_dead
        or talk.scenario.is_page
        or any(call.is_part for call in talk.puppet.calls)
    )


def let_app_end(talk: Conversation, app_end: str) -> None:
    puppet = talk.puppet
    if not puppet.is_idle:
        return
    has_begun_response = any(call.is_part for call in puppet.calls)
    if has_begun_response or (talk.scenario.is_page and not talk.wire.is_lost):
        # Nothing limits how long an application takes for a page, or a response that it has begun.
        app_end = "returns"
    elif puppet.waiting:
        return
    if app_end != "returns" and not puppet.was_told:
        puppet.do(Call(), in_main=True)
    elif app_end in ("receives", "returns") or (talk.config.timeout_app is None and talk.wire.is_lost):
        puppet.end()


def receive_the_rest(talk: Conversation) -> None:
    """What a task of the application still finds when all is over: it must not wait for ever."""
    for _ in range(len(talk.peer.sent) + 3):
        if talk.puppet.was_told or talk.puppet.scope is None:
            return
        call = Call()
        talk.puppet.do(call)
        talk.loop.settle()
        if not call.is_over:
            raise Wrong("receive waits for ever behind the end of the connection")
        if call.outcome != "returned":
            raise Wrong(f"receive raised {call.outcome} before websocket.disconnect was taken")
    raise Wrong("no websocket.disconnect behind everything that was received")
