"""Where the guided search begins: literal bytes for every target, and a dictionary of what matters there."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Dict, List

# RFC 6455 5.7: its own examples, then frames under a key of zeros, which a search can see through.
SERVER_FRAMES = (
    bytes.fromhex("818537fa213d7f9f4d5158"),
    bytes.fromhex("898537fa213d7f9f4d5158"),
    bytes.fromhex("818500000000") + b"Hello",
    bytes.fromhex("018300000000") + b"Hel" + bytes.fromhex("808200000000") + b"lo",
    bytes.fromhex("018100000000e2 898000000000 808200000000 82ac"),
    bytes.fromhex("82fe007e00000000") + bytes(126),
    bytes.fromhex("888200000000 03e8 818100000000 41"),
    bytes.fromhex("888800000000 03e9") + b"reason",
    bytes.fromhex("82ff0000000000010000 00000000") + bytes(40),
    bytes.fromhex("018000000000" + "008000000000" * 3),
)
CLIENT_FRAMES = (
    bytes.fromhex("810548656c6c6f"),
    bytes.fromhex("010348656c80026c6f"),
    bytes.fromhex("890548656c6c6f"),
    bytes.fromhex("827e0100") + bytes(256),
    bytes.fromhex("880203e8"),
    bytes.fromhex("8105e282ac20ff"),
)
# RFC 7692 7.2.3: Hello compressed, shared window, fixed window, stored, with BFINAL, in two blocks.
COMPRESSED = (
    bytes.fromhex("f248cdc9c90700"),
    bytes.fromhex("f200110000"),
    bytes.fromhex("000500faff48656c6c6f00"),
    bytes.fromhex("f348cdc9c9070000"),
    bytes.fromhex("f248050000 00ffff cac9c90700"),
    bytes.fromhex("000000ffff" * 3) + b"\0",
    bytes.fromhex("010000ffff" * 3) + b"\0",
)
REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
REQUESTS = (
    REQUEST + b"\r\n",
    REQUEST + b"Sec-WebSocket-Protocol: chat, superchat\r\nOrigin: http://a.example\r\n\r\n\x81\x80",
    REQUEST + b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
    REQUEST + b'Forwarded: for="[2001:db8::1]:80";proto=https;host="b"\r\n\r\n',
    REQUEST + b"X-Forwarded-For: 198.51.100.7, 192.0.2.1\r\nX-Forwarded-Proto: wss\r\n\r\n",
    b"\r\nHEAD http://a.example/?q HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n",
    b"GET * HTTP/1.0\nHost: a\r\n b: c\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
    b"GET ws://b:81/echo HTTP/1.0\r\nX-Forwarded-Prefix: /a%20b, /c/\r\n\r\n",
    b"DELETE http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nHello",
)
RESPONSES = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=9\r\n\r\n\x81\x00",
    b"HTTP/1.0 403 Forbidden\r\nContent-Length: 1\r\n\r\nx",
)
FORWARDED = (
    b'\0for="[2001:db8::1]:4711";proto=https;host="a\\"b", for=192.0.2.1',
    b"\1198.51.100.7, 192.0.2.1\n\2https\n\3a.example:8443\n\4443\n\5/a%20b, /c/",
    b'\0for="_x\\\\\\", for=1.2.3.4;;',
)
OFFERS = (
    b'permessage-deflate; client_max_window_bits="10"; server_no_context_takeover, x; a=b',
    b"permessage-deflate\n, ,foo; bar = baz ;q",
)


def build_compressed_frames(mask: bytes, mask_bit: int) -> List[bytes]:
    return [bytes([0xC1, mask_bit | len(payload)]) + mask + payload for payload in COMPRESSED]


SEEDS: Dict[str, List[bytes]] = {
    "server": [*SERVER_FRAMES],
    "server-deflate": [*SERVER_FRAMES, *build_compressed_frames(bytes(4), 0x80)],
    "client": [*CLIENT_FRAMES],
    "client-deflate": [*CLIENT_FRAMES, *build_compressed_frames(b"", 0)],
    "request-head": [*REQUESTS],
    "response-head": [*RESPONSES],
    "server-handshake": [*REQUESTS],
    "client-handshake": [*RESPONSES],
    "list-headers": [b"chat, superchat\n ,\tx", b"a b", b",,,"],
    "extension-offers": [*OFFERS],
    "authority": [b"a.example:80", b"[::1]:65536", b"10.0.0.0/8, unix", b"%41", b"*"],
    "forwarded": [*FORWARDED],
    "frame-header": [frame[:14] for frame in (*SERVER_FRAMES, *CLIENT_FRAMES)],
    "close-payload": [b"", b"\3", b"\3\xe8", b"\3\xe8bye\xe2\x82\xac", b"\3\xed", b"\x0b\xb8\xff"],
    "masking": [b"Hello", bytes(range(64)), b""],
    "text": ["h\u00e9\u20ac\U0001f600".encode(), b"\xed\xa0\x80", b"\xf4\x8f\xbf\xbf", b"\xe2\x82"],
    "inflater": [*COMPRESSED],
}

WORDS = (
    *(
        b"\x81\x80\0\0\0\0",
        b"\x01\x81\0\0\0\0",
        b"\x80\x80\0\0\0\0",
        b"\x89\x80\0\0\0\0",
        b"\x88\x82\0\0\0\0\3\xe8",
    ),
    *(
        b"\xc1\x87\0\0\0\0",
        b"\x41\x83\0\0\0\0",
        b"\0\0\xff\xff",
        b"\1\0\0\xff\xff",
        b"\xf2\x48\xcd\xc9\xc9\x07\0",
    ),
    *(
        b"\xfe\0\x7e",
        b"\xff\0\0\0\0\0\1\0\0",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98\x80",
        b"\xe2\x82\xac",
        b"\xc0\xaf",
    ),
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1",
        b"GET ",
        b"HEAD ",
        b"Host: a\r\n",
        b"Content-Length: 0\r\n",
        b"Expect: x\r\n",
    ),
    *(b"Upgrade: websocket\r\n", b"Connection: Upgrade\r\n", b"Sec-WebSocket-Version: 13\r\n", b"http://a"),
    *(
        b"Sec-WebSocket-Key: ",
        b"Sec-WebSocket-Protocol: ",
        b"Sec-WebSocket-Extensions: ",
        b"Origin: ",
        b"upgrade",
    ),
    *(
        b"permessage-deflate",
        b"; client_max_window_bits",
        b"; server_max_window_bits=9",
        b"_no_context_takeover",
    ),
    *(
        b"for=",
        b";proto=https",
        b";host=",
        b'"[2001:db8::1]:80"',
        b"192.0.2.1",
        b'\\"',
        b"Forwarded: ",
        b", ",
        b"[::1]",
    ),
)


def write_seeds(name: str, folder: Path) -> None:
    """One file for each seed; the first byte is the variant, see `targets.Target`."""
    folder.mkdir(parents=True, exist_ok=True)
    for at, data in enumerate(SEEDS[name]):
        for variant in (0, 0xC0):
            (folder / f"{at:02}-{variant:02x}").write_bytes(bytes([variant]) + data)


def write_random_seeds(folder: Path, seed: int) -> None:
    """Choices for hypothesis, which mean nothing by themselves."""
    chosen = random.Random(seed)
    for at in range(24):
        (folder / f"{at:02}").write_bytes(chosen.randbytes(chosen.randrange(100, 1500)))


def write_dictionary(path: Path) -> None:
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"' for word in WORDS]
    path.write_text("\n".join(lines) + "\n", "ascii")
