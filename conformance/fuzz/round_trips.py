"""Build, then parse: what one end builds is what the other one reads, for all that can be built."""

from __future__ import annotations

import random
from typing import Any, Iterable, List, Optional, Tuple

from hypothesis import given
from hypothesis import strategies as st

from wsbridge.protocols import deflate, deflate_negotiation, handshake
from wsbridge.protocols.errors import EventError
from wsbridge.protocols.events import WebSocketDataReceived, WebSocketDisconnected
from wsbridge.protocols.fields import parse_extension_offers
from wsbridge.protocols.frames import build_frame, is_sendable_close_code
from wsbridge.protocols.http11 import RequestParser, ResponseParser
from wsbridge.protocols.responses import build_response_head
from wsbridge.protocols.ws import WSProtocol

from ..lib import wire
from ..lib.hostile.draws import split
from ..lib.hostile.frames import Draft, Writer
from ..lib.hostile.messages import Compressor
from .strategies import MASKING_SIZES, any_of

Headers = List[Tuple[bytes, bytes]]

# What was chosen is a part of the example that is shown.
RANDOM = st.randoms(use_true_random=False, note_method_calls=True)

# Each size class of a frame (RFC 6455 5.2) with its edges, and the masks' threshold.
EDGES = [0, 1, 3, 4, 5, 124, 125, 126, 127, *MASKING_SIZES, 65535, 65536, 65537, 70001]
SIZES = any_of(*EDGES) | st.integers(0, 300)
TEXTS = st.text(max_size=60) | st.builds(str.__mul__, st.text(max_size=4), st.integers(0, 900))
PATTERNS = SIZES.map(lambda size: bytes(range(256)) * (size // 256 + 1))
MESSAGES = TEXTS | st.binary(max_size=60) | PATTERNS

SETTINGS = st.builds(
    deflate.DeflateSettings,
    *(st.booleans(), st.booleans(), st.integers(9, 15), st.integers(9, 15)),
    *(any_of(0, 1, 6, 9), any_of(1, 5, 9), any_of(0, 1, 64, 5000)),
)
OPTIONAL_SETTINGS = st.none() | SETTINGS

# Header names and values with everything that must be refused among them.
NAMES = any_of(b"X-Some", b"Date", b"Upgrade", b"sec-websocket-accept", b"a b", b"", b"x:")
VALUES = st.binary(max_size=12) | any_of(b"value", b"", b" padded\t", b"a\r\nX: b", b"\0", b"caf\xe9")
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
WORDS = any_of("chat", "superchat", "v1.json", "a b", "", "caf\u00e9", "a,b", "x\r\n")
HOSTS = any_of("a.example", "a.example:8000", "[::1]:80", "", "a b", "caf\u00e9")
PATHS = any_of("/", "/a?b=%20", "/a b", "x", "/\u00e9", "/a#b", "//x")
# The edges of what may be sent (RFC 6455 7.4, the IANA registry), on both sides.
CODE_EDGES = (999, 1000, 1003, 1004, 1005, 1006, 1007, 1014, 1015, 2999, 3000, 4999, 5000)
CODES = any_of(*CODE_EDGES, None, "1000", 1000.0) | st.integers(0, 65535)


@given(any_of(0, 1, 2, 8, 9, 10), SIZES, st.integers(0), *[st.booleans()] * 3)
def test_frames(opcode: int, size: int, seed: int, fin: bool, rsv1: bool, mask: bool) -> None:
    """A frame is read by an independent reader as what it was built from."""
    payload = random.Random(seed).randbytes(size)
    built = build_frame(opcode, payload, fin=fin, rsv1=rsv1, mask=mask)
    frames, tail = wire.parse_frames(built)
    assert len(frames) == 1 and not tail
    frame = frames[0]
    found = (frame.opcode, frame.fin, frame.rsv1, frame.masked, frame.payload)
    assert found == (opcode, fin, rsv1, mask, payload)
    if not mask:
        first = opcode | (wire.FIN if fin else 0) | (wire.RSV1 if rsv1 else 0)
        assert built == wire.build_frame(first, payload)


def make_ends(
    settings: Optional[deflate.DeflateSettings], holds: Tuple[bool, bool] = (False, False), **limits: Any
) -> Tuple[WSProtocol, WSProtocol]:
    """A client and a server as an opening handshake would have left them; which of them hold their CLOSE."""
    if settings is not None:
        limits.update(enable_compression=True, deflate=settings)
        limits["peer_extensions"] = [deflate_negotiation.build_deflate_offer(settings).encode()]
    server = WSProtocol(hold_close=holds[1], **limits)
    limits["peer_extensions"] = [(server.extensions_response or "").encode()]
    client = WSProtocol(client=True, hold_close=holds[0], **limits)
    assert (client.compression is None) is (server.compression is None) is (settings is None)
    return client, server


def receive_all(ws: WSProtocol, pieces: Iterable[bytes]) -> Tuple[List[Any], bytes]:
    """The events of all the pieces, and what is to be written."""
    events: List[Any] = []
    outbound = b""
    for piece in pieces:
        found, answer = ws.receive_data(piece)
        events += found
        outbound += answer
    return events, outbound


@given(OPTIONAL_SETTINGS, st.lists(MESSAGES, max_size=5), RANDOM)
def test_messages(
    settings: Optional[deflate.DeflateSettings], messages: List[Any], rng: random.Random
) -> None:
    """There and back, in pieces; each is one frame, which is compressed where it should be."""
    for sender, receiver in (make_ends(settings), make_ends(settings)[::-1]):
        sent = b"".join(sender.send_message(message) for message in messages)
        received = receive_all(receiver, split(rng, sent, 1 + rng.randrange(12)))
        assert received == ([WebSocketDataReceived(message) for message in messages], b"")
        frames, _ = wire.parse_frames(sent)
        for frame, message in zip(frames, messages):
            size = len(message.encode() if isinstance(message, str) else message)
            assert frame.rsv1 == (settings is not None and size >= settings.threshold), size


@given(OPTIONAL_SETTINGS, st.lists(MESSAGES, min_size=1, max_size=4), RANDOM)
def test_fragments(
    settings: Optional[deflate.DeflateSettings], messages: List[Any], rng: random.Random
) -> None:
    """Messages of an independent compressor, in every form that RFC 7692 allows, in fragments, are read."""
    _, server = make_ends(settings)
    compressor, rsv1 = None, 0
    if settings is not None:
        bits, alone = settings.client_max_window_bits, settings.client_no_context_takeover
        compressor, rsv1 = Compressor(rng, bits, alone), wire.RSV1
    writer = Writer(rng, masks=True)
    drafts: List[Draft] = []
    for message in messages:
        first = wire.TEXT if isinstance(message, str) else wire.BINARY
        payload = message.encode() if isinstance(message, str) else message
        drafts += writer.cut(first | rsv1, compressor.compress(payload) if compressor else payload, 0.5)
    sent = b"".join(draft.build() for draft in drafts)
    events, pongs = receive_all(server, split(rng, sent, 1 + rng.randrange(12)))
    assert events == [WebSocketDataReceived(message) for message in messages]
    pings = [draft.payload for draft in drafts if draft.first == wire.FIN | wire.PING]
    assert [answer.payload for answer in wire.parse_frames(pongs)[0]] == pings


@given(CODES, st.text(max_size=130) | st.just("\ud800"), st.booleans())
def test_closing(code: Any, reason: str, masked: bool) -> None:
    """CLOSE there, its echo back; what cannot be sent is an `EventError`, and nothing was written."""
    sender, receiver = WSProtocol(client=masked), WSProtocol(client=not masked)
    allowed = code in wire.SENDABLE_CODES and isinstance(code, int)
    if isinstance(code, int):
        assert is_sendable_close_code(code) == allowed
    payload = reason.encode("utf-8", "surrogatepass")
    fits = len(payload) <= 123 and reason != "\ud800"
    try:
        sent = sender.close(code, reason)
    except EventError:
        assert not (allowed and fits), "refused"
        assert sender.can_send, "a refused close() has changed the state"
        return
    assert allowed and fits, "sent"
    assert wire.parse_frames(sent)[0][0].payload == wire.build_close(code, payload)
    events, echo = receiver.receive_data(sent)
    assert events == [WebSocketDisconnected(code, reason)]
    assert sender.receive_data(echo) == (events, b"")
    assert sender.is_closed


@given(SETTINGS, SETTINGS, st.lists(TEXTS, min_size=1, max_size=3))
def test_negotiation(
    ours: deflate.DeflateSettings, theirs: deflate.DeflateSettings, messages: List[str]
) -> None:
    """Any client's offer and any server's settings: both understand the same of it, and each other's data."""
    offer = deflate_negotiation.build_deflate_offer(ours)
    agreed = deflate_negotiation.negotiate_deflate(parse_extension_offers([offer.encode()]), theirs)
    assert agreed is not None, "declined"
    agreement, answer = agreed
    # Windows have 9 bits and more here, so that our client can meet whatever our server answers.
    understood = deflate_negotiation.check_deflate_response(parse_extension_offers([answer.encode()]), ours)
    assert understood is not None and understood[0] == agreement[0]
    # Each side may compress with less than was agreed on (RFC 7692 7.1.2), never with more.
    assert understood[2] >= agreement[2]
    assert understood[3] <= agreement[3]
    server = WSProtocol(enable_compression=True, peer_extensions=[offer.encode()], deflate=theirs)
    client = WSProtocol(client=True, enable_compression=True, peer_extensions=[answer.encode()], deflate=ours)
    for sender, receiver in ((client, server), (server, client)):
        events, _ = receive_all(receiver, map(sender.send_message, messages))
        assert events == [WebSocketDataReceived(one) for one in messages]


# ----------------------------------------------------------------------------------------- heads


@given(st.integers(90, 610), HEADERS, st.none() | VALUES)
def test_response_heads(status: int, headers: Headers, reason: Optional[bytes]) -> None:
    """What an application sets comes out as it went in, or is refused: nothing can be put into a head."""
    try:
        built = build_response_head(status, headers, reason=reason)
    except EventError:
        return
    check_response(built, status, headers)


def check_response(built: bytes, status: int, headers: Headers) -> Any:
    parser = ResponseParser()
    head = parser.receive_data(built)
    assert head is not None and parser.trailing == b"", "more than a head"
    assert head.status == status
    check_headers(head.headers, headers)
    return head


def check_headers(found: Tuple[Tuple[bytes, bytes], ...], headers: Headers) -> None:
    """The last headers are those that were given."""
    expected = tuple((name.lower(), value.strip(b" \t")) for name, value in headers)
    assert found[len(found) - len(expected) :] == expected


@given(HOSTS, PATHS, st.lists(WORDS, max_size=3), HEADERS, RANDOM)
def test_handshakes(
    host: str, target: str, subprotocols: List[str], headers: Headers, rng: random.Random
) -> None:
    """A client's request through the server's parser and checks, and the answer back."""
    key, agreed = handshake.generate_ws_key(), "permessage-deflate"
    both: Any = {"headers": headers, "extensions": agreed}
    try:
        built = handshake.build_upgrade_request(target, host, key, subprotocols=subprotocols, **both)
    except EventError:
        return
    parser = RequestParser()
    pieces = [piece for piece in split(rng, built, 1 + rng.randrange(9)) if piece]
    *before, request = map(parser.receive_data, pieces)
    assert request is not None and not any(before) and parser.trailing == b""
    assert handshake.check_upgrade_request(request) == key
    assert request.target == target.encode()
    check_headers(request.headers, headers)
    subprotocol = subprotocols[0] if subprotocols else None
    # What a request may carry, a response may too.
    answer = handshake.build_101_response(key, subprotocol=subprotocol, **both)
    response = check_response(answer, 101, headers)
    connected, extensions = handshake.check_upgrade_response(response, key, subprotocols=subprotocols)
    assert connected.subprotocol == subprotocol and extensions == agreed.encode()
