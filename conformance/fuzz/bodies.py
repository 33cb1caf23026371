"""Request bodies, and the requests of one connection as a whole."""

from __future__ import annotations

import random
from typing import Any, List, Sequence, Tuple

from hypothesis import given
from hypothesis import strategies as st

from wsbridge.protocols.bodies import Body, ChunkedBody, LengthBody
from wsbridge.protocols.errors import RequestRefused

from ..lib.hostile.draws import cut, split
from ..lib.request_loop import RequestLoop
from .strategies import BODIES, CONNECTIONS, RANDOM, VARIANTS, Example, any_of, check_pieces, examples, share

# Limits of the trailers: as they are, then so small that short ones reach them.
LIMITS = ((65536, 256), (24, 4), (64, 1), (4, 0))


def read_body(body: Body, pieces: Sequence[bytes]) -> Tuple[Any, ...]:
    """The content and what is behind it; a documented refusal; or the content until now, and None."""
    content = b""
    for at, piece in enumerate(pieces):
        try:
            content += body.receive_data(piece)
        except RequestRefused as error:
            return type(error), str(error)
        if body.is_complete:
            return content, body.trailing + b"".join(pieces[at + 1 :])
    return content, None


@share(2)
@given(examples(BODIES))
def test_chunked_body(example: Example) -> None:
    """Any pieces give the same: a documented refusal, or content that chunks of another size give again."""
    variant, data = example
    size, fields = LIMITS[variant & 3]

    def read(pieces: Sequence[bytes]) -> Tuple[Any, ...]:
        return read_body(ChunkedBody(max_trailers=size, max_trailer_fields=fields), pieces)

    content, trailing = check_pieces(read, data)
    if isinstance(content, bytes):
        assert len(content) <= len(data)
        if trailing is not None:
            assert data.endswith(trailing)
            again = build_chunks(cut(content, 1 + variant)) + b"rest"
            assert read([again]) == (content, b"rest")


def build_chunks(parts: Sequence[bytes], extensions: Sequence[bytes] = (), trailers: bytes = b"") -> bytes:
    """A chunked body, without a line of wsbridge."""
    chunks = [
        b"%x%b\r\n%b\r\n" % (len(part), extensions[at % len(extensions)] if extensions else b"", part)
        for at, part in enumerate(parts)
        if part
    ]
    return b"".join([*chunks, b"0\r\n", trailers, b"\r\n"])


@given(VARIANTS, st.binary(max_size=300))
def test_body_of_a_length(length: int, data: bytes) -> None:
    """So many bytes and no more, in any pieces; the count of what is missing is right."""
    missing = LengthBody(length + 1)
    missing.receive_data(data)
    assert missing.missing == max(0, length + 1 - len(data))
    found = check_pieces(lambda pieces: read_body(LengthBody(length + 1), pieces), data)
    is_whole = len(data) > length
    assert found == (data[: length + 1], data[length + 1 :] if is_whole else None)


EXTENSIONS = any_of(b"", b"", b";a", b';a="b;c"', b" \t;a=b", b";" + b"x" * 14)
TRAILERS = any_of(b"", b"", b"a:\r\n", b"Content-Length: 7\r\nX: \xff y \r\n")
CONTENTS = st.binary(max_size=200) | st.builds(
    lambda size, seed: random.Random(seed).randbytes(size), any_of(4096, 65535, 65536, 200_000), st.integers()
)


COUNTS = st.integers(1, 60)


@given(CONTENTS, COUNTS, COUNTS, st.lists(EXTENSIONS, min_size=1, max_size=9), TRAILERS, RANDOM)
def test_content_survives(
    content: bytes, chunks: int, pieces: int, extensions: List[bytes], trailers: bytes, rng: random.Random
) -> None:
    """Content comes through any chunks, extensions, trailers and pieces unchanged, with what is behind it."""
    sent = build_chunks(split(rng, content, chunks), extensions, trailers) + b"GET / HTTP"
    assert read_body(ChunkedBody(), split(rng, sent, pieces)) == (content, b"GET / HTTP")
    assert read_body(ChunkedBody(), cut(sent, max(1, len(sent) // 999))) == (content, b"GET / HTTP")


@share(2)
@given(examples(CONNECTIONS))
def test_requests(example: Example) -> None:
    """Any pieces of a connection give the same requests, and the same end or refusal."""

    def read(pieces: Sequence[bytes]) -> Tuple[Any, ...]:
        loop = RequestLoop()
        for piece in pieces:
            loop.receive(piece)
        # Behind a refusal it does not matter what has come of the head.
        rest = b"" if loop.refusal is not None else loop.rest
        return loop.found, loop.end, type(loop.refusal), str(loop.refusal), rest

    found, _, _, _, rest = check_pieces(read, example[1])
    assert all(one.is_whole for one in found[:-1])
    assert len(rest) + sum(len(one.body) for one in found) <= len(example[1])
