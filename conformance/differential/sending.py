"""The other direction: what wsbridge compresses, inflated by plain zlib and by both peers, is what it was."""

from __future__ import annotations

import random
from typing import Any, List

from ..lib.wire import BINARY, TEXT
from .adapters import WSProtoRun, make_websockets, make_wsbridge
from .cases import DEFAULT_LIMIT, Case, Deflate, Message, join_messages
from .deflated import make_plain
from .inflating import CannotInflate, inflate_message
from .judge import Finding
from .wire import Malformed, WireFrame, read_frames


def make_sending(seed: int, index: int) -> Case:
    """What is sent, as a case for the one who receives it; `originals` are the messages."""
    name = f"{seed}:sending:{index}"
    rng = random.Random(name)
    deflate = Deflate(rng.random() < 0.4, rng.random() < 0.4, rng.randint(9, 15), rng.randint(9, 15))
    sends_as_client = rng.random() < 0.4
    protocol = make_wsbridge(
        sends_as_client,
        deflate,
        DEFAULT_LIMIT,
        level=rng.randint(0, 9),
        mem_level=rng.randint(1, 9),
        threshold=rng.choice((0, 1, 64)),
    )
    messages: List[Message] = []
    pieces = []
    for _ in range(rng.randint(1, 4)):
        plain, is_text = make_plain(rng)
        message: Message = plain.decode() if is_text else plain
        messages.append(message)
        pieces.append(protocol.send_message(message))
    return Case(
        name, not sends_as_client, deflate, DEFAULT_LIMIT, tuple(pieces), None, ("sent",), tuple(messages)
    )


def judge_sending(case: Case) -> List[Finding]:
    findings = []
    for who, receive in (("zlib", receive_by_zlib), ("websockets", by_websockets), ("wsproto", by_wsproto)):
        try:
            problem = compare(receive(case), list(case.originals or ()))
        except (CannotInflate, Malformed, UnicodeDecodeError) as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            findings.append(Finding(who, (), ((who, problem),)))
    return findings


def compare(received: List[Message], sent: List[Message]) -> str:
    if received == sent:
        return ""
    return f"received {join_messages(received)}; sent {join_messages(sent)}"


def receive_by_zlib(case: Case) -> List[Message]:
    """Each frame by itself; the window no larger than agreed, and empty where no context is kept."""
    bits, no_takeover = case.deflate.get_peer_side(case.client) if case.deflate else (15, True)
    window = b""
    messages: List[Message] = []
    for frame in read_frames(b"".join(case.pieces), masked=not case.client):
        check_frame(frame)
        payload = frame.payload
        if frame.rsv:
            payload, window = inflate_message(payload, b"" if no_takeover else window, bits)
        messages.append(payload.decode() if frame.opcode == TEXT else payload)
    return messages


def check_frame(frame: WireFrame) -> None:
    if not frame.fin or frame.opcode not in (TEXT, BINARY) or frame.rsv not in (0, 4):
        raise Malformed(f"FIN {frame.fin}, opcode {frame.opcode}, reserved bits {frame.rsv:03b}")


def by_websockets(case: Case) -> List[Message]:
    protocol = make_websockets(case.client, case.deflate, case.limit)
    for piece in case.pieces:
        protocol.receive_data(piece)
    return refuse_answers(protocol.messages, b"".join(protocol.data_to_send()))


def by_wsproto(case: Case) -> List[Message]:
    run = WSProtoRun(case)
    for piece in case.pieces:
        run.receive(piece)
    return refuse_answers(run.messages, run.outbound)


def refuse_answers(messages: List[Message], outbound: Any) -> List[Message]:
    if outbound:
        raise Malformed(f"it answered {bytes(outbound).hex(' ')}")
    return messages
