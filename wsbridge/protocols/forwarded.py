"""What trusted proxies say about the client: X-Forwarded-* and Forwarded (RFC 7239).

Any client can send these headers, and a proxy passes on those that it does not
set itself: only the headers that the configuration lists are read. Each proxy
appends to the list that it was sent. The last entry was written by the peer
itself, the one before it by the peer's peer, and so on. So lists are read from
the right, and reading stops at the first address that is not a trusted proxy's:
the client at that address may have invented the entries to its left.

Every pattern is a run of one byte class followed by a byte outside it, and a
list is split in one pass, so that the time is linear also for hostile values.
"""

from __future__ import annotations

import re
from itertools import islice, tee
from typing import TYPE_CHECKING, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from .errors import ConfigError
from .fields import TCHAR, Headers, parse_authority

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

__all__ = [
    "DEFAULT_FORWARDED_HEADERS",
    "FORWARDED_HEADERS",
    "Forwarded",
    "TrustedPeers",
    "check_forwarded_headers",
    "identify_client",
    "read_forwarded",
]

Client = Tuple[str, int]

#: The names that can be listed. ``forwarded`` stands for the parameters ``for`` and ``proto`` of RFC 7239,
#: ``forwarded-host`` for its ``host``.
FORWARDED_HEADERS = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "forwarded",
    "forwarded-host",
)

#: The headers that nearly every proxy sets, and that uvicorn reads.
DEFAULT_FORWARDED_HEADERS = ("x-forwarded-for", "x-forwarded-proto")

# Names are compared exactly: x_forwarded_for, which CGI cannot tell from the real one, is another header.
_HEADERS = {name.encode("ascii"): name for name in FORWARDED_HEADERS if name != "forwarded-host"}

# Pairs with the same meaning: a proxy that sets one passes on the other as the client has sent it.
_CONFLICTS = (
    ("forwarded", "x-forwarded-for"),
    ("forwarded", "x-forwarded-proto"),
    ("forwarded-host", "x-forwarded-host"),
)

_SECURE = {b"https": True, b"wss": True, b"http": False, b"ws": False}

# RFC 7239 6: node = nodename [ ":" node-port ]; only a nodename that is an address is of use.
_NODE = re.compile(rb"(?:([0-9.]+)|\[([0-9A-Fa-f:.]+)\])(?::(?:([0-9]{1,5})|_[0-9A-Za-z._\-]+))?")

# X-Forwarded-For has no grammar; many proxies write IPv6 addresses into it without brackets (RFC 7239 7.4).
_BARE_IPV6 = re.compile(rb"[0-9A-Fa-f:.]+")

_PORT = re.compile(rb"[0-9]{1,5}")

# RFC 7239 4: forwarded-pair = token "=" ( token / quoted-string ); RFC 9110 5.6.4: quoted-string.
_PAIR = re.compile(
    rb"([" + TCHAR + rb"]+)="
    rb"(?:([" + TCHAR + rb']+)|"((?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*)")'
)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)

# X-Forwarded-Prefix has no grammar either: here, the path of a URI (RFC 3986 3.3).
_PREFIX = re.compile(rb"[\x21\x22\x24-\x3e\x40-\x7e]*")
_PERCENT_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")

# A decoded path, without "." and "..", which would be normalised, and without "//", which begins an
# authority.
_ROOT_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[^/\\\x00-\x1f\x7f-\x9f]+)+")

# The bytes that matter for splitting: delimiters, quotes, and backslashes before quotes.
_MARK = re.compile(rb'\\+"?|[",;]')


class TrustedPeers:
    """The peers whose forwarded headers are believed.

    ``spec`` is a list separated by commas: IPv4 and IPv6 addresses, networks
    such as ``10.0.0.0/8``, ``unix`` for peers on a unix socket, ``*`` for all
    peers. An empty list trusts no peer, and the object is then false. With ``*``
    every address in the headers is trusted as well, so that the leftmost entry
    is the client: only for servers that no client can reach without the proxy,
    and proxies that replace the headers of the client.

    Raises `ConfigError` for an item that is none of these, and for a network
    with bits set beyond its prefix.
    """

    __slots__ = ("_trusts_all", "_unix", "_networks")

    def __init__(self, spec: str) -> None:
        items = [item.strip() for item in spec.split(",") if item.strip()]
        self._trusts_all = "*" in items
        self._unix = "unix" in items
        self._networks = [_parse_network(item) for item in items if item not in ("*", "unix")]

    def __bool__(self) -> bool:
        return bool(self._trusts_all or self._unix or self._networks)

    def trusts(self, host: Optional[str]) -> bool:
        """True for a trusted peer; ``host`` is its address as text, None for one on a unix socket.

        A zone id (``%eth0``) is ignored, and an IPv4 address in IPv6 form
        (``::ffff:192.0.2.1``) is the IPv4 address. A text that is no address
        is trusted only with ``*``.
        """
        if self._trusts_all:
            return True
        if host is None:
            return self._unix
        if not self._networks:
            return False
        address = _parse_address(host)
        return address is not None and any(address in network for network in self._networks)


class Forwarded(NamedTuple):
    """What the headers of trusted proxies change in a request; None changes nothing.

    ``client`` is the client's address and port; the port is 0 if no header
    names it. ``secure`` is True for https and wss, False for http and ws.
    ``host`` is the Host that the client has sent, a valid ``host[:port]``.
    ``port`` is the one that the client connected to, 1 to 65535, from
    X-Forwarded-Port. ``prefix`` is the path that the proxies have removed,
    decoded and without a slash at its end.
    """

    client: Optional[Client]
    secure: Optional[bool]
    host: Optional[bytes]
    port: Optional[int]
    prefix: Optional[str] = None


def check_forwarded_headers(names: Sequence[str]) -> None:
    """Raise `ConfigError` unless ``names`` are of `FORWARDED_HEADERS`, and no two have the same meaning.

    Two headers with the same meaning are refused, because no proxy sets both:
    it passes one of them on as the client has sent it.
    """
    for name in names:
        if name not in FORWARDED_HEADERS:
            known = ", ".join(FORWARDED_HEADERS)
            raise ConfigError(f"forwarded_headers: {name!r} is not one of the headers that are read: {known}")
    for one, other in _CONFLICTS:
        if one in names and other in names:
            rule = "list the one that the proxy sets, because a client can send the other"
            raise ConfigError(f"forwarded_headers: {one} and {other} mean the same: {rule}")
    if "forwarded-host" in names and "forwarded" not in names:
        raise ConfigError("forwarded_headers: forwarded-host is a part of forwarded: list both")


def read_forwarded(
    headers: Headers,
    peer: Optional[str],
    trusted: TrustedPeers,
    names: Sequence[str] = DEFAULT_FORWARDED_HEADERS,
) -> Optional[Forwarded]:
    """What the headers of ``peer`` say about the client, or None if they change nothing.

    ``headers`` have lower-case names; ``peer`` is the address at the other end
    of the socket, None for a unix socket. Without trust in ``peer`` nothing is
    read. ``names`` are the headers that ``peer`` sets, checked by
    `check_forwarded_headers`; no other header is read.

    Nothing that a peer sends raises.
    """
    if not trusted.trusts(peer):
        return None
    values = _collect(headers, names)
    if not values:
        return None
    # Lazily: entries to the left of the client are not to be trusted, and need not be parsed.
    elements, again = tee(_parse_elements(values.get("forwarded", b"")))
    if "forwarded" in names:
        client, hop = _find_client((_parse_node(element.get(b"for", b"")) for element in elements), trusted)
    else:
        client, hop = _find_client(map(_parse_x_node, reversed(_split(values, "x-forwarded-for"))), trusted)

    element = next(islice(again, hop - 1, None), {})
    proto = element.get(b"proto") or _pick(values, "x-forwarded-proto", hop)
    host = _pick(values, "x-forwarded-host", hop)
    if "forwarded-host" in names:
        host = element.get(b"host", b"")
    port = _pick(values, "x-forwarded-port", hop)
    forwarded = Forwarded(
        client,
        _SECURE.get(proto.lower()),
        host if parse_authority(host) is not None else None,
        (_parse_port(port) or None) if _PORT.fullmatch(port) else None,
        # Each proxy appends the prefix that it has removed, the outermost first.
        _parse_prefix(_split(values, "x-forwarded-prefix")[-hop:]),
    )
    return None if forwarded == (None, None, None, None, None) else forwarded


def _collect(headers: Headers, names: Sequence[str]) -> Dict[str, bytes]:
    """The values of the headers in ``names``; several lines of a header are one list (RFC 9110 5.3)."""
    lines: Dict[str, List[bytes]] = {}
    for header, value in headers:
        name = _HEADERS.get(header)
        if name is not None and name in names:
            lines.setdefault(name, []).append(value)
    return {name: b",".join(parts) for name, parts in lines.items()}


def _split(values: Dict[str, bytes], name: str) -> List[bytes]:
    """The entries of an X-Forwarded-* list; one empty entry if there is no such header."""
    return [entry.strip(b" \t") for entry in values.get(name, b"").split(b",")]


def _pick(values: Dict[str, bytes], name: str, hop: int) -> bytes:
    """The entry of the proxy next to the client, ``hop`` entries from the right."""
    # If the list is shorter, not every proxy appends to it: its first entry is that of the outermost.
    entries = _split(values, name)
    return entries[-min(hop, len(entries))]


def _find_client(nodes: Iterable[Optional[Client]], trusted: TrustedPeers) -> Tuple[Optional[Client], int]:
    """The client among ``nodes``, the nearest proxy's first, and its place, counted from 1.

    The walk ends at the first address that is not trusted, which is the
    client's, or before the first node that is no address (None). If the first
    node is no address, the place is 1: the nearest proxy's other headers count.
    """
    client: Optional[Client] = None
    hop = 0
    for node in nodes:
        if node is None:
            break
        client = node
        hop += 1
        if not trusted.trusts(node[0]):
            break
    return client, max(hop, 1)


# ------------------------------------------------------------------- the grammars


def _parse_elements(value: bytes) -> Iterator[Dict[bytes, bytes]]:
    """The elements of a Forwarded list from the right, up to the first that is malformed."""
    for element in _split_from_right(value, b","):
        # RFC 9110 5.6.1.2: empty list elements are ignored.
        if element:
            pairs = _parse_pairs(element)
            if pairs is None:
                return
            yield pairs


def _parse_pairs(element: bytes) -> Optional[Dict[bytes, bytes]]:
    """One element as lower-case names and unquoted values, or None if it is malformed."""
    pairs: Dict[bytes, bytes] = {}
    # The grammar has no blanks around the semicolons, but the example in RFC 7239 7.5 does.
    for pair in _split_from_right(element, b";"):
        if not pair:
            continue
        match = _PAIR.fullmatch(pair)
        # RFC 7239 4: "Each parameter MUST NOT occur more than once per field-value."
        if match is None or match[1].lower() in pairs:
            return None
        token, quoted = match[2], match[3]
        pairs[match[1].lower()] = _QUOTED_PAIR.sub(rb"\1", quoted) if token is None else token
    return pairs


def _split_from_right(value: bytes, delimiter: bytes) -> Iterator[bytes]:
    """The parts of ``value`` between delimiters outside quoted strings, the last part first.

    Quotes are counted from the right, so that a quote which the client opens
    and never closes cannot include what the proxies have appended.
    """
    # Delimiters by the parity of the quotes before them. The parity of all quotes tells in the end which
    # of the two lists has the delimiters outside quoted strings.
    cuts: Tuple[List[int], List[int]] = ([], [])
    quotes = 0
    for match in _MARK.finditer(value):
        mark = match[0]
        if mark == delimiter:
            cuts[quotes].append(match.start())
        elif mark.endswith(b'"') and len(mark) % 2:
            # RFC 9110 5.6.4: after an odd number of backslashes a quote is part of the string.
            quotes ^= 1
    end = len(value)
    for cut in reversed(cuts[quotes]):
        yield value[cut + 1 : end].strip(b" \t")
        end = cut
    yield value[:end].strip(b" \t")


def _parse_node(node: bytes) -> Optional[Client]:
    """The address and port of a node (RFC 7239 6), or None if it names no address."""
    match = _NODE.fullmatch(node)
    if match is None:
        return None
    port = _parse_port(match[3] or b"0")
    return None if port is None else _build_client(match[1] or match[2], port)


def _parse_x_node(node: bytes) -> Optional[Client]:
    """`_parse_node` for an entry of X-Forwarded-For: quoted or not, IPv6 in brackets or not."""
    if node[:1] == node[-1:] == b'"':
        node = node[1:-1]
    return _parse_node(node) or (_build_client(node, 0) if _BARE_IPV6.fullmatch(node) else None)


def _build_client(host: bytes, port: int) -> Optional[Client]:
    address = _parse_address(host.decode("ascii"))
    return None if address is None else (str(address), port)


def _parse_port(digits: bytes) -> Optional[int]:
    port = int(digits)
    return port if port < 65536 else None


def _parse_prefix(entries: List[bytes]) -> Optional[str]:
    """The prefixes of all proxies as one decoded path; None if there is none, or one is invalid."""
    prefix = ""
    for entry in entries:
        if _PREFIX.fullmatch(entry) is None:
            return None
        path = _PERCENT_ENCODED.sub(_decode_percent, entry[:-1] if entry.endswith(b"/") else entry)
        text = path.decode("utf-8", "replace")
        if path and (_ROOT_PATH.fullmatch(text) is None or "\ufffd" in text):
            return None
        prefix += text
    return prefix or None


def _decode_percent(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[1], 16),))


def _parse_address(text: str) -> Union[IPv4Address, IPv6Address, None]:
    from ipaddress import IPv6Address, ip_address

    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def identify_client(host: str) -> str:
    """What the addresses of one client have in common: an IPv4 address, or an IPv6 network of 64 bits.

    RFC 4291 2.5.1: an interface's identifier has 64 bits, so that one host may have all addresses of such a
    network. A text that is no address is returned as it is.
    """
    address = _parse_address(host)
    if address is None or address.version == 4:
        return host if address is None else str(address)
    return f"{address.exploded[:19]}::/64"


def _parse_network(item: str) -> Union[IPv4Network, IPv6Network]:
    from ipaddress import IPv6Network, ip_network

    try:
        if "%" in item:  # a zone would be accepted for an address, and compared with nothing
            raise ValueError
        network = ip_network(item, strict=False)
    except ValueError:
        rule = "an IPv4 or IPv6 address, a network such as 10.0.0.0/8, 'unix', or '*'"
        raise ConfigError(f"trusted peer {item!r} must be {rule}") from None
    try:
        ip_network(item)
    except ValueError:
        raise ConfigError(f"trusted peer {item!r} has bits set beyond its prefix: write {network}") from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        return ip_network(f"{network.network_address.ipv4_mapped}/{network.prefixlen - 96}")
    return network
