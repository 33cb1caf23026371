"""What the client does with every application, and what must come of it on wsbridge."""

from __future__ import annotations

import asyncio
import functools
import signal
import time
from typing import Any, Awaitable, Callable, Dict, Optional, Sequence

from .apps import LONG_REASON
from .client import PATIENCE, Ended, Message, Peer
from .trial import Scenario, Trial

Run = Callable[..., Awaitable[None]]

SCENARIOS: Dict[str, Scenario] = {}

REQUEST = "/Z%C3%BCrich?q=a+b%26c"
REQUEST_HEADERS = [("X-Test", "value"), ("Cookie", "a=1; c=crumb")]
DESCRIBED = repr(["Zürich", "a b&c", "value", "crumb"])

TEXTS = ["a", "", "€ \U0001f600"]
BYTES = [b"\0\xff", b""]

OWN_WORDS = "the server's own words"
REFUSED = ["403", OWN_WORDS]
PURPOSE = "server ERROR RuntimeError: on purpose"


def closed(code: object, reason: str = "") -> str:
    return f"CLOSE {code} {reason!r} at once, EOF at once"


CLOSED = closed(4001, "bye")
STOPPED = "server ends with 0"
RUNS_ON = "server runs on"
TOLD = "application: ends at once"


def add(
    name: str,
    run: Run,
    right: Sequence[str],
    log: Optional[Sequence[str]] = (),
    of: str = "",
    is_http: bool = False,
    in_chromium: bool = False,
    **options: Any,
) -> None:
    """Add a scenario; see `Scenario`. options: further arguments of `run`."""
    wanted = None if log is None else tuple(log)
    run = functools.partial(run, **options)
    SCENARIOS[name] = Scenario(run, tuple(right), wanted, of, is_http, in_chromium)


class Plain:
    """How to get a behaviour going, and a sign of life; protocols on top of WebSocket do it otherwise."""

    prefix = ""
    of = ""
    opened = ("101",)
    tick = "tick"

    async def enter(self, trial: Trial, behaviour: str) -> Peer:
        return await trial.open(f"/ws/{behaviour}")

    async def trigger(self, peer: Peer, behaviour: str) -> None:
        """Have the behaviour begin, where it waits for something."""
        if not behaviour.endswith("push"):
            await peer.send(behaviour)

    async def ask(self, peer: Peer) -> str:
        """Have something answered that shows that this connection still works."""
        await peer.send("still here")
        return str(await peer.receive())


# ------------------------------------------------------------------------------------ HTTP


async def fetch_page(trial: Trial) -> None:
    peer = await trial.get("/page" + REQUEST, REQUEST_HEADERS)
    trial.say((await peer.read_body()).decode())
    trial.say(f"x-middleware {peer.head.find('x-middleware')}")
    trial.say("with a Date" if peer.head.find("date") else "without a Date")


async def leave_stream(trial: Trial) -> None:
    peer = await trial.get("/stream")
    trial.say("first line" if b"one\n" in await peer.read_line() else "no first line")
    peer.drop()
    await trial.wait_application("stream ends")


add("page", fetch_page, ["200", DESCRIBED, "x-middleware passed", "with a Date"])
add("stream left early", leave_stream, ["200", "first line", "application: stream ends at once"])


# ------------------------------------------------------------------------------------ messages


async def fetch_scope(trial: Trial) -> None:
    peer = await trial.open("/scope" + REQUEST, REQUEST_HEADERS)
    trial.say(f"x-room {peer.head.find('x-room')}")
    trial.say(str(await peer.receive()))
    trial.say(await peer.wait_end())


async def fetch_mounted_scope(trial: Trial) -> None:
    peer = await trial.open("/rooms/blue%20room")
    trial.say(str(await peer.receive()))
    trial.say(await peer.wait_end())


async def echo(trial: Trial, path: str, messages: Sequence[Message]) -> None:
    peer = await trial.open(path)
    for message in messages:
        await peer.send(message)
        trial.say(repr(await peer.receive()))
    await finish(trial, peer)


async def finish(trial: Trial, peer: Peer, told: str = "ends") -> None:
    await peer.close(4001, "bye")
    trial.say(await peer.wait_end())
    await trial.wait_application(told)


async def choose(trial: Trial, offer: str) -> None:
    peer = await trial.open("/ws/choose", [("Sec-WebSocket-Protocol", offer)])
    trial.say(str(await peer.receive()))
    await finish(trial, peer)


def add_echo(name: str, path: str, messages: Sequence[Message], **options: Any) -> None:
    add(name, echo, ["101", *map(repr, messages), CLOSED, TOLD], path=path, messages=messages, **options)


add("what it sees of the request", fetch_scope, ["101", "x-room kitchen", DESCRIBED, closed(1000)])
add_echo("text", "/ws/echo", TEXTS)
add_echo("iter_text", "/iterate/text", TEXTS, of="starlette")
add_echo("iter_bytes", "/iterate/bytes", BYTES, of="starlette")
add_echo("iter_json", "/iterate/json", ['{"a":[1,null,"ü"]}', "[]", "0"], of="starlette")
add_echo("endpoint", "/text-only", TEXTS, of="starlette")
add_echo("text, disconnect not caught", "/ws/careless-echo", TEXTS[:1], log=None)
add_echo("text, consumer in a thread", "/ws/echo-in-thread", TEXTS, of="channels")
add_echo("binary", "/ws/echo-bytes", BYTES)
MOUNTED = '["ws","/rooms/blue room","127.0.0.1","set at startup"]'
add("mount, state of the lifespan", fetch_mounted_scope, ["101", MOUNTED, closed(1000)], of="starlette")
CHOSEN = ["chosen", CLOSED, TOLD]
add("subprotocol", choose, ["101 chat", *CHOSEN], offer="other, chat")
add("subprotocol not offered", choose, ["101", *CHOSEN], ["server WARNING ..."], offer="other")


# ------------------------------------------------------------------------------------ feeds


async def push(trial: Trial, dialect: Plain, behaviour: str = "push", untaken: str = "") -> None:
    """The client of a feed closes in the middle of it; `untaken` is a message that nobody takes."""
    peer = await dialect.enter(trial, behaviour)
    await dialect.trigger(peer, behaviour)
    trial.say(str(await peer.receive()))
    if untaken:
        await peer.send(untaken)
    await asyncio.sleep(0.2)
    await finish(trial, peer)


async def lose_feed(trial: Trial, dialect: Plain) -> None:
    peer = await dialect.enter(trial, "push")
    await dialect.trigger(peer, "push")
    trial.say(str(await peer.receive()))
    peer.drop()
    await trial.wait_application("ends")


def add_feed(
    name: str, dialect: Plain, end: Sequence[str] = (CLOSED, TOLD), run: Any = push, **options: Any
) -> None:
    right = [*dialect.opened, dialect.tick, *end]
    add(dialect.prefix + name, run, right, of=dialect.of, dialect=dialect, **options)


def add_feeds(dialect: Plain) -> None:
    add_feed("feed closed by the client", dialect)
    add_feed("feed whose client is lost", dialect, [TOLD], lose_feed)


PLAIN = Plain()
add_feeds(PLAIN)
add_feed("feed, disconnect not caught", PLAIN, log=None, behaviour="careless-push")
add_feed("feed closed between subscription and tick", PLAIN, behaviour="push-after-subscribing")
add_feed("feed that does not take what its client sends", PLAIN, untaken="hello")


# ------------------------------------------------------------------------------------ refusals and ends


async def wait_for_end(trial: Trial, path: str, message: Optional[Message] = None) -> None:
    peer = await trial.open(path)
    if message is not None:
        await peer.send(message)
    trial.say(await peer.wait_end())


def add_end(name: str, path: str, right: Sequence[str], *log: str, **options: Any) -> None:
    add(name, wait_for_end, right, log, path=path, **options)


CUT_REASON = LONG_REASON[:41]
CANCELLED = "server ERROR CancelledError:"
NO_TEXT = "server ERROR RuntimeError: Expected text websocket messages, but got bytes"
UNKNOWN_PERSON = '\'{"detail":"who are you?"}\''

add_end("long reason", "/ws/close", ["101", closed(4000, CUT_REASON)])
add_end("raises", "/ws/fail", ["101", closed(1011)], PURPOSE)
add_end("raises before the accept", "/ws/fail-early", ["500", OWN_WORDS], PURPOSE)
add_end("awaits what another cancels", "/ws/wait-for-cancelled", ["101", closed(1011)], CANCELLED)
add_end("refuses with 1008", "/ws/refuse-1008", REFUSED)
add_end("refuses with 403", "/ws/refuse-403", REFUSED)
add_end("refuses with 4003 and a long reason", "/ws/refuse-4003", REFUSED)
add_end("unknown path", "/nowhere", REFUSED)
add_end("denial response", "/deny", ["402", "'pay first'"], of="starlette")
add_end("denial in parts", "/deny-in-parts", ["401", "'première porte à gauche'"], of="starlette")
add_end("HTTPException", "/http-exception", ["404", "'no such room'"], of="starlette")
add_end("encoding = 'text'", "/text-only", ["101", closed(1003)], NO_TEXT, of="starlette", message=b"\0")
add_end("missing and wrong parameters", "/needs-parameters?size=-1", REFUSED, of="fastapi litestar")
add_end("HTTPException in a dependency", "/http-exception", ["401", UNKNOWN_PERSON], of="fastapi")
add_end("WebSocketException in a dependency", "/websocket-exception", REFUSED, of="fastapi")
CUT = ["101", closed(1008, CUT_REASON)]
add_end("WebSocketException", "/websocket-exception-late", CUT, of="starlette fastapi")
add_end("abort(401)", "/abort", ["401", "'<!doctype html>..."], of="quart")
add_end("guard with a long reason", "/guarded", REFUSED, of="litestar")
add_end("HTTPForbidden", "/forbidden", REFUSED, of="falcon")
add_end("DenyConnection", "/ws/deny", REFUSED, of="channels")


# ------------------------------------------------------------------------------------ after the disconnect


async def close_again(trial: Trial, code: Optional[int], is_lost: bool = False) -> None:
    """The application answers the disconnect by a close of its own."""
    peer = await trial.open("/ws/close-again")
    if is_lost:
        peer.drop()
    else:
        await peer.close(code)
        trial.say(await peer.wait_end())
    await trial.wait_application("ends")


async def accept_late(trial: Trial) -> None:
    opening = asyncio.ensure_future(trial.open("/ws/accept-late"))
    await asyncio.sleep(0.1)
    opening.cancel()
    await asyncio.wait([opening])
    await trial.wait_application("ends")


async def clean_up(trial: Trial) -> None:
    peer = await trial.open("/ws/clean-up")
    await peer.close(4001, "bye")
    trial.say(await peer.wait_end())
    await asyncio.sleep(0.3)
    await trial.wait_application("cleaned up")


async def take_time(trial: Trial) -> None:
    """A page, a background task and a cleanup that need 11 s each."""
    peer = await trial.open("/ws/clean-up-long")
    await peer.close(4001, "bye")
    trial.say(await peer.wait_end())
    page = await trial.get("/slow", patience=15)
    trial.say(repr(await page.read_body()))
    await trial.wait_application("cleaned up")
    await asyncio.sleep(10.7)
    await trial.wait_application("background task ends")


CLEANED = "application: cleaned up at once"
WORKED = "application: background task ends at once"

add("closes again, 1001", close_again, ["101", closed(1001), TOLD], code=1001)
add("closes again, no code", close_again, ["101", closed("without a code"), TOLD], code=None)
add("closes again, lost", close_again, ["101", TOLD], code=None, is_lost=True)
add("accepts when the client has left", accept_late, [TOLD])
add("cleans up for 0.5 s", clean_up, ["101", CLOSED, CLEANED])
add("takes its time", take_time, ["101", CLOSED, "200", "b'page'", CLEANED, WORKED], of="starlette")


# ------------------------------------------------------------------------------------ the server's end


async def leave(trial: Trial, dialect: Plain, behaviour: str) -> None:
    """One handler wants to end the process; another connection must not notice."""
    other = await dialect.enter(trial, "echo")
    peer = await dialect.enter(trial, behaviour)
    await dialect.trigger(peer, behaviour)
    trial.say(await peer.wait_end())
    try:
        trial.say(f"another client: {await dialect.ask(other)}")
        await other.close(4001, "bye")
        trial.say(await other.wait_end())
        await (await dialect.enter(trial, "echo")).close(4001)
    except Ended as ended:
        trial.say(f"another client: {ended}")
        trial.was_ended = True
        await say_exit(trial)


async def stop(trial: Trial, dialect: Plain, behaviours: Sequence[str]) -> None:
    peers = []
    for behaviour in behaviours:
        peers.append(await dialect.enter(trial, behaviour))
        await dialect.trigger(peers[-1], behaviour)
        trial.say(str(await peers[-1].receive()))
    trial.server.send_signal(signal.SIGTERM)
    for peer in peers:
        trial.say(await peer.wait_end())
    await say_exit(trial)


async def say_exit(trial: Trial) -> None:
    started = time.monotonic()
    while trial.server.poll() is None and time.monotonic() - started < PATIENCE:
        await asyncio.sleep(0.02)
    code = trial.server.poll()
    trial.say(RUNS_ON if code is None else f"server ends with {code}")


def add_leave(name: str, behaviour: str, log: str, dialect: Plain = PLAIN, of: str = "") -> None:
    lives = [closed(1011), "another client: still here", CLOSED]
    right = [*dialect.opened, *dialect.opened, *lives, *dialect.opened]
    add(dialect.prefix + name, leave, right, [log], of or dialect.of, dialect=dialect, behaviour=behaviour)


EXIT = "server ERROR SystemExit: 3"

add_leave("sys.exit()", "leave", EXIT)
add_leave("sys.exit() in a task", "leave-in-task", EXIT)
add_leave("sys.exit() in a TaskGroup", "leave-in-group", EXIT, of="starlette")
add_leave("sys.exit() in a callback", "leave-in-callback", EXIT, of="starlette")
add_leave("KeyboardInterrupt", "interrupt", "server ERROR KeyboardInterrupt:", of="starlette")
ENDED = ["101", "echo", "101", "tick", closed(1012), closed(1012), STOPPED]
add("SIGTERM", stop, ENDED, dialect=PLAIN, behaviours=["echo", "push"])
