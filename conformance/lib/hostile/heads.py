"""Request heads (RFC 9112): valid opening handshakes, and what mutation makes of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import List, Tuple

from ..wire import KEY
from .draws import disorder, happens, truncate

METHODS = [
    b"POST", b"HEAD", b"OPTIONS", b"get", b"G", b"GET1", b"PRI", b"CONNECT", b"PURGE", b"M-SEARCH", b"G(T",
]  # fmt: skip
TARGETS = [
    b"/", b"/chat?room=1", b"/%ff%00", b"/a#b", b"*", b"chat", b"http://example.com/", b"ws://example.com/x",
    b"http://other.org/", b"HTTP://Example.com:80/", b"https://example.com:443/", b"ftp://example.com/",
    b"http:///", b"http://user@example.com/", b"example.com:80", b"//example.com/", b"/a\\b", b"/\"<>^`{|}",
    b"ws://example.org", b"http://a:b@example.com/", b"http://example.com:99999/", b"**", b"*/",
    b"", b"/\xff", b"/\x7f", b"/a\tb", b"/\x01", b"http://[::1]/", b"/a b", b"?q", b"a:b", b"http:/x", b"1http://x/",
]  # fmt: skip
VERSIONS = [
    b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/1.", b"HTTP/11.1", b"http/1.1", b"HTTP/1.1 ",
    b"HTTP/3.0", b"HTTP/1.10", b"", b"HTTP /1.1", b"ICE/1.0", b"HTTP/9.9", b"RTSP/1.0",
]  # fmt: skip
SEPARATORS = [b"  ", b"\t", b"", b"\x0b", b" \t"]
LINE_ENDS = [b"\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"", b"\r\n\r\n", b" \r\n", b"\x00\r\n"]
BEGINNINGS = [b"\r\n", b"\r\n\r\n", b"\n", b" ", b"\r", b"\x00", b"\x16\x03\x01", b"\r\n "]
FOLDS = [b" folded", b"\tfolded", b" ", b"\t", b" a: b", b"  \t x  "]
HOSTS = [
    b"example.com:80", b"", b"a b", b"user@example.com", b"example.com:99999", b"[::1]:8000",
    b"ex\xe9mple.com", b"example.com/", b"example.com:", b"EXAMPLE.com", b"a,b", b"example.com:x",
    b"%41.com", b"%zz", b"[::1",
]  # fmt: skip
LENGTHS = [
    *[b"0"] * 10, b"5", b"00", b"+0", b"0, 0", b"0_0", b"-1", b"", b"0x0", b" 0", b"18446744073709551616",
    b"0\t", b"1 0",
]  # fmt: skip
CODINGS = [
    b"chunked", b"identity", b"Chunked", b"gzip, chunked", b"chunked, gzip", b"", b"chunked ", b"xchunked",
    b"\x0bchunked",
]  # fmt: skip
NAMES = [
    b"X-A", b"x_b", b"X.C", b"", b"X A", b"X:A", b"X\xffA", b"X\x00", b"(X)", b"X\tA", b"!#$%&'*+-.^_`|~",
    b"X\x7f", b'X"A',
]  # fmt: skip
VALUES = [
    b"1", b"", b"a b", b"a\tb", b"\xff\xfe", b"a\x00b", b"a\x01", b"a\rb", b"a\x0bb", b"a\x7f", b"\x1f",
    b"\x0c", b"a\r", b"  a  ", b"\ta", b":", b"a\x1cb", b"\x85", b"\xa0", b"a \x00",
]  # fmt: skip
OPTIONAL = [
    (b"Origin", b"http://example.com"),
    (b"Sec-WebSocket-Protocol", b"chat, superchat"),
    (b"Sec-WebSocket-Extensions", b"permessage-deflate; client_max_window_bits"),
    (b"Cookie", b'a=b; c="d"'),
    (b"User-Agent", b"\xc3\xa9"),
]
# Groups of headers of one meaning, whose lines come again, or instead of each other.
HOST = ((b"Host", HOSTS),)
FRAMING = (
    (b"Content-Length", LENGTHS),
    (b"Transfer-Encoding", CODINGS),
    (b"Expect", (b"100-continue",)),
)
HANDSHAKE = (
    (b"Sec-WebSocket-Key", (b"", b"short==", KEY + b"=", KEY[:-1], b"?" * 22 + b"==", KEY + b" x")),
    (b"Sec-WebSocket-Version", (b"8", b"12", b"14", b"013", b"13, 8", b"", b"+13", b"13.0")),
    (b"Upgrade", (b"h2c", b"", b"websocket/13", b"web socket", b"websocket\t, x", b"WEBSOCKET")),
    (b"Connection", (b"close", b"", b"notupgrade", b"Upgrade;q=1", b",,UPGRADE ,", b"upgrade\t")),
)
PARTS = {"method": METHODS, "target": TARGETS, "version": VERSIONS, "before": BEGINNINGS}
# wsbridge's limits: the bytes of a request line, and the number of header lines.
MAX_LINE, MAX_FIELDS = 32768, 256


@dataclass
class Draft:
    """A head before it becomes bytes; every line has its own end."""

    method: bytes
    target: bytes
    lines: List[bytes]
    version: bytes = b"HTTP/1.1"
    separators: List[bytes] = field(default_factory=lambda: [b" ", b" "])
    before: bytes = b""
    ends: List[bytes] = field(default_factory=list)  #: of all lines, the empty one too; CRLF where none is
    behind: bytes = b""

    def fill_ends(self) -> List[bytes]:
        count = len(self.lines) + 2
        return [*self.ends, *[b"\r\n"] * count][:count]

    def build(self) -> bytes:
        first = self.method + self.separators[0] + self.target + self.separators[1] + self.version
        lines = zip([first, *self.lines, b""], self.fill_ends())
        return self.before + b"".join(line + end for line, end in lines) + self.behind

    def insert(self, rng: random.Random, line: bytes) -> None:
        self.lines.insert(rng.randint(0, len(self.lines)), line)

    def change_part(self, rng: random.Random) -> None:
        part = rng.choice(list(PARTS))
        setattr(self, part, rng.choice(PARTS[part]))
        if self.target == b"*" and rng.random() < 0.5:
            self.method = b"OPTIONS"

    def lengthen_target(self, rng: random.Random) -> None:
        spent = len(self.method) + len(self.version) + 2
        self.target = b"/" + b"a" * (MAX_LINE - spent - 1 + rng.choice((-1, 0, 1, 500)))

    def speak_http_1_0(self, rng: random.Random) -> None:
        """As proxies do by default: HTTP/1.0, often without Upgrade, Connection or Host."""
        self.version = b"HTTP/1.0"
        names = (b"upgrade:", b"connection:", b"host:")
        self.lines = [line for line in self.lines if not line.lower().startswith(names) or rng.random() < 0.5]

    def change_separator(self, rng: random.Random) -> None:
        self.separators[rng.randrange(2)] = rng.choice(SEPARATORS)

    def change_end(self, rng: random.Random) -> None:
        end = rng.choice(LINE_ENDS)
        self.ends = self.fill_ends()
        if happens(rng, 0.15):
            self.ends = [end] * len(self.ends)
        self.ends[rng.randrange(len(self.ends))] = end

    def fold(self, rng: random.Random) -> None:
        self.insert(rng, rng.choice(FOLDS))

    def add_line(self, rng: random.Random) -> None:
        separator = rng.choice((b":", b":", b": ", b" :", b"", b"\t: ", b"::"))
        self.insert(rng, rng.choice(NAMES) + separator + rng.choice(VALUES))

    def change_authority(self, rng: random.Random) -> None:
        """An absolute-form target, with a Host that is its own or another."""
        scheme = rng.choice((b"http", b"https", b"ws", b"WSS"))
        self.target = scheme + b"://" + rng.choice(HOSTS) + rng.choice((b"/", b"", b"/a?b", b"?q"))
        host = b"Host: " + rng.choice(HOSTS)
        self.lines = [host if line.lower().startswith(b"host:") else line for line in self.lines]

    def change_header(self, rng: random.Random) -> None:
        """One or two headers of a group, beside those that are there or in their place."""
        group = rng.choice((HOST, FRAMING, FRAMING, HANDSHAKE))
        drawn = [rng.choice(group) for _ in range(rng.choice((1, 1, 2)))]
        if rng.random() < 0.6:
            names = tuple(name.lower() + b":" for name, _ in drawn)
            self.lines = [line for line in self.lines if not line.lower().startswith(names)]
        for name, values in drawn:
            self.insert(rng, name + rng.choice((b":", b": ")) + rng.choice(values))

    def disorder(self, rng: random.Random) -> None:
        disorder(rng, self.lines)

    def add_many(self, rng: random.Random) -> None:
        count = MAX_FIELDS - len(self.lines) + rng.choice((-1, 0, 1, 5))
        self.lines += [b"X-%d: y" % number for number in range(count)]

    MUTATIONS = (
        *(change_header,) * 8, *(change_part,) * 5, *(change_end, add_line, disorder) * 2,
        speak_http_1_0, change_separator, fold, change_authority,
    )  # fmt: skip
    LONG = (lengthen_target, add_many)


def draw_valid(rng: random.Random) -> Draft:
    def cased(name: bytes) -> bytes:
        return rng.choice((name, name, name.lower(), name.upper()))

    lines = [
        cased(b"Host") + b": " + rng.choice((b"example.com", b"example.com:8000", b"[::1]")),
        cased(b"Upgrade") + b": " + rng.choice((b"websocket", b"WebSocket", b"h2c, websocket")),
        cased(b"Connection") + b": " + rng.choice((b"Upgrade", b"keep-alive, Upgrade", b"upgrade,")),
        cased(b"Sec-WebSocket-Key") + b": " + KEY,
        cased(b"Sec-WebSocket-Version") + b": 13",
    ]
    for name, value in OPTIONAL:
        if happens(rng, 0.3):
            colon = rng.choice((b": ", b":", b":\t", b":  "))
            lines.append(cased(name) + colon + value + rng.choice((b"", b"", b" ")))
    if happens(rng, 0.3):
        rng.shuffle(lines)
    target = rng.choice((b"/", b"/chat?room=1", b"/%41", b"/a/b;c=1?d[]=e"))
    draft = Draft(rng.choice((b"GET", b"GET", b"GET", b"HEAD")), target, lines)
    if happens(rng, 0.2):
        draft.behind = rng.choice((b"\x81\x80\x00\x00\x00\x00", b"\r\n", b"GET / HTTP/1.1\r\n", b"x"))
    return draft


def draw_head(rng: random.Random) -> Tuple[bytes, Tuple[str, ...]]:
    """A head and what comes behind it; and what was done to it: nothing, or a few mutations."""
    draft = draw_valid(rng)
    traits = []
    for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 2, 2, 3))):
        mutation = rng.choice(Draft.LONG if happens(rng, 0.02) else Draft.MUTATIONS)
        mutation(draft, rng)
        traits.append(mutation.__name__)
    data = draft.build()
    if happens(rng, 0.15):
        at = rng.randrange(len(data))
        byte = rng.choice((rng.randrange(256), rng.choice(b"\x00\t\n\r :\x7f\xff")))
        data = data[:at] + bytes([byte]) + data[at + rng.randint(0, 1) :]
        traits.append("byte")
    if happens(rng, 0.06):
        data = truncate(rng, data)
        traits.append("truncated")
    return data, tuple(traits)
