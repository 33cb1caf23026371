"""Hints for the log: what is most likely wrong with a request, or with bytes that are no request.

A hint is for the operator and changes no answer. It quotes nothing but valid
hosts and targets, shortened, so that no client can forge a line of the log.
"""

from __future__ import annotations

import re
from typing import Optional

from ...protocols.events import RequestReceived
from ...protocols.fields import get_header_values, has_token

__all__ = [
    "START_SIZE",
    "describe_ignored_host",
    "describe_missing_upgrade",
    "describe_start",
    "shorten_target",
]

# The number of bytes from the start of a connection that `describe_start` needs.
START_SIZE = 24

# Characters of a host that are shown; a host may have 32 KiB.
MAX_HOST = 80

# Bytes of a target that are shown; one may have 32 KiB.
MAX_TARGET = 200

_FOREIGN_STARTS = (
    # RFC 8446 5.1: a handshake record. The parser refuses its first byte, which may have come alone.
    (re.compile(rb"\x16(?:\x03|$)"), "a TLS hello on a port without TLS (ssl_certfile)"),
    # The PROXY protocol, versions 1 and 2.
    (
        re.compile(rb"PROXY (?:TCP4|TCP6|UNKNOWN)"),
        "a PROXY protocol line where none is read (proxy_protocol)",
    ),
    (
        re.compile(rb"\r\n\r\n\x00\r\nQUIT\n"),
        "a PROXY protocol header (version 2) where none is read (proxy_protocol)",
    ),
    # RFC 9113 3.4: the connection preface.
    (re.compile(rb"PRI \* "), "HTTP/2, which is not supported"),
)

_PROXY_HINT = "if a proxy has left it out: nginx needs proxy_http_version 1.1 and proxy_set_header for both"


def describe_start(start: bytes) -> Optional[str]:
    """What the first bytes of a refused connection look like; None if they look like HTTP/1.1."""
    for pattern, what in _FOREIGN_STARTS:
        if pattern.match(start):
            return f"this looks like {what}"
    return None


def shorten_target(target: bytes) -> bytes:
    """What the line of a refusal shows of a target."""
    return target[:MAX_TARGET]


def describe_missing_upgrade(request: RequestReceived) -> Optional[str]:
    """What a request lacks to open a WebSocket, if it seems to want one (RFC 6455 4.2.1, items 3 and 4)."""
    headers = request.headers
    if has_token(headers, b"upgrade", b"websocket"):
        missing = "Upgrade: websocket without Connection: Upgrade"
    elif get_header_values(headers, b"sec-websocket-key"):
        missing = "Sec-WebSocket-Key without Upgrade: websocket"
    else:
        return None
    return f"sent {missing}, which is a plain request ({_PROXY_HINT})"


def describe_ignored_host(request: RequestReceived, ignored: bytes) -> str:
    """The hint that the Host differs from the target's authority, which is used (RFC 9112 3.2.2)."""
    [host] = get_header_values(request.headers, b"host")
    return f"sent Host {_format_host(ignored)}, but the target names {_format_host(host)}, which is used"


def _format_host(host: bytes) -> str:
    return host[:MAX_HOST].decode("ascii", "backslashreplace")
