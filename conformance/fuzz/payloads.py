"""Frame headers, CLOSE payloads, masks, the text of messages, and what deflates."""

from __future__ import annotations

import zlib
from typing import Any, List, Optional, Sequence, Tuple

from hypothesis import given
from hypothesis import strategies as st

from wsbridge.protocols import frames, masking
from wsbridge.protocols.deflate import CeilingReached, Inflater
from wsbridge.protocols.errors import InvalidCompressedData, InvalidUTF8, MessageTooBig, ProtocolViolation
from wsbridge.protocols.messages import Message

from ..lib import wire
from .strategies import (
    CLOSES,
    TEXTS,
    Example,
    any_of,
    compressed_payloads,
    cut_in_all_ways,
    examples,
    share,
    with_variant,
)

HEADERS = st.builds(
    lambda first, second, rest: bytes([first, second]) + rest,
    any_of(0x01, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A, 0xC1) | st.integers(0, 255),
    any_of(0, 125, 126, 127, 128, 253, 254, 255) | st.integers(0, 255),
    any_of(b"\0\x7e", b"\0\x7d", bytes(5) + b"\1\0\0", b"\x80" + bytes(7), b"\xff" * 14)
    | st.binary(max_size=14),
)


@given(examples(with_variant(HEADERS)))
def test_frame_header(example: Example) -> None:
    """What is missing, what stands before and behind, changes nothing; a header is built again the same."""
    variant, data = example
    masked, rsv1, limit = bool(variant & 1), bool(variant & 2), (2**63 - 1, 125, 70000)[(variant >> 2) % 3]

    def parse(piece: bytes, position: int = 0) -> Any:
        try:
            return frames.parse_header(piece, position, masked=masked, rsv1_allowed=rsv1, max_length=limit)
        except ProtocolViolation as violation:
            return type(violation), str(violation)

    head = data[:16]
    whole = parse(head)
    for size in range(len(head)):
        assert parse(head[:size]) in (None, whole), f"the first {size} bytes"
    moved = parse(b"\x81\x80before" + head, 8)
    if whole is None or isinstance(whole[0], type):
        assert moved == whole
        return
    assert moved == whole._replace(start=whole.start + 8)
    built = frames.build_frame_header(whole.first, whole.length, 0x80 if masked else 0) + (whole.key or b"")
    assert built == head[: whole.start]


@share(0.5)
@given(examples(with_variant(CLOSES)))
def test_close_payload(example: Example) -> None:
    """Read as RFC 6455 5.5.1 and 7.4 say in other words, and built again the same."""
    payload = example[1][:125]
    expected: Optional[Tuple[int, str]] = None
    if not payload:
        expected = (1005, "")
    elif len(payload) >= 2 and int.from_bytes(payload[:2], "big") in wire.SENDABLE_CODES:
        text = decode(payload[2:])
        expected = None if text is None else (int.from_bytes(payload[:2], "big"), text)
    try:
        found: Optional[Tuple[int, str]] = frames.parse_close_payload(payload)
    except ProtocolViolation:
        found = None
    assert found == expected
    if found is not None and payload:
        assert frames.build_close_payload(*found) == payload


def decode(data: bytes) -> Optional[str]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


@share(0.5)
@given(examples(with_variant(TEXTS | st.binary(max_size=140))))
def test_masking(example: Example) -> None:
    """As RFC 6455 5.3 says, byte by byte, below the threshold and above; masked twice is what it was."""
    variant, data = example
    key = (data + b"\x37\xfa\x21\x3d")[:4]
    for payload in (data, data * (masking.LARGE // max(len(data), 1) + variant % 3)):
        expected = wire.apply_mask(payload, key)
        masked = masking.apply_mask(payload, key)
        assert masked == expected
        assert masking.apply_mask(bytes(masked), key) == payload
        assert masking.unmask(b"before" + key + payload + b"behind", 10, 10 + len(payload)) == expected


@given(examples(with_variant(st.lists(TEXTS, max_size=4).map(b"".join))))
def test_text(example: Example) -> None:
    """Any pieces are decoded as CPython does, or refused at the first byte that decides it (RFC 6455 8.1)."""
    data = example[1]
    expected = decode(data)
    for name, pieces in {"whole": [data], **cut_in_all_ways(data)}.items():
        taken, text = read_text(pieces)
        assert text == expected, name
        if name == "byte by byte" and text is None:
            assert wire.has_begun(wire.find_undecided(data[:taken])), "refused late"
            decided = wire.find_undecided(data[: taken + 1])
            assert taken == len(data) or not wire.has_begun(decided), "refused early"


def read_text(pieces: Sequence[bytes]) -> Tuple[int, Optional[str]]:
    """How many pieces were taken, and the text, or None where it was refused."""
    message, taken = Message(1, 16 * 1024 * 1024, 1024), 0
    try:
        for piece in pieces:
            message.append(piece)
            taken += 1
        text = message.finish()
    except InvalidUTF8:
        return taken, None
    assert isinstance(text, str)
    return taken, text


# Bytes that a message inflates to before more may.
STEPS = (16 * 1024 * 1024, 0, 7, 1000)


@given(examples(with_variant(compressed_payloads())))
def test_inflater(example: Example) -> None:
    """Any pieces give the same, which is what zlib gives, within the limit; the next message is inflated."""
    variant, data = example
    limit = (16 * 1024 * 1024, 1000, 64, 0)[variant & 3]
    whole = read_compressed(variant, [data], limit)
    for name, pieces in cut_in_all_ways(data).items():
        other = read_compressed(variant, pieces, limit)
        # Too large, then corrupt: which of them is named depends on the pieces, see connections.blur.
        assert other == whole or not (isinstance(other, bytes) or isinstance(whole, bytes)), name
    if not isinstance(whole, bytes):
        return
    assert len(whole) <= limit
    # RFC 7692 7.2.2: append 00 00 ff ff and inflate; only streams without BFINAL are so simple.
    reference = zlib.decompressobj(-15)
    try:
        expected: Optional[bytes] = reference.decompress(data + b"\0\0\xff\xff")
    except zlib.error:
        expected = None
    if not reference.eof and (data or variant & 4):
        assert whole == expected


def read_compressed(variant: int, pieces: List[bytes], limit: int) -> Any:
    inflater = Inflater(15, bool(variant & 4))
    try:
        output = inflate_in_steps(inflater, pieces, limit, STEPS[len(pieces) % len(STEPS)])
    except (InvalidCompressedData, MessageTooBig) as error:
        return type(error), str(error)
    honest = inflate_in_steps(inflater, [b"\xf2\x48\xcd\xc9\xc9\x07\x00"], 5, 5)  # RFC 7692 7.2.3.1
    assert honest == b"Hello"
    return output


def inflate_in_steps(inflater: Inflater, pieces: List[bytes], limit: int, step: int) -> bytes:
    """A message, of which `step` bytes inflate before more may."""
    output = b""
    for piece in pieces:
        while piece:
            inflater.ceiling = inflater.bytes_out + min(step, limit - len(output))
            try:
                output += inflater.inflate(piece)
                break
            except CeilingReached as reached:
                output += reached.output
                piece = piece[len(piece) - reached.left :]
            if len(output) > limit:
                raise MessageTooBig(limit)
    inflater.finish()
    return output
