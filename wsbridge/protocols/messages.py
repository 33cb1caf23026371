"""Messages made of fragments (RFC 6455 5.4): size limits, fragment limits, incremental UTF-8."""

from __future__ import annotations

import functools
import sys
from codecs import utf_8_decode
from typing import Any, Callable, Iterable, List, Optional, Union

from .deflate import SLICE, CeilingReached, Inflater
from .errors import InvalidUTF8, MessageTooBig, TooManyFragments
from .frames import TEXT

__all__ = [
    "FREE_SIZE",
    "DiscardedMessage",
    "Message",
    "Reserve",
    "compressed_limit",
    "inflate_message",
    "measure",
]

#: Bytes. What a connection holds up to this size needs no reservation, and messages inflate in steps of this
#: size, each of which is reserved before it is there.
FREE_SIZE = 64 * 1024

#: Called with the size of a message in progress, as it grows past `FREE_SIZE` or before it inflates on:
#: whether another `FREE_SIZE` bytes may come now.
Reserve = Callable[[int], bool]

BYTES_PER_FRAGMENT = 32

CHECKED_SLICE = 64 * 1024

# Bytes. A message is collected in pieces of this size, which are joined at the end: a single `bytearray`
# would be copied often as it grows.
GATHERED_SIZE = 64 * 1024


@functools.lru_cache(maxsize=4)
def compressed_limit(limit: int) -> int:
    """The largest size on the wire of a compressed message of up to ``limit`` bytes.

    DEFLATE makes incompressible data larger by an eighth at most (its fixed
    code has 9 bits for half of all bytes). Without this limit, blocks that
    inflate to nothing could go on for ever.
    """
    return limit + limit // 8 + 64


# PyPy does not tell the size of an object; its texts are UTF-8, of which this counts the characters.
_get_size: Callable[[Any], int] = len if sys.implementation.name == "pypy" else sys.getsizeof


def measure(messages: Iterable[Any]) -> int:
    """The memory that whole messages take, in bytes: a text with one wide character takes four for each."""
    return sum(map(_get_size, messages))


class DiscardedMessage:
    """A message that comes after our own CLOSE: nothing of it is kept, but the limits hold.

    ``limit`` and ``wire_limit`` are the largest size in bytes, inflated and on
    the wire; a message may have ``max_fragments``, plus one for every 32 bytes.
    ``begun`` is the message in progress that this one replaces.
    """

    __slots__ = ("_fragments", "_limit", "_max_fragments", "_received", "_wire_limit")

    #: Bytes of it that are kept.
    size = 0

    def __init__(
        self,
        limit: int,
        max_fragments: int,
        wire_limit: Optional[int] = None,
        begun: Optional[DiscardedMessage] = None,
    ) -> None:
        self._limit = limit
        self._wire_limit = limit if wire_limit is None else wire_limit
        self._max_fragments = max_fragments
        self._fragments: int = 0 if begun is None else begun._fragments
        self._received: int = 0 if begun is None else begun._received

    def begin_frame(self, length: int) -> None:
        """Count a frame before its payload. Raises `MessageTooBig` or `TooManyFragments`."""
        self._fragments += 1
        fragment_limit = self._max_fragments + self._received // BYTES_PER_FRAGMENT
        if self._fragments > fragment_limit:
            raise TooManyFragments(fragment_limit)
        self._received += length
        if self._received > self._wire_limit:
            raise MessageTooBig(self._limit)

    def append(self, piece: Union[bytes, bytearray], reserve: Optional[Reserve] = None) -> int:
        """Add the next bytes of payload, unmasked, which must not change later.

        Returns how many of them, at the end of ``piece``, were not taken because ``reserve`` gave no room.
        """
        return 0

    def finish(self) -> Union[str, bytes, None]:
        """Return the message after its last frame; None if it is discarded."""
        return None


class Message(DiscardedMessage):
    """One message in progress; ``limit`` is its size in bytes, inflated.

    Text is validated as it arrives (RFC 6455 8.1), so that the first byte
    that decides it fails the connection, even inside a partial frame.
    """

    __slots__ = ("_inflater", "_is_text", "_pieces", "_undecided", "size")

    def __init__(
        self, opcode: int, limit: int, max_fragments: int, inflater: Optional[Inflater] = None
    ) -> None:
        super().__init__(limit, max_fragments, None if inflater is None else compressed_limit(limit))
        self._pieces: List[Union[bytes, bytearray]] = []
        self.size = 0
        self._inflater = inflater
        self._is_text = opcode == TEXT
        self._undecided = b""

    def append(self, piece: Union[bytes, bytearray], reserve: Optional[Reserve] = None) -> int:
        inflater = self._inflater
        if inflater is None:
            self._keep(piece)
            if reserve is not None and self.size > FREE_SIZE:
                # What has come is kept: without room the owner of the connection reads no more.
                reserve(self.size)
            return 0
        for start in range(0, len(piece), SLICE):
            left = self._inflate(piece[start : start + SLICE], inflater, reserve)
            if left:
                return left + max(len(piece) - start - SLICE, 0)
        return 0

    def _inflate(self, piece: Union[bytes, bytearray], inflater: Inflater, reserve: Optional[Reserve]) -> int:
        while piece:
            try:
                self._keep(inflater.inflate(piece))
                break
            except CeilingReached as reached:
                left = reached.left
                self.keep_inflated(reached.output)
            room = self._limit - self.size
            if reserve is not None:
                if not reserve(self.size):
                    return left
                room = min(room, FREE_SIZE)
            inflater.ceiling = inflater.bytes_out + room
            piece = piece[len(piece) - left :]
        return 0

    def keep_inflated(self, output: bytes) -> None:
        """Add what was inflated up to a ceiling and past it. Raises `MessageTooBig` or `InvalidUTF8`."""
        self._keep(output)
        if self.size > self._limit:
            raise MessageTooBig(self._limit)

    def finish(self) -> Union[str, bytes]:
        if self._inflater is not None:
            self._inflater.finish()
        if self._undecided:
            raise InvalidUTF8("text message")
        pieces = self._pieces
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        # Free the pieces before the text is decoded.
        pieces.clear()
        return content.decode() if self._is_text else bytes(content)

    def _keep(self, piece: Union[bytes, bytearray]) -> None:
        self.size += len(piece)
        pieces = self._pieces
        if pieces and len(pieces[-1]) < GATHERED_SIZE:
            pieces[-1] += piece
        else:
            # One that may grow must be a `bytearray`.
            pieces.append(bytearray(piece) if len(piece) < GATHERED_SIZE else piece)
        # ASCII is UTF-8, and `isascii` is much faster than decoding.
        if self._is_text and (self._undecided or not piece.isascii()):
            # In slices, because the decoded text takes up to four times the space.
            for start in range(0, len(piece), CHECKED_SLICE):
                self._check_text(piece[start : start + CHECKED_SLICE])

    def _check_text(self, piece: Union[bytes, bytearray]) -> None:
        tail = self._undecided + piece if self._undecided else piece
        try:
            _, decided = utf_8_decode(tail, "strict", False)
        except UnicodeDecodeError:
            raise InvalidUTF8("text message") from None
        undecided = self._undecided = bytes(tail[decided:])
        # ed a0-bf begins a surrogate, invalid whatever follows; CPython's decoder waits for the third byte.
        if len(undecided) == 2 and undecided >= b"\xed\xa0" and undecided < b"\xee":
            raise InvalidUTF8("text message")


def inflate_message(opcode: int, payload: Union[bytes, bytearray], inflater: Inflater) -> Union[str, bytes]:
    """Inflate a whole message in one frame, with the result and the errors of `Message`."""
    inflated = inflater.inflate(payload)
    if opcode != TEXT:
        inflater.finish()
        return inflated
    try:
        text = inflated.decode()
    except UnicodeDecodeError:
        # The order of `Message`: an invalid byte is reported first, then a truncated stream, then a truncated
        # character.
        Message(TEXT, len(inflated), 1).append(inflated)
        inflater.finish()
        raise InvalidUTF8("text message") from None
    inflater.finish()
    return text
