"""The codecs alone: parsing masked text and building frames, without a socket.

A script for the interpreter that has the libraries; it prints one JSON object and leaves out what it cannot
import. Rounds are interleaved; every codec proves on its first message that it returns what was sent.

    python codec.py ROUNDS
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent)
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    import frames

Feed = Callable[[bytes], List[str]]
Build = Callable[[str], bytes]

SIZES = {"16": 16, "125": 125, "1k": 1 << 10, "16k": 1 << 14, "64k": 1 << 16, "1m": 1 << 20}
TOGETHER = 16
TURN_SECONDS = 0.06


def open_wsbridge() -> Tuple[Feed, Build]:
    from wsbridge.protocols.ws import WSProtocol

    protocol = WSProtocol()
    receive_data = protocol.receive_data

    def feed(data: bytes) -> List[str]:
        events, _ = receive_data(data)
        return [event.data for event in events]  # type: ignore[union-attr, misc]

    return feed, protocol.send_message


def open_wsproto() -> Tuple[Feed, Build]:
    from wsproto.connection import Connection, ConnectionType
    from wsproto.events import TextMessage

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
    from websockets.frames import Opcode
    from websockets.server import ServerProtocol

    text = Opcode.TEXT
    protocol = ServerProtocol(max_size=None)
    protocol.receive_data(frames.build_request(False))
    (request,) = protocol.events_received()
    protocol.send_response(protocol.accept(request))
    protocol.data_to_send()

    def feed(data: bytes) -> List[str]:
        protocol.receive_data(data)
        # Servers decode the payload themselves: it is bytes, and nobody has checked that it is UTF-8.
        return [frame.data.decode() for frame in protocol.events_received() if frame.opcode is text]

    def build(message: str) -> bytes:
        protocol.send_text(message.encode())
        return b"".join(protocol.data_to_send())

    return feed, build


def open_plain_websockets() -> Tuple[Feed, Build]:
    """The same library where its C extension could not be built."""
    import websockets.frames
    import websockets.utils

    feed, build = open_websockets()
    compiled = websockets.frames.apply_mask

    def feed_plain(data: bytes) -> List[str]:
        websockets.frames.apply_mask = websockets.utils.apply_mask
        try:
            return feed(data)
        finally:
            websockets.frames.apply_mask = compiled

    return feed_plain, build


def find_codecs() -> Dict[str, Tuple[Feed, Build]]:
    found = {}
    for name, opening in (
        ("wsbridge", open_wsbridge),
        ("wsproto", open_wsproto),
        ("websockets", open_websockets),
        ("websockets-no-c", open_plain_websockets),
    ):
        try:
            found[name] = opening()
        except ImportError as error:
            print(f"{name}: {error}", file=sys.stderr)
    return found


def prepare_turns(codecs: Dict[str, Tuple[Feed, Build]]) -> Dict[str, Dict[str, Callable[[int], None]]]:
    """Return {work: {codec: do it so many times}}."""
    turns: Dict[str, Dict[str, Callable[[int], None]]] = {}
    for label, size in SIZES.items():
        text = frames.build_payload(size).decode()
        frame = frames.build_masked_frame(frames.TEXT, text.encode())
        answer = frames.parse_message
        for name, (feed, build) in codecs.items():
            if feed(frame) != [text]:
                raise SystemExit(f"{name} does not return the text of {size} bytes")
            if answer(build(text))[1] != text.encode():
                raise SystemExit(f"{name} does not build the frame of {size} bytes")
            turns.setdefault(f"parse-{label}", {})[name] = _repeat(feed, frame)
            turns.setdefault(f"build-{label}", {})[name] = _repeat(build, text)
            if label == "125":
                if feed(frame * TOGETHER) != [text] * TOGETHER:
                    raise SystemExit(f"{name} does not return {TOGETHER} texts")
                turns.setdefault(f"parse-125x{TOGETHER}", {})[name] = _repeat(feed, frame * TOGETHER)
    return turns


def _repeat(function: Callable[[Any], Any], argument: Any) -> Callable[[int], None]:
    def turn(count: int) -> None:
        for _ in range(count):
            function(argument)

    return turn


def main(rounds: int) -> None:
    turns = prepare_turns(find_codecs())
    counts = {work: {name: _find_count(turn) for name, turn in row.items()} for work, row in turns.items()}
    speeds: Dict[str, Dict[str, List[float]]] = {
        work: {name: [] for name in row} for work, row in turns.items()
    }
    for number in range(rounds):
        for work, row in turns.items():
            order = list(row)
            shift = number % max(1, len(order))
            for name in order[shift:] + order[:shift]:
                count = counts[work][name]
                started = time.perf_counter()
                row[name](count)
                messages = count * (TOGETHER if work.endswith(f"x{TOGETHER}") else 1)
                speeds[work][name].append(messages / (time.perf_counter() - started))
    medians = {
        work: {name: statistics.median(values) for name, values in row.items()}
        for work, row in speeds.items()
    }
    print(json.dumps({"python": sys.version, "speeds": speeds, "medians": medians}))


def _find_count(turn: Callable[[int], None]) -> int:
    """So many that a turn takes about TURN_SECONDS; this is the warm-up too."""
    count = 1
    while True:
        started = time.perf_counter()
        turn(count)
        taken = time.perf_counter() - started
        if taken > TURN_SECONDS / 4:
            return max(1, int(count * TURN_SECONDS / taken))
        count *= 2


if __name__ == "__main__":
    main(int(sys.argv[1]))
