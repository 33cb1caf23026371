"""The cases of each part. (seed, index) makes a case: the same one on every machine and CPython."""

from __future__ import annotations

import random
from typing import Iterator, List

from ..lib.hostile.draws import cut_stream, happens
from ..lib.hostile.frames import Writer, draw_stream
from ..lib.hostile.heads import draw_head
from ..lib.hostile.messages import Compressed, Compressor, draw_messages, draw_plain, mutate
from ..lib.hostile.requests import draw_requests
from ..lib.wire import BINARY, RSV1, TEXT, parse_frames
from .cases import DEFAULT_LIMIT, Deflate, FrameCase, HTTPCase, Message
from .frame_adapters import make_wsbridge

LIMITS = [0, 1, 20, 64, 125, 126, 300]


def draw_deflate(rng: random.Random) -> Deflate:
    return Deflate(rng.random() < 0.4, rng.random() < 0.4, rng.randint(9, 15), rng.randint(9, 15))


def make_stream(seed: int, index: int) -> FrameCase:
    name = f"{seed}:frames:{index}"
    rng = random.Random(name)
    client = rng.random() < 0.35
    deflate = draw_deflate(rng) if happens(rng, 0.45) else None
    limit = rng.choice(LIMITS) if happens(rng, 0.06) else DEFAULT_LIMIT
    compressor = Compressor(rng, *deflate.get_side(not client)) if deflate else None
    data, traits = draw_stream(Writer(rng, not client, compressor))
    pieces = cut_stream(rng, data)
    close_before = rng.randint(0, len(pieces)) if happens(rng, 0.06) else None
    return FrameCase(name, client, deflate, limit, pieces, traits, close_before)


def make_deflated(seed: int, index: int) -> FrameCase:
    """Compressed messages; what must be delivered is known where no damage was done."""
    name = f"{seed}:deflate:{index}"
    rng = random.Random(name)
    client, deflate = rng.random() < 0.4, draw_deflate(rng)
    side = deflate.get_side(not client)
    messages = draw_messages(rng, Compressor(rng, *side))
    is_damaged = happens(rng, 0.3)
    traits = [mutate(rng, messages)] if is_damaged else []
    limit = DEFAULT_LIMIT
    if happens(rng, 0.05):
        sizes = [len(message.plain or message.payload) for message in messages]
        limit = max(0, rng.choice(sizes) + rng.choice((-1, 0, 0, 1)))
        traits.append("limit")
    writer = Writer(rng, not client)
    data = b""
    for message in messages:
        first = RSV1 | (TEXT if message.is_text else BINARY)
        # wsproto corrupts a compressed message that a control frame interrupts: few, so that it says more.
        interrupted = 0.25 if happens(rng, 0.05) else 0.0
        data += b"".join(draft.build() for draft in writer.cut(first, message.payload, interrupted))
    originals = None if is_damaged else tuple(list_delivered(messages, limit))
    pieces = cut_stream(rng, data)
    return FrameCase(name, client, deflate, limit, pieces, tuple(traits), originals=originals)


def list_delivered(messages: List[Compressed], limit: int) -> Iterator[Message]:
    """The messages as they were before compression, up to the first that is too large."""
    for is_text, plain, payload in messages:
        if plain is None or len(plain) > limit or len(payload) > limit + limit // 8 + 64:
            return
        yield plain.decode() if is_text else plain


def count_messages(case: FrameCase) -> int:
    """How many compressed messages the endpoint is given, those behind the first that fails included."""
    return sum(frame.rsv1 for frame in parse_frames(b"".join(case.pieces))[0])


def make_sending(seed: int, index: int) -> FrameCase:
    """What wsbridge sends, as a case for the one who receives it; `originals` are the messages."""
    name = f"{seed}:sending:{index}"
    rng = random.Random(name)
    client, deflate = rng.random() < 0.6, draw_deflate(rng)
    protocol = make_wsbridge(
        not client,
        deflate,
        DEFAULT_LIMIT,
        level=rng.randint(0, 9),
        mem_level=rng.randint(1, 9),
        threshold=rng.choice((0, 1, 64)),
    )
    plains = [draw_plain(rng) for _ in range(rng.randint(1, 4))]
    originals = tuple(plain.decode() if is_text else plain for plain, is_text in plains)
    pieces = tuple(map(protocol.send_message, originals))
    return FrameCase(name, client, deflate, DEFAULT_LIMIT, pieces, ("sent",), originals=originals)


def make_head(seed: int, index: int) -> HTTPCase:
    name = f"{seed}:heads:{index}"
    rng = random.Random(name)
    data, traits = draw_head(rng)
    return HTTPCase(name, cut_stream(rng, data), traits)


def make_requests(seed: int, index: int) -> HTTPCase:
    name = f"{seed}:requests:{index}"
    rng = random.Random(name)
    data, traits = draw_requests(rng)
    return HTTPCase(name, cut_stream(rng, data), traits)
