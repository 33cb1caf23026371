"""Build, then parse: what one end builds is what the other one reads, for all that can be built.

Each function is a property over drawn arguments, and has the name that the report shows. Its `draws` are
the strategies; what it finds wrong it raises as a `Violation`.
"""

from __future__ import annotations

import random
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from hypothesis import strategies as st

from wsbridge.protocols.deflate import (
    DeflateSettings,
    build_deflate_offer,
    check_deflate_response,
    negotiate_deflate,
)
from wsbridge.protocols.errors import EventError, HandshakeFailed
from wsbridge.protocols.events import WebSocketDataReceived, WebSocketDisconnected
from wsbridge.protocols.fields import parse_extension_offers
from wsbridge.protocols.frames import build_close_payload, build_frame, is_sendable_close_code
from wsbridge.protocols.handshake import (
    build_101_response,
    build_upgrade_request,
    check_upgrade_request,
    check_upgrade_response,
    generate_ws_key,
)
from wsbridge.protocols.http11 import RequestParser, ResponseParser, build_response_head
from wsbridge.protocols.ws import WSProtocol

from ..lib import wire
from .findings import IDENTITY, LAWFUL, REFERENCE, cut_into_pieces, require
from .strategies import MASKING_SIZES

Property = Callable[..., None]


class RoundTrip(NamedTuple):
    """draws: a strategy per argument of the property."""

    check: Property
    draws: Dict[str, Any]


# Each size class of a frame (RFC 6455 5.2) with its edges, and the masks' threshold.
SIZES = st.sampled_from([0, 1, 3, 4, 5, 124, 125, 126, 127, *MASKING_SIZES, 65535, 65536, 65537, 70001])
FRAME_SIZES = st.one_of(SIZES, st.integers(0, 300))
TEXTS = st.text(max_size=60) | st.builds(
    lambda text, times: text * times, st.text(max_size=4), st.integers(0, 900)
)
MESSAGES = (
    TEXTS | st.binary(max_size=60) | FRAME_SIZES.map(lambda size: bytes(range(256)) * (size // 256 + 1))
)
SEEDS = st.integers(0, 2**32 - 1)

SETTINGS = st.builds(
    DeflateSettings,
    st.booleans(),
    st.booleans(),
    st.integers(9, 15),
    st.integers(9, 15),
    st.sampled_from([0, 1, 6, 9]),
    st.sampled_from([1, 5, 9]),
    st.sampled_from([0, 1, 64, 5000]),
)

# Header names and values with everything that must be refused among them.
NAMES = st.sampled_from([b"X-Some", b"Date", b"Upgrade", b"sec-websocket-accept", b"a b", b"", b"x:"])
VALUES = st.binary(max_size=12) | st.sampled_from(
    [b"value", b"", b" padded\t", b"a\r\nX: b", b"\0", b"caf\xe9"]
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
WORDS = st.sampled_from(["chat", "superchat", "v1.json", "a b", "", "caf\u00e9", "a,b", "x\r\n"])


def frame_survives(opcode: int, size: int, fin: bool, rsv1: bool, mask: bool, seed: int) -> None:
    payload = random.Random(seed).randbytes(size)
    built = build_frame(opcode, payload, fin=fin, rsv1=rsv1, mask=mask)
    frames, tail = wire.parse_frames(built)
    require(len(frames) == 1 and not tail, REFERENCE, f"{built[:14].hex()}...: {len(frames)} frames")
    frame = frames[0]
    found = (frame.opcode, frame.fin, frame.rsv1, frame.masked, frame.payload)
    require(found == (opcode, fin, rsv1, mask, payload), IDENTITY, f"built {built[:14].hex()}...")
    if not mask:
        first = opcode | (wire.FIN if fin else 0) | (wire.RSV1 if rsv1 else 0)
        require(built == wire.build_frame(first, payload), REFERENCE, f"built {built[:14].hex()}...")


def make_ends(
    settings: Optional[DeflateSettings], holds: Tuple[bool, bool] = (False, False)
) -> Tuple[WSProtocol, WSProtocol]:
    """A client and a server as an opening handshake would have left them; which of them hold their CLOSE."""
    if settings is None:
        return WSProtocol(client=True, hold_close=holds[0]), WSProtocol(hold_close=holds[1])
    agreed: Dict[str, Any] = {"enable_compression": True, "deflate": settings}
    offer = build_deflate_offer(settings).encode()
    server = WSProtocol(peer_extensions=[offer], hold_close=holds[1], **agreed)
    answer = (server.extensions_response or "").encode()
    client = WSProtocol(client=True, peer_extensions=[answer], hold_close=holds[0], **agreed)
    require(client.compression is not None and server.compression is not None, IDENTITY, f"no {settings!r}")
    return client, server


def messages_survive(settings: Optional[DeflateSettings], messages: List[Any], seed: int) -> None:
    """There and back, in pieces; each is one frame, which is compressed where it should be."""
    chosen = random.Random(seed)
    for sender, receiver in (make_ends(settings), make_ends(settings)[::-1]):
        sent = b"".join(sender.send_message(message) for message in messages)
        events: List[Any] = []
        for piece in cut_into_pieces(sent, chosen.randrange(12), chosen):
            found, outbound = receiver.receive_data(piece)
            require(not outbound, LAWFUL, f"answered {outbound.hex()}")
            events += found
        require(
            [event.data for event in events] == messages,
            IDENTITY,
            f"{messages!r:.300} came as {events!r:.300}",
        )
        frames, _ = wire.parse_frames(sent)
        for frame, message in zip(frames, messages):
            size = len(message.encode() if isinstance(message, str) else message)
            wanted = settings is not None and size >= settings.threshold
            require(frame.rsv1 == wanted, LAWFUL, f"{size} bytes with RSV1 {frame.rsv1}")


def fragments_survive(
    settings: Optional[DeflateSettings], message: Any, styles: List[str], seed: int
) -> None:
    """Messages of an independent compressor, in every form that RFC 7692 allows, in fragments."""
    chosen = random.Random(seed)
    _, server = make_ends(settings)
    compressor = None
    if settings is not None:
        compressor = wire.Compressor(settings.client_max_window_bits, settings.client_no_context_takeover)
    payload, first = (message.encode(), wire.TEXT) if isinstance(message, str) else (message, wire.BINARY)
    sent: List[bytes] = []
    for style in styles:
        data = payload if compressor is None else compressor.compress(payload, style)
        pieces = cut_into_pieces(data, chosen.randrange(6), chosen)
        for at, piece in enumerate(pieces):
            opcode = wire.CONTINUATION if at else first | (0 if compressor is None else wire.RSV1)
            fin = wire.FIN if at == len(pieces) - 1 else 0
            sent.append(wire.build_frame(opcode | fin, piece, chosen.randbytes(4)))
            sent.append(wire.build_frame(wire.FIN | wire.PING, b"between", chosen.randbytes(4)))
    events: List[Any] = []
    pongs: List[bytes] = []
    for piece in cut_into_pieces(b"".join(sent), chosen.randrange(12), chosen):
        found, outbound = server.receive_data(piece)
        events += found
        pongs.append(outbound)
    require([event.data for event in events] == [message] * len(styles), IDENTITY, f"{events!r:.400}")
    answers, _ = wire.parse_frames(b"".join(pongs))
    require(
        [answer.payload for answer in answers] == [b"between"] * (len(sent) // 2), LAWFUL, f"{answers!r:.300}"
    )


def close_survives(code: int, reason: str, masked: bool) -> None:
    """CLOSE there, its echo back; what cannot be sent is an `EventError`, and nothing was written."""
    sender, receiver = WSProtocol(client=masked), WSProtocol(client=not masked)
    allowed = code in wire.SENDABLE_CODES
    require(is_sendable_close_code(code) == allowed, REFERENCE, f"is_sendable_close_code({code})")
    try:
        fits = len(reason.encode()) <= 123
    except UnicodeEncodeError:
        fits = False
    try:
        sent = sender.close(code, reason)
    except EventError:
        require(not (allowed and fits), LAWFUL, f"close({code}, {reason!r}) is refused")
        require(sender.can_send, LAWFUL, "a refused close() has changed the state")
        return
    require(allowed and fits, LAWFUL, f"close({code}, {reason!r}) is sent as {sent.hex()}")
    events, echo = receiver.receive_data(sent)
    require(events == [WebSocketDisconnected(code, reason)], IDENTITY, f"{events!r}")
    again, nothing = sender.receive_data(echo)
    require(again == events and nothing == b"" and sender.is_closed, IDENTITY, f"the echo: {again!r}")


def negotiation_agrees(ours: DeflateSettings, theirs: DeflateSettings, messages: List[Any]) -> None:
    """Any client's offer and any server's settings: both understand the same of it, and each other's data."""
    offer = build_deflate_offer(ours)
    agreed = negotiate_deflate(parse_extension_offers([offer.encode()]), theirs)
    require(agreed is not None, LAWFUL, f"the offer {offer} is declined")
    assert agreed is not None
    agreement, answer = agreed
    # Windows have 9 bits and more here, so that our client can meet whatever our server answers.
    try:
        understood = check_deflate_response(parse_extension_offers([answer.encode()]), ours)
    except HandshakeFailed as error:
        require(False, IDENTITY, f"offer {offer}, answer {answer}: {error}")
        return
    assert understood is not None
    require(
        understood[0] == agreement[0], IDENTITY, f"offer {offer}, answer {answer}: {understood}, {agreement}"
    )
    # Each side may compress with less than was agreed on (RFC 7692 7.1.2), never with more.
    require(
        understood[2] >= agreement[2], IDENTITY, f"offer {offer}, answer {answer}: {understood}, {agreement}"
    )
    require(
        understood[3] <= agreement[3], IDENTITY, f"offer {offer}, answer {answer}: {understood}, {agreement}"
    )
    server = WSProtocol(enable_compression=True, peer_extensions=[offer.encode()], deflate=theirs)
    client = WSProtocol(client=True, enable_compression=True, peer_extensions=[answer.encode()], deflate=ours)
    for sender, receiver in ((client, server), (server, client)):
        events = [event for one in messages for event in receiver.receive_data(sender.send_message(one))[0]]
        require(events == [WebSocketDataReceived(one) for one in messages], IDENTITY, f"{events!r:.300}")


def response_head_survives(status: int, headers: List[Tuple[bytes, bytes]], reason: Optional[bytes]) -> None:
    """What an application sets comes out as it went in, or is refused: nothing can be put into a head."""
    try:
        built = build_response_head(status, headers, reason=reason)
    except EventError:
        return
    check_head(built, status, headers)


def check_head(built: bytes, status: int, headers: List[Tuple[bytes, bytes]]) -> None:
    parser = ResponseParser()
    head = parser.receive_data(built)
    require(head is not None and parser.trailing == b"", IDENTITY, f"{built!r} has more than a head")
    assert head is not None
    expected = tuple((name.lower(), value.strip(b" \t")) for name, value in headers)
    found = head.headers[len(head.headers) - len(expected) :]
    require((head.status, found) == (status, expected), IDENTITY, f"{built!r} is read as {head!r}")


def handshake_survives(
    host: str, target: str, subprotocols: List[str], headers: List[Tuple[bytes, bytes]], cuts: int, seed: int
) -> None:
    """A client's request through the server's parser and checks, and the answer back."""
    chosen = random.Random(seed)
    key = generate_ws_key()
    try:
        built = build_upgrade_request(
            target, host, key, subprotocols=subprotocols, headers=headers, extensions="permessage-deflate"
        )
    except EventError:
        return
    parser = RequestParser()
    found = [parser.receive_data(piece) for piece in cut_into_pieces(built, cuts, chosen) if piece]
    request = found[-1]
    require(request is not None and found[:-1] == [None] * (len(found) - 1), IDENTITY, f"{built!r}")
    assert request is not None
    require(parser.trailing == b"", IDENTITY, f"{built!r} has more than a head")
    require(check_upgrade_request(request) == key, IDENTITY, f"{request!r}")
    require(request.target == target.encode(), IDENTITY, f"target {request.target!r}")
    expected = tuple((name.lower(), value.strip(b" \t")) for name, value in headers)
    require(request.headers[len(request.headers) - len(expected) :] == expected, IDENTITY, f"{request!r}")
    chosen_one = subprotocols[0] if subprotocols else None
    try:
        answer = build_101_response(
            key, subprotocol=chosen_one, extensions="permessage-deflate", headers=headers
        )
    except EventError as error:
        # What a request may carry, a response may too.
        require(False, IDENTITY, f"headers {headers!r} are good in a request only: {error}")
        return
    check_head(answer, 101, headers)
    response = ResponseParser().receive_data(answer)
    assert response is not None
    connected, extensions = check_upgrade_response(response, key, subprotocols=subprotocols)
    require(
        connected.subprotocol == chosen_one and extensions == b"permessage-deflate", IDENTITY, f"{response!r}"
    )


def close_payload_survives(code: Any, reason: str) -> None:
    try:
        payload = build_close_payload(code, reason)
    except EventError:
        return
    require(
        payload == wire.build_close(code, reason.encode()),
        REFERENCE,
        f"{code!r}, {reason!r}: {payload.hex()}",
    )
    require(len(payload) <= 125, LAWFUL, f"{len(payload)} bytes")


# The edges of what may be sent (RFC 6455 7.4, the IANA registry), on both sides.
CODE_EDGES = (999, 1000, 1003, 1004, 1005, 1006, 1007, 1014, 1015, 2999, 3000, 4999, 5000)
CLOSE_CODES = st.sampled_from(CODE_EDGES) | st.integers(0, 65535)
OPTIONAL_SETTINGS = st.none() | SETTINGS
HOSTS = st.sampled_from(["a.example", "a.example:8000", "[::1]:80", "", "a b", "caf\u00e9"])
PATHS = st.sampled_from(["/", "/a?b=%20", "/a b", "x", "/\u00e9", "/a#b", "//x"])

ROUND_TRIPS: Dict[str, RoundTrip] = {
    "frames": RoundTrip(
        frame_survives,
        {
            "opcode": st.sampled_from([0, 1, 2, 8, 9, 10]),
            "size": FRAME_SIZES,
            "fin": st.booleans(),
            "rsv1": st.booleans(),
            "mask": st.booleans(),
            "seed": SEEDS,
        },
    ),
    "messages": RoundTrip(
        messages_survive,
        {"settings": OPTIONAL_SETTINGS, "messages": st.lists(MESSAGES, max_size=5), "seed": SEEDS},
    ),
    "fragments": RoundTrip(
        fragments_survive,
        {
            "settings": OPTIONAL_SETTINGS,
            "message": MESSAGES,
            "styles": st.lists(st.sampled_from(wire.Compressor.STYLES), min_size=1, max_size=4),
            "seed": SEEDS,
        },
    ),
    "negotiation": RoundTrip(
        negotiation_agrees,
        {"ours": SETTINGS, "theirs": SETTINGS, "messages": st.lists(TEXTS, min_size=1, max_size=3)},
    ),
    "closing": RoundTrip(
        close_survives,
        {
            "code": CLOSE_CODES,
            "reason": st.text(max_size=130) | st.just("\ud800"),
            "masked": st.booleans(),
        },
    ),
    "close payloads": RoundTrip(
        close_payload_survives,
        {
            "code": CLOSE_CODES | st.none() | st.just("1000") | st.just(1000.0),
            "reason": st.text(max_size=130),
        },
    ),
    "response heads": RoundTrip(
        response_head_survives,
        {"status": st.integers(90, 610), "headers": HEADERS, "reason": st.none() | VALUES},
    ),
    "handshakes": RoundTrip(
        handshake_survives,
        {
            "host": HOSTS,
            "target": PATHS,
            "subprotocols": st.lists(WORDS, max_size=3),
            "headers": HEADERS,
            "cuts": st.integers(0, 8),
            "seed": SEEDS,
        },
    ),
}
