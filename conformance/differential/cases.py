"""What is compared: a case (bytes in), and what an implementation made of it."""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple, Union

DEFAULT_LIMIT = 16 * 1024 * 1024

Message = Union[str, bytes]
Field = Tuple[bytes, bytes]

# ("pong", payload) or ("close", code or None, whether it repeats the CLOSE that came).
Sent = Tuple[object, ...]


class Deflate(NamedTuple):
    """What both sides agreed on (RFC 7692 7.1)."""

    server_no_takeover: bool = False
    client_no_takeover: bool = False
    server_bits: int = 15
    client_bits: int = 15

    def get_side(self, client: bool) -> Tuple[int, bool]:
        """Window bits and no_context_takeover of what that role sends."""
        if client:
            return self.client_bits, self.client_no_takeover
        return self.server_bits, self.server_no_takeover

    def build_response(self) -> str:
        parts = ["permessage-deflate"]
        if self.server_no_takeover:
            parts.append("server_no_context_takeover")
        if self.client_no_takeover:
            parts.append("client_no_context_takeover")
        parts.append(f"server_max_window_bits={self.server_bits}")
        parts.append(f"client_max_window_bits={self.client_bits}")
        return "; ".join(parts)


class FrameCase(NamedTuple):
    """A stream of frames as one endpoint receives it."""

    name: str  #: SEED:PART:INDEX, from which it can be made again
    client: bool  #: the role of the endpoint that reads
    deflate: Optional[Deflate]
    limit: int  #: the largest message, in bytes
    pieces: Tuple[bytes, ...]  #: the stream as it is cut
    traits: Tuple[str, ...]  #: what was done to a valid stream
    close_before: Optional[int] = None  #: the piece before which the endpoint itself sends CLOSE 1000
    originals: Optional[Tuple[Message, ...]] = None  #: what must be delivered, where it is known

    def describe(self) -> str:
        role = "client" if self.client else "server"
        deflate = self.deflate.build_response() if self.deflate else "no extension"
        traits = ", ".join(self.traits) or "valid"
        lines = [f"{self.name}  role {role}; {deflate}; limit {self.limit}; {traits}"]
        lines += [f"  {piece.hex(' ')}" for piece in self.pieces]
        if self.close_before is not None:
            lines.insert(1 + self.close_before, "  close(1000)")
        return "\n".join(lines)


class HTTPCase(NamedTuple):
    """The bytes of a connection up to and behind its first request head."""

    name: str
    pieces: Tuple[bytes, ...]
    traits: Tuple[str, ...]

    def describe(self) -> str:
        lines = [f"{self.name}  {', '.join(self.traits) or 'valid'}"]
        return "\n".join([*lines, *(f"  {piece!r}" for piece in self.pieces)])


class Transcript(NamedTuple):
    """What an implementation did with a stream of frames; two that did the same are equal."""

    messages: Tuple[Message, ...] = ()
    sent: Tuple[Sent, ...] = ()
    close_received: Optional[Tuple[int, str]] = None
    trouble: str = ""  #: an exception, bytes that are no frames, a broken promise: nothing explains it

    def describe(self) -> str:
        messages = ", ".join(f"{message!r:.200} ({len(message)})" for message in self.messages)
        return f"messages: {messages}; sent: {self.sent}; CLOSE: {self.close_received}; {self.trouble}"


class Head(NamedTuple):
    """What an implementation took a head for: "request", "refused", "incomplete", or an exception's text.

    status: of wsbridge's answer: 101, 200 for a plain request, 0 for none yet, else of the refusal.
    """

    outcome: str
    method: bytes = b""
    target: bytes = b""
    version: str = ""
    fields: Tuple[Field, ...] = ()
    status: int = 0

    def describe(self) -> str:
        return str(tuple(self)) if self.outcome == "request" else f"{self.outcome} {self.status or ''}"


Case = Union[FrameCase, HTTPCase]
Outcome = Union[Transcript, Head]
