"""What the server writes, read without wsbridge: only what the RFCs allow is accepted."""

from __future__ import annotations

import zlib
from typing import Any, Dict, List, Optional, Union

from ..lib.wire import BINARY, CLOSE, PING, PONG, TEXT, Frame, build_frame, parse_frames, parse_head

Content = Union[str, bytes]


class Wrong(AssertionError):
    """Something that must hold does not."""


class ServerStream:
    """One HTTP response, and the frames behind it if it is a 101."""

    def __init__(self) -> None:
        #: What was read behind the last whole head or frame.
        self.rest = b""
        self.status: Optional[int] = None
        self.headers: Dict[str, str] = {}
        self.messages: List[Content] = []
        self.pings: List[bytes] = []
        self.pongs: List[bytes] = []
        self.close: Optional[bytes] = None
        self._inflater: Any = None

    @property
    def is_open(self) -> bool:
        return self.status == 101

    def feed(self, data: bytes) -> None:
        self.rest += data
        if self.status is None:
            self._read_head()
        if self.is_open:
            self._read_frames()
        elif self.status is not None:
            self.rest = b""

    def _read_head(self) -> None:
        head, self.rest = parse_head(self.rest)
        if head is None:
            return
        if not head.first_line.startswith("HTTP/1.1 "):
            raise Wrong(f"status line {head.first_line!r}")
        self.status, self.headers = head.status, dict(head.headers)
        # RFC 9110 6.6.1: all but 1xx.
        if self.status >= 200 and "date" not in self.headers:
            raise Wrong(f"no Date: {head}")
        if self.is_open and "permessage-deflate" in self.headers.get("sec-websocket-extensions", ""):
            self._inflater = zlib.decompressobj(-15)

    def _read_frames(self) -> None:
        data = self.rest
        frames, self.rest = parse_frames(data)
        for frame in frames:
            raw = build_frame(frame.fin << 7 | frame.rsv << 4 | frame.opcode, frame.payload)
            # RFC 6455 5.1 and 5.2: a server does not mask, and uses the shortest form of a length.
            if not data.startswith(raw):
                raise Wrong(f"masked, or a length that is not minimal: {data[:14].hex()}")
            data = data[len(raw) :]
            # RFC 6455 5.5.1, 5.5.2: no data behind a CLOSE; PINGs are answered until the peer's own was read.
            if self.close is not None and frame.opcode != PONG:
                raise Wrong(f"behind the CLOSE: {raw[:20].hex()}")
            self._take(frame.opcode, self._check(frame))

    def _check(self, frame: Frame) -> bytes:
        """The payload of a frame that is right, inflated."""
        is_compressible = self._inflater is not None and not frame.is_control
        # wsbridge sends every message in one frame.
        if not frame.fin or frame.rsv & 3 or (frame.rsv1 and not is_compressible):
            raise Wrong(f"FIN missing, or a reserved bit set: {frame!r:.80}")
        if frame.is_control and len(frame.payload) > 125:
            raise Wrong(f"control frame of {len(frame.payload)} bytes")
        if frame.rsv1:
            return bytes(self._inflater.decompress(frame.payload + b"\x00\x00\xff\xff"))
        return frame.payload

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            if len(payload) == 1:
                raise Wrong("CLOSE with one byte")
            payload[2:].decode()
            self.close = payload
        elif opcode in (PING, PONG):
            (self.pings if opcode == PING else self.pongs).append(payload)
        elif opcode in (TEXT, BINARY):
            self.messages.append(payload.decode() if opcode == TEXT else payload)
        else:
            raise Wrong(f"opcode {opcode}")
