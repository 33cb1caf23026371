"""Targets: list headers, extension offers, authorities, and what proxies say about the client."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Callable, List, Tuple

from wsbridge.protocols.errors import BadRequest, ConfigError
from wsbridge.protocols.fields import (
    MAX_EXTENSION_OFFERS,
    MAX_EXTENSION_PARAMETERS,
    MAX_SUBPROTOCOLS,
    has_token,
    is_token,
    parse_authority,
    parse_extension_offers,
    parse_list,
    parse_subprotocols,
)
from wsbridge.protocols.forwarded import FORWARDED_HEADERS, Forwarded, TrustedPeers, read_forwarded

from .findings import IDENTITY, LAWFUL, PIECES, REFERENCE, require

# A field value has no control byte but HTAB (RFC 9110 5.5); the parsers of heads see to it.
FIELD_BYTES = bytes([9, *range(32, 127), *range(128, 256)])
TOKEN_BYTES = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def keep_field_bytes(data: bytes) -> bytes:
    return bytes([byte for byte in data if byte in FIELD_BYTES])


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result; or the class and the text of the documented exception."""
    try:
        return function(*arguments)
    except BadRequest as error:
        return type(error), str(error)


class ListsTarget:
    """`parse_list`, `parse_subprotocols`, `has_token`: several lines are one list (RFC 9110 5.3, 5.6.1)."""

    name = "list-headers"
    documented = (BadRequest,)

    def check(self, variant: int, data: bytes) -> None:
        lines = [keep_field_bytes(line) for line in data.split(b"\n")]
        joined = b",".join(lines)
        elements = [element.strip(b" \t") for element in joined.split(b",")]
        expected = [element for element in elements if element]
        found = attempt(parse_list, lines, 64)
        if len(expected) > 64 or not all(TOKEN_BYTES.issuperset(element) for element in expected):
            require(isinstance(found, tuple), REFERENCE, f"{lines!r:.400} is taken as {found!r:.400}")
        else:
            require(found == expected, REFERENCE, f"{lines!r:.400} is read as {found!r:.400}")
        require(attempt(parse_list, [joined], 64) == found, PIECES, f"{lines!r:.400} differs from one line")
        headers = [(b"sec-websocket-protocol", line) for line in lines]
        subprotocols = attempt(parse_subprotocols, headers)
        if isinstance(subprotocols, list):
            require(
                len(set(subprotocols)) == len(subprotocols) <= MAX_SUBPROTOCOLS, LAWFUL, f"{subprotocols!r}"
            )
            require(
                [one.encode() for one in subprotocols] == list(dict.fromkeys(expected)), REFERENCE, "order"
            )
        lower = {element.lower() for element in elements}
        has = has_token(headers, b"sec-websocket-protocol", b"upgrade")
        require(has == (b"upgrade" in lower), REFERENCE, f"has_token says {has} of {lines!r:.400}")

    def describe(self, variant: int, data: bytes) -> str:
        return f"the lines of bytes.fromhex('{data.hex()}')"


class ExtensionsTarget:
    """`parse_extension_offers` (RFC 6455 9.1)."""

    name = "extension-offers"
    documented = (BadRequest,)

    def check(self, variant: int, data: bytes) -> None:
        lines = [keep_field_bytes(line) for line in data.split(b"\n")]
        offers = attempt(parse_extension_offers, lines)
        joined = attempt(parse_extension_offers, [b", ".join(lines)])
        same = joined == offers if isinstance(offers, list) else isinstance(joined, tuple)
        require(same, PIECES, f"{lines!r:.400}: {offers!r:.300}; as one line: {joined!r:.300}")
        if not isinstance(offers, list):
            return
        require(len(offers) <= MAX_EXTENSION_OFFERS, LAWFUL, f"{len(offers)} offers")
        for name, parameters in offers:
            words = [name, *(word for pair in parameters for word in pair if word is not None)]
            require(all(is_token(word.encode()) for word in words), LAWFUL, f"{words!r} has no token")
            require(len(parameters) <= MAX_EXTENSION_PARAMETERS, LAWFUL, f"{len(parameters)} parameters")
        for quote, escape in (("", ""), ('"', ""), ('"', "\\")):
            built = ", ".join(build_offer(name, parameters, quote, escape) for name, parameters in offers)
            require(
                parse_extension_offers([built.encode()]) == offers, IDENTITY, f"{built!r} from {offers!r}"
            )

    def describe(self, variant: int, data: bytes) -> str:
        return f"parse_extension_offers(bytes.fromhex('{data.hex()}').split(b'\\n'))"


def build_offer(name: str, parameters: List[Tuple[str, Any]], quote: str, escape: str) -> str:
    """The offer, with its values between quotes, and before each of their characters a backslash."""
    words = [name]
    for key, value in parameters:
        escaped = "".join(escape + character for character in value or "")
        words.append(key if value is None else f"{key}={quote}{escaped}{quote}")
    return "; ".join(words)


class AuthorityTarget:
    """`parse_authority` and `TrustedPeers`: a host and port, a list of networks."""

    name = "authority"
    documented = (ConfigError,)

    def check(self, variant: int, data: bytes) -> None:
        authority = parse_authority(data, 80)
        if authority is not None:
            name, port = authority
            require(name == name.lower() and bool(name) and 0 <= port < 65536, LAWFUL, f"{authority!r}")
            require(not set(name) & set(b'@/?# \t\r\n\0\\"'), LAWFUL, f"{authority!r}")
            again = parse_authority(b"%b:%d" % authority, 0)
            require(again == authority, IDENTITY, f"{authority!r} is read as {again!r}")
        text = data.decode("latin-1")
        try:
            trusted = TrustedPeers(text)
        except ConfigError:
            return
        for host in (text, text.partition(",")[0].strip(), "192.0.2.1", "fe80::1%eth0", "", None):
            trusted.trusts(host)
        if text.strip() and "," not in text and "/" not in text and text.strip() not in ("*", "unix"):
            require(trusted.trusts(text.strip()), IDENTITY, f"{text!r} does not trust itself")

    def describe(self, variant: int, data: bytes) -> str:
        return f"parse_authority(bytes.fromhex('{data.hex()}'), 80), and as TrustedPeers"


class ForwardedTarget:
    """`read_forwarded`: whatever the client makes up, the proxies' words must stay what they are."""

    name = "forwarded"
    documented = ()

    TRUSTED = tuple(map(TrustedPeers, ("*", "192.0.2.1", "192.0.2.0/24, 2001:db8::/32", "unix, 192.0.2.1")))
    NAMES = (
        *(b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"),
        b"x-forwarded-prefix",
    )
    X_FORWARDED, RFC7239 = FORWARDED_HEADERS[:5], FORWARDED_HEADERS[5:]
    LISTED = (X_FORWARDED[:2], X_FORWARDED, RFC7239, ("forwarded", *X_FORWARDED[2:]))
    # What honest proxies append, and what it says: the client is 198.51.100.7, the proxy before ours
    # 192.0.2.1. A quote may be escaped; a port that is none, or a name that comes twice, ends the walk
    # before it.
    HONEST = (
        (
            b"forwarded",
            b'for="198.51.100.7:4711";proto=https;host="a.example", for=192.0.2.1',
            Forwarded(("198.51.100.7", 4711), True, b"a.example", None),
        ),
        (
            b"forwarded",
            b'for=198.51.100.7;by="_a\\",b";host=a.example, for=192.0.2.1',
            Forwarded(("198.51.100.7", 0), None, b"a.example", None),
        ),
        (
            b"forwarded",
            b'for="198.51.100.7:65536";proto=https, for=192.0.2.1',
            Forwarded(("192.0.2.1", 0), None, None, None),
        ),
        (
            b"forwarded",
            b"for=198.51.100.7;For=203.0.113.1, for=192.0.2.1",
            Forwarded(("192.0.2.1", 0), None, None, None),
        ),
        (b"x-forwarded-for", b"198.51.100.7, 192.0.2.1", Forwarded(("198.51.100.7", 0), None, None, None)),
        (b"x-forwarded-port", b"0", None),
        (b"x-forwarded-port", b"443", Forwarded(None, None, None, 443)),
        (b"x-forwarded-prefix", b"/a%20b/", Forwarded(None, None, None, None, "/a b")),
    )

    def check(self, variant: int, data: bytes) -> None:
        trusted = self.TRUSTED[variant & 3]
        listed = self.LISTED[variant >> 2 & 3]
        peer = None if variant & 3 == 3 else "192.0.2.1"
        lines = [keep_field_bytes(line) for line in data.split(b"\n")]
        headers = [(self.NAMES[line[0] % 6], line[1:]) for line in lines if line]
        found = read_forwarded(headers, peer, trusted, listed)
        joined = {name: b",".join(value for key, value in headers if key == name) for name, _ in headers}
        again = read_forwarded(list(joined.items()), peer, trusted, listed)
        require(again == found, PIECES, f"{headers!r:.400}: {found!r}; as one line each: {again!r}")
        require(read_forwarded(headers, "203.0.113.9", self.TRUSTED[1]) is None, LAWFUL, "untrusted")
        if found is not None:
            self._check_found(found)
        self._check_made_up(keep_field_bytes(data))

    def _check_found(self, found: Forwarded) -> None:
        require(any(fact is not None for fact in found), LAWFUL, "nothing to apply is None")
        if found.client is not None:
            ip_address(found.client[0])
            require(0 <= found.client[1] < 65536, LAWFUL, f"{found!r}")
        require(found.host is None or parse_authority(found.host, 0) is not None, LAWFUL, f"{found!r}")
        require(found.port is None or 0 < found.port < 65536, LAWFUL, f"{found!r}")
        prefix = found.prefix or "/a"
        is_path = prefix.startswith("/") and "//" not in prefix and "\\" not in prefix and prefix[-1] != "/"
        require(is_path and ".." not in prefix.split("/"), LAWFUL, f"{found!r}")
        require(not any(char < " " or char == "\x7f" for char in prefix), LAWFUL, f"{found!r}")

    def _check_made_up(self, value: bytes) -> None:
        """What stands left of the client's own address changes nothing, on its own line or on theirs."""
        trusted = self.TRUSTED[1]
        for name, honest, expected in self.HONEST:
            lines = [(name, value), *((name, line) for line in honest.split(b", "))]
            for headers in ([(name, value), (name, honest)], lines, [(name, value + b", " + honest)]):
                names = self.RFC7239 if name == b"forwarded" else self.X_FORWARDED
                found = read_forwarded(headers, "192.0.2.1", trusted, names)
                require(found == expected, REFERENCE, f"{headers!r:.500}: {found!r}, and not {expected!r}")

    def describe(self, variant: int, data: bytes) -> str:
        return (
            f"variant {variant}: the lines of bytes.fromhex('{data.hex()}'), their first byte choosing a name"
        )


TARGETS = [ListsTarget(), ExtensionsTarget(), AuthorityTarget(), ForwardedTarget()]
