"""The PROXY protocol, versions 1 and 2: who the client of a proxy is, told in front of its first byte.

HAProxy's proxy-protocol.txt, to whose sections the comments refer. Nothing here
finds out whether there is a header: section 2 forbids to guess.
"""

from __future__ import annotations

import functools
import re
from typing import Iterator, List, NamedTuple, Optional, Tuple

from .errors import BadRequest

__all__ = ["ProxyHeader", "ProxyHeaderParser"]

Address = Tuple[str, int]

# Section 2.1: the longest line, CRLF included, and the shortest, which is "PROXY UNKNOWN".
MAX_LINE = 107
MIN_LINE = 15

# Section 2.2: the signature, then one byte for version and command, one for the family, two for the length.
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FIXED = 16

# Bytes. Section 2.2: a header "is always smaller than an MSS", of 536 bytes; the certificates and identifiers
# that some proxies add take more. nginx has the same limit.
MAX_HEADER = 4096

# The address family: the size of its block of addresses, by section 2.2. A unix socket's is of no use here.
_INET, _INET6, _UNIX = 1, 2, 3
_BLOCK_SIZES = {_INET: 12, _INET6: 36, _UNIX: 216}

# Section 2.2: the types of the values behind the addresses.
_CRC32C, _SSL = 0x03, 0x20
_CLIENT_SSL = 0x01

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
# With the dots in which inet_ntop writes an IPv4 address in IPv6 form; and without a zone.
_IPV6 = re.compile("[0-9A-Fa-f:.]+")
_PORT = re.compile("0|[1-9][0-9]{0,4}")


class ProxyHeader(NamedTuple):
    """What a header tells: ``client`` and ``server``, both ends of the connection between client and proxy.

    Both are None if the connection's own ends count: the proxy itself is the
    client, as in a health check, or it could not tell. ``is_secure``: the client
    has connected to the proxy over TLS, as far as the header tells.
    """

    client: Optional[Address] = None
    server: Optional[Address] = None
    is_secure: bool = False


class ProxyHeaderParser:
    """Reads one header, in whatever pieces it comes. ``trailing`` is what follows it."""

    __slots__ = ("_data", "trailing")

    def __init__(self) -> None:
        self._data = b""
        self.trailing = b""

    def receive_data(self, data: bytes) -> Optional[ProxyHeader]:
        """The header, or None while it is not complete; call it no more once the header was returned.

        Raises `BadRequest` as soon as what has come cannot begin a valid one: the
        connection is then to be aborted.
        """
        self._data += data
        size = _find_size(self._data)
        if size > len(self._data):
            return None
        header, self.trailing, self._data = self._data[:size], self._data[size:], b""
        return _parse_line(header) if header.startswith(b"P") else _parse_block(header)

    @property
    def missing(self) -> int:
        """How many bytes the header lacks at least."""
        return _find_size(self._data) - len(self._data)

    @property
    def has_begun(self) -> bool:
        """Whether a part of the header has come."""
        return bool(self._data)


def _find_size(start: bytes) -> int:
    """The size of the header that begins with ``start``, or, while it is not known, the least it can have."""
    if b"PROXY "[: len(start)] == start[:6]:
        return _find_line_size(start)
    if SIGNATURE[: len(start)] == start[: len(SIGNATURE)]:
        return _find_block_size(start)
    raise BadRequest("no PROXY protocol header, which proxy_protocol demands")


def _find_line_size(start: bytes) -> int:
    end = start.find(b"\r\n", 0, MAX_LINE)
    if end >= 0:
        return end + 2
    if len(start) >= MAX_LINE:
        raise BadRequest(f"a PROXY protocol line without CRLF in its first {MAX_LINE} bytes")
    return min(MAX_LINE, max(MIN_LINE, len(start) + (1 if start.endswith(b"\r") else 2)))


def _find_block_size(start: bytes) -> int:
    # Section 2.2: of the version "the receiver must only accept this value", which is 2; of the command
    # "Receivers must drop connections presenting unexpected values".
    if len(start) > 12 and start[12] not in (0x20, 0x21):
        raise BadRequest(f"PROXY protocol version and command 0x{start[12]:02x}")
    if len(start) < FIXED:
        return FIXED
    size = FIXED + int.from_bytes(start[14:16], "big")
    if size > MAX_HEADER:
        raise BadRequest(f"a PROXY protocol header of {size} bytes, over {MAX_HEADER}")
    return size


def _parse_line(line: bytes) -> ProxyHeader:
    """Section 2.1; ``line`` begins with ``PROXY`` and a blank, and ends with CRLF."""
    # The text is ASCII; any other byte matches no pattern below.
    words = line[:-2].decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        # "the receiver must ignore anything presented before the CRLF"
        return ProxyHeader()
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise BadRequest("a malformed PROXY protocol line")
    parse = _parse_ipv4 if words[1] == "TCP4" else _parse_ipv6
    client, server = ((parse(host), _parse_port(port)) for host, port in zip(words[2:4], words[4:]))
    return ProxyHeader(client, server)


def _parse_ipv4(text: str) -> str:
    if _IPV4.fullmatch(text) is None:
        raise BadRequest("a PROXY protocol line with a malformed IPv4 address")
    return text


def _parse_ipv6(text: str) -> str:
    from ipaddress import IPv6Address

    try:
        if _IPV6.fullmatch(text) is None:
            raise ValueError
        return _format_ipv6(IPv6Address(text).packed)
    except ValueError:
        raise BadRequest("a PROXY protocol line with a malformed IPv6 address") from None


def _parse_port(text: str) -> int:
    if _PORT.fullmatch(text) is None or int(text) > 65535:
        raise BadRequest("a PROXY protocol line with a malformed port")
    return int(text)


def _parse_block(header: bytes) -> ProxyHeader:
    """Section 2.2; the signature, version, command and length of ``header`` are valid."""
    if header[12] == 0x20:
        # LOCAL: "the receiver must ... discard the protocol block including the family which is ignored".
        return ProxyHeader()
    family, protocol = divmod(header[13], 16)
    if family > _UNIX or protocol > 2:
        raise BadRequest(f"PROXY protocol family and transport 0x{header[13]:02x}")
    if family == 0 or protocol == 0:
        # UNSPEC: "The receiver should ignore address information", of which the size is unknown.
        return ProxyHeader()
    values = FIXED + _BLOCK_SIZES[family]
    if len(header) < values:
        raise BadRequest("a PROXY protocol header that is too short for its addresses")
    is_secure = _read_values(header, values)
    if family == _UNIX:
        return ProxyHeader(is_secure=is_secure)
    client, server = _parse_addresses(header[FIXED:values])
    return ProxyHeader(client, server, is_secure)


def _parse_addresses(block: bytes) -> List[Address]:
    """Source and destination: both addresses, then both ports."""
    size = (len(block) - 4) // 2
    form = _format_ipv4 if size == 4 else _format_ipv6
    hosts = (form(block[:size]), form(block[size : 2 * size]))
    ports = (int.from_bytes(block[-4:-2], "big"), int.from_bytes(block[-2:], "big"))
    return list(zip(hosts, ports))


def _format_ipv4(packed: bytes) -> str:
    return ".".join(map(str, packed))


def _format_ipv6(packed: bytes) -> str:
    from ipaddress import IPv6Address

    address = IPv6Address(packed)
    # A proxy writes both ends in the family of one: the other is ::ffff:192.0.2.1 then.
    return str(address.ipv4_mapped or address)


def _read_values(header: bytes, start: int) -> bool:
    """Check the values that begin at ``start``; whether the client has come over TLS."""
    is_secure = False
    for kind, at, value in _split_values(header, start):
        if kind == _CRC32C:
            if value != _compute_checksum(header, at):
                raise BadRequest("a PROXY protocol header with a wrong checksum")
        elif kind == _SSL:
            # Section 2.2.6: one byte of flags, four of "verify", then values of their own.
            if len(value) < 5:
                raise BadRequest("a PROXY protocol header with a truncated value")
            is_secure = bool(value[0] & _CLIENT_SSL)
    return is_secure


def _split_values(header: bytes, at: int) -> Iterator[Tuple[int, int, bytes]]:
    """Type, position and bytes of each value."""
    while at < len(header):
        start = at + 3
        end = start + int.from_bytes(header[at + 1 : start], "big")
        if len(header) < end:
            raise BadRequest("a PROXY protocol header with a truncated value")
        yield header[at], start, header[start:end]
        at = end


def _compute_checksum(header: bytes, at: int) -> bytes:
    """The CRC32c of a header whose checksum stands at ``at`` (section 2.2.3)."""
    table = _build_crc32c_table()
    # "replace the 32 bits of the checksum field in the received PROXY header with all '0's"
    crc = 0xFFFFFFFF
    for byte in header[:at] + bytes(4) + header[at + 4 :]:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "big")


@functools.lru_cache(maxsize=1)
def _build_crc32c_table() -> List[int]:
    """RFC 4960 appendix B: the polynomial of Castagnoli, 0x1EDC6F41, with its bits reversed."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table
