"""The codecs alone: parsing masked text and building frames, without a socket.

Rounds are interleaved; every codec proves on its first messages that it returns what was sent.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
import timeit
from collections import defaultdict
from typing import Callable, Dict, List, Tuple

from websockets.frames import Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from wsbridge.protocols.masking import use
from wsbridge.protocols.ws import WSProtocol

from ..lib import wire
from ..lib.environment import say_line
from .load import Result
from .peers import SERVER_CORE
from .workloads import SIZES, build_payload

Feed = Callable[[bytes], List[str]]
Build = Callable[[str], bytes]

TOGETHER = 16


def open_wsbridge() -> Tuple[Feed, Build]:
    protocol = WSProtocol()
    receive_data = protocol.receive_data

    def feed(data: bytes) -> List[str]:
        events, _ = receive_data(data)
        return [event.data for event in events]

    return feed, protocol.send_message


def open_wsproto() -> Tuple[Feed, Build]:
    connection = Connection(ConnectionType.SERVER)

    def feed(data: bytes) -> List[str]:
        connection.receive_data(data)
        # A large message arrives as several events; the server that uses it joins them.
        whole, parts = [], []
        for event in connection.events():
            parts.append(event.data)
            if event.message_finished:
                whole.append(parts[0] if len(parts) == 1 else "".join(parts))
                parts = []
        return whole

    def build(message: str) -> bytes:
        return connection.send(TextMessage(data=message))

    return feed, build


def open_websockets() -> Tuple[Feed, Build]:
    text = Opcode.TEXT
    protocol = ServerProtocol(state=State.OPEN, max_size=None)

    def feed(data: bytes) -> List[str]:
        protocol.receive_data(data)
        # Servers decode the payload themselves: it is bytes, and nobody has checked that it is UTF-8.
        return [frame.data.decode() for frame in protocol.events_received() if frame.opcode is text]

    def build(message: str) -> bytes:
        protocol.send_text(message.encode())
        return b"".join(protocol.data_to_send())

    return feed, build


CODECS = {
    "wsbridge": open_wsbridge,
    "wsbridge-pure": open_wsbridge,
    "wsproto": open_wsproto,
    "websockets": open_websockets,
}


def prepare_timers() -> Dict[str, Dict[str, timeit.Timer]]:
    """Return {work: {codec: what does it once}}."""
    timers: Dict[str, Dict[str, timeit.Timer]] = {}
    for label, size in SIZES.items():
        text = build_payload(size).decode()
        frame = wire.build_frame(wire.FIN | wire.TEXT, text.encode(), b"\x9d\x41\x7e\xc2")
        for name, opening in CODECS.items():
            feed, build = opening()
            if feed(frame * TOGETHER) != [text] * TOGETHER:
                raise ValueError(f"{name} does not return texts of {size} bytes")
            if [sent.payload for sent in wire.parse_frames(build(text))[0]] != [text.encode()]:
                raise ValueError(f"{name} does not build the frame of {size} bytes")
            # Before each measurement: the choice is that of the process.
            choose_masking = functools.partial(use, "python" if name == "wsbridge-pure" else "libcrypto")
            works = {
                f"parse-{label}": functools.partial(feed, frame),
                f"build-{label}": functools.partial(build, text),
            }
            if label == "125":
                works[f"parse-125x{TOGETHER}"] = functools.partial(feed, frame * TOGETHER)
            for work, function in works.items():
                timers.setdefault(work, {})[name] = timeit.Timer(function, setup=choose_masking)
    return timers


def measure_codecs(rounds: int) -> Dict[str, Dict[str, List[Result]]]:
    """Return {work: {codec: its results, one a round}}, measured on the servers' core."""
    say_line(f"bench: codecs, {rounds} rounds")
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        return pool.submit(_measure, rounds).result()


def _measure(rounds: int) -> Dict[str, Dict[str, List[Result]]]:
    os.sched_setaffinity(0, {SERVER_CORE})
    timers = prepare_timers()
    # `autorange` finds how often makes 0.2 s, and is the warm-up too.
    counts = {
        work: {name: max(1, timer.autorange()[0] // 4) for name, timer in row.items()}
        for work, row in timers.items()
    }
    results: Dict[str, Dict[str, List[Result]]] = {work: defaultdict(list) for work in timers}
    for number in range(rounds):
        for work, row in timers.items():
            shift = number % len(row)
            for name in [*row, *row][shift : shift + len(row)]:
                count = counts[work][name]
                messages = count * (TOGETHER if work.endswith(f"x{TOGETHER}") else 1)
                results[work][name].append({"per_second": messages / row[name].timeit(count)})
    return results
