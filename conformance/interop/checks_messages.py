"""Messages of every kind and size there and back, fragments, compression, order, backpressure."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from typing import Any, AsyncIterator, List, Sequence

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory as Deflate

from conformance.interop.trial import Trial, expect_echo, expect_flood, expect_message, make_key
from conformance.lib import wire
from conformance.lib.clients import Message

pytestmark = pytest.mark.servers("server", "streams")

MIB = 1024 * 1024
TEXTS = ["hello", "ünïcödé", "日本語", "🙂 𐍈 \U0010ffff", "line\r\nbreak\ttab", "\x00\x7f\u0080", " "]
LENGTHS = [1, 2, 124, 125, 126, 127, 128, 65534, 65535, 65536, 65537]


def build_text(size: int) -> str:
    """Text of `size` bytes with characters of every width, so that chunks end inside some of them."""
    unit = "aé€🙂"
    text = unit * (size // len(unit.encode()))
    return text + "x" * (size - len(text.encode()))


def build_noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


ECHOES: List[Sequence[Message]] = [
    pytest.param(TEXTS, id="text"),
    pytest.param([bytes(range(256)), b"\xff\xfe\x80\x00"], id="binary"),
    pytest.param(["", b"", "", "after"], id="empty messages"),
    pytest.param([build(size) for size in LENGTHS for build in (build_noise, build_text)], id="length forms"),
    pytest.param([build_text(MIB)], id="1 MiB of text"),
    pytest.param([build_noise(MIB)], id="1 MiB of binary"),
]


@pytest.mark.servers("server", "streams", "tls", "unix")
@pytest.mark.parametrize("messages", ECHOES)
async def test_echoes(trial: Trial, messages: Sequence[Message]) -> None:
    async with trial.connect("/echo") as connection:
        await expect_echo(connection, *messages)


@pytest.mark.servers("server", "streams", "tls")
async def test_keeps_the_order_of_500_messages(trial: Trial) -> None:
    messages = [f"message {n}" if n % 3 else b"message %d" % n for n in range(500)]
    async with trial.connect("/echo") as connection:
        _, got = await asyncio.gather(connection.send_all(messages), connection.receive_all(len(messages)))
    assert got == messages


@pytest.mark.needs("tabs")
@pytest.mark.parametrize("kind", ["new Blob([data])", "data", "data.buffer"])
async def test_takes_blobs_and_views(trial: Trial, kind: str) -> None:
    data = b"\x00\x01" * 5000
    async with trial.connect("/echo") as connection:
        await connection.socket.evaluate(f"(socket, data) => socket.send({kind})", data)
        expect_message(await connection.receive(), data)


# --------------------------------------------------------------------------------- fragments


def describe_sent(connection: Any) -> str:
    """The client's frames in short: opcode, "+" where more follows."""
    return " ".join(f"{frame.opcode}{'' if frame.fin else '+'}" for frame in connection.tap.client.frames)


@pytest.mark.needs("fragments")
@pytest.mark.parametrize(
    ("parts", "deflate"),
    [
        pytest.param([b"one ", b"", b"two ", b"three"], True, id="with an empty one"),
        pytest.param(
            [bytes([byte]) for byte in "é€🙂\U0010ffff".encode()], False, id="cut inside characters"
        ),
        pytest.param([build_noise(size).hex().encode() for size in range(2048, 2304)], True, id="1 MiB"),
    ],
)
@pytest.mark.parametrize("text", [True, False], ids=["text", "binary"])
async def test_joins_fragments(trial: Trial, parts: List[bytes], deflate: bool, text: bool) -> None:
    async with trial.connect("/echo", deflate=deflate) as connection:
        await connection.send_fragments(parts, text=text)
        expect_message(await connection.receive(), b"".join(parts).decode() if text else b"".join(parts))
        assert describe_sent(connection) == f"{1 if text else 2}+ " + "0+ " * (len(parts) - 1) + "0"


@pytest.mark.needs("fragments", "pings")
async def test_answers_pings_between_fragments(trial: Trial) -> None:
    async with trial.connect("/echo") as connection:

        async def parts() -> AsyncIterator[bytes]:
            yield b"before "
            await connection.ping(b"between")
            yield b"after"

        await connection.send_fragments(parts(), text=True)
        assert await connection.receive() == "before after"
        assert describe_sent(connection) == "1+ 9 0+ 0"


# ------------------------------------------------------------------------------- compression


def expect_compressed(connection: Any, message: bytes) -> None:
    """Demand that the last message went compressed both ways."""
    sent = [frame for frame in connection.tap.client.frames if frame.opcode in (wire.TEXT, wire.BINARY)]
    received = [frame for frame in connection.tap.server.frames if not frame.is_control]
    assert sent[-1].rsv1 and received[-1].rsv1
    assert len(received[-1].payload) < len(message) / 10


@pytest.mark.servers("server", "streams", "unix")
@pytest.mark.parametrize(
    "data", [b"wsbridge compresses this. " * 400, b"0123456789abcdef" * (MIB // 16)], ids=["10 KiB", "1 MiB"]
)
async def test_compresses_both_ways(trial: Trial, data: bytes) -> None:
    async with trial.connect("/echo") as connection:
        print("agreed:", connection.tap.extensions, "- the client shows:", connection.extensions)
        assert connection.tap.extensions.startswith("permessage-deflate")
        for message in (data, data.decode()):
            await expect_echo(connection, message)
            expect_compressed(connection, data)


async def test_keeps_its_compression_context(trial: Trial) -> None:
    """The same incompressible message twice, shorter than any window: the second points to the first."""
    data = build_noise(2000)
    async with trial.connect("/echo") as connection:
        if "server_no_context_takeover" in connection.tap.extensions:
            print("agreed to do without:", connection.tap.extensions)
            return
        await expect_echo(connection, data, data)
        first, second = [len(frame.payload) for frame in connection.tap.server.frames][:2]
    assert second < first / 10


async def test_mixes_compressible_and_not(trial: Trial) -> None:
    """Short, long, empty and incompressible messages by turns, so that both contexts must stay in step."""
    async with trial.connect("/echo") as connection:
        for turn in range(40):
            size = (turn * 977) % 9000
            await expect_echo(connection, [build_noise(size), build_text(size), "", "short"][turn % 4])


@pytest.mark.needs("no deflate offer")
async def test_does_not_compress_unasked(trial: Trial) -> None:
    async with trial.connect("/echo", deflate=False) as connection:
        assert connection.tap.extensions == ""
        await expect_echo(connection, "a" * 10_000, build_text(MIB), build_noise(MIB))
        frames = [(frame.rsv1, len(frame.payload)) for frame in connection.tap.server.frames]
        assert frames == [(False, 10_000), (False, MIB), (False, MIB)]


OFFERS = [
    Deflate(server_no_context_takeover=True),
    Deflate(client_no_context_takeover=True),
    Deflate(server_no_context_takeover=True, client_no_context_takeover=True),
    Deflate(client_max_window_bits=None),
    Deflate(client_max_window_bits=9),
    Deflate(server_max_window_bits=9, client_max_window_bits=None),
    Deflate(True, True, 10, 11),
]


async def echo_in_deflate(trial: Trial, deflate: Any) -> str:
    """Compress with one offer: repeated messages, longer than any window, must survive both ways."""
    text = build_text(3000)
    async with trial.connect("/echo", deflate=deflate) as connection:
        await expect_echo(connection, text, text, text * 20, build_noise(40_000), text)
        expect_compressed(connection, text.encode())
    return str(connection.tap.extensions)


@pytest.mark.needs("deflate parameters")
@pytest.mark.parametrize("bits", range(9, 16))
async def test_compresses_with_a_window_of(trial: Trial, bits: int) -> None:
    found = re.search(r"server_max_window_bits=(\d+)", await echo_in_deflate(trial, bits))
    # RFC 7692 7.1.2.1: the answer may be lower than what was asked for. 15 is as good as no request.
    assert bits == 15 or (found is not None and 8 <= int(found[1]) <= bits)


@pytest.mark.needs("all deflate parameters")
@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: str(offer.get_request_params()))
async def test_compresses_with(trial: Trial, offer: Deflate) -> None:
    agreed = await echo_in_deflate(trial, offer)
    assert "server_no_context_takeover" in agreed or not offer.server_no_context_takeover
    assert "client_max_window_bits" not in agreed or offer.client_max_window_bits is not None


# ------------------------------------------------------------------------ order, backpressure


async def test_delivers_all_before_the_close(trial: Trial) -> None:
    """What the client sent right before its CLOSE reaches the application, all of it, and then the CLOSE."""
    key, texts = make_key(), [f"message {n} " + "x" * (n * 7) for n in range(200)]
    async with trial.connect(f"/count?key={key}") as connection:
        await connection.send_all(texts)
        await connection.finish(1000)
    digest = hashlib.sha256("".join(texts).encode()).hexdigest()
    assert await trial.fetch_seen(key) == {"messages": 200, "digest": digest, "code": 1000}


@pytest.mark.needs("backpressure")
async def test_waits_for_a_slow_reader(trial: Trial) -> None:
    """The wire stands still for a second while the application sends 24 MiB: nothing lost, order kept."""
    count, size = 384, 65536
    async with trial.connect(f"/flood?count={count}&size={size}", deflate=False) as connection:
        connection.tap.server.flows.clear()
        await asyncio.sleep(1.0)
        connection.tap.server.flows.set()
        await expect_flood(connection, count, size)


async def test_serves_20_connections_at_once(trial: Trial) -> None:
    async def talk(number: int) -> None:
        async with trial.connect("/echo") as connection:
            for turn in range(10):
                await expect_echo(connection, f"connection {number}, turn {turn}")

    await asyncio.gather(*(talk(number) for number in range(20)))
