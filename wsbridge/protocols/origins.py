"""Which origins may open WebSockets (RFC 6454, RFC 6455 10.2)."""

from __future__ import annotations

import re
from typing import Iterable, List, NamedTuple, Optional

from .errors import ConfigError
from .fields import DEFAULT_PORTS, parse_authority

__all__ = ["AllowedOrigins"]

# RFC 6454 6.2: the serialization of an origin. Some browsers send the origin of a file with an empty host.
_ORIGIN = re.compile(rb"([a-z][0-9a-z+\-.]*)://([^/?#\\@\x00-\x20\x7f-\xff]*)")

# What is often written instead of an origin: an optional scheme, a host, and a path.
_URL = re.compile(r"(?:([A-Za-z][0-9A-Za-z+\-.]*)://)?([^/?#\s]*[^/?#\s:])(?:[/?#]\S*)?")


class _Origin(NamedTuple):
    """An origin with its port: 0 if none was given and the scheme has no default."""

    scheme: bytes
    host: bytes
    port: int


class AllowedOrigins:
    """The origins that may open WebSockets.

    Each item is an origin such as ``https://example.com`` or
    ``https://example.com:8443``, compared without case and with the default
    ports of http and https filled in; one slash may follow.
    ``https://*.example.com`` stands for every host below example.com, at any
    depth, and not for example.com itself. ``same-origin`` stands for the
    origin whose host and port are those of the Host header, ``null`` for the
    origin of sandboxed pages, ``*`` for all.

    Raises `ConfigError` for an item that no browser's Origin can ever equal.
    """

    __slots__ = ("_exact", "_allows_all", "_null", "_same_origin", "_suffixes")

    def __init__(self, items: Iterable[str]) -> None:
        names = [item.lower() for item in items]
        self._allows_all = "*" in names
        self._null = "null" in names
        self._same_origin = "same-origin" in names
        origins = [_parse_item(name) for name in names if name not in ("*", "null", "same-origin")]
        self._exact = frozenset(origins)
        self._suffixes = [
            origin._replace(host=origin.host[1:]) for origin in origins if origin.host.startswith(b"*.")
        ]

    def allows(self, values: List[bytes], host: bytes) -> bool:
        """Whether the Origin lines ``values`` of a request to ``host`` are allowed.

        A request without Origin is allowed: it does not come from a browser, so
        there is no foreign page to protect the user from (RFC 6455 10.2). A
        request with two is not.
        """
        if self._allows_all or not values:
            return True
        if len(values) > 1:
            return False
        value = values[0].lower()
        if value == b"null":
            return self._null
        origin = _parse_origin(value)
        if origin is None:
            return False
        if origin in self._exact or any(_is_below(origin, suffix) for suffix in self._suffixes):
            return True
        return self._same_origin and _is_same_origin(origin, host)


def _is_below(origin: _Origin, suffix: _Origin) -> bool:
    is_alike = origin.scheme == suffix.scheme and origin.port == suffix.port
    return is_alike and origin.host.endswith(suffix.host) and len(origin.host) > len(suffix.host)


def _is_same_origin(origin: _Origin, host: bytes) -> bool:
    """True if the origin's host and port are those of the Host header.

    The default port of the origin's scheme is filled in on both sides. The
    scheme is not compared: behind a proxy that ends TLS, the server does not
    know its own.
    """
    port = DEFAULT_PORTS.get(origin.scheme)
    return port is not None and parse_authority(host, port) == (origin.host, origin.port)


def _parse_origin(value: bytes) -> Optional[_Origin]:
    match = _ORIGIN.fullmatch(value)
    if match is None:
        return None
    scheme, authority = match[1], match[2]
    if not authority:
        return None if scheme in DEFAULT_PORTS else _Origin(scheme, b"", 0)
    host_and_port = parse_authority(authority, DEFAULT_PORTS.get(scheme, 0))
    return None if host_and_port is None else _Origin(scheme, *host_and_port)


def _parse_item(item: str) -> _Origin:
    """An item of the configuration, in lower case."""
    # Browsers show an origin with a slash at its end.
    text = item[:-1] if item.endswith("/") and not item.endswith("://") else item
    origin = _parse_pattern(text)
    if origin is None:
        raise ConfigError(f"allowed origin {item!r} can never match: {_suggest(text)}")
    return origin


def _parse_pattern(text: str) -> Optional[_Origin]:
    """An origin whose host may begin with ``*.``, or None."""
    origin = _parse_origin(text.encode("ascii", "backslashreplace"))
    if origin is None:
        return None
    rest = origin.host[2:] if origin.host.startswith(b"*.") else origin.host
    # Only a file's origin has no host.
    is_pattern = b"*" not in rest and bool(rest or not origin.host)
    return origin if is_pattern else None


def _suggest(text: str) -> str:
    match = _URL.fullmatch(text)
    origin = "" if match is None else f"{match[1] or 'https'}://{match[2]}"
    if _parse_pattern(origin) is not None:
        return f"write {origin!r}"
    return "it must be such as 'https://example.com', 'https://*.example.com', 'same-origin', 'null' or '*'"
