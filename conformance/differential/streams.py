"""Random streams of frames: valid conversations, and what mutation makes of them. All from (seed, index)."""

from __future__ import annotations

import random
import zlib
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

from ..lib.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, build_frame
from .cases import DEFAULT_LIMIT, Case, Deflate

FIN, RSV1 = 0x80, 0x40

WORDS = ["", "a", "Hello", "wörter ", "κόσμε", "日本", "😀", "x" * 60, "\x00", "ab" * 31, "\ud7ff\ue000"]
BAD_UTF8 = [
    b"\xff", b"\x80", b"\xc0\xaf", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xed\xa0", b"\xed\xbf\xbf",
    b"\xf0\x9f\x98", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf",
]  # fmt: skip
EDGE_SIZES = [125, 126, 127]
CLOSE_CODES = [
    0, 1, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
    1015, 1016, 1100, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65535,
]  # fmt: skip
GOOD_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999]
LIMITS = [0, 1, 20, 64, 125, 126, 300]


class FrameDraft:
    """A frame before it becomes bytes, open to every kind of damage."""

    __slots__ = ("claimed", "first", "form", "is_masked", "key", "payload")

    def __init__(self, first: int, payload: bytes, is_masked: bool, key: bytes) -> None:
        self.first = first
        self.payload = payload
        self.is_masked = is_masked
        self.key = key
        self.form: Optional[int] = None
        self.claimed: Optional[int] = None

    def copy(self) -> FrameDraft:
        copy = FrameDraft(self.first, self.payload, self.is_masked, self.key)
        copy.form, copy.claimed = self.form, self.claimed
        return copy

    def build(self) -> bytes:
        key = self.key if self.is_masked else None
        return build_frame(self.first, self.payload, key, form=self.form, claimed=self.claimed)


class Writer:
    """The peer of the endpoint under test, as a frame factory."""

    def __init__(self, rng: random.Random, client: bool, deflate: Optional[Deflate]) -> None:
        self.rng = rng
        self.masks = not client
        self._deflate = deflate
        self._bits, self._no_takeover = deflate.get_peer_side(client) if deflate else (15, True)
        self._compressor: Optional[zlib._Compress] = None

    def draft(self, first: int, payload: bytes) -> FrameDraft:
        return FrameDraft(first, payload, self.masks, self.rng.randbytes(4))

    def write_message(self) -> List[FrameDraft]:
        """A message in one to four frames, with control frames between them, compressed now and then."""
        rng = self.rng
        is_text = rng.random() < 0.6
        payload = make_text(rng) if is_text else make_bytes(rng)
        first = TEXT if is_text else BINARY
        if self._deflate is not None and rng.random() < 0.75:
            first |= RSV1
            payload = self.compress(payload)
        return self.cut(first, payload)

    def compress(self, payload: bytes) -> bytes:
        rng = self.rng
        if self._compressor is None or self._no_takeover:
            self._compressor = zlib.compressobj(rng.choice((0, 1, 6, 9)), zlib.DEFLATED, -self._bits)
        compressor = self._compressor
        if rng.random() < 0.06:
            # RFC 7692 7.2.3.4: a block with BFINAL, then the byte that makes the tail an empty block.
            self._compressor = None
            return compressor.compress(payload) + compressor.flush(zlib.Z_FINISH) + b"\x00"
        compressed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return compressed[:-4] or b"\x00"

    def cut(self, first: int, payload: bytes) -> List[FrameDraft]:
        rng = self.rng
        count = rng.choice((1, 1, 1, 2, 2, 3, 4))
        edges = sorted(rng.randint(0, len(payload)) for _ in range(count - 1))
        pieces = [payload[low:high] for low, high in zip([0, *edges], [*edges, len(payload)])]
        drafts = []
        for number, piece in enumerate(pieces):
            fin = FIN if number == len(pieces) - 1 else 0
            drafts.append(self.draft(fin | (first if number == 0 else CONTINUATION), piece))
            if not fin and rng.random() < 0.25:
                drafts.append(self.write_control())
        return drafts

    def write_control(self) -> FrameDraft:
        rng = self.rng
        payload = rng.randbytes(rng.choice((0, 0, 1, 4, 8, 125)))
        return self.draft(FIN | (PING if rng.random() < 0.7 else PONG), payload)

    def write_close(self) -> FrameDraft:
        rng = self.rng
        payload = b""
        if rng.random() < 0.8:
            reason = rng.choice(("", "", "bye", "grüße", "x" * 123))
            payload = rng.choice(GOOD_CODES).to_bytes(2, "big") + reason.encode()
        return self.draft(FIN | CLOSE, payload)


def make_text(rng: random.Random) -> bytes:
    if rng.random() < 0.08:
        return b"t" * rng.choice(EDGE_SIZES)
    text = "".join(rng.choice(WORDS) for _ in range(rng.randint(0, 4)))
    return text.encode()


def make_bytes(rng: random.Random) -> bytes:
    chance = rng.random()
    if chance < 0.08:
        return rng.randbytes(rng.choice(EDGE_SIZES))
    if chance < 0.082:
        return bytes([rng.randrange(256)]) * rng.choice((65535, 65536, 70000))
    return rng.randbytes(rng.randint(0, 24))


# --------------------------------------------------------------------------------- mutations

Drafts = List[FrameDraft]
Mutation = Callable[[random.Random, Drafts, Writer], None]


def pick(rng: random.Random, drafts: Drafts) -> FrameDraft:
    return rng.choice(drafts)


def set_reserved(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    pick(rng, drafts).first ^= rng.choice((0x40, 0x40, 0x20, 0x10, 0x70))


def set_opcode(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    draft = pick(rng, drafts)
    draft.first = draft.first & 0xF0 | rng.choice((0, 0, 1, 1, 2, 3, 7, 8, 9, 10, 11, 15))


def flip_fin(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    pick(rng, drafts).first ^= FIN


def flip_mask(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    draft = pick(rng, drafts)
    draft.is_masked = not draft.is_masked


def lengthen_form(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    pick(rng, drafts).form = rng.choice((16, 64))


def claim_more(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    draft = pick(rng, drafts)
    draft.claimed = len(draft.payload) + rng.choice((1, 2, 5, 40, 125))


def claim_huge(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    draft = pick(rng, drafts)
    draft.claimed = rng.choice((2**63, 2**64 - 1, 2**63 - 1, DEFAULT_LIMIT, DEFAULT_LIMIT + 1, 2**32))
    draft.form = 64


def break_text(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    texts = [draft for draft in drafts if draft.first & 0x4F in (TEXT, CONTINUATION)] or drafts
    draft = rng.choice(texts)
    place = rng.choice((0, len(draft.payload), rng.randint(0, len(draft.payload))))
    draft.payload = draft.payload[:place] + rng.choice(BAD_UTF8) + draft.payload[place:]


def cut_between_characters(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    """A bad text whose fragments part it anywhere."""
    text = make_text(rng) + rng.choice(BAD_UTF8) + make_text(rng)
    place = rng.randint(0, len(drafts))
    drafts[place:place] = writer.cut(TEXT, text)


def change_close(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    payload = rng.choice(CLOSE_CODES).to_bytes(2, "big") + rng.choice((b"", b"ok", *BAD_UTF8))
    if rng.random() < 0.2:
        payload = payload[:1]
    place = rng.randint(0, len(drafts))
    drafts.insert(place, writer.draft(FIN | CLOSE, payload))


def enlarge_control(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    first = FIN | rng.choice((CLOSE, PING, PONG))
    drafts.insert(
        rng.randint(0, len(drafts)), writer.draft(first, b"\x03\xe8" + b"z" * rng.randint(123, 130))
    )


def insert_control(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    control = writer.write_control() if rng.random() < 0.6 else writer.write_close()
    drafts.insert(rng.randint(0, len(drafts)), control)


def duplicate(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    place = rng.randrange(len(drafts))
    drafts.insert(place, drafts[place].copy())


def drop(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    if len(drafts) > 1:
        del drafts[rng.randrange(len(drafts))]


def swap(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    low, high = rng.randrange(len(drafts)), rng.randrange(len(drafts))
    drafts[low], drafts[high] = drafts[high], drafts[low]


def damage_payload(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    draft = pick(rng, drafts)
    if draft.payload:
        place = rng.randrange(len(draft.payload))
        changed = draft.payload[place] ^ 1 << rng.randrange(8)
        draft.payload = draft.payload[:place] + bytes([changed]) + draft.payload[place + 1 :]


def cut_payload(rng: random.Random, drafts: Drafts, writer: Writer) -> None:
    draft = pick(rng, drafts)
    draft.payload = draft.payload[: rng.randint(0, len(draft.payload))]


MUTATIONS: Sequence[Mutation] = (
    set_reserved, set_opcode, flip_fin, flip_mask, lengthen_form, claim_more, claim_huge, break_text,
    cut_between_characters, change_close, enlarge_control, insert_control, duplicate, drop, swap,
    damage_payload, cut_payload,
)  # fmt: skip


# ------------------------------------------------------------------------------------- streams


class Settings(NamedTuple):
    client: bool
    deflate: Optional[Deflate]
    limit: int


def choose_deflate(rng: random.Random) -> Deflate:
    return Deflate(
        rng.random() < 0.4, rng.random() < 0.4, rng.choice((9, 10, 12, 15, 15)), rng.choice((9, 11, 15, 15))
    )


def choose_settings(rng: random.Random) -> Settings:
    return Settings(
        rng.random() < 0.35,
        choose_deflate(rng) if rng.random() < 0.45 else None,
        rng.choice(LIMITS) if rng.random() < 0.06 else DEFAULT_LIMIT,
    )


def cut_stream(rng: random.Random, data: bytes) -> Tuple[bytes, ...]:
    """Whole, at a few random places, or, when it is short, byte by byte."""
    chance = rng.random()
    if chance < 0.3 or not data:
        return (data,)
    if chance < 0.36 and len(data) < 80:
        return tuple(data[place : place + 1] for place in range(len(data)))
    edges = sorted(rng.randint(0, len(data)) for _ in range(rng.randint(1, 5)))
    cut = [data[low:high] for low, high in zip([0, *edges], [*edges, len(data)])]
    return tuple(piece for piece in cut if piece)


def make_stream(seed: int, index: int) -> Case:
    """The stream with this number: the same on every machine and CPython."""
    name = f"{seed}:frames:{index}"
    rng = random.Random(name)
    settings = choose_settings(rng)
    writer = Writer(rng, settings.client, settings.deflate)
    drafts: Drafts = []
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        drafts += writer.write_message() if rng.random() < 0.8 else [writer.write_control()]
    if rng.random() < 0.5:
        drafts.append(writer.write_close())
        if rng.random() < 0.15:
            drafts += writer.write_message()
    traits = []
    for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 1, 1, 2, 3))):
        mutation = rng.choice(MUTATIONS)
        mutation(rng, drafts, writer)
        traits.append(mutation.__name__)
    data = b"".join(draft.build() for draft in drafts)
    if traits and rng.random() < 0.12 and data:
        place = rng.randrange(min(len(data), 200)) if rng.random() < 0.9 else rng.randrange(len(data))
        data = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
        traits.append("bit flipped")
    if rng.random() < 0.08:
        data = data[: rng.randint(0, len(data))]
        traits.append("truncated")
    pieces = cut_stream(rng, data)
    close_before = rng.randint(0, len(pieces)) if rng.random() < 0.06 else None
    return Case(name, *settings, pieces, close_before, tuple(traits) or ("valid",))
