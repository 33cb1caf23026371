"""What hypothesis draws: bytes that reach deep into what they are made for, and a number of a variant.

Most bytes are right and a few are not: sequences of frames with true lengths and masks, compressed messages
in every form that the RFC allows, heads from pieces of their grammar; then some are mutated.
"""

from __future__ import annotations

import random
import zlib
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, TypeVar

from hypothesis import settings
from hypothesis import strategies as st

from wsbridge.protocols.deflate import DeflateSettings
from wsbridge.protocols.masking import LARGE, LARGE_FOR_LIBCRYPTO

from ..lib import wire
from ..lib.hostile import frames, heads, messages, requests
from ..lib.hostile.draws import cut, split

# What `st.composite` hands to a function; the drawn type is for the function to know.
Draw = Callable[..., Any]
Bytes = st.SearchStrategy[bytes]
# A variant, 0 to 255, and what comes from outside.
Example = Tuple[int, bytes]

T = TypeVar("T")

VARIANTS = st.integers(0, 255)
RANDOM = st.randoms(use_true_random=False)


def share(times: float) -> Callable[[Any], Any]:
    """Decorate a test that draws a multiple of the usual examples: those that find the most draw more."""
    return settings(max_examples=max(1, round(settings.default.max_examples * times)))


def examples(made: st.SearchStrategy[Example]) -> st.SearchStrategy[Example]:
    """Mostly what is made for the test, now and then plain bytes."""
    return st.one_of(*[made] * 5, st.tuples(VARIANTS, st.binary(max_size=120)))


def with_variant(data: Bytes) -> st.SearchStrategy[Example]:
    return st.tuples(VARIANTS, mutated(data))


def lines_of(values: Bytes) -> st.SearchStrategy[Example]:
    return with_variant(st.lists(values, max_size=4).map(b"\n".join))


def any_of(*values: T) -> st.SearchStrategy[T]:
    return st.sampled_from(values)


@st.composite
def mutated(draw: Draw, whole: Bytes) -> bytes:
    """What is drawn, mostly unchanged; sometimes a part is removed, replaced by a byte, or repeated."""
    data: bytes = draw(whole)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        at: int = draw(st.integers(0, len(data)))
        end: int = draw(st.sampled_from([at, at + 1, len(data)]))
        new: bytes = draw(st.sampled_from([b"", data[at : at + 12]]) | st.binary(min_size=1, max_size=1))
        data = data[:at] + new + data[end:]
    return data


# -------------------------------------------------------------------------------------- pieces


def cut_in_all_ways(data: bytes) -> Dict[str, List[bytes]]:
    """Byte by byte, but for the middle of long data, and at random places, which follow from the data."""
    chosen = random.Random(zlib.crc32(data))
    edge = 1000 if len(data) > 4096 else len(data)
    bytewise = [*cut(data[:edge], 1), *cut(data[edge:-edge], 256), *cut(data[edge:][-edge:], 1)]
    return {
        "byte by byte": bytewise,
        "in a few pieces": split(chosen, data, 2 + chosen.randrange(4)),
        "in many pieces": split(chosen, data, 2 + min(len(data) // 3, 1000)),
    }


def check_pieces(read: Callable[[List[bytes]], Any], data: bytes) -> Any:
    """The answer to all of the data, which any pieces of it must have as well."""
    whole = read([data])
    for name, pieces in cut_in_all_ways(data).items():
        assert read(pieces) == whole, name
    return whole


# ------------------------------------------------------------------------------------ WebSockets

MASKING_SIZES = tuple(size + more for size in (LARGE_FOR_LIBCRYPTO, LARGE) for more in (-1, 0, 1))
TEXTS = st.text(max_size=40).map(str.encode) | any_of(
    *(b"", b"\0", "\u20ac".encode() * 30, "\U0001f600".encode() * 20, b"a" * 300), *frames.BAD_UTF8
)
CODES = st.sampled_from(frames.CLOSE_CODES)
CLOSES = st.builds(wire.build_close, CODES, TEXTS.map(lambda text: text[:123])) | st.binary(max_size=4)


def choose_deflate(variant: int) -> DeflateSettings:
    alone, bits = bool(variant & 64), 9 if variant & 128 else 15
    # One byte of threshold, so that nearly everything we send is compressed as well.
    return DeflateSettings(alone, alone, bits, bits, threshold=1)


@st.composite
def conversations(draw: Draw, client: bool, compressed: bool) -> Example:
    """What a peer sends to that role: a stream of frames, compressed as the variant says."""
    variant, rng = draw(VARIANTS), draw(RANDOM)
    compressor = None
    if compressed:
        deflate = choose_deflate(variant)
        bits, alone = deflate.client_max_window_bits, deflate.client_no_context_takeover
        compressor = messages.Compressor(rng, bits, alone)
    data, _ = frames.draw_stream(frames.Writer(rng, not client, compressor))
    return variant, data


@st.composite
def compressed_payloads(draw: Draw) -> bytes:
    """Several messages as one payload: the tails that were cut off stand between them again."""
    rng = draw(RANDOM)
    drawn = messages.draw_messages(rng, messages.Compressor(rng))
    return messages.TAIL.join(message.payload for message in drawn)


# ------------------------------------------------------------------------------------------ HTTP


def words(text: bytes) -> Bytes:
    return st.sampled_from(text.split())


def joined(pieces: Bytes, delimiters: Sequence[bytes], most: int) -> Bytes:
    """Pieces with delimiters and blanks between them; sometimes none, sometimes far too many."""
    delimiter = st.tuples(BLANKS, st.sampled_from(delimiters), BLANKS).map(b"".join)
    several = st.lists(st.tuples(pieces, delimiter).map(b"".join), max_size=most).map(b"".join)
    return st.tuples(several, pieces).map(b"".join) | several


BLANKS = any_of(b"", b" ", b"\t", b"  \t")
TOKENS = words(b"websocket Upgrade keep-alive chat x !#$%&'*+-.^_`|~9Az")
WORDS = TOKENS | st.binary(min_size=1, max_size=8) | any_of(b"a b", b'"', b"\\", b"=", b"caf\xe9")
LISTS = joined(TOKENS, [b",", b",", b", ,", b";"], 70) | joined(WORDS, [b",", b" "], 5)

DEFLATE = b"permessage-deflate"
PARAMETERS = words(
    b"server_no_context_takeover client_no_context_takeover server_max_window_bits=10 "
    b'server_max_window_bits=8 client_max_window_bits="9" client_max_window_bits'
)
OWN_PARAMETERS = st.lists(PARAMETERS, max_size=4, unique_by=lambda item: item[:12])
ONE_OFFER = OWN_PARAMETERS.map(lambda parameters: b"; ".join([DEFLATE, *parameters]))
WRONG_PARAMETERS = words(b'client_max_window_bits=015 x="a\\"b" x="y a="\\b" a="\\"" a="" a="10"')
OFFERED = any_of(DEFLATE, b"= 1", b'a="b c"') | TOKENS | PARAMETERS | WRONG_PARAMETERS
OFFERS = ONE_OFFER | joined(OFFERED, [b";", b";", b",", b"=", b'"'], 20)

NODES = any_of(b'"', b'\\"', b"\\") | words(
    b'192.0.2.1 198.51.100.7 "[2001:db8::1]:47" 2001:db8::2 unknown _hidden "198.51.100.7:65536" '
    b'"::ffff:192.0.2.1" 192.0.2.01 fe80::1%eth0'
)
PAIRS = st.tuples(any_of(b"for=", b"host=", b"proto=", b"by=", b""), NODES).map(b"".join) | words(
    b'proto=https host="a.example:8443" proto=http;proto=wss https 443'
)
FORWARDED = joined(PAIRS, [b",", b",", b";", b'"', b"\\"], 6)
HOSTS = st.just(b"") | words(b"a.example a.example:80 [::1]:8000 a:65536 user@a a/b %41 A:")
NETWORKS = joined(words(b"192.0.2.1 10.0.0.0/8 unix * ::/0 10.0.0.1/8"), [b","], 3)

# With these first lines, most heads are the 101 responses that a client expects.
STATUS_LINES = st.tuples(
    any_of(
        *[b"HTTP/1.1 101 x"] * 6, b"HTTP/1.1 101", b"HTTP/1.1 101 ", b"HTTP/1.0 200 OK", b"HTTP/1.1 600 x"
    ),
    any_of(*[wire.ACCEPT] * 6, wire.KEY),
).map(b"\r\nSec-WebSocket-Accept: ".join)
FIELDS: Dict[bytes, Bytes] = {
    b"Sec-WebSocket-Protocol": any_of(b"chat") | LISTS,
    b"Sec-WebSocket-Extensions": OFFERS,
    b"Origin": words(b"https://example.com http://a.example null https://a.example:443 \xff"),
    b"Forwarded": FORWARDED,
    b"X-Forwarded-For": joined(NODES, [b","], 4),
    b"X-Forwarded-Proto": any_of(b"https", b"wss, http", b"ftp", b""),
    b"X-Forwarded-Host": HOSTS,
    b"X-Forwarded-Port": any_of(b"443", b"0", b"65536", b"4 3", b"\xb2"),
    b"X-Forwarded-Prefix": any_of(b"/a%20b", b"/a, /b/", b"//", b"/%2e%2e", b"/\xff"),
}


@st.composite
def drawn_heads(draw: Draw, first_lines: Optional[Bytes] = None) -> Example:
    """A request head with a few more lines; a response head where `first_lines` replace the request line."""
    data, _ = heads.draw_head(draw(RANDOM))
    first, end, rest = data.partition(b"\r\n")
    names = draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=4))
    lines = [b"%b: %b\r\n" % (name, draw(FIELDS[name])) for name in names]
    if first_lines is not None:
        first = draw(first_lines)
    return draw(VARIANTS), b"".join([first, end, *lines, rest])


REQUESTS, RESPONSES = drawn_heads(), drawn_heads(STATUS_LINES)


@st.composite
def drawn_bodies(draw: Draw) -> Example:
    """A chunked body, damaged or not, and what is behind it."""
    rng = draw(RANDOM)
    draft = requests.draw_request(rng)
    draft.chunks = draft.chunks or requests.draw_chunks(rng, requests.draw_body(rng))
    for _ in range(draw(st.sampled_from([0, 1, 1, 2]))):
        draw(st.sampled_from(requests.CHUNKS + requests.LONG))(rng, draft)
    data = draft.build_body()
    return draw(VARIANTS), data + draw(any_of(b"", b"", *requests.LEFTOVERS))


@st.composite
def drawn_connections(draw: Draw) -> Example:
    """Several requests with bodies, damaged or not."""
    data, _ = requests.draw_requests(draw(RANDOM))
    return draw(VARIANTS), data


BODIES, CONNECTIONS = drawn_bodies(), drawn_connections()
