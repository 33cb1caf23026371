"""What the peer reads: an independent reader of the server's bytes, which accepts only what is allowed."""

from __future__ import annotations

import zlib
from typing import Any, Dict, List, Optional, Tuple, Union

__all__ = ["Content", "ServerStream", "Wrong", "WrittenStream"]

Content = Union[str, bytes]

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Wrong(AssertionError):
    """Something that must hold does not."""


class ServerStream:
    """One HTTP response, and the frames behind it if it is a 101."""

    def __init__(self) -> None:
        self._data = bytearray()
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

    @property
    def has_part(self) -> bool:
        """Whether what was read ends inside a head or a frame."""
        return bool(self._data)

    def feed(self, data: bytes) -> None:
        self._data += data
        if self.status is None:
            self._read_head()
        if self.status == 101:
            while self._read_frame():
                pass
        elif self.status is not None:
            self._data.clear()

    def _read_head(self) -> None:
        head, separator, rest = bytes(self._data).partition(b"\r\n\r\n")
        if not separator:
            return
        first, *lines = head.decode("ascii").split("\r\n")
        version, status = first.split(" ")[:2]
        if version != "HTTP/1.1":
            raise Wrong(f"status line {first!r}")
        self.status = int(status)
        self.headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        # RFC 9110 6.6.1: all but 1xx.
        if self.status >= 200 and "date" not in self.headers:
            raise Wrong(f"no Date: {head!r}")
        self._data[:] = rest
        if self.status == 101 and "permessage-deflate" in self.headers.get("sec-websocket-extensions", ""):
            self._inflater = zlib.decompressobj(-15)

    def _read_frame(self) -> bool:
        parsed = self._parse_header()
        if parsed is None:
            return False
        first, start, length = parsed
        if len(self._data) < start + length:
            return False
        payload = bytes(self._data[start : start + length])
        del self._data[: start + length]
        # RFC 6455 5.5.1 and 5.5.2: no data behind a CLOSE; PINGs are answered until the peer's own was read.
        if self.close is not None and first & 0x0F != PONG:
            raise Wrong(f"frame {first:02x} {payload[:20].hex()} behind the CLOSE")
        self._take(first & 0x0F, bool(first & 0x40), payload)
        return True

    def _parse_header(self) -> Optional[Tuple[int, int, int]]:
        data = self._data
        if len(data) < 2:
            return None
        first, length, start = data[0], data[1], 2
        if length >= 126:
            start = 4 if length == 126 else 10
            if len(data) < start:
                return None
            length = int.from_bytes(data[2:start], "big")
            if length < (126 if start == 4 else 65536):
                raise Wrong(f"length {length} in {start} bytes")
        self._check_header(first, data[1], length)
        return first, start, length

    def _check_header(self, first: int, second: int, length: int) -> None:
        opcode = first & 0x0F
        shown = f"frame {first:02x} {second:02x}"
        if first & 0xB0 != 0x80 or second & 0x80:
            raise Wrong(f"{shown}: FIN missing, a reserved bit set, or masked")
        if opcode not in (TEXT, BINARY, CLOSE, PING, PONG):
            raise Wrong(f"{shown}: opcode")
        if first & 0x40 and (opcode >= CLOSE or self._inflater is None):
            raise Wrong(f"{shown}: RSV1")
        if opcode >= CLOSE and length > 125:
            raise Wrong(f"{shown}: control frame of {length} bytes")

    def _take(self, opcode: int, is_compressed: bool, payload: bytes) -> None:
        if opcode == CLOSE:
            self.close = payload
            if len(payload) == 1:
                raise Wrong("CLOSE with one byte")
            payload[2:].decode()
        elif opcode == PING:
            self.pings.append(payload)
        elif opcode == PONG:
            self.pongs.append(payload)
        else:
            if is_compressed:
                try:
                    payload = self._inflater.decompress(payload + b"\x00\x00\xff\xff")
                except zlib.error as error:
                    raise Wrong(f"a message does not inflate: {error}") from None
            self.messages.append(payload.decode() if opcode == TEXT else payload)


class WrittenStream(ServerStream):
    """The same bytes as they are written, of which only the CLOSE matters."""

    def _take(self, opcode: int, is_compressed: bool, payload: bytes) -> None:
        if opcode == CLOSE:
            self.close = payload
