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
    """The bytes of a connection: its first request head and what is behind it, or several requests."""

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


class Request(NamedTuple):
    """A request on a connection with several; body: what was found of it, nothing where it was refused."""

    head: Head
    body: bytes = b""
    is_whole: bool = False


class Requests(NamedTuple):
    """What an implementation found on a connection, and why it stopped.

    end: "complete", "incomplete" (the last request, or the head of the next, is cut), "refused", "closed"
    (the last request is the connection's last), "upgraded", or an exception's text. status: of wsbridge's
    refusal, or of its answer to an opening handshake.
    """

    requests: Tuple[Request, ...]
    end: str
    status: int = 0

    def begins_with(self, requests: Tuple[Request, ...]) -> bool:
        """Whether these are the first requests; of one that is not whole, only the head counts."""
        first = self.requests[: len(requests)]
        return len(first) == len(requests) and all(
            ours == theirs or (not ours.is_whole and ours.head == theirs.head)
            for ours, theirs in zip(requests, first)
        )

    def refuse(self, status: int = 0) -> Requests:
        """The same requests, where what comes next, of the last one or behind it, is refused."""
        requests = self.requests
        if requests and not requests[-1].is_whole:
            requests = (*requests[:-1], Request(requests[-1].head))
        return Requests(requests, "refused", status)

    def describe(self) -> str:
        lines = [
            f"{request.head.describe()}: {request.body!r}{'' if request.is_whole else '...'}"
            for request in self.requests
        ]
        return "\n    ".join([*lines, f"{self.end} {self.status or ''}"])


Case = Union[FrameCase, HTTPCase]
Outcome = Union[Transcript, Head, Requests]
