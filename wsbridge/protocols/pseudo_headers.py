"""`request_from_pseudo_headers`: the request that a header section of HTTP/2 or HTTP/3 describes.

RFC 9113 8 and RFC 9114 4 have the same rules: what a request line and Host say
in HTTP/1.1 stands in pseudo-headers such as ``:path``. RFC 8441 and RFC 9220 add
``:protocol``, with which a CONNECT opens a WebSocket.
"""

from __future__ import annotations

import re
from typing import Dict, Iterable, List, Optional, Tuple

from .bodies import check_framing
from .errors import BadRequest, HeadTooLarge, MethodNotAllowed, ProtocolNotSupported, URITooLong
from .events import RequestReceived
from .fields import FIELD_VALUE, HOP_BY_HOP, is_token, parse_authority

__all__ = ["request_from_pseudo_headers"]

_PSEUDO_HEADERS = (b":method", b":scheme", b":authority", b":path", b":protocol")

# RFC 9113 8.2.1: a name is a token (RFC 9110 5.1) without upper case; a value has no blank at either end.
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"(?![\t ])[" + FIELD_VALUE + rb"]*(?<![\t ])")

# What HTTP/1.1 allows in a target (RFC 9112 3.2.1).
_PATH = re.compile(rb"/[\x21\x22\x24-\x7e]*")

_Fields = Iterable[Tuple[bytes, bytes]]


def request_from_pseudo_headers(
    fields: _Fields,
    http_version: str = "2",
    *,
    max_path: int = 32768,
    max_size: int = 65536,
    max_fields: int = 256,
) -> RequestReceived:
    """The request of a header section, which is a list of names and values in `bytes`, as they were sent.

    A CONNECT that is returned opens a WebSocket: ``:protocol`` is ``websocket``
    (RFC 8441 4). The authority becomes the Host header, in front of the others; Cookie
    lines are joined (RFC 9113 8.2.3).

    ``max_path``, ``max_size`` and ``max_fields`` are the limits of `RequestParser`;
    the size is that of all names and values.

    Raises `BadRequest` for what is malformed (RFC 9113 8.1.1), `MethodNotAllowed` for a
    CONNECT that asks for a tunnel, `ProtocolNotSupported` for another
    ``:protocol``, and `URITooLong` and `HeadTooLarge` for what is over a limit.
    """
    fields = list(fields)
    if len(fields) > max_fields or sum(len(name) + len(value) for name, value in fields) > max_size:
        raise HeadTooLarge("header section over its limit")
    pseudo, headers = _split(fields)
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path")
    if not is_token(method):
        raise BadRequest("missing or malformed :method")
    protocol = pseudo.get(b":protocol")
    if method == b"CONNECT" and protocol is None and path is None:
        raise MethodNotAllowed("CONNECT is for proxies")
    if (method == b"CONNECT") is (protocol is None):
        raise BadRequest("an extended CONNECT needs :protocol, and no other method has it")
    if path is None or b":scheme" not in pseudo:
        raise BadRequest("missing :path or :scheme")
    if len(path) > max_path:
        raise URITooLong(":path over its limit")
    if _PATH.fullmatch(path) is None and (path, method) != (b"*", b"OPTIONS"):
        raise BadRequest("malformed :path")
    host = _check_host(pseudo.get(b":authority"), headers)
    if protocol is not None and protocol != b"websocket":
        # RFC 9220 3: 501 for a :protocol that is unknown.
        raise ProtocolNotSupported("the only :protocol is websocket")
    if protocol is not None and any(name == b"content-length" for name, _ in headers):
        raise BadRequest("an opening handshake with a body")
    others = _join_cookies([header for header in headers if header[0] != b"host"])
    return RequestReceived(method, path, ((b"host", host), *others), http_version)


def _split(fields: _Fields) -> Tuple[Dict[bytes, bytes], List[Tuple[bytes, bytes]]]:
    """The pseudo-headers by name, and the other headers; raises `BadRequest` for what neither can be."""
    pseudo: Dict[bytes, bytes] = {}
    headers: List[Tuple[bytes, bytes]] = []
    for name, value in fields:
        if _VALUE.fullmatch(value) is None:
            raise BadRequest("malformed header value")
        if not name.startswith(b":"):
            _check_header(name, value)
            headers.append((name, value))
        elif headers or name in pseudo or name not in _PSEUDO_HEADERS:
            # RFC 9113 8.3: they are known, come once, and before all others.
            raise BadRequest("misplaced, repeated or unknown pseudo-header")
        else:
            pseudo[name] = value
    if sum(name == b"content-length" for name, _ in headers) > 1:
        raise BadRequest("more than one Content-Length")
    return pseudo, headers


def _check_header(name: bytes, value: bytes) -> None:
    if _NAME.fullmatch(name) is None:
        raise BadRequest("malformed header name")
    # RFC 9113 8.2.2.
    if name in HOP_BY_HOP or (name == b"te" and value.lower() != b"trailers"):
        raise BadRequest("header of a connection of HTTP/1.1")
    if name == b"content-length":
        check_framing(name, value, "2")


def _check_host(authority: Optional[bytes], headers: _Fields) -> bytes:
    """The authority, or the Host header in its place (RFC 9113 8.3.1)."""
    hosts = [value for name, value in headers if name == b"host"]
    host = hosts[0] if authority is None and hosts else authority
    if host is None or parse_authority(host) is None:
        # Userinfo too: RFC 9113 8.3.1: ":authority MUST NOT include" it.
        raise BadRequest("missing or invalid authority")
    if any(value.lower() != host.lower() for value in hosts) or len(hosts) > 1:
        raise BadRequest("Host differs from :authority, or comes twice")
    return host


def _join_cookies(headers: List[Tuple[bytes, bytes]]) -> List[Tuple[bytes, bytes]]:
    """Headers with one Cookie line: clients of HTTP/2 may send a line for each cookie (RFC 9113 8.2.3)."""
    cookies = [value for name, value in headers if name == b"cookie"]
    if len(cookies) < 2:
        return headers
    others = [header for header in headers if header[0] != b"cookie"]
    return [*others, (b"cookie", b"; ".join(cookies))]
