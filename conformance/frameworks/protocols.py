"""The scenarios of two protocols that go over WebSockets and over HTTP: GraphQL and Socket.IO."""

from __future__ import annotations

import json
import re
from typing import Any, Sequence

from . import applications, connections  # noqa: F401 (add their scenarios)
from .bodies import JSON, add_http, describe_json, show, typed
from .client import Message, Peer
from .scenarios import (
    CLOSED,
    EXIT,
    REFUSED,
    SCENARIOS,
    STOPPED,
    TOLD,
    Plain,
    Run,
    add,
    add_feeds,
    add_leave,
    closed,
    finish,
    stop,
    wait_for_end,
)
from .trial import Trial

# All scenarios, with those of this module.
__all__ = ["SCENARIOS"]

# ------------------------------------------------------------------------------------ GraphQL

GRAPHQL = "graphql-transport-ws"


class GraphQL(Plain):
    prefix = "GraphQL: "
    of = "strawberry"
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


async def send_to_graphql(trial: Trial, path: str, message: str, offer: str) -> None:
    peer = await trial.open(path, [("Sec-WebSocket-Protocol", offer)])
    await peer.send(message)
    trial.say(await peer.wait_end())


async def query_by_get(trial: Trial) -> None:
    peer = await trial.get("/graphql/?query=%7Bpage%7D")
    trial.say((await peer.read_body()).decode())


async def query_by_post(trial: Trial) -> None:
    """A query, a mutation with variables, and a query with an error, on one connection."""
    connection = await trial.connect()
    for query, variables in (
        ("{page}", {}),
        ("mutation ($text: String!) {write(text: $text)}", {"text": "Zürich"}),
        ("{page}", {}),
        ("{nothing}", {}),
    ):
        body = json.dumps({"query": query, "variables": variables}).encode()
        answer = await connection.exchange("POST", "/graphql/", typed(JSON), body)
        trial.say(describe_json(answer)[:80])


def add_graphql(name: str, run: Run, right: Sequence[str], **options: Any) -> None:
    add("GraphQL: " + name, run, right, of="strawberry", **options)


def add_protocol(name: str, path: str, message: str, right: str, offer: str = GRAPHQL) -> None:
    opened = f"101 {offer}" if offer == GRAPHQL else "101"
    add_graphql(name, send_to_graphql, [opened, right], path=path, message=message, offer=offer)


SUBSCRIBE = '{"id": "1", "type": "subscribe", "payload": {"query": "{page}"}}'
NEXT = '{"id":"1","type":"next","payload":{"data":%s}}'
FAILED = 'null,"errors":[{"message":"on purpose"}]'
COMPLETE = '{"id":"1","type":"complete"}'
ECHOED = [NEXT % '{"echo":"\\u20ac"}', COMPLETE, CLOSED]
FAILS = [NEXT % '{"fail":"soon"}', NEXT % FAILED, COMPLETE, CLOSED]

add_graphql("query", query_by_get, ["200", '{"data":{"page":"page"}}'])
QUERIED = [
    show({"data": {"page": "page"}}),
    show({"data": {"write": "Zürich"}}),
    show({"data": {"page": "Zürich"}}),
    '200 {"data": null, "errors": [...',
]
add_http("GraphQL: query and mutation by POST", query_by_post, QUERIED, of="strawberry")
add_graphql("subscription", subscribe, [*GraphQL.opened, *ECHOED], behaviour='echo(text: "€")', count=2)
add_graphql("subscription raises", subscribe, [*GraphQL.opened, *FAILS], behaviour="fail", count=3)
add_protocol("rejected", "/guarded/", '{"type": "connection_init"}', closed(4403, "Forbidden"))
add_protocol("subscribes too early", "/graphql/", SUBSCRIBE, closed(4401, "Unauthorized"))
add_protocol("no JSON", "/graphql/", "{", closed(4400, "WebSocket message must be valid JSON"))
add_protocol("its protocol not offered", "/graphql/", "", closed(4406, "Subprotocol not acceptable"), "chat")
add_feeds(GraphQL())
add_leave("sys.exit()", "leave", EXIT, GraphQL())
ENDED = [*GraphQL.opened, GraphQL.tick, closed(1012), STOPPED]
add_graphql("SIGTERM", stop, ENDED, dialect=GraphQL(), behaviours=["push"])


# ------------------------------------------------------------------------------------ Socket.IO

ENGINE = "/socket.io/?EIO=4&transport=websocket"
_SID = re.compile(r'"sid":"[^"]+"')


class SocketIO(Plain):
    prefix = "Socket.IO: "
    of = "socketio"
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


async def use_client(trial: Trial, transports: str) -> None:
    await trial.run_client("socketio_client", transports)


async def use_browser(trial: Trial) -> None:
    await trial.run_browser("socketio")


def add_socketio(name: str, run: Run, right: Sequence[str], **options: Any) -> None:
    add("Socket.IO: " + name, run, right, of="socketio", **options)


ATTACHED = [r'42["echo","\u20ac"]', '451-["echo",{"_placeholder":true,"num":0}]', b"\0\xff"]
EVENTS = [*SocketIO.opened, *map(repr, ATTACHED), CLOSED, TOLD]
FAILED_EVENT = [*SocketIO.opened, "still here", CLOSED, TOLD]

add_socketio("polling", poll, ["200", '0{"sid":"..."'])
add_socketio("events", exchange_events, EVENTS, messages=ATTACHED)
add_socketio("refused", be_refused, ["101", '44{"message":"not today"}'])
add_socketio("old version", wait_for_end, REFUSED, path=ENGINE.replace("4", "2"))
add_socketio("unknown session", wait_for_end, REFUSED, path=ENGINE + "&sid=nobody")
add_socketio("handler raises", fail, FAILED_EVENT, log=["server ERROR RuntimeError: on purpose"])
add_feeds(SocketIO())
add_leave("sys.exit()", "leave", EXIT, SocketIO())
TICKED = [*SocketIO.opened, SocketIO.tick, closed(1012), STOPPED]
add_socketio("SIGTERM", stop, TICKED, dialect=SocketIO(), behaviours=["push"])

ECHOED_TO_CLIENT = [f"echoed: True, {kind}" for kind in ("str", "bytes", "dict", "str")]
SEEN_BY_CLIENT = [*ECHOED_TO_CLIENT, "in order: True", "left"]
UPGRADED = ["connected by websocket", *SEEN_BY_CLIENT]
POLLED = ["connected by polling", *SEEN_BY_CLIENT]
IN_BROWSER = ["transports: polling, websocket", "echoed: True", "no troubles"]
add_socketio("its client", use_client, UPGRADED, transports="polling,websocket")
add_socketio("its client, polling only", use_client, POLLED, transports="polling", is_http=True)
add_socketio("in the browser", use_browser, IN_BROWSER, in_chromium=True)
