"""Header names and lines that nearly every opening handshake has, one object of each.

Every connection keeps its headers: an object of its own for each name is 45
bytes, for each line a hundred.
"""

from __future__ import annotations

__all__ = ["COMMON_LINES", "LOWER_NAMES"]

# By the name as browsers spell it, and as it is in the scope.
LOWER_NAMES = {
    spelling: name.lower()
    for name in (
        b"Host Connection Upgrade Sec-WebSocket-Key Sec-WebSocket-Version Sec-WebSocket-Extensions"
        b" Sec-WebSocket-Protocol Origin User-Agent Accept Accept-Encoding Accept-Language Cache-Control"
        b" Pragma Cookie Authorization X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host X-Real-IP"
    ).split()
    for spelling in (name, name.lower())
}

# What browsers and libraries send alike.
COMMON_LINES = {
    (name, value): (name, value)
    for name, *values in (
        (b"connection", b"Upgrade", b"keep-alive, Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits", b"permessage-deflate"),
        (b"cache-control", b"no-cache"),
        (b"pragma", b"no-cache"),
        (b"accept", b"*/*"),
        (b"accept-encoding", b"gzip, deflate", b"gzip, deflate, br", b"gzip, deflate, br, zstd"),
    )
    for value in values
}
