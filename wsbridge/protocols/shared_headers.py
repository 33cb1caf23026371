"""Headers that nearly every opening handshake has; connections share one object for each name and pair.

The parser uses them for heads that come in one piece.
"""

from __future__ import annotations

__all__ = ["SHARED_HEADERS", "SHARED_NAMES"]

# The name in lower case, by its spelling: that of browsers, or lower case.
SHARED_NAMES = {
    spelling: name.lower()
    for name in (
        b"Host Connection Upgrade Sec-WebSocket-Key Sec-WebSocket-Version Sec-WebSocket-Extensions"
        b" Sec-WebSocket-Protocol Origin User-Agent Accept Accept-Encoding Accept-Language Cache-Control"
        b" Pragma Cookie Authorization X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host X-Real-IP"
    ).split()
    for spelling in (name, name.lower())
}

# Pairs of lower-case name and value that browsers and libraries send; each pair is its own key.
SHARED_HEADERS = {
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
