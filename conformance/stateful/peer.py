"""The peer: a client that sends whatever it is told to, keeps account of it, and reads what comes back."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..lib.hostile.messages import Compressor
from ..lib.wire import BINARY, CLOSE, FIN, KEY, PING, PONG, RSV1, TEXT, build_frame
from .loop import NEVER, Moment
from .reader import Content, ServerStream

OFFERS = (
    None,
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
)

# name: (bytes, the code of the CLOSE that answers them); each is wrong outside of a fragmented message.
VIOLATIONS: Dict[str, Tuple[bytes, int]] = {
    "not masked": (b"\x81\x01A", 1002),
    "unknown opcode": (b"\x83\x80\0\0\0\0", 1002),
    "RSV2": (b"\xa1\x80\0\0\0\0", 1002),
    "continuation of nothing": (b"\x80\x80\0\0\0\0", 1002),
    "long length of a short frame": (b"\x82\xfe\x00\x01\0\0\0\0A", 1002),
    "fragmented PING": (b"\x09\x80\0\0\0\0", 1002),
    "CLOSE of one byte": (b"\x88\x81\0\0\0\0A", 1002),
    "CLOSE with 1005": (b"\x88\x82\0\0\0\0\x03\xed", 1002),
    "CLOSE whose reason is not UTF-8": (b"\x88\x83\0\0\0\0\x03\xe8\xff", 1007),
    "text that is not UTF-8": (b"\x81\x82\0\0\0\0\xc3(", 1007),
    "too large": (b"\x82\xff\0\0\0\x40\0\0\0\0\0\0\0\0", 1009),
    "a message inside another": (b"\x02\x81\0\0\0\0A\x81\x81\0\0\0\0B", 1002),
}


@dataclass
class Item:
    """Something the peer has sent, and where it stands in its stream.

    kind: message, ping, close, or violation; `code` is what the application must hear, the reason stands in
    `content`.
    """

    kind: str
    start: int
    end: int
    content: Content = b""
    code: int = 0
    #: When the server read its first byte, and its last.
    begun: Moment = NEVER
    ended: Moment = NEVER
    #: Whether the server may keep what it has read of it unparsed for some time.
    may_be_held: bool = False
    #: Whether the server had paused reading when its last byte came.
    was_paused: bool = False

    @property
    def has_come(self) -> bool:
        return self.ended is not NEVER

    @property
    def is_early(self) -> bool:
        """Whether it may have been noticed before its last byte came."""
        return self.kind == "violation" and self.begun is not self.ended

    @property
    def is_vague(self) -> bool:
        """Whether the server may notice it at another time than that of its last byte."""
        return self.is_early or self.may_be_held or self.was_paused


def make_content(serial: int, kind: str, size: int) -> Content:
    """The message with this number: no two are equal, unless they are too short to tell it."""
    label = f"{serial}:"
    if kind == "text":
        return (label + "aé€😀" * (size // 10 + 1))[:size]
    if kind == "same":
        return (label.encode() + b"ab" * size)[:size]
    return (label.encode() + random.Random(serial).randbytes(size))[:size]


def build_request(offer: Optional[str], subprotocols: Sequence[str], *, is_page: bool) -> bytes:
    if is_page:
        return b"GET /page HTTP/1.1\r\nHost: a.example\r\n\r\n"
    lines = [
        "GET /chat?a=b HTTP/1.1",
        "Host: a.example",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {KEY.decode()}",
    ]
    if offer is not None:
        lines.append(f"Sec-WebSocket-Extensions: {offer}")
    if subprotocols:
        lines.append(f"Sec-WebSocket-Protocol: {', '.join(subprotocols)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Peer:
    """``is_prompt``: it answers PINGs and a CLOSE when it reads them, and closes when the server has."""

    def __init__(self, *, is_prompt: bool) -> None:
        self.line: Any = None
        self.stream = ServerStream()
        self.is_prompt = is_prompt
        self.sent: List[Item] = []
        self.sent_bytes = 0
        #: Whether it has sent a CLOSE, or a violation.
        self.has_closed = False
        self.is_at_eof = False
        #: Whether its own stream had ended before it read the end of the server's.
        self.was_first_to_end = False
        self.is_reset = False
        self._compressor: Optional[Compressor] = None
        self._random = random.Random(7)
        self._serial = 0

    # --------------------------------------------------------------------- reading

    def receive(self, data: bytes) -> None:
        stream = self.stream
        pings, was_closed = len(stream.pings), stream.close is not None
        stream.feed(data)
        if self.is_prompt:
            for payload in stream.pings[pings:]:
                self._send_frame(FIN | PONG, payload)
            if stream.close is not None and not was_closed and not self.has_closed:
                self.close_with(stream.close)

    def receive_eof(self) -> None:
        self.is_at_eof = True
        self.was_first_to_end = self.line.inbound_eof
        if self.is_prompt:
            self.line.half_close()

    # --------------------------------------------------------------------- sending

    @property
    def can_compress(self) -> bool:
        return "sec-websocket-extensions" in self.stream.headers and self.stream.is_open

    def send(self, data: bytes) -> None:
        if not self.line.inbound_eof:
            self.sent_bytes += len(data)
            self.line.send_from_peer(data)

    def _send_frame(self, first: int, payload: bytes) -> None:
        self.send(build_frame(first, payload, self._random.randbytes(4)))

    def _note(self, start: int, kind: str, content: Content = b"", code: int = 0) -> None:
        # Behind its CLOSE or its violation nothing counts, but what the server discards may hide a first one;
        # PINGs behind a violation that a closing server discarded are answered.
        is_void = kind == "message" or any(item.kind == "close" for item in self.sent)
        if not self.line.inbound_eof and not (self.has_closed and kind in ("message", "ping") and is_void):
            self.sent.append(Item(kind, start, self.sent_bytes, content, code))
        self.has_closed = self.has_closed or kind in ("close", "violation")

    def send_message(
        self, kind: str, size: int, fragments: int = 1, *, compress: bool = False, ping: bool = False
    ) -> None:
        """One message, in so many frames, with a PING between them if asked to."""
        start = self.sent_bytes
        self._serial += 1
        content = make_content(self._serial, kind, size)
        first = TEXT if isinstance(content, str) else BINARY
        payload = content.encode() if isinstance(content, str) else content
        if compress and self.can_compress:
            first, payload = first | RSV1, self._compress(payload)
        step = max(1, -(-len(payload) // fragments))
        for number in range(fragments):
            is_last = number == fragments - 1
            piece = payload[number * step : None if is_last else (number + 1) * step]
            self._send_frame((FIN if is_last else 0) | (0 if number else first), piece)
            if ping and not is_last:
                self.ping(4)
        self._note(start, "message", content)

    def _compress(self, payload: bytes) -> bytes:
        if self._compressor is None:
            agreed = self.stream.headers["sec-websocket-extensions"]
            bits = re.search(r"client_max_window_bits=(\d+)", agreed)
            window_bits = int(bits.group(1)) if bits else 15
            self._compressor = Compressor(self._random, window_bits, "client_no_context_takeover" in agreed)
        return self._compressor.compress(payload)

    def ping(self, size: int) -> None:
        start = self.sent_bytes
        self._serial += 1
        payload = (b"%d." % self._serial + b"p" * size)[: max(4, size)]
        self._send_frame(FIN | PING, payload)
        self._note(start, "ping", payload)

    def pong(self) -> None:
        """One that nobody asked for (RFC 6455 5.5.3)."""
        self._send_frame(FIN | PONG, b"unasked")

    def close_with(self, payload: bytes, *, inside_message: bool = False) -> None:
        start = self.sent_bytes
        if inside_message and not self.has_closed:
            self._send_frame(TEXT, b"never finished")
        self._send_frame(FIN | CLOSE, payload)
        self._note(start, "close", payload, int.from_bytes(payload[:2], "big") if payload else 1005)

    def break_rule(self, name: str) -> None:
        start = self.sent_bytes
        data, code = VIOLATIONS[name]
        self.send(data)
        self._note(start, "violation", code=code)
