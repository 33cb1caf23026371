"""The scenarios of the two protocols on top of WebSocket: GraphQL subscriptions and Socket.IO."""

from __future__ import annotations

import functools
import json
import re
from typing import Optional, Sequence

from .client import Message, Peer
from .scenarios import (
    CLOSED,
    REFUSED,
    SCENARIOS,
    TOLD,
    Plain,
    add,
    add_end,
    add_feeds,
    add_leave,
    closed,
    finish,
    stop,
)
from .trial import Trial

# All scenarios, with those of this module.
__all__ = ["SCENARIOS"]

# ------------------------------------------------------------------------------------ GraphQL

GRAPHQL = "graphql-transport-ws"


class GraphQL(Plain):
    prefix = "GraphQL: "
    opened = (f"101 {GRAPHQL}", "connection_ack")
    tick = '{"id":"1","type":"next","payload":{"data":{"push":"tick"}}}'

    async def enter(self, trial: Trial, behaviour: str) -> Peer:
        peer = await trial.open("/graphql/", [("Sec-WebSocket-Protocol", GRAPHQL)])
        await peer.send('{"type": "connection_init"}')
        trial.say(json.loads(await peer.receive())["type"])
        return peer

    async def trigger(self, peer: Peer, behaviour: str) -> None:
        query = {"query": f"subscription {{ {behaviour} }}"}
        await peer.send(json.dumps({"id": "1", "type": "subscribe", "payload": query}))

    async def ask(self, peer: Peer) -> str:
        await peer.send('{"type": "ping"}')
        return "still here" if json.loads(await peer.receive())["type"] == "pong" else "no pong"


async def subscribe(trial: Trial, behaviour: str, count: int) -> None:
    dialect = GraphQL()
    peer = await dialect.enter(trial, behaviour)
    await dialect.trigger(peer, behaviour)
    for _ in range(count):
        trial.say(str(await peer.receive()))
    await peer.close(4001, "bye")
    trial.say(await peer.wait_end())


async def send_to_graphql(trial: Trial, path: str, message: Optional[str], offer: str = GRAPHQL) -> None:
    peer = await trial.open(path, [("Sec-WebSocket-Protocol", offer)])
    if message is not None:
        await peer.send(message)
    trial.say(await peer.wait_end())


async def query_by_get(trial: Trial) -> None:
    peer = await trial.get("/graphql/?query=%7Bpage%7D")
    trial.say((await peer.read_body()).decode())


def _next(name: str, value: str) -> str:
    return f'{{"id":"1","type":"next","payload":{{"data":{{"{name}":"{value}"}}}}}}'


OPENED = GraphQL.opened
add("GraphQL: query", query_by_get, ["200", '{"data":{"page":"page"}}'])
add(
    "GraphQL: subscription",
    functools.partial(subscribe, behaviour='echo(text: "€")', count=2),
    [*OPENED, _next("echo", "\\u20ac"), '{"id":"1","type":"complete"}', CLOSED],
)
add(
    "GraphQL: subscription raises",
    functools.partial(subscribe, behaviour="fail", count=3),
    [
        *OPENED,
        _next("fail", "soon"),
        '{"id":"1","type":"next","payload":{"data":null,"errors":[{"message":"on purpose"}]}}',
        '{"id":"1","type":"complete"}',
        CLOSED,
    ],
)
for name, path, message, offer, right in [
    ("rejected", "/guarded/", '{"type": "connection_init"}', GRAPHQL, closed(4403, "Forbidden")),
    (
        "subscribes too early",
        "/graphql/",
        '{"id": "1", "type": "subscribe", "payload": {"query": "{page}"}}',
        GRAPHQL,
        closed(4401, "Unauthorized"),
    ),
    ("no JSON", "/graphql/", "{", GRAPHQL, closed(4400, "WebSocket message must be valid JSON")),
    ("subprotocol of nobody", "/graphql/", None, "chat", closed(4406, "Subprotocol not acceptable")),
]:
    run = functools.partial(send_to_graphql, path=path, message=message, offer=offer)
    add(f"GraphQL: {name}", run, [f"101 {offer}" if offer == GRAPHQL else "101", right])
add_feeds(GraphQL())
add_leave("sys.exit()", "leave", "server ERROR SystemExit: 3", GraphQL())
add(
    "GraphQL: SIGTERM",
    functools.partial(stop, dialect=GraphQL(), behaviours=["push"]),
    [*OPENED, GraphQL.tick, closed(1012), "server ends with 0 at once"],
)


# ------------------------------------------------------------------------------------ Socket.IO

ENGINE = "/socket.io/?EIO=4&transport=websocket"
_SID = re.compile(r'"sid":"[^"]+"')


class SocketIO(Plain):
    prefix = "Socket.IO: "
    opened = ("101", '40{"sid":"..."}')
    tick = '42["tick"]'

    async def enter(self, trial: Trial, behaviour: str) -> Peer:
        peer = await trial.open(ENGINE)
        await peer.receive()
        await peer.send("40")
        trial.say(_SID.sub('"sid":"..."', str(await peer.receive())))
        return peer

    async def trigger(self, peer: Peer, behaviour: str) -> None:
        await peer.send(f'42["{behaviour}",0]')

    async def ask(self, peer: Peer) -> str:
        await peer.send('42["echo","still here"]')
        return "still here" if await peer.receive() == '42["echo","still here"]' else "no echo"


async def exchange_events(trial: Trial, messages: Sequence[Message]) -> None:
    """Events that are sent back as they came, one of them with a binary attachment."""
    peer = await SocketIO().enter(trial, "echo")
    for message in messages:
        await peer.send(message)
    for _ in messages:
        trial.say(repr(await peer.receive()))
    await finish(trial, peer)


async def be_refused(trial: Trial) -> None:
    peer = await trial.open(ENGINE)
    await peer.receive()
    await peer.send('40{"token":"wrong"}')
    trial.say(str(await peer.receive()))


async def fail(trial: Trial) -> None:
    """What a handler raises is its own matter."""
    peer = await SocketIO().enter(trial, "fail")
    await SocketIO().trigger(peer, "fail")
    trial.say(await SocketIO().ask(peer))
    await finish(trial, peer)


async def poll(trial: Trial) -> None:
    peer = await trial.get("/socket.io/?EIO=4&transport=polling")
    trial.say(_SID.sub('"sid":"..."', (await peer.read_body()).decode()).partition(",")[0])


ATTACHED = [r'42["echo","\u20ac"]', '451-["echo",{"_placeholder":true,"num":0}]', b"\0\xff"]
add("Socket.IO: polling", poll, ["200", '0{"sid":"..."'])
add(
    "Socket.IO: events",
    functools.partial(exchange_events, messages=ATTACHED),
    [*SocketIO.opened, *map(repr, ATTACHED), CLOSED, TOLD],
)
add("Socket.IO: refused", be_refused, ["101", '44{"message":"not today"}'])
add_end(
    "Socket.IO: old version",
    ENGINE.replace("4", "2"),
    REFUSED,
    (),
)
add_end("Socket.IO: unknown session", ENGINE + "&sid=nobody", REFUSED)
add_feeds(SocketIO())
add_leave("sys.exit()", "leave", "server ERROR SystemExit: 3", SocketIO())
add(
    "Socket.IO: handler raises",
    fail,
    [*SocketIO.opened, "still here", CLOSED, TOLD],
    ["server ERROR RuntimeError: on purpose"],
)
add(
    "Socket.IO: SIGTERM",
    functools.partial(stop, dialect=SocketIO(), behaviours=["push"]),
    [*SocketIO.opened, SocketIO.tick, closed(1012), "server ends with 0 at once"],
)
