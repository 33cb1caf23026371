"""Streams of frames (RFC 6455): conversations as a peer should send them, and what mutation makes of them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import List, Optional, Tuple

from ..wire import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, TEXT, build_close, build_frame
from .draws import disorder, flip_bit, happens, split, truncate
from .messages import Compressor

WORDS = ["a", "", "Hello", "wörter ", "κόσμε", "日本", "😀", "x" * 60, "\x00", "ab" * 31, "\ud7ff\ue000"]
BAD_UTF8 = [
    b"\xff", b"\x80", b"\xc0\xaf", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xed\xa0", b"\xed\xbf\xbf",
    b"\xf0\x9f\x98", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf",
]  # fmt: skip
EDGE_SIZES = (125, 126, 127)  # where the form of the length changes, and a control frame is too long
LARGE_SIZES = (65535, 65536, 70000)
HUGE_LENGTHS = (2**32, 2**24, 2**24 + 1, 2**63 - 1, 2**63, 2**64 - 1)  # 16 MiB: the limit of a message
GOOD_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999]
CLOSE_CODES = [
    *GOOD_CODES, 0, 1, 999, 1004, 1005, 1006, 1014, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
]  # fmt: skip


@dataclass
class Draft:
    """A frame before it becomes bytes, open to every kind of damage."""

    first: int
    payload: bytes
    key: Optional[bytes]
    form: Optional[int] = None
    claimed: Optional[int] = None

    def build(self) -> bytes:
        return build_frame(self.first, self.payload, self.key, form=self.form, claimed=self.claimed)


Drafts = List[Draft]


def draw_text(rng: random.Random) -> bytes:
    if happens(rng, 0.08):
        return b"t" * rng.choice(EDGE_SIZES)
    return "".join(rng.choice(WORDS) for _ in range(rng.randint(0, 4))).encode()


def draw_bytes(rng: random.Random) -> bytes:
    if happens(rng, 0.002):
        return bytes([rng.randrange(256)]) * rng.choice(LARGE_SIZES)
    return rng.randbytes(rng.choice(EDGE_SIZES) if happens(rng, 0.08) else rng.randint(0, 24))


class Writer:
    """A peer. masks: as a client does; compressor: its permessage-deflate, if that was agreed on."""

    def __init__(self, rng: random.Random, masks: bool, compressor: Optional[Compressor] = None) -> None:
        self.rng = rng
        self._masks = masks
        self._compressor = compressor

    def draft(self, first: int, payload: bytes) -> Draft:
        return Draft(first, payload, self.rng.randbytes(4) if self._masks else None)

    def write_message(self) -> Drafts:
        """A message in one to four frames, with control frames between them, compressed now and then."""
        rng = self.rng
        is_text = rng.random() < 0.6
        payload = draw_text(rng) if is_text else draw_bytes(rng)
        first = TEXT if is_text else BINARY
        if self._compressor is not None and rng.random() < 0.75:
            first |= RSV1
            payload = self._compressor.compress(payload)
        return self.cut(first, payload)

    def cut(self, first: int, payload: bytes, interrupted: float = 0.25) -> Drafts:
        """The frames of one message; interrupted: how often a control frame stands between two of them."""
        rng = self.rng
        drafts: Drafts = []
        pieces = split(rng, payload, rng.choice((1, 1, 1, 2, 2, 3, 4)))
        for piece in pieces:
            if drafts and happens(rng, interrupted):
                drafts.append(self.write_control())
            drafts.append(self.draft(CONTINUATION if drafts else first, piece))
        drafts[-1].first |= FIN
        return drafts

    def write_control(self) -> Draft:
        payload = self.rng.randbytes(self.rng.choice((0, 0, 1, 4, 8, 125)))
        return self.draft(FIN | (PING if self.rng.random() < 0.7 else PONG), payload)

    def write_close(self) -> Draft:
        rng = self.rng
        if happens(rng, 0.2):
            return self.draft(FIN | CLOSE, b"")
        reason = rng.choice(("", "", "bye", "grüße", "x" * 123))
        return self.draft(FIN | CLOSE, build_close(rng.choice(GOOD_CODES), reason.encode()))


class Damage:
    """Mutations of the draft at a random place, or around it."""

    def __init__(self, writer: Writer, drafts: Drafts) -> None:
        self.writer = writer
        self.rng = writer.rng
        self.drafts = drafts
        self.at = self.rng.randrange(len(drafts))
        self.draft = drafts[self.at]

    def insert(self, draft: Draft) -> None:
        self.drafts.insert(self.at + self.rng.randint(0, 1), draft)

    def flip_flags(self) -> None:
        self.draft.first ^= self.rng.choice((0x40, 0x40, 0x20, 0x10, 0x70, FIN, FIN, FIN))

    def set_opcode(self) -> None:
        opcode = self.rng.choice((0, 0, 1, 1, 2, 3, 7, 8, 9, 10, 11, 15))
        self.draft.first = self.draft.first & 0xF0 | opcode

    def flip_mask(self) -> None:
        self.draft.key = self.rng.randbytes(4) if self.draft.key is None else None

    def change_length(self) -> None:
        """In a longer form than it needs, or another length than that of the payload."""
        more = len(self.draft.payload) + self.rng.choice((1, 2, 5, 40, 125))
        changes = ((16, None), (64, None), (None, more), (64, self.rng.choice(HUGE_LENGTHS)))
        self.draft.form, self.draft.claimed = self.rng.choice(changes)

    def change_payload(self) -> None:
        self.draft.payload = self.rng.choice((flip_bit, truncate))(self.rng, self.draft.payload)

    def break_text(self) -> None:
        """Bad UTF-8 into a text from this draft on, if there is one."""
        rng = self.rng
        texts = [
            draft
            for draft in self.drafts[self.at :] + self.drafts[: self.at]
            if draft.first & 0x4F in (TEXT, CONTINUATION)
        ]
        draft = (texts or self.drafts)[0]
        place = rng.choice((0, len(draft.payload), rng.randint(0, len(draft.payload))))
        draft.payload = draft.payload[:place] + rng.choice(BAD_UTF8) + draft.payload[place:]

    def insert_bad_text(self) -> None:
        """A bad text whose fragments part it anywhere."""
        rng = self.rng
        text = draw_text(rng) + rng.choice(BAD_UTF8) + draw_text(rng)
        self.drafts[self.at : self.at] = self.writer.cut(TEXT, text)

    def insert_any_close(self) -> None:
        rng = self.rng
        payload = build_close(rng.choice(CLOSE_CODES), rng.choice((b"", b"ok", *BAD_UTF8)))
        payload = payload[:1] if happens(rng, 0.2) else payload
        self.insert(self.writer.draft(FIN | CLOSE, payload))

    def insert_long_control(self) -> None:
        rng = self.rng
        payload = build_close(1000, b"z" * rng.randint(123, 130))
        self.insert(self.writer.draft(FIN | rng.choice((CLOSE, PING, PONG)), payload))

    def insert_control(self) -> None:
        control = self.writer.write_control() if self.rng.random() < 0.6 else self.writer.write_close()
        self.insert(control)

    def disorder(self) -> None:
        disorder(self.rng, self.drafts)

    KINDS = (
        *(disorder,) * 3, *(change_length,) * 3, *(change_payload, flip_flags, insert_any_close) * 2,
        set_opcode, flip_mask, break_text, insert_bad_text, insert_control, insert_long_control,
    )  # fmt: skip


def mutate(writer: Writer, drafts: Drafts) -> str:
    """Do one kind of damage, in place, and return its name."""
    kind = writer.rng.choice(Damage.KINDS)
    kind(Damage(writer, drafts))
    return kind.__name__


def draw_stream(writer: Writer) -> Tuple[bytes, Tuple[str, ...]]:
    """What a peer sends on one connection, and what was done to it: nothing, or a few mutations."""
    rng = writer.rng
    drafts: Drafts = []
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        drafts += writer.write_message() if rng.random() < 0.8 else [writer.write_control()]
    if rng.random() < 0.5:
        drafts.append(writer.write_close())
        if happens(rng, 0.15):
            drafts += writer.write_message()
    traits = [mutate(writer, drafts) for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 1, 1, 2, 3)))]
    data = b"".join(draft.build() for draft in drafts)
    if traits and happens(rng, 0.12):
        data = flip_bit(rng, data, 200)
        traits.append("bit flipped")
    if happens(rng, 0.08):
        data = truncate(rng, data)
        traits.append("truncated")
    return data, tuple(traits)
