"""The opening handshake (RFC 6455 4) in both roles: requests and responses, built and checked."""

from __future__ import annotations

import binascii
import hashlib
import os
import re
from typing import Container, List, Optional, Sequence, Tuple, Union

from .errors import (
    BadRequest,
    EventError,
    Forbidden,
    HandshakeFailed,
    HTTPVersionNotSupported,
    MethodNotAllowed,
    RequestRefused,
    UpgradeRequired,
)
from .events import RequestReceived, WebSocketConnected
from .fields import (
    HOP_BY_HOP,
    Headers,
    check_header,
    check_headers,
    get_header_values,
    has_token,
    is_token,
    lists_token,
    parse_authority,
)
from .http11 import ResponseReceived
from .origins import AllowedOrigins

__all__ = [
    "build_101_response",
    "build_connect_answer",
    "build_upgrade_request",
    "build_ws_accept_key",
    "check_default_headers",
    "check_upgrade_request",
    "check_upgrade_response",
    "generate_ws_key",
    "is_upgrade_request",
]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3

# RFC 6455 4.2.1: "a base64-encoded value that, when decoded, is 16 bytes in length".
# 22 digits and "==" are 132 bits, of which base64 uses 128: every match decodes to 16 bytes.
_WS_KEY = re.compile(rb"[+/0-9A-Za-z]{22}==")

# What nearly all clients and proxies send: to compare takes less time than to parse the lists.
_USUAL_UPGRADE = [b"websocket"]
_USUAL_CONNECTIONS = ([b"Upgrade"], [b"upgrade"], [b"keep-alive, Upgrade"])

_TARGET = re.compile(rb"/[\x21\x22\x24-\x7e]*")

# The handshake sets these itself, or they announce a body, which it cannot have.
_OWN_HEADERS = frozenset((b"connection", b"upgrade", b"content-length", b"transfer-encoding"))
_OWN_PREFIX = b"sec-websocket-"


def build_ws_accept_key(ws_key: bytes) -> bytes:
    """The Sec-WebSocket-Accept that answers the Sec-WebSocket-Key ``ws_key`` (RFC 6455 4.2.2)."""
    # Not used for security, and so allowed where FIPS forbids SHA-1.
    digest = hashlib.sha1(ws_key + _GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False)


# --------------------------------------------------------------------------- as server


def is_upgrade_request(request: RequestReceived) -> bool:
    """True if the request asks for the WebSocket protocol (RFC 6455 4.2.1, items 3 and 4).

    Connection must list ``upgrade`` and Upgrade must list ``websocket``, in
    any case, on any line; in HTTP/2 and HTTP/3 it must be an extended CONNECT. If
    not, the rules of plain HTTP apply.
    """
    upgrade, connection = request.values.get(b"upgrade", ()), request.values.get(b"connection", ())
    if upgrade == _USUAL_UPGRADE and connection in _USUAL_CONNECTIONS:
        return True
    return (
        lists_token(upgrade, b"websocket") and lists_token(connection, b"upgrade")
    ) or _is_extended_connect(request)


def _is_extended_connect(request: RequestReceived) -> bool:
    """RFC 8441 4: in HTTP/2 a CONNECT with a path has a ``:protocol``, which `RequestReceived` leaves out."""
    return request.method == b"CONNECT" and request.http_version in ("2", "3")


def check_upgrade_request(
    request: RequestReceived,
    *,
    allowed_origins: Union[AllowedOrigins, Sequence[str], None] = None,
    host: Optional[bytes] = None,
) -> bytes:
    """Check a client's opening handshake (RFC 6455 4.2.1) and return its Sec-WebSocket-Key.

    An extended CONNECT of HTTP/2 or HTTP/3 (RFC 8441 5, RFC 9220 3) has no key: ``b""``.
    ``allowed_origins``: None for every Origin, an `AllowedOrigins`, or the
    items to make one of. A request without Origin is allowed: it does not come
    from a browser, so there is no foreign page to protect the user from (RFC
    6455 10.2). ``host`` replaces the Host header if a trusted proxy names
    another host.

    Raises `MethodNotAllowed`, `HTTPVersionNotSupported`, `BadRequest`,
    `UpgradeRequired` or `Forbidden`; `ConfigError` for an origin that can
    never match.
    """
    is_extended = False
    if request.method != b"GET" or request.http_version != "1.1":
        is_extended = _is_extended_connect(request)
        if not is_extended:
            raise _build_start_refusal(request)
    if not is_upgrade_request(request):
        raise BadRequest("not a WebSocket upgrade")
    values = request.values
    hosts = values.get(b"host", [])
    if len(hosts) != 1:
        raise BadRequest("exactly one Host header is required")
    # RFC 8441 5: the key "is not used", whatever is sent.
    keys = [b""] if is_extended else values.get(b"sec-websocket-key", [])
    if not is_extended and (len(keys) != 1 or _WS_KEY.fullmatch(keys[0]) is None):
        raise BadRequest("exactly one Sec-WebSocket-Key of 16 bytes in base64 is required")
    versions = values.get(b"sec-websocket-version")
    if not versions:
        raise BadRequest("Sec-WebSocket-Version is required")
    if versions != [b"13"]:
        raise _build_version_refusal(is_extended)
    if allowed_origins is not None:
        if not isinstance(allowed_origins, AllowedOrigins):
            allowed_origins = AllowedOrigins(allowed_origins)
        if not allowed_origins.allows(values.get(b"origin", []), host or hosts[0]):
            raise Forbidden("Origin is not allowed")
    return keys[0]


def _build_version_refusal(is_extended: bool) -> RequestRefused:
    text = "Sec-WebSocket-Version must be 13"
    if not is_extended:
        return UpgradeRequired(text)  # RFC 6455 4.4
    # HTTP/2 has no Upgrade, which a 426 has to name.
    refusal = BadRequest(text)
    refusal.headers = ((b"Sec-WebSocket-Version", b"13"),)
    return refusal


def _build_start_refusal(request: RequestReceived) -> RequestRefused:
    """The refusal of another method than GET, or another version than HTTP/1.1."""
    if request.method != b"GET":
        wrong_method = MethodNotAllowed("the opening handshake must be a GET request")
        wrong_method.headers = ((b"Allow", b"GET"),)
        return wrong_method
    if request.http_version == "1.0":
        # RFC 9110 7.8 would ignore the upgrade. But the cause is nearly always a proxy's default, and with a
        # refusal both the log and the response name it.
        too_old = UpgradeRequired(
            "the opening handshake must be HTTP/1.1, and came in HTTP/1.0 (nginx: proxy_http_version 1.1)"
        )
        # No Sec-WebSocket-Version, from which a client concludes that its version is wrong (RFC 6455 4.4).
        too_old.headers = ((b"Upgrade", b"websocket"),)
        return too_old
    return HTTPVersionNotSupported("the opening handshake must be HTTP/1.1")


def build_101_response(
    ws_key: bytes,
    *,
    subprotocol: Optional[str] = None,
    extensions: Union[str, bytes, None] = None,
    headers: Headers = (),
) -> bytes:
    """The server's answer that completes the opening handshake (RFC 6455 4.2.2, item 5).

    ``extensions`` is the value of Sec-WebSocket-Extensions; ``headers`` are
    the application's and follow last. Raises `EventError` for a subprotocol
    that is not a token, a value with a control byte, a header that the
    handshake itself sets or that announces a body, and an empty ``ws_key``.
    """
    if not ws_key:
        raise EventError("a request without a key is answered by build_connect_answer, not by a 101")
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: ",
        build_ws_accept_key(ws_key),
        b"\r\n",
    ]
    if subprotocol is not None:
        lines.append(b"Sec-WebSocket-Protocol: %b\r\n" % _encode_token(subprotocol, "subprotocol"))
    if extensions is not None:
        lines.append(_build_extensions_line(extensions))
    _append_headers(lines, headers, _OWN_HEADERS)
    return b"".join(lines)


def build_connect_answer(
    *, subprotocol: Optional[str] = None, extensions: Optional[str] = None, headers: Headers = ()
) -> List[Tuple[bytes, bytes]]:
    """The headers of the 200 that answers an extended CONNECT (RFC 8441 5).

    The arguments, and what it raises, are those of `build_101_response`; a header about a
    connection of HTTP/1.1 (RFC 9113 8.2.2) is refused too.
    """
    answer = []
    if subprotocol is not None:
        answer.append((b"sec-websocket-protocol", _encode_token(subprotocol, "subprotocol")))
    if extensions is not None:
        answer.append((b"sec-websocket-extensions", _encode_extensions(extensions)))
    for name, value in check_headers(headers):
        _check_not_own(name, (*_OWN_HEADERS, *HOP_BY_HOP))
        answer.append((name.lower(), value))
    return answer


def check_default_headers(headers: Headers) -> None:
    """Raise `EventError` unless every response may have ``headers`` in addition, the 101 included.

    Those about the connection, the body and the WebSocket are the server's.
    """
    for name, value in headers:
        check_header(name, value)
        _check_not_own(name, _OWN_HEADERS.union(HOP_BY_HOP))


def _append_headers(lines: List[bytes], headers: Headers, forbidden: Container[bytes]) -> None:
    # Most handshakes have none. What is no list is checked.
    if headers != []:
        for name, value in check_headers(headers):
            _check_not_own(name, forbidden)
            lines.append(b"%b: %b\r\n" % (name, value))
    lines.append(b"\r\n")


def _check_not_own(name: bytes, forbidden: Container[bytes]) -> None:
    lower = name.lower()
    if lower in forbidden or lower.startswith(_OWN_PREFIX):
        raise EventError(f"header {name[:40]!r} is set by the opening handshake, or cannot be part of it")


def _build_extensions_line(extensions: Union[str, bytes]) -> bytes:
    return b"Sec-WebSocket-Extensions: %b\r\n" % _encode_extensions(extensions)


def _encode_extensions(extensions: Union[str, bytes]) -> bytes:
    value = _encode(extensions, "extensions")
    check_header(b"Sec-WebSocket-Extensions", value)
    if not value.strip(b" \t"):
        raise EventError("extensions must not be empty")  # RFC 6455 9.1: 1#extension
    return value


def _encode(value: Union[str, bytes], what: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str) or not value.isascii():
        raise EventError(f"{what} must be ASCII")
    return value.encode("ascii")


def _encode_token(value: str, what: str) -> bytes:
    token = _encode(value, what)
    if not isinstance(value, str) or not is_token(token):
        raise EventError(f"{what} {value!r} is not a token")
    return token


# --------------------------------------------------------------------------- as client


def generate_ws_key() -> bytes:
    """A fresh Sec-WebSocket-Key: 16 random bytes in base64 (RFC 6455 4.1, item 7)."""
    return binascii.b2a_base64(os.urandom(16), newline=False)


def build_upgrade_request(
    target: Union[str, bytes],
    host: Union[str, bytes],
    ws_key: bytes,
    *,
    subprotocols: Sequence[str] = (),
    extensions: Union[str, bytes, None] = None,
    headers: Headers = (),
    origin: Union[str, bytes, None] = None,
) -> bytes:
    """A client's opening handshake (RFC 6455 4.1).

    ``target`` is the path with its query, percent-encoded; ``host`` is the
    server's name, with ``:port`` unless it is the scheme's default. Raises
    `EventError` for an argument that cannot be sent, a subprotocol that is
    not a token or comes twice, and a header that the handshake itself sets.
    """
    target = _encode(target, "target")
    if _TARGET.fullmatch(target) is None:
        raise EventError("target must be a path of visible ASCII, without a fragment")
    host = _encode(host, "host")
    if parse_authority(host) is None:
        raise EventError("host must be host or host:port")
    if _WS_KEY.fullmatch(ws_key) is None:
        raise EventError("ws_key must be 16 bytes in base64")
    lines = [
        b"GET %b HTTP/1.1\r\nHost: %b\r\n" % (target, host),
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n" % ws_key,
    ]
    if origin is not None:
        origin = _encode(origin, "origin")
        check_header(b"Origin", origin)
        lines.append(b"Origin: %b\r\n" % origin)
    if isinstance(subprotocols, str):
        raise EventError(f"subprotocols must be a list, such as [{subprotocols!r:.80}]")
    if subprotocols:
        offers = [_encode_token(subprotocol, "subprotocol") for subprotocol in subprotocols]
        if len(set(offers)) != len(offers):
            raise EventError("a subprotocol is offered twice")  # RFC 6455 4.1, item 10
        lines.append(b"Sec-WebSocket-Protocol: %b\r\n" % b", ".join(offers))
    if extensions is not None:
        lines.append(_build_extensions_line(extensions))
    _append_headers(lines, headers, _OWN_HEADERS | {b"host"})
    return b"".join(lines)


def check_upgrade_response(
    response: ResponseReceived, ws_key: bytes, *, subprotocols: Sequence[str] = ()
) -> Tuple[WebSocketConnected, Optional[bytes]]:
    """Check the server's answer to the handshake that sent ``ws_key`` and ``subprotocols``.

    Returns the event and the value of Sec-WebSocket-Extensions, all lines
    joined, or None; whether those extensions were offered is for the caller
    to check. Raises `HandshakeFailed` for what RFC 6455 4.1 tells a client to
    fail on.
    """
    if response.status != 101 or response.http_version != "1.1":
        raise HandshakeFailed(f"the server answered HTTP/{response.http_version} {response.status}")
    headers = response.headers
    if not has_token(headers, b"upgrade", b"websocket"):
        raise HandshakeFailed("the answer's Upgrade is not websocket")
    if not has_token(headers, b"connection", b"upgrade"):
        raise HandshakeFailed("the answer's Connection is not Upgrade")
    if get_header_values(headers, b"sec-websocket-accept") != [build_ws_accept_key(ws_key)]:
        raise HandshakeFailed("the answer's Sec-WebSocket-Accept does not match the key")
    extensions = get_header_values(headers, b"sec-websocket-extensions")
    subprotocol = _check_subprotocol(get_header_values(headers, b"sec-websocket-protocol"), subprotocols)
    return WebSocketConnected(subprotocol), b", ".join(extensions) if extensions else None


def _check_subprotocol(values: List[bytes], offered: Sequence[str]) -> Optional[str]:
    if not values:
        return None
    subprotocol = values[0].decode("latin-1")
    if len(values) > 1 or subprotocol not in offered:
        raise HandshakeFailed("the server chose a subprotocol that was not offered")
    return subprotocol
