"""Target: `WSProtocol.receive_data`, in both roles, with and without permessage-deflate."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from wsbridge.protocols.deflate import DeflateSettings
from wsbridge.protocols.events import WebSocketDataReceived, WebSocketDisconnected
from wsbridge.protocols.ws import WSProtocol

from ..lib.wire import CLOSE, PONG, SENDABLE_CODES, Frame, parse_frames
from .findings import LAWFUL, PIECES, cut_in_all_ways, require

DEFAULT_LIMITS = (16 * 1024 * 1024, 1024)
# What the peer offers, or as a server answers: nothing, both takeovers off, both windows small, all of it.
TAKEOVERS = b"; server_no_context_takeover; client_no_context_takeover"
WINDOWS = b"; server_max_window_bits=9; client_max_window_bits=9"
PARAMETERS = (b"", TAKEOVERS, WINDOWS, TAKEOVERS + WINDOWS)

LIMITS = (DEFAULT_LIMITS, (300, 8), (64, 3), (5, 1))


class Setup(NamedTuple):
    """How a connection is set up before the peer's bytes come, from the number of its variant."""

    client: bool
    deflate: Optional[DeflateSettings]
    extension: bytes
    max_message_size: int
    max_fragments: int
    hold_close: bool
    is_paused: bool
    is_closing: bool
    is_traced: bool

    @classmethod
    def from_variant(cls, client: bool, compressed: bool, variant: int) -> Setup:
        """`variant` is 0 to 255: bits 0-3 switches, 4-5 the limits, 6-7 the parameters of the extension."""
        size, fragments = LIMITS[variant >> 4 & 3]
        deflate = None
        if compressed:
            # One byte of threshold, so that nearly everything we send is compressed as well.
            alone, bits = bool(variant & 64), 9 if variant & 128 else 15
            deflate = DeflateSettings(alone, alone, bits, bits, threshold=1)
        switches = (bool(variant & 1), bool(variant & 2), bool(variant & 4), bool(variant & 8))
        extension = b"permessage-deflate" + PARAMETERS[variant >> 6 & 3]
        return cls(client, deflate, extension, size, fragments, *switches)

    def get_arguments(self) -> Dict[str, Any]:
        arguments: Dict[str, Any] = {
            "client": self.client,
            "max_message_size": self.max_message_size,
            "max_fragments": self.max_fragments,
            "hold_close": self.hold_close,
        }
        if self.deflate is not None:
            extension = {"deflate": self.deflate, "peer_extensions": (self.extension,)}
            arguments.update(enable_compression=True, **extension)
        return arguments

    def build(self) -> WSProtocol:
        ws = WSProtocol(**self.get_arguments())
        if self.is_paused:
            ws.pause_writing()
        if self.is_closing:
            ws.close(1001, "going away")
        return ws

    def __str__(self) -> str:
        """The setup as code."""
        text = ", ".join(f"{name}={value!r}" for name, value in self.get_arguments().items())
        lines = [f"ws = WSProtocol({text})"]
        lines += ["ws.pause_writing()"] if self.is_paused else []
        lines += ["ws.close(1001, 'going away')"] if self.is_closing else []
        return "; ".join(lines)


Answer = Tuple[List[Any], List[Tuple[int, int, bytes]], Tuple[object, ...]]


def feed(setup: Setup, pieces: Sequence[bytes], *, traced: bool) -> Answer:
    """All that comes of the pieces: events, frames to write, and what the connection then says of itself."""
    ws = setup.build()
    frames_seen: List[Tuple[object, ...]] = []
    if traced:
        ws.trace = lambda *frame: frames_seen.append(frame)
    events: List[Any] = []
    outbound: List[bytes] = []
    for piece in pieces:
        found, answer = ws.receive_data(piece)
        events += found
        outbound.append(answer)
    state = (ws.is_closed, ws.can_send, ws.is_receiving, ws.close_received)
    outbound.append(ws.resume_writing())
    if setup.hold_close and not ws.is_receiving:
        outbound.append(ws.close())
    events += ws.receive_eof()
    # Masking keys are random; payloads are compared unmasked.
    frames, tail = parse_frames(b"".join(outbound))
    require(not tail, LAWFUL, f"outbound ends inside a frame: {tail.hex()}")
    check_outbound(setup, frames)
    check_events(setup, events)
    return events, [(frame.rsv << 5 | frame.opcode, frame.fin, frame.payload) for frame in frames], state


def check_outbound(setup: Setup, frames: List[Frame]) -> None:
    """PONGs and at most one CLOSE, which is last (RFC 6455 5.1, 5.5)."""
    for at, frame in enumerate(frames):
        text = f"outbound frame {frame}"
        require(frame.opcode in (PONG, CLOSE) and frame.fin and not frame.rsv, LAWFUL, text)
        require(frame.masked == setup.client and len(frame.payload) <= 125, LAWFUL, text)
        if frame.opcode == CLOSE:
            require(at == len(frames) - 1, LAWFUL, f"{text} is not the last one")
            require(not setup.is_closing, LAWFUL, f"{text} is the second CLOSE")
            code = int.from_bytes(frame.payload[:2], "big")
            require(not frame.payload or code in SENDABLE_CODES, LAWFUL, text)
            frame.payload[2:].decode()


def check_events(setup: Setup, events: List[Any]) -> None:
    """Messages within the limit, then exactly one `WebSocketDisconnected`."""
    require(
        bool(events) and isinstance(events[-1], WebSocketDisconnected), LAWFUL, f"last of {events!r:.200}"
    )
    for event in events[:-1]:
        require(isinstance(event, WebSocketDataReceived), LAWFUL, f"before the end: {event!r:.200}")
        size = len(event.data.encode() if isinstance(event.data, str) else event.data)
        require(size <= setup.max_message_size, LAWFUL, f"a message of {size} bytes past the limit")
        require(not setup.is_closing, LAWFUL, "a message after our own CLOSE")
    end = events[-1]
    known = end.code in SENDABLE_CODES or end.code in (1005, 1006)
    require(known and len(end.reason.encode()) <= 123, LAWFUL, f"{end!r}")


# A compressed message can break two rules at once: what it inflates to is not UTF-8 or is too large, and a
# little later it does not inflate at all. zlib gives nothing of a piece in which it finds an error, so the
# pieces decide which of the rules is named. RFC 6455 has no order of them: the connection fails all the same.
RULES_OF_INFLATING = ("compressed message does not inflate", "text message is not", "message over")


def blur(answer: Answer) -> Answer:
    """The answer, without saying which of those rules a compressed message broke."""
    events, frames, state = answer
    reason = events[-1].reason
    if not reason.startswith(RULES_OF_INFLATING):
        return answer
    blurred = [*events[:-1], WebSocketDisconnected(1007, "one of these rules")]
    named = reason.encode()
    return blurred, [frame for frame in frames if not (frame[0] == CLOSE and frame[2][2:] == named)], state


class ConnectionTarget:
    """One role, with or without the extension; the variant chooses everything else."""

    documented = ()

    def __init__(self, client: bool, compressed: bool) -> None:
        self.client = client
        self.compressed = compressed
        self.name = ("client" if client else "server") + ("-deflate" if compressed else "")

    def check(self, variant: int, data: bytes) -> None:
        """Raises `Violation`; also where a traced connection, which has no fast path, answers otherwise."""
        setup = Setup.from_variant(self.client, self.compressed, variant)
        whole = feed(setup, [data], traced=setup.is_traced)
        ways = {name: (pieces, setup.is_traced) for name, pieces in cut_in_all_ways(data).items()}
        ways["whole, tracing the other way"] = ([data], not setup.is_traced)
        for name, (pieces, traced) in ways.items():
            other = feed(setup, pieces, traced=traced)
            if other != whole and self.compressed:
                other, whole = blur(other), blur(whole)
            require(other == whole, PIECES, f"whole: {whole!r:.500}; {name}: {other!r:.500}")

    def describe(self, variant: int, data: bytes) -> str:
        setup = Setup.from_variant(self.client, self.compressed, variant)
        return f"{setup}; ws.receive_data(bytes.fromhex('{data.hex()}'))"


TARGETS = [ConnectionTarget(client, compressed) for client in (False, True) for compressed in (False, True)]

__all__ = ["TARGETS", "ConnectionTarget", "Setup"]
