"""What `metrics_path` and `health_path` show, against loads of known size, by Prometheus' own parsers.

Clients make a load whose messages, bytes, close codes, compression and refusals are known: the figures must
be exactly those, for prometheus_client's parser, and `promtool check metrics` must have nothing to say. Then
a thousand scrapes under load, health checks of a server that is full and of one that drains, scrapers that do
not read, and two workers of which one is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Awaitable, Callable, Dict, List, Tuple

from .lib.environment import Unavailable, enter_environment, report_folder
from .lib.parts import run_parts, write_parts
from .lib.report import Page
from .lib.servers import ServerProcess
from .lib.wire import build_close, build_frame

REQUIREMENTS = ["prometheus_client==0.26.0", "websockets==17.4"]

PATHS = ["--metrics-path", "/metrics", "--health-path", "/healthz"]
ORIGIN = "https://a.example"

# Seconds for one step.
TIMEOUT = 60
# Seconds: a worker shows the others as they were up to a quarter of a second before.
SETTLED = 0.6

# Connections before the load: one that found out whether the server listens, and a first scrape.
STARTED = 2

KEY = bytes(4)
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

Figures = Dict[Tuple[str, ...], float]


class Wrong(Exception):
    """A figure is not what it must be."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An echo, which closes with the code that the path names, and pages of the status that it names."""
    name = scope["path"].strip("/")
    if scope["type"] == "lifespan":
        raise RuntimeError("on purpose: no lifespan")
    if scope["type"] == "http":
        status = int(name) if name.isdigit() else 200
        await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body", "body": b"" if status == 204 else b"page"})
        return
    await receive()
    if name == "refuse":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    if name.isdigit():
        await send({"type": "websocket.close", "code": int(name)})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


# ------------------------------------------------------------------------------ asking


async def request(port: int, data: bytes) -> Tuple[int, bytes]:
    """Send a request on a connection of its own; return status and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), TIMEOUT)
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body


def build_get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()


async def scrape(port: int) -> str:
    status, body = await request(port, build_get("/metrics"))
    expect("the scrape's status", status, 200)
    return body.decode()


def parse(text: str) -> Figures:
    """Each value by its name and its labels' values, in their order; a series that comes twice is wrong."""
    from prometheus_client.parser import text_string_to_metric_families

    figures: Figures = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name[len("wsbridge_") :], *sample.labels.values())
            if key in figures or not sample.name.startswith("wsbridge_"):
                raise Wrong(f"{key}: a second time, or not ours")
            figures[key] = sample.value
    return figures


async def ask(port: int) -> Figures:
    return parse(await scrape(port))


def expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise Wrong(f"{what}: {found}, not {expected}")


def expect_figures(figures: Figures, expected: Dict[Tuple[str, ...], float], *names: str) -> None:
    """Of these names there are exactly the expected figures; what is 0 may be missing."""
    found = {key: value for key, value in figures.items() if key[0] in names and value}
    if found != expected:
        differing = {
            key: (found.get(key), expected.get(key))
            for key in {*found, *expected}
            if found.get(key) != expected.get(key)
        }
        raise Wrong(f"found and expected: {differing}")


# ------------------------------------------------------------------------------- loads


def connect(port: int, path: str = "/", *, deflate: bool = True) -> Any:
    """A WebSocket of websockets, which sends no pings."""
    from websockets.asyncio import client

    url, compression = f"ws://127.0.0.1:{port}{path}", "deflate" if deflate else None
    return client.connect(url, compression=compression, ping_interval=None, proxy=None)


async def echo(port: int, messages: int, size: int, code: int = 1000, *, deflate: bool = False) -> None:
    async with connect(port, deflate=deflate) as client:
        for number in range(messages):
            message = f"{number:0{size}}"
            await client.send(message)
            expect("an echo", await client.recv(), message)
        await client.close(code)


async def open_raw(port: int) -> Tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(UPGRADE)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT)
    expect("the handshake", head[:12], b"HTTP/1.1 101")
    return reader, writer


async def end_raw(port: int, last: bytes) -> None:
    """Open a WebSocket, send ``last``, and read to the end; without it the connection is lost."""
    reader, writer = await open_raw(port)
    if last:
        writer.write(last)
        await asyncio.wait_for(reader.read(), TIMEOUT)
        writer.close()
    else:
        writer.transport.abort()


async def close_by_application(port: int, code: int) -> None:
    async with connect(port, f"/{code}") as client:
        await client.wait_closed()


# ------------------------------------------------------------------------------ checks


async def check_exact_figures(server: ServerProcess) -> None:
    """Every counter, for a load that is known."""
    port = server.port
    await asyncio.gather(*(echo(port, 50, 100) for _ in range(20)))
    for code in (1001, 3000, 3999, 4000, 4999):
        await end_raw(port, build_frame(0x88, build_close(code), KEY))
    await end_raw(port, build_frame(0x88, b"", KEY))
    await end_raw(port, b"\x81\x01a")
    await end_raw(port, b"")
    await close_by_application(port, 1013)
    figures = await ask(port)
    size, close = 20 * 50, 20 * 8
    raw = 5 * 8 + 6 + 3 + 8
    violation = 4 + len("unmasked frame from a client")
    expect_figures(
        figures,
        {
            ("websocket_messages_total", "received"): size,
            ("websocket_messages_total", "sent"): size,
            ("websocket_bytes_total", "received"): size * 106 + close + raw,
            ("websocket_bytes_total", "sent"): size * 102 + 20 * 4 + 5 * 4 + 2 + violation + 4,
            ("websocket_closes_total", "1000", "client"): 20,
            ("websocket_closes_total", "1001", "client"): 1,
            ("websocket_closes_total", "3000-3999", "client"): 2,
            ("websocket_closes_total", "4000-4999", "client"): 2,
            ("websocket_closes_total", "1005", "client"): 1,
            ("websocket_closes_total", "1002", "violation"): 1,
            ("websocket_closes_total", "1006", "lost"): 1,
            ("websocket_closes_total", "1013", "application"): 1,
            ("handshakes_total", "101"): 29,
        },
        *("websocket_messages_total", "websocket_bytes_total", "websocket_closes_total", "handshakes_total"),
        *("deflate_compressed_bytes_total", "deflate_uncompressed_bytes_total"),
    )
    expect("connections", figures["connections_total",], 29 + STARTED + 1)
    expect("open WebSockets", figures["connections", "open"], 0)


async def check_compression(server: ServerProcess) -> None:
    """The bytes of frames are those of their headers, of what is compressed, and of the CLOSE."""
    await asyncio.gather(*(echo(server.port, 50, 100, deflate=True) for _ in range(10)))
    figures = await ask(server.port)
    for direction, header, close in (("received", 6, 8), ("sent", 2, 4)):
        expect("uncompressed", figures["deflate_uncompressed_bytes_total", direction], 10 * 50 * 100)
        compressed = figures["deflate_compressed_bytes_total", direction]
        expected = compressed + 10 * 50 * header + 10 * close
        expect("bytes of frames", figures["websocket_bytes_total", direction], expected)
        if not 0 < compressed < 10 * 50 * 50:
            raise Wrong(f"{compressed} compressed bytes {direction}")


async def check_requests_and_refusals(server: ServerProcess) -> None:
    """Pages by method and status, and each kind of refusal; what the server answers itself does not count."""
    port = server.port
    for path, method, count in (
        *(("/", "GET", 7), ("/404", "GET", 3), ("/299", "POST", 2), ("/204", "PROPFIND", 4)),
        *(("/", "HEAD", 1), ("/", "X" * 500, 1)),
    ):
        for _ in range(count):
            await request(port, build_get(path, method))
    for data, status in (
        (UPGRADE.replace(b"Version: 13", b"Version: 12"), 426),
        (UPGRADE[:-2] + b"Origin: https://b.example\r\n\r\n", 403),
        (UPGRADE.replace(b"/chat", b"/refuse"), 403),
        (UPGRADE.replace(b"/chat", b"/metrics"), 404),
        (UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"), 426),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 70000 + b"\r\n\r\n", 431),
    ):
        expect("a refusal", (await request(port, data))[0], status)
    for method in ("GET", "HEAD", "OPTIONS", "DELETE"):
        expect("health", (await request(port, build_get("/healthz", method)))[0], 200)
    expect("health of HTTP/1.0", await request(port, b"OPTIONS /healthz HTTP/1.0\r\n\r\n"), (200, b"ok\n"))
    expect("another method", (await request(port, build_get("/metrics", "PUT")))[0], 405)
    figures = await ask(port)
    expect_figures(
        figures,
        {
            ("http_requests_total", "GET", "200"): 7,
            ("http_requests_total", "GET", "404"): 3,
            ("http_requests_total", "POST", "2xx"): 2,
            ("http_requests_total", "other", "204"): 4,
            ("http_requests_total", "HEAD", "200"): 1,
            ("http_requests_total", "other", "200"): 1,
            ("http_requests_total", "GET", "400"): 1,
            ("http_requests_total", "other", "400"): 1,
            ("http_requests_total", "GET", "431"): 1,
            ("handshakes_total", "426"): 2,
            ("handshakes_total", "403"): 2,
            ("handshakes_total", "404"): 1,
        },
        *("http_requests_total", "handshakes_total"),
    )
    if "healthz" in server.read_log() or '"GET /metrics' in server.read_log():
        raise Wrong("a line of the log has a path that the server answers itself")


async def check_pings(server: ServerProcess) -> None:
    """Each answered ping is in the histogram once; a client that does not answer is none."""
    async with connect(server.port):
        _, silent = await open_raw(server.port)
        await asyncio.sleep(1.5)
        figures = await ask(server.port)
        silent.transport.abort()
    counts = [value for key, value in figures.items() if key[0] == "ping_seconds_bucket"]
    count = figures["ping_seconds_count",]
    expect("order of the buckets", counts, sorted(counts))
    expect("the last bucket", figures["ping_seconds_bucket", "+Inf"], count)
    if not 2 <= count <= 6 or not 0 < figures["ping_seconds_sum",] < 1:
        raise Wrong(f"{count} pings of {figures['ping_seconds_sum',]} s")


async def check_scrapes_under_load(server: ServerProcess) -> None:
    """A thousand scrapes while messages are exchanged: no counter goes back, no gauge is below 0."""
    port = server.port
    loads = asyncio.gather(*(echo(port, 400, 100) for _ in range(10)))
    before: Figures = {}
    for number in range(1000):
        figures = await ask(port) if number % 10 == 0 else None
        if figures is None:
            await scrape(port)
            continue
        for key, value in figures.items():
            is_counter = key[0].endswith(("_total", "_count", "_sum", "_bucket"))
            if value < (before.get(key, 0) if is_counter else 0):
                raise Wrong(f"{key} goes from {before.get(key)} to {value}")
        before = figures
    await asyncio.wait_for(loads, TIMEOUT)
    figures = await ask(port)
    expect("messages", figures["websocket_messages_total", "received"], 4000)
    expect("connections", figures["connections_total",], 10 + 1000 + STARTED + 1)
    expect_figures(figures, {}, "http_requests_total")


async def check_slow_scrapers(server: ServerProcess) -> None:
    """Scrapers that send requests without end and read nothing hold up nobody, and are cut in the end."""
    port = server.port
    writers = []
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(build_get("/metrics").replace(b"Connection: close\r\n", b"") * 20000)
        writers.append(writer)
    figures = await wait_for_paused(port, 5)
    if not 0 < figures["write_buffer_bytes",] < 5 * 1024 * 1024:
        raise Wrong(f"{figures['write_buffer_bytes',]} bytes are buffered")
    begun = time.monotonic()
    await echo(port, 50, 100)
    await ask(port)
    if time.monotonic() - begun > 2:
        raise Wrong(f"50 messages and a scrape took {time.monotonic() - begun:.1f} s")
    # By `timeout_write`.
    await wait_for_paused(port, 0)
    for writer in writers:
        writer.transport.abort()


async def wait_for_paused(port: int, count: int) -> Figures:
    """Ask until that many connections wait for their peer."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        figures = await ask(port)
        if figures["paused_connections", "write"] == count:
            return figures
        await asyncio.sleep(0.1)
    raise Wrong(f"{figures['paused_connections', 'write']} connections wait for their peer, not {count}")


async def check_full_and_draining(server: ServerProcess) -> None:
    """A full server is healthy, and shows that it is full; one that drains is not healthy."""
    port = server.port
    sockets = [await open_raw(port) for _ in range(5)]
    for _ in range(20):
        expect("a page of a full server", (await request(port, build_get("/")))[0], 503)
        expect("health of a full server", await request(port, build_get("/healthz")), (200, b"ok\n"))
    figures = await ask(port)
    expect("open WebSockets", figures["connections", "open"], 5)
    expect("refused", figures["http_requests_total", "GET", "503"], 20)
    sockets.pop()[1].transport.abort()
    sockets.pop()[1].transport.abort()
    early = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    await asyncio.sleep(0.3)
    server.send_signal(signal.SIGTERM)
    await asyncio.sleep(1)
    for (reader, writer), path in zip(early, ("/healthz", "/metrics")):
        writer.write(build_get(path))
        head, _, body = (await asyncio.wait_for(reader.read(), TIMEOUT)).partition(b"\r\n\r\n")
        writer.close()
        if path == "/healthz":
            expect("health of a server that drains", (head[9:12], body), (b"503", b"stopping\n"))
        else:
            figures = parse(body.decode())
            expect("closing WebSockets", figures["connections", "closing"], 3)
    for _, writer in sockets:
        writer.transport.abort()
    for _ in range(100):
        if server.poll() is not None:
            break
        await asyncio.sleep(0.1)
    expect("exit code", server.poll(), 0)


async def check_workers(server: ServerProcess) -> None:
    """The sum over workers is that of the load; a worker that is killed takes only its own figures along."""
    port = server.port
    await asyncio.gather(*(echo(port, 50, 100) for _ in range(40)))
    await asyncio.sleep(SETTLED)
    figures = await ask(port)
    expect("messages", sum_over_workers(figures, "websocket_messages_total", "received"), 2000)
    expect("handshakes", sum_over_workers(figures, "handshakes_total", "101"), 40)
    expect("workers", {key[1] for key in figures if key[0] == "connections_total"}, {"1", "2"})
    by_worker = [figures["websocket_messages_total", worker, "received"] for worker in ("1", "2")]
    started = [figures["start_time_seconds", worker] for worker in ("1", "2")]
    text = subprocess.run(["pgrep", "-P", str(server.pid)], capture_output=True, check=True).stdout
    os.kill(int(text.split()[-1]), signal.SIGKILL)
    await asyncio.sleep(3)
    figures = await ask(port)
    replaced = [figures["start_time_seconds", worker] != before for worker, before in zip("12", started)]
    expect("workers that were replaced", sum(replaced), 1)
    after = [figures["websocket_messages_total", worker, "received"] for worker in ("1", "2")]
    expect("messages", after, [0 if new else count for new, count in zip(replaced, by_worker)])


def sum_over_workers(figures: Figures, name: str, *labels: str) -> float:
    return sum(value for key, value in figures.items() if (key[0], *key[2:]) == (name, *labels))


ALONE = [*PATHS, "--ws-ping-interval", "none"]
CHECKS: Dict[str, Tuple[List[str], Callable[[ServerProcess], Awaitable[None]]]] = {
    "exact figures": (ALONE, check_exact_figures),
    "compression": (ALONE, check_compression),
    "requests and refusals": ([*ALONE, "--allowed-origins", ORIGIN], check_requests_and_refusals),
    "pings": ([*PATHS, "--ws-ping-interval", "0.3", "--ws-ping-timeout", "none"], check_pings),
    "scrapes under load": (ALONE, check_scrapes_under_load),
    "slow scrapers": (
        [*ALONE, "--timeout-write", "8", "--limit-keep-alive-requests", "1000000"],
        check_slow_scrapers,
    ),
    "full and draining": ([*ALONE, "--limit-concurrency", "5"], check_full_and_draining),
    "two workers": ([*ALONE, "--workers", "2"], check_workers),
}


def check_text(text: str) -> None:
    """`promtool check metrics`: the format, names, units and texts."""
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=TIMEOUT
    )
    if done.returncode or done.stdout or done.stderr:
        raise Wrong(f"promtool: {(done.stdout + done.stderr).decode()}")


async def run_check(name: str, folder: Path) -> None:
    options, check = CHECKS[name]
    arguments = ["--host", "127.0.0.1", "--port", "{port}", "--no-access-log", *options]
    if name == "requests and refusals":
        arguments.remove("--no-access-log")
    command = [sys.executable, "-m", "wsbridge", "conformance.metrics:app", *arguments]
    async with ServerProcess(name, command, folder / f"{name.replace(' ', '-')}.log") as server:
        check_text(await scrape(server.port))
        await asyncio.wait_for(check(server), 3 * TIMEOUT)
        if server.poll() is None:
            check_text(await scrape(server.port))
    if server.find_tracebacks():
        raise Wrong(f"its log has tracebacks: {server.find_tracebacks()}")


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py metrics", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", action="append", choices=[*CHECKS], help="one part; may be repeated")
    arguments = parser.parse_args(argv)
    if shutil.which("promtool") is None:
        raise Unavailable("promtool is missing: apt-get install prometheus")
    enter_environment("metrics", REQUIREMENTS)
    folder = report_folder("metrics")
    parts = {name: functools.partial(run_check, name) for name in CHECKS}
    found = asyncio.run(run_parts("metrics", parts, arguments.only or [*CHECKS], folder))
    page = Page("Metrics", f"CPython {sys.version.split()[0]}; {', '.join(REQUIREMENTS)}")
    return write_parts(page, "part", found, folder / "index.html")
