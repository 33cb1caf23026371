"""Negotiation of permessage-deflate (RFC 7692 5 and 7.1): offers and responses become an `Agreement`.

zlib is imported by the first offer that can be met; without zlib every offer is
declined.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Iterable, NamedTuple, Optional, Tuple

from .deflate import Agreement, DeflateSettings, PerMessageDeflate
from .errors import BadRequest, HandshakeFailed
from .fields import ExtensionOffer, parse_extension_offers

__all__ = [
    "agree_on_deflate",
    "build_deflate_offer",
    "check_deflate_response",
    "import_zlib",
    "negotiate_deflate",
]

EXTENSION = "permessage-deflate"

# RFC 7692 7.1.2: a decimal integer between 8 and 15 without leading zeros.
_WINDOW_BITS: dict[Optional[str], int] = {str(bits): bits for bits in range(8, 16)}


def import_zlib() -> Optional[ModuleType]:
    """zlib, or None if this Python was built without it."""
    try:
        import zlib
    except ImportError:
        return None
    return zlib


def negotiate_deflate(
    offers: Iterable[ExtensionOffer], settings: DeflateSettings
) -> Optional[Tuple[Agreement, str]]:
    """Agree on the first offer that can be met; return the agreement and the response's header value.

    Offers of other extensions, and offers with an unknown, duplicate or
    invalid parameter, are skipped: they MUST be declined (RFC 7692 7.1). None
    if no offer can be met.
    """
    for name, parameters in offers:
        if name != EXTENSION:
            continue
        offer = _parse_parameters(parameters)
        # zlib cannot compress with a window of 8 bits: it refuses, and before 1.2.9 it silently used 9.
        if offer is None or offer.server_max_window_bits == 8:
            continue
        if import_zlib() is None:
            return None
        return _agree(offer, settings)
    return None


class _Parameters(NamedTuple):
    """The parameters of an offer or a response; None stands for a number that it does not name."""

    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: Optional[int]
    client_max_window_bits: Optional[int]
    has_client_max_window_bits: bool


def _parse_parameters(parameters: Iterable[Tuple[str, Optional[str]]]) -> Optional[_Parameters]:
    """None for an unknown, repeated or invalid parameter (RFC 7692 7.1)."""
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
    return _Parameters(
        "server_no_context_takeover" in seen,
        "client_no_context_takeover" in seen,
        _WINDOW_BITS.get(seen.get("server_max_window_bits")),
        _WINDOW_BITS.get(seen.get("client_max_window_bits")),
        "client_max_window_bits" in seen,
    )


def _agree(offer: _Parameters, settings: DeflateSettings) -> Tuple[Agreement, str]:
    server_bits = min(offer.server_max_window_bits or 15, settings.server_max_window_bits)
    client_bits = 15
    if offer.has_client_max_window_bits:
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
    # RFC 7692 7.1.2.1 allows it without an offer, but then nhooyr (1.8.7) and Netty (4.1.48) fail.
    if offer.server_max_window_bits is not None:
        response.append(f"server_max_window_bits={server_bits}")
    # RFC 7692 7.1.2.2: never in a response unless the offer had it.
    if offer.has_client_max_window_bits and client_bits < 15:
        response.append(f"client_max_window_bits={client_bits}")
    # Few are possible, and many connections keep one each.
    return agreement, sys.intern("; ".join(response))


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
    """The agreement that a server's response to `build_deflate_offer` makes; None if it declines.

    ``settings`` is None if nothing was offered. Without `server_max_window_bits`
    in the response the window has 15 bits, even if we asked for fewer:
    gorilla's servers do not know the parameter, and zlib inflates every window.
    Raises `HandshakeFailed` for an extension that was not offered (RFC
    6455 4.1), and for parameters that are unknown, invalid, repeated, or
    cannot be met (RFC 7692 7.1).
    """
    agreement = None
    for name, parameters in response:
        if settings is None or name != EXTENSION:
            raise HandshakeFailed(f"server answered with an extension that was not offered: {name}")
        if agreement is not None:
            raise HandshakeFailed("server answered with permessage-deflate twice")
        answer = _parse_parameters(parameters)
        if answer is None:
            raise HandshakeFailed("server answered with an unknown, invalid or repeated parameter")
        server_bits = answer.server_max_window_bits
        client_bits = min(answer.client_max_window_bits or 15, settings.client_max_window_bits)
        if server_bits is not None and server_bits > settings.server_max_window_bits:
            raise HandshakeFailed(f"server_max_window_bits={server_bits} is more than was asked for")
        if answer.has_client_max_window_bits and answer.client_max_window_bits is None:
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


def agree_on_deflate(
    values: Iterable[bytes], settings: Optional[DeflateSettings], client: bool
) -> Tuple[Optional[PerMessageDeflate], Optional[str]]:
    """Negotiate; return the codec, and a server's Sec-WebSocket-Extensions. Both are None without agreement.

    ``values`` are those of all Sec-WebSocket-Extensions lines of the peer: a
    client's offers, or with ``client`` a server's response. ``settings`` is None if permessage-deflate
    is not wanted. Raises `BadRequest` for malformed offers, and
    `HandshakeFailed` for a response that is malformed, or names an extension
    that was not offered.
    """
    agreement, response = None, None
    if client:
        try:
            extensions = parse_extension_offers(values)
        except BadRequest as error:
            raise HandshakeFailed(f"{error} in the server's answer") from None
        agreement = check_deflate_response(extensions, settings)
    elif settings is not None and values:
        agreement, response = negotiate_deflate(parse_extension_offers(values), settings) or (None, None)
    if agreement is None or settings is None:
        return None, None
    return PerMessageDeflate(agreement, settings, client), response
