"""The client of a keep-alive connection: what it sends, and what the server writes to it, read by hand."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from ..lib.wire import build_frame, parse_head
from .peer import build_request
from .reader import Wrong

# What follows the head of a POST with "Transfer-Encoding: chunked", and breaks a rule.
BAD_CHUNKS: Dict[str, bytes] = {
    "no size": b"\r\n",
    "a sign": b"+5\r\nabcde\r\n0\r\n\r\n",
    "a bare LF": b"5\nabcde\r\n0\r\n\r\n",
    "data that is too long": b"5\r\nabcdefg\r\n0\r\n\r\n",
    "behind a chunk": b"5\r\nabcde\r\nx\r\n0\r\n\r\n",
    "a size that no counter holds": b"fffffffffffffffff\r\n",
    "a trailer without a colon": b"5\r\nabcde\r\n0\r\nx\r\n\r\n",
}
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
BAD_HEADS: Dict[str, bytes] = {
    "both lengths": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    "another coding": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "garbage": b"\x16\x03\x01\r\n\r\n",
}


@dataclass
class Sent:
    """A request, and where it stands in the stream.

    kind: "ok", "upgrade", "bad head", "bad body". closes: it asks for no further one.
    """

    serial: int
    kind: str
    method: str
    body: bytes
    start: int
    body_start: int
    end: int
    is_chunked: bool = False
    expects: bool = False
    closes: bool = False


@dataclass
class Response:
    status: int
    headers: Dict[str, str]
    #: How much of the requests the server had read when it wrote the head.
    delivered: int
    #: The same for its end.
    delivered_at_end: int = -1
    content: bytes = b""
    is_complete: bool = False

    @property
    def serial(self) -> Optional[int]:
        """The request that the application has answered; None for an answer of the server's own."""
        return int(self.headers["x-serial"]) if "x-serial" in self.headers else None

    @property
    def closes(self) -> bool:
        return self.headers.get("connection") == "close"


@dataclass
class Client:
    """Writes requests to the line; `responses` are what the server has written, complete or not."""

    line: Any = None
    sent: List[Sent] = field(default_factory=list)
    responses: List[Response] = field(default_factory=list)
    #: How many 100s came, by the number of final responses before them.
    continues: Dict[int, int] = field(default_factory=dict)
    is_at_eof: bool = False
    is_reset: bool = False
    #: Whether it closes when the server has.
    is_prompt: bool = False
    received: int = 0
    written: int = 0
    rest: bytes = b""

    def __post_init__(self) -> None:
        self._size = self._delivered = 0
        self._random = random.Random(7)

    # --------------------------------------------------------------------- the line's peer

    def receive(self, data: bytes) -> None:
        self.received += len(data)

    def receive_eof(self) -> None:
        self.is_at_eof = True
        if self.is_prompt:
            self.line.half_close()

    # --------------------------------------------------------------------- sending

    @property
    def can_send(self) -> bool:
        """Whether another request may still mean something."""
        is_over = bool(self.sent) and (self.sent[-1].kind != "ok" or self.sent[-1].closes)
        return not (is_over or self.line.inbound_eof or self.line.is_dead or self.line.is_reset)

    def _send(self, kind: str, head: bytes, body: bytes, content: bytes, **facts: Any) -> None:
        start = self._size
        self._size += len(head) + len(body)
        serial = len(self.sent)
        method = head.partition(b" ")[0].decode("latin-1")
        sent = Sent(serial, kind, method, content, start, start + len(head), self._size, **facts)
        self.sent.append(sent)
        self.line.send_from_peer(head + body)

    def send_request(
        self, method: str, framing: str, size: int, *, expects: bool = False, closes: bool = False
    ) -> None:
        """framing: "none", "length" or "chunked"."""
        serial = len(self.sent)
        content = b"" if framing == "none" else (b"%d:" % serial * size)[:size]
        lines = [f"{method} /{serial} HTTP/1.1", "Host: a"]
        body = content
        if framing == "length":
            lines.append(f"Content-Length: {size}")
        elif framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
            body = self._cut_into_chunks(content)
        lines += ["Expect: 100-continue"] * expects + ["Connection: close"] * closes
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        facts = {"is_chunked": framing == "chunked", "expects": expects and bool(body), "closes": closes}
        self._send("ok", head, body, content, **facts)

    def _cut_into_chunks(self, content: bytes) -> bytes:
        step = self._random.choice((1, 7, 1000, 70_000)) if len(content) < 500 else 4096
        chunks = [content[at : at + step] for at in range(0, len(content), step)]
        trailer = self._random.choice((b"", b"X-Trailer: 1\r\n"))
        return b"".join(
            [*(b"%x;x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks), b"0\r\n", trailer, b"\r\n"]
        )

    def send_bad_chunks(self, name: str) -> None:
        head = b"POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % len(self.sent)
        self._send("bad body", head, BAD_CHUNKS[name], b"")

    def send_bad_head(self, name: str) -> None:
        self._send("bad head", BAD_HEADS[name], b"", b"")

    def send_upgrade(self) -> None:
        """And a CLOSE, which is the first frame."""
        head = build_request(None, (), is_page=False)
        self._send("upgrade", head, build_frame(0x88, b"\x03\xe8", b"abcd"), b"")

    # --------------------------------------------------------------------- what is written

    def read(self, data: bytes, delivered: int) -> None:
        """Read the responses in what the server has written; raises `Wrong` for what may not be.

        delivered: how much of the requests the server had read by then.
        """
        self._delivered = delivered
        self.written += len(data)
        self.rest += data
        while self.rest and self._read_some():
            last = self.responses[-1] if self.responses else None
            if last is not None and last.is_complete and last.delivered_at_end < 0:
                last.delivered_at_end = delivered

    def _read_some(self) -> bool:
        last = self.responses[-1] if self.responses else None
        if last is not None and not last.is_complete:
            return self._read_content(last)
        if last is not None and last.status == 101:
            self.rest = b""
            return False
        if last is not None and last.closes:
            raise Wrong(f"behind a response that closes: {self.rest[:80]!r}")
        return self._read_head()

    def _read_head(self) -> bool:
        if not b"HTTP/1.1 ".startswith(self.rest[:9]):
            raise Wrong(f"where a response must begin: {self.rest[:80]!r}")
        head, self.rest = parse_head(self.rest)
        if head is None:
            return False
        number = len(self.responses)
        if head.status == 100:
            self.continues[number] = self.continues.get(number, 0) + 1
            return True
        if number >= len(self.sent):
            raise Wrong(f"a response to no request: {head}")
        response = Response(head.status, dict(head.headers), self._delivered)
        self.responses.append(response)
        if len(response.headers) != len(head.headers):
            raise Wrong(f"a header came twice: {head}")
        # RFC 9112 6.3.
        framed = response.headers.keys() & {"content-length", "transfer-encoding"}
        # Of a head that is cut, or held, the server does not know the method: its answer has content then.
        is_head = self.sent[number].method == "HEAD" and (response.serial is not None or not self.rest)
        if is_head or head.status in (101, 204, 304):
            response.is_complete = True
        elif len(framed) != 1:
            raise Wrong(f"a response without a length, or with two: {head}")
        else:
            response.is_complete = response.headers.get("content-length") == "0"
        return True

    def _read_content(self, response: Response) -> bool:
        if "content-length" in response.headers:
            missing = int(response.headers["content-length"]) - len(response.content)
            response.content += self.rest[:missing]
            response.is_complete = missing <= len(self.rest)
            self.rest = self.rest[missing:] if response.is_complete else b""
            return True
        line, separator, rest = self.rest.partition(b"\r\n")
        if not separator:
            return False
        size = int(line, 16)
        if len(rest) < size + 2:
            return False
        if rest[size : size + 2] != b"\r\n":
            raise Wrong(f"a chunk that does not end: {self.rest[:80]!r}")
        response.content += rest[:size]
        response.is_complete = size == 0
        self.rest = rest[size + 2 :]
        return True
