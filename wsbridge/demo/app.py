"""A chat room, and a look into the connection that carries it: an ASGI application to read.

``GET /`` is the page, ``/ws`` its WebSocket. Binary and empty messages are echoed, any other is JSON:
the page sends ``{"type": "chat", "text": ...}``, ``name`` (name), ``ping`` and ``close`` (code, reason);
the application ``welcome``, ``chat``, ``name``, ``people``, ``report``, ``pong`` and ``error``.

It runs on any ASGI server. wsbridge adds ``scope["wsbridge.connection"]``, where the ``report`` comes
from: frames, round-trip time, compression. Without it the page shows what it can see.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import pkgutil
import secrets
import time
from collections import deque
from typing import Any, Awaitable, Callable, Deque, Dict, Optional, Tuple

__all__ = ["app"]

Event = Dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

SUBPROTOCOL = "wsbridge-demo"
MAX_TEXT, MAX_NAME, MAX_REASON = 2000, 24, 123  # UTF-8 bytes; RFC 6455 5.5: 125, less 2 for the code
CLOSE_CODES = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}  # RFC 6455 7.4, sendable
MAX_JSON = 16_000  # characters: 2000 bytes of text are 12,000 when each is escaped
HISTORY = 50  # lines kept for newcomers
OUTBOX = 100  # messages waiting for one reader; past it the oldest is dropped
FRAMES = 250  # frames waiting for the next report; past it the oldest is dropped
REPORT_INTERVAL = 0.25  # seconds
PING_EVERY = 8  # report intervals
HEADERS_SHOWN = b"host origin sec-websocket-protocol sec-websocket-extensions".split()
# Nothing may load or run but the page's own style and script, which carry the nonce.
POLICY = (
    b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"connect-src 'self'; img-src data:; style-src 'nonce-%b'; script-src 'nonce-%b'"
)
HTML, TEXT = ((b"content-type", b"text/%b; charset=utf-8" % kind) for kind in (b"html", b"plain"))
# Not __package__, which is None here in Python 3.9 when we are in a zip.
PAGE = pkgutil.get_data(__name__.rpartition(".")[0], "page.html") or b""


async def app(scope: Event, receive: Receive, send: Send) -> None:
    """The ASGI application: one coroutine for each type of scope."""
    await {"lifespan": lifespan, "http": http, "websocket": websocket}[scope["type"]](scope, receive, send)


async def lifespan(scope: Event, receive: Receive, send: Send) -> None:
    """Make the room when the server starts; where there is no lifespan state, `LOBBY` is the room."""
    await receive()  # lifespan.startup
    if "state" in scope:
        scope["state"]["room"] = Room()
    await send({"type": "lifespan.startup.complete"})
    await receive()  # lifespan.shutdown
    await send({"type": "lifespan.shutdown.complete"})


async def http(scope: Event, receive: Receive, send: Send) -> None:
    """The page at ``/``, nothing anywhere else."""
    nonce = secrets.token_urlsafe(16).encode()
    status, kind, body = 200, HTML, PAGE.replace(b"{nonce}", nonce)
    if route(scope) != "/":
        status, kind, body = 404, TEXT, b"Not found.\n"
    headers = [
        kind,
        (b"content-length", b"%d" % len(body)),
        (b"content-security-policy", POLICY % (nonce, nonce)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def websocket(scope: Event, receive: Receive, send: Send) -> None:
    """One stay in the room: hear, tell and report side by side until the first of them ends."""
    await receive()  # websocket.connect
    if route(scope) != "/ws":
        return await refuse(scope, send)
    member = Member(send, scope.get("wsbridge.connection"))
    room: Room = scope.get("state", {}).get("room", LOBBY)
    subprotocol = SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", ()) else None
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    room.join(member, handshake(scope, subprotocol, member.connection))
    jobs = [member.hear(receive, room), member.tell()]
    if member.connection is not None:
        jobs.insert(0, member.report())
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        room.leave(member)
        ended = [task for task in tasks if not task.cancel()]
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        task.result()  # what one of them raised, the application raises
    if member.farewell is not None:
        await send(member.farewell)


async def refuse(scope: Event, send: Send) -> None:
    """Answer the opening handshake with 404, or with 403 where the server has no denial response."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        return await send({"type": "websocket.close"})
    await send({"type": "websocket.http.response.start", "status": 404, "headers": [TEXT]})
    await send({"type": "websocket.http.response.body", "body": b"The WebSocket is at /ws.\n"})


class Room:
    """Who is here, and the last lines for those who come next."""

    def __init__(self) -> None:
        self.members: Dict[str, Member] = {}  # by casefolded name
        self.lines: Deque[Event] = deque(maxlen=HISTORY)
        self.guests = (f"guest-{number}" for number in itertools.count(1))

    def join(self, member: Member, facts: Event) -> None:
        member.name = next(name for name in self.guests if name not in self.members)
        self.members[member.name] = member
        member.post(pack("welcome", name=member.name, lines=list(self.lines), handshake=facts))
        self.post_people(f"{member.name} came in")

    def leave(self, member: Member) -> None:
        del self.members[member.name.casefold()]
        self.post_people(f"{member.name} left")

    def rename(self, member: Member, name: str) -> None:
        if self.members.get(name.casefold(), member) is not member:
            raise Refused(f"name: {name} is taken")
        del self.members[member.name.casefold()]
        before, member.name = member.name, name
        self.members[name.casefold()] = member
        member.post(pack("name", name=name))
        self.post_people(f"{before} is now {name}")

    def say(self, member: Member, text: str) -> None:
        self.lines.append({"name": member.name, "text": text, "time": time.time()})
        self.post(pack("chat", **self.lines[-1]))

    def post_people(self, news: str) -> None:
        self.post(pack("people", names=[member.name for member in self.members.values()], news=news))

    def post(self, message: str) -> None:
        """Into everyone's outbox, so that nobody waits for a slow reader."""
        for member in self.members.values():
            member.post(message)


class Member:
    """One connection in the room."""

    def __init__(self, send: Send, connection: Any) -> None:
        self.name, self.send, self.connection = "", send, connection
        self.farewell: Optional[Event] = None
        self.outbox: Deque[str] = deque(maxlen=OUTBOX)
        self.posted, self.told = asyncio.Event(), asyncio.Event()  # something, everything in the outbox
        self.frames: Deque[Tuple[Any, ...]] = deque(maxlen=FRAMES)
        self.frames_seen = self.report_size = 0
        self.reported = [0, 0]  # bytes of all compressed reports, before and after
        self.reporter: Optional[asyncio.Task[Any]] = None

    async def hear(self, receive: Receive, room: Room) -> None:
        """Do what the messages say until one side ends the connection."""
        while self.farewell is None:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return
            if event.get("text"):
                try:
                    self.obey(parse(event["text"]), room)
                except Refused as refused:
                    self.post(pack("error", text=str(refused)))
                await self.told.wait()  # who floods and does not read is not heard either
            else:  # binary or empty
                await self.send({**event, "type": "websocket.send"})

    def obey(self, message: Event, room: Room) -> None:
        kind = message["type"]
        if kind == "chat":
            room.say(self, take_text(message, "text", 1, MAX_TEXT))
        elif kind == "name":
            name = take_text(message, "name", 1, MAX_NAME)
            if not name.isprintable():
                raise Refused("name: only characters that show")
            room.rename(self, name)
        elif kind == "ping":
            if self.connection is not None:
                self.connection.ping()
            self.post(pack("pong"))
        elif kind == "close":
            code, reason = message.get("code"), take_text(message, "reason", 0, MAX_REASON)
            if type(code) is not int or code not in CLOSE_CODES:
                raise Refused("code: 1000 to 1003, 1007 to 1014 or 3000 to 4999")
            self.farewell = {"type": "websocket.close", "code": code, "reason": reason}
        else:
            raise Refused("type: chat, name, ping or close")

    def post(self, message: str) -> None:
        self.outbox.append(message)
        self.posted.set()
        self.told.clear()

    async def tell(self) -> None:
        """Empty the outbox, at the reader's pace."""
        while True:
            await self.posted.wait()
            self.posted.clear()
            while self.outbox:
                await self.send({"type": "websocket.send", "text": self.outbox.popleft()})
            self.told.set()

    async def report(self) -> None:
        """Send the page what `trace` noted, if anything, once an interval; ping every few of them."""
        self.reporter, self.connection.trace = asyncio.current_task(), self.trace
        ticks = itertools.count()
        try:
            while True:
                if next(ticks) % PING_EVERY == 1:  # not at once: a page that is starting answers late
                    self.connection.ping()
                await asyncio.sleep(REPORT_INTERVAL)
                if self.frames:
                    await self.send({"type": "websocket.send", "text": self.build_report()})
        finally:
            self.connection.trace = None

    def trace(self, direction: str, opcode: int, fin: bool, compressed: bool, length: int) -> None:
        """Note a frame, unless it is a report: noting that would cause the next one, for ever.

        The server calls this for each frame; one of a report is known by the task that sends it.
        """
        if opcode >= 8 or asyncio.current_task() is not self.reporter:  # its pings are news
            self.frames_seen += 1
            self.frames.append((time.time(), direction, opcode, fin, compressed, length))
        elif compressed:
            self.reported = [self.reported[0] + self.report_size, self.reported[1] + length]

    def build_report(self) -> str:
        wire, (before, after) = self.connection, self.reported
        report = pack(
            "report",
            frames=list(self.frames),
            frames_seen=self.frames_seen,
            latency=wire.latency,
            sent=(wire.bytes_before_compression - before, wire.bytes_after_compression - after),
            received=(wire.bytes_inflated, wire.bytes_deflated),
        )
        self.frames.clear()
        self.report_size = len(report)
        return report


class Refused(Exception):
    """A message that breaks a rule; the text is the answer to who sent it."""


def parse(text: str) -> Event:
    if len(text) > MAX_JSON:
        raise Refused(f"over {MAX_JSON} characters")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("not JSON") from None
    if not isinstance(message, dict):
        raise Refused("not a JSON object")
    return {"type": None, **message}


def take_text(message: Event, key: str, least: int, most: int) -> str:
    value = message.get(key)
    if not isinstance(value, str):
        raise Refused(f"{key}: text, please")
    data = value.strip().encode("utf-8", "replace")  # JSON can spell half a surrogate pair, UTF-8 cannot
    if not least <= len(data) <= most:
        raise Refused(f"{key}: {least} to {most} bytes of UTF-8, not {len(data)}")
    return data.decode()


def pack(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields}, separators=(",", ":"))


def route(scope: Event) -> str:
    """The path, below where the application is mounted."""
    path, root = scope["path"], scope.get("root_path", "")
    return str(path[len(root) :] if path.startswith(root) else path)


def handshake(scope: Event, subprotocol: Optional[str], connection: Any) -> Event:
    """What both sides said in it, without cookies and credentials."""
    shown = [(name, value) for name, value in scope["headers"] if name in HEADERS_SHOWN]
    return {
        "path": scope["path"],
        "http_version": scope["http_version"],
        "client": scope.get("client"),
        "headers": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in shown],
        "subprotocol": subprotocol,
        "extensions": None if connection is None else connection.extensions_response,
        "reports": connection is not None,
    }


LOBBY = Room()
