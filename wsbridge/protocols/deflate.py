"""permessage-deflate (RFC 7692): negotiation from the offer, and a codec for messages.

zlib is imported when an offer is at hand that wants it; where it is missing,
the offer is declined.
"""

from __future__ import annotations

import sys
from array import array
from types import ModuleType
from typing import TYPE_CHECKING, Iterable, NamedTuple, Optional, Tuple, Union

from .errors import BadRequest, HandshakeFailed, InvalidCompressedData, MessageTooBig
from .fields import ExtensionOffer, parse_extension_offers

if TYPE_CHECKING:
    from zlib import _Compress, _Decompress

__all__ = ["DeflateSettings", "Agreement", "negotiate_deflate", "build_deflate_offer", "PerMessageDeflate"]

EXTENSION = "permessage-deflate"

# RFC 7692 7.2.1: the four bytes that end every flushed DEFLATE block, left out on the wire.
TAIL = b"\x00\x00\xff\xff"

# An empty stored block with BFINAL: read at a block's boundary, and only there, it ends the stream.
FINAL_BLOCK = b"\x01\x00\x00\xff\xff"

# Behind a whole message the stream ends with this, and nothing is left over.
_ENDING = TAIL + FINAL_BLOCK

# A DEFLATE stream that ends itself again and again (BFINAL) costs a copy of the rest each time: in
# slices of this size the whole stays linear.
SLICE = 16384

# What zlib allocates for a stream that it inflates, besides the window.
INFLATE_STATE_SIZE = 7168

# A window may grow by so much before it is cut to its size.
WINDOW_SLACK = 4096


_IS_PYPY = sys.implementation.name == "pypy"
_BYTE = array("b", [0])


def note_allocated(size: int) -> None:
    """Tell PyPy's collector that zlib has allocated about ``size`` bytes; where references count, do nothing.

    It frees zlib's objects with other old garbage, but does not know their
    size: on PyPy 7.3.11 a server with one client grows to gigabytes. An array's
    memory it does count, and keeps counting when the array is gone.
    """
    if _IS_PYPY:
        _BYTE * size


class DeflateSettings(NamedTuple):
    """What we want of permessage-deflate; every field has a default.

    ``level`` 0-9 and ``mem_level`` 1-9 are zlib's. Level 3 is the last without
    zlib's lazy matching: 6 takes more than half as long again to make JSON
    little smaller. A window of 12 bits and a memory level of 5 cost 32 KiB for
    a connection that compresses; zlib's defaults of 15 and 8 cost 256 KiB, for
    a few per cent of size on short messages. ``threshold``: messages of fewer
    bytes are sent uncompressed; 0, because libwebsockets loops on those.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 12
    client_max_window_bits: int = 12
    level: int = 3
    mem_level: int = 5
    threshold: int = 0


class Agreement(NamedTuple):
    """The four parameters of RFC 7692 7.1 as both sides keep them.

    Our own window may be smaller than the one that was agreed on: the peer
    inflates it all the same.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15


def import_zlib() -> Optional[ModuleType]:
    """zlib, or None where this Python was built without it."""
    try:
        import zlib
    except ImportError:
        return None
    return zlib


def negotiate_deflate(
    offers: Iterable[ExtensionOffer], settings: DeflateSettings
) -> Optional[Tuple[Agreement, str]]:
    """Agree on the first offer that can be met: the agreement and the response's header value.

    Offers of other extensions, and offers with an unknown, duplicate or
    invalid parameter, are skipped (RFC 7692 7.1: they MUST be declined).
    """
    for name, parameters in offers:
        if name != EXTENSION:
            continue
        offer = _parse_offer(parameters)
        # zlib cannot compress with a window of 8 bits (it silently takes 9).
        if offer is None or offer.server_max_window_bits == 8:
            continue
        if import_zlib() is None:
            return None
        return _agree(offer, settings)
    return None


class _Offer(NamedTuple):
    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: Optional[int]
    client_max_window_bits: Optional[int]
    limits_client_window: bool


def _parse_offer(parameters: Iterable[Tuple[str, Optional[str]]]) -> Optional[_Offer]:
    seen: dict[str, Optional[str]] = {}
    for name, value in parameters:
        if name in seen:
            return None
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if value is not None:
                return None
        elif name == "server_max_window_bits":
            if value not in _WINDOW_BITS:
                return None
        elif name != "client_max_window_bits" or (value is not None and value not in _WINDOW_BITS):
            return None
        seen[name] = value
    return _Offer(
        "server_no_context_takeover" in seen,
        "client_no_context_takeover" in seen,
        _WINDOW_BITS.get(seen.get("server_max_window_bits")),
        _WINDOW_BITS.get(seen.get("client_max_window_bits")),
        "client_max_window_bits" in seen,
    )


# RFC 7692 7.1.2: a decimal integer between 8 and 15 without leading zeros.
_WINDOW_BITS: dict[Optional[str], int] = {str(bits): bits for bits in range(8, 16)}


def _agree(offer: _Offer, settings: DeflateSettings) -> Tuple[Agreement, str]:
    server_bits = min(offer.server_max_window_bits or 15, settings.server_max_window_bits)
    client_bits = 15
    if offer.limits_client_window:
        client_bits = min(offer.client_max_window_bits or 15, settings.client_max_window_bits)
    agreement = Agreement(
        offer.server_no_context_takeover or settings.server_no_context_takeover,
        offer.client_no_context_takeover or settings.client_no_context_takeover,
        server_bits,
        client_bits,
    )
    response = [EXTENSION]
    if agreement.server_no_context_takeover:
        response.append("server_no_context_takeover")
    if agreement.client_no_context_takeover:
        response.append("client_no_context_takeover")
    # RFC 7692 7.1.2.1 allows it unasked, but nhooyr (1.8.7) and Netty (4.1.48) fail on it then.
    if offer.server_max_window_bits is not None:
        response.append(f"server_max_window_bits={server_bits}")
    # RFC 7692 7.1.2.2: never in a response unless the offer had it.
    if offer.limits_client_window and client_bits < 15:
        response.append(f"client_max_window_bits={client_bits}")
    return agreement, "; ".join(response)


def build_deflate_offer(settings: DeflateSettings) -> str:
    """A client's offer (RFC 7692 7.1), for its Sec-WebSocket-Extensions header."""
    offer = [EXTENSION]
    if settings.server_no_context_takeover:
        offer.append("server_no_context_takeover")
    if settings.client_no_context_takeover:
        offer.append("client_no_context_takeover")
    if settings.server_max_window_bits < 15:
        offer.append(f"server_max_window_bits={settings.server_max_window_bits}")
    offer.append("client_max_window_bits")
    if settings.client_max_window_bits < 15:
        offer[-1] += f"={settings.client_max_window_bits}"
    return "; ".join(offer)


def check_deflate_response(
    response: Iterable[ExtensionOffer], settings: Optional[DeflateSettings]
) -> Optional[Agreement]:
    """What a server agreed to of `build_deflate_offer`; None where it declined.

    ``settings`` is None where nothing was offered. Where the response does not
    say `server_max_window_bits`, the window has 15 bits, though we asked for
    fewer: gorilla's servers do not know the parameter, and zlib inflates every
    window. Raises `HandshakeFailed` for an extension that was not offered (RFC
    6455 4.1), and for parameters that are unknown, invalid, repeated, or
    cannot be met (RFC 7692 7.1).
    """
    agreement = None
    for name, parameters in response:
        if settings is None or name != EXTENSION:
            raise HandshakeFailed(f"server answered with an extension that was not offered: {name}")
        if agreement is not None:
            raise HandshakeFailed("server answered with permessage-deflate twice")
        answer = _parse_offer(parameters)
        if answer is None:
            raise HandshakeFailed("server answered with an unknown, invalid or repeated parameter")
        server_bits = answer.server_max_window_bits
        client_bits = min(answer.client_max_window_bits or 15, settings.client_max_window_bits)
        if server_bits is not None and server_bits > settings.server_max_window_bits:
            raise HandshakeFailed(f"server_max_window_bits={server_bits} is more than was asked for")
        if answer.limits_client_window and answer.client_max_window_bits is None:
            raise HandshakeFailed("client_max_window_bits without a value in a response")
        if client_bits == 8:
            raise HandshakeFailed("client_max_window_bits=8 cannot be met: zlib begins at 9")
        if settings.server_no_context_takeover and not answer.server_no_context_takeover:
            raise HandshakeFailed("server_no_context_takeover was asked for and not agreed to")
        if import_zlib() is None:
            raise HandshakeFailed("permessage-deflate cannot be met: this Python has no zlib")
        agreement = Agreement(
            answer.server_no_context_takeover,
            answer.client_no_context_takeover or settings.client_no_context_takeover,
            server_bits or 15,
            client_bits,
        )
    return agreement


class Inflater:
    """Inflates a peer's messages, one after the other, each under a limit.

    Each has a zlib stream of its own, which begins with the window that the last one left: to end it is the
    only way to ask zlib whether a message is whole, and a copy that could be ended in its place is never
    freed on PyPy (7.3.11: 7 KiB a message). Between messages nothing is held but the window.
    """

    __slots__ = (
        *("_decompressor", "_no_context_takeover", "_window", "_window_bits", "_zlib"),
        *("bytes_in", "bytes_out"),
    )

    def __init__(self, window_bits: int, no_context_takeover: bool) -> None:
        # Not in each method: an `import` costs as much as several calls.
        import zlib

        self._zlib: ModuleType = zlib
        self._window_bits = window_bits
        self._no_context_takeover = no_context_takeover
        # None at the boundaries of messages and streams.
        self._decompressor: Optional[_Decompress] = None
        self._window = bytearray()
        self.bytes_in = 0
        self.bytes_out = 0

    def inflate(self, piece: Union[bytes, bytearray], limit: int, size: int = 0) -> bytes:
        """Inflate the next piece of a message, which has ``size`` bytes already and may have ``limit``.

        Raises `MessageTooBig`, or `InvalidCompressedData`. zlib keeps back what it inflated of a piece in
        which it finds an error: of several errors in one message, the pieces decide which is told.
        """
        self.bytes_in += len(piece)
        room = limit - size
        pieces = []
        try:
            for data in (piece,) if len(piece) <= SLICE else _slices(piece):
                while data:
                    if self._decompressor is None:
                        self._decompressor = self._begin_stream()
                    # One byte more than allowed tells "just fits" from "too big"; 0 would mean no limit.
                    output = self._decompressor.decompress(data, room + 1)
                    if len(output) > room:
                        raise MessageTooBig(limit)
                    room -= len(output)
                    self.bytes_out += len(output)
                    pieces.append(output)
                    data = self._decompressor.unused_data
                    if self._decompressor.eof:
                        # RFC 7692 7.2.3.4: behind a block with BFINAL a new stream begins, and a new window.
                        self._decompressor = None
                        self._window.clear()
                    elif not self._no_context_takeover:
                        self._window += output
                        # Not after every piece: there are some of a single byte.
                        if len(self._window) > WINDOW_SLACK + (1 << self._window_bits):
                            del self._window[: -1 << self._window_bits]
        except self._zlib.error as error:
            raise InvalidCompressedData(str(error)) from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _begin_stream(self) -> _Decompress:
        note_allocated(INFLATE_STATE_SIZE + len(self._window))
        # An empty window would take PyPy twice the time.
        window = {"zdict": self._window} if self._window else {}
        stream: _Decompress = self._zlib.decompressobj(-self._window_bits, **window)
        return stream

    def finish(self) -> None:
        """End the message: all of it has been inflated; raises where it was truncated."""
        # RFC 7692 7.2.3.4: a message may end with a BFINAL block, behind which a new stream begins.
        # An empty payload for an empty message (7.2.3.6 asks for 00) is what zlib makes of the second
        # one in a row, so it is sent, and means nothing else.
        decompressor, self._decompressor = self._decompressor, None
        if decompressor is not None and not self._ends_at_block_boundary(decompressor):
            raise InvalidCompressedData("it ends inside a block")
        del self._window[: -1 << self._window_bits]

    def _ends_at_block_boundary(self, decompressor: _Decompress) -> bool:
        # Without this a truncated message would be delivered as far as it goes, and the next one be garbage.
        try:
            if decompressor.decompress(_ENDING, 1) or not decompressor.eof:
                return False
        except self._zlib.error:
            return False
        if decompressor.unused_data == FINAL_BLOCK:
            # RFC 7692 7.2.1: the empty block may itself have BFINAL; behind it a new stream begins.
            self._window.clear()
            return True
        return not decompressor.unused_data


def _slices(piece: Union[bytes, bytearray]) -> Iterable[Union[bytes, bytearray]]:
    return (piece[start : start + SLICE] for start in range(0, len(piece), SLICE))


class Deflater:
    """Compresses our messages, one after the other."""

    __slots__ = (
        "_compressor",
        "_level",
        "_mem_level",
        "_no_context_takeover",
        "_window_bits",
        "_zlib",
        "bytes_in",
        "bytes_out",
    )

    def __init__(self, window_bits: int, no_context_takeover: bool, level: int, mem_level: int) -> None:
        import zlib

        self._zlib: ModuleType = zlib
        self._window_bits = window_bits
        self._no_context_takeover = no_context_takeover
        self._level = level
        self._mem_level = mem_level
        self._compressor: Optional[_Compress] = None
        self.bytes_in = 0
        self.bytes_out = 0

    def deflate(self, payload: bytes) -> bytes:
        """A whole message, compressed, without its tail (RFC 7692 7.2.1)."""
        compressor, zlib = self._compressor, self._zlib
        if compressor is None:
            compressor = zlib.compressobj(self._level, zlib.DEFLATED, -self._window_bits, self._mem_level)
            # As zlib.h says of deflateInit2.
            note_allocated((4 << self._window_bits) + (512 << self._mem_level))
            if not self._no_context_takeover:
                self._compressor = compressor
        compressed = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        self.bytes_in += len(payload)
        self.bytes_out += len(compressed)
        return compressed


class PerMessageDeflate:
    """The codec of one connection: an `Inflater` and a `Deflater` as agreed."""

    __slots__ = ("deflater", "inflater", "threshold")

    def __init__(self, agreement: Agreement, settings: DeflateSettings, client: bool = False) -> None:
        ours = (agreement.server_max_window_bits, agreement.server_no_context_takeover)
        theirs = (agreement.client_max_window_bits, agreement.client_no_context_takeover)
        if client:
            ours, theirs = theirs, ours
        self.deflater = Deflater(*ours, settings.level, settings.mem_level)
        # zlib inflates a window of 8 bits with any larger one.
        self.inflater = Inflater(max(theirs[0], 9), theirs[1])
        self.threshold = settings.threshold


def agree_on_deflate(
    values: Iterable[bytes], settings: Optional[DeflateSettings], client: bool
) -> Tuple[Optional[PerMessageDeflate], Optional[str]]:
    """What comes of the peer's Sec-WebSocket-Extensions: our codec, and a server's response to send.

    ``values`` are those of all its lines: a client's offers, or with
    ``client`` a server's response. ``settings`` is None where we do not want
    permessage-deflate. Raises `BadRequest` for malformed offers, and
    `HandshakeFailed` for a response that is malformed, or answers what was
    not offered.
    """
    agreement, response = None, None
    if client:
        agreement = _check_response(values, settings)
    elif settings is not None:
        agreement, response = negotiate_deflate(parse_extension_offers(values), settings) or (None, None)
    if agreement is None or settings is None:
        return None, None
    return PerMessageDeflate(agreement, settings, client), response


def _check_response(values: Iterable[bytes], settings: Optional[DeflateSettings]) -> Optional[Agreement]:
    try:
        response = parse_extension_offers(values)
    except BadRequest as error:
        raise HandshakeFailed(f"{error} in the server's answer") from None
    return check_deflate_response(response, settings)
