"""Pipelines of requests with bodies (RFC 9112 6 and 7), and what damage makes of them."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field
from typing import List, Optional, Tuple

from . import heads
from .draws import disorder, happens, split, truncate

METHODS = (b"POST", b"POST", b"PUT", b"PATCH", b"GET", b"DELETE", b"OPTIONS", b"HEAD", b"QUERY")
TARGETS = (b"/", b"/a?b=c", b"/upload/%41", b"http://example.com/x", b"/a/b;c")
CONNECTIONS = (
    b"close", b"Close", b"keep-alive", b"keep-alive, close", b"upgrade", b"closed", b"", b"TE, \tclose",
)  # fmt: skip

LENGTHS = (
    b"+5", b"-1", b"5 5", b"0x5", b"5,5", b"5, 5", b"", b"05", b"00", b"5;", b"5.0", b"1e1", b"\xb2", b"5_0",
    b"999999999999999999", b"1000000000000000000", b"18446744073709551615", b"18446744073709551616",
    b"99999999999999999999", b"0000000000000000000005", b"\x0b5", b"5\x00", b"NaN", b"5 ", b"\t5\t",
)  # fmt: skip
CODINGS = (
    b"Chunked", b"CHUNKED", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"identity",
    b"xchunked", b"chunked;a=b", b"chunked,", b",chunked", b"", b"chunked\x0b", b"\x0bchunked", b'"chunked"',
    b"chu nked", b"identity, chunked", b"deflate", b"trailers", b" chunked\t", b"chunked\x00", b"chunke",
    b"chunkedchunked",
)  # fmt: skip
NAMES = (
    b"Content-Length", b"content-length", b"Content_Length", b"Content-Length ", b" Content-Length",
    b"Transfer-Encoding", b"transfer-encoding", b"Transfer-Encoding\t", b"Transfer_Encoding",
    b"Content-length\x00", b"X-Content-Length", b"Transfer-\xc4ncoding",
)  # fmt: skip

# Sizes of a chunk that are wrong, or unusual; %d and %x: the size of its data.
SIZES = (
    b"0%x", b"0000%x", b"000000000000000%x", b"00000000000000000000000000%x", b"+%x", b"-%x", b"0x%x",
    b" %x", b"%xg", b"%x %x", b"", b"%x.0", b"%x,", b"\xef\xbc\x95", b"x%x", b"%x\x00", b"\t%x", b"_%x",
    b"1_%x", b"%x\x0b", b"FFFFFFFFFFFFFFF", b"10000000000000000", b"fffffffffffffffff", b"7fffffffffffffff",
    b"fffffffffffffffe", b"00000000000000000000000000000",
)  # fmt: skip
EXTENSIONS = (
    b";a", b";a=b", b';a="b"', b';a="b;c \\" \xff"', b";a=b;c=d", b";a;b", b" ;a", b"\t; a = b", b" \t ;a=b",
    b";", b"; ", b";;", b";=", b";a=", b" ", b"\t", b"  ", b";a b", b";\xff", b";a\x00", b";a\x7f",
    b";a\x0bb", b";a\nb", b";a\rb", b';a="\r\n"', b";a=\t", b",a", b"a=b", b"(a)", b';a="b',
    b";" + b"x" * 300, b";a=" + b"1" * 3000,
)  # fmt: skip
LINE_ENDS = (b"\n", b"\r", b"\r\r\n", b"\n\r", b"", b"\r\n\r\n", b" \r\n", b"\x00\r\n", b"\r\n ", b"\r \n")
DATA_ENDS = (b"\n", b"\r", b"", b"x\r\n", b"\r\r\n", b"\n\n", b"\r\n\r\n", b"\rX", b" \r\n", b"\0\0")
TRAILERS = (
    b"X-A: b", b"Expires: never", b"X-A:b\x00", b"X A: b", b" folded", b"X-A", b": b", b"Content-Length: 5",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Host: other", b"X-A : b", b"\tX: y",
    b"X\xff: y", b"Content-Length: x", b"X-A: \xff\t ", b"Connection: close", b"X-A: b\rc", b"Trailer: X-A",
    b"Host: other",
)  # fmt: skip
LEFTOVERS = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"x", b"GET", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n", b"\x00", b" ",
    b"\xff", b"\x81\x80\x00\x00\x00\x00", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01", b"\r\nx",
)  # fmt: skip


@dataclass
class Chunk:
    size: bytes
    data: bytes
    extension: bytes = b""
    size_end: bytes = b"\r\n"
    data_end: bytes = b"\r\n"

    def build(self) -> bytes:
        return self.size + self.extension + self.size_end + self.data + self.data_end


@dataclass
class Draft:
    """A request before it becomes bytes; chunks is None for one whose body, if any, has a length."""

    head: heads.Draft
    body: bytes = b""
    chunks: Optional[List[Chunk]] = None
    trailers: List[bytes] = field(default_factory=list)  #: with their line ends
    end: bytes = b"\r\n"  #: behind the trailers

    def build(self) -> bytes:
        return self.head.build() + self.build_body()

    def build_body(self) -> bytes:
        if self.chunks is None:
            return self.body
        return b"".join([*(chunk.build() for chunk in self.chunks), *self.trailers, self.end])


def draw_body(rng: random.Random) -> bytes:
    if happens(rng, 0.15):
        # What could be taken for more of the protocol.
        return rng.choice(LEFTOVERS) * rng.randint(1, 2)
    if happens(rng, 0.01):
        return b"b" * rng.choice((65535, 65536, 70_000))
    return rng.randbytes(rng.choice((0, 1, 2, 5, 16, 17, 60, 300)))


def draw_chunks(rng: random.Random, body: bytes) -> List[Chunk]:
    pieces = [piece for piece in split(rng, body, rng.choice((1, 1, 2, 3, 6))) if piece]
    form = rng.choice((b"%x", b"%x", b"%X", b"0%x"))
    return [*(Chunk(form % len(piece), piece) for piece in pieces), Chunk(b"0", b"", data_end=b"")]


def draw_request(rng: random.Random) -> Draft:
    if happens(rng, 0.07):
        return Draft(heads.draw_valid(rng))  # an opening handshake
    lines = [b"Host: example.com"]
    if happens(rng, 0.15):
        lines.append(b"Connection: " + rng.choice(CONNECTIONS))
    if happens(rng, 0.1):
        lines.append(b"Expect: 100-continue")
    if happens(rng, 0.03):
        lines += [b"Upgrade: h2c", b"Connection: Upgrade"]
    head = heads.Draft(rng.choice(METHODS), rng.choice(TARGETS), lines)
    draft, body = Draft(head), draw_body(rng)
    framing = rng.choice(("length", "chunked", "chunked", "none"))
    if framing == "length":
        draft.body = body
        head.insert(rng, b"Content-Length: %d" % len(body))
    elif framing == "chunked":
        draft.chunks = draw_chunks(rng, body)
        head.insert(rng, b"Transfer-Encoding: chunked")
        if happens(rng, 0.2):
            draft.trailers = [rng.choice(TRAILERS[:2]) + b"\r\n" for _ in range(rng.randint(1, 2))]
    if happens(rng, 0.05):
        head.version = b"HTTP/1.0"
    return draft


# ---------------------------------------------------------------------------------------- damage


def change_head(rng: random.Random, draft: Draft) -> None:
    rng.choice(heads.Draft.MUTATIONS)(draft.head, rng)


def change_framing(rng: random.Random, draft: Draft) -> None:
    """A line about the length beside the right one, or in its place."""
    lines = draft.head.lines
    if rng.random() < 0.6:
        names = (b"content-length", b"transfer-encoding")
        lines[:] = [line for line in lines if not line.lower().startswith(names)]
    for _ in range(rng.choice((1, 1, 2))):
        size = b"%d" % (len(draft.body) + rng.choice((0, 0, 0, 1, -1, 5)))
        name = rng.choice((b"Content-Length", b"Transfer-Encoding"))
        value = rng.choice(
            LENGTHS + (size,) * 10 if name == b"Content-Length" else CODINGS + (b"chunked",) * 8
        )
        name = rng.choice(NAMES) if happens(rng, 0.15) else name
        draft.head.insert(rng, name + rng.choice((b": ", b":")) + value)


def _pick(rng: random.Random, draft: Draft) -> Chunk:
    return rng.choice(draft.chunks or [Chunk(b"0", b"")])


def change_size(rng: random.Random, draft: Draft) -> None:
    chunk = _pick(rng, draft)
    if rng.random() < 0.4:
        chunk.size = b"%x" % max(0, len(chunk.data) + rng.choice((1, -1, 2, 16)))
    else:
        chunk.size = rng.choice(SIZES).replace(b"%x", b"%x" % len(chunk.data))


def change_extension(rng: random.Random, draft: Draft) -> None:
    for chunk in draft.chunks if draft.chunks and happens(rng, 0.2) else [_pick(rng, draft)]:
        chunk.extension = rng.choice(EXTENSIONS)


def lengthen_extensions(rng: random.Random, draft: Draft) -> None:
    """Near, or far beyond, what framing may take (16 KiB and 16 bytes a chunk), in one or in many."""
    count, total = rng.choice((1, 4, 60)), 16 * 1024 + rng.choice((-100, -3, -2, -1, 0, 1, 2, 3, 100, 5000))
    chunks = [Chunk(b"1", b"b") for _ in range(count)]
    for chunk in chunks:
        chunk.extension = b";" + b"x" * (total // count + rng.choice((0, 10, 11, 12, 13, 14, 15, 16)))
    draft.chunks = [*chunks, *(draft.chunks or [])]


def change_line_end(rng: random.Random, draft: Draft) -> None:
    _pick(rng, draft).size_end = rng.choice(LINE_ENDS)


def change_data_end(rng: random.Random, draft: Draft) -> None:
    _pick(rng, draft).data_end = rng.choice(DATA_ENDS)


def change_trailers(rng: random.Random, draft: Draft) -> None:
    end = rng.choice((b"\r\n",) * 6 + LINE_ENDS)
    draft.trailers.insert(rng.randint(0, len(draft.trailers)), rng.choice(TRAILERS) + end)


def add_many_trailers(rng: random.Random, draft: Draft) -> None:
    draft.trailers += [b"X: y\r\n"] * (heads.MAX_FIELDS - len(draft.trailers) + rng.choice((-1, 0, 1)))


def change_end(rng: random.Random, draft: Draft) -> None:
    draft.end = rng.choice(LINE_ENDS)


def disorder_chunks(rng: random.Random, draft: Draft) -> None:
    disorder(rng, draft.chunks or [])


def insert_leftover(rng: random.Random, draft: Draft) -> None:
    draft.body += rng.choice(LEFTOVERS)
    draft.end += rng.choice(LEFTOVERS)


FRAMING = (change_framing,) * 3
CHUNKS = (
    *(change_size, change_extension) * 3, *(change_line_end, change_data_end, change_trailers) * 2,
    change_end, disorder_chunks, insert_leftover,
)  # fmt: skip
LONG = (lengthen_extensions, add_many_trailers)


def mutate(rng: random.Random, draft: Draft) -> str:
    """Do one kind of damage, in place, and return its name."""
    if draft.chunks is not None and happens(rng, 0.04):
        kind = rng.choice(LONG)
    else:
        kind = rng.choice((*FRAMING, change_head, insert_leftover, *(CHUNKS if draft.chunks else ())))
    kind(rng, draft)
    return kind.__name__


def draw_requests(rng: random.Random) -> Tuple[bytes, Tuple[str, ...]]:
    """What a client sends on one connection, and what was done to it: nothing, or a few mutations."""
    drafts: List[Draft] = []
    for _ in range(rng.choice((1, 1, 2, 2, 3, 4))):
        # Clients repeat themselves, and what wsbridge remembers of a head must not outlive its likeness.
        repeats = bool(drafts) and happens(rng, 0.25)
        drafts.append(copy.deepcopy(drafts[-1]) if repeats else draw_request(rng))
    traits = [mutate(rng, rng.choice(drafts)) for _ in range(rng.choice((0, 0, 1, 1, 1, 1, 2, 3)))]
    data = b"".join(draft.build() for draft in drafts)
    if happens(rng, 0.15):
        data += rng.choice(LEFTOVERS)
        traits.append("leftover")
    if happens(rng, 0.1):
        at = rng.randrange(len(data))
        byte = rng.choice((rng.randrange(256), rng.choice(b"\x00\t\n\r ;:0\x7f\xff")))
        data = data[:at] + bytes([byte]) + data[at + rng.randint(0, 1) :]
        traits.append("byte")
    if happens(rng, 0.08):
        data = truncate(rng, data)
        traits.append("truncated")
    return data, tuple(traits)
