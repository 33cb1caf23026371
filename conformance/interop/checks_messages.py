"""Messages of every kind and size there and back, fragments, compression, order, backpressure."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from typing import AsyncIterator, List, Optional

from conformance.interop.trial import (
    Connection,
    Deflate,
    Message,
    Trial,
    check,
    expect,
    expect_closed,
    expect_echo,
    expect_true,
    list_checks,
    make_key,
)
from conformance.lib import wire

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


@check()
async def echoes_text(trial: Trial) -> str:
    async with trial.connect("/echo") as connection:
        for text in TEXTS:
            await expect_echo(connection, text)
    return f"{len(TEXTS)} texts, of every UTF-8 width"


@check()
async def echoes_binary(trial: Trial) -> str:
    async with trial.connect("/echo") as connection:
        await expect_echo(connection, bytes(range(256)))
        await expect_echo(connection, b"\xff\xfe\x80\x00")
        opcodes = [frame.opcode for frame in connection.wire.received_frames()]
        expect("opcodes from the server", opcodes, [wire.BINARY] * 2)
    return "all 256 bytes"


@check()
async def echoes_empty_messages(trial: Trial) -> None:
    async with trial.connect("/echo") as connection:
        for message in ("", b"", "", "after"):
            await expect_echo(connection, message)


@check()
async def echoes_every_length_form(trial: Trial) -> str:
    async with trial.connect("/echo") as connection:
        for size in LENGTHS:
            await expect_echo(connection, build_noise(size))
            await expect_echo(connection, build_text(size))
    return f"text and binary of {LENGTHS[0]} to {LENGTHS[-1]} bytes"


async def echo_counting_frames(trial: Trial, message: Message) -> str:
    async with trial.connect("/echo") as connection:
        await expect_echo(connection, message)
        frames = [frame for frame in connection.wire.sent_frames() if not frame.is_control]
    return f"in {len(frames)} frame{'s' * (len(frames) > 1)} from the client"


@check()
async def echoes_1_MiB_of_text(trial: Trial) -> str:
    return await echo_counting_frames(trial, build_text(MIB))


@check()
async def echoes_1_MiB_of_binary(trial: Trial) -> str:
    return await echo_counting_frames(trial, build_noise(MIB))


@check("no deflate offer")
async def echoes_1_MiB_uncompressed(trial: Trial) -> None:
    async with trial.connect("/echo", deflate=False) as connection:
        await expect_echo(connection, build_text(MIB))
        await expect_echo(connection, build_noise(MIB))


@check()
async def keeps_the_order_of_500_messages(trial: Trial) -> None:
    messages = [f"message {n}" if n % 3 else b"message %d" % n for n in range(500)]
    async with trial.connect("/echo") as connection:
        _, got = await asyncio.gather(connection.send_all(messages), connection.receive_all(len(messages)))
    expect("the echoes", got, messages)


@check("blobs")
async def takes_blobs_and_views(trial: Trial) -> None:
    async with trial.connect("/echo") as connection:
        for kind in ("blob", "view", "buffer"):
            await connection.send_binary(b"\x00\x01" * 5000, kind)  # type: ignore[attr-defined]
            expect(f"echoed {kind}", await connection.receive(), b"\x00\x01" * 5000)


# --------------------------------------------------------------------------------- fragments


def describe_sent(connection: Connection) -> List[str]:
    """The client's frames in short: opcode, "+" where more follows."""
    return [f"{frame.opcode}{'' if frame.fin else '+'}" for frame in connection.wire.sent_frames()]


@check("fragments")
async def joins_fragments(trial: Trial) -> str:
    parts = [b"one ", b"", b"two ", b"three"]
    async with trial.connect("/echo") as connection:
        await connection.send_fragments(parts, text=True)
        expect("echo of 4 text fragments", await connection.receive(), "one two three")
        await connection.send_fragments(parts, text=False)
        expect("echo of 4 binary fragments", await connection.receive(), b"one two three")
        sent = " ".join(describe_sent(connection))
    expect("frames sent", sent, "1+ 0+ 0+ 0+ 0 2+ 0+ 0+ 0+ 0")
    return f"frames {sent}"


@check("fragments", "no deflate offer")
async def joins_fragments_cut_inside_characters(trial: Trial) -> None:
    text = "é€🙂\U0010ffff"
    parts = [bytes([byte]) for byte in text.encode()]
    async with trial.connect("/echo", deflate=False) as connection:
        await connection.send_fragments(parts, text=True)
        expect(f"echo of {text!r} sent byte by byte", await connection.receive(), text)


@check("fragments")
async def joins_fragments_of_1_MiB(trial: Trial) -> None:
    data = build_noise(MIB)
    async with trial.connect("/echo") as connection:
        await connection.send_fragments([data[at : at + 4096] for at in range(0, MIB, 4096)], text=False)
        expect("echo of 256 fragments of 4 KiB", await connection.receive(), data)


@check("fragments", "pings")
async def answers_pings_between_fragments(trial: Trial) -> str:
    async with trial.connect("/echo") as connection:

        async def parts() -> AsyncIterator[bytes]:
            yield b"before "
            await connection.ping(b"between")
            yield b"after"

        await connection.send_fragments(parts(), text=True)
        expect("echo of fragments with a PING between", await connection.receive(), "before after")
        sent = " ".join(describe_sent(connection))
    expect("frames sent", sent, "1+ 9 0+ 0")
    return f"frames {sent}"


# ------------------------------------------------------------------------------- compression


def describe_compression(connection: Connection, message: bytes) -> str:
    """Demand that the last message went compressed both ways, and tell the sizes."""
    wired = connection.wire
    sent = [frame for frame in wired.sent_frames() if not frame.is_control]
    received = [frame for frame in wired.received_frames() if not frame.is_control]
    size = len(received[-1].payload)
    expect(f"RSV1 of the server's frame for {len(message)} bytes", received[-1].rsv1, True)
    expect_true("size of the server's frame, to be under a tenth", size < len(message) / 10, size)
    first = next(frame for frame in reversed(sent) if frame.opcode != wire.CONTINUATION)
    expect("RSV1 of the client's frame", first.rsv1, True)
    return f"{len(message):,} bytes as {len(first.payload):,} there, {size:,} back"


@check()
async def compresses_both_ways(trial: Trial) -> str:
    text = "wsbridge compresses this. " * 400
    async with trial.connect("/echo") as connection:
        agreed = connection.wire.extensions
        expect_true("Sec-WebSocket-Extensions of the 101", agreed.startswith("permessage-deflate"), agreed)
        await expect_echo(connection, text)
        detail = describe_compression(connection, text.encode())
        shown = connection.describe_extensions()
    return f"{agreed}; client: {shown}; {detail}"


@check()
async def compresses_1_MiB(trial: Trial) -> str:
    data = b"0123456789abcdef" * (MIB // 16)
    async with trial.connect("/echo") as connection:
        await expect_echo(connection, data)
        return describe_compression(connection, data)


@check()
async def keeps_its_compression_context(trial: Trial) -> Optional[str]:
    """The same incompressible message twice, shorter than any window: the second points to the first."""
    data = build_noise(2000)
    async with trial.connect("/echo") as connection:
        if "server_no_context_takeover" in connection.wire.extensions:
            return f"agreed to do without: {connection.wire.extensions}"
        await expect_echo(connection, data)
        await expect_echo(connection, data)
        first, second = [len(frame.payload) for frame in connection.wire.received_frames()][:2]
    expect_true("size of the second of two like messages", second < first / 10, (first, second))
    return f"{first:,} bytes, then {second:,}"


@check()
async def mixes_compressible_and_not(trial: Trial) -> None:
    """Short, long, empty and incompressible messages by turns, so that both contexts must stay in step."""
    async with trial.connect("/echo") as connection:
        for turn in range(40):
            size = (turn * 977) % 9000
            messages: List[Message] = [build_noise(size), build_text(size), "", "short"]
            await expect_echo(connection, messages[turn % 4])


@check("no deflate offer")
async def does_not_compress_unasked(trial: Trial) -> None:
    async with trial.connect("/echo", deflate=False) as connection:
        expect("Sec-WebSocket-Extensions of the 101", connection.wire.extensions, "")
        await expect_echo(connection, "a" * 10_000)
        frame = connection.wire.received_frames()[-1]
        expect("RSV1 and size of the answer", (frame.rsv1, len(frame.payload)), (False, 10_000))


async def echo_in_deflate(trial: Trial, deflate: object) -> str:
    """Compress with one offer: repeated messages, longer than any window, must survive both ways."""
    text = build_text(3000)
    async with trial.connect("/echo", deflate=deflate) as connection:
        agreed = connection.wire.extensions
        expect_true(f"answer to {deflate}", agreed.startswith("permessage-deflate"), agreed)
        for message in (text, text, text * 20, build_noise(40_000), text):
            await expect_echo(connection, message)
        describe_compression(connection, text.encode())
    return agreed


@check("deflate parameters")
async def compresses_with_every_window(trial: Trial) -> str:
    agreed = {bits: await echo_in_deflate(trial, bits) for bits in range(9, 16)}
    for bits in range(9, 15):
        found = re.search(r"server_max_window_bits=(\d+)", agreed[bits])
        # RFC 7692 7.1.2.1: the answer may be lower than what was asked for.
        is_within = found is not None and 8 <= int(found[1]) <= bits
        expect_true(f"server_max_window_bits of {bits} at most in the answer", is_within, agreed[bits])
    return f"9 to 15; for 9: {agreed[9]}"


@check("all deflate parameters")
async def compresses_with_every_parameter(trial: Trial) -> str:
    offers = [
        Deflate(server_no_context_takeover=True),
        Deflate(client_no_context_takeover=True),
        Deflate(server_no_context_takeover=True, client_no_context_takeover=True),
        Deflate(client_max_window_bits=None),
        Deflate(client_max_window_bits=9),
        Deflate(server_max_window_bits=9, client_max_window_bits=None),
        Deflate(True, True, 10, 11),
    ]
    agreed = [await echo_in_deflate(trial, offer) for offer in offers]
    for offer, answer in zip(offers, agreed):
        if offer.server_no_context_takeover:
            expect_true(f"answer to {offer}", "server_no_context_takeover" in answer, answer)
        if offer.client_max_window_bits is None:
            expect_true(f"answer to {offer}", "client_max_window_bits" not in answer, answer)
    return f"{len(offers)} offers; the last: {agreed[-1]}"


# ------------------------------------------------------------------------ order, backpressure


@check()
async def delivers_all_before_the_close(trial: Trial) -> str:
    """What the client sent right before its CLOSE reaches the application, all of it, and then the CLOSE."""
    key, texts = make_key(), [f"message {n} " + "x" * (n * 7) for n in range(200)]
    async with trial.connect(f"/count?key={key}") as connection:
        await connection.send_all(texts)
        await connection.close(1000)
    seen = await trial.fetch_seen(key)
    expect("messages the application saw of 200 sent before CLOSE", seen["messages"], 200)
    expect("digest", seen["digest"], hashlib.sha256("".join(texts).encode()).hexdigest())
    expect("close code the application saw", seen["code"], 1000)
    return "200 messages"


@check("backpressure", seconds=40)
async def waits_for_a_slow_reader(trial: Trial) -> str:
    """The wire stands still for a second while the application sends 24 MiB: nothing lost, order kept."""
    count, size = 384, 65536
    async with trial.connect(f"/flood?count={count}&size={size}", deflate=False) as connection:
        connection.wire.server.flows.clear()
        await asyncio.sleep(1.0)
        connection.wire.server.flows.set()
        for number, data in enumerate(await connection.receive_all(count)):
            whole = number.to_bytes(4, "big").ljust(size, b"\xa5")
            expect(f"message {number} of {count}", data, whole)
        closed = await connection.wait_closed()
    expect_closed("after the last message", closed, 1000, f"{count} sent")
    return f"{count} messages of {size // 1024} KiB after 1 s of silence"


@check()
async def serves_20_connections_at_once(trial: Trial) -> None:
    async def talk(number: int) -> None:
        async with trial.connect("/echo") as connection:
            for turn in range(10):
                await expect_echo(connection, f"connection {number}, turn {turn}")

    await asyncio.gather(*(talk(number) for number in range(20)))


CHECKS = list_checks(globals())
