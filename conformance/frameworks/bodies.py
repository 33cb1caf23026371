"""The scenarios of bodies: JSON, forms, files, 100 MiB each way, and those that end before they are whole."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any, Dict, Iterable, List, Optional, Sequence

from .apps.payload import MIB, Tally, describe_payload, make_pieces
from .client import Ended
from .exchange import Answer, Body
from .scenarios import PURPOSE, Run, add
from .trial import Trial

BIG = 100 * MIB
HELD_UP_SECONDS = 0.3
OPEN = "connection open, 200"

JSON = "application/json"
VALUE = {"a": [1, None, "ü"], "b": {}}
TEXT = json.dumps(VALUE, ensure_ascii=False).encode()

URLENCODED = "application/x-www-form-urlencoded"
BOUNDARY = "----a-boundary"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
FIELDS = [["name", "Zürich"], ["tag", "a&b"], ["tag", "=c"]]
FILE_SIZE = 2 * MIB


def add_http(
    name: str,
    run: Run,
    right: Sequence[str],
    log: Optional[Sequence[str]] = (),
    of: str = "",
    **options: Any,
) -> None:
    add(name, run, right, log, of, is_http=True, **options)


def typed(content_type: str) -> List[Any]:
    return [("Content-Type", content_type)]


# ------------------------------------------------------------------------------------ JSON and forms


def describe_json(answer: Answer) -> str:
    if (answer.find("content-type") or "").partition(";")[0] != JSON:
        return f"{answer.status} {answer.find('content-type')}"
    return f"{answer.status} {_dump(json.loads(answer.text))}"


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


async def send_json(trial: Trial, methods: Sequence[str], body: Body) -> None:
    connection = await trial.connect()
    for method in methods:
        trial.say(describe_json(await connection.exchange(method, "/json", typed(JSON), body)))


async def send_form(trial: Trial, content_type: str, body: Body) -> None:
    connection = await trial.connect()
    trial.say(describe_json(await connection.exchange("POST", "/form", typed(content_type), body)))
    trial.say(await connection.ask_whether_open())


def show(value: object) -> str:
    return f"200 {_dump(value)}"


def add_form(name: str, content_type: str, body: Body, right: Dict[str, Any], **options: Any) -> None:
    seen = [show(right), OPEN]
    add_http(name, send_form, seen, content_type=content_type, body=body, **options)


def list_parts() -> Iterable[bytes]:
    """The form as a browser sends it (RFC 7578)."""
    for name, value in FIELDS:
        disposition = f'Content-Disposition: form-data; name="{name}"'
        yield f"--{BOUNDARY}\r\n{disposition}\r\n\r\n{value}\r\n".encode()
    disposition = 'Content-Disposition: form-data; name="file"; filename="naïve.bin"'
    yield f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: image/x-none\r\n\r\n".encode()
    yield from make_pieces(FILE_SIZE)
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


async def send_adorned(trial: Trial) -> None:
    """Chunks with extensions, leading zeros, and a trailer section (RFC 9112 7.1)."""
    connection = await trial.connect()
    await connection.send_head("POST", "/json", [*typed(JSON), ("Transfer-Encoding", "Chunked")])
    size = len(TEXT)
    for part in (b"%04X;name=value\r\n%b\r\n" % (size, TEXT), b"000;last\r\n", b"X-Sum: none\r\n\r\n"):
        await connection.send(part)
        await asyncio.sleep(0.02)
    trial.say(describe_json(await connection.receive_answer()))
    trial.say(await connection.ask_whether_open())


METHODS = ["POST", "PUT", "PATCH"]
ECHOED = [show({"method": method, "json": VALUE}) for method in METHODS]
QUERY = b"name=Z%C3%BCrich&tag=a%26b&tag=%3Dc"
PLAIN_FORM = {"fields": FIELDS, "files": []}
FILE = ["file", "naïve.bin", "image/x-none", describe_payload(FILE_SIZE)]

add_http("JSON", send_json, ECHOED, methods=METHODS, body=TEXT)
IN_BYTES = [TEXT[at : at + 1] for at in range(len(TEXT))]
add_http("JSON, chunked", send_json, ECHOED, methods=METHODS, body=IN_BYTES)
add_http("JSON, chunks with extensions and trailers", send_adorned, [ECHOED[0], OPEN], of="starlette")
add_form("form", URLENCODED, QUERY, PLAIN_FORM)
add_form("form with a file", MULTIPART, b"".join(list_parts()), {"fields": FIELDS, "files": [FILE]})
add_form("form with a file, chunked", MULTIPART, list(list_parts()), {"fields": FIELDS, "files": [FILE]})


# ------------------------------------------------------------------------------------ 100 MiB


async def upload(trial: Trial, is_chunked: bool) -> None:
    connection = await trial.connect()
    with trial.watch_memory():
        if is_chunked:
            await connection.send_request("POST", "/upload", body=make_pieces(BIG))
        else:
            await connection.send_head("POST", "/upload", [("Content-Length", str(BIG))])
            for piece in make_pieces(BIG):
                await connection.send(piece)
        answer = await connection.receive_answer()
    trial.say(f"{answer.status} {answer.text}")
    trial.say(await connection.ask_whether_open())


async def download(trial: Trial) -> None:
    """The client takes nothing at first, so that the server has to hold the application back."""
    connection = await trial.connect()
    tally = Tally()
    with trial.watch_memory():
        await connection.send_request("GET", "/download")
        head = await connection.receive_head()
        await asyncio.sleep(HELD_UP_SECONDS)
        async for piece in connection.receive_body(head):
            tally.add(piece)
    trial.say(f"{head.status} {tally}")
    trial.say(await connection.ask_whether_open())


BIG_TALLY = describe_payload(BIG)
UPLOADED = ["memory bounded", f"200 {BIG_TALLY}", OPEN]

add_http("upload of 100 MiB", upload, UPLOADED, is_chunked=False)
add_http("upload of 100 MiB, chunked", upload, UPLOADED, is_chunked=True)
add_http("download of 100 MiB", download, UPLOADED)


async def converse(trial: Trial) -> None:
    """The response begins before the request has ended, and answers each of its pieces."""
    connection = await trial.connect()
    await connection.send_head("POST", "/converse", [("Transfer-Encoding", "chunked")])
    await connection.send(b"3\r\none\r\n")
    pieces = connection.receive_body(await connection.receive_head())
    trial.say(repr(await pieces.__anext__()))
    await connection.send(b"3\r\ntwo\r\n")
    trial.say(repr(await pieces.__anext__()))
    await connection.send(b"0\r\n\r\n")
    trial.say(repr([piece async for piece in pieces]))
    trial.say(await connection.ask_whether_open())


# A response that begins before the end of a chunked body says that the connection closes.
add_http("conversation", converse, ["b'one'", "b'two'", "[]", "connection closed"], of="quart falcon")


# ------------------------------------------------------------------------------------ not to the end


async def leave_upload(trial: Trial) -> None:
    connection = await trial.connect()
    await connection.send_head("POST", "/upload", [("Content-Length", str(BIG))])
    for piece in itertools.islice(make_pieces(BIG), 16):
        await connection.send(piece)
    # The application has to be in the middle of it.
    await asyncio.sleep(2 * HELD_UP_SECONDS)
    connection.drop()
    await trial.wait_application("upload ends")


async def leave_download(trial: Trial) -> None:
    connection = await trial.connect()
    await connection.send_request("GET", "/download")
    async for piece in connection.receive_body(await connection.receive_head()):
        trial.say("a piece" if piece else "nothing")
        break
    connection.drop()
    trial.say(await (await trial.connect()).ask_whether_open())


async def be_ignored(trial: Trial, body: Body) -> None:
    """The application answers without reading the body; the answer has to come through all the same."""
    connection = await trial.connect()
    sending = asyncio.ensure_future(connection.send_request("POST", "/ignore", body=body))
    answer = await connection.receive_answer()
    trial.say(f"{answer.status} {answer.text}, Connection: {answer.find('connection')}")
    try:
        await sending
    except Ended:
        trial.say("connection closed")
    else:
        trial.say(await connection.ask_whether_open())


async def expect_continue(trial: Trial) -> None:
    """RFC 9110 10.1.1: the body follows when the server asks for it."""
    connection = await trial.connect()
    headers = [*typed(JSON), ("Expect", "100-continue"), ("Content-Length", str(len(TEXT)))]
    await connection.send_head("POST", "/json", headers)
    trial.say((await connection.receive_head()).first_line)
    await connection.send(TEXT)
    trial.say(describe_json(await connection.receive_answer()))
    trial.say(await connection.ask_whether_open())


async def be_refused_at_once(trial: Trial) -> None:
    """The answer comes instead of 100, and the body is never sent."""
    connection = await trial.connect()
    await connection.send_head("POST", "/ignore", [("Expect", "100-continue"), ("Content-Length", "10")])
    head = await connection.receive_head()
    trial.say(f"{head.status}, Connection: {head.find('connection')}")


async def fail(trial: Trial, body: Body) -> None:
    connection = await trial.connect()
    trial.say(str((await connection.exchange("POST", "/fail", body=body)).status))
    trial.say(await connection.ask_whether_open())


async def fail_late(trial: Trial) -> None:
    """It raises in the middle of a response: what has begun must not look whole."""
    connection = await trial.connect()
    await connection.send_request("GET", "/fail-late")
    head = await connection.receive_head()
    trial.say(str(head.status))
    async for piece in connection.receive_body(head):
        trial.say(repr(piece))


ASKED = ["HTTP/1.1 100 Continue", ECHOED[0], OPEN]

add_http("upload left in the middle", leave_upload, ["application: upload ends at once"], log=None)
add_http("download left in the middle", leave_download, ["a piece", OPEN])
STAYS = ["202 later, Connection: None", OPEN]
CLOSES = ["202 later, Connection: close", "connection closed"]
add_http("answers without a small body", be_ignored, STAYS, body=bytes(10_000))
add_http("answers without a large body", be_ignored, CLOSES, body=bytes(10 * MIB))
add_http("answers without a large body, chunked", be_ignored, CLOSES, body=list(make_pieces(10 * MIB)))
add_http("Expect: 100-continue", expect_continue, ASKED)
add_http("Expect, refused at once", be_refused_at_once, ["202, Connection: close"])
FAILED = ["500", OPEN]
LATE = ["200", "b'one'", "EOF"]
add_http("page raises", fail, FAILED, [PURPOSE], of="starlette", body=b"body")
add_http("page raises in the middle", fail_late, LATE, ["server ERROR ..."], of="litestar falcon")
