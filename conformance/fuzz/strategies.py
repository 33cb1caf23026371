"""What hypothesis draws: for each target a number of its variant and bytes that reach deep into it.

Most bytes are right and a few are not: sequences of frames with true lengths and masks, compressed messages
in every form that the RFC allows, heads from pieces of their grammar; then some are mutated.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

from hypothesis import strategies as st

from wsbridge.protocols.masking import TRANSLATE_FROM

from ..lib import wire
from .connections import Setup
from .heads import KEY

# What `st.composite` hands to a function; the drawn type is for the function to know.
Draw = Callable[..., Any]
Example = Tuple[int, bytes]

VARIANTS = st.integers(0, 255)
KEYS = st.sampled_from([b"\0\0\0\0", b"\x37\xfa\x21\x3d", b"\xff\0\xff\x80"]) | st.binary(
    min_size=4, max_size=4
)

MASKING_SIZES = (TRANSLATE_FROM - 1, TRANSLATE_FROM, TRANSLATE_FROM + 1)

# Sizes at which something changes: a length form, the controls' limit, the way of masking, a limit.
SIZES = st.sampled_from(
    [0, 1, 2, 4, 5, 6, 63, 64, 65, 124, 125, 126, 127, 300, 301, *MASKING_SIZES, 65535, 65536]
)
TEXTS = st.text(max_size=40) | st.sampled_from(["", "\0", "\u20ac" * 30, "\U0001f600" * 20, "a" * 300])
BROKEN_TEXTS = st.sampled_from(
    [b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"ok\xf0\x9f\x98", b"\xff", b"\x80"]
)
PAYLOADS = (
    TEXTS.map(str.encode)
    | st.binary(max_size=140)
    | BROKEN_TEXTS
    | st.builds(lambda size, byte: byte * size, SIZES, st.binary(min_size=1, max_size=1))
)
CODES = st.sampled_from(
    [0, 999, 1000, 1001, 1003, 1004, 1005, 1006, 1007, 1011, 1014, 1015, 2999, 3000, 4999, 5000]
)
CLOSES = (
    st.just(b"")
    | st.builds(wire.build_close, CODES, TEXTS.map(lambda text: text.encode()[:123]))
    | st.binary(max_size=4)
)


@st.composite
def mutated(draw: Draw, whole: st.SearchStrategy[bytes]) -> bytes:
    """What is drawn, mostly as it is; or with a byte changed, put in, taken out, or its end cut off."""
    data: bytes = draw(whole)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        if not data:
            break
        at: int = draw(st.integers(0, len(data) - 1))
        how = draw(st.sampled_from(["change", "insert", "remove", "cut", "repeat"]))
        byte: bytes = draw(st.binary(min_size=1, max_size=1))
        if how == "change":
            data = data[:at] + byte + data[at + 1 :]
        elif how == "insert":
            data = data[:at] + byte + data[at:]
        elif how == "remove":
            data = data[:at] + data[at + 1 :]
        elif how == "cut":
            data = data[:at]
        else:
            data = data[:at] + data[at : at + 12] + data[at:]
    return data


@st.composite
def conversations(draw: Draw, client: bool, compressed: bool) -> Example:
    """What a peer sends: messages in fragments with control frames between them, CLOSE, and broken frames."""
    variant: int = draw(VARIANTS)
    deflate = Setup.from_variant(client, compressed, variant).deflate
    compressor = None
    if deflate is not None:
        compressor = wire.Compressor(deflate.client_max_window_bits, deflate.client_no_context_takeover)
    writer = _Writer(draw, client, compressor)
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["message"] * 6 + ["control"] * 3 + ["close", "fragment", "raw"]))
        getattr(writer, "write_" + str(kind))()
    return variant, draw(mutated(st.just(b"".join(writer.pieces))))


class _Writer:
    """Draws frames one after the other."""

    def __init__(self, draw: Draw, client: bool, compressor: object) -> None:
        self._draw = draw
        self._is_masked = not client
        self._compressor = compressor
        self.pieces: List[bytes] = []

    def _write_frame(self, first: int, payload: bytes) -> None:
        key = self._draw(KEYS) if self._is_masked else None
        self.pieces.append(wire.build_frame(first, payload, key))

    def write_message(self) -> None:
        first: int = self._draw(st.sampled_from([wire.TEXT, wire.BINARY]))
        payload: bytes = self._draw(TEXTS.map(str.encode) if first == wire.TEXT else PAYLOADS)
        if isinstance(self._compressor, wire.Compressor) and self._draw(st.booleans() | st.just(True)):
            payload = self._compressor.compress(payload, self._draw(st.sampled_from(wire.Compressor.STYLES)))
            first |= wire.RSV1
        cuts = sorted(self._draw(st.lists(st.integers(0, len(payload)), max_size=4)))
        starts, ends = [0, *cuts], [*cuts, len(payload)]
        for at, (start, end) in enumerate(zip(starts, ends)):
            self._write_frame((wire.FIN if at == len(cuts) else 0) | (0 if at else first), payload[start:end])
            if at < len(cuts) and self._draw(st.integers(0, 3)) == 0:
                self.write_control()

    def write_control(self) -> None:
        opcode: int = self._draw(st.sampled_from([wire.PING, wire.PONG]))
        self._write_frame(wire.FIN | opcode, self._draw(st.binary(max_size=125)))

    def write_close(self) -> None:
        self._write_frame(wire.FIN | wire.CLOSE, self._draw(CLOSES))

    def write_fragment(self) -> None:
        """A frame with any first byte, alone."""
        self._write_frame(self._draw(st.integers(0, 255)), self._draw(PAYLOADS))

    def write_raw(self) -> None:
        headers = [
            b"\x82\xff\x80" + bytes(7),
            b"\x82\xff\x7f" + b"\xff" * 7,
            b"\x82\xfe\0\1",
            b"\x82\x7e\0\x7d",
        ]
        self.pieces.append(self._draw(st.sampled_from(headers) | st.binary(max_size=20)))


# ------------------------------------------------------------------------------------------ HTTP

TOKENS = st.sampled_from([b"websocket", b"Upgrade", b"keep-alive", b"chat", b"x", b"!#$%&'*+-.^_`|~9Az"])
BLANKS = st.sampled_from([b"", b" ", b"\t", b"  \t"])
WORDS = TOKENS | st.binary(min_size=1, max_size=8) | st.sampled_from([b"a b", b'"', b"\\", b"=", b"caf\xe9"])


def joined(pieces: st.SearchStrategy[bytes], delimiters: List[bytes], most: int) -> st.SearchStrategy[bytes]:
    """Pieces with delimiters and blanks between them; sometimes none, sometimes far too many."""
    delimiter = st.builds(
        lambda left, mark, right: left + mark + right, BLANKS, st.sampled_from(delimiters), BLANKS
    )
    several = st.lists(st.tuples(pieces, delimiter).map(b"".join), max_size=most).map(b"".join)
    return st.tuples(several, pieces).map(b"".join) | several


RIGHT_PARAMETERS = [
    b"server_no_context_takeover",
    b"client_no_context_takeover",
    b"server_max_window_bits=10",
    b"server_max_window_bits=8",
    b'client_max_window_bits="9"',
    b"client_max_window_bits",
]
WRONG_PARAMETERS = [b"client_max_window_bits=015", b'x="a\\"b"', b'x="y', b"= 1"]
PARAMETERS = st.sampled_from([*RIGHT_PARAMETERS, *WRONG_PARAMETERS])
QUOTED = st.sampled_from([b'a="b c"', b'a="\\b"', b'a="\\""', b'a=""', b'a="10"'])
ANY_OFFERS = joined(
    st.just(b"permessage-deflate") | TOKENS | PARAMETERS | QUOTED, [b";", b";", b",", b"=", b'"'], 20
)
RIGHT_OFFERS = st.lists(st.sampled_from(RIGHT_PARAMETERS), max_size=4, unique_by=lambda item: item[:12]).map(
    lambda parameters: b"; ".join([b"permessage-deflate", *parameters])
)
OFFERS = RIGHT_OFFERS | ANY_OFFERS
NODES = st.sampled_from(
    [
        b"192.0.2.1",
        b"198.51.100.7",
        b'"[2001:db8::1]:47"',
        b"2001:db8::2",
        b"unknown",
        b"_hidden",
        b'"198.51.100.7:65536"',
        b'"::ffff:192.0.2.1"',
        b"192.0.2.01",
        b"fe80::1%eth0",
        b'"',
        b'\\"',
        b"\\",
    ]
)
FORWARDED = joined(
    st.builds(
        lambda name, node: name + node, st.sampled_from([b"for=", b"host=", b"proto=", b"by=", b""]), NODES
    )
    | st.sampled_from([b"proto=https", b'host="a.example:8443"', b"proto=http;proto=wss", b"https", b"443"]),
    [b",", b",", b";", b'"', b"\\"],
    6,
)
LISTS = joined(TOKENS, [b",", b",", b", ,", b";"], 70) | joined(WORDS, [b",", b" "], 5)
HOSTS = st.sampled_from(
    [b"a.example", b"a.example:80", b"[::1]:8000", b"", b"a:65536", b"user@a", b"a/b", b"%41", b"A.EXAMPLE:"]
)
ORIGINS = st.sampled_from(
    [b"https://example.com", b"http://a.example", b"null", b"https://a.example:443", b"\xff"]
)
VALUES: Dict[bytes, st.SearchStrategy[bytes]] = {
    b"Host": HOSTS,
    b"Upgrade": joined(st.just(b"websocket") | TOKENS, [b","], 3),
    b"Connection": joined(st.just(b"Upgrade") | TOKENS, [b","], 3),
    b"Sec-WebSocket-Key": st.just(KEY) | WORDS,
    b"Sec-WebSocket-Version": st.sampled_from([b"13", b"13, 8", b"8", b"013"]),
    b"Sec-WebSocket-Protocol": LISTS,
    b"Sec-WebSocket-Extensions": OFFERS,
    b"Origin": ORIGINS,
    b"Forwarded": FORWARDED,
    b"X-Forwarded-For": joined(NODES, [b","], 4),
    b"X-Forwarded-Proto": st.sampled_from([b"https", b"wss, http", b"ftp", b""]),
    b"X-Forwarded-Host": HOSTS,
    b"X-Forwarded-Port": st.sampled_from([b"443", b"0", b"65536", b"4 3", b"\xb2"]),
    b"Content-Length": st.sampled_from([b"0", b"00", b"+0", b"1", b"0, 0"]),
    b"Transfer-Encoding": st.just(b"chunked"),
    b"X": st.binary(max_size=30),
}
REQUIRED = (b"Host", b"Upgrade", b"Connection", b"Sec-WebSocket-Key", b"Sec-WebSocket-Version")
HONEST = dict(zip(REQUIRED, (b"a.example", b"websocket", b"Upgrade", KEY, b"13")))
REQUEST_LINES = st.just(b"GET /chat?room=1 HTTP/1.1") | st.builds(
    lambda method, target, version: b"%b %b %b" % (method, target, version),
    st.sampled_from([b"GET", b"HEAD", b"POST", b"get", b"", b"G\0T"]),
    st.sampled_from(
        [b"/", b"/%ff%00?a?b", b"ws://a.example:80/x", b"http://b/", b"*", b"//a", b"/\xff", b"/a b"]
    ),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 ", b"http/1.1", b""]),
)
STATUS_LINES = st.sampled_from(
    [
        b"HTTP/1.1 101 Switching Protocols",
        b"HTTP/1.1 101",
        b"HTTP/1.1 101 ",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 600 x",
    ]
)
LINE_ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\n ", b"\r\n\t"])


@st.composite
def heads(draw: Draw, first_lines: st.SearchStrategy[bytes], extra: Dict[bytes, bytes]) -> Example:
    """A head: mostly the honest lines with a few others among them, in any order, and bytes behind it."""
    lines: List[bytes] = [draw(first_lines)]
    fields: List[Tuple[bytes, bytes]] = [
        pair for pair in {**HONEST, **extra}.items() if draw(st.integers(0, 19))
    ]
    for name in draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=4)):
        fields.insert(draw(st.integers(0, len(fields))), (name, draw(VALUES[name])))
    lines += [b"%b:%b%b" % (name, draw(BLANKS), value) for name, value in fields]
    head = b"".join(line + draw(LINE_ENDS) for line in lines) + b"\r\n"
    before = draw(st.sampled_from([b"", b"", b"", b"\r\n"]))
    return draw(VARIANTS), draw(mutated(st.just(before + head + draw(st.binary(max_size=8)))))


ANSWER = {
    b"Host": b"-",
    b"Sec-WebSocket-Accept": b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",  # RFC 6455 1.3
    b"Sec-WebSocket-Protocol": b"chat",
}
REQUESTS = heads(REQUEST_LINES, {})
RESPONSES = heads(STATUS_LINES, ANSWER)


def with_variant(data: st.SearchStrategy[bytes]) -> st.SearchStrategy[Example]:
    return st.tuples(VARIANTS, mutated(data))


def lines_of(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[Example]:
    return with_variant(st.lists(values, max_size=4).map(b"\n".join))


@st.composite
def compressed_payloads(draw: Draw) -> bytes:
    compressor = wire.Compressor(15)
    messages = draw(
        st.lists(st.tuples(PAYLOADS, st.sampled_from(wire.Compressor.STYLES)), min_size=1, max_size=3)
    )
    return b"\0\0\xff\xff".join(compressor.compress(payload, style) for payload, style in messages)


NAMED_FORWARDED = st.tuples(st.sampled_from([bytes([at]) for at in range(5)]), FORWARDED).map(b"".join)
HEADER_BYTES = st.builds(
    lambda first, second, rest: bytes([first, second]) + rest,
    st.sampled_from([0x01, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A, 0xC1]) | st.integers(0, 255),
    st.sampled_from([0, 125, 126, 127, 128, 253, 254, 255]) | st.integers(0, 255),
    st.sampled_from([b"\0\x7e", b"\0\x7d", bytes(5) + b"\1\0\0", b"\x80" + bytes(7), b"\xff" * 14])
    | st.binary(max_size=14),
)
NETWORKS = joined(
    st.sampled_from([b"192.0.2.1", b"10.0.0.0/8", b"unix", b"*", b"::/0", b"10.0.0.1/8"]), [b","], 3
)
RAW = st.tuples(VARIANTS, st.binary(max_size=120))

EXAMPLES: Dict[str, st.SearchStrategy[Example]] = {
    "server": conversations(False, False),
    "server-deflate": conversations(False, True),
    "client": conversations(True, False),
    "client-deflate": conversations(True, True),
    "request-head": REQUESTS,
    "response-head": RESPONSES,
    "server-handshake": REQUESTS,
    "client-handshake": RESPONSES,
    "list-headers": lines_of(LISTS),
    "extension-offers": lines_of(OFFERS),
    "authority": with_variant(HOSTS | NETWORKS | NODES | st.binary(max_size=20)),
    "forwarded": lines_of(NAMED_FORWARDED) | lines_of(st.binary(max_size=30)),
    "frame-header": with_variant(HEADER_BYTES),
    "close-payload": with_variant(st.builds(wire.build_close, CODES) | CLOSES),
    "masking": with_variant(PAYLOADS),
    "text": with_variant(st.lists(TEXTS.map(str.encode) | BROKEN_TEXTS, max_size=4).map(b"".join)),
    "inflater": with_variant(compressed_payloads()),
}


def build_examples(name: str) -> st.SearchStrategy[Example]:
    """Mostly what is made for the target, now and then plain bytes."""
    return st.one_of(*[EXAMPLES[name]] * 5, RAW)
