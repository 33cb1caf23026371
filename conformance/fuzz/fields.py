"""List headers, extension offers, authorities, and what proxies say about the client."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Callable, List, Tuple

from hypothesis import given
from hypothesis import strategies as st

from wsbridge.protocols import fields
from wsbridge.protocols.errors import BadRequest, ConfigError
from wsbridge.protocols.forwarded import FORWARDED_HEADERS, Forwarded, TrustedPeers, read_forwarded

from . import strategies as drawn
from .strategies import Example, examples, lines_of, with_variant

# A field value has no control byte but HTAB (RFC 9110 5.5); the parsers of heads see to it.
CONTROLS = bytes([*range(9), *range(10, 32), 127])
TOKEN_BYTES = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def split_lines(data: bytes) -> List[bytes]:
    return [line.translate(None, CONTROLS) for line in data.split(b"\n")]


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result; or the class and the text of the documented exception."""
    try:
        return function(*arguments)
    except BadRequest as error:
        return type(error), str(error)


@given(examples(lines_of(drawn.LISTS)))
def test_list_headers(example: Example) -> None:
    """Several lines are one list (RFC 9110 5.3), which is read as a simple reference reads it, or refused."""
    lines = split_lines(example[1])
    joined = b",".join(lines)
    elements = [element.strip(b" \t") for element in joined.split(b",")]
    expected = [element for element in elements if element]
    found = attempt(fields.parse_list, lines, 64)
    if len(expected) > 64 or not all(TOKEN_BYTES.issuperset(element) for element in expected):
        assert isinstance(found, tuple), "taken"
    else:
        assert found == expected
    assert attempt(fields.parse_list, [joined], 64) == found
    headers = [(b"sec-websocket-protocol", line) for line in lines]
    subprotocols = attempt(fields.parse_subprotocols, lines)
    if isinstance(subprotocols, list):
        assert [one.encode() for one in subprotocols] == list(dict.fromkeys(expected))
        assert len(subprotocols) <= fields.MAX_SUBPROTOCOLS
    lower = {element.lower() for element in elements}
    assert fields.has_token(headers, b"sec-websocket-protocol", b"upgrade") == (b"upgrade" in lower)


@given(examples(lines_of(drawn.OFFERS)))
def test_extension_offers(example: Example) -> None:
    """Lines are one list (RFC 6455 9.1); offers are of tokens, and read again from what is built of them."""
    lines = split_lines(example[1])
    offers = attempt(fields.parse_extension_offers, lines)
    joined = attempt(fields.parse_extension_offers, [b", ".join(lines)])
    if not isinstance(offers, list):
        assert isinstance(joined, tuple)
        return
    assert joined == offers
    assert len(offers) <= fields.MAX_EXTENSION_OFFERS
    for name, parameters in offers:
        words = [name, *(word for pair in parameters for word in pair if word is not None)]
        assert all(fields.is_token(word.encode()) for word in words), words
        assert len(parameters) <= fields.MAX_EXTENSION_PARAMETERS
    for quote, escape in (("", ""), ('"', ""), ('"', "\\")):
        built = ", ".join(build_offer(name, parameters, quote, escape) for name, parameters in offers)
        assert fields.parse_extension_offers([built.encode()]) == offers


def build_offer(name: str, parameters: List[Tuple[str, Any]], quote: str, escape: str) -> str:
    """The offer, with its values between quotes, and before each of their characters a backslash."""
    words = [name]
    for key, value in parameters:
        escaped = "".join(escape + character for character in value or "")
        words.append(key if value is None else f"{key}={quote}{escaped}{quote}")
    return "; ".join(words)


@given(examples(with_variant(drawn.HOSTS | drawn.NETWORKS | drawn.NODES | st.binary(max_size=20))))
def test_authority(example: Example) -> None:
    """A host and port are lawful and read again the same; a list of networks raises only `ConfigError`."""
    data = example[1]
    authority = fields.parse_authority(data, 80)
    if authority is not None:
        name, port = authority
        assert name and name == name.lower() and 0 <= port < 65536
        assert not set(name) & set(b'@/?# \t\r\n\0\\"')
        assert fields.parse_authority(b"%b:%d" % authority, 0) == authority
    text = data.decode("latin-1")
    try:
        trusted = TrustedPeers(text)
    except ConfigError:
        return
    for host in (text, text.partition(",")[0].strip(), "192.0.2.1", "fe80::1%eth0", "", None):
        trusted.trusts(host)
    if text.strip() and "," not in text and "/" not in text and text.strip() not in ("*", "unix"):
        assert trusted.trusts(text.strip()), "does not trust itself"


TRUSTED = tuple(map(TrustedPeers, ("*", "192.0.2.1", "192.0.2.0/24, 2001:db8::/32", "unix, 192.0.2.1")))
X_FORWARDED, RFC7239 = FORWARDED_HEADERS[:5], FORWARDED_HEADERS[5:]
FORWARDED_NAMES = tuple(name.encode() for name in (RFC7239[0], *X_FORWARDED))
LISTED = (X_FORWARDED[:2], X_FORWARDED, RFC7239, ("forwarded", *X_FORWARDED[2:]))
CLIENT, PROXY = ("198.51.100.7", 0), (("192.0.2.1", 0), None, None, None)
# What honest proxies append, and what it says: the client is 198.51.100.7, the proxy before ours 192.0.2.1. A
# quote may be escaped; a port that is none, or a name that comes twice, ends the walk before it.
HONEST = (
    (
        0,
        b'for="198.51.100.7:47";proto=https;host="a", for=192.0.2.1',
        (("198.51.100.7", 47), True, b"a", None),
    ),
    (0, b'for=198.51.100.7;by="_a\\",b";host=a, for=192.0.2.1', (CLIENT, None, b"a", None)),
    (0, b'for="198.51.100.7:65536";proto=https, for=192.0.2.1', PROXY),
    (0, b"for=198.51.100.7;For=203.0.113.1, for=192.0.2.1", PROXY),
    (1, b"198.51.100.7, 192.0.2.1", (CLIENT, None, None, None)),
    (4, b"0", None),
    (4, b"443", (None, None, None, 443)),
    (5, b"/a%20b/", (None, None, None, None, "/a b")),
)
NAMED = st.tuples(drawn.words(b"0 1 2 3 4 5"), drawn.FORWARDED).map(b"".join)


@given(examples(lines_of(NAMED) | lines_of(st.binary(max_size=30))))
def test_forwarded(example: Example) -> None:
    """What a client sends never changes what trusted proxies say; lines are one list; facts are valid.

    The first byte of each line chooses its name: "0" to "5" those of FORWARDED_NAMES.
    """
    variant, data = example
    trusted, listed = TRUSTED[variant & 3], LISTED[variant >> 2 & 3]
    peer = None if variant & 3 == 3 else "192.0.2.1"
    headers = [(FORWARDED_NAMES[line[0] % 6], line[1:]) for line in split_lines(data) if line]
    found = read_forwarded(headers, peer, trusted, listed)
    joined = {name: b",".join(value for key, value in headers if key == name) for name, _ in headers}
    assert read_forwarded(list(joined.items()), peer, trusted, listed) == found
    assert read_forwarded(headers, "203.0.113.9", TRUSTED[1]) is None, "not trusted"
    if found is not None:
        check_facts(found)
    check_made_up(data.translate(None, CONTROLS + b"\n"))


def check_facts(found: Forwarded) -> None:
    assert any(fact is not None for fact in found), "nothing to apply is None"
    if found.client is not None:
        ip_address(found.client[0])
        assert 0 <= found.client[1] < 65536
    assert found.host is None or fields.parse_authority(found.host, 0) is not None
    assert found.port is None or 0 < found.port < 65536
    prefix = found.prefix or "/a"
    assert prefix.startswith("/") and "//" not in prefix and "\\" not in prefix and prefix[-1] != "/"
    assert ".." not in prefix.split("/")
    assert not any(character < " " or character == "\x7f" for character in prefix)


def check_made_up(value: bytes) -> None:
    """A value left of what honest proxies append changes nothing, on its own line or on theirs."""
    for number, honest, facts in HONEST:
        name, listed = FORWARDED_NAMES[number], X_FORWARDED if number else RFC7239
        expected = None if facts is None else Forwarded(*facts)
        lines = [(name, value), *((name, line) for line in honest.split(b", "))]
        for headers in ([(name, value), (name, honest)], lines, [(name, value + b", " + honest)]):
            assert read_forwarded(headers, "192.0.2.1", TRUSTED[1], listed) == expected, headers
