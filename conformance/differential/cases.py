"""What is compared: a case (bytes in), a transcript (what an implementation made of them)."""

from __future__ import annotations

from typing import Iterable, NamedTuple, Optional, Tuple, Union

DEFAULT_LIMIT = 16 * 1024 * 1024

Message = Union[str, bytes]

# ("pong", payload) or ("close", code or None, whether it repeats the CLOSE that came).
Sent = Tuple[object, ...]


class Deflate(NamedTuple):
    """What both sides agreed on (RFC 7692 7.1)."""

    server_no_takeover: bool = False
    client_no_takeover: bool = False
    server_bits: int = 15
    client_bits: int = 15

    def get_peer_side(self, client: bool) -> Tuple[int, bool]:
        """Window bits and no_context_takeover of the side whose messages this role inflates."""
        if client:
            return self.server_bits, self.server_no_takeover
        return self.client_bits, self.client_no_takeover

    def build_response(self) -> str:
        parts = ["permessage-deflate"]
        if self.server_no_takeover:
            parts.append("server_no_context_takeover")
        if self.client_no_takeover:
            parts.append("client_no_context_takeover")
        parts.append(f"server_max_window_bits={self.server_bits}")
        parts.append(f"client_max_window_bits={self.client_bits}")
        return "; ".join(parts)


class Case(NamedTuple):
    """A stream of frames as one endpoint receives it."""

    name: str  #: SEED:PART:INDEX, from which it can be made again
    client: bool  #: the role of the endpoint that reads
    deflate: Optional[Deflate]
    limit: int  #: the largest message, in bytes
    pieces: Tuple[bytes, ...]  #: the stream as it is cut
    close_before: Optional[int]  #: the piece before which the endpoint itself sends CLOSE 1000
    traits: Tuple[str, ...]  #: what was done to a valid stream
    originals: Optional[Tuple[Message, ...]] = None  #: what must be delivered, where it is known

    def describe(self, most: int = 300) -> str:
        role = "client" if self.client else "server"
        deflate = self.deflate.build_response() if self.deflate else "no extension"
        lines = [f"{self.name}  role {role}; {deflate}; limit {self.limit}; {', '.join(self.traits)}"]
        for number, piece in enumerate(self.pieces):
            if number == self.close_before:
                lines.append("  close(1000)")
            lines.append(f"  {shorten_hex(piece, most)}")
        return "\n".join(lines)


class Transcript(NamedTuple):
    """What an implementation did with a case; two that did the same are equal."""

    messages: Tuple[Message, ...]
    sent: Tuple[Sent, ...]
    close_received: Optional[Tuple[int, str]]
    trouble: str = ""  #: an exception, bytes that are no frames, a broken promise: nothing explains it

    def describe(self) -> str:
        sent = ", ".join(f"{kind} {' '.join(map(str, rest))}" for kind, *rest in self.sent)
        lines = [f"messages: {join_messages(self.messages)}", f"sent: {sent or 'nothing'}"]
        lines.append(f"CLOSE received: {self.close_received or 'none'}")
        if self.trouble:
            lines.append(f"trouble: {self.trouble}")
        return "\n    ".join(lines)


def shorten(value: Message) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:150]} ... ({len(value)})"


def join_messages(messages: Iterable[Message]) -> str:
    return ", ".join(map(shorten, messages)) or "none"


def shorten_hex(data: bytes, most: int) -> str:
    if len(data) <= most:
        return data.hex(" ")
    return f"{data[:most].hex(' ')} ... ({len(data)} bytes; --replay shows all)"
