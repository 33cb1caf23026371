"""Headers that nearly every opening handshake has; connections share one object for each name and pair.

The parser uses them for heads that come in one piece: to look a line up takes less time than to parse it.
"""

from __future__ import annotations

__all__ = ["SHARED_LINES", "SHARED_NAMES"]

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

# The pair of lower-case name and value, by the line of it that browsers and libraries send.
SHARED_LINES = {
    b"%b: %b" % (spelling, value): (SHARED_NAMES[name], value)
    for name, *values in (
        (b"Connection", b"Upgrade", b"keep-alive, Upgrade", b"keep-alive"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Sec-WebSocket-Extensions", b"permessage-deflate; client_max_window_bits", b"permessage-deflate"),
        (b"Cache-Control", b"no-cache"),
        (b"Pragma", b"no-cache"),
        (b"Accept", b"*/*"),
        (b"Accept-Encoding", b"gzip, deflate", b"gzip, deflate, br", b"gzip, deflate, br, zstd"),
    )
    for value in values
    for spelling in (name, name.lower())
}
