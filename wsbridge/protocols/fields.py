"""The grammar of header field values: tokens, lists, hosts, extension offers.

RFC 9110 5.6 (tokens and lists), RFC 3986 3.2 (host and port), RFC 6455 9.1
(extensions). Every pattern here is a run of one byte class followed by a byte
outside it, so that matching takes linear time, also for hostile values.
"""

from __future__ import annotations

import re
from typing import Dict, Iterable, List, Optional, Tuple

from .errors import BadRequest, EventError

__all__ = [
    "DEFAULT_PORTS",
    "FIELD_VALUE",
    "HOP_BY_HOP",
    "TCHAR",
    "Authority",
    "ExtensionOffer",
    "check_header",
    "check_headers",
    "get_header_values",
    "group_header_values",
    "has_token",
    "is_token",
    "is_websocket_upgrade",
    "lists_token",
    "match_field_value",
    "parse_authority",
    "parse_extension_offers",
    "parse_list",
    "parse_subprotocols",
]

Headers = Iterable[Tuple[bytes, bytes]]
Authority = Tuple[bytes, int]
ExtensionParameter = Tuple[str, Optional[str]]
ExtensionOffer = Tuple[str, List[ExtensionParameter]]

MAX_SUBPROTOCOLS = 64
MAX_EXTENSION_OFFERS = 16
MAX_EXTENSION_PARAMETERS = 16

DEFAULT_PORTS = {b"http": 80, b"ws": 80, b"https": 443, b"wss": 443}

#: RFC 9110 7.6.1: these headers are about the connection; HTTP/2 has none of them (RFC 9113 8.2.2).
HOP_BY_HOP = (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")

# RFC 9110 5.6.2: tchar, as the inside of a character class.
TCHAR = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"

# RFC 9110 5.5: field-content and the blanks within, as the inside of a character class.
FIELD_VALUE = rb"\t\x20-\x7e\x80-\xff"

_TOKEN = re.compile(rb"[" + TCHAR + rb"]+")

#: Matches a whole value that can be sent.
match_field_value = re.compile(rb"[" + FIELD_VALUE + rb"]*").fullmatch

# RFC 9110 7.2: Host = uri-host [ ":" port ]. An empty host is allowed by the
# grammar but names no http or ws resource (RFC 9110 4.2.1), so one byte at least.
_REG_NAME = rb"[0-9A-Za-z\-._~!$&'()*+,;=]"
_AUTHORITY = re.compile(
    rb"(\[[0-9A-Fa-f:.]+\]|(?=[^:])%b*(?:%%[0-9A-Fa-f]{2}%b*)*)" % (_REG_NAME, _REG_NAME)  # RFC 3986 3.2.2
    + rb"(?::([0-9]{0,5}))?"  # RFC 3986 3.2.3
)

# RFC 6455 9.1, with the blanks that RFC 2616 2.1 implies around every delimiter.
_EXTENSION_NAME = re.compile(rb"([" + TCHAR + rb"]+)[ \t]*")
_EXTENSION_PARAMETER = re.compile(
    rb";[ \t]*([" + TCHAR + rb"]+)[ \t]*(?:=[ \t]*(?:([" + TCHAR + rb']+)|"([^"]*)")[ \t]*)?'
)
_NOT_LIST_BLANK = re.compile(rb"[^ \t,]")
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)


def is_token(value: bytes) -> bool:
    """True if ``value`` is a token (RFC 9110 5.6.2)."""
    return _TOKEN.fullmatch(value) is not None


def check_header(name: bytes, value: bytes) -> None:
    """Raise `EventError` unless this is a header line that can be sent (RFC 9110 5.1, 5.5).

    Both are bytes; the name is a token; the value has no control byte but
    HTAB, so that it can neither end its line nor begin another.
    """
    if not isinstance(name, bytes) or not isinstance(value, bytes):
        raise EventError("header names and values must be bytes")
    if not is_token(name):
        raise EventError(f"header name {name[:40]!r} is not a token")
    if match_field_value(value) is None:
        raise EventError(f"control byte in the value of header {name[:40]!r}")


def check_headers(headers: Headers) -> List[Tuple[bytes, bytes]]:
    """The headers as a list. Raises `EventError` for what is no pair, and what `check_header` refuses."""
    try:
        pairs = [(name, value) for name, value in headers]
    except (TypeError, ValueError):
        raise EventError(f"headers must be pairs of name and value, not {headers!r:.80}") from None
    for name, value in pairs:
        check_header(name, value)
    return pairs


def get_header_values(headers: Headers, name: bytes) -> List[bytes]:
    """The values of every header line called ``name`` (lower case), in order."""
    return [value for key, value in headers if key == name]


def group_header_values(headers: Headers) -> Dict[bytes, List[bytes]]:
    """The values of every header, in order, by its name: `get_header_values` for all names at once."""
    values: Dict[bytes, List[bytes]] = {}
    for name, value in headers:
        if name in values:
            values[name].append(value)
        else:
            values[name] = [value]
    return values


def lists_token(values: Iterable[bytes], token: bytes) -> bool:
    """True if one of these list values has the element ``token`` (lower case), compared without case."""
    for value in values:
        value = value.lower()
        if value == token or token in [element.strip(b" \t") for element in value.split(b",")]:
            return True
    return False


def has_token(headers: Headers, name: bytes, token: bytes) -> bool:
    """True if the list header ``name`` has the element ``token``, compared without case.

    Every line of that name counts; ``name`` and ``token`` are lower case.
    """
    return lists_token(get_header_values(headers, name), token)


def is_websocket_upgrade(headers: Headers) -> bool:
    """True if the headers ask for the WebSocket protocol (RFC 6455 4.2.1, items 3 and 4)."""
    return has_token(headers, b"upgrade", b"websocket") and has_token(headers, b"connection", b"upgrade")


def parse_list(values: Iterable[bytes], limit: int, what: str = "list header") -> List[bytes]:
    """The elements of ``#token`` (RFC 9110 5.6.1): all lines joined, empty elements dropped.

    Raises `BadRequest` for more than ``limit`` elements and for an element
    that is not a token; ``what`` names the list in the error's text.
    """
    elements: List[bytes] = []
    for value in values:
        for element in value.split(b","):
            element = element.strip(b" \t")
            if not element:
                continue
            if len(elements) == limit:
                raise BadRequest(f"more than {limit} elements in {what}")
            if not is_token(element):
                raise BadRequest(f"an element of {what} is not a token")
            elements.append(element)
    return elements


def parse_subprotocols(values: Iterable[bytes]) -> List[str]:
    """The subprotocols a client offers, in its order of preference (RFC 6455 4.1, item 10).

    ``values`` are those of all Sec-WebSocket-Protocol lines, which are joined. The RFC forbids
    clients to repeat an element; a repetition means nothing and is dropped.
    Raises `BadRequest` for more than 64 elements (repeated ones included: more
    than any client needs, and few enough to search one by one) and for an
    element that is not a token.
    """
    elements = parse_list(values, MAX_SUBPROTOCOLS, "Sec-WebSocket-Protocol")
    return [element.decode("ascii") for element in dict.fromkeys(elements)]


def parse_authority(value: bytes, default_port: int = 0) -> Optional[Authority]:
    """The lower-case host and the port of ``host[:port]``, or None if ``value`` is malformed.

    Without a port it is ``default_port``. Userinfo, an empty host and a port
    over 65535 are refused. The host stays in its brackets when it is an IPv6
    address (RFC 3986 3.2).
    """
    match = _AUTHORITY.fullmatch(value)
    if match is None:
        return None
    port = int(match[2] or default_port)
    return (match[1].lower(), port) if port < 65536 else None


def parse_extension_offers(values: Iterable[bytes]) -> List[ExtensionOffer]:
    """The values of all Sec-WebSocket-Extensions lines as ``(name, [(parameter, value or None)])``.

    RFC 6455 9.1: a quoted value must be a token once unquoted, and is returned
    unquoted. Names are returned as they were sent: registered extension
    tokens are compared exactly. Raises `BadRequest` for what breaks the
    grammar, for more than 16 offers, or more than 16 parameters in one.
    """
    offers: List[ExtensionOffer] = []
    for value in values:
        start = _NOT_LIST_BLANK.search(value)
        while start is not None:
            if len(offers) == MAX_EXTENSION_OFFERS:
                raise BadRequest(f"more than {MAX_EXTENSION_OFFERS} extension offers")
            offer, end = _parse_extension_offer(value, start.start())
            offers.append(offer)
            start = _NOT_LIST_BLANK.search(value, end)
    return offers


def _parse_extension_offer(value: bytes, start: int) -> Tuple[ExtensionOffer, int]:
    """One offer, and the position of its end: the end of the value, or a comma."""
    name = _EXTENSION_NAME.match(value, start)
    if name is None:
        raise BadRequest("malformed Sec-WebSocket-Extensions")
    end = name.end()
    parameters: List[ExtensionParameter] = []
    while end < len(value) and value[end] != 0x2C:
        match = _EXTENSION_PARAMETER.match(value, end)
        if match is None:
            raise BadRequest("malformed Sec-WebSocket-Extensions")
        if len(parameters) == MAX_EXTENSION_PARAMETERS:
            raise BadRequest(f"more than {MAX_EXTENSION_PARAMETERS} parameters in an extension offer")
        parameters.append((match[1].decode("ascii"), _parse_parameter_value(match[2], match[3])))
        end = match.end()
    return (name[1].decode("ascii"), parameters), end


def _parse_parameter_value(token: Optional[bytes], quoted: Optional[bytes]) -> Optional[str]:
    if quoted is not None:
        # RFC 6455 9.1: "the value after quoted-string unescaping MUST conform to the 'token' ABNF",
        # so an escaped quote, at which the pattern stops, is as wrong as any other.
        token = _QUOTED_PAIR.sub(rb"\1", quoted)
        if not is_token(token):
            raise BadRequest("a quoted extension parameter is not a token")
    return None if token is None else token.decode("ascii")
