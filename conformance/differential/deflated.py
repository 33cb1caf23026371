"""Random compressed messages: what zlib makes of every texture, in every mode, and what damage makes of that.

Each case also knows what must be delivered, from a second source: each payload inflated by itself with plain
zlib, the window handed over as a dictionary (`inflate_message`).
"""

from __future__ import annotations

import random
import zlib
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

from ..lib.wire import BINARY, CONTINUATION, TEXT
from .cases import DEFAULT_LIMIT, Case, Deflate, Message
from .inflating import TAIL, CannotInflate, inflate_message
from .streams import FIN, RSV1, FrameDraft, Writer, cut_stream

STRATEGIES = [zlib.Z_DEFAULT_STRATEGY] * 3 + [
    zlib.Z_FILTERED,
    zlib.Z_HUFFMAN_ONLY,
    zlib.Z_RLE,
    zlib.Z_FIXED,
]
FLUSHES = [zlib.Z_PARTIAL_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_BLOCK]
WORDS = '{"id": 17, "text": "grüße 日本 😀"}, the quick brown fox jumps over the lazy dog '


class Compressed(NamedTuple):
    is_text: bool
    plain: Optional[bytes]  #: None once the payload was damaged
    payload: bytes


def make_deflated(seed: int, index: int) -> Case:
    name = f"{seed}:deflate:{index}"
    rng = random.Random(name)
    deflate = Deflate(rng.random() < 0.4, rng.random() < 0.4, rng.randint(9, 15), rng.randint(9, 15))
    client = rng.random() < 0.4
    messages = make_messages(rng, *deflate.get_peer_side(client))
    traits = []
    if rng.random() < 0.3:
        damage = rng.choice(DAMAGES)
        traits.append(damage.__name__)
        damage(rng, messages)
        # Whatever it did to one message, the window of those behind it may be another.
        messages = [message._replace(plain=None) for message in messages]
    limit = DEFAULT_LIMIT
    if rng.random() < 0.05:
        sizes = [len(message.plain or message.payload) for message in messages]
        limit = max(0, rng.choice(sizes) + rng.choice((-1, 0, 0, 1))) if sizes else 0
        traits.append("limit")
    writer = Writer(rng, client, deflate)
    drafts: List[FrameDraft] = []
    for message in messages:
        drafts += cut_message(rng, writer, message)
    pieces = cut_stream(rng, b"".join(draft.build() for draft in drafts))
    originals = find_originals(messages, deflate.get_peer_side(client), limit)
    return Case(name, client, deflate, limit, pieces, None, tuple(traits) or ("valid",), originals)


def count_messages(case: Case) -> int:
    """How many compressed messages the endpoint was given until the first that fails, that one included."""
    return len(case.originals or ()) + (case.traits != ("valid",))


def make_messages(rng: random.Random, bits: int, no_takeover: bool) -> List[Compressed]:
    messages = []
    compressor: Optional[zlib._Compress] = None
    for _ in range(rng.choice((1, 2, 2, 3, 4))):
        plain, is_text = make_plain(rng)
        if compressor is None or no_takeover or rng.random() < 0.1:
            compressor = make_compressor(rng, bits)
        if rng.random() < 0.05:
            payload = store_by_hand(rng, plain)
            # Its bytes are in the window of the one who inflates, and not in the compressor's.
            compressor = None
        else:
            payload, is_final = compress(rng, compressor, plain)
            if is_final:
                compressor = None
        messages.append(Compressed(is_text, plain, payload))
    return messages


def make_compressor(rng: random.Random, bits: int) -> zlib._Compress:
    window = bits if rng.random() < 0.7 else rng.randint(9, bits)
    return zlib.compressobj(
        rng.choice((0, 1, 3, 6, 6, 9)), zlib.DEFLATED, -window, rng.randint(1, 9), rng.choice(STRATEGIES)
    )


def make_plain(rng: random.Random) -> Tuple[bytes, bool]:
    """A message of some texture, and whether it is text."""
    size = rng.choice((0, 1, 5, rng.randint(0, 60), rng.randint(0, 300), rng.randint(0, 3000)))
    if rng.random() < 0.02:
        size = rng.randint(3000, 70000)
    texture = rng.randrange(5)
    if texture == 0:
        return rng.randbytes(size), False
    if texture == 1:
        return bytes([rng.randrange(128)]) * size, rng.random() < 0.5
    if texture == 2:
        # Repeats at a distance near the size of a window.
        unit = rng.randbytes(rng.choice((3, 500, 511, 512, 513, 1024)))
        return (unit * (size // len(unit) + 1))[:size], False
    start = rng.randrange(len(WORDS))
    text = (WORDS[start:] + WORDS * (size // len(WORDS) + 1))[:size]
    if texture == 3:
        text = "".join(rng.choice(text) for _ in range(min(size, 400)))
    return text.encode(), True


def compress(rng: random.Random, compressor: zlib._Compress, plain: bytes) -> Tuple[bytes, bool]:
    """RFC 7692 7.2.1, in any number of blocks; True where the stream was ended (BFINAL)."""
    data = b""
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        place = rng.randint(0, len(plain))
        data += compressor.compress(plain[:place]) + compressor.flush(rng.choice(FLUSHES))
        plain = plain[place:]
    data += compressor.compress(plain)
    if rng.random() < 0.08:
        # RFC 7692 7.2.3.4: the byte 00 makes an empty block of itself and the tail.
        return data + compressor.flush(zlib.Z_FINISH) + b"\x00", True
    data += compressor.flush(rng.choice((zlib.Z_SYNC_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH)))
    if not data.endswith(TAIL):
        # zlib has nothing to flush twice.
        return data + b"\x00", False
    # RFC 7692 7.2.3.6: one more empty block is as good as none.
    return (data + b"\x00" if rng.random() < 0.03 else data[:-4]), False


def store_by_hand(rng: random.Random, plain: bytes) -> bytes:
    """Stored blocks (RFC 1951 3.2.4), some of them empty."""
    data = b""
    while plain:
        size = rng.randint(0, min(len(plain), 65535))
        data += b"\x00" + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + plain[:size]
        plain = plain[size:]
        if not size:
            break
    if plain:
        size = len(plain)
        for start in range(0, size, 65535):
            part = plain[start : start + 65535]
            length = len(part).to_bytes(2, "little")
            data += b"\x00" + length + bytes(byte ^ 0xFF for byte in length) + part
    return data + b"\x00"


# ------------------------------------------------------------------------------------ damage


def flip_bit(rng: random.Random, messages: List[Compressed]) -> None:
    number = rng.randrange(len(messages))
    message = messages[number]
    if message.payload:
        place = rng.randrange(len(message.payload))
        changed = bytearray(message.payload)
        changed[place] ^= 1 << rng.randrange(8)
        messages[number] = message._replace(payload=bytes(changed))


def truncate(rng: random.Random, messages: List[Compressed]) -> None:
    number = rng.randrange(len(messages))
    message = messages[number]
    payload = message.payload[: rng.randint(0, len(message.payload))]
    messages[number] = message._replace(payload=payload)


def empty_payload(rng: random.Random, messages: List[Compressed]) -> None:
    messages.insert(rng.randint(0, len(messages)), Compressed(rng.random() < 0.5, None, b""))


def repeat(rng: random.Random, messages: List[Compressed]) -> None:
    """A message that came already; with a window kept, its references now point elsewhere."""
    message = rng.choice(messages)
    messages.insert(rng.randint(0, len(messages)), message)


def lose(rng: random.Random, messages: List[Compressed]) -> None:
    del messages[rng.randrange(len(messages))]


def make_noise(rng: random.Random, messages: List[Compressed]) -> None:
    noise = Compressed(False, None, rng.randbytes(rng.randint(1, 40)))
    messages.insert(rng.randint(0, len(messages)), noise)


def keep_tail(rng: random.Random, messages: List[Compressed]) -> None:
    """The four bytes that must be left out stay: an ordinary stored block to whoever inflates."""
    number = rng.randrange(len(messages))
    message = messages[number]
    messages[number] = message._replace(payload=message.payload + TAIL)


Damage = Callable[[random.Random, List[Compressed]], None]
DAMAGES: Sequence[Damage] = (flip_bit, flip_bit, truncate, empty_payload, repeat, lose, make_noise, keep_tail)


# ----------------------------------------------------------------------------------- streams


def cut_message(rng: random.Random, writer: Writer, message: Compressed) -> List[FrameDraft]:
    first = RSV1 | (TEXT if message.is_text else BINARY)
    if rng.random() < 0.05:
        return writer.cut(first, message.payload)  # with control frames between
    edges = sorted(rng.randint(0, len(message.payload)) for _ in range(rng.choice((0, 0, 1, 2, 5))))
    places = [0, *edges, len(message.payload)]
    drafts = []
    for number, (low, high) in enumerate(zip(places, places[1:])):
        fin = FIN if number == len(places) - 2 else 0
        drafts.append(writer.draft(fin | (first if number == 0 else CONTINUATION), message.payload[low:high]))
    return drafts


def find_originals(messages: Sequence[Compressed], side: Tuple[int, bool], limit: int) -> Tuple[Message, ...]:
    """What plain zlib makes of each payload, up to the first that is wrong or too large."""
    bits, no_takeover = side
    window = b""
    originals: List[Message] = []
    for message in messages:
        try:
            output, window = inflate_message(message.payload, b"" if no_takeover else window, bits)
            content: Message = output.decode() if message.is_text else output
        except (CannotInflate, UnicodeDecodeError) as error:
            if message.plain is not None:
                raise AssertionError(f"zlib does not inflate what it made: {error}") from None
            return tuple(originals)
        if message.plain not in (None, output):
            raise AssertionError("zlib made something else of its own output")
        if len(output) > limit or len(message.payload) > limit + limit // 8 + 64:
            break
        originals.append(content)
    return tuple(originals)
