"""The scenarios of connections: requests one behind another, clients of others, caches, cookies, events."""

from __future__ import annotations

import asyncio
import shutil
import signal
from typing import Any, List, Sequence, Tuple

from .apps.payload import MIB, Tally, describe_payload
from .bodies import BIG, HELD_UP_SECONDS, JSON, OPEN, TEXT, URLENCODED, add_http, typed
from .client import Ended
from .exchange import Answer, Connection
from .scenarios import STOPPED, add, closed, say_exit
from .trial import Trial

ORIGIN = "https://pages.example"
PAGE = "/page/again"


def describe(answer: Answer, *names: str) -> str:
    """Status, the fields with these names as far as they are there, and the length of the body."""
    fields = [f"{name}: {answer.find(name)}" for name in names if answer.find(name) is not None]
    return ", ".join([str(answer.status), *fields, f"{len(answer.body)} bytes"])


# ------------------------------------------------------------------------------------ one behind another


async def use_methods(trial: Trial) -> None:
    """Requests of every kind on one connection; what has no body must not be taken for the next answer."""
    connection = await trial.connect()
    page = await connection.exchange("GET", PAGE)
    head = await connection.exchange("HEAD", PAGE)
    trial.say(f"HEAD {head.status}, {'as long' if _length(head) == _length(page) else 'of another length'}")
    trial.say(describe(await connection.exchange("DELETE", "/json")))
    trial.say(str((await connection.exchange("POST", "/json", typed(JSON), TEXT)).status))
    trial.say(str((await connection.exchange("PUT", "/json", typed(JSON), [TEXT])).status))
    last = await connection.exchange("GET", PAGE, [("Connection", "close")])
    trial.say(f"{last.status}, Connection: {last.find('connection')}")
    trial.say(await connection.ask_whether_open())


def _length(answer: Answer) -> Any:
    return answer.find("content-length")


async def pipeline(trial: Trial) -> None:
    """Five requests in one segment, the second of them slow: the answers come in their order."""
    connection = await trial.connect()
    host = "Host: here\r\n"
    post = f"POST /json HTTP/1.1\r\n{host}Content-Type: {JSON}\r\n"
    pages = [f"GET {path} HTTP/1.1\r\n{host}\r\n" for path in ("/page/one", "/slow-page", "/page/five")]
    pages.insert(2, f"{post}Content-Length: 3\r\n\r\n[3]")
    pages.insert(3, f"{post}Transfer-Encoding: chunked\r\n\r\n3\r\n[4]\r\n0\r\n\r\n")
    await connection.send("".join(pages).encode())
    for _ in pages:
        trial.say((await connection.receive_answer()).text)


async def offer_h2c(trial: Trial) -> None:
    """The first request of Java's HttpClient, whose offer of HTTP/2 is passed over (RFC 9110 7.8)."""
    connection = await trial.connect()
    offer = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAEAAEAA")]
    trial.say((await connection.exchange("POST", "/json", [*offer, *typed(JSON)], TEXT)).text)
    trial.say(await connection.ask_whether_open())


async def upgrade_late(trial: Trial) -> None:
    """A WebSocket on a connection that has served pages and a body."""
    connection = await trial.connect()
    trial.say(str((await connection.exchange("GET", PAGE)).status))
    trial.say(str((await connection.exchange("POST", "/json", typed(JSON), TEXT)).status))
    peer = await connection.upgrade("/ws/echo")
    trial.say(str(peer.head.status))
    await peer.send("text")
    trial.say(str(await peer.receive()))
    await peer.close(4001, "bye")
    trial.say(await peer.wait_end())


async def stop_uploading(trial: Trial) -> None:
    """SIGTERM with a connection that is idle, and one in the middle of an upload."""
    idle, busy = await trial.connect(), await trial.connect()
    trial.say(str((await idle.exchange("GET", PAGE)).status))
    await busy.send_head("POST", "/upload", [("Content-Length", str(MIB))])
    await busy.send(bytes(1000))
    await asyncio.sleep(2 * HELD_UP_SECONDS)
    trial.server.send_signal(signal.SIGTERM)
    trial.say(f"idle: {await wait_eof(idle)}")
    await busy.send(bytes(MIB - 1000))
    answer = await busy.receive_answer()
    trial.say(f"busy: {answer.status}, Connection: {answer.find('connection')}")
    trial.say(f"busy: {await wait_eof(busy)}")
    await say_exit(trial)


async def stop_downloading(trial: Trial) -> None:
    """SIGTERM in the middle of a download: it comes to its end."""
    connection = await trial.connect()
    await connection.send_request("GET", "/download")
    head = await connection.receive_head()
    await asyncio.sleep(HELD_UP_SECONDS)
    trial.server.send_signal(signal.SIGTERM)
    await asyncio.sleep(HELD_UP_SECONDS)
    tally = Tally()
    async for piece in connection.receive_body(head):
        tally.add(piece)
    trial.say(str(tally))
    trial.say(await wait_eof(connection))
    await say_exit(trial)


async def wait_eof(connection: Connection) -> str:
    try:
        return (await connection.receive_head()).first_line
    except Ended as ended:
        return str(ended)


TAKEN = '{"method":"POST","json":{"a":[1,null,"ü"],"b":{}}}'
SEEN = ["HEAD 200, as long", "204, 0 bytes", "200", "200", "200, Connection: close", "connection closed"]
BUSY = ["200", "idle: EOF", "busy: 200, Connection: close", "busy: EOF", STOPPED]
UPGRADED = ["200", "200", "101", "text", closed(4001, "bye")]
PIPELINED = ["['one', None, None, None]", "slow"]
PIPELINED += [f'{{"method":"POST","json":[{number}]}}' for number in (3, 4)]
PIPELINED += ["['five', None, None, None]"]

add_http("several methods on one connection", use_methods, SEEN)
add_http("pipelined requests", pipeline, PIPELINED, of="starlette")
add_http("POST with an offer of h2c", offer_h2c, [TAKEN, OPEN], of="starlette")
add("WebSocket behind requests", upgrade_late, UPGRADED)


# ------------------------------------------------------------------------------------ clients of others

SAID_BY_CLIENT = [
    "GET 200 \"['again', None, None, None]\"",
    "HEAD 200 ''",
    """POST 200 '{"method":"POST","json":{"a":"ü"}}'""",
    "DELETE 204 ''",
    f"POST 200 {describe_payload(3 * MIB)!r}",
    "GET 304 ''",
    "POST 303, GET 200 \"['account', None, None, 'crumb']\"",
    "1 connection",
]


async def run_client(trial: Trial, client: str) -> None:
    await trial.run_client("http_clients", client)


async def run_curl(trial: Trial) -> None:
    """Several URLs on one connection; the body goes out behind the 100 that curl waits for."""
    curl = shutil.which("curl")
    if curl is None:
        trial.say("curl is missing: apt-get install curl")
        return
    base = f"http://127.0.0.1:{trial.server.port}"
    common = ["-sS", "--max-time", "10", "-w", "\\n%{method} %{http_code}, connections: %{num_connects}\\n"]
    expect = ["-H", "Content-Type: application/json", "-H", "Expect: 100-continue"]
    requests = [
        [f"{base}{PAGE}"],
        ["-I", "-o", "/dev/null", f"{base}{PAGE}"],
        ["-d", '{"a": "ü"}', *expect, "--expect100-timeout", "8", f"{base}/json"],
        ["-X", "DELETE", f"{base}/json"],
        ["-H", "Transfer-Encoding: chunked", "-F", "tag=a", "-F", "tag=b", f"{base}/form"],
        ["-r", "10-17", "-o", "/dev/null", f"{base}/file"],
        ["-L", "-b", "none", "-d", "user=me", f"{base}/login"],
    ]
    command: List[str] = []
    for request in requests:
        command += [*(["--next"] if command else []), *common, *request]
    await trial.run_program(curl, *command)


SAID_BY_CURL = [
    "['again', None, None, None]",
    "GET 200, connections: 1",
    "HEAD 200, connections: 0",
    '{"method":"POST","json":{"a":"ü"}}',
    "POST 200, connections: 0",
    "DELETE 204, connections: 0",
    '{"fields":[["tag","a"],["tag","b"]],"files":[]}',
    "POST 200, connections: 0",
    "GET 206, connections: 0",
    "['account', None, None, 'crumb']",
    "GET 200, connections: 0",
]

add_http("curl", run_curl, SAID_BY_CURL, of="starlette")
for name in ("httpx", "aiohttp", "http.client"):
    add_http(name, run_client, SAID_BY_CLIENT, of="starlette", client=name)


async def use_fetch(trial: Trial) -> None:
    """A page of another origin: preflights, a form with a file, events, an aborted download, a redirect."""
    await trial.run_browser("fetch")


BLOB = f'["file","ü.bin","application/octet-stream","{describe_payload(2 * MIB)}"]'
FETCHED = [
    'JSON: 200 {"method":"POST","json":{"a":"ü"}}',
    f'form: 200 {{"fields":[["tag","a"]],"files":[{BLOB}]}}',
    "events: 0 1 2",
    "many: true",
    "aborted: AbortError",
    "again: 200",
    "logged in: ['account', None, None, 'crumb']",
    "no troubles",
]
add_http("fetch in the browser", use_fetch, FETCHED, log=None, of="starlette", in_chromium=True)


# ------------------------------------------------------------------------------------ caches, cookies, ranges


async def log_in(trial: Trial) -> None:
    connection = await trial.connect()
    answer = await connection.exchange("POST", "/login", typed(URLENCODED), b"user=me")
    trial.say(describe(answer, "location", "set-cookie"))
    pairs = [value.partition(";")[0] for name, value in answer.headers if name == "set-cookie"]
    answer = await connection.exchange("GET", "/page/account", [("Cookie", "; ".join(pairs))])
    trial.say(f"{answer.status} {answer.text}")


async def not_modified(trial: Trial) -> None:
    connection = await trial.connect()
    for headers in ([], [("If-None-Match", '"one"')]):
        trial.say(describe(await connection.exchange("GET", "/cached", headers), "etag"))
    trial.say(await connection.ask_whether_open())


async def use_cors(trial: Trial) -> None:
    connection = await trial.connect()
    ask = [("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type")]
    preflight = await connection.exchange("OPTIONS", "/json", [("Origin", ORIGIN), *ask])
    trial.say(describe(preflight, "access-control-allow-origin", "access-control-allow-headers"))
    answer = await connection.exchange("POST", "/json", [("Origin", ORIGIN), *typed(JSON)], TEXT)
    trial.say(f"{answer.status}, allowed for {answer.find('access-control-allow-origin')}")
    other = [("Origin", "https://other.example"), *ask]
    trial.say(describe(await connection.exchange("OPTIONS", "/json", other), "access-control-allow-origin"))


async def fetch_ranges(trial: Trial, ranges: Sequence[Tuple[str, ...]]) -> None:
    connection = await trial.connect()
    etag = (await connection.exchange("HEAD", "/file")).find("etag") or ""
    for value, *condition in ranges:
        headers = [("Range", value)] + [("If-Range", etag if one == "etag" else one) for one in condition]
        answer = await connection.exchange("GET", "/file", headers)
        trial.say(describe(answer, "content-range"))


COOKIES = "c=crumb; Path=/; SameSite=lax, d=e; Path=/; SameSite=lax"
LOGGED_IN = [
    f"303, location: /page/account, set-cookie: {COOKIES}, 0 bytes",
    "200 ['account', None, None, 'crumb']",
]
CACHED = ['200, etag: "one", 6 bytes', '304, etag: "one", 0 bytes', OPEN]
ALLOWED = f"access-control-allow-origin: {ORIGIN}"
FIELDS = "access-control-allow-headers: Accept, Accept-Language, Content-Language, Content-Type"
SHARED = [f"200, {ALLOWED}, {FIELDS}, 2 bytes", f"200, allowed for {ORIGIN}", "400, 22 bytes"]
RANGES = [
    ("bytes=0-9",),
    ("bytes=-5",),
    ("bytes=3145720-",),
    ("bytes=9999999-",),
    ("bytes=0-1,5-6",),
    ("bytes=0-9", "etag"),
    ("bytes=0-9", '"another"'),
]

add_http("cookies, redirect after POST", log_in, LOGGED_IN, of="starlette fastapi")
add_http("304", not_modified, CACHED, of="starlette")
add_http("CORS preflight and POST", use_cors, SHARED, of="starlette fastapi")
OF = "/3145728"
IN_PARTS = [
    f"206, content-range: bytes 0-9{OF}, 10 bytes",
    f"206, content-range: bytes 3145723-3145727{OF}, 5 bytes",
    f"206, content-range: bytes 3145720-3145727{OF}, 8 bytes",
    f"416, content-range: bytes *{OF}, 0 bytes",
    "206, 250 bytes",
    f"206, content-range: bytes 0-9{OF}, 10 bytes",
    "200, 3145728 bytes",
]
add_http("ranges of a file", fetch_ranges, IN_PARTS, of="starlette", ranges=RANGES)


# ------------------------------------------------------------------------------------ server-sent events


async def leave_events(trial: Trial) -> None:
    peer = await trial.get("/events/endless", [("Accept", "text/event-stream")])
    trial.say(str(peer.head.find("content-type")))
    trial.say("an event" if b"data: tick" in await peer.read_line() else "no event")
    peer.drop()
    await trial.wait_application("events end")


async def read_events(trial: Trial) -> None:
    connection = await trial.connect()
    answer = await connection.exchange("GET", "/events/three")
    trial.say(repr(answer.text))
    trial.say(await connection.ask_whether_open())


EVENTS = "text/event-stream; charset=utf-8"
THREE = "".join(f"id: {n}\r\nevent: count\r\ndata: {n}\r\n\r\n" for n in range(3))

add_http(
    "events, left by the client",
    leave_events,
    ["200", EVENTS, "an event", "application: events end at once"],
    of="starlette",
)
add_http("events, to their end", read_events, [repr(THREE), OPEN], of="starlette")

# Each of them ends the server; so they come last.
add_http("upload, SIGTERM", stop_uploading, BUSY)
add_http("download, SIGTERM", stop_downloading, [describe_payload(BIG), "EOF", STOPPED])
