"""Targets: frame headers, CLOSE payloads, masks, the text of messages, and what deflates."""

from __future__ import annotations

import codecs
import zlib
from typing import Any, List, Optional, Sequence, Tuple

from wsbridge.protocols.deflate import Inflater
from wsbridge.protocols.errors import InvalidCompressedData, InvalidUTF8, MessageTooBig, ProtocolViolation
from wsbridge.protocols.frames import (
    build_close_payload,
    build_frame,
    build_frame_header,
    parse_close_payload,
    parse_header,
)
from wsbridge.protocols.masking import TRANSLATE_FROM, apply_mask, unmask
from wsbridge.protocols.messages import Message

from ..lib import wire
from .findings import IDENTITY, LAWFUL, PIECES, REFERENCE, cut_in_all_ways, require


class FrameHeaderTarget:
    """`parse_header`: what is missing, what stands before and behind, changes nothing."""

    name = "frame-header"
    documented = (ProtocolViolation,)

    def check(self, variant: int, data: bytes) -> None:
        masked, rsv1, limit = (
            bool(variant & 1),
            bool(variant & 2),
            (2**63 - 1, 125, 70000)[(variant >> 2) % 3],
        )

        def parse(piece: bytes, position: int = 0) -> Any:
            try:
                return parse_header(piece, position, masked=masked, rsv1_allowed=rsv1, max_length=limit)
            except ProtocolViolation as violation:
                return type(violation), str(violation)

        head = data[:16]
        whole = parse(head)
        answers = [parse(head[:size]) for size in range(len(head) + 1)]
        decided = [answer for answer in answers if answer is not None]
        require(not decided or decided == [whole] * len(decided), PIECES, f"{head.hex()}: {answers!r}")
        moved = parse(b"\x81\x80before" + head, 8)
        if whole is None or isinstance(whole[0], type):
            require(moved == whole, PIECES, f"{head.hex()} inside other data: {moved!r}, alone {whole!r}")
            return
        require(moved == whole._replace(start=whole.start + 8), PIECES, f"{head.hex()}: {moved!r}")
        built = build_frame_header(whole.first, whole.length, 0x80 if masked else 0) + (whole.key or b"")
        require(built == head[: whole.start], IDENTITY, f"{head.hex()} is built again as {built.hex()}")

    def describe(self, variant: int, data: bytes) -> str:
        return f"variant {variant}: parse_header(bytes.fromhex('{data[:16].hex()}'), 0)"


class ClosePayloadTarget:
    """`parse_close_payload`, against RFC 6455 5.5.1 and 7.4 in other words."""

    name = "close-payload"
    documented = (ProtocolViolation,)

    def check(self, variant: int, data: bytes) -> None:
        payload = data[:125]
        expected: Optional[Tuple[int, str]] = None
        if not payload:
            expected = (1005, "")
        elif len(payload) >= 2 and int.from_bytes(payload[:2], "big") in wire.SENDABLE_CODES:
            try:
                expected = int.from_bytes(payload[:2], "big"), str(payload[2:], "utf-8")
            except UnicodeDecodeError:
                expected = None
        try:
            found: Optional[Tuple[int, str]] = parse_close_payload(payload)
        except ProtocolViolation:
            found = None
        require(found == expected, REFERENCE, f"{payload.hex()} is {found!r}, and not {expected!r}")
        if found is not None and payload:
            require(build_close_payload(*found) == payload, IDENTITY, f"{payload.hex()} from {found!r}")

    def describe(self, variant: int, data: bytes) -> str:
        return f"parse_close_payload(bytes.fromhex('{data[:125].hex()}'))"


class MaskTarget:
    """`apply_mask` and `unmask` below and above their threshold, against RFC 6455 5.3 byte by byte."""

    name = "masking"
    documented = ()

    def check(self, variant: int, data: bytes) -> None:
        key = (data + b"\x37\xfa\x21\x3d")[:4]
        for payload in (data, data * (TRANSLATE_FROM // max(len(data), 1) + variant % 3)):
            expected = wire.apply_mask(payload, key)
            masked = apply_mask(payload, key)
            require(masked == expected, REFERENCE, f"{len(payload)} bytes under {key.hex()}")
            require(apply_mask(bytes(masked), key) == payload, IDENTITY, f"{len(payload)} bytes, twice")
            framed = b"before" + key + payload + b"behind"
            part = unmask(framed, 10, 10 + len(payload))
            require(part == expected, REFERENCE, f"{len(payload)} bytes under {key.hex()}, in a frame")
            frames, _ = wire.parse_frames(build_frame(2, payload, mask=True))
            require(frames[0].payload == payload, IDENTITY, f"a masked frame of {len(payload)} bytes")

    def describe(self, variant: int, data: bytes) -> str:
        return f"apply_mask(bytes.fromhex('{data.hex()}'), ...)"


# The ends that can complete whatever valid UTF-8 has begun (RFC 3629 4).
COMPLETIONS = (b"", b"\x80", b"\xbf", b"\x80\x80", b"\xbf\xbf", b"\x80\x80\x80", b"\xbf\xbf\xbf")


def can_be_completed(data: bytes) -> bool:
    """Whether some text begins with these bytes."""
    start = max(0, len(data) - 4)
    try:
        decoder = codecs.getincrementaldecoder("utf-8")()
        decoder.decode(data[:start])
        undecided, _ = decoder.getstate()
    except UnicodeDecodeError:
        return False
    for completion in COMPLETIONS:
        try:
            (undecided + data[start:] + completion).decode()
        except UnicodeDecodeError:
            continue
        return True
    return False


class TextTarget:
    """`Message` of text: refused at the first byte that decides it (RFC 6455 8.1), whatever the pieces."""

    name = "text"
    documented = (InvalidUTF8, MessageTooBig)

    def check(self, variant: int, data: bytes) -> None:
        limit = 16 * 1024 * 1024
        try:
            expected: Optional[str] = data.decode()
        except UnicodeDecodeError:
            expected = None
        for name, pieces in {"whole": [data], **cut_in_all_ways(data)}.items():
            taken, text = self._read(pieces, limit)
            require(text == expected, REFERENCE if name == "whole" else PIECES, f"{name}: {text!r:.300}")
            if name == "byte by byte" and text is None:
                require(can_be_completed(data[:taken]), LAWFUL, f"refused late: {data[: taken + 1].hex()}")
                if taken < len(data):
                    require(
                        not can_be_completed(data[: taken + 1]), LAWFUL, f"early: {data[: taken + 1].hex()}"
                    )

    def _read(self, pieces: Sequence[bytes], limit: int) -> Tuple[int, Optional[str]]:
        """How many pieces were taken, and the text, or None where it was refused."""
        message, taken = Message(1, limit, 1024), 0
        try:
            for piece in pieces:
                message.append(piece)
                taken += 1
            text = message.finish()
        except InvalidUTF8:
            return taken, None
        assert isinstance(text, str)
        return taken, text

    def describe(self, variant: int, data: bytes) -> str:
        return f"Message(TEXT, ...), append(bytes.fromhex('{data.hex()}'))"


class InflaterTarget:
    """`Inflater`: one message of these bytes, then an honest one; against zlib alone where that is simple."""

    name = "inflater"
    documented = (InvalidCompressedData, MessageTooBig)

    def check(self, variant: int, data: bytes) -> None:
        limit = (16 * 1024 * 1024, 1000, 64, 0)[variant & 3]
        whole = self._read(variant, [data], limit)
        for name, pieces in cut_in_all_ways(data).items():
            other = self._read(variant, pieces, limit)
            # Too large, then corrupt: which of them is named depends on the pieces, see connections.blur.
            same = other == whole or not (isinstance(other[0], bytes) or isinstance(whole[0], bytes))
            require(same, PIECES, f"whole: {whole!r:.300}; {name}: {other!r:.300}")
        output = whole[0]
        if not isinstance(output, bytes):
            return
        require(len(output) <= limit, LAWFUL, f"{len(output)} bytes, and {limit} are allowed")
        # RFC 7692 7.2.2: append 00 00 ff ff and inflate; only streams without BFINAL are so simple.
        reference = zlib.decompressobj(-15)
        try:
            expected: Optional[bytes] = reference.decompress(data + b"\0\0\xff\xff")
        except zlib.error:
            expected = None
        if not reference.eof and (data or variant & 4):
            require(output == expected, REFERENCE, f"inflated to {output!r:.200}, and not {expected!r:.200}")

    def _read(self, variant: int, pieces: Sequence[bytes], limit: int) -> List[Any]:
        inflater = Inflater(15, bool(variant & 4))
        try:
            output = b""
            for piece in pieces:
                output += inflater.inflate(piece, limit, len(output))
            inflater.finish()
        except self.documented as error:
            return [(type(error), str(error))]
        honest = inflater.inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", 5)  # RFC 7692 7.2.3.1: Hello
        inflater.finish()
        require(honest == b"Hello", LAWFUL, f"the next message is inflated to {honest!r}")
        return [output]

    def describe(self, variant: int, data: bytes) -> str:
        return f"variant {variant}: Inflater(15, ...).inflate(bytes.fromhex('{data.hex()}'), ...)"


TARGETS = [FrameHeaderTarget(), ClosePayloadTarget(), MaskTarget(), TextTarget(), InflaterTarget()]
